"""A relaxed sample given b = 1 must lie above 1/2, since b is 1 exactly where that is so: many do not."""

import storch
import torch

p = torch.full((999,), 0.5)
v = torch.arange(1, 1000) / 1000
torch.rand = lambda *_, **__: v

given_one = storch.conditional_gumbel_rsample(torch.ones(999), p, True, 1.0)
w = v * p + (1 - p)  # the uniform draw behind b = 1 lies in (1 - p, 1)
meant = (p.log() - (-p).log1p() + w.log() - (-w).log1p()).sigmoid()
written = (p.log() + p.log1p() + w.log() + w.log1p()).sigmoid()
print(f"library  from {given_one.min():.4f} to {given_one.max():.4f}")
print(f"meant    from {meant.min():.4f} to {meant.max():.4f}")
print(f"library is log p + log(1 + p) + log w + log(1 + w): {torch.allclose(given_one, written)}")
