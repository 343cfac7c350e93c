"""The exact gradient of E[objective()], through the numbers that the objective computes and not through what it detaches.

    E(theta) = sum over the outcomes o of P(o; theta) value(o; theta)

Each outcome is replayed with its choices forced, under a function mode in which `no_grad` and `detach` have no effect: they
change
no number, so they cannot change the derivative of a number. The dispatch mode below sees the tensors that each draw was given
with
their graph, so P(o; theta) is a product of differentiable scalars, and autograd gives the gradient of P(o) value(o).

What leaves torch (`item`, numpy, a custom backward) can still cut a graph. So the result is held against the numbers
themselves:
E is enumerated again at shifted parameters, and its slope in a direction must be that of the gradient. A gradient that fails
is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from derive.language.errors import Disagreement, UsageError
from numeric.draws.interception import Interceptor
from numeric.draws.tape import NotAuditable, Tape
from numeric.means.derivatives import dirichlet, gamma, gumbel_softmax, normal
from numeric.means.slope import slope_error

Every: TypeAlias = Callable[[bool], Iterable[tuple[Tape, tuple[float, list[Tensor]]]]]
_ALIASES = {torch.Tensor.detach, torch.detach, torch.Tensor.data.__get__}  # type: ignore[attr-defined]
_LEAVES = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.item}

_WITHOUT_BACKWARD = {torch.binomial}
"""Draws that autograd refuses to pass; their output has no gradient, and their law is seen all the same."""


class ByNumbers(TorchFunctionMode):
    """Follow what is computed: inside, gradients are always recorded and `detach` detaches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._laws: list[AbstractContextManager[None]] = []

    def __enter__(self) -> ByNumbers:
        self._laws.append(dirichlet(by_numbers=True))
        self._laws[-1].__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._laws.pop().__exit__(*error)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.detach_:
            return args[0]
        if func is torch.normal:
            return normal(*args, **(kwargs or {}))
        if func is torch._standard_gamma:
            return gamma(*args, **(kwargs or {}))
        if func is torch.nn.functional.gumbel_softmax:
            with self:
                return gumbel_softmax(*args, **(kwargs or {}))
        if getattr(func, "__wrapped__", func) in _LEAVES:
            return func(args[0].detach(), *args[1:], **(kwargs or {}))
        if func in _ALIASES:
            func, args, kwargs = torch.Tensor.view_as, (args[0], args[0]), {}
        if not torch.is_inference_mode_enabled():
            return _recorded(func, args, kwargs or {})
        with torch.inference_mode(False):
            return _recorded(func, args, kwargs or {})


def _recorded(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Make a call with gradients recorded, and leave it as it was whether they are: also where the call is to change that."""
    wanted, before = func not in _WITHOUT_BACKWARD, torch.is_grad_enabled()
    if wanted != before:
        torch._C._set_grad_enabled(wanted)
    try:
        return func(*args, **kwargs)
    finally:
        if torch.is_grad_enabled() != before:
            torch._C._set_grad_enabled(before)


@dataclass(frozen=True)
class ExactMean:
    """E[objective()] and its gradient by parameter, in float64, with what the check of the gradient found."""

    value: float
    gradient: dict[str, Tensor]
    outcomes: int
    slope_error: float
    tail: dict[str, Tensor] = field(default_factory=dict)
    """What the outcomes before the tails of endless laws add, without signs, by parameter."""


def outcome_gradient(intercepted: Interceptor, scalar: Tensor, params: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the gradient of P(outcome) value(outcome).

    Raises
        NotAuditable, if a tensor that a draw was given has been overwritten since.
    """
    with torch.enable_grad():
        probability = _probability(intercepted)
        weighted = probability * scalar.double()
    if not weighted.requires_grad:
        return [torch.zeros_like(param, dtype=torch.float64) for param in params.values()]
    found = torch.autograd.grad(weighted, list(params.values()), allow_unused=True)
    return [
        torch.zeros_like(param, dtype=torch.float64) if gradient is None else gradient.detach().double()
        for gradient, param in zip(found, params.values(), strict=True)
    ]


def _probability(intercepted: Interceptor) -> Tensor:
    """P(outcome) in float64: the factors carry the graph, and what has no parameters is a constant."""
    product = torch.ones((), dtype=torch.float64)
    for factor in intercepted.all_factors():
        product = product * factor().cpu()
    found, expected = float(product.detach()), intercepted.weight_of_factors
    if not math.isclose(found, expected, rel_tol=1e-9):
        message = (
            f"the probabilities that a draw of the objective was given are not the same after the run ({found:.6g}, not "
            f"{expected:.6g}): "
            "their tensor was overwritten in place; draw from a copy, as in torch.bernoulli(p.clone())."
        )
        raise NotAuditable(message)
    return product * (intercepted.tape.weight / expected)


def as_scalar(value: Any, what: str) -> Tensor:
    """Return a value as a scalar tensor.

    Raises
        UsageError, if it is something else.

    >>> as_scalar(2.0, "objective()")
    tensor(2., dtype=torch.float64)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=torch.float64)
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.reshape(())
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    message = f"{what} returned {shown}; expected a real scalar tensor; reduce it, for instance by .mean() or .sum()."
    raise UsageError(message)


def exact_mean(
    every: Every, params: Mapping[str, Tensor], *, step: float, tolerance: float, check: bool = True
) -> ExactMean:
    """Return the exact mean of an objective and its gradient, after the gradient was held against the numbers.

    Args
        every      runs the objective on each of its outcomes: the value, and if wanted the gradients of P(o) value(o)
        params     the parameters, by name; they are shifted in place for the check, and put back
        step       how far they are shifted, at first
        tolerance  how far slope and gradient may differ, relative to the sum of |P(o) value(o)|
        check      whether they are held against each other; else the error is nan

    Raises
        NotAuditable, if the slope of E contradicts the gradient.
        Disagreement, if the probabilities of all outcomes do not sum to one.
    """
    total, values, size, outcomes = 0.0, [], 0.0, 0
    gradient, tail = ([torch.zeros_like(param, dtype=torch.float64) for param in params.values()] for _ in range(2))
    for tape, (value, gradients) in every(True):
        total += tape.weight
        values.append(tape.weight * value)
        size += abs(values[-1])
        outcomes += 1
        for summed, last, part in zip(gradient, tail, gradients, strict=True):
            summed += part
            last += part.abs() if tape.is_at_end else 0
    require_total(total)
    size += math.sqrt(sum(float(part.square().sum()) for part in gradient))
    slack = tolerance * max(size, 1e-30)
    error = slope_error(lambda: _mean(every), params, gradient, step, slack) if check else math.nan
    by_name = (dict(zip(params, parts, strict=True)) for parts in (gradient, tail))
    return ExactMean(math.fsum(values), next(by_name), outcomes, error, next(by_name))


def _mean(every: Every) -> float:
    """The mean, nan where the probabilities do not sum to one: the parameters are outside the domain of a law."""
    runs = [(tape.weight, value) for tape, (value, _) in every(False)]
    return math.fsum(weight * value for weight, value in runs) if is_one(math.fsum(weight for weight, _ in runs)) else math.nan


def is_one(total: float) -> bool:
    """Whether the probabilities of all outcomes sum to one, within rounding."""
    return math.isclose(total, 1.0, rel_tol=1e-9)


def require_total(total: float) -> None:
    """Raise Disagreement unless the probabilities of all outcomes sum to one."""
    if not is_one(total):
        message = f"the probabilities of all outcomes sum to {total!r}, not to 1; please report the function, this is our bug."
        raise Disagreement(message)
