"""Two terms as they were read, in a ring that is large enough: what the judge, `derive.exact.comparison`, works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import TypeVar

from derive.exact.evaluate import Reader
from derive.exact.relations import Relations
from derive.exact.witness import is_somewhere
from derive.language.depth import refuse_deep
from derive.language.errors import NotEvaluable, TooLarge, UsageError
from derive.language.term import FiniteLaw, Latent, NormalLaw, RandomVariable, Symbol, Term, UniformLaw
from derive.laws.models import SymbolicModel
from derive.laws.occurrences import holds_for, maps_of, variables, variables_free
from derive.laws.reading import Conditional, Decided, Place, Places, Real
from derive.numbers.formula import Factor, Formula
from derive.numbers.ring import PolynomialRing, RingFullError, Scalar

T = TypeVar("T")
_LARGEST_RING = 1024
_MOST_NEEDED = 64
_NEEDED: dict[tuple[tuple[Term, Term], Symbol, int, bool], tuple[int, int]] = {}  # on so many outcomes, so many unknowns


@dataclass
class View:
    """Two terms as they were read, one pair of values for each value of their free variables."""

    model: SymbolicModel
    reader: Reader
    values: list[tuple[Scalar, Scalar]]
    reading: str

    @cached_property
    def relations(self) -> Relations:
        return Relations(self.model, self.reader.latents.values())

    def demand_derivatives(self) -> None:
        """Refuse a sign of what moves and is zero for every law: there it has no derivative.

        Raises
            NotEvaluable, if there is one.
        """
        for scalar in self.reader.turning:
            if not is_somewhere(self.model, self.relations, scalar):
                message = f"a sign has no derivative where its argument is zero, as {self.model.text(scalar)} is in every case."
                raise NotEvaluable(message)

    def text(self, top: Scalar, bottom: Scalar) -> str:
        """Return a quotient, in lowest terms and in factors unless that would take long."""
        return self.formula(top, bottom).text()

    def formula(self, top: Scalar, bottom: Scalar) -> Formula:
        """Return a quotient as `text` shows it."""
        ring, freeze, along = self.model.ring, self.model.freeze, self.model.parameter
        if not ring.is_simple((top, bottom)):
            scale, below = self._divisors(bottom)
            return Formula(1 / scale, (), ((freeze(top), 1),), below, along, whole=True)
        top, bottom = ring.lowest(top, bottom)
        number, factors = ring.factors(top)
        single = self.model.one
        for factor, power in factors:
            single = single * factor**power if len(factor) == 1 else single
        ((lead, monomial),) = freeze(single).terms
        sums = tuple((freeze(factor), power) for factor, power in factors if len(factor) > 1)
        scale, below = self._divisors(bottom)
        return Formula(number * lead / scale, monomial, sums, below, along)

    def _divisors(self, bottom: Scalar) -> tuple[Fraction, tuple[Factor, ...]]:
        """Return a denominator as a number and factors, short ones first; one that would take long is a factor itself."""
        ring = self.model.ring
        if not ring.is_simple((bottom,)):
            return Fraction(1), ((self.model.freeze(bottom), 1),)
        number, factors = ring.factors(bottom)
        found = ((self.model.freeze(factor), power) for factor, power in reversed(factors))
        return number, tuple(sorted(found, key=lambda one: len(one[0].terms)))


def viewed(terms: tuple[Term, Term], parameter: Symbol, outcomes: int, degree: int, use: Callable[[View], T]) -> T:
    """Read both terms and use the result: normal variables as they are, else on the points of a base measure."""
    if outcomes < 1:
        message = f"the number of outcomes must be at least 1, got {outcomes}."
        raise UsageError(message)
    for term in terms:
        refuse_deep(term, "mean or target")
    try:
        return _read(terms, parameter, outcomes, degree, use, nodes=False)
    except NotEvaluable:
        if not any(isinstance(variable.law, NormalLaw) for term in terms for variable in variables(term)):
            raise
        return _read(terms, parameter, outcomes, degree, use, nodes=True)


def _read(
    terms: tuple[Term, Term], parameter: Symbol, outcomes: int, degree: int, use: Callable[[View], T], *, nodes: bool
) -> T:
    """Read both terms in a ring that is large enough: more outcomes need more unknowns than fewer do."""
    what, symmetric = (terms, parameter, degree, nodes), dict[tuple[Term, int], bool]()
    capacity, (fewer, least) = 8 + 3 * outcomes, _NEEDED.get(what, (0, 0))
    while fewer < outcomes and capacity < least and 2 * capacity <= _LARGEST_RING:
        capacity *= 2
    while capacity <= _LARGEST_RING:
        model = SymbolicModel(PolynomialRing(capacity), outcomes, parameter.name)
        reader = Reader(model, terms, degree, nodes=nodes, symmetric=symmetric)
        try:
            places = _free_places(reader, terms)
            values = [(reader.read(terms[0], some, 0)[0], reader.read(terms[1], some, 0)[0]) for some in places]
            view = View(model, reader, values, holds_for(terms, outcomes, degree, nodes=nodes))
            view.demand_derivatives()
            result = use(view)
        except RingFullError:
            capacity *= 2
            continue
        if len(_NEEDED) >= _MOST_NEEDED:
            _NEEDED.clear()
        _NEEDED[what] = outcomes, len(model.ring.keys)
        return result
    message = (
        f"{outcomes} outcomes need more than the {_LARGEST_RING} unknowns that are feasible; "
        f"take at most {(_LARGEST_RING - 8) // 3} outcomes, and fewer where functions have several arguments."
    )
    raise TooLarge(message)


def _free_places(reader: Reader, terms: tuple[Term, ...]) -> Iterator[Places]:
    """Yield the places of all values of the free variables: every outcome, and any one point of a continuous one."""
    free = list(dict.fromkeys(variable for term in terms for variable in variables_free(term)))
    choices = [_places_of(variable, reader, terms) for variable in free]
    for chosen in product(*choices):
        yield {reader.slot(variable): place for variable, place in zip(free, chosen, strict=True)}


def _places_of(variable: RandomVariable, reader: Reader, terms: tuple[Term, ...]) -> list[Place]:
    noise, outcomes = reader.noise_name(variable), range(1, reader.model.outcomes + 1)
    if isinstance(variable.law, FiniteLaw):
        return list(outcomes)
    if isinstance(variable.law, UniformLaw):
        maps = [found for term in terms for found in maps_of(term) if found.args[0] == variable]
        if any(isinstance(found.function, Latent) for found in maps):
            return [Decided(noise, k) for k in outcomes]
        if maps:
            return [Conditional(noise)]
    return [Real(noise)]
