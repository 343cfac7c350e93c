"""Formulas in the notation of `derive.printing.text`: a grammar of ours, recursive descent, nothing is ever executed.

sum      := "-"? product (("+" | "-") product)*
product  := factor (("*" | "/") factor)*            what stands behind d_theta, sum_b or log ends a product
factor   := prefix | atom ("^" exponent)?
prefix   := "d_theta" (prefix | atom) | "sum_b" product | "int" limits? product "du" | "log" density
atom     := number | name | name "(" arguments ")" | "E_b[" sum "]" | "(" sum ")" | name "[" number "]"
          | "entry(" sum ";" outcomes ")" | "Choice(" sum ";" outcomes ")"
outcomes := outcome ":" sum ("," outcome ":" sum)*  an outcome is a number, or several in brackets
arguments := sum ("," sum)* ("|" sum ("," sum)*)? (";" sum ("," sum)*)?
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from typing import NoReturn

from derive.language.errors import UsageError
from derive.language.named import PARAMETERS, named
from derive.language.notation import continuous, finite, relaxation
from derive.language.outcomes import choice, coordinate
from derive.language.term import (
    Density,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Law,
    Log,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Stop,
    Symbol,
    Term,
    UniformLaw,
)
from derive.printing.folding import WORDS
from derive.written.setting import Setting

MOST_CHARACTERS, MOST_NESTED, MOST_EXPONENT = 20_000, 60, 64
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,40})|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/^()\[\]{},;:|'])|(?P<other>\S))", re.ASCII
)
_WORDS: dict[str, tuple[int, Callable[..., Term]]] = {
    "log": (1, Log), "exp": (1, Exp), "sigmoid": (1, Sigmoid), "sign": (1, Sign), "sg": (1, Stop), **WORDS,
}  # fmt: skip
_PARAMETERS = {"Normal": 2, "Uniform": 2, **{name: len(taken) for name, taken in PARAMETERS.items()}}
_DRAWN = re.compile(r"\s*(continuous\s+)?([A-Za-z_]\w*)\s*~\s*(.*)", re.DOTALL | re.ASCII)
_FUNCTIONS = re.compile(r"\s*(not\s+)?differentiable\s+(\w+(?:\s*,\s*\w+)*)\s*", re.ASCII)
_RELAXED = re.compile(r"\s*relaxation\s+of\s+(\w+)\s*", re.ASCII)


def parse(text: str, setting: Setting) -> Term:
    """Return the term that a text stands for.

    Raises
        UsageError, naming the place, if the text is no formula, or may be read in two ways.

    >>> from derive.printing.text import render
    >>> setting = Setting()
    >>> declare("b ~ p(b; theta)", setting)
    >>> render(parse("E_b[(f(b) - c) * d_theta log p(b; theta)]", setting))
    'E_b[(f(b) - c) * d_theta log p(b; theta)]'
    """
    parser = _Parser(text, setting)
    term = parser.sum()
    parser.end()
    return term


def declares(text: str) -> bool:
    """Whether a line is a declaration and no formula.

    >>> declares("b ~ p(b; theta)"), declares("not differentiable f"), declares("f(b)")
    (True, True, False)
    """
    return "~" in text or text.split()[:1] in (["not"], ["differentiable"], ["relaxation"])


def declare(text: str, setting: Setting) -> None:
    """Add what a line declares to a setting.

    Written
        b ~ p(b; theta)                 a variable; `continuous z ~ q(z; phi)` has a density
        differentiable f, g             functions with continuous derivatives; `not differentiable f` has none
        relaxation of b                 the maps h, H, h_tilde and sigma of a relaxed finite variable

    Raises
        UsageError, if it declares nothing that is known, or something again.
    """
    _demand_ascii(text)
    if functions := _FUNCTIONS.fullmatch(text):
        for name in re.split(r"\s*,\s*", functions[2]):
            setting.function(Function(name, not functions[1]))
        return
    if relaxed := _RELAXED.fullmatch(text):
        for each in _maps(relaxed[1], setting):
            setting.function(each)
        return
    found = _DRAWN.fullmatch(text)
    if found is None:
        message = f"expected how a variable is drawn, as 'b ~ p(b; theta)' or 'u ~ Uniform(0, 1)'; got {text.strip()!r}."
        raise UsageError(message)
    parser = _Parser(found[3], setting)
    variable = parser.drawn(found[2], dense=bool(found[1]))
    parser.end()
    setting.declare(variable)


def _maps(name: str, setting: Setting) -> tuple[Function, ...]:
    if name not in setting.variables:
        message = f"{name!r} is not drawn: declare it, as in 'b ~ p(b; theta)'."
        raise UsageError(message)
    relaxed = relaxation(setting.variables[name])
    return relaxed.h, relaxed.H, relaxed.h_tilde, relaxed.sigma


def _demand_ascii(text: str) -> None:
    """Of x² and 𝑥 a reader sees what a parser does not."""
    for character in text:
        if not character.isascii():
            message = f"a formula is typed in ASCII, as in theta and x^2; got {character!r} in {' '.join(text.split())!r}."
            raise UsageError(message)


class _Parser:
    def __init__(self, text: str, setting: Setting) -> None:
        if len(text) > MOST_CHARACTERS:
            message = f"a formula has at most {MOST_CHARACTERS} characters; got {len(text)}."
            raise UsageError(message)
        _demand_ascii(text)
        self.text, self.setting, self.depth, self.position = text, setting, 0, 0
        self.bound: list[str] = []
        found = [(str(match.lastgroup), match[str(match.lastgroup)], match.end()) for match in _TOKEN.finditer(text)]
        self.tokens = [*found, ("end", "", len(text))]

    # Tokens

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)][1]

    def take(self, wanted: str = "") -> str:
        kind, token, _ = self.tokens[self.position]
        if kind in ("other", "end") or (wanted and token != wanted):
            self.refuse(f"expected {wanted!r}" if wanted else "expected more")
        self.position += 1
        return token

    def taken(self, *wanted: str) -> str:
        return self.take() if self.peek() in wanted and self.peek() else ""

    def end(self) -> None:
        if self.tokens[self.position][0] != "end":
            self.refuse("expected the end")

    def refuse(self, what: str) -> NoReturn:
        place = self.tokens[self.position][2] - len(self.peek())
        message = f"{what} at {self.text[place : place + 20].strip() or 'the end'!r} in {' '.join(self.text.split())!r}."
        raise UsageError(message)

    # The grammar

    def sum(self) -> Term:
        self.deeper()
        total = -self.product() if self.taken("-") else self.product()
        while sign := self.taken("+", "-"):
            total = total + self.product() if sign == "+" else total - self.product()
        self.depth -= 1
        return total

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MOST_NESTED:
            self.refuse(f"nested more than {MOST_NESTED} deep")

    def product(self) -> Term:
        found, last = self.factor()
        while self.peek() in ("*", "/"):
            if last:
                self.refuse("put what is in front into brackets, as in (d_theta f(b)) * g(b), or all of it behind d_theta;")
            sign = self.take()
            factor, last = self.factor()
            found = found * factor if sign == "*" else _quotient(found, factor)
        return found

    def factor(self) -> tuple[Term, bool]:
        """Return a factor, and whether it must be the last of its product."""
        self.deeper()
        prefix = self.prefix()
        self.depth -= 1
        if prefix is not None:
            return prefix, True
        base = self.atom()
        return (Power(base, self.exponent()) if self.taken("^") else base), False

    def prefix(self) -> Term | None:
        kind, token, _ = self.tokens[self.position]
        if kind != "name" or token in self.setting.variables or token in self.setting.names:
            return None
        if token == "log" and self.peek(1) != "(":
            self.take()
            return Log(self.density())
        if token.startswith("d_") and token not in self.setting.functions:
            self.take()
            return self.derivative(Symbol(token.removeprefix("d_")))
        if token.startswith("sum_"):
            self.take()
            variable = self.variable(token.removeprefix("sum_"))
            if not _sums(variable.law):
                self.refuse(f"{variable.name} is continuous: write int ... d{variable.name}")
            return Over(self.under([variable], self.product), variable)
        return self.integral() if token in ("int", "int_") else None

    def derivative(self, parameter: Symbol) -> Term:
        self.setting.use(parameter.name, "constant")
        if self.peek() == "log" and self.peek(1) != "(":
            self.take()
            density = self.density()
            return Score(density.law, density.at, parameter)
        self.deeper()
        inner = self.prefix()
        self.depth -= 1
        body = self.atom() if inner is None else inner
        if self.peek() == "^":
            self.refuse("put what is differentiated into brackets, as in d_theta (f(b)^2);")
        return Grad(body, parameter)

    def integral(self) -> Term:
        limits = self.limits() if self.take() == "int_" else ()
        body = self.product()
        kind, token, _ = self.tokens[self.position]
        if kind != "name" or not token.startswith("d"):
            self.refuse("expected the variable of the integral, as du,")
        self.take()
        variable = self.variable(token.removeprefix("d"))
        if _sums(variable.law):
            self.refuse(f"{variable.name} is discrete: write sum_{variable.name}")
        if variable.name in self.setting.names:
            self.refuse(f"{variable.name} abbreviates a term: an integral over it may be read in two ways")
        if limits != (variable.law.terms if isinstance(variable.law, UniformLaw) else ()):
            self.refuse(f"the limits are not those of the support of {variable.name}")
        return Over(body, variable)

    def limits(self) -> tuple[Term, ...]:
        self.take("{")
        low = self.sum()
        self.take("}")
        self.take("^")
        self.take("{")
        high = self.sum()
        self.take("}")
        return low, high

    def exponent(self) -> int:
        bracket = self.taken("(")
        minus = self.taken("-")
        number = self.take()
        if not number.isdigit() or int(number) > MOST_EXPONENT:
            self.refuse(f"expected an integer up to {MOST_EXPONENT} as the exponent")
        if bracket:
            self.take(")")
        return -int(number) if minus else int(number)

    def atom(self) -> Term:
        kind, token, _ = self.tokens[self.position]
        if kind == "number":
            return Number(Fraction(self.take()))
        if self.taken("("):
            inner = self.sum()
            self.take(")")
            return inner
        if kind != "name":
            self.refuse("expected a formula")
        self.take()
        primes = 0
        while self.taken("'"):
            primes += 1
        if primes:
            return self.slope(token, primes)
        if self.peek() == "(":
            return self.call(token)
        if self.peek() == "[" and token in self.setting.variables:
            return self.coordinate(self.setting.variables[token])
        if token.startswith("E_"):
            return self.expectation(token.removeprefix("E_"))
        return self.named(token)

    def named(self, name: str) -> Term:
        """A name that abbreviates a term is the variable of that name where it is bound, and the term elsewhere."""
        variable, value = self.setting.variables.get(name), self.setting.names.get(name)
        if value is not None and name not in self.bound:
            return value
        if variable is not None:
            return variable
        self.setting.use(name, "constant")
        return Symbol(name)

    def under(self, variables: list[RandomVariable], read: Callable[[], Term]) -> Term:
        self.bound += [variable.name for variable in variables]
        body = read()
        del self.bound[-len(variables) :]
        return body

    def expectation(self, name: str) -> Term:
        variables = [self.variable(name)] if name else self.subscript()
        self.take("[")
        body = self.under(variables, self.sum)
        self.take("]")
        for variable in reversed(variables):
            body = Expect(body, variable)
        return body

    def subscript(self) -> list[RandomVariable]:
        """Return the variables of {b,a}, or of {q(a | b; phi)}."""
        variables: list[RandomVariable] = []
        self.take("{")
        while not variables or self.taken(","):
            name = self.take()
            if self.peek() != "(":
                variables.append(self.variable(name))
                continue
            density = self.call(name)
            if not isinstance(density, Density) or not isinstance(density.at, RandomVariable) or density.at.law != density.law:
                self.refuse("expected the law of a variable")
            variables.append(density.at)
        self.take("}")
        return variables

    def variable(self, name: str) -> RandomVariable:
        if name not in self.setting.variables:
            self.refuse(f"{name!r} is not drawn: declare it, as in 'b ~ p(b; theta)',")
        return self.setting.variables[name]

    def density(self) -> Density:
        name = self.take()
        found = self.call(name) if self.peek() == "(" else None
        if not isinstance(found, Density):
            self.refuse("log without brackets stands in front of a law; write log(x)")
        return found

    def call(self, head: str) -> Term:
        if head in ("entry", "Choice") and head not in self.setting.functions:
            return self.table(head)
        args, given, parameters = self.arguments()
        if head in _PARAMETERS and len(args) == 1 and len(parameters) == _PARAMETERS[head]:
            return Density(_named(head, parameters), args[0])
        if given or parameters or (self.setting.called(head) and head not in self.setting.functions):
            if len(args) != 1:
                self.refuse(f"a law has one outcome, as {head}(b; theta),")
            return Density(self.setting.law(head, (*parameters, *given)), args[0])
        if head in _WORDS and len(args) == _WORDS[head][0]:
            return _WORDS[head][1](*args)
        self.setting.use(head, "function")
        return self.setting.functions.setdefault(head, Function(head))(*args)

    # Explicit finite laws

    def coordinate(self, variable: RandomVariable) -> Term:
        """Read pair[0] of numbers that are drawn together."""
        self.take("[")
        place = self.take()
        if not place.isdigit():
            self.refuse("expected the place of a number, from 0,")
        self.take("]")
        return coordinate(variable, int(place))

    def table(self, head: str) -> Term:
        """Read entry(b; 1: x, 0: y), or the probability Choice(b; 1: s, 0: 1 - s)."""
        self.take("(")
        at = self.sum()
        self.take(";")
        outcomes = self.outcomes()
        self.take(")")
        if head == "Choice":
            return Density(choice("x", *outcomes).law, at)
        together = any(isinstance(outcome, tuple) for outcome, _ in outcomes)
        numbers = tuple(Fraction(k) if together else outcome for k, (outcome, _) in enumerate(outcomes))
        return Entry(numbers, tuple(term for _, term in outcomes), at)  # type: ignore[arg-type]

    def outcomes(self) -> list[tuple[Fraction | tuple[Fraction, ...], Term]]:
        found = [(self.outcome(), self.beside())]
        while self.taken(","):
            found.append((self.outcome(), self.beside()))
        return found

    def beside(self) -> Term:
        self.take(":")
        return self.sum()

    def outcome(self) -> Fraction | tuple[Fraction, ...]:
        if not self.taken("("):
            return self.fraction()
        row = [self.fraction()]
        while self.taken(","):
            row.append(self.fraction())
        self.take(")")
        return tuple(row)

    def fraction(self) -> Fraction:
        sign, top = -1 if self.taken("-") else 1, self.take()
        bottom = self.take() if self.taken("/") else "1"
        if not (top.isdigit() and bottom.isdigit() and int(bottom)):
            self.refuse("expected a number")
        return Fraction(sign * int(top), int(bottom))

    def slope(self, head: str, order: int) -> Term:
        """Read f'(x) of a function that the estimator declares as differentiable."""
        args, given, parameters = self.arguments()
        if given or parameters or len(args) != 1:
            self.refuse("a slope has one argument, as f'(x),")
        function = self.setting.functions.get(head, Function(head))
        for _ in range(order):
            function = function.slope
        return function(args[0])

    def arguments(self) -> tuple[tuple[Term, ...], tuple[Term, ...], tuple[Term, ...]]:
        self.take("(")
        args = self.several()
        given = self.several() if self.taken("|") else ()
        parameters = self.several() if self.taken(";") else ()
        self.take(")")
        return args, given, parameters

    def several(self) -> tuple[Term, ...]:
        found = [self.sum()]
        while self.taken(","):
            found.append(self.sum())
        return tuple(found)

    def drawn(self, name: str, *, dense: bool) -> RandomVariable:
        head = self.take()
        if head == "Choice":
            self.take("(")
            made = choice(name, *self.outcomes())
            self.take(")")
            return made
        if head in _PARAMETERS:
            args, given, parameters = self.arguments()
            if given or parameters or len(args) != _PARAMETERS[head]:
                self.refuse(f"expected {head} with {'one parameter' if _PARAMETERS[head] == 1 else 'two parameters'}")
            return RandomVariable(name, _named(head, args))
        self.take("(")
        self.take(name)
        given = self.several() if self.taken("|") else ()
        parameters = self.several() if self.taken(";") else ()
        self.take(")")
        symbols = [parameter for parameter in parameters if isinstance(parameter, Symbol)]
        if len(symbols) < len(parameters) or (dense and given):
            self.refuse("the parameters of a law are symbols, and a density has no conditions")
        return continuous(name, *symbols, law=head) if dense else finite(name, *symbols, law=head, given=given)


def _sums(law: Law) -> bool:
    return isinstance(law, FiniteLaw) or (isinstance(law, NamedLaw) and law.counts)


def _named(head: str, parameters: tuple[Term, ...]) -> Law:
    if head in PARAMETERS:
        return named(head, *parameters)
    first, second = parameters
    return UniformLaw(first, second) if head == "Uniform" else NormalLaw(first, _root(second))


def _root(variance: Term) -> Term:
    """A normal law is written with its variance, and kept with its standard deviation."""
    if isinstance(variance, Power) and variance.exponent == 2:
        return variance.base
    if isinstance(variance, Number) and variance.value > 0:
        top, bottom = isqrt(variance.value.numerator), isqrt(variance.value.denominator)
        if Fraction(top, bottom) ** 2 == variance.value:
            return Number(Fraction(top, bottom))
    message = "the variance of a normal law is written as a square, as in Normal(mu, sigma^2) or Normal(0, 1)."
    raise UsageError(message)


def _quotient(top: Term, bottom: Term) -> Term:
    if isinstance(top, Number) and isinstance(bottom, Number) and bottom.value:
        return Number(top.value / bottom.value)
    return top / bottom
