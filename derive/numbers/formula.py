"""What the exact evaluator has found, as a formula that every notation can write: a quotient of products of polynomials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from derive.numbers.unknowns import Monomial, Value, sum_text

Factor: TypeAlias = tuple[Value, int]


@dataclass(frozen=True)
class Formula:
    """number * single * the factors / the divisors.

    Args
        number      a rational number
        single      powers of unknowns
        factors     polynomials of several terms, with their powers
        divisors    polynomials, with their powers
        parameter   the parameter that moves, which names of unknowns leave out
        whole       whether it is written as one quotient, because finding the factors would take long
    """

    number: Fraction
    single: Monomial
    factors: tuple[Factor, ...]
    divisors: tuple[Factor, ...]
    parameter: str
    whole: bool = False

    def normalised(self) -> Formula:
        """Return the same formula with terms of low degree first, and the first term of each factor positive.

        >>> from derive.numbers.unknowns import Generator
        >>> p = ((Generator("probability", "p", (), (1,)), 1),)
        >>> below = Value(((Fraction(1), p), (Fraction(-1), ())))
        >>> print(Formula(Fraction(-1), p, (), ((below, 1),), "theta").normalised().divisors[0][0].terms[0])
        (Fraction(1, 1), ())
        """
        signs = [sign**power for value, power in (*self.factors, *self.divisors) for sign in [_sign(value)]]
        number = self.number
        for sign in signs:
            number *= sign
        return replace(self, number=number, factors=_ordered(self.factors), divisors=_ordered(self.divisors))

    def text(self, limit: int = 24) -> str:
        """Return the formula as text, at most `limit` terms of each polynomial."""
        below = [self._divisor(value, power, limit) for value, power in self.divisors]
        divided = "" if not below else " / " + (below[0] if len(below) == 1 else f"({'*'.join(below)})")
        return self._product(limit) + divided

    def _divisor(self, value: Value, power: int, limit: int) -> str:
        """Return a divisor in brackets; an unknown needs none."""
        written = sum_text(value, self.parameter, limit)
        return (written if _is_unknown(value) else f"({written})") + _power(power)

    def _product(self, limit: int) -> str:
        """Return the product: monomials first, sums in brackets."""
        lead = sum_text(Value(((self.number, self.single),) if self.number else ()), self.parameter, limit)
        texts = [sum_text(value, self.parameter, limit) for value, _ in self.factors]
        if len(texts) == 1 and lead == "1" and self.factors[0][1] == 1 and not self.divisors:
            return texts[0]
        sums = [f"({text})" + _power(power) for text, (_, power) in zip(texts, self.factors, strict=True)]
        if not sums:
            return lead
        return "*".join(sums) if lead == "1" else "-" + "*".join(sums) if lead == "-1" else "*".join([lead, *sums])


def _is_unknown(value: Value) -> bool:
    return len(value.terms) == 1 and value.terms[0][0] == 1 and sum(power for _, power in value.terms[0][1]) == 1


def _power(power: int) -> str:
    return f"^{power}" if power > 1 else ""


def _degree(monomial: Monomial) -> int:
    return sum(power for _, power in monomial)


def _sorted(value: Value) -> Value:
    return Value(tuple(sorted(value.terms, key=lambda term: _degree(term[1]))))


def _sign(value: Value) -> int:
    return -1 if _sorted(value).terms[0][0] < 0 else 1


def _ordered(factors: tuple[Factor, ...]) -> tuple[Factor, ...]:
    return tuple((_positive(value), power) for value, power in factors)


def _positive(value: Value) -> Value:
    ordered = _sorted(value)
    sign = -1 if ordered.terms[0][0] < 0 else 1
    return Value(tuple((sign * c, monomial) for c, monomial in ordered.terms))
