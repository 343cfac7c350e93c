"""A problem for the oracle: a law by its probabilities, an integrand, and how many samples an estimator draws.

Everything is exact: probabilities are rationals, and so are their derivatives with respect to logits, p_k (1[k = i] - p_i).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from derive.language.errors import UsageError
from derive.language.formula import MOST_BITS, Polynomial, parse_formula, value_of_formula
from derive.verdicts.strict_json import read_json, shortened, validate

SCHEMA = "gradproof/problem/1"
MOST_BYTES, MOST_OUTCOMES = 2**16, 256


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
        values         of a law of several variables their values at each outcome, else empty
        is_bound       whether f is log p(x, b), and the objective the K-sample bound on log p(x)
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
    values: tuple[tuple[int, ...], ...] = ()
    is_bound: bool = False


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
        document  a value that fits the schema gradproof/problem/1, `derive/verdicts/schemas/problem-1.json`

    Raises
        UsageError, if it does not fit the schema, probabilities are not positive or do not sum to 1, a table has not one entry
        for each outcome, or a formula cannot be read.

    >>> law = {"family": "bernoulli", "probability": "1/3"}
    >>> problem = problem_of({"schema": SCHEMA, "law": law, "f": {"formula": "(b - 1/2)**2 + b"}, "samples": 1})
    >>> problem.tangents, problem.f
    (((Fraction(-2, 9), Fraction(2, 9)),), (Fraction(1, 4), Fraction(5, 4)))
    """
    validate(document, "problem-1")
    parameters, tables = _law(document["law"])
    probabilities, *tangents = (tuple(tables[name]) for name in ("", *parameters))
    factors = document["law"].get("factors", [])
    values = tuple(product(*(range(len(_probabilities(factor))) for factor in factors))) if factors else ()
    places = values or len(probabilities)
    f, polynomial = _table(document["f"], "f", places)
    return Problem(
        probabilities=probabilities,
        parameters=parameters,
        tangents=tuple(tangents),
        f=f,
        polynomial=polynomial,
        samples=document["samples"],
        constants={name: _rational(text, name) for name, text in document.get("constants", {}).items()},
        functions={name: _table(given, name, places)[0] for name, given in document.get("functions", {}).items()},
        document=document,
        values=values,
        is_bound=document.get("objective") == "bound",
    )


def _law(law: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, list[Fraction]]]:
    """Return the names of the parameters, and the probabilities ("") and their derivative along each."""
    if law["family"] == "product":
        return _product([_law(factor) for factor in law["factors"]])
    p = _probabilities(law)
    logits = {"logit": 1} if law["family"] == "bernoulli" else {f"logit_{i}": i for i in range(len(p))}
    slopes = {name: [p_k * (int(k == i) - p[i]) for k, p_k in enumerate(p)] for name, i in logits.items()}
    return tuple(logits), {"": list(p), **slopes}


def _product(
    factors: list[tuple[tuple[str, ...], dict[str, list[Fraction]]]],
) -> tuple[tuple[str, ...], dict[str, list[Fraction]]]:
    """Return the law of independent variables; the logits of the n-th are called logit_n or logit_n_0, logit_n_1, ..."""
    outcomes = prod(len(tables[""]) for _, tables in factors)
    if outcomes > MOST_OUTCOMES:
        message = f"the product has {outcomes} outcomes, more than the {MOST_OUTCOMES} that are feasible: take fewer variables."
        raise UsageError(message)
    names: list[str] = []
    tables = {"": _outer([tables[""] for _, tables in factors])}
    for n, (own, _) in enumerate(factors, 1):
        for name in own:
            names.append(name.replace("logit", f"logit_{n}"))
            chosen = [some[name if m == n else ""] for m, (_, some) in enumerate(factors, 1)]
            tables[names[-1]] = _outer(chosen)
    return tuple(names), tables


def _outer(tables: list[list[Fraction]]) -> list[Fraction]:
    return [prod(chosen, start=Fraction(1)) for chosen in product(*tables)]


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


def _table(
    given: Mapping[str, Any], name: str, places: int | tuple[tuple[int, ...], ...]
) -> tuple[tuple[Fraction, ...], Polynomial | None]:
    """Return the values of a function at so many outcomes of one variable, or at the outcomes of several."""
    outcomes = places if isinstance(places, int) else len(places)
    if "table" in given:
        values = tuple(_rational(text, f"{name}.table") for text in given["table"])
        if len(values) != outcomes:
            message = f"{name}.table has {len(values)} entries; the law has {outcomes} outcomes, and each needs one."
            raise UsageError(message)
        return values, None
    polynomial = None
    if isinstance(places, int):
        polynomial = parse_formula(given["formula"])
        values = tuple(polynomial(Fraction(b)) for b in range(outcomes))
    else:
        named = ({f"b{n}": Fraction(b) for n, b in enumerate(outcome, 1)} for outcome in places)
        values = tuple(value_of_formula(given["formula"], variables) for variables in named)
    if any(max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS for value in values):
        message = f"{name}.formula has a value of more than {MOST_BITS} bits, the most that is feasible."
        raise UsageError(message)
    return values, polynomial
