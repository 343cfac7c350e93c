"""The mean and the variance of the gradient of a loss over every group of samples: one run for all groups, and one backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.testbed.running import PACKED, Loss, arguments, run, run_packed
from numeric.testbed.samples import Field, Samples

Keep: TypeAlias = Callable[[Tensor], Tensor]

MOST_GROUPS = 20_000


@dataclass(frozen=True)
class Mean:
    """The gradient of a loss over every group.

    Args
        gradient  its mean, flattened, in float64
        variance  the sum of the variances of its coordinates
        size      the mean of its norm, which says what is rounding
        value     the mean of the loss
        groups    how many there are
        by_group  the gradient of each group, (N, P)
        weights   the probabilities of the groups, (N,)
    """

    gradient: Tensor
    variance: float
    size: float
    value: float
    groups: int
    by_group: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)

    def distance(self, other: Mean) -> float:
        """Return the mean norm of the difference of two gradients over the same groups."""
        return float(self.weights @ (self.by_group - other.by_group).norm(dim=-1))


def mean_gradient(
    loss: Loss,
    samples: Samples,
    group: int,
    *,
    keep: Keep | None = None,
    dtype: torch.dtype = torch.float64,
    packed: bool = False,
) -> Mean:
    """Return the exact mean of the gradient of a loss.

    Args
        loss    takes tensors (G, ...) by the names of `numeric.testbed.samples`, and returns a scalar
        group   G, the number of samples of one call
        keep    of the rewards of all groups, (N, G), says which groups are used; the others are drawn anew
        dtype   what the loss is given; its gradients are added up in float64
        packed  whether the tensors of tokens come without padding, one sequence after the other, as in `testbed.running`

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
    known = [*samples.fields, *PACKED] if packed else list(samples.fields)
    names = [name for name in arguments(loss, known) if not (packed and name in PACKED)]
    if not names:
        message = (
            f"the loss has no argument by a known name; expected some of {', '.join(samples.fields)}: `*args` get nothing."
        )
        raise UsageError(message)
    index, weights = every_group(samples, group, keep)
    fields = samples.named(names)
    with torch.no_grad():
        given = {name: _cast(of(samples.theta), dtype)[index] for name, of in fields.items()}
        mask = samples.fields["mask"](samples.theta)[index] > 0 if packed else None
    moving = _jacobians(fields, samples.theta)
    leaves = {name: given[name].requires_grad_() for name in moving}
    values = run(loss, given) if mask is None else run_packed(loss, given, mask)
    by_group = _chained(values, leaves, moving, index)
    gradient = weights @ by_group
    spread = weights @ (by_group - gradient).square().sum(-1)
    size, value = float(weights @ by_group.norm(dim=-1)), float(weights @ values.detach().double())
    return Mean(gradient, float(spread), size, value, len(index), by_group, weights)


def every_group(samples: Samples, group: int, keep: Keep | None = None) -> tuple[Tensor, Tensor]:
    """Return all groups of samples that can happen, (N, G), and their probabilities, (N,).

    Raises
        UsageError, if there are too many, or none.
    """
    if not isinstance(group, int) or group < 1:
        message = f"group is {group!r}; expected a positive number of samples."
        raise UsageError(message)
    laws = samples.laws or (samples.law,) * group
    if len(laws) != group:
        message = f"these samples come in groups of {len(laws)}, not of {group}."
        raise UsageError(message)
    possible = torch.stack(laws).amax(0).nonzero()[:, 0]
    if len(possible) ** group > MOST_GROUPS:
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
        for name, of in fields.items():
            value = of(leaf)
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
