"""Polynomials in b, or formulas in b1, b2, ..., given as text: a grammar of ours, recursive descent, nothing is ever executed.

    sum     := product (("+" | "-") product)*
    product := signed (("*" | "/") signed)*
    signed  := ("+" | "-")* power
    power   := atom ("**" digits)?
    atom    := digits | "b" | "b1" | "b2" | ... | "(" sum ")"

Every size is bounded while it is still small: the text, the nesting, the digits of a number, exponents, degrees, coefficients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

from derive.language.errors import UsageError

MOST_CHARACTERS, MOST_NESTED, MOST_DIGITS, MOST_EXPONENT, MOST_DEGREE, MOST_BITS = 1000, 32, 40, 64, 64, 2048

_TOKEN = re.compile(
    r"(?P<number>[0-9]+)|(?P<name>[^\W0-9]\w*)|(?P<sign>\*\*|[-+*/()])|(?P<space>[ \t]+)|(?P<other>.)", re.DOTALL
)


@dataclass(frozen=True)
class Polynomial:
    """A polynomial, by its coefficients of 1, b, b^2, ...; exact, and without zeros at the end.

    >>> Polynomial((Fraction(1), Fraction(0), Fraction(2)))(Fraction(3))
    Fraction(19, 1)
    """

    coefficients: tuple[Fraction, ...]

    def __call__(self, point: Fraction) -> Fraction:
        """Return the value at a point."""
        value = Fraction(0)
        for coefficient in reversed(self.coefficients):
            value = value * point + coefficient
        return value

    def derivative(self) -> Polynomial:
        """Return d/db of the polynomial.

        >>> Polynomial((Fraction(1), Fraction(0), Fraction(2))).derivative()(Fraction(3))
        Fraction(12, 1)
        """
        return Polynomial(tuple(n * c for n, c in enumerate(self.coefficients) if n))


def parse_formula(text: str) -> Polynomial:
    """Return the polynomial that a text stands for.

    Args
        text  integers, the variable b, + - * / ** and parentheses; ** takes an integer, / divides by a number

    Raises
        UsageError, if it is anything else, or larger than what is feasible; the message says where and what to write.

    >>> parse_formula("(b - 1/2)**2").coefficients
    (Fraction(1, 4), Fraction(-1, 1), Fraction(1, 1))
    """
    _demand_short(text)
    return Polynomial(_Parser(text).parse())


def value_of_formula(text: str, variables: Mapping[str, Fraction]) -> Fraction:
    """Return the value of a formula in several variables.

    Args
        text       as of `parse_formula`, but with these variables instead of b; / divides by what is not zero
        variables  the value of each

    Raises
        UsageError, as `parse_formula`.

    >>> value_of_formula("(b1 - b2)**2", {"b1": Fraction(1), "b2": Fraction(3)})
    Fraction(4, 1)
    """
    _demand_short(text)
    return Polynomial(_Parser(text, variables).parse())(Fraction(0))


def _demand_short(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        message = f"a formula has at most {MOST_CHARACTERS} characters; got {len(text)}."
        raise UsageError(message)


class _Parser:
    """One pass over the tokens, from left to right; coefficients are lists, and variables other than b are numbers."""

    def __init__(self, text: str, variables: Mapping[str, Fraction] | None = None) -> None:
        self.text, self.depth, self.position = text, 0, 0
        self.variables = {"b": [Fraction(0), Fraction(1)]} if variables is None else {
            name: _trimmed([value]) for name, value in variables.items()
        }
        found = [(str(match.lastgroup), match.group(), match.start()) for match in _TOKEN.finditer(text)]
        self.tokens = [token for token in found if token[0] != "space"] + [("end", "", len(text))]

    def parse(self) -> tuple[Fraction, ...]:
        result = self._sum()
        if self.tokens[self.position][0] != "end":
            self._refuse("an operator or the end")
        return tuple(result)

    def _sum(self) -> list[Fraction]:
        result = self._product()
        while sign := self._taken("+", "-"):
            other = self._product()
            result = self._bounded(_add(result, other if sign == "+" else [-c for c in other]))
        return result

    def _product(self) -> list[Fraction]:
        result = self._signed()
        while sign := self._taken("*", "/"):
            other = self._signed()
            result = self._bounded(_multiply(result, other if sign == "*" else self._inverse(other)))
        return result

    def _signed(self) -> list[Fraction]:
        negative = False
        while sign := self._taken("+", "-"):
            negative ^= sign == "-"
        result = self._power()
        return [-c for c in result] if negative else result

    def _power(self) -> list[Fraction]:
        base = self._atom()
        if not self._taken("**"):
            return base
        kind, digits, _ = self.tokens[self.position]
        if kind != "number" or len(digits) > 2 or int(digits) > MOST_EXPONENT:
            self._refuse(f"an integer from 0 to {MOST_EXPONENT} as exponent")
        self.position += 1
        if self.tokens[self.position][1] == "**":
            self._refuse("parentheses: a power of a power is not read")
        result = [Fraction(1)]
        for _ in range(int(digits)):
            result = self._bounded(_multiply(result, base))
        return result

    def _atom(self) -> list[Fraction]:
        kind, text, _ = self.tokens[self.position]
        if kind == "number" and len(text) <= MOST_DIGITS:
            self.position += 1
            return _trimmed([Fraction(int(text))])
        if kind == "name" and text in self.variables:
            self.position += 1
            return self.variables[text]
        if not self._taken("("):
            known = " or ".join(self.variables)
            self._refuse(f"an integer of at most {MOST_DIGITS} digits, the variable {known} or a parenthesis")
        self.depth += 1
        if self.depth > MOST_NESTED:
            self._refuse(f"at most {MOST_NESTED} parentheses inside one another")
        result = self._sum()
        if not self._taken(")"):
            self._refuse("a closing parenthesis")
        self.depth -= 1
        return result

    def _inverse(self, divisor: list[Fraction]) -> list[Fraction]:
        if len(divisor) != 1:
            why = ", since f is a polynomial" if "b" in self.variables else " at every outcome"
            self._refuse(f"a number that is not zero after '/'{why}", before=True)
        return [1 / divisor[0]]

    def _bounded(self, coefficients: list[Fraction]) -> list[Fraction]:
        bits = max((max(c.numerator.bit_length(), c.denominator.bit_length()) for c in coefficients), default=0)
        if len(coefficients) > MOST_DEGREE + 1 or bits > MOST_BITS:
            self._refuse(f"a degree of at most {MOST_DEGREE} and coefficients of at most {MOST_BITS} bits", before=True)
        return coefficients

    def _taken(self, *signs: str) -> str:
        """Return the next token if it is one of these signs, and go on; else ""."""
        kind, text, _ = self.tokens[self.position]
        if kind != "sign" or text not in signs:
            return ""
        self.position += 1
        return text

    def _refuse(self, expected: str, *, before: bool = False) -> NoReturn:
        kind, text, start = self.tokens[self.position]
        here = "the end" if kind == "end" else f"{text[:20]!a} (character {start + 1})"
        where = f"{'before' if before else 'at'} {here}"
        shown = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        message = f"the formula {shown!a} cannot be read {where}: expected {expected}."
        raise UsageError(message)


def _add(left: list[Fraction], right: list[Fraction]) -> list[Fraction]:
    size = max(len(left), len(right))
    padded = [side + [Fraction(0)] * (size - len(side)) for side in (left, right)]
    return _trimmed([one + other for one, other in zip(*padded, strict=True)])


def _multiply(left: list[Fraction], right: list[Fraction]) -> list[Fraction]:
    result = [Fraction(0)] * max(0, len(left) + len(right) - 1)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            result[i + j] += one * other
    return _trimmed(result)


def _trimmed(coefficients: list[Fraction]) -> list[Fraction]:
    while coefficients and not coefficients[-1]:
        coefficients = coefficients[:-1]
    return coefficients
