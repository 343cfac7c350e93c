"""Audit a loss function of language-model fine-tuning: of what is the mean of its gradient the gradient?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.testbed.groups import Mean, mean_gradient
from numeric.testbed.match import Match, best, is_zero, matched
from numeric.testbed.running import Loss
from numeric.testbed.samples import Samples, constant, samples_of
from numeric.testbed.setting import Point, Setting, random_point
from numeric.testbed.targets import DIVERGENCES, TARGETS

CANDIDATES = {
    "on": ("reward",),
    "off": ("reward", "surrogate", "prefixes", "geometric"),
    "top-k": ("reward", "kept-top-k", "top-k"),
    "top-p": ("reward", "kept-top-p", "top-p"),
}
"""By what draws the samples: the targets that a loss of rewards may have."""

OFF_POLICY = ("token-kl-of-behaviour",)

LOW = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far the mean in a low precision may be from that in float64, as a part of the mean norm of the gradient."""

NEGLIGIBLE = 1e-6
"""A part of a gradient that is no bias but a 1e-8 in a denominator, or a step of float32 in code that is given float64."""


CANCELLED = 1e-7
"""A part of what two gradients have in common that counts as added to their difference: it is not rounded away exactly."""


@dataclass(frozen=True)
class Precision:
    """The mean in a low precision.

    Args
        deviation  from the mean in float64, as a part of the norm of that; infinite where the gradient is not finite
        tolerance  what rounding may do, as a part of the same
    """

    deviation: float
    tolerance: float

    @property
    def verdict(self) -> str:
        """In a word: "differs" beyond rounding, "the same", or "undecided" where rounding may hide 1 % of the gradient."""
        if self.deviation > self.tolerance:
            return "differs"
        return "the same" if self.tolerance <= 0.01 else "undecided"


@dataclass(frozen=True)
class Report:
    """What a loss is, over every group.

    Args
        targets        by name: what the mean, less that at zero rewards, is to each
        divergences    the same for the mean at zero rewards; empty where it is zero
        baseline_free  whether a constant added to the rewards leaves the mean
        reads_padding  whether what stands at padding moves the mean
        precisions     by the name of the dtype
        groups         how many were run at each point
        policy         what drew the samples
        rewarded       whether the rewards move the mean
        regularised    whether there is a mean at zero rewards
    """

    targets: Mapping[str, Match]
    divergences: Mapping[str, Match]
    baseline_free: bool
    reads_padding: bool
    precisions: Mapping[str, Precision]
    groups: int
    policy: str
    rewarded: bool
    regularised: bool

    @property
    def target(self) -> str:
        """Of which target the mean is the gradient, or a multiple; "nothing" where it is zero, "" where it is of none."""
        return best(self.targets) if self.rewarded else "nothing"

    @property
    def divergence(self) -> str:
        """The same for the mean at zero rewards."""
        return best(self.divergences) if self.regularised else "nothing"

    @property
    def verdict(self) -> str:
        """In a word: "unbiased", "scaled" or "parallel" to the expected reward, "other target", "biased", or "zero".

        It is "reversed" where the factor is negative somewhere: there the loss makes the expected reward smaller.
        """
        if not self.rewarded:
            return "zero"
        if self.target != "reward":
            return "other target" if self.target else "biased"
        found = self.targets["reward"]
        if min(found.factors) < 0:
            return "reversed"
        return {"exact": "unbiased"}.get(found.verdict, found.verdict)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: over every one of {self.groups} groups, samples {_DRAWN[self.policy]}"]
        lines += [f"  {TARGETS[name].words}: {match}" for name, match in self.targets.items()] * self.rewarded
        lines.append(f"  a constant in the rewards {'changes nothing' if self.baseline_free else 'changes the mean'}")
        if self.reads_padding:
            lines.append("  what stands at padding moves the mean: a mask is missing")
        if self.regularised:
            lines.append("at zero rewards:")
            lines += [f"  {TARGETS[name].words}: {match}" for name, match in self.divergences.items()]
        lines += [
            f"{name}: {each.verdict} (off by {each.deviation:.1e} of the gradient, {each.tolerance:.1e} is rounding)"
            for name, each in self.precisions.items()
        ]
        return "\n".join(lines)


_DRAWN = {"on": "of the policy", "off": "of a behaviour", "top-k": "under top-k", "top-p": "under top-p"}


def check(
    loss: Loss,
    *,
    group: int = 3,
    policy: str = "on",
    binary: bool = False,
    packed: bool = False,
    setting: Setting | None = None,
    points: int = 3,
    negligible: float = NEGLIGIBLE,
) -> Report:
    """Run a loss over every group of samples, at some random points, and say of what the mean of its gradient is the gradient.

    Args
        loss        `loss(logprobs, old_logprobs, ref_logprobs, rewards, mask)`, or any of the names that are listed in
                    `numeric.testbed.samples`: tensors (G, T), and rewards (G,); it returns the scalar
                    on which backward is called
        group       G
        policy      what draws the samples: "on", "off" (`old_logprobs` are those of a behaviour), "top-k", "top-p"
        binary      rewards of 0 and 1
        packed      the loss takes tokens without padding, with any of `lengths`, `cu_seqlens` and `sequence`
        setting     which sequences there are; of one or two tokens if not given
        points      how many
        negligible  what is no bias, as a part of the gradient

    Raises
        UsageError, for what `mean_gradient` refuses, and for a loss that is not finite.

    A loss that divides by the length of a sequence is the gradient of nothing that has a name, and no baseline is free:

    >>> def loss(logprobs, old_logprobs, rewards, mask):
    ...     ratio = (logprobs - old_logprobs).exp()
    ...     return -((ratio * rewards[:, None] * mask).sum(-1) / mask.sum(-1)).mean()
    >>> report = check(loss, group=2)
    >>> report.verdict, report.baseline_free
    ('biased', False)
    """
    if policy not in CANDIDATES:
        message = f"policy is {policy!r}; expected one of {', '.join(CANDIDATES)}."
        raise UsageError(message)
    if points < 2:
        message = f"points is {points!r}; expected at least 2: at one point a factor that moves looks like one that does not."
        raise UsageError(message)
    place = setting or Setting()
    bed = _Bed(loss, group, policy, packed, [random_point(place, seed, binary=binary) for seed in range(points)])
    means, quiet, shifted = bed.means(), bed.means(scale=0.0), bed.means(shift=1.0)
    sizes = [max(first.size, second.size) for first, second in zip(means, quiet, strict=True)]
    parts, by_rewards = _differences(means, quiet)
    moved, by_shift = _differences(shifted, means)
    of_rewards = [max(each) for each in zip(by_rewards, by_shift, strict=True)]
    rest, of_rest = [mean.gradient for mean in quiet], [mean.size for mean in quiet]
    regularised = not is_zero(rest, sizes, negligible)
    return Report(
        bed.held(CANDIDATES[policy], parts, of_rewards, negligible),
        bed.held((*DIVERGENCES, *OFF_POLICY) if policy == "off" else DIVERGENCES, rest, of_rest, negligible)
        if regularised
        else {},
        is_zero(moved, of_rewards, negligible),
        bed.reads_padding(means[0], negligible),
        bed.precisions(means[0]),
        means[0].groups,
        policy,
        rewarded=not is_zero(parts, of_rewards, negligible),
        regularised=regularised,
    )


def _differences(means: list[Mean], others: list[Mean]) -> tuple[list[Tensor], list[float]]:
    """What is added to a mean at each point, and how much to the gradient of a group: noise that both have is no part of it."""
    pairs = list(zip(means, others, strict=True))
    gradients = [first.gradient - second.gradient for first, second in pairs]
    return gradients, [first.distance(second) + CANCELLED * max(first.size, second.size) for first, second in pairs]


@dataclass(frozen=True)
class _Bed:
    """A loss at some points."""

    loss: Loss
    group: int
    policy: str
    packed: bool
    points: list[Point]

    def mean(self, point: Point, scale: float = 1.0, shift: float = 0.0, dtype: torch.dtype = torch.float64) -> Mean:
        samples = samples_of(point, self.policy)
        samples = _with_rewards(samples, scale * point.rewards + shift)
        found = mean_gradient(self.loss, samples, self.group, dtype=dtype, packed=self.packed)
        if dtype == torch.float64 and not bool(found.gradient.isfinite().all()):
            what = "all rewards are zero" if scale == 0 else "rewards are equal, or elsewhere"
            message = f"the gradient of the loss is not finite in some group where {what}; add an epsilon, or use where."
            raise UsageError(message)
        return found

    def means(self, *, scale: float = 1.0, shift: float = 0.0) -> list[Mean]:
        return [self.mean(point, scale, shift) for point in self.points]

    def held(self, names: tuple[str, ...], means: list[Tensor], sizes: list[float], rounding: float) -> dict[str, Match]:
        """What means are to targets."""
        gradients = {name: [TARGETS[name].gradient(point, point.logits) for point in self.points] for name in names}
        return {name: matched(means, sizes, found, rounding) for name, found in gradients.items()}

    def reads_padding(self, mean: Mean, negligible: float) -> bool:
        first = self.points[0]
        other = replace(first, setting=replace(first.setting, pad=1))
        return not is_zero([self.mean(other).gradient - mean.gradient], [mean.size], negligible)

    def precisions(self, mean: Mean) -> dict[str, Precision]:
        """The first mean in each low precision."""
        norm = float(mean.gradient.norm()) or 1.0
        low = {dtype: self.mean(self.points[0], dtype=dtype).gradient - mean.gradient for dtype in LOW}
        return {
            str(dtype).removeprefix("torch."): Precision(
                float(low[dtype].nan_to_num(nan=math.inf).norm()) / norm, part * mean.size / norm
            )
            for dtype, part in LOW.items()
        }


def _with_rewards(samples: Samples, rewards: Tensor) -> Samples:
    return replace(samples, fields={**samples.fields, "rewards": constant(rewards)})
