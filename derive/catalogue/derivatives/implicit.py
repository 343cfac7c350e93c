"""Implicit reparameterization: a sample moves with its parameter by what keeps its distribution function where it is."""

from derive.language.estimator import Estimator
from derive.language.named import exponential
from derive.language.notation import E, function, grad, parameter
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
f: Function = function("f", differentiable=True)
x: RandomVariable = exponential("x", rate=theta)
target: Term = grad(E(f(x), x), theta)

of_exponential: Estimator = Estimator(
    name="implicit-exponential",
    formula=-f.slope(x) * x / theta,
    draws=(x,),
    target=target,
    source="figurnov-2018, section 3",
    summary="d x = -(d F) / p(x), where F is the distribution function 1 - exp(-theta x): that is -x / theta.",
    verdict="checked",
)

without_sample: Estimator = Estimator(
    name="implicit-exponential-without-sample",
    formula=-f.slope(x) / theta,
    draws=(x,),
    target=target,
    source="figurnov-2018, section 3",
    summary="The sample is forgotten in its derivative: right where the slope is zero only.",
    verdict="refuted",
)
