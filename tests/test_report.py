"""A report is a folder that can be handed on: valid, escaped, complete, the same each time, and it says what did not run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from fractions import Fraction
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from derive.catalogue import catalogue
from derive.cli.main import run
from derive.laws.bernoulli import RelaxedBernoulli
from derive.printing import html
from numeric.cli.main import app
from numeric.report import collect as report_collect, figures as report_figures, plots as report_plots, site as report
from numeric.report.pages import pages

ROOT = Path(__file__).parent.parent
VOID = {"meta", "link", "img", "br", "hr"}
HOSTILE = "<script>alert('x')</script>"
MINE = f"""
from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score
theta, f = parameter("theta"), function("f")
b = finite("b", theta)
target = grad(E(f(b), b), theta)
hostile = Estimator({HOSTILE!r}, f(b) * score(b), draws=(b,), target=target, summary={HOSTILE!r}, source={HOSTILE!r})
doubled = Estimator("doubled", 2 * f(b) * score(b), draws=(b,), target=target)
"""
AUDITED = f"""
import random
import torch
from numeric import AuditCase
theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
def loss():
    ignored = {HOSTILE!r}
    b = torch.distributions.Categorical(logits=theta).sample()
    return b * torch.log_softmax(theta, -1)[b]
def objective():
    return torch.multinomial(theta.softmax(-1), 1).sum()
def hidden():
    return random.random() * theta.sum()
case = AuditCase(loss=loss, params=theta, objective=objective)
refused = AuditCase(loss=hidden, params=theta, objective=objective)
"""


class Page(HTMLParser):
    """What a page refers to, and where its tags do not match."""

    def __init__(self, source):
        super().__init__()
        self.open, self.problems, self.ids, self.links, self.tags, self.text = [], [], [], [], [], ""
        self.feed(source)
        self.close()
        self.problems += [f"{tag} is not closed" for tag in self.open]
        self.problems += [f"id {one} occurs twice" for one in set(self.ids) if self.ids.count(one) > 1]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            self.ids += [value] if name == "id" else []
            self.links += [value] if name in ("href", "src", "action", "data", "srcset", "poster") else []
            self.problems += [f"{name} of {tag}"] if name.startswith("on") or name == "style" else []
        if tag == "img" and not dict(attributes).get("alt"):
            self.problems.append("an image without a description")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"{tag} is closed where it is not open, line {self.getpos()[0]}")

    def handle_data(self, data):
        self.text += data


def pages_of(folder):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.html"))}


def broken_links(shown, folder):
    found = []
    for name, page in shown.items():
        for link in page.links:
            file, _, fragment = link.partition("#")
            target = file or name
            missing = not re.fullmatch(r"[\w.-]+", target) or not (folder / target).is_file()
            found += [f"{name}: {link}"] if missing or (fragment and fragment not in shown[target].ids) else []
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report on catalogue entries, a user's estimators, audited code and a stated problem."""
    folder = tmp_path_factory.mktemp("users") / "report"
    (folder.parent / "mine.py").write_text(MINE)
    (folder.parent / "audited.py").write_text(AUDITED)
    assert run(app, ["report", "-o", str(folder), *arguments(folder.parent)]) == 1, "doubled is not as declared"
    return folder


def arguments(folder):
    own = [f"{folder / 'mine.py'}:hostile", f"{folder / 'mine.py'}:doubled", f"{folder / 'audited.py'}:case"]
    return ["score-function", "control-variate-without-correction", "pathwise", *own, str(ROOT / "docs/examples/problem.json")]


# The pages


def test_every_page_is_well_formed_and_its_links_lead_somewhere(made):
    shown = pages_of(made)
    assert len(shown) == 8
    assert {name: page.problems for name, page in shown.items() if page.problems} == {}
    assert broken_links(shown, made) == []


def test_the_checks_of_pages_flag_their_canaries(tmp_path):
    assert Page("<p><b>x</p></b>").problems
    assert Page("<p>x").problems
    assert Page("<p id=a></p><p id=a></p>").problems
    assert Page("<img src=a.svg>").problems
    assert Page("<p onclick=f()></p>").problems
    bad = Page('<a href="https://example.org/x.css">x</a><a href="/srv/x.html">x</a><a href="#nowhere">x</a>')
    assert len(broken_links({"index.html": bad}, tmp_path)) == 3


def test_no_page_runs_a_script_or_loads_what_lies_elsewhere(made):
    tags = {tag for page in pages_of(made).values() for tag in page.tags}
    assert tags & {"script", "iframe", "object", "embed", "form", "style"} == set()
    style = (made / "style.css").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(|@font-face", style)
    for drawing in made.glob("*.svg"):
        root = ElementTree.parse(drawing).getroot()
        values = [value for element in root.iter() for name, value in element.attrib.items() if name.endswith(("href", "src"))]
        assert all(value.startswith("#") for value in values)


def test_no_file_names_a_place_on_this_machine(made):
    places = {str(ROOT), str(made.parent), sys.prefix, os.path.expanduser("~") + "/"}
    texts = {path.name: path.read_text(encoding="utf-8") for path in made.iterdir()}
    assert [name for name, text in texts.items() for place in places if place in text] == []
    assert "mine.py:doubled" in texts["report.json"]


def test_what_a_user_wrote_is_shown_and_not_obeyed(made):
    shown = pages_of(made)
    for name in ("index.html", "mine-py-hostile.html", "audited-py-case.html"):
        assert "script" not in shown[name].tags
        assert HOSTILE in shown[name].text


def test_the_first_page_has_every_estimator_with_verdict_and_source(made):
    shown = pages_of(made)["index.html"].text
    assert all(word in shown for word in ("score-function", "williams-1992", "proved", "refuted", "scaled", "declared: proved"))
    assert "5 estimators (4 as declared), 9 crosschecks (all as the verdict says), 1 audit (all unbiased)" in shown
    assert "bernoulli: disagrees as it must" in shown
    assert all(word in shown for word in ("Python", "python-flint", "gradproof report -o DIR score-function"))


def test_the_page_of_a_refuted_estimator_shows_bias_witness_and_both_values(made):
    page = pages_of(made)["control-variate-without-correction.html"]
    wanted = ["refuted", "-p(1)*score(1)*(C(1) - C(2))", "E[estimate]", "There is no derivation", "not zero"]
    assert [word for word in wanted if word not in page.text] == []
    assert "<dt>bias</dt><dd><math" in (made / "control-variate-without-correction.html").read_text(encoding="utf-8")


def test_the_page_of_a_proved_estimator_has_derivation_assumptions_variance_and_code(made):
    page = pages_of(made)["score-function.html"]
    wanted = ["by leibniz", "needs:", "Assumptions", "identically zero", "62500500001/4000000000000", "def estimate", "1e-12"]
    assert [word for word in wanted if word not in page.text] == []
    assert page.tags.count("math") > 8
    assert "gradproof crosscheck score-function --family categorical" in page.text


def test_the_page_of_a_scaled_estimator_says_by_what(made):
    assert "E[estimate] = 2 times the target" in pages_of(made)["mine-py-doubled.html"].text


def test_the_page_of_another_target_says_of_what_it_is_the_gradient():
    found = record("concrete")
    page = pages(report_collect.Report((found,), "", {"gradproof": "0"}, ""), [], {}, {})["concrete.html"]
    target = html.render(found.verdict.derivation.lines[0].term, found.estimator.where)
    assert f"<dt>its mean is</dt><dd>{target}</dd>" in page


def test_a_formula_that_nobody_reads_is_cut_and_says_so():
    found = record("vimco-arithmetic")
    page = pages(report_collect.Report((found,), "", {"gradproof": "0"}, ""), [], {}, {})["vimco-arithmetic.html"]
    assert f"The beginning of {len(found.variance.formula):,} characters" in page
    assert found.variance.formula[-40:] not in page


def test_the_pages_of_audits_and_problems_show_exact_numbers(made):
    shown = pages_of(made)
    assert "torch.multinomial(theta.softmax(-1), 1).sum()" in shown["audited-py-case.html"].text
    assert "theta[1]" in shown["audited-py-case.html"].text
    assert "1/2250" in shown["problem-json.html"].text


# The summary, and a second run


def test_the_summary_on_standard_output_is_the_file(tmp_path, capsys):
    assert run(app, ["report", "-o", str(tmp_path / "new"), "pathwise", "--json"]) == 0
    output, errors = capsys.readouterr()
    summary = json.loads(output)
    assert errors == "", "no progress bar where standard error is no terminal"
    assert summary == json.loads((tmp_path / "new" / "report.json").read_text())
    assert summary["schema"] == "gradproof/report/1"
    assert summary["estimators"][0]["crosschecks"][0]["result"] == "agrees"
    assert set(summary["run"]["seconds"]["pathwise"]) == {"prove", "variance", "crosscheck"}


def without_run(text):
    return re.sub(r'<section id="run">.*?</section>|"run": \{.*', "", text, flags=re.DOTALL)


def test_another_process_writes_the_same_files_but_for_the_run(made):
    again = made.with_name("again")
    gradproof = [sys.executable, "-c", "from numeric.cli.main import main; main()"]
    command = [*gradproof, "report", "-o", str(again), *arguments(made.parent)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, timeout=120)
    first, second = ({path.name: path.read_text() for path in folder.iterdir()} for folder in (made, again))
    assert set(first) == set(second)
    assert {name for name in first if first[name] != second[name]} <= {"index.html", "report.json"}
    assert [name for name in first if without_run(first[name]) != without_run(second[name])] == []


# The folder


def refused(capsys, *arguments):
    assert run(app, ["report", *map(str, arguments)]) == 2
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    return errors


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "holds no earlier report" in refused(capsys, "nvil", "-o", tmp_path)
    assert "takes a folder" in refused(capsys, "nvil", "-o", tmp_path / "thesis.tex")
    for summary in ("[]", "{", '{"schema": "gradproof/verdict/1"}', "[" * 100_000):
        (tmp_path / "report.json").write_text(summary)
        assert "holds no earlier report" in refused(capsys, "nvil", "-o", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "report.json"}


def test_an_earlier_report_is_replaced_and_other_files_stay(tmp_path):
    folder = tmp_path / "report"
    assert run(app, ["report", "-o", str(folder), "nvil-baseline", "pathwise"]) == 0
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "outside.html").write_text("mine")
    summary = json.loads((folder / "report.json").read_text())
    summary["files"] += ["../outside.html", "notes.txt", "/etc/passwd", 3]
    (folder / "report.json").write_text(json.dumps(summary))
    assert run(app, ["report", "-o", str(folder), "pathwise"]) == 0
    assert not (folder / "nvil-baseline.html").exists()
    assert (folder / "pathwise.html").exists()
    assert (folder / "notes.txt").exists()
    assert (tmp_path / "outside.html").exists()


def test_a_report_that_fails_writes_nothing(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    folder = tmp_path / "report"
    assert "did you mean rebar" in refused(capsys, "-o", folder, "pathwise", "rebbar")
    assert "has no 'nothing'" in refused(capsys, "-o", folder, "pathwise", f"{tmp_path / 'mine.py'}:nothing")
    assert "there is no file" in refused(capsys, "-o", folder, "nowhere.py:case")
    assert "-o" in refused(capsys, "pathwise")
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write into" in refused(capsys, "nvil-baseline", "-o", tmp_path / "file" / "report")


# What did not run, and what contradicts


def fresh(name):
    return report_collect.estimator_record(name, f"{name}.html", catalogue[name])


record = cache(fresh)


def crosschecked(agrees, *, vacuous=False, verdict="proved"):
    """The record of an estimator whose generated code gave this answer."""
    found = SimpleNamespace(agrees=agrees, vacuous=vacuous, zero_noise=[SimpleNamespace(max_error=1.0, tolerance=0.5)])
    as_verdict = None if vacuous else agrees == (verdict == "proved")
    return report_collect.Crosschecked("bernoulli", "", found, "", as_verdict)


def status_of(*records):
    return report_collect.Report(records, "", {}, "").exit_code


def test_code_that_contradicts_its_verdict_fails_and_vacuous_code_decides_nothing():
    good = record("nvil-baseline")
    assert status_of(good) == 0
    assert status_of(good, replace(good, crosschecks=(crosschecked(False),))) == 1
    assert status_of(good, replace(good, crosschecks=(crosschecked(False, vacuous=True),))) == 3
    assert status_of(replace(good, estimator=replace(good.estimator, verdict="refuted"))) == 1


def test_a_crosscheck_is_held_to_the_verdict(monkeypatch):
    from numeric.checking import crosscheck

    answers = {"bernoulli": True, "categorical": False}
    monkeypatch.setattr(crosscheck, "crosscheck", lambda _, family: SimpleNamespace(agrees=answers[family], vacuous=False))
    proved, refuted = fresh("score-function"), fresh("control-variate-without-correction")
    assert [one.as_verdict for one in proved.crosschecks] == [True, False]
    assert [one.as_verdict for one in refuted.crosschecks] == [False, True]


def without(monkeypatch, package):
    """Make the import of a package fail, as where it is not installed."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "numeric.checking.crosscheck", raising=False)


def test_without_torch_the_pages_say_what_was_not_run(monkeypatch, tmp_path, capsys):
    without(monkeypatch, "torch")
    assert run(app, ["report", "-o", str(tmp_path / "report"), "score-function"]) == 0
    page = pages_of(tmp_path / "report")["score-function.html"]
    assert page.text.count("torch is not installed") == 2
    assert "def estimate" in page.text, "source needs no torch"
    assert "2 crosschecks not run" in capsys.readouterr().out
    assert not (tmp_path / "report" / "crosscheck-errors.svg").exists()


def test_without_matplotlib_the_pages_have_the_numbers_and_say_so(monkeypatch, tmp_path):
    without(monkeypatch, "matplotlib")
    assert run(app, ["report", "-o", str(tmp_path / "report"), "score-function"]) == 0
    page = pages_of(tmp_path / "report")["index.html"]
    assert page.text.count("matplotlib is not installed") == 2
    half = RelaxedBernoulli(Fraction(1, 2), report_figures.TOY).score_function().variance.middle
    assert f"{float(half):.4g}" in page.text
    assert "img" not in page.tags
    assert list((tmp_path / "report").glob("*.svg")) == []


def test_code_that_cannot_be_audited_is_on_its_page_with_the_reason(tmp_path, capsys):
    (tmp_path / "audited.py").write_text(AUDITED)
    assert run(app, ["report", "-o", str(tmp_path / "report"), f"{tmp_path / 'audited.py'}:refused"]) == 3
    assert "1 audit (none unbiased)" in capsys.readouterr().out
    page = pages_of(tmp_path / "report")["audited-py-refused.html"]
    assert "not audited" in page.text
    assert "draws from random" in page.text


# The figures


def test_the_variance_figure_has_the_exact_variances(monkeypatch):
    monkeypatch.setattr(report_figures, "PERCENTS", (25, 99))
    rebar, score = record("rebar"), record("score-function")
    figure = report_figures.variance_curves([rebar, score, record("pathwise")])
    curves = {series.label: series.values for series in figure.series}
    assert list(curves) == ["rebar (eta = 1, lambda = 0.5)", "score-function"]
    for percent in (25, 99):
        law = RelaxedBernoulli(Fraction(percent, 100), report_figures.TOY)
        assert curves["score-function"][percent / 100] == float(law.score_function().variance.middle)
    exact = RelaxedBernoulli(Fraction(1, 4), report_figures.TOY).rebar(Fraction(1)).variance.middle
    assert curves["rebar (eta = 1, lambda = 0.5)"][0.25] == pytest.approx(float(exact), rel=1e-12)


def test_the_error_figure_sets_each_error_against_its_tolerance():
    figure = report_figures.crosscheck_errors([record("score-function"), record("control-variate-without-correction")])
    rows = {row[0]: row[1:] for row in figure.rows}
    assert rows["score-function, bernoulli"][0] == "1e-12"
    assert rows["score-function, bernoulli"][2] == ""
    assert float(rows["control-variate-without-correction, bernoulli"][2]) > 0.1


def test_the_temperature_figure_approaches_its_limits():
    bias, variance, *limits = (series.values for series in report_figures.temperatures().series)
    least = min(bias)
    assert bias[least] == pytest.approx(limits[0][least], rel=0.01)
    assert variance[least] == pytest.approx(limits[1][least], rel=0.01)


def test_a_drawing_is_svg_without_a_date_and_the_same_each_time():
    figure = report_figures.temperatures()
    drawn = report_plots.draw(figure)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "date" not in drawn.lower()
    assert drawn == report_plots.draw(figure)


def test_pages_have_different_names_where_the_file_system_ignores_case():
    taken = set()
    for name in ("a.py:one", "b/A.py:One", "index", "../..", "é"):
        taken.add(report._page_name(name, taken))
    assert taken == {"a-py-one.html", "a-py-one-2.html", "index-2.html", "page.html", "page-2.html"}


@pytest.mark.exhaustive
def test_the_whole_catalogue_is_reported_as_declared(tmp_path, capsys):
    assert run(app, ["report", "-o", str(tmp_path / "report")]) == 0
    shown = pages_of(tmp_path / "report")
    assert {f"{name}.html" for name in catalogue} < set(shown)
    assert {name: page.problems for name, page in shown.items() if page.problems} == {}
    assert broken_links(shown, tmp_path / "report") == []
    assert f"{len(catalogue)} estimators (all as declared)" in capsys.readouterr().out
    assert "concrete-temperature.svg" in shown["concrete.html"].links
