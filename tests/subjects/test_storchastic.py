"""storchastic: its score functions and baselines, sampling without replacement, ARM, DisARM, REBAR and RELAX."""

from __future__ import annotations

import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributions as dist

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import storch
    from storch.method import (
        ARM,
        REBAR,
        RELAX,
        DisARM,
        Expect,
        RaoBlackwellSF,
        ScoreFunction,
        ScoreFunctionWOR,
        UnorderedSetEstimator,
    )

from subjects.subject import (
    REWARDS,
    Measured,
    Subject,
    audited,
    compared,
    gradient_by_hand,
    logits,
    quadrature,
    require_as_expected,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def run(method, law, cost):
    """What a user of storchastic writes: sample, add the cost, go backward."""
    storch.reset()
    sample = method(law)
    storch.add_cost(cost(sample), "cost")
    storch.backward(update_estimator_params=False)


def reward(sample):
    return (sample * REWARDS).sum(-1)


def categorical(make):
    """The audit of a method on one categorical variable; the library weighs samples in float32."""
    theta = logits()

    def loss():
        run(make(), dist.OneHotCategorical(logits=theta), reward)

    return audited(loss, theta, lambda: REWARDS[torch.multinomial(theta.softmax(-1), 1)[0]], float32=True)


# Bernoulli methods that threshold a logistic draw: integrated over the uniforms that they are made of, between the thresholds

P = 1 / (1 + np.exp(-0.3))


def square(sample):
    return ((sample * 1.0 - 0.45) ** 2).sum(-1)


BERNOULLI_EXACT = torch.tensor([P * (1 - P) * (0.55**2 - 0.45**2)])


def bernoulli(make, pieces, nodes=24):
    theta = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    mean = quadrature(lambda: run(make(), dist.Bernoulli(logits=theta), square), theta, pieces, nodes)
    return compared(mean, BERNOULLI_EXACT, "quadrature", 1e-5)


ANTITHETIC = [(0.0, *sorted((P, 1 - P)), 1.0)]
REPARAMETERIZED = [(0.0, 1 - P, 1.0), (0.0, 1.0)]


# Sampling without replacement: the order in which Gumbel noise puts the outcomes is that of draws without replacement


ORDER = "The Gumbel top-k is replaced by torch.multinomial without replacement, which has its law."
CONDITIONAL = (
    "The relaxed sample given b is made with log p + log(1 + p) where the logit log p - log(1 - p) is meant, and "
    "likewise for the "
    "noise, so that it does not lie on the side of 1/2 where b does."
)
TWICE = "The sum of weighted costs is returned as the factor of the score, and multiplied by the cost again."
WITHOUT_REPLACEMENT = [
    (False, False, (-0.1068577779631468, -0.4645613464528484, 0.5714191244159956), TWICE),
    (False, True, (-0.5228349083900333, -0.5369278635463973, 1.0597627719364322), TWICE),
    (True, False, (-0.0697891947086425, -0.36372863381471393, 0.4335178285233562), f"{TWICE} biased=True, the default, "
    f"has a bias by design; this is another one."),
    (True, True, (-0.13268401782529612, -0.20054933724200746, 0.3332333550673044), f"{TWICE} The default settings."),
]


def in_order(perturb):
    """Let the Gumbel top-k of the library see these perturbed log probabilities instead of drawing them."""
    return pytest.MonkeyPatch.context(), storch.deterministic(lambda joint, _: perturb(joint))


def without_replacement(make):
    """The audit of a method that uses only the order of the perturbed outcomes, drawn here by torch.multinomial."""

    def perturb(joint):
        order = torch.multinomial(joint.exp(), 3, replacement=False)
        return torch.zeros_like(joint).scatter(-1, order, torch.tensor([3.0, 2.0, 1.0], dtype=joint.dtype))

    context, replacement = in_order(perturb)
    with context as patch:
        patch.setattr(storch.sampling.swor, "cond_gumbel_sample", replacement)
        return categorical(make)


def with_threshold(make, nodes=200):
    """The mean of a method with a threshold: two of three outcomes, and the perturbed value of the third, integrated over.

    The third outcome has the smallest perturbed value, kappa: its density there times the chance that both others are above.
    """
    theta, x_and_weights = logits(), np.polynomial.legendre.leggauss(nodes)
    logp, total = theta.detach().log_softmax(-1), torch.zeros(3, dtype=torch.float64)
    for third in range(3):
        others = [at for at in range(3) if at != third]
        for x, weight in zip(*x_and_weights, strict=True):
            kappa = logp[third] - np.log(-np.log((x + 1) / 2))
            above = (1 - (-(logp[others] - kappa).exp()).exp()).prod()
            perturbed = torch.full((3,), float(kappa) + 1, dtype=torch.float64).index_fill(0, torch.tensor(third), float(kappa))
            total += weight / 2 * above * _gradient(make, theta, perturbed)
    return compared(total, gradient_by_hand(), "quadrature", 1e-4)


def _gradient(make, theta, perturbed):
    context, replacement = in_order(lambda joint: perturbed.clone())
    with context as patch:
        patch.setattr(storch.sampling.swor, "cond_gumbel_sample", replacement)
        theta.grad = None
        run(make(), dist.OneHotCategorical(logits=theta), reward)
    return theta.grad


def does_not_run(make):
    try:
        run(make(), dist.OneHotCategorical(logits=logits()), reward)
    except (NotImplementedError, ValueError, TypeError) as error:
        return Measured("does not run", how=type(error).__name__)
    return Measured("runs")


SUBJECTS = [
    Subject(
        "score-function",
        'ScoreFunction("z")',
        "E[cost]",
        partial(categorical, lambda: ScoreFunction("z")),
        "unbiased",
        "One sample, no baseline.",
    ),
    Subject(
        "score-function-3",
        'ScoreFunction("z", n_samples=3)',
        "E[cost]",
        partial(categorical, lambda: ScoreFunction("z", n_samples=3)),
        "unbiased",
        "Samples are weighed by 1/3 in float32, whatever the dtype of the cost.",
    ),
    Subject(
        "batch-average",
        'ScoreFunction("z", n_samples=3, baseline_factory="batch_average")',
        "E[cost]",
        partial(categorical, lambda: ScoreFunction("z", n_samples=3, baseline_factory="batch_average")),
        "unbiased",
        "Leave-one-out.",
    ),
    Subject(
        "moving-average",
        'ScoreFunction("z", baseline_factory="moving_average")',
        "E[cost]",
        partial(categorical, lambda: ScoreFunction("z", baseline_factory="moving_average")),
        "scaled",
        "The average is updated with the current cost before it is taken off it, so that 0.95 of every gradient is left. "
        "The factor is "
        "the argument exponential_decay.",
        Fraction(19, 20),
        standing="undocumented",
    ),
    Subject(
        "moving-average-3",
        'ScoreFunction("z", n_samples=3, baseline_factory="moving_average")',
        "E[cost]",
        partial(categorical, lambda: ScoreFunction("z", n_samples=3, baseline_factory="moving_average")),
        "scaled",
        "With n samples the factor is 1 - 0.05/n.",
        Fraction(59, 60),
        standing="undocumented",
    ),
    Subject(
        "expect",
        'Expect("z")',
        "E[cost]",
        partial(categorical, lambda: Expect("z")),
        "unbiased",
        "The exact gradient itself: nothing is drawn.",
    ),
    Subject(
        "rao-blackwell",
        'RaoBlackwellSF("z", n_samples=2)',
        "E[cost]",
        partial(without_replacement, lambda: RaoBlackwellSF("z", n_samples=2)),
        "unbiased",
        f"The most probable outcome is summed, one of the others is drawn. {ORDER}",
    ),
    Subject(
        "unordered-set",
        'UnorderedSetEstimator("z", k=2)',
        "E[cost]",
        partial(without_replacement, lambda: UnorderedSetEstimator("z", k=2)),
        "biased",
        "The second-order leave-one-out ratio of the baseline takes one sample out twice in place of two samples, and "
        "divides by the "
        f"ratio of the wrong one. With the right ratio the mean is right to the 2e-4 of the trapezoid rule. {ORDER}",
        mean=(0.004784528320752572, -0.35267211308182567, 0.34788758476107307),
        standing="undocumented",
    ),
    Subject(
        "unordered-set-without-baseline",
        'UnorderedSetEstimator("z", k=2, use_baseline=False)',
        "E[cost]",
        partial(does_not_run, lambda: UnorderedSetEstimator("z", k=2, use_baseline=False)),
        "does not run",
        "`estimator` returns a tensor where the caller unpacks a pair.",
        standing="undocumented",
    ),
    *(
        Subject(
            f"without-replacement-{'biased' if biased else 'unbiased'}-{'baseline' if baseline else 'plain'}",
            f'ScoreFunctionWOR("z", k=3, biased={biased}, use_baseline={baseline})',
            "E[cost]",
            partial(with_threshold, partial(ScoreFunctionWOR, "z", k=3, biased=biased, use_baseline=baseline)),
            "biased",
            text,
            mean=mean,
            standing="undocumented",
            tolerance=1e-5,
        )
        for biased, baseline, mean, text in WITHOUT_REPLACEMENT
    ),
    Subject(
        "arm",
        'ARM("z"), one Bernoulli variable',
        "E[cost]",
        partial(bernoulli, lambda: ARM("z"), ANTITHETIC),
        "unbiased",
        "Integrated over the uniform draw, between the thresholds.",
    ),
    Subject(
        "disarm",
        'DisARM("z"), one Bernoulli variable',
        "E[cost]",
        partial(bernoulli, lambda: DisARM("z"), ANTITHETIC),
        "biased",
        "Zero, whatever the cost: the two antithetic costs are added where they should be subtracted, and the sum has no "
        "covariance with "
        "the sign of the difference. The class is exported, but is not in the README's list of algorithms.",
        mean=(0.0,),
        standing="undocumented",
    ),
    Subject(
        "rebar",
        'REBAR("z"), one Bernoulli variable',
        "E[cost]",
        partial(bernoulli, lambda: REBAR("z"), REPARAMETERIZED, 8),
        "biased",
        f"{CONDITIONAL} With the formula put right the mean is the exact gradient.",
        mean=(0.05518847,),
        standing="undocumented",
        tolerance=1e-5,
    ),
    Subject(
        "relax",
        'RELAX("z", c_phi=cost), one Bernoulli variable',
        "E[cost]",
        partial(bernoulli, lambda: RELAX("z", c_phi=square), REPARAMETERIZED, 8),
        "biased",
        f"{CONDITIONAL} With the formula put right the mean is the exact gradient.",
        mean=(0.05518847,),
        standing="undocumented",
        tolerance=1e-5,
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_a_baseline_that_is_used_before_its_update_is_unbiased(monkeypatch):
    def before(self, tensor, cost):
        baseline = self.moving_average
        self.moving_average = 0.95 * baseline + 0.05 * storch.reduce_plates(cost).detach()._tensor
        return baseline

    monkeypatch.setattr(storch.method.baseline.MovingAverageBaseline, "compute_baseline", before)
    assert categorical(lambda: ScoreFunction("z", baseline_factory="moving_average")).verdict == "unbiased"


def test_a_batch_average_that_contains_the_sample_is_found(monkeypatch):
    def group_mean(self, tensor, costs):
        return storch.sum(costs.detach(), tensor.name) / tensor.n

    monkeypatch.setattr(storch.method.baseline.BatchAverageBaseline, "compute_baseline", group_mean)
    found = categorical(lambda: ScoreFunction("z", n_samples=3, baseline_factory="batch_average"))
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("make", [lambda: REBAR("z"), lambda: RELAX("z", c_phi=square)], ids=["rebar", "relax"])
def test_the_formula_of_the_conditional_sample_is_all_that_is_wrong_with_rebar_and_relax(make, monkeypatch):
    @storch.deterministic
    def conditional(hard, probs, _, temperature):
        v, p = torch.rand(hard.shape, dtype=probs.dtype), probs.expand_as(hard)
        w = torch.where(hard == 1, v * p + 1 - p, v * (1 - p))
        return ((p.logit() + w.logit()) / temperature).sigmoid()

    monkeypatch.setattr(storch.method.relax, "conditional_gumbel_rsample", conditional)
    monkeypatch.setattr(storch, "conditional_gumbel_rsample", conditional)
    assert bernoulli(make, REPARAMETERIZED, 8).mean == pytest.approx(tuple(BERNOULLI_EXACT.tolist()), abs=1e-5)


def test_the_second_leave_one_out_ratio_is_all_that_is_wrong_with_the_unordered_set(monkeypatch):
    """For k = 2: leaving both out over leaving s out is (1 - p(s)) / p(s'), and 1 on the diagonal."""
    weigh = storch.sampling.UnorderedSet.weighting_function

    def with_right_ratio(self, tensor, plate):
        weights, p = weigh(self, tensor, plate), plate.log_probs._tensor.detach().exp()
        ratio = ((1 - p[None, :]) / p[:, None]).log().fill_diagonal_(0)
        plate.log_snd_leave_one_out = storch.Tensor(ratio, [], [plate])
        return weights

    monkeypatch.setattr(storch.sampling.UnorderedSet, "weighting_function", with_right_ratio)
    found = without_replacement(lambda: UnorderedSetEstimator("z", k=2))
    assert found.mean == pytest.approx(found.exact, abs=2e-4)


@pytest.mark.parametrize("baseline", [False, True])
def test_the_second_factor_of_the_cost_is_all_that_is_wrong_without_replacement(baseline, monkeypatch):
    estimator = ScoreFunctionWOR.estimator

    def divided(self, tensor, cost):
        factor, control = estimator(self, tensor, cost)
        return factor / storch.reduce_plates(cost).detach(), control

    monkeypatch.setattr(ScoreFunctionWOR, "estimator", divided)
    assert with_threshold(partial(ScoreFunctionWOR, "z", k=3, biased=False, use_baseline=baseline)).verdict == "unbiased"
