"""Oracles: the exact gradient of a stated problem, and exact mean, bias and variance of every estimator that applies.

For tests in any language: each number is given as a rational and, beside it, as the nearest float64 in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from derive import exact
from derive.catalogue import catalogue
from derive.errors import Disagreement, NotEvaluable, TooLarge, UsageError
from derive.estimator import Estimator
from derive.models import RationalCase
from derive.problem import Problem, problem_of
from derive.strict_json import read_json, validate
from derive.term import Apply, Expect, FiniteLaw, Symbol, Term, parts

SCHEMA = "gradproof/oracle/1"
MOST_BITS = 13_000
_AT_POINT = re.compile(r"(f'?)\((-?\d+(?:/\d+)?)\)")


@dataclass(frozen=True)
class Coordinate:
    """The exact moments of one coordinate of an estimator; `bias` is the mean minus the exact gradient."""

    parameter: str
    mean: Fraction
    bias: Fraction
    variance: Fraction


@dataclass(frozen=True)
class Entry:
    """An estimator of the problem.

    Args
        name, source  as in the catalogue
        samples       how many samples it draws
        joint         whether it is one formula of all samples; else it is the average of independent copies
        coordinates   one for each parameter
    """

    name: str
    source: str
    samples: int
    joint: bool
    coordinates: tuple[Coordinate, ...]

    @property
    def unbiased(self) -> bool:
        """Whether every coordinate has the exact gradient as its mean, in this problem."""
        return not any(coordinate.bias for coordinate in self.coordinates)


@dataclass(frozen=True)
class Oracle:
    """The exact answers to a problem.

    Args
        problem         the problem
        objective       E[f(b)]
        gradient        its derivative with respect to each parameter
        estimators      those of the catalogue that apply
        not_applicable  the others, by name, with the reason
    """

    problem: Problem
    objective: Fraction
    gradient: tuple[Fraction, ...]
    estimators: tuple[Entry, ...]
    not_applicable: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the answers in the form of the schema gradproof/oracle/1.

        Raises
            TooLarge, if a number does not fit: more than 13,000 bits, or beyond float64.
        """
        rows = zip(self.problem.probabilities, self.problem.f, strict=True)
        return {
            "schema": SCHEMA,
            "problem": dict(self.problem.document),
            "outcomes": [{"b": b, "probability": number(p), "f": number(f)} for b, (p, f) in enumerate(rows)],
            "parameters": list(self.problem.parameters),
            "objective": number(self.objective),
            "gradient": [number(value) for value in self.gradient],
            "estimators": [_entry_json(entry) for entry in self.estimators],
            "not_applicable": [{"name": name, "reason": reason} for name, reason in self.not_applicable.items()],
        }


def number(value: Fraction) -> dict[str, str]:
    """Return a number as it stands in an oracle.

    Raises
        TooLarge, if it has more than 13,000 bits or is beyond float64.

    >>> number(Fraction(1, 3))
    {'exact': '1/3', 'float64': '0x1.5555555555555p-2'}
    """
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        message = f"an exact value has more than {MOST_BITS} bits; state the problem with shorter numbers."
        raise TooLarge(message)
    try:
        return {"exact": str(value), "float64": float(value).hex()}
    except OverflowError as error:
        message = "an exact value is beyond the range of float64; state the problem with smaller numbers."
        raise TooLarge(message) from error


def _entry_json(entry: Entry) -> dict[str, Any]:
    coordinates = [
        {"parameter": one.parameter, "mean": number(one.mean), "bias": number(one.bias), "variance": number(one.variance)}
        for one in entry.coordinates
    ]
    return {
        "name": entry.name,
        "source": entry.source,
        "samples": entry.samples,
        "form": "joint" if entry.joint else "average of independent copies",
        "unbiased": entry.unbiased,
        "coordinates": coordinates,
    }


def oracle(problem: Problem) -> Oracle:
    """Return the exact answers to a problem.

    Raises
        Disagreement, if the exact evaluator and the plain sum contradict each other: a bug of ours.

    >>> law = {"family": "bernoulli", "probability": "1/2"}
    >>> problem = problem_of({"schema": "gradproof/problem/1", "law": law, "f": {"table": ["0", "1"]}, "samples": 2})
    >>> answers = oracle(problem)
    >>> answers.gradient, answers.estimators[0].name, answers.estimators[0].coordinates[0].variance
    ((Fraction(1, 4),), 'score-function', Fraction(1, 32))
    """
    gradient = tuple(_dot(tangent, problem.f) for tangent in problem.tangents)
    entries, reasons = [], dict[str, str]()
    for estimator in catalogue.values():
        try:
            entries.append(_entry(estimator, problem, gradient))
        except (UsageError, NotEvaluable, TooLarge) as error:
            reasons[estimator.name] = str(error)
    return Oracle(problem, _dot(problem.probabilities, problem.f), gradient, tuple(entries), reasons)


def read_oracle(path: Path) -> dict[str, Any]:
    """Return the document in an oracle file, checked: schema, problem, float64 values, and the exact gradient recomputed.

    Raises
        UsageError, if the file cannot be read, does not fit the schema gradproof/oracle/1, or contradicts itself.
    """
    document: dict[str, Any] = read_json(path)
    try:
        validate(document, "oracle-1")
        _check_numbers(document)
        _check_answers(document)
    except UsageError as error:
        message = f"{str(path)!r}: {error}"
        raise UsageError(message) from error
    return document


# One estimator


def _entry(estimator: Estimator, problem: Problem, gradient: Sequence[Fraction]) -> Entry:
    _demand_target(estimator)
    joint = estimator.family is not None
    chosen = estimator.with_samples(problem.samples) if joint else estimator
    copies = 1 if joint else problem.samples
    if any(not isinstance(draw.law, FiniteLaw) for draw in chosen.draws):
        message = "it draws continuous noise, of which the problem states no map to b."
        raise UsageError(message)
    coordinates = []
    for parameter, tangent, truth in zip(problem.parameters, problem.tangents, gradient, strict=True):
        mean, variance = _moments(chosen, problem, tangent)
        coordinates.append(Coordinate(parameter, mean, mean - truth, variance / copies))
    entry = Entry(estimator.name, estimator.source, problem.samples, joint, tuple(coordinates))
    if estimator.verdict == "proved" and not entry.unbiased:
        message = f"{estimator.name} is proved unbiased, but its exact mean is not the gradient: a bug of gradproof; report it."
        raise Disagreement(message)
    return entry


def _moments(estimator: Estimator, problem: Problem, tangent: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    case = _Case(problem, tangent)
    try:
        return exact.mean_and_variance_at(estimator, RationalCase(case), outcomes=len(problem.probabilities))
    except UsageError as error:
        if not case.missing:
            raise
        between = _AT_POINT.fullmatch(case.missing[0])
        needed = "f between the outcomes, as a formula" if between else case.missing[0]
        message = f"it needs {needed}, which the problem does not state."
        raise UsageError(message) from error


class _Case(Mapping[str, Fraction]):
    """The values of the unknowns in a problem, and which were asked for in vain."""

    def __init__(self, problem: Problem, tangent: Sequence[Fraction]) -> None:
        tables = {"p": problem.probabilities, "dp": tangent, "f": problem.f, **problem.functions}
        values = {f"{name}({k})": value for name, table in tables.items() for k, value in enumerate(table, 1)}
        outcomes = {f"value_p({k})": Fraction(k - 1) for k in range(1, len(problem.probabilities) + 1)}
        self.values_by_name = {**values, **outcomes, **problem.constants}
        self.polynomial, self.missing = problem.polynomial, list[str]()

    def __getitem__(self, name: str) -> Fraction:
        if name in self.values_by_name:
            return self.values_by_name[name]
        matched = _AT_POINT.fullmatch(name)
        if matched is None or self.polynomial is None:
            raise KeyError(name)
        read = self.polynomial if matched[1] == "f" else self.polynomial.derivative()
        return read(Fraction(matched[2]))

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            if not str(name).startswith("score"):
                self.missing.append(str(name))
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def _demand_target(estimator: Estimator) -> None:
    """Refuse unless the target is the gradient of E[f(...)] over a variable with a finite law p."""
    body = estimator.objective
    law = body.variable.law if isinstance(body, Expect) else None
    inside = body.body if isinstance(body, Expect) else body
    applied = isinstance(inside, Apply) and getattr(inside.function, "name", "") == "f" and len(inside.args) == 1
    if not (applied and isinstance(law, FiniteLaw) and law.name == "p" and law.terms == (estimator.parameter,)):
        message = "its target is another than the gradient of E[f(b)] over a finite law."
        raise UsageError(message)
    if any(symbol != estimator.parameter for symbol in _symbols(estimator.target)):
        message = "its target depends on constants of its own."
        raise UsageError(message)


def _symbols(term: Term) -> Iterator[Symbol]:
    if isinstance(term, Symbol):
        yield term
    for part in parts(term):
        yield from _symbols(part)


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((one * other for one, other in zip(left, right, strict=True)), start=Fraction(0))


# Checks of a file


def _check_numbers(value: Any) -> None:
    """Check that each float64 is the one nearest to the exact value beside it, and that this is in lowest terms."""
    if isinstance(value, dict) and set(value) == {"exact", "float64"}:
        numerator, _, denominator = value["exact"].partition("/")
        if denominator and not int(denominator):
            message = f"the exact value {value['exact'][:40]} has the denominator 0."
            raise UsageError(message)
        if number(Fraction(int(numerator), int(denominator or 1))) != value:
            message = f"{value['float64']} is not the float64 of {value['exact'][:80]}, or that is not in lowest terms."
            raise UsageError(message)
        return
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _check_numbers(part)


def _check_answers(document: Mapping[str, Any]) -> None:
    """Check that the answers belong to the problem: what a plain sum gives is recomputed."""
    problem = problem_of(document["problem"])
    gradient = tuple(_dot(tangent, problem.f) for tangent in problem.tangents)
    fresh = Oracle(problem, _dot(problem.probabilities, problem.f), gradient, (), {}).to_json()
    for key in ("outcomes", "parameters", "objective", "gradient"):
        if document[key] != fresh[key]:
            message = f"{key} is not that of the problem in the same file."
            raise UsageError(message)
    for entry in document["estimators"]:
        means = [Fraction(one["mean"]["exact"]) - Fraction(one["bias"]["exact"]) for one in entry["coordinates"]]
        named = [one["parameter"] for one in entry["coordinates"]] == list(problem.parameters)
        unbiased = all(one["bias"]["exact"] == "0" for one in entry["coordinates"])
        if not named or tuple(means) != gradient or entry["unbiased"] != unbiased or entry["samples"] != problem.samples:
            message = f"the moments of {entry['name']} contradict the gradient."
            raise UsageError(message)
