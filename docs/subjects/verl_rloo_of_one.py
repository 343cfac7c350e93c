"""The two implementations of leave-one-out disagree about a prompt with one response."""

import numpy as np
import torch
from verl.trainer.ppo.core_algos import compute_rloo_outcome_advantage, compute_rloo_vectorized_outcome_advantage

for rloo in (compute_rloo_outcome_advantage, compute_rloo_vectorized_outcome_advantage):
    advantage, _ = rloo(torch.tensor([[2.0]]), torch.ones(1, 1), np.array([0]))
    print(f"{rloo.__name__:42} {advantage.tolist()}")
