"""A witness is a case that can occur, and is found where only an equality of unknowns hides a difference."""

from __future__ import annotations

from fractions import Fraction

import pytest

import derive
from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.exact.valuation import Valuation, is_possible
from derive.language.term import lift
from derive.laws.models import SymbolicModel
from derive.notation import (
    E,
    constant,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    relaxation,
    score,
    uniform,
)
from derive.numbers.ring import PolynomialRing

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


# What hides a difference: laws that are equal, denominators and scales that are 1


a = finite("a", law="q")
sd = constant("sigma")
one, two = copies(b, 2)


def values(found, law):
    return [Fraction(found.case[f"{law}({k})"]) for k in (1, 2)]


def difference(found):
    assert abs(found.left - found.right) > 2 * found.radius
    return found


def test_two_laws_get_different_probabilities():
    """E_q[f score_p] is E_p[f score_p] where q = p: the bias of a sample without its importance weight."""
    found = difference(exact.witness(E(f(a) * score(b, at=a), a), grad(E(f(b), b), theta), theta, 2))
    assert values(found, "p") != values(found, "q")
    assert sum(values(found, "q")) == 1
    assert min(values(found, "q")) > 0


def test_a_divergence_that_vanishes_where_two_laws_are_equal_is_told_from_zero():
    """The mean of log p - log q is zero at q = p; so is its square, and 1 - q/p."""
    ratio = log(p(b)) - log(p(a, at=b))
    for left in (E(ratio, b), E(ratio**2 * score(b), b), E((1 - p(a, at=b) / p(b)) ** 2, b)):
        found = difference(exact.witness(left, 0 * c, theta, 2))
        assert values(found, "p") != values(found, "q")


def test_each_condition_of_a_conditional_law_gets_its_own_probabilities():
    """Rewards that come later matter to the first step only where the law of the second depends on it."""
    later = finite("d", law="q", given=(b,))
    found = difference(exact.witness(E(f(later) * score(b), b, later), 0 * c, theta, 2))
    assert found.case["q(1|1)"] != found.case["q(1|2)"]


def test_a_law_has_the_same_probabilities_at_the_same_parameters():
    """p(b; theta) and p(b; c) differ, but not where theta = c."""
    other = finite("d", c, law="p")
    found = difference(exact.witness(E(f(b), b), E(f(other), other), theta, 2))
    assert found.case["theta"] != found.case["c"]


@pytest.mark.parametrize("power", [-2, -1, 1, 2])
def test_a_wrong_power_of_a_scale_is_refuted_at_a_scale_that_is_positive_and_not_1(power):
    z = normal("z", theta, sd)
    mean, target = E(f(z) * (z - theta) / sd**2 * sd**power, z), grad(E(f(z), z), theta)
    assert exact.witness(E(f(z) * (z - theta) / sd**2, z), target, theta, 2) is None
    found = difference(exact.witness(mean, target, theta, 2))
    assert Fraction(found.case["sigma"]) not in (0, 1)
    assert Fraction(found.case["sigma"]) > 0


def test_the_scale_of_a_law_is_positive_though_nothing_is_divided_by_it():
    """E[z^2] = sigma^2 is not sigma: a case with sigma = -1 would be simpler, but it is no law."""
    z = normal("z", 0, sd)
    found = difference(exact.witness(E(z**2, z), -sd, theta, 2))
    assert Fraction(found.case["sigma"]) > 0


def test_unequal_weights_refute_a_mean_that_normalises_itself():
    weighted = (g(one) * f(one) + g(two) * f(two)) / (g(one) + g(two))
    found = difference(exact.witness(E(weighted, one, two), E(g(b) * f(b), b) / E(g(b), b), theta, 2))
    assert found.case["g(1)"] != found.case["g(2)"]


def test_an_exponential_in_a_denominator_is_enclosed_and_no_free_number():
    """exp(-log(v + 1) / 2) is a root: as a free number it would refute (v + 1) exp(-log(v + 1)) = 1."""
    spread = (f(one) - f(two)) ** 2 / 4 + 1
    root = exp(-log(spread) / 2)
    assert exact.witness(E(1 / root**2, one, two), E(spread, one, two), theta, 2) is None
    advantage = (f(one) - f(two)) / (1 + 1 / root)
    found = difference(exact.witness(E(advantage * score(one), one, two), grad(E(f(b), b), theta), theta, 2))
    assert found.radius > 0


def test_two_derivatives_of_one_law_have_two_names():
    """d/dtheta and d/dphi of p(b; theta, phi) differ; the case gives both, and each sums to zero."""
    phi = parameter("phi")
    law = finite("b", theta, phi)
    found = difference(exact.witness(E(f(law) * score(law, phi), law), grad(E(f(law), law), theta), theta, 2))
    tangents = {name: Fraction(value) for name, value in found.case.items() if name.startswith("dp")}
    assert len(tangents) == 4
    for along in ("theta", "phi"):
        assert sum(value for name, value in tangents.items() if name.endswith(f"/d({along})")) == 0


def test_a_normal_density_at_a_point_is_computed_and_no_free_number():
    z = normal("z", c, 2)
    found = difference(exact.witness(p(z, at=theta), 0 * c, theta, 2))
    assert found.left == pytest.approx(0.19947114, abs=0.02)
    assert found.radius > 0


@pytest.mark.parametrize(("value", "possible"), [(-1, False), (0, False), (2, True)])
def test_a_point_where_a_scale_is_not_positive_is_no_case(value, possible):
    model = SymbolicModel(PolynomialRing(4), 2, "theta")
    model.demand_positive(model.symbol("sigma"))
    assert is_possible(Valuation(model, lambda key: Fraction(value))) is possible


def test_what_is_exponential_in_a_denominator_is_no_rational_function():
    model = SymbolicModel(PolynomialRing(8), 2, "theta")
    x = model.symbol("x")
    assert not model.transcendental(model.inverse(x + model.one))
    assert model.transcendental(model.inverse(model.exp(x) + model.one))


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
