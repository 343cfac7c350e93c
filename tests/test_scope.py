"""Substitution never captures, and equality does not see bound names: where SymPy's binders fail, ours do not."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

from derive.language.errors import NotExact, ScopeError, UsageError
from derive.language.scope import alpha_equal, canonical, depends, free, scoped, substitute
from derive.language.term import Expect, Function, Grad, RandomVariable, Stop, Symbol
from derive.notation import E, Over, constant, copies, finite, function, grad, p, parameter, relaxation, score, uniform

theta, x, y = parameter("theta"), constant("x"), constant("y")
b = finite("b", theta)
first, second = copies(b, 2)
f = function("f")
u = uniform("u")
relaxed = relaxation(b)


def test_substitution_does_not_capture_where_sympy_does():
    i, j = sympy.symbols("i j")
    assert sympy.Sum(i * j, (i, 1, 3)).subs(j, i).doit() == 14  # the right answer is 6*i

    ours = substitute(Over(f(first) * x, first), {x: f(first)})
    assert first in free(ours)
    assert ours.variable != first
    assert alpha_equal(ours, Over(f(second) * f(first), second))


def test_equality_does_not_see_bound_names_where_sympy_does():
    i, j = sympy.symbols("i j")
    assert sympy.Sum(i, (i, 1, 3)) != sympy.Sum(j, (j, 1, 3))

    assert Over(f(first), first) != Over(f(second), second)
    assert alpha_equal(Over(f(first), first), Over(f(second), second))
    assert not alpha_equal(Over(f(first), first), Over(f(first), second))


def test_a_gradient_does_not_pass_a_sum_unasked_where_sympys_does():
    t, i = sympy.symbols("t i")
    assert isinstance(sympy.Integral(sympy.sin(t * i) / i, (i, 0, sympy.oo)).diff(t), sympy.Integral)

    assert isinstance(grad(Over(p(b) * f(b), b), theta), Grad)


def test_a_quotient_of_expectations_is_not_cancelled_when_it_is_written():
    mean = E(f(b), b)
    assert mean / mean != 1
    assert (0 * mean).args[1] == mean


def test_a_bound_variable_is_not_free_but_the_parameters_of_its_law_are():
    assert free(E(f(b) * x, b)) == {theta, x}
    assert free(f(b)) == {b}
    assert not depends(E(f(b), b), b)


@pytest.mark.parametrize(
    ("term", "leaf", "value"),
    [
        (grad(x * theta, theta), x, theta),
        (grad(f(b) * theta, theta), b, theta + x),
        (score(finite("a", theta, law="q", given=(b,)), theta), b, theta + x),
        (Stop(f(b)), b, x + u),
        (Stop(f(b)), b, relaxed.H(relaxed.h(u, theta))),
    ],
)
def test_a_value_that_moves_is_refused_where_its_leaf_is_held_fixed(term, leaf, value):
    """Freezing the value would do for this derivative, and be wrong for the next one outside."""
    with pytest.raises(ScopeError, match=r"holds . fixed"):
        substitute(term, {leaf: value})


def test_a_value_that_does_not_move_is_held_fixed_as_it_is():
    assert substitute(grad(x * theta, theta), {x: y}) == grad(y * theta, theta)
    assert substitute(Stop(f(b)), {b: u}) == Stop(f(u))
    assert substitute(Stop(f(x)), {x: theta}) == Stop(f(theta))
    assert substitute(score(b, at=x), {x: theta}) == score(b, at=theta), "the point of a score is not differentiated"


@pytest.mark.parametrize("term", [grad(theta * y, theta), score(finite("b", theta, y), theta)])
def test_a_parameter_of_differentiation_is_not_renamed_to_one_that_stands_there(term):
    with pytest.raises(ScopeError, match="holds y fixed"):
        substitute(term, {theta: y})


def test_no_binder_binds_a_condition_of_a_variable_outside_it():
    inner = finite("a", theta, law="q", given=(b,))
    assert scoped(Expect(Expect(f(inner, b), inner), b))
    for term in (Expect(Expect(f(inner, b), b), inner), Expect(f(inner), b), grad(Over(p(inner) * f(b), b), theta)):
        with pytest.raises(ScopeError, match="b is bound inside the scope of a"):
            scoped(term)


def test_a_part_of_a_canonical_term_captures_nothing():
    part = canonical(E(f(first), first)).body
    assert free(canonical(Expect(f(first) * part, first))) == free(part) | {theta}
    nested = Expect(Expect(f(first, second), second) - Expect(f(second, second), second), first)
    assert all(canonical(inner) == inner for inner in (canonical(nested), canonical(nested).body))


@pytest.mark.parametrize("name", ["", " ", "#0", "log(2 pi)", "a(b", 3])
def test_names_that_gradproof_makes_cannot_be_given(name):
    for make in (Symbol, Function, lambda name: RandomVariable(name, b.law)):
        with pytest.raises(UsageError, match="is no name"):
            make(name)


def test_a_threshold_needs_no_freezing_since_it_is_piecewise_constant():
    hard = relaxed.H(relaxed.h(u, theta))
    assert substitute(grad(f(b, theta), theta), {b: hard}) == grad(f(hard, theta), theta)


def test_a_parameter_of_differentiation_can_be_renamed_but_not_replaced():
    assert substitute(grad(theta * x, theta), {theta: y}) == grad(y * x, y)
    assert substitute(score(b), {theta: y}).parameter == y
    with pytest.raises(ScopeError, match="can be renamed, not replaced"):
        substitute(grad(theta * x, theta), {theta: x + y})


def test_substituting_in_the_law_of_a_bound_variable_keeps_it_bound():
    moved = substitute(E(f(b), b), {theta: y})
    assert moved == E(f(finite("b", y)), finite("b", y))


@pytest.mark.parametrize(
    "term", [E(f(first) * E(f(second) * x, second), first), Over(p(b) * score(b), b), grad(E(f(b, theta), b), theta)]
)
def test_the_canonical_form_is_stable_and_equal_to_the_term(term):
    assert canonical(canonical(term)) == canonical(term)
    assert alpha_equal(canonical(term), term)


def test_nested_binders_of_one_name_shadow_from_the_inside():
    nested = Expect(Expect(f(b), b) * f(b), b)
    assert alpha_equal(nested, Expect(Expect(f(second), second) * f(first), first))


@pytest.mark.parametrize("inexact", [0.5, float("nan"), 1j, "1/2", True])
def test_inexact_numbers_are_refused(inexact):
    with pytest.raises(NotExact, match="formulas are exact"):
        x + inexact


def test_exact_numbers_of_every_kind_are_taken():
    assert x + 1 - Fraction(1, 3) == x + 1 + Fraction(-1, 3)


def test_dividing_by_zero_and_general_powers_are_refused():
    with pytest.raises(NotExact, match="division by zero"):
        x / 0
    with pytest.raises(NotExact, match="powers are integers"):
        x ** Fraction(1, 2)
