"""Where noise may make a denominator zero: there is no mean then, though that of nodes, which are symmetric, is a number."""

from __future__ import annotations

from derive.language.errors import NotEvaluable
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Function,
    Law,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    UniformLaw,
    subterms,
)

BOTH_SIDES = ("Laplace", "Logistic", "Gumbel", "Maxwell")
"""The laws with a name on the whole line; of others the nodes show that a mean has no bound."""


def require_mean(estimator: Estimator) -> None:
    """Refuse an estimator that divides by what noise may make zero; functions of the user are never zero here.

    Raises
        NotEvaluable, that names the denominator.

    >>> from derive.notation import E, function, grad, normal, parameter
    >>> theta, f, e, z = parameter("theta"), function("f"), normal("e"), normal("z", parameter("theta"), 1)
    >>> require_mean(Estimator("mine", f(theta + e) * e / (1 + e**2), (e,), grad(E(f(z), z), theta)))
    >>> require_mean(Estimator("mine", f(theta + e) * e + 1 / e, (e,), grad(E(f(z), z), theta)))
    Traceback (most recent call last):
    derive.language.errors.NotEvaluable: 'mine' divides by e, which noise may make zero: then it has no mean, unless its density
    is zero there too, and at fixed nodes that is not seen.
    """
    for term in (estimator.formula, estimator.target):
        for part in subterms(term):
            if isinstance(part, Power) and part.exponent < 0 and _may_vanish(part.base, estimator.parameter):
                message = (
                    f"{estimator.name!r} divides by {part.base}, which noise may make zero: then it has no mean, unless its"
                    " density is zero there too, and at fixed nodes that is not seen."
                )
                raise NotEvaluable(message)


def _may_vanish(term: Term, theta: Symbol) -> bool:
    """Whether noise may make a term zero, as far as its shape tells."""
    if not any(isinstance(leaf, RandomVariable) and _is_noise(leaf.law) for leaf in free(term)):
        return False
    match term:
        case Mul(args):
            return any(_may_vanish(arg, theta) for arg in args)
        case Power(inner, _) | Stop(inner):
            return _may_vanish(inner, theta)
    return not _is_above_zero(term, theta)


def _is_noise(law: Law) -> bool:
    return isinstance(law, (NormalLaw, UniformLaw)) or (isinstance(law, NamedLaw) and law.name in BOTH_SIDES)


def _is_above_zero(term: Term, theta: Symbol) -> bool:
    """Whether a term is positive whatever the noise is; constants are, the parameter need not be."""
    match term:
        case Number(value):
            return value > 0
        case Add(args):
            return all(_is_not_negative(arg, theta) for arg in args) and any(_is_above_zero(arg, theta) for arg in args)
        case Mul(args):
            return all(_is_above_zero(arg, theta) for arg in args)
        case Power(inner, _) | Stop(inner):
            return _is_above_zero(inner, theta)
        case Apply(function, _):
            return type(function) in (Function, SoftThreshold)
        case Symbol():
            return bool(term != theta)
    return isinstance(term, (Exp, Sigmoid, Density))


def _is_not_negative(term: Term, theta: Symbol) -> bool:
    match term:
        case Number(value):
            return value >= 0
        case Power(_, exponent) if exponent % 2 == 0:
            return True
        case Mul(args) | Add(args):
            return all(_is_not_negative(arg, theta) for arg in args)
        case Stop(body):
            return _is_not_negative(body, theta)
        case RandomVariable(_, UniformLaw(Number(low), _)):
            return low >= 0
        case RandomVariable(_, law):
            return not _is_noise(law)
    return _is_above_zero(term, theta)
