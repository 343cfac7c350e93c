"""Concrete densities for the abstract ones: named families whose location and scale are random functions of the parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log as real_log, pi
from typing import ClassVar

from derive.instances.charts import Chart, HalfLine, Interval, Line, Ray, Stretched
from derive.instances.functions import POSITIVE, SIGNED, Smooth, random_function
from derive.instances.jets import Array, Jet, add, constant, exp, log, multiply, power, scaled, softplus, subtract

Args = tuple[Jet, ...]


@dataclass(frozen=True)
class Family(ABC):
    """A density: `loc` and `scale` are functions of its parameters, `weight` is the log of its integral, or None for 0."""

    name: ClassVar[str]
    count_of_ends: ClassVar[int] = 0
    loc: Smooth
    scale: Smooth
    weight: Smooth | None = None

    def log_density(self, x: Jet, args: Args) -> Jet:
        """Return the logarithm of the density at a point of the support."""
        value = self._log(x, self.loc(*args), self.scale(*args))
        return value if self.weight is None else add(value, self.weight(*args))

    @abstractmethod
    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        """The logarithm of the density, normalised."""

    @abstractmethod
    def chart(self, args: Args) -> Chart:
        """Return a chart of the support."""

    def ends(self, args: Args) -> tuple[Jet, ...]:
        """Return the finite ends of the support, in increasing order."""
        return ()

    def inside(self, x: Jet, args: Args) -> Array | bool:
        """Return where a point lies in the support."""
        ends = self.ends(args)
        above = x[0] > ends[0][0] if ends else True
        return above & (x[0] < ends[1][0]) if len(ends) > 1 else above


class Normal(Family):
    """exp(-(x - loc)^2 / (2 scale^2))."""

    name = "normal"

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        return log_normal(x, loc, scale)

    def chart(self, args: Args) -> Chart:
        return Line(self.loc(*args)[0], self.scale(*args)[0])


class Logistic(Family):
    """The derivative of sigmoid((x - loc) / scale)."""

    name = "logistic"

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        y = multiply(subtract(x, loc), power(scale, -1))
        return subtract(subtract(scaled(y, -1), scaled(softplus(scaled(y, -1)), 2)), log(scale))

    def chart(self, args: Args) -> Chart:
        return Stretched(self.loc(*args)[0], self.scale(*args)[0])


class LogNormal(Family):
    """The law of exp(loc + noise * scale / 3), on the positive half-line."""

    name = "log-normal"
    count_of_ends = 1

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        return subtract(log_normal(log(x), loc, scaled(scale, 1 / 3)), log(x))

    def chart(self, args: Args) -> Chart:
        return HalfLine(self.loc(*args)[0], self.scale(*args)[0] / 3)

    def ends(self, args: Args) -> tuple[Jet, ...]:
        return (constant(0),)


class Kumaraswamy(Family):
    """a b x^(a-1) (1 - x^a)^(b-1) on (0, 1), with a = 2 + scale and b = 2 + exp(loc / 2)."""

    name = "Kumaraswamy"
    count_of_ends = 2

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        a, b = add(constant(2), scale), add(constant(2), exp(scaled(loc, 0.5)))
        raised = exp(multiply(a, log(x)))
        value = add(log(multiply(a, b)), multiply(add(a, constant(-1)), log(x)))
        return add(value, multiply(add(b, constant(-1)), log(subtract(constant(1), raised))))

    def chart(self, args: Args) -> Chart:
        return Interval(constant(0), constant(1))

    def ends(self, args: Args) -> tuple[Jet, ...]:
        return constant(0), constant(1)


class ShiftedExponential(Family):
    """exp(-(x - loc) / scale) / scale for x > loc: its support moves."""

    name = "shifted exponential"
    count_of_ends = 1

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        return subtract(scaled(multiply(subtract(x, loc), power(scale, -1)), -1), log(scale))

    def chart(self, args: Args) -> Chart:
        return Ray(self.loc(*args), self.scale(*args)[0])

    def ends(self, args: Args) -> tuple[Jet, ...]:
        return (self.loc(*args),)


FIXED: tuple[type[Family], ...] = (Normal, Kumaraswamy, Logistic, LogNormal)


def random_family(kind: type[Family], key: tuple[object, ...], arity: int, *, normalised: bool) -> Family:
    """Return the density that belongs to a key."""
    loc, scale = random_function((*key, "loc"), arity, SIGNED), random_function((*key, "scale"), arity, POSITIVE)
    return kind(loc, scale, None if normalised else random_function((*key, "weight"), arity, SIGNED))


def log_normal(x: Jet, loc: Jet, scale: Jet) -> Jet:
    """Return the logarithm of the normal density.

    >>> round(float(log_normal(constant(0), constant(0), constant(1))[0]), 4)
    -0.9189
    """
    y = multiply(subtract(x, loc), power(scale, -1))
    return subtract(scaled(multiply(y, y), -0.5), add(log(scale), constant(0.5 * real_log(2 * pi))))
