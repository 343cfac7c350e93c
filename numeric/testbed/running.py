"""Run a loss on every group: in one run if it can be mapped, else in a loop; padded, or packed without padding.

A packed loss is given its tensors of tokens one sequence after the other, (N, ...), and may ask for

    lengths     (G,)      the tokens of each sequence
    cu_seqlens  (G + 1,)  where each sequence begins, and where the last one ends
    sequence    (N,)      the sequence of each token
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.draws.dispatch import DispatchMode
from numeric.draws.random_ops import Call, draws_nothing

Loss: TypeAlias = Callable[..., Any]

PACKED = ("lengths", "cu_seqlens", "sequence")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
ALONE = 3
"""So many groups are also run alone, and must give what they give beside the others."""

_UNMAPPED = (RuntimeError, ValueError, TypeError, AssertionError)
"""What mapping a loss may raise: it does no in-place steps, no `item`, no shapes that depend on values."""

GOLDEN = (5**0.5 - 1) / 2

STEP = 1e-6
"""How far they may be from it, as a part of it, in float64: code that is given float64 may take a step in float32."""


def arguments(loss: Loss, known: Collection[str]) -> list[str]:
    """Return the names of the arguments that a loss is given: all that have no default, and those that are known.

    >>> def loss(logprobs, mask, epsilon=0.2, **settings): ...
    >>> arguments(loss, ["logprobs", "mask", "rewards"])
    ['logprobs', 'mask']
    """
    function = loss.forward if isinstance(loss, torch.nn.Module) else loss
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        message = f"the loss is {loss!r}; expected a function whose arguments have names."
        raise UsageError(message) from error
    if any(each.kind is inspect.Parameter.POSITIONAL_ONLY and each.default is inspect.Parameter.empty for each in parameters):
        message = (
            "the loss has arguments that cannot be given by name; expected none: remove the `/`, or wrap the loss in a def."
        )
        raise UsageError(message)
    named = [each for each in parameters if each.kind in _BY_NAME]
    return [each.name for each in named if each.default is inspect.Parameter.empty or each.name in known]


def run(loss: Loss, given: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of every group, (N,), with its graph.

    Args
        given  by the name of the argument, (N, G, ...)

    Raises
        UsageError, for a loss that returns no scalar, draws, or gives one group two values or two gradients.
    """
    count = len(next(iter(given.values())))
    with warnings.catch_warnings(), torch.enable_grad(), _NoDraws():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of vmap, where it makes a loop itself
        try:
            values = torch.func.vmap(lambda tensors: _scalar(loss(**tensors)))(_copied(given))
        except _UNMAPPED:
            values = torch.stack([_alone(loss, given, at) for at in range(count)])
        if not _repeats(loss, given, values):  # mapped tensors look otherwise: they require no gradient, and have no data
            values = torch.stack([_alone(loss, given, at) for at in range(count)])
            if not _repeats(loss, given, values):
                raise _other_values()
    return values


def _repeats(loss: Loss, given: Mapping[str, Tensor], values: Tensor) -> bool:
    """Whether groups that are run alone give what they gave."""
    leaves = [value for value in given.values() if value.requires_grad]
    return all(_same(_alone(loss, given, at), values[at], leaves) for at in _spread(len(values)))


def _same(alone: Tensor, beside: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Whether a group has one value and one gradient: a loss that is zero at every group may still keep something."""
    ours, theirs = (_with_gradient(value, leaves) for value in (alone, beside))
    slack = max(256 * torch.finfo(beside.dtype).eps, STEP)
    finite = ours.isfinite() & theirs.isfinite()  # what is not is refused by itself
    scale = float(theirs[finite].abs().max()) if bool(finite.any()) else 0.0
    return torch.allclose(ours[finite], theirs[finite], rtol=slack, atol=slack * scale)


def _spread(count: int) -> set[int]:
    """Positions at multiples of the golden ratio: equal steps would meet groups whose samples are all the same."""
    return {int(count * (position * GOLDEN % 1)) for position in range(1, ALONE + 1)}


def _with_gradient(value: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """A value and the gradient of it, flattened."""
    parts: Sequence[Tensor] = [torch.zeros_like(each) for each in leaves]
    if leaves and value.requires_grad:
        parts = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([each.detach().double().reshape(-1) for each in (value, *parts)])


def run_packed(loss: Loss, given: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    """Return the loss of every group, (N,), of a function that takes its tokens without padding.

    Args
        given  by the name of the argument, padded
        mask   (N, G, T) of booleans: where there is a token
    """
    wanted = set(arguments(loss, PACKED)) & set(PACKED)
    patterns, which = mask.flatten(1).unique(dim=0, return_inverse=True)
    values: dict[int, Tensor] = {}
    for number, pattern in enumerate(patterns):
        rows = (which == number).nonzero()[:, 0]
        shape = pattern.reshape(mask.shape[1:])
        packed = {name: _packed(value[rows], shape) for name, value in given.items()}
        extra = {name: value.expand(len(rows), -1) for name, value in _lengths(shape).items() if name in wanted}
        values |= dict(zip(rows.tolist(), run(loss, packed | extra), strict=True))
    return torch.stack([values[at] for at in range(len(mask))])


def _packed(value: Tensor, shape: Tensor) -> Tensor:
    """(n, G, T, ...) without what is padding, (n, N, ...); rewards, (n, G), as they are."""
    return value[:, shape] if value.shape[1:3] == shape.shape else value


def _lengths(shape: Tensor) -> dict[str, Tensor]:
    lengths = shape.sum(-1)
    begins = torch.cat([torch.zeros(1, dtype=lengths.dtype), lengths.cumsum(0)])
    return {"lengths": lengths, "cu_seqlens": begins, "sequence": torch.arange(len(lengths)).repeat_interleave(lengths)}


def _alone(loss: Loss, given: Mapping[str, Tensor], at: int) -> Tensor:
    try:
        return _scalar(loss(**_copied({name: value[at] for name, value in given.items()})))
    except RuntimeError as error:
        if "escaped from inside a function being vmapped" in str(error):
            raise _other_values() from error
        raise


def _copied(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a loss may change in place."""
    return {name: value.clone() for name, value in given.items()}


def _scalar(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value.reshape(())
    shown = f"a tensor of shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
    message = f"the loss returned {shown}; expected a scalar tensor: reduce it, as in .mean() or .sum()."
    raise UsageError(message)


def _other_values() -> UsageError:
    message = "the loss gives one group two values; expected a function of its arguments alone: it keeps something."
    return UsageError(message)


class _NoDraws(DispatchMode):
    def __init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not draws_nothing(Call(func, args, kwargs or {})):
            message = f"the loss draws by {func}; expected a function of its arguments. numeric.audit runs code that draws."
            raise UsageError(message)
        return func(*args, **(kwargs or {}))
