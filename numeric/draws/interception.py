"""The dispatch mode under which audited code runs: every random operation of torch asks the tape.

What is below autograd sees all of it: draws inside `torch.no_grad`, in the backward pass, under `vmap`, in compiled modules.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from numeric.draws.dispatch import DispatchMode
from numeric.draws.generators import Generators, Key
from numeric.draws.laws.forms import Noise
from numeric.draws.random_ops import DISCRETE, NOISE, Call, Factor, draws_nothing, refusal
from numeric.draws.taint import Taint
from numeric.draws.tape import NotAuditable, Tape

Source: TypeAlias = Callable[[Call, int, Tape, Tensor], Tensor]
"""Gives the values of a draw of continuous noise: for the call, its number among such draws, the tape, and the real output."""

FEW = 16
_NOISE_SEED = 0xF0_2E_11


@dataclass
class Drawn:
    """What one draw gave, to be given again where the generator is set back."""

    signature: str
    choices: list[int] = field(default_factory=list)
    noise: Tensor | None = None
    known: Noise = field(default_factory=lambda: Noise("", 0))


class Interceptor(DispatchMode):
    """Run torch code with each random draw taken from a tape.

    Args
        tape        the choices
        generators  watched, so that setting one back replays its draws
        frozen      which of the frozen values the continuous noise has
        source      gives the values of continuous noise, where it is not frozen
        taint       follows the noise
    """

    tape: Tape
    frozen: int

    def __init__(
        self, tape: Tape, generators: Generators, frozen: int, source: Source | None = None, taint: Taint | None = None
    ) -> None:
        super().__init__()
        self.tape, self.frozen = tape, frozen
        self.factors: list[tuple[Factor, float]] = []
        self.noise: list[tuple[Noise, str]] = []
        self.keys: list[Key] = []
        self.coarsest: torch.dtype = torch.float64
        self.only_backward: bool = False
        self.lowered: dict[torch.dtype, str] = {}
        """Which operation was the first to take a tensor with a gradient of a coarser dtype."""
        self.tells: bool = False
        """Whether some values left torch, or decided how many there are of others: for more than laws that check arguments."""
        self.indexes: bool = False
        """Whether a tensor is being indexed, by numbers that torch reads itself."""
        self.implicit: bool = False
        """Whether torch took the derivative of gamma noise by its shape, which it knows to a few digits only."""
        self._generators, self._source, self._taint = generators, source, taint or Taint()
        self._drawn: dict[Key, Drawn] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        tensors = call.tensors
        self._note_precision(call, tensors)
        self.implicit |= call.name in ("_standard_gamma_grad", "_dirichlet_grad")
        self.tells = self.tells or (not self.indexes and _decides(call) and not _is_a_law_checking())
        if call.operation.is_random:
            return self._random(call)
        touched = self._taint.among(tensors)
        if not touched:
            return call()
        decided = self._taint.intercept(call, touched, self.tape)
        if decided is not None:
            return decided
        output = call()
        self._taint.propagate(call, touched, output)
        return output

    def note(self, generator: torch.Generator) -> None:
        """Note a generator as the object that the user holds: a dispatch mode sees only a copy."""
        self._generators.note(generator)

    def require_stays(self, way: str, tensor: Tensor, *, is_shared: bool) -> None:
        """Raise NotAuditable if a tensor that leaves torch holds noise, or takes noise later into memory that it shares."""
        self.tells = True
        if self._taint.among([tensor]):
            self._taint.leave(way)
        if is_shared:
            self._taint.share(tensor)

    def follow(self, sources: Sequence[Tensor], output: Tensor) -> None:
        """Mark a tensor that was made of others where no operation was seen."""
        touched = self._taint.among(sources)
        if touched:
            self._taint.mark(touched, [output], integers=True)

    def all_factors(self) -> list[Factor]:
        """Return the probabilities of all that was drawn, as functions that give differentiable scalars."""
        return [*(factor for factor, _ in self.factors), *(noise.law.probability for noise in self._taint.decided())]

    def frozen_noise(self) -> list[tuple[str, int]]:
        """Return family and size of each draw of noise whose values matter."""
        return [(noise.family, noise.size) for noise, _ in self.noise if noise.law is None]

    def signatures(self) -> list[str]:
        """Return the law of each draw of noise whose values matter."""
        return [signature for noise, signature in self.noise if noise.law is None]

    def require_free(self, tensors: Sequence[Tensor], what: str) -> None:
        """Raise NotFreezable if a result holds noise of which only a decision was drawn."""
        self._taint.require_free(tensors, what)

    @property
    def neglected(self) -> float:
        """The probability of what was left out where noise decides: clamps and shifts that are next to nothing."""
        return self._taint.neglected

    @property
    def rough(self) -> set[str]:
        """The operations that noise went through and that are not known to be smooth."""
        return self._taint.rough

    @property
    def weight_of_factors(self) -> float:
        """The probability, as a number, of what `all_factors` gives."""
        return math.prod(weight for _, weight in self.factors) * self._taint.weight

    def _random(self, call: Call) -> Any:
        if draws_nothing(call):
            return call()
        if call.name not in DISCRETE and call.name not in NOISE:
            raise refusal(call)
        generator = self._generators.of(call.bound.get("generator"), _device(call))
        key = self._generators.key(generator)
        self.keys.append(key)
        try:
            if call.name == "random_" and _seeds_a_loader():
                return call()
            return self._discrete(call, key) if call.name in DISCRETE else self._noise(call, key, generator)
        finally:
            self._generators.explain(generator)

    def _discrete(self, call: Call, key: Key) -> Any:
        if key in self._drawn:
            recorded = self._recorded(call, key, _signature(call))
            remaining = iter(recorded.choices)
            return DISCRETE[call.name](call, lambda *_, **__: next(remaining))[0]
        drawn = self._drawn[key] = Drawn(_signature(call))
        touched, start = self._taint.among(call.tensors), len(self.tape.choices)
        mixed = self._taint.draw(call, touched, self.tape) if touched else None
        if mixed is not None:
            drawn.choices += [choice.index for choice in self.tape.choices[start:]]
            return mixed

        def choose(probabilities: Sequence[float], *, ends: tuple[int, ...] = ()) -> int:
            index = self.tape.choose(probabilities, str(call.func), ends=ends)
            drawn.choices.append(index)
            return index

        before = len(self.tape.choices)
        output, factor = DISCRETE[call.name](call, choose)
        if factor is not None:
            weight = Tape.weight_of(self.tape.choices[before:])
            self.factors.append((factor, weight))
        return output

    def _noise(self, call: Call, key: Key, generator: torch.Generator) -> Tensor:
        output: Tensor = call()
        after = generator.get_state()
        signature = _signature(call)
        if key in self._drawn:
            recorded = self._recorded(call, key, signature)
        else:
            recorded = Drawn(signature, [], self._values(call, generator, output), Noise(NOISE[call.name], output.numel()))
            self.noise.append((recorded.known, signature))
            self._drawn[key] = recorded
        values = recorded.noise
        generator.set_state(after)
        output.copy_(values) if values is not None else None
        self._taint.add(call, output, recorded.known)
        return output

    def _values(self, call: Call, generator: torch.Generator, output: Tensor) -> Tensor:
        if self._source is not None:
            return self._source(call, len(self.noise), self.tape, output)
        generator.manual_seed(_NOISE_SEED + 100_003 * self.frozen + len(self.noise))
        values: Tensor = call().clone()
        return values

    def _recorded(self, call: Call, key: Key, signature: str) -> Drawn:
        recorded = self._drawn[key]
        if recorded.signature != signature:
            raise _coupled(call)
        return recorded

    def _note_precision(self, call: Call, tensors: Sequence[Tensor]) -> None:
        """Note the coarsest dtype that a gradient passes: in the forward pass of an objective, the backward pass of a loss."""
        backward = self.only_backward and torch._C._current_graph_task_id() != -1
        given = call.kwargs.get("dtype")
        for tensor in tensors:
            if (tensor.dtype is torch.float64 and given is None) or not tensor.is_floating_point():
                continue
            for dtype in (given, tensor.dtype) if tensor.requires_grad else ():
                if isinstance(dtype, torch.dtype) and dtype is not torch.float64 and dtype not in self.lowered:
                    self.lowered[dtype] = f"{call.func}{_place()}"
            if tensor.dtype is not torch.float64 and (backward if self.only_backward else tensor.requires_grad):
                self.coarsest = max(self.coarsest, tensor.dtype, key=lambda dtype: torch.finfo(dtype).eps)


def _decides(call: Call) -> bool:
    """Whether values leave torch, or the shape of the output depends on them; of indices, only where they are masks."""
    if call.name == "index":
        return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in call.bound["indices"])
    return call.operation.decides


def _is_a_law_checking() -> bool:
    """Whether a law of torch.distributions looks whether its arguments are valid."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (name := frame.f_globals.get("__name__", "")).partition(".")[0] in {"torch", "numeric"}:
        if name.startswith("torch.distributions."):
            return True
        frame = frame.f_back
    return False


def _seeds_a_loader() -> bool:
    """Whether torch.utils.data draws a seed: it seeds a generator and is nothing else, and what that draws is enumerated."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in {"torch", "numeric"}:
        if frame.f_globals["__name__"].startswith("torch.utils.data."):
            return True
        frame = frame.f_back
    return False


def _place() -> str:
    """Where the audited code is: the innermost frame that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = PurePath(frame.f_code.co_filename)
        if not {"torch", "numeric"} & {*path.parts[-4:-1], frame.f_globals.get("__name__", "").partition(".")[0]}:
            return f" in {path.name}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


def _device(call: Call) -> torch.device:
    tensors = call.tensors
    if tensors:
        return tensors[0].device
    return torch.device(call.kwargs.get("device") or "cpu")


def _signature(call: Call) -> str:
    """Name a draw with its arguments; tensors count by their values where they are the parameters of a law."""
    shown = []
    for name, value in call.bound.items():
        is_written = name == "out" or (name == "self" and call.name.endswith("_"))
        if is_written or (name == "generator" and isinstance(value, torch.Generator)):
            continue
        is_law = isinstance(value, Tensor) and not (call.name.endswith("_like") or call.name == "native_dropout")
        shown.append(f"{name}={_law(value) if is_law else _plain(value)}")
    shape = [tuple(tensor.shape) for tensor in call.tensors]
    return f"{call.name}({', '.join(shown)}){shape}"


def _law(value: Tensor) -> str:
    """Name values: by themselves where they are few."""
    numbers = value.detach().double().cpu().contiguous()
    if numbers.numel() <= FEW:
        return str(numbers.tolist())
    return f"{tuple(numbers.shape)} {hashlib.blake2b(numbers.numpy().tobytes(), digest_size=16).hexdigest()}"


def _plain(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else str(value)


def _coupled(call: Call) -> NotAuditable:
    message = (
        f"{call.func} is drawn from a generator in the state that another draw with other arguments found it in (it was "
        "seeded again, or "
        "set back), so the two are coupled in a way that cannot be enumerated; draw the second from a generator of its own."
    )
    return NotAuditable(message)
