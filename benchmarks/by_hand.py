"""The estimators as one would write them by hand in torch, for `estimators.py`: scores in closed form, the rest by autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Params = Tensor | Mapping[str, Tensor]
Run = Callable[[], object]

K, LAMBDA, SLOPE = 4, 0.5, 0.3


def settle() -> None:
    """Free one block of almost 32 MiB, as any program with large tensors has.

    Until then glibc gives the top of its heap back after each call, and the page faults of the next one are up to half of the
    time of whoever uses more than a few tensors at once, by hand or not; how many they are depends on what ran before.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def params_of(n: int, batch: int, device: str, *, normal: bool) -> Params:
    """The parameters: logits (batch, n), or location and scale of normal laws."""
    logits = torch.linspace(-1, 1, n * batch, device=device).reshape(batch, n)
    return {"loc": logits, "log_scale": logits / 4} if normal else logits


def f(b: Tensor) -> Tensor:
    return (b - 0.499).square().sum(-1)


def c(z: Tensor, phi: Tensor) -> Tensor:
    return phi * z.sum(-1)


def bits(p: Tensor, g: torch.Generator) -> Tensor:
    return torch.bernoulli(p, generator=g)


def noise(like: Tensor, g: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=g, dtype=like.dtype, device=like.device)


def normal(like: Tensor, g: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=g, dtype=like.dtype, device=like.device)


def grad(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss.sum(), leaves)


def score_function(logits: Tensor, g: torch.Generator) -> Tensor:
    p = torch.sigmoid(logits)
    b = bits(p, g)
    return f(b)[..., None] * (b - p)


def leave_one_out(logits: Tensor, g: torch.Generator) -> Tensor:
    p = torch.sigmoid(logits)
    b = bits(p.expand(K, *p.shape), g)
    values = f(b)
    advantage = (values - values.mean(0)) / (K - 1)
    return (advantage[..., None] * (b - p)).sum(0)


def _relaxed(logits: Tensor, g: torch.Generator) -> tuple[Tensor, ...]:
    u, v = noise(logits, g), noise(logits, g)
    z = logits + torch.logit(u, 1e-7)
    b = (z >= 0).to(z.dtype)
    p = torch.sigmoid(logits)
    given = torch.where(b > 0, 1 - p * (1 - v), v * (1 - p))
    return b, z, logits + torch.logit(given, 1e-7), (b * logits + logsigmoid(-logits)).sum(-1)


def rebar(logits: Tensor, g: torch.Generator) -> Tensor:
    moving = logits.detach().requires_grad_()
    b, z, z_tilde, log_p = _relaxed(moving, g)
    control, conditional = f(torch.sigmoid(z / LAMBDA)), f(torch.sigmoid(z_tilde / LAMBDA))
    return grad((f(b) - conditional).detach() * log_p + control - conditional, moving)[0]


def relax(logits: Tensor, g: torch.Generator) -> Tensor:
    moving = logits.detach().requires_grad_()
    b, z, z_tilde, log_p = _relaxed(moving, g)
    phi = torch.tensor(SLOPE, device=logits.device)
    control, conditional = c(z, phi), c(z_tilde, phi)
    return grad((f(b) - conditional).detach() * log_p + control - conditional, moving)[0]


def concrete(logits: Tensor, g: torch.Generator) -> Tensor:
    moving = logits.detach().requires_grad_()
    return grad(f(torch.sigmoid((moving + torch.logit(noise(logits, g), 1e-7)) / LAMBDA)), moving)[0]


def muprop(logits: Tensor, g: torch.Generator) -> Tensor:
    p = torch.sigmoid(logits)
    b, slope = bits(p, g), torch.full_like(p, SLOPE)
    expansion = SLOPE + (slope * (b - 0.5)).sum(-1)
    return (f(b) - expansion)[..., None] * (b - p) + slope * p * (1 - p)


def nvil(logits: Tensor, g: torch.Generator) -> Tensor:
    p = torch.sigmoid(logits)
    b = bits(p, g)
    log_q = logsigmoid((2 * b - 1) * logits).sum(-1)
    return (f(b) - log_q - SLOPE)[..., None] * (b - p)


def vimco(logits: Tensor, g: torch.Generator) -> Tensor:
    p = torch.sigmoid(logits)
    b = bits(p.expand(2, *p.shape), g)
    log_w = f(b) - logsigmoid((2 * b - 1) * logits).sum(-1)
    bound = torch.logsumexp(log_w, 0) - math.log(2)
    weights = bound - log_w.flip(0) - torch.softmax(log_w, 0)
    return (weights[..., None] * (b - p)).sum(0)


def pathwise(params: Mapping[str, Tensor], g: torch.Generator) -> tuple[Tensor, ...]:
    loc, log_scale = (part.detach().requires_grad_() for part in params.values())
    return grad(f(loc + log_scale.exp() * normal(loc, g)), loc, log_scale)


def iwae(params: Mapping[str, Tensor], g: torch.Generator) -> tuple[Tensor, ...]:
    loc, log_scale = (part.detach().requires_grad_() for part in params.values())
    e = normal(loc.expand(2, *loc.shape), g)
    log_q = (-0.5 * e.square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)
    return grad(torch.logsumexp(f(loc + log_scale.exp() * e) - log_q, 0), loc, log_scale)


BY_HAND: dict[str, Callable[[Any, torch.Generator], object]] = {
    "score-function": score_function,
    "leave-one-out": leave_one_out,
    "rebar": rebar,
    "relax": relax,
    "concrete": concrete,
    "muprop": muprop,
    "nvil": nvil,
    "vimco": vimco,
    "pathwise": pathwise,
    "iwae": iwae,
}

NEEDED = {"leave-one-out": (K, K), "rebar": (2, 3), "relax": (2, 3), "vimco": (2, 2), "iwae": (2, 2)}
"""The draws, and the evaluations of f or c, that one estimate needs; else one of each."""


def keywords(name: str, logits: Params) -> dict[str, Any]:
    """What the estimators take beside the objective."""
    if name == "relax":
        return {"c": c, "phi": torch.tensor(SLOPE, device=logits.device)}
    if name == "muprop":
        return {"b_0": torch.full_like(logits, 0.5), "df_0": torch.full_like(logits, SLOPE), "f_0": SLOPE}
    if name == "nvil":
        return {"C": lambda x, psi: psi, "psi": torch.tensor(SLOPE, device=logits.device), "x": None}
    return {}


def floor(name: str, params: Params, g: torch.Generator) -> Run:
    """One draw of the noise, and one evaluation of f for each sample that is needed; bits by comparison where faster."""
    draws, evaluations = NEEDED.get(name, (1, 1))
    like = params["loc"] if isinstance(params, Mapping) else params
    p = torch.sigmoid(like)
    compared = like.numel() >= 512 and like.device.type == "cpu"

    def draw() -> Tensor:
        if isinstance(params, Mapping):
            return normal(like, g)
        if name in ("rebar", "relax", "concrete"):
            return noise(like, g)
        return noise(like, g).lt_(p) if compared else bits(p, g)

    def run() -> None:
        drawn = [draw() for _ in range(draws)]
        for k in range(evaluations):
            f(drawn[k % draws])

    return run
