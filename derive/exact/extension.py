"""From finitely many outcomes to all: on how many an identity must hold so that it holds on any number.

The theorem, with its proof, is in docs/theorems.md. Read on K outcomes, the difference of two formulas is a sum over tuples of
outcomes. A `Shape` says of a kind of its monomials how many sums they stand under, and for each law their degree in the
probabilities and the order of their derivatives. With p = w / sum(w) the relations sum p = 1, sum dp = 0, ... hold by
themselves; clearing the powers of sum(w) adds outcomes. A sum each monomial of which then mentions at most m outcomes vanishes
for every K if it vanishes for K = m.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Grad,
    Latent,
    Log,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
)
from derive.laws.occurrences import unstopped, variables
from derive.sharing import remembered

_MOST_SHAPES = 4096
_BASE = "base measure"


class OutsideError(Exception):
    """A formula to which the theorem does not apply; the message says why."""


class Shape(NamedTuple):
    """What a kind of monomials mentions.

    Args
        sums      how many sums over outcomes
        degrees   for each law the degree in its probabilities, which a division makes negative
        rows      for each conditional law how often it occurs: so many conditions are mentioned
        orders    the order of the derivatives of probabilities, of all laws together
    """

    sums: int = 0
    degrees: tuple[tuple[Hashable, int], ...] = ()
    rows: tuple[tuple[Hashable, int], ...] = ()
    orders: int = 0


Shapes: TypeAlias = frozenset[Shape]
_PLAIN: Shapes = frozenset({Shape()})


@dataclass(frozen=True)
class Extension:
    """Whether an identity on finitely many outcomes extends to all.

    Args
        outcomes   on so many it must hold, 0 where no outcome occurs; None where the theorem does not apply
        reason     why it does not apply
        each       whether it must hold on every smaller number too, since that does not follow
    """

    outcomes: int | None
    reason: str = ""
    each: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of outcomes on which it must hold."""
        most = self.outcomes or 0
        return tuple(range(1, most + 1)) if self.each else (most,)

    def met(self, compared: Iterable[int]) -> bool:
        """Whether so many outcomes decide: those that are needed, or where that is enough any larger number.

        >>> Extension(3).met([2, 4]), Extension(3, each=True).met([2, 3, 4])
        (True, False)
        """
        found = set(compared)
        if self.outcomes is None or not found:
            return False
        return found.issuperset(self.numbers) if self.each else max(found) >= self.outcomes


def extension(terms: Iterable[Term], *, nodes: bool = False) -> Extension:
    """Return on how many outcomes two terms must be equal so that they are equal on any finite number.

    Args
        terms   the two sides
        nodes   whether normal variables stand on the points of a base measure, which then are outcomes like others

    >>> from derive.notation import E, finite, function, grad, log, parameter, score
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> extension([grad(E(f(b), b), theta), E(f(b) * score(b), b)]).outcomes
    2
    >>> extension([log(E(f(b), b))]).reason
    'a logarithm of a sum over outcomes mentions all of them'
    """
    counter = _Counter(nodes=nodes)
    try:
        shapes = frozenset[Shape]().union(*(counter.shapes(term) for term in terms))
        return Extension(_bound(shapes, weighted=counter.weighted), each=not counter.weighted)
    except OutsideError as error:
        return Extension(None, str(error))


def _bound(shapes: Shapes, *, weighted: bool) -> int:
    """Return the largest number of outcomes that a monomial mentions, once all powers of the sums of weights are cleared."""
    laws = {law for shape in shapes for law, _ in shape.degrees}
    largest = {law: max(dict(shape.degrees).get(law, 0) + shape.orders for shape in shapes) for law in laws}
    if not any(shape.rows for shape in shapes):
        return max(
            shape.sums + sum(most - dict(shape.degrees).get(law, 0) for law, most in largest.items()) for shape in shapes
        )
    if not weighted:
        message = "a conditional law stands beside a division by probabilities or a sum without them"
        raise OutsideError(message)
    conditions = {law: max(dict(shape.rows).get(law, 1) for shape in shapes) for law in laws}
    return sum(most * conditions[law] for law, most in largest.items())


class _Counter:
    """Counts shapes, and refuses what the theorem leaves out; `weighted`: whether every sum so far has probabilities in it."""

    nodes: bool
    weighted: bool

    def __init__(self, *, nodes: bool) -> None:
        self.nodes, self.weighted = nodes, True

    def shapes(self, term: Term) -> Shapes:
        match term:
            case Number() | Symbol() | RandomVariable():
                return _PLAIN
            case Add(args):
                return frozenset[Shape]().union(*(self.shapes(arg) for arg in args))
            case Mul(args):
                return _product([self.shapes(arg) for arg in args])
            case Power(base, exponent):
                return _raised(self.shapes(base), exponent) if exponent >= 0 else self._inverse(base, -exponent)
            case Exp(arg):
                return self._exponential(arg)
            case Stop(body):
                return self.shapes(body)
            case Grad(body, _):
                return frozenset(shape._replace(orders=shape.orders + 1) for shape in self.shapes(body))
            case Density(FiniteLaw() as law, RandomVariable()):
                return self._finite(law, 1, 0)
            case Score(FiniteLaw() as law, RandomVariable(), _):
                return self._finite(law, 0, 1)
            case Expect() | Over():
                return self._sum(term)
            case Log(arg) if _is_monomial(arg):
                self._refuse_sums(arg, "a logarithm")
                self.shapes(arg)
                return _PLAIN
        self._demand_plain(term)
        return _PLAIN

    def _sum(self, term: Expect | Over) -> Shapes:
        law, body = term.variable.law, self.shapes(term.body)
        if isinstance(law, FiniteLaw):
            self.weighted &= isinstance(term, Expect) or _is_weighted(term)
            weight = self._finite(law, 1, 0) if isinstance(term, Expect) else _PLAIN
            return _product([frozenset({Shape(1)}), weight, body])
        for part in law.terms:
            self._demand_plain(part)
        if self.nodes and isinstance(law, NormalLaw):
            return _product([frozenset({Shape(1, ((_BASE, 1),))}), body])
        return body

    def _finite(self, law: FiniteLaw, degree: int, order: int) -> Shapes:
        for part in law.terms:
            self._demand_plain(part)
        conditional = any(True for part in law.terms for _ in variables(part))
        key = (law.name, conditional, *(unstopped(part) for part in law.parameters if not any(True for _ in variables(part))))
        return frozenset({Shape(0, ((key, degree),), ((key, 1),) if conditional else (), order)})

    def _inverse(self, base: Term, exponent: int) -> Shapes:
        self._refuse_sums(base, "a division")
        if not _is_monomial(base):
            message = "a division by a sum of probabilities"
            raise OutsideError(message)
        self.weighted &= not _mentions_probabilities(base)
        shapes = _raised(self.shapes(base), exponent)
        return frozenset(
            shape._replace(degrees=tuple((law, -degree) for law, degree in shape.degrees)) for shape in shapes
        )

    def _exponential(self, arg: Term) -> Shapes:
        """Return the shapes of exp(log p - log q + ...), which is p / q * ...; other exponentials mention no probabilities."""
        self._refuse_sums(arg, "an exponential")
        if not _mentions_probabilities(arg):
            self._demand_plain(arg)
            return _PLAIN
        if isinstance(arg, Add):
            return _product([self._exponential(part) for part in arg.args])
        match arg:
            case Log(inner) if _is_monomial(inner):
                return self.shapes(inner)
            case Mul((Number(value), Log(inner))) if value.denominator == 1 and value != 0 and _is_monomial(inner):
                return self.shapes(Power(inner, int(value)))
        message = "an exponential of probabilities"
        raise OutsideError(message)

    def _refuse_sums(self, term: Term, what: str) -> None:
        if _has_sums(term):
            message = f"{what} of a sum over outcomes mentions all of them"
            raise OutsideError(message)

    def _demand_plain(self, term: Term) -> None:
        """Refuse what is not a function of the outcomes that it names."""
        self._refuse_sums(term, "a function")
        if _is_relaxed(term):
            message = "the moments of a relaxation are tied over all outcomes"
            raise OutsideError(message)
        if _mentions_probabilities(term):
            message = "a function of probabilities"
            raise OutsideError(message)


def _product(factors: list[Shapes]) -> Shapes:
    result = _PLAIN
    for factor in factors:
        result = frozenset(_joined(one, other) for one in result for other in factor)
        if len(result) > _MOST_SHAPES:
            message = "the products have too many kinds of monomials"
            raise OutsideError(message)
    return result


def _raised(shapes: Shapes, exponent: int) -> Shapes:
    """Return the shapes of a power, by squaring."""
    result = _PLAIN
    while exponent:
        result = _product([result, shapes]) if exponent % 2 else result
        exponent //= 2
        shapes = _product([shapes, shapes]) if exponent else shapes
    return result


def _joined(one: Shape, other: Shape) -> Shape:
    sums, orders = one.sums + other.sums, one.orders + other.orders
    return Shape(sums, _added(one.degrees, other.degrees), _added(one.rows, other.rows), orders)


def _added(one: tuple[tuple[Hashable, int], ...], other: tuple[tuple[Hashable, int], ...]) -> tuple[tuple[Hashable, int], ...]:
    result = dict(one)
    for law, count in other:
        result[law] = result.get(law, 0) + count
    return tuple(sorted(result.items(), key=repr))


def _is_monomial(term: Term) -> bool:
    """Whether probabilities occur in a term only as factors, or not at all."""
    match term:
        case Density(FiniteLaw(), RandomVariable()):
            return True
        case Mul(args):
            return all(_is_monomial(arg) for arg in args)
        case Power(base, _):
            return _is_monomial(base)
    return not _mentions_probabilities(term)


def _is_weighted(term: Over) -> bool:
    factors = term.body.args if isinstance(term.body, Mul) else (term.body,)
    own = Density(term.variable.law, term.variable)
    return any(factor == own or (isinstance(factor, Grad) and factor.body == own) for factor in factors)


@remembered
def _mentions_probabilities(term: Term) -> bool:
    own = isinstance(term, (Density, Score)) and isinstance(term.law, FiniteLaw)
    return own or any(map(_mentions_probabilities, parts(term)))


@remembered
def _has_sums(term: Term) -> bool:
    return isinstance(term, (Expect, Over)) or any(map(_has_sums, parts(term)))


@remembered
def _is_relaxed(term: Term) -> bool:
    own = isinstance(term, Apply) and isinstance(term.function, (Latent, Threshold, ConditionalLatent, SoftThreshold))
    return own or any(map(_is_relaxed, parts(term)))
