"""Logarithms of sums of exponentials, read off a formula, so that they can be printed in a form that does not overflow."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

from derive.language.term import Add, Density, Exp, Log, Mul, Number, Power, Term

Exponentials: TypeAlias = list[tuple[Fraction, Term]]


def exponentials(term: Term) -> Exponentials | None:
    """Return pairs (c, a) with `term` = sum of c * exp(a), every c > 0 and every a different; None where it has no such form.

    A density is exp(log p), and exp(log(x)) is x, so that a mean of weights inside a mean of weights becomes one mean.

    >>> from derive.notation import constant, exp, log
    >>> x, y = constant("x"), constant("y")
    >>> [(str(c), a.name) for c, a in exponentials((exp(x) + exp(y) + exp(log(exp(x)))) / 2)]
    [('1', 'x'), ('1/2', 'y')]
    """
    match term:
        case Number(value):
            return [(value, Number(Fraction(0)))] if value > 0 else None
        case Exp(Log(inner)) if (found := exponentials(inner)) is not None:
            return found
        case Exp(arg):
            return [(Fraction(1), arg)]
        case Density():
            return [(Fraction(1), Log(term))]
        case Add(args):
            return _sum([exponentials(arg) for arg in args])
        case Mul(args):
            return _product([exponentials(arg) for arg in args])
        case Power(base, exponent):
            return _power(exponentials(base), exponent)
    return None


def _sum(parts: list[Exponentials | None]) -> Exponentials | None:
    """Join sums, adding up the coefficients of equal exponents."""
    merged: dict[Term, Fraction] = {}
    for part in parts:
        if part is None:
            return None
        for coefficient, exponent in part:
            merged[exponent] = merged.get(exponent, Fraction(0)) + coefficient
    return [(coefficient, exponent) for exponent, coefficient in merged.items()]


def _product(parts: list[Exponentials | None]) -> Exponentials | None:
    """Multiply; a product of two sums is not written out."""
    result: Exponentials = [(Fraction(1), Number(Fraction(0)))]
    for part in parts:
        if part is None or (len(part) > 1 and len(result) > 1):
            return None
        result = [(c * d, _plus(a, b)) for c, a in result for d, b in part]
    return result


def _plus(left: Term, right: Term) -> Term:
    if left == Number(Fraction(0)):
        return right
    return left if right == Number(Fraction(0)) else left + right


def _power(base: Exponentials | None, exponent: int) -> Exponentials | None:
    if base is None or len(base) > 1:
        return None
    ((coefficient, inner),) = base
    return [(coefficient**exponent, inner if exponent == 1 else exponent * inner)]
