"""Whether a tolerance that follows the precision decides anything, and audits of low-precision code in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from derive.language.errors import UsageError
from numeric.means.runs import Runs, default_tolerance

SHARE = 1e-2
"""A tolerance decides where it is at most this part of the gradient: of its coordinate, or of this part of the largest one."""

ROUNDINGS = 16
"""A mean that is off by so many roundings of E|gradient| is not off by more than rounding."""


def too_coarse(
    runs: Runs, mean: Mapping[str, Tensor], exact: Mapping[str, Tensor], size: Mapping[str, Tensor], slack: Mapping[str, Tensor]
) -> str:
    """Say why a mean that is within its tolerance may still be wrong, "" where it may not.

    Args
        size   E|gradient|, by parameter
        slack  the tolerance, in place of which a smaller one is tried: that of float64, or of some roundings
    """
    scales = _scales(exact, size)
    worst: tuple[float, str] = (0.0, "")
    for name, part in exact.items():
        bias = (mean[name] - part).abs()
        open_ = (size[name] > 0) | (part != 0)
        for tolerance in _tolerances(runs.coarsest, torch.maximum(part.abs(), size[name]), slack[name]):
            open_ &= (bias > tolerance) | (tolerance > scales[name])
        if bool(open_.any()):
            worst = max(worst, (float((slack[name] / part.abs())[open_].max()), name))
    return _reason(runs, *worst) if worst[1] else ""


def _tolerances(dtype: torch.dtype, size: Tensor, slack: Tensor) -> Iterator[Tensor]:
    fine = default_tolerance(torch.float64)
    yield torch.minimum(fine.atol + fine.rtol * size, slack)
    yield torch.minimum(ROUNDINGS * torch.finfo(dtype).eps * size, slack)
    yield slack


def _scales(exact: Mapping[str, Tensor], size: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How wide a tolerance may be; relative to E|gradient| where the exact gradient is zero to the last digit."""
    largest, widest = (_largest(each) for each in (exact, size))
    if largest <= ROUNDINGS * torch.finfo(torch.float64).eps * widest:
        return {name: SHARE * part for name, part in size.items()}
    return {name: SHARE * part.abs().clamp(min=SHARE * largest) for name, part in exact.items()}


def _largest(parts: Mapping[str, Tensor]) -> float:
    return max((float(part.abs().max()) for part in parts.values() if part.numel()), default=0.0)


def _reason(runs: Runs, share: float, name: str) -> str:
    dtype = str(runs.coarsest).removeprefix("torch.")
    origin = f" (from {runs.lowered[runs.coarsest]})" if runs.coarsest in runs.lowered else ""
    part = f"{share:.2g} times the gradient" if share < float("inf") else "more than the gradient, which is zero there,"
    remedy = (
        "audit rewards of a smaller size, or at parameters where the gradient is larger"
        if runs.coarsest == torch.float64
        else "audit it with dtype=torch.float64, which runs the code in double precision"
    )
    return (
        f"the gradient passes through {dtype}{origin}, whose tolerance is {part} in a coordinate of {name}: code that is wrong "
        f"by as much would pass; {remedy}."
    )


@contextmanager
def in_dtype(dtype: torch.dtype | None, params: Mapping[str, Tensor], modules: Sequence[Any]) -> Iterator[None]:
    """Run what stands in a `with` block in float64: parameters, buffers, casts and the default; autocast is off.

    Args
        dtype    torch.float64, or None for the code as it is
        params   whose values are doubles inside, and the same bits as before afterwards
        modules  among these, those of torch have their other parameters and buffers converted too

    Raises
        UsageError, if the dtype is another one.
    """
    if dtype is None:
        yield
        return
    if dtype != torch.float64:
        message = f"dtype is {dtype!r}; expected torch.float64, in which the code is run, or None for the code as it is."
        raise UsageError(message)
    tensors = list({id(each): each for each in (*params.values(), *_inside(modules)) if _is_low(each)}.values())
    kept, usual = [each.data for each in tensors], torch.get_default_dtype()
    grads = [each.grad for each in tensors]
    try:
        for each, value in zip(tensors, kept, strict=True):
            each.grad = None
            each.data = value.double()
        torch.set_default_dtype(torch.float64)
        with InDouble():
            yield
    finally:
        torch.set_default_dtype(usual)
        for each, value, grad in zip(tensors, kept, grads, strict=True):
            each.grad = None
            each.data = value
            each.grad = grad


def _inside(modules: Sequence[Any]) -> list[Tensor]:
    found = [each for each in modules if isinstance(each, torch.nn.Module)]
    return [tensor for module in found for tensor in (*module.parameters(), *module.buffers())]


def _is_low(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


_CASTS = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}


class InDouble(TorchFunctionMode):
    """Compute in float64 whatever asks for a coarser precision: tensors, casts, dtypes; and switch autocast off."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__", "requires_grad_", "set_", "register_hook"):
            return func(*args, **(kwargs or {}))
        keeps = name.endswith("_") and not name.endswith("__")
        first = args[:1] if keeps else tree_map(_doubled, args[:1])
        others, named = tree_map(_doubled, args[1:]), tree_map(_doubled, dict(kwargs or {}))
        with _without_autocast(args):
            if func in _CASTS:
                return first[0].double()
            return func(*first, *others, **named)


def _doubled(value: Any) -> Any:
    if _is_low(value):
        return value.double()
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


def _without_autocast(args: Sequence[Any]) -> Any:
    device = next((each.device.type for each in args if isinstance(each, Tensor)), "cpu")
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
