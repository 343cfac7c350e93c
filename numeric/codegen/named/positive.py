"""Laws on the positive half-line, and on (0, 1)."""

from __future__ import annotations

from typing import ClassVar

from numeric.codegen.expressions import Code, Level, Shape, plus, times
from numeric.codegen.families import Assign
from numeric.codegen.named.family import UNIT, Named, below, digamma, less_one, log, minus, of, special

TINY = "clamp(min=tiny)"
"""A gamma variable of a small shape is rounded to zero, where its logarithm is infinite; torch.distributions does so too."""


class Exponential(Named):
    """log p(x) = log rate - rate x; x = -log(u) / rate."""

    name = "exponential"
    inside: ClassVar[str] = "{x} > 0"

    def draw(self, shape: str, at: str = "") -> list[str]:
        (rate,) = self.given
        return [self.uniform(shape), times([Code("-torch.log(uniform)", Shape.COORDINATE, Level.PRODUCT)], below(rate)).text]

    def log_density(self, x: str, assign: Assign) -> Code:
        (rate,) = self.given
        return plus([log(rate), minus(times([rate, of(x)]))])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        (rate,) = self.given
        return plus([times([UNIT], [rate]), minus(of(x))])

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        return minus(self.given[0]).text


class Gamma(Named):
    """log p(x) = shape log rate + (shape - 1) log x - rate x - log Gamma(shape)."""

    name = "gamma"
    inside: ClassVar[str] = "{x} > 0"

    def draw(self, shape: str, at: str = "") -> list[str]:
        size, rate = self.given
        drawn = f"torch._standard_gamma({self.full(size, shape)}, generator=generator)"
        return [f"{times([of(drawn)], below(rate)).at(Level.ATOM)}.{TINY}"]

    def log_density(self, x: str, assign: Assign) -> Code:
        shape, rate = self.given
        powers = [times([shape, log(rate)]), times([less_one(shape), log(of(x))])]
        return plus([*powers, minus(times([rate, of(x)])), minus(special("lgamma", shape))])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        shape, rate = self.given
        if i == 0:
            return plus([log(of(x)), log(rate), minus(digamma(shape))])
        return plus([times([shape], [rate]), minus(of(x))])

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        shape, rate = self.given
        return plus([times([less_one(shape)], [of(b)]), minus(rate)]).text


class Weibull(Named):
    """log p(x) = log shape - log x + shape y - exp(shape y), where y = log(x / scale); x = scale (-log u)^(1 / shape)."""

    name = "weibull"
    inside: ClassVar[str] = "{x} > 0"

    def draw(self, shape: str, at: str = "") -> list[str]:
        size, scale = self.given
        root = times([UNIT], [size]).at(Level.ATOM)
        return [self.uniform(shape), times([scale, of(f"(-torch.log(uniform))**{root}")]).text]

    def log_density(self, x: str, assign: Assign) -> Code:
        shape, y, power_of_y = self._powers(x, assign)
        return plus([log(shape), minus(log(of(x))), times([shape, y]), minus(power_of_y)])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        shape, y, power_of_y = self._powers(x, assign)
        if i == 0:
            return plus([times([UNIT], [shape]), times([y, plus([UNIT, minus(power_of_y)])])])
        return times([shape, less_one(power_of_y)], [self.given[1]])

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        shape, _, power_of_y = self._powers(b, assign)
        return times([plus([less_one(shape), minus(times([shape, power_of_y]))])], [of(b)]).text

    def _powers(self, x: str, assign: Assign) -> tuple[Code, Code, Code]:
        """The shape, y, and exp(shape y) = (x / scale)^shape."""
        shape, scale = self.given
        y = of(assign(f"log_{x}_scaled", log(times([of(x)], below(scale))).text))
        return shape, y, of(assign(f"{x}_power", f"torch.exp({times([shape, y]).text})"))


class Beta(Named):
    """log p(x) = (a - 1) log x + (b - 1) log(1 - x) + log Gamma(a + b) - log Gamma(a) - log Gamma(b).

    x = g / (g + h), where g and h are gamma variables of the shapes a and b.
    """

    name = "beta"
    inside: ClassVar[str] = "({x} > 0) & ({x} < 1)"

    def draw(self, shape: str, at: str = "") -> list[str]:
        g, h = (f"torch._standard_gamma({self.full(size, shape)}, generator=generator).{TINY}" for size in self.given)
        return [f"gamma_a = {g}", f"gamma_b = {h}", "(gamma_a / (gamma_a + gamma_b)).clamp(tiny, 1 - eps)"]

    def log_density(self, x: str, assign: Assign) -> Code:
        a, b = self.given
        powers = [times([less_one(a), log(of(x))]), times([less_one(b), special("log1p", minus(of(x)))])]
        both = special("lgamma", plus([a, b]))
        return plus([*powers, both, minus(special("lgamma", a)), minus(special("lgamma", b))])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        own = log(of(x)) if i == 0 else special("log1p", minus(of(x)))
        return plus([own, digamma(plus(list(self.given))), minus(digamma(self.given[i]))])

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        first, second = map(less_one, self.given)
        return plus([times([first], [of(b)]), minus(times([second], [plus([UNIT, minus(of(b))])]))]).text
