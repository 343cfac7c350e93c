"""Explicit finite laws, written out before anything is read: each outcome is a number, and a mean over it a sum of terms.

The kernel has a rule of its own for that; this is the judge's.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from derive.language.choice import MOST_TOGETHER, ChoiceLaw, outcomes_together
from derive.language.errors import NotEvaluable, TooLarge
from derive.language.scope import free, substitute
from derive.language.term import (
    Add,
    Density,
    Entry,
    Expect,
    Grad,
    Log,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sign,
    Term,
    parts,
    rebuild,
)


def written_out(term: Term) -> Term:
    """Return a term without explicit finite laws.

    Raises
        TooLarge, if that are too many summands.
        NotEvaluable, if a variable of one is not bound, or the probability of a point is asked for that is no number.

    >>> from derive.language.outcomes import rademacher
    >>> from derive.notation import E, function
    >>> from derive.printing.text import render
    >>> d, f = rademacher("d"), function("f")
    >>> render(written_out(E(f(d) * d, d)))
    '(1/2) * (f(1) * 1) + (1/2) * (f(-1) * (-1))'
    """
    summands = outcomes_together(term)
    if summands > MOST_TOGETHER:
        message = f"explicit finite laws have {summands} outcomes together, more than the {MOST_TOGETHER} that are feasible."
        raise TooLarge(message)
    loose = next((leaf for leaf in free(term) if isinstance(leaf, RandomVariable) and isinstance(leaf.law, ChoiceLaw)), None)
    if loose is not None:
        message = f"{loose.name} has an explicit finite law and no value: take the expectation over it."
        raise NotEvaluable(message)
    return _written_out(term)


def _written_out(term: Term) -> Term:
    match term:
        case Expect(body, RandomVariable(_, ChoiceLaw() as law) as b):
            pairs = zip(law.values, law.parameters, strict=True)
            return Add(tuple(_written_out(Mul((p, substitute(body, {b: Number(value)})))) for value, p in pairs))
        case Over(body, RandomVariable(_, ChoiceLaw() as law) as b):
            return Add(tuple(_written_out(substitute(body, {b: Number(value)})) for value in law.values))
        case Density(ChoiceLaw() as law, at):
            return _written_out(law.probability(_number(law, at)))
        case Entry(_, _, at):
            message = f"the entry of a table at {at}, where it has none."
            raise NotEvaluable(message)
        case Score(ChoiceLaw() as law, at, parameter):
            return Grad(Log(_written_out(law.probability(_number(law, at)))), parameter)
    new = tuple(map(_written_out, parts(term)))
    if isinstance(term, (Expect, Over)) and new[:-1] != term.variable.law.terms:
        bound = RandomVariable(term.variable.name, term.variable.law.with_terms(new[:-1]))
        return type(term)(substitute(new[-1], {term.variable: bound}), bound)
    return term if new == parts(term) else rebuild(term, new)


def _number(law: ChoiceLaw, at: Term) -> Fraction:
    match at:
        case Number(value):
            return value
        case Add(args):
            return sum((_number(law, arg) for arg in args), start=Fraction(0))
        case Mul(args):
            return prod((_number(law, arg) for arg in args), start=Fraction(1))
        case Power(base, exponent) if exponent >= 0 or _number(law, base):
            return _number(law, base) ** exponent
        case Sign(arg):
            number = _number(law, arg)
            return Fraction((number > 0) - (number < 0))
    message = f"the probability of {law.name} at {at}, which is no number."
    raise NotEvaluable(message)
