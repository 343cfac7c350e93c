"""A verdict that holds lists what it needs: also what cancels must have a value, and what fails is no condition."""

from __future__ import annotations

from dataclasses import replace

import pytest

import derive
from derive.estimator import Estimator
from derive.kernel import premises, tails
from derive.kernel.algebra import monomials
from derive.kernel.premises import EVERYTHING, HOLDS, Covers, Dominated, Integrable, NonZero, Positive, consult
from derive.kernel.theorem import algebra
from derive.language.errors import PremiseError
from derive.notation import E, constant, exp, finite, function, grad, log, normal, p, parameter, score, uniform
from derive.verdicts.conditions import Conditions, conditions_of
from derive.verdicts.folding import folded

theta, c, d = parameter("theta"), constant("c"), constant("d")
b, u, e = finite("b", theta), uniform("u"), normal("e")
f, g = function("f", differentiable=True), function("g")
target = grad(E(f(b), b), theta)


def baseline(value):
    return Estimator("baseline", (f(b) - value) * score(b), (b,), target)


# What takes which signs


@pytest.mark.parametrize("x", [2 + c + u, c + u, 1 + c + d + 2 * u, c + e**2 + d * e**2 + 1])
def test_a_coefficient_that_is_no_number_has_no_sign(x):
    root = exp(-log(1 / x**2) / 2)
    with pytest.raises(PremiseError):
        algebra(root, x)
    assert consult(Positive(x)).needs <= algebra(root, x, assuming=EVERYTHING).assumptions


def test_a_coefficient_that_overwrites_another_makes_a_false_theorem(monkeypatch):
    def overwriting(term, variable):
        split = [(coefficient, dict(factors)) for coefficient, factors in monomials(term)]
        return {factors.get(variable, 0): coefficient for coefficient, factors in split}

    x = 2 + c + u
    monkeypatch.setattr(tails, "_coefficients", overwriting)
    assert not any(isinstance(one, Positive) for one in algebra(exp(-log(1 / x**2) / 2), x, assuming=EVERYTHING).assumptions)


@pytest.mark.parametrize("x", [1 + c**2, c**2 * d**2 + exp(d), e**2 + 1, (c**2 + 1) ** 3, log(c) ** 2 + 2])
def test_a_sum_of_what_is_not_negative_is_positive_if_a_part_is(x):
    assert consult(Positive(x)) == consult(NonZero(x)) == consult(NonZero(-x)) == HOLDS
    assert consult(Positive(-x)).failure


@pytest.mark.parametrize("x", [c**2 + d**2, c**2 - 1, 1 + c**2 - d**2, c + 1, 1 + c**3])
def test_a_sum_that_may_be_zero_is_not_decided(x):
    assert consult(Positive(x)).needs
    assert consult(NonZero(x)).needs


def test_an_even_power_may_be_zero_but_is_not_negative():
    assert consult(Positive(-(c**2))).failure
    assert consult(NonZero(-(c**2))).needs


@pytest.mark.parametrize("x", [1 / u, c / u**2, 1 / u + u])
def test_one_over_a_uniform_variable_has_no_mean_at_a_bound_of_zero(x):
    assert consult(Integrable(u, x)).failure
    assert consult(Integrable(u, p(u) * x)).failure


@pytest.mark.parametrize(("variable", "x"), [(uniform("x", 1, 2), 1), (uniform("y", c, 3), 1), (u, f(u)), (u, exp(u) - 1)])
def test_a_pole_elsewhere_or_beside_another_function_is_not_refuted(variable, x):
    assert not consult(Integrable(variable, x / variable)).failure


def test_what_a_normal_density_divides_has_no_mean():
    assert consult(Integrable(e, p(e) * (1 / p(e)))).failure
    assert consult(Integrable(e, c * e**2)).failure
    assert not consult(Integrable(e, p(e) * (exp(-(e**2)) / p(e)))).failure


# What cancels


@pytest.mark.parametrize("value", [E(1 / u, u), E(1 / p(e), e), E(exp(e**2), e), log(-1 - c**2), E(log(-(c**2) - u), u)])
def test_a_baseline_without_a_value_is_undecided_and_the_condition_that_fails_is_named(value):
    verdict = derive.prove(baseline(value))
    assert (verdict.verdict, verdict.conditions) == ("undecided", ())
    assert any(" fails, because " in line for line in verdict.tried)


UNSEEN = {Integrable(e, p(e) * exp(exp(e**2))): E(exp(exp(e**2)), e), Positive(c): log(c)}


@pytest.mark.parametrize("needed", UNSEEN, ids=lambda needed: needed.name)
def test_a_baseline_that_cancels_must_have_a_value(needed):
    verdict = derive.prove(baseline(UNSEEN[needed]))
    assert verdict.derivation is not None
    assert needed in verdict.conditions
    assert needed not in verdict.assumptions


def test_a_law_whose_scale_may_be_negative_is_a_condition(monkeypatch):
    scaled = replace(baseline(0), formula=f(normal("n", 0, c)) * score(b), draws=(b, normal("n", 0, c)))
    assert Positive(c) in conditions_of(scaled).needed
    monkeypatch.setattr(premises, "_normalised", lambda variable: HOLDS)
    assert Positive(c) not in conditions_of(scaled).needed


# What is folded


def test_an_integral_of_a_sum_is_implied_by_those_of_its_summands():
    f_, g_, both = Integrable(u, f(u)), Integrable(u, g(u)), Integrable(u, 2 * f(u) - c * g(u) + 3)
    assert folded([both, f_, g_], frozenset()) == folded([f_, g_], frozenset())
    assert folded([both], frozenset({f_, g_})) == ()
    assert folded([both], frozenset({f_})) == (g_,)
    assert folded([both], frozenset()) == (both,)


def test_an_integral_that_is_not_implied_is_kept():
    f_, g_ = Integrable(u, f(u)), Integrable(u, g(u))
    assert folded([g_], frozenset({f_})) == (g_,)
    assert folded([Integrable(u, f(u) * g(u))], frozenset({f_, g_})) == (Integrable(u, f(u) * g(u)),)


def test_a_derivative_is_dominated_where_those_of_the_summands_are():
    x = f(theta * u)
    inside, value = Dominated(u, x, theta), Integrable(u, x)
    assert folded([Dominated(u, 2 * x + 1, theta)], frozenset({inside})) == ()
    assert folded([Dominated(u, theta * x, theta)], frozenset({inside})) == (value,)
    assert folded([Dominated(u, theta * f(u), theta)], frozenset()) == (Integrable(u, f(u)),)
    assert folded([Dominated(u, theta * f(u) + c, theta)], frozenset({Integrable(u, f(u))})) == ()


def test_a_mean_inside_is_taken_summand_by_summand():
    z = normal("z", u, 1)
    nested = Integrable(u, E(f(z) * c + g(b) * score(b), z))
    assert folded([nested], frozenset({Integrable(u, E(f(z), z))})) == ()
    assert folded([nested], frozenset()) == (Integrable(u, E(f(z), z)),)


def test_rebar_prints_no_condition_that_its_assumptions_imply():
    verdict = derive.prove(derive.catalogue["rebar"])
    assert verdict.verdict == "proved"
    assert verdict.conditions == ()


def test_beside_a_derivation_stands_what_it_does_not_assume():
    q = finite("a", law="q")
    held = Conditions((Positive(c), Integrable(u, f(u) + 1), Covers(p(q), p(b, at=q))))
    assert held.beside(frozenset({Integrable(u, f(u))})) == (Positive(c),)
