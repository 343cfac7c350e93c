"""Two parameters at once: a gradient along one inside a gradient along another, as in the gradient of a variance."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive.catalogue import catalogue, relax
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.language.errors import NotEvaluable
from derive.laws.models import RationalCase
from derive.notation import (
    E,
    constant,
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
    sigmoid,
    stop,
    uniform,
)

theta, phi, eta, lambda_ = (parameter(name) for name in ("theta", "phi", "eta", "lambda"))
c = constant("c")
b = finite("b", theta)
both = finite("b", theta, phi, law="r")
f, g = function("f"), function("g")
mu = function("mu")
x = normal("x", mu(theta), 1 + theta**2)

h, h_tilde, H, b_relaxed = relax.relaxed.h, relax.relaxed.h_tilde, relax.relaxed.H, relax.b
u, v = uniform("u"), uniform("v")
z = h(u, theta)
hard = H(z)
z_tilde = h_tilde(v, hard, theta)


def relaxed_with(control):
    """RELAX with a control variate that is a function of the latent variable."""
    correction = grad(control(z), theta) - grad(control(z_tilde), theta)
    return (f(hard) - control(z_tilde)) * score(b_relaxed, at=hard) + correction


LEARNED = relaxed_with(lambda latent: g(latent, phi))
VARIANCE_GRADIENTS = [
    pytest.param(catalogue["rebar"].formula, eta, id="rebar, eta"),
    pytest.param(catalogue["rebar"].formula, lambda_, id="rebar, lambda"),
    pytest.param(LEARNED, phi, id="relax, phi"),
]


@pytest.mark.parametrize("outcomes", [2, 3])
@pytest.mark.parametrize(("estimate", "along"), VARIANCE_GRADIENTS)
def test_the_gradient_of_the_second_moment_is_proved_for_every_relaxation(estimate, along, outcomes):
    target = grad(E(estimate**2, u, v), along)
    found = exact.compare(E(2 * estimate * grad(estimate, along), u, v), target, along, outcomes)
    assert found.zero
    assert found.reading == f"every law on {outcomes} outcomes and every relaxation of it"


@pytest.mark.parametrize("outcomes", [2, 3])
@pytest.mark.parametrize(("estimate", "along"), VARIANCE_GRADIENTS)
def test_it_is_the_gradient_of_the_variance_since_the_mean_stands_still(estimate, along, outcomes):
    """That the mean does not move rests on the fluxes along theta, which is not the parameter that moves here."""
    mean = E(estimate, u, v)
    assert exact.identically_equal(grad(mean, along), 0 * c, along, outcomes)
    variance = E(estimate**2, u, v) - mean**2
    assert exact.identically_equal(E(2 * estimate * grad(estimate, along), u, v), grad(variance, along), along, outcomes)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_the_mean_of_relax_moves_where_a_term_is_missing(missing):
    terms = [-g(z_tilde, phi) * score(b_relaxed, at=hard), grad(g(z, phi), theta), -grad(g(z_tilde, phi), theta)]
    kept = [term for i, term in enumerate(terms) if i != missing]
    found = exact.compare(grad(E(kept[0] + kept[1], u, v), phi), 0 * c, phi, 2)
    assert (found.zero, found.conclusive) == (False, True)


@pytest.mark.parametrize("moving", [theta, phi])
def test_the_second_derivative_through_the_noise_is_that_of_the_conditional_mean(moving):
    given = g(h_tilde(v, b_relaxed, theta), phi)
    at = E(grad(grad(g(z, phi), theta), theta), u)
    twice = E(given, v) * (score(b_relaxed, theta) ** 2 + grad(score(b_relaxed, theta), theta))
    inside = E(grad(grad(given, theta), theta), v) + 2 * E(grad(given, theta), v) * score(b_relaxed, theta) + twice
    assert exact.identically_equal(at, E(inside, b_relaxed), moving, 2)
    assert not exact.identically_equal(at, E(inside - twice, b_relaxed), moving, 2)


@pytest.mark.parametrize(("estimate", "along"), VARIANCE_GRADIENTS)
def test_a_wrong_gradient_of_the_second_moment_is_refuted(estimate, along):
    target = grad(E(estimate**2, u, v), along)
    for wrong in (estimate * grad(estimate, along), 2 * stop(estimate) * estimate, -2 * estimate * grad(estimate, along)):
        found = exact.compare(E(wrong, u, v), target, along, 2)
        assert not found.zero
        assert found.conclusive


def test_the_gradient_of_the_second_moment_without_a_term_of_the_estimate_is_refuted():
    incomplete = (f(hard) - g(z_tilde, phi)) * score(b_relaxed, at=hard) + grad(g(z, phi), theta)
    target = grad(E(LEARNED**2, u, v), phi)
    found = exact.witness(E(2 * LEARNED * grad(incomplete, phi), u, v), target, phi, 2)
    assert abs(found.left - found.right) > 2 * found.radius > 0


def test_the_mean_does_not_move_with_the_control_variate():
    """E[dg/dphi] = 0, which is why the gradient of E[g^2] is that of the variance."""
    rate = grad((f(b) - g(b, phi)) * score(b, theta) + grad(E(g(b, phi), b), theta), phi)
    assert exact.identically_equal(E(rate, b), 0 * c, phi, 3)
    assert not exact.identically_equal(E(grad((f(b) - g(b, phi)) * score(b, theta), phi), b), 0 * c, phi, 2)


IDENTITIES = [
    (grad(grad(f(theta, phi), theta), phi), grad(grad(f(theta, phi), phi), theta)),
    (grad(grad(f(g(theta) * phi), theta), phi), grad(grad(f(g(theta) * phi), phi), theta)),
    (grad(theta**3 * phi**2, theta), 3 * theta**2 * phi**2),
    (grad(grad(theta**3 * phi**2, theta), phi), 6 * theta**2 * phi),
    (grad(log(f(theta)) + 1 / f(theta), theta), grad(f(theta), theta) * (1 / f(theta) - 1 / f(theta) ** 2)),
    (grad(exp(theta * phi), theta), phi * exp(theta * phi)),
    (grad(grad(exp(theta * phi), theta), phi), (1 + theta * phi) * exp(theta * phi)),
    (grad(sigmoid(theta), theta), sigmoid(theta) * (1 - sigmoid(theta))),
    (E(score(b, theta), b), 0 * c),
    (grad(p(b), theta), p(b) * score(b, theta)),
    (grad(log(p(b)), theta), score(b, theta)),
    (grad(E(f(b, phi), b), theta), E(f(b, phi) * score(b, theta), b)),
    (grad(grad(E(f(b, phi), b), theta), phi), E(grad(f(b, phi), phi) * score(b, theta), b)),
    (grad(grad(E(f(both), both), theta), phi), grad(grad(E(f(both), both), phi), theta)),
    (grad(E(f(both) * score(both, theta), both), phi), grad(E(f(both) * score(both, phi), both), theta)),
    (grad(E(f(both), both), theta), E(f(both) * score(both, theta), both)),
    (grad(score(both, theta), phi), grad(score(both, phi), theta)),
    (grad(E(f(x, phi), x), theta), E(f(x, phi) * score(x, theta), x)),
    (E(score(x, theta) ** 2, x), -E(grad(score(x, theta), theta), x)),
    (grad(grad(E(f(x, phi), x), theta), phi), E(grad(f(x, phi), phi) * score(x, theta), x)),
]


@pytest.mark.parametrize(("left", "right"), IDENTITIES)
def test_an_identity_in_theta_holds_while_phi_moves(left, right):
    assert exact.identically_equal(left, right, phi, 2)
    assert not exact.identically_equal(left, right + c, phi, 2)


@pytest.mark.parametrize(("left", "right"), IDENTITIES)
def test_an_identity_does_not_depend_on_which_of_the_two_moves(left, right):
    assert exact.identically_equal(left, right, theta, 2)


NON_IDENTITIES = [
    (grad(grad(f(theta, phi), theta), phi), grad(grad(f(theta, phi), theta), theta)),
    (grad(f(theta, phi), theta), grad(f(theta, phi), phi)),
    (E(score(both, theta) * score(both, phi), both), 0 * c),
    (grad(E(f(both), both), theta), E(f(both) * score(both, phi), both)),
]


@pytest.mark.parametrize(("left", "right"), NON_IDENTITIES)
def test_a_false_identity_of_two_parameters_is_not_proved(left, right):
    assert not exact.identically_equal(left, right, phi, 3)


def test_a_stopped_gradient_is_not_passed_by_a_derivative_along_another_parameter():
    for term in (grad(f(stop(theta)), theta), grad(stop(f(theta)), theta), score(finite("b", stop(theta)), theta)):
        with pytest.raises(NotEvaluable, match="stopped gradient is read along phi only"):
            exact.identically_equal(term, 0 * c, phi, 2)


def test_the_relaxed_gradient_is_pathwise_and_conditional_while_another_parameter_moves():
    given, whole = g(h_tilde(v, b_relaxed, theta), phi), grad(E(g(z, phi), u), theta)
    conditional = E(E(given, v) * score(b_relaxed, theta) + E(grad(given, theta), v), b_relaxed)
    for line in (conditional, E(grad(g(z, phi), theta), u), grad(E(given, b_relaxed, v), theta)):
        assert exact.identically_equal(whole, line, phi, 2)
        assert exact.identically_equal(grad(whole, phi), grad(line, phi), phi, 2)
    assert not exact.identically_equal(whole, E(grad(given, theta), b_relaxed, v), phi, 2)


def test_a_moment_on_a_set_that_moves_has_no_known_derivative_along_another_parameter():
    with pytest.raises(NotEvaluable, match=r"the derivative of E.* is not known"):
        exact.identically_equal(grad(E(f(hard) * grad(g(z, phi), theta), u), theta), 0 * c, phi, 2)


def test_a_relaxation_of_a_stopped_law_is_refused():
    """Its probabilities would stand still where the moments of z move: a contradiction, from which anything follows."""
    frozen = finite("b", stop(theta))
    latent = relaxation(frozen).h(u, theta)
    with pytest.raises(NotEvaluable, match="with a stopped parameter"):
        exact.identically_equal(E(grad(g(latent), theta), u), 0 * c, theta, 2)


def test_a_score_at_a_point_that_moves_along_another_parameter_is_not_read():
    with pytest.raises(NotEvaluable, match="at a point that moves with it"):
        exact.identically_equal(score(x, theta, at=theta), 0 * c, phi, 2)


def test_a_mean_at_a_point_may_contain_a_gradient_along_another_parameter():
    """E[f(b) score] at p = (1/3, 2/3), p' = (1, -1), f = (2, 5) is 2 - 5 = -3, and its square has mean 12 + 75/2."""
    estimator = Estimator("two", f(b) * score(b, theta), (b,), grad(E(f(b, phi), b), phi))
    case = {"p(1|theta)": Fraction(1, 3), "p(2|theta)": Fraction(2, 3), "dp(1|theta)": Fraction(1), "dp(2|theta)": Fraction(-1)}
    values = RationalCase(case | {"f(1)": Fraction(2), "f(2)": Fraction(5)})
    assert exact.mean_and_variance_at(estimator, values, outcomes=2) == (-3, 12 + Fraction(75, 2) - 9)
