"""The clipped surrogate of PPO, at the samples of an older policy mu and at the policy's own.

- `gradproof prove docs/examples/ppo.py:off_policy` answers refuted, with a witness: beyond the clip a sample has no gradient;
- `gradproof prove docs/examples/ppo.py:on_policy` answers proved: both are one policy at first, and nothing is clipped.

Source: schulman-2017, eq. 7, with epsilon = 0.2. A constant epsilon would be any number, a negative one too.
"""

from fractions import Fraction

from derive.estimator import Estimator
from derive.notation import E, clip, finite, function, grad, minimum, p, parameter, stop

theta = parameter("theta")
epsilon = Fraction(1, 5)
advantage = function("A")
b = finite("b", theta, law="pi")
a = finite("a", law="mu")
target = grad(E(advantage(b), b), theta)


def surrogate(ratio, action):
    """Return the smaller of the weighted advantage and the clipped one."""
    return minimum(ratio * advantage(action), clip(ratio, 1 - epsilon, 1 + epsilon) * advantage(action))


off_policy = Estimator(
    "ppo-off-policy",
    grad(surrogate(p(b, at=a) / p(a), a), theta),
    draws=(a,),
    target=target,
    where=(("ratio", p(b, at=a) / p(a)),),
    source="schulman-2017, eq. 7",
    summary="Samples of another policy, with a clipped ratio.",
    verdict="refuted",
)

on_policy = Estimator(
    "ppo-on-policy",
    grad(surrogate(p(b) / stop(p(b)), b), theta),
    draws=(b,),
    target=target,
    where=(("ratio", p(b) / stop(p(b))),),
    source="schulman-2017, eq. 7",
    summary="Samples of the policy itself: the ratio is one, and its gradient the score.",
    verdict="proved",
)
