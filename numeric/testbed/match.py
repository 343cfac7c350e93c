"""Of what is a mean the gradient? One mean at each of some points, held against each target there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

ROUNDING = 1e-10
"""Relative to the mean norm of the gradient, in float64: no verdict depends on the unit of a loss."""


@dataclass(frozen=True)
class Match:
    """What a mean is to a target.

    Args
        verdict     "exact", "scaled" by one factor, "parallel" with a factor that moves, or "other"
        factors     the factor at each point, empty where the two are not parallel
        cosine      of the angle between them at the first point
        norm_ratio  of their lengths there
    """

    verdict: str
    factors: tuple[float, ...]
    cosine: float
    norm_ratio: float

    @property
    def factor(self) -> float | None:
        """The one factor, or None."""
        return self.factors[0] if self.verdict in ("exact", "scaled") else None

    def __str__(self) -> str:
        shown = {"exact": "exactly its gradient", "scaled": f"{self.factors[0] if self.factors else 0:.6g} times its gradient"}
        angle = f"cosine {self.cosine:.3f}, norm ratio {self.norm_ratio:.3f}"
        moving = f"parallel, with a factor that moves: {', '.join(f'{each:.4g}' for each in self.factors)}"
        return shown.get(self.verdict, moving if self.verdict == "parallel" else f"no ({angle})")


def matched(means: Sequence[Tensor], sizes: Sequence[float], targets: Sequence[Tensor], rounding: float = ROUNDING) -> Match:
    """Return what means are to the gradients of a target at the same points.

    >>> import torch
    >>> one, two = torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])
    >>> print(matched([one, two], [1.0, 1.0], [2 * one, 2 * two]))
    0.5 times its gradient
    >>> print(matched([one, 3 * two], [1.0, 1.0], [one, two]))
    parallel, with a factor that moves: 1, 3
    """
    found = [_factor(*each, rounding) for each in zip(means, sizes, targets, strict=True)]
    cosine, ratio = angle(means[0], targets[0])
    factors = tuple(each for each in found if each is not None)
    if len(factors) < len(found):
        return Match("other", (), cosine, ratio)
    close = 100 * rounding
    if all(abs(each - 1) < close for each in factors):
        return Match("exact", factors, cosine, ratio)
    one = all(math.isclose(each, factors[0], rel_tol=close) for each in factors)
    return Match("scaled" if one else "parallel", factors, cosine, ratio)


def is_zero(means: Sequence[Tensor], sizes: Sequence[float], rounding: float = ROUNDING) -> bool:
    """Whether a mean is zero at every point."""
    return all(float(mean.norm()) <= rounding * size for mean, size in zip(means, sizes, strict=True))


def best(matches: Mapping[str, Match]) -> str:
    """Return the target that a mean is the gradient of, or a multiple; "" where it is that of none."""
    for verdict in ("exact", "scaled", "parallel"):
        for name, match in matches.items():
            if match.verdict == verdict:
                return name
    return ""


def _factor(mean: Tensor, size: float, target: Tensor, rounding: float) -> float | None:
    square = float(target @ target)
    slack = rounding * max(size, float(mean.norm()))
    if math.sqrt(square) <= ROUNDING or float(mean.norm()) <= slack:
        return None
    factor = float(mean @ target) / square
    return factor if float((mean - factor * target).norm()) <= slack else None


def angle(mean: Tensor, target: Tensor) -> tuple[float, float]:
    """Return the cosine of two gradients and the ratio of their norms; nan where one is zero."""
    ours, theirs = float(mean.norm()), float(target.norm())
    if theirs <= ROUNDING:
        return math.nan, math.nan
    if ours == 0:
        return math.nan, 0.0
    return float(mean @ target) / (ours * theirs), ours / theirs
