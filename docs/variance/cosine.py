"""f(z) = cos(k z) under Normal(mu, sigma): exact variances by the characteristic function, and certified thresholds in k sigma.

With kappa = k sigma and phi = k mu, E[cos(phi + t e)] = cos(phi) exp(-t^2 / 2), and E[He_n(e) cos(t e)] = (-1)^(n/2) t^n
exp(-t^2 / 2) for even n. The evaluator of gradproof integrates polynomials only, so these formulas are checked against
enclosures of the integrals by ball arithmetic instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from flint import acb, arb, ctx, fmpq

ctx.prec = 96
HALF = arb(1) / 2
Variances = tuple[arb, arb, arb]


def ball(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


def variances_mu(kappa: arb, phase: arb) -> Variances:
    """Sigma^2 times the variance in the direction mu: pathwise, score function, score function with the best constant.

    `phase` is phi / pi.
    """
    cos, sin, cos2 = (phase).cos_pi(), (phase).sin_pi(), (2 * phase).cos_pi()
    k2 = kappa * kappa
    single, double = (-k2 / 2).exp(), (-2 * k2).exp()
    mean = kappa * sin * single
    path = k2 * HALF * (1 - cos2 * double) - mean * mean
    plain = HALF * (1 + cos2 * (1 - 4 * k2) * double) - mean * mean
    weighted = cos * (1 - k2) * single
    return path, plain, plain - weighted * weighted


def variances_sigma(kappa: arb, phase: arb) -> Variances:
    """The same in the direction sigma."""
    cos, cos2 = phase.cos_pi(), (2 * phase).cos_pi()
    k2 = kappa * kappa
    single, double = (-k2 / 2).exp(), (-2 * k2).exp()
    mean = k2 * cos * single
    path = k2 * HALF * (1 - cos2 * (1 - 4 * k2) * double) - mean * mean
    plain = HALF * (2 + cos2 * (16 * k2 * k2 - 16 * k2 + 2) * double) - mean * mean
    weighted = cos * (k2 * k2 - 4 * k2 + 2) * single
    return path, plain, plain - weighted * weighted / 2


VARIANCES: dict[str, Callable[[arb, arb], Variances]] = {"mu": variances_mu, "sigma": variances_sigma}


def gap(name: str, kappa: arb, phase: arb, *, with_baseline: bool) -> arb:
    path, plain, best = VARIANCES[name](kappa, phase)
    return (best if with_baseline else plain) - path


@dataclass(frozen=True)
class Threshold:
    """Where the gap changes its sign: certified positive on [start, low], negative on [high, stop].

    Args
        low, high    rational bounds of the only sign change in [start, stop]
        start, stop  the range that was covered by balls
    """

    low: Fraction
    high: Fraction
    start: Fraction
    stop: Fraction

    def __str__(self) -> str:
        return f"{float(self.low):.10f}"


def threshold(
    name: str,
    phase: Fraction,
    *,
    with_baseline: bool = False,
    start: Fraction = Fraction(1, 4),
    stop: Fraction = Fraction(4),
    cells: int = 400,
) -> Threshold:
    """Find the sign change of the gap in kappa, and certify that it is the only one in [start, stop].

    Raises
        ArithmeticError, if a cell away from the sign change is neither positive nor negative with certainty.
    """
    phi = ball(phase)
    signs = [sign_between(name, phi, left, right, with_baseline) for left, right in grid(start, stop, cells)]
    unsure = [i for i, sign in enumerate(signs) if sign == 0]
    if not unsure or unsure[-1] - unsure[0] >= len(unsure):
        message = f"{len(unsure)} cells are not decided"
        raise ArithmeticError(message)
    first, last = unsure[0], unsure[-1]
    if any(sign != 1 for sign in signs[:first]) or any(sign != -1 for sign in signs[last + 1 :]):
        message = "the sign changes more than once"
        raise ArithmeticError(message)
    step = (stop - start) / cells
    low, high = bisect(name, phi, start + first * step, start + (last + 1) * step, with_baseline)
    return Threshold(low, high, start, stop)


def grid(start: Fraction, stop: Fraction, cells: int) -> list[tuple[Fraction, Fraction]]:
    return list(pairwise(start + (stop - start) * i / cells for i in range(cells + 1)))


def sign_between(name: str, phi: arb, left: Fraction, right: Fraction, with_baseline: bool, depth: int = 5) -> int:
    """The sign on all of [left, right]: 1, -1, or 0 where the balls do not decide it, nor those of smaller pieces."""
    found = sign(gap(name, ball(left).union(ball(right)), phi, with_baseline=with_baseline))
    if found or not depth:
        return found
    middle = (left + right) / 2
    halves = {sign_between(name, phi, *ends, with_baseline, depth - 1) for ends in ((left, middle), (middle, right))}
    return halves.pop() if len(halves) == 1 else 0


def sign(value: arb) -> int:
    return 1 if value > 0 else -1 if value < 0 else 0


def bisect(name: str, phi: arb, low: Fraction, high: Fraction, with_baseline: bool) -> tuple[Fraction, Fraction]:
    """Shrink an interval with a sign change as far as points decide, at most to a width of 10^-15."""
    while high - low > Fraction(1, 10**15):
        for part in (Fraction(1, 2), Fraction(3, 8)):  # the first point may be the zero itself
            middle = low + (high - low) * part
            at = sign(gap(name, ball(middle), phi, with_baseline=with_baseline))
            if at:
                break
        if not at:
            break
        low, high = (middle, high) if at > 0 else (low, middle)
    return low, high


def enclosed(name: str, kappa: Fraction, phase: Fraction, reach: int = 14) -> Variances:
    """The same three variances by certified integration over |e| <= reach; the tails are added to the radius."""
    k, phi = acb(ball(kappa)), acb(ball(phase)) * acb.pi()

    def mean(of: Callable[[acb], acb]) -> arb:
        def integrand(e: acb, _: bool) -> acb:
            return of(e) * (-e * e / 2).exp()

        total = acb.integral(integrand, -reach, reach).real / (2 * arb.pi()).sqrt()
        return total + arb(0, arb(10) ** -30)  # the integrands grow like kappa^2 e^4, and the normal tail is below 1e-40

    def score(e: acb) -> acb:
        return e if name == "mu" else e * e - 1

    def path(e: acb) -> acb:
        return -k * (phi + k * e).sin() * (1 if name == "mu" else e)

    def plain(e: acb) -> acb:
        return (phi + k * e).cos() * score(e)

    mean_path = mean(path)
    square = mean(lambda e: plain(e) ** 2) - mean(plain) ** 2
    weighted, weight = mean(lambda e: plain(e) * score(e)), mean(lambda e: score(e) ** 2)
    return mean(lambda e: path(e) ** 2) - mean_path**2, square, square - weighted**2 / weight
