"""What the exact evaluator has found, in the notations with bars: unknowns of its ring, and quotients of their polynomials."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from derive.numbers.formula import Factor, Formula
from derive.numbers.unknowns import Generator, Monomial, Noise, Outcome, Value, in_order
from derive.printing.layout import Level, Printer

MOST_TERMS = 1000


def show(printer: Printer, formula: Formula, limit: int = MOST_TERMS) -> str:
    r"""Return a formula in a notation, marked where it may break; of each polynomial at most so many terms.

    >>> from derive.printing.latex import Latex
    >>> half = Formula(Fraction(-1, 2), ((Generator("symbol", "x"), 2),), (), (), "theta")
    >>> show(Latex(), half).replace(chr(0xE001), "")
    '-\\frac{1}{2} \\, x^{2}'
    """
    return _Shown(printer, formula.parameter, limit).formula(formula)


class _Shown:
    def __init__(self, printer: Printer, parameter: str, limit: int) -> None:
        self.printer, self.parameter, self.limit = printer, parameter, limit

    def formula(self, formula: Formula) -> str:
        size, printer = abs(formula.number), self.printer
        if not size:
            return printer.number(size)
        tops = [*self._monomial(formula.single), *self._factors(formula.factors)]
        alone = len(tops) == 1 and formula.factors and formula.factors[0][1] == 1 and not formula.divisors and size == 1
        if alone and formula.number > 0:
            return self.polynomial(formula.factors[0][0])
        return printer.total([(formula.number < 0, self._quotient(size, tops, formula.divisors))])

    def _quotient(self, size: Fraction, tops: list[str], divisors: tuple[Factor, ...]) -> str:
        """Sums stand beside a fraction, and not in it, so that the line can break."""
        printer = self.printer
        above, under = (Fraction(n) for n in size.as_integer_ratio())
        narrow, wide = self._parted(divisors)
        below = [*([printer.number(under)] if under != 1 else []), *self._factors(narrow, bare=under == 1 and len(narrow) == 1)]
        inverse = [self._factor(value, -power, bare=False) for value, power in wide]
        whole = [*([printer.number(above)] if above != 1 else []), *tops]
        if not below or (not narrow and (tops or inverse)):
            return printer.product([*([] if size == 1 and (tops or inverse) else [printer.number(size)]), *tops, *inverse])
        fitting = self._fitting(whole)
        top = printer.product(whole[:fitting] or [printer.number(Fraction(1))])
        return printer.product([printer.fraction(top, printer.product(below)), *whole[fitting:], *inverse])

    def _parted(self, divisors: tuple[Factor, ...]) -> tuple[tuple[Factor, ...], tuple[Factor, ...]]:
        """Return the divisors that fit below a bar together, and the others."""
        narrow, wide = list[Factor](), list[Factor]()
        for divisor in divisors:
            together = self.printer.product(self._factors([*narrow, divisor]))
            (narrow if self.printer.width(together) <= self.printer.longest_fraction else wide).append(divisor)
        return tuple(narrow), tuple(wide)

    def _fitting(self, factors: list[str]) -> int:
        """Return how many of the factors, from the first, fit above a bar."""
        products = (self.printer.product(factors[:n]) for n in range(1, len(factors) + 1))
        return sum(self.printer.width(product) <= self.printer.longest_fraction for product in products)

    def _factors(self, factors: Iterable[Factor], *, bare: bool = False) -> list[str]:
        return [self._factor(value, power, bare=bare) for value, power in factors]

    def _factor(self, value: Value, power: int, *, bare: bool) -> str:
        written = self.polynomial(value)
        simple = bare or (len(value.terms) == 1 and value.terms[0][0] == 1 and len(value.terms[0][1]) == 1)
        inner = written if simple and power == 1 else self.printer.bracket(written)
        return inner if power == 1 else self.printer.power(inner, power)

    def polynomial(self, value: Value) -> str:
        """Return a polynomial, the rest of a long one as dots."""
        shown = [(c < 0, self._term(abs(c), monomial)) for c, monomial in value.terms[: self.limit]]
        more = [(False, self.printer.word("..."))] if len(value.terms) > self.limit else []
        return self.printer.total([*shown, *more])

    def _term(self, size: Fraction, monomial: Monomial) -> str:
        factors = self._monomial(monomial)
        return self.printer.product([*([] if size == 1 and factors else [self.printer.number(size)]), *factors])

    def _monomial(self, monomial: Monomial) -> list[str]:
        """Return the factors in the order of the text: probabilities, scores, functions."""
        ordered = in_order(monomial)
        last = len(ordered) - 1
        return [self._power(key, power, bare=i == last) for i, (key, power) in enumerate(ordered)]

    def _power(self, key: Generator, power: int, *, bare: bool) -> str:
        radicand = _radicand(key.args[0]) if key.kind == "exp" else None
        if radicand is not None and power % 2 == 0:
            return self._factor(radicand, power // 2, bare=False)
        written = self.unknown(key)
        if self._level(key) < Level.ATOM and not (bare and power == 1):
            written = self.printer.bracket(written)
        return written if power == 1 else self.printer.power(written, power)

    def _level(self, key: Generator) -> Level:
        applied = key.kind in ("function", "latent") and (
            key.name.startswith("log_") or (len(key.orders) > 1 and any(key.orders))
        )
        return Level.PREFIX if applied or key.kind in ("score", "inverse") else Level.ATOM

    def unknown(self, key: Generator) -> str:
        """Return an unknown as people write it: p(1), d log p(1), f'(1), E[f | b = 1]."""
        printer, (kind, name, orders, args) = self.printer, key
        match kind:
            case "probability":
                return self._law(name, args)
            case "score":
                return printer.derivative(printer.name(self.parameter), printer.log(self._law(name, args)), max(sum(orders), 1))
            case "inverse":
                return printer.fraction(printer.number(Fraction(1)), self._argument(args[0]))
            case "exp" if (radicand := _radicand(args[0])) is not None:
                return printer.root(self._argument(radicand))
            case "exp" | "log" | "sign":
                return printer.call(printer.word(kind), [self._argument(args[0])])
            case "moment" | "restricted":
                event = printer.relation(printer.name("b" if name == "p" else f"b_{name}"), "=", self._argument(args[0]))
                return printer.mean(self._argument(args[1]), event, restricted=kind == "restricted")
            case "joint":
                return printer.mean(self._argument(args[0]), "", restricted=False)
        return self._function(key)

    def _function(self, key: Generator) -> str:
        printer, (kind, name, orders, args) = self.printer, key
        shown = [] if kind == "path" else [self._argument(arg) for arg in args]
        if len(orders) < 2 or not any(orders):
            head = printer.primed(printer.name(f"value_{name}" if kind == "outcome" else name), sum(orders))
        else:
            head = "".join(printer.derivative(printer.number(Fraction(i)), "", n) for i, n in enumerate(orders, 1) if n)
            head += printer.name(name)
        return printer.call(head, shown) if shown else head

    def _law(self, name: str, args: tuple[object, ...]) -> str:
        outcome, *others = (self._argument(arg) for arg in args)
        moved = self.printer.name(self.parameter)
        return self.printer.call(self.printer.name(name), [outcome], [other for other in others if other != moved])

    def _argument(self, arg: object) -> str:
        match arg:
            case Outcome(number):
                return self.printer.number(Fraction(number))
            case Noise(name):
                return self.printer.name(name)
            case Value():
                return self.polynomial(arg)
        return self._term(Fraction(1), arg)  # type: ignore[arg-type]


def _radicand(arg: Value) -> Value | None:
    """Return x of log(x) / 2."""
    match arg.terms:
        case ((half, ((Generator("log", _, _, (Value() as inner,)), 1),)),) if half == Fraction(1, 2):
            return inner
    return None
