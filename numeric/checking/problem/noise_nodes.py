"""Every outcome and quadrature node of an estimator's noise, with weights: what is fed in place of the draws.

The mean of an estimate over these rows is its expectation, exactly (outcomes, polynomials of normal noise) or to rounding
(uniform noise that decides an outcome). What makes that cheap is read off the formula:

- Coordinates are independent in the bernoulli and normal families: one table for each coordinate, joined by a product.
- Where an estimate is a sum of functions of at most t coordinates, and t < n, its mean is a combination of means over
  t, t - 1, ... coordinates with the others held at an anchor (the anchored decomposition of a function).
- Noise that decides an outcome is split where the outcome changes: on each piece the integrand is smooth, and Gauss-Legendre
  nodes converge geometrically; where z itself occurs, they are moved towards the end at which it is infinite. For the K Gumbels
  of a categorical the pieces are the K! orders of the exponentials T_k = exp(-z_k); in the ratios of neighbours the integrand
  is analytic on a cube, and a common scale of all T_k drops out. Where functions of z itself occur it does not: its logarithm
  is then that of a gamma variable, and gets a rule that is exact for squares.
- Where no summand of the formula multiplies two noises (other than through the outcome), their nodes are paired, or one runs
  over its nodes while the others stand still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations, product
from math import comb, cos, exp, factorial, pi, sin, sqrt

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.term import FiniteLaw, NormalLaw, Number, RandomVariable, UniformLaw
from numeric.checking.exact_gradient import gauss_hermite, gauss_legendre
from numeric.codegen.noise_roles import Roles, roles

MAX_ROWS = 2**23
CHUNK_ROWS = 2**14
ANCHOR_NODES = 3
GUMBEL_SCALE = 500.0  # of the largest exponential: large, so that the logarithm of a uniform keeps its relative accuracy

Rows = tuple[dict[str, Tensor], Tensor]


# Tables: the nodes of all draws, for one coordinate (bernoulli, normal) or for one class variable (categorical)


@dataclass(frozen=True)
class Table:
    """Nodes of all draws together: each entry of `values` has shape (rows, width), `weights` shape (rows,)."""

    values: dict[str, Tensor]
    weights: Tensor


def _join(left: Table, right: Table) -> Table:
    """The product of two independent tables."""
    a, b = left.weights.numel(), right.weights.numel()
    _refuse_large(a * b)
    values = {name: value.repeat_interleave(b, 0) for name, value in left.values.items()}
    values |= {name: value.repeat(a, 1) for name, value in right.values.items()}
    return Table(values, left.weights.repeat_interleave(b) * right.weights.repeat(a))


def _stack(tables: list[Table]) -> Table:
    """Disjoint pieces of one table."""
    values = {name: torch.cat([table.values[name] for table in tables]) for name in tables[0].values}
    return Table(values, torch.cat([table.weights for table in tables]))


def _refuse_large(rows: int) -> None:
    if rows > MAX_ROWS:
        message = f"every outcome and node together are {rows} rows, more than {MAX_ROWS}: use a smaller size."
        raise TooLarge(message)


def _column(values: Tensor) -> Tensor:
    return values[:, None]


def _coordinate_table(estimator: Estimator, family: str, parameters: dict[str, Tensor], i: int, nodes: int) -> Table:
    """All draws of the i-th coordinate of the bernoulli or normal family."""
    like = next(iter(parameters.values()))
    table = Table({}, like.new_ones(1))
    noises = [draw for draw in estimator.draws if isinstance(draw.law, UniformLaw)]
    for draw in estimator.draws:
        if draw not in noises:
            table = _join(table, _law_table(draw, family, parameters, i, nodes))
    return _join(table, _uniform_table(estimator, noises, parameters, i, nodes)) if noises else table


def _law_table(draw: RandomVariable, family: str, parameters: dict[str, Tensor], i: int, nodes: int) -> Table:
    like = next(iter(parameters.values()))
    if isinstance(draw.law, FiniteLaw) and family == "bernoulli":
        p = torch.sigmoid(parameters["logits"][i])
        return Table({draw.name: _column(like.new_tensor([0.0, 1.0]))}, torch.stack([1 - p, p]))
    x, w = gauss_hermite(nodes, like)
    if isinstance(draw.law, NormalLaw) and isinstance(draw.law.loc, Number) and isinstance(draw.law.scale, Number):
        return Table({draw.name: _column(float(draw.law.loc.value) + float(draw.law.scale.value) * x)}, w)
    z = parameters["loc"][i] + parameters["log_scale"][i].exp() * x
    return Table({draw.name: _column(z)}, w)


def _uniform_table(
    estimator: Estimator, noises: list[RandomVariable], parameters: dict[str, Tensor], i: int, nodes: int
) -> Table:
    """The uniform noises of one coordinate: pieces for those that decide a bit, nodes paired where that is allowed."""
    known = roles(estimator)
    x, w = gauss_legendre(nodes, next(iter(parameters.values())))
    names = [draw.name for draw in noises]
    if not all(_standard(draw) for draw in noises):
        message = "the crosscheck knows uniform noise on (0, 1) only."
        raise UsageError(message)
    if known.mirrored:
        return _mirrored_table(names, torch.sigmoid(parameters["logits"][i]), x, w)
    if len(names) == 1 and not known.deciding:  # nothing jumps: the pieces add up, and the integrand is steep where they meet
        known = replace(known, deciding=frozenset(names))
    tables = []
    for bits in product((0, 1), repeat=len(known.deciding & set(names))):
        decided = dict(zip(sorted(known.deciding), bits, strict=True))
        p = torch.sigmoid(parameters["logits"][i]) if decided else x
        rule = _towards(bits[0], x, w) if known.unbounded and bits else (x, w)
        tables.append(_piece(names, decided, p, *rule, known))
    return _stack(tables)


def _mirrored_table(names: list[str], p: Tensor, x: Tensor, w: Tensor) -> Table:
    """The nodes of one noise u where u and 1 - u decide bits: u < 1 - p gives the one a 0, and u > p the other."""
    if len(names) != 1:
        message = "the crosscheck knows noise that is mirrored, 1 - u, where no other noise is drawn."
        raise UsageError(message)
    ends = torch.stack([p.new_zeros(()), torch.minimum(p, 1 - p), torch.maximum(p, 1 - p), p.new_ones(())])
    pieces = [(low, high - low) for low, high in pairwise(ends)]
    return _stack([Table({names[0]: _column(low + width * x)}, width * w) for low, width in pieces])


def _towards(end: int, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The rule on (0, 1) after x = y^2, or 1 - x = y^2: a logarithm at that end has no part in the error then."""
    return (1 - (1 - x).square(), 2 * w * (1 - x)) if end else (x.square(), 2 * w * x)


def _piece(names: list[str], decided: dict[str, int], p: Tensor, x: Tensor, w: Tensor, known: Roles) -> Table:
    """The nodes where the deciding noises give these bits; u < 1 - p gives 0, u > 1 - p gives 1."""
    table = Table({}, w.new_ones(1))
    mass = w.new_ones(())
    for k, name in enumerate(names):
        nodes = x if k % 2 == 0 or known.unbounded or not known.separate else x.flip(0)
        if name in decided:
            nodes = (1 - p) + p * nodes if decided[name] else (1 - p) * nodes
            mass = mass * (p if decided[name] else 1 - p)
        if known.separate:
            table = Table(table.values | {name: _column(nodes)}, w)
        else:
            table = _join(table, Table({name: _column(nodes)}, w))
    return Table(table.values, table.weights * mass)


def _standard(draw: RandomVariable) -> bool:
    return isinstance(draw.law, UniformLaw) and [getattr(t, "value", None) for t in draw.law.terms] == [0, 1]


def _class_tables(estimator: Estimator, logits: Tensor, nodes: int) -> Iterator[Table]:
    """All draws of one categorical variable, in disjoint pieces."""
    k = logits.numel()
    table = Table({}, logits.new_ones(1))
    noises = [draw for draw in estimator.draws if isinstance(draw.law, UniformLaw)]
    for draw in estimator.draws:
        if draw not in noises:
            one_hot = Table({draw.name: torch.eye(k, dtype=logits.dtype, device=logits.device)}, torch.softmax(logits, -1))
            table = _join(table, one_hot)
    if not noises:
        yield table
        return
    names, known = [draw.name for draw in noises], roles(estimator)
    if len(names) == 1 and not known.deciding:  # nothing jumps: the pieces of the domain add up all the same
        known = replace(known, deciding=frozenset(names))
    if known.mirrored or len(known.deciding) != 1 or not all(_standard(draw) for draw in noises):
        message = (
            "the crosscheck of a categorical relaxation needs noise uniform on (0, 1), of which exactly one decides the class; "
            f"deciding here: {', '.join(sorted(known.deciding)) or 'none'}."
        )
        raise UsageError(message)
    pieces = factorial(k - 1) * _cube_rows(k - 1, nodes)
    _refuse_large(k * table.weights.numel() * pieces ** (1 if known.separate else len(names)))
    for winner in range(k):
        yield _join(table, _gumbel_table(names, known, logits, winner, nodes))


def _gumbel_table(names: list[str], known: Roles, logits: Tensor, winner: int, nodes: int) -> Table:
    """The uniform noises behind the Gumbels where one class wins: those that decide it, and those conditional on it."""
    groups = [sorted(known.deciding), *([name] for name in names if name not in known.deciding)]
    shifts = _log_gamma(logits.numel(), len(groups)) if known.shifted else [[None] * len(groups)]
    return _stack([_shifted_table(groups, known, logits, winner, nodes, shift, 1 / len(shifts)) for shift in shifts])


def _shifted_table(
    names: list[list[str]], known: Roles, logits: Tensor, winner: int, nodes: int, shifts: Sequence[float | None], share: float
) -> Table:
    """The nodes at one common shift of z for each group of noises."""
    groups, weights = _gumbel_groups(names, known, logits, winner, nodes, shifts)
    weights = share * weights
    if known.separate:
        return _one_by_one(groups, _gumbel_groups(names, known, logits, winner, ANCHOR_NODES, shifts)[0], weights)
    table = Table(groups[0], weights)
    for values in groups[1:]:
        table = _join(table, Table(values, weights / weights.sum()))
    return table


def _gumbel_groups(
    names: list[list[str]], known: Roles, logits: Tensor, winner: int, nodes: int, shifts: Sequence[float | None]
) -> tuple[list[dict[str, Tensor]], Tensor]:
    """The nodes of the noises that decide, those of each conditional noise, and the weights that all of them share."""
    p = torch.softmax(logits, -1)
    t, weights = _exponentials(p, winner, nodes, unbounded=known.unbounded)
    gaps = torch.where(torch.arange(p.numel(), device=p.device) == winner, t, p * (t - t[:, winner, None]))
    groups = []
    for k, (group, shift) in enumerate(zip(names, shifts, strict=True)):
        scale = GUMBEL_SCALE if shift is None else exp(shift) / (t @ p)[:, None]
        values = torch.exp(-scale * (gaps if k else p * t))
        groups.append(dict.fromkeys(group, values))
    return groups, weights


def _log_gamma(k: int, dimensions: int) -> list[list[float]]:
    """Points of equal weight with the first two moments of independent logarithms of gamma(k) variables (Stroud 1957)."""
    mean, spread = (float(torch.special.polygamma(n, torch.tensor(float(k), dtype=torch.float64))) for n in (0, 1))
    points = []
    for j in range(dimensions + 1):
        angles = [2 * pi * r * j / (dimensions + 1) for r in range(1, dimensions // 2 + 1)]
        circle = [sqrt(2) * turned(angle) for angle in angles for turned in (cos, sin)]
        points.append([mean + sqrt(spread) * x for x in (*circle, *[(-1.0) ** j] * (dimensions % 2))])
    return points


def _one_by_one(groups: list[dict[str, Tensor]], few: list[dict[str, Tensor]], weights: Tensor) -> Table:
    """Each group of noises over its nodes, the others at one of a few: exact for a sum of functions of one group each.

    Nodes of two groups that give the same latent variable must not meet in a row: code that takes one for the other would pass.
    """
    anchors: dict[str, Tensor] = {}
    for i, group in enumerate(few, 1):
        anchors |= {name: value[[i * len(value) // (len(few) + 1)]] for name, value in group.items()}
    held = {name: value.expand(weights.numel(), -1) for name, value in anchors.items()}
    tables = [Table(held | group, weights) for group in groups]
    return _stack([*tables, Table(anchors, (1 - len(groups)) * weights.sum()[None])])


def _exponentials(p: Tensor, winner: int, nodes: int, *, unbounded: bool) -> tuple[Tensor, Tensor]:
    """T of shape (rows, K), T_k exponential with rate p_k, largest one scaled to 1, given that T_winner is the least.

    In the order pi, x_l = T_pi(l) / T_pi(l + 1); integrating out the scale leaves the density
    (K - 1)! prod p_k prod x_l^(l - 1) / (sum p_k T_k)^K on the cube. The weights add up to p_winner.
    """
    k = p.numel()
    x, w = _cube(k - 1, nodes, p, unbounded=unbounded)
    powers = torch.arange(k - 1, dtype=p.dtype, device=p.device)
    ratios = torch.cat([x, torch.ones_like(x[:, :1])], -1)
    sorted_t = ratios.flip(-1).cumprod(-1).flip(-1)
    constant = factorial(k - 1) * p.prod() * w * (x**powers).prod(-1)
    all_t, all_w = [], []
    for rest in permutations([j for j in range(k) if j != winner]):
        order = torch.tensor([winner, *rest], device=p.device)
        t = torch.empty_like(sorted_t)
        t[:, order] = sorted_t
        all_t.append(t)
        all_w.append(constant / (t @ p) ** k)
    return torch.cat(all_t), torch.cat(all_w)


def _cube_rows(dimensions: int, nodes: int) -> int:
    """How many rows `_cube` has."""
    ends = min(2, dimensions)
    return int(nodes**ends * max(2, nodes - 2) ** (dimensions - ends))


def _cube(dimensions: int, nodes: int, like: Tensor, *, unbounded: bool) -> tuple[Tensor, Tensor]:
    """Nodes of a cube, shape (rows, dimensions), and their weights, shape (rows,).

    In one dimension: Gauss-Legendre in y, x = y / (1 + a - a y). It moves the poles of the density and of softmax, which lie at
    x = -1/(K - 1) and beyond, away from the interval. They are nearest in the first dimension (softmax) and the last (density),
    so those get two nodes more.
    """
    table = Table({}, like.new_ones(1))
    for i in range(dimensions):
        end = i in (0, dimensions - 1)
        y, w = gauss_legendre(nodes if end else max(2, nodes - 2), like)
        y, w = _towards(0, y, w) if unbounded else (y, w)
        a = 1.6 if end else 1.0
        x, w = y / (1 + a - a * y), w * (1 + a) / (1 + a - a * y).square()
        table = _join(table, Table({str(i): _column(x)}, w))
    columns = [table.values[str(i)] for i in range(dimensions)]
    return torch.cat([like.new_ones(table.weights.numel(), 0), *columns], -1), table.weights


# Rows


def noise_rows(
    estimator: Estimator, family: str, parameters: dict[str, Tensor], nodes: int, *, quadratic: bool = True
) -> Iterator[Rows]:
    """Yield chunks of noise, each entry of shape (rows, n), with their weights, shape (rows,); all weights add up to 1.

    Args
        parameters  {"logits": (n,)} or {"loc": (n,), "log_scale": (n,)}, float64
        nodes       Gauss nodes for each noise of a coordinate (and for the widest direction of a categorical)
        quadratic   whether functions are quadratic, so that few coordinates interact; not where slopes stand in the formula

    Raises
        TooLarge, if there are more than 2**23 rows.
        UsageError, if the draws are of a kind that has no rule here.
    """
    if family == "categorical":
        for table in _class_tables(estimator, parameters["logits"], nodes):
            for start in range(0, table.weights.numel(), CHUNK_ROWS):
                part = slice(start, start + CHUNK_ROWS)
                yield {name: value[part] for name, value in table.values.items()}, table.weights[part]
        return
    n = next(iter(parameters.values())).numel()
    tables = [_coordinate_table(estimator, family, parameters, i, nodes) for i in range(n)]
    order = roles(estimator).order if quadratic else n
    for coordinates, coefficient in _plan(n, tables[0].weights.numel(), order):
        yield from _product_rows(tables, coordinates, coefficient)


def _plan(n: int, m: int, order: int) -> list[tuple[tuple[int, ...], int]]:
    """The sets of coordinates to be run over jointly, the others held at their middle node, with their coefficients."""
    cut = sum(comb(n, j) * m**j for j in range(order + 1)) if order < n else None
    if cut is None or m**n <= cut:
        _refuse_large(m**n)
        return [(tuple(range(n)), 1)]
    _refuse_large(cut)
    return [
        (coordinates, (-1) ** (order - j) * comb(n - 1 - j, order - j))
        for j in range(order + 1)
        for coordinates in combinations(range(n), j)
    ]


def _product_rows(tables: list[Table], coordinates: tuple[int, ...], coefficient: int) -> Iterator[Rows]:
    m, names = tables[0].weights.numel(), list(tables[0].values)
    device = tables[0].weights.device
    total = m ** len(coordinates)
    for start in range(0, total, CHUNK_ROWS):
        numbers = torch.arange(start, min(total, start + CHUNK_ROWS), device=device)
        index = {i: numbers // m**j % m for j, i in enumerate(coordinates)}
        weights = torch.full(numbers.shape, float(coefficient), dtype=torch.float64, device=device)
        for i in coordinates:
            weights = weights * tables[i].weights[index[i]]
        anchor = torch.full_like(numbers, m // 2)
        noise = {
            name: torch.cat([table.values[name][index.get(i, anchor)] for i, table in enumerate(tables)], -1) for name in names
        }
        yield noise, weights
