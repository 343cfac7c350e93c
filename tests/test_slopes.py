"""f.slope(x) is the derivative of f at x in every judge: it is one value, it is proved of, refuted, printed and read back."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

import derive
from derive.estimator import Estimator
from derive.exact.comparison import identically_equal
from derive.instances import compare
from derive.instances.charts import Rule
from derive.instances.errors import UnreadableError
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, Needs, needs_of
from derive.kernel.premises import EVERYTHING, Differentiable, NonZero, Positive
from derive.kernel.theorem import chain
from derive.language.errors import UsageError
from derive.language.term import Slope
from derive.notation import (
    E,
    Over,
    constant,
    exp,
    finite,
    function,
    grad,
    normal,
    p,
    parameter,
    relaxation,
    score,
    stop,
    uniform,
)
from derive.printing import html, latex, text
from derive.written.grammar import parse
from derive.written.setting import setting_of

theta, c = parameter("theta"), constant("c")
f = function("f", differentiable=True)
epsilon, z, wide = normal("epsilon"), normal("z", theta, 1), normal("y", 0, exp(theta))
b, o, u = finite("b", theta), finite("o", theta, law="p"), uniform("u")
pathwise, of_scale = grad(E(f(z), z), theta), grad(E(f(wide), wide), theta)
discrete, mean = grad(E(f(b), b), theta), E(o, o)
muprop = (f(b) - f(stop(mean)) - f.slope(stop(mean)) * (b - stop(mean))) * score(b)


def judged(formula, draws, target):
    return derive.prove(Estimator("mine", formula, draws, target))


@pytest.mark.parametrize(
    ("formula", "draws", "target", "word"),
    [
        (f.slope(theta + epsilon), (epsilon,), pathwise, "proved"),
        (f.slope(z), (z,), pathwise, "proved"),
        (f.slope(z) / 2, (z,), pathwise, "scaled"),
        (f.slope(theta + 2 * epsilon), (epsilon,), pathwise, "refuted"),
        (f.slope.slope(z), (z,), pathwise, "refuted"),
        (f.slope(theta + u), (u,), grad(E(f(theta + u), u), theta), "proved"),
        (f.slope.slope(theta + epsilon), (epsilon,), grad(pathwise, theta), "proved"),
        (f.slope.slope(wide) * exp(2 * theta), (wide,), of_scale, "checked"),
        (f.slope.slope(wide) * exp(theta), (wide,), of_scale, "refuted"),
        (f.slope(wide) * wide, (wide,), of_scale, "proved"),
        (muprop + f.slope(stop(mean)) * grad(mean, theta), (b,), discrete, "proved"),
        (muprop, (b,), discrete, "refuted"),
        (Over((f.slope(b) + f.slope(o)) / 2 * (o - b) * grad(p(o), theta), o), (b,), discrete, "refuted"),
        (f.slope(b) * grad(mean, theta), (b,), discrete, "refuted"),
    ],
)
def test_the_verdict_is_right(formula, draws, target, word):
    assert judged(formula, draws, target).verdict == word


def test_a_second_derivative_is_assumed_to_exist():
    verdict = judged(f.slope.slope(theta + epsilon), (epsilon,), grad(pathwise, theta))
    assert any(isinstance(one, Differentiable) and text.render(one.term).startswith("f'(") for one in verdict.assumptions)


def test_the_exact_evaluator_has_the_chain_rule_on_its_own():
    for inner in (theta**2, c * theta + 1, exp(theta)):
        assert identically_equal(grad(f(inner), theta), f.slope(inner) * grad(inner, theta), theta, 2)
        assert not identically_equal(grad(f(inner), theta), f.slope(inner), theta, 2)
        twice = f.slope.slope(inner) * grad(inner, theta) ** 2 + f.slope(inner) * grad(grad(inner, theta), theta)
        assert identically_equal(grad(grad(f(inner), theta), theta), twice, theta, 2)


def test_the_exact_evaluator_differentiates_polynomials_in_noise():
    square = E(f.slope(epsilon) - epsilon * f(epsilon), epsilon)
    assert identically_equal(square, 0 * theta, theta, 2, degree=5)
    assert identically_equal(E(f.slope.slope(epsilon) - (epsilon**2 - 1) * f(epsilon), epsilon), 0 * theta, theta, 2, degree=5)
    assert not identically_equal(E(f.slope(epsilon), epsilon), 0 * theta, theta, 2, degree=5)


def test_an_instance_has_the_difference_quotient():
    evaluator = Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5))
    step = Fraction(1, 10**4)
    for at in (theta, theta**2 - 1):
        quotient = (evaluator.value(f(at + step)) - evaluator.value(f(at - step))) / (2 * float(step))
        assert abs(evaluator.value(f.slope(at)) - quotient) < 1e-7
        second = (evaluator.value(f.slope(at + step)) - evaluator.value(f.slope(at - step))) / (2 * float(step))
        assert abs(evaluator.value(f.slope.slope(at)) - second) < 1e-7
        assert compare(grad(grad(f(at), theta), theta), grad(f.slope(at) * grad(at, theta), theta)).verdict == "agree"
    assert compare(f.slope(theta), f(theta)).verdict == "differ"


@pytest.mark.parametrize("premise", [Positive, NonZero])
def test_an_instance_is_silent_where_the_slope_has_not_the_sign_that_is_assumed(premise):
    said = set()
    for number in range(12):
        for function_ in (f, f.slope):
            needs = needs_of([function_(theta)], [premise(function_(theta))])
            evaluator = Evaluator(Instance(0, number, needs), Rule(0.2, 0.5))
            try:
                found = evaluator.value(function_(theta))
            except UnreadableError:
                said.add("silent")
                continue
            said.add("read")
            assert found > 0 if premise is Positive else found != 0
    assert said == ({"read", "silent"} if premise is Positive else {"read"})


def test_the_kernel_has_one_rule_for_it():
    made = chain(grad(f(theta**2), theta))
    assert made.rhs == f.slope(theta**2) * grad(theta**2, theta)
    assert not made.assumptions
    assert len(chain(grad(f.slope(theta), theta), assuming=EVERYTHING).assumptions) == 1


# What has no slope


@pytest.mark.parametrize("what", [function("g"), function("g", differentiable=False), relaxation(b).h, relaxation(b).sigma])
def test_only_what_is_declared_as_differentiable_has_a_slope(what):
    with pytest.raises(UsageError, match="has no slope"):
        _ = what.slope


def test_a_slope_has_one_argument_and_no_other_function_its_name():
    with pytest.raises(UsageError, match="takes"):
        f.slope(theta, c)
    with pytest.raises(UsageError, match="derivative"):
        function("f'")


# Doors


def test_it_is_printed_and_read_back():
    estimator = Estimator("mine", f.slope.slope(z) * f.slope(theta * z + c) / 2, (z,), pathwise)
    assert text.render(estimator.formula) == "f''(z) * f'(theta * z + c) / 2"
    assert parse(text.render(estimator.formula), setting_of(estimator)) == estimator.formula
    assert latex.render(f.slope.slope(theta)) == r"f''(\theta)"
    assert "′′" in html.render(f.slope.slope(theta))
    with pytest.raises(UsageError, match="no slope"):
        parse("g'(z)", setting_of(estimator))
    with pytest.raises(UsageError, match="one argument"):
        parse("f'(z, c)", setting_of(estimator))


def test_sympy_differentiates_it():
    x = sympy.Symbol("theta")
    written = f.slope(theta**2).to_sympy()
    assert written.subs(sympy.Function("f"), sympy.sin).doit() == sympy.cos(x**2)
    assert isinstance(f.slope, Slope)
