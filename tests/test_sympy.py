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
from derive.language.errors import NotATerm, NotExact, TooLarge, UnknownNode, UsageError
from derive.language.term import Apply, Function, lift
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
from derive.sympy_door import from_sympy, on_outcomes, to_sympy, variable_of

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


@pytest.mark.parametrize("name", ["f1", "p1", "s1", "s2"])
def test_a_constant_keeps_its_name_beside_an_unknown_that_is_called_so(name):
    """E[c f(b) score(b)] = c p(1) score(1) (f(1) - f(2)) on two outcomes, whatever c is called."""
    value = on_outcomes(E(constant(name) * f(b) * score(b), b), 2)
    called = {"p1": "p(1)", "s1": "score(1)", "f1": "f(1)"}
    p_1, s_1, f_1 = (sympy.Symbol(called[plain] if plain == name else plain) for plain in ("p1", "s1", "f1"))
    assert sympy.expand(value - sympy.Symbol(name) * p_1 * s_1 * (f_1 - f2)) == 0


def test_a_function_that_is_called_p_or_s_is_no_probability_and_no_score():
    value = on_outcomes(E(function("s")(b) * score(b) + function("p")(b), b), 2)
    s_1, s_2, p_1, p_2 = map(sympy.Symbol, ("s(1)", "s(2)", "p(1)", "p(2)"))
    assert sympy.expand(value - p1 * s1 * (s_1 - s_2) - p1 * p_1 - (1 - p1) * p_2) == 0


@pytest.mark.parametrize(
    "term",
    [
        E(constant("b") * f(b), b),
        E(constant("K") * f(b), b),
        E(f(normal("z", 0, 1)) * normal("z", 1, 1), normal("z", 0, 1)),
        E(f(finite("K", theta)), finite("K", theta)),
        constant("b") - b,
        function("p")(b, theta) - p(b),
        E(function("p")(b), b),
        Apply(Function("f"), (x,)) - Apply(Function("f", differentiable=True), (x,)),
    ],
    ids=str,
)
def test_two_things_of_one_name_are_not_one_symbol(term):
    with pytest.raises(UsageError, match="names two things"):
        term.to_sympy()


def test_laws_of_one_name_that_are_bound_apart_go_out():
    one, other = normal("z", 0, 1), normal("z", 1, 1)
    assert sympy.simplify((E(one, one) - E(other, other)).to_sympy().doit()) == -1


def test_two_terms_that_are_written_alike_are_not_one_symbol():
    for term in (constant("b") - b, f(x) - Apply(Function("f", differentiable=True), (x,))):
        with pytest.raises(UsageError, match="are written"):
            to_sympy(term)


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
        (stats.Expectation(stats.Normal("z", 0, 1), stats.Normal("z", 0, 1) > 0), "under a condition"),
        (stats.given(stats.Normal("z", 0, 1), stats.Normal("z", 0, 1) > 0), "the law NoneType of z"),
        (X - sympy.Symbol("x", positive=True), "x beside another x"),
        (X - sympy.Dummy("x"), "beside another"),
        (sympy.Dummy("x") - sympy.Dummy("x"), "beside another"),
        (sympy.Symbol("z") - stats.Normal("z", 0, 1), "z beside another z"),
        (stats.Normal("z", sympy.Symbol("x", positive=True), 1) - X, "x beside another x"),
        (stats.Expectation(stats.Normal("z", 0, 1)) - stats.Expectation(stats.Normal("z", 1, 1)), "z beside another z"),
        (F(X) - sympy.Function("f", real=True)(X), "f beside another f"),
        (sympy.Symbol("a", commutative=False) * X, "does not commute"),
        (sympy.Sum(F(X), (X, 3, 1)), "Sum over"),
        (sympy.Function("g")(), "without arguments"),
        (sympy.Matrix([X]), "Matrix"),
        ("x", "a str"),
        (None, "a NoneType"),
        ([X], "a list"),
        (x, "a Symbol"),
    ],
)
def test_what_has_no_meaning_here_is_refused_by_name(expression, name):
    with pytest.raises(UnknownNode, match=name):
        from_sympy(expression)


def test_a_sum_over_nothing_is_zero():
    assert equal(from_sympy(sympy.Sum(F(X), (X, 3, 2))), lift(0))


def test_a_number_of_python_is_one():
    assert (from_sympy(3), from_sympy(Fraction(1, 3))) == (lift(3), lift(Fraction(1, 3)))
    with pytest.raises(NotExact):
        from_sympy(0.5)


def test_a_sum_that_runs_backwards_is_not_empty_in_sympy():
    k = sympy.Symbol("k")
    assert sympy.Sum(k, (k, 3, 1)).doit() == -2


@pytest.mark.parametrize("symbols", [{"x": c}, {X: 3}, {X: "x"}, {X: sympy.Symbol("y")}, {F: c}, {X: f}])
def test_what_stands_for_a_symbol_is_never_passed_over(symbols):
    with pytest.raises(NotATerm, match="stands for"):
        from_sympy(X + F(X), symbols)


def test_a_symbol_that_is_listed_with_other_assumptions_is_not_passed_over():
    with pytest.raises(UnknownNode, match="x beside another x"):
        from_sympy(X + 1, {sympy.Symbol("x", positive=True): c})


def test_what_a_symbol_stands_for_is_meant_in_a_law_too():
    draw, bit = stats.Normal("z", THETA, 1), stats.Bernoulli("b", THETA)
    phi = parameter("phi")
    assert from_sympy(stats.Expectation(draw * THETA), {THETA: phi}) == E(phi * normal("z", phi), normal("z", phi))
    read = from_sympy(stats.Expectation(F(bit)), {THETA: phi}, any_law=True)
    assert read == E(f(finite("b", phi)), finite("b", phi))
    other = finite("w", theta)
    assert from_sympy(stats.Expectation(F(bit)), {bit: other}) == E(f(other), other)
    with pytest.raises(UnknownNode, match="a mean over b"):
        from_sympy(stats.Expectation(F(bit)), {bit: c})


@pytest.mark.parametrize(
    "draw",
    [
        stats.FiniteRV("b", {THETA: sympy.Rational(1, 2), 0: sympy.Rational(1, 2)}),
        stats.Bernoulli("b", sympy.Rational(1, 2), THETA, 0),
    ],
)
def test_a_support_that_moves_is_of_no_law_on_a_fixed_one(draw):
    """E[b] = theta / 2, whose gradient is 1/2, though the probabilities have none."""
    with pytest.raises(UnknownNode, match="do not move"):
        variable_of(draw, any_law=True)


@pytest.mark.parametrize(
    "draw",
    [
        stats.Bernoulli("a", 1 - THETA), stats.Bernoulli("a", THETA, 1, -1), stats.Bernoulli("a", THETA**2),
        stats.FiniteRV("a", {0: THETA, 1: 1 - THETA}), stats.FiniteRV("a", {0: THETA, 1: THETA, 2: 1 - 2 * THETA}),
    ],
)  # fmt: skip
def test_two_laws_of_one_parameter_are_not_one(draw):
    bit = stats.Bernoulli("b", THETA)
    difference = from_sympy(stats.Expectation(F(draw)) - stats.Expectation(F(bit)), any_law=True)
    assert not equal(difference, lift(0))
    same = from_sympy(stats.Expectation(F(stats.Bernoulli("a", THETA))) - stats.Expectation(F(bit)), any_law=True)
    assert equal(same, lift(0))
    law = sympy.Function("p")(draw, THETA)
    assert from_sympy(law, any_law=True) == p(variable_of(draw, any_law=True))


def test_the_number_of_outcomes_is_no_constant():
    index, count = sympy.Symbol("b"), sympy.Symbol("K")
    with pytest.raises(UnknownNode, match="how many outcomes"):
        from_sympy(sympy.Sum(F(index), (index, 1, count)) / count, {index: b})


def test_an_expression_that_is_too_deep_is_refused():
    deep = X
    for _ in range(3000):
        deep = F(deep)
    with pytest.raises(TooLarge, match="too deeply"):
        from_sympy(deep)


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
