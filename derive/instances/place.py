"""Where a term is read: the values of what is free in it, and the infinitesimals and axes around."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from derive.instances import jets
from derive.instances.errors import Unreadable
from derive.instances.jets import Jet
from derive.language.term import RandomVariable

MOST, DEEPEST = 3_000_000, 24


@dataclass(frozen=True)
class Place:
    """Where a term is read.

    Args
        symbols  the parameters and constants, with the infinitesimals of the gradient signs around
        bound    the values of the bound variables
        bits     how many infinitesimals there are
        depth    how many axes there are
        size     how many nodes there are
    """

    symbols: dict[str, Jet] = field(default_factory=dict)
    bound: dict[RandomVariable, Jet] = field(default_factory=dict)
    bits: int = 0
    depth: int = 0
    size: int = 1

    def stopped(self) -> Place:
        """Return the place where no parameter moves; a bound variable keeps its value, which is no function of them."""
        return replace(self, symbols={name: jets.base(jet) for name, jet in self.symbols.items()})

    def binding(self, variable: RandomVariable, values: Jet) -> Place:
        """Return the place inside a binder."""
        size = self.size * values[0].shape[0]
        if size > MOST or self.depth >= DEEPEST:
            message = f"the sum over {variable.name} has more than {MOST} summands."
            raise Unreadable(message)
        return replace(self, bound={**self.bound, variable: values}, depth=self.depth + 1, size=size)
