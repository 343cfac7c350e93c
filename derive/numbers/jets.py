"""Jets: a value with its derivatives d/dtheta, d^2/dtheta^2, ..., as a tuple of scalars; not divided by factorials."""

from __future__ import annotations

from math import comb
from typing import TypeAlias

from derive.numbers.ring import Scalar, product, raised

Jet: TypeAlias = tuple[Scalar, ...]


def add(*jets: Jet) -> Jet:
    """Return the sum of jets of equal order.

    >>> add((1, 2), (10, 20), (100, 200))
    (111, 222)
    """
    if len(jets[0]) == 1:
        total = jets[0][0]
        for jet in jets[1:]:
            total = total + jet[0]
        return (total,)
    first, *rest = jets
    result = list(first)
    for jet in rest:
        for n, scalar in enumerate(jet):
            result[n] = result[n] + scalar
    return tuple(result)


def multiply(left: Jet, right: Jet) -> Jet:
    """Return the product by Leibniz's rule.

    >>> multiply((3, 1, 0), (3, 1, 0))  # theta squared, at theta = 3
    (9, 6, 2)
    """
    if len(left) == 1:
        return (product(left[0], right[0]),)
    return tuple(leibniz(left, right, n) for n in range(len(left)))


def leibniz(left: Jet, right: Jet, n: int) -> Scalar:
    """Return the n-th derivative of a product."""
    result = product(left[n], right[0])
    for k in range(n):
        result = result + comb(n, k) * product(left[k], right[n - k])
    return result


def power(jet: Jet, exponent: int, one: Jet) -> Jet:
    """Return a power with an exponent of at least zero, by squaring; of a value alone it may be `TooLarge`.

    >>> power((3, 1), 5, (1, 0))
    (243, 405)
    """
    if len(jet) == 1:
        return (raised(jet[0], exponent) * one[0],)
    result = one
    while exponent:
        result = multiply(result, jet) if exponent % 2 else result
        exponent //= 2
        jet = multiply(jet, jet) if exponent else jet
    return result


def constant(value: Scalar, order: int, zero: Scalar) -> Jet:
    """Return the jet of something that does not move."""
    return (value,) + (zero,) * order


def reciprocal(inverse: Scalar, jet: Jet) -> Jet:
    """Return the jet of 1/x from that of x and the value of 1/x: from x i = 1 follows every derivative of i.

    >>> from fractions import Fraction
    >>> reciprocal(Fraction(1, 2), (2, 1, 0))
    (Fraction(1, 2), Fraction(-1, 4), Fraction(1, 4))
    """
    result = [inverse]
    for n in range(1, len(jet)):
        known = product(jet[n], result[0])
        for k in range(1, n):
            known = known + comb(n, k) * product(jet[n - k], result[k])
        result.append(-product(inverse, known))
    return tuple(result)


def exponential(value: Scalar, slope: Jet, order: int) -> Jet:
    """Return the jet of y = exp(x) from its value and the jet of x': from y' = x' y follows every derivative of y.

    >>> exponential(5, (2, 0), 2)  # 5 exp(2 theta), at theta = 0
    (5, 10, 20)
    """
    result = [value]
    for n in range(order):
        derivative = product(slope[n], result[0])
        for k in range(1, n + 1):
            derivative = derivative + comb(n, k) * product(slope[n - k], result[k])
        result.append(derivative)
    return tuple(result)
