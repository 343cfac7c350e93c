"""What a statement needs to be true, also where no derivation asked for it: its conditions, or the one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from derive.kernel.algebra import tidy
from derive.kernel.premises import (
    HOLDS,
    Covers,
    Decision,
    Differentiable,
    Integrable,
    NonZero,
    Normalised,
    Positive,
    Premise,
    consult,
)
from derive.language.errors import RuleError
from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    Density,
    Exp,
    Expect,
    Grad,
    Law,
    Log,
    Over,
    Power,
    RandomVariable,
    Stop,
    Term,
    Threshold,
    anywhere,
    parts,
)


@dataclass(frozen=True)
class Conditions:
    """The conditions of a statement.

    Args
        needed     what must be assumed, since it could be neither decided nor refuted
        failures   why a condition fails; then nothing that is computed of the statement counts
    """

    needed: tuple[Premise, ...] = ()
    failures: tuple[str, ...] = ()


def conditions_of(estimator: Estimator) -> Conditions:
    """Return what the mean of an estimator and its target need.

    >>> from derive.notation import E, finite, function, grad, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> found = conditions_of(Estimator("ratio", f(b) ** 2 / f(b) * score(b), (b,), grad(E(f(b), b), theta)))
    >>> [premise.name for premise in found.needed]
    ['Differentiable', 'NonZero']
    """
    premises = [premise for side in (estimator.target, estimator.expectation) for premise in _premises(side)]
    decided = [(premise, _consulted(premise)) for premise in dict.fromkeys(premises)]
    needed = {need for _, decision in decided for need in decision.needs}
    failures = [f"{premise.name} fails, because {decision.failure}" for premise, decision in decided if decision.failure]
    return Conditions(tuple(sorted(needed, key=repr)), tuple(dict.fromkeys(failures)))


def _consulted(premise: Premise) -> Decision:
    """Consult a premise. Of a mean only its own derivative is needed, though what stands under it may jump.

    The pointwise derivative of a threshold is zero by the definition of the language, so its jumps refute nothing here.
    """
    try:
        decision = consult(premise)
    except RuleError as error:
        return Decision(str(error).rstrip("."))
    if not (decision.failure and isinstance(premise, Differentiable)):
        return decision
    if anywhere(premise.term, _is_mean):
        return Decision(needs=frozenset({Differentiable(tidy(premise.term), premise.parameter)}))
    return HOLDS if anywhere(premise.term, _is_threshold) else decision


def _is_threshold(term: Term) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Threshold)


def _is_mean(term: Term) -> bool:
    return isinstance(term, (Expect, Over))


def _premises(term: Term) -> Iterator[Premise]:
    match term:
        case Grad(body, parameter) if depends(body, parameter):
            yield Differentiable(body, parameter)
        case Expect(body, variable):
            yield Integrable(variable, Density(variable.law, variable) * body)
            yield from _covers(body, variable)
            yield Normalised(variable)
        case Over(body, variable):
            yield Integrable(variable, body)
        case Power(base, exponent) if exponent < 0:
            yield NonZero(base)
        case Log(arg):
            yield Positive(arg)
    for part in parts(term):
        yield from _premises(part)


def _covers(body: Term, variable: RandomVariable) -> Iterator[Premise]:
    """Yield that a law which is sampled and divided by is positive wherever the densities beside it are."""
    here = [found for found in _densities(body) if found.at == variable]
    if any(_running(found.law) == _running(variable.law) for found in _divisors(body)):
        own = Density(variable.law, variable)
        yield from (Covers(own, found) for found in dict.fromkeys(here) if _running(found.law) != _running(variable.law))


def _running(law: Law) -> Law:
    """Return a law without the stops in what it stands at: they change no value."""
    return law.with_terms(tuple(part.body if isinstance(part, Stop) else part for part in law.terms))


def _densities(term: Term) -> Iterator[Density]:
    if isinstance(term, Density):
        yield term
    for part in parts(term):
        yield from _densities(part)


def _divisors(term: Term, *, divides: bool = False) -> Iterator[Density]:
    """Yield the densities that are divided by: in a denominator, or by their logarithm in an exponential."""
    if isinstance(term, Density) and divides:
        yield term
    inside = divides or isinstance(term, Exp) or (isinstance(term, Power) and term.exponent < 0)
    for part in parts(term):
        yield from _divisors(part, divides=inside)

