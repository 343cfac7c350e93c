"""What a subject is: a call of somebody's library, the objective that we state for it, and the verdict that it must get.

A subject is measured, never looked up: the verdict, the factor and the numbers on the page come from `Subject.measure`, and a
test holds them to what is written here.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from numeric.auditing.audit import AuditReport, AuditWarning, audit

torch.set_num_threads(1)

FLOAT32 = 2e-6
"""How far a number may be off where a library computes in float32, at the size of the numbers here."""


@dataclass(frozen=True)
class Measured:
    """What was found: the verdict, and mean and exact gradient, flattened.

    Args
        verdict   "unbiased", "scaled", "biased", "other target" or "does not run"
        scale     c, where the mean is c times the exact gradient
        how       how the mean was taken, for the page
    """

    verdict: str
    mean: tuple[float, ...] = ()
    exact: tuple[float, ...] = ()
    scale: float | None = None
    how: str = ""

    @property
    def worst(self) -> int:
        """The coordinate with the largest bias or, where there is only rounding or a factor, with the largest gradient."""
        right = self.verdict in ("unbiased", "scaled")
        return max(range(len(self.mean)), key=lambda at: abs(self.exact[at] - (0 if right else self.mean[at])))


@dataclass(frozen=True)
class Subject:
    """One call of a library and the verdict that it must get.

    Args
        called      the call, as a user writes it
        objective   what is differentiated, in words or as a formula
        measure     runs the library
        verdict     as in `Measured`
        sentence    what the page says about it
        scale       c, exactly, where the verdict is "scaled"
        mean        the mean of the gradient where the verdict is "biased" or "other target"; flattened
        standing    "" where the library keeps its word; "documented" or "undocumented" where the gradient is not that of the
                    objective, or is a multiple of it
        tolerance   how far a number may be off, absolutely
    """

    name: str
    called: str
    objective: str
    measure: Callable[[], Measured]
    verdict: str
    sentence: str
    scale: Fraction | None = None
    mean: tuple[float, ...] | None = None
    standing: str = ""
    tolerance: float = 1e-7


def require_as_expected(subject: Subject) -> None:
    """Measure a subject and raise AssertionError unless verdict and numbers are the ones that it states."""
    found = subject.measure()
    assert found.verdict == subject.verdict, f"{subject.name}: {found}"
    if subject.scale is not None:
        assert found.scale is not None, f"{subject.name}: {found}"
        assert abs(found.scale - float(subject.scale)) < subject.tolerance, f"{subject.name}: {found}"
    if subject.mean is not None:
        torch.testing.assert_close(torch.tensor(found.mean), torch.tensor(subject.mean), rtol=0, atol=subject.tolerance)
    assert (subject.verdict == "scaled") == (subject.scale is not None), subject.name
    assert (subject.verdict in ("biased", "other target")) == (subject.mean is not None), subject.name
    assert (subject.verdict == "unbiased") <= (subject.standing == ""), subject.name


# Ways to take a mean


def audited(loss, params, objective, *, float32: bool = False, state: Sequence[object] = (), seen=slice(None)) -> Measured:
    """The audit's verdict; with `float32` its tolerance is that of a library that computes in float32 inside.

    `seen` picks the coordinates of the flattened gradient that the page shows; the verdict is over all of them.
    """
    tolerance = {"atol": FLOAT32, "rtol": FLOAT32} if float32 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        report = audit(loss, params, objective, raise_exception=False, state=state, **tolerance)
    return of_report(report, seen)


def of_report(report: AuditReport, seen=slice(None)) -> Measured:
    mean, exact = (tuple(_flat(part)[seen]) for part in (report.mean, report.exact))
    how = f"{report.outcomes} outcomes" if report.outcomes > 1 or not report.frozen_noise else "noise frozen"
    return Measured(report.verdict, mean, exact, report.scaled_by, how)


def is_zero(scale: float | None) -> bool:
    """Whether the mean is zero times the gradient, which is no scaling that a step size could make up for."""
    return scale is not None and abs(scale) < 1e-9


def _flat(parts: dict[str, Tensor]) -> list[float]:
    return torch.cat([part.reshape(-1) for part in parts.values()]).tolist()


def other_target(stated: Measured, named: Measured) -> Measured:
    """Not the gradient of the stated objective, but exactly that of the one that is named."""
    if stated.verdict in ("unbiased", "scaled") or named.verdict != "unbiased":
        return stated
    return Measured("other target", stated.mean, stated.exact, None, stated.how)


def compared(mean: Tensor, exact: Tensor, how: str, tolerance: float) -> Measured:
    """The verdict on a mean that was taken by quadrature or by hand, to within a tolerance."""
    mean, exact = mean.detach().double().reshape(-1), exact.detach().double().reshape(-1)
    scale = float(mean @ exact) / float(exact @ exact)
    verdict = "biased"
    if bool(((mean - scale * exact).abs() <= tolerance).all()):
        verdict = "unbiased" if abs(scale - 1) <= tolerance else "scaled"
    verdict = "biased" if verdict == "scaled" and (len(exact) == 1 or is_zero(scale)) else verdict
    return Measured(verdict, tuple(mean.tolist()), tuple(exact.tolist()), scale if len(exact) > 1 else None, how)


def quadrature(loss: Callable[[], object], theta: Tensor, pieces: Sequence[Sequence[float]], nodes: int = 24) -> Tensor:
    """The mean gradient over uniform noise, one scalar for each call of torch.rand, by Gauss-Legendre between breakpoints.

    Raises
        ArithmeticError, where twice the nodes give another mean.
    """
    coarse, fine = (_integral(loss, theta, pieces, count) for count in (nodes, 2 * nodes))
    if float((coarse - fine).abs().max()) > 1e-5:
        message = f"the quadrature has not settled: {coarse.tolist()} with {nodes} nodes, {fine.tolist()} with {2 * nodes}."
        raise ArithmeticError(message)
    return fine


def _integral(loss, theta: Tensor, pieces: Sequence[Sequence[float]], count: int) -> Tensor:
    rules = [list(_rule(breakpoints, count)) for breakpoints in pieces]
    total = torch.zeros_like(theta)
    for points in itertools.product(*rules):
        with uniforms(x for x, _ in points):
            theta.grad = None
            loss()
        total += float(np.prod([weight for _, weight in points])) * theta.grad
    theta.grad = None
    return total.detach()


def _rule(breakpoints: Sequence[float], count: int) -> Iterator[tuple[float, float]]:
    x, weight = np.polynomial.legendre.leggauss(count)
    for low, high in itertools.pairwise(breakpoints):
        yield from zip((low + high) / 2 + (high - low) / 2 * x, (high - low) / 2 * weight, strict=True)


@contextmanager
def uniforms(values: Iterable[float]) -> Iterator[None]:
    """Let torch.rand return these values, one for each call; every call must draw one number."""
    left = iter(values)

    def rand(*shape, dtype=None, device=None, **_):
        size = torch.Size(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else torch.Size(shape)
        if size.numel() != 1:
            message = f"one number was to be drawn, and torch.rand was called with {tuple(size)}."
            raise ValueError(message)
        return torch.full(size, next(left), dtype=dtype or torch.get_default_dtype(), device=device)

    with mock.patch.object(torch, "rand", rand):
        yield
    if next(left, None) is not None:
        message = "torch.rand was called less often than there is noise to integrate over."
        raise ValueError(message)


# The example that the subjects share: three outcomes with a reward each

REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
LOGITS = (0.3, -0.2, 0.1)


def logits() -> Tensor:
    """A fresh leaf with the logits of the shared example, (3,) float64."""
    return torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)


def gradient_by_hand(values: Tensor = REWARDS, at: Sequence[float] = LOGITS) -> Tensor:
    """The gradient of E[values[k]] in the logits of k, in closed form: p * (values - E[values])."""
    p = torch.tensor(at, dtype=torch.float64).softmax(-1)
    return p * (values - p @ values)
