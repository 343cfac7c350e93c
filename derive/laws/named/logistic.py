"""Logistic(loc, scale): the distribution function is sigmoid((x - loc) / scale); mean loc, variance pi^2 scale^2 / 3.

torch has it as a transformed uniform law only.
"""

from __future__ import annotations

from derive.language.term import Term, lift
from derive.laws.named.refusals import NONE, refuse


def moment(order: int, loc: Term, scale: Term) -> Term:
    """Refuse, but for the order 0."""
    return lift(1) if not order else refuse("Logistic", "the moments hold powers of pi")


def slopes(at: Term, loc: Term, scale: Term) -> tuple[Term, ...]:
    """Return the derivatives of log p(at), which are refused where a parameter moves."""
    return (NONE, NONE)
