"""Quadrature held against far more points than its rules have: a peak between the nodes of two rules is missed by both.

The points are rows of one run, so they are cheap; code that cannot be run on rows is not held against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from numeric.draws.noise_rows import NotInRows
from numeric.draws.taint import NotIntegrable
from numeric.means.runs import Runs
from numeric.noise.at_noise import AtNoise, flat
from numeric.noise.probes import bulk

FINE, WIDEST = {1: 2**14, 2: 400}, {1: 15.0, 2: 10.0}
"""One or two scalars of noise: points of each on a grid that ends so many deviations out."""

ROWS, SUM = 2**12, 2**8
"""So many rows are one run, and so many neighbours one sum, of which the size of the difference is taken."""

REPLICATES, POINTS = 16, 2**12
"""More scalars: Sobol sequences, and points of each."""

ERRORS = 8
"""So many standard errors of Sobol sequences are no contradiction."""

SMOOTH, ROUGH = 1e-3, 1.0
"""A grid errs by less than these parts of E|difference| times its step, where code is smooth and where it has kinks."""

COMBS = (5, 7, 8)
"""A grid is so many combs, which a jump moves apart by more than it moves the grid; two jumps not for every number of combs."""


def require_resolved(
    runs: Runs,
    loss: Callable[[], Any],
    objective: Callable[[], Any],
    bias: Mapping[str, Tensor],
    tolerance: Mapping[str, Tensor],
) -> None:
    """Hold a bias that was found by quadrature, within its tolerance, against dense points.

    Raises
        NotIntegrable, if they contradict it.
    """
    with suppress(NotInRows):
        functions = AtNoise(runs, loss, objective, still=True)
        mean, error = (_on_a_grid if functions.columns in FINE else _by_sequences)(functions)
        apart = (mean - flat(list(bias.values()))).abs()
        if bool((apart > error + 2 * flat(list(tolerance.values()))).any()):
            largest = float(apart.max())
            message = f"the quadrature over continuous noise does not resolve it: dense points move the bias by {largest:.1g}."
            raise NotIntegrable(message)
    runs.integrated = None


def _on_a_grid(functions: AtNoise) -> tuple[Tensor, Tensor]:
    """Return the mean difference by the trapezoidal rule on a fine grid, (coordinates,), and how far it may err."""
    columns = functions.columns
    fine, widest = FINE[columns], WIDEST[columns]
    line = torch.linspace(-widest, widest, fine, dtype=torch.float64)
    step = 2 * widest / (fine - 1)
    points = torch.cartesian_prod(*[line] * columns).reshape(-1, columns)
    weights = (-points.square().sum(-1) / 2).exp() * (step / math.sqrt(2 * math.pi)) ** columns
    sums, combs = list[Tensor](), torch.zeros(sum(COMBS), functions.coordinates, dtype=torch.float64)
    for part, weight, at in _split(points, weights, torch.arange(len(points))):
        found = _plain(functions, part, torch.cat([_neighbours(weight), *(_combs(weight, at, size) for size in COMBS)]))
        sums.append(found[: -len(combs)])
        combs += found[-len(combs) :]
    error = (ROUGH if functions.rough or functions.runs.rough else SMOOTH) * step * torch.cat(sums).abs().sum(0)
    if functions.jumps:
        error += torch.stack([each.amax(0) - each.amin(0) for each in combs.split(COMBS)]).amax(0)
    return torch.cat(sums).sum(0), error


def _by_sequences(functions: AtNoise) -> tuple[Tensor, Tensor]:
    even = torch.full((1, POINTS), 1 / POINTS, dtype=torch.float64)
    means = [_plain(functions, bulk(functions.columns, POINTS, 71 + number), even) for number in range(REPLICATES)]
    return torch.cat(means).mean(0), ERRORS * torch.cat(means).std(0) / math.sqrt(REPLICATES)


def _split(*each: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(ROWS) for tensor in each), strict=True)


def _neighbours(weights: Tensor) -> Tensor:
    """Return weights of sums over neighbours, (sums, points)."""
    sums: Tensor = torch.block_diag(*(part[None] for part in weights.split(SUM)))
    return sums


def _combs(weights: Tensor, at: Tensor, size: int) -> Tensor:
    """Return weights of sums over every so many points of a grid, of which these are those at some places: (size, points)."""
    return torch.stack([weights * (at % size == first) for first in range(size)])


def _plain(functions: AtNoise, points: Tensor, weights: Tensor) -> Tensor:
    loss, objective = functions.sums(points, weights)
    return loss - objective
