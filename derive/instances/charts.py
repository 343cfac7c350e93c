"""Charts: the support of a continuous law as the image of an interval, and rules that integrate over it.

A rule gives nodes t and weights; a chart x(t) stretches them over the support, so that the integrand falls off at both ends.
Where the integrand jumps, the interval is cut there, and each piece is a finite interval of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from derive.instances.jets import Array, Jet, add, constant, exp, multiply, scaled, subtract

_ENDS = 3.04  # beyond it, the nodes of the double exponential rule are so near to 1 that they are 1


@dataclass(frozen=True)
class Rule:
    """How an integral is computed.

    Args
        step    the distance of the nodes of the trapezoidal rule, or of the panels of the Gaussian one
        offset  where the first node lies, between 0 and 1 steps
        reach   how far unbounded charts are followed
        order   the nodes on each panel of the Gaussian rule, 0 for the trapezoidal rule
        kind    the type of the numbers
        grid    at how many points it is looked for jumps
    """

    step: float
    offset: float
    reach: float = 1.0
    order: int = 0
    kind: Any = np.float64
    grid: int = 128

    def nodes(self, low: float, high: float) -> tuple[Array, Array]:
        """Return nodes and weights on an interval, at whose ends the integrand vanishes."""
        if not self.order:
            count = int((high - low) / self.step) + 1
            points = low + self.step * (np.arange(count, dtype=self.kind) + self.offset)
            inside = points < high
            return points[inside], np.full(int(inside.sum()), self.step, dtype=self.kind)
        panels = max(1, round((high - low) / self.step))
        x, w = np.polynomial.legendre.leggauss(self.order)
        edges = np.linspace(low, high, panels + 1, dtype=self.kind)
        half, middle = (edges[1:] - edges[:-1]) / 2, (edges[1:] + edges[:-1]) / 2
        return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()

    def unit_nodes(self) -> tuple[Array, Array]:
        """Return nodes and weights on (0, 1): the double exponential rule, which bears singular derivatives at the ends.

        >>> x, w = Rule(0.2, 0.5).unit_nodes()
        >>> bool(abs((w * np.log(x)).sum() + 1) < 1e-12)
        True
        """
        t, w = self.nodes(-_ENDS, _ENDS)
        inner = np.pi * np.sinh(t)
        x = 1 / (1 + np.exp(-inner))
        return x, w * np.pi * np.cosh(t) * x / (1 + np.exp(inner))


class Chart(Protocol):
    """A map from t to the support of a law."""

    @property
    def low(self) -> float:
        """The least t."""

    @property
    def high(self) -> float:
        """The largest t."""

    @property
    def falls(self) -> bool:
        """Whether integrands vanish at both ends."""

    def point(self, t: Jet) -> Jet:
        """Return x(t)."""

    def slope(self, t: Jet) -> Jet:
        """Return dx/dt."""


@dataclass(frozen=True)
class Line:
    """The real line, x = loc + scale * t; `loc` and `scale` do not move."""

    loc: Array
    scale: Array
    high: float = 10.5
    falls: bool = True

    @property
    def low(self) -> float:
        return -self.high

    def point(self, t: Jet) -> Jet:
        return add(constant(self.loc, self.loc.dtype), scaled(t, self.scale))

    def slope(self, t: Jet) -> Jet:
        return constant(self.scale + 0 * t[0], t[0].dtype)


@dataclass(frozen=True)
class Stretched:
    """The real line, x = loc + scale * sinh(t), for laws with exponential tails."""

    loc: Array
    scale: Array
    high: float = 4.4
    falls: bool = True

    @property
    def low(self) -> float:
        return -self.high

    def point(self, t: Jet) -> Jet:
        return add(constant(self.loc, self.loc.dtype), scaled(subtract(exp(t), exp(scaled(t, -1))), self.scale / 2))

    def slope(self, t: Jet) -> Jet:
        return scaled(add(exp(t), exp(scaled(t, -1))), self.scale / 2)


@dataclass(frozen=True)
class HalfLine:
    """The positive half-line, x = exp(loc + scale * t)."""

    loc: Array
    scale: Array
    high: float = 10.5
    falls: bool = True

    @property
    def low(self) -> float:
        return -self.high

    def point(self, t: Jet) -> Jet:
        return exp(add(constant(self.loc, self.loc.dtype), scaled(t, self.scale)))

    def slope(self, t: Jet) -> Jet:
        return scaled(self.point(t), self.scale)


@dataclass(frozen=True)
class Interval:
    """The interval from `start` to `end`, which may move."""

    start: Jet
    end: Jet
    low: float = 0.0
    high: float = 1.0
    falls: bool = False

    def point(self, t: Jet) -> Jet:
        return add(self.start, multiply(subtract(self.end, self.start), t))

    def slope(self, t: Jet) -> Jet:
        return add(subtract(self.end, self.start), scaled(t, 0))


@dataclass(frozen=True)
class Ray:
    """The half-line from `start`, which may move: x = start + scale * exp(t - exp(-t))."""

    start: Jet
    scale: Array
    low: float = -3.8
    high: float = 4.2
    falls: bool = True

    def point(self, t: Jet) -> Jet:
        return add(self.start, scaled(self._grown(t), self.scale))

    def slope(self, t: Jet) -> Jet:
        return scaled(multiply(self._grown(t), add(constant(1), exp(scaled(t, -1)))), self.scale)

    def _grown(self, t: Jet) -> Jet:
        return exp(subtract(t, exp(scaled(t, -1))))


@dataclass(frozen=True)
class PowerRay:
    """The positive half-line, x = scale * exp(power * (t - exp(-t))); `scale` and `power` do not move."""

    scale: Array
    power: Array
    low: float = -3.8
    high: float = 4.2
    falls: bool = True

    def point(self, t: Jet) -> Jet:
        return scaled(exp(scaled(subtract(t, exp(scaled(t, -1))), self.power)), self.scale)

    def slope(self, t: Jet) -> Jet:
        return scaled(multiply(self.point(t), add(constant(1), exp(scaled(t, -1)))), self.power)


@dataclass(frozen=True)
class Leaning:
    """The real line, x = loc + scale * (t + exp(t)), for laws that fall fast on the left."""

    loc: Array
    scale: Array
    low: float = -4.2
    high: float = 3.8
    falls: bool = True

    def point(self, t: Jet) -> Jet:
        return add(constant(self.loc, self.loc.dtype), scaled(add(t, exp(t)), self.scale))

    def slope(self, t: Jet) -> Jet:
        return scaled(add(constant(1), exp(t)), self.scale)


def spread(chart: Chart, rule: Rule, breaks: Jet | None, depth: int) -> tuple[Jet, Jet]:
    """Return nodes in the support and the weights of dx, along a new first axis.

    Args
        chart   the support
        rule    the rule
        breaks  where the integrand jumps, as values of t along a first axis in increasing order; None where it does not
        depth   the axes of the variables that are bound outside
    """
    column = (-1,) + (1,) * depth
    if breaks is None and chart.falls:
        t, w = rule.nodes(chart.low * rule.reach, chart.high * rule.reach)
        places, weights = constant(t.reshape(column), rule.kind), constant(w.reshape(column), rule.kind)
    else:
        places, weights = _pieces(chart, rule, breaks, depth)
    return chart.point(places), multiply(chart.slope(places), weights)


def _pieces(chart: Chart, rule: Rule, breaks: Jet | None, depth: int) -> tuple[Jet, Jet]:
    x, w = (replace(rule, step=rule.step / 3) if chart.falls else rule).unit_nodes()
    reach = rule.reach if chart.falls else 1
    low, high = (np.full((1,) * (depth + 1), end * reach) for end in (chart.low, chart.high))
    edges = _between(low, breaks, high) if breaks else {0: np.concatenate([low, high])}
    lefts, rights = {b: e[:-1] for b, e in edges.items()}, {b: e[1:] for b, e in edges.items()}
    column = (1, -1) + (1,) * depth
    widths = {b: e[:, None] for b, e in subtract(rights, lefts).items()}
    starts = {b: e[:, None] for b, e in lefts.items()}
    places = add(starts, scaled(widths, x.reshape(column)))
    return _flat(places), _flat(scaled(widths, w.reshape(column)))


def _between(low: Array, breaks: Jet, high: Array) -> Jet:
    shape = breaks[0].shape[1:]
    ends = [np.broadcast_to(end, (1, *shape)) for end in (low, high)]
    none = np.zeros((1, *shape))
    return {
        bits: np.concatenate([none if bits else ends[0], np.broadcast_to(part, breaks[0].shape), none if bits else ends[1]])
        for bits, part in breaks.items()
    }


def _flat(jet: Jet) -> Jet:
    shape = np.broadcast_shapes(*(part.shape for part in jet.values()))
    return {bits: np.broadcast_to(part, shape).reshape(-1, *shape[2:]) for bits, part in jet.items()}
