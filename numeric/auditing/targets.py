"""Named objectives: of which of them a mean is exactly the gradient, and of which it is a multiple."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from derive.language.errors import GradproofError, UsageError
from numeric.auditing.audit_report import AuditReport

_BEST_FIRST = ("unbiased", "unbiased up to x", "scaled", "undecided", "biased", "vacuous")


def among(audit: Callable[[Callable[..., Any]], AuditReport], objectives: Mapping[str, Callable[..., Any]]) -> AuditReport:
    """Return the report on the objective that the mean fits best, with what it is to each.

    Raises
        UsageError, if there is no objective.
        GradproofError, that of the first objective, if none of them can be audited.
    """
    reports: dict[str, AuditReport] = {}
    refusals: dict[str, GradproofError] = {}
    for name, objective in objectives.items():
        try:
            reports[str(name)] = audit(objective)
        except UsageError:
            raise
        except GradproofError as error:
            refusals[str(name)] = error
    if not objectives:
        message = "objective is an empty dictionary; expected a function, or functions by name."
        raise UsageError(message)
    if not reports:
        raise next(iter(refusals.values()))
    best = min(reports, key=lambda name: _BEST_FIRST.index(reports[name].verdict))
    found = {name: _said(reports[name]) if name in reports else f"refused: {refusals[name]}" for name in map(str, objectives)}
    return replace(reports[best], targets=found, target=best)


def _said(report: AuditReport) -> str:
    """The verdict in one word, with its number where it has one.

    What the mean is to a constant is no news: a vacuous one and an exact gradient of zero are said to be that.
    """
    if report.verdict == "unbiased":
        return "unbiased: exactly its gradient"
    if report.verdict == "scaled":
        return f"scaled {report.scaled_by:.12g}"
    if report.nearly is not None:
        return f"unbiased up to {report.nearly:.2g}"
    return "biased: the mean is zero" if report.mean_is_zero else report.verdict
