"""The laws with names as the judge reads them: densities of torch.distributions, and fixed nodes for means under them.

The generated code draws from these laws and prints their scores; nothing of it is used here. A mean is the sum over nodes that
do not move, of the density that autograd differentiates, and the nodes come from a rule that converges exponentially: a law on
the half-line is read in s, with x = scale * exp(s - exp(-s)), in which the density falls doubly exponentially at both ends, and
the trapezoidal rule has one more digit for every few nodes (Takahasi and Mori 1974). A Laplace law has a kink, a Maxwell law a
zero: each is two half-lines. Counts are summed as far as they matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Beta,
    Chi2,
    Distribution,
    Exponential,
    Gamma,
    Geometric,
    Gumbel,
    Laplace,
    NegativeBinomial,
    Poisson,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
    Weibull,
)
from torch.distributions.constraints import Constraint, real

from derive.language.choice import ChoiceLaw
from derive.language.errors import NotEvaluable, TooLarge
from derive.language.term import NamedLaw, Term

MAX_POINTS = 2**18
MOST_COUNTS = 2**12
INSIDE = {"Beta": 0.5}  # a point of the support, where 1 is none
CONVERGED, LOST = 36, 1e-11  # with so many nodes, so much of the whole mass may be missing

Chart = tuple[Tensor, Tensor]
"""The points x of some s, and dx / ds."""


def _logistic(loc: Tensor, scale: Tensor) -> Distribution:
    moved = [SigmoidTransform().inv, AffineTransform(loc, scale)]
    return TransformedDistribution(Uniform(torch.zeros_like(loc), torch.ones_like(loc), validate_args=False), moved)


class _Maxwell(Distribution):
    """A law that torch has not: the square of (x - loc) / scale has a chi-squared law of three degrees of freedom."""

    support = real

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool) -> None:
        super().__init__(loc.shape, validate_args=validate_args)
        self.loc, self.scale = loc, scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value); half of the mass of a square is on either side."""
        z = (value - self.loc) / self.scale
        square: Tensor = Chi2(torch.full_like(z, 3), validate_args=False).log_prob(z**2)
        return square + z.abs().log() - self.scale.log()


_DISTRIBUTIONS: dict[str, Callable[..., Distribution]] = {
    "Exponential": Exponential,
    "Gamma": Gamma,
    "Beta": Beta,
    "Poisson": Poisson,
    "Geometric": Geometric,
    "Laplace": Laplace,
    "Gumbel": Gumbel,
    "Weibull": lambda shape, scale, **options: Weibull(scale, shape, **options),
    "Logistic": lambda loc, scale, **_: _logistic(loc, scale),
    "NegativeBinomial": NegativeBinomial,
    "Maxwell": _Maxwell,
}


def log_density(law: NamedLaw, at: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return log p(at) of n independent coordinates, shape (...) for points (..., n); -inf outside of the support.

    >>> from derive.language.named import named
    >>> log_density(named("Exponential", 2), torch.tensor([[0.0], [-1.0]]), [torch.tensor([2.0])])
    tensor([0.6931,   -inf], dtype=torch.float64)
    """
    given = torch.broadcast_tensors(*[part.double() for part in parameters])
    if isinstance(law, ChoiceLaw):
        return _log_probability(law, at, given)
    distribution = _DISTRIBUTIONS[law.name](*given, validate_args=False)
    inside = cast("Constraint", distribution.support).check(at)
    log_p = distribution.log_prob(torch.where(inside, at, INSIDE.get(law.name, 1.0)))
    return torch.where(inside, log_p, -torch.inf).sum(-1)


def _log_probability(law: ChoiceLaw, at: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
    """The logarithm of the probability of numbers, -inf where they are no outcome."""
    values = torch.tensor([float(value) for value in law.values], dtype=torch.float64, device=at.device)
    here = at[..., None] == values
    p = (here * torch.stack(torch.broadcast_tensors(*probabilities), -1)).sum(-1)
    possible = here.any(-1) & (p > 0)
    return torch.where(possible, torch.where(possible, p, 1.0).log(), -torch.inf).sum(-1)


def nodes_of(law: NamedLaw, parameters: Sequence[Tensor], size: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Return points, shape (rows, size), and the logarithms of their weights without the density, shape (rows,).

    Density and weight are added as logarithms: of several coordinates one may be too large a number, and the other too small.

    Args
        parameters  of each coordinate, shape (size,) or (1,): where the nodes lie is read off them, and does not move
        nodes       of each coordinate, of the half of one for a Laplace or a Maxwell law; the more, the farther out they go, so
                    that fewer show what is left out

    Raises
        TooLarge, if there are more than 2**18 rows.
        NotEvaluable, if some of the mass lies where numbers have no room, as next to 1 under a Beta law.
    """
    given = [part.detach().double().expand(size).unbind() for part in torch.broadcast_tensors(*parameters)]
    rules = [_rule(law, [part[i] for part in given], nodes) for i in range(size)]
    rows = math.prod(len(x) for x, _ in rules)
    if rows > MAX_POINTS:
        message = f"the nodes of a {law.name} law are {rows} rows, more than {MAX_POINTS}: use a smaller size."
        raise TooLarge(message)
    points = torch.cartesian_prod(*(x for x, _ in rules)).reshape(rows, size)
    logs = torch.cartesian_prod(*(log_w for _, log_w in rules)).reshape(rows, size)
    return points, logs.sum(-1)


def _rule(law: NamedLaw, parameters: list[Tensor], nodes: int) -> tuple[Tensor, Tensor]:
    """The nodes of one coordinate, and the logarithms of their weights."""
    if isinstance(law, ChoiceLaw):
        listed = torch.tensor([float(value) for value in law.values], dtype=torch.float64, device=parameters[0].device)
        return listed, torch.zeros_like(listed)
    rule = _counts(law, parameters, nodes) if law.counts else _trapezoid(law, parameters, nodes)
    mass = float((_log_density(law, rule[0], parameters) + rule[1]).exp().sum())
    if nodes >= CONVERGED and not abs(mass - 1) <= LOST:
        values = ", ".join(f"{float(part):g}" for part in parameters)
        message = f"the mass of {law.name}({values}) at the nodes of the crosscheck is {mass}, so it judges no means under it."
        raise NotEvaluable(message)
    return rule


def _log_density(law: NamedLaw, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    return log_density(law, x[:, None], [part[None] for part in parameters])


def _counts(law: NamedLaw, parameters: list[Tensor], nodes: int) -> tuple[Tensor, Tensor]:
    """0, 1, 2, ... up to where the probabilities have fallen by exp(-nodes)."""
    every = torch.arange(MOST_COUNTS, dtype=torch.float64, device=parameters[0].device)
    log_p = _log_density(law, every, parameters)
    kept = int((log_p > log_p.max() - nodes).nonzero().max()) + 1
    return every[:kept], torch.zeros_like(every[:kept])


def _trapezoid(law: NamedLaw, parameters: list[Tensor], nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes at equal distances in s, between the ends where density times dx / ds has fallen by exp(-nodes)."""
    found = []
    for chart in _charts(law, parameters):
        s = torch.linspace(-8, 8, 1601, dtype=torch.float64, device=parameters[0].device)
        x, slope = chart(s)
        log_w = _log_density(law, x, parameters) + slope.log()
        log_w = torch.where(log_w.isfinite(), log_w, -torch.inf)
        kept = s[log_w > log_w.max() - nodes]
        s = torch.linspace(float(kept.min()), float(kept.max()), nodes, dtype=torch.float64, device=s.device)
        x, slope = chart(s)
        found.append((x, slope.log() + (s[1] - s[0]).log()))
    return torch.cat([x for x, _ in found]), torch.cat([log_w for _, log_w in found])


def _charts(law: NamedLaw, parameters: list[Tensor]) -> list[Callable[[Tensor], Chart]]:
    """The maps from the line to the support, or to both halves of it."""
    first, second = parameters[0], parameters[-1]
    match law.name:
        case "Exponential" | "Gamma":
            return [lambda s: _half(s, 1 / second, torch.ones_like(s))]
        case "Weibull":
            return [lambda s: _half(s, second, 1 / first)]
        case "Laplace" | "Maxwell":
            return [partial(_side, first, second, sign) for sign in (1, -1)]
        case "Gumbel":
            return [lambda s: (first - second * (s - torch.exp(-s)), second * (1 + torch.exp(-s)))]
        case "Logistic":
            return [lambda s: (first + second * torch.sinh(s), second * torch.cosh(s))]
    return [_unit]


def _half(s: Tensor, scale: Tensor, root: Tensor | float) -> Chart:
    x = scale * torch.exp(root * (s - torch.exp(-s)))
    return x, x * root * (1 + torch.exp(-s))


def _side(loc: Tensor, scale: Tensor, sign: int, s: Tensor) -> Chart:
    x, slope = _half(s, scale, 1.0)
    return loc + sign * x, slope


def _unit(s: Tensor) -> Chart:
    x = torch.sigmoid(torch.sinh(s))
    return x, x * torch.sigmoid(-torch.sinh(s)) * torch.cosh(s)


def values_of(law: NamedLaw, vector: Callable[[Term], Tensor]) -> list[Tensor]:
    """The parameters of a law, shape (n,) or (1,) each."""
    return [vector(term) for term in law.terms]
