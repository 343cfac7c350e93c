"""NegativeBinomial(total, probability): Gamma(total + x) / (Gamma(total) x!) p^x (1 - p)^total on 0, 1, 2, ...

So in torch (total_count = total, probs = probability): the successes before so many failures; mean total p / (1 - p).
scipy.stats.nbinom has n = total and the probability 1 - p. The score in the total holds digamma functions.
"""

from __future__ import annotations

from derive.language.term import Add, Mul, Term, lift
from derive.laws.named.poisson import stirling
from derive.laws.named.refusals import NONE


def moment(order: int, total: Term, probability: Term) -> Term:
    """Return E[x^order]: the sum of S(order, n) total (total + 1) ... (total + n - 1) odds^n; see `stirling`."""
    odds, rising, summands = probability / (1 - probability), lift(1), list[Term]()
    for n, number in enumerate(stirling(order)):
        summands.append(Mul((lift(number), rising, odds**n)))
        rising = rising * (total + n)
    return Add(tuple(summands))


def slopes(at: Term, total: Term, probability: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the total, which is refused where it moves, and along the probability."""
    return (NONE, at / probability - total / (1 - probability))
