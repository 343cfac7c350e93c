"""How many summands a term has once it is multiplied out, estimated before anything is: a search goes through all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import comb, prod

from derive.language.depth import nodes
from derive.language.errors import TooLong
from derive.language.term import (
    Add,
    Exp,
    Expect,
    Grad,
    Log,
    Mul,
    Number,
    Over,
    Power,
    Score,
    Sigmoid,
    Sign,
    Stop,
    Term,
    anywhere,
    parts,
)
from derive.sharing import remembered

MOST_SUMMANDS, MOST_PLAIN, MOST_NODES = 600, 1_100, 5_000
_LARGE = 10**9


@dataclass(frozen=True)
class Size:
    """How many summands numerator and denominator of a term have, of what degree they are, and how long the divisors are."""

    top: int = 1
    bottom: int = 1
    degrees: tuple[int, int] = (1, 0)
    divisors: int = 0

    def times(self, other: Size) -> Size:
        """Return the size of a product."""
        degrees = self.degrees[0] + other.degrees[0], self.degrees[1] + other.degrees[1]
        top, bottom = min(self.top * other.top, _LARGE), min(self.bottom * other.bottom, _LARGE)
        return Size(top, bottom, degrees, self.divisors + other.divisors)

    def within(self, atoms: int) -> Size:
        """Return the size, as far as there are so many monomials in so many atoms."""
        top, bottom = (_monomials(atoms, degree) for degree in self.degrees)
        return Size(min(self.top, top), min(self.bottom, bottom), self.degrees, self.divisors)


def refuse_long(term: Term, what: str) -> None:
    """Refuse a term with too many summands or parts.

    Raises
        TooLong, if there are more than `MOST_SUMMANDS`, of a polynomial without signs more than `MOST_PLAIN`, or more than
        `MOST_NODES` parts.

    >>> from derive.notation import constant
    >>> x, y = constant("x"), constant("y")
    >>> summands((x + y) ** 5 * (x + 1)), summands(1 / (x + y) + 1 / (x - y)), summands((x + y) ** 1000)
    (12, 15, 1001)
    """
    found = summands(term)
    most = MOST_SUMMANDS if found <= MOST_SUMMANDS or anywhere(term, _is_hard) else MOST_PLAIN
    if found > most:
        message = f"{what} is a sum of up to {found} terms, more than the {most} that are feasible."
        raise TooLong(message)
    if nodes(term) > MOST_NODES:
        message = f"{what} has {nodes(term)} parts, more than the {MOST_NODES} that are feasible."
        raise TooLong(message)


def summands(term: Term) -> int:
    """Return how many summands a term has at most in the end, each as often as there are summands that divide it."""
    found = _size(term, {})
    return found.top * (1 + found.divisors)


def _is_hard(term: Term) -> bool:
    """Whether a normal form does more with a term than to multiply it out."""
    return isinstance(term, (Log, Exp, Sigmoid, Sign, Grad)) or (isinstance(term, Power) and term.exponent < 0)


def _size(term: Term, known: dict[int, Size]) -> Size:
    if id(term) not in known:
        known[id(term)] = _counted(term, known).within(len(_indeterminates(term)))
    return known[id(term)]


def _counted(term: Term, known: dict[int, Size]) -> Size:
    match term:
        case Number():
            return Size(degrees=(0, 0))
        case Add(args):
            return _sum([_size(arg, known) for arg in args])
        case Mul(args):
            return reduce(Size.times, (_size(arg, known) for arg in args), Size(degrees=(0, 0)))
        case Power(base, exponent):
            return _power(_size(base, known), exponent)
        case Expect(body, _) | Over(body, _) | Stop(body):
            return _size(body, known)
        case Grad(body, _):
            inner = _size(body, known)
            degrees = inner.degrees[0] + 1, inner.degrees[1]
            return replace(inner, top=min(inner.top * _order(body), _LARGE), degrees=degrees)
        case Log(arg) | Sign(arg):
            return Size(_size(arg, known).top)
    return Size()


def _sum(sizes: Iterable[Size]) -> Size:
    """Return the size of a sum over one denominator, to which every other denominator is a factor of each numerator."""
    each = list(sizes)
    bottom, below = min(prod(one.bottom for one in each), _LARGE), sum(one.degrees[1] for one in each)
    top = sum(one.top * (bottom // one.bottom) for one in each)
    highest = max(one.degrees[0] + below - one.degrees[1] for one in each)
    return Size(min(top, _LARGE), bottom, (highest, below), sum(one.divisors for one in each))


def _power(base: Size, exponent: int) -> Size:
    times = abs(exponent)
    top, bottom = (min(_monomials_of(count, times), _LARGE) for count in (base.top, base.bottom))
    degrees = base.degrees[0] * times, base.degrees[1] * times
    divided = Size(bottom, top, (degrees[1], degrees[0]), base.top if base.top > 1 else 0)
    return Size(top, bottom, degrees, base.divisors) if exponent >= 0 else divided


def _monomials_of(count: int, power: int) -> int:
    """Return how many summands a power of a sum has."""
    return 1 if count == 1 else power + 1 if count == 2 else _LARGE if count + power > 2000 else comb(count + power - 1, power)


def _monomials(atoms: int, degree: int) -> int:
    return _LARGE if atoms + degree > 2000 else comb(atoms + degree, degree)


def _order(term: Term) -> int:
    """Return how deep gradients stand in a term, the logarithmic ones too, plus one."""
    return max((_order(part) for part in parts(term)), default=1) + isinstance(term, (Grad, Score))


@remembered
def _indeterminates(term: Term) -> frozenset[Term]:
    """Return what a term is a rational function of."""
    match term:
        case Number():
            return frozenset()
        case Add() | Mul() | Power() | Expect() | Over() | Stop() | Grad():
            own = frozenset[Term]({term} if isinstance(term, Grad) else ())
            return own | frozenset[Term]().union(*map(_indeterminates, parts(term)))
    return frozenset({term})
