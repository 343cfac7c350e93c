"""log p(x) >= L_K >= L_M for K >= M, and L_K goes to log p(x): certified on finite latent variables."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings, strategies as st

from derive.language.errors import TooLarge, UsageError
from derive.laws.bounds import FiniteLatent
from derive.numbers.enclosures import Enclosure
from derive.strategies import probabilities, tables

HALF = Fraction(1, 2)
TWO = FiniteLatent((HALF, HALF), (Fraction(1, 8), Fraction(3, 8)))
SKEWED = FiniteLatent((Fraction(9, 10), Fraction(1, 10)), (Fraction(1, 20), Fraction(7, 20)))
THREE = FiniteLatent((Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)), (Fraction(1, 10), Fraction(1, 5), Fraction(1, 4)))
CASES = [TWO, SKEWED, THREE]
SAMPLES = range(1, 9)


def by_enumeration(latent, samples):
    """L_K over all tuples, in floating point."""
    mean = 0.0
    for draw in product(range(len(latent.proposal)), repeat=samples):
        chance = math.prod(float(latent.proposal[k]) for k in draw)
        mean += chance * math.log(sum(float(latent.weights[k]) for k in draw) / samples)
    return mean


@pytest.mark.parametrize("latent", CASES)
def test_a_bound_is_that_of_plain_enumeration(latent):
    for samples in range(1, 6):
        assert float(latent.bound(samples).middle) == pytest.approx(by_enumeration(latent, samples), abs=1e-12)


def test_the_bound_of_one_sample_is_the_evidence_lower_bound():
    """With q = 1/2 and weights 1/4 and 3/4, L_1 = log(3/16) / 2."""
    assert float(TWO.bound(1).middle) == pytest.approx(math.log(3 / 16) / 2, abs=1e-14)


@pytest.mark.parametrize("latent", CASES)
def test_the_evidence_exceeds_every_bound(latent):
    assert all(latent.gap(samples).above(0) for samples in SAMPLES)


@pytest.mark.parametrize("latent", CASES)
def test_more_samples_give_a_larger_bound(latent):
    for fewer in SAMPLES:
        assert all(latent.gain(more, fewer).above(0) for more in SAMPLES if more > fewer)
        assert latent.gain(fewer, fewer) == Enclosure(Fraction(0))


@pytest.mark.parametrize("latent", CASES)
def test_the_gap_goes_to_zero_under_its_bound_and_at_its_rate(latent):
    counts = [2**n for n in range(7)]
    gaps = [latent.gap(count) for count in counts]
    assert all(gap.below(latent.largest_gap(count)) for count, gap in zip(counts, gaps, strict=True))
    assert latent.largest_gap(64) == latent.largest_gap(1) / 64
    errors = [abs(count * gap.middle - latent.limit_of_gap) for count, gap in zip(counts, gaps, strict=True)]
    assert errors[-1] < errors[-2] * Fraction(3, 4)
    assert errors[-1] < latent.limit_of_gap / 5


def test_where_all_weights_are_equal_the_bound_is_exactly_the_evidence():
    posterior = FiniteLatent((Fraction(1, 4), Fraction(3, 4)), (Fraction(1, 8), Fraction(3, 8)))
    assert [posterior.gap(samples) for samples in (1, 2, 5)] == [Enclosure(Fraction(0))] * 3
    assert posterior.variance == 0


def test_an_enclosure_is_narrow_and_contains_the_logarithm():
    """log p(x) = log(1/2), and its gap to L_1 is log(1/2) - log(3/16) / 2 = log(4/3) / 2."""
    gap = TWO.gap(1)
    assert gap.radius < Fraction(1, 10**20)
    assert float(gap.middle) == pytest.approx(math.log(4 / 3) / 2, abs=1e-15)


@given(st.data(), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_no_small_case_contradicts_the_inequalities(data, samples, more):
    law = data.draw(probabilities((2, 3)))
    positive = st.fractions(Fraction(1, 9), 3, max_denominator=9)
    latent = FiniteLatent(law, data.draw(tables(len(law), positive)))
    differences = latent.gap(samples), latent.gain(samples + more, samples)
    assert all(one == Enclosure(Fraction(0)) if latent.variance == 0 else one.above(0) for one in differences)
    assert not latent.gap(samples).above(latent.largest_gap(samples))


def test_an_enclosure_claims_only_what_lies_outside_of_its_radius():
    near = Enclosure(HALF, Fraction(1, 4))
    assert [near.above(Fraction(n, 8)) for n in (1, 2, 3)] == [True, False, False]
    assert [near.below(Fraction(n, 8)) for n in (5, 6, 7)] == [False, False, True]
    assert [near.contains(Fraction(n, 8)) for n in (1, 2, 4, 6, 7)] == [False, True, True, True, False]


def test_bad_arguments_are_refused():
    with pytest.raises(UsageError, match="equal lengths"):
        FiniteLatent((HALF, HALF), (HALF,))
    with pytest.raises(UsageError, match="sum to 1"):
        FiniteLatent((HALF, HALF, HALF), (HALF, HALF, HALF))
    with pytest.raises(UsageError, match="at least 1"):
        TWO.bound(0)
    with pytest.raises(TooLarge, match="more than the 100000"):
        THREE.bound(500)
