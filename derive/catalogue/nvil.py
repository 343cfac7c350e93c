"""NVIL: the score function gradient of the evidence lower bound with a learned baseline, and the gradient that learns it."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, log, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
psi: Symbol = parameter("psi")
x: Symbol = constant("x")
c: Symbol = constant("c")
b: RandomVariable = finite("b", theta, law="q")
log_joint: Function = function("log_joint")
C: Function = function("C", differentiable=True)
log_weight: Term = log_joint(b) - log(p(b))

estimator: Estimator = Estimator(
    name="nvil",
    formula=(log_weight - C(x, psi) - c) * score(b),
    draws=(b,),
    target=grad(E(log_weight, b), theta),
    where=(("log_weight", log_weight),),
    source="mnih-2014",
    summary="A baseline C(x; psi) + c that does not see the sample is subtracted from the log weight.",
)

residual: Term = log_weight - C(x, psi) - c

baseline: Estimator = Estimator(
    name="nvil-baseline",
    formula=-2 * residual * grad(C(x, psi), psi),
    draws=(b,),
    target=grad(E(residual**2, b), psi),
    where=(("log_weight", log_weight),),
    source="mnih-2014",
    summary="The gradient of the baseline's expected squared error with respect to its own parameter.",
)
