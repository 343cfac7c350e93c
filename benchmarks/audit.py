"""How long an audit takes, in units of the bare code that it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measuring import Options, Row, Table, once
from numeric import audit

ABOUT = """\
The code is a plain `loss()`, as a user has it, and is audited once, in the time of the wall. *Bare*: as many runs of it,
forwards and backwards, as it has outcomes: a few hundred are timed, and the rest is taken to last as long. *Each*: of an
outcome.
"""
TIMED = 300
REWARD = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A loss, its parameters, its objective, how many outcomes it has, and in how many seconds they should be audited."""

    name: str
    loss: Callable[[], Tensor]
    theta: Tensor
    objective: Callable[[], Tensor]
    outcomes: int
    goal: float | None = None


def leave_one_out(samples: int, goal: float | None = None) -> Case:
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        actions = torch.multinomial(logits.softmax(-1).expand(samples, -1), 1)[:, 0]
        reward = REWARD[actions]
        others = (reward.sum() - reward) / (samples - 1)
        return ((reward - others) * logits.log_softmax(-1)[actions]).mean()

    objective = lambda: REWARD[torch.multinomial(logits.softmax(-1), 1)].sum()  # noqa: E731
    return Case(f"leave-one-out, {samples} samples of 3 actions", loss, logits, objective, 3**samples, goal)


def bits(count: int, goal: float | None = None) -> Case:
    logits = torch.linspace(-1, 1, count, dtype=torch.float64).requires_grad_()
    weights = torch.linspace(0.5, 1.5, count, dtype=torch.float64)

    def loss() -> Tensor:
        law = torch.distributions.Bernoulli(logits=logits)
        b = law.sample()
        return (b @ weights) * law.log_prob(b).sum()

    return Case(f"{count} bits", loss, logits, lambda: logits.sigmoid() @ weights, 2**count, goal)


def branching(count: int) -> Case:
    """Code that asks what it drew, so that its outcomes are run one by one."""
    case = bits(count)
    weights = torch.linspace(0.5, 1.5, count, dtype=torch.float64)

    def loss() -> Tensor:
        law = torch.distributions.Bernoulli(logits=case.theta)
        b = law.sample()
        return (b @ weights if b[0] > 0 else (b * weights).sum()) * law.log_prob(b).sum()

    return Case(f"{count} bits, with a branch", loss, case.theta, case.objective, case.outcomes)


def classes(count: int, goal: float | None = None) -> Case:
    logits = torch.linspace(-1, 1, count, dtype=torch.float64).requires_grad_()
    reward = torch.linspace(-1, 2, count, dtype=torch.float64).cos()

    def loss() -> Tensor:
        index = torch.multinomial(logits.softmax(-1), 1)
        return (reward[index] * logits.log_softmax(-1)[index]).sum()

    return Case(f"one draw of {count:,} classes", loss, logits, lambda: logits.softmax(-1) @ reward, count, goal)


def bare(case: Case) -> float:
    """Return the seconds of one run, forwards and backwards."""
    runs = min(TIMED, case.outcomes)
    for count in (10, runs):
        start = time.perf_counter()
        for _ in range(count):
            case.theta.grad = None
            case.loss().backward()
    return (time.perf_counter() - start) / runs


def rows(options: Options) -> Iterator[Row]:
    small = [leave_one_out(5), bits(10), branching(8), classes(1_000)]
    audit(small[0].loss, small[0].theta, small[0].objective)
    for case in small if options.quick else [leave_one_out(7, 0.5), bits(16, 10.0), branching(12), classes(50_000, 60.0)]:
        single = bare(case)
        start = time.perf_counter()
        report = audit(case.loss, case.theta, case.objective)
        seconds = time.perf_counter() - start
        ratio = once(seconds / single / report.outcomes)
        each = {"bare run": once(single, unit="s"), "each": once(seconds / report.outcomes, unit="s")}
        found = {"audit / bare": ratio, "seconds": once(seconds, case.goal, "s")} | each
        yield Row({"case": case.name, "outcomes": f"{report.outcomes:,}"}, found)


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the table of this file, and its rows as they come."""
    yield Table("Audits", ABOUT), rows(options)
