"""The audit's numbers are those of the mathematics: means and variances by hand, and a verdict that any mistake turns."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
import typer
from hypothesis import given, settings, strategies as st

from derive.cli.main import run
from derive.language.errors import Disagreement
from numeric.auditing.audit import AuditCase, AuditWarning, BiasedGradient, Count, NotAuditable, VacuousAudit, audit, replay
from numeric.cli import audit as audit_cli
from numeric.means.exact_mean import require_total

torch.set_num_threads(1)
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def parameter(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


REWARDS = torch.tensor([1.0, -0.5, 2.0, 0.25], dtype=torch.float64)


def reinforce(theta, samples=1, baseline="none", leave_out=True):
    """A score-function loss on a categorical law; `mean` takes the group's mean off, which contains the sample itself."""

    def loss():
        law = torch.distributions.Categorical(logits=theta)
        actions = law.sample((samples,))
        rewards = REWARDS[actions]
        if baseline == "mean":
            rewards = rewards - (rewards.sum() - rewards) / (samples - 1) if leave_out else rewards - rewards.mean()
        return (rewards * law.log_prob(actions)).mean()

    return loss, lambda: REWARDS[torch.distributions.Categorical(logits=theta).sample()]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_mean_exact_gradient_and_variance_of_reinforce_are_those_by_hand(logits):
    theta = parameter(*logits)
    loss, objective = reinforce(theta)
    report = audit(loss, theta, objective)
    p = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    exact = p * (REWARDS - p @ REWARDS)
    scores = torch.eye(4, dtype=torch.float64) - p
    second = p @ (REWARDS[:, None] * scores).square()
    torch.testing.assert_close(report.exact["theta"], exact, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(report.mean["theta"], exact, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(report.variance["theta"], second - exact.square(), rtol=1e-10, atol=1e-13)


def test_a_group_mean_that_contains_the_sample_scales_the_gradient():
    theta = parameter(0.2, -0.1, 0.4, 0.0)
    for samples in (2, 3):
        loss, objective = reinforce(theta, samples, "mean", leave_out=False)
        report = audit(loss, theta, objective, raise_exception=False)
        assert report.scaled_by == pytest.approx((samples - 1) / samples, abs=1e-12)
        assert report.outcomes == 4**samples
        assert audit(*reinforce(theta, samples, "mean")[:1], theta, objective).scaled_by == pytest.approx(1, abs=1e-12)


def bits_loss(theta, mutate=lambda law, b, f: f * law.log_prob(b).sum()):
    def loss():
        law = torch.distributions.Bernoulli(logits=theta)
        b = law.sample()
        return mutate(law, b, (b * torch.tensor([1.0, 3.0], dtype=b.dtype)).sum() ** 2)

    return loss, lambda: (torch.bernoulli(theta.sigmoid()) * torch.tensor([1.0, 3.0]).double()).sum() ** 2


MUTANTS = {
    "sign": lambda law, b, f: -f * law.log_prob(b).sum(),
    "mean of the scores": lambda law, b, f: f * law.log_prob(b).mean(),
    "one score only": lambda law, b, f: f * law.log_prob(b)[0],
    "complement": lambda law, b, f: f * law.log_prob(1 - b).sum(),
    "probability for its logarithm": lambda law, b, f: f * law.log_prob(b).sum().exp(),
    "no gradient": lambda law, b, f: f * law.log_prob(b).sum().detach(),
    "one in a million": lambda law, b, f: f * law.log_prob(b).sum() * (1 + 1e-6),
    "straight-through": lambda law, b, f: ((b + law.probs - law.probs.detach()) * torch.tensor([1.0, 3.0])).sum() ** 2,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_single_mistake_is_found(name):
    theta = parameter(0.4, -0.7)
    assert audit(*_with(theta, bits_loss(theta)))
    with pytest.raises(BiasedGradient) as caught:
        audit(*_with(theta, bits_loss(theta, MUTANTS[name])))
    assert not caught.value.report.unbiased


def _with(theta, functions):
    return functions[0], theta, functions[1]


def test_detach_and_no_grad_in_the_objective_change_nothing():
    theta = parameter(0.4, -0.7)
    loss, plain = bits_loss(theta)

    def hidden():
        with torch.no_grad():
            p = theta.detach().sigmoid().data
            b = torch.distributions.Bernoulli(p).sample()
            return (b * torch.tensor([1.0, 3.0]).double()).sum() ** 2

    torch.testing.assert_close(audit(loss, theta, hidden).exact, audit(loss, theta, plain).exact, rtol=0, atol=1e-15)


def test_a_straight_through_objective_is_differentiated_as_the_number_it_is():
    theta = parameter(0.4, -0.7)
    loss, _ = bits_loss(theta)

    def straight_through():
        p = theta.sigmoid()
        b = torch.bernoulli(p.detach()) + p - p.detach()
        return (b * torch.tensor([1.0, 3.0]).double()).sum() ** 2

    assert audit(loss, theta, straight_through)


def test_straight_through_of_torch_distributions_is_biased_where_f_is_not_linear():
    theta = parameter(0.2, -0.1, 0.4, 0.0)

    def loss(power):
        return lambda: (torch.distributions.OneHotCategoricalStraightThrough(logits=theta).rsample() @ REWARDS) ** power

    def objective(power):
        return lambda: (torch.distributions.OneHotCategorical(logits=theta).sample() @ REWARDS) ** power

    assert audit(loss(1), theta, objective(1))
    assert not audit(loss(2), theta, objective(2), raise_exception=False)


@pytest.mark.exhaustive
def test_relaxed_bernoulli_of_torch_distributions_is_pathwise():
    theta = parameter(0.2, -0.1)

    def value():
        law = torch.distributions.RelaxedBernoulli(torch.tensor(0.5, dtype=torch.float64), logits=theta)
        return law.rsample().prod()

    assert audit(value, theta, value)


def test_a_module_and_several_parameters_are_audited_by_name():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3)).double()
    x, weights = torch.tensor([0.3, -1.0]).double(), REWARDS[:3]

    def loss():
        law = torch.distributions.Categorical(logits=net(x))
        action = law.sample()
        (weights[action] * law.log_prob(action)).backward()

    report = audit(loss, dict(net.named_parameters()), lambda: weights[torch.multinomial(net(x).softmax(-1), 1)])
    assert set(report.mean) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert report.mean["0.weight"].shape == (3, 2)
    assert all(param.grad is None for param in net.parameters())


def test_binomial_draws_are_enumerated():
    theta = parameter(0.3)

    def loss():
        law = torch.distributions.Binomial(3, logits=theta)
        k = law.sample()
        return (k**2 * law.log_prob(k)).sum()

    report = audit(loss, theta, lambda: (torch.distributions.Binomial(3, logits=theta).sample() ** 2).sum())
    assert report.outcomes == 4


def test_integers_and_permutations_are_uniform():
    theta = parameter(1.0, 2.0, 4.0)
    report = audit(lambda: theta[torch.randint(1, 3, (1,))].sum(), theta, lambda: theta[torch.randint(1, 3, (1,))].sum())
    assert report.mean["theta"].tolist() == [0, 0.5, 0.5]
    first_two = audit(lambda: theta[torch.randperm(3)[:2]].sum(), theta, lambda: theta.sum() * 2 / 3)
    assert first_two.outcomes == 6


def test_the_report_shows_what_gradcheck_would_and_a_line_that_reproduces_it():
    theta = parameter(0.4, -0.7)
    loss, objective = bits_loss(theta, MUTANTS["sign"])
    with pytest.raises(BiasedGradient) as caught:
        audit(loss, theta, objective)
    text, report = str(caught.value), caught.value.report
    for part in ("-1 times the exact gradient", "theta[", "exact", "mean", "bias", "variance", "outcomes that", "0.4, -0.7"):
        assert part in text
    name, index = report.worst
    top = report.contributions[0]
    assert f"numeric.replay(loss, params, {top.choices})" in text
    assert float(replay(loss, theta, top.choices)[name][index]) * top.probability == pytest.approx(top.gradient, rel=1e-13)


def test_the_report_is_json_and_its_keys_are_fixed():
    theta = parameter(0.4, -0.7)
    report = audit(*_with(theta, bits_loss(theta, MUTANTS["no gradient"])), raise_exception=False)
    answer = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert answer["schema"] == "gradproof/audit/1"
    assert set(answer) >= {"unbiased", "verdict", "mean", "exact", "bias", "variance", "scaled_by", "worst", "theta"}


def test_a_gradient_that_is_not_a_number_is_no_agreement():
    theta = parameter(0.4, -0.7)
    loss, objective = bits_loss(theta, lambda law, b, f: law.log_prob(b).sum() * (0 * f).log())
    report = audit(loss, theta, objective, raise_exception=False)
    assert not report
    assert json.dumps(report.to_json(), allow_nan=False)


BROKEN = """
import torch
from numeric.auditing.audit import AuditCase
def loss():
    1 / 0
case = AuditCase(loss=loss, params=torch.zeros(1, requires_grad=True), objective=lambda: 0.0)
"""

HIDDEN = """
import random
import torch
from numeric.auditing.audit import AuditCase
theta = torch.zeros(1, requires_grad=True)
case = AuditCase(loss=lambda: theta.sum() * random.random(), params=theta, objective=theta.sum)
"""

application = typer.Typer()
audit_cli.register(application)
application.callback()(lambda: None)


def test_the_moving_average_example_exits_with_1_and_is_off_by_the_factor_095(capsys):
    assert run(application, ["audit", f"{EXAMPLES / 'moving_average.py'}:case", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "scaled"
    assert answer["scaled_by"] == pytest.approx(0.95, abs=1e-12)
    for mean, exact in zip(answer["mean"]["logits"], answer["exact"]["logits"], strict=True):
        assert mean == pytest.approx(0.95 * exact, abs=1e-12)


@pytest.mark.exhaustive
def test_a_gradient_through_noise_that_decides_is_sampled_and_found_biased(capsys):
    assert run(application, ["audit", f"{EXAMPLES / 'audit_gumbel.py'}:case"]) == 1
    assert "biased" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["audit_leave_one_out", "audit_batched"])
def test_an_unbiased_case_exits_with_0(capsys, name):
    assert run(application, ["audit", f"{EXAMPLES / name}.py:case"]) == 0
    assert "unbiased" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.py:case"], "no file"),
        (["case"], "FILE.py:CASE"),
        ([f"{EXAMPLES / 'moving_average.py'}:other"], "does not exist"),
        ([f"{EXAMPLES / 'moving_average.py'}:loss"], "is a function"),
        ([f"{EXAMPLES / 'moving_average.py'}:case", "--budget", "2"], "budget"),
        ([f"{EXAMPLES / 'moving_average.py'}:case", "--budget", "0"], "positive"),
        (["audit_hidden.py:case"], "draws from random"),
        (["audit_broken.py:case"], "failed in loss: ZeroDivisionError"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, monkeypatch, tmp_path, arguments, message):
    (tmp_path / "audit_broken.py").write_text(BROKEN, encoding="utf-8")
    (tmp_path / "audit_hidden.py").write_text(HIDDEN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run(application, ["audit", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_probabilities_that_do_not_sum_to_one_are_a_bug_of_ours():
    with pytest.raises(Disagreement, match=r"sum to 0\.9"):
        require_total(0.9)


def test_the_number_of_outcomes_is_said_before_they_are_run(capsys, monkeypatch):
    theta, said = parameter(0.2, -0.1, 0.4, 0.0), []
    loss, objective = reinforce(theta, 2, "mean")
    audit(loss, theta, objective, progress=lambda what, expected: said.append((what, expected)))
    assert [(what, each[:3]) for what, each in said] == [("loss", (16, False, 7)), ("objective", (4, False, 4))]
    assert "16 outcomes" in str(said[0][1])
    losses, values = rows_of_bits(theta)
    audit(losses, theta, values, batched=True, progress=lambda what, expected: said.append((what, expected)))
    assert said[2:] == [("loss", Count(16, False, 16)), ("objective", Count(16, False, 16))]
    monkeypatch.setattr(audit_cli, "LONG", 3)
    assert run(application, ["audit", f"{EXAMPLES / 'moving_average.py'}:case"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "loss: 3 outcomes, if all runs draw as the first ones did"


def test_a_number_that_depends_on_the_draws_is_an_estimate_with_a_lower_bound():
    theta, said = parameter(0.4), []

    def loss():
        steps = 0
        while steps < 6 and torch.bernoulli(theta.detach().sigmoid()):
            steps += 1
        return theta.sum() * steps

    audit(loss, theta, theta.sum, raise_exception=False, progress=lambda what, expected: said.append(expected))
    assert said[0].is_estimate
    assert 2 <= said[0].at_least <= 7
    assert "at least" in str(said[0])


VACUOUS = """
import torch
from numeric.auditing.audit import AuditCase
theta = torch.zeros(1, requires_grad=True)
case = AuditCase(loss=lambda: None, params=theta, objective=lambda: 1.0)
"""


@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
def test_an_audit_that_code_without_any_gradient_passes_is_vacuous(capsys, tmp_path):
    theta = parameter(0.4, -0.7)
    for loss in (lambda: None, lambda: 0 * theta.sum() * torch.bernoulli(torch.tensor(0.5))):
        report = audit(loss, theta, lambda: 1.0, raise_exception=False)
        assert report.vacuous
        assert report.unbiased
        assert not report
        assert report.to_json()["verdict"] == "vacuous"
        assert str(report).startswith("vacuous")
        with pytest.raises(VacuousAudit, match="does nothing would pass"):
            audit(loss, theta, lambda: 1.0)
    (tmp_path / "vacuous.py").write_text(VACUOUS, encoding="utf-8")
    assert run(application, ["audit", f"{tmp_path / 'vacuous.py'}:case"]) == 3
    assert "vacuous" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
def test_a_gradient_that_is_zero_in_the_mean_or_wrongly_zero_is_not_vacuous():
    theta = parameter(0.4, -0.7)
    report = audit(lambda: bits_loss(theta, lambda law, b, f: law.log_prob(b).sum())[0](), theta, lambda: 1.0)
    assert not report.vacuous
    assert not audit(lambda: None, theta, theta.sum, raise_exception=False).vacuous


def test_a_parameter_without_a_gradient_is_named():
    theta, other = parameter(0.4, -0.7), parameter(1.0)
    loss, objective = bits_loss(theta)
    with pytest.warns(AuditWarning, match=r"theta\[1\] has no gradient"):
        assert not audit(loss, [theta, other], objective).vacuous


def test_a_case_is_called_to_audit_itself():
    theta = parameter(0.4, -0.7)
    loss, objective = bits_loss(theta)
    assert AuditCase(loss=loss, params=[theta], objective=objective)().mean.keys() == {"theta[0]"}


def rows_of_bits(theta):
    """A score-function loss of n rows of independent bits, its objective, and the two for one row."""
    weights = torch.arange(1.0, theta.numel() + 1).double()

    def losses(n):
        law = torch.distributions.Bernoulli(logits=theta)
        b = law.sample((n,))
        return (b @ weights) ** 2 * law.log_prob(b).sum(-1)

    def values(n):
        return (torch.bernoulli(theta.sigmoid().expand(n, -1)) @ weights) ** 2

    return losses, values


def test_a_batch_of_outcomes_gives_what_one_run_an_outcome_gives():
    theta = parameter(0.4, -0.7, 1.1, 0.0, -2.0, 0.3, 0.8, 0.1)
    losses, values = rows_of_bits(theta)
    many = audit(losses, theta, values, batched=True)
    one = audit(lambda: losses(1).sum(), theta, lambda: values(1).sum())
    assert many.outcomes == one.outcomes == 256
    for part in ("mean", "exact", "variance"):
        torch.testing.assert_close(getattr(many, part), getattr(one, part), rtol=1e-11, atol=1e-11)
    assert many.value == pytest.approx(one.value, rel=1e-13)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_categorical_rows_and_integers_have_a_batched_form(shape):
    theta = parameter(0.2, -0.1, 0.4)

    def actions(n):
        return torch.distributions.Categorical(logits=theta).sample((n, *shape)), torch.randint(0, 2, (n,))

    def losses(n):
        a, i = actions(n)
        log_probability = torch.distributions.Categorical(logits=theta).log_prob(a)
        return REWARDS[a].reshape(n, -1).sum(-1) * (1 + i) * log_probability.reshape(n, -1).sum(-1)

    def values(n):
        a, i = actions(n)
        return REWARDS[a].reshape(n, -1).sum(-1) * (1 + i)

    many = audit(losses, theta, values, batched=True)
    assert many.outcomes == 2 * 3 ** (2 if shape else 1)
    one = audit(lambda: losses(1).sum(), theta, lambda: values(1).sum())
    torch.testing.assert_close(many.variance, one.variance, rtol=1e-11, atol=1e-12)


def test_rows_with_laws_of_their_own_have_a_batched_form():
    theta = parameter(0.2, -0.1, 0.4)

    def draw(n):
        return torch.multinomial(theta.softmax(-1).expand(n, -1), 2, replacement=True)

    def losses(n):
        a = draw(n)
        return REWARDS[a].prod(-1) * theta.log_softmax(-1)[a].sum(-1)

    assert audit(losses, theta, lambda n: REWARDS[draw(n)].prod(-1), batched=True).outcomes == 9


@pytest.mark.parametrize("dropout", [torch.nn.functional.dropout, lambda x, p: torch.native_dropout(x, p, True)[0]])
def test_dropout_has_a_batched_form(dropout):
    theta = parameter(0.5, -0.3, 1.2)

    def values(n):
        return dropout(theta.expand(n, -1), 0.25).sum(-1) ** 2

    many = audit(values, theta, values, batched=True)
    one = audit(lambda: values(1).sum(), theta, lambda: values(1).sum())
    assert many.outcomes == many.objective_outcomes == one.outcomes == 8
    torch.testing.assert_close(many.variance, one.variance, rtol=1e-11, atol=1e-12)
    assert many.value == pytest.approx(one.value, rel=1e-13)


@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_that_leaves_no_choice_has_a_batched_form(p):
    theta = parameter(0.5, -0.3)

    def values(n):
        return torch.native_dropout(theta.expand(n, -1), p, True)[0].sum(-1) + theta.sum()

    assert audit(values, theta, values, batched=True).outcomes == 1


@pytest.mark.parametrize("is_right", [True, False])
def test_ordered_selections_without_replacement_have_a_batched_form(is_right):
    theta, f = parameter(0.2, -0.1, 0.4, 0.0), torch.arange(16.0).double().reshape(4, 4).cos()

    def draw(n):
        return torch.multinomial(theta.softmax(-1).expand(n, -1), 2).unbind(-1)

    def losses(n):
        first, second = draw(n)
        p = theta.softmax(-1)
        left = 1 - p[first] if is_right else 1.0
        return f[first, second] * (p[first].log() + (p[second] / left).log())

    def values(n):
        return f[draw(n)]

    many = audit(losses, theta, values, batched=True, raise_exception=False)
    one = audit(lambda: losses(1).sum(), theta, lambda: values(1).sum(), raise_exception=False)
    assert many.outcomes == many.objective_outcomes == one.outcomes == 12
    assert many.unbiased == one.unbiased == is_right
    torch.testing.assert_close(many.mean, one.mean, rtol=1e-11, atol=1e-12)
    assert many.value == pytest.approx(one.value, rel=1e-13)


def test_outcomes_that_cannot_happen_have_no_say_in_a_batch():
    theta = parameter(0.4, -0.7)

    def bits(n):
        return torch.bernoulli(torch.tensor([1.0, 0.5]).double().expand(n, 2))

    def losses(n):
        b = bits(n)
        return (b[:, 0].log() + b[:, 1]) * theta.sum()

    assert audit(losses, theta, lambda n: bits(n)[:, 1] * theta.sum(), batched=True).outcomes == 2


def test_a_mistake_is_found_in_a_batch():
    theta = parameter(0.4, -0.7)
    losses, values = rows_of_bits(theta)
    report = audit(lambda n: 0.95 * losses(n), theta, values, batched=True, raise_exception=False)
    assert report.scaled_by == pytest.approx(0.95, abs=1e-12)


def test_rows_that_see_each_other_are_refused():
    theta = parameter(0.4, -0.7)
    losses, values = rows_of_bits(theta)

    def centred(n):
        rows = losses(n)
        return rows - (rows.mean() if n > 1 else 0)

    with pytest.raises(NotAuditable, match="rows see each"):
        audit(centred, theta, values, batched=True)
    with pytest.raises(NotAuditable, match="rows see each"):
        audit(losses, theta, lambda n: (lambda v: v - v.mean() if n > 1 else v)(values(n)), batched=True)
    with pytest.raises(NotAuditable, match="rows see each"):
        audit(losses, theta, lambda n: values(n).cumsum(0), batched=True)


def test_rows_whose_draws_depend_on_draws_are_refused():
    theta = parameter(0.4, -0.7)
    _, values = rows_of_bits(theta)

    def losses(n):
        p = theta.sigmoid().detach()
        first = torch.bernoulli(p[:1].expand(n, 1))
        return theta.sum() * (torch.bernoulli(p[1:].expand(n, 1)) if first.any() else first)[:, 0]

    with pytest.raises(NotAuditable, match="same, discrete choices"):
        audit(losses, theta, values, batched=True)


def test_a_batched_draw_without_rows_is_refused():
    theta = parameter(0.4, -0.7)
    _, values = rows_of_bits(theta)
    with pytest.raises(NotAuditable, match="batch"):
        audit(lambda n: torch.bernoulli(theta.sigmoid().detach()).sum() * theta.sum().expand(n), theta, values, batched=True)


@pytest.mark.exhaustive
def test_a_batch_is_a_hundred_times_faster_for_each_outcome(monkeypatch):
    monkeypatch.setattr("numeric.auditing.audit_mean.FEWEST", 2**40)
    few, many = parameter(*[0.1] * 7), parameter(*[0.1] * 15)
    losses, values = rows_of_bits(few)
    audit(losses, few, values, batched=True)
    alone = _seconds(lambda: audit(lambda: losses(1).sum(), few, lambda: values(1).sum())) / 2**7
    losses, values = rows_of_bits(many)
    batched = min(_seconds(lambda: audit(losses, many, values, batched=True)) for _ in range(3)) / 2**15
    assert alone > 100 * batched


def _seconds(run_it):
    start = time.process_time()
    run_it()
    return time.process_time() - start
