"""Where gradients grow in the middle of their noise so fast that they have no mean: looked for by zooming in.

Near a set of codimension c on which a gradient grows as 1 / r^a, r the distance to it, the sizes of gradients at points that
are drawn evenly from a box have the tail P(size > t) ~ t^(-c/a), however small the box: a mean is finite where c > a. So boxes
are shrunk around the largest gradient of each, and where sizes grow all the way down, the index c / a is estimated from the
largest ones (Hill 1975, "A simple general approach to inference about the tail of a distribution").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from numeric.noise.at_noise import AtNoise
from numeric.noise.probes import bulk, sobol

SHRINK = 4.0
"""A box has edges so many times as short as the one before."""

WIDEST, ROUNDINGS = 1.0, 1e4
"""The first box is so many deviations wide, and the last one so many roundings of its place."""

FELT = 0.25
"""Where a quarter of all boxes shows a smaller power of growth, nothing grows, or is lost beside what does not."""

DEVIATIONS = 3.0
"""An index within so many standard errors of one, or below it, is that of no mean."""

MIDDLE, BESIDE = 4.5, 1e-3
"""Beyond so many deviations tails are looked for; and a neighbour is so far away."""

UPPER = 16
"""The size of a box is exceeded at one point in so many, so that a single one that is infinite is no growth."""


@dataclass(frozen=True)
class _Effort:
    """How many points: to begin with, of which so many are zoomed in on; in each box; in a box that tells the index."""

    first: int
    starts: int
    box: int
    index: int


_TOGETHER, _ALONE = _Effort(1024, 3, 128, 1024), _Effort(32, 1, 32, 64)


def singular(functions: AtNoise, *, together: bool) -> str:
    """Say that a gradient has no mean because of a place in the middle of its noise, "" where nothing shows that.

    Raises
        NotInRows, if the code cannot be run on rows.
    """
    effort = _TOGETHER if together else _ALONE
    roundings = ROUNDINGS * torch.finfo(functions.runs.coarsest).eps
    depth = int(math.log(WIDEST / roundings, SHRINK)) if roundings < WIDEST else 0
    if depth < 4:
        return ""
    for start in _starts(functions, effort, together=together):
        centres = _zoomed(functions, start, depth, effort, together=together)
        if not len(centres):
            continue
        index, error = _index(functions, centres, depth, effort, together=together)
        if index <= 1 + DEVIATIONS * error:
            shown = [f"{each:.3g}" for each in centres[-1].tolist()]
            place = ", ".join([*shown[:3], "..."] if len(shown) > 3 else shown)
            return (
                f"near the normal scores ({place}) of the noise gradients grow without bound, with a tail of index "
                f"{index:.2f}: they have no mean, or one that few values of the noise carry"
            )
    return ""


def _sizes(functions: AtNoise, points: Tensor, *, together: bool) -> Tensor:
    """The larger one of the sizes of both gradients at each point, (n,)."""
    both = torch.cat(functions.each(points, together=together), dim=-1)
    return both.abs().amax(-1).nan_to_num(nan=0.0, posinf=1e300).clamp(min=1e-300)


def _starts(functions: AtNoise, effort: _Effort, *, together: bool) -> Tensor:
    """Return where gradients are largest, and where they change most, (starts, columns)."""
    points = bulk(functions.columns, effort.first, 17)
    points = points[points.abs().amax(-1) < MIDDLE]
    generator = torch.Generator().manual_seed(19)
    beside = points + BESIDE * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    here, there = (_sizes(functions, each, together=together) for each in (points, beside))
    larger = torch.maximum(here, there)
    change = torch.where(larger > here.median(), (here / there).log().abs(), 0.0)
    chosen = torch.cat([each.topk(effort.starts).indices for each in (larger, change)])
    return torch.where((here > there)[:, None], points, beside)[chosen.unique()]


def _box(centre: Tensor, level: int, size: int) -> Tensor:
    """Points that are spread evenly in a box, (size, columns)."""
    return centre + WIDEST * SHRINK**-level * (sobol(len(centre), size, 23 + level) - 0.5)


def _zoomed(functions: AtNoise, start: Tensor, depth: int, effort: _Effort, *, together: bool) -> Tensor:
    """Return the middles of the next boxes, (depth, columns), where gradients grow all the way down; none elsewhere."""
    centres, sizes, window = [start], [], depth // 4
    for level in range(depth):
        points = _box(centres[-1], level, effort.box)
        found = _sizes(functions, points, together=together)
        sizes.append(math.log(float(found.topk(effort.box // UPPER).values[-1]), SHRINK))
        centres.append(points[found.argmax()])
        if level >= window and sizes[level] - sizes[level - window] < FELT * window:
            return torch.empty(0, functions.columns, dtype=torch.float64)
    return torch.stack(centres[1:])


def _index(functions: AtNoise, centres: Tensor, depth: int, effort: _Effort, *, together: bool) -> tuple[float, float]:
    """Return the index of the tail of the sizes, from the smaller half of all boxes, and its standard error."""
    excesses = []
    for level in range(depth // 2, depth):
        sizes = _sizes(functions, _box(centres[level - 1], level, effort.index), together=together)
        largest = sizes.topk(effort.index // 8).values.log()
        excesses.append(largest[:-1] - largest[-1])
    every = torch.cat(excesses)
    index = 1 / max(float(every.mean()), 1e-300)
    return index, index / math.sqrt(len(every))
