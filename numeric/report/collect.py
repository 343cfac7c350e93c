"""What a report says, as data: every answer of gradproof about an estimator, an audited case or a stated problem.

Nothing here writes a page. Torch is imported where generated code is run, and what cannot run is kept as the reason why not.
"""

from __future__ import annotations

import inspect
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import derive
from derive.language.errors import Disagreement, GradproofError
from derive.language.estimator import HOLDING, Estimator
from derive.verdicts.oracle import Oracle, oracle
from derive.verdicts.problem import Problem
from derive.verdicts.variance_report import VarianceReport
from derive.verdicts.verdict import Verdict
from numeric.codegen.torchgen import emit, usual_families

NO_TORCH = "torch is not installed"
_ABSOLUTE = re.compile(r"(?<![\w.~/\\])(?:[A-Za-z]:)?[/\\](?:[^\s'\"/\\:]+[/\\])+")


@dataclass(frozen=True)
class Crosschecked:
    """The crosscheck of one family; `report` is None where it did not run, and `reason` says why.

    Args
        report       what `numeric.crosscheck` answered
        as_verdict   whether the code does what the verdict says: agrees if it is proved, disagrees if not; None where it did
                     not run, or was vacuous, or the verdict is open
    """

    family: str
    source: str
    report: Any
    reason: str
    as_verdict: bool | None

    @property
    def result(self) -> str:
        """Return "agrees", "disagrees", "vacuous" (any code that does nothing would pass) or "not run".

        >>> Crosschecked("normal", "", None, NO_TORCH, None).result
        'not run'
        """
        if self.report is None:
            return "not run"
        return "agrees" if self.report.agrees else "vacuous" if self.report.vacuous else "disagrees"

    @property
    def largest_error(self) -> float | None:
        """The largest error without noise."""
        return None if self.report is None else max(check.max_error for check in self.report.zero_noise)

    @property
    def tolerance(self) -> float:
        """The largest error that would be accepted there, of the parameters for which most is."""
        return 0.0 if self.report is None else max(check.tolerance for check in self.report.zero_noise)


@dataclass(frozen=True)
class EstimatorRecord:
    """Everything about one estimator; `seconds` by what was done, and `argument` is its name on a command line."""

    argument: str
    page: str
    estimator: Estimator
    verdict: Verdict
    variance: VarianceReport | None
    no_variance: str
    crosschecks: tuple[Crosschecked, ...]
    seconds: dict[str, float] = field(compare=False)

    @property
    def as_declared(self) -> bool:
        """Whether the verdict is the declared one and no generated code contradicts it."""
        return self.verdict.verdict == self.estimator.verdict and all(one.as_verdict is not False for one in self.crosschecks)

    @property
    def undecided(self) -> bool:
        """Whether torch is there, and yet generated code could not be compared."""
        return any(one.result in ("not run", "vacuous") and one.reason != NO_TORCH for one in self.crosschecks)


@dataclass(frozen=True)
class AuditRecord:
    """An audited case; `report` is None where the code could not be audited, and `reason` says why.

    Args
        sources   the source of the loss and of the objective, by name
    """

    argument: str
    page: str
    report: Any
    reason: str
    sources: dict[str, str]
    seconds: dict[str, float] = field(compare=False)

    @property
    def verdict(self) -> str:
        """Return "unbiased", "vacuous", "scaled", "biased" or "not audited"."""
        return "not audited" if self.report is None else str(self.report.verdict)

    @property
    def as_declared(self) -> bool:
        """Whether the gradient is not known to be biased."""
        return self.undecided or bool(self.report)

    @property
    def undecided(self) -> bool:
        """Whether nothing is known of it: it was not audited, or any code would have passed."""
        return self.report is None or bool(self.report.vacuous)


@dataclass(frozen=True)
class OracleRecord:
    """The exact answers to a stated problem."""

    argument: str
    page: str
    oracle: Oracle
    seconds: dict[str, float] = field(compare=False)
    as_declared: bool = True
    undecided: bool = False


Record: TypeAlias = EstimatorRecord | AuditRecord | OracleRecord


@dataclass(frozen=True)
class Report:
    """All records of a run, and with what it was made.

    Args
        records    in the order of the pages
        command    the command line that makes this report again
        versions   of gradproof, Python and what they use, by name; None where it is not installed
        date       the day of the run, as YYYY-MM-DD
    """

    records: tuple[Record, ...]
    command: str
    versions: dict[str, str | None]
    date: str = field(compare=False)

    @property
    def estimators(self) -> list[EstimatorRecord]:
        """The records of estimators."""
        return [record for record in self.records if isinstance(record, EstimatorRecord)]

    @property
    def audits(self) -> list[AuditRecord]:
        """The records of audited cases."""
        return [record for record in self.records if isinstance(record, AuditRecord)]

    @property
    def oracles(self) -> list[OracleRecord]:
        """The records of stated problems."""
        return [record for record in self.records if isinstance(record, OracleRecord)]

    @property
    def exit_code(self) -> int:
        """1 where something is not as declared, 3 where something is open that torch could have decided, else 0.

        >>> Report((), "", {}, "").exit_code
        0
        """
        if not all(record.as_declared for record in self.records):
            return 1
        return 3 if any(record.undecided for record in self.records) else 0


def estimator_record(argument: str, page: str, estimator: Estimator) -> EstimatorRecord:
    """Prove an estimator, take its variance, generate its code and compare that with the exact gradient.

    Raises
        GradproofError, where the estimator has no verdict at all.

    >>> record = estimator_record("nvil-baseline", "nvil-baseline.html", derive.catalogue["nvil-baseline"])
    >>> record.verdict.verdict, [one.result for one in record.crosschecks]
    ('proved', ['agrees', 'agrees'])
    """
    seconds: dict[str, float] = {}
    verdict = _timed(seconds, "prove", lambda: derive.prove(estimator))
    variance, no_variance = _timed(seconds, "variance", lambda: _attempt(lambda: derive.variance(estimator)))
    families = usual_families(estimator)
    checks = _timed(seconds, "crosscheck", lambda: tuple(_crosschecked(verdict, family) for family in families))
    return EstimatorRecord(argument, page, estimator, verdict, variance, no_variance, checks, seconds)


def audit_record(argument: str, page: str, case: Any) -> AuditRecord:
    """Audit a `numeric.AuditCase`; code that cannot be audited gives the reason."""
    from numeric.auditing.audit import AuditWarning

    sources = {"loss": _source(case.loss), "objective": _source(case.objective)}
    seconds: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)  # the report has them
        report, reason = _timed(seconds, "audit", lambda: _attempt(lambda: case(raise_exception=False)))
    return AuditRecord(argument, page, report, reason, {name: text for name, text in sources.items() if text}, seconds)


def oracle_record(argument: str, page: str, problem: Problem) -> OracleRecord:
    """Answer a stated problem.

    Raises
        UsageError, NotEvaluable, TooLarge, as `derive.verdicts.oracle.oracle`.
    """
    seconds: dict[str, float] = {}
    return OracleRecord(argument, page, _timed(seconds, "oracle", lambda: oracle(problem)), seconds)


def _crosschecked(verdict: Verdict, family: str) -> Crosschecked:
    source, reason = _attempt(lambda: emit(verdict.estimator, family))
    if source is None:
        return Crosschecked(family, "", None, reason, None)
    try:
        from numeric.checking.crosscheck import crosscheck
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return Crosschecked(family, source, None, NO_TORCH, None)
    report, reason = _attempt(lambda: crosscheck(verdict.estimator, family))
    known = report is not None and not report.vacuous and verdict.verdict != "undecided"
    return Crosschecked(family, source, report, reason, report.agrees == (verdict.verdict in HOLDING) if known else None)


def _attempt(compute: Callable[[], Any]) -> tuple[Any, str]:
    """The answer, or None and the reason; a contradiction of two readings is a bug of ours and stops the report."""
    try:
        return compute(), ""
    except Disagreement:
        raise
    except GradproofError as error:
        return None, without_folders(str(error))


def without_folders(text: str) -> str:
    """Return a message with every absolute path cut down to its last part: a report is handed on.

    >>> without_folders("there is no file /srv/data/mine.py; 1/2 of f/g")
    'there is no file mine.py; 1/2 of f/g'
    """
    return _ABSOLUTE.sub("", text)


def _timed(seconds: dict[str, float], what: str, compute: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    try:
        return compute()
    finally:
        seconds[what] = time.perf_counter() - start


def _source(function: Callable[..., Any]) -> str:
    """The source of a user's function, "" where Python does not know it."""
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""
