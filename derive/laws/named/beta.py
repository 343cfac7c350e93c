"""Beta(a, b): x^(a - 1) (1 - x)^(b - 1) / B(a, b) on (0, 1); mean a / (a + b).

So in torch (concentration1 = a, concentration0 = b) and in SciPy. The scores hold log x, log(1 - x) and digamma functions.
"""

from __future__ import annotations

from derive.language.term import Term, lift
from derive.laws.named.refusals import NONE


def moment(order: int, a: Term, b: Term) -> Term:
    """Return E[x^order]: the product of (a + n) / (a + b + n)."""
    result = lift(1)
    for n in range(order):
        result = result * (a + n) / (a + b + n)
    return result


def slopes(at: Term, a: Term, b: Term) -> tuple[Term, ...]:
    """Return the derivatives of log p(at), which are refused where a parameter moves."""
    return (NONE, NONE)
