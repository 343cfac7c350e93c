"""The sequential test raises no more false alarms than it states, at any time, and finds a bias as soon as it says it does.

Where it can be, this is computed and not sampled: for estimates with two values the wealth depends on (samples, ones) only, so
the probability of a false alarm is a sum over lattice paths. Where it is sampled, seeds are fixed, and `most_alarms` states the
exact binomial bound.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from math import comb

import pytest
import torch

from derive.language.errors import UsageError
from numeric.checking import capital
from numeric.checking.capital import null_hypothesis, running_log_wealth
from numeric.checking.sequential_test import samples_needed, sequential_test

RUNS, RATE = 10_000, Fraction(1, 1000)
NOMINAL = int(RUNS * RATE)


def most_alarms(runs=RUNS, rate=RATE, chance=Fraction(1, 10**6)):
    """The least k such that a test of this false-alarm rate has more than k alarms with probability below `chance`: exact."""
    left, k = Fraction(1), -1
    while left >= chance:
        k += 1
        left -= comb(runs, k) * rate**k * (1 - rate) ** (runs - k)
    return k


def bits(n, p):
    return torch.bernoulli(torch.full((n,), p, dtype=torch.float64))


def reinforce(p, factor=1.0):
    """f(b) = b: the score function estimate b (b - p) of the gradient p (1 - p) in the logit, times a factor."""

    def sampler(n):
        b = bits(n, p)
        return factor * b * (b - p)

    return sampler


# No false alarms, computed


def wealth_of(log_factors, ones):
    """The log wealth of samples that are 0 or 1, given the log factors of both (2, bets), for all counts of ones."""
    zeros = torch.arange(len(ones) - 1, -1, -1, dtype=torch.float64)
    capitals = zeros[:, None] * log_factors[0] + ones[:, None] * log_factors[1]
    return torch.logsumexp(capitals, 1) - math.log(capitals.shape[1])


def chance_of_alarm(log_factors, p, threshold, samples):
    """The probability that the wealth ever reaches the threshold within so many samples: exact, but for float64 rounding."""
    alive = torch.ones(1, dtype=torch.float64)
    for t in range(1, samples + 1):
        stay = torch.cat([alive * (1 - p), torch.zeros(1, dtype=torch.float64)])
        alive = stay + torch.cat([torch.zeros(1, dtype=torch.float64), alive * p])
        wealth = wealth_of(log_factors, torch.arange(t + 1, dtype=torch.float64))
        alive = torch.where(wealth >= threshold, 0.0, alive)
    return 1 - float(alive.sum())


def null_of(p, kind, alpha=1e-3):
    bounds, variance = ((0, 1), None) if kind == "bounds" else (None, p * (1 - p))
    return null_hypothesis(p, bounds, variance, alpha, 0.0)


def log_factors_of(null):
    return null.log_factors(torch.tensor([[0.0], [1.0]], dtype=torch.float64))[:, :, 0]


@pytest.mark.parametrize("kind", ["bounds", "variance"])
@pytest.mark.parametrize("p", [0.5, 0.05, 0.8])
def test_the_probability_of_a_false_alarm_at_any_time_is_at_most_alpha(p, kind):
    null = null_of(p, kind)
    chance = chance_of_alarm(log_factors_of(null), p, null.threshold, 600)
    assert 1e-6 < chance <= 1e-3


@pytest.mark.parametrize(("p", "kind"), [(0.5, "bounds"), (0.05, "variance")])
def test_that_computation_finds_what_is_not_valid(p, kind):
    """Capitals that are added up instead of averaged, and a threshold that forgets what the bets cost."""
    null = null_of(p, kind)
    forgotten = null.threshold - math.log(2 * capital.BETS)
    assert chance_of_alarm(log_factors_of(null), p, forgotten, 600) > 1e-3


@pytest.mark.parametrize("kind", ["bounds", "variance"])
def test_the_wealth_that_was_computed_is_the_wealth_of_the_test(kind):
    x, null = bits(500, 0.4)[:, None], null_of(0.3, kind)
    wealth, capitals = running_log_wealth(x, null)
    again, _ = running_log_wealth(x[200:], null, running_log_wealth(x[:200], null)[1])
    assert torch.allclose(wealth[200:], again, rtol=1e-12)
    for t in (1, 7, 500):
        ones = torch.arange(t + 1, dtype=torch.float64)
        assert float(wealth[t - 1]) == pytest.approx(float(wealth_of(log_factors_of(null), ones)[int(x[:t].sum())]), abs=1e-12)
    assert float(torch.logsumexp(capitals, 0)) - math.log(2 * capital.BETS) == pytest.approx(float(wealth[-1]))


@pytest.mark.parametrize("p", [0.5, 0.05, 0.8])
def test_the_mean_capital_under_the_null_is_one_within_bounds_and_at_most_one_for_a_variance(p):
    weights = torch.tensor([1 - p, p], dtype=torch.float64)
    fair = weights @ log_factors_of(null_of(p, "bounds")).exp()
    assert torch.allclose(fair, torch.ones_like(fair), rtol=0, atol=1e-14)
    assert (weights @ log_factors_of(null_of(p, "variance")).exp() <= 1).all()


def test_the_mean_capital_is_at_most_one_for_heavy_tails_with_the_stated_variance():
    """-1/k, 0 and k with probabilities that make mean 0 and variance 1, k up to 1000."""
    for k in (1.0, 10.0, 1000.0):
        x = torch.tensor([[-1 / k], [k]], dtype=torch.float64)
        weights = torch.tensor([k * k, 1.0], dtype=torch.float64) / (1 + k * k)
        factors = null_hypothesis(0.0, None, 1.0, 1e-3, 0.0).log_factors(x)[:, :, 0].exp()
        assert (weights @ factors <= 1 + 1e-14).all()


# No false alarms, sampled


def alarms_of(sample, exact, **stated):
    """How many of 10,000 runs of 500 samples would be rejected at a rate of 1e-3, looking after each sample."""
    null = null_hypothesis(torch.full((500,), exact), stated.get("bounds"), stated.get("variance"), 1e-3, 0.0)
    alarms = 0
    for _ in range(RUNS // 500):
        wealth, _ = running_log_wealth(sample(500, 500), null)
        alarms += int((wealth >= math.log(1 / RATE)).any(0).sum())
    return alarms


def gumbel_argmax(n, d):
    """The score function estimate for the last of 3 equal classes, drawn by argmax of Gumbel noise, f = 0, 1, 2."""
    noise = -torch.log(-torch.log(torch.rand(n, d, 3, dtype=torch.float64)))
    b = noise.argmax(-1)
    return b * ((b == 2).double() - 1 / 3)


def pareto(n, d):
    """Heavy tails, exponent 2.5: mean 5/3, variance 20/9."""
    return torch.rand(n, d, dtype=torch.float64) ** (-1 / 2.5)


UNBIASED = [
    ("score function", lambda n, d: reinforce(0.3)(n * d).view(n, d), 0.21, {"bounds": (0, 1)}),
    ("rare values", lambda n, d: bits(n * d, 0.01).view(n, d), 0.01, {"bounds": (0, 1)}),
    ("gumbel argmax", gumbel_argmax, 1 / 3, {"bounds": (-2 / 3, 4 / 3)}),
    ("heavy tails", pareto, 5 / 3, {"variance": 20 / 9}),
    ("normal", lambda n, d: torch.randn(n, d, dtype=torch.float64), 0.0, {"variance": 1.0}),
]


USUAL = {"score function", "heavy tails"}
"""One with bounds and one with a variance; the others run in `make test-exhaustive`."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sample", "exact", "stated"),
    [pytest.param(*one, id=one[0], marks=() if one[0] in USUAL else pytest.mark.exhaustive) for one in UNBIASED],
)
def test_10000_runs_on_unbiased_estimators_raise_at_most_the_nominal_number_of_alarms(name, sample, exact, stated):
    torch.manual_seed(4)
    assert alarms_of(sample, exact, **stated) <= NOMINAL


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "rate"), [(500, 0.02), pytest.param(RUNS, float(RATE), marks=pytest.mark.exhaustive)])
def test_so_many_calls_of_the_test_itself_raise_at_most_the_nominal_number_of_alarms(runs, rate):
    sampler = reinforce(0.3)
    alarms = sum(
        sequential_test(sampler, 0.21, bounds=(0, 0.7), alpha=rate, max_samples=200, batch=200, seed=seed).rejected
        for seed in range(runs)
    )
    assert alarms <= runs * rate


def test_a_z_test_that_is_looked_at_after_every_sample_raises_more_alarms_than_any_valid_test():
    torch.manual_seed(4)
    alarms = 0
    for _ in range(RUNS // 500):
        x = torch.randn(500, 500, dtype=torch.float64)
        z = x.cumsum(0) / torch.arange(1, 501, dtype=torch.float64).sqrt()[:, None]
        alarms += int((z.abs() >= 3.2905).any(0).sum())
    assert most_alarms() == 28
    assert alarms > most_alarms()


# A bias is found


def test_a_bias_of_five_percent_is_found_and_the_number_of_samples_is_reported():
    report = sequential_test(reinforce(0.5, 0.95), 0.25, bounds=(0, 1))
    assert report.rejected
    assert report.samples <= report.samples_for(0.05 * 0.25) == samples_needed(0.0125, 0.25, bounds=(0, 1))
    assert f"REJECTED after {report.samples} samples" in str(report)
    assert not sequential_test(reinforce(0.5), 0.25, bounds=(0, 1)).rejected


def test_a_bias_of_five_percent_is_found_with_a_variance_instead_of_bounds():
    report = sequential_test(reinforce(0.5, 0.95), 0.25, variance=0.0625)
    assert report.rejected
    assert report.method == "catoni"
    assert report.samples <= report.samples_for(0.0125)


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_the_coordinate_with_the_bias_is_named(factor):
    def sampler(n):
        return torch.stack([reinforce(0.5)(n), reinforce(0.5, factor)(n)], 1).view(n, 1, 2)

    report = sequential_test(sampler, torch.full((1, 2), 0.25), bounds=(0, 1))
    assert report.rejected
    assert report.coordinate == 1
    assert report.threshold == pytest.approx(math.log(2e9))


def chance_of_miss(null, mean, samples):
    """The probability that samples that are 1 with probability `mean`, else 0, do not reject when all are drawn."""
    ones = torch.arange(samples + 1, dtype=torch.float64)
    log_p = torch.lgamma(torch.tensor(samples + 1.0)) - torch.lgamma(ones + 1) - torch.lgamma(samples - ones + 1)
    log_p = log_p + ones * math.log(mean) + (samples - ones) * math.log1p(-mean)
    return float(log_p.exp()[wealth_of(log_factors_of(null), ones) < null.threshold].sum())


@pytest.mark.parametrize("kind", ["bounds", "variance"])
@pytest.mark.parametrize(("p", "bias"), [(0.5, 0.05), (0.5, 0.3), (0.1, 0.05), (0.9, 0.03)])
def test_the_samples_that_it_asks_for_find_the_bias_with_probability_99_percent(p, bias, kind):
    widest = max((p + s * bias) * (1 - p - s * bias) for s in (-1, 0, 1))
    null = null_of(p, "bounds", 1e-9) if kind == "bounds" else null_hypothesis(p, None, widest, 1e-9, 0.0)
    needed = null.samples_for(bias)
    assert max(chance_of_miss(null, p + sign * bias, needed) for sign in (1, -1)) <= 0.01
    assert max(chance_of_miss(null, p + sign * bias, needed // 5) for sign in (1, -1)) > 0.01


def test_the_worst_law_within_bounds_and_variance_is_the_stated_one():
    """No law on a grid with the same mean and at most that variance has a larger E[(1 + L (x - m))^-s]."""
    null = null_hypothesis(0.4, (0.0, 1.0), 0.05, 1e-9, 0.0)
    _, worst = null.log_misses(torch.tensor([0.1], dtype=torch.float64), 1)
    bets, powers = null.side(1)[1], 2.0 ** torch.arange(-6, 4, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x, law = torch.rand(2, 20_000, 3, dtype=torch.float64, generator=generator)
    law = law / law.sum(-1, keepdim=True)
    x = x + 0.5 - (law * x).sum(-1, keepdim=True)
    tried = (x.amin(-1) >= 0) & (x.amax(-1) <= 1) & ((law * (x - 0.5) ** 2).sum(-1) <= 0.05)
    assert int(tried.sum()) > 1000
    for bet, most in zip(bets, worst[:, :, 0], strict=True):
        factors = 1 + bet * (x[tried] - 0.4)
        means = (law[tried][:, None] * factors[:, None, :] ** -powers[:, None]).sum(-1).log()
        assert (means <= most + 1e-12).all()


@pytest.mark.parametrize("kind", ["bounds", "variance"])
def test_the_capital_that_one_bet_needs_to_reject_alone_is_the_stated_one(kind):
    null = null_of(0.4, kind)
    start, _ = null.log_misses(torch.tensor([0.1], dtype=torch.float64), 1)
    power = 2.0**-6 if kind == "bounds" else 1.0
    alone = torch.full((2 * capital.BETS,), -torch.inf, dtype=torch.float64)
    alone[3] = start[3, 0, 0] / power
    assert float(torch.logsumexp(alone, 0)) - math.log(2 * capital.BETS) == pytest.approx(null.threshold)


def test_the_smallest_bias_is_the_one_that_needs_these_samples():
    report = sequential_test(reinforce(0.5), 0.25, bounds=(0, 1), max_samples=20_000)
    bias = report.smallest_detectable_bias
    assert report.samples_for(bias * (1 + 1e-6)) <= 20_000 < report.samples_for(bias * (1 - 1e-3))
    assert f"{bias:.2g}" in str(report)


def test_a_variance_beside_bounds_sharpens_what_could_have_been_seen_and_nothing_else():
    plain = sequential_test(reinforce(0.5), 0.25, bounds=(-9, 9), max_samples=5000)
    sharp = sequential_test(reinforce(0.5), 0.25, bounds=(-9, 9), variance=0.0625, max_samples=5000)
    assert sharp.log_wealth == plain.log_wealth
    assert sharp.smallest_detectable_bias < plain.smallest_detectable_bias / 5


def test_too_few_samples_to_see_anything_are_said_to_be_so():
    report = sequential_test(reinforce(0.5), 0.25, bounds=(0, 1), max_samples=3)
    assert report.smallest_detectable_bias == math.inf
    assert report.to_json()["smallest_detectable_bias"] is None
    assert "take more samples" in str(report)


# What is refused


def refused(match, sampler=None, exact=0.25, **options):
    with pytest.raises(UsageError, match=match):
        sequential_test(sampler or reinforce(0.5), exact, **options)


def test_without_bounds_or_variance_it_says_that_there_is_no_valid_test():
    refused("without either there is no valid test")
    with pytest.raises(UsageError, match="no valid test"):
        samples_needed(0.1, 0.25)


def test_an_estimate_outside_of_the_bounds_is_refused():
    refused(r"coordinate 0 is 0\.5, outside of the bounds 0\.0 to 0\.4", bounds=(0, 0.4))


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("strictly inside", {"bounds": (0.25, 1)}),
        ("strictly inside", {"bounds": (1, 0)}),
        ("pair", {"bounds": 3}),
        ("finite", {"bounds": (0, math.inf)}),
        ("broadcast", {"bounds": (torch.zeros(3), 1)}),
        ("positive in every", {"variance": 0.0}),
        ("finite", {"variance": math.nan}),
        ("alpha", {"bounds": (0, 1), "alpha": 0}),
        ("alpha", {"bounds": (0, 1), "alpha": 1.5}),
        ("positive integers", {"bounds": (0, 1), "batch": 0}),
        ("positive integers", {"bounds": (0, 1), "max_samples": 2.5}),
        ("tolerance", {"bounds": (0, 1), "tolerance": -1.0}),
    ],
)
def test_arguments_that_mean_nothing_are_refused(match, options):
    refused(match, **options)


@pytest.mark.parametrize(
    ("match", "sampler"),
    [
        ("shape", lambda n: torch.zeros(n, 2)),
        ("shape", lambda n: 0.25),
        ("floating point", lambda n: torch.zeros(n, dtype=torch.int64)),
        ("nan", lambda n: torch.full((n,), math.nan)),
    ],
)
def test_a_sampler_that_returns_something_else_is_refused(match, sampler):
    refused(match, sampler, bounds=(0, 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_estimate_that_is_no_finite_number_is_refused_without_bounds_too(value):
    refused("nan or infinite", lambda n: torch.cat([torch.zeros(n - 1), torch.tensor([value])]), variance=1.0)


def test_a_sampler_that_seeds_itself_is_refused():
    def sampler(n):
        torch.manual_seed(0)
        return bits(n, 0.5)

    refused("seeds itself", sampler, 0.5, bounds=(0, 1), batch=100)


@pytest.mark.parametrize("bias", [0, -0.1, 0.9, math.nan, "0.1"])
def test_a_bias_that_cannot_be_is_refused(bias):
    with pytest.raises(UsageError, match="bias"):
        samples_needed(bias, 0.25, bounds=(0, 1))


# Habits


def test_python_numbers_keep_their_digits():
    null = null_hypothesis(0.1, (0, 0.7), 0.3, 1e-9, 0.0)
    assert [float(part) for part in (null.exact, null.high, null.variance)] == [0.1, 0.7, 0.3]


def test_the_same_seed_gives_the_same_report_and_the_generators_are_put_back():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (sequential_test(reinforce(0.5), 0.25, bounds=(0, 1), max_samples=2000) for _ in range(2))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert sequential_test(reinforce(0.5), 0.25, bounds=(0, 1), max_samples=2000, seed=None) != first


def test_the_batch_size_does_not_change_the_answer():
    x = bits(3000, 0.6)

    def replay(batch):
        parts = iter(x.split(batch))
        return sequential_test(lambda n: next(parts), 0.5, bounds=(0, 1), max_samples=3000, batch=batch)

    one, other = replay(3000), replay(17)
    assert (one.rejected, one.samples) == (other.rejected, other.samples)
    assert one.log_wealth == pytest.approx(other.log_wealth, rel=1e-12)


def test_a_sampler_may_use_autograd():
    def sampler(n):
        logit = torch.zeros(n, dtype=torch.float64, requires_grad=True)
        b = torch.bernoulli(torch.full((n,), 0.5, dtype=torch.float64))
        (b * torch.distributions.Bernoulli(logits=logit).log_prob(b)).sum().backward()
        return logit.grad

    assert not sequential_test(sampler, 0.25, bounds=(0, 1), max_samples=2000).rejected


def test_rounding_in_float32_is_no_alarm_but_the_same_bias_in_float64_is():
    third = 1 / 3
    rounded = torch.tensor(third, dtype=torch.float32)
    bounds = (third - 1e-9 - 1e-8, 1.0)
    assert not sequential_test(lambda n: rounded.expand(n), third, bounds=bounds).rejected
    assert sequential_test(lambda n: rounded.double().expand(n), third, bounds=bounds).rejected


def test_one_huge_value_neither_overflows_nor_stops_the_test():
    values = iter([torch.full((100,), -1e300, dtype=torch.float64), torch.full((100,), 1e300, dtype=torch.float64)])
    report = sequential_test(lambda n: next(values), 0.0, variance=1.0, batch=100, max_samples=200)
    assert math.isfinite(report.log_wealth)
    assert report.rejected


def test_the_report_is_json_with_a_schema_and_progress_is_told():
    seen = []
    report = sequential_test(
        reinforce(0.5), 0.25, bounds=(0, 1), max_samples=2500, progress=lambda *told: seen.append(told[:2])
    )
    assert seen == [(1000, 2500), (2000, 2500), (2500, 2500)]
    answer = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert answer["schema"] == "gradproof/sequential-test/1"
    assert answer["samples"] == 2500
