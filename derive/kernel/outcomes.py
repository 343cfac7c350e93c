"""What is known of a term at each outcome of an explicit finite law that stands in it. TRUSTED."""

from __future__ import annotations

from derive.kernel.algebra import ONE, tidy
from derive.language.choice import ChoiceLaw
from derive.language.scope import free, substitute
from derive.language.term import Number, RandomVariable, Term


def cases(term: Term) -> list[Term]:
    """Return a term at each value of one of its free variables with an explicit finite law; none where there is none.

    >>> from derive.language.outcomes import rademacher
    >>> d = rademacher("d")
    >>> [case.value for case in cases(d * 2)]
    [Fraction(2, 1), Fraction(-2, 1)]
    """
    explicit = [leaf for leaf in free(term) if isinstance(leaf, RandomVariable) and isinstance(leaf.law, ChoiceLaw)]
    for leaf in sorted(explicit, key=repr)[:1]:
        return [tidy(substitute(term, {leaf: Number(value)})) for value in leaf.law.values]  # type: ignore[attr-defined]
    return []


def is_one(term: Term) -> bool:
    """Whether a term is 1 at every outcome that may stand in it.

    >>> from derive.language.outcomes import entry, rademacher
    >>> d = rademacher("d")
    >>> is_one(entry(d, (1, 0)) + entry(d, (0, 1))), is_one(entry(d, (1, 0)))
    (True, False)
    """
    if tidy(term) == ONE:
        return True
    every = cases(tidy(term))
    return bool(every) and all(map(is_one, every))
