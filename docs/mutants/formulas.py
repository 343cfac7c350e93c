"""Single mistakes in the formula of an estimator, at every position of its tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from derive.estimator import Estimator
from derive.language.errors import GradproofError
from derive.language.scope import canonical, depends, free
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Exp,
    Grad,
    Latent,
    Mul,
    Number,
    Power,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    parts,
    rebuild,
    subterms,
)
from derive.printing import text

Put: TypeAlias = Callable[[Term], Term]
Edit: TypeAlias = tuple[str, Term]

UPDATE = Fraction(1, 20)


@dataclass(frozen=True)
class Position:
    """A subterm, how another is put in its place, and the parameter by which it is differentiated there.

    Args
        is_differentiated   whether it is all that a gradient is taken of: to detach that is to drop the gradient
    """

    term: Term
    put: Put
    differentiated: Symbol | None
    is_differentiated: bool = False


@dataclass(frozen=True)
class FormulaMutant:
    """An estimator with one mistake: `kind` is the mistake's, `change` says what became what."""

    kind: str
    change: str
    estimator: Estimator


def mutants(estimator: Estimator) -> Iterator[FormulaMutant]:
    """Yield every single mistake of the list once; two edits that give the same formula are one mutant.

    >>> from derive.catalogue import catalogue
    >>> [one.change for one in mutants(catalogue["constant-baseline"]) if one.kind == "drop a term"]
    ['f(b) - c -> -c', 'f(b) - c -> f(b)']
    """
    seen = {canonical(estimator.formula)}
    for position in _positions(estimator.formula):
        for kind, new in _edits(position, estimator):
            formula = position.put(new)
            if canonical(formula) in seen:
                continue
            seen.add(canonical(formula))
            yield FormulaMutant(kind, _said(position.term, new, estimator), _replaced(estimator, formula))


def _replaced(estimator: Estimator, formula: Term) -> Estimator:
    plain = replace(estimator, derivation=None, family=None, integrated=None, where=())
    return replace(plain, formula=formula)


def _said(old: Term, new: Term, estimator: Estimator) -> str:
    try:
        return f"{text.render(old, estimator.where)} -> {text.render(new, estimator.where)}"
    except GradproofError:
        return f"{type(old).__name__} -> {type(new).__name__}"


def _positions(term: Term) -> Iterator[Position]:
    """Every subterm, the whole first."""
    stack = [Position(term, lambda new: new, None)]
    while stack:
        position = stack.pop()
        yield position
        whole = position.term
        inside = whole.parameter if isinstance(whole, Grad) else None if isinstance(whole, Stop) else position.differentiated
        for i, part in reversed(list(enumerate(parts(whole)))):
            stack.append(Position(part, _putter(position, i), inside, isinstance(whole, Grad)))


def _putter(position: Position, i: int) -> Put:
    children = parts(position.term)
    return lambda new: position.put(rebuild(position.term, (*children[:i], new, *children[i + 1 :])))


def _edits(position: Position, estimator: Estimator) -> Iterator[Edit]:
    term, by = position.term, position.differentiated
    match term:
        case Add(args):
            yield from _in_sum(args)
        case Mul(args):
            yield from _in_product(args)
        case Exp(arg):
            yield "flip a sign", Exp(-arg)
        case Stop(body):
            yield "un-detach", body
        case Number() | Power():
            yield from _count(term)
        case RandomVariable():
            yield from (("swap the sample", other) for other in _alike(term, estimator))
        case Apply(ConditionalLatent(), _):
            yield from _unconditional(term, estimator)
    if position.term is estimator.formula:
        yield "flip a sign", -term
    if by is not None and depends(term, by) and not isinstance(term, (Symbol, Stop)) and not position.is_differentiated:
        yield "detach", Stop(term)


def _in_sum(args: tuple[Term, ...]) -> Iterator[Edit]:
    for i, arg in enumerate(args):
        rest = (*args[:i], *args[i + 1 :])
        yield "drop a term", rest[0] if len(rest) == 1 else Add(rest)
        yield "flip a sign", Add((*args[:i], -arg, *args[i + 1 :]))


def _in_product(args: tuple[Term, ...]) -> Iterator[Edit]:
    for i, arg in enumerate(args):
        rest = (*args[:i], *args[i + 1 :])
        kind = "flip a sign" if arg == Number(Fraction(-1)) else "drop a factor"
        yield kind, rest[0] if len(rest) == 1 else Mul(rest)
        if isinstance(arg, Add) and len(arg.args) > 1 and any(isinstance(other, (Score, Grad)) for other in rest):
            yield "updated baseline", Mul((*args[:i], _updated(arg), *args[i + 1 :]))


def _updated(advantage: Add) -> Term:
    """The value less a baseline that was moved towards this very value before it is used, by a twentieth of the way."""
    value, *baseline = advantage.args
    return Add((value, *(Number(1 - UPDATE) * part for part in baseline), Number(-UPDATE) * value))


def _count(term: Number | Power) -> Iterator[Edit]:
    """n + 1 and n - 1 for a count n, in a numerator, in a denominator and as a power; -1 is a sign."""
    if isinstance(term, Power):
        near = [term.exponent + step for step in (1, -1)] if abs(term.exponent) > 1 else []
        yield from (("K for K-1", Power(term.base, exponent)) for exponent in near)
        return
    value = term.value
    if abs(value) == 1:
        return
    top, bottom = value.numerator, value.denominator
    pairs = [(top, bottom + step) for step in (1, -1)] if bottom > 1 else [(top + step, 1) for step in (1, -1)]
    yield from (("K for K-1", Number(Fraction(*pair))) for pair in pairs if pair[1])


def _alike(variable: RandomVariable, estimator: Estimator) -> list[RandomVariable]:
    """The other draws that have the same law."""
    drawn = variable in estimator.draws
    return [other for other in estimator.draws if drawn and other != variable and other.law == variable.law]


def _unconditional(term: Apply, estimator: Estimator) -> Iterator[Edit]:
    """The latent variable of fresh noise, or of the noise that decided the outcome, in place of the conditional one."""
    function, (_, _, *rest) = term.function, term.args
    latent = next(part for part in subterms(estimator.formula) if _is_latent_of(part, function))
    for noise in sorted(free(term) & set(estimator.draws), key=repr):
        yield "wrong conditional noise", Apply(latent.function, (noise, *rest))


def _is_latent_of(term: Term, function: ConditionalLatent) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Latent) and term.function.law == function.law
