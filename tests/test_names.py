"""A formula is printed so that nobody reads another one in it, whatever the names are."""

from __future__ import annotations

import re

import pytest

from derive.catalogue import catalogue
from derive.notation import E, constant, exp, finite, function, grad, log, normal, parameter, sigmoid, stop
from derive.printing import html, latex, text

x, theta, f = constant("x"), parameter("theta"), function("f")
b = finite("b", theta)


def everywhere(term):
    return text.render(term), latex.render(term), str(html.render(term))


@pytest.mark.parametrize("name", ["a+b", "a - b", "-a", "a/b", "x*y", "x^2", "x y", "x,y", "1", "2.5", "x=y", "x|y", "{x}"])
def test_a_name_that_reads_as_a_formula_stands_between_quotation_marks(name):
    plain, math, markup = everywhere(constant(name) * x)
    assert plain == f"'{name}' * x"
    assert math.startswith(r"\text{`")
    assert r"'} \, x" in math
    assert "<mtext>‘" in markup


@pytest.mark.parametrize("name", ["x", "x_1", "theta", "mu0", "50%", "x'", "É", "f_theta", "log_p"])
def test_any_other_name_does_not(name):
    assert not any(mark in shown for shown in everywhere(constant(name)) for mark in ("'x", "`", "‘"))


@pytest.mark.parametrize(("name", "true"), [("exp", exp), ("log", log), ("sigmoid", sigmoid), ("sg", stop)])
def test_a_function_that_is_called_as_an_operation_is_told_from_it(name, true):
    for shown, meant in zip(everywhere(function(name)(x)), everywhere(true(x)), strict=True):
        assert shown != meant
    assert text.render(function(name)(x)) == f"'{name}'(x)"


@pytest.mark.parametrize("name", ["E", "E_b", "sum_b", "int", "d_theta", "Normal", "Uniform"])
def test_a_function_is_not_read_as_an_expectation_a_sum_or_a_derivative(name):
    assert text.render(function(name)(f(b))) == f"'{name}'(f(b))"


@pytest.mark.parametrize(("one", "other"), [("x1", "x_1"), ("theta", "θ"), ("x", "x_"), ("pi", "π"), ("z12", "z_12")])
def test_two_names_that_are_written_alike_are_written_as_they_are_typed(one, other):
    for write in (latex.render, lambda term: str(html.render(term))):
        ratio = write(constant(one) / constant(other))
        assert ratio != write(constant(other) / constant(one))
        assert write(grad(f(constant(one)), constant(other))) != write(grad(f(constant(other)), constant(other)))
    assert latex.render(constant(one)) == latex.render(constant(other))


def test_a_constant_is_told_from_a_variable_of_its_name():
    z = normal("z", 0, 1)
    assert everywhere(E(constant("b") * f(b), b)) != everywhere(E(b * f(b), b))
    assert text.render(E(constant("b") * f(b), b)) == "E_b['b' * f(b)]"
    assert text.render(constant("z") - z) == "'z' - z"
    assert r"\text{`b'}" in latex.render(E(f(finite("b", constant("b"))), finite("b", constant("b"))))


@pytest.mark.parametrize("bracketed", [constant("log_p") * x, constant("log_p") ** 2, function("log_f")(b) * x])
def test_what_is_written_as_a_logarithm_is_bracketed_where_more_would_be_read_into_it(bracketed):
    assert latex.render(bracketed).startswith(r"(\log ")
    assert re.search(r"<mo[^>]*>\(</mo>(<mrow>)?<mi>log</mi>", str(html.render(bracketed)))


def test_an_abbreviation_that_is_written_as_a_logarithm_is_bracketed_too():
    where = [("log_weight", f(b) - x)]
    assert latex.render((f(b) - x) ** 2, where) == r"(\log \mathrm{weight})^{2}"
    assert latex.render(f(b) - x, where) == r"\log \mathrm{weight}"


@pytest.mark.parametrize("name", catalogue)
def test_nothing_of_the_catalogue_needs_quotation_marks(name):
    estimator = catalogue[name]
    for term in (estimator.formula, estimator.target, estimator.expectation):
        shown = text.render(term) + latex.render(term) + str(html.render(term))
        assert "`" not in shown
        assert "‘" not in shown
