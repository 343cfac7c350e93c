"""The command answers with a verdict, JSON and an exit status; what is wrong with the input is one line on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import derive
import numeric
from derive.catalogue import catalogue
from derive.cli.main import MOST_OUTCOMES, run
from derive.verdicts import prover
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent


def gradproof(*arguments, **environment):
    """The command in a process of its own."""
    code = "from numeric.cli.main import main; main()"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=variables, cwd=ROOT)


def refused(capsys, *arguments):
    """Run what must be refused, and return the line that says why."""
    assert run(app, arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("gradproof: ")
    assert errors.count("\n") == 1
    return errors


def test_list_shows_every_estimator_with_its_source(capsys):
    assert run(app, ["list"]) == 0
    shown = capsys.readouterr().out
    assert all(estimator.name in shown and estimator.source[:12] in shown for estimator in catalogue.values())


def test_list_json_follows_its_schema(capsys):
    assert run(app, ["list", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "gradproof/catalogue/1"
    assert [row["name"] for row in answer["estimators"]] == list(catalogue)


def test_prove_exits_0_for_an_estimator_that_holds(capsys):
    assert run(app, ["prove", "score-function", "--outcomes", "3"]) == 0
    shown = capsys.readouterr().out
    assert "score-function: proved" in shown
    assert "identically zero on 2, 3 outcomes" in shown


def test_prove_exits_1_for_a_biased_estimator_and_shows_a_witness(capsys):
    assert run(app, ["prove", "control-variate-without-correction", "--outcomes", "2"]) == 1
    shown = capsys.readouterr().out
    assert "refuted" in shown
    assert "-d_theta E_b[C(b)]" in shown
    assert "witness" in shown


def test_prove_json_carries_the_fields_of_the_contract(capsys):
    assert run(app, ["prove", "constant-baseline", "--outcomes", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    fields = "schema estimator target verdict assumptions derivation checked bias witness".split()
    assert set(fields) <= set(answer)
    assert answer["schema"] == "gradproof/verdict/1"
    assert answer["checked"][0]["identically_zero"] is True
    assert {"rule", "latex"} <= set(answer["derivation"][0])


def verdict_of(estimator, verdict):
    answer = {"estimator": estimator.name, "verdict": verdict, "holds_for": "nothing"}
    return SimpleNamespace(verdict=verdict, holds_for="nothing", to_json=lambda: answer, exit_code=3)


def test_prove_all_exits_0_when_every_verdict_is_the_declared_one(capsys, monkeypatch):
    monkeypatch.setattr(prover, "prove", lambda e, **_: verdict_of(e, e.verdict))
    assert run(app, ["prove", "--all", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "gradproof/verdicts/1"
    assert [verdict["estimator"] for verdict in answer["verdicts"]] == list(catalogue)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_prove_all_exits_1_when_one_verdict_is_another(capsys, monkeypatch, options):
    def prove(estimator, **_):
        return verdict_of(estimator, "undecided" if estimator.name == "rebar" else estimator.verdict)

    monkeypatch.setattr(prover, "prove", prove)
    assert run(app, ["prove", "--all", *options]) == 1
    shown, errors = capsys.readouterr()
    assert "undecided" in shown
    assert errors == "", "no progress bar where standard error is no terminal"


def test_prove_passes_the_exit_status_of_an_undecided_verdict_on(monkeypatch):
    undecided = derive.Verdict(catalogue["rebar"], "undecided", "nothing", tried=("everything",))
    monkeypatch.setattr(derive, "prove", lambda *_, **__: undecided, raising=False)
    assert run(app, ["prove", "rebar"]) == 3


@pytest.mark.parametrize("format_", ["text", "markdown", "latex", "html"])
def test_explain_writes_every_format(tmp_path, format_):
    file = tmp_path / "derivation"
    assert run(app, ["explain", "score-function", "--format", format_, "-o", str(file)]) == 0
    assert "leibniz" in file.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [file], "no temporary file is left"


def test_emit_writes_source_that_compiles(tmp_path):
    file = tmp_path / "rebar.py"
    assert run(app, ["emit", "rebar", "--family", "bernoulli", "-o", str(file)]) == 0
    compile(file.read_text(encoding="utf-8"), str(file), "exec")


def test_a_misspelt_name_is_met_with_a_suggestion(capsys):
    assert "did you mean rebar" in refused(capsys, "prove", "rebbar")


@pytest.mark.parametrize("outcomes", ["0", "1", "-3", "10000"])
def test_infeasible_outcomes_are_refused_with_what_is_feasible(capsys, outcomes):
    assert f"from 2 to {MOST_OUTCOMES}" in refused(capsys, "prove", "score-function", "--outcomes", outcomes)
    assert f"from 2 to {MOST_OUTCOMES}" in refused(capsys, "prove", "--all", "--outcomes", outcomes)


@pytest.mark.parametrize("samples", ["0", "-1", "1000"])
def test_infeasible_samples_are_refused_with_what_is_feasible(capsys, samples):
    assert "from 1 to" in refused(capsys, "prove", "score-function", "--samples", samples)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "nonsense"),
        (["prove"], "exactly one of them"),
        (["prove", "rebar", "--all"], "exactly one of them"),
        (["prove", "rebar", "--outcomes", "three"], "--outcomes"),
        (["prove", "rebar", "--nonsense"], "--nonsense"),
        (["explain", "rebar", "--format", "pdf"], "'text', 'markdown', 'latex', 'html'"),
        (["explain"], "NAME"),
        (["emit", "rebar", "--family", "cauchy"], "bernoulli"),
        (["prove", "nowhere.py:estimator"], "nowhere.py"),
        (["prove", "nowhere.py"], "nowhere.py"),
    ],
)
def test_bad_usage_is_one_line_and_exits_2(capsys, arguments, reason):
    assert reason in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("def broken(:", "SyntaxError"),
        ("estimator = 3", "int"),
        ("other = 3", "estimator"),
        ("import sys\nsys.exit(0)", "ended the process"),
        ("raise ValueError('two\\nlines')", "two lines"),
        ("from derive.notation import *\nx = parameter('x') * 0.5", "0.5"),
    ],
)
def test_a_file_that_gives_no_estimator_is_one_line_and_exits_2(capsys, tmp_path, program, reason):
    file = tmp_path / "mine.py"
    file.write_text(program)
    assert reason in refused(capsys, "prove", f"{file}:estimator")


def test_the_file_of_a_user_is_judged_like_the_catalogue(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from derive.estimator import Estimator\n"
        "from derive.notation import E, finite, function, grad, parameter, score\n"
        "theta, f = parameter('theta'), function('f')\n"
        "b = finite('b', theta)\n"
        "doubled = Estimator('doubled', 2 * f(b) * score(b), draws=(b,), target=grad(E(f(b), b), theta))\n"
    )
    assert run(app, ["prove", f"{file}:doubled", "--outcomes", "2"]) == 1
    shown = capsys.readouterr().out
    assert "doubled: scaled" in shown
    assert "2 * target" in shown


def test_a_file_that_cannot_be_written_is_one_line_and_exits_2(capsys, tmp_path):
    missing = tmp_path / "missing" / "file.txt"
    assert "cannot write" in refused(capsys, "explain", "score-function", "-o", str(missing))
    assert "cannot write" in refused(capsys, "explain", "score-function", "-o", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_when_the_new_one_cannot_be_made(tmp_path):
    file = tmp_path / "derivation.txt"
    file.write_text("old")
    assert run(app, ["explain", "no-such-estimator", "-o", str(file)]) == 2
    assert file.read_text() == "old"


def test_a_file_that_cannot_be_replaced_stays_and_nothing_lies_beside_it(capsys, monkeypatch, tmp_path):
    file = tmp_path / "derivation.txt"
    file.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left" in refused(capsys, "explain", "score-function", "-o", str(file))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_crosscheck_without_torch_is_one_line_and_exits_2(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in [name for name in sys.modules if name.startswith("numeric.") and name != "numeric.cli.main"]:
        monkeypatch.delitem(sys.modules, module)
    assert "torch, which is not installed" in refused(capsys, "crosscheck", "rebar")


@pytest.mark.parametrize(("agrees", "vacuous", "status"), [(True, False, 0), (False, False, 1), (False, True, 3)])
def test_crosscheck_exits_by_what_it_found(capsys, monkeypatch, agrees, vacuous, status):
    answer = {"schema": "gradproof/crosscheck/1", "agrees": agrees}
    report = SimpleNamespace(agrees=agrees, vacuous=vacuous, to_json=lambda: answer)
    monkeypatch.setitem(sys.modules, "numeric.checking.crosscheck", SimpleNamespace(crosscheck=lambda *_, **__: report))
    assert run(app, ["crosscheck", "rebar", "--json"]) == status
    assert json.loads(capsys.readouterr().out)["agrees"] is agrees


def test_a_bug_of_ours_shows_its_traceback(monkeypatch):
    def broken(*_, **__):
        return {}["missing"]

    monkeypatch.setattr(numeric, "emit", broken, raising=False)
    with pytest.raises(KeyError):
        run(app, ["emit", "rebar"])


def test_the_command_as_a_process():
    good, bad = gradproof("list"), gradproof("prove", "rebbar")
    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "Traceback" not in bad.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_gone_is_no_error(options):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from numeric.cli.main import main; main()", "list", *options]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False, timeout=60)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")
