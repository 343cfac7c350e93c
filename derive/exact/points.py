"""A point: the values of all unknowns of an estimator, those that are given and defaults for the others.

A function is a table where its argument is an outcome, and a polynomial where it is a number. A latent variable is that of the
logistic relaxation of a Bernoulli variable, whose moments are integrated (`derive.laws.logistic`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, ClassVar

from derive.language.errors import NotEvaluable, UsageError
from derive.language.term import Apply, Expect, FiniteLaw, Over, Symbol, Term, parts
from derive.laws.logistic import Logistic, Polynomial, horner
from derive.numbers.ring import Ball, Scalar, fraction, is_exact, raised, rational
from derive.numbers.unknowns import MOMENTS, Generator, Outcome, Value, readable

if TYPE_CHECKING:
    from derive.language.estimator import Estimator

OFFSET = Fraction(499, 1000)
TOY: Polynomial = (OFFSET**2, -2 * OFFSET, Fraction(1))
"""(s - 499/1000)^2, the integrand of the toy problem of Tucker et al. and Grathwohl et al."""
IDENTITY: Polynomial = (Fraction(0), Fraction(1))
_NORMAL = {"mu(theta)": Fraction(0), "mu'(theta)": Fraction(1), "sigma(theta)": Fraction(1), "sigma'(theta)": Fraction(0)}
_SYMBOLS = {"lambda": Fraction(1, 2)}
MOST_DEGREE = 16
_COEFFICIENT = re.compile(r"(\w+)_(\d+)", re.ASCII)


class Open(UsageError):
    """A point leaves a value open that is needed and has no default."""


class Point:
    """The values at a point, as a `derive.laws.models.Case`; remembers in `used` what was asked for.

    Args
        laws        the names of the finite laws
        symbols     the names of the symbols that have a value
        outcomes    the number of outcomes of every finite law
        given       values by the names of the formula, such as {"f(1)": Fraction(1, 2)}; of a polynomial f the coefficients
                    f_0, f_1, ... of 1, s, s^2, ...
        defaults    values of symbols that are not given, where the usual ones do not do

    Raises
        UsageError, if probabilities are not between 0 and 1 or do not sum to 1.

    >>> point = Point({"p"}, set(), 2, {"p(1)": Fraction(1, 3)})
    >>> point.lookup(Generator("probability", "p", (), (Outcome(2),)), "theta"), point.used
    (Fraction(2, 3), {'p(2)': Fraction(2, 3)})
    """

    laws: Set[str]
    symbols: Set[str]
    outcomes: int
    given: dict[str, Fraction]
    defaults: Mapping[str, Fraction]
    used: dict[str, Fraction]
    probabilities: dict[str, list[Fraction]]
    is_integrated: bool
    polynomials: set[str]
    OUTCOMES_OF_RELAXATION: ClassVar = 2

    def __init__(
        self,
        laws: Set[str],
        symbols: Set[str],
        outcomes: int,
        given: Mapping[str, Fraction],
        defaults: Mapping[str, Fraction] | None = None,
    ) -> None:
        self.laws, self.symbols, self.defaults = laws, symbols, defaults or {}
        self.outcomes, self.given, self.used = outcomes, dict(given), dict[str, Fraction]()
        self.probabilities = {law: self._probabilities(law) for law in self.laws}
        self.is_integrated, self.polynomials = False, set[str]()

    @classmethod
    def of(
        cls, estimator: Estimator, outcomes: int, given: Mapping[str, Fraction], defaults: Mapping[str, Fraction] | None = None
    ) -> Point:
        """Return a point of an estimator; errors as the class."""
        terms = [estimator.expectation, estimator.target]
        laws = {law.name for term in terms for law in _finite_laws(term)}
        return cls(laws, {leaf.name for term in terms for leaf in _symbols(term)}, outcomes, given, defaults)

    def lookup(self, generator: Generator, parameter: str) -> Fraction | Ball:
        """Return the value of an unknown.

        Raises
            Open, if it is not given and has no default; the message says what to give.
            UsageError, if something is given that cannot be.
            NotEvaluable, if it is a moment of latent variables that is not integrated.
        """
        if generator.kind in MOMENTS:
            return self._moment(generator)
        if generator.kind in ("node", "weight"):
            message = (
                "a mean over normal variables of a logarithm, an exponential or a quotient of them is not integrated here, so "
                "there is the formula on the points of a base measure and no value; of polynomials there is."
            )
            raise NotEvaluable(message)
        name = self.name_of(generator, parameter)
        if name in self.given:
            return self._noted(name, self.given[name])
        found = self._default(generator, name, parameter)
        if found is None:
            message = f"{name} has no default: give its value, as --at '{name}=1/2'."
            raise Open(message)
        return found

    def name_of(self, generator: Generator, parameter: str) -> str:
        """Return the name of an unknown, without the parameters of a law: q(1), not q(1|theta)."""
        if generator.kind in ("probability", "score") and all(_is_symbol(arg) for arg in generator.args[1:]):
            generator = generator._replace(args=generator.args[:1])
        return readable(generator, parameter)

    def is_derived(self, name: str) -> bool:
        """Whether a value follows from others where a relaxation is integrated: f(1) from f_0, f_1, ..., dp(1) from p(1)."""
        matched = re.fullmatch(r"(d?)(\w+)\(\d+\)", name)
        if not (self.is_integrated and matched):
            return False
        return matched[2] in (self.laws if matched[1] else self.polynomials)

    def refuse_unused(self, name: str, used: Mapping[str, Fraction]) -> None:
        """Refuse values for what the variance of the estimator `name` does not have.

        Raises
            UsageError, if there are some.
        """
        unknown = sorted(set(self.given) - set(used))
        if unknown:
            message = f"the variance of {name!r} has no {', '.join(unknown)}; it has {', '.join(used)}."
            raise UsageError(message)

    def _noted(self, name: str, value: Fraction) -> Fraction:
        self.used[name] = value
        return value

    def _default(self, generator: Generator, name: str, parameter: str) -> Fraction | Ball | None:
        match generator.kind:
            case "symbol" if generator.name in self.symbols:
                return self._symbol(generator.name)
            case "probability" if generator.name in self.laws and len(name.split("|")) == 1:
                return self._noted(name, self.probabilities[generator.name][generator.args[0].number - 1])
            case "score" if generator.orders == (1,):
                density = generator._replace(kind="probability", orders=())
                tangent, value = self._tangent(density, parameter), self.lookup(density, parameter)
                return None if tangent is None else tangent / value
            case "score" if generator.orders == (2,) and generator.name in self.laws:
                return self._curvature(generator)
            case "outcome":
                return self._noted(name, Fraction(generator.args[0].number - 1))
            case "function":
                return self._function(generator, name, parameter)
        return None

    def _tangent(self, density: Generator, parameter: str) -> Fraction | None:
        """Return the derivative of a probability, by default along the last logit."""
        name = "d" + self.name_of(density, parameter)
        if name in self.given:
            return self._noted(name, self.given[name])
        if density.name not in self.laws or "|" in name:
            return None
        k, chances = density.args[0].number, self.probabilities[density.name]
        return self._noted(name, chances[k - 1] * (int(k == self.outcomes) - chances[-1]))

    def _curvature(self, score: Generator) -> Fraction | None:
        """Return the second derivative of log p along the last logit, -p (1 - p) of the last outcome."""
        if any(name.startswith(f"d{score.name}(") for name in self.given) or not all(map(_is_symbol, score.args[1:])):
            return None
        last = self.probabilities[score.name][-1]
        self._noted(f"{score.name}({self.outcomes})", last)
        return -last * (1 - last)

    def _symbol(self, name: str) -> Fraction:
        return self._noted(name, self.given.get(name, self.defaults.get(name, _SYMBOLS.get(name, Fraction(1)))))

    def _probabilities(self, law: str) -> list[Fraction]:
        """Return the probabilities: those that are given, and equal shares of what is left."""
        given = [self.given.get(f"{law}({k})") for k in range(1, self.outcomes + 1)]
        left = 1 - sum((value for value in given if value is not None), start=Fraction(0))
        values = [left / given.count(None) if value is None else value for value in given]
        if sum(values) != 1 or any(not 0 < value < 1 for value in values):
            shown = ", ".join(f"{law}({k}) = {value}" for k, value in enumerate(values, 1))
            message = f"probabilities lie strictly between 0 and 1 and sum to 1; got {shown}."
            raise UsageError(message)
        return values

    # Functions

    def _function(self, generator: Generator, name: str, parameter: str) -> Fraction | Ball | None:
        if name in _NORMAL:
            return self._noted(name, _NORMAL[name])
        if not generator.args:
            return self._coefficient(name)
        first, *others = generator.args
        if not all(isinstance(arg, Value) for arg in others):
            return None
        orders = generator.orders
        if isinstance(first, Outcome):
            base = horner(_scalars(self._coefficients(generator.name)), rational(first.number - 1))
        else:
            polynomial = self.polynomial(generator.name)
            for _ in range(orders[0]):
                polynomial = tuple(n * c for n, c in enumerate(polynomial))[1:]
            base, orders = horner(_scalars(polynomial), self._value(first, parameter)), orders[1:]
        for arg, order in zip(others, orders, strict=True):
            base = base * self._value(arg, parameter) if not order else base if order == 1 else base * 0
        tabulated = isinstance(first, Outcome) and not self._given_coefficients(generator.name)
        return self._noted(name, fraction(base)) if is_exact(base) and tabulated else _plain(base)

    def _coefficient(self, name: str) -> Fraction | None:
        matched = _COEFFICIENT.fullmatch(name)
        if matched is None:
            return None
        n = int(matched[2])
        return self._noted(name, TOY[n] if n < len(TOY) else Fraction(0))

    def polynomial(self, name: str) -> Polynomial:
        """Return the coefficients of a function of a number: the given ones, else the toy problem's for f, x for others."""
        found = self._coefficients(name)
        for n, value in enumerate(found):
            self._noted(f"{name}_{n}", value)
        return found

    def _coefficients(self, name: str) -> Polynomial:
        given = self._given_coefficients(name)
        if not given:
            return TOY if name == "f" else IDENTITY
        if max(given) > MOST_DEGREE:
            message = f"{name}_{max(given)}: polynomials have at most the degree {MOST_DEGREE}."
            raise UsageError(message)
        self.used |= {f"{name}_{n}": value for n, value in given.items()}
        return tuple(given.get(n, Fraction(0)) for n in range(max(given) + 1))

    def _given_coefficients(self, name: str) -> dict[int, Fraction]:
        return {int(m[2]): v for n, v in self.given.items() if (m := _COEFFICIENT.fullmatch(n)) and m[1] == name}

    def _value(self, arg: Value, parameter: str) -> Scalar:
        """Return the value of an argument, a polynomial in unknowns."""
        products = (
            rational(c) * prod((raised(_scalar(self.lookup(key, parameter)), n) for key, n in monomial), start=rational(1))
            if isinstance(c, Fraction)
            else c
            for c, monomial in arg.terms
        )
        return sum(products, start=rational(0))

    # Relaxations

    def _moment(self, generator: Generator) -> Ball:
        law = generator.name
        if self.outcomes != self.OUTCOMES_OF_RELAXATION:
            message = (
                f"a relaxation of {self.outcomes} outcomes needs an integral over {self.outcomes - 1} dimensions, which is not "
                "certified here: ask for 2 outcomes, whose logistic relaxation is integrated."
            )
            raise NotEvaluable(message)
        fixed = [name for name in self.given if name.startswith((f"d{law}(", "score"))]
        if fixed:
            message = f"{fixed[0]} cannot be given: the relaxation moves with the logit of {law}(2), so it follows from that."
            raise UsageError(message)
        self.is_integrated = True
        for k in (1, 2):
            self._noted(f"{law}({k})", self.probabilities[law][k - 1])
        return self._relaxations[law].moment(generator)

    @cached_property
    def _relaxations(self) -> Mapping[str, Logistic]:
        temperature = self._symbol("lambda")
        return {
            law: Logistic(chances[1], temperature, self._relaxed_polynomial, self._symbol)
            for law, chances in self.probabilities.items()
        }

    def _relaxed_polynomial(self, name: str) -> Polynomial:
        tables = [other for other in self.given if re.fullmatch(rf"{re.escape(name)}\(\d+\)", other)]
        if tables:
            message = f"{name} is needed between the outcomes: give {name}_0, {name}_1, ... instead of {tables[0]}."
            raise UsageError(message)
        self.polynomials.add(name)
        return self.polynomial(name)


def _scalars(polynomial: Polynomial) -> list[Scalar]:
    return [rational(c) for c in polynomial]


def _plain(scalar: Scalar) -> Fraction | Ball:
    return fraction(scalar) if is_exact(scalar) else scalar


def _scalar(value: Fraction | Ball) -> Scalar:
    return rational(value) if isinstance(value, Fraction) else value


def _is_symbol(arg: object) -> bool:
    kinds = [key.kind for _, monomial in arg.terms for key, _ in monomial] if isinstance(arg, Value) else []
    return kinds == ["symbol"]


def _finite_laws(term: Term) -> Iterator[FiniteLaw]:
    if isinstance(term, (Expect, Over)) and isinstance(term.variable.law, FiniteLaw):
        yield term.variable.law
    if isinstance(term, Apply) and isinstance(law := getattr(term.function, "law", None), FiniteLaw):
        yield law
    for part in parts(term):
        yield from _finite_laws(part)


def _symbols(term: Term) -> Iterator[Symbol]:
    if isinstance(term, Symbol):
        yield term
    for part in parts(term):
        yield from _symbols(part)
