"""The gradients of a loss and of its objective at given points of their noise: each point a run, or many points as rows of one.

Rows are made from plain code by `torch.vmap`. They are used only where rows that are run alone give the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.draws.noise_rows import AtPoint, FreshRows, NoiseRows, NotInRows, require_no_hooks
from numeric.draws.outcome_rows import Keeping, OutcomeRows, options_of, outcomes_of
from numeric.draws.tape import Tape, explore
from numeric.means.derivatives import dirichlet
from numeric.means.exact_mean import ByNumbers, as_scalar
from numeric.means.runs import Runs, default_tolerance
from numeric.means.slope import slope_error

MOST_COLUMNS = 2**13
MOST_CELLS = 2**20
MOST_OUTCOMES = 2**10
BESIDE = 64
"""So many rows have their gradients taken one by one in one backward pass."""

_ASKED = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@dataclass(frozen=True)
class Means:
    """What weighted points give: mean gradients (coordinates,) of loss and objective, and the mean of the objective.

    Args
        largest, total  of the weighted values of loss and objective, (2,): the largest size, and the sum of the sizes
    """

    loss: Tensor
    objective: Tensor
    value: float
    largest: Tensor
    total: Tensor


class AtNoise:
    """Two functions at points of their noise, each point (columns,) of normal scores; discrete draws are enumerated at each.

    Args
        still  the objective is known not to jump where its parameters say so

    Raises
        NotFreezable, if the objective decides by noise, so that its gradient cannot be taken at fixed noise.
    """

    runs: Runs
    columns: int
    rough: frozenset[str]
    jumps: bool
    outcomes: int

    def __init__(
        self, runs: Runs, loss: Callable[[], Any], objective: Callable[[], Any], *, still: bool = False
    ) -> None:
        self._still = still
        self.runs, self._loss, self._objective = runs, loss, objective
        self.columns, self.rough, self.jumps, self.outcomes = 1, frozenset(), False, 1
        self._tapes: dict[bool, list[Tape]] = {}
        first = torch.randn(MOST_COLUMNS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        with Keeping(list(runs.params.values())) as keeping:
            self.at(first)
        runs.integrated = AtPoint(first, refuse=False)
        runs.reset()
        self._keeps = keeping.keeps

    @property
    def coordinates(self) -> int:
        """The number of coordinates of all parameters together."""
        return sum(param.numel() for param in self.runs.params.values())

    def at(self, point: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the gradients of loss and objective at one point, (coordinates,), and the value of the objective."""
        loss, _ = self._explored(point, self._loss_of, refuse=False)
        objective, value = self._explored(point, self._objective_of, refuse=True)
        return loss, objective, value

    def value_at(self, point: Tensor) -> float:
        """Return the value of the objective at one point, without a gradient."""
        return self._explored(point, self._value_of, refuse=True)[1]

    def one_by_one(self, points: Tensor, weights: Tensor) -> Means:
        """Run the functions at each of some points, (n, columns), with weights (n,)."""
        losses, objectives, values = zip(*(self.at(point) for point in points), strict=True)
        first, second = (weights[:, None] * torch.stack(each) for each in (losses, objectives))
        sizes = torch.stack([first.abs().amax(-1), second.abs().amax(-1)])
        value = float(weights @ torch.tensor(values, dtype=torch.float64)) / len(values)
        return Means(first.mean(0), second.mean(0), value, sizes.amax(-1), sizes.sum(-1))

    def together(self, points: Tensor, weights: Tensor, *, check: bool) -> Means:
        """Run the functions on rows of points, (n, columns); `one_by_one` gives the same, which a check holds some rows to.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone.
        """
        sums, value = torch.zeros(2, self.coordinates, dtype=torch.float64), 0.0
        largest, total = torch.zeros(2, 2, dtype=torch.float64)
        size = max(1, MOST_CELLS // (self.columns * self.outcomes))
        for chunk, weight in zip(points.split(size), weights.split(size), strict=True):
            first, second = self._both(chunk, check=check)
            sums = sums + torch.stack([self._gradient(weight @ each) for each in (first, second)])
            sizes = torch.stack([(weight * each).detach().abs() for each in (first, second)])
            largest, total = torch.maximum(largest, sizes.amax(-1)), total + sizes.sum(-1)
            value += float(weight @ second.detach())
        return Means(sums[0] / len(points), sums[1] / len(points), value / len(points), largest, total)

    def sums(self, points: Tensor, weights: Tensor, *, check: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradients of weighted sums of rows, weights (sums, n), each (sums, coordinates): of loss and objective.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone.
        """
        first, second = (self._gradients(each, weights) for each in self._both(points, check=check))
        return first, second

    def each(self, points: Tensor, *, together: bool) -> tuple[Tensor, Tensor]:
        """Return the gradients of loss and objective at each of some points, (n, coordinates), as rows or one by one."""
        if together:
            found = [self.sums(part, torch.eye(len(part), dtype=torch.float64)) for part in points.split(BESIDE)]
            return torch.cat([loss for loss, _ in found]), torch.cat([objective for _, objective in found])
        alone = [self.at(point)[:2] for point in points]
        return torch.stack([loss for loss, _ in alone]), torch.stack([objective for _, objective in alone])

    def both_values(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of loss and objective on rows of points, each (1, n)."""
        first, second = self._both(points, check=False)
        return first.detach()[None], second.detach()[None]

    def largest(self, points: Tensor, weights: Tensor, count: int) -> list[int]:
        """Return the rows with the largest weighted values of loss and objective, and those farthest out."""
        values = (weights * self.values(function, points).detach().abs() for function in (self._loss, self._objective))
        outside = weights * points.abs().amax(-1)
        ranked = (each.nan_to_num(nan=torch.inf).topk(min(count, len(points))).indices.tolist() for each in (*values, outside))
        return sorted({row for rows in ranked for row in rows})

    def require_slope(self, points: Tensor, weights: Tensor, gradient: Tensor) -> None:
        """Hold the gradient of the objective at weighted points against its values at shifted parameters.

        Raises
            NotAuditable, if the slope is another.
        """
        standard = default_tolerance(self.runs.coarsest)
        size = max(float(gradient.norm()), 1e-30)
        parts = self.runs.split(gradient)
        mean: Callable[[], float] = lambda: float((weights * self.values(self._objective, points).detach()).mean())  # noqa: E731
        slack = max(standard.slope, standard.step if self.rough else 0.0)  # some points cross a kink in a step
        slope_error(mean, self.runs.params, list(parts.values()), standard.step, slack * (size + abs(mean())))

    def values(self, function: Callable[[], Any], points: Tensor, *, by_numbers: bool = False) -> Tensor:
        """Return the values of a function on rows of points, (n,) in float64, with their graph.

        Raises
            NotInRows, if the code cannot be run on rows.
        """

        def one(row: Tensor) -> Tensor:
            with FreshRows(row) as rows:
                returned = function()
                rows.require_held()
                if returned is None:
                    message = "loss() calls backward itself."
                    raise NotInRows(message)
                return as_scalar(returned, "the function").double()

        self.runs.reset()
        require_no_hooks(self.runs.params.values())
        options = self._options_of(function)
        every = outcomes_of(options, 0, math.prod(map(len, options)))
        drawn = OutcomeRows(every.repeat(len(points), 1), options)
        noise = NoiseRows(points.repeat_interleave(len(every), 0), drawn.draw)
        start = torch.zeros(len(drawn.choices), dtype=torch.float64)
        try:
            with laws_in_rows(), noise, ByNumbers() if by_numbers else nullcontext():
                values: Tensor = torch.vmap(one, randomness="different")(start)
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, UsageError) as error:
            raise NotInRows(str(error)) from error
        drawn.require_all_drawn()
        return (drawn.total_weights(len(points), differentiable=by_numbers) * values).reshape(len(points), -1).sum(1)

    def _options_of(self, function: Callable[[], Any]) -> list[Tensor]:
        """Return the options of the discrete draws of a function.

        Raises
            NotInRows, if it does not draw alike in all outcomes, or something that it draws may leave torch, or it keeps
            a tensor of a run.
        """
        if self._keeps:
            message = "the code keeps a tensor of a run beyond its end."
            raise NotInRows(message)
        options = options_of(self._tapes[function is self._objective])
        if options and self.runs.tells:
            message = "values leave torch."
            raise NotInRows(message)
        return options

    def _explored(self, point: Tensor, run: Callable[[Tape], tuple[Tensor, float]], *, refuse: bool) -> tuple[Tensor, float]:
        at = self.runs.integrated = AtPoint(point, refuse, self._still)
        gradient, value = torch.zeros(self.coordinates, dtype=torch.float64), 0.0
        tapes = list[Tape]()
        for tape, (one, number) in explore(run, MOST_OUTCOMES):
            tapes.append(tape)
            gradient, value = gradient + tape.weight * one, value + tape.weight * number
        self.columns, self.rough = max(self.columns, at.used), self.rough | at.decisions.rough
        self.jumps = self.jumps or any(decided for _, *decided in at.decisions.made)
        self._tapes[refuse] = tapes
        self.outcomes = max(map(len, self._tapes.values()))
        return gradient, value

    def _loss_of(self, tape: Tape) -> tuple[Tensor, float]:
        return flat(self.runs.loss(self._loss, tape)), 0.0

    def _objective_of(self, tape: Tape) -> tuple[Tensor, float]:
        value, gradient = self.runs.objective(self._objective, tape, differentiate=True)
        return flat(gradient) / tape.weight, value

    def _value_of(self, tape: Tape) -> tuple[Tensor, float]:
        value, _ = self.runs.objective(self._objective, tape, differentiate=False)
        return torch.zeros(self.coordinates, dtype=torch.float64), value

    def _both(self, points: Tensor, *, check: bool) -> tuple[Tensor, Tensor]:
        first, second = self.values(self._loss, points), self.values(self._objective, points, by_numbers=True)
        if check:
            self._require_rows(points, first, second)
        return first, second

    def _gradient(self, scalar: Tensor, *, keep: bool = False) -> Tensor:
        if not scalar.requires_grad:
            return torch.zeros(self.coordinates, dtype=torch.float64)
        params = list(self.runs.params.values())
        found = torch.autograd.grad(scalar, params, allow_unused=True, retain_graph=keep)
        return flat([torch.zeros_like(p) if g is None else g for g, p in zip(found, params, strict=True)])

    def _gradients(self, values: Tensor, weights: Tensor) -> Tensor:
        """Return the gradients of weighted sums of values, (sums, coordinates), in one backward pass."""
        if not values.requires_grad:
            return torch.zeros(len(weights), self.coordinates, dtype=torch.float64)
        params = list(self.runs.params.values())
        try:
            with _quiet():
                found = torch.autograd.grad(values, params, weights, allow_unused=True, is_grads_batched=True)
        except RuntimeError as error:
            raise NotInRows(str(error)) from error
        parts = [p.new_zeros(len(weights), *p.shape) if g is None else g for g, p in zip(found, params, strict=True)]
        return torch.cat([part.detach().double().reshape(len(weights), -1).cpu() for part in parts], dim=1)

    def _require_rows(self, points: Tensor, loss: Tensor, objective: Tensor) -> None:
        """Run the rows with the largest values, the first one and the last one alone."""
        for place in {0, len(points) - 1, int(loss.detach().abs().argmax()), int(objective.detach().abs().argmax())}:
            alone = self.at(points[place])[:2]
            rows = (self._gradient(each[place], keep=True) for each in (loss, objective))
            if not all(self.runs.is_same(row, one) for one, row in zip(alone, rows, strict=True)):
                message = "a row that is run alone has another gradient."
                raise NotInRows(message)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of vmap about its speed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _functions_in_parts() -> Iterator[None]:
    """Let a mode see what functions of torch.nn.functional make inside, such as noise: else it sees the call alone."""
    functional: Any = torch.nn.functional
    before = {name: getattr(functional, name) for name in _ASKED}
    try:
        for name in _ASKED:
            setattr(functional, name, lambda *_: False)
        yield
    finally:
        for name, function in before.items():
            setattr(functional, name, function)


@contextmanager
def laws_in_rows(*, validated: bool = False) -> Iterator[None]:
    """Laws as rows need them; without checks of their arguments, which a row that runs alone has, if not `validated`."""
    default = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(default and validated)
    try:
        with _quiet(), dirichlet(by_numbers=False), _functions_in_parts():
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(default)


def flat(parts: Sequence[Tensor]) -> Tensor:
    """Return gradients by parameter as one vector in float64."""
    return torch.cat([part.detach().double().reshape(-1).cpu() for part in parts])
