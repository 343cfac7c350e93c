"""A product of two vectors is their inner product, and no event is multiplied coordinate by coordinate with another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from derive.catalogue import catalogue
from derive.catalogue.discrete.slopes import o, quadratic, reinmax, slope_of_quadratic
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import E, Over, constant, finite, function, grad, normal, p, parameter, relaxation, score, stop, uniform
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.torchgen import emit, generate
from numeric.codegen.torchrun import Compiled, compile

THETA, K = parameter("theta"), constant("k")
B, OTHER, U = finite("b", THETA), finite("a", THETA, law="q"), uniform("u")
F, SLOPE = function("f", differentiable=True), function("df")
POINT = E(B, B)
TARGET = grad(E(F(B), B), THETA)
BOTH = grad(E(B * OTHER, B, OTHER), THETA)
QUADRATIC = grad(E(quadratic(B), B), THETA)
HEUN = (slope_of_quadratic(B) + slope_of_quadratic(o)) / 2 * (o - B) * grad(p(o), THETA)
EXPANDED = (F(B) - F(POINT) - SLOPE(POINT) * (B - POINT)) * score(B)
FAMILIES = ("bernoulli", "categorical")


def mine(formula: Term, *draws, target=TARGET) -> Estimator:
    return Estimator("mine", formula, draws=draws or (B,), target=target)


def quick(estimator: Estimator, family: str, size: int | None = 3) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=500)


RIGHT = {
    "the slopes at both ends": reinmax,
    "any slope at the mean": mine(EXPANDED + SLOPE(POINT) * grad(POINT, THETA)),
    "any slope at the sample": mine((F(B) - SLOPE(B) * B) * score(B) + E(SLOPE(B) * B * score(B), B)),
    "the square, weighed": mine(K * B**2 * score(B), target=grad(E(K * B**2, B), THETA)),
    "the square": mine(B * B * score(B), target=grad(E(B * B, B), THETA)),
    "two outcomes": mine(B * OTHER * (score(B) + score(OTHER)), B, OTHER, target=BOTH),
    "two means": mine(grad(E(B, B), THETA) * OTHER + E(B, B) * OTHER * score(OTHER), OTHER, target=BOTH),
}
WRONG = {
    "the slope at one end": mine(Over(slope_of_quadratic(o) * (o - B) * grad(p(o), THETA), o), target=QUADRATIC),
    "the slopes at both ends, without the half": mine(Over(2 * HEUN, o), target=QUADRATIC),
    "the slopes at both ends, backwards": mine(Over(-1 * HEUN, o), target=QUADRATIC),
    "any slope at the mean, without the correction": mine(EXPANDED),
    "any slope at the mean, its correction twice": mine(EXPANDED + 2 * SLOPE(POINT) * grad(POINT, THETA)),
    "two outcomes, one score": mine(B * OTHER * score(B), B, OTHER, target=BOTH),
    "two outcomes, one of them squared": mine(B * B * (score(B) + score(OTHER)), B, OTHER, target=BOTH),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", RIGHT)
def test_the_mean_of_the_code_is_the_exact_gradient(name, family):
    report = quick(RIGHT[name], family)
    assert report.agrees, str(report)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_twin_is_told_without_noise(name, family):
    assert not all(check.passed for check in quick(WRONG[name], family).zero_noise)


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("the slopes at both ends", ").sum(-1)[..., None]", ")"),
        ("the square", "(b * b).sum(-1)[..., None]", "(b * b)"),
        ("two outcomes", ".sum(-1)[..., None]", ""),
        ("any slope at the mean", "df_p * (b - p)", "df_p.flip(-1) * (b - p)"),
        ("any slope at the mean", "(df_p * p)", "(df_p.flip(-1) * p)"),
    ],
)
def test_vectors_that_are_multiplied_coordinate_by_coordinate_are_told(name, was, now, monkeypatch):
    """Of classes: of bits that are independent each would have its own part of a sum over them as its gradient."""
    init, changed = Compiled.__init__, []

    def mutated(self, estimator, generated):
        changed.append(generated.source.replace(was, now))
        assert changed[-1] != generated.source
        init(self, estimator, replace(generated, source=changed[-1]))

    monkeypatch.setattr(Compiled, "__init__", mutated)
    assert not all(check.passed for check in quick(RIGHT[name], "categorical").zero_noise)
    assert len(changed) == 1


M, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
Z, NOISE = normal("z", M(THETA), SIGMA(THETA)), normal("epsilon")
MOVED = M(THETA) + SIGMA(THETA) * NOISE
LENGTH = grad(E(Z * Z, Z), THETA)


@pytest.mark.parametrize(
    ("formula", "right"),
    [(Z * Z * score(Z, THETA), True), (K * Z * score(Z, THETA), False), (SLOPE(Z) * Z * score(Z, THETA), False)],
)
def test_the_inner_product_of_normal_vectors_too(formula, right):
    assert quick(mine(formula, Z, target=LENGTH), "normal").agrees == right


@pytest.mark.parametrize("formula", [grad(MOVED * MOVED, THETA), 2 * MOVED * grad(MOVED, THETA)])
def test_the_mean_of_a_normal_law_is_no_number(formula):
    with pytest.raises(UsageError, match=r"uses mu as a number; in the normal family it is a vector, loc"):
        emit(mine(formula, NOISE, target=LENGTH))


# Functions that give a vector


@pytest.mark.parametrize("name", ["straight-through-gumbel", "gumbel-rao"])
def test_a_slope_beside_a_vector_is_a_vector(name):
    generated = generate(catalogue[name], "categorical")
    assert generated.vectors == {"df"}
    assert "functions map (..., n) to (...), df to (..., n)" in generated.source


def test_the_straight_through_gumbel_estimator_is_that_of_torch():
    logits = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    u = torch.rand(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def f(b):
        return (b * torch.arange(3.0, dtype=torch.float64)).sum(-1).square()

    code, moved = compile(catalogue["straight-through-gumbel"], "categorical"), logits.expand(7, 3).clone().requires_grad_()
    soft = torch.softmax((moved.log_softmax(-1) - (-u.log()).log()) / 0.7, -1)
    hard = torch.nn.functional.one_hot(soft.argmax(-1), 3).double()
    f(hard - soft.detach() + soft).sum().backward()
    found = code.estimate(logits, {"u": u}, f, df=torch.func.vmap(torch.func.grad(f)), lambda_=0.7)
    assert torch.allclose(found, moved.grad, atol=1e-14)


def test_a_slope_that_is_a_number_is_refused_where_it_is_given():
    code = compile(RIGHT["any slope at the mean"])
    with pytest.raises(UsageError, match=r"df must return one vector for each outcome: .* expected shape"):
        code(torch.zeros(3), lambda b: b.sum(-1), df=lambda b: b.sum(-1))


# Refusals


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("formula", "draws", "message"),
    [
        (B * score(B), (B,), "uses b as a number"),
        (F(B) * B * score(B), (B,), "uses b as a number"),
        (B * B * B * score(B), (B,), "uses b as a number"),
        (K * B * B * score(B), (B,), "uses b as a number"),
        (SLOPE(B) * function("dg")(B) * B * score(B), (B,), "uses b as a number"),
        (grad(POINT, THETA) * grad(POINT, THETA), (B,), "uses a vector as a number"),
        (grad(F(B + (THETA - stop(THETA)) * (OTHER - B)), THETA), (B, OTHER), "multiplies theta as a number with an event"),
    ],
)
def test_what_has_no_reading_as_an_inner_product_is_refused(formula, draws, message, family):
    with pytest.raises(UsageError, match=message):
        emit(mine(formula, *draws), family)


@pytest.mark.parametrize("objective", [E(F(B) * B, B), E(B * B * B, B), E(K * B * B, B)])
def test_a_target_that_uses_a_vector_as_a_number_has_no_exact_value(objective):
    with pytest.raises(UsageError, match="the target of 'mine' uses a vector as a number"):
        quick(mine(F(B) * score(B), target=grad(objective, THETA)), "bernoulli")


def test_a_slope_is_not_differentiated():
    relaxed = relaxation(B).sigma(relaxation(B).h(U, THETA), constant("lambda"))
    with pytest.raises(UsageError, match="differentiates df, which gives a vector"):
        emit(mine(grad(SLOPE(relaxed) * relaxed, THETA), U))


def test_a_relaxation_is_a_vector_too():
    r = relaxation(B)
    hard = r.H(r.h(U, THETA))
    weighed = mine(K * hard * score(B, at=hard), U, target=grad(E(K * B, B), THETA))
    assert quick(weighed, "bernoulli").agrees
