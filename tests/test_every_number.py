"""Estimators of S samples, S a symbol: stated once, written out for any number, judged for every number at once."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from derive import Estimator, prove
from derive.catalogue import catalogue
from derive.cli.main import app, run
from derive.exact.comparison import identically_equal
from derive.language.errors import Disagreement, NotATerm, NotEvaluable, ScopeError, TooLarge, UnknownNode, UsageError
from derive.language.scope import substitute
from derive.language.term import Term, lift
from derive.notation import E, constant, exp, finite, function, grad, log, normal, p, parameter, samples, score, stop
from derive.samples import reduction
from derive.samples.reduction import in_the_mean
from derive.samples.statistic import SampleMean
from derive.verdicts import prover

TH, F, G = parameter("theta"), function("f"), function("g")
B = finite("b", TH)
TARGET = grad(E(F(B), B), TH)
EACH = samples(B)
S = EACH.number


def mine(formula: Term, target: Term = TARGET, **options):
    return EACH.estimator("mine", formula, target, **options)


def mean(of):
    return EACH.mean(of)


UNBIASED = {
    "leave one out": (mean(lambda x: (F(x) - EACH.without(x).mean(F)) * score(x)), 2),
    "the mean of all, corrected": (S / (S - 1) * mean(lambda x: (F(x) - mean(F)) * score(x)), 2),
    "a covariance": (S / (S - 1) * (mean(lambda x: F(x) * score(x)) - mean(F) * mean(score)), 2),
    "no baseline": (mean(lambda x: F(x) * score(x)), 1),
    "the square of the mean of others": (mean(lambda x: (F(x) - EACH.without(x).mean(F) ** 2) * score(x)), 2),
    "others of others": (
        mean(lambda x: (F(x) - EACH.without(x).mean(lambda y: EACH.without(x, y).mean(lambda z: F(y) * F(z)))) * score(x)), 3
    ),
    "a surrogate": (grad(mean(lambda x: stop(F(x) - EACH.without(x).mean(F)) * log(p(x))), TH), 2),
}  # fmt: skip
SCALED = {
    "the mean of all": (mean(lambda x: (F(x) - mean(F)) * score(x)), "(S - 1) / S"),
    "others than the other": (
        mean(lambda x: (F(x) - EACH.without(x).mean(lambda y: EACH.without(y).mean(F))) * score(x)), "(S - 2) / (S - 1)"
    ),
    "a sum": (S * mean(lambda x: F(x) * score(x)), "S"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNBIASED)
def test_one_proof_is_for_every_number_of_samples(name):
    formula, fewest = UNBIASED[name]
    verdict = prove(mine(formula), samples="every")
    assert verdict.verdict == "proved"
    assert verdict.holds_for.endswith(f"every number of samples S >= {fewest}")
    assert prove(mine(formula), samples=fewest + 1).verdict in ("proved", "checked")


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_is_a_formula_of_the_number_of_samples(name):
    formula, scale = SCALED[name]
    verdict = prove(mine(formula), samples="every")
    assert (verdict.verdict, verdict.scale) == ("scaled", scale)
    for number in (2, 3, 4):
        factor = substitute_number(scale, number)
        alone = prove(mine(formula), samples=number)
        assert alone.scale == (None if factor == 1 else factor)


def substitute_number(scale: str, number: int) -> Fraction:
    above, _, below = scale.partition(" / ")
    values = {"S": number, "(S - 1)": number - 1, "(S - 2)": number - 2, "": 1}
    return Fraction(values[above], values[below])


def test_a_witness_has_a_whole_number_of_samples():
    verdict = prove(mine(mean(lambda x: (F(x) - mean(F) ** 2) * score(x))), samples="every")
    assert verdict.verdict == "refuted"
    assert int(verdict.witness.case["S"]) >= 1
    again = prove(mine(mean(lambda x: (F(x) - mean(F) ** 2) * score(x))), samples=int(verdict.witness.case["S"]))
    assert (again.witness.mean, again.witness.target) == (verdict.witness.mean, verdict.witness.target)


def test_a_bias_that_only_large_groups_have_is_seen():
    """(S - 1) (S - 2) (S - 3) E[...] is zero of up to three samples."""
    bias = (S - 1) * (S - 2) * (S - 3) * mean(F) * mean(F)
    verdict = prove(mine(mean(lambda x: F(x) * score(x)) + bias), samples="every")
    assert (verdict.verdict, verdict.witness.case["S"]) == ("refuted", "4")


def test_continuous_laws_prompts_and_the_catalogue():
    z, r = normal("z", TH, 1), function("r")
    each = samples(z)
    loo = each.mean(lambda x: (F(x) - each.without(x).mean(F)) * score(x, TH))
    assert prove(each.estimator("normal", loo, grad(E(F(z), z), TH)), samples="every").verdict == "proved"
    prompt = finite("x", law="d")
    answer = finite("y", TH, law="pi", given=(prompt,))
    group = samples(answer, "G")
    formula = group.mean(lambda y: (r(prompt, y) - group.without(y).mean(lambda t: r(prompt, t))) * score(y))
    prompted = group.estimator("prompted", formula, grad(E(r(prompt, answer), prompt, answer), TH), before=(prompt,))
    assert "G >= 2" in prove(prompted, samples="every").holds_for
    assert prove(catalogue["leave-one-out"], samples="every").verdict == "proved"
    assert prove(catalogue["vargrad"], samples="every").verdict == "proved"
    assert prove(catalogue["dr-grpo"], samples="every").scale == "(G - 1) / G"


# What is counted against what is enumerated

LEAVES = st.sampled_from(["f", "g", "score", "mean f", "others f", "others g", "constant"])


@st.composite
def statistics(draw):
    """A mean of a sum of products, some factors of which are means again."""
    chosen = draw(st.lists(st.lists(LEAVES, min_size=1, max_size=3), min_size=1, max_size=2))
    inside, power = draw(st.booleans()), draw(st.integers(1, 2))

    def factor(name, x):
        kinds = {
            "f": lambda: F(x),
            "g": lambda: G(x),
            "score": lambda: score(x),
            "mean f": lambda: mean(F),
            "others f": lambda: EACH.without(x).mean(F),
            "others g": lambda: EACH.without(x).mean(lambda y: G(y) * mean(F) if inside else G(y)),
            "constant": lambda: constant("c") - S,
        }
        return kinds[name]()

    def body(x):
        terms = []
        for names in chosen:
            product = lift(1)
            for name in names:
                product = product * factor(name, x)
            terms.append(product)
        return sum(terms[1:], start=terms[0])

    return mean(body) ** power


@settings(max_examples=40, deadline=None)
@given(statistics())
def test_the_mean_for_every_number_is_the_mean_for_each(formula):
    try:
        estimator = mine(formula)
        reduced = in_the_mean(estimator.family)
    except TooLarge:
        return
    for number in range(reduced.fewest, 4):
        full = estimator.with_samples(number)
        few = substitute(reduced.estimator.expectation, {S: lift(number)})
        assert identically_equal(full.expectation, few, TH, 2)


WRONG_COUNTS = {
    "samples meet too often": ("_meeting", lambda right: lambda *places: right(*places) * right(*places)),
    "one sample too many is left": ("left", lambda right: lambda taken, power=1: right(max(taken - 1, 0), power)),
    "factors are lost": ("_times", lambda right: lambda one, other: one),
}


@pytest.mark.parametrize("name", WRONG_COUNTS)
def test_a_wrong_count_is_contradicted_by_enumeration(name, monkeypatch):
    where, wrong = WRONG_COUNTS[name]
    monkeypatch.setattr(reduction, where, wrong(getattr(reduction, where)))
    with pytest.raises(Disagreement, match="a bug in gradproof"):
        prove(mine(mean(lambda x: F(x) * mean(F)) * mean(G)), samples="every")


def test_what_no_judge_has_compared_is_not_said(monkeypatch):
    def unread(*_):
        message = "unread"
        raise NotEvaluable(message)

    monkeypatch.setattr(prover.exact, "identically_equal", unread)
    assert prove(mine(UNBIASED["leave one out"][0]), samples="every").verdict == "proved"  # instances have seen it
    monkeypatch.setattr(prover, "opinions", lambda sides: [type("Silent", (), {"verdict": "silent"})])
    with pytest.raises(NotEvaluable, match="no judge could compare"):
        prove(mine(UNBIASED["leave one out"][0]), samples="every")


# What is refused


def test_what_has_too_many_summands_is_refused_before_it_is_built():
    with pytest.raises(TooLarge, match="more than 1000 summands"):
        prove(mine(mean(lambda x: F(x) * mean(F) * mean(G)) ** 3), samples="every")
    with pytest.raises(TooLarge, match="parts"):
        EACH.estimator("mine", mean(lambda x: F(x) * score(x)), TARGET, shown=10**9)
    with pytest.raises(UsageError, match="stands in a Exp"):
        prove(mine(exp(S) * mean(score)), samples="every")


def test_a_mean_within_anything_else_is_refused_by_name():
    for outer in (log, exp, lambda term: 1 / term, lambda term: F(term)):
        with pytest.raises(UsageError, match=r"a mean over S samples stands in a (Log|Exp|Power|Apply)"):
            mine(outer(mean(F)) * 1)


def test_a_sample_does_not_leave_its_mean():
    kept = []
    inside = mean(lambda x: kept.append(x) or F(x))
    for formula in (inside * score(kept[0]), mean(lambda x: F(B) * score(x)), F(B) * mean(score)):
        with pytest.raises(ScopeError, match="outside of a mean over the samples that it is one of"):
            mine(formula)
    for other in (B, kept[0]):
        with pytest.raises(ScopeError, match="which is no sample of a mean around it"):
            mine(EACH.without(other).mean(F) * mean(score))


def test_no_other_reading_takes_a_mean_over_samples_for_something_else():
    formula = mean(lambda x: F(x) * score(x))
    assert isinstance(formula, SampleMean)
    with pytest.raises(UnknownNode, match="no node of the language: SampleMean"):
        Estimator("mine", formula, (B,), TARGET)


def test_a_law_does_not_depend_on_the_number_of_samples():
    each = samples(normal("z", TH, constant("S")))
    with pytest.raises(UsageError, match="depends on the number of samples, S"):
        each.estimator("mine", each.mean(F), TARGET)


def test_every_number_is_asked_for_by_name(capsys):
    assert run(app, ["prove", "leave-one-out", "--samples", "every"]) == 0
    assert "every number of samples S >= 2" in capsys.readouterr().out
    assert run(app, ["prove", "rebar", "--samples", "every"]) == 2
    assert "write its means with derive.notation.samples" in capsys.readouterr().err
    assert run(app, ["prove", "leave-one-out", "--samples", "all"]) == 2
    assert "or every; got all" in capsys.readouterr().err
    with pytest.raises(UsageError, match="samples is a number"):
        prove(catalogue["leave-one-out"], samples="all")


# What fresh eyes found


def test_a_denominator_is_zero_for_no_number_of_samples_that_is_named():
    of = mean(lambda x: F(x) * score(x))
    for formula, fewest in (((S - 5) / (S - 5) * of, 6), (S * (S - 1) / (S * (S - 1)) * of, 2), (S / (S + 3) * of, 1)):
        assert prove(mine(formula), samples="every").holds_for.endswith(f"S >= {fewest}")
    assert prove(mine(S * of, (S - 2) * TARGET), samples="every").holds_for.endswith("S >= 3")  # at 2 there is no scale
    for below in (1 - S, 2 * S - 4, S * S - 4, S - constant("c")):
        with pytest.raises(UsageError, match="S stands in a denominator"):
            prove(mine(of / below), samples="every")
    with pytest.raises(UsageError, match="S stands in the target"):
        prove(mine(of, S * TARGET - TARGET), samples="every")


def test_samples_of_another_call_are_others():
    others = samples(B)
    for formula in (mean(lambda x: others.mean(lambda y: F(x) * score(y))), others.mean(lambda x: F(x) * score(x))):
        with pytest.raises(UsageError, match="over other samples"):
            mine(formula)
    kept = []
    others.mean(lambda x: kept.append(x) or F(x))
    with pytest.raises(ScopeError, match="outside of a mean"):
        mine(mean(lambda x: F(kept[0]) * score(x)))


@pytest.mark.parametrize("name", ["b_i", "b_j", "b_new1", "b_9"])
def test_a_variable_that_is_drawn_before_is_no_sample_whatever_its_name(name):
    before, each = finite(name, TH, law="p"), samples(finite("b", TH, law="p"))
    formula = each.mean(lambda x: F(x) * score(x) + F(before) * score(x) + each.mean(G) * 0)
    named = each.estimator("mine", formula, TARGET, before=(before,))
    assert prove(named, samples="every").verdict == "proved"
    wrong = each.estimator("mine", each.mean(lambda x: F(before) * score(x)), TARGET, before=(before,))
    assert prove(wrong, samples="every").scale == 0
    with pytest.raises(ScopeError, match="no sample of a mean around it"):
        each.estimator("mine", each.mean(lambda x: each.without(before).mean(F) * score(x)), TARGET, before=(before,))


def test_what_was_changed_is_not_judged_by_what_it_was_made_from():
    stated = mine(mean(lambda x: F(x) * score(x)))
    assert prove(replace(stated, summary="the same"), samples="every").verdict == "proved"
    for changed in (replace(stated, formula=2 * stated.formula), replace(stated, target=2 * TARGET)):
        with pytest.raises(UsageError, match="another mean or target"):
            prove(changed, samples="every")


def test_a_verdict_claims_no_more_numbers_of_samples_than_it_holds_for():
    biased = prove(mine(mean(lambda x: F(x) * score(x)) + (S - 2) * mean(F)), samples="every")
    assert biased.holds_for.endswith("in which the bias is not zero, with a number of samples S >= 1")
    open_question = prove(mine(mean(lambda x: log(F(x) - E(F(B), B)) * score(x))), samples="every")
    assert (open_question.verdict, open_question.holds_for) == ("undecided", "nothing")


def test_what_is_no_sample_function_or_number_is_refused_by_name():
    of = mean(lambda x: F(x) * score(x))
    for wrong in (
        lambda: samples("b"), lambda: mean(F(B)), lambda: EACH.without(1), lambda: mine(of, None), lambda: mine(of, before=B),
        lambda: mine(of, shown="3"), lambda: mine(of, shown=None), lambda: mine(mean(lambda x: E(F(x), x) * score(x))),
    ):  # fmt: skip
        with pytest.raises((UsageError, NotATerm, ScopeError), match=r"random variable|function of one|term|number|sampled"):
            wrong()


def test_nested_means_and_powers_that_are_too_many_are_refused_at_once():
    def nested(levels, around=()):
        return mean(lambda x: nested(levels - 1, (*around, x)) if levels else sum(map(F, around), start=F(x)) * score(x))

    with pytest.raises(TooLarge, match="more than 1000 summands"):
        prove(mine(nested(9), shown=1), samples="every")
    with pytest.raises(TooLarge, match="of degree 301 in S"):
        prove(mine(S**300 * mean(lambda x: F(x) * score(x))), samples="every")
    deep = mean(lambda x: F(x) * score(x))
    for _ in range(500):
        deep = stop(deep)
    with pytest.raises(TooLarge, match="nested more than 80 deep"):
        mine(deep)


@pytest.mark.parametrize("number", [None, 5])
def test_a_verdict_says_for_how_many_samples_it_is(number):
    """What is zero for three samples, as (S - 3) times anything, is not for others: only "every" is about them."""
    loo = catalogue["leave-one-out"]
    assert prove(loo, samples=number).remark == f'for S = {number or 3}; samples="every" is about every S'
    assert "about every S" not in str(prove(loo, samples="every"))
    assert prove(catalogue["rebar"]).remark == ""
