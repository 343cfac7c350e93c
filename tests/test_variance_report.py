"""The variance at a point is that of the enumeration by hand, its formula agrees with it, and bad points are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

import derive
from derive.errors import UsageError

THIRD, HALF = Fraction(1, 3), Fraction(1, 2)


def by_hand(estimates, probabilities):
    mean = sum(p * g for p, g in zip(probabilities, estimates, strict=True))
    return mean, sum(p * g * g for p, g in zip(probabilities, estimates, strict=True)) - mean**2


def score_function_at(p, f):
    tangents = [p_k * (int(k == len(p) - 1) - p[-1]) for k, p_k in enumerate(p)]
    return by_hand([f_k * dp / p_k for f_k, dp, p_k in zip(f, tangents, p, strict=True)], p)


def test_the_default_point_is_the_toy_problem_at_equal_probabilities():
    report = derive.variance(derive.catalogue["score-function"])
    toy = [(k - Fraction(499, 1000)) ** 2 for k in (0, 1)]
    assert (report.mean, report.variance) == score_function_at([HALF, HALF], toy)
    assert report.mean == Fraction(1, 2000)


@pytest.mark.parametrize("outcomes", [2, 3, 5])
def test_the_variance_is_that_of_an_enumeration_by_hand(outcomes):
    f = [Fraction(7 * k - 3, k + 2) for k in range(outcomes)]
    at = {f"f({k})": value for k, value in enumerate(f, 1)} | {"p(1)": THIRD}
    p = [THIRD] + [Fraction(2, 3) / (outcomes - 1)] * (outcomes - 1)
    report = derive.variance(derive.catalogue["score-function"], outcomes, at)
    assert (report.mean, report.variance) == score_function_at(p, f)


def test_a_baseline_changes_the_variance_and_not_the_mean():
    plain = derive.variance(derive.catalogue["constant-baseline"], at={"c": Fraction(0)})
    shifted = derive.variance(derive.catalogue["constant-baseline"], at={"c": Fraction(5)})
    assert plain.mean == shifted.mean
    assert plain.variance < shifted.variance


def test_the_formula_has_the_value_at_the_point():
    report = derive.variance(derive.catalogue["score-function"], at={"p(1)": THIRD, "f(1)": Fraction(2), "f(2)": Fraction(-3)})
    names = {"p(1)": "p", "f(1)": "f", "f(2)": "g", "score(1)": "s"}
    text = report.formula
    for name, letter in names.items():
        text = text.replace(name, letter)
    p, f, g, s = (sympy.Symbol(letter) for letter in "pfgs")
    values = {p: report.point["p(1)"], f: report.point["f(1)"], g: report.point["f(2)"]}
    values[s] = report.point["dp(1)"] / report.point["p(1)"]
    formula = sympy.parse_expr(text.replace("^", "**"), {"p": p, "f": f, "g": g, "s": s})
    assert formula.subs({symbol: sympy.Rational(value) for symbol, value in values.items()}) == sympy.Rational(report.variance)


def test_a_point_that_leaves_moments_open_has_a_formula_and_says_what_is_missing():
    report = derive.variance(derive.catalogue["relax"])
    assert report.variance is None
    assert "E[c(z, phi)" in report.formula
    assert "does not say what E[" in report.note
    assert report.to_json()["variance"] is None


@pytest.mark.parametrize("eta", [Fraction(0), HALF, Fraction(1)])
def test_rebar_is_integrated_for_a_bernoulli_variable(eta):
    report = derive.variance(derive.catalogue["rebar"], at={"eta": eta, "p(1)": THIRD})
    score_function = derive.variance(derive.catalogue["score-function"], at={"p(1)": THIRD})
    assert abs(report.mean - score_function.mean) <= report.radius < Fraction(1, 10**20)
    same = abs(report.variance - score_function.variance) <= report.radius
    assert same == (eta == 0), "without its control variate REBAR is the score function"


def test_a_relaxed_point_is_refused_where_it_is_no_point_of_the_relaxation():
    with pytest.raises(UsageError, match="sum to 1"):
        derive.variance(derive.catalogue["rebar"], at={"p(1)": THIRD, "p(2)": THIRD})
    with pytest.raises(UsageError, match="strictly between 0 and 1"):
        derive.variance(derive.catalogue["concrete"], at={"p(2)": Fraction(3, 2)})


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"p(1)": Fraction(3, 2)}, "strictly between 0 and 1"),
        ({"p(1)": Fraction(1)}, "strictly between 0 and 1"),
        ({"p(1)": THIRD, "p(2)": THIRD}, "sum to 1"),
        ({"g(1)": HALF}, r"has no g\(1\)"),
    ],
)
def test_a_bad_point_is_refused(at, message):
    with pytest.raises(UsageError, match=message):
        derive.variance(derive.catalogue["score-function"], at=at)


def test_fewer_than_two_outcomes_are_refused():
    with pytest.raises(UsageError, match="at least 2 outcomes"):
        derive.variance(derive.catalogue["score-function"], 1)
