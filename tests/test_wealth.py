"""What the sequential test computes in blocks is what it would find by computing the wealth after every sample.

The wealth after every sample is `running_log_wealth`, whose false alarms `test_sequential_test` computes and samples.
"""

from __future__ import annotations

import math

import pytest
import torch

from numeric.checking import wealth
from numeric.checking.capital import null_hypothesis, running_log_wealth
from numeric.checking.sequential_test import sequential_test
from numeric.checking.wealth import BLOCK, Capitals

BOUNDS, VARIANCE = {"bounds": (0.0, 1.0)}, {"variance": 0.25}
STATED = [pytest.param(BOUNDS, id="bounds"), pytest.param(VARIANCE, id="variance")]


def null_of(d=1, alpha=1e-3, tolerance=0.0, exact=0.5, bounds=None, variance=None):
    return null_hypothesis(torch.full((d,), exact, dtype=torch.float64), bounds, variance, alpha, tolerance)


def by_each(x, null):
    """The number of samples up to the first that rejects, None where none does, and the log wealth after it."""
    after, _ = running_log_wealth(x, null)
    crossed = (after >= null.threshold).any(1).nonzero()
    used = int(crossed[0]) + 1 if len(crossed) else None
    return used, after[(used or len(x)) - 1]


def by_blocks(x, null, batch):
    capitals, before = Capitals(null), 0
    for part in x.split(batch):
        used = capitals.take(part)
        if used is not None:
            return before + used, capitals.log_wealth()
        before += len(part)
    return None, capitals.log_wealth()


def same(x, null, batch=1000):
    (used, after), (expected, exactly) = by_blocks(x, null, batch), by_each(x, null)
    assert used == expected
    assert torch.allclose(after, exactly, rtol=1e-12, atol=1e-11)
    return used


def bits(n, d, p):
    return torch.bernoulli(torch.full((n, d), p, dtype=torch.float64))


LAWS = {
    "right": lambda n, d: bits(n, d, 0.5),
    "biased": lambda n, d: bits(n, d, 0.7),
    "biased down": lambda n, d: bits(n, d, 0.3),
    "spread": lambda n, d: torch.rand(n, d, dtype=torch.float64),
}
TAILS = {
    "normal": lambda n, d: 0.5 + torch.randn(n, d, dtype=torch.float64) / 2,
    "heavy": lambda n, d: 0.5 + torch.tan(3 * (torch.rand(n, d, dtype=torch.float64) - 0.5)),
    "huge": lambda n, d: 0.5 + torch.randn(n, d, dtype=torch.float64) * 10.0 ** (155 * bits(n, d, 0.02)),
}
CASES = [(name, stated) for name in LAWS for stated in (BOUNDS, VARIANCE)] + [(name, VARIANCE) for name in TAILS]


@pytest.mark.parametrize(("name", "stated"), CASES)
@pytest.mark.parametrize("tolerance", [0.0, 1e-16, 0.03])
def test_it_rejects_at_the_sample_at_which_the_wealth_first_is_at_the_threshold(name, stated, tolerance):
    torch.manual_seed(1)
    for alpha in (1e-9, 0.05, 0.9):
        for d, n, batch in ((1, 1, 1), (3, 40, 1), (1, 200, 7), (3, 333, 1000), (40, 200, 19)):
            same((LAWS | TAILS)[name](n, d), null_of(d, alpha, tolerance, **stated), batch)


@pytest.mark.parametrize("stated", STATED)
def test_it_does_so_where_a_batch_is_taken_in_parts(stated):
    torch.manual_seed(1)
    assert Capitals(null_of(200, **stated))._rows < 150
    same(bits(150, 200, 0.5), null_of(200, **stated))
    assert same(bits(150, 200, 0.8), null_of(200, **stated)) is not None


@pytest.mark.parametrize("stated", STATED)
def test_it_rejects_at_any_place_of_a_block(stated):
    """Samples at the mean leave the capital as it is, or let it fall; ones after them reject at the next place each time."""
    null = null_of(alpha=0.05, **stated)
    places = {
        same(torch.cat([torch.full((rest, 1), 0.5), torch.ones(60, 1)]).double(), null) % BLOCK for rest in range(2 * BLOCK)
    }
    assert places == set(range(BLOCK))


@pytest.mark.parametrize("stated", STATED)
def test_a_wealth_that_falls_again_within_the_block_has_rejected(stated):
    x = torch.cat([torch.ones(10, 1), torch.zeros(10, 1)]).double()
    null = null_of(alpha=0.2, **stated)
    assert same(x, null) <= 10
    assert running_log_wealth(x, null)[0][-1] < null.threshold


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_inside_a_block_is_never_below_the_capital(stated, sign):
    """Bet by bet, sample by sample, for each sign and random numbers within the bounds."""
    torch.manual_seed(3)
    null = null_of(d=5, tolerance=0.01, **stated)
    x = 0.5 + sign * (torch.rand(50 * BLOCK, 5, dtype=torch.float64) - 0.5)
    capitals = Capitals(null)
    _, gains = capitals._betting(x, BLOCK) if stated is BOUNDS else capitals._catoni(x, BLOCK)
    inside = null.log_factors(x).view(50, BLOCK, -1, 5).cumsum(1).amax(1)
    assert (inside <= gains.flatten(0, 1).movedim(1, 0) + 1e-12).all()


@pytest.mark.parametrize("stated", STATED)
def test_an_unbiased_run_computes_the_wealth_after_each_of_few_samples_only(stated, monkeypatch):
    seen = []

    def counted(x, null, start=None):
        seen.append(len(x))
        return running_log_wealth(x, null, start)

    monkeypatch.setattr(wealth, "running_log_wealth", counted)
    report = sequential_test(lambda n: bits(n, 3, 0.5), torch.full((3,), 0.5), max_samples=20_000, **stated)
    assert not report.rejected
    assert sum(seen) <= 5 * BLOCK
    assert sequential_test(lambda n: bits(n, 3, 0.52), torch.full((3,), 0.5), **stated).rejected
    assert seen


@pytest.mark.parametrize("place", [0, 7, 19, 20, 500])
@pytest.mark.parametrize("value", [1e15, 1e90, 1e155, 1e300, -1e300])
def test_a_number_whose_products_overflow_is_looked_at_by_itself(place, value):
    torch.manual_seed(0)
    x = bits(600, 1, 0.5)
    x[place] = value
    same(x, null_of(alpha=1e-9, **VARIANCE))


def test_one_product_for_both_signs_is_taken_for_a_tolerance_of_rounding_only():
    for tolerance, rows in ((0.0, 2), (2e-16, 2), (1e-10, 4)):
        assert len(Capitals(null_of(3, 1e-9, tolerance, **VARIANCE))._largest) == rows


def test_one_product_for_both_signs_never_adds_capital(monkeypatch):
    """Shown for a tolerance that is large enough to be seen."""
    monkeypatch.setattr(wealth, "_ROUNDING", 1.0)
    torch.manual_seed(0)
    x, null = LAWS["right"](2000, 3), null_of(3, 1e-9, 1e-3, **VARIANCE)
    capitals = Capitals(null)
    capitals.take(x)
    exactly = running_log_wealth(x, null)[1].view_as(capitals.logs)
    most = 2000 * 1e-3 * null.side(1)[1][:, None, None]
    assert (capitals.logs <= exactly + 1e-8).all()
    assert (capitals.logs >= exactly - most - 1e-8).all()


def test_many_coordinates_are_taken_in_shorter_blocks(monkeypatch):
    monkeypatch.setattr(wealth, "ELEMENTS", 40)
    for d, block in ((1, 20), (10, 4), (100, 1)):
        null = null_of(d, 0.05, **BOUNDS)
        assert Capitals(null)._block == block
        torch.manual_seed(d)
        same(bits(200, d, 0.7), null)


def test_the_report_says_what_the_wealth_was_at_the_rejection():
    x = bits(3000, 2, 0.6)
    parts = iter(x.split(1000))
    report = sequential_test(lambda n: next(parts), torch.full((2,), 0.5), bounds=(0, 1), tolerance=0.0)
    used, after = by_each(x, null_of(2, 1e-9, **BOUNDS))
    assert (report.rejected, report.samples) == (True, used)
    assert report.log_wealth == pytest.approx(float(after.amax()), rel=1e-12)
    assert report.coordinate == int(after.argmax())
    assert report.mean == pytest.approx(float(x[:used, report.coordinate].mean()))
    assert math.isfinite(report.log_wealth)
