"""Truncated sampling: the sampler keeps the likely tokens, and the trainer may or may not know."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row, world
from numeric.testbed.setting import Setting

cut: Decorator = partial(row, page="truncation")
TOP_K, TOP_P = world("top-k"), world("top-p")
ONE_K, ONE_P = (world(way, Setting(length=1)) for way in ("top-k", "top-p"))


@cut(
    "full-vocabulary-under-top-k",
    "Sampled by top-k, scored by the full vocabulary, the ratio taken for 1: the gradient of no target here, and no "
    "baseline is free.",
    r"\frac1G \sum_i R_i \log\pi_i,\quad y_i \sim q",
    target=None,
    baseline_free=False,
    where=TOP_K,
    twin=("rewards *", "(rewards - 1) *"),
)
def full_vocabulary_under_top_k(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


@cut(
    "token-ratio-of-one-token-under-top-k",
    "The ratio to the sampler's law is the mass that it keeps: at one token the gradient of the reward of what is kept.",
    r"\frac1G \sum_i \frac{\pi_i}{q_i} R_i,\quad n = 1",
    target="kept-top-k",
    baseline_free=False,
    where=ONE_K,
    twin=("- old_logprobs", "- logprobs.detach()"),
)
def token_ratio_of_one_token_under_top_k(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    return -(ratio * rewards[:, None] * mask).sum(-1).mean()


@cut(
    "token-ratio-under-top-k",
    "At two tokens the kept mass differs from prefix to prefix: the gradient of no target here.",
    r"\frac1G \sum_i \sum_t \frac{\pi_{i,t}}{q_{i,t}} R_i",
    target=None,
    baseline_free=False,
    where=TOP_K,
    twin=("old_logprobs) * mask", "old_logprobs) * mask * (1 - old_logprobs)"),
)
def token_ratio_under_top_k(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs) * mask
    return -(ratio * rewards[:, None]).sum(-1).mean()


@cut(
    "sequence-ratio-under-top-k",
    "The product over the sequence: exactly the gradient of the reward of what is kept, the mask frozen; no baseline is free.",
    r"\frac1G \sum_i \prod_t \frac{\pi_{i,t}}{q_{i,t}} R_i",
    target="kept-top-k",
    baseline_free=False,
    where=TOP_K,
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def sequence_ratio_under_top_k(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    return -(ratio * rewards).mean()


@cut(
    "replayed-mask-under-top-k",
    "The sampler's mask replayed, and log-probabilities renormalised on it: the gradient of the reward under the "
    "sampler, every "
    "constant baseline free.",
    r"\frac1G \sum_i R_i \sum_t \log q_{i,t}",
    target="top-k",
    where=TOP_K,
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def replayed_mask_under_top_k(kept_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (kept_logprobs * mask).sum(-1)).mean()


@cut(
    "full-vocabulary-under-top-p",
    "Sampled by top-p, scored by the full vocabulary, the ratio taken for 1: the gradient of no target here, and no "
    "baseline is free.",
    r"\frac1G \sum_i R_i \log\pi_i,\quad y_i \sim q",
    target=None,
    baseline_free=False,
    where=TOP_P,
    twin=("rewards *", "(rewards - 1) *"),
)
def full_vocabulary_under_top_p(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


@cut(
    "token-ratio-of-one-token-under-top-p",
    "The ratio to the sampler's law is the mass that it keeps: at one token the gradient of the reward of what is kept.",
    r"\frac1G \sum_i \frac{\pi_i}{q_i} R_i,\quad n = 1",
    target="kept-top-p",
    baseline_free=False,
    where=ONE_P,
    twin=("- old_logprobs", "- logprobs.detach()"),
)
def token_ratio_of_one_token_under_top_p(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    return -(ratio * rewards[:, None] * mask).sum(-1).mean()


@cut(
    "token-ratio-under-top-p",
    "At two tokens the kept mass differs from prefix to prefix: the gradient of no target here.",
    r"\frac1G \sum_i \sum_t \frac{\pi_{i,t}}{q_{i,t}} R_i",
    target=None,
    baseline_free=False,
    where=TOP_P,
    twin=("old_logprobs) * mask", "old_logprobs) * mask * (1 - old_logprobs)"),
)
def token_ratio_under_top_p(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs) * mask
    return -(ratio * rewards[:, None]).sum(-1).mean()


@cut(
    "sequence-ratio-under-top-p",
    "The product over the sequence: exactly the gradient of the reward of what is kept, the mask frozen; no baseline is free.",
    r"\frac1G \sum_i \prod_t \frac{\pi_{i,t}}{q_{i,t}} R_i",
    target="kept-top-p",
    baseline_free=False,
    where=TOP_P,
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def sequence_ratio_under_top_p(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    return -(ratio * rewards).mean()


@cut(
    "replayed-mask-under-top-p",
    "The sampler's mask replayed, and log-probabilities renormalised on it: the gradient of the reward under the "
    "sampler, every "
    "constant baseline free.",
    r"\frac1G \sum_i R_i \sum_t \log q_{i,t}",
    target="top-p",
    where=TOP_P,
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def replayed_mask_under_top_p(kept_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (kept_logprobs * mask).sum(-1)).mean()
