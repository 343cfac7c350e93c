"""Every moment of the logistic relaxation lies in its ball, and the moments satisfy what those of every relaxation do."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import pytest

from derive.catalogue import catalogue
from derive.exact.points import Point
from derive.exact.views import viewed
from derive.exact.witness import value_at
from derive.language.errors import NotEvaluable, UsageError
from derive.laws.logistic import Logistic, derivatives
from derive.numbers.enclosures import enclosed
from derive.numbers.ring import bounds, precision
from derive.numbers.unknowns import Generator, Outcome, Value

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
ONE = Fraction(1)
CUBIC = (Fraction(1, 3), Fraction(-2), Fraction(1, 2), ONE)
RELAXED = ["rebar", "relax", "concrete", "rebar-variance-eta", "relax-variance-phi"]


def relaxation(p=THIRD, temperature=HALF, polynomial=CUBIC):
    return Logistic(p, temperature, lambda name: polynomial, lambda name: {"lambda": temperature, "phi": Fraction(3)}[name])


def of(generator):
    return Value(((ONE, ((generator, 1),)),))


Z = Generator("z", "z", (0,))
LAMBDA = of(Generator("symbol", "lambda"))
PATH = Generator("path", "z", (1,))


def soft(*orders):
    return Generator("function", "sigma", orders, (of(Z), LAMBDA))


def polynomial(coefficients, at):
    return sum(mpmath.mpf(c.numerator) / c.denominator * at**n for n, c in enumerate(coefficients))


def cubic(at):
    return polynomial(CUBIC, at)


def by_quadrature(kind, k, integrand, p=THIRD):
    """E[m | b = k] or E[m; b = k] as an integral over u, where `integrand` takes z and dz/dtheta."""
    p, low = mpmath.mpf(p.numerator) / p.denominator, mpmath.mpf(0)
    ends = [1 - p, 1] if k == 2 else [low, 1 - p]

    def value(u):
        z = mpmath.log(p / (1 - p)) + mpmath.log(u / (1 - u))
        slope = 1 if kind == "restricted" else (1 - (1 - p) / u if k == 2 else 1 - p / (1 - u))
        return integrand(z, slope)

    total = mpmath.quad(value, ends)
    return total if kind == "restricted" else total / (p if k == 2 else 1 - p)


def near(ball, value, digits=12):
    middle, radius = bounds(ball, 30)
    assert radius < Fraction(1, 10**18)
    assert abs(mpmath.mpf(middle.numerator) / middle.denominator - value) < mpmath.mpf(10) ** -digits
    return True


def sigmoid(z, rate):
    return 1 / (1 + mpmath.exp(-z / rate))


@pytest.mark.parametrize("kind", ["moment", "restricted"])
@pytest.mark.parametrize("k", [1, 2])
def test_moments_are_those_of_quadrature(kind, k):
    """f(sigma)^2 z', f'(sigma) sigma_lambda, sigma_(z, lambda)^2 z'^2 with f a cubic."""
    inner = of(soft(0, 0))
    cases = [
        (((Generator("function", "f", (0,), (inner,)), 2), (PATH, 1)), lambda z, d: cubic(sigmoid(z, 0.5)) ** 2 * d),
        (
            ((Generator("function", "f", (1,), (inner,)), 1), (soft(0, 1), 1)),
            lambda z, d: mpmath.diff(cubic, sigmoid(z, 0.5)) * mpmath.diff(lambda t: sigmoid(z, t), 0.5),
        ),
        (((soft(1, 1), 2), (PATH, 2)), lambda z, d: (mpmath.diff(sigmoid, (z, 0.5), (1, 1)) * d) ** 2),
    ]
    for monomial, integrand in cases:
        with precision(128):
            found = relaxation().moment(Generator(kind, "p", (), (Outcome(k), monomial)))
        assert near(found, by_quadrature(kind, k, integrand), 6)


@pytest.mark.parametrize(("in_z", "in_lambda"), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (3, 0)])
def test_partial_derivatives_are_those_of_numerical_differentiation(in_z, in_lambda):
    mpmath.mp.dps = 40
    z, rate = mpmath.mpf("0.7"), mpmath.mpf("0.6")
    expected = mpmath.diff(lambda x, t: cubic(sigmoid(x, t)), (z, rate), (in_z, in_lambda))
    x, s = z / rate, sigmoid(z, rate)
    terms = derivatives(CUBIC, in_z, in_lambda).items()
    found = sum(x**a * polynomial(p, s) / rate**m for (a, m), p in terms)
    mpmath.mp.dps = 15
    assert abs(found - expected) < 1e-12


@pytest.mark.parametrize("name", RELAXED)
def test_the_moments_satisfy_the_relations_of_every_relaxation(name):
    """Fluxes sum to zero, and E[m] has one derivative: relations that are derived without any integral."""
    estimator = catalogue[name]
    point = Point.of(estimator, 2, {"p(1)": THIRD, "f_0": ONE, "f_1": -ONE, "f_3": Fraction(2)})

    def residuals(view):
        constraints = [c for latents in view.reader.latents.values() for c in latents.constraints()]
        return [enclosed(value_at(view.model, constraint, point)) for constraint in constraints]

    with precision(128):
        found = viewed((estimator.expectation, estimator.target), estimator.parameter, 2, 3, residuals)
    assert all(residual.contains(0) and residual.radius < Fraction(1, 10**18) for residual in found)
    assert found or name == "concrete"


def test_a_certified_moment_does_not_depend_on_where_the_range_is_cut(monkeypatch):
    """The bound of what lies beyond the cut covers what a wider range adds."""
    from derive.laws import logistic

    key = Generator("moment", "p", (), (Outcome(2), ((soft(0, 1), 2), (soft(0, 0), 3))))
    with precision(128):
        wide = relaxation().moment(key)
        for cut in (2, 4, 8):
            monkeypatch.setattr(logistic, "CUT", cut)
            short = relaxation().moment(key)
            assert short.contains(wide.mid())
            assert bounds(short)[1] > bounds(wide)[1]


def test_a_constant_has_the_moment_one_and_the_restricted_moments_are_the_probabilities():
    with precision(128):
        flat = relaxation(polynomial=(ONE,))
        for k, chance in ((1, Fraction(2, 3)), (2, THIRD)):
            key = Generator("moment", "p", (), (Outcome(k), ((Generator("function", "f", (0,), (of(soft(0, 0)),)), 4),)))
            assert near(flat.moment(key), 1)
            assert near(flat.moment(key._replace(kind="restricted")), float(chance), 15)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (Generator("joint", "p", (), (((Z, 1),),)), "several outcomes"),
        (Generator("flux", "p", (2,), (Outcome(1), ((PATH, 1),))), "second derivative"),
        (Generator("moment", "p", (), (Outcome(1), ((PATH._replace(orders=(3,)), 1),))), "as a function of z is not known"),
    ],
)
def test_what_is_not_integrated_is_refused(key, message):
    with pytest.raises(NotEvaluable, match=message):
        relaxation().moment(key)


@pytest.mark.parametrize(("p", "temperature"), [(Fraction(0), HALF), (Fraction(3, 2), HALF), (HALF, Fraction(0))])
def test_what_is_no_relaxation_is_refused(p, temperature):
    with pytest.raises(UsageError, match="strictly between 0 and 1"):
        relaxation(p, temperature)


@pytest.mark.parametrize(("k", "sign"), [(1, -1), (2, 1)])
def test_a_flux_is_what_the_moving_threshold_adds_to_the_derivative(k, sign):
    """d E[s^2; b = k] / dtheta = the flux + E[2 s ds/dtheta; b = k], by numerical differentiation in the logit."""

    def restricted(theta):
        p = 1 / (1 + mpmath.exp(-theta))
        ends = [1 - p, 1] if k == 2 else [0, 1 - p]
        return mpmath.quad(lambda u: sigmoid(theta + mpmath.log(u / (1 - u)), 0.5) ** 2, ends)

    theta = mpmath.log(mpmath.mpf(1) / 2)
    whole = mpmath.diff(restricted, theta)
    key = Generator("flux", "p", (1,), (Outcome(k), ((soft(0, 0), 2),)))
    moved = Generator("restricted", "p", (), (Outcome(k), ((soft(0, 0), 1), (soft(1, 0), 1), (PATH, 1))))
    with precision(128):
        flux, inside = relaxation().moment(key), relaxation().moment(moved)
        assert near(flux + 2 * inside, whole, 6)
        assert near(flux, sign * mpmath.mpf(1) / 4 * 2 / 9)


@pytest.mark.parametrize("k", [1, 2])
def test_the_second_derivative_along_the_path_is_that_of_the_first(k):
    """d^2 E[s | b = k] / dtheta^2 = E[s'' z'^2 + s' z'' | b = k], by numerical differentiation in the logit for fixed v."""

    def mean(theta):
        p = 1 / (1 + mpmath.exp(-theta))
        noise = (lambda v: 1 - p + v * p) if k == 2 else (lambda v: v * (1 - p))
        return mpmath.quad(lambda v: sigmoid(theta + mpmath.log(noise(v) / (1 - noise(v))), 0.5), [0, 1])

    bent = Generator("moment", "p", (), (Outcome(k), ((soft(2, 0), 1), (PATH, 2))))
    moved = Generator("moment", "p", (), (Outcome(k), ((soft(1, 0), 1), (PATH._replace(orders=(2,)), 1))))
    with precision(128):
        found = relaxation().moment(bent) + relaxation().moment(moved)
        assert near(found, mpmath.diff(mean, mpmath.log(mpmath.mpf(1) / 2), 2), 6)
