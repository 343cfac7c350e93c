"""The policy gradient of two steps: what is credited to which action, and what may be subtracted."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Over, constant, finite, function, grad, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
a0: RandomVariable = finite("a0", theta, law="pi0")
s: RandomVariable = finite("s", law="P", given=(a0,))
a1: RandomVariable = finite("a1", theta, law="pi1", given=(s,))
r0: Function
r1: Function
r0, r1 = function("r0"), function("r1")
draws: tuple[RandomVariable, ...] = (a0, s, a1)
later: Term = r1(s, a1)
whole: Term = r0(a0) + later
target: Term = grad(E(whole, *draws), theta)
V0: Symbol = constant("V0")
V1: Function = function("V1")

reinforce: Estimator = Estimator(
    name="reinforce-two-steps",
    formula=whole * (score(a0) + score(a1)),
    draws=draws,
    target=target,
    source="williams-1992",
    summary="The return times the scores of all actions.",
)

reward_to_go: Estimator = Estimator(
    name="reward-to-go",
    formula=whole * score(a0) + later * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="The score of an action is multiplied by the rewards that come after it.",
)

past_rewards_dropped: Estimator = Estimator(
    name="immediate-reward",
    formula=r0(a0) * score(a0) + later * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="Each action is credited with its own reward alone: what it does to the later ones is missing.",
    verdict="refuted",
)

state_baseline: Estimator = Estimator(
    name="state-baseline",
    formula=(whole - V0) * score(a0) + (later - V1(s)) * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="Any function of the state that an action is taken in may be subtracted.",
)

action_baseline: Estimator = Estimator(
    name="action-baseline",
    formula=whole * score(a0) + (later - function("Q1")(s, a1)) * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="A function of the action is subtracted, and its mean gradient not added back.",
    verdict="refuted",
)

actor_critic: Estimator = Estimator(
    name="actor-critic",
    formula=(r0(a0) + V1(s)) * score(a0) + later * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="A critic stands for the later rewards: biased unless the mean of its error times the score is zero.",
    verdict="refuted",
)

exact_critic: Estimator = Estimator(
    name="actor-critic-exact",
    formula=(r0(a0) + E(later, a1)) * score(a0) + later * score(a1),
    draws=draws,
    target=target,
    source="sutton-2000",
    summary="The critic is the value of the policy.",
)

all_actions: Estimator = Estimator(
    name="all-action",
    formula=Over(grad(p(a0), theta) * (r0(a0) + E(E(later, a1), s)), a0) + E(later * score(a1), a1),
    draws=(a0, s),
    target=target,
    source="sutton-2000",
    summary="The sum over all actions in the place of a sample and its score.",
)

first_error: Term = r0(a0) + V1(s) - V0
second_error: Term = later - V1(s)

generalized_advantage: Estimator = Estimator(
    name="generalized-advantage",
    formula=(first_error + constant("lambda") * second_error) * score(a0) + second_error * score(a1),
    draws=draws,
    target=target,
    source="schulman-2016, eq. 16",
    summary="The later errors of the critic count lambda: the bias is that of the critic, times 1 - lambda.",
    verdict="refuted",
)

generalized_advantage_one: Estimator = Estimator(
    name="generalized-advantage-one",
    formula=(first_error + second_error) * score(a0) + second_error * score(a1),
    draws=draws,
    target=target,
    source="schulman-2016, eq. 18",
    summary="With lambda = 1 the critic is a baseline: unbiased for every critic.",
)
