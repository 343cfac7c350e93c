"""The crosscheck tries a second set of functions at the smallest size: what holds of quadratics alone is not agreed with."""

from __future__ import annotations

import pytest

from derive.estimator import Estimator
from derive.notation import (
    E,
    absolute,
    clip,
    constant,
    finite,
    function,
    grad,
    log,
    maximum,
    minimum,
    normal,
    parameter,
    relaxation,
    score,
    uniform,
)
from numeric.checking.crosscheck import crosscheck
from numeric.checking.problem.functions import signed_constants

TH, A, C, TEMPERATURE = parameter("theta"), constant("a"), constant("c"), constant("lambda")
F, G = function("f", differentiable=True), function("g")
MU, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
B, Z = finite("b", TH), normal("z", MU(TH), SIGMA(TH))
U = uniform("u")
R = relaxation(B)
SOFT = R.sigma(R.h(U, TH), TEMPERATURE)
TARGET, NORMAL = grad(E(F(B), B), TH), grad(E(F(Z), Z), TH)


def quick(formula, draws, target, family=None, size=None):
    return crosscheck(Estimator("mine", formula, draws, target), family, size=size, samples=2000)


# True of quadratic functions, and of no others

def third_difference(x):
    return F(4 * x) - 3 * F(3 * x) + 3 * F(2 * x) - F(x)


TRAPEZOID = (F(MU(TH) + SIGMA(TH)) + F(MU(TH) - SIGMA(TH))) / 2
OF_QUADRATICS = {
    "the mean at one scale to either side": (grad(TRAPEZOID, TH), (), NORMAL, "normal"),
    "a third difference of a bit": (F(B) * score(B) + third_difference(B), (B,), TARGET, "bernoulli"),
    "a third difference of soft bits": (F(B) * score(B) + third_difference(SOFT), (B, U), TARGET, "bernoulli"),
    "a third difference of soft classes": (F(B) * score(B) + third_difference(SOFT), (B, U), TARGET, "categorical"),
    "a third difference of normal noise": (F(Z) * score(Z, TH) + third_difference(Z), (Z,), NORMAL, "normal"),
}


@pytest.mark.parametrize("name", OF_QUADRATICS)
def test_what_is_right_for_quadratic_functions_only_is_disagreed_with(name, monkeypatch):
    *mine, family = OF_QUADRATICS[name]
    report = quick(*mine, family, size=1 if family != "categorical" else 2)
    assert not report.agrees, str(report)
    first, second, *others = report.zero_noise
    assert first.passed
    assert second.passed
    assert not any(check.passed for check in others)


# Branches: functions and constants of both signs

RIGHT = {
    "the size of f": (absolute(F(B)) * score(B), grad(E(absolute(F(B)), B), TH)),
    "a clip of f": (clip(F(B), -1, 1) * score(B), grad(E(clip(F(B), -1, 1), B), TH)),
    "the larger of two": (maximum(F(B), G(B)) * score(B), grad(E(maximum(F(B), G(B)), B), TH)),
    "a constant": (minimum(A, 1) * F(B) * score(B), minimum(A, 1) * TARGET),
    "the size of a constant": (absolute(A) * F(B) * score(B), absolute(A) * TARGET),
}
ONE_BRANCH = {name: ((A if "constant" in name else 1) * F(B) * score(B), target) for name, (_, target) in RIGHT.items()}


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", RIGHT)
def test_every_branch_is_seen_of_what_takes_signs(name, family):
    assert quick(RIGHT[name][0], (B,), RIGHT[name][1], family).agrees
    assert not quick(ONE_BRANCH[name][0], (B,), ONE_BRANCH[name][1], family).agrees


def test_what_must_be_positive_stays_positive():
    of_log = absolute(C) * log(F(B)) * score(B)
    assert quick(of_log, (B,), absolute(C) * grad(E(log(F(B)), B), TH)).agrees
    for positive in (1 * F(SOFT), log(C) * F(SOFT), F(SOFT) / C):
        mine = Estimator("mine", (absolute(C) + absolute(A) + absolute(TEMPERATURE)) * positive, (U,), grad(E(F(SOFT), U), TH))
        assert signed_constants(mine) == {"a"} | ({"c"} if positive == 1 * F(SOFT) else set())
