"""Steps that are monotone: where a form is below a threshold, and what it is worth at a value of its standard law."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from numeric.draws.laws.forms import Form, Step

_INCREASING = {"exp", "log", "log1p", "expm1", "sigmoid", "logit", "tanh"}


def standard_cumulative(family: str, x: Tensor) -> Tensor | None:
    """Return P(noise <= x), with its graph, or None for a law that has no such formula in torch.

    >>> float(standard_cumulative("normal", torch.zeros(1, dtype=torch.float64)))
    0.5
    """
    if family == "uniform":
        return x.clamp(0, 1)
    if family == "normal":
        share: Tensor = torch.special.ndtr(x)
        return share
    if family == "exponential":
        return -torch.expm1(-x.clamp(min=0))
    if family == "cauchy":
        return 0.5 + torch.atan(x) / math.pi
    return None


def preimage(form: Form, threshold: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the standard value at which a form crosses a threshold, and where it is decreasing; None if it is not monotone."""
    value = threshold.double().expand(form.ids.shape)
    falls = torch.zeros(form.ids.shape, dtype=torch.bool, device=value.device)
    for step in reversed(form.steps):
        found = _undone(step, value)
        if found is None:
            return None
        value, flips = found
        falls = falls ^ flips
    return value, falls


def _undone(step: Step, y: Tensor) -> tuple[Tensor, Tensor] | None:
    rises = torch.zeros(y.shape, dtype=torch.bool, device=y.device)
    if step.name == "neg":
        return -y, ~rises
    if step.name == "add":
        return y - step.value, rises
    if step.name == "mul":
        factor = step.value
        return None if bool((factor == 0).any()) else (y / factor, factor.detach() < 0)
    inverse = _inverse(step.name, y) if step.name in _INCREASING else None
    return None if inverse is None else (inverse, rises)


def _inverse(name: str, y: Tensor) -> Tensor:
    """Undo an increasing function; what it cannot give is at an end of its domain."""
    if name == "exp":
        return _inside(y, 0, math.inf, torch.log)
    if name == "expm1":
        return _inside(y, -1, math.inf, torch.log1p)
    if name == "sigmoid":
        return _inside(y, 0, 1, torch.logit)
    if name == "tanh":
        return _inside(y, -1, 1, torch.atanh)
    return {"log": torch.exp, "log1p": torch.expm1, "logit": torch.sigmoid}[name](y)


def _inside(y: Tensor, low: float, high: float, inverse: object) -> Tensor:
    inside = (y > low) & (y < high)
    middle = 1.0 if high == math.inf else (low + high) / 2
    ends = torch.where(y <= low, -math.inf, math.inf).to(y.dtype)
    return torch.where(inside, inverse(torch.where(inside, y, middle)), ends)  # type: ignore[operator]


def applied(form: Form, x: Tensor) -> Tensor:
    """Return the values of a form where its standard noise has the values x, of its shape."""
    for step in form.steps:
        if step.name in ("mul", "add"):
            x = x * step.value if step.name == "mul" else x + step.value
        else:
            x = getattr(torch, step.name)(x)
    return x
