"""The figures of a report as numbers: what is drawn is also a table, for those who cannot see it or have no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import derive
from derive.catalogue import catalogue
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.laws.bernoulli import RelaxedBernoulli
from derive.printing import text

if TYPE_CHECKING:
    from derive.verdicts.variance_report import VarianceReport
    from numeric.report.collect import EstimatorRecord

PERCENTS = (1, 2, 5, *range(10, 100, 10), 95, 98, 99)
TEMPERATURES = [Fraction(m, 2 * n) for n in (64, 32, 16, 8, 4, 2, 1) for m in (2, 3)]
PROBABILITY, OFFSET = Fraction(1, 3), Fraction(499, 1000)
TOY = (OFFSET**2, -2 * OFFSET, Fraction(1))
OPEN = {
    "c": Fraction(1, 4),
    "C(1)": Fraction(1, 5),
    "C(2)": Fraction(3, 10),
    "b_0": Fraction(1, 2),
    "f_0": (Fraction(1, 2) - OFFSET) ** 2,
    "df_0": 1 - 2 * OFFSET,
}
"""What the standard problem leaves open: a baseline and a control variate near f, and the expansion of f at 1/2."""


@dataclass(frozen=True)
class Series:
    """One curve, or one kind of mark: a value for each position, which is a number or the name of a row."""

    label: str
    values: Mapping[float | str, float]
    style: Literal["line", "dashed", "dot", "cross", "bar"] = "line"


@dataclass(frozen=True)
class Figure:
    """A figure; where the positions are names they stand in rows, and the values are on the horizontal axis.

    Args
        name               the stem of its file
        position, value    what the two axes show
        log_position       whether the axis of the positions is logarithmic; that of the values always is
    """

    name: str
    title: str
    caption: str
    position: str
    value: str
    series: tuple[Series, ...]
    log_position: bool = False

    @property
    def positions(self) -> list[float | str]:
        """Every position once, in the order of the series.

        >>> Figure("f", "", "", "x", "y", (Series("a", {1.0: 2.0}), Series("b", {1.0: 3.0, 2.0: 4.0}))).positions
        [1.0, 2.0]
        """
        return list(dict.fromkeys(position for series in self.series for position in series.values))

    @property
    def rows(self) -> list[list[str]]:
        """The figure as a table: a position, and the value of each series there, "" where it has none."""
        return [[_shown(at), *(_shown(series.values.get(at, "")) for series in self.series)] for at in self.positions]


def figures(records: Sequence[EstimatorRecord]) -> list[Figure]:
    """Return the figures that compare estimators: those of which there is something to show."""
    return [figure for figure in (crosscheck_errors(records), variance_curves(records)) if figure.series]


def crosscheck_errors(records: Sequence[EstimatorRecord]) -> Figure:
    """Return the largest error without noise of each estimator and family, beside what is tolerated."""
    found = {f"{record.estimator.name}, {one.family}": one for record in records for one in record.crosschecks if one.report}
    kinds: tuple[tuple[str, Literal["dot", "cross"]], ...] = (("agrees", "dot"), ("disagrees", "cross"))
    series = [
        Series(kind, {name: float(one.largest_error or 0) for name, one in found.items() if one.result == kind}, style)
        for kind, style in kinds
    ]
    tolerated: dict[float | str, float] = {name: one.tolerance for name, one in found.items()}
    shown = [one for one in [Series("tolerance", tolerated, "bar"), *series] if one.values]
    return Figure(
        "crosscheck-errors",
        "Generated code against the exact gradient",
        "The largest absolute error of the mean over every outcome and quadrature node, without noise. "
        "A proved estimator must lie below the tolerance, a biased one beyond it. An error of 0 is drawn at the left edge.",
        "estimator and family",
        "largest error without noise",
        tuple(shown),
    )


def variance_curves(records: Sequence[EstimatorRecord]) -> Figure:
    """Return the exact variance of the estimators of d E[f(b)] over the probability of a Bernoulli variable."""
    return _variances([(record.estimator, record.variance) for record in records])


def variance_beside(estimator: Estimator) -> Figure | None:
    """Return the variance of an estimator of d E[f(b)] beside that of the score function, None where it is of another problem.

    >>> variance_beside(catalogue["pathwise"]) is None
    True
    >>> [series.label for series in variance_beside(catalogue["leave-one-out"]).series]
    ['leave-one-out (3 samples)', 'score-function']
    """
    plain = catalogue["score-function"]
    pairs = [(one, derive.variance(one)) for one in ((estimator,) if estimator == plain else (estimator, plain))]
    return _variances(pairs) if _is_of_the_problem(*pairs[0]) else None


def _variances(pairs: Sequence[tuple[Estimator, VarianceReport | None]]) -> Figure:
    curves = [_curve(*pair) for pair in pairs if _is_of_the_problem(*pair)]
    return Figure(
        "variance",
        "Variance over the probability",
        f"The exact variance for b ~ Bernoulli(p) and f(b) = (b - {OFFSET})^2, with respect to the logit. In brackets: what "
        "else the formula leaves open. A variance of exactly 0 is not drawn.",
        "probability p of b = 1",
        "variance",
        tuple(curves),
    )


def _is_of_the_problem(estimator: Estimator, report: VarianceReport | None) -> bool:
    known = report is not None and report.variance is not None and "p(2)" in report.point
    return known and text.render(estimator.target) == text.render(catalogue["score-function"].target)


def _curve(estimator: Estimator, report: VarianceReport | None) -> Series:
    known = {} if report is None else report.point
    fixed = {name: value for name, value in OPEN.items() if name in known and _is_open(name, estimator)}
    values: dict[float | str, float] = {}
    for percent in PERCENTS:
        found = derive.variance(estimator, at={"p(2)": Fraction(percent, 100), **fixed})
        if found.variance is not None:
            values[percent / 100] = float(found.variance)
    chosen = [f"{name} = {float(value):g}" for name, value in (known | fixed).items() if _is_open(name, estimator)]
    samples = [f"{len(estimator.draws)} samples"] if estimator.family else []
    brackets = ", ".join(samples + chosen)
    return Series(f"{estimator.name} ({brackets})" if brackets else estimator.name, values)


def _is_open(name: str, estimator: Estimator) -> bool:
    """Whether the problem leaves a value open: a constant of the formula, or a control variate and its relaxation."""
    constants = {leaf.name for leaf in free(estimator.formula)} - {estimator.parameter.name}
    return name in constants or not name.startswith(("p(", "dp(", "f(", "f'(", "f_", "value_"))


def temperatures() -> Figure:
    """Return bias and variance of the Concrete estimator over its temperature, and their limits."""
    laws = {float(t): RelaxedBernoulli(PROBABILITY, TOY, t) for t in TEMPERATURES}
    first, second = abs(laws[1.0].leading_bias), laws[1.0].leading_variance
    series = (
        Series("|bias|", {t: abs(float(law.concrete_bias().middle)) for t, law in laws.items()}),
        Series("variance", {t: float(law.concrete().variance.middle) for t, law in laws.items()}),
        Series(f"limit of the bias, {float(first):.4g} t", {t: float(first) * t for t in laws}, "dashed"),
        Series(f"limit of the variance, {float(second):.4g} / t", {t: float(second) / t for t in laws}, "dashed"),
    )
    return Figure(
        "concrete-temperature",
        "Bias and variance over the temperature",
        f"As the temperature t falls, the bias goes to zero like t and the variance grows like 1/t. Bernoulli({PROBABILITY}), "
        f"f(b) = (b - {OFFSET})^2, with respect to the logit; every value is enclosed by ball arithmetic.",
        "temperature t",
        "|bias| and variance",
        series,
        log_position=True,
    )


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
