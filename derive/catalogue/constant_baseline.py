"""The score function estimator with a constant baseline."""

from derive.estimator import Estimator
from derive.notation import E, constant, finite, function, grad, parameter, score

theta, c = parameter("theta"), constant("c")
b = finite("b", theta)
f = function("f")

estimator = Estimator(
    name="constant-baseline",
    formula=(f(b) - c) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="williams-1992",
    summary="A constant is subtracted from the integrand: the score has mean zero, so the mean does not change.",
)
