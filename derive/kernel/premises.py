"""Named side conditions, and what decides them.

A premise is decided where it can be (a finite support cannot move), refuted where it fails, and otherwise reduced to the leaf
conditions that it needs; those must be assumed, and then travel in the theorem. `consult` is the only judge of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from derive.kernel.algebra import monomials, tidy
from derive.language.errors import PremiseError
from derive.language.scope import depends
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
    Latent,
    Law,
    Log,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
    rebuild,
)


@dataclass(frozen=True)
class Premise:
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
    """The term is differentiable in the parameter, without jumps, for every value of its random variables."""

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
            both = isinstance(inner.law, FiniteLaw) and isinstance(outer.law, FiniteLaw)
            return HOLDS if both else _assumed(JointlyIntegrable(inner, outer, tidy(term)))
        case Normalised(variable):
            known = not isinstance(variable.law, DensityLaw) or variable.law.normalised
            return HOLDS if known else Decision(f"the density of {variable.name} is declared as not normalised")
        case NonZero(term):
            return _non_zero(term)
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


def _support_fixed(variable: RandomVariable, parameter: Symbol) -> Decision:
    match variable.law:
        case FiniteLaw() | NormalLaw():
            return HOLDS
        case UniformLaw() as law:
            moves = any(depends(term, parameter) for term in law.terms)
            return Decision(f"the bounds of the uniform law of {variable.name} move with {parameter.name}") if moves else HOLDS
    moves = any(depends(term, parameter) for term in variable.law.terms)
    return _assumed(SupportFixed(variable, parameter)) if moves else HOLDS


def _differentiable(term: Term, parameter: Symbol) -> Decision:
    if not depends(term, parameter) or isinstance(term, (Symbol, Stop)):
        return HOLDS
    match term:
        case Add(args) | Mul(args):
            return _all(_differentiable(arg, parameter) for arg in args)
        case Exp(inner) | Sigmoid(inner):
            return _differentiable(inner, parameter)
        case Log(inner):
            return _all((_differentiable(inner, parameter), _non_zero(inner)))
        case Power(inner, exponent):
            divides = (_non_zero(inner),) if exponent < 0 else ()
            return _all((_differentiable(inner, parameter), *divides))
        case Apply(function, args):
            return _function_differentiable(term, function, args, parameter)
        case Density(law, at):
            return _density_differentiable(term, law, at, parameter)
        case Expect(body, variable) if isinstance(variable.law, FiniteLaw):
            return _all((_differentiable(Density(variable.law, variable), parameter), _differentiable(body, parameter)))
        case Over(body, variable) if isinstance(variable.law, FiniteLaw):
            return _differentiable(body, parameter)
        case Expect(body, variable) if not any(depends(part, parameter) for part in variable.law.terms):
            swap = Dominated(variable, Density(variable.law, variable) * body, parameter)
            return _all((_differentiable(body, parameter), consult(swap)))
    return _assumed(Differentiable(tidy(term), parameter))


def _function_differentiable(term: Term, function: Function, args: tuple[Term, ...], parameter: Symbol) -> Decision:
    if isinstance(function, Threshold):
        return Decision(f"the threshold {function.name} jumps where its argument moves with {parameter.name}")
    if function.differentiable is False:
        return Decision(
            f"the function {function.name} is declared as not differentiable, and its argument moves with {parameter.name}"
        )
    own = HOLDS if function.differentiable else _assumed(Differentiable(tidy(term), parameter))
    return _all((own, *(_differentiable(arg, parameter) for arg in args)))


def _density_differentiable(term: Density, law: Law, at: Term, parameter: Symbol) -> Decision:
    match law:
        case NormalLaw(_, scale):
            return _all((*(_differentiable(part, parameter) for part in (*law.terms, at)), _non_zero(scale)))
        case UniformLaw():
            return _all(_differentiable(part, parameter) for part in (*law.terms, at))
    if depends(at, parameter):
        return Decision(f"the outcome at which the density of {type(law).__name__} is taken moves with {parameter.name}")
    anywhere_in_support = RandomVariable(at.name.split("_")[0], law) if isinstance(at, RandomVariable) else at
    return _assumed(Differentiable(Density(law, anywhere_in_support), parameter))


def _tails(premise: Dominated | Integrable, variable: RandomVariable, term: Term) -> Decision:
    """Decide the size of an integrand: finite sums, smooth functions on an interval, polynomials and exp under a normal law."""
    if isinstance(variable.law, FiniteLaw):
        return HOLDS
    if isinstance(variable.law, UniformLaw) and _bounded(term, variable) and isinstance(premise, Integrable):
        return HOLDS
    if isinstance(variable.law, UniformLaw) and _elementary(term, variable):
        return HOLDS
    if isinstance(variable.law, NormalLaw):
        known = [_under_normal(variable, variable.law, factors) for _, factors in monomials(term)]
        if False in known:
            return Decision(f"the integrand outgrows the normal density of {variable.name}")
        if None not in known:
            return HOLDS
    return _assumed(_tail_premise(premise, variable, tidy(_at_outcomes(term))))


def _tail_premise(premise: Dominated | Integrable, variable: RandomVariable, term: Term) -> Premise:
    """Return what must be assumed; a derivative that is dominated is integrable, so it asks for nothing new."""
    if isinstance(premise, Dominated):
        return Dominated(variable, term, premise.parameter)
    density, *rest = term.args if isinstance(term, Mul) else (term,)
    match density, rest:
        case Density(law, at), [Grad(body, parameter)] if law == variable.law and at == variable:
            return Dominated(variable, tidy(density * body), parameter)
    return Integrable(variable, term)


def _at_outcomes(term: Term) -> Term:
    """Write b for H(z): a premise that holds for every outcome b holds for the one that the noise decides."""
    match term:
        case Apply(Threshold(_, _, FiniteLaw() as law, name), _):
            return RandomVariable(name, law)
        case Expect(_, variable) | Over(_, variable) if isinstance(variable.law, FiniteLaw):
            return term
    return rebuild(term, tuple(_at_outcomes(part) for part in parts(term)))


def _elementary(term: Term, variable: RandomVariable) -> bool:
    """Whether a term is a smooth elementary function of the variable: it and its derivatives are bounded on an interval."""
    if isinstance(term, RandomVariable) or not depends(term, variable):
        return True
    smooth = isinstance(term, (Add, Mul, Exp, Sigmoid, Density)) or (isinstance(term, Power) and term.exponent > 0)
    return smooth and all(_elementary(part, variable) for part in parts(term))


def _bounded(term: Term, variable: RandomVariable) -> bool:
    """Whether a term is bounded over the noise: continuous in a relaxed outcome, or with finitely many values."""
    if not depends(_at_outcomes(term), variable):
        return True
    match term:
        case Apply(SoftThreshold(), _):
            return True
        case Apply(function, args):
            continuous = bool(function.differentiable) and not isinstance(function, Latent)
            return continuous and all(_bounded(arg, variable) for arg in args)
        case Density(UniformLaw(), _):
            return True
        case Expect(body, inner):
            return isinstance(inner.law, (UniformLaw, FiniteLaw)) and _bounded(body, variable) and _bounded(body, inner)
        case Power(_, exponent) if exponent < 0:
            return False
    return isinstance(term, (Add, Mul, Power)) and all(_bounded(part, variable) for part in parts(term))


def _under_normal(variable: RandomVariable, law: NormalLaw, factors: tuple[tuple[Term, int], ...]) -> bool | None:
    """Whether density times power times exp has finite integrals, locally uniformly in the parameters; None where unknown."""
    exponent: Term = Number(Fraction(0))
    densities = 0
    for atom, power in factors:
        if atom == Density(law, variable):
            densities += power
        elif isinstance(atom, Exp):
            exponent = exponent + power * atom.arg
        elif depends(atom, variable) and not (atom == variable and power > 0):
            return None
    return _falls(variable, law, exponent) if densities == 1 else None


def _falls(variable: RandomVariable, law: NormalLaw, exponent: Term) -> bool | None:
    """Whether exp(exponent) grows slower than the normal density falls, read off the leading power of the variable."""
    by_degree: dict[int, list[tuple[Fraction, bool]]] = {}
    for coefficient, factors in monomials(exponent):
        if any(depends(atom, variable) and (atom != variable or power < 0) for atom, power in factors):
            return None
        degree = sum(power for atom, power in factors if atom == variable)
        by_degree.setdefault(degree, []).append((coefficient, all(atom == variable for atom, _ in factors)))
    degree = max(by_degree, default=0)
    if degree < 2:
        return True
    (coefficient, numeric), *others = by_degree[degree]
    if others or not numeric:
        return None
    if degree == 2:
        return 2 * coefficient * law.scale.value**2 < 1 if isinstance(law.scale, Number) else None
    return degree % 2 == 0 and coefficient < 0


def _non_zero(term: Term) -> Decision:
    if isinstance(term, Number):
        return Decision("it is the number zero") if term.value == 0 else HOLDS
    if _positive(term):
        return HOLDS
    match term:
        case Mul(args):
            return _all(_non_zero(arg) for arg in args)
        case Power(base, _):
            return _non_zero(base)
    return _assumed(NonZero(tidy(term)))


def _positive(term: Term) -> bool:
    """Whether a term is positive by its shape: densities on their support, exponentials, their sums, products and powers."""
    match term:
        case Number(value):
            return value > 0
        case Density(law, at):
            return _in_support(law, at)
        case Exp() | Sigmoid():
            return True
        case Add(args) | Mul(args):
            return all(_positive(arg) for arg in args)
        case Power(base, _):
            return _positive(base)
    return False


def _in_support(law: Law, at: Term) -> bool:
    """Whether a density is positive at a point: everywhere for a normal law, else at a variable or an outcome of that law."""
    match at:
        case RandomVariable(_, own) | Apply(Threshold(_, _, own), _) if own == law:
            return True
    return isinstance(law, NormalLaw)
