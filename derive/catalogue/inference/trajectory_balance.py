"""Trajectory balance: the square of a log ratio that is constant where the policy is in proportion to the reward."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, log, p, parameter
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
log_r: Function = function("log_r")
log_z: Symbol = constant("log_Z")
divergence: Term = grad(2 * E(log(p(b)) - log_r(b), b), theta)


def square(sample: RandomVariable) -> Term:
    """Return the loss at a sample of any law."""
    return (log_z + log(p(b, at=sample)) - log_r(sample)) ** 2


balance: Estimator = Estimator(
    name="trajectory-balance",
    formula=grad(square(b), theta),
    draws=(b,),
    target=divergence,
    source="malkin-2022; malkin-2023",
    summary="At samples of the policy twice the gradient of its divergence from the reward, whatever log Z.",
)

behaviour: RandomVariable = finite("a", law="mu")
off_policy: Estimator = Estimator(
    name="trajectory-balance-off-policy",
    formula=grad(square(behaviour), theta),
    draws=(behaviour,),
    target=divergence,
    source="malkin-2022; malkin-2023",
    summary="At samples of another policy the loss has the same minimum where log Z is right, and another gradient.",
    verdict="refuted",
)
