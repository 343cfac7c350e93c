"""Reading algebra and unknown functions in a model: every term becomes a jet, its value with its derivatives.

The derivatives of a jet are with respect to one parameter, that of the model; along any other one the unknowns are
differentiated by the chain rule. Variables are looked up in an environment, `places`; nothing is ever substituted.
Densities are read in `derive.laws.densities`, expectations in `derive.exact.evaluate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from math import perm, prod
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

from derive.language.errors import NotEvaluable, UnknownNode
from derive.language.scope import moves
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Exp,
    Expect,
    Function,
    Grad,
    Latent,
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
)
from derive.laws.models import Model, SymbolicModel
from derive.laws.occurrences import polynomial_places, variables, variables_free
from derive.numbers.jets import Jet, add, constant, exponential, multiply, power, reciprocal
from derive.numbers.ring import Scalar, rational, total
from derive.numbers.unknowns import Argument, Generator, Noise, Outcome, Value

_ONE = Fraction(1)
_MEMORABLE = frozenset({Apply, Density, Score, Expect, Over, Grad, Log, Exp, Sigmoid, Sign})


class Decided(NamedTuple):
    """Noise u that has decided the outcome H(h(u, theta)) = k."""

    noise: str
    outcome: int


class Conditional(NamedTuple):
    """Noise v of a conditional latent variable h_tilde(v, b, theta)."""

    noise: str


class Real(NamedTuple):
    """A normal or uniform variable that is integrated as a polynomial."""

    noise: str


class Node(NamedTuple):
    """A normal variable at loc + scale x_k, where the base measure has the points x_k.

    `around` are the places of the variables on which its law depends.
    """

    number: int
    around: tuple[Place | None, ...] = ()


Place: TypeAlias = "int | Decided | Conditional | Real | Node"
Places: TypeAlias = dict[int, Place]
Readings: TypeAlias = dict[type[Term], Callable[[Any, Any, Places, int], Jet]]
Family: TypeAlias = Callable[[tuple[int, ...]], Generator]


class Reading(ABC):
    """What all readings share; `readings` names the method for each kind of term.

    Args
        model    gives the unknowns their generators or numbers
        terms    the terms that will be read: functions of a continuous variable in one of them are polynomials in all
        degree   the degree of these polynomials
        nodes    whether normal variables stand on the points of a base measure, so that functions of them are any functions

    Attributes
        turning  what signs were read of that move: where it is zero for every law, they have no derivative
    """

    turning: list[Scalar]
    model: Model
    terms: tuple[Term, ...]
    degree: int
    nodes: bool
    polynomial: set[tuple[str, int]]
    readings: ClassVar[Readings] = {}

    def __init__(self, model: Model, terms: tuple[Term, ...], degree: int = 3, *, nodes: bool = False) -> None:
        self.model, self.terms, self.degree, self.nodes = model, terms, degree, nodes
        expanded = (UniformLaw, NamedLaw) if nodes else (NormalLaw, UniformLaw, NamedLaw)
        self.polynomial = {place for term in terms for place in polynomial_places(term, expanded)}
        self._slots: dict[RandomVariable, int] = {}
        self._slot_of: dict[int, int] = {}
        self._names: set[str] = set()
        self._memo: dict[object, Jet] = {}
        self._numbers: dict[tuple[int, int], Jet] = {}
        self._products: dict[int, tuple[Scalar | None, list[Term]]] = {}
        self._occurring: dict[int, tuple[int, ...]] = {}
        self._kept: list[Term] = list(terms)
        self.turning: list[Scalar] = []

    def read(self, term: Term, places: Places, order: int) -> Jet:
        """Return the value and the first `order` derivatives of a term.

        Raises
            NotEvaluable, if the term has no finite, relaxed or Gaussian reading.
            TooLarge, if an enumeration is too large.
            UnknownNode, if the term is of no kind of the language.
        """
        reading = self.readings.get(type(term))
        if reading is None:
            message = f"the exact evaluator has no case for {type(term).__name__}."
            raise UnknownNode(message)
        if type(term) not in _MEMORABLE:
            return reading(self, term, places, order)
        slots = self._occurring.get(id(term)) or self.slots_in(term)
        key = (id(term), order, *[places.get(slot) for slot in slots])
        known = self._memo.get(key)
        if known is None:
            known = self._memo[key] = reading(self, term, places, order)
        return known

    def slot(self, variable: RandomVariable) -> int:
        """Return the number under which a variable is kept in `places`."""
        slot = self._slot_of.get(id(variable))
        if slot is None:
            slot = self._slot_of[id(variable)] = self._slots.setdefault(variable, len(self._slots))
            self._kept.append(variable)
        return slot

    def noise_name(self, variable: RandomVariable) -> str:
        """Return a name for a continuous variable that no other variable has."""
        others = sum(other.name == variable.name for other in list(self._slots)[: self.slot(variable)])
        return variable.name + "_" * others

    def slots_in(self, term: Term) -> tuple[int, ...]:
        known = self._occurring.get(id(term))
        if known is None:
            known = self._occurring[id(term)] = tuple(sorted({self.slot(v) for v in variables(term)}))
        return known

    @abstractmethod
    def stays_zero(self, term: Term, places: Places) -> bool:
        """Whether a term that is zero is so at every value of the parameter, wherever its stops hold it."""

    @abstractmethod
    def _log_density(self, term: Density, places: Places, order: int) -> Jet:
        """The logarithm of a density; `DensityReading` has it."""

    # Algebra

    def _number(self, term: Number, places: Places, order: int) -> Jet:
        known = self._numbers.get((id(term), order))
        if known is None:
            known = self._numbers[id(term), order] = constant(self.model.number(term.value), order, self.model.zero)
        return known

    def _symbol(self, term: Symbol, places: Places, order: int) -> Jet:
        jet = constant(self.model.symbol(term.name), order, self.model.zero)
        return (jet[0], self.model.one, *jet[2:]) if order and term.name == self.model.parameter else jet

    def _add(self, term: Add, places: Places, order: int) -> Jet:
        return add(*[self.read(arg, places, order) for arg in term.args])

    def _mul(self, term: Mul, places: Places, order: int) -> Jet:
        known = self._products.get(id(term))
        if known is None:
            known = self._products[id(term)] = _product_of(term)
        scale, factors = known
        result = None
        for arg in factors:
            jet = self.read(arg, places, order)
            result = jet if result is None else multiply(result, jet)
        if result is None:
            return constant(self.model.one * scale, order, self.model.zero)
        return result if scale is None else tuple(scalar * scale for scalar in result)

    def _power(self, term: Power, places: Places, order: int) -> Jet:
        base = self.read(term.base, places, order)
        one = constant(self.model.one, order, self.model.zero)
        if term.exponent < 0:
            base = reciprocal(self.model.inverse(base[0]), base)
        return power(base, abs(term.exponent), one)

    def _log(self, term: Log, places: Places, order: int) -> Jet:
        if isinstance(term.arg, Density):
            return self._log_density(term.arg, places, order)
        arg = self.read(term.arg, places, order)
        if not order:
            return (self.model.log(arg[0]),)
        inverse = reciprocal(self.model.inverse(arg[0]), arg)
        return (self.model.log(arg[0]), *multiply(arg[1:], inverse[:-1]))

    def _exp(self, term: Exp | Sigmoid, places: Places, order: int) -> Jet:
        arg = self.read(term.arg, places, order)
        return exponential(self.model.exp(arg[0]), arg[1:], order)

    def _sigmoid(self, term: Sigmoid, places: Places, order: int) -> Jet:
        grown = self._exp(term, places, order)
        below = (grown[0] + self.model.one, *grown[1:])
        return multiply(grown, reciprocal(self.model.inverse(below[0]), below))

    def _stop(self, term: Stop, places: Places, order: int) -> Jet:
        return constant(self.read(term.body, places, 0)[0], order, self.model.zero)

    def _grad(self, term: Grad, places: Places, order: int) -> Jet:
        if term.parameter.name == self.model.parameter:
            return self.read(term.body, places, order + 1)[1:]
        self.refuse_stopped((term.body,), term.parameter)
        return self.along(self.read(term.body, places, order), term.parameter)

    def along(self, jet: Jet, parameter: Symbol) -> Jet:
        """Return the derivative of a jet along a parameter that is not that of the jet: the two derivatives commute.

        Raises
            NotEvaluable, if it contains a moment of a relaxation, whose derivative is not known, or at a rational case.
        """
        if not isinstance(self.model, SymbolicModel):
            message = f"at a rational case only {self.model.parameter} moves, not {parameter.name}."
            raise NotEvaluable(message)
        return tuple(self.model.derivative(scalar, parameter.name) for scalar in jet)

    def refuse_stopped(self, terms: tuple[Term, ...], parameter: Symbol) -> None:
        """Refuse terms with a `Stop`, which a derivative of unknowns would pass."""
        if any(anywhere(term, lambda part: isinstance(part, Stop)) for term in terms):
            message = (
                f"a stopped gradient is read along {self.model.parameter} only, not under a derivative along {parameter.name}."
            )
            raise NotEvaluable(message)

    def _sign(self, term: Sign, places: Places, order: int) -> Jet:
        arg = self.read(term.arg, places, order)
        if any(not isinstance(places.get(self.slot(variable)), int) for variable in variables_free(term.arg)):
            message = "a sign is read of outcomes and numbers; of noise, on which it jumps, it is not."
            raise NotEvaluable(message)
        turns = bool(order) and moves(term.arg, Symbol(self.model.parameter))
        if arg[0] == 0 and turns and (_moves(arg) or not self.stays_zero(term.arg, places)):
            message = "a sign has no derivative where its argument is zero, as it is here."
            raise NotEvaluable(message)
        self.turning += [arg[0]] if turns and not arg[0] == 0 else []
        return constant(self.model.sign(arg[0]), order, self.model.zero)

    def _variable(self, term: RandomVariable, places: Places, order: int) -> Jet:
        place = places.get(self.slot(term))
        if isinstance(place, int):
            key = Generator("outcome", getattr(term.law, "name", ""), (), (Outcome(place),))
            return constant(self.model.generator(key, self._zero), order, self.model.zero)
        if isinstance(place, Real):
            return constant(self.model.generator(Generator("noise", place.noise), self._zero), order, self.model.zero)
        if isinstance(place, Node) and isinstance(term.law, NormalLaw):
            point = self.model.generator(Generator("node", "x", (), (Outcome(place.number),)), self._zero)
            loc, scale = self.read(term.law.loc, places, order), self.read(term.law.scale, places, order)
            return add(loc, tuple(scalar * point for scalar in scale))
        message = f"the variable {term.name} is not bound, or its value is used while it decides a discrete variable."
        raise NotEvaluable(message)

    def _zero(self, along: str) -> Scalar:
        return self.model.zero

    # Unknown functions

    def smooth(self, family: Family, args: tuple[Jet, ...], orders: tuple[int, ...], order: int) -> Jet:
        """Return the jet of an unknown function of moving arguments; its partial derivatives are unknowns too."""
        value = self.model.generator(family(orders), lambda along: self._chain(family, args, orders, along))
        return (value, *self.slope(family, args, orders, order - 1)) if order else (value,)

    def slope(self, family: Family, args: tuple[Jet, ...], orders: tuple[int, ...], order: int) -> Jet:
        """Return the jet of d/dtheta of an unknown function."""
        moving = [i for i, arg in enumerate(args) if not all(scalar == 0 for scalar in arg[1 : order + 2])]
        products = (multiply(self.smooth(family, args, _raise(orders, i), order), args[i][1 : order + 2]) for i in moving)
        return add(constant(self.model.zero, order, self.model.zero), *products)

    def _chain(self, family: Family, args: tuple[Jet, ...], orders: tuple[int, ...], along: str) -> Scalar:
        model = cast("SymbolicModel", self.model)
        rates = ((i, model.derivative(arg[0], along)) for i, arg in enumerate(args))
        moving = ((i, rate) for i, rate in rates if not rate == 0)
        return total((self.smooth(family, args, _raise(orders, i), 0)[0] * rate for i, rate in moving), model.zero)

    def argument(self, term: Term, places: Places, order: int) -> tuple[Argument, Jet | None]:
        """Return how a term identifies an unknown whose argument it is, and its jet if it is a scalar."""
        outcome = self.outcome(term, places)
        if outcome is not None:
            return Outcome(outcome), None
        if isinstance(term, RandomVariable):
            place = places.get(self.slot(term))
            if isinstance(place, (Decided, Conditional)):
                return Noise(place.noise), None
        if isinstance(term, Symbol):
            moves = order and term.name == self.model.parameter
            jet = constant(self.model.argument_symbol(term.name), order, self.model.zero)
            key = Value(((_ONE, ((Generator("symbol", term.name), 1),)),))
            return key, (jet[0], self.model.one, *jet[2:]) if moves else jet
        jet = self.read(term, places, order)
        return self.model.freeze(jet[0]), jet

    def outcome(self, term: Term, places: Places) -> int | None:
        """Return the outcome that a term stands for, None if it is a scalar: b, H(h(u, theta)), H(h_tilde(v, b, theta))."""
        if isinstance(term, RandomVariable):
            place = places.get(self.slot(term))
            return place if isinstance(place, int) else None
        if not (isinstance(term, Apply) and isinstance(term.function, Threshold)):
            return None
        inner = term.args[0]
        if isinstance(inner, Apply) and getattr(inner.function, "law", None) == term.function.law:
            if isinstance(inner.function, ConditionalLatent):
                return self.outcome(inner.args[1], places)
            place = places.get(self.slot(inner.args[0])) if isinstance(inner.args[0], RandomVariable) else None
            if isinstance(inner.function, Latent) and isinstance(place, Decided):
                return place.outcome
        message = f"a threshold can be read of h(u, theta) of its own law with uniform u only, not of a {type(inner).__name__}."
        raise NotEvaluable(message)

    def _apply(self, term: Apply, places: Places, order: int) -> Jet:
        function = term.function
        of, raised = function.orders if isinstance(function, Slope) else (function, 0)
        if isinstance(function, Threshold):
            message = "the number that a threshold stands for is not known: use it as an argument, as in f(H(z))."
            raise NotEvaluable(message)
        read = [self.argument(arg, places, order) for arg in term.args]
        if function.differentiable is False and any(_moves(jet) for _, jet in read if jet is not None):
            message = f"the function {function.name} is declared as not differentiable, and its argument moves here."
            raise NotEvaluable(message)
        expanded = [i for i in range(len(read)) if (of.name, i) in self.polynomial]
        if expanded:
            return self._expand(of, read, expanded, order, raised)
        args, jets = tuple(key for key, _ in read), tuple(jet for _, jet in read if jet is not None)
        kind = "latent" if isinstance(function, (Latent, ConditionalLatent)) else "function"
        name = of.name if jets else function.name  # of an outcome, at which no other value is near, it is a function of its own
        return self.smooth(lambda orders: Generator(kind, name, orders, args), jets, (raised,) * len(jets), order)

    def _expand(
        self, function: Function, read: list[tuple[Argument, Jet | None]], expanded: list[int], order: int, raised: int = 0
    ) -> Jet:
        """Read a function of continuous variables, or a derivative of it, as a polynomial with unknown coefficients."""
        args = tuple(key for i, (key, _) in enumerate(read) if i not in expanded)
        jets = tuple(jet for i, (_, jet) in enumerate(read) if i not in expanded and jet is not None)
        bases = [jet for i in expanded if (jet := read[i][1]) is not None]
        if len(bases) < len(expanded):
            message = f"the function {function.name} is applied to a continuous variable and to an outcome: write two."
            raise NotEvaluable(message)
        one = constant(self.model.one, order, self.model.zero)
        result = constant(self.model.zero, order, self.model.zero)
        for degrees in _degrees(len(bases), self.degree):
            name = f"{function.name}_{''.join(map(str, degrees))}"
            piece = self.smooth(partial(_coefficient, name, args), jets, (0,) * len(jets), order)
            for base, degree in zip(bases, degrees, strict=True):
                piece = multiply(piece, power(base, max(degree - raised, 0), one))
                piece = tuple(perm(degree, raised) * scalar for scalar in piece)
            result = add(result, piece)
        return result


def _moves(jet: Jet) -> bool:
    return not all(scalar == 0 for scalar in jet[1:])


def _product_of(term: Mul) -> tuple[Scalar | None, list[Term]]:
    """Return the product of the numbers among the factors, None for 1, and the other factors."""
    scale = prod((arg.value for arg in term.args if isinstance(arg, Number)), start=_ONE)
    others = [arg for arg in term.args if not isinstance(arg, Number)]
    return (None if scale == 1 and others else rational(scale)), others


def _coefficient(name: str, args: tuple[Argument, ...], orders: tuple[int, ...]) -> Generator:
    return Generator("function", name, orders, args)


def _raise(orders: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*orders[:i], orders[i] + 1, *orders[i + 1 :])


def _degrees(count: int, degree: int) -> Iterable[tuple[int, ...]]:
    if count == 0:
        return [()]
    return [(first, *rest) for first in range(degree + 1) for rest in _degrees(count - 1, degree - first)]
