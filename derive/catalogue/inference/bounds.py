"""Bounds and control variates of latent variables that are reparameterized."""

from derive.language.estimator import Estimator
from derive.language.notation import E, copies, exp, finite, function, grad, log, normal, p, parameter, score, stop
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
mu: Function
sigma: Function
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
f: Function
c: Function
f, c = function("f", differentiable=True), function("c", differentiable=True)
log_joint: Function = function("log_joint", differentiable=True)
z: RandomVariable = normal("z", mu(theta), sigma(theta))
frozen: RandomVariable = normal("z", stop(mu(theta)), stop(sigma(theta)))
epsilon: RandomVariable = normal("epsilon")


def at(noise: Term) -> Term:
    """Return the sample that is made of some noise."""
    return mu(theta) + sigma(theta) * noise


lax: Estimator = Estimator(
    name="lax",
    formula=(f(at(epsilon)) - c(at(epsilon))) * score(z, theta, at=stop(at(epsilon))) + grad(c(at(epsilon)), theta),
    draws=(epsilon,),
    target=grad(E(f(z), z), theta),
    source="grathwohl-2018, section 3.1",
    summary="A function of the sample is the control variate of the score function, and its pathwise gradient is added back.",
)

sticking_the_landing: Estimator = Estimator(
    name="sticking-the-landing",
    formula=grad(log_joint(at(epsilon)) - log(p(frozen, at=at(epsilon))), theta),
    draws=(epsilon,),
    target=grad(E(log_joint(z) - log(p(z)), z), theta),
    where=(("z", at(epsilon)),),
    source="roeder-2017, section 3",
    summary="As SGVB, with the parameters of log q stopped: what that drops is a score, of mean zero.",
)

first: RandomVariable
second: RandomVariable
first, second = copies(epsilon, 2)
z1: RandomVariable
z2: RandomVariable
z1, z2 = copies(z, 2)


def _bound(weights: tuple[Term, Term]) -> Term:
    return log((exp(weights[0]) + exp(weights[1])) / 2)


def _stopped_weight(point: Term) -> Term:
    return log_joint(point) - log(p(frozen, at=point))


iwae_landing: Estimator = Estimator(
    name="iwae-sticking-the-landing",
    formula=grad(_bound((_stopped_weight(at(first)), _stopped_weight(at(second)))), theta),
    draws=(first, second),
    target=grad(E(_bound((log_joint(z1) - log(p(z1)), log_joint(z2) - log(p(z2)))), z1, z2), theta),
    where=(("x_1", at(first)), ("x_2", at(second))),
    source="tucker-2019, section 3",
    summary="The parameters of log q stopped in the K-sample bound: the dropped score has no mean zero under its weights.",
    verdict="refuted",
)

# A mixture: a component, and a normal sample of it

k: RandomVariable = finite("k", theta)
m: Function
t: Function
m, t = function("m", differentiable=True), function("t", differentiable=True)
sample: RandomVariable = normal("z", m(k, theta), t(k, theta))
moved: Term = m(k, theta) + t(k, theta) * epsilon
mixed: Term = grad(E(f(sample), k, sample), theta)

mixture: Estimator = Estimator(
    name="mixture-score-and-pathwise",
    formula=f(moved) * score(k) + grad(f(moved), theta),
    draws=(k, epsilon),
    target=mixed,
    source="schulman-2015, theorem 1",
    summary="The score of the component, and the gradient through the sample.",
)

mixture_pathwise: Estimator = Estimator(
    name="mixture-pathwise-only",
    formula=grad(f(moved), theta),
    draws=(k, epsilon),
    target=mixed,
    source="schulman-2015, theorem 1",
    summary="The gradient through the sample alone: how the parameter moves the weights of the components is missing.",
    verdict="refuted",
)
