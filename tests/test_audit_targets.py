"""What a verdict adds: a free baseline, named targets, equal code paths, what is expected, and a test to give away."""

import json
import subprocess
import sys
import warnings
from fractions import Fraction

import pytest
import torch
import typer

import numeric
from derive.cli.main import run
from derive.language.errors import TooLarge, UsageError
from numeric.auditing import baseline, targets
from numeric.checking import same_gradient as comparison
from numeric.cli import audit as audit_cli

application = typer.Typer()
audit_cli.register(application)
application.callback()(lambda: None)

D = torch.distributions
F64 = {"dtype": torch.float64}
REWARDS = torch.tensor([1.0, -0.5, 2.0], **F64)
BEHAVIOUR = torch.tensor([0.5, 0.3, 0.2], **F64)
theta = torch.tensor([0.3, -0.2, 0.1], requires_grad=True, **F64)


def audit(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numeric.audit(*arguments, raise_exception=False, **options)


def reinforce(factor=1.0):
    law = D.Categorical(logits=theta)
    action = law.sample()
    return factor * REWARDS[action] * law.log_prob(action)


def expected_reward():
    return REWARDS[torch.multinomial(theta.softmax(-1), 1)[0]]


def off_policy(limit=None):
    def loss():
        action = torch.multinomial(BEHAVIOUR, 1)[0]
        log_prob = theta.log_softmax(-1)[action]
        ratio = torch.exp(log_prob - BEHAVIOUR[action].log())
        weight = ratio.detach() if limit is None else ratio.detach().clamp(max=limit)
        return weight * REWARDS[action] * log_prob

    return loss


# Is a baseline free?


@pytest.mark.parametrize(
    ("loss", "free"), [(reinforce, True), (off_policy(), True), (off_policy(0.9), False), (lambda: reinforce() / 2, True)]
)
def test_a_constant_is_free_where_the_weights_times_the_score_have_mean_zero(loss, free):
    before = REWARDS.clone()
    report = audit(loss, theta, expected_reward)
    assert report.baseline_free is free
    assert ("not free" in str(report)) is not free
    assert torch.equal(REWARDS, before)


def test_the_mean_with_a_constant_is_that_of_the_weighted_score():
    report = audit(off_policy(0.9), theta, expected_reward)
    policy = theta.detach().softmax(-1)
    weight = BEHAVIOUR * (policy / BEHAVIOUR).clamp(max=0.9)
    expected = weight - weight.sum() * policy
    torch.testing.assert_close(report.baseline["theta"], expected)


def test_a_leave_one_out_baseline_is_free_of_a_constant_and_a_token_level_weight_is_not():
    def token_level():
        first, second = torch.multinomial(BEHAVIOUR, 2, replacement=True)
        ratio = lambda a: torch.exp(theta.log_softmax(-1)[a] - BEHAVIOUR[a].log())  # noqa: E731
        return (REWARDS[first] + REWARDS[second]) * (ratio(first) + ratio(second).clamp(max=1.0)) / 2

    def leave_one_out():
        action = torch.multinomial(theta.softmax(-1), 2, replacement=True)
        got = REWARDS[action]
        return ((got - got.flip(0)) * theta.log_softmax(-1)[action]).mean()

    assert audit(leave_one_out, theta, expected_reward).baseline_free is True
    assert audit(token_level, theta, expected_reward, reward=REWARDS).baseline_free is False


def test_nothing_is_said_of_a_baseline_where_no_rewards_are_known():
    features = torch.tensor([1.0, 2.0, 3.0], **F64)
    bit = lambda: torch.bernoulli(torch.tensor(0.5, **F64))  # noqa: E731
    value = lambda: (features @ theta) ** 2 * bit()  # noqa: E731
    assert audit(value, theta, value).baseline_free is None
    own = torch.tensor([1.0, -0.5, 2.0], **F64)
    assert audit(reinforce, theta, lambda: theta.softmax(-1) @ own).baseline is None


def test_a_tensor_that_the_loss_does_not_read_is_no_reward():
    with pytest.raises(UsageError, match="does not read"):
        audit(reinforce, theta, expected_reward, reward=torch.ones(3))
    with pytest.raises(UsageError, match="without grad"):
        audit(reinforce, theta, expected_reward, reward=theta)


def test_rewards_are_what_adds_a_one_to_the_objective(monkeypatch):
    monkeypatch.setattr(baseline, "_is_reward", lambda *_: True)
    features = torch.tensor([1.0, 2.0, 3.0], **F64)
    value = lambda: (features @ theta) ** 2 * torch.bernoulli(torch.tensor(0.5, **F64))  # noqa: E731
    assert audit(value, theta, value).baseline_free is False


# Named targets


def kl_targets():
    logits, reference = torch.tensor([0.3, -0.2, 0.1], requires_grad=True, **F64), torch.tensor([0.1, 0.2, -0.3], **F64)
    log_q, log_p = lambda: logits.log_softmax(-1), reference.log_softmax(-1)

    def squared():
        action = torch.multinomial(log_q().exp(), 1)[0]
        return (log_q()[action] - log_p[action]) ** 2 / 2

    objectives = {
        "forward": lambda: (log_p.exp() * (log_p - log_q())).sum(),
        "reverse": lambda: (log_q().exp() * (log_q() - log_p)).sum(),
        "twice the reverse": lambda: 2 * (log_q().exp() * (log_q() - log_p)).sum(),
    }
    return squared, logits, objectives


def test_the_report_says_of_which_target_the_mean_is_exactly_the_gradient():
    report = audit(*kl_targets())
    assert (report.target, bool(report)) == ("reverse", True)
    exactly = "unbiased: exactly its gradient"
    assert report.targets == {"forward": "biased", "reverse": exactly, "twice the reverse": "scaled 0.5"}
    assert "(of reverse)" in str(report)
    assert report.to_json()["target"] == "reverse"


def test_an_audit_of_targets_of_which_none_fits_fails():
    loss, logits, objectives = kl_targets()
    with pytest.raises(numeric.BiasedGradient, match="of forward"):
        numeric.audit(loss, logits, {"forward": objectives["forward"]})
    with pytest.raises(UsageError, match="empty"):
        audit(loss, logits, {})


def test_a_target_that_cannot_be_audited_does_not_keep_the_others_from_it():
    loss, logits, objectives = kl_targets()
    hidden = lambda: torch.tensor(float(logits.sum()) ** 2, **F64)  # noqa: E731
    report = audit(loss, logits, {"hidden": hidden, **objectives})
    assert report.targets["hidden"].startswith("refused: ")
    assert report.target == "reverse"
    with pytest.raises(numeric.NotAuditable):
        audit(loss, logits, {"hidden": hidden})


def test_the_best_target_is_reported_not_the_first(monkeypatch):
    monkeypatch.setattr(targets, "_BEST_FIRST", targets._BEST_FIRST[::-1])
    assert audit(*kl_targets()).target == "forward"


# What is expected


def test_what_is_scaled_by_design_passes_while_it_is_and_fails_when_it_changes():
    options = {"expect": "scaled", "by": Fraction(2, 3)}
    assert numeric.audit(lambda: reinforce(2 / 3), theta, expected_reward, **options)
    for changed in (0.66, 1.0):
        with pytest.raises(numeric.UnexpectedVerdict, match="expected scaled by 2/3, found"):
            numeric.audit(lambda changed=changed: reinforce(changed), theta, expected_reward, **options)


def biased():
    return reinforce() + 0.1 * theta[0]


def test_what_is_biased_by_design_passes_up_to_its_bound():
    assert numeric.audit(biased, theta, expected_reward, expect="biased", at_most=0.11)
    with pytest.raises(numeric.UnexpectedVerdict, match=r"found a bias of 0\.1"):
        numeric.audit(biased, theta, expected_reward, expect="biased", at_most=0.09)
    with pytest.raises(numeric.UnexpectedVerdict, match="found unbiased"):
        numeric.audit(reinforce, theta, expected_reward, expect="biased")


def test_an_expected_case_has_the_status_of_a_test(tmp_path):
    case = numeric.AuditCase(biased, theta, expected_reward, expect="biased", at_most=0.11)
    report = case()
    assert (bool(report), report.to_json()["as_expected"]) == (True, True)


@pytest.mark.parametrize(
    "options",
    [
        {"expect": "wrong"}, {"expect": "scaled"}, {"by": 2}, {"expect": "biased", "by": 2}, {"at_most": 1.0},
        {"expect": "biased", "at_most": -1.0}, {"expect": "scaled", "by": float("nan")},
        {"expect": "scaled", "by": "0.5"}, {"expect": "scaled", "by": True}, {"expect": "biased", "at_most": "0.1"},
    ],
)  # fmt: skip
def test_an_expectation_that_says_nothing_is_refused(options):
    with pytest.raises(UsageError):
        audit(reinforce, theta, expected_reward, **options)


# Two code paths


def grouped(parts, rewards=REWARDS):
    action = torch.multinomial(theta.softmax(-1), 4, replacement=True)
    chunks = action.chunk(parts)
    return sum((rewards[each] * theta.log_softmax(-1)[each]).sum() for each in chunks) / 4


def test_one_batch_and_four_have_the_same_gradient_on_every_outcome():
    report = numeric.same_gradient(lambda: grouped(1), lambda: grouped(4), theta)
    assert (report.verdict, report.outcomes) == ("equal", 81)


def test_the_outcome_where_two_paths_differ_is_shown():
    def masked():
        action = torch.multinomial(theta.softmax(-1), 2, replacement=True)
        kept = action > 0
        return (theta.log_softmax(-1)[action] * kept).sum() / kept.sum().clamp(min=1)

    def packed():
        action = torch.multinomial(theta.softmax(-1), 2, replacement=True)
        return theta.log_softmax(-1)[action[action > 0]].sum() / 2

    with pytest.raises(numeric.DifferentGradient, match=r"on the outcome \(0, [12]\)") as caught:
        numeric.same_gradient(masked, packed, theta)
    assert caught.value.report.to_json()["verdict"] == "different"
    torch.testing.assert_close(caught.value.report.first["theta"], 2 * caught.value.report.second["theta"])


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda: (torch.multinomial((2 * theta).softmax(-1), 4, replacement=True), grouped(1))[1], "the draws differ"),
        (lambda: theta.log_softmax(-1)[torch.multinomial((2 * theta).softmax(-1), 1)[0]], "the first makes 4 choices"),
        (lambda: theta.sum(), "the first makes 4 choices and the second 0"),
    ],
)
def test_paths_that_draw_differently_are_different(second, reason):
    report = numeric.same_gradient(lambda: grouped(1), second, theta, raise_exception=False)
    assert report.verdict == "different"
    assert reason.partition(" ")[0] in report.reason or reason in report.reason


def test_paths_of_which_one_draws_from_another_law_are_different():
    first = lambda: theta.log_softmax(-1)[torch.multinomial(theta.softmax(-1), 1)[0]]  # noqa: E731
    second = lambda: theta.log_softmax(-1)[torch.multinomial((2 * theta).softmax(-1), 1)[0]]  # noqa: E731
    assert "has the probabilities" in numeric.same_gradient(first, second, theta, raise_exception=False).reason


def test_continuous_noise_is_the_same_in_both_paths():
    noise = lambda: torch.randn(3, **F64)  # noqa: E731
    report = numeric.same_gradient(lambda: (theta * noise()).sum(), lambda: (noise() * theta).mean() * 3, theta)
    assert (report.verdict, report.frozen_noise) == ("equal", 3)
    clipped = lambda: (theta * noise().clamp(max=0)).sum()  # noqa: E731
    assert not numeric.same_gradient(lambda: (theta * noise()).sum(), clipped, theta, raise_exception=False)


def test_paths_without_a_gradient_are_not_called_equal():
    nothing = lambda: torch.bernoulli(torch.tensor(0.5))  # noqa: E731
    assert numeric.same_gradient(nothing, nothing, theta, raise_exception=False).verdict == "vacuous"


def test_a_comparison_in_low_precision_is_undecided_and_in_float64_decided():
    low = torch.tensor([0.3, -0.2, 0.1], dtype=torch.bfloat16, requires_grad=True)
    first = lambda: (low.exp() * torch.bernoulli(torch.tensor(0.5))).sum()  # noqa: E731
    second = lambda: first() * 1.02  # noqa: E731
    assert numeric.same_gradient(first, second, low, raise_exception=False).verdict == "undecided"
    assert numeric.same_gradient(first, second, low, raise_exception=False, dtype=torch.float64).verdict == "different"
    assert numeric.same_gradient(first, lambda: first() * 1.0, low, dtype=torch.float64)


def test_paths_with_too_many_outcomes_are_refused():
    with pytest.raises(TooLarge):
        numeric.same_gradient(lambda: grouped(1), lambda: grouped(1), theta, budget=80)


def test_the_draws_are_compared(monkeypatch):
    monkeypatch.setattr(comparison, "_other_draws", lambda *_: "")
    first = lambda: theta.sum() * (torch.multinomial(theta.softmax(-1), 1) >= 0).sum()  # noqa: E731
    second = lambda: theta.sum() * (torch.multinomial((2 * theta).softmax(-1), 1) >= 0).sum()  # noqa: E731
    assert numeric.same_gradient(first, second, theta)


# Exact means


def test_the_exact_mean_is_what_a_sequential_test_needs():
    found = numeric.exact_mean(expected_reward, theta)
    policy = theta.detach().softmax(-1)
    assert found.value == pytest.approx(float(policy @ REWARDS))
    torch.testing.assert_close(found.gradient["theta"], policy * (REWARDS - policy @ REWARDS))
    with pytest.raises(numeric.NotAuditable, match="continuous noise"):
        numeric.exact_mean(lambda: (theta * torch.randn(3, **F64)).sum(), theta)


def test_an_exact_expectation_has_the_shape_of_what_is_computed():
    value = numeric.exact_expectation(lambda: torch.nn.functional.one_hot(torch.multinomial(BEHAVIOUR, 1)[0], 3))
    torch.testing.assert_close(value, BEHAVIOUR)
    assert float(numeric.exact_expectation(lambda: 2)) == 2
    with pytest.raises(numeric.NotAuditable, match="continuous noise"):
        numeric.exact_expectation(lambda: torch.randn(()))
    with pytest.raises(UsageError, match="one shape"):
        numeric.exact_expectation(lambda: torch.zeros(int(torch.bernoulli(torch.tensor(0.5)))))
    with pytest.raises(UsageError, match="a str"):
        numeric.exact_expectation(lambda: "a")


def test_an_expectation_of_what_changes_between_runs_is_refused():
    calls = []

    def counted():
        calls.append(0)
        return torch.bernoulli(torch.tensor(0.5, **F64)) * len(calls)

    with pytest.raises(numeric.NotAuditable, match="something else changes"):
        numeric.exact_expectation(counted)


# A test to give away


FILE = '''"""A case."""
from __future__ import annotations

import torch
from numeric import AuditCase

REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
FACTOR = 1.0


def loss() -> torch.Tensor:
    action = DRAW
    return FACTOR * REWARDS[action] * logits.log_softmax(-1)[action]


def objective() -> torch.Tensor:
    return REWARDS[torch.multinomial(logits.softmax(-1), 1)[0]]


case = AuditCase(loss=loss, params={"logits": logits}, objective=objective)
'''
CATEGORICAL = "torch.distributions.Categorical(logits=logits).sample()"
ALONE = "import sys, runpy; sys.modules.update(dict.fromkeys(('numeric', 'derive', 'gradproof'))); "
CALL = """
for path in sys.argv[1:]:
    module = runpy.run_path(path)
    try:
        [function() for name, function in module.items() if name.startswith("test_")]
    except AssertionError as error:
        print(path, "AssertionError:", error)
    else:
        print(path, "passed")
"""
DRAWS = {
    "right": CATEGORICAL,
    "every_draw": "torch.randperm(2)[0] * torch.bernoulli(torch.tensor(0.25)).long() * torch.randint(0, 2, ()) "
    "* (torch.native_dropout(torch.ones(1), 0.5, True)[0] > 0).long()[0] + 0 * torch.multinomial(logits.softmax(-1), 2)[0]",
    "by_design": "torch.multinomial(torch.ones(3).double(), 1)[0]",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, str]:
    """The tests that are exported for what is drawn."""
    found = {}
    for name, draw in DRAWS.items():
        folder = tmp_path_factory.mktemp(name)
        source, target = folder / "mine.py", folder / "test_mine.py"
        source.write_text(FILE.replace("DRAW", draw))
        run(application, ["audit", f"{source}:case", "--export", str(target), "--quiet"])
        found[name] = target.read_text()
    return found


@pytest.fixture(scope="module")
def alone(exported, tmp_path_factory) -> dict[str, str]:
    """What each of them says in a process without gradproof, and the first once its code has changed."""
    folder, texts = tmp_path_factory.mktemp("alone"), exported | {"changed": exported["right"].replace("R = 1.0", "R = 0.999")}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-c", ALONE + CALL, *(f"{name}.py" for name in texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {line.partition(".py ")[0]: line.partition(".py ")[2] for line in done.stdout.splitlines() if ".py " in line}


def test_an_exported_test_passes_without_gradproof_and_fails_when_the_code_changes(exported, alone):
    text = exported["right"]
    assert "gradproof audit" in text
    assert not any(f"import {name}" in text or f"from {name}" in text for name in ("numeric", "derive", "gradproof"))
    assert "list(itertools.product(range(3)))" in text
    assert alone["right"] == "passed"
    assert alone["changed"].startswith("AssertionError: logits")


def test_an_exported_test_redoes_every_draw_that_it_takes(alone):
    assert alone["every_draw"] == "passed"


def test_an_exported_test_of_code_that_is_biased_by_design_pins_its_mean(exported, alone):
    assert "MEAN = " in exported["by_design"]
    assert alone["by_design"] == "passed"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FILE.replace("DRAW", CATEGORICAL).replace("objective=objective", "objective=objective, state=[[]]"), "state="),
        (FILE.replace("DRAW", CATEGORICAL).replace("import AuditCase", "import AuditCase, audit"), "beside AuditCase"),
        (FILE.replace("DRAW", "0 * torch.binomial(torch.ones(()), torch.tensor(0.5)).long()"), "draws by"),
    ],
)
def test_a_case_that_a_test_cannot_redo_is_not_exported(capsys, tmp_path, text, reason):
    source = tmp_path / "mine.py"
    source.write_text(text)
    assert run(application, ["audit", f"{source}:case", "--export", str(tmp_path / "test_mine.py")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "test_mine.py").exists()


def test_the_verdicts_are_json():
    json.dumps(audit(*kl_targets()).to_json())
    json.dumps(audit(off_policy(0.9), theta, expected_reward).to_json())
