"""A derivation becomes a document in four notations; the LaTeX one compiles and fits its page, whatever a user calls things."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.kernel.premises import Dominated, SupportFixed
from derive.kernel.theorem import Equation
from derive.language.term import Number
from derive.notation import E, Over, constant, copies, finite, function, grad, p, parameter, score, stop
from derive.printing import html, latex, markdown, text
from derive.proofs.calc import Line, calc
from derive.proofs.rules import algebra, expectation, leibniz, log_derivative_trick, value_of_stop
from derive.proofs.tactic import find

FORMATS = {"text": text, "markdown": markdown, "latex": latex, "html": html}
theta = parameter("theta")
b, f = finite("b", theta), function("f")


def score_function_derivation():
    return calc(
        grad(E(f(b), b), theta),
        (expectation, grad(Over(p(b) * f(b), b), theta)),
        (leibniz, Over(grad(p(b) * f(b), theta), b)),
        (log_derivative_trick, Over(p(b) * score(b) * f(b), b)),
        (expectation, E(f(b) * score(b), b)),
    )


def one_step(estimator):
    """A derivation in form only: from the target to the mean in one step, with assumptions about the whole formula."""
    draw = estimator.draws[0]
    assumed = (Dominated(draw, estimator.formula, estimator.parameter), SupportFixed(draw, estimator.parameter))
    lines = (("", estimator.target, ()), ("a_rule & more", estimator.expectation, assumed))
    return SimpleNamespace(
        lines=tuple(Line(*line) for line in lines),
        theorem=SimpleNamespace(assumptions=frozenset({*assumed, Equation(estimator.target, estimator.expectation)})),
    )


def hostile():
    parameter_ = parameter(r"\input{x}")
    draw = finite("b%$&#_{}~^", parameter_, law="<b>")
    integrand = function("f*_`|é名\n")
    return Estimator(
        name=r"\end{document} <script> $x_1$ & 50%",
        formula=integrand(draw) * score(draw),
        draws=(draw,),
        target=grad(E(integrand(draw), draw), parameter_),
        where=((r"\w<", integrand(draw)),),
        source="Müller & Sons <1999>, eq. 1_2",
        summary="“Curly” – 100 % of #1 in {braces} ~ ^ \\ 名.",
    )


def long():
    several = copies(b, 12)
    mean = sum((f(copy) for copy in several), start=Number(0)) / 12
    formula = sum(((f(copy) - mean) * score(copy) for copy in several), start=Number(0)) / (constant("c") + mean)
    return Estimator("long", formula, draws=several, target=grad(E(f(b), b), theta))


ESTIMATORS = [*catalogue.values(), hostile(), long()]
NAMES = [*catalogue, "hostile", "long"]


def compiled(source, folder):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (folder / "derivation.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "derivation.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=120)
    return result.returncode, result.stdout


def overflow(log):
    """How far the worst line stands out of its box, in points."""
    unwrapped = log.replace("\n", "")
    return max((float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", unwrapped)), default=0)


def bound(documents):
    """One document of all, which says on the terminal where each begins: TeX takes longer to start than to set a page."""
    (preamble, *_), *_ = parts = [document.split(r"\begin{document}", 1) for document in documents.values()]
    bodies = [body.rpartition(r"\end{document}")[0] for _, body in parts]
    marked = [rf"\typeout{{@@{i}}}{body}\clearpage" for i, body in enumerate(bodies)]
    return "\n".join([preamble, r"\begin{document}", *marked, r"\end{document}"])


def overflows(documents, folder):
    """By how much each document overflows, compiled as one."""
    status, log = compiled(bound(documents), folder)
    assert status == 0, log[-2000:]
    logs = dict(part.split("\n", 1) for part in f"\n{log}".split("\n@@")[1:])
    return {name: overflow(logs[str(i)]) for i, name in enumerate(documents)}


def test_the_latex_documents_compile_and_fit_their_pages(tmp_path):
    written = {name: latex.document(one, one_step(one)) for name, one in zip(NAMES, ESTIMATORS, strict=True)}
    assert {name: points for name, points in overflows(written, tmp_path).items() if points >= 20} == {}


def test_the_document_that_overflows_is_named(tmp_path):
    document = r"\documentclass{article}\begin{document}\mbox{" + "word " * 60 + r"}\end{document}"
    found = overflows({"narrow": document.replace("word ", ""), "wide": document}, tmp_path)
    assert found["narrow"] == 0 < 20 < found["wide"]


PROVED = [name for name, estimator in catalogue.items() if estimator.verdict == "proved"]


@pytest.mark.parametrize("document", [text.document, markdown.document, latex.document, html.document])
def test_a_step_that_holds_of_values_only_says_so(document):
    whole = stop(theta) * f(b)
    estimator = Estimator("values", whole, draws=(b,), target=grad(E(f(b), b), theta))
    chain = calc(whole, (value_of_stop, theta * f(b)), (algebra, f(b) * theta))
    assert document(estimator, chain).count("in value only") == 1


@pytest.mark.slow
def test_the_derivations_of_the_catalogue_compile_and_fit_their_pages(tmp_path):
    derived = {name: catalogue[name].derivation or (lambda name=name: find(catalogue[name]).derivation) for name in PROVED}
    written = {name: latex.document(catalogue[name], derivation()) for name, derivation in derived.items()}
    assert {name: points for name, points in overflows(written, tmp_path).items() if points >= 5} == {}


@pytest.mark.parametrize("format_", FORMATS)
def test_a_document_names_each_rule_and_each_assumption(format_):
    derivation = score_function_derivation()
    document = FORMATS[format_].document(catalogue["score-function"], derivation)
    written = document.replace("\\_", " ").replace("_", " ").casefold()
    for rule in {line.rule for line in derivation.lines if line.rule}:
        assert rule.replace("_", " ") in written
    for name, _ in latex.premises(derivation.theorem.assumptions):
        assert name.casefold() in written


@pytest.mark.parametrize("format_", FORMATS)
def test_a_document_without_a_derivation_says_so(format_):
    assert "There is no derivation." in FORMATS[format_].document(catalogue["rebar"], None)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_document_has_one_number_or_line_for_each_term(format_):
    estimator = catalogue["rebar"]
    bare, full = (FORMATS[format_].document(estimator, derivation) for derivation in (None, one_step(estimator)))
    assert len(full) > len(bare)


def test_the_text_document_reads_line_by_line():
    written = text.document(catalogue["score-function"], score_function_derivation())
    assert "  = by leibniz\n    sum_b d_theta (p(b; theta) * f(b))\n      needs Differentiable(p(b; theta), theta)" in written
    assert written.endswith("Assumptions\n  Differentiable(p(b; theta), theta): p(b; theta) is differentiable in theta\n")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_the_html_page_is_well_formed_and_needs_no_network(estimator):
    page = html.document(estimator, one_step(estimator))
    body = page[page.index("<body>") : page.index("</html>")]
    ElementTree.fromstring(body)
    assert "http" not in page
    assert "<script" not in page


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_markdown_displays_are_closed(estimator):
    written = markdown.document(estimator, one_step(estimator))
    assert written.count("$$") % 2 == 0
    assert "<script" not in written


def test_a_premise_does_not_call_two_things_by_one_name():
    rebar, hard = catalogue["rebar"], dict(catalogue["rebar"].where)["b"]
    assert text.premise(Equation(b, hard), rebar.where) == "Assumed(b, H(z)): b = H(z)"
