"""Sources of chance that are not torch's: generators of `random` and of numpy, and the entropy of the operating system.

What they give is no torch operation, so it cannot be enumerated. A generator is seen to have drawn by its state; entropy has no
state, so the functions that fetch it are replaced while an audit runs, and note who called them.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from types import FrameType
from typing import Any

_BETWEEN = {"os", "random", "secrets", "uuid", "numpy"}
"""Modules that a call for entropy passes through on its way from the code that makes it."""


def is_foreign(thing: Any) -> bool:
    """Whether an object is a generator of `random` or of numpy, which has a state that can be read and set.

    >>> is_foreign(random.Random(0)), is_foreign(random.SystemRandom()), is_foreign(random)
    (True, False, False)
    """
    return (isinstance(thing, random.Random) and not isinstance(thing, random.SystemRandom)) or isinstance(thing, _of_numpy())


def is_array(thing: Any) -> bool:
    """Whether an object is an array of numpy."""
    return "numpy" in sys.modules and isinstance(thing, sys.modules["numpy"].ndarray)


def state_of(generator: Any) -> Any:
    """Return the state of a generator as a value that can be compared and given to `set_state`."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, sys.modules["numpy"].random.SeedSequence):
        return generator.n_children_spawned
    if hasattr(generator, "get_state"):
        return _Comparable(generator.get_state(legacy=False))
    return _Comparable(source_of(generator).state)


def set_state(generator: Any, state: Any) -> None:
    """Give a generator a state that `state_of` returned."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, sys.modules["numpy"].random.SeedSequence):
        kept = {name: getattr(generator, name) for name in ("entropy", "spawn_key", "pool_size")}
        generator.__init__(**kept, n_children_spawned=state)
    elif hasattr(generator, "set_state"):
        generator.set_state(state.value)
    else:
        source_of(generator).state = state.value


def shared_generators() -> dict[str, Any]:
    """Return by name the generators that the functions of the modules `random` and `numpy.random` draw from."""
    found: dict[str, Any] = {"random": random.getstate.__self__}  # type: ignore[attr-defined]
    if "numpy" in sys.modules:
        found["numpy.random"] = sys.modules["numpy"].random.mtrand._rand
    return found


class _Comparable:
    """The state of a generator of numpy: a nested dictionary, with arrays in it."""

    def __init__(self, value: Any) -> None:
        self.value, self._key = value, _key(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Comparable) and self._key == other._key

    __hash__ = None  # type: ignore[assignment]


def _key(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _key(part) for name, part in value.items()}
    return value.tobytes() if hasattr(value, "tobytes") else value


def source_of(generator: Any) -> Any:
    """Return what has the state: two generators of numpy may share it."""
    return getattr(generator, "_bit_generator", generator)


def _of_numpy() -> tuple[type, ...]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    return numpy.random.Generator, numpy.random.RandomState, numpy.random.BitGenerator, numpy.random.SeedSequence


class Entropy:
    """Notes each call for the entropy of the operating system that the audited code makes: `calls` has function and place."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Replace the functions that fetch entropy by ones that note the call, until the end of the block."""
        replaced: Sequence[tuple[Any, str, str, Callable[..., bool]]] = (
            (os, "urandom", "os.urandom", lambda *_: True),
            (random, "_urandom", "os.urandom", lambda *_: True),
            (random.Random, "seed", "a generator of random without a seed", lambda _, seed=None, *__: seed is None),
        )
        kept = [(where, name, getattr(where, name)) for where, name, *_ in replaced]
        try:
            for (where, name, called, fetches), (*_, original) in zip(replaced, kept, strict=True):
                setattr(where, name, self._noting(original, called, fetches))
            yield
        finally:
            for where, name, original in kept:
                setattr(where, name, original)

    def _noting(self, original: Callable[..., Any], called: str, fetches: Callable[..., bool]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            place = _caller() if fetches(*args, *kwargs.values()) else ""
            if place:
                self.calls.append(f"{called}, {place}")
            return original(*args, **kwargs)

        return noting


def _caller() -> str:
    """The place in the audited code that a call comes from, "" if that is an import, Python's library or torch."""
    frames = list(takewhile(lambda frame: _root(frame) != __name__.partition(".")[0], _outwards(sys._getframe(2))))
    own = next((frame for frame in frames if _root(frame) not in _BETWEEN), None)
    not_theirs = {*sys.stdlib_module_names, "torch", "joblib", "cloudpickle"}
    if own is None or _root(own) in not_theirs or any(_root(each) == "importlib" for each in frames):
        return ""
    return f"in {own.f_code.co_qualname}, line {own.f_lineno}"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
