"""An anytime-valid test that the mean of a gradient estimate is the exact gradient, where outcomes cannot be enumerated.

It may look after every sample and stop when it likes; an unbiased estimator is rejected with probability at most alpha. That
is a theorem for estimates within stated bounds, or with a stated bound of their variance; the proof stands in
`numeric.checking.capital`. Without either there is no valid test: a huge value of tiny probability may carry any part of the
mean and never be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field as field_of, fields
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.checking.capital import POWER, Null, Number, demand, null_hypothesis, tensor_of
from numeric.checking.wealth import Capitals

SCHEMA = "gradproof/sequential-test/1"
LARGEST = torch.finfo(torch.float64).max

Sampler: TypeAlias = Callable[[int], Tensor]
Progress: TypeAlias = Callable[[int, int, float], None]


@dataclass(frozen=True)
class SequentialReport:
    """What `sequential_test` found.

    Args
        rejected     whether the mean is not the exact gradient; wrong with probability at most alpha
        samples      how many estimates were used: up to the rejection, or all
        log_wealth   the logarithm of the capital, in the coordinate where it is largest
        threshold    the log wealth that rejects: log(coordinates / alpha)
        alpha        the guaranteed false-alarm rate
        method       "betting" for bounds, "catoni" for a variance
        coordinate   where the capital is largest, an index into the flattened gradient
        mean, exact  the mean of the samples and the exact gradient in that coordinate
        vacuous      whether exact gradient and all samples are zero in every coordinate: a sampler of zeros passes as well
    """

    rejected: bool
    samples: int
    log_wealth: float
    threshold: float
    alpha: float
    method: str
    coordinate: int
    mean: float
    exact: float
    vacuous: bool
    _null: Null = field_of(repr=False, compare=False)

    @cached_property
    def smallest_detectable_bias(self) -> float:
        """The bias that these samples find with probability at least 0.99, in any coordinate; inf where there is none.

        That holds for every law within the bounds and the variance; a larger bias is found too.
        """
        return self._null.detectable(self.samples)

    def samples_for(self, bias: float) -> int:
        """Return how many samples find a bias of this size with probability at least 0.99; errors as `samples_needed`."""
        return self._null.samples_for(bias)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a dictionary that `json.dumps` takes; an infinite bias is null."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.compare}
        bias = self.smallest_detectable_bias
        return {"schema": SCHEMA, **values, "smallest_detectable_bias": bias if math.isfinite(bias) else None, "power": POWER}

    def __str__(self) -> str:
        wealth = f"log wealth {self.log_wealth:.2f} (rejects at {self.threshold:.2f})"
        if self.rejected:
            return (
                f"REJECTED after {self.samples} samples: coordinate {self.coordinate} has mean {self.mean:.6g}, exact "
                f"{self.exact:.6g}; {wealth}; an unbiased estimator is rejected with probability at most {self.alpha:g}"
            )
        if self.vacuous:
            return f"VACUOUS after {self.samples} samples: they and the exact gradient are zero; test at other parameters"
        seen = f"a bias of {self.smallest_detectable_bias:.2g} or more would have been found"
        none = "no bias that the bounds allow would have been found for certain; take more samples"
        found = seen if math.isfinite(self.smallest_detectable_bias) else none
        return f"not rejected after {self.samples} samples; {wealth}; {found} with probability {POWER} ({self.method})"


def sequential_test(
    sampler: Sampler,
    exact: Number,
    *,
    bounds: tuple[Number, Number] | None = None,
    variance: Number | None = None,
    alpha: float = 1e-9,
    max_samples: int = 100_000,
    batch: int = 1_000,
    seed: int | None = 0,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> SequentialReport:
    """Test whether the mean of independent gradient estimates is the exact gradient.

    Args
        sampler      count to a tensor of `count` independent estimates, shape (count, *shape of exact)
        exact        the exact gradient, any shape
        bounds       (low, high) for every estimate, numbers or tensors that broadcast to the shape of exact
        variance     an upper bound of the variance of an estimate; beside bounds it only sharpens the bias that is stated
        alpha        the guaranteed false-alarm rate, over all coordinates and all times
        max_samples  where to stop
        batch        how many estimates are asked for at once
        seed         seeds torch's global generators for the call, and puts them back; None leaves them as they are
        tolerance    a bias of this size is never an alarm; by default the rounding unit of the estimates' dtype, at their size
        progress     called with (samples so far, max_samples, log wealth) after each batch

    Raises
        UsageError, if there are neither bounds nor a variance, an estimate lies outside of the bounds, an argument is not as it
        must be, or the sampler returns the same numbers again because it seeds itself.
    Source
        waudby-smith-2024; wang-2023; catoni-2012; ville-1939

    >>> report = sequential_test(lambda n: torch.bernoulli(torch.full((n,), 0.55)), 0.5, bounds=(0, 1))
    >>> report.rejected, report.samples < 10_000
    (True, True)
    """
    _demand_sizes(max_samples, batch)
    shape = tensor_of(exact, "exact").shape
    null = null_hypothesis(exact, bounds, variance, alpha, 0.0 if tolerance is None else tolerance)
    test = _Running(sampler, shape, null, by_dtype=tolerance is None)
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    with nullcontext() if seed is None else torch.random.fork_rng(devices=devices):
        if seed is not None:
            torch.manual_seed(seed)
        while test.samples < max_samples and not test.rejected:
            test.advance(min(batch, max_samples - test.samples))
            if progress is not None:
                progress(test.samples, max_samples, float(test.capitals.log_wealth().amax()))
    return test.report()


def samples_needed(
    bias: float,
    exact: Number,
    *,
    bounds: tuple[Number, Number] | None = None,
    variance: Number | None = None,
    alpha: float = 1e-9,
) -> int:
    """Return how many samples find a bias of this size, in any coordinate, with probability at least 0.99.

    It holds for every law within the bounds and the variance, so most biases are found earlier; arguments as `sequential_test`.

    Raises
        UsageError, if the bias is not positive, or there are neither bounds nor a variance, or no estimate within the bounds
        has such a bias.

    >>> samples_needed(0.05, 0.5, bounds=(0, 1)) < 15_000
    True
    """
    return null_hypothesis(exact, bounds, variance, alpha, 0.0).samples_for(bias)


# The run


class _Running:
    """A test that is under way."""

    def __init__(self, sampler: Sampler, shape: torch.Size, null: Null, *, by_dtype: bool) -> None:
        self.sampler, self.shape, self.null, self.by_dtype = sampler, shape, null, by_dtype
        self.samples, self.rejected = 0, False
        self.total = torch.zeros_like(null.exact)
        self.silent = not bool(null.exact.any())
        self.last: tuple[Tensor, Tensor] | None = None

    @cached_property
    def capitals(self) -> Capitals:
        """The capitals of the gambler, once the first estimates have said what is rounding."""
        return Capitals(self.null)

    def advance(self, count: int) -> None:
        """Draw a batch and take its samples, up to the first that rejects."""
        x = self._drawn(count)
        used = self.capitals.take(x)
        if used is not None:
            self.rejected, x = True, x[:used]
        self.total += x.sum(0)
        self.silent = self.silent and not bool(x.any())
        self.samples += len(x)

    def _drawn(self, count: int) -> Tensor:
        drawn = self.sampler(count)
        expected = (count, *self.shape)
        if not isinstance(drawn, Tensor) or tuple(drawn.shape) != expected or not drawn.is_floating_point():
            got = f"{drawn.dtype} of shape {tuple(drawn.shape)}" if isinstance(drawn, Tensor) else type(drawn).__name__
            message = f"the sampler must return floating point estimates of shape {expected} for count={count}; got {got}."
            raise UsageError(message)
        if self.by_dtype:
            self.null, self.by_dtype = self.null.with_rounding(torch.finfo(drawn.dtype).eps), False
        x = drawn.detach().to("cpu", torch.float64).reshape(count, -1)
        _demand_inside(x, self.null)
        self._refuse_repetition(x)
        return x

    def _refuse_repetition(self, x: Tensor) -> None:
        state = torch.get_rng_state()
        again = self.last is not None and torch.equal(self.last[0], x) and torch.equal(self.last[1], state)
        if again and bool((x != x[0]).any()):
            message = "the sampler returned the same estimates again: it seeds itself; samples must be independent."
            raise UsageError(message)
        self.last = (x, state)

    def report(self) -> SequentialReport:
        """Return what was found so far."""
        null, wealth = self.null, self.capitals.log_wealth()
        at = int(wealth.argmax())
        return SequentialReport(
            rejected=self.rejected,
            samples=self.samples,
            log_wealth=float(wealth[at]),
            threshold=null.threshold,
            alpha=null.alpha,
            method=null.method,
            coordinate=at,
            mean=float(self.total[at]) / self.samples,
            exact=float(null.exact[at]),
            vacuous=self.silent,
            _null=null,
        )


# Checks at the door


def _demand_sizes(*sizes: object) -> None:
    for size in sizes:
        valid = isinstance(size, int) and not isinstance(size, bool) and size > 0
        demand(valid, f"max_samples and batch must be positive integers; got {size!r}.")


def _demand_inside(x: Tensor, null: Null) -> None:
    if torch.equal(x, x.clamp(-LARGEST, LARGEST) if null.low is None else x.clamp(null.low, null.high)):
        return
    demand(bool(x.isfinite().all()), "the sampler returned an estimate that is nan or infinite: there is no mean to test.")
    if null.low is None or null.high is None:
        return
    outside = ((x < null.low) | (x > null.high)).nonzero()
    if len(outside):
        row, at = map(int, outside[0])
        message = (
            f"an estimate of coordinate {at} is {float(x[row, at])!r}, outside of the bounds {float(null.low[at])!r} to "
            f"{float(null.high[at])!r}: the bounds must hold for every estimate, rounding included; state wider ones."
        )
        raise UsageError(message)
