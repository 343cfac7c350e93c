"""Derivations as chains of named steps, as a paper writes them. Not trusted: each step ends in a theorem of the kernel.

    calc(start, (rule, term), (rule, term), ...)

A step holds if the rule, applied at one or at all places of the line before it (or backwards, of the line after it), gives the
next line up to normal form: sums split, constants moved out, products differentiated, algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature

from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING, Assuming, Premise
from derive.kernel.theorem import Equation, Theorem
from derive.language.errors import GradproofError, PremiseError, RuleError, UsageError
from derive.language.estimator import Estimator
from derive.language.shown import Shown, Symbolic
from derive.language.term import Term
from derive.proofs.conversions import Rewrite, equal_by_normal_form, normalise, places, rewrite_at, rewrite_everywhere, worse


@dataclass(frozen=True, repr=False)
class Line(Shown):
    """One line of a derivation: the term, the rule that leads to it ("" for the first) and the premises first used there.

    `values_only` says that the line has the value of the line before it, and perhaps another derivative.
    """

    rule: str
    term: Term
    premises: tuple[Premise | Equation, ...] = ()
    values_only: bool = False

    @property
    def reason(self) -> str:
        """The rule in words, as it is printed beside the line."""
        return self.rule.replace("_", " ") + (", in value only" if self.values_only else "")

    def __repr__(self) -> str:
        return f"<Line by {self.rule}>" if self.rule else "<Line: the start>"


@dataclass(frozen=True, repr=False)
class Derivation(Symbolic):
    """A checked chain: its lines, and the theorem that the first equals the last."""

    lines: tuple[Line, ...]
    theorem: Theorem

    def __repr__(self) -> str:
        return f"<Derivation of {len(self.lines)} lines>"


def chain_of(estimator: Estimator) -> Derivation:
    """Return the hand-written derivation of an estimator.

    Raises
        UsageError, if there is none, or its function fails or returns anything but a `Derivation`, such as a theorem alone.
        PremiseError, RuleError, as `calc`.

    >>> from derive.catalogue import catalogue
    >>> [line.rule for line in chain_of(catalogue["score-function"]).lines[1:]]
    ['expectation', 'leibniz', 'log_derivative', 'expectation']
    """
    found: object = estimator.derivation
    if callable(found) and not isinstance(found, Derivation) and not signature(found).parameters:
        found = _made(found, estimator.name)
    if not isinstance(found, Derivation):
        message = (
            f"the derivation of {estimator.name!r} is a {type(found).__name__}; "
            "expected what `derive.proofs.calc.calc` returns, or a function without arguments that returns it."
        )
        raise UsageError(message)
    return found


def _made(make: Callable[[], object], name: str) -> object:
    try:
        return make()
    except GradproofError:
        raise
    except Exception as error:
        message = f"the derivation of {name!r} cannot be made: {type(error).__name__}: {error}"
        raise UsageError(message) from error


def calc(start: Term, *steps: tuple[Rewrite, Term], assuming: Assuming = EVERYTHING) -> Derivation:
    """Check a chain of equalities.

    Args
        start     the first line
        steps     pairs of the rule and the line that it leads to
        assuming  the premises that may be assumed where they cannot be decided; all of them by default, and printed

    Raises
        PremiseError, naming the premise, if a step needs one that fails.
        RuleError, naming the step, if its rule does not lead from the line before it to its line.

    >>> from derive.notation import E, finite, function, parameter
    >>> from derive.proofs.rules import linearity
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> len(calc(E(2 * f(b), b), (linearity, 2 * E(f(b), b))).lines)
    2
    """
    theorem, lines = kernel.reflexivity(start), [Line("", start)]
    for number, (rewrite, term) in enumerate(steps, start=1):
        try:
            step = _step(number, theorem.rhs, rewrite, term, assuming)
        except RuleError as error:
            error.stood, error.wanted = Derivation(tuple(lines), theorem), term
            raise
        new = step.assumptions - theorem.assumptions
        theorem = kernel.transitivity(theorem, step)
        lines.append(Line(rewrite.name, term, tuple(sorted(new, key=repr)), step.values_only))
    return Derivation(tuple(lines), theorem)


def _step(number: int, before: Term, rewrite: Rewrite, after: Term, assuming: Assuming) -> Theorem:
    """Return before = after, by the rule on one side or on both, and normal forms."""
    refusals = [RuleError("it does not lead to this line")]
    forwards = _rewrites(before, rewrite, assuming, refusals)
    backwards = _rewrites(after, rewrite, assuming, refusals)
    for left, right in _pairs(before, after, forwards, backwards):
        try:
            rest = equal_by_normal_form(left.rhs, right.rhs, assuming)
        except PremiseError as error:
            refusals.append(error)
            continue
        if rest is not None:
            return kernel.transitivity(kernel.transitivity(left, rest), kernel.symmetry(right))
    refusal = refusals[0]
    for other in refusals[1:]:
        refusal = worse(refusal, other) if isinstance(other, PremiseError) else refusal
    message = f"step {number} ({rewrite.name}) is refused: {refusal}"
    raise type(refusal)(message)


def _pairs(
    before: Term, after: Term, forwards: Iterator[Theorem], backwards: Iterator[Theorem]
) -> Iterator[tuple[Theorem, Theorem]]:
    """Yield what to compare: the line before rewritten, the line after rewritten, and both rewritten everywhere."""
    same, target = kernel.reflexivity(before), kernel.reflexivity(after)
    firsts = list[Theorem]()
    for rewrites, pair in ((forwards, lambda theorem: (theorem, target)), (backwards, lambda theorem: (same, theorem))):
        for number, theorem in enumerate(rewrites):
            firsts += [theorem] if number == 0 else []
            yield pair(theorem)
    if len(firsts) == 2:
        yield firsts[0], firsts[1]


def _rewrites(term: Term, rewrite: Rewrite, assuming: Assuming, refusals: list[RuleError]) -> Iterator[Theorem]:
    """Yield the rewrites of a term, or of its normal form: everywhere first, then at each place alone."""
    for start in _starts(term, assuming):
        try:
            yield kernel.transitivity(start, rewrite_everywhere(start.rhs, rewrite, assuming))
        except RuleError as error:
            refusals.append(error)
            continue
        for path in places(start.rhs):
            with suppress(RuleError):
                yield kernel.transitivity(start, rewrite_at(start.rhs, path, rewrite, assuming))


def _starts(term: Term, assuming: Assuming) -> Iterator[Theorem]:
    yield kernel.reflexivity(term)
    yield normalise(term, assuming, split=False)
    yield normalise(term, assuming)
