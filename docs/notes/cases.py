"""Exact cases that several statements need: normal laws, a uniform law that moves, and a Bernoulli law relaxed at theta = 1/2.

The relaxation is that of note 001: z = log(theta / (1 - theta)) + log(u / (1 - u)), b = 1 where z >= 0. At theta = 1/2 and
temperature 1 the relaxed outcome is u itself, and its derivative in theta is 4 u (1 - u): everything is a polynomial.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import flint

from derive.estimator import Estimator
from derive.language.term import Exact, Term, lift
from derive.laws.models import RationalCase
from derive.notation import E, Over, finite, function, grad, normal, parameter, score, uniform
from docs.notes.checks import confirmed, moments, read, value
from docs.notes.statement import Check, Evidence, UnsupportedVerdict

HALF = Fraction(1, 2)
Polynomial = Callable[[Term], Term]

theta = parameter("theta")
z, epsilon = normal("z", theta, 1), normal("epsilon")
b, f = finite("b", theta), function("f")


def by_score(body: Polynomial) -> Estimator:
    """The score function estimator of d/dtheta E[body(z)], z normal with mean theta and variance 1."""
    return Estimator("by-score", body(z) * score(z), (z,), grad(E(body(z), z), theta))


def by_path(body: Polynomial) -> Estimator:
    """The pathwise estimator of the same gradient."""
    return Estimator("by-path", grad(body(theta + epsilon), theta), (epsilon,), grad(E(body(z), z), theta))


def quartic(x: Term) -> Term:
    """A polynomial for which the score function has the lower variance: x^4 - 10 x^2 + 15."""
    return x**4 - 10 * x**2 + 15


def variances(body: Polynomial) -> tuple[Fraction, Fraction]:
    """Return the variances of the score function and of the pathwise estimator at theta = 0.

    >>> variances(quartic)
    (Fraction(120, 1), Fraction(160, 1))
    >>> variances(lambda x: x**2)
    (Fraction(15, 1), Fraction(4, 1))
    """
    return moments(by_score(body), theta=0)[1], moments(by_path(body), theta=0)[1]


REVERSED = "variance for f(z) = z^4 - 10 z^2 + 15, z ~ N(theta, 1), theta = 0: pathwise against score function"
USUAL = "variance for f(z) = z^2, z ~ N(theta, 1), theta = 0: pathwise against score function"

moving = uniform("x", 0, theta)
MOVING = "f(x) = x, x ~ Uniform(0, theta), theta = 1: E[f(x) score(x)] against d/dtheta E[f(x)]"


def moving_values() -> tuple[Fraction, Fraction]:
    """Return E[x score(x)] and the gradient of E[x] for x uniform on (0, theta), at theta = 1.

    >>> moving_values()
    (Fraction(-1, 2), Fraction(1, 2))
    """
    return value(E(moving * score(moving), moving), theta=1), value(grad(E(moving, moving), theta), theta=1)


def bernoulli(p_1: Fraction, dp_1: Exact = 1, **tables: tuple[Exact, Exact]) -> RationalCase:
    """Return the case of two outcomes, the first one with probability p_1 that moves at rate dp_1."""
    rate = Fraction(dp_1)  # type: ignore[arg-type]
    return RationalCase.finite((p_1, 1 - p_1), (rate, -rate), **tables)  # type: ignore[arg-type]


# The relaxed Bernoulli law at theta = 1/2, temperature 1

u, v = uniform("u"), uniform("v")
low, high = uniform("u", 0, HALF), uniform("u", HALF, 1)


def concrete_at_one(slope: Polynomial) -> tuple[Fraction, Fraction]:
    """Return mean and variance of the Concrete estimator of E[f(b)], where `slope` is the derivative of f.

    >>> concrete_at_one(lambda s: s**0)
    (Fraction(2, 3), Fraction(4, 45))
    """
    return moments(Estimator("concrete", slope(u) * 4 * u * (1 - u), (u,), grad(E(f(b), b), theta)))


def rebar_at_one(body: Polynomial, slope: Polynomial, eta: Fraction | int) -> tuple[Fraction, Fraction]:
    """Return mean and variance of REBAR with control eta f(sigma(z)).

    >>> rebar_at_one(lambda s: s, lambda s: s**0, 1)[0]
    Fraction(1, 1)
    """
    first, second = Fraction(0), Fraction(0)
    for outcome, noise, given, rate, own in ((0, low, v / 2, -v, -2), (1, high, (1 + v) / 2, v - 1, 2)):
        left = (body(lift(outcome)) - eta * body(given)) * own
        pulled = slope(noise) * 4 * noise * (1 - noise) - slope(given) * (4 * given * (1 - given) + rate)
        estimate = left + eta * pulled
        first += HALF * value(E(estimate, noise, v))
        second += HALF * value(E(estimate * estimate, noise, v))
    return first, second - first**2


def hump(x: Term) -> Term:
    """A function that is zero at both outcomes: x (1 - x)."""
    return x * (1 - x)


def hump_slope(x: Term) -> Term:
    """Its derivative."""
    return 1 - 2 * x


# The relaxed Bernoulli law at other temperatures, enclosed: f(b) = b, so that the gradient is 1


@lru_cache
def relaxed(temperature: Fraction) -> tuple[flint.arb, flint.arb]:
    """Return balls around mean and second moment of the Concrete estimator, theta = 1/2, f(b) = b, temperature n or 1/n.

    With s = sigma(z / temperature) the estimate is 4 s (1 - s) / temperature; the integrands are rational in u (temperature
    1/n) or, after a change of variables, in s (temperature n).
    """
    if temperature.numerator == 1:
        n = temperature.denominator
        mean = _integral(lambda x: 4 * n * _product(x, n))
        return mean, _integral(lambda x: 16 * n * n * _product(x, n) ** 2)
    n = temperature.numerator
    mean = _integral(lambda x: 4 * _product(x, n))
    return mean, _integral(lambda x: 16 * x * (1 - x) * _product(x, n) / n)


def _product(x: flint.acb, n: int) -> flint.acb:
    """Return s (1 - s) for s = x^n / (x^n + (1 - x)^n)."""
    return x**n * (1 - x) ** n / (x**n + (1 - x) ** n) ** 2


def _integral(integrand: Callable[[flint.acb], flint.acb]) -> flint.arb:
    return flint.acb.integral(lambda x, _: integrand(x), 0, 1).real


def falling_bias(temperatures: tuple[Fraction, ...]) -> Check:
    """The bias falls along the list, between 0 and temperature^2; the second moment exceeds 11 / (32 temperature)."""

    def check() -> Evidence:
        rows = []
        before: flint.arb | None = None
        for temperature in temperatures:
            mean, square = relaxed(temperature)
            bias, variance, size = 1 - mean, square - mean**2, flint.arb(temperature.numerator) / temperature.denominator
            if not (bias > 0 and bias < size**2 and square > 11 / (32 * size) and (before is None or bias < before)):
                message = f"the enclosures at temperature {temperature} do not bear this out."
                raise UnsupportedVerdict(message)
            before = bias
            rows.append(f"{temperature}: bias {_shown(bias)}, variance {_shown(variance)}")
        return Evidence(
            "proof", f"ball arithmetic, f(b) = b, theta = 1/2, temperature {'; '.join(rows)}", ("f is not constant",)
        )

    return check


def flatter(temperatures: tuple[Fraction, ...]) -> Check:
    """Along the list the variance falls and the bias grows, by certified enclosures."""

    def check() -> Evidence:
        rows = []
        for temperature in temperatures:
            mean, square = relaxed(temperature)
            rows.append((temperature, 1 - mean, square - mean**2))
        for (_, bias, variance), (temperature, larger, smaller) in pairwise(rows):
            if not (bias < larger and smaller < variance):
                message = f"at temperature {temperature} the bias does not grow or the variance does not fall."
                raise UnsupportedVerdict(message)
        shown = "; ".join(f"{t}: bias {_shown(bias)}, variance {_shown(variance)}" for t, bias, variance in rows)
        return Evidence(
            "proof", f"ball arithmetic, f(b) = b, theta = 1/2, temperature {shown}", ("checked at these temperatures",)
        )

    return check


def _shown(ball: flint.arb) -> str:
    return str(ball.str(4, radius=False))


TEMPERATURES = tuple(Fraction(1, n) for n in (1, 2, 4, 8, 16))
middle = uniform("s", Fraction(1, 4), Fraction(3, 4))
LIMIT: tuple[Check, ...] = (
    falling_bias(TEMPERATURES),
    confirmed("the integral of s (1 - s) from 1/4 to 3/4", value(Over(middle * (1 - middle), middle)), "=", Fraction(11, 96)),
    read(
        "for every temperature lambda the bias is the integral over (0, 1) of tanh(lambda logit(s) / 2)^2, at most "
        "lambda^2 pi^2 / 12, "
        "and the second moment is 16 / lambda times the integral of s (1 - s) rho(lambda logit(s)) for the logistic "
        "density rho, "
        "which for lambda up to 1 is at least 3/16 from 1/4 to 3/4"
    ),
)
"""The limit of low temperature: certified at these temperatures, and the bounds for all of them."""
