"""Sums over the outcomes of one variable, in the place of its sample and its score."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Over, constant, finite, function, grad, p, parameter, score, sigmoid
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
x: RandomVariable = finite("x", theta)
y: RandomVariable = finite("y", theta, law="q")
f: Function
h: Function
f, h = function("f"), function("h")
both: Term = grad(E(h(x, y), x, y), theta)

local_expectation: Estimator = Estimator(
    name="local-expectation-gradients",
    formula=Over(grad(p(x), theta) * h(x, y), x) + Over(grad(p(y), theta) * h(x, y), y),
    draws=(x, y),
    target=both,
    source="titsias-2015",
    summary="For each variable the sum over all of its outcomes, with the others at their samples.",
)

rao_blackwell: Estimator = Estimator(
    name="rao-blackwell",
    formula=E(h(x, y) * score(x), x) + h(x, y) * score(y),
    draws=(x, y),
    target=both,
    source="ranganath-2014, section 3.1",
    summary="The mean over one variable is taken in closed form.",
)

own_terms: Estimator = Estimator(
    name="markov-blanket",
    formula=f(x) * score(x) + function("g")(y) * score(y),
    draws=(x, y),
    target=grad(E(f(x) + function("g")(y), x, y), theta),
    source="ranganath-2014, section 3.1",
    summary="Each score is multiplied by the terms alone that its variable is in.",
)

# A Bernoulli variable whose probability is a sigmoid

s: Term = sigmoid(theta)
one: Symbol
zero: Symbol
one, zero = constant("one"), constant("zero")
other: RandomVariable = finite("y", law="r")

measure_valued: Estimator = Estimator(
    name="measure-valued-bernoulli",
    formula=(h(one, other) - h(zero, other)) * grad(s, theta),
    draws=(other,),
    target=grad(E(s * h(one, other) + (1 - s) * h(zero, other), other), theta),
    source="mohamed-2020, section 6",
    summary="The difference of the integrand at both values of a bit, with the other variables at their samples.",
)
