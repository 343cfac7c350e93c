"""What is positive by its shape. Read by the algebra and by the premises, so that both mean the same."""

from __future__ import annotations

from derive.language.choice import ChoiceLaw
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    FiniteLaw,
    Law,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Sigmoid,
    Term,
    Threshold,
)


def positive(term: Term) -> bool:
    """Whether a term is positive by its shape: densities on their support, exponentials, their sums, products and powers.

    A normal density is positive where its law is one, that is where the scale is positive.

    >>> from derive.notation import constant, exp
    >>> positive(1 + exp(constant("x"))), positive(constant("x"))
    (True, False)
    """
    match term:
        case Number(value):
            return value > 0
        case Density(law, at):
            return in_support(law, at)
        case Exp() | Sigmoid():
            return True
        case Add(args) | Mul(args):
            return all(positive(arg) for arg in args)
        case Power(base, exponent):
            return positive(base) or exponent == 0
    return False


def in_support(law: Law, at: Term) -> bool:
    """Whether a density is positive at a point: everywhere for a normal law, else at a variable or an outcome of that law.

    An explicit finite law may give the probability zero to a value; it is positive where all of its probabilities are.
    """
    match at:
        case RandomVariable(_, own) if isinstance(law, ChoiceLaw) or isinstance(own, ChoiceLaw):
            return isinstance(law, NormalLaw) or (own == law and all(map(positive, law.terms)))
        case RandomVariable(_, own) | Apply(Threshold(_, _, own), _) if own is not None:
            return own == law or one_support(law, own) or isinstance(law, NormalLaw)
    return isinstance(law, NormalLaw)


def one_support(law: Law, other: Law) -> bool:
    """Whether two finite laws are one law at two values of its parameters and conditions, which do not move its support."""
    if not isinstance(law, FiniteLaw) or not isinstance(other, FiniteLaw) or law.name != other.name:
        return False
    return (len(law.parameters), len(law.given)) == (len(other.parameters), len(other.given))
