"""The score function estimator, also called REINFORCE or the likelihood ratio method."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Over, finite, function, grad, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import expectation, leibniz, log_derivative_trick

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")



def derivation() -> Derivation:
    """The gradient moves under the sum, where the log-derivative trick makes the sum an expectation again."""
    return calc(
        grad(E(f(b), b), theta),
        (expectation, grad(Over(p(b) * f(b), b), theta)),
        (leibniz, Over(grad(p(b), theta) * f(b), b)),
        (log_derivative_trick, Over(p(b) * score(b) * f(b), b)),
        (expectation, E(f(b) * score(b), b)),
    )


estimator: Estimator = Estimator(
    name="score-function",
    formula=f(b) * score(b),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="williams-1992",
    summary="The integrand times the score of the law.",
    derivation=derivation,
)
