"""What comes out to SymPy has the value of ours, what comes in has its meaning, and what has none is refused by name."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
import sympy
from sympy import stats

import derive
from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.kernel.algebra import equal
from derive.language.errors import NotATerm, NotExact, UnknownNode, UsageError
from derive.notation import (
    E,
    Over,
    constant,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    score,
    sigmoid,
    stop,
    uniform,
)
from derive.proofs.calc import chain_of
from derive.sympy_door import from_sympy, variable_of

theta, c, x = parameter("theta"), constant("c"), constant("x")
b, z, f = finite("b", theta), normal("z", theta), function("f")
THETA, X, F = sympy.Symbol("theta"), sympy.Symbol("x"), sympy.Function("f")
p1, s1, f1, f2 = sympy.symbols("p1 s1 f1 f2")


# Out


def test_sympy_reads_a_term():
    assert sympy.sympify(c**2 + 1) == sympy.Symbol("c") ** 2 + 1
    assert sympy.latex(sympy.sympify(log(x))) == r"\log{\left(x \right)}"
    assert sympy.lambdify(X, sympy.sympify(sigmoid(x) * stop(x)))(0.0) == 0.0


def test_an_operator_between_sympy_and_a_term_is_refused_as_in_the_other_order():
    for mixed in (lambda: X + c, lambda: c + X, lambda: X * c, lambda: c * X):
        with pytest.raises(NotATerm):
            mixed()
    assert X + c.to_sympy() == X + sympy.Symbol("c")


def test_a_rational_of_sympy_is_a_number_on_either_side():
    assert sympy.Rational(1, 3) * c == c.__rmul__(Fraction(1, 3)) == Fraction(1, 3) * c
    assert c * sympy.Rational(1, 3) == c * Fraction(1, 3)


def test_a_gradient_that_is_stopped_is_zero():
    assert sympy.sympify(grad(stop(theta) * theta, theta)).doit() == sympy.sympify(stop(theta))


def test_the_density_of_a_uniform_law_is_zero_outside_of_its_support():
    u, wide = uniform("u"), uniform("w", 0, theta)
    ratio = sympy.sympify(p(wide, at=c)).subs(THETA, 2)
    assert [ratio.subs(sympy.Symbol("c"), at) for at in (-1, 1, 3)] == [0, sympy.Rational(1, 2), 0]
    assert sympy.sympify(E(p(wide, at=u), u)).subs(THETA, sympy.Rational(1, 2)).doit() == 1


def test_a_normal_mean_is_an_integral_that_sympy_knows():
    scale = sympy.Symbol("theta")
    assert sympy.simplify(sympy.sympify(E(z**2, z)).doit() - (scale**2 + 1)) == 0


def test_a_bias_is_a_formula_in_plain_symbols():
    half = Estimator("half", f(b) * score(b) / 2, draws=(b,), target=grad(E(f(b), b), theta))
    verdict = derive.prove(half)
    assert sympy.expand(verdict.to_sympy() + p1 * s1 * (f1 - f2) / 2) == 0
    assert sympy.expand(verdict.bias.to_sympy(outcomes=2) - verdict.to_sympy()) == 0
    assert verdict.to_sympy().subs({p1: sympy.Rational(1, 2), s1: 2, f1: 1, f2: 0}) == sympy.Rational(-1, 2)


def test_a_variance_in_plain_symbols_is_minimised_by_the_best_baseline():
    baseline = constant("c")
    estimator = Estimator("baseline", (f(b) - baseline) * score(b), draws=(b,), target=grad(E(f(b), b), theta))
    variance = derive.variance(estimator).to_sympy()
    (best,) = sympy.solve(sympy.diff(variance, sympy.Symbol("c")), sympy.Symbol("c"))
    assert sympy.expand(best - (f1 * (1 - p1) + f2 * p1)) == 0
    assert sympy.cancel(variance.subs(sympy.Symbol("c"), best)) == 0


@pytest.mark.parametrize("name", ["score-function", "leave-one-out"])
def test_a_variance_out_has_the_value_of_the_variance_at_the_point(name):
    report = derive.variance(catalogue[name])
    point = {"p1": report.point["p(1)"], "s1": report.point["dp(1)"] / report.point["p(1)"]}
    point |= {key.replace("(", "").replace(")", ""): value for key, value in report.point.items()}
    value = report.to_sympy().subs({sympy.Symbol(k): sympy.Rational(v.numerator, v.denominator) for k, v in point.items()})
    assert value == sympy.Rational(report.variance.numerator, report.variance.denominator)


def test_each_line_of_a_derivation_is_an_equation_that_holds_on_two_outcomes():
    derivation = chain_of(catalogue["score-function"])
    equations = derivation.to_sympy()
    assert len(equations) == len(derivation.lines) - 1
    assert all(isinstance(equation, sympy.Eq) for equation in equations)
    assert isinstance(derivation.theorem.to_sympy(), sympy.Eq)
    assert all(sympy.expand(one.lhs - one.rhs) == 0 for one in derivation.to_sympy(outcomes=2))


def test_what_depends_on_an_outcome_or_two_parameters_has_no_plain_form():
    with pytest.raises(UsageError, match="take the expectation"):
        f(b).to_sympy(outcomes=2)
    with pytest.raises(UsageError, match="one parameter"):
        (grad(E(f(b), b), theta) + grad(c * E(f(b), b), c)).to_sympy(outcomes=2)


# In


@pytest.mark.parametrize(
    ("expression", "term"),
    [
        (F(X) / 2, f(x) * Fraction(1, 2)),
        (sympy.exp(X) - sympy.log(X), exp(x) - log(x)),
        (sympy.Derivative(F(X), X, X), grad(grad(f(x), x), x)),
        (sympy.Sum(F(sympy.Symbol("k")), (sympy.Symbol("k"), 1, 2)), f(1) + f(2)),
        (sympy.Symbol("c") ** 2, c**2),
    ],
)
def test_a_formula_comes_in_as_ours(expression, term):
    read = from_sympy(expression)
    assert set(getattr(read, "args", ())) == set(getattr(term, "args", ())) or read == term


def test_sums_and_integrals_over_a_law_come_in_and_come_back():
    here = {sympy.Symbol("b"): b, sympy.Symbol("z"): z}
    for term in (Over(f(b), b), Over(f(z), z), E(f(b), b)):
        back = from_sympy(sympy.sympify(term), here)
        assert str(back).count("sum_b") + str(back).count("int") == 1
    assert from_sympy(sympy.sympify(Over(f(b), b)), here) == Over(f(b), b)
    assert from_sympy(sympy.sympify(score(b)), here) == score(b)


def test_laws_of_sympy_come_in_as_ours():
    assert variable_of(stats.Normal("z", THETA, 1)) == z
    assert variable_of(stats.Uniform("u", 0, 1)) == uniform("u")
    assert variable_of(stats.Bernoulli("b", THETA), any_law=True) == b
    assert variable_of(stats.FiniteRV("b", {0: 1 - THETA, 1: THETA}), any_law=True) == b


def test_a_finite_law_whose_support_would_be_forgotten_is_refused_unless_any_law_is_meant():
    """b (b - 1) is zero for a bit alone: of every law it is not, and a right estimator would be refuted."""
    draw = stats.Bernoulli("b", THETA)
    for read in (lambda: variable_of(draw), lambda: from_sympy(stats.Expectation(draw * (draw - 1)))):
        with pytest.raises(UnknownNode, match="any_law=True"):
            read()
    assert equal(from_sympy(stats.Expectation(draw * (draw - 1)), any_law=True), E(b * (b - 1), b))


@pytest.mark.parametrize(("factor", "word"), [(1, "proved"), (sympy.Rational(1, 2), "scaled")])
def test_an_estimator_is_stated_in_sympy_from_end_to_end(factor, word):
    draw = stats.Bernoulli("b", THETA)
    law = sympy.Function("p")
    formula = factor * F(draw) * sympy.Derivative(sympy.log(law(draw, THETA)), THETA)
    target = sympy.Derivative(stats.Expectation(F(draw)), THETA)
    read = lambda expression: from_sympy(expression, any_law=True)  # noqa: E731
    mine = Estimator("mine", read(formula), draws=(variable_of(draw, any_law=True),), target=read(target))
    assert derive.prove(mine).verdict == word


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        (sympy.sin(X), "sin"),
        (sympy.oo * 1, "Infinity"),
        (sympy.I * X, "ImaginaryUnit"),
        (sympy.pi * X, "Pi"),
        (sympy.Integral(F(X), X), "Integral over"),
        (sympy.Sum(F(X), (X, 1, sympy.oo)), "Sum over"),
        (sympy.Sum(F(X), (X, 1, 1000)), "Sum over"),
        (sympy.Piecewise((X, X > 0), (0, True)), "Piecewise"),
        (X > 0, "StrictGreaterThan"),
        (sympy.Pow(-2, sympy.Rational(1, 3), evaluate=False), "not positive"),
        (stats.Expectation(stats.Poisson("n", 3)), "PoissonDistribution of n"),
        (sympy.Derivative(F(X), (X, 9)), "9 times"),
    ],
)
def test_what_has_no_meaning_here_is_refused_by_name(expression, name):
    with pytest.raises(UnknownNode, match=name):
        from_sympy(expression)


def test_a_support_that_is_not_covered_is_refused():
    with pytest.raises(UnknownNode, match="whole support"):
        from_sympy(sympy.Integral(F(X), (X, 0, 1)), {X: z})
    with pytest.raises(UnknownNode, match="whole support"):
        from_sympy(sympy.Integral(F(X), (X, 0, 2)), {X: uniform("x")})


def test_a_float_is_refused():
    with pytest.raises(NotExact, match="Rational"):
        from_sympy(0.5 * X)


def test_density_of_a_variable_is_known_by_its_name_and_parameters():
    law = sympy.Function("p")
    assert from_sympy(law(sympy.Symbol("b"), THETA), {sympy.Symbol("b"): b}) == p(b)
    assert from_sympy(law(sympy.Symbol("b"), X), {sympy.Symbol("b"): b}) != p(b)


def test_proving_and_printing_load_no_sympy():
    code = "import derive, sys; v = derive.prove(derive.catalogue['score-function']); str(v); v._repr_html_(); "
    code += "before = 'sympy' in sys.modules; v.to_sympy(); print(before, 'sympy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["False", "True"]
