"""The Concrete (Gumbel-softmax) estimator: the pathwise gradient of the relaxed objective, not of the discrete one."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, parameter, relaxation, uniform

theta, lambda_ = parameter("theta"), constant("lambda")
b = finite("b", theta)
u = uniform("u")
f = function("f", differentiable=True)
relaxed = relaxation(b)
z = relaxed.h(u, theta)

estimator = Estimator(
    name="concrete",
    formula=grad(f(relaxed.sigma(z, lambda_)), theta),
    draws=(u,),
    target=grad(E(f(b), b), theta),
    where=(("z", z),),
    source="maddison-2017",
    summary="The discrete sample is relaxed at temperature lambda, and the gradient goes through the relaxation.",
    verdict="other-target",
)
