"""The generated torch code of an estimator against the exact gradient: first without noise, then by sampling.

Without noise, every outcome and quadrature node goes through `estimate` in place of the draw; the weighted mean must equal the
exact gradient of the estimator's own target (`numeric.exact_gradient`, `exact_target`, `exact_variance`, which share no code
with it) to 1e-12. Then `draw` is used: the mean of many estimates must lie within a bound that an unbiased estimator exceeds
with a declared probability only.

Reparameterized estimates of targets that are no polynomials (importance-weighted bounds) have no exact quadrature. There both
sides are taken over the same nodes, z = loc + scale * x: the mean of a right estimate is the derivative of the quadrature of
the objective, whatever the nodes, so the two still agree to 1e-12; `ZeroNoiseCheck.same_nodes` says so.

The functions are quadratic at the size that is asked for, where formula and rules need it, and of another kind at the smallest
size: of quadratic functions alone much is true that is no theorem. Where a formula has signs, those take both signs, and so do
constants, that every branch of a min, max, abs or clip is seen.

Last, a batch of two parameter vectors must get the estimates that each of them gets alone, and finite draws must have exactly
the law that they should have.

What is compared is the mean. A change that moves no mean, such as a baseline with another constant, is not seen here. Nor is,
under normal laws, what is right for polynomials of degree 4 and for no other functions: those are what has exact rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, TypeAlias

import torch
from torch import Tensor

from derive.language.errors import NotEvaluable, UsageError
from derive.language.estimator import Estimator
from numeric.checking.cases import TEMPERATURES, Case, flat
from numeric.checking.exact_draws import draw_error
from numeric.checking.problem.functions import needs_positive
from numeric.codegen.running.branches import Branches, has_signs, has_signs_of_noise, require_branches
from numeric.codegen.torchgen import natural_family
from numeric.codegen.torchrun import Compiled, compile as compile_estimator

SCHEMA = "gradproof/crosscheck/1"
TOLERANCE = 1e-12
ROUNDING = 2e-14  # a hundred roundings of a mean of numbers of size 1
MAX_TOLERANCE = 1e-9
POWER = 0.99
BATCHES = 16
MOVES = 0.01  # of a variance, with the nodes: one that is finite is not known to more where weights have long tails

Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ZeroNoiseCheck:
    """One exact comparison: the weighted mean of the estimate over every outcome and node, and the exact gradient.

    Args
        name               which parameters and constants
        rows               how many outcomes and nodes were fed
        mean, exact        one number for each coordinate of the parameters
        max_error          the largest absolute difference
        quadrature_change  how much the mean moves when each rule has one node fewer, or a quarter fewer where it converges
                           slowly (Gauss-Hermite for what is no polynomial); 0.0 where there is no quadrature
        tolerance          1e-12, or 2e-14 times the mean size of an estimate where that is more, for rounding is relative; or a
                           quarter of that change: an unconverged rule must not accuse an estimator; all of it where convergence
                           is slower than geometric
        same_nodes         whether the exact side is over the same nodes, and the change therefore does not matter
        vacuous            whether the exact gradient is zero, and so is every estimate: code that does nothing passes
    """

    name: str
    rows: int
    mean: tuple[float, ...]
    exact: tuple[float, ...]
    max_error: float
    quadrature_change: float
    tolerance: float
    same_nodes: bool = False
    vacuous: bool = False

    @property
    def decided(self) -> bool:
        """Whether the quadrature has converged and explains no error, or the error is far above what it still moves by."""
        if self.same_nodes:
            return True
        converged = min(self.tolerance, self.quadrature_change) <= MAX_TOLERANCE
        explained = self.tolerance < self.max_error <= self.quadrature_change
        return (converged and not explained) or self.max_error > 100 * self.quadrature_change

    @property
    def passed(self) -> bool:
        """Whether the two agree; an error that is not a number does not."""
        return self.decided and self.max_error <= self.tolerance


@dataclass(frozen=True)
class SamplingCheck:
    """The mean of independent estimates, coordinate by coordinate.

    Args
        samples                   how many estimates
        mean, exact               one number for each coordinate
        standard_error            of the mean, from the sample
        z_scores                  (mean - exact) / standard_error; 0 where they differ by no more than float32 rounding (1e-6)
                                  and the error of the quadrature of the exact side
        threshold                 the largest |z| that is accepted, Bonferroni over the coordinates
        false_alarm               the probability of rejecting an unbiased estimator, in the normal approximation of the mean
        smallest_detectable_bias  the bias that would be seen with probability 0.99, in the noisiest coordinate
    """

    samples: int
    mean: tuple[float, ...]
    exact: tuple[float, ...]
    standard_error: tuple[float, ...]
    z_scores: tuple[float, ...]
    threshold: float
    false_alarm: float
    smallest_detectable_bias: float

    @property
    def passed(self) -> bool:
        """Whether every coordinate is within the threshold."""
        return all(abs(z) <= self.threshold for z in self.z_scores)


@dataclass(frozen=True)
class CrosscheckReport:
    """What `crosscheck` found; `agrees` is the verdict, unless the check was `vacuous`."""

    estimator: str
    family: str
    device: str
    size: int
    zero_noise: tuple[ZeroNoiseCheck, ...]
    sampling: SamplingCheck
    batch_error: float = 0.0
    """By how much the estimates for a batch of two parameter vectors differ from those for each alone, relative to 1 + size."""
    draw_error: float | None = None
    """The largest error of the probability of an outcome of `draw`; None where noise is continuous or has too many outcomes."""

    @property
    def agrees(self) -> bool:
        """Whether every check passed, and one of them could have failed."""
        return self._passed and not self.vacuous

    @property
    def vacuous(self) -> bool:
        """Whether every check passed, but target and estimates are zero everywhere: nothing was decided."""
        return self._passed and all(check.vacuous for check in self.zero_noise)

    @property
    def _passed(self) -> bool:
        errors = (self.batch_error, self.draw_error or 0.0)  # one by one: the maximum of numbers may hide a nan
        exact = all(check.passed for check in self.zero_noise) and all(error <= TOLERANCE for error in errors)
        return exact and self.sampling.passed

    def to_json(self) -> dict[str, Any]:
        """The report as a dictionary that `json.dumps` takes, with "schema": "gradproof/crosscheck/1"."""
        return {
            "schema": SCHEMA,
            "estimator": self.estimator,
            "family": self.family,
            "device": self.device,
            "size": self.size,
            "agrees": self.agrees,
            "vacuous": self.vacuous,
            "zero_noise": [_plain(check) for check in self.zero_noise],
            "sampling": _plain(self.sampling),
            "batch_error": _finite(self.batch_error),
            "draw_error": _finite(self.draw_error),
        }

    def __str__(self) -> str:
        worst = max(self.zero_noise, key=lambda check: check.max_error)
        vacuous = "VACUOUS (target and estimates are zero everywhere: code that does nothing would pass)"
        verdict = vacuous if self.vacuous else "agrees" if self.agrees else "DISAGREES"
        z = max(map(abs, self.sampling.z_scores))
        batch = "" if self.batch_error <= TOLERANCE else f"; a batch differs from its parts by {self.batch_error:.1e}"
        wrong = self.draw_error is not None and not self.draw_error <= TOLERANCE
        draws = f"; the probability of a draw is wrong by {self.draw_error:.1e}" if wrong else ""
        return (
            f"{self.estimator} ({self.family}, size {self.size}, {self.device}): {verdict}; without noise: largest error "
            f"{worst.max_error:.1e} (tolerance {worst.tolerance:.0e}); {self.sampling.samples} samples: largest |z| {z:.2f} "
            f"(threshold {self.sampling.threshold:.2f}, smallest detectable bias {self.sampling.smallest_detectable_bias:.1e})"
            + batch
            + draws
        )


def _plain(check: ZeroNoiseCheck | SamplingCheck) -> dict[str, Any]:
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(check).items()}
    return {key: _finite(value) for key, value in fields.items()} | {"passed": check.passed}


def _finite(value: Any) -> Any:
    """JSON has no infinity and no nan: they become text."""
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not abs(value) < float("inf") else value


def crosscheck(
    estimator: Estimator,
    family: str | None = None,
    device: str = "cpu",
    *,
    size: int | None = None,
    samples: int = 100_000,
    false_alarm: float = 1e-9,
    seed: int = 0,
    progress: Progress | None = None,
) -> CrosscheckReport:
    """Compare the generated code of an estimator with the exact gradient.

    Args
        estimator    from the catalogue, or your own; its target must be of functions, densities and constants
        family       "bernoulli", "categorical" or "normal"; by default "normal" for a normal law, else "bernoulli"
        device       where torch runs, "cpu" or "cuda"
        size         the number of bits, classes or normal coordinates; by default 3, less where the samples are many
        samples      how many estimates the sampling stage averages
        false_alarm  the probability with which the sampling stage may reject an estimator that is right
        seed         of the sampling stage
        progress     called as progress(what, done, total) after each check

    Returns
        A report; `report.agrees` is the verdict.

    Raises
        UsageError, if the formula cannot be run in the family, the target is of another form, or the device is not there.
        TooLarge, if feeding every outcome and node takes too many rows.
        NotEvaluable, if the quadrature over the noise does not converge well enough to decide, and no other stage disagrees;
        or if code and target agree but not every branch of a min, max, abs or clip was seen.

    >>> from derive.catalogue import catalogue
    >>> crosscheck(catalogue["score-function"], samples=1000).agrees
    True
    """
    _check_arguments(size, samples, false_alarm, device)
    family = family or natural_family(estimator)
    compiled, case = compile_estimator(estimator, family), Case(estimator, family, device, size)
    cases = [case, *_smallest(estimator, case, device, size)]
    problems = [(case, k) for case in cases for k in range(len(TEMPERATURES))]
    total, checks, branches = len(problems) + 1, [], Branches()
    for one, k in problems:
        checks.append(_zero_noise(compiled, one, k, branches))
        if progress is not None:
            progress(checks[-1].name, len(checks), total)
    sampling = _sampling(compiled, case, samples, false_alarm, seed)
    if progress is not None:
        progress("sampling", total, total)
    batch_error = _batch_error(compiled, case, seed)
    law_error = draw_error(case, compiled)
    report = CrosscheckReport(estimator.name, family, device, case.size, tuple(checks), sampling, batch_error, law_error)
    seen = replace(report, zero_noise=()) if has_signs_of_noise(estimator, family) else report
    if seen._passed and not report.vacuous and has_signs(estimator):
        require_branches(estimator, family, branches)
    return _decided(report, case, compiled)


def _smallest(estimator: Estimator, usual: Case, device: str, size: int | None) -> list[Case]:
    """The smallest case, with other functions than quadratic ones; none where no case has such, unless there are signs."""
    case = Case(estimator, usual.family, device, size, smallest=True, generated=usual.generated)
    return [case] if has_signs(estimator) or not case.joint else []


def _decided(report: CrosscheckReport, case: Case, compiled: Compiled) -> CrosscheckReport:
    """The report, unless nothing speaks against the code but a quadrature, or a mean of samples, that has not converged."""
    undecided = [check for check in report.zero_noise if not check.decided]
    rest = tuple(check for check in report.zero_noise if check.decided)
    unbounded = not report.sampling.passed and case.named and not _has_variance(compiled, case)
    sampling = replace(report.sampling, z_scores=()) if unbounded else report.sampling
    if not (undecided or unbounded) or not replace(report, zero_noise=rest, sampling=sampling)._passed:
        return report
    nodes = case.nodes()
    if unbounded:
        message = (
            f"the estimate of {report.estimator!r} has no variance that the quadrature over its noise finds, so the means of"
            " samples decide nothing; the other stages see nothing wrong."
        )
        raise NotEvaluable(message)
    message = (
        f"the quadrature over the noise of {report.estimator!r} has not converged (it moves by "
        f"{undecided[0].quadrature_change:.1e} from {case.fewer(nodes)} to {nodes} nodes), so the stage without noise "
        "cannot decide, and the others see nothing wrong; try another size."
    )
    raise NotEvaluable(message)


def _has_variance(compiled: Compiled, case: Case) -> bool:
    """Whether the mean square of the estimate moves little with the nodes: else a law may have too long a tail for it."""
    nodes, square = case.nodes(), torch.square
    many, few = (_mean(compiled, case, 0, n, Branches(), square)[0] for n in (nodes, case.fewer(nodes)))
    return bool(((many - few).abs() <= MOVES * many.abs()).all())


def _check_arguments(size: int | None, samples: int, false_alarm: float, device: str) -> None:
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        message = f"size must be a positive integer, got {size!r}."
        raise UsageError(message)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 2:
        message = f"samples must be an integer of at least 2, got {samples!r}."
        raise UsageError(message)
    if not 0 < false_alarm < 1:
        message = f"false_alarm is a probability strictly between 0 and 1, got {false_alarm!r}."
        raise UsageError(message)
    if device.split(":")[0] not in {"cpu", "cuda"} or (device.startswith("cuda") and not torch.cuda.is_available()):
        message = f"device {device!r} is not available here; expected cpu{' or cuda' if torch.cuda.is_available() else ''}."
        raise UsageError(message)


# Without noise


def _zero_noise(compiled: Compiled, case: Case, k: int, branches: Branches) -> ZeroNoiseCheck:
    nodes = case.nodes()
    with branches.of("target"):
        exact = case.exact(k, nodes)
    mean, size, rows, silent = _mean(compiled, case, k, nodes, branches)
    if exact.isnan().any() or (mean.isnan().any() and needs_positive(case.estimator)):
        message = (
            f"for the functions that the crosscheck tries, {case.estimator.name!r} or its target is no number: it has a"
            " logarithm or a root of what is negative."
        )
        raise NotEvaluable(message)
    change, rounding = 0.0, max(TOLERANCE, ROUNDING * float(size.max()))
    if case.converges or not case.polynomial:
        fewer = _mean(compiled, case, k, case.fewer(nodes), branches)[0] if nodes > 1 else torch.full_like(mean, torch.inf)
        change = float((fewer - mean).abs().max())
        change = float("inf") if math.isnan(change) else change
    error = float((mean - exact).abs().max())
    tolerance = max(rounding, change * case.share) if case.converges else rounding
    if case.named:  # the parameter of a law may be of any size, and so may its score
        tolerance = max(tolerance, min(MAX_TOLERANCE, TOLERANCE * float(size.max())))
    same = not case.polynomial and not case.converges
    vacuous = silent and float(exact.abs().max()) <= TOLERANCE
    values = tuple(mean.tolist()), tuple(exact.tolist())
    return ZeroNoiseCheck(_named(case, k), rows, *values, error, change, tolerance, same, vacuous)


def _named(case: Case, k: int) -> str:
    given = {name: float(v) if isinstance(v, Tensor) and v.numel() == 1 else v for name, v in case.keywords(k).items()}
    constants = ", ".join(f"{name}={value:g}" for name, value in given.items() if isinstance(value, float))
    other = f", other functions at size {case.size}" if case.smallest else ""
    return f"parameters {k + 1}{other}{': ' + constants if constants else ''}"


def _mean(
    compiled: Compiled, case: Case, k: int, nodes: int, branches: Branches, of: Callable[[Tensor], Tensor] = torch.clone
) -> tuple[Tensor, Tensor, int, bool]:
    """The weighted means of the estimate and its size over every row, how many rows, and whether every estimate is zero.

    `of` is what the first mean is taken of, such as its square.
    """
    parameters, keywords, leading = case.parameters(k), case.keywords(k), int(bool(compiled.noise))
    total = size = torch.zeros((), dtype=torch.float64, device=case.device)
    rows, silent = 0, True
    for noise, weights in case.rows(k, nodes):
        named = dict(zip(compiled.noise, (noise[draw.name] for draw in case.estimator.draws), strict=True))
        with branches.of("code"):
            estimates = flat(compiled.estimate(case.shaped(parameters), named, *case.objective, **keywords), leading)
        estimates = estimates if leading else estimates[None]
        total, size = total + weights @ of(estimates), size + weights @ estimates.abs()
        silent = silent and float(estimates.abs().max()) <= TOLERANCE
        rows += weights.numel()
    return total, size, rows, silent


def _batch_error(compiled: Compiled, case: Case, seed: int) -> float:
    """The noise of a few estimates for a batch (2, n), given to both of its parameter vectors at once and to each alone.

    A call that draws by itself is compared too: what it runs is made of the code, and is not the code itself.
    """
    points, keywords = [case.parameters(k) for k in (0, 1)], case.keywords(0)
    batch = {name: torch.stack([point[name] for point in points]) for name in points[0]}
    together = dict(keywords)
    if compiled.parameter is not None:
        together[compiled.parameter] = keywords[compiled.parameter].expand(2, -1)
    generator = torch.Generator(case.device).manual_seed(seed)
    noise, samples = compiled.draw(case.shaped(batch), generator, (BATCHES,), **case.drawn_with(0)), int(bool(compiled.noise))
    found = flat(compiled.estimate(case.shaped(batch), noise, *case.objective, **together), samples + 1)
    parts = [{name: value[:, i] for name, value in noise.items()} for i in range(len(points))]
    alone = [
        flat(compiled.estimate(case.shaped(point), part, *case.objective, **keywords), samples)
        for point, part in zip(points, parts, strict=True)
    ]
    each = torch.stack(alone, samples)
    generator.manual_seed(seed)
    called = flat(compiled(case.shaped(batch), *case.objective, generator=generator, samples=BATCHES, **together), 1)
    mean = found.mean(0) if samples else found
    errors = [(one - other).abs() / (1 + other.abs()) for one, other in ((found, each), (called, mean))]
    return float(torch.cat([error.flatten() for error in errors]).max())


# By sampling


def _sampling(compiled: Compiled, case: Case, samples: int, false_alarm: float, seed: int) -> SamplingCheck:
    """In float32, as users run it; the sums in float64."""
    parameters, keywords = case.shaped(case.parameters(0, torch.float32)), case.keywords(0, torch.float32)
    generator = torch.Generator(case.device).manual_seed(seed)
    noise = compiled.draw(parameters, generator, (samples,), **case.drawn_with(0, torch.float32))
    leading = int(bool(compiled.noise))
    estimates = flat(compiled.estimate(parameters, noise, *case.objective, **keywords), leading).double()
    estimates = estimates if leading else estimates.expand(samples, -1)
    exact, change = case.converged(0)
    mean, error = estimates.mean(0), estimates.std(0) / samples**0.5
    rounding = 1e-6 * (1 + exact.abs()) + change
    z = torch.where((mean - exact).abs() <= rounding, torch.zeros_like(mean), (mean - exact) / error)
    normal = NormalDist()
    threshold = -normal.inv_cdf(false_alarm / (2 * z.numel()))
    smallest = float(((threshold + normal.inv_cdf(POWER)) * error + rounding).max())
    columns = {"mean": mean, "exact": exact, "standard_error": error, "z_scores": z}
    listed: dict[str, Any] = {name: tuple(column.tolist()) for name, column in columns.items()}
    return SamplingCheck(
        samples=samples, threshold=threshold, false_alarm=false_alarm, smallest_detectable_bias=smallest, **listed
    )
