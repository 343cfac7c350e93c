"""What an estimator may have as its target: a gradient, or a sum of gradients and of multiples of them."""

from __future__ import annotations

from fractions import Fraction

from derive.language.errors import UsageError
from derive.language.scope import depends
from derive.language.term import Add, Grad, Mul, Number, Stop, Symbol, Term

ONE = Number(Fraction(1))


def gradients(target: Term) -> list[tuple[Term, Grad]]:
    """Return the gradients of which a target is the sum, each with its factor.

    Raises
        UsageError, if it is no such sum; the message says what is in the way.

    >>> from derive.notation import E, finite, function, grad, parameter
    >>> theta, f = parameter("theta"), function("f")
    >>> b = finite("b", theta)
    >>> [factor.name for factor, _ in gradients(theta * grad(E(f(b), b), theta))]
    ['theta']
    """
    match target:
        case Grad():
            return [(ONE, target)]
        case Add(args):
            return [pair for arg in args for pair in gradients(arg)]
        case Mul(args):
            found = [i for i, arg in enumerate(args) if _holds_gradient(arg)]
            if len(found) == 1:
                rest = Mul((*args[: found[0]], *args[found[0] + 1 :]))
                factor = rest.args[0] if len(rest.args) == 1 else rest
                return [(factor if own == ONE else factor * own, one) for own, one in gradients(args[found[0]])]
            if found:
                message = "it multiplies gradients with each other"
                raise UsageError(message)
    message = f"got a {type(target).__name__} that is none"
    raise UsageError(message)


def _holds_gradient(term: Term) -> bool:
    """Whether a factor is a gradient, or a sum in which there are some."""
    return isinstance(term, Grad) or (isinstance(term, (Add, Mul)) and any(map(_holds_gradient, term.args)))


def parameter_of(target: Term) -> Symbol:
    """Return what all gradients of a target are by.

    Raises
        UsageError, if they are by several parameters.
    """
    parameters = {one.parameter for _, one in gradients(target)}
    if len(parameters) > 1:
        message = f"it has gradients by {' and by '.join(sorted(one.name for one in parameters))}"
        raise UsageError(message)
    return parameters.pop()


def objective_of(target: Term) -> Term:
    """Return a term of which the target is the gradient; a factor that would move with the parameter is stopped.

    >>> from derive.notation import E, finite, function, grad, parameter
    >>> b, theta, f = finite("b", parameter("theta")), parameter("theta"), function("f")
    >>> objective_of(2 * grad(E(f(b), b), theta)) == 2 * E(f(b), b)
    True
    """
    parts = [_inside(factor, one) for factor, one in gradients(target)]
    return parts[0] if len(parts) == 1 else Add(tuple(part for term in parts for part in _summands(term)))


def _inside(factor: Term, one: Grad) -> Term:
    if factor == ONE:
        return one.body
    return (Stop(factor) if depends(factor, one.parameter) else factor) * one.body


def _summands(term: Term) -> tuple[Term, ...]:
    return term.args if isinstance(term, Add) else (term,)
