"""Conditions of integrals that others imply: an integral of a sum is finite where those of its summands are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from derive.kernel.algebra import ONE, Factors, monomials, product_of
from derive.kernel.premises import Dominated, Integrable, Premise, consult
from derive.kernel.theorem import Equation
from derive.language.errors import RuleError
from derive.language.scope import depends, moves
from derive.language.term import Expect, Term


def folded(needed: Iterable[Premise], assumed: frozenset[Premise | Equation]) -> tuple[Premise, ...]:
    """Return the conditions without those that are assumed, or implied by what is assumed and by the other conditions.

    >>> from derive.notation import constant, function, uniform
    >>> u, f, c = uniform("u"), function("f"), constant("c")
    >>> [len(folded([Integrable(u, c * f(u) + 2), *others], frozenset())) for others in ([], [Integrable(u, f(u))])]
    [1, 1]
    """
    left = tuple(need for need in dict.fromkeys(needed) if need not in assumed)
    known = assumed | frozenset(left)
    shown = (one for need in left for one in _shown(need, known - {need}))
    return tuple(sorted(dict.fromkeys(shown), key=repr))


def _shown(need: Premise, known: frozenset[Premise | Equation]) -> tuple[Premise, ...]:
    """Return what is to be shown of a condition: nothing where it is implied, its one open summand, or itself."""
    try:
        pieces = tuple(_pieces(need))
        decisions = [consult(piece) for piece in pieces]
    except RuleError:
        return (need,)
    if not pieces or any(decision.failure for decision in decisions):
        return (need,)
    missing = frozenset[Premise]().union(*(decision.needs for decision in decisions)) - known
    return tuple(missing) if len(missing) < 2 else (need,)


def _pieces(need: Premise) -> Iterator[Premise]:
    """Yield the conditions of the summands of an integrand, without the factors that the variable does not reach."""
    match need:
        case Integrable(variable, term):
            for inside, _ in _summands(term, need):
                yield Integrable(variable, inside)
        case Dominated(variable, term, parameter):
            for inside, outside in _summands(term, need):
                if moves(inside, parameter):
                    yield Dominated(variable, inside, parameter)
                if moves(outside, parameter):
                    yield Integrable(variable, inside)


def _summands(term: Term, need: Integrable | Dominated) -> Iterator[tuple[Term, Term]]:
    for _, factors in monomials(_spread(term)):
        yield _split(factors, need.variable)


def _split(factors: Factors, variable: Term) -> tuple[Term, Term]:
    inside = tuple(factor for factor in factors if depends(factor[0], variable))  # type: ignore[arg-type]
    outside = tuple(factor for factor in factors if factor not in inside)
    return product_of(Fraction(1), inside), product_of(Fraction(1), outside)


def _spread(term: Term) -> Term:
    """Return a term with the means in it taken summand by summand."""
    total: Term = 0 * ONE
    for coefficient, factors in monomials(term):
        product: Term = ONE * coefficient
        for atom, power in factors:
            product = product * (_mean(atom) if isinstance(atom, Expect) else atom) ** power
        total = total + product
    return total


def _mean(expectation: Expect) -> Term:
    total: Term = 0 * ONE
    for coefficient, factors in monomials(_spread(expectation.body)):
        inside, outside = _split(factors, expectation.variable)
        total = total + coefficient * outside * (inside if inside == ONE else Expect(inside, expectation.variable))
    return total
