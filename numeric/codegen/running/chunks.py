"""A large batch in parts that fit into the cache: whole samples, or rows of one sample after another.

Noise is drawn row by row, so that the parts draw what the whole batch would, from the same generator. Normal noise comes in
blocks of 16 numbers, of which a last one that is not full is drawn together with the one before it: the parts keep them whole.
Where a block lies across two samples, several samples are a part, at most 16 of them, however large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate, product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from numeric.codegen.expressions import Kind
from numeric.codegen.inputs import Gradient, Params, first
from numeric.codegen.torchgen import Generated

CHUNK = 2**16
FEWEST = 4  # parts; what has fewer is not worth cutting
BLOCK = 16

Run: TypeAlias = Callable[[tuple[int, ...], slice | None], Gradient]
"""The estimates for a shape of samples, and for some rows of the batch, or all of it."""


def in_parts(generated: Generated, params: Params, samples: int, run: Run) -> Gradient | None:
    """Return the mean of all estimates, computed in parts; None where the batch is small, or the formula does not allow it."""
    like = first(params)
    if not generated.rowwise or like.device.type != "cpu" or samples * like.numel() <= FEWEST * CHUNK:
        return None
    noises, rows = len(generated.noise), like.numel() // like.shape[-1]
    block = BLOCK if "torch.randn(" in generated.source else 1
    if like.numel() > CHUNK and (samples == 1 or like.numel() * noises % block == 0):
        return _by_rows(run, sizes(rows, like.shape[-1], noises, block), like.shape, samples)
    return _by_samples(run, sizes(samples, like.numel(), noises, block), samples)


def sizes(count: int, each: int, noises: int, block: int) -> list[int]:
    """Cut so many samples or rows, each of so many numbers and draws, into parts of about `CHUNK` numbers, in whole blocks.

    >>> sizes(10, 20_001, 1, 1), sizes(20, 20_001, 1, 16)
    ([3, 3, 3, 1], [16, 4])
    """
    step = block // math.gcd(block, each * noises)
    size = max(step, CHUNK // each // step * step)
    found, rest = [size] * (count // size), count % size
    if found and rest * each * noises < block:
        found[-1] += rest
        return found
    return [*found, rest]


def _by_samples(run: Run, parts: list[int], samples: int) -> Gradient:
    total: dict[str, Tensor] = {}
    for size in parts:
        found = _named(run((size,), None))
        for name, part in found.items():
            summed = part.sum(0, dtype=_wide(part))
            total[name] = summed if name not in total else total[name].add_(summed)
    return _given_back({name: _mean(part, samples, found[name].dtype) for name, part in total.items()})


def _by_rows(run: Run, parts: list[int], shape: torch.Size, samples: int) -> Gradient:
    total: dict[str, Tensor] = {}
    ends = list(accumulate(parts))
    for number, (size, end) in product(range(samples), zip(parts, ends, strict=True)):
        rows = slice(end - size, end)
        found = _named(run((), rows))
        for name, part in found.items():
            if name not in total:
                total[name] = part.new_empty(ends[-1], part.shape[-1], dtype=_wide(part))
            some = total[name][rows]
            some.copy_(part) if number == 0 else some.add_(part)
    return _given_back({name: _mean(part, samples, found[name].dtype).reshape(shape) for name, part in total.items()})


def _mean(total: Tensor, samples: int, dtype: torch.dtype) -> Tensor:
    """The mean, in the memory of the sum: a pass over a large batch takes as long as an estimate of it."""
    return (total if samples == 1 else total.div_(samples)).to(dtype)


def _wide(part: Tensor) -> torch.dtype:
    """The dtype of sums: that of the summands, or float32 where they have less than that."""
    return torch.float32 if part.itemsize < 4 else part.dtype


def _named(gradient: Gradient) -> dict[str, Tensor]:
    return gradient if isinstance(gradient, dict) else {"": gradient}


def _given_back(gradient: dict[str, Tensor]) -> Gradient:
    return gradient.get("", gradient)


def cut(params: Params, rows: slice) -> Params:
    """Some rows of the parameters, shape (rows, n)."""
    if isinstance(params, Mapping):
        return {name: part.reshape(-1, part.shape[-1])[rows] for name, part in params.items()}
    return params.reshape(-1, params.shape[-1])[rows]


def cut_constants(constants: Mapping[str, Any], generated: Generated, shape: torch.Size, rows: slice | None) -> dict[str, Any]:
    """The constants for some rows: those that are tensors over the batch have rows themselves."""
    if rows is None:
        return dict(constants)
    whole = {Kind.BATCH: (shape[:-1], (-1,)), Kind.VECTOR: (shape, (-1, shape[-1]))}

    def some(name: str, value: object) -> object:
        over = whole.get(generated.kinds.get(name, Kind.UNUSED))
        if over is None or not isinstance(value, Tensor) or value.ndim == 0:
            return value
        return value.expand(over[0]).reshape(over[1])[rows]

    return {name: some(name, value) for name, value in constants.items()}
