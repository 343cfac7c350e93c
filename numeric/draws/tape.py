"""The tape of choices: a program that draws is run again and again, until each of its outcomes has been seen once.

A run asks its tape for the index of each choice. The tape plays a given prefix and takes the first possible option after that;
`explore` moves the last choice that has another option to the next one, depth first, so it ends where every leaf of the tree of
choices was visited. Nothing here knows torch.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeVar

from derive.language.errors import GradproofError, TooLarge

LONG = 10.0
"""Seconds that are said before they are spent."""

LONGEST_RUN = 20_000
"""A run with more choices than this is taken for one that never ends."""

T = TypeVar("T")


class NotAuditable(GradproofError):
    """The code cannot be run over every outcome: the message names what stands in the way, and what can be done instead."""


@dataclass(frozen=True)
class Choice:
    """One choice that a run made: by which draw, among which options, and which it took; `ends` are those before a tail."""

    draw: str
    probabilities: tuple[float, ...]
    index: int
    ends: tuple[int, ...] = ()

    @property
    def options(self) -> list[int]:
        """The indices of the options that can happen."""
        return [index for index, probability in enumerate(self.probabilities) if probability > 0]


Prefix: TypeAlias = tuple[Choice, ...]


class Part(NamedTuple):
    """Outcomes that begin alike: with the choices of a prefix, of which the last one may be any from there up to an end."""

    prefix: Prefix
    end: int


class Count(NamedTuple):
    """How many outcomes a program has, and how many seconds it takes to run each once, from a few random runs.

    >>> str(Count(32, False, 6)), str(Count(90, True, 6))
    ('32 outcomes, if all runs draw as the first ones did', 'about 90 outcomes, at least 6')
    """

    outcomes: int
    is_estimate: bool
    at_least: int
    seconds: float = 0.0

    def __str__(self) -> str:
        takes = f", about {self.seconds:.0f} s to run each once" if self.seconds >= LONG else ""
        if self.is_estimate:
            return f"about {self.outcomes} outcomes, at least {self.at_least}{takes}"
        return f"{self.outcomes} outcome{'s' if self.outcomes > 1 else ''}, if all runs draw as the first ones did{takes}"


class Tape:
    """The choices of one run: those of a prefix first, then the first option that can happen, or a random one.

    >>> tape = Tape([Choice("coin", (0.5, 0.5), 1)])
    >>> tape.choose((0.5, 0.5), "coin"), tape.choose((0.0, 0.2, 0.8), "die")
    (1, 1)
    >>> round(tape.weight, 12)
    0.1
    """

    def __init__(self, prefix: Sequence[Choice] = (), *, probe: random.Random | None = None, strict: bool = True) -> None:
        self.choices: list[Choice] = []
        self._prefix, self._probe, self._strict = tuple(prefix), probe, strict

    def choose(self, probabilities: Sequence[float], draw: str, *, ends: tuple[int, ...] = ()) -> int:
        """Return the index of the option that this run takes; at `ends` the tail of an endless law is left out.

        Raises
            NotAuditable, if the prefix was recorded at another law: the program is not a function of its choices.
            TooLarge, if the run makes more than 20,000 choices.
        """
        position = len(self.choices)
        if position >= LONGEST_RUN:
            message = f"one run makes over {LONGEST_RUN} draws, last by {draw}; a loop without an end cannot be enumerated."
            raise TooLarge(message)
        choice = Choice(draw, tuple(probabilities), -1, ends)
        index = self._replayed(choice) if position < len(self._prefix) else self._new(choice)
        self.choices.append(Choice(draw, choice.probabilities, index, ends))
        return index

    @property
    def weight(self) -> float:
        """The probability of this run."""
        return self.weight_of(self.choices)

    @staticmethod
    def weight_of(choices: Sequence[Choice]) -> float:
        """Return the probability of some choices."""
        return math.prod(choice.probabilities[choice.index] for choice in choices)

    @property
    def size(self) -> int:
        """The number of outcomes, if every run had the same draws as this one."""
        return math.prod(len(choice.options) for choice in self.choices)

    @property
    def at_least(self) -> int:
        """So many outcomes there are for certain: each option that was passed over leads to one."""
        return 1 + sum(len(choice.options) - 1 for choice in self.choices)

    @property
    def is_at_end(self) -> bool:
        """Whether an endless law took the last of its options that are enumerated."""
        return any(choice.index in choice.ends for choice in self.choices)

    @property
    def outcome(self) -> tuple[int, ...]:
        """The indices that were taken, in the order of the draws."""
        return tuple(choice.index for choice in self.choices)

    def again(self) -> Tape:
        """Return a tape on which the same choices are made again."""
        return Tape(self.choices)

    def successor(self, part: Part | None = None) -> Prefix | None:
        """Return the prefix of the next run in depth-first order, or None after the last, of all outcomes or of a part."""
        fixed = 0 if part is None else len(part.prefix)
        for position in range(len(self.choices) - 1, max(fixed - 2, -1), -1):
            choice = self.choices[position]
            end = part.end if part is not None and position == fixed - 1 else len(choice.probabilities)
            later = next((at for at in range(choice.index + 1, end) if choice.probabilities[at] > 0), None)
            if later is not None:
                return (*self.choices[:position], replace(choice, index=later))
        return None

    def require_prefix_used(self) -> None:
        """Raise NotAuditable if the run ended before the choices that led to it were all made again."""
        if self._strict and len(self.choices) < len(self._prefix):
            raise NotAuditable(_hidden(f"a run that drew {len(self._prefix)} times before now drew {len(self.choices)} times"))

    def _replayed(self, choice: Choice) -> int:
        recorded = self._prefix[len(self.choices)]
        if self._strict and recorded.probabilities != choice.probabilities:
            what = f"choice {len(self.choices) + 1} was {_shown(recorded)} and is {_shown(choice)} when the run is repeated"
            raise NotAuditable(_hidden(what))
        if not (0 <= recorded.index < len(choice.probabilities)) or choice.probabilities[recorded.index] <= 0:
            message = f"choice {len(self.choices) + 1} of the outcome is {recorded.index}, which {_shown(choice)} cannot give."
            raise NotAuditable(message)
        return recorded.index

    def _new(self, choice: Choice) -> int:
        first = next((at for at, probability in enumerate(choice.probabilities) if probability > 0), None)
        if first is None:
            message = f"{choice.draw} was given probabilities of which none is positive: {choice.probabilities[:8]}."
            raise NotAuditable(message)
        return first if self._probe is None else self._probe.choice(choice.options)


class Played(Tape):
    """What is left of a tape that was played elsewhere: the choices without the probabilities of those that were not made."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.choices: list[Choice] = [Choice(choice.draw, (), choice.index) for choice in tape.choices]
        self._weight, self._is_at_end = tape.weight, tape.is_at_end

    @property
    def weight(self) -> float:
        return self._weight

    @property
    def is_at_end(self) -> bool:
        return self._is_at_end

    def again(self) -> Tape:
        return Tape(self.choices, strict=False)


def explore(run: Callable[[Tape], T], budget: int, part: Part | None = None) -> Iterator[tuple[Tape, T]]:
    """Yield each outcome of a program once, with what its run returned: of all, or of a part.

    Raises
        TooLarge, when there are more than `budget` outcomes.

    >>> [tape.outcome for tape, _ in explore(lambda tape: tape.choose((0.5, 0.5), "a") and tape.choose((0.3, 0.7), "b"), 9)]
    [(0,), (1, 0), (1, 1)]
    """
    prefix: Prefix | None = () if part is None else part.prefix
    runs = 0
    while prefix is not None:
        if runs == budget:
            message = f"there are more than {budget} outcomes: the budget is spent. {SMALLER}"
            raise TooLarge(message)
        tape = Tape(prefix)
        result = run(tape)
        tape.require_prefix_used()
        yield tape, result
        prefix = tape.successor(part)
        runs += 1


def parted(run: Callable[[Tape], T], parts: int) -> list[tuple[Part, Tape, T]]:
    """Return parts that share all outcomes between them, in depth-first order, each with the first of its outcomes.

    They are as many as there can be, up to about `parts`, and depend on nothing else.

    >>> [part.prefix[-1].index for part, _, _ in parted(lambda tape: [tape.choose([0.1] * 10, "x") for _ in range(9)], 4)]
    [0, 3, 6, 9]
    """
    first = Tape()
    found = [(Part((), 1), first, run(first))]
    while len(found) < parts:
        inner = [_branches(run, *each, parts) for each in found]
        if all(len(branches) == 1 for branches in inner):
            break
        found = [branch for branches in inner for branch in branches]
    return found


def _branches(run: Callable[[Tape], T], part: Part, tape: Tape, result: T, most: int) -> list[tuple[Part, Tape, T]]:
    """Return the parts of a part, by the options of the first choice that is not made yet, at most so many."""
    fixed = len(part.prefix)
    if fixed and part.end > part.prefix[-1].index + 1:
        return [(part, tape, result)]
    place = next((at for at, each in enumerate(tape.choices) if at >= fixed and len(each.options) > 1), None)
    if place is None:
        return [(part, tape, result)]
    choice, found = tape.choices[place], list[tuple[Part, Tape, T]]()
    step = math.ceil(len(choice.options) / most)
    starts = choice.options[::step]
    for start, end in zip(starts, [*starts[1:], len(choice.probabilities)], strict=True):
        prefix = (*tape.choices[:place], replace(choice, index=start))
        there = tape if start == choice.index else Tape(prefix)
        found.append((Part(prefix, end), there, result if there is tape else run(there)))
    return found


def count(run: Callable[[Tape], object], budget: int, probes: int = 4) -> Count:
    """Return how many outcomes a program has, whether that is no more than an estimate, and how many there are for certain.

    Along a random path the product of the numbers of options is an unbiased estimate of the number of leaves; where every run
    draws the same, each path gives the number itself.

    Raises
        TooLarge, if even the smallest of the products exceeds the budget.

    >>> str(count(lambda tape: [tape.choose((0.5, 0.5), "coin") for _ in range(5)], 100))
    '32 outcomes, if all runs draw as the first ones did'
    """
    generator, tapes, start = random.Random(0), list[Tape](), time.perf_counter()
    for _ in range(probes):
        tapes.append(Tape(probe=generator))
        run(tapes[-1])
    sizes, at_least = [tape.size for tape in tapes], max(tape.at_least for tape in tapes)
    if min(sizes) > budget:
        draws = ", ".join(dict.fromkeys(choice.draw for choice in tapes[-1].choices))
        message = (
            f"there are about {min(sizes):.3g} outcomes, at least {at_least} (from {draws}), more than the budget of {budget}. "
            f"{SMALLER}"
        )
        raise TooLarge(message)
    outcomes = max(at_least, sum(sizes) // len(sizes))
    return Count(outcomes, len(set(sizes)) > 1, at_least, outcomes * (time.perf_counter() - start) / probes)


SMALLER = "Audit a smaller case (fewer samples, bits or classes), raise budget=, or test by sampling: numeric.sequential_test."


def _hidden(what: str) -> str:
    return (
        f"the code is not a function of its parameters and its torch draws: {what}. Something else changes between the "
        "runs: a moving "
        "average, a counter, a cache, numpy, a thread. Declare it as state=[...] so that every run starts from it, or "
        "remove it."
    )


def _shown(choice: Choice) -> str:
    few = ", ".join(f"{probability:.6g}" for probability in choice.probabilities[:6])
    return f"{choice.draw} with probabilities ({few}{', ...' if len(choice.probabilities) > 6 else ''})"
