"""Draws with the derivative by their parameters that autograd of torch leaves out, or gives to a few digits only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import dirichlet as dirichlet_law


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

    generate_vmap_rule = True

    @staticmethod
    def forward(shape: Tensor, generator: torch.Generator | None) -> Tensor:
        drawn: Tensor = torch._standard_gamma(shape, generator=generator)
        return drawn

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        shape, drawn = (each.detach().double() for each in ctx.saved_tensors)
        return gradients[0] * _slope_by_shape(shape, drawn).to(gradients[0].dtype), None


def gamma(shape: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw as torch._standard_gamma does; its own derivative has three to seven digits."""
    drawn: Tensor = _Gamma.apply(shape, generator)  # type: ignore[no-untyped-call]
    return drawn


def _slope_by_shape(a: Tensor, x: Tensor) -> Tensor:
    """dx/da = -(dP/da) / p(x), the first by central differences of fourth order."""

    def slope(width: Tensor) -> Tensor:
        difference: Tensor = torch.special.gammainc(a + width, x) - torch.special.gammainc(a - width, x)
        return difference / (2 * width)

    step = 2e-3 * a
    density = ((a - 1) * x.log() - x - torch.lgamma(a)).exp()
    found: Tensor = -(4 * slope(step / 2) - slope(step)) / 3 / density
    return found


class _DirichletRows(torch.autograd.Function):
    """What `torch.distributions.Dirichlet` draws by, in the form that `torch.vmap` asks for."""

    generate_vmap_rule = True

    @staticmethod
    def forward(concentration: Tensor) -> Tensor:
        drawn: Tensor = torch._sample_dirichlet(concentration)
        return drawn

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output, *inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        drawn, concentration = ctx.saved_tensors
        slope = torch._dirichlet_grad(drawn, concentration, concentration.sum(-1, True).expand_as(concentration))
        moved: Tensor = slope * (gradients[0] - (drawn * gradients[0]).sum(-1, True))
        return moved


class _DirichletByNumbers:
    """Gamma noise over its sum, whose derivative is known to more digits than that of torch, and inside `no_grad` too."""

    @staticmethod
    def apply(concentration: Tensor) -> Tensor:
        drawn = torch._standard_gamma(concentration)
        return drawn / drawn.sum(-1, keepdim=True)


@contextmanager
def dirichlet(*, by_numbers: bool) -> Iterator[None]:
    """Let Dirichlet and Beta laws draw on rows of `torch.vmap`; by numbers, with the derivative of gamma noise."""
    before = dirichlet_law._Dirichlet
    dirichlet_law._Dirichlet = _DirichletByNumbers if by_numbers else _DirichletRows  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        dirichlet_law._Dirichlet = before  # type: ignore[misc]
