"""The best constant baseline and the best eta of a control variate for discrete laws, exactly.

The formulas are polynomial identities that gradproof proves for every law on K outcomes; on random rational cases they are
compared with the exact variances of the catalogue's estimators.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.laws.models import RationalCase
from derive.notation import E, constant, finite, function, grad, parameter, score
from docs.variance.forms import best_constant_identity

THETA = parameter("theta")
B, F, C = finite("b", THETA), function("f"), function("C")
Numbers = Sequence[Fraction]


def weighted_control() -> Estimator:
    """The control variate of the catalogue with a weight eta on it and on its correction."""
    eta, correction = constant("eta"), grad(E(C(B), B), THETA)
    formula = F(B) * score(B) - eta * (C(B) * score(B) - correction)
    return Estimator("control-variate with eta", formula, (B,), grad(E(F(B), B), THETA))


def proved_identities(outcomes: int) -> bool:
    """Whether both optimality identities are proved for every law on so many outcomes, every f and every C."""
    c = constant("c")
    return best_constant_identity(F(B), score(B), B, c, THETA, outcomes) and proved_eta(outcomes)


def proved_eta(outcomes: int) -> bool:
    """Var h Var(g - eta h) = Var h Var g - Cov^2 + (eta Var h - Cov)^2, with g = f s and h = C s - E[C s]."""
    eta, g = constant("eta"), F(B) * score(B)
    h = C(B) * score(B) - grad(E(C(B), B), THETA)

    def cov(x: object, y: object) -> object:
        return E(x * y, B) - E(x, B) * E(y, B)  # type: ignore[operator]

    spread, both, mixed = cov(h, h), cov(g, h), g - eta * h
    left = spread * cov(mixed, mixed)
    right = spread * cov(g, g) - both**2 + (eta * spread - both) ** 2
    return exact.identically_equal(left, right, THETA, outcomes)


def best_constant(p: Numbers, tangent: Numbers, f: Numbers) -> Fraction:
    """c = E[f s^2] / E[s^2]; the score is s_k = p'_k / p_k."""
    weights = [t * t / q for q, t in zip(p, tangent, strict=True)]
    return sum((w * x for w, x in zip(weights, f, strict=True)), Fraction(0)) / sum(weights)


def best_constant_softmax(p: Numbers, f: Numbers) -> Fraction:
    """The constant for the sum of the variances over all logits: c = E[f |s|^2] / E[|s|^2], |s|^2 = 1 - 2 p_b + sum p_j^2."""
    total = sum(q * q for q in p)
    weights = [q * (1 - 2 * q + total) for q in p]
    return sum((w * x for w, x in zip(weights, f, strict=True)), Fraction(0)) / sum(weights)


def best_eta(p: Numbers, tangent: Numbers, f: Numbers, control: Numbers) -> Fraction:
    """Eta = Cov(f s, C s) / Var(C s)."""
    scores = [t / q for q, t in zip(p, tangent, strict=True)]
    g, h = ([x * s for x, s in zip(table, scores, strict=True)] for table in (f, control))

    def cov(x: Numbers, y: Numbers) -> Fraction:
        def mean(z: Numbers) -> Fraction:
            return sum((q * value for q, value in zip(p, z, strict=True)), Fraction(0))

        return mean([a * b for a, b in zip(x, y, strict=True)]) - mean(x) * mean(y)

    return cov(g, h) / cov(h, h)


def variance_with(c: Fraction, p: Numbers, tangent: Numbers, f: Numbers) -> Fraction:
    """The exact variance of the catalogue's constant-baseline."""
    case = RationalCase.finite(p, tangent, f=f, symbols={"c": c})
    return exact.mean_and_variance_at(catalogue["constant-baseline"], case)[1]


def variance_with_eta(eta: Fraction, p: Numbers, tangent: Numbers, f: Numbers, control: Numbers) -> Fraction:
    case = RationalCase.finite(p, tangent, f=f, C=control, symbols={"eta": eta})
    return exact.mean_and_variance_at(weighted_control(), case)[1]


def softmax_tangent(p: Numbers, j: int) -> list[Fraction]:
    """The derivative of the probabilities with respect to logit j."""
    return [q * (int(k == j) - p[j]) for k, q in enumerate(p)]


@dataclass(frozen=True)
class Checked:
    """How many random cases confirmed a formula, and one of them.

    Args
        cases       the number of cases
        holds       whether the variance at the formula's value is lower than on both sides of it, in every case
        parabola    whether it rises from there by exactly E[s^2] (or Var h) times the squared distance, in every case
        least       the number of cases in which the lowest variance is 0
    """

    cases: int
    holds: bool
    parabola: bool
    least: int


def random_case(rng: random.Random, outcomes: int) -> tuple[list[Fraction], list[Fraction], list[Fraction], list[Fraction]]:
    weights = [rng.randint(1, 9) for _ in range(outcomes)]
    p = [Fraction(w, sum(weights)) for w in weights]
    tangent = [Fraction(rng.randint(-6, 6), rng.randint(1, 4)) for _ in range(outcomes - 1)]
    if not any(tangent):
        tangent[0] = Fraction(1)
    f, control = ([Fraction(rng.randint(-9, 9), rng.randint(1, 5)) for _ in range(outcomes)] for _ in range(2))
    control[0] += 10  # so that C s is not constant by chance
    return p, [*tangent, -sum(tangent)], f, control


def rises(least: Fraction, around: Numbers) -> set[Fraction]:
    return {value - least for value in around}


def check_constant(outcomes: int, cases: int, seed: int) -> Checked:
    """Compare the formula for c with exact variances at c, and one step to both sides."""
    rng, step, good, exactly, zero = random.Random(seed), Fraction(1, 7), True, True, 0
    for _ in range(cases):
        p, tangent, f, _ = random_case(rng, outcomes)
        c = best_constant(p, tangent, f)
        least, *around = (variance_with(c + d, p, tangent, f) for d in (0, step, -step))
        rise = step**2 * sum((t * t / q for q, t in zip(p, tangent, strict=True)), Fraction(0))
        good, exactly, zero = good and least < min(around), exactly and rises(least, around) == {rise}, zero + (least == 0)
    return Checked(cases, good, exactly, zero)


def check_softmax(outcomes: int, cases: int, seed: int) -> Checked:
    """The same for the sum of the variances over all logits of a categorical law."""
    rng, step, good, exactly, zero = random.Random(seed), Fraction(1, 7), True, True, 0
    for _ in range(cases):
        p, _, f, _ = random_case(rng, outcomes)
        c = best_constant_softmax(p, f)
        tangents = [softmax_tangent(p, j) for j in range(outcomes)]
        least, *around = (sum(variance_with(c + d, p, t, f) for t in tangents) for d in (0, step, -step))
        rise = step**2 * (1 - sum(q * q for q in p))
        good, exactly, zero = good and least < min(around), exactly and rises(least, around) == {rise}, zero + (least == 0)
    return Checked(cases, good, exactly, zero)


def check_eta(outcomes: int, cases: int, seed: int) -> Checked:
    """The same for eta."""
    rng, step, good, exactly, zero = random.Random(seed), Fraction(1, 7), True, True, 0
    for _ in range(cases):
        p, tangent, f, control = random_case(rng, outcomes)
        eta = best_eta(p, tangent, f, control)
        least, *around = (variance_with_eta(eta + d, p, tangent, f, control) for d in (0, step, -step))
        nothing = [Fraction(0)] * outcomes
        rise = step**2 * variance_with_eta(Fraction(-1), p, tangent, nothing, control)
        good, exactly, zero = good and least < min(around), exactly and rises(least, around) == {rise}, zero + (least == 0)
    return Checked(cases, good, exactly, zero)
