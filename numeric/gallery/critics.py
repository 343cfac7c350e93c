"""Critics and lengths: baselines that are learned, bootstrapping, and rewards that know how long a sequence is. On policy."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row
from numeric.testbed.setting import END, Point
from numeric.testbed.targets import Target

critic: Decorator = partial(row, page="critics")


def _penalised(point: Point, logits: Tensor) -> Tensor:
    lengths = point.setting.mask.sum(-1)
    return point.sequence_log_probs(logits).exp() @ (point.rewards - 0.5 * lengths)


def _ended(point: Point, logits: Tensor) -> Tensor:
    ended = torch.tensor([float(tokens[-1] == END) for tokens in point.setting.lists]).double()
    return point.sequence_log_probs(logits).exp() @ (point.rewards * ended)


PENALISED = Target("penalised", "the expected reward less half the length", r"\mathbb{E}_\pi[R - \tfrac12 n]", _penalised)
ENDED = Target("ended", "the reward of the sequences that end in time", r"\mathbb{E}_\pi[R\, 1\{\text{ended}\}]", _ended)


@critic(
    "critic-of-the-prefix",
    "A critic that sees the prefix only is a baseline, however wrong it is: the gradient. So is GAE with lambda = 1.",
    r"\frac1G \sum_i \sum_t (R_i - V(y_{i,<t})) \nabla\log\pi_{i,t}",
    derivation="critic_of_the_prefix",
    twin=("- values", "* values"),
)
def critic_of_the_prefix(logprobs: Tensor, values: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    advantages = rewards[:, None] - values
    return -(advantages * logprobs * mask).sum(-1).mean()


@critic(
    "critic-of-prefix-and-token",
    "A critic that sees the token too is no baseline: biased.",
    r"\frac1G \sum_i \sum_t (R_i - Q(y_{i,<t}, y_{i,t})) \nabla\log\pi_{i,t}",
    target=None,
    derivation="critic_of_prefix_and_token",
    twin=("- action_values", "- 0 * action_values"),
)
def critic_of_prefix_and_token(logprobs: Tensor, action_values: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    advantages = rewards[:, None] - action_values
    return -(advantages * logprobs * mask).sum(-1).mean()


@critic(
    "gae-of-a-wrong-critic",
    "With lambda < 1 the next value stands for what follows, and a wrong one is believed: biased, and no baseline is free, "
    "since the critic does not move with the reward.",
    r"\frac1G \sum_i \sum_t \sum_{s \ge t} \lambda^{s-t} \delta_{i,s} \nabla\log\pi_{i,t}",
    target=None,
    baseline_free=False,
    derivation="gae_of_a_wrong_critic",
    twin=("0.9 * ", "1.0 * "),
)
def gae_of_a_wrong_critic(logprobs: Tensor, values: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    after = torch.nn.functional.pad(mask[:, 1:], (0, 1))
    following = torch.nn.functional.pad(values[:, 1:], (0, 1)) * after
    deltas = (rewards[:, None] * (mask - after) + following - values) * mask
    advantage = torch.zeros_like(rewards)
    advantages: list[Tensor] = []
    for delta in reversed(deltas.unbind(-1)):
        advantage = delta + 0.9 * advantage
        advantages.insert(0, advantage)
    return -(torch.stack(advantages, -1) * logprobs * mask).sum(-1).mean()


@critic(
    "temporal-difference-of-a-wrong-critic",
    "With lambda = 0 a token sees the next value only: biased.",
    r"\frac1G \sum_i \sum_t (r_{i,t} + V(y_{i,\le t}) - V(y_{i,<t})) \nabla\log\pi_{i,t}",
    target=None,
    baseline_free=False,
    twin=("+ following - values", "- values"),
)
def temporal_difference_of_a_wrong_critic(logprobs: Tensor, values: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    after = torch.nn.functional.pad(mask[:, 1:], (0, 1))
    following = torch.nn.functional.pad(values[:, 1:], (0, 1)) * after
    deltas = rewards[:, None] * (mask - after) + following - values
    return -(deltas * logprobs * mask).sum(-1).mean()


@critic(
    "temporal-difference-of-the-exact-critic",
    "With the exact value of each prefix the same is the gradient; the values must move with the reward.",
    r"\frac1G \sum_i \sum_t (r_{i,t} + V^\pi(y_{i,\le t}) - V^\pi(y_{i,<t})) \nabla\log\pi_{i,t}",
    baseline_free=False,
    derivation="temporal_difference_of_the_exact_critic",
    twin=("+ following - exact_values", "- exact_values"),
)
def temporal_difference_of_the_exact_critic(logprobs: Tensor, exact_values: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    after = torch.nn.functional.pad(mask[:, 1:], (0, 1))
    following = torch.nn.functional.pad(exact_values[:, 1:], (0, 1)) * after
    deltas = rewards[:, None] * (mask - after) + following - exact_values
    return -(deltas * logprobs * mask).sum(-1).mean()


@critic(
    "length-penalty-in-the-reward",
    "A length that is taken off the reward: the gradient of the penalised reward.",
    r"\frac1G \sum_i (R_i - \tfrac12 n_i) \nabla\log\pi_i",
    target=PENALISED,
    aim=PENALISED,
    twin=("rewards - 0.5", "rewards + 0.5"),
)
def length_penalty_in_the_reward(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    penalised = rewards - 0.5 * mask.sum(-1)
    return -(penalised * (logprobs * mask).sum(-1)).mean()


@critic(
    "length-penalty-as-loss",
    "A length that is added to the loss has no gradient: what is left is that of the reward.",
    r"\frac1G \sum_i (-R_i \log\pi_i + \tfrac12 n_i)",
    target="reward",
    aim=PENALISED,
    same_as="token-sum",
    twin=("0.5 * mask.sum(-1)", "0.5 * (mask * logprobs.exp()).sum(-1)"),
)
def length_penalty_as_loss(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    score = rewards * (logprobs * mask).sum(-1)
    return (-score + 0.5 * mask.sum(-1)).mean()


@critic(
    "length-penalty-by-the-group",
    "A bonus for being short among the samples of the group: it depends on the others and on the sample at once. "
    "Biased for the reward, "
    "and for the reward with a penalty that is fixed.",
    r"\frac1G \sum_i \Big(R_i + \tfrac12 - \frac{n_i - \min n}{\max n - \min n}\Big) \nabla\log\pi_i",
    target=None,
    twin=("rewards + bonus", "rewards - bonus"),
)
def length_penalty_by_the_group(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    lengths = mask.sum(-1)
    spread = lengths.amax() - lengths.amin()
    bonus = torch.where(spread > 0, 0.5 - (lengths - lengths.amin()) / spread.clamp(min=1), torch.zeros_like(lengths))
    return -((rewards + bonus) * (logprobs * mask).sum(-1)).mean()


@critic(
    "overlong-filtering",
    "Sequences that do not end in time are masked: the gradient of the reward of those that do, so that not ending "
    "is worth 0, and no "
    "baseline is free.",
    r"\frac1G \sum_i 1\{\text{ended}_i\}\, R_i \nabla\log\pi_i",
    target=ENDED,
    baseline_free=False,
    twin=("ended * rewards", "rewards"),
)
def overlong_filtering(logprobs: Tensor, tokens: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ended = ((tokens == 2) & (mask > 0)).any(-1).to(rewards.dtype)
    return -(ended * rewards * (logprobs * mask).sum(-1)).mean()
