"""Mean and variance of a generated estimator over its noise u, v, by quadrature: nodes are fed in place of the draws.

Let x = logit(u) and y = logit(v), logistic variables. Given the outcome b, which x decides at -logits, the estimate is a sum
A(v) + B(u): no term multiplies u and v (`numeric.codegen.noise_roles.roles` reads that off the formula). So single
integrals suffice.
On each side of the decision the trapezoidal rule is applied after x = -logits +- exp(s - exp(-s)), and to y as it is: for
these smooth, exponentially decaying integrands the error falls exponentially with the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Estimate = Callable[[Mapping[str, Tensor]], Tensor]
EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Moments:
    """The mean and the variance of one estimate, each of the shape of the logits."""

    mean: Tensor
    variance: Tensor


def moments(estimate: Estimate, logits: Tensor, *, nodes: int = 96) -> Moments:
    """Integrate over u and v.

    Args
        estimate  maps noise {"u", "v"} of shape (rows, *batch, 1) to estimates of that shape, one for each row
        logits    shape (*batch, 1)
        nodes     the number of nodes of each single integral
    """
    distance, weight = half_line(nodes)
    v, weight_v = logistic(nodes)
    distance, weight, v, weight_v = (x.reshape(-1, *[1] * logits.ndim) for x in (distance, weight, v, weight_v))
    sides = []
    for sign in (1, -1):  # b = 1, b = 0
        x = sign * distance - logits
        density = weight * torch.sigmoid(x) * torch.sigmoid(-x)
        u = torch.sigmoid(x).clamp(EPS, 1 - EPS)
        sides.append(one_side(estimate, u, density / density.sum(0), v.expand(-1, *logits.shape), weight_v))
    p = torch.sigmoid(logits)
    mean = p * sides[0].mean + (1 - p) * sides[1].mean
    variance = p * sides[0].variance + (1 - p) * sides[1].variance
    return Moments(mean, variance + p * (1 - p) * (sides[0].mean - sides[1].mean).square())


def one_side(estimate: Estimate, u: Tensor, weight_u: Tensor, v: Tensor, weight_v: Tensor) -> Moments:
    """The moments given the outcome: g(u, v) = g(u, v0) + g(u0, v) - g(u0, v0)."""
    u0, v0 = u[len(u) // 2][None], v[len(v) // 2][None]
    rows = {"u": torch.cat([u, u0.expand_as(v)]), "v": torch.cat([v0.expand_as(u), v])}
    first, second = estimate(rows).split([len(u), len(v)])
    corner = second[len(v) // 2]
    parts = [weighted(first, weight_u), weighted(second, weight_v)]
    return Moments(parts[0].mean + parts[1].mean - corner, parts[0].variance + parts[1].variance)


def weighted(values: Tensor, weights: Tensor) -> Moments:
    mean = (weights * values).sum(0)
    return Moments(mean, (weights * (values - mean).square()).sum(0))


def half_line(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights for integrals of decaying functions over (0, infinity).

    >>> t, w = half_line(96)
    >>> round(float((w * torch.exp(-t)).sum()), 12)
    1.0
    """
    s = torch.linspace(-3.4, 3.7, nodes, dtype=torch.float64)
    t = (s - (-s).exp()).exp()
    return t, (s[1] - s[0]) * t * (1 + (-s).exp())


def logistic(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes v = sigma(y) in (0, 1) and weights for the mean over Uniform(0, 1), by equal steps in y.

    >>> v, w = logistic(128)
    >>> round(float((w * v**2).sum()), 10)
    0.3333333333
    """
    y = torch.linspace(-34, 34, nodes, dtype=torch.float64)
    weights = torch.sigmoid(y) * torch.sigmoid(-y)
    return torch.sigmoid(y).clamp(EPS, 1 - EPS), weights / weights.sum()
