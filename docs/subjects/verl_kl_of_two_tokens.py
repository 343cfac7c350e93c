"""The gradient of the KL of two tokens, and what the token-wise penalty "k3+" gives, both summed over the four sequences."""

import torch
from verl.trainer.ppo.core_algos import kl_penalty

theta = torch.tensor([[0.3, -0.2], [0.7, -0.4], [-0.1, 0.5]], requires_grad=True)  # first token; second given 0; given 1
reference = torch.tensor([[-0.4, 0.5], [-0.3, 0.2], [1.1, 0.0]]).log_softmax(-1)
policy = theta.log_softmax(-1)
loss, kl = 0.0, 0.0
for x in (0, 1):
    for y in (0, 1):
        log_prob = torch.stack([policy[0, x], policy[1 + x, y]])
        log_reference = torch.stack([reference[0, x], reference[1 + x, y]])
        probability = log_prob.sum().exp()
        loss = loss + probability.detach() * kl_penalty(log_prob, log_reference, "k3+").sum()
        kl = kl + probability * (log_prob - log_reference).sum()

print(f"value     {float(loss.detach()):.5f} and {float(kl.detach()):.5f}")
for name, what in (("k3+", loss), ("exact", kl)):
    (gradient,) = torch.autograd.grad(what, theta, retain_graph=True)
    first, second = ([round(g, 5) for g in row.tolist()] for row in gradient[:2])
    print(f"{name:9} first token {first}, second {second}")
