"""Relaxations, normal and uniform laws: right identities are proved for all of them at once, each wrong variant is refuted."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings, strategies as st

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.language.errors import NotEvaluable, UsageError
from derive.language.term import ConditionalLatent, Density, Latent, Threshold
from derive.laws.models import RationalCase
from derive.notation import (
    E,
    Over,
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
    stop,
    uniform,
)

theta, eta, lambda_ = parameter("theta"), constant("eta"), constant("lambda")
b = finite("b", theta)
u, v, w = uniform("u"), uniform("v"), uniform("w")
f, c = function("f"), function("c")
relaxed = relaxation(b)
z = relaxed.h(u, theta)
hard = relaxed.H(z)
z_tilde = relaxed.h_tilde(v, hard, theta)
z_given_b = relaxed.h_tilde(v, b, theta)
control, control_tilde = f(relaxed.sigma(z, lambda_)), f(relaxed.sigma(z_tilde, lambda_))
learned = score(b, at=hard)
target = grad(E(f(b), b), theta)

# REBAR

moved, moved_tilde = grad(control, theta), grad(control_tilde, theta)
RIGHT = {
    "as published": (f(hard) - eta * control_tilde) * learned + eta * moved - eta * moved_tilde,
    "z in the score term": (f(hard) - eta * control) * learned + eta * moved - eta * moved_tilde,
    "any control": (f(hard) - c(z_tilde)) * learned + grad(c(z), theta) - grad(c(z_tilde), theta),
    "a control that moves": (f(hard) - c(z_tilde, theta)) * learned + grad(c(z, theta), theta) - grad(c(z_tilde, theta), theta),
}
WRONG = {
    "z in place of z_tilde in the gradient": (f(hard) - eta * control_tilde) * learned,
    "eta is missing on one term": (f(hard) - eta * control_tilde) * learned + eta * moved - moved_tilde,
    "a sign is flipped": (f(hard) - eta * control_tilde) * learned + eta * moved + eta * moved_tilde,
    "no gradient of z_tilde": (f(hard) - eta * control_tilde) * learned + eta * moved,
    "no gradient of z": (f(hard) - eta * control_tilde) * learned - eta * moved_tilde,
    "z held fixed in its gradient": (f(hard) - eta * control_tilde) * learned + grad(stop(control), theta) - eta * moved_tilde,
    "twice a term": (f(hard) - eta * control_tilde) * learned + 2 * eta * moved - eta * moved_tilde,
    "the score of z_tilde's noise alone": f(hard) * learned + eta * moved - eta * moved_tilde,
}


@pytest.mark.parametrize("outcomes", [2, 3, 4])
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_rebar_is_proved_for_every_relaxation(name, outcomes):
    assert exact.identically_equal(E(RIGHT[name], u, v), target, theta, outcomes)
    assert exact.identically_equal(E(RIGHT[name], v, u), target, theta, outcomes)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rebar_is_refuted_with_a_witness(name):
    mean = E(WRONG[name], u, v)
    found = exact.compare(mean, target, theta, 2)
    assert not found.zero
    assert found.conclusive
    witness = exact.witness(mean, target, theta)
    assert witness.left != witness.right


def test_an_outcome_that_is_drawn_anew_is_not_conditioned_on():
    """z_tilde belongs to a b of its own, so that the control is independent of the score: it is no longer the same control."""
    elsewhere = f(relaxed.sigma(z_given_b, lambda_))
    wrong = (f(hard) - eta * elsewhere) * learned + eta * grad(control, theta) - eta * grad(elsewhere, theta)
    assert not exact.identically_equal(E(wrong, u, b, v), target, theta, 2)
    assert exact.witness(E(wrong, u, b, v), target, theta) is not None


@pytest.mark.parametrize("outcomes", [2, 3])
def test_every_line_of_the_derivation_is_true(outcomes):
    relaxed_gradient = grad(E(control, u), theta)
    given_b = f(relaxed.sigma(z_given_b, lambda_))
    lines = [
        E(grad(control, theta), u),
        grad(E(given_b, b, v), theta),
        grad(E(control_tilde, u, v), theta),
        grad(E(control_tilde, v, u), theta),
        E(given_b * score(b), b, v) + E(grad(given_b, theta), b, v),
        E(E(given_b, v) * score(b), b) + E(grad(E(given_b, v), theta), b),
        E(control_tilde * learned, u, v) + E(grad(control_tilde, theta), u, v),
    ]
    assert all(exact.identically_equal(relaxed_gradient, line, theta, outcomes) for line in lines)


def test_a_threshold_has_no_gradient_and_its_mean_has_one():
    assert exact.identically_equal(grad(E(f(hard), u), theta), target, theta, 3)
    assert not exact.identically_equal(E(grad(f(hard), theta), u), target, theta, 2)


def test_a_product_with_the_threshold_needs_the_boundary_term():
    both = f(hard) * c(z)
    assert not exact.identically_equal(grad(E(both, u), theta), E(grad(both, theta), u), theta, 2)


def test_the_frozen_relaxation_leaves_no_gradient():
    assert exact.identically_equal(E(grad(stop(control), theta), u), 0 * eta, theta, 2)
    frozen = relaxed.h(u, stop(theta))
    assert exact.identically_equal(E(grad(c(frozen), theta), u), 0 * eta, theta, 2)
    assert not exact.identically_equal(E(grad(c(z), theta), u), 0 * eta, theta, 2)


def test_second_derivatives_cross_the_boundary_once():
    twice = grad(grad(E(c(z), u), theta), theta)
    assert exact.identically_equal(twice, grad(E(grad(c(z), theta), u), theta), theta, 2)
    assert exact.identically_equal(twice, E(grad(grad(c(z), theta), theta), u), theta, 2)
    given_b = c(z_given_b)
    assert exact.identically_equal(twice, grad(grad(E(given_b, b, v), theta), theta), theta, 2)
    assert not exact.identically_equal(twice, E(grad(grad(given_b, theta), theta), b, v), theta, 2)


def test_two_noises_are_independent():
    other = relaxed.h(w, theta)
    assert exact.identically_equal(E(c(z) * c(other), u, w), E(c(z), u) ** 2, theta, 2)
    assert not exact.identically_equal(E(c(z) * c(z), u), E(c(z), u) ** 2, theta, 2)


def test_latent_variables_of_two_outcomes_from_one_noise_have_a_joint_law_of_their_own():
    g, d = function("g"), function("d")
    first, second = copies(b, 2)
    one, two = relaxed.h_tilde(v, first, theta), relaxed.h_tilde(v, second, theta)
    mean = E(g(first, second) * c(one) * d(two), first, second, v)
    swapped = E(g(first, second) * c(two) * d(one), first, second, v)
    assert not exact.identically_equal(mean, swapped, theta, 2)
    apart = E(g(first, second) * c(one) * d(relaxed.h_tilde(w, second, theta)), first, second, v, w)
    assert not exact.identically_equal(mean, apart, theta, 2)


def test_the_variance_of_rebar_without_control_is_that_of_the_score_function():
    plain = exact.variance(Estimator("plain", f(hard) * learned, (u, v), target), 2)
    assert plain.formula == exact.variance(catalogue["score-function"], 2).formula


def test_the_variance_of_rebar_is_a_formula_in_moments():
    formula = exact.variance(catalogue["rebar"], 2).formula
    assert "E[f(sigma(z, lambda))^2 | b=1]" in formula


def test_the_variance_of_rebar_at_a_point_wants_the_moments():
    case = RationalCase.finite((Fraction(1, 2), Fraction(1, 2)), (1, -1), f=(0, 1), symbols={"eta": 1})
    with pytest.raises(UsageError, match="does not say what E"):
        exact.variance(catalogue["rebar"], 2).at(case)


def test_two_relaxations_of_one_law_are_not_mixed_up():
    g = Latent("g", True, b.law)
    with pytest.raises(NotEvaluable, match="two relaxations"):
        exact.identically_equal(E(c(g(u, theta)), u), E(c(relaxed.h(u, theta)), u), theta, 2)


def test_noise_that_decides_must_be_uniform_on_the_unit_interval():
    wide = uniform("u", 0, 2)
    with pytest.raises(NotEvaluable, match="uniform on"):
        exact.identically_equal(E(c(relaxed.h(wide, theta)), wide), eta, theta, 2)


def test_a_threshold_of_the_conditional_latent_variable_is_its_outcome():
    again = Threshold("H", False, b.law)(ConditionalLatent("h_tilde", True, b.law)(v, b, theta))
    assert exact.identically_equal(E(f(again), b, v), E(f(b), b), theta, 3)


# Normal laws

mu, sigma = function("mu"), function("sigma")
x, epsilon = normal("x", mu(theta), sigma(theta)), normal("epsilon")
x_of_epsilon = mu(theta) + sigma(theta) * epsilon
log_q = log(p(x))
log_q_moved = log(Density(x.law, x_of_epsilon))
log_q_stuck = log(Density(normal("x", stop(mu(theta)), stop(sigma(theta))).law, x_of_epsilon))

GAUSSIAN = [
    (grad(E(f(x), x), theta), E(f(x) * score(x, theta), x)),
    (grad(E(f(x), x), theta), E(grad(f(x_of_epsilon), theta), epsilon)),
    (grad(E(f(x), x), theta), Over(grad(p(x), theta) * f(x), x)),
    (grad(E(f(x), x), theta), Over(p(x) * score(x, theta) * f(x), x)),
    (grad(E(f(x), x), theta), grad(Over(p(x) * f(x), x), theta)),
    (grad(E(f(x, theta), x), theta), E(f(x, theta) * score(x, theta) + grad(f(x, theta), theta), x)),
    (E(score(x, theta), x), 0 * eta),
    (E(score(x, theta) ** 2, x), -E(grad(score(x, theta), theta), x)),
    (grad(E(f(x) - log_q, x), theta), E(grad(f(x_of_epsilon) - log_q_moved, theta), epsilon)),
    (grad(E(f(x) - log_q, x), theta), E(grad(f(x_of_epsilon) - log_q_stuck, theta), epsilon)),
    (grad(E(f(x) - log_q, x), theta), E((f(x) - log_q) * score(x, theta), x)),
]


@pytest.mark.parametrize(("left", "right"), GAUSSIAN)
def test_a_gaussian_identity_is_proved_for_polynomials(left, right):
    assert exact.identically_equal(left, right, theta, 2)
    assert exact.identically_equal(left, right, theta, 2, degree=4)
    assert not exact.identically_equal(left, right + eta, theta, 2)


def test_the_score_is_not_forgotten_and_not_doubled():
    gradient = grad(E(f(x), x), theta)
    for wrong in (E(grad(f(x), theta), x), 2 * E(f(x) * score(x, theta), x), E(grad(f(stop(x_of_epsilon)), theta), epsilon)):
        assert not exact.identically_equal(gradient, wrong, theta, 2)
        witness = exact.witness(gradient, wrong, theta)
        assert witness.left != witness.right


def double_factorial_moment(n: int, mean: Fraction, sd: Fraction) -> Fraction:
    """E (mean + sd e)^n by the binomial theorem, E e^(2m) = (2m - 1)!!."""
    total, odd = Fraction(0), 1
    for m in range(n // 2 + 1):
        odd = odd * (2 * m - 1) if m else 1
        total += comb(n, 2 * m) * mean ** (n - 2 * m) * sd ** (2 * m) * odd
    return total


@given(st.integers(0, 6), st.fractions(-3, 3, max_denominator=3), st.fractions(Fraction(1, 3), 3, max_denominator=3))
@settings(max_examples=25, deadline=None)
def test_normal_moments_are_those_of_the_binomial_theorem(n, mean, sd):
    y = normal("y", mean, sd)
    assert exact.identically_equal(E(y**n, y), 0 * eta + double_factorial_moment(n, mean, sd), theta, 1)


def test_the_variance_of_the_pathwise_estimator_at_a_point():
    """f = x^2, mean mu = 3, mu' = 1, sigma = 2, sigma' = 0: the estimate is 2 (3 + 2 e), mean 6, variance 16."""
    values = {"mu(theta)": 3, "mu'(theta)": 1, "sigma(theta)": 2, "sigma'(theta)": 0, "f_0": 0, "f_1": 0, "f_2": 1, "f_3": 0}
    case = RationalCase({name: Fraction(value) for name, value in values.items()})
    assert exact.mean_and_variance_at(catalogue["pathwise"], case) == (6, 16)


def test_a_score_under_a_moving_normal_law_is_read_of_polynomials_only():
    with pytest.raises(NotEvaluable, match="a Score of the normal variable x, whose law moves"):
        exact.identically_equal(E(exp(x) * score(x, theta), x), eta, theta, 2)


# Uniform laws


def test_a_moving_support_makes_the_score_function_biased():
    """X uniform on (0, theta): d/dtheta E X = 1/2, and E[X score] = -1/2."""
    y = uniform("y", 0, theta)
    truth, naive = grad(E(y, y), theta), E(y * score(y), y)
    assert exact.identically_equal(truth, 0 * eta + Fraction(1, 2), theta, 2)
    assert exact.identically_equal(naive, 0 * eta - Fraction(1, 2), theta, 2)
    witness = exact.witness(truth, naive, theta)
    assert (witness.left, witness.right) == (Fraction(1, 2), Fraction(-1, 2))
    assert not exact.identically_equal(grad(E(f(y), y), theta), E(f(y) * score(y), y), theta, 2)


def test_the_boundary_term_is_the_value_at_the_bound():
    y = uniform("y", 0, theta)
    assert exact.identically_equal(grad(Over(f(y), y), theta), f(theta), theta, 2)
    shifted = uniform("y", theta, theta + 1)
    assert exact.identically_equal(grad(E(f(shifted), shifted), theta), f(theta + 1) - f(theta), theta, 2)


def test_a_uniform_variable_can_be_reparameterized():
    y = uniform("y", 0, theta)
    assert exact.identically_equal(grad(E(f(y), y), theta), E(grad(f(theta * u), theta), u), theta, 2, degree=4)
    assert not exact.identically_equal(grad(E(f(y), y), theta), E(f(theta * u), u), theta, 2)
