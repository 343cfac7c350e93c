"""What cannot be enumerated or integrated is sampled: the difference of two gradients at common noise.

Noise is taken from R independent scramblings of a Sobol sequence (owen-1995), N points each. Each gives a difference D_r
between the mean gradient of the loss and that of the objective, whose mean is the bias. If D_r is as likely to lie above the
bias as below it, then for each coordinate

    P(the bias is not in [min_r D_r, max_r D_r]) = 2 * 2**-R,

whatever else the law of D_r is: the sign test, inverted. R is such that this is at most `ALPHA` over all coordinates and all
sizes N that are tried. The premise holds in the limit of many points for every gradient of finite variance. Where single points
carry the result it may not, so such a result is left undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import qmc
from torch import Tensor

from numeric.auditing.at_noise import AtNoise
from numeric.auditing.audit_runs import Runs, default_tolerance
from numeric.draws.noise_rows import NotInRows

ALPHA = 1e-9
"""The rate at which right code is called biased, or a bias is said to be smaller than it is."""

SHARE = 0.01
"""A bound of the bias is an answer where it is at most this part of the largest coordinate of the exact gradient."""

TOGETHER, ONE_BY_ONE = (64, 256, 1024, 4096), (16, 64)
"""Points of a replicate, one size after the other, where they are run as rows, and where each is a run of its own."""

HEAVY = 0.1
"""A single point that carries this part of a bias, or more points that move it by as much, show tails that are not resolved."""

LARGEST, CHECKED = 4, 2
"""So many of the rows with the largest values are looked at alone, and in so many replicates rows are held to runs."""

_NEAREST = 2.0**-40


@dataclass(frozen=True)
class Sampled:
    """Mean gradients over all points, and the interval of the bias, each (coordinates,).

    Args
        loss, objective  the mean gradients
        low, high        ends of the interval of the bias; of all coordinates at once, at the rate `ALPHA`
        value            E[objective]
        points           in each replicate
        replicates       independent scramblings
        together         whether the points were rows of one run
        biased           whether the interval leaves out zero, twice, and no single point carries that
        reason           why nothing is decided, "" where something is
    """

    loss: Tensor
    objective: Tensor
    low: Tensor
    high: Tensor
    value: float
    points: int
    replicates: int
    together: bool
    biased: bool
    reason: str

    @property
    def scale(self) -> float:
        """The largest coordinate of the exact gradient."""
        return float(self.objective.abs().max())

    @property
    def up_to(self) -> Tensor:
        """No coordinate of the bias is larger, (coordinates,), but for events so rare that the points cannot see them."""
        unseen = -math.log(ALPHA) / (self.points * self.replicates) * self.scale
        return torch.maximum(self.low.abs(), self.high.abs()).clamp(min=unseen)

    def __str__(self) -> str:
        how = "rows of one run" if self.together else "runs of their own"
        return (
            f"{self.replicates} scrambled Sobol sequences of {self.points} points each, as {how}; wrong at most at the rate "
            f"{ALPHA:.0e}, if a sequence errs upwards as often as downwards"
        )


@dataclass(frozen=True)
class _Replicates:
    """Means of the replicates: (replicates, coordinates) of the gradients, (replicates,) of the objective."""

    loss: Tensor
    objective: Tensor
    values: Tensor
    points: int
    tolerance: tuple[float, float]

    @property
    def difference(self) -> Tensor:
        return self.loss - self.objective

    @property
    def excluded(self) -> Tensor:
        """The coordinates whose interval leaves out zero, beyond rounding."""
        atol, rtol = self.tolerance
        rounding = atol + rtol * torch.maximum(self.loss.abs().amax(0), self.objective.abs().amax(0))
        return (self.difference.amin(0) > rounding) | (self.difference.amax(0) < -rounding)

    @property
    def is_bounded(self) -> bool:
        scale = float(self.objective.mean(0).abs().max())
        return not bool(self.excluded.any()) and float(self.difference.abs().max()) <= SHARE * scale


def sampled(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any]) -> Sampled:
    """Return the interval of the bias of a gradient, from differences at common noise.

    Raises
        NotAuditable, if the objective decides by noise, or hides a dependence on the parameters.
    """
    functions = AtNoise(runs, loss, objective)
    runs.require_repeatable(loss)
    try:
        found = _decided(functions, TOGETHER, together=True)
    except NotInRows:
        found = _decided(functions, ONE_BY_ONE, together=False)
    runs.bystanders.require_untouched()
    return found


def differing_points(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], points: int) -> int:
    """Return at how many points of the noise the two gradients differ by more than rounding."""
    functions, standard = AtNoise(runs, loss, objective), default_tolerance(runs.coarsest)
    found = [functions.at(point)[:2] for point in _points(functions.columns, 64, 0)[:points]]
    runs.integrated = None
    size = max(float(part.abs().max()) for pair in found for part in pair)
    return sum(not torch.allclose(*pair, rtol=standard.rtol, atol=standard.atol + standard.rtol * size) for pair in found)


def _decided(functions: AtNoise, sizes: tuple[int, ...], *, together: bool) -> Sampled:
    """Take more points until the bias is bounded, or shown at two sizes; then what the last size leaves."""
    count = math.ceil(math.log2(2 * functions.coordinates * len(sizes) / ALPHA))
    shown = torch.zeros(functions.coordinates, dtype=torch.bool)
    before = _replicates(functions, sizes[0], count, together=together)
    for size in sizes:
        found = before if size == sizes[0] else _replicates(functions, size, count, together=together)
        biased, shown = found.excluded & shown, found.excluded
        reason = _undecided(functions, before, found, biased, together=together)
        if not reason:
            break
        before = found
    return Sampled(
        found.loss.mean(0), found.objective.mean(0), found.difference.amin(0), found.difference.amax(0),
        float(found.values.mean()), size, count, together, biased=bool(biased.any()) and not reason, reason=reason,
    )  # fmt: skip


def _undecided(functions: AtNoise, before: _Replicates, found: _Replicates, biased: Tensor, *, together: bool) -> str:
    """Say why nothing is decided, "" where something is."""
    if not bool(found.difference.isfinite().all()):
        return "a gradient is not a finite number at some points of the noise"
    if not bool(biased.any()) and not found.is_bounded:
        largest, scale = float(found.difference.abs().max()), float(found.objective.mean(0).abs().max())
        return (
            f"sampling bounds the bias by {largest:.2g} only; the largest coordinate of the exact gradient is {scale:.2g}, and "
            f"more than {SHARE:.0%} of it is no answer; audit a smaller case, or one with less variance"
        )
    bias = found.difference.mean(0)
    biased = biased if bool(biased.any()) else torch.ones_like(biased)
    small = bias.abs()[biased] if bool(found.excluded.any()) else found.objective.mean(0).norm()[None]
    drift = (before.difference.mean(0) - bias).abs()[biased]
    heaviest = _heaviest(functions, found, together=together) / found.points
    if bool((drift > HEAVY * small).any()) or heaviest > HEAVY * float(small.max()):
        return (
            "single points of the noise carry the result, so its tails are not resolved: the gradient may have a huge or an "
            "infinite variance"
        )
    return ""


def _heaviest(functions: AtNoise, found: _Replicates, *, together: bool) -> float:
    """Return the largest difference at a single point, of the replicate that is farthest from the others."""
    spread = (found.difference - found.difference.median(0).values).abs().amax(-1)
    points = _points(functions.columns, found.points, int(spread.argmax()))
    rows = functions.largest(points, LARGEST) if together else range(len(points))
    pairs = (functions.at(points[row])[:2] for row in rows)
    return max(float((loss - objective).abs().max()) for loss, objective in pairs)


def _replicates(functions: AtNoise, size: int, count: int, *, together: bool) -> _Replicates:
    every = (_points(functions.columns, size, number) for number in range(count))
    if together:
        means = [functions.together(points, check=number < CHECKED) for number, points in enumerate(every)]
    else:
        means = [functions.one_by_one(points) for points in every]
    loss, objective = torch.stack([each.loss for each in means]), torch.stack([each.objective for each in means])
    if together:
        functions.require_slope(_points(functions.columns, size, 0), objective[0])
    standard = default_tolerance(functions.runs.coarsest)
    values = torch.tensor([each.value for each in means], dtype=torch.float64)
    return _Replicates(loss, objective, values, size, (standard.atol, standard.rtol))


def _points(columns: int, size: int, number: int) -> Tensor:
    """Scrambled Sobol points, (size, columns) in (0, 1): independent ones for each size and number."""
    points = torch.from_numpy(qmc.Sobol(columns, scramble=True, rng=1_000_003 * size + number).random(size))
    return points.clamp(_NEAREST, 1 - _NEAREST)
