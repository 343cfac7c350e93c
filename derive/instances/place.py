"""Where a term is read: the values of what is free in it, and the infinitesimals and axes around."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from derive.instances import jets
from derive.instances.errors import TooManyNodesError, UnreadableError
from derive.instances.jets import Array, Jet
from derive.language.term import RandomVariable, Symbol

MOST, DEEPEST, FASTEST = 400_000, 24, 10.0
MOST_NESTED = 8  # a product of jets with n infinitesimals has 3^n terms


@dataclass(frozen=True)
class Place:
    """Where a term is read.

    Args
        symbols  the parameters and constants, with the infinitesimals of the gradient signs around
        bound    the values of the bound variables
        bits     how many infinitesimals there are
        depth    how many axes there are
        size     how many nodes there are
        dense    for each axis, which of its nodes and their next ones matter for the integral; None for a sum
        last     the variable that was bound last
        outside  the place outside of its binder: what does not depend on it is read there, once
        known    what was read here, by the identity of the term
    """

    symbols: dict[str, Jet] = field(default_factory=dict)
    bound: dict[RandomVariable, Jet] = field(default_factory=dict)
    bits: int = 0
    depth: int = 0
    size: int = 1
    dense: tuple[Array | None, ...] = ()
    last: RandomVariable | None = None
    outside: Place | None = None
    known: dict[int, Jet] = field(default_factory=dict, init=False)
    _variants: dict[str, Place] = field(default_factory=dict, init=False)

    def stopped(self) -> Place:
        """Return the place where no parameter moves; a bound variable keeps its value, which is no function of them."""
        if "" not in self._variants:
            symbols = {name: jets.base(jet) for name, jet in self.symbols.items()}
            self._variants[""] = replace(self, symbols=symbols, outside=self.outside and self.outside.stopped())
        return self._variants[""]

    def moved(self, parameter: Symbol, value: Jet) -> tuple[Place, int]:
        """Return the place where a parameter has one more infinitesimal, and its bit.

        Raises
            UnreadableError, if more than `MOST_NESTED` gradients and scores stand in one another.
        """
        if self.bits >= MOST_NESTED:
            message = f"more than {MOST_NESTED} gradients and scores stand in one another."
            raise UnreadableError(message)
        bit, name = 1 << self.bits, parameter.name
        if name not in self._variants:
            moved = {**value, bit: np.ones((), value[0].dtype)}
            outside = self.outside and self.outside.moved(parameter, value)[0]
            self._variants[name] = replace(self, symbols={**self.symbols, name: moved}, bits=self.bits + 1, outside=outside)
        return self._variants[name], bit

    def binding(self, variable: RandomVariable, values: Jet, dense: Array | None = None) -> Place:
        """Return the place inside a binder.

        Raises
            TooManyNodesError, if there are too many nodes in all.
        """
        size = self.size * values[0].shape[0]
        if size > MOST or self.depth >= DEEPEST:
            message = f"the sum over {variable.name} has more than {MOST} summands."
            raise TooManyNodesError(message)
        return replace(
            self,
            bound={**self.bound, variable: values},
            depth=self.depth + 1,
            size=size,
            dense=(*self.dense, dense),
            last=variable,
            outside=self,
        )

    def is_smooth(self, values: Array) -> bool:
        """Whether a quantity varies so slowly from node to node that what is made of it can be integrated."""
        for level, dense in enumerate(self.dense, 1):
            axis = values.ndim - level
            if dense is None or axis < 0 or values.shape[axis] == 1:
                continue
            steps = abs(np.diff(values, axis=axis))
            if (np.where(dense, steps, 0) > FASTEST).any():
                return False
        return True

    def where(self, variable: RandomVariable, value: Jet) -> Place:
        """Return the place where a variable has one value."""
        return replace(self, bound={**self.bound, variable: value}, outside=None)
