"""The pages to begin with: their files are written as the page gives them, and what the page says of them is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis  # noqa: F401, an inner run of pytest would import it, and forget it at its end
import pytest
import torch

import numeric
from derive.cli.main import run
from docs.given import files, write
from numeric.cli.main import app

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parent.parent / "docs"
LOSS, WRITING = ((DOCS / name).read_text(encoding="utf-8") for name in ("your_loss.md", "writing.md"))


def blocks(page, kind):
    return [text for _, text in re.findall(rf"^(`{{3,}}){kind}\n(.*?)^\1$", page, re.MULTILINE | re.DOTALL)]


def commands(page):
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("gradproof")]


def test_every_file_of_a_page_is_seen():
    assert list(files(LOSS)) == ["our_loss.py", "test_our_loss.py", "our_bound.py"]
    assert list(files(WRITING)) == ["page.md", "wrong.md", "paper.tex", "conf.py", "index.md"]
    for page in (LOSS, WRITING):
        written = blocks(page, "python") + blocks(page, "markdown") + blocks(page, "latex")
        assert sorted(written) == sorted(files(page).values())


@pytest.mark.parametrize("page", [LOSS, WRITING], ids=["your_loss", "writing"])
def test_a_page_to_begin_with_is_linked_from_the_others(page):
    name = "your_loss.md" if page is LOSS else "writing.md"
    for other in ("../README.md", "howto/README.md", "site/templates/index.md.jinja"):
        assert name in (DOCS / other).read_text(encoding="utf-8"), other


# Test your own loss


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """Import what an audit imports, so that no inner run of pytest forgets it again."""
    theta = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    draw = lambda: theta.log_softmax(-1)[torch.multinomial(theta.softmax(-1), 1)]  # noqa: E731
    numeric.audit(draw, theta, draw, raise_exception=False)


@pytest.fixture
def loss(pytester):
    write(LOSS, pytester.path)
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester


def test_pytest_says_of_the_two_losses_what_the_page_says(loss):
    result = loss.runpytest_inprocess("-p", "no:cacheprovider", "test_our_loss.py")
    result.assert_outcomes(passed=1, failed=1)
    [shown] = blocks(LOSS, "text")
    assert shown.rstrip("\n") in result.outlines


def test_a_factor_that_is_meant_may_be_said(loss):
    [meant] = re.findall(r"`(gradproof_audit\(group, [^`]*\))`", LOSS)
    loss.makepyfile(test_meant=f"from our_loss import group\n\ndef test(gradproof_audit):\n    {meant}\n")
    loss.runpytest_inprocess("-p", "no:cacheprovider", "test_meant.py").assert_outcomes(passed=1)


def test_the_exported_test_passes_without_gradproof_and_sees_the_wrong_loss(loss):
    [export] = commands(LOSS)
    assert run(app, export.split()[1:]) == 0
    given = loss.path / "test_gradient.py"
    text, wrong = given.read_text(encoding="utf-8"), loss.path / "test_wrong.py"
    assert "gradproof" not in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    wrong.write_text(text.replace("reward.flip(0) if others", "reward.mean() if others"), encoding="utf-8")
    alone = [sys.executable, "-m", "pytest", "-p", "no:gradproof", "-p", "no:cacheprovider", "-rA", given.name, wrong.name]
    said = subprocess.run(alone, cwd=loss.path, capture_output=True, check=False, text=True).stdout
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\w+)\.py", said, re.MULTILINE)
    assert found == [("PASSED", given.stem), ("FAILED", wrong.stem)], said


# Check what you write


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="no TeX is installed")
def test_the_paper_compiles_with_its_sources_and_nothing_leaves_its_column(tmp_path, monkeypatch, capsys):
    write(WRITING, tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in commands(WRITING):
        arguments, _, target = command.partition(" > ")
        assert run(app, arguments.split()[1:]) == 0
        if target:
            (tmp_path / target).write_text(capsys.readouterr().out, encoding="utf-8")
    [compiled] = [line for line in blocks(WRITING, "sh")[1].splitlines() if line.startswith("pdflatex")]
    for step in compiled.split(" && "):
        program, paper = step.split()
        options = ["-interaction=nonstopmode", "-halt-on-error"] if program == "pdflatex" else []
        subprocess.run([program, *options, paper], capture_output=True, check=True)
    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    assert not re.search("undefined", log)
    assert [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(points) > 5] == []


def test_the_documentation_builds_and_shows_what_its_page_asks(tmp_path):
    pytest.importorskip("myst_parser")
    pytest.importorskip("matplotlib")
    build = pytest.importorskip("sphinx.cmd.build").build_main
    docutils = pytest.importorskip("sphinx.util.docutils")
    for name, text in files(WRITING).items():
        if name in ("conf.py", "index.md"):
            (tmp_path / name).write_text(text, encoding="utf-8")
    with docutils.docutils_namespace():
        assert build(["-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "html")]) == 0
    page = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    for part in ("= by linearity", "= by log derivative", "constant-baseline: proved", "data:image/svg+xml"):
        assert part in page, part


def test_the_table_has_every_directive():
    directives = pytest.importorskip("gradproof.directives").DIRECTIVES
    assert set(re.findall(r"^\| `([\w-]+)`", WRITING, re.MULTILINE)) == set(directives)
