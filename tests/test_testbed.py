"""The testbed finds of what a loss is the gradient, and what it forgot; what it cannot judge it refuses in one line."""

from __future__ import annotations

import random
import resource
import subprocess
import sys

import pytest
import torch

from derive.language.errors import UsageError
from numeric import testbed
from numeric.testbed import groups, running
from numeric.testbed.samples import kept_tokens
from numeric.testbed.targets import prefix_law


def reinforce(logprobs, rewards, mask):
    return -((logprobs * mask).sum(-1) * rewards).mean()


def by_token(logprobs, old_logprobs, rewards, mask):
    return -((logprobs - old_logprobs).exp() * rewards[:, None] * mask).sum(-1).mean()


def checked(loss, **options):
    return testbed.check(loss, **{"group": 2, "points": 2, **options})


# The language model is what it says


@pytest.mark.parametrize("setting", [testbed.Setting(), testbed.Setting(ends=False), testbed.Setting(length=1)], ids=str)
def test_sequences_are_all_there_are_and_their_law_is_one(setting):
    point = testbed.random_point(setting)
    assert (
        len(set(setting.lists))
        == len(setting.lists)
        == {(2, True): 7, (2, False): 9, (1, True): 3}[setting.length, setting.ends]
    )
    assert float(point.sequence_log_probs(point.logits).exp().sum()) == pytest.approx(1, abs=1e-12)
    assert bool((prefix_law(point.logits)[1:] <= 1).all())


def test_top_p_keeps_the_fewest_that_have_the_mass():
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.76, 0.2, 0.04], [0.4, 0.35, 0.25]]).log()
    assert kept_tokens(logits, "top-p").sum(-1).tolist() == [2, 1, 2]
    assert kept_tokens(logits, "top-k").sum(-1).tolist() == [2, 2, 2]


# What it finds


@pytest.mark.parametrize(
    ("loss", "options", "found"),
    [
        (reinforce, {}, ("unbiased", "reward", True)),
        (reinforce, {"policy": "off"}, ("biased", "", False)),
        (by_token, {}, ("unbiased", "reward", True)),
        (by_token, {"policy": "off"}, ("other target", "surrogate", True)),
        (by_token, {"policy": "top-k", "setting": testbed.Setting(length=1)}, ("other target", "kept-top-k", False)),
        (lambda logprobs, rewards, mask: 3 * reinforce(logprobs, rewards, mask), {}, ("scaled", "reward", True)),
        (lambda logprobs, rewards, mask: -reinforce(logprobs, rewards, mask), {}, ("reversed", "reward", True)),
        (lambda logprobs, mask: (logprobs * mask).sum(), {}, ("zero", "nothing", True)),
        (
            lambda logprobs, rewards, mask: reinforce(logprobs, rewards / rewards.mean().clamp(min=1e-9), mask),
            {"binary": True},
            ("parallel", "reward", True),
        ),
    ],
)
def test_a_loss_is_named_for_what_it_is(loss, options, found):
    report = checked(loss, **options)
    assert (report.verdict, report.target, report.baseline_free or report.verdict == "parallel") == found, report


def test_what_is_left_at_zero_rewards_is_held_against_the_divergences():
    def loss(logprobs, ref_logprobs, rewards, mask):
        return reinforce(logprobs, rewards, mask) + 0.2 * ((logprobs - ref_logprobs) ** 2 / 2 * mask).sum(-1).mean()

    report = checked(loss)
    assert (report.verdict, report.divergence) == ("unbiased", "token-kl")
    assert report.divergences["token-kl"].factor == pytest.approx(0.2)
    assert "at zero rewards" in str(report)


@pytest.mark.parametrize("forgotten", ["mask", "nothing"])
def test_padding_that_is_read_is_seen(forgotten):
    loss = reinforce if forgotten == "nothing" else lambda logprobs, rewards: -(logprobs.sum(-1) * rewards).mean()
    assert checked(loss).reads_padding == (forgotten == "mask")


def test_a_packed_loss_is_what_the_padded_one_is():
    def packed(logprobs, old_logprobs, rewards, cu_seqlens, lengths, sequence):
        ratio = (logprobs - old_logprobs).exp()
        begins = torch.arange(len(ratio)) - torch.repeat_interleave(cu_seqlens[:-1], lengths, output_size=len(ratio))
        return -(ratio * rewards[sequence] * (begins >= 0)).sum() / len(rewards)

    def padded(logprobs, old_logprobs, rewards, mask):
        return by_token(logprobs, old_logprobs, rewards, mask)

    samples = testbed.samples_of(testbed.random_point(testbed.Setting()), "off")
    ours, theirs = (testbed.mean_gradient(each, samples, 3, packed=each is packed) for each in (packed, padded))
    torch.testing.assert_close(ours.gradient, theirs.gradient, rtol=0, atol=1e-12)
    assert ours.variance == pytest.approx(theirs.variance)


def test_a_loss_that_cannot_be_mapped_runs_in_a_loop_to_the_same():
    def with_items(logprobs, rewards, mask):
        weights = rewards.clone()
        for at in range(len(weights)):
            weights[at] = rewards[at].item()
        return reinforce(logprobs, weights, mask)

    samples = testbed.samples_of(testbed.random_point(testbed.Setting()))
    ours, theirs = (testbed.mean_gradient(each, samples, 2).gradient for each in (with_items, reinforce))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_arguments_may_have_defaults_and_be_changed_in_place():
    def loss(logprobs, rewards, mask, scale=2.0, **settings):
        rewards -= 1
        logprobs *= mask
        return -scale * (logprobs.sum(-1) * rewards).mean()

    class Module(torch.nn.Module):
        def forward(self, logprobs, rewards, mask):
            return reinforce(logprobs, rewards, mask)

    report = checked(loss)
    assert (report.verdict, report.targets["reward"].factor) == ("scaled", pytest.approx(2))
    assert checked(Module()).verdict == "unbiased"


def test_a_loss_that_branches_on_values_or_takes_tokens_by_its_mask_runs_too():
    def loss(logprobs, rewards, mask):
        kept = logprobs[mask.bool()]
        weights = rewards.repeat_interleave(mask.sum(-1).long())
        return -(kept * weights).sum() / len(rewards) if rewards.sum() > -99 else kept.sum()

    assert checked(loss).verdict == "unbiased"


def test_a_loss_that_asks_whether_it_has_a_gradient_runs_in_a_loop():
    def loss(logprobs, rewards, mask):
        return reinforce(logprobs, rewards, mask) * (1 if logprobs.requires_grad else 2)

    assert checked(loss).verdict == "unbiased"


def test_low_precision_is_undecided_where_rounding_hides_it_and_differs_where_it_does_not():
    def cancelling(logprobs, rewards, mask):
        return reinforce(logprobs, (rewards + 300) - 300, mask)

    assert {name: each.verdict for name, each in checked(reinforce).precisions.items()} == {
        "float32": "the same",
        "bfloat16": "undecided",
    }
    assert checked(cancelling).precisions["bfloat16"].verdict == "differs"


def test_an_epsilon_in_a_denominator_is_no_bias():
    def loss(logprobs, rewards, mask):
        return reinforce(logprobs, rewards / (1 + 1e-9), mask)

    assert checked(loss).verdict == "unbiased"
    assert checked(loss, negligible=1e-12).verdict == "scaled"


# No verdict depends on the unit of a loss, nor on noise that has no mean


def by_length(logprobs, rewards, mask):
    return -((logprobs * mask).sum(-1) / mask.sum(-1) * rewards).mean()


def times(factor, loss):
    return lambda logprobs, rewards, mask: factor * loss(logprobs, rewards, mask)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize(("loss", "verdict"), [(reinforce, "scaled"), (by_length, "biased")])
def test_a_loss_in_another_unit_is_what_it_was(loss, verdict, factor):
    report = checked(times(factor, loss))
    assert (report.verdict, report.targets["reward"].factor) == (
        verdict,
        pytest.approx(factor) if verdict == "scaled" else None,
    )


def test_centred_rewards_in_a_large_unit_are_no_state():
    def loss(logprobs, rewards, mask):
        ratio = ((logprobs - logprobs.detach()) * mask).sum(-1).exp()
        return -1e12 * (ratio * (rewards - rewards.mean())).mean()

    assert checked(loss).verdict == "scaled"


def test_noise_without_a_mean_hides_nothing():
    noisy = [
        lambda logprobs, rewards, mask, of=of: of(logprobs, rewards, mask) + 1e6 * (logprobs * mask).sum()
        for of in (reinforce, by_length)
    ]
    assert [checked(each).verdict for each in noisy] == ["unbiased", "biased"]


def test_a_wrong_divergence_with_a_small_weight_is_none():
    def loss(logprobs, ref_logprobs, rewards, mask):
        half = ((logprobs - ref_logprobs) ** 2 / 2 * mask).sum(-1)
        return reinforce(logprobs, rewards, mask) + 1e-5 * (half / (1 + 0.1 * (mask.sum(-1) - 1))).mean()

    report = checked(loss)
    assert report.regularised
    assert report.divergence == ""


def test_a_loss_that_makes_rewards_smaller_is_reversed():
    report = checked(times(-1, reinforce))
    assert (report.verdict, report.targets["reward"].factor) == ("reversed", pytest.approx(-1))


def test_an_entropy_that_is_read_at_padding_is_seen():
    def loss(vocabulary, logprobs, rewards, mask):
        entropies = -(vocabulary.exp() * vocabulary).sum(-1)
        return reinforce(logprobs, rewards, mask) - 0.1 * entropies.sum(-1).mean()

    assert checked(loss).reads_padding


def test_a_gradient_that_is_infinite_in_a_low_precision_differs():
    report = checked(times(1e50, reinforce))
    assert (report.verdict, {each.verdict for each in report.precisions.values()}) == ("scaled", {"differs"})


# What it refuses


class Counting:
    """A loss that keeps something from call to call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, logprobs, rewards, mask):
        self.calls += 1
        return reinforce(logprobs, rewards, mask) * self.calls


class Moving:
    """A baseline that moves from call to call, kept as a tensor."""

    def __init__(self):
        self.baseline = None

    def __call__(self, logprobs, rewards, mask):
        self.baseline = rewards.mean() if self.baseline is None else (self.baseline + rewards.mean()) / 2
        return reinforce(logprobs, rewards - self.baseline, mask)


def at_random_and_worth_nothing(logprobs, rewards, mask):
    """Its value is zero for every group: only its gradient is drawn."""
    ratio = ((logprobs - logprobs.detach()) * mask).sum(-1).exp()
    return -(ratio * (rewards - rewards.mean())).mean() * random.random()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logprobs, reward: logprobs.sum(), "argument 'reward'"),
        (lambda logprobs: logprobs, "returned a tensor of shape"),
        (lambda logprobs: 0.0, "returned float"),
        (lambda logprobs: (logprobs * torch.rand_like(logprobs)).sum(), "the loss draws by"),
        (lambda logprobs: (torch.nn.functional.dropout(logprobs) * 1).sum(), "the loss draws by"),
        (lambda logprobs: (logprobs * random.random()).sum(), "two values"),
        (Counting(), "two values"),
        (Moving(), "two values"),
        (at_random_and_worth_nothing, "two values"),
        (lambda *tensors: tensors[0].sum(), "no argument by a known name"),
        (lambda logprobs, /: logprobs.sum(), "cannot be given by name"),
        (lambda logprobs: logprobs.sum().long(), "torch.int64"),
        (3, "the loss is 3"),
        (lambda logprobs, rewards, mask: reinforce(logprobs, rewards / rewards.sum(), mask), "not finite"),
    ],
)
def test_what_is_no_loss_of_its_arguments_is_refused(loss, message):
    with pytest.raises(UsageError, match=message):
        checked(loss)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checked(reinforce, policy="of"), "policy is 'of'"),
        (lambda: checked(reinforce, group=9), "at most 20000"),
        (lambda: checked(reinforce, group=0), "group is 0"),
        (lambda: checked(reinforce, group="2"), "group is '2'"),
        (lambda: checked(reinforce, points=1), "at least 2"),
        (lambda: testbed.Setting(length=3), "expected 1 or 2"),
    ],
)
def test_what_cannot_be_run_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


# Each guard is what refuses


def test_without_the_guard_of_draws_a_draw_is_no_draw(monkeypatch):
    monkeypatch.setattr(
        running._NoDraws, "__torch_dispatch__", lambda self, func, types, args=(), kwargs=None: func(*args, **(kwargs or {}))
    )
    with pytest.raises(UsageError, match="two values"):
        checked(lambda logprobs: (logprobs * torch.rand_like(logprobs)).sum())


def test_without_groups_run_alone_what_is_kept_is_not_seen(monkeypatch):
    monkeypatch.setattr(running, "_alone", lambda loss, given, at: torch.tensor(float("nan")))
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: True)
    checked(Counting())


def test_the_limit_of_groups_is_what_refuses(monkeypatch):
    monkeypatch.setattr(groups, "MOST_GROUPS", 48)
    with pytest.raises(UsageError, match="at most 48"):
        checked(reinforce)


# It is fast enough for the tests of a library


@pytest.mark.exhaustive
def test_a_check_takes_less_than_ten_seconds_with_its_imports():
    code = (
        "from numeric import testbed\n"
        "loss = lambda logprobs, old_logprobs, rewards, mask: "
        "-((logprobs - old_logprobs).exp() * rewards[:, None] * mask).sum(-1).mean()\n"
        "print(testbed.check(loss, policy='off').target)"
    )
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "surrogate\n"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start < 10
