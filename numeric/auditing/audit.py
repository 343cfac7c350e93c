"""Audit torch code: the exact mean, bias and variance of the gradient that it really computes, over every outcome.

The code runs once for each outcome of its random draws, with the draws taken from a tape and each outcome weighted by its
probability. There is no seed, no Monte Carlo error and nothing that flakes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import GradproofError, TooLarge, UsageError
from numeric.auditing.arguments import require_budget, require_function
from numeric.auditing.audit_mean import IMPLICIT, Found, Tolerances, compared, exact_mean_of, moments_of, tails
from numeric.auditing.audit_report import (
    AuditReport as AuditReport,
    AuditWarning as AuditWarning,
    BiasedGradient as BiasedGradient,
    Contribution,
    UndecidedAudit as UndecidedAudit,
    VacuousAudit as VacuousAudit,
)
from numeric.auditing.audit_runs import Runs
from numeric.auditing.batched import outcomes
from numeric.auditing.batched_mean import batched_exact_mean, batched_moments, row_choices
from numeric.auditing.elsewhere import with_factors
from numeric.auditing.precision import in_dtype
from numeric.auditing.quadrature import Integrated, integrated
from numeric.auditing.sampled import differing_points, sampled
from numeric.draws.moments import Moments
from numeric.draws.random_ops import TAIL
from numeric.draws.restoring import named, put_back
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import Choice, Count as Count, NotAuditable as NotAuditable, Tape, count

Params: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Breakpoints: TypeAlias = Sequence[Sequence[float]]
Progress: TypeAlias = Callable[[str, Count], object]

DEFAULT_BUDGET = 100_000
FROZEN = 3
GENERIC_POINTS, MOST_GENERIC_RUNS = 64, 2000
QUADRATURE_BUDGET, DIFFERING_BUDGET = 2**13, 2**11
"""So many nodes a grid has at most, in code that noise decides in and in smooth code; more is sampled."""
SHOWN = 5


@dataclass(frozen=True)
class AuditCase:
    """What is audited, named in a file for `gradproof audit file.py:case`; the fields are the arguments of `audit`.

    Called, it audits itself:

    >>> import torch
    >>> theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    >>> def loss():
    ...     b = torch.distributions.Categorical(logits=theta).sample()
    ...     return b * torch.log_softmax(theta, -1)[b]
    >>> def objective():
    ...     return torch.multinomial(theta.softmax(-1), 1).sum()
    >>> AuditCase(loss=loss, params=theta, objective=objective)().unbiased
    True
    """

    loss: Callable[..., Any]
    params: Params
    objective: Callable[..., Any]
    state: Sequence[Any] = ()
    batched: bool = False
    atol: float | None = None
    rtol: float | None = None
    breakpoints: Breakpoints | None = None
    dtype: torch.dtype | None = None

    def __call__(
        self, *, budget: int = DEFAULT_BUDGET, raise_exception: bool = True, progress: Progress | None = None
    ) -> AuditReport:
        return audit(
            self.loss,
            self.params,
            self.objective,
            budget=budget,
            atol=self.atol,
            rtol=self.rtol,
            raise_exception=raise_exception,
            state=self.state,
            batched=self.batched,
            breakpoints=self.breakpoints,
            dtype=self.dtype,
            progress=progress,
        )


def audit(
    loss: Callable[..., Any],
    params: Params,
    objective: Callable[..., Any],
    *,
    budget: int = DEFAULT_BUDGET,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    state: Sequence[Any] = (),
    batched: bool = False,
    breakpoints: Breakpoints | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Hold the mean of a stochastic gradient against the exact gradient of its objective, over every outcome of the draws.

    Args
        loss             runs the code; returns the scalar on which backward is called, or None if it called backward itself
        params           the leaf tensors whose gradients are audited: one, a list, or a dictionary; any shapes
        objective        draws in its own way, returns the scalar whose mean is differentiated; the draws need no gradient
                         estimator
        budget           the most outcomes that loss or objective may have
        atol, rtol       mean and exact gradient may differ by atol + rtol * max(|exact|, E|gradient|) in each coordinate; by
                         default
                         they follow the coarsest dtype that the gradients pass through (float64: 1e-12 and 1e-9)
        raise_exception  raise where the gradient is biased, in place of a report that is false
        state            tensors, modules, dictionaries, lists or objects that the code changes (a moving average): each run
                         starts
                         from what they are now, so the gradient is audited at that state
        batched          loss and objective take a number n and return n values, (n,), of n rows that are drawn independently:
                         the
                         outcomes are run thousands at a time; mean and variance are those of the gradient of one row

        breakpoints      for continuous noise that decides something: where, in values of its standard law (uniform on (0, 1),
                         normal of mean 0 and deviation 1, ...), one list for each draw in their order; found if not given
        dtype            torch.float64 runs code of lower precision in float64: parameters, buffers, casts; autocast is off
        progress         called with "loss" and "objective" and the `Count` of its outcomes before the long work starts

    Continuous noise on smooth paths is frozen: analytic functions that agree at generic values agree everywhere. Where the
    gradients differ there, where the code has kinks or decides by noise, or a law has parameters, the noise is integrated, by
    quadrature between breakpoints, with an error that is estimated and tolerated. Where that is not feasible it is sampled:
    then the answer is an interval for the bias with a stated rate of error, "unbiased up to x" where x is at most 1 % of the
    gradient, and "undecided" where it is more.

    Returns
        An AuditReport, true if the gradient is unbiased and there was something to see.

    Raises
        BiasedGradient, if it is not unbiased and raise_exception is true; it carries the report.
        UndecidedAudit, if raise_exception is true and sampling does not bound the bias.
        VacuousAudit, if raise_exception is true and no outcome has a gradient where the exact one is zero: code that does
        nothing would pass.
        NotAuditable, if the code draws what cannot be enumerated or integrated, or depends on something other than parameters
        and draws.
        TooLarge, if there are more outcomes than the budget.
        UsageError, for parameters or values that are no tensors of the right kind.

    A straight-through gradient of E[b * b * b - b] is not that of the objective, which is zero:

    >>> import torch
    >>> theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    >>> def loss():
    ...     p = theta.sigmoid()
    ...     b = torch.bernoulli(p).detach() + p - p.detach()
    ...     return b**3 - 2 * b
    >>> def objective():
    ...     b = torch.bernoulli(theta.sigmoid())
    ...     return b**3 - 2 * b
    >>> report = audit(loss, theta, objective, raise_exception=False)
    >>> report.unbiased, float(report.exact["theta"]), float(report.mean["theta"]), report.outcomes
    (False, -0.25, -0.125, 2)
    """
    parameters = named(params)
    require_budget(budget, DEFAULT_BUDGET)
    for function, name in ((loss, "loss"), (objective, "objective")):
        require_function(function, name, *([1] if batched else []))
    with ExitStack() as stack:
        stack.enter_context(in_dtype(dtype, parameters, (params, *state)))
        runs = Runs(parameters)
        start = stack.enter_context(put_back(parameters, state, runs.generators, {"loss": loss, "objective": objective}))
        runs.reset, runs.bystanders = start.reset, start.bystanders
        plan = _Plan(budget, (atol, rtol), progress or (lambda *_: None), breakpoints)
        run = _audited_rows if batched else _audited
        report = replace(run(runs, loss, objective, plan), graphless=not runs.has_graph)
        quiet = replace(plan, progress=lambda *_: None)
        report = with_factors(runs, report, lambda: run(runs, loss, objective, quiet))
        start.bystanders.require_untouched()
        report = _at_present_state(report, (*start.state.moved, *start.bystanders.made))
    if raise_exception and not report:
        raise report.failure
    for text in report.warnings:
        warnings.warn(text, AuditWarning, stacklevel=2)
    return report


def replay(
    loss: Callable[[], Any], params: Params, choices: Iterable[int], *, state: Sequence[Any] = (), frozen: int = 0
) -> dict[str, Tensor]:
    """Run the code on one outcome, given by the choices of a report, and return its gradient by parameter.

    Raises
        NotAuditable, if the code cannot draw these choices.

    >>> import torch
    >>> theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    >>> replay(lambda: theta * torch.bernoulli(torch.tensor(0.5)), theta, (1,))
    {'theta': tensor(1., dtype=torch.float64)}
    """
    parameters = named(params)
    runs = Runs(parameters)
    prefix = [Choice("the choice given", (), index) for index in choices]
    with put_back(parameters, state, runs.generators, {"loss": loss}) as start:
        runs.reset, runs.frozen = start.reset, frozen
        gradient = runs.loss(loss, Tape(prefix, strict=False))
    return dict(zip(parameters, gradient, strict=True))


@dataclass(frozen=True)
class _Plan:
    budget: int
    tolerances: Tolerances
    progress: Progress
    breakpoints: Breakpoints | None


def _audited(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: _Plan) -> AuditReport:
    """Enumerate; where that settles nothing about continuous noise, integrate, and where that is not feasible, sample."""
    if plan.breakpoints is not None:
        return _integrated(runs, loss, objective, plan, plan.budget)
    report: AuditReport | None = None
    try:
        report = _enumerated(runs, loss, objective, plan)
    except NotFreezable as error:
        reason = str(error)
    else:
        if not report.frozen_noise or report.vacuous or not report.finite:
            return report
        reason = _unsettled(runs, loss, objective, report)
        if not reason:
            return report
    nodes = QUADRATURE_BUDGET if report is None else DIFFERING_BUDGET
    try:
        return _integrated(runs, loss, objective, plan, min(plan.budget, nodes))
    except (NotIntegrable, NotFreezable, TooLarge) as error:
        why = f"{reason} Quadrature over the noise was tried: {error}".strip()
        return _sampled(runs, loss, objective, report, type(error)(why))


def _unsettled(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], report: AuditReport) -> str:
    """Say why equal gradients at a few frozen values of the noise are no proof, "" where they are one.

    Functions that are analytic in the noise, and agree at generic values of it, agree everywhere.
    """
    if not report.unbiased:
        return "The gradients differ at a frozen value of the noise."
    if not runs.rough:
        points = max(FROZEN, min(GENERIC_POINTS, MOST_GENERIC_RUNS // (report.outcomes + report.objective_outcomes)))
        if differing_points(runs, loss, objective, points) == 0:
            return ""
    if runs.rough:
        return f"The code is only piecewise smooth in its noise ({', '.join(sorted(runs.rough))})."
    return "The gradients agree at some values of the noise and differ at others."


def _integrated(
    runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: _Plan, budget: int
) -> AuditReport:
    result = integrated(runs, loss, objective, budget, plan.tolerances, plan.breakpoints, plan.progress)
    return _report(runs, result.found, runs.draws, 0, result)


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
    )


def _enumerated(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], plan: _Plan) -> AuditReport:
    budget = plan.budget
    runs.require_repeatable(loss)
    noise, draws = runs.noise, runs.draws
    runs.require_fixed_noise(loss)
    expected = count(lambda tape: runs.loss(loss, tape), budget)
    plan.progress("loss", expected)
    runs.require_same_noise(objective, noise)
    plan.progress("objective", count(lambda tape: runs.objective(objective, tape, differentiate=False), budget))
    found = []
    for frozen in range(FROZEN if noise else 1):
        runs.frozen = frozen
        moments = moments_of(runs, loss, budget, expected)
        runs.bystanders.require_untouched()
        found.append(compared(runs, moments, exact_mean_of(runs, objective, budget), plan.tolerances))
        runs.require_repeated(loss, moments.kept)
    worst = max(found, key=lambda each: (each.ratio > 1, bool(each.coarse), each.ratio))
    return _report(runs, worst, draws, len(noise))


def _audited_rows(runs: Runs, loss: Callable[[int], Any], objective: Callable[[int], Any], plan: _Plan) -> AuditReport:
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
        quadrature_error=None if integration is None else integration.error,
    )


def _at_present_state(report: AuditReport, drawn: Iterable[str]) -> AuditReport:
    """Say of which generators only one state was audited."""
    names = ", ".join(drawn)
    if not names:
        return report
    text = f"draws from {names} are not enumerated: the verdict is on the present state, from which each run starts"
    return replace(report, warnings=(*report.warnings, text))


def _left_out(runs: Runs, found: Found) -> str:
    """Say which laws were cut off, and by how much that may change the mean."""
    texts = []
    if runs.endless:
        texts.append(f"{', '.join(runs.endless)}: enumerated but for a probability of {TAIL:.0e} at each end")
    if runs.neglected:
        texts.append(f"clamps and shifts of noise that decides, with a probability of {runs.neglected:.1g}")
    if runs.implicit:
        texts.append(f"the derivative of gamma noise by its shape is torch's own, of which {IMPLICIT} is tolerated")
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
