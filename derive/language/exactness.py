"""What counts as a number in a formula: exact numbers of any library, and neither floats nor the answers of comparisons."""

from __future__ import annotations

import numbers
from fractions import Fraction
from reprlib import repr as shortened

from derive.language.errors import NotATerm, NotExact


def rational(value: object) -> Fraction | None:
    """Return an exact number of any library as a fraction, and None for all else; True and False are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, numbers.Rational):
        return None
    return Fraction(int(value.numerator), int(value.denominator))


def exact(value: object) -> Fraction:
    """Return an exact number of any library as a fraction.

    Raises
        NotExact, if the value is another number.
        NotATerm, if it is no number; the message says what was meant, where that can be told.

    >>> exact(2)
    Fraction(2, 1)
    """
    number = rational(value)
    if number is not None:
        return number
    kinds = [base.__name__ for base in type(value).__mro__]
    kind = "Function" if "Function" in kinds else kinds[0]
    inexact = isinstance(value, numbers.Number) and kind not in _HINTS
    hint = "write Fraction(1, 2), not 0.5" if inexact else _HINTS.get(kind, "write a parameter, a constant or a function")
    message = f"formulas are exact: got {shortened(value)} of type {kind}, expected a term, an int or a Fraction; {hint}."
    raise (NotExact if inexact else NotATerm)(message)


_HINTS = dict.fromkeys(
    ("Comparison", "bool", "bool_"),
    "a comparison is decided when the formula is written; write an indicator as a function,"
    " one = function('one', differentiable=False) and one(b)",
) | {
    "str": "a symbol is made by parameter('theta') or constant('c')",
    "tuple": "arguments are written one by one, f(b, c) and E(f(b, c), b, c)",
    "Function": "a function is applied to its arguments, f(b)",
}


def integer(exponent: object) -> int:
    """Return an exponent, which is an integer of any library.

    Raises
        NotExact, otherwise.
    """
    number = rational(exponent)
    if number is not None and number.denominator == 1:
        return number.numerator
    message = f"powers are integers: got {shortened(exponent)}; write exp(a * log(x)) for a general power."
    raise NotExact(message)


class Comparison:
    """Whether two terms are written alike; true or false for Python, and refused wherever a number is expected."""

    def __init__(self, alike: bool) -> None:
        self.alike = alike

    def __bool__(self) -> bool:
        return self.alike

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (bool, Comparison)) and bool(other) == self.alike

    def __hash__(self) -> int:
        return hash(self.alike)

    def __repr__(self) -> str:
        return repr(self.alike)

    def _refuse(self, *_: object) -> Fraction:
        return exact(self)


_OPERATORS = "add radd sub rsub mul rmul truediv rtruediv pow rpow neg pos abs invert and rand or ror int float index"

for _name in _OPERATORS.split():
    setattr(Comparison, f"__{_name}__", Comparison._refuse)

ALIKE, UNLIKE = Comparison(True), Comparison(False)
