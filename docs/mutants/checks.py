"""What each exported check says about generated code: killed, passed, or that it cannot judge it."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from derive.estimator import Estimator
from derive.language.errors import NotEvaluable, TooLarge, UsageError
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    Log,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Symbol,
    Term,
    UniformLaw,
)
from derive.verdicts.oracle import Oracle, oracle
from derive.verdicts.problem import problem_of
from numeric.auditing.audit import NotAuditable, audit
from numeric.checking.cases import Case, flat
from numeric.checking.crosscheck import TOLERANCE, CrosscheckReport, crosscheck
from numeric.checking.problem.noise_nodes import noise_rows
from numeric.checking.sequential_test import sequential_test
from numeric.codegen.noise_roles import roles
from numeric.codegen.torchgen import Generated, generate
from numeric.codegen.torchrun import Compiled

CHECKS = ("crosscheck", "audit", "sequential test", "oracle")
ALPHA, BATCH = 1e-6, 2**16
SHORT, SAMPLES, LONG = 2**13, 2**17, 2**25
CROSSCHECK_SAMPLES = 20_000
SPREAD = 1.5
BATCHED, ALONE = (0, 1), (0,)
COLD = 1  # which of the two temperatures of a case: the other is 1, where to leave it out is no mistake
ORACLE_TOLERANCE = 1e-10
NO_SAY = (NotEvaluable, TooLarge, NotAuditable)

LAW = "by the law of its draws"  # which need not be what the mean depends on
NODES = "without noise"  # at nodes that are split where the formula jumps in u
MIRRORED = "the same terms at 1 - "
KILLED, PASSED, REFUSED = "killed", "passed", "refused"


@dataclass(frozen=True)
class Finding:
    """What a check said: KILLED, PASSED or REFUSED; how; the samples of a sequential test."""

    verdict: str
    how: str = ""
    samples: int = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """Code to be judged: generated from `estimator` for a family, with another source where that was changed."""

    estimator: Estimator
    family: str
    generated: Generated

    def mutated(self, source: str) -> Subject:
        return replace(self, generated=replace(self.generated, source=source))

    def compiled(self) -> Compiled:
        return Compiled(self.estimator, self.generated)


def subject_of(estimator: Estimator, family: str) -> Subject:
    """The generated code of an estimator; errors as `numeric.codegen.torchgen.generate`."""
    return Subject(estimator, family, generate(estimator, family))


def judge(check: str, subject: Subject, original: Subject, *, samples: int = SAMPLES) -> Finding:
    """What one of `CHECKS` says; code that does not run is killed."""
    if check == "crosscheck":
        return _caught(lambda: _crosschecked(subject, original))
    run = {"audit": _audited, "oracle": _compared}.get(check, partial(_tested, samples=samples))
    return _caught(lambda: _first_killed(lambda points: run(subject, original, points=points)))


def _caught(check: Callable[[], Finding]) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check()
    except NO_SAY as error:
        return Finding(REFUSED, str(error)[:160])
    except UsageError as error:
        refused = "the crosscheck" in str(error) or "law that is not the one" in str(error)
        return Finding(REFUSED if refused else KILLED, str(error)[:160])
    except Exception as error:  # whatever broken code raises: a test that runs it fails
        return Finding(KILLED, f"does not run: {type(error).__name__}")


# The crosscheck


def _crosschecked(subject: Subject, original: Subject) -> Finding:
    """At two classes first where three have many rows: what is seen there needs no more."""
    if _size(original) is not None:
        with suppress(*NO_SAY):
            report = _report(subject, 2)
            if not report.agrees:
                return _killed(report)
    report = _report(subject, _size(original))
    return Finding(PASSED) if report.agrees else _killed(report)


def _size(original: Subject) -> int | None:
    """Three classes where noise in h and in h_tilde is multiplied, since two see no sign of a Gumbel; else the usual size."""
    return 3 if original.family == "categorical" and not roles(original.estimator).separate else None


def _report(subject: Subject, size: int | None) -> CrosscheckReport:
    with mock.patch.object(sys.modules["numeric.checking.crosscheck"], "compile_estimator", return_value=subject.compiled()):
        return crosscheck(subject.estimator, subject.family, size=size, samples=CROSSCHECK_SAMPLES)


def _killed(report: CrosscheckReport) -> Finding:
    exact = all(check.passed or not check.decided for check in report.zero_noise)
    reasons = {
        "vacuous": report.vacuous,
        NODES: not exact,
        "by a batch": not report.batch_error <= TOLERANCE,
        "by sampling": not report.sampling.passed,
        LAW: True,
    }
    how = next(name for name, holds in reasons.items() if holds)
    return Finding(KILLED, how)


# What the other checks run: two parameter vectors as a batch and one alone, at a temperature that is not 1


def _stacked(case: Case, original: Subject, points: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The parameters, of shape (n,) for one point and (2, n) for two, and values for the constants and the other functions."""
    vectors, keywords = [case.parameters(k) for k in points], case.keywords(COLD)
    parameter = original.generated.parameter
    if len(points) == 1:
        return vectors[0], keywords
    if parameter is not None:
        keywords[parameter] = keywords[parameter].expand(len(points), -1)
    return {name: torch.stack([one[name] for one in vectors]) for name in vectors[0]}, keywords


def _first_killed(check: Callable[[tuple[int, ...]], Finding]) -> Finding:
    """What a check says of one parameter vector alone, or of the batch where it lets that pass."""
    found = check(ALONE)
    return found if found.verdict == KILLED else check(BATCHED)


# The audit, of the surrogate loss


def _audited(subject: Subject, original: Subject, points: tuple[int, ...]) -> Finding:
    size = _audited_size(original, points)
    case, compiled = Case(original.estimator, subject.family, "cpu", size), subject.compiled()
    law, keywords = _stacked(case, original, points)
    params = {name: part.requires_grad_() for name, part in law.items()}
    if compiled.parameter is not None:
        keywords[compiled.parameter] = keywords[compiled.parameter].clone().requires_grad_()
        params = {compiled.parameter: keywords[compiled.parameter]}
    objective = _Objective(original, case, law, keywords)
    used = _used(compiled, keywords)

    def loss() -> Tensor:
        return compiled.surrogate(case.shaped(law), *case.objective, **used)

    report = audit(loss, params, objective, raise_exception=False)
    return Finding(PASSED if report else KILLED, report.verdict)


def _audited_size(original: Subject, points: tuple[int, ...]) -> int:
    """Small: the code runs once for each outcome of all draws together. A covariance of one bit is the same at p and 1 - p."""
    small = len(original.estimator.draws) > 1 and points == BATCHED
    if original.family == "categorical":
        return 2 if small else 3
    return 1 if small or original.family == "normal" else 2


def _used(compiled: Compiled, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """A formula that lost a constant takes no value for it."""
    return {name: value for name, value in keywords.items() if name in {*compiled.functions, *compiled.constants}}


class _Objective:
    """One draw of the objective of an estimator, as a user would write it."""

    def __init__(self, subject: Subject, case: Case, law: Mapping[str, Tensor], keywords: Mapping[str, Any]) -> None:
        self.objective, self.family, self.law = subject.estimator.objective, subject.family, law
        named = {name: thing for thing, name in subject.generated.names.items()}
        given = {**case.function, **keywords}
        self.given = {named[name].name: value for name, value in given.items() if name in named}

    def __call__(self) -> Tensor:
        return self._value(self.objective, {}).sum()

    def _value(self, term: Term, drawn: Mapping[RandomVariable, Tensor]) -> Any:
        match term:
            case Number(value):
                return float(value)
            case Symbol(name):
                return self.given[name]
            case RandomVariable():
                return drawn[term]
            case Expect(body, variable):
                return self._value(body, {**drawn, variable: self._drawn(variable)})
            case Apply(function, args):
                return self.given[function.name](*(self._value(arg, drawn) for arg in args))
            case Log(Density(law, at)):
                return self._log_density(law, self._value(at, drawn))
            case Log(arg):
                return torch.log(self._value(arg, drawn))
            case Exp(arg):
                return torch.exp(self._value(arg, drawn))
            case Power(base, exponent):
                return self._value(base, drawn) ** exponent
            case Add(args):
                return sum(self._value(arg, drawn) for arg in args)
            case Mul(args):
                whole = [self._value(arg, drawn) for arg in args]
                product = whole[0]
                for part in whole[1:]:
                    product = product * part
                return product.sum(-1) if any(isinstance(arg, RandomVariable) for arg in args) else product
        message = f"the objective has a {type(term).__name__}"
        raise NotAuditable(message)

    def _drawn(self, variable: RandomVariable) -> Tensor:
        if self.family == "normal":
            loc = self.law["loc"]
            return loc + self.law["log_scale"].exp() * torch.randn(loc.shape, dtype=loc.dtype)
        logits = self.law["logits"]
        if self.family == "bernoulli":
            return torch.bernoulli(logits.sigmoid())
        return torch.zeros_like(logits).scatter(-1, torch.multinomial(logits.softmax(-1), 1), 1.0)

    def _log_density(self, law: Any, at: Tensor) -> Tensor:
        if isinstance(law, NormalLaw):
            return torch.distributions.Normal(self.law["loc"], self.law["log_scale"].exp()).log_prob(at).sum(-1)
        logits = self.law["logits"]
        if self.family == "bernoulli":
            return torch.distributions.Bernoulli(logits=logits).log_prob(at).sum(-1)
        return (at * torch.log_softmax(logits, -1)).sum(-1)


# The sequential test


def _tested(subject: Subject, original: Subject, samples: int, points: tuple[int, ...]) -> Finding:
    case, exact, usual = _tested_against(original, points)
    compiled = subject.compiled()
    variance = _variance(_sampler(compiled, case, original, points))
    if not bool(variance.isfinite().all()):
        return Finding(KILLED, "nan or infinity")
    variance = SPREAD * torch.maximum(variance, usual)
    sampler, batch = _sampler(compiled, case, original, points), min(samples // 32, BATCH)
    report = sequential_test(sampler, exact, variance=variance + 1e-12, alpha=ALPHA, max_samples=samples, batch=batch)
    return Finding(KILLED if report.rejected or report.vacuous else PASSED, report.method, report.samples)


class _Cold(Case):
    """The same problem at both parameter vectors of a batch: what is not a parameter has one value."""

    def keywords(self, k: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        return super().keywords(COLD, dtype)


@lru_cache(2)
def _tested_against(original: Subject, points: tuple[int, ...]) -> tuple[Case, Tensor, Tensor]:
    """The problem, its exact gradients, and the variance of the right code."""
    case = _Cold(original.estimator, original.family, "cpu", _size(original))
    exact = torch.stack([case.converged(k)[0] for k in points])
    return case, exact if len(points) > 1 else exact[0], _variance(_sampler(original.compiled(), case, original, points))


def _sampler(compiled: Compiled, case: Case, original: Subject, points: tuple[int, ...]) -> Callable[[int], Tensor]:
    law, keywords = _stacked(case, original, points)
    params, used = case.shaped(law), _used(compiled, keywords)
    return lambda count: flat(compiled.estimate(params, compiled.draw(params, None, (count,)), *case.objective, **used))


def _variance(sampler: Callable[[int], Tensor]) -> Tensor:
    """The variance of an estimate, from samples that the test does not use."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20_000)
        return sampler(CROSSCHECK_SAMPLES).var(0)


# The oracle: exact mean and variance


_LAWS: dict[str, dict[str, Any]] = {
    "bernoulli": {"family": "bernoulli", "probability": "1/3"},
    "categorical": {"family": "categorical", "probabilities": ["1/2", "1/3", "1/6"]},
}
_TABLES = {"f": (2, -1, 3), "C": (1, 3, -2)}
_CONSTANTS = {"c": "1/4", "b_0": "1/2", "f_0": "3/4", "df_0": "2"}


@lru_cache
def _oracle(family: str, samples: int) -> Oracle:
    count = 2 if family == "bernoulli" else 3
    tables = {name: {"table": [str(value) for value in values[:count]]} for name, values in _TABLES.items()}
    document = {
        "schema": "gradproof/problem/1", "law": _LAWS[family], "f": tables["f"], "samples": samples,
        "constants": _CONSTANTS, "functions": {"C": tables["C"]},
    }  # fmt: skip
    return oracle(problem_of(document))


def _compared(subject: Subject, original: Subject, points: tuple[int, ...]) -> Finding:
    """Mean and variance over every outcome of one draw, against the exact ones; the variance knows more than the mean."""
    if subject.family == "normal" or any(isinstance(draw.law, UniformLaw) for draw in subject.estimator.draws):
        return Finding(REFUSED, "continuous noise")
    if _draw_of(subject) != _draw_of(original):
        return Finding(REFUSED, "the draws are replaced by every outcome")
    stated = _oracle(subject.family, len(original.estimator.draws))
    entry = next((one for one in stated.estimators if one.name == original.estimator.name), None)
    if entry is None:
        return Finding(REFUSED, stated.not_applicable.get(original.estimator.name, ""))
    mean, square = _moments(subject, stated, points)
    exact = torch.tensor([float(one.mean) for one in entry.coordinates], dtype=torch.float64)
    variance = torch.tensor([float(one.variance) for one in entry.coordinates], dtype=torch.float64)
    if not float((mean - exact).abs().max()) <= ORACLE_TOLERANCE:
        return Finding(KILLED, "mean")
    if not float((square - mean.square() - variance).abs().max()) <= ORACLE_TOLERANCE:
        return Finding(KILLED, "variance")
    return Finding(PASSED)


def _draw_of(subject: Subject) -> list[str]:
    module = ast.parse(subject.generated.source)
    drawing = next(part for part in module.body if isinstance(part, ast.FunctionDef) and part.name == "draw")
    return [ast.dump(statement) for statement in drawing.body]


def _moments(subject: Subject, stated: Oracle, points: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    p = torch.tensor([float(one) for one in stated.problem.probabilities], dtype=torch.float64)
    bernoulli = subject.family == "bernoulli"
    logits = (p[1:] / p[0]).log() if bernoulli else p.log()
    tables = {name: torch.tensor(values[: len(p)], dtype=torch.float64) for name, values in _TABLES.items()}

    def function(name: str) -> Callable[[Tensor], Tensor]:
        table = tables[name]
        return (lambda b: table[0] + (table[1] - table[0]) * b[..., 0]) if bernoulli else (lambda b: b @ table)

    compiled = subject.compiled()
    given = {name: float(Fraction(_CONSTANTS[name])) for name in compiled.constants}
    if not bernoulli and "b_0" in given:
        message = "an expansion in the index of a class is none in its one-hot vector"
        raise NotEvaluable(message)
    given |= {name: function(name) for name in compiled.functions[1:]}
    mean = square = torch.zeros_like(logits)
    params = logits if len(points) == 1 else logits.expand(len(points), -1)
    for noise, weights in noise_rows(subject.estimator, subject.family, {"logits": logits}, 2):
        if len(points) > 1:
            noise = {name: value[:, None].expand(-1, len(points), -1) for name, value in noise.items()}
        rows = compiled.estimate(params, noise, *(function(name) for name in compiled.functions[:1]), **given)
        mean, square = mean + torch.tensordot(weights, rows, 1), square + torch.tensordot(weights, rows**2, 1)
    return mean, square
