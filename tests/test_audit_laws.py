"""The laws and samplers that people use have their exact law in an audit: Gumbel and exponential races, thresholds, counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Binomial, Distribution, Gamma, Geometric, Gumbel, NegativeBinomial, Normal, Poisson
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.nn.functional import gumbel_softmax

from numeric import NotAuditable, audit
from numeric.draws.laws import forms
from numeric.noise import sampled

LOGITS = torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64, requires_grad=True)
REWARD = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)


def parameter(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def expected_reward() -> Tensor:
    return (LOGITS.softmax(-1) * REWARD).sum()


def uniform() -> Tensor:
    return torch.rand(3, dtype=torch.float64)


def exponential() -> Tensor:
    return torch.empty(3, dtype=torch.float64).exponential_()


def in_place() -> Tensor:
    probs = LOGITS.detach().softmax(-1)
    return probs.div_(torch.empty_like(probs).exponential_(1)).argmax(dim=-1)


SAMPLERS = {
    "Gumbel noise": lambda: (LOGITS - torch.log(-torch.log(uniform()))).argmax(),
    "Gumbel noise with an epsilon": lambda: (LOGITS - torch.log(-torch.log(uniform() + 1e-10) + 1e-10)).argmax(),
    "Gumbel noise from exponential noise": lambda: (LOGITS - exponential().log()).max(0).indices,
    "the law Gumbel": lambda: Gumbel(LOGITS, torch.ones(3, dtype=torch.float64)).sample().argmax(),
    "a temperature": lambda: ((LOGITS - exponential().log()) / 0.3).softmax(0).topk(1).indices[0],
    "an exponential race": lambda: (LOGITS.softmax(-1) / exponential()).argmax(-1),
    "an exponential race, the first": lambda: (exponential() / LOGITS.exp()).argmin(-1),
    "an exponential race in the logarithm": lambda: (LOGITS - exponential().clamp_min(1e-20).log()).argmax(),
    "weights as powers": lambda: (uniform() ** (1 / LOGITS.exp())).argmax(),
    "one minus uniform noise": lambda: (-torch.log1p(-uniform()) / LOGITS.exp()).argmin(),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_keys_that_race_are_enumerated_as_their_categorical_law(sampler):
    def loss() -> Tensor:
        index = sampler()
        return REWARD[index] * LOGITS.log_softmax(-1)[index]

    report = audit(loss, LOGITS, lambda: REWARD[sampler()])
    assert (report.outcomes, report.objective_outcomes) == (3, 3)
    assert math.isclose(report.value, float(expected_reward().detach()), rel_tol=1e-9)


def test_a_race_with_a_wrong_score_is_biased():
    def loss() -> Tensor:
        index = in_place()
        return REWARD[index] * LOGITS[index]

    assert audit(loss, LOGITS, expected_reward, raise_exception=False).verdict == "biased"


def test_a_race_in_place_is_seen():
    def loss() -> Tensor:
        index = in_place()
        return REWARD[index] * LOGITS.log_softmax(-1)[index]

    assert audit(loss, LOGITS, expected_reward).outcomes == 3


def test_a_row_of_keys_is_ordered_without_replacement():
    def loss() -> Tensor:
        first, second = (LOGITS.detach() - exponential().log()).topk(2).indices
        log_p = LOGITS.log_softmax(-1)
        log_second = log_p[second] - torch.log1p(-log_p[first].exp())
        return (REWARD[first] * REWARD[second] + REWARD[first]) * (log_p[first] + log_second)

    def objective() -> Tensor:
        first, second = torch.multinomial(LOGITS.softmax(-1), 2)
        return REWARD[first] * REWARD[second] + REWARD[first]

    assert audit(loss, LOGITS, objective).outcomes == 6
    assert not audit(lambda: loss() + LOGITS[0], LOGITS, objective, raise_exception=False)


@pytest.mark.parametrize("keys", [torch.rand, torch.randn])
def test_sorting_equal_noise_gives_a_random_permutation(keys):
    def chosen(order: Tensor) -> Tensor:
        return (LOGITS[order[:2]].square() * REWARD[:2]).sum()

    report = audit(lambda: chosen(keys(3).argsort()), LOGITS, lambda: chosen(torch.randperm(3)))
    assert report.outcomes == 6


def test_rows_of_keys_race_apart():
    def loss() -> Tensor:
        index = (LOGITS.detach() - torch.empty(2, 3, dtype=torch.float64).exponential_().log()).argmax(-1)
        return REWARD[index].prod() * LOGITS.log_softmax(-1)[index].sum()

    assert audit(loss, LOGITS, lambda: expected_reward() ** 2).outcomes == 9


def test_a_straight_through_sample_counts_as_its_hard_value():
    def loss() -> Tensor:
        hard = gumbel_softmax(LOGITS.detach(), hard=True, tau=0.7)
        return (hard * REWARD).sum() * (hard * LOGITS.log_softmax(-1)).sum()

    report = audit(loss, LOGITS, lambda: (REWARD * gumbel_softmax(LOGITS, hard=True)).sum())
    assert (report.outcomes, report.objective_outcomes) == (3, 3)


@pytest.mark.exhaustive
def test_the_gradient_of_a_straight_through_sample_needs_the_noise():
    assert not is_accepted(lambda: (REWARD * gumbel_softmax(LOGITS, hard=True)).sum(), expected_reward)


def is_accepted(loss, objective) -> bool:
    try:
        return audit(loss, LOGITS, objective, raise_exception=False).verdict == "unbiased"
    except NotAuditable:
        return False


TWICE = {
    "other weights": (lambda keys: (keys + LOGITS.detach()).argmax(), lambda: LOGITS.detach().softmax(-1)),
    "overlapping races": (lambda keys: keys[:2].argmax(), lambda: torch.tensor([0.5, 0.5, 0.0])),
    "a threshold": (lambda keys: (keys[0] > 0).long(), lambda: torch.tensor([1, math.e - 1, 0.0]) / math.e),
}


@pytest.mark.parametrize(("second", "law"), TWICE.values(), ids=TWICE)
def test_keys_that_decide_twice_are_no_independent_draws(second, law):
    def loss() -> Tensor:
        keys = -exponential().log()
        return LOGITS[keys.argmax()] * LOGITS[second(keys)]

    assert not is_accepted(loss, lambda: LOGITS.mean() * (LOGITS * law().double()).sum())


def test_the_same_race_asked_twice_has_the_same_answer():
    def loss() -> Tensor:
        keys = LOGITS.detach() - exponential().log()
        assert int(keys.argmax()) == int(keys.topk(2).indices[0])
        assert int(keys.argmin()) == int(keys.sort().indices[0])
        return REWARD[keys.argmax()] * LOGITS.log_softmax(-1)[keys.argmax()]

    assert audit(loss, LOGITS, expected_reward).outcomes == 6


def test_keys_whose_values_matter_too_are_not_drawn_apart_from_them(monkeypatch):
    monkeypatch.setattr(sampled, "SHARE", 0.04)
    monkeypatch.setattr(sampled, "ONE_BY_ONE", (4, 16))

    def loss() -> Tensor:
        keys = -exponential().log()
        LOGITS.grad = torch.zeros_like(LOGITS)
        LOGITS.grad[0] = (keys + LOGITS.detach()).argmax() * keys[0]

    assert not is_accepted(loss, expected_reward)


def test_a_large_epsilon_is_another_law():
    def loss() -> Tensor:
        index = (LOGITS.detach() - torch.log(-torch.log(0.9 * uniform()))).argmax()
        return REWARD[index] * LOGITS.log_softmax(-1)[index]

    assert not is_accepted(loss, expected_reward)


def test_a_small_epsilon_is_shown(monkeypatch):
    def loss() -> Tensor:
        index = SAMPLERS["Gumbel noise with an epsilon"]()
        return REWARD[index] * LOGITS.log_softmax(-1)[index]

    assert "clamps and shifts of noise that decides, with a probability of 6e-10" in str(audit(loss, LOGITS, expected_reward))
    monkeypatch.setattr(forms, "NEGLIGIBLE", 0.0)
    assert not is_accepted(loss, expected_reward)


def test_a_race_over_scales_that_differ_is_no_race():
    scales = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def loss() -> Tensor:
        index = ((LOGITS.detach() - exponential().log()) * scales).argmax()
        return REWARD[index] * LOGITS.log_softmax(-1)[index]

    assert not is_accepted(loss, expected_reward)


# Thresholds


def test_a_thresholded_normal_is_a_draw_in_loss_and_objective():
    mu, sigma = parameter(0.3), parameter(1.5)

    def loss() -> Tensor:
        b = (Normal(mu.detach(), sigma.detach()).sample() > 0.2).double()
        p = 1 - Normal(mu, sigma).cdf(torch.tensor(0.2, dtype=torch.float64))
        return 3 * (b * p.log() + (1 - b) * (1 - p).log()) * b

    report = audit(loss, [mu, sigma], lambda: 3 * (Normal(mu, sigma).sample() > 0.2).double())
    assert (report.outcomes, report.objective_outcomes) == (2, 2)
    assert not audit(lambda: loss() / 2, [mu, sigma], lambda: 3 * (Normal(mu, sigma).rsample() > 0.2), raise_exception=False)


def test_a_relaxed_bernoulli_above_zero_is_a_bernoulli_draw():
    logit = parameter(0.3)

    def loss() -> Tensor:
        b = (LogitRelaxedBernoulli(torch.tensor(0.7).double(), logits=logit.detach()).sample() > 0).double()
        return 2 * b * (b * logit - torch.nn.functional.softplus(logit))

    assert audit(loss, logit, lambda: 2 * logit.sigmoid()).outcomes == 2
    assert not audit(loss, logit, lambda: 2 * torch.special.ndtr(logit), raise_exception=False)


def test_noise_below_two_thresholds_is_drawn_given_the_first():
    mu = parameter(0.3)

    def objective() -> Tensor:
        z = torch.randn(2, dtype=torch.float64) + mu
        return ((z > 0).double() + 2 * (z > 1).double()).prod()

    def closed() -> Tensor:
        return (torch.special.ndtr(mu) + 2 * torch.special.ndtr(mu - 1)) ** 2

    assert audit(lambda: closed() + 0 * torch.bernoulli(mu.detach()), mu, objective).objective_outcomes == 9


def test_noise_that_gives_the_law_of_a_draw_is_used():
    theta = parameter(0.4)

    def loss() -> Tensor:
        u = torch.rand((), dtype=torch.float64)
        return theta * torch.bernoulli(u) * (u < 0.5)

    assert audit(loss, theta, lambda: theta / 8).quadrature


# Counts without an end


def test_poisson_counts_are_enumerated_up_to_a_tail():
    rate = parameter(1.3)

    def loss() -> Tensor:
        count = Poisson(rate.detach()).sample()
        return count**2 * Poisson(rate).log_prob(count)

    assert audit(loss, rate, lambda: rate**2 + rate).outcomes < 40
    report = audit(loss, rate, lambda: torch.poisson(rate) ** 2)
    assert "enumerated but for a probability of 1e-18" in str(report)
    assert not audit(loss, rate, lambda: rate**2, raise_exception=False)


def test_a_tail_that_carries_the_mean_is_refused():
    rate = parameter(0.5)
    with pytest.raises(NotAuditable, match="tail of a law"):
        audit(lambda: rate * (4 * torch.poisson(rate.detach())).exp(), rate, lambda: rate)


def test_a_difference_of_neighbours_is_right_for_poisson_counts():
    rate = parameter(1.3)

    def loss() -> Tensor:
        count = torch.poisson(rate.detach())
        return rate * (2 ** (count + 1) - 2**count)

    assert audit(loss, rate, lambda: rate.exp()).unbiased


def test_geometric_counts_are_enumerated():
    p = parameter(0.6)

    def loss() -> Tensor:
        count = Geometric(p.detach()).sample()
        return count**2 * Geometric(p).log_prob(count)

    assert audit(loss, p, lambda: (1 - p) * (2 - p) / p**2).unbiased
    assert not audit(loss, p, lambda: (1 - p) / p, raise_exception=False)


@pytest.fixture
def _unchecked():
    """As torch.compile leaves it, in the whole process."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    yield
    Distribution.set_default_validate_args(before)


@pytest.mark.usefixtures("_unchecked")
def test_a_law_that_checks_nothing_is_asked_elsewhere_where_it_is_one_only():
    """The first point that is tried nearby is p > 1."""
    p = parameter(0.6)

    def loss() -> Tensor:
        count = Geometric(p.detach()).sample()
        return count**2 * Geometric(p).log_prob(count)

    assert "nearby it is" in str(audit(loss, p, lambda: (1 - p) / p, raise_exception=False))
    assert not Distribution._validate_args


@pytest.mark.usefixtures("_unchecked")
def test_code_that_runs_only_with_laws_that_check_nothing_is_compared_elsewhere_all_the_same():
    p = parameter(0.6)
    half = lambda: Bernoulli(logits=p).log_prob(torch.tensor(0.5).double())  # noqa: E731
    drawn = lambda: torch.bernoulli(torch.tensor(0.5).double())  # noqa: E731
    report = audit(lambda: half() * 2 * drawn(), p, lambda: 3 * half(), raise_exception=False)
    assert report.verdict == "scaled"
    assert report.held > 0


def test_geometric_counts_of_a_tensor_start_at_one():
    theta = parameter(0.4)
    report = audit(lambda: theta * torch.empty(()).double().geometric_(0.5), theta, lambda: 2 * theta)
    assert "aten.geometric_" in report.draws[0]


def test_negative_binomial_counts_are_enumerated_without_their_gamma_noise():
    total, logit = parameter(2.5), parameter(-1.0)

    def loss() -> Tensor:
        law = NegativeBinomial(total, logits=logit)
        count = law.sample()
        return count**2 * law.log_prob(count)

    def closed() -> Tensor:
        mean = total * logit.exp()
        return mean * (1 + logit.exp()) + mean**2

    assert audit(loss, [total, logit], closed).draws == ("aten.poisson at a rate of gamma noise",)
    assert not audit(lambda: loss() + total, [total, logit], closed, raise_exception=False)


def test_binomial_counts_are_enumerated():
    p = parameter(0.3)

    def loss() -> Tensor:
        count = Binomial(4, p.detach()).sample()
        return count**2 * Binomial(4, p).log_prob(count)

    assert audit(loss, p, lambda: 4 * p * (1 - p) + 16 * p**2).outcomes == 5


# Gamma noise


def gamma_score(shape: Tensor, rate: Tensor) -> Tensor:
    drawn = Gamma(shape.detach(), rate.detach()).sample()
    return drawn**2 * Gamma(shape, rate).log_prob(drawn)


def test_gamma_noise_is_integrated_in_loss_and_objective():
    shape, rate = parameter(2.5), parameter(1.4)
    report = audit(lambda: gamma_score(shape, rate), [shape, rate], lambda: Gamma(shape, rate).sample() ** 2)
    assert math.isclose(report.value, 2.5 * 3.5 / 1.4**2, rel_tol=1e-9)
    wrong = lambda: 1.01 * gamma_score(shape, rate)  # noqa: E731
    assert not audit(wrong, [shape, rate], lambda: shape * (shape + 1) / rate**2, raise_exception=False)


def test_the_derivative_of_gamma_noise_by_torch_is_right_to_a_few_digits():
    shape, rate = parameter(2.5), parameter(1.4)
    report = audit(lambda: Gamma(shape, rate).rsample() ** 2, [shape, rate], lambda: shape * (shape + 1) / rate**2)
    assert "the derivative of gamma noise by its shape is torch's own, of which 0.001 is tolerated" in str(report)
    assert abs(float(report.bias["theta[0]"])) > 1e-6


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
def test_an_objective_by_sample_of_a_normal_law_has_its_gradient():
    mu, sigma = parameter(0.3), parameter(1.5)

    def objective() -> Tensor:
        return Normal(mu, sigma).sample() ** 2

    assert audit(lambda: Normal(mu, sigma).rsample() ** 2, [mu, sigma], objective).unbiased
    assert not audit(lambda: Normal(mu, sigma).rsample() ** 2 / 2, [mu, sigma], objective, raise_exception=False)
