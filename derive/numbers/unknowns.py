"""The unknowns of a model: what each generator of the polynomial ring stands for, and how a person writes it."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

from derive.language.errors import TooLarge


class Outcome(NamedTuple):
    """An outcome of a finite law as an argument: 1, 2, ..., K."""

    number: int


class Noise(NamedTuple):
    """A continuous random variable as an argument of a map that is not known, such as u of h(u, theta)."""

    name: str


class _Scalar(NamedTuple):
    terms: tuple[tuple[Fraction, tuple[tuple[Generator, int], ...]], ...]


class Value(_Scalar):
    """A scalar as an argument: its polynomial, written as coefficients and powers of generators.

    Its hash is computed once: a generator of a value of a generator of a value would hash the innermost again and again.
    """

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    @cached_property
    def texts(self) -> dict[str, str]:
        """What is written for it, by the parameter; a cache would compare all that it holds with all that another one holds."""
        return {}

    def __hash__(self) -> int:
        return self._hash


class Generator(NamedTuple):
    """The key of an unknown. `orders` are partial derivatives with respect to the scalar arguments.

    Kinds
        symbol        theta, lambda, c
        function      f(k), f(k, theta) and its derivatives
        latent        h(u, theta), h_tilde(v, k, theta) and their derivatives
        probability   p_k, given further arguments
        score         derivatives of log p_k
        outcome       the number that an outcome stands for, where it is used as one
        noise         a normal or uniform variable under its integral
        normal        a normal density
        node, weight  a point of a base measure on K points, and its weight
        inverse, exp, log, sign   of the value that is the argument
        moment        E[m | b = k] of a monomial m in the latent variable
        joint         E[m] of a monomial that has conditional latent variables of several outcomes
        restricted    E[m; b = k] where m contains a derivative of h(u, theta)
        flux          the derivative of E[m; b = k] that is due to the moving threshold
    """

    kind: str
    name: str
    orders: tuple[int, ...] = ()
    args: tuple[Any, ...] = ()


Argument: TypeAlias = Outcome | Noise | Value
Monomial: TypeAlias = tuple[tuple[Generator, int], ...]
TRANSCENDENTAL = ("exp", "log")
APPLIED = (*TRANSCENDENTAL, "sign")
MOMENTS = ("moment", "restricted", "flux", "joint")
LOG_TWO_PI = Generator("symbol", "log(2 pi)")


# Readable names

_MOST_BITS, _MOST_TEXT = 10_000, 1_000
_ORDER = {"symbol": 0, "probability": 1, "score": 2, "function": 3}


def readable(generator: Generator, parameter: str) -> str:
    """Return the name of an unknown, as a person writes it.

    >>> readable(Generator("score", "p", (1,), (Outcome(2),)), "theta")
    'score(2)'
    """
    kind, name, orders, args = generator
    texts = [_argument_text(arg, parameter) for arg in args]
    match kind:
        case "probability":
            return f"{name}({_law_text(args, parameter)})"
        case "score":
            primes = "'" * (sum(orders) - 1) if len(orders) < 2 else f"^{orders}"
            return f"score{'' if name == 'p' else '_' + name}{primes}({_law_text(args, parameter)})"
        case "function" | "latent":
            marks = "'" * sum(orders) if len(orders) < 2 else (f"^{orders}".replace(" ", "") if any(orders) else "")
            return f"{name}{marks}({', '.join(texts)})" if texts else name
        case "path":
            return name + "'" * sum(orders)
        case "inverse":
            return f"(1/({texts[0]}))"
        case "exp" | "log" | "sign":
            return f"{kind}({texts[0]})"
        case "moment":
            return f"E[{texts[1]} | {_event(name)}={texts[0]}]"
        case "restricted":
            return f"E[{texts[1]}; {_event(name)}={texts[0]}]"
        case "joint":
            return f"E[{texts[0]}]"
        case "flux":
            return f"flux{orders[0]}[{texts[1]}; {_event(name)}={texts[0]}]"
        case "node" | "weight":
            return f"{name}({texts[0]})"
        case "outcome":
            return f"value_{name}({texts[0]})"
        case "normal":
            return f"density({', '.join(texts)})"
    return name


def _event(law: str) -> str:
    return "b" if law == "p" else f"b_{law}"


def _law_text(args: tuple[Argument, ...], parameter: str) -> str:
    outcome, *others = (_argument_text(arg, parameter) for arg in args)
    given = ", ".join(text for text in others if text != parameter)
    return f"{outcome}|{given}" if given else outcome


def _argument_text(arg: object, parameter: str) -> str:
    match arg:
        case Outcome(number):
            return str(number)
        case Noise(name):
            return name
        case Value():
            return _value_text(arg, parameter)
    return _monomial_text(arg, parameter)  # type: ignore[arg-type]


def _value_text(value: Value, parameter: str) -> str:
    """Return a value inside a name: of a long one the beginning, and what tells it from others."""
    if parameter not in value.texts:
        text = sum_text(value, parameter, 24)
        short = len(text) <= _MOST_TEXT
        value.texts[parameter] = text if short else f"{text[:_MOST_TEXT]}... {sha256(text.encode()).hexdigest()[:8]}"
    return value.texts[parameter]


def _monomial_text(monomial: Monomial, parameter: str) -> str:
    return "*".join(readable(key, parameter) + ("" if power == 1 else f"^{power}") for key, power in in_order(monomial))


def in_order(monomial: Monomial) -> Monomial:
    """Return the factors as they are written: symbols, probabilities, scores, functions, and the rest."""
    return tuple(sorted(monomial, key=lambda factor: _ORDER.get(factor[0].kind, len(_ORDER))))


def sum_text(value: Value, parameter: str, limit: int) -> str:
    """Return a polynomial as readable text, at most `limit` terms of it."""
    result = ""
    for coefficient, monomial in value.terms[:limit]:
        refuse_long(coefficient)
        factors = _monomial_text(monomial, parameter)
        size = str(abs(coefficient)) if not factors else "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
        sign = ("-" if coefficient < 0 else "") if not result else " - " if coefficient < 0 else " + "
        result += sign + size + factors
    more = len(value.terms) - limit
    return (result or "0") + (f" + ... ({more} more terms)" if more > 0 else "")


def refuse_long(number: object) -> None:
    """Refuse to write a number of thousands of digits; where a case has balls, they are short."""
    if isinstance(number, Fraction) and max(number.numerator.bit_length(), number.denominator.bit_length()) > _MOST_BITS:
        message = "a number in the formula has thousands of digits: give other values, or nest fewer functions."
        raise TooLarge(message)
