r"""Where the derivations of a Markdown page are: blocks that open with ```derivation, as CommonMark reads them.

A page that shows a derivation must not pass without it. So each line that nearly opens one is in a block that is checked, or in
a fenced block that shows an example, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import unescape
from typing import TYPE_CHECKING

from derive.language.errors import UsageError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

_OPENED = re.compile(r"derivation|\{derivation\}")
_NAMED = re.compile(r"\{derivation\}[ \t]+\S+")  # the directive that shows a known derivation, which has no lines
_COLONS = re.compile(r"(:{3,})[ \t]*(derivation|\{derivation\})[ \t]*")
_MARKS = "`~:'\"´‘’“”＇｀～："
_NEAR = re.compile(rf"(?:<!--|<(?!!--)[^>]*>|\d+[.)]|[^\w<{_MARKS}])*(?P<marks>[{_MARKS}]{{2,}})(?P<info>.*)")
_RST = re.compile(r"\s*\.\.\s+derivation\s*::", re.IGNORECASE)
_VERBATIM = re.compile(r"\{(code|code-block|code-cell|sourcecode|literalinclude|parsed-literal|raw|math|highlight)\}")
_LIKE, _LONGEST = 0.8, 30  # Derivation, derivations, derivaton
_DEEPEST = 100  # lists and quotations inside each other; what is deeper is not read


class Unreadable(UsageError):
    """A line of a typed derivation is no formula, names no rule, or may be read in two ways; `line` is its number."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def blocks(text: str) -> Iterator[tuple[int, list[str]] | Unreadable]:
    r"""Yield the derivations of a page in their order: the number of the first line of each, and its lines; or what is none.

    >>> list(blocks("text\n```derivation\na\n= a by algebra\n```\n"))
    [(3, ['a', '= a by algebra'])]
    >>> [(found.line, str(found)) for found in blocks("```Derivation\na\n= a by algebra\n```\n")]
    [(1, "a block that is checked opens with '```derivation' alone; got '```Derivation'.")]
    """
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    found, known = _read(lines, 0)
    for number, line in enumerate(lines, start=1):
        if number not in known and _nearly(line):
            found.append((number, Unreadable(number, _why(line.strip()))))
    yield from (block for _, block in sorted(found, key=lambda each: each[0]))


def _why(line: str) -> str:
    if re.fullmatch(r"(`{3,}|~{3,}|:{3,})\s*(derivation|\{derivation\})", line):
        return (
            f"{line!r} opens no block here, where it is indented, in HTML, or in a block that is not closed;"
            " an example of a block is put into one of more backticks."
        )
    return f"a block that is checked opens with '```derivation' alone; got {line!r}."


def _read(lines: list[str], offset: int) -> tuple[list[tuple[int, tuple[int, list[str]] | Unreadable]], set[int]]:
    """Return what is found by its line, and the lines that are accounted for."""
    found: list[tuple[int, tuple[int, list[str]] | Unreadable]] = []
    known: set[int] = set()
    for token in _parser().parse("\n".join(lines) + "\n"):
        if token.map is None or token.type != "fence":
            continue
        number, inner = offset + token.map[0] + 1, token.content.split("\n")[:-1]
        if _OPENED.fullmatch(token.info.strip()):
            closed = _closed(token)
            found.append((number, (number + 1, inner) if closed else Unreadable(number, "the block is not closed.")))
            known.update(range(number, offset + token.map[1] + 1))
        elif _NAMED.fullmatch(token.info.strip()) and not token.content.strip():
            known.update(range(number, offset + token.map[1] + 1))
        elif token.info.startswith("{") and not _VERBATIM.match(token.info):
            more, seen = _read(inner, number)  # a directive, whose lines are Markdown again
            found, known = found + more, known | seen
        elif _shows(token, inner):
            known.update(range(number, offset + token.map[1] + 1))
    return found, known


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": _DEEPEST})
    parser.block.ruler.before("fence", "colons", _colons, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _colons(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read `:::derivation`, which MyST has beside what CommonMark has."""
    first = state.bMarks[start] + state.tShift[start]
    opened = _COLONS.fullmatch(state.src[first : state.eMarks[start]])
    if opened is None or state.is_code_block(start) or silent:
        return opened is not None and not state.is_code_block(start)
    last = start + 1
    while last < end and not (closed := _ends(state, last, opened[1])) and state.sCount[last] >= state.blkIndent:
        last += 1
    token = state.push("fence", "code", 0)
    token.info, token.markup = opened[2], opened[1]
    token.content = state.getLines(start + 1, last, state.sCount[start], True)
    state.line = last + (last < end and closed)
    token.map = [start, state.line]
    return True


def _ends(state: StateBlock, line: int, marks: str) -> bool:
    inner = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].strip()
    return inner.startswith(marks) and not inner.strip(":")


def _closed(token: Token) -> bool:
    """Whether the block has a last line of its own."""
    first, end = token.map or (0, 0)
    return token.content.count("\n") == end - first - 2


def _shows(token: Token, inner: list[str]) -> bool:
    """Whether a block of code shows its lines for certain: none of them looks as if the one before had not been closed."""
    again = re.compile(rf"\s*{re.escape(token.markup)}")
    return not _nearly(token.markup + token.info) and _closed(token) and not any(map(again.match, inner))


def _nearly(line: str) -> bool:
    """Whether a line looks as if it opened a derivation; `code` in a sentence does not."""
    found = _NEAR.match(unescape(line))
    if _RST.match(line):
        return True
    if found is None or found["marks"] in found["info"]:
        return False
    first, *more = re.findall(r"[^\s{}]+", found["info"]) or [""]
    return nearly_derivation(first) or any(each.lstrip(".#").casefold() == "derivation" for each in more)


def nearly_derivation(word: str) -> bool:
    """Whether a reader would take a word for "derivation".

    >>> nearly_derivation("Derivaton"), nearly_derivation("python")
    (True, False)
    """
    return len(word) <= _LONGEST and SequenceMatcher(None, word.strip(".#:=").casefold(), "derivation").ratio() >= _LIKE
