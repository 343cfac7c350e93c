"""Write the pages of the gallery from its rows."""

from __future__ import annotations

import difflib
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from derive.catalogue import catalogue
from derive.estimator import Estimator
from docs.gallery import formulas
from docs.gallery.threads import THREADS, address
from docs.templates import filled
from numeric.gallery.export import exported
from numeric.gallery.facts import facts
from numeric.gallery.row import Row
from numeric.gallery.rows import GALLERY, PAGES

HERE = Path(__file__).parent
VERDICTS = ("unbiased", "scaled", "parallel", "other target", "biased", "zero")


def difference(row: Row) -> str:
    """The lines that make the wrong twin of a row."""
    lines = difflib.ndiff(row.source.splitlines(), row.wrong_source.splitlines())
    return "\n".join(line for line in lines if line[:1] in "+-")


def formula_of(row: Row) -> Estimator:
    """The estimator that states a row for every law."""
    found: Estimator = catalogue[row.derivation] if row.derivation in catalogue else getattr(formulas, row.derivation)
    return found


def derivation(row: Row) -> str:
    place = row.derivation if row.derivation in catalogue else f"docs/gallery/formulas.py:{row.derivation}"
    return f"{formula_of(row).verdict}, by `gradproof prove {place}`"


def threads() -> list[tuple[str, str, str]]:
    """The cells of the table of threads."""
    return [
        (
            ", ".join(map(address, addresses.split(", "))),
            text,
            ", ".join(f"[{name}]({GALLERY[name].page}.md#{name})" for name in names),
        )
        for addresses, text, names in THREADS
    ]


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    rows = list(GALLERY.values())
    of = {page: [row for row in rows if row.page == page] for page in PAGES}
    tools = {"facts": facts, "difference": difference, "derivation": derivation}
    found = {f"{page}.md": filled(HERE / "page.md.jinja", tools | _head(page) | {"rows": of[page]}) for page in PAGES}
    listed = [(page, title, of[page]) for page, (_, title) in PAGES.items()]
    found["README.md"] = filled(HERE / "README.md.jinja", {"rows": rows, "pages": listed, "threads": threads()})
    html = Environment(undefined=StrictUndefined, autoescape=True, keep_trailing_newline=True)
    template = html.from_string((HERE / "index.html.jinja").read_text(encoding="utf-8"))
    found["index.html"] = template.render(rows=rows, verdicts=VERDICTS, facts=facts, exported=exported)
    return found


def _head(page: str) -> dict[str, str]:
    module, title = PAGES[page]
    text = (
        str(module.__doc__)
        .strip()
        .partition(": ")[2]
        .capitalize()
        .replace("\n\n", "\0")
        .replace("\n", " ")
        .replace("\0", "\n\n")
    )
    return {"title": title, "introduction": text}


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
