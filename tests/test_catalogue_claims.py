"""What summaries of the catalogue claim beyond the verdict, computed by hand."""

from __future__ import annotations

from itertools import combinations, product
from math import sqrt

import pytest
from mpmath import diff, exp, log, mpf, quad

import derive
from derive.catalogue import catalogue
from derive.language.estimator import HOLDING, Estimator
from derive.notation import E, constant, function, grad, parameter, score, sigmoid
from derive.sympy_door import on_outcomes

theta = parameter("theta")


def bias(name):
    estimator = catalogue[name]
    return estimator.expectation - estimator.target


def test_the_bias_of_generalized_advantages_is_that_of_the_critic_times_one_minus_lambda():
    difference = bias("generalized-advantage") - (1 - constant("lambda")) * bias("actor-critic")
    assert [on_outcomes(difference, outcomes) for outcomes in (2, 3)] == [0, 0]
    assert on_outcomes(bias("generalized-advantage"), 2) != 0
    assert "the bias is that of the critic, times 1 - lambda" in catalogue["generalized-advantage"].summary


def test_a_critic_that_is_off_by_a_constant_is_not_biased():
    exact = catalogue["actor-critic-exact"]
    off = Estimator("off", exact.formula + constant("c") * score(exact.draws[0]), draws=exact.draws, target=exact.target)
    assert derive.prove(off).verdict == "proved"
    assert "biased unless the mean of its error times the score is zero" in catalogue["actor-critic"].summary


def advantage(one, other):
    """Of the first of two rewards, divided by their deviation."""
    mean = (one + other) / 2
    return (one - mean) / sqrt(((one - mean) ** 2 + (other - mean) ** 2) / 2 + 0.1)


def curl(rewards, step=1e-4):
    """Of the mean of grpo along p_1 and p_2, where p_3 is what is left: the mean is the sum over j, k of a_jk p_k dp_j."""
    a = {(j, k): advantage(rewards[j], rewards[k]) for j, k in combinations(range(3), 2)}
    a |= {(k, j): -value for (j, k), value in a.items()}

    def along(p_1, p_2):
        p = (p_1, p_2, 1 - p_1 - p_2)
        forms = [sum(a[j, k] * p[k] for k in range(3) if k != j) for j in range(3)]
        return forms[0] - forms[2], forms[1] - forms[2]

    second = along(0.3 + step, 0.2)[1] - along(0.3 - step, 0.2)[1]
    first = along(0.3, 0.2 + step)[0] - along(0.3, 0.2 - step)[0]
    return (second - first) / (2 * step)


def test_the_mean_of_grpo_is_a_gradient_for_two_rewards_and_none_for_three():
    assert curl((0.0, 1.0, 1.0)) == pytest.approx(0, abs=1e-8)
    assert abs(curl((0.0, 1.0, 3.0))) > 0.1
    assert "of three rewards no gradient at all" in catalogue["grpo"].summary


def test_through_the_draw_gumbel_rao_has_another_mean_than_the_straight_through_one_and_beside_it_the_same():
    """For a bit of logit 0.3, temperature 1/2 and slopes 2 at one and -1 at zero; u, v are uniform."""
    logit, probability, slopes = mpf("0.3"), 1 / (1 + exp(mpf("-0.3"))), {1: 2, 0: -1}

    def latent(v, bit, along):
        at_one = 1 / (1 + exp(-along))
        u = 1 - at_one + v * at_one if bit else v * (1 - at_one)
        return along + log(u / (1 - u))

    def slope_of_relaxation(z):
        relaxed = 1 / (1 + exp(-2 * z))
        return 2 * relaxed * (1 - relaxed)

    def mean(path):
        def given(bit):
            relaxed = quad(lambda v: slope_of_relaxation(latent(v, bit, logit)) * path(v, bit), [0, 0.01, 0.5, 0.99, 1])
            return slopes[bit] * relaxed

        return probability * given(1) + (1 - probability) * given(0)

    def through(u):
        return (2 if u > 1 - probability else -1) * slope_of_relaxation(logit + log(u / (1 - u)))

    straight_through = quad(through, [0, 0.01, 1 - probability, 0.99, 1])
    assert float(mean(lambda v, bit: 1)) == pytest.approx(float(straight_through), rel=1e-6)
    through_draw = mean(lambda v, bit: diff(lambda along: latent(v, bit, along), logit))
    assert abs(through_draw - straight_through) > 0.05
    assert "differentiated through that draw: another mean" in catalogue["gumbel-rao"].summary


def test_of_rewards_zero_and_one_maxrl_is_the_mean_score_of_the_successes():
    for one, other, s1, s2 in product((0, 1), (0, 1), (0.3, -2.0), (1.5, 0.7)):
        published = (one * s1 + other * s2) / (one + other) if one + other else 0
        assert one * s1 * (1 - other / 2) + other * s2 * (1 - one / 2) == published
    assert "the mean score of the successes of two samples" in catalogue["maxrl"].summary


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("measure-valued-exponential-doubled", lambda f, x: (f(x) - f(2 * x)) / theta),
        ("measure-valued-geometric-single", lambda f, n: (1 - sigmoid(theta)) / sigmoid(theta) * (f(n) - f(n + 1))),
        ("measure-valued-normal-scale-stretched", lambda f, z: (f(2 * z - constant("mu")) - f(z)) / theta),
    ],
)
def test_one_sample_in_the_place_of_two_is_right_for_an_affine_integrand_only(name, written):
    entry = catalogue[name]
    (x,) = entry.draws
    assert entry.formula == written(function("f"), x)

    def verdict(f):
        return derive.prove(Estimator("mine", written(f, x), entry.draws, grad(E(f(x), x), theta))).verdict

    assert verdict(lambda at: constant("c") * at + 1) in HOLDING
    assert verdict(lambda at: constant("c") * at + at**2) not in HOLDING
    assert "right for an affine integrand only" in entry.summary
