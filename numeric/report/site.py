"""A report: a folder of static pages about estimators, audited code and stated problems.

It is computed and rendered as a whole before anything is written, so a run that fails leaves the folder as it was.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from derive.catalogue import catalogue
from derive.language.errors import GradproofError, UsageError
from derive.language.estimator import Estimator
from derive.verdicts.problem import Problem
from numeric.report.collect import (
    AuditRecord,
    EstimatorRecord,
    OracleRecord,
    Record,
    Report,
    audit_record,
    estimator_record,
    oracle_record,
)
from numeric.report.figures import figures, temperatures
from numeric.report.pages import pages
from numeric.report.plots import available, draw

SCHEMA = "gradproof/report/1"
SUMMARY = "report.json"
PACKAGES = ("torch", "python-flint", "matplotlib")
_OURS = re.compile(r"[a-z0-9][a-z0-9-]*\.(html|svg|css)")


def make(subjects: Iterable[tuple[str, Any]], *, everything: bool = False) -> Report:
    """Return the report on each Estimator, numeric.AuditCase or Problem, with the name that it has on a command line.

    Args
        subjects     pairs of name and object
        everything   whether they are the whole catalogue, which a command line need not name

    Raises
        GradproofError, naming the subject, where an estimator has no verdict or a problem no answer.

    >>> make([("nvil", catalogue["nvil"])]).estimators[0].verdict.verdict
    'proved'
    """
    records: list[Record] = []
    for name, found in subjects:
        records.append(_recorded(name, _page_name(name, {record.page for record in records}), found))
    names = "" if everything else "".join(f" {shlex.quote(record.argument)}" for record in records)
    return Report(tuple(records), f"gradproof report -o DIR{names}", versions(), datetime.date.today().isoformat())


def versions() -> dict[str, str | None]:
    """Return with what a report is made; None where it is not installed."""
    used = {name: _version(name) for name in PACKAGES}
    return {"gradproof": _version("gradproof"), "Python": platform.python_version(), **used}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _page_name(name: str, taken: set[str]) -> str:
    """A file name that no other page has, even where the file system ignores case."""
    stem = re.sub(r"[^a-z0-9]+", "-", re.split(r"[/\\]", name)[-1].lower()).strip("-") or "page"
    names = [f"{stem}.html", *(f"{stem}-{number}.html" for number in range(2, len(taken) + 4))]
    return next(page for page in names if page not in taken | {"index.html"})


def _recorded(argument: str, page: str, found: Any) -> Record:
    try:
        if isinstance(found, Estimator):
            return estimator_record(argument, page, found)
        return oracle_record(argument, page, found) if isinstance(found, Problem) else audit_record(argument, page, found)
    except GradproofError as error:
        message = f"{argument}: {error}"
        raise type(error)(message) from error


# Writing


def save(report: Report, folder: Path, earlier: Iterable[str] = ()) -> list[str]:
    """Write the pages of a report and its summary; return the names of the pages.

    Args
        earlier   files of an earlier report, which are removed where the new one has none of their name

    Raises
        UsageError, if the folder cannot be written.
    """
    compared = figures(report.estimators)
    own = {record.page: temperatures() for record in report.estimators if record.estimator == catalogue["concrete"]}
    drawn = {figure.name: draw(figure) for figure in [*compared, *own.values()]} if available() else {}
    written = pages(report, compared, own, drawn)
    summary = json.dumps(to_json(report, sorted(written)), indent=2, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in set(earlier) - set(written):
            (folder / name).unlink(missing_ok=True)
        for name, text in (written | {SUMMARY: summary}).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        message = f"cannot write into {folder}: {error.strerror or error}."
        raise UsageError(message) from error
    return sorted(written)


def earlier_files(folder: Path) -> list[str]:
    """Return the files of the report that a folder holds, [] where it is empty or does not exist.

    Raises
        UsageError, if it is no folder, or holds something else than a report: that is not written over.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        message = f"{folder} is a file; -o takes a folder."
        raise UsageError(message)
    if not any(folder.iterdir()):
        return []
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        summary = None
    if not isinstance(summary, Mapping) or summary.get("schema") != SCHEMA:
        message = f"{folder} is not empty and holds no earlier report; name a new folder, or empty this one."
        raise UsageError(message)
    listed = summary.get("files")
    return [name for name in listed if isinstance(name, str) and _OURS.fullmatch(name)] if isinstance(listed, list) else []


def to_json(report: Report, files: Sequence[str]) -> dict[str, Any]:
    """Return the summary of a report; what differs from run to run is under "run"."""
    return {
        "schema": SCHEMA,
        "as_declared": all(record.as_declared for record in report.records),
        "exit_code": report.exit_code,
        "command": report.command,
        "versions": report.versions,
        "estimators": [_estimator_json(record) for record in report.estimators],
        "audits": [_audit_json(record) for record in report.audits],
        "oracles": [_oracle_json(record) for record in report.oracles],
        "files": list(files),
        "run": {"date": report.date, "seconds": {record.argument: record.seconds for record in report.records}},
    }


def _estimator_json(record: EstimatorRecord) -> dict[str, Any]:
    value = None if record.variance is None or record.variance.variance is None else str(record.variance.variance)
    checks = [
        {
            "family": one.family,
            "result": one.result,
            "as_verdict": one.as_verdict,
            "largest_error": one.largest_error,
            "reason": one.reason or None,
        }
        for one in record.crosschecks
    ]
    return {
        "argument": record.argument,
        "name": record.estimator.name,
        "page": record.page,
        "verdict": record.verdict.verdict,
        "declared": record.estimator.verdict,
        "as_declared": record.as_declared,
        "holds_for": record.verdict.holds_for,
        "source": record.estimator.source,
        "variance": value,
        "crosschecks": checks,
    }


def _audit_json(record: AuditRecord) -> dict[str, Any]:
    return {"argument": record.argument, "page": record.page, "verdict": record.verdict, "reason": record.reason or None}


def _oracle_json(record: OracleRecord) -> dict[str, Any]:
    return {"argument": record.argument, "page": record.page, "estimators": [entry.name for entry in record.oracle.estimators]}

