"""The crosscheck does not agree where a min, max, abs or clip stayed in one branch, or jumps with noise."""

from __future__ import annotations

import pytest

from derive.estimator import Estimator
from derive.language.errors import NotEvaluable
from derive.notation import E, absolute, clip, constant, finite, function, grad, minimum, normal, parameter, score, sign
from numeric.checking.crosscheck import crosscheck
from numeric.codegen.running import branches

TH, F, C = parameter("theta"), function("f"), constant("c")
G = function("g", differentiable=True)
B = finite("b", TH)
TARGET = grad(E(F(B), B), TH)
NOISE, Z = normal("e"), normal("z", TH, 1)

ONE_BRANCH = {
    "abs of f": (F(B) * score(B), grad(E(absolute(F(B) + 99), B), TH)),
    "clip of f": (F(B) * score(B), grad(E(clip(F(B), -99, 99), B), TH)),
    "a constant": (C * F(B) * score(B), minimum(C, 99) * TARGET),
    "sign of a mean": (F(B) * score(B), grad(E(F(B), B) * sign(E(F(B) + 99, B)), TH)),
}


@pytest.mark.parametrize("name", ONE_BRANCH)
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_what_is_right_in_one_branch_only_is_not_agreed_with(name, family, monkeypatch):
    formula, target = ONE_BRANCH[name]
    estimator = Estimator("mine", formula, (B,), target)
    with pytest.raises(NotEvaluable, match="never changes among the cases"):
        crosscheck(estimator, family, size=2, samples=2000)
    monkeypatch.setattr("numeric.checking.crosscheck.has_signs", lambda _: False)
    assert crosscheck(estimator, family, size=2, samples=2000).agrees


def test_a_jump_of_noise_is_not_agreed_with(monkeypatch):
    made = lambda x: G(x) + sign(x)  # noqa: E731
    estimator = Estimator("mine", grad(made(TH + NOISE), TH), (NOISE,), grad(E(made(Z), Z), TH))
    with pytest.raises(NotEvaluable, match="jumps are not seen"):
        crosscheck(estimator, size=1, samples=2000)
    monkeypatch.setattr(branches, "_has_sign_of_noise", lambda *_: False)
    monkeypatch.setattr(branches.Branches, "are_taken", True)
    assert crosscheck(estimator, size=1, samples=2000).agrees
