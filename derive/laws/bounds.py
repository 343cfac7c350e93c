"""The K-sample bounds on log p(x), for a latent variable with finitely many values, in certified numbers.

    L_K = E[log (w_1 + ... + w_K) / K],  w_i = p(x, z_i) / q(z_i),  z_i independent draws of q

A bound is a sum over multisets of values of a rational number times the logarithm of a rational number. It is kept in that
form, so that a difference of bounds that is exactly 0 is seen to be, and enclosed by ball arithmetic at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb, factorial, prod

from derive.language.errors import TooLarge, UsageError
from derive.numbers.enclosures import Enclosure, enclosed
from derive.numbers.ring import ball, precision

LIMIT = 100_000
BITS = 128


@dataclass(frozen=True)
class FiniteLatent:
    """A latent variable with finitely many values, at one observation x.

    Args
        proposal   q(z), positive, with sum 1
        joint      p(x, z), positive
    Raises
        UsageError, if the lengths differ, a number is not positive, or the proposal does not sum to 1.

    >>> half = Fraction(1, 2)
    >>> latent = FiniteLatent((half, half), (Fraction(1, 8), Fraction(3, 8)))
    >>> latent.evidence, latent.gap(1).above(0), latent.gain(2, 1).above(0)
    (Fraction(1, 2), True, True)
    """

    proposal: tuple[Fraction, ...]
    joint: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if len(self.proposal) != len(self.joint):
            message = f"proposal and joint must have equal lengths, got {len(self.proposal)} and {len(self.joint)}."
            raise UsageError(message)
        if any(value <= 0 for value in (*self.proposal, *self.joint)) or sum(self.proposal) != 1:
            message = "proposal and joint must be positive, and the proposal must sum to 1."
            raise UsageError(message)

    @property
    def weights(self) -> tuple[Fraction, ...]:
        """The importance weights p(x, z) / q(z)."""
        return tuple(p / q for p, q in zip(self.joint, self.proposal, strict=True))

    @property
    def evidence(self) -> Fraction:
        """p(x), the mean of the weights."""
        return sum(self.joint, start=Fraction(0))

    @property
    def variance(self) -> Fraction:
        """The variance of the weights."""
        squares = (q * w**2 for q, w in zip(self.proposal, self.weights, strict=True))
        return sum(squares, start=Fraction(0)) - self.evidence**2

    def bound(self, samples: int) -> Enclosure:
        """Return L_K, where K is the number of samples.

        Raises
            UsageError, if the number of samples is below 1.
            TooLarge, if there are too many multisets of values.
        """
        return _enclosed(self._logarithms(samples))

    def gap(self, samples: int) -> Enclosure:
        """Return log p(x) - L_K, which is at least 0 by Jensen's inequality; errors as `bound`."""
        return _enclosed(_minus({self.evidence: Fraction(1)}, self._logarithms(samples)))

    def gain(self, more: int, fewer: int) -> Enclosure:
        """Return L_K - L_M for K = `more` and M = `fewer`, which is at least 0 for K >= M; errors as `bound`.

        The mean of K weights is the mean, over subsets of M of them, of their means: Jensen's inequality again.
        """
        return _enclosed(_minus(self._logarithms(more), self._logarithms(fewer)))

    def largest_gap(self, samples: int) -> Fraction:
        """Return a number that the gap does not exceed, Var(w) / (2 K min(w)^2): it goes to 0, so L_K goes to log p(x).

        With y the mean weight over p(x), log y >= (y - 1) - (y - 1)^2 / (2 min(y)^2), E[y] = 1, Var(y) = Var(w) / (K p(x)^2).
        """
        return self.variance / (2 * samples * min(self.weights) ** 2)

    @property
    def limit_of_gap(self) -> Fraction:
        """The limit of K times the gap, Var(w) / (2 p(x)^2), by the second-order term of the logarithm."""
        return self.variance / (2 * self.evidence**2)

    def _logarithms(self, samples: int) -> dict[Fraction, Fraction]:
        """Return L_K as a sum of coefficients times logarithms: the coefficient of each argument."""
        _demand_feasible(len(self.proposal), samples)
        weights, result = self.weights, dict[Fraction, Fraction]()
        for draw in combinations_with_replacement(range(len(weights)), samples):
            mean = sum((weights[k] for k in draw), start=Fraction(0)) / samples
            result[mean] = result.get(mean, Fraction(0)) + _chance(draw, self.proposal)
        return result


def bound_and_gradient(
    proposal: Sequence[Fraction], log_joint: Sequence[Fraction], tangents: Sequence[Sequence[Fraction]], samples: int
) -> tuple[Enclosure, tuple[Enclosure, ...]]:
    """Return L_K and its derivatives, by the sum over all multisets of values.

    With scores s = dq/q and L the logarithm of the mean weight, the chances contribute (s_1 + ... + s_K) L to the derivative,
    and the weights -(w_1 s_1 + ... + w_K s_K) / (w_1 + ... + w_K).

    Args
        proposal   q(z), positive
        log_joint  log p(x, z)
        tangents   for each parameter the derivatives of the proposal
        samples    K

    Raises
        UsageError, if the number of samples is below 1.
        TooLarge, if there are too many multisets of values.

    >>> half, quarter = Fraction(1, 2), Fraction(1, 4)
    >>> bound, (slope,) = bound_and_gradient((half, half), (Fraction(0), Fraction(1)), ((-quarter, quarter),), 1)
    >>> slope.contains(quarter), bound.above(1)
    (True, True)
    """
    _demand_feasible(len(proposal), samples)
    with precision(BITS):
        weights = [ball(f).exp() / ball(q) for f, q in zip(log_joint, proposal, strict=True)]
        scores = [[ball(dq / q) for dq, q in zip(tangent, proposal, strict=True)] for tangent in tangents]
        bound, slopes = ball(0), [ball(0) for _ in tangents]
        for draw in combinations_with_replacement(range(len(weights)), samples):
            chance = ball(_chance(draw, proposal))
            total = sum((weights[k] for k in draw), start=ball(0))
            value = (total / samples).log()
            bound += chance * value
            shares = [value - weights[k] / total for k in draw]
            for i, score in enumerate(scores):
                slopes[i] += chance * sum((score[k] * share for k, share in zip(draw, shares, strict=True)), start=ball(0))
        return enclosed(bound), tuple(enclosed(slope) for slope in slopes)


def _chance(draw: tuple[int, ...], proposal: Sequence[Fraction]) -> Fraction:
    """Return the probability of a multiset of values."""
    ways = factorial(len(draw)) // prod(factorial(draw.count(k)) for k in set(draw))
    return ways * prod((proposal[k] for k in draw), start=Fraction(1))


def _demand_feasible(values: int, samples: int) -> None:
    if samples < 1:
        message = f"the number of samples must be at least 1, got {samples}."
        raise UsageError(message)
    count = comb(values + samples - 1, samples)
    if count > LIMIT:
        message = (
            f"{samples} samples of {values} values have {count} multisets, more than the {LIMIT} that are feasible: "
            "take fewer samples or fewer values."
        )
        raise TooLarge(message)


def _minus(left: Mapping[Fraction, Fraction], right: Mapping[Fraction, Fraction]) -> dict[Fraction, Fraction]:
    zero = Fraction(0)
    return {arg: left.get(arg, zero) - right.get(arg, zero) for arg in left.keys() | right.keys()}


def _enclosed(logarithms: Mapping[Fraction, Fraction]) -> Enclosure:
    """Enclose a sum of coefficients times logarithms; exactly 0 where every coefficient is or every argument is 1."""
    left = {arg: coefficient for arg, coefficient in logarithms.items() if coefficient and arg != 1}
    if not left:
        return Enclosure(Fraction(0))
    with precision(BITS):
        return enclosed(sum((ball(coefficient) * ball(arg).log() for arg, coefficient in left.items()), start=ball(0)))
