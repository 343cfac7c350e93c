"""What is remembered of polynomials, and in how large a ring a comparison starts, changes how long it takes and no answer."""

from __future__ import annotations

from random import Random

import pytest

from derive.catalogue import catalogue
from derive.exact import comparison, views
from derive.exact.evaluate import Reader
from derive.language.errors import NotEvaluable
from derive.laws.models import SymbolicModel
from derive.notation import E, exp, finite, function, log, parameter
from derive.numbers.ring import MOST_KNOWN, PolynomialRing

theta = parameter("theta")
b, f = finite("b", theta), function("f")


def polynomial(random: Random, ring: PolynomialRing):
    """A polynomial in generators of which the name of one begins like that of another."""
    result = ring.zero
    for _ in range(random.randrange(5)):
        term = ring.number(random.choice([1, -1, 2, -12]))
        for _ in range(random.randrange(4)):
            term = term * ring.generator(random.randrange(13)) ** random.randrange(1, 12)
        result = result + term
    return result


def test_what_is_remembered_of_a_polynomial_is_what_is_found_anew():
    ring = PolynomialRing(13)
    for number in range(13):
        ring.generator(number)
    for seed in range(500):
        one = polynomial(Random(seed), ring)
        assert ring.terms(one) == ring._terms(one)
        assert ring.used(one) == tuple(sorted({index for exponents, _ in ring.terms(one) for index, _ in exponents}))


def test_a_long_polynomial_is_not_written_out_to_be_remembered():
    ring = PolynomialRing(MOST_KNOWN + 1)
    long = sum((ring.generator(number) for number in range(MOST_KNOWN + 1)), ring.zero)
    assert len(ring.terms(long)) == MOST_KNOWN + 1
    assert not ring._known


def test_what_has_no_value_has_none_when_it_is_asked_again():
    model = SymbolicModel(PolynomialRing(8), 2, "theta")
    for ask in (model.log, model.inverse) * 2:
        with pytest.raises(NotEvaluable):
            ask(model.zero)
    assert model.log(model.one) == model.zero


@pytest.fixture
def capacities(monkeypatch):
    """How large the rings of comparisons were, one after the other."""
    found = []

    class Noted(PolynomialRing):
        def __init__(self, capacity):
            found.append(capacity)
            super().__init__(capacity)

    monkeypatch.setattr(views, "PolynomialRing", Noted)
    monkeypatch.setattr(views, "_NEEDED", {})
    return found


def test_more_outcomes_start_in_a_ring_in_which_fewer_had_room(capacities):
    estimator = catalogue["vimco"].with_samples(3)
    comparison.check(estimator, 2)
    capacities.clear()
    after = comparison.check(estimator, 3)
    started, ended = capacities[0], capacities[-1]
    capacities.clear()
    views._NEEDED.clear()
    assert comparison.check(estimator, 3) == after
    assert (capacities[0], capacities[-1]) == (8 + 3 * 3, ended)
    assert started in capacities[1:]


def test_fewer_outcomes_start_as_if_nothing_had_been_compared(capacities):
    term = E(log(1 + exp(f(b))) * f(b), b)
    comparison.compare(term, term, theta, 4)
    capacities.clear()
    comparison.compare(term, term, theta, 2)
    assert capacities[0] == 8 + 3 * 2


def test_what_is_remembered_of_terms_does_not_grow(capacities, monkeypatch):
    monkeypatch.setattr(views, "_MOST_NEEDED", 3)
    for number in range(8):
        comparison.compare(E(f(b) + number, b), E(f(b), b), theta, 2)
    assert len(views._NEEDED) <= 3


def test_which_copies_are_alike_is_found_once_for_all_rings(monkeypatch):
    asked = []
    compared = Reader._compare_orders

    def noted(self, chain, places, order):
        asked.append((chain[0], order))
        return compared(self, chain, places, order)

    monkeypatch.setattr(Reader, "_compare_orders", noted)
    monkeypatch.setattr(views, "_NEEDED", {})
    assert comparison.check(catalogue["vimco"].with_samples(4), 2).zero
    assert len(asked) == len(set(asked)) > 0
