"""Models: what the exact evaluator reads a formula in.

A `SymbolicModel` gives every unknown (probability, score, value of a function, moment) a generator of a polynomial ring, so
that a result holds for all values at once. A `RationalModel` looks the unknowns up in a `RationalCase`: a result is a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeAlias

from derive.language.errors import NotEvaluable, UsageError
from derive.numbers.ring import Ball, PolynomialRing, Scalar, ball, fraction, is_exact, raised, rational
from derive.numbers.unknowns import LOG_TWO_PI, TRANSCENDENTAL, Argument, Generator, Noise, Value, readable, sum_text
from derive.sharing import remembered

Derivative: TypeAlias = Callable[[str], Scalar]
"""The derivative of an unknown along the parameter of that name."""


class Case(Protocol):
    """What says the value of every unknown: a fraction, or a ball where it is not rational."""

    def lookup(self, generator: Generator, parameter: str) -> Fraction | Ball:
        """Return the value of an unknown, or raise UsageError where the case does not say."""


@dataclass(frozen=True)
class RationalCase:
    """Values of the unknowns, by their readable names: {"p(1)": 1/2, "dp(1)": 1, "f(1)": 0, ...}.

    >>> from derive.numbers.unknowns import Outcome
    >>> half = Fraction(1, 2)
    >>> case = RationalCase.finite((half, half), (1, -1), f=(0, 1))
    >>> case.lookup(Generator("score", "p", (1,), (Outcome(2),)), "theta")
    Fraction(-2, 1)
    """

    values: Mapping[str, Fraction]

    @classmethod
    def finite(
        cls,
        probabilities: Sequence[Fraction | int],
        tangents: Sequence[Fraction | int],
        *,
        law: str = "p",
        symbols: Mapping[str, Fraction | int] | None = None,
        **tables: Sequence[Fraction | int],
    ) -> RationalCase:
        """Return the case of one finite law, of symbols, and of tables of functions of its outcome.

        Raises
            UsageError, if probabilities do not sum to 1 or are not positive, tangents do not sum to 0, or lengths differ.
        """
        _check_law(probabilities, tangents, tables)
        values = {name: Fraction(value) for name, value in (symbols or {}).items()}
        named = {law: probabilities, f"d{law}": tangents, **tables}
        for name, table in named.items():
            values |= {f"{name}({k})": Fraction(value) for k, value in enumerate(table, 1)}
        return cls(values)

    def lookup(self, generator: Generator, parameter: str) -> Fraction:
        """Return the value of an unknown; a score may be given by the derivative of its probability.

        Raises
            UsageError, if the case does not say.
        """
        name = readable(generator, parameter)
        if name in self.values:
            return self.values[name]
        if generator.kind == "score" and sum(generator.orders) == 1:
            density = readable(Generator("probability", generator.name, (), generator.args), parameter)
            if density in self.values and f"d{density}" in self.values:
                return self.values[f"d{density}"] / self.values[density]
        message = f"the case does not say what {name} is; it gives {', '.join(self.values) or 'nothing'}."
        raise UsageError(message)


def _check_law(
    probabilities: Sequence[Fraction | int], tangents: Sequence[Fraction | int], tables: Mapping[str, Sequence[Fraction | int]]
) -> None:
    lengths = {len(probabilities), len(tangents), *(len(table) for table in tables.values())}
    if len(lengths) > 1:
        message = f"probabilities, tangents and tables must have equal lengths; got {sorted(lengths)}."
        raise UsageError(message)
    if sum(probabilities) != 1 or any(value <= 0 for value in probabilities) or sum(tangents) != 0:
        message = "probabilities must be positive and sum to 1, and their derivatives must sum to 0."
        raise UsageError(message)


class SymbolicModel:
    """All unknowns are generators; the derivative of each is remembered for the rules that need it.

    Args
        ring        the ring to work in
        outcomes    the number of outcomes of every finite law
        parameter   the name of the parameter that moves

    >>> model = SymbolicModel(PolynomialRing(4), 2, "theta")
    >>> x = model.symbol("x")
    >>> model.text(x * x - model.number(1))
    'x^2 - 1'
    """

    ring: PolynomialRing
    outcomes: int
    parameter: str
    zero: Scalar
    one: Scalar

    def __init__(self, ring: PolynomialRing, outcomes: int, parameter: str) -> None:
        self.ring, self.outcomes, self.parameter = ring, outcomes, parameter
        self.zero, self.one = ring.zero, ring.one
        self.derivatives: dict[int, Derivative] = {}
        self.inverses: list[tuple[int, Scalar]] = []
        self.arguments: dict[int, Scalar] = {}
        self.laws: dict[tuple[str, tuple[Argument, ...]], None] = {}
        self.positive: dict[Value, Scalar] = {}
        self._noise: dict[int, frozenset[str]] = {}

    def number(self, value: Fraction | int) -> Scalar:
        """Return a number as a scalar."""
        return self.ring.number(value)

    def generator(self, key: Generator, derivative: Derivative | None = None) -> Scalar:
        """Return the scalar of an unknown; `derivative` may be left out where it is not known."""
        if key not in self.ring.indices:
            self.ring.generator(key)
            if derivative is not None:
                self.derivatives[self.ring.indices[key]] = derivative
            if key.kind in ("probability", "score"):
                self.laws[key.name, key.args[1:]] = None
        return self.ring.generator(key)

    def symbol(self, name: str) -> Scalar:
        """Return a symbol: it moves along the parameter of its name."""
        return self.generator(Generator("symbol", name), lambda along: self.one if name == along else self.zero)

    argument_symbol = symbol

    def freeze(self, scalar: Scalar) -> Value:
        """Return a scalar as a hashable argument, equal for equal polynomials."""
        return self.ring.once("value", scalar, self._freeze)

    def _freeze(self, scalar: Scalar) -> Value:
        keys = self.ring.keys
        return Value(tuple((c, tuple((keys[i], n) for i, n in exponents)) for exponents, c in self.ring.terms(scalar)))

    def demand_positive(self, scalar: Scalar) -> None:
        """Remember that a scalar is the scale of a law or the width of an interval."""
        self.positive[self.freeze(scalar)] = scalar

    def inverse(self, scalar: Scalar) -> Scalar:
        """Return 1/x: of a monomial factor by factor, else a generator for x made monic.

        Raises
            NotEvaluable, if x is zero.
        """
        return self.ring.once("inverse", scalar, self._inverted)

    def _inverted(self, scalar: Scalar) -> Scalar:
        terms = self.ring.terms(scalar)
        if not terms:
            message = "division by zero: a denominator is identically zero."
            raise NotEvaluable(message)
        lead = terms[0][1]
        if len(terms) > 1:
            return self._inverse(scalar * rational(1 / lead)) * rational(1 / lead)
        result = self.number(1 / lead)
        known = dict(self.inverses)
        for index, power in terms[0][0]:
            result = result * (known[index] if index in known else self._inverse(self.ring.at(index))) ** power
        return result

    def _inverse(self, scalar: Scalar) -> Scalar:
        key = Generator("inverse", "", (), (self.freeze(scalar),))
        if key not in self.ring.indices:
            result = self.generator(key, lambda along: -self.ring.generator(key) ** 2 * self.derivative(scalar, along))
            self.inverses.append((self.ring.indices[key], scalar))
            return result
        return self.ring.generator(key)

    def log(self, scalar: Scalar) -> Scalar:
        """Return the logarithm: an atom for each distinct argument, and 0 for 1.

        Raises
            NotEvaluable, if the argument is identically zero.
        """
        return self.ring.once("log", scalar, self._log)

    def _log(self, scalar: Scalar) -> Scalar:
        if scalar == self.one:
            return self.zero
        if scalar == 0:
            message = "log(0): the argument of a logarithm is identically zero."
            raise NotEvaluable(message)
        key = Generator("log", "", (), (self.freeze(scalar),))
        result = self.generator(key, lambda along: self.inverse(scalar) * self.derivative(scalar, along))
        self.arguments[self.ring.indices[key]] = scalar
        return result

    def exp(self, scalar: Scalar) -> Scalar:
        """Return an exponential, as a product over monomials: of x + y it is that of x times that of y, of log(x) it is x."""
        return self.ring.once("exp", scalar, self._exp)

    def _exp(self, scalar: Scalar) -> Scalar:
        result = self.one
        for exponents, coefficient in self.ring.terms(scalar):
            base, power = self._exp_base(exponents, coefficient)
            result = result * raised(base if power > 0 else self.inverse(base), abs(power))
        return result

    def _exp_base(self, exponents: tuple[tuple[int, int], ...], coefficient: Fraction) -> tuple[Scalar, int]:
        first, power = exponents[0] if exponents else (-1, 0)
        if len(exponents) == power == 1 and self.ring.keys[first].kind == "log" and coefficient.denominator == 1:
            return self.arguments[first], int(coefficient)
        unit = self.ring.monomial(exponents) * rational(Fraction(1, coefficient.denominator))
        key = Generator("exp", "", (), (self.freeze(unit),))
        result = self.generator(key, lambda along: self.ring.generator(key) * self.derivative(unit, along))
        self.arguments[self.ring.indices[key]] = unit
        return result, coefficient.numerator

    def sign(self, scalar: Scalar) -> Scalar:
        """Return the sign of x, an atom for each distinct argument up to a factor, whose derivative is zero where x is not."""
        scalar = self._cancelled(scalar)
        terms = self.ring.terms(scalar)
        if not terms:
            return self.zero
        lead = terms[0][1]
        unit = scalar * rational(1 / lead)
        if unit == self.one:
            return self.one * sign_of(rational(lead))
        key = Generator("sign", "", (), (self.freeze(unit),))
        result = self.generator(key, lambda along: self.zero)
        self.arguments[self.ring.indices[key]] = unit
        return result * sign_of(rational(lead))

    def _cancelled(self, scalar: Scalar) -> Scalar:
        """Return a polynomial without products of an unknown with its own inverse: of p / p - 1 the sign is known."""
        own = [(index, *self.ring.used(base)) for index, base in self.inverses if len(self.ring.terms(base)) == 1]
        result = self.zero
        for exponents, coefficient in self.ring.terms(scalar):
            powers = dict(exponents)
            for index, inverted in own:
                both = min(powers.get(index, 0), powers.get(inverted, 0))
                powers |= {index: powers.get(index, 0) - both, inverted: powers.get(inverted, 0) - both} if both else {}
            result = result + self.ring.monomial(tuple(powers.items())) * rational(coefficient)
        return result

    def derivative(self, scalar: Scalar, along: str) -> Scalar:
        """Return the derivative of a polynomial along a parameter, by the chain rule over its generators.

        Raises
            NotEvaluable, if it contains an unknown whose derivative is not known.
        """
        result = self.zero
        for index in self.ring.used(scalar):
            if index not in self.derivatives:
                message = f"the derivative of {readable(self.ring.keys[index], self.parameter)} is not known."
                raise NotEvaluable(message)
            result = result + self.ring.partial(scalar, index) * self.derivatives[index](along)
        return result

    def noise_of(self, index: int) -> frozenset[str]:
        """Return the names of the noise variables on which a generator depends."""
        if index not in self._noise:
            self._noise[index] = frozenset(_noises(self.ring.keys[index]))
        return self._noise[index]

    def transcendental(self, scalar: Scalar) -> bool:
        """Whether an exponential, a logarithm, that of 2 pi too, or a normal density occurs, also in a denominator."""
        return any(_is_transcendental(self.ring.keys[index]) for index in self.ring.used(scalar))

    def text(self, scalar: Scalar, limit: int = 24) -> str:
        """Return a polynomial as readable text, at most `limit` terms of it."""
        return sum_text(self.freeze(scalar), self.parameter, limit)


class RationalModel:
    """All unknowns are numbers that a case gives; there is no exp and no log.

    >>> model = RationalModel(RationalCase({"x": Fraction(1, 2)}), 2, "theta")
    >>> model.inverse(model.symbol("x"))
    2
    """

    case: Case
    outcomes: int
    parameter: str
    zero: Scalar
    one: Scalar

    def __init__(self, case: Case, outcomes: int, parameter: str) -> None:
        self.case, self.outcomes, self.parameter = case, outcomes, parameter
        self.zero, self.one = rational(0), rational(1)

    def number(self, value: Fraction | int) -> Scalar:
        """Return a number as a scalar."""
        return rational(value)

    def generator(self, key: Generator, derivative: Derivative | None = None) -> Scalar:
        """Return the number of an unknown."""
        return rational(self.case.lookup(key, self.parameter))

    def demand_positive(self, scalar: Scalar) -> None:
        """Do nothing: a case says what it says."""

    def symbol(self, name: str) -> Scalar:
        """Return the number of a symbol."""
        return self.generator(Generator("symbol", name))

    def argument_symbol(self, name: str) -> Scalar:
        """Return the number of a symbol that only identifies an unknown, as in p(b; theta): it may be left out of the case."""
        return rational(getattr(self.case, "values", {}).get(name, 0))

    def freeze(self, scalar: Scalar) -> Value:
        """Return a number as an argument."""
        return Value(((fraction(scalar), ()),))

    def inverse(self, scalar: Scalar) -> Scalar:
        """Return 1/x.

        Raises
            NotEvaluable, if x is zero in this case.
        """
        if scalar == 0:
            message = "division by zero in this case."
            raise NotEvaluable(message)
        return 1 / scalar

    def log(self, scalar: Scalar) -> Scalar:
        """Refuse: a logarithm is not rational."""
        if scalar == 1:
            return self.zero
        message = "a logarithm has no rational value at a rational case."
        raise NotEvaluable(message)

    def exp(self, scalar: Scalar) -> Scalar:
        """Refuse: an exponential is not rational."""
        if scalar == 0:
            return self.one
        message = "an exponential has no rational value at a rational case."
        raise NotEvaluable(message)

    def sign(self, scalar: Scalar) -> Scalar:
        """Return the sign of a number, or of a ball that does not contain zero."""
        return sign_of(scalar)


class EnclosedModel(RationalModel):
    """As a rational model, but exp and log are balls: what is rational stays exact, everything else is enclosed.

    >>> model = EnclosedModel(RationalCase({"x": Fraction(1, 2)}), 2, "theta")
    >>> model.exp(model.symbol("x") * 0), bool(model.log(model.symbol("x")) < 0)
    (1, True)
    """

    def generator(self, key: Generator, derivative: Derivative | None = None) -> Scalar:
        """Return the number or the ball of an unknown."""
        found = self.case.lookup(key, self.parameter)
        return rational(found) if isinstance(found, Fraction) else found

    def argument_symbol(self, name: str) -> Scalar:
        """Return 0 for a symbol that only identifies an unknown: the case reads it off the name of the unknown."""
        return self.zero

    def freeze(self, scalar: Scalar) -> Value:
        """Return a number or a ball as an argument."""
        return Value(((fraction(scalar) if is_exact(scalar) else scalar, ()),))

    def inverse(self, scalar: Scalar) -> Scalar:
        """Return 1/x.

        Raises
            NotEvaluable, if x is zero in this case, or a ball that contains zero.
        """
        return inverse_of(scalar)

    def log(self, scalar: Scalar) -> Scalar:
        """Return the logarithm, 0 for 1 and else a ball.

        Raises
            NotEvaluable, if the argument is not certainly positive.
        """
        return log_of(scalar)

    def exp(self, scalar: Scalar) -> Scalar:
        """Return the exponential, 1 for 0 and else a ball."""
        return exp_of(scalar)


def inverse_of(scalar: Scalar) -> Scalar:
    """Return 1/x of a rational or a ball; errors as `EnclosedModel.inverse`."""
    if scalar == 0 or (not is_exact(scalar) and scalar.contains(0)):
        message = "division by zero in this case, or by what cannot be told from zero."
        raise NotEvaluable(message)
    return 1 / scalar


def log_of(scalar: Scalar) -> Scalar:
    """Return log(x) of a rational or a ball; errors as `EnclosedModel.log`."""
    if not scalar > 0:
        message = "a logarithm of what is not certainly positive in this case."
        raise NotEvaluable(message)
    if is_exact(scalar):
        return rational(0) if scalar == 1 else ball(fraction(scalar)).log()
    return scalar.log()


def exp_of(scalar: Scalar) -> Scalar:
    """Return exp(x) of a rational or a ball.

    >>> exp_of(rational(0))
    1
    """
    if is_exact(scalar):
        return rational(1) if scalar == 0 else ball(fraction(scalar)).exp()
    return scalar.exp()


def sign_of(scalar: Scalar) -> Scalar:
    """Return the sign of a rational or a ball.

    Raises
        NotEvaluable, if it is a ball that contains zero.

    >>> sign_of(rational(Fraction(-1, 3)))
    -1
    """
    if not is_exact(scalar) and scalar.contains(0):
        message = "a sign of what cannot be told from zero in this case."
        raise NotEvaluable(message)
    return rational(0 if scalar == 0 else 1 if scalar > 0 else -1)


Model: TypeAlias = SymbolicModel | RationalModel


def _is_transcendental(part: object) -> bool:
    if isinstance(part, Value):
        return _has_transcendental(part)
    if not isinstance(part, Generator):
        return isinstance(part, tuple) and any(_is_transcendental(inner) for inner in part)
    own = part.kind in (*TRANSCENDENTAL, "normal") or part == LOG_TWO_PI
    return own or (part.kind == "inverse" and _is_transcendental(part.args))


@remembered
def _has_transcendental(value: Value) -> bool:
    return any(map(_is_transcendental, value.terms))


@remembered
def _noises_of(value: Value) -> set[str]:
    return _noises(value.terms)


def _noises(part: object) -> set[str]:
    if isinstance(part, Value):
        return _noises_of(part)
    if isinstance(part, Noise):
        return {part.name}
    if isinstance(part, Generator) and part.kind == "noise":
        return {part.name}
    if isinstance(part, Generator) and part.kind in ("moment", "joint", "restricted", "flux"):
        return set()
    return set().union(*(_noises(inner) for inner in part)) if isinstance(part, tuple) else set()
