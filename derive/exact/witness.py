"""The search for a smallest rational case where two scalars of a symbolic model differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from math import prod

from derive.exact.points import Open, Point
from derive.exact.relations import Relation, Relations
from derive.language.errors import NotEvaluable
from derive.laws.models import Case, SymbolicModel, exp_of, inverse_of, log_of
from derive.numbers.enclosures import enclosed
from derive.numbers.ring import Ball, Scalar, ball, bounds, log_two_pi, precision, raised, rational
from derive.numbers.unknowns import LOG_TWO_PI, MOMENTS, TRANSCENDENTAL, Argument, Generator, Value, readable

_BITS, _DIGITS = 80, 12
_LATENT = {"z": "logit(p(2)) + logit(u)", "s": "sigmoid(z/lambda)"}
_SHAPES = ((0, 1), (0, 0, 1), (1, 1))
"""Coefficients of 1, s, s^2 that the functions of a witness may have."""


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
    if _has_second_moments(model, (left, right)):
        return _find_relaxed(model, left, right)
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


def _has_second_moments(model: SymbolicModel, scalars: tuple[Scalar, Scalar]) -> bool:
    """Whether a moment of a square or a higher power occurs: it cannot be chosen without regard to the others.

    Without one every choice is a limit of moments of laws: a polynomial of degree 1 in each of several variables, nowhere
    negative, is constant, so no half-space holds all their values.
    """
    keys = (model.ring.keys[index] for scalar in scalars for index in model.ring.used(scalar))
    return any(power > 1 for key in keys if key.kind in MOMENTS for _, power in key.args[-1])


def _find_relaxed(model: SymbolicModel, left: Scalar, right: Scalar) -> Witness | None:
    """Return a point of the logistic relaxation where the sides, enclosed by ball arithmetic, differ for certain."""
    if model.outcomes != Point.OUTCOMES_OF_RELAXATION:
        return None
    keys = [key for index in {*model.ring.used(left), *model.ring.used(right)} for key in _inside(model.ring.keys[index])]
    laws = {key.name for key in keys if key.kind in ("probability", "score", *MOMENTS)}
    names = {kind: sorted({key.name for key in keys if key.kind == kind}) for kind in ("function", "symbol")}
    for chance, symbol, coefficients in product((Fraction(1, 2), Fraction(1, 3)), (1, 2), _SHAPES):
        given = {f"{law}(2)": chance for law in laws} | dict.fromkeys(names["symbol"], Fraction(symbol))
        given |= {f"{name}_{n}": Fraction(c) for name in names["function"] for n, c in enumerate(coefficients) if c}
        point = Point(laws, set(names["symbol"]), model.outcomes, given)
        try:
            with precision(_BITS):
                sides = [enclosed(value_at(model, side, point), _DIGITS) for side in (left, right)]
        except (NotEvaluable, Open):
            continue
        radius = max(side.radius for side in sides)
        if abs(sides[0].middle - sides[1].middle) > 2 * radius:
            case = {name: str(value) for name, value in sorted(point.used.items()) if not point.is_derived(name)}
            return Witness(case | _LATENT, sides[0].middle, sides[1].middle, radius)
    return None


def _inside(part: object) -> Iterator[Generator]:
    """Yield the unknowns that occur in an unknown, itself included."""
    if isinstance(part, Generator):
        yield part
    if isinstance(part, tuple):
        for inner in part:
            yield from _inside(inner)


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
    return sum((ball(c) * prod((raised(balls[i], n) for i, n in powers), start=ball(1)) for c, powers in terms), start=ball(0))


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


def value_at(model: SymbolicModel, scalar: Scalar, case: Case) -> Scalar:
    """Return the value of a scalar at a case: a rational, or a ball where an exponential, a logarithm or the case is one.

    Raises
        UsageError, if the case leaves a value open that is needed.
        NotEvaluable, if a denominator is zero or the argument of a logarithm is not positive.
    """
    known: dict[int, Scalar] = {}
    inverses = dict(model.inverses)

    def value(index: int) -> Scalar:
        if index not in known:
            known[index] = atom(index, model.ring.keys[index])
        return known[index]

    def atom(index: int, key: Generator) -> Scalar:
        if index in inverses:
            return inverse_of(polynomial(inverses[index]))
        if key.kind in TRANSCENDENTAL:
            return (log_of if key.kind == "log" else exp_of)(polynomial(model.arguments[index]))
        found = log_two_pi() if key == LOG_TWO_PI else case.lookup(key, model.parameter)
        return rational(found) if isinstance(found, Fraction) else found

    def polynomial(inner: Scalar) -> Scalar:
        return model.ring.evaluate(inner, value)

    return polynomial(scalar)
