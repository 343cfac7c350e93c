"""Zeros of a function of one coordinate, for all values of the others at once, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from derive.instances.charts import Chart
from derive.instances.errors import UnreadableError
from derive.instances.jets import Array, Jet, chosen, coefficient, constant, scaled, subtract

Jump: TypeAlias = Callable[[Jet, int], Jet]
"""A function of the coordinate and of how many infinitesimals there are."""

MOST_ROOTS = 12


def zeros(jump: Jump, chart: Chart, points: int, bits: int, depth: int) -> Jet | None:
    """Return the zeros of a function of the chart's coordinate, with their derivatives, along a first axis, None if none is.

    As many stand there as there are at most; where there are fewer, the middle stands for the missing.

    Args
        jump    the function
        chart   gives the interval
        points  how many points are looked at; a zero between two where the sign does not change is not seen
        bits    the infinitesimals of the place
        depth   the axes of the place

    Raises
        UnreadableError, if the function all but touches zero, or has many zeros.
    """
    middle, half = (chart.low + chart.high) / 2, (chart.high - chart.low) / 2
    angles = np.linspace(0, np.pi, points + 2)[1:-1]
    grid: Array = (middle - half * np.cos(angles)).reshape((-1,) + (1,) * depth)
    values = jump(constant(grid), bits)[0]
    if values.ndim <= depth or values.shape[0] == 1:
        return None
    _refuse_near(lambda t: jump(constant(t), bits)[0], grid, values)
    crossing = (values[:-1] > 0) != (values[1:] > 0)
    count = int(crossing.sum(axis=0).max())
    if count > MOST_ROOTS:
        message = f"there are more than {MOST_ROOTS} jumps."
        raise UnreadableError(message)
    return _roots(jump, grid, values, crossing, count, middle, bits) if count else None


def _roots(jump: Jump, grid: Array, values: Array, crossing: Array, count: int, middle: float, bits: int) -> Jet:
    first = np.argsort(~crossing, axis=0, kind="stable")[:count]
    real = np.take_along_axis(crossing, first, axis=0)
    wide = np.broadcast_to(grid, values.shape)
    low, high = np.take_along_axis(wide[:-1], first, axis=0), np.take_along_axis(wide[1:], first, axis=0)
    rising = np.take_along_axis(values[1:], first, axis=0) > 0
    root = _bisected(lambda t: jump(constant(t), bits)[0], low, high, rising)
    return _polished(jump, {0: np.where(real, root, middle)}, real, bits)


def _refuse_near(value: Callable[[Array], Array], grid: Array, values: Array) -> None:
    """Refuse two zeros between two points: where a value is smallest among its neighbours, look between them."""
    size, wide = abs(values), np.broadcast_to(grid, values.shape)
    same = ((values[:-2] > 0) == (values[1:-1] > 0)) & ((values[1:-1] > 0) == (values[2:] > 0))
    least = same & (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:])
    if not least.any():
        return
    first = np.argsort(~least, axis=0, kind="stable")[: int(least.sum(axis=0).max())]
    low, high = np.take_along_axis(wide[:-2], first, axis=0), np.take_along_axis(wide[2:], first, axis=0)
    sign = np.sign(np.take_along_axis(values[1:-1], first, axis=0))
    for _ in range(25):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        nearer = value(left) * sign < value(right) * sign
        low, high = np.where(nearer, low, left), np.where(nearer, right, high)
    touching = np.take_along_axis(least, first, axis=0) & (value((low + high) / 2) * sign < 1e-6)
    if touching.any():
        message = "two jumps are too close to one another."
        raise UnreadableError(message)


def _bisected(value: Callable[[Array], Array], low: Array, high: Array, rising: Array) -> Array:
    for _ in range(8):
        middle = (low + high) / 2
        right = (value(middle) > 0) == rising
        low, high = np.where(right, low, middle), np.where(right, middle, high)
    return (low + high) / 2


def _polished(jump: Jump, root: Jet, real: Array, bits: int) -> Jet:
    """Return the roots by Newton's method on jets: each step wins one order of the infinitesimals, once the value stands."""
    bit = 1 << bits
    for _ in range(bits + 4):
        value = jump({**root, bit: np.ones_like(root[0])}, bits + 1)
        slope = coefficient(value, bit)[0]
        value = {b: part for b, part in value.items() if not b & bit}
        root = subtract(root, chosen(real & (slope != 0), scaled(value, 1 / slope)))
    return root


def ordered(roots: list[Jet], depth: int) -> Jet:
    """Return all roots along one first axis, in increasing order."""
    shape = np.broadcast_shapes(*(part.shape[1:] for root in roots for part in root.values() if part.ndim > depth))
    bits = sorted(set().union(*roots))
    counts = [root[0].shape[0] for root in roots]

    def column(root: Jet, bit: int, count: int) -> Array:
        return np.broadcast_to(root.get(bit, np.zeros(())), (count, *shape))

    whole = {b: np.concatenate([column(root, b, count) for root, count in zip(roots, counts, strict=True)]) for b in bits}
    order = np.argsort(whole[0], axis=0)
    return {b: np.take_along_axis(part, order, axis=0) for b, part in whole.items()}
