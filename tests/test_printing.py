"""A printed formula reads like the paper, in one way only, and each of the three notations prints every kind of term."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from fractions import Fraction

import pytest

from derive.catalogue import catalogue
from derive.language.errors import UnknownNode
from derive.language.term import Add, Law, Mul, Number, Power, RandomVariable, Term
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
    normal,
    p,
    parameter,
    score,
    sigmoid,
    stop,
    uniform,
)
from derive.printing import html, latex, text
from derive.printing.breaking import BREAK, INDENT, SOFT, broken

theta, phi, c, x, y = parameter("theta"), parameter("phi"), constant("c"), constant("x"), constant("y")
b, z, u = finite("b", theta), continuous("z", phi, law="q"), uniform("u")
f, h = function("f"), function("h", differentiable=True)
half = Number(Fraction(1, 2))

TEXT = [
    (x - y, "x - y"),
    (x - (y - c), "x - (y - c)"),
    (-(x + y), "-(x + y)"),
    (-x * y, "-x * y"),
    (x * (-y), "x * (-1) * y"),
    (x + Number(Fraction(-2)), "x - 2"),
    (-2 * x + y, "-2 * x + y"),
    ((x + y) * c, "(x + y) * c"),
    (x / (y * c), "x / (y * c)"),
    (x / y / c, "x / (y * c)"),
    (x / (y / c), "x / (y / c)"),
    (1 / (x + y), "1 / (x + y)"),
    (x / 2, "x / 2"),
    (half * x, "(1/2) * x"),
    ((x * y) ** 2, "(x * y)^2"),
    ((x**2) ** 3, "(x^2)^3"),
    (x**-2, "1 / x^2"),
    (half**2, "(1/2)^2"),
    (Number(Fraction(-3)) ** 2, "(-3)^2"),
    (f(b) * score(b), "f(b) * d_theta log p(b; theta)"),
    (score(b) * f(b), "(d_theta log p(b; theta)) * f(b)"),
    (score(b) / 2, "(d_theta log p(b; theta)) / 2"),
    (score(b) ** 2, "(d_theta log p(b; theta))^2"),
    (grad(log(p(b)), theta), "d_theta (log p(b; theta))"),
    (grad(x**2, theta), "d_theta (x^2)"),
    (grad(x * y, theta), "d_theta (x * y)"),
    (grad(Over(p(b) * f(b), b), theta), "d_theta sum_b p(b; theta) * f(b)"),
    (Over(x + y, b) * c, "(sum_b (x + y)) * c"),
    (Over(p(z) * f(z), z), "int q(z; phi) * f(z) dz"),
    (Over(f(u), uniform("u", 0, theta)), "int_{0}^{theta} f(u) du"),
    (E(f(b), b), "E_b[f(b)]"),
    (E(f(z), z), "E_{q(z; phi)}[f(z)]"),
    (E(f(u, b), u, b), "E_{u,b}[f(u, b)]"),
    (E(f(b), finite("b", theta, given=(x,))), "E_{p(b | x; theta)}[f(b)]"),
    (p(normal("z", theta, x)), "Normal(z; theta, x^2)"),
    (stop(x) * exp(x) * log(x) * sigmoid(x), "sg(x) * exp(x) * log(x) * sigmoid(x)"),
    (score(b, at=h(u, theta)), "d_theta log p(sg(h(u, theta)); theta)"),
    (Add((x, Add((y, c)))), "x + (y + c)"),
    (Mul((x, Mul((y, c)))), "x * (y * c)"),
    (Mul(()), "1"),
    (Add(()), "0"),
    (Power(x, 0), "x^0"),
]


@pytest.mark.parametrize(("term", "printed"), TEXT)
def test_text_is_written_with_the_brackets_that_it_needs(term, printed):
    assert text.render(term) == printed


LATEX = [
    (E((f(b) - c) * score(b), b), r"\mathbb{E}_{p(b; \theta)}\left[(f(b) - c) \, \partial_\theta \log p(b; \theta)\right]"),
    (Over(p(b) * f(b), b), r"\sum_{b} p(b; \theta) \, f(b)"),
    (Over(p(z) * f(z), z), r"\int q(z; \phi) \, f(z) \, dz"),
    (x / (y + c), r"\frac{x}{y + c}"),
    (half * x, r"\frac{1}{2} \, x"),
    (x * Number(Fraction(2)), r"x \cdot 2"),
    (stop(x), r"\mathrm{sg}(x)"),
    (grad(x / y, theta), r"\partial_\theta \left(\frac{x}{y}\right)"),
    (copies(b, 2)[1], "b_{2}"),
    (E(f(u), u), r"\mathbb{E}_{u}\left[f(u)\right]"),
    (half**2, r"\left(\frac{1}{2}\right)^{2}"),
]


@pytest.mark.parametrize(("term", "printed"), LATEX)
def test_latex_is_written_as_in_a_paper(term, printed):
    assert latex.render(term) == printed


def test_a_long_numerator_stands_beside_its_fraction_so_that_the_line_can_break():
    long = f(b) + sum((constant(f"constant{i}") for i in range(8)), start=f(b))
    assert latex.render(long / x).startswith(r"\frac{1}{x} \, (f(b)")
    assert latex.render(x / long).endswith(r")^{-1}")


def test_different_terms_of_the_list_print_differently():
    assert len({text.render(term) for term, _ in TEXT}) >= len(TEXT) - 1  # x / y / c and x / (y * c) are one quotient


@pytest.mark.parametrize("term", [term for term, _ in TEXT + LATEX])
def test_html_is_well_formed(term):
    assert ElementTree.fromstring(html.render(term)).tag == "math"


def test_rebar_reads_as_in_its_paper():
    rebar = catalogue["rebar"]
    assert text.render(rebar.formula, rebar.where) == (
        "(f(b) - eta * f(sigma(z_tilde, lambda))) * d_theta log p(b; theta)"
        " + eta * d_theta f(sigma(z, lambda)) - eta * d_theta f(sigma(z_tilde, lambda))"
    )


def test_a_definition_is_written_with_the_earlier_ones():
    written = text.Text(catalogue["rebar"].where).definitions()
    assert written == ["z = h(u, theta)", "b = H(z)", "z_tilde = h_tilde(v, b, theta)"]


def test_the_outermost_abbreviation_is_taken():
    inner, outer = h(u, theta), f(h(u, theta))
    assert text.render(outer + inner, [("i", inner), ("o", outer)]) == "o + i"


def test_an_abbreviation_speaks_of_its_own_variable_only():
    other = normal("u")
    where = [("w", f(u))]
    assert text.render(E(f(u), u), where) == "E_u[w]"
    assert text.render(E(f(other), other), where) == "E_u[f(u)]"


def test_an_abbreviation_is_not_captured_by_a_binder_of_its_name():
    assert text.render(E(f(b) * h(u, theta), b), [("b", h(u, theta))]) == "E_b[f(b) * h(u, theta)]"


def test_an_abbreviation_does_not_take_the_name_of_a_free_variable():
    assert text.render(f(b) * h(u, theta), [("b", h(u, theta))]) == "f(b) * h(u, theta)"


@dataclass(frozen=True)
class Alien(Term):
    pass


@pytest.mark.parametrize("render", [text.render, latex.render, html.render])
def test_an_unknown_node_is_refused_by_name(render):
    with pytest.raises(UnknownNode, match="Alien"):
        render(x + Alien())
    with pytest.raises(UnknownNode, match="Law"):
        render(p(RandomVariable("b", Law())))


def test_every_catalogue_line_breaks_into_lines_that_fit():
    for estimator in catalogue.values():
        assert all(len(line) <= text.LIMIT for line in text.lines(estimator.expectation, estimator.where))


def test_a_broken_line_loses_nothing():
    long = E(sum((f(copy) * score(copy) for copy in copies(b, 9)), start=x), *copies(b, 9))
    assert " ".join(line.strip() for line in text.lines(long)) == text.render(long)
    joined = " ".join(latex.lines(long))
    assert re.sub(r"\\(left|right|bigl|bigr|quad)|\s", "", joined) == re.sub(r"\\(left|right)|\s", "", latex.render(long))


def test_a_line_breaks_at_the_outermost_sum():
    assert broken(f"(a{BREAK} + b){BREAK} + (c{BREAK} + d)", 10, len) == ["(a + b)", " + (c + d)"]


def test_a_long_summand_breaks_at_its_own_sum_and_not_at_its_product():
    marked = f"a{BREAK} + b{SOFT} * (c{BREAK} + d)"
    assert broken(marked, 9, len) == ["a", " + b * (c", f"{INDENT} + d)"]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("theta", r"\theta"),
        ("θ", r"\theta"),
        ("lambda_", r"\lambda"),
        ("z_tilde", r"\tilde{z}"),
        ("z_tilde_1", r"\tilde{z}_{1}"),
        ("b_1", "b_{1}"),
        ("mu_theta", r"\mu_{\theta}"),
        ("baseline", r"\mathrm{baseline}"),
        ("50%_$x", r"\text{50\%\_\$x}"),
        (r"\input{a}", r"\text{\textbackslash{}input\{a\}}"),
        ("", r"\text{}"),
        ("名", r"\text{[U+540D]}"),
    ],
)
def test_a_name_becomes_latex_that_is_safe(name, printed):
    assert latex.name(name) == printed


def test_html_escapes_names():
    assert "<script>" not in html.render(function("<script>")(constant("&")))
