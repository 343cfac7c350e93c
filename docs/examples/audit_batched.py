"""Fourteen bits, 16384 outcomes: the code takes n rows at a time, so they are run a thousand and more at once.

gradproof audit docs/examples/audit_batched.py:case
"""

from __future__ import annotations

import torch

from numeric.auditing.audit import AuditCase

logits = torch.linspace(-1, 1, 14, dtype=torch.float64).requires_grad_()
WEIGHTS = torch.linspace(-1, 2, 14, dtype=torch.float64)


def f(b: torch.Tensor) -> torch.Tensor:
    return (b @ WEIGHTS - 0.4).square()


def losses(n: int) -> torch.Tensor:
    law = torch.distributions.Bernoulli(logits=logits)
    b = law.sample((n,))
    return (f(b) - 2.0) * law.log_prob(b).sum(-1)


def values(n: int) -> torch.Tensor:
    return f(torch.bernoulli(logits.sigmoid().expand(n, -1)))


case = AuditCase(loss=losses, params={"logits": logits}, objective=values, batched=True)
