"""The constant with which the variance is smallest, against plain enumeration in fractions."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import derive
from derive.catalogue import catalogue
from derive.cli.main import app, run
from derive.estimator import Estimator
from derive.kernel.algebra import equal
from derive.notation import E, constant, copies, exp, finite, function, grad, normal, parameter, score
from derive.verdicts.tuning import BASELINE, best_constants, vanishes

theta, c, k = parameter("theta"), constant("c"), constant("k")
b, z = finite("b", theta), normal("z", theta)
b1, b2 = copies(b, 2)
f, g, h = function("f"), function("g"), function("h")
target = grad(E(f(b), b), theta)
LAW, TANGENT = (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)), (Fraction(1), Fraction(-3), Fraction(2))
SCORES = [tangent / mass for mass, tangent in zip(LAW, TANGENT, strict=True)]
TABLES = {"f": (1, -2, 5), "g": (2, 0, -1), "h": (1, 3, 2)}
POINT = {f"{name}({i})": Fraction(value) for name, values in TABLES.items() for i, value in enumerate(values, 1)}
POINT |= {f"p({i})": mass for i, mass in enumerate(LAW, 1)} | {f"dp({i})": tangent for i, tangent in enumerate(TANGENT, 1)}


def point(*names):
    return {name: value for name, value in POINT.items() if name.split("(")[0] in {"p", "dp", *names}}


def moments(values):
    mean = sum(mass * value for mass, value in values)
    return mean, sum(mass * value**2 for mass, value in values) - mean**2


def variance(estimate):
    return moments([(LAW[i], estimate(i)) for i in range(3)])[1]


def only(formula, draws=(b,), outcomes=3, names="f"):
    (best,) = best_constants(Estimator("mine", formula, draws, target), outcomes, point(*names))
    return best


def test_the_best_baseline_weighs_by_the_squared_score():
    best = only((f(b) - c) * score(b))
    weights = [mass * s**2 for mass, s in zip(LAW, SCORES, strict=True)]
    assert best.value == sum(w * v for w, v in zip(weights, TABLES["f"], strict=True)) / sum(weights)
    assert best.variance == variance(lambda i: (TABLES["f"][i] - best.value) * SCORES[i])
    assert equal(best.term, E(f(b) * score(b) ** 2, b) / E(score(b) ** 2, b))


def test_an_estimator_without_a_constant_is_told_the_baseline_that_it_lacks():
    assert only(f(b) * score(b)).name == BASELINE
    assert only(f(b) * score(b)).value == only((f(b) - c) * score(b)).value


@pytest.mark.parametrize(
    "formula",
    [
        pytest.param((f(b) - c * g(b)) * score(b) + c * E(g(b) * score(b), b), id="control variate"),
        pytest.param(f(b) * score(b) + c * h(b), id="a constant that moves the mean"),
        pytest.param((c * f(b) + g(b)) * score(b) + c, id="a coefficient in front"),
    ],
)
def test_no_other_value_has_a_smaller_variance(formula):
    best = only(formula, names="fgh")
    for off in (Fraction(-1, 10), Fraction(1, 1000), Fraction(2)):
        moved = derive.variance(Estimator("mine", formula, (b,), target), 3, {**_used(formula), "c": best.value + off})
        assert moved.variance > best.variance


def _used(formula):
    return point(*(name for name in "fgh" if f"Function(name='{name}'" in repr(formula)))


def test_the_value_is_that_of_enumeration_where_the_mean_moves():
    best = only(f(b) * score(b) + c * h(b), names="fh")
    tables = [(mass, TABLES["f"][i] * SCORES[i], Fraction(TABLES["h"][i])) for i, mass in enumerate(LAW)]
    means = [sum(mass * row[n] for mass, *row in tables) for n in (0, 1)]
    covariance = sum(mass * left * right for mass, left, right in tables) - means[0] * means[1]
    assert best.value == -covariance / (sum(mass * right**2 for mass, _, right in tables) - means[1] ** 2)


def test_a_mean_vanishes_only_where_it_does_on_any_number_of_outcomes():
    """The product of the differences of three samples is zero on two outcomes."""
    b1, b2, b3 = copies(b, 3)
    apart = (f(b1) - f(b2)) * (f(b2) - f(b3)) * (f(b1) - f(b3)) * f(b1) ** 2 * f(b2)
    assert vanishes(E(score(b), b), theta)
    assert not vanishes(E(apart, b1, b2, b3), theta)


def test_of_several_constants_each_is_the_best_beside_the_others():
    estimator = Estimator("two", (f(b) - c - k * g(b)) * score(b) + k * E(g(b) * score(b), b), (b,), target)
    given = point("f", "g") | {"c": Fraction(2), "k": Fraction(-1)}
    found = {best.name: best for best in best_constants(estimator, 3, given)}
    assert set(found) == {"c", "k"}
    for name, best in found.items():
        for off in (Fraction(-1, 100), Fraction(1, 100)):
            assert derive.variance(estimator, 3, given | {name: best.value + off}).variance > best.variance


@pytest.mark.parametrize(
    "formula",
    [
        (f(b) - exp(c)) * score(b),
        (f(b) - c**2) * score(b),
        f(b) * score(b) + c,
        f(b1) * score(b1) + f(b2) * score(b2),
    ],
)
def test_nothing_is_said_of_what_is_not_affine_or_changes_nothing(formula):
    draws = (b1, b2) if "b_1" in repr(formula) else (b,)
    assert best_constants(Estimator("mine", formula, draws, target), 2, {}) == ()


def test_nothing_is_said_of_a_constant_on_which_a_draw_depends():
    noise = normal("e", 0, c)
    assert best_constants(Estimator("mine", f(b) * score(b) + c * noise, (b, noise), target), 2, {})[0].name == BASELINE


def test_a_baseline_of_a_normal_law_is_found_too():
    """f(z) = z^2 and the score z at theta = 0: E z^4 / E z^2 = 3, and Var(z^3 - 3 z) = 15 - 18 + 9."""
    squared = Estimator("mine", (z**2 - c) * score(z), (z,), grad(E(z**2, z), theta))
    (best,) = best_constants(squared, 2, {"theta": Fraction(0)})
    assert (best.value, best.variance) == (3, 6)


def test_a_point_that_leaves_values_open_still_has_the_formula():
    (best,) = best_constants(catalogue["kl-k1-reward"], 2, {})
    assert best.value is None
    assert "log(p(1))" in best.formula.text()


def test_the_command_says_it_in_words_and_in_json(capsys):
    assert run(app, ["variance", "score-function", "--at", "f(1)=0", "--at", "f(2)=1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "best baseline to subtract, times the score" in said
    assert "at the point 1/2, with which the variance is 0" in said
    assert run(app, ["variance", "constant-baseline", "--json"]) == 0
    (best,) = json.loads(capsys.readouterr().out)["best"]
    assert (best["name"], best["formula"]) == ("c", "f(1) - p(1)*f(1) + p(1)*f(2)")


def test_what_is_shown_says_it():
    report = derive.variance(catalogue["constant-baseline"])
    assert "best" in str(report)
    assert "with which the variance is 0" in report._repr_html_()
