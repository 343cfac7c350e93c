"""Zeros of a function of one coordinate, for all values of the others at once, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from derive.instances.charts import Chart
from derive.instances.jets import Array, Jet, chosen, coefficient, constant, scaled, subtract


def zeros(jump: Callable[[Jet, int], Jet], chart: Chart, bits: int, depth: int, kind: type) -> Jet | None:
    """Return the zeros of a function of the chart's coordinate, with their derivatives.

    Along the first axis stand as many as there are at most; where there are fewer, the middle stands for the missing.

    Args
        jump   the function, of a jet and of the number of infinitesimals in it
        chart  gives the interval
        bits   the infinitesimals of the place
        depth  the axes of the place
        kind   the type of the numbers
    """
    angles = np.linspace(0, np.pi, 130)[1:-1]
    middle, half = (chart.low + chart.high) / 2, (chart.high - chart.low) / 2
    grid: Array = (middle - half * np.cos(angles)).astype(kind).reshape((-1,) + (1,) * depth)
    values = jump(constant(grid, kind), bits)[0]
    if values.ndim <= depth:
        return None
    crossing = (values[:-1] > 0) != (values[1:] > 0)
    count = int(crossing.sum(axis=0).max())
    if not count:
        return None
    first = np.argsort(~crossing, axis=0, kind="stable")[:count]
    real = np.take_along_axis(crossing, first, axis=0)
    wide = np.broadcast_to(grid, values.shape)
    low, high = np.take_along_axis(wide[:-1], first, axis=0), np.take_along_axis(wide[1:], first, axis=0)
    rising = np.take_along_axis(values[1:], first, axis=0) > 0
    root = _bisected(lambda t: jump(constant(t, kind), bits)[0], low, high, rising)
    return _polished(jump, {0: np.where(real, root, middle)}, real, bits)


def _bisected(value: Callable[[Array], Array], low: Array, high: Array, rising: Array) -> Array:
    for _ in range(12):
        middle = (low + high) / 2
        right = (value(middle) > 0) == rising
        low, high = np.where(right, low, middle), np.where(right, middle, high)
    return (low + high) / 2


def _polished(jump: Callable[[Jet, int], Jet], root: Jet, real: Array, bits: int) -> Jet:
    """Return the roots by Newton's method on jets: each step wins one order of the infinitesimals, once the value stands."""
    bit = 1 << bits
    for _ in range(bits + 5):
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
