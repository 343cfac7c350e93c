"""Which products of a formula are inner products: where a formula is about one bit, an event of n bits is a vector.

A product with one vector and constants is an inner product, and so is one of two vectors. Beside a vector that is alone, a sum
of constants and multiples of vectors is a vector too, as the slope q_1 + 2 q_2 b of a quadratic function, and a function that
is nowhere used as a number gives one, as the slope df(b). What else stands in the product are numbers. A vector that is alone
all the same, or that meets two others, has no such reading, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
)

VECTOR_MAPS = (Latent, Threshold, ConditionalLatent, SoftThreshold)


@dataclass(frozen=True)
class Inner:
    """The vectors of a product, which are multiplied coordinate by coordinate and summed, and the numbers beside them."""

    vectors: tuple[Term, ...]
    rest: tuple[Term, ...]


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
            return isinstance(function, VECTOR_MAPS)
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


def inner_product(args: Sequence[Term], held: Iterable[Symbol], numbers: frozenset[Function]) -> Inner | None:
    """Return the inner product that a product is, None where no vector is in it.

    Args
        held     symbols that are no constants: the parameters
        numbers  the functions that give numbers

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
    partners = [arg for arg in args if alone and arg != vectors[0] and _may_be_vector(arg, numbers)]
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


def _is_multiple(term: Term, numbers: frozenset[Function]) -> bool:
    args = term.args if isinstance(term, Mul) else (term,)
    others = [arg for arg in args if not _is_constant(arg)]
    return len(others) == 1 and _may_be_vector(others[0], numbers)


def _has_outcome(term: Term) -> bool:
    return isinstance(term, (RandomVariable, Apply)) or any(map(_has_outcome, parts(term)))


# Functions that give a vector


def functions_of_numbers(estimator: Estimator, held: Iterable[Symbol]) -> frozenset[Function]:
    """The functions that stand somewhere as a number, and not beside a vector that is alone.

    >>> from derive.catalogue import catalogue
    >>> [function.name for function in functions_of_numbers(catalogue["gumbel-rao"], ())]
    ['f']
    """
    found: frozenset[Function] = frozenset()
    while True:
        more = found.union(*(_numbers_in(term, set(held), found) for term in (estimator.formula, estimator.objective)))
        if more == found:
            return found
        found = more


def _numbers_in(term: Term, held: set[Symbol], known: frozenset[Function]) -> set[Function]:
    args = parts(term)
    own = {term.function} if isinstance(term, Apply) and type(term.function) is Function else set[Function]()
    if not isinstance(term, Mul):
        return own.union(*(_numbers_in(arg, held, known) for arg in args))
    beside: Sequence[Term] = []
    try:
        inner = inner_product(args, held, known)
        beside = inner.vectors if inner else []
    except ValueError:
        beside = [arg for arg in args if _may_be_vector(arg, known)]
    inside = [part for arg in args if arg in beside for call in _calls(arg) for part in parts(call)]
    others = [*inside, *(arg for arg in args if arg not in beside)]
    return set[Function]().union(*(_numbers_in(arg, held, known) for arg in others))


def _calls(term: Term) -> list[Term]:
    """The functions of the user that a vector is made of."""
    if isinstance(term, Apply) and type(term.function) is Function:
        return [term]
    return [call for part in parts(term) for call in _calls(part)]
