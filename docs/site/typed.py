"""The directive `derivation`: what `gradproof check` checks is checked when a page is built, and set as mathematics.

What only looks like a derivation, and would be set as code, is an error too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from jinja2 import Environment
from sphinx.util.logging import getLogger

from derive.printing import html
from derive.printing.text import premises
from derive.written.block import Written, WrongStep, check
from derive.written.page import Unreadable, blocks

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LINES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<div class="derivation"><ol>
{% for reason, math in lines %}
<li>{% if reason %}<div class="rule">= by {{ reason }}</div>{% endif %}
<div class="formula" tabindex="0">{{ math | safe }}</div></li>
{% endfor %}
</ol>
{% for condition in assumed %}
<div class="needs">assumes {{ condition }}</div>
{% endfor %}
</div>
""")


class TypedDerivation(Directive):
    """Lines of a derivation; a wrong one is an error with its file and line."""

    has_content = True
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Return the derivation, or stop at the line that is wrong."""
        first = self.lineno + self.content_offset + 1  # MyST counts the offset from the fence
        try:
            found = check(list(self.content), first)
        except (WrongStep, Unreadable) as error:
            return [self.state_machine.reporter.error(str(error), line=error.line)]
        return [nodes.raw("", rendered(found), format="html")]


def rendered(found: Written) -> str:
    """Return a checked derivation as HTML."""
    where = () if found.estimator is None else found.estimator.where
    lines = [(line.reason, html.render(line.term, where)) for line in found.lines]
    return _LINES.render(lines=lines, assumed=premises(found.assumptions, where))


def refuse_unchecked(app: Sphinx, page: str, source: list[str]) -> None:
    """Say which lines of a Markdown page nearly open a derivation."""
    markdown = Path(app.env.doc2path(page)).suffix == ".md"
    for found in blocks(source[0]) if markdown else ():
        if isinstance(found, Unreadable):
            getLogger(__name__).error("%s", found, location=(page, found.line))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and the look at each page before it is read."""
    app.add_directive("derivation", TypedDerivation)
    app.connect("source-read", refuse_unchecked)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
