"""Penalties of a policy: three estimates of the divergence from a reference, as a loss and as a reward, and the entropy."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, log, p, parameter, score, stop
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
reference: RandomVariable = finite("ref", law="ref")
log_ratio: Term = log(p(b)) - log(p(reference, at=b))
k1: Term = log_ratio
k2: Term = log_ratio**2 / 2
k3: Term = p(reference, at=b) / p(b) - 1 + log_ratio
divergence: Term = E(log_ratio, b)
reverse: Term = grad(divergence, theta)
other_divergence: Term = E(log(p(reference)) - log(p(b, at=reference)), reference)
forward: Term = grad(other_divergence, theta)
_SOURCE = "schulman-2020"

k1_loss: Estimator = Estimator(
    name="kl-k1-loss",
    formula=grad(k1, theta),
    draws=(b,),
    target=reverse,
    source=_SOURCE,
    summary="The log ratio as a loss: its gradient is a score, of mean zero.",
    verdict="refuted",
)

k1_reward: Estimator = Estimator(
    name="kl-k1-reward",
    formula=k1 * score(b),
    draws=(b,),
    target=reverse,
    source=_SOURCE,
    summary="The log ratio in the reward: the gradient of the reverse divergence.",
)

k2_loss: Estimator = Estimator(
    name="kl-k2-loss",
    formula=grad(k2, theta),
    draws=(b,),
    target=reverse,
    source=_SOURCE,
    summary="Half the square of the log ratio as a loss: the gradient of the reverse divergence.",
)

k3_loss: Estimator = Estimator(
    name="kl-k3-loss",
    formula=grad(k3, theta),
    draws=(b,),
    target=reverse,
    source=_SOURCE,
    summary="The unbiased estimate of the divergence as a loss: not the gradient of the reverse divergence.",
    verdict="refuted",
)

k3_loss_forward: Estimator = Estimator(
    name="kl-k3-loss-forward",
    formula=grad(k3, theta),
    draws=(b,),
    target=forward,
    source=_SOURCE,
    summary="The unbiased estimate of the divergence as a loss: the gradient of the forward divergence.",
)

k3_ratio: Estimator = Estimator(
    name="kl-k3-with-ratio",
    formula=grad(p(b) / stop(p(b)) * k3, theta),
    draws=(b,),
    target=reverse,
    source=_SOURCE,
    summary="The same estimate times the ratio to the stopped policy, differentiated through both.",
)

k3_reward: Estimator = Estimator(
    name="kl-k3-reward",
    formula=k3 * score(b),
    draws=(b,),
    target=grad(divergence - other_divergence, theta),
    source=_SOURCE,
    summary="The unbiased estimate in the reward: the gradient of the reverse divergence less that of the forward one.",
)

# Entropy

r: Function = function("r")
tau: Symbol = constant("tau")
own: RandomVariable = finite("a", theta)
soft: Term = grad(E(r(b) - tau * log(p(b)), b), theta)

entropy_sampled: Estimator = Estimator(
    name="entropy-sampled",
    formula=(r(b) - tau * log(p(b))) * score(b),
    draws=(b,),
    target=soft,
    source="williams-1991",
    summary="Minus the log probability is a part of the reward.",
)

entropy_bonus: Estimator = Estimator(
    name="entropy-bonus",
    formula=r(b) * score(b) - tau * grad(E(log(p(own)), own), theta),
    draws=(b,),
    target=soft,
    source="williams-1991",
    summary="The gradient of the entropy is added in closed form.",
)

entropy_of_samples: Estimator = Estimator(
    name="entropy-of-samples",
    formula=r(b) * score(b) - tau * grad(log(p(b)), theta),
    draws=(b,),
    target=soft,
    source="williams-1991",
    summary="The mean of minus log probabilities of samples is differentiated: a score, of mean zero.",
    verdict="refuted",
)
