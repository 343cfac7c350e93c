"""Oracles: the exact gradient of a stated problem, and exact mean, bias and variance of every estimator that applies.

For tests in any language: each number is given as a rational and, beside it, as the nearest float64, in hexadecimal and as a
number of JSON. Those of a bound, which are not rational, are given as a ball: a decimal, and by how much it may be off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.language.errors import Disagreement, NotEvaluable, TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.term import Apply, Expect, FiniteLaw, Symbol, Term, parts
from derive.laws.bounds import bound_and_gradient
from derive.laws.models import RationalCase
from derive.numbers.enclosures import Enclosure
from derive.printing import text
from derive.verdicts.oracle_numbers import Value, number, value_of
from derive.verdicts.problem import Problem, problem_of, read_problem
from derive.verdicts.strict_json import read_json, validate

SCHEMA = "gradproof/oracle/1"
_AT_POINT = re.compile(r"(f'?)\((-?\d+(?:/\d+)?)\)")


@dataclass(frozen=True)
class Coordinate:
    """The moments of one coordinate of an estimator; `bias` is the mean minus the exact gradient."""

    parameter: str
    mean: Value
    bias: Value
    variance: Value


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
        """Whether every coordinate has the exact gradient as its mean, in this problem; of balls, whether it may have."""
        return all(_may_be_zero(coordinate.bias) for coordinate in self.coordinates)


@dataclass(frozen=True)
class Oracle:
    """The exact answers to a problem.

    Args
        problem         the problem
        objective       E[f(b)], or the K-sample bound
        gradient        its derivative with respect to each parameter
        estimators      those of the catalogue that apply
        not_applicable  the others, by name, with the reason
    """

    problem: Problem
    objective: Value
    gradient: tuple[Value, ...]
    estimators: tuple[Entry, ...]
    not_applicable: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the answers in the form of the schema gradproof/oracle/1.

        Raises
            TooLarge, if a number does not fit: more than 13,000 bits, or beyond float64.
        """
        return {
            "schema": SCHEMA,
            "problem": dict(self.problem.document),
            "outcomes": _outcomes_json(self.problem),
            "parameters": list(self.problem.parameters),
            "objective": number(self.objective),
            "gradient": [number(value) for value in self.gradient],
            "estimators": [_entry_json(entry) for entry in self.estimators],
            "not_applicable": [{"name": name, "reason": reason} for name, reason in self.not_applicable.items()],
        }


def _may_be_zero(value: Value) -> bool:
    return value.contains(0) if isinstance(value, Enclosure) else not value


def _outcomes_json(problem: Problem) -> list[dict[str, Any]]:
    rows = enumerate(zip(problem.probabilities, problem.f, strict=True))
    values = [{"values": list(some)} for some in problem.values] or [{}] * len(problem.f)
    return [{"b": b, **values[b], "probability": number(p), "f": number(f)} for b, (p, f) in rows]


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


def answered(name: str) -> dict[str, Any]:
    """Return the exact answers to the problem in a JSON file, in the form of the contract: a work for `derive.sweep`.

    Raises
        UsageError, if the file cannot be read or is no problem; TooLarge, if a number does not fit; errors as `oracle`.
    """
    return oracle(read_problem(Path(name))).to_json()


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
    objective, gradient = _answer(problem)
    entries, reasons = [], dict[str, str]()
    for estimator in catalogue.values():
        try:
            entries.append(_entry(estimator, problem, gradient))
        except (UsageError, NotEvaluable, TooLarge) as error:
            reasons[estimator.name] = str(error)
    return Oracle(problem, objective, gradient, tuple(entries), reasons)


def _answer(problem: Problem) -> tuple[Value, tuple[Value, ...]]:
    """Return the objective and its gradient, by a plain sum."""
    if problem.is_bound:
        return bound_and_gradient(problem.probabilities, problem.f, problem.tangents, problem.samples)
    return _dot(problem.probabilities, problem.f), tuple(_dot(tangent, problem.f) for tangent in problem.tangents)


def read_oracle(path: Path) -> dict[str, Any]:
    """Return the document in an oracle file, checked: schema, problem, float64 values, and the exact gradient recomputed.

    Raises
        UsageError, if the file cannot be read, does not fit the schema gradproof/oracle/1, or contradicts itself.
    """
    document: dict[str, Any] = read_json(path)
    try:
        check_oracle(document)
    except UsageError as error:
        message = f"{str(path)!r}: {error}"
        raise UsageError(message) from error
    return document


def check_oracle(document: Any) -> None:
    """Check a document that was read: schema, problem, float64 values, and the exact gradient recomputed.

    Raises
        UsageError, if it does not fit the schema gradproof/oracle/1, or contradicts itself.
    """
    validate(document, "oracle-1")
    _check_numbers(document)
    _check_answers(document)


# One estimator


def _entry(estimator: Estimator, problem: Problem, gradient: Sequence[Value]) -> Entry:
    if not problem.is_bound:
        _demand_target(estimator)
    joint = estimator.family is not None
    chosen = estimator.with_samples(problem.samples) if joint else estimator
    copies = 1 if joint else problem.samples
    if problem.is_bound:
        _demand_bound(chosen, problem)
    if any(not isinstance(draw.law, FiniteLaw) for draw in chosen.draws):
        message = "it draws continuous noise, of which the problem states no map to b."
        raise UsageError(message)
    coordinates = []
    for parameter, tangent, truth in zip(problem.parameters, problem.tangents, gradient, strict=True):
        mean, variance = _moments(chosen, problem, tangent, copies)
        coordinates.append(Coordinate(parameter, mean, mean - truth, variance))  # type: ignore[operator]
    entry = Entry(estimator.name, estimator.source, problem.samples, joint, tuple(coordinates))
    if estimator.verdict == "proved" and not entry.unbiased:
        message = f"{estimator.name} is proved unbiased, but its exact mean is not the gradient: a bug of gradproof; report it."
        raise Disagreement(message)
    return entry


def _moments(estimator: Estimator, problem: Problem, tangent: Sequence[Fraction], copies: int) -> tuple[Value, Value]:
    """Return the mean, and the variance of the average of so many copies."""
    case, outcomes = _Case(problem, tangent), len(problem.probabilities)
    try:
        if problem.is_bound:
            return exact.enclosed_mean_and_variance_at(estimator, RationalCase(case), outcomes=outcomes)
        mean, variance = exact.mean_and_variance_at(estimator, RationalCase(case), outcomes=outcomes)
    except UsageError as error:
        if not case.missing:
            raise
        between = _AT_POINT.fullmatch(case.missing[0])
        number_of_b = case.missing[0].startswith("value_")
        needed = "f between the outcomes, as a formula" if between else "b as one number" if number_of_b else case.missing[0]
        message = f"it needs {needed}, which the problem does not state."
        raise UsageError(message) from error
    return mean, variance / copies


class _Case(Mapping[str, Fraction]):
    """The values of the unknowns in a problem, and which were asked for in vain."""

    def __init__(self, problem: Problem, tangent: Sequence[Fraction]) -> None:
        law, f = ("q", "log_joint") if problem.is_bound else ("p", "f")
        tables = {law: problem.probabilities, f"d{law}": tangent, f: problem.f, **problem.functions}
        values = {f"{name}({k})": value for name, table in tables.items() for k, value in enumerate(table, 1)}
        outcomes = {f"value_{law}({k})": Fraction(k - 1) for k in range(1, len(problem.probabilities) + 1)}
        self.values_by_name = {**values, **({} if problem.values else outcomes), **problem.constants}
        if problem.is_bound:
            self.values_by_name["C(x, psi)"] = Fraction(0)
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


def _demand_bound(estimator: Estimator, problem: Problem) -> None:
    """Refuse unless the target is, as it is written, the gradient of the K-sample bound: of K = 1 that of the ELBO."""
    single = problem.samples == 1
    known = catalogue["elbo-score-function"] if single else catalogue["vimco"].with_samples(problem.samples)
    if text.render(estimator.target) != text.render(known.target):
        message = f"its target is another than the gradient of the bound of {problem.samples} sample{'' if single else 's'}."
        raise UsageError(message)


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
    """Check that each float64 is the one nearest to the exact value, or the middle, beside it, and this in lowest terms."""
    if isinstance(value, dict) and "float64" in value:
        stated = str(value.get("exact", value.get("middle")))[:80]
        try:
            is_right = number(value_of(value)) == value
        except TooLarge as error:
            message = f"{stated}: {error}"
            raise UsageError(message) from error
        if not is_right:
            written = f"{value['float64']} or {value['decimal']}"
            message = f"{written} is not the float64 of {stated}, or that is not in lowest terms."
            raise UsageError(message)
        return
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _check_numbers(part)


def _check_answers(document: Mapping[str, Any]) -> None:
    """Check that the answers belong to the problem: what a plain sum gives is recomputed."""
    problem = problem_of(document["problem"])
    objective, gradient = _answer(problem)
    fresh = Oracle(problem, objective, gradient, (), {}).to_json()
    for key in ("outcomes", "parameters", "objective", "gradient"):
        if document[key] != fresh[key]:
            message = f"{key} is not that of the problem in the same file."
            raise UsageError(message)
    for entry in document["estimators"]:
        named = [one["parameter"] for one in entry["coordinates"]] == list(problem.parameters)
        values = [tuple(_interval(one[key]) for key in ("mean", "bias", "variance")) for one in entry["coordinates"]]
        right = named and all(_agree(some, truth) for some, truth in zip(values, gradient, strict=True))
        unbiased = all(bias.contains(0) for _, bias, _ in values)
        if not right or entry["unbiased"] != unbiased or entry["samples"] != problem.samples:
            message = f"the moments of {entry['name']} contradict the gradient."
            raise UsageError(message)


def _agree(values: tuple[Enclosure, ...], truth: Value) -> bool:
    """Whether the bias is the mean minus the true gradient, and the variance may be a variance."""
    mean, bias, variance = values
    return mean - _enclosed(truth) == bias and not variance.below(0)


def _interval(stated: Mapping[str, str]) -> Enclosure:
    return _enclosed(value_of(stated))


def _enclosed(value: Value) -> Enclosure:
    return value if isinstance(value, Enclosure) else Enclosure(value)
