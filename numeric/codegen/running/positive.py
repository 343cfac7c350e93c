"""What must be positive at the numbers that are given: the parameters of laws with names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UnknownNode, UsageError
from derive.language.scope import free
from derive.language.term import Add, Exp, Log, Mul, Number, Power, Sigmoid, Sign, Stop, Symbol, Term
from numeric.codegen.inputs import is_transformed

ROUNDING = 1e-6  # of a probability that is a difference, in 32 bits


def require_positive(terms: tuple[Term, ...], known: Mapping[str, Any], name: str, *, or_zero: bool = False) -> None:
    """Refuse values at which an estimator has no laws; terms with symbols that are not known are passed over.

    Args
        terms    what must be positive
        known    the parameter and the constants, by their names in the formula
        name     the estimator
        or_zero  whether it may be zero, as a probability may

    Raises
        UsageError, if an entry of one is not positive, or no number.

    >>> from derive.notation import parameter
    >>> require_positive((1 - parameter("theta"),), {"theta": torch.tensor([0.5, 1.5])}, "mine")
    Traceback (most recent call last):
    derive.language.errors.UsageError: 'mine' has laws with the parameter 1 - theta, which must be positive: 1 of 2 entries is
    not, the smallest is -0.5.
    """
    for term in terms:
        if not all(isinstance(leaf, Symbol) and leaf.name in known for leaf in free(term)):
            continue
        value = torch.as_tensor(value_of(term, known))
        right = value >= -ROUNDING if or_zero else value > 0
        if is_transformed(value) or bool(right.all()):
            continue
        bad, smallest = int((~right).sum()), float(value.min())
        wanted = "must not be negative" if or_zero else "must be positive"
        message = (
            f"{name!r} has laws with the parameter {term}, which {wanted}: {bad} of {value.numel()} entries"
            f" {'is' if bad == 1 else 'are'} not, the smallest is {smallest:g}."
        )
        raise UsageError(message)


def value_of(term: Term, known: Mapping[str, Any]) -> Tensor:
    """Return the value of a term that is made of symbols and numbers.

    Raises
        UnknownNode, for another node.

    >>> from derive.notation import parameter
    >>> value_of(2 / parameter("theta"), {"theta": torch.tensor([4.0])})
    tensor([0.5000])
    """
    match term:
        case Number(value):
            return torch.tensor(float(value), dtype=torch.float64)
        case Symbol(name):
            return torch.as_tensor(known[name])
        case Add(args):
            return reduce(torch.add, [value_of(arg, known) for arg in args])
        case Mul(args):
            return reduce(torch.mul, [value_of(arg, known) for arg in args])
        case Power(base, exponent):
            return value_of(base, known) ** exponent
        case Exp(arg):
            return value_of(arg, known).exp()
        case Log(arg):
            return value_of(arg, known).log()
        case Sigmoid(arg):
            return value_of(arg, known).sigmoid()
        case Sign(arg):
            return value_of(arg, known).sign()
        case Stop(body):
            return value_of(body, known)
    message = f"a {type(term).__name__} has no place in the parameter of a law with a name in generated code."
    raise UnknownNode(message)
