"""Exponential(rate): rate exp(-rate x) on x > 0; mean 1/rate, variance 1/rate^2. scipy.stats.expon has scale = 1/rate."""

from __future__ import annotations

from math import factorial

from derive.language.term import Term


def moment(order: int, rate: Term) -> Term:
    """Return E[x^order].

    >>> from derive.notation import constant
    >>> print(moment(2, constant("c")))
    2 / c^2
    """
    return factorial(order) * rate**-order


def slopes(at: Term, rate: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the rate."""
    return (1 / rate - at,)
