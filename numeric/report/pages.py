"""The pages of a report: HTML that needs no network, no script and no fonts. What is no markup of ours is escaped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.resources import files
from itertools import product
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from derive.language.estimator import VERDICTS
from derive.language.term import Term
from derive.numbers.enclosures import Enclosure
from derive.printing import html
from derive.verdicts.oracle import Entry
from derive.verdicts.problem import Problem
from derive.verdicts.variance_report import VarianceReport
from derive.verdicts.verdict import Check
from numeric.report.collect import AuditRecord, Crosschecked, EstimatorRecord, OracleRecord, Report
from numeric.report.figures import Figure

LONGEST_FORMULA = 4000
MOST_COORDINATES = 40
LONGEST_FRACTION = 40
STYLE = "style.css"
_STYLE = files("numeric.report").joinpath("templates", STYLE)

_TEMPLATES = Environment(
    loader=PackageLoader("numeric.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def pages(report: Report, figures: Sequence[Figure], own: Mapping[str, Figure], drawn: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a report by name.

    Args
        report   what it says
        figures  those that compare estimators, for the first page
        own      a figure for the page of one record, by the name of the page
        drawn    the SVG of each figure by its name; empty where matplotlib is not installed
    """
    written = {STYLE: _STYLE.read_text(encoding="utf-8"), "index.html": _index(report, figures, drawn)}
    names = [record.page for record in report.records]
    for number, record in enumerate(report.records):
        around = {"before": names[number - 1] if number else "", "after": names[number + 1] if record.page != names[-1] else ""}
        figure = own.get(record.page)
        shown = around | {"figure": figure, "drawn": drawn, "versions": report.versions}
        written[record.page] = _record(record, shown)
    return written | {f"{name}.svg": svg for name, svg in drawn.items()}


def _record(record: EstimatorRecord | AuditRecord | OracleRecord, shown: Mapping[str, Any]) -> str:
    if isinstance(record, EstimatorRecord):
        return _TEMPLATES.get_template("estimator.html").render(_estimator(record), **shown)
    if isinstance(record, AuditRecord):
        return _TEMPLATES.get_template("audit.html").render(_audit(record), **shown)
    return _TEMPLATES.get_template("oracle.html").render(_oracle(record), **shown)


# The first page


def _index(report: Report, figures: Sequence[Figure], drawn: Mapping[str, str]) -> str:
    counts = Counter(record.verdict.verdict for record in report.estimators)
    whats = list(dict.fromkeys(what for record in report.records for what in record.seconds))
    return _TEMPLATES.get_template("index.html").render(
        report=report,
        counts=[(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]],
        estimators=[_row(record) for record in report.estimators],
        headline=headline(report),
        figures=figures,
        drawn=drawn,
        versions=report.versions,
        version_rows=[(name, version or "not installed") for name, version in report.versions.items()],
        timed=[(record.argument, *(_seconds(record.seconds.get(what)) for what in whats)) for record in report.records],
        whats=whats,
        total=f"{sum(sum(record.seconds.values()) for record in report.records):.1f}",
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


def headline(report: Report) -> str:
    """Return what came of a report in one sentence.

    >>> headline(Report((), "", {}, ""))
    'nothing was asked for'
    """
    every = [one for record in report.estimators for one in record.crosschecks]
    checks = [one for one in every if one.report is not None]
    parts = [
        _count(len(report.estimators), "estimator", sum(one.as_declared for one in report.estimators), "as declared"),
        _count(len(checks), "crosscheck", sum(one.as_verdict is True for one in checks), "as the verdict says"),
        f"{len(every) - len(checks)} crosschecks not run" if len(every) > len(checks) else "",
        _count(len(report.audits), "audit", sum(bool(one.report) for one in report.audits), "unbiased"),
        _count(len(report.oracles), "problem", len(report.oracles), "answered"),
    ]
    return ", ".join(part for part in parts if part) or "nothing was asked for"


def _count(number: int, what: str, good: int, how: str) -> str:
    if not number:
        return ""
    return f"{number} {what}{'s' if number > 1 else ''} ({'all' if good == number else good or 'none'} {how})"


def _row(record: EstimatorRecord) -> dict[str, Any]:
    return {
        "record": record,
        "target": _math(record, record.estimator.target),
        "crosschecks": [(f"{one.family}: {one.result}{_expected(one)}", _error(one)) for one in record.crosschecks],
        "no_code": "" if record.crosschecks else "no torch code",
        "contradicted": any(one.as_verdict is False for one in record.crosschecks),
    }


def _expected(one: Crosschecked) -> str:
    return " as it must" if one.result == "disagrees" and one.as_verdict else ""


def _error(one: Crosschecked) -> str:
    return one.reason if one.largest_error is None else f"error {one.largest_error:.1e}"


# An estimator


def _estimator(record: EstimatorRecord) -> dict[str, Any]:
    verdict = record.verdict
    return {
        "record": record,
        "estimator": record.estimator,
        "verdict": verdict.to_json(),
        "body": html.body(record.estimator, verdict.derivation),
        "bias": "" if verdict.bias is None else _math(record, verdict.bias),
        "other": _other(record),
        "evaluated": verdict.evaluated,
        "checks": list(dict.fromkeys(_check(one, counted=verdict.is_counted) for one in verdict.checked)),
        "variance": None if record.variance is None else _variance(record.variance),
        "codes": [{"check": one, "source": _highlighted(one.source), **_numbers(one)} for one in record.crosschecks],
        "commands": list(_commands(record)),
    }


def _check(one: Check, *, counted: bool) -> tuple[str, str, str, str]:
    """A row of the exact checks; where no law has outcomes, their number says nothing."""
    outcomes = str(one.outcomes) if counted else "-"
    return outcomes, str(one.samples), "identically zero" if one.identically_zero else "not zero", one.reading


def _other(record: EstimatorRecord) -> Markup:
    """The gradient of which an estimator of another target is the mean: where its derivation starts."""
    derivation = record.verdict.derivation
    return _math(record, derivation.lines[0].term) if derivation and record.verdict.verdict == "other-target" else Markup()


def _math(record: EstimatorRecord, term: Term) -> Markup:
    return Markup(html.render(term, record.estimator.where))


def _highlighted(source: str) -> Markup:
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))


def _variance(found: VarianceReport) -> dict[str, Any]:
    long = len(found.formula) > LONGEST_FORMULA
    return {
        "formula": found.formula[:LONGEST_FORMULA] if long else found.formula,
        "length": f"{len(found.formula):,}" if long else "",
        "point": list(found.point.items()),
        "mean": None if found.mean is None else shown(Enclosure(found.mean, found.radius)),
        "value": None if found.variance is None else shown(Enclosure(found.variance, found.radius)),
        "note": found.note,
    }


def shown(value: Fraction | Enclosure) -> str:
    """Return a number with a decimal beside it; a fraction that is too long to read, or an enclosure, as a decimal alone.

    >>> shown(Fraction(1, 3)), shown(Fraction(1, 4)), shown(Fraction(2)), shown(Fraction(1, 3**90))
    ('1/3 ≈ 0.333333', '1/4 = 0.25', '2', '≈ 1.14574e-43')
    >>> shown(Enclosure(Fraction(1, 3), Fraction(1, 10**20)))
    '≈ 0.333333333333, enclosed within 1e-20'
    """
    if isinstance(value, Enclosure) and value.radius:
        return f"≈ {float(value.middle):.12g}, enclosed within {float(value.radius):.0e}"
    value = value.middle if isinstance(value, Enclosure) else value
    short = len(str(value)) <= LONGEST_FRACTION
    if short and value.denominator == 1:
        return str(value)
    decimal = f"{float(value):.6g}"
    near = f"{'=' if Fraction(decimal) == value else '≈'} {decimal}"
    return f"{value} {near}" if short else near


def _numbers(one: Crosschecked) -> dict[str, Any]:
    """The rows of the stage without noise, and the stage that samples, as text."""
    if one.report is None:
        return {"rows": [], "sampling": {}}
    rows = [
        (check.name, str(check.rows), f"{check.max_error:.1e}", f"{check.tolerance:.0e}", _agrees(check.passed))
        for check in one.report.zero_noise
    ]
    sampling = one.report.sampling
    largest = max(map(abs, sampling.z_scores))
    return {
        "rows": rows,
        "sampling": {
            "estimates": f"{sampling.samples:,}",
            "largest |z|": f"{largest:.2f}, of which {sampling.threshold:.2f} would be accepted",
            "false-alarm rate": f"{sampling.false_alarm:g}",
            "smallest detectable bias": f"{sampling.smallest_detectable_bias:.1e}",
            "result": _agrees(sampling.passed),
        },
    }


def _agrees(passed: bool) -> str:
    return "agrees" if passed else "disagrees"


def _commands(record: EstimatorRecord) -> Iterator[str]:
    name = shlex.quote(record.argument)
    yield f"gradproof prove {name}"
    if record.verdict.derivation is not None and record.verdict.verdict == "proved":
        yield f"gradproof explain {name}"
    yield f"gradproof variance {name}"
    for one in record.crosschecks:
        yield f"gradproof emit {name} --family {one.family}"
        yield f"gradproof crosscheck {name} --family {one.family}"


# An audit, and an oracle


def _audit(record: AuditRecord) -> dict[str, Any]:
    coordinates = [] if record.report is None else list(_coordinates(record.report))
    shortened = len(coordinates) > MOST_COORDINATES
    listed = sorted(coordinates, key=lambda row: -row[0])[:MOST_COORDINATES] if shortened else coordinates
    return {
        "record": record,
        "report": record.report,
        "headline": record.reason if record.report is None else str(record.report).partition("\n")[0].partition(": ")[2],
        "coordinates": [row[1:] for row in listed],
        "all_coordinates": f"{len(coordinates):,}",
        "shortened": shortened,
        "facts": [] if record.report is None else _facts(record.report),
        "contributions": [] if record.report is None else _contributions(record.report),
        "sources": {name: _highlighted(source) for name, source in record.sources.items()},
        "command": f"gradproof audit {shlex.quote(record.argument)}",
    }


def _coordinates(report: Any) -> Iterator[tuple[float, str, str, str, str, str, str, str]]:
    """Each coordinate: how far off it is in units of its tolerance, its name and theta, and what was found."""
    parts = (report.theta, report.exact, report.mean, report.bias, report.tolerance, report.variance)
    for name, exact in report.exact.items():
        columns = [part[name].reshape(-1).tolist() for part in parts]
        for index, *values in zip(product(*map(range, exact.shape)), *columns, strict=True):
            place = name + "".join(f"[{i}]" for i in index)
            texts = [f"{value:.6g}" for value in values]
            off = abs(values[3]) / values[4] if values[4] else float("inf")
            yield (off, place, texts[0], texts[1], texts[2], texts[3], f"{values[4]:.1e}", texts[5])


def _facts(report: Any) -> list[tuple[str, str]]:
    scaled = [("mean / exact gradient", f"{report.scaled_by:.12g}")] if report.scaled_by is not None else []
    return [
        ("outcomes", f"{report.outcomes:,} of the loss, {report.objective_outcomes:,} of the objective"),
        ("draws", ", ".join(report.draws) or "none"),
        *([("quadrature", report.quadrature)] if report.quadrature else []),
        ("E[objective]", f"{report.value:.12g}"),
        *scaled,
    ]


def _contributions(report: Any) -> list[tuple[str, str, str]]:
    return [
        (", ".join(map(str, one.choices)), f"{one.probability:.6g}", f"{one.gradient:.6g}") for one in report.contributions
    ]


def _oracle(record: OracleRecord) -> dict[str, Any]:
    found, problem = record.oracle, record.oracle.problem
    gradient = zip(problem.parameters, found.gradient, strict=True)
    return {
        "record": record,
        "facts": [
            ("the K-sample bound" if problem.is_bound else "E[f(b)]", shown(found.objective)),
            *((f"gradient with respect to {name}", shown(value)) for name, value in gradient),
        ],
        "columns": ["b", "probability", "log p(x, b)" if problem.is_bound else "f(b)"],
        "outcomes": list(_outcomes(problem)),
        "entries": [
            (entry.name, _samples(entry), one.parameter, *map(shown, (one.mean, one.bias, one.variance)))
            for entry in found.estimators
            for one in entry.coordinates
        ],
        "not_applicable": list(found.not_applicable.items()),
        "command": f"gradproof oracle {shlex.quote(record.argument)} -o oracle.json",
    }


def _outcomes(problem: Problem) -> Iterator[tuple[str, str, str]]:
    """Each outcome: its number, or of several variables their values; its probability, and the integrand there."""
    for number, (probability, value) in enumerate(zip(problem.probabilities, problem.f, strict=True)):
        yield str(problem.values[number] if problem.values else number), shown(probability), shown(value)


def _samples(entry: Entry) -> str:
    return str(entry.samples) if entry.samples == 1 else f"{entry.samples}, {'jointly' if entry.joint else 'averaged'}"
