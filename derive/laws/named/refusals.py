"""What has no rational form is refused by name."""

from __future__ import annotations

from typing import NoReturn

from derive.language.errors import NotEvaluable
from derive.language.term import Log, Term, lift

NONE: Term = Log(lift(0))
"""Stands where a derivative has no polynomial form: a term that nothing reads."""


def refuse(law: str, what: str) -> NoReturn:
    """Refuse.

    Raises
        NotEvaluable, always.
    """
    message = f"of a {law} law {what}, so it is not read exactly."
    raise NotEvaluable(message)
