"""Second derivatives of a mean, and the first one in the metric of the law."""

from derive.language.estimator import Estimator
from derive.language.notation import E, exp, finite, function, grad, log, p, parameter, score, stop
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")
mean: Term = E(f(b), b)
second: Term = grad(grad(mean, theta), theta)
box: Term = exp(log(p(b)) - stop(log(p(b))))

dice: Estimator = Estimator(
    name="dice-second-order",
    formula=grad(grad(box * f(b), theta), theta),
    draws=(b,),
    target=second,
    source="foerster-2018, section 3",
    summary="The box of DiCE, differentiated twice.",
)

surrogate: Estimator = Estimator(
    name="surrogate-second-order",
    formula=grad(grad(log(p(b)) * f(b), theta), theta),
    draws=(b,),
    target=second,
    source="foerster-2018, section 2",
    summary="The usual surrogate, differentiated twice: what depends on the law in its first derivative is lost.",
    verdict="refuted",
)

hessian: Estimator = Estimator(
    name="hessian-score",
    formula=f(b) * (score(b) ** 2 + grad(score(b), theta)),
    draws=(b,),
    target=second,
    source="foerster-2018, section 2",
    summary="The square of the score, and its derivative.",
)

square: Estimator = Estimator(
    name="hessian-score-squared",
    formula=f(b) * score(b) ** 2,
    draws=(b,),
    target=second,
    source="foerster-2018, section 2",
    summary="The square of the score alone.",
    verdict="refuted",
)

information: Term = E(score(b) ** 2, b)
natural: Estimator = Estimator(
    name="natural-gradient",
    formula=f(b) * score(b) / stop(information),
    draws=(b,),
    target=grad(mean / stop(information), theta),
    source="amari-1998",
    summary="The score function estimator over the Fisher information.",
)
