"""The shape of a term as it prints: how tightly it holds together, whether it has a minus sign, what it divides by."""

from __future__ import annotations

from enum import IntEnum
from fractions import Fraction

from derive.language.term import Add, Density, Exp, Grad, Log, Mul, Number, Over, Power, Score, Term


class Level(IntEnum):
    """How tightly a printed term holds together; a looser one is bracketed where a tighter one is needed."""

    SUM = 0
    PRODUCT = 1
    PREFIX = 2
    POWER = 3
    ATOM = 4


def negative(term: Term) -> bool:
    """Whether a term prints with a minus sign in front.

    >>> from derive.language.term import Symbol
    >>> negative(Number(Fraction(-2))), negative(-Symbol("x")), negative(Symbol("x"))
    (True, True, False)
    """
    match term:
        case Number(value) | Mul((Number(value), *_)):
            return value < 0
    return False


def opposite(term: Term) -> Term:
    """Return a negative term without its minus sign.

    >>> from derive.language.term import Symbol
    >>> opposite(-Symbol("x"))
    Symbol(name='x')
    """
    match term:
        case Number(value):
            return Number(-value)
        case Mul((Number(value), *rest)) if value == -1 and len(rest) == 1:
            return rest[0]
        case Mul((Number(value), *rest)) if value == -1 and rest:
            return Mul(tuple(rest))
        case Mul((Number(value), *rest)):
            return Mul((Number(-value), *rest))
    return term


def level_of(term: Term) -> Level:
    """Return how tightly a term holds together."""
    match term:
        case _ if negative(term):
            return Level.SUM
        case Add():
            return Level.SUM
        case Mul():
            return Level.PRODUCT
        case Number(value):
            return Level.ATOM if value.denominator == 1 else Level.PRODUCT
        case Power(_, exponent):
            return Level.POWER if exponent >= 0 else Level.PRODUCT
        case Score() | Grad() | Over():
            return Level.PREFIX
        case Log(Density()):
            return Level.PREFIX
    return Level.ATOM


def radicand(term: Term) -> Term | None:
    """Return x of log(x) / 2."""
    match term:
        case Mul((Number(value), Log(arg))) | Mul((Log(arg), Number(value))) if value == Fraction(1, 2):
            return arg
    return None


def inverse_root(term: Term) -> Term | None:
    """Return exp(log(x) / 2) of exp(-log(x) / 2)."""
    if not isinstance(term, Exp) or not negative(term.arg) or radicand(opposite(term.arg)) is None:
        return None
    return Exp(opposite(term.arg))


def divisor(term: Term, *, first: bool) -> Term | None:
    """Return what a factor divides by: x of x^-1, 2 of a 1/2 that stands behind another factor."""
    match term:
        case Power(base, -1):
            return base
        case Power(base, exponent) if exponent < 0:
            return Power(base, -exponent)
        case Number(value) if not first and value.numerator == 1 and value.denominator > 1:
            return Number(Fraction(value.denominator))
    return None
