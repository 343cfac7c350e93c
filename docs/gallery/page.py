"""Write the pages of the gallery from its rows."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from derive.catalogue import catalogue
from derive.cli.sweeps import Sweeping
from derive.estimator import Estimator
from derive.language.errors import UsageError
from docs.gallery import formulas
from docs.gallery.threads import THREADS, address
from docs.templates import filled
from numeric.gallery.facts import measured_row
from numeric.gallery.row import Row
from numeric.gallery.rows import GALLERY, PAGES

HERE = Path(__file__).parent
ONE_PROCESS = Sweeping()
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


def pages(sweeping: Sweeping = ONE_PROCESS) -> dict[str, str]:
    """Every page by the name of its file; what must be measured of the rows is swept.

    Raises
        UsageError, if a row cannot be measured; as `derive.sweep`.
    """
    answers = sweeping.answers(measured_row, list(GALLERY), shown=True, doing="measuring")
    for answer in answers:
        if answer.error:
            message = f"{answer.name}: {answer.error}"
            raise UsageError(message)
    measured = {answer.name: answer.value for answer in answers}
    rows = list(GALLERY.values())
    of = {page: [row for row in rows if row.page == page] for page in PAGES}
    facts, exported = (lambda row: measured[row.name]["facts"]), (lambda row: measured[row.name]["test"])
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, help="processes; -1 is one for each processor")
    parser.add_argument("--results", type=Path, help="a folder for what was measured: what is there is not measured again")
    parser.add_argument("--backend", help="where joblib sends the rows: loky, dask, ray")
    given = parser.parse_args(arguments)
    try:
        found = pages(Sweeping(given.jobs, given.results, given.backend))
    except UsageError as error:
        raise SystemExit(str(error)) from error
    for name, text in found.items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
