"""Quadrature held against far more points than its rules have: a peak between the nodes of two rules is missed by both.

The points are rows of one run, so they are cheap; code that cannot be run on rows is not held against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
"""A grid errs by less than these parts of E|difference| times its step, where code is smooth and where it jumps."""


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
        functions = AtNoise(runs, loss, objective)
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
    sums = torch.cat([_difference(functions, part, weight) for part, weight in _split(points, weights)])
    return sums.sum(0), (ROUGH if functions.rough or functions.runs.rough else SMOOTH) * step * sums.abs().sum(0)


def _by_sequences(functions: AtNoise) -> tuple[Tensor, Tensor]:
    even = torch.full((1, POINTS), 1 / POINTS, dtype=torch.float64)
    means = [_plain(functions, bulk(functions.columns, POINTS, 71 + number), even) for number in range(REPLICATES)]
    return torch.cat(means).mean(0), ERRORS * torch.cat(means).std(0) / math.sqrt(REPLICATES)


def _split(points: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(points.split(ROWS), weights.split(ROWS), strict=True))


def _difference(functions: AtNoise, points: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums of differences over neighbours, (sums, coordinates)."""
    return _plain(functions, points, torch.block_diag(*(part[None] for part in weights.split(SUM))))


def _plain(functions: AtNoise, points: Tensor, weights: Tensor) -> Tensor:
    loss, objective = functions.sums(points, weights)
    return loss - objective
