"""Nodes that are written alike are one object, of which everything is computed once, and no answer depends on it."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from random import Random

import pytest

from derive import sharing
from derive.catalogue import catalogue
from derive.kernel.algebra import added, denominators, monomials, tidy
from derive.language.errors import NotExact, RuleError, UsageError
from derive.language.scope import canonical, substitute
from derive.language.term import Add, BoundName, FiniteLaw, Number, RandomVariable, Symbol, parts, rebuild
from derive.notation import E, constant, copies, exp, finite, function, parameter, score
from derive.verdicts.prover import prove
from tests.test_kernel_properties import term

theta, c, d = parameter("theta"), constant("c"), constant("d")
b, f = finite("b", theta), function("f")


def test_what_is_written_twice_is_one_object():
    assert exp(f(b) + c) * score(b) is exp(f(b) + c) * score(b)
    assert E(f(b), b) is not E(f(b) + 0 * c, b)


def test_nodes_that_are_equal_and_hold_something_else_stay_apart():
    """`==` leaves out for which variable a law was made, which is printed."""
    named, unnamed = (RandomVariable("b", FiniteLaw("p", (theta,), (), default)) for default in ("b", ""))
    assert named == unnamed
    assert named is not unnamed
    assert (named.law.default_of, unnamed.law.default_of) == ("b", "")


def test_a_number_that_is_refused_leaves_an_equal_one_as_it_was():
    half = Number(Fraction(1, 2))
    with pytest.raises(NotExact):
        Number(0.5)
    assert (type(half.value), Number(Fraction(1, 2))) == (Fraction, half)
    assert Number(2) is Number(Fraction(2))


def test_what_is_refused_once_is_refused_again():
    refusals = []
    for _ in range(2):
        with pytest.raises(Exception, match="no name") as refused:
            Symbol("#0")
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]


def test_a_name_that_only_gradproof_gives_lets_no_user_give_it():
    made = RandomVariable(BoundName("#7"), b.law)
    with pytest.raises(UsageError, match="is no name"):
        RandomVariable("#7", b.law)
    assert RandomVariable(BoundName("#7"), b.law) is made


def test_nodes_from_before_the_table_was_emptied_are_equal_to_those_after(monkeypatch):
    before = f(b) + c
    monkeypatch.setattr(sharing, "MOST_SHARED", 0)
    Symbol("one that was never made before")
    after = f(b) + c
    assert after is not before
    assert (after == before, hash(after) == hash(before), tidy(after - before)) == (True, True, Number(Fraction(0)))


def test_a_node_that_was_copied_is_equal_and_brings_nothing_that_was_remembered():
    whole = E(f(b) * score(b), b)
    canonical(whole)
    back = deepcopy(whole)
    assert back == whole
    assert all(not name.startswith("_") for name in vars(back))


def test_a_node_with_the_parts_that_it_has_is_itself_and_with_fewer_it_is_not():
    whole = Add((c, d, f(b)))
    assert rebuild(whole, parts(whole)) is whole
    assert rebuild(whole, (c, d)) == Add((c, d))


def test_forgetting_leaves_nothing_that_was_remembered():
    whole = E(f(b) * score(b), b)
    tidy(whole)
    assert any(name.startswith("_") for name in vars(whole))
    sharing.forget()
    assert not any(name.startswith("_") for name in vars(whole))
    assert canonical(whole) == canonical(E(f(b) * score(b), b))


def test_two_functions_of_one_name_are_not_remembered_under_it():
    def free(whole):
        return whole

    with pytest.raises(TypeError, match="two functions called free cannot both be remembered"):
        sharing.remembered(free)


def test_a_part_that_stands_twice_is_substituted_where_it_is_free_only():
    first, second = copies(b, 2)
    inside = f(first) + E(f(first) * f(second), first)
    put = substitute(inside + f(first), {first: c})
    assert put == f(c) + E(f(first) * f(second), first) + f(c)
    pair, renamed = f(c, first), RandomVariable(f"{first.name}_1", first.law)
    assert substitute(pair + E(pair, first), {c: first}) == f(first, first) + E(f(first, renamed), renamed)


def test_a_normal_form_is_its_own():
    """So it need not be read again, which is what `tidy` remembers."""
    seen = 0
    for seed in range(400):
        whole = term(Random(seed), (b,), depth=3)
        try:
            found, again = monomials(whole), monomials.__wrapped__(tidy(whole))
        except RuleError:
            continue
        assert again == found
        seen += len(found) > 1
    assert seen > 50


def test_a_sum_is_made_at_once_as_it_is_step_by_step():
    for terms in ([c], [c, d], [c + d, f(b), c], [c * d, c + d]):
        assert added(terms) == sum(terms[1:], start=terms[0])
    assert added([]) == Number(Fraction(0))


def test_a_denominator_is_named_once():
    assert denominators(1 / c + f(b) / c + 1 / d) == (c, d)


def test_leave_one_out_of_32_samples_is_proved():
    found = prove(catalogue["leave-one-out"].with_samples(32), outcomes=(2,))
    assert (found.verdict, found.holds_for) == ("proved", "every law that meets the assumptions")
