"""Uniform noise and one sign of it, as in ARM: the mean is a mean over each side of the jump.

For 0 <= t <= 1 and v uniform on (0, 1)

    E_u[g(u, sign(u - t))] = t E_v[g(t v, -1)] + (1 - t) E_v[g(t + (1 - t) v, 1)],

whatever t moves with: the jump itself has the probability zero. (What ARM rests on: Yin and Zhou 2019, "ARM:
Augment-REINFORCE-merge gradient for stochastic binary networks".)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TypeAlias

from derive.exact.decided import MOST_SUMMANDS, by_summands
from derive.language.scope import depends, free, substitute
from derive.language.term import (
    Add,
    Expect,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Sigmoid,
    Sign,
    Stop,
    Symbol,
    Term,
    anywhere,
    parts,
    rebuild,
)
from derive.numbers.expansion import expand

Place: TypeAlias = frozenset[tuple[tuple[Term, ...], Fraction]]
"""A sum of numbers times factors."""


def split_at_jumps(term: Term) -> Term:
    """Return a term in which a mean over uniform noise with one jump is written as means over both sides of it.

    A mean stays as it is where a summand has several jumps, where one need not lie between 0 and 1, or where the noise itself,
    beside its signs, stands in anything but sums, products and whole powers.

    >>> from fractions import Fraction
    >>> from derive.notation import E, function, sign, uniform
    >>> from derive.printing.text import render
    >>> u, f = uniform("u"), function("f")
    >>> render(split_at_jumps(E(f(sign(u - Fraction(1, 3))), u)))
    '1 * ((1/3) * E_u[f(-1)] + (1 - 1/3) * E_u[f(1)])'
    """
    return by_summands(term, lambda body, noise: any(_signs(body, noise)), _by_sides)


def _by_sides(body: Term, noise: RandomVariable) -> Term | None:
    """The mean over both sides of the only jump; None where it is not known to be one between 0 and 1, or too much is seen."""
    jumps = {sign: _jump(sign.arg, noise) for sign in _signs(body, noise)}
    places = {jump and jump[0] for jump in jumps.values()}
    t = _between(places.pop()) if len(places) == 1 else None
    stopped = anywhere(body, lambda part: isinstance(part, Stop) and depends(part, noise))
    if t is None or (stopped and not isinstance(t, Number)):  # sides move with a gradient outside, and what is stopped does not
        return None
    means = []
    for width, at, side in ((t, t * noise, -1), (1 - t, t + (1 - t) * noise, 1)):
        seen = _replaced(body, {sign: Number(side * jump[1]) for sign, jump in jumps.items() if jump}, noise)
        if seen is None or not _is_polynomial(seen, noise):
            return None
        means.append(width * Expect(substitute(seen, {noise: at}), noise))
    return Add(tuple(means))


def _signs(term: Term, noise: RandomVariable) -> Iterator[Sign]:
    if not depends(term, noise):  # the variable of a mean inside may have the same name
        return
    if isinstance(term, Sign):
        yield term
        return
    for part in parts(term):
        yield from _signs(part, noise)


def _jump(arg: Term, noise: RandomVariable) -> tuple[Place, Fraction] | None:
    """Where a (u - t) changes its sign, and the sign of the number a; None for another argument."""
    slope, rest = Fraction(0), dict[tuple[Term, ...], Fraction]()
    for scale, factors in expand(arg, MOST_SUMMANDS) or ():
        if factors == (noise,):
            slope += scale
        elif any(not isinstance(leaf, Symbol) for factor in factors for leaf in free(factor)):
            return None
        else:
            rest[factors] = rest.get(factors, Fraction(0)) + scale
    if not slope:
        return None
    return frozenset((factors, -scale / slope) for factors, scale in rest.items() if scale), slope / abs(slope)


def _between(place: Place | None) -> Term | None:
    """The place as a term, where it is a number from 0 to 1, a sigmoid, or 1 less a sigmoid."""
    match sorted(place or {((), Fraction(0))}, key=lambda one: len(one[0])):
        case [((), number)] if place is not None and 0 <= number <= 1:
            return Number(number)
        case [((Sigmoid() as one,), scale)] if scale == 1:
            return one
        case [((), number), ((Sigmoid() as one,), scale)] if number == 1 and scale == -1:
            return 1 - one
    return None


def _replaced(term: Term, signs: Mapping[Sign, Term], noise: RandomVariable) -> Term | None:
    """The term with numbers in place of signs; None where the law of a variable inside moves with the noise."""
    if not depends(term, noise):
        return term
    if isinstance(term, Sign):
        return signs[term]
    *law, _ = parts(term) or (term,)
    if isinstance(term, (Expect, Over)) and any(depends(part, noise) for part in law):
        return None
    children = [_replaced(part, signs, noise) for part in parts(term)]
    return None if None in children else rebuild(term, tuple(child for child in children if child is not None))


def _is_polynomial(term: Term, noise: RandomVariable) -> bool:
    """Whether the noise stands in sums, products and whole powers only: nothing else means the same where the noise moves."""
    match term:
        case Add(args) | Mul(args):
            return all(_is_polynomial(arg, noise) for arg in args)
        case Power(base, exponent) if exponent >= 0:
            return _is_polynomial(base, noise)
    return term == noise or not depends(term, noise)
