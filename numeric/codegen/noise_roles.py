"""What an estimator does with its noise, read off its formula: what makes feeding every node in place of the draws cheap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Exp,
    Expect,
    Function,
    Grad,
    Latent,
    Log,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
)
from numeric.codegen.expressions import one, zero
from numeric.codegen.laws import mirrored
from numeric.codegen.meaning.vectors import functions_with_slopes, user_function

MANY = 10**6
SHIFT_DEGREE = 2


@dataclass(frozen=True)
class Roles:
    """What the formula does with its noise.

    Args
        deciding  the uniform draws that decide an outcome, b = H(h(u, theta))
        separate  whether no summand multiplies functions of two different uniform draws, other than through outcomes
        order     at most so many coordinates interact in one coordinate of the estimate, when functions are quadratic; a large
                  number where slopes stand in the formula, which tell a quadratic function from another one
        unbounded whether a derivative by the temperature makes the integrand contain z itself, which is infinite at the ends
        mirrored  whether an outcome is decided by 1 - u, for a draw u
        shifted   whether functions of a latent variable itself occur, at most two multiplied: a common shift of its entries
                  is then seen, and two moments of it are enough
    """

    deciding: frozenset[str]
    separate: bool
    order: int
    unbounded: bool = False
    shifted: bool = False
    mirrored: bool = False


def roles(estimator: Estimator) -> Roles:
    """Read off the formula what its noise does.

    >>> from derive.catalogue import catalogue
    >>> roles(catalogue["rebar"])
    Roles(deciding=frozenset({'u'}), separate=True, order=3, unbounded=False, shifted=False, mirrored=False)
    """
    deciding = frozenset(_deciding(estimator.formula))
    groups = _groups(estimator.formula)
    separate = all(len(group) <= 1 for group in groups)
    order = MANY if functions_with_slopes(estimator.formula) else _order(estimator.formula)
    shifted = 1 <= max(map(_latent_degree, (estimator.formula, estimator.objective))) <= SHIFT_DEGREE
    both = anywhere(estimator.formula, _is_mirrored)
    return Roles(deciding, separate, order, _by_temperature(estimator), shifted, both)


def _is_mirrored(term: Term) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Latent) and mirrored(term.args[0]) is not None


def _by_temperature(estimator: Estimator) -> bool:
    """Whether the target is differentiated by the temperature of a relaxation: d sigma(z, lambda) / d lambda holds z."""

    def moves(term: Term) -> bool:
        soft = isinstance(term, Apply) and isinstance(term.function, SoftThreshold)
        return soft and depends(parts(term)[1], estimator.parameter)

    return anywhere(estimator.formula, moves)


def _deciding(term: Term) -> set[str]:
    if isinstance(term, Apply) and isinstance(term.function, Threshold):
        return {leaf.name for leaf in _uniform(term)}
    return set().union(*(_deciding(part) for part in parts(term)))


def _uniform(term: Term) -> set[RandomVariable]:
    """The uniform draws of a term, through anything."""
    if isinstance(term, RandomVariable):
        return {term} if isinstance(term.law, UniformLaw) else set()
    return set().union(*(_uniform(part) for part in parts(term)))


def _groups(term: Term) -> set[frozenset[str]]:
    """The sets of uniform draws that occur together in one summand of the term written out; through outcomes does not count."""
    match term:
        case Apply(Threshold(), _) | Number() | Symbol():
            return {frozenset()}
        case RandomVariable(name, law):
            return {frozenset({name} if isinstance(law, UniformLaw) else ())}
        case Add(args):
            return set().union(*(_groups(arg) for arg in args))
        case Grad(body, _) | Stop(body) | Expect(body, _) | Over(body, _) | Power(body, 1):
            return _groups(body)
        case Mul(args):
            return {frozenset().union(*choice) for choice in product(*(_groups(arg) for arg in args))}
    return {frozenset().union(*(group for part in parts(term) for group in _groups(part)))}


def _order(term: Term) -> int:
    """How many coordinates interact in one coordinate of the term; a large number where nothing is known."""
    match term:
        case Number() | Symbol():
            return 0
        case Apply() | Log(Density()):
            return 2 if isinstance(term, Apply) else 1
        case Score():
            return 1
        case Add(args):
            return max(map(_order, args))
        case Mul(args):
            return min(MANY, sum(map(_order, args)))
        case Power(base, exponent) if exponent > 0:
            return min(MANY, exponent * _order(base))
        case Grad(body, _) | Stop(body):
            return _order(body)
        case Expect(body, variable):
            return 0 if _closed(body, variable) else MANY
        case Exp() | Log() | Sigmoid() | Power():
            return 0 if _order(parts(term)[0]) == 0 else MANY
    return MANY


def _closed(body: Term, variable: RandomVariable) -> bool:
    if isinstance(body, RandomVariable):
        return body == variable
    return all(_closed(part, variable) for part in parts(body))


def _latent_degree(term: Term) -> int:
    """How many functions of a latent variable itself are multiplied; a large number where they are in no polynomial."""
    match term:
        case Apply():
            return int(_is_raw(term))
        case Add(args):
            return max(map(_latent_degree, args))
        case Mul(args):
            return min(MANY, sum(map(_latent_degree, args)))
        case Power(base, exponent) if exponent > 0:
            return min(MANY, exponent * _latent_degree(base))
        case Grad(body, _) | Stop(body) | Expect(body, _) | Over(body, _):
            return _latent_degree(body)
    return MANY * int(uses_raw_latent(term))


def exact_rule(estimator: Estimator) -> bool:
    """Whether the rows are exact as they stand: every draw has finitely many outcomes, or is normal under a polynomial."""
    return not any(isinstance(draw.law, UniformLaw) for draw in estimator.draws)


def is_polynomial(estimator: Estimator) -> bool:
    """Whether formula and objective are polynomials in normal variables, when the user's functions are.

    >>> from derive.catalogue import catalogue
    >>> is_polynomial(catalogue["sgvb"]), is_polynomial(catalogue["iwae"])
    (True, False)
    """
    return _polynomial(estimator.formula) and _polynomial(estimator.objective)


def _polynomial(term: Term) -> bool:
    match term:
        case Log(Density(_, at)):
            return _polynomial(at)
        case Exp() | Log() | Sigmoid() | Sign() | Density():
            return False
        case Power(_, exponent) if exponent < 0:
            return False
        case Apply(_, args) if functions_with_slopes(*args):  # of a degree that no rule here is made for
            return False
    return all(map(_polynomial, parts(term)))


def degree(estimator: Estimator, of_functions: int) -> int:
    """The degree of a polynomial formula or objective in its normal variables, where the user's functions have this one.

    >>> from derive.catalogue import catalogue
    >>> [degree(catalogue[name], 4) for name in ("score-function", "pathwise")]  # a score has degree 2 in (z - loc) / scale
    [6, 4]
    """
    return max(_degree(estimator.formula, of_functions), _degree(estimator.objective, of_functions))


def _degree(term: Term, of_functions: int) -> int:
    match term:
        case RandomVariable(_, law):
            return max([1, *(_degree(part, of_functions) for part in law.terms)])
        case Add(args):
            return max(_degree(arg, of_functions) for arg in args)
        case Mul(args):
            return sum(_degree(arg, of_functions) for arg in args)
        case Power(base, exponent):
            return max(exponent, 0) * _degree(base, of_functions)
        case Log(Density(_, at)) | Score(_, at):
            return 2 * _degree(at, of_functions)
        case Apply(_, args):
            return of_functions * max((_degree(arg, of_functions) for arg in args), default=0)
    return max((_degree(part, of_functions) for part in parts(term)), default=0)


def reparameterized(estimator: Estimator) -> bool:
    """Whether the estimate is a derivative of the objective at the same nodes: it draws standard normals and stops nothing."""
    if anywhere(estimator.formula, lambda part: isinstance(part, Stop)):
        return False
    return all(isinstance(draw.law, NormalLaw) and draw.law == NormalLaw(zero(), one()) for draw in estimator.draws)


def uses_raw_latent(term: Term) -> bool:
    """Whether a function of the user is applied to a latent variable itself, not to its relaxation."""
    return anywhere(term, _is_raw)


def latent_controls(term: Term) -> set[Function]:
    """The user's functions that are applied to latent variables themselves and to nothing else."""
    found = {False: set[Function](), True: set[Function]()}

    def collect(part: Term) -> bool:
        if (function := user_function(part)) is not None:
            found[_is_raw(part)].add(function)
        return False

    anywhere(term, collect)
    return found[True] - found[False]


def _is_raw(term: Term) -> bool:
    return user_function(term) is not None and any(_is_latent(arg) for arg in parts(term))


def _is_latent(arg: Term) -> bool:
    return isinstance(arg, Apply) and isinstance(arg.function, (Latent, ConditionalLatent))
