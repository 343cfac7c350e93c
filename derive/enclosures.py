"""A number that is known up to a radius: what certified computations return."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derive.ring import Ball, bounds

DIGITS = 24


@dataclass(frozen=True)
class Enclosure:
    """A number that is known to lie between `middle - radius` and `middle + radius`; exact where the radius is 0.

    >>> Enclosure(Fraction(1, 3), Fraction(1, 100)).contains(Fraction(33, 100))
    True
    """

    middle: Fraction
    radius: Fraction = Fraction(0)

    def contains(self, value: Fraction | int) -> bool:
        """Whether the number may be `value`."""
        return abs(self.middle - value) <= self.radius

    def above(self, value: Fraction | int) -> bool:
        """Whether the number is certainly greater than `value`."""
        return self.middle - self.radius > value

    def below(self, value: Fraction | int) -> bool:
        """Whether the number is certainly less than `value`."""
        return self.middle + self.radius < value


def enclosed(value: Ball) -> Enclosure:
    """Return a ball as a short decimal with a radius.

    >>> from derive.ring import ball
    >>> enclosed(ball(Fraction(1, 4))).middle
    Fraction(1, 4)
    """
    return Enclosure(*bounds(value, DIGITS))
