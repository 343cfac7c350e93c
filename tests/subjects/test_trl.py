"""trl: whole steps of GRPO and RLOO, from the prompt to the loss, over every completion that a small policy can give.

The trainers are the library's own. Only the model is small: the next token depends on the one before it, and the logits '
'stand in
one matrix. So generation, rewards, advantages and the loss are the code that users run.
"""

from __future__ import annotations

import tempfile
import warnings
from fractions import Fraction
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
    from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
    from trl.trainer.utils import add_fused_lm_head

from subjects.subject import REWARDS, Subject, audited, other_target, require_as_expected

pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY = {"<pad>": 0, "<eos>": 1, "q": 2, "a": 3, "b": 4, "c": 5}
SIZE = len(VOCABULARY)
PROMPT, FIRST = 2, 3
NEVER = -1e4


class Config(PretrainedConfig):
    model_type = "previous-token"

    def __init__(self, **settings):
        super().__init__(**settings)
        self.vocab_size, self.num_hidden_layers, self.hidden_size = SIZE, 1, SIZE


class Backbone(torch.nn.Module):
    """The hidden state is the token itself."""

    def forward(self, input_ids, **_):
        return BaseModelOutput(last_hidden_state=F.one_hot(input_ids, SIZE).double())


class PreviousToken(PreTrainedModel, GenerationMixin):
    """A language model whose logits are a row of one matrix, chosen by the token before."""

    config_class, base_model_prefix = Config, "backbone"

    def __init__(self, config):
        super().__init__(config)
        self.backbone = Backbone()
        self.lm_head = torch.nn.Linear(SIZE, SIZE, bias=False, dtype=torch.float64)
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids=None, attention_mask=None, logits_to_keep=0, **_):
        return CausalLMOutput(logits=self.lm_head(self.backbone(input_ids).last_hidden_state[:, -logits_to_keep:]))

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids}


def language_model(rows):
    """A model with these logits of the completion tokens, for each token before: (tokens, 3)."""
    model = PreviousToken(Config())
    weight = torch.full((SIZE, SIZE), NEVER, dtype=torch.float64)
    for before in range(SIZE):
        logits = rows.get(before, rows[PROMPT])
        weight[FIRST : FIRST + len(logits), before] = torch.tensor(logits, dtype=torch.float64)
    with torch.no_grad():
        model.lm_head.weight.copy_(weight)
    return model


POLICY = {PROMPT: [0.3, -0.2, 0.1]}
REFERENCE = {PROMPT: [-0.4, 0.5, 0.0]}
TWO_POLICY = {PROMPT: [0.3, -0.2], FIRST: [0.7, -0.4], FIRST + 1: [-0.1, 0.5]}
TWO_REFERENCE = {PROMPT: [-0.4, 0.5], FIRST: [-0.3, 0.2], FIRST + 1: [1.1, 0.0]}


@cache
def tokenizer():
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def by_first_token(completion_ids, **_):
    return [float(REWARDS[tokens[0] - FIRST]) for tokens in completion_ids]


def none(completion_ids, **_):
    return [0.0 for _ in completion_ids]


def trained(trainer, config, policy, reward, *, samples, length=1, beta=0.0, reference=None, **settings):
    """A trainer of the library with a small model; the reference model, which it would load by name, is given."""
    args = config(
        output_dir=tempfile.mkdtemp(),
        num_generations=samples,
        beta=0.0,
        per_device_train_batch_size=samples,
        max_completion_length=length,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        **settings,
    )
    data = Dataset.from_dict({"prompt": ["q"] * samples})
    made = trainer(
        model=language_model(policy), reward_funcs=reward, args=args, train_dataset=data, processing_class=tokenizer()
    )
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    if reference is not None:
        made.beta, made.ref_model = beta, language_model(reference)
        add_fused_lm_head(made.ref_model, outputs=("log_probs", "entropy"))
    return made


def step(made, samples):
    """One step of the trainer: generate, score, and the loss of what was generated."""
    batch = made._generate_and_score_completions([{"prompt": "q"}] * samples)
    return made.compute_loss(made.model, batch)


def audit_of(trainer, config, policy, reward, objective, *, samples, named=None, seen=None, **settings):
    made = trained(trainer, config, policy, reward, samples=samples, **settings)
    weight = made.model.lm_head.weight
    run = partial(
        audited,
        lambda: step(made, samples),
        {"logits": weight},
        float32=True,
        state=[made._metrics, made._logs],
        seen=seen or slice(FIRST * SIZE + PROMPT, None, SIZE),
    )
    stated = run(lambda: objective(weight))
    return stated if named is None else other_target(stated, run(lambda: named(weight)))


# Objectives, drawn by ourselves


def draw(weight, before):
    return torch.multinomial(weight[:, before].softmax(-1), 1)[0]


def log_prob(weight, token, before):
    return weight[:, before].log_softmax(-1)[token]


def negative_reward(weight):
    return -REWARDS[draw(weight, PROMPT) - FIRST]


def reverse_kl(reference, weight, before=PROMPT):
    token = draw(weight, before)
    return log_prob(weight, token, before) - log_prob(reference, token, before), token


def forward_kl(reference, weight):
    token = draw(reference, PROMPT)
    return log_prob(reference, token, PROMPT) - log_prob(weight, token, PROMPT)


def sequence_kl(reference, weight):
    """KL(policy || reference) of the two tokens, half of it: the loss is a mean over tokens."""
    first, token = reverse_kl(reference, weight)
    second, _ = reverse_kl(reference, weight, token)
    return (first + second) / 2


def token_kl(reference, frozen, weight):
    """The same, where the law of the first token is not differentiated in the KL of the second."""
    first, _ = reverse_kl(reference, weight)
    second, _ = reverse_kl(reference, weight, draw(frozen, PROMPT))
    return (first + second) / 2


def weights(rows):
    return language_model(rows).lm_head.weight.detach()


REFERENCE_WEIGHT, TWO_REFERENCE_WEIGHT, TWO_POLICY_WEIGHT = map(weights, (REFERENCE, TWO_REFERENCE, TWO_POLICY))


def one_kl(weight):
    return reverse_kl(REFERENCE_WEIGHT, weight)[0]


def grpo(samples, **settings):
    settings = {"loss_type": "grpo", **settings}
    return audit_of(GRPOTrainer, GRPOConfig, POLICY, by_first_token, negative_reward, samples=samples, **settings)


def grpo_kl(objective, policy, reference, length=1, named=None, **settings):
    """A step with no reward and beta = 1, so that the gradient is that of the KL term alone."""
    return audit_of(
        GRPOTrainer, GRPOConfig, policy, none, objective, samples=2, length=length, beta=1.0, reference=reference,
        loss_type="grpo", named=named, **settings,
    )


def rloo(objective, samples=2, beta=0.0, reference=None, policy=POLICY, **settings):
    return audit_of(
        RLOOTrainer, RLOOConfig, policy, by_first_token, objective, samples=samples, beta=beta, reference=reference, **settings
    )


def reward_and_kl(reference, weight):
    """-(reward of the first token - 0.5 * KL of the two tokens)."""
    first, token = reverse_kl(reference, weight)
    second, _ = reverse_kl(reference, weight, token)
    return -(REWARDS[token - FIRST] - 0.5 * (first + second))


TOKENS = (
    "Right for each token given those before it; what a token does to the KL of later tokens is left out. It is exactly "
    "the gradient of the "
    "sum of the token KLs with the law of the prefixes held fixed."
)
STD = (
    "Mean and standard deviation are those of the group that contains the sample; with 3 completions the first "
    "coordinate has the wrong "
    "sign."
)
GROUP = "The group mean contains the sample, so that (n - 1)/n of the gradient is left; a constant that the step size takes up."
SUBJECTS = [
    Subject(
        "grpo-unscaled-2",
        'GRPOTrainer, scale_rewards="none", num_generations=2',
        "-E[reward]",
        partial(grpo, 2, scale_rewards="none"),
        "scaled",
        GROUP,
        Fraction(1, 2),
        standing="documented",
    ),
    Subject(
        "grpo-unscaled-3",
        'GRPOTrainer, scale_rewards="none", num_generations=3',
        "-E[reward]",
        partial(grpo, 3, scale_rewards="none"),
        "scaled",
        GROUP,
        Fraction(2, 3),
        standing="documented",
    ),
    Subject(
        "grpo-3",
        "GRPOTrainer, num_generations=3",
        "-E[reward]",
        partial(grpo, 3),
        "biased",
        f"{STD} Documented: scale_rewards speaks of the bias that Dr. GRPO found.",
        mean=(0.032425217423276184, 0.209919351683147, -0.242344571126997),
        standing="documented",
        tolerance=1e-6,
    ),
    Subject(
        "grpo-kl",
        "GRPOTrainer, beta=1, one token",
        "KL(policy || reference)",
        partial(grpo_kl, one_kl, POLICY, REFERENCE),
        "unbiased",
        "With use_bias_correction_kl, which is the default now, the k3 term has the gradient of the reverse KL.",
    ),
    Subject(
        "grpo-kl-uncorrected",
        "GRPOTrainer, beta=1, use_bias_correction_kl=False, one token",
        "KL(policy || reference)",
        partial(
            grpo_kl, one_kl, POLICY, REFERENCE, named=partial(forward_kl, REFERENCE_WEIGHT), use_bias_correction_kl=False
        ),
        "other target",
        "The gradient of k3 as a loss is exactly that of the forward KL(reference || policy). Documented with the "
        "option; it was the default "
        "before.",
        mean=(0.210364738719908, -0.24665745620965449, 0.036292717489746454),
        standing="documented",
        tolerance=1e-6,
    ),
    Subject(
        "grpo-kl-two-tokens",
        "GRPOTrainer, beta=1, two tokens",
        "KL(policy || reference) of the completion, divided by its length",
        partial(
            grpo_kl,
            partial(sequence_kl, TWO_REFERENCE_WEIGHT),
            TWO_POLICY,
            TWO_REFERENCE,
            2,
            named=partial(token_kl, TWO_REFERENCE_WEIGHT, TWO_POLICY_WEIGHT),
        ),
        "other target",
        f"{TOKENS} The docstring calls it the unbiased reverse-KL gradient, without this limit.",
        mean=(0.16450260254872456, -0.16450260619829707, 0.0),
        standing="undocumented",
        tolerance=1e-6,
    ),
    Subject(
        "rloo-2",
        "RLOOTrainer, num_generations=2, beta=0",
        "-E[reward]",
        partial(rloo, negative_reward),
        "unbiased",
        "Leave-one-out.",
    ),
    Subject(
        "rloo-3",
        "RLOOTrainer, num_generations=3, beta=0",
        "-E[reward]",
        partial(rloo, negative_reward, 3),
        "unbiased",
        "Leave-one-out.",
    ),
    Subject(
        "rloo-kl-two-tokens",
        "RLOOTrainer, num_generations=2, beta=0.5, two tokens",
        "-(E[reward] - 0.5 KL(policy || reference)) of the completion",
        partial(rloo, partial(reward_and_kl, TWO_REFERENCE_WEIGHT), 2, 0.5, TWO_REFERENCE, TWO_POLICY, length=2),
        "unbiased",
        "The log ratio of the whole completion in the reward is right for any length.",
    ),
    Subject(
        "rloo-normalized-3",
        "RLOOTrainer, num_generations=3, beta=0, normalize_advantages=True",
        "-E[reward]",
        partial(rloo, negative_reward, 3, normalize_advantages=True),
        "biased",
        f"{STD} Off by default.",
        mean=(0.032428886134266754, 0.2099256639454115, -0.2423545635831959),
        standing="documented",
        tolerance=1e-6,
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def weigh_advantages(monkeypatch, trainer, factor):
    compute = trainer._compute_loss

    def patched(self, model, batch):
        return compute(self, model, {**batch, "advantages": factor * batch["advantages"]})

    monkeypatch.setattr(trainer, "_compute_loss", patched)


def test_an_advantage_with_the_wrong_sign_is_found(monkeypatch):
    weigh_advantages(monkeypatch, GRPOTrainer, -1)
    found = grpo(2, scale_rewards="none")
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(-1 / 2, abs=1e-6)


def test_the_advantage_of_a_group_mean_in_place_of_leave_one_out_is_found(monkeypatch):
    weigh_advantages(monkeypatch, RLOOTrainer, 1 / 2)
    found = rloo(negative_reward)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(1 / 2, abs=1e-6)
