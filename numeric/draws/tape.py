"""The tape of choices: a program that draws is run again and again, until each of its outcomes has been seen once.

A run asks its tape for the index of each choice. The tape plays a given prefix and takes the first possible option after that;
`explore` moves the last choice that has another option to the next one, depth first, so it ends where every leaf of the tree of
choices was visited. Nothing here knows torch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from derive.language.errors import GradproofError, TooLarge

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


class Count(NamedTuple):
    """How many outcomes a program has, from a few random runs.

    >>> str(Count(32, False, 6)), str(Count(90, True, 6))
    ('32 outcomes, if all runs draw as the first ones did', 'about 90 outcomes, at least 6')
    """

    outcomes: int
    is_estimate: bool
    at_least: int

    def __str__(self) -> str:
        if self.is_estimate:
            return f"about {self.outcomes} outcomes, at least {self.at_least}"
        return f"{self.outcomes} outcome{'s' if self.outcomes > 1 else ''}, if all runs draw as the first ones did"


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
        self.choices.append(replace(choice, index=index))
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

    def successor(self) -> tuple[Choice, ...] | None:
        """Return the prefix of the next run in depth-first order, or None after the last."""
        for position in range(len(self.choices) - 1, -1, -1):
            choice = self.choices[position]
            later = [index for index in choice.options if index > choice.index]
            if later:
                return (*self.choices[:position], replace(choice, index=later[0]))
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
        if recorded.index not in choice.options:
            message = f"choice {len(self.choices) + 1} of the outcome is {recorded.index}, which {_shown(choice)} cannot give."
            raise NotAuditable(message)
        return recorded.index

    def _new(self, choice: Choice) -> int:
        if not choice.options:
            message = f"{choice.draw} was given probabilities of which none is positive: {choice.probabilities[:8]}."
            raise NotAuditable(message)
        return choice.options[0] if self._probe is None else self._probe.choice(choice.options)


def explore(run: Callable[[Tape], T], budget: int) -> Iterator[tuple[Tape, T]]:
    """Yield each outcome of a program once, with what its run returned.

    Raises
        TooLarge, when there are more than `budget` outcomes.

    >>> [tape.outcome for tape, _ in explore(lambda tape: tape.choose((0.5, 0.5), "a") and tape.choose((0.3, 0.7), "b"), 9)]
    [(0,), (1, 0), (1, 1)]
    """
    prefix: tuple[Choice, ...] | None = ()
    runs = 0
    while prefix is not None:
        if runs == budget:
            message = f"there are more than {budget} outcomes: the budget is spent. {_SMALLER}"
            raise TooLarge(message)
        tape = Tape(prefix)
        result = run(tape)
        tape.require_prefix_used()
        yield tape, result
        prefix = tape.successor()
        runs += 1


def count(run: Callable[[Tape], object], budget: int, probes: int = 4) -> Count:
    """Return how many outcomes a program has, whether that is no more than an estimate, and how many there are for certain.

    Along a random path the product of the numbers of options is an unbiased estimate of the number of leaves; where every run
    draws the same, each path gives the number itself.

    Raises
        TooLarge, if even the smallest of the products exceeds the budget.

    >>> count(lambda tape: [tape.choose((0.5, 0.5), "coin") for _ in range(5)], 100)
    Count(outcomes=32, is_estimate=False, at_least=6)
    """
    generator, tapes = random.Random(0), []
    for _ in range(probes):
        tapes.append(Tape(probe=generator))
        run(tapes[-1])
    sizes, at_least = [tape.size for tape in tapes], max(tape.at_least for tape in tapes)
    if min(sizes) > budget:
        draws = ", ".join(dict.fromkeys(choice.draw for choice in tapes[-1].choices))
        message = (
            f"there are about {min(sizes):.3g} outcomes, at least {at_least} (from {draws}), more than the budget of {budget}. "
            f"{_SMALLER}"
        )
        raise TooLarge(message)
    return Count(max(at_least, sum(sizes) // len(sizes)), len(set(sizes)) > 1, at_least)


_SMALLER = "Audit a smaller case (fewer samples, bits or classes), raise budget=, or test by sampling: numeric.sequential_test."


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
