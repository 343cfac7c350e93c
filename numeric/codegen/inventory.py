"""What a formula is made of: its laws, its constants, its functions, and which of its terms are vectors."""

from __future__ import annotations

from typing import TypeAlias

from derive.language.estimator import Estimator
from derive.language.scope import depends, free, substitute
from derive.language.term import (
    Add,
    Apply,
    Density,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Law,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    anywhere,
    parts,
    subterms,
)
from numeric.codegen.laws import laws_of, unstopped
from numeric.codegen.meaning.vectors import is_vector, user_function

NO_PARAMETER = Symbol("no parameter of a law")


def law_parameter(estimator: Estimator) -> Symbol:
    """The symbol that stands for the family's parameters: the one that the laws depend on.

    It is the parameter of the target, unless no law depends on that one: then the target is differentiated by a parameter of
    the user's own functions, as for a learned baseline, or for a model whose samples come from a law without parameters.

    >>> from derive.catalogue import catalogue
    >>> law_parameter(catalogue["nvil-baseline"]).name, catalogue["nvil-baseline"].parameter.name
    ('theta', 'psi')
    """
    laws = laws_of(estimator)
    symbols = sorted({leaf for law in laws for term in law.terms for leaf in free(term) if isinstance(leaf, Symbol)}, key=_name)
    if estimator.parameter in symbols or not any(isinstance(law, FiniteLaw) for law in laws):
        return estimator.parameter
    return symbols[0] if len(symbols) == 1 else NO_PARAMETER


def _name(symbol: Symbol) -> str:
    return symbol.name


def is_summed(estimator: Estimator) -> bool:
    """Whether the formula is to be summed over the coordinates of the family's parameters.

    A formula is a scalar for one coordinate theta. Where it has scores or gradients by theta, but the target is differentiated
    by another parameter, as that of a variance E[g^2] - E[g]^2 is, the target is one for each coordinate too: their sum is
    meant.

    >>> from derive.catalogue import catalogue
    >>> is_summed(catalogue["rebar-variance-eta"]), is_summed(catalogue["nvil-baseline"]), is_summed(catalogue["rebar"])
    (True, False, False)
    """
    theta = law_parameter(estimator)
    return estimator.parameter != theta and has_coordinates(estimator.formula, theta)


def has_coordinates(term: Term, theta: Symbol) -> bool:
    """Whether a scalar is one number for each coordinate of the family's parameters: it holds a score, or a gradient."""
    return anywhere(term, lambda part: isinstance(part, (Score, Grad)) and part.parameter == theta)


Degrees: TypeAlias = frozenset[int] | None
"""How often the summands of a scalar are differentiated; none of 0, and None where that has no number, as of a logarithm."""

NEVER, ONCE, TWICE = (frozenset({times}) for times in range(3))


def degrees(term: Term, theta: Symbol, along: frozenset[Symbol] = frozenset()) -> Degrees:
    """How often each summand of a scalar is differentiated by theta, a factor of `along` counting -1.

    Of a vector theta, what is differentiated once is a vector, and what is differentiated twice a matrix; a constant of `along`
    is a vector too, and takes the inner product.

    >>> from derive.catalogue import catalogue
    >>> dice = catalogue["dice-second-order"]
    >>> [sorted(degrees(term, dice.parameter)) for term in (dice.formula, dice.objective)]
    [[2], [1]]
    """
    match term:
        case Number(value):
            return frozenset({0} if value else ())
        case Score():
            return frozenset({int(bool(term.parameter == theta))})
        case Grad(body, parameter):
            inner = degrees(body, theta, along)
            return None if inner is None else frozenset(d + bool(parameter == theta) for d in inner)
        case Stop(body) | Expect(body, _) | Over(body, _):
            return degrees(body, theta, along)
        case Add(args):
            return _joined([degrees(arg, theta, along) for arg in args])
        case Mul(args):
            return _multiplied([frozenset({-1}) if arg in along else degrees(arg, theta, along) for arg in args])
        case Power(base, exponent) if exponent >= 0:
            return _multiplied([degrees(base, theta, along)] * exponent)
    inner = _joined([degrees(part, theta, along) for part in parts(term)])
    return NEVER if inner is not None and inner <= NEVER else None


def _joined(found: list[Degrees]) -> Degrees:
    known = [one for one in found if one is not None]
    return frozenset[int]().union(*known) if len(known) == len(found) else None


def _multiplied(found: list[Degrees]) -> Degrees:
    total: Degrees = NEVER
    for one in found:
        total = None if total is None or one is None else frozenset(a + b for a in total for b in one)
    return total


def directions(estimator: Estimator) -> frozenset[Symbol]:
    """The constants v of grad(v * grad(..., theta), theta): of a vector theta, the product of a second derivative and v.

    >>> from derive.notation import E, constant, finite, function, grad, parameter
    >>> theta, v, f = parameter("theta"), constant("v"), function("f")
    >>> b = finite("b", theta)
    >>> product = grad(v * grad(E(f(b), b), theta), theta)
    >>> [symbol.name for symbol in directions(Estimator("product", v * f(b), (b,), product))]
    ['v']
    """
    theta = estimator.parameter
    inner = [part.body for part in subterms(estimator.target) if isinstance(part, Grad)]
    return frozenset[Symbol]().union(*(_beside(body, theta) for body in inner))


def _beside(term: Term, theta: Symbol) -> set[Symbol]:
    """The constants that multiply a derivative by theta, in a sum of products."""
    if isinstance(term, Add):
        return set().union(*(_beside(arg, theta) for arg in term.args))
    if not (isinstance(term, Mul) and has_coordinates(term, theta)):
        return set()
    return {arg for arg in term.args if isinstance(arg, Symbol) and arg != theta}


def order(estimator: Estimator) -> int:
    """How often the target is differentiated: 2 where it is a matrix of second derivatives, else 1.

    Where no law has parameters, a formula that is no square in the step, as a difference of values, is one for each number.

    >>> from derive.catalogue import catalogue
    >>> order(catalogue["hessian-score"]), order(catalogue["natural-gradient"])
    (2, 1)
    """
    along = directions(estimator)
    asked, given = (degrees(term, estimator.parameter, along) for term in (estimator.target, estimator.formula))
    vector = not any(_has_parameters(law, estimator) for law in laws_of(estimator))
    return 1 if asked != TWICE or (vector and given != TWICE) else 2


def _has_parameters(law: Law, estimator: Estimator) -> bool:
    """Whether a law is finite, or normal of a mean that is a function of the parameter: it has logits, or loc and log_scale."""
    inner = unstopped(law.loc) if isinstance(law, NormalLaw) else None
    return isinstance(law, FiniteLaw) or (isinstance(inner, Apply) and depends(inner, estimator.parameter))


def standardised(law: NormalLaw, at: Term) -> Term | None:
    """The term x where `at` is written as loc + scale * x, else None.

    >>> from derive.catalogue.pathwise import z, z_of_epsilon
    >>> standardised(z.law, z_of_epsilon).name
    'epsilon'
    """
    loc, scale = unstopped(law.loc), unstopped(law.scale)
    if not (isinstance(at, Add) and len(at.args) == 2 and loc in at.args):
        return None
    (rest,) = [arg for arg in at.args if arg != loc] or [loc]
    if not (isinstance(rest, Mul) and scale in rest.args):
        return None
    i = rest.args.index(scale)
    factors = (*rest.args[:i], *rest.args[i + 1 :])
    return factors[0] if len(factors) == 1 else Mul(factors)


def is_coordinatewise(estimator: Estimator) -> bool:
    """Whether a formula about a number theta is right for each coordinate of a vector theta.

    A formula is about one coordinate, and the functions of the user see all of them: with the others held fixed they are
    functions of that one, and the same function wherever they are called only where every call, that of the target too, is at
    the same point, or at one of the same law, and none at a number. f(theta + u/2) and f(theta + 1/2 + u/2) cover an interval,
    but no square. A density is that of all coordinates together, so a formula with one is right for a number only.

    >>> from derive.notation import E, constant, function, grad, normal, parameter
    >>> theta, s, e, f = parameter("theta"), constant("s"), normal("e"), function("f")
    >>> smooth = grad(E(f(theta + s * e), e), theta)
    >>> one, two = f(theta + s * e) * e / s, (f(theta + s * e) - f(theta - s * e)) * e / (2 * s)
    >>> [is_coordinatewise(Estimator("es", formula, (e,), smooth)) for formula in (one, two)]
    [True, False]
    """
    if anywhere(estimator.formula, lambda part: isinstance(part, Density)):
        return False
    calls = [*_calls(estimator.formula), *_calls(estimator.objective)]
    if any(isinstance(arg, Number) for args in calls for arg in args):
        return False
    moving = [args for args in calls if any(_is_point(arg, law_parameter(estimator)) for arg in args)]
    return len({tuple(map(_anonymous, args)) for args in moving}) <= 1


def _calls(term: Term) -> list[tuple[Term, ...]]:
    own = [term.args] if isinstance(term, Apply) and user_function(term) is not None else []
    return own + [args for part in parts(term) for args in _calls(part)]


def _is_point(arg: Term, theta: Symbol) -> bool:
    return any(leaf == theta or isinstance(leaf, RandomVariable) for leaf in free(arg))


def _anonymous(term: Term) -> Term:
    """The term with variables of the same law under the same name."""
    variables = [leaf for leaf in free(term) if isinstance(leaf, RandomVariable)]
    return substitute(term, {leaf: RandomVariable("x", leaf.law) for leaf in variables}) if len(variables) == 1 else term


def constants_of(estimator: Estimator) -> list[Symbol]:
    """The free symbols of formula and draws other than the one that stands for the family's parameters, by name.

    Where the target is differentiated by another parameter, that one is a constant of the formula too.
    """
    theta = law_parameter(estimator)
    laws = [draw.law for draw in estimator.draws if isinstance(draw.law, (NamedLaw, NormalLaw))]
    terms = [estimator.formula, *(term for law in laws for term in law.terms)]
    symbols = {leaf for term in terms for leaf in free(term) if isinstance(leaf, Symbol)}
    return sorted((symbols | {estimator.parameter}) - {theta}, key=lambda symbol: symbol.name)


def functions_of(term: Term) -> list[Function]:
    """The abstract functions of a term, in the order of their first occurrence."""
    function = user_function(term)
    own = [] if function is None else [function]
    return list(dict.fromkeys(own + [function for part in parts(term) for function in functions_of(part)]))


def used_as_number(term: Term, symbol: Symbol) -> bool:
    """Whether a symbol occurs as a number, not only as an argument of an abstract function.

    >>> from derive.catalogue import catalogue
    >>> [used_as_number(e.formula, e.parameter) for e in (catalogue["rebar-variance-eta"], catalogue["relax-variance-phi"])]
    [True, False]
    """
    if isinstance(term, Apply) and user_function(term) is not None:
        return any(used_as_number(arg, symbol) for arg in term.args if not isinstance(arg, Symbol))
    return term == symbol or any(used_as_number(part, symbol) for part in parts(term))


def vector_constants(term: Term) -> frozenset[Symbol]:
    """The constants that multiply a vector somewhere in a term.

    >>> from derive.catalogue import catalogue
    >>> [symbol.name for symbol in vector_constants(catalogue["straight-through-affine"].objective)]
    ['slope']
    """
    found = [vector_constants(part) for part in parts(term)]
    if isinstance(term, Mul) and any(map(is_vector, term.args)):
        found.append(frozenset(arg for arg in term.args if isinstance(arg, Symbol)))
    return frozenset[Symbol]().union(*found)
