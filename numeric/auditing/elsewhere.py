"""Whether one factor between mean and exact gradient holds at other parameters too: one point alone cannot tell.

With one parameter, or parameters that enter as one product, any mean at all is a multiple of the exact gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from derive.language.errors import TooLarge
from numeric.auditing.audit_report import POINTS, AuditReport
from numeric.means.runs import Runs

REACHES = (0.3, 0.1, 1e-2, 1e-3)
"""How far the parameters are moved, at first relative to 1 + |theta|, where the code runs there."""


def with_factors(runs: Runs, report: AuditReport, measure: Callable[[], AuditReport]) -> AuditReport:
    """Return a report with the factors at other parameters, up to the first where that at these does not hold."""
    decided = report.undecided or report.sampling or report.unbiased or report.vacuous or report.mean_is_zero
    if decided or report.nearly is not None or report.factor is None:
        return report
    factors, held = [], 0
    for seed in range(POINTS):
        there = _at_point(runs, measure, seed)
        factors += [there.factor] if there is not None and there.factor is not None else []
        if there is None or there.factor is None or not _holds(there, report.factor, _slack(report)):
            break
        held += 1
    return replace(report, factors=tuple(factors), held=held)


def _at_point(runs: Runs, measure: Callable[[], AuditReport], seed: int) -> AuditReport | None:
    """The report at a generic point nearby, None where the code does not run at any.

    `torch.compile` has laws check their arguments no more in the whole process, and what is drawn outside of their domain
    is no estimate: they are asked to here, unless the code runs at no point then.
    """
    if Distribution._validate_args:
        return _at_first(runs, measure, seed)
    with _checked_laws():
        report = _at_first(runs, measure, seed)
    return _at_first(runs, measure, seed) if report is None else report


@contextmanager
def _checked_laws() -> Iterator[None]:
    Distribution.set_default_validate_args(True)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(False)


def _at_first(runs: Runs, measure: Callable[[], AuditReport], seed: int) -> AuditReport | None:
    for shifts in _moves(runs.params, seed):
        with runs.moved(shifts):
            there = [param.detach().clone() for param in runs.params.values()]
            try:
                report = measure()
            except TooLarge:
                return None
            except Exception:  # outside the domain of a law anything may be raised
                continue
            if all(map(torch.equal, runs.params.values(), there)):
                return report
    return None


def _moves(params: Mapping[str, Tensor], seed: int) -> Iterator[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for reach in REACHES:
        yield [reach * _step(param, generator) * (1 + param.detach().abs()) for param in params.values()]
    yield [REACHES[1] * _step(param, generator) * param.detach().abs() for param in params.values()]


def _step(param: Tensor, generator: torch.Generator) -> Tensor:
    """Between a half and three halves in size, of either sign."""
    size, sign = (torch.rand(param.shape, generator=generator, dtype=torch.float64).to(param.device) for _ in range(2))
    return (0.5 + size) * torch.where(sign < 0.5, -1.0, 1.0)


def _slack(report: AuditReport) -> float:
    """How far the factor itself may be off: its tolerance over the gradient."""
    size = math.sqrt(sum(float(part.square().sum()) for part in report.exact.values()))
    return math.sqrt(sum(float(part.square().sum()) for part in report.tolerance.values())) / size


def _holds(report: AuditReport, factor: float, slack: float) -> bool:
    return all(
        bool(
            (
                (report.mean[name] - factor * exact).abs()
                <= report.tolerance[name] * max(1.0, abs(factor)) + exact.abs() * slack * max(1.0, abs(factor))
            ).all()
        )
        for name, exact in report.exact.items()
    )
