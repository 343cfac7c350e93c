"""Run a loss on every group: in one run if it can be mapped, else in a loop; padded, or packed without padding.

A packed loss is given its tensors of tokens one sequence after the other, (N, ...), and may ask for

    lengths     (G,)      the tokens of each sequence
    cu_seqlens  (G + 1,)  where each sequence begins, and where the last one ends
    sequence    (N,)      the sequence of each token
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from derive.language.errors import UsageError
from numeric.draws.random_ops import Call, draws_nothing

Loss: TypeAlias = Callable[..., Any]

PACKED = ("lengths", "cu_seqlens", "sequence")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
ALONE = 3
"""So many groups are also run alone, and must give what they give beside the others."""


def arguments(loss: Loss, known: Collection[str]) -> list[str]:
    """Return the names of the arguments that a loss is given: all that have no default, and those that are known.

    >>> def loss(logprobs, mask, epsilon=0.2, **settings): ...
    >>> arguments(loss, ["logprobs", "mask", "rewards"])
    ['logprobs', 'mask']
    """
    function = loss.forward if isinstance(loss, torch.nn.Module) else loss
    named = [each for each in inspect.signature(function).parameters.values() if each.kind in _BY_NAME]
    return [each.name for each in named if each.default is inspect.Parameter.empty or each.name in known]


def run(loss: Loss, given: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of every group, (N,), with its graph.

    Args
        given  by the name of the argument, (N, G, ...)

    Raises
        UsageError, for a loss that returns no scalar, draws, or gives one group two values.
    """
    count = len(next(iter(given.values())))
    with warnings.catch_warnings(), torch.enable_grad(), _NoDraws():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of vmap, where it makes a loop itself
        try:
            values = torch.func.vmap(lambda tensors: _scalar(loss(**tensors)))(_copied(given))
        except (RuntimeError, ValueError):  # what vmap does not do: in-place steps, `item`, shapes that depend on values
            values = torch.stack([_alone(loss, given, at) for at in range(count)])
        slack = 256 * torch.finfo(values.dtype).eps
        for at in {position * (count - 1) // (ALONE - 1) for position in range(ALONE)}:
            if not torch.allclose(_alone(loss, given, at), values[at], rtol=slack, atol=slack, equal_nan=True):
                raise _other_values()
    return values


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
    return _scalar(loss(**_copied({name: value[at] for name, value in given.items()})))


def _copied(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a loss may change in place."""
    return {name: value.clone() for name, value in given.items()}


def _scalar(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    message = f"the loss returned {shown}; expected a scalar tensor: reduce it, as in .mean() or .sum()."
    raise UsageError(message)


def _other_values() -> UsageError:
    message = "the loss gives one group two values; expected a function of its arguments alone: it keeps something."
    return UsageError(message)


class _NoDraws(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not draws_nothing(Call(func, args, dict(kwargs or {}))):
            message = f"the loss draws by {func}; expected a function of its arguments. numeric.audit runs code that draws."
            raise UsageError(message)
        return func(*args, **(kwargs or {}))
