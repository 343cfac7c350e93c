"""Arrays of numbers on an instance: one row of them, which of their neighbours matter, and what must hold of all."""

from __future__ import annotations

import numpy as np

from derive.instances.errors import UnreadableError
from derive.instances.jets import Array, Jet, constant, log, subtract

_MATTERS = 1e-7


def logit(u: Jet) -> Jet:
    """Return log(u / (1 - u))."""
    return subtract(log(u), log(subtract(constant(1), u)))


def neighbours(values: Array, weights: Array) -> Array:
    """Return which nodes and their next ones both matter, as far as a rule for integrals can tell."""
    sizes = abs(weights)
    matter: Array = np.broadcast_to(sizes > _MATTERS * sizes.max(axis=0), np.broadcast_shapes(values.shape, weights.shape))
    both: Array = matter[1:] & matter[:-1]
    return both


def row(jet: Jet, k: int) -> Jet:
    """Return one entry along the first axis."""
    return {b: part[k] for b, part in jet.items()}


def demand(condition: Array, message: str) -> None:
    """Refuse an instance on which something does not hold everywhere.

    Raises
        UnreadableError, with the message.
    """
    if not np.all(condition):
        raise UnreadableError(message)
