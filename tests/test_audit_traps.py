"""Code that is hard to run over every outcome is audited rightly, or refused by name: each trap is one that real code sets."""

from __future__ import annotations

import math
import random
import threading
import warnings

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from derive.language.errors import GradproofError, TooLarge, UsageError
from numeric.auditing import audit as auditing, measured
from numeric.auditing.audit import AuditWarning, BiasedGradient, NotAuditable, audit
from numeric.draws.tape import Choice, Tape

torch.set_num_threads(1)


def parameter(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def table(size, seed=3, dtype=torch.float64):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def score_function(theta, f, draw=torch.bernoulli):
    """A score-function loss of independent bits and its objective."""

    def loss():
        law = torch.distributions.Bernoulli(logits=theta)
        b = draw(law.probs.detach())
        return f(b) * law.log_prob(b).sum()

    return loss, lambda: f(torch.bernoulli(theta.sigmoid()))


def cube(b):
    return (b * torch.arange(1, b.numel() + 1, dtype=b.dtype)).sum() ** 2 - b.prod()


def test_control_flow_that_depends_on_the_draws_has_its_own_number_of_outcomes():
    theta = parameter(0.3, -0.4, 0.9)

    def walk():
        """Draw until the first zero, at most three times: four outcomes and not eight."""
        steps, log_probability = 0, theta.new_zeros(())
        for p in theta.sigmoid():
            b = torch.bernoulli(p.detach())
            log_probability = log_probability + (p.log() if b else (1 - p).log())
            if not b:
                break
            steps += 1
        return steps, log_probability

    def loss():
        steps, log_probability = walk()
        return (steps**2 - 0.7) * log_probability

    def objective():
        return walk_without_gradients(theta)

    report = audit(loss, theta, objective)
    assert report.outcomes == report.objective_outcomes == 4
    p = theta.detach().sigmoid()
    by_hand = p[0] * (1 - p[1]) + 4 * p[0] * p[1] * (1 - p[2]) + 9 * p[0] * p[1] * p[2]
    assert report.value == pytest.approx(float(by_hand), rel=1e-14)


def walk_without_gradients(theta):
    with torch.no_grad():
        steps = 0
        for p in theta.detach().sigmoid():
            if not torch.bernoulli(p):
                break
            steps += 1
    return float(steps**2)


def test_a_generator_of_the_users_is_enumerated_and_left_as_it_was():
    theta, generator = parameter(0.4, -1.0), torch.Generator().manual_seed(5)
    before, default = generator.get_state(), torch.get_rng_state()
    loss, objective = score_function(theta, cube, lambda p: torch.bernoulli(p, generator=generator))
    assert audit(loss, theta, objective).outcomes == 4
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), default)


@pytest.mark.parametrize("dropout", [torch.nn.functional.dropout, lambda x, p: torch.native_dropout(x, p, True)[0]])
def test_dropout_is_enumerated(dropout):
    theta = parameter(0.5, -0.3, 1.2)
    report = audit(lambda: dropout(theta, 0.25).sum() ** 2, theta, lambda: dropout(theta, 0.25).sum() ** 2)
    assert report.outcomes == 8
    values = theta.detach()
    assert report.value == pytest.approx(float(values.sum() ** 2 + values.square().sum() / 3), rel=1e-13)


def without_replacement(theta, f, *, is_right):
    def loss():
        p = theta.softmax(-1)
        first, second = torch.multinomial(p.detach(), 2)
        left = 1 - p[first] if is_right else 1.0
        return f[first, second] * (p[first].log() + (p[second] / left).log())

    return loss, lambda: f[tuple(torch.multinomial(theta.softmax(-1), 2))]


def test_multinomial_without_replacement_has_the_law_of_what_is_left():
    theta, f = parameter(0.1, 0.7, -0.5, 0.0), table((4, 4))
    loss, objective = without_replacement(theta, f, is_right=True)
    report = audit(loss, theta, objective)
    assert report.outcomes == 12
    p = theta.detach().softmax(-1)
    by_hand = sum(p[i] * p[j] / (1 - p[i]) * f[i, j] for i in range(4) for j in range(4) if i != j)
    assert report.value == pytest.approx(float(by_hand), rel=1e-13)


def test_multinomial_without_replacement_scored_as_if_with_it_is_biased():
    theta, f = parameter(0.1, 0.7, -0.5, 0.0), table((4, 4))
    loss, objective = without_replacement(theta, f, is_right=False)
    assert not audit(loss, theta, objective, raise_exception=False)


def test_different_draws_under_vmap_are_enumerated():
    theta, weights = parameter(0.3, -0.6), table(2)

    def bits():
        return torch.vmap(lambda t: torch.bernoulli(t.detach().sigmoid()), randomness="different")(theta)

    def loss():
        b = bits()
        return (b * weights).sum() * torch.distributions.Bernoulli(logits=theta).log_prob(b).sum()

    assert audit(loss, theta, lambda: (bits() * weights).sum()).outcomes == 4


def test_the_same_draw_under_vmap_is_one_draw():
    theta = parameter(0.3, -0.6)

    def value():
        return torch.vmap(lambda t: t * torch.bernoulli(torch.tensor(0.25).double()), randomness="same")(theta).sum()

    assert audit(value, theta, value).outcomes == 2


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_replays_its_draws(reentrant):
    theta, weights = parameter(0.3, -0.6), table(2)

    def block(t):
        return torch.nn.functional.dropout(t.tanh() * weights, 0.5) * t

    report = audit(
        lambda: checkpoint(block, theta, use_reentrant=reentrant).sum() ** 2, theta, lambda: block(theta).sum() ** 2
    )
    assert report.outcomes == 4


def test_checkpointing_that_does_not_keep_the_generator_is_found_to_draw_anew():
    theta, weights = parameter(0.3, -0.6), table(2)

    def block(t):
        return (torch.nn.functional.dropout(t.tanh() * weights, 0.5) * t).sum()

    def loss():
        return checkpoint(block, theta, use_reentrant=False, preserve_rng_state=False) ** 2

    report = audit(loss, theta, lambda: block(theta) ** 2, raise_exception=False)
    assert report.outcomes == 16
    assert not report


def test_a_seed_set_again_inside_the_function_gives_the_same_draw_again():
    theta = parameter(0.4)

    def draw_twice():
        torch.manual_seed(7)
        first = torch.bernoulli(theta.sigmoid())
        torch.manual_seed(7)
        return first, torch.bernoulli(theta.sigmoid())

    def loss():
        first, second = draw_twice()
        return (first - second + first) * torch.distributions.Bernoulli(logits=theta).log_prob(first).sum()

    with pytest.warns(AuditWarning, match="constant"):
        report = audit(loss, theta, lambda: torch.bernoulli(theta.sigmoid()).sum(), raise_exception=False)
    assert (report.outcomes, report.verdict) == (2, "undecided")
    assert report.unbiased


COUPLED = {
    "another law": (lambda: torch.bernoulli(torch.tensor(0.5)), lambda: torch.bernoulli(torch.tensor(0.25))),
    "another operation": (lambda: torch.bernoulli(torch.tensor(0.5)), lambda: torch.randint(0, 2, ())),
    "another shape": (lambda: torch.bernoulli(torch.ones(1) / 2).sum(), lambda: torch.bernoulli(torch.ones(2) / 2).sum()),
    "other noise": (lambda: torch.randn(()), lambda: torch.rand(())),
}


@pytest.mark.parametrize("name", COUPLED)
def test_one_state_for_two_different_draws_is_refused(name):
    theta = parameter(0.4)
    first, second = COUPLED[name]

    def loss():
        torch.manual_seed(7)
        one = first()
        torch.manual_seed(7)
        return theta.sum() * one * second()

    with pytest.raises(NotAuditable, match="coupled"):
        audit(loss, theta, lambda: theta.sum())


def test_a_compiled_function_is_audited():
    theta = parameter(0.4, -1.0)
    loss, objective = score_function(theta, cube)
    compiled = torch.compile(loss, backend="aot_eager")
    compiled().backward()
    gradient = theta.grad
    assert audit(compiled, theta, objective).outcomes == 4
    assert theta.grad is gradient


def test_numpy_is_refused_by_name():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match=r"numpy\.random"):
        audit(lambda: theta.sum() * float(np.random.rand() < 0.5), theta, lambda: theta.sum() / 2)


def test_the_random_module_is_refused_by_name():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match="from random"):
        audit(lambda: theta.sum() * random.choice([0.0, 1.0]), theta, lambda: theta.sum() / 2)


def test_a_numpy_generator_of_the_users_is_refused_by_name():
    theta, generator = parameter(0.4), np.random.default_rng(0)
    with pytest.raises(NotAuditable, match=r"a generator of numpy\.random \(loss\.generator\)"):
        audit(lambda: theta.sum() * generator.random(), theta, lambda: theta.sum() / 2)


def test_a_thread_that_draws_is_refused():
    theta = parameter(0.4)

    def loss():
        thread = threading.Thread(target=lambda: torch.bernoulli(torch.tensor(0.5)))
        thread.start()
        thread.join()
        return theta.sum()

    with pytest.raises(NotAuditable, match="thread"):
        audit(loss, theta, lambda: theta.sum())


class Average:
    def __init__(self):
        self.value = 0.3

    def update(self, reward):
        self.value = 0.9 * self.value + 0.1 * float(reward)
        return self.value


def with_average(theta, average, *, first_update):
    def loss():
        law = torch.distributions.Bernoulli(logits=theta)
        b = torch.bernoulli(law.probs.detach())
        old = average.value
        new = average.update(b.sum())
        return (b.sum() - (new if first_update else old)) * law.log_prob(b).sum()

    return loss, lambda: torch.bernoulli(theta.sigmoid()).sum()


def test_a_moving_average_that_is_not_declared_is_refused():
    loss, objective = with_average(theta := parameter(0.4), Average(), first_update=False)
    with pytest.raises(NotAuditable, match=r"state=\[...\]"):
        audit(loss, theta, objective)


def test_what_changes_between_runs_is_found_by_the_second_run():
    theta, calls = parameter(0.4), []
    with pytest.raises(NotAuditable, match="two gradients"):
        audit(lambda: calls.append(1) or theta.sum() * len(calls), theta, lambda: theta.sum())
    assert len(calls) == 2


def test_noise_that_only_the_loss_draws_is_integrated():
    theta = parameter(0.4)
    noise = lambda: torch.randn(2).double()  # noqa: E731
    assert audit(lambda: (theta + noise()).square().sum(), theta, lambda: (theta.square() + 1).sum() * 2).quadrature
    report = audit(lambda: (theta + torch.randn(12)).square().sum(), theta, lambda: (theta.square() + 1).sum() * 12)
    assert report.verdict == "unbiased up to x"


def test_every_kind_of_state_is_put_back():
    theta, counter = parameter(0.4), torch.zeros(1)
    norm, numbers, average = torch.nn.BatchNorm1d(1, momentum=0.5).double(), [0.0], {"a": 0.0}

    def loss():
        counter.add_(1)
        numbers[0] += 1
        average["a"] += 1
        norm(torch.tensor([[1.0], [2.0]]).double() * torch.bernoulli(torch.tensor(0.5)))
        scale = counter.sum() + numbers[0] + average["a"] + norm.running_mean.sum() - norm.running_mean.sum()
        return theta.sum() * scale / 3

    assert audit(loss, theta, lambda: theta.sum(), state=[counter, norm, numbers, average]).outcomes == 2
    assert (counter.item(), numbers, average, norm.running_mean.item()) == (0.0, [0.0], {"a": 0.0}, 0.0)


def test_probabilities_or_draws_that_change_between_runs_are_found():
    theta, calls = parameter(0.4), []

    def probabilities():
        calls.append(1)
        return theta.sum() * 0 * torch.bernoulli(torch.tensor(1 / (1 + len(calls))))

    with pytest.raises(NotAuditable, match="choice 1 was"):
        audit(probabilities, theta, lambda: theta.sum() * 0)

    def draws():
        calls.append(1)
        torch.bernoulli(torch.full((1 + len(calls) % 2,), 0.5))
        return theta.sum() * 0

    with pytest.raises(NotAuditable, match="not a function of"):
        audit(draws, theta, lambda: theta.sum() * 0)


def test_a_tape_that_is_not_played_to_its_end_is_found():
    with pytest.raises(NotAuditable, match="drew 1 times before now drew 0 times"):
        Tape([Choice("coin", (0.5, 0.5), 1)]).require_prefix_used()


def test_a_declared_moving_average_is_audited_at_its_state_and_left_there():
    average = Average()
    loss, objective = with_average(theta := parameter(0.4), average, first_update=False)
    assert audit(loss, theta, objective, state=[average])
    loss, objective = with_average(theta, average, first_update=True)
    report = audit(loss, theta, objective, state=[average], raise_exception=False)
    assert report.scaled_by == pytest.approx(0.9, abs=1e-12)
    assert average.value == 0.3


def test_a_hidden_counter_that_matters_after_the_first_outcome_only_is_found():
    theta, calls = parameter(0.4), []

    def loss():
        b = torch.bernoulli(theta.sigmoid().detach())
        calls.append(b)
        return theta.sum() * b.sum() * len(calls)

    with pytest.raises(NotAuditable, match="two gradients"):
        audit(loss, theta, lambda: theta.sum())


def test_initialisation_inside_the_function_is_frozen_noise(monkeypatch):
    monkeypatch.setattr(measured, "MOST_GENERIC_RUNS", 200)
    theta = parameter(0.4, -0.2)

    def network():
        layer = torch.nn.Linear(2, 2, dtype=torch.float64)
        return layer(theta)

    def loss():
        law = torch.distributions.Categorical(logits=network())
        action = law.sample()
        return (1.0 + action) * law.log_prob(action)

    def objective():
        return 1.0 + torch.multinomial(network().softmax(-1), 1).sum()

    with pytest.warns(AuditWarning, match="frozen"):
        report = audit(loss, theta, objective)
    assert report.outcomes == 2
    assert report.frozen_noise == 2


def test_code_that_draws_nothing_is_warned_about():
    theta = parameter(0.4)
    with pytest.warns(AuditWarning, match="draws nothing"):
        assert audit(lambda: theta.sum() ** 2, theta, lambda: theta.sum() ** 2).outcomes == 1


def test_a_zero_target_is_called_vacuous():
    theta = parameter(0.4)
    loss, _ = score_function(theta, lambda b: torch.ones(()).double())
    with pytest.warns(AuditWarning, match="exact gradient is zero"):
        assert audit(loss, theta, lambda: torch.ones(()) * torch.bernoulli(torch.tensor(0.5)) * 0 + 1).scaled_by is None


def test_the_tolerance_follows_the_dtype():
    for dtype, largest in ((torch.float64, 1e-8), (torch.float32, 1e-2)):
        theta = parameter(0.4, -1.0, dtype=dtype)
        loss, objective = score_function(theta, cube)
        report = audit(loss, theta, objective)
        assert float(report.tolerance["theta"].max()) < largest
        off = audit(lambda: loss() * (1 + 1e-6), theta, objective, raise_exception=False)  # noqa: B023
        assert bool(off) == (dtype == torch.float32)


def test_float32_code_inside_float64_parameters_is_seen():
    theta = parameter(0.4, -1.0)

    def loss():
        law = torch.distributions.Bernoulli(logits=theta.float())
        b = law.sample()
        return cube(b) * law.log_prob(b).sum()

    assert audit(loss, theta, lambda: cube(torch.bernoulli(theta.sigmoid())))


def test_pathwise_code_is_audited_under_frozen_noise():
    theta = parameter(0.4, -0.3)

    def sample():
        return torch.distributions.Normal(theta[0], theta[1].exp()).rsample((3,))

    with pytest.warns(AuditWarning, match="frozen"):
        assert audit(lambda: sample().pow(3).mean(), theta, lambda: sample().pow(3).mean())
    report = audit(lambda: sample().pow(3).mean() * 0.5, theta, lambda: sample().pow(3).mean(), raise_exception=False)
    assert report.factor == pytest.approx(0.5, abs=1e-12)
    assert report.sampling


def test_noise_that_is_used_in_another_way_than_in_the_objective_is_integrated_before_it_is_judged():
    """An antithetic pair and a reflected sample have the right mean, and another gradient at each value of the noise."""
    theta = parameter(0.4, -0.3)

    def z(sign):
        return theta[0] + sign * theta[1].exp() * torch.randn((), dtype=torch.float64)

    def pair():
        epsilon = torch.randn((), dtype=torch.float64)
        return sum((theta[0] + sign * theta[1].exp() * epsilon).pow(3) for sign in (1, -1)) / 2

    for loss in (pair, lambda: z(-1).pow(3)):
        report = audit(loss, theta, lambda: z(1).pow(3))
        assert report.unbiased
        assert report.quadrature
    assert audit(lambda: z(-1).pow(3) + theta[1] / 100, theta, lambda: z(1).pow(3), raise_exception=False).verdict == "biased"


def test_a_difference_at_frozen_noise_that_cannot_be_integrated_is_sampled_and_no_bias():
    theta = parameter(*[0.1] * 12)

    def square(sign):
        return (theta + sign * torch.randn(12, dtype=torch.float64)).square().sum()

    report = audit(lambda: square(-1), theta, lambda: square(1), raise_exception=False)
    assert report.verdict in ("unbiased up to x", "undecided")


@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
def test_a_gradient_that_is_no_number_needs_no_quadrature():
    theta = parameter(0.4)
    report = audit(lambda: (theta * torch.randn(9, dtype=torch.float64)).sum() * torch.nan, theta,
                   lambda: (theta * torch.randn(9, dtype=torch.float64)).sum(), raise_exception=False)  # fmt: skip
    assert report.verdict == "biased"


@pytest.mark.parametrize(
    "asks",
    [
        torch.isnan,
        pytest.param(torch.isinf, marks=pytest.mark.exhaustive),
        pytest.param(lambda z: ~torch.isfinite(z), marks=pytest.mark.exhaustive),
        lambda z: z != z,
    ],
)
@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
def test_to_ask_whether_noise_is_a_number_is_no_decision(asks, monkeypatch):
    monkeypatch.setattr(measured, "MOST_GENERIC_RUNS", 200)
    theta = parameter(0.4, -0.3)

    def sample():
        z = torch.distributions.Normal(theta[0], theta[1].exp()).rsample()
        if asks(z).any():
            raise ValueError
        return z.pow(3)

    report = audit(sample, theta, sample)
    assert report.verdict == "unbiased"


def doubled(theta, asks):
    """The objective is doubled where noise is asked something."""
    return audit(lambda: theta.sum(), theta, lambda: theta.sum() * (2 if asks(torch.randn(())) else 1), raise_exception=False)


@pytest.mark.filterwarnings("ignore:the loss draws nothing")
@pytest.mark.parametrize("asks", [lambda z: z != z.abs(), pytest.param(torch.signbit, marks=pytest.mark.exhaustive)])
def test_to_ask_for_another_value_is_a_decision(asks):
    report = doubled(parameter(0.4), asks)
    assert report.verdict == "scaled"
    assert float(next(iter(report.exact.values()))) == pytest.approx(1.5)


def test_to_ask_for_a_single_value_is_a_decision_that_nodes_do_not_agree_on():
    with pytest.raises(NotAuditable, match="decides the outcome"):
        doubled(parameter(0.4), lambda z: z == 0.0)


def test_noise_whose_law_has_parameters_is_integrated():
    theta = parameter(0.4)

    def loss():
        law = torch.distributions.Gamma(theta.exp(), 1.0)
        x = law.sample()
        return (x * law.log_prob(x)).sum()

    assert audit(loss, theta, lambda: theta.exp().sum()).quadrature


def test_noise_that_decides_a_branch_with_a_parameter_is_refused_in_an_objective():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match=r"in the objective.*decides the outcome by aten\.gt.*sequential_test"):
        audit(lambda: theta.sum(), theta, lambda: theta.sum() if torch.randn(1) ** 2 > theta else -theta.sum())


@pytest.mark.filterwarnings("ignore:the loss draws nothing")
def test_noise_that_decides_a_branch_without_a_parameter_is_integrated_in_an_objective():
    theta = parameter(0.4)
    share = math.erf(math.sqrt(0.1))
    objective = lambda: theta.sum() if torch.randn(1, dtype=torch.float64) ** 2 > 0.2 else -theta.sum()  # noqa: E731
    assert audit(lambda: (1 - 2 * share) * theta.sum(), theta, objective).unbiased


def test_noise_that_leaves_torch_is_refused():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match="_local_scalar_dense"):
        audit(lambda: theta.sum() * torch.randn(()).item(), theta, lambda: theta.sum() * torch.randn(()))


@pytest.mark.parametrize("compared_first", [False, True])
def test_uniform_noise_that_is_both_used_and_compared_is_refused(compared_first):
    theta = parameter(0.4)

    def loss():
        u = torch.rand(1, dtype=torch.float64)
        scaled = None if compared_first else u * theta
        b = u < 0.3
        scaled = u * theta if compared_first else scaled
        return (scaled * b).sum()

    with pytest.raises(NotAuditable, match="decides the outcome"):
        audit(loss, theta, loss)


def test_the_checks_of_torch_distributions_are_no_decisions():
    theta = parameter(0.4)

    def value():
        law = torch.distributions.Normal(theta, 1.0, validate_args=True)
        x = law.rsample()
        return (x**2 + law.log_prob(x)).sum()

    with pytest.warns(AuditWarning, match="frozen"):
        assert audit(value, theta, value)


def test_attention_without_dropout_draws_nothing():
    theta = parameter(0.4, 1.0)

    def value():
        q = (theta * torch.bernoulli(torch.ones(3, 1).double() / 2)).reshape(1, 3, 2)
        return torch.nn.functional.scaled_dot_product_attention(q, q, q).square().sum()

    assert audit(value, theta, value).outcomes == 8


def test_uniform_noise_below_a_threshold_is_a_bernoulli_draw():
    theta, weights = parameter(0.3, -0.6), table(2)

    def bits():
        return (torch.rand(2, dtype=torch.float64) < theta.sigmoid()).double()

    def loss():
        b = bits()
        return (b * weights).sum() ** 2 * torch.distributions.Bernoulli(logits=theta).log_prob(b).sum()

    report = audit(loss, theta, lambda: (bits() * weights).sum() ** 2)
    assert report.outcomes == 4


def test_one_uniform_compared_twice_is_coupled():
    theta = parameter(0.3)

    def both():
        u = torch.rand(1, dtype=torch.float64)
        return (u < theta.sigmoid()).double(), (u >= 0.25).double()

    def loss():
        first, second = both()
        return (first * second * torch.distributions.Bernoulli(logits=theta).log_prob(first)).sum()

    report = audit(loss, theta, lambda: torch.stack(both()).prod(0).sum(), raise_exception=False)
    p = float(theta.detach().sigmoid())
    assert report.outcomes == 3
    assert float(report.mean["theta"] / report.exact["theta"]) == pytest.approx((p - 0.25) / p, abs=1e-12)
    assert report.verdict == "biased"
    assert report.value == pytest.approx(p - 0.25, rel=1e-14)
    assert float(report.exact["theta"]) == pytest.approx(p * (1 - p), rel=1e-12)


def test_an_operation_without_a_law_is_refused_by_name():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match=r"aten\.rrelu"):
        audit(lambda: torch.nn.functional.rrelu(-theta, training=True).sum(), theta, lambda: theta.sum())


def test_a_dependence_that_leaves_torch_is_refused_and_not_lost():
    theta = parameter(0.4)
    loss, _ = score_function(theta, cube)
    with pytest.raises(NotAuditable, match="slope"):
        audit(loss, theta, lambda: torch.bernoulli(torch.tensor(theta.sigmoid().item(), dtype=torch.float64)))


def test_a_probability_overwritten_in_place_is_refused():
    theta = parameter(0.4)
    loss, _ = score_function(theta, cube)

    def objective():
        p = theta.sigmoid() * 1.0
        b = torch.bernoulli(p)
        p.mul_(0.5)
        return b.sum()

    with pytest.raises(NotAuditable, match="overwritten"):
        audit(loss, theta, objective)


def test_too_many_outcomes_are_refused_before_the_work():
    theta = parameter(*[0.1] * 20)
    loss, objective = score_function(theta, cube)
    runs = []
    with pytest.raises(TooLarge, match=r"1\.05e\+06 outcomes"):
        audit(lambda: runs.append(1) or loss(), theta, objective, budget=1000)
    assert len(runs) < 10


def test_a_loop_that_may_never_end_is_refused():
    theta = parameter(0.4)

    def loss():
        while torch.bernoulli(theta.detach().sigmoid()):
            pass
        return theta.sum()

    with pytest.raises(TooLarge, match="budget"):
        audit(loss, theta, lambda: theta.sum(), budget=50)


def test_a_run_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr("numeric.draws.tape.LONGEST_RUN", 50)
    theta = parameter(0.4)

    def loss():
        while not torch.bernoulli(theta.detach().sigmoid()):
            pass
        return theta.sum()

    with pytest.raises(TooLarge, match="over 50 draws"):
        audit(loss, theta, lambda: theta.sum())


def test_an_optimiser_step_inside_is_refused_and_undone():
    theta = parameter(0.4)
    optimiser = torch.optim.SGD([theta], 0.1)

    def loss():
        theta.grad = None
        theta.square().sum().backward()
        optimiser.step()

    with pytest.raises(NotAuditable, match="optimiser"):
        audit(loss, theta, lambda: theta.square().sum())
    assert theta.tolist() == [0.4]
    assert theta.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda: None, torch.zeros(1), lambda: 0.0), "does not require grad"),
        ((lambda: None, [], lambda: 0.0), "at least one"),
        ((lambda: torch.zeros(2), torch.zeros(1, requires_grad=True), lambda: 0.0), "scalar"),
        ((lambda: None, torch.zeros(1, requires_grad=True), lambda: "x"), "scalar"),
        ((lambda: None, torch.zeros(1, requires_grad=True), lambda: 0.0, 0), "positive integer"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments, message):
    loss, params, objective, *budget = arguments
    with pytest.raises(UsageError, match=message):
        audit(loss, params, objective, budget=budget[0] if budget else 10)


def test_backward_twice_is_refused():
    theta = parameter(0.4)

    def loss():
        value = theta.sum()
        value.backward(retain_graph=True)
        return value

    with pytest.raises(UsageError, match="backward"):
        audit(loss, theta, lambda: theta.sum())


def test_every_refusal_is_an_error_of_gradproof():
    assert issubclass(NotAuditable, GradproofError)
    assert issubclass(BiasedGradient, GradproofError)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auditing.audit is audit


@pytest.mark.parametrize(("kept", "outside", "outcomes", "verdict"), [
    (True, torch.square, 2, "unbiased"),
    (False, torch.square, 4, "biased"),
    (False, torch.clone, 4, "unbiased"),
])  # fmt: skip
def test_a_checkpoint_that_draws_anew_in_the_backward_pass_is_run_as_it_draws(kept, outside, outcomes, verdict):
    """All that is saved inside is computed anew, so only what stands outside mixes two draws."""
    theta, p = parameter(0.3), torch.tensor([0.4], dtype=torch.float64)

    def value(t):
        return ((t + torch.bernoulli(p)) ** 2).tanh().sum()

    def loss():
        return outside(checkpoint(value, theta, use_reentrant=False, preserve_rng_state=kept))

    report = audit(loss, theta, lambda: outside(value(theta)), raise_exception=False)
    assert (report.outcomes, report.verdict) == (outcomes, verdict)
