"""What an audit leaves as it was: parameters, gradients, declared state, generators; and what it notices to have changed."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.draws.generators import Generators
from numeric.draws.tape import NotAuditable


def named(params: Any) -> dict[str, Tensor]:
    """Return parameters by name: "theta" for one tensor, "theta[0]", ... for a list, the keys of a dictionary.

    Raises
        UsageError, unless they are distinct floating-point leaves that require grad.

    >>> list(named([torch.zeros(1, requires_grad=True)]))
    ['theta[0]']
    """
    if isinstance(params, Tensor):
        found: dict[str, Any] = {"theta": params}
    elif isinstance(params, Mapping):
        found = {str(name): value for name, value in params.items()}
    else:
        found = {f"theta[{position}]": value for position, value in enumerate(params)}
    for name, value in found.items():
        if not (isinstance(value, Tensor) and value.is_leaf and value.requires_grad):
            message = f"the parameter {name} is no leaf tensor that requires grad; give those that .backward() writes .grad of."
            raise UsageError(message)
    if not found or len({id(value) for value in found.values()}) != len(found):
        message = "params must be at least one tensor, and no tensor twice; give a tensor, a list or a dictionary of tensors."
        raise UsageError(message)
    return found


def keeper(thing: Any) -> Callable[[], None]:
    """Return a function that puts a tensor, a module, a dictionary, a list or an object back to what it is now.

    >>> average = {"baseline": 0.0}
    >>> put_back = keeper(average)
    >>> average["baseline"] = 0.3
    >>> put_back()
    >>> average
    {'baseline': 0.0}
    """
    if isinstance(thing, Tensor):
        values = thing.detach().clone()
        return lambda: _copy_into(thing, values)
    if hasattr(thing, "load_state_dict"):
        state = copy.deepcopy(thing.state_dict())
        return lambda: thing.load_state_dict(copy.deepcopy(state))
    if isinstance(thing, dict):
        items = copy.deepcopy(thing)
        return lambda: _replace(thing, items)
    if isinstance(thing, list):
        elements = copy.deepcopy(thing)
        return lambda: thing.__setitem__(slice(None), copy.deepcopy(elements))
    if hasattr(thing, "__dict__"):
        return keeper(vars(thing))
    message = f"state holds {type(thing).__name__}; expected tensors, modules, dictionaries, lists or objects with attributes."
    raise UsageError(message)


def _replace(thing: dict[Any, Any], items: dict[Any, Any]) -> None:
    thing.clear()
    thing.update(copy.deepcopy(items))


def _copy_into(tensor: Tensor, values: Tensor) -> None:
    tensor.data.copy_(values)


class Bystanders:
    """The random generators that are not torch's: those of `random` and of numpy."""

    def __init__(self) -> None:
        self._python, self._numpy = random.getstate(), _numpy_state()

    def require_untouched(self) -> None:
        """Raise NotAuditable if something drew from `random` or from `numpy.random`, and put both back."""
        moved = ["random"] if random.getstate() != self._python else []
        moved += ["numpy.random"] if repr(_numpy_state()) != repr(self._numpy) and self._numpy is not None else []
        self.restore()
        if moved:
            message = (
                f"the code draws from {' and '.join(moved)}, whose outcomes are not torch operations and cannot be "
                "enumerated; draw by "
                "torch.bernoulli, torch.multinomial or torch.randint instead, or give what is drawn as data."
            )
            raise NotAuditable(message)

    def restore(self) -> None:
        """Put both generators back."""
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)


def _numpy_state() -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    kind, keys, position, has_gauss, gauss = numpy.random.get_state()
    return kind, keys.copy(), position, has_gauss, gauss


@contextmanager
def put_back(params: Mapping[str, Tensor], state: Sequence[Any], generators: Generators) -> Iterator[Callable[[], None]]:
    """Give a function that resets gradients and declared state, and leave everything afterwards as it was before."""
    gradients = [param.grad for param in params.values()]
    values = [param.detach().clone() for param in params.values()]
    versions = list(map(keeper, state))
    bystanders, enabled = Bystanders(), torch.is_grad_enabled()

    def reset() -> None:
        for param in params.values():
            param.grad = None
        for restore in versions:
            restore()

    try:
        with torch.enable_grad():
            yield reset
    finally:
        torch.set_grad_enabled(enabled)
        reset()
        for param, gradient, value in zip(params.values(), gradients, values, strict=True):
            param.grad = gradient
            if not torch.equal(param.detach(), value):
                param.data.copy_(value)
        bystanders.restore()
        generators.restore()
