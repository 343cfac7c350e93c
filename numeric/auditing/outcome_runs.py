"""Many outcomes of audited code as the rows of one run, where it draws alike in all of them and branches on none.

Nothing is taken from rows that runs alone do not confirm: the first row and the last one of each run, those with the largest
gradients, and others spread over all outcomes. Code that cannot be run on rows, or whose rows do not agree with runs alone,
raises NotInRows and is run one by one.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from numeric.auditing.integration.rows import MOST_IMPOSSIBLE, MOST_ROWS, RowRuns, rows_or_refused
from numeric.draws.moments import Moments
from numeric.draws.noise_rows import NotInRows, require_no_hooks
from numeric.draws.outcome_rows import Keeping, OutcomeRows, options_of, outcomes_of
from numeric.draws.tape import Choice, Count, Tape
from numeric.means.exact_mean import ByNumbers, ExactMean, is_one
from numeric.means.runs import Runs, default_tolerance
from numeric.means.slope import slope_error
from numeric.noise.at_noise import laws_in_rows

FEWEST = 64
"""Fewer outcomes are run one by one."""

FEWEST_TOGETHER = 8
"""Fewer rows a run are no gain."""

MOST_CELLS = 2**25
"""So many numbers all rows of one run make together; of 8 bytes each, if none of them were let go.

Where each tensor is a good part of that, more at once are slower: they are in no cache, and their memory is new each time.
"""

ALONE = 24
"""So many outcomes, spread over all, are run alone too."""

PROBES = 5
"""So many random runs show which options choices have."""


@dataclass(frozen=True)
class Rows:
    """Outcomes that were run together: their choices (n, m), probabilities (n,), values (n,) and gradients (n, coordinates).

    The gradients are those of the values, or of the probabilities times the values.
    """

    choices: Tensor
    weights: Tensor
    values: Tensor
    gradients: Tensor

    @cached_property
    def sizes(self) -> Tensor:
        """The sizes of the gradients, (n, coordinates)."""
        return self.gradients.abs()

    @classmethod
    def of(cls, parts: Sequence[Rows]) -> Rows:
        """Return the outcomes of some runs as those of one."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def tape(self, row: int) -> Tape:
        """Return a tape on which a run alone makes the choices of one row."""
        return Tape([Choice("a row", (), index) for index in self.choices[row].tolist()], strict=False)


@dataclass
class OutcomeRuns(RowRuns):
    """One function of audited code, run on rows of its outcomes.

    Args
        options  those of each choice that it makes
        most     more rows than this, impossible ones among them, are no gain
        numbers  so many are made in one run
    """

    most: int = 0
    numbers: int = 1

    @property
    def outcomes(self) -> int:
        """How many rows there are; some of them may be impossible."""
        return math.prod(map(len, self.options))

    @property
    def at_once(self) -> int:
        """How many outcomes are run together."""
        return min(MOST_ROWS, MOST_CELLS // max(self.numbers, *(param.numel() for param in self.runs.params.values())))

    @property
    def size(self) -> int:
        """How many outcomes are looked at together, in one run or in some."""
        return self.at_once * math.ceil(FEWEST / self.at_once)

    def require_possible(self) -> None:
        """Raise NotInRows where rows are known to be no gain, or not to be what runs alone are.

        What leaves torch would fail on rows in the middle of a run, and what the code has done until then cannot be undone.
        """
        coarse = torch.finfo(self.runs.coarsest).eps > torch.finfo(torch.float32).eps
        require_no_hooks(self.runs.params.values())
        if self.runs.tells or self.runs.any_noise or coarse:
            message = "values leave torch, or there is continuous noise, or a dtype below float32."
            raise NotInRows(message)
        if self.outcomes > self.most or self.at_once < FEWEST_TOGETHER:
            message = "most outcomes are impossible, or one run makes too many numbers."
            raise NotInRows(message)

    def timed(self, expected: Count) -> Count:
        """Return a count of outcomes with the time that they take on rows."""
        some = min(self.size, self.outcomes, 8 * FEWEST)
        start = time.perf_counter()
        self.rows(0, some, differentiate=True)
        return expected._replace(seconds=(time.perf_counter() - start) / some * self.outcomes)

    def moments_of_outcomes(self, shown: Callable[[Iterator[Rows]], Iterator[Rows]]) -> Moments:
        """Return the moments of the gradient of a loss over all outcomes.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone.
        """
        moments = Moments(together=True)
        for rows in shown(self._every(differentiate=True)):
            moments.add_rows(rows.choices, rows.weights, self._by_parameter(rows.gradients))
            moments.outcomes += int((rows.weights == 0).sum())  # possible, but for the precision of a number
            usual = (rows.weights @ rows.sizes).nan_to_num()
            for row in self._confirmed(rows):
                moments.kept.append(self._alone(rows.tape(row), rows.gradients[row], usual))
        _require_all(moments.total)
        return moments

    def mean_of_outcomes(self, *, check: bool) -> ExactMean:
        """Return the exact mean of an objective and its gradient, held against its slope if wanted.

        Raises
            NotInRows, if the code cannot be run on rows, or a row does not give what it gives alone, or the slope is another.
        """
        total, values, outcomes = 0.0, list[float](), 0
        gradient = torch.zeros(sum(param.numel() for param in self.runs.params.values()), dtype=torch.float64)
        for rows in self._every(differentiate=True):
            gradient += rows.gradients.sum(0)
            total, outcomes = total + math.fsum(rows.weights.tolist()), outcomes + len(rows.weights)
            values += (rows.weights * rows.values).tolist()
            weights = rows.weights[:, None]
            usual = torch.cat([rows.gradients, weights * rows.values[:, None]], 1).abs().nan_to_num().sum(0)
            for row in self._confirmed(rows):
                of_value = rows.gradients[row] / rows.weights[row]
                self._require_alone(rows.tape(row), float(rows.values[row]), of_value, usual)
        _require_all(total)
        by_name = self.runs.split(gradient)
        size = math.fsum(map(abs, values)) + float(gradient.norm())
        error = self._slope(list(by_name.values()), size) if check else math.nan
        return ExactMean(math.fsum(values), by_name, outcomes, error)

    def rows(self, start: int, stop: int, *, differentiate: bool) -> Rows:
        """Run some of the outcomes, by their places in depth-first order, and return those that can happen.

        Raises
            NotInRows, if the code cannot be run on rows.
        """
        parts = [
            self._run_together(first, min(first + self.at_once, stop), differentiate=differentiate)
            for first in range(start, stop, self.at_once)
        ]
        return parts[0] if len(parts) == 1 else Rows.of(parts)

    def _run_together(self, start: int, stop: int, *, differentiate: bool) -> Rows:
        choices = outcomes_of(self.options, start, stop)
        drawn = OutcomeRows(choices, self.options)
        own = [param.detach().expand(len(choices), *param.shape).clone() for param in self.runs.params.values()]
        own = [copy.requires_grad_(param.requires_grad) for copy, param in zip(own, self.runs.params.values(), strict=True)]
        self.runs.reset()
        with rows_or_refused(), laws_in_rows(validated=True):
            with drawn, ByNumbers() if self.by_numbers else nullcontext():
                found = torch.vmap(self._one, randomness="different")(torch.zeros(len(choices), dtype=torch.float64), *own)
            drawn.require_all_drawn()
            total = found * drawn.differentiable_weights() if self.by_numbers else found
            gradients = self._gradients(total, own) if differentiate else found.detach()[:, None]
        every = choices, drawn.weights, found.detach(), gradients
        return Rows(*every if bool(drawn.happens.all()) else (each[drawn.happens] for each in every))

    def _every(self, *, differentiate: bool) -> Iterator[Rows]:
        for start in range(0, self.outcomes, self.size):
            yield self.rows(start, min(start + self.size, self.outcomes), differentiate=differentiate)

    def _confirmed(self, rows: Rows) -> list[int]:
        """The rows that are run alone too."""
        if not len(rows.weights):
            return []
        size = rows.sizes.amax(-1).nan_to_num(nan=torch.inf)
        few = max(1, math.ceil(ALONE * len(size) / self.outcomes))
        spread = torch.linspace(0, len(size) - 1, few).round().long().tolist()
        return sorted({0, len(size) - 1, int(size.argmax()), int((rows.weights * size).argmax()), *spread})

    def _slope(self, gradient: list[Tensor], size: float) -> float:
        standard = default_tolerance(self.runs.coarsest)
        return slope_error(self._mean, self.runs.params, gradient, standard.step, standard.slope * max(size, 1e-30))

    def _mean(self) -> float:
        """The mean, nan where the probabilities do not sum to one: the parameters are outside the domain of a law."""
        every = list(self._every(differentiate=False))
        total = math.fsum(weight for rows in every for weight in rows.weights.tolist())
        return math.fsum(float(rows.weights @ rows.values) for rows in every) if is_one(total) else math.nan


def _require_all(total: float) -> None:
    """Raise NotInRows unless the rows are all outcomes: in one of them, a choice may have options that the seen run had not."""
    if not is_one(total):
        message = f"the probabilities of all rows sum to {total!r}."
        raise NotInRows(message)


def outcome_runs(runs: Runs, function: Callable[[], Any], run: Callable[[Tape], Any], *, by_numbers: bool) -> OutcomeRuns:
    """Return a function that can be run on rows of its outcomes.

    Raises
        NotInRows, if rows are no gain, or are known not to be what runs alone are.
    """
    generator = random.Random(0)
    tapes = [Tape(), *(Tape(probe=generator) for _ in range(PROBES))]
    numbers = 0
    for tape in tapes:
        with Keeping(list(runs.params.values())) as keeping:
            run(tape)
        if tape.size < FEWEST:
            message = "few outcomes."
            raise NotInRows(message)
        keeping.require_none()
        numbers = max(numbers, keeping.numbers)
    options, most = options_of(tapes), MOST_IMPOSSIBLE * tapes[0].size
    found = OutcomeRuns(runs, function, by_numbers, options=options, most=most, numbers=numbers)
    found.require_possible()
    return found
