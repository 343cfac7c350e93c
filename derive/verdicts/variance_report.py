"""The exact variance of an estimator: as a formula on a few outcomes, and as a number at a point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property, partial
from textwrap import wrap
from typing import Any

from derive.exact import comparison as exact
from derive.exact.domain import point_of
from derive.exact.points import Open, Point
from derive.language.errors import NotEvaluable, UsageError
from derive.language.estimator import Estimator
from derive.language.shown import Symbolic
from derive.laws.occurrences import read_on
from derive.numbers.formula import Formula
from derive.numbers.unknowns import refuse_long
from derive.printing import text
from derive.verdicts.tuning import BestConstant, best_constants

_SHOWN, _DIGITS, _WIDTH = 800, 20, 120
FEWEST = 2


@dataclass(frozen=True, repr=False)
class VarianceReport(Symbolic):
    """The variance of an estimator.

    Args
        estimator  the estimator
        outcomes   the number of outcomes of every finite law
        formula    the variance, as text
        point      the values of the unknowns at the point
        mean       the mean at the point, None where it is not known
        variance   the variance at the point, or None
        note       why there is no value at a point, or of which relaxation it is
        written    the formula, for other notations
        radius     how far mean and variance may be off: 0 where they are rational, else they are enclosed by ball arithmetic
        given      the values that were given for the point
        reading    how the laws were read, which is for what the formula holds
    """

    estimator: Estimator
    outcomes: int
    formula: str
    point: dict[str, Fraction]
    mean: Fraction | None
    variance: Fraction | None
    note: str = ""
    radius: Fraction = Fraction(0)
    written: Formula | None = None
    given: Mapping[str, Fraction] = field(default_factory=dict)
    reading: str = ""

    @property
    def where(self) -> str:
        """On what the formula was read: on so many outcomes, or where no law has any as `reading` says."""
        return read_on((self.estimator.expectation, self.estimator.target), str(self.outcomes), self.reading)

    @cached_property
    def best(self) -> tuple[BestConstant, ...]:
        """The constants with which the variance is smallest, each on its own; `derive.verdicts.tuning` says which."""
        return best_constants(self.estimator, self.outcomes, self.given)

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
            "best": [best.to_json(self.estimator.where) for best in self.best],
        }

    def __repr__(self) -> str:
        return f"<VarianceReport {self.estimator.name!r}: {self.shown}>"

    def __str__(self) -> str:
        name = text.Text().name(self.estimator.name)
        head = [f"{name}: variance {self.where}", *_wrapped("formula", _shortened(self.formula))]
        if self.variance is None:
            why = wrap(f"at a point: {self.note}", _WIDTH, subsequent_indent=10 * " ")
            return "\n".join([*head, *why, *self._best_lines()])
        point = ", ".join(f"{name} = {value}" for name, value in self.point.items())
        rows = {"at": point, "mean": self._shown(self.mean), "variance": self._shown(self.variance), "of": self.note}
        said = [line for label, said in rows.items() if said for line in _wrapped(label, said)]
        return "\n".join([*head, *said, *self._best_lines()])

    def _best_lines(self) -> list[str]:
        return [line for best in self.best for line in _wrapped("best", self.in_words(best))]

    def in_words(self, best: BestConstant) -> str:
        """Return a best constant as a sentence: of which constant, for every law, on so many outcomes, and at the point."""
        law, here = (_shortened(said) for said in (text.render(best.term, self.estimator.where), best.formula.text()))
        value = "" if best.value is None or best.variance is None else (
            f"; at the point {self._shown(best.value, best.radius)}, with which the variance is "
            f"{self._shown(best.variance, best.radius)}"
        )
        of = self.where if self.where.startswith("on ") else "evaluated"
        return f"{best.title} = {law} for every law, {here} {of}{value}"

    @property
    def shown(self) -> str:
        """The variance at the point on one line, or why there is none."""
        return f"no value: {self.note}" if self.variance is None else self._shown(self.variance)

    def _shown(self, value: Fraction | None, radius: Fraction | None = None) -> str:
        """Return a fraction as it is, and an enclosure as a decimal with what it may be off by, its own rounding included."""
        radius = self.radius if radius is None else radius
        if value is None or not radius:
            return str(value)
        digits = next((n for n in range(_DIGITS, 0, -1) if radius <= Fraction(1, 2 * 10**n)), 0)
        rounded = Fraction(round(value * 10**digits), 10**digits)
        off = abs(rounded - value) + radius
        largest = f"1e-{digits}" if off <= Fraction(1, 10**digits) else f"{2 * float(off):.1g}"
        return f"{_decimal(rounded, digits)} +- {largest}"


def _shortened(said: str) -> str:
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]} ... (--json shows all)"


def _wrapped(label: str, said: str) -> list[str]:
    lines = wrap(said, _WIDTH - 10, break_on_hyphens=False)
    return [f"{label if number == 0 else '':10}{line}" for number, line in enumerate(lines)]


def _decimal(value: Fraction, digits: int) -> str:
    with localcontext() as context:
        context.prec = len(str(abs(value.numerator))) + digits + 1
        return f"{Decimal(value.numerator) / Decimal(value.denominator):.{digits}f}"


def variance(estimator: Estimator, outcomes: int = 2, at: Mapping[str, Fraction] | None = None) -> VarianceReport:
    """Return the exact variance of an estimator, as a formula and at a point.

    Args
        estimator  any estimator that the exact evaluator can read
        outcomes   the number of outcomes of every finite law
        at         values of unknowns by the names of the formula, such as {"f(1)": Fraction(1, 2)}. What is left open is filled
                   in: equal probabilities, the derivative with respect to the last logit, f(b) = (b - 499/1000)^2 at the
                   outcomes 0, 1, ..., other functions the identity, lambda = 1/2, other constants 1, a standard normal law.
                   A polynomial is given by its coefficients: f_0, f_1, ... of 1, s, s^2, ...

    Raises
        UsageError, if there are fewer than 2 outcomes, or a value is given for a name that does not occur.
        NotEvaluable, TooLarge, as `derive.exact.comparison.check`.

    >>> from derive.catalogue import catalogue
    >>> report = variance(catalogue["score-function"], at={"f(1)": Fraction(0), "f(2)": Fraction(1)})
    >>> report.mean, report.variance
    (Fraction(1, 4), Fraction(1, 16))
    """
    known, given = as_formula(estimator, outcomes), at or {}
    read = partial(
        VarianceReport, estimator, outcomes, known.formula, written=known.written, given=given, reading=known.reading
    )
    if estimator.integrated is not None:
        found = estimator.integrated(given)
        _refuse_long(found.mean.middle, found.variance.middle)
        radius = max(found.mean.radius, found.variance.radius)
        return read(dict(found.point), found.mean.middle, found.variance.middle, found.note, radius)
    try:
        point = point_of(estimator, outcomes, given)
        mean, value = exact.enclosed_mean_and_variance_at(estimator, point, outcomes=outcomes)
    except (Open, NotEvaluable) as error:
        return read({}, None, None, str(error))
    _refuse_long(mean.middle, value.middle)
    used = {name: point.used[name] for name in sorted(point.used) if not point.is_derived(name)}
    point.refuse_unused(estimator.name, used)
    note = _relaxation_of(point) if point.is_integrated else ""
    return read(used, mean.middle, value.middle, note, max(mean.radius, value.radius))


def as_formula(estimator: Estimator, outcomes: int = 2) -> exact.Variance:
    """Return the variance as a formula, without a value at a point; arguments and errors as `variance`.

    >>> from derive.catalogue import catalogue
    >>> as_formula(catalogue["score-function"]).formula == variance(catalogue["score-function"]).formula
    True
    """
    if outcomes < FEWEST:
        message = f"a law needs at least 2 outcomes; got {outcomes}."
        raise UsageError(message)
    return exact.variance(estimator, outcomes)


def _refuse_long(*values: Fraction) -> None:
    for value in values:
        refuse_long(value)


def _relaxation_of(point: Point) -> str:
    """Say what the relaxation and its functions are."""
    functions = ", ".join(f"{name}(s) = {name}_0 + {name}_1 s + ..." for name in sorted(point.polynomials))
    return f"the logistic relaxation of a Bernoulli variable, s = sigmoid(z/lambda), with {functions}"
