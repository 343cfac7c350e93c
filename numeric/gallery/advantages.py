"""Group advantages: what a group takes from its own samples, on policy."""

from __future__ import annotations

import itertools
import math
from functools import cache, partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row, success, world
from numeric.testbed.setting import Point
from numeric.testbed.targets import Target

adv: Decorator = partial(row, page="advantages")
BINARY = world("on", binary=True)


@cache
def best_of(count: int) -> Target:
    """Return the expected best reward of some samples."""

    def value(point: Point, logits: Tensor) -> Tensor:
        law, rewards = point.sequence_log_probs(logits).exp(), point.rewards
        order = rewards.argsort()
        below = torch.cat([torch.zeros(1, dtype=law.dtype), law[order].cumsum(0)])
        return ((below[1:] ** count - below[:-1] ** count) * rewards[order]).sum()

    tex = rf"\mathbb{{E}}_{{\pi}}[\max(R_1, \ldots, R_{{{count}}})]"
    return Target("best-of", f"the expected best reward of {count} samples", tex, value)


@cache
def pass_sum(last: int) -> Target:
    """Return the sum of pass@j / j, j from 1 on; the rewards are 0 or 1."""

    def value(point: Point, logits: Tensor) -> Tensor:
        failure = 1 - point.sequence_log_probs(logits).exp() @ point.rewards
        return torch.stack([(1 - failure**count) / count for count in range(1, last + 1)]).sum()

    tex = rf"\sum_{{j=1}}^{{{last}}} \mathrm{{pass@}}j / j"
    return Target("pass-sum", f"the sum of pass@j / j for j from 1 to {last}", tex, value)


def of_std(point: Point, group: int) -> float:
    """Return the factor of GRPO with its standard deviation on binary rewards."""
    s = success(point)
    terms = (
        math.comb(group, wins) * s ** (wins - 1) * (1 - s) ** (group - wins - 1) * math.sqrt(wins * (group - wins)) / group
        for wins in range(1, group)
    )
    return sum(terms)


def of_mean(point: Point, group: int) -> float:
    """Return the factor of advantages that are divided by the mean of binary rewards."""
    s = success(point)
    return (1 - (1 - s) ** (group - 1)) / s


@adv(
    "leave-one-out",
    "The mean of the others is a baseline: the gradient, for every size of the group.",
    r"\frac1G \sum_i \Big(R_i - \frac1{G-1} \sum_{j \ne i} R_j\Big) \nabla\log\pi_i",
    sizes=(2, 3, 4),
    derivation="leave-one-out",
    twin=("(rewards.sum() - rewards)", "rewards.sum()"),
)
def leave_one_out(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    advantages = rewards - (rewards.sum() - rewards) / (len(rewards) - 1)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "group-mean",
    "The mean of the group contains the sample: (G - 1)/G of the gradient, whatever the rewards.",
    r"\frac1G \sum_i (R_i - \bar R) \nabla\log\pi_i",
    sizes=(2, 3, 4),
    by=lambda _, group: (group - 1) / group,
    by_tex=r"\frac{G-1}{G}",
    derivation="group_mean_baseline",
    twin=("(logprobs * mask).sum(-1)).mean()", "(logprobs * mask).sum(-1)).sum()"),
)
def group_mean(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    advantages = rewards - rewards.mean()
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "maxrl",
    "Divided by the group's mean, and zero where all fail: exactly the gradient of the sum of pass@j / j up to N - 1, not N.",
    r"\frac1N \sum_i \frac{R_i - \bar R}{\bar R} \nabla\log\pi_i,\quad 0\ \text{if}\ \bar R = 0",
    target=pass_sum(2),
    baseline_free=False,
    sizes=(3,),
    where=BINARY,
    twin=("torch.zeros_like(rewards)", "-torch.ones_like(rewards)"),
)
def maxrl(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    mean = rewards.mean()
    advantages = torch.where(mean > 0, (rewards - mean) / mean.clamp(min=1e-9), torch.zeros_like(rewards))
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "maxrl-with-failures",
    "Where groups that fail as a whole keep their -1, the sum of pass@j / j goes up to N.",
    r"\frac1N \sum_i \Big(\frac{R_i}{\bar R} - 1\Big) \nabla\log\pi_i,\quad \frac{0}{0} = 0",
    target=pass_sum(3),
    baseline_free=False,
    sizes=(3,),
    where=BINARY,
    twin=("- 1)", "- (mean > 0).to(mean.dtype))"),
)
def maxrl_with_failures(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    mean = rewards.mean()
    return -((rewards / mean.clamp(min=1e-9) - 1) * (logprobs * mask).sum(-1)).mean()


@adv(
    "gpg",
    "The centred rewards times G over the number that is not zero: along the gradient, with a factor that moves with "
    "the success s.",
    r"\frac1G \sum_i \frac{G}{\#\{R_j \ne 0\}} (R_i - \bar R) \nabla\log\pi_i",
    by=of_mean,
    by_tex=r"\frac{1 - (1-s)^{G-1}}{s}",
    baseline_free=False,
    sizes=(2, 3, 4),
    where=BINARY,
    twin=("len(rewards) / ", "1 / "),
)
def gpg(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    alpha = len(rewards) / (rewards != 0).to(rewards.dtype).sum().clamp(min=1)
    return -(alpha * (rewards - rewards.mean()) * (logprobs * mask).sum(-1)).mean()


@adv(
    "grpo-std-of-2",
    "Two samples with rewards 0 or 1, divided by their standard deviation (that of the group, not its estimate): the gradient. "
    "With torch.std, which divides by G - 1, it is sqrt((G - 1)/G) times all of these factors.",
    r"\frac1G \sum_i \frac{R_i - \bar R}{\sigma_R} \nabla\log\pi_i,\quad G = 2",
    sizes=(2,),
    where=BINARY,
    twin=("correction=0", "correction=1"),
)
def grpo_std_of_2(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    centred, deviation = rewards - rewards.mean(), rewards.std(correction=0)
    advantages = torch.where(deviation > 0, centred / deviation.clamp(min=1e-9), centred)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "grpo-std-of-3",
    "Three samples with rewards 0 or 1: sqrt(2) times the gradient, whatever the success.",
    r"\frac1G \sum_i \frac{R_i - \bar R}{\sigma_R} \nabla\log\pi_i,\quad G = 3",
    by=math.sqrt(2),
    sizes=(3,),
    where=BINARY,
    twin=("correction=0", "correction=1"),
)
def grpo_std_of_3(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    centred, deviation = rewards - rewards.mean(), rewards.std(correction=0)
    advantages = torch.where(deviation > 0, centred / deviation.clamp(min=1e-9), centred)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "grpo-std-of-4",
    "From four samples on the factor moves with the success s, even where rewards are 0 or 1.",
    r"\frac1G \sum_i \frac{R_i - \bar R}{\sigma_R} \nabla\log\pi_i,\quad G = 4",
    by=of_std,
    by_tex=r"\sum_{k=1}^{G-1} \binom Gk s^{k-1} (1-s)^{G-k-1} \frac{\sqrt{k(G-k)}}{G}",
    sizes=(4,),
    where=BINARY,
    twin=("correction=0", "correction=1"),
)
def grpo_std_of_4(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    centred, deviation = rewards - rewards.mean(), rewards.std(correction=0)
    advantages = torch.where(deviation > 0, centred / deviation.clamp(min=1e-9), centred)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "std-of-the-batch",
    "General rewards, centred and divided by the standard deviation of the batch that contains them: biased.",
    r"\frac1G \sum_i \frac{R_i - \bar R}{\sigma_R} \nabla\log\pi_i",
    target=None,
    sizes=(3,),
    twin=("/ rewards.std()", ""),
)
def std_of_the_batch(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    centred = rewards - rewards.mean()
    advantages = torch.where(rewards.std() > 1e-9, centred / rewards.std().clamp(min=1e-9), centred)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "dynamic-sampling",
    "Groups whose rewards are all equal are drawn anew: along the gradient, more where the success s is near 0 or 1.",
    r"\frac1G \sum_i \Big(R_i - \frac1{G-1} \sum_{j \ne i} R_j\Big) \nabla\log\pi_i\ \Big|\ 0 < \bar R < 1",
    by=lambda point, group: 1 / (1 - success(point) ** group - (1 - success(point)) ** group),
    by_tex=r"\frac{1}{1 - s^G - (1-s)^G}",
    sizes=(2, 3),
    where=BINARY,
    mixed=True,
    twin=("/ (len(rewards) - 1)", "/ len(rewards)"),
)
def dynamic_sampling(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    advantages = rewards - (rewards.sum() - rewards) / (len(rewards) - 1)
    return -(advantages * (logprobs * mask).sum(-1)).mean()


@adv(
    "best-of-k-credit",
    "Each sample gets the mean over all subsets of k of those that it is in: the gradient of the best of k, without "
    "a baseline.",
    r"\sum_i \binom nk^{-1} \sum_{I \ni i,\, |I| = k} \max_{j \in I} R_j\; \nabla\log\pi_i",
    target=best_of(2),
    aim=best_of(2),
    sizes=(3,),
    twin=("math.comb(n, k)", "math.comb(n - 1, k - 1)"),
)
def best_of_k_credit(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    n, k = len(rewards), 2
    subsets = torch.tensor(list(itertools.combinations(range(n), k)))
    best = rewards[subsets].amax(-1)
    inside = (subsets[:, :, None] == torch.arange(n)).any(1).to(rewards.dtype)
    credit = best @ inside / math.comb(n, k)
    return -(credit * (logprobs * mask).sum(-1)).sum()


@adv(
    "best-of-k-credit-centred",
    "Minus the mean of the credits, 1 - k/n of the gradient is left.",
    r"\sum_i (c_i - \bar c) \nabla\log\pi_i",
    target=best_of(2),
    aim=best_of(2),
    by=lambda _, group: 1 - 2 / group,
    by_tex="1 - k/n",
    sizes=(3, 4),
    twin=("credit - credit.mean()", "credit"),
)
def best_of_k_credit_centred(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    n, k = len(rewards), 2
    subsets = torch.tensor(list(itertools.combinations(range(n), k)))
    best = rewards[subsets].amax(-1)
    inside = (subsets[:, :, None] == torch.arange(n)).any(1).to(rewards.dtype)
    credit = best @ inside / math.comb(n, k)
    return -((credit - credit.mean()) * (logprobs * mask).sum(-1)).sum()


@adv(
    "best-of-all-credit-centred",
    "At k = n every sample has the same credit, and centring leaves nothing at all.",
    r"\sum_i (c_i - \bar c) \nabla\log\pi_i,\quad k = n",
    target="nothing",
    aim=best_of(2),
    sizes=(2,),
    twin=("best - best.mean()", "best"),
)
def best_of_all_credit_centred(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    best = rewards.amax(-1).expand(len(rewards))
    return -((best - best.mean()) * (logprobs * mask).sum(-1)).sum()


@adv(
    "best-of-k-credit-less-the-others",
    "Minus the best of the other k - 1 in each subset, which the sample has no say in: the gradient.",
    r"\sum_i \binom nk^{-1} \sum_{I \ni i} \big(\max_{j \in I} R_j - \max_{j \in I \setminus i} R_j\big) \nabla\log\pi_i",
    target=best_of(2),
    aim=best_of(2),
    sizes=(3, 4),
    twin=("best - others", "best - others.mean()"),
)
def best_of_k_credit_less_the_others(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    n = len(rewards)
    pairs = torch.tensor([(i, j) for i in range(n) for j in range(n) if i != j])
    others = rewards[pairs[:, 1]]
    best = torch.maximum(rewards[pairs[:, 0]], others)
    own = (pairs[:, :1] == torch.arange(n)).to(rewards.dtype)
    credit = (best - others) @ own / math.comb(n, 2)
    return -(credit * (logprobs * mask).sum(-1)).sum()


@adv(
    "optimal-token-baseline",
    "The baseline of least variance, a mean of returns weighted by the squared score up to a token, taken over a "
    "group that contains the "
    "sample: biased.",
    r"B_t = \frac{\sum_j W_{j,t} R_j}{\sum_j W_{j,t}},\quad W_{j,t} = \sum_{s \le t} (1 - 2 \pi_{j,s} + "
    r"\textstyle\sum_a \pi_a^2)",
    target=None,
    sizes=(2, 3),
    twin=("weight.sum(0)", "1 + 0 * weight.sum(0)"),
)
def optimal_token_baseline(logprobs: Tensor, vocabulary: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    squared = 1 - 2 * logprobs.exp() + (2 * vocabulary).exp().sum(-1)
    weight = ((squared * mask).cumsum(-1) * mask).detach()
    baseline = (weight * rewards[:, None]).sum(0) / weight.sum(0).clamp(min=1e-9)
    return -((rewards[:, None] - baseline) * logprobs * mask).sum(-1).mean()


@adv(
    "optimal-token-baseline-of-the-others",
    "The same mean over the others: the gradient.",
    r"B_{i,t} = \frac{\sum_{j \ne i} W_{j,t} R_j}{\sum_{j \ne i} W_{j,t}}",
    sizes=(2, 3),
    twin=("weight.sum(0) - weight", "weight.sum(0)"),
)
def optimal_token_baseline_of_the_others(logprobs: Tensor, vocabulary: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    squared = 1 - 2 * logprobs.exp() + (2 * vocabulary).exp().sum(-1)
    weight = ((squared * mask).cumsum(-1) * mask).detach()
    returns = weight * rewards[:, None]
    baseline = (returns.sum(0) - returns) / (weight.sum(0) - weight).clamp(min=1e-9)
    return -((rewards[:, None] - baseline) * logprobs * mask).sum(-1).mean()


@adv(
    "several-rewards-each-by-its-std",
    "Two rewards, each divided by its own standard deviation over the group before they are added: biased for their sum.",
    r"\frac1G \sum_i \sum_k \frac{R^k_i - \bar R^k}{\sigma_{R^k}} \nabla\log\pi_i",
    target=None,
    sizes=(2, 3),
    twin=("/ (each.std() + 1e-6)", ""),
)
def several_rewards_each_by_its_std(logprobs: Tensor, rewards: Tensor, more_rewards: Tensor, mask: Tensor) -> Tensor:
    parts = [(each - each.mean()) / (each.std() + 1e-6) for each in (rewards, more_rewards)]
    return -((parts[0] + parts[1]) * (logprobs * mask).sum(-1)).mean()


def _sum_of_rewards(point: Point, logits: Tensor) -> Tensor:
    return point.sequence_log_probs(logits).exp() @ (point.rewards + point.more_rewards)


BOTH = Target("both-rewards", "the expected sum of both rewards", r"\mathbb{E}_\pi[R^1 + R^2]", _sum_of_rewards)


@adv(
    "several-rewards-each-centred",
    "Each centred by its own mean of the others and then added: the gradient of the sum.",
    r"\frac1G \sum_i \sum_k \Big(R^k_i - \frac1{G-1} \sum_{j \ne i} R^k_j\Big) \nabla\log\pi_i",
    target=BOTH,
    aim=BOTH,
    sizes=(2, 3),
    twin=("parts[0] + parts[1]", "parts[0]"),
)
def several_rewards_each_centred(logprobs: Tensor, rewards: Tensor, more_rewards: Tensor, mask: Tensor) -> Tensor:
    parts = [each - (each.sum() - each) / (len(each) - 1) for each in (rewards, more_rewards)]
    return -((parts[0] + parts[1]) * (logprobs * mask).sum(-1)).mean()
