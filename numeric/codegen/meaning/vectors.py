"""Which products of a formula are inner products: where a formula is about one bit, an event of n bits is a vector.

A product with one vector and constants is an inner product, and so is one of two vectors. Beside a vector that is alone, a sum
of constants and multiples of vectors is a vector too, as the slope q_1 + 2 q_2 b of a quadratic function, and a function that
is nowhere used as a number gives one, as the slope df(b). What else stands in the product are numbers. A vector that is alone
all the same, or that meets two others, has no such reading, and is refused.

f.slope(x) is the gradient of f, a vector, and f.slope.slope(x) the matrix of its second derivatives, which takes two vectors:
those that are made of outcomes and means alone, as b - m is, for of these f''(m) (b - m)^2 is a quadratic form. A vector that
is read coordinate by coordinate, as 1 - 2 m, would meet the diagonal of the matrix alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from derive.language.estimator import Estimator
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Expect,
    Function,
    Grad,
    Latent,
    Mul,
    Number,
    Power,
    RandomVariable,
    Slope,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
    subterms,
)

VECTOR_MAPS = (Latent, Threshold, ConditionalLatent, SoftThreshold)


@dataclass(frozen=True)
class Inner:
    """The vectors of a product, which are multiplied coordinate by coordinate and summed, and the numbers beside them."""

    vectors: tuple[Term, ...]
    rest: tuple[Term, ...]


@dataclass(frozen=True)
class Form:
    """A second derivative f''(x), the two vectors that it is contracted with, a derivative last, and the numbers beside."""

    matrix: Apply
    vectors: tuple[Term, Term]
    rest: tuple[Term, ...]


def user_function(term: Term) -> Function | None:
    """Return the user's function f of f(x), f'(x) or f''(x); None for all else.

    >>> from derive.notation import constant, function
    >>> f, c = function("f", differentiable=True), constant("c")
    >>> [user_function(term) == f for term in (f(c), f.slope.slope(c), c)]
    [True, True, False]
    """
    if not isinstance(term, Apply):
        return None
    if isinstance(term.function, Slope):
        return term.function.orders[0]
    return term.function if type(term.function) is Function else None


def slope_order(term: Term) -> int:
    """Return how often the user's function is differentiated in f'(x) or f''(x); 0 for all else."""
    return term.function.orders[1] if isinstance(term, Apply) and isinstance(term.function, Slope) else 0


def functions_with_slopes(*terms: Term) -> frozenset[Function]:
    """Return the functions whose slopes stand in terms.

    >>> from derive.catalogue import catalogue
    >>> functions_with_slopes(catalogue["muprop"].formula)
    frozenset()
    """
    found = {user_function(part) for term in terms for part in subterms(term) if slope_order(part)}
    return frozenset(function for function in found if function is not None)


def is_vector(term: Term) -> bool:
    """Whether a term is a vector where the formula has a number: b itself, its mean, a power, and what is added to it.

    The noise of bits is none: it is one number for each coordinate, as the estimate is.

    A formula is about one bit b; of n bits, b is the vector. A constant times a vector is their inner product, a number; the
    constant is then a vector of n entries, or one number for all of them.

    >>> from derive.catalogue.muprop import b, expansion, point
    >>> is_vector(b - point), is_vector(expansion)
    (True, False)
    """
    match term:
        case RandomVariable(_, law):
            return not isinstance(law, UniformLaw)
        case Apply(function, _):
            return isinstance(function, VECTOR_MAPS) or slope_order(term) == 1
        case Expect(body, _) | Stop(body):
            return is_vector(body)
        case Power(base, exponent):
            return exponent > 1 and is_vector(base)
        case Add(args):
            return any(map(is_vector, args)) and all(is_vector(arg) or _is_constant(arg) for arg in args)
        case Mul(args):
            numbers = sum(isinstance(arg, Number) for arg in args)
            return numbers == len(args) - 1 and any(map(is_vector, args))
    return False


def _is_constant(term: Term) -> bool:
    return all(isinstance(arg, (Number, Symbol)) for arg in (term.args if isinstance(term, Mul) else (term,)))


def inner_product(
    args: Sequence[Term],
    held: Iterable[Symbol],
    numbers: frozenset[Function],
    given: frozenset[Function] = frozenset(),
) -> Inner | None:
    """Return the inner product that a product is, None where no vector is in it.

    Args
        held     symbols that are no constants: the parameters
        numbers  the functions that give numbers
        given    the mean mu and the standard deviation sigma of a normal law, which are vectors beside a gradient f'(x)

    Raises
        ValueError, if a vector has no reading there; `args` of the error is that vector.

    >>> from derive.notation import constant, finite, function, parameter
    >>> b, o, c, df = finite("b", parameter("theta")), finite("o"), constant("c"), function("df")
    >>> [len(inner_product(args, (), frozenset()).rest) for args in [(c, b), (b, o), (df(b), b)]]
    [0, 0, 0]
    """
    vectors = [arg for arg in args if is_vector(arg) or (isinstance(arg, Grad) and is_vector(arg.body))]
    if not vectors:
        return None
    constants = [arg for arg in args if isinstance(arg, Symbol) and arg not in set(held)]
    alone = not constants and len(vectors) == 1
    if constants and (bent := [vector for vector in vectors if functions_with_slopes(vector)]):
        raise ValueError(bent[0])  # c f'(c theta) is the derivative of f(c theta): one number for each coordinate, and no sum
    partners = [arg for arg in args if alone and arg != vectors[0] and _may_be_vector(arg, numbers)]
    if alone and slope_order(vectors[0]):
        partners = [arg for arg in args if arg != vectors[0] and _is_point(arg, given)] or partners
    chosen = [*constants, *partners, *vectors]
    moving = sum(isinstance(arg, Grad) for arg in vectors)
    if len(partners) > 1 or len(chosen) < 2 or (len(vectors) > 1 and len(chosen) > 2) or moving > 1:
        raise ValueError(vectors[0])
    return Inner(tuple(chosen), _without(args, chosen))


def _without(args: Sequence[Term], chosen: Sequence[Term]) -> tuple[Term, ...]:
    rest = list(args)
    for arg in chosen:
        rest.remove(arg)
    return tuple(rest)


def _may_be_vector(term: Term, numbers: frozenset[Function]) -> bool:
    """Whether a term can be read as a vector beside another one: the slope of a quadratic function, or any slope df(b)."""
    match term:
        case Apply(function, _) if type(function) is Function:
            return function not in numbers
        case Add(args):
            return any(map(_has_outcome, args)) and all(_is_constant(arg) or _is_multiple(arg, numbers) for arg in args)
        case Stop(body):
            return _may_be_vector(body, numbers)
    return is_vector(term)


def _is_point(term: Term, given: frozenset[Function]) -> bool:
    """Whether a term can be read as a point at which functions are taken, as mu(theta) + sigma(theta) * epsilon is."""
    match term:
        case RandomVariable():
            return True
        case Apply():
            return is_vector(term) or term.function in given
        case Add(args) | Mul(args):
            moving = [arg for arg in args if not _is_constant(arg)]
            return bool(moving) and all(_is_point(arg, given) for arg in moving)
        case Stop(body) | Grad(body, _):
            return _is_point(body, given)
    return is_vector(term)


def _is_multiple(term: Term, numbers: frozenset[Function]) -> bool:
    args = term.args if isinstance(term, Mul) else (term,)
    others = [arg for arg in args if not _is_constant(arg)]
    return len(others) == 1 and _may_be_vector(others[0], numbers)


def _has_outcome(term: Term) -> bool:
    return isinstance(term, (RandomVariable, Apply)) or any(map(_has_outcome, parts(term)))


# Second derivatives


def quadratic_form(args: Sequence[Term], means: frozenset[Function] = frozenset()) -> Form | None:
    """Return the form that a product with f''(x) is, None where there is no second derivative in it.

    Args
        means  the mean mu of a normal law

    Raises
        ValueError, if it is not contracted with two vectors made of outcomes and means; `args` of the error is f''(x).

    >>> from derive.notation import E, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f", differentiable=True)
    >>> m = E(b, b)
    >>> len(quadratic_form((f.slope.slope(m), (b - m) ** 2)).vectors)
    2
    """
    matrices = [arg for arg in args if slope_order(arg) > 1]
    if not matrices:
        return None
    vectors = [vector for arg in args for vector in _displacements(arg, means)]
    moving = [vector for vector in vectors if isinstance(vector, Grad)]
    if len(matrices) > 1 or slope_order(matrices[0]) > 2 or len(vectors) != 2 or len(moving) > 1:
        raise ValueError(matrices[0])
    first, second = [vector for vector in vectors if vector not in moving] + moving
    rest = [arg for arg in args if arg != matrices[0] and not _displacements(arg, means)]
    return Form(cast("Apply", matrices[0]), (first, second), tuple(rest))


def _displacements(term: Term, means: frozenset[Function]) -> list[Term]:
    """The vectors that a factor is, the base of a power as often as it says."""
    if isinstance(term, Power) and term.exponent > 0:
        return _displacements(term.base, means) * term.exponent
    return [term] if _is_displacement(term.body if isinstance(term, Grad) else term, means) else []


def _is_displacement(term: Term, means: frozenset[Function]) -> bool:
    """Whether a term is a sum of multiples of outcomes and means, with nothing that is read coordinate by coordinate."""
    match term:
        case RandomVariable(_, law):
            return not isinstance(law, UniformLaw)
        case Expect(body, variable):
            return body == variable
        case Apply(function, _):
            return isinstance(function, VECTOR_MAPS) or function in means
        case Stop(body):
            return _is_displacement(body, means)
        case Add(args):
            return all(_is_displacement(arg, means) for arg in args)
        case Mul(args):
            others = [arg for arg in args if not isinstance(arg, Number)]
            return len(others) == 1 and _is_displacement(others[0], means)
    return False


# Functions that give a vector


def functions_of_numbers(estimator: Estimator, held: Iterable[Symbol]) -> frozenset[Function]:
    """The functions that stand somewhere as a number, and not beside a vector that is alone.

    >>> from derive.catalogue import catalogue
    >>> [function.name for function in functions_of_numbers(catalogue["gumbel-rao"], ())]
    ['f']
    """
    found = functions_with_slopes(estimator.formula, estimator.objective)
    while True:
        more = found.union(*(_numbers_in(term, set(held), found, set()) for term in (estimator.formula, estimator.objective)))
        if more == found:
            return found
        found = more


def _numbers_in(term: Term, held: set[Symbol], known: frozenset[Function], seen: set[int]) -> set[Function]:
    """Those that stand in a term as numbers, without what stands in a term that was seen before."""
    if id(term) in seen:
        return set()
    seen.add(id(term))
    args = parts(term)
    own = {term.function} if isinstance(term, Apply) and type(term.function) is Function else set[Function]()
    if not isinstance(term, Mul):
        return own.union(*(_numbers_in(arg, held, known, seen) for arg in args))
    beside: Sequence[Term] = []
    try:
        inner = inner_product(args, held, known)
        beside = inner.vectors if inner else []
    except ValueError:
        beside = [arg for arg in args if _may_be_vector(arg, known)]
    inside = [part for arg in args if arg in beside for call in _calls(arg) for part in parts(call)]
    others = [*inside, *(arg for arg in args if arg not in beside)]
    return set[Function]().union(*(_numbers_in(arg, held, known, seen) for arg in others))


def _calls(term: Term) -> list[Term]:
    """The functions of the user that a vector is made of."""
    if isinstance(term, Apply) and user_function(term) is not None:
        return [term]
    return [call for part in parts(term) for call in _calls(part)]
