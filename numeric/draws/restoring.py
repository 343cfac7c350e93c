"""What an audit leaves as it was: parameters, gradients, declared state, generators; and what it notices to have changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import GradproofError, UsageError
from numeric.draws.generators import Generators
from numeric.draws.leaving import watched_exits
from numeric.draws.tape import NotAuditable
from numeric.state.foreign import Entropy, is_foreign, set_state, shared_generators, state_of
from numeric.state.holders import PutBack
from numeric.state.reachable import Child, reachable
from numeric.state.snapshot import Snapshot, keep_tensor


def named(params: Any) -> dict[str, Tensor]:
    """Return parameters by name: "theta" for one tensor, "theta[0]", ... for a list, the keys of a dictionary, or a module's.

    Raises
        UsageError, unless they are distinct, real floating-point leaves that require grad.

    >>> list(named([torch.zeros(1, requires_grad=True)])), list(named(torch.nn.Linear(2, 1)))
    (['theta[0]'], ['weight', 'bias'])
    """
    found = _by_name(params)
    for name, value in found.items():
        reason = _unfit(value)
        if reason:
            message = f"the parameter {name} {reason}"
            raise UsageError(message)
    if not found or len({id(value) for value in found.values()}) != len(found):
        message = (
            "params must be at least one tensor that requires grad, and no tensor twice; give a tensor, a list or a dictionary "
            "of tensors, or a module."
        )
        raise UsageError(message)
    return found


def _by_name(params: Any) -> dict[str, Any]:
    if isinstance(params, Tensor):
        return {"theta": params}
    if isinstance(params, torch.nn.Module):
        return {name: value for name, value in params.named_parameters() if value.requires_grad}
    if isinstance(params, Mapping):
        return {str(name): value for name, value in params.items()}
    if isinstance(params, Iterable) and not isinstance(params, (str, bytes)):
        return {f"theta[{position}]": value for position, value in enumerate(params)}
    message = f"params is {_a(params)}; expected a tensor, a list or a dictionary of tensors, or a module."
    raise UsageError(message)


def _unfit(value: Any) -> str:
    """Say why a value is no parameter that can be audited, "" where it is one."""
    if not isinstance(value, Tensor):
        return f"is {_a(value)}; expected a leaf tensor that requires grad."
    if value.is_complex():
        return (
            "is complex, and its gradient has two parts; audit them as real parameters: make the leaf real, of shape (..., 2), "
            "and write torch.view_as_complex(leaf) where it is used."
        )
    if not value.is_leaf:
        return "was computed and is no leaf, so .backward() writes no .grad of it; give the leaf that it was computed from."
    if not value.requires_grad:
        return "does not require grad, so .backward() writes no .grad of it; call .requires_grad_() on it, or leave it out."
    return ""


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


class Bystanders:
    """The generators that are not torch's, those that code can reach and the shared ones, and whether they are drawn from.

    Args
        code   what is searched for generators, again at each look: an environment may make its own when it is first used
        apart  holds the generators that are put back for each run
    """

    def __init__(self, code: Mapping[str, Any] | None = None, apart: Snapshot | None = None) -> None:
        self._code, self._apart, self._entropy = dict(code or {}), apart, Entropy()
        self._known: dict[int, tuple[str, Any, Any]] = {}
        self.reached: list[Child] = self._search()
        self.made: dict[str, None] = {}
        """The generators that the code has made since, by name."""

    def watched(self) -> AbstractContextManager[None]:
        """Watch calls for the entropy of the operating system, too, until the end of the block."""
        return self._entropy.watched()

    def require_untouched(self) -> None:
        """Raise NotAuditable if something drew from what is not torch's, and put it back."""
        moved = [name for name, generator, state in self._known.values() if state_of(generator) != state]
        self.restore()
        known = set(self._known)
        self._search()
        self.made |= dict.fromkeys(self._known[each][0] for each in self._known.keys() - known)
        if moved:
            raise NotAuditable(_drawn_from(" and ".join(moved)))
        if self._entropy.calls:
            raise NotAuditable(_takes_entropy(self._entropy.calls[0]))

    def restore(self) -> None:
        """Put the generators back."""
        for _, generator, state in self._known.values():
            if state_of(generator) != state:
                set_state(generator, state)

    def _search(self) -> list[Child]:
        reached = list(reachable(self._code.items()))
        found = ((f"{_kind(thing)} ({way})", thing) for way, thing in reached if is_foreign(thing))
        for name, generator in (*shared_generators().items(), *found):
            if not hasattr(generator, "bit_generator") and not (self._apart is not None and self._apart.holds(generator)):
                self._known.setdefault(id(generator), (name, generator, state_of(generator)))
        return reached


def _drawn_from(names: str) -> str:
    return (
        f"the code draws from {names}, whose outcomes are not torch operations and cannot be enumerated; draw by "
        "torch.bernoulli, torch.multinomial or torch.randint instead, give what is drawn as data, or declare the generator as "
        "state=[...], so that the code is audited at its present state alone."
    )


def _takes_entropy(call: str) -> str:
    return (
        f"the code takes entropy from the operating system ({call}), which gives something else in each run and cannot be "
        "enumerated; draw by torch.bernoulli, torch.multinomial or torch.randint, or make the generator once, outside, from a "
        "seed."
    )


def _kind(generator: Any) -> str:
    return f"a generator of {'random' if isinstance(generator, random.Random) else 'numpy.random'}"


@dataclass(frozen=True)
class Start:
    """What each run starts from."""

    params: Mapping[str, Tensor]
    state: Snapshot
    bystanders: Bystanders

    def reset(self) -> None:
        """Take the gradients away and put the declared state back."""
        for param in self.params.values():
            param.grad = None
        self.state.put_back()


def listed(state: Any) -> list[Any]:
    """Return what is declared as state, one by one: a single object is state as well as a list of one."""
    return list(state) if isinstance(state, (list, tuple)) else [state]


@contextmanager
def put_back(
    params: Mapping[str, Tensor], state: Any, generators: Generators, code: Mapping[str, Callable[..., Any]]
) -> Iterator[Start]:
    """Give what runs start from, and leave everything afterwards as it was before: what the code can reach, too.

    Raises
        UsageError, if declared state cannot be put back.
        NotAuditable, in place of another error, where the code drew from what is not torch's.
    """
    declared = Snapshot(listed(state), params.values())
    start = Start(params, declared, Bystanders(code, declared))
    kept = [*map(keep_tensor, params.values()), *_kept(start.bystanders.reached)]
    enabled, default = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        with torch.enable_grad(), start.bystanders.watched(), watched_exits():
            yield start
    except GradproofError as error:
        _name_bystanders(start.bystanders, error)
        raise
    finally:
        torch.set_grad_enabled(enabled)
        torch.set_default_dtype(default)
        declared.put_back()
        for each in kept:
            each()
        start.bystanders.restore()
        generators.restore()


def _name_bystanders(bystanders: Bystanders, error: GradproofError) -> None:
    """What goes wrong where code draws from elsewhere is told by that."""
    try:
        bystanders.require_untouched()
    except NotAuditable as cause:
        raise cause from error


def _kept(reached: Iterable[Child]) -> Iterator[PutBack]:
    """How tensors are put back that the code can reach, and whether its modules are in training."""
    for _, thing in reached:
        if isinstance(thing, Tensor):
            yield keep_tensor(thing)
        elif isinstance(thing, torch.nn.Module):
            yield partial(setattr, thing, "training", thing.training)
