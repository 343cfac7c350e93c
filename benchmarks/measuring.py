"""Times of what is run in turn, and the ratios of them."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import TypeAlias

import torch

Run: TypeAlias = Callable[[], object]
Timer: TypeAlias = Callable[[int], float]
"""From a number of runs to the seconds of one of them."""
Times: TypeAlias = dict[str, list[float]]
SECONDS = 0.01  # what takes that long or longer runs once in a round


@dataclass(frozen=True)
class Options:
    """What is measured.

    Args
        quick   few rounds, small cases
        device  where torch runs, "cpu" or "cuda"
        before  a commit, whose generated code is measured beside ours; none for ""
    """

    quick: bool = False
    device: str = "cpu"
    before: str = ""


@dataclass(frozen=True)
class Figure:
    """A median with its quartiles.

    Args
        goal      what it should be at most, or at least; None where there is none
        unit      "s" for seconds, "" for a ratio or a count
        at_least  whether the goal is the least that it should be
    """

    median: float
    low: float
    high: float
    goal: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def missed(self) -> bool:
        """Whether there is a goal that is missed."""
        return self.goal is not None and (self.median < self.goal if self.at_least else self.median > self.goal)


def once(value: float, goal: float | None = None, unit: str = "", *, at_least: bool = False) -> Figure:
    """Return the figure of one measurement."""
    return Figure(value, value, value, goal, unit, at_least)


def figure(values: Sequence[float], goal: float | None = None, unit: str = "", *, at_least: bool = False) -> Figure:
    """Return median and quartiles of some values."""
    if len(values) == 1:
        return once(values[0], goal, unit, at_least=at_least)
    low, middle, high = statistics.quantiles(values, n=4)
    return Figure(middle, low, high, goal, unit, at_least)


@dataclass(frozen=True)
class Row:
    """A case, by the names of its columns, and what was found of it; ratios first."""

    case: dict[str, str]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Table:
    """Rows of one kind; `about` says what is measured, in Markdown."""

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)


def timer(run: Run, device: str = "cpu") -> Timer:
    """Return what times a function: the processor time of one thread, on a GPU the time until the device is done."""
    clock = time.process_time if device == "cpu" else time.perf_counter

    def seconds(repeats: int) -> float:
        start = clock()
        for _ in range(repeats):
            run()
        if device != "cpu":
            torch.cuda.synchronize()
        return (clock() - start) / repeats

    return seconds


def interleaved(timers: Mapping[str, Timer], rounds: int) -> Times:
    """Return the times of each, one for each round, in which everything runs in turn: what else the machine does hits all."""
    repeats = {}
    for name, seconds in timers.items():
        seconds(1)
        repeats[name] = max(1, int(SECONDS / max(seconds(2), 1e-7)))
    found: Times = {name: [] for name in timers}
    for _ in range(rounds):
        for name, seconds in timers.items():
            found[name].append(seconds(repeats[name]))
    return found


def ratio(times: Times, above: str, below: str, goal: float | None = None, *, at_least: bool = False) -> Figure:
    """Return the ratio of two, from round to round."""
    return figure([a / b for a, b in zip(times[above], times[below], strict=True)], goal, at_least=at_least)


def processes(timed: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Return the times of fresh processes, which run in turn, after one of each that does not count."""
    for run in timed.values():
        run()
    found: Times = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            found[name].append(run())
    return found


def fresh(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> float:
    """Return the processor time of a fresh interpreter with these arguments."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=variables)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def printed(script: str) -> list[str]:
    """Return the words that a fresh interpreter prints, given a script."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def machine(device: str) -> str:
    """What it runs on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), platform.machine())
    what = model if device == "cpu" else f"{torch.cuda.get_device_name()}, {model}"
    return f"{what}, one thread, Python {platform.python_version()}, torch {torch.__version__}"
