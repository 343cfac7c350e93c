"""Four samples, each with the mean of the other three taken off (Kool et al., 2019): unbiased, over all 81 outcomes.

gradproof audit docs/examples/audit_leave_one_out.py:case
"""

from __future__ import annotations

import torch

from numeric.auditing.audit import AuditCase

SAMPLES = 4
REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)

logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)


def loss() -> torch.Tensor:
    policy = torch.distributions.Categorical(logits=logits)
    actions = policy.sample((SAMPLES,))
    rewards = REWARDS[actions]
    others = (rewards.sum() - rewards) / (SAMPLES - 1)
    return ((rewards - others) * policy.log_prob(actions)).mean()


def objective() -> torch.Tensor:
    return REWARDS[torch.multinomial(logits.softmax(-1), 1)]


case = AuditCase(loss=loss, params={"logits": logits}, objective=objective)
