"""A finite and a normal law in one program: loc and log_scale are tables with a row for each outcome that the law is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import E, finite, function, grad, log, normal, p, parameter, score, stop
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import Compiled, compile

THETA = parameter("theta")
K, OTHER, NOISE = finite("k", THETA), finite("j", THETA, law="q"), normal("epsilon")
M, T, S = (function(name, differentiable=True) for name in ("m", "t", "s"))
F, H = function("f", differentiable=True), function("h", differentiable=True)
Z, MOVED = normal("z", M(K, THETA), T(K, THETA)), M(K, THETA) + T(K, THETA) * NOISE
TARGET = grad(E(F(Z), K, Z), THETA)

SHARED, SHARED_AT = normal("z", M(K, THETA), S(THETA)), M(K, THETA) + S(THETA) * NOISE
PAIR, PAIR_AT = normal("z", M(K, OTHER, THETA), T(OTHER, THETA)), M(K, OTHER, THETA) + T(OTHER, THETA) * NOISE
ALONE, ALONE_AT = normal("z", M(THETA), T(THETA)), M(THETA) + T(THETA) * NOISE
WEIGHT = F(MOVED) - log(p(K)) - log(p(Z, at=MOVED))
ELBO = grad(E(F(Z) - log(p(K)) - log(p(Z)), K, Z), THETA)
BESIDE = grad(E(H(K, ALONE), K, ALONE), THETA)


def mine(formula: Term, *draws, target=TARGET) -> Estimator:
    return Estimator("mine", formula, draws=draws, target=target)


def quick(estimator: Estimator) -> CrosscheckReport:
    return crosscheck(estimator, samples=500)


RIGHT = {
    "score and path": mine(F(MOVED) * score(K) + grad(F(MOVED), THETA), K, NOISE),
    "both scores": mine(F(Z) * (score(K) + score(Z, THETA)), K, Z),
    "every component": mine(E(F(MOVED) * score(K) + grad(F(MOVED), THETA), K), NOISE),
    "one scale": mine(
        F(SHARED_AT) * score(K) + grad(F(SHARED_AT), THETA), K, NOISE, target=grad(E(F(SHARED), K, SHARED), THETA)
    ),
    "of two outcomes": mine(
        F(PAIR_AT) * (score(K) + score(OTHER)) + grad(F(PAIR_AT), THETA), K, OTHER, NOISE,
        target=grad(E(F(PAIR), K, OTHER, PAIR), THETA),
    ),
    "the bound of a mixture": mine(WEIGHT * score(K) + grad(WEIGHT, THETA), K, NOISE, target=ELBO),
    "side by side": mine(H(K, ALONE_AT) * score(K) + grad(H(K, ALONE_AT), THETA), K, NOISE, target=BESIDE),
}  # fmt: skip
WRONG = {
    "path alone": mine(grad(F(MOVED), THETA), K, NOISE),
    "score alone": mine(F(MOVED) * score(K), K, NOISE),
    "the score twice": mine(2 * F(MOVED) * score(K) + grad(F(MOVED), THETA), K, NOISE),
    "score of the component alone": mine(F(Z) * score(K), K, Z),
    "score of the sample alone": mine(F(Z) * score(Z, THETA), K, Z),
    "the scale is stopped": mine(F(MOVED) * score(K) + grad(F(M(K, THETA) + stop(T(K, THETA)) * NOISE), THETA), K, NOISE),
    "the path at another component": mine(F(PAIR_AT) * (score(K) + score(OTHER)), K, OTHER, NOISE,
        target=grad(E(F(PAIR), K, OTHER, PAIR), THETA)),
    "the entropy of the component is missing": mine(
        (WEIGHT + log(p(K))) * score(K) + grad(WEIGHT, THETA), K, NOISE, target=ELBO
    ),
    "side by side, path alone": mine(grad(H(K, ALONE_AT), THETA), K, NOISE, target=BESIDE),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_the_mean_of_the_code_is_the_exact_gradient(name):
    report = quick(RIGHT[name])
    assert report.agrees, str(report)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_twin_is_told_without_noise(name):
    assert not all(check.passed for check in quick(WRONG[name]).zero_noise)


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("score and path", "(k[..., :, None] * df_value[..., None, :])", "(k.flip(-1)[..., :, None] * df_value[..., None, :])"),
        ("score and path", "loc_k = (k[..., None] * loc).sum(-2)", "loc_k = loc.mean(-2)"),
        ("score and path", "* epsilon * scale_k)", "* epsilon)"),
        ("the bound of a mixture", "-torch.ones_like(scale_k)", "-torch.zeros_like(scale_k)"),
        ("of two outcomes", "(k[..., :, None] * j[..., None, :])", "(j[..., :, None] * k[..., None, :])"),
    ],
)
def test_a_row_that_is_not_that_of_its_outcome_is_told(name, was, now, monkeypatch):
    init, changed = Compiled.__init__, []

    def mutated(self, estimator, generated):
        changed.append(generated.source.replace(was, now))
        assert changed[-1] != generated.source
        init(self, estimator, replace(generated, source=changed[-1]))

    monkeypatch.setattr(Compiled, "__init__", mutated)
    assert not all(check.passed for check in quick(RIGHT[name]).zero_noise)
    assert len(changed) == 1


def test_a_mixture_reads_as_it_would_be_written_by_hand():
    body = emit(catalogue["mixture-score-and-pathwise"]).split('(...)."""\n')[1]
    assert "    loc_k = (k[..., None] * loc).sum(-2)\n    scale_k = (k[..., None] * scale).sum(-2)\n" in body
    assert "    value = loc_k + scale_k * epsilon\n    f_value, df_value = value_and_gradient(f, value)\n" in body


def params(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    every = {"p": (4, 3), "loc": (4, 3, 2), "log_scale": (4, 3, 2)} | shapes
    return {name: torch.zeros(shape, requires_grad=True) for name, shape in every.items()}


def test_the_gradient_has_the_shapes_of_the_tables():
    mixture, given = compile(catalogue["mixture-score-and-pathwise"]), params()
    found = mixture(given, lambda z: z.square().sum(-1), samples=5)
    assert {name: part.shape for name, part in found.items()} == {name: part.shape for name, part in given.items()}
    drawn = mixture.draw(given, sample_shape=(7,))
    assert {name: part.shape for name, part in drawn.items()} == {"k": (7, 4, 3), "epsilon": (7, 4, 2)}
    mixture.surrogate(given, lambda z: z.square().sum(-1)).backward()
    assert all(part.grad is not None for part in given.values())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"loc": (4, 5, 2), "log_scale": (4, 5, 2)}, "loc is given an outcome of p: expected a table with 3 rows"),
        ({"log_scale": (4, 5, 2)}, "log_scale is given an outcome of p: expected a table with 3 rows in dimension -2"),
        ({"loc": (4, 2)}, "must agree in batch"),
    ],
)
def test_a_table_that_does_not_fit_its_outcomes_is_refused(shapes, message):
    with pytest.raises(UsageError, match=message):
        compile(catalogue["mixture-score-and-pathwise"]).draw(params(**shapes))


@pytest.mark.parametrize(
    "law",
    [normal("z", M(K, THETA), M(K, THETA)), normal("z", M(K, THETA) + 1, T(THETA)), normal("z", M(THETA, THETA), T(THETA))],
)
def test_what_is_no_mean_and_no_scale_of_outcomes_is_refused(law):
    with pytest.raises(UsageError, match=r"these may be functions of outcomes too, as mu\(k, theta\)"):
        emit(mine(F(law) * score(law, THETA), K, law, target=grad(E(F(law), K, law), THETA)), "normal")


def test_two_normal_laws_that_move_are_refused():
    second = normal("y", S(THETA), T(THETA))
    with pytest.raises(UsageError, match="needs one normal law"):
        emit(mine(F(Z) * score(K) + F(second) * score(second, THETA), K, Z, second))
