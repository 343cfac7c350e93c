"""What the first stage of the search leaves over is derived: by values of stops, laws of ratios, and symmetric noise."""

from __future__ import annotations

from fractions import Fraction

import pytest

import derive
from derive.estimator import Estimator
from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING, Covers
from derive.kernel.recheck import recheck
from derive.notation import (
    E,
    Over,
    constant,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    score,
    stop,
    uniform,
)
from derive.proofs import second
from derive.proofs.conversions import rewrite_everywhere
from derive.proofs.tactic import find, find_further

theta, s, c = parameter("theta"), constant("s"), constant("c")
b, a = finite("b", theta), finite("a", law="mu")
x, y = finite("x", theta), finite("y", theta, law="q")
e, u, wide, half = normal("epsilon"), uniform("u"), normal("w", c, 2), Fraction(1, 2)
f, h, r = function("f", differentiable=True), function("h"), function("r")
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
z, z_e = normal("z", mu(theta), sigma(theta)), mu(theta) + sigma(theta) * e
fixed = normal("z", stop(mu(theta)), stop(sigma(theta)))
ratio, old = p(b, at=a) / p(a), p(b) / stop(p(b))
box = exp(log(p(b)) - stop(log(p(b))))
plain, smooth = grad(E(r(b), b), theta), grad(E(f(theta + s * e), e), theta)
through = grad(E(f(z), z), theta)
bound = grad(E(f(z) - log(p(z)), z), theta)
two = grad(E(h(x, y), x, y), theta)
k = function("m", differentiable=True)(b, theta)
given = normal("z", k, 1)

DERIVED = {
    "importance sampling": (ratio * r(a) * score(b, at=a), (a,), plain, "change_of_law"),
    "importance sampling by autograd": (grad(ratio * r(a), theta), (a,), plain, "change_of_law"),
    "importance sampling with a baseline": (ratio * (r(a) - c) * score(b, at=a), (a,), plain, "change_of_law"),
    "ratio at the old policy": (grad(old * r(b), theta), (b,), plain, "value_of_stop"),
    "dice": (grad(box * r(b), theta), (b,), plain, "value_of_stop"),
    "dice, twice": (grad(grad(box * r(b), theta), theta), (b,), grad(plain, theta), "value_of_stop"),
    "dice with a baseline, twice": (
        grad(grad(box * r(b) + (1 - box) * c, theta), theta), (b,), grad(plain, theta), "leibniz"
    ),
    "evolution strategy": (f(theta + s * e) * e / s, (e,), smooth, "normal_score"),
    "mirrored evolution strategy": (
        (f(theta + s * e) - f(theta - s * e)) * e / (2 * s), (e,), smooth, "reflection"
    ),
    "evolution strategy by differences": ((f(theta + s * e) - f(theta)) * e / s, (e,), smooth, "symmetry"),
    "sticking the landing": (grad(f(z_e) - log(p(fixed, at=z_e)), theta), (e,), bound, "second_moment"),
    "lax": (stop(f(z_e) - h(z_e)) * score(z, theta, at=stop(z_e)) + grad(E(h(z), z), theta), (e,), through, "normal_score"),
    "antithetic noise": ((grad(f(z_e), theta) + grad(f(mu(theta) - sigma(theta) * e), theta)) / 2, (e,), through, "reflection"),
    "antithetic uniform noise": (
        (grad(f(theta + u), theta) + grad(f(theta + 1 - u), theta)) / 2, (u,), grad(E(f(theta + u), u), theta), "reflection"
    ),
    "second derivative through noise": (grad(grad(f(z_e), theta), theta), (e,), grad(through, theta), "pathwise"),
    "mixture": (
        f(k + e) * score(b) + grad(f(k + e), theta), (b, e), grad(E(f(given), b, given), theta), "pathwise"
    ),
    "local expectations": (
        Over(grad(p(x), theta) * h(x, y), x) + Over(grad(p(y), theta) * h(x, y), y), (x, y), two, "exchange"
    ),
    "one variable integrated": (
        E(h(x, y) * score(x), x) + h(x, y) * score(y), (x, y), two, "exchange"
    ),
}  # fmt: skip

WRONG = {
    "importance sampling without the ratio": (r(a) * score(b, at=a), (a,), plain),
    "importance sampling with the ratio upside down": (r(a) * score(b, at=a) / ratio, (a,), plain),
    "importance sampling of the integrand alone": (grad(stop(ratio) * r(a), theta), (a,), plain),
    "ratio that is not stopped": (grad(p(b) / p(b) * r(b), theta), (b,), plain),
    "surrogate of the score, twice": (grad(grad(log(p(b)) * r(b), theta), theta), (b,), grad(plain, theta)),
    "box that is stopped": (grad(stop(box) * r(b), theta), (b,), plain),
    "box that is stopped after once": (grad(stop(grad(box * r(b), theta)), theta), (b,), grad(plain, theta)),
    "dice with the box as its own baseline": (grad(box * r(b) - box * c + old * stop(r(b)), theta), (b,), plain),
    "evolution strategy without the scale": (f(theta + s * e) * e, (e,), smooth),
    "mirrored evolution strategy with a plus": ((f(theta + s * e) + f(theta - s * e)) * e / (2 * s), (e,), smooth),
    "evolution strategy of the point": (f(theta + s * e) * e / s, (e,), grad(f(theta), theta)),
    "the score dropped and the law not stopped": (grad(f(z_e), theta) - grad(log(p(z, at=stop(z_e))), theta) * e, (e,), bound),
    "two strata of one interval": (
        grad(f(theta + u / 2), theta), (u,), grad(E(f(theta + u), u), theta)
    ),
    "mixture by paths alone": (grad(f(k + e), theta), (b, e), grad(E(f(given), b, given), theta)),
}  # fmt: skip


@pytest.mark.parametrize("name", DERIVED)
def test_what_the_first_stage_leaves_over_is_derived(name):
    formula, draws, target, rule = DERIVED[name]
    estimator = Estimator(name, formula, draws, target)
    assert find(estimator, further=False).derivation is None
    found = find(estimator).derivation
    assert recheck(found.theorem) > 1
    assert rule in {line.rule for line in found.lines}
    values = [line.values_only for line in found.lines if line.rule == "value_of_stop"]
    assert all(values)
    assert found.theorem.values_only == bool(values)


@pytest.mark.parametrize("name", WRONG)
def test_their_wrong_twins_are_not_derived(name):
    assert find_further(Estimator(name, *WRONG[name])) is None


def test_importance_sampling_assumes_that_the_law_which_is_sampled_covers_the_other_one():
    found = find(Estimator("is", *DERIVED["importance sampling"][:3])).derivation
    assert Covers(p(a), p(b, at=a)) in found.theorem.assumptions


@pytest.mark.parametrize(
    ("term", "value"), [(E(e, e), 0 * c), (E(e**2, e), 0 * c + 1), (E(u, u), 0 * c + half), (E(wide, wide), c)]
)
def test_moments_of_symmetric_noise_are_theorems_without_assumptions(term, value):
    names = "second_moment" if term.body == e**2 else "symmetry"
    rewrite = next(rewrite for rewrite in second.REWRITES if rewrite.name == names)
    theorem = rewrite_everywhere(term, rewrite, EVERYTHING)
    assert theorem.assumptions == frozenset()
    assert kernel.algebra(theorem.rhs, value)


def test_a_term_that_grows_too_long_ends_the_search():
    several = copies(e, 2)
    points = [mu(theta) + sigma(theta) * one for one in several]
    weights = [stop(exp(f(point) - log(p(z, at=point)))) for point in points]
    shares = [(weight / (weights[0] + weights[1])) ** 2 for weight in weights]
    paths = [grad(f(point) - log(p(fixed, at=point)), theta) for point in points]
    formula = shares[0] * paths[0] + shares[1] * paths[1]
    assert find_further(Estimator("long", formula, several, bound)) is None


def test_a_difference_that_decides_nothing_does_not_stand_against_a_derivation():
    """On points of a base measure two densities cannot be told from others; the instances are of normal laws."""
    x, e = normal("x", theta, 1), normal("epsilon")
    weight, aim = p(x, at=e) / p(e), grad(E(f(x), x), theta)
    right, wrong = (Estimator("off-policy", weight * f(e) * direction, (e,), aim) for direction in (e - theta, e))
    assert derive.prove(right).verdict == "proved"
    assert derive.prove(wrong).verdict == "undecided"
