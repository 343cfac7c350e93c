"""What each exported check says about generated code: killed, passed, or that it cannot judge it."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from derive.errors import NotEvaluable, TooLarge, UsageError
from derive.estimator import Estimator
from derive.oracle import Oracle, oracle
from derive.problem import problem_of
from derive.term import (
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
from numeric.audit import NotAuditable, audit
from numeric.cases import Case, flat
from numeric.crosscheck import crosscheck
from numeric.noise_nodes import noise_rows
from numeric.sequential_test import samples_needed, sequential_test
from numeric.torchgen import Generated, generate
from numeric.torchrun import Compiled

CHECKS = ("crosscheck", "audit", "sequential test", "oracle")
ALPHA, SAMPLES, BATCH = 1e-6, 2**17, 2**12
CROSSCHECK_SAMPLES = 20_000
SPREAD = 1.5
ORACLE_TOLERANCE = 1e-10
NO_SAY = (NotEvaluable, TooLarge, NotAuditable)

KILLED, PASSED, REFUSED = "killed", "passed", "refused"


@dataclass(frozen=True)
class Finding:
    """What a check said: KILLED, PASSED or REFUSED; how; the samples of a sequential test; the largest bias of a crosscheck."""

    verdict: str
    how: str = ""
    samples: int = 0
    bias: float = 0.0


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
    """The generated code of an estimator; errors as `numeric.torchgen.generate`."""
    return Subject(estimator, family, generate(estimator, family))


def judge(check: str, subject: Subject, original: Subject, *, samples: int = SAMPLES) -> Finding:
    """What one of `CHECKS` says; code that does not run is killed."""
    run = {"crosscheck": _crosschecked, "audit": _audited, "oracle": _compared}.get(check)
    if run is None:
        return _caught(lambda one, other: _tested(one, other, samples), subject, original)
    return _caught(run, subject, original)


def _caught(check: Callable[[Subject, Subject], Finding], subject: Subject, original: Subject) -> Finding:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check(subject, original)
    except NO_SAY as error:
        return Finding(REFUSED, str(error)[:160])
    except UsageError as error:
        refused = "the crosscheck" in str(error) or "law that is not the one" in str(error)
        return Finding(REFUSED if refused else KILLED, str(error)[:160])
    except Exception as error:  # whatever broken code raises: a test that runs it fails
        return Finding(KILLED, f"does not run: {type(error).__name__}")


# The crosscheck


def _crosschecked(subject: Subject, original: Subject) -> Finding:
    module = sys.modules["numeric.crosscheck"]
    with mock.patch.object(module, "compile_estimator", return_value=subject.compiled()):
        report = crosscheck(subject.estimator, subject.family, samples=CROSSCHECK_SAMPLES)
    if report.agrees:
        return Finding(PASSED)
    exact = all(check.passed for check in report.zero_noise)
    how = "vacuous" if report.vacuous else "by a batch" if report.batch_error > 0 and exact else "by sampling" if exact else ""
    return Finding(KILLED, how or "without noise", bias=report.zero_noise[0].max_error)


# The audit, of the surrogate loss


def _audited(subject: Subject, original: Subject) -> Finding:
    small = len(original.estimator.draws) > 1 or subject.family == "normal"
    size = 3 if subject.family == "categorical" else 1 if small else 2
    case, compiled = Case(original.estimator, subject.family, "cpu", size), subject.compiled()
    keywords, params = case.keywords(0), {name: part.requires_grad_() for name, part in case.parameters(0).items()}
    law = dict(params)
    if compiled.parameter is not None:
        keywords[compiled.parameter] = keywords[compiled.parameter].clone().requires_grad_()
        params = {compiled.parameter: keywords[compiled.parameter]}
    objective = _Objective(original, case, law, keywords)
    used = _used(compiled, keywords)

    def loss() -> Tensor:
        return compiled.surrogate(case.shaped(law), *case.objective, **used)

    report = audit(loss, params, objective, raise_exception=False)
    return Finding(PASSED if report else KILLED, report.verdict)


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
        index = torch.multinomial(logits.softmax(-1), 1)[0]
        return torch.zeros_like(logits).scatter(-1, index[None], torch.ones_like(logits[:1]))

    def _log_density(self, law: Any, at: Tensor) -> Tensor:
        if isinstance(law, NormalLaw):
            return torch.distributions.Normal(self.law["loc"], self.law["log_scale"].exp()).log_prob(at).sum(-1)
        logits = self.law["logits"]
        if self.family == "bernoulli":
            return torch.distributions.Bernoulli(logits=logits).log_prob(at).sum(-1)
        return (at * torch.log_softmax(logits, -1)).sum(-1)


# The sequential test


def _tested(subject: Subject, original: Subject, samples: int) -> Finding:
    case, exact, usual = _tested_against(original)
    compiled = subject.compiled()
    variance = _variance(_sampler(compiled, case))
    if not bool(variance.isfinite().all()):
        return Finding(KILLED, "nan or infinity")
    variance = SPREAD * torch.maximum(variance, usual)
    report = sequential_test(
        _sampler(compiled, case), exact, variance=variance + 1e-12, alpha=ALPHA, max_samples=samples, batch=BATCH
    )
    return Finding(KILLED if report.rejected or report.vacuous else PASSED, report.method, report.samples)


@lru_cache(1)
def _tested_against(original: Subject) -> tuple[Case, Tensor, Tensor]:
    """The problem, its exact gradient, and the variance of the right code."""
    case = Case(original.estimator, original.family, "cpu", None)
    return case, case.converged(0)[0], _variance(_sampler(original.compiled(), case))


def needed(original: Subject, bias: float) -> int:
    """How many samples find such a bias in the coordinate with the largest variance, with probability 0.99."""
    _, _, usual = _tested_against(original)
    return samples_needed(bias, 0.0, variance=SPREAD * float(usual.max()), alpha=ALPHA)


def _sampler(compiled: Compiled, case: Case) -> Callable[[int], Tensor]:
    params, keywords = case.shaped(case.parameters(0)), _used(compiled, case.keywords(0) | case.unshifted())
    return lambda count: flat(
        compiled.estimate(params, compiled.draw(params, None, (count,)), *case.objective, **keywords)
    ).expand(count, -1)


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


def _compared(subject: Subject, original: Subject) -> Finding:
    """Mean and variance over every outcome of one draw, against the exact ones; the variance knows more than the mean."""
    if subject.family == "normal" or any(isinstance(draw.law, UniformLaw) for draw in subject.estimator.draws):
        return Finding(REFUSED, "continuous noise")
    if _draw_of(subject) != _draw_of(original):
        return Finding(REFUSED, "the draws are replaced by every outcome")
    stated = _oracle(subject.family, len(original.estimator.draws))
    entry = next((one for one in stated.estimators if one.name == original.estimator.name), None)
    if entry is None:
        return Finding(REFUSED, stated.not_applicable.get(original.estimator.name, ""))
    mean, square = _moments(subject, stated)
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


def _moments(subject: Subject, stated: Oracle) -> tuple[Tensor, Tensor]:
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
    for noise, weights in noise_rows(subject.estimator, subject.family, {"logits": logits}, 2):
        rows = compiled.estimate(logits, noise, *(function(name) for name in compiled.functions[:1]), **given)
        mean, square = mean + weights @ rows, square + weights @ rows.square()
    return mean, square
