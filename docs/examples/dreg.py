"""Doubly reparameterized gradients of the two-sample bound on log p(x), and what it takes to derive them.

- `gradproof prove docs/examples/dreg.py:doubly_reparameterized` answers proved, by the derivation below;
- `gradproof prove docs/examples/dreg.py:weights_not_squared` answers refuted: the score that was dropped has no mean zero.

log q is stopped in its parameters, so that each gradient goes through the sample alone. What that leaves out is the weight
times a score: it is a score function estimator, which is reparameterized a second time. Source: tucker-2019, section 3.
"""

from derive.estimator import Estimator
from derive.notation import E, copies, exp, function, grad, log, normal, p, parameter, score, stop, total
from derive.proofs.calc import calc
from derive.proofs.rules import (
    exchange,
    linearity,
    normal_score,
    pathwise_gradient,
    product_rule,
    reparameterization,
    score_function_estimator,
    value_of_stop,
)

theta = parameter("theta")
mu, sigma = (function(name, differentiable=True)(theta) for name in ("mu", "sigma"))
log_joint = function("log_joint", differentiable=True)
q, frozen = normal("z", mu, sigma), normal("z", stop(mu), stop(sigma))
epsilon = normal("epsilon")
(z_1, z_2), noise = copies(q, 2), copies(epsilon, 2)
x_1, x_2 = (mu + sigma * e for e in noise)


def weight(z, law):
    """Return p(x, z) / q(z)."""
    return exp(log_joint(z) - log(p(law, at=z)))


def share(z, other, law=q):
    """Return the weight of a sample as a part of the weight of both."""
    return weight(z, law) / (weight(z, law) + weight(other, law))


def through_the_sample(z):
    """Return the gradient of the log weight, with the parameters of q stopped."""
    return grad(log_joint(z), theta) - grad(log(p(frozen, at=z)), theta)


def bound(z, other):
    """Return the log of the mean of both weights."""
    return log((weight(z, q) + weight(other, q)) / 2)


samples = ((x_1, x_2, noise[0]), (x_2, x_1, noise[1]))
target = grad(E(bound(z_1, z_2), z_1, z_2), theta)


def both(line):
    """Return the sum over both samples, each given with the other one and its noise, of a mean over both noises."""
    return total(E(line(*sample), *noise) for sample in samples)


def doubly(x, other, e):
    """Return one summand of the estimator."""
    return stop(share(x, other)) ** 2 * through_the_sample(x)


def once(x, other, e):
    """Return one summand of the estimator with weights that are not squared."""
    return stop(share(x, other)) * through_the_sample(x)


def derivation():
    """The bound is reparameterized and differentiated; the score in it is reparameterized once more."""
    mu_, sigma_ = grad(mu, theta), grad(sigma, theta)

    def log_q(x, law):
        return grad(p(law, at=x), theta) / p(law, at=x)

    def moved(e):
        return mu_ + sigma_ * e

    def first(value):
        return both(lambda x, other, e: share(x, other) * (grad(log_joint(x), theta) + value(x, e)))

    # the weight times the score, at noise and at latent variables, and its gradient through the sample
    scored = total(E(share(x, other) * score(q, theta, at=x), *noise) for x, other, _ in samples)
    written = total(E(share(x, other) * (e * mu_ + (e**2 - 1) * sigma_) / sigma, *noise) for x, other, e in samples)
    pairs = ((z_1, z_2), (z_2, z_1))
    latent = total(E(share(z, other) * score(z, theta), z_1, z_2) for z, other in pairs)
    stopped = total(E(share(z, other, frozen) * score(z, theta), z_1, z_2) for z, other in pairs)
    inner = total(E(share(z, other, frozen) * score(z, theta), other, z) for z, other in pairs)
    outside = total(E(grad(E(share(z, other, frozen), z), theta), other) for z, other in pairs)
    again = [(mu + sigma * e, other, e) for e, other in zip(noise, (z_2, z_1), strict=True)]
    noisy = total(E(grad(E(share(x, z, frozen), e), theta), z) for x, z, e in again)
    inside = total(E(grad(share(x, z, frozen), theta), z, e) for x, z, e in again)

    def sloped(slope, law):
        return total(E(share(x, z, law) * (1 - share(x, z, law)) * slope(x), z, e) for x, z, e in again)

    def quotient(x):
        return grad(log_joint(x), theta) - log_q(x, frozen)

    def at_noise(weights, order):
        return total(
            E(weights(share(x, other)) * (1 - weights(share(x, other))) * through_the_sample(x), *order(e, noise))
            for x, other, e in samples
        )

    def last(e, both_noises):
        return (*(other for other in both_noises if other != e), e)

    def through(x, other, e):
        return share(x, other) * through_the_sample(x)

    pulled = first(lambda x, e: e / sigma * moved(e))
    pulled_stopped = first(lambda x, e: (x - stop(mu)) / stop(sigma) ** 2 * moved(e))
    return calc(
        target,
        (reparameterization(epsilon), grad(E(bound(x_1, x_2), *noise), theta)),
        (pathwise_gradient, E(grad(E(bound(x_1, x_2), noise[1]), theta), noise[0])),
        (pathwise_gradient, E(grad(bound(x_1, x_2), theta), *noise)),
        (linearity, first(lambda x, e: -log_q(x, q))),
        (product_rule, first(lambda x, e: -grad(log(p(q, at=x)), theta))),
        (normal_score, first(lambda x, e: sigma_ / sigma)),
        (linearity, pulled - written),
        (normal_score, pulled - scored),
        (value_of_stop, pulled_stopped - scored),
        (normal_score, both(through) - scored),
        (reparameterization(epsilon), both(through) - latent),
        (value_of_stop, both(through) - stopped),
        (exchange, both(through) - inner),
        (score_function_estimator, both(through) - outside),
        (reparameterization(epsilon), both(through) - noisy),
        (pathwise_gradient, both(through) - inside),
        (linearity, both(through) - sloped(quotient, frozen)),
        (product_rule, both(through) - sloped(through_the_sample, frozen)),
        (value_of_stop, both(through) - sloped(through_the_sample, q)),
        (reparameterization(epsilon), both(through) - at_noise(lambda share: share, last)),
        (exchange, both(through) - at_noise(lambda share: share, lambda e, noise: noise)),
        (value_of_stop, both(once) - at_noise(stop, lambda e, noise: noise)),
        (linearity, E(total(doubly(*sample) for sample in samples), *noise)),
    )


doubly_reparameterized = Estimator(
    "doubly-reparameterized",
    total(doubly(*sample) for sample in samples),
    draws=noise,
    target=target,
    where=(("x_1", x_1), ("x_2", x_2)),
    source="tucker-2019, section 3",
    summary="The gradient through each sample alone, times the square of its share of the weight.",
    derivation=derivation,
)

weights_not_squared = Estimator(
    "weights-not-squared",
    total(once(*sample) for sample in samples),
    draws=noise,
    target=target,
    where=(("x_1", x_1), ("x_2", x_2)),
    source="tucker-2019, section 3",
    summary="The score is dropped from the bound, though its mean under the weights is not zero.",
    verdict="refuted",
)
