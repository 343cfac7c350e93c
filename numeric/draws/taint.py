"""Frozen noise: which tensors hold it, and what may be done with them.

Frozen noise is a constant of the run, so code that moves it along smooth paths is checked at a few constants. Where it decides
something (a comparison, an index, a Python branch, an operation that is not known to be continuous), a constant says nothing
about the mean, and the code is refused by name. Where it meets a kink, in the backward pass too, that is noted in `rough`: what
holds at some values of the noise may not hold at others. One decision is exact: the untouched output of `torch.rand` compared
with a threshold is a Bernoulli draw, and is enumerated as one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from numeric.draws.random_ops import SAMPLING, Call
from numeric.draws.smooth_ops import functional, is_kinked, is_smooth
from numeric.draws.tape import NotAuditable

_memory = Tensor.untyped_storage
_COMPARISONS = {"lt": False, "le": False, "gt": True, "ge": True}
_FLIPPED = {False: True, True: False}
_CHECKING_FILES = ("distributions/constraints.py", "distributions/distribution.py")
_CHECKING_FUNCTIONS = {"check", "__init__", "_validate_sample"}
_SPENT = "uniform noise that was compared with a threshold before"
_HARMLESS = {"detach", "alias", "is_same_size", "_has_compatible_shallow_copy_type"}


class NotIntegrable(NotAuditable):
    """Continuous noise over which there is no quadrature: it decides at no fixed places, or the rules do not agree."""


class NotFreezable(NotAuditable):
    """Continuous noise whose frozen values say nothing about the mean: it decides something, or its law has parameters."""


class Uniform:
    """A tensor of untouched uniform noise: what each element was compared with, and on which side it fell."""

    low: list[float]
    high: list[float]

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.used = False
        self.low, self.high = [0.0] * values.numel(), [1.0] * values.numel()
        self.history: list[tuple[Tensor, Tensor]] = []

    def below(self, threshold: Tensor, choose: Callable[[Sequence[float]], int]) -> Tensor:
        """Decide for each element whether it is below a threshold, given the earlier decisions."""
        clamped = threshold.detach().double().clamp(0, 1).expand_as(self.values).reshape(-1).tolist()
        drawn = [self._decide(position, value, choose) for position, value in enumerate(clamped)]
        result = torch.tensor(drawn, dtype=torch.bool, device=self.values.device).reshape(self.values.shape)
        self.history.append((threshold, result))
        return result

    def probability(self) -> Tensor:
        """Return the probability of all decisions together as a float64 scalar, differentiable in the thresholds."""
        low, high = torch.zeros_like(self.values).double(), torch.ones_like(self.values).double()
        for threshold, below in self.history:
            clamped = threshold.double().clamp(0, 1)
            high = torch.where(below, torch.minimum(high, clamped), high)
            low = torch.where(below, low, torch.maximum(low, clamped))
        return (high - low).prod()

    def _decide(self, position: int, value: float, choose: Callable[[Sequence[float]], int]) -> bool:
        low, high = self.low[position], self.high[position]
        inside = min(max((value - low) / (high - low), 0.0), 1.0)
        below = bool(choose((1 - inside, inside)))
        if below:
            self.high[position] = min(high, value)
        else:
            self.low[position] = max(low, value)
        return below


class Taint:
    """The storages that hold frozen noise in one run; they are kept alive, so that no address is used twice."""

    def __init__(self) -> None:
        self._held: dict[int, Tensor] = {}
        self._origin: dict[int, str] = {}
        self.uniforms: dict[int, Uniform] = {}
        self.rough: set[str] = set()
        """The operations with kinks that noise went through, and in the backward pass all that are not known to be smooth."""
        self._shared: dict[int, Tensor] = {}

    def add(self, values: Tensor, origin: str, *, uniform: bool) -> None:
        """Mark the output of a draw of noise."""
        self._mark(values, origin)
        self.uniforms.pop(_address(values), None)
        if uniform:
            self.uniforms[_address(values)] = Uniform(values)

    def is_compared(self, values: Tensor) -> bool:
        """Whether a draw was decided by comparisons with thresholds, so that no value of it matters."""
        uniform = self.uniforms.get(_address(values))
        return uniform is not None and bool(uniform.history)

    def among(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return those of some tensors that hold noise."""
        return [tensor for tensor in tensors if _address(tensor) in self._held] if self._held else []

    def intercept(self, call: Call, touched: list[Tensor], choose: Callable[[Sequence[float]], int]) -> Tensor | None:
        """Return the result of a comparison of untouched uniform noise; note what else is done to such noise.

        Raises
            NotAuditable, where noise is both compared and used.
        """
        if call.name in _HARMLESS:
            return None
        compared = self._compared(call, touched)
        if compared is not None:
            uniform, threshold, is_above = compared
            below = uniform.below(threshold, choose)
            return ~below if is_above else below
        self._require_not_compared(call, touched)
        return None

    def propagate(self, call: Call, touched: list[Tensor], output: Any) -> None:
        """Mark what an operation made of noise.

        Raises
            NotAuditable, where it is a decision.
        """
        origin = self._origin[_address(touched[0])]
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if decides(call, outputs) and not _asks_for_nan(call) and not _is_allowed():
            raise _decides(origin, call)
        self.note_rough(call)
        self.mark(touched, outputs)

    def note_rough(self, call: Call) -> None:
        """Note an operation that is not known to be smooth; equality with a number has probability zero and is none."""
        if not is_smooth(call) and functional(call) not in {"eq", "ne", "isnan", "isinf"} and not _checks_a_law():
            self.rough.add(functional(call))

    def mark(self, touched: list[Tensor], outputs: Sequence[Tensor]) -> None:
        """Mark the floating-point tensors that were made of noise."""
        for leaf in outputs:
            if leaf.is_floating_point():
                self._mark(leaf, self._origin[_address(touched[0])])

    def leave(self, way: str) -> None:
        """Refuse that noise leaves torch, by the name of the way that it takes.

        Raises
            NotFreezable, always.
        """
        raise NotFreezable(leaves_torch(way))

    def share(self, tensor: Tensor) -> None:
        """Note that something outside torch sees the memory of a tensor from now on."""
        self._shared[_address(tensor)] = tensor

    def _compared(self, call: Call, touched: list[Tensor]) -> tuple[Uniform, Tensor, bool] | None:
        if call.name not in _COMPARISONS or len(touched) != 1 or _is_allowed():
            return None
        left, right = call.args[0], call.args[1]
        is_left = touched[0] is left
        uniform, other = self.uniforms.get(_address(touched[0])), right if is_left else left
        if uniform is None or uniform.used or touched[0].shape != uniform.values.shape or not touched[0].is_contiguous():
            return None
        threshold = torch.as_tensor(other, device=touched[0].device)
        if threshold.dim() > uniform.values.dim() or threshold.numel() > uniform.values.numel():
            return None
        above = _COMPARISONS[call.name]
        return uniform, threshold, above if is_left else _FLIPPED[above]

    def _require_not_compared(self, call: Call, touched: list[Tensor]) -> None:
        for tensor in touched:
            uniform = self.uniforms.get(_address(tensor))
            if uniform is None or _is_allowed():
                continue
            if uniform.history:
                raise _decides(_SPENT, call)
            uniform.used = True

    def _mark(self, tensor: Tensor, origin: str) -> None:
        if tensor.layout != torch.strided:
            self.leave("a sparse tensor, in which it is not followed")
            return
        if _address(tensor) in self._shared or not _memory(tensor).resizable():
            self.leave("memory that something outside torch, such as an array of numpy, shares")
        self._held[_address(tensor)] = tensor
        self._origin[_address(tensor)] = origin


def decides(call: Call, outputs: Sequence[Tensor]) -> bool:
    """Whether an operation may give the same for many values of its argument and jump between them."""
    discrete = any(not (leaf.is_floating_point() or leaf.is_complex()) for leaf in outputs)
    return discrete or not (is_smooth(call) or is_kinked(call))


def _address(tensor: Tensor) -> int:
    return int(_memory(tensor)._cdata) if tensor.layout == torch.strided else 0


def _asks_for_nan(call: Call) -> bool:
    """Whether it is asked if noise is nan or infinite, as libraries do before they warn: almost surely it is not."""
    if call.name in {"eq", "ne"}:
        left, right = call.args
        return left is right or (not isinstance(right, Tensor) and math.isinf(right))
    return call.name in {"isnan", "isinf"}


def _is_allowed() -> bool:
    """Whether a decision about noise has no effect: in the backward pass (sign of abs) or where a law checks its arguments."""
    return torch._C._current_graph_task_id() != -1 or _checks_a_law()


def _checks_a_law() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith(_CHECKING_FILES) and frame.f_code.co_name in _CHECKING_FUNCTIONS:
            return True
        frame = frame.f_back
    return False


def leaves_torch(way: Any) -> str:
    """Return the message of an error for noise that leaves torch."""
    return (
        f"continuous noise leaves torch by {way}, so that nobody sees what it decides; keep it in a tensor, give the places "
        f"where a decision changes as breakpoints=, draw what is decided by torch.bernoulli or torch.multinomial, "
        f"or {SAMPLING}."
    )


def _decides(origin: str, call: Call) -> NotFreezable:
    message = (
        f"continuous noise ({origin}) decides the outcome by {call.func}; expected discrete draws, noise on differentiable "
        "paths only, "
        "or torch.rand(...) compared with a threshold as it was drawn. Draw by torch.bernoulli or torch.multinomial, or "
        f"{SAMPLING}."
    )
    return NotFreezable(message)
