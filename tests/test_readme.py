"""The commands that the documents show print what the documents say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from derive.cli.main import run
from docs.given import beside
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def shown_commands(text):
    """Yield each `$ gradproof ...` of a console block with the output that stands under it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for command in block.split("$ gradproof ")[1:]:
            arguments, _, output = command.partition("\n")
            yield arguments, plain(output)


def plain(output):
    return [line.rstrip() for line in output.strip("\n").splitlines()]


EXAMPLES = [(path, *example) for path in DOCUMENTS for example in shown_commands(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("document", "arguments", "output"), EXAMPLES, ids=[f"{d.name}: {a}" for d, a, _ in EXAMPLES])
def test_a_command_prints_what_its_document_shows(capsys, document, arguments, output):
    with beside(document.read_text(encoding="utf-8")):
        run(app, shlex.split(arguments))
    assert plain(capsys.readouterr().out) == output, document


def test_the_readme_shows_commands():
    assert len([document for document, _, _ in EXAMPLES if document.name == "README.md"]) >= 2


def test_an_example_is_read_with_its_output():
    assert list(shown_commands("```console\n$ gradproof list\na  \n\nb\n```\n")) == [("list", ["a", "", "b"])]
