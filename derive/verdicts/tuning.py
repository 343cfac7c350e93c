"""The constant with which the variance is smallest: the best baseline, the best coefficient of a control variate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from derive.exact import comparison as exact
from derive.exact.domain import point_of
from derive.exact.extension import extension
from derive.exact.points import Open
from derive.kernel import algebra as scalar
from derive.language.errors import GradproofError, NotEvaluable, TooLarge
from derive.language.estimator import Estimator
from derive.language.notation import E
from derive.language.scope import free, substitute
from derive.language.term import FiniteLaw, NormalLaw, Number, RandomVariable, Score, Symbol, Term
from derive.numbers.enclosures import Enclosure
from derive.numbers.formula import Formula
from derive.printing import text
from derive.printing.layout import Where

BASELINE = "baseline"
"""What a constant is called that the estimator does not have: c in g - c * score(b)."""


@dataclass(frozen=True)
class BestConstant:
    """The value of a constant with which the variance is smallest.

    Args
        name       the constant, or `BASELINE` for one that is added: c in g - c * score(b)
        term       its value for every law, as a term
        formula    its value on so many outcomes, as a formula
        value      its value at the point, None where that is not known
        variance   the variance at the point with it, None where that is not known
        radius     how far the two may be off
    """

    name: str
    term: Term
    formula: Formula
    value: Fraction | None = None
    variance: Fraction | None = None
    radius: Fraction = Fraction(0)

    @property
    def title(self) -> str:
        """What it is called, and what is done with one that the estimator does not have."""
        return self.name if self.name != BASELINE else "baseline to subtract, times the score,"

    def to_json(self, where: Where) -> dict[str, str | None]:
        """Return it in the form of the contract; rationals are strings."""
        return {
            "name": self.name,
            "term": text.render(self.term, where),
            "formula": self.formula.text(),
            "value": None if self.value is None else str(self.value),
            "variance": None if self.variance is None else str(self.variance),
            "radius": str(self.radius),
        }


def best_constants(estimator: Estimator, outcomes: int, at: Mapping[str, Fraction]) -> tuple[BestConstant, ...]:
    """Return the best value of each constant in which an estimator is affine, of a baseline where it has none.

    For g = g0 + c g1 it is -Cov(g0, g1) / Var(g1); each is the best one while the others are what they are.

    Args
        estimator  any estimator
        outcomes   the number of outcomes of every finite law
        at         values of unknowns, as for `derive.variance`

    Source
        owen-2013, section 8.9, for control variates

    >>> from derive.catalogue import catalogue
    >>> from derive.printing import text
    >>> (best,) = best_constants(catalogue["score-function"], 2, {})
    >>> best.name, text.render(best.term)
    ('baseline', 'E_b[f(b) * (d_theta log p(b; theta))^2] / E_b[(d_theta log p(b; theta))^2]')
    """
    found = (_best(tunable, constant, outcomes, at) for tunable, constant in _tunable(estimator))
    return tuple(best for best in found if best is not None)


def _tunable(estimator: Estimator) -> list[tuple[Estimator, Symbol]]:
    """Return the constants of the formula that neither target nor draws have, each with the estimator in which it stands."""
    of_draws = (free(part) for draw in estimator.draws for part in draw.law.terms)
    fixed = free(estimator.target).union({estimator.parameter}, *of_draws)
    constants = [leaf for leaf in free(estimator.formula) if isinstance(leaf, Symbol) and leaf not in fixed]
    if constants:
        return [(estimator, constant) for constant in sorted(constants, key=lambda leaf: leaf.name)]
    scored = [draw for draw in estimator.draws if _moves(draw, estimator.parameter)]
    if len(scored) != 1:
        return []
    baseline = Symbol(BASELINE)
    lowered = estimator.formula - baseline * Score(scored[0].law, scored[0], estimator.parameter)
    return [(replace(estimator, formula=lowered, derivation=None, where=()), baseline)]


def _moves(draw: RandomVariable, parameter: Symbol) -> bool:
    return isinstance(draw.law, (FiniteLaw, NormalLaw)) and any(parameter in free(part) for part in draw.law.terms)


def _best(estimator: Estimator, constant: Symbol, outcomes: int, at: Mapping[str, Fraction]) -> BestConstant | None:
    try:
        term = _optimum(estimator, constant)
        return None if term is None else _at_point(estimator, constant, term, outcomes, at)
    except GradproofError:
        return None


def _optimum(estimator: Estimator, constant: Symbol) -> Term | None:
    """Return -Cov(g0, g1) / Var(g1), None where the formula is not affine in the constant."""
    without = substitute(estimator.formula, {constant: Number(Fraction(0))})
    slope = scalar.tidy(substitute(estimator.formula, {constant: Number(Fraction(1))}) - without)
    if not scalar.equal(estimator.formula, without + constant * slope):
        return None

    def mean(term: Term) -> Term:
        return E(scalar.tidy(term), *estimator.draws)

    if vanishes(mean(slope), estimator.parameter):
        return mean(-without * slope) / mean(slope**2)
    covariance = mean(without * slope) - mean(without) * mean(slope)
    return -covariance / (mean(slope**2) - mean(slope) ** 2)


def vanishes(term: Term, parameter: Symbol) -> bool:
    """Whether a term is known to be zero for every law, on any number of outcomes.

    >>> from derive.language.notation import finite, parameter, score
    >>> theta = parameter("theta")
    >>> vanishes(E(score(finite("b", theta)), finite("b", theta)), theta)
    True
    """
    decided = extension((term,))
    if decided.outcomes is None:
        return False
    try:
        return all(exact.identically_equal(term, scalar.ZERO, parameter, max(number, 1)) for number in decided.numbers)
    except TooLarge:
        return False


def _at_point(
    estimator: Estimator, constant: Symbol, term: Term, outcomes: int, at: Mapping[str, Fraction]
) -> BestConstant:
    best = BestConstant(constant.name, term, exact.value(term, estimator.parameter, outcomes))
    tuned = replace(estimator, formula=substitute(estimator.formula, {constant: term}), derivation=None, where=())
    alone = replace(tuned, formula=term, draws=())
    try:
        value, _ = _enclosed(alone, outcomes, at)
        _, variance = _enclosed(tuned, outcomes, at)
    except (Open, NotEvaluable):
        return best
    return replace(best, value=value.middle, variance=variance.middle, radius=max(value.radius, variance.radius))


def _enclosed(estimator: Estimator, outcomes: int, at: Mapping[str, Fraction]) -> tuple[Enclosure, Enclosure]:
    point = point_of(estimator, outcomes, at)
    return exact.enclosed_mean_and_variance_at(estimator, point, outcomes=outcomes)
