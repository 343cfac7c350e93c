"""Twice the cost must give twice the gradient; from the same draws it gives four times."""

import storch
import torch
from storch.method import ScoreFunctionWOR
from torch.distributions import OneHotCategorical

costs = torch.tensor([1.0, -0.5, 2.0])


def gradient(factor, **settings):
    torch.manual_seed(0)
    theta = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    z = ScoreFunctionWOR("z", k=3, **settings)(OneHotCategorical(logits=theta))
    storch.add_cost((z * costs * factor).sum(-1), "cost")
    storch.backward()
    return theta.grad


for biased in (False, True):
    for use_baseline in (False, True):
        settings = {"biased": biased, "use_baseline": use_baseline}
        print(settings, [round(x, 4) for x in (gradient(2, **settings) / gradient(1, **settings)).tolist()])
