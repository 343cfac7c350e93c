"""Is a baseline free? What a constant added to the rewards adds to the mean of the gradient: E[w score].

The rewards are a tensor that the code reads. Where none is named, one is looked for that both loss and objective can reach, and
is taken for the rewards only if a one added to it adds a one to the objective in every outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import GradproofError, UsageError
from numeric.auditing.audit_mean import moments_of
from numeric.auditing.audit_report import AuditReport
from numeric.draws.dispatch import DispatchMode
from numeric.draws.tape import Count, explore
from numeric.means.runs import Runs
from numeric.state.reachable import reachable

MOST_OUTCOMES = 2**11
"""So many outcomes of loss and objective are run again without being asked."""

Reward = Tensor | Sequence[Tensor] | None


def with_baseline(runs: Runs, report: AuditReport, code: Mapping[str, Callable[[], Any]], reward: Reward) -> AuditReport:
    """Return a report that says whether a constant added to the rewards leaves the mean, where that can be told.

    Raises
        UsageError, if rewards were given that are no tensors of numbers, or that the loss does not read.
    """
    given = _given(reward)
    if report.frozen_noise or report.quadrature or report.sampling or report.vacuous or not report.finite:
        return report
    if given:
        return _measured(runs, report, code["loss"], given)
    if report.outcomes + report.objective_outcomes > MOST_OUTCOMES:
        return report
    for tensor in _shared(code, runs):
        try:
            if _is_reward(runs, code["objective"], tensor):
                return _measured(runs, report, code["loss"], [tensor])
        except (GradproofError, RuntimeError):  # not read by the loss, or no rewards after all
            continue
    return report


def _given(reward: Reward) -> list[Tensor]:
    found = [reward] if isinstance(reward, Tensor) else list(reward or ())
    if not all(isinstance(each, Tensor) and each.is_floating_point() and not each.requires_grad for each in found):
        message = "reward is the tensor, or are the tensors, of numbers without grad from which the loss reads its rewards."
        raise UsageError(message)
    return found


def _shared(code: Mapping[str, Callable[[], Any]], runs: Runs) -> list[Tensor]:
    """The tensors of numbers that both functions can reach, parameters left out."""
    own = {id(param) for param in runs.params.values()}
    ways = [
        {id(each): each for _, each in reachable([(name, function)]) if isinstance(each, Tensor) and id(each) not in own}
        for name, function in code.items()
    ]
    both = [each for key, each in ways[0].items() if key in ways[1]]
    return [each for each in both if each.is_floating_point() and not each.requires_grad and each.is_leaf and each.numel()]


def _is_reward(runs: Runs, objective: Callable[[], Any], tensor: Tensor) -> bool:
    before = _values(runs, objective)
    with _plus_one([tensor]):
        after = _values(runs, objective)
    slack = 1e3 * torch.finfo(tensor.dtype).eps
    return before.keys() == after.keys() and all(
        abs(after[outcome] - value - 1) <= slack * (1 + abs(value)) for outcome, value in before.items()
    )


def _values(runs: Runs, objective: Callable[[], Any]) -> dict[tuple[int, ...], float]:
    run = explore(lambda tape: runs.objective(objective, tape, differentiate=False)[0], MOST_OUTCOMES)
    return {tape.outcome: value for tape, value in run}


def _measured(runs: Runs, report: AuditReport, loss: Callable[[], Any], rewards: Sequence[Tensor]) -> AuditReport:
    reads = _Reads(rewards)

    def watched() -> Any:
        with reads:
            return loss()

    with _plus_one(rewards):
        moments = moments_of(runs, watched, 2 * report.outcomes, Count(report.outcomes, False, report.outcomes))
    if not reads.seen:
        message = "the loss does not read the rewards that were given as reward=; give the tensor that it indexes itself."
        raise UsageError(message)
    added = {name: mean - report.mean[name] for name, mean in zip(report.mean, moments.mean, strict=True)}
    slack = (2 * report.tolerance[name] + 1e-9 * size for name, size in zip(report.mean, moments.size, strict=True))
    free = all(bool((part.abs() <= each).all()) for part, each in zip(added.values(), slack, strict=True))
    return replace(report, baseline=added, baseline_free=free)


@contextmanager
def _plus_one(tensors: Sequence[Tensor]) -> Iterator[None]:
    kept = [each.detach().clone() for each in tensors]
    try:
        for each in tensors:
            each.data.add_(1)
        yield
    finally:
        for each, values in zip(tensors, kept, strict=True):
            each.data.copy_(values)


class _Reads(DispatchMode):
    """Note whether an operation takes one of these tensors, or a view of it."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self._places = {each.untyped_storage().data_ptr() for each in tensors}
        self.seen = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        tensors = [each for each in (*args, *(kwargs or {}).values()) if isinstance(each, Tensor)]
        self.seen |= any(each.untyped_storage().data_ptr() in self._places for each in tensors)
        return func(*args, **(kwargs or {}))
