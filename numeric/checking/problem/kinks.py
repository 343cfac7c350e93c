"""Where a mean under a law with a name has an integrand that jumps or bends between the nodes, unseen by rules for smooth ones.

A density is zero outside of its support, that of a Laplace law bends at its location, and that of a Maxwell law is zero there:
its logarithm and its score have a pole. Under a variable of its own law this lies where the nodes end; elsewhere it lies in the
middle of them, and what is found there is no judgement.
"""

from __future__ import annotations

from derive.language.errors import NotEvaluable
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import (
    Add,
    Density,
    Exp,
    Law,
    Mul,
    NamedLaw,
    Number,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Stop,
    Term,
    UniformLaw,
    subterms,
)
from numeric.codegen.expressions import one, zero
from numeric.codegen.laws import laws_of, unstopped

SMOOTH = ("Logistic", "Gumbel")
AT_MIDDLE = ("Laplace", "Maxwell")
"""Laws that bend, or have a zero, at their location."""
HALF_LINE = ("Exponential", "Gamma", "Weibull")


def require_smooth(estimator: Estimator) -> None:
    """Refuse an estimator with a jump or a kink in the middle of continuous noise; the parameters of its laws are positive.

    Raises
        NotEvaluable, that names what jumps.

    >>> from derive.notation import E, exponential, function, grad, log, p, parameter
    >>> theta, f = parameter("theta"), function("f")
    >>> x = exponential("x", rate=theta)
    >>> moved = Estimator("mine", log(p(x, at=x - 1)), (x,), grad(E(f(x), x), theta))
    >>> require_smooth(moved)
    Traceback (most recent call last):
    derive.language.errors.NotEvaluable: 'mine' has the density of Exponential at x - 1, which may jump or bend between the
    nodes of continuous noise: the crosscheck cannot judge it.
    """
    positive = frozenset(unstopped(term) for law in laws_of(estimator) if isinstance(law, NamedLaw) for term in law.positives)
    for term in (estimator.formula, estimator.target):
        for part in subterms(term):
            what = _rough(part, positive)
            if what:
                message = (
                    f"{estimator.name!r} has {what}, which may jump or bend between the nodes of continuous noise: the"
                    " crosscheck cannot judge it."
                )
                raise NotEvaluable(message)


def _rough(part: Term, positive: frozenset[Term]) -> str:
    """What may jump or bend in the middle of noise; nothing where that is known to be smooth, or is a sum over counts."""
    if isinstance(part, Sign) and _is_continuous(part.arg):
        return f"the sign of {part.arg}"
    if not isinstance(part, (Density, Score)) or not isinstance(part.law, NamedLaw) or not _is_continuous(part.at):
        return ""
    return "" if _is_smooth(part.law, unstopped(part.at), positive) else f"the density of {part.law.name} at {part.at}"


def _is_continuous(term: Term) -> bool:
    """Whether there is continuous noise in a term."""
    variables = [leaf for leaf in free(term) if isinstance(leaf, RandomVariable)]
    return any(not (isinstance(leaf.law, NamedLaw) and leaf.law.counts) for leaf in variables)


def _is_smooth(law: NamedLaw, at: Term, positive: frozenset[Term]) -> bool:
    if law.name in SMOOTH:
        return True
    if law.name in HALF_LINE:
        return _is_positive(at, positive)
    if law.name == "Beta":
        return isinstance(at, Sigmoid) or (isinstance(at, RandomVariable) and _on_unit(at.law))
    return law.name in AT_MIDDLE and _bends_at_its_own(law, at)


def _bends_at_its_own(law: NamedLaw, at: Term) -> bool:
    """Whether a point is a variable of the same location, or the location and a multiple of one without."""
    loc = unstopped(law.parameters[0])
    if isinstance(at, RandomVariable):
        return _is_of(law.name, at, loc)
    rest = [arg for arg in at.args if arg != loc] if isinstance(at, Add) and loc in at.args else [at]
    if len(rest) != 1 or (rest == [at] and loc != zero()):
        return False
    factors = rest[0].args if isinstance(rest[0], Mul) else rest
    variables = [factor for factor in factors if isinstance(factor, RandomVariable)]
    still = not any(isinstance(leaf, RandomVariable) for factor in factors if factor not in variables for leaf in free(factor))
    return still and len(variables) == 1 and _is_of(law.name, variables[0], zero())


def _is_of(name: str, variable: RandomVariable, loc: Term) -> bool:
    """Whether a variable has the law of that name, at that location."""
    law = variable.law
    return isinstance(law, NamedLaw) and law.name == name and unstopped(law.parameters[0]) == loc


def _on_unit(law: Law) -> bool:
    return (isinstance(law, NamedLaw) and law.name == "Beta") or law == UniformLaw(zero(), one())


def _is_positive(term: Term, known: frozenset[Term]) -> bool:
    """Whether a term is positive by its shape."""
    if unstopped(term) in known:
        return True
    match term:
        case Number(value):
            return value > 0
        case Exp() | Sigmoid():
            return True
        case RandomVariable(_, law):
            uniform = isinstance(law, UniformLaw) and isinstance(law.low, Number) and law.low.value >= 0
            return uniform or (isinstance(law, NamedLaw) and law.name in (*HALF_LINE, "Beta"))
        case Add(args) | Mul(args):
            return all(_is_positive(arg, known) for arg in args)
        case Power(base, _):
            return _is_positive(base, known)
        case Stop(body):
            return _is_positive(body, known)
    return False
