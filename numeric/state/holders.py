"""What an object holds, and how it is given back: containers, attributes, slots, closures.

For each kind there is a function from an object to how its contents are put back, None where they cannot change, and to what it
holds. Only which objects are held is put back here; each of those is an object of its own, with contents of its own.
"""

from __future__ import annotations

import array
import functools
import io
import logging
import operator
import sys
import threading
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

import torch

from numeric.state.reachable import Child

PutBack: TypeAlias = Callable[[], None]
Kept: TypeAlias = tuple[PutBack | None, Iterable[Child]]

FIXED = (
    str, bytes, int, float, complex, bool, type(None), type(Ellipsis), slice, Enum, type, types.ModuleType, types.CodeType,
    logging.Logger, logging.Handler, torch.Generator, torch.dtype, torch.device, torch.layout, type(threading.Lock()),
    type(threading.RLock()),
)  # fmt: skip
"""Objects that hold nothing that an audit has to put back."""

_HEAP_TYPE = 1 << 9
_MISSING = object()


def held(thing: Any) -> Kept | None:
    """Return how what an object holds is put back, and what it holds; None if it holds something that cannot be set.

    >>> put_back, children = held([1, "two"])
    >>> list(children)
    [('[0]', 1), ('[1]', 'two')]
    >>> held(iter([1])) is None
    True
    """
    if isinstance(thing, io.IOBase):
        return (None, ()) if thing in (sys.stdin, sys.stdout, sys.stderr) else None
    parts = [holder(thing) for kinds, holder in _HOLDERS if isinstance(thing, kinds)][:1]
    if not parts and _has_hidden_part(thing):
        return (None, ()) if _is_value(thing) else None
    if type(thing).__dictoffset__:
        parts.append(_of_attributes(thing))
    parts += [_of_slot(thing, name, slot) for name, slot in _slots(type(thing))]
    actions = [action for action, _ in parts if action is not None]

    def put_back() -> None:
        for action in actions:
            action()

    return put_back, [child for _, children in parts for child in children]


def attributes_of_class(thing: type) -> Kept:
    """Return how the attributes of a class are put back that are neither functions nor special."""
    kept = _data(thing)

    def put_back() -> None:
        for name in _data(thing).keys() - kept.keys():
            delattr(thing, name)
        for name, value in kept.items():
            if vars(thing).get(name, _MISSING) is not value:
                setattr(thing, name, value)

    return put_back, [(f".{name}", value) for name, value in kept.items()]


def _data(thing: type) -> dict[str, Any]:
    special = (types.FunctionType, types.MemberDescriptorType, types.GetSetDescriptorType, classmethod, staticmethod, property)
    return {name: value for name, value in vars(thing).items() if not name.startswith("__") and not isinstance(value, special)}


def _of_attributes(thing: Any) -> Kept:
    kept = dict(vars(thing))
    return lambda: _set_items(dict, vars(thing), kept), [(f".{name}", value) for name, value in kept.items()]


def _of_dict(thing: dict[Any, Any]) -> Kept:
    base = OrderedDict if isinstance(thing, OrderedDict) else dict
    kept = dict(base.items(thing))
    children = [pair for key, value in kept.items() for pair in (("[key]", key), (f"[{key!r:.40}]", value))]
    return lambda: _set_items(base, thing, kept), children


def _set_items(base: type[dict[Any, Any]], thing: dict[Any, Any], kept: Mapping[Any, Any]) -> None:
    if _same(list(base.keys(thing)), list(kept)) and _same(list(base.values(thing)), list(kept.values())):
        return
    base.clear(thing)
    for key, value in kept.items():
        base.__setitem__(thing, key, value)


def _of_numbers(thing: Any) -> Kept:
    kept = thing[:]

    def put_back() -> None:
        thing[:] = kept

    return put_back, ()


def _of_list(thing: list[Any]) -> Kept:
    kept = list.copy(thing)

    def put_back() -> None:
        if not _same(list.copy(thing), kept):
            list.__setitem__(thing, slice(None), kept)

    return put_back, _numbered(kept)


def _of_set(thing: set[Any]) -> Kept:
    kept = set(thing)

    def put_back() -> None:
        if thing != kept:
            set.clear(thing)
            set.update(thing, kept)

    return put_back, _numbered(list(kept))


def _of_deque(thing: deque[Any]) -> Kept:
    kept = list(thing)

    def put_back() -> None:
        if not _same(list(thing), kept):
            deque.clear(thing)
            deque.extend(thing, kept)

    return put_back, _numbered(kept)


def _of_cell(thing: types.CellType) -> Kept:
    try:
        kept = thing.cell_contents
    except ValueError:
        return None, ()

    def put_back() -> None:
        thing.cell_contents = kept

    return put_back, [("", kept)]


def _of_function(thing: types.FunctionType) -> Kept:
    cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
    return None, [*((f".{name}", cell) for name, cell in cells), ("(defaults)", thing.__defaults__)]


def _of_bound(thing: Any) -> Kept:
    return None, [("", thing.__self__), ("", getattr(thing, "__func__", None))]


def _of_partial(thing: functools.partial[Any]) -> Kept:
    return None, [("(function)", thing.func), ("(arguments)", thing.args), ("(arguments)", thing.keywords)]


def _unchanging(thing: Any) -> Kept:
    return None, _numbered(list(thing))


def _of_slot(thing: Any, name: str, slot: Any) -> Kept:
    def now() -> Any:
        try:
            return slot.__get__(thing)
        except AttributeError:
            return _MISSING

    kept = now()

    def put_back() -> None:
        if now() is kept:
            return
        if kept is _MISSING:
            slot.__delete__(thing)
        else:
            slot.__set__(thing, kept)

    return put_back, [] if kept is _MISSING else [(f".{name}", kept)]


def _slots(kind: type) -> list[tuple[str, Any]]:
    """The slots that classes in Python declare: their descriptors set what is set nowhere else, in frozen classes too."""
    owners = (each for each in kind.__mro__ if "__slots__" in vars(each) and each.__flags__ & _HEAP_TYPE)
    return [
        (name, slot) for each in owners for name, slot in vars(each).items() if isinstance(slot, types.MemberDescriptorType)
    ]


def _numbered(values: Sequence[Any]) -> list[Child]:
    return [(f"[{position}]", value) for position, value in enumerate(values)]


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether two sequences hold the same objects in the same order."""
    return len(first) == len(second) and all(map(operator.is_, first, second))


def _has_hidden_part(thing: Any) -> bool:
    """Whether a class that is not written in Python has a part in an object, which nobody but that class can set."""
    return any(
        kind is not object and (not kind.__flags__ & _HEAP_TYPE or type(kind).__name__ in {"pybind11_type", "nb_type"})
        for kind in type(thing).__mro__
    )


def _is_value(thing: Any) -> bool:
    """Whether an object is hashed by what it is, as dates and dtypes are, and therefore never changes."""
    hashes: Any = type(thing).__hash__
    return hashes is not None and hashes is not object.__hash__


_HOLDERS: tuple[tuple[Any, Callable[[Any], Kept]], ...] = (
    (dict, _of_dict),
    (list, _of_list),
    (deque, _of_deque),
    (set, _of_set),
    ((bytearray, array.array), _of_numbers),
    ((tuple, frozenset), _unchanging),
    (types.MappingProxyType, lambda thing: (None, _numbered(list(thing.values())))),
    (types.CellType, _of_cell),
    (types.FunctionType, _of_function),
    ((types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType), _of_bound),
    (functools.partial, _of_partial),
    (BaseException, lambda thing: (None, _numbered(thing.args))),
    ((types.ModuleType, types.SimpleNamespace, torch.Generator), lambda _: (None, ())),
)
