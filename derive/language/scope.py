"""Free variables, capture-avoiding substitution and equality up to bound names: the only file that substitutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from derive.language.errors import ScopeError
from derive.language.term import (
    Apply,
    Expect,
    Grad,
    Number,
    Over,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
    rebuild,
)

Leaf = Symbol | RandomVariable


@lru_cache(maxsize=65536)
def free(term: Term) -> frozenset[Leaf]:
    """Return the symbols and random variables that occur free.

    A free random variable stands for a value, so its law does not count; the law of a bound one does.

    >>> from derive.notation import E, finite, function, parameter
    >>> theta = parameter("theta")
    >>> b, f = finite("b", theta), function("f")
    >>> sorted(leaf.name for leaf in free(E(f(b), b)))
    ['theta']
    """
    match term:
        case Symbol() | RandomVariable():
            return frozenset({term})
        case Expect(body, variable) | Over(body, variable):
            outside = frozenset[Leaf]().union(*(free(t) for t in variable.law.terms))
            return outside | (free(body) - {variable})
        case Score(_, _, parameter) | Grad(_, parameter):
            return frozenset[Leaf]({parameter}).union(*(free(part) for part in parts(term)))
    return frozenset[Leaf]().union(*(free(part) for part in parts(term)))


def depends(term: Term, leaf: Leaf) -> bool:
    """Whether the leaf occurs free in the term."""
    return leaf in free(term)


def substitute(term: Term, values: Mapping[Leaf, Term]) -> Term:
    """Return the term with the free leaves replaced, bound variables renamed where a value would be captured.

    Under `Grad(..., theta)` a value that depends on theta is wrapped in `Stop`: the leaf was held fixed there, so its value is.

    Raises
        ScopeError, if a parameter of differentiation would be replaced by something that is not a symbol.

    >>> from derive.notation import E, finite, function, parameter
    >>> theta, x = parameter("theta"), parameter("x")
    >>> b, f = finite("b", theta), function("f")
    >>> substitute(E(f(b) * x, b), {x: b}).variable.name
    'b_1'
    """
    values = {leaf: value for leaf, value in values.items() if leaf in free(term)}
    if not values:
        return term
    match term:
        case Symbol() | RandomVariable():
            return values[term]
        case Expect(body, variable) | Over(body, variable):
            law = variable.law.with_terms(tuple(substitute(t, values) for t in variable.law.terms))
            inner = {leaf: value for leaf, value in values.items() if leaf != variable and leaf in free(body)}
            taken = frozenset[Leaf]().union(free(body) - {variable}, *(free(value) for value in inner.values()))
            bound = RandomVariable(_fresh(variable.name, taken), law)
            return type(term)(substitute(body, inner | {variable: bound}), bound)
        case Grad(body, parameter):
            renamed = _parameter(values.get(parameter, parameter))
            held = {leaf: _held(leaf, value, parameter, renamed) for leaf, value in values.items()}
            return Grad(substitute(body, held), renamed)
        case Score(_, _, parameter):
            replaced = rebuild(term, tuple(substitute(part, values) for part in parts(term)))
            return replace(replaced, parameter=_parameter(values.get(parameter, parameter)))  # type: ignore[call-arg]
    return rebuild(term, tuple(substitute(part, values) for part in parts(term)))


def _held(leaf: Leaf, value: Term, parameter: Symbol, renamed: Symbol) -> Term:
    """Freeze a value that moves with the parameter; a threshold is piecewise constant, so it needs no freezing."""
    if leaf == parameter or not depends(value, renamed):
        return value
    return value if isinstance(value, Apply) and isinstance(value.function, Threshold) else Stop(value)


def _parameter(value: Term) -> Symbol:
    if not isinstance(value, Symbol):
        message = f"a parameter of differentiation can be renamed, not replaced by a {type(value).__name__}."
        raise ScopeError(message)
    return value


def _fresh(name: str, taken: frozenset[Leaf]) -> str:
    names = {leaf.name for leaf in taken}
    if name not in names:
        return name
    return next(candidate for i in range(1, len(names) + 2) if (candidate := f"{name}_{i}") not in names)


@lru_cache(maxsize=65536)
def canonical(term: Term, depth: int = 0) -> Term:
    """Return the term with bound variables numbered by depth: two terms are equal up to bound names iff these are equal.

    >>> from derive.notation import E, copies, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> first, second = copies(b, 2)
    >>> canonical(E(f(first), first)) == canonical(E(f(second), second))
    True
    """
    if isinstance(term, (Expect, Over)):
        law = term.variable.law.with_terms(tuple(canonical(t, depth) for t in term.variable.law.terms))
        bound = RandomVariable(f"#{depth}", law)
        return type(term)(canonical(substitute(term.body, {term.variable: bound}), depth + 1), bound)
    if isinstance(term, (Number, Symbol, RandomVariable)):
        return term
    return rebuild(term, tuple(canonical(part, depth) for part in parts(term)))


def alpha_equal(left: Term, right: Term) -> bool:
    """Whether two terms are the same up to the names of bound variables."""
    return left == right or canonical(left) == canonical(right)
