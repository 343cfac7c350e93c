"""Audit by quadrature: continuous noise that is thresholded, or scored, as well as used, integrated between its breakpoints.

This is numerical integration, not enumeration: what it finds has an error, which is estimated by doubling the nodes twice and
by a rule of another kind, tolerated by the verdict and shown in the report. Breakpoints are found by bisection: where a
comparison, an integer or the operations themselves change along one scalar of noise. A decision that several noises make
together has no fixed breakpoints, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge
from numeric.auditing.audit_mean import Found, Tolerances, compared, exact_mean_of, moments_of
from numeric.auditing.integration.integrand import COARSEST, Integrand
from numeric.auditing.integration.rows import RowRuns, in_rows_or
from numeric.draws.moments import Moments
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import Count, NotAuditable, Tape, count
from numeric.means.exact_mean import ExactMean
from numeric.means.runs import Runs, default_tolerance

PROBES = 4
"""So many random runs tell how many nodes a grid has, where not all runs are known to draw alike."""
LEVELS = {"Gauss": range(COARSEST, 8), "tanh-sinh": range(1, 7)}
HOPELESS, PATIENCE = 0.5, 3
"""A method is given up where doubling the nodes leaves more than this part of an error that is too large."""
LARGEST_ERROR = 1e-4
"""An error estimate larger than this part of E|gradient| is no convergence."""
MOST_APART = 1e-2
"""Where one of two unrelated rules converges slowly, they may be apart by this part of E|gradient|."""


@dataclass(frozen=True)
class Integrated:
    """A loss and its objective, integrated: what was found, the estimated error of it, and how it was computed."""

    found: Found
    error: dict[str, Tensor]
    method: str
    scalars: int
    segments: int

    def __str__(self) -> str:
        noise = f"{self.scalars} scalar{'' if self.scalars == 1 else 's'} of noise in the loss"
        return f"{noise}, in up to {self.segments} segments, by {self.method} rules"


@dataclass(frozen=True)
class _Level:
    """What one grid gives."""

    method: str
    size: int
    found: Found
    mean: dict[str, Tensor]


@dataclass(frozen=True)
class _Step:
    """How far two levels are from each other, in units of E|gradient| too, and whether that is within the tolerance."""

    error: dict[str, Tensor]
    relative: float
    agrees: bool


def integrated(
    runs: Runs,
    loss: Callable[[], Any],
    objective: Callable[[], Any],
    budget: int,
    tolerances: Tolerances,
    given: Sequence[Sequence[float]] | None,
    progress: Callable[[str, Count], object],
) -> Integrated:
    """Integrate the gradient of the loss over its noise, and the objective where it has noise too.

    Raises
        NotIntegrable, if a decision has no fixed breakpoints, or nothing converges.
        NotAuditable, if the objective decides by noise, or the runs cannot be repeated.
        TooLarge, if even the coarsest two grids have more nodes than the budget.
    """
    aim = _Aim(runs, objective, budget)
    rows = RowRuns(runs, loss, by_numbers=False, possible=given is None)
    sought = Integrand(runs, lambda tape: runs.loss(loss, tape), rows, refuse=False, given=given)
    sought.require_few(budget)
    breakpoints = sought.breakpoints()
    sought.require_cells(breakpoints)
    runs.require_repeatable(loss)

    def level(method: str, size: int) -> Found:
        sought.on_grid(breakpoints, method, size)
        expected = count(lambda tape: runs.loss(loss, tape), budget, 1 if rows.possible else PROBES)
        progress("loss", expected)
        moments: Moments = in_rows_or(
            rows,
            lambda: sought.moments(breakpoints, method, size),
            lambda: moments_of(runs, loss, budget, expected),
        )
        runs.bystanders.require_untouched()
        return compared(runs, moments, aim.exact(method, size), tolerances)

    best, error = _converged(runs, level)
    exact = aim.exact(best.method, best.size, check=True)
    sought.on_grid(breakpoints, best.method, best.size)
    runs.require_repeated(loss, best.found.moments.kept)
    found = compared(runs, best.found.moments, exact, tolerances, error)
    segments = max((len(each) + 1 for each in breakpoints.values()), default=1)
    return Integrated(found, error, best.method, len(breakpoints), segments)


class _Aim:
    """The exact gradient of the objective, by enumeration if it has no noise."""

    def __init__(self, runs: Runs, objective: Callable[[], Any], budget: int) -> None:
        self._runs, self._objective, self._budget = runs, objective, budget
        runs.integrated, runs.any_noise, self._fixed = None, False, None
        with suppress(NotFreezable):
            runs.objective(objective, Tape(), differentiate=True)
            fixed = None if runs.noise else exact_mean_of(runs, objective, budget)
            self._fixed = None if runs.any_noise else fixed
        if self._fixed is not None:
            return
        self._rows = RowRuns(runs, objective, by_numbers=True)
        self._kinks = Integrand(runs, self._run, self._rows, refuse=True, given=None)
        try:
            self._kinks.require_few(budget)
            self._breakpoints = self._kinks.breakpoints()
            self._kinks.require_still(self._breakpoints)
        except NotFreezable as error:
            message = f"in the objective, {error} Its gradient must be exact: write it with discrete draws, or in closed form."
            raise NotAuditable(message) from error

    def exact(self, method: str, size: int, *, check: bool = False) -> ExactMean:
        """Return the mean and its gradient by a rule; only the one that decides is held against the numbers."""
        if self._fixed is not None:
            return self._fixed
        self._kinks.on_grid(self._breakpoints, method, size)
        count(self._run, self._budget, 1 if self._rows.possible else PROBES)
        found: ExactMean = in_rows_or(
            self._rows,
            lambda: self._kinks.exact_mean(self._breakpoints, method, size, check=check),
            lambda: exact_mean_of(self._runs, self._objective, self._budget, check=check),
        )
        return found

    def _run(self, tape: Tape) -> Any:
        return self._runs.objective(self._objective, tape, differentiate=False)


@dataclass
class _Ladder:
    """The levels of one method, and how far each is from the one before; the last one decides."""

    levels: list[_Level] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether doubling the nodes twice in a row has moved nothing by more than the tolerance."""
        return len(self.steps) >= 2 and all(step.agrees for step in self.steps[-2:])

    @property
    def relative(self) -> float:
        """How far the last two levels are apart."""
        return self.steps[-1].relative if self.steps else torch.inf

    @property
    def is_converging(self) -> bool:
        """Whether the last two steps are small, the last one small enough."""
        return len(self.steps) >= 2 and self.relative <= LARGEST_ERROR and self.steps[-2].relative <= MOST_APART

    @property
    def is_hopeless(self) -> bool:
        """Whether doubling the nodes no longer helps, although the error is too large."""
        before = self.steps[-2].relative if len(self.steps) > 1 else torch.inf
        return len(self.steps) >= PATIENCE and self.relative > max(LARGEST_ERROR, HOPELESS * before)


def _converged(runs: Runs, level: Callable[[str, int], Found]) -> tuple[_Level, dict[str, Tensor]]:
    """Double the nodes until that moves nothing, twice, and let a rule of another kind confirm it; return level and error."""
    gauss = _climbed(runs, level, "Gauss", None)
    other = _climbed(runs, level, "tanh-sinh", gauss.levels[-1] if gauss.is_settled else None)
    if not other.levels:
        raise _not_converged(torch.inf)
    between = _step(gauss.levels[-1], other.levels[-1])
    if gauss.is_settled:
        if between.agrees:
            return gauss.levels[-1], between.error
        raise _not_converged(between.relative)
    decides, checks = sorted((gauss, other), key=lambda ladder: ladder.relative)
    apart = min(MOST_APART, max(LARGEST_ERROR, 4 * checks.relative))
    if decides.is_converging and between.relative <= apart:
        return decides.levels[-1], decides.steps[-1].error
    raise _not_converged(max(between.relative, decides.relative))


def _climbed(runs: Runs, level: Callable[[str, int], Found], method: str, aim: _Level | None) -> _Ladder:
    """Return the levels of a method until it settles, meets the aim, loses hope, or has spent the budget."""
    ladder = _Ladder()
    for size in LEVELS[method]:
        try:
            found = level(method, size)
        except TooLarge:
            if method == "Gauss" and len(ladder.levels) < 2:
                raise
            return ladder
        ladder.levels.append(_Level(method, size, found, found.mean(runs.params)))
        if len(ladder.levels) > 1:
            ladder.steps.append(_step(*ladder.levels[-2:]))
        if ladder.is_settled or ladder.is_hopeless or (aim is not None and _step(aim, ladder.levels[-1]).agrees):
            return ladder
    return ladder


def _step(before: _Level, now: _Level) -> _Step:
    error = _difference(before, now)
    agrees = all(bool((error[name] <= now.found.tolerance[name]).all()) for name in error)
    return _Step(error, _relative(now.found, error), agrees)


def _difference(before: _Level, now: _Level) -> dict[str, Tensor]:
    old, new = before.found.exact.gradient, now.found.exact.gradient
    return {name: (now.mean[name] - before.mean[name]).abs() + (new[name] - old[name]).abs() for name in now.mean}


def _relative(found: Found, error: dict[str, Tensor]) -> float:
    """The largest error of a coordinate, in units of what that coordinate is made of; nan is infinite."""
    worst = 0.0
    for (name, part), size in zip(error.items(), found.moments.size, strict=True):
        scale = torch.maximum(found.exact.gradient[name].abs(), size) + default_tolerance(torch.float64).atol
        worst = max([worst, *(part / scale).nan_to_num(nan=torch.inf).reshape(-1).tolist()])
    return worst


def _not_converged(relative: float) -> NotIntegrable:
    message = (
        f"the quadrature over continuous noise does not converge: more nodes, or other rules, move the mean by {relative:.1g} "
        "of E|gradient|. The gradient may have an infinite mean, or breakpoints that were not found: give them as "
        "breakpoints=, raise budget=, or test by sampling (numeric.sequential_test)."
    )
    return NotIntegrable(message)
