"""Gradients of a policy from the samples of another one, at one step and over two."""

from fractions import Fraction

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, copies, finite, function, grad, maximum, minimum, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
mu: RandomVariable = finite("a", law="mu")
r: Function = function("r")
target: Term = grad(E(r(b), b), theta)


def ratio(sample: RandomVariable) -> Term:
    """Return the importance ratio of the policy to the one that is sampled."""
    return p(b, at=sample) / p(sample)


baseline: Estimator = Estimator(
    name="importance-sampling-baseline",
    formula=ratio(mu) * (r(mu) - constant("c")) * score(b, at=mu),
    draws=(mu,),
    target=target,
    source="owen-2013, section 9.1",
    summary="A constant baseline is free off policy too, as long as it is weighted as the reward is.",
)

unweighted: Estimator = Estimator(
    name="off-policy-without-ratio",
    formula=r(mu) * score(b, at=mu),
    draws=(mu,),
    target=target,
    source="owen-2013, section 9.1",
    summary="Samples of another policy taken for the policy's own.",
    verdict="refuted",
)

first: RandomVariable
second: RandomVariable
first, second = copies(mu, 2)
self_normalised: Estimator = Estimator(
    name="self-normalised-importance-sampling",
    formula=(ratio(first) * r(first) * score(b, at=first) + ratio(second) * r(second) * score(b, at=second))
    / (ratio(first) + ratio(second)),
    draws=(first, second),
    target=target,
    source="owen-2013, section 9.2",
    summary="The ratios of the samples are divided by their sum: consistent, and biased for any number of samples.",
    verdict="refuted",
)

truncated: Estimator = Estimator(
    name="truncated-importance-sampling",
    formula=minimum(ratio(mu), constant("c")) * r(mu) * score(b, at=mu),
    draws=(mu,),
    target=target,
    source="ionides-2008",
    summary="The smaller of the ratio and a constant in the place of the ratio: biased where the ratio is larger.",
    verdict="refuted",
)

gained: Term = maximum(ratio(mu) - Fraction(6, 5), 0) * maximum(r(mu), 0)
saved: Term = maximum(Fraction(4, 5) - ratio(mu), 0) * maximum(-r(mu), 0)
"""What min(ratio * r, clip(ratio, 4/5, 6/5) * r) lacks of ratio * r: where the ratio has moved far to the better."""

clipped: Estimator = Estimator(
    name="clipped-surrogate",
    formula=grad(ratio(mu) * r(mu) - gained - saved, theta),
    draws=(mu,),
    target=target,
    source="schulman-2017, eq. 7",
    summary="PPO after its first step: where the ratio is clipped on the side of its gain, a sample adds nothing.",
    verdict="refuted",
)

# Two steps: an action, and another one that is given the first

a0: RandomVariable = finite("a0", theta, law="pi0")
a1: RandomVariable = finite("a1", theta, law="pi1", given=(a0,))
m0: RandomVariable = finite("m0", law="mu0")
m1: RandomVariable = finite("m1", law="mu1", given=(m0,))
r0: Function
r1: Function
r0, r1 = function("r0"), function("r1")
n1: RandomVariable = finite("n1", theta, law="pi1", given=(m0,))
w0: Term = p(a0, at=m0) / p(m0)
w1: Term = p(n1, at=m1) / p(m1)
s0: Term = score(a0, at=m0)
s1: Term = score(n1, at=m1)
two_steps: Term = grad(E(r0(a0) + r1(a0, a1), a0, a1), theta)

sequence: Estimator = Estimator(
    name="sequence-importance-sampling",
    formula=w0 * w1 * (r0(m0) + r1(m0, m1)) * (s0 + s1),
    draws=(m0, m1),
    target=two_steps,
    source="precup-2000",
    summary="The return of a trajectory of another policy, times the product of the ratios of all its actions.",
)

per_decision: Estimator = Estimator(
    name="per-decision-importance-sampling",
    formula=w0 * r0(m0) * s0 + w0 * w1 * r1(m0, m1) * (s0 + s1),
    draws=(m0, m1),
    target=two_steps,
    source="precup-2000",
    summary="Each reward is weighted by the ratios of the actions before it alone.",
)

token: Estimator = Estimator(
    name="token-importance-sampling",
    formula=w0 * (r0(m0) + r1(m0, m1)) * s0 + w1 * (r0(m0) + r1(m0, m1)) * s1,
    draws=(m0, m1),
    target=two_steps,
    source="schulman-2017, eq. 6",
    summary="Each action is weighted by its own ratio, as the surrogate of a policy over tokens does: the others are missing.",
    verdict="refuted",
)
