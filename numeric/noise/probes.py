"""Whether two gradients are the same function of their noise: compared at many points, in the bulk and on lines far out.

What is analytic and agrees on an open set agrees everywhere; but a softplus that begins at four deviations, or a bump that is a
hundredth wide, is there in floating point only near where it lies. So the points are as dense as they are cheap: thousands of
rows of one run where the code can be run on rows.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from numeric.draws.noise_rows import NotInRows
from numeric.means.runs import Runs, default_tolerance
from numeric.noise.at_noise import AtNoise

GENERIC, ON_LINES = 64, 256
"""Points in the bulk, and on lines, where each is a run of its own."""

ROWS, SUM = 2**12, 64
"""Rows in the bulk, and on lines; and so many neighbours make one sum, in which one that differs is not lost in rounding."""

REACH = 7.0
"""Lines end so many deviations out: beyond, what is as likely as its square says would need to be 1e10 times as large."""

MOST_AXES, OBLIQUE = 64, 8
"""Lines along so many of the axes, and in so many random directions."""

_NEAREST = 2.0**-40


def sobol(columns: int, size: int, seed: int) -> Tensor:
    """Scrambled Sobol points, (size, columns) in (0, 1)."""
    qmc = import_module("scipy.stats").qmc  # takes as long to import as many an audit takes
    points: Tensor = torch.from_numpy(qmc.Sobol(columns, scramble=True, rng=seed).random(size))
    return points.clamp(_NEAREST, 1 - _NEAREST)


def bulk(columns: int, size: int, seed: int) -> Tensor:
    """Points that are distributed as the noise, (size, columns) of normal scores."""
    normal: Tensor = torch.special.ndtri(sobol(columns, size, seed))
    return normal


def differ(runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], most: int) -> bool:
    """Whether the two gradients differ by more than rounding somewhere, by at most so many runs where rows do not go.

    A difference far out counts for as much as its probability leaves of it.
    """
    functions = AtNoise(runs, loss, objective)
    try:
        found = _by_rows(functions)
    except NotInRows:
        found = _one_by_one(functions, most)
    runs.integrated = None
    return found


def on_lines(columns: int, size: int) -> tuple[Tensor, Tensor]:
    """Return points on lines through random points, neighbours side by side: (size, columns), and what counts of them, (size,).

    >>> points, counted = on_lines(1, 5)
    >>> points.flatten().tolist(), [f"{each:.0e}" for each in counted.tolist()]
    ([-7.0, -3.5, 0.0, 3.5, 7.0], ['2e-11', '2e-03', '1e+00', '2e-03', '2e-11'])
    """
    generator = torch.Generator().manual_seed(columns)
    axes = torch.eye(columns, dtype=torch.float64)[torch.randperm(columns, generator=generator)[:MOST_AXES]]
    oblique = torch.randn(OBLIQUE if columns > 1 else 0, columns, generator=generator, dtype=torch.float64)
    directions = torch.cat([axes, torch.nn.functional.normalize(oblique)])
    each = size // len(directions)
    far = torch.linspace(-REACH, REACH, each, dtype=torch.float64).repeat(len(directions))
    along = directions.repeat_interleave(each, 0)
    around = torch.randn(len(far), columns, generator=generator, dtype=torch.float64)
    around = around - (around * along).sum(-1, keepdim=True) * along
    return far[:, None] * along + around, (-far.square() / 2).exp()


def _by_rows(functions: AtNoise) -> bool:
    """Compare sums of neighbours with random weights, so that what differs does not cancel."""
    generator = torch.Generator().manual_seed(7)
    lines, counted = on_lines(functions.columns, ROWS)
    found = []
    for points, counts in ((bulk(functions.columns, ROWS, 64), torch.ones(ROWS, dtype=torch.float64)), (lines, counted)):
        weights = counts * (0.5 + torch.rand(len(counts), generator=generator, dtype=torch.float64))
        parts = zip(points.split(16 * SUM), weights.split(16 * SUM), strict=True)
        sums = [functions.sums(part, _neighbours(weight), check=number == 0) for number, (part, weight) in enumerate(parts)]
        found.append((torch.cat([each for each, _ in sums]), torch.cat([each for _, each in sums])))
    return _are_apart(functions, *found)


def _neighbours(weights: Tensor) -> Tensor:
    """Weights of sums of neighbours, (sums, n)."""
    blocks: Tensor = torch.block_diag(*(part[None] for part in weights.split(SUM)))
    return blocks


def _one_by_one(functions: AtNoise, most: int) -> bool:
    generic = min(GENERIC, most)
    found = [functions.each(bulk(functions.columns, GENERIC, 64)[:generic], together=False)]
    size = min(ON_LINES, most - generic)
    if size >= functions.columns + OBLIQUE:
        points, counted = on_lines(functions.columns, size)
        loss, objective = functions.each(points, together=False)
        found.append((counted[:, None] * loss, counted[:, None] * objective))
    return _are_apart(functions, *found)


def _are_apart(functions: AtNoise, generic: tuple[Tensor, Tensor], *lines: tuple[Tensor, Tensor]) -> bool:
    """Whether pairs of gradients differ beyond rounding, which is that in the bulk; far out both may be nan."""
    standard = default_tolerance(functions.runs.coarsest)
    slack = standard.atol + standard.rtol * float(torch.stack(generic).abs().max())
    if not torch.allclose(*generic, rtol=standard.rtol, atol=slack):
        return True
    return not all(torch.allclose(*pair, rtol=standard.rtol, atol=slack, equal_nan=True) for pair in lines)
