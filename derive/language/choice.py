"""Explicit finite laws: numbers, each with a probability that is a term. TRUSTED."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from derive.language.errors import UsageError
from derive.language.term import Entry, Expect, Mul, NamedLaw, Number, Over, RandomVariable, Term, parts

MOST_TOGETHER = 1024


@dataclass(frozen=True)
class ChoiceLaw(NamedLaw):
    """The number `values[k]` has the probability `parameters[k]`; any other number has the probability zero.

    Several numbers that are drawn together are a row of `joint`, and `values` number the rows from 0.

    A sum over the support is one over all of the values, though the probability of some may be zero.

    Written
        choice("b", (1, s), (0, 1 - s))              b is 1 with probability s, else 0
    Readings
        derivations   means are written out, outcome by outcome; that the probabilities sum to one is decided
        exact values  the sum over the outcomes, each of them a number
        instances     the sum over the outcomes
        torch         a draw by the distribution function; probabilities and scores (family vector)

    Raises
        UsageError, if the values are not all different numbers, each with a probability.
    """

    values: tuple[Fraction, ...] = ()
    joint: tuple[tuple[Fraction, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) != len(self.values) or len(self.values) != len(self.parameters):
            message = "an explicit finite law needs values that are all different, each with a probability."
            raise UsageError(message)

    @property
    def counts(self) -> bool:
        return True

    @property
    def positives(self) -> tuple[Term, ...]:
        """Nothing: a probability may be zero."""
        return ()

    def with_terms(self, terms: tuple[Term, ...]) -> ChoiceLaw:
        return ChoiceLaw(self.name, terms, values=self.values, joint=self.joint)

    def probability(self, value: Fraction) -> Term:
        """The probability of a number.

        >>> half = Number(Fraction(1, 2))
        >>> fair = ChoiceLaw("Choice", (half, half), values=(Fraction(1), Fraction(-1)))
        >>> fair.probability(Fraction(1)).value, fair.probability(Fraction(0)).value
        (Fraction(1, 2), Fraction(0, 1))
        """
        known = dict(zip(self.values, self.parameters, strict=True))
        return known.get(value, Number(Fraction(0)))


def outcomes_together(term: Term) -> int:
    """Return how many summands a term has when its explicit finite laws are written out: the product of their outcomes.

    >>> outcomes_together(Number(Fraction(2)))
    1
    """
    inside = [outcomes_together(part) for part in parts(term)] or [1]
    match term:
        case Expect(_, RandomVariable(_, ChoiceLaw() as law)) | Over(_, RandomVariable(_, ChoiceLaw() as law)):
            return len(law.values) * inside[-1]
        case Mul():
            return prod(inside)
    return max(inside)


def coordinate_of(term: Entry) -> int | None:
    """Return the place of a number among those that are drawn together, None of any other table."""
    law = term.at.law if isinstance(term.at, RandomVariable) else None
    entries = tuple(one.value if isinstance(one, Number) else None for one in term.entries)
    columns = list(zip(*law.joint, strict=True)) if isinstance(law, ChoiceLaw) else []
    return next((i for i, column in enumerate(columns) if column == entries), None)
