"""The command `gradproof check`: the derivations that are typed on a Markdown page, checked line by line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derive.cli.main import write
from derive.cli.terminal import Quiet, example, worst
from derive.language.errors import UsageError
from derive.printing.text import premises

if TYPE_CHECKING:
    from derive.written.block import Written

Pages = Annotated[list[Path], typer.Argument(metavar="FILE.md", help="Markdown pages with blocks ```derivation.")]


def register(app: typer.Typer) -> None:
    """Add the command `check` to the application."""

    @app.command("check", epilog=example("gradproof check docs/examples/derivation.md"))
    def check_(pages: Pages, *, quiet: Quiet = False) -> int:
        """Check every derivation that is typed on a page, line by line: '= ... by rule'.

        The status is 1 if a line does not follow from the one above, and 2 if one cannot be read.
        """
        return worst([status for page in pages for status in _checked(page, quiet=quiet)])


def _checked(page: Path, *, quiet: bool) -> list[int]:
    """Check the derivations of a page, print a line or more for each, and return their statuses."""
    from derive.written.block import Written, check_page
    from derive.written.page import Unreadable

    statuses: list[int] = []
    for found in check_page(_text(page)):
        if isinstance(found, Written):
            assumed = [] if quiet else premises(found.assumptions, () if found.estimator is None else found.estimator.where)
            said = f"holds{_in_value(found)}, {len(found.lines) - 1} steps"
            write("".join([f"{page}:{found.line}: {said}\n", *(f"  assumes {condition}\n" for condition in assumed)]))
            statuses.append(0)
        else:
            unreadable = isinstance(found, Unreadable)
            write(f"{page}:{found.line}: {'cannot be read' if unreadable else 'does not hold'}: {found}\n")
            statuses.append(2 if unreadable else 1)
    if not statuses:
        message = f"{page} has no block ```derivation, so nothing was checked."
        raise UsageError(message)
    return statuses


def _in_value(found: Written) -> str:
    return " in value only" if any(line.values_only for line in found.lines) else ""


def _text(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {page}: {getattr(error, 'strerror', None) or error}."
        raise UsageError(message) from error
