"""Slopes of the integrand at outcomes: what straight-through estimators take for its differences."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Over, Relaxation, constant, finite, function, grad, p, parameter, relaxation, uniform
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
o: RandomVariable = finite("o", theta)
slope: Function = function("df")
linear: Symbol
square: Symbol
linear, square = constant("q_1"), constant("q_2")


def quadratic(point: Term) -> Term:
    """Return a quadratic integrand."""
    return linear * point + square * point**2


def slope_of_quadratic(point: Term) -> Term:
    """Return its slope."""
    return linear + 2 * square * point


reinmax: Estimator = Estimator(
    name="reinmax-quadratic",
    formula=Over((slope_of_quadratic(b) + slope_of_quadratic(o)) / 2 * (o - b) * grad(p(o), theta), o),
    draws=(b,),
    target=grad(E(quadratic(b), b), theta),
    source="liu-2023",
    summary="The mean of the slopes at both ends stands for the difference quotient: exact for a quadratic integrand.",
)

straight_through: Estimator = Estimator(
    name="straight-through-quadratic",
    formula=slope_of_quadratic(b) * grad(E(o, o), theta),
    draws=(b,),
    target=grad(E(quadratic(b), b), theta),
    source="liu-2023",
    summary="The slope at the sample alone: exact for an affine integrand only.",
    verdict="refuted",
)

relaxed: Relaxation = relaxation(b)
u: RandomVariable
v: RandomVariable
u, v = uniform("u"), uniform("v")
temperature: Symbol = constant("lambda")
latent: Term = relaxed.h(u, theta)

gumbel_slope: Estimator = Estimator(
    name="straight-through-gumbel",
    formula=slope(relaxed.H(latent)) * grad(relaxed.sigma(latent, temperature), theta),
    draws=(u,),
    target=grad(E(function("f")(b), b), theta),
    source="jang-2017, section 2.2",
    summary="The slope at the sample, times the gradient of its relaxation.",
    verdict="refuted",
)

gumbel_rao: Estimator = Estimator(
    name="gumbel-rao",
    formula=slope(b) * grad(relaxed.sigma(relaxed.h_tilde(v, b, theta), temperature), theta),
    draws=(b, v),
    target=grad(E(function("f")(b), b), theta),
    source="paulus-2021",
    summary="The same with the relaxation drawn given the sample, and differentiated through that draw: another mean.",
    verdict="refuted",
)
