"""DiCE: a box that has the value one, and the scores of a law as its derivatives."""

from derive.language.estimator import Estimator
from derive.language.notation import E, exp, finite, function, grad, log, p, parameter, score, stop
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import log_derivative_trick, score_function_estimator, value_of_stop

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")
box: Term = exp(log(p(b)) - stop(log(p(b))))


def derivation() -> Derivation:
    """The derivative of the box is the box times the score, and the box has the value one."""
    return calc(
        grad(E(f(b), b), theta),
        (score_function_estimator, E(f(b) * score(b), b)),
        (log_derivative_trick, E(f(b) * grad(p(b), theta) / p(b), b)),
        (value_of_stop, E(grad(box * f(b), theta), b)),
    )


estimator: Estimator = Estimator(
    name="dice",
    formula=grad(box * f(b), theta),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="foerster-2018, section 3",
    summary="The integrand times exp(log p - stop(log p)), which is one and can be differentiated again and again.",
    derivation=derivation,
)
