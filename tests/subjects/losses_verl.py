"""verl: the policy losses with each aggregation, the advantages in a plain score, and the KL terms."""

from __future__ import annotations

import numpy as np
from subjects.losses import Entry
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig


def policy_loss(name, mode=None):
    """A policy loss with the reward as the advantage, and every other setting at its default."""
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1)
    function = core_algos.get_policy_loss_fn(name)

    def loss(logprobs, old_logprobs, rewards, mask):
        return function(
            old_log_prob=old_logprobs,
            log_prob=logprobs,
            advantages=rewards[:, None] * mask,
            response_mask=mask,
            loss_agg_mode=mode or config.loss_agg_mode,
            config=config,
        )[0]

    return loss


def advantage(name, total=False, **settings):
    """An advantage times the log-probabilities, summed over tokens; the mean over the group."""
    function = core_algos.get_adv_estimator_fn(name)

    def loss(logprobs, vocabulary, rewards, mask):
        ends = mask - (mask.roll(-1, -1) * mask)
        ends[:, -1] = mask[:, -1]
        given, _ = function(
            token_level_rewards=rewards[:, None] * ends,
            response_mask=mask,
            index=np.zeros(len(rewards), dtype=np.int64),
            **{key: value(logprobs, vocabulary) if callable(value) else value for key, value in settings.items()},
        )
        each = -(given * logprobs * mask).sum(-1)
        return each.sum() if total else each.mean()

    return loss


def kl(kind, mode="seq-mean-token-sum"):
    def loss(logprobs, ref_logprobs, mask):
        return core_algos.agg_loss(core_algos.kl_penalty(logprobs, ref_logprobs, kind), mask, mode)

    return loss


def entropy(vocabulary, mask):
    return -core_algos.compute_entropy_loss(vocabulary, mask, "seq-mean-token-sum")


def of_loss(name, mode=None, row="", **settings):
    shown = "the default, token-mean" if mode is None else mode
    return Entry(f"{name}, loss_agg_mode: {shown}", policy_loss(name, mode), row, **settings)


def of_advantage(name, row="", shown="", binary=False, **settings):
    return Entry(f"{name}{shown}, times the score", advantage(name, **settings), row, binary, policies=("on",))


OPTIMAL = {
    "old_log_probs": lambda logprobs, vocabulary: logprobs.detach(),
    "sum_pi_squared": lambda logprobs, vocabulary: (2 * vocabulary.detach()).exp().sum(-1),
}
ENTRIES = [
    of_loss("vanilla", row="token-mean"),
    of_loss("vanilla", "seq-mean-token-mean", "sequence-mean"),
    of_loss("vanilla", "seq-mean-token-sum", "ppo-clip-first-step"),
    of_loss("vanilla", "seq-mean-token-sum-norm", "constant-divisor"),
    of_loss("gspo", row="token-mean"),
    of_loss("gspo", "seq-mean-token-mean", "sequence-mean"),
    of_loss("sapo", row="sequence-mean"),
    of_loss("sapo", "seq-mean-token-sum", "sequence-mean"),
    of_loss("gpg", "seq-mean-token-sum", "token-sum"),
    of_loss("kl_cov", "seq-mean-token-sum", "kl-cov-first-step"),
    of_loss("geo_mean", row="sequence-mean"),
    of_loss("cispo", row="token-mean"),
    of_loss("cispo", "seq-mean-token-sum", "cispo-sum"),
    of_advantage("grpo", shown=""),
    of_advantage("grpo", "group-mean", ", norm_adv_by_std_in_grpo=False", norm_adv_by_std_in_grpo=False),
    of_advantage("rloo", "leave-one-out"),
    of_advantage("rloo_vectorized", "leave-one-out"),
    of_advantage("gpg", "gpg", ", rewards 0 and 1", binary=True),
    of_advantage("optimal_token_baseline", **OPTIMAL),
    of_advantage(
        "optimal_token_baseline", "optimal-token-baseline", ", handle_zero_tail=False", handle_zero_tail=False, **OPTIMAL
    ),
    Entry("kl_penalty low_var_kl, token-mean (the defaults)", kl("low_var_kl", "token-mean"), kl=True),
    Entry("kl_penalty k1, seq-mean-token-sum", kl("k1"), "k1-as-loss", kl=True),
    Entry("kl_penalty k2, seq-mean-token-sum", kl("k2"), "k2-as-loss", kl=True),
    Entry("kl_penalty k3, seq-mean-token-sum", kl("k3"), "k3-as-loss", kl=True),
    Entry("kl_penalty k3+, seq-mean-token-sum", kl("k3+"), "k1-of-the-own-token", kl=True),
    Entry("compute_entropy_loss, seq-mean-token-sum", entropy, "entropy-of-the-vocabulary", kl=True),
]
