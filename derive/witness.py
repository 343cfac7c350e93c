"""The search for a smallest rational case where two scalars of a symbolic model differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from derive.errors import NotEvaluable
from derive.models import RationalCase, SymbolicModel
from derive.relations import Relation, Relations
from derive.ring import Ball, Scalar, ball, bounds
from derive.unknowns import TRANSCENDENTAL, Generator, readable


@dataclass(frozen=True)
class Witness:
    """A case, and the two values there, which differ.

    Args
        case    the values of the unknowns, by their readable names
        left    the value of the left side
        right   the value of the right side
        radius  how far the values may be off: 0, but where exp or log occur they are enclosed by ball arithmetic, and the
                enclosures do not overlap
    """

    case: dict[str, str]
    left: Fraction
    right: Fraction
    radius: Fraction = Fraction(0)


def find(model: SymbolicModel, relations: Relations, left: Scalar, right: Scalar) -> Witness | None:
    """Return the simplest case that was found where two scalars differ, None where none was found."""
    difference, factor = relations.clear([left - right, model.one])
    if difference == 0:
        return None
    if model.transcendental(left - right):
        return _find_enclosed(model, relations, left, right)
    free = sorted(set(model.ring.used(difference)) | set(model.ring.used(factor)))
    for probabilities in _probabilities(model):
        for point in _points(model, difference, factor, free, probabilities):
            full = _complete(model, relations.rows, point)
            if full is None:
                continue
            values = model.ring.value(left, full), model.ring.value(right, full)
            if values[0] != values[1]:
                return Witness(_case(model, relations, full, left, right), *values)
    return None


def _probabilities(model: SymbolicModel) -> Iterator[dict[int, Fraction]]:
    """Yield values of all probabilities of outcomes: equal ones, then unequal ones."""
    outcomes = model.outcomes
    for shape in (lambda k: 1, lambda k: k, lambda k: 2**k, lambda k: k * k):
        weights = [shape(k) for k in range(1, outcomes + 1)]
        keys = enumerate(model.ring.keys)
        yield {i: Fraction(weights[key.args[0].number - 1], sum(weights)) for i, key in keys if key.kind == "probability"}


def _points(
    model: SymbolicModel, difference: Scalar, factor: Scalar, free: list[int], probabilities: dict[int, Fraction]
) -> Iterator[dict[int, Fraction]]:
    """Yield points where the difference is not zero: as few values as possible are not 0, and these are 1, 2, 3."""
    needed = {i: Fraction(1) for i in model.ring.used(factor) if i not in probabilities}
    fixed = probabilities | {i: Fraction(1) for i in free if i in needed}
    remaining = model.ring.restrict(difference, {i: value for i, value in fixed.items() if i in free})
    supports = {tuple(i for i, _ in exponents) for exponents, _ in model.ring.terms(remaining)}
    for support in sorted(supports, key=lambda some: (len(some), some))[:8]:
        for step in range(3):
            values = {i: _unit(model.ring.keys[i], probabilities, model) * (1 + step * n) for n, i in enumerate(support, 1)}
            yield fixed | values


def _unit(key: Generator, probabilities: dict[int, Fraction], model: SymbolicModel) -> Fraction:
    """Return 1, or for a score what makes the derivative of the probability 1."""
    if key.kind != "score" or sum(key.orders) != 1:
        return Fraction(1)
    density = Generator("probability", key.name, (), key.args)
    return 1 / probabilities.get(model.ring.indices.get(density, -1), Fraction(1))


def _complete(model: SymbolicModel, rows: list[Relation], point: dict[int, Fraction]) -> dict[int, Fraction] | None:
    """Return the point with the values of the generators that the relations determine, None where a denominator is zero."""
    full = dict(point)
    for pivot, numerator, denominator in reversed(rows):
        bottom = model.ring.value(denominator, full)
        if bottom == 0:
            return None
        full[pivot] = model.ring.value(numerator, full) / bottom
    return full


def _case(model: SymbolicModel, relations: Relations, full: dict[int, Fraction], left: Scalar, right: Scalar) -> dict[str, str]:
    shown = set(model.ring.used(left)) | set(model.ring.used(right)) | {row.pivot for row in relations.rows}
    result = {}
    for index in sorted(shown, key=lambda i: (_RANK.get(model.ring.keys[i].kind, 9), i)):
        key, value = model.ring.keys[index], full.get(index, Fraction(0))
        if key.kind == "score" and sum(key.orders) == 1:
            density = Generator("probability", key.name, (), key.args)
            result["d" + readable(density, model.parameter)] = str(value * full[model.ring.indices[density]])
        elif key.kind not in ("inverse", *TRANSCENDENTAL):
            result[readable(key, model.parameter)] = str(value)
    return result


def _find_enclosed(model: SymbolicModel, relations: Relations, left: Scalar, right: Scalar) -> Witness | None:
    """Return a case where exp and log, enclosed by balls, make the sides differ for certain."""
    for probabilities in _probabilities(model):
        for point in _positive_points(model, probabilities):
            rows = [row for row in relations.rows if model.ring.keys[row.pivot].kind != "inverse"]
            full = _complete(model, rows, point)
            balls = None if full is None else _enclosures(model, full)
            if full is None or balls is None:
                continue
            sides = [bounds(model.ring.enclosure(side, balls)) for side in (left, right)]
            radius = max(spread for _, spread in sides)
            if abs(sides[0][0] - sides[1][0]) > 2 * radius:
                return Witness(_case(model, relations, full, left, right), sides[0][0], sides[1][0], radius)
    return None


def _positive_points(model: SymbolicModel, probabilities: dict[int, Fraction]) -> Iterator[dict[int, Fraction]]:
    """Yield points where everything is 1 (logarithms want positive arguments), then where one thing is 2, then 1, 2, 3, ..."""
    kinds = ("probability", "inverse", *TRANSCENDENTAL)
    others = [i for i, key in enumerate(model.ring.keys) if key.kind not in kinds]
    ones = probabilities | {i: _unit(model.ring.keys[i], probabilities, model) for i in others}
    yield ones
    for i in others:
        yield ones | {i: 2 * ones[i]}
    yield ones | {i: n * ones[i] for n, i in enumerate(others, 1)}


def _enclosures(model: SymbolicModel, full: dict[int, Fraction]) -> dict[int, Ball] | None:
    """Return balls for all generators, in the order in which they were made; None where a log or an inverse is undefined."""
    balls: dict[int, Ball] = {}
    inverses = dict(model.inverses)
    for index, key in enumerate(model.ring.keys):
        if key.kind not in ("inverse", *TRANSCENDENTAL):
            balls[index] = ball(full.get(index, Fraction(0)))
            continue
        argument = model.ring.enclosure(inverses.get(index, model.arguments.get(index)), balls)
        if (key.kind == "log" and not argument > 0) or (key.kind == "inverse" and argument.contains(0)):
            return None
        balls[index] = argument.log() if key.kind == "log" else argument.exp() if key.kind == "exp" else 1 / argument
    return balls


_RANK = {"probability": 0, "score": 1, "function": 2, "symbol": 3, "moment": 4}


def value_at(model: SymbolicModel, scalar: Scalar, case: RationalCase) -> Fraction:
    """Return the value of a scalar at a case.

    Raises
        UsageError, if the case leaves a value open that is needed.
        NotEvaluable, if an exponential or a logarithm occurs, or a denominator is zero.
    """
    point: dict[int, Fraction] = {}
    inverses = dict(model.inverses)
    for index in model.ring.used(scalar):
        if index not in inverses:
            point[index] = case.lookup(model.ring.keys[index], model.parameter)
            continue
        bottom = value_at(model, inverses[index], case)
        if bottom == 0:
            message = "division by zero in this case."
            raise NotEvaluable(message)
        point[index] = 1 / bottom
    return model.ring.value(scalar, point)
