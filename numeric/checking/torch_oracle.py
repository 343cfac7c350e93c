"""An oracle as torch values: the exact gradient of a stated problem, and checks of code against it.

A deterministic gradient is compared; a sampler is tested by `numeric.sequential_test`, to which the oracle gives the exact
variance without which there is no valid test.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import GradproofError, UsageError
from derive.verdicts.oracle import SCHEMA, check_oracle, oracle
from derive.verdicts.problem import problem_of
from derive.verdicts.strict_json import read_json
from numeric.checking.capital import Number
from numeric.checking.sequential_test import Progress, Sampler, SequentialReport, samples_needed, sequential_test
from numeric.means.runs import default_tolerance

Record: TypeAlias = Callable[[SequentialReport | None], object]

ROUNDING = 1e-6
"""An estimate without variance is allowed a standard deviation of so much of the largest |f|: float32 code rounds."""


class WrongGradient(GradproofError):
    """A gradient is not the exact one: the message shows both where they differ most."""


class RejectedSampler(GradproofError):
    """The mean of a sampler is not the exact gradient, or its variance exceeds the stated one; `.report` has the test."""

    def __init__(self, message: str, report: SequentialReport) -> None:
        super().__init__(message)
        self.report = report


class VacuousCheckWarning(UserWarning):
    """A check that code passes which returns zeros: the message says what to change."""


@dataclass(frozen=True)
class TorchOracle:
    """The exact answers to a problem; `torch_oracle` makes one. Gradients have the shape of the logits.

    Args
        document  the answers, in the form of the schema gradproof/oracle/1
        alpha     the false-alarm rate of `check_sampler` where none is given there
        record    is called with what each check found: the report of a test, or None for a gradient

    >>> law = {"family": "bernoulli", "probability": "1/2"}
    >>> coin = torch_oracle({"schema": "gradproof/problem/1", "law": law, "f": {"table": ["0", "1"]}, "samples": 2})
    >>> coin.gradient, coin.variance("score-function")
    (tensor(0.2500, dtype=torch.float64), tensor(0.0312, dtype=torch.float64))
    >>> theta = coin.logits()
    >>> coin.f(torch.tensor([1.0, 0.0])) @ torch.stack([theta.sigmoid(), 1 - theta.sigmoid()]).float()
    tensor(0.5000, grad_fn=<DotBackward0>)
    """

    document: Mapping[str, Any]
    alpha: float = 1e-9
    record: Record = field(default=lambda _: None, repr=False)

    @property
    def family(self) -> str:
        """Of the law: `bernoulli`, b is 0 or 1; `categorical`, b is the index of its logit; `product`, several of them."""
        return str(self.document["problem"]["law"]["family"])

    @property
    def objective(self) -> float:
        """E[f(b)], or the bound that the problem states, rounded once."""
        return _float(self.document["objective"])

    @cached_property
    def gradient(self) -> Tensor:
        """The derivative of the objective with respect to the logits, float64, () or (K,)."""
        return self._shaped([_float(value) for value in self.document["gradient"]])

    @cached_property
    def probabilities(self) -> Tensor:
        """The probabilities of the outcomes 0, 1, 2, ..., float64, (K,)."""
        return torch.tensor([_float(row["probability"]) for row in self.document["outcomes"]], dtype=torch.float64)

    @cached_property
    def table(self) -> Tensor:
        """The values of f at the outcomes 0, 1, 2, ..., float64, (K,)."""
        return torch.tensor([_float(row["f"]) for row in self.document["outcomes"]], dtype=torch.float64)

    @property
    def estimators(self) -> tuple[str, ...]:
        """The names of the estimators whose moments are known."""
        return tuple(entry["name"] for entry in self.document["estimators"])

    def logits(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the logits of the law as a new leaf that requires a gradient: () of a Bernoulli, else (K,)."""
        return self._shaped([logit for law in self._factors for logit in _logits(law)]).to(dtype).requires_grad_()

    def f(self, b: Tensor) -> Tensor:
        """Return the values of f at outcomes, in their dtype, float64 where that is an integer's.

        Args
            b  outcomes of any shape; of a product of n variables (..., n)

        Raises
            UsageError, if an entry is no outcome.
        """
        sizes = [2 if law["family"] == "bernoulli" else len(law["probabilities"]) for law in self._factors]
        values = b if self.family == "product" else b[..., None]
        index, most = values.long(), torch.tensor(sizes, device=b.device)
        if values.shape[-1:] != (len(sizes),) or not bool(((index == values) & (index >= 0) & (index < most)).all()):
            message = f"f is stated at outcomes of {sizes} values, from 0; got {b.detach().reshape(-1)[:6].tolist()}."
            raise UsageError(message)
        place = torch.zeros_like(index[..., 0])
        for position, size in enumerate(sizes):
            place = place * size + index[..., position]
        return self.table.to(b.device, b.dtype if b.is_floating_point() else torch.float64)[place]

    @property
    def _factors(self) -> list[Mapping[str, Any]]:
        law = self.document["problem"]["law"]
        return law["factors"] if self.family == "product" else [law]

    def mean(self, estimator: str) -> Tensor:
        """Return the exact mean of an estimator, float64, () or (K,); errors as `variance`."""
        return self._moment(estimator, "mean")

    def variance(self, estimator: str) -> Tensor:
        """Return the exact variance of an estimator with the samples of the problem, float64, () or (K,).

        Raises
            UsageError, if it is none of `estimators`; the message says which are, or why not.
        """
        return self._moment(estimator, "variance")

    def check_gradient(self, actual: Any, *, atol: float | None = None, rtol: float | None = None) -> None:
        """Hold a deterministic gradient against the exact one.

        Args
            actual      the gradient, of the shape of the logits; None, as of a leaf that backward did not reach, is wrong
            atol, rtol  they may differ by atol + rtol * |exact|; by default they follow the dtype as those of `numeric.audit`

        Raises
            WrongGradient, if it is another, or no tensor of this shape.
        """
        self.record(None)
        self._warn_if_zero()
        if not isinstance(actual, Tensor) or actual.shape != self.gradient.shape:
            shape = tuple(self.gradient.shape)
            got = f"a tensor of shape {tuple(actual.shape)}" if isinstance(actual, Tensor) else f"{actual!r:.60}"
            message = f"the gradient must be a tensor of shape {shape}, as the logits of the problem; got {got}."
            raise WrongGradient(message)
        usual = default_tolerance(actual.dtype)
        atol, rtol = usual.atol if atol is None else atol, usual.rtol if rtol is None else rtol
        error = (actual.detach().cpu().double() - self.gradient).abs()
        excess = (error - (atol + rtol * self.gradient.abs())).reshape(-1).nan_to_num(nan=math.inf)
        if float(excess.max()) > 0:
            raise WrongGradient(self._difference(actual, int(excess.argmax()), atol, rtol))

    def check_sampler(
        self,
        sampler: Sampler,
        estimator: str | None = None,
        *,
        variance: Number | None = None,
        bounds: tuple[Number, Number] | None = None,
        bias: float | None = None,
        alpha: float | None = None,
        max_samples: int = 100_000,
        batch: int = 1_000,
        seed: int | None = 0,
        tolerance: float | None = None,
        progress: Progress | None = None,
    ) -> SequentialReport:
        """Test whether independent estimates have the exact gradient as their mean; return the report of the test.

        Args
            sampler           count to a tensor of `count` estimates, (count, *shape of logits)
            estimator         the estimator that the sampler should be, one of `estimators`: gives the exact variance
            variance, bounds  for code that is no such estimator: a bound of its variance, or bounds of every estimate
            bias              take as many samples as find a bias of this size with probability at least 0.99
            alpha             the false-alarm rate, by default that of this oracle
            max_samples       where to stop, if no bias is given

        The others are those of `numeric.sequential_test`.

        Raises
            RejectedSampler, if the mean is another or the variance is larger; wrong with probability at most alpha.
            UsageError, if there is nothing that bounds the estimates, and as `numeric.sequential_test`.

        A pass is followed by a VacuousCheckWarning where a sampler of zeros would have passed too.

        >>> law = {"family": "bernoulli", "probability": "1/2"}
        >>> coin = torch_oracle({"schema": "gradproof/problem/1", "law": law, "f": {"table": ["0", "1"]}, "samples": 1})
        >>> def sampler(count):
        ...     b = torch.bernoulli(torch.full((count,), 0.5))
        ...     return coin.f(b) * (b - 0.5)
        >>> coin.check_sampler(sampler, "score-function", bias=0.05).rejected
        False
        """
        if estimator is not None and variance is None:
            variance = self._stated_variance(estimator)
        alpha = self.alpha if alpha is None else alpha
        stated: dict[str, Any] = {"bounds": bounds, "variance": variance, "alpha": alpha}
        if bias is not None:
            max_samples = samples_needed(bias, self.gradient, **stated)
        run: dict[str, Any] = {"batch": batch, "seed": seed, "tolerance": tolerance, "progress": progress}
        report = sequential_test(sampler, self.gradient, max_samples=max_samples, **stated, **run)
        self.record(report)
        if report.rejected:
            raise RejectedSampler(self._rejection(report, estimator), report)
        self._warn_if_blind(report)
        return report

    def _stated_variance(self, estimator: str) -> Tensor:
        entry = self._entry(estimator)
        if not entry["unbiased"]:
            message = f"{estimator!r} is biased in this problem, so its sampler cannot have the exact gradient as its mean."
            raise UsageError(message)
        above = torch.nextafter(self.variance(estimator), torch.tensor(math.inf, dtype=torch.float64))
        return above.clamp(min=float(ROUNDING * self.table.abs().max()) ** 2 or ROUNDING**2)

    def _entry(self, estimator: str) -> Mapping[str, Any]:
        entries: Sequence[Mapping[str, Any]] = self.document["estimators"]
        for entry in entries:
            if entry["name"] == estimator:
                return entry
        reasons = {other["name"]: other["reason"] for other in self.document["not_applicable"]}
        why = f"{reasons[estimator]} " if estimator in reasons else ""
        message = f"the oracle has no estimator {estimator!r}: {why}it has {', '.join(self.estimators)}."
        raise UsageError(message)

    def _moment(self, estimator: str, kind: str) -> Tensor:
        return self._shaped([_float(coordinate[kind]) for coordinate in self._entry(estimator)["coordinates"]])

    def _shaped(self, values: list[float]) -> Tensor:
        return torch.tensor(values[0] if self.family == "bernoulli" else values, dtype=torch.float64)

    def _difference(self, actual: Tensor, worst: int, atol: float, rtol: float) -> str:
        exact = self.document["gradient"][worst]
        lines = [
            f"the gradient is not the exact one; worst in {self.document['parameters'][worst]}",
            f"  exact   {_float(exact):.15g} = {exact.get('exact') or exact['middle']:.80}",
            f"  actual  {float(actual.detach().reshape(-1)[worst]):.15g}",
            f"  differ by more than {atol:g} + {rtol:g} * |exact|",
        ]
        return "\n".join(lines)

    def _rejection(self, report: SequentialReport, estimator: str | None) -> str:
        where = f"coordinate {report.coordinate} is {self.document['parameters'][report.coordinate]}"
        if report.method == "betting":
            return f"{report}\n  {where}; its mean is another"
        return f"{report}\n  {where}; its mean is another, or its variance exceeds that of {estimator or 'the call'}"

    def _warn_if_zero(self) -> None:
        if not bool(self.gradient.any()):
            message = "the exact gradient of this problem is zero, so code that returns zeros passes: state another problem."
            warnings.warn(message, VacuousCheckWarning, stacklevel=3)

    def _warn_if_blind(self, report: SequentialReport) -> None:
        largest = float(self.gradient.abs().max())
        if report.smallest_detectable_bias > largest:
            remedy = f"give bias={largest / 2:.1g}, or take a larger gradient" if largest else "state another one"
            message = (
                f"{report.samples} samples find a bias of {report.smallest_detectable_bias:.2g}, but the exact gradient of the "
                f"problem is {largest:.2g} at most, so a sampler of zeros could pass: {remedy}."
            )
            warnings.warn(message, VacuousCheckWarning, stacklevel=3)


def torch_oracle(
    source: str | Path | Mapping[str, Any], *, alpha: float = TorchOracle.alpha, record: Record = TorchOracle.record
) -> TorchOracle:
    """Return the oracle in a file, or make that of a problem.

    Args
        source         a JSON file with an oracle or a problem, or a problem as a dictionary
        alpha, record  as of a `TorchOracle`

    Raises
        UsageError, if it is neither, does not fit its schema or contradicts itself; the message is one line.
    """
    if isinstance(source, Mapping):
        return TorchOracle(oracle(problem_of(dict(source))).to_json(), alpha, record)
    path = Path(source)
    document = read_json(path)
    try:
        if isinstance(document, dict) and document.get("schema") == SCHEMA:
            check_oracle(document)
        else:
            document = oracle(problem_of(document)).to_json()
    except UsageError as error:
        message = f"{str(path)!r}: {error}"
        raise UsageError(message) from error
    return TorchOracle(document, alpha, record)


def _float(number: Mapping[str, str]) -> float:
    return float.fromhex(number["float64"])


def _logits(law: Mapping[str, Any]) -> list[float]:
    if law["family"] == "bernoulli":
        p = Fraction(law["probability"])
        return [math.log(p / (1 - p))]
    return [math.log(Fraction(p)) for p in law["probabilities"]]
