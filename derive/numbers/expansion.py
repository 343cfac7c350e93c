"""Sums of products: a mean of a sum is the sum of the means, that of a product of independent factors their product."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from derive.language.term import Add, Mul, Number, Power, RandomVariable, Term


def expand(term: Term, limit: int) -> list[tuple[Fraction, tuple[Term, ...]]] | None:
    """Return a term as a sum of a number times factors, None if there would be more than `limit` of them.

    >>> from derive.language.term import Symbol
    >>> x, y = Symbol("x"), Symbol("y")
    >>> [(str(scale), len(factors)) for scale, factors in expand((x - y) * (x + 2), 8)]
    [('1', 2), ('2', 1), ('-1', 2), ('-2', 1)]
    """
    match term:
        case Number(value):
            return [(value, ())]
        case Add(args):
            pieces = [expand(arg, limit) for arg in args]
            joined = [summand for piece in pieces if piece is not None for summand in piece]
            return None if None in pieces or len(joined) > limit else joined
        case Mul(args):
            return _product([expand(arg, limit) for arg in args], limit)
        case Power(base, exponent) if 0 < exponent <= limit and isinstance(base, (Add, Mul)):
            return _product([expand(base, limit)] * exponent, limit)
    return [(Fraction(1), (term,))]


def _product(
    pieces: list[list[tuple[Fraction, tuple[Term, ...]]] | None], limit: int
) -> list[tuple[Fraction, tuple[Term, ...]]] | None:
    result: list[tuple[Fraction, tuple[Term, ...]]] = [(Fraction(1), ())]
    for piece in pieces:
        if piece is None or len(result) * len(piece) > limit:
            return None
        result = [(left * right, before + after) for left, before in result for right, after in piece]
    return result


def independent_groups(
    factors: tuple[Term, ...], draws: Callable[[Term], frozenset[RandomVariable]]
) -> list[tuple[tuple[Term, ...], frozenset[RandomVariable]]]:
    """Group factors so that two that share a draw are in one group, and return the draws of each group.

    A factor without draws is a group of its own.
    """
    groups: list[tuple[frozenset[RandomVariable], tuple[Term, ...]]] = []
    for factor in factors:
        used = draws(factor)
        sharing = [group for group in groups if group[0] & used]
        groups = [group for group in groups if not group[0] & used]
        together = frozenset[RandomVariable]().union(used, *(group[0] for group in sharing))
        groups.append((together, (*(member for group in sharing for member in group[1]), factor)))
    return [(members, together) for together, members in groups]
