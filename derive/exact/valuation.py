"""The values of all unknowns at a point, and whether the point is a case that can occur."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations
from typing import Any

from derive.exact.relations import Relation
from derive.language.errors import NotEvaluable
from derive.laws.models import SymbolicModel, exp_of, inverse_of, log_of, sign_of
from derive.numbers.ring import Ball, Scalar, ball, fraction, is_exact, log_two_pi, normal_density, raised, rational
from derive.numbers.unknowns import APPLIED, LOG_TWO_PI, TRANSCENDENTAL, Argument, Generator, Outcome, Value


class Valuation:
    """The values of unknowns, each computed when it is first asked for: a rational, or a ball where it is none.

    Args
        model    the model in which the unknowns stand
        chosen   says the value of an unknown that nothing else determines
        solved   the relations by which others are determined, by the indices of their pivots

    >>> from derive.numbers.ring import PolynomialRing
    >>> model = SymbolicModel(PolynomialRing(4), 2, "theta")
    >>> scalar = model.symbol("x") ** 2 + model.inverse(model.symbol("x"))
    >>> Valuation(model, lambda key: Fraction(2)).of(scalar)
    9/2
    """

    model: SymbolicModel

    def __init__(
        self,
        model: SymbolicModel,
        chosen: Callable[[Generator], Fraction | Ball],
        solved: Mapping[int, Relation] | None = None,
    ) -> None:
        self.model, self._chosen, self._solved = model, chosen, solved or {}
        self._inverses = dict(model.inverses)
        self._known: dict[int, Scalar] = {}
        self._arguments: dict[Value, Scalar] = {}

    def of(self, scalar: Scalar) -> Scalar:
        """Return the value of a polynomial in the unknowns.

        Raises
            NotEvaluable, if a denominator is zero or the argument of a logarithm is not positive.
        """
        return self.model.ring.evaluate(scalar, self.at)

    def at(self, index: int) -> Scalar:
        """Return the value of an unknown; errors as `of`."""
        if index not in self._known:
            self._known[index] = self._value(index, self.model.ring.keys[index])
        return self._known[index]

    def argument(self, value: Value) -> Scalar:
        """Return the value of what stands in the argument of an unknown; errors as `of`."""
        if value not in self._arguments:
            total: Any = rational(0)
            for coefficient, monomial in value.terms:
                term: Any = rational(coefficient)
                for key, power in monomial:
                    term = term * raised(self.at(self.model.ring.indices[key]), power)
                total = total + term
            self._arguments[value] = total
        return self._arguments[value]

    def rational_at(self, index: int) -> Fraction | None:
        """Return the value of an unknown, None where it is not rational."""
        value = self.at(index)
        return fraction(value) if is_exact(value) else None

    def _value(self, index: int, key: Generator) -> Scalar:
        if index in self._inverses:
            return inverse_of(self.of(self._inverses[index]))
        if key.kind in TRANSCENDENTAL:
            return (log_of if key.kind == "log" else exp_of)(self.of(self.model.arguments[index]))
        if key.kind == "sign":
            return self._sign(index)
        if key == LOG_TWO_PI:
            return log_two_pi()
        if key.kind == "normal":
            return self._density(*key.args)
        if index in self._solved:
            row = self._solved[index]
            return self.of(row.numerator) * inverse_of(self.of(row.denominator))
        found = self._chosen(key)
        return rational(found) if isinstance(found, Fraction) else found

    def _sign(self, index: int) -> Scalar:
        """Return a sign where its argument is not zero: there it has a derivative."""
        found = sign_of(self.of(self.model.arguments[index]))
        if found == 0:
            message = "a sign has no derivative in this case, where its argument is zero."
            raise NotEvaluable(message)
        return found

    def _density(self, loc: Value, scale: Value, at: Value) -> Ball:
        mean, sd, x = (self.argument(part) for part in (loc, scale, at))
        if not sd > 0:
            message = "a normal law needs a scale that is certainly positive in this case."
            raise NotEvaluable(message)
        return normal_density(ball(0) + (x - mean) / sd) / sd


def is_possible(point: Valuation) -> bool:
    """Whether there are laws and functions with these values.

    All logarithms and inverses are defined, probabilities and scales are positive, and a function has one value at one point,
    as has a law: where two arguments are not certainly different, the values must be equal.
    """
    ring = point.model.ring
    try:
        for index, key in enumerate(ring.keys):
            if key.kind in ("inverse", "normal", *APPLIED):
                point.at(index)
            if key.kind == "probability" and not point.at(index) > 0:
                return False
        return all(point.of(scalar) > 0 for scalar in point.model.positive.values()) and _is_single_valued(point)
    except NotEvaluable:
        return False


def _is_single_valued(point: Valuation) -> bool:
    families: dict[object, list[tuple[int, Generator]]] = defaultdict(list)
    for index, key in enumerate(point.model.ring.keys):
        if key.kind in ("function", "probability", "score") and key.args:
            families[key.kind, key.name, key.orders, len(key.args)].append((index, key))
    for family in families.values():
        for (i, one), (j, other) in combinations(family, 2):
            if _may_differ(point.at(i), point.at(j)) and not _are_apart(point, one.args, other.args):
                return False
    return True


def _may_differ(one: Scalar, other: Scalar) -> bool:
    return not (is_exact(one) and is_exact(other) and one == other)


def _are_apart(point: Valuation, left: tuple[Argument, ...], right: tuple[Argument, ...]) -> bool:
    return any(_is_apart(point, one, other) for one, other in zip(left, right, strict=True))


def _is_apart(point: Valuation, one: Argument, other: Argument) -> bool:
    if isinstance(one, Value) and isinstance(other, Value):
        return _certainly_differ(point.argument(one), point.argument(other))
    if isinstance(one, Value) and isinstance(other, Outcome):
        one, other = other, one
    if isinstance(one, Outcome) and isinstance(other, Value):
        return all(_certainly_differ(number, point.argument(other)) for number in _numbers(point, one))
    return one != other


def _numbers(point: Valuation, outcome: Outcome) -> list[Scalar]:
    """Return the numbers that an outcome of any law stands for."""
    keys = enumerate(point.model.ring.keys)
    return [point.at(index) for index, key in keys if key.kind == "outcome" and key.args == (outcome,)]


def _certainly_differ(one: Scalar, other: Scalar) -> bool:
    difference = one - other
    return bool(difference != 0) if is_exact(difference) else not difference.contains(0)
