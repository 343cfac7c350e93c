"""What the commands have in common: colours, progress bars, the examples of help texts, the worst of several statuses.

Colours follow the terminal, unless `NO_COLOR` or `FORCE_COLOR` is set to something; `NO_COLOR` wins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias, TypeVar

import typer
from rich.console import Console
from rich.progress import track

T = TypeVar("T")
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bar, and of an answer only its verdict, one line each.")
]
_WORST_FIRST = (1, 2, 3, 0)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that writes plain text where colours are not wanted.

    Args
        width   in columns, where standard output is no terminal
    """
    plain, forced = bool(os.environ.get("NO_COLOR")), bool(os.environ.get("FORCE_COLOR"))
    wide = None if sys.stdout.isatty() else width
    if plain or not forced:
        return Console(stderr=stderr, highlight=False, emoji=False, width=wide, color_system=None if plain else "auto")
    return Console(stderr=stderr, highlight=False, emoji=False, width=wide, color_system="standard", force_terminal=True)


def tracked(items: Sequence[T], *, shown: bool, doing: str) -> Iterable[T]:
    """Return the items, with a progress bar on standard error where somebody is looking."""
    return tracked_iterator(items, len(items), shown=shown, doing=doing)


def tracked_iterator(items: Iterable[T], total: int, *, shown: bool, doing: str) -> Iterable[T]:
    """Return items that come as they come, with a progress bar as `tracked`."""
    if not (shown and sys.stderr.isatty()):
        return items
    return track(items, description=doing, total=total, console=console(stderr=True), transient=True)


def example(command: str) -> str:
    r"""Return the end of a help text, which a test runs.

    >>> example("gradproof list")
    '\x08\nExample:\n  gradproof list'
    """
    return f"\b\nExample:\n  {command}"


def worst(statuses: Iterable[int]) -> int:
    """Return the status of several answers: 1 if one does not hold, else 2 if one has none, else 3 if one is undecided, else 0.

    >>> worst([0, 3, 0]), worst([2, 1]), worst([])
    (3, 1, 0)
    """
    return min(statuses, key=_WORST_FIRST.index, default=0)
