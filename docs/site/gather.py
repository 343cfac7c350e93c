"""The Markdown pages that are there already, brought together: a link to a page stays one, any other goes to the repository.

A link to nothing is an error here, before Sphinx is asked.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REPOSITORY = "https://github.com/gradproof/gradproof/blob/main"
FOLDERS = ("pictures", "howto", "gallery", "notes", "readings", "mutants", "variance", "experiment")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
_PAGE = re.compile(r'(href="[\w/.]+)\.md(?=["#])')
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


class BrokenLink(Exception):
    """A page links to something that is not there."""


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Return the place of each page in the site, by its path in the repository."""
    found = {Path("README.md"): "introduction.md", Path("docs/examples/derivation.md"): "derivation.md"}
    found |= {path.relative_to(root): path.name for path in sorted((root / "docs").glob("*.md"))}
    for folder in FOLDERS:
        for path in sorted((root / "docs" / folder).glob("*.md")):
            found[path.relative_to(root)] = f"{folder}/{path.name}"
    return found


def linked(text: str, page: Path, places: Mapping[Path, str], root: Path = ROOT) -> str:
    """Return a page with its links as they are in the site.

    Raises
        BrokenLink, if a link names no file of the repository.
    """
    kept: list[str] = []

    def keep(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\ue000{len(kept) - 1}\ue001"

    def link(found: re.Match[str]) -> str:
        image, shown, target, anchor = found[1], found[2], found[3], found[4] or ""
        there = Path(os.path.normpath(page.parent / target))
        if not (root / there).exists():
            message = f"{page}: the link to {target} leads to nothing."
            raise BrokenLink(message)
        if there in places or image:
            base = Path(places[page]).parent
            return f"{image}[{shown}]({os.path.relpath(places.get(there, there.relative_to('docs')), base)}{anchor})"
        if there.suffix == ".html":
            return f'<a href="{target}">{shown}</a>'
        return f"[{shown}]({REPOSITORY}/{there}{anchor})"

    bare = _CODE.sub(keep, text)
    return re.sub("\ue000(\\d+)\ue001", lambda number: kept[int(number[1])], _LINK.sub(link, bare))


def gather(source: Path, extra: Path, root: Path = ROOT) -> None:
    """Write the pages and their pictures into the source of the site, and whole pages of ours into `extra`."""
    places = pages(root)
    for page, place in places.items():
        text = linked((root / page).read_text(encoding="utf-8"), page, places, root)
        _write(source / place, text + _children(place, places))
    for folder in FOLDERS:
        for path in (root / "docs" / folder).iterdir():
            if path.suffix in (".png", ".svg"):
                (source / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, source / folder)
            elif path.suffix == ".html":
                _write(extra / folder / path.name, _PAGE.sub(r"\1.html", path.read_text(encoding="utf-8")))


def _children(place: str, places: Mapping[Path, str]) -> str:
    """Return the table of contents that the first page of a folder has, of the others in it."""
    folder, name = os.path.split(place)
    others = [Path(other).stem for other in places.values() if os.path.dirname(other) == folder and other != place]
    if not folder or not others or name not in ("README.md", "index.md"):
        return ""
    return "\n".join(["", "```{toctree}", ":hidden:", "", *others, "```", ""])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
