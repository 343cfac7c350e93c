"""Whether the value of an objective jumps in its noise where no operation says so: x / sqrt(x^2), relu(x) / x, atan(1 / x).

Each is smooth where it is defined, so that nothing is seen to decide; but a derivative at fixed noise leaves out what a jump
adds that moves with the parameters, and so does every rule or point that does not meet its place. So values, not gradients, are
followed along lines: where they change most against their neighbours, the interval is narrowed down, and what is continuous
shrinks with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge
from numeric.draws.noise_rows import NotInRows
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import NotAuditable
from numeric.means.runs import Runs
from numeric.noise.at_noise import AtNoise
from numeric.noise.probes import MOST_AXES, OBLIQUE

REACH, ASIDE = 5.0, 0.00137
"""Lines end so many deviations out, and their points are moved aside: at zero itself 0 / 0 would hide a jump."""

ROUNDINGS, STEEP = 1e4, 1e-5
"""What changes within so many roundings jumps; within so small a part of a deviation, it is too steep for rules and points."""

FELT = 1e-6
"""A change that is smaller than this part of the usual values, times the density there, is not felt."""

KEPT, SHRUNK = 0.5, 2.0**-9
"""A jump keeps half of its size in an interval that is so many times as short."""

MOVED = 1e-2
"""Parameters are moved by about this part of them, to see whether the place moves with them."""


@dataclass(frozen=True)
class _Effort:
    """How many lines along axes and oblique ones, points of all of them, intervals that are narrowed down, and their parts."""

    axes: int
    oblique: int
    points: int
    intervals: int
    parts: int


_TOGETHER, _ALONE = _Effort(MOST_AXES, OBLIQUE, 2**11, 32, 16), _Effort(4, 1, 128, 4, 4)


def require_gradual(runs: Runs, objective: Callable[[], Any], *, steep: bool) -> None:
    """Follow the values of an objective along lines in its noise, each outcome of discrete draws weighted.

    Args
        steep  refuse what is too steep to be integrated or sampled as well

    Raises
        NotAuditable, if they jump at a place that moves with the parameters.
    """
    try:
        with suppress(NotFreezable, NotIntegrable, TooLarge):
            functions = AtNoise(runs, objective, objective, still=True)
            try:
                _followed(_Lines(functions, objective, _TOGETHER, together=True), steep=steep)
            except NotInRows:
                _followed(_Lines(functions, objective, _ALONE, together=False), steep=steep)
    finally:
        runs.integrated = None


class _Lines:
    """Lines through typical points of the noise, and the values of the objective on them."""

    def __init__(self, functions: AtNoise, objective: Callable[[], Any], effort: _Effort, *, together: bool) -> None:
        columns, generator = functions.columns, torch.Generator().manual_seed(functions.columns)
        axes = torch.eye(columns, dtype=torch.float64)[torch.randperm(columns, generator=generator)[: effort.axes]]
        oblique = torch.randn(effort.oblique if columns > 1 else 0, columns, generator=generator, dtype=torch.float64)
        self.along = torch.cat([axes, torch.nn.functional.normalize(oblique)])
        through = torch.randn(self.along.shape, generator=generator, dtype=torch.float64)
        self._through = through - (through * self.along).sum(-1, keepdim=True) * self.along
        self.functions, self.effort, self._objective, self._together = functions, effort, objective, together

    def points(self, lines: Tensor, places: Tensor) -> Tensor:
        """Return the points at some places of lines, (n, columns)."""
        return self._through[lines] + places[:, None] * self.along[lines]

    def values(self, lines: Tensor, places: Tensor) -> Tensor:
        """Return the values at some places, (n, k), of the lines with these numbers, (n,)."""
        points = self.points(lines.repeat_interleave(places.shape[1]), places.reshape(-1))
        if self._together:
            return self.functions.values(self._objective, points, by_numbers=True).detach().reshape(places.shape)
        alone = [self.functions.value_at(point) for point in points]
        return torch.tensor(alone, dtype=torch.float64).reshape(places.shape)


@dataclass(frozen=True)
class _Changes:
    """Intervals of lines (n,), how much more values change in each than around it, and the values at their starts."""

    lines: Tensor
    starts: Tensor
    ends: Tensor
    sizes: Tensor
    values: Tensor


def _followed(lines: _Lines, *, steep: bool) -> None:
    """Raise NotAuditable where the values jump."""
    count = len(lines.along)
    grid = ASIDE + torch.linspace(-REACH, REACH, max(17, lines.effort.points // count), dtype=torch.float64).expand(count, -1)
    values = lines.values(torch.arange(count), grid)
    usual = float(values[values.isfinite()].abs().median()) if bool(values.isfinite().any()) else 0.0
    roundings = ROUNDINGS * torch.finfo(lines.functions.runs.coarsest).eps
    least = max(FELT, roundings) * max(usual, 1e-300)
    width = max(roundings, STEEP) if steep else roundings
    found = _narrowed(lines, _largest(grid, values, lines.effort.intervals), width)
    _require_none(lines, found, least)


def _largest(grid: Tensor, values: Tensor, count: int) -> _Changes:
    """Return the intervals in which values change most against their neighbours, felt by the density, and as they stand."""
    change = values.diff(dim=1)
    padded = torch.cat([change[:, :1], change, change[:, -1:]], 1)
    apart = (change - (padded[:, :-2] + padded[:, 2:]) / 2).abs().nan_to_num(nan=0.0, posinf=0.0)
    felt = apart * (-grid[:, 1:].square() / 2).exp()
    local = apart / (values[:, :-1].abs() + values[:, 1:].abs() + 1e-300)
    ranked = [each.reshape(-1).topk(min(count, each.numel())).indices for each in (felt, local.nan_to_num(nan=0.0))]
    chosen = torch.cat(ranked).unique()
    line, place = chosen // change.shape[1], chosen % change.shape[1]
    return _Changes(line, grid[line, place], grid[line, place + 1], apart[line, place], values[line, place])


def _narrowed(lines: _Lines, found: _Changes, width: float) -> list[_Changes]:
    """Return the intervals, narrowed down level by level to the part that changes most against the others."""
    levels, parts = [found], lines.effort.parts
    steps = torch.linspace(0, 1, parts + 1, dtype=torch.float64)
    while (wide := float((levels[-1].ends - levels[-1].starts).max())) > 1.5 * width:
        last, middles = levels[-1], (levels[-1].starts + levels[-1].ends) / 2
        span = max(wide, parts * width)  # so that the last intervals are as wide as asked, and no narrower
        places = middles[:, None] + (steps - 0.5) * span
        values = lines.values(last.lines, places)
        change = values.diff(dim=1)
        apart = (change - change.median(1, keepdim=True).values).abs().nan_to_num(nan=0.0, posinf=0.0)
        sizes, part = apart.max(1)
        rows = torch.arange(len(part))
        levels.append(_Changes(last.lines, places[rows, part], places[rows, part + 1], sizes, values[rows, part]))
    return levels


def _require_none(lines: _Lines, levels: list[_Changes], least: float) -> None:
    last = levels[-1]
    back = math.ceil(-math.log2(SHRUNK) / math.log2(lines.effort.parts))
    before = levels[max(0, len(levels) - 1 - back)]
    density = (-last.starts.square() / 2).exp()
    jumps = (last.sizes * density > least) & (last.sizes >= KEPT * before.sizes)
    jumps &= (last.values - levels[max(0, len(levels) - 3)].values).abs() <= KEPT * last.sizes  # else it grows, as a logarithm
    for row in jumps.nonzero().flatten().tolist():
        if _is_still(lines, last, row):
            continue
        scores = lines.points(last.lines[row : row + 1], last.starts[row : row + 1])[0].tolist()
        place = ", ".join([f"{each:.3g}" for each in scores[:3]] + ["..."] * (len(scores) > 3))
        width = float(last.ends[row] - last.starts[row])
        message = (
            f"in the objective, continuous noise decides: its value changes by {float(last.sizes[row]):.3g} within {width:.0e} "
            f"of the normal scores ({place}), at a place that moves with the parameters, as x / sqrt(x ** 2) does at zero. "
            "A derivative at fixed noise leaves that out. Its gradient must be exact: write it with discrete draws, or in "
            "closed form."
        )
        raise NotAuditable(message)


def _is_still(lines: _Lines, found: _Changes, row: int) -> bool:
    """Whether the value changes there at other parameters too, so that it may be differentiated at fixed noise."""
    runs = lines.functions.runs
    place = torch.stack([found.starts[row], found.ends[row]])[None]
    for sign in (1, -1):
        shifts = [sign * MOVED * param.detach().abs().clamp(min=MOVED) for param in runs.params.values()]
        with suppress(ValueError, RuntimeError, ArithmeticError), runs.moved(shifts):
            change = lines.values(found.lines[row : row + 1], place).diff(dim=1).abs()
            return bool(change.reshape(()) >= KEPT * found.sizes[row])
    return False
