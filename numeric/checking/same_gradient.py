"""Two code paths that should have the same gradient: fused and eager, one batch and micro-batches, masked and packed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import GradproofError
from numeric.auditing.arguments import require_budget, require_function
from numeric.auditing.audit import DEFAULT_BUDGET, Params
from numeric.auditing.measured import FROZEN, MOST_GENERIC_RUNS
from numeric.auditing.precision import SHARE, in_dtype
from numeric.draws.noise_rows import AtPoint, NotInRows
from numeric.draws.restoring import named, put_back
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import Choice, NotAuditable, Tape, count, explore
from numeric.means.runs import Runs, default_tolerance
from numeric.noise.at_noise import MOST_COLUMNS
from numeric.noise.probes import bulk, on_lines

SCHEMA = "gradproof/same-gradient/1"

LINES, BULK = 128, 32
"""Values of continuous noise on lines, and in the bulk, at which paths are compared beside the first few."""


class DifferentGradient(GradproofError):
    """Two code paths have other gradients, or other draws, on some outcome: the message shows it; `.report` has all of it."""

    def __init__(self, report: SameGradient) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class SameGradient:
    """Whether two code paths have the same gradient on every outcome; true if they have, and if there was one to see.

    Args
        outcomes       how many outcomes were compared, at each of some values of continuous noise
        choices        the outcome where they differ most, in units of the tolerance, or the first where they draw differently
        first, second  the two gradients there, by the name of the parameter, float64
        ratio          how far they are apart there, in units of the tolerance
        reason         how their draws differ, empty where they are the same
        vacuous        whether neither has a gradient in any outcome
        undecided      why agreement says nothing, empty where it does: the tolerance of a low precision
        frozen_noise   how many draws of continuous noise were held at some sets of values, the same in both
        points         how many sets of values: a few, then many in the bulk and on lines out to where noise is rare
    """

    outcomes: int
    choices: tuple[int, ...]
    first: dict[str, Tensor]
    second: dict[str, Tensor]
    ratio: float
    reason: str = ""
    vacuous: bool = False
    undecided: str = ""
    frozen_noise: int = 0
    points: int = 1

    def __bool__(self) -> bool:
        return self.verdict == "equal"

    @property
    def verdict(self) -> str:
        """"equal", "different", "vacuous" or "undecided"."""
        if self.reason or self.ratio > 1:
            return "different"
        return "vacuous" if self.vacuous else "undecided" if self.undecided else "equal"

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        parts = {"first": self.first, "second": self.second}
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "outcomes": self.outcomes,
            "choices": list(self.choices),
            "ratio": self.ratio if math.isfinite(self.ratio) else None,
            "reason": self.reason or None,
            "undecided": self.undecided or None,
            "frozen_noise": self.frozen_noise,
            **{key: {name: part.tolist() for name, part in values.items()} for key, values in parts.items()},
        }

    def __str__(self) -> str:
        if self.verdict != "different":
            noise = f", at {self.points} sets of values of {self.frozen_noise} draws of noise" if self.frozen_noise else ""
            why = {"vacuous": ": no outcome has a gradient in either", "undecided": f": {self.undecided}"}
            return f"{self.verdict}{why.get(self.verdict, '')} ({self.outcomes} outcomes{noise})"
        what = self.reason or "the gradients differ"
        rows = [f"  {label}  {name} = {part.tolist()}" for label, parts in self._parts() for name, part in parts.items()]
        return "\n".join([f"different: {what}, on the outcome {self.choices}", *rows])

    def _parts(self) -> list[tuple[str, dict[str, Tensor]]]:
        return [("first ", self.first), ("second", self.second)]


def same_gradient(
    first: Callable[[], Any],
    second: Callable[[], Any],
    params: Params,
    *,
    budget: int = DEFAULT_BUDGET,
    atol: float | None = None,
    rtol: float | None = None,
    raise_exception: bool = True,
    state: Sequence[Any] = (),
    dtype: torch.dtype | None = None,
) -> SameGradient:
    """Hold the gradients of two code paths against each other on every outcome of their draws, which must be the same.

    Args
        first, second  run the code, as the loss of `numeric.audit`; the second is given the draws of the first, in their order
        atol, rtol     they may differ by atol + rtol * (largest coordinate of both) on an outcome; by default as an audit

    Other arguments, and what is refused, as in `numeric.audit`.

    Raises
        DifferentGradient, if raise_exception is true and there is no agreement; it carries the report.

    >>> theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    >>> def loss(split):
    ...     b = torch.multinomial(theta.softmax(-1), 4, replacement=True)
    ...     chunks = b.chunk(2) if split else [b]
    ...     return sum(theta.log_softmax(-1)[chunk].mean() for chunk in chunks)
    >>> report = same_gradient(lambda: loss(False), lambda: loss(True) / 2, theta)
    >>> bool(report), report.outcomes
    (True, 81)
    >>> print(same_gradient(lambda: loss(False), lambda: loss(True), theta, raise_exception=False).verdict)
    different
    """
    require_budget(budget, DEFAULT_BUDGET)
    for function, name in ((first, "first"), (second, "second")):
        require_function(function, name)
    parameters = named(params)
    with ExitStack() as stack:
        stack.enter_context(in_dtype(dtype, parameters, (params, *state)))
        runs = Runs(parameters)
        code = {"first": first, "second": second}
        start = stack.enter_context(put_back(parameters, state, runs.generators, code))
        runs.reset, runs.bystanders = start.reset, start.bystanders
        report = _Comparison(runs, first, second, (atol, rtol)).report(budget)
        start.bystanders.require_untouched()
    if raise_exception and not report:
        raise DifferentGradient(report)
    return report


class _Comparison:
    """The worst outcome so far."""

    def __init__(
        self, runs: Runs, first: Callable[[], Any], second: Callable[[], Any], given: tuple[float | None, float | None]
    ) -> None:
        self.runs, self.first, self.second, self.given = runs, first, second, given
        self.outcomes, self.seen, self.coarse, self.noise, self.points = 0, False, False, 0, 0
        self.worst: tuple[float, str, tuple[int, ...], list[Tensor], list[Tensor]] = (-1.0, "", (), [], [])

    def report(self, budget: int) -> SameGradient:
        self.runs.require_repeatable(self.first)
        noise = self.runs.noise
        count(lambda tape: self.runs.loss(self.first, tape), budget)
        self.runs.require_repeatable(self.second)
        self.noise = sum(size for _, size in noise)
        for frozen in range(FROZEN if noise else 1):
            self.runs.frozen = frozen
            self._every_outcome(budget)
            self.points += 1
        if noise:
            self._on_lines(budget)
        ratio, reason, choices, *pair = self.worst
        one, other = (dict(zip(self.runs.params, each, strict=True)) for each in pair)
        return SameGradient(
            self.outcomes, choices, one, other, ratio, reason, not self.seen, self._undecided(), self.noise, self.points
        )

    def _on_lines(self, budget: int) -> None:
        """Compare at more values of the noise, out to where it is rare, as many as so many runs allow."""
        with suppress(NotFreezable, NotIntegrable, NotInRows):
            at = self.runs.integrated = AtPoint(torch.zeros(MOST_COLUMNS, dtype=torch.float64), refuse=False)
            self.runs.loss(self.first, Tape())
            size = min(LINES, MOST_GENERIC_RUNS // max(1, self.outcomes))
            for point in torch.cat([bulk(at.used, BULK, 3)[: max(size // 4, 1)], on_lines(at.used, size)[0]]):
                if self.worst[0] > 1:
                    break
                self.runs.integrated = AtPoint(point, refuse=False)
                self._every_outcome(budget)
                self.points += 1
        self.runs.integrated = None

    def _every_outcome(self, budget: int) -> None:
        self.outcomes = 0
        for tape, gradient in explore(lambda tape: self._run(self.first, tape), budget):
            self.outcomes += 1
            self._compare(tape, *gradient)
            if self.worst[1]:
                return

    def _run(self, function: Callable[[], Any], tape: Tape) -> tuple[list[Tensor], tuple[str, ...]]:
        gradient = self.runs.loss(function, tape)
        return gradient, self.runs.laws_of_noise

    def _compare(self, tape: Tape, gradient: list[Tensor], laws: tuple[str, ...]) -> None:
        again = Tape(tape.choices, strict=False)
        try:
            other, others = self._run(self.second, again)
        except NotAuditable as error:
            if len(again.choices) >= len(tape.choices):
                raise
            self._keep(math.inf, f"the draws differ: {error}", tape, gradient, [torch.zeros_like(part) for part in gradient])
            return
        reason = _other_draws(tape.choices, again.choices, self._slack())
        reason = reason or ("" if laws == others else f"continuous noise is drawn as {laws} and as {others}")
        self.seen |= any(bool(part.any()) for part in (*gradient, *other))
        self._keep(math.inf if reason else self._ratio(gradient, other), reason, tape, gradient, other)

    def _slack(self) -> float:
        return 64 * torch.finfo(self.runs.coarsest).eps

    def _ratio(self, gradient: list[Tensor], other: list[Tensor]) -> float:
        usual = default_tolerance(self.runs.coarsest)
        atol, rtol = (given if given is not None else each for given, each in zip(self.given, usual, strict=False))
        sizes = (part.abs().nan_to_num(nan=0.0, posinf=0.0) for part in (*gradient, *other) if part.numel())
        largest = max((float(size.max()) for size in sizes), default=0.0)
        far_out = self.runs.integrated is not None  # there both may be infinite, or nan
        apart = max(_apart(one, two, equal_nan=far_out) for one, two in zip(gradient, other, strict=True))
        tolerance, fine = atol + rtol * largest, 1e-12 + 1e-9 * largest
        self.coarse |= self.given == (None, None) and fine < apart <= tolerance and tolerance > SHARE * largest
        return apart / tolerance

    def _keep(self, ratio: float, reason: str, tape: Tape, one: list[Tensor], two: list[Tensor]) -> None:
        if ratio > self.worst[0]:
            self.worst = (ratio, reason, tape.outcome, one, two)

    def _undecided(self) -> str:
        dtype = str(self.runs.coarsest).removeprefix("torch.")
        remedy = "compare with dtype=torch.float64"
        return f"the gradients pass through {dtype}, whose tolerance is over 1 % of them; {remedy}" if self.coarse else ""


def _apart(one: Tensor, two: Tensor, *, equal_nan: bool) -> float:
    """How far apart the coordinates of two gradients are at most, infinite where one of them is nan."""
    equal = (one == two) | (one.isnan() & two.isnan()) if equal_nan else torch.zeros_like(one, dtype=torch.bool)
    return float((one - two).abs().nan_to_num(nan=math.inf).masked_fill(equal, 0.0).max())


def _other_draws(first: Sequence[Choice], second: Sequence[Choice], slack: float) -> str:
    """Say how two runs draw differently, "" where they draw the same."""
    if len(first) != len(second):
        return f"the draws differ: the first makes {len(first)} choices and the second {len(second)}"
    for position, (one, two) in enumerate(zip(first, second, strict=True), 1):
        close = len(one.probabilities) == len(two.probabilities) and all(
            math.isclose(p, q, rel_tol=1e-9, abs_tol=slack) for p, q in zip(one.probabilities, two.probabilities, strict=True)
        )
        if not close:
            laws = " and ".join(str(tuple(float(f"{p:.6g}") for p in each.probabilities[:6])) for each in (one, two))
            return f"the draws differ: choice {position} has the probabilities {laws}"
    return ""
