"""Chains of rewrites: a term brought as far as they lead, and two of them joined where they meet. Not trusted."""

from __future__ import annotations

from typing import TypeAlias

from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING
from derive.kernel.theorem import Theorem
from derive.language.depth import nodes
from derive.language.errors import RuleError
from derive.language.estimator import Estimator
from derive.language.scope import alpha_equal
from derive.language.term import Term
from derive.proofs.calc import Derivation, Line
from derive.proofs.conversions import Rewrite, normalise, rewrite_everywhere, written_out
from derive.proofs.size import refuse_long

Chain: TypeAlias = list[tuple[str, Theorem]]


def moments(term: Term, rewrites: list[Rewrite], steps: int = 12, *, bounded: bool = False) -> Chain:
    """Rewrite until nothing changes, in so many steps at most; each theorem starts where the one before it ends.

    Explicit finite laws are written out first.

    Raises
        TooLong, if bounded, where a term becomes too long for a search.
    """
    opened = written_out(term, EVERYTHING)
    chain: Chain = [] if opened is None else [("outcomes", opened)]
    chain.append(("linearity", normalise(term if opened is None else opened.rhs, EVERYTHING)))
    for _ in range(steps):
        step = _first_change(chain[-1][1].rhs, rewrites)
        if step is None:
            break
        chain.append(step)
        if bounded:
            refuse_long(step[1].rhs, "a term on the way")
    return chain


def _first_change(term: Term, rewrites: list[Rewrite]) -> tuple[str, Theorem] | None:
    for rewrite in rewrites:
        try:
            theorem = rewrite_everywhere(term, rewrite, EVERYTHING)
        except RuleError:
            continue
        theorem = kernel.transitivity(theorem, normalise(theorem.rhs, EVERYTHING))
        if not _is_same(theorem.rhs, term):
            return rewrite.name, theorem
    return None


def joined(estimator: Estimator, target: Chain, meeting: Theorem, mean: Chain) -> Derivation:
    """Chain the target forwards to the moments and the mean backwards from them."""
    back = [(name, kernel.symmetry(theorem)) for name, theorem in reversed(mean)]
    return chained(estimator.target, [*target, ("algebra", meeting), *back])


def chained(start: Term, steps: Chain) -> Derivation:
    """Return the steps as a derivation, without those that change nothing."""
    theorem, lines = kernel.reflexivity(start), [Line("", start)]
    for name, step in steps:
        if _is_same(step.lhs, step.rhs):
            continue
        new = step.assumptions - theorem.assumptions
        theorem = kernel.transitivity(theorem, step)
        lines.append(Line(name, step.rhs, tuple(sorted(new, key=repr)), step.values_only))
    return Derivation(tuple(lines), theorem)


def _is_same(left: Term, right: Term) -> bool:
    """Whether two terms differ at most in bound names, which leave the number of parts as it is."""
    return nodes(left) == nodes(right) and alpha_equal(left, right)
