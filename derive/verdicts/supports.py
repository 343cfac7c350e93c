"""Which laws must be positive where others are, so that an identity on common outcomes holds on the supports of all laws.

The exact evaluator gives all finite laws the same outcomes. Where one of them is zero, a sum over its support lacks a summand,
which makes no difference if that summand has a factor that is zero there too (docs/theorems.md, "Laws of smaller support").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import chain, islice, product
from typing import TypeAlias

from derive.kernel.algebra import tidy
from derive.kernel.premises import Covers, Positive, Premise
from derive.language.errors import RuleError
from derive.language.scope import depends
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Grad,
    Law,
    Log,
    Mul,
    Number,
    Over,
    Power,
    Score,
    Sigmoid,
    Stop,
    Term,
    Threshold,
    parts,
    rebuild,
)
from derive.sharing import remembered

Support: TypeAlias = "Law | tuple[str, int, int]"
Degrees: TypeAlias = "frozenset[tuple[object, int]]"

_OPAQUE = "a bounded factor that depends on densities"
_MOST_PRODUCTS = 64
_PLAIN: Degrees = frozenset()
_UNBOUNDED: Degrees = frozenset({(_OPAQUE, -1)})


@dataclass(frozen=True)
class Inverse:
    """One over a sum of what is not negative: it is not larger than one over any of its products."""

    products: frozenset[Degrees]


@dataclass(frozen=True)
class Sum:
    """A sum over the outcomes of a law.

    Args
        point   the outcome: a bound variable, or what a threshold decides
        law     its law
        weight  how often the density of the law is a factor of each summand by the sum itself
        body    the rest of the summand
    """

    point: Term
    law: Law
    weight: int
    body: Term


def supports_of(terms: Iterable[Term]) -> Iterator[Premise]:
    """Yield what terms need of the supports of their laws.

    >>> from derive.notation import E, finite, function, p, parameter
    >>> b, q, f = finite("b", parameter("theta")), finite("q", law="q"), function("f")
    >>> [premise.name for premise in supports_of([E(p(b, at=q) / p(q) * f(q), q)])]
    ['Covers']
    """
    sides = tuple(terms)
    laws = {support(law): law for side in sides for law in _laws(side)}
    for side in sides:
        for one in _sums(side):
            for degrees in _products(one.body, one.point):
                yield from _scored(one, dict(degrees), laws)
                yield from min((tuple(_covered(one, found, laws)) for found in _readings(degrees)), key=len)


def support(law: Law) -> Support:
    """Return what says where a law is positive: of a finite one its name, else the law, in which no stop changes a value."""
    if isinstance(law, FiniteLaw):
        return law.name, len(law.parameters), len(law.given)
    return law.with_terms(tuple(map(_running, law.terms)))


def _readings(degrees: Degrees) -> Iterator[dict[object, int]]:
    """Yield the degrees with each choice of a product for the sums that are divided by; any one is a bound."""
    inverses = [(law.products, degree) for law, degree in degrees if isinstance(law, Inverse)]
    plain: Degrees = frozenset(one for one in degrees if not isinstance(one[0], Inverse))
    for choice in islice(product(*(found if degree > 0 else (_bound(found),) for found, degree in inverses)), _MOST_PRODUCTS):
        chosen = (_scaled(one, -degree) for one, (_, degree) in zip(choice, inverses, strict=True))
        yield dict(_sum(plain, *chosen))


def _scored(one: Sum, degrees: dict[object, int], laws: Mapping[Support, Law]) -> Iterator[Premise]:
    """Yield that a law of which there is a score is positive, unless the density itself makes the product zero."""
    for law, found in laws.items():
        if ("score", law) in degrees and law != support(one.law) and degrees.get(law, 0) <= 0:
            yield Positive(Density(found, one.point))


def _covered(one: Sum, degrees: dict[object, int], laws: Mapping[Support, Law]) -> Iterator[Premise]:
    """Yield what makes a product zero outside the support of the law that is summed over, or leaves nothing outside."""
    own, finite = support(one.law), isinstance(one.law, FiniteLaw)
    here = degrees.get(own, 0) + one.weight
    divides = min((here, *degrees.values())) < 0
    others = {law: found for law, found in laws.items() if law != own and isinstance(found, FiniteLaw) == finite}
    factors = [law for law in laws if law != own and degrees.get(law, 0) > 0]
    if here <= 0 or divides:
        for law in factors if not finite or (factors and not divides) else others:
            yield Covers(Density(one.law, one.point), Density(laws[law], one.point))


def _sums(term: Term) -> Iterator[Sum]:
    match term:
        case Expect(body, variable) | Over(body, variable):
            yield Sum(variable, variable.law, int(isinstance(term, Expect)), body)
            for hard, law in _thresholds(body):
                if depends(hard, variable):
                    yield Sum(hard, law, 1, body)
    for part in parts(term):
        yield from _sums(part)


@remembered
def _thresholds(term: Term) -> tuple[tuple[Term, Law], ...]:
    """Return the outcomes that thresholds decide, each once with its law."""
    law = term.function.law if isinstance(term, Apply) and isinstance(term.function, Threshold) else None
    own = ((term, law),) if isinstance(law, FiniteLaw) else ()
    return tuple(dict.fromkeys((*own, *chain.from_iterable(map(_thresholds, parts(term))))))


def _laws(term: Term) -> Iterator[Law]:
    match term:
        case Density(law, _) | Score(law, _, _):
            yield law
        case Expect(_, variable) | Over(_, variable):
            yield variable.law
        case Apply(Threshold(law=FiniteLaw() as law), _):
            yield law
    for part in parts(term):
        yield from _laws(part)


def _products(term: Term, point: Term) -> frozenset[Degrees]:
    """Return of which degree the products of a term, if it is multiplied out, are in the densities at a point."""
    if point not in _points(term):
        return frozenset({_PLAIN})
    match term:
        case Density(law, at) if _running(at) == point:
            return frozenset({frozenset({(support(law), 1)})})
        case Score(law, at, _) if _running(at) == point:
            return frozenset({frozenset({(("score", support(law)), 1)})})
        case Add(args):
            return _few(frozenset[Degrees]().union(*(_products(arg, point) for arg in args)))
        case Mul(args):
            return reduce(_times, (_products(arg, point) for arg in args), frozenset({_PLAIN}))
        case Power(base, exponent):
            return _power(base, exponent, point)
        case Expect(_, variable) | Over(_, variable) if variable == point:
            return frozenset({_PLAIN})
        case Expect(body, _) | Over(body, _) | Grad(body, _) | Stop(body):
            return _products(body, point)
        case Exp():
            return _exponential(term, point)
    return frozenset({_atom(term, point)})


def _atom(term: Term, point: Term) -> Degrees:
    """Return the degrees of what is no product: bounded where its parts are, and a logarithm where they are known."""
    degrees = [dict(found) for part in parts(term) for found in _products(part, point)]
    unknown = isinstance(term, Log) and any(found.get(_OPAQUE, 0) < 0 for found in degrees)
    grows = not isinstance(term, (Log, Sigmoid)) and any(min(found.values(), default=0) < 0 for found in degrees)
    return _UNBOUNDED if unknown or grows else frozenset({(_OPAQUE, 1)})


def _exponential(term: Exp, point: Term) -> frozenset[Degrees]:
    """Return the degrees of an exponential: that of a logarithm is a power."""
    try:
        split = tidy(term)
    except RuleError:
        split = term
    if not isinstance(split, Exp):
        return _products(split, point)
    bounded = not _has_logarithm(split.arg, point) and _atom(split, point) != _UNBOUNDED
    return frozenset({frozenset({(_OPAQUE, 1)}) if bounded else _UNBOUNDED})


def _has_logarithm(term: Term, point: Term) -> bool:
    return (isinstance(term, Log) and point in _points(term)) or any(_has_logarithm(part, point) for part in parts(term))


@remembered
def _points(term: Term) -> frozenset[Term]:
    """Return the points, as they run, at which densities and scores of a term stand."""
    own = frozenset({_running(term.at)} if isinstance(term, (Density, Score)) else ())
    return own.union(*map(_points, parts(term)))


def _power(base: Term, exponent: int, point: Term) -> frozenset[Degrees]:
    found = _products(base, point)
    if len(found) == 1:
        return frozenset(_scaled(one, exponent) for one in found)
    if exponent < 0 and _nonnegative(base):
        return frozenset({frozenset({(Inverse(found), -exponent)})})
    return frozenset({_scaled(_bound(found, largest=exponent < 0), exponent)})


def _scaled(degrees: Degrees, factor: int) -> Degrees:
    return frozenset((law, factor * degree) for law, degree in degrees)


def _nonnegative(term: Term) -> bool:
    match term:
        case Number(value):
            return value >= 0
        case Density() | Exp() | Sigmoid():
            return True
        case Add(args) | Mul(args):
            return all(map(_nonnegative, args))
        case Power(base, _):
            return _nonnegative(base)
    return False


def _times(left: frozenset[Degrees], right: frozenset[Degrees]) -> frozenset[Degrees]:
    if len(left) * len(right) > _MOST_PRODUCTS**2:
        left, right = frozenset({_bound(left)}), frozenset({_bound(right)})
    return _few(frozenset(_sum(one, other) for one in left for other in right))


def _sum(one: Degrees, *others: Degrees) -> Degrees:
    degrees = dict(one)
    for law, degree in chain(*others):
        known = degrees.get(law, 0)
        degrees[law] = min(known or degree, degree) if law == _OPAQUE else known + degree
    return frozenset((law, degree) for law, degree in degrees.items() if degree)


def _few(products: frozenset[Degrees]) -> frozenset[Degrees]:
    return products if len(products) <= _MOST_PRODUCTS else frozenset({_bound(products)})


def _bound(products: frozenset[Degrees], *, largest: bool = False) -> Degrees:
    """Return the least degree in each law that a product of them has, or the largest."""
    degrees = [dict(one) for one in products]
    laws = {law for one in degrees for law in one}
    choose = max if largest else min
    return frozenset((law, choose(one.get(law, 0) for one in degrees)) for law in laws)


def _running(term: Term) -> Term:
    """Return a point as it runs: without stops, which change no value, and as its normal form."""
    bare = _without_stops(term)
    try:
        return tidy(bare) if isinstance(bare, (Add, Mul, Power)) else bare
    except RuleError:
        return bare


def _without_stops(term: Term) -> Term:
    return _without_stops(term.body) if isinstance(term, Stop) else rebuild(term, tuple(map(_without_stops, parts(term))))
