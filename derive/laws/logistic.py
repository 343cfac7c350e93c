"""The logistic relaxation of a Bernoulli variable: every moment of it that a formula has, as a ball.

    b = H(z),  z = logit(p) + logit(u),  u uniform on (0, 1),  s = sigma(z, lambda) = sigmoid(z / lambda)

The parameter is the logit of p, so dz/dtheta = 1 for fixed u. Given b, z_tilde has the law of z on the side of 0 that b says,
and for fixed v d z_tilde/dtheta = 1 - (1 - p)/u where b = 1, 1 - p/(1 - u) where b = 0; both lie between 0 and 1, and the
second derivatives between -1 and 1. A function of z is a polynomial in s, a function of a number a polynomial in it; of further
arguments it is a multiple.

A moment is an integral over z, with the density u (1 - u). It is enclosed between -CUT and CUT; beyond, the integrand is at
most M |z|^n exp(-|z|) times the odds, so what lies there is at most M times the odds times the incomplete gamma function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any, TypeAlias

from derive.language.errors import NotEvaluable, UsageError
from derive.numbers.ring import Ball, Scalar, ball, ceiling, gamma_tail, integral, raised, within
from derive.numbers.unknowns import Generator, Monomial, Outcome, Value

Polynomial: TypeAlias = tuple[Fraction, ...]
Smooth: TypeAlias = dict[tuple[int, int], Polynomial]
"""The sum of x^a P(s) / lambda^m with x = z / lambda, by (a, m)."""
Bound: TypeAlias = tuple[Fraction, int]
"""At most c |z|^n where |z| >= 1, by c and n."""
OfPlace: TypeAlias = Callable[["_Place"], Any]

CUT = 100
SOFT = "sigma"


@dataclass(frozen=True)
class Logistic:
    """The relaxation at a point, and what its functions are.

    Args
        probability   P(b = 1), that is of the second outcome
        temperature   lambda
        polynomial    the coefficients of 1, s, s^2, ... of the function of that name
        symbol        the value of the symbol of that name

    Raises
        UsageError, if the probability is not between 0 and 1, or the temperature is not positive.

    >>> relaxed = Logistic(Fraction(1, 3), Fraction(1, 2), lambda name: (Fraction(0), Fraction(1)), lambda name: Fraction(1))
    >>> z = Generator("z", "z", (0,))
    >>> soft = Generator("function", "c", (0,), (Value(((Fraction(1), ((z, 1),)),)),))
    >>> key = Generator("restricted", "p", (), (Outcome(1), ((soft, 1),)))
    >>> bool(0 < relaxed.moment(key) < relaxed.moment(key._replace(kind="moment")) < 1)
    True
    """

    probability: Fraction
    temperature: Fraction
    polynomial: Callable[[str], Polynomial]
    symbol: Callable[[str], Fraction]
    _known: dict[Generator, Ball] = field(default_factory=dict, compare=False, repr=False)
    _functions: dict[Generator, tuple[OfPlace, Bound]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1 or self.temperature <= 0:
            message = (
                f"p(2) must lie strictly between 0 and 1 and lambda be positive; got {self.probability} and {self.temperature}."
            )
            raise UsageError(message)

    def moment(self, key: Generator) -> Ball:
        """Return E[m | b = k], E[m; b = k], or the derivative of the latter that is due to the moving threshold.

        Raises
            NotEvaluable, if it is another moment, or z is differentiated three times.
        """
        if key not in self._known:
            outcome, monomial = key.args if len(key.args) > 1 else (None, ())
            if not isinstance(outcome, Outcome) or key.kind not in ("moment", "restricted", "flux") or sum(key.orders) > 1:
                message = "a moment of latent variables of several outcomes, or of a second derivative, is not integrated."
                raise NotEvaluable(message)
            self._known[key] = self._moment(key.kind, outcome.number - 1, monomial)
        return self._known[key]

    def _moment(self, kind: str, b: int, monomial: Monomial) -> Ball:
        p = self.probability
        other = ball(1 - p if b else p)
        factors = [(self._compiled(key), power) for key, power in monomial]
        one, zero = ball(1), ball(0)
        product = _product([(value, power) for (value, _), power in factors], one)
        if kind == "flux":
            return product(_Place(zero, (one, zero))) * ball(p * (1 - p) * (1 if b else -1))
        odds = ball(p / (1 - p))

        def integrand(z: Any) -> Any:
            u = 1 / (1 + odds * (-z).exp())
            return product(_Place(z, _Path(u, b, other) if kind == "moment" else (one, zero))) * u * (1 - u)

        found = integral(integrand, ball(0 if b else -CUT), ball(CUT if b else 0)) + self._tail([
            (bound, power) for (_, bound), power in factors
        ])
        return found if kind == "restricted" else found / (1 - other)

    def _tail(self, bounds: list[tuple[Bound, int]]) -> Ball:
        """Return what lies beyond the cut, as a ball around 0."""
        largest = prod((bound[0] ** power for bound, power in bounds), start=Fraction(1))
        degree = sum(bound[1] * power for bound, power in bounds)
        odds = max(self.probability, 1 - self.probability) / min(self.probability, 1 - self.probability)
        return within(ball(largest * odds) * gamma_tail(degree, CUT))

    # Functions of z

    def _compiled(self, key: Generator) -> tuple[OfPlace, Bound]:
        """Return an unknown as a function of z and its derivatives along the path, and its bound."""
        if key not in self._functions:
            value, bound = self._uncompiled(key)
            self._functions[key] = _once(value), bound
        return self._functions[key]

    def _uncompiled(self, key: Generator) -> tuple[OfPlace, Bound]:
        if key.kind == "z":
            return (lambda at: at.z), (Fraction(1), 1)
        if key.kind == "path" and sum(key.orders) in (1, 2):
            order = sum(key.orders)
            return (lambda at: at.path[order - 1]), (Fraction(1), 0)
        if key.kind == "symbol":
            value = self.symbol(key.name)
            return _fixed(ball(value)), (abs(value), 0)
        if key.kind != "function" or any(not isinstance(arg, Value) for arg in key.args):
            message = f"what {key.name} is as a function of z is not known: only functions of z and of numbers are integrated."
            raise NotEvaluable(message)
        return self._function(key)

    def _function(self, key: Generator) -> tuple[OfPlace, Bound]:
        first, *others = key.args
        soft = key.name == SOFT and len(key.args) > 1
        if _is_latent(first):
            along = key.orders[1] if soft else 0
            base = (Fraction(0), Fraction(1)) if soft else self.polynomial(key.name)
            rate = self._value(others[0])[0](_Place(ball(0), ())) if soft else ball(self.temperature)
            terms = derivatives(base, key.orders[0], along)
            inner, bound = _smooth(terms, rate), _bound_of(terms, rate)
            multiples = list(zip(others[1:], key.orders[2:], strict=True)) if soft else _rest(key)
        else:
            value, at = self._value(first)
            polynomial = self.polynomial(key.name)
            for _ in range(key.orders[0]):
                polynomial = tuple(n * c for n, c in enumerate(polynomial))[1:]
            balls = [ball(c) for c in polynomial]
            inner, bound = (lambda place: horner(balls, value(place))), _bound_at(polynomial, at)
            multiples = _rest(key)
        for arg, order in multiples:
            inner, bound = self._multiple(inner, bound, arg, order)
        return inner, bound

    def _multiple(self, inner: Any, bound: Bound, arg: Any, order: int) -> tuple[OfPlace, Bound]:
        if order:
            return (inner, bound) if order == 1 else (_fixed(ball(0)), (Fraction(0), 0))
        value, most = self._value(arg)
        return (lambda at: inner(at) * value(at)), (bound[0] * most[0], bound[1] + most[1])

    def _value(self, value: Value) -> tuple[OfPlace, Bound]:
        """Return an argument, a polynomial in unknowns, as a function of z and its path, and its bound."""
        compiled = [(c, [(self._compiled(key), power) for key, power in monomial]) for c, monomial in value.terms]
        read = _total([_product([(f, n) for (f, _), n in factors], ball(c)) for c, factors in compiled])
        sizes = [
            (abs(c) * prod((b[0] ** n for (_, b), n in factors), start=Fraction(1)), sum(b[1] * n for (_, b), n in factors))
            for c, factors in compiled
        ]
        return read, (sum((c for c, _ in sizes), start=Fraction(0)), max((n for _, n in sizes), default=0))


class _Place:
    """A value of z, its derivatives along the path, and the functions that are known there."""

    __slots__ = ("known", "path", "z")

    def __init__(self, z: Any, path: Any) -> None:
        self.z, self.path, self.known = z, path, dict[OfPlace, Any]()


class _Path:
    """The first two derivatives of z_tilde in theta for fixed v; `other` is the probability of the other outcome."""

    __slots__ = ("b", "other", "u")

    def __init__(self, u: Any, b: int, other: Ball) -> None:
        self.u, self.b, self.other = u, b, other

    def __getitem__(self, number: int) -> Any:
        other, own = self.other, self.u if self.b else 1 - self.u
        inverse = 1 / own
        if number == 0:
            return 1 - other * inverse
        return (1 if self.b else -1) * (other * (1 - other) * inverse - raised(other * inverse, 2) * (1 - own))


def _once(function: OfPlace) -> OfPlace:
    """Compute a function once at each place."""

    def kept(at: _Place) -> Any:
        found = at.known.get(function)
        if found is None:
            found = at.known[function] = function(at)
        return found

    return kept


def _product(factors: list[tuple[OfPlace, int]], start: Ball) -> OfPlace:
    def value(at: _Place) -> Any:
        result = start
        for function, power in factors:
            result = result * raised(function(at), power)
        return result

    return value


def _total(summands: list[OfPlace]) -> OfPlace:
    zero = ball(0)

    def value(at: _Place) -> Any:
        result = zero
        for summand in summands:
            result = result + summand(at)
        return result

    return value


def derivatives(polynomial: Polynomial, in_z: int, in_lambda: int) -> Smooth:
    """Return a partial derivative of P(sigmoid(z / lambda)).

    >>> derivatives((Fraction(0), Fraction(1)), 1, 0)  # s (1 - s) / lambda
    {(0, 1): (Fraction(0, 1), Fraction(1, 1), Fraction(-1, 1))}
    """
    terms: Smooth = {(0, 0): polynomial}
    for _ in range(in_z):
        terms = _sum([((a - 1, m + 1), _times(a, c)) for (a, m), c in terms.items()] + [
            ((a, m + 1), _steepness(c)) for (a, m), c in terms.items()
        ])
    for _ in range(in_lambda):
        terms = _sum([((a, m + 1), _times(-a - m, c)) for (a, m), c in terms.items()] + [
            ((a + 1, m + 1), _times(-1, _steepness(c))) for (a, m), c in terms.items()
        ])
    return terms


def horner(coefficients: Sequence[Scalar], at: Any) -> Any:
    """Return the value of a polynomial at a number or a ball.

    >>> horner([1, 2], 3)
    7
    """
    result = at * 0
    for c in reversed(coefficients):
        result = result * at + c
    return result


def _times(factor: int, polynomial: Polynomial) -> Polynomial:
    return tuple(factor * c for c in polynomial) if factor else ()


def _steepness(polynomial: Polynomial) -> Polynomial:
    """Return P'(s) s (1 - s)."""
    slope = [Fraction(0), *(n * c for n, c in enumerate(polynomial) if n), Fraction(0)]
    return tuple(c - (slope[n - 1] if n else 0) for n, c in enumerate(slope)) if len(slope) > 2 else ()


def _sum(pieces: list[tuple[tuple[int, int], Polynomial]]) -> Smooth:
    result: Smooth = {}
    for key, polynomial in pieces:
        if any(polynomial):
            known = result.get(key, ())
            size = max(len(known), len(polynomial))
            padded = [side + (Fraction(0),) * (size - len(side)) for side in (known, polynomial)]
            result[key] = tuple(one + other for one, other in zip(*padded, strict=True))
    return result


def _smooth(terms: Mapping[tuple[int, int], Polynomial], rate: Ball) -> OfPlace:
    balls = [(a, [ball(c) / rate**m for c in polynomial]) for (a, m), polynomial in terms.items()]
    zero, speed = ball(0), 1 / rate

    def value(at: _Place) -> Any:
        x = at.z * speed
        s, result = 1 / (1 + (-x).exp()), zero
        for a, c in balls:
            result = result + raised(x, a) * horner(c, s)
        return result

    return value


def _bound_of(terms: Mapping[tuple[int, int], Polynomial], rate: Ball) -> Bound:
    """Return a bound for |z| >= 1: s lies between 0 and 1."""
    inverse = ceiling(1 / rate)
    sizes = (sum(map(abs, c), start=Fraction(0)) * inverse ** (a + m) for (a, m), c in terms.items())
    return sum(sizes, start=Fraction(0)), max((a for a, _ in terms), default=0)


def _bound_at(polynomial: Polynomial, at: Bound) -> Bound:
    size = sum((abs(c) * at[0] ** n for n, c in enumerate(polynomial)), start=Fraction(0))
    return size, at[1] * max(len(polynomial) - 1, 0)


def _is_latent(arg: Value) -> bool:
    return len(arg.terms) == 1 and arg.terms[0][0] == 1 and [(key.kind, n) for key, n in arg.terms[0][1]] == [("z", 1)]


def _rest(key: Generator) -> list[tuple[Any, int]]:
    return list(zip(key.args[1:], key.orders[1:], strict=True))


def _fixed(value: Ball) -> OfPlace:
    return lambda at: value
