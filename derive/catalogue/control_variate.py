"""The score function estimator with a control variate C(b) and the correction d/dtheta E[C(b)] that it needs."""

from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score

theta = parameter("theta")
b = finite("b", theta)
f, C = function("f"), function("C")

estimator = Estimator(
    name="control-variate",
    formula=(f(b) - C(b)) * score(b) + grad(E(C(b), b), theta),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="paisley-2012",
    summary="A function of the sample is subtracted, and the gradient of its mean is added back.",
)

without_correction = Estimator(
    name="control-variate-without-correction",
    formula=(f(b) - C(b)) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="paisley-2012",
    summary="The correction is left out: biased by minus the gradient of E[C(b)].",
    verdict="refuted",
)
