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
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from numeric.draws.laws.decisions import cancelled, decision, mixed
from numeric.draws.laws.forms import CLAMPS, Form, Noise, clamped_share, drawn_form, followed
from numeric.draws.random_ops import SAMPLING, Call
from numeric.draws.smooth_ops import FACTORED, functional, is_kinked, is_smooth
from numeric.draws.tape import NotAuditable, Tape

T = TypeVar("T")

_memory = Tensor.untyped_storage
_CHECKING_FILES = ("distributions/constraints.py", "distributions/distribution.py")
_CHECKING_FUNCTIONS = {"check", "__init__", "_validate_sample"}
_HARMLESS = {"is_same_size", "_has_compatible_shallow_copy_type"}

_READ_FACTORS = {"_linalg_check_errors", "linalg_lu_solve"}
"""They take pivots, or whether a factorisation succeeded, and nothing that they give jumps by it."""

MOST_CLAMPED = 1e-6
"""Of draws in few digits even their rounding is a share that a gradient may show."""

_SHAPES = {"empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"}
"""They ask a tensor for its shape alone."""


class NotIntegrable(NotAuditable):
    """Continuous noise over which there is no quadrature: it decides at no fixed places, or the rules do not agree."""


class NotFreezable(NotAuditable):
    """Continuous noise whose frozen values say nothing about the mean: it decides something, or its law has parameters."""


class Taint:
    """The storages that hold frozen noise in one run; they are kept alive, so that no address is used twice."""

    def __init__(self) -> None:
        self._held: dict[int, Tensor] = {}
        self._origin: dict[int, str] = {}
        self.rough: set[str] = set()
        """The operations with kinks that noise went through, and in the backward pass all that are not known to be smooth."""
        self._shared: dict[int, Tensor] = {}
        self._forms: dict[_Place, Form] = {}
        self._noises: dict[int, list[Noise]] = {}
        self._before: Tensor | None = None
        self.weight: float = 1.0
        """The probability of what was decided about noise."""

    def add(self, call: Call, values: Tensor, noise: Noise) -> None:
        """Mark the output of a draw of noise."""
        self._mark(values, f"from {call.func}")
        self._forget(values)
        self._noises[_address(values)] = [noise]
        form = drawn_form(call, values, noise)
        if form is None:
            self._use([values], call)
        else:
            self._forms[_place(values)] = form

    def among(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return those of some tensors that hold noise."""
        held = self._held
        return [tensor for tensor in tensors if _address(tensor) in held] if held else []

    @property
    def neglected(self) -> float:
        """The probability of what was left out where noise decides: clamps and shifts that are next to nothing."""
        return sum(noise.neglected for noise in self.decided())

    def decided(self) -> list[Noise]:
        """Return the noise that something was decided about."""
        return list(dict.fromkeys(noise for noises in self._noises.values() for noise in noises if noise.law is not None))

    def require_free(self, tensors: Sequence[Tensor], what: str) -> None:
        """Raise NotFreezable if one of some tensors holds noise that was decided: its values are not those of the decision."""
        for tensor in self.among(tensors):
            if any(noise.law is not None for noise in self._noises.get(_address(tensor), ())):
                raise _spent(what)

    def intercept(self, call: Call, touched: list[Tensor], tape: Tape) -> Any:
        """Return the result of a decision about noise whose law is known, None of any other operation.

        Raises
            NotFreezable, where noise is both decided and used.
        """
        self._before = _overwritten(call, touched)
        forms = [self._forms.get(_place(tensor)) for tensor in touched]
        if _in_backward() or any(form is None for form in forms):
            return None
        known = [form for form in forms if form is not None]
        if len(known) == 2:
            return cancelled(call, *known)
        if len(known) != 1 or known[0].noise.used or checks_a_law():
            return None
        before = len(tape.choices)
        found = decision(call, touched[0], known[0], tape)
        self.weight *= Tape.weight_of(tape.choices[before:])
        for values in found.values if found else ():
            self._mark(values, self._origin[_address(touched[0])])
            self._noises[_address(values)] = [known[0].noise]
        return found and found.output

    def draw(self, call: Call, touched: list[Tensor], tape: Tape) -> Tensor | None:
        """Return a discrete draw whose law is noise, where noise and draw together have a law; else the noise is used.

        Raises
            NotFreezable, where the noise was decided.
        """
        form = self._forms.get(_place(touched[0])) if len(touched) == 1 else None
        before = len(tape.choices)
        drawn = None if form is None else mixed(call, form, tape)
        self.weight *= Tape.weight_of(tape.choices[before:])
        if drawn is None:
            self._use(touched, call)
        return drawn

    def propagate(self, call: Call, touched: list[Tensor], output: Any) -> None:
        """Mark what an operation made of noise.

        Raises
            NotAuditable, where it is a decision.
        """
        if call.name in _SHAPES:
            return
        origin = self._origin[_address(touched[0])]
        outputs = tensors_in(output)
        if decides(call, outputs) and not _asks_for_nan(call) and not self.may_decide(call):
            raise _decides(origin, call)
        self.require_integers_unread(call, touched)
        if not self._clamps_ends(call, touched):
            self.note_rough(call)
        self.mark(touched, outputs, integers=functional(call) in FACTORED)
        self._follow(call, touched, output)

    def may_decide(self, call: Call) -> bool:
        """Whether a decision about noise changes nothing of what is computed from the run."""
        return _is_allowed()

    def _clamps_ends(self, call: Call, touched: list[Tensor]) -> bool:
        """Whether a clamp moves noise no more than the rounding of its draw does, as laws do before they take a logarithm."""
        form = self._forms.get(_place(touched[0])) if functional(call) in CLAMPS and len(touched) == 1 else None
        return form is not None and clamped_share(call, form) <= min(2 * torch.finfo(touched[0].dtype).eps, MOST_CLAMPED)

    def _follow(self, call: Call, touched: list[Tensor], output: Any) -> None:
        """Note the form of what an operation made of noise; where it has none, the noise is used."""
        if call.name in _HARMLESS or _asks_for_nan(call) or checks_a_law():
            return
        outputs = tensors_in(output)
        forms = [self._forms.get(_place(tensor)) for tensor in touched]
        known = [form for form in forms if form is not None]
        found = None if len(known) < len(forms) or _in_backward() else followed(call, known, touched, output, self._before)
        noises = list(dict.fromkeys(noise for tensor in touched for noise in self._noises.get(_address(tensor), ())))
        if call.func._schema.is_mutable:
            for leaf in outputs:
                self._forget(leaf)
        if found is None:
            self._use(touched, call)
        for leaf, form in zip(outputs, found or (), strict=False):
            self._forms[_place(leaf)] = form
        for leaf in outputs:
            kept = self._noises.setdefault(_address(leaf), [])
            kept += [noise for noise in noises if noise not in kept]

    def _use(self, touched: Sequence[Tensor], call: Call) -> None:
        """Note that the values of noise matter."""
        self.require_free(touched, str(call.func))
        for tensor in touched:
            for noise in self._noises.get(_address(tensor), ()):
                noise.used = True

    def _forget(self, tensor: Tensor) -> None:
        """Drop the forms of all views of a tensor that is overwritten."""
        address = _address(tensor)
        self._forms = {place: form for place, form in self._forms.items() if place[0] != address}

    def note_rough(self, call: Call) -> None:
        """Note an operation that is not known to be smooth; equality with a number has probability zero and is none."""
        if not is_smooth(call) and functional(call) not in {"eq", "ne", "isnan", "isinf"} and not checks_a_law():
            self.rough.add(functional(call))

    def mark(self, touched: Sequence[Tensor], outputs: Sequence[Tensor], *, integers: bool) -> None:
        """Mark the tensors that were made of noise; integers too where the operation was not held to be a decision."""
        for leaf in outputs:
            if integers or not _is_integer(leaf):
                self._mark(leaf, self._origin[_address(touched[0])])

    def require_integers_unread(self, call: Call, touched: Sequence[Tensor]) -> None:
        """Raise NotFreezable where code reads integers of noise: pivots, or whether a factorisation succeeded."""
        if call.name not in _READ_FACTORS and any(map(_is_integer, touched)) and not _is_allowed():
            raise _decides(self._origin[_address(touched[0])], call)

    def leave(self, way: str) -> None:
        """Refuse that noise leaves torch, by the name of the way that it takes.

        Raises
            NotFreezable, always.
        """
        raise NotFreezable(leaves_torch(way))

    def share(self, tensor: Tensor) -> None:
        """Note that something outside torch sees the memory of a tensor from now on."""
        self._shared[_address(tensor)] = tensor

    def _mark(self, tensor: Tensor, origin: str) -> None:
        if tensor.layout != torch.strided:
            self.leave("a sparse tensor, in which it is not followed")
            return
        address, memory = _address(tensor), _memory(tensor)
        if address in self._shared or not memory.resizable():
            self.leave("memory that something outside torch, such as an array of numpy, shares")
        self._held[address], self._origin[address] = tensor, origin


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors that an operation gives."""
    return [output] if isinstance(output, Tensor) else [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


def decides(call: Call, outputs: Sequence[Tensor]) -> bool:
    """Whether an operation may give the same for many values of its argument and jump between them."""
    discrete = any(map(_is_integer, outputs))
    return (discrete and functional(call) not in FACTORED) or not (is_smooth(call) or is_kinked(call))


_Place: TypeAlias = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype]


def _place(tensor: Tensor) -> _Place:
    """Name a view: views of a storage at the same place hold the same."""
    return _address(tensor), int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _overwritten(call: Call, touched: Sequence[Tensor]) -> Tensor | None:
    """Return a copy of the first argument if it holds no noise and is about to be overwritten; the copy has no graph."""
    first = call.args[0] if call.args else None
    is_overwritten = call.func._schema.is_mutable and isinstance(first, Tensor) and all(first is not each for each in touched)
    return first.detach().clone() if is_overwritten and isinstance(first, Tensor) else None


def _address(tensor: Tensor) -> int:
    return int(_memory(tensor)._cdata) if tensor.layout is torch.strided else 0


def _asks_for_nan(call: Call) -> bool:
    """Whether it is asked if noise is nan or infinite, as libraries do before they warn: almost surely it is not."""
    if call.name in {"eq", "ne"}:
        left, right = call.args
        return left is right or (not isinstance(right, Tensor) and math.isinf(right))
    return call.name in {"isnan", "isinf"}


def _is_allowed() -> bool:
    """Whether a decision about noise has no effect: in the backward pass (sign of abs) or where a law checks its arguments."""
    return _in_backward() or checks_a_law()


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def outermost(run: Callable[[], T]) -> T:
    """Run audited code: `checks_a_law` looks no further up, where there is only who asked for the audit.

    >>> outermost(lambda: 2)
    2
    """
    return run()


_OUTERMOST = outermost.__code__
_TOLD_APART = {_OUTERMOST.co_name, *_CHECKING_FUNCTIONS}


def checks_a_law() -> bool:
    """Whether the code that runs is that of a law which checks its arguments."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _TOLD_APART:
            if code is _OUTERMOST:
                return False
            if code.co_filename.endswith(_CHECKING_FILES):
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


def _spent(what: str) -> NotFreezable:
    message = (
        f"continuous noise decides the outcome (it was compared with a threshold, or ordered) and is used besides, by {what}, "
        "so that decision and value cannot be drawn apart."
    )
    return NotFreezable(message)


def _decides(origin: str, call: Call) -> NotFreezable:
    message = (
        f"continuous noise ({origin}) decides the outcome by {call.func}; expected discrete draws, noise on differentiable "
        "paths only, "
        "or torch.rand(...) compared with a threshold as it was drawn. Draw by torch.bernoulli or torch.multinomial, or "
        f"{SAMPLING}."
    )
    return NotFreezable(message)
