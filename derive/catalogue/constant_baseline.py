"""The score function estimator with a constant baseline."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, parameter, score
from derive.language.term import Function, RandomVariable, Symbol
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import linearity, mean_score, score_function_estimator

theta: Symbol = parameter("theta")
c: Symbol = constant("c")
b: RandomVariable = finite("b", theta)
f: Function = function("f")



def derivation() -> Derivation:
    """The baseline multiplies the mean of the score, which is zero."""
    return calc(
        grad(E(f(b), b), theta),
        (score_function_estimator, E(f(b) * score(b), b)),
        (mean_score, E(f(b) * score(b), b) - c * E(score(b), b)),
        (linearity, E((f(b) - c) * score(b), b)),
    )


estimator: Estimator = Estimator(
    name="constant-baseline",
    formula=(f(b) - c) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="williams-1992",
    summary="A constant is subtracted from the integrand: the score has mean zero, so the mean does not change.",
    derivation=derivation,
)
