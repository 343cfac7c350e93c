"""Training with every estimator: the estimates come from code that gradproof generates, many independent runs in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from time import perf_counter
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

import numeric
from derive.catalogue import catalogue
from docs.experiment.controls import Control, Network, Rebar, Sigmoid, objective
from docs.experiment.quadrature import Estimate, moments
from numeric.codegen.noise_roles import roles
from numeric.codegen.torchrun import Compiled

RELAX = "relax"


@dataclass(frozen=True)
class Settings:
    """What a run is made of.

    Args
        steps      optimiser steps
        replicates independent runs, side by side in one batch; all start at logit 0
        rate       the step size
        optimiser  "adam" or "sgd"; the control's parameters always learn by Adam with rate 0.01
        every      record loss and variance after so many steps
        nodes      nodes of each quadrature
        seed       of the one generator from which a method draws everything
    """

    steps: int = 10_000
    replicates: int = 20
    rate: float = 0.01
    optimiser: str = "adam"
    every: int = 100
    nodes: int = 96
    seed: int = 0


CONTROL_RATE = 0.01
GOOD = 0.9
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Method:
    """An estimator of the catalogue with its constants, or RELAX with a control variate that learns."""

    label: str
    estimator: str
    constants: tuple[tuple[str, float], ...] = ()
    control: Control | None = None


METHODS = {
    "exact": Method("exact gradient", ""),
    "score-function": Method("score function", "score-function"),
    "baseline": Method("score function, c = 1/4", "constant-baseline", (("c", 0.25),)),
    "rebar-fixed": Method("REBAR, eta = 1, lambda = 1/2", "rebar", (("eta", 1.0), ("lambda_", 0.5))),
    "rebar": Method("REBAR, eta and lambda learned", RELAX, control=Rebar()),
    "sigmoid": Method("sigma(z / lambda) as control, lambda learned", RELAX, control=Sigmoid()),
    "relax": Method("RELAX, network c learned", RELAX, control=Network()),
}


@cache
def compiled(name: str) -> Compiled:
    """The generated estimator; its noises must not meet in a product, or the quadrature would be wrong.

    Raises
        ValueError, if they do.
    """
    if not roles(catalogue[name]).separate:
        message = f"{name} multiplies functions of two draws"
        raise ValueError(message)
    return numeric.compile(catalogue[name], "bernoulli")


SETTINGS = {"adam": Settings(), "sgd": Settings(optimiser="sgd", rate=1.0)}


# One step


def gradient(method: Method, logits: Tensor, phi: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """One single-sample estimate for each replicate, and of the same sample the gradient of its square in phi."""
    if not method.estimator:
        return numeric.exact_gradient(objective, logits), None
    program = compiled(method.estimator)
    noise = program.draw(logits, generator)
    if method.control is None or phi is None:
        return program.estimate(logits, noise, objective, **dict(method.constants)), None
    rows = estimate_rows(method.control, logits, phi, noise)
    return rows[0], (2 * rows[0] * rows[1:])[..., 0].T


def estimate_rows(control: Control, logits: Tensor, phi: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
    """The estimate and its derivative in each parameter of the control, all by the generated code; see `controls`."""
    count = 1 + phi.shape[1]
    first = torch.zeros(count, *[1] * (logits.ndim - 1), dtype=logits.dtype)
    first[0] = 1
    expanded = {name: draw.expand(count, *logits.shape) for name, draw in noise.items()}
    return relax(logits, expanded, lambda b: objective(b) * first, partial(control.rows, phi))


def relax(logits: Tensor, noise: Mapping[str, Tensor], f: Callable[[Tensor], Tensor], c: Callable[[Tensor], Tensor]) -> Tensor:
    """The generated RELAX with a control c(z) that holds its own parameters, so that each replicate may have others."""
    program = compiled(RELAX)
    unused = dict.fromkeys(program.constants, 0.0)
    result = program.estimate(logits, noise, f, c=lambda z, *_: c(z), **unused)
    return result  # type: ignore[return-value]


def estimate_at(method: Method, logits: Tensor, phi: Tensor | None) -> Estimate:
    """The estimate as a function of the noise."""
    if method.control is not None and phi is not None:
        control = partial(method.control.value, phi)
        return lambda noise: relax(logits, noise, objective, control)
    constants = dict(method.constants)
    return lambda noise: compiled(method.estimator).estimate(logits, noise, objective, **constants)  # type: ignore[return-value]


def variance(method: Method, logits: Tensor, phi: Tensor | None, nodes: int) -> Tensor:
    """The variance of one estimate: zero, or over both outcomes exactly, or by quadrature."""
    if not method.estimator:
        return torch.zeros_like(logits)
    estimate = estimate_at(method, logits, phi)
    if "u" in compiled(method.estimator).noise:
        return moments(estimate, logits, nodes=nodes).variance
    outcomes = torch.tensor([0.0, 1.0], dtype=logits.dtype).reshape(2, *[1] * logits.ndim).expand(2, *logits.shape)
    low, high = estimate({"b": outcomes})
    return torch.sigmoid(logits) * torch.sigmoid(-logits) * (high - low).square()


# Training


def train(name: str, settings: Settings) -> dict[str, Any]:
    """Run one method; return the curves and what is left at the end, for every replicate."""
    torch.set_num_threads(1)
    method, generator = METHODS[name], torch.Generator().manual_seed(settings.seed)
    logits = torch.zeros(settings.replicates, 1, dtype=torch.float64)
    phi = None if method.control is None else method.control.start(settings.replicates, generator)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.optimiser]
    optimisers = [(logits, kind([logits], lr=settings.rate))]
    if phi is not None:
        optimisers.append((phi, torch.optim.Adam([phi], lr=CONTROL_RATE)))
    curves: dict[str, list[Any]] = {"step": [], "p": [], "variance": []}
    start = perf_counter()
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            curves["step"].append(step)
            curves["p"].append(torch.sigmoid(logits[:, 0]).tolist())
            curves["variance"].append(variance(method, logits, phi, settings.nodes)[:, 0].tolist())
        if step < settings.steps:
            for (value, optimiser), slope in zip(optimisers, gradient(method, logits, phi, generator), strict=False):
                value.grad = slope
                optimiser.step()
    return summary(curves, phi, perf_counter() - start)


def summary(curves: Mapping[str, list[Any]], phi: Tensor | None, seconds: float) -> dict[str, Any]:
    """Quantiles over the replicates at each record, and every replicate at the end."""
    p, spread = (torch.tensor(curves[name], dtype=torch.float64) for name in ("p", "variance"))
    levels = torch.tensor(QUANTILES, dtype=torch.float64)
    inside = (p > GOOD).long().flip(0).cumprod(0).sum(0)  # how many of the last records are above GOOD without a break
    return {
        "step": curves["step"],
        "p": torch.quantile(p, levels, dim=1).tolist(),
        "variance": torch.quantile(spread, levels, dim=1).tolist(),
        "final_p": p[-1].tolist(),
        "final_variance": spread[-1].tolist(),
        "reached": [curves["step"][len(p) - int(k)] if k else None for k in inside],
        "phi": None if phi is None or phi.shape[1] > 2 else phi.tolist(),
        "seconds": seconds,
    }


def run(settings: Mapping[str, Settings], jobs: int = 2) -> dict[str, Any]:
    """Run every method under all settings, `jobs` at a time."""
    tasks = [(label, name) for label in settings for name in METHODS]
    results: dict[str, Any] = {label: {"settings": asdict(one), "methods": {}} for label, one in settings.items()}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else nullcontext() as pool:
        each = pool.map if pool else map
        done = each(train, [name for _, name in tasks], [settings[label] for label, _ in tasks])
        for (label, name), result in track(zip(tasks, done, strict=True), "experiment", total=len(tasks), transient=True):
            results[label]["methods"][name] = result
    return results


def rounded(value: Any) -> Any:
    """Five significant digits are stored."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value
