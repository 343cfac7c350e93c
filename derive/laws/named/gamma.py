"""Gamma(shape, rate): rate^shape x^(shape - 1) exp(-rate x) / Gamma(shape) on x > 0; mean shape/rate, variance shape/rate^2.

torch.distributions.Gamma has concentration and rate, scipy.stats.gamma a = shape and scale = 1/rate. The score in the shape
holds log x and a digamma function.
"""

from __future__ import annotations

from derive.language.term import Term, lift
from derive.laws.named.refusals import NONE


def moment(order: int, shape: Term, rate: Term) -> Term:
    """Return E[x^order]: shape (shape + 1) ... / rate^order."""
    result = lift(1)
    for n in range(order):
        result = result * (shape + n)
    return result * rate**-order


def slopes(at: Term, shape: Term, rate: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the shape, which is refused where it moves, and along the rate."""
    return (NONE, shape / rate - at)
