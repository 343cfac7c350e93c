"""Rows of the gallery as formulas, two tokens at most, for every law: `gradproof prove docs/gallery/formulas.py:off_policy`.

A row says what a number is in one setting; a derivation says it of every vocabulary, every law of the tokens and every reward.
"""

from __future__ import annotations

from derive.estimator import Estimator
from derive.notation import E, constant, copies, finite, function, grad, log, p, parameter, score, total

theta = parameter("theta")
y = finite("y", theta)  # a sequence, as one draw
R = function("R")
reward = grad(E(R(y), y), theta)

# Off policy
mu = finite("m", law="mu")
off_policy = Estimator("off-policy", p(y, at=mu) / p(mu) * R(mu) * score(y, at=mu), (mu,), reward)
m1, m2 = copies(mu, 2)
off_policy_leave_one_out = Estimator(
    "off-policy-leave-one-out",
    (p(y, at=m1) / p(m1) * (R(m1) - R(m2)) * score(y, at=m1) + p(y, at=m2) / p(m2) * (R(m2) - R(m1)) * score(y, at=m2)) / 2,
    (m1, m2),
    reward,
)
no_correction = Estimator("no-correction", R(mu) * score(y, at=mu), (mu,), reward, verdict="refuted")

# Groups
group = copies(y, 3)
mean = total(R(each) for each in group) / 3
group_mean_baseline = Estimator(
    "group-mean-baseline", total((R(each) - mean) * score(each) for each in group) / 3, group, reward, verdict="scaled"
)

# Two tokens: a, and b given a
a = finite("a", theta, law="pi_1")
b = finite("b", theta, law="pi_2", given=(a,))
S = function("S")
both = grad(E(S(a, b), a, b), theta)
V1, V2, Q1, Q2, lam = constant("V_1"), function("V_2"), function("Q_1"), function("Q_2"), constant("lambda")
critic_of_the_prefix = Estimator("critic-of-the-prefix", (S(a, b) - V1) * score(a) + (S(a, b) - V2(a)) * score(b), (a, b), both)
critic_of_prefix_and_token = Estimator(
    "critic-of-prefix-and-token",
    (S(a, b) - Q1(a)) * score(a) + (S(a, b) - Q2(a, b)) * score(b),
    (a, b),
    both,
    verdict="refuted",
)
gae_of_a_wrong_critic = Estimator(
    "gae-of-a-wrong-critic",
    (V2(a) - V1 + lam * (S(a, b) - V2(a))) * score(a) + (S(a, b) - V2(a)) * score(b),
    (a, b),
    both,
    verdict="refuted",
)
temporal_difference_of_the_exact_critic = Estimator(
    "temporal-difference-of-the-exact-critic",
    E(S(a, b), b) * score(a) + (S(a, b) - V2(a)) * score(b),
    (a, b),
    both,
)

# KL to a reference
r1, r2 = finite("r", law="ref_1"), finite("s", law="ref_2", given=(a,))
x1, x2 = log(p(a)) - log(p(r1, at=a)), log(p(b)) - log(p(r2, at=b))
kl = grad(E(x1 + x2, a, b), theta)
k1_in_the_reward = Estimator("k1-in-the-reward", (x1 + x2) * (score(a) + score(b)), (a, b), kl)
k1_in_the_reward_to_go = Estimator("k1-in-the-reward-to-go", (x1 + x2) * score(a) + x2 * score(b), (a, b), kl)
k1_of_the_own_token = Estimator("k1-of-the-own-token", x1 * score(a) + x2 * score(b), (a, b), kl, verdict="refuted")
k2_of_the_sequence = Estimator("k2-of-the-sequence", grad((x1 + x2) ** 2 / 2, theta), (a, b), kl)
k2_as_loss = Estimator("k2-as-loss", grad(x1**2 / 2 + x2**2 / 2, theta), (a, b), kl, verdict="refuted")
