"""Discrete draws with given outcomes, many rows in one run under `torch.vmap`, and how probable each row is.

Code that runs under `torch.vmap` cannot branch on what it draws, so all rows draw alike: what one run shows of the number of
options of each choice holds for all of them. What a choice may give can still change with the choices before it, so each row
is weighted by the laws that it draws from, and a row that cannot happen has the weight zero.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from numeric.draws.dispatch import DispatchMode
from numeric.draws.noise_rows import NotInRows
from numeric.draws.random_ops import Call, draws_nothing, multinomial_row_probabilities
from numeric.draws.tape import Tape


class OutcomeRows(DispatchMode):
    """Fill each discrete draw of a run under `torch.vmap(..., randomness="different")` with the outcomes of some rows.

    Args
        choices  the index of each choice in each row, (rows, choices)
        options  those that each choice has in some row, one tensor a choice
    """

    choices: Tensor
    weights: Tensor
    """The probability of each row, (rows,) in float64."""
    happens: Tensor
    """Whether each row can happen, (rows,): its probability may be too small for a number."""

    def __init__(self, choices: Tensor, options: Sequence[Tensor]) -> None:
        super().__init__()
        self.choices, self._options, self._used = choices, options, 0
        self.weights = torch.ones(len(choices), dtype=torch.float64)
        self.happens = torch.ones(len(choices), dtype=torch.bool)
        self._factors: list[Callable[[], Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags or draws_nothing(call):
            return call()
        return self.draw(call)

    def draw(self, call: Call) -> Tensor:
        """Make a discrete draw.

        Raises
            NotInRows, if its law is none that is known here.
        """
        if call.name not in _DRAWS:
            message = f"{call.func} is run one by one."
            raise NotInRows(message)
        return _DRAWS[call.name](self, call)

    def take(self, output: Tensor) -> tuple[int, Tensor]:
        """Return the first of the choices of a draw of which each row has a part, and those choices, (rows, choices).

        Raises
            NotInRows, if it draws one value for all rows, or more than the run that was seen.
        """
        rows, first = len(self.choices), self._used
        each = output.numel() // rows
        if output.dim() == 0 or output.shape[0] % rows or first + each > self.choices.shape[1]:
            message = "a draw is not one of each row, or the rows draw more than a run alone."
            raise NotInRows(message)
        self._used += each
        return first, self.choices[:, first : self._used]

    def weigh(self, factor: Callable[[], Tensor]) -> None:
        """Multiply the weights by the probabilities of what was drawn, (rows, draws), differentiable in the law."""
        found = factor().detach()
        self.weights = self.weights * found.prod(-1)
        self.happens = self.happens & (found > 0).all(-1)
        self._factors.append(factor)

    def require_no_other(self, place: int, law: Tensor) -> None:
        """Raise NotInRows if a choice of the last draw has an option that no row has: (rows, options) of its law.

        However improbable it is: what it leads to may be divided by its probability.
        """
        other = torch.ones(law.shape[-1], dtype=torch.bool)
        other[self._options[place]] = False
        if bool(other.any()) and bool((law.detach()[self.happens][:, other] > 0).any()):
            message = "a choice has an option that none of the seen runs had."
            raise NotInRows(message)

    def differentiable_weights(self) -> Tensor:
        """Return the weights with their graph, (rows,).

        Raises
            NotInRows, if a tensor that a draw was given has been overwritten since.
        """
        product = torch.ones(len(self.choices), dtype=torch.float64)
        for factor in self._factors:
            product = product * factor().prod(-1)
        if not torch.allclose(product.detach(), self.weights, rtol=1e-9, atol=0.0):
            message = "a law was overwritten in place."
            raise NotInRows(message)
        return product

    def total_weights(self, parts: int, *, differentiable: bool) -> Tensor:
        """Return the weights of rows of which each of so many parts has all outcomes, (rows,).

        Raises
            NotInRows, if the weights of a part do not sum to one.
        """
        totals = self.weights.reshape(parts, -1).sum(1)
        if not torch.allclose(totals, torch.ones_like(totals), rtol=0.0, atol=1e-9):
            message = "the rows are not all outcomes."
            raise NotInRows(message)
        return self.differentiable_weights() if differentiable else self.weights

    def require_all_drawn(self) -> None:
        """Raise NotInRows unless the run made every choice."""
        if self._used != self.choices.shape[1]:
            message = f"the rows make {self._used} choices and a run alone {self.choices.shape[1]}."
            raise NotInRows(message)


def _bernoulli(rows: OutcomeRows, call: Call) -> Tensor:
    bound = call.bound
    law = bound["p"] if "p" in bound else bound["self"]
    output: Tensor = bound["self"] if call.name.endswith("_") else torch.empty_like(bound["self"])
    law = law.clone() if law is output else law
    first, drawn = rows.take(output)

    def ones() -> Tensor:
        return torch.as_tensor(law, dtype=torch.float64).broadcast_to(output.shape).reshape(drawn.shape)

    for place, p in enumerate(ones().unbind(-1), first):
        rows.require_no_other(place, torch.stack([1 - p, p], -1))
    rows.weigh(lambda: torch.where(drawn.bool(), ones(), 1 - ones()))
    return output.copy_(drawn.reshape(output.shape))


def _multinomial(rows: OutcomeRows, call: Call) -> Tensor:
    law: Tensor = call.bound["self"]
    replacement = bool(call.bound.get("replacement", False))
    output = law.new_empty((*law.shape[:-1], int(call.bound["num_samples"])), dtype=torch.int64)
    first, drawn = rows.take(output)
    if law.dim() != 2:
        message = f"{call.func} draws from one law for all rows."
        raise NotInRows(message)
    each = drawn.reshape(output.shape)
    tables = law.reshape(len(drawn), -1, law.shape[-1])
    for place in range(drawn.shape[1]):
        table, before = divmod(place, output.shape[-1])
        taken = drawn[:, place - before : place]
        left = tables[:, table] if replacement or not before else tables[:, table].scatter(1, taken, 0)
        rows.require_no_other(first + place, left)
    rows.weigh(lambda: multinomial_row_probabilities(law, each, replacement=replacement).reshape(len(drawn), -1))
    return output.copy_(each)


def _integers(rows: OutcomeRows, call: Call) -> Tensor:
    bound = call.bound
    low, high = int(bound.get("low", bound.get("from")) or 0), bound.get("high", bound.get("to"))
    output: Tensor = call()
    _, drawn = rows.take(output)
    each = 1 / (int(high or 0) - low)
    rows.weigh(lambda: torch.full(drawn.shape, each, dtype=torch.float64))
    return output.copy_(low + drawn.reshape(output.shape))


_DRAWS: dict[str, Callable[[OutcomeRows, Call], Tensor]] = {
    "bernoulli": _bernoulli,
    "bernoulli_": _bernoulli,
    "multinomial": _multinomial,
    "randint": _integers,
    "randint_like": _integers,
    "random_": _integers,
}


class Keeping(DispatchMode):
    """Watch what a run makes: how many numbers, and whether code keeps a tensor beyond the end, which is none outside of rows.

    The gradients of the parameters are kept by torch.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__()
        self.numbers: int = 0
        self._params = params
        self._made: list[ref[Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for each in output if isinstance(output, (tuple, list)) else [output]:
            if isinstance(each, Tensor):
                self.numbers += each.numel()
                if all(each is not given for given in args):  # what is overwritten was there before
                    self._made.append(ref(each))
        return output

    @property
    def keeps(self) -> bool:
        """Whether some tensor is still there."""
        for generation in (1, 2):  # what a run has just made is young, and to look through all else takes long
            if self._left():
                gc.collect(generation)
        return bool(self._left())

    def require_none(self) -> None:
        """Raise NotInRows if some tensor is still there."""
        if self.keeps:
            message = "the code keeps a tensor of a run beyond its end."
            raise NotInRows(message)

    def _left(self) -> list[Tensor]:
        known = {id(each) for param in self._params for each in (param, param.grad)}
        return [each for made in self._made if (each := made()) is not None and id(each) not in known]


def options_of(tapes: Sequence[Tape]) -> list[Tensor]:
    """Return the options that each choice had in some of the runs, one tensor a choice.

    Raises
        NotInRows, if the runs do not choose alike.

    >>> from numeric.draws.tape import Choice
    >>> first, second = Tape(), Tape([Choice("a coin", (0.5, 0.5), 1)])
    >>> [tape.choose((0.5, 0.5), "a coin") for tape in (first, second)]
    [0, 1]
    >>> options_of([first, second])
    [tensor([0, 1])]
    """
    if len({tuple((choice.draw, len(choice.probabilities)) for choice in tape.choices) for tape in tapes}) > 1:
        message = "the runs do not draw alike."
        raise NotInRows(message)
    every = zip(*(tape.choices for tape in tapes), strict=True)
    return [torch.tensor(sorted({option for choice in same for option in choice.options})) for same in every]


def outcomes_of(options: Sequence[Tensor], start: int, stop: int) -> Tensor:
    """Return some of the outcomes of choices with these options, in depth-first order, (n, choices).

    >>> outcomes_of([torch.tensor([0, 1]), torch.tensor([0, 2])], 1, 4).tolist()
    [[0, 2], [1, 0], [1, 2]]
    """
    number = torch.arange(start, stop)
    columns = []
    for each in reversed(options):
        columns.append(each[number % len(each)])
        number = number // len(each)
    return torch.stack(columns[::-1], 1) if columns else torch.zeros(stop - start, 0, dtype=torch.int64)
