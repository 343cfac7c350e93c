"""The directives of `gradproof.sphinx`: what a page shows is asked when it is built; what does not stand fails the build."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

pytest.importorskip("myst_parser")
sphinx = pytest.importorskip("sphinx.application")
docutils = pytest.importorskip("sphinx.util.docutils")

ROOT = Path(__file__).parent.parent
CONF = 'project = "Tiny"\nextensions = ["myst_parser", "gradproof.sphinx"]\nmyst_enable_extensions = ["colon_fence"]\n'
CONF += 'html_theme = "basic"\nhtml_sidebars = {"**": []}\nhtml_use_index = False\n'  # templates take the most time
MINE = """
from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score
theta, f = parameter("theta"), function("f")
b = finite("b", theta)
target = grad(E(f(b), b), theta)
mine = Estimator("mine", f(b) * score(b), (b,), target)
half = Estimator("half", f(b) * score(b) / 2, (b,), target)
late = Estimator("late", f(b) * score(b), (b,), target, derivation=lambda: [][0])
gone = Estimator("gone", f(b) * score(b), (b,), target, derivation=lambda: exit())
dollar = Estimator("a$b^$_{", f(b) * score(b), (b,), target)
marked = Estimator("<script>a</script>", f(b) * score(b), (b,), target, summary="<img src=x>", where=(("<b>w</b>", score(b)),))
"""
CASE = (ROOT / "docs" / "examples" / "moving_average.py").read_text(encoding="utf-8")
STEPS = "b ~ p(b; theta)\nE_b[2 * f(b)]\n= {} * E_b[f(b)] by linearity\n"


@pytest.fixture
def build(tmp_path):
    """Build a document of one page; return the status, what was warned of, and the page."""

    def built(page, *, name="index.md", jobs=1, **others):
        source, out = tmp_path / "source", tmp_path / "out"
        source.mkdir(exist_ok=True)
        for file, text in {"conf.py": CONF, "mine.py": MINE, "case.py": CASE, name: page, **others}.items():
            if not (source / file).exists() or (source / file).read_text(encoding="utf-8") != text:
                (source / file).write_text(text, encoding="utf-8")
        warned = io.StringIO()
        with docutils.docutils_namespace():
            app = sphinx.Sphinx(source, source, out, tmp_path / "trees", "html", status=None, warning=warned, parallel=jobs)
            app.build()
        html = (out / "index.html").read_text(encoding="utf-8")
        return app.statuscode, re.sub(r"\x1b\[[\d;]*m", "", warned.getvalue()), html

    return built


def shown(html, between=" "):
    return " ".join(re.sub(r"<[^>]*>", between, html).split())


# What stands


def test_an_estimator_is_shown_with_statement_derivation_and_verdict(build):
    status, warned, html = build("# Page\n\n```{estimator} score-function\n```\n")
    assert (status, warned) == (0, "")
    for part in ("drawn and computed", "= by log derivative", "Verdict: proved"):
        assert part in shown(html), part
    assert html.count("<math") > 6
    assert "gradproof.css" in html


def test_a_derivation_is_shown_by_name_or_typed_line_by_line(build):
    named = "```{derivation} score-function\n```\n"
    status, warned, html = build(f"# Page\n\n{named}\n```derivation\n{STEPS.format(2)}```\n")
    assert (status, warned) == (0, "")
    rules = ["expectation", "leibniz", "log derivative", "expectation", "linearity"]
    assert re.findall(r'class="rule">= by ([a-z ]+)', html) == rules
    assert re.search(r"assumes: p .* is differentiable in θ", shown(html))


def test_a_verdict_is_shown_and_may_be_any_that_the_page_says(build):
    status, warned, html = build("# Page\n\n```{verdict} mine.py:half\n:expect: scaled\n```\n")
    assert (status, warned) == (0, "")
    assert "half: scaled" in shown(html)


def test_a_variance_is_drawn_into_the_page(build):
    pytest.importorskip("matplotlib")
    status, warned, html = build("# Page\n\n```{variance-plot} score-function\n```\n")
    assert (status, warned) == (0, "")
    assert re.search(r'<img alt="[^"]*: score-function\." src="data:image/svg\+xml;base64,[\w+/=]{9999,}">', html)


def test_an_audit_is_run_and_shown_as_the_command_prints_it(build):
    pytest.importorskip("torch")
    status, warned, html = build("# Page\n\n```{audit} case.py:case\n:expect: scaled\n```\n")
    assert (status, warned) == (0, "")
    assert "$ gradproof audit case.py:case case.py:case: scaled: the mean of the gradient over every outcome" in shown(html, "")


def test_a_page_of_restructured_text_has_the_same_directives(build):
    page = "Page\n====\n\n.. derivation:: score-function\n\n.. verdict:: mine.py:mine\n"
    status, warned, html = build(page, name="index.rst")
    assert (status, warned) == (0, "")
    assert "mine: proved" in shown(html)


# What does not


REFUSED = {
    "a wrong line": (f"```derivation\n{STEPS.format(3)}```", 6, "linearity does not lead to this line"),
    "a line that cannot be read": ("```derivation\na +\n```", 4, ""),
    "what nearly opens a derivation": (f"```Derivation\n{STEPS.format(2)}```", 3, "opens with '```derivation' alone"),
    "a derivation named and typed": (f"```{{derivation}} score-function\n{STEPS.format(2)}```", 3, ""),
    "an unknown estimator": ("```{estimator} score-funktion\n```", 3, "did you mean score-function"),
    "an unknown derivation": ("```{derivation} score-funktion\n```", 3, "did you mean score-function"),
    "a derivation that there is not": ("```{derivation} mine.py:half\n```", 3, "mine.py:half is scaled, and has no derivation"),
    "an unknown verdict": ("```{verdict} score-funktion\n```", 3, "did you mean score-function"),
    "a verdict that is not the declared one": ("```{verdict} mine.py:half\n```", 3, "half is scaled, and the page says proved"),
    "a verdict that is not the one said": ("```{verdict} mine.py:mine\n:expect: scaled\n```", 3, "mine is proved, and the"),
    "an estimator that is not as declared": ("```{estimator} mine.py:half\n```", 3, "half is scaled, and the page says proved"),
    "a file that is not there": ("```{verdict} none.py:mine\n```", 3, "there is no file"),
    "an object that is not there": ("```{verdict} mine.py:yours\n```", 3, "yours"),
    "a plot of another problem": ("```{variance-plot} pathwise\n```", 3, "pathwise has no plot"),
    "an audit that fails": ("```{audit} case.py:case\n```", 3, "case.py:case is scaled, and the page says unbiased"),
    "an audit that is not what is said": ("```{audit} case.py:case\n:expect: biased\n```", 3, "is scaled, and the page says"),
    "an option that is misspelled": ("```{verdict} mine.py:mine\n:expct: scaled\n```", 3, "got ':expct: scaled'"),
    "an option without its colon": ("```{verdict} mine.py:mine\n:expect scaled\n```", 3, "got ':expect scaled'"),
    "an option without a word": ("```{verdict} mine.py:mine\n:expect:\n```", 3, "got ':expect:'"),
    "an option twice": ("```{verdict} mine.py:half\n:expect: proved\n:expect: scaled\n```", 3, "got ':expect: scaled'"),
    "an option as YAML": ("```{verdict} mine.py:half\n---\nexpect: scaled\n---\n```", 3, "got '---'"),
    "an option where there is none": ("```{variance-plot} rebar\n:expect: proved\n```", 3, "it has no options"),
    "lines below a name": ("```{estimator} score-function\nof Williams\n```", 3, "got 'of Williams'"),
    "no name": ("```{verdict}\n```", 3, "verdict needs one name"),
    "two names": ("```{verdict} mine.py:mine mine.py:half\n```", 3, "verdict needs one name"),
    "a name that ends too soon": ("```{verdict} score-function:\n```", 3, "there is no file"),
    "a program that fails": ("```{derivation} mine.py:late\n```", 3, "the derivation of 'late' cannot be made: IndexError"),
    "a program that ends": ("```{verdict} mine.py:gone\n```", 3, "SystemExit"),
    "an unknown case": ("```{audit} case.py:none\n```", 3, "case.py:none does not exist"),
}


@pytest.mark.parametrize(("block", "line", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_stand_fails_the_build_and_is_named_by_file_and_line(build, block, line, message):
    if "audit" in block:
        pytest.importorskip("torch")
    status, warned, _ = build(f"# Page\n\n{block}\n")
    assert status == 1
    assert re.search(rf"source/index\.md:{line}: ERROR: .*{re.escape(message)}", warned), warned


@pytest.mark.parametrize(
    ("block", "line", "message"),
    [
        (
            ".. derivation:: score-function\n\n   a * 2\n   = 3 * a by algebra\n",
            4,
            "a derivation is named or typed, and not both.",
        ),
        (".. derivation::\n   a * 2\n   = 2 * a by algebra\n", 4, "an empty line is above what is typed."),
        (".. derivation::\n\n\n   a * 2\n   = 3 * a by algebra\n", 8, "algebra does not lead to this line."),
        ("text\n\n   .. derivation::\n\n      a * 2\n      = 3 * a by algebra\n", 9, "algebra does not lead to this line."),
        (".. verdict:: mine.py:mine\n   :expct: proved\n", 4, "got ':expct: proved'."),
        (".. verdict::\n", 4, "verdict needs one name"),
        (".. code-block:: Derivation\n\n   a * 2\n", 4, "a derivation that is set as code is not checked."),
    ],
)
def test_what_does_not_stand_in_restructured_text_is_named_by_file_and_line(build, block, line, message):
    status, warned, _ = build(f"Page\n====\n\n{block}", name="index.rst")
    assert status == 1
    assert f"index.rst:{line}: ERROR: " in warned
    assert message in warned


def test_an_option_of_restructured_text_is_read(build):
    page = "Page\n====\n\n.. verdict:: mine.py:half\n   :expect: scaled\n"
    assert build(page, name="index.rst")[:2] == (0, "")


DIALECTS = {
    "colons are text": ('myst_enable_extensions = []', ":::{{derivation}}\n{}:::\n"),
    "colons without braces": ('myst_enable_extensions = []', ":::derivation\n{}:::\n"),
    "CommonMark": ("myst_commonmark_only = True", "```derivation\n{}```\n"),
    "that of GitHub": ("myst_gfm_only = True", "```derivation\n{}```\n"),
    "no blocks": ('myst_disable_syntax = ["fence"]', "```derivation\n{}```\n"),
    "no warnings": ('suppress_warnings = ["docutils", "myst"]', "```derivation\n{}```\n"),
}  # fmt: skip


@pytest.mark.parametrize(("conf", "block"), DIALECTS.values(), ids=DIALECTS)
def test_a_derivation_is_checked_however_the_page_is_set(build, conf, block):
    for factor, expected in ((2, 0), (3, 1)):
        status, warned, _ = build(f"# Page\n\n{block.format(STEPS.format(factor))}", **{"conf.py": f"{CONF}{conf}\n"})
        assert (status, "index.md:6: ERROR: linearity does not lead to this line" in warned) == (expected, bool(expected))


def test_a_page_that_reads_no_fences_as_directives_is_checked(build):
    top = "---\nmyst:\n  fence_as_directive: []\n---\n"
    assert build(f"{top}# Page\n\n```derivation\n{STEPS.format(3)}```\n")[0] == 1


@pytest.mark.parametrize(("factor", "lines"), [(2, []), (3, ["9"])])
def test_a_derivation_in_a_footnote_is_checked(build, factor, lines):
    block = "".join(f"    {line}\n" for line in ["```derivation", *STEPS.format(factor).splitlines(), "```"])
    status, warned, _ = build(f"# Page\n\nNoted[^a].\n\n[^a]:\n{block}")
    assert (status, re.findall(r"index\.md:(\d+): ERROR", warned)) == (int(bool(lines)), lines)


def test_a_line_of_another_file_does_not_stand_for_one_that_nearly_opens_a_block(build):
    conf = {"conf.py": f'{CONF}exclude_patterns = ["part.md"]\n'}
    right = f"```derivation\n{STEPS.format(2)}```\n"
    page = f"```Derivation\n{STEPS.format(2)}```\n\n# Page\n\n```{{include}} part.md\n```\n"
    status, warned, _ = build(page, **conf, **{"part.md": right})
    assert (status, "index.md:1: ERROR: a block that is checked opens with" in warned) == (1, True)


def test_a_derivation_that_two_blocks_share_is_checked_in_both(build):
    wrong = STEPS.format(3)
    page = f"# Page\n\n```derivation\n{wrong}```\n\n:::{{derivation}}\n{wrong}:::\n"
    _, warned, _ = build(page, **{"conf.py": f"{CONF}myst_enable_extensions = []\n"})
    assert re.findall(r"index\.md:(\d+): ERROR", warned) == ["6", "12"]


@pytest.mark.parametrize(
    ("block", "line"),
    [(f"text\n\n```derivation\n{STEPS.format(3)}```\n", 6), (f"text\n\n```Derivation\n{STEPS.format(2)}```\n", 3)],
)
def test_what_a_page_includes_is_checked_and_named(build, block, line):
    conf = {"conf.py": f'{CONF}exclude_patterns = ["part.md"]\n'}
    status, warned, _ = build("# Page\n\n```{include} part.md\n```\n", **conf, **{"part.md": block})
    assert status == 1
    assert f"part.md:{line}: ERROR" in warned


def test_a_page_of_markdown_may_end_in_anything(build):
    conf = {"conf.py": f'{CONF}source_suffix = {{".text": "markdown"}}\n'}
    status, warned, _ = build(f"# Page\n\n```Derivation\n{STEPS.format(2)}```\n", name="index.text", **conf)
    assert status == 1
    assert "index.text:3: ERROR: a block that is checked opens with" in warned


ANOTHER = """
from docutils.parsers.rst import Directive
class Another(Directive):
    has_content = True
def setup(app):
    app.add_directive("derivation", Another, override=True)
"""


def test_a_directive_of_another_extension_stops_the_build(build):
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match=r"the directive 'derivation' .* is that of"):
        build("# Page\n", **{"conf.py": CONF + ANOTHER})


def test_names_are_shown_and_never_obeyed(build):
    pytest.importorskip("matplotlib")
    asked = "".join(
        f"```{{{each}}} mine.py:marked\n```\n\n" for each in ("estimator", "verdict", "derivation", "variance-plot")
    )
    status, warned, html = build(f"# Page\n\n{asked}```{{variance-plot}} mine.py:dollar\n```\n")
    assert (status, warned) == (0, "")
    assert [each for each in ("<script>a", "<img src=x", "<b>w") if each in html] == []
    assert 'alt="Variance' in html or "a$b^$_{" in html


def test_a_build_fails_until_the_page_is_mended_though_nothing_has_changed(build):
    wrong, right = (f"# Page\n\n```derivation\n{STEPS.format(factor)}```\n" for factor in (3, 2))
    status, warned, _ = build(wrong)
    assert (status, "index.md:6: ERROR" in warned) == (1, True)
    assert build(wrong)[:2] == (status, warned)
    assert build(right)[:2] == (0, "")


def test_a_page_is_built_again_when_the_file_that_it_names_has_changed(build, monkeypatch):
    page = "# Page\n\n```{verdict} mine.py:mine\n```\n"
    assert build(page)[0] == 0
    monkeypatch.setitem(globals(), "MINE", MINE.replace("f(b) * score(b), (b,)", "3 * f(b) * score(b), (b,)"))
    assert build(page)[0] == 1


def test_a_page_is_built_again_when_what_its_file_imports_has_changed(build):
    page = "# Page\n\n```{verdict} own.py:own\n```\n"
    own = MINE + "from helper import factor\nown = Estimator('own', factor * f(b) * score(b), (b,), target)\n"
    assert build(page, **{"own.py": own, "helper.py": "factor = 1\n"})[0] == 0
    status, warned, _ = build(page, **{"own.py": own, "helper.py": "factor = 4 - 1\n"})
    assert (status, "own.py:own is scaled" in warned) == (1, True)
    assert build(page, **{"own.py": own, "helper.py": "factor = 8 // 4 - 1\n"})[0] == 0


@pytest.mark.parametrize("block", ["```{verdict} score-function\n```", f"```derivation\n{STEPS.format(2)}```"])
def test_a_page_is_built_again_when_gradproof_has_changed(build, monkeypatch, block):
    from derive.language.errors import UsageError
    from gradproof import directives, sphinx as extension

    def other(*_):
        message = "another judge"
        raise UsageError(message)

    assert build(f"# Page\n\n{block}\n")[0] == 0
    monkeypatch.setattr(directives.derive, "prove", other)
    monkeypatch.setattr(directives, "check", other)
    assert build(f"# Page\n\n{block}\n")[0] == 0  # as long as gradproof is the same, nothing is asked again
    monkeypatch.setattr(extension, "_judge", lambda: "another")
    assert build(f"# Page\n\n{block}\n")[0] == 1


def test_a_build_after_one_of_two_processes_fails_until_the_page_is_mended(build):
    others = {f"other{number}.md": f"---\norphan: true\n---\n\n# Page {number}\n" for number in range(9)}
    others["other7.md"] += "\n```{verdict} mine.py:half\n```\n"
    for jobs in (2, 2, 1):
        assert build("# Page\n", jobs=jobs, **others)[0] == 1
    others["other7.md"] = others["other7.md"].replace("half", "mine")
    assert build("# Page\n", jobs=2, **others)[0] == 0


def test_a_page_that_another_process_reads_fails_the_build_too(build):
    others = {f"other{number}.md": f"---\norphan: true\n---\n\n# Page {number}\n" for number in range(9)}
    others["other7.md"] += f"\n```derivation\n{STEPS.format(3)}```\n"
    status, warned, _ = build("# Page\n", jobs=2, **others)
    assert status == 1
    assert "other7.md:" in warned
