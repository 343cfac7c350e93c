"""Importance weights: the samples come from a behaviour, and the target is the reward of the policy.

The advantage is the reward itself. Where a constant added to it changes the mean, no baseline is free, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from numeric.gallery.row import Decorator, row, world
from numeric.testbed.samples import Samples
from numeric.testbed.setting import Point
from numeric.testbed.targets import Target

OFF = world("off")
weight: Decorator = partial(row, page="weights", where=OFF)


def accepted(shown: str, rule: Callable[[Tensor, Tensor], Tensor]) -> Target:
    """Return the reward of the samples that a rule accepts, the rule frozen: it takes the log ratios and the lengths, (S,)."""

    def value(point: Point, logits: Tensor) -> Tensor:
        frozen = point.sequence_log_probs(point.logits) - point.sequence_log_probs(point.behaviour)
        kept = rule(frozen, point.setting.mask.sum(-1)).double()
        return (point.sequence_log_probs(logits).exp() * point.rewards * kept).sum()

    words = f"the reward of the samples with {shown}, the mask frozen"
    return Target("accepted", words, r"\mathbb{E}_{\pi}[R\, 1\{\text{accepted}\}]", value)


BY_RATIO = accepted("a ratio of at most 1.5", lambda log_ratio, _: log_ratio.exp() <= 1.5)
BY_MEAN = accepted(
    "a geometric mean ratio from 0.8 to 1.25",
    lambda log_ratio, n: (log_ratio / n).exp().clamp(0.8, 1.25) == (log_ratio / n).exp(),
)


@weight(
    "sequence-weight",
    "The ratio of the whole sequence: the gradient, and every constant baseline is free.",
    r"\frac1G \sum_i \rho_i R_i,\quad \rho = \prod_t \pi_t / \mu_t",
    derivation="off_policy",
    twin=("* mask).sum(-1)", ").sum(-1)"),
)
def sequence_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    return -(weight * rewards).mean()


@weight(
    "sequence-weight-leave-one-out",
    "The mean reward of the others is a baseline: the gradient.",
    r"\frac1G \sum_i \rho_i \Big(R_i - \frac1{G-1} \sum_{j \ne i} R_j\Big)",
    sizes=(2, 3),
    derivation="off_policy_leave_one_out",
    twin=("(rewards.sum() - rewards)", "rewards.sum()"),
)
def sequence_weight_leave_one_out(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    others = (rewards.sum() - rewards) / (len(rewards) - 1)
    return -(weight * (rewards - others)).mean()


@weight(
    "sequence-weight-weighted-leave-one-out",
    "The mean weighted reward of the others is a baseline too: the gradient.",
    r"\frac1G \sum_i \rho_i \Big(R_i - \frac1{G-1} \sum_{j \ne i} \rho_j R_j\Big)",
    sizes=(2, 3),
    twin=(".detach()", ""),
)
def weighted_leave_one_out(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    weighted = (weight * rewards).detach()
    others = (weighted.sum() - weighted) / (len(rewards) - 1)
    return -(weight * (rewards - others)).mean()


@weight(
    "sequence-weight-group-mean",
    "The mean of the group contains the sample: (G - 1)/G of the gradient.",
    r"\frac1G \sum_i \rho_i (R_i - \bar R)",
    sizes=(2, 3),
    by=lambda _, group: (group - 1) / group,
    by_tex=r"\frac{G-1}{G}",
    twin=("rewards - rewards.mean()", "rewards"),
)
def sequence_weight_group_mean(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    return -(weight * (rewards - rewards.mean())).mean()


@weight(
    "token-weight",
    "A ratio for each token, PPO without its clip: biased for the reward, and exactly the gradient of the surrogate of "
    "conservative policy iteration. Every constant baseline is free.",
    r"\frac1G \sum_i \sum_t r_{i,t} R_i",
    target="surrogate",
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def token_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    return -(ratio * rewards[:, None] * mask).sum(-1).mean()


@weight(
    "prefix-product",
    "The product of the ratios up to a token, with the reward of the whole: what follows a token is still the "
    "behaviour's, so it is "
    "biased for the reward.",
    r"\frac1G \sum_i \sum_t \prod_{s \le t} r_{i,s}\, R_i",
    target="prefixes",
    baseline_free=False,
    twin=("cumsum(-1)", "cumsum(-1).roll(1, -1)"),
)
def prefix_product(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp((logprobs - old_logprobs).cumsum(-1))
    return -(ratio * rewards[:, None] * mask).sum(-1).mean()


@weight(
    "decoupled-first-step",
    "The weight of the old policy against the behaviour, times the ratio to the old policy, which is the policy at "
    "the first step.",
    r"\frac1G \sum_i \overline{\pi_{\mathrm{old}} / \mu}\; \frac{\pi}{\pi_{\mathrm{old}}}\, R_i",
    same_as="sequence-weight",
    twin=("weight * ratio", "ratio"),
)
def decoupled_first_step(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    proximal = logprobs.detach()  # the old policy, by which the trainer computed log-probabilities anew
    weight = torch.exp(((proximal - old_logprobs) * mask).sum(-1))
    ratio = torch.exp(((logprobs - proximal) * mask).sum(-1))
    return -(weight * ratio * rewards).mean()


@weight(
    "decoupled-first-step-by-token",
    "The same with ratios of tokens is the gradient of the surrogate, as PPO is.",
    r"\frac1G \sum_i \sum_t \overline{\pi_{\mathrm{old},t} / \mu_t}\; \frac{\pi_t}{\pi_{\mathrm{old},t}}\, R_i",
    target="surrogate",
    same_as="token-weight",
    twin=("weight * ratio", "ratio"),
)
def decoupled_first_step_by_token(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    proximal = logprobs.detach()
    weight, ratio = torch.exp(proximal - old_logprobs), torch.exp(logprobs - proximal)
    return -(weight * ratio * rewards[:, None] * mask).sum(-1).mean()


@weight(
    "truncated-weight",
    "A cap on the detached weight (TIS): biased, and no baseline is free.",
    r"\frac1G \sum_i \overline{\min(\rho_i, c)}\, R_i \log\pi_i",
    target=None,
    baseline_free=False,
    twin=("clamp(max=1.5)", "clamp(max=99.0)"),
)
def truncated_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1)).clamp(max=1.5).detach()
    return -(weight * rewards * (logprobs * mask).sum(-1)).mean()


@weight(
    "masked-weight",
    "Samples with a large weight are dropped (MIS): exactly the gradient of the reward of those that are kept, the "
    "mask frozen; "
    "no baseline is free.",
    r"\frac1G \sum_i \rho_i\, 1\{\rho_i \le c\}\, R_i",
    target=BY_RATIO,
    baseline_free=False,
    twin=("kept * weight", "kept * weight.detach() * weight"),
)
def masked_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1))
    kept = (weight.detach() <= 1.5).to(rewards.dtype)
    return -(kept * weight * rewards).mean()


@weight(
    "geometric-rejection",
    "Samples whose geometric mean ratio is far from 1 are dropped, the others not weighted: biased, and no baseline is free.",
    r"\frac1G \sum_i 1\{\rho_i^{1/n_i} \in [a, b]\}\, R_i \log\pi_i",
    target=None,
    baseline_free=False,
    twin=("kept * rewards", "rewards"),
)
def geometric_rejection(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    mean_ratio = torch.exp(((logprobs - old_logprobs).detach() * mask).sum(-1) / mask.sum(-1))
    kept = ((mean_ratio >= 0.8) & (mean_ratio <= 1.25)).to(rewards.dtype)
    return -(kept * rewards * (logprobs * mask).sum(-1)).mean()


@weight(
    "geometric-rejection-with-weight",
    "With the weight of the sequence it is the gradient of the reward of the samples that are kept, the mask frozen.",
    r"\frac1G \sum_i 1\{\rho_i^{1/n_i} \in [a, b]\}\, \rho_i R_i",
    target=BY_MEAN,
    baseline_free=False,
    twin=("/ mask.sum(-1)", ""),
)
def geometric_rejection_with_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = ((logprobs - old_logprobs) * mask).sum(-1)
    mean_ratio = torch.exp(log_ratio.detach() / mask.sum(-1))
    kept = ((mean_ratio >= 0.8) & (mean_ratio <= 1.25)).to(rewards.dtype)
    return -(kept * torch.exp(log_ratio) * rewards).mean()


@weight(
    "geometric-rejection-with-token-weights",
    "With a weight for each token, as for the surrogate: biased for the surrogate too, and no baseline is free.",
    r"\frac1G \sum_i 1\{\rho_i^{1/n_i} \in [a, b]\} \sum_t r_{i,t} R_i",
    target=None,
    baseline_free=False,
    twin=("kept * rewards", "rewards"),
)
def geometric_rejection_with_token_weights(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    log_ratio = (logprobs - old_logprobs) * mask
    mean_ratio = torch.exp(log_ratio.detach().sum(-1) / mask.sum(-1))
    kept = ((mean_ratio >= 0.8) & (mean_ratio <= 1.25)).to(rewards.dtype)
    return -(kept * rewards * (torch.exp(log_ratio) * mask).sum(-1)).mean()


@weight(
    "truncated-token-weight",
    "A capped weight for each token: biased for the reward and for the surrogate, and no baseline is free.",
    r"\frac1G \sum_i \sum_t \overline{\min(r_{i,t}, c)}\, R_i \log\pi_{i,t}",
    target=None,
    baseline_free=False,
    twin=("clamp(max=1.2)", "clamp(max=99.0)"),
)
def truncated_token_weight(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(logprobs - old_logprobs).clamp(max=1.2).detach()
    return -(weight * rewards[:, None] * logprobs * mask).sum(-1).mean()


@weight(
    "normalised-weights",
    "Weights that are divided by their sum over the batch: a ratio of two sums, biased, and no baseline is free.",
    r"\sum_i \frac{\rho_i}{\sum_j \rho_j} R_i \log\pi_i",
    target=None,
    baseline_free=False,
    sizes=(2, 3),
    twin=("/ weight.sum()", "/ len(weight)"),
)
def normalised_weights(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1)).detach()
    return -(weight / weight.sum() * rewards * (logprobs * mask).sum(-1)).sum()


@weight(
    "gspo-without-clip",
    "The geometric mean of the ratios: exactly the gradient of a mixture of behaviour and policy that is geometric "
    "in the length.",
    r"\frac1G \sum_i s_i R_i,\quad s = \rho^{1/n}",
    target="geometric",
    baseline_free=False,
    twin=("/ mask.sum(-1)", ""),
)
def gspo_without_clip(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(((logprobs - old_logprobs) * mask).sum(-1) / mask.sum(-1))
    return -(ratio * rewards).mean()


@weight(
    "no-correction",
    "The samples of the behaviour as if they were the policy's: biased, and no baseline is free.",
    r"\frac1G \sum_i R_i \log\pi_i",
    target=None,
    baseline_free=False,
    derivation="no_correction",
    twin=("* mask).sum(-1)", "* mask).mean(-1)"),
)
def no_correction(logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(rewards * (logprobs * mask).sum(-1)).mean()


@weight(
    "centred-scores",
    "The weighted scores minus their mean over the group: still biased under a cap, but a constant in the reward is gone.",
    r"\frac1G \sum_i \big(w_i \nabla\log\pi_i - \overline{w \nabla\log\pi}\big) R_i",
    target=None,
    sizes=(2, 3),
    twin=("scores - scores.mean()", "scores"),
)
def centred_scores(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - old_logprobs) * mask).sum(-1)).clamp(max=1.5).detach()
    scores = weight * (logprobs * mask).sum(-1)
    return -((scores - scores.mean()) * rewards).mean()


def _two_updates(point: Point) -> Samples:
    """Half of the group from the behaviour, half from the policy of the update after it."""
    found = OFF.samples(point)
    return replace(found, laws=tuple(point.sequence_log_probs(each).exp() for each in (point.behaviour, point.proximal)))


STALE = replace(
    OFF,
    shown="two samples, of the behaviour and of the policy one update later; one or two tokens",
    samples=_two_updates,
    laws=("law(BEHAVIOUR)", "law(PROXIMAL)"),
)


@weight(
    "two-updates-ratio-to-the-later",
    "Samples that are two updates old, and the ratio to the policy of one update ago: biased, and no baseline is free.",
    r"\frac1G \sum_i \frac{\pi}{\pi_{\mathrm{later}}} R_i",
    target=None,
    baseline_free=False,
    twin=("- prox_logprobs", "- prox_logprobs.mean()"),
)
def two_updates_ratio_to_the_later(logprobs: Tensor, prox_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    weight = torch.exp(((logprobs - prox_logprobs) * mask).sum(-1))
    return -(weight * rewards).mean()


@weight(
    "two-updates-decoupled",
    "The weight of the later policy against the behaviour, times the ratio to the later: the gradient, for any policy between.",
    r"\frac1G \sum_i \overline{\pi_{\mathrm{later}} / \mu}\; \frac{\pi}{\pi_{\mathrm{later}}}\, R_i",
    same_as="sequence-weight",
    twin=("weight * ratio", "ratio"),
)
def two_updates_decoupled(
    logprobs: Tensor, old_logprobs: Tensor, prox_logprobs: Tensor, rewards: Tensor, mask: Tensor
) -> Tensor:
    weight = torch.exp(((prox_logprobs - old_logprobs) * mask).sum(-1))
    ratio = torch.exp(((logprobs - prox_logprobs) * mask).sum(-1))
    return -(weight * ratio * rewards).mean()


@weight(
    "two-updates-balanced",
    "A group with one sample of each of two behaviours, both divided by the mean of the two: the gradient.",
    r"\frac1G \sum_i \frac{\pi}{\frac12 (\mu_1 + \mu_2)} R_i",
    sizes=(2,),
    where=STALE,
    twin=("(behaviour + later) / 2", "behaviour"),
)
def two_updates_balanced(
    logprobs: Tensor, old_logprobs: Tensor, prox_logprobs: Tensor, rewards: Tensor, mask: Tensor
) -> Tensor:
    policy, behaviour, later = (torch.exp((each * mask).sum(-1)) for each in (logprobs, old_logprobs, prox_logprobs))
    return -(policy / ((behaviour + later) / 2) * rewards).mean()


@weight(
    "masked-by-divergence",
    "Sequences with a negative advantage and a large divergence are dropped, the others weighted by token: biased, "
    "and no baseline is "
    "free, since the sign of the advantage decides too.",
    r"\frac1G \sum_i M_i \sum_t r_{i,t} R_i,\quad M_i = 0\ \text{if}\ R_i < 0,\ -\frac1{n_i} \log\rho_i > \delta",
    target=None,
    baseline_free=False,
    twin=("kept *", "1 *"),
)
def masked_by_divergence(logprobs: Tensor, old_logprobs: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    divergence = ((old_logprobs - logprobs).detach() * mask).sum(-1) / mask.sum(-1)
    kept = 1 - ((rewards < 0) & (divergence > 0.1)).to(rewards.dtype)
    return -(kept * rewards * (ratio * mask).sum(-1)).mean()
