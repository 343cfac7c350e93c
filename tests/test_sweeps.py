"""Many units of work: nothing is done twice, nothing lost, also where processes die or a sweep is interrupted in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import joblib
import pytest

import derive
from derive.catalogue import catalogue
from derive.cli.main import run
from derive.language.errors import UsageError
from derive.verdicts import sweep as sweeps
from derive.verdicts.sweep import Answer, answer_of, proved, sweep
from numeric.cli.main import app, crosschecked

NAMES = ["score-function", "straight-through", "control-variate", "leave-one-out"]
MINE = """
from derive.estimator import Estimator
from derive.notation import *
theta = parameter("theta")
b, f = finite("b", theta), function("f")
target = grad(E(f(b), b), theta)
right = Estimator("right", f(b) * score(b), (b,), target)
half = Estimator("half", f(b) * score(b) / 2, (b,), target)
"""


def noted(name, folder, *, dies=()):
    """Note that a unit was begun; one that dies ends its process, the first time that it is begun."""
    begun = Path(folder) / f"{name}.{time.time_ns()}.{os.getpid()}"
    begun.write_text("")
    if name in dies and len(list(Path(folder).glob(f"{name}.*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"name": name}


def begun(folder, name):
    return len(list(Path(folder).glob(f"{name}.*")))


def values(answers):
    return {answer.name: answer.value for answer in answers}


@pytest.fixture
def once(tmp_path):
    """A work that notes in a folder what was begun."""
    (tmp_path / "begun").mkdir()
    return partial(noted, folder=str(tmp_path / "begun"))


# Answers


@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_the_answers_are_those_of_one_process(jobs):
    found = {answer.name: answer.value["verdict"] for answer in sweep(proved, NAMES, jobs=jobs)}
    assert found == {name: catalogue[name].verdict for name in NAMES}


def test_what_a_user_can_cause_keeps_no_other_unit_from_its_answer():
    found = {answer.name: answer for answer in sweep(proved, ["no-such", "score-function"], jobs=2)}
    assert "no-such" in found["no-such"].error
    assert found["score-function"].value["verdict"] == "proved"


def test_a_bug_is_no_answer():
    with pytest.raises(ZeroDivisionError):
        list(sweep(divided, ["a"]))


def divided(name):
    return 1 / 0


# Processes that end


def test_a_unit_whose_process_was_killed_is_done_again(once, tmp_path):
    work = partial(once, dies=("b",))
    found = values(sweep(work, list("abcdef"), jobs=2, results=tmp_path / "kept"))
    assert found == {name: {"name": name} for name in "abcdef"}
    assert begun(tmp_path / "begun", "b") == 2


def test_a_process_that_ends_again_and_again_is_named(tmp_path):
    with pytest.raises(UsageError, match="3 times in a row, perhaps for want of memory; not done: a"):
        list(sweep(killed, ["a"], jobs=2))


def killed(name):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dask_cluster_that_loses_a_worker_loses_no_unit(once, tmp_path):
    distributed = pytest.importorskip("distributed")
    names = [f"unit{number}" for number in range(8)]
    work = partial(once, dies=("unit3",))
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        before = set(cluster.scheduler.workers)
        found = values(sweep(work, names, jobs=-1, results=tmp_path / "kept"))
        assert set(cluster.scheduler.workers) != before
    assert found == {name: {"name": name} for name in names}
    assert begun(tmp_path / "begun", "unit3") >= 2
    again = values(sweep(work, names, results=tmp_path / "kept"))
    assert again == found
    assert sum(begun(tmp_path / "begun", name) for name in names) <= len(names) + 2


# Answers that are kept


def test_what_was_interrupted_goes_on_where_it_stopped(once, tmp_path):
    kept, coming = tmp_path / "kept", sweep(once, list("abcd"), results=tmp_path / "kept")
    next(coming), next(coming)
    coming.close()
    assert values(sweep(once, list("abcd"), results=kept)) == {name: {"name": name} for name in "abcd"}
    assert [begun(tmp_path / "begun", name) for name in "abcd"] == [1, 1, 1, 1]


def test_half_an_answer_is_done_again(once, tmp_path):
    list(sweep(once, ["a"], results=tmp_path / "kept"))
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text(file.read_text()[:-5])
    assert values(sweep(once, ["a"], results=tmp_path / "kept")) == {"a": {"name": "a"}}
    assert begun(tmp_path / "begun", "a") == 2


def test_no_error_is_kept(tmp_path):
    assert all(answer.error for answer in sweep(proved, ["no-such"], results=tmp_path))
    assert not list(tmp_path.iterdir())


def test_an_answer_counts_for_the_work_the_options_the_file_and_what_stands_beside_it(tmp_path, monkeypatch):
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    name = f"{mine}:right"

    def path(work=proved, unit=name):
        return sweeps.Kept(tmp_path / "kept", work).path(unit)

    found = [path(), path(partial(proved, outcomes=(2,))), path(partial(proved, outcomes=(2, 3))), path(crosschecked)]
    found.append(path(unit=f"{mine}:half"))
    mine.write_text(MINE + "\n")
    found.append(path())
    (tmp_path / "helper.py").write_text("")
    found.append(path())
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("")
    found.append(path())
    (tmp_path / "package" / "inner" / "module.py").write_text("")
    found.append(path())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "module.py").write_text("")
    found.append(path())
    monkeypatch.setattr(sweeps, "_ours", lambda: "another version")
    found.append(path())
    assert len(set(found)) == len(found)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot keep results in"):
        list(sweep(proved, ["score-function"], results=tmp_path / "file"))


def test_an_answer_is_a_file_that_people_can_read(tmp_path):
    list(sweep(proved, ["score-function"], results=tmp_path))
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("score-function-")
    assert json.loads(file.read_text())["answer"]["verdict"] == "proved"


# The command


def test_a_file_is_swept_in_processes_with_the_status_of_the_worst(tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    assert run(app, ["prove", str(mine), "--jobs", "2", "--results", str(tmp_path / "kept"), "--json"]) == 1
    parallel = json.loads(capsys.readouterr().out)
    assert run(app, ["prove", str(mine), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == parallel
    assert run(app, ["prove", str(mine), "--jobs", "1", "-q"]) == 1
    assert capsys.readouterr().out == f"{mine}:right: proved\n{mine}:half: scaled\n"


def test_a_crosscheck_of_one_row_is_what_the_command_says(capsys):
    answer = crosschecked("straight-through bernoulli")
    assert (answer["agrees"], answer["as_declared"], answer["declared"]) == (False, True, "refuted")
    assert crosschecked("dice-second-order bernoulli")["agrees"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prove", "score-function", "--jobs", "2"], "for many estimators at once"),
        (["crosscheck", "score-function", "--results", "x"], "for many estimators at once"),
        (["prove", "--all", "--jobs", "0"], "--jobs takes a number of processes"),
        (["prove", "--all", "--backend", "no-such"], "joblib cannot send work to 'no-such'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said, capsys):
    assert run(app, arguments) == 2
    assert said in capsys.readouterr().err


def test_the_function_is_public():
    assert derive.sweep is sweep
    assert derive.Answer is Answer
    assert answer_of(proved, "score-function").error == ""


CASES = """
import torch
import numeric

theta = torch.tensor([0.3, -0.2], requires_grad=True)


def law():
    return torch.distributions.Bernoulli(logits=theta)


def cost(b):
    return (b - 0.4).square().sum()


def loss():
    b = law().sample()
    return cost(b) * law().log_prob(b).sum()


right = numeric.AuditCase(loss=loss, params=[theta], objective=lambda: cost(law().sample()))
half = numeric.AuditCase(loss=lambda: loss() / 2, params=[theta], objective=lambda: cost(law().sample()))
"""


def test_the_cases_of_a_file_are_audited_in_processes_and_kept(tmp_path, capsys):
    (tmp_path / "cases.py").write_text(CASES)
    arguments = ["audit", str(tmp_path / "cases.py")]
    assert run(app, arguments) == 1
    alone = capsys.readouterr().out
    swept = [*arguments, "--jobs", "2", "--results", str(tmp_path / "kept")]
    for _ in range(2):
        assert run(app, swept) == 1
        assert capsys.readouterr().out == alone
        assert len(list((tmp_path / "kept").iterdir())) == 2
    assert run(app, [*swept, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [report["verdict"] for report in found["audits"]] == ["unbiased", "scaled"]
    assert run(app, ["audit", f"{arguments[1]}:half", "--results", str(tmp_path / "kept")]) == 2
    assert "are for many" in capsys.readouterr().err


def test_the_estimators_of_a_file_are_crosschecked_in_processes_and_kept(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    arguments = ["crosscheck", str(tmp_path / "mine.py"), "--size", "1"]
    assert run(app, arguments) == 1
    alone = capsys.readouterr().out
    assert run(app, [*arguments, "--jobs", "2", "--results", str(tmp_path / "kept")]) == 1
    assert capsys.readouterr().out == alone
    assert len(list((tmp_path / "kept").iterdir())) == 2
