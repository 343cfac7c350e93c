"""The sequential test: false alarms, the samples that find a bias of 5 %, and the time of a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Options, Row, Table, figure, interleaved, once, ratio, timer
from numeric.checking.capital import BETS, null_hypothesis, running_log_wealth
from numeric.checking.sequential_test import sequential_test

SPEED = """\
A test of d coordinates that rejects nothing, of 1,000 samples at a time that are drawn already, against its own logarithms,
28 of float64 for each coordinate of a sample, in tensors that fit the cache, and against its sampler. *Ours*: of one sample.
"""
POWER = """\
The estimate is b (b - p) for b ~ Bernoulli(p), the score function gradient of E[b] in the logit, p = 1/2: mean 1/4,
standard deviation 1/4. The biased one is 0.95 times that, which is what a moving average does that is updated before it is
subtracted. *Alarms*: of unbiased ones at a rate of 1e-3, looked at after each of 1,000 samples, for each one that is
nominal. *Found*: runs of 50 at a rate of 1e-9.
"""
RUNS, SAMPLES, RATE, SEEDS, ROUNDS, BATCH = 10_000, 1_000, 1e-3, 50, 9, 1_000
STATED: dict[str, dict[str, Any]] = {"bounds (0, 1)": {"bounds": (0.0, 1.0)}, "variance 1/16": {"variance": 1 / 16}}
SIZES = {1: 2**17, 10: 2**15, 200: 2**11}
"""How many samples are taken of so many coordinates."""
MOST = 1.5


def estimates(*shape: int, factor: float = 1.0) -> Tensor:
    b = torch.bernoulli(torch.full(shape, 0.5, dtype=torch.float64))
    return factor * b * (b - 0.5)


def sampler(factor: float) -> Callable[[int], Tensor]:
    return lambda count: estimates(count, factor=factor)


def drawn(x: Tensor) -> Callable[[int], Tensor]:
    """A sampler that gives what was drawn before, part by part."""
    parts = iter(x.split(BATCH))
    return lambda _: next(parts)


def logarithms(samples: int, coordinates: int) -> Callable[[], None]:
    """All logarithms that the test takes, some samples at a time."""
    part = torch.rand(2**14 // (2 * BETS * coordinates), 2 * BETS, coordinates, dtype=torch.float64)

    def run() -> None:
        for _ in range(0, samples, len(part)):
            torch.log1p(part)

    return run


def speed(options: Options) -> Iterator[Row]:
    for coordinates, samples in SIZES.items():
        for how, stated in STATED.items():
            exact, x = torch.full((coordinates,), 0.25), estimates(samples, coordinates)

            def run(exact: Tensor = exact, x: Tensor = x, stated: Any = stated) -> object:
                return sequential_test(drawn(x), exact, max_samples=len(x), batch=BATCH, **stated)

            runs = {
                "test": run,
                "logarithms": logarithms(samples, coordinates),
                "sampler": lambda n=samples, d=coordinates: estimates(n, d),
            }
            times = interleaved({name: timer(one) for name, one in runs.items()}, 3 if options.quick else ROUNDS)
            found = {
                "test / logarithms": ratio(times, "test", "logarithms", MOST),
                "test / sampler": ratio(times, "test", "sampler"),
                "ours": figure([seconds / samples for seconds in times["test"]], unit="s"),
            }
            yield Row({"coordinates": str(coordinates), "stated": how}, found)


def alarms(runs: int, bounds: tuple[float, float] | None = None, variance: float | None = None) -> int:
    """Return how many of the runs are rejected at any of their samples."""
    null, found = null_hypothesis(torch.full((500,), 0.25), bounds, variance, RATE, 0.0), 0
    for _ in range(runs // 500):
        wealth, _ = running_log_wealth(estimates(SAMPLES, 500), null)
        found += int((wealth >= -math.log(RATE)).any(0).sum())
    return found


def power(options: Options) -> Iterator[Row]:
    torch.manual_seed(0)
    runs, seeds = (1_000, 10) if options.quick else (RUNS, SEEDS)
    for name, stated in STATED.items():
        reports = [sequential_test(sampler(0.95), 0.25, seed=seed, **stated) for seed in range(seeds)]
        used = [float(report.samples) for report in reports if report.rejected]
        found = {
            "alarms": once(alarms(runs, **stated) / (runs * RATE), 1.0),
            "samples": figure(used),
            "most samples": once(max(used)),
            "guaranteed by": once(float(reports[0].samples_for(0.0125))),
        }
        yield Row({"stated": name, "found": f"{len(used)} of {seeds}"}, found)


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the tables of this file, and their rows as they come."""
    yield Table("Speed of the sequential test", SPEED), speed(options)
    yield Table("Power of the sequential test", POWER), power(options)
