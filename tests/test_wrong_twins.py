"""For every proved estimator of the catalogue a twin with one mistake, of the kinds that ship, is refuted with a witness."""

from __future__ import annotations

from dataclasses import replace

import pytest

import derive
from derive.catalogue import catalogue
from derive.catalogue.importance_weighted import b as b_q, log_joint, log_mean_exp, mu, sigma, z as z_normal
from derive.instances import compare
from derive.notation import (
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
    relaxation,
    score,
    stop,
    total,
    uniform,
)
from tests import families

theta, psi = parameter("theta"), parameter("psi")
b = finite("b", theta)
f, C = function("f"), function("C")
c, eta, lambda_ = constant("c"), constant("eta"), constant("lambda")
smooth, control = function("f", differentiable=True), function("c", differentiable=True)
u, v = uniform("u"), uniform("v")
relaxed = relaxation(b)
z = relaxed.h(u, theta)
hard = relaxed.H(z)
z_tilde = relaxed.h_tilde(v, hard, theta)
epsilon, width, sampled = normal("epsilon"), constant("sigma"), finite("a", law="mu")
first, second = copies(b, 2)
q_first, q_second = copies(b_q, 2)
weight, first_weight, second_weight = (log_joint(one) - log(p(one)) for one in (b_q, q_first, q_second))
bound = log_mean_exp([first_weight, second_weight])


def rebar(soft, gradient, *, scale=eta, sign=1):
    tilde = soft(z_tilde)
    return (f_of(soft) - eta * tilde) * score(b, at=hard) + scale * grad(soft(z), theta) - sign * eta * grad(gradient, theta)


def f_of(soft):
    return smooth(hard)


def relaxed_f(latent):
    return smooth(relaxed.sigma(latent, lambda_))


def relax(*, sign=1, own=1):
    score_part = (f(hard) - own * control(z_tilde)) * score(b, at=hard)
    return score_part + grad(control(z), theta) - sign * grad(control(z_tilde), theta)


def points(noises, frozen=()):
    return [stop(mu(theta) + sigma(theta) * one) if one in frozen else mu(theta) + sigma(theta) * one for one in noises]


def iwae(noises, frozen=()):
    return grad(log_mean_exp([log_joint(at) - log(p(z_normal, at=at)) for at in points(noises, frozen)]), theta)


TWINS = {
    "score-function: a flipped sign": -f(b) * score(b),
    "score-function: a squared score": f(b) * score(b) ** 2,
    "constant-baseline: the baseline outside of the score": f(b) * score(b) - c,
    "control-variate: a flipped sign": (f(b) + C(b)) * score(b) + catalogue["control-variate"].formula.args[-1],
    "control-variate: the missing correction": (f(b) - C(b)) * score(b),
    "pathwise: the missing scale": grad(function("f")(mu(theta) + epsilon), theta),
    "pathwise: a frozen mean": grad(function("f")(stop(mu(theta)) + sigma(theta) * epsilon), theta),
    "rebar: the missing eta": rebar(relaxed_f, relaxed_f(z_tilde), scale=1),
    "rebar: a flipped sign": rebar(relaxed_f, relaxed_f(z_tilde), sign=-1),
    "rebar: the unconditional latent in the last term": rebar(relaxed_f, relaxed_f(z)),
    "leave-one-out: the current sample in the baseline": total(
        (f(one) - (f(first) + f(second)) / 2) * score(one) for one in (first, second)
    )
    / 2,
    "elbo-score-function: the missing log q": log_joint(b_q) * score(b_q),
    "elbo-score-function: a flipped sign": (log_joint(b_q) + log(p(b_q))) * score(b_q),
    "sgvb: the missing log q": grad(log_joint(points([epsilon])[0]), theta),
    "muprop: the missing correction": (f(b) - c * b) * score(b),
    "relax: a flipped sign": relax(sign=-1),
    "relax: the missing control variate": relax(own=0),
    "iwae: one sample frozen": iwae(copies(epsilon, 2), frozen=copies(epsilon, 2)[1:]),
    "iwae: a flipped sign": -1 * iwae(copies(epsilon, 2)),
    "iwae: the missing log q": grad(log_mean_exp([log_joint(at) for at in points(copies(epsilon, 2))]), theta),
    "rebar-variance-eta: the missing 2": catalogue["rebar"].formula * grad(catalogue["rebar"].formula, eta),
    "rebar-variance-lambda: the missing 2": catalogue["rebar"].formula * grad(catalogue["rebar"].formula, lambda_),
    "relax-variance-phi: a flipped sign": -1 * catalogue["relax-variance-phi"].formula,
    "nvil: a baseline that sees the sample": (weight - C(b_q)) * score(b_q),
    "nvil-baseline: a flipped sign": -1 * catalogue["nvil-baseline"].formula,
    "vimco: the missing gradient of the bound": (2 * bound) * score(q_first),
    "vimco: the bound as its own baseline": grad(bound, theta),
    "importance-sampling: the missing ratio": f(sampled) * score(b, at=sampled),
    "importance-sampling: the ratio upside down": p(sampled) / p(b, at=sampled) * f(sampled) * score(b, at=sampled),
    "policy-surrogate: the old policy not stopped": grad(p(b) / p(b) * f(b), theta),
    "policy-surrogate: the whole ratio stopped": grad(stop(p(b) / p(b)) * f(b), theta),
    "dice: the box stopped": grad(stop(exp(log(p(b)) - stop(log(p(b))))) * f(b), theta),
    "dice: a flipped sign": grad(exp(stop(log(p(b))) - log(p(b))) * f(b), theta),
    "evolution-strategies: the missing scale": f(theta + width * epsilon) * epsilon,
    "evolution-strategies-mirrored: a sum": (f(theta + width * epsilon) + f(theta - width * epsilon)) * epsilon / (2 * width),
    "evolution-strategies-mirrored: the missing 2": (f(theta + width * epsilon) - f(theta - width * epsilon)) * epsilon / width,
    "sticking-the-landing: the sample stopped in the law": grad(
        log_joint(points([epsilon])[0]) - log(p(z_normal, at=points([epsilon], [epsilon])[0])) * epsilon, theta
    ),
    "sticking-the-landing: the missing log q": grad(log_joint(points([epsilon])[0]), theta),
    "vimco-arithmetic: the score of one sample only": bound * score(q_first) + grad(bound, theta),
}


def twin(name, formula):
    original = catalogue[name.partition(":")[0]]
    return replace(original, name=name, formula=formula, where=(), derivation=None, family=None, draws=drawn(original, formula))


def drawn(original, formula):
    used = {"leave-one-out": (first, second), "iwae": copies(epsilon, 2)}
    return used.get(original.name, original.draws)


def test_every_proved_estimator_has_a_twin():
    meant = {name for name in catalogue if catalogue[name].verdict == "proved"} - {"straight-through-affine"}
    assert {name.partition(":")[0] for name in TWINS} | set(families.TWINS) == meant


@pytest.mark.parametrize("name", TWINS)
def test_the_twin_is_not_proved_and_has_a_witness(name):
    verdict = derive.prove(twin(name, TWINS[name]), outcomes=(2,))
    assert verdict.verdict in ("refuted", "scaled", "other-target")
    assert verdict.witness.mean != verdict.witness.target


@pytest.mark.parametrize("name", TWINS)
def test_the_instances_differ_on_the_twin(name):
    wrong = twin(name, TWINS[name])
    assert compare(wrong.target, wrong.expectation).verdict == "differ"


def test_the_straight_through_estimator_is_refuted_for_a_quadratic_integrand():
    affine = catalogue["straight-through-affine"]
    mean = affine.where[0][1]
    square = replace(affine, name="square", formula=grad(mean**2, theta), target=grad(replace_square(affine), theta))
    assert derive.prove(replace(square, derivation=None), outcomes=(2,)).verdict == "refuted"


def replace_square(affine):
    variable = affine.draws[0]
    return derive.notation.E(variable**2, variable)
