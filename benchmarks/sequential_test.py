"""The sequential test: false alarms in 10,000 runs, the samples that find a bias of 5 %, and the time of a sample.

    python benchmarks/sequential_test.py

The estimate is b (b - p) for b ~ Bernoulli(p), the score function gradient of E[b] in the logit, p = 1/2: mean 1/4, standard
deviation 1/4. The biased one is 0.95 times that, which is what a moving average does that is updated before it is subtracted.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from numeric.checking.capital import null_hypothesis, running_log_wealth
from numeric.checking.sequential_test import sequential_test

RUNS, SAMPLES, RATE, SEEDS = 10_000, 1_000, 1e-3, 50
STATED: dict[str, dict[str, Any]] = {"bounds (0, 1)": {"bounds": (0.0, 1.0)}, "variance 1/16": {"variance": 1 / 16}}


def estimates(*shape: int, factor: float = 1.0) -> Tensor:
    b = torch.bernoulli(torch.full(shape, 0.5, dtype=torch.float64))
    return factor * b * (b - 0.5)


def sampler(factor: float) -> Callable[[int], Tensor]:
    return lambda count: estimates(count, factor=factor)


def false_alarms(bounds: tuple[float, float] | None = None, variance: float | None = None) -> int:
    """Return how many of the runs are rejected at any of their samples."""
    null, alarms = null_hypothesis(torch.full((500,), 0.25), bounds, variance, RATE, 0.0), 0
    for _ in range(RUNS // 500):
        wealth, _ = running_log_wealth(estimates(SAMPLES, 500), null)
        alarms += int((wealth >= -math.log(RATE)).any(0).sum())
    return alarms


def main() -> None:
    """Print two lines for each way to state what is known."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, stated in STATED.items():
        alarms = false_alarms(**stated)
        print(f"{name}: {alarms} false alarms in {RUNS} runs of {SAMPLES} samples, rate {RATE:g}; nominal {RUNS * RATE:g}")
        reports = [sequential_test(sampler(0.95), 0.25, seed=seed, **stated) for seed in range(SEEDS)]
        used = [report.samples for report in reports if report.rejected]
        start = time.perf_counter()
        whole = sequential_test(sampler(1.0), 0.25, **stated)
        seconds = time.perf_counter() - start
        print(
            f"{name}: a bias of 5 % is found in {len(used)} of {SEEDS} runs at a rate of {whole.alpha:g}, after a median of "
            f"{statistics.median(used):.0f} samples, at most {max(used)}; guaranteed after {whole.samples_for(0.0125)}; "
            f"{seconds / whole.samples * 1e6:.1f} us a sample"
        )


if __name__ == "__main__":
    main()
