"""What the printed notations share: precedence, signs, fractions, abbreviations and where a long line may break.

A notation (text, LaTeX, MathML) is a `Printer` with a method for each thing that is written differently; the walk over the tree
is here, once. A subterm that equals the value of an abbreviation prints as its name, outermost first.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import ClassVar, Self, TypeAlias

from derive.kernel.premises import Premise
from derive.kernel.theorem import Equation
from derive.language.choice import ChoiceLaw, coordinate_of
from derive.language.depth import MOST_NODES, nodes
from derive.language.errors import UnknownNode
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    Density,
    DensityLaw,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Slope,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    subterms,
)
from derive.printing.folding import Word, folded
from derive.printing.shapes import Level as Level, divisor, inverse_root, level_of, negative, opposite, radicand

Where: TypeAlias = Sequence[tuple[str, Term]]
Condition: TypeAlias = Premise | Equation

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ", "iota": "ι",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "upsilon": "υ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
LETTERED = re.compile(rf"([^\W\d_]|{'|'.join(GREEK)})(\d+)")
"""A letter with a number behind it: a0, pi1."""
ACCENTS = ("tilde", "hat", "bar")
_FORMULA = re.compile(r"[-+*/^=<>|,;:\[\]{}~\s]|^\d+(\.\d*)?$")
_OPERATION = re.compile(r"exp|log|sigmoid|sign|sg|abs|sqrt|indicator|min|max|clip|Normal|Uniform|E|int|(E|sum|int|d)_.*")


class Printer(ABC):
    """One notation.

    `bars` says that it writes fractions with a bar, which brackets for itself; `joint` is what the density is called of which
    `log_joint` is the logarithm.
    """

    where: tuple[tuple[str, Term], ...]
    unclear: frozenset[Symbol | str]
    bars: ClassVar[bool] = True
    longest_fraction: ClassVar[int] = 40
    joint: str

    def __init__(self, where: Where = (), joint: str = "p", unclear: frozenset[Symbol | str] = frozenset()) -> None:
        self.where, self.joint, self.unclear = tuple(where), joint, unclear

    # What a notation writes in its own way

    @abstractmethod
    def name(self, name: str) -> str:
        """A variable, a parameter or a function."""

    @abstractmethod
    def quoted(self, name: str) -> str:
        """A name between quotation marks, where it would be read as a formula or as another name."""

    @abstractmethod
    def word(self, word: str) -> str:
        """A fixed name: exp, sigmoid, sg, Normal, Uniform."""

    @abstractmethod
    def number(self, value: Fraction) -> str:
        """A number that is not negative."""

    @abstractmethod
    def bracket(self, inner: str) -> str:
        """Something in brackets."""

    @abstractmethod
    def call(self, head: str, args: Sequence[str], given: Sequence[str] = (), parameters: Sequence[str] = ()) -> str:
        """head(args | given; parameters)."""

    def indexed(self, name: str, place: str) -> str:
        """A number of a tuple, by its place from 0."""
        return f"{name}[{place}]"

    @abstractmethod
    def total(self, signed: Sequence[tuple[bool, str]]) -> str:
        """A sum of operands, each with whether it is negative."""

    @abstractmethod
    def product(self, factors: Sequence[str]) -> str:
        """A product."""

    @abstractmethod
    def fraction(self, top: str, bottom: str) -> str:
        """A quotient."""

    @abstractmethod
    def power(self, base: str, exponent: int) -> str:
        """An integer power."""

    @abstractmethod
    def log(self, inner: str) -> str:
        """log in front of something that needs no brackets."""

    @abstractmethod
    def derivative(self, parameter: str, inner: str, order: int = 1) -> str:
        """The derivative of that order along the parameter, in front of something that needs no brackets."""

    def root(self, inner: str) -> str:
        """The square root, exp(log(x) / 2), of something in no brackets."""
        return self.call(self.word("exp"), [self.fraction(self.call(self.word("log"), [inner]), self.number(Fraction(2)))])

    def applied(self, word: str, args: Sequence[str]) -> str:
        """abs, sqrt, indicator, min, max or clip of its arguments."""
        return self.call(self.word(word), args)

    @abstractmethod
    def expectation(self, variables: Sequence[RandomVariable], inner: str) -> str:
        """E over the variables, the first one outermost."""

    @abstractmethod
    def summation(self, variable: str, inner: str) -> str:
        """The sum over a finite support."""

    @abstractmethod
    def integral(self, variable: str, bounds: tuple[str, str] | None, inner: str) -> str:
        """The integral over a support."""

    @abstractmethod
    def primed(self, head: str, order: int) -> str:
        """A derivative of a function of one argument."""

    @abstractmethod
    def mean(self, inner: str, event: str, *, restricted: bool) -> str:
        """E of something given an event, or where it happens."""

    @abstractmethod
    def relation(self, left: str, sign: str, right: str) -> str:
        """left = right, or left ~ right."""

    @abstractmethod
    def width(self, printed: str) -> int:
        """About how many characters wide something prints."""

    # The walk

    def show(self, term: Term, need: Level = Level.SUM) -> str:
        """Return the term in this notation, in brackets if it is looser than what is needed.

        Raises
            UnknownNode, if the term or a law in it is of no kind of the language.
        """
        if nodes(term) > MOST_NODES:
            return self.quoted(f"a term of {nodes(term):,} parts")
        name = self.abbreviation(term)
        if name is not None:
            printed = self.name(name)
            return self.bracket(printed) if self.bars and name.startswith("log_") and need > Level.PREFIX else printed
        term = self._folded(term)
        printed = self._node(term)
        return self.bracket(printed) if self.level(term) < need else printed

    def _folded(self, term: Term) -> Term:
        return folded(term, lambda part: self.abbreviation(part) is not None)

    def level(self, term: Term) -> Level:
        """How tightly a term holds together in this notation; with bars, log_joint(b) is written as log p(b)."""
        if self.bars and _head(term).startswith("log_"):
            return Level.PREFIX
        return Level.PRODUCT if self.bars and inverse_root(term) is not None else level_of(term)

    def called(self, name: str) -> str:
        """Return what a variable, a parameter or a law is called: a + b is a sum and no name, x1 is not x_1."""
        return self.quoted(name) if name in self.unclear or _FORMULA.search(name) else self.name(name)

    def _symbol(self, symbol: Symbol) -> str:
        return self.quoted(symbol.name) if symbol in self.unclear else self.called(symbol.name)

    def _function(self, name: str) -> str:
        return self.quoted(name) if _OPERATION.fullmatch(name) else self.called(name)

    def _head(self, function: Function) -> str:
        inner, order = function.orders if isinstance(function, Slope) else (function, 0)
        return self.primed(self._function(inner.name), order)

    def distribution(self, law: Law, at: str) -> str:
        """Return the density of a law at a point: p(b | x; theta), Normal(z; 0, 1)."""
        match law:
            case FiniteLaw(name, parameters, given):
                return self.call(self.called(name), [at], self._all(given), self._all(parameters))
            case ChoiceLaw(name):
                return self.call(self.called(name), [at], (), self._outcomes(law))
            case DensityLaw(name, parameters):
                return self.call(self.called(name), [at], (), self._all(parameters))
        return self.call(self.word(_family(law)), [at], (), self._all(_shown_terms(law)))

    def drawn(self, variable: RandomVariable) -> str:
        """Return how a variable is drawn: b ~ p(b; theta), u ~ Uniform(0, 1)."""
        law, name = variable.law, self.called(variable.name)
        if isinstance(law, ChoiceLaw):
            return self.relation(name, "~", self.call(self.word(law.name), self._outcomes(law)))
        if isinstance(law, NamedLaw):
            return self.relation(name, "~", self.call(self.word(law.name), self._all(law.parameters)))
        if isinstance(law, (FiniteLaw, DensityLaw)):
            return self.relation(name, "~", self.distribution(law, name))
        return self.relation(name, "~", self.call(self.word(_family(law)), self._all(_shown_terms(law))))

    def _outcomes(self, law: ChoiceLaw) -> list[str]:
        return self._beside(law.parameters, law.values, law)

    def _beside(self, terms: Sequence[Term], values: Sequence[Fraction], law: Law | None) -> list[str]:
        """Terms beside the outcomes that they belong to: numbers, or what is drawn together."""
        joint = law.joint if isinstance(law, ChoiceLaw) and law.values == values else ()
        rows = [self.bracket(", ".join(self.show(Number(value)) for value in row)) for row in joint]
        outcomes = rows or [self.show(Number(value)) for value in values]
        return [self.relation(outcome, ":", self.show(term)) for outcome, term in zip(outcomes, terms, strict=True)]

    def _entry(self, term: Entry) -> str:
        """A table at an outcome, or one of the numbers that are drawn together."""
        place = coordinate_of(term)
        if place is not None:
            return self.indexed(self.show(term.at), self.number(Fraction(place)))
        law = term.at.law if isinstance(term.at, RandomVariable) else None
        return self.call(self.word("entry"), [self.show(term.at)], (), self._beside(term.entries, term.values, law))

    def definitions(self) -> list[str]:
        """Return `name = value` for each abbreviation, written with the earlier ones."""
        return [
            self.relation(self.name(name), "=", start(type(self), value, self.where[:i]).show(value))
            for i, (name, value) in enumerate(self.where)
        ]

    def _node(self, term: Term) -> str:
        match term:
            case Number(value):
                return self.total([(True, self.number(-value))]) if value < 0 else self.number(value)
            case Symbol():
                return self._symbol(term)
            case RandomVariable(name, _):
                return self.called(name)
            case Entry():
                return self._entry(term)
            case Apply(Word(word), args):
                return self.applied(word, self._all(args))
            case Apply(function, args):
                return self.call(self._head(function), self._all(args))
            case Add(args):
                return self._sum(args)
            case Mul() if negative(term):
                return self._sum((term,))
            case Mul(args):
                return self._product(args)
            case Power(base, exponent) if exponent >= 0:
                return self.power(self.show(base, Level.ATOM), exponent)
            case Power():
                return self._product((term,))
        return self._calculus(term)

    def _calculus(self, term: Term) -> str:
        match term:
            case Log(arg) if isinstance(arg, Density) and self.abbreviation(arg) is None:
                return self.log(self.show(arg))
            case Exp(arg) if (under := radicand(arg)) is not None and self.abbreviation(arg) is None:
                return self.root(self.show(under))
            case Exp(arg) if self.bars and inverse_root(term) is not None and self.abbreviation(arg) is None:
                return self._product((term,))
            case Log(arg) | Exp(arg) | Sigmoid(arg) | Sign(arg):
                return self.call(self.word(type(term).__name__.lower()), [self.show(arg)])
            case Stop(body):
                return self.call(self.word("sg"), [self.show(body)])
            case Density(law, at):
                return self.distribution(law, self.show(at))
            case Score(law, at, parameter):
                return self.derivative(self._symbol(parameter), self.log(self.distribution(law, self._held(at, parameter))))
            case Grad():
                return self._gradient(term)
            case Expect():
                return self._expectation(term)
            case Over(body, variable):
                return self._over(body, variable)
        message = f"no node of the language can be printed from a {type(term).__name__}."
        raise UnknownNode(message)

    def _all(self, terms: Iterable[Term]) -> list[str]:
        return [self.show(term) for term in terms]

    def abbreviation(self, term: Term) -> str | None:
        """Return the name of a term, if it has one."""
        return next((name for name, value in self.where if value == term), None)

    def _inside(self, *variables: RandomVariable) -> Self:
        """Under a binder an abbreviation of the same name would be read as the bound variable: leave it out."""
        names = {variable.name for variable in variables}
        return type(self)([(name, value) for name, value in self.where if name not in names], self.joint, self.unclear)

    def _sum(self, args: Sequence[Term]) -> str:
        shown = [arg if self.abbreviation(arg) is not None else self._folded(arg) for arg in args]
        signed = [(negative(arg) and self.abbreviation(arg) is None, arg) for arg in shown]
        return self.total([(minus, self.show(opposite(arg) if minus else arg, Level.PRODUCT)) for minus, arg in signed])

    def _product(self, args: Sequence[Term]) -> str:
        tops: list[Term] = []
        bottoms: list[Term] = []
        for arg in args:
            divisor = None if self.abbreviation(arg) is not None else self._divisor(arg, first=not tops)
            (tops if divisor is None else bottoms).append(arg if divisor is None else divisor)
        if not bottoms:
            return self._factors(tops, last=Level.PREFIX)
        return self._barred(tops, bottoms) if self.bars else self._slashed(tops, bottoms)

    def _divisor(self, term: Term, *, first: bool) -> Term | None:
        """Return what a factor divides by; a bar is as good for 1 / sqrt(x), which is exp(-log(x) / 2)."""
        return (inverse_root(term) if self.bars else None) or divisor(term, first=first)

    def _slashed(self, tops: Sequence[Term], bottoms: Sequence[Term]) -> str:
        below = self.show(bottoms[0], Level.POWER) if len(bottoms) == 1 else self.bracket(self._factors(bottoms, Level.PREFIX))
        return self.fraction(self._factors(tops, Level.POWER), below)

    def _barred(self, tops: Sequence[Term], bottoms: Sequence[Term]) -> str:
        alone = self.show(tops[0]) if len(tops) == 1 else self._factors(tops, Level.PREFIX)
        below = self.show(bottoms[0]) if len(bottoms) == 1 else self._factors(bottoms, Level.PREFIX)
        if self.width(below) > self.longest_fraction:
            held = below if len(bottoms) == 1 and self.level(bottoms[0]) == Level.ATOM else self.bracket(below)
            return self.product([*self._operands(tops, Level.POWER), self.power(held, -1)])
        if self.width(alone) > self.longest_fraction:
            return self.product([self.fraction(self.number(Fraction(1)), below), *self._operands(tops, Level.PREFIX)])
        return self.fraction(alone, below)

    def _factors(self, terms: Sequence[Term], last: Level) -> str:
        return self.product(self._operands(terms, last) or [self.number(Fraction(1))])

    def _operands(self, terms: Sequence[Term], last: Level) -> list[str]:
        return [self._factor(term, last if i == len(terms) - 1 else Level.POWER) for i, term in enumerate(terms)]

    def _factor(self, term: Term, need: Level) -> str:
        if self.bars and isinstance(term, Number) and term.value >= 0:
            return self.number(term.value)
        return self.show(term, need)

    def _held(self, at: Term, parameter: Symbol) -> str:
        """A score holds its point fixed: say so where the point moves with the parameter."""
        moves = parameter in free(at) and not (isinstance(at, Apply) and isinstance(at.function, Threshold))
        return self.show(Stop(at) if moves and not isinstance(at, Stop) else at)

    def _gradient(self, term: Grad) -> str:
        """Derivatives along one parameter, one behind the other, are one of higher order."""
        order, body = 1, term.body
        while isinstance(body, Grad) and body.parameter == term.parameter and self.abbreviation(body) is None:
            order, body = order + 1, body.body
        return self.derivative(self._symbol(term.parameter), self._differentiated(body), order)

    def _differentiated(self, body: Term) -> str:
        if isinstance(body, (Log, Power)) and self.abbreviation(body) is None:
            return self.bracket(self.show(body))
        return self.show(body, Level.PREFIX)

    def _expectation(self, term: Expect) -> str:
        variables, body, inner = [term.variable], term.body, self._inside(term.variable)
        while isinstance(body, Expect) and inner.abbreviation(body) is None:
            variables.append(body.variable)
            inner = inner._inside(body.variable)
            body = body.body
        return self.expectation(variables, inner.show(body))

    def _over(self, body: Term, variable: RandomVariable) -> str:
        name, inner = self.called(variable.name), self._inside(variable).show(body, Level.PRODUCT)
        match variable.law:
            case FiniteLaw():
                return self.summation(name, inner)
            case NamedLaw() if variable.law.counts:
                return self.summation(name, inner)
            case UniformLaw(low, high):
                return self.integral(name, (self.show(low), self.show(high)), inner)
        return self.integral(name, None, inner)


def spoken(condition: Condition) -> tuple[str, str, tuple[Term, ...]]:
    """Return the name of what a derivation assumes, its sentence with blanks, and the terms that go into the blanks."""
    if isinstance(condition, Equation):
        return "Assumed", "{} = {}", (condition.lhs, condition.rhs)
    return condition.name, condition.sentence, condition.subjects


def start(kind: type[Printer], term: Term, where: Where) -> Printer:
    """Return a printer without the abbreviations whose name a free variable of the term has already."""
    joint = "joint" if anywhere(term, _names_p) else "p"
    unclear = _unclear(kind(joint=joint), term) if nodes(term) <= MOST_NODES else frozenset()
    return kind(apart((term,), where), joint, unclear)


def _unclear(printer: Printer, term: Term) -> frozenset[Symbol | str]:
    """Return the constants that are called as a variable is, and the names that are printed as another one is."""
    symbols, variables = set[Symbol](), set[str]()
    for node in subterms(term):
        match node:
            case Symbol():
                symbols.add(node)
            case RandomVariable(name, _):
                variables.add(name)
            case Grad(_, parameter) | Score(_, _, parameter):
                symbols.add(parameter)
            case Expect(_, variable) | Over(_, variable):
                variables.add(variable.name)
                symbols.update(leaf for each in variable.law.terms for leaf in subterms(each) if isinstance(leaf, Symbol))
    names = {symbol.name for symbol in symbols} | variables
    printed = Counter(map(printer.name, names))
    alike = {name for name in names if printed[printer.name(name)] > 1}
    return frozenset(alike) | {symbol for symbol in symbols if symbol.name in variables}


def _head(term: Term) -> str:
    """Return the name of a function or of a leaf, and "" of anything else."""
    return term.function.name if isinstance(term, Apply) else str(getattr(term, "name", ""))


def _names_p(term: Term) -> bool:
    match term:
        case Apply(function, _):
            return function.name == "p"
        case Density(law) | Score(law):
            return getattr(law, "name", "") == "p"
        case Expect(_, variable) | Over(_, variable):
            return getattr(variable.law, "name", "") == "p"
    return False


def apart(terms: Iterable[Term], where: Where) -> list[tuple[str, Term]]:
    """Return the abbreviations whose name no free variable of the terms has already.

    >>> apart([Symbol("x")], [("x", Symbol("y")), ("z", Symbol("y"))])
    [('z', Symbol(name='y'))]
    """
    taken = {leaf.name for term in terms for leaf in free(term)}
    return [(name, value) for name, value in where if name not in taken or _names_itself(name, value)]


def _names_itself(name: str, value: Term) -> bool:
    return isinstance(value, (Symbol, RandomVariable)) and value.name == name


def _family(law: Law) -> str:
    if isinstance(law, (NormalLaw, UniformLaw)):
        return type(law).__name__.removesuffix("Law")
    message = f"no law of the language can be printed from a {type(law).__name__}."
    raise UnknownNode(message)


def _shown_terms(law: Law) -> tuple[Term, ...]:
    """A normal law is written with its variance."""
    if isinstance(law, NormalLaw):
        scale = law.scale
        return law.loc, Number(scale.value**2) if isinstance(scale, Number) else Power(scale, 2)
    return law.terms
