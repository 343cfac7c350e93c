"""The command `gradproof gallery`: settled arguments about policy gradients, and tests to take away; it needs torch."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from derive.cli.main import Json, deliver, write
from derive.cli.terminal import Quiet, console, example
from derive.language.errors import UsageError

SCHEMA = "gradproof/gallery/1"
_COLOURS = {
    "unbiased": "green",
    "scaled": "yellow",
    "parallel": "yellow",
    "other target": "yellow",
    "biased": "red",
    "zero": "red",
}

Search: TypeAlias = Annotated[str | None, typer.Argument(metavar="SEARCH", help="A name, or words to look for.")]
Export: TypeAlias = Annotated[
    Path | None,
    typer.Option("--export", metavar="TEST.py", help="Write the row as a test that imports torch and itertools only."),
]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""

    @app.command(epilog=example("gradproof gallery token-weight"))
    def gallery(search: Search = None, *, export: Export = None, as_json: Json = False, quiet: Quiet = False) -> int:
        """Show losses of language-model fine-tuning, each with what its gradient is the gradient of.

        SEARCH is the name of one, which is then measured and shown with its code, or words that its row has. With --export its
        test is written, exact values inside: put your own loss in the place of the one in it.
        """
        rows = _rows()
        found = [rows[search]] if search in rows else [row for row in rows.values() if _has(row, search or "")]
        if not found:
            close = difflib.get_close_matches(str(search), rows, 3)
            hint = f" Did you mean {', '.join(close)}?" if close else " `gradproof gallery` lists all."
            message = f"no row of the gallery has {search!r}.{hint}"
            raise UsageError(message)
        if export is not None:
            _export(found, export)
        if as_json:
            write(json.dumps({"schema": SCHEMA, "rows": [_as_json(row) for row in found]}, indent=2) + "\n")
        elif quiet:
            write("".join(f"{row.name}: {row.verdict}\n" for row in found))
        elif len(found) == 1:
            write(_shown(found[0]))
        else:
            _table(found)
        return 0


def _rows() -> dict[str, Any]:
    try:
        from numeric.gallery.rows import GALLERY
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "the gallery is torch code, and torch is not installed; install gradproof[torch]."
        raise UsageError(message) from error
    return GALLERY


def _has(row: Any, search: str) -> bool:
    target = f"{row.target.name} {row.target.words}" if row.target else ""
    text = " ".join((row.name, row.page, row.claim, row.verdict, target, *row.seen)).lower()
    return all(word in text for word in search.lower().split())


def _export(rows: list[Any], path: Path) -> None:
    from numeric.gallery.export import exported

    if len(rows) != 1:
        message = f"--export writes the test of one row, and {len(rows)} were found; give the name of one."
        raise UsageError(message)
    text = exported(rows[0])
    if path.is_file() and path.read_bytes() != text.encode():
        message = f"{path} is there already, and may hold your own loss; expected a new file: give another name, or delete it."
        raise UsageError(message)
    deliver(text, path)


def _table(rows: list[Any]) -> None:
    table = Table("name", "verdict", "what comes out", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(Text(row.name), Text(row.verdict, style=_COLOURS[row.verdict]), Text(row.claim))
    page = console(width=130)
    with page.capture() as captured:
        page.print(table)
    write(captured.get())


def _shown(row: Any) -> str:
    return "\n".join([f"{row.name}: {row.verdict}", row.claim, "", *_facts(row), "", row.source])


def _facts(row: Any) -> list[str]:
    from numeric.gallery.facts import facts

    return [f"{name:<14}{text}" for name, text in facts(row).items() if text]


def _as_json(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "page": row.page,
        "verdict": row.verdict,
        "claim": row.claim,
        "formula": row.tex,
        "target": row.target.name if row.target else None,
        "aim": row.aim.name,
        "baseline_free": row.baseline_free,
        "seen": list(row.seen),
        "source": row.source,
    }
