"""A witness is a case that can occur: outcomes are distinct numbers, a function has one value at one point."""

from __future__ import annotations

from fractions import Fraction

import pytest

import derive
from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.language.term import lift
from derive.notation import E, constant, finite, function, log, normal, p, parameter, relaxation, score, uniform

theta, c = parameter("theta"), constant("c")
b = finite("b", theta)
f, g = function("f"), function("g")


@pytest.mark.parametrize("outcomes", [2, 3])
def test_outcomes_that_are_used_as_numbers_are_distinct_numbers(outcomes):
    wrong = catalogue["straight-through"]
    found = exact.witness(wrong.expectation, wrong.target, theta, outcomes)
    assert [found.case[f"value_p({k})"] for k in (1, 2)] == ["0", "1"]
    assert found.left != found.right


def test_a_difference_that_vanishes_at_consecutive_numbers_has_a_witness_all_the_same():
    """b (b - 1) is zero at the outcomes 0 and 1, so the witness takes others."""
    found = exact.witness(E(b * (b - 1) * score(b), b), 0 * c, theta, 2)
    numbers = [Fraction(found.case[f"value_p({k})"]) for k in (1, 2)]
    assert len(set(numbers)) == 2
    assert any(number * (number - 1) for number in numbers)


def test_a_function_has_one_value_at_one_point():
    found = exact.witness(f(c), f(c**2), theta)
    assert Fraction(found.case["c"]) ** 2 != Fraction(found.case["c"])


def test_a_function_of_a_function_has_one_value_at_one_point():
    found = exact.witness(f(g(theta)), f(c), theta)
    assert found.case["g(theta)"] != found.case["c"]


def test_the_logarithm_of_two_pi_is_no_unknown():
    """E[log N(x; c, 1)] = -1/2 - log(2 pi)/2, whatever a case says."""
    x = normal("x", c, 1)
    found = exact.witness(E(log(p(x)), x), 0 * c, theta)
    assert "log(2 pi)" not in found.case
    assert abs(found.left + Fraction(1, 2) + Fraction(1837877066409345, 2 * 10**15)) < 2 * found.radius + Fraction(1, 10**14)
    assert found.radius > 0


def test_a_logarithm_that_cancels_is_still_in_both_values():
    """The values are those of the sides, 1 + log 2 and log 2, not of what remains of them."""
    found = exact.witness(log(lift(2)) + f(c), log(lift(2)), theta)
    assert abs(found.right - Fraction(693147180559945, 10**15)) < 2 * found.radius
    assert abs(found.left - found.right - 1) < 2 * found.radius


# Moments of relaxations: those of a law, so that no inequality between them fails


u = uniform("u")
h, H, _, sigma = (getattr(relaxation(b), name) for name in ("h", "H", "h_tilde", "sigma"))
z, lambda_ = h(u, theta), constant("lambda")
control = function("c", differentiable=True)


def test_a_square_of_a_mean_and_a_mean_of_a_square_keep_their_order():
    """E[c^2] >= E[c]^2: chosen one by one, the first moments would be 1 and the second 0."""
    found = exact.witness(E(control(z) ** 2, u), E(control(z), u) ** 2, theta)
    assert found.left - found.right > 2 * found.radius > 0
    assert found.case["z"] == "logit(p(2)) + logit(u)"


def test_a_mean_of_a_fourth_power_is_not_less_than_the_squared_mean_of_the_square():
    found = exact.witness(E(control(z), u) ** 2 * E(control(z) ** 2, u), E(control(z) ** 4, u), theta)
    assert 0 < found.left < found.right


def test_a_difference_that_no_law_has_has_no_witness_of_free_moments():
    """c^2 + 1 has a positive mean, whatever is asked for: free moments would make it 0 or negative."""
    found = exact.witness(E(control(z) ** 2, u) + 1, 0 * c, theta)
    assert found.left > 1


def test_moments_without_a_square_are_chosen_freely_and_rational():
    found = exact.witness(E(control(z), u), 0 * c, theta)
    assert found.radius == 0


def test_a_point_where_both_sides_are_the_same_is_passed_over():
    """At c = 1 both sides are 0, so the enclosures overlap and the point is none."""
    found = exact.witness((c - 1) * E(control(z) ** 2, u), 0 * c, theta)
    assert found.case["c"] == "2"
    assert found.left - found.right > 2 * found.radius


@pytest.mark.parametrize("name", ["rebar-variance-eta", "relax-variance-phi"])
def test_the_witness_against_a_variance_gradient_is_a_point_of_the_relaxation(name):
    """At the point that the witness names, the target is the derivative of the certified variance."""
    estimator, free = catalogue[name], name[-3:]
    found = exact.witness(2 * estimator.expectation, estimator.target, estimator.parameter)
    at = {key: Fraction(value) for key, value in found.case.items() if key not in ("z", "s")}
    plain = catalogue[name.partition("-variance")[0]]
    low, high = (derive.variance(plain, at=at | {free: at[free] + step}) for step in (Fraction(-1, 2), Fraction(1, 2)))
    assert abs(found.right - (high.variance - low.variance)) <= found.radius + 2 * low.radius
    assert abs(found.left - 2 * found.right) <= 3 * found.radius
