"""The score function estimator, also called REINFORCE or the likelihood ratio method."""

from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score

theta = parameter("theta")
b = finite("b", theta)
f = function("f")

estimator = Estimator(
    name="score-function",
    formula=f(b) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="williams-1992",
    summary="The integrand times the score of the law.",
)
