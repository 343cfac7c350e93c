"""openrlhf: its advantages, KL estimators, rewards and policy loss.

Its packages import deepspeed and vllm, which need CUDA. So the files with the functions are imported by themselves, unchanged:
the packages around them are entered without running their __init__, and empty modules stand in for what is not used.
"""

from __future__ import annotations

import sys
import warnings
from fractions import Fraction
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from subjects.subject import REWARDS, Subject, audited, logits, other_target, require_as_expected

pytestmark = pytest.mark.filterwarnings("ignore")


def enter(*packages):
    """Make packages importable by their folder alone, without what their __init__ imports."""
    for name in packages:
        parent, _, last = name.rpartition(".")
        module = ModuleType(name)
        module.__path__ = [f"{sys.modules[parent].__path__[0]}/{last}"]
        sys.modules[name] = module
        setattr(sys.modules[parent], last, module)


def stand_in(name, **names):
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(names)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import openrlhf  # noqa: F401

    enter("openrlhf.models", "openrlhf.utils", "openrlhf.trainer", "openrlhf.trainer.ppo_utils", "openrlhf.trainer.ray")
    stand_in("deepspeed")
    stand_in("openrlhf.trainer.ray.launcher", RayActorGroup=object)
    stand_in("openrlhf.utils.utils", zero_pad_sequences=None)
    from openrlhf.models.loss import PolicyLoss
    from openrlhf.models.utils import compute_approx_kl
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

REFERENCE = torch.tensor([-0.4, 0.5, 0.0], dtype=torch.float64).log_softmax(-1)


def settings(estimator, samples, **advantage):
    names = {"estimator": estimator, "gamma": 1.0, "lambd": 1.0, "no_std_norm": False, **advantage}
    return SimpleNamespace(
        algo=SimpleNamespace(advantage=SimpleNamespace(**names)),
        reward=SimpleNamespace(clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None),
        rollout=SimpleNamespace(n_samples_per_prompt=samples),
    )


def maker(estimator, samples, kl_coefficient=0.0, **advantage):
    made = RemoteExperienceMaker.__new__(RemoteExperienceMaker)
    made.strategy = SimpleNamespace(args=settings(estimator, samples, **advantage))
    made.args, made.advantage_estimator = made.strategy.args, estimator
    made.kl_ctl = SimpleNamespace(value=kl_coefficient)
    return made


def advantage(estimator, samples, kl_coefficient=0.0, kind="k1", **given):
    """One group of responses of one token, through compute_advantages_and_returns and PolicyLoss."""
    theta, mask = logits(), torch.ones(samples, 1, dtype=torch.bool)

    def loss():
        tokens = torch.multinomial(theta.softmax(-1), samples, replacement=True)
        log_prob = theta.log_softmax(-1)[tokens][:, None]
        kl = compute_approx_kl(log_prob.detach(), REFERENCE[tokens][:, None], kl_estimator=kind)
        experience = Experience(action_mask=mask, rewards=REWARDS[tokens], index=list(range(samples)), kl=kl)
        maker(estimator, samples, kl_coefficient, **given).compute_advantages_and_returns([experience])
        return PolicyLoss()(log_prob, log_prob.detach(), experience.advantages, mask)[0]

    def objective():
        token = torch.multinomial(theta.softmax(-1), 1)[0]
        return -(REWARDS[token] - kl_coefficient * (theta.log_softmax(-1)[token] - REFERENCE[token]))

    return audited(loss, theta, objective, float32=True)


def kl(kind, *, unbiased=False, old=None):
    """compute_approx_kl as a loss on one token, drawn from the policy or, off the policy, from the logits `old`."""
    theta = logits()

    def loss():
        behaviour = theta.detach() if old is None else old
        token = torch.multinomial(behaviour.softmax(-1), 1)
        before = None if old is None else behaviour.log_softmax(-1)[token]
        return compute_approx_kl(theta.log_softmax(-1)[token], REFERENCE[token], before, kind, unbiased).sum()

    def reverse():
        token = torch.multinomial(theta.softmax(-1), 1)[0]
        return theta.log_softmax(-1)[token] - REFERENCE[token]

    def forward():
        token = torch.multinomial(REFERENCE.exp(), 1)[0]
        return REFERENCE[token] - theta.log_softmax(-1)[token]

    return other_target(audited(loss, theta, reverse, float32=True), audited(loss, theta, forward, float32=True))


OLD = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64)
GROUP = "The group mean contains the sample: (n - 1)/n of the gradient is left."
REWARD_KL = "-(E[reward] - 0.5 KL(policy || reference)), one token"
IN_REWARD = (
    "In the reward only k1 has the right gradient: the other two have the mean of the KL, but their own derivative, "
    "which a reward does not "
    "get, is not zero."
)


def of_kl(name, kind, verdict, text, mean=None, standing="", **settings):
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if key == "unbiased")
    where = "tokens of another policy" if "old" in settings else "one token"
    call = f'compute_approx_kl(kl_estimator="{kind}"{", unbiased_gradient=True" if shown else ""}) as a loss, {where}'
    return Subject(
        name, call, "KL(policy || "
        "reference)", partial(kl, kind, **settings), verdict, text, mean=mean, standing=standing, tolerance=1e-6
    )


def of_advantage(name, verdict, text, estimator, samples, *given, objective="-E[reward]", shown="", **expected):
    names = ("scale", "mean", "standing")
    run = partial(advantage, estimator, samples, *given, **{key: value for key, value in expected.items() if key not in names})
    kept = {key: value for key, value in expected.items() if key in names}
    call = f'compute_advantages_and_returns, "{estimator}"{shown}, {samples} responses'
    return Subject(name, call, objective, run, verdict, text, tolerance=1e-6, **kept)


SUBJECTS = [
    of_advantage("rloo", "unbiased", "Leave-one-out.", "rloo", 3),
    of_advantage("dr-grpo", "scaled", GROUP, "dr_grpo", 3, scale=Fraction(2, 3), standing="documented"),
    of_advantage(
        "group-norm",
        "biased",
        "As in the paper of GRPO: mean and standard deviation contain the sample.",
        "group_norm",
        3,
        mean=(0.032436248528594294, 0.20993828035272782, -0.24237452888132213),
        standing="documented",
    ),
    of_advantage(
        "reinforce",
        "biased",
        "Normalized over the batch, which contains the sample (REINFORCE++). Here the batch is one group of 3.",
        "reinforce",
        3,
        mean=(0.03972614631746956, 0.2571208317363004, -0.29684697805376997),
        standing="documented",
    ),
    of_advantage(
        "reinforce-baseline-no-std",
        "scaled",
        GROUP,
        "reinforce_baseline",
        3,
        shown=", no_std_norm",
        no_std_norm=True,
        scale=Fraction(2, 3),
        standing="documented",
    ),
    of_advantage("flash-reinforce", "scaled", GROUP, "flash_reinforce", 3, scale=Fraction(2, 3), standing="documented"),
    of_advantage("rloo-kl-k1", "unbiased", IN_REWARD, "rloo", 2, 0.5, "k1", objective=REWARD_KL, shown=", KL k1 in the reward"),
    of_advantage(
        "rloo-kl-k2",
        "biased",
        IN_REWARD,
        "rloo",
        2,
        0.5,
        "k2",
        objective=REWARD_KL,
        shown=", KL k2 in the reward",
        mean=(0.002786283404461975, 0.3744183704543815, -0.3772046538588435),
        standing="undocumented",
    ),
    of_advantage(
        "rloo-kl-k3",
        "biased",
        IN_REWARD,
        "rloo",
        2,
        0.5,
        "k3",
        objective=REWARD_KL,
        shown=", KL k3 in the reward",
        mean=(-0.006723343096564507, 0.3831181800079864, -0.37639483691142184),
        standing="undocumented",
    ),
    of_kl("kl-k1", "k1", "biased", "The gradient of k1 is the score, whose mean is zero.", (0.0, 0.0, 0.0), "documented"),
    of_kl("kl-k2", "k2", "unbiased", "Half the squared log ratio has the gradient of the reverse KL."),
    of_kl(
        "kl-k3",
        "k3",
        "other target",
        "Exactly the gradient of the forward KL(reference || policy).",
        (0.210364738719908, -0.24665745620965449, 0.036292717489746454),
        "documented",
    ),
    of_kl("kl-k1-unbiased", "k1", "unbiased", "The value of k1, the gradient of k2.", unbiased=True),
    of_kl("kl-k3-unbiased", "k3", "unbiased", "The value of k3, the gradient of k2.", unbiased=True),
    of_kl(
        "kl-k2-off-policy",
        "k2",
        "biased",
        "Off the policy it needs the importance weight, which unbiased_gradient=True gives it.",
        (0.20282598993311296, -0.2077258513944195, 0.00489986146130654),
        "documented",
        old=OLD,
    ),
    of_kl("kl-k3-off-policy-unbiased", "k3", "unbiased", "With the importance weight.", unbiased=True, old=OLD),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_a_group_mean_where_leave_one_out_was_asked_for_is_found(monkeypatch):
    compute = RemoteExperienceMaker.compute_advantages_and_returns

    def with_group_mean(self, experiences):
        self.args.algo.advantage.estimator = "dr_grpo"
        return compute(self, experiences)

    monkeypatch.setattr(RemoteExperienceMaker, "compute_advantages_and_returns", with_group_mean)
    found = advantage("rloo", 3)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(2 / 3, abs=1e-6)


def test_an_importance_weight_that_is_left_out_is_found(monkeypatch):
    monkeypatch.setattr("openrlhf.models.utils.KL_IS_WEIGHT_CLIP", 1.0)
    assert kl("k3", unbiased=True, old=OLD).verdict == "biased"
