"""What a mean is held against beside one objective: others by name, and a verdict that is expected of it.

A verdict that is expected comes with its number, and the audit fails when either changes: for what is biased by design.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Real
from typing import Any

from derive.language.errors import GradproofError, UsageError
from numeric.auditing.audit_report import AuditReport

VERDICTS = ("unbiased", "unbiased up to x", "scaled", "biased", "vacuous", "undecided")
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


@dataclass(frozen=True)
class Expectation:
    """A verdict; for "scaled" its factor, for "biased" the largest bias of a coordinate."""

    verdict: str
    by: Fraction | float | None
    at_most: float | None

    def held_against(self, report: AuditReport) -> AuditReport:
        """Return the report with what was expected, and with what was found in its place."""
        return replace(report, expected=str(self), unexpected=self._difference(report))

    def _difference(self, report: AuditReport) -> str:
        if report.verdict != self.verdict:
            factor = f" {report.scaled_by:.12g}" if report.verdict == "scaled" else ""
            return f"expected {self}, found {report.verdict}{factor}"
        if self.by is not None and not self._is_scaled(report, float(self.by)):
            return f"expected {self}, found scaled {report.scaled_by:.12g}"
        largest = max((float(part.abs().max()) for part in report.bias.values() if part.numel()), default=0.0)
        if self.at_most is not None and not largest <= self.at_most:
            return f"expected {self}, found a bias of {largest:.6g}"
        return ""

    def _is_scaled(self, report: AuditReport, by: float) -> bool:
        return all(
            bool(((report.mean[name] - by * exact).abs() <= report.tolerance[name] * max(1.0, abs(by))).all())
            for name, exact in report.exact.items()
        )

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by is not None else ""
        return f"{self.verdict}{by}{f' by at most {self.at_most:g}' if self.at_most is not None else ''}"


def expectation(verdict: str | None, by: Fraction | float | None, at_most: float | None) -> Expectation | None:
    """Return what is expected, None where nothing is.

    Raises
        UsageError, for a word that is no verdict, or a number that does not belong to it.

    >>> str(expectation("scaled", Fraction(2, 3), None))
    'scaled by 2/3'
    """
    reason = _misuse(verdict, by, at_most)
    if reason:
        raise UsageError(reason)
    return None if verdict is None else Expectation(verdict, by, at_most)


def _misuse(verdict: str | None, by: Fraction | float | None, at_most: float | None) -> str:
    if verdict is not None and verdict not in VERDICTS:
        return f"expect is {verdict!r}; expected one of {', '.join(VERDICTS)}."
    if (by is None) == (verdict == "scaled"):
        return 'by= is the factor of expect="scaled", and belongs to it: expect="scaled", by=Fraction(2, 3).'
    if at_most is not None and verdict != "biased":
        return 'at_most= is the largest bias of a coordinate, and belongs to expect="biased".'
    if by is not None and not (_is_number(by) and math.isfinite(by)):
        return f"by is {by!r}; expected a finite number."
    if at_most is not None and not (_is_number(at_most) and 0 < at_most < math.inf):
        return f"at_most is {at_most!r}; expected a positive number."
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
