"""The language: the frozen nodes of which every formula is made.

A formula is a tree of the nodes below; numbers are exact fractions and a float is refused. Nothing is rewritten when a tree is
built: `p(b) * score(b)` stays as it was written. Binders (`Expect`, `Over`) hold their bound variable; only
`derive.language.scope` substitutes under them. A reading of the language (exact value, text, LaTeX, torch) is one
function in another file.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from inspect import get_annotations
from operator import attrgetter, is_
from typing import TypeAlias

from derive.language.errors import NotExact, TooLarge, UnknownNode, UsageError
from derive.language.exactness import ALIKE, UNLIKE, exact, integer
from derive.language.shown import Shown, Symbolic
from derive.sharing import Shared, remembered, written_once

Exact: TypeAlias = "Term | int | Fraction"
MOST_BITS = 10_000


def lift(value: Exact) -> Term:
    """Return a term unchanged and an exact number as a `Number`.

    Raises
        NotExact, if the value is a float or another number that is not exact.
        NotATerm, if it is neither a term nor a number: the result of a comparison, a name, a function without arguments.

    >>> lift(2)
    Number(value=Fraction(2, 1))
    """
    return value if isinstance(value, Term) else Number(exact(value))


@dataclass(frozen=True)
class Term(Symbolic, metaclass=Shared):
    """Base of all scalar terms; the operators build trees and never simplify.

    They flatten sums and products, and drop the 0 with which Python's `sum` starts and a division by 1. `==` asks
    whether two terms are written alike: that is Python's question, and its answer no part of a formula.
    """

    __array_ufunc__ = None  # NumPy's numbers leave the operators to the term,
    _op_priority = 1000  # and so do SymPy's

    def __init_subclass__(cls) -> None:
        fields = attrgetter("__class__", *get_annotations(cls))

        def equal(self: Term, other: object) -> object:
            if type(self) is type(other):
                return ALIKE if fields(self) == fields(other) else UNLIKE
            return UNLIKE if isinstance(other, (Term, numbers.Number)) else NotImplemented

        def unequal(self: Term, other: object) -> object:
            answer = equal(self, other)
            return answer if answer is NotImplemented else UNLIKE if answer else ALIKE

        for name, method in (("__eq__", equal), ("__ne__", unequal)):  # kept by `dataclass`
            setattr(cls, name, method)

    def __getstate__(self) -> dict[str, object]:
        """Return the fields alone: a remembered hash is that of one process, which salts the hashes of names."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _sympy_(self) -> object:
        return self.to_sympy()

    def __add__(self, other: Exact) -> Term:
        return Add((*_spread(Add, self), *_spread(Add, lift(other))))

    def __radd__(self, other: Exact) -> Term:
        return self if type(other) is int and other == 0 else lift(other) + self

    def __neg__(self) -> Term:
        return Number(-self.value) if isinstance(self, Number) else Mul((Number(Fraction(-1)), *_spread(Mul, self)))

    def __sub__(self, other: Exact) -> Term:
        return self + (-lift(other))

    def __rsub__(self, other: Exact) -> Term:
        return lift(other) - self

    def __mul__(self, other: Exact) -> Term:
        return Mul((*_spread(Mul, self), *_spread(Mul, lift(other))))

    def __rmul__(self, other: Exact) -> Term:
        return lift(other) * self

    def __truediv__(self, other: Exact) -> Term:
        divisor = lift(other)
        if isinstance(divisor, Number):
            if divisor.value == 0:
                message = "division by zero in a formula."
                raise NotExact(message)
            return self if divisor.value == 1 else self * Number(1 / divisor.value)
        return self * Power(divisor, -1)

    def __rtruediv__(self, other: Exact) -> Term:
        return lift(other) / self

    def __pow__(self, exponent: int) -> Term:
        return Power(self, exponent)


def _spread(kind: type[Add] | type[Mul], term: Term) -> tuple[Term, ...]:
    """Return the operands of a sum (or product), or the term itself as the only one."""
    return term.args if isinstance(term, (Add, Mul)) and isinstance(term, kind) else (term,)


# Names


class BoundName(str):
    """The number of a bound variable, as `derive.language.scope.canonical` writes it: a name that no user can give."""

    __slots__ = ()


def _demand_name(name: str) -> None:
    if isinstance(name, BoundName):
        return
    if not isinstance(name, str) or not name.strip() or name.startswith("#") or any(mark in name for mark in "()"):
        message = (
            f"{name!r} is no name: expected a text that is not empty, does not start with '#' and has no parentheses, "
            "which are kept for the names that gradproof makes."
        )
        raise UsageError(message)


# Leaves


@dataclass(frozen=True)
class Number(Term):
    """An exact rational number."""

    value: Fraction

    def __post_init__(self) -> None:
        if type(self.value) is not Fraction:
            object.__setattr__(self, "value", exact(self.value))
        if max(self.value.numerator.bit_length(), self.value.denominator.bit_length()) > MOST_BITS:
            message = "a number of thousands of digits: give it a name, as a constant."
            raise TooLarge(message)


@dataclass(frozen=True)
class Symbol(Term):
    """A scalar parameter (theta, lambda, eta) or constant (c)."""

    name: str

    def __post_init__(self) -> None:
        _demand_name(self.name)


@dataclass(frozen=True)
class RandomVariable(Term):
    """A variable with a law: bound by `Expect` or `Over`, or free and then standing for any value of its support."""

    name: str
    law: Law

    def __post_init__(self) -> None:
        _demand_name(self.name)


# Laws


@dataclass(frozen=True)
class Law(Shown, metaclass=Shared):
    """Base of all laws; `terms` are the terms that it depends on."""

    @property
    def terms(self) -> tuple[Term, ...]:
        return ()

    def with_terms(self, terms: tuple[Term, ...]) -> Law:
        """Return the same law over other terms, in the order of `terms`."""
        return self


@dataclass(frozen=True)
class FiniteLaw(Law):
    """p(b | given; parameters): any law on any finite support, which neither parameters nor conditions move.

    Written
        finite("b", theta)                           p(b; theta)
        finite("a", phi, law="q", given=(b,))        q(a | b; phi), of a later step
    Readings
        derivations   a sum over the support, which is fixed: a gradient passes it where p is differentiable
        exact values  on 2, 3 and 4 outcomes, with an unknown for each probability and score; theorems extend that to any number
        instances     random tables of probabilities
        torch         logits: independent bits (bernoulli) or classes (categorical); a law that is given outcomes is a table
    """

    name: str
    parameters: tuple[Term, ...]
    given: tuple[Term, ...] = ()
    default_of: str = field(default="", compare=False, repr=False)  # the variable whose law it is, if nobody named the law

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.parameters + self.given

    def with_terms(self, terms: tuple[Term, ...]) -> FiniteLaw:
        split = len(self.parameters)
        return FiniteLaw(self.name, terms[:split], terms[split:], self.default_of)


@dataclass(frozen=True)
class DensityLaw(Law):
    """An abstract density p(z; parameters) on the real line, of which nothing is known but what is assumed or declared.

    `normalised=False` declares a weight whose integral is unknown (an energy-based model).

    Written
        continuous("x", theta, law="rho")            rho(x; theta)
        continuous("x", theta, normalised=False)     a weight without the constant in front
    Readings
        derivations   an integral: what a step needs is assumed by name, such as Dominated, and listed; a score has no mean
                      zero where the law is not normalised
        exact values  none, since nothing is known: a verdict rests on a derivation and on instances
        instances     random families, normal and logistic among them, whose location and scale are functions of the
                      parameters
        torch         run as a normal law whose mean and scale are parameters
    """

    name: str
    parameters: tuple[Term, ...]
    normalised: bool = True
    default_of: str = field(default="", compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.parameters

    def with_terms(self, terms: tuple[Term, ...]) -> DensityLaw:
        return DensityLaw(self.name, terms, self.normalised, self.default_of)


@dataclass(frozen=True)
class NamedLaw(DensityLaw):
    """A law of one of the names of `derive.language.named`, on a support that no parameter moves but a Maxwell law's location.

    Written
        exponential("x", rate=theta)                 Exponential(x; theta)
        poisson("n", rate=theta)                     Poisson(n; theta), on 0, 1, 2, ...
    Readings
        derivations   as an abstract density, of which the support, the sum and the smoothness in the parameters are known
        exact values  functions of it are read as polynomials, where its moments are rational in the parameters
        instances     quadrature with the density itself, or a sum
        torch         sampler, log-density and scores, where the parameters are terms in theta and constants (family vector); no
                      gradient goes through a sample whose own law moves
    """

    @property
    def counts(self) -> bool:
        """Whether its values are 0, 1, 2, ..., so that there is a sum and no integral over it."""
        return self.name in ("Poisson", "Geometric", "NegativeBinomial")

    @property
    def positives(self) -> tuple[Term, ...]:
        """What must be positive of its parameters, so that there is such a law."""
        match self.name:
            case "Geometric":
                return (self.parameters[0], 1 - self.parameters[0])
            case "NegativeBinomial":
                return (*self.parameters, 1 - self.parameters[1])
            case "Laplace" | "Logistic" | "Gumbel" | "Maxwell":
                return self.parameters[1:]
        return self.parameters

    def with_terms(self, terms: tuple[Term, ...]) -> NamedLaw:
        return NamedLaw(self.name, terms)


@dataclass(frozen=True)
class UniformLaw(Law):
    """The uniform law on (low, high); the noise of a reparameterization is Uniform(0, 1).

    Numbers are ordered when the law is made, terms by the premise that high - low is positive.

    Written
        uniform("u")                                 noise on (0, 1)
        uniform("u", low, high)                      between two terms
    Readings
        derivations   a gradient passes the integral where the bounds stay; where they move it is refused, since a boundary term
                      is missing; the mirror image has the same law
        exact values  functions of it are read as polynomials, and integrated with the boundary terms; as the noise of a
                      relaxation, by the probabilities of the outcomes
        instances     quadrature, cut where the integrand jumps
        torch         noise between two numbers; its density and its score are not in the code
    """

    low: Term
    high: Term

    def __post_init__(self) -> None:
        if isinstance(self.low, Number) and isinstance(self.high, Number) and self.low.value >= self.high.value:
            message = f"no law is uniform on ({self.low.value}, {self.high.value}): expected the lower bound first."
            raise UsageError(message)

    @property
    def terms(self) -> tuple[Term, ...]:
        return (self.low, self.high)

    def with_terms(self, terms: tuple[Term, ...]) -> UniformLaw:
        return UniformLaw(*terms)


@dataclass(frozen=True)
class NormalLaw(Law):
    """The normal law with mean `loc` and standard deviation `scale`, which is positive.

    A number is checked when the law is made, a term by the premise that it is positive.

    Written
        normal("epsilon")                            standard normal noise
        normal("z", mu(theta), sigma(theta))         mean and standard deviation
    Readings
        derivations   reparameterized as loc + scale * epsilon, its score written out, its mirror image put in its place
        exact values  functions of it are read as polynomials; what is true of every law with a location and a scale is
                      compared on base measures of 2, 3 and 4 points
        instances     quadrature over the whole line
        torch         randn, with location and scale as parameters or as functions of them
    """

    loc: Term
    scale: Term

    def __post_init__(self) -> None:
        if isinstance(self.scale, Number) and self.scale.value <= 0:
            message = f"no normal law has the standard deviation {self.scale.value}: expected a positive number."
            raise UsageError(message)

    @property
    def terms(self) -> tuple[Term, ...]:
        return (self.loc, self.scale)

    def with_terms(self, terms: tuple[Term, ...]) -> NormalLaw:
        return NormalLaw(*terms)


# Functions


@dataclass(frozen=True)
class Function(Shown):
    """An abstract function of real arguments, defined everywhere.

    `differentiable` says whether it has continuous derivatives: True, False, or None where nothing is known (then it must be
    assumed). A differentiable function need not be bounded, not even on a bounded interval that is open.
    """

    name: str
    differentiable: bool | None = None

    def __post_init__(self) -> None:
        _demand_name(self.name)

    def __call__(self, *args: Exact) -> Apply:
        expected = self.takes
        if expected is not None and len(args) != len(expected):
            message = f"{self.name} takes {self.name}({', '.join(expected)}); got {len(args)} arguments."
            raise UsageError(message)
        if not args:
            message = f"the function {self.name} needs an argument; a value that depends on nothing is a constant."
            raise UsageError(message)
        return Apply(self, tuple(lift(arg) for arg in args))

    @property
    def takes(self) -> tuple[str, ...] | None:
        """The arguments that are expected, or None where any are."""
        return None

    @property
    def slope(self) -> Slope:
        """The derivative of the function, `f.slope(x)`; of a function of one argument, which is declared as differentiable.

        Raises
            UsageError, if it is not declared so, or is a map of a relaxation.
        """
        if type(self) is Slope or (type(self) is Function and self.differentiable):
            return Slope(f"{self.name}'", None, self)
        message = f"{self.name} has no slope: declare it as a function of one argument with differentiable=True."
        raise UsageError(message)


@dataclass(frozen=True)
class Slope(Function):
    """f' of `f'(x)`: the derivative of a differentiable function of one argument. That it has one itself must be assumed."""

    of: Function | None = None

    @property
    def takes(self) -> tuple[str, ...]:
        return ("x",)

    @property
    def orders(self) -> tuple[Function, int]:
        """The function of which it is a derivative, and of which order.

        >>> f = Function("f", differentiable=True)
        >>> f.slope.slope.orders == (f, 2)
        True
        """
        inner, order = self.of.orders if isinstance(self.of, Slope) else (self.of, 0)
        return inner or self, order + 1


@dataclass(frozen=True)
class Latent(Function):
    """h of `z = h(u, theta)`: the continuous latent variable whose threshold has law `law`; differentiable in theta.

    What follows the noise is where the law is taken: h(u, phi) decides an outcome of p(b; phi), whatever `law` says.
    """

    law: FiniteLaw | None = None

    @property
    def takes(self) -> tuple[str, ...] | None:
        return None if self.law is None else ("u", *_names(self.law))


@dataclass(frozen=True)
class Threshold(Function):
    """H of `b = H(z)`: the outcome that the latent variable decides; piecewise constant, with jumps.

    `outcome` is the name of the variable whose law it has.
    """

    law: FiniteLaw | None = None
    outcome: str = "b"

    @property
    def takes(self) -> tuple[str, ...] | None:
        return ("z",)


@dataclass(frozen=True)
class ConditionalLatent(Function):
    """h_tilde of `z_tilde = h_tilde(v, b, theta)`: has the law of z = h(u, theta) given that H(z) = b."""

    law: FiniteLaw | None = None

    @property
    def takes(self) -> tuple[str, ...] | None:
        return None if self.law is None else ("v", self.law.default_of or "b", *_names(self.law))


@dataclass(frozen=True)
class SoftThreshold(Function):
    """sigma of `sigma(z, lambda)`: the relaxation of the threshold at temperature lambda, sigmoid(z / lambda) or softmax."""

    law: FiniteLaw | None = None

    @property
    def takes(self) -> tuple[str, ...] | None:
        return ("z", "lambda")


def _names(law: FiniteLaw) -> tuple[str, ...]:
    return tuple(term.name if isinstance(term, Symbol) else "..." for term in law.parameters)


@dataclass(frozen=True)
class Apply(Term):
    """A function applied to its arguments: f(b), f(b, theta), h(u, theta), H(z)."""

    function: Function
    args: tuple[Term, ...]


@dataclass(frozen=True)
class Entry(Term):
    """The entry of a table at a number: `entries[k]` where `at` is `values[k]`; at another number it has no value."""

    values: tuple[Fraction, ...]
    entries: tuple[Term, ...]
    at: Term


# Algebra


@dataclass(frozen=True)
class Add(Term):
    """A sum, in the order in which it was written."""

    args: tuple[Term, ...]


@dataclass(frozen=True)
class Mul(Term):
    """A product, in the order in which it was written."""

    args: tuple[Term, ...]


@dataclass(frozen=True)
class Power(Term):
    """An integer power; division is the power -1, and x**0 is 1 for every x."""

    base: Term
    exponent: int

    def __post_init__(self) -> None:
        if type(self.exponent) is not int:
            object.__setattr__(self, "exponent", integer(self.exponent))


@dataclass(frozen=True)
class Log(Term):
    """The natural logarithm, of what is positive."""

    arg: Term


@dataclass(frozen=True)
class Exp(Term):
    """The exponential."""

    arg: Term


@dataclass(frozen=True)
class Sigmoid(Term):
    """The logistic function 1 / (1 + exp(-x))."""

    arg: Term


@dataclass(frozen=True)
class Sign(Term):
    """1 where `arg` is positive, -1 where it is negative, and 0 at 0; where it has a derivative, that is zero."""

    arg: Term


# Probability and calculus


@dataclass(frozen=True)
class Density(Term):
    """p(at): the probability or density of a law at a point."""

    law: Law
    at: Term


@dataclass(frozen=True)
class Score(Term):
    """d/dparameter log p(at), with the point `at` held fixed."""

    law: Law
    at: Term
    parameter: Symbol


@dataclass(frozen=True)
class Expect(Term):
    """E over `variable` of its law; binds `variable` in `body`, not in the law."""

    body: Term
    variable: RandomVariable


@dataclass(frozen=True)
class Over(Term):
    """The sum or integral of `body` over the support of the law of `variable` (where its density is positive)."""

    body: Term
    variable: RandomVariable


@dataclass(frozen=True)
class Grad(Term):
    """d/dparameter of `body`, pointwise: random variables are held fixed, and a threshold's derivative is zero."""

    body: Term
    parameter: Symbol


@dataclass(frozen=True)
class Stop(Term):
    """The value of `body` with its derivative set to zero (detach, stop-gradient)."""

    body: Term


for _node in Term.__subclasses__():
    setattr(_node, "__hash__", remembered(_node.__hash__))  # noqa: B010 - a method is assigned once, here
    setattr(_node, "__repr__", written_once(_node.__repr__))  # noqa: B010


# One traversal for all readings that treat most nodes alike


@remembered
def parts(term: Term) -> tuple[Term, ...]:
    """Return the direct subterms; a law's terms come first, a bound variable and a parameter of differentiation are none.

    Raises
        UnknownNode, if the term is of no kind of this file.

    >>> parts(Symbol("x") + 1)
    (Symbol(name='x'), Number(value=Fraction(1, 1)))
    """
    match term:
        case Number() | Symbol() | RandomVariable():
            return ()
        case Add(args) | Mul(args) | Apply(_, args):
            return args
        case Power(inner, _) | Log(inner) | Exp(inner) | Sigmoid(inner) | Sign(inner) | Stop(inner) | Grad(inner, _):
            return (inner,)
        case Density(law, at) | Score(law, at, _):
            return (*law.terms, at)
        case Entry(_, entries, at):
            return (*entries, at)
        case Expect(body, variable) | Over(body, variable):
            return (*variable.law.terms, body)
    message = f"no node of the language: {type(term).__name__}."
    raise UnknownNode(message)


def rebuild(term: Term, new: tuple[Term, ...]) -> Term:
    """Return the node with other direct subterms, in the order of `parts`; a binder keeps its variable's name.

    For a binder only the law changes here: occurrences in the body are the caller's business (`derive.language.scope`).
    """
    old = parts(term)
    if len(old) == len(new) and all(map(is_, old, new)):
        return term
    match term:
        case Add() | Mul():
            return type(term)(new)
        case Apply(function, _):
            return Apply(function, new)
        case Power(_, exponent):
            return Power(new[0], exponent)
        case Log() | Exp() | Sigmoid() | Sign() | Stop():
            return type(term)(new[0])
        case Grad(_, parameter):
            return Grad(new[0], parameter)
        case Entry(values, _, _):
            return Entry(values, new[:-1], new[-1])
        case Density(law, _):
            return Density(law.with_terms(new[:-1]), new[-1])
        case Score(law, _, parameter):
            return Score(law.with_terms(new[:-1]), new[-1], parameter)
        case Expect(_, variable) | Over(_, variable):
            return type(term)(new[-1], RandomVariable(variable.name, variable.law.with_terms(new[:-1])))
    message = f"no node of the language: {type(term).__name__}."
    raise UnknownNode(message)


def subterms(term: Term) -> Iterator[Term]:
    """Yield the term and every term in it, the whole first, under binders and in their laws too."""
    yield term
    for part in parts(term):
        yield from subterms(part)


def anywhere(term: Term, test: Callable[[Term], bool]) -> bool:
    """Whether the term or one of its subterms, under binders too, passes the test."""
    waiting, seen = [term], {id(term)}
    while waiting:
        one = waiting.pop()
        if test(one):
            return True
        new = {id(part): part for part in parts(one) if id(part) not in seen}
        seen.update(new)
        waiting.extend(new.values())
    return False
