"""Every error of gradproof, and what to do about each.

The command prints the message of a `GradproofError` on one line and exits with status 2; any other exception is a bug.
"""

from __future__ import annotations

from typing import Any


class GradproofError(Exception):
    """Base of all errors that a user can cause; the message says what was wrong, what was expected and what to do."""


class NotExact(GradproofError):
    """A float (or something else inexact) was put into a formula: write `Fraction(1, 2)`, not `0.5`."""


class NotATerm(NotExact, TypeError):
    """Something that is no term stands where a formula is expected: a comparison, a name, a function without arguments."""


class ScopeError(GradproofError):
    """A variable is used where it is not bound, or bound where it cannot be: check the draws of the estimator."""


class RuleError(GradproofError):
    """A rule of the kernel does not apply to the terms that it was given: compare them with the rule's docstring.

    Where a step of a derivation is refused, `stood` is the part of it that stands, and `wanted` the line that does not follow.
    """

    stood: Any = None
    wanted: Any = None


class PremiseError(RuleError):
    """A named side condition fails, or was not supplied: the message names it."""


class UnknownNode(GradproofError):
    """A reading met a kind of term that it has no case for: the message names both."""


class NotEvaluable(GradproofError):
    """The exact evaluator has no finite or Gaussian reading of a term: the message says which part and why."""


class TooLarge(GradproofError):
    """An enumeration would exceed what is feasible: the message says how large it is and what fits."""


class TooLong(RuleError, TooLarge):
    """A normal form, or a search, would go through more terms than is feasible: nothing is decided by that."""


class Disagreement(GradproofError):
    """Two readings of one formula contradict each other: a bug of gradproof, to be reported with the estimator."""


class UsageError(GradproofError):
    """Bad input from the command line or a bad argument of a public function."""
