"""One object for all nodes that are written alike: what is remembered of one is known of all. TRUSTED, and decides nothing.

Two nodes are one where their parts are the same objects, and their names and numbers equal and of the same type. So nothing
that a node holds depends on which one was made first, not even what `==` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from functools import wraps
from hashlib import sha256
from typing import Any, TypeVar

Node = TypeVar("Node")
Result = TypeVar("Result")
MOST_SHARED, MOST_TEXT, MOST_WRITTEN = 100_000, 500, 5_000
_NODES: dict[tuple[object, ...], Any] = {}
_REMEMBERED: dict[str, str] = {}  # of which module a function is


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


def remembered(of: Callable[[Node], Result]) -> Callable[[Node], Result]:
    """Compute what a function gives for a node once, and keep it with the node: a cache would compare whole trees."""
    name = "_" + of.__name__.strip("_")
    if _REMEMBERED.setdefault(name, of.__module__) != of.__module__:
        message = f"two functions called {of.__name__} cannot both be remembered: {_REMEMBERED[name]} has one."
        raise TypeError(message)

    @wraps(of)
    def once(term: Node) -> Result:
        known = term.__dict__
        if name not in known:
            known[name] = of(term)
        found: Result = known[name]
        return found

    return once


def written_once(write: Callable[[Any], str]) -> Callable[[Any], str]:
    """Keep what is short of what `repr` gives, by which atoms are put in order: long terms are made of the same short ones."""

    @wraps(write)
    def text(term: Any) -> str:
        known = term.__dict__.get("_text")
        if known is not None:
            return str(known)
        written = write(term)
        if len(written) < MOST_TEXT:
            term.__dict__["_text"] = written
        return written

    return text


def rank(node: Any) -> str:
    """Return what puts nodes in an order, whenever they were made: what `repr` says, of a huge node a digest of it.

    >>> from derive.language.term import Exp, Symbol
    >>> x = Symbol("x")
    >>> rank(x + 1) == repr(x + 1)
    True
    >>> for _ in range(40):
    ...     x = Exp(x) + x
    >>> len(rank(x))
    64
    """
    return repr(node) if _size(node) <= MOST_WRITTEN else _digest(node)


def _held(node: Any) -> list[Any]:
    values = [vars(node)[field.name] for field in fields(node) if field.repr]
    return [one for value in values for one in (value if type(value) is tuple else (value,))]


def _is_node(value: object) -> bool:
    return type(type(value)) is Shared


@remembered
def _size(node: Any) -> int:
    return 1 + sum(_size(value) for value in _held(node) if _is_node(value))


@remembered
def _digest(node: Any) -> str:
    held = [_digest(value) if _is_node(value) else repr(value) for value in _held(node)]
    return sha256(repr((type(node).__name__, held)).encode()).hexdigest()


def forget() -> None:
    """Forget what is remembered of nodes, as a test must that has broken what computes it."""
    for node in list(_NODES.values()):
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
