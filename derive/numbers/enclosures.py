"""A number that is known up to a radius: what certified computations return."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derive.numbers.ring import Ball, Scalar, bounds, fraction, is_exact

DIGITS = 24


@dataclass(frozen=True)
class Enclosure:
    """A number that is known to lie between `middle - radius` and `middle + radius`; exact where the radius is 0.

    >>> Enclosure(Fraction(1, 3), Fraction(1, 100)).contains(Fraction(33, 100))
    True
    """

    middle: Fraction
    radius: Fraction = Fraction(0)

    def __sub__(self, other: Enclosure) -> Enclosure:
        """Return the difference; both may be anywhere between their bounds.

        >>> Enclosure(Fraction(1), Fraction(1, 9)) - Enclosure(Fraction(1, 3), Fraction(1, 9))
        Enclosure(middle=Fraction(2, 3), radius=Fraction(2, 9))
        """
        return Enclosure(self.middle - other.middle, self.radius + other.radius)

    def contains(self, value: Fraction | int) -> bool:
        """Whether the number may be `value`."""
        return abs(self.middle - value) <= self.radius

    def above(self, value: Fraction | int) -> bool:
        """Whether the number is certainly greater than `value`."""
        return self.middle - self.radius > value

    def below(self, value: Fraction | int) -> bool:
        """Whether the number is certainly less than `value`."""
        return self.middle + self.radius < value


@dataclass(frozen=True)
class MomentsAt:
    """The mean and the variance of an estimator at a point.

    Args
        point           the values of the unknowns, by name
        mean, variance  enclosures
        note            of what they are the moments
    """

    point: dict[str, Fraction]
    mean: Enclosure
    variance: Enclosure
    note: str


def enclosed(value: Ball | Scalar, digits: int = DIGITS) -> Enclosure:
    """Return a ball as a short decimal with a radius, and a rational as it is.

    >>> from derive.numbers.ring import ball, rational
    >>> enclosed(ball(Fraction(1, 4))).middle, enclosed(rational(Fraction(1, 3)))
    (Fraction(1, 4), Enclosure(middle=Fraction(1, 3), radius=Fraction(0, 1)))
    """
    return Enclosure(fraction(value)) if is_exact(value) else Enclosure(*bounds(value, digits))
