"""The gradients of a loss and of its objective at given points of their noise: each point a run, or many points as rows of one.

Rows are made from plain code by `torch.vmap`. They are used only where rows that are run alone give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.auditing.audit_runs import Runs, default_tolerance
from numeric.draws.noise_rows import AtPoint, FreshRows, NoiseRows, NotInRows
from numeric.draws.tape import Tape, explore
from numeric.means.exact_mean import ByNumbers, as_scalar
from numeric.means.slope import slope_error

MOST_COLUMNS = 2**13
MOST_CELLS = 2**20
MOST_OUTCOMES = 2**10
_ROUNDING = 2**10


@dataclass(frozen=True)
class Means:
    """What some points give: mean gradients (coordinates,) of loss and objective, and the mean of the objective."""

    loss: Tensor
    objective: Tensor
    value: float


class AtNoise:
    """Two functions at points of their noise, each point (columns,) in (0, 1); the discrete draws are enumerated at each.

    Raises
        NotFreezable, if the objective decides by noise, so that its gradient cannot be taken at fixed noise.
    """

    runs: Runs
    columns: int
    rough: frozenset[str]

    def __init__(self, runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any]) -> None:
        self.runs, self._loss, self._objective = runs, loss, objective
        self.columns, self.rough = 1, frozenset()
        first = torch.rand(MOST_COLUMNS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        self.one_by_one(first[None])
        runs.integrated = AtPoint(first, refuse=False)

    @property
    def coordinates(self) -> int:
        """The number of coordinates of all parameters together."""
        return sum(param.numel() for param in self.runs.params.values())

    def at(self, point: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the gradients of loss and objective at one point, (coordinates,), and the value of the objective."""
        loss, _ = self._explored(point, self._loss_of, refuse=False)
        objective, value = self._explored(point, self._objective_of, refuse=True)
        return loss, objective, value

    def one_by_one(self, points: Tensor) -> Means:
        """Run the functions at each of some points, (n, columns)."""
        losses, objectives, values = zip(*(self.at(point) for point in points), strict=True)
        return Means(torch.stack(losses).mean(0), torch.stack(objectives).mean(0), sum(values) / len(values))

    def together(self, points: Tensor, *, check: bool) -> Means:
        """Run the functions on rows of points, (n, columns); `one_by_one` gives the same, which a check holds some rows to.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone.
        """
        loss, objective, value = torch.zeros(self.coordinates), torch.zeros(self.coordinates), 0.0
        for chunk in points.split(max(1, MOST_CELLS // self.columns)):
            first = self.values(self._loss, chunk)
            second = self.values(self._objective, chunk, by_numbers=True)
            if check:
                self._require_rows(chunk, first, second)
            loss, objective = loss + self._gradient(first.sum()), objective + self._gradient(second.sum())
            value += float(second.detach().sum())
        return Means(loss / len(points), objective / len(points), value / len(points))

    def largest(self, points: Tensor, count: int) -> list[int]:
        """Return the rows with the largest values of loss and objective, and those farthest out."""
        values = (self.values(function, points).detach().abs() for function in (self._loss, self._objective))
        outside = (points - 0.5).abs().amax(-1)
        ranked = (each.nan_to_num(nan=torch.inf).topk(min(count, len(points))).indices.tolist() for each in (*values, outside))
        return sorted({row for rows in ranked for row in rows})

    def require_slope(self, points: Tensor, gradient: Tensor) -> None:
        """Hold the gradient of the objective at some points against its values at shifted parameters.

        Raises
            NotAuditable, if the slope is another.
        """
        standard = default_tolerance(self.runs.coarsest)
        size = max(float(gradient.norm()), 1e-30)
        parts = self.runs.split(gradient)
        mean: Callable[[], float] = lambda: float(self.values(self._objective, points).detach().mean())  # noqa: E731
        slope_error(mean, self.runs.params, list(parts.values()), standard.step, standard.slope * (size + abs(mean())))

    def values(self, function: Callable[[], Any], points: Tensor, *, by_numbers: bool = False) -> Tensor:
        """Return the values of a function on rows of points, (n,) in float64, with their graph.

        Raises
            NotInRows, if the code cannot be run on rows.
        """

        def one(row: Tensor) -> Tensor:
            with FreshRows(row):
                returned = function()
                if returned is None:
                    message = "loss() calls backward itself."
                    raise NotInRows(message)
                return as_scalar(returned, "the function").double()

        self.runs.reset()
        start = torch.zeros(len(points), dtype=torch.float64)
        try:
            with NoiseRows(points), ByNumbers() if by_numbers else nullcontext():
                values: Tensor = torch.vmap(one, randomness="different")(start)
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, UsageError) as error:
            raise NotInRows(str(error)) from error
        return values

    def _explored(self, point: Tensor, run: Callable[[Tape], tuple[Tensor, float]], *, refuse: bool) -> tuple[Tensor, float]:
        at = self.runs.integrated = AtPoint(point, refuse=refuse)
        gradient, value = torch.zeros(self.coordinates, dtype=torch.float64), 0.0
        for tape, (one, number) in explore(run, MOST_OUTCOMES):
            gradient, value = gradient + tape.weight * one, value + tape.weight * number
        self.columns, self.rough = max(self.columns, at.used), self.rough | at.decisions.rough
        return gradient, value

    def _loss_of(self, tape: Tape) -> tuple[Tensor, float]:
        return flat(self.runs.loss(self._loss, tape)), 0.0

    def _objective_of(self, tape: Tape) -> tuple[Tensor, float]:
        value, gradient = self.runs.objective(self._objective, tape, differentiate=True)
        return flat(gradient) / tape.weight, value

    def _gradient(self, scalar: Tensor, *, keep: bool = False) -> Tensor:
        if not scalar.requires_grad:
            return torch.zeros(self.coordinates, dtype=torch.float64)
        params = list(self.runs.params.values())
        found = torch.autograd.grad(scalar, params, allow_unused=True, retain_graph=keep)
        return flat([torch.zeros_like(p) if g is None else g for g, p in zip(found, params, strict=True)])

    def _require_rows(self, points: Tensor, loss: Tensor, objective: Tensor) -> None:
        """Run the rows with the largest values, and the first ones, alone."""
        for row in {0, len(points) - 1, int(loss.detach().abs().argmax()), int(objective.detach().abs().argmax())}:
            alone = self.at(points[row])[:2]
            rows = (self._gradient(each[row], keep=True) for each in (loss, objective))
            if not all(self._equal(first, second) for first, second in zip(alone, rows, strict=True)):
                message = "a row that is run alone has another gradient."
                raise NotInRows(message)

    def _equal(self, first: Tensor, second: Tensor) -> bool:
        slack = _ROUNDING * torch.finfo(self.runs.coarsest).eps
        return torch.allclose(first, second, rtol=slack, atol=slack * float(first.abs().nan_to_num().amax()), equal_nan=True)


def flat(parts: Sequence[Tensor]) -> Tensor:
    """Return gradients by parameter as one vector in float64."""
    return torch.cat([part.detach().double().reshape(-1).cpu() for part in parts])
