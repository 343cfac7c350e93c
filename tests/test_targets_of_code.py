"""What the crosscheck has exact values for: any density, the noise of a relaxation, laws of the target alone, numbers."""

from __future__ import annotations

import pytest

from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
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
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.meaning.instances import mean_alone
from numeric.codegen.torchgen import emit, natural_family, usual_families

THETA, C, STEP, TEMPERATURE = parameter("theta"), constant("c"), constant("s"), constant("lambda")
F = function("f", differentiable=True)


def mine(formula: Term, *draws, target: Term) -> Estimator:
    return Estimator("mine", formula, draws=draws, target=target)


def quick(estimator: Estimator, family: str | None = None, size: int | None = 2) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=500)


def told_without_noise(report: CrosscheckReport) -> bool:
    return not all(check.passed for check in report.zero_noise)


# An abstract density is run as a normal law

ANY = continuous("t", THETA, law="rho")
FIRST, SECOND = copies(ANY, 2)
MEAN = grad(E(F(ANY), ANY), THETA)
CURVED = grad(MEAN, THETA)
DENSITIES = {
    "the score": (mine(F(ANY) * score(ANY), ANY, target=MEAN), True),
    "a baseline": (mine((F(ANY) - C) * score(ANY), ANY, target=MEAN), True),
    "two samples": (mine((F(FIRST) - F(SECOND)) * (score(FIRST) - score(SECOND)) / 2, FIRST, SECOND, target=MEAN), True),
    "the score of another sample": (mine(F(FIRST) * score(SECOND), FIRST, SECOND, target=MEAN), False),
    "half of it": (mine(F(ANY) * score(ANY) / 2, ANY, target=MEAN), False),
    "second derivatives": (mine(F(ANY) * (score(ANY) ** 2 + grad(score(ANY), THETA)), ANY, target=CURVED), True),
    "second derivatives, the square alone": (mine(F(ANY) * score(ANY) ** 2, ANY, target=CURVED), False),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_an_abstract_density_is_run_as_a_normal_law(name):
    estimator, right = DENSITIES[name]
    assert natural_family(estimator) == "normal"
    report = quick(estimator)
    assert report.agrees == right, str(report)
    assert told_without_noise(report) == (not right)
    assert "rho is any density, and normal here." in " ".join(emit(estimator).split())


WEIGHT = continuous("t", THETA, law="rho", normalised=False)
OUTCOME, OTHER = finite("b", THETA), continuous("o", THETA, law="pi")


@pytest.mark.parametrize(
    ("draws", "family", "message"),
    [
        ((ANY,), "bernoulli", "uses rho, an abstract density on the line, which the bernoulli family is not"),
        ((WEIGHT,), "normal", "uses rho, abstract densities, of which there is no sampler"),
        ((ANY, OTHER), "normal", "uses rho and pi, abstract densities"),
        ((ANY, OUTCOME), "normal", "uses rho, abstract densities, .* beside no other law"),
    ],
)
def test_a_density_that_is_no_normal_law_is_refused(draws, family, message):
    formula = F(*draws) * score(draws[0])
    with pytest.raises(UsageError, match=message):
        emit(mine(formula, *draws, target=grad(E(F(*draws), *draws), THETA)), family)


# A mean beside a scale that does not move

M, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
ACTION, EPSILON = normal("a", M(THETA), STEP), normal("epsilon")
MOVED = M(THETA) + STEP * EPSILON
POLICY = grad(E(F(ACTION), ACTION), THETA)
MEANS = {
    "the score": (mine(F(ACTION) * score(ACTION, THETA), ACTION, target=POLICY), True),
    "the path": (mine(grad(F(MOVED), THETA), EPSILON, target=POLICY), True),
    "the path, with another scale": (mine(grad(F(M(THETA) + 2 * STEP * EPSILON), THETA), EPSILON, target=POLICY), False),
    "both": (mine(F(ACTION) * score(ACTION, THETA) + grad(F(M(THETA)), THETA), ACTION, target=POLICY), False),
}


@pytest.mark.parametrize("name", MEANS)
def test_the_mean_of_a_normal_law_whose_scale_does_not_move_is_a_vector(name):
    estimator, right = MEANS[name]
    assert usual_families(estimator) == ("vector",)
    report = quick(estimator, size=1)
    assert report.agrees == right, str(report)
    assert told_without_noise(report) == (not right)
    assert "theta is the mean mu(theta)." in " ".join(emit(estimator).split())


@pytest.mark.parametrize("law", [normal("a", M(THETA), SIGMA(THETA)), normal("a", M(THETA) + THETA, STEP)])
def test_it_is_none_where_theta_stands_elsewhere(law):
    estimator = mine(F(law) * score(law, THETA), law, target=grad(E(F(law), law), THETA))
    assert mean_alone(estimator) is None
    beside = mine(F(ACTION, THETA) * score(ACTION, THETA), ACTION, target=grad(E(F(ACTION, THETA), ACTION), THETA))
    assert mean_alone(beside) is None


# Means over the noise of a relaxation

B, U, V = finite("b", THETA), uniform("u"), uniform("v")
R = relaxation(B)
LATENT = R.h(U, THETA)
HARD, SOFT = R.H(LATENT), R.sigma(LATENT, TEMPERATURE)
G = function("g", differentiable=True)
GIVEN = R.h_tilde(V, B, THETA)
RELAXED, RAW = grad(E(F(SOFT), U), THETA), grad(E(G(LATENT), U), THETA)
RELAXATIONS = {
    "its path": (mine(grad(F(SOFT), THETA), U, target=RELAXED), True),
    "its path, held": (mine(grad(F(R.sigma(R.h(U, stop(THETA)), TEMPERATURE)), THETA), U, target=RELAXED), False),
    "its path, twice": (mine(2 * grad(F(SOFT), THETA), U, target=RELAXED), False),
    "twice of two": (mine(2 * grad(F(SOFT), THETA), U, target=2 * RELAXED), True),
    "another temperature": (mine(grad(F(R.sigma(LATENT, 2 * TEMPERATURE)), THETA), U, target=RELAXED), False),
    "the sum with a score": (mine(F(SOFT) * score(B, at=HARD) + grad(F(SOFT), THETA), U, target=RELAXED), False),
    "the latent variable": (mine(grad(G(LATENT), THETA), U, target=RAW), True),
    "given the outcome": (mine(G(GIVEN) * score(B) + grad(G(GIVEN), THETA), B, V, target=RAW), True),
    "given the outcome, score alone": (mine(G(GIVEN) * score(B), B, V, target=RAW), False),
    "given the outcome, path alone": (mine(grad(G(GIVEN), THETA), B, V, target=RAW), False),
}


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", RELAXATIONS)
def test_a_mean_over_the_noise_of_a_relaxation_has_an_exact_gradient(name, family):
    estimator, right = RELAXATIONS[name]
    report = quick(estimator, family, 3 if family == "categorical" else 2)
    assert report.agrees == right, str(report)
    assert told_without_noise(report) == (not right)


@pytest.mark.parametrize("objective", [E(F(HARD), U), E(F(GIVEN), B, V), exp(E(F(SOFT), U)), grad(E(F(SOFT), U), THETA)])
def test_a_mean_that_jumps_with_the_noise_has_none(objective):
    with pytest.raises(UsageError, match="the target of 'mine'"):
        quick(mine(F(HARD) * score(B, at=HARD), U, target=grad(objective, THETA)), "bernoulli")


# Laws of the target that the code does not know, and numbers that are drawn

REF = finite("r", law="ref")
FORWARD = grad(E(log(p(REF)) - log(p(B, at=REF)), REF), THETA)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_a_law_of_the_target_alone_gets_logits_of_its_own(family):
    assert quick(mine(F(B) * score(B), B, target=grad(E(F(B), B) + E(F(REF), REF), THETA)), family).agrees
    assert not quick(mine(-score(B), B, target=FORWARD), family).agrees
    exact = -Over(p(REF) * score(B, at=REF), REF)
    assert quick(mine(exact, REF, target=FORWARD), family).agrees


X, NOISE = normal("x", THETA, 1), normal("epsilon")
NUMBERS = {
    "the square": (mine(2 * (THETA + NOISE), NOISE, target=grad(E(X**2, X), THETA)), True),
    "the square, its value": (mine(X, X, target=grad(E(X**2, X), THETA)), False),
    "an exponential": (mine(exp(THETA + NOISE), NOISE, target=grad(E(exp(X), X), THETA)), True),
    "a slope times the noise": (
        mine(grad(F(THETA + NOISE), THETA) * NOISE, NOISE, target=grad(grad(E(F(X), X), THETA), THETA)), True
    ),
    "a slope": (mine(grad(F(THETA + NOISE), THETA), NOISE, target=grad(grad(E(F(X), X), THETA), THETA)), False),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_drawn_has_powers_and_exponentials(name):
    estimator, right = NUMBERS[name]
    assert usual_families(estimator) == ("vector",)
    report = quick(estimator, size=1)
    assert report.agrees == right, str(report)
    assert told_without_noise(report) == (not right)
