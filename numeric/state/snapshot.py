"""Declared state: what some objects hold, all the way down, and how it is put back.

Every object stays the object that it is, and only what it holds is put back, so that whoever shares a part of it goes on
sharing it. The parameters that are audited are passed over: it is the audit that moves them.
"""

from __future__ import annotations

import random
import sys
import types
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from derive.language.errors import UsageError
from numeric.state.foreign import is_array, is_foreign, set_state, shared_generators, source_of, state_of
from numeric.state.holders import FIXED, Kept, PutBack, attributes_of_class, held

_Span: TypeAlias = tuple[int, int]
"""The first address of some memory, and that after its last."""


class Snapshot:
    """What some objects hold now, but for some tensors.

    Args
        things  tensors, modules, containers, arrays, generators or objects; with everything in them
        apart   the tensors that are left alone, with whatever shares their memory

    Raises
        UsageError, if something in them cannot be put back.

    >>> average = {"baseline": 0.0, "last": [1, 2]}
    >>> now = Snapshot([average])
    >>> average["last"].append(3)
    >>> average["baseline"] = 0.3
    >>> now.put_back()
    >>> average
    {'baseline': 0.0, 'last': [1, 2]}
    """

    moved: dict[str, None]
    """The generators that were found to have drawn, by the way to them."""

    def __init__(self, things: Sequence[Any], apart: Iterable[Tensor] = ()) -> None:
        self.moved = {}
        self._apart = [_span(tensor) for tensor in apart]
        self._seen: dict[int, Any] = {}
        self._actions: list[PutBack] = []
        for position, thing in enumerate(things):
            self._keep(f"state[{position}]", thing)

    def put_back(self) -> None:
        """Give every object what it held."""
        for action in self._actions:
            action()

    def holds(self, thing: Any) -> bool:
        """Whether an object is among those that are put back."""
        return id(thing) in self._seen or id(source_of(thing)) in self._seen

    def _keep(self, way: str, root: Any) -> None:
        waiting: deque[tuple[str, Any]] = deque([(way, _generator_of(root))])
        while waiting:
            way, thing = waiting.popleft()
            if id(thing) in self._seen or (thing is not root and isinstance(thing, FIXED)):
                continue
            self._seen[id(thing)] = thing
            action, children = self._kept(way, thing, is_root=thing is root)
            self._actions += [] if action is None else [action]
            waiting.extend((f"{way}{name}", child) for name, child in children)

    def _kept(self, way: str, thing: Any, *, is_root: bool) -> Kept:
        if isinstance(thing, Tensor):
            return self._of_tensor(thing)
        if is_array(thing):
            return self._of_array(thing)
        if is_foreign(thing):
            return self._of_generator(way, thing), [("", source_of(thing)), (".seed_seq", getattr(thing, "seed_seq", None))]
        if is_root and isinstance(thing, type):
            return attributes_of_class(thing)
        found = None if is_root and isinstance(thing, FIXED) and not _is_set_elsewhere(thing) else held(thing)
        if found is None:
            raise _cannot_be_put_back(way, thing)
        return found

    def _of_tensor(self, tensor: Tensor) -> Kept:
        if self._is_apart(_span(tensor)):
            return None, ()
        return keep_tensor(tensor), ()

    def _of_array(self, values: Any) -> Kept:
        start = int(values.__array_interface__["data"][0])
        if not values.flags.writeable or self._is_apart((start, start + values.nbytes)):
            return None, ()
        kept = values.copy()

        def put_back() -> None:
            if values.shape != kept.shape:
                values.resize(kept.shape, refcheck=False)
            values[...] = kept

        return put_back, [("[...]", each) for each in kept.ravel().tolist()] if values.dtype.hasobject else ()

    def _of_generator(self, way: str, generator: Any) -> PutBack:
        state = state_of(generator)

        def put_back() -> None:
            if state_of(generator) != state:
                self.moved[way] = None
                set_state(generator, state)

        return put_back

    def _is_apart(self, span: _Span) -> bool:
        return any(span[0] < end and start < span[1] for start, end in self._apart)


def keep_tensor(tensor: Tensor) -> PutBack:
    """Return a function that gives a tensor back its memory, its values, its gradient, and whether it requires one."""
    if is_lazy(tensor) or tensor.is_meta or hasattr(tensor, "__tensor_flatten__"):
        return lambda: None
    memory, is_leaf, requires_grad = tensor.detach(), tensor.is_leaf, tensor.requires_grad
    values, gradient = _values(memory), tensor.grad if is_leaf else None
    keep_gradient = None if gradient is None else keep_tensor(gradient)

    def put_back() -> None:
        if is_leaf and not tensor.is_leaf:
            tensor.detach_()
        if _place(tensor) != _place(memory):
            tensor.data = memory
        _fill(memory, values)
        if is_leaf:
            tensor.requires_grad_(requires_grad)
            tensor.grad = gradient
        if keep_gradient is not None:
            keep_gradient()

    return put_back


def _values(tensor: Tensor) -> Any:
    """The values of a tensor; with those that share its memory, since an expanded tensor cannot be written to."""
    return tensor.untyped_storage().clone() if tensor.layout == torch.strided else tensor.clone()


def _fill(tensor: Tensor, values: Any) -> None:
    if tensor.layout != torch.strided:
        tensor.copy_(values)
        return
    storage = tensor.untyped_storage()
    if storage.nbytes() != values.nbytes():
        storage.resize_(values.nbytes())
    storage.copy_(values)


def _place(tensor: Tensor) -> Any:
    return None if tensor.layout != torch.strided else (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def _span(tensor: Tensor) -> _Span:
    if tensor.layout != torch.strided or is_lazy(tensor):
        return id(tensor), id(tensor)
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _generator_of(thing: Any) -> Any:
    """The modules `random` and `numpy.random` stand for the generators that their functions draw from."""
    named = {"random": random, "numpy.random": sys.modules.get("numpy.random")}
    return next((generator for name, generator in shared_generators().items() if thing is named[name]), thing)


def _is_set_elsewhere(thing: Any) -> bool:
    """Whether something that is not entered inside other state can be state itself: a module, a generator of torch."""
    return isinstance(thing, (types.ModuleType, torch.Generator))


def _cannot_be_put_back(way: str, thing: Any) -> UsageError:
    what = "holds nothing that changes" if isinstance(thing, FIXED) else "cannot be set back to what it is now"
    message = (
        f"{way} is of type {type(thing).__name__}, which {what}; expected tensors, modules, containers, arrays, generators of "
        "numpy or random, or objects made of these. Keep the object that the code changes, and in place of an iterator or a "
        "file what it reads, with a position."
    )
    return UsageError(message)
