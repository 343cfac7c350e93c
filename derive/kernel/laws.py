"""What a law is: its mirror image, its score, its outcomes; how a mean is split, or taken over another law. TRUSTED."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from derive.kernel import algebra as scalar
from derive.kernel.judgement import refuse
from derive.kernel.premises import (
    Covers,
    Differentiable,
    Integrable,
    NonZero,
    Normalised,
    Positive,
    Premise,
    SupportFixed,
    defined,
)
from derive.kernel.signs import one_support
from derive.language.choice import ChoiceLaw
from derive.language.scope import depends, free, substitute
from derive.language.term import (
    Density,
    Expect,
    FiniteLaw,
    Grad,
    Law,
    Log,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    UniformLaw,
    anywhere,
    parts,
)


def mirrored(variable: RandomVariable) -> Term | None:
    """Return the mirror image of a variable of a symmetric law, None where the law is not known to be symmetric.

    >>> from derive.notation import normal
    >>> mirrored(normal("z")) == -normal("z")
    True
    """
    match variable.law:
        case NormalLaw(Number(value), _) if value == 0:
            return -variable
        case NormalLaw(loc, _):
            return 2 * loc - variable
        case UniformLaw(low, high):
            ends = scalar.tidy(low + high)
            return -variable if ends == scalar.ZERO else ends - variable
    return None


def derivative_of_log_normal(law: NormalLaw, at: Term, moving: Term, parameter: Symbol) -> Term:
    """Return d log p(at) of a normal law, of whose point `moving` is the part that is not held fixed: all or zero."""
    loc, scale = (scalar.derivative(part, parameter) for part in law.terms)
    off = at - law.loc
    return off / law.scale**2 * (loc - scalar.derivative(moving, parameter)) + (off**2 / law.scale**3 - 1 / law.scale) * scale


def split_mean(term: Expect | Over) -> tuple[list[Term], list[Premise]]:
    """Return the summands of an expectation or sum, each a mean with its constants outside, and what that needs."""
    variable, premises = term.variable, defined(term.body)
    weight = Density(variable.law, variable) if isinstance(term, Expect) else scalar.ONE
    means: dict[scalar.Factors, Expect | Over] = {}
    summands: list[Term] = []
    for coefficient, factors in scalar.monomials(term.body):
        inside = tuple(factor for factor in factors if depends(factor[0], variable))
        outside = tuple(factor for factor in factors if factor not in inside)
        if inside not in means:
            means[inside] = type(term)(scalar.product_of(Fraction(1), inside), variable)
        summands.append(scalar.product_of(coefficient, outside, means[inside]))
    return summands, [*premises, *(Integrable(variable, weight * mean.body) for mean in means.values())]


def at_outcomes(term: Term) -> tuple[Term, list[Premise]]:
    """Return what the rule `outcomes` makes of a term, and the premises under which it is the same.

    Raises
        RuleError, for another term.
    """
    match term:
        case Expect(body, RandomVariable(_, ChoiceLaw() as law) as b):
            first, *others = (p * substitute(body, {b: Number(v)}) for v, p in zip(law.values, law.parameters, strict=True))
            return sum(others, start=first), [Normalised(b)]
        case Over(body, RandomVariable(_, ChoiceLaw() as law) as b):
            first, *others = (substitute(body, {b: Number(v)}) for v in law.values)
            return sum(others, start=first), []
        case Density(ChoiceLaw() as law, at) if isinstance(point := scalar.tidy(at), Number):
            return law.probability(point.value), []
        case Score(ChoiceLaw() as law, at, parameter) if isinstance(point := scalar.tidy(at), Number):
            probability = law.probability(point.value)
            return Grad(Log(probability), parameter), [Positive(probability)]
    refuse("outcomes needs a mean or a sum over an explicit finite law, or its probability or its score at a number.")


def changed(term: Expect, variable: RandomVariable) -> tuple[Expect, list[Premise]]:
    """Return the expectation over the law of another variable, and the premises under which it is the same.

    Raises
        RuleError, if the variable is used, or is not of the kind of the one that it replaces.
    """
    drawn = term.variable
    if depends(term, variable) or any(depends(part, drawn) for part in variable.law.terms):
        refuse(f"change_of_law needs an unused variable that does not depend on {drawn.name}; {variable.name} is not.")
    if isinstance(variable.law, FiniteLaw) != isinstance(drawn.law, FiniteLaw):
        refuse(f"change_of_law: of the laws of {drawn.name} and {variable.name} one is finite and the other one is not.")
    body = substitute(term.body, {drawn: variable})
    new, old = Density(variable.law, variable), Density(drawn.law, variable)
    premises: list[Premise] = [Normalised(variable), Covers(new, old), *_fixed_supports(variable, drawn)]
    if not _one_line(variable.law, drawn.law):
        premises += _needs(body, variable)
    return Expect(old / new * body, variable), premises


def _one_line(law: Law, other: Law) -> bool:
    """Whether two laws are positive at the same points, by what they are."""
    return one_support(law, other) or law == other or (isinstance(law, NormalLaw) and isinstance(other, NormalLaw))


def _fixed_supports(variable: RandomVariable, drawn: RandomVariable) -> Iterator[Premise]:
    """Yield that the supports do not move, where a stop may part them as they do: `Covers` speaks of values."""
    laws = variable.law, drawn.law
    if any(anywhere(part, lambda inner: isinstance(inner, Stop)) for law in laws for part in law.terms):
        for law in laws:
            moving = (leaf for part in law.terms for leaf in free(part) if isinstance(leaf, Symbol))
            yield from (SupportFixed(RandomVariable(variable.name, law), leaf) for leaf in sorted(moving, key=repr))


def _needs(term: Term, variable: RandomVariable) -> Iterator[Premise]:
    """Yield what a term needs to have a value at every point of a variable.

    Raises
        RuleError, if it holds a continuous law that depends on the variable.
    """
    if not depends(term, variable):
        return
    match term:
        case Power(base, exponent) if exponent < 0:
            yield NonZero(base)
        case Log(arg):
            yield Positive(arg)
        case Score(law, at, parameter):
            yield from (Positive(Density(law, at)), Differentiable(Density(law, at), parameter))
        case Grad(body, parameter):
            yield Differentiable(body, parameter)
        case Expect(body, inner):
            yield Integrable(inner, Density(inner.law, inner) * body)
        case Over(body, inner):
            yield Integrable(inner, body)
    if any(depends(part, variable) for part in _continuous_law(term)):
        refuse(f"change_of_law: a continuous law depends on {variable.name}, and may be none where it was not drawn before.")
    for part in parts(term):
        yield from _needs(part, variable)


def _continuous_law(term: Term) -> tuple[Term, ...]:
    """Return the terms on which a continuous law depends that a node holds."""
    match term:
        case Density(law, _) | Score(law, _, _) | Expect(_, RandomVariable(_, law)) | Over(_, RandomVariable(_, law)):
            return () if isinstance(law, FiniteLaw) else law.terms
    return ()
