"""Noise of which only the outcome is seen that it decides: a mean over it is one over that outcome.

The reader takes h(u, ...) at the parameters of its own law only. Elsewhere, as in H(h(u, theta + t)), the outcome has the law
p(b; theta + t), whatever the relaxation is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from derive.language.scope import depends, free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Expect,
    FiniteLaw,
    Latent,
    Mul,
    Number,
    Over,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
    rebuild,
)
from derive.laws.occurrences import maps_of, stands_at_its_law
from derive.numbers.expansion import expand

_NOISE = UniformLaw(Number(Fraction(0)), Number(Fraction(1)))
MOST_SUMMANDS = 64


def decided(term: Term) -> Term:
    """Return a term in which an outcome that is decided at other parameters than its law's is drawn itself.

    >>> from derive.notation import E, finite, function, parameter, relaxation, uniform
    >>> b, u, f = finite("b", parameter("theta")), uniform("u"), function("f")
    >>> r = relaxation(b)
    >>> from derive.printing.text import render
    >>> render(decided(E(f(r.H(r.h(u, 0))), u)))
    '1 * E_outcome_1[f(outcome_1)]'
    """
    return by_summands(term, _is_elsewhere, _drawn)


def by_summands(
    term: Term, concerns: Callable[[Term, RandomVariable], bool], mean: Callable[[Term, RandomVariable], Term | None]
) -> Term:
    """Return a term in which the summands of means over uniform noise are replaced by their means.

    Args
        concerns  whether a mean, of its body and its noise, is one of these
        mean      the mean of a summand of which each factor sees the noise, None where it is left as it is
    """
    *law, inner = parts(term) or (term,)
    if isinstance(term, (Expect, Over, Density, Score)):
        new = rebuild(term, (*law, by_summands(inner, concerns, mean)))
    else:
        new = rebuild(term, tuple(by_summands(part, concerns, mean) for part in parts(term)))
    if not isinstance(new, Expect) or new.variable.law != _NOISE or not concerns(new.body, new.variable):
        return new
    summands = expand(new.body, MOST_SUMMANDS)
    return new if summands is None else Add(tuple(_summand(scale, factors, new.variable, mean) for scale, factors in summands))


def _is_elsewhere(body: Term, noise: RandomVariable) -> bool:
    found = (one for one in maps_of(body) if isinstance(one.function, Latent) and one.args[0] == noise)
    return any(isinstance(one.function.law, FiniteLaw) and not stands_at_its_law(one, one.function.law) for one in found)  # type: ignore[attr-defined]


def _summand(
    scale: Fraction, factors: tuple[Term, ...], noise: RandomVariable, mean: Callable[[Term, RandomVariable], Term | None]
) -> Term:
    outside = tuple(factor for factor in factors if not depends(factor, noise))
    inside: Term = Mul(tuple(factor for factor in factors if depends(factor, noise)) or (Number(Fraction(1)),))
    return Mul((Number(scale), *outside, mean(inside, noise) or Expect(inside, noise)))


def _drawn(body: Term, noise: RandomVariable) -> Term | None:
    """Return the mean over the outcome, None where more is seen of the noise, or a stop or a law would change its meaning."""
    found = set(_decisions(body, noise))
    if len(found) != 1 or anywhere(body, lambda part: isinstance(part, Stop) and depends(part, noise)):
        return None
    hard = found.pop()
    if any(not isinstance(leaf, Symbol) for leaf in free(hard) - {noise}):
        return None
    latent: Apply = hard.args[0]  # type: ignore[assignment]
    outcome = RandomVariable(_fresh(body), hard.function.law.with_terms(latent.args[1:]))  # type: ignore[attr-defined]
    replaced = _replaced(body, hard, outcome)
    return None if replaced is None or depends(replaced, noise) else Expect(replaced, outcome)


def _decisions(term: Term, noise: RandomVariable) -> Iterator[Apply]:
    match term:
        case Apply(Threshold(law=FiniteLaw() as law), (Apply(Latent(law=own), (first, *_)),)) if own == law and first == noise:
            yield term
            return
    for part in parts(term):
        yield from _decisions(part, noise)


def _replaced(term: Term, old: Term, new: RandomVariable) -> Term | None:
    if term == old:
        return new
    if isinstance(term, (Expect, Over)) and any(anywhere(part, lambda one: one == old) for part in term.variable.law.terms):
        return None
    children = [_replaced(part, old, new) for part in parts(term)]
    return None if None in children else rebuild(term, tuple(child for child in children if child is not None))


def _fresh(body: Term) -> str:
    names = set(_names(body))
    return next(name for n in range(1, len(names) + 2) if (name := f"outcome_{n}") not in names)


def _names(term: Term) -> Iterator[str]:
    if isinstance(term, RandomVariable):
        yield term.name
    if isinstance(term, (Expect, Over)):
        yield term.variable.name
    for part in parts(term):
        yield from _names(part)
