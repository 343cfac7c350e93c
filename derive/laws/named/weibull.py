"""Weibull(shape, scale): the distribution function is 1 - exp(-(x / scale)^shape); scipy.stats.weibull_min.

torch.distributions.Weibull has them in the other order, scale and concentration.
"""

from __future__ import annotations

from derive.language.term import Term, lift
from derive.laws.named.refusals import NONE, refuse


def moment(order: int, shape: Term, scale: Term) -> Term:
    """Refuse, but for the order 0."""
    return lift(1) if not order else refuse("Weibull", "the moments hold gamma functions")


def slopes(at: Term, shape: Term, scale: Term) -> tuple[Term, ...]:
    """Return the derivatives of log p(at), which are refused where a parameter moves."""
    return (NONE, NONE)
