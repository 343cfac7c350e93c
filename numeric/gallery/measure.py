"""What a row measures to: its mean at each point, held against its target, and what a constant in the reward does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from numeric.gallery.row import POINTS, Row
from numeric.testbed.groups import Keep, Mean, mean_gradient
from numeric.testbed.match import ROUNDING
from numeric.testbed.running import Loss
from numeric.testbed.samples import Samples

SHIFTED = 2
"""At so many points a constant is added to the rewards."""


@dataclass(frozen=True)
class Measured:
    """A row at one point, with groups of one size.

    Args
        mean      of its gradient
        expected  the gradient of the target times the factor; None where no target is named
        shifted   what a constant of one in the rewards adds to the mean, at the first points; None elsewhere
    """

    mean: Mean
    expected: Tensor | None
    shifted: Tensor | None

    @property
    def slack(self) -> float:
        """What is rounding."""
        return ROUNDING * max(1.0, self.mean.size)

    @property
    def holds(self) -> bool:
        """Whether the mean is what is expected of it."""
        return self.expected is None or self.is_same(self.mean.gradient, self.expected)

    @property
    def baseline_free(self) -> bool:
        """Whether a constant in the reward leaves the mean."""
        return self.shifted is None or float(self.shifted.norm()) <= self.slack

    def is_same(self, first: Tensor, second: Tensor) -> bool:
        """Whether two gradients differ by rounding only."""
        return float((first - second).norm()) <= self.slack


def keep(row: Row) -> Keep | None:
    """Return which groups are used."""
    return (lambda rewards: rewards.amax(-1) != rewards.amin(-1)) if row.mixed else None


@cache
def measured(row: Row, seed: int, size: int) -> Measured:
    """Return what a row is at the point of a seed."""
    point = row.world.point(seed)
    samples = row.world.samples(point)
    mean = mean_gradient(row.loss, samples, size, keep=keep(row))
    expected = None if row.target is None else row.factor(point, size) * row.target.gradient(point, samples.theta)
    return Measured(mean, expected, _shifted(row, samples, size, mean) if seed < SHIFTED else None)


def _shifted(row: Row, samples: Samples, size: int, mean: Mean) -> Tensor | None:
    if "rewards" not in row.loss.__code__.co_varnames:
        return None
    return mean_gradient(row.loss, plus_one(samples), size, keep=keep(row)).gradient - mean.gradient


def plus_one(samples: Samples) -> Samples:
    """Return samples with a one added to every reward."""
    rewards = samples.fields["rewards"]
    return replace(samples, fields={**samples.fields, "rewards": lambda theta: rewards(theta) + 1})


def every(row: Row) -> list[Measured]:
    """Return what a row is at each point and size."""
    return [measured(row, seed, size) for seed in range(POINTS) for size in row.sizes]


def gradient_of(loss: Loss, row: Row, seed: int, size: int) -> Tensor:
    """Return the mean gradient of another loss in the world of a row."""
    return mean_gradient(loss, row.world.samples(row.world.point(seed)), size, keep=keep(row)).gradient
