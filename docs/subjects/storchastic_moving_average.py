"""The moving-average baseline leaves 0.95 of the gradient: the mean over the three outcomes, one forced after the other."""

import storch
import torch
from storch.method import ScoreFunction
from torch.distributions import OneHotCategorical

costs = torch.tensor([1.0, -0.5, 2.0])
theta = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
p = theta.detach().softmax(-1)
mean = torch.zeros(3)
for k in range(3):
    OneHotCategorical.sample = lambda self, shape, k=k: torch.eye(3)[k].expand(*shape, 3)
    theta.grad = None
    z = ScoreFunction("z", baseline_factory="moving_average")(OneHotCategorical(logits=theta))
    storch.add_cost((z * costs).sum(-1), "cost")
    storch.backward()
    mean += p[k] * theta.grad

exact = p * (costs - p @ costs)  # the gradient of sum_k p_k cost_k in the logits
print("mean  ", [round(x, 5) for x in mean.tolist()])
print("exact ", [round(x, 5) for x in exact.tolist()])
print("ratio ", [round(x, 4) for x in (mean / exact).tolist()])
