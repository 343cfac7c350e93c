"""The generators of torch during an audit: reset before each run, watched in between, put back at the end.

A draw is known by the state that it finds its generator in. Code that sets a generator back (activation checkpointing, a seed
set
inside the function) therefore draws again what it drew before. A state that no draw of ours and no seed explains was left by
somebody who drew where nothing is intercepted, such as a thread.
"""

from __future__ import annotations

import hashlib
import weakref
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from numeric.draws.tape import NotAuditable

Key: TypeAlias = tuple[str, bytes]

_SEED = 0x5EED_0F_A0D17


class Generators:
    """Every generator that the audited code was seen to draw from, the default ones first."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Generator], Tensor]] = {}
        self._explained: dict[int, set[bytes]] = {}
        self._kept: list[torch.Generator] = []
        self.note(torch.default_generator)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            for generator in torch.cuda.default_generators:
                self.note(generator)

    def note(self, generator: torch.Generator) -> None:
        """Remember a generator with its present state, if it is new."""
        if self._find(generator) is None:
            self._known[_address(generator)] = (weakref.ref(generator), generator.get_state())

    def begin_run(self, salt: int) -> None:
        """Give every generator that lived before this run a state of ours, which depends on `salt`."""
        self._explained = {}
        self._known = {address: known for address, known in self._known.items() if known[0]() is not None}
        for position, generator in enumerate(self._alive()):
            generator.manual_seed(_SEED + 1000 * salt + position)
            self._explained.setdefault(_address(generator), set()).add(_seeded(generator))

    def end_run(self) -> None:
        """Raise NotAuditable if a generator moved since its last intercepted draw."""
        for generator in self._alive():
            self.key(generator)

    def restore(self) -> None:
        """Give every generator the state that it had before the audit."""
        for reference, state in self._known.values():
            generator = reference()
            if generator is not None:
                generator.set_state(state)

    def of(self, chosen: torch.Generator | None, device: torch.device) -> torch.Generator:
        """Return the generator that a draw on a device uses."""
        if chosen is None:
            return torch.cuda.default_generators[device.index or 0] if device.type == "cuda" else torch.default_generator
        known = self._find(chosen)
        if known is None:
            self._kept.append(chosen)
            self.note(chosen)
        return chosen if known is None else known

    def key(self, generator: torch.Generator) -> Key:
        """Return what a draw from this generator is known by.

        Raises
            NotAuditable, if something that was not intercepted has moved the generator.
        """
        found = digest(generator)
        explained = self._explained.setdefault(_address(generator), {found})
        if found not in explained and found != _seeded(generator):
            message = (
                "a generator of torch was moved by something that is not intercepted: a thread, a process, a compiled "
                "extension, or a "
                "state set from outside. Draw in the thread that calls the function, by torch operations."
            )
            raise NotAuditable(message)
        return str(generator.device), found

    def explain(self, generator: torch.Generator) -> None:
        """Note the present state of a generator as one that we know the reason of."""
        self._explained.setdefault(_address(generator), set()).add(digest(generator))

    def _find(self, generator: torch.Generator) -> torch.Generator | None:
        known = self._known.get(_address(generator))
        return None if known is None else known[0]()

    def _alive(self) -> list[torch.Generator]:
        found = [reference() for reference, _ in self._known.values()]
        return [generator for generator in found if generator is not None]


def _address(generator: Any) -> int:
    return int(generator._cdata)


def digest(generator: torch.Generator) -> bytes:
    """Return a short name of the state of a generator."""
    return hashlib.blake2b(generator.get_state().numpy().tobytes(), digest_size=16).digest()


def _seeded(generator: torch.Generator) -> bytes:
    return _after_seed(generator.device, generator.initial_seed())


@lru_cache(maxsize=256)
def _after_seed(device: torch.device, seed: int) -> bytes:
    return digest(torch.Generator(device).manual_seed(seed))
