"""Explicit finite laws, printed as torch expressions; and the entry of a table at an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from derive.language.term import Log
from numeric.codegen.expressions import Code, Level, Shape, call, number, plus
from numeric.codegen.families import Assign
from numeric.codegen.named.family import Named, of


@dataclass(frozen=True)
class Choice(Named):
    """The value of the first sum of probabilities that is above a uniform number; `given` are the probabilities."""

    values: tuple[Fraction, ...] = ()

    name = "choice"

    def draw(self, shape: str, at: str = "") -> list[str]:
        before, bounds = list[str](), self.given[:1]
        for k, probability in enumerate(self.given[1:-1], 2):
            before.append(f"below_{k} = {plus([bounds[-1], probability]).text}")
            bounds = (*bounds, Code(f"below_{k}", Shape.COORDINATE))
        *first, last = map(text, self.values)
        steps = [(f"uniform < {bound.at(Level.ATOM)}", value) for bound, value in zip(bounds, first, strict=False)]
        return [self.uniform(shape), *before, chosen(steps, f"torch.full_like(uniform, {last})")]

    def log_density(self, x: str, assign: Assign) -> Code:
        return call(Log, of(assign(f"p_{x}", looked_up(x, self.values, self.given))))

    def log_prob_anywhere(self, b: str, assign: Assign) -> str:
        inside = " | ".join(f"({b} == {text(value)})" for value in self.values)
        return f"torch.where({inside}, {self._for_each(b, assign)}, -math.inf).sum(-1)"

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        self._refuse("derivative by one probability alone")


def looked_up(x: str, values: Sequence[Fraction], entries: Sequence[Code]) -> str:
    """The entry of a table at x, which is one of the values; entries are numbers, or tensors that broadcast with x."""
    last = entries[-1].lifted(Shape.COORDINATE, Level.SUM)
    last = f"torch.full_like({x}, {last})" if entries[-1].shape is Shape.NUMBER else last
    steps = zip(values, entries[:-1], strict=False)
    return chosen([(f"{x} == {text(value)}", entry.lifted(Shape.COORDINATE, Level.SUM)) for value, entry in steps], last)


def chosen(steps: Sequence[tuple[str, str]], last: str) -> str:
    """What stands beside the first condition that holds."""
    return reduce(lambda rest, step: f"torch.where({step[0]}, {step[1]}, {rest})", reversed(steps), last)


def text(value: Fraction) -> str:
    """A number of the code."""
    return number(value).at(Level.ATOM)
