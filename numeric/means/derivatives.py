"""Draws with the derivative by their parameters that autograd of torch leaves out, or gives to a few digits only."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from scipy.special import gammainc, gammaln
from torch import Tensor


def normal(mean: Tensor | float, std: Tensor | float = 1.0, *given: Any, **options: Any) -> Tensor:
    """Draw as torch.normal does, with the derivative by mean and deviation that autograd of torch leaves out."""
    if given or not (isinstance(mean, Tensor) or isinstance(std, Tensor)):
        drawn: Tensor = torch.normal(mean, std, *given, **options)
        return drawn
    with torch.enable_grad():
        location, scale = torch.broadcast_tensors(torch.as_tensor(mean), torch.as_tensor(std))
        noise = torch.randn(location.shape, dtype=torch.result_type(location, scale), device=location.device, **options)
        moved: Tensor = location + scale * noise
        return moved


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Draw as torch does; what it detaches inside would not be seen here."""
    noise = -torch.empty_like(logits, memory_format=torch.legacy_contiguous_format).exponential_().log()
    soft = ((logits + noise) / tau).softmax(dim)
    return torch.zeros_like(logits).scatter_(dim, soft.max(dim, keepdim=True)[1], 1.0) if hard else soft


class _Gamma(torch.autograd.Function):
    """Gamma noise, with its derivative by the shape: at a fixed value of the distribution function (Figurnov et al. 2018)."""

    @staticmethod
    def forward(ctx: Any, shape: Tensor, generator: torch.Generator | None) -> Tensor:
        drawn = torch._standard_gamma(shape, generator=generator)
        ctx.save_for_backward(shape, drawn)
        return drawn

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        shape, drawn = ctx.saved_tensors
        slope = _slope_by_shape(*(each.detach().double().cpu().numpy() for each in (shape, drawn)))
        return gradients[0] * torch.from_numpy(numpy.asarray(slope)).to(drawn), None


def gamma(shape: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw as torch._standard_gamma does; its own derivative has three to seven digits."""
    drawn: Tensor = _Gamma.apply(shape, generator)  # type: ignore[no-untyped-call]
    return drawn


def _slope_by_shape(a: Any, x: Any) -> Any:
    """dx/da = -(dP/da) / p(x), the first by central differences of fourth order."""

    def slope(width: Any) -> Any:
        return (gammainc(a + width, x) - gammainc(a - width, x)) / (2 * width)

    step = 2e-3 * a
    return -(4 * slope(step / 2) - slope(step)) / 3 / numpy.exp((a - 1) * numpy.log(x) - x - gammaln(a))
