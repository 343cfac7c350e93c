"""What an audit answers: the exact mean of a gradient, and what it should have been."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch import Tensor

from derive.language.errors import GradproofError

SCHEMA = "gradproof/audit/1"

POINTS = 3
"""At so many other parameters one factor must hold before a gradient is called scaled."""

NEGLIGIBLE = 1e-7
"""A deviation that is at most this part of the exact gradient in every coordinate, as by 1e-8 in a denominator."""

_VACUOUS = "vacuous: no outcome has a gradient and the exact gradient is zero, so code that does nothing would pass"
_GRAPHLESS = "the loss has no graph in any outcome: it was detached, or computed under torch.no_grad or inference_mode"


class BiasedGradient(GradproofError):
    """The mean of the audited gradient is not that of the objective: the message shows both; `.report` has all of it."""

    def __init__(self, report: AuditReport) -> None:
        super().__init__(str(report))
        self.report = report


class VacuousAudit(GradproofError):
    """No outcome has a gradient, and the exact one is zero: any code that does nothing would pass. `.report` has all of it."""

    def __init__(self, report: AuditReport) -> None:
        super().__init__(str(report))
        self.report = report


class UndecidedAudit(GradproofError):
    """The gradient is neither shown to be right nor to be wrong: the message says what stands in the way. `.report` has all."""

    def __init__(self, report: AuditReport) -> None:
        super().__init__(str(report))
        self.report = report


class UnexpectedVerdict(GradproofError):
    """The audit found something else than `expect=` says: the message shows both; `.report` has all of it."""

    def __init__(self, report: AuditReport) -> None:
        super().__init__(f"{report.unexpected}\n{report}")
        self.report = report


class AuditWarning(UserWarning):
    """An audit that holds, or fails, for less than it may seem: the message says what it does not cover."""


@dataclass(frozen=True)
class Contribution:
    """One outcome: its choices in the order of the draws, its probability, what it adds to the worst coordinate's mean."""

    choices: tuple[int, ...]
    probability: float
    gradient: float


@dataclass(frozen=True)
class AuditReport:
    """The mean and variance of a gradient over every outcome, and the exact gradient; true where they agree, not vacuously.

    Args
        mean, exact, variance  by the name of the parameter, float64, each of the parameter's shape
        outcomes               how many outcomes the loss has; those of the objective are `objective_outcomes`
        factor                 c, where the mean is c times the exact gradient in every coordinate at these parameters, or None
        factors, held          the factors at other parameters nearby, and at how many of those c is the factor
        scaled_by              c, where it is the factor at these parameters and at three others (1 within rounding where the
                               mean is unbiased), else None; also None where the mean or the exact gradient is zero
        graphless              whether the loss recorded no graph in any outcome
        baseline               by the name of the parameter, what a constant of one added to the rewards adds to the mean
                               (`E[w score]`), None where no rewards were given or found
        baseline_free          whether that is zero, so that any constant baseline is free; None where it is not known
        targets, target        of each named objective, what the mean is to it; the name of that which this report is about
        expected, unexpected   what `expect=` asked for; and what was found in its place, empty where it was found
        tolerance              by the name of the parameter: how far mean and exact gradient may differ
        vacuous                whether no outcome has a gradient and the exact one is zero, so that any code would pass
        quadrature             how continuous noise was integrated; empty where every outcome was enumerated, without error
        quadrature_error       by the name of the parameter: what doubling the nodes changed; part of the tolerance
        sampling               how continuous noise was sampled; empty where it was not
        undecided              why nothing is decided; empty where something is
        contributions          the outcomes that add most to the mean of the worst coordinate
        warnings               what the result does not cover
        left_out               which laws were cut off, and what that may change; part of the tolerance
        together               whether the outcomes of the loss were rows of one run, and some of them run alone too
    """

    mean: dict[str, Tensor]
    exact: dict[str, Tensor]
    variance: dict[str, Tensor]
    tolerance: dict[str, Tensor]
    theta: dict[str, Tensor]
    outcomes: int
    objective_outcomes: int
    value: float
    draws: tuple[str, ...]
    contributions: tuple[Contribution, ...] = ()
    warnings: tuple[str, ...] = ()
    frozen_noise: int = 0
    reproduce: str = ""
    vacuous: bool = False
    quadrature: str = ""
    quadrature_error: dict[str, Tensor] | None = None
    sampling: str = ""
    undecided: str = ""
    left_out: str = ""
    together: bool = False
    factors: tuple[float, ...] = ()
    held: int = 0
    graphless: bool = False
    baseline: dict[str, Tensor] | None = None
    baseline_free: bool | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    expected: str = ""
    unexpected: str = ""

    @property
    def bias(self) -> dict[str, Tensor]:
        """Mean minus exact gradient, by parameter."""
        return {name: self.mean[name] - exact for name, exact in self.exact.items()}

    @property
    def unbiased(self) -> bool:
        """Whether every coordinate of the mean is within its tolerance of the exact gradient."""
        return all(bool((bias.abs() <= self.tolerance[name]).all()) for name, bias in self.bias.items())

    @property
    def finite(self) -> bool:
        """Whether every coordinate of the mean and of the exact gradient is a finite number."""
        return all(bool(bias.isfinite().all()) for bias in self.bias.values())

    @property
    def factor(self) -> float | None:
        """The constant c with mean = c * exact in every coordinate at these parameters, or None."""
        mean, exact, tolerance = (_flat(part) for part in (self.mean, self.exact, self.tolerance))
        square = float(exact @ exact)
        if not bool((exact.abs() > tolerance).any()) or not math.isfinite(square):
            return None
        scale = float(mean @ exact) / square
        return scale if bool(((mean - scale * exact).abs() <= tolerance * max(1.0, abs(scale))).all()) else None

    @property
    def scaled_by(self) -> float | None:
        """The factor, where it is the same at the other parameters too; None where the mean is zero."""
        return self.factor if self.unbiased or (self.held >= POINTS and not self.mean_is_zero) else None

    @property
    def mean_is_zero(self) -> bool:
        """Whether the mean is zero within its tolerance in every coordinate, and the exact gradient is not."""
        small = all(bool((part.abs() <= self.tolerance[name]).all()) for name, part in self.mean.items())
        return small and any(bool((part.abs() > self.tolerance[name]).any()) for name, part in self.exact.items())

    @property
    def worst(self) -> tuple[str, tuple[int, ...]]:
        """The coordinate that is farthest from its exact value, in units of its tolerance: parameter and index."""
        return worst_coordinate(self.mean, self.exact, self.tolerance)

    @property
    def failure(self) -> GradproofError:
        """What an audit with this report raises, unless the report is true."""
        if self.unexpected:
            return UnexpectedVerdict(self)
        return VacuousAudit(self) if self.vacuous else UndecidedAudit(self) if self.undecided else BiasedGradient(self)

    @property
    def at(self) -> str:
        """Where the numbers hold, "" where they are expectations over all that is random."""
        return "at one value of the noise" if self.frozen_noise else ""

    @property
    def up_to(self) -> dict[str, Tensor]:
        """By parameter, how far the mean may be from the exact gradient where it is unbiased up to that; else empty."""
        if self.nearly is not None:
            return {name: torch.maximum(bias.abs(), self.tolerance[name]) for name, bias in self.bias.items()}
        return self.tolerance if self.sampling else {}

    @property
    def nearly(self) -> float | None:
        """The largest deviation relative to the exact gradient, where it is seen and negligible: a 1e-8 in a denominator."""
        if self.unbiased or self.sampling:
            return None
        outside = {name: bias.abs() > self.tolerance[name] for name, bias in self.bias.items()}
        parts = [(self.bias[name] / part).abs()[outside[name]] for name, part in self.exact.items()]
        largest = max((float(part.max()) for part in parts if part.numel()), default=math.inf)
        return largest if largest <= NEGLIGIBLE else None

    def __bool__(self) -> bool:
        if self.expected:
            return not self.unexpected
        return (self.unbiased or self.nearly is not None) and not self.vacuous and not self.undecided

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; a number that is not finite is null.

        >>> one = {"theta": torch.ones(1).double()}
        >>> report = AuditReport(one, one, one, one, one, 2, 2, 0.5, ("aten.bernoulli.default",))
        >>> report.to_json()["schema"], report.to_json()["unbiased"]
        ('gradproof/audit/1', True)
        """
        parts = {"theta": self.theta, "mean": self.mean, "exact": self.exact, "bias": self.bias, "variance": self.variance}
        name, index = self.worst
        worst = {"parameter": name, "index": list(index)}
        contributions = [
            {"choices": list(each.choices), "probability": each.probability, "gradient": _number(each.gradient)}
            for each in self.contributions
        ]
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "unbiased": self.unbiased,
            "vacuous": self.vacuous,
            "scaled_by": _number(self.scaled_by),
            "factor": _number(self.factor),
            "factors_nearby": [_number(each) for each in self.factors],
            "mean_is_zero": self.mean_is_zero,
            "without_graph": self.graphless,
            "outcomes": self.outcomes,
            "objective_outcomes": self.objective_outcomes,
            "together": self.together,
            "objective": _number(self.value),
            "draws": list(self.draws),
            "frozen_noise": self.frozen_noise,
            "at": self.at or None,
            "quadrature": self.quadrature or None,
            "quadrature_error": {name: _numbers(part.tolist()) for name, part in (self.quadrature_error or {}).items()},
            "sampling": self.sampling or None,
            "up_to": {name: _numbers(part.tolist()) for name, part in self.up_to.items()} or None,
            "undecided": self.undecided or None,
            "baseline_free": self.baseline_free,
            "baseline": {name: _numbers(part.tolist()) for name, part in (self.baseline or {}).items()},
            "targets": dict(self.targets),
            "target": self.target or None,
            "expected": self.expected or None,
            "as_expected": not self.unexpected if self.expected else None,
            "worst": worst,
            **{key: {name: _numbers(part.tolist()) for name, part in values.items()} for key, values in parts.items()},
            "contributions": contributions,
            "warnings": list(self.warnings),
            "reproduce": self.reproduce,
        }

    @property
    def verdict(self) -> str:
        """"unbiased", "unbiased up to x", "vacuous", "undecided", "scaled" or "biased"."""
        if self.vacuous:
            return "vacuous"
        if self.undecided:
            return "undecided"
        if self.unbiased:
            return "unbiased up to x" if self.sampling else "unbiased"
        if self.nearly is not None:
            return "unbiased up to x"
        if self.sampling:
            return "biased"
        return "biased" if self.scaled_by is None else "scaled"

    def __str__(self) -> str:
        about = f" (of {self.target})" if self.target else ""
        return "\n".join([f"{self._headline()}{about}", *self._coordinates(), *self._outcome_lines(), *self._endings()])

    def _headline(self) -> str:
        over = "by quadrature over its noise" if self.quadrature else "over every outcome"
        over = "over sampled noise" if self.sampling else over
        no_graph = f" ({_GRAPHLESS})" if self.graphless else ""
        if self.vacuous:
            return f"{_VACUOUS}{no_graph}"
        if self.undecided:
            return f"undecided: {self.undecided}"
        if self.unbiased and self.sampling:
            largest = max(float(part.max()) for part in self.tolerance.values())
            return f"unbiased up to {largest:.2g}: no coordinate of the mean of the gradient is farther from the exact gradient"
        if self.unbiased:
            return f"unbiased: the mean of the gradient {over} is the exact gradient of the objective"
        if self.nearly is not None:
            return f"unbiased up to {self.nearly:.2g}: that part of the exact gradient is what the mean {over} is off by"
        if self.mean_is_zero:
            return f"biased: the mean is zero{no_graph}: the gradient {over} has no part of the exact gradient of the objective"
        if self.scaled_by is not None and not self.sampling:
            reversed_ = ", the reversed gradient" if round(self.scaled_by, 9) == -1 else ""
            return f"scaled: the mean of the gradient {over} is {self.scaled_by:.12g} times the exact gradient{reversed_}"
        return f"biased: the mean of the gradient {over} is not the exact gradient of the objective{self._here()}"

    def _here(self) -> str:
        """What a factor is that holds at these parameters only."""
        if self.factor is None:
            return ""
        others = f", nearby it is {', '.join(f'{each:.6g}' for each in self.factors)}" if self.factors else ""
        return f"; at this theta c = {self.factor:.12g}{others}"

    def _coordinates(self) -> list[str]:
        name, index = self.worst
        at = "".join(f"[{position}]" for position in index)
        at_noise, tolerated = f" ({self.at})" if self.at else "", _at(self.tolerance[name], index)
        rows_of_one = " as rows of one run" if self.together else ""
        rows = [
            ("outcomes", f"{self.outcomes} of the loss{rows_of_one}, {self.objective_outcomes} of the objective"),
            ("draws", ", ".join(self.draws) or "none"),
            ("E[objective]", f"{self.value:.15g}{at_noise}"),
            ("worst", f"{name}{at}" if self.unbiased else f"the gradient of {name}{at}"),
            ("exact", f"{_at(self.exact[name], index):.15g}{at_noise}"),
            ("mean", f"{_at(self.mean[name], index):.15g}{at_noise}"),
            ("bias", f"{_at(self.bias[name], index):.6g}, of which {tolerated:.1e} would be tolerated{at_noise}"),
            ("variance", f"{_at(self.variance[name], index):.6g}{at_noise}" if not self.sampling else "not estimated"),
        ]
        if self.quadrature_error is not None:
            error = f"estimated error {_at(self.quadrature_error[name], index):.1e}, by doubling the nodes"
            rows.append(("quadrature", f"{self.quadrature}; {error}"))
        if self.sampling:
            rows.append(("sampling", self.sampling))
        rows += [("left out", self.left_out)] if self.left_out else []
        rows += [("target", f"{key}: {found}") for key, found in self.targets.items()]
        rows += [("baseline", self._baseline_line())] if self.baseline_free is not None else []
        rows += [("expected", self.expected)] if self.expected else []
        rows += [("theta", f"{key} = {_shown(value)}") for key, value in self.theta.items()]
        return [f"  {label:<13} {text}" for label, text in rows]

    def _baseline_line(self) -> str:
        if self.baseline_free:
            return "free: a constant added to the rewards leaves the mean of the gradient as it is"
        largest = max(float(part.abs().max()) for part in (self.baseline or {}).values())
        return f"not free: a constant of 1 added to the rewards adds up to {largest:.6g} to the mean of the gradient"

    def _outcome_lines(self) -> list[str]:
        if self.unbiased or not self.contributions:
            return []
        lines = ["  outcomes that add most to this mean (choices, probability, probability * gradient)"]
        for each in self.contributions:
            lines.append(f"    {_few(each.choices):<24} {each.probability:<12.6g} {each.gradient:.6g}")
        return lines

    def _endings(self) -> list[str]:
        lines = [f"  warning       {text}" for text in self.warnings]
        return lines + ([f"  reproduce     {self.reproduce}"] if self.reproduce and not self.unbiased else [])


def worst_coordinate(
    mean: Mapping[str, Tensor], exact: Mapping[str, Tensor], tolerance: Mapping[str, Tensor]
) -> tuple[str, tuple[int, ...]]:
    """Return the name and the index of the coordinate with the largest difference in units of its tolerance; nan is worst."""
    found: tuple[float, str, tuple[int, ...]] = (-1.0, next(iter(mean)), ())
    for name, part in mean.items():
        ratio = ((part - exact[name]).abs() / tolerance[name]).nan_to_num(nan=math.inf).reshape(-1)
        if ratio.numel() and float(ratio.max()) > found[0]:
            place = numpy.unravel_index(int(ratio.argmax()), tuple(part.shape))
            found = (float(ratio.max()), name, tuple(int(position) for position in place))
    return found[1], found[2]


def _flat(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1).cpu() for part in parts.values()])


def _at(values: Tensor, index: tuple[int, ...]) -> float:
    return float(values[index]) if index else float(values.reshape(-1)[0])


def _few(choices: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, choices[:12]))}{', ...' if len(choices) > 12 else ''})"


def _shown(values: Tensor) -> str:
    if values.numel() <= 12:
        return str(values.tolist())
    return f"a tensor of shape {tuple(values.shape)}, beginning {values.reshape(-1)[:6].tolist()}"


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(values: Any) -> Any:
    return [_numbers(value) for value in values] if isinstance(values, list) else _number(values)
