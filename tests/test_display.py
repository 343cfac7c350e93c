"""What we return is read where people look: at most a screen by `print`, LaTeX and a fragment of HTML in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache, partial

import pytest

import derive
from derive import display
from derive.catalogue import catalogue
from derive.cli.main import app, run
from derive.kernel.premises import Premise
from derive.kernel.theorem import Equation
from derive.language.errors import UnknownNode
from derive.language.term import Function, Law, Term
from derive.notation import E, constant, copies, finite, function, normal, parameter, score
from derive.printing import text
from derive.proofs.calc import chain_of

theta, c = parameter("theta"), constant("c")
b, f = finite("b", theta), function("f")
VERDICTS = ["score-function", "control-variate-without-correction", "concrete", "straight-through", "sgvb"]


@cache
def verdict(name):
    return derive.prove(catalogue[name], outcomes=(2,))


@cache
def variance(name):
    return derive.variance(catalogue[name])


@cache
def derivation():
    return chain_of(catalogue["rebar"])


def long_term():
    many = copies(b, 40)
    return E(sum((f(one) * score(one) for one in many), start=c), *many)


RETURNED = {
    **{f"verdict of {name}": partial(verdict, name) for name in VERDICTS},
    **{f"estimator {name}": partial(catalogue.get, name) for name in catalogue},
    **{f"variance of {name}": partial(variance, name) for name in ("score-function", "rebar", "vimco")},
    "term": lambda: catalogue["rebar"].formula,
    "long term": long_term,
    "function": lambda: f,
    "finite law": lambda: b.law,
    "normal law": lambda: normal("z").law,
    "premise": lambda: next(iter(derivation().theorem.assumptions)),
    "equation": lambda: Equation(c, theta),
    "theorem": lambda: derivation().theorem,
    "derivation": derivation,
    "line": lambda: derivation().lines[3],
    "catalogue": lambda: catalogue,
}
"""One of everything that a user gets, and what is large."""
EACH = pytest.mark.parametrize("thing", RETURNED, indirect=True)


@pytest.fixture
def thing(request):
    return RETURNED[request.param]()


@EACH
def test_str_is_a_screen_of_text_at_most(thing):
    lines = str(thing).splitlines()
    assert 0 < len(lines) <= display.HEIGHT
    assert max(map(len, lines)) <= display.WIDTH
    assert not re.search(r"\w+\((args|name|value)=", str(thing))


@EACH
def test_repr_of_what_is_no_part_of_a_formula_is_a_line(thing):
    if isinstance(thing, (Term, Law, Function, Premise, Equation)):
        pytest.skip("the repr of a formula tells apart what is written alike: orders rest on it")
    assert len(repr(thing)) < 100
    assert repr(thing).startswith("<")


@EACH
def test_latex_opens_and_closes_what_it_opens(thing):
    shown = thing._repr_latex_()
    assert shown.startswith("$")
    assert shown.endswith("$")
    assert shown.count("{") - shown.count(r"\{") == shown.count("}") - shown.count(r"\}")
    assert len(re.findall(r"\\left[(\[]", shown)) == len(re.findall(r"\\right[)\]]", shown))
    assert not re.search("[\ue000-\ue00f]", shown)


@EACH
def test_html_is_well_formed_and_styles_nothing_but_itself(thing):
    shown = thing._repr_html_()
    ElementTree.fromstring(shown)
    assert "<script" not in shown
    assert "http" not in shown
    assert not re.search("[\ue000-\ue00f]", shown)
    assert restyled(shown) == []


def restyled(fragment):
    """The selectors of a fragment that reach outside it."""
    rules = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL)[1]
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", rules) for one in rule.split(",")]
    return [selector for selector in selectors if not selector.startswith(".gradproof ")]


def test_a_fragment_that_restyles_the_page_would_be_seen():
    assert restyled("<style>\n.gradproof dl { a: b }\ndl, .gradproof dt { a: b }\n</style>") == ["dl"]


def test_a_notebook_gets_what_it_asks_for():
    shown = catalogue["rebar"]._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/latex", "text/html"}
    assert shown["text/plain"] == str(catalogue["rebar"])
    assert set(b._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(b._repr_mimebundle_(exclude={"text/html"})) == {"text/plain", "text/latex"}


@pytest.mark.parametrize("name", ["control-variate-without-correction", "score-function"])
def test_print_of_a_verdict_is_what_the_command_prints(name, capsys):
    run(app, ["prove", name])
    assert capsys.readouterr().out == f"{derive.prove(catalogue[name])}\n"


def test_print_of_a_term_is_its_text():
    assert str(f(b) * score(b)) == text.render(f(b) * score(b)) == f"{f(b) * score(b)}"


def test_terms_that_print_alike_are_told_apart_by_repr():
    others = finite("b", theta, law="p"), normal("b"), normal("b", c)
    assert len({repr(E(f(one), one)) for one in others}) == 3


def test_what_is_not_ours_is_refused():
    with pytest.raises(UnknownNode, match="nothing of ours: object"):
        display.text(object())


def test_showing_loads_the_printing_and_making_does_not():
    code = "import derive, sys; e = derive.catalogue['score-function']; a = 'derive.display' in sys.modules; "
    code += "str(e); print(a, 'derive.display' in sys.modules, 'sympy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["False", "True", "False"]
