"""Continuous noise at given points: one point for a run, or many rows of points for one run under `torch.vmap`.

A point has one normal score for each scalar of noise, in the order of the draws: where the standard law of a draw is not
normal, its quantile function carries the score to the value, both tails to full precision. Row i of a run is what the run at
point i gives, or the code is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from numeric.draws.dispatch import DispatchMode
from numeric.draws.interception import Source
from numeric.draws.noise_sources import Decisions, drawn, standard_family
from numeric.draws.quadrature_rules import quantile
from numeric.draws.random_ops import NOISE, Call, draws_nothing
from numeric.draws.taint import Taint
from numeric.draws.tape import NotAuditable, Tape

_MADE = {
    torch.empty, torch.empty_like, torch.full, torch.full_like, torch.ones, torch.ones_like, torch.zeros, torch.zeros_like,
    torch.Tensor.new, torch.Tensor.new_empty, torch.Tensor.new_full, torch.Tensor.new_ones, torch.Tensor.new_zeros,
}  # fmt: skip
_OUTSIDE_ROWS = {
    torch.Tensor.backward, torch.Tensor.register_hook, torch.Tensor.retain_grad, torch.autograd.grad, torch.autograd.backward,
}  # fmt: skip

_TELLS = {
    torch.Tensor.__repr__, torch.Tensor.__format__, torch.Tensor.__reduce_ex__, torch.Tensor.__deepcopy__,
    torch.Tensor.data_ptr, torch.Tensor.storage, torch.Tensor.untyped_storage,
}  # fmt: skip
"""What would tell code about all rows at once, without an error."""

_TOLD = ("requires_grad", "grad_fn", "is_leaf", "_base")
"""Properties that tensors have not, or otherwise, where there are rows."""

_FULL = {getattr(place, name) for place in (torch, torch.Tensor) for name in ("max", "min", "median", "nanmedian")}
"""Without a dimension they share the gradient among equal values alone, and give it to one of them on rows."""

_OTHERWISE = {torch.embedding, torch.nn.functional.embedding, torch.nn.functional.embedding_bag}
"""On rows these read what is not there, and know no padding."""

_IN_PLACE: dict[Any, Callable[..., Tensor]] = {
    torch.Tensor.clamp_: torch.clamp, torch.Tensor.clamp_min_: torch.clamp_min, torch.Tensor.clamp_max_: torch.clamp_max,
}  # fmt: skip
"""What `torch.vmap` runs row by row, and the same out of place."""


_PROPERTIES = {vars(torch._C.TensorBase)[name].__get__ for name in _TOLD}


class NotInRows(NotAuditable):
    """Code whose rows cannot be run together: it draws discrete outcomes, branches on values, or hooks into a backward pass."""


def require_no_hooks(params: Iterable[Tensor]) -> None:
    """Raise NotInRows if something acts on the gradient of a parameter, which is not that of one row where there are many."""
    if any(param.requires_grad and _is_hooked(param) for param in params):
        message = "there is a hook at a parameter."
        raise NotInRows(message)


def _is_hooked(param: Tensor) -> bool:
    """Whether there are hooks at a parameter, or at the node that adds up its gradient."""
    node = torch.autograd.graph.get_gradient_edge(param).node
    at_node = any(map(_has_others, (node.register_prehook, node.register_hook)))
    return bool(at_node or param._backward_hooks or param._post_accumulate_grad_hooks)


def _has_others(register: Callable[..., Any]) -> bool:
    """Whether hooks are registered: the handle of one leads to all, and nothing else does."""
    handle = register(lambda *_: None)
    try:
        return len(handle.hooks_dict_ref()) > 1
    finally:
        handle.remove()


@dataclass
class AtPoint:
    """Runs with noise at one point, (columns,) of normal scores; `decisions.rough` names what in them is not smooth.

    Args
        refuse  refuse decisions about noise: where a derivative is taken at fixed noise, they would be left out of it
        still   but not those in which no parameter takes part
    """

    point: Tensor
    refuse: bool
    still: bool = False
    decisions: Decisions = field(init=False)
    used: int = field(default=0, init=False)

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""
        self.used, self.decisions = 0, Decisions(refuse=self.refuse, still=self.still)
        return self._values, self.decisions

    def end(self, tape: Tape) -> None:
        """Do nothing after a run."""

    def _values(self, call: Call, number: int, tape: Tape, output: Tensor) -> Tensor:
        scores = _columns(self.point[None], self.used, output.numel(), call)[0]
        self.used += output.numel()
        return drawn(call, _value(standard_family(call), scores), output)


class NoiseRows(DispatchMode):
    """Fill each draw of noise of a run under `torch.vmap(..., randomness="different")` with the rows of some points.

    Args
        points    (rows, columns) of normal scores, float64
        discrete  makes the discrete draws; else they are refused
    """

    points: Tensor
    used: int

    def __init__(self, points: Tensor, discrete: Callable[[Call], Tensor] | None = None) -> None:
        super().__init__()
        self.points, self.used, self._discrete = points, 0, discrete

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or draws_nothing(call):
            return call()
        if call.name not in NOISE and self._discrete is not None:
            return self._discrete(call)
        if call.name not in NOISE:
            message = f"{func} has discrete outcomes, which are run one by one."
            raise NotInRows(message)
        output: Tensor = call()
        rows = len(self.points)
        if output.dim() == 0 or output.shape[0] != rows:
            message = f"{func} draws one value for all rows."
            raise NotInRows(message)
        size = output.numel() // rows
        given = _columns(self.points, self.used, size, call)
        self.used += size
        return output.copy_(drawn(call, self.standard(call, given), output))

    def standard(self, call: Call, given: Tensor) -> Tensor:
        """Return the values of the standard law of a draw, (rows, size), where the points have these scores."""
        return _value(standard_family(call), given)


class FreshRows(TorchFunctionMode):
    """Under `torch.vmap`, give each row a tensor of its own where code makes one, since it may be filled with noise in place.

    `require_held` refuses code of which a step failed, if it caught that: it would do in all rows what it does alone in none.

    Raises
        NotInRows, from hooks and backward passes of the code, and where it prints, copies or pickles a tensor: it would see all
        rows as one.
    """

    def __init__(self, row: Tensor) -> None:
        super().__init__()
        self._row = row
        self.failed: bool = False

    def __enter__(self) -> FreshRows:
        """Begin; what fails in `torch.autograd.Function.apply` is no call that a mode is given."""
        function: Any = torch.autograd.Function
        self._apply: Any = vars(function)["apply"]
        function.apply = classmethod(self._applied)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        function: Any = torch.autograd.Function
        function.apply = self._apply

    def _applied(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._apply.__get__(None, function)(*args, **kwargs)
        except Exception:
            self.failed = True
            raise

    def require_held(self) -> None:
        """Raise NotInRows if a step failed."""
        if self.failed:
            message = "a step of the code fails on rows, and the code goes on."
            raise NotInRows(message)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return self._run(func, args, kwargs or {})
        except Exception:
            self.failed = True
            raise

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        plain = getattr(func, "__wrapped__", func)
        is_other = plain in _FULL and len(args) + len(kwargs) == 1
        if plain in _OUTSIDE_ROWS | _TELLS | _OTHERWISE or func in _PROPERTIES or is_other:
            message = f"the code calls {getattr(func, '__name__', func)}, which would see all rows as one."
            raise NotInRows(message)
        if func in _IN_PLACE:
            return args[0].copy_(_IN_PLACE[func](args[0].clone(), *args[1:], **kwargs))
        output = func(*args, **kwargs)
        if func in _MADE and output.is_floating_point() and not output.requires_grad:
            return output + (0 * self._row).to(output.dtype)
        return output


def _value(family: str, scores: Tensor) -> Tensor:
    return scores if family == "normal" else quantile(family, _below(scores), _below(-scores))


def _below(scores: Tensor) -> Tensor:
    """The share of a normal law below some values; torch.special.ndtr has no digit left of it below -8.3."""
    return torch.erfc(-scores / math.sqrt(2)) / 2


def _columns(points: Tensor, start: int, size: int, call: Call) -> Tensor:
    if start + size > points.shape[1]:
        message = f"{call.func} draws more noise than the first run did ({points.shape[1]} scalars)."
        raise NotInRows(message)
    return points[:, start : start + size]
