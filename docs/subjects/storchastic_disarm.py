"""The mean of DisARM is zero: its estimate depends on the uniform draw only through the two samples, so three draws are all."""

import storch
import torch
from storch.method import DisARM
from torch.distributions import Bernoulli

theta = torch.tensor([0.3], requires_grad=True)
p = float(theta.sigmoid())
mean = 0.0
for low, high in ((0, 1 - p), (1 - p, p), (p, 1)):  # (b, b~) = (0, 1), (1, 1), (1, 0)
    torch.rand = lambda shape, low=low, high=high, **_: torch.full(tuple(shape), (low + high) / 2)
    theta.grad = None
    b = DisARM("b")(Bernoulli(logits=theta))
    storch.add_cost(((b * 1.0 - 0.45) ** 2).sum(-1), "cost")
    storch.backward()
    print(f"probability {high - low:.4f}  estimate {float(theta.grad):+.6f}")
    mean += (high - low) * float(theta.grad)

print(f"mean  {mean:.6f}")
print(f"exact {p * (1 - p) * (0.55**2 - 0.45**2):.6f}")  # dp/dtheta * (cost(1) - cost(0))
