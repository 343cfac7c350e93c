"""verl: the advantage, KL and policy loss functions of core_algos, each in a surrogate loss over every group of responses."""

from __future__ import annotations

import warnings
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from verl.trainer.ppo import core_algos

from subjects.subject import REWARDS, Subject, audited, logits, other_target, require_as_expected

pytestmark = pytest.mark.filterwarnings("ignore")

REFERENCE = torch.tensor([-0.4, 0.5, 0.0], dtype=torch.float64)


def responses(theta, samples):
    tokens = torch.multinomial(theta.softmax(-1), samples, replacement=True)
    return REWARDS[tokens].unsqueeze(-1), theta.log_softmax(-1)[tokens].unsqueeze(-1)


def reward(theta):
    return -REWARDS[torch.multinomial(theta.softmax(-1), 1)[0]]


def advantage(function, samples, objective=reward, total=False, float32=False, **settings):
    """-(advantage * log probability), the mean over the group or, with `total`, its sum."""
    theta = logits()

    def loss():
        rewards, log_prob = responses(theta, samples)
        index = np.zeros(samples, dtype=np.int64)
        given, _ = function(token_level_rewards=rewards, response_mask=torch.ones_like(rewards), index=index, **settings)
        each = -(given * log_prob)
        return each.sum() if total else each.mean()

    return audited(loss, theta, lambda: objective(theta), float32=float32)


def group(reward_of_group, samples):
    """The objective of a group of responses, drawn by ourselves."""
    return lambda theta: -reward_of_group(REWARDS[torch.multinomial(theta.softmax(-1), samples, replacement=True)])


def lengths_differ(samples=2):
    """The length-weighted baseline where response k has (1, 3, 2)[k] tokens; its log probability is one number."""
    theta, length = logits(), torch.tensor([1, 3, 2])

    def loss():
        tokens = torch.multinomial(theta.softmax(-1), samples, replacement=True)
        mask = (torch.arange(3) < length[tokens, None]).double()
        rewards = torch.zeros(samples, 3, dtype=torch.float64)
        rewards[:, 0] = REWARDS[tokens]
        given, _ = core_algos.compute_opo_outcome_advantage(rewards, mask, np.zeros(samples, dtype=np.int64))
        return -(given[:, 0] * theta.log_softmax(-1)[tokens]).mean()

    return audited(loss, theta, lambda: reward(theta))


# The KL term, as a loss on one token drawn from the policy


def kl(kind, patched=None):
    theta, reference = logits(), REFERENCE.log_softmax(-1)
    function = patched or core_algos.kl_penalty

    def loss():
        token = torch.multinomial(theta.softmax(-1), 1)
        return function(theta.log_softmax(-1)[token], reference[token], kind).sum()

    def reverse():
        token = torch.multinomial(theta.softmax(-1), 1)[0]
        return theta.log_softmax(-1)[token] - reference[token]

    def forward():
        token = torch.multinomial(reference.exp(), 1)[0]
        return reference[token] - theta.log_softmax(-1)[token]

    return other_target(audited(loss, theta, reverse), audited(loss, theta, forward))


def kl_of_two_tokens(kind):
    """The sum of the token terms, where the second token's law depends on the first."""
    theta = torch.tensor([[0.3, -0.2], [0.7, -0.4], [-0.1, 0.5]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-0.4, 0.5], [-0.3, 0.2], [1.1, 0.0]], dtype=torch.float64).log_softmax(-1)
    frozen = theta.detach().clone()

    def drawn(first_from):
        first = torch.multinomial(first_from[0].softmax(-1), 1)[0]
        second = torch.multinomial(theta[1 + first].softmax(-1), 1)[0]
        return first, second

    def pairs(law, first, second):
        return torch.stack([law[0, first], law[1 + first, second]])

    def loss():
        tokens = drawn(theta)
        return core_algos.kl_penalty(pairs(theta.log_softmax(-1), *tokens), pairs(reference, *tokens), kind).sum()

    def sequence():
        tokens = drawn(theta)
        return (pairs(theta.log_softmax(-1), *tokens) - pairs(reference, *tokens)).sum()

    def by_token():
        own, seen = drawn(theta)[0], drawn(frozen)
        log_ratio = theta.log_softmax(-1) - reference
        return log_ratio[0, own] + log_ratio[1 + seen[0], seen[1]]

    return other_target(audited(loss, theta, sequence), audited(loss, theta, by_token))


def policy_loss(old=None, samples=1):
    """compute_policy_loss_vanilla with the reward as advantage; `old` are the logits that the responses were drawn from."""
    theta, config = logits(), SimpleNamespace(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, global_batch_info={})
    config.get = lambda name, default: default

    def loss():
        behaviour = theta.detach() if old is None else old
        token = torch.multinomial(behaviour.softmax(-1), 1)
        log_prob, before = theta.log_softmax(-1)[token], behaviour.log_softmax(-1)[token]
        mask = torch.ones(1, 1, dtype=torch.float64)
        given = (before[None], log_prob[None], REWARDS[token][None], mask)
        return core_algos.compute_policy_loss_vanilla(*given, "token-mean", config)[0]

    return audited(loss, theta, lambda: reward(theta))


PASS_AT_K = {"norm_adv_by_std_in_grpo": False}
FAR = torch.tensor([-0.4, 0.5, 0.0], dtype=torch.float64)
NEAR = torch.tensor([0.25, -0.2, 0.1], dtype=torch.float64)


def remax(index, **given):
    """The baseline is the reward of the greedy response."""
    return core_algos.compute_remax_outcome_advantage(reward_baselines=torch.full((2,), 1.0).double(), **given)


def of_grpo(name, text, verdict, samples, function="compute_grpo_outcome_advantage", **settings):
    shown = ", ".join(f"{key}={value}" for key, value in settings.get("given", {}).items())
    call = f"{function}({shown}), {samples} response{'s' * (samples > 1)}"
    kept = {key: value for key, value in settings.items() if key in ("scale", "mean", "standing", "tolerance")}
    run = partial(
        advantage, getattr(core_algos, function), samples, float32=settings.get("float32", False), **settings.get("given", {})
    )
    return Subject(name, call, "-E[reward]", run, verdict, text, **kept)


TWO_TOKENS = (
    *(0.3290051970822323, -0.3290051970822323),
    *(0.1866082078568348, -0.1866082078568348),
    *(-0.1468381037592196, 0.1468381037592196),
)
GROUP = "The group mean contains the sample: (n - 1)/n of the gradient is left. As in the papers of GRPO and Dr. GRPO."
STD = "Divided by a standard deviation that contains the sample; the first coordinate has the wrong sign. As in the paper of "
PLAIN = {"norm_adv_by_std_in_grpo": False}
SUBJECTS = [
    of_grpo("grpo-2", GROUP, "scaled", 2, given=PLAIN, scale=Fraction(1, 2), standing="documented"),
    of_grpo("grpo-3", GROUP, "scaled", 3, given=PLAIN, scale=Fraction(2, 3), standing="documented"),
    of_grpo("grpo-1", "A single response has no baseline.", "unbiased", 1, given=PLAIN),
    of_grpo(
        "grpo-std-3",
        f"{STD}GRPO.",
        "biased",
        3,
        mean=(0.03243613786970313, 0.20993809438591865, -0.24237423225562185),
        standing="documented",
    ),
    of_grpo(
        "grpo-vectorized-3",
        f"{GROUP} In float32 inside.",
        "scaled",
        3,
        "compute_grpo_vectorized_outcome_advantage",
        given=PLAIN,
        float32=True,
        scale=Fraction(2, 3),
        standing="documented",
    ),
    of_grpo("rloo-3", "Leave-one-out.", "unbiased", 3, "compute_rloo_outcome_advantage"),
    of_grpo("rloo-1", "A single response keeps its reward: no baseline.", "unbiased", 1, "compute_rloo_outcome_advantage"),
    of_grpo("rloo-vectorized-3", "Leave-one-out.", "unbiased", 3, "compute_rloo_vectorized_outcome_advantage"),
    of_grpo(
        "rloo-vectorized-1",
        "A single response gets the advantage 0 here, and its reward in compute_rloo_outcome_advantage: the two that are "
        "meant to be one "
        "estimator differ, and this one gives such prompts no gradient.",
        "biased",
        1,
        "compute_rloo_vectorized_outcome_advantage",
        mean=(0.0, 0.0, 0.0),
        standing="undocumented",
    ),
    of_grpo(
        "opo-3",
        "For responses of one length the length-weighted mean is the group mean, which contains the sample.",
        "scaled",
        3,
        "compute_opo_outcome_advantage",
        scale=Fraction(2, 3),
        standing="documented",
    ),
    Subject(
        "opo-lengths",
        "compute_opo_outcome_advantage(), 2 responses of different lengths",
        "-E[reward]",
        lengths_differ,
        "biased",
        "The weight of the sample in its own baseline is its share of the tokens, which it decides itself; so that it is "
        "no constant factor "
        "any more, and the first coordinate has the wrong sign. The paper's baseline is an expectation.",
        mean=(0.006951775531924402, 0.14139029904077738, -0.1483420745727018),
        standing="undocumented",
    ),
    Subject(
        "remax",
        "compute_remax_outcome_advantage(reward_baselines of the greedy response)",
        "-E[reward]",
        partial(advantage, remax, 2),
        "unbiased",
        "A baseline that does not depend on the sample.",
    ),
    of_grpo(
        "reinforce-plus-plus-baseline-3",
        f"Whitened over the batch, which contains the sample. {STD}REINFORCE++.",
        "biased",
        3,
        "compute_reinforce_plus_plus_baseline_outcome_advantage",
        mean=(0.03243624703358729, 0.2099382832367853, -0.24237453027037253),
        standing="documented",
    ),
    of_grpo(
        "gpg-3",
        "The group mean contains the sample. (The factor alpha was 1: no reward is zero here. It counts rewards that are "
        "not zero in the batch, "
        "so in general it depends on the sample, too.)",
        "scaled",
        3,
        "compute_gpg_outcome_advantage",
        scale=Fraction(2, 3),
        standing="documented",
    ),
    Subject(
        "pass-at-k",
        "compute_grpo_passk_outcome_advantage(norm_adv_by_std_in_grpo=False), 3 responses, their sum",
        "-E[best reward of 3]",
        partial(
            advantage, core_algos.compute_grpo_passk_outcome_advantage, 3, group(torch.amax, 3), total=True, config=PASS_AT_K
        ),
        "unbiased",
        "Best minus second best is the leave-one-out advantage of the best of k.",
    ),
    *(
        Subject(
            f"kl-{kind}",
            f'kl_penalty(..., "{kind}") as a loss, one token',
            "KL(policy || reference)",
            partial(kl, kind),
            verdict,
            text,
            mean=mean,
            standing=("undocumented" if kind == "abs" else "documented") if mean else "",
        )
        for kind, verdict, mean, text in (
            ("k1", "biased", (0.0, 0.0, 0.0), "The gradient of k1 is the score, whose mean is zero. The source says that "
            "k1 and k3 are wrong."),
            ("k2", "unbiased", None, "Half the squared log ratio has the gradient of the reverse KL."),
            (
                "k3",
                "other target",
                (0.210364738719908, -0.24665745620965449, 0.036292717489746454),
                "Exactly the gradient of the forward KL(reference || policy).",
            ),
            ("k1+", "unbiased", None, "The value of k1, and by a straight-through step the gradient of k2."),
            ("k3+", "unbiased", None, "The value of k3, and the gradient of k2."),
            (
                "abs",
                "biased",
                (0.2062365527301585, -0.3750887608591281, 0.1688522081289696),
                "The gradient of no divergence that is named.",
            ),
        )
    ),
    Subject(
        "kl-k3+-two-tokens",
        'kl_penalty(..., "k3+") as a loss, two tokens',
        "KL(policy || reference) of the response",
        partial(kl_of_two_tokens, "k3+"),
        "other target",
        "Right for each token given those before it; what a token does to the KL of later tokens is left out. It is "
        "exactly the gradient of the "
        "sum of the token KLs with the law of the prefixes held fixed. The source calls it the right gradient estimator, "
        "without this limit.",
        mean=TWO_TOKENS,
        standing="undocumented",
    ),
    Subject(
        "policy-loss",
        "compute_policy_loss_vanilla, responses of the current policy",
        "-E[reward]",
        policy_loss,
        "unbiased",
        "The ratio is one, and its gradient the score.",
    ),
    Subject(
        "policy-loss-near",
        "compute_policy_loss_vanilla, responses of a policy within the clip range",
        "-E[reward]",
        partial(policy_loss, NEAR),
        "unbiased",
        "Importance weighting.",
    ),
    Subject(
        "policy-loss-far",
        "compute_policy_loss_vanilla, responses of a policy far away",
        "-E[reward]",
        partial(policy_loss, FAR),
        "biased",
        "Clipping drops the gradient of ratios that are far from one; that is what it is for.",
        mean=(0.2783902271469172, 0.1688522081289695, -0.4472424352758867),
        standing="documented",
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_a_leave_one_out_advantage_without_its_factor_is_found():
    def group_mean(token_level_rewards, response_mask, index):
        given, _ = core_algos.compute_rloo_outcome_advantage(token_level_rewards, response_mask, index)
        return given * 2 / 3, given

    found = advantage(group_mean, 3)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(2 / 3, abs=1e-12)


def test_a_straight_through_step_that_is_left_out_is_found():
    assert kl("k3+", lambda *given: core_algos.kl_penalty(*given[:2], "k3")).verdict == "other target"
