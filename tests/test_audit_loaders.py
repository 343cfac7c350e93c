"""Minibatches that torch.utils.data shuffles are enumerated: the seed that it draws is none of the outcomes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, random_split

from derive.language.errors import TooLarge
from numeric import audit

DATA = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
THETA = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def first(**options) -> Tensor:
    (batch,) = next(iter(DataLoader(TensorDataset(DATA), batch_size=2, **options)))
    return batch


def second_epoch() -> Tensor:
    loader = DataLoader(TensorDataset(DATA), batch_size=2, shuffle=True)
    next(iter(loader))
    (batch,) = next(iter(loader))
    return batch


def split() -> Tensor:
    part, _ = random_split(TensorDataset(DATA), [2, 1])
    return torch.stack([values for (values,) in part])


GENERATOR = torch.Generator().manual_seed(3)
SHUFFLED = {
    "a loader": (lambda: first(shuffle=True), 6),
    "a loader with a generator": (lambda: first(shuffle=True, generator=GENERATOR), 6),
    "a sampler": (lambda: first(sampler=RandomSampler(TensorDataset(DATA))), 6),
    "a second epoch": (second_epoch, 36),
    "a split": (split, 6),
}


@pytest.mark.parametrize(("batch", "outcomes"), SHUFFLED.values(), ids=SHUFFLED)
def test_a_shuffled_minibatch_has_the_gradient_of_the_whole(batch, outcomes):
    def loss(factor: float = 1.0) -> Tensor:
        return factor * (THETA * batch()).sin().mean()

    report = audit(loss, THETA, lambda: (THETA * DATA).sin().mean())
    assert report.outcomes == outcomes
    assert not audit(lambda: loss(0.95), THETA, lambda: (THETA * DATA).sin().mean(), raise_exception=False)


def test_a_seed_that_the_code_itself_draws_may_be_used_for_anything():
    def loss() -> Tensor:
        return THETA * (int(torch.empty((), dtype=torch.int64).random_()) % 2)

    with pytest.raises(TooLarge, match="without an upper end"):
        audit(loss, THETA, lambda: THETA / 2)
