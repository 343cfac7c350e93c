"""How deeply a formula may be nested: readings recurse over it, and a process has one stack."""

from __future__ import annotations

from derive.language.errors import TooLarge
from derive.language.term import RandomVariable, Term, parts

MOST_DEPTH = 80


def refuse_deep(term: Term, what: str) -> None:
    """Refuse a term that is nested too deeply; it is walked level by level, so that this does not recurse either.

    Args
        term   any term
        what   what it is, for the message
    Raises
        TooLarge, if it has more than `MOST_DEPTH` levels.

    >>> from derive.notation import constant, exp
    >>> refuse_deep(exp(exp(constant("c"))), "formula")
    """
    level = [term]
    for _ in range(MOST_DEPTH):
        level = list({id(part): part for one in level for part in _below(one)}.values())
        if not level:
            return
    message = f"the {what} is nested more than {MOST_DEPTH} deep: name its parts as functions of their own."
    raise TooLarge(message)


def _below(term: Term) -> tuple[Term, ...]:
    return term.law.terms if isinstance(term, RandomVariable) else parts(term)
