"""One object for all nodes that are written alike: what is remembered of one is known of all. TRUSTED, and decides nothing.

Two nodes are one where their parts are the same objects, and their names and numbers equal and of the same type. So nothing
that a node holds depends on which one was made first, not even what `==` leaves out.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

MOST_SHARED = 100_000
_NODES: dict[tuple[object, ...], Any] = {}


class Shared(type):
    """The class of the classes of nodes: making a node that is known already returns the known one.

    >>> from derive.language.term import Symbol
    >>> Symbol("x") + 1 is Symbol("x") + 1
    True
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        known = None if kwargs else _NODES.get((cls, *map(_mark, args)))
        if known is not None:
            return known
        node = super().__call__(*args, **kwargs)
        if len(_NODES) > MOST_SHARED:
            _NODES.clear()  # the keys hold the addresses of what the nodes hold: both go together
        return _NODES.setdefault((cls, *map(_mark, vars(node).values())), node)


def forget() -> None:
    """Forget what is remembered of nodes, as a test must that has broken what computes it."""
    for node in _NODES.values():
        for name in [name for name in vars(node) if name.startswith("_")]:
            del vars(node)[name]


def _mark(value: object) -> object:
    """Return what tells a field from others; an address is good for as long as the node lives that holds the field."""
    kind = type(value)
    if type(kind) is Shared:
        return id(value)
    if type(value) is tuple:
        return tuple(map(id, value))
    if isinstance(value, (str, int)):
        return kind, value
    if type(value) is Fraction:
        return kind, value.numerator, value.denominator
    return id(value)
