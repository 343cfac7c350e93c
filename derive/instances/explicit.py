"""Explicit finite laws on an instance: their numbers, and the probability of each."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np

from derive.instances.arrays import demand
from derive.instances.densities import Args
from derive.instances.errors import UnreadableError
from derive.instances.jets import Array, Jet, add, chosen, constant
from derive.language.choice import ChoiceLaw
from derive.language.term import Law, NamedLaw

_SAME, _ROUNDING = 1e-9, 1e-12


def outcomes(law: ChoiceLaw, args: Args, depth: int, kind: Any) -> tuple[Jet, Jet]:
    """Return the values and their probabilities along a first axis, above `depth` others."""
    return constant(points(law).reshape((-1,) + (1,) * depth), kind), _stacked(probabilities(args), depth)


def points(law: ChoiceLaw) -> Array:
    """Return the values of a law."""
    return np.array([float(value) for value in law.values])


def mass(law: ChoiceLaw, at: Jet, args: Args) -> Jet:
    """Return the probability of a number: zero where it is none of the values."""
    return _at(law.values, probabilities(args), at)


def looked_up(values: Sequence[Fraction], entries: Sequence[Jet], at: Jet) -> Jet:
    """Return the entry of a table at a number.

    Raises
        UnreadableError, if it has none there.
    """
    if not np.all(np.any([abs(at[0] - float(value)) < _SAME for value in values], axis=0)):
        message = "the entry of a table at a number that it has not."
        raise UnreadableError(message)
    return _at(values, entries, at)


def _at(values: Sequence[Fraction], entries: Sequence[Jet], at: Jet) -> Jet:
    here = (chosen(abs(at[0] - float(value)) < _SAME, one) for value, one in zip(values, entries, strict=True))
    return reduce(add, here)


def probabilities(args: Args) -> Args:
    """Return numbers that are probabilities.

    Raises
        UnreadableError, if one is negative, or they do not sum to one.
    """
    message = "the numbers of an explicit finite law are no probabilities."
    demand(abs(reduce(add, args)[0] - 1) < _SAME, message)
    for arg in args:
        demand(arg[0] >= -_ROUNDING, message)
    return args


def covers(sampled: Law, other: Law) -> bool | None:
    """Whether one law has all values of another, None where none of them is explicit."""
    if not isinstance(other, ChoiceLaw):
        return False if isinstance(sampled, ChoiceLaw) else None
    if isinstance(sampled, ChoiceLaw):
        return set(other.values) <= set(sampled.values)
    return isinstance(sampled, NamedLaw) and sampled.counts and all(v.denominator == 1 and v >= 0 for v in other.values)


def _stacked(args: Args, depth: int) -> Jet:
    stacked: Jet = {}
    for bits in {bits for arg in args for bits in arg}:
        parts = (arg.get(bits, np.zeros((), arg[0].dtype)) for arg in args)
        stacked[bits] = np.stack(np.broadcast_arrays(np.zeros((1,) * depth), *parts)[1:])
    return stacked
