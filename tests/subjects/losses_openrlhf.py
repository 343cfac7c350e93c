"""OpenRLHF: the policy losses, the advantages in a plain score, and the KL terms."""

from __future__ import annotations

import torch
from subjects.losses import Entry
from subjects.test_openrlhf import Experience, PolicyLoss, compute_approx_kl, maker


def policy_loss(**settings):
    made = PolicyLoss(**settings)

    def loss(logprobs, old_logprobs, rewards, mask):
        return made(logprobs, old_logprobs, rewards[:, None] * mask, mask)[0]

    return loss


def corrected(level, **settings):
    """What drew the samples is given as the rollout, and the old policy is the policy at the first step."""
    made = PolicyLoss(is_correction_level=level, **settings)

    def loss(logprobs, old_logprobs, rewards, mask):
        given = (logprobs, logprobs.detach(), rewards[:, None] * mask, mask)
        return made(*given, rollout_log_probs=old_logprobs, batch_num_tokens=len(rewards))[0]

    return loss


def advantage(estimator, **settings):
    def loss(logprobs, rewards, mask):
        count = len(rewards)
        action_mask = mask.bool()
        experience = Experience(
            action_mask=action_mask, rewards=rewards, index=list(range(count)), kl=torch.zeros_like(logprobs).detach()
        )
        maker(estimator, count, **settings).compute_advantages_and_returns([experience])
        return -(experience.advantages * logprobs * mask).sum(-1).mean()

    return loss


def kl(kind, *, unbiased=False):
    def loss(logprobs, old_logprobs, ref_logprobs, mask):
        return (compute_approx_kl(logprobs, ref_logprobs, old_logprobs, kind, unbiased) * mask).sum(-1).mean()

    return loss


ENTRIES = [
    Entry("PolicyLoss() (the defaults, token mean)", policy_loss(), "token-mean"),
    Entry("PolicyLoss(token_level_loss=False)", policy_loss(token_level_loss=False), "sequence-mean"),
    Entry(
        "PolicyLoss(dual_clip=3.0, token_level_loss=False)", policy_loss(dual_clip=3.0, token_level_loss=False), "sequence-mean"
    ),
    Entry('PolicyLoss(policy_loss_type="gspo")', policy_loss(policy_loss_type="gspo"), "sequence-mean"),
    Entry(
        'PolicyLoss(is_correction_level="token", is_correction_mode="clip"), token sum',
        corrected("token", is_correction_mode="clip"),
    ),
    Entry('PolicyLoss(is_correction_level="token"), token sum', corrected("token")),
    Entry('PolicyLoss(is_correction_level="seq"), token sum', corrected("seq")),
    Entry("rloo, times the score", advantage("rloo"), "leave-one-out", policies=("on",)),
    Entry("dr_grpo, times the score", advantage("dr_grpo"), "group-mean", policies=("on",)),
    Entry("group_norm, times the score", advantage("group_norm"), policies=("on",)),
    Entry("compute_approx_kl k1, token sum", kl("k1"), "k1-as-loss", kl=True),
    Entry("compute_approx_kl k2, token sum", kl("k2"), "k2-as-loss", kl=True),
    Entry("compute_approx_kl k3, token sum", kl("k3"), "k3-as-loss", kl=True),
    Entry("compute_approx_kl k3, unbiased_gradient=True, token sum", kl("k3", unbiased=True), "k3-times-ratio", kl=True),
]
