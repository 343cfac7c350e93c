"""The instances agree with what is true and differ from what is false."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from derive.instances import compare
from derive.language.term import Apply, Symbol, Term
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    relaxation,
    score,
    sigmoid,
    stop,
    uniform,
)

theta, phi, c, t, lambda_ = parameter("theta"), parameter("phi"), constant("c"), constant("t"), constant("lambda")
b = finite("b", theta)
b1, b2 = copies(b, 2)
a_given_b = finite("a", theta, law="q", given=(b,))
u, v = uniform("u"), uniform("v")
epsilon, z, w = normal("epsilon"), normal("z", theta, 1), uniform("w", 0, theta)
x = continuous("x", theta)
x1, x2 = copies(x, 2)
f, g, k = function("f"), function("g"), function("k")
smooth, rough = function("f", differentiable=True), function("step", differentiable=False)
M, K = E(exp(k(x2, x2)), x2), E(exp(k(x1, x2)), x2)
r = relaxation(b)
hard, shifted = r.H(r.h(u, theta)), r.H(r.h(u, theta + t))
target = grad(E(f(b), b), theta)
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
wide, wider = uniform("v", -3, 3), uniform("v", 0, 2 * theta)
off = finite("a", phi, law="q")
y = continuous("y", theta, law="w", normalised=False)
z_f = normal("z", mu(theta), sigma(theta))


@dataclass(frozen=True)
class SupportFixed:
    variable: Term
    parameter: Symbol


@dataclass(frozen=True)
class Positive:
    term: Term


@dataclass(frozen=True)
class Covers:
    sampled: Term
    other: Term


@dataclass(frozen=True)
class Equation:
    lhs: Term
    rhs: Term


FIXED = (SupportFixed(x, theta),)

TRUE = {
    "score function": (target, E(f(b) * score(b), b)),
    "score function with a moving integrand": (
        grad(E(f(b, theta), b), theta),
        E(f(b, theta) * score(b) + grad(f(b, theta), theta), b),
    ),
    "second derivative": (grad(target, theta), E(f(b) * (score(b) ** 2 + grad(score(b), theta)), b)),
    "derivative in another parameter": (grad(E(f(b, phi), b), phi), E(grad(f(b, phi), phi), b)),
    "stop under a moving law": (grad(E(stop(f(z) * theta), z), theta), E(f(z) * theta * score(z, theta), z)),
    "pathwise": (grad(E(smooth(z), z), theta), E(grad(smooth(theta + epsilon), theta), epsilon)),
    "score of a normal": (grad(E(rough(z), z), theta), E(rough(z) * (z - theta), z)),
    "uniform with moving bounds": (grad(E(smooth(w), w), theta), (smooth(theta) - E(smooth(w), w)) / theta),
    "a threshold that moves": (grad(E(f(hard), u), theta), target),
    "a threshold held fixed": (E(grad(f(hard), theta), u), 0 * c),
    "law of total expectation": (E(f(b, a_given_b), b, a_given_b), E(E(f(b, a_given_b), a_given_b), b)),
    "importance sampling": (E(f(b) * p(off, at=b) / p(b), b), E(f(off), off), (Covers(p(b), p(off, at=b)),)),
    "an abstract density": (grad(E(f(x), x), theta), E(f(x) * score(x), x), FIXED),
    "conditional reparameterization": (
        E(r.sigma(r.h(u, theta), lambda_) * f(hard), u),
        E(r.sigma(r.h_tilde(v, b, theta), lambda_) * f(b), b, v),
    ),
    "a stopped relaxation": (
        target,
        E(f(hard) * score(b, at=hard) + grad(smooth(r.sigma(r.h(u, stop(theta)), lambda_)), theta), u),
    ),
    "importance sampling from a wider uniform": (
        E(smooth(w), w),
        2 * theta * E(smooth(wider) * p(w, at=wider), wider),
    ),
    "the sigmoid": (grad(sigmoid(theta), theta), sigmoid(theta) * sigmoid(-theta)),
    "entropy": (grad(E(log(p(z_f)), z_f), theta), -1 * grad(sigma(theta), theta) / sigma(theta)),
    "an assumed equation": (f(theta) + c, f(theta) + c, (Equation(f(theta), 1 * f(theta)),)),
}

s, h = constant("s"), constant("h")
LATENT = f(hard) * score(b, at=hard)


def moved(step):
    return smooth(theta + step + s * epsilon)


FALSE = {
    "a rule of the right degree for polynomials": (
        grad(E(moved(0), epsilon), theta),
        E((8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h), epsilon),
    ),
    "a rule of two points": (
        grad(E(smooth(z_f), z_f), theta),
        grad((smooth(mu(theta) + sigma(theta)) + smooth(mu(theta) - sigma(theta))) / 2, theta),
    ),
    "the rule of Simpson": (
        grad(E(smooth(theta + u), u), theta),
        (grad(smooth(theta), theta) + 4 * grad(smooth(theta + Fraction(1, 2)), theta) + grad(smooth(theta + 1), theta)) / 6,
    ),
    "a difference of two laws": (target, E(LATENT + f(shifted) - f(hard), u)),
    "samples from another law": (target, E(f(shifted) * score(b, at=shifted), u)),
    "a logit of zero": (target, E(f(r.H(r.h(u, 0))) * score(b, at=r.H(r.h(u, 0))), u)),
    "capture": (E(E(f(b1, b2), b2) - E(f(b2, b2), b2), b1), E(0 * c, b1)),
    "exchange": (E(E(f(a_given_b, b), b), a_given_b), E(E(f(a_given_b, b), a_given_b), b)),
    "biased density estimator": (
        grad(E(g(x1), x1), theta),
        E((g(x1) + log(M + K) - log(2 * K)) * score(x1), x1),
        FIXED,
    ),
    "a shifted latent variable": (E(f(shifted), u), E(f(b), b)),
    "a stopped latent variable under a gradient": (grad(E(f(r.H(r.h(u, stop(theta)))), u), theta), target),
    "a latent variable at another parameter": (E(f(r.H(r.h(u, phi))), u), E(f(b), b)),
    "a latent variable without parameters": (E(f(r.H(Apply(r.h, (u,)))), u), E(f(b), b)),
    "a uniform density that ends": (E(grad(p(w, at=u) * u, theta), u), grad(E(p(w, at=u) * u, u), theta)),
    "a uniform density as a constant": (E(p(w, at=wide), wide), E(1 / theta, wide)),
    "pathwise through a jump": (grad(E(rough(z), z), theta), E(grad(rough(theta + epsilon), theta), epsilon)),
    "a support that moves": (grad(E(f(x), x), theta), E(f(x) * score(x), x)),
    "a uniform support that moves": (grad(E(f(w), w), theta), E(f(w) * score(w, theta), w)),
    "a wrong power of sigma": (
        grad(E(smooth(z_f), z_f), theta),
        E(grad(smooth(mu(theta) + sigma(theta) ** 2 * epsilon), theta), epsilon),
    ),
    "off policy without weights": (target, E(f(off) * score(b, at=off), off)),
    "an unnormalised weight": (
        grad(E(f(y), y), theta),
        E((f(y) - 1) * score(y), y),
        (SupportFixed(y, theta),),
    ),
    "a sum without its last term": (Over(p(b) * f(b), b), Over(p(b) * f(b), b) - E(f(b) * p(b), b)),
}


@pytest.mark.parametrize("name", TRUE)
def test_a_true_statement_agrees(name):
    left, right, *assumptions = TRUE[name]
    opinion = compare(left, right, assumptions=assumptions[0] if assumptions else ())
    assert opinion.verdict == "agree", (opinion.reason, opinion.left, opinion.right)


@pytest.mark.parametrize("name", FALSE)
def test_a_false_statement_differs(name):
    left, right, *assumptions = FALSE[name]
    opinion = compare(left, right, assumptions=assumptions[0] if assumptions else ())
    assert opinion.verdict == "differ", (opinion.reason, opinion.left, opinion.right)
    assert opinion.instance["seed"] == "0"


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TRUE)
def test_a_true_statement_never_differs_whatever_the_seed(name):
    left, right, *assumptions = TRUE[name]
    given = assumptions[0] if assumptions else ()
    assert {compare(left, right, assumptions=given, seed=seed).verdict for seed in range(200)} == {"agree"}


def test_a_statement_about_nothing_is_trivial():
    assert compare(grad(E(f(b), b), phi), E(f(b) * score(b, phi), b)).trivial
    assert not compare(*TRUE["score function"]).trivial
