"""The capital of a gambler who bets against "the mean is m", sample after sample: the mathematics of the sequential test.

The gambler starts with capital 1. If every estimate has mean m, the capital K_t is a nonnegative supermartingale, so
P(K_t >= 1/alpha for any t) <= alpha (Ville's inequality, ville-1939): the test may look after every sample and stop when it
likes, and an unbiased estimator is rejected with probability at most alpha.

Bounds (waudby-smith-2024): for a <= x <= b and a fixed bet 0 <= L < 1/(m - a),

    E[1 + L (x - m)] = 1   and   1 + L (x - m) > 0,   so the product over samples is a nonnegative martingale;

the same with -L for 0 <= L < 1/(b - m). Variance (catoni-2012, wang-2023): with phi(x) = log(1 + x + x^2/2) for x >= 0 and
-log(1 - x + x^2/2) below, exp(phi(x)) <= 1 + x + x^2/2, and so for Var(x) <= v

    E[exp(phi(L (x - m)))] / (1 + L^2 v / 2) <= 1.

The capital is the mean of such products over a fixed grid of bets L and both signs: a mean of nonnegative supermartingales is
one. Several coordinates are tested at alpha / (number of coordinates) each (Bonferroni), and may depend on each other.

What a test could have seen is bounded too. A bet whose capital is W_n makes up a part of K_n, so a miss implies W_n < w for a
known w, and by Markov's inequality P(W_n < w) <= w^s E[W_1^-s]^n for every s > 0.
Bounds: among the laws on [a, b] with mean u and variance at most v, E[(1 + L (x - m))^-s] is largest on the two points a and
c = u + v / (u - a), because the parabola through its values there, with its slope at c, lies above it (its third derivative is
negative). Variance: exp(-phi(y)) <= 1 - y + y^2/2, and s = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError

POWER = 0.99
BETS = 14
ELEMENTS = 2**19
LARGEST_BET = 15 / 16
WIDEST = 2.0**10
_OVERFLOW = 1e150

Number: TypeAlias = float | Tensor


@dataclass(frozen=True)
class Null:
    """The null hypothesis, coordinate by coordinate: |mean - exact| <= tolerance, with bounds or a variance.

    Args
        exact      (d,)
        low, high  (d,) or None
        variance   (d,) or None
        alpha      over all coordinates
        tolerance  see `sequential_test`
    """

    exact: Tensor
    low: Tensor | None
    high: Tensor | None
    variance: Tensor | None
    alpha: float
    tolerance: float

    @property
    def method(self) -> str:
        """The kind of bets: "betting" within bounds, "catoni" for a variance."""
        return "catoni" if self.low is None else "betting"

    @property
    def threshold(self) -> float:
        """The log wealth in one coordinate that rejects."""
        return math.log(self.exact.numel() / self.alpha)

    def with_rounding(self, unit: float) -> Null:
        """Tolerate the rounding of numbers as large as the estimates."""
        largest = [self.exact.abs(), *(part.abs() for part in (self.low, self.high) if part is not None)]
        return replace(self, tolerance=unit * float(torch.stack(largest).amax()))

    def side(self, sign: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return center, bets and variance for one sign: the mean that is bet against, moved by the tolerance.

        Bets have shape (bets, d), the others (d,). Estimates are to be multiplied by the sign: every bet is on a larger mean.
        """
        center = sign * self.exact + self.tolerance
        scales = 0.5 ** torch.arange(BETS, dtype=torch.float64)[:, None]
        if self.low is not None and self.high is not None:
            lowest = self.low if sign > 0 else -self.high
            return center, LARGEST_BET * scales / (center - lowest), center
        if self.variance is None:
            raise UsageError(_NEITHER)
        spread = self.variance + 4 * self.tolerance**2
        return center, 2 * scales / spread.sqrt(), spread

    def log_factors(self, x: Tensor) -> Tensor:
        """Return the logarithms by which each bet multiplies its capital: x (n, d) to (n, 2 * bets, d)."""
        return torch.stack([self._log_factors(sign * x, *self.side(sign)) for sign in (1, -1)], 2).flatten(1, 2)

    def _log_factors(self, x: Tensor, center: Tensor, bets: Tensor, spread: Tensor) -> Tensor:
        y = bets * (x - center)[:, None, :]
        if self.method == "betting":
            return torch.log1p(y)
        y = y.clamp(-_OVERFLOW, _OVERFLOW)
        return torch.sign(y) * torch.log1p(y.abs() + y.square() / 2) - torch.log1p(bets.square() * spread / 2)

    def log_misses(self, bias: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """Return A, B of shape (bets, powers, d) with P(not rejected after n samples) <= exp(A + n B) for each of them.

        The bias has shape (d,) and the given sign; the proof is in the docstring of this module.
        """
        center, bets, spread = self.side(sign)
        limit = self.threshold + math.log(2 * BETS)
        gap = bias - self.tolerance
        if self.low is None or self.high is None:
            moments = self.variance + gap.square()  # type: ignore[operator]
            per_sample = torch.log1p(bets.square() * spread / 2) + torch.log1p(-bets * gap + bets.square() * moments / 2)
            return torch.full_like(per_sample, limit)[:, None], per_sample[:, None]
        lowest, highest = (self.low, self.high) if sign > 0 else (-self.high, -self.low)
        above = (center + gap - lowest).clamp(max=highest - lowest)
        widest = above * (highest - lowest - above)
        v = widest if self.variance is None else torch.minimum(widest, self.variance)
        probability = v / (v + above.square())
        powers = 2.0 ** torch.arange(-6, 4, dtype=torch.float64)[:, None]
        at_lowest = torch.log1p(bets * (lowest - center))[:, None] * -powers
        at_other = torch.log1p(bets * (gap + v / above))[:, None] * -powers
        per_sample = torch.logaddexp(probability.log() + at_lowest, torch.log1p(-probability) + at_other)
        return (limit * powers).expand_as(per_sample), per_sample

    def samples_of(self, bias: Tensor) -> Tensor:
        """Return how many samples find such a bias of either sign, as far as the bounds allow it: (d,) to float64 (d,)."""
        needed = torch.ones_like(bias)
        for sign in (1, -1):
            start, per_sample = self.log_misses(bias, sign)
            counts = torch.where(per_sample < 0, (start - math.log(1 - POWER)) / -per_sample, torch.inf)
            best = counts.amin((0, 1)).ceil()
            room = self._room(sign)
            needed = torch.where(bias <= room, torch.maximum(needed, best), needed)
        return torch.where(bias > self.tolerance, needed, torch.inf)

    def _room(self, sign: int) -> Tensor:
        """How large a bias of one sign can be."""
        if self.low is None or self.high is None:
            return torch.full_like(self.exact, torch.inf)
        return self.high - self.exact if sign > 0 else self.exact - self.low

    def samples_for(self, bias: float) -> int:
        """Return how many samples find a bias of this size, in any coordinate, with probability `POWER`.

        Raises
            UsageError, if the bias is not above the tolerance, or more than the bounds allow, or too small for the bets.
        """
        room = float(torch.maximum(self._room(1), self._room(-1)).amax())
        if not (isinstance(bias, (int, float)) and self.tolerance < bias <= room):
            message = f"a bias must be above {self.tolerance:g}, and at most {room:g} for the bounds to allow it; got {bias!r}."
            raise UsageError(message)
        needed = float(self.samples_of(torch.full_like(self.exact, bias)).amax())
        if not math.isfinite(needed):
            message = f"a bias of {bias:g} is too small for the bets of this test; ask for a larger one."
            raise UsageError(message)
        return int(needed)

    def detectable(self, samples: int) -> float:
        """Return the bias from which on so many samples suffice, in the worst coordinate; inf where there is none."""
        room = torch.maximum(self._room(1), self._room(-1))
        top = torch.where(room.isfinite(), room, WIDEST * self._spread())
        low, high = torch.full_like(top, self.tolerance), top
        for _ in range(60):
            middle = (low + high) / 2
            enough = self.samples_of(middle) <= samples
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return float(torch.where(self.samples_of(high) <= samples, high, torch.inf).amax())

    def _spread(self) -> Tensor:
        return torch.ones_like(self.exact) if self.variance is None else self.variance.sqrt()


def running_log_wealth(x: Tensor, null: Null, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the log wealth after each sample, x (n, d) to (n, d), and the logarithms of all capitals after the last one.

    >>> null = null_hypothesis(0.5, (0, 1), None, 1e-9, 0.0)
    >>> heads = torch.ones(100, 1, dtype=torch.float64)
    >>> bool(running_log_wealth(heads, null)[0][-1] > null.threshold)
    True
    """
    capitals = x.new_zeros(2 * BETS, x.shape[1]) if start is None else start
    rows = max(1, ELEMENTS // (2 * BETS * x.shape[1]))
    wealth = []
    for part in torch.split(x, rows):
        grown = null.log_factors(part).cumsum(0) + capitals
        wealth.append(torch.logsumexp(grown, 1) - math.log(2 * BETS))
        capitals = grown[-1]
    return torch.cat(wealth), capitals


# Checks at the door

_NEITHER = (
    "a test of the mean needs bounds=(low, high) of the estimates, or an upper bound of their variance: without either there "
    "is no valid test, for a huge value of tiny probability may carry any part of the mean and never be drawn."
)


def null_hypothesis(
    exact: Number, bounds: tuple[Number, Number] | None, variance: Number | None, alpha: float, tolerance: float
) -> Null:
    """Return the null hypothesis of a test; arguments as `sequential_test`.

    Raises
        UsageError, if there are neither bounds nor a variance, or one of the arguments is not as it must be.

    >>> null_hypothesis(0.5, (0, 1), None, 1e-9, 0.0).method
    'betting'
    """
    if bounds is None and variance is None:
        raise UsageError(_NEITHER)
    demand(isinstance(alpha, float) and 0 < alpha < 1, f"alpha must be a number strictly between 0 and 1; got {alpha!r}.")
    valid = isinstance(tolerance, (int, float)) and 0 <= tolerance < math.inf
    demand(valid, f"tolerance must be a finite number that is not negative; got {tolerance!r}.")
    target = tensor_of(exact, "exact")
    flat, low, high = target.reshape(-1), None, None
    if bounds is not None:
        demand(isinstance(bounds, (tuple, list)) and len(bounds) == 2, f"bounds must be a pair (low, high); got {bounds!r}.")
        low, high = (_spread_over(bound, target, name) for bound, name in zip(bounds, ("low", "high"), strict=True))
        inside = bool(((low < flat - tolerance) & (flat + tolerance < high)).all())
        demand(inside, "the exact gradient must lie strictly inside the bounds in every coordinate: state wider ones.")
    spread = None if variance is None else _spread_over(variance, target, "variance")
    demand(spread is None or bool((spread > 0).all()), f"variance must be positive in every coordinate; got {variance!r}.")
    return Null(flat, low, high, spread, alpha, float(tolerance))


def demand(condition: bool, message: str) -> None:
    """Raise a UsageError with the message unless the condition holds."""
    if not condition:
        raise UsageError(message)


def tensor_of(value: Number, name: str) -> Tensor:
    """Return a number or a tensor as a float64 tensor on the CPU.

    Raises
        UsageError, if it is neither, or not finite.
    """
    valid = isinstance(value, (int, float, Tensor)) and not isinstance(value, bool)
    demand(valid, f"{name} must be a number or a tensor; got a {type(value).__name__}.")
    tensor = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    demand(tensor.numel() > 0 and bool(tensor.isfinite().all()), f"{name} must have finite entries, at least one.")
    return tensor


def _spread_over(value: Number, target: Tensor, name: str) -> Tensor:
    tensor = tensor_of(value, name)
    try:
        return tensor.expand(target.shape).reshape(-1)
    except RuntimeError as error:
        message = f"{name} has shape {tuple(tensor.shape)}, which does not broadcast to that of exact, {tuple(target.shape)}."
        raise UsageError(message) from error
