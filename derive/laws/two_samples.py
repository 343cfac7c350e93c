"""The gradient of the two-sample bound with a normal proposal, integrated: log p(x, z) is a polynomial of degree 2 in z.

    z = mu + sigma epsilon,  log w = A epsilon^2 + B epsilon + constant,  d log w / dtheta = h_0 + h_1 epsilon + h_2 epsilon^2

With r and t the sum and the difference of both noises over sqrt(2), again independent and standard normal, the estimate is

    g = h_0 + h_1 r / sqrt(2) + h_2 (r^2 + t^2) / 2 + Q t tanh(c t),  Q = h_1 / sqrt(2) + h_2 r,  c = A r + B / sqrt(2)

For fixed r its moments are integrals over t, enclosed up to CUT. Over r they are sums of the trapezoidal rule: for |t| <= CUT
the integrand is analytic where |Im c| CUT <= pi/4, and |tanh| <= 1 there, so that the rule with step d errs by at most
2 M / (exp(2 pi a / d) - 1), where M bounds the integral of the absolute value along every line of the strip |Im r| < a.
Source: trefethen-2014, section 5, for the rule; burda-2016 for the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from derive.language.errors import TooLarge, UsageError
from derive.numbers.enclosures import Enclosure, MomentsAt, enclosed
from derive.numbers.ring import Ball, ball, ceiling, integral, normal_density, normal_tail, pi, precision, raised, root, within

CUT, BITS, MOST_STEPS = 12, 100, 5_000
_EXPONENT = 64
"""2 pi a / d: the error of the trapezoidal rule is about exp(-64) = 2e-28 times M."""


@dataclass(frozen=True)
class TwoSampleBound:
    """A normal proposal at a point, and the log of the joint density.

    Args
        log_joint      the coefficients of 1, z, z^2
        loc, scale     of the proposal; the scale positive
        loc_rate, scale_rate   their derivatives with respect to the parameter

    Raises
        UsageError, if the degree is above 2, or the scale is not positive.

    >>> exact = TwoSampleBound((Fraction(0), Fraction(1)), Fraction(0), Fraction(1), Fraction(1), Fraction(0))
    >>> mean, variance = exact.moments()  # log p(x, z) = z, so every estimate is 1
    >>> mean.contains(1), variance.contains(0), variance.radius < Fraction(1, 10**15)
    (True, True, True)
    """

    log_joint: tuple[Fraction, ...]
    loc: Fraction
    scale: Fraction
    loc_rate: Fraction
    scale_rate: Fraction

    def __post_init__(self) -> None:
        if len(self.log_joint) > 3 or self.scale <= 0:
            message = (
                f"two samples are integrated for a log_joint of degree 2 at most and a positive scale; got the degree "
                f"{len(self.log_joint) - 1} and the scale {self.scale}."
            )
            raise UsageError(message)

    def moments(self) -> tuple[Enclosure, Enclosure]:
        """Return the mean and the variance of the estimate.

        Raises
            TooLarge, if the curvature of log w is so large that too many steps were needed.
        """
        with precision(BITS):
            mean, square = self._means()
            return enclosed(mean), enclosed(square - mean * mean)

    @property
    def _weight(self) -> tuple[Fraction, Fraction]:
        """A and B of log w."""
        _, c_1, c_2 = (*self.log_joint, *[Fraction(0)] * 3)[:3]
        return c_2 * self.scale**2 + Fraction(1, 2), (c_1 + 2 * c_2 * self.loc) * self.scale

    @property
    def _slope(self) -> tuple[Fraction, Fraction, Fraction]:
        """h_0, h_1 and h_2: the derivative of log p(x, z) along z, and of log scale, which is in -log q."""
        _, c_1, c_2 = (*self.log_joint, *[Fraction(0)] * 3)[:3]
        at_loc, along = c_1 + 2 * c_2 * self.loc, 2 * c_2 * self.scale
        first = at_loc * self.loc_rate + self.scale_rate / self.scale
        return first, at_loc * self.scale_rate + along * self.loc_rate, along * self.scale_rate

    def _means(self) -> tuple[Ball, Ball]:
        """Return E[g] and E[g^2], by the trapezoidal rule over r."""
        curvature, _ = self._weight
        strip = pi() / ball(4 * CUT * abs(curvature)) if 4 * CUT * abs(curvature) > 3 else ball(1)
        steps = ceiling(CUT * _EXPONENT / (2 * pi() * strip))
        if steps > MOST_STEPS:
            message = f"log w has the curvature {curvature}, for which {steps} steps are needed, more than {MOST_STEPS}."
            raise TooLarge(message)
        width, (mean, square), known = Fraction(CUT, steps), (ball(0), ball(0)), dict[Fraction, list[Ball]]()
        for n in range(-steps, steps + 1):
            shift = curvature * n * width
            if shift not in known:
                known[shift] = self._inner(ball(shift))
            weight = normal_density(ball(n * width)) * ball(width)
            first, second = self._given(ball(n * width), known[shift])
            mean, square = mean + weight * first, square + weight * second
        off = self._off(strip, ball(width))
        return mean + off, square + off

    def _inner(self, shift: Ball) -> list[Ball]:
        """Return E[t tanh(ct)], E[t^3 tanh(ct)], E[t^2 tanh(ct)^2] for |t| <= CUT, at c = A r + B / sqrt(2), A r the shift.

        What `_given` multiplies by zero is not integrated, and 0.
        """
        _, h_1, h_2 = self._slope
        rate = shift + ball(self._weight[1]) / root(2)

        def bent(power: int, square: bool) -> Ball:
            def function(t: Any) -> Any:
                found = (rate * t).tanh()
                return raised(t, power) * (found * found if square else found) * normal_density(t)

            return 2 * integral(function, ball(0), ball(CUT))

        if not h_1 and not h_2:
            return [ball(0)] * 3
        return [bent(1, False), bent(3, False) if h_2 else ball(0), bent(2, True)]

    def _given(self, r: Ball, inner: list[Ball]) -> tuple[Ball, Ball]:
        """Return E[g] and E[g^2] given r, from the moments 1, 1 and 3 of 1, t^2 and t^4."""
        h_0, h_1, h_2 = map(ball, self._slope)
        level, bend, slope = h_0 + h_1 * r / root(2) + h_2 * r * r / 2, h_2 / 2, h_1 / root(2) + h_2 * r
        first, third, square = inner
        straight = level * level + 2 * level * bend + 3 * bend * bend
        bent = 2 * slope * (level * first + bend * third) + slope * slope * square
        return level + bend + slope * first, straight + bent

    def _off(self, strip: Ball, width: Ball) -> Ball:
        """Return what the rule and both cuts may be off by, as a ball around 0.

        |g| <= 2 S (1 + a + |r|)^2 (1 + t^2) with S the sum of |h_n|, and a <= 1; E[(2 + |r|)^4] < 82 and E[(1 + t^2)^2] = 6; in
        the strip the density of r is less than twice that on the line; beyond the cut (2 + r)^4 < 16 r^4, (1 + t^2)^2 < 4 t^4.
        """
        size = 4 * (1 + sum(map(abs, self._slope), start=Fraction(0))) ** 2
        rule = 2 * ball(size * 6 * 82 * 2) / ((2 * pi() * strip / width).exp() - 1)
        beyond = ball(size * 2 * (6 * 16 + 82 * 4)) * normal_tail(4, CUT)
        return within(rule + beyond)


_DEFAULTS = {
    "log_joint_0": Fraction(0),
    "log_joint_1": Fraction(1),
    "log_joint_2": Fraction(-1, 2),
    "mu(theta)": Fraction(0),
    "mu'(theta)": Fraction(1),
    "sigma(theta)": Fraction(1),
    "sigma'(theta)": Fraction(0),
}


def two_samples(given: Mapping[str, Fraction]) -> MomentsAt:
    """Return the moments of the two-sample gradient at a point; what is left open is that of log p(x, z) = z - z^2/2, N(0, 1).

    Raises
        UsageError, TooLarge, as `TwoSampleBound`; UsageError, if there is no unknown of some name.

    >>> two_samples({"log_joint_2": Fraction(0), "log_joint_1": Fraction(0)}).variance.contains(0)
    True
    """
    unknown = sorted(set(given) - set(_DEFAULTS))
    if unknown:
        message = f"the two-sample bound of a normal law has no {', '.join(unknown)}; it has {', '.join(_DEFAULTS)}."
        raise UsageError(message)
    point = _DEFAULTS | dict(given)
    *log_joint, loc, loc_rate, scale, scale_rate = point.values()
    mean, variance = TwoSampleBound(tuple(log_joint), loc, scale, loc_rate, scale_rate).moments()
    note = "two samples of a normal law, log_joint(z) = log_joint_0 + log_joint_1 z + log_joint_2 z^2"
    return MomentsAt(point, mean, variance, note)
