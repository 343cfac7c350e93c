"""docs/subjects.md is what its subjects measure and its reproductions print, today."""

from __future__ import annotations

import pytest
from subjects import page

from docs.templates import names


@pytest.mark.slow
def test_the_page_is_what_is_measured():
    assert page.page() == page.PAGE.read_text(encoding="utf-8"), "run `make subjects` and look at what changed"


def test_every_reproduction_stands_on_the_page():
    scripts = {path.stem for path in page.DOCS.glob("*.py")} - {"conftest"}
    assert scripts | {"tables", "counts"} == names(page.DOCS / "subjects.md.jinja")


def test_a_number_that_changes_changes_the_page():
    row = dict.fromkeys(("call", "objective", "how", "sentence", "standing", "verdict", "exact"), "") | {"mean": "0.10000"}
    assert page.table("torch", [row]) != page.table("torch", [{**row, "mean": "0.10001"}])
