"""Laplace(loc, scale): exp(-|x - loc| / scale) / (2 scale); mean loc, variance 2 scale^2. So in torch and in SciPy.

The score has the sign or the size of x - loc, and is no polynomial.
"""

from __future__ import annotations

from math import comb, factorial

from derive.language.term import Add, Term
from derive.laws.named.refusals import NONE


def moment(order: int, loc: Term, scale: Term) -> Term:
    """Return E[x^order]: of (x - loc) / scale the even moments are n!, the odd ones 0."""
    even = range(0, order + 1, 2)
    return Add(tuple(comb(order, n) * factorial(n) * loc ** (order - n) * scale**n for n in even))


def slopes(at: Term, loc: Term, scale: Term) -> tuple[Term, ...]:
    """Return the derivatives of log p(at), which are refused where a parameter moves."""
    return (NONE, NONE)
