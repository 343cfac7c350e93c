"""Poisson(rate): rate^x exp(-rate) / x! on 0, 1, 2, ...; mean and variance rate. So in torch, and in SciPy as mu."""

from __future__ import annotations

from derive.language.term import Add, Mul, Term, lift


def moment(order: int, rate: Term) -> Term:
    """Return E[x^order]: the sum of S(order, n) rate^n, with the Stirling numbers of the second kind.

    >>> from derive.notation import constant
    >>> print(moment(2, constant("c")))
    0 * c^0 + 1 * c^1 + 1 * c^2
    """
    return Add(tuple(Mul((lift(number), rate**n)) for n, number in enumerate(stirling(order))))


def slopes(at: Term, rate: Term) -> tuple[Term, ...]:
    """Return the derivative of log p(at) along the rate."""
    return (at / rate - 1,)


def stirling(order: int) -> list[int]:
    """Return S(order, 0), ..., S(order, order): with them a power is a sum of falling factorials.

    >>> stirling(3)
    [0, 1, 3, 1]
    """
    row = [1]
    for _ in range(order):
        row = [0, *(n * above + left for n, (left, above) in enumerate(zip(row, [*row[1:], 0], strict=True), 1))]
    return row
