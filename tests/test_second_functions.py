"""The crosscheck tries a second set of functions at the smallest size: what holds of quadratics alone is not agreed with."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest

from derive.estimator import Estimator
from derive.language.errors import NotEvaluable
from derive.notation import (
    E,
    absolute,
    clip,
    constant,
    exp,
    finite,
    function,
    grad,
    log,
    logistic,
    maximum,
    maxwell,
    minimum,
    normal,
    parameter,
    relaxation,
    score,
    sqrt,
    stop,
    uniform,
)
from numeric.checking.cases import Case
from numeric.checking.crosscheck import ZeroNoiseCheck, crosscheck
from numeric.checking.problem.functions import signed_constants
from numeric.checking.problem.poles import require_mean

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


# Right estimators of which the numbers are large, or jump


@pytest.mark.parametrize("power", [3, 4, 6])
def test_rounding_is_relative_to_the_size_of_an_estimate(power):
    of_powers = grad(E(F(Z) ** power, Z), TH)
    report = quick(F(Z) ** power * score(Z, TH), (Z,), of_powers, "normal")
    assert report.agrees, str(report)
    assert max(check.tolerance for check in report.zero_noise) > 1e-12
    assert not quick((F(Z) ** power + Fraction(1, 10**6)) * score(Z, TH) + Fraction(1, 10**6), (Z,), of_powers, "normal").agrees


def test_a_right_estimator_that_jumps_with_noise_is_not_accused():
    clipped = clip(F(Z), -A, A)
    with pytest.raises(NotEvaluable, match="its jumps are not seen"):
        quick(clipped * score(Z, TH), (Z,), grad(E(clipped, Z), TH), "normal")
    assert not quick(clipped * score(Z, TH) + 1, (Z,), grad(E(clipped, Z), TH), "normal").agrees  # sampling sees it


def test_an_error_that_the_last_step_of_the_quadrature_explains_is_no_accusation():
    checked = partial(ZeroNoiseCheck, "parameters 1", 9, (0.0,), (0.0,), tolerance=1e-10)
    assert not checked(max_error=3e-10, quadrature_change=4e-10).decided
    assert not checked(max_error=5e-10, quadrature_change=4e-10).passed
    assert checked(max_error=5e-10, quadrature_change=4e-10).decided
    assert checked(max_error=1e-11, quadrature_change=4e-10).passed


@pytest.mark.parametrize("of", [sqrt, log])
def test_a_root_or_logarithm_of_what_is_negative_says_nothing_of_the_code(of):
    with pytest.raises(NotEvaluable, match="is no number: it has a logarithm or a root of what is negative"):
        quick(of(F(Z)) * score(Z, TH), (Z,), grad(E(of(F(Z)), Z), TH), "normal")


# Noise in a denominator

E1, E2, W = normal("e1"), normal("e2"), normal("w", TH, 1)
PATHWISE, MOVED = grad(F(TH + E1), TH), grad(E(F(W), W), TH)


@pytest.mark.parametrize("term", [1 / E1, E2 / E1, 1 / (E1 + TH) ** 2, E2 / (E1 - E2), 1 / (exp(E2) * E1), 1 / stop(E1)])
def test_what_has_no_mean_is_not_agreed_with(term, monkeypatch):
    with pytest.raises(NotEvaluable, match=r"divides by .* then it has no mean"):
        quick(PATHWISE + term, (E1, E2), MOVED, "vector", size=1)
    monkeypatch.setitem(Case.__init__.__globals__, "require_mean", lambda _: None)
    assert quick(PATHWISE + 1 / E1, (E1,), MOVED, "vector", size=1).agrees


@pytest.mark.parametrize("base", [E1**2 + 0, TH + E1**2, E1**2 + E2**2, C * E1, SIGMA(TH) + E1, F(E1) - E1])
def test_what_noise_of_both_signs_makes_zero_is_no_denominator(base):
    with pytest.raises(NotEvaluable, match=r"divides by .* then it has no mean"):
        require_mean(Estimator("mine", PATHWISE / base, (E1, E2), MOVED))
    for both_sides in (logistic("l", loc=0, scale=1), maxwell("l", loc=1)):
        with pytest.raises(NotEvaluable, match="divides by l, which"):
            require_mean(Estimator("mine", PATHWISE / both_sides, (E1, both_sides), MOVED))


def test_what_uniform_noise_makes_zero_is_no_denominator():
    z = R.h(U, TH)
    for term in (1 / U, 1 / (U - 1), 1 / (U * (2 + U)), 1 / z, 1 / (1 + z), F(z) / (z * z)):
        with pytest.raises(NotEvaluable, match=r"divides by .* then it has no mean"):
            require_mean(Estimator("mine", F(B) * score(B) * term, (B, U), TARGET))
    for term in (2 + U, 1 + SOFT, F(z), 1 + z**2):
        require_mean(Estimator("mine", F(B) * score(B) / term, (B, U), TARGET))


@pytest.mark.parametrize("one", [(1 + E1**2) / (1 + E1**2), exp(E1) / exp(E1), (F(E1) + 1) / (1 + F(E1))])
def test_a_denominator_that_is_never_zero_is_judged(one):
    assert quick(PATHWISE * one, (E1,), MOVED, "vector", size=1).agrees
