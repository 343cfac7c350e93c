"""Every outcome and quadrature node of an estimator's noise, with weights: what is fed in place of the draws.

The mean of an estimate over these rows is its expectation, exactly (outcomes, polynomials of normal noise) or to rounding
(uniform noise that decides an outcome). What makes that cheap is read off the formula:

- Coordinates are independent in the bernoulli and normal families: one table for each coordinate, joined by a product.
- Where an estimate is a sum of functions of at most t coordinates, and t < n, its mean is a combination of means over
  t, t - 1, ... coordinates with the others held at an anchor (the anchored decomposition of a function).
- Noise that decides an outcome is split where the outcome changes: on each piece the integrand is smooth, and Gauss-Legendre
  nodes converge geometrically. For the K Gumbels of a categorical the pieces are the K! orders of the exponentials
  T_k = exp(-z_k); in the ratios of neighbours the integrand is analytic on a cube, and a common scale of all T_k drops out.
- Where no summand of the formula multiplies two noises (other than through the outcome), their nodes are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product
from math import comb, factorial

import torch
from torch import Tensor

from derive.errors import TooLarge, UsageError
from derive.estimator import Estimator
from derive.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Latent,
    Log,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
)
from numeric.exact_gradient import gauss_hermite, gauss_legendre
from numeric.expressions import one, zero

MAX_ROWS = 2**23
CHUNK_ROWS = 2**14
GUMBEL_SCALE = 500.0  # of the largest exponential: large, so that the logarithm of a uniform keeps its relative accuracy

Rows = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Roles:
    """What the formula does with its noise.

    Args
        deciding  the uniform draws that decide an outcome, b = H(h(u, theta))
        separate  whether no summand multiplies functions of two different uniform draws, other than through outcomes
        order     at most so many coordinates interact in one coordinate of the estimate, when functions are quadratic
    """

    deciding: frozenset[str]
    separate: bool
    order: int


def roles(estimator: Estimator) -> Roles:
    """Read off the formula what its noise does.

    >>> from derive.catalogue import catalogue
    >>> roles(catalogue["rebar"])
    Roles(deciding=frozenset({'u'}), separate=True, order=3)
    """
    deciding = frozenset(_deciding(estimator.formula))
    groups = _groups(estimator.formula)
    return Roles(deciding, all(len(group) <= 1 for group in groups), _order(estimator.formula))


def _deciding(term: Term) -> set[str]:
    if isinstance(term, Apply) and isinstance(term.function, Threshold):
        return {leaf.name for leaf in _uniform(term)}
    return set().union(*(_deciding(part) for part in parts(term)))


def _uniform(term: Term) -> set[RandomVariable]:
    """The uniform draws of a term, through anything."""
    if isinstance(term, RandomVariable):
        return {term} if isinstance(term.law, UniformLaw) else set()
    return set().union(*(_uniform(part) for part in parts(term)))


def _groups(term: Term) -> set[frozenset[str]]:
    """The sets of uniform draws that occur together in one summand of the term written out; through outcomes does not count."""
    match term:
        case Apply(Threshold(), _) | Number() | Symbol():
            return {frozenset()}
        case RandomVariable(name, law):
            return {frozenset({name} if isinstance(law, UniformLaw) else ())}
        case Add(args):
            return set().union(*(_groups(arg) for arg in args))
        case Grad(body, _) | Stop(body) | Expect(body, _) | Over(body, _) | Power(body, 1):
            return _groups(body)
        case Mul(args):
            return {frozenset().union(*choice) for choice in product(*(_groups(arg) for arg in args))}
    return {frozenset().union(*(group for part in parts(term) for group in _groups(part)))}


def _order(term: Term) -> int:
    """How many coordinates interact in one coordinate of the term; a large number where nothing is known."""
    many = 10**6
    match term:
        case Number() | Symbol():
            return 0
        case Apply() | Log(Density()):
            return 2 if isinstance(term, Apply) else 1
        case Score():
            return 1
        case Add(args):
            return max(map(_order, args))
        case Mul(args):
            return min(many, sum(map(_order, args)))
        case Power(base, exponent) if exponent > 0:
            return min(many, exponent * _order(base))
        case Grad(body, _) | Stop(body):
            return _order(body)
        case Expect(body, variable):
            return 0 if _closed(body, variable) else many
        case Exp() | Log() | Sigmoid() | Power():
            return 0 if _order(parts(term)[0]) == 0 else many
    return many


def _closed(body: Term, variable: RandomVariable) -> bool:
    if isinstance(body, RandomVariable):
        return body == variable
    return all(_closed(part, variable) for part in parts(body))


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
    tables = []
    for bits in product((0, 1), repeat=len(known.deciding & set(names))):
        decided = dict(zip(sorted(known.deciding), bits, strict=True))
        tables.append(_piece(names, decided, torch.sigmoid(parameters["logits"][i]) if decided else x, x, w, known.separate))
    return _stack(tables)


def _piece(names: list[str], decided: dict[str, int], p: Tensor, x: Tensor, w: Tensor, separate: bool) -> Table:
    """The nodes where the deciding noises give these bits; u < 1 - p gives 0, u > 1 - p gives 1."""
    table = Table({}, w.new_ones(1))
    mass = w.new_ones(())
    for k, name in enumerate(names):
        nodes = x if k % 2 == 0 or not separate else x.flip(0)
        if name in decided:
            nodes = (1 - p) + p * nodes if decided[name] else (1 - p) * nodes
            mass = mass * (p if decided[name] else 1 - p)
        if separate:
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
    if len(known.deciding) != 1 or not all(_standard(draw) for draw in noises):
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
    p = torch.softmax(logits, -1)
    t, weights = _exponentials(p, winner, nodes)
    gaps = torch.where(torch.arange(p.numel(), device=p.device) == winner, t, p * (t - t[:, winner, None]))
    conditional = torch.exp(-GUMBEL_SCALE * gaps)
    table = Table({name: torch.exp(-GUMBEL_SCALE * p * t) for name in known.deciding}, weights)
    for name in names:
        if name in known.deciding:
            continue
        if known.separate:
            table = Table(table.values | {name: conditional}, table.weights)
        else:
            table = _join(table, Table({name: conditional}, weights / weights.sum()))
    return table


def _exponentials(p: Tensor, winner: int, nodes: int) -> tuple[Tensor, Tensor]:
    """T of shape (rows, K), T_k exponential with rate p_k, largest one scaled to 1, given that T_winner is the least.

    In the order pi, x_l = T_pi(l) / T_pi(l + 1); integrating out the scale leaves the density
    (K - 1)! prod p_k prod x_l^(l - 1) / (sum p_k T_k)^K on the cube. The weights add up to p_winner.
    """
    k = p.numel()
    x, w = _cube(k - 1, nodes, p)
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


def _cube(dimensions: int, nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes of a cube, shape (rows, dimensions), and their weights, shape (rows,).

    In one dimension: Gauss-Legendre in y, x = y / (1 + a - a y). It moves the poles of the density and of softmax, which lie at
    x = -1/(K - 1) and beyond, away from the interval. They are nearest in the first dimension (softmax) and the last (density),
    so those get two nodes more.
    """
    table = Table({}, like.new_ones(1))
    for i in range(dimensions):
        end = i in (0, dimensions - 1)
        y, w = gauss_legendre(nodes if end else max(2, nodes - 2), like)
        a = 1.6 if end else 1.0
        x, w = y / (1 + a - a * y), w * (1 + a) / (1 + a - a * y).square()
        table = _join(table, Table({str(i): _column(x)}, w))
    columns = [table.values[str(i)] for i in range(dimensions)]
    return torch.cat([like.new_ones(table.weights.numel(), 0), *columns], -1), table.weights


# Rows


def noise_rows(estimator: Estimator, family: str, parameters: dict[str, Tensor], nodes: int) -> Iterator[Rows]:
    """Yield chunks of noise, each entry of shape (rows, n), with their weights, shape (rows,); all weights add up to 1.

    Args
        parameters  {"logits": (n,)} or {"loc": (n,), "log_scale": (n,)}, float64
        nodes       Gauss nodes for each noise of a coordinate (and for the widest direction of a categorical)

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
    for coordinates, coefficient in _plan(n, tables[0].weights.numel(), roles(estimator).order):
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


def exact_rule(estimator: Estimator) -> bool:
    """Whether the rows are exact as they stand: every draw has finitely many outcomes, or is normal under a polynomial."""
    return not any(isinstance(draw.law, UniformLaw) for draw in estimator.draws)


def is_polynomial(estimator: Estimator) -> bool:
    """Whether formula and objective are polynomials in normal variables, when the user's functions are.

    >>> from derive.catalogue import catalogue
    >>> is_polynomial(catalogue["sgvb"]), is_polynomial(catalogue["iwae"])
    (True, False)
    """
    return _polynomial(estimator.formula) and _polynomial(estimator.objective)


def _polynomial(term: Term) -> bool:
    match term:
        case Log(Density(_, at)):
            return _polynomial(at)
        case Exp() | Log() | Sigmoid() | Density():
            return False
        case Power(_, exponent) if exponent < 0:
            return False
    return all(map(_polynomial, parts(term)))


def reparameterized(estimator: Estimator) -> bool:
    """Whether every draw is a standard normal: then the estimate is a derivative of the objective at the same nodes."""
    return all(isinstance(draw.law, NormalLaw) and draw.law == NormalLaw(zero(), one()) for draw in estimator.draws)


def uses_raw_latent(term: Term) -> bool:
    """Whether a function of the user is applied to a latent variable itself, not to its relaxation."""
    if isinstance(term, Apply) and type(term.function) is Function and any(_is_latent(arg) for arg in term.args):
        return True
    return any(uses_raw_latent(part) for part in parts(term))


def _is_latent(arg: Term) -> bool:
    return isinstance(arg, Apply) and isinstance(arg.function, (Latent, ConditionalLatent))
