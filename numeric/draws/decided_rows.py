"""Noise at given values, many rows in one run under `torch.vmap`: what each row decides about it, and what its gradient is.

A dispatch mode below `torch.vmap` sees the tensors of all rows at once. The number of rows is a prime that no other size of the
code is likely to share, so that the dimension that counts the rows is known wherever something is decided, or the code is
refused. Each row has its own copy of the parameters, so that one backward pass gives the gradient of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from numeric.draws.laws.forms import Noise
from numeric.draws.noise_rows import FreshRows, NoiseRows, NotInRows
from numeric.draws.noise_sources import Decisions, decided
from numeric.draws.random_ops import NOISE, Call, draws_nothing
from numeric.draws.smooth_ops import is_kinked

FEWEST = 101
"""Fewer rows than this are filled up: a small number of rows may be the size of something else."""


def filled(rows: int) -> int:
    """Return the number of rows that a run is given where so many are needed: a prime.

    >>> filled(3), filled(102), filled(1000)
    (101, 103, 1009)
    """
    found = max(rows, FEWEST)
    while any(found % divisor == 0 for divisor in range(2, int(found**0.5) + 1)):
        found += 1
    return found


class RowDecisions(Decisions):
    """Write down what is decided about noise in each row.

    Raises
        NotInRows, where a decision is not one for each row.
    """

    def __init__(self, rows: int, *, refuse: bool) -> None:
        super().__init__(refuse=refuse, still=True)
        self._rows = rows
        self._parts: list[Tensor] = []

    def add(self, call: Call, values: Tensor, noise: Noise) -> None:
        self._mark(values, f"from {call.func}")

    def note(self, call: Call, leaves: Sequence[Tensor]) -> None:
        if is_kinked(call) and _meets(call.args[0], leaves):
            message = f"the first argument of {call.func} is the same for all rows."
            raise NotInRows(message)
        self._parts += [by_row(each, self._rows) for each in decided(call, leaves)]

    def keys(self) -> list[int]:
        """Return a number for each row: rows that decide alike have the same."""
        every = torch.cat(self._parts, 1) if self._parts else torch.zeros(self._rows, 0, dtype=torch.int64)
        return [hash(row.tobytes()) for row in every.cpu().numpy()]


def _meets(argument: Any, leaves: Sequence[Tensor]) -> bool:
    """Whether an argument has one value for all rows, or for all columns, of a tensor of another shape."""
    if not isinstance(argument, Tensor) or argument.shape == leaves[0].shape:
        return False
    try:
        return bool(torch.broadcast_shapes(argument.shape, leaves[0].shape) == leaves[0].shape)
    except RuntimeError:
        return False


def by_row(tensor: Tensor, rows: int) -> Tensor:
    """Return the bits of a tensor, (rows, ...), whose rows are counted by the one dimension of that size, wherever it is.

    Raises
        NotInRows, if there is not exactly one such dimension.

    >>> by_row(torch.ones(2, 3, dtype=torch.bool), 3).tolist()
    [[1, 1], [1, 1], [1, 1]]
    """
    counts = [place for place, size in enumerate(tensor.shape) if size and size % rows == 0]
    if len(counts) != 1 or tensor.shape[counts[0]] != rows or tensor.is_complex():
        message = f"a decision has the shape {tuple(tensor.shape)}, in which the rows are not told apart."
        raise NotInRows(message)
    flat = tensor.detach().movedim(counts[0], 0).reshape(rows, -1)
    return (flat.double() + 0.0).view(torch.int64) if flat.is_floating_point() else flat.long()


class ValueRows(NoiseRows):
    """Fill each draw of noise with rows of values of its standard law, and follow what is decided about them.

    Args
        values     (rows, columns) of the standard laws, float64, one column for each scalar of noise in their order
        decisions  follows the noise
        discrete   makes the discrete draws, of laws that are no noise
    """

    def __init__(self, values: Tensor, decisions: RowDecisions, discrete: Callable[[Call], Tensor]) -> None:
        super().__init__(values, discrete)
        self._decisions = decisions

    def standard(self, call: Call, given: Tensor) -> Tensor:
        """Return the values as they are."""
        return given

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        touched = self._decisions.among(call.tensors)
        draws = torch.Tag.nondeterministic_seeded in func.tags and not draws_nothing(call)
        if draws and touched and call.name not in NOISE:
            message = f"{call.func} has a law that is noise."
            raise NotInRows(message)
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if draws and call.name in NOISE:
            self._decisions.add(call, output, Noise(NOISE[call.name], output.numel()))
        elif touched and not draws:
            self._decisions.propagate(call, touched, output)
        return output

    def require_all_drawn(self) -> None:
        """Raise NotInRows unless the run drew every column."""
        if self.used != self.points.shape[1]:
            message = f"the rows draw {self.used} scalars of noise and a run alone {self.points.shape[1]}."
            raise NotInRows(message)


class OwnParameters(FreshRows):
    """Under `torch.vmap`, give each row its own copy of the parameters that the code reads by other ways than arguments."""

    def __init__(self, row: Tensor, params: Sequence[Tensor], own: Sequence[Tensor]) -> None:
        super().__init__(row)
        self._own = {id(param): each for param, each in zip(params, own, strict=True)}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return super().__torch_function__(func, types, self._given(args), self._given(dict(kwargs or {})))

    def _given(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._own.get(id(value), value)
        if type(value) in (list, tuple):
            return type(value)(self._given(each) for each in value)
        if type(value) is dict:
            return {key: self._given(each) for key, each in value.items()}
        return value
