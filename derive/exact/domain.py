"""A point at which an estimator has its laws: what their parameters must be is positive there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice, product
from typing import TYPE_CHECKING

from derive.exact.evaluate import Reader
from derive.exact.points import Open, Point
from derive.language.choice import ChoiceLaw
from derive.language.errors import NotEvaluable, UsageError
from derive.language.scope import free
from derive.language.term import Expect, Law, NamedLaw, NormalLaw, Over, RandomVariable, Symbol, Term, UniformLaw, parts
from derive.laws.models import EnclosedModel

if TYPE_CHECKING:
    from derive.language.estimator import Estimator

SIZES = (Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(2), Fraction(3), Fraction(1, 10), Fraction(10))
TRIED = (*SIZES, *(-size for size in SIZES))
"""What is tried in turn for a symbol that a law needs and nobody gave: its default, and then these."""
_MOST = 4096


def point_of(estimator: Estimator, outcomes: int, given: Mapping[str, Fraction]) -> Point:
    """Return the values that are given, and defaults for the others at which the laws of the estimator are laws.

    Raises
        UsageError, as `derive.exact.points.Point`, or if there are no such laws at what is given.
        Open, if none of what is tried for the others gives such laws.

    >>> from derive.estimator import Estimator
    >>> from derive.notation import E, function, geometric, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> n = geometric("n", probability=theta)
    >>> mine = Estimator("mine", f(n) * score(n), (n,), grad(E(f(n), n), theta))
    >>> point_of(mine, 2, {}).defaults
    {'theta': Fraction(1, 2)}
    """
    needed = dict(one for whole in (estimator.expectation, estimator.target) for one in _positives(whole))
    fixed = {term for term in needed if _symbols(term) <= set(given)}
    symbols = {name for term in needed for name in _symbols(term)}
    for chosen in _choices(sorted(symbols - set(given))):
        point = Point.of(estimator, outcomes, given, chosen)
        if all(_may_be(term, point, estimator, zero=zero and term in fixed) for term, zero in needed.items()):
            return point
    wrong = f"{', '.join(map(str, needed))} {'is' if len(needed) == 1 else 'are all'} positive"
    missing = sorted(symbols - set(given))
    if missing:
        message = f"no point was found at which {wrong}: give values of {', '.join(missing)}, as --at '...=1/2'."
        raise Open(message)
    values = ", ".join(f"{name} = {given[name]}" for name in sorted(symbols)) or "any point"
    message = f"{estimator.name!r} has no laws at {values}: expected that {wrong}."
    raise UsageError(message)


def _symbols(term: Term) -> set[str]:
    return {leaf.name for leaf in free(term) if isinstance(leaf, Symbol)}


def _choices(names: list[str]) -> Iterator[dict[str, Fraction]]:
    """Yield values for symbols, none at first."""
    yield {}
    for values in islice(product(TRIED, repeat=len(names)), _MOST if names else 0):
        yield dict(zip(names, values, strict=True))


def _positives(term: Term) -> Iterator[tuple[Term, bool]]:
    """Yield what must be positive of the laws that are averaged over, and whether it may be zero, as a probability.

    What a random variable or no symbol stands in is left out.
    """
    if isinstance(term, (Expect, Over)):
        law = term.variable.law
        for needed in _needed(law):
            if _symbols(needed) and not any(isinstance(leaf, RandomVariable) for leaf in free(needed)):
                yield needed, isinstance(law, ChoiceLaw)
    for part in parts(term):
        yield from _positives(part)


def _needed(law: Law) -> tuple[Term, ...]:
    match law:
        case ChoiceLaw():
            return law.parameters
        case NamedLaw():
            return law.positives
        case NormalLaw(_, scale):
            return (scale,)
        case UniformLaw(low, high):
            return (high - low,)
    return ()


def _may_be(term: Term, point: Point, estimator: Estimator, *, zero: bool) -> bool:
    """Whether a term is positive at a point, or zero where that is allowed, or is not read there."""
    try:
        value = Reader(EnclosedModel(point, point.outcomes, estimator.parameter.name), (term,)).read(term, {}, 0)[0]
    except (Open, NotEvaluable):
        return True
    finally:
        point.used.clear()
    return bool(value > 0) or (zero and bool(value == 0))
