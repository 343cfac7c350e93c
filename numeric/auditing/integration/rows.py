"""Runs of a loss or an objective at many values of its noise as rows of one run, and what they give on a grid.

Each node of the grid is a row for every outcome of the discrete draws that are made beside the noise.

Nothing is taken from rows that runs alone do not confirm: on each grid the first row, the last one, those with the largest
gradients and one of each cell are run alone too, and must give the same gradient. Code that cannot be run on rows, or whose
rows do not agree with runs alone, raises NotInRows and is run one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import GradproofError
from numeric.draws.decided_rows import OwnParameters, RowDecisions, ValueRows, filled
from numeric.draws.moments import Moments
from numeric.draws.noise_rows import NotInRows, require_no_hooks
from numeric.draws.noise_sources import NODE, Breakpoints, Cells, Line, Scalar, points_of
from numeric.draws.outcome_rows import OutcomeRows, options_of, outcomes_of
from numeric.draws.quadrature_rules import rule
from numeric.draws.tape import Choice, Tape
from numeric.means.exact_mean import ByNumbers, ExactMean, as_scalar, is_one, require_total
from numeric.means.runs import Runs, default_tolerance
from numeric.means.slope import slope_error
from numeric.noise.at_noise import laws_in_rows

MOST_ROWS = 2**13
MOST_IMPOSSIBLE = 8
"""There are at most so many times as many rows as outcomes."""

MOST_ALONE = 16
"""Of so many cells a row is run alone on each grid."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of a grid, each with every outcome of the discrete draws beside the noise.

    Args
        values   of the standard laws, (n, scalars)
        weights  those of the nodes, times the probabilities of the outcomes where these are known, (n,)
        choices  the index of each choice on a tape, (n, choices)
        cells    the discrete choices, and the segment of each scalar, (n, choices)
        drawn    the discrete choices, (n, discrete choices)
    """

    values: Tensor
    weights: Tensor
    choices: Tensor
    cells: Tensor
    drawn: Tensor

    def split(self) -> Iterator[Nodes]:
        """Return the nodes in parts of as many as are run at once."""
        parts = (getattr(self, each.name).split(MOST_ROWS) for each in fields(self))
        return (Nodes(*each) for each in zip(*parts, strict=True))

    def tape(self, row: int) -> Tape:
        """Return a tape on which a run alone is at one node."""
        return Tape([Choice(NODE, (), index) for index in self.choices[row].tolist()], strict=False)

    def of_discrete(self, outcomes: Tensor, before: Sequence[int]) -> Nodes:
        """Return each node with each outcome (m, choices); before each scalar of noise there are so many discrete choices."""
        drawn = outcomes.repeat(len(self.weights), 1)
        values, weights, choices, cells = (
            each.repeat_interleave(len(outcomes), 0) for each in (self.values, self.weights, self.choices, self.cells)
        )
        places = [*(number + 0.5 for number in range(outcomes.shape[1])), *before]
        order = sorted(range(len(places)), key=places.__getitem__)
        return Nodes(values, weights, torch.cat([drawn, choices], 1)[:, order], torch.cat([drawn, cells], 1), drawn)

    def weighted(self, chances: Tensor) -> Nodes:
        """Return the nodes with weights times the probabilities of their outcomes, (n,)."""
        return replace(self, weights=self.weights * chances)

    def where(self, happens: Tensor) -> Nodes:
        """Return those of which that is true, (n,)."""
        return self if bool(happens.all()) else Nodes(*(getattr(self, each.name)[happens] for each in fields(self)))


def nodes_of(families: Mapping[Scalar, str], breakpoints: Breakpoints, method: str, level: int) -> Nodes:
    """Return the nodes of a grid over scalars of noise with these standard laws."""
    rules = [rule(family, breakpoints.get(scalar, ()), method, level) for scalar, family in families.items()]
    kept = [[index for index, node in enumerate(nodes) if node.weight > 0] for nodes in rules]
    grids = torch.meshgrid(*(torch.tensor(each) for each in kept), indexing="ij") if kept else ()
    choices = torch.stack([grid.reshape(-1) for grid in grids], 1) if kept else torch.zeros(1, 0, dtype=torch.int64)
    columns = [torch.tensor(nodes, dtype=torch.float64)[at] for nodes, at in zip(rules, choices.unbind(1), strict=True)]
    weights = math.prod((column[:, 1] for column in columns), start=torch.ones(len(choices), dtype=torch.float64))
    values, cells = (torch.stack([column[:, place] for column in columns], 1) if columns else choices for place in (0, 2))
    return Nodes(values, weights, choices, cells.long(), choices[:, :0])


@dataclass(frozen=True)
class _Found:
    """What a run on rows gives, those that it was filled up by too: values, gradients, decisions and discrete outcomes."""

    values: Tensor
    gradients: Tensor
    decisions: RowDecisions
    discrete: OutcomeRows


@dataclass
class RowRuns:
    """One function of audited code, run on rows of noise as long as that is possible.

    Args
        by_numbers  it is an objective: what it detaches is followed all the same
        options     those of each discrete choice beside the noise, once runs alone were seen
    """

    runs: Runs
    function: Callable[[], Any]
    by_numbers: bool
    possible: bool = True
    options: Sequence[Tensor] = ()

    def see(self, tapes: Sequence[Tape]) -> None:
        """Take the options of discrete choices from runs alone.

        Raises
            NotInRows, if these do not draw alike, or most outcomes are impossible, or what is drawn may leave torch.
        """
        self.options = options_of(tapes)
        if self.options and self.runs.tells:
            message = "values leave torch."
            raise NotInRows(message)
        if math.prod(map(len, self.options)) > MOST_IMPOSSIBLE * tapes[0].size:
            message = "most outcomes are impossible."
            raise NotInRows(message)

    def every(self, nodes: Nodes, before: Sequence[int]) -> Nodes:
        """Return nodes with all outcomes of the discrete choices, of which so many come before each scalar of noise."""
        return nodes.of_discrete(outcomes_of(self.options, 0, math.prod(map(len, self.options))), before)

    def decided(self, lines: Sequence[Line], *, refuse: bool) -> list[int]:
        """Return a number for what is decided at each of some points of lines that have seen the scalars of noise.

        Raises
            NotInRows, if the code cannot be run on rows.
        """
        drawn = torch.tensor([line.tape.outcome for line in lines])
        found = self._run(points_of(lines), drawn, refuse=refuse, differentiate=not self.by_numbers)
        return found.decisions.keys()[: len(lines)]

    def moments(self, nodes: Nodes, cells: Cells) -> Moments:
        """Return the moments of the gradient of a loss on a grid, in whose cells it must decide alike.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone.
        """
        moments, seen = Moments(), set[tuple[int, ...]]()
        for every in nodes.split():
            part, _, gradients = self._at(every, cells, refuse=False, differentiate=True)
            moments.add_rows(part.choices, part.weights, self._by_parameter(gradients))
            usual = float((part.weights @ gradients.abs()).nan_to_num().amax())
            for row in _sample(part, gradients, seen):
                moments.kept.append(self._alone(part.tape(row), gradients[row], usual))
        require_total(moments.total)
        return moments

    def exact_mean(self, nodes: Nodes, cells: Cells, *, check: bool) -> ExactMean:
        """Return the mean of an objective on a grid and its gradient, held against its slope if wanted.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone, or the slope is another.
        """
        values, seen, total, outcomes = list[Tensor](), set[tuple[int, ...]](), 0.0, 0
        gradient = torch.zeros(sum(param.numel() for param in self.runs.params.values()), dtype=torch.float64)
        for every in nodes.split():
            part, value, gradients = self._at(every, cells, refuse=True, differentiate=True)
            total, outcomes = total + float(part.weights.sum()), outcomes + len(part.weights)
            values.append(part.weights * value)
            gradient += part.weights @ gradients
            usual = float((part.weights @ torch.cat([gradients, value[:, None]], 1).abs()).nan_to_num().amax())
            for row in _sample(part, gradients, seen):
                self._require_alone(part.tape(row), float(value[row]), gradients[row], usual)
        require_total(total)
        by_name = self.runs.split(gradient)
        size = float(torch.cat(values).abs().sum()) + float(gradient.norm())
        error = self._slope_error(nodes, cells, list(by_name.values()), size) if check else math.nan
        return ExactMean(math.fsum(torch.cat(values).tolist()), by_name, outcomes, error)

    def _slope_error(self, nodes: Nodes, cells: Cells, gradient: list[Tensor], size: float) -> float:
        standard = default_tolerance(self.runs.coarsest)

        def mean() -> float:
            found = [self._at(every, cells, refuse=True, differentiate=False) for every in nodes.split()]
            total = math.fsum(weight for part, _, _ in found for weight in part.weights.tolist())
            return math.fsum(float(part.weights @ value) for part, value, _ in found) if is_one(total) else math.nan

        return slope_error(mean, self.runs.params, gradient, standard.step, standard.slope * max(size, 1e-30))

    def _at(self, nodes: Nodes, cells: Cells, *, refuse: bool, differentiate: bool) -> tuple[Nodes, Tensor, Tensor]:
        """Return the nodes that can happen, weighted, their values, (n,), and gradients, (n, coordinates).

        Those of an objective are the gradients of the probabilities times the values, over the probabilities.
        """
        found = self._run(nodes.values, nodes.drawn, refuse=refuse, differentiate=differentiate)
        size = len(nodes.values)
        chances = found.discrete.weights[:size]
        happens = found.discrete.happens[:size] & (chances > 0)
        every = nodes.weighted(chances).where(happens)
        keys = [key for key, can_be in zip(found.decisions.keys(), happens.tolist(), strict=False) if can_be]
        for cell, key in zip(every.cells.tolist(), keys, strict=True):
            cells.require_equal((ROWS, *cell), key)
        gradients = found.gradients[:size][happens]
        return every, found.values[:size][happens], gradients / chances[happens][:, None] if self.by_numbers else gradients

    def _run(self, values: Tensor, outcomes: Tensor, *, refuse: bool, differentiate: bool) -> _Found:
        require_no_hooks(self.runs.params.values())
        rows = filled(len(values))
        values_of_all, drawn = (
            torch.cat([each, each[-1:].expand(rows - len(values), -1)]) for each in (values, outcomes.reshape(len(values), -1))
        )
        decisions, discrete = RowDecisions(rows, refuse=refuse), OutcomeRows(drawn, self.options)
        noise = ValueRows(values_of_all, decisions, discrete.draw)
        own = [param.detach().expand(rows, *param.shape).clone().requires_grad_() for param in self.runs.params.values()]
        self.runs.reset()
        with rows_or_refused(), laws_in_rows():
            with noise:
                with ByNumbers() if self.by_numbers else nullcontext():
                    found = torch.vmap(self._one, randomness="different")(torch.zeros(rows, dtype=torch.float64), *own)
                gradients = self._gradients(found, own) if differentiate and not self.by_numbers else None
            noise.require_all_drawn()
            discrete.require_all_drawn()
            if gradients is None:
                total = found * discrete.differentiable_weights()
                gradients = self._gradients(total, own) if differentiate else found.detach()[:, None]
        return _Found(found.detach(), gradients, decisions, discrete)

    def _one(self, row: Tensor, *own: Tensor) -> Tensor:
        with OwnParameters(row, list(self.runs.params.values()), own) as rows:
            returned = self.function()
            rows.require_held()
            if returned is None:
                message = "loss() calls backward itself."
                raise NotInRows(message)
            return as_scalar(returned, "the function").double()

    def _gradients(self, values: Tensor, own: Sequence[Tensor]) -> Tensor:
        """Return the gradient of each row, (rows, coordinates)."""
        shared = list(self.runs.params.values())
        none: list[Tensor | None] = [None] * (len(own) + len(shared))
        found = torch.autograd.grad(values.sum(), [*own, *shared], allow_unused=True) if values.requires_grad else none
        if any(each is not None for each in found[len(own) :]):
            message = "the code reads parameters by ways on which rows have no copy of their own."
            raise NotInRows(message)
        parts = (torch.zeros_like(each) if g is None else g for g, each in zip(found, own, strict=False))
        flat = [part.detach().double().reshape(len(values), -1).cpu() for part in parts]
        return flat[0] if len(flat) == 1 else torch.cat(flat, 1)

    def _by_parameter(self, gradients: Tensor) -> list[Tensor]:
        params = list(self.runs.params.values())
        parts = gradients.split([param.numel() for param in params], 1)
        return [part.reshape(len(part), *param.shape) for part, param in zip(parts, params, strict=True)]

    def _alone(self, tape: Tape, gradient: Tensor, usual: float | Tensor) -> tuple[Tape, list[Tensor]]:
        found = self.runs.loss(self.function, tape, salt=1)
        self.runs.remember_keys(tape)
        self._require_equal(gradient, torch.cat([part.reshape(-1).cpu() for part in found]), usual)
        return tape, found

    def _require_alone(self, tape: Tape, value: float, gradient: Tensor, usual: float | Tensor) -> None:
        alone, found = self.runs.objective(self.function, tape, differentiate=True)
        both = torch.cat([part.double().reshape(-1).cpu() for part in found]) / tape.weight
        numbers = torch.tensor([value, alone], dtype=torch.float64)
        self._require_equal(torch.cat([gradient, numbers[:1]]), torch.cat([both, numbers[1:]]), usual)

    def _require_equal(self, row: Tensor, alone: Tensor, usual: float | Tensor) -> None:
        """Raise NotInRows if a row differs from a run alone by more than rounding, on the scale of the row or of the mean.

        Where the scale of the mean is given for each coordinate, that of the row is taken for each too.
        """
        if not self.runs.is_same(row, alone, usual):
            message = "a row that is run alone gives something else."
            raise NotInRows(message)


ROWS = "rows"
"""What rows decide is held against other rows, not against runs alone: `torch.vmap` makes other operations of the code."""


@contextmanager
def rows_or_refused() -> Iterator[None]:
    """Raise NotInRows for all that stops a run on rows: the same code is then run one by one, which decides what is raised."""
    try:
        yield
    except NotInRows:
        raise
    except Exception as error:
        raise NotInRows(str(error)) from error


def _sample(nodes: Nodes, gradients: Tensor, seen: set[tuple[int, ...]]) -> list[int]:
    """The first row, the last one, the ones with the largest gradients, and the first one of each of a few cells."""
    size = gradients.abs().amax(-1).nan_to_num(nan=torch.inf) if gradients.shape[1] else nodes.weights
    found = {0, len(size) - 1, int(size.argmax()), int((nodes.weights * size).nan_to_num(nan=torch.inf).argmax())}
    for row, cell in enumerate(map(tuple, nodes.cells.tolist())):
        if len(seen) < MOST_ALONE and cell not in seen:
            seen.add(cell)
            found.add(row)
    return sorted(found)


def in_rows_or(runs: RowRuns, by_rows: Callable[[], Any], one_by_one: Callable[[], Any]) -> Any:
    """Return what rows give, and where they are not possible, now or before, what runs alone give."""
    if runs.possible:
        try:
            return by_rows()
        except GradproofError:
            runs.possible = False
    return one_by_one()
