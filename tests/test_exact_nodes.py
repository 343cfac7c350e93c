"""Integrands that are no polynomials of a normal variable: proofs on every base measure, refutations on a normal law only."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive.catalogue import catalogue
from derive.catalogue.importance_weighted import epsilon, importance_weighted, log_joint, log_mean_exp, mu, sigma
from derive.exact import comparison as exact
from derive.exact.series import _compare_zero, refute
from derive.language.errors import NotEvaluable
from derive.laws.occurrences import normal_draws
from derive.notation import E, Over, constant, copies, exp, function, grad, log, normal, p, parameter, score, stop

theta, c = parameter("theta"), constant("c")
f = function("f")
x, noise = normal("x", mu(theta), sigma(theta)), normal("epsilon")
x_of_noise = mu(theta) + sigma(theta) * noise


def points(samples):
    return [mu(theta) + sigma(theta) * one for one in copies(epsilon, samples)]


def log_weights(at, law=x):
    return [log_joint(point) - log(p(law, at=point)) for point in at]


STUCK = normal("x", stop(mu(theta)), stop(sigma(theta)))


def wrong_twins(samples):
    at = points(samples)
    one_stopped = [stop(at[0]), *at[1:]]
    return {
        "the density stands still": grad(log_mean_exp(log_weights(at, STUCK)), theta),
        "the mean of the logs": grad(sum(log_weights(at)) / samples, theta),
        "one sample's gradient is dropped": grad(log_mean_exp(log_weights(one_stopped)), theta),
        "twice": 2 * grad(log_mean_exp(log_weights(at)), theta),
        "a sign is flipped": -grad(log_mean_exp(log_weights(at)), theta),
    }


@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_the_importance_weighted_gradient_is_unbiased_on_every_base_measure(samples, nodes):
    found = exact.check(catalogue["iwae"].with_samples(samples), nodes)
    assert found.zero
    of = f" on {nodes} points" if samples > nodes else ""
    assert found.reading == f"every base measure{of} of a location-scale family"


def test_one_point_is_not_enough_for_two_draws_and_two_points_are():
    """E[h(x, y)] - E[h(x, x)] vanishes for every measure on one point."""
    one, two = copies(normal("x"), 2)
    pair, twice = E(exp(f(one) * f(two)), one, two), E(exp(f(one) ** 2), one)
    assert exact.compare(pair, twice, theta, 1).zero
    assert exact.compare(pair, twice, theta, 1).reading == "every base measure on 1 points of a location-scale family"
    assert not exact.compare(pair, twice, theta, 2).zero


def test_the_degree_of_a_mean_in_its_base_measure_is_not_counted_too_low():
    mean = E(exp(f(x)), x)
    for term, degree in [(mean, 1), (mean**2, 2), (mean * mean + mean, 2), (grad(mean, theta) ** 3, 3), (E(mean, noise), 2)]:
        assert normal_draws(term) == degree
    for term in (1 / mean, log(mean), f(mean), E(exp(f(x)), normal("x", mean, 1))):
        assert normal_draws(term) == float("inf")


@pytest.mark.parametrize("name", wrong_twins(2))
@pytest.mark.parametrize("samples", [2, 3])
def test_a_wrong_twin_is_refuted_on_a_normal_law(samples, name):
    mean, target = E(wrong_twins(samples)[name], *copies(epsilon, samples)), importance_weighted(samples).target
    found = exact.compare(mean, target, theta, 2)
    assert not found.zero
    assert found.conclusive
    witness = exact.witness(mean, target, theta)
    assert witness.left != witness.right
    assert witness.case["log_joint(z)"] == "log N(z; 0, 1) + t*(z + z^2)"


def test_with_one_sample_the_density_may_stand_still_and_nothing_claims_otherwise():
    """E[score] = 0 under a normal law, which no measure on points knows: it is not proved there, and not refuted."""
    mean, target = E(wrong_twins(1)["the density stands still"], *copies(epsilon, 1)), importance_weighted(1).target
    found = exact.compare(mean, target, theta, 2)
    assert (found.zero, found.conclusive) == (False, False)
    assert exact.witness(mean, target, theta) is None


def test_the_bound_at_size_t_has_the_coefficient_computed_by_hand():
    """For one sample E[f(z) - log q(z)] = t E[z + z^2] + ..., whose derivative at mu' = sigma' = 1 is t (1 + 2 sigma) = 3 t."""
    one = importance_weighted(1)
    witness = refute(2 * one.target, one.target, theta)
    assert (witness.left, witness.right) == (Fraction(6), Fraction(3))
    assert witness.case["values"] == "coefficients of t^1, for small t"


def test_a_pathwise_gradient_of_an_exponential_is_proved():
    target = grad(E(exp(f(x)), x), theta)
    assert exact.identically_equal(target, E(grad(exp(f(x_of_noise)), theta), noise), theta, 2)
    assert exact.compare(target, E(grad(exp(f(stop(x_of_noise))), theta), noise), theta, 2).conclusive


def test_a_law_that_depends_on_another_normal_variable_is_read_at_each_point_of_it():
    """If y is normal around x, then E f(y) over both is E f(x + noise): the memory must not confuse the points of x."""
    y, other = normal("y", x, 1), normal("o")
    both = grad(E(exp(f(y)), x, y), theta)
    assert exact.identically_equal(both, grad(E(exp(f(x + other)), x, other), theta), theta, 3)
    assert not exact.identically_equal(both, grad(E(exp(f(x)), x), theta), theta, 2)


def test_a_density_is_the_exponential_of_its_logarithm():
    at = p(x, at=x_of_noise)
    assert exact.identically_equal(E(exp(f(x_of_noise) - log(at)), noise), E(exp(f(x_of_noise)) / at, noise), theta, 2)
    assert exact.identically_equal(E(grad(log(exp(f(noise)) * at), theta), noise), E(grad(log(at), theta), noise), theta, 2)
    assert not exact.identically_equal(E(exp(f(x_of_noise) - log(at)), noise), E(exp(f(x_of_noise)) * at, noise), theta, 2)


def test_the_weights_sum_to_one():
    assert exact.identically_equal(E(exp(f(x)) + c, x), E(exp(f(x)), x) + c, theta, 3)
    assert not exact.identically_equal(E(exp(f(x)) + c, x), E(exp(f(x)), x) + 2 * c, theta, 3)


def test_what_holds_a_moving_sample_fixed_is_not_read_on_points():
    for body in (exp(x) * score(x, theta), grad(exp(f(x, theta)), theta), stop(exp(f(x)))):
        with pytest.raises(NotEvaluable, match="whose law moves"):
            exact.identically_equal(grad(E(body, x), theta), 0 * c, theta, 2)
    y = normal("y", x, 1)
    with pytest.raises(NotEvaluable, match="whose law moves"):
        exact.identically_equal(grad(E(stop(exp(f(y))), x, y), theta), 0 * c, theta, 2)


def test_an_integral_without_a_density_is_not_read_on_points():
    with pytest.raises(NotEvaluable, match="without its density"):
        exact.identically_equal(Over(exp(f(x)), x), 0 * c, theta, 2)


def test_polynomials_come_first():
    assert exact.check(catalogue["pathwise"], 2).reading == "polynomials of degree 9 under a normal law"
    assert exact.check(catalogue["rebar"], 2).reading == "every law on 2 outcomes and every relaxation of it"
    assert exact.check(catalogue["score-function"], 4).reading == "every law on 4 outcomes"


def test_a_series_is_not_taken_where_another_parameter_moves():
    phi, mean = parameter("phi"), E(exp(f(noise)), noise)
    assert refute(grad(2 * phi, phi) * mean, 2 * mean, theta) is None
    assert exact.identically_equal(grad(2 * phi, phi) * mean, 2 * mean, theta, 2)


def test_a_series_is_not_taken_where_it_could_be_singular():
    """1/(1 + f(x)) has no mean for small f that is unbounded, so its series says nothing."""
    assert refute(E(f(x) / (1 + f(x)), x), 2 * E(f(x) / (1 + f(x)), x), theta) is None
    assert refute(E(log(1 + f(x)), x), 2 * E(log(1 + f(x)), x), theta) is None
    assert refute(E(log(1 + exp(f(x)) - 1), x), 2 * E(log(exp(f(x))), x), theta) is None


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_bound_without_log_q_is_refuted_where_the_log_joint_is_zero(samples):
    """The mean is then 0, and the target d log sigma = sigma'/sigma = 1, whatever the base measure."""
    mean = E(grad(log_mean_exp([log_joint(point) for point in points(samples)]), theta), *copies(epsilon, samples))
    found = exact.witness(mean, importance_weighted(samples).target, theta)
    assert (found.left, found.right, found.radius) == (0, 1, 0)
    assert found.case["log_joint(z)"] == "0"
    assert exact.compare(mean, importance_weighted(samples).target, theta, 2).conclusive


def test_a_value_that_depends_on_the_base_measure_is_no_witness():
    """E[noise] = 0 and E[(z - mu)^2 / sigma^2] = 1 hold of a normal law, and of other measures do not."""
    z = normal("z", mu(theta), sigma(theta))
    mean, squared = E(exp(f(z)), z), E(((z - mu(theta)) / sigma(theta)) ** 2 * exp(f(z)), z)
    assert _compare_zero((squared, mean), theta, (1, 1)) is None
    assert _compare_zero((E(noise * exp(f(noise)), noise), 0 * mean), theta, (1, 1)) is None
    assert _compare_zero((mean + 1, mean), theta, (1, 1)) is not None


def test_a_quotient_of_means_is_not_settled_on_so_many_points():
    """1/E[...] is no polynomial in the base measure: two points would not speak for all."""
    mean = E(exp(f(x)), x)
    assert _compare_zero((1 / mean, 2 / mean), theta, (1, 1)) is None
    assert _compare_zero((mean, 2 * mean), theta, (1, 1)).left == 1
