"""Exact polynomials and rationals: the only file that imports FLINT, which has no types of its own.

A `Scalar` is a FLINT polynomial with rational coefficients, or a FLINT rational. Both have `+ - *` and integer powers, so one
reader works over both. There are no fractions of polynomials: an inverse is a generator with a relation, which is used only
when a result is tested for zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from fractions import Fraction
from itertools import compress
from operator import mul
from typing import Any, TypeAlias, TypeVar

from flint import Ordering, acb, arb, ctx, fmpq, fmpq_mpoly, fmpq_mpoly_ctx
from flint.utils.flint_exceptions import DomainError

from derive.language.errors import NotEvaluable, TooLarge

Scalar: TypeAlias = Any
Ball: TypeAlias = Any  # an arb: a midpoint and a radius, which every operation rounds outwards
MOST_TERMS = 2_000_000
MOST_EXPONENTS = 50_000_000  # each term has one for each generator of the ring, used or not
MOST_BITS, MOST_POWER, MOST_BITS_WRITTEN = 1_000_000, 500, 100_000
MOST_KNOWN = 64
_ONE = fmpq(1)
Exponents: TypeAlias = tuple[tuple[int, int], ...]  # (index of a generator, power), powers positive
Terms: TypeAlias = tuple[tuple[Exponents, Fraction], ...]
T = TypeVar("T")


class RingFullError(Exception):
    """A generator was wanted for which the ring has no room: start again in a larger ring (never seen by a user)."""


def rational(value: Fraction | int) -> Scalar:
    """Return an exact number as a FLINT rational.

    >>> rational(Fraction(2, 4))
    1/2
    """
    exact = Fraction(value)
    return fmpq(exact.numerator, exact.denominator)


def fraction(value: Scalar) -> Fraction:
    """Return a FLINT rational as a `Fraction`.

    >>> fraction(rational(Fraction(1, 3)))
    Fraction(1, 3)
    """
    return Fraction(int(value.p), int(value.q))


def total(scalars: Iterable[Scalar], zero: Scalar) -> Scalar:
    """Add scalars in pairs of similar size, which is fast where one long sum would copy its growing total each time.

    Raises
        TooLarge, if they are polynomials that have more than `MOST_EXPONENTS` exponents together.

    >>> total([rational(1), rational(2), rational(3)], rational(0))
    6
    """
    layer = list(scalars) or [zero]
    _refuse_wide(layer)
    while len(layer) > 1:
        layer = [layer[i] + layer[i + 1] if i + 1 < len(layer) else layer[i] for i in range(0, len(layer), 2)]
    return layer[0]


def ball(value: Fraction | int) -> Ball:
    """Return a ball that contains an exact number.

    >>> ball(Fraction(1, 3)).contains(rational(Fraction(1, 3)))
    True
    """
    return arb(rational(value))


def size(scalar: Scalar) -> int:
    """Return the number of terms of a polynomial, 1 for a number."""
    return len(scalar) if isinstance(scalar, fmpq_mpoly) else 1


def refuse_large(terms: int) -> None:
    """Refuse an operation that may have too many terms: it is asked for before anything is multiplied.

    Raises
        TooLarge, if there are more than `MOST_TERMS`.
    """
    if terms > MOST_TERMS:
        message = f"up to {terms} terms are more than the {MOST_TERMS} that are feasible: take fewer outcomes or draws."
        raise TooLarge(message)


def _refuse_wide(scalars: list[Scalar]) -> None:
    """Refuse polynomials that fill the memory: a term of a large ring is long, however few generators it has."""
    terms, ring = sum(map(size, scalars)), next((one.context() for one in scalars if isinstance(one, fmpq_mpoly)), None)
    if ring is not None and terms * ring.nvars() > MOST_EXPONENTS:
        message = f"{terms} terms in {ring.nvars()} unknowns are more than are feasible: take fewer outcomes or draws."
        raise TooLarge(message)


def refuse_power(degree: int) -> None:
    """Refuse a power that would be gone through one by one.

    Raises
        TooLarge, if it is more than `MOST_POWER`.
    """
    if degree > MOST_POWER:
        message = f"the power {degree} of a probability, an inverse or a normal variable is above the feasible {MOST_POWER}."
        raise TooLarge(message)


def product(left: Scalar, right: Scalar) -> Scalar:
    """Return a product; `TooLarge` if it may have too many terms.

    >>> product(rational(2), rational(3))
    6
    """
    refuse_large(size(left) * size(right))
    return left * right


def raised(base: Scalar, exponent: int) -> Scalar:
    """Return a power with an exponent of at least zero, by squaring: FLINT has no power of a ball around 0.

    Raises
        TooLarge, if it may have too many terms or digits.

    >>> raised(spread(Fraction(1, 3)), 2).contains(rational(Fraction(1, 9)))
    True
    >>> raised(rational(2), 10)
    1024
    """
    if isinstance(base, (acb, arb)):  # as many bits as the precision has, whatever the exponent
        return _raised(base, exponent, mul)
    if exponent * _bits(base) > MOST_BITS:
        message = f"a power with the exponent {exponent} has more digits than are feasible: take a smaller exponent."
        raise TooLarge(message)
    return _raised(base, exponent, product)


def _raised(base: Scalar, exponent: int, times: Callable[[Any, Any], Any]) -> Scalar:
    result: Any = _ONE
    square = base
    while exponent:
        if exponent % 2:
            result = times(result, square)
        exponent //= 2
        square = times(square, square) if exponent else square
    return result


def _bits(scalar: Scalar) -> int:
    """Return how fast the coefficients of powers grow: 0 where all are 0, 1 or -1 and so are those of every power."""
    values = [scalar] if isinstance(scalar, fmpq) else list(scalar.coeffs())[:64] if isinstance(scalar, fmpq_mpoly) else []
    own = max((int(part.bit_length()) - 1 for value in values for part in (value.p, value.q) if part != 0), default=0)
    return own + (size(scalar) > 1)


def quotient(left: Scalar, right: Scalar) -> Scalar | None:
    """Return the exact quotient of two polynomials, None where there is none.

    >>> ring = PolynomialRing(2)
    >>> x = ring.generator("x")
    >>> quotient(x * x + x, x) == x + 1, quotient(x + 1, x)
    (True, None)
    """
    try:
        return left / right
    except DomainError:
        return None


def log_two_pi() -> Ball:
    """Return a ball that contains log(2 pi).

    >>> bounds(log_two_pi(), digits=3)[0]
    Fraction(919, 500)
    """
    return (2 * arb.pi()).log()


def spread(radius: Fraction) -> Ball:
    """Return a ball that contains everything between `-radius` and `radius`.

    >>> spread(Fraction(1, 3)).contains(rational(Fraction(-1, 3)))
    True
    """
    one = arb(0, 1)
    return one * arb(rational(radius))


def bounds(enclosure: Ball, digits: int = 12) -> tuple[Fraction, Fraction]:
    """Return a short decimal and a radius such that the ball lies between decimal - radius and decimal + radius.

    Raises
        NotEvaluable, if the ball is not finite, or so large that it has no digits that could be written.

    >>> bounds(ball(Fraction(1, 3)), digits=2)
    (Fraction(33, 100), Fraction(1, 50))
    """
    if not enclosure.is_finite():
        message = "an integral or a sum could not be enclosed here: nothing is known of its value."
        raise NotEvaluable(message)
    unit = 10**digits
    middle, spread = (_binary(part) * unit for part in (enclosure.mid(), enclosure.rad()))
    return Fraction(round(middle), unit), Fraction(-(-spread.numerator // spread.denominator) + 1, unit)


def _binary(number: Ball) -> Fraction:
    """Return a number of a ball; a tiny one as a power of two that is larger, and as tiny in any decimal."""
    mantissa, exponent = (int(part) for part in number.man_exp())
    if exponent > MOST_BITS_WRITTEN:
        message = f"a value of 2^{exponent} has more digits than can be written."
        raise NotEvaluable(message)
    return mantissa * Fraction(2) ** max(exponent, -MOST_BITS_WRITTEN)


def ceiling(value: Ball) -> int:
    """Return an integer that is at least the absolute value of whatever the ball contains.

    >>> ceiling(ball(Fraction(-5, 2)))
    3
    """
    return int(value.abs_upper().ceil().unique_fmpz())


def pi() -> Ball:
    """Return a ball that contains pi."""
    return arb.pi()


def root(value: int) -> Ball:
    """Return a ball that contains the square root of a positive integer."""
    return arb(value).sqrt()


def normal_density(at: Ball) -> Ball:
    """Return a ball that contains the standard normal density, also at a complex ball."""
    return (-at * at / 2).exp() / (2 * arb.pi()).sqrt()


def within(most: Ball) -> Ball:
    """Return a ball that contains every number whose absolute value is at most `most`.

    >>> within(ball(2)).contains(rational(-2))
    True
    """
    return arb(0, 1) * most.abs_upper()


def gamma_tail(degree: int, start: int) -> Ball:
    """Return a ball that contains the integral of t^n exp(-t) from `start` on, n being the degree.

    >>> gamma_tail(1, 0).contains(rational(1))
    True
    """
    return arb(start).gamma_upper(arb(degree + 1))


def normal_tail(degree: int, start: int) -> Ball:
    """Return a ball that contains the integral of t^n times the standard normal density from `start` on.

    >>> (2 * normal_tail(2, 0)).contains(rational(1))
    True
    """
    half = Fraction(degree + 1, 2)
    scale = (ball(half - 1) * arb(2).log()).exp() / (2 * arb.pi()).sqrt()
    return scale * ball(Fraction(start**2, 2)).gamma_upper(ball(half))


def is_exact(scalar: Scalar) -> bool:
    """Whether a scalar is a rational, and no ball.

    >>> is_exact(rational(1)), is_exact(ball(1))
    (True, False)
    """
    return isinstance(scalar, fmpq)


def is_long(scalar: Scalar, bits: int = 1000) -> bool:
    """Whether a scalar is a rational with more digits than anyone reads.

    >>> is_long(rational(2)), is_long(rational(2**2000))
    (False, True)
    """
    return is_exact(scalar) and int(scalar.p.bit_length()) + int(scalar.q.bit_length()) > bits


def precision(bits: int) -> AbstractContextManager[None]:
    """Return a context in which balls are computed with so many bits."""
    context: AbstractContextManager[None] = ctx.workprec(bits)
    return context


def integral(function: Callable[[Any], Any], low: Ball, high: Ball) -> Ball:
    """Return a ball that contains the integral of a function from `low` to `high`.

    Args
        function   takes a complex ball to a ball that contains all its values there; analytic wherever these are finite

    >>> integral(lambda x: x * x, ball(0), ball(3)).contains(rational(9))
    True
    """
    tolerance = arb(2) ** (10 - ctx.prec)
    return acb.integral(lambda x, _: function(x), acb(low), acb(high), rel_tol=tolerance, abs_tol=tolerance).real


class PolynomialRing:
    """Polynomials over the rationals in generators that are named by hashable keys, created when they are first wanted.

    Args
        capacity   how many generators there is room for; more raise `RingFullError`

    >>> ring = PolynomialRing(2)
    >>> x = ring.generator("x")
    >>> ring.terms(x * x + ring.number(3))
    ((((0, 2),), Fraction(1, 1)), ((), Fraction(3, 1)))
    """

    zero: Scalar
    one: Scalar

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.keys: list[Any] = []
        self.indices: dict[Hashable, int] = {}
        self._known: dict[tuple[str, str], Any] = {}
        self._context = fmpq_mpoly_ctx.get(tuple(f"x{i}" for i in range(capacity)), Ordering.lex)
        self._generators = self._context.gens()
        self.zero = self.number(0)
        self.one = self.number(1)

    def number(self, value: Fraction | int) -> Scalar:
        """Return a constant polynomial."""
        return self._context.constant(rational(value))

    def generator(self, key: Hashable) -> Scalar:
        """Return the generator of a key, new if the key is.

        Raises
            RingFullError, if it is new and the ring is full.
        """
        index = self.indices.get(key)
        if index is None:
            index = len(self.keys)
            if index == self.capacity:
                raise RingFullError
            self.keys.append(key)
            self.indices[key] = index
        return self._generators[index]

    def at(self, index: int) -> Scalar:
        """Return a generator by its index."""
        return self._generators[index]

    def terms(self, polynomial: Scalar) -> Terms:
        """Return the monomials and coefficients of a polynomial."""
        return self.once("terms", polynomial, self._terms)

    def _terms(self, polynomial: Scalar) -> Terms:
        return tuple((_sparse(exponents), fraction(c)) for exponents, c in polynomial.to_dict().items())

    def once(self, what: str, polynomial: Scalar, compute: Callable[[Scalar], T]) -> T:
        """Compute something of a polynomial, or return what was found before: it is known by its text, if that is short.

        FLINT writes it in a tenth of the time in which it hands out the exponents, one for each generator of the ring.
        """
        if size(polynomial) > MOST_KNOWN:
            return compute(polynomial)
        key = what, str(polynomial)
        if key not in self._known:
            self._known[key] = compute(polynomial)
        found: T = self._known[key]
        return found

    def monomial(self, exponents: Exponents) -> Scalar:
        """Return the product of powers of generators."""
        result = self.one
        for index, power in exponents:
            result = result * self._generators[index] ** power
        return result

    def split(self, polynomial: Scalar, indices: frozenset[int]) -> dict[Exponents, Scalar]:
        """Return the polynomial as a sum over monomials in some of the generators, with the coefficient of each."""
        used = [i for i in range(len(self.keys)) if i in indices]
        degrees = polynomial.degrees()
        if not any(degrees[i] for i in used):
            return {(): polynomial} if polynomial != 0 else {}
        groups: dict[Exponents, dict[tuple[int, ...], Any]] = {}
        for exponents, coefficient in polynomial.to_dict().items():
            rest = list(exponents)
            for i in used:
                rest[i] = 0
            inside = tuple((i, int(exponents[i])) for i in used if exponents[i])
            groups.setdefault(inside, {})[tuple(rest)] = coefficient
        return {inside: self._context.from_dict(rest) for inside, rest in groups.items()}

    def powers(self, polynomial: Scalar, index: int) -> list[Scalar]:
        """Return the coefficients of the powers 0, 1, ... of one generator.

        Raises
            TooLarge, if there are more than `MOST_POWER` of them.
        """
        result: list[Scalar] = []
        name, factorial, degree = f"x{index}", 1, int(polynomial.degrees()[index]) if polynomial != 0 else 0
        if not degree:
            return [polynomial]
        refuse_power(degree)
        for power in range(degree + 1):
            factorial *= max(power, 1)
            result.append(polynomial.subs({name: 0}) * rational(Fraction(1, factorial)))
            polynomial = polynomial.derivative(index)
        return result

    def partial(self, polynomial: Scalar, index: int) -> Scalar:
        """Return the partial derivative with respect to a generator."""
        return polynomial.derivative(index)

    def used(self, polynomial: Scalar) -> tuple[int, ...]:
        """Return the indices of the generators that occur."""
        return self.once("used", polynomial, self._used)

    def _used(self, polynomial: Scalar) -> tuple[int, ...]:
        degrees = polynomial.degrees() if polynomial != 0 else ()
        return tuple(compress(range(len(self.keys)), degrees))

    def value(self, polynomial: Scalar, point: dict[int, Fraction]) -> Fraction:
        """Return the value at a point; generators that the point leaves out are zero."""
        nothing = rational(0)
        return fraction(polynomial(*(rational(point[i]) if i in point else nothing for i in range(self.capacity))))

    def enclosure(self, polynomial: Scalar, point: dict[int, Ball]) -> Ball:
        """Return a ball that contains the value at a point of balls; generators that the point leaves out are zero."""
        result = ball(0)
        for exponents, coefficient in self.terms(polynomial):
            term = ball(coefficient)
            for index, power in exponents:
                term = term * raised(point[index] if index in point else ball(0), power)
            result = result + term
        return result

    def evaluate(self, polynomial: Scalar, value: Callable[[int], Scalar]) -> Scalar:
        """Return the value where each generator is a rational or a ball: a ball if one that occurs is."""
        powers = {i: value(i) for i in self.used(polynomial)}
        if all(is_exact(scalar) for scalar in powers.values()):
            nothing = rational(0)
            return polynomial(*(powers.get(i, nothing) for i in range(self.capacity)))
        result = rational(0)
        for exponents, coefficient in self.terms(polynomial):
            term = rational(coefficient)
            for index, power in exponents:
                term = term * raised(powers[index], power)
            result = result + term
        return result

    def restrict(self, polynomial: Scalar, point: dict[int, Fraction]) -> Scalar:
        """Return the polynomial with some generators replaced by numbers."""
        return polynomial.subs({f"x{i}": rational(value) for i, value in point.items()})

    def ratio(self, left: Scalar, right: Scalar) -> Fraction | None:
        """Return the number c with left = c * right, None if there is none."""
        if left == 0 or right == 0:
            return Fraction(0) if left == 0 and right != 0 else None
        factor = left.leading_coefficient() / right.leading_coefficient()
        return fraction(factor) if left == factor * right else None

    def is_simple(self, polynomials: Iterable[Scalar]) -> bool:
        """Whether a common factor and the factors of polynomials are found soon."""
        return all(len(one) <= 1500 and all(degree <= 200 for degree in one.degrees()) for one in polynomials)

    def factors(self, polynomial: Scalar) -> tuple[Fraction, list[tuple[Scalar, int]]]:
        """Return a number and irreducible factors with their powers, for print."""
        number, factors = polynomial.factor()
        return fraction(number), [(factor, int(power)) for factor, power in factors]

    def lowest(self, numerator: Scalar, denominator: Scalar) -> tuple[Scalar, Scalar]:
        """Return a fraction in lowest terms, for print; nothing that is decided depends on it."""
        common = numerator.gcd(denominator)
        top, bottom = numerator / common, denominator / common
        lead = bottom.leading_coefficient()
        return top * (1 / lead), bottom * (1 / lead)


def _sparse(exponents: tuple[int, ...]) -> Exponents:
    return tuple((i, int(exponents[i])) for i in compress(range(len(exponents)), exponents))
