"""An outcome that a relaxation decides elsewhere than at its law's parameters is read exactly, as drawn from the law there."""

from __future__ import annotations

import pytest

import derive
from derive.estimator import Estimator
from derive.exact import comparison
from derive.exact.decided import decided
from derive.language.errors import NotEvaluable
from derive.language.term import Expect, anywhere
from derive.notation import E, constant, finite, function, grad, parameter, relaxation, score, stop, uniform

theta, c, t = parameter("theta"), constant("c"), constant("t")
b, u, v = finite("b", theta), uniform("u"), uniform("v")
f, g = function("f", differentiable=True), function("g")
relaxed = relaxation(b)


def outcome(at, noise=u):
    return relaxed.H(relaxed.h(noise, at))


hard, shifted = outcome(theta), outcome(theta + t)
target = grad(E(f(b), b), theta)
BIASED = {
    "a difference of means": f(hard) * score(b, at=hard) + f(shifted) - f(hard),
    "drawn from another law": f(shifted) * score(b, at=shifted),
    "drawn from a fixed law": f(outcome(c)) * score(b, at=outcome(c)),
    "drawn at zero": f(outcome(0)) * score(b, at=outcome(0)),
    "a baseline of a shifted outcome": f(hard) * score(b, at=hard) + g(shifted) * score(b, at=shifted),
}


@pytest.mark.parametrize("name", BIASED)
def test_an_outcome_of_another_law_is_refuted_with_an_exact_case(name):
    verdict = derive.prove(Estimator("elsewhere", BIASED[name], (u,), target))
    assert verdict.verdict == "refuted"
    assert verdict.witness.radius == 0
    assert verdict.witness.mean != verdict.witness.target


def test_an_outcome_of_the_other_law_has_the_moments_of_that_law():
    other = finite("d", theta + t, law=b.law.name)
    mean = E(f(shifted) * score(b, at=shifted) * c + f(hard), u)
    drawn = E(f(other) * score(b, at=other), other) * c + E(f(b), b)
    assert comparison.identically_equal(mean, drawn, theta, 3)
    assert not comparison.identically_equal(mean, drawn + E(f(other), other), theta, 3)


def test_a_derivative_of_the_mean_moves_the_law_and_one_inside_holds_the_outcome():
    other = finite("d", theta + t, law=b.law.name)
    assert comparison.identically_equal(grad(E(f(shifted), u), theta), grad(E(f(other), other), theta), theta, 2)
    assert comparison.identically_equal(E(grad(f(shifted), theta), u), 0 * c, theta, 2)


@pytest.mark.parametrize(
    "body", [f(hard) * f(shifted), f(shifted) * u, relaxed.h(u, theta + t), stop(f(shifted)), f(outcome(theta + v)) * 1]
)
def test_noise_of_which_more_is_seen_is_left_as_it_is(body):
    assert anywhere(decided(E(body, u)), lambda part: isinstance(part, Expect) and part.variable == u)


def test_what_is_left_is_refused_by_the_reader():
    with pytest.raises(NotEvaluable, match="another law"):
        comparison.identically_equal(E(f(hard) * f(shifted), u), 0 * c, theta, 2)
