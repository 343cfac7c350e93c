"""Maxwell(loc, scale): the double-sided law with the density y^2 exp(-y^2 / 2) / (scale sqrt(2 pi)), y = (x - loc) / scale.

mohamed-2020, section 6; mean loc, variance 3 scale^2. scipy.stats.maxwell is the law of |y|. The score in the location has a
pole where the density is zero.
"""

from __future__ import annotations

from math import comb, prod

from derive.language.term import Add, Term
from derive.laws.named.refusals import NONE


def moment(order: int, loc: Term, scale: Term) -> Term:
    """Return E[x^order]: of y the even moments are (n + 1)!! = 1 * 3 * 5 * ... * (n + 1), the odd ones 0."""
    even = range(0, order + 1, 2)
    return Add(tuple(comb(order, n) * prod(range(1, n + 2, 2)) * loc ** (order - n) * scale**n for n in even))


def slopes(at: Term, loc: Term, scale: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the location, which is refused where it moves, and along the scale."""
    return (NONE, (at - loc) ** 2 * scale**-3 - 3 / scale)
