"""One random instance: a concrete law, function and number for every name, chosen so that the assumptions can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from derive.instances.densities import FIXED, Family, Logistic, ShiftedExponential, random_family
from derive.instances.errors import UnreadableError
from derive.instances.functions import NONZERO, POSITIVE, SIGNED, Smooth, Table, generator, random_function, random_table
from derive.instances.jets import Array
from derive.instances.named import FAMILIES
from derive.language.choice import ChoiceLaw
from derive.language.term import (
    Add,
    Apply,
    Density,
    DensityLaw,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
)
from derive.sharing import remembered

_RANK = (SIGNED, NONZERO, POSITIVE)
MOST_OUTCOMES = 6

Named: TypeAlias = "tuple[str, int, int]"


def named(law: FiniteLaw) -> Named:
    """Return what tells finite laws apart: the name, and how many parameters and conditions there are."""
    return law.name, len(law.parameters), len(law.given)


@dataclass
class Needs:
    """What the statement asks of its unknowns.

    Args
        signs    the sign of functions and symbols, by name; what is not named may have any
        rough    the functions that are declared as not differentiable
        fixed    the names of the abstract densities whose support is assumed not to move
        relaxed  whether a relaxation occurs
        together of how many outcomes one product may speak
        laws     the finite laws, in the order in which they are met
        covers   pairs of finite laws, of which the first is positive wherever the second is
        wide     the names of the abstract densities that are positive wherever another law is
        small    the symbols that probabilities are made of, so that what they leave is not negative
    """

    signs: dict[tuple[type, str], str] = field(default_factory=dict)
    rough: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    relaxed: bool = False
    together: int = 0
    laws: dict[Named, None] = field(default_factory=dict)
    covers: set[tuple[Named, Named]] = field(default_factory=set)
    wide: set[str] = field(default_factory=set)
    small: set[str] = field(default_factory=set)

    def ask(self, term: Term, sign: str) -> None:
        """Ask that a term has a sign, as far as that can be asked of its parts."""
        match term:
            case Symbol(name):
                self._raise((Symbol, name), sign)
            case Apply(function, _):
                self._raise((Function, function.name), sign)
            case Power(base, exponent):
                self.ask(base, NONZERO if exponent % 2 == 0 else sign)
            case Mul(args):
                for arg in args:
                    self.ask(arg, sign)
            case Add(args) if sign == POSITIVE:
                for arg in args:
                    self.ask(arg, sign)
            case Stop(body) | Expect(body, _) | Over(body, _):
                self.ask(body, sign)
            case Density(law, RandomVariable(_, own) | Apply(Threshold(law=own))):
                self.cover(law, own)

    def cover(self, sampled: Law, other: Law | None) -> None:
        """Ask that one law is positive wherever another one is."""
        if isinstance(sampled, FiniteLaw) and isinstance(other, FiniteLaw):
            self.covers.add((named(sampled), named(other)))
        if type(sampled) is DensityLaw and sampled != other:
            self.wide.add(sampled.name)

    def _raise(self, key: tuple[type, str], sign: str) -> None:
        self.signs[key] = max(self.signs.get(key, SIGNED), sign, key=_RANK.index)


def needs_of(terms: Iterable[Term], assumptions: Iterable[object]) -> Needs:
    """Return what terms ask of their unknowns to be defined, and what assumptions ask besides."""
    needs, seen = Needs(), dict[int, Term]()
    for term in terms:
        _collect(term, needs, seen)
        needs.together = max(needs.together, _together(term))
    for premise in assumptions:
        for value in vars(premise).values():
            if isinstance(value, Term):
                _collect(value, needs, seen)
        _assumed(premise, needs)
    return needs


def _assumed(premise: Any, needs: Needs) -> None:
    match type(premise).__name__:
        case "Positive":
            needs.ask(premise.term, POSITIVE)
        case "NotNegative":
            needs.small |= _bare(premise.term)
        case "NonZero":
            needs.ask(premise.term, NONZERO)
        case "Covers":
            needs.cover(premise.sampled.law, premise.other.law)
        case "Differentiable":
            needs.rough -= _functions(premise.term)
        case "SupportFixed" if type(premise.variable.law) is DensityLaw:
            needs.fixed.add(premise.variable.law.name)


def _collect(term: Term, needs: Needs, seen: dict[int, Term]) -> None:
    """Add what a term asks for, once for each node: there are few nodes in long terms."""
    if id(term) in seen:
        return
    seen[id(term)] = term
    match term:
        case Log(arg):
            needs.ask(arg, POSITIVE)
        case Power(base, exponent) if exponent < 0:
            needs.ask(base, NONZERO)
        case Apply(function, args):
            if function.differentiable is False:
                needs.rough.add(function.name)
            if isinstance(function, SoftThreshold) and len(args) > 1:
                needs.ask(args[1], POSITIVE)
            needs.relaxed |= getattr(function, "law", None) is not None
    for law in _laws(term):
        if isinstance(law, NormalLaw):
            needs.ask(law.scale, POSITIVE)
        for term_ in law.positives if isinstance(law, NamedLaw) else ():
            needs.ask(term_, POSITIVE)
        if isinstance(law, ChoiceLaw):
            needs.small |= {name for chance in law.parameters for name in _bare(chance)}
        if isinstance(law, FiniteLaw):
            needs.laws[named(law)] = None
    for part in parts(term):
        _collect(part, needs, seen)


def _bare(term: Term) -> set[str]:
    """Return the symbols that a probability is made of, and not of a function of them that makes one of any number."""
    if isinstance(term, Symbol):
        return {term.name}
    return set() if isinstance(term, (Exp, Sigmoid, Apply)) else set().union(*map(_bare, parts(term)))


@remembered
def _together(term: Term) -> int:
    """Count the outcomes of finite laws that one product speaks of: what vanishes unless so many differ is seen on so many."""
    inside = [_together(part) for part in parts(term)]
    match term:
        case Mul():
            return sum(inside)
        case Expect(_, variable) | Over(_, variable) if isinstance(variable.law, FiniteLaw):
            return 1 + max(inside, default=0)
    return max(inside, default=0)


def _functions(term: Term) -> set[str]:
    own = {term.function.name} if isinstance(term, Apply) else set()
    return own.union(*(_functions(part) for part in parts(term)))


def _laws(term: Term) -> Iterator[Law]:
    match term:
        case Density(law, _) | Score(law, _, _) | Expect(_, RandomVariable(_, law)) | Over(_, RandomVariable(_, law)):
            yield law
        case RandomVariable(_, law):
            yield law
        case Apply(Threshold(law=FiniteLaw() as law), _):
            yield law


class Instance:
    """Concrete laws, functions and numbers, the same for the same seed and number.

    Args
        seed    the seed
        number  the number of the instance
        needs   what the statement asks

    >>> from derive.language.notation import parameter
    >>> one = Instance(0, 1, Needs())
    >>> one.symbol("theta") == Instance(0, 1, Needs()).symbol("theta")
    True
    """

    seed: int
    number: int
    needs: Needs
    outcomes: int
    values: Array
    cuts: Array
    slope: float

    def __init__(self, seed: int, number: int, needs: Needs) -> None:
        self.seed, self.number, self.needs = seed, number, needs
        self.used: dict[str, str] = {}
        self._symbols: dict[str, float] = {}
        self._functions: dict[tuple[str, int], Smooth] = {}
        self._tables: dict[tuple[str, int, int], Table] = {}
        self._families: dict[tuple[str, int, bool], Family] = {}
        rng = self.random("outcomes")
        most = 3 if needs.relaxed else 4
        self.outcomes = 2 if number % 2 == 0 else int(rng.integers(3, most + 1))
        if number % 4 == 1 and not needs.relaxed:
            self.outcomes = max(self.outcomes, min(needs.together, MOST_OUTCOMES))
        if self._differs:
            self.outcomes = 3 if needs.relaxed else self.outcomes + 1
        spread = np.arange(self.outcomes, dtype=float)
        self.values = spread if number % 4 < 2 else np.sort(spread + rng.uniform(-0.4, 0.4, self.outcomes))
        self.cuts = np.sort(rng.uniform(-0.7, 0.7) + 1.3 * np.arange(self.outcomes - 1))
        self.slope = float(rng.uniform(0.7, 1.4))
        self._supports = self._chosen_supports()

    @property
    def _differs(self) -> bool:
        """Whether the finite laws have different supports: on every second instance, if there are several laws."""
        return self.number % 2 == 1 and len(self.needs.laws) > 1

    def _chosen_supports(self) -> dict[Named, Array]:
        """Return where each finite law is positive: every second one misses an outcome, unless it must cover another law.

        A law with a relaxation misses the last one, so that its outcomes are the first intervals of the latent variable.
        """
        supports = {law: np.ones(self.outcomes, dtype=bool) for law in self.needs.laws}
        for index, mask in enumerate(supports.values()):
            if self._differs and index % 2 == self.number // 2 % 2:
                mask[-1 if self.needs.relaxed else (index + self.number // 2) % self.outcomes] = False
        for _ in self.needs.covers:
            for sampled, other in self.needs.covers & set(product(supports, repeat=2)):
                supports[sampled] = supports[sampled] | supports[other]
        return supports

    def support(self, law: FiniteLaw) -> Array:
        """Return at which outcomes a finite law is positive."""
        return self._supports.get(named(law), np.ones(self.outcomes, dtype=bool))

    def cuts_of(self, law: FiniteLaw) -> Array:
        """Return where the latent variable of a law passes from one of its outcomes to the next."""
        return self.cuts[: int(self.support(law).sum()) - 1]

    def random(self, *key: object) -> np.random.Generator:
        """Return the random numbers of this instance that belong to a key."""
        return generator(self.seed, self.number, *key)

    def symbol(self, name: str) -> float:
        """Return the value of a parameter or constant: neither small nor large."""
        if name in self._symbols:
            return self._symbols[name]
        low, width = (0.05, 0.25) if name in self.needs.small else (0.4, 1.2)
        value = low + width * self._share("size", name, 0.6180339887498949)
        turned = self.number % 4 == 3 if name in self.needs.small else self._share("sign", name, 0.7548776662466927) < 0.4
        if turned and self.needs.signs.get((Symbol, name)) != POSITIVE:
            value = -value
        self.used[name], self._symbols[name] = f"{value:.17g}", value
        return value

    def _share(self, what: str, name: str, step: float) -> float:
        """Return a number between 0 and 1; those of a few instances in a row lie far apart."""
        return float((generator(self.seed, what, name).random() + self.number * step) % 1)

    def function(self, name: str, arity: int) -> Smooth:
        """Return a function of so many arguments."""
        if (name, arity) not in self._functions:
            sign = self.needs.signs.get((Function, name), SIGNED)
            found = random_function((self.seed, self.number, "function", name), arity, sign, rough=name in self.needs.rough)
            self._functions[name, arity] = found
            self.used[f"{name}({', '.join(f'x{i + 1}' for i in range(arity))})"] = found.text()
        return self._functions[name, arity]

    def table(self, law: FiniteLaw, arguments: int) -> Table:
        """Return the probabilities of a finite law, as a function of so many parameters and conditions."""
        key = (law.name, len(law.given), arguments)
        if key not in self._tables:
            self._tables[key] = random_table((self.seed, self.number, "law", *key), arguments, self.support(law))
            self.used[f"the law {law.name}"] = self._tables[key].text()
        return self._tables[key]

    def family(self, law: DensityLaw) -> Family:
        """Return the density of an abstract law: a family with fixed support, or where that is not assumed one that moves."""
        if isinstance(law, ChoiceLaw):
            message = "an explicit finite law has no density."
            raise UnreadableError(message)
        if isinstance(law, NamedLaw):
            return FAMILIES[law.name]
        key = (law.name, len(law.parameters), law.normalised)
        if key not in self._families:
            kind = FIXED[(self.number + int(generator(self.seed, law.name).integers(len(FIXED)))) % len(FIXED)]
            if law.name in self.needs.wide:
                kind = Logistic
            elif law.name not in self.needs.fixed and law.parameters and self.number % 3 == 1:
                kind = ShiftedExponential
            name = (self.seed, self.number, "density", *key)
            self._families[key] = random_family(kind, name, len(law.parameters), normalised=law.normalised)
            found = self._families[key]
            self.used[f"the law {law.name}"] = f"{found.name}, loc = {found.loc.text()}; scale = {found.scale.text()}"
        return self._families[key]

    def text(self) -> dict[str, str]:
        """Return what every name that was looked up stands for."""
        here = {"seed": str(self.seed), "number": str(self.number), "outcomes": ", ".join(f"{v:.6g}" for v in self.values)}
        return here | dict(sorted(self.used.items()))
