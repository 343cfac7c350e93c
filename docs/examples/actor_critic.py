"""A policy of two steps with a critic V of the state between them.

- `gradproof prove docs/examples/actor_critic.py:bootstrapped` answers refuted: the critic stands for the reward to come;
- `gradproof prove docs/examples/actor_critic.py:baseline` answers proved, for every critic: it is only subtracted;
- `gradproof prove docs/examples/actor_critic.py:exact` answers proved: the critic is the mean of the reward to come.
"""

from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score

theta = parameter("theta")
first = finite("a_0", theta, law="pi_0")
state = finite("s", law="P", given=(first,))
second = finite("a_1", theta, law="pi_1", given=(state,))
draws = (first, state, second)

r_0, r_1, V = function("r_0"), function("r_1"), function("V")
now, later, critic = r_0(first), r_1(state, second), V(state)
target = grad(E(now + later, *draws), theta)

bootstrapped = Estimator(
    "actor-critic-bootstrapped",
    (now + critic) * score(first) + (later - critic) * score(second),
    draws=draws,
    target=target,
    summary="The first action is credited with what the critic expects.",
    verdict="refuted",
)

baseline = Estimator(
    "actor-critic-baseline",
    (now + later) * score(first) + (later - critic) * score(second),
    draws=draws,
    target=target,
    summary="The first action is credited with what came; the critic is a baseline of the second.",
)

exact = Estimator(
    "actor-critic-exact",
    (now + E(later, second)) * score(first) + (later - critic) * score(second),
    draws=draws,
    target=target,
    summary="The first action is credited with the mean of what comes.",
)
