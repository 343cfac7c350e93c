"""Selection: best-of-n, rejection sampling and preferences, read as policy gradients. On policy, but for what is selected."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from numeric.gallery.advantages import BINARY, best_of, pass_sum
from numeric.gallery.row import Decorator, row, world
from numeric.testbed.samples import Samples, samples_of
from numeric.testbed.setting import Point
from numeric.testbed.targets import Target

select: Decorator = partial(row, page="selection")


def _successes(point: Point) -> Samples:
    found = samples_of(point)
    accepted = found.law * point.rewards
    return replace(found, law=accepted / accepted.sum())


def _cloned(point: Point, logits: Tensor) -> Tensor:
    """The log-likelihood of the best of three, whose law is frozen."""
    law, order = point.sequence_log_probs(point.logits).exp(), point.rewards.argsort()
    below = torch.cat([torch.zeros(1, dtype=law.dtype), law[order].cumsum(0)]) ** 3
    return (below[1:] - below[:-1]) @ point.sequence_log_probs(logits)[order]


def _wins(point: Point, logits: Tensor) -> Tensor:
    law, old = (point.sequence_log_probs(each).exp() for each in (logits, point.logits))
    beats = (point.rewards[:, None] - point.rewards).sign() / 2 + 0.5
    return law @ beats @ old


ACCEPTED = replace(
    BINARY,
    shown="samples of the policy that were rewarded; one or two tokens",
    samples=_successes,
    laws=("law(LOGITS) * REWARDS",),
)
LOG_SUCCESS = Target(
    "log-success",
    "the logarithm of the success",
    r"\log \mathbb{E}_\pi[R]",
    lambda point, logits: (point.sequence_log_probs(logits).exp() @ point.rewards).log(),
)
CLONED = Target(
    "cloned",
    "the log-likelihood of the best of three, whose law is frozen",
    r"\mathbb{E}_{\overline{\mathrm{bon}}}[\log\pi]",
    _cloned,
)
WINS = Target(
    "wins",
    "the rate of wins against the policy itself, frozen",
    r"\Pr(R(y) > R(y')),\ y \sim \pi,\ y' \sim \bar\pi",
    _wins,
)


@select(
    "best-of-n-cloned",
    "Fine-tuning on the best of n: the likelihood of the best, whose law is frozen; not the expected best reward.",
    r"-\log\pi_{i^*},\quad i^* = \arg\max_i R_i",
    target=CLONED,
    aim=best_of(3),
    sizes=(3,),
    twin=("argmax", "argmin"),
)
def best_of_n_cloned(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    chosen = torch.nn.functional.one_hot(rewards.argmax(), len(rewards)).to(rewards.dtype)
    return -(chosen * (logprobs * mask).sum(-1)).sum()


@select(
    "best-of-n-score",
    "The best reward times the scores of all n samples: the gradient of the expected best.",
    r"\max_i R_i \sum_i \nabla\log\pi_i",
    target=best_of(3),
    aim=best_of(3),
    sizes=(3,),
    twin=("rewards.amax()", "rewards.mean()"),
)
def best_of_n_score(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards.amax() * (logprobs * mask).sum(-1)).sum()


@select(
    "best-of-n-score-of-the-best",
    "The best reward times the score of the best alone: biased for the expected best.",
    r"\max_i R_i\, \nabla\log\pi_{i^*}",
    target=None,
    aim=best_of(3),
    baseline_free=False,
    sizes=(3,),
    twin=("chosen * rewards", "rewards"),
)
def best_of_n_score_of_the_best(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    chosen = torch.nn.functional.one_hot(rewards.argmax(), len(rewards)).to(rewards.dtype)
    return -(chosen * rewards * (logprobs * mask).sum(-1)).sum()


@select(
    "raft-over-all-samples",
    "Fine-tuning on the rewarded samples, divided by the number of all: the plain score function with rewards 0 and 1.",
    r"\frac1G \sum_{i: R_i = 1} \nabla\log\pi_i",
    sizes=(2, 3),
    same_as="token-sum",
    where=BINARY,
    twin=("len(rewards)", "rewards.sum().clamp(min=1)"),
)
def raft_over_all_samples(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).sum() / len(rewards)


@select(
    "raft-over-the-rewarded",
    "Divided by the number of rewarded samples, and nothing where there is none: the sum of pass@j / j up to N.",
    r"\frac{1}{\#\{R_j = 1\}} \sum_{i: R_i = 1} \nabla\log\pi_i",
    target=pass_sum(3),
    baseline_free=False,
    sizes=(3,),
    where=BINARY,
    twin=("rewards.sum().clamp(min=1)", "len(rewards)"),
)
def raft_over_the_rewarded(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).sum() / rewards.sum().clamp(min=1)


@select(
    "rejection-until-rewarded",
    "Samples are drawn until one is rewarded, and cloned: the gradient of the logarithm of the success, 1/s times "
    "that of the success.",
    r"\frac1G \sum_i \nabla\log\pi_i,\quad y_i \sim \pi(\cdot \mid R = 1)",
    target=LOG_SUCCESS,
    where=ACCEPTED,
    twin=(".sum(-1)", ".mean(-1)"),
)
def rejection_until_rewarded(logprobs: Tensor, mask: Tensor) -> Tensor:
    return -(logprobs * mask).sum(-1).mean()


@select(
    "dpo-first-step",
    "Pairs of the policy, the better one chosen, the policy its own reference: 2 beta times the gradient of the rate "
    "of wins against itself.",
    r"-\log\sigma\Big(\beta \log\frac{\pi_w}{\bar\pi_w} - \beta \log\frac{\pi_l}{\bar\pi_l}\Big)",
    target=WINS,
    aim=WINS,
    by=0.2,
    twin=("0.1 *", "0.2 *"),
)
def dpo_first_step(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - logprobs.detach()) * mask).sum(-1)
    better = (rewards[0] - rewards[1]).sign()
    return -torch.nn.functional.logsigmoid(0.1 * better * (log_ratio[0] - log_ratio[1])) * better.abs()


@select(
    "dpo-later",
    "Once policy and reference differ, pairs that are already ranked right count less: the gradient of no target here.",
    r"-\log\sigma\Big(\beta \log\frac{\pi_w}{\pi_{\mathrm{ref},w}} - \beta \log\frac{\pi_l}{\pi_{\mathrm{ref},l}}\Big)",
    target=None,
    aim=WINS,
    twin=("- ref_logprobs", "- logprobs.detach()"),
)
def dpo_later(logprobs: Tensor, ref_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - ref_logprobs) * mask).sum(-1)
    better = (rewards[0] - rewards[1]).sign()
    return -torch.nn.functional.logsigmoid(0.1 * better * (log_ratio[0] - log_ratio[1])) * better.abs()


@select(
    "dpo-first-step-of-a-behaviour",
    "Pairs of a behaviour, not weighted: biased for the rate of wins of the policy.",
    r"-\log\sigma\Big(\beta \log\frac{\pi_w}{\bar\pi_w} - \beta \log\frac{\pi_l}{\bar\pi_l}\Big),\quad y \sim \mu",
    target=None,
    aim=WINS,
    where=world("off"),
    twin=("0.1 *", "0.2 *"),
)
def dpo_first_step_of_a_behaviour(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - logprobs.detach()) * mask).sum(-1)
    better = (rewards[0] - rewards[1]).sign()
    return -torch.nn.functional.logsigmoid(0.1 * better * (log_ratio[0] - log_ratio[1])) * better.abs()
