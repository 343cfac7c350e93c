"""The laws that are known by their names: their densities, by SciPy's gamma functions, and charts of their supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import gammaln, polygamma

from derive.instances.charts import Chart, Interval, Leaning, Line, PowerRay, Stretched
from derive.instances.densities import Args, Family, log_normal
from derive.instances.errors import UnreadableError
from derive.instances.functions import SIGNED, Smooth
from derive.instances.jets import Array, Jet, add, apply, constant, exp, log, multiply, power, scaled, softplus, subtract
from derive.language.term import FiniteLaw, Law, NamedLaw

COUNTED = 160
"""How far a sum over 0, 1, 2, ... goes; the last summands must not matter."""
_LAST, _END = 8, 1e-16
_NONE = Smooth(SIGNED, ((0.0,), (0.0,)), (0.0, 0.0, 0.0, 0.0))


@dataclass(frozen=True)
class Known(Family):
    """A density whose parameters are those of its law."""

    loc: Smooth = _NONE
    scale: Smooth = _NONE
    kinked: ClassVar[bool] = False

    def log_density(self, x: Jet, args: Args) -> Jet:
        """Return the logarithm of the density at a point of the support."""
        return self._at(x, *args)

    def _at(self, x: Jet, *args: Jet) -> Jet:
        raise NotImplementedError

    def _log(self, x: Jet, loc: Jet, scale: Jet) -> Jet:
        return self._at(x, loc, scale)

    def chart(self, args: Args) -> Chart:
        """Return a chart of the support."""
        message = f"a {self.name} law has no continuous support."
        raise UnreadableError(message)


class Positive(Known):
    """On the positive half-line."""

    count_of_ends = 1

    def ends(self, args: Args) -> tuple[Jet, ...]:
        """Return zero."""
        return (constant(0),)


class Exponential(Positive):
    """rate exp(-rate x)."""

    name = "Exponential"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        return subtract(log(args[0]), multiply(args[0], x))

    def chart(self, args: Args) -> Chart:
        return PowerRay(1 / args[0][0], np.ones(()))


class Gamma(Positive):
    """rate^shape x^(shape - 1) exp(-rate x) / Gamma(shape)."""

    name = "Gamma"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        shape, rate = args
        powers = add(multiply(shape, log(rate)), multiply(add(shape, constant(-1)), log(x)))
        return subtract(subtract(powers, multiply(rate, x)), log_gamma(shape))

    def chart(self, args: Args) -> Chart:
        return PowerRay(1 / args[1][0], np.ones(()))


class Weibull(Positive):
    """(shape / scale) (x / scale)^(shape - 1) exp(-(x / scale)^shape)."""

    name = "Weibull"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        shape, scale = args
        size = subtract(log(x), log(scale))
        return subtract(add(subtract(log(shape), log(x)), multiply(shape, size)), exp(multiply(shape, size)))

    def chart(self, args: Args) -> Chart:
        return PowerRay(args[1][0], 1 / args[0][0])


class Beta(Known):
    """x^(a - 1) (1 - x)^(b - 1) / B(a, b)."""

    name = "Beta"
    count_of_ends = 2

    def _at(self, x: Jet, *args: Jet) -> Jet:
        a, b = args
        inside = multiply(add(a, constant(-1)), log(x)), multiply(add(b, constant(-1)), log(subtract(constant(1), x)))
        return add(add(*inside), subtract(log_gamma(add(a, b)), add(log_gamma(a), log_gamma(b))))

    def chart(self, args: Args) -> Chart:
        return Interval(constant(0), constant(1))

    def ends(self, args: Args) -> tuple[Jet, ...]:
        return constant(0), constant(1)


class Laplace(Known):
    """exp(-|x - loc| / scale) / (2 scale)."""

    name = "Laplace"
    kinked = True

    def _at(self, x: Jet, *args: Jet) -> Jet:
        y = multiply(subtract(x, args[0]), power(args[1], -1))
        size = scaled(y, np.where(y[0] < 0, -1, 1))
        return subtract(scaled(size, -1), log(scaled(args[1], 2)))

    def chart(self, args: Args) -> Chart:
        return Stretched(args[0][0], args[1][0])


class Logistic(Known):
    """The derivative of sigmoid((x - loc) / scale)."""

    name = "Logistic"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        y = multiply(subtract(x, args[0]), power(args[1], -1))
        return subtract(subtract(scaled(y, -1), scaled(softplus(scaled(y, -1)), 2)), log(args[1]))

    def chart(self, args: Args) -> Chart:
        return Stretched(args[0][0], args[1][0])


class Gumbel(Known):
    """The derivative of exp(-exp(-(x - loc) / scale))."""

    name = "Gumbel"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        y = multiply(subtract(x, args[0]), power(args[1], -1))
        return subtract(subtract(scaled(y, -1), exp(scaled(y, -1))), log(args[1]))

    def chart(self, args: Args) -> Chart:
        return Leaning(args[0][0], args[1][0])


class Maxwell(Known):
    """y^2 exp(-y^2 / 2) / (scale sqrt(2 pi)), where y = (x - loc) / scale; log p and the score have a pole at loc."""

    name = "Maxwell"
    kinked = True

    def _at(self, x: Jet, *args: Jet) -> Jet:
        off = subtract(x, args[0])
        return add(subtract(log(multiply(off, off)), scaled(log(args[1]), 2)), log_normal(x, *args))

    def chart(self, args: Args) -> Chart:
        return Line(args[0][0], args[1][0])


class Counting(Known):
    """On 0, 1, 2, ..."""

    def inside(self, x: Jet, args: Args) -> Array | bool:
        """Return where a point is a whole number that is not negative."""
        whole: Array = (abs(x[0] - np.round(x[0])) < 1e-9) & (x[0] > -0.5)
        return whole


class Poisson(Counting):
    """rate^x exp(-rate) / x!."""

    name = "Poisson"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        powers = subtract(multiply(x, log(args[0])), args[0])
        return subtract(powers, log_gamma(add(x, constant(1))))


class Geometric(Counting):
    """p (1 - p)^x."""

    name = "Geometric"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        return add(log(args[0]), multiply(x, log(subtract(constant(1), args[0]))))


class NegativeBinomial(Counting):
    """Gamma(total + x) / (Gamma(total) x!) p^x (1 - p)^total."""

    name = "NegativeBinomial"

    def _at(self, x: Jet, *args: Jet) -> Jet:
        total, p = args
        ways = subtract(log_gamma(add(total, x)), add(log_gamma(total), log_gamma(add(x, constant(1)))))
        return add(ways, add(multiply(x, log(p)), multiply(total, log(subtract(constant(1), p)))))


FAMILIES: dict[str, Known] = {
    kind.name: kind()
    for kind in (
        Exponential, Gamma, Beta, Poisson, Geometric, Laplace, Logistic, Gumbel, Weibull, NegativeBinomial, Maxwell,
    )
}  # fmt: skip


def log_gamma(jet: Jet) -> Jet:
    """Return the logarithm of the gamma function.

    >>> round(float(log_gamma(constant(5))[0]), 6) == round(float(np.log(24)), 6)
    True
    """

    def derivatives(x: Array, order: int) -> list[Array]:
        at = np.asarray(x, np.float64)
        return [gammaln(at), *(polygamma(n - 1, at) for n in range(1, order + 1))]

    return apply(derivatives, jet)


def sums(law: Law) -> bool:
    """Whether a mean over a law is a sum."""
    return isinstance(law, FiniteLaw) or (isinstance(law, NamedLaw) and law.counts)


def ended(summands: Jet, depth: int) -> Array:
    """Return whether the last summands of an infinite sum are nothing beside the largest ones, in the derivatives too."""
    rows = [abs(part) for part in summands.values() if part.ndim > depth and part.shape[0] > _LAST]
    return np.array([bool(np.all(part[-_LAST:] <= _END * part.max(axis=0))) for part in rows])


def kink(args: Args, depth: int) -> Jet:
    """Return where a density has its kink, in the chart's coordinate: it moves with the location."""
    loc, scale = args
    moved = {bits: np.asarray(part / scale[0])[None] for bits, part in loc.items() if bits}
    return {0: np.zeros((1,) * (depth + 1), loc[0].dtype), **moved}
