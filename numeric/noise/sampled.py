"""What cannot be enumerated or integrated is sampled: the difference of two gradients at common noise.

Noise is taken from R independent scramblings of a Sobol sequence (owen-1995), N points each. Each gives a difference D_r
between the mean gradient of the loss and that of the objective, whose mean is the bias. If D_r is as likely to lie above the
bias as below it, then for each coordinate

    P(the bias is not in [min_r D_r, max_r D_r]) = 2 * 2**-R,

whatever else the law of D_r is: the sign test, inverted. R is such that this is at most `ALPHA` over all coordinates and all
sizes N that are tried. The premise holds in the limit of many points for every gradient of finite variance. It does not where
mass lies beyond all points: so tails are looked for and have points of their own (`numeric.noise.tails`), a gradient that is
not equal at each point is acquitted at the last size only, and where single points carry the result it is left undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from numeric.draws.noise_rows import NotInRows
from numeric.means.runs import IMPLICIT, Runs, default_tolerance
from numeric.noise.at_noise import AtNoise
from numeric.noise.tails import APART, FARTHEST, Tails, found_tails

ALPHA = 1e-9
"""The rate at which right code is called biased, or a bias is said to be smaller than it is."""

SHARE = 0.01
"""A bound of the bias is an answer where it is at most this part of the largest coordinate of the exact gradient."""

TOGETHER, ONE_BY_ONE = (64, 256, 1024, 4096), (16, 64)
"""Points of a replicate, one size after the other, where they are run as rows, and where each is a run of its own."""

HEAVY = 0.1
"""A point that carries this part of a bias or of all values, or more points that move it by as much, show unresolved tails."""

LARGEST, CHECKED = 4, 2
"""So many of the rows with the largest values are looked at alone, and in so many replicates rows are held to runs."""


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
        tails            where tails were looked for
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
    tails: Tails
    biased: bool
    reason: str

    @property
    def scale(self) -> float:
        """The largest coordinate of the exact gradient."""
        return float(self.objective.abs().max())

    @property
    def up_to(self) -> Tensor:
        """No coordinate of the bias is larger, (coordinates,), but for events so rare that the points cannot see them."""
        return torch.maximum(self.low.abs(), self.high.abs()).clamp(min=_unseen(self.points * self.replicates) * self.scale)

    def __str__(self) -> str:
        how, apart = "rows of one run" if self.together else "runs of their own", len(self.tails.centres)
        drawn = f", {APART:.0%} of them around {apart} places far out" if apart else ""
        return (
            f"{self.replicates} scrambled Sobol sequences of {self.points} points each, as {how}{drawn}; tails were looked for "
            f"in {self.tails.lines} directions, {FARTHEST:.0f} deviations out; wrong at most at the rate {ALPHA:.0e}, if a "
            "sequence errs upwards as often as downwards"
        )


@dataclass(frozen=True)
class _Replicates:
    """Means of the replicates: (replicates, coordinates) of the gradients, (replicates,) of the objective.

    Args
        share     of the sum of all sizes of values, of loss or objective, what the largest one has
        known_to  the part of themselves to which derivatives of torch are known, 0 to rounding
    """

    loss: Tensor
    objective: Tensor
    values: Tensor
    points: int
    tolerance: tuple[float, float]
    left: Tensor
    share: float
    known_to: float

    @property
    def difference(self) -> Tensor:
        return self.loss - self.objective

    @property
    def low(self) -> Tensor:
        return self.difference.amin(0) - self.left

    @property
    def high(self) -> Tensor:
        return self.difference.amax(0) + self.left

    def rounding(self, least: float = 0.0) -> Tensor:
        """By how much gradients may differ that are the same, if each is known to a part of itself at least."""
        atol, rtol = self.tolerance
        return atol + max(rtol, least) * torch.maximum(self.loss.abs().amax(0), self.objective.abs().amax(0))

    @property
    def excluded(self) -> Tensor:
        """The coordinates whose interval leaves out zero, beyond rounding and what torch knows of its own derivatives."""
        slack = self.rounding(self.known_to)
        return (self.low > slack) | (self.high < -slack)

    @property
    def are_equal(self) -> bool:
        """Whether the gradients differ by no more than rounding in each replicate."""
        return bool((torch.maximum(-self.low, self.high) <= self.rounding()).all())

    @property
    def scale(self) -> float:
        """The largest coordinate of the exact gradient."""
        return float(self.objective.mean(0).abs().max())

    @property
    def largest(self) -> float:
        """The end of an interval that is farthest from zero, or what so few points cannot see where that is more."""
        unseen = _unseen(self.points * len(self.values)) * self.scale
        return max(float(torch.maximum(self.low.abs(), self.high.abs()).max()), unseen)

    @property
    def is_bounded(self) -> bool:
        return not bool(self.excluded.any()) and self.largest <= SHARE * self.scale


def _unseen(points: float) -> float:
    """Return how probable what none of so many points meets may be, at the rate `ALPHA`."""
    return -math.log(ALPHA) / points


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


def _decided(functions: AtNoise, sizes: tuple[int, ...], *, together: bool) -> Sampled:
    """Take more points until a bias is shown at two sizes, or the gradients are equal; then what the last size leaves."""
    tails = found_tails(functions, together=together)
    enough = math.ceil(_unseen(SHARE * sizes[-1]))
    count = max(enough, math.ceil(math.log2(2 * functions.coordinates * len(sizes) / ALPHA)))
    shown = torch.zeros(functions.coordinates, dtype=torch.bool)
    before = _replicates(functions, tails, sizes[0], count, together=together)
    for size in sizes:
        found = before if size == sizes[0] else _replicates(functions, tails, size, count, together=together)
        biased, shown = found.excluded & shown, found.excluded
        reason = tails.reason or _undecided(functions, tails, before, found, biased, together=together)
        if tails.reason or (not reason and (bool(biased.any()) or found.are_equal)):
            break
        before = found
    return Sampled(
        found.loss.mean(0), found.objective.mean(0), found.low, found.high, float(found.values.mean()), size, count, together,
        tails, biased=bool(biased.any()) and not reason, reason=reason,
    )  # fmt: skip


def _undecided(
    functions: AtNoise, tails: Tails, before: _Replicates, found: _Replicates, biased: Tensor, *, together: bool
) -> str:
    """Say why nothing is decided, "" where something is."""
    if not bool(found.difference.isfinite().all()):
        return "a gradient is not a finite number at some points of the noise"
    if not bool(biased.any()) and not found.is_bounded:
        return (
            f"sampling bounds the bias by {found.largest:.2g} only; the largest coordinate of the exact gradient is "
            f"{found.scale:.2g}, and more than {SHARE:.0%} of it is no answer; audit a smaller case, or one with less variance"
        )
    if found.are_equal:
        return ""
    bias = found.difference.mean(0)
    biased = biased if bool(biased.any()) else torch.ones_like(biased)
    small = bias.abs()[biased] if bool(found.excluded.any()) else found.objective.mean(0).norm()[None]
    drift = (before.difference.mean(0) - bias).abs()[biased]
    heaviest = _heaviest(functions, tails, found, together=together) / found.points
    if bool((drift > HEAVY * small).any()) or heaviest > HEAVY * float(small.max()) or found.share > HEAVY:
        return (
            "single points of the noise carry the result, so its tails are not resolved: the gradient may have a huge or an "
            "infinite variance"
        )
    return ""


def _heaviest(functions: AtNoise, tails: Tails, found: _Replicates, *, together: bool) -> float:
    """Return the largest weighted difference at a single point, of the replicate that is farthest from the others."""
    spread = (found.difference - found.difference.median(0).values).abs().amax(-1)
    points, weights = tails.points(found.points, int(spread.argmax()))
    rows = functions.largest(points, weights, LARGEST) if together else range(len(points))
    pairs = ((weights[row], *functions.at(points[row])[:2]) for row in rows)
    return max(float((weight * (loss - objective)).abs().max()) for weight, loss, objective in pairs)


def _replicates(functions: AtNoise, tails: Tails, size: int, count: int, *, together: bool) -> _Replicates:
    every = (tails.points(size, number) for number in range(count))
    if together:
        means = [functions.together(*points, check=number < CHECKED) for number, points in enumerate(every)]
    else:
        means = [functions.one_by_one(*points) for points in every]
    loss, objective = torch.stack([each.loss for each in means]), torch.stack([each.objective for each in means])
    if together:
        functions.require_slope(*tails.points(size, 0), objective[0])
    standard = default_tolerance(functions.runs.coarsest)
    values = torch.tensor([each.value for each in means], dtype=torch.float64)
    largest, total = torch.stack([each.largest for each in means]).amax(0), sum(each.total for each in means)
    share = float((largest / total).nan_to_num().max())
    known_to = IMPLICIT if functions.runs.implicit else 0.0
    return _Replicates(loss, objective, values, size, (standard.atol, standard.rtol), tails.left, share, known_to)
