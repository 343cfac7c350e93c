"""Differences of values: of a smoothed objective, with a baseline, with the same noise on both sides."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, function, grad, normal, parameter
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
sigma: Symbol = constant("sigma")
f: Function = function("f", differentiable=True)
epsilon: RandomVariable = normal("epsilon")
stepped: Term = theta + sigma * epsilon
smoothed: Term = grad(E(f(stepped), epsilon), theta)

forward: Estimator = Estimator(
    name="evolution-strategies-forward",
    formula=(f(stepped) - f(theta)) * epsilon / sigma,
    draws=(epsilon,),
    target=smoothed,
    source="nesterov-2017",
    summary="The value at the parameter is subtracted: it does not see the step.",
)

unsmoothed: Estimator = Estimator(
    name="evolution-strategies-unsmoothed",
    formula=f(stepped) * epsilon / sigma,
    draws=(epsilon,),
    target=grad(f(theta), theta),
    source="nesterov-2017",
    summary="Taken for the gradient of f itself, which it approaches as the steps become small.",
    verdict="refuted",
)

width: Symbol = constant("d")
common: Estimator = Estimator(
    name="central-difference-common-noise",
    formula=(f(theta + width + sigma * epsilon) - f(theta - width + sigma * epsilon)) / (2 * width),
    draws=(epsilon,),
    target=smoothed,
    source="glasserman, section 7.1",
    summary="A difference over a width that is not small, with the same noise on both sides.",
    verdict="refuted",
)
