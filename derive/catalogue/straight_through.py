"""The straight-through estimator: the forward pass uses the sample, the backward pass its mean."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, parameter, stop
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f", differentiable=True)
mean: Term = E(b, b)
passed: Term = stop(b - mean) + mean

estimator: Estimator = Estimator(
    name="straight-through",
    formula=grad(f(passed), theta),
    draws=(b,),
    target=grad(E(f(stop(b - mean) + stop(mean)), b), theta),
    where=(("b_st", passed),),
    source="bengio-2013",
    summary="The gradient of f at the sample passes straight to the mean of the law.",
    verdict="refuted",
)

slope: Symbol = constant("slope")
offset: Symbol = constant("offset")

affine: Estimator = Estimator(
    name="straight-through-affine",
    formula=grad(offset + slope * passed, theta),
    draws=(b,),
    target=grad(E(offset + slope * b, b), theta),
    where=(("b_st", passed),),
    source="bengio-2013",
    summary="For an affine integrand the straight-through estimator is unbiased.",
)
