"""The results as JSON, as tables in Markdown, and as pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, Row, Table

HERE = Path(__file__).parent
RESULTS, PAGE, PICTURES = HERE / "results.json", HERE / "results.md", HERE / "pictures"
HEAD = """\
# Results

Written by `python -m benchmarks` (`make bench`); the numbers are in `results.json`. Ratios are medians over rounds in which
everything runs in turn, with their quartiles. **In bold where a goal is missed**; why, says [README.md](README.md).
"""
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
SHARP = 3  # digits
PICTURE = {"Generated estimators": "estimators", "Growth of proofs": "proofs", "Exact gradients of bits": "exact_gradients"}
"""The tables that are drawn, and the names of their pictures."""


# Stored


def stored() -> dict[str, dict[str, Any]]:
    """Return the results by their titles, as they are committed."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found


def plain(table: Table, measured: str) -> dict[str, Any]:
    """Return a table as JSON takes it, with what says where it was measured, and how."""
    rows = [{"case": row.case, "figures": {name: _told(one) for name, one in row.figures.items()}} for row in table.rows]
    return {"title": table.title, "about": table.about, "measured": measured, "rows": rows}


def _told(figure: Figure) -> dict[str, Any]:
    """What is not as it usually is."""
    usual = {one.name: one.default for one in fields(Figure)}
    return {name: value for name, value in vars(figure).items() if value != usual[name]}


def table_of(found: dict[str, Any]) -> Table:
    """Return the table again."""
    rows = [
        Row(row["case"], {name: Figure(**values) for name, values in row["figures"].items()}) for row in found["rows"]
    ]
    return Table(found["title"], found["about"], rows)


# Markdown


def text(figure: Figure) -> str:
    """Return a figure as it stands in a table.

    >>> text(Figure(1.234, 1.1, 1.3, goal=1.2)), text(Figure(0.0021, 0.0021, 0.0021, unit="s"))
    ('**1.23** (1.10-1.30)', '2.10 ms')
    """
    if figure.unit:
        size, unit = next((one for one in UNITS if abs(figure.median) >= one[0]), UNITS[-1])
        shown, quartiles = f"{digits(figure.median / size)} {unit}", ""
    else:
        shown = digits(figure.median)
        quartiles = "" if figure.low == figure.high else f" ({digits(figure.low)}-{digits(figure.high)})"
    return (f"**{shown}**" if figure.missed else shown) + quartiles


def digits(value: float) -> str:
    """Return a number with about three digits.

    >>> digits(0.0512), digits(1.5), digits(23.04), digits(130_425.0)
    ('0.05', '1.50', '23.0', '130,425')
    """
    return f"{value:,.0f}" if abs(value) >= 10 ** (SHARP - 1) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown(table: Table) -> list[str]:
    """Return the lines of a table."""
    heads = list(dict.fromkeys(name for row in table.rows for name in row.case))
    names = list(dict.fromkeys(name for row in table.rows for name in row.figures))
    names.sort(key=lambda name: any(row.figures[name].unit for row in table.rows if name in row.figures))
    cells = [
        [row.case.get(name, "") for name in heads] + [text(row.figures[name]) if name in row.figures else "" for name in names]
        for row in table.rows
    ]
    rule = "|" + "---|" * len(heads) + "--:|" * len(names)
    return [_line([*heads, *names]), rule, *map(_line, cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def page(found: dict[str, dict[str, Any]]) -> str:
    """Return the page of all results."""
    lines = [HEAD]
    for title, one in found.items():
        lines += [f"## {title}", "", one["about"], f"{one['measured']}.", "", *markdown(table_of(one)), ""]
        if title in PICTURE:
            lines += [f"![{title}](pictures/{PICTURE[title]}.svg)", ""]
    return "\n".join(lines)


def write(tables: Iterable[Table], measured: str) -> None:
    """Put tables among the results, in place of those of the same title, and write the page and its pictures anew."""
    from benchmarks.pictures import draw

    found = stored() | {table.title: plain(table, measured) for table in tables}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for title, name in PICTURE.items():
        if title in found:
            draw(table_of(found[title]), PICTURES / f"{name}.svg")
