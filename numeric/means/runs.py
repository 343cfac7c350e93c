"""Single runs of audited code, and what must be the same when a run is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.draws.generators import Generators, Key
from numeric.draws.interception import Interceptor, Source
from numeric.draws.leaving import Door
from numeric.draws.restoring import Bystanders
from numeric.draws.taint import NotFreezable, Taint, outermost
from numeric.draws.tape import NotAuditable, Tape, explore
from numeric.means.exact_mean import ByNumbers, as_scalar, outcome_gradient
from numeric.means.slope import shifted

MOST_REPEATED = 500
"""So many outcomes are run a second time, in the reverse order."""


class Tolerance(NamedTuple):
    """How far numbers of a precision may differ: of gradients, and of the slope that the exact gradient is held against."""

    atol: float
    rtol: float
    step: float
    slope: float


def default_tolerance(dtype: torch.dtype) -> Tolerance:
    """Return the usual tolerances for gradients that pass through a dtype.

    >>> default_tolerance(torch.float64).rtol, default_tolerance(torch.float32).rtol
    (1e-09, 0.0001)
    """
    if dtype == torch.float64:
        return Tolerance(1e-12, 1e-9, 1e-3, 1e-8)
    if dtype == torch.float32:
        return Tolerance(1e-6, 1e-4, 3e-2, 2e-3)
    return Tolerance(1e-2, 5e-2, 2e-1, 1e-1)


IMPLICIT = 1e-3
"""torch's derivative of gamma noise by its shape is right to this part, seen against scipy at shapes from 0.1 to 200."""

ROW_ROUNDING = 2**10
"""Rows and runs alone add up in another order: they may differ by so many units in the last place."""


class NoiseOf(Protocol):
    """Where runs take continuous noise from, if it is not frozen."""

    def begin(self) -> tuple[Source, Taint]:
        """Return the source of noise and what follows it, for one run."""

    def end(self, tape: Tape) -> None:
        """Check a run after its end."""


@dataclass(frozen=True)
class Seen:
    """What runs were seen to do, in another process."""

    draws: tuple[str, ...]
    endless: tuple[str, ...]
    neglected: float
    implicit: bool
    any_noise: bool
    rough: set[str]
    has_graph: bool
    coarsest: torch.dtype
    lowered: dict[torch.dtype, str]


class Elsewhere(Protocol):
    """Runs every outcome of a function in other processes."""

    def explored(
        self, run: Callable[[Tape], Any], function: Callable[[], Any], budget: int, *, salt: int = 0, differentiate: bool = True
    ) -> Iterator[tuple[Tape, Any]]:
        """Yield each outcome with what its run returned, as `explore` does."""


class Runs:
    """Run a loss or an objective with its choices on a tape, each time from the same start."""

    params: Mapping[str, Tensor]
    generators: Generators

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        self.params, self.generators = params, Generators()
        self.reset: Callable[[], None] = lambda: None
        self.bystanders: Bystanders = Bystanders()
        self.frozen: int = 0
        self.integrated: NoiseOf | None = None
        self.elsewhere: Elsewhere | None = None
        self.coarsest: torch.dtype = max(
            (torch.float64, *(param.dtype for param in params.values())), key=lambda dtype: torch.finfo(dtype).eps
        )
        self.lowered: dict[torch.dtype, str] = {
            param.dtype: f"the parameter {name}" for name, param in params.items() if param.dtype is not torch.float64
        }
        self.noise: list[tuple[str, int]] = []
        self.any_noise: bool = False
        self.draws: tuple[str, ...] = ()
        self.endless: tuple[str, ...] = ()
        self.neglected: float = 0.0
        self.implicit: bool = False
        self.tells: bool = False
        self.has_constant_seed: bool = False
        self.rough: set[str] = set()
        self.has_graph: bool = False
        self._signatures: list[str] = []
        self.keys_of: dict[tuple[int, ...], frozenset[Key]] = {}
        self._keys: list[Key] = []
        self._values = [param.detach().clone() for param in params.values()]

    def loss(self, loss: Callable[[], Any], tape: Tape, *, salt: int = 0) -> list[Tensor]:
        """Return the gradient of one run in float64, by parameter; zero where nothing reached one."""
        intercepted = self._begin(tape, salt)
        intercepted.only_backward = True
        with Door(intercepted), intercepted:
            outermost(lambda: self._backward(loss()))
        intercepted.require_free([param.grad for param in self.params.values() if param.grad is not None], "the gradient")
        self._end(intercepted)
        self.has_graph |= any(param.grad is not None for param in self.params.values())
        return [
            torch.zeros_like(param, dtype=torch.float64) if param.grad is None else _dense(param.grad).detach().double().clone()
            for param in self.params.values()
        ]

    def objective(self, objective: Callable[[], Any], tape: Tape, *, differentiate: bool) -> tuple[float, list[Tensor]]:
        """Return the value of one run, and if wanted the gradient of its probability times its value."""
        intercepted = self._begin(tape, 0)
        by_numbers = differentiate or self.integrated is not None
        with Door(intercepted), intercepted, ByNumbers() if by_numbers else nullcontext():
            value = outermost(lambda: as_scalar(objective(), "objective()"))
        intercepted.require_free([value], "the value of the objective")
        gradient = outcome_gradient(intercepted, value, self.params) if differentiate else []
        self._end(intercepted, check_params=differentiate)
        return float(value.detach()), gradient

    def split(self, coordinates: Tensor) -> dict[str, Tensor]:
        """Return a vector of all coordinates, (coordinates,), by parameter and of its shape."""
        parts = coordinates.split([param.numel() for param in self.params.values()])
        return {name: part.reshape(param.shape) for (name, param), part in zip(self.params.items(), parts, strict=True)}

    @property
    def laws_of_noise(self) -> tuple[str, ...]:
        """The law of each draw of continuous noise in the last run, with the values of its parameters."""
        return tuple(self._signatures)

    def is_same(self, row: Tensor, alone: Tensor, usual: float | Tensor = 0.0) -> bool:
        """Whether a row of a run on many rows is what a run alone gives, to rounding on the scale of that or of the mean.

        The scale is one for all coordinates, or one for each where that of the mean is.
        """
        slack = ROW_ROUNDING * torch.finfo(self.coarsest).eps
        if isinstance(usual, Tensor):
            bound = slack * torch.maximum(usual, alone.abs().nan_to_num())
            apart = (row - alone).abs()
            return bool((((apart <= bound) | (row == alone)) | (row.isnan() & alone.isnan())).all())
        scale = max(usual, float(alone.abs().nan_to_num().amax()))
        return torch.allclose(row, alone, rtol=slack, atol=slack * scale, equal_nan=True)

    def explored(
        self, run: Callable[[Tape], Any], function: Callable[[], Any], budget: int, *, salt: int = 0, differentiate: bool = True
    ) -> Iterator[tuple[Tape, Any]]:
        """Yield each outcome of a function with what its run returned; run here, or elsewhere where that is given."""
        if self.elsewhere is None or self.integrated is not None:
            return explore(run, budget)
        return self.elsewhere.explored(run, function, budget, salt=salt, differentiate=differentiate)

    def seen(self) -> Seen:
        """Return what these runs were seen to do."""
        return Seen(*(getattr(self, each.name) for each in fields(Seen)))

    def note(self, seen: Seen) -> None:
        """Note what runs elsewhere were seen to do."""
        self.draws = tuple(dict.fromkeys((*self.draws, *seen.draws)))
        self.endless = tuple(dict.fromkeys((*self.endless, *seen.endless)))
        self.neglected, self.implicit = max(self.neglected, seen.neglected), self.implicit or seen.implicit
        self.any_noise |= seen.any_noise
        self.rough |= seen.rough
        self.has_graph |= seen.has_graph
        self.coarsest = max(self.coarsest, seen.coarsest, key=lambda dtype: torch.finfo(dtype).eps)
        self.lowered = seen.lowered | self.lowered

    def remember_keys(self, tape: Tape) -> None:
        """Note which states the run before found its generators in."""
        self.keys_of[tape.outcome] = frozenset(self._keys)

    def require_repeatable(self, loss: Callable[[], Any]) -> None:
        """Run the first outcome twice; raise NotAuditable if the gradients differ, or if not only torch drew."""
        tape = Tape()
        first = self.loss(loss, tape)
        self.bystanders.require_untouched()
        noise = self.noise
        self._require_equal(first, self.loss(loss, Tape(tape.choices)), tape)
        if self.noise != noise:
            message = (
                f"the first run drew continuous noise {_listed(noise)}, and the same outcome again {_listed(self.noise)}: "
                "something is kept between the runs, such as a cache, or what is made at the first call. Call the code once "
                "before, clear what it keeps at the start of the loss, or declare it as state=[...]."
            )
            raise NotAuditable(message)

    def require_repeated(self, loss: Callable[[], Any], kept: Sequence[tuple[Tape, list[Tensor]]]) -> None:
        """Run outcomes again, in the reverse order and from other seeds, and raise NotAuditable if a gradient differs."""
        for tape, gradient in reversed(kept):
            again, keys = tape.again(), self.keys_of.get(tape.outcome, frozenset())
            self._require_equal(gradient, self.loss(loss, again, salt=2), tape)
            again.require_prefix_used()
            self.has_constant_seed |= not keys.isdisjoint(self._keys)

    def require_fixed_noise(self, function: Callable[[], Any]) -> None:
        """Raise NotFreezable if the law of frozen noise moves with the parameters: freezing it would drop that dependence."""
        if not self.noise:
            return
        before = self._signatures
        self._run_nearby(function)
        if self._signatures != before:
            message = (
                "continuous noise is drawn from a law that depends on the parameters (as in Normal(mu, sigma).sample(), for "
                "a score "
                "function), which cannot be frozen and not be enumerated; draw parameter-free noise and transform it "
                "(rsample), or test "
                "by sampling (numeric.sequential_test)."
            )
            raise NotFreezable(message)

    def _run_nearby(self, function: Callable[[], Any]) -> None:
        """Run the first outcome at parameters a little beside these, on the side where the code runs."""
        sizes = [param.detach().abs() for param in self.params.values()]
        steps = [[1e-3 * (1 + size) for size in sizes], [1e-3 * size for size in sizes]]
        *first, last = [[sign * part for part in step] for step in steps for sign in (1, -1)]
        for shifts in first:
            with suppress(Exception), self.moved(shifts):
                self.loss(function, Tape())
                return
        with self.moved(last):
            self.loss(function, Tape())

    @contextmanager
    def moved(self, shifts: Sequence[Tensor]) -> Iterator[None]:
        """Shift the parameters in place for the length of a `with` block, and put the same bits back."""
        with shifted(self.params, shifts):
            kept, self._values = self._values, [param.detach().clone() for param in self.params.values()]
            try:
                yield
            finally:
                self._values = kept

    def require_noise_at_first(self) -> None:
        """Raise NotFreezable if some outcomes drew continuous noise and the first one none: only that one was looked at."""
        if self.any_noise:
            message = "continuous noise is drawn in some outcomes and not in the first one, so it is not frozen."
            raise NotFreezable(message)

    def require_same_noise(self, objective: Callable[[], Any], noise: Sequence[tuple[str, int]]) -> None:
        """Run the objective's first outcome; raise NotFreezable unless it draws the same continuous noise as the loss."""
        self.objective(objective, Tape(), differentiate=True)
        if self.noise != list(noise):
            message = (
                f"the loss draws continuous noise {_listed(noise)} and the objective {_listed(self.noise)}; expected the "
                "same draws in the "
                "same order, since noise is frozen at the same values in both. Draw it alike, or test by sampling "
                "(numeric.sequential_test)."
            )
            raise NotFreezable(message)

    def _begin(self, tape: Tape, salt: int) -> Interceptor:
        self.reset()
        self.generators.begin_run(salt)
        source, taint = (None, None) if self.integrated is None else self.integrated.begin()
        return Interceptor(tape, self.generators, self.frozen, source, taint)

    def _end(self, intercepted: Interceptor, *, check_params: bool = True) -> None:
        self.generators.end_run()
        if self.integrated is not None:
            self.integrated.end(intercepted.tape)
        self._keys, self._signatures = intercepted.keys, intercepted.signatures()
        self.noise = intercepted.frozen_noise()
        self.any_noise |= bool(self.noise)
        self.rough |= intercepted.rough
        self.draws = tuple(dict.fromkeys((*self.draws, *(choice.draw for choice in intercepted.tape.choices))))
        ended = (choice.draw for choice in intercepted.tape.choices if choice.ends)
        self.endless = tuple(dict.fromkeys((*self.endless, *ended)))
        self.implicit |= intercepted.implicit
        self.tells |= intercepted.tells
        self.neglected = max(self.neglected, intercepted.neglected)
        self.coarsest = max(self.coarsest, intercepted.coarsest, key=lambda dtype: torch.finfo(dtype).eps)
        self.lowered = intercepted.lowered | self.lowered
        if check_params and any(not torch.equal(p, v) for p, v in zip(self.params.values(), self._values, strict=True)):
            message = "the code changes the parameters themselves; audit one gradient, without the step of an optimiser."
            raise NotAuditable(message)

    def _backward(self, value: Any) -> None:
        if value is None:
            return
        scalar = as_scalar(value, "loss()")
        if scalar.requires_grad and any(param.grad is not None for param in self.params.values()):
            message = "loss() called backward and returned a tensor too; return None, or the tensor without calling backward."
            raise UsageError(message)
        if scalar.requires_grad:
            scalar.backward()

    def _require_equal(self, first: Sequence[Tensor], second: Sequence[Tensor], tape: Tape) -> None:
        slack = 64 * torch.finfo(self.coarsest).eps
        for name, before, after in zip(self.params, first, second, strict=True):
            if torch.allclose(before, after, rtol=slack, atol=slack * float(before.abs().nan_to_num().sum()), equal_nan=True):
                continue
            message = (
                f"the same draws {tape.outcome[:12]} gave two gradients of {name} (they differ by "
                f"{float((before - after).abs().max()):.3g}): something else changes between the runs, such as a moving "
                "average, a "
                "counter, numpy or a thread. Declare it as state=[...] so that every run starts from it, or remove it."
            )
            raise NotAuditable(message)


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _listed(noise: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{family} x {size}" for family, size in noise) or "(none)"
