"""Exact expectations of torch code: of an objective with its gradient, and of anything that is computed from discrete draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.auditing.arguments import require_budget, require_function
from numeric.auditing.audit import DEFAULT_BUDGET, Params
from numeric.auditing.audit_mean import exact_mean_of
from numeric.auditing.precision import in_dtype
from numeric.draws.restoring import named, put_back
from numeric.draws.tape import NotAuditable, Tape, count, explore
from numeric.means.exact_mean import ExactMean, require_total
from numeric.means.runs import Runs


def exact_mean(
    objective: Callable[[], Any],
    params: Params,
    *,
    budget: int = DEFAULT_BUDGET,
    state: Sequence[Any] = (),
    dtype: torch.dtype | None = None,
) -> ExactMean:
    """Return E[objective()] and its exact gradient, over every outcome: what `sequential_test` needs of a sampler too large.

    Args and Raises as in `numeric.audit`; continuous noise is refused.

    >>> theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    >>> found = exact_mean(lambda: 4.0 * torch.multinomial(theta.softmax(-1), 1).sum(), theta)
    >>> found.value, found.gradient["theta"].tolist(), found.outcomes
    (2.0, [-1.0, 1.0], 2)
    """
    require_budget(budget, DEFAULT_BUDGET)
    require_function(objective, "objective")
    parameters = named(params)
    with ExitStack() as stack:
        stack.enter_context(in_dtype(dtype, parameters, (params, *state)))
        runs = Runs(parameters)
        start = stack.enter_context(put_back(parameters, state, runs.generators, {"objective": objective}))
        runs.reset, runs.bystanders = start.reset, start.bystanders
        count(lambda tape: runs.objective(objective, tape, differentiate=False), budget)
        _require_no_noise(runs)
        found = exact_mean_of(runs, objective, budget)
        _require_no_noise(runs)
        start.bystanders.require_untouched()
    return found


def exact_expectation(function: Callable[[], Any], *, budget: int = DEFAULT_BUDGET, state: Sequence[Any] = ()) -> Tensor:
    """Return E[function()] in float64, over every outcome of its discrete draws; function returns a number or a tensor.

    Raises
        NotAuditable, TooLarge and UsageError as `numeric.audit`; UsageError, too, if the shapes of its values differ.

    >>> coins = torch.full((3,), 0.5, dtype=torch.float64)
    >>> exact_expectation(lambda: torch.bernoulli(coins).sum() ** 2)
    tensor(3., dtype=torch.float64)
    """
    require_budget(budget, DEFAULT_BUDGET)
    require_function(function, "function")
    runs = Runs({})
    values: list[Tensor] = []

    def run(tape: Tape) -> Tensor:
        runs.loss(lambda: values.append(_as_tensor(function())), tape)
        _require_no_noise(runs)
        return values.pop()

    kept: list[tuple[Tape, Tensor]] = []
    total, weight = None, 0.0
    with put_back({}, state, runs.generators, {"function": function}) as start:
        runs.reset, runs.bystanders = start.reset, start.bystanders
        count(run, budget)
        for tape, value in explore(run, budget):
            if total is not None and total.shape != value.shape:
                message = f"function returned shapes {tuple(total.shape)} and {tuple(value.shape)}; expected one shape."
                raise UsageError(message)
            total, weight = value * tape.weight if total is None else total + value * tape.weight, weight + tape.weight
            kept = [*kept[:63], (tape, value)]
        _require_repeated(run, kept)
        start.bystanders.require_untouched()
    require_total(weight)
    return torch.zeros(()) if total is None else total


def _as_tensor(value: Any) -> Tensor:
    if not isinstance(value, (int, float, Tensor)) or (isinstance(value, Tensor) and value.is_complex()):
        message = f"function returned a {type(value).__name__}; expected a number or a real tensor."
        raise UsageError(message)
    return torch.as_tensor(value, dtype=torch.float64).detach().clone()


def _require_repeated(run: Callable[[Tape], Tensor], kept: Sequence[tuple[Tape, Tensor]]) -> None:
    for tape, value in reversed(kept):
        again = run(Tape(tape.choices))
        if not torch.allclose(again, value, rtol=1e-12, atol=1e-12, equal_nan=True):
            message = (
                f"the same draws {tape.outcome[:12]} gave two values: something else changes between the runs; declare it as "
                "state=[...], or remove it."
            )
            raise NotAuditable(message)


def _require_no_noise(runs: Runs) -> None:
    if runs.noise:
        message = (
            f"the code draws continuous noise ({', '.join(family for family, _ in runs.noise)}), of which there is no list of "
            "outcomes; draw discretely, or audit a loss against it with numeric.audit, which integrates noise."
        )
        raise NotAuditable(message)
