"""The command is as people expect one: its help, its examples, whole files, colours, and quiet where quiet is asked for."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from derive.cli.main import run
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
ESTIMATORS = """
from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score
theta, f = parameter('theta'), function('f')
b = finite('b', theta)
right = Estimator('right', f(b) * score(b), draws=(b,), target=grad(E(f(b), b), theta))
double = Estimator('double', 2 * f(b) * score(b), draws=(b,), target=grad(E(f(b), b), theta))
"""
CASES = """
import torch
from numeric import AuditCase
theta = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
def objective():
    return torch.multinomial(theta.softmax(-1), 1).sum() + 1
def loss(scale=1):
    b = torch.distributions.Categorical(logits=theta).sample()
    return scale * (b + 1) * theta.log_softmax(-1)[b]
def broken():
    import no_such_module
right = AuditCase(loss=loss, params=theta, objective=objective)
"""
WRONG = "wrong = AuditCase(loss=lambda: loss(2), params=theta, objective=objective)\n"
BROKEN = "fails = AuditCase(loss=broken, params=theta, objective=objective)\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the examples of the documents."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "examples").symlink_to(ROOT / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answered(capsys, *arguments):
    status = run(app, arguments)
    return status, *capsys.readouterr()


# Help


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example(capsys, command, flag):
    status, shown, errors = answered(capsys, command, flag)
    assert (status, errors) == (0, "")
    assert re.search(rf"\n  Example:\n    gradproof {command} .*\n\Z|\n  Example:\n    gradproof list\n\Z", shown)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_example_of_a_help_text_runs(capsys, here, command):
    _, shown, _ = answered(capsys, *command.split(), "--help")
    example = shlex.split(shown.rstrip().splitlines()[-1])
    status, shown, errors = answered(capsys, *example[1:])
    assert (example[0], errors) == ("gradproof", "")
    assert status == (1 if command == "audit" else 0), "the audited example is a biased one"
    assert shown


def test_gradproof_alone_prints_the_usage_and_is_no_answer(capsys):
    status, shown, errors = answered(capsys)
    assert (status, shown) == (2, "")
    assert errors.startswith("Usage: gradproof ")
    assert all(command in errors for command in COMMANDS)


def test_the_version_is_that_of_the_package(capsys):
    import gradproof

    assert answered(capsys, "--version") == (0, f"gradproof {gradproof.__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_completes_is_shown(capsys, monkeypatch, shell):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("_GRADPROOF_COMPLETE", f"source_{shell}")
    status, shown, errors = answered(capsys)
    assert (status, errors) == (0, "")
    assert "_GRADPROOF_COMPLETE" in shown


# Whole files


def test_every_estimator_of_a_file_is_proved_and_the_status_is_the_worst(capsys, here):
    (here / "mine.py").write_text(ESTIMATORS)
    status, shown, errors = answered(capsys, "prove", "mine.py", "--outcomes", "2")
    assert (status, errors) == (1, "")
    assert "mine.py:right (right): proved" in shown
    assert "mine.py:double (double): scaled" in shown


def test_the_json_of_a_file_names_its_objects(capsys, here):
    (here / "mine.py").write_text(ESTIMATORS)
    status, shown, _ = answered(capsys, "prove", "mine.py", "--outcomes", "2", "--json")
    answer = json.loads(shown)
    assert (status, answer["schema"], answer["errors"]) == (1, "gradproof/verdicts/1", [])
    assert [(each["object"], each["verdict"]) for each in answer["verdicts"]] == [
        ("mine.py:right", "proved"), ("mine.py:double", "scaled")
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["emit", "explain"])
def test_one_estimator_is_asked_for_where_only_one_can_be_shown(capsys, here, command):
    (here / "mine.py").write_text(ESTIMATORS)
    status, shown, errors = answered(capsys, command, "mine.py")
    assert (status, shown) == (2, "")
    assert "as mine.py:object; it has right, double." in errors


@pytest.mark.parametrize(
    ("program", "worst"), [(CASES, 0), (CASES + WRONG, 1), (CASES + BROKEN, 2), (CASES + BROKEN + WRONG, 1)]
)
def test_every_case_of_a_file_is_audited_and_the_status_is_the_worst(capsys, here, program, worst):
    (here / "mine.py").write_text(program)
    status, shown, errors = answered(capsys, "audit", "mine.py", "--json")
    answer = json.loads(shown)
    assert (status, answer["schema"]) == (worst, "gradproof/audits/1")
    assert answer["audits"][0]["case"] == "mine.py:right"
    assert [each["object"] for each in answer["errors"]] == ["mine.py:fails"] * (BROKEN in program)
    assert f"beside the file in {here}" in errors or BROKEN not in program


def test_crosscheck_and_variance_take_a_file(capsys, here):
    (here / "mine.py").write_text(ESTIMATORS)
    status, shown, _ = answered(capsys, "crosscheck", "mine.py", "--family", "bernoulli", "--quiet")
    assert status == 1
    assert re.fullmatch(r"mine.py:right: .*: agrees\nmine.py:double: .*: DISAGREES\n", shown)
    status, shown, _ = answered(capsys, "variance", "mine.py")
    assert status == 0
    assert "double" in shown


# Colours, and quiet


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({"FORCE_COLOR": ""}, False)],
)
def test_colours_follow_the_variables(capsys, monkeypatch, variables, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _, shown, _ = answered(capsys, "list")
    assert ("\x1b[" in shown) == coloured


class Terminal(io.StringIO):
    """Standard error that somebody looks at."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("quiet", "seen"), [([], True), (["--quiet"], False)])
def test_quiet_shows_no_progress_and_one_line_each(capsys, monkeypatch, here, quiet, seen):
    (here / "mine.py").write_text(ESTIMATORS)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run(app, ["prove", "mine.py", "--outcomes", "2", *quiet]) == 1
    assert (capsys.readouterr().out.count("\n") == 2) == bool(quiet)
    assert ("proving" in sys.stderr.getvalue()) == seen


def test_quiet_says_the_verdict_alone(capsys):
    assert answered(capsys, "prove", "score-function", "--outcomes", "2", "-q") == (0, "score-function: proved\n", "")
