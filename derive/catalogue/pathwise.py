"""The pathwise estimator, also called the reparameterization trick, for a normal law."""

from derive.language.estimator import Estimator
from derive.language.notation import E, function, grad, normal, parameter
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import pathwise_gradient, reparameterization

theta: Symbol = parameter("theta")
mu: Function = function("mu", differentiable=True)
sigma: Function = function("sigma", differentiable=True)
f: Function = function("f")
z: RandomVariable = normal("z", mu(theta), sigma(theta))
epsilon: RandomVariable = normal("epsilon")
z_of_epsilon: Term = mu(theta) + sigma(theta) * epsilon



def derivation() -> Derivation:
    """The noise does not move with the parameter, so the gradient passes its expectation."""
    return calc(
        grad(E(f(z), z), theta),
        (reparameterization(epsilon), grad(E(f(z_of_epsilon), epsilon), theta)),
        (pathwise_gradient, E(grad(f(z_of_epsilon), theta), epsilon)),
    )


estimator: Estimator = Estimator(
    name="pathwise",
    formula=grad(f(z_of_epsilon), theta),
    draws=(epsilon,),
    target=grad(E(f(z), z), theta),
    where=(("z", z_of_epsilon),),
    source="kingma-2014",
    summary="The sample is written as a differentiable function of fixed noise, and the gradient goes through it.",
    derivation=derivation,
)
