"""The gradient of the evidence lower bound: by the score function (black-box inference), and by reparameterization (SGVB)."""

from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, log, normal, p, parameter, score

theta = parameter("theta")
b = finite("b", theta, law="q")
log_joint = function("log_joint", differentiable=True)
log_weight = log_joint(b) - log(p(b))

estimator = Estimator(
    name="elbo-score-function",
    formula=log_weight * score(b),
    draws=(b,),
    target=grad(E(log_weight, b), theta),
    source="ranganath-2014",
    summary="The log weight log p(x, b) - log q(b) times the score of q; the gradient of log q itself has mean zero.",
)

mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
z = normal("z", mu(theta), sigma(theta))
epsilon = normal("epsilon")
z_of_epsilon = mu(theta) + sigma(theta) * epsilon

sgvb = Estimator(
    name="sgvb",
    formula=grad(log_joint(z_of_epsilon) - log(p(z, at=z_of_epsilon)), theta),
    draws=(epsilon,),
    target=grad(E(log_joint(z) - log(p(z)), z), theta),
    where=(("z", z_of_epsilon),),
    source="kingma-2014",
    summary="The log weight at a reparameterized normal sample, differentiated through the sample.",
)
