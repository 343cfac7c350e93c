"""Where a long line breaks: a notation marks the places, and a line is split at the outermost ones first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

BREAK = "\ue000"
"""A mark before the sign of a summand, where a line breaks first."""
SOFT = "\ue001"
"""A mark between two factors, where a line breaks when it must."""

INDENT = "\ue006"
"""A mark at the start of a line that continues an inner sum."""


def broken(marked: str, limit: int, width: Callable[[str], int], indent: int = 0) -> list[str]:
    """Split a marked line into lines of at most `limit`, at the outermost sums first; one that cannot be split stays long.

    A line that continues an inner sum begins with `INDENT`, once for each depth; each takes `indent` of the width.

    >>> broken(f"a{BREAK} + (b{BREAK} - c){BREAK} + d", 10, len)
    ['a', ' + (b - c)', ' + d']
    """
    if width(unmarked(marked)) <= limit:
        return [unmarked(marked)]
    for mark in (BREAK, SOFT):
        pieces = _split(marked, mark)
        if len(pieces) > 1:
            parts = [broken(piece, max(limit - indent, limit // 2), width, indent) for piece in pieces]
            return _gather(parts, limit, width, tight=mark == SOFT)
    return [unmarked(marked)]


def _gather(pieces: Sequence[list[str]], limit: int, width: Callable[[str], int], *, tight: bool) -> list[str]:
    """Put neighbours on one line where they fit, but nothing behind a piece that was itself split.

    A factor that is itself split follows the one before it: in front of a sum in brackets stands what it is multiplied by.
    """
    gathered: list[str] = []
    whole = False
    for first, *rest in pieces:
        if whole and (tight or not rest) and width(gathered[-1] + first) <= limit:
            gathered[-1] += first
        else:
            gathered.append(first)
        gathered += [INDENT + line for line in rest]
        whole = not rest
    return gathered


def unmarked(marked: str) -> str:
    """Return the line without the marks of `broken`."""
    return marked.replace(BREAK, "").replace(SOFT, "")


OPENING, CLOSING = "([\ue002\ue004\ue007\ue009", ")]\ue003\ue005\ue008\ue00a"


def _split(marked: str, mark: str) -> list[str]:
    """Split at the marks that the fewest brackets enclose."""
    depth, depths = 0, []
    for i, character in enumerate(marked):
        depth += (character in OPENING) - (character in CLOSING)
        if character == mark and i > 0:
            depths.append((depth, i))
    shallow = min((d for d, _ in depths), default=0)
    cuts = [i for d, i in depths if d == shallow]
    return [marked[i:j] for i, j in zip([0, *cuts], [*cuts, len(marked)], strict=True) if marked[i:j]]
