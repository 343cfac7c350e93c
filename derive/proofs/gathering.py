"""A bias with signs, for a reader: means of one variable put together, min, max, abs and indicator found again. Not trusted.

Nothing rests on it: what is returned is equal to what was given, or is what was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import reduce
from itertools import product
from math import gcd, lcm
from operator import add, mul
from typing import TypeAlias

from derive.kernel import algebra as scalar
from derive.kernel.algebra import Monomial, monomials, product_of, sum_of
from derive.kernel.premises import EVERYTHING
from derive.language.errors import RuleError
from derive.language.notation import absolute, indicator, maximum, minimum, sqrt
from derive.language.scope import depends
from derive.language.term import (
    Density,
    Exp,
    Expect,
    Grad,
    Log,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sign,
    Symbol,
    Term,
    anywhere,
    parts,
    rebuild,
    subterms,
)
from derive.proofs.conversions import normalise

Read: TypeAlias = tuple[Fraction, Term]
"""A number, and a term that it multiplies."""


def gathered(term: Term) -> Term:
    """Return an equal term that is shorter to read, or the term itself where it has no sign or nothing was found.

    >>> from derive.notation import E, constant, finite, function, parameter, sign
    >>> b, f, c = finite("b", parameter("theta")), function("f"), constant("c")
    >>> print(gathered(E(f(b) * sign(c - f(b)), b) / 2 - c / 2 * E(sign(c - f(b)), b)))
    -(1/2) * E_b[abs(c - f(b))]
    """
    if not anywhere(term, _is_sign):
        return term
    try:
        found = _rooted(reduce(add, _gathered(monomials(term))))
        same = scalar.equal(normalise(found, EVERYTHING).rhs, normalise(term, EVERYTHING).rhs)
    except RuleError:
        return term
    return found if same else term


def _rooted(term: Term) -> Term:
    """Return a term with the square roots in its products written as such."""
    if isinstance(term, (Expect, Over)):
        return type(term)(_rooted(term.body), term.variable)
    new = rebuild(term, tuple(map(_rooted, parts(term)))) if not isinstance(term, Density | Score) else term
    signs = [one.base for one in getattr(new, "args", ()) if isinstance(one, Power) and isinstance(one.base, Sign)]
    for sign, part in product(signs, getattr(new, "args", ())):
        match part:
            case Exp(Mul((Number(value), Log(arg))) | Mul((Log(arg), Number(value)))) if value == Fraction(1, 2):
                root = sqrt(scalar.tidy(arg - 1 + sign**2))
                if isinstance(new, Mul) and scalar.equal(root, part * sign**2):
                    rest = [one for one in new.args if one is not part and one != Power(sign, 2)]
                    new = reduce(mul, rest, root) if rest else root
    return new


def _is_sign(term: Term) -> bool:
    return isinstance(term, Sign)


def _gathered(summands: Sequence[Monomial]) -> Iterator[Term]:
    bodies: dict[tuple[RandomVariable, Symbol | None], list[Monomial]] = {}
    rest: list[Monomial] = []
    for coefficient, factors in summands:
        means = [found for atom, n in factors if n == 1 and (found := _mean(atom)) is not None]
        outside = product_of(coefficient, tuple(factor for factor in factors if _mean(factor[0]) is None))
        if len(means) != 1 or (means[0][1] is not None and depends(outside, means[0][1])):
            rest.append((coefficient, factors))
            continue
        mean, parameter = means[0]
        bodies.setdefault((mean.variable, parameter), []).extend(monomials(outside * mean.body))
    for (variable, parameter), body in bodies.items():
        plain, signed = _best(monomials(sum_of(tuple(body))))
        for part in (plain, signed):
            if part is not None:
                mean = Expect(part[1], variable)
                moved = mean if parameter is None else Grad(mean, parameter)
                yield moved if part[0] == 1 else part[0] * moved
    yield from ([sum_of(tuple(rest))] if rest else [])


def _best(summands: tuple[Monomial, ...]) -> tuple[Read | None, Read | None]:
    """Return what is left by itself, and what has signs: all of it if that is min or max, a part if that reads as something."""
    signed = tuple(one for one in summands if any(map(_is_sign, dict(one[1]))))
    plain = tuple(one for one in summands if one not in signed)
    if not signed:
        return (_shared(plain)[0] if plain else None), None
    whole, found = _shared(summands)
    part, found_part = _shared(signed)
    if found or not found_part or not plain:
        return None, whole
    return _shared(plain)[0], part


def _mean(atom: Term) -> tuple[Expect, Symbol | None] | None:
    """Return the mean that an atom is, or is the gradient of."""
    match atom:
        case Expect():
            return atom, None
        case Grad(Expect() as mean, parameter):
            return mean, parameter
    return None


def _shared(summands: tuple[Monomial, ...]) -> tuple[Read, bool]:
    """Return a sum as a number times a term, the factors that its summands share apart, and whether it reads as something."""
    read = _read(sum_of(summands))
    if read is not None:
        return read, True
    factors = dict(summands[0][1])
    for _, others in summands[1:]:
        factors = {atom: _nearer(n, dict(others).get(atom, 0)) for atom, n in factors.items()}
    factors = {atom: n for atom, n in factors.items() if n}
    numbers = [coefficient for coefficient, _ in summands]
    size = Fraction(gcd(*(n.numerator for n in numbers)), lcm(*(n.denominator for n in numbers)))
    content = size if any(n > 0 for n in numbers) else -size
    inner = scalar.tidy(sum_of(summands) / content * product_of(Fraction(1), tuple((atom, -n) for atom, n in factors.items())))
    read = _read(inner)
    number, left = read or (Fraction(1), inner)
    return (content * number, _product(left, product_of(Fraction(1), tuple(factors.items())))), read is not None


def _product(first: Term, second: Term) -> Term:
    return first if second == scalar.ONE else second if first == scalar.ONE else first * second


def _nearer(first: int, second: int) -> int:
    """Return the exponent that two have in common: of x^2 and x it is 1, of 1/x and x none."""
    return min(first, second, key=abs) if first * second > 0 else 0


def _read(term: Term) -> Read | None:
    """Return a polynomial in signs as a number times a shorter term, where one is found for one of its signs."""
    signs = {atom for _, factors in monomials(term) for atom, _ in factors if isinstance(atom, Sign)}
    inner = {found for sign in signs for found in subterms(sign.arg) if isinstance(found, Sign)}
    for sign in sorted(signs - inner, key=repr):
        powers: tuple[list[Monomial], ...] = [], [], []
        for coefficient, factors in monomials(term):
            power = dict(factors).get(sign, 0)
            powers[power].append((coefficient, tuple(factor for factor in factors if factor[0] != sign)))
        found = _of_one_sign(sign.arg, *(sum_of(tuple(some)) for some in powers))
        if found is not None:
            return found
    return None


def _of_one_sign(x: Term, none: Term, odd: Term, even: Term) -> Read | None:
    """Return none + odd sign(x) + even sign(x)^2 as a number times what reads better."""
    for turned in (1, -1):
        if even != scalar.ZERO and scalar.equal(odd, turned * even):
            height, above = scalar.tidy(2 * even), indicator(scalar.tidy(turned * x))
            if none == scalar.ZERO and isinstance(height, Number):
                return height.value, above
            return Fraction(1), _product(height, above) if none == scalar.ZERO else none + _product(height, above)
    first, second = monomials(odd), monomials(x)
    slope = first[0][0] / second[0][0] if first else Fraction(0)
    if even != scalar.ZERO or not slope or not scalar.equal(odd, slope * x):
        return None
    if none == scalar.ZERO:
        return slope, absolute(x)
    size = 2 * abs(slope)
    sides = [scalar.tidy((none + side * abs(slope) * x) / size) for side in (1, -1)]
    shorter = sum(len(monomials(side)) for side in sides) < len(monomials(none)) + len(first)
    return (size, (maximum if slope > 0 else minimum)(*map(_whole, sides))) if shorter else None


def _whole(term: Term) -> Term:
    number, read = _read(term) or (Fraction(1), term)
    return read if number == 1 else number * read
