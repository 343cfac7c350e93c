"""A target may be a sum of gradients, and of multiples of them: every reading takes it as it stands."""

from __future__ import annotations

import pytest

import derive
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import E, constant, exp, finite, function, grad, log, normal, p, parameter, score, stop
from numeric.checking.crosscheck import crosscheck

THETA, PHI, V, C = parameter("theta"), parameter("phi"), constant("v"), constant("c")
B, REF = finite("b", THETA), finite("ref", law="ref")
F, G = function("f"), function("g")
BOX = exp(log(p(B)) - stop(log(p(B))))
FISHER = E(score(B) ** 2, B)
REVERSE = grad(E(log(p(B)) - log(p(REF, at=B)), B), THETA)
FORWARD = grad(E(log(p(REF)) - log(p(B, at=REF)), REF), THETA)
K3 = p(REF, at=B) / p(B) - 1 + log(p(B)) - log(p(REF, at=B))


def slope(f) -> Term:
    return grad(E(f(B), B), THETA)


CASES = {
    "twice": (2 * F(B) * score(B), 2 * slope(F), "proved"),
    "twice: once": (F(B) * score(B), 2 * slope(F), "scaled"),
    "a quarter": (F(B) * score(B) / 4, slope(F) / 4, "proved"),
    "downwards": (-F(B) * score(B), -slope(F), "proved"),
    "downwards: upwards": (F(B) * score(B), -slope(F), "refuted"),
    "a sum": ((F(B) + G(B)) * score(B), slope(F) + slope(G), "proved"),
    "a sum: one of them twice": ((F(B) + 2 * G(B)) * score(B), slope(F) + slope(G), "refuted"),
    "a sum: one is missing": (F(B) * score(B), slope(F) + slope(G), "refuted"),
    "with a constant": ((F(B) - C * G(B)) * score(B), slope(F) - C * slope(G), "proved"),
    "with a constant: the other sign": ((F(B) + C * G(B)) * score(B), slope(F) - C * slope(G), "refuted"),
    "k3 in the reward": (K3 * score(B), REVERSE - FORWARD, "proved"),
    "k3 in the reward: a sum": (K3 * score(B), REVERSE + FORWARD, "refuted"),
    "over the information": (F(B) * score(B) / FISHER, slope(F) / FISHER, "proved"),
    "over the information: not": (F(B) * score(B), slope(F) / FISHER, "refuted"),
    "a constant times a matrix": (V * grad(grad(BOX * F(B), THETA), THETA), V * grad(slope(F), THETA), "proved"),
    "a product with a vector": (V * F(B) * (score(B) ** 2 + grad(score(B), THETA)), grad(V * slope(F), THETA), "proved"),
    "a product with a vector: a term is missing": (V * F(B) * score(B) ** 2, grad(V * slope(F), THETA), "refuted"),
    "nothing": (0 * F(B) * score(B), slope(F) - slope(F), "vacuous"),
}


def case(name: str) -> Estimator:
    formula, target, verdict = CASES[name]
    return Estimator("mine", formula, (B,), target, verdict=verdict)


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_about_the_whole_target(name):
    found = derive.prove(case(name))
    assert found.verdict == case(name).verdict
    assert (found.derivation is not None) == (found.verdict in {"proved", "vacuous"})


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", CASES)
def test_the_code_is_held_against_the_whole_target(name, family):
    report = crosscheck(case(name), family, size=2, samples=500)
    assert (report.agrees, report.vacuous) == (case(name).verdict == "proved", case(name).verdict == "vacuous"), str(report)
    if case(name).verdict in {"scaled", "refuted"}:
        assert not all(check.passed for check in report.zero_noise)


M, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
SMOOTH, OTHER = function("f", differentiable=True), function("h", differentiable=True)
Z, NOISE = normal("z", M(THETA), SIGMA(THETA)), normal("epsilon")
MOVED = M(THETA) + SIGMA(THETA) * NOISE


@pytest.mark.parametrize(
    ("formula", "right"),
    [
        (grad(2 * SMOOTH(MOVED) - C * OTHER(MOVED), THETA), True),
        (grad(SMOOTH(MOVED) - C * OTHER(MOVED), THETA), False),
        (2 * SMOOTH(MOVED) - C * grad(OTHER(MOVED), THETA), False),
    ],
)
def test_a_sum_over_a_normal_law_is_derived_through_its_noise(formula, right):
    mean = [grad(E(f(Z), Z), THETA) for f in (SMOOTH, OTHER)]
    mine = Estimator("mine", formula, (NOISE,), 2 * mean[0] - C * mean[1])
    found = derive.prove(mine)
    assert (found.verdict == "proved", found.derivation is not None) == (right, right)
    assert crosscheck(mine, size=2, samples=500).agrees == right


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (E(F(B), B), "got a Expect that is none"),
        (slope(F) + E(F(B), B), "got a Expect that is none"),
        (slope(F) * slope(G), "it multiplies gradients with each other"),
        (slope(F) ** 2, "got a Power that is none"),
        (slope(F) + grad(E(F(B), B), PHI), "it has gradients by phi and by theta"),
        (2, "got a Number that is none"),
    ],
)
def test_what_is_no_sum_of_gradients_is_refused(target, message):
    with pytest.raises(UsageError, match=f"the target of 'mine' must be a gradient, .*: {message}"):
        Estimator("mine", F(B) * score(B), (B,), target)


def test_what_is_differentiated_is_told_and_a_factor_that_moves_is_stopped():
    assert case("twice").objective == 2 * E(F(B), B)
    assert case("a sum").objective == E(F(B), B) + E(G(B), B)
    assert Estimator("mine", F(B) * score(B), (B,), THETA * slope(F)).objective == stop(THETA) * E(F(B), B)
    assert case("downwards").parameter == THETA
