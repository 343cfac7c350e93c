"""Evolution strategies: the gradient of a smoothed objective from its values alone, plain and mirrored."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, function, grad, normal, parameter
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
sigma: Symbol = constant("sigma")
f: Function = function("f")
epsilon: RandomVariable = normal("epsilon")
smoothed: Term = E(f(theta + sigma * epsilon), epsilon)

estimator: Estimator = Estimator(
    name="evolution-strategies",
    formula=f(theta + sigma * epsilon) * epsilon / sigma,
    draws=(epsilon,),
    target=grad(smoothed, theta),
    source="salimans-2017, section 2",
    summary="The value at a normal step from the parameter, times the step over the variance.",
)

mirrored: Estimator = Estimator(
    name="evolution-strategies-mirrored",
    formula=(f(theta + sigma * epsilon) - f(theta - sigma * epsilon)) * epsilon / (2 * sigma),
    draws=(epsilon,),
    target=grad(smoothed, theta),
    source="salimans-2017, section 2.1",
    summary="Half the difference of the values at a normal step and at its mirror image, times the step over the variance.",
)
