"""The pathwise estimator, also called the reparameterization trick, for a normal law."""

from derive.estimator import Estimator
from derive.notation import E, function, grad, normal, parameter

theta = parameter("theta")
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
f = function("f")
z = normal("z", mu(theta), sigma(theta))
epsilon = normal("epsilon")
z_of_epsilon = mu(theta) + sigma(theta) * epsilon

estimator = Estimator(
    name="pathwise",
    formula=grad(f(z_of_epsilon), theta),
    draws=(epsilon,),
    target=grad(E(f(z), z), theta),
    where=(("z", z_of_epsilon),),
    source="kingma-2014",
    summary="The sample is written as a differentiable function of fixed noise, and the gradient goes through it.",
)
