"""Functions of functions of functions: written out they have 2^n parts, and what is kept of them is few."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive.kernel import algebra
from derive.kernel.algebra import tidy
from derive.language.depth import MOST_NODES, nodes
from derive.language.errors import NotEvaluable, TooLong
from derive.language.estimator import Estimator
from derive.language.term import Term
from derive.laws.models import SymbolicModel
from derive.notation import E, constant, exp, finite, function, grad, parameter, score, sigmoid
from derive.numbers.ring import PolynomialRing, ball, bounds
from derive.numbers.unknowns import Value, readable
from derive.printing import html, latex, text
from derive.sharing import MOST_WRITTEN, rank
from derive.verdicts.prover import prove

THETA, C, F = parameter("theta"), constant("c"), function("f")
B = finite("b", THETA)


def nested(depth: int, inner: Term, of=sigmoid) -> Term:
    return inner if depth == 0 else of(nested(depth - 1, inner, of))


def twice(x: Term) -> Term:
    """What holds its argument in two places."""
    return exp(x) + x


@pytest.mark.parametrize("depth", [12, 24, 36])
def test_sigmoids_in_one_another_are_proved_and_refuted(depth):
    value = nested(depth, F(B))
    target = grad(E(value, B), THETA)
    assert prove(Estimator("mine", value * score(B), (B,), target)).verdict == "proved"
    wrong = prove(Estimator("mine", 2 * value * score(B) + value, (B,), target))
    assert (wrong.verdict, wrong.witness is not None) == ("refuted", True)
    assert len(str(wrong)) < 10_000
    assert len(str(wrong.to_json())) < 1_000_000


@pytest.mark.parametrize("depth", [8, 30])
def test_sigmoids_of_a_constant_are_decided_at_any_depth(depth):
    value = nested(depth, C) * F(B)
    target = grad(E(value, B), THETA)
    assert prove(Estimator("mine", value * score(B), (B,), target)).verdict == "proved"
    assert prove(Estimator("mine", 2 * value * score(B) + value, (B,), target)).verdict == "refuted"


def test_sigmoids_of_the_parameter_are_differentiated_once_each_and_not_expanded_without_a_limit():
    value = nested(9, THETA)
    target = grad(E(F(B) * value, B), THETA)
    assert prove(Estimator("mine", F(B) * score(B) * value + F(B) * grad(value, THETA), (B,), target)).verdict == "proved"


def test_fractions_are_brought_over_one_denominator_only_where_that_is_feasible(monkeypatch):
    """What is made is bounded before a common factor is looked for, and products are before they are made."""
    one, other, few, many, third = (
        sum((constant(f"{name}{i}") for i in range(1, count)), constant(name))
        for name, count in {"a": 400, "d": 400, "k": 300, "m": 300, "r": 20}.items()
    )
    with pytest.raises(TooLong, match="up to 160000 terms"):
        tidy(1 / one + 1 / other)
    reduced, made = algebra._reduced, []
    monkeypatch.setattr(algebra, "_reduced", lambda top, bottom: made.append(len(bottom)) or reduced(top, bottom))
    with pytest.raises(TooLong, match="up to 1800000 terms"):
        tidy((1 / few) * (1 / many) + 1 / third)
    assert max(made) < 1_800_000


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_towers_of_exponentials_have_values_that_nobody_writes(depth):
    value = nested(depth, F(B), twice)
    wrong = Estimator("mine", 2 * value * score(B) + value, (B,), grad(E(value, B), THETA))
    assert prove(wrong).verdict in {"refuted", "undecided"}


def test_a_ball_of_astronomical_size_has_no_decimals_and_a_tiny_one_is_zero():
    with pytest.raises(NotEvaluable, match="more digits than can be written"):
        bounds((ball(10) ** 9).exp())
    assert bounds((-(ball(10) ** 9)).exp(), digits=3) == (0, Fraction(2, 1000))


@pytest.mark.parametrize("printed", [text.render, latex.render, html.render])
def test_a_term_that_is_too_large_to_be_printed_says_how_large_it_is(printed):
    large, largest = nested(8, C, twice), nested(13, C, twice)
    assert nodes(large) <= MOST_NODES < nodes(largest)
    assert "parts" not in printed(large, ())
    assert f"a term of {nodes(largest):,} parts" in printed(largest, ())


def test_nodes_are_in_the_order_of_what_they_are_written_as_and_huge_ones_in_some_order():
    short = [C, F(B), exp(C) * score(B), E(F(B), B)]
    assert list(map(rank, short)) == list(map(repr, short))
    huge = [nested(40, leaf, twice) for leaf in (C, THETA, C + 1, C * 2)]
    assert all(nodes(one) > MOST_WRITTEN for one in huge)
    assert len(set(map(rank, huge))) == len(huge)
    assert {len(rank(one)) for one in huge} == {64}


def test_values_with_long_names_have_names_of_their_own():
    model = SymbolicModel(PolynomialRing(200), 2, "theta")

    def deep(name: str) -> Value:
        scalar = model.symbol(name)
        for _ in range(30):
            scalar = model.exp(scalar) * model.inverse(model.exp(scalar) + model.one)
        return model.freeze(scalar)

    (one,), (other,) = ([key for _, powers in deep(name).terms for key, _ in powers][:1] for name in ("a", "b"))
    names = [readable(key, "theta") for key in (one, other)]
    assert names[0] != names[1]
    assert max(map(len, names)) < 5_000
