"""Explicit finite laws: what is written, the rule that writes them out, what each judge says, and what none of them may say."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

import numeric
from derive import explain, prove, variance
from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact.comparison import value
from derive.exact.outcomes import written_out
from derive.instances import compare
from derive.kernel import theorem as kernel
from derive.kernel.premises import (
    EVERYTHING,
    HOLDS,
    Covers,
    Differentiable,
    Integrable,
    Normalised,
    NotNegative,
    Positive,
    consult,
)
from derive.kernel.recheck import recheck
from derive.language.errors import NotATerm, NotEvaluable, NotExact, PremiseError, RuleError, TooLarge, UsageError
from derive.language.scope import substitute
from derive.language.term import Density, Number, Score
from derive.notation import (
    E,
    Over,
    bernoulli,
    categorical,
    choice,
    constant,
    coordinate,
    copies,
    entry,
    exp,
    finite,
    function,
    gamma,
    grad,
    indicator,
    log,
    maximum,
    normal,
    p,
    parameter,
    poisson,
    rademacher,
    score,
    sigmoid,
    sign,
    stop,
    uniform,
)
from derive.proofs.conversions import written_out as derived
from numeric.codegen.named import explicit
from numeric.codegen.running.positive import value_of
from numeric.torchgen import generate

theta, phi, c, t = parameter("theta"), parameter("phi"), constant("c"), constant("t")
f, smooth = function("f"), function("f", differentiable=True)
s = sigmoid(theta)
half = Fraction(1, 2)
bit, sign_ = bernoulli("b", logit=theta), rademacher("d")
raw = choice("r", (1, theta), (0, 1 - theta))
pair = choice("pair", ((1, 1), 2 * s - 1), ((1, 0), 1 - s), ((0, 1), 1 - s))
target = grad(E(f(bit), bit), theta)
LAWLESS = [choice("w", (1, 2 * s), (0, 2 - 2 * s)), choice("w", (1, 1 + s), (0, -s))]
ENTRIES = ("spsa", "spsa-quadratic", "disarm", "disarm-unscaled", "unordered-set", "unordered-set-unweighted")


# What is written


@pytest.mark.parametrize(
    ("outcomes", "says"),
    [
        ([(1, s), (1, 1 - s)], "stands twice"),
        ([(1, half), (0, Fraction(1, 3))], "sum to 1"),
        ([(1, Fraction(3, 2)), (0, -half)], "not negative"),
        ([(1, Fraction(3, 2)), (0, s)], "sum to 1"),
        ([(1, s), ((0, 1), 1 - s)], "tuples of one length"),
        ([((), s), ((), 1 - s)], "stands twice"),
        ([((), 1)], "tuples of one length"),
        ([1, 2], "is a pair"),
        ([], "tuples of one length"),
    ],
)
def test_no_law_is_refused_when_it_is_written(outcomes, says):
    with pytest.raises(UsageError, match=says):
        choice("b", *outcomes)


def test_values_are_exact_numbers_and_probabilities_terms():
    with pytest.raises(NotExact):
        choice("b", (0.5, s), (0, 1 - s))
    with pytest.raises(NotATerm):
        choice("b", (theta, s), (0, 1 - s))
    with pytest.raises(NotATerm):
        choice("b", (1, "s"), (0, 1 - s))


@pytest.mark.parametrize("call", [
    lambda: entry(bit, 3), lambda: entry(bit, (i for i in range(2))), lambda: coordinate(pair, Fraction(1, 2)),
    lambda: coordinate(pair, "0"), lambda: coordinate(pair, True), lambda: categorical("k", logits=3),
    lambda: categorical("k", logits=()),
])  # fmt: skip
def test_arguments_of_another_kind_are_refused_with_advice(call):
    with pytest.raises(UsageError):
        call()


def test_other_refusals_say_what_is_expected():
    with pytest.raises(UsageError, match="say one of them"):
        bernoulli("b")
    with pytest.raises(UsageError, match="say one of them"):
        bernoulli("b", logit=theta, probability=s)
    with pytest.raises(UsageError, match="2 values; got 1"):
        entry(bit, (1,))
    with pytest.raises(UsageError, match="no explicit finite law"):
        entry(finite("a", theta), (0, 1))
    for place in (-1, 2):
        with pytest.raises(UsageError, match="no coordinate"):
            coordinate(pair, place)
    with pytest.raises(UsageError, match="no coordinate"):
        coordinate(bit, 0)


def test_a_law_prints_its_outcomes_and_a_table_its_entries():
    assert str(pair.law).startswith("Choice(.; (1, 1): 2 * sigmoid(theta) - 1, (1, 0): 1 - sigmoid(theta)")
    assert str(entry(pair, (c, 0, 1))) == "entry(pair; (1, 1): c, (1, 0): 0, (0, 1): 1)"
    assert str(coordinate(pair, 1) * coordinate(pair, 0)) == "pair[1] * pair[0]"
    document = explain(catalogue["unordered-set"], "latex")
    assert r"S \sim \mathrm{Choice}" in document
    assert "(0, 1) :" in document
    assert "<mo>[</mo>" in explain(catalogue["disarm"], "html")


# The rule


def test_a_mean_is_written_out_and_replayed():
    theorem = kernel.outcomes(E(f(bit), bit))
    assert theorem.rhs == s * f(1) + (1 - s) * f(0)
    assert not theorem.assumptions
    assert recheck(theorem) == 1
    assert kernel.outcomes(Over(f(bit), bit)).rhs == f(1) + f(0)
    assert kernel.outcomes(Density(bit.law, Number(Fraction(0)))).rhs == 1 - s
    assert kernel.outcomes(Density(bit.law, Number(Fraction(7)))).rhs == Number(Fraction(0))
    assert kernel.outcomes(Score(bit.law, Number(Fraction(1)), theta)).rhs == grad(log(s), theta)


OTHERS = [f(1), E(f(finite("a")), finite("a")), p(bit, at=theta), p(bit), E(f(normal("z")), normal("z"))]


@pytest.mark.parametrize("term", OTHERS)
def test_other_terms_are_refused(term):
    with pytest.raises(RuleError, match="outcomes needs"):
        kernel.outcomes(term)


def test_a_premise_that_fails_is_named():
    wrong = choice("b", (1, s), (0, s))
    with pytest.raises(PremiseError, match="sum to one"):
        kernel.outcomes(E(f(wrong), wrong), assuming=EVERYTHING)
    with pytest.raises(PremiseError, match="sum to one"):
        kernel.normalisation(Over(p(wrong), wrong), assuming=EVERYTHING)
    negative = choice("b", (1, 1 + s), (0, -s))
    with pytest.raises(PremiseError, match="negative"):
        kernel.outcomes(E(f(negative), negative), assuming=EVERYTHING)
    with pytest.raises(PremiseError, match="NotNegative is not decided"):
        kernel.outcomes(E(f(raw), raw))
    with pytest.raises(PremiseError, match="the number 0"):
        kernel.outcomes(Score(bit.law, Number(Fraction(7)), theta), assuming=EVERYTHING)


def test_what_is_assumed_of_probabilities_stands_in_the_theorem():
    theorem = kernel.outcomes(E(f(raw), raw), assuming=EVERYTHING)
    assert {type(premise) for premise in theorem.assumptions} == {NotNegative}
    assert len(theorem.assumptions) == 2


def test_a_probability_that_may_be_zero_is_not_taken_as_positive():
    assert consult(Positive(p(bit))) == HOLDS
    assert consult(Positive(p(raw))) != HOLDS
    assert consult(Positive(p(raw))).needs == {Positive(p(raw))}
    sure = choice("b", (1, 1), (0, 0))
    assert consult(Positive(p(sure))) != HOLDS
    with pytest.raises(PremiseError, match="Positive is not decided"):
        kernel.algebra(f(sure) * exp(log(p(sure))), f(sure) * p(sure))
    low = choice("b", (1, maximum(2 * s - 1, 0)), (0, 1 - maximum(2 * s - 1, 0)))
    assert consult(Positive(p(low))) != HOLDS
    assert consult(Positive(p(bit, at=sign_))) != HOLDS
    assert consult(Positive(p(normal("z"), at=bit))) == HOLDS


@pytest.mark.parametrize(
    ("sampled", "other", "holds"),
    [
        (bit, choice("a", (1, half), (0, half)), True),
        (choice("a", (2, half), (0, half)), bit, False),
        (bit, choice("a", (1, half), (2, half)), False),
        (poisson("n", rate=2), bit, True),
        (poisson("n", rate=2), sign_, False),
        (bit, poisson("n", rate=2), False),
        (gamma("x", shape=2), bit, False),
        (bit, gamma("x", shape=2), False),
    ],
)
def test_one_law_covers_another_where_it_has_its_values(sampled, other, holds):
    decision = consult(Covers(p(sampled), p(other)))
    assert (decision == HOLDS) if holds else decision.failure


def test_a_law_with_a_probability_that_may_be_zero_covers_another_by_assumption_only():
    assert consult(Covers(p(raw), p(bit))).needs
    assert consult(Covers(p(raw), p(choice("a", (1, stop(theta)), (0, stop(1 - theta)))))) == HOLDS


def test_a_law_is_changed_only_for_one_that_covers_it():
    fair = choice("a", (1, half), (0, half))
    moved = kernel.change_of_law(E(f(bit), bit), fair)
    assert moved.rhs == E(p(bit, at=fair) / p(fair) * f(fair), fair)
    for other in (normal("z"), finite("a"), choice("a", (1, half), (2, half)), gamma("x", shape=2)):
        with pytest.raises(RuleError):
            kernel.change_of_law(E(f(bit), bit), other, assuming=EVERYTHING)


def test_a_finite_sum_needs_no_bound_and_a_sign_of_an_outcome_no_jump():
    assert consult(Integrable(bit, f(bit) / bit)) == HOLDS
    assert not consult(Differentiable(E(f(bit) * sign(bit - half), bit), theta)).failure
    assert consult(Differentiable(E(sign(theta - normal("z")), normal("z")), theta)).failure
    assert consult(Normalised(bit)) == HOLDS


# Tables


def test_a_table_at_a_number_is_its_entry_and_nothing_is_captured():
    z = normal("z")
    table = entry(bit, (z, c))
    assert substitute(table, {bit: Number(Fraction(1))}) == z
    assert substitute(table, {bit: Number(Fraction(7))}) != z
    inside = E(f(z, table), z)
    assert substitute(inside, {bit: Number(Fraction(0))}) == E(f(z, c), z)
    moved = substitute(E(f(z) * bit, z), {bit: entry(sign_, (z, 0))})
    assert moved.variable.name != "z"


def test_a_law_of_another_variable_may_be_a_table():
    z = normal("z", entry(bit, (theta, 1)), 1)
    mixed = Estimator("mixture", f(z) * (score(z, theta) + score(bit, theta)), (bit, z), grad(E(f(z), bit, z), theta))
    found = prove(mixed)
    assert found.verdict == "proved"
    assert found.derivation is not None
    half_of_it = Estimator("half", f(z) * score(z, theta), (bit, z), grad(E(f(z), bit, z), theta))
    assert prove(half_of_it).verdict != "proved"


def test_a_table_is_differentiated_entry_by_entry():
    table = entry(sign_, (theta**2, f(1) * theta))
    moving = Estimator("table", grad(table, theta), (sign_,), grad(theta**2 / 2 + f(1) * theta / 2, theta))
    assert prove(moving).verdict == "proved"
    assert numeric.crosscheck(moving, "vector").agrees


# The judges


def test_numbers_alone_are_computed_exactly_by_every_judge():
    rng = np.random.default_rng(3)
    for _ in range(10):
        size = int(rng.integers(2, 5))
        weights = [Fraction(int(n), 1) for n in rng.integers(1, 9, size)]
        values = [Fraction(int(n), 3) for n in rng.permutation(9)[:size]]
        b = choice("b", *((v, w / sum(weights)) for v, w in zip(values, weights, strict=True)))
        expected = sum(w * (v**3 - 2 * v) for v, w in zip(values, weights, strict=True)) / sum(weights)
        mean = E(b**3 - 2 * b, b)
        assert value(mean - expected, theta, 2).text() == "0"
        assert compare(mean, Number(expected)).verdict == "agree"
        theorem = kernel.algebra(derived(mean, EVERYTHING).rhs, Number(expected))
        assert theorem.rhs == Number(expected)


@pytest.mark.parametrize(
    ("formula", "draws", "verdict"),
    [
        (f(bit) * score(bit, theta), (bit,), "proved"),
        ((f(bit) - c) * score(bit, theta), (bit,), "proved"),
        (f(bit) * (bit - s), (bit,), "proved"),
        ((f(1) - f(0)) * grad(s, theta), (), "proved"),
        (grad(p(bit, at=sign_) / p(sign_) * f(sign_), theta), (sign_,), "refuted"),
        (2 * f(bit) * score(bit, theta), (bit,), "scaled"),
        (f(bit) * bit, (bit,), "refuted"),
        (f(sign_) * score(bit, theta), (bit, sign_), "refuted"),
        (entry(bit, (f(1), f(0))) * (entry(bit, (1, 0)) - s), (bit,), "proved"),
        (entry(bit, (f(0), f(1))) * (entry(bit, (1, 0)) - s), (bit,), "refuted"),
    ],
)
def test_verdicts(formula, draws, verdict):
    found = prove(Estimator("mine", formula, draws, target))
    assert found.verdict == verdict
    assert (found.witness is not None) == (verdict in ("refuted", "scaled"))


def test_copies_of_two_bits_are_independent():
    one, two = copies(bit, 2)
    mine = Estimator("two", (f(one) - f(two)) * (score(one, theta) - score(two, theta)) / 2, (one, two), target)
    assert prove(mine).verdict == "proved"


def test_classes_with_logits():
    drawn = categorical("k", logits=(theta, t, 0))
    mine = Estimator("classes", f(drawn) * score(drawn, theta), (drawn,), grad(E(f(drawn), drawn), theta))
    assert prove(mine).verdict == "proved"
    assert numeric.crosscheck(mine, "vector").agrees


def test_instances_read_no_mean_over_numbers_that_are_no_probabilities():
    for wrong in LAWLESS:
        mean = E(f(wrong), wrong)
        assert compare(mean, mean + 0).verdict == "silent"


def test_numbers_that_are_no_probabilities_have_no_mean():
    wrong = choice("b", (1, s), (0, s))
    mine = Estimator("mine", f(wrong) * score(wrong, theta), (wrong,), grad(E(f(wrong), wrong), theta))
    with pytest.raises(UsageError, match="do not sum to one"):
        prove(mine)


def test_what_is_divided_by_where_the_probability_is_zero_is_not_proved():
    far = choice("a", (1, half), (2, half))
    mine = Estimator("mine", p(bit, at=far) / p(far) * f(far) * score(bit, theta, at=far), (far,), target)
    assert prove(mine).verdict == "undecided"


def test_a_condition_on_probabilities_is_printed_with_the_result():
    found = prove(catalogue["disarm"])
    assert found.verdict == "proved"
    assert "NotNegative" in str(found)
    assert "2 * sigmoid" in explain(catalogue["disarm"])


def test_an_unbound_outcome_is_not_evaluated():
    with pytest.raises(NotEvaluable, match="take the expectation"):
        written_out(f(bit))
    with pytest.raises(NotEvaluable, match="which is no number"):
        written_out(E(p(bit, at=bit + theta), bit))
    with pytest.raises(NotEvaluable, match="where it has none"):
        written_out(substitute(entry(bit, (1, 0)), {bit: theta}))


@pytest.mark.parametrize("name", ENTRIES)
def test_every_reading_of_the_catalogue_agrees(name):
    estimator = catalogue[name]
    found = prove(estimator)
    assert found.verdict == estimator.verdict
    assert (found.derivation is not None) == (estimator.verdict == "proved")
    assert variance(estimator).formula
    assert numeric.crosscheck(estimator, "vector").agrees == (estimator.verdict == "proved")


@pytest.mark.parametrize("law", LAWLESS)
@pytest.mark.parametrize(
    "formula",
    [
        lambda w: grad(E(f(w), w), theta) / 2,
        lambda w: (f(bit) - E(f(w), w)) * score(bit, theta),
        lambda w: f(bit) * score(bit, theta) + 0 * p(w, at=bit),
        lambda w: f(bit) * score(bit, theta) + 0 * score(w, theta, at=bit),
    ],
)
def test_a_law_that_is_none_is_refused_wherever_it_stands(law, formula):
    with pytest.raises(UsageError, match="which is none"):
        prove(Estimator("mine", formula(law), (bit,), target))


@pytest.mark.parametrize("chances", [(theta, -theta, 1), (c, -c, 1), (1 + c**2, -(c**2), 0)])
def test_conditions_that_contradict_each_other_prove_nothing(chances):
    odd = choice("o", *enumerate(chances))
    found = prove(Estimator("mine", f(bit) * score(bit, theta) + 0 * E(f(odd), odd), (bit,), target))
    assert found.verdict == "undecided"
    assert any("contradict" in reason for reason in found.tried)


def test_half_of_an_antithetic_pair_is_proved_below_one_half_too():
    low = choice("b", ((0, 0), 1 - 2 * s), ((1, 0), s), ((0, 1), s))
    one, other = coordinate(low, 0), coordinate(low, 1)
    formula = (f(one) - f(other)) * (1 - 2 * other) * (one - other) ** 2 * (1 - s) / 2
    assert prove(Estimator("mine", formula, (low,), target)).verdict == "proved"


def test_a_conditional_law_may_be_a_table():
    after = choice("k", (1, entry(bit, (s, half))), (0, entry(bit, (1 - s, half))))
    formula = f(after) * (score(after, theta) + score(bit, theta))
    assert prove(Estimator("mine", formula, (bit, after), grad(E(f(after), bit, after), theta))).verdict == "proved"
    assert not consult(Normalised(after)).needs
    wrong = choice("k", (1, entry(bit, (s, half))), (0, entry(bit, (1 - s, 1))))
    assert consult(Normalised(wrong)).failure


@pytest.mark.parametrize("law", [lambda mean: normal("z", mean, 1), lambda mean: poisson("z", rate=1 + mean)])
def test_the_law_of_another_variable_may_have_a_mean_of_outcomes(law):
    z = law(E(bit, bit))
    assert prove(Estimator("mine", f(z) * score(z, theta), (z,), grad(E(f(z), z), theta))).verdict in ("proved", "checked")
    assert prove(Estimator("mine", f(z), (z,), grad(E(f(z), z), theta))).verdict == "refuted"


@pytest.mark.parametrize("at", [1 / (2 + sign_), indicator(sign_), maximum(sign_, 0)])
def test_a_probability_may_be_asked_at_what_is_a_number_at_each_outcome(at):
    formula = f(bit) * score(bit, theta) + 0 * p(bit, at=at)
    assert prove(Estimator("mine", formula, (bit, sign_), target)).verdict == "proved"


@pytest.mark.parametrize("at", [poisson("n", rate=2), normal("z"), uniform("u")])
def test_a_probability_at_other_noise_is_undecided_and_no_crash(at):
    mine = Estimator("mine", f(bit) * score(bit, theta) * p(bit, at=at), (bit, at), target)
    assert prove(mine).verdict == "undecided"


def test_too_many_outcomes_are_refused_before_anything_is_written_out():
    signs = [rademacher(f"d_{i}") for i in range(14)]
    with pytest.raises(TooLarge, match="16384 outcomes together"):
        prove(Estimator("mine", f(*signs) * theta, tuple(signs), grad(theta * 2, theta)))


# The code


TAKEN = ["below_2", "number", "found", "probability", "choose", "entry_at", "table", "uniform", "first"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_of_the_user_is_none_of_the_code(name):
    q = constant(name)
    three = choice("b", (1, s * q), (2, s * (1 - q)), (0, 1 - s))
    other = bernoulli("k", probability=q)
    formula = (f(three) + f(other)) * score(three, theta)
    mine = Estimator("mine", formula, (three, other), grad(E(f(three), three), theta))
    assert prove(mine).verdict == "proved"
    found = numeric.crosscheck(mine, "vector")
    assert found.agrees
    assert found.draw_error is not None


def test_a_draw_of_another_law_is_seen_without_sampling(monkeypatch):
    mine = Estimator("mine", f(bit) * score(bit, theta), (bit,), target)
    wrong = explicit.CHOOSE.replace("below + probability", "below + probability * 0.999")
    assert wrong != explicit.CHOOSE
    monkeypatch.setattr(sys.modules["numeric.codegen.statements.module_source"], "CHOOSE", wrong)
    found = numeric.crosscheck(mine, "vector")
    assert not found.agrees
    assert 1e-5 < found.draw_error < 1e-2


def test_a_table_may_end_with_a_constant_and_an_outcome_may_be_a_number():
    moved = Estimator("mine", f(entry(bit, (1, c))) * score(bit, theta), (bit,), grad(E(f(entry(bit, (1, c))), bit), theta))
    assert numeric.crosscheck(moved, "vector").agrees
    at_one = Estimator("mine", f(bit) * score(bit, theta) + p(bit, at=1) * score(bit, theta, at=1) * 0, (bit,), target)
    assert numeric.crosscheck(at_one, "vector").agrees


def test_a_table_beside_a_function_of_two_coordinates_is_refused():
    drawn = (bit, sign_)
    sides = f(bit) * entry(sign_, (1, 2)) * score(bit, theta), grad(E(f(bit) * entry(sign_, (1, 2)), *drawn), theta)
    mine = Estimator("mine", sides[0], drawn, sides[1])
    assert numeric.crosscheck(mine, "vector", size=1).agrees
    with pytest.raises(UsageError, match="Entry"):
        numeric.crosscheck(mine, "vector", size=2)


def test_many_outcomes_have_code():
    many = choice("m", *((i, Fraction(1, 200)) for i in range(200)))
    mine = Estimator("mine", f(many) * theta, (many,), grad(theta * E(f(many), many), theta))
    run = numeric.compile(mine, "vector")
    drawn = run.draw(torch.ones(1), generator=torch.Generator().manual_seed(1), sample_shape=(2000,))["m"]
    assert abs(float(drawn.mean()) - 99.5) < 10
    assert run(torch.ones(1), lambda m: m.sum(-1)).shape == (1,)


def test_an_outcome_that_cannot_be_has_no_entry():
    mine = Estimator("mine", entry(sign_, (1, 2)) * smooth(theta), (sign_,), grad(smooth(theta), theta))
    run = numeric.compile(mine, "vector")
    noise = {"d": torch.full((1,), 7.0)}
    assert run.estimate(torch.zeros(1), noise, lambda x: x.sum(-1)).isnan().all()


def _probabilities(law, logit):
    return torch.stack([value_of(term, {"theta": logit}) for term in law.parameters])


def test_draws_have_the_law():
    seeded = 20_000
    module = numeric.compile(catalogue["disarm"], "vector")
    logit = torch.tensor([0.7], dtype=torch.float64)
    drawn = module.draw(logit, generator=torch.Generator().manual_seed(5), sample_shape=(seeded,))["b"]
    expected = _probabilities(catalogue["disarm"].draws[0].law, logit[0])
    seen = torch.tensor([(drawn == k).double().mean() for k in range(3)])
    assert torch.allclose(seen, expected, atol=6 * float((expected * (1 - expected) / seeded).sqrt().max()))


def test_the_score_in_the_code_is_that_of_autograd():
    mine = Estimator("mine", f(bit) * score(bit, theta), (bit,), target)
    run = numeric.compile(mine, "vector")
    logit = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    for outcome in (0.0, 1.0):
        noise = {"b": torch.tensor([outcome], dtype=torch.float64)}
        log_p = torch.distributions.Bernoulli(logits=logit).log_prob(noise["b"])
        (expected,) = torch.autograd.grad(log_p.sum(), logit)
        found = run.estimate(logit.detach(), noise, lambda b: torch.ones(()).double())
        assert torch.allclose(found, expected, atol=1e-14)


def test_numbers_that_are_no_probabilities_are_refused_at_run_time():
    mine = Estimator("mine", f(raw) * score(raw, theta), (raw,), grad(E(f(raw), raw), theta))
    run = numeric.compile(mine, "vector")
    run(torch.tensor([1.0]), lambda b: b.sum(-1))
    with pytest.raises(UsageError, match="must not be negative"):
        run(torch.tensor([1.5]), lambda b: b.sum(-1))


def test_what_is_divided_by_has_no_default():
    run = numeric.compile(catalogue["spsa"], "vector")
    with pytest.raises(UsageError, match="missing c"):
        run(torch.ones(1), lambda x, y: x.sum(-1), theta_2=1.0)


def test_a_formula_at_numbers_is_one_coordinate():
    mine = Estimator("mine", (f(1) - f(0)) * grad(s, theta), (), target)
    assert not generate(mine, "vector").coordinatewise
    assert generate(Estimator("mine", f(bit) * score(bit, theta), (bit,), target), "vector").coordinatewise


def test_a_table_keeps_the_precision_of_the_parameters():
    mine = Estimator("mine", entry(sign_, (Fraction(1, 3), 0)) * smooth(theta), (sign_,), grad(smooth(theta), theta))
    run = numeric.compile(mine, "vector")
    noise = {"d": torch.ones(1, dtype=torch.float64)}
    found = run.estimate(torch.zeros(1, dtype=torch.float64), noise, lambda x: torch.ones(()).double())
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(1 / 3, abs=1e-16)
