"""Audit torch code: the exact mean, bias and variance of the gradient that it really computes, over every outcome.

The code runs once for each outcome of its random draws, with the draws taken from a tape and each outcome weighted by its
probability. There is no seed, no Monte Carlo error and nothing that flakes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor

from numeric.auditing.arguments import require_budget, require_function, require_jobs
from numeric.auditing.audit_report import (
    AuditReport as AuditReport,
    AuditWarning as AuditWarning,
    BiasedGradient as BiasedGradient,
    UndecidedAudit as UndecidedAudit,
    UnexpectedVerdict as UnexpectedVerdict,
    VacuousAudit as VacuousAudit,
)
from numeric.auditing.baseline import with_baseline
from numeric.auditing.elsewhere import with_factors
from numeric.auditing.measured import Breakpoints, Plan, Progress, measured, measured_rows
from numeric.auditing.precision import in_dtype
from numeric.auditing.targets import among, expectation
from numeric.draws.restoring import listed, named, put_back
from numeric.draws.tape import Choice, Count as Count, NotAuditable as NotAuditable, Tape, explore
from numeric.means.runs import Runs

Params: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor] | torch.nn.Module
Objective: TypeAlias = Callable[..., Any] | Mapping[str, Callable[..., Any]]

DEFAULT_BUDGET = 100_000
SEEDED = (
    "the code seeds its generator with a constant, so that every call draws the same and has one gradient, which is not the "
    "mean that was audited; seed once, before the code is called."
)


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
    objective: Objective
    state: Sequence[Any] = ()
    batched: bool = False
    atol: float | None = None
    rtol: float | None = None
    breakpoints: Breakpoints | None = None
    dtype: torch.dtype | None = None
    reward: Tensor | Sequence[Tensor] | None = None
    expect: str | None = None
    by: Fraction | float | None = None
    at_most: float | None = None

    def __call__(
        self,
        *,
        budget: int = DEFAULT_BUDGET,
        raise_exception: bool = True,
        progress: Progress | None = None,
        jobs: int = 1,
    ) -> AuditReport:
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        return audit(**options, budget=budget, raise_exception=raise_exception, progress=progress, jobs=jobs)


def audit(
    loss: Callable[..., Any],
    params: Params,
    objective: Objective,
    *,
    budget: int = DEFAULT_BUDGET,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    state: Sequence[Any] = (),
    batched: bool = False,
    breakpoints: Breakpoints | None = None,
    dtype: torch.dtype | None = None,
    reward: Tensor | Sequence[Tensor] | None = None,
    expect: str | None = None,
    by: Fraction | float | None = None,
    at_most: float | None = None,
    progress: Progress | None = None,
    jobs: int = 1,
) -> AuditReport:
    """Hold the mean of a stochastic gradient against the exact gradient of its objective, over every outcome of the draws.

    Args
        loss             runs the code; returns the scalar on which backward is called, or None if it called backward itself
        params           the leaf tensors whose gradients are audited: one, a list, or a dictionary; any shapes
        objective        draws in its own way, returns the scalar whose mean is differentiated; the draws need no gradient
                         estimator; or a dictionary of candidates, and the report says of which the mean is the gradient
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
        reward           a tensor, or some, of which the loss reads its rewards: the report says whether a constant added there
                         leaves the mean (`baseline_free`); found if not given, where the objective reads it too
        expect           the verdict on code that is biased by design: "scaled" with by=, "biased" with at_most=, the
                         largest bias of a coordinate; the audit passes where that is found, and fails where it changes
        jobs             run outcomes in so many processes, by joblib, in whose terms -1 is one for each processor; every number
                         of the report is the same for any number of them. Loss, objective, parameters and state are pickled
        progress         called with "loss" and "objective" and the `Count` of its outcomes before the long work starts

    Continuous noise on smooth paths is frozen: analytic functions that agree at generic values agree everywhere. Where the
    gradients differ there, where the code has kinks or decides by noise, or a law has parameters, the noise is integrated, by
    quadrature between breakpoints, with an error that is estimated and tolerated. Where that is not feasible it is sampled:
    then the answer is an interval for the bias with a stated rate of error, "unbiased up to x" where x is at most 1 % of the
    gradient, and "undecided" where it is more.

    Returns
        An AuditReport, true if the gradient is unbiased and there was something to see.

    Raises
        UnexpectedVerdict, if expect= is given, and raise_exception is true, and something else is found.
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
    require_budget(budget, DEFAULT_BUDGET)
    wanted = expectation(expect, by, at_most)
    require_jobs(jobs, batched=batched)
    plan = Plan(budget, (atol, rtol), progress or (lambda *_: None), breakpoints)

    def one(target: Callable[..., Any]) -> AuditReport:
        return _report(loss, params, target, plan, state=state, batched=batched, dtype=dtype, reward=reward, jobs=jobs)

    report = among(one, objective) if isinstance(objective, Mapping) else one(objective)
    report = report if wanted is None else wanted.held_against(report)
    if raise_exception and not report:
        raise report.failure
    for text in report.warnings:
        warnings.warn(text, AuditWarning, stacklevel=2)
    return report


def _report(
    loss: Callable[..., Any],
    params: Params,
    objective: Callable[..., Any],
    plan: Plan,
    *,
    state: Sequence[Any],
    batched: bool,
    dtype: torch.dtype | None,
    reward: Tensor | Sequence[Tensor] | None,
    jobs: int,
) -> AuditReport:
    parameters = named(params)
    for function, name in ((loss, "loss"), (objective, "objective")):
        require_function(function, name, *([1] if batched else []))
    code = {"loss": loss, "objective": objective}
    with ExitStack() as stack:
        stack.enter_context(in_dtype(dtype, parameters, (params, *listed(state))))
        runs = Runs(parameters)
        start = stack.enter_context(put_back(parameters, state, runs.generators, code))
        runs.reset, runs.bystanders = start.reset, start.bystanders
        if jobs != 1:
            others = import_module("numeric.auditing.jobs")  # joblib takes as long to import as many an audit takes
            runs.elsewhere = others.workers(jobs, runs, others.code_of(parameters, loss, objective, state, dtype))
        run = measured_rows if batched else measured
        report = replace(run(runs, loss, objective, plan), graphless=not runs.has_graph)
        quiet = replace(plan, progress=lambda *_: None)
        report = with_factors(runs, report, lambda: run(runs, loss, objective, quiet))
        if not batched:
            report = with_baseline(runs, report, code, reward)
        start.bystanders.require_untouched()
        if runs.has_constant_seed and report.verdict.startswith("unbiased"):
            report = replace(report, undecided=SEEDED)
        return _at_present_state(report, (*start.state.moved, *start.bystanders.made))


def every_outcome(
    loss: Callable[[], Any], params: Params, *, state: Sequence[Any] = (), budget: int = DEFAULT_BUDGET
) -> list[tuple[int, ...]]:
    """Return the choices of each outcome of a loss, as `replay` takes them.

    >>> theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    >>> every_outcome(lambda: theta * torch.bernoulli(torch.tensor([0.5, 1.0])).sum(), theta)
    [(0, 1), (1, 1)]
    """
    runs = Runs(named(params))
    with put_back(runs.params, state, runs.generators, {"loss": loss}) as start:
        runs.reset, runs.bystanders = start.reset, start.bystanders
        return [tape.outcome for tape, _ in explore(lambda tape: runs.loss(loss, tape), budget)]


def _at_present_state(report: AuditReport, drawn: Iterable[str]) -> AuditReport:
    """Say of which generators only one state was audited."""
    names = ", ".join(drawn)
    if not names:
        return report
    text = f"draws from {names} are not enumerated: the verdict is on the present state, from which each run starts"
    return replace(report, warnings=(*report.warnings, text))


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
