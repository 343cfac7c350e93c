"""Numbers with nilpotent parts: one infinitesimal for each gradient sign that is open, so that gradients nest.

A jet maps a set of infinitesimals, written as the bits of an integer, to the coefficient of their product; the square of each
is zero. Coefficients are arrays that broadcast: one axis for each bound variable, the last one bound first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import factorial
from operator import or_
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Jet: TypeAlias = dict[int, Array]
Derivatives: TypeAlias = Callable[[Array, int], list[Array]]


def constant(value: Any, kind: Any = np.float64) -> Jet:
    """Return what does not move.

    >>> constant(2)
    {0: array(2.)}
    """
    return {0: np.asarray(value, dtype=kind)}


def add(left: Jet, right: Jet) -> Jet:
    """Return the sum."""
    result = dict(left)
    for bits, part in right.items():
        result[bits] = result[bits] + part if bits in result else part
    return result


def scaled(jet: Jet, factor: Any) -> Jet:
    """Return a jet times what does not move."""
    return {bits: part * factor for bits, part in jet.items()}


def subtract(left: Jet, right: Jet) -> Jet:
    """Return the difference."""
    return add(left, scaled(right, -1))


def multiply(left: Jet, right: Jet) -> Jet:
    """Return the product: no infinitesimal occurs twice in it.

    >>> x = {0: np.array(3.0), 1: np.array(1.0)}
    >>> {bits: float(part) for bits, part in multiply(x, x).items()}
    {0: 9.0, 1: 6.0}
    """
    result: Jet = {}
    for bits, part in left.items():
        for others, factor in right.items():
            if not bits & others:
                product = part * factor
                result[bits | others] = result[bits | others] + product if bits | others in result else product
    return result


def apply(derivatives: Derivatives, jet: Jet) -> Jet:
    """Return a smooth function of a jet by its Taylor series, which ends.

    Args
        derivatives  returns the function and its first derivatives, so many, at an array
        jet          the argument
    """
    moving = {bits: part for bits, part in jet.items() if bits}
    order = reduce(or_, moving, 0).bit_count()
    values = derivatives(jet[0], order)
    result: Jet = {0: values[0]}
    power: Jet = moving
    for n in range(1, order + 1):
        result = add(result, scaled(power, values[n] / factorial(n)))
        power = multiply(power, moving)
    return result


def coefficient(jet: Jet, bit: int) -> Jet:
    """Return the derivative along an infinitesimal.

    >>> coefficient({0: np.array(3.0), 1: np.array(1.0)}, 1)
    {0: array(1.)}
    """
    found = {bits ^ bit: part for bits, part in jet.items() if bits & bit}
    return found if 0 in found else {0: np.zeros_like(jet[0]), **found}


def base(jet: Jet) -> Jet:
    """Return the value alone."""
    return {0: jet[0]}


def chosen(condition: Array, jet: Jet) -> Jet:
    """Return the jet where the condition holds, and zero elsewhere, whatever stands there."""
    return {bits: np.where(condition, part, np.zeros((), part.dtype)) for bits, part in jet.items()}


def total(jet: Jet, depth: int) -> Jet:
    """Return the sum over the axis of the variable that was bound last, below which there are `depth` others."""
    return {bits: part.sum(axis=0) if part.ndim > depth else part for bits, part in jet.items()}


# Smooth functions


def power(jet: Jet, exponent: int) -> Jet:
    """Return an integer power.

    >>> {bits: float(part) for bits, part in power({0: np.array(2.0), 1: np.array(1.0)}, -1).items()}
    {0: 0.5, 1: -0.25}
    """

    def derivatives(x: Array, order: int) -> list[Array]:
        values, factor = [], 1
        for n in range(order + 1):
            values.append(factor * x ** (exponent - n) if factor else np.zeros_like(x))
            factor *= exponent - n
        return values

    return apply(derivatives, jet)


def exp(jet: Jet) -> Jet:
    """Return the exponential."""
    return apply(lambda x, order: [np.exp(x)] * (order + 1), jet)


def log(jet: Jet) -> Jet:
    """Return the natural logarithm."""

    def derivatives(x: Array, order: int) -> list[Array]:
        return [np.log(x), *((-1) ** (n - 1) * factorial(n - 1) * x ** (-n) for n in range(1, order + 1))]

    return apply(derivatives, jet)


def sin(jet: Jet) -> Jet:
    """Return the sine."""

    def derivatives(x: Array, order: int) -> list[Array]:
        s, c = np.sin(x), np.cos(x)
        return [(s, c, -s, -c)[n % 4] for n in range(order + 1)]

    return apply(derivatives, jet)


def sigmoid(jet: Jet) -> Jet:
    """Return 1 / (1 + exp(-x)); its derivatives are polynomials in it.

    >>> {bits: float(part) for bits, part in sigmoid({0: np.array(0.0), 1: np.array(1.0)}).items()}
    {0: 0.5, 1: 0.25}
    """
    return apply(lambda x, order: _in_sigmoid(x, [0, 1], order), jet)


def softplus(jet: Jet) -> Jet:
    """Return log(1 + exp(x)), whose derivative is the sigmoid."""
    return apply(lambda x, order: [np.logaddexp(0 * x, x), *_in_sigmoid(x, [0, 1], order - 1)] if order else [
        np.logaddexp(0 * x, x)
    ], jet)


def tanh(jet: Jet) -> Jet:
    """Return the hyperbolic tangent, 2 sigmoid(2x) - 1."""
    return add(scaled(sigmoid(scaled(jet, 2)), 2), constant(-1))


def _in_sigmoid(x: Array, coefficients: list[int], order: int) -> list[Array]:
    """Return a polynomial in s = sigmoid(x) and its derivatives: ds = s (1 - s)."""
    small = np.exp(-abs(x))
    s = np.where(x >= 0, 1, small) / (1 + small)
    values = []
    for _ in range(order + 1):
        values.append(sum((c * s**n for n, c in enumerate(coefficients)), start=0 * s))
        slopes = [n * c for n, c in enumerate(coefficients)]
        coefficients = [one - other for one, other in zip([*slopes, 0], [0, *slopes], strict=True)]
    return values
