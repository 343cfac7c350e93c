"""The search for a smallest rational case where two scalars of a symbolic model differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import prod

from derive.errors import NotEvaluable
from derive.models import RationalCase, SymbolicModel
from derive.relations import Relation, Relations
from derive.ring import Ball, Scalar, ball, bounds, log_two_pi
from derive.unknowns import LOG_TWO_PI, TRANSCENDENTAL, Argument, Generator, Value, readable


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
    if model.transcendental(left) or model.transcendental(right):
        return _find_enclosed(model, relations, left, right)
    free = sorted(set(model.ring.used(difference)) | set(model.ring.used(factor)))
    for start in _starts(model):
        for point in _points(model, difference, factor, free, start):
            full = _complete(model, relations.rows, point)
            if full is None or not _is_possible(model, full):
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


def _starts(model: SymbolicModel) -> Iterator[dict[int, Fraction]]:
    """Yield values of all probabilities and of the numbers that outcomes stand for: 0, 1, 2, ..., then others, all distinct.

    Later ones make what stands in the arguments of functions distinct too.
    """
    keys = [(i, key) for i, key in enumerate(model.ring.keys) if key.kind == "outcome"]
    shapes: list[Callable[[int], int]] = [lambda k: k - 1, lambda k: k, lambda k: k * k]
    inside = {i: Fraction(n) for n, i in enumerate(_inside_arguments(model), 2)}
    for spread in ({}, inside) if inside else ({},):
        for shape in shapes if keys else shapes[:1]:
            numbers = {i: Fraction(shape(key.args[0].number)) for i, key in keys}
            for probabilities in _probabilities(model):
                yield spread | probabilities | numbers


def _inside_arguments(model: SymbolicModel) -> list[int]:
    """Return the symbols and functions that occur in arguments of functions."""
    functions = [key for key in model.ring.keys if key.kind == "function"]
    values = [arg for key in functions for arg in key.args if isinstance(arg, Value)]
    inside = (key for value in values for _, monomial in value.terms for key, _ in monomial)
    return list(dict.fromkeys(model.ring.indices[key] for key in inside if key.kind in ("symbol", "function")))


def _points(
    model: SymbolicModel, difference: Scalar, factor: Scalar, free: list[int], start: dict[int, Fraction]
) -> Iterator[dict[int, Fraction]]:
    """Yield points where the difference is not zero: as few values as possible are not 0, and these are 1, 2, 3."""
    needed = {i: Fraction(1) for i in model.ring.used(factor) if i not in start}
    fixed = start | {i: Fraction(1) for i in free if i in needed}
    remaining = model.ring.restrict(difference, {i: value for i, value in fixed.items() if i in free})
    supports = {tuple(i for i, _ in exponents) for exponents, _ in model.ring.terms(remaining)}
    for support in sorted(supports, key=lambda some: (len(some), some))[:8]:
        for step in range(3):
            values = {i: _unit(model.ring.keys[i], start, model) * (1 + step * n) for n, i in enumerate(support, 1)}
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


def _is_possible(model: SymbolicModel, full: dict[int, Fraction]) -> bool:
    """Whether a function has one value at one point: where arguments are not certainly distinct, the values must be equal.

    Where an argument is undefined, such as the logarithm of 0, the point is no case either.
    """
    balls = _enclosures(model, full)
    if balls is None:
        return False
    functions = [(i, key) for i, key in enumerate(model.ring.keys) if key.kind == "function" and key.args]
    for (i, one), (j, other) in combinations(functions, 2):
        alike = one.name == other.name and one.orders == other.orders and len(one.args) == len(other.args)
        if alike and full.get(i, 0) != full.get(j, 0) and not _are_apart(model, one.args, other.args, balls):
            return False
    return True


def _are_apart(model: SymbolicModel, left: tuple[Argument, ...], right: tuple[Argument, ...], balls: dict[int, Ball]) -> bool:
    for one, other in zip(left, right, strict=True):
        if isinstance(one, Value) and isinstance(other, Value):
            if not _enclosed(model, one, balls).overlaps(_enclosed(model, other, balls)):
                return True
        elif one != other:
            return True
    return False


def _enclosed(model: SymbolicModel, argument: Value, balls: dict[int, Ball]) -> Ball:
    terms = ((c, [(model.ring.indices[key], n) for key, n in monomial]) for c, monomial in argument.terms)
    return sum((ball(c) * prod((balls[i] ** n for i, n in powers), start=ball(1)) for c, powers in terms), start=ball(0))


def _case(model: SymbolicModel, relations: Relations, full: dict[int, Fraction], left: Scalar, right: Scalar) -> dict[str, str]:
    shown = set(model.ring.used(left)) | set(model.ring.used(right)) | {row.pivot for row in relations.rows}
    shown |= {index for index in _inside_arguments(model) if full.get(index)}
    result = {}
    for index in sorted(shown, key=lambda i: (_RANK.get(model.ring.keys[i].kind, 9), i)):
        key, value = model.ring.keys[index], full.get(index, Fraction(0))
        if key.kind == "score" and sum(key.orders) == 1:
            density = Generator("probability", key.name, (), key.args)
            result["d" + readable(density, model.parameter)] = str(value * full[model.ring.indices[density]])
        elif key.kind not in ("inverse", *TRANSCENDENTAL) and key != LOG_TWO_PI:
            result[readable(key, model.parameter)] = str(value)
    return result


def _find_enclosed(model: SymbolicModel, relations: Relations, left: Scalar, right: Scalar) -> Witness | None:
    """Return a case where exp and log, enclosed by balls, make the sides differ for certain."""
    for start in _starts(model):
        for point in _positive_points(model, start):
            rows = [row for row in relations.rows if model.ring.keys[row.pivot].kind != "inverse"]
            full = _complete(model, rows, point)
            balls = None if full is None else _enclosures(model, full)
            if full is None or balls is None or not _is_possible(model, full):
                continue
            sides = [bounds(model.ring.enclosure(side, balls)) for side in (left, right)]
            radius = max(spread for _, spread in sides)
            if abs(sides[0][0] - sides[1][0]) > 2 * radius:
                return Witness(_case(model, relations, full, left, right), sides[0][0], sides[1][0], radius)
    return None


def _positive_points(model: SymbolicModel, start: dict[int, Fraction]) -> Iterator[dict[int, Fraction]]:
    """Yield points where everything is 1 (logarithms want positive arguments), then where one thing is 2, then 1, 2, 3, ..."""
    kinds = ("probability", "inverse", *TRANSCENDENTAL)
    others = [i for i, key in enumerate(model.ring.keys) if key.kind not in kinds and key != LOG_TWO_PI and i not in start]
    ones = start | {i: _unit(model.ring.keys[i], start, model) for i in others if i not in start}
    yield ones
    for i in others:
        yield ones | {i: 2 * ones[i]}
    yield ones | {i: n * ones[i] for n, i in enumerate(others, 1)}


def _enclosures(model: SymbolicModel, full: dict[int, Fraction]) -> dict[int, Ball] | None:
    """Return balls for all generators, in the order in which they were made; None where a log or an inverse is undefined."""
    balls: dict[int, Ball] = {}
    inverses = dict(model.inverses)
    for index, key in enumerate(model.ring.keys):
        if key == LOG_TWO_PI:
            balls[index] = log_two_pi()
            continue
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
