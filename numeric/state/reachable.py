"""What code can reach: the objects in its closures, in the globals that it names, in its objects and in what they hold.

Functions are followed by their code: the variables of the closure, the defaults, and those globals that the code names, also as
attributes of modules. Other objects are followed as the garbage collector sees them. Python's library, torch and numpy are not
entered, but what the user holds of their objects is.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, GeneratorType, ModuleType, TracebackType
from typing import Any, TypeAlias

from torch import Tensor

from numeric.state.foreign import is_array, is_foreign, source_of

MOST_OBJECTS = 200_000
"""After so many objects the search ends."""

Child: TypeAlias = tuple[str, Any]

_CLOSED = {*sys.stdlib_module_names, "derive", "gradproof", "numeric", "numpy", "scipy", "torch", "_pytest", "pytest"}
_LEAVES = (str, bytes, int, float, complex, bool, type(None), FrameType, TracebackType, CodeType)


def reachable(roots: Iterable[Child]) -> Iterator[Child]:
    """Yield each object that code or data can reach, with the way to it, the nearest first.

    >>> import random
    >>> own = random.Random(0)
    >>> [way for way, thing in reachable([("loss", {"draw": own.random})]) if thing is own]
    ["loss['draw']"]
    """
    seen = dict[int, Any]()
    waiting, visited = deque(_unseen(roots, seen)), 0
    while waiting and visited < MOST_OBJECTS:
        way, thing = waiting.popleft()
        visited += 1
        yield way, thing
        waiting.extend((f"{way}{name}", child) for name, child in _unseen(_children(thing), seen))


def _unseen(children: Iterable[Child], seen: dict[int, Any]) -> Iterator[Child]:
    """Those that hold something and were not met before; they are kept alive, so that no other object has their number."""
    for name, child in children:
        if id(child) not in seen and not isinstance(child, _LEAVES):
            seen[id(child)] = child
            yield name, child


def _children(thing: Any) -> Iterable[Child]:
    if isinstance(thing, FunctionType):
        return _of_function(thing)
    if isinstance(thing, type):
        return [] if _is_closed(thing.__module__) else _attributes(dict(vars(thing)))
    if is_foreign(thing):
        return [("", source_of(thing)), (".seed_seq", getattr(thing, "seed_seq", None))]
    if isinstance(thing, (ModuleType, Tensor)):
        return []
    if isinstance(thing, BuiltinFunctionType):
        return [("", thing.__self__)]
    if isinstance(thing, weakref.ReferenceType):
        return [("", thing())]
    if isinstance(thing, GeneratorType) and thing.gi_frame is not None:
        frame = thing.gi_frame
        return [*_attributes(frame.f_locals), *_named(_names(thing.gi_code), frame.f_globals)]
    return _of_object(thing)


def _of_object(thing: Any) -> Iterator[Child]:
    """What an object holds: under its name where it has one; also what only the garbage collector sees, as in slots."""
    if type(thing).__dictoffset__:
        yield from _attributes(vars(thing))
    if isinstance(thing, dict):
        holding = ((key, value) for key, value in dict.items(thing) if not isinstance(value, _LEAVES))
        yield from ((f"[{key!r}]" if isinstance(key, (str, int)) else "[...]", value) for key, value in holding)
    if is_array(thing) and thing.dtype.hasobject:
        yield from (("[...]", each) for each in thing.ravel().tolist())
    yield from (("", child) for child in (*gc.get_referents(thing), _owner(thing)))


def _owner(thing: Any) -> Any:
    """What a method of compiled code is bound to; a function of Cython may have none, and an object answer for any name."""
    if not hasattr(type(thing), "__self__"):
        return None
    with suppress(Exception):
        return thing.__self__
    return None


def _attributes(namespace: Any) -> list[Child]:
    return [(f".{name}", value) for name, value in list(namespace.items())]


def _of_function(function: FunctionType) -> Iterator[Child]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:
            continue
    yield from (("(default)", value) for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()))
    yield from _attributes(vars(function))
    if not _is_closed(function.__module__):
        yield from _named(_names(function.__code__), function.__globals__)


def _named(names: set[str], namespace: dict[str, Any]) -> Iterator[Child]:
    """The globals of some names; of a module, those that its own names say, as in `environments.rng`."""
    entered: set[str] = set()
    waiting = [namespace, {name: sys.modules[name] for name in names if name in sys.modules and name not in namespace}]
    while waiting:
        now = waiting.pop()
        for name in names & now.keys():
            value = now[name]
            if not isinstance(value, ModuleType):
                yield f".{name}", value
            elif not _is_closed(value.__name__) and value.__name__ not in entered:
                entered.add(value.__name__)
                waiting.append(vars(value))


def _names(code: CodeType) -> set[str]:
    """The names in a function and in the functions inside it, also where they are given as strings."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    strings = {each for each in code.co_consts if isinstance(each, str) and each.isidentifier()}
    return strings.union(code.co_names, *map(_names, inner))


def _is_closed(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _CLOSED
