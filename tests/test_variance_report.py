"""The variance at a point is that of an enumeration or a quadrature by hand, and bad points are refused."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import product
from math import prod

import mpmath
import numpy as np
import pytest
import sympy

import derive
from derive.catalogue import catalogue
from derive.cli import main as cli
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.named import geometric as geometric_law
from derive.laws.bernoulli import RelaxedBernoulli
from derive.notation import (
    E,
    choice,
    constant,
    exponential,
    function,
    grad,
    negative_binomial,
    normal,
    parameter,
    poisson,
    score,
    sigmoid,
)
from tests.families import FURTHER

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


# Logarithms: all outcomes by hand, with 40 digits


def real(value):
    return mpmath.mpf(value.numerator) / value.denominator


def law_of(logits):
    weights = [mpmath.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def bound(logits, log_joint, samples):
    """E[log mean_k exp(log_joint(b_k)) / q(b_k)]."""
    q = law_of(logits)
    draws = product(range(len(q)), repeat=samples)
    return sum(prod(q[k] for k in draw) * log_mean([mpmath.exp(log_joint[k]) / q[k] for k in draw]) for draw in draws)


def log_mean(weights):
    return mpmath.log(sum(weights) / len(weights))


def elbo(draw, q, log_joint):
    (k,) = draw
    return (log_joint[k] - mpmath.log(q[k])) * score_of(k, q)


def nvil(draw, q, log_joint):
    return elbo(draw, q, log_joint) - (3 * 2 + 5) * score_of(draw[0], q)


def score_of(k, q):
    return (k == len(q) - 1) - q[-1]


def vimco(mean):
    def estimate(draw, q, log_joint):
        weights = [mpmath.exp(log_joint[k]) / q[k] for k in draw]
        total, result = log_mean(weights), mpmath.mpf(0)
        for i, k in enumerate(draw):
            others = weights[:i] + weights[i + 1 :]
            signal = total - log_mean([*others, mean(others)])
            result += (signal - weights[i] / sum(weights)) * score_of(k, q)
        return result

    return estimate


def geometric(weights):
    return mpmath.exp(sum(map(mpmath.log, weights)) / len(weights))


def arithmetic(weights):
    return sum(weights) / len(weights)


WITH_LOGARITHMS = {
    "elbo-score-function": (elbo, 1),
    "nvil": (nvil, 1),
    "vimco": (vimco(geometric), 2),
    "vimco-arithmetic": (vimco(arithmetic), 2),
}


def agrees(enclosed, radius, value):
    return abs(real(enclosed) - value) <= real(radius) + mpmath.mpf(10) ** -25


@pytest.mark.parametrize("name", WITH_LOGARITHMS)
@pytest.mark.parametrize("outcomes", [2, 3])
def test_where_logarithms_occur_the_values_are_those_of_an_enumeration_with_forty_digits(name, outcomes):
    estimate, samples = WITH_LOGARITHMS[name]
    log_joint = [Fraction(3 * k - 2, k + 2) for k in range(outcomes)]
    q = [Fraction(1, 5), *([Fraction(4, 5) / (outcomes - 1)] * (outcomes - 1))]
    at = {f"log_joint({k})": value for k, value in enumerate(log_joint, 1)} | {"q(1)": q[0]}
    at |= {"x": Fraction(3), "psi": Fraction(2), "c": Fraction(5)} if name == "nvil" else {}
    report = derive.variance(catalogue[name], outcomes, at)
    with mpmath.workdps(40):
        chances, values = [real(chance) for chance in q], [real(value) for value in log_joint]
        draws = list(product(range(outcomes), repeat=samples))
        weights = [prod(chances[k] for k in draw) for draw in draws]
        mean, spread = by_hand([estimate(draw, chances, values) for draw in draws], weights)
        logits = [mpmath.log(chance) for chance in chances]
        gradient = mpmath.diff(lambda last: bound([*logits[:-1], last], values, samples), logits[-1])
        assert agrees(report.mean, report.radius, mean)
        assert agrees(report.variance, report.radius, spread)
        assert abs(mean - gradient) < mpmath.mpf(10) ** -15
    assert 0 < report.radius < Fraction(1, 10**20)


def test_the_baseline_of_nvil_has_the_variance_of_an_enumeration():
    at = {"q(1)": THIRD, "log_joint(1)": HALF, "log_joint(2)": Fraction(-1), "x": Fraction(3), "psi": Fraction(2)}
    report = derive.variance(catalogue["nvil-baseline"], at=at)
    with mpmath.workdps(40):
        residuals = [mpmath.mpf(1) / 2 - mpmath.log(real(THIRD)) - 7, -1 - mpmath.log(real(1 - THIRD)) - 7]
        mean, spread = by_hand([-2 * residual * 3 for residual in residuals], [real(THIRD), real(1 - THIRD)])
        assert agrees(report.mean, report.radius, mean)
        assert agrees(report.variance, report.radius, spread)


def test_a_value_that_is_rational_stays_exact():
    """At q = 1/2 all logarithms are the same; where every weight is 1, they are 0."""
    weights_one = {"q(1)": HALF, "log_joint(1)": Fraction(0), "log_joint(2)": Fraction(0)}
    report = derive.variance(catalogue["score-function"])
    assert report.radius == 0
    assert derive.variance(catalogue["nvil-baseline"], at=weights_one).radius > 0


@pytest.mark.parametrize("p", [THIRD, Fraction(3, 4)])
def test_straight_through_is_the_slope_times_the_spread(p):
    """E[f'(b)] p (1 - p), with f' given by coefficients or by name."""
    report = derive.variance(catalogue["straight-through"], at={"p(2)": p, "f_1": Fraction(2), "f_3": Fraction(5)})
    slopes = [2 * p * (1 - p), (2 + 15) * p * (1 - p)]
    assert (report.mean, report.variance) == by_hand(slopes, [1 - p, p])
    named = derive.variance(catalogue["straight-through"], at={"p(2)": p, "f'(0)": Fraction(2), "f'(1)": Fraction(17)})
    assert (named.mean, named.variance) == (report.mean, report.variance)


# Relaxations: the closed forms of derive.laws.bernoulli, and quadrature over both noises


@pytest.mark.parametrize(("p", "temperature", "eta"), [(THIRD, HALF, HALF), (Fraction(4, 5), Fraction(2), Fraction(-1))])
def test_the_moments_of_the_formula_agree_with_the_integrals_of_the_estimator(p, temperature, eta):
    """Two readings: the moments of the second moment's polynomial, and one integral of the whole estimate."""
    integrand = (Fraction(2), Fraction(-1), Fraction(1, 3), Fraction(1))
    at = {"p(2)": p, "lambda": temperature} | {f"f_{n}": c for n, c in enumerate(integrand)}
    law = RelaxedBernoulli(p, integrand, temperature)
    for name, expected, more in [("concrete", law.concrete(), {}), ("rebar", law.rebar(eta), {"eta": eta})]:
        report = derive.variance(catalogue[name], at=at | more)
        assert abs(report.mean - expected.mean.middle) <= report.radius + expected.mean.radius
        assert abs(report.variance - expected.variance.middle) <= report.radius + expected.variance.radius
        assert report.radius < Fraction(1, 10**18)
    control = {f"c_{n}": c for n, c in enumerate(integrand)} | {"f(1)": Fraction(2), "f(2)": Fraction(7, 3), "phi": eta}
    report = derive.variance(catalogue["relax"], at={"p(2)": p, "lambda": temperature} | control)
    assert abs(report.variance - law.rebar(eta).variance.middle) <= 2 * report.radius


@pytest.mark.parametrize(
    ("name", "free"),
    [("rebar-variance-eta", "eta"), pytest.param("relax-variance-phi", "phi", marks=pytest.mark.exhaustive)],
)
def test_the_gradient_of_a_variance_is_that_of_the_variance(name, free):
    """The variance is quadratic in eta and in phi, so a central difference is its derivative."""
    plain, at = name.partition("-variance")[0], {"p(1)": THIRD, "lambda": Fraction(3, 4)}
    values = [derive.variance(catalogue[plain], at=at | {free: Fraction(n, 4)}) for n in (1, 5)]
    report = derive.variance(catalogue[name], at=at | {free: Fraction(3, 4)})
    assert abs(report.mean - (values[1].variance - values[0].variance)) <= report.radius + 2 * values[0].radius


def relaxed_estimate(name, p, temperature, free):
    """The estimate g and its derivative, on a grid of both noises, by a complex step: independent of every file of derive."""
    nodes, weights = np.polynomial.legendre.leggauss(80)

    def side(b):
        low, high = (1 - p, 1) if b else (0, 1 - p)
        return (high - low) / 2 * nodes + (high + low) / 2, (high - low) / 2 * weights

    def soft(z, rate):
        return 1 / (1 + np.exp(-z / rate))

    def g(b, u, v, step):
        rate = temperature + (step if free == "lambda" else 0)
        scale = 1 + (step if free in ("eta", "phi") else 0)
        z, z_tilde = (np.log(p / (1 - p)) + np.log(noise / (1 - noise)) for noise in (u, v))
        s, s_tilde = soft(z, rate), soft(z_tilde, rate)
        moved = 1 - (1 - p) / v if b else 1 - p / (1 - v)
        value = (lambda x: (x - 0.499) ** 2) if name.startswith("rebar") else (lambda x: x)
        slope = (lambda x: 2 * (x - 0.499)) if name.startswith("rebar") else (lambda x: 1)
        pathwise = (slope(x) * x * (1 - x) / rate * by for x, by in ((s, 1), (s_tilde, moved)))
        return ((b - 0.499) ** 2 - scale * value(s_tilde)) * (b - p) + scale * (next(pathwise) - next(pathwise))

    total = np.zeros(2)
    for b in (0, 1):
        (u, wu), (v, wv) = side(b), side(b)
        at = b, u[:, None], v[None, :]
        sample = 2 * g(*at, 0.0) * (g(*at, 1e-30j).imag / 1e-30)
        chances = wu[:, None] * wv[None, :] / (p if b else 1 - p)
        total += [(sample * chances).sum(), (sample**2 * chances).sum()]
    return total[0], total[1] - total[0] ** 2


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("rebar-variance-eta", "eta"),
        ("relax-variance-phi", "phi"),
        pytest.param("rebar-variance-lambda", "lambda", marks=pytest.mark.exhaustive),
    ],
)
def test_the_variance_of_a_gradient_of_a_variance_is_that_of_a_quadrature_over_both_noises(name, free):
    report = derive.variance(catalogue[name], at={"p(1)": Fraction(2, 3)})
    mean, spread = relaxed_estimate(name, 1 / 3, 0.5, free)
    assert float(report.mean) == pytest.approx(mean, rel=1e-5)
    assert float(report.variance) == pytest.approx(spread, rel=1e-4)
    assert report.radius < Fraction(1, 10**18)


# What is refused, and how it says so


def test_every_entry_of_the_catalogue_has_a_value_at_its_default_point_or_says_what_is_missing():
    silent = {}
    for name in set(catalogue) - set(FURTHER) - {"rebar-variance-lambda"}:
        report = derive.variance(catalogue[name])
        assert (report.variance is None) == (not report.point), name
        if report.variance is None:
            silent[name] = report.note
    assert silent == {}


def test_a_bound_of_three_normal_samples_says_that_it_is_not_integrated():
    report = derive.variance(catalogue["iwae"].with_samples(3))
    assert report.variance is None
    assert "mean over normal variables of a logarithm" in report.note


def test_a_relaxation_of_three_outcomes_says_that_its_integral_has_two_dimensions():
    report = derive.variance(catalogue["rebar"], 3)
    assert report.variance is None
    assert "integral over 2 dimensions" in report.note


def test_the_names_at_the_default_point_are_those_that_can_be_given():
    for name in ("vimco", "relax", "straight-through", "nvil", "pathwise"):
        report = derive.variance(catalogue[name])
        assert derive.variance(catalogue[name], at=report.point).variance == report.variance


@pytest.mark.parametrize(
    ("name", "at", "message"),
    [
        ("rebar", {"dp(1)": HALF}, "moves with the logit"),
        ("rebar", {"f(1)": HALF}, "give f_0, f_1"),
        ("rebar", {"lambda": Fraction(0)}, "lambda be positive"),
        ("rebar", {"f_17": HALF}, "at most the degree 16"),
        ("relax", {"g_1": HALF}, "has no g_1"),
        ("vimco", {"log_joint(3)": HALF}, r"has no log_joint\(3\); it has dq\(1\)"),
    ],
)
def test_a_value_that_cannot_be_given_is_refused(name, at, message):
    with pytest.raises(UsageError, match=message):
        derive.variance(catalogue[name], at=at)


def test_an_enclosure_is_printed_with_what_it_may_be_off_by():
    shown = str(derive.variance(catalogue["elbo-score-function"]))
    assert "mean      0.25000000000000000000 +- 1e-20" in shown
    assert "at        dq(1) = -1/4" in shown


def test_the_list_has_a_line_for_each_entry(monkeypatch, capsys):
    few = {name: catalogue[name] for name in ("score-function", "vimco")}
    monkeypatch.setattr(cli, "catalogue", few)
    assert cli.run(cli.app, ["variance", "--all", "--outcomes", "3"]) == 0
    shown = capsys.readouterr().out
    for name in few:
        assert derive.variance(catalogue[name], 3).shown in next(line for line in shown.splitlines() if line.startswith(name))
    assert cli.run(cli.app, ["variance", "--all", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "gradproof/variances/1"
    assert [report["estimator"] for report in answer["reports"]] == list(few)


@pytest.mark.parametrize("arguments", [[], ["rebar", "--all"], ["--all", "--at", "eta=1"]])
def test_a_list_and_a_name_exclude_each_other(arguments, capsys):
    assert cli.run(cli.app, ["variance", *arguments]) == 2
    assert "variance takes a NAME" in capsys.readouterr().err


def test_a_mean_that_is_zero_is_enclosed():
    """At p = 1/2 the relaxed estimate of (s - 1/2)^2 has the mean 0, and the ball around it has the middle 0."""
    report = derive.variance(catalogue["concrete"], at={"f_0": Fraction(1, 4), "f_1": Fraction(-1), "f_2": Fraction(1)})
    assert abs(report.mean) <= report.radius < Fraction(1, 10**18)
    assert report.variance > report.radius


# Laws with names


theta_, f_, c_ = parameter("theta"), function("f"), constant("c")
DOMAINS = {
    "geometric": (geometric_law("n", probability=theta_), {"theta": Fraction(1, 2)}),
    "the other way round": (geometric_law("n", probability=1 - theta_), {"theta": Fraction(1, 2)}),
    "a rate": (poisson("n", rate=theta_), {"theta": 1}),
    "minus a rate": (poisson("n", rate=-theta_), {"theta": -1}),
    "two symbols": (exponential("x", rate=theta_ - c_), {"c": 1, "theta": 2}),
    "negative binomial": (negative_binomial("n", total=c_, probability=theta_), {"c": 1, "theta": Fraction(1, 2)}),
    "a normal scale": (normal("z", 0, 1 - theta_), {"theta": Fraction(1, 2)}),
    "an explicit law": (choice("b", (1, theta_), (0, 1 - theta_)), {"theta": Fraction(1, 2)}),
    "a sigmoid": (geometric_law("n", probability=sigmoid(theta_)), {"theta": 1}),
}


def scored(variable):
    return Estimator("mine", f_(variable) * score(variable, theta_), (variable,), grad(E(f_(variable), variable), theta_))


@pytest.mark.parametrize("name", DOMAINS)
def test_the_usual_point_is_one_at_which_there_are_such_laws(name):
    variable, expected = DOMAINS[name]
    report = derive.variance(scored(variable))
    assert report.variance is not None
    assert {symbol: report.point[symbol] for symbol in expected} == expected


def test_the_usual_point_gives_way_to_what_is_given():
    report = derive.variance(scored(exponential("x", rate=theta_ - c_)), at={"c": Fraction(2)})
    assert (report.point["c"], report.point["theta"]) == (2, 3)


def test_a_point_without_such_laws_is_refused():
    with pytest.raises(UsageError, match="no laws at theta = 2: expected that theta, 1 - theta are all positive"):
        derive.variance(scored(geometric_law("n", probability=theta_)), at={"theta": Fraction(2)})
    either = choice("b", (1, theta_), (0, 1 - theta_))
    with pytest.raises(UsageError, match="no laws at theta = 2"):
        derive.variance(scored(either), at={"theta": Fraction(2)})
    sure = Estimator("sure", f_(either) + 0 * theta_, (either,), grad(E(f_(either), either), theta_))
    assert derive.variance(sure, at={"theta": Fraction(1)}).variance == 0
    far = derive.variance(scored(exponential("x", rate=theta_ - 100)))
    assert (far.variance, far.formula != "") == (None, True)
    assert "no point was found at which theta - 100 is positive: give values of theta" in far.note


def test_a_variance_says_on_what_it_was_read():
    of_counts = derive.variance(scored(poisson("n", rate=theta_)))
    assert str(of_counts).startswith("mine: variance for polynomials of degree 3 under a Poisson law")
    assert "outcomes" not in str(of_counts)
    assert str(derive.variance(catalogue["score-function"])).startswith("score-function: variance on 2 outcomes")
    nodes = derive.variance(catalogue["iwae-sticking-the-landing"])
    assert nodes.where == "on 2 points of a base measure"
