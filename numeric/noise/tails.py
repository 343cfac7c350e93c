"""Where a difference of two gradients has mass that points drawn as the noise would never meet: looked for on lines far out.

Along a line in the direction v, with all else typical, the difference D beyond r deviations carries the integral of
D(s v) phi(s) over s > r. That integral is taken along axes, and along the slopes of D at points far out, where a half-space or
the mode of an exponential shows its direction. Where it matters, points are drawn around its largest place too, each weighted
by the density of the noise over that of all points (the balance heuristic of Veach and Guibas 1995): no weight is above 4/3, so
nothing is lost, and what was beyond all points is met.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from numeric.draws.noise_rows import NotInRows
from numeric.draws.tape import NotAuditable
from numeric.means.runs import Runs
from numeric.noise.at_noise import AtNoise
from numeric.noise.probes import MOST_AXES, bulk, sobol
from numeric.noise.singular import singular

BEYOND, FARTHEST = 4.5, 15.0
"""Tails begin, and lines end, so many deviations out."""

FELT = 1e-3
"""A tail that carries this part of the largest coordinate of the exact gradient has points of its own."""

MOST_CENTRES, APART = 32, 0.25
"""At most so many tails have points of their own, and together this part of all points."""

SCALES = (1.0, 2.0, 3.0)
"""Noise is made so many times as large to find directions."""

STEEPEST, MOST_SLOPES = 3, 128
"""Of so many points slopes are taken, by as many differences as noise has scalars, where these are no more than that."""

_STEP = 1e-3

_GOES_ON = f"{FARTHEST:.0f} deviations out the {{}} more than its probability takes away"


@dataclass(frozen=True)
class Tails:
    """Where tails matter.

    Args
        centres   around which points are drawn, (centres, columns) of normal scores
        shares    the part of all points that are drawn around each, (centres,)
        left      what the largest of the other tails carries, (coordinates,)
        lines     along so many directions tails were looked for, to both sides
        reason    why sampling cannot resolve them, "" where it can
    """

    centres: Tensor
    shares: Tensor
    left: Tensor
    lines: int
    reason: str

    def points(self, size: int, number: int) -> tuple[Tensor, Tensor]:
        """Return points, (size, columns) of normal scores, independent for each size and number, and their weights, (size,)."""
        columns, seed = self.centres.shape[1], 1_000_003 * size + number
        if not len(self.centres):
            return bulk(columns, size, seed), torch.ones(size, dtype=torch.float64)
        spread = sobol(columns + 1, size, seed)
        nowhere = torch.zeros(1, columns, dtype=torch.float64)
        around = torch.searchsorted(self.shares.cumsum(0), spread[:, 0].contiguous())
        points = torch.special.ndtri(spread[:, 1:]) + torch.cat([self.centres, nowhere])[around]
        ratios = (points @ self.centres.T - self.centres.square().sum(-1) / 2).exp()
        return points, 1 / (1 - self.shares.sum() + ratios @ self.shares)


def found_tails(functions: AtNoise, *, together: bool) -> Tails:
    """Return where the tails of the difference of two gradients matter.

    Raises
        NotInRows, if the code cannot be run on rows.
    """
    scale, directions = _directions(functions, together=together)
    steps = torch.arange(3.0, FARTHEST, 0.5 if together else 1.0, dtype=torch.float64)
    far = torch.cat([directions, -directions])
    mass = _along(functions, far, steps, together=together)
    carried = mass[:, steps >= BEYOND].sum(1)
    felt = carried.amax(-1)
    order = felt.argsort(descending=True)[:MOST_CENTRES]
    chosen = order[felt[order] > FELT * scale]
    places = mass.amax(-1)[chosen].argmax(-1)
    left = carried.clone()
    left[chosen] = 0
    goes_on = bool((mass[:, -1].amax(-1) > FELT * scale).any())
    reason = _GOES_ON.format("gradients differ by") if goes_on else boundless(functions, together=together)
    shares = felt[chosen].clamp(max=1e300).sqrt()
    return Tails(steps[places, None] * far[chosen], APART * shares / shares.sum(), left.amax(0), len(directions), reason)


def boundless(functions: AtNoise, *, together: bool) -> str:
    """Say that the gradient of the objective has no mean, "" where nothing shows that.

    Gradients that are equal at each point differ nowhere, also where neither has a mean.

    Raises
        NotInRows, if the code cannot be run on rows.
    """
    columns = functions.columns
    axes = torch.eye(columns, dtype=torch.float64)[: MOST_AXES if together else 8]
    _, usual = functions.each(bulk(columns, 128 if together else 8, 11), together=together)
    ends = torch.cat([axes, -axes])
    _, far = functions.each(_typical(ends) + FARTHEST * ends, together=together)
    carried = far.abs().nan_to_num(nan=0.0, posinf=0.0) * math.exp(-(FARTHEST**2) / 2) / math.sqrt(2 * math.pi)
    most = FELT * usual.abs().nan_to_num(nan=0.0, posinf=0.0).mean(0).max()
    if float(carried.max()) <= float(most):
        return singular(functions, together=together)
    return _GOES_ON.format("gradient of the objective is") + ": it has no mean, or one that rare values of the noise carry"


def without_mean(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any]) -> str:
    """Say that the gradient of an objective has no mean, as `boundless` does; as rows where the code can be run so."""
    functions, found = AtNoise(runs, loss, objective), ""
    try:
        found = boundless(functions, together=True)
    except NotInRows:
        with suppress(NotAuditable, ValueError, RuntimeError, ArithmeticError):  # it may not run so far out
            found = boundless(functions, together=False)
    runs.integrated = None
    return found


def _along(functions: AtNoise, directions: Tensor, steps: Tensor, *, together: bool) -> Tensor:
    """Return what the differences carry along half-lines, (directions, steps, coordinates)."""
    points = _typical(directions)[:, None] + steps[:, None] * directions[:, None]
    differences = _differences(functions, points.flatten(0, 1), together=together).reshape(*points.shape[:2], -1)
    density = (-steps.square() / 2).exp() / math.sqrt(2 * math.pi) * (steps[1] - steps[0])
    carried = differences.abs() * density[:, None]
    return torch.where(carried.isfinite() | (density > 1e-12)[:, None], carried, 0.0).nan_to_num(nan=math.inf)


def _typical(directions: Tensor) -> Tensor:
    """Return a point for each direction where all else is typical and nothing lies along it, (directions, columns)."""
    around = bulk(directions.shape[1], 2 ** math.ceil(math.log2(len(directions))), 1)[: len(directions)]
    return around - (around * directions).sum(-1, keepdim=True) * directions


def _directions(functions: AtNoise, *, together: bool) -> tuple[float, Tensor]:
    """Return the largest coordinate of the exact gradient, roughly, and directions in which to look, (directions, columns)."""
    columns = functions.columns
    generator = torch.Generator().manual_seed(columns)
    axes = torch.eye(columns, dtype=torch.float64)[torch.randperm(columns, generator=generator)[: MOST_AXES if together else 8]]
    found, scale = [axes], 0.0
    for number, times in enumerate(SCALES):
        points = times * bulk(columns, 128 if together else 8, 11 + number)
        loss, objective = functions.each(points, together=together)
        sizes = (loss - objective).abs().amax(-1).nan_to_num(nan=0.0, posinf=0.0)
        scale = scale or float(objective.mean(0).abs().max()) + 1e-6 * float(objective.abs().amax(-1).mean())
        if columns > 1 and bool(sizes.any()):
            found.append((sizes @ points)[None])
            for point in points[sizes.topk(STEEPEST if together else 1).indices]:
                found += [point[None], _slopes(functions, point, together=together)]
    directions = torch.nn.functional.normalize(torch.cat(found))
    return scale, directions[directions.isfinite().all(-1) & (directions.norm(dim=-1) > 0.5)]


def _slopes(functions: AtNoise, point: Tensor, *, together: bool) -> Tensor:
    """Return in which directions values, and the size of the difference, grow at a point, (directions, columns)."""
    columns = len(point)
    if columns > (MOST_SLOPES if together else 8):
        return point[None]
    beside = torch.cat([point[None], point + _STEP * torch.eye(columns, dtype=torch.float64)])
    sizes = _differences(functions, beside, together=together).abs().amax(-1)[None]
    grown = torch.cat([sizes, *functions.both_values(beside)]) if together else sizes
    return grown[:, 1:] - grown[:, :1]


def _differences(functions: AtNoise, points: Tensor, *, together: bool) -> Tensor:
    loss, objective = functions.each(points, together=together)
    return loss - objective
