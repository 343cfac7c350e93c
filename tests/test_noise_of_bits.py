"""The noise behind bits is a number for each coordinate, and may be mirrored: augment-REINFORCE, ARM, and their twins."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import E, finite, function, grad, normal, parameter, relaxation, score, uniform
from numeric.checking.crosscheck import crosscheck
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import compile

THETA, HALF = parameter("theta"), Fraction(1, 2)
B, U, V = finite("b", THETA), uniform("u"), uniform("v")
F, H = function("f"), function("h")
R = relaxation(B)
BIT, MIRRORED = R.H(R.h(U, THETA)), R.H(R.h(1 - U, THETA))
TARGET = grad(E(F(B), B), THETA)


def mine(formula: Term, *draws) -> Estimator:
    return Estimator("mine", formula, draws=draws or (U,), target=TARGET)


RIGHT = {
    "augment-REINFORCE": mine(F(BIT) * (2 * U - 1)),
    "ARM": mine((F(BIT) - F(MIRRORED)) * (U - HALF)),
    "ARM, the other way round": mine((F(MIRRORED) - F(BIT)) * (HALF - U)),
    "both samples scored": mine((F(BIT) * score(B, at=BIT) + F(MIRRORED) * score(B, at=MIRRORED)) / 2),
}
WRONG = {
    "augment-REINFORCE, half": mine(F(BIT) * (U - HALF)),
    "augment-REINFORCE, downwards": mine(F(BIT) * (1 - 2 * U)),
    "ARM, twice": mine((F(BIT) - F(MIRRORED)) * (2 * U - 1)),
    "ARM, a sum": mine((F(BIT) + F(MIRRORED)) * (U - HALF)),
    "ARM, one sample alone": mine((F(BIT) - F(BIT)) * (U - HALF) + F(MIRRORED) * (U - HALF)),
    "mirrored, with the score of the other": mine(F(MIRRORED) * score(B, at=BIT)),
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", RIGHT)
def test_the_mean_of_the_code_is_the_exact_gradient(name, size):
    report = crosscheck(RIGHT[name], "bernoulli", size=size, samples=500)
    assert report.agrees, str(report)
    assert all(check.tolerance <= 1e-11 for check in report.zero_noise)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_twin_is_told_without_noise(name):
    assert not all(check.passed for check in crosscheck(WRONG[name], "bernoulli", size=2, samples=500).zero_noise)


def test_arm_is_what_the_paper_says():
    logits, u = torch.tensor([0.4, -0.9], dtype=torch.float64), torch.tensor([[0.2, 0.7], [0.9, 0.1]], dtype=torch.float64)

    def f(b):
        return (b * torch.tensor([1.0, 3.0], dtype=torch.float64)).sum(-1).square()

    first, second = (u > torch.sigmoid(-logits)).double(), (u < torch.sigmoid(logits)).double()
    found = compile(RIGHT["ARM"]).estimate(logits, {"u": u}, f)
    assert torch.allclose(found, (f(first) - f(second))[:, None] * (u - 0.5))


OTHER = finite("a", THETA, law="q")
OF_OTHER = relaxation(OTHER).H(relaxation(OTHER).h(V, THETA))


@pytest.mark.parametrize(
    ("estimator", "family"),
    [
        (RIGHT["ARM"], "categorical"),
        (Estimator("mine", H(BIT, OF_OTHER) * (2 * U - 1), (U, V), grad(E(H(B, OTHER), B, OTHER), THETA)), "bernoulli"),
        (mine(F(B) * score(B) * V, B, V), "bernoulli"),
    ],
)
def test_noise_is_a_number_for_the_bits_of_one_law_only(estimator, family):
    with pytest.raises(UsageError, match=r"uses the noise [uv] as a number; that it is for the bits of one law only"):
        emit(estimator, family)


def test_two_noises_of_which_one_is_mirrored_have_no_rule():
    second = R.H(R.h(V, THETA))
    with pytest.raises(UsageError, match=r"mirrored, 1 - u, where no other noise is drawn"):
        crosscheck(mine((F(BIT) - F(MIRRORED)) * (U - HALF) + (F(second) - F(second)) * (V - HALF), U, V), "bernoulli")


@pytest.mark.parametrize("noise", [U / 2, 2 - U, 1 - normal("n")])
def test_other_noise_than_that_and_its_mirror_image_is_refused(noise):
    bit = R.H(R.h(noise, THETA))
    draws = (U,) if noise != 1 - normal("n") else (normal("n"),)
    with pytest.raises(UsageError, match=r"uniform on \(0, 1\)"):
        emit(mine(F(bit) * score(B, at=bit), *draws), "bernoulli")
