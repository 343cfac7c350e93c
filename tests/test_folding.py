"""min, max, abs, clip and indicator are printed as such; read again they are the same term, and SymPy's have their values."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from itertools import product
from random import Random

import pytest
import sympy

import derive
from derive.estimator import Estimator
from derive.kernel.algebra import equal
from derive.kernel.premises import EVERYTHING
from derive.language.errors import UsageError
from derive.language.term import subterms
from derive.notation import (
    E,
    absolute,
    clip,
    constant,
    exp,
    finite,
    function,
    grad,
    indicator,
    maximum,
    minimum,
    p,
    parameter,
    score,
    sign,
    sqrt,
)
from derive.printing import html, latex, text
from derive.printing.folding import Word, folded
from derive.proofs import gathering
from derive.proofs.conversions import equal_by_normal_form, normalise
from derive.proofs.gathering import gathered
from derive.sympy_door import expression, from_sympy, to_sympy
from derive.written.grammar import declare, parse
from derive.written.setting import Setting

theta, x, y, c = parameter("theta"), constant("x"), constant("y"), constant("c")
b, a = finite("b", theta), finite("a", law="mu")
f, g = function("f"), function("g")
ratio = p(b, at=a) / p(a)
target = grad(E(f(b), b), theta)

SHOWN = {
    "min(x, y)": minimum(x, y),
    "-max(f(b), 0)": -maximum(f(b), 0),
    "x - min(x, y)": x - minimum(x, y),
    "min(x + y, c) * x": minimum(x + y, c) * x,
    "x / min(x, c + y)": x / minimum(x, c + y),
    "abs(x * y)": absolute(x * y),
    "x * abs(y - c)": x * absolute(y - c),
    "c + abs(-x)": c + absolute(-x),
    "1 - indicator(f(b) - c)": 1 - indicator(f(b) - c),
    "clip(p(a; theta) / mu(a), 4/5, 6/5) * f(a)": clip(ratio, Fraction(4, 5), Fraction(6, 5)) * f(a),
    "min(max(x, f(b)), g(b))": minimum(maximum(x, f(b)), g(b)),
    "abs(min(x, abs(y)))": absolute(minimum(x, absolute(y))),
    "min(x, y)^2": minimum(x, y) ** 2,
    "2 * min(x, y) / 3": 2 * minimum(x, y) / 3,
    "exp(-abs(x))": exp(-absolute(x)),
    "max(x - y, x + y)": maximum(x - y, x + y),
    "indicator(x) * indicator(y) * abs(x)": indicator(x) * indicator(y) * absolute(x),
    "E_b[clip(f(b), -1, 1) * d_theta log p(b; theta)]": E(clip(f(b), -1, 1) * score(b), b),
    "d_theta min(x * theta, y)": grad(minimum(x * theta, y), theta),
}


def setting():
    known = Setting()
    for line in ("b ~ p(b; theta)", "a ~ mu(a)"):
        declare(line, known)
    return known


@pytest.mark.parametrize("written", SHOWN)
def test_it_is_printed_as_a_person_writes_it(written):
    assert text.render(SHOWN[written]) == written


@pytest.mark.parametrize("written", SHOWN)
def test_what_is_printed_and_read_again_is_the_same_term(written):
    assert parse(written, setting()) == SHOWN[written]


def random_term(random, depth):
    if not depth:
        return random.choice([x, y, f(b), x * y, x - y])
    left, right = (random_term(random, random.randrange(depth)) for _ in range(2))
    ways = [left + right, left * right, left - right, minimum(left, right), maximum(left, right), absolute(left)]
    ways += [indicator(left), clip(left, -1, right), minimum(left, right) ** 2, exp(left), sign(left) * right]
    return random.choice(ways)


def test_random_terms_are_read_as_they_were_printed():
    random = Random(0)
    for _ in range(400):
        term = random_term(random, 3)
        assert parse(text.render(term), setting()) == term


def test_what_only_looks_alike_is_left_written_out():
    for term in (
        (x + y - (x - y) * sign(x + y)) / 2,
        (x + y - (x - c) * sign(x - y)) / 2,
        (x + y + absolute(x - y)) / 3,
        (x + c + absolute(x - y)) / 2,
        (sign(x) + sign(y) ** 2) / 2,
        (sign(x) + sign(x) ** 3) / 2,
        x * sign(y),
        sign(x) * x,
    ):
        assert folded(term) == term
        assert parse(text.render(term), setting()) == term


def test_a_word_is_in_print_only():
    for term in SHOWN.values():
        assert not any(isinstance(getattr(part, "function", None), Word) for part in subterms(term))


def test_latex_and_html_have_their_signs():
    assert latex.render(minimum(x, y)) == r"\min(x, y)"
    assert latex.render(absolute(x)) == r"\lvert x \rvert"
    assert latex.render(indicator(x - c)) == r"\mathbf{1}\left[x - c > 0\right]"
    for term in SHOWN.values():
        assert ElementTree.fromstring(html.render(term)) is not None
    assert "|" in html.render(absolute(x))
    assert "&gt;" in html.render(indicator(x))


def test_an_abbreviation_goes_before_a_word():
    assert text.render(c * minimum(x, y) * x, where=[("m", minimum(x, y))]) == "c * m * x"
    assert text.render(minimum(x, y), where=[("m", minimum(x, y))]) == "m"


def test_a_function_of_such_a_name_is_no_word():
    assert text.render(function("min")(x, y)) == "'min'(x, y)"
    with pytest.raises(UsageError, match="read as an operation"):
        parse("min(x)", setting())


VALUES = (
    (absolute(x - y), lambda x, y: abs(x - y)),
    (maximum(x, y), max),
    (minimum(x, y), min),
    (indicator(x - y), lambda x, y: int(x > y)),
    (clip(x, -1, y), lambda x, y: min(max(x, -1), y)),
)


@pytest.mark.parametrize(("term", "python"), VALUES)
def test_sympy_has_its_own_words_without_distributions(term, python):
    written = expression(term)
    assert not written.has(sympy.Heaviside, sympy.sign)
    back = from_sympy(*to_sympy(term))
    assert equal(back, term) or back.to_sympy() == written
    for left, right in product((-2, 0, 3), (-1, 0, 3)):
        at = {sympy.Symbol("x"): left, sympy.Symbol("y"): right}
        assert written.subs(at) == back.to_sympy().subs(at) == python(left, right)


# Biases


BIASES = {
    "min(c, ": minimum(p(b, at=a) / p(a), c) * f(a) * score(b, at=a),
    "abs(c - f(b))": maximum(f(b), c) * score(b),
    "2 * d_theta E_b[max(0, -f(b))]": absolute(f(b)) * score(b),
    "d_theta E_b[indicator(c - f(b))]": (f(b) + indicator(c - f(b))) * score(b),
}


@pytest.mark.parametrize("part", BIASES)
def test_a_bias_says_min_and_max(part):
    formula = BIASES[part]
    draws = (a,) if part.startswith("min") else (b,)
    verdict = derive.prove(Estimator("mine", formula, draws, target))
    assert verdict.verdict == "refuted"
    assert part in text.render(verdict.bias)


def test_what_is_gathered_is_equal_or_left_as_it_was():
    for term in (E(sign(f(b)), b) - 2 * E(f(b), b), x + y, E(f(b), b) * E(sign(f(b)), b)):
        assert equal_by_normal_form(gathered(term), term, EVERYTHING) is not None


def test_what_is_gathered_wrongly_is_not_returned(monkeypatch):
    term = E(sign(f(b)) * f(b), b) / 2
    assert gathered(term) != term
    monkeypatch.setattr(gathering, "_gathered", lambda _: iter((x,)))
    assert gathered(term) == term


def test_a_sign_beside_something_else_is_no_absolute_value():
    assert gathered(E(sign(f(b)) * g(b), b)) == E(sign(f(b)) * g(b), b)
    assert text.render(gathered(E(sign(f(b)) ** 2 - sign(f(b)), b))) == "2 * E_b[indicator(-f(b))]"


def test_a_square_root_is_found_in_a_bias():
    term = E(sqrt(2 * f(b)) * g(b), b) + E(f(b), b)
    assert "sqrt(2 * f(b))" in text.render(gathered(normalise(term, EVERYTHING).rhs))
