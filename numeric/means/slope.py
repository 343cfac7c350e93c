"""The slope of an exact mean along a direction, from values at shifted parameters that stay inside their domain.

A step of fixed size leaves the domain of a probability of 0.0005 or of a small scale. So there are three ways to take a slope:
between both sides, on the side that lies inside, and with steps in proportion to the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor

from derive.language.errors import TooLarge
from numeric.draws.taint import NotFreezable, NotIntegrable
from numeric.draws.tape import NotAuditable

Direction = list[Tensor]

_ONE_SIDED = ((0, -25.0), (1, 48.0), (2, -36.0), (3, 16.0), (4, -3.0))
"""Twelve times the forward difference of order four."""

_MOST_TURNED = 64
"""So many coordinates are turned inwards one by one."""


def slope_error(
    mean: Callable[[], float], params: Mapping[str, Tensor], gradient: Sequence[Tensor], step: float, tolerance: float
) -> float:
    """Return how far the slope of a mean, in a fixed direction, is from that of its gradient.

    Raises
        NotAuditable, if it is farther than the tolerance by every way to take it, or if there is none.
    """
    direction = _direction(params)
    seen: list[tuple[float, float]] = []
    for slope, along, slack in chain(
        _both_sides(mean, params, direction, step, tolerance), _inside(mean, params, direction, step, tolerance, seen)
    ):
        expected = sum(float((part * each).sum()) for part, each in zip(gradient, along, strict=True))
        if abs(slope - expected) <= slack:
            return abs(slope - expected)
        seen += [(slope, expected)] if math.isfinite(slope) else []
    raise _contradicted(seen)


def _direction(params: Mapping[str, Tensor]) -> Direction:
    generator = torch.Generator().manual_seed(20)
    shapes = [(param.shape, param.device) for param in params.values()]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(device) for shape, device in shapes]


Slopes = Iterator[tuple[float, Direction, float]]


def _both_sides(
    mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, step: float, tolerance: float
) -> Slopes:
    for shift in (step, step / 30):
        whole, half = (_central(mean, params, direction, width) for width in (shift, shift / 2))
        yield (4 * half - whole) / 3, direction, tolerance


def _inside(
    mean: Callable[[], float],
    params: Mapping[str, Tensor],
    direction: Direction,
    step: float,
    tolerance: float,
    seen: list[tuple[float, float]],
) -> Slopes:
    """What is left where a step of fixed size leaves the domain, or is long beside a parameter."""
    if seen and _small(params) > step:
        return
    for shift in () if seen else (step, step / 30, step / 900):
        inward = _turned(mean, params, direction, 4 * shift)
        yield _forward(mean, params, inward, shift), inward, tolerance
    scales = [torch.where(param == 0, 1.0, param.detach().abs().double().clamp(max=1.0)) for param in params.values()]
    scaled = [along * scale for along, scale in zip(direction, scales, strict=True)]
    whole, half = (_central(mean, params, scaled, width) for width in (step, step / 2))
    yield (4 * half - whole) / 3, scaled, tolerance * min(1.0, max(1e-3, _largest(scales)))


def _small(params: Mapping[str, Tensor]) -> float:
    """The size of the smallest parameter that is not zero."""
    sizes = [float(param.detach().abs()[param != 0].min()) for param in params.values() if bool(param.any())]
    return min(sizes, default=math.inf)


def _largest(parts: Sequence[Tensor]) -> float:
    return max((float(part.max()) for part in parts if part.numel()), default=1.0)


def _turned(mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, width: float) -> Direction:
    """The direction, or its opposite, or with each coordinate turned to the side on which there is a value."""
    for sign in (1, -1):
        turned = [sign * along for along in direction]
        if _defined(mean, params, turned, width):
            return turned
    turned = [along.clone() for along in direction]
    if sum(along.numel() for along in turned) > _MOST_TURNED:
        return turned
    for position, along in enumerate(turned):
        for index in range(along.numel()):
            alone = [torch.zeros_like(each) for each in turned]
            alone[position].view(-1)[index] = along.view(-1)[index]
            if not _defined(mean, params, alone, width):
                along.view(-1)[index] *= -1
    return turned


def _defined(mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, width: float) -> bool:
    return math.isfinite(_at(mean, params, direction, width))


def _at(mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, width: float) -> float:
    """The mean at shifted parameters, nan where code that ran at the parameters themselves fails: they left its domain."""
    with shifted(params, [width * along for along in direction]):
        try:
            return mean()
        except (NotFreezable, NotIntegrable, TooLarge):
            raise
        except Exception:  # whatever the audited code raises
            return math.nan


def _central(mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, width: float) -> float:
    ends = [_at(mean, params, direction, sign * width) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * width)


def _forward(mean: Callable[[], float], params: Mapping[str, Tensor], direction: Direction, width: float) -> float:
    return sum(weight * _at(mean, params, direction, steps * width) for steps, weight in _ONE_SIDED) / (12 * width)


def _contradicted(seen: Sequence[tuple[float, float]]) -> NotAuditable:
    if not seen:
        return NotAuditable(
            "the objective has no value at parameters a little beside these, so its gradient cannot be held against its "
            "slope; audit at parameters inside the domain of its laws."
        )
    slope, expected = seen[-1]
    return NotAuditable(
        f"the exact mean of the objective has the slope {slope:.6g} in a direction where autograd says {expected:.6g}: "
        "something hides a dependence on the parameters, such as .item(), numpy, a custom backward, parameters read before "
        "the call, or a kink at these parameters. Write the objective in torch operations on the parameters themselves."
    )


@contextmanager
def shifted(params: Mapping[str, Tensor], shifts: Sequence[Tensor]) -> Iterator[None]:
    """Shift parameters in place for the length of a `with` block, and put the same bits back."""
    saved = [param.detach().clone() for param in params.values()]
    try:
        for param, start, shift in zip(params.values(), saved, shifts, strict=True):
            param.data.copy_(start + shift.to(start.dtype))
        yield
    finally:
        for param, start in zip(params.values(), saved, strict=True):
            param.data.copy_(start)
