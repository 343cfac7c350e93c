"""The Concrete (Gumbel-softmax) estimator: the pathwise gradient of the relaxed objective, not of the discrete one."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Relaxation, constant, finite, function, grad, parameter, relaxation, uniform
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
lambda_: Symbol = constant("lambda")
b: RandomVariable = finite("b", theta)
u: RandomVariable = uniform("u")
f: Function = function("f", differentiable=True)
relaxed: Relaxation = relaxation(b)
z: Term = relaxed.h(u, theta)

estimator: Estimator = Estimator(
    name="concrete",
    formula=grad(f(relaxed.sigma(z, lambda_)), theta),
    draws=(u,),
    target=grad(E(f(b), b), theta),
    where=(("z", z),),
    source="maddison-2017",
    summary="The discrete sample is relaxed at temperature lambda, and the gradient goes through the relaxation.",
    verdict="other-target",
)
