"""The score function estimator with a control variate C(b) and the correction d/dtheta E[C(b)] that it needs."""

from derive.language.estimator import Estimator
from derive.language.notation import E, finite, function, grad, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import algebra, linearity, score_function_estimator

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")
C: Function = function("C")
correction: Term = grad(E(C(b), b), theta)


def derivation() -> Derivation:
    """The gradient of E[C(b)] is subtracted as a score function estimator, and added as it is."""
    return calc(
        grad(E(f(b), b), theta),
        (algebra, grad(E(f(b), b), theta) - correction + correction),
        (score_function_estimator, E(f(b) * score(b), b) - E(C(b) * score(b), b) + correction),
        (linearity, E((f(b) - C(b)) * score(b) + correction, b)),
    )


estimator: Estimator = Estimator(
    name="control-variate",
    formula=(f(b) - C(b)) * score(b) + correction,
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="paisley-2012",
    summary="A function of the sample is subtracted, and the gradient of its mean is added back.",
    derivation=derivation,
)

without_correction: Estimator = Estimator(
    name="control-variate-without-correction",
    formula=(f(b) - C(b)) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="paisley-2012",
    summary="The correction is left out: biased by minus the gradient of E[C(b)].",
    verdict="refuted",
)
