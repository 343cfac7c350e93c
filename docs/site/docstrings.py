"""The docstrings of this project as reStructuredText: its sections have heads with neither colon nor rule, and columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COLUMNS, STATEMENTS, PROSE = (
    ("Args", "Attributes", "Kinds", "Written", "Readings"),
    ("Premises", "Conclusion"),
    ("Raises", "Returns", "Fails", "Source"),
)
SECTIONS = COLUMNS + STATEMENTS + PROSE
_TWO = re.compile(r"(\S+(?: \S+)*) {2,}(\S.*)")


def restructured(lines: Iterable[str]) -> list[str]:
    r"""Return a docstring as reStructuredText: sections as definitions, examples and formulas as they are.

    >>> restructured(["The mean of *b*.", "", "Args", "    b   a variable_", "        rest of it"])
    ['The mean of \\*b\\*.', '', 'Args', '    ``b``', '        a variable\\_', '        rest of it', '']
    """
    return [line for block in _blocks(lines) for line in [*_written(block), ""]]


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield what empty lines part, and what a head of a section parts."""
    for empty, group in groupby(lines, lambda line: not line.strip()):
        block: list[str] = []
        for line in () if empty else group:
            if line in SECTIONS and block:
                yield block
                block = []
            block.append(line)
        if block:
            yield block


def _written(block: list[str]) -> list[str]:
    first, *rest = block
    if first.startswith(">>>"):
        return block
    if first in SECTIONS and rest:
        return [first, *(f"    {line}" for line in _section(first, [line.removeprefix("    ") for line in rest]))]
    if first.startswith("    "):
        return ["::", "", *block]
    split = next((number for number, line in enumerate(block) if line.startswith("    ")), len(block))
    literal = block[split:]
    return [*map(escaped, block[:split]), *(["", "::", "", *literal] if literal else [])]


def _section(head: str, lines: list[str]) -> list[str]:
    """Return the body of a section: columns become terms with their definitions, statements keep their lines, prose its own."""
    if head in COLUMNS:
        return [row for line in lines for row in _row(line)]
    return [f"| {escaped(line.strip())}" if head in STATEMENTS else escaped(line.strip()) for line in lines]


def _row(line: str) -> list[str]:
    """A term alone has its definition on the next line."""
    if columns := _TWO.fullmatch(line):
        return [f"``{columns[1]}``", f"    {escaped(columns[2])}"]
    return [f"    {escaped(line.strip())}" if line.startswith(" ") else f"``{line}``"]


def escaped(text: str) -> str:
    r"""Return prose so that reStructuredText prints it and does not obey it; what stands between backticks is code.

    >>> print(escaped("|- p_b, and `x_`"))
    \|- p\_b, and ``x_``
    """
    parts = re.split(r"`([^`]+)`", text)
    return "".join(f"``{part}``" if number % 2 else re.sub(r"([\\*|_`])", r"\\\1", part) for number, part in enumerate(parts))


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Convert every docstring that autodoc reads."""
    app.connect("autodoc-process-docstring", _process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
