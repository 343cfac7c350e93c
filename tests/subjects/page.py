"""Writes docs/subjects.md: every number on it is measured, and the reproductions are run.

    python -m subjects.page          write the page
    python -m subjects.page LIBRARY  measure the subjects of one library, as JSON

Each library is measured in a process of its own, as in the tests.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docs.templates import filled

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DOCS = ROOT / "docs" / "subjects"
PAGE = ROOT / "docs" / "subjects.md"

LIBRARIES = {
    "torch": ("torch", "torch"),
    "pyro": ("pyro-ppl", "pyro-ppl"),
    "storchastic": ("storchastic", "storchastic"),
    "torchrl": ("torchrl", "torchrl"),
    "trl": ("trl", "trl"),
    "verl": ("verl", "verl"),
    "openrlhf": ("openrlhf", "openrlhf"),
}
"""By the name of the test file: the heading, and the distribution whose version is shown."""

HEAD = "| call | objective | verdict | mean | exact | |\n|---|---|---|--:|--:|---|\n"


def measured(library: str) -> list[dict[str, Any]]:
    """Measure the subjects of one library, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module(f"subjects.test_{library}")
        return [_row(subject, subject.measure()) for subject in module.SUBJECTS]


def _row(subject: Any, found: Any) -> dict[str, Any]:
    """A row of the table; of a gradient the coordinate with the largest bias is shown."""
    at = found.worst if found.mean else None
    verdict = found.verdict if subject.scale is None else f"scaled by {subject.scale}"
    return {
        "call": subject.called,
        "objective": subject.objective,
        "verdict": verdict,
        "standing": subject.standing,
        "how": found.how,
        "mean": None if at is None else f"{round(found.mean[at], 5) + 0.0:.5f}",
        "exact": None if at is None else f"{round(found.exact[at], 5) + 0.0:.5f}",
        "sentence": subject.sentence,
    }


def rows_of(library: str) -> list[dict[str, Any]]:
    """Measure the subjects of one library in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "subjects.page", library], **_process())
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def reproduction(path: Path) -> str:
    """A script of docs/subjects and what it prints, as Markdown."""
    source = path.read_text(encoding="utf-8").strip()
    done = subprocess.run([sys.executable, "-W", "ignore", str(path)], **_process())
    printed = [line for line in done.stdout.splitlines() if line.strip()]
    return "\n".join(["```python", source, "```", "", "```text", *printed, "```"])


def _process() -> dict[str, Any]:
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    return {"check": True, "capture_output": True, "text": True, "cwd": ROOT, "env": environment}


def table(library: str, rows: list[dict[str, Any]]) -> str:
    title, distribution = LIBRARIES[library]
    lines = [_line(row) for row in rows]
    return f"### {title} {version(distribution).partition('+')[0]}\n\n" + HEAD + "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    marks = {"": "", "documented": " (documented)", "undocumented": " (**not documented**)"}
    cells = [
        f"`{row['call']}`",
        row["objective"],
        f"{row['verdict']}{marks[row['standing']]}",
        row["mean"] or "",
        row["exact"] or "",
        f"{row['sentence']} ({row['how']})",
    ]
    return "| " + " | ".join(cell.replace("||", "\\|\\|").replace(" | ", " \\| ") for cell in cells) + " |"


def counts(rows: list[dict[str, Any]]) -> str:
    """How many subjects there are, and how many of each verdict and standing."""
    standing = Counter(row["standing"] or "right" for row in rows if row["verdict"] != "does not run")
    right, documented, undocumented = (standing[key] for key in ("right", "documented", "undocumented"))
    return (
        f"{len(rows)} subjects: {right} have the gradient of the objective; {documented} have another one, as their "
        f"documentation or their paper says; {undocumented} have another one, and we found nothing that says so; "
        f"{len(rows) - standing.total()} does not run."
    )


def page() -> str:
    """The whole page, measured anew."""
    with ThreadPoolExecutor(2) as pool:
        rows = dict(zip(LIBRARIES, pool.map(rows_of, LIBRARIES), strict=True))
    parts = {path.stem: reproduction(path) for path in sorted(DOCS.glob("*.py")) if path.stem != "conftest"}
    parts["tables"] = "\n\n".join(table(library, found) for library, found in rows.items())
    parts["counts"] = counts([row for found in rows.values() for row in found])
    return filled(DOCS / "subjects.md.jinja", parts)


def main(arguments: list[str]) -> None:
    """Write the page, or print the rows of one library."""
    if arguments:
        sys.stdout.write("\n" + json.dumps(measured(arguments[0])) + "\n")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
