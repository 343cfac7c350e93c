"""What the notation expects of its arguments: each function returns an argument that is right and refuses any other at once."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shortened

from derive.language.errors import NotATerm, ScopeError, UsageError
from derive.language.exactness import rational
from derive.language.scope import free
from derive.language.term import DensityLaw, FiniteLaw, RandomVariable, Symbol, Term, lift


def a_name(name: object, of: str) -> str:
    """Return a name: a string that is not blank.

    Raises
        UsageError, otherwise.
    """
    if isinstance(name, str) and name.strip():
        return name
    message = f"the name of a {of} is a string that is not empty: {shortened(name)} cannot become a name in generated code."
    raise UsageError(message)


def a_parameter(value: object, use: str) -> Symbol:
    """Return a symbol, which is what one differentiates by.

    Raises
        NotATerm, otherwise.
    """
    if isinstance(value, Symbol):
        return value
    message = f"{use} differentiates by a parameter, such as theta = parameter('theta'); got {_shown(value)}."
    raise NotATerm(message)


def a_variable(value: object, use: str) -> RandomVariable:
    """Return a random variable.

    Raises
        NotATerm, otherwise.
    """
    if isinstance(value, RandomVariable):
        return value
    message = f"{use} takes a random variable, such as b = finite('b', theta); got {_shown(value)}."
    raise NotATerm(message)


def law_parameters(values: Sequence[object], name: str) -> tuple[Term, ...]:
    """Return the parameters of an abstract law.

    Raises
        NotATerm, if one is no term, or a random variable.
    """
    for value in values:
        if not isinstance(value, Term) or isinstance(value, RandomVariable):
            message = (
                f"the law of {name} takes parameters, such as theta = parameter('theta'); got {_shown(value)}."
                f" A condition is written given=(b,), the name of the law law='q'."
            )
            raise NotATerm(message)
    return tuple(value for value in values if isinstance(value, Term))


def conditions(given: object, name: str) -> tuple[Term, ...]:
    """Return what a law is conditioned on, as terms.

    Raises
        NotATerm, if it is no tuple of terms.
    """
    if isinstance(given, (tuple, list)):
        return tuple(lift(term) for term in given)
    message = f"the conditions of {name} are a tuple, such as given=(b,); got {_shown(given)}."
    raise NotATerm(message)


def a_count(value: object, of: str) -> int:
    """Return a whole number from 1.

    Raises
        UsageError, otherwise.
    """
    number = rational(value)
    if number is not None and number.denominator == 1 and number >= 1:
        return number.numerator
    message = f"the number of {of} must be a whole number, at least 1, got {shortened(value)}."
    raise UsageError(message)


def jointly(variables: object, use: str) -> tuple[RandomVariable, ...]:
    """Return variables that are drawn one after the other.

    Raises
        NotATerm, if it is no tuple of random variables.
        ScopeError, if one is drawn twice, or a law depends on a variable that is drawn after it.
        UsageError, if two variables of different names have the same law only because nobody named it.
    """
    if not isinstance(variables, (tuple, list)):
        message = f"{use} takes a tuple of random variables, such as (b,); got {_shown(variables)}."
        raise NotATerm(message)
    drawn = tuple(a_variable(variable, use) for variable in variables)
    for i, variable in enumerate(drawn):
        if variable.name in (other.name for other in drawn[:i]):
            message = f"{use} draws {variable.name} twice: independent copies are copies({variable.name}, 2)."
            raise ScopeError(message)
        later = sorted(other.name for other in drawn[i:] if any(other in free(term) for term in variable.law.terms))
        if later:
            message = f"in {use} the law of {variable.name} depends on {', '.join(later)}, drawn after it: change the order."
            raise ScopeError(message)
    refuse_shared_defaults(drawn, use)
    return drawn


def refuse_shared_defaults(variables: Sequence[RandomVariable], use: str) -> None:
    """Refuse two variables of different names that have the same law only because nobody named it.

    Raises
        UsageError, which says how to share a law, and how not to.
    """
    owners: dict[tuple[type, str, int], str] = {}
    for variable in variables:
        law = variable.law
        if not isinstance(law, (FiniteLaw, DensityLaw)) or not law.default_of:
            continue
        shape = (type(law), law.name, len(law.given) if isinstance(law, FiniteLaw) else 0)
        first = owners.setdefault(shape, law.default_of)
        if first != law.default_of:
            message = (
                f"{use} draws {first} and {law.default_of}, and both have the law {law.name} by default: give one of them a law"
                f" of its own, law='q', or say that they share it, by copies({first}, 2) or law='{law.name}'."
            )
            raise UsageError(message)


def _shown(value: object) -> str:
    if isinstance(value, RandomVariable):
        return f"the random variable {value.name}"
    return f"{shortened(value)} of type {type(value).__name__}"
