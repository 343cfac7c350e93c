"""Pairs of samples that are no copies of each other: mirror images, and one in each half."""

from fractions import Fraction

from derive.language.estimator import Estimator
from derive.language.notation import E, copies, function, grad, normal, parameter, uniform
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
mu: Function
sigma: Function
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
f: Function = function("f", differentiable=True)
z: RandomVariable = normal("z", mu(theta), sigma(theta))
epsilon: RandomVariable = normal("epsilon")


def mirrored(sign: int) -> Term:
    """Return the integrand at a normal sample or at its mirror image."""
    return f(mu(theta) + sign * sigma(theta) * epsilon)


antithetic: Estimator = Estimator(
    name="antithetic-pathwise",
    formula=(grad(mirrored(1), theta) + grad(mirrored(-1), theta)) / 2,
    draws=(epsilon,),
    target=grad(E(f(z), z), theta),
    source="owen-2013, section 8.2",
    summary="The mean of the pathwise gradients at a sample and at its mirror image.",
)

u: RandomVariable = uniform("u")
antithetic_uniform: Estimator = Estimator(
    name="antithetic-uniform",
    formula=(grad(f(theta + u), theta) + grad(f(theta + 1 - u), theta)) / 2,
    draws=(u,),
    target=grad(E(f(theta + u), u), theta),
    source="owen-2013, section 8.2",
    summary="The same for noise that is uniform: u and 1 - u.",
)

low: RandomVariable
high: RandomVariable
low, high = copies(u, 2)
one_stratum: Estimator = Estimator(
    name="stratified-one-stratum",
    formula=(grad(f(theta + low / 2), theta) + grad(f(theta + high / 2), theta)) / 2,
    draws=(low, high),
    target=grad(E(f(theta + u), u), theta),
    source="owen-2013, section 8.4",
    summary="Two strata of which one was forgotten: both samples are in the lower half.",
    verdict="refuted",
)

stratified: Estimator = Estimator(
    name="stratified",
    formula=(grad(f(theta + low / 2), theta) + grad(f(theta + Fraction(1, 2) + high / 2), theta)) / 2,
    draws=(low, high),
    target=grad(E(f(theta + u), u), theta),
    source="owen-2013, section 8.4",
    summary="One sample in each half of the unit interval.",
    verdict="checked",
)
