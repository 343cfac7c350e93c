"""The exact evaluator proves what holds for every law, refutes what does not, and agrees with plain enumeration."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod

import pytest
from hypothesis import given, settings, strategies as st

from derive import strategies
from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.exact.evaluate import LIMIT, Reader
from derive.language.errors import NotEvaluable, TooLarge, UnknownNode, UsageError
from derive.language.term import RandomVariable, Term, lift
from derive.laws.models import EnclosedModel, RationalCase
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    p,
    parameter,
    score,
    sigmoid,
    stop,
)
from derive.numbers.ring import is_exact

theta, c = parameter("theta"), constant("c")
b = finite("b", theta)
f, C, g = function("f"), function("C"), function("g")
target = grad(E(f(b), b), theta)
HALF = Fraction(1, 2)


def with_group_mean(samples: int, *, itself: bool) -> Estimator:
    """The score function with the mean of the other samples, or of all samples, as baseline."""
    draws = copies(b, samples)
    formula = lift(0)
    for draw in draws:
        group = [other for other in draws if itself or other != draw]
        formula = formula + (f(draw) - sum((f(other) for other in group), start=lift(0)) / len(group)) * score(draw)
    return Estimator("group mean", formula / samples, draws, target)


# Proofs


@pytest.mark.parametrize("outcomes", [2, 3, 4])
@pytest.mark.parametrize("name", ["score-function", "constant-baseline", "control-variate", "pathwise", "rebar"])
def test_the_first_five_are_unbiased_for_every_law(name, outcomes):
    found = exact.check(catalogue[name], outcomes)
    assert found.zero
    assert found.conclusive
    assert found.difference == "0"


@pytest.mark.parametrize("name", ["score-function", "constant-baseline", "control-variate", "pathwise", "rebar"])
def test_a_wrong_factor_anywhere_is_noticed(name):
    right = catalogue[name]
    found = exact.compare(right.expectation * 2, right.target, theta, 2)
    assert not found.zero
    assert found.conclusive


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_leave_one_out_is_unbiased(samples):
    assert exact.check(with_group_mean(samples, itself=False), 3).zero


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_a_group_mean_that_contains_the_sample_scales_by_exactly_one_less_sample(samples):
    estimator = with_group_mean(samples, itself=True)
    assert not exact.check(estimator, 3).zero
    assert exact.scale(estimator, 3) == Fraction(samples - 1, samples)


def test_an_unbiased_estimator_and_a_biased_one_have_no_scale():
    assert exact.scale(catalogue["score-function"], 3) is None
    assert exact.scale(Estimator("biased", (3 * f(b) + C(b)) * score(b), (b,), target), 3) is None
    assert exact.scale(Estimator("biased", (f(b) - C(b)) * score(b), (b,), target), 3) is None


IDENTITIES = [
    (p(b) * score(b), grad(p(b), theta)),
    (score(b), grad(log(p(b)), theta)),
    (grad(p(b), theta) / p(b), score(b)),
    (E(score(b), b), lift(0)),
    (grad(grad(E(f(b), b), theta), theta), E(f(b) * (score(b) ** 2 + grad(score(b), theta)), b)),
    (grad(E(f(b, theta), b), theta), E(f(b, theta) * score(b) + grad(f(b, theta), theta), b)),
    (grad(E(f(b, stop(theta)), b), theta), E(f(b, theta) * score(b), b)),
    (E(grad(p(b) / stop(p(b)) * f(b), theta), b), target),
    (E(grad(log(p(b)) * stop(f(b)), theta), b), target),
    (Over(grad(p(b) * f(b), theta), b), target),
    (grad(c * theta**2, theta), 2 * c * theta),
    (sigmoid(-theta), 1 - sigmoid(theta)),
    (grad(sigmoid(theta), theta), sigmoid(theta) * (1 - sigmoid(theta))),
    (exp(log(c) + theta), c * exp(theta)),
    (grad(log(f(theta)), theta) * f(theta), grad(f(theta), theta)),
    (1 / (1 - c) - 1 / (1 + c), 2 * c / (1 - c**2)),
    (grad(f(theta) ** -2, theta), -2 * grad(f(theta), theta) / f(theta) ** 3),
]


@pytest.mark.parametrize(("left", "right"), IDENTITIES)
def test_an_identity_of_the_calculus_is_proved(left, right):
    assert exact.identically_equal(left, right, theta, 3)


@pytest.mark.parametrize(("left", "right"), IDENTITIES)
def test_the_same_identity_is_refuted_when_one_side_is_shifted(left, right):
    assert not exact.identically_equal(left, right + c, theta, 3)


NON_IDENTITIES = [
    (grad(E(f(b, theta), b), theta), E(f(b, theta) * score(b), b)),
    (E(grad(f(b), theta), b), target),
    (E(grad(stop(p(b)) * f(b), theta), b), target),
    (grad(grad(E(f(b), b), theta), theta), E(f(b) * score(b) ** 2, b)),
    (E(score(b) ** 2, b), lift(0)),
    (E(f(b), b) ** 2, E(f(b) ** 2, b)),
    (log(c * theta), log(c)),
]


@pytest.mark.parametrize(("left", "right"), NON_IDENTITIES)
def test_a_false_identity_is_not_proved(left, right):
    assert not exact.identically_equal(left, right, theta, 3)


def test_a_dependent_draw_needs_both_scores():
    x = finite("x", theta, law="r")
    y = finite("y", theta, law="s", given=(x,))
    both = grad(E(g(x, y), x, y), theta)
    assert exact.identically_equal(both, E(g(x, y) * (score(x) + score(y, theta)), x, y), theta, 3)
    assert not exact.identically_equal(both, E(g(x, y) * score(y, theta), x, y), theta, 2)


def multi_sample_bound(samples: int) -> tuple[tuple[RandomVariable, ...], Term, list[Term]]:
    """The log of the mean weight, and VIMCO's baselines: the own weight replaced by the geometric mean of the others."""
    draws = copies(finite("b", theta, law="q"), samples)
    weights = [C(draw) / p(draw) for draw in draws]
    baselines = []
    for i in range(samples):
        others = weights[:i] + weights[i + 1 :]
        geometric = exp(sum((log(w) for w in others), start=lift(0)) / (samples - 1))
        baselines.append(log(sum(others, start=geometric) / samples))
    return draws, log(sum(weights, start=lift(0)) / samples), baselines


@pytest.mark.parametrize("samples", [2, 3])
def test_logarithms_and_geometric_means_are_atoms_that_are_recognised(samples):
    draws, bound, baselines = multi_sample_bound(samples)
    learning = sum(((bound - base) * score(b) for b, base in zip(draws, baselines, strict=True)), start=grad(bound, theta))
    assert exact.identically_equal(grad(E(bound, *draws), theta), E(learning, *draws), theta, 3)


def test_a_difference_of_logarithms_is_no_proof():
    draws, bound, _ = multi_sample_bound(2)
    found = exact.compare(grad(E(bound, *draws), theta), E(grad(bound, theta), *draws), theta, 2)
    assert not found.zero


# Copies


@pytest.fixture(params=["sums of products", "multisets and tuples"])
def way(request, monkeypatch):
    """Read means over copies as sums of products where that is possible, or never."""
    if request.param != "sums of products":
        monkeypatch.setattr("derive.exact.evaluate.SUMMANDS", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_both_ways_to_average_over_copies_prove_leave_one_out_and_scale_the_group_mean(samples):
    assert exact.check(with_group_mean(samples, itself=False), 3).zero
    assert exact.scale(with_group_mean(samples, itself=True), 3) == Fraction(samples - 1, samples)


def test_both_ways_to_average_over_copies_give_the_same_variance(monkeypatch):
    split = exact.variance(with_group_mean(3, itself=True), 2).formula
    monkeypatch.setattr("derive.exact.evaluate.SUMMANDS", 0)
    assert exact.variance(with_group_mean(3, itself=True), 2).formula == split


def test_multisets_reach_eight_outcomes_and_six_samples(monkeypatch):
    monkeypatch.setattr("derive.exact.evaluate.SUMMANDS", 0)
    assert exact.check(with_group_mean(6, itself=False), 8).zero



@pytest.mark.usefixtures("way")
def test_a_formula_that_is_not_symmetric_is_enumerated_in_full():
    first, second, third = draws = copies(b, 3)
    mean = E(g(first, second, third), *draws)
    assert exact.identically_equal(mean, E(g(second, third, first), *draws), theta, 3)
    assert not exact.identically_equal(mean, E(g(first, first, third), *draws), theta, 2)
    assert not exact.identically_equal(mean, E(g(first, second, third) - f(first) + f(second) * c, *draws), theta, 2)


@pytest.mark.usefixtures("way")
def test_symmetry_is_not_assumed_where_only_a_swap_leaves_the_formula_alone():
    first, second, third = draws = copies(b, 3)
    lopsided = E((f(first) + f(second)) * f(third) ** 2, *draws)
    assert exact.identically_equal(lopsided, 2 * E(f(b), b) * E(f(b) ** 2, b), theta, 3)


@pytest.mark.usefixtures("way")
def test_symmetry_is_not_assumed_where_only_a_rotation_leaves_the_formula_alone():
    x, y, z = draws = copies(b, 3)
    cyclic = g(x, y) * f(x) + g(y, z) * f(y) + g(z, x) * f(z)
    assert exact.identically_equal(E(cyclic, *draws), 3 * E(g(x, y) * f(x), x, y), theta, 3)


def test_too_many_outcomes_are_refused_with_what_fits():
    with pytest.raises(TooLarge, match="at most 338 outcomes"):
        exact.check(catalogue["score-function"], 10_000)
    assert exact.check(catalogue["score-function"], 50).zero


def test_large_enumerations_are_refused_with_what_fits():
    draws = copies(b, 9)
    with pytest.raises(TooLarge, match=rf"262144 cases are more than the {LIMIT}.* with 4 outcomes at most 8 copies"):
        exact.identically_equal(E(g(*draws), *draws), c, theta, 4)


def test_draws_that_depend_on_each_other_are_not_split():
    x = finite("x", theta, law="r")
    y = finite("y", theta, law="s", given=(x,))
    other = finite("z", theta, law="r")
    product_of_means = E(E(C(y), y) * f(x), x)
    assert exact.identically_equal(E(f(x) * C(y) * g(other), x, y, other), product_of_means * E(g(other), other), theta, 2)
    apart = E(f(x), x) * E(E(C(y), y), x) * E(g(other), other)
    assert not exact.identically_equal(E(f(x) * C(y) * g(other), x, y, other), apart, theta, 2)


# Refusals


def test_an_abstract_density_has_no_exact_value():
    x = continuous("x", theta)
    with pytest.raises(NotEvaluable, match="nothing is known of the DensityLaw p"):
        exact.identically_equal(E(f(x), x), c, theta, 2)


def test_an_abstract_density_is_not_dropped_where_nothing_depends_on_it():
    x = continuous("x", theta, normalised=False)
    for unused in (E(f(b), x, b), E(f(b), b, x), E(lift(1), x)):
        with pytest.raises(NotEvaluable, match="nothing is known"):
            exact.identically_equal(unused, c, theta, 2)


def test_a_zero_denominator_is_refused():
    with pytest.raises(NotEvaluable, match="division by zero"):
        exact.identically_equal(1 / (E(score(b), b) * c), c, theta, 2)


def test_a_law_of_another_parameter_stands_still():
    other = finite("b", parameter("phi"))
    assert exact.identically_equal(grad(E(f(other), other), theta), lift(0), theta, 3)
    assert not exact.identically_equal(E(f(other), other), E(f(b), b), theta, 2)


def test_an_unknown_node_is_refused_by_name():
    class Novel(Term):
        pass

    with pytest.raises(UnknownNode, match="Novel"):
        exact.identically_equal(Novel(), c, theta, 2)


def test_every_node_of_the_language_has_a_reading():
    leaves = {kind for kind in Term.__subclasses__() if kind.__module__ == "derive.language.term"}
    assert leaves == set(Reader.readings)


def test_there_must_be_an_outcome():
    with pytest.raises(UsageError, match="at least 1"):
        exact.identically_equal(c, c, theta, 0)


# Witnesses


def test_the_forgotten_correction_has_the_smallest_witness():
    found = exact.witness(E((f(b) - C(b)) * score(b), b), target, theta)
    zero = {"f(1)": "0", "f(2)": "0", "C(2)": "0"}
    assert found.case == {"p(1)": "1/2", "p(2)": "1/2", "dp(1)": "1", "dp(2)": "-1", "C(1)": "1"} | zero
    assert (found.left, found.right) == (-1, 0)


def test_there_is_no_witness_against_a_theorem():
    assert exact.witness(E(f(b) * score(b), b), target, theta) is None


def test_a_witness_may_need_unequal_probabilities():
    found = exact.witness(E((p(b) - 1 / lift(2)) * f(b), b), lift(0), theta, 2)
    assert (found.case["p(1)"], found.case["p(2)"]) == ("1/3", "2/3")
    assert found.left != found.right


def test_a_witness_may_need_three_outcomes():
    """The power sums have 2 s_3 = 3 s_2 - 1 + 6 e_3, where e_3, the sum of p_i p_j p_k, vanishes on two outcomes."""
    squares = Over(p(b) ** 2, b)
    only_two = Over(p(b) ** 3, b) - (3 * squares - 1) / 2
    assert exact.witness(only_two, lift(0), theta, 2) is None
    assert exact.witness(only_two, lift(0), theta, 3) is not None


def test_a_witness_holds_when_it_is_computed_again_from_its_case():
    wrong = Estimator("wrong", (f(b) - C(b)) * score(b) * f(b), (b,), target)
    found = exact.witness(wrong.expectation, wrong.target, theta)
    case = RationalCase({name: Fraction(value) for name, value in found.case.items()})
    assert exact.mean_and_variance_at(wrong, case)[0] == found.left
    assert sum(case.values[f"dp({k})"] * case.values[f"f({k})"] for k in (1, 2)) == found.right


def test_a_witness_with_a_logarithm_encloses_both_values():
    """At p = (1/3, 2/3) and p' = (1, -1) the gradient of E[log p] is log p_1 - log p_2 = -log 2."""
    wrong = E(f(b) * score(b), b)
    found = exact.witness(grad(E(f(b) + log(p(b)), b), theta), wrong, theta)
    assert found.radius > 0
    assert abs(found.left - found.right + Fraction(693147180559945, 10**15)) < 2 * found.radius
    assert exact.compare(grad(E(f(b) + log(p(b)), b), theta), wrong, theta, 2).conclusive


def test_a_logarithm_of_a_negative_number_is_no_witness():
    """log(-exp(c)) is defined nowhere, and log(c - 9) only beyond 9."""
    assert exact.witness(log(-exp(c)), lift(0), theta) is None
    assert Fraction(exact.witness(log(c - 9), lift(0), theta).case["c"]) > 9


def test_an_undecided_difference_of_atoms_is_neither_a_proof_nor_a_refutation():
    found = exact.compare(log(c * c), 2 * log(c), theta, 2)
    assert not found.zero
    assert not found.conclusive
    assert exact.witness(log(c * c), 2 * log(c), theta) is None


# Values at a point, against plain enumeration


def enumerated(formula, samples: int, probabilities, tangents) -> tuple[Fraction, Fraction]:
    """Mean and variance by enumeration: `formula` takes the outcomes and the scores of the samples."""
    outcomes, mean, square = range(len(probabilities)), Fraction(0), Fraction(0)
    scores = [dp / q for q, dp in zip(probabilities, tangents, strict=True)]
    for draw in product(outcomes, repeat=samples):
        weight = prod((probabilities[k] for k in draw), start=Fraction(1))
        value = formula(draw, [scores[k] for k in draw])
        mean, square = mean + weight * value, square + weight * value**2
    return mean, square - mean**2


@st.composite
def laws(draw) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...], tuple[Fraction, ...], tuple[Fraction, ...]]:
    law = draw(strategies.laws((2, 3)))
    return *law, draw(strategies.tables(len(law[0]))), draw(strategies.tables(len(law[0])))


def leave_one_out_by_hand(table):
    def formula(draw, scores):
        total, n = sum(table[k] for k in draw), len(draw)
        return sum((table[k] - (total - table[k]) / (n - 1)) * s for k, s in zip(draw, scores, strict=True)) / n

    return formula


@given(laws(), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_leave_one_out_has_the_mean_and_variance_of_plain_enumeration(law, samples):
    probabilities, tangents, table, _ = law
    case = RationalCase.finite(probabilities, tangents, f=table)
    expected = enumerated(leave_one_out_by_hand(table), samples, probabilities, tangents)
    assert exact.mean_and_variance_at(with_group_mean(samples, itself=False), case) == expected
    assert expected[0] == sum(dp * value for dp, value in zip(tangents, table, strict=True))


@given(laws(), strategies.rationals())
@settings(max_examples=25, deadline=None)
def test_the_formula_of_the_variance_has_the_value_of_plain_enumeration(law, eta):
    probabilities, tangents, table, control = law
    estimator = Estimator("mixed", (f(b) - c * C(b)) * score(b) + c * grad(E(C(b), b), theta), (b,), target)
    case = RationalCase.finite(probabilities, tangents, symbols={"c": eta}, f=table, C=control)
    correction = eta * sum(dp * value for dp, value in zip(tangents, control, strict=True))

    def formula(draw, scores):
        return (table[draw[0]] - eta * control[draw[0]]) * scores[0] + correction

    expected = enumerated(formula, 1, probabilities, tangents)
    assert exact.variance(estimator, len(table)).at(case) == expected[1]
    assert exact.mean_and_variance_at(estimator, case) == expected


@given(laws())
@settings(max_examples=15, deadline=None)
def test_a_generic_mean_at_a_point_is_the_mean_at_that_point(law):
    """The symbolic and the rational model are the same reading in two rings."""
    probabilities, tangents, table, control = law
    case = RationalCase.finite(probabilities, tangents, f=table, C=control)
    first, second = draws = copies(b, 2)
    estimator = Estimator("odd", f(first) * score(second) - C(first) * score(first) ** 2 * f(second), draws, target)
    expected = enumerated(
        lambda draw, s: table[draw[0]] * s[1] - control[draw[0]] * s[0] ** 2 * table[draw[1]], 2, probabilities, tangents
    )
    assert exact.mean_and_variance_at(estimator, case) == expected


def test_the_variance_of_the_score_function_on_a_bernoulli_is_the_hand_computed_one():
    """p = 1/3, p' = p (1 - p) = 2/9; f = 2 and 5: estimates -2/3 and 10/3, mean 2/3 = 3 p', E g^2 = 4, variance 4 - 4/9."""
    q = Fraction(1, 3)
    case = RationalCase.finite((1 - q, q), (-q * (1 - q), q * (1 - q)), f=(2, 5))
    assert exact.mean_and_variance_at(catalogue["score-function"], case) == (Fraction(2, 3), Fraction(32, 9))
    assert exact.variance(catalogue["score-function"], 2).at(case) == Fraction(32, 9)


def test_the_variance_of_a_constant_is_zero_and_that_of_a_score_is_not():
    assert exact.variance(Estimator("constant", c + 0 * f(b), (b,), target), 2).formula == "0"
    assert exact.variance(Estimator("score", lift(1) * score(b), (b,), target), 2).formula == "p(1)*score(1)^2 / (1 - p(1))"


def test_a_case_must_be_a_law_and_must_be_complete():
    with pytest.raises(UsageError, match="sum to 1"):
        RationalCase.finite((HALF, HALF, HALF), (0, 0, 0))
    with pytest.raises(UsageError, match="sum to 0"):
        RationalCase.finite((HALF, HALF), (1, 1))
    with pytest.raises(UsageError, match="equal lengths"):
        RationalCase.finite((HALF, HALF), (1, -1), f=(1,))
    with pytest.raises(UsageError, match=r"does not say what f\(1\) is"):
        exact.mean_and_variance_at(catalogue["score-function"], RationalCase.finite((HALF, HALF), (1, -1)))


# Numbers that are not rational


def enclosed_model(**values):
    return EnclosedModel(RationalCase({name: Fraction(value) for name, value in values.items()}), 2, "theta")


def test_what_is_rational_stays_exact_and_everything_else_is_a_ball():
    model = enclosed_model()
    assert model.exp(model.zero) == 1
    assert model.log(model.one) == 0
    assert model.log(model.exp(model.one)).contains(1)
    assert not is_exact(model.log(model.number(2)))


@pytest.mark.parametrize("value", [0, -1])
def test_a_logarithm_of_what_is_not_positive_is_refused(value):
    with pytest.raises(NotEvaluable, match="not certainly positive"):
        enclosed_model().log(enclosed_model().number(value))


def test_what_cannot_be_told_from_zero_has_no_logarithm_and_no_inverse():
    model = enclosed_model()
    nothing = model.log(model.number(2)) + model.log(model.number(3)) - model.log(model.number(6))
    assert nothing.contains(0)
    assert not nothing == 0
    for refused, message in [(model.log, "not certainly positive"), (model.inverse, "cannot be told from zero")]:
        with pytest.raises(NotEvaluable, match=message):
            refused(nothing)


def test_a_derivative_that_cannot_be_told_from_zero_is_not_taken_for_zero():
    """d f(theta (log 2 + log 3 - log 6)) / dtheta is 0, but that is not known: it stays a ball."""

    class Case:
        def lookup(self, key, parameter):
            return Fraction(1)

    nothing = log(lift(2)) + log(lift(3)) - log(lift(6))
    term = grad(f(theta * nothing), theta)
    value = Reader(EnclosedModel(Case(), 2, "theta"), (term,)).read(term, {}, 0)[0]
    assert not is_exact(value)
    assert value.contains(0)
