"""The mean of a batched gradient and of a batched objective, thousands of outcomes a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from numeric.auditing.batched import digits_of, outcomes, possible_rows, row_gradients, run_rows
from numeric.draws.moments import Moments
from numeric.draws.tape import Choice, NotAuditable, Tape, count
from numeric.means.exact_mean import ExactMean, is_one, require_total
from numeric.means.runs import Runs, default_tolerance
from numeric.means.slope import slope_error

CHUNK = 128
"""So many rows have their gradients taken at once, which costs the square of it."""

COMPARED_ROWS = 16
"""So many rows of the first chunk are also run alone, and one of each later chunk up to so many again."""


def row_choices(runs: Runs, function: Callable[[int], Any], budget: int) -> list[Choice]:
    """Return the choices that one row makes.

    Raises
        NotAuditable, if they depend on what is drawn.
        TooLarge, if there are more outcomes than the budget.
    """
    sizes: set[tuple[int, ...]] = set()
    tapes: list[Tape] = []

    def run(tape: Tape) -> None:
        runs.loss(lambda: _alone(function), tape)
        sizes.add(tuple(len(choice.probabilities) for choice in tape.choices))
        tapes.append(tape)

    count(run, budget)
    if len(sizes) > 1 or runs.noise:
        message = (
            "the rows of a batched function must draw the same, discrete choices whatever comes out of them; audit without "
            "batched=True, one run an outcome."
        )
        raise NotAuditable(message)
    return tapes[0].choices


def batched_moments(runs: Runs, loss: Callable[[int], Any], choices: Sequence[Choice]) -> Moments:
    """Return mean and variance of the gradient of one row.

    Raises
        NotAuditable, if a row gives another gradient when it is run alone: rows see each other, or something else changes.
    """
    moments, params = Moments(), list(runs.params.values())
    run = _rows_of(runs, loss, by_numbers=False)
    for chunk, every in enumerate(digits_of(choices, CHUNK)):
        digits, values, weights = possible_rows(run, every)
        weights = weights.detach()
        values = values if values.requires_grad else values + 0 * sum(param.sum() for param in params)
        compared = _compared(chunk, len(digits))
        gradients = row_gradients(values, params)
        moments.add_rows(digits, weights, gradients)
        for row in compared:
            _require_alone(runs, loss, choices, digits[row], float(weights[row]), [part[row] for part in gradients])
    runs.bystanders.require_untouched()
    require_total(moments.total)
    return moments


def batched_exact_mean(runs: Runs, objective: Callable[[int], Any], choices: Sequence[Choice]) -> ExactMean:
    """Return the exact mean of an objective of rows and its gradient, held against the numbers as in `exact_mean`."""
    params, total, mean, size = list(runs.params.values()), 0.0, 0.0, 0.0
    gradient = [torch.zeros_like(param, dtype=torch.float64) for param in params]
    run = _rows_of(runs, objective, by_numbers=True)
    for chunk, every in enumerate(digits_of(choices)):
        digits, values, weights = possible_rows(run, every)
        for row in _compared(chunk, len(digits)):
            weight, value = float(weights[row].detach()), float(values[row].detach())
            _require_alone_value(runs, objective, choices, digits[row], weight, value)
        weighted = weights * values.double()
        if weighted.requires_grad:
            found = torch.autograd.grad(weighted.sum(), params, allow_unused=True)
            gradient = [
                old if new is None else old + new.detach().double() for old, new in zip(gradient, found, strict=True)
            ]
        total += float(weights.detach().sum())
        mean += float(weighted.detach().sum())
        size += float(weighted.detach().abs().sum())
    require_total(total)
    standard = default_tolerance(runs.coarsest)
    size += math.sqrt(sum(float(part.square().sum()) for part in gradient))
    slack = standard.slope * max(size, 1e-30)
    error = slope_error(lambda: _mean(runs, objective, choices), runs.params, gradient, standard.step, slack)
    return ExactMean(mean, dict(zip(runs.params, gradient, strict=True)), outcomes(choices), error)


def _rows_of(runs: Runs, function: Callable[[int], Any], *, by_numbers: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def run(digits: Tensor) -> tuple[Tensor, Tensor]:
        runs.reset()
        return run_rows(function, digits, by_numbers=by_numbers)

    return run


def _mean(runs: Runs, objective: Callable[[int], Any], choices: Sequence[Choice]) -> float:
    """The mean, nan where the probabilities do not sum to one: the parameters are outside the domain of a law."""
    total, parts, run = 0.0, [], _rows_of(runs, objective, by_numbers=False)
    for digits in digits_of(choices):
        with torch.no_grad():
            _, values, weights = possible_rows(run, digits)
            parts.append(float((weights * values.double()).sum()))
            total += float(weights.sum())
    return math.fsum(parts) if is_one(total) else math.nan


def _alone(function: Callable[[int], Any]) -> Any:
    values = function(1)
    return values.sum() if isinstance(values, Tensor) and values.requires_grad else None


def _compared(chunk: int, count: int) -> set[int]:
    if chunk > 0:
        return {chunk * 97 % count} if chunk <= COMPARED_ROWS else set()
    return {position * (count - 1) // (COMPARED_ROWS - 1) for position in range(COMPARED_ROWS)}


def _require_alone(
    runs: Runs, loss: Callable[[int], Any], choices: Sequence[Choice], digits: Tensor, weight: float, gradient: list[Tensor]
) -> None:
    tape = _tape(choices, digits)
    alone = runs.loss(lambda: _alone(loss), tape)
    slack = max(1e-9, 256 * torch.finfo(runs.coarsest).eps)
    pairs = zip(alone, gradient, strict=True)
    same = all(torch.allclose(one, part, rtol=slack, atol=slack, equal_nan=True) for one, part in pairs)
    if not same or not math.isclose(tape.weight, weight, rel_tol=slack):
        raise _seen(digits)


def _require_alone_value(
    runs: Runs, objective: Callable[[int], Any], choices: Sequence[Choice], digits: Tensor, weight: float, value: float
) -> None:
    tape = _tape(choices, digits)
    alone, _ = runs.objective(lambda: objective(1).reshape(()), tape, differentiate=False)
    slack = max(1e-9, 256 * torch.finfo(runs.coarsest).eps)
    if not math.isclose(alone, value, rel_tol=slack, abs_tol=slack) or not math.isclose(tape.weight, weight, rel_tol=slack):
        raise _seen(digits)


def _tape(choices: Sequence[Choice], digits: Tensor) -> Tape:
    """The tape of one row."""
    prefix = [Choice(each.draw, each.probabilities, index) for each, index in zip(choices, digits.tolist(), strict=True)]
    return Tape(prefix, strict=False)


def _seen(digits: Tensor) -> NotAuditable:
    message = (
        f"row {tuple(digits.tolist())} of a batch gives something else than the same draws alone: the rows see each other (a "
        "mean or a normalisation over the batch), or something else changes between the runs. Audit without batched=True."
    )
    return NotAuditable(message)
