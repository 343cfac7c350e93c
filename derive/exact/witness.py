"""The search for a smallest rational case where two scalars of a symbolic model differ."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, product

from derive.exact.candidates import Candidates
from derive.exact.points import Open, Point
from derive.exact.relations import Relations
from derive.exact.valuation import Valuation, is_possible
from derive.language.errors import NotEvaluable
from derive.laws.models import Case, SymbolicModel
from derive.numbers.enclosures import enclosed
from derive.numbers.ring import Scalar, is_exact, is_long, precision
from derive.numbers.unknowns import APPLIED, LOG_TWO_PI, MOMENTS, Generator, Value, readable, sum_text

_BITS, _DIGITS, _TRIES = 80, 12, 4
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
    if _has_second_moments(model, (left, right)):
        return _find_relaxed(model, left, right)
    is_enclosed = model.transcendental(left) or model.transcendental(right)
    size = len(left) + len(right) if is_enclosed else len(difference)
    candidates = Candidates(model, relations, difference, factor)
    with precision(_BITS):
        for chosen in candidates.points(size, positive=is_enclosed):
            found = _differ_at(model, relations, chosen, left, right)
            if found is not None:
                return found
    return None


def vanishes(model: SymbolicModel, relations: Relations, scalar: Scalar) -> bool:
    """Whether a scalar is zero wherever the relations hold: one value that is not zero says no, and costs little.

    Raises
        TooLarge, if no value was found and the relations need too many terms.
    """
    if any(islice(_values(model, relations, scalar), _TRIES)):
        return False
    return bool(relations.clear([scalar])[0] == 0)


def is_somewhere(model: SymbolicModel, relations: Relations, scalar: Scalar) -> bool:
    """Whether a case without any pattern was found in which a scalar is certainly not zero."""
    return any(_values(model, relations, scalar))


def _values(model: SymbolicModel, relations: Relations, scalar: Scalar) -> Iterator[bool]:
    """Yield for cases without any pattern whether a scalar is certainly not zero there."""
    with precision(_BITS):
        for chosen in Candidates(model, relations, scalar, model.one).general():
            try:
                value = _point(model, relations, chosen).of(scalar)
            except NotEvaluable:
                yield False
            else:
                yield bool(value != 0 if is_exact(value) else not value.contains(0))


def _point(model: SymbolicModel, relations: Relations, chosen: dict[int, Fraction]) -> Valuation:
    values = {model.ring.keys[index]: value for index, value in chosen.items()}
    rows = {row.pivot: row for row in relations.rows if row.pivot not in chosen}
    return Valuation(model, lambda key: values.get(key, Fraction(0)), rows)


def _differ_at(
    model: SymbolicModel, relations: Relations, chosen: dict[int, Fraction], left: Scalar, right: Scalar
) -> Witness | None:
    """Return the case of a point if it is one and the sides certainly differ there."""
    point = _point(model, relations, chosen)
    try:
        values = [point.of(side) for side in (left, right)]
        sides = [enclosed(value, _DIGITS) for value in values if not is_long(value)]
    except NotEvaluable:
        return None
    if len(sides) < len(values):
        return None
    radius = max(side.radius for side in sides)
    if abs(sides[0].middle - sides[1].middle) <= 2 * radius or not is_possible(point):
        return None
    return Witness(_case(model, relations, point, left, right), sides[0].middle, sides[1].middle, radius)


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
    used, seen = {*model.ring.used(left), *model.ring.used(right)}, dict[int, object]()
    keys = [key for index in used for key in _inside(model.ring.keys[index], frozenset(), seen)]
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


def _inside(part: object, laws: Set[str], seen: dict[int, object]) -> Iterator[Generator]:
    """Yield the unknowns that occur in an unknown, itself included; not those in the arguments of some laws, nor those seen."""
    if id(part) in seen:
        return
    seen[id(part)] = part
    if isinstance(part, Generator):
        yield part
        if part.kind in ("probability", "score") and part.name in laws:
            return
    if isinstance(part, tuple):
        for inner in part:
            yield from _inside(inner, laws, seen)


_RANK = {"probability": 0, "score": 1, "function": 2, "symbol": 3, "moment": 4}


def _case(model: SymbolicModel, relations: Relations, point: Valuation, left: Scalar, right: Scalar) -> dict[str, str]:
    shown = _occurring(model, [left, right]) | {row.pivot for row in relations.rows}
    result = {}
    for index in sorted(shown, key=lambda i: (_RANK.get(model.ring.keys[i].kind, 9), i)):
        key, value = model.ring.keys[index], point.rational_at(index)
        if value is None or key.kind in ("inverse", "normal", *APPLIED) or key == LOG_TWO_PI:
            continue
        if key.kind == "score" and sum(key.orders) == 1:
            density = Generator("probability", key.name, (), key.args)
            chance = point.rational_at(model.ring.indices[density])
            result[_tangent_name(model, key)] = str(value * (chance or 0))
        else:
            result[readable(key, model.parameter)] = str(value)
    return result


def _tangent_name(model: SymbolicModel, score: Generator) -> str:
    """Return dp(k), or the partial derivative along one of several parameters of the law."""
    name = "d" + readable(Generator("probability", score.name, (), score.args), model.parameter)
    if len(score.orders) == 1:
        return name
    along = [arg for arg in score.args[1:] if isinstance(arg, Value)][score.orders.index(1)]
    return f"{name}/d({sum_text(along, model.parameter, 24)})"


def _occurring(model: SymbolicModel, scalars: list[Scalar]) -> set[int]:
    """Return the unknowns that occur in scalars, in what they are inverses, exponentials or logarithms of, and in arguments.

    The parameters of a law that occurs with no others tell nothing.
    """
    laws = [name for name, _ in model.laws]
    once = {name for name in laws if laws.count(name) == 1}
    seen = dict[int, object]()
    keys = [key for scalar in scalars for i in model.ring.used(scalar) for key in _inside(model.ring.keys[i], once, seen)]
    return {model.ring.indices[key] for key in keys if key in model.ring.indices}


def value_at(model: SymbolicModel, scalar: Scalar, case: Case) -> Scalar:
    """Return the value of a scalar at a case: a rational, or a ball where an exponential, a logarithm or the case is one.

    Raises
        UsageError, if the case leaves a value open that is needed.
        NotEvaluable, if a denominator is zero or the argument of a logarithm is not positive.
    """
    return Valuation(model, lambda key: case.lookup(key, model.parameter)).of(scalar)
