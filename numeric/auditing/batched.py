"""Many outcomes in one run: a function that draws n independent rows is given n different outcomes as its rows.

    loss(n) -> (n,)        one value a row, each with a gradient of its own
    objective(n) -> (n,)   one value a row

The draws of one row are counted by running loss(1) on a tape; row i of a batch then gets outcome i, in mixed radix. Rows must
not see
each other, and each row must draw the same; a sample of rows is run alone and compared, so that a function that does not keep
to it
is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.draws.dispatch import DispatchMode
from numeric.draws.random_ops import Call, draws_nothing, multinomial_row_probabilities
from numeric.draws.tape import Choice, NotAuditable
from numeric.means.exact_mean import ByNumbers

CHUNK = 4096


class BatchInterceptor(DispatchMode):
    """Run torch code of n rows with row i of each draw set to outcome i.

    Args
        digits  an integer tensor (n, m): for each row the index of each of its m choices, in the order of the draws
    """

    def __init__(self, digits: Tensor) -> None:
        super().__init__()
        self._digits, self._used = digits, 0
        self._factors: list[Callable[[], Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or draws_nothing(call):
            return call()
        if call.name in ("bernoulli", "bernoulli_"):
            return self._bernoulli(call)
        if call.name == "multinomial":
            return self._multinomial(call)
        if call.name in ("randint", "randint_like"):
            return self._integers(call)
        if call.name == "native_dropout":
            return self._dropout(call)
        message = (
            f"{func} has no batched form; expected torch.bernoulli, torch.multinomial, torch.randint or dropout of n rows. "
            "Audit without batched=True, one run an outcome."
        )
        raise NotAuditable(message)

    def probabilities(self) -> Tensor:
        """Return the probability of each row, (n,) in float64, differentiable in what the draws were given.

        Raises
            NotAuditable, if the rows drew less than one row does when it is run alone.
        """
        if self._used != self._digits.shape[1]:
            raise _other_draws()
        product = torch.ones(len(self._digits), dtype=torch.float64)
        for factor in self._factors:
            product = product * factor()
        return product

    def _take(self, output: Tensor) -> Tensor:
        """Return the choices (n, m) of the next draw, which has m of them in each row."""
        rows = len(self._digits)
        width, rest = divmod(output.numel(), rows)
        taken = self._digits[:, self._used : self._used + width]
        if rest or taken.shape[1] != width:
            raise _other_draws()
        self._used += width
        return taken

    def _bernoulli(self, call: Call) -> Tensor:
        bound = call.bound
        law = bound["p"] if "p" in bound else bound["self"]
        output: Tensor = call()
        if output.shape[:1] != self._digits.shape[:1]:
            raise _no_rows(call, output)
        drawn = self._take(output)

        def factor() -> Tensor:
            p = torch.as_tensor(law).double().broadcast_to(output.shape).reshape(drawn.shape)
            return torch.where(drawn.bool(), p, 1 - p).prod(-1)

        self._factors.append(factor)
        return output.copy_(drawn.reshape(output.shape).to(output))

    def _integers(self, call: Call) -> Tensor:
        output: Tensor = call()
        if output.shape[:1] != self._digits.shape[:1]:
            raise _no_rows(call, output)
        drawn, low = self._take(output), int(call.bound.get("low") or 0)
        chance = (1 / (int(call.bound["high"]) - low)) ** drawn.shape[1]
        self._factors.append(lambda: torch.tensor(chance, dtype=torch.float64))
        return output.copy_((drawn + low).reshape(output.shape).to(output))

    def _dropout(self, call: Call) -> tuple[Tensor, Tensor]:
        kept, mask = call()
        p = float(call.bound["p"])
        if call.bound.get("train") is False or p == 0:
            return kept, mask
        if mask.shape[:1] != self._digits.shape[:1]:
            raise _no_rows(call, mask)
        drawn = self._take(mask)
        self._factors.append(lambda: torch.where(drawn.bool(), 1 - p, p).double().prod(-1))
        mask.copy_(drawn.reshape(mask.shape))
        return call.bound["input"] * mask * (0.0 if p == 1 else 1 / (1 - p)), mask

    def _multinomial(self, call: Call) -> Tensor:
        weights: Tensor = call.bound["self"]
        output: Tensor = call()
        laws, count, rows = weights.numel() // weights.shape[-1], output.shape[-1], len(self._digits)
        drawn = self._take(output)
        if count > 1 and not call.bound.get("replacement"):
            if laws != rows:
                raise _no_rows(call, output)
            self._factors.append(lambda: multinomial_row_probabilities(weights, drawn, replacement=False))
            return output.copy_(drawn)
        if laws == rows:
            indices, p = drawn, _normalised(weights)[:, None]
        elif count % rows == 0:
            indices, p = drawn.reshape(rows, laws, count // rows), _normalised(weights)[None, :, None]
        else:
            raise _no_rows(call, output)
        shape = (*indices.shape, weights.shape[-1])
        self._factors.append(lambda: p().expand(shape).gather(-1, indices[..., None]).reshape(rows, -1).prod(-1))
        filled = drawn if laws == rows else indices.transpose(0, 1)
        return output.copy_(filled.reshape(output.shape).to(output))


class _Lazy:
    """A row of weights, normalised when it is asked for: a dispatch mode records no graph."""

    def __init__(self, weights: Tensor, index: tuple[Any, ...] = ()) -> None:
        self._weights, self._index = weights, index

    def __getitem__(self, index: Any) -> _Lazy:
        return _Lazy(self._weights, index)

    def __call__(self) -> Tensor:
        rows = self._weights.double().reshape(-1, self._weights.shape[-1])
        return (rows / rows.sum(-1, keepdim=True))[self._index]


def _normalised(weights: Tensor) -> _Lazy:
    return _Lazy(weights)


def outcomes(choices: Sequence[Choice]) -> int:
    """Return the number of outcomes of one row that can happen, where every row draws the same."""
    return math.prod(len(choice.options) for choice in choices)


def digits_of(choices: Sequence[Choice], chunk: int = CHUNK) -> Iterator[Tensor]:
    """Yield the choices of all outcomes, a chunk of rows at a time.

    >>> [part.tolist() for part in digits_of([Choice("coin", (0.5, 0.5), 0), Choice("die", (0.1, 0.2, 0.7), 0)], 4)]
    [[[0, 0], [0, 1], [0, 2], [1, 0]], [[1, 1], [1, 2]]]
    """
    sizes = [len(choice.probabilities) for choice in choices]
    for start in range(0, math.prod(sizes), chunk):
        number, columns = torch.arange(start, min(start + chunk, math.prod(sizes))), []
        for size in reversed(sizes):
            columns.append(number % size)
            number = number // size
        yield torch.stack(columns[::-1], -1) if columns else torch.zeros((1, 0), dtype=torch.int64)


def possible_rows(run: Callable[[Tensor], tuple[Tensor, Tensor]], digits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the choices, the values and the probabilities of the rows that can happen: no other has a say in a mean."""
    values, weights = run(digits)
    possible = weights.detach() > 0
    if not bool(possible.all()):
        digits = digits[possible]
        values, weights = run(digits)
    return digits, values, weights


def run_rows(function: Callable[[int], Any], digits: Tensor, *, by_numbers: bool) -> tuple[Tensor, Tensor]:
    """Return the values and the probabilities of the rows, (n,) each; both have their graph where it is wanted.

    Raises
        UsageError, unless the function returns n values.
    """
    mode = BatchInterceptor(digits)
    with mode, ByNumbers() if by_numbers else nullcontext():
        values = function(len(digits))
    if not isinstance(values, Tensor) or values.shape != digits.shape[:1]:
        shown = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        message = f"a batched function of {len(digits)} rows returned {shown}; expected a tensor of shape ({len(digits)},)."
        raise UsageError(message)
    return values, mode.probabilities()


def row_gradients(values: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient of each value by each parameter, (n, *shape) in float64."""
    directions = torch.eye(len(values), dtype=values.dtype, device=values.device)
    found = torch.autograd.grad(values, list(params), directions, is_grads_batched=True, allow_unused=True)
    return [
        torch.zeros((len(values), *param.shape), dtype=torch.float64) if part is None else part.detach().double()
        for part, param in zip(found, params, strict=True)
    ]


def _no_rows(call: Call, output: Tensor) -> NotAuditable:
    message = (
        f"{call.func} of shape {tuple(output.shape)} does not draw one row for each of the n that a batched function is "
        "called with; "
        "draw with n first, as in torch.bernoulli(p.expand(n, -1)), or audit without batched=True."
    )
    return NotAuditable(message)


def _other_draws() -> NotAuditable:
    message = (
        "a batch of rows does not draw what one row draws alone; expected the same draws in each row, whatever comes out of "
        "them. "
        "Audit without batched=True, one run an outcome."
    )
    return NotAuditable(message)
