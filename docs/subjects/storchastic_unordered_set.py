"""The second-order leave-one-out ratio of two samples s, s': leaving out both, over leaving out s, is (1 - p(s)) / p(s')."""

import torch
from storch.method import UnorderedSetEstimator
from torch.distributions import OneHotCategorical

torch.manual_seed(0)
theta = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
z = UnorderedSetEstimator("z", k=2)(OneHotCategorical(logits=theta))
plate = z.get_plate("z")
p = plate.log_probs._tensor.detach().exp()

# P(the set S is drawn) for S = {s'} from the outcomes without s is p(s') / (1 - p(s)); for the empty set it is 1
by_hand = ((1 - p[None, :]) / p[:, None]).fill_diagonal_(1)
print("library", [[round(x, 4) for x in row] for row in plate.log_snd_leave_one_out._tensor.exp().tolist()])
print("by hand", [[round(x, 4) for x in row] for row in by_hand.tolist()])
