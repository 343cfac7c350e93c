"""How a number stands in an oracle: an exact rational, or a ball; beside either the nearest float64, in two notations."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from derive.language.errors import Disagreement, TooLarge, UsageError
from derive.numbers.enclosures import DIGITS, Enclosure

Value: TypeAlias = Fraction | Enclosure

MOST_BITS, WIDEST = 13_000, Fraction(1, 2**56)


def number(value: Value) -> dict[str, Any]:
    """Return a number as it stands in an oracle: exact, or a ball; its decimal is the shortest that is read as its float64.

    Raises
        TooLarge, if it has more than 13,000 bits, is beyond float64, or is a ball that is too wide.

    >>> number(Fraction(1, 3))
    {'exact': '1/3', 'float64': '0x1.5555555555555p-2', 'decimal': 0.3333333333333333}
    >>> number(Enclosure(Fraction(1, 2), Fraction(1, 10**24)))["middle"]
    '0.500000000000000000000000'
    """
    if isinstance(value, Enclosure):
        if value.radius > WIDEST * max(abs(value.middle), Fraction(1)):
            message = "a ball is wider than what float64 resolves; state the problem with numbers nearer to 1."
            raise TooLarge(message)
        ball = {"middle": _decimal(value.middle), "radius": _decimal(value.radius)}
        middle = number(value.middle)
        return ball | {key: middle[key] for key in ("float64", "decimal")} if value.radius else middle
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        message = f"an exact value has more than {MOST_BITS} bits; state the problem with shorter numbers."
        raise TooLarge(message)
    try:
        return {"exact": str(value), "float64": float(value).hex(), "decimal": float(value)}
    except OverflowError as error:
        message = "an exact value is beyond the range of float64; state the problem with smaller numbers."
        raise TooLarge(message) from error


def _decimal(value: Fraction) -> str:
    """Return a number with 24 digits after the point, which is how enclosures are rounded."""
    scaled = value * 10**DIGITS
    whole, rest = divmod(abs(scaled.numerator), 10**DIGITS)
    if scaled.denominator != 1:
        message = f"an enclosure is rounded to {DIGITS} decimal digits, and {value} is not: a bug of gradproof; report it."
        raise Disagreement(message)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{DIGITS}d}"


def value_of(stated: Mapping[str, Any]) -> Value:
    """Return a number of a file that fits the schema.

    Raises
        UsageError, if a denominator is 0, or the radius of a ball is not positive.

    >>> value_of({"exact": "1/3", "float64": "0x1.5555555555555p-2"})
    Fraction(1, 3)
    """
    if "middle" in stated:
        middle, radius = (Fraction(int(stated[key].replace(".", "")), 10**DIGITS) for key in ("middle", "radius"))
        if radius <= 0:
            message = f"the radius {stated['radius'][:40]} is not positive: a number without one is exact."
            raise UsageError(message)
        return Enclosure(middle, radius)
    numerator, _, denominator = stated["exact"].partition("/")
    if denominator and not int(denominator):
        message = f"the exact value {stated['exact'][:40]} has the denominator 0."
        raise UsageError(message)
    return Fraction(int(numerator), int(denominator or 1))
