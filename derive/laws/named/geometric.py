"""Geometric(probability): p (1 - p)^x on 0, 1, 2, ..., the failures before the first success; mean (1 - p) / p.

So in torch; scipy.stats.geom counts the trials, one more.
"""

from __future__ import annotations

from math import comb

from derive.language.term import Add, Term, lift


def moment(order: int, probability: Term) -> Term:
    """Return E[x^order], by E[x^n] = q E[(x + 1)^n], where q = 1 - p: the trials after a failure are as all of them."""
    odds = (1 - probability) / probability
    moments: list[Term] = [lift(1)]
    for n in range(1, order + 1):
        moments.append(odds * Add(tuple(comb(n, k) * moments[k] for k in range(n))))
    return moments[order]


def slopes(at: Term, probability: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the probability."""
    return (1 / probability - at / (1 - probability),)
