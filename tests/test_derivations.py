"""Every line of every derivation equals the line before it for the two other judges too, on at least two models of each."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise

import pytest

from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.instances import compare, opinions
from derive.kernel.recheck import recheck
from derive.language.scope import alpha_equal
from derive.language.term import Number
from derive.proofs.calc import Line
from derive.proofs.tactic import find

PROVED = [name for name in catalogue if catalogue[name].verdict == "proved"]
DERIVED = [name for name in PROVED if catalogue[name].derivation is not None]
MODELS = {name: [{"outcomes": 2}, {"outcomes": 3}] for name in PROVED} | {
    name: [{"outcomes": 2, "degree": 2}, {"outcomes": 2, "degree": 4}] for name in ("pathwise", "sgvb")
}
RELAXED = {"ConditionalReparameterization", "Differentiable", "Dominated", "Integrable"}
MEANT = {
    "score-function": {"Differentiable"},
    "constant-baseline": {"Differentiable"},
    "control-variate": {"Differentiable"},
    "pathwise": {"Differentiable", "Dominated", "Positive"},
    "rebar": RELAXED | {"Positive"},
    "elbo-score-function": {"Differentiable"},
    "sgvb": {"Dominated", "Positive"},
    "iwae": {"Dominated", "Positive"},
    "rebar-variance-eta": RELAXED | {"Positive"},
    "rebar-variance-lambda": RELAXED | {"Positive"},
    "relax-variance-phi": RELAXED,
    "relax": RELAXED,
    "importance-sampling": {"Covers", "Differentiable", "Positive"},
    "policy-surrogate": {"Differentiable"},
    "dice": {"Differentiable"},
    "thermodynamic-exact-evidence": {"Differentiable", "NonZero"},
}


@cache
def derivation_of(name):
    return catalogue[name].derivation()


def test_the_meant_assumptions_are_listed_for_every_hand_written_derivation():
    assert set(DERIVED) == set(MEANT)


@pytest.mark.parametrize("name", DERIVED)
def test_each_line_equals_the_one_before_it_in_the_exact_evaluator(name):
    estimator = catalogue[name]
    lines = derivation_of(name).lines
    for before, after in pairwise(lines):
        for model in MODELS[name]:
            assert exact.identically_equal(before.term, after.term, estimator.parameter, **model), (after.rule, model)


@pytest.mark.parametrize("name", DERIVED)
def test_each_line_agrees_with_the_one_before_it_on_the_instances(name):
    derivation = derivation_of(name)
    found = opinions([line.term for line in derivation.lines], assumptions=derivation.theorem.assumptions, instances=2)
    assert {opinion.verdict for opinion in found} == {"agree"}, found


@pytest.mark.parametrize("name", DERIVED)
def test_a_changed_line_is_found_by_the_instances(name):
    derivation = derivation_of(name)
    lines = [line.term for line in derivation.lines]
    changed = lines[-1] + Number(Fraction(1, 1000))
    assert compare(lines[-1], changed, assumptions=derivation.theorem.assumptions).verdict == "differ"


@pytest.mark.parametrize("name", DERIVED)
def test_a_changed_line_is_found_by_the_exact_evaluator(name):
    estimator = catalogue[name]
    lines = [replace(line, term=line.term + Number(1)) for line in derivation_of(name).lines]
    assert isinstance(lines[0], Line)
    for line in lines:
        for model in MODELS[name]:
            assert not exact.identically_equal(estimator.target, line.term, estimator.parameter, **model), line.rule


@pytest.mark.parametrize("name", DERIVED)
def test_a_derivation_leads_from_the_target_to_the_mean_and_can_be_replayed(name):
    estimator = catalogue[name]
    theorem = derivation_of(name).theorem
    assert recheck(theorem) > len(derivation_of(name).lines)
    assert alpha_equal(theorem.lhs, estimator.target)
    assert alpha_equal(theorem.rhs, estimator.expectation)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derivation_assumes_what_it_should_and_nothing_else(name):
    assert {premise.name for premise in derivation_of(name).theorem.assumptions} == MEANT[name]


def test_rebar_is_derived_in_at_least_eight_named_steps():
    rules = [line.rule for line in catalogue["rebar"].derivation().lines if line.rule]
    assert len(rules) >= 8
    assert "conditional_marginalization" in rules


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if "variance" in n else n for n in PROVED])
def test_the_search_finds_a_derivation_with_the_hand_written_one_hidden(name):
    estimator = replace(catalogue[name], derivation=None)
    derivation = find(estimator).derivation
    assert derivation is not None
    assert recheck(derivation.theorem)
    for before, after in pairwise(derivation.lines):
        for model in MODELS[name]:
            assert exact.identically_equal(before.term, after.term, estimator.parameter, **model), (after.rule, model)
