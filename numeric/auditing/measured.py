"""What an audit finds, by enumeration, by quadrature over noise, or by sampling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from derive.language.errors import GradproofError, TooLarge, UsageError
from numeric.auditing.audit_mean import Found, Tolerances, compared, exact_mean_of, moments_of, tails, timed
from numeric.auditing.audit_report import AuditReport, Contribution
from numeric.auditing.batched import outcomes
from numeric.auditing.batched_mean import batched_exact_mean, batched_moments, row_choices
from numeric.auditing.quadrature import Integrated, integrated
from numeric.draws.moments import Moments
from numeric.draws.random_ops import TAIL
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import Count, count
from numeric.means.runs import IMPLICIT, Runs
from numeric.noise.abrupt import require_gradual
from numeric.noise.dense import require_resolved
from numeric.noise.probes import differ
from numeric.noise.sampled import sampled
from numeric.noise.tails import without_mean

Breakpoints: TypeAlias = Sequence[Sequence[float]]
Progress: TypeAlias = Callable[[str, Count], object]

FROZEN = 3
MOST_GENERIC_RUNS = 2000
QUADRATURE_BUDGET, DIFFERING_BUDGET = 2**13, 2**11
"""So many nodes a grid has at most, in code that noise decides in and in smooth code; more is sampled."""
SHOWN = 5
_OF_GAMMA = f"the derivative of gamma noise by its shape is torch's own, of which {IMPLICIT} is tolerated"


@dataclass(frozen=True)
class Plan:
    """How an audit is run: the most outcomes, given tolerances and breakpoints, whom to tell how many there are."""

    budget: int
    tolerances: Tolerances
    progress: Progress
    breakpoints: Breakpoints | None


def measured(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: Plan) -> AuditReport:
    """Enumerate; where that settles nothing about continuous noise, integrate, and where that is not feasible, sample."""
    runs.integrated, runs.frozen, runs.any_noise = None, 0, False
    if plan.breakpoints is not None:
        return _integrated(runs, loss, objective, plan, plan.budget)
    report: AuditReport | None = None
    try:
        report = _enumerated(runs, loss, objective, plan)
    except NotFreezable as error:
        reason = str(error)
    else:
        if not report.frozen_noise or not report.finite:
            return report
        reason = _unsettled(runs, loss, objective, report)
        if not reason:
            require_gradual(runs, objective, steep=False)
            return replace(report, undecided=report.undecided or without_mean(runs, loss, objective))
    nodes = QUADRATURE_BUDGET if report is None else DIFFERING_BUDGET
    try:
        return _integrated(runs, loss, objective, plan, min(plan.budget, nodes))
    except (NotIntegrable, NotFreezable, TooLarge) as error:
        why = f"{reason} Quadrature over the noise was tried: {error}".strip()
        return _sampled(runs, loss, objective, report, type(error)(why))


def _unsettled(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], report: AuditReport) -> str:
    """Say why equal gradients at a few frozen values of the noise are no proof, "" where they are one.

    Functions that are analytic in the noise, and agree at generic values of it, agree everywhere; what is steep is looked for.
    """
    if report.vacuous:
        return "No gradient was seen at a few frozen values of the noise."
    if not report.unbiased:
        return "The gradients differ at a frozen value of the noise."
    if not runs.rough:
        most = max(FROZEN, MOST_GENERIC_RUNS // (report.outcomes + report.objective_outcomes))
        if not differ(runs, loss, objective, most):
            return ""
    if runs.rough:
        return f"The code is only piecewise smooth in its noise ({', '.join(sorted(runs.rough))})."
    return "The gradients agree at some values of the noise and differ at others."


def _integrated(
    runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: Plan, budget: int
) -> AuditReport:
    result = integrated(runs, loss, objective, budget, plan.tolerances, plan.breakpoints, plan.progress)
    report = _report(runs, result.found, runs.draws, 0, result)
    if plan.breakpoints is None:  # whoever gives breakpoints answers for them, and noise may leave torch
        require_resolved(runs, loss, objective, report.bias, report.tolerance)
        require_gradual(runs, objective, steep=True)
    return report


def _sampled(
    runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], report: AuditReport | None, why: GradproofError
) -> AuditReport:
    """What neither enumeration nor quadrature decides: sampled, or undecided, or refused where nothing is known at all."""
    try:
        found = sampled(runs, loss, objective)
    except (NotFreezable, NotIntegrable, TooLarge) as error:
        if report is None:
            raise why from error
        return replace(report, undecided=f"{why} Sampling was tried: {error}")
    require_gradual(runs, objective, steep=True)
    split = runs.split
    nothing = not bool(found.loss.any()) and not bool(found.objective.any()) and not bool(found.high.any())
    names = dict.fromkeys(runs.params)
    return AuditReport(
        mean=split(found.loss),
        exact=split(found.objective),
        variance={name: torch.full_like(param, torch.nan, dtype=torch.float64) for name, param in runs.params.items()},
        tolerance=split(found.up_to if not found.biased else torch.zeros_like(found.up_to)),
        theta={name: runs.params[name].detach().clone() for name in names},
        outcomes=found.points * found.replicates,
        objective_outcomes=found.points * found.replicates,
        value=found.value,
        draws=runs.draws,
        vacuous=nothing,
        undecided="" if nothing else found.reason,
        sampling=str(found),
        left_out=f"{_OF_GAMMA}; a bias that is no larger than that is none" if runs.implicit else "",
    )


def _enumerated(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: Plan) -> AuditReport:
    budget = plan.budget
    runs.require_repeatable(loss)
    noise, draws = runs.noise, runs.draws
    runs.require_fixed_noise(loss)
    expected = timed(runs, loss, count(lambda tape: runs.loss(loss, tape), budget))
    plan.progress("loss", expected)
    runs.require_same_noise(objective, noise)
    plan.progress("objective", count(lambda tape: runs.objective(objective, tape, differentiate=False), budget))
    found = []
    for frozen in range(FROZEN if noise else 1):
        runs.frozen = frozen
        moments = moments_of(runs, loss, budget, expected)
        runs.bystanders.require_untouched()
        found.append(compared(runs, moments, exact_mean_of(runs, objective, budget), plan.tolerances))
        if not noise:
            runs.require_noise_at_first()
        runs.require_repeated(loss, moments.kept)
    worst = max(found, key=lambda each: (each.ratio > 1, bool(each.coarse), each.ratio))
    return _report(runs, worst, draws, len(noise))


def measured_rows(runs: Runs, loss: Callable[[int], Any], objective: Callable[[int], Any], plan: Plan) -> AuditReport:
    """Enumerate rows of outcomes; errors as `numeric.audit`."""
    if plan.breakpoints is not None:
        message = "breakpoints= is for continuous noise, which has no batched form; audit without batched=True."
        raise UsageError(message)
    choices, aims = (row_choices(runs, function, plan.budget) for function in (loss, objective))
    for what, made in (("loss", choices), ("objective", aims)):
        plan.progress(what, Count(outcomes(made), False, outcomes(made)))
    moments = batched_moments(runs, loss, choices)
    exact = batched_exact_mean(runs, objective, aims)
    return _report(runs, compared(runs, moments, exact, plan.tolerances), runs.draws, 0)


def _report(
    runs: Runs, found: Found, draws: tuple[str, ...], noise: int, integration: Integrated | None = None
) -> AuditReport:
    moments, names = found.moments, list(runs.params)
    contributions = _contributions(moments, names.index(found.worst[0]), found.worst[1])
    top = contributions[0].choices if contributions else ()
    suffix = f", frozen={found.frozen}" if found.frozen else ""
    return AuditReport(
        mean=dict(zip(names, moments.mean, strict=True)),
        exact=found.exact.gradient,
        variance=dict(zip(names, moments.square, strict=True)),
        tolerance=found.tolerance,
        theta={name: param.detach().clone() for name, param in runs.params.items()},
        outcomes=moments.outcomes,
        objective_outcomes=found.exact.outcomes,
        value=found.exact.value,
        draws=draws,
        contributions=contributions,
        warnings=_warnings(runs, found, noise),
        frozen_noise=noise,
        reproduce="" if integration else f"numeric.replay(loss, params, {top}{suffix})",
        vacuous=len(_without_gradient(found)) == len(names),
        undecided=found.coarse,
        quadrature=str(integration or ""),
        left_out=_left_out(runs, found),
        together=moments.together,
        quadrature_error=None if integration is None else integration.error,
    )


def _left_out(runs: Runs, found: Found) -> str:
    """Say which laws were cut off, and by how much that may change the mean."""
    texts = []
    if runs.endless:
        texts.append(f"{', '.join(runs.endless)}: enumerated but for a probability of {TAIL:.0e} at each end")
    if runs.neglected:
        texts.append(f"clamps and shifts of noise that decides, with a probability of {runs.neglected:.1g}")
    if runs.implicit:
        texts.append(_OF_GAMMA)
    if not texts:
        return ""
    name, index = found.worst
    change = float(tails(runs, found.moments, found.exact)[name][index])
    return f"{'; '.join(texts)}; this changes the mean by {change:.1e}, estimated by the last outcomes"


def _without_gradient(found: Found) -> list[str]:
    """The parameters at which there is nothing to see: the exact gradient is zero, and so is that of every outcome."""
    pairs = zip(found.exact.gradient.items(), found.moments.size, strict=True)
    return [name for (name, part), size in pairs if not size.any() and bool((part.abs() <= found.tolerance[name]).all())]


def _contributions(moments: Moments, position: int, index: tuple[int, ...]) -> tuple[Contribution, ...]:
    by_outcome = {outcome: (weight, gradient) for _, outcome, weight, gradient in moments.largest}
    by_outcome |= {tape.outcome: (tape.weight, gradient) for tape, gradient in moments.kept}
    every = [
        Contribution(outcome, weight, weight * float(gradient[position][index]))
        for outcome, (weight, gradient) in by_outcome.items()
    ]
    return tuple(sorted(every, key=lambda each: -abs(each.gradient))[:SHOWN])


def _warnings(runs: Runs, found: Found, noise: int) -> tuple[str, ...]:
    texts = []
    if not found.moments.chooses and not noise:
        texts.append("the loss draws nothing by torch: there is one outcome, and its gradient is compared as it stands")
    idle = _without_gradient(found)
    if idle and len(idle) < len(runs.params):
        texts.append(f"{', '.join(idle)} has no gradient in any outcome and needs none: nothing was tested there")
    if not idle and not any(bool(part.any()) for part in found.exact.gradient.values()):
        texts.append("the exact gradient is zero, so any multiple of a right gradient passes: audit at other parameters")
    if noise:
        texts.append(f"continuous noise was frozen ({noise} draws, {FROZEN} sets of values); variance is that given the noise")
    if runs.has_constant_seed:
        texts.append("the code seeds its generator with a constant: every call draws the same, and it was audited as if not")
    return tuple(texts)
