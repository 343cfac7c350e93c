"""A moving-average baseline that is updated before it is used: every gradient shrinks by 5 %.

    gradproof audit docs/examples/moving_average.py:case

The reward is in the average that is taken off it, so what is left is 0.95 * (reward - old baseline). The old baseline costs
nothing; the factor 0.95 is in every gradient, and no test with a tolerance of 5 % sees it.
"""

from __future__ import annotations

import torch

from numeric.auditing.audit import AuditCase

DECAY = 0.95
REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)

logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
average = {"baseline": torch.tensor(0.4, dtype=torch.float64)}


def loss() -> torch.Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    action = policy.sample()
    reward = REWARDS[action]
    average["baseline"] = DECAY * average["baseline"] + (1 - DECAY) * reward
    return (reward - average["baseline"]) * policy.log_prob(action)


def objective() -> torch.Tensor:
    return REWARDS[torch.distributions.Categorical(logits=logits).sample()]


case = AuditCase(loss=loss, params={"logits": logits}, objective=objective, state=[average])
