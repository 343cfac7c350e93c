"""Continuous noise that is integrated: its values on a line or on a grid, and what the code decided about it.

The nodes of a quadrature rule are choices on the tape like any other, with the weights of the rule as their probabilities.
What a run decides about noise (comparisons, steps, integers, the sides of clamp and its like, the operations that it makes at
all) is written down; between breakpoints it must be the same at every node.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy
import torch
from scipy.special import gammainccinv, gammaincinv, ndtr
from torch import Tensor

from numeric.draws.quadrature_rules import FAMILIES, Bracket, quantile, rule
from numeric.draws.random_ops import NOISE, SAMPLING, Call
from numeric.draws.smooth_ops import FACTORED, functional, is_kinked
from numeric.draws.taint import NotFreezable, NotIntegrable, Taint, checks_a_law, decides, leaves_torch, tensors_in
from numeric.draws.tape import Tape

Scalar: TypeAlias = tuple[int, int]
"""One scalar of noise: the number of its draw among the draws of noise, and its position in it."""

Breakpoints: TypeAlias = Mapping[Scalar, tuple[Bracket, ...]]

NODE = "a node of quadrature over "
_LAWS = {
    "uniform": ("from", "to", 0.0, 1.0),
    "normal": ("mean", "std", 0.0, 1.0),
    "exponential": ("", "lambd", 0.0, 1.0),
    "cauchy": ("median", "sigma", 0.0, 1.0),
    "log_normal": ("mean", "std", 1.0, 2.0),
}


class Decisions(Taint):
    """Write down what is decided about noise, in place of refusing it.

    Args
        refuse  refuse decisions all the same, and write down only the sides of clamp, abs and their like
        still   but do not refuse those in which no parameter takes part, and write them down too
        leaves  whether noise may leave torch by item(), where nobody sees what is decided
    """

    def __init__(self, *, refuse: bool = False, leaves: bool = False, still: bool = False) -> None:
        super().__init__()
        self._refuse, self._leaves, self._still = refuse, leaves, still
        self.made: list[tuple[Any, ...]] = []
        self.steps: list[tuple[Any, ...]] = []
        """What was decided by operations that may jump."""

    def intercept(self, call: Call, touched: list[Tensor], tape: Tape) -> Any:
        return super().intercept(call, touched, tape) if self._refuse else None

    def propagate(self, call: Call, touched: list[Tensor], output: Any) -> None:
        leaves = tensors_in(output)
        if call.name == "_local_scalar_dense" and not self._leaves:
            raise NotIntegrable(leaves_torch(call.func))
        if self._refuse:
            super().propagate(call, touched, output)
        else:
            self.require_integers_unread(call, touched)
            self.note_rough(call)
            self.mark(touched, leaves, integers=functional(call) in FACTORED)
        if not checks_a_law():
            self.note(call, leaves)

    def may_decide(self, call: Call) -> bool:
        is_still = self._still and not any(tensor.requires_grad for tensor in call.tensors)
        return super().may_decide(call) or is_still

    def note(self, call: Call, leaves: Sequence[Tensor]) -> None:
        """Write down what an operation decides about noise by the tensors that it gives."""
        found = (call.name, *(tuple(each.reshape(-1).tolist()) for each in decided(call, leaves)))
        self.made.append(found)
        if decides(call, leaves):
            self.steps.append(found)

    def leave(self, way: str) -> None:
        if not self._leaves:
            raise NotIntegrable(leaves_torch(way))


def decided(call: Call, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return what an operation decides about noise: integers, or steps; where clamp and its like leave a value as it is."""
    found = list(leaves) if decides(call, leaves) else []
    found = [leaf for leaf in found if not leaf.is_floating_point()] or found
    if is_kinked(call) and isinstance(call.args[0], Tensor) and leaves[0].shape == call.args[0].shape:
        found.append(leaves[0] == call.args[0])
    return found


def standard_family(call: Call) -> str:
    """Return the standard law that a draw of noise is made of: gamma noise is a function of normal noise, which is smooth.

    Raises
        NotFreezable, if the law has none.
    """
    family = NOISE[call.name]
    if family in ("gamma", "dirichlet"):
        return "normal"
    if family not in FAMILIES:
        message = f"{call.func} draws {family} noise, for which there is no quadrature; {SAMPLING}."
        raise NotFreezable(message)
    return family


def drawn(call: Call, values: Tensor, output: Tensor) -> Tensor:
    """Return what a draw gives where its standard law has some values, (numel,) in float64, as a tensor like its output."""
    if NOISE[call.name] in ("gamma", "dirichlet"):
        return _gamma(call, values.reshape(output.shape)).to(output)
    family, bound = standard_family(call), call.bound
    location, scale, *usual = _LAWS[family]
    at, width = (_number(bound.get(name), default, output) for name, default in zip((location, scale), usual, strict=True))
    x = values.reshape(output.shape).to(output.device)
    if family == "uniform":
        x = (at + (width - at) * x).to(output.dtype)
        above = x >= width
        return torch.where(above, torch.nextafter(x, torch.full_like(x, -torch.inf)), x) if bool(above.any()) else x
    x = x / width if family == "exponential" else at + width * x
    return (x.exp() if family == "log_normal" else x).to(output.dtype)


def _gamma(call: Call, normal: Tensor) -> Tensor:
    """Gamma noise by its inverse distribution function; a Dirichlet draw is such noise over its sum (Devroye 1986, XI.4)."""
    shape, tiny = call.bound["self"].detach().double().expand(normal.shape), torch.finfo(torch.float64).tiny
    drawn = gamma_of_normal(shape, normal).clamp_min(tiny)
    share = (drawn / drawn.sum(-1, keepdim=True)).clamp(tiny, 1 - 2.0**-53) if drawn.dim() else drawn
    return share if NOISE[call.name] == "dirichlet" else drawn


def gamma_of_normal(shape: Tensor, normal: Tensor) -> Tensor:
    """Return what gamma noise of scale 1 is where normal noise has a value, at the same share of both laws, in float64.

    >>> import math
    >>> one = torch.ones((), dtype=torch.float64)
    >>> round(float(gamma_of_normal(one, torch.zeros_like(one))), 12) == round(math.log(2), 12)
    True
    """
    a, z = shape.cpu().numpy(), normal.cpu().numpy()
    values = numpy.where(z < 0, gammaincinv(a, ndtr(z)), gammainccinv(a, ndtr(-z)))
    return torch.from_numpy(values).to(normal.device)


def _number(given: Any, default: float, output: Tensor) -> Tensor | float:
    if given is None or isinstance(given, (int, float)):
        return default if given is None else float(given)
    return torch.as_tensor(given, dtype=torch.float64, device=output.device).detach().broadcast_to(output.shape)


@dataclass
class Line:
    """Noise at random values that depend on `context`, but for one scalar, which has u = `at` (and 1 - u = `rest`)."""

    context: int
    moved: Scalar | None = None
    at: float = 0.5
    rest: float = 0.5
    seen: dict[Scalar, str] = field(default_factory=dict)
    """The scalars of noise that the run drew, with their standard laws."""
    before: list[int] = field(default_factory=list)
    """How many discrete choices the run had made before each of them."""
    tape: Tape = field(default_factory=Tape)

    def __call__(self, call: Call, number: int, tape: Tape, output: Tensor) -> Tensor:
        family, scalars = standard_family(call), [(number, position) for position in range(output.numel())]
        self.seen |= dict.fromkeys(scalars, family)
        self.before += [len(tape.choices)] * len(scalars)
        self.tape = tape
        return drawn(call, self.values(family, scalars), output)

    def values(self, family: str, scalars: Sequence[Scalar]) -> Tensor:
        """Return the values of some scalars of noise with a standard law, (scalars,) in float64."""
        return _standard(family, [self.ends(scalar) for scalar in scalars])

    def ends(self, scalar: Scalar) -> tuple[float, float]:
        """Return u and 1 - u of a scalar of noise."""
        return (self.at, self.rest) if self.moved == scalar else _anywhere(self.context, *scalar)


@lru_cache(maxsize=2**14)
def _anywhere(context: int, number: int, position: int) -> tuple[float, float]:
    u = random.Random(f"{context} {number} {position}").random()
    return u, 1 - u


def _standard(family: str, ends: Sequence[tuple[float, float]]) -> Tensor:
    both = torch.tensor(ends, dtype=torch.float64).reshape(-1, 2)
    return quantile(family, both[:, 0], both[:, 1])


def points_of(lines: Sequence[Line]) -> Tensor:
    """Return the values of the noise at points of lines that have seen the same scalars, (lines, scalars) in float64."""
    columns = [_standard(family, [line.ends(scalar) for line in lines]) for scalar, family in lines[0].seen.items()]
    return torch.stack(columns, 1)


@dataclass
class Grid:
    """Noise at the nodes of a rule for each scalar, chosen by the tape; one for each run of an exploration."""

    breakpoints: Breakpoints
    method: str
    level: int
    cell: list[int] = field(default_factory=list)
    """The number of the segment that each scalar is in."""

    def __call__(self, call: Call, number: int, tape: Tape, output: Tensor) -> Tensor:
        values = []
        for position in range(output.numel()):
            breakpoints = self.breakpoints.get((number, position), ())
            nodes = rule(standard_family(call), breakpoints, self.method, self.level)
            node = nodes[tape.choose([each.weight for each in nodes], f"{NODE}{call.func}")]
            values.append(node.value)
            self.cell.append(node.segment)
        return drawn(call, torch.tensor(values, dtype=torch.float64), output)


class Cells:
    """What was decided in each cell: the discrete choices, and the segment of each scalar of noise."""

    def __init__(self) -> None:
        self._decided: dict[Any, int] = {}

    def require_same(self, tape: Tape, cell: Sequence[int], made: Sequence[Any]) -> None:
        """Raise NotIntegrable if a run decided something else than another one in the same cell."""
        discrete = tuple(choice.index for choice in tape.choices if not choice.draw.startswith(NODE))
        self.require_equal((discrete, tuple(cell)), hash(tuple(made)))

    def require_equal(self, cell: Any, found: int) -> None:
        """Raise NotIntegrable if something else was found in the same cell before."""
        if self._decided.setdefault(cell, found) != found:
            message = (
                "continuous noise decides the outcome, and not at fixed breakpoints: two values of it between the same "
                f"breakpoints decide differently, as where several noises decide together (an argmax); {SAMPLING}, or give the "
                "places as breakpoints=."
            )
            raise NotIntegrable(message)
