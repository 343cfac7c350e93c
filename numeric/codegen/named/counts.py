"""Laws of counts 0, 1, 2, ...; nothing is differentiated by a count."""

from __future__ import annotations

from typing import ClassVar

from numeric.codegen.expressions import Code, plus, times
from numeric.codegen.families import Assign
from numeric.codegen.named.family import UNIT, Named, digamma, less_one, log, minus, of, special


class Poisson(Named):
    """log p(x) = x log rate - rate - log x!."""

    name = "poisson"
    inside: ClassVar[str] = "({x} >= 0) & ({x} == torch.floor({x}))"

    def draw(self, shape: str, at: str = "") -> list[str]:
        return [f"torch.poisson({self.full(self.given[0], shape)}, generator=generator)"]

    def log_density(self, x: str, assign: Assign) -> Code:
        (rate,) = self.given
        return plus([times([of(x), log(rate)]), minus(rate), minus(of(f"torch.lgamma({x} + 1)"))])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        return less_one(times([of(x)], [self.given[0]]))


class Geometric(Named):
    """log p(x) = log probability + x log(1 - probability); x = floor(log u / log(1 - probability))."""

    name = "geometric"
    inside: ClassVar[str] = "({x} >= 0) & ({x} == torch.floor({x}))"

    def draw(self, shape: str, at: str = "") -> list[str]:
        fails = special("log1p", minus(self.given[0]))
        return [self.uniform(shape), f"torch.floor({times([of('torch.log(uniform)')], [fails]).text})"]

    def log_density(self, x: str, assign: Assign) -> Code:
        (probability,) = self.given
        return plus([log(probability), times([of(x), special("log1p", minus(probability))])])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        (probability,) = self.given
        fails = plus([UNIT, minus(probability)])
        return plus([times([UNIT], [probability]), minus(times([of(x)], [fails]))])


class NegativeBinomial(Named):
    """log p(x) = log Gamma(total + x) - log Gamma(total) - log x! + x log p + total log(1 - p).

    x is a Poisson variable whose rate is a gamma variable of the shape total, times p / (1 - p).
    """

    name = "negative_binomial"
    inside: ClassVar[str] = "({x} >= 0) & ({x} == torch.floor({x}))"

    def draw(self, shape: str, at: str = "") -> list[str]:
        total, probability = self.given
        rate = of(f"torch._standard_gamma({self.full(total, shape)}, generator=generator)")
        odds = times([rate, probability], [plus([UNIT, minus(probability)])])
        return [f"torch.poisson({odds.text}, generator=generator)"]

    def log_density(self, x: str, assign: Assign) -> Code:
        total, probability = self.given
        ways = [special("lgamma", plus([of(x), total])), minus(special("lgamma", total)), minus(of(f"torch.lgamma({x} + 1)"))]
        return plus([*ways, times([of(x), log(probability)]), times([total, special("log1p", minus(probability))])])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        total, probability = self.given
        if i == 0:
            ways = [digamma(plus([of(x), total])), minus(digamma(total))]
            return plus([*ways, special("log1p", minus(probability))])
        fails = plus([UNIT, minus(probability)])
        return plus([times([of(x)], [probability]), minus(times([total], [fails]))])
