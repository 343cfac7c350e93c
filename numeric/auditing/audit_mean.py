"""The mean of a loss's gradient over every outcome, beside the exact gradient of its objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from numeric.auditing.audit_report import worst_coordinate
from numeric.auditing.outcome_runs import FEWEST, outcome_runs
from numeric.auditing.precision import too_coarse
from numeric.draws.moments import Moments
from numeric.draws.noise_rows import NotInRows
from numeric.draws.tape import LONG, Count, NotAuditable, Tape
from numeric.means.exact_mean import ExactMean, exact_mean, require_total
from numeric.means.runs import IMPLICIT, MOST_REPEATED, Runs, default_tolerance

PROGRESS_FROM = 2_000
TOLD = 30.0
"""Where there is no terminal, progress is said after so many seconds each time."""

BEHIND = 10
"""The terms behind the last one that is enumerated are taken for at most this many times as much, together."""
LARGEST_TAIL = 1e-3

T = TypeVar("T")
Tolerances: TypeAlias = tuple[float | None, float | None]


@dataclass(frozen=True)
class Found:
    """What was computed: the moments of the gradient, the exact gradient, and how far the two may differ."""

    moments: Moments
    exact: ExactMean
    frozen: int
    tolerance: dict[str, Tensor]
    worst: tuple[str, tuple[int, ...]]
    ratio: float
    coarse: str = ""
    """Why the tolerance decides nothing, "" where it does."""

    def mean(self, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean of the gradient by parameter."""
        return dict(zip(names, self.moments.mean, strict=True))


def moments_of(runs: Runs, loss: Callable[[], Any], budget: int, expected: Count) -> Moments:
    """Run the loss on each of its outcomes, of which so many are expected, and return the moments of its gradient.

    They are rows of one run where that is possible, else runs of their own.
    """
    if _may_be_rows(runs, expected):
        with suppress(NotInRows):
            rows = outcome_runs(runs, loss, lambda tape: runs.loss(loss, tape, salt=1), by_numbers=False)
            return rows.moments_of_outcomes(lambda every: _shown(every, expected, lambda part: len(part.weights)))
    moments, stride = Moments(), max(1, expected.outcomes // MOST_REPEATED)
    run = runs.explored(lambda tape: runs.loss(loss, tape, salt=1), loss, budget, salt=1)
    for position, (tape, gradient) in enumerate(_shown(run, expected)):
        keep = position % stride == 0 and len(moments.kept) < 2 * MOST_REPEATED
        moments.add(tape, gradient, keep=keep)
        if keep:
            runs.remember_keys(tape)
    require_total(moments.total)
    return moments


def timed(runs: Runs, loss: Callable[[], Any], expected: Count) -> Count:
    """Return a count of outcomes that would take long one by one with the time that they take on rows, if they can be rows."""
    if expected.seconds >= LONG and _may_be_rows(runs, expected):
        with suppress(NotInRows):
            return outcome_runs(runs, loss, lambda tape: runs.loss(loss, tape), by_numbers=False).timed(expected)
    return expected


def _may_be_rows(runs: Runs, expected: Count) -> bool:
    """Whether all outcomes seem to draw alike, and are many enough to be worth it."""
    return runs.integrated is None and not expected.is_estimate and expected.outcomes >= FEWEST


def _shown(run: Iterator[T], expected: Count, outcomes: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """The runs, with a progress bar if they are many and somebody is looking, and a line now and then where it is a file."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from _told(run, expected, outcomes, console)
        return
    if expected.outcomes < PROGRESS_FROM:
        yield from run
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(str(expected), total=expected.outcomes)
        for each in run:
            yield each
            progress.advance(task, outcomes(each))


def _told(run: Iterator[T], expected: Count, outcomes: Callable[[T], int], console: Console) -> Iterator[T]:
    """The runs, with a line every `TOLD` seconds."""
    start = said = time.monotonic()
    done = 0
    for each in run:
        yield each
        done += outcomes(each)
        now = time.monotonic()
        if now - said >= TOLD:
            said = now
            left = (now - start) * max(0, expected.outcomes - done) / done
            console.print(f"{done} outcomes of {expected.outcomes} run, about {left:.0f} s left", soft_wrap=True)


def exact_mean_of(runs: Runs, objective: Callable[[], Any], budget: int, *, check: bool = True) -> ExactMean:
    """Return the exact mean of the objective and its gradient, held against the numbers if wanted."""
    if runs.integrated is None:
        with suppress(NotInRows):
            run_alone = lambda tape: runs.objective(objective, tape, differentiate=True)  # noqa: E731
            return outcome_runs(runs, objective, run_alone, by_numbers=True).mean_of_outcomes(check=check)
    standard = default_tolerance(runs.coarsest)

    def every(differentiate: bool) -> Iterable[tuple[Tape, tuple[float, list[Tensor]]]]:
        run = lambda tape: runs.objective(objective, tape, differentiate=differentiate)  # noqa: E731
        return runs.explored(run, objective, budget, differentiate=differentiate)

    return exact_mean(
        every,
        runs.params,
        step=standard.step,
        tolerance=standard.slope,
        check=check,
    )


def tails(runs: Runs, moments: Moments, exact: ExactMean) -> dict[str, Tensor]:
    """Return what the tails of endless laws may add to the bias, by parameter, estimated by the outcomes before them.

    Raises
        NotAuditable, if that is more than `LARGEST_TAIL` of E|gradient|.
    """
    found = {name: torch.zeros_like(size) for name, size in zip(runs.params, moments.size, strict=True)}
    if not runs.endless and not runs.neglected:
        return found
    for name, tail, peak, size in zip(runs.params, moments.tail, moments.peak, moments.size, strict=True):
        found[name] = BEHIND * (tail + exact.tail.get(name, torch.zeros_like(tail))) + 2 * runs.neglected * peak
        if not bool((found[name] <= LARGEST_TAIL * torch.maximum(size, exact.gradient[name].abs())).all()):
            message = (
                f"the tail of a law without an end carries {float(found[name].max()):.2g} of the gradient of {name}: it cannot "
                "be cut off. The gradient may have an infinite mean or variance; audit a function that grows less."
            )
            raise NotAuditable(message)
    return found


def compared(
    runs: Runs, moments: Moments, exact: ExactMean, tolerances: Tolerances, error: Mapping[str, Tensor] | None = None
) -> Found:
    """Hold the mean of a gradient against the exact one; `error`, of a quadrature, is tolerated beside the tolerances."""
    standard = default_tolerance(runs.coarsest)
    atol, rtol = (given if given is not None else usual for given, usual in zip(tolerances, standard, strict=False))
    rtol = max(rtol, IMPLICIT) if runs.implicit and tolerances[1] is None else rtol
    left_out = tails(runs, moments, exact)
    tolerance = {
        name: atol + rtol * torch.maximum(gradient.abs(), size) + left_out[name] + (0 if error is None else error[name])
        for (name, gradient), size in zip(exact.gradient.items(), moments.size, strict=True)
    }
    mean = dict(zip(runs.params, moments.mean, strict=True))
    name, index = worst_coordinate(mean, exact.gradient, tolerance)
    ratio = float(((mean[name] - exact.gradient[name]).abs() / tolerance[name])[index].nan_to_num(nan=float("inf")))
    given = any(each is not None for each in tolerances)
    size = dict(zip(runs.params, moments.size, strict=True))
    coarse = "" if given or ratio > 1 else too_coarse(runs, mean, exact.gradient, size, tolerance)
    return Found(moments, exact, runs.frozen, tolerance, (name, index), ratio, coarse)
