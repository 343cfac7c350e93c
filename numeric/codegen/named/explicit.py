"""Explicit finite laws, printed as torch expressions; and the entry of a table at an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from derive.language.term import Log
from numeric.codegen.expressions import Code, Level, Shape, call, number
from numeric.codegen.families import Assign
from numeric.codegen.named.family import Named, of

CHOOSE = '''
def choose(uniform, table):
    """Return the outcome that a uniform number falls to: that up to which the probabilities sum to more than the number."""
    first, *others = table
    found, below = torch.full_like(uniform, first), 0
    for value, probability in zip(others, table.values()):
        below = below + probability
        found = torch.where(uniform >= below, value, found)
    return found
'''

ENTRY_AT = '''
def entry_at(outcome, table):
    """Return the entry of a table at each outcome, nan where it has none."""
    found = torch.full_like(outcome, math.nan)
    for value, entry in table.items():
        found = torch.where(outcome == value, entry, found)
    return found
'''


@dataclass(frozen=True)
class Choice(Named):
    """The values, each with the probability beside it in `given`."""

    values: tuple[Fraction, ...] = ()

    name = "choice"

    def draw(self, shape: str, at: str = "") -> list[str]:
        like = f"generator=generator, dtype={self.like}.dtype, device={self.like}.device"
        return [f"choose(torch.rand({shape}, {like}), {table(self.values, self.given)})"]

    def log_density(self, x: str, assign: Assign) -> Code:
        return call(Log, of(assign(f"p_{x}", looked_up(x, self.values, self.given))))

    def log_prob_anywhere(self, b: str, assign: Assign) -> str:
        inside = " | ".join(f"({b} == {text(value)})" for value in self.values)
        return f"torch.where({inside}, {self._for_each(b, assign)}, -math.inf).sum(-1)"

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        self._refuse("derivative by one probability alone")


def looked_up(x: str, values: Sequence[Fraction], entries: Sequence[Code]) -> str:
    """The entry of a table at x; entries are numbers, or tensors that broadcast with x."""
    return f"entry_at({x}, {table(values, entries)})"


def table(values: Sequence[Fraction], entries: Sequence[Code]) -> str:
    """Entries beside the numbers that they belong to."""
    shown = [entry.lifted(Shape.COORDINATE, Level.PRODUCT) for entry in entries]
    return "{" + ", ".join(f"{text(value)}: {one}" for value, one in zip(values, shown, strict=True)) + "}"


def text(value: Fraction) -> str:
    """A number of the code."""
    return number(value).at(Level.ATOM)
