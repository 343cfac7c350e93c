"""Refuting a statement about normal laws that no polynomial decides: functions that are small, as power series in their size.

On the points of a base measure an identity that holds is a proof, but one that fails may still hold of a normal law, whose
score has mean zero. Here the law is normal, with loc 0 and scale 1 at the parameter in question, and a function f of a normal
variable z is t (z + z^2), or log N(z; 0, 1) + t (z + z^2). Then exp, log and 1/x of it are power series in t with polynomials
in z as coefficients, so both sides are power series in t with exact coefficients. Where log and 1/x are taken of sums of
exponentials only, every derivative in t is at most a polynomial times exp(C t (1 + z^2)), so for small t both sides are
smooth: two different coefficients are two different values for every small t > 0.

Where no such function helps, f is 0 and both sides are read on the points of a base measure. A side that is a polynomial of
degree d in the measure, and on d points has a value in which neither points nor weights occur, has that value for every
measure, the normal one too: its coefficients belong to at most d points.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from math import factorial

from derive.exact.evaluate import Reader
from derive.exact.relations import Relations
from derive.exact.witness import Witness
from derive.language.errors import NotEvaluable, TooLarge
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Function,
    Grad,
    Log,
    Mul,
    NormalLaw,
    Number,
    Power,
    Score,
    Sigmoid,
    Symbol,
    Term,
    anywhere,
    parts,
)
from derive.laws.models import Derivative, SymbolicModel, sign_of
from derive.laws.occurrences import normal_draws, polynomial_places, variables
from derive.numbers.jets import Jet, add, constant, multiply
from derive.numbers.ring import PolynomialRing, RingFullError, Scalar, rational, total
from derive.numbers.unknowns import LOG_TWO_PI, Argument, Generator, readable

LARGEST_POWER, MOST_POINTS = 2, 3
_SIZE = Generator("symbol", "t, the size")
_SLOPES = ((1, 1), (1, 0), (0, 1))


class SeriesModel(SymbolicModel):
    """Power series in t: functions in a loc are 0, in a scale 1, with the slopes that are given; all else is 1.

    >>> model = SeriesModel(PolynomialRing(4), "theta", {}, (1, 1))
    >>> model.text(model.exp(model.size))
    '1/2*t, the size^2 + t, the size + 1'
    """

    roles: dict[str, int]
    slopes: tuple[int, int]
    used: dict[str, Fraction]
    size: Scalar

    def __init__(self, ring: PolynomialRing, parameter: str, roles: dict[str, int], slopes: tuple[int, int]) -> None:
        super().__init__(ring, 1, parameter)
        self.roles, self.slopes, self.used = roles, slopes, dict[str, Fraction]()
        self.size = ring.generator(_SIZE)
        self._index = ring.indices[_SIZE]

    def generator(self, key: Generator, derivative: Derivative | None = None) -> Scalar:
        """Return the number of a symbol or function; noise and log(2 pi) stay what they are."""
        if key.kind not in ("symbol", "function") or key == LOG_TWO_PI:
            return super().generator(key, derivative)
        role, order = self.roles.get(key.name, 1), sum(key.orders)
        value = Fraction(role if not order else self.slopes[role] if order == 1 and key.name in self.roles else 0)
        self.used[readable(key, self.parameter)] = value
        return self.number(value)

    def coefficients(self, scalar: Scalar) -> list[Scalar]:
        """Return the coefficients of 1, t, t^2, ... up to the largest power."""
        found = {sum(n for _, n in exponents): c for exponents, c in self.ring.split(scalar, frozenset({self._index})).items()}
        return [found.get(n, self.zero) for n in range(LARGEST_POWER + 1)]

    def cut(self, scalar: Scalar) -> Scalar:
        """Return a scalar without higher powers of t."""
        return total((c * self.size**n for n, c in enumerate(self.coefficients(scalar))), self.zero)

    def _small(self, scalar: Scalar) -> tuple[Fraction, Scalar]:
        """Return a scalar as a number and what vanishes with t."""
        first = self.ring.terms(self.coefficients(scalar)[0])
        if any(exponents for exponents, _ in first):
            message = "what stands in exp, log or 1/x is not a number plus something small."
            raise NotEvaluable(message)
        number = first[0][1] if first else Fraction(0)
        return number, self.cut(scalar - self.number(number))

    def _compose(self, small: Scalar, coefficients: list[Fraction]) -> Scalar:
        powers, result = self.one, self.zero
        for c in coefficients:
            result, powers = result + rational(c) * powers, self.cut(powers * small)
        return result

    def exp(self, scalar: Scalar) -> Scalar:
        """Return the exponential of something small."""
        number, small = self._small(scalar)
        if number != 0:
            message = "the exponential of a number that is not 0 has no rational value."
            raise NotEvaluable(message)
        return self._compose(small, [Fraction(1, factorial(n)) for n in range(LARGEST_POWER + 1)])

    def log(self, scalar: Scalar) -> Scalar:
        """Return the logarithm of 1 plus something small."""
        number, small = self._small(scalar)
        if number != 1:
            message = "the logarithm of a number that is not 1 has no rational value."
            raise NotEvaluable(message)
        return self._compose(small, [Fraction(0), *(Fraction((-1) ** (n + 1), n) for n in range(1, LARGEST_POWER + 1))])

    def sign(self, scalar: Scalar) -> Scalar:
        """Return the sign of a number that is not 0 plus something small."""
        number, _ = self._small(scalar)
        if number == 0:
            message = "a sign of what is small is not known: powers of t were cut."
            raise NotEvaluable(message)
        return sign_of(rational(number))

    def inverse(self, scalar: Scalar) -> Scalar:
        """Return 1/x of a number that is not 0 plus something small."""
        number, small = self._small(scalar)
        if number == 0:
            message = "division by zero: a denominator is small."
            raise NotEvaluable(message)
        return self._compose(small, [(-1) ** n / number ** (n + 1) for n in range(LARGEST_POWER + 1)])


class SeriesReader(Reader):
    """Reads functions of normal variables as small; `weights` are those to which log N(z; 0, 1) is added."""

    weights: frozenset[str]
    shown: dict[str, str]

    def __init__(self, model: SeriesModel, terms: tuple[Term, ...], weights: frozenset[str]) -> None:
        super().__init__(model, terms)
        self.weights, self.shown = weights, dict[str, str]()

    def _expand(
        self, function: Function, read: list[tuple[Argument, Jet | None]], expanded: list[int], order: int, raised: int = 0
    ) -> Jet:
        model = self.model
        if raised:
            message = "the slope of a function of a normal variable is not read as a series."
            raise NotEvaluable(message)
        if not isinstance(model, SeriesModel) or len(expanded) != 1:
            message = "a function of several normal variables is not read as a series."
            raise NotEvaluable(message)
        z = read[expanded[0]][1] or ()
        square, half = multiply(z, z), model.number(Fraction(-1, 2))
        result = tuple((one + two) * model.size for one, two in zip(z, square, strict=True))
        text = "t*(z + z^2)"
        if function.name in self.weights:
            ground = constant(half * model.symbol(LOG_TWO_PI.name), order, model.zero)
            result = add(ground, tuple(half * scalar for scalar in square), result)
            text = "log N(z; 0, 1) + " + text
        self.shown[f"{function.name}(z)"] = text
        return result


class ZeroModel(SymbolicModel):
    """The points of a base measure, where functions in a loc and other functions are 0, and those in a scale 1.

    >>> model = ZeroModel(PolynomialRing(4), 2, "theta", {"sigma": 1}, (1, 1))
    >>> model.text(model.generator(Generator("function", "sigma", (1,))) + model.generator(Generator("function", "f")))
    '1'
    """

    roles: dict[str, int]
    slopes: tuple[int, int]
    used: dict[str, Fraction]

    def __init__(
        self, ring: PolynomialRing, outcomes: int, parameter: str, roles: dict[str, int], slopes: tuple[int, int]
    ) -> None:
        super().__init__(ring, outcomes, parameter)
        self.roles, self.slopes, self.used = roles, slopes, dict[str, Fraction]()

    def generator(self, key: Generator, derivative: Derivative | None = None) -> Scalar:
        """Return the number of a symbol or function; points and weights stay what they are."""
        if key.kind not in ("symbol", "function") or key == LOG_TWO_PI:
            return super().generator(key, derivative)
        order, role = sum(key.orders), self.roles.get(key.name)
        if role is None:
            self.used[f"{key.name}(z)" if key.args else key.name] = value = Fraction(key.kind == "symbol")
            return self.number(value)
        value = Fraction(role if not order else self.slopes[role] if order == 1 else 0)
        self.used[readable(key, self.parameter)] = value
        return self.number(value)


def refute(left: Term, right: Term, parameter: Symbol) -> Witness | None:
    """Return a normal law and functions for which two terms differ, None where none was found.

    Where the functions are small, the values of the witness are the coefficients of the lowest power of t in which the two
    sides differ: the case says which. Where they are 0, the values are those of the two sides.

    >>> from derive.notation import E, exp, function, grad, normal, parameter
    >>> theta = parameter("theta")
    >>> x, f = normal("x", theta, 1), function("f")
    >>> refute(grad(E(exp(f(x)), x), theta), E(exp(f(x)), x) * 0, theta).case
    {'theta': '0', 'f(z)': 't*(z + z^2)', 'values': 'coefficients of t^1, for small t'}
    """
    terms = (left, right)
    if any(not isinstance(variable.law, NormalLaw) for term in terms for variable in variables(term)):
        return None
    if any(_moves_another(term, parameter) for term in terms):
        return None
    attempts = [partial(_compare, terms, parameter, *choice) for choice in product(_choices(terms), _SLOPES)]
    attempts = attempts if all(_is_smooth_in_size(term) for term in terms) else []
    for attempt in [*attempts, *(partial(_compare_zero, terms, parameter, slopes) for slopes in _SLOPES)]:
        try:
            found = attempt()
        except (NotEvaluable, TooLarge, RingFullError):
            continue
        if found is not None:
            return found
    return None


def _compare_zero(terms: tuple[Term, Term], parameter: Symbol, slopes: tuple[int, int]) -> Witness | None:
    """Compare both sides for functions that are 0, where neither depends on the points of the base measure."""
    degree = max(1, *(normal_draws(term) for term in terms))
    if degree > MOST_POINTS:
        return None
    model = ZeroModel(PolynomialRing(256), int(degree), parameter.name, _roles(terms), slopes)
    reader = Reader(model, terms, nodes=True)
    sides = [reader.read(term, {}, 0)[0] for term in terms]
    *tops, factor = Relations(model, reader.latents.values()).clear([*sides, model.one])
    values = [model.ring.ratio(top, factor) for top in tops]
    if None in values or values[0] == values[1]:
        return None
    case = {name: str(value) for name, value in model.used.items()}
    return Witness(case, *(value for value in values if value is not None))


def _choices(terms: tuple[Term, ...]) -> Iterator[frozenset[str]]:
    names = sorted({name for term in terms for name, _ in polynomial_places(term)})
    for chosen in product((True, False), repeat=min(len(names), 3)):
        yield frozenset(name for name, is_weight in zip(names, chosen, strict=False) if is_weight)


def _compare(terms: tuple[Term, Term], parameter: Symbol, weights: frozenset[str], slopes: tuple[int, int]) -> Witness | None:
    model = SeriesModel(PolynomialRing(64), parameter.name, _roles(terms), slopes)
    reader = SeriesReader(model, terms, weights)
    sides = [model.coefficients(reader.read(term, {}, 0)[0]) for term in terms]
    for n, pair in enumerate(zip(*sides, strict=True)):
        one, other = ([c for e, c in model.ring.terms(side) if not e] or [Fraction(0)] for side in pair)
        if pair[0] != pair[1]:
            if any(model.ring.used(side) for side in pair):
                return None
            case = {name: str(value) for name, value in model.used.items()} | reader.shown
            return Witness(case | {"values": f"coefficients of t^{n}, for small t"}, one[0], other[0])
    return None


def _roles(terms: tuple[Term, ...]) -> dict[str, int]:
    """Return 0 for the names in a loc and 1 for those in a scale of a normal law."""
    result: dict[str, int] = {}
    laws = [variable.law for term in terms for variable in variables(term)]
    for law in laws:
        if isinstance(law, NormalLaw):
            result = dict.fromkeys(_names(law.loc), 0) | result | dict.fromkeys(_names(law.scale), 1)
    return result


def _names(term: Term) -> list[str]:
    """Return the outermost functions and symbols of a term."""
    if isinstance(term, Apply):
        return [term.function.name]
    return [term.name] if isinstance(term, Symbol) else [name for part in parts(term) for name in _names(part)]


def _is_smooth_in_size(term: Term) -> bool:
    """Whether log and 1/x are taken of sums and products of exponentials only, or of what no normal variable occurs in."""
    inner = term.arg if isinstance(term, Log) else term.base if isinstance(term, Power) and term.exponent < 0 else None
    moves = inner is not None and any(True for _ in variables(inner))
    own = inner is None or not moves or _is_positive(inner) or _is_log_density(term)
    return own and all(_is_smooth_in_size(part) for part in parts(term))


def _moves_another(term: Term, parameter: Symbol) -> bool:
    return anywhere(term, lambda part: isinstance(part, (Grad, Score)) and part.parameter != parameter)


def _is_log_density(term: Term) -> bool:
    return isinstance(term, Log) and isinstance(term.arg, Density)


def _is_positive(term: Term) -> bool:
    match term:
        case Exp() | Sigmoid():
            return True
        case Number(value):
            return value > 0
        case Add(args) | Mul(args):
            return all(_is_positive(arg) for arg in args)
        case Power(base, _):
            return _is_positive(base)
    return False
