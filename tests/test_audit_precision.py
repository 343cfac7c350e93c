"""An audit says no more than its numbers show: of precision, of a factor, of parameters at the end of their domain."""

import warnings

import pytest
import torch

from derive.language.errors import UsageError
from numeric.auditing import audit_mean, elsewhere
from numeric.auditing.audit import UndecidedAudit, audit as raising_audit
from numeric.draws.random_ops import DISCRETE, Call
from numeric.draws.tape import NotAuditable
from numeric.means import slope

D = torch.distributions
F64 = {"dtype": torch.float64}
REWARDS = torch.tensor([1.0, -0.5, 2.0], **F64)


def audit(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return raising_audit(*arguments, raise_exception=False, **options)


def leaf(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def policy_loss(theta, factor=1.0, rewards=REWARDS):
    def loss():
        law = D.Categorical(logits=theta)
        action = law.sample()
        return factor * rewards[action] * law.log_prob(action)

    return loss


def expected_reward(theta, rewards=REWARDS):
    return lambda: rewards[torch.multinomial(theta.softmax(-1), 1)[0]]


def policy(factor=1.0, dtype=torch.float64):
    theta = leaf([0.3, -0.2, 0.1], dtype)
    rewards = REWARDS.to(dtype)
    return policy_loss(theta, factor, rewards), theta, expected_reward(theta, rewards)


# A factor


def test_a_factor_that_holds_everywhere_is_called_scaled_and_the_parameters_keep_their_bits():
    loss, theta, objective = policy(0.7)
    before = theta.detach().clone()
    report = audit(loss, theta, objective)
    assert (report.verdict, round(report.scaled_by, 12), report.held) == ("scaled", 0.7, 3)
    assert torch.equal(theta.detach(), before)
    assert theta.grad is None


@pytest.mark.parametrize("start", [0.3, -0.7, 1.2])
def test_with_one_parameter_any_bias_is_a_multiple_and_is_not_called_scaled(start):
    theta = leaf(start)
    report = audit(lambda: theta**3, theta, lambda: theta**2)
    assert (report.verdict, report.scaled_by) == ("biased", None)
    assert report.factor == pytest.approx(1.5 * start)
    assert f"at this theta c = {1.5 * start:.6g}" in str(report)
    assert audit(lambda: 3 * theta**2, theta, lambda: theta**2).scaled_by == pytest.approx(3)


def test_parameters_that_enter_as_one_product_are_not_called_scaled():
    a, b = leaf(0.5), leaf(1.5)
    report = audit(lambda: (a * b) ** 3, [a, b], lambda: (a * b) ** 2)
    assert (report.verdict, report.factor) == ("biased", pytest.approx(1.5 * 0.75))


def test_a_shift_from_one_side_is_no_scaling():
    theta = leaf(0.6)

    def shift():
        up, down = (D.Bernoulli((1 + torch.cos(theta.detach() + side)) / 2).sample() for side in (torch.pi / 2, 0))
        return (up - down) * theta

    assert audit(shift, theta, lambda: D.Bernoulli((1 + torch.cos(theta)) / 2).sample()).verdict == "biased"


@pytest.mark.parametrize("start", [(0.3, -0.2, 0.1), (1.5, 0.0, -1.0)])
def test_a_group_that_is_divided_by_its_deviation_has_a_factor_that_moves(start):
    theta, reward = leaf(start), torch.tensor([1.0, 0.0, 0.0], **F64)

    def loss():
        action = torch.multinomial(theta.softmax(-1), 4, replacement=True)
        got = reward[action]
        spread = got.std(correction=0)
        advantage = (got - got.mean()) / spread if spread > 0 else got * 0
        return (advantage * theta.log_softmax(-1)[action]).mean()

    report = audit(loss, theta, expected_reward(theta, reward))
    assert report.verdict == "biased"
    assert report.held == 0


@pytest.mark.parametrize("power", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_a_factor_under_noise_that_is_integrated_is_looked_for_elsewhere_too(power):
    theta, sigma = leaf(0.7), 0.5
    cubic = lambda x: x**3 + x  # noqa: E731

    def evolution():
        noise = torch.randn((), **F64)
        with torch.no_grad():
            value = cubic(theta + sigma * noise)
        return value * noise * theta**power

    report = audit(evolution, theta, lambda: cubic(theta + sigma * torch.randn((), **F64)))
    assert report.quadrature
    assert report.scaled_by == (pytest.approx(0.5) if power == 1 else None)


def test_a_factor_is_looked_for_at_parameters_where_the_code_runs():
    theta = leaf(5e-4)

    def loss():
        law = D.Bernoulli(probs=theta)
        bit = law.sample()
        return 0.5 * bit * law.log_prob(bit)

    assert audit(loss, theta, lambda: D.Bernoulli(probs=theta).sample()).scaled_by == pytest.approx(0.5)


def test_a_factor_of_code_that_puts_its_parameters_back_is_not_established():
    theta, start = leaf(0.7), torch.tensor(0.7, **F64)

    def loss():
        theta.data.copy_(start)
        return 2 * theta**2

    report = audit(loss, theta, lambda: theta**2)
    assert (report.verdict, report.factor, report.factors) == ("biased", pytest.approx(2), ())


def test_a_mean_of_zero_is_said_to_be_zero():
    theta = leaf([0.3, -0.2, 0.1])

    def loss():
        return theta.log_softmax(-1)[torch.multinomial(theta.softmax(-1), 1)[0]]

    report = audit(loss, theta, expected_reward(theta))
    assert (report.verdict, report.scaled_by, report.mean_is_zero, report.graphless) == ("biased", None, True, False)
    assert "the mean is zero" in str(report)


def test_a_reversed_gradient_is_called_that():
    report = audit(*policy(-1.0))
    assert (report.verdict, report.scaled_by) == ("scaled", pytest.approx(-1))
    assert "the reversed gradient" in str(report)
    assert "reversed" not in str(audit(*policy(-1.5)))


@pytest.mark.parametrize("around", [torch.no_grad(), torch.inference_mode(), None])
def test_a_loss_without_a_graph_says_so(around):
    loss, theta, objective = policy()
    report = audit(around(loss) if around else lambda: None, theta, objective)
    assert report.graphless
    assert "the loss has no graph" in str(report)
    assert not bool(report)


def test_one_factor_at_three_points_is_needed(monkeypatch):
    theta = leaf(0.3)
    monkeypatch.setattr(elsewhere, "_holds", lambda *_: True)
    assert audit(lambda: theta**3, theta, lambda: theta**2).verdict == "scaled"


# The end of a domain


def bernoulli_by_probability(theta, factor=1.0):
    def loss():
        law = D.Bernoulli(probs=theta)
        bit = law.sample()
        return factor * bit.sum() ** 2 * law.log_prob(bit).sum()

    return loss, theta, lambda: D.Bernoulli(probs=theta).sample().sum() ** 2


@pytest.mark.parametrize("start", [[5e-4], [0.9999], [1e-6], [5e-4, 0.9999, 0.5]])
def test_a_probability_near_the_end_of_its_domain_is_audited(start):
    assert audit(*bernoulli_by_probability(leaf(start))).verdict == "unbiased"
    assert not audit(*bernoulli_by_probability(leaf(start), 0.9)).unbiased


@pytest.mark.parametrize("start", [5e-4, 0.9999])
def test_a_threshold_of_a_uniform_near_the_end_of_its_domain_is_audited(start):
    theta = leaf(start)

    def loss():
        bit = (torch.rand((), **F64) < theta.detach()).double()
        return bit * torch.where(bit > 0, theta, 1 - theta).log()

    assert audit(loss, theta, lambda: (torch.rand((), **F64) < theta).double()).verdict == "unbiased"


def test_a_small_scale_is_audited():
    mean, scale = leaf(0.3), leaf(1e-4)
    square = lambda: (D.Normal(mean, scale).rsample() - 1) ** 2  # noqa: E731
    assert audit(square, [mean, scale], square).verdict == "unbiased"


def test_a_hidden_dependence_is_seen_at_the_end_of_a_domain():
    theta = leaf(5e-4)
    hidden = lambda: D.Bernoulli(probs=theta).sample() * float(theta)  # noqa: E731
    with pytest.raises(NotAuditable, match="hides a dependence"):
        audit(hidden, theta, hidden)


def test_the_slope_needs_steps_inside_the_domain(monkeypatch):
    monkeypatch.setattr(slope, "_inside", lambda *_: ())
    with pytest.raises(NotAuditable, match="no value at parameters a little beside"):
        audit(*bernoulli_by_probability(leaf([1e-6])))


@pytest.mark.parametrize(("trials", "taken"), [(4, 1), (1100, 220), (5000, 4999)])
def test_a_binomial_of_many_trials_has_finite_weights_and_the_score_of_its_law(trials, taken):
    p, seen = leaf(0.3), []

    def choose(weights):
        seen.append(weights)
        return taken

    call = Call(torch.ops.aten.binomial.default, (torch.tensor(trials, **F64), p), {})
    drawn, factor = DISCRETE["binomial"](call, choose)
    probability = factor()
    assert (float(drawn), len(seen[0]), sum(seen[0])) == (taken, trials + 1, pytest.approx(1, abs=1e-12))
    assert float(probability.detach()) == seen[0][taken]
    (slope,) = torch.autograd.grad(probability, p)
    score = taken / 0.3 - (trials - taken) / 0.7
    assert float(slope) == pytest.approx(float(probability.detach()) * score, rel=1e-12)


@pytest.mark.parametrize("trials", [4, pytest.param(1100, marks=pytest.mark.exhaustive)])
def test_a_binomial_is_audited(trials):
    theta = leaf(0.2)

    def loss(factor):
        law = D.Binomial(trials, probs=theta)
        drawn = law.sample()
        return factor * drawn * law.log_prob(drawn) / trials

    objective = lambda: D.Binomial(trials, probs=theta).sample() / trials  # noqa: E731
    assert audit(lambda: loss(1.0), theta, objective).verdict == "unbiased"
    assert not audit(lambda: loss(0.99), theta, objective).unbiased


# What is no parameter and no loss


def test_a_module_stands_for_its_parameters_that_require_grad():
    layer = torch.nn.Linear(2, 1).double()
    layer.bias.requires_grad_(requires_grad=False)
    value = lambda: layer(torch.bernoulli(torch.full((2,), 0.5, **F64))).sum()  # noqa: E731
    assert list(audit(value, layer, value).mean) == ["weight"]


def test_an_objective_in_inference_mode_is_differentiated_all_the_same():
    loss, theta, objective = policy()
    assert audit(loss, theta, torch.inference_mode()(objective)).verdict == "unbiased"
    assert audit(policy_loss(theta, 0.9), theta, torch.inference_mode()(objective)).scaled_by == pytest.approx(0.9)


def test_an_objective_by_its_own_numbers_in_inference_mode_is_differentiated():
    theta = leaf([0.3, -0.2, 0.1])

    @torch.inference_mode()
    def objective():
        law = D.Categorical(logits=theta)
        action = law.sample()
        return REWARDS[action] - law.log_prob(action).detach() * torch.ones(1, **F64)

    def loss():
        law = D.Categorical(logits=theta)
        action = law.sample()
        log_prob = law.log_prob(action)
        return (REWARDS[action] - log_prob.detach()) * log_prob

    assert audit(loss, theta, objective).verdict == "unbiased"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (leaf(0.3 + 0.4j, torch.complex128), "theta is complex"),
        ({"w": leaf([0.3, 0.4j], torch.complex64)}, "w is complex"),
        ([leaf(0.1), leaf(0.3j, torch.complex128)], r"theta\[1\] is complex"),
        (leaf(0.1) * 1, "was computed"),
        (torch.zeros(2), "does not require grad"),
        ([0.3], "is a float"),
        (0.3, "params is a float"),
        ("theta", "params is a str"),
        (torch.nn.ReLU(), "at least one tensor that requires grad"),
    ],
)
def test_what_is_no_parameter_is_said_in_one_line(params, reason):
    loss, _, objective = policy()
    with pytest.raises(UsageError, match=reason):
        audit(loss, params, objective)


@pytest.mark.parametrize(("loss", "reason"), [(torch.zeros(()), "loss is a Tensor"), (lambda x: x, "but takes")])
def test_what_is_no_loss_is_said_in_one_line(loss, reason):
    _, theta, objective = policy()
    with pytest.raises(UsageError, match=reason):
        audit(loss, theta, objective)
    with pytest.raises(UsageError, match=reason.replace("loss", "objective")):
        audit(policy_loss(theta), theta, loss)


def test_a_parameter_that_nothing_reads_is_named():
    loss, theta, objective = policy()
    assert audit(loss, leaf([0.0, 0.0]), objective).verdict == "vacuous"
    unread = audit(loss, {"read": theta, "unread": leaf([0.0])}, objective)
    assert any("unread has no gradient in any outcome" in text for text in unread.warnings)


# Precision


LOW = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("factor", [1.0, 0.95, 0.5])
def test_a_tolerance_of_a_low_precision_decides_nothing_and_float64_does(dtype, factor):
    loss, theta, objective = policy(factor, dtype)
    report = audit(loss, theta, objective)
    assert (report.verdict, bool(report)) == ("undecided", False) if factor > 0.5 else not report.unbiased
    if factor > 0.5:
        assert f"{str(dtype).removeprefix('torch.')} (from the parameter theta)" in report.undecided
    before = theta.detach().clone()
    doubled = audit(loss, theta, objective, dtype=torch.float64)
    assert (doubled.verdict, doubled.scaled_by) == ("unbiased" if factor == 1 else "scaled", pytest.approx(factor, abs=1e-9))
    assert theta.dtype is dtype
    assert torch.equal(theta, before)
    assert torch.get_default_dtype() is torch.float32


def test_a_line_of_low_precision_that_no_gradient_passes_widens_nothing():
    loss, theta, objective = policy(0.95)

    def logged():
        theta.bfloat16().sum()
        return loss()

    assert audit(logged, theta, objective).scaled_by == pytest.approx(0.95)
    assert audit(lambda: logged() / 0.95, theta, objective).verdict == "unbiased"


def test_a_cast_that_gradients_pass_is_named_with_its_line_and_can_be_run_in_float64():
    theta = leaf([0.3, -0.2, 0.1])

    def cast(factor):
        law = D.Categorical(logits=theta.bfloat16(), validate_args=False)
        action = law.sample()
        return factor * REWARDS[action] * law.log_prob(action)

    report = audit(lambda: cast(0.95), theta, expected_reward(theta))
    assert report.verdict == "undecided"
    assert "bfloat16 (from aten._to_copy.default in test_audit_precision.py, line" in report.undecided
    assert audit(lambda: cast(0.95), theta, expected_reward(theta), dtype=torch.float64).scaled_by == pytest.approx(0.95)
    assert audit(lambda: cast(1), theta, expected_reward(theta), dtype=torch.float64).verdict == "unbiased"


def test_autocast_is_seen_and_is_off_in_float64():
    theta, rewards = leaf([0.3, -0.2, 0.1], torch.float32), REWARDS.float()

    def loss():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            law = D.Categorical(logits=torch.eye(3) @ theta, validate_args=False)
            action = law.sample()
            return 0.95 * rewards[action] * law.log_prob(action)

    assert audit(loss, theta, expected_reward(theta, rewards)).verdict == "undecided"
    assert audit(loss, theta, expected_reward(theta, rewards), dtype=torch.float64).scaled_by == pytest.approx(0.95)


@pytest.mark.parametrize(("dtype", "large"), [(torch.float32, 1e4), (torch.float32, 1e7), (torch.float64, 1e10)])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_half_a_gradient_beside_a_large_reward_is_not_acquitted(dtype, large, factor):
    theta, rewards = leaf([0.3, -0.2, 0.1], dtype), REWARDS.to(dtype) + large
    report = audit(policy_loss(theta, factor, rewards), theta, expected_reward(theta, rewards))
    assert not (factor == 0.5 and bool(report))
    if (dtype, factor) == (torch.float32, 0.5):
        assert report.verdict == "undecided"


def test_float32_of_ordinary_rewards_is_decided():
    assert audit(*policy(1.0, torch.float32)).verdict == "unbiased"
    assert audit(*policy(0.995, torch.float32)).scaled_by == pytest.approx(0.995, abs=1e-5)


def test_the_tolerance_must_be_a_part_of_the_gradient(monkeypatch):
    monkeypatch.setattr(audit_mean, "too_coarse", lambda *_: "")
    assert audit(*policy(0.95, torch.bfloat16)).verdict == "unbiased"


def test_a_tolerance_that_was_asked_for_decides():
    assert audit(*policy(1.0, torch.bfloat16), rtol=0.05).verdict == "unbiased"


def test_an_undecided_audit_raises_that_it_is():
    with pytest.raises(UndecidedAudit, match=r"dtype=torch\.float64"):
        raising_audit(*policy(1.0, torch.bfloat16))


def test_modules_with_buffers_are_run_in_float64_and_are_as_before():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2).eval(), torch.nn.Linear(2, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    value = lambda: model(torch.bernoulli(torch.full((1, 2), 0.5))).sum()  # noqa: E731
    assert audit(value, model, value, dtype=torch.float64).verdict == "unbiased"
    after = model.state_dict()
    assert all(torch.equal(after[name], each) and after[name].dtype is each.dtype for name, each in before.items())


def test_what_was_lowered_is_put_back_after_an_error():
    theta = leaf([0.3, -0.2], torch.float32)
    with pytest.raises(ZeroDivisionError):
        audit(lambda: 1 / 0, theta, theta.sum, dtype=torch.float64)
    assert (theta.dtype, torch.get_default_dtype()) == (torch.float32, torch.float32)
    with pytest.raises(UsageError, match=r"expected torch\.float64"):
        audit(theta.sum, theta, theta.sum, dtype=torch.float32)


# Unbiased up to x


@pytest.mark.parametrize(("constant", "verdict"), [(0.0, "unbiased"), (1e-8, "unbiased up to x"), (1e-4, "scaled")])
def test_a_small_constant_in_a_denominator_has_a_word_of_its_own(constant, verdict):
    loss, theta, objective = policy()
    report = audit(lambda: loss() / (1 + constant), theta, objective)
    assert (report.verdict, bool(report)) == (verdict, constant < 1e-6)
    if verdict == "unbiased up to x":
        assert report.nearly == pytest.approx(1e-8, rel=1e-3)
        assert "unbiased up to 1e-08" in str(report)
        largest = float(report.exact["theta"].abs().max())
        assert max(report.to_json()["up_to"]["theta"]) == pytest.approx(1e-8 * largest, rel=0.1)


def test_a_deviation_is_negligible_only_beside_its_own_coordinate():
    theta = leaf([1.0, 1.0])
    weights = torch.tensor([1.0, 1e-7], **F64)
    report = audit(lambda: (theta * weights * torch.tensor([1.0, 1.5], **F64)).sum(), theta, lambda: (theta * weights).sum())
    assert report.verdict == "biased"
