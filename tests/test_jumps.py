"""Means over uniform noise and signs of it: both sides of one jump, by quadrature of another library too."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import exp as exponential

import pytest
from scipy.integrate import quad

from derive import prove
from derive.estimator import Estimator
from derive.exact.comparison import readable
from derive.exact.jumps import split_at_jumps
from derive.language.term import Apply, Expect, Sign, Term, anywhere
from derive.notation import (
    E,
    Over,
    bernoulli,
    constant,
    exp,
    finite,
    function,
    grad,
    indicator,
    log,
    p,
    parameter,
    relaxation,
    score,
    sigmoid,
    sign,
    stop,
    uniform,
)

THETA, C, F = parameter("theta"), constant("c"), function("f")
G = function("g", differentiable=True)
U, W = uniform("u"), uniform("w")
S, HALF = sigmoid(THETA), Fraction(1, 2)
BIT = bernoulli("b", logit=THETA)
LOW, HIGH = indicator(S - U), indicator(U - 1 + S)
TARGET = grad(E(F(BIT), BIT), THETA)
AT, VALUES = 0.7, {0: 2.0, 1: -1.0}
P = 1 / (1 + exponential(-AT))
SLOPE = P * (1 - P) * (VALUES[1] - VALUES[0])


def low(u: float) -> float:
    return VALUES[u < P]


def high(u: float) -> float:
    return VALUES[u > 1 - P]


RIGHT: dict[str, tuple[Term, Callable[[float], float]]] = {
    "ARM": ((F(HIGH) - F(LOW)) * (U - HALF), lambda u: (high(u) - low(u)) * (u - 0.5)),
    "augment-REINFORCE": (F(LOW) * (1 - 2 * U), lambda u: low(u) * (1 - 2 * u)),
    "with the score of the bit": (F(LOW) * score(BIT, THETA, at=LOW), lambda u: low(u) * ((u < P) - P)),
    "with the bit for a number": (F(LOW) * (LOW - S), lambda u: low(u) * ((u < P) - P)),
    "a known place": (F(LOW) * (1 - 2 * U) + sign(U - Fraction(1, 4)) - HALF, lambda u: low(u) * (1 - 2 * u)),
    "a place at an end": (F(LOW) * (1 - 2 * U) + sign(U) - sign(1 - U), lambda u: low(u) * (1 - 2 * u)),
}
WRONG: dict[str, tuple[Term, Callable[[float], float]]] = {
    "ARM, a sum": ((F(HIGH) + F(LOW)) * (U - HALF), lambda u: (high(u) + low(u)) * (u - 0.5)),
    "ARM, the sign": ((F(LOW) - F(HIGH)) * (U - HALF), lambda u: (low(u) - high(u)) * (u - 0.5)),
    "the noise squared": (F(LOW) * (1 - 3 * U**2), lambda u: low(u) * (1 - 3 * u**2)),
    "upside down": (F(indicator(U - S)) * (1 - 2 * U), lambda u: VALUES[u > P] * (1 - 2 * u)),
}


def mine(formula: Term, *draws) -> Estimator:
    return Estimator("mine", formula, draws or (U,), TARGET)


def mean(function: Callable[[float], float]) -> float:
    return quad(function, 0, 1, points=[P, 1 - P], epsabs=1e-12)[0]


@pytest.mark.parametrize("name", RIGHT)
def test_one_jump_in_each_summand_is_integrated(name):
    formula, function = RIGHT[name]
    assert mean(function) == pytest.approx(SLOPE, abs=1e-10)
    assert prove(mine(formula)).verdict == "proved"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_twin_is_refuted_with_a_witness(name):
    formula, function = WRONG[name]
    assert mean(function) != pytest.approx(SLOPE, abs=1e-3)
    found = prove(mine(formula))
    assert found.verdict == "refuted"
    assert "witness" in str(found)


def test_a_multiple_is_named():
    assert prove(mine((F(HIGH) - F(LOW)) * (2 * U - 1))).scale == 2


def test_the_derivative_of_a_mean_sees_the_jump_move():
    """The mean at fixed noise has the derivative zero, that of the mean is what is left of the jump."""
    moved = grad(E(F(indicator(S - U)), U), THETA)
    assert prove(Estimator("mine", (F(1) - F(0)) * S * (1 - S), (), moved)).verdict == "proved"
    assert prove(Estimator("mine", grad(F(indicator(S - U)), THETA), (U,), moved)).verdict == "refuted"


@pytest.mark.parametrize(
    "body",
    [
        F(sign(U - THETA)),  # it need not lie between 0 and 1
        F(sign(U - C)),
        F(sign(U - Fraction(5, 4))),
        F(sign(U + Fraction(1, 4))),
        F(sign(U + S)),
        F(sign(U - 2 + S)),
        F(sign(U - 1 + 2 * S)),
        F(sign(U - U + S)),
        F(sign(U - 2 * S)),
        F(sign(U - exp(THETA))),
        F(sign(U - stop(S))),
        F(LOW) * F(HIGH),  # two jumps
        F(LOW) * score(BIT, THETA, at=HIGH),
        F(LOW) * F(sign(U - HALF)),
        F(sign((U - S) * (U - HALF))),
        F(sign(U**2 - S)),
        F(sign(sign(U - S) + U)),
        F(sign(U - S)) * F(U),  # the noise itself in a function
        F(sign(U - S)) * exp(U),
        F(sign(U - S)) * stop(U),
        stop(F(sign(U - S))),  # the sides move with a gradient outside, what is stopped does not
        F(stop(sign(U - S))) * U,
        F(sign(U - S)) * grad(G(U) * S, THETA),
        F(sign(U - S)) * grad(U * S, THETA),
        F(sign(U - S)) / (U + 1),
        F(sign(U - W)),  # what moves with other noise
        E(F(sign(U - W)), W),
        E(F(sign(U - sigmoid(W))), W),
        E(F(W), uniform("w", 0, sign(U - S))),
    ],
    ids=str,
)
def test_another_jump_is_left_as_it_is(body):
    found = split_at_jumps(E(body, U))
    assert anywhere(found, lambda part: isinstance(part, Expect) and anywhere(part, lambda one: isinstance(one, Sign)))


@pytest.mark.parametrize("law", [(0, 2), (-1, 1), (THETA, 1)])
def test_noise_on_another_interval_is_left_as_it_is(law):
    noise = uniform("u", *law)
    body = E(F(sign(noise - S)), noise)
    assert split_at_jumps(body) == body


def test_what_stands_beside_a_jump_is_read_as_before():
    """A summand that is not read leaves the others alone, and a sum that is too long all of them."""
    found = split_at_jumps(E(F(sign(U - S)) * U + F(LOW) * F(HIGH), U))
    assert sum(isinstance(part, Sign) for part in found.args) == 0
    assert anywhere(found, lambda part: isinstance(part, Sign))
    assert anywhere(found, lambda part: part == F(-1))
    long = E((F(sign(U - S)) + U) ** 8, U)
    assert split_at_jumps(long) == long


SLOPED = S * (1 - S)
H = function("h")
DICE = exp(log(p(BIT, at=LOW)) - stop(log(p(BIT, at=LOW))))


@pytest.mark.parametrize(
    ("formula", "draws", "target"),
    [
        (SLOPED * (F(1) - F(0)), (), grad(E(stop(F(LOW)), U), THETA)),
        (F(LOW) * (1 - 2 * U), (U,), grad(E(stop(F(LOW)) * (1 - 2 * U) * THETA, U), THETA)),
        (grad(E(stop(F(LOW)) * (1 - 2 * U) * THETA, U), THETA), (), TARGET),
        (grad(E(DICE * F(LOW), U), THETA), (), TARGET),
        (
            (H(-1, -E(F(U), U)) + H(1, E(F(U), U))) / 2,
            (),
            grad(THETA * E(H(sign(U - HALF), E(sign(U - HALF) * F(U), U)), U), THETA),
        ),
        (SLOPED * (exp(-2) - exp(2)), (), grad(E(exp(sign(U - S) + Over(sign(U - S), U)), U), THETA)),
        (
            F(LOW) * (1 - 2 * U)
            - H(sign(S - U), E(F(U) * sign(S - U), U))
            + S * H(1, E(F(U), U))
            + (1 - S) * H(-1, -E(F(U), U)),
            (U,),
            TARGET,
        ),
    ],
)
def test_what_is_stopped_and_what_another_mean_binds_is_not_split(formula, draws, target):
    """Each was proved, checked, refuted or scaled, and wrongly, when a side was taken of every sign of the name."""
    assert prove(Estimator("mine", formula, draws, target)).verdict == "undecided"


def test_a_mean_inside_that_binds_the_same_name_has_jumps_of_its_own():
    inside = E(F(U) * sign(U - HALF), U)
    found = split_at_jumps(E(H(sign(U - S), inside), U))
    assert anywhere(found, lambda part: isinstance(part, Apply) and part.args[0] == H(-1).args[0])


def test_what_is_stopped_is_split_at_a_place_that_does_not_move():
    body = stop(F(sign(U - HALF)) * U)
    assert not anywhere(split_at_jumps(E(F(sign(U - HALF)) * stop(F(sign(U - HALF))), U)), lambda part: isinstance(part, Sign))
    assert anywhere(split_at_jumps(E(body, U)), lambda part: isinstance(part, Sign))


def test_noise_that_decides_nothing_elsewhere_is_left_as_it_is():
    relaxed = relaxation(finite("a", THETA))
    body = E(F(relaxed.h(U, 0)), U)
    assert anywhere(readable(body), lambda part: isinstance(part, Expect) and part.variable == U)
