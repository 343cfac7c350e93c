"""With alpha = 0 the gradient of a discrete guide is zero for every draw; with one particle the bound is the ELBO."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import RenyiELBO, Trace_ELBO

log_factor = torch.tensor([-1.2, -0.4, -2.0])


def model():
    a = pyro.sample("a", dist.Categorical(logits=torch.zeros(3)))
    pyro.factor("factor", log_factor[a])


def guide():
    pyro.sample("a", dist.Categorical(logits=pyro.param("theta", torch.tensor([0.3, -0.2, 0.1]))))


def mean(elbo):
    """Over the three outcomes, with one forced after the other."""
    total = torch.zeros(3)
    for k in range(3):
        dist.Categorical.sample = lambda self, shape=(), k=k: torch.tensor(k)
        guide()
        theta = pyro.param("theta").unconstrained()
        theta.grad = None
        elbo.loss_and_grads(model, guide)
        total += theta.detach().softmax(-1)[k] * theta.grad
    return [round(x, 5) + 0.0 for x in total.tolist()]


theta = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
q = theta.softmax(-1)
(q * (q.log() - log_factor + torch.tensor(3.0).log())).sum().backward()  # -ELBO, summed over a
print("exact                              ", [round(x, 5) for x in theta.grad.tolist()])
print("Trace_ELBO()                       ", mean(Trace_ELBO()))
print("RenyiELBO(alpha=0, num_particles=1)", mean(RenyiELBO(alpha=0, num_particles=1)))
