"""Gradients from samples of another law: importance sampling, and the surrogate of a policy at itself."""

from derive.language.estimator import Estimator
from derive.language.notation import E, finite, function, grad, p, parameter, score, stop
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import change_of_law, log_derivative_trick, score_function_estimator, value_of_stop

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
a: RandomVariable = finite("a", law="mu")
f: Function = function("f")
ratio: Term = p(b, at=a) / p(a)


def by_another_law() -> Derivation:
    """The sum over the outcomes of the law is one over those of the law that is sampled, which misses none of them."""
    return calc(
        grad(E(f(b), b), theta),
        (score_function_estimator, E(f(b) * score(b), b)),
        (change_of_law(a), E(ratio * f(a) * score(b, at=a), a)),
    )


estimator: Estimator = Estimator(
    name="importance-sampling",
    formula=ratio * f(a) * score(b, at=a),
    draws=(a,),
    target=grad(E(f(b), b), theta),
    source="owen-2013, section 9.1",
    summary="The score function estimator at a sample of another law, times the ratio of the two densities.",
    derivation=by_another_law,
)


def at_itself() -> Derivation:
    """The derivative of the ratio to the stopped density is that of the density over its value: the score."""
    return calc(
        grad(E(f(b), b), theta),
        (score_function_estimator, E(f(b) * score(b), b)),
        (log_derivative_trick, E(f(b) * grad(p(b), theta) / p(b), b)),
        (value_of_stop, E(grad(p(b) / stop(p(b)) * f(b), theta), b)),
    )


policy_surrogate: Estimator = Estimator(
    name="policy-surrogate",
    formula=grad(p(b) / stop(p(b)) * f(b), theta),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    source="schulman-2017, eq. 6",
    summary="The ratio to the policy that drew the sample, differentiated where both are one policy: the first step of PPO.",
    derivation=at_itself,
)
