"""What a statement needs to be true, also where no derivation asked for it: its conditions, or the one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from derive.exact.outcomes import written_out
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
from derive.kernel.theorem import Equation
from derive.language.choice import ChoiceLaw
from derive.language.errors import NotEvaluable, RuleError, TooLong, UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    Density,
    Expect,
    Grad,
    Law,
    Log,
    Over,
    Power,
    RandomVariable,
    Score,
    Sign,
    Term,
    Threshold,
    anywhere,
    parts,
    subterms,
)
from derive.verdicts.folding import folded
from derive.verdicts.supports import supports_of


@dataclass(frozen=True)
class Conditions:
    """The conditions of a statement.

    Args
        needed     what must be assumed, since it could be neither decided nor refuted
        failures   why a condition fails; then nothing that is computed of the statement counts
    """

    needed: tuple[Premise, ...] = ()
    failures: tuple[str, ...] = ()

    def beside(self, assumed: frozenset[Premise | Equation]) -> tuple[Premise, ...]:
        """Return what is needed besides what a derivation assumes, which speaks of all supports: the kernel sums over each."""
        return folded((need for need in self.needed if not isinstance(need, Covers)), assumed)


def conditions_of(estimator: Estimator) -> Conditions:
    """Return what the mean of an estimator and its target need.

    >>> from derive.notation import E, finite, function, grad, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> found = conditions_of(Estimator("ratio", f(b) ** 2 / f(b) * score(b), (b,), grad(E(f(b), b), theta)))
    >>> [premise.name for premise in found.needed]
    ['Differentiable', 'NonZero']
    """
    _demand_laws(estimator)
    sides = tuple(map(_written_out, (estimator.target, estimator.expectation)))
    laws = (Normalised(variable) for variable in _explicit(estimator))
    premises = [*laws, *(premise for side in sides for premise in _premises(side))]
    premises.extend(supports_of(sides))
    decided = [(premise, _consulted(premise)) for premise in dict.fromkeys(premises)]
    needed = {need for _, decision in decided for need in decision.needs}
    failures = [f"{premise.name} fails, because {decision.failure}" for premise, decision in decided if decision.failure]
    return Conditions(folded(needed, frozenset()), tuple(dict.fromkeys(failures)))


def _explicit(estimator: Estimator) -> Iterator[RandomVariable]:
    """Yield a variable of each explicit finite law: of what is drawn, averaged over, or asked for its probability or score."""
    terms = estimator.target, estimator.formula, *(term for draw in estimator.draws for term in draw.law.terms)
    laws = [draw.law for draw in estimator.draws] + [law for term in terms for law in _laws(term)]
    yield from (RandomVariable("b", law) for law in dict.fromkeys(laws) if isinstance(law, ChoiceLaw))


def _laws(term: Term) -> Iterator[Law]:
    for part in subterms(term):
        match part:
            case Density(law, _) | Score(law, _, _):
                yield law
            case Expect(_, variable) | Over(_, variable):
                yield variable.law


def _written_out(term: Term) -> Term:
    """Write out explicit finite laws, where each of their outcomes is a number."""
    try:
        return written_out(term)
    except NotEvaluable:
        return term


def _demand_laws(estimator: Estimator) -> None:
    """Refuse numbers that are no probabilities: of them there is no mean.

    Raises
        UsageError, if the probabilities of an explicit finite law do not sum to one.
    """
    for variable in _explicit(estimator):
        decision = consult(Normalised(variable))
        if decision.failure:
            message = f"{estimator.name!r} has the law {variable.law}, which is none: {decision.failure}."
            raise UsageError(message)


def _consulted(premise: Premise) -> Decision:
    """Consult a premise. Of a mean only its own derivative is needed, though what stands under it may jump.

    The pointwise derivative of a threshold is zero by the definition of the language, so its jumps refute nothing here.
    """
    try:
        decision = consult(premise)
    except TooLong:
        return Decision(needs=frozenset({premise}))
    except RuleError as error:
        return Decision(str(error).rstrip("."))
    if not (decision.failure and isinstance(premise, Differentiable)):
        return decision
    if anywhere(premise.term, _is_mean):
        return Decision(needs=frozenset({Differentiable(tidy(premise.term), premise.parameter)}))
    return HOLDS if anywhere(premise.term, _is_threshold) else decision


def _is_threshold(term: Term) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Threshold)


def _is_sign(term: Term) -> bool:
    return isinstance(term, Sign)


def _is_mean(term: Term) -> bool:
    return isinstance(term, (Expect, Over))


def _premises(term: Term) -> Iterator[Premise]:
    match term:
        case Grad(body, parameter) if depends(body, parameter):
            yield Differentiable(body, parameter)
        case Expect(body, variable):
            yield Integrable(variable, Density(variable.law, variable) * body)
            yield Normalised(variable)
        case Over(body, variable):
            yield Integrable(variable, body)
        case Power(base, exponent) if exponent < 0:
            yield NonZero(base)
        case Log(arg):
            yield Positive(arg)
        case Score(law, _, parameter):
            yield from (Differentiable(part, parameter) for part in law.terms if anywhere(part, _is_sign))
    for part in parts(term):
        yield from _premises(part)
