"""A straight-through Gumbel gradient is biased: its noise decides and is differentiated besides, so the difference is sampled.

gradproof audit docs/examples/audit_gumbel.py:case
"""

from __future__ import annotations

import torch

from numeric.auditing.audit import AuditCase

REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)

logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)


def loss() -> torch.Tensor:
    return torch.nn.functional.gumbel_softmax(logits, hard=True) @ REWARDS


def objective() -> torch.Tensor:
    return REWARDS[torch.multinomial(logits.softmax(-1), 1)]


case = AuditCase(loss=loss, params={"logits": logits}, objective=objective)
