"""Derivations as blocks that `derive.written.block` reads; each is read again, and must say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from derive.kernel import algebra
from derive.language.errors import RuleError, UsageError
from derive.language.scope import alpha_equal
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Density,
    DensityLaw,
    Expect,
    FiniteLaw,
    Function,
    Latent,
    Law,
    Over,
    RandomVariable,
    Score,
    Slope,
    SoftThreshold,
    Term,
    Threshold,
    subterms,
)
from derive.printing.breaking import unmarked
from derive.printing.text import Text, lines, premise_name, premises
from derive.proofs.calc import Derivation, calc
from derive.proofs.conversions import Rewrite
from derive.written.block import Written, WrongStep, check
from derive.written.page import Unreadable

LIMIT = 100
_NAMES = ("b", "x", "y", *(f"x_{number}" for number in range(99)))
_RELAXED = (Latent, Threshold, ConditionalLatent, SoftThreshold)


def block(start: Term, *steps: tuple[Rewrite, Term]) -> list[str]:
    r"""Return the lines of the block that says what `calc` checks: what is drawn, each line, its rule and what it needs.

    Raises
        RuleError, as `calc`, if it does not hold.
        UsageError, if the notation cannot say it: a name that is printed in quotation marks, two functions of one name.

    >>> from derive.notation import E, finite, function, parameter
    >>> from derive.proofs.rules import linearity
    >>> b, f = finite("b", parameter("theta")), function("f", differentiable=True)
    >>> print("\n".join(block(E(2 * f(b), b), (linearity, 2 * E(f(b), b)))))
    differentiable f
    b ~ p(b; theta)
    <BLANKLINE>
    E_b[2 * f(b)]
    = 2 * E_b[f(b)]  by linearity
    """
    derived = calc(start, *steps)
    rewrites = [rewrite for rewrite, _ in steps]
    terms = [*(line.term for line in derived.lines), *(variable for rewrite in rewrites for variable in rewrite.variables)]
    written = [*_declared(terms), "", *_typed(derived, rewrites)]
    try:
        read = check(written)
    except (WrongStep, Unreadable) as error:
        message = f"read again, {written[error.line - 1].strip()!r} is refused: {error}"
        raise UsageError(message) from error
    if not _same(derived, read):
        message = "read again, it says something else."
        raise UsageError(message)
    return written


def _declared(terms: Iterable[Term]) -> Iterator[str]:
    """Yield what must be known of the names in terms, functions first: the parameters of a law may contain them."""
    parts = [part for term in terms for part in subterms(term)]
    functions = dict.fromkeys(_of(part.function) for part in parts if isinstance(part, Apply))
    for word, known in (("differentiable", True), ("not differentiable", False)):
        names = [each.name for each in functions if type(each) is Function and each.differentiable is known]
        if names:
            yield f"{word} {', '.join(names)}"
    variables = dict.fromkeys(drawn for part in parts for drawn in _variables(part))
    relaxed = [each.law for each in functions if isinstance(each, _RELAXED)]
    variables |= dict.fromkeys(
        _undrawn([*variables], [*relaxed, *(part.law for part in parts if isinstance(part, Density | Score))])
    )
    yield from (f"{'continuous ' * isinstance(each.law, DensityLaw)}{unmarked(Text().drawn(each))}" for each in variables)
    yield from dict.fromkeys(f"relaxation of {each.name}" for each in variables if each.law in relaxed)


def _undrawn(variables: Sequence[RandomVariable], laws: Iterable[Law | None]) -> Iterator[RandomVariable]:
    """Yield a variable for each law that no variable of a derivation has."""
    known, names = [each.law for each in variables], {each.name for each in variables}
    for law in laws:
        if isinstance(law, FiniteLaw | DensityLaw) and law not in known:
            known.append(law)
            yield RandomVariable(next(name for name in (law.default_of, *_NAMES) if name and name not in names), law)


def _of(function: Function) -> Function:
    return function.orders[0] if isinstance(function, Slope) else function


def _variables(term: Term) -> Iterator[RandomVariable]:
    """Yield the variable that a term is or binds, behind those that its law is given."""
    if isinstance(term, RandomVariable | Expect | Over):
        variable = term if isinstance(term, RandomVariable) else term.variable
        for given in variable.law.terms:
            yield from (drawn for part in subterms(given) for drawn in _variables(part))
        yield variable


def _typed(derived: Derivation, rewrites: Iterable[Rewrite]) -> Iterator[str]:
    first, *others = derived.lines
    yield from _indented("", lines(first.term, limit=LIMIT))
    for line, rewrite in zip(others, rewrites, strict=True):
        names = ", ".join(variable.name for variable in rewrite.variables)
        *formula, last = lines(line.term, limit=LIMIT)
        by = f"  by {rewrite.name.replace('_', ' ')}{' with ' if names else ''}{names}"
        yield from _indented("= ", [*formula, *([last + by] if len(last + by) <= LIMIT else [last, by])])
        for name in sorted(map(premise_name, line.premises)):
            yield from _indented("  needs ", wrap(name, LIMIT, break_long_words=False, break_on_hyphens=False))


def _indented(head: str, shown: Iterable[str]) -> list[str]:
    first, *more = shown
    return [head + first, *(f"    {line.strip()}" for line in more)]


def _same(derived: Derivation, read: Written) -> bool:
    """Whether what is read says what was written: equal lines, and the same premises in print."""
    if premises(derived.theorem.assumptions) != premises(read.assumptions) or len(derived.lines) != len(read.lines):
        return False
    return all(_equal(one.term, other.term) for one, other in zip(derived.lines, read.lines, strict=True))


def _equal(one: Term, other: Term) -> bool:
    """Whether two terms are one but for how products and sums are written."""
    if alpha_equal(one, other):
        return True
    try:
        return algebra.equal(algebra.tidy(one), algebra.tidy(other))
    except RuleError:
        return False
