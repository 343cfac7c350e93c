"""The integrated two-sample bound agrees with Gauss-Hermite quadrature, with limits that are known, and with the formula."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest

import derive
from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.exact.views import viewed
from derive.exact.witness import value_at
from derive.language.errors import TooLarge, UsageError
from derive.laws import two_samples
from derive.laws.two_samples import TwoSampleBound
from derive.numbers.unknowns import readable

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
CASES = [
    ((Fraction(0), Fraction(1), -HALF), Fraction(0), Fraction(1), Fraction(1), Fraction(0)),
    ((Fraction(2), Fraction(1), -HALF), THIRD, Fraction(1), Fraction(1), HALF),
    ((Fraction(0), -THIRD, -Fraction(5, 8)), HALF, Fraction(1), Fraction(-1), Fraction(2)),
    ((Fraction(0), Fraction(1), -HALF), THIRD, Fraction(9, 8), HALF, Fraction(1)),
    ((Fraction(0), Fraction(0), -Fraction(5, 8)), Fraction(0), Fraction(1), Fraction(0), Fraction(1)),  # h_1 = 0, h_2 is not
]


def by_quadrature(log_joint, loc, scale, loc_rate, scale_rate, nodes=100):
    """E[g] and Var[g] with g = sum_k softmax_k d log w_k / dtheta, on a grid of both noises."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    _, c_1, c_2 = map(float, log_joint)
    loc, scale, loc_rate, scale_rate = map(float, (loc, scale, loc_rate, scale_rate))

    def log_weight(noise):
        z = loc + scale * noise
        return c_1 * z + c_2 * z**2 + noise**2 / 2

    def slope(noise):
        z = loc + scale * noise
        return (c_1 + 2 * c_2 * z) * (loc_rate + scale_rate * noise) + scale_rate / scale

    x, y = np.meshgrid(at, at)
    share = 1 / (1 + np.exp(log_weight(y) - log_weight(x)))
    g = slope(x) * share + slope(y) * (1 - share)
    chances = np.outer(weights, weights)
    return (g * chances).sum(), (g**2 * chances).sum() - (g * chances).sum() ** 2


@pytest.mark.parametrize("case", CASES)
def test_both_moments_are_those_of_quadrature(case):
    mean, variance = TwoSampleBound(*case).moments()
    expected = by_quadrature(*case)
    assert float(mean.middle) == pytest.approx(expected[0], abs=1e-9)
    assert float(variance.middle) == pytest.approx(expected[1], abs=1e-9)
    assert max(mean.radius, variance.radius) < Fraction(1, 10**20)


def test_the_enclosure_holds_however_coarse_the_rule_is(monkeypatch):
    """Fewer steps and shorter ranges have larger radii, which cover the difference."""
    fine = TwoSampleBound(*CASES[1]).moments()
    for exponent, cut in [(8, 12), (16, 12), (64, 4), (64, 5)]:
        monkeypatch.setattr(two_samples, "_EXPONENT", exponent)
        monkeypatch.setattr(two_samples, "CUT", cut)
        coarse = TwoSampleBound(*CASES[1]).moments()
        for one, other in zip(coarse, fine, strict=True):
            assert abs(one.middle - other.middle) <= one.radius + other.radius
            assert one.radius > other.radius


class OnTwoPoints:
    """A case: noise at two points of equal weight, and log_joint a polynomial."""

    def __init__(self, points, log_joint, loc, scale, loc_rate, scale_rate):
        self.tables = {"node": points, "weight": (HALF, HALF)}
        self.log_joint = log_joint
        self.named = {"mu(theta)": loc, "mu'(theta)": loc_rate, "sigma(theta)": scale, "sigma'(theta)": scale_rate}

    def lookup(self, key, parameter):
        if key.kind in self.tables:
            return self.tables[key.kind][key.args[0].number - 1]
        if key.name != "log_joint":
            return self.named[readable(key, parameter)]
        at = sum(c * prod(self.lookup(inner, parameter) ** n for inner, n in monomial) for c, monomial in key.args[0].terms)
        slope = sum(n * c * at ** (n - 1) for n, c in enumerate(self.log_joint) if n)
        return slope if key.orders == (1,) else sum(c * at**n for n, c in enumerate(self.log_joint))


def test_the_integrand_is_the_estimate_of_the_catalogue():
    """The formula that was integrated by hand is the catalogue's, read at pairs of points: two readings of one estimate."""
    points, estimator, bound = (-HALF, Fraction(3, 2)), catalogue["iwae"], TwoSampleBound(*CASES[2])
    case = OnTwoPoints(points, *CASES[2])
    terms = (estimator.expectation, exact.second_moment(estimator))
    found = viewed(terms, estimator.parameter, 2, 3, lambda view: [value_at(view.model, one, case) for one in view.values[0]])
    (curvature, tilt), (h_0, h_1, h_2) = (tuple(map(float, values)) for values in (bound._weight, bound._slope))
    estimates = []
    for x, y in product(map(float, points), repeat=2):
        r, t = (x + y) / 2**0.5, (x - y) / 2**0.5
        bent = (h_1 / 2**0.5 + h_2 * r) * t * np.tanh((curvature * r + tilt / 2**0.5) * t)
        estimates.append(h_0 + h_1 * r / 2**0.5 + h_2 * (r * r + t * t) / 2 + bent)
    assert float(found[0].mid()) == pytest.approx(np.mean(estimates), abs=1e-12)
    assert float(found[1].mid()) == pytest.approx(np.mean(np.square(estimates)), abs=1e-12)


def test_where_log_p_is_linear_and_the_scale_fixed_every_estimate_is_the_slope():
    report = derive.variance(catalogue["iwae"], at={"log_joint_1": Fraction(3), "log_joint_2": Fraction(0)})
    assert abs(report.mean - 3) <= report.radius
    assert abs(report.variance) <= report.radius


def test_the_default_point_has_names_that_can_be_given():
    report = derive.variance(catalogue["iwae"])
    assert derive.variance(catalogue["iwae"], at=report.point).variance == report.variance


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        ({"log_joint_3": HALF}, UsageError, "has no log_joint_3; it has log_joint_0"),
        ({"sigma(theta)": Fraction(0)}, UsageError, "positive scale"),
        ({"log_joint_2": Fraction(100)}, TooLarge, "needed, more than"),
    ],
)
def test_a_point_that_is_not_integrated_is_refused(at, error, message):
    with pytest.raises(error, match=message):
        derive.variance(catalogue["iwae"], at=at)
