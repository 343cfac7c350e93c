"""Named side conditions, and what decides them.

A premise is decided where it can be (a finite support cannot move), refuted where it fails, and otherwise reduced to the leaf
conditions that it needs; those must be assumed, and then travel in the theorem. `consult` is the only judge of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from derive.kernel.algebra import denominators, logarithms, monomials, product_of, tidy
from derive.kernel.outcomes import cases, is_one
from derive.kernel.signs import in_support, one_support, positive
from derive.kernel.tails import at_outcomes, is_small, sides
from derive.language.choice import ChoiceLaw
from derive.language.errors import PremiseError
from derive.language.scope import depends, moves
from derive.language.shown import Shown
from derive.language.term import (
    Add,
    Apply,
    Density,
    DensityLaw,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
)
from derive.sharing import remembered


@dataclass(frozen=True)
class Premise(Shown):
    """Base of the side conditions. `sentence` says in words what the premise claims of its `subjects`."""

    sentence: ClassVar[str]

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def subjects(self) -> tuple[Term, ...]:
        """The terms of which the premise speaks, in the order of the blanks of `sentence`."""
        return tuple(value for value in vars(self).values() if isinstance(value, Term))


@dataclass(frozen=True)
class SupportFixed(Premise):
    """The set where the density of the variable is positive does not move with the parameter."""

    sentence: ClassVar[str] = "the support of {} does not depend on {}"
    variable: RandomVariable
    parameter: Symbol


@dataclass(frozen=True)
class Differentiable(Premise):
    """The term has a continuous derivative in the parameter, without jumps, for every value of its random variables."""

    sentence: ClassVar[str] = "{} is differentiable in {}"
    term: Term
    parameter: Symbol


@dataclass(frozen=True)
class Dominated(Premise):
    """The derivative of the integrand has an integrable bound near each value of the parameter."""

    sentence: ClassVar[str] = "the derivative of {1} in {2} has an integrable bound over {0}"
    variable: RandomVariable
    term: Term
    parameter: Symbol


@dataclass(frozen=True)
class Integrable(Premise):
    """The integral of the term over the support of the variable is finite."""

    sentence: ClassVar[str] = "{1} has a finite integral over {0}"
    variable: RandomVariable
    term: Term


@dataclass(frozen=True)
class JointlyIntegrable(Premise):
    """The integral of the absolute value of the term over both variables is finite."""

    sentence: ClassVar[str] = "{2} has a finite integral over {0} and {1} together"
    inner: RandomVariable
    outer: RandomVariable
    term: Term


@dataclass(frozen=True)
class Normalised(Premise):
    """The density of the variable sums or integrates to one."""

    sentence: ClassVar[str] = "the density of {} sums to one"
    variable: RandomVariable


@dataclass(frozen=True)
class NonZero(Premise):
    """The term is not zero wherever it divides."""

    sentence: ClassVar[str] = "{} is not zero"
    term: Term


@dataclass(frozen=True)
class Positive(Premise):
    """The term is positive, for every value of its random variables."""

    sentence: ClassVar[str] = "{} is positive"
    term: Term


@dataclass(frozen=True)
class NotNegative(Premise):
    """The term is not negative, for every value of its random variables."""

    sentence: ClassVar[str] = "{} is not negative"
    term: Term


@dataclass(frozen=True)
class Covers(Premise):
    """The law that is sampled is positive wherever the other one is, so that dividing by it loses nothing."""

    sentence: ClassVar[str] = "{} is positive wherever {} is"
    sampled: Density
    other: Density


@dataclass(frozen=True)
class Independent(Premise):
    """The term does not depend on the variable."""

    sentence: ClassVar[str] = "{} does not depend on {}"
    term: Term
    variable: RandomVariable


@dataclass(frozen=True)
class ConditionalReparameterization(Premise):
    """H(h(u, .)) has the law of the outcome, and h_tilde(v, b, .) that of h(u, .) given H(h(u, .)) = b."""

    sentence: ClassVar[str] = "{1} has the law of {0}, and {2} that of {3} given {1} = {0}"
    outcome: RandomVariable
    hard: Term
    conditional: Term
    latent: Term


@dataclass(frozen=True)
class Decision:
    """What is known of a premise: `failure` says why it fails, else it holds whenever every one of `needs` does."""

    failure: str = ""
    needs: frozenset[Premise] = frozenset()


HOLDS = Decision()


def consult(premise: Premise) -> Decision:
    """Decide a premise, or reduce it to the leaf premises that must be assumed.

    >>> from derive.notation import finite, parameter, uniform
    >>> theta = parameter("theta")
    >>> consult(SupportFixed(finite("b", theta), theta)) == HOLDS
    True
    >>> consult(SupportFixed(uniform("x", 0, theta), theta)).failure
    'the bounds of the uniform law of x move with theta'
    """
    match premise:
        case SupportFixed(variable, parameter):
            return _support_fixed(variable, parameter)
        case Differentiable(term, parameter):
            return _differentiable(term, parameter)
        case Dominated(variable, term, _) | Integrable(variable, term):
            return _tails(premise, variable, term)
        case JointlyIntegrable(inner, outer, term):
            both = _is_finite(inner.law) and _is_finite(outer.law)
            joint = _assumed(JointlyIntegrable(inner, outer, tidy(term)))
            return HOLDS if both else _all((joint, *map(_part, defined(term))))
        case Normalised(variable):
            return _normalised(variable)
        case NonZero(term):
            return _non_zero(tidy(term))
        case Positive(term):
            return _positive(tidy(term))
        case NotNegative(term):
            return _known_not_negative(tidy(term))
        case Covers(sampled, other):
            return _covers(premise, sampled.law, other.law)
        case Independent(term, variable):
            return Decision(f"the term depends on {variable.name}") if depends(term, variable) else HOLDS
    return _assumed(premise)


def require(rule: str, premises: Iterable[Premise], assuming: Assuming) -> frozenset[Premise]:
    """Return the leaf premises that a rule rests on.

    Raises
        PremiseError, naming the premise, if it fails, or if it can be neither decided nor found among the assumed ones.
    """
    needed: frozenset[Premise] = frozenset()
    for premise in premises:
        verdict = consult(premise)
        if verdict.failure:
            message = f"{rule} refuses: {premise.name} fails, because {verdict.failure}."
            raise PremiseError(message)
        missing = [need for need in verdict.needs if need not in assuming]
        if missing:
            message = f"{rule} refuses: {missing[0].name} is not decided and was not assumed; it is needed for {premise.name}."
            raise PremiseError(message)
        needed |= verdict.needs
    return needed


class _Everything:
    """Assume whatever is neither decided nor refuted; it is recorded in the theorem all the same."""

    def __contains__(self, premise: object) -> bool:
        return True


EVERYTHING = _Everything()
Assuming = frozenset[Premise] | _Everything


def _assumed(premise: Premise) -> Decision:
    return Decision(needs=frozenset({premise}))


def _all(decisions: Iterable[Decision]) -> Decision:
    """Join: the first failure, else all that is needed."""
    joined = list(decisions)
    failures = [verdict for verdict in joined if verdict.failure]
    return failures[0] if failures else Decision(needs=frozenset[Premise]().union(*(verdict.needs for verdict in joined)))


def defined(*terms: Term) -> list[Premise]:
    """Return what the normal form of terms needs: that what divides is not zero, and what a logarithm splits into positive."""
    zeros = [NonZero(base) for base in dict.fromkeys(base for term in terms for base in denominators(term))]
    return [*zeros, *(Positive(base) for base in dict.fromkeys(base for term in terms for base in logarithms(term)))]


def _part(premise: Premise) -> Decision:
    """Return what is known of a premise that another one needs."""
    verdict = consult(premise)
    return Decision(f"{premise.name} fails for a part of it, because {verdict.failure}") if verdict.failure else verdict


def _support_fixed(variable: RandomVariable, parameter: Symbol) -> Decision:
    match variable.law:
        case NamedLaw("Maxwell", (loc, _)) if depends(loc, parameter):
            return Decision(f"the density of {variable.name} is zero at its middle, which moves with {parameter.name}")
        case FiniteLaw() | NormalLaw() | NamedLaw():
            return HOLDS
        case UniformLaw() as law:
            moves = any(depends(term, parameter) for term in law.terms)
            return Decision(f"the bounds of the uniform law of {variable.name} move with {parameter.name}") if moves else HOLDS
    moves = any(depends(term, parameter) for term in variable.law.terms)
    return _assumed(SupportFixed(variable, parameter)) if moves else HOLDS


def _normalised(variable: RandomVariable) -> Decision:
    match variable.law:
        case DensityLaw(normalised=False):
            return Decision(f"the density of {variable.name} is declared as not normalised")
        case UniformLaw(low, high):
            return _positive(tidy(high - low))
    return _is_law(variable.law)


def _is_finite(law: Law) -> bool:
    """Whether a law has finitely many outcomes, so that a mean over it is a finite sum."""
    return isinstance(law, (FiniteLaw, ChoiceLaw))


def _is_law(law: Law) -> Decision:
    """Decide whether the parameters of a normal law, or of one that is known by its name, are those of a law."""
    if isinstance(law, ChoiceLaw):
        if not is_one(sum(law.parameters, start=Number(Fraction(0)))):
            return Decision("its probabilities do not sum to one, as far as algebra tells; write the last one as what is left")
        return _all(_known_not_negative(tidy(term)) for term in law.parameters)
    needed = (law.scale,) if isinstance(law, NormalLaw) else law.positives if isinstance(law, NamedLaw) else ()
    return _all(_positive(tidy(term)) for term in needed)


def _covers(premise: Premise, sampled: Law, other: Law) -> Decision:
    """Decide from the supports: the line of a normal law, the interval of a uniform one; of other laws it is assumed.

    A law on 0, 1, 2, ... has probabilities and no density, so that it covers none that has. A Maxwell law covers no law that is
    positive at its middle: a weight has a pole there.
    """
    if _counts(sampled) != _counts(other):
        return Decision("one law has a density, and the other one probabilities")
    if isinstance(sampled, ChoiceLaw) or isinstance(other, ChoiceLaw):
        return _covers_outcomes(premise, sampled, other)
    if isinstance(sampled, NormalLaw) or one_support(sampled, other) or _running(sampled) == _running(other):
        return HOLDS
    match sampled, other:
        case NamedLaw("Maxwell", (loc, _)), NamedLaw("Maxwell", (middle, _)):
            same = _running(sampled).terms[0] == _running(other).terms[0]
            return HOLDS if same else Decision(f"a Maxwell density is zero at {loc}, and the other one at {middle} only")
        case NamedLaw("Maxwell", (loc, _)), NormalLaw() | NamedLaw("Laplace" | "Logistic" | "Gumbel"):
            return Decision(f"a Maxwell density is zero at {loc}, where the other one is positive")
        case UniformLaw(), NormalLaw():
            return Decision("a uniform law does not cover a normal one")
        case UniformLaw(Number(low), Number(high)), UniformLaw(Number(left), Number(right)):
            inside = low <= left and right <= high
            return HOLDS if inside else Decision(f"({low}, {high}) does not cover ({left}, {right})")
    return _assumed(premise)


def _covers_outcomes(premise: Premise, sampled: Law, other: Law) -> Decision:
    """Decide whether a law has the values of an explicit finite one, or such a one those of another."""
    if not isinstance(other, ChoiceLaw):
        return Decision("an explicit finite law does not cover one on all counts")
    if not isinstance(sampled, ChoiceLaw):
        whole = all(value.denominator == 1 and value >= 0 for value in other.values)
        return HOLDS if whole else Decision("a law on 0, 1, 2, ... does not have all values of the other one")
    if not set(other.values) <= set(sampled.values):
        return Decision("an explicit finite law does not have all values of the other one")
    return HOLDS if _running(sampled) == _running(other) or _everywhere_positive(sampled) else _assumed(premise)


def _everywhere_positive(law: ChoiceLaw) -> bool:
    """Whether no outcome of an explicit finite law has the probability zero."""
    return all(_positive(tidy(term)) == HOLDS for term in law.parameters)


def _counts(law: Law) -> bool:
    return isinstance(law, NamedLaw) and law.counts


def _running(law: Law) -> Law:
    """Return a law without the stops at its parameters: they change no value."""
    return law.with_terms(tuple(part.body if isinstance(part, Stop) else part for part in law.terms))


def _differentiable(term: Term, parameter: Symbol) -> Decision:
    if not moves(term, parameter) or isinstance(term, Symbol):
        return HOLDS
    match term:
        case Add(args) | Mul(args):
            return _all(_differentiable(arg, parameter) for arg in args)
        case Exp(inner) | Sigmoid(inner):
            return _differentiable(inner, parameter)
        case Log(inner):
            return _all((_differentiable(inner, parameter), _part(Positive(inner))))
        case Power(inner, exponent):
            divides = (_part(NonZero(inner)),) if exponent < 0 else ()
            return _all((_differentiable(inner, parameter), *divides))
        case Sign(inner):
            return _sign_differentiable(inner, parameter)
        case Apply(function, args):
            return _function_differentiable(term, function, args, parameter)
        case Density(law, at):
            return _density_differentiable(term, law, at, parameter)
        case Expect(body, variable) if _is_finite(variable.law):
            return _all((_differentiable(Density(variable.law, variable), parameter), _differentiable(body, parameter)))
        case Over(body, variable) if _is_finite(variable.law):
            return _differentiable(body, parameter)
        case Expect(body, variable) if not any(depends(part, parameter) for part in variable.law.terms):
            swap = Dominated(variable, Density(variable.law, variable) * body, parameter)
            return _all((_differentiable(body, parameter), _part(swap)))
        case Score() | Grad():
            jumps = [verdict for part in parts(term) if (verdict := _differentiable(part, parameter)).failure]
            return jumps[0] if jumps else _assumed(Differentiable(tidy(term), parameter))
    return _assumed(Differentiable(tidy(term), parameter))


def _function_differentiable(term: Term, function: Function, args: tuple[Term, ...], parameter: Symbol) -> Decision:
    if isinstance(function, Threshold):
        return Decision(f"the threshold {function.name} jumps where its argument moves with {parameter.name}")
    if function.differentiable is False:
        return Decision(
            f"the function {function.name} is declared as not differentiable, and its argument moves with {parameter.name}"
        )
    own = HOLDS if function.differentiable else _assumed(Differentiable(tidy(term), parameter))
    temperatures = [_part(Positive(arg)) for arg in args[1:]] if isinstance(function, SoftThreshold) else []
    return _all((own, *temperatures, *(_differentiable(arg, parameter) for arg in args)))


def _sign_differentiable(inner: Term, parameter: Symbol) -> Decision:
    """Decide whether a sign is constant around a parameter; not so where it is averaged over noise, which meets its jump.

    It is differentiable only where it is constant, so that its derivative is zero: near what is not zero, or stays zero.
    """
    if anywhere(inner, lambda part: isinstance(part, RandomVariable) and not _is_finite(part.law)):
        return Decision(f"a sign of noise jumps where its argument moves with {parameter.name}")
    signs = [factors for _, factors in monomials(Sign(inner)) if factors]
    if not signs or consult(NonZero(inner)) == HOLDS:
        return HOLDS
    return _assumed(Differentiable(product_of(Fraction(1), signs[0]), parameter))


def _density_differentiable(term: Density, law: Law, at: Term, parameter: Symbol) -> Decision:
    smooth = [_differentiable(part, parameter) for part in law.terms]
    inside = isinstance(at, RandomVariable) and at.law == law
    match law:
        case NormalLaw(_, scale):
            return _all((*smooth, _differentiable(at, parameter), _part(Positive(scale))))
        case UniformLaw(low, high) if inside:
            return _all((*smooth, _part(Positive(high - low))))
        case UniformLaw():
            return Decision(f"a uniform density jumps at its bounds, which move with {parameter.name} against the point")
        case NamedLaw("Laplace", (loc, _)) if moves(loc, parameter):
            return Decision(f"a Laplace density has a kink at its middle, which moves with {parameter.name}")
        case NamedLaw() if inside:
            return _all((*smooth, _is_law(law)))
    if depends(at, parameter):
        return Decision(f"the outcome at which the density of {type(law).__name__} is taken moves with {parameter.name}")
    point = RandomVariable(re.sub(r"(?<=.)(_\d+)+$", "", at.name), law) if isinstance(at, RandomVariable) and inside else at
    return _all((_assumed(Differentiable(Density(law, point), parameter)), *smooth))


def _tails(premise: Dominated | Integrable, variable: RandomVariable, term: Term) -> Decision:
    """Decide the size of an integrand: finite sums, smooth functions on an interval, polynomials and exp under a normal law."""
    if _is_finite(variable.law):
        return HOLDS
    return _all((_size(premise, variable, term), *map(_part, defined(term))))


def _size(premise: Dominated | Integrable, variable: RandomVariable, term: Term) -> Decision:
    small = is_small(variable, term, differentiated=isinstance(premise, Dominated))
    if small is None:
        return _assumed(_tail_premise(premise, variable, tidy(at_outcomes(term))))
    outgrown = "has a pole under the uniform law" if isinstance(variable.law, UniformLaw) else "outgrows the normal density"
    return HOLDS if small else Decision(f"the integrand {outgrown} of {variable.name}")


def _tail_premise(premise: Dominated | Integrable, variable: RandomVariable, term: Term) -> Premise:
    """Return what must be assumed; a derivative that is dominated is integrable, so it asks for nothing new."""
    if isinstance(premise, Dominated):
        return Dominated(variable, term, premise.parameter)
    density, *rest = term.args if isinstance(term, Mul) else (term,)
    match density, rest:
        case Density(law, at), [Grad(body, parameter)] if law == variable.law and at == variable:
            if not any(depends(part, parameter) for part in law.terms):
                return Dominated(variable, tidy(density * body), parameter)
    return Integrable(variable, term)


@remembered
def _non_zero(term: Term) -> Decision:
    """Decide whether a term in normal form is nowhere zero."""
    if positive(term) or _positive(term) == HOLDS:
        return _positive(term)
    if isinstance(term, Add) and _negative(term):
        return HOLDS
    match term:
        case Density(NamedLaw("Maxwell"), _):
            return _positive(term)
        case Number():
            return HOLDS if term.value else Decision("it is the number zero")
        case Mul(args):
            return _all(_non_zero(arg) for arg in args)
        case Power(base, _) | Stop(base):
            return _non_zero(tidy(base))
    one_sided = sides(term)
    if one_sided is None:
        return _assumed(NonZero(term))
    return HOLDS if any(one_sided) else Decision("its random variable takes values at which it is zero")


def _positive(term: Term) -> Decision:
    """Decide whether a term in normal form is positive everywhere."""
    match term:
        case Number(value):
            return HOLDS if value > 0 else Decision(f"it is the number {value}")
        case Exp() | Sigmoid():
            return HOLDS
        case Stop(body):
            return _positive(tidy(body))
        case Density(law, at) if in_support(law, at):
            return _is_law(law)
        case Density(ChoiceLaw() as law, RandomVariable(_, own)) if own == law and _everywhere_positive(law):
            return HOLDS
        case Density(NamedLaw("Maxwell", (loc, _)) as law, at):
            return _all((_part(NonZero(at - loc)), _is_law(law)))
        case Power(base, exponent):
            return _non_zero(base) if exponent % 2 == 0 else _positive(base)
        case Add(args) | Mul(args) if positive(term):
            return _all(_positive(arg) for arg in args)
        case Add(args) if all(map(_not_negative, args)) and any(_positive(arg) == HOLDS for arg in args):
            return HOLDS
        case Mul(args):
            negative = sum(_negative(arg) for arg in args)
            undecided = [arg for arg in args if _positive(arg) != HOLDS and not _negative(arg)]
            if negative % 2 == 0 and len(undecided) < 2:
                return _positive(undecided[0]) if undecided else HOLDS
            if negative % 2 and not undecided:
                return Decision("it is negative")
    if _not_negative(tidy(-term)):
        return Decision("it is nowhere positive")
    one_sided = sides(term)
    if one_sided is None:
        return _assumed(Positive(term))
    return HOLDS if one_sided[0] else Decision("its random variable takes values at which it is not positive")


def _not_negative(term: Term) -> bool:
    """Whether a term in normal form is known to be negative nowhere: an even power is not."""
    match term:
        case Number(value):
            return value >= 0
        case Power(_, exponent) if exponent % 2 == 0:
            return True
        case Add(args) | Mul(args):
            return all(map(_not_negative, args))
    return _positive(term) == HOLDS


def _known_not_negative(term: Term) -> Decision:
    if _not_negative(term):
        return HOLDS
    if _positive(tidy(-term)) == HOLDS:
        return Decision("it is negative")
    every = cases(term)
    return _all(map(_known_not_negative, every)) if every else _assumed(NotNegative(term))


def _negative(term: Term) -> bool:
    """Whether a factor of a normal form is known to be negative everywhere."""
    match term:
        case Number(value):
            return value < 0
        case Add():
            return _positive(tidy(-term)) == HOLDS
        case Power(base, exponent):
            return exponent % 2 == 1 and _negative(base)
        case Log(arg):
            return _positive(tidy(arg)) == _positive(tidy(1 - arg)) == HOLDS
    one_sided = sides(term)
    return one_sided is not None and one_sided[1]
