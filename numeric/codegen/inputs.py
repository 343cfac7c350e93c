"""What goes into an estimator and what a user's function gives back, checked at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import UsageError
from numeric.codegen.expressions import Kind
from numeric.codegen.families import Family, family_of

Params: TypeAlias = Tensor | Mapping[str, Tensor]
Gradient: TypeAlias = Tensor | dict[str, Tensor]
Objective: TypeAlias = Callable[..., Tensor]


def checked_params(params: Params, family: str) -> Params:
    """Return the parameters, detached, if they are what the family needs.

    Raises
        UsageError, for something that is no tensor, an integer dtype, no event dimension, nan or infinity, or parts of a normal
        law whose shapes differ.
    """
    law = family_of(family)
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
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        message = f"{name}: expected finite numbers, got {bad} of {value.numel()} that are nan or infinite."
        raise UsageError(message)
    return value.detach()


def checked_function(f: object, name: str, fixed: frozenset[int] = frozenset()) -> Objective:
    """Wrap a user's function so that a wrong shape, a value that is no tensor, nan or infinity raises a UsageError.

    `fixed` are the positions of arguments that are constants: they may have any shape.
    """
    if not callable(f):
        message = f"{name}: expected a function of outcomes, got a {type(f).__name__}."
        raise UsageError(message)

    def checked(*args: Any) -> Tensor:
        value = f(*args)
        outcomes = [arg for i, arg in enumerate(args) if i not in fixed and isinstance(arg, Tensor)]
        shape = torch.broadcast_shapes(*(arg.shape for arg in outcomes))
        _check_value(value, name, tuple(shape))
        tensor: Tensor = value if value.is_floating_point() else value.to(outcomes[0].dtype)
        return tensor

    return checked


def checked_baseline(f: object, name: str, like: Tensor) -> Objective:
    """Wrap a function of constants only: its value must be one number for each batch element, or one for all."""
    if not callable(f):
        message = f"{name}: expected a function of constants, got a {type(f).__name__}."
        raise UsageError(message)
    batch = tuple(like.shape[:-1])

    def checked(*args: Any) -> Tensor:
        value = f(*args)
        if not isinstance(value, Tensor) or tuple(value.shape) not in {(), batch}:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            message = f"{name} must return one number for each batch element: expected a tensor of shape {batch}, got {got}."
            raise UsageError(message)
        if value.is_complex() or not torch.isfinite(value).all():
            _refuse_not_finite(value, name)
        return value.to(like)

    return checked


def _check_value(value: object, name: str, outcomes: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        message = f"{name} must return a tensor; for outcomes of shape {outcomes} it returned a {type(value).__name__}."
        raise UsageError(message)
    if tuple(value.shape) != outcomes[:-1]:
        message = (
            f"{name} must return one number for each outcome: for outcomes of shape {outcomes} expected shape {outcomes[:-1]}, "
            f"got {tuple(value.shape)}."
        )
        raise UsageError(message)
    if value.is_complex() or not torch.isfinite(value).all():
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
        number = float(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        message = f"{name}: expected a number, got {value!r}."
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
    if not fits or value.is_complex() or not torch.isfinite(value).all():
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
    if not torch.isfinite(value).all() or (name == "lambda_" and not (value > 0).all()):
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


def spelled(shape: tuple[int | str, ...]) -> str:
    """A shape without its parentheses."""
    return ", ".join(map(str, shape))
