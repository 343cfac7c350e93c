"""Free variables, capture-avoiding substitution and equality up to bound names: the only file that substitutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import count

from derive.language.errors import ScopeError
from derive.language.term import (
    Apply,
    BoundName,
    Entry,
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
from derive.sharing import remembered

Leaf = Symbol | RandomVariable


@remembered
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


@lru_cache(maxsize=4096)
def moves(term: Term, parameter: Symbol) -> bool:
    """Whether a term depends on a parameter anywhere outside `Stop`; where it does not, its derivative is zero.

    >>> from derive.notation import parameter, stop
    >>> theta = parameter("theta")
    >>> moves(stop(theta) + 1, theta), moves(stop(theta) * theta, theta)
    (False, True)
    """
    if isinstance(term, Stop) or not depends(term, parameter):
        return False
    named = isinstance(term, (Grad, Score)) and bool(term.parameter == parameter)
    return named or not parts(term) or any(moves(part, parameter) for part in parts(term))


def scoped(term: Term) -> Term:
    """Return the term, if no binder binds a variable that is in the law of another variable of its body.

    There the one word would stand for two values: in `E(E(f(a, b), b), a)` with a ~ q(a | b) the condition of a is not the b
    of the expectation over b.

    Raises
        ScopeError, naming both variables, if one does.

    >>> from derive.notation import E, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> a = finite("a", law="q", given=(b,))
    >>> scoped(E(f(a, b), b, a)) == E(f(a, b), b, a)
    True
    """
    clash = _clash(term)
    if clash:
        message = f"{clash[0].name} is bound inside the scope of {clash[1].name}, whose law depends on it: bind it outside."
        raise ScopeError(message)
    return term


@remembered
def _clash(term: Term) -> tuple[RandomVariable, RandomVariable] | None:
    if isinstance(term, (Expect, Over)):
        for other in free(term.body):
            conditions = other.law.terms if isinstance(other, RandomVariable) and other != term.variable else ()
            if any(depends(condition, term.variable) for condition in conditions):
                return term.variable, other  # type: ignore[return-value]
    return next((clash for part in parts(term) if (clash := _clash(part))), None)


def substitute(term: Term, values: Mapping[Leaf, Term]) -> Term:
    """Return the term with the free leaves replaced, bound variables renamed where a value would be captured.

    A leaf that is held fixed keeps a value that does not move: under `Grad(..., theta)`, and in the law of a score in theta, a
    value that depends on theta is refused, and so is one with any symbol for a random variable under `Stop`. A threshold is
    piecewise constant, so a gradient may hold it fixed. A table at a number is its entry.

    Raises
        ScopeError, if a value moves where its leaf was held fixed, or a parameter of differentiation would be replaced by
        something that is not a symbol, or by one that already stands there.

    >>> from derive.notation import E, finite, function, parameter
    >>> theta, x = parameter("theta"), parameter("x")
    >>> b, f = finite("b", theta), function("f")
    >>> substitute(E(f(b) * x, b), {x: b}).variable.name
    'b_1'
    """
    return _put(term, values, {})


def _put(term: Term, values: Mapping[Leaf, Term], known: dict[Term, Term]) -> Term:
    """Return what `substitute` does, given what the same values have made of other terms."""
    occurring = free(term)
    if occurring.isdisjoint(values):
        return term
    if term not in known:
        known[term] = _put_inside(term, {leaf: value for leaf, value in values.items() if leaf in occurring}, known)
    return known[term]


def _put_inside(term: Term, values: Mapping[Leaf, Term], known: dict[Term, Term]) -> Term:
    match term:
        case Symbol() | RandomVariable():
            return values[term]
        case Expect(body, variable) | Over(body, variable):
            law = variable.law.with_terms(tuple(_put(t, values, known) for t in variable.law.terms))
            inner = {leaf: value for leaf, value in values.items() if leaf != variable and leaf in free(body)}
            taken = frozenset[Leaf]().union(free(body) - {variable}, *(free(value) for value in inner.values()))
            bound = RandomVariable(_fresh(variable.name, taken), law)
            renaming: dict[Leaf, Term] = {} if bound is variable else {variable: bound}
            return type(term)(substitute(body, inner | renaming), bound)
        case Grad(body, parameter):
            renamed = _renamed((body,), parameter, values)
            return Grad(_put(body, values, known), renamed)
        case Score(law, _, parameter):
            renamed = _renamed(law.terms, parameter, values)
            replaced = rebuild(term, tuple(_put(part, values, known) for part in parts(term)))
            return replace(replaced, parameter=renamed)  # type: ignore[call-arg]
        case Stop():
            _demand_fixed(leaf for leaf, value in values.items() if isinstance(leaf, RandomVariable) and _moves(value))
        case Entry(numbers, entries, at):
            match _put(at, values, known):
                case Number(value) if value in numbers:
                    return _put(entries[numbers.index(value)], values, known)
    return rebuild(term, tuple(_put(part, values, known) for part in parts(term)))


def _renamed(moving: tuple[Term, ...], parameter: Symbol, values: Mapping[Leaf, Term]) -> Symbol:
    """Return what a parameter of differentiation is called afterwards, where nothing else that moves depends on that."""
    renamed = values.get(parameter, parameter)
    if not isinstance(renamed, Symbol):
        message = f"a parameter of differentiation can be renamed, not replaced by a {type(renamed).__name__}."
        raise ScopeError(message)
    leaves = frozenset[Leaf]().union(*(free(term) for term in moving)) - {parameter}
    _demand_fixed(leaf for leaf in leaves if depends(values.get(leaf, leaf), renamed) and not _is_threshold(values.get(leaf)))
    return renamed


def _demand_fixed(moving: Iterable[Leaf]) -> None:
    names = sorted(leaf.name for leaf in moving)
    if names:
        message = f"a derivative holds {', '.join(names)} fixed, so no value that moves can be put there."
        raise ScopeError(message)


def _moves(value: Term) -> bool:
    return any(isinstance(leaf, Symbol) for leaf in free(value))


def _is_threshold(value: Term | None) -> bool:
    return isinstance(value, Apply) and isinstance(value.function, Threshold)


def _fresh(name: str, taken: frozenset[Leaf]) -> str:
    names = {leaf.name for leaf in taken}
    if name not in names:
        return name
    return next(candidate for i in range(1, len(names) + 2) if (candidate := f"{name}_{i}") not in names)


@remembered
def canonical(term: Term) -> Term:
    """Return the term with bound variables numbered: two terms are equal up to bound names iff these are equal.

    A binder gets the first number above those inside it. So a part of a canonical term is canonical as it stands, and what an
    outer binder binds there is captured by none.

    >>> from derive.notation import E, copies, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> first, second = copies(b, 2)
    >>> canonical(E(f(first), first)) == canonical(E(f(second), second))
    True
    """
    if isinstance(term, (Expect, Over)):
        law = term.variable.law.with_terms(tuple(canonical(t) for t in term.variable.law.terms))
        body = canonical(term.body)
        bound = RandomVariable(_number(body, term.variable), law)
        return type(term)(substitute(body, {term.variable: bound}), bound)
    if isinstance(term, (Number, Symbol, RandomVariable)):
        return term
    return rebuild(term, tuple(canonical(part) for part in parts(term)))


def _number(body: Term, variable: RandomVariable) -> BoundName:
    taken = {leaf.name for leaf in free(body) - {variable}}
    return next(name for i in count(_height(body)) if (name := BoundName(f"#{i}")) not in taken)


@remembered
def _height(term: Term) -> int:
    """Return the first number above those of all binders in a canonical term."""
    own = int(term.variable.name[1:]) + 1 if isinstance(term, (Expect, Over)) else 0
    return max((own, *(_height(part) for part in parts(term))))


def alpha_equal(left: Term, right: Term) -> bool:
    """Whether two terms are the same up to the names of bound variables."""
    return left == right or canonical(left) == canonical(right)
