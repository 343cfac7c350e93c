"""The gradient of the evidence lower bound: by the score function (black-box inference), and by reparameterization (SGVB)."""

from derive.language.estimator import Estimator
from derive.language.notation import E, finite, function, grad, log, normal, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import (
    linearity,
    mean_score,
    pathwise_gradient,
    reparameterization,
    score_definition,
    score_function_estimator,
)

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta, law="q")
log_joint: Function = function("log_joint", differentiable=True)
log_weight: Term = log_joint(b) - log(p(b))


def by_scores() -> Derivation:
    """The log weight depends on the parameter itself, through log q; the gradient of that is a score, of mean zero."""
    return calc(
        grad(E(log_weight, b), theta),
        (score_function_estimator, E(log_weight * score(b), b) + E(grad(log_weight, theta), b)),
        (linearity, E(log_weight * score(b), b) - E(grad(log(p(b)), theta), b)),
        (score_definition, E(log_weight * score(b), b) - E(score(b), b)),
        (mean_score, E(log_weight * score(b), b)),
    )


estimator: Estimator = Estimator(
    name="elbo-score-function",
    formula=log_weight * score(b),
    draws=(b,),
    target=grad(E(log_weight, b), theta),
    source="ranganath-2014",
    summary="The log weight log p(x, b) - log q(b) times the score of q; the gradient of log q itself has mean zero.",
    derivation=by_scores,
)

mu: Function = function("mu", differentiable=True)
sigma: Function = function("sigma", differentiable=True)
z: RandomVariable = normal("z", mu(theta), sigma(theta))
epsilon: RandomVariable = normal("epsilon")
z_of_epsilon: Term = mu(theta) + sigma(theta) * epsilon
log_weight_of_epsilon: Term = log_joint(z_of_epsilon) - log(p(z, at=z_of_epsilon))


def by_reparameterization() -> Derivation:
    """The noise does not move with the parameter, so the gradient passes its expectation and goes through the sample."""
    return calc(
        grad(E(log_joint(z) - log(p(z)), z), theta),
        (reparameterization(epsilon), grad(E(log_weight_of_epsilon, epsilon), theta)),
        (pathwise_gradient, E(grad(log_weight_of_epsilon, theta), epsilon)),
    )


sgvb: Estimator = Estimator(
    name="sgvb",
    formula=grad(log_weight_of_epsilon, theta),
    draws=(epsilon,),
    target=grad(E(log_joint(z) - log(p(z)), z), theta),
    where=(("z", z_of_epsilon),),
    source="kingma-2014",
    summary="The log weight at a reparameterized normal sample, differentiated through the sample.",
    derivation=by_reparameterization,
)
