"""The site: what its generators write, and that Sphinx builds it without a warning and without the network."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path

import pytest

from derive import notation
from derive.catalogue import catalogue
from derive.kernel.theorem import RULES
from derive.language.term import Law, NamedLaw
from docs.site import api, estimators, gather, laws, rules
from docs.site.docstrings import SECTIONS, restructured
from docs.site.look import DARK, browser, look

ROOT = Path(__file__).parent.parent
ANSWERS = json.loads(estimators.ANSWERS.read_text(encoding="utf-8"))


# Pages that are there


def test_every_link_of_the_pages_leads_to_a_page_of_the_site_a_picture_or_the_repository():
    places = gather.pages()
    for page in places:
        text = gather.linked((ROOT / page).read_text(encoding="utf-8"), page, places)
        targets = re.findall(r"\]\(([^)\s#:]+\.md)", text)
        here = Path(places[page]).parent
        assert {str(Path(os.path.normpath(here / target))) for target in targets} <= set(places.values()), page


def link_of(text):
    places = {Path(f"docs/{name}.md"): f"{name}.md" for name in ("design", "testing")}
    return gather.linked(text, Path("docs/design.md"), places)


@pytest.mark.parametrize(
    ("written", "in_the_site"),
    [
        ("[t](testing.md#a)", "[t](testing.md#a)"),
        ("[k](../derive/kernel/theorem.py)", f"[k]({gather.REPOSITORY}/derive/kernel/theorem.py)"),
        ("[g](gallery/index.html)", '<a href="gallery/index.html">g</a>'),
        ("`[c](gone.md)`", "`[c](gone.md)`"),
        ("```\n[c](gone.md)\n```", "```\n[c](gone.md)\n```"),
        ("[w](https://example.org/x.md)", "[w](https://example.org/x.md)"),
    ],
)
def test_a_link_is_moved_and_code_is_left_alone(written, in_the_site):
    assert link_of(written) == in_the_site


def test_a_link_to_nothing_stops_the_build():
    with pytest.raises(gather.BrokenLink, match=r"gone\.md"):
        link_of("[g](gone.md)")


def test_a_page_that_is_html_already_links_to_pages_of_the_site(tmp_path):
    gather.gather(tmp_path / "source", tmp_path / "extra")
    page = (tmp_path / "extra" / "gallery" / "index.html").read_text(encoding="utf-8")
    targets = set(re.findall(r'href="([\w/.]+)', page))
    assert "reading.html" in targets
    assert {f"gallery/{target}" for target in targets} <= {place.replace(".md", ".html") for place in gather.pages().values()}


# Docstrings


def test_columns_become_definitions_and_statements_keep_their_lines():
    written = restructured(["One.", "", "Args", "    a, b   first", "           more", "Premises", "    p |- q", "    r"])
    assert written[2:7] == ["Args", "    ``a, b``", "        first", "        more", ""]
    assert written[7:10] == ["Premises", r"    | p \|- q", "    | r"]


def test_every_section_that_docstrings_have_is_known():
    heads = set()
    for folder in ("derive", "numeric"):
        for path in (ROOT / folder).rglob("*.py"):
            heads |= set(re.findall(r"^ +([A-Z][a-z]+)\n(?= +\S+ {2,}\S)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert heads - {"True", "False"} <= set(SECTIONS)


# Rules


def test_every_rule_of_the_kernel_says_what_it_concludes():
    assert [name for name, rule in RULES.items() if "\nConclusion\n" not in inspect.getdoc(rule)] == []


def test_the_named_identities_have_pages():
    identities = {"log_derivative", "zero_mean_score", "control_variate_correction", "conditional_marginalization"}
    assert identities <= set(rules.DERIVED)


def test_a_synonym_is_of_a_rule():
    assert [name for name in rules.SYNONYMS.values() if name not in RULES] == []


def test_the_steps_of_a_derivation_lead_to_the_pages_of_their_rules(monkeypatch):
    monkeypatch.setattr(estimators, "available", lambda: False)  # the plot takes seconds
    page = estimators.known("rebar")
    linked = re.findall(r'href="\.\./rules/(\w+)\.html"', page.body)
    assert linked == [rules.page_of_rule(rule) for rule in page.rules if rules.page_of_rule(rule)]
    assert {"definition", "leibniz", "conditional_marginalization"} <= set(linked)


# Laws


def test_every_law_of_the_language_has_a_page_that_says_how_it_is_written_and_read():
    assert set(laws.LAWS.values()) == {*Law.__subclasses__(), NamedLaw}
    for law in laws.LAWS.values():
        assert re.findall(r"^(Written|Readings)$", inspect.getdoc(law), re.MULTILINE) == ["Written", "Readings"]


@pytest.mark.parametrize("name", laws.LAWS)
def test_how_a_law_is_written_is_right(name):
    for line in re.findall(r"^    (\w+\(.*?\))  ", inspect.getdoc(laws.LAWS[name]), re.MULTILINE):
        names = {**vars(notation), **{each: notation.parameter(each) for each in ("theta", "phi", "low", "high")}}
        names |= {each: notation.function(each) for each in ("mu", "sigma")} | {"b": notation.finite("b", names["theta"])}
        assert isinstance(eval(line, names).law, laws.LAWS[name]), line  # noqa: S307, our own docstrings


def test_what_the_page_of_a_law_says_of_exact_values_and_code_is_so():
    answers = {name: dict(laws.asked(laws.example(name))) for name in laws.LAWS}
    assert {name: answer["verdict"].split(" ")[0] for name, answer in answers.items()} == dict.fromkeys(laws.LAWS, "proved")
    agreeing = [name for name, answer in answers.items() if answer["crosscheck of the torch code"] == "agrees"]
    assert agreeing == list(laws.LAWS)
    assert "nothing is known" in answers["density"]["exact values"]
    assert "polynomials" in answers["uniform"]["exact values"]


# Estimators


def test_the_page_of_an_estimator_has_derivation_verdict_and_code():
    page = estimators.known("score-function")
    text = estimators.render(page, {"variance": "exact", "crosscheck": {"bernoulli": "agrees"}})
    parts = ("# score-function", "<math", "proved, as declared", "def estimate(", "of the code, bernoulli | agrees")
    for part in parts:
        assert part in text, part


def test_the_page_of_an_estimator_has_its_variance_where_it_is_of_the_problem_of_the_plot():
    answer = {"variance": "exact", "crosscheck": {}}
    drawn = estimators.render(estimators.Page("rebar", "proved", "", (), {}, "<svg/>", "What it shows."), answer)
    assert re.search(r"## Variance\n\n!\[[^]]*rebar[^]]*\]\(rebar\.svg\)\n\nWhat it shows\.\n\n## Torch code\n", drawn)
    assert "## Variance" not in estimators.render(estimators.Page("pathwise", "proved", "", (), {}), answer)
    assert estimators.known("pathwise").plot == ""
    assert estimators.known("leave-one-out").plot.count("prefers-color-scheme") == 1


@pytest.mark.parametrize("name", catalogue)
def test_every_estimator_has_answers_and_the_file_of_its_derivation(name):
    page = estimators.Page(name, catalogue[name].verdict, "", (), {})
    text = estimators.render(page, ANSWERS[name])
    assert ("The derivation is written in" in text) == (catalogue[name].derivation is not None)


def test_a_verdict_that_is_not_the_declared_one_is_said():
    page = estimators.known("score-function")
    other = estimators.Page(page.name, "refuted", page.body, page.rules, page.code)
    assert "refuted, declared as proved" in estimators.render(other, {"variance": "exact", "crosscheck": {}})


# The reference


def test_every_public_name_is_on_one_page(tmp_path):
    count = api.write(tmp_path)
    written = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "api").iterdir())
    names = [name for name in re.findall(r"^\.\. \S+:: (\S+)", written, re.MULTILINE) if name not in api.MODULES]
    assert (len(names), len(set(names))) == (count, count)
    assert {"derive.prove", "derive.notation.grad", "numeric.audit", "numeric.testbed.check"} <= set(names)


# Sphinx


@pytest.fixture(scope="module")  # more than a minute
def site(tmp_path_factory):
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module)
    from docs.site.__main__ import build

    folder = tmp_path_factory.mktemp("site")
    build(folder, ["score-function", "rebar", "grpo", "truncated-importance-sampling"])
    return folder / "html"


@pytest.mark.exhaustive
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r'<(script|img|iframe|source|link)\b[^>]*\b(src|href)="(https?:)?//')
    assert [path.name for path in site.rglob("*.html") if loaded.search(path.read_text(encoding="utf-8"))] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [style for style in styles if re.search(r"@import|url\([\"']?(?:https?:)?//", style)] == []


def built(site):
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if "_modules" not in path.parts)


@pytest.mark.exhaustive
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed")
def test_no_page_is_wider_than_a_telephone_and_all_that_scrolls_is_reached_by_the_keyboard(site):
    answers, console = look(site, built(site))
    assert {page: answer["found"] for page, answer in answers.items() if answer["found"]} == {}
    assert console == []


@pytest.mark.exhaustive
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed")
def test_every_page_is_dark_for_a_reader_who_wants_it_dark(site):
    answers, _ = look(site, built(site), DARK)
    light = {page: answer["background"] for page, answer in answers.items() if sum(rgb(answer["background"])) > 150}
    assert light == {}


def rgb(background):
    return [int(number) for number in re.findall(r"\d+", background)][:3]


@pytest.mark.exhaustive
def test_every_page_fits_its_width_and_its_formulas_can_be_reached(site):
    for page in built(site):
        text = (site / page).read_text(encoding="utf-8")
        assert '<meta name="viewport"' in text or "<meta name=viewport" in text, page
        assert "site.js" in text or "tabindex" in text, page
        assert not re.search(r"<mi>log</mi><mo>[^<]*</mo><(?!mspace|mo|mrow><mo)", text), page


@pytest.mark.exhaustive
def test_the_first_page_shows_a_derivation_a_verdict_code_and_an_audit(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]*>", "", page)
    for part in ("log derivative", "proved for every law", "def estimate(", "it agrees", "0.95 times the exact gradient"):
        assert part in text, part
    assert "<math" in page


@pytest.mark.exhaustive
def test_no_mathematics_is_left_as_source(site):
    for path in site.glob("notes/*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<math" in text, path.name
        assert not re.search(r"\\\(|\$\$|class=\"math", text.split("<article")[1].split("</article>")[0]), path.name


@pytest.mark.slow
@pytest.mark.parametrize(("line", "status"), [("= 2 * E_b[f(b)] by linearity", 0), ("= 3 * E_b[f(b)] by linearity", 1)])
def test_a_wrong_line_of_a_typed_derivation_fails_the_build(tmp_path, capsys, monkeypatch, line, status):
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module)
    from docs.site.__main__ import sphinx

    (tmp_path / "source").mkdir()
    (tmp_path / "extra").mkdir()
    page = f"# Page\n\n```derivation\nb ~ p(b; theta)\nE_b[2 * f(b)]\n{line}\n```\n"
    (tmp_path / "source" / "index.md").write_text(page, encoding="utf-8")
    (tmp_path / "extra" / "whole.html").write_text("a page of ours", encoding="utf-8")
    monkeypatch.chdir(tmp_path.parent)
    assert sphinx(Path(tmp_path.name)) == status  # as make docs names its folder
    assert (tmp_path / "html" / "whole.html").exists()
    assert ("index.md:6: ERROR: linearity does not lead to this line" in capsys.readouterr().err) == bool(status)


@pytest.mark.slow
@pytest.mark.parametrize("opening", ["```Derivation", "~~~derivation two", "<!--\n```derivation", "\t```derivation"])
def test_a_block_that_would_be_set_as_code_fails_the_build(tmp_path, capsys, opening):
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module)
    from docs.site.__main__ import sphinx

    (tmp_path / "source").mkdir()
    (tmp_path / "extra").mkdir()
    (tmp_path / "source" / "index.md").write_text(f"# Page\n\n{opening}\na * 2\n= 2 * a by algebra\n", encoding="utf-8")
    assert sphinx(tmp_path) == 1
    line = 3 + opening.count("\n")
    assert f"index.md:{line}: ERROR: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("line", "status"), [("= 2 * a by algebra", 0), ("= 3 * a by algebra", 1)])
def test_a_directive_of_restructured_text_is_checked_as_it_is(tmp_path, line, status):
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module)
    from docs.site.__main__ import sphinx

    (tmp_path / "source").mkdir()
    (tmp_path / "extra").mkdir()
    page = f"Page\n====\n\n.. derivation::\n\n   a * 2\n   {line}\n"
    (tmp_path / "source" / "index.rst").write_text(page, encoding="utf-8")
    assert sphinx(tmp_path) == status
