"""Code that differentiates twice gives the exact matrix of second derivatives, or its product with a vector; no twin does."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
import torch

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import E, constant, copies, exp, finite, function, grad, log, normal, p, parameter, score, stop
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.torchgen import emit, usual_families
from numeric.codegen.torchrun import Compiled, compile

THETA, V, C = parameter("theta"), constant("v"), constant("c")
B = finite("b", THETA)
ONE, TWO = copies(B, 2)
F, G = function("f"), function("g", differentiable=True)
MEAN = E(F(B), B)
HESSIAN, PRODUCT = grad(grad(MEAN, THETA), THETA), grad(V * grad(MEAN, THETA), THETA)
BOX = exp(log(p(B)) - stop(log(p(B))))
SQUARE = E(F(B), B) ** 2
SECOND_SCORE = grad(score(B), THETA)

A0, A1 = finite("a0", THETA, law="pi0"), finite("a1", THETA, law="pi1")
BOTH = grad(grad(E(F(A0, A1), A0, A1), THETA), THETA)
SCORES = score(A0) + score(A1)

M, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
Z, NOISE, STEP = normal("z", M(THETA), SIGMA(THETA)), normal("epsilon"), constant("s")
MOVED = M(THETA) + SIGMA(THETA) * NOISE
CURVED = grad(grad(E(G(Z), Z), THETA), THETA)
SMOOTH = E(G(THETA + STEP * NOISE), NOISE)


def mine(formula: Term, *draws, target=HESSIAN) -> Estimator:
    return Estimator("mine", formula, draws=draws or (B,), target=target)


def quick(estimator: Estimator, family: str, size: int | None = 2) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=500)


RIGHT = {
    "a box": mine(grad(grad(BOX * F(B), THETA), THETA)),
    "a box and a baseline": mine(grad(grad(BOX * F(B) + (1 - BOX) * C, THETA), THETA)),
    "scores": mine(F(B) * (score(B) ** 2 + SECOND_SCORE)),
    "scores, and the derivative of one times the integrand": mine(F(B) * score(B) ** 2 + grad(F(B) * score(B), THETA)),
    "the derivative of a score estimate with its box": mine(grad(BOX * F(B) * score(B), THETA)),
    "a product of two functions of two samples": mine(
        2 * F(ONE) * F(TWO) * score(ONE) * score(TWO) + 2 * F(ONE) * F(TWO) * (score(ONE) ** 2 + grad(score(ONE), THETA)),
        ONE,
        TWO,
        target=grad(grad(SQUARE, THETA), THETA),
    ),
    "the sum over every outcome": mine(E(F(B) * score(B) ** 2 + F(B) * SECOND_SCORE, B)),
    "two laws": mine(F(A0, A1) * (SCORES**2 + grad(SCORES, THETA)), A0, A1, target=BOTH),
    "two laws, the square written out": mine(
        F(A0, A1) * (score(A0) ** 2 + 2 * score(A0) * score(A1) + score(A1) ** 2 + grad(SCORES, THETA)),
        A0,
        A1,
        target=BOTH,
    ),
    "a product with a vector, by a box": mine(grad(V * grad(BOX * F(B), THETA), THETA), target=PRODUCT),
    "a product with a vector, by scores": mine(V * F(B) * (score(B) ** 2 + SECOND_SCORE), target=PRODUCT),
    "a product with a vector, one factor of it": mine(
        F(B) * (V * score(B)) * score(B) + F(B) * grad(V * score(B), THETA), target=PRODUCT
    ),
}
ASYMMETRIC = {
    "a product of means": mine(
        F(ONE) * G(TWO) * (score(ONE) * score(TWO) + score(ONE) ** 2 + grad(score(ONE), THETA)), ONE, TWO,
        target=grad(grad(E(F(B), B), THETA) * E(G(B), B), THETA),
    ),
    "a derivative of a product": mine(
        grad(F(ONE) * score(ONE) * G(TWO) * exp(log(p(TWO)) - stop(log(p(TWO)))), THETA) + F(ONE) * G(TWO) * score(ONE) ** 2,
        ONE, TWO, target=grad(grad(E(F(B), B), THETA) * E(G(B), B), THETA),
    ),
}  # fmt: skip
RIGHT |= ASYMMETRIC
WRONG = {
    "the second score is missing": mine(F(B) * score(B) ** 2),
    "the square is missing": mine(F(B) * SECOND_SCORE),
    "the square twice": mine(F(B) * (2 * score(B) ** 2 + SECOND_SCORE)),
    "the second score has the other sign": mine(F(B) * (score(B) ** 2 - SECOND_SCORE)),
    "a surrogate": mine(grad(grad(log(p(B)) * F(B), THETA), THETA)),
    "a box that is stopped once too often": mine(grad(stop(BOX * F(B)) * score(B), THETA)),
    "the cross term is missing": mine(
        F(A0, A1) * (score(A0) ** 2 + score(A1) ** 2 + grad(SCORES, THETA)), A0, A1, target=BOTH
    ),
    "the cross term once": mine(
        F(A0, A1) * (score(A0) ** 2 + score(A0) * score(A1) + score(A1) ** 2 + grad(SCORES, THETA)), A0, A1, target=BOTH
    ),
    "the cross term of a product of means is missing": mine(
        2 * F(ONE) * F(TWO) * (score(ONE) ** 2 + grad(score(ONE), THETA)), ONE, TWO, target=grad(grad(SQUARE, THETA), THETA)
    ),
    "a product with a vector, of the square alone": mine(V * F(B) * score(B) ** 2, target=PRODUCT),
    "a product with a vector, twice": mine(2 * grad(V * grad(BOX * F(B), THETA), THETA), target=PRODUCT),
}
FAMILIES = ("bernoulli", "categorical")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", RIGHT)
def test_the_mean_of_the_code_is_the_exact_matrix(name, family):
    report = quick(RIGHT[name], family)
    assert report.agrees, str(report)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_matrix_is_told_without_noise(name, family):
    assert not all(check.passed for check in quick(WRONG[name], family).zero_noise)


CONTINUOUS = {
    "pathwise": (mine(grad(grad(G(MOVED), THETA), THETA), NOISE, target=CURVED), "normal", True),
    "pathwise, along a vector theta": (
        mine(grad(grad(G(THETA + STEP * NOISE), THETA), THETA), NOISE, target=grad(grad(SMOOTH, THETA), THETA)), "vector", True
    ),
    "pathwise, times a vector": (
        mine(grad(V * grad(G(THETA + STEP * NOISE), THETA), THETA), NOISE, target=grad(V * grad(SMOOTH, THETA), THETA)),
        "vector",
        True,
    ),
    "pathwise, half of it": (mine(grad(grad(G(MOVED), THETA), THETA) / 2, NOISE, target=CURVED), "normal", False),
    "pathwise, the scale is stopped": (
        mine(grad(grad(G(M(THETA) + stop(SIGMA(THETA)) * NOISE), THETA), THETA), NOISE, target=CURVED), "normal", False
    ),
    "values alone": (
        mine(G(THETA + STEP * NOISE) * (NOISE**2 - 1) / STEP**2, NOISE, target=grad(grad(SMOOTH, THETA), THETA)), "vector", True
    ),
    "values alone, without their mean": (
        mine(G(THETA + STEP * NOISE) * NOISE**2 / STEP**2, NOISE, target=grad(grad(SMOOTH, THETA), THETA)), "vector", False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_noise_too(name):
    estimator, family, right = CONTINUOUS[name]
    assert usual_families(estimator) == (family,)
    report = quick(estimator, family, None)
    assert report.agrees == right, str(report)
    assert all(check.passed for check in report.zero_noise) == right


@pytest.mark.parametrize("name", ["dice-second-order", "hessian-score", "surrogate-second-order", "hessian-score-squared"])
def test_a_law_that_is_read_as_normal_has_a_matrix_of_mean_and_scale(name):
    assert quick(catalogue[name], "normal").agrees == (catalogue[name].verdict == "proved")


# Mutants of the code: what a matrix is put together from


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("scores", "[..., :, None] * score_b[..., None, :]", "[..., :, None].square()"),
        ("scores", "return torch.stack([pull(unit", "return -torch.stack([pull(unit"),
        ("two laws", "d_pi0_pi1.mT", "d_pi0_pi1"),
        ("two laws", "d_pi0_pi1.mT", "-d_pi0_pi1.mT"),
        ("a product with a vector, by scores", "along_v[..., None, :]", "along_v[..., :, None]"),
        ("a product of means", "0.5 * ", ""),
        ("a product of means", "[..., None, :] + s", "[..., None, :] - s"),
        ("a derivative of a product", "slopes.mT", "slopes"),
    ],
)
def test_a_matrix_that_is_put_together_wrongly_is_told(name, was, now, family, monkeypatch):
    init, changed = Compiled.__init__, []

    def mutated(self, estimator, generated):
        changed.append(generated.source.replace(was, now))
        assert changed[-1] != generated.source
        init(self, estimator, replace(generated, source=changed[-1]))

    monkeypatch.setattr(Compiled, "__init__", mutated)
    assert not all(check.passed for check in quick(RIGHT[name], family, 3).zero_noise)
    assert len(changed) == 1


# The source


@pytest.mark.parametrize(
    ("formula", "target"),
    [(-SECOND_SCORE * F(B), HESSIAN), (SECOND_SCORE * F(B), HESSIAN), (grad(V * score(B), THETA), PRODUCT)],
)
def test_every_helper_that_is_called_is_there(formula, target):
    tree = ast.parse(emit(mine(formula, target=target)))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert called & {"jacobian", "gradient"}
    assert called & {"jacobian", "gradient"} <= defined


def test_a_matrix_reads_as_it_would_be_written_by_hand():
    body = emit(catalogue["dice-second-order"]).split('(...)."""\n')[1]
    assert body == (
        '    b = noise["b"]\n'
        "    f_b = f(b)\n"
        "\n"
        "    def slope(logits):\n"
        "        p = torch.sigmoid(logits)\n"
        "        score_b = b - p\n"
        "        log_p_b = logsigmoid((2 * b - 1) * logits).sum(-1)\n"
        "        return f_b[..., None] * torch.exp(log_p_b - log_p_b.detach())[..., None] * score_b\n"
        "\n"
        "    return jacobian(slope, logits.expand(*b.shape[:-1], -1))\n"
    )


@pytest.mark.parametrize("name", ["dice-second-order", "hessian-score"])
def test_a_matrix_is_that_of_torch_for_each_element_of_a_batch_and_each_sample(name):
    logits = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    noise = compile(catalogue[name], "categorical").draw(logits, torch.Generator().manual_seed(0), (5,))["b"]
    found = compile(catalogue[name], "categorical").estimate(logits, {"b": noise}, lambda b: b[..., 0] + 2 * b[..., 2])

    def weighed(row, b):
        log_p = (b * row.log_softmax(-1)).sum()
        return torch.exp(log_p - log_p.detach()) * (b[0] + 2 * b[2])

    every = [[torch.autograd.functional.hessian(lambda x, b=b: weighed(x, b), row) for row, b in zip(logits, some, strict=True)]
             for some in noise]  # fmt: skip
    assert torch.allclose(found, torch.stack([torch.stack(row) for row in every]), atol=1e-15)
    assert found.shape == (5, 2, 3, 3)


def test_the_matrix_passes_the_transforms_of_torch():
    code = compile(catalogue["hessian-score"])
    logits, b = torch.randn(4, 3, dtype=torch.float64), torch.ones(4, 3, dtype=torch.float64)
    one_by_one = torch.func.vmap(lambda x, b: code.estimate(x, {"b": b}, lambda b: b.sum(-1)))(logits, b)
    assert torch.equal(one_by_one, code.estimate(logits, {"b": b}, lambda b: b.sum(-1)))


def test_a_matrix_has_no_surrogate_loss():
    with pytest.raises(UsageError, match="a matrix of second derivatives, and no gradient of a loss"):
        compile(catalogue["hessian-score"]).surrogate(torch.zeros(3), lambda b: b.sum(-1))


# Refusals


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (mine(F(B) * score(B) + F(B) * score(B) ** 2), "differentiated by theta 1 or 2 times"),
        (mine(F(B) * score(B) ** 2 / log(score(B) ** 2)), "differentiated by theta in no fixed number"),
        (mine(F(B) * score(B) ** 2 * THETA), "uses theta as a number, and differentiates twice"),
        (mine(grad(F(B) * score(B), THETA), target=grad(MEAN, THETA)), "differentiates a score once more, which is a matrix"),
        (mine(grad(grad(BOX * F(B), THETA), THETA), target=grad(MEAN, THETA)), "differentiates a grad once more, which is"),
        (mine(V * V * F(B) * score(B) ** 2, target=PRODUCT), "differentiated by theta 0 times"),
        (mine(V * F(A0, A1) * SCORES**2, A0, A1, target=grad(V * grad(E(F(A0, A1), A0, A1), THETA), THETA)), "one tensor"),
    ],
)
def test_what_is_no_matrix_is_refused_by_name(estimator, message):
    with pytest.raises(UsageError, match=message):
        emit(estimator)
