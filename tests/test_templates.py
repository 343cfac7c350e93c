"""A page is filled with the facts that it names, as they are, and not written where one is missing."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from docs.templates import filled, names


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "page.md.jinja"
    path.write_text("The mean is {{ mean }}.\n\n{{ rows }}\n", encoding="utf-8")
    return path


def test_a_page_names_its_facts(template):
    assert names(template) == {"mean", "rows"}


def test_a_fact_is_written_as_it_is(template):
    assert filled(template, {"mean": "a < b & c", "rows": "{{ x }}"}) == "The mean is a < b & c.\n\n{{ x }}\n"


def test_a_missing_fact_stops_the_page(template):
    with pytest.raises(UndefinedError, match="rows"):
        filled(template, {"mean": 1})
