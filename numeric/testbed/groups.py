"""The mean and the variance of the gradient of a loss over every group of samples: one run for all groups, and one backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from derive.language.errors import UsageError
from numeric.draws.random_ops import Call, draws_nothing
from numeric.testbed.samples import Field, Samples

Loss: TypeAlias = Callable[..., Any]
Keep: TypeAlias = Callable[[Tensor], Tensor]

MOST_GROUPS = 20_000
ALONE = 5
"""So many groups are also run alone, and must give what they give beside the others."""


@dataclass(frozen=True)
class Mean:
    """The gradient of a loss over every group.

    Args
        gradient  its mean, flattened, in float64
        variance  the sum of the variances of its coordinates
        size      the mean of its norm, which says what is rounding
        value     the mean of the loss
        groups    how many there are
    """

    gradient: Tensor
    variance: float
    size: float
    value: float
    groups: int


def mean_gradient(
    loss: Loss, samples: Samples, group: int, *, keep: Keep | None = None, dtype: torch.dtype = torch.float64
) -> Mean:
    """Return the exact mean of the gradient of a loss.

    Args
        loss   takes tensors (G, ...) by the names of `numeric.testbed.samples`, and returns a scalar
        group  G, the number of samples of one call
        keep   of the rewards of all groups, (N, G), says which groups are used; the others are drawn anew
        dtype  what the loss is given; its gradients are added up in float64

    Raises
        UsageError, for a loss that returns no scalar, draws, depends on something else than its arguments, or takes others; for
        more groups than 20,000.

    >>> from numeric.testbed.samples import samples_of
    >>> from numeric.testbed.setting import Setting, random_point
    >>> samples = samples_of(random_point(Setting()))
    >>> found = mean_gradient(lambda logprobs, mask: (logprobs * mask).sum(), samples, 2)
    >>> found.groups, bool(found.gradient.abs().max() < 1e-12)  # the score has mean zero
    (49, True)
    """
    names = list(inspect.signature(loss).parameters)
    index, weights = every_group(samples, group, keep)
    with torch.no_grad():
        tensors = {name: field(samples.theta) for name, field in samples.named(names).items()}
    given = {name: _cast(value, dtype)[index] for name, value in tensors.items()}
    moving = _jacobians(samples.named(names), samples.theta)
    leaves = {name: given[name].requires_grad_() for name in moving}
    values = _values(loss, given)
    by_group = _chained(values, leaves, moving, index)
    gradient = weights @ by_group
    spread = weights @ (by_group - gradient).square().sum(-1)
    return Mean(
        gradient, float(spread), float(weights @ by_group.norm(dim=-1)), float(weights @ values.detach().double()), len(index)
    )


def every_group(samples: Samples, group: int, keep: Keep | None = None) -> tuple[Tensor, Tensor]:
    """Return all groups of samples that can happen, (N, G), and their probabilities, (N,).

    Raises
        UsageError, if there are too many, or none.
    """
    laws = samples.laws or (samples.law,) * group
    if len(laws) != group:
        message = f"these samples come in groups of {len(laws)}, not of {group}."
        raise UsageError(message)
    possible = torch.stack(laws).amax(0).nonzero()[:, 0]
    if not 0 < group or len(possible) ** group > MOST_GROUPS:
        message = (
            f"{len(possible)} samples make {len(possible)}^{group} groups; expected at most {MOST_GROUPS}. Take smaller groups."
        )
        raise UsageError(message)
    index = torch.cartesian_prod(*[possible] * group).reshape(-1, group)
    weights = torch.stack([law[index[:, at]] for at, law in enumerate(laws)]).prod(0)
    if keep is not None:
        weights = weights * keep(samples.fields["rewards"](samples.theta)[index]).double()
    return index[weights > 0], weights[weights > 0] / weights.sum()


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _jacobians(fields: Mapping[str, Field], theta: Tensor) -> dict[str, Tensor]:
    """The derivative of each field that moves with the parameter, (S, ..., P)."""
    found = {}
    with torch.enable_grad():
        leaf = theta.detach().clone().requires_grad_()
        for name, field in fields.items():
            value = field(leaf)
            if value.requires_grad:
                eye = torch.eye(value.numel(), dtype=value.dtype)
                (rows,) = torch.autograd.grad(value.reshape(-1), leaf, eye, is_grads_batched=True)
                found[name] = rows.reshape(*value.shape, -1)
    return found


def _chained(values: Tensor, leaves: Mapping[str, Tensor], moving: Mapping[str, Tensor], index: Tensor) -> Tensor:
    """The gradient of each group by the parameter, (N, P)."""
    size = next((each.shape[-1] for each in moving.values()), 1)
    total = torch.zeros(len(index), size, dtype=torch.float64)
    if not values.requires_grad:
        return total
    parts = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    for jacobian, part in zip(moving.values(), parts, strict=True):
        if part is not None:
            rows = jacobian[index].reshape(len(index), -1, size)
            total += (part.double().reshape(len(index), 1, -1) @ rows)[:, 0]
    return total


def _values(loss: Loss, given: Mapping[str, Tensor]) -> Tensor:
    """The loss of every group, (N,), in one run if the loss can be mapped, else in a loop."""
    count = len(next(iter(given.values())))
    with torch.enable_grad(), _NoDraws():
        try:
            values = torch.func.vmap(lambda tensors: _scalar(loss(**tensors)))(dict(given))
        except (RuntimeError, ValueError):  # what vmap does not do: in-place steps, `item`, shapes that depend on values
            return torch.stack([_alone(loss, given, at) for at in range(count)])
        for at in {position * (count - 1) // max(1, ALONE - 1) for position in range(ALONE)}:
            if not torch.allclose(_alone(loss, given, at), values[at], rtol=1e-4, atol=1e-6, equal_nan=True):
                raise _other_values()
    return values


def _alone(loss: Loss, given: Mapping[str, Tensor], at: int) -> Tensor:
    return _scalar(loss(**{name: value[at] for name, value in given.items()}))


def _scalar(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    message = f"the loss returned {shown}; expected a scalar tensor: reduce it, as in .mean() or .sum()."
    raise UsageError(message)


def _other_values() -> UsageError:
    message = (
        "the loss gives the same group two values: it depends on something else than its arguments, which are all it may read."
    )
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
