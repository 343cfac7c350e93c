"""Audit torch code: the exact mean, bias and variance of the gradient that it really computes, over every outcome.

The code runs once for each outcome of its random draws, with the draws taken from a tape and each outcome weighted by its
probability. There is no seed, no Monte Carlo error and nothing that flakes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from derive.errors import UsageError
from numeric.audit_report import (
    AuditReport as AuditReport,
    AuditWarning as AuditWarning,
    BiasedGradient as BiasedGradient,
    Contribution,
    worst_coordinate,
)
from numeric.audit_runs import MOST_REPEATED, Runs, default_tolerance
from numeric.batched_mean import batched_exact_mean, batched_moments, row_choices
from numeric.callable_module import make_callable
from numeric.exact_mean import ExactMean, exact_mean, require_total
from numeric.moments import Moments
from numeric.restoring import Bystanders, named, put_back
from numeric.tape import Choice, NotAuditable as NotAuditable, Tape, count, explore

Params: TypeAlias = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

DEFAULT_BUDGET = 100_000
FROZEN = 3
SHOWN = 5
PROGRESS_FROM = 2_000

make_callable(__name__)


@dataclass(frozen=True)
class AuditCase:
    """What is audited, named in a file for `gradproof audit file.py:case`; the fields are the arguments of `audit`.

    Called, it audits itself:

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

    def __call__(self, *, budget: int = DEFAULT_BUDGET, raise_exception: bool = True) -> AuditReport:
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

    Returns
        An AuditReport, true if the gradient is unbiased.

    Raises
        BiasedGradient, if it is not and raise_exception is true; it carries the report.
        NotAuditable, if the code draws what cannot be enumerated, or depends on something other than parameters and draws.
        TooLarge, if there are more outcomes than the budget.
        UsageError, for parameters or values that are no tensors of the right kind.

    A straight-through gradient of E[b * b * b - b] is not that of the objective, which is zero:

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
    _require_budget(budget)
    runs = Runs(parameters)
    with put_back(parameters, state, runs.generators) as reset:
        runs.reset = reset
        work = _audited_rows if batched else _audited
        report = work(runs, loss, objective, budget, (atol, rtol))
    for text in report.warnings:
        warnings.warn(text, AuditWarning, stacklevel=2)
    if raise_exception and not report:
        raise BiasedGradient(report)
    return report


def replay(
    loss: Callable[[], Any], params: Params, choices: Iterable[int], *, state: Sequence[Any] = (), frozen: int = 0
) -> dict[str, Tensor]:
    """Run the code on one outcome, given by the choices of a report, and return its gradient by parameter.

    Raises
        NotAuditable, if the code cannot draw these choices.

    >>> theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
    >>> replay(lambda: theta * torch.bernoulli(torch.tensor(0.5)), theta, (1,))
    {'theta': tensor(1., dtype=torch.float64)}
    """
    parameters = named(params)
    runs = Runs(parameters)
    prefix = [Choice("the choice given", (), index) for index in choices]
    with put_back(parameters, state, runs.generators) as reset:
        runs.reset, runs.frozen = reset, frozen
        gradient = runs.loss(loss, Tape(prefix, strict=False))
    return dict(zip(parameters, gradient, strict=True))


@dataclass(frozen=True)
class _Found:
    moments: Moments
    exact: ExactMean
    frozen: int
    tolerance: dict[str, Tensor]
    worst: tuple[str, tuple[int, ...]]
    ratio: float


def _audited(
    runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], budget: int, tolerances: tuple[float | None, float |
    None]
) -> AuditReport:
    bystanders = Bystanders()
    runs.require_repeatable(loss, bystanders)
    noise, draws = runs.noise, runs.draws
    runs.require_fixed_noise(loss)
    outcomes, is_estimate = count(lambda tape: runs.loss(loss, tape), budget)
    runs.require_same_noise(objective, noise)
    count(lambda tape: runs.objective(objective, tape, differentiate=False), budget)
    found = []
    for frozen in range(FROZEN if noise else 1):
        runs.frozen = frozen
        moments = _moments(runs, loss, budget, outcomes, is_estimate=is_estimate)
        bystanders.require_untouched()
        found.append(_compared(runs, moments, objective, budget, tolerances))
        runs.require_repeated(loss, moments.kept)
    worst = max(found, key=lambda each: each.ratio)
    return _report(runs, worst, draws, len(noise))


def _moments(runs: Runs, loss: Callable[[], Any], budget: int, outcomes: int, *, is_estimate: bool) -> Moments:
    moments, stride = Moments(), max(1, outcomes // MOST_REPEATED)
    run = explore(lambda tape: runs.loss(loss, tape, salt=1), budget)
    for position, (tape, gradient) in enumerate(_shown(run, outcomes, is_estimate=is_estimate)):
        keep = position % stride == 0 and len(moments.kept) < 2 * MOST_REPEATED
        moments.add(tape, gradient, keep=keep)
        if keep:
            runs.remember_keys(tape)
    require_total(moments.total)
    return moments


def _shown(run: Iterator[Any], outcomes: int, *, is_estimate: bool) -> Iterator[Any]:
    """The runs, with a progress bar if they are many and somebody is looking."""
    console = Console(stderr=True)
    if outcomes < PROGRESS_FROM or not console.is_terminal:
        yield from run
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"{'about ' if is_estimate else ''}{outcomes} outcomes", total=outcomes)
        for each in run:
            yield each
            progress.advance(task)


def _audited_rows(
    runs: Runs,
    loss: Callable[[int], Any],
    objective: Callable[[int], Any],
    budget: int,
    tolerances: tuple[float | None, float | None],
) -> AuditReport:
    choices = row_choices(runs, loss, budget)
    moments = batched_moments(runs, loss, choices)
    aims = row_choices(runs, objective, budget)
    exact = batched_exact_mean(runs, objective, aims)
    return _report(runs, _found(runs, moments, exact, tolerances), runs.draws, 0)


def _compared(
    runs: Runs, moments: Moments, objective: Callable[[], Any], budget: int, tolerances: tuple[float | None, float | None]
) -> _Found:
    standard = default_tolerance(runs.coarsest)
    exact = exact_mean(
        lambda tape, differentiate: runs.objective(objective, tape, differentiate=differentiate),
        runs.params,
        budget,
        step=standard.step,
        tolerance=standard.slope,
    )
    return _found(runs, moments, exact, tolerances)


def _found(
    runs: Runs, moments: Moments, exact: ExactMean, tolerances: tuple[float | None, float | None]
) -> _Found:
    standard = default_tolerance(runs.coarsest)
    atol, rtol = (given if given is not None else usual for given, usual in zip(tolerances, standard, strict=False))
    tolerance = {
        name: atol + rtol * torch.maximum(gradient.abs(), size)
        for (name, gradient), size in zip(exact.gradient.items(), moments.size, strict=True)
    }
    mean = dict(zip(runs.params, moments.mean, strict=True))
    name, index = worst_coordinate(mean, exact.gradient, tolerance)
    ratio = float(((mean[name] - exact.gradient[name]).abs() / tolerance[name])[index].nan_to_num(nan=float("inf")))
    return _Found(moments, exact, runs.frozen, tolerance, (name, index), ratio)


def _report(runs: Runs, found: _Found, draws: tuple[str, ...], noise: int) -> AuditReport:
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
        reproduce=f"numeric.audit.replay(loss, params, {top}{suffix})",
    )


def _contributions(moments: Moments, position: int, index: tuple[int, ...]) -> tuple[Contribution, ...]:
    by_outcome = {outcome: (weight, gradient) for _, outcome, weight, gradient in moments.largest}
    by_outcome |= {tape.outcome: (tape.weight, gradient) for tape, gradient in moments.kept}
    every = [
        Contribution(outcome, weight, weight * float(gradient[position][index]))
        for outcome, (weight, gradient) in by_outcome.items()
    ]
    return tuple(sorted(every, key=lambda each: -abs(each.gradient))[:SHOWN])


def _warnings(runs: Runs, found: _Found, noise: int) -> tuple[str, ...]:
    texts = []
    if not found.moments.chooses and not noise:
        texts.append("the loss draws nothing by torch: there is one outcome, and its gradient is compared as it stands")
    if not any(bool(part.any()) for part in found.exact.gradient.values()):
        texts.append("the exact gradient is zero, so any multiple of a right gradient passes: audit at other parameters")
    if noise:
        texts.append(f"continuous noise was frozen ({noise} draws, {FROZEN} sets of values); variance is that given the noise")
    if runs.has_constant_seed:
        texts.append("the code seeds its generator with a constant: every call draws the same, and it was audited as if not")
    return tuple(texts)


def _require_budget(budget: int) -> None:
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        message = f"budget is {budget!r}; expected the most outcomes to run, a positive integer such as {DEFAULT_BUDGET}."
        raise UsageError(message)
