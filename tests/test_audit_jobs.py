"""An audit in several processes is the audit in one, bit for bit, or is refused in one line."""

from __future__ import annotations

import random
import re
import sys
import threading
import time
import types

import joblib
import pytest
import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from numeric import NotAuditable, audit
from numeric.auditing import audit_mean, jobs, outcome_runs
from numeric.draws import tape
from numeric.draws.tape import Tape, explore, parted
from numeric.means.runs import Runs

REWARD = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _even_for_few(monkeypatch):
    # One by one: what runs as rows of one run needs no other process.
    monkeypatch.setattr(jobs, "FEWEST", 100)
    monkeypatch.setattr(audit_mean, "FEWEST", sys.maxsize)
    monkeypatch.setattr(outcome_runs, "FEWEST", sys.maxsize)


def numbers(report) -> list[Tensor]:
    parts = (report.mean, report.exact, report.variance, report.tolerance)
    return [values for part in parts for values in part.values()] + [torch.tensor(report.value)]


def group(factor: float = 1.0):
    """Leave-one-out over five samples of three actions, 243 outcomes, as a closure over its parameters."""
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    calls = [0]

    def loss() -> Tensor:
        calls[0] += 1
        actions = torch.multinomial(logits.softmax(-1).expand(5, -1), 1)[:, 0]
        reward = REWARD[actions]
        others = (reward.sum() - reward) / 4
        return factor * ((reward - others) * logits.log_softmax(-1)[actions]).mean()

    return loss, logits, lambda: REWARD[torch.multinomial(logits.softmax(-1), 1)].sum(), calls


@pytest.mark.parametrize(
    ("factor", "several"), [(1.0, (2,)), *(pytest.param(each, (2, 3), marks=pytest.mark.exhaustive) for each in (1.0, 0.95))]
)
def test_every_number_of_jobs_gives_the_same_bits(factor, several):
    reports = []
    for number in (1, *several):
        loss, logits, objective, calls = group(factor)
        reports.append(audit(loss, logits, objective, state=[calls], jobs=number, raise_exception=False))
    assert [str(each) for each in reports] == [str(reports[0])] * len(reports)
    assert reports[0].verdict == ("unbiased" if factor == 1 else "scaled")
    for report in reports[1:]:
        assert all(map(torch.equal, numbers(reports[0]), numbers(report)))


def test_the_outcomes_are_run_elsewhere():
    loss, logits, objective, calls = group()
    audit(loss, logits, objective, jobs=2, state=[[]])
    assert calls[0] < 2.6 * 243  # one process runs each three times


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("parts", [1, 3, 64])
def test_parts_share_all_outcomes_in_their_order(seed, parts):
    def run(tape: Tape) -> tuple[int, ...]:
        source = random.Random(seed)
        for _ in range(5):
            weights = [float(source.random() < 0.8) for _ in range(source.randint(1, 5))] + [1.0]
            index = tape.choose([weight / sum(weights) for weight in weights], "draw")
            if (index + seed) % 3 == 0:
                break
        return tape.outcome

    whole = [tape.outcome for tape, _ in explore(run, 10_000)]
    found = [tape.outcome for part, _, _ in parted(run, parts) for tape, _ in explore(run, 10_000, part)]
    assert found == whole


def test_one_draw_of_many_classes_has_few_parts():
    assert len(parted(lambda tape: tape.choose([1e-3] * 1000, "x"), 64)) <= 64


def test_what_cannot_be_pickled_is_refused_in_one_line():
    loss, logits, objective, _ = group()
    lock = threading.Lock()
    with pytest.raises(UsageError, match=r"^jobs= sends the code .* cannot be pickled \(.*lock.*\); audit it without jobs=\.$"):
        audit(lambda: loss() * (not lock.locked()), logits, objective, jobs=2)


def test_a_budget_holds_in_parts():
    loss, logits, objective, calls = group()
    code = jobs.code_of({"theta": logits}, loss, objective, [calls], None)
    runs = Runs({"theta": logits})
    runs.reset = lambda: setattr(logits, "grad", None)
    others = jobs.workers(2, runs, code)
    with pytest.raises(TooLarge, match="more than 200"):
        list(others.explored(lambda tape: runs.loss(loss, tape), loss, 200))


def test_parameters_that_another_process_imports_anew_are_noticed(monkeypatch):
    """Here a module of the user is taken for an installed one, so that the loss is sent by its name."""
    module = types.ModuleType("made_here")
    source = (
        "import torch\n"
        "logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)\n"
        "def loss():\n"
        "    actions = torch.multinomial(logits.softmax(-1).expand(5, -1), 1)[:, 0]\n"
        "    return (actions.double() * logits.log_softmax(-1)[actions]).mean()\n"
    )
    exec(source, vars(module))  # noqa: S102 - a module that exists in this process only
    monkeypatch.setitem(sys.modules, "made_here", module)
    module.__file__ = "/nowhere/made_here.py"
    objective = lambda: torch.multinomial(module.logits.softmax(-1), 1).double().sum()  # noqa: E731
    assert audit(module.loss, module.logits, objective, jobs=2).outcomes == 243
    monkeypatch.setattr(jobs, "_is_users", lambda module: False)
    with pytest.raises((UsageError, NotAuditable), match="audit it without jobs="):
        audit(module.loss, module.logits, objective, jobs=2)


def test_another_result_elsewhere_is_noticed():
    tape = Tape()
    one = [torch.ones(2, dtype=torch.float64)]
    jobs._require_same(tape, one, Tape(), [torch.ones(2, dtype=torch.float64)])
    with pytest.raises(NotAuditable, match="another process computes something else"):
        jobs._require_same(tape, one, Tape(), [torch.tensor([1.0, 1.0 + 1e-15], dtype=torch.float64)])


def test_threads_are_refused():
    loss, logits, objective, calls = group()
    with joblib.parallel_config(backend="threading"), pytest.raises(UsageError, match="jobs= needs processes"):
        audit(loss, logits, objective, jobs=2, state=[calls])


@pytest.mark.parametrize("number", [0, True, 1.5, "2"])
def test_jobs_is_a_number_of_processes(number):
    loss, logits, objective, _ = group()
    with pytest.raises(UsageError, match="jobs is"):
        audit(loss, logits, objective, jobs=number)


# What is said before and during long work


def test_progress_is_said_where_there_is_no_terminal(monkeypatch, capsys):
    loss, logits, objective, _ = group()
    monkeypatch.setattr(audit_mean, "TOLD", 0.0)
    audit(loss, logits, objective)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 * 243  # of the audit, and of what a baseline adds
    assert re.fullmatch(r"100 outcomes of 243 run, about \d+ s left", lines[99])


def test_the_time_is_estimated_before_it_is_spent(monkeypatch):
    monkeypatch.setattr(tape, "LONG", 0.0)
    found = tape.count(lambda each: [each.choose((0.5, 0.5), "coin") for _ in range(5)] + [time.sleep(0.01)], 100)
    assert 0.32 <= found.seconds
    assert re.fullmatch(r"32 outcomes, .*, about \d+ s to run each once", str(found))
