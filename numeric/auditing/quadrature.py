"""Audit by quadrature: continuous noise that is thresholded, or scored, as well as used, integrated between its breakpoints.

This is numerical integration, not enumeration: what it finds has an error, which is estimated by doubling the nodes twice and
by a rule of another kind, tolerated by the verdict and shown in the report. Breakpoints are found by bisection: where a
comparison, an integer or the operations themselves change along one scalar of noise. A decision that several noises make
together has no fixed breakpoints, and is refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from numeric.auditing.audit_mean import Found, Tolerances, compared, exact_mean_of, moments_of
from numeric.draws.interception import Source
from numeric.draws.noise_sources import NODE, Breakpoints, Cells, Decisions, Grid, Line, Scalar
from numeric.draws.quadrature_rules import Bracket, cumulative, tanh_sinh
from numeric.draws.taint import NotFreezable, NotIntegrable, Taint
from numeric.draws.tape import Choice, Count, NotAuditable, Tape, count
from numeric.means.exact_mean import ExactMean
from numeric.means.runs import Runs, default_tolerance

CONTEXTS = 4
"""Along so many lines, with all else at other random values, each scalar of noise is searched for breakpoints."""

MOST_BREAKPOINTS = 100
PROBES = 32
COARSEST = 2
LEVELS = {"Gauss": range(COARSEST, 8), "tanh-sinh": range(1, 7)}
FEWEST = len(tanh_sinh(2)[0])
"""Nodes of the coarsest rule that is held against Gauss rules."""

HOPELESS, PATIENCE = 0.5, 3
"""A method is given up where doubling the nodes leaves more than this part of an error that is too large."""
LARGEST_ERROR = 1e-4
"""An error estimate larger than this part of E|gradient| is no convergence."""
MOST_APART = 1e-2
"""Where one of two unrelated rules converges slowly, they may be apart by this part of E|gradient|."""

_STEPS = torch.linspace(-13, 13, 41, dtype=torch.float64).tolist()
_GIVEN_WIDTH = 1e-12


@dataclass
class AlongLine:
    """Runs with noise on a line; what the last run decided is in `decisions.made`."""

    line: Line
    refuse: bool
    leaves: bool

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""
        self.decisions: Decisions = Decisions(refuse=self.refuse, leaves=self.leaves)
        return self.line, self.decisions

    def end(self, tape: Tape) -> None:
        """Do nothing after a run."""


@dataclass
class OnGrid:
    """Runs with noise at the nodes of a grid; what is decided in a cell must not depend on the node."""

    grid: Grid
    refuse: bool
    leaves: bool

    def __post_init__(self) -> None:
        self._cells = Cells()

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""
        self._now = replace(self.grid, cell=[])
        self._decisions = Decisions(refuse=self.refuse, leaves=self.leaves)
        return self._now, self._decisions

    def end(self, tape: Tape) -> None:
        """Hold the decisions of a run against those of others in its cell."""
        self._cells.require_same(tape, self._now.cell, self._decisions.made)


@dataclass(frozen=True)
class Integrand:
    """A loss or an objective as a function of its noise."""

    runs: Runs
    run: Callable[[Tape], Any]
    refuse: bool
    given: Sequence[Sequence[float]] | None

    def on_grid(self, breakpoints: Breakpoints, method: str, level: int) -> OnGrid:
        """Return what makes the runs draw their noise from a grid."""
        return OnGrid(Grid(breakpoints, method, level), self.refuse, self.given is not None)

    def breakpoints(self) -> Breakpoints:
        """Return the breakpoints that are given, or those that are found.

        Raises
            NotIntegrable, where they are too many, or where decisions do not change at breakpoints alone.
        """
        if self.given is not None:
            return self._from_given(self.given)
        found: dict[Scalar, list[Bracket]] = {}
        alone = len(self.along(Line(0)).seen) == 1 and not self.runs.draws
        for context in range(1 if alone else CONTEXTS):
            for scalar in self.along(Line(context)).seen:
                found.setdefault(scalar, []).extend(self._on_line(context, scalar))
        return {scalar: _merged(brackets) for scalar, brackets in found.items()}

    def require_cells(self, breakpoints: Breakpoints) -> None:
        """Run at random nodes and at others of the same cells; raise NotIntegrable if two in one cell decide differently."""
        self.runs.integrated = self.on_grid(breakpoints, "Gauss", COARSEST)
        for probe in range(PROBES):
            tape = Tape(probe=random.Random(probe))
            self.run(tape)
            self.run(Tape([_beside(choice) for choice in tape.choices], strict=False))

    def require_few(self, budget: int) -> None:
        """Raise TooLarge if the noise has so many scalars that only one of two unrelated rules is within the budget."""
        scalars = len(self.along(Line(0)).seen)
        fewest = (FEWEST if scalars > 2 else 2 ** (COARSEST + 1) - 1) ** scalars
        if fewest > budget:
            message = (
                f"{scalars} scalars of noise need a grid of {fewest:.3g} nodes, more than the budget of {budget}. Audit a "
                "smaller case, raise budget=, or test by sampling: numeric.sequential_test."
            )
            raise TooLarge(message)

    def along(self, line: Line) -> Line:
        """Run at one point of a line and return the line, which has seen the scalars of noise."""
        self._made(line)
        return line

    def _made(self, line: Line) -> list[Any]:
        along = AlongLine(line, self.refuse, self.given is not None)
        self.runs.integrated = along
        self.run(Tape(probe=random.Random(line.context)))
        return along.decisions.made

    def _on_line(self, context: int, scalar: Scalar) -> Iterator[Bracket]:
        def made(at: float) -> list[Any]:
            u, rest = torch.sigmoid(torch.tensor([at, -at], dtype=torch.float64)).tolist()
            return self._made(Line(context, scalar, u, rest))

        found, before = 0, made(_STEPS[0])
        for start, end in pairwise(_STEPS):
            after = made(end)
            while before != after:
                start, bracket, before = _bisected(made, start, end, before)
                yield bracket
                found += 1
                if found > MOST_BREAKPOINTS:
                    message = f"continuous noise decides at over {MOST_BREAKPOINTS} places; give them as breakpoints=."
                    raise NotIntegrable(message)

    def _from_given(self, given: Sequence[Sequence[float]]) -> Breakpoints:
        seen = self.along(Line(0)).seen
        draws = 1 + max((number for number, _ in seen), default=-1)
        if len(given) != draws:
            message = f"breakpoints has {len(given)} lists, and continuous noise is drawn {draws} times; give one list a draw."
            raise UsageError(message)
        return {scalar: _merged([_given(family, value) for value in given[scalar[0]]]) for scalar, family in seen.items()}


def _beside(choice: Choice) -> Choice:
    """Another node of the coarsest rule in the same segment; a discrete choice as it is."""
    if not choice.draw.startswith(NODE):
        return choice
    nodes = 2**COARSEST - 1
    start = choice.index // nodes * nodes
    return replace(choice, index=start + (choice.index - start + 1) % nodes)


def _given(family: str, value: float) -> Bracket:
    u = cumulative(family, float(value))
    if not 0 < u < 1:
        message = f"the breakpoint {value} is outside of the {family} law; give values that the noise can take."
        raise UsageError(message)
    return Bracket(u - min(_GIVEN_WIDTH, u / 2), u + min(_GIVEN_WIDTH, (1 - u) / 2))


def _bisected(
    made: Callable[[float], list[Any]], start: float, end: float, before: list[Any]
) -> tuple[float, Bracket, list[Any]]:
    """Return the first place where something changes in between, and what is decided behind it."""
    after = before
    while (middle := (start + end) / 2) not in (start, end):
        there = made(middle)
        if there == before:
            start = middle
        else:
            end, after = middle, there
    if after == before:
        after = made(end)
    below, above = torch.sigmoid(torch.tensor([start, end], dtype=torch.float64)).tolist()
    return end, Bracket(below, above), after


def _merged(brackets: Sequence[Bracket]) -> tuple[Bracket, ...]:
    merged: list[Bracket] = []
    for bracket in sorted(brackets):
        if merged and bracket.below <= merged[-1].above + _GIVEN_WIDTH:
            merged[-1] = Bracket(merged[-1].below, max(merged[-1].above, bracket.above))
        else:
            merged.append(bracket)
    return tuple(merged)


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
    sought = Integrand(runs, lambda tape: runs.loss(loss, tape), refuse=False, given=given)
    sought.require_few(budget)
    breakpoints = sought.breakpoints()
    sought.require_cells(breakpoints)
    runs.require_repeatable(loss)

    def level(method: str, size: int) -> Found:
        runs.integrated = sought.on_grid(breakpoints, method, size)
        expected = count(lambda tape: runs.loss(loss, tape), budget)
        progress("loss", expected)
        moments = moments_of(runs, loss, budget, expected)
        runs.bystanders.require_untouched()
        return compared(runs, moments, aim.exact(method, size), tolerances)

    best, error = _converged(runs, level)
    exact = aim.exact(best.method, best.size, check=True)
    runs.integrated = sought.on_grid(breakpoints, best.method, best.size)
    runs.require_repeated(loss, best.found.moments.kept)
    found = compared(runs, best.found.moments, exact, tolerances, error)
    segments = max((len(each) + 1 for each in breakpoints.values()), default=1)
    return Integrated(found, error, best.method, len(breakpoints), segments)


class _Aim:
    """The exact gradient of the objective, by enumeration if it has no noise."""

    def __init__(self, runs: Runs, objective: Callable[[], Any], budget: int) -> None:
        self._runs, self._objective, self._budget = runs, objective, budget
        runs.integrated = None
        try:
            runs.objective(objective, Tape(), differentiate=True)
            self._fixed = None if runs.noise else exact_mean_of(runs, objective, budget)
        except NotFreezable as error:
            message = f"in the objective, {error} Its gradient must be exact: write it with discrete draws, or in closed form."
            raise NotAuditable(message) from error
        if self._fixed is None:
            self._kinks = Integrand(runs, self._run, refuse=True, given=None)
            self._kinks.require_few(budget)
            self._breakpoints = self._kinks.breakpoints()

    def exact(self, method: str, size: int, *, check: bool = False) -> ExactMean:
        """Return the mean and its gradient by a rule; only the one that decides is held against the numbers."""
        if self._fixed is not None:
            return self._fixed
        self._runs.integrated = self._kinks.on_grid(self._breakpoints, method, size)
        count(self._run, self._budget)
        return exact_mean_of(self._runs, self._objective, self._budget, check=check)

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
