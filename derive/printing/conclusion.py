"""What a document says of an estimator in the end: the verdict, what it needs, and what is known of the bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from derive.language.term import Term
from derive.printing.layout import Condition


@dataclass(frozen=True)
class Conclusion:
    """The verdict in a word, facts in plain words under a label each, and conditions.

    Args
        bias   E[g] - target, where it is a term
        other  the gradient that the mean is instead of the target
    """

    verdict: str
    facts: Sequence[tuple[str, str]] = ()
    conditions: Sequence[Condition] = ()
    bias: Term | None = None
    other: Term | None = None
