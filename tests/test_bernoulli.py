"""The Bernoulli family in certified numbers: they agree with a quadrature that shares nothing with them, and with limits."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.language.errors import UsageError
from derive.laws.bernoulli import RelaxedBernoulli, derivative, evaluate
from derive.laws.models import RationalCase
from derive.numbers.enclosures import Enclosure

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
T = Fraction(499, 1000)
SQUARE = (T * T, -2 * T, Fraction(1))
CUBIC = (Fraction(1), Fraction(-2), Fraction(0), Fraction(3))
CONTROL = (Fraction(1, 2), Fraction(-1), Fraction(2))

CASES = [(THIRD, CUBIC, Fraction(1)), (THIRD, CUBIC, THIRD), (Fraction(3, 5), CUBIC, Fraction(2, 5)), (HALF, SQUARE, HALF)]


def logit(x):
    return math.log(x) - math.log1p(-x)


def relaxed(z, lam):
    return 1 / (1 + math.exp(-z / lam))


def value(polynomial, at):
    return sum(float(c) * at**n for n, c in enumerate(polynomial))


def relax_estimate(theta, u, v, f, control, lam):
    """RELAX as the paper writes it, at two noises, with gradients by central differences for a fixed b."""
    p = 1 / (1 + math.exp(-theta))
    b = int(u > 1 - p)

    def at(t):
        q = 1 / (1 + math.exp(-t))
        conditional = v * q + (1 - q) if b else v * (1 - q)
        return (value(control, relaxed(logit(q) + logit(w), lam)) for w in (u, conditional))

    step = 1e-5
    (up, up_tilde), (down, down_tilde), (_, control_tilde) = at(theta + step), at(theta - step), at(theta)
    slope, slope_tilde = (up - down) / (2 * step), (up_tilde - down_tilde) / (2 * step)
    return (value(f, b) - control_tilde) * (b - p) + slope - slope_tilde


def by_quadrature(p, estimate):
    """Mean and variance over (u, v) by Gauss and Legendre, with u split where b jumps."""
    numpy = pytest.importorskip("numpy")
    nodes, weights = (array.tolist() for array in numpy.polynomial.legendre.leggauss(30))
    unit = [((x + 1) / 2, w / 2) for x, w in zip(nodes, weights, strict=True)]
    mean = square = 0.0
    for low, high in ((0, 1 - p), (1 - p, 1)):
        for x, w in unit:
            for v, weight in unit:
                one = estimate(low + (high - low) * x, v)
                mean, square = mean + (high - low) * w * weight * one, square + (high - low) * w * weight * one**2
    return mean, square - mean**2


@pytest.mark.parametrize(("p", "f", "lam"), CASES)
def test_relax_agrees_with_a_quadrature_of_its_published_form(p, f, lam):
    found = RelaxedBernoulli(p, f, lam).relax(CONTROL)
    theta, lam = logit(float(p)), float(lam)
    mean, variance = by_quadrature(float(p), lambda u, v: relax_estimate(theta, u, v, f, CONTROL, lam))
    assert float(found.mean.middle) == pytest.approx(mean, abs=1e-5)
    assert float(found.variance.middle) == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize(("p", "f", "lam"), CASES)
def test_concrete_agrees_with_a_quadrature(p, f, lam):
    found = RelaxedBernoulli(p, f, lam).concrete()
    slope = derivative(f)

    def estimate(u, v):
        s = relaxed(logit(float(p)) + logit(u), float(lam))
        return value(slope, s) * s * (1 - s) / float(lam)

    mean, variance = by_quadrature(float(p), estimate)
    assert float(found.mean.middle) == pytest.approx(mean, abs=1e-6)
    assert float(found.variance.middle) == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize(("p", "f", "lam"), CASES)
def test_rebar_and_relax_are_unbiased_to_twenty_digits(p, f, lam):
    case = RelaxedBernoulli(p, f, lam)
    for found in (case.relax(CONTROL), case.rebar(HALF), case.relax(())):
        assert found.mean.contains(case.gradient)
        assert found.mean.radius < Fraction(1, 10**20)


def test_what_lies_beyond_the_cut_is_in_the_radius(monkeypatch):
    monkeypatch.setattr("derive.laws.bernoulli.CUT", 8)
    for p in (Fraction(1, 9), THIRD, Fraction(8, 9)):
        case = RelaxedBernoulli(p, CUBIC, HALF)
        assert case.relax(CONTROL).mean.contains(case.gradient)
        assert case.relax(CONTROL).mean.radius > Fraction(1, 10**4)


@pytest.mark.parametrize(("p", "f", "lam"), CASES)
def test_without_a_control_variate_the_variance_is_that_of_the_score_function(p, f, lam):
    case = RelaxedBernoulli(p, f, lam)
    plain = case.score_function()
    assert plain.variance.radius == 0
    assert case.relax(()).variance.contains(plain.variance.middle)
    assert case.rebar(Fraction(0)).variance.contains(plain.variance.middle)


def test_concrete_at_temperature_one_has_the_hand_computed_mean():
    """p = 1/2, lambda = 1: s = u, so the mean is the integral of (2 u - 2 t) u (1 - u), 1/6 - t/3."""
    assert RelaxedBernoulli(HALF, SQUARE, Fraction(1)).concrete().mean.contains(Fraction(1, 6) - T / 3)


def test_the_optimal_eta_is_the_vertex_of_the_variance():
    """The variance is a parabola in eta; through -1, 0, 1 its vertex is (V(-1) - V(1)) / (2 (V(-1) + V(1) - 2 V(0)))."""
    case = RelaxedBernoulli(THIRD, CUBIC, HALF)
    below, at, above = (case.rebar(Fraction(eta)).variance.middle for eta in (-1, 0, 1))
    vertex = (below - above) / (2 * (below + above - 2 * at))
    found = case.optimal_eta()
    assert abs(found.middle - vertex) < Fraction(1, 10**18)
    best = case.rebar(found.middle).variance
    assert all(case.rebar(found.middle + step).variance.above(best.middle) for step in (Fraction(1, 100), Fraction(-1, 100)))


@pytest.mark.parametrize("p", [HALF, THIRD])
def test_the_optimal_baseline_leaves_no_variance(p):
    case = RelaxedBernoulli(p, CUBIC)
    assert case.constant_baseline(case.optimal_baseline).variance == Enclosure(Fraction(0))
    assert case.constant_baseline(case.optimal_baseline + 1).variance.middle > 0


@given(st.fractions(Fraction(1, 9), Fraction(8, 9), max_denominator=9), st.lists(st.integers(-3, 3), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_the_score_function_has_the_moments_of_the_generic_evaluator(p, coefficients):
    f = tuple(map(Fraction, coefficients))
    table = (evaluate(f, 0), evaluate(f, 1))
    law = RationalCase.finite((1 - p, p), (-p * (1 - p), p * (1 - p)), f=table)
    found = RelaxedBernoulli(p, f).score_function()
    assert (found.mean.middle, found.variance.middle) == exact.mean_and_variance_at(catalogue["score-function"], law)


# Concrete as lambda goes to 0

COOLING = [Fraction(1, 2**n) for n in range(1, 9)]


@pytest.mark.parametrize("f", [SQUARE, CUBIC])
def test_the_bias_of_concrete_vanishes_with_lambda_at_the_rate_that_was_derived(f):
    cases = [RelaxedBernoulli(THIRD, f, lam) for lam in COOLING]
    errors = [abs(case.concrete_bias().middle / case.temperature - case.leading_bias) for case in cases]
    assert all(after < before / Fraction(3, 2) for before, after in pairwise(errors[-4:]))
    assert errors[-1] < abs(cases[-1].leading_bias) / 50
    assert cases[0].concrete_bias().radius < Fraction(1, 10**20)


@pytest.mark.parametrize("p", [HALF, THIRD])
def test_the_variance_of_concrete_grows_without_bound_at_the_rate_that_was_derived(p):
    found = [RelaxedBernoulli(p, SQUARE, lam).concrete().variance for lam in COOLING]
    assert all(hot.below(cold.middle - cold.radius) for hot, cold in pairwise(found))
    errors = [
        abs(variance.middle * lam - RelaxedBernoulli(p, SQUARE).leading_variance)
        for variance, lam in zip(found, COOLING, strict=True)
    ]
    assert all(after < before / Fraction(3, 2) for before, after in pairwise(errors))


def test_concrete_is_biased_and_the_enclosure_says_so():
    assert RelaxedBernoulli(THIRD, SQUARE, Fraction(1, 10)).concrete_bias().below(0)


def test_bad_arguments_are_refused():
    with pytest.raises(UsageError, match="strictly between 0 and 1, got 1"):
        RelaxedBernoulli(Fraction(1), SQUARE)
    with pytest.raises(UsageError, match="positive, got 0"):
        RelaxedBernoulli(HALF, SQUARE, Fraction(0))
    with pytest.raises(UsageError, match="every eta"):
        RelaxedBernoulli(HALF, (Fraction(0),)).optimal_eta()
