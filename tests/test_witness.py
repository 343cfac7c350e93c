"""A witness is a case that can occur: outcomes are distinct numbers, a function has one value at one point."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive import exact
from derive.catalogue import catalogue
from derive.notation import E, constant, finite, function, log, normal, p, parameter, score
from derive.term import lift

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
