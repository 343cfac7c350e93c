"""A problem for the oracle: a law by its probabilities, an integrand, and how many samples an estimator draws.

Everything is exact: probabilities are rationals, and so are their derivatives with respect to logits, p_k (1[k = i] - p_i).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from derive.errors import UsageError
from derive.formula import MOST_BITS, Polynomial, parse_formula
from derive.strict_json import read_json, shortened, validate

SCHEMA = "gradproof/problem/1"
MOST_BYTES = 2**16


@dataclass(frozen=True)
class Problem:
    """A problem as it was checked; `read_problem` and `problem_of` make one.

    Args
        probabilities  of the outcomes b = 0, 1, 2, ...
        parameters     the names of the parameters
        tangents       for each parameter the derivatives of the probabilities
        f              the values of the integrand at the outcomes
        polynomial     the integrand as a polynomial, None where it was given as a table
        samples        how many samples an estimator draws
        constants      what estimators have beside f, by name
        functions      tables of functions of b beside f, by name
        document       the JSON document that said so
    """

    probabilities: tuple[Fraction, ...]
    parameters: tuple[str, ...]
    tangents: tuple[tuple[Fraction, ...], ...]
    f: tuple[Fraction, ...]
    polynomial: Polynomial | None
    samples: int
    constants: Mapping[str, Fraction]
    functions: Mapping[str, tuple[Fraction, ...]]
    document: Mapping[str, Any]


def read_problem(path: Path) -> Problem:
    """Return the problem in a JSON file.

    Raises
        UsageError, if the file cannot be read or is no problem; errors as `problem_of`.
    """
    document = read_json(path, MOST_BYTES)
    try:
        return problem_of(document)
    except UsageError as error:
        message = f"{str(path)!r}: {error}"
        raise UsageError(message) from error


def problem_of(document: Any) -> Problem:
    """Return the problem that a JSON value states.

    Args
        document  a value that fits the schema gradproof/problem/1, `derive/schemas/problem-1.json`

    Raises
        UsageError, if it does not fit the schema, probabilities are not positive or do not sum to 1, a table has not one entry
        for each outcome, or a formula cannot be read.

    >>> law = {"family": "bernoulli", "probability": "1/3"}
    >>> problem = problem_of({"schema": SCHEMA, "law": law, "f": {"formula": "(b - 1/2)**2 + b"}, "samples": 1})
    >>> problem.tangents, problem.f
    (((Fraction(-2, 9), Fraction(2, 9)),), (Fraction(1, 4), Fraction(5, 4)))
    """
    validate(document, "problem-1")
    probabilities = _probabilities(document["law"])
    logits = (1,) if document["law"]["family"] == "bernoulli" else range(len(probabilities))
    functions = document.get("functions", {})
    f, polynomial = _table(document["f"], "f", len(probabilities))
    return Problem(
        probabilities=probabilities,
        parameters=("logit",) if document["law"]["family"] == "bernoulli" else tuple(f"logit_{i}" for i in logits),
        tangents=tuple(tuple(p * (int(k == i) - probabilities[i]) for k, p in enumerate(probabilities)) for i in logits),
        f=f,
        polynomial=polynomial,
        samples=document["samples"],
        constants={name: _rational(text, name) for name, text in document.get("constants", {}).items()},
        functions={name: _table(given, name, len(probabilities))[0] for name, given in functions.items()},
        document=document,
    )


def _probabilities(law: Mapping[str, Any]) -> tuple[Fraction, ...]:
    bernoulli = law["family"] == "bernoulli"
    given = [law["probability"]] if bernoulli else law["probabilities"]
    values = tuple(_rational(text, "law") for text in given)
    values = (1 - values[0], *values) if bernoulli else values
    if sum(values) != 1 or any(not 0 < value < 1 for value in values):
        shown = shortened(", ".join(map(str, values)), 80)
        message = f"probabilities lie strictly between 0 and 1 and sum to 1; got {shown}, sum {shortened(str(sum(values)))}."
        raise UsageError(message)
    return values


def _rational(text: str, where: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    if denominator and not int(denominator):
        message = f"{where} has the denominator 0: {shortened(text)}."
        raise UsageError(message)
    return Fraction(int(numerator), int(denominator or 1))


def _table(given: Mapping[str, Any], name: str, outcomes: int) -> tuple[tuple[Fraction, ...], Polynomial | None]:
    if "table" in given:
        values = tuple(_rational(text, f"{name}.table") for text in given["table"])
        if len(values) != outcomes:
            message = f"{name}.table has {len(values)} entries; the law has {outcomes} outcomes, and each needs one."
            raise UsageError(message)
        return values, None
    polynomial = parse_formula(given["formula"])
    values = tuple(polynomial(Fraction(b)) for b in range(outcomes))
    if any(max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS for value in values):
        message = f"{name}.formula has a value of more than {MOST_BITS} bits, the most that is feasible."
        raise UsageError(message)
    return values, polynomial
