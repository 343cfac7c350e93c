"""The exact variance of an estimator: as a formula on a few outcomes, and as a number at a point."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

from derive import exact
from derive.bernoulli import Moments, RelaxedBernoulli
from derive.errors import NotEvaluable, UsageError
from derive.estimator import Estimator
from derive.models import RationalCase
from derive.term import Apply, Expect, FiniteLaw, Over, Symbol, Term, Threshold, parts

_AT_OUTCOME = re.compile(r"(d?)(\w+)\((\d+)\)")
_NORMAL = {"mu(theta)": Fraction(0), "mu'(theta)": Fraction(1), "sigma(theta)": Fraction(1), "sigma'(theta)": Fraction(0)}
_OFFSET = Fraction(499, 1000)
_SHOWN = 800
FEWEST = 2
Integrated: TypeAlias = Callable[[RelaxedBernoulli, Mapping[str, Fraction]], Moments]


@dataclass(frozen=True)
class VarianceReport:
    """The variance of an estimator.

    Args
        estimator  the estimator
        outcomes   the number of outcomes of every finite law
        formula    the variance, as text
        point      the values of the unknowns at the point
        mean       the mean at the point, None where the point leaves a moment of the relaxation open
        variance   the variance at the point, or None
        note       why there is no value at a point, or of which relaxation it is
        radius     how far mean and variance may be off: 0, but where a relaxation is integrated by ball arithmetic
    """

    estimator: Estimator
    outcomes: int
    formula: str
    point: dict[str, Fraction]
    mean: Fraction | None
    variance: Fraction | None
    note: str = ""
    radius: Fraction = Fraction(0)

    def to_json(self) -> dict[str, Any]:
        """Return the report in the form of the contract; rationals are strings."""
        return {
            "schema": "gradproof/variance/1",
            "estimator": self.estimator.name,
            "outcomes": self.outcomes,
            "formula": self.formula,
            "point": {name: str(value) for name, value in self.point.items()},
            "mean": None if self.mean is None else str(self.mean),
            "variance": None if self.variance is None else str(self.variance),
            "note": self.note,
            "radius": str(self.radius),
        }

    def __str__(self) -> str:
        shown = self.formula if len(self.formula) <= _SHOWN else f"{self.formula[:_SHOWN]} ... (--json shows all)"
        lines = [f"{self.estimator.name}: variance on {self.outcomes} outcomes", f"formula   {shown}"]
        if self.variance is None:
            return "\n".join([*lines, f"at a point: {self.note}"])
        point = ", ".join(f"{name} = {value}" for name, value in self.point.items())
        lines += [f"at        {point}", f"mean      {self._shown(self.mean)}", f"variance  {self._shown(self.variance)}"]
        return "\n".join([*lines, *([f"of        {self.note}"] if self.note else [])])

    def _shown(self, value: Fraction | None) -> str:
        """Return a fraction as it is, and the middle of an enclosure as a decimal."""
        if value is None or not self.radius:
            return str(value)
        return f"{Decimal(value.numerator) / Decimal(value.denominator):.20f}"


def variance(estimator: Estimator, outcomes: int = 2, at: Mapping[str, Fraction] | None = None) -> VarianceReport:
    """Return the exact variance of an estimator, as a formula and at a point.

    Args
        estimator  any estimator that the exact evaluator can read
        outcomes   the number of outcomes of every finite law
        at         values of unknowns by the names of the formula, such as {"f(1)": Fraction(1, 2)}. What is left open is filled
                   in: equal probabilities, the derivative with respect to the last logit, f(b) = (b - 499/1000)^2 at the
                   outcomes 0, 1, ..., other functions the identity, constants 1, a standard normal law

    Raises
        UsageError, if there are fewer than 2 outcomes, or a value is given for a name that does not occur.
        NotEvaluable, TooLarge, as `derive.exact.check`.

    >>> from derive.catalogue import catalogue
    >>> report = variance(catalogue["score-function"], at={"f(1)": Fraction(0), "f(2)": Fraction(1)})
    >>> report.mean, report.variance
    (Fraction(1, 4), Fraction(1, 16))
    """
    if outcomes < FEWEST:
        message = f"a law needs at least 2 outcomes; got {outcomes}."
        raise UsageError(message)
    formula = exact.variance(estimator, outcomes).formula
    point = _Point(estimator, outcomes, at or {})
    try:
        mean, value = exact.mean_and_variance_at(estimator, RationalCase(point), outcomes=outcomes)
    except (UsageError, NotEvaluable) as error:
        if estimator.integrated is not None and outcomes == FEWEST:
            return _integrated(estimator, estimator.integrated, formula, at or {})
        note = f"give a value for every unknown of the formula; {error}"
        return VarianceReport(estimator, outcomes, formula, {}, None, None, note)
    used = {name: point.used[name] for name in sorted(point.used) if name != estimator.parameter.name}
    unknown = sorted(set(at or {}) - set(used))
    if unknown:
        message = f"the variance of {estimator.name!r} has no {', '.join(unknown)}; it has {', '.join(used)}."
        raise UsageError(message)
    return VarianceReport(estimator, outcomes, formula, used, mean, value)


def _integrated(estimator: Estimator, moments: Integrated, formula: str, at: Mapping[str, Fraction]) -> VarianceReport:
    """Return the report at a point of the logistic relaxation of a Bernoulli variable, whose noise is integrated."""
    half = Fraction(1, 2)
    point = {"p(1)": 1 - at["p(2)"] if "p(2)" in at else half, "lambda": half, "eta": Fraction(1)} | dict(at)
    point["p(2)"] = at.get("p(2)", 1 - point["p(1)"])
    unknown = sorted(set(point) - {"p(1)", "p(2)", "lambda", "eta"})
    if unknown or point["p(1)"] + point["p(2)"] != 1:
        message = f"a point of {estimator.name!r} has p(1) and p(2), with sum 1, lambda and eta; got {', '.join(sorted(at))}."
        raise UsageError(message)
    toy = (_OFFSET**2, -2 * _OFFSET, Fraction(1))
    found = moments(RelaxedBernoulli(point["p(2)"], toy, point["lambda"]), point)
    radius = max(found.mean.radius, found.variance.radius)
    note = f"the logistic relaxation of a Bernoulli variable, f(b) = (b - {_OFFSET})^2, certified to the digits that are shown"
    values = dict(sorted(point.items()))
    return VarianceReport(estimator, FEWEST, formula, values, found.mean.middle, found.variance.middle, note, radius)


class _Point(Mapping[str, Fraction]):
    """The values at a point: those that are given, and defaults for the others; remembers what was asked for."""

    def __init__(self, estimator: Estimator, outcomes: int, given: Mapping[str, Fraction]) -> None:
        terms = [estimator.expectation, estimator.target]
        self.laws = {law.name for term in terms for law in _finite_laws(term)}
        self.symbols = {leaf.name for term in terms for leaf in _symbols(term)}
        self.outcomes, self.given, self.used = outcomes, given, dict[str, Fraction]()
        self.probabilities = {law: self._probabilities(law) for law in self.laws}

    def __getitem__(self, name: str) -> Fraction:
        value = self.given.get(name, self._default(name))
        if value is None:
            raise KeyError(name)
        self.used[name] = value
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.given or self._default(name) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.used)

    def __len__(self) -> int:
        return len(self.used)

    def _default(self, name: str) -> Fraction | None:
        matched = _AT_OUTCOME.fullmatch(name)
        if matched:
            return self._at_outcome(*matched.groups())
        if name in _NORMAL:
            return _NORMAL[name]
        if re.fullmatch(r"\w+_\d+", name) and name not in self.symbols:
            return {0: _OFFSET**2, 1: -2 * _OFFSET, 2: Fraction(1)}.get(int(name.rpartition("_")[2]), Fraction(0))
        return Fraction(1) if name in self.symbols else None

    def _probabilities(self, law: str) -> list[Fraction]:
        """Return the probabilities: those that are given, and equal shares of what is left."""
        given = [self.given.get(f"{law}({k})") for k in range(1, self.outcomes + 1)]
        left = 1 - sum((value for value in given if value is not None), start=Fraction(0))
        values = [left / given.count(None) if value is None else value for value in given]
        if sum(values) != 1 or any(not 0 < value < 1 for value in values):
            shown = ", ".join(f"{law}({k}) = {value}" for k, value in enumerate(values, 1))
            message = f"probabilities lie strictly between 0 and 1 and sum to 1; got {shown}."
            raise UsageError(message)
        return values

    def _at_outcome(self, tangent: str, name: str, index: str) -> Fraction | None:
        k = int(index)
        if name in self.laws:
            own, last = self.probabilities[name][k - 1], self.probabilities[name][-1]
            return own * (int(k == self.outcomes) - last) if tangent else own
        if name.startswith("score"):
            return None
        return (k - 1 - _OFFSET) ** 2 if tangent + name == "f" else Fraction(k - 1)


def _finite_laws(term: Term) -> Iterator[FiniteLaw]:
    if isinstance(term, (Expect, Over)) and isinstance(term.variable.law, FiniteLaw):
        yield term.variable.law
    if isinstance(term, Apply) and isinstance(term.function, Threshold) and term.function.law is not None:
        yield term.function.law
    for part in parts(term):
        yield from _finite_laws(part)


def _symbols(term: Term) -> Iterator[Symbol]:
    if isinstance(term, Symbol):
        yield term
    for part in parts(term):
        yield from _symbols(part)
