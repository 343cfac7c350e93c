"""The families of the catalogue that have a folder: their names, and a wrong twin of each entry that is proved."""

from __future__ import annotations

import json

from derive.catalogue import catalogue, folder_of
from derive.catalogue.derivatives import differences, pairs, second_order
from derive.catalogue.discrete import explicit, sums
from derive.catalogue.inference import bounds, thermodynamic, trajectory_balance, wake_sleep
from derive.catalogue.policies import groups, off_policy, penalties, two_steps
from derive.language.term import Term
from derive.notation import E, Over, exp, grad, log, p, score, stop
from docs.readings.page import ANSWERS

FURTHER = tuple(filter(folder_of, catalogue))
"""They are put through the four readings, and told from twins; what else generated code must do is tested of the others."""

STORED = json.loads(ANSWERS.read_text(encoding="utf-8"))
WITHOUT_CODE = tuple(name for name, answer in STORED.items() if "refused" in str(answer["code"]))
"""The page of the readings says why."""

theta = off_policy.theta
f, epsilon, sigma = differences.f, differences.epsilon, differences.sigma
x, y, h = sums.x, sums.y, sums.h


def formula(name: str) -> Term:
    return catalogue[name].formula


TWINS: dict[str, Term] = {
    "importance-sampling": formula("off-policy-without-ratio"),
    "importance-sampling-baseline": formula("importance-sampling-baseline") + score(off_policy.b, at=off_policy.mu),
    "sequence-importance-sampling": formula("token-importance-sampling"),
    "per-decision-importance-sampling": off_policy.w0 * off_policy.r0(off_policy.m0) * off_policy.s0
    + off_policy.w1 * off_policy.r1(off_policy.m0, off_policy.m1) * (off_policy.s0 + off_policy.s1),
    "policy-surrogate": -formula("policy-surrogate"),
    "reinforce-two-steps": two_steps.whole * score(two_steps.a1),
    "reward-to-go": formula("immediate-reward"),
    "state-baseline": formula("action-baseline"),
    "actor-critic-exact": formula("actor-critic"),
    "all-action": Over(grad(p(two_steps.a0), theta) * two_steps.r0(two_steps.a0), two_steps.a0)
    + E(two_steps.later * score(two_steps.a1), two_steps.a1),
    "generalized-advantage-one": formula("generalized-advantage"),
    "remax": (groups.r(groups.b) - groups.r(groups.b) ** 2) * score(groups.b),
    "vargrad": 2 * formula("vargrad"),
    "maxrl": groups.r(groups.one) * score(groups.one) + groups.r(groups.two) * score(groups.two),
    "kl-k1-reward": formula("kl-k1-loss"),
    "kl-k2-loss": formula("kl-k3-loss"),
    "kl-k3-loss-forward": formula("kl-k2-loss"),
    "kl-k3-with-ratio": formula("kl-k3-loss"),
    "kl-k3-reward": formula("kl-k1-reward"),
    "entropy-sampled": formula("entropy-of-samples"),
    "entropy-bonus": penalties.r(penalties.b) * score(penalties.b)
    + penalties.tau * grad(E(log(p(penalties.own)), penalties.own), theta),
    "dice": grad(exp(stop(log(p(second_order.b))) - log(p(second_order.b))) * second_order.f(second_order.b), theta),
    "dice-second-order": formula("surrogate-second-order"),
    "hessian-score": formula("hessian-score-squared"),
    "natural-gradient": second_order.f(second_order.b) * score(second_order.b),
    "evolution-strategies": f(theta + sigma * epsilon) * epsilon,
    "evolution-strategies-mirrored": (f(theta + sigma * epsilon) + f(theta - sigma * epsilon)) * epsilon / (2 * sigma),
    "evolution-strategies-forward": (f(differences.stepped) - f(theta)) * epsilon,
    "antithetic-pathwise": (grad(pairs.mirrored(1), theta) - grad(pairs.mirrored(-1), theta)) / 2,
    "antithetic-uniform": (grad(f(theta + pairs.u), theta) + grad(f(theta - pairs.u), theta)) / 2,
    "sticking-the-landing": grad(bounds.log_joint(bounds.at(epsilon)), theta),
    "lax": formula("lax") - grad(bounds.c(bounds.at(epsilon)), theta),
    "mixture-score-and-pathwise": formula("mixture-pathwise-only"),
    "trajectory-balance": grad(trajectory_balance.square(trajectory_balance.b) / 2, theta),
    "thermodynamic-exact-evidence": formula("thermodynamic-exact-evidence")
    + thermodynamic.weight(thermodynamic.q) / thermodynamic.evidence * score(thermodynamic.q),
    "sleep-phase": score(wake_sleep.q, at=wake_sleep.model),
    "local-expectation-gradients": Over(grad(p(x), theta) * h(x, y), x),
    "rao-blackwell": E(h(x, y) * score(y), y) + h(x, y) * score(y),
    "markov-blanket": sums.f(x) * score(y) + sums.f(y) * score(x),
    "measure-valued-bernoulli": (h(sums.one, sums.other) + h(sums.zero, sums.other)) * grad(sums.s, theta),
    "spsa-quadratic": formula("spsa-quadratic") * explicit.d * explicit.e,
    "measure-valued-categorical": formula("measure-valued-categorical-unweighted"),
    "disarm": formula("disarm-unscaled"),
    "unordered-set": formula("unordered-set-unweighted"),
    "reinmax-quadratic": formula("straight-through-quadratic"),
    "coefficient-from-other-samples": formula("coefficient-from-same-samples"),
}
