"""Loss and aggregation: what is divided by what, and what clips and caps do before the policy has moved.

The advantage is the reward itself, so that nothing but the aggregation is seen.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row, world
from numeric.testbed.setting import Setting

agg: Decorator = partial(row, page="aggregation")
SURROGATE = r"\frac1G \sum_i \sum_t r_{i,t}\, A_i"
OFF = world("off")
FIXED = world("on", Setting(ends=False))


@agg(
    "sequence-mean",
    "The mean over the tokens of a sequence weighs a token by 1/n, and n is drawn: biased, and no baseline is free.",
    r"\frac1G \sum_i \frac1{n_i} \sum_t r_{i,t}\, A_i",
    target=None,
    baseline_free=False,
    twin=(".sum(-1) / mask.sum(-1)", ".sum(-1)"),
)
def sequence_mean(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    per_token = -ratio * rewards[:, None] * mask
    return (per_token.sum(-1) / mask.sum(-1)).mean()


@agg(
    "sequence-mean-of-one-length",
    "Where all sequences have T tokens, the same code is 1/T times the gradient.",
    r"\frac1G \sum_i \frac1T \sum_t r_{i,t}\, A_i",
    by=1 / 2,
    where=FIXED,
    twin=("/ mask.sum(-1)", "/ 3"),
)
def sequence_mean_of_one_length(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    per_token = -ratio * rewards[:, None] * mask
    return (per_token.sum(-1) / mask.sum(-1)).mean()


@agg(
    "token-mean",
    "The mean over all tokens of a group is a ratio of two sums that are both drawn: biased, and no baseline is free.",
    r"\frac{\sum_i \sum_t r_{i,t}\, A_i}{\sum_i n_i}",
    target=None,
    baseline_free=False,
    twin=("mask.sum()", "len(mask)"),
)
def token_mean(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    per_token = -ratio * rewards[:, None] * mask
    return per_token.sum() / mask.sum()


@agg(
    "constant-divisor",
    "A divisor that is not drawn is a step size: 1/L_max times the gradient.",
    r"\frac1{G L_{\max}} \sum_i \sum_t r_{i,t}\, A_i",
    by=1 / 2,
    twin=("mask.numel()", "mask.sum()"),
)
def constant_divisor(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    per_token = -ratio * rewards[:, None] * mask
    return per_token.sum() / mask.numel()


@agg(
    "token-sum",
    "The sum over the tokens of a sequence, and the mean over sequences: the gradient.",
    SURROGATE,
    derivation="score-function",
    twin=(".sum(-1).mean()", ".mean(-1).mean()"),
)
def token_sum(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    per_token = -ratio * rewards[:, None] * mask
    return per_token.sum(-1).mean()


@agg(
    "length-times-sequence-ratio",
    "The geometric mean ratio of GSPO times the length: the length cancels the 1/n of its gradient, on policy.",
    r"\frac1G \sum_i n_i\, s_i\, A_i,\quad s_i = \exp\Big(\frac1{n_i} \sum_t \log r_{i,t}\Big)",
    twin=("* mask.sum(-1))", ")"),
)
def length_times_sequence_ratio(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - old_logprobs) * mask).sum(-1) / mask.sum(-1)
    return -(torch.exp(log_ratio) * rewards * mask.sum(-1)).mean()


@agg(
    "cispo-sum",
    "The capped ratio as a detached weight of the log-probability, summed over tokens: on policy the ratio is 1.",
    r"\frac1G \sum_i \sum_t \overline{\min(r_{i,t}, c)}\, A_i \log\pi_{i,t}",
    same_as="token-sum",
    twin=(".clamp(max=5.0)", ".clamp(max=0.9)"),
)
def cispo_sum(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(logprobs - old_logprobs).clamp(max=5.0).detach()
    return -(weight * rewards[:, None] * logprobs * mask).sum(-1).mean()


@agg(
    "sapo-sum",
    "The soft gate has slope 1 where the ratio is 1, whatever its temperature.",
    r"\frac1G \sum_i \sum_t \frac4\tau \sigma(\tau (r_{i,t} - 1))\, A_i",
    same_as="token-sum",
    twin=("4 / tau *", "4 *"),
)
def sapo_sum(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    tau = torch.where(rewards > 0, torch.ones_like(rewards), 1.05)[:, None]
    gate = 4 / tau * torch.sigmoid(tau * (ratio - 1))
    return -(gate * rewards[:, None] * mask).sum(-1).mean()


@agg(
    "ppo-clip-first-step",
    "On policy every ratio is inside the clip: the first step cannot tell it from no clip.",
    r"\frac1G \sum_i \sum_t \min(r_{i,t} A_i, \mathrm{clip}(r_{i,t}, 1 - \epsilon, 1 + \epsilon) A_i)",
    same_as="token-sum",
    twin=("clamp(0.8, 1.2)", "clamp(0.8, 0.9)"),
)
def ppo_clip_first_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = torch.exp(logprobs - old_logprobs), rewards[:, None]
    per_token = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return (per_token * mask).sum(-1).mean()


@agg(
    "ppo-clip-second-step",
    "Off policy the clip cuts what the surrogate would have: neither its gradient nor that of the reward, and no "
    "baseline is free.",
    r"\frac1G \sum_i \sum_t \min(r_{i,t} A_i, \mathrm{clip}(r_{i,t}, 1 - \epsilon, 1 + \epsilon) A_i)",
    target=None,
    baseline_free=False,
    where=OFF,
    twin=("clamp(0.8, 1.2)", "clamp(0.0, 99.0)"),
)
def ppo_clip_second_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = torch.exp(logprobs - old_logprobs), rewards[:, None]
    per_token = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    return (per_token * mask).sum(-1).mean()


@agg(
    "clip-higher-first-step",
    "An upper bound of its own changes nothing before the policy has moved.",
    r"\frac1G \sum_i \sum_t \min(r_{i,t} A_i, \mathrm{clip}(r_{i,t}, 1 - \epsilon_{\mathrm{low}}, 1 + "
    r"\epsilon_{\mathrm{high}}) A_i)",
    same_as="token-sum",
    twin=("1.28", "0.9"),
)
def clip_higher_first_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = torch.exp(logprobs - old_logprobs), rewards[:, None]
    per_token = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
    return (per_token * mask).sum(-1).mean()


@agg(
    "clip-higher-second-step",
    "Off policy it is biased, and not as the symmetric clip is.",
    r"\frac1G \sum_i \sum_t \min(r_{i,t} A_i, \mathrm{clip}(r_{i,t}, 1 - \epsilon_{\mathrm{low}}, 1 + "
    r"\epsilon_{\mathrm{high}}) A_i)",
    target=None,
    baseline_free=False,
    where=OFF,
    twin=("1.28", "99.0"),
)
def clip_higher_second_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = torch.exp(logprobs - old_logprobs), rewards[:, None]
    per_token = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
    return (per_token * mask).sum(-1).mean()


@agg(
    "dual-clip-first-step",
    "The cap on the loss of negative advantages is at a ratio of 3, and there is none on policy.",
    r"\frac1G \sum_i \sum_t \max(\min(r A, \mathrm{clip}(r) A), c A)\ \text{where}\ A < 0",
    same_as="token-sum",
    twin=("3.0 * advantage", "0.5 * advantage"),
)
def dual_clip_first_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = torch.exp(logprobs - old_logprobs), rewards[:, None]
    clipped = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    capped = torch.where(advantage < 0, torch.maximum(clipped, 3.0 * advantage), clipped)
    return -(capped * mask).sum(-1).mean()


@agg(
    "kl-cov-first-step",
    "The penalty |log ratio| has the derivative 0 at 0, where autograd takes the middle of its slopes: on policy, no "
    "effect at all.",
    r"\frac1G \sum_i \sum_t (r_{i,t} A_i - \beta |\log r_{i,t}|)",
    same_as="token-sum",
    twin=("- log_ratio.abs()", "- rewards[:, None] * log_ratio"),
)
def kl_cov_first_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = logprobs - old_logprobs
    per_token = torch.exp(log_ratio) * rewards[:, None] - log_ratio.abs()
    return -(per_token * mask).sum(-1).mean()


@agg(
    "accumulated-token-means",
    "The mean over micro-batches of their token means: not that of the whole batch, and biased too.",
    r"\frac1M \sum_m \frac{\sum_{i \in m} \sum_t r_{i,t}\, A_i}{\sum_{i \in m} n_i}",
    target=None,
    baseline_free=False,
    sizes=(3,),
    twin=("mask[part].sum()", "mask.sum() * 2"),
)
def accumulated_token_means(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = -torch.exp(logprobs - old_logprobs) * rewards[:, None] * mask
    parts = slice(0, 1), slice(1, 3)
    return torch.stack([per_token[part].sum() / mask[part].sum() for part in parts]).mean()


@agg(
    "accumulated-over-all-tokens",
    "Micro-batches divided by the tokens of the whole batch: the token mean of the whole batch, on every sample.",
    r"\sum_m \frac{\sum_{i \in m} \sum_t r_{i,t}\, A_i}{\sum_{i} n_i}",
    target=None,
    baseline_free=False,
    sizes=(3,),
    same_as="token-mean",
    twin=("/ mask.sum()", "/ mask[part].sum()"),
)
def accumulated_over_all_tokens(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = -torch.exp(logprobs - old_logprobs) * rewards[:, None] * mask
    parts = slice(0, 1), slice(1, 3)
    return torch.stack([per_token[part].sum() / mask.sum() for part in parts]).sum()


@agg(
    "entropy-of-sampled-tokens",
    "The mean of minus the log-probability of sampled tokens has the gradient 0: the score has mean zero.",
    r"-\frac1G \sum_i \sum_t \log\pi_{i,t}",
    target="nothing",
    aim="entropy",
    twin=("logprobs * mask", "logprobs.exp() * logprobs * mask"),
)
def entropy_of_sampled_tokens(logprobs: Tensor, mask: Tensor) -> Tensor:
    entropy = -(logprobs * mask).sum(-1)
    return -entropy.mean()


@agg(
    "entropy-of-the-vocabulary",
    "The entropy of the full vocabulary at each sampled position: the token entropy, the law of the prefixes frozen.",
    r"\frac1G \sum_i \sum_t H(\pi(\cdot \mid y_{i,<t}))",
    target="token-entropy",
    aim="entropy",
    twin=("vocabulary.exp()", "vocabulary.exp().detach()"),
)
def entropy_of_the_vocabulary(vocabulary: Tensor, mask: Tensor) -> Tensor:
    entropy = -(vocabulary.exp() * vocabulary).sum(-1)
    return -(entropy * mask).sum(-1).mean()


@agg(
    "entropy-with-the-score-of-the-prefix",
    "With the score of the tokens before it, each position's entropy also moves what leads there: the entropy of the sequence.",
    r"\frac1G \sum_i \sum_t \big(H_t + \overline{H_t} \sum_{s < t} \log\pi_{i,s}\big)",
    target="entropy",
    aim="entropy",
    twin=("entropy + entropy.detach()", "entropy.detach()"),
)
def entropy_with_the_score_of_the_prefix(logprobs: Tensor, vocabulary: Tensor, mask: Tensor) -> Tensor:
    entropy = -(vocabulary.exp() * vocabulary).sum(-1)
    before = logprobs.cumsum(-1) - logprobs
    return -((entropy + entropy.detach() * before) * mask).sum(-1).mean()
