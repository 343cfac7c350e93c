"""How deep and how large a formula may be: readings recurse over it, and a process has one stack."""

from __future__ import annotations

from collections.abc import Callable

from derive.language.errors import TooLarge
from derive.language.term import RandomVariable, Term, parts
from derive.sharing import remembered

MOST_DEPTH, MOST_NODES = 80, 20_000


def below(term: Term) -> tuple[Term, ...]:
    """Return the direct subterms, those of the law of a random variable too."""
    return term.law.terms if isinstance(term, RandomVariable) else parts(term)


def refuse_deep(term: Term, what: str, below: Callable[[Term], tuple[Term, ...]] = below) -> None:
    """Refuse a term that is nested too deeply; it is walked level by level, so that this does not recurse either.

    Args
        term   any term
        what   what it is, for the message
        below  the direct subterms of a term
    Raises
        TooLarge, if it has more than `MOST_DEPTH` levels, or more than `MOST_NODES` nodes as it would be written.

    >>> from derive.notation import constant, exp
    >>> refuse_deep(exp(exp(constant("c"))), "formula")
    """
    level = [term]
    for _ in range(MOST_DEPTH):
        level = list({id(part): part for one in level for part in below(one)}.values())
        if not level:
            return _refuse_many(_nodes(term, {}, below), what)
    message = f"the {what} is nested more than {MOST_DEPTH} deep: name its parts as functions of their own."
    raise TooLarge(message)


def _refuse_many(found: int, what: str) -> None:
    if found > MOST_NODES:
        message = f"the {what} has {found} parts, more than the {MOST_NODES} that are feasible: name some as functions."
        raise TooLarge(message)


@remembered
def nodes(term: Term) -> int:
    """Return how many parts a term has as it would be written, though one that occurs often may be one object.

    >>> from derive.notation import constant, exp
    >>> part = exp(constant("c"))
    >>> nodes(part * part)
    5
    """
    return 1 + sum(map(nodes, below(term)))


def _nodes(term: Term, known: dict[int, int], below: Callable[[Term], tuple[Term, ...]]) -> int:
    if id(term) not in known:
        known[id(term)] = 1 + sum(_nodes(part, known, below) for part in below(term))
    return known[id(term)]
