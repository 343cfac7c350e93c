"""Quadrature over one scalar of noise: nodes and weights between breakpoints, for laws that torch draws from.

A law is read in its standard form (uniform on (0, 1), normal of mean 0 and deviation 1, exponential of rate 1, Cauchy of median
0 and scale 1), and its quantile function x(u) carries a segment of u to a segment of x. On each segment there are two rules
that share nothing: Gauss, for the law itself on that segment, exact for polynomials in x (in u for the Cauchy law, which has no
moments); and tanh-sinh in u, which stands singularities at the ends, or on the whole line the trapezoidal rule in x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

FAMILIES = ("uniform", "normal", "exponential", "cauchy", "log_normal")
"""Laws with a standard form."""

_RANGE = 5.2
_FINE = 64
_WIDEST = 16
_NARROWEST = 2.0**-44
"""All nodes of a segment that is so narrow beside its place are in its middle: it may hold fewer numbers than they are."""

_INSIDE = 2.0**-36
"""No node is nearer to a breakpoint than this part of its segment, since rounding may carry it to the other side."""


class Bracket(NamedTuple):
    """Where a decision changes, in u: `below` decides as the segment on its left, `above` as that on its right."""

    below: float
    above: float


class Node(NamedTuple):
    """One node of a rule: the value of the standard law, its weight, and the number of its segment."""

    value: float
    weight: float
    segment: int


def quantile(family: str, u: Tensor, rest: Tensor) -> Tensor:
    """Return the value of a standard law at u, given 1 - u beside it: each is exact where it is small.

    >>> u = torch.tensor(0.75, dtype=torch.float64)
    >>> [round(float(quantile(family, u, 1 - u)), 6) for family in FAMILIES]
    [0.75, 0.67449, 1.386294, 1.0, 0.67449]
    """
    if family == "uniform":
        return u.clamp(max=1 - 2.0**-53)
    if family == "exponential":
        return torch.where(u < rest, -torch.log1p(-u), -rest.log())
    if family == "cauchy":
        tail = 1 / torch.tan(math.pi * torch.minimum(u, rest).clamp(max=0.5))
        return torch.where(u < rest, -tail, tail)
    lower = torch.special.ndtri(torch.minimum(u, rest))
    return torch.where(u < rest, lower, -lower)


def cumulative(family: str, value: float) -> float:
    """Return u where the standard law has a value.

    >>> round(cumulative("normal", 0.0), 12), cumulative("uniform", 0.25)
    (0.5, 0.25)
    """
    if family == "uniform":
        return value
    if family == "exponential":
        return -math.expm1(-value)
    if family == "cauchy":
        return 0.5 + math.atan(value) / math.pi
    return 0.5 * math.erfc(-value / math.sqrt(2))


def tanh_sinh(per_unit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes s of (0, 1), 1 - s, and weights that sum to one, each (n,), for a step of 1 / per_unit.

    Source
        Takahasi and Mori (1974), double exponential formulas

    >>> s, rest, w = tanh_sinh(8)
    >>> abs(float((w * s.log()).sum()) + 1) < 1e-13
    True
    """
    count = int(_RANGE * per_unit)
    t = torch.arange(-count, count + 1, dtype=torch.float64) / per_unit
    s, rest = torch.sigmoid(math.pi * t.sinh()), torch.sigmoid(-math.pi * t.sinh())
    weights = t.cosh() * s * rest
    return s, rest, weights / weights.sum()


def gauss(points: Tensor, weights: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return the Gauss rule of a measure on points: nodes and weights, each (nodes,), exact up to degree 2 * nodes - 1.

    Source
        Golub and Welsch (1969); the Jacobi matrix is found by Lanczos steps, each made orthogonal to all before

    >>> x, w = gauss(torch.tensor([-1.0, 0.0, 1.0]).double(), torch.tensor([0.25, 0.5, 0.25]).double(), 2)
    >>> [round(float(moment), 12) for moment in ((w * x).sum(), (w * x**2).sum())]
    [0.0, 0.5]
    """
    mass = weights.sum()
    basis, diagonal, beside = [(weights / mass).sqrt()], [], []
    for _ in range(nodes):
        step = points * basis[-1]
        diagonal.append(step @ basis[-1])
        for _ in range(2):
            for direction in basis:
                step = step - (direction @ step) * direction
        beside.append(step.norm())
        basis.append(step / beside[-1])
    off = torch.stack(beside[:-1]) if nodes > 1 else points.new_zeros(0)
    x, vectors = torch.linalg.eigh(torch.diag(torch.stack(diagonal)) + torch.diag(off, 1) + torch.diag(off, -1))
    return x, mass * vectors[0].square()


@cache
def rule(family: str, breakpoints: tuple[Bracket, ...], method: str, level: int) -> tuple[Node, ...]:
    """Return the nodes of a standard law between breakpoints; the weights sum to one.

    Args
        family       one of FAMILIES
        breakpoints  increasing, in u
        method       "Gauss" with 2**level - 1 nodes in each segment, or "tanh-sinh" with a step of 2**-level
        level        one more doubles the nodes; Gauss rules of an even number are left out, since two of them agree on a jump
                     near the middle that neither sees

    >>> nodes = rule("normal", (Bracket(0.5, 0.5),), "Gauss", 2)
    >>> round(sum(node.weight * abs(node.value) for node in nodes), 10) == round((2 / math.pi) ** 0.5, 10)
    True
    """
    found: list[Node] = []
    for segment, (start, end) in enumerate(_segments(breakpoints)):
        x, weights = _segment(family, start, end, method, level)
        found += [Node(*pair, segment) for pair in zip(x.tolist(), weights.tolist(), strict=True)]
    total = math.fsum(node.weight for node in found)
    return tuple(node._replace(weight=node.weight / total) for node in found)


def _segments(breakpoints: Sequence[Bracket]) -> list[tuple[float, float]]:
    starts, ends = [0.0, *(each.above for each in breakpoints)], [*(each.below for each in breakpoints), 1.0]
    return list(zip(starts, ends, strict=True))


def _segment(family: str, start: float, end: float, method: str, level: int) -> tuple[Tensor, Tensor]:
    if family in _CLASSICAL and (start, end) == (0.0, 1.0):
        return _CLASSICAL[family](2**level - 1) if method == "Gauss" else _other(family, level)
    width, place = end - start, start if family in ("uniform", "cauchy") else min(start, 1 - end)
    if width < _NARROWEST * place:
        middle = torch.tensor([start + width / 2, 1 - end + width / 2, width / (2**level - 1)], dtype=torch.float64)
        u, rest, weights = middle.expand(2**level - 1, 3).unbind(1)
        return quantile(family, u, rest), weights
    s, rest, weights = tanh_sinh(_FINE if method == "Gauss" else 2**level)
    low, high = (_INSIDE if start > 0 else 0.0), (_INSIDE if end < 1 else 0.0)
    s, rest = s.clamp(low, 1 - high), rest.clamp(high, 1 - low)
    x = quantile(family, (start + width * s).clamp(max=end), (1 - end) + width * rest)
    if method != "Gauss":
        return x, width * weights
    if family != "cauchy":
        return gauss(x, width * weights, 2**level - 1)
    u, weights = gauss(start + width * s, width * weights, 2**level - 1)
    return quantile(family, u, 1 - u), weights


def _hermite(nodes: int) -> tuple[Tensor, Tensor]:
    x, weights = numpy.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(x), torch.from_numpy(weights / math.sqrt(2 * math.pi))


def _laguerre(nodes: int) -> tuple[Tensor, Tensor]:
    x, weights = numpy.polynomial.laguerre.laggauss(nodes)
    return torch.from_numpy(x), torch.from_numpy(weights)


def _legendre(nodes: int) -> tuple[Tensor, Tensor]:
    x, weights = numpy.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(weights / 2)


_CLASSICAL: dict[str, Callable[[int], tuple[Tensor, Tensor]]] = {
    "normal": _hermite, "exponential": _laguerre, "uniform": _legendre,
}  # fmt: skip


def _other(family: str, level: int) -> tuple[Tensor, Tensor]:
    """A rule that shares nothing with Gauss: for a normal law the trapezoidal one, which is exact to exp(-2 (pi / step)**2)."""
    if family == "normal":
        count = _WIDEST * 2 ** (level - 1)
        x = torch.arange(-count, count + 1, dtype=torch.float64) / 2 ** (level - 1)
        weights = (-x.square() / 2).exp()
        return x, weights / weights.sum()
    s, rest, weights = tanh_sinh(2**level)
    return quantile(family, s, rest), weights
