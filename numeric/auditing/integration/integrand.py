"""A loss or an objective as a function of its noise: where it decides, and what makes its runs draw from a grid.

Breakpoints are found along lines, on each of which one scalar of noise moves: where the decisions at two points differ, the
place is narrowed down to neighbouring numbers. Lines are run as rows where that is possible, and runs alone confirm them.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import torch

from derive.language.errors import TooLarge, UsageError
from numeric.auditing.integration.rows import Nodes, RowRuns, in_rows_or, nodes_of
from numeric.draws.interception import Source
from numeric.draws.moments import Moments
from numeric.draws.noise_rows import NotInRows
from numeric.draws.noise_sources import NODE, Breakpoints, Cells, Decisions, Grid, Line, Scalar
from numeric.draws.outcome_rows import Keeping
from numeric.draws.quadrature_rules import Bracket, cumulative, tanh_sinh
from numeric.draws.taint import NotFreezable, NotIntegrable, Taint
from numeric.draws.tape import Choice, Tape
from numeric.means.exact_mean import ExactMean
from numeric.means.runs import Runs

CONTEXTS = 4
"""Along so many lines, with all else at other random values, each scalar of noise is searched for breakpoints."""

MOST_BREAKPOINTS = 100
PROBES = 32
COARSEST = 2
FEWEST = len(tanh_sinh(2)[0])
"""Nodes of the coarsest rule that is held against Gauss rules."""

PARTS = 64
"""Rows narrow a place down to one of so many parts at once."""

_TAIL = (14.0, 16.0, 18.0, 20.0, 23.0, 26.0, 29.0, 32.0, 35.0, 38.0)
_STEPS, _FINE_STEPS = (
    [*(-each for each in reversed(_TAIL)), *torch.linspace(-13, 13, steps, dtype=torch.float64).tolist(), *_TAIL]
    for steps in (41, 1301)
)
"""Places of a line, in the logit of u, at which runs alone look for changes, and rows; out to the last number below one."""

_GIVEN_WIDTH = 1e-12

NEAR = 1e-12
"""Rows and runs alone may change so far from each other, by rounding."""

STILL = 1e-9
"""Breakpoints that do not move are found again within this."""

MOVED = (1e-2, 1e-4)
"""The parameters are moved by about these parts of them to see whether breakpoints move, the second where the first fails."""

Made: TypeAlias = Callable[[Sequence[float]], list[Any]]
"""What is decided at some places of a line."""


@dataclass
class AlongLine:
    """Runs with noise on a line; what the last run decided is in `decisions.made`."""

    line: Line
    refuse: bool
    leaves: bool

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""
        self.decisions: Decisions = Decisions(refuse=self.refuse, leaves=self.leaves, still=True)
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
        self.cells: Cells = Cells()

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""
        self._now = replace(self.grid, cell=[])
        self._decisions = Decisions(refuse=self.refuse, leaves=self.leaves, still=True)
        return self._now, self._decisions

    def end(self, tape: Tape) -> None:
        """Hold the decisions of a run against those of others in its cell."""
        self.cells.require_same(tape, self._now.cell, self._decisions.made)


@dataclass(frozen=True)
class Integrand:
    """A loss or an objective as a function of its noise."""

    runs: Runs
    run: Callable[[Tape], Any]
    rows: RowRuns
    refuse: bool
    given: Sequence[Sequence[float]] | None

    def on_grid(self, breakpoints: Breakpoints, method: str, level: int) -> OnGrid:
        """Let the runs draw their noise from a grid."""
        grid = OnGrid(Grid(breakpoints, method, level), self.refuse, self.given is not None)
        self.runs.integrated = grid
        return grid

    def moments(self, breakpoints: Breakpoints, method: str, level: int) -> Moments:
        """Return the moments of the gradient of a loss on a grid, run as rows; raises NotInRows, where that is not possible."""
        nodes = self._nodes(breakpoints, method, level)
        return self.rows.moments(nodes, self.on_grid(breakpoints, method, level).cells)

    def exact_mean(self, breakpoints: Breakpoints, method: str, level: int, *, check: bool) -> ExactMean:
        """Return the mean of an objective on a grid, run as rows; raises NotInRows, where that is not possible."""
        nodes = self._nodes(breakpoints, method, level)
        return self.rows.exact_mean(nodes, self.on_grid(breakpoints, method, level).cells, check=check)

    def _nodes(self, breakpoints: Breakpoints, method: str, level: int) -> Nodes:
        line = self._see()
        return self.rows.every(nodes_of(line.seen, breakpoints, method, level), line.before)

    def _see(self) -> Line:
        """Show a few runs alone to the rows, and return the first one; raises NotInRows, where rows are not possible."""
        with Keeping(list(self.runs.params.values())) as keeping:
            lines = [self.along(Line(0))]
            if lines[0].tape.choices:
                lines += [self.along(Line(context)) for context in range(1, CONTEXTS)]
        self.runs.integrated = None
        self.runs.reset()
        keeping.require_none()
        self.rows.see([line.tape for line in lines])
        return lines[0]

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
            line = self.along(Line(context))
            for scalar in line.seen:
                found.setdefault(scalar, []).extend(self._on_line(line, scalar))
        return {scalar: _merged(brackets) for scalar, brackets in found.items()}

    def require_cells(self, breakpoints: Breakpoints) -> None:
        """Run at random nodes and at others of the same cells; raise NotIntegrable if two in one cell decide differently."""
        self.on_grid(breakpoints, "Gauss", COARSEST)
        for probe in range(PROBES):
            tape = Tape(probe=random.Random(probe))
            self.run(tape)
            self.run(Tape([_beside(choice) for choice in tape.choices], strict=False))

    def require_still(self, breakpoints: Breakpoints) -> None:
        """Raise NotFreezable if an objective decides by noise where a parameter says so, though by a number without a graph.

        The derivative at fixed noise leaves out what a jump there adds, and a grid whose cells stay where they are cannot tell.
        """
        if not any(breakpoints.values()):
            return
        there = self._breakpoints_beside()
        for scalar, brackets in breakpoints.items():
            moving = [bracket for bracket in brackets if not _is_among(bracket, there.get(scalar, ()))]
            if any(self._decides_at(scalar, bracket, context) for bracket in moving for context in range(CONTEXTS)):
                message = (
                    "what continuous noise decides in it changes where a parameter says so, by a number that left the graph "
                    "(item, detach, numpy)."
                )
                raise NotFreezable(message)

    def _breakpoints_beside(self) -> Breakpoints:
        """Return the breakpoints at parameters that are moved in a direction in which no two of them cancel."""
        generator = torch.Generator().manual_seed(1)
        sizes = [param.detach().double().abs().clamp(min=1e-2).cpu() for param in self.runs.params.values()]
        parts = [1 + torch.rand(size.shape, generator=generator, dtype=torch.float64) for size in sizes]
        signs = [2 * torch.randint(2, size.shape, generator=generator) - 1 for size in sizes]
        for width in (sign * width for width in MOVED for sign in (1, -1)):
            shifts = [width * sign * part * size for sign, part, size in zip(signs, parts, sizes, strict=True)]
            with suppress(ValueError, RuntimeError, ArithmeticError), self.runs.moved(shifts):
                return self.breakpoints()
        message = "it does not run at parameters beside these, so that nobody sees whether a decision moves with them."
        raise NotFreezable(message)

    def _decides_at(self, scalar: Scalar, bracket: Bracket, context: int) -> bool:
        """Whether what noise decides by other operations than clamp and its like, which are continuous, changes there."""
        steps = []
        for u in bracket:
            along = self.runs.integrated = AlongLine(Line(context, scalar, u, 1 - u), self.refuse, leaves=False)
            self.run(Tape(probe=random.Random(context)))
            steps.append(along.decisions.steps)
        return bool(operator.ne(*steps))

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

    def _on_line(self, line: Line, scalar: Scalar) -> list[Bracket]:
        context = line.context

        @cache
        def alone(place: float) -> list[Any]:
            return self._made(Line(context, scalar, *_both_ends(place)))

        def made(places: Sequence[float]) -> list[Any]:
            return [alone(place) for place in places]

        def made_by_rows(places: Sequence[float]) -> list[Any]:
            lines = [Line(context, scalar, *_both_ends(place), dict(line.seen), tape=line.tape) for place in places]
            return self.rows.decided(lines, refuse=self.refuse)

        def by_rows() -> list[tuple[float, float]]:
            self._see()
            return _confirmed(made, [_sharpened(made, *change) for change in _changes(made_by_rows, _FINE_STEPS, PARTS)])

        found = in_rows_or(self.rows, by_rows, lambda: list(_changes(made, _STEPS, 2)))
        return [_bracket(*change) for change in found]

    def _from_given(self, given: Sequence[Sequence[float]]) -> Breakpoints:
        seen = self.along(Line(0)).seen
        draws = 1 + max((number for number, _ in seen), default=-1)
        if len(given) != draws:
            message = f"breakpoints has {len(given)} lists, and continuous noise is drawn {draws} times; give one list a draw."
            raise UsageError(message)
        return {scalar: _merged([_given(family, value) for value in given[scalar[0]]]) for scalar, family in seen.items()}


def _is_among(bracket: Bracket, others: Sequence[Bracket]) -> bool:
    return any(other.below - STILL <= bracket.below and bracket.above <= other.above + STILL for other in others)


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


@lru_cache(maxsize=2**14)
def _both_ends(place: float) -> tuple[float, float]:
    """Return u and 1 - u at a place of a line."""
    u, rest = torch.sigmoid(torch.tensor([place, -place], dtype=torch.float64)).tolist()
    return u, rest


def _bracket(start: float, end: float) -> Bracket:
    return Bracket(_both_ends(start)[0], _both_ends(end)[0])


def _changes(made: Made, steps: Sequence[float], parts: int) -> Iterator[tuple[float, float]]:
    """Yield the neighbouring places between which what is decided changes.

    Raises
        NotIntegrable, where they are too many.
    """
    found = 0
    every = made(steps)
    for (start, end), (before, after) in zip(pairwise(steps), pairwise(every), strict=True):
        while before != after:
            below, start = _narrowed(made, start, end, before, parts)
            yield below, start
            found += 1
            if found > MOST_BREAKPOINTS:
                message = f"continuous noise decides at over {MOST_BREAKPOINTS} places; give them as breakpoints=."
                raise NotIntegrable(message)
            before = after if start == end else made([start])[0]


def _narrowed(made: Made, start: float, end: float, before: Any, parts: int) -> tuple[float, float]:
    """Return neighbouring places, the first of which decides as the start and the second one does not."""
    while inside := _between(start, end, parts):
        differs = [there != before for there in made(inside)]
        first = differs.index(True) if any(differs) else len(inside)
        start, end = ([start, *inside][first], [*inside, end][first])
    return start, end


def _between(start: float, end: float, parts: int) -> list[float]:
    places = [(start * (parts - part) + end * part) / parts for part in range(1, parts)]
    return sorted({place for place in places if start < place < end})


def _sharpened(made: Made, below: float, above: float) -> tuple[float, float]:
    """Return neighbouring places between which runs alone change too: their rounding may be another."""
    if operator.ne(*made([below, above])):
        return below, above
    start, end = below - NEAR * (1 + abs(below)), above + NEAR * (1 + abs(above))
    return _narrowed(made, start, end, made([start])[0], 2)


def _confirmed(made: Made, changes: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return changes; raise NotInRows unless runs alone decide alike at both ends of each segment, and change between them."""
    ends = [_STEPS[0], *(place for change in changes for place in change), _STEPS[-1]]
    alike = [first == second for first, second in pairwise(made(ends))]
    if alike != [position % 2 == 0 for position in range(len(alike))]:
        message = "a run alone decides otherwise than its row."
        raise NotInRows(message)
    return changes


def _merged(brackets: Sequence[Bracket]) -> tuple[Bracket, ...]:
    merged: list[Bracket] = []
    for bracket in sorted(brackets):
        if merged and bracket.below <= merged[-1].above + _GIVEN_WIDTH:
            merged[-1] = Bracket(merged[-1].below, max(merged[-1].above, bracket.above))
        else:
            merged.append(bracket)
    return tuple(merged)
