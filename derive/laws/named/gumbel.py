"""Gumbel(loc, scale): the distribution function is exp(-exp(-(x - loc) / scale)); scipy.stats.gumbel_r.

So in torch.
"""

from __future__ import annotations

from derive.language.term import Term, lift
from derive.laws.named.refusals import NONE, refuse


def moment(order: int, loc: Term, scale: Term) -> Term:
    """Refuse, but for the order 0."""
    return lift(1) if not order else refuse("Gumbel", "the moments hold Euler's constant")


def slopes(at: Term, loc: Term, scale: Term) -> tuple[Term, ...]:
    """Return the derivatives of log p(at), which are refused where a parameter moves."""
    return (NONE, NONE)
