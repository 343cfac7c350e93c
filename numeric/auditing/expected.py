"""What is biased by design: a verdict that is expected, with its number, and fails when either changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from derive.language.errors import UsageError
from numeric.auditing.audit_report import AuditReport

VERDICTS = ("unbiased", "unbiased up to x", "scaled", "biased", "vacuous", "undecided")


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
    if by is not None and not math.isfinite(by):
        return f"by is {by!r}; expected a finite number."
    if at_most is not None and not 0 < at_most < math.inf:
        return f"at_most is {at_most!r}; expected a positive number."
    return ""
