"""The exact gradient of E[f(b)] by enumeration in float64, a chunk at a time.

    d/dtheta E[f(b)] = sum over b of p(b) f(b) score(b)

is evaluated as it stands (no autograd, no code in common with the generated estimators), so it is the judge of those. A chunk
of outcomes is all that is ever in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from numeric.codegen.families import family_of
from numeric.codegen.inputs import Gradient, Objective, Params, checked_function, checked_params, is_finite

CHUNK_ELEMENTS, FEWER_ELEMENTS = 2**20, 2**17
HIGH_BITS = 4  # so many at least run from chunk to chunk, where there is more than a small chunk: writing a table costs most
MAX_BITS = 30
MAX_NODES = 2**28


def exact_gradient(
    f: Objective,
    params: Params,
    family: str = "bernoulli",
    *,
    nodes: int = 32,
    dtype: torch.dtype = torch.float64,
    of_classes: bool = False,
) -> Gradient:
    """Return d/dparams E[f(b)] in float64.

    Args
        f       the objective: outcomes (..., n) to values (...), for any leading dimensions; the next outcomes may come in the
                same tensor, so f copies what it keeps
        params  logits (*batch, n) or (*batch, K), or {"loc", "log_scale"}, each (*batch, n)
        family  "bernoulli": all 2**n bit vectors; "categorical": all K one-hot vectors; "normal": Gauss-Hermite quadrature,
                exact for polynomials f of degree up to 2 * nodes - 3 in each coordinate, and approximate otherwise
        nodes   quadrature nodes for each coordinate (normal only)
        dtype   the dtype of the outcomes that f is given; sums are always float64
        of_classes  whether f maps the numbers of all classes, int64 (K,), to values (K,), or to (*batch, K) where they differ
                from law to law, rather than one-hot rows (categorical only): 50,000 classes are then as many numbers

    Returns
        A float64 tensor of the shape of params, or a dictionary of two.

    Raises
        UsageError, if params or a value of f is not as it must be, or classes are asked for in another family.
        TooLarge, for more than 30 bits, or more than 2**28 quadrature nodes.

    The mean of one bit has the slope p (1 - p):

    >>> exact_gradient(lambda b: b.sum(-1), torch.zeros(1))
    tensor([0.2500], dtype=torch.float64)
    >>> exact_gradient(lambda k: (k == 1).double(), torch.zeros(4), "categorical", of_classes=True)
    tensor([-0.0625,  0.1875, -0.0625, -0.0625], dtype=torch.float64)
    """
    family_of(family)
    if of_classes and family != "categorical":
        message = f"of_classes is for the categorical family, whose outcomes have numbers; got the {family} family."
        raise UsageError(message)
    checked = checked_params(params, family)
    of_rows = checked_function(f, "f", may_write=True)  # each chunk of outcomes is made anew
    with torch.no_grad():
        if not any(part.numel() for part in (checked.values() if isinstance(checked, Mapping) else [checked])):
            return _of_no_rows(checked)
        if isinstance(checked, Mapping):
            return _normal(of_rows, {name: part.double() for name, part in checked.items()}, nodes, dtype)
        logits = checked.double()
        flat = logits.reshape(-1, logits.shape[-1])
        if of_classes:
            return _centred(torch.softmax(logits, -1), _of_classes(f, logits))
        exact = _bernoulli if family == "bernoulli" else _categorical
        return exact(_reshaping(of_rows, logits.shape, dtype), flat).reshape(logits.shape)


def _of_no_rows(params: Tensor | Mapping[str, Tensor]) -> Gradient:
    """Return the gradient of a batch without rows, of which f is not asked."""
    if isinstance(params, Mapping):
        return {name: torch.zeros_like(part, dtype=torch.float64) for name, part in params.items()}
    return torch.zeros_like(params, dtype=torch.float64)


def _reshaping(f: Objective, shape: torch.Size, dtype: torch.dtype) -> Objective:
    """f with one batch dimension: outcomes (rows, batch, n) to float64 values (rows, batch)."""

    def flat(outcomes: Tensor) -> Tensor:
        rows = outcomes.shape[0]
        return f(outcomes.to(dtype).reshape(rows, *shape)).double().reshape(rows, -1)

    return flat


def _bernoulli(f: Objective, logits: Tensor) -> Tensor:
    """Bits in two groups: the low ones run through a table inside each chunk, the high ones from chunk to chunk.

    d/dl_i = sigmoid(-l_i) sum_{b_i = 1} p f - sigmoid(l_i) sum_{b_i = 0} p f, so that no score cancels for large logits. Since
    p(b) = p(low) p(high), a chunk costs the evaluation of f, one sum weighted with p(low) for the high bits, and one addition
    to a table over the low bits, which is summed by halves at the end.
    """
    batch, n = logits.shape
    if n > MAX_BITS:
        message = f"{n} bits have 2**{n} outcomes; enumeration is limited to {MAX_BITS} bits."
        raise TooLarge(message)
    most, fewer = (int(math.log2(max(1, elements // (batch * n)))) for elements in (CHUNK_ELEMENTS, FEWER_ELEMENTS))
    low = max(0, min(n, most, max(n - HIGH_BITS, fewer)))
    p_low, p_high = _table(logits[:, :low]), _table(logits[:, low:])
    over_high, over_low = torch.zeros_like(p_low), torch.empty_like(p_high)
    for number, b in enumerate(_chunks(low, n, logits)):
        values = f(b[:, None, :].expand(-1, batch, -1))
        over_high.addcmul_(values, p_high[number])
        over_low[number] = torch.einsum("rb,rb->b", p_low, values)
    zeros, ones = (
        torch.cat(pair, -1) for pair in zip(_by_bit(p_low * over_high), _by_bit(p_high * over_low), strict=True)
    )
    return torch.sigmoid(-logits) * ones - torch.sigmoid(logits) * zeros


def _table(logits: Tensor) -> Tensor:
    """The probabilities of all outcomes of some bits, shape (2**k, batch), each bit doubling those before."""
    p = logits.new_ones(1, logits.shape[0])
    for one, zero in zip(torch.sigmoid(logits).unbind(-1), torch.sigmoid(-logits).unbind(-1), strict=True):
        p = torch.cat([p * zero, p * one])
    return p


def _chunks(low: int, n: int, like: Tensor) -> Iterator[Tensor]:
    """All outcomes of n bits, shape (2**low, n) at a time, in one tensor: only the high bits are written for each chunk."""
    numbers, places = torch.arange(2**low, device=like.device)[:, None], torch.arange(n, device=like.device)
    chunk, version = torch.empty(2**low, n, dtype=like.dtype, device=like.device), -1
    for number in range(2 ** (n - low)):
        if chunk.is_inference() or chunk._version != version:  # at first, and where f has, or may have, written into them
            chunk.copy_((numbers >> places) & 1)
        chunk[:, low:] = ((number >> places[: n - low]) & 1).to(like.dtype)
        version = -1 if chunk.is_inference() else chunk._version
        yield chunk


def _by_bit(table: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of a table (2**k, batch) over the outcomes with bit i zero, and with bit i one: (batch, k) each."""
    sums: list[Tensor] = []
    while len(table) > 1:
        halves = table.reshape(2, -1, table.shape[-1])
        sums.append(halves.sum(1))
        table = halves.sum(0)
    if not sums:
        return table.new_zeros(table.shape[-1], 0), table.new_zeros(table.shape[-1], 0)
    zeros, ones = torch.stack(sums[::-1], -1).unbind(0)
    return zeros, ones


def _centred(p: Tensor, values: Tensor) -> Tensor:
    """d/dl_i = p_i (f_i - sum_k p_k f_k)."""
    mean = p @ values if values.ndim == 1 else (p * values).sum(-1)
    return (values - mean[..., None]).mul_(p)


def _of_classes(f: Objective, logits: Tensor) -> Tensor:
    """f of every class, shape (K,), or (*batch, K) where it differs from law to law."""
    values: object = f(torch.arange(logits.shape[-1], device=logits.device))
    if not isinstance(values, Tensor) or values.shape not in {logits.shape, logits.shape[-1:]}:
        got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        message = f"f must map the numbers of all classes to one value each, of shape {tuple(logits.shape[-1:])}; got {got}."
        raise UsageError(message)
    if values.is_complex() or not is_finite(values):
        message = f"f must return finite real numbers; of all classes it returned {values.dtype}, or nan or infinity."
        raise UsageError(message)
    return values.double()


def _categorical(f: Objective, logits: Tensor) -> Tensor:
    batch, k = logits.shape
    p = torch.softmax(logits, -1)
    values = torch.empty_like(p)
    step = max(1, CHUNK_ELEMENTS // (batch * k))
    for start in range(0, k, step):
        classes = torch.arange(start, min(k, start + step), device=logits.device)
        outcomes = torch.nn.functional.one_hot(classes, k).to(logits.dtype)
        values[:, classes] = f(outcomes[:, None, :].expand(-1, batch, -1)).T
    return _centred(p, values)


def _normal(f: Objective, params: dict[str, Tensor], nodes: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """E[f x / scale] and E[f (x^2 - 1)] for z = loc + scale x, by the tensor product of Gauss-Hermite rules."""
    if nodes < 2:
        message = f"nodes must be at least 2, got {nodes}."
        raise UsageError(message)
    loc, scale = params["loc"], params["log_scale"].exp()
    n = loc.shape[-1]
    if nodes**n > MAX_NODES:
        message = f"{n} coordinates with {nodes} nodes each are {nodes**n} nodes; the limit is {MAX_NODES}: use fewer nodes."
        raise TooLarge(message)
    x_of, w_of = gauss_hermite(nodes, loc)
    d_loc, d_log_scale = torch.zeros_like(loc), torch.zeros_like(loc)
    step = max(1, CHUNK_ELEMENTS // loc.numel())
    for start in range(0, nodes**n, step):
        numbers = torch.arange(start, min(nodes**n, start + step), device=loc.device)
        index = numbers[:, None] // nodes ** torch.arange(n, device=loc.device) % nodes
        x = x_of[index].reshape(-1, *[1] * (loc.ndim - 1), n)
        weighted = w_of[index].prod(-1).reshape(x.shape[:-1]) * f((loc + scale * x).to(dtype)).double()
        d_loc += (weighted[..., None] * x / scale).sum(0)
        d_log_scale += (weighted[..., None] * (x.square() - 1)).sum(0)
    return {"loc": d_loc, "log_scale": d_log_scale}


# Quadrature rules; Golub and Welsch (1969): the nodes are eigenvalues of the Jacobi matrix of the orthogonal polynomials


def gauss_hermite(nodes: int, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Nodes and weights, both of shape (nodes,), for the mean under the standard normal law.

    >>> x, w = gauss_hermite(3)
    >>> round(float((w * x**4).sum()), 12)
    3.0
    """
    return _golub_welsch(torch.arange(1, nodes, dtype=torch.float64).sqrt(), like)


def gauss_legendre(nodes: int, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Nodes and weights, both of shape (nodes,), for the mean under the uniform law on (0, 1).

    >>> x, w = gauss_legendre(3)
    >>> round(float((w * x**5).sum()), 12)
    0.166666666667
    """
    k = torch.arange(1, nodes, dtype=torch.float64)
    x, w = _golub_welsch(k / torch.sqrt(4 * k**2 - 1), like)
    return (x + 1) / 2, w


def _golub_welsch(beside: Tensor, like: Tensor | None) -> tuple[Tensor, Tensor]:
    x, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    x = (x - x.flip(0)) / 2
    w = vectors[0].square()
    w = (w + w.flip(0)) / 2
    options: dict[str, Any] = {} if like is None else {"device": like.device}
    return x.to(**options), (w / w.sum()).to(**options)
