"""What goes into an estimator and what a user's function gives back, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from derive.language.term import FiniteLaw, RandomVariable, Term
from numeric.codegen.expressions import Kind
from numeric.codegen.families import Family, family_of
from numeric.codegen.laws import Logits, key_of, law_of

Params: TypeAlias = Tensor | Mapping[str, Tensor]
Gradient: TypeAlias = Tensor | dict[str, Tensor]
Objective: TypeAlias = Callable[..., Tensor]


Given: TypeAlias = tuple[tuple[str, tuple[FiniteLaw, ...]], ...]
"""For each of these tensors, the laws whose outcomes it has a row for."""


@dataclass(frozen=True)
class Laws:
    """The laws whose logits are given by name, what else is, and the pairs of laws whose outcomes are of one size."""

    logits: tuple[Logits, ...] = ()
    location: Given = ()
    alike: frozenset[tuple[str, str]] = frozenset()

    def checked(self, params: Params, family: Family) -> dict[str, Tensor]:
        """Return the tensors of all laws, detached, if they fit each other; errors as `checked_params`."""
        normal = family.parameters if family.name == "normal" else ()
        wanted = [*(one.name for one in self.logits), *normal]
        if not isinstance(params, Mapping) or set(params) != set(wanted):
            got = f"keys {sorted(params)}" if isinstance(params, Mapping) else f"a {type(params).__name__}"
            message = f"several laws have logits by name: expected a dictionary of {', '.join(wanted)}, got {got}."
            raise UsageError(message)
        found = {name: checked_tensor(params[name], name, family) for name in wanted}
        self._require_one_batch(found)
        for a, b in sorted(self.alike):
            if found[a].shape[-1] != found[b].shape[-1]:
                sizes = f"{found[a].shape[-1]} and {found[b].shape[-1]}"
                message = f"{a} is taken at outcomes of {b}: expected as many entries in the last dimension, got {sizes}."
                raise UsageError(message)
        for name, given in self._given.items():
            self._require_rows(name, given, found, bits=family.name == "bernoulli")
        return found

    @property
    def _given(self) -> dict[str, tuple[Term, ...]]:
        """The outcomes that each law is given, by the name of its tensor."""
        return {one.name: one.law.given for one in self.logits} | {
            name: tuple(RandomVariable("k", law) for law in laws) for name, laws in self.location
        }

    def batch(self, params: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
        """The shape of the batch, as the tensor of this name has it."""
        events = 1 + len(self._given.get(name, ()))
        return tuple(params[name].shape[:-events]) if params[name].ndim >= events else (-1,)

    def _require_one_batch(self, found: dict[str, Tensor]) -> None:
        if len({(self.batch(found, name), part.dtype, part.device) for name, part in found.items()}) > 1:
            got = ", ".join(f"{name} {tuple(part.shape)} {part.dtype} on {part.device}" for name, part in found.items())
            tables = ", ".join(f"{name} has {len(given) + 1}" for name, given in self._given.items() if given)
            message = f"the laws must agree in batch, dtype and device, got {got}"
            raise UsageError(message + (f"; dimensions after the batch: {tables}, others 1." if tables else "."))

    def _require_rows(self, name: str, given: tuple[Term, ...], found: dict[str, Tensor], *, bits: bool) -> None:
        """Refuse a table that has not one row for each outcome that its law is given."""
        names = {key_of(other.law): other.name for other in self.logits}
        for i, outcome in enumerate(given):
            law = law_of(outcome)
            other = None if law is None else names.get(key_of(law))
            size = None if other is None else found[other].shape[-1]
            rows = found[name].shape[i - len(given) - 1]
            if size is not None and rows != (2**size if bits else size):
                message = (
                    f"{name} is given an outcome of {other}: expected a table with {2**size if bits else size} rows in "
                    f"dimension {i - len(given) - 1}, one for each, got {rows}."
                )
                raise UsageError(message)


NONE_BY_NAME = Laws()


def checked_params(params: Params, family: str, laws: Laws = NONE_BY_NAME) -> Params:
    """Return the parameters, detached, if they are what the family needs.

    Raises
        UsageError, for something that is no tensor, an integer dtype, no event dimension, nan or infinity, parts of a normal
        law whose shapes differ, or logits of several laws that do not fit each other.
    """
    law = family_of(family)
    if laws.logits:
        return laws.checked(params, law)
    if len(law.parameters) == 1:
        return checked_tensor(params, law.parameters[0], law)
    if not isinstance(params, Mapping) or set(params) != set(law.parameters):
        got = f"keys {sorted(params)}" if isinstance(params, Mapping) else type(params).__name__
        message = f"the {family} family needs a dictionary of {' and '.join(law.parameters)}, got {got}."
        raise UsageError(message)
    checked = {name: checked_tensor(params[name], name, law) for name in law.parameters}
    if len({(part.shape, part.dtype, part.device) for part in checked.values()}) > 1:
        got = ", ".join(f"{name} {tuple(part.shape)} {part.dtype} on {part.device}" for name, part in checked.items())
        message = f"the parameters of the {family} family must agree in shape, dtype and device, got {got}."
        raise UsageError(message)
    return checked


def checked_tensor(value: object, name: str, law: Family) -> Tensor:
    """Return a parameter of a family, detached.

    Raises
        UsageError, if it is no tensor of finite floating point numbers with an event dimension.
    """
    if not isinstance(value, Tensor):
        message = f"{name}: expected a tensor, got a {type(value).__name__}."
        raise UsageError(message)
    if not value.is_floating_point():
        message = f"{name}: expected a floating point dtype, got {value.dtype}."
        raise UsageError(message)
    if value.ndim < 1 or value.shape[-1] < 1:
        message = f"{name}: {law.shapes}; got shape {tuple(value.shape)}."
        raise UsageError(message)
    if not is_finite(value):
        bad = int((~torch.isfinite(value)).sum())
        message = f"{name}: expected finite numbers, got {bad} of {value.numel()} that are nan or infinite."
        raise UsageError(message)
    return value.detach()


def is_traced() -> bool:
    """Whether torch.compile or a transform of torch.func is at work."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None


def is_transformed(value: Tensor) -> bool:
    """Whether something of the kind is at work, or a tensor has no storage: its numbers are not known."""
    return is_traced() or value.is_meta


def is_finite(value: Tensor) -> bool:
    """Whether no number is nan or infinite, as far as they are known.

    A sum that is finite has finite summands, and takes a fraction of the time; one that is not may have overflowed.
    """
    if is_transformed(value):
        return True
    return math.isfinite(value.sum().item()) or bool(torch.isfinite(value).all())


def checked_function(
    f: object,
    name: str,
    fixed: frozenset[int] = frozenset(),
    *,
    values: bool = True,
    vector: bool = False,
    may_write: bool = False,
) -> Objective:
    """Wrap a user's function so that a wrong shape, a value that is no tensor, nan or infinity raises a UsageError.

    So does a function that changes its argument in place, which the estimate reads too, unless it may.

    `fixed` are the positions of arguments that are constants: they may have any shape. Without `values` nan and infinity pass.
    A `vector` has the shape of the outcomes.
    """
    if not callable(f):
        message = f"{name}: expected a function of outcomes, got a {type(f).__name__}."
        raise UsageError(message)

    def checked(*args: Any) -> Tensor:
        before = None if may_write or is_traced() or torch.is_inference_mode_enabled() else _versions(args)
        value = f(*args)
        if before is not None and before != _versions(args):
            message = f"{name} changes its argument in place, which the estimate reads too: write x * 2, not x.mul_(2)."
            raise UsageError(message)
        if len(args) == 1 and _lacks_graph(args[0], value):
            _require_constant(f, name, args[0], value)
        if not values and len(args) == 1 and isinstance(value, Tensor) and value.is_floating_point():
            if value.shape == (args[0].shape if vector else args[0].shape[:-1]):
                return value
        outcomes = [arg for i, arg in enumerate(args) if i not in fixed and isinstance(arg, Tensor)]
        shape = outcomes[0].shape if len(outcomes) == 1 else torch.broadcast_shapes(*(arg.shape for arg in outcomes))
        _check_value(value, name, tuple(shape), values=values, vector=vector)
        tensor: Tensor = value if value.is_floating_point() else value.to(outcomes[0].dtype)
        return tensor

    return checked


def _lacks_graph(outcome: object, value: object) -> bool:
    """Whether an estimate differentiates a function that records no graph."""
    differentiated = isinstance(outcome, Tensor) and outcome.requires_grad and torch.is_grad_enabled()
    return differentiated and isinstance(value, Tensor) and not value.requires_grad and not is_traced()


def _require_constant(f: Callable[..., Any], name: str, outcome: Tensor, value: Tensor) -> None:
    """Raise a UsageError if a function without a graph depends on its argument: its derivative would be taken for zero.

    It is asked at two other arguments.
    """
    others = [_asked(f, each.detach()) for each in (1 - outcome, torch.zeros_like(outcome))]
    if all(other is not None and other.shape == value.shape and bool((other == value).all()) for other in others):
        return
    message = (
        f"{name} is differentiated in this estimate, and its value has no graph: it is detached, or made by numpy, item() or "
        "a comparison such as b > 0.5, so that its derivative would be taken for zero. Write it in torch operations that have "
        "a derivative, or take an estimator that reads values alone, such as score-function."
    )
    raise UsageError(message)


def _asked(f: Callable[..., Any], outcome: Tensor) -> Tensor | None:
    try:
        value = f(outcome)
    except Exception:  # whatever a function raises outside of its domain
        return None
    return value if isinstance(value, Tensor) else None


def _versions(args: tuple[Any, ...]) -> list[int]:
    """How often each tensor was changed in place; torch counts that where it neither traces nor only infers."""
    return [arg._version for arg in args if isinstance(arg, Tensor)]


def checked_baseline(f: object, name: str, like: Tensor, *, values: bool = True) -> Objective:
    """Wrap a function of constants only: its value must be one number for each batch element, or one for all."""
    if not callable(f):
        message = f"{name}: expected a function of constants, got a {type(f).__name__}."
        raise UsageError(message)
    batch = like.shape[:-1]

    def checked(*args: Any) -> Tensor:
        value = f(*args)
        if not isinstance(value, Tensor) or (value.shape != batch and value.ndim):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            expected = f"expected a tensor of shape {tuple(batch)}, got {got}"
            message = f"{name} must return one number for each batch element: {expected}."
            raise UsageError(message)
        if value.is_complex() or (values and not is_finite(value)):
            _refuse_not_finite(value, name)
        return value.to(like)

    return checked


def _check_value(value: object, name: str, outcomes: tuple[int, ...], *, values: bool, vector: bool) -> None:
    if not isinstance(value, Tensor):
        message = f"{name} must return a tensor; for outcomes of shape {outcomes} it returned a {type(value).__name__}."
        raise UsageError(message)
    expected, what = (outcomes, "vector") if vector else (outcomes[:-1], "number")
    if tuple(value.shape) != expected:
        message = (
            f"{name} must return one {what} for each outcome: for outcomes of shape {outcomes} expected shape {expected}, got "
            f"{tuple(value.shape)}."
        )
        raise UsageError(message)
    if value.is_complex() or (values and not is_finite(value)):
        _refuse_not_finite(value, name)


def _refuse_not_finite(value: Tensor, name: str) -> NoReturn:
    message = f"{name} must return finite real numbers; it returned {value.dtype} with nan, infinity or an imaginary part."
    raise UsageError(message)


def checked_constant(name: str, value: object) -> object:
    """Return a constant if it is one finite number, and positive where it is a temperature.

    Raises
        UsageError, otherwise.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        if is_transformed(value):
            return value
        number = float(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        many = isinstance(value, Tensor)
        got = f"a tensor of shape {tuple(value.shape)}; it is one for the whole batch" if many else repr(value)  # type: ignore[attr-defined]
        message = f"{name}: expected a number, got {got}."
        raise UsageError(message)
    if number != number or number in (float("inf"), float("-inf")) or (name == "lambda_" and number <= 0):
        message = f"{name}: expected a {'positive ' if name == 'lambda_' else ''}finite number, got {number}."
        raise UsageError(message)
    return value


def checked_tensor_constant(value: Tensor, name: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a constant with the dtype and device of the parameters, if it is finite and broadcasts to a shape.

    Raises
        UsageError, otherwise.
    """
    fits = value.ndim <= len(shape) and all(a in {1, b} for a, b in zip(value.shape[::-1], shape[::-1], strict=False))
    if not fits or value.is_complex() or not is_finite(value):
        message = (
            f"{name}: expected finite numbers of shape ({spelled(shape)}), or one number; got {value.dtype} of shape "
            f"{tuple(value.shape)}{' with nan or infinity' if fits else ''}."
        )
        raise UsageError(message)
    return value.detach().to(like)


def checked_parameter(value: object, name: str, like: Tensor, kind: Kind) -> Tensor:
    """Return what the target is differentiated by, a tensor (*batch, m), if it is one; m is 1 where the formula has a number.

    Raises
        UsageError, for another shape or dtype, nan or infinity, or a temperature that is not positive.
    """
    batch, m = like.shape[:-1], "1" if kind is Kind.NUMBER else "m"
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 1 or value.shape[:-1] != batch:
        got = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        message = (
            f"{name} is what the target is differentiated by: expected a floating point tensor ({spelled((*batch, m))}), one "
            f"{'number' if kind is Kind.NUMBER else 'vector'} for each batch element, got {got}; expand one that they share."
        )
        raise UsageError(message)
    if kind is Kind.NUMBER and value.shape[-1] != 1:
        message = f"{name}: expected shape ({spelled((*batch, m))}), one number a batch element, got {tuple(value.shape)}."
        raise UsageError(message)
    positive = name != "lambda_" or is_transformed(value) or bool((value > 0).all())
    if not is_finite(value) or not positive:
        message = f"{name}: expected {'positive ' if name == 'lambda_' else ''}finite numbers, got {value.flatten().tolist()}."
        raise UsageError(message)
    return value.detach()


def logits_of(probabilities: Tensor, family: str = "bernoulli") -> Tensor:
    """Logits from probabilities: of a one for each bit (*batch, n), or of each class (*batch, K).

    Raises
        UsageError, if one lies outside (0, 1), or those of the classes do not add up to 1.

    >>> logits_of(torch.tensor([0.5, 0.5]))
    tensor([0., 0.])
    """
    law = family_of(family)
    if law.parameters != ("logits",):
        message = f"the {family} family has no probabilities; give loc and log_scale."
        raise UsageError(message)
    checked_tensor(probabilities, "probabilities", law)
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low > 0 and high < 1):
        message = f"probabilities: expected numbers strictly between 0 and 1, got {low if low <= 0 else high}."
        raise UsageError(message)
    if family == "bernoulli":
        return torch.logit(probabilities)
    if not torch.allclose(total := probabilities.sum(-1), torch.ones_like(total), rtol=0, atol=1e-5):
        message = f"probabilities: those of the classes must add up to 1, got {float(total.flatten()[0])}."
        raise UsageError(message)
    return torch.log(probabilities)


def first(params: Params) -> Tensor:
    """The parameters, or the first of them."""
    return next(iter(params.values())) if isinstance(params, Mapping) else params


def tensors_of(values: Params | Gradient) -> tuple[Tensor, ...]:
    """The tensors of parameters, or of a gradient."""
    return tuple(values.values()) if isinstance(values, Mapping) else (values,)


def spelled(shape: tuple[int | str, ...]) -> str:
    """A shape without its parentheses."""
    return ", ".join(map(str, shape))
