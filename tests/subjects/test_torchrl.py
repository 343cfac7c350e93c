"""torchrl: REINFORCE, A2C and PPO losses, and its advantage estimators, on one decision and on a process of two steps."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensordict import TensorDict
    from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
    from torchrl.modules import ValueOperator
    from torchrl.objectives import A2CLoss, ClipPPOLoss, PPOLoss, ReinforceLoss
    from torchrl.objectives.value import GAE

from subjects.subject import REWARDS, Subject, audited, require_as_expected

pytestmark = pytest.mark.filterwarnings("ignore")


class Table(torch.nn.Module):
    """Logits, or a value, for each state: a row of a table."""

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.nn.Parameter(torch.tensor(rows, dtype=torch.float64))

    def forward(self, state):
        return self.rows[state.squeeze(-1)]


def policy(rows):
    logits = TensorDictModule(Table(rows), in_keys=["observation"], out_keys=["logits"])
    draw = ProbabilisticTensorDictModule(
        in_keys=["logits"], out_keys=["action"], distribution_class=torch.distributions.Categorical, return_log_prob=True
    )
    return ProbabilisticTensorDictSequential(logits, draw)


def critic(rows):
    return ValueOperator(Table(rows), in_keys=["observation"])


ONE = [[0.3, -0.2, 0.1]]


def one_step(make, samples=1, old=None, **settings):
    """A batch of independent decisions with the reward as advantage, through the loss of the library."""
    module = make(policy(ONE), critic([[0.5]]), **settings)
    theta = dict(module.actor_network_params.flatten_keys(".").items())
    theta = {"logits": next(iter(theta.values()))}

    def loss():
        law = torch.distributions.Categorical(logits=(theta["logits"].detach() if old is None else old)[0])
        action = law.sample((samples,))
        data = TensorDict(
            {
                "observation": torch.zeros(samples, 1, dtype=torch.long),
                "action": action,
                "action_log_prob": law.log_prob(action),
                "advantage": REWARDS[action][:, None],
                "value_target": torch.zeros(samples, 1, dtype=torch.float64),
            },
            [samples],
        )
        out = module(data)
        return out.get("loss_actor") if "loss_actor" in out.keys() else out.get("loss_objective")

    return audited(loss, theta, lambda: -REWARDS[torch.distributions.Categorical(logits=theta["logits"][0]).sample()])


# A process of two steps: the first action chooses the second state, the second the reward

TWO = [[0.3, -0.2], [0.7, -0.4], [-0.1, 0.5]]
TWO_REWARDS = torch.tensor([[1.0, -0.5], [2.0, 0.25]], dtype=torch.float64)


def two_steps(lmbda, values, gamma=1.0):
    module = ReinforceLoss(policy(TWO), critic([[value] for value in values]))
    theta = {"logits": next(iter(module.actor_network_params.flatten_keys(".").values()))}
    estimator = GAE(gamma=gamma, lmbda=lmbda, value_network=critic([[value] for value in values]), differentiable=False)

    def drawn():
        first = torch.distributions.Categorical(logits=theta["logits"][0]).sample()
        second = torch.distributions.Categorical(logits=theta["logits"][1 + first]).sample()
        return first, second

    def loss():
        with torch.no_grad():
            first, second = drawn()
        done = torch.tensor([[False], [True]])
        after = {
            "observation": torch.stack([1 + first, first * 0])[:, None],
            "reward": torch.stack([TWO_REWARDS[first, second] * 0, TWO_REWARDS[first, second]])[:, None],
            "done": done,
            "terminated": done,
        }
        before = {"observation": torch.stack([first * 0, 1 + first])[:, None], "action": torch.stack([first, second])}
        data = TensorDict({**before, "next": TensorDict(after, [2])}, [2])
        return module(estimator(data)).get("loss_actor") * 2

    return audited(loss, theta, lambda: -gamma * TWO_REWARDS[drawn()])


def state_values():
    probabilities = torch.tensor(TWO).double().softmax(-1)
    later = (probabilities[1:] * TWO_REWARDS).sum(-1)
    return [float(probabilities[0] @ later), *later.tolist()]


BEHAVIOUR = torch.tensor([[-0.4, 0.5, 0.0]], dtype=torch.float64)
WRONG = [0.4, -0.3, 0.2]
SECOND = (-0.1749451948657825, 0.1749451948657826, -0.1511568715168437, 0.1511568715168437)
GAE_CALL = "GAE(gamma={}, lmbda={}), ReinforceLoss"
SUBJECTS = [
    Subject(
        "reinforce",
        "ReinforceLoss(actor, critic)",
        "-E[reward]",
        partial(one_step, ReinforceLoss),
        "unbiased",
        "The score function times the advantage that it is given.",
    ),
    Subject(
        "a2c",
        "A2CLoss(actor, critic, entropy_bonus=False)",
        "-E[reward]",
        partial(one_step, A2CLoss, entropy_bonus=False),
        "unbiased",
        "As above.",
    ),
    Subject(
        "ppo",
        "PPOLoss(actor, critic, entropy_bonus=False), actions of the current policy",
        "-E[reward]",
        partial(one_step, PPOLoss, entropy_bonus=False),
        "unbiased",
        "The importance ratio is one, and its gradient is the score.",
    ),
    Subject(
        "ppo-off-policy",
        "PPOLoss(actor, critic, entropy_bonus=False), actions of another policy",
        "-E[reward]",
        partial(one_step, PPOLoss, entropy_bonus=False, old=BEHAVIOUR),
        "unbiased",
        "Importance weighting without clipping is exact off the policy, too.",
    ),
    Subject(
        "clip-ppo",
        "ClipPPOLoss(actor, critic, entropy_bonus=False), actions of the current policy",
        "-E[reward]",
        partial(one_step, ClipPPOLoss, entropy_bonus=False),
        "unbiased",
        "At the policy that acted, clipping changes nothing.",
    ),
    Subject(
        "clip-ppo-off-policy",
        "ClipPPOLoss(actor, critic, entropy_bonus=False), actions of another policy",
        "-E[reward]",
        partial(one_step, ClipPPOLoss, entropy_bonus=False, old=BEHAVIOUR),
        "biased",
        "Clipping drops the gradient of ratios that are far from one; that is what it is for.",
        mean=(0.2783902271469172, 0.1688522081289695, -0.44724243527588664),
        standing="documented",
    ),
    Subject(
        "ppo-normalized",
        "PPOLoss(actor, critic, normalize_advantage=True), a batch of 3",
        "-E[reward]",
        partial(one_step, PPOLoss, 3, entropy_bonus=False, normalize_advantage=True),
        "biased",
        "Mean and standard deviation of the batch contain the sample that they normalize. With 3 samples the first "
        "coordinate has the "
        "wrong sign. The option is off by default.",
        mean=(0.03243624823256062, 0.20993828378318294, -0.24237453201574355),
        standing="documented",
    ),
    Subject(
        "gae-lambda-1",
        GAE_CALL.format(1, 1),
        "-E[return], two steps, any critic",
        partial(two_steps, 1.0, WRONG),
        "unbiased",
        "With lambda = 1 the critic is only a baseline.",
    ),
    Subject(
        "gae-lambda-0.5-exact-critic",
        GAE_CALL.format(1, 0.5),
        "-E[return], two steps, exact critic",
        partial(two_steps, 0.5, state_values()),
        "unbiased",
        "With the exact critic every lambda is right.",
    ),
    Subject(
        "gae-lambda-0.5",
        GAE_CALL.format(1, 0.5),
        "-E[return], two steps, a critic that is wrong",
        partial(two_steps, 0.5, WRONG),
        "biased",
        "The bias of the critic enters, as the paper of GAE says.",
        mean=(0.08750496068042957, -0.08750496068042955, *SECOND),
        standing="documented",
    ),
    Subject(
        "gae-gamma-0.9",
        GAE_CALL.format(0.9, 1),
        "-E[discounted return], two steps",
        partial(two_steps, 1.0, WRONG, 0.9),
        "biased",
        "The usual policy gradient: the second step should have the factor 0.9 and has 1, so that this is not the "
        "gradient of the "
        "discounted return. Common to nearly every implementation.",
        mean=(0.05175725736295658, -0.0517572573629566, *SECOND),
        standing="documented",
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_a_flipped_sign_is_found(monkeypatch):
    forward = ReinforceLoss.forward

    def flipped(self, data):
        out = forward(self, data)
        return out.set("loss_actor", -out.get("loss_actor"))

    monkeypatch.setattr(ReinforceLoss, "forward", flipped)
    found = one_step(ReinforceLoss)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(-1, abs=1e-12)


def test_an_advantage_of_half_its_size_is_found(monkeypatch):
    estimate = GAE.forward

    def halved(self, data):
        out = estimate(self, data)
        return out.set("advantage", out.get("advantage") / 2)

    monkeypatch.setattr(GAE, "forward", halved)
    found = two_steps(1.0, WRONG)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(1 / 2, abs=1e-9)
