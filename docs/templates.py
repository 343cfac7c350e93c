"""A page is a template and the facts that it names: a name without a fact stops the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined, meta

_ENVIRONMENT = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # the pages are Markdown: nothing is escaped


def names(template: Path) -> set[str]:
    """Return the facts that a template names."""
    return set(meta.find_undeclared_variables(_ENVIRONMENT.parse(template.read_text(encoding="utf-8"))))


def filled(template: Path, facts: Mapping[str, object]) -> str:
    """Return the text of a template with its facts.

    Raises
        jinja2.UndefinedError, if the template names a fact that is not there.
    """
    return _ENVIRONMENT.from_string(template.read_text(encoding="utf-8")).render(facts)
