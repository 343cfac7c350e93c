"""docs/subjects.md is what its subjects measure and its reproductions print, today."""

from __future__ import annotations

import string

import pytest
from subjects import page


@pytest.mark.slow
def test_the_page_is_what_is_measured():
    assert page.page() == page.PAGE.read_text(encoding="utf-8"), "run `make subjects` and look at what changed"


def test_every_reproduction_stands_on_the_page():
    template = string.Template((page.DOCS / "template.txt").read_text(encoding="utf-8"))
    scripts = {path.stem for path in page.DOCS.glob("*.py")} - {"conftest"}
    assert scripts | {"tables", "counts"} == set(template.get_identifiers())


def test_a_number_that_changes_changes_the_page():
    row = dict.fromkeys(("call", "objective", "how", "sentence", "standing", "verdict", "exact"), "") | {"mean": "0.10000"}
    assert page.table("torch", [row]) != page.table("torch", [{**row, "mean": "0.10001"}])
