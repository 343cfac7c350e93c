"""One concrete family, integrated: a Bernoulli variable with logit theta and its logistic relaxation.

    b = H(z),  z = logit(p) + logit(u),  s = sigmoid(z / lambda),  p = sigmoid(theta),  u uniform on (0, 1)

z has the logistic density rho(z) = u (1 - u) around theta, and z_tilde has it restricted to the side of 0 that b says. For
fixed noise dz/dtheta = 1, and d z_tilde/dtheta = 1 - (1 - p)/u where b = 1, 1 - p/(1 - u) where b = 0. Every estimator here is
A_b(z_tilde) + B(z) with independent z and z_tilde given b, so its mean and variance are made of integrals over z. They are
enclosed by balls; where nothing is relaxed they are exact fractions. All gradients are with respect to theta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from derive.language.errors import UsageError
from derive.numbers.enclosures import Enclosure, enclosed
from derive.numbers.ring import Ball, ball, integral, precision, spread

Polynomial: TypeAlias = tuple[Fraction, ...]
Integrand: TypeAlias = Callable[[Any, Any], Any]  # of s and u

BITS, CUT = 100, 100


@dataclass(frozen=True)
class Moments:
    """The mean and the variance of an estimator."""

    mean: Enclosure
    variance: Enclosure


@dataclass(frozen=True)
class RelaxedBernoulli:
    """A Bernoulli variable, its relaxation, and an integrand that is a polynomial in b, extended to [0, 1].

    Args
        probability   p = P(b = 1), between 0 and 1
        integrand     the coefficients of 1, b, b^2, ...
        temperature   lambda, positive; of no account where nothing is relaxed
    Raises
        UsageError, if the probability is not between 0 and 1, or the temperature is not positive.

    >>> half = Fraction(1, 2)
    >>> RelaxedBernoulli(half, (Fraction(0), Fraction(1))).score_function().variance.middle
    Fraction(1, 16)
    """

    probability: Fraction
    integrand: Polynomial
    temperature: Fraction = Fraction(1, 2)

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            message = f"the probability must lie strictly between 0 and 1, got {self.probability}."
            raise UsageError(message)
        if self.temperature <= 0:
            message = f"the temperature must be positive, got {self.temperature}."
            raise UsageError(message)

    # Exact fractions

    @property
    def gradient(self) -> Fraction:
        """The gradient of E[f(b)]: p (1 - p) (f(1) - f(0))."""
        return self._spread * (evaluate(self.integrand, 1) - evaluate(self.integrand, 0))

    @property
    def optimal_baseline(self) -> Fraction:
        """The constant baseline of least variance, E[f s^2] / E[s^2] = (1 - p) f(1) + p f(0): the variance is then 0."""
        p = self.probability
        return (1 - p) * evaluate(self.integrand, 1) + p * evaluate(self.integrand, 0)

    def score_function(self) -> Moments:
        """Return the moments of f(b) (b - p)."""
        return self.constant_baseline(Fraction(0))

    def constant_baseline(self, baseline: Fraction) -> Moments:
        """Return the moments of (f(b) - baseline) (b - p)."""
        p = self.probability
        values = [(evaluate(self.integrand, b) - baseline) * (b - p) for b in (0, 1)]
        mean = (1 - p) * values[0] + p * values[1]
        return Moments(Enclosure(mean), Enclosure((1 - p) * values[0] ** 2 + p * values[1] ** 2 - mean**2))

    @property
    def leading_bias(self) -> Fraction:
        """The limit of the bias of `concrete` over lambda, as lambda goes to 0.

        With z = lambda t, E f(s) - E f(b) = lambda rho(0) I + O(lambda^2), where I is the integral of f(sigmoid(t)) - f(H(t)).
        For f = b^n, s = sigmoid(t) and dt = ds / (s (1 - s)): I_1 = 0, and I_n - I_(n-1) is minus the integral of s^(n-2),
        that is -1/(n - 1). The density at 0 is p (1 - p), and its derivative p (1 - p) (1 - 2p).
        """
        harmonic, size = Fraction(0), Fraction(0)
        for n, coefficient in enumerate(self.integrand[2:], 2):
            harmonic += Fraction(1, n - 1)
            size -= coefficient * harmonic
        return self._spread * (1 - 2 * self.probability) * size

    @property
    def leading_variance(self) -> Fraction:
        """The limit of lambda times the variance of `concrete`, as lambda goes to 0.

        The estimate is f'(s) s (1 - s) / lambda, so its square has the mean rho(0) / lambda times the integral of
        f'(s)^2 s (1 - s) over (0, 1), up to O(1).
        """
        slope = derivative(self.integrand)
        pairs = ((i + j, c * d) for i, c in enumerate(slope) for j, d in enumerate(slope))
        return self._spread * sum((c * (Fraction(1, n + 2) - Fraction(1, n + 3)) for n, c in pairs), start=Fraction(0))

    @property
    def _spread(self) -> Fraction:
        return self.probability * (1 - self.probability)

    # Enclosures

    def concrete(self) -> Moments:
        """Return the moments of d f(s)/dtheta, the gradient of the relaxed objective."""
        with precision(BITS):
            mean, square = ball(0), ball(0)
            for b in (0, 1):
                slope, largest = self._slope(self.integrand), self._largest_slope(self.integrand)
                mean, square = mean + self._mean(b, slope, largest), square + self._mean(b, _squared(slope), largest**2)
            return _moments(mean, square)

    def concrete_bias(self) -> Enclosure:
        """Return the mean of `concrete` minus the gradient of E[f(b)]."""
        mean = self.concrete().mean
        return Enclosure(mean.middle - self.gradient, mean.radius)

    def rebar(self, eta: Fraction) -> Moments:
        """Return the moments of REBAR, whose control variate is eta f(s)."""
        return self.relax(tuple(eta * c for c in self.integrand))

    def relax(self, control: Polynomial) -> Moments:
        """Return the moments of RELAX with the control variate c(z) = C(s).

        The estimate is (f(b) - C(s_tilde)) (b - p) + d C(s)/dtheta - d C(s_tilde)/dtheta.

        Args
            control   the coefficients of C
        """
        with precision(BITS):
            return _moments(*self._relaxed(self.integrand, control)[:2])

    def optimal_eta(self) -> Enclosure:
        """Return the eta of least variance of REBAR, Cov(g, h) / Var(h): g the score function estimate, g - eta h REBAR.

        Raises
            UsageError, if the control variate does not vary, so that every eta is the best.
        """
        with precision(BITS):
            _, variance, means = self._relaxed((), self.integrand)
            values = [evaluate(self.integrand, b) * (b - self.probability) for b in (0, 1)]
            covariance = sum((ball(value) * mean for value, mean in zip(values, means, strict=True)), start=ball(0))
            if not variance > 0:
                message = "the control variate does not vary: every eta gives the same variance."
                raise UsageError(message)
            return enclosed(-covariance / variance)

    # Integrals over z, on the side of 0 that b says

    def _relaxed(self, integrand: Polynomial, control: Polynomial) -> tuple[Ball, Ball, list[Ball]]:
        """Return the mean and the mean square of RELAX, and the mean on each side."""
        mean, square, means = ball(0), ball(0), []
        for b, weight in ((0, 1 - self.probability), (1, self.probability)):
            outer, slope = self._conditional(b, integrand, control), self._slope(control)
            largest = self._largest_slope(control)
            most = largest + sum(abs(c) for c in (*integrand, *control))
            first, second = self._mean(b, outer, most), self._mean(b, slope, largest)
            squares = self._mean(b, _squared(outer), most**2) + self._mean(b, _squared(slope), largest**2)
            mean, square = mean + first + second, square + squares + 2 * first * second / ball(weight)
            means.append(first + second)
        return mean, square, means

    def _mean(self, b: int, function: Integrand, most: Fraction) -> Ball:
        """Return E[function; b], where the function is at most `most`; e > 2 bounds what lies beyond the cut."""
        odds = ball(self.probability / (1 - self.probability))
        rate = ball(1 / self.temperature)

        def weighted(z: Any) -> Any:
            u = 1 / (1 + odds * (-z).exp())
            return function(1 / (1 + (-z * rate).exp()), u) * u * (1 - u)

        ends = (ball(0), ball(CUT)) if b else (ball(-CUT), ball(0))
        tail = max(self.probability, 1 - self.probability) / min(self.probability, 1 - self.probability)
        return integral(weighted, *ends) + spread(tail * most / 2**CUT)

    def _slope(self, control: Polynomial) -> Integrand:
        """Return d C(s)/dtheta = C'(s) s (1 - s) / lambda."""
        slope, rate = _balls(derivative(control)), ball(1 / self.temperature)
        return lambda s, u: _horner(slope, s) * s * (1 - s) * rate

    def _largest_slope(self, control: Polynomial) -> Fraction:
        return sum((abs(c) for c in derivative(control)), start=Fraction(0)) / (4 * self.temperature)

    def _conditional(self, b: int, integrand: Polynomial, control: Polynomial) -> Integrand:
        """Return (f(b) - C(s_tilde)) (b - p) - d C(s_tilde)/dtheta, with z_tilde on the side that b says."""
        value, score, slope = ball(evaluate(integrand, b)), ball(b - self.probability), self._slope(control)
        other, coefficients = ball(1 - self.probability if b else self.probability), _balls(control)
        return lambda s, u: (value - _horner(coefficients, s)) * score - slope(s, u) * (1 - other / (u if b else 1 - u))


def evaluate(polynomial: Polynomial, at: Fraction | int) -> Fraction:
    """Return the value of a polynomial that is given by its coefficients.

    >>> evaluate((Fraction(1), Fraction(2)), 3)
    Fraction(7, 1)
    """
    return sum((c * at**n for n, c in enumerate(polynomial)), start=Fraction(0))


def derivative(polynomial: Polynomial) -> Polynomial:
    """Return the coefficients of the derivative.

    >>> derivative((Fraction(1), Fraction(2), Fraction(3)))
    (Fraction(2, 1), Fraction(6, 1))
    """
    return tuple(n * c for n, c in enumerate(polynomial))[1:]


def _squared(function: Integrand) -> Integrand:
    return lambda s, u: function(s, u) ** 2


def _balls(polynomial: Polynomial) -> list[Ball]:
    return [ball(c) for c in polynomial]


def _horner(coefficients: list[Ball], at: Any) -> Any:
    result = at * 0
    for c in reversed(coefficients):
        result = result * at + c
    return result


def _moments(mean: Ball, square: Ball) -> Moments:
    return Moments(enclosed(mean), enclosed(square - mean * mean))
