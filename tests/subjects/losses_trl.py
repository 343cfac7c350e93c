"""trl: GRPOTrainer with each loss_type, at the defaults otherwise; the log-probabilities of tokens are those of the testbed."""

from __future__ import annotations

import torch
from subjects.losses import Entry
from subjects.test_trl import POLICY, REFERENCE, none, trained
from trl import GRPOConfig, GRPOTrainer


def policy_loss(beta=0.0, **settings):
    """The loss of the trainer on given log-probabilities, with the reward as the advantage."""
    settings |= {"beta": beta, "reference": REFERENCE if beta else None}
    made = trained(GRPOTrainer, GRPOConfig, POLICY, none, samples=2, length=2, **settings)

    def loss(logprobs, old_logprobs, ref_logprobs, rewards, mask):
        made._get_per_token_logps_and_entropies = lambda *_, **__: (logprobs, torch.zeros_like(logprobs), None)
        count, whole = len(rewards), mask.long()
        batch = {
            "prompt_ids": torch.zeros(count, 1, dtype=torch.long),
            "prompt_mask": torch.ones(count, 1, dtype=torch.long),
            "completion_ids": torch.zeros_like(whole),
            "completion_mask": whole,
            "advantages": rewards,
            "old_per_token_logps": old_logprobs,
            "ref_per_token_logps": ref_logprobs,
            "num_items_in_batch": mask.sum(),
        }
        found = made._compute_loss(made.model, batch)
        made._metrics["train"].clear()
        return found

    return loss


def kl(**settings):
    inner = policy_loss(beta=1.0, **settings)

    def loss(logprobs, old_logprobs, ref_logprobs, rewards, mask):
        return inner(logprobs, old_logprobs, ref_logprobs, 0 * rewards, mask)

    return loss


def of(row="", shown="", **settings):
    calls = ", ".join(f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in settings.items())
    return Entry(f"GRPOTrainer, {calls or 'the defaults, loss_type=dapo'}{shown}", policy_loss(**settings), row)


ENTRIES = [
    of("token-mean"),
    of("sequence-mean", loss_type="grpo"),
    of("token-mean", loss_type="bnpo"),
    of("constant-divisor", loss_type="dr_grpo"),
    of("length-times-sequence-ratio", loss_type="luspo", importance_sampling_level="sequence"),
    of("ppo-clip-first-step", loss_type="luspo"),
    of("sequence-mean", loss_type="grpo", importance_sampling_level="sequence"),
    of("token-mean", loss_type="cispo", epsilon_high=5.0),
    of("sequence-mean", loss_type="sapo"),
    of("token-mean", delta=2.0),
    Entry(
        'GRPOTrainer, beta=1, loss_type="luspo" (a token sum), the KL alone', kl(loss_type="luspo"), "k3-times-ratio", kl=True
    ),
    Entry(
        'GRPOTrainer, beta=1, loss_type="luspo", use_bias_correction_kl=False, the KL alone',
        kl(loss_type="luspo", use_bias_correction_kl=False),
        "k3-as-loss",
        kl=True,
    ),
    Entry(
        'GRPOTrainer, beta=1, loss_type="luspo", importance_sampling_level="sequence", the KL alone',
        kl(loss_type="luspo", importance_sampling_level="sequence"),
        "k3-times-geometric-ratio",
        kl=True,
    ),
    Entry("GRPOTrainer, beta=1 (loss_type=dapo, a token mean), the KL alone", kl(), kl=True),
]
