"""Audit every row, write what was found to answers.json, and docs/audit_laws.md from it."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from docs.templates import filled
from numeric import audit
from numeric.auditing.audit_report import AuditReport
from tests.laws.rows import ROWS, Row

HERE = Path(__file__).parent
ANSWERS, TEMPLATE = HERE / "answers.json", HERE / "page.md.jinja"
PAGE = HERE.parent.parent / "docs" / "audit_laws.md"

Answer = dict[str, Any]
REFUSED = "refused"


@contextmanager
def in_float64() -> Iterator[None]:
    """With float64 as the dtype of what laws make for themselves."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def how(report: AuditReport) -> str:
    """How the verdict came about."""
    if report.sampling:
        return "sampled"
    if report.quadrature:
        return "integrated"
    return "frozen" if report.frozen_noise else "enumerated"


def asked(loss: Callable[[], Any], row: Row) -> Answer:
    """Return what an audit says of a loss."""
    with warnings.catch_warnings(), in_float64():
        warnings.simplefilter("ignore")
        try:
            report = audit(loss, row.params, row.objective, raise_exception=False)
        except Exception as error:  # what is refused, and how, is what the page shows
            return {"verdict": REFUSED, "why": f"{type(error).__name__}: {error}"}
    found: Answer = {"verdict": report.verdict, "how": how(report), "outcomes": report.outcomes}
    if report.sampling and report.unbiased:
        found["up_to"] = float(f"{max(float(part.max()) for part in report.tolerance.values()):.1e}")
    if report.scaled_by is not None and not report.unbiased:
        found["scaled_by"] = round(report.scaled_by, 9)
    return found | {key: text for key, text in (("left_out", report.left_out), ("why", report.undecided)) if text}


def ask(row: Row) -> dict[str, Answer]:
    """Return what is said of the right loss and of its wrong twin."""
    return {"right": asked(row.loss, row), "wrong": asked(row.twin, row)}


def is_wrong(answers: Mapping[str, Answer], *, is_right: bool) -> bool:
    """Whether right code is accused or wrong code acquitted."""
    accused = answers["right"]["verdict"] in {"biased", "scaled"}
    return accused is is_right or answers["wrong"]["verdict"] in {"unbiased", "unbiased up to x"}


def words(answer: Answer) -> str:
    """The verdict as the page shows it."""
    verdict = str(answer["verdict"])
    if "up_to" in answer and verdict == "unbiased up to x":
        return f"unbiased up to {answer['up_to']:g}"
    return f"scaled, {answer['scaled_by']:g}" if verdict == "scaled" else verdict


def notes(answers: Mapping[str, Answer]) -> str:
    """What a row leaves out, or why it is refused, without a line break."""
    right = answers["right"]
    return str(right.get("left_out") or right.get("why") or "").replace("\n", " ").replace("|", "\\|")


def render(answers: Mapping[str, Mapping[str, Answer]]) -> str:
    """Return the page of some answers."""
    rows = [(ROWS[key], found) for key, found in answers.items()]
    return filled(TEMPLATE, {"rows": rows, "words": words, "notes": notes})


def main() -> None:
    """Write the answers and the page, and fail if a verdict is wrong; with names, ask about these rows only."""
    answers = json.loads(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}
    names = [key for key in ROWS if not sys.argv[1:] or any(name in key for name in sys.argv[1:])]
    for key in names:
        start = time.process_time()
        answers[key] = ask(ROWS[key])
        found, seconds = answers[key], time.process_time() - start
        sys.stdout.write(f"{key}: {words(found['right'])}; {words(found['wrong'])} ({seconds:.1f} s)\n")
        sys.stdout.flush()
        ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    answers = {key: answers[key] for key in ROWS if key in answers}
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(answers), encoding="utf-8")
    wrong = [key for key, found in answers.items() if is_wrong(found, is_right=ROWS[key].is_right)]
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
