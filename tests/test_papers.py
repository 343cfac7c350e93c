"""Fragments fit a column: compiled where TeX is installed, and by their estimated width everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

import derive
from derive.catalogue import catalogue
from derive.cli import paper as command
from derive.cli.main import app, run
from derive.estimator import Estimator
from derive.language.errors import GradproofError, UsageError
from derive.language.term import Number
from derive.notation import E, constant, exp, finite, function, grad, log, normal, p, parameter, score
from derive.printing import latex, paper
from derive.printing.measure import points
from tests.proved import proved

NAMES = ["score-function", "control-variate-without-correction", "rebar", "leave-one-out", "sgvb", "nvil", "muprop"]
VARIANCES = ["score-function", "leave-one-out", "nvil", "straight-through", "rebar"]
STATED = ["sgvb", "relax-variance-phi", "sequence-importance-sampling", "per-decision-importance-sampling"]
COLUMN = 239
ABOUT = 1.08  # the estimate may be so much below what TeX finds
CLASSES = {
    "article": r"\documentclass[twocolumn]{article}\setlength{\columnsep}{20pt}\setlength{\textwidth}{498pt}",
    "IEEEtran": r"\documentclass[conference]{IEEEtran}",
    "revtex4-2": r"\documentclass[aps,prl,reprint]{revtex4-2}",
    "acmart": r"\documentclass[sigconf,nonacm]{acmart}\title{T}\author{A}\affiliation{\institution{I}\city{C}\country{C}}",
}
"""Of each class the first lines; their columns are from 239 to 252 points wide."""
DOCUMENT = r"""
\usepackage{amsmath}
\ifdefined\Bbbk\else\IfFileExists{amssymb.sty}{\usepackage{amssymb}}{\newcommand{\mathbb}[1]{\mathbf{#1}}}\fi
\allowdisplaybreaks
\begin{document}
\ifdefined\acmConference\maketitle\fi
BODY
\end{document}
"""
x, theta = constant("x"), parameter("theta")
b, f = finite("b", theta), function("f")


def sqrt(term):
    return exp(log(term) / 2)


def odd(name, formula, target=None):
    target = grad(E(f(b), b), theta) if target is None else target
    return Estimator(name, formula, draws=(b,), target=target, source="müller-1999, eq. 1_2 & 50%")


def odd_ones():
    """Formulas that nobody would print: wide roots and quotients, names of other alphabets, nothing at all."""
    many = sum((constant(f"c_{i}") * f(b) for i in range(9)), start=f(b))
    greek = function("é名")(b) * score(b) / constant("rho12")
    yield odd("zero", Number(0))
    yield odd("root", sqrt(many) * score(b) / sqrt(many + 1))
    yield odd("quotient", score(b) / ((f(b) + constant("c_1") * constant("c_2")) ** 2 * (f(b) + constant("c_3") + 1)))
    yield odd("deep", exp(log(exp(log(exp(many) + many) / 3 + many) / 5) + many) * score(b))
    yield odd("names", greek)
    yield odd("power", (sqrt(many) * sqrt(f(b))) ** 3 * score(b) ** 2)


@cache
def fragments():
    explained = {f"explain {name}": command.explained(catalogue[name], "84mm") for name in NAMES}
    explained |= {f"prove {name}": command.proved(catalogue[name], "84mm") for name in STATED}
    return explained | {f"variance {name}": command.varied(catalogue[name], 2, "84mm") for name in VARIANCES}


def every(estimator):
    try:
        varied = command.varied(estimator, 2, "84mm")
    except GradproofError:
        varied = ""
    return {"explain": command.explained(estimator, "84mm"), "prove": command.proved(estimator, "84mm"), "variance": varied}


@cache
def odd_fragments():
    return {f"{kind} {one.name}": text for one in odd_ones() for kind, text in every(one).items() if text}


def rows(fragment):
    """The rows of the displays, without what is no part of the formula."""
    found = re.findall(r"\\begin\{align\}\n(.*?)\n\\end\{align\}", fragment, re.DOTALL)
    return [row.replace("&", "").replace(r"\nonumber", "") for display in found for row in display.split("\\\\\n")]


def too_wide(fragment, column=COLUMN):
    return [row for row in rows(fragment) if points(row) > ABOUT * column]


@pytest.mark.parametrize("name", [f"explain {name}" for name in NAMES] + [f"variance {name}" for name in VARIANCES])
def test_a_fragment_is_estimated_to_fit_its_column(name):
    assert rows(fragments()[name])
    assert too_wide(fragments()[name]) == []


def test_a_row_that_is_too_wide_is_seen():
    wide = "\\begin{align}\n" + " + ".join(f"f(b_{{{i}}})" for i in range(12)) + "\n\\end{align}"
    assert too_wide(wide)


def test_a_narrower_column_has_more_rows():
    narrow = command.explained(catalogue["rebar"], "62mm")
    assert len(rows(narrow)) > len(rows(fragments()["explain rebar"]))
    assert too_wide(narrow, 62 / 25.4 * 72.27) == []


def compiled(bodies, folder, kind="article"):
    """What TeX says of each body, all of them in one document of a class."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    if subprocess.run(["kpsewhich", f"{kind}.cls"], capture_output=True, check=False).returncode:
        pytest.skip(f"the class {kind} is not installed")
    text = "\n".join(f"\\typeout{{@@{name}}}\n{body}\n" for name, body in bodies.items())
    (folder / "paper.tex").write_text(CLASSES[kind] + DOCUMENT.replace("BODY", text), encoding="utf-8")
    tex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    subprocess.run(tex, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert "\n! " not in log, log[log.index("\n! ") :][:1000]
    assert "Output written" in log
    return dict(part.split("\n", 1) for part in log.split("\n@@")[1:])


def overfull(log):
    """How far what stands out of its column does so, in points."""
    unwrapped = log.replace("\n", "")
    return sorted(float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", unwrapped))


def standing_out(bodies, folder, kind="article"):
    found = {name: overfull(log) for name, log in compiled(bodies, folder, kind).items()}
    return {name: excess for name, excess in found.items() if excess and excess[-1] > 5}


@pytest.mark.parametrize("kind", CLASSES)
def test_fragments_compile_and_fit_a_column_of_each_class(kind, tmp_path):
    assert standing_out(fragments() | odd_fragments(), tmp_path, kind) == {}


@pytest.mark.slow
def test_every_fragment_of_the_catalogue_fits_a_column_of_each_class(tmp_path, monkeypatch):
    """By the estimate first, so that something is asked where TeX is not installed."""
    monkeypatch.setattr(derive, "prove", lambda estimator: proved(estimator.name))
    found = {f"{kind} {name}": written for name, one in catalogue.items() for kind, written in every(one).items() if written}
    assert len(found) > 2.9 * len(catalogue)
    assert {name: wide for name, text in found.items() if (wide := too_wide(text))} == {}
    for kind in CLASSES:
        assert standing_out(found, tmp_path, kind) == {}


def test_a_fragment_that_overflows_would_be_seen(tmp_path):
    wide = "\\begin{align}\n" + " + ".join(f"f(b_{{{i}}})" for i in range(12)) + "\n\\end{align}"
    assert standing_out({"wide": wide, "narrow": fragments()["explain score-function"]}, tmp_path).keys() == {"wide"}


@pytest.mark.parametrize(
    ("term", "printed"),
    [
        (constant("a0"), "a_{0}"),
        (function("log_joint")(x), r"\log p(x)"),
        (function("log_joint")(x) ** 2, r"(\log p(x))^{2}"),
        (function("log_prior")(x), r"\log \mathrm{prior}(x)"),
        (function("log_joint")(x) - log(p(finite("b", theta))), r"\log \mathrm{joint}(x) - \log p(b; \theta)"),
        (exp(log(x) / 2), r"\sqrt{x}"),
        (exp(-log(x) / 2), r"\frac{1}{\sqrt{x}}"),
        (theta * exp(-log(x) / 2), r"\frac{\theta}{\sqrt{x}}"),
        (exp(-log(x) / 2) ** 2, r"(\frac{1}{\sqrt{x}})^{2}"),
        (constant("pi0"), r"\pi_{0}"),
        (grad(grad(function("f")(theta), theta), theta), r"\partial_\theta^{2} f(\theta)"),
        (grad(grad(function("f")(theta, x), theta), x), r"\partial_x \partial_\theta f(\theta, x)"),
        (normal("z1"), "z_{1}"),
    ],
)
def test_names_are_written_as_people_write_them(term, printed):
    assert latex.render(term).replace(r"\left", "").replace(r"\right", "") == printed


def test_a_variance_has_no_sign_in_front_and_a_positive_denominator():
    for name in ("score-function", "leave-one-out", "nvil", "straight-through"):
        formula = derive.variance(catalogue[name]).written
        assert formula.number > 0
        assert all(value.terms[0][0] > 0 for value, _ in (*formula.factors, *formula.divisors))


def test_a_sum_above_a_denominator_stands_in_brackets():
    assert re.fullmatch(r"\(.*\) / \(1 - p\(1\) - p\(2\)\)", derive.variance(catalogue["score-function"], 3).formula)


def test_every_step_is_named_and_every_source_cited():
    fragment = fragments()["explain score-function"]
    letters = set(re.findall(r"\\text\{\((\w+)\)\}", fragment))
    assert letters == set(re.findall(r"\((\w)\) \w", fragment.split(r"\end{align}")[-1]))
    assert r"\cite{williams-1992}" in fragment


def test_the_sources_of_an_estimator_are_printed_for_bibtex(capsys):
    assert run(app, ["explain", "rebar", "--bibtex"]) == 0
    assert capsys.readouterr().out.startswith("@inproceedings{tucker-2017,")


@pytest.mark.parametrize("wrong", ["84", "mm", "-1mm", "1e9mm", "3mm", "84 furlongs"])
def test_a_width_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError, match="such as 84mm"):
        paper.width_in_points(wrong)


def test_a_fragment_of_text_and_an_unknown_source_are_refused(capsys):
    assert run(app, ["prove", "rebar", "--fragment"]) == 2
    assert "--format latex --fragment" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no reference is called nobody-1900"):
        command.bibliography("nobody-1900, eq. 3")
    with pytest.raises(UsageError, match="names no source"):
        command.bibliography("")
