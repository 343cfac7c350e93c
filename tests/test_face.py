"""gradproof keeps out of its users' way: a project with modules of our names starts as if gradproof were not there.

The projects run in environments of their own, with gradproof from a wheel and from an editable install.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

PROJECTS = {
    "numeric.py": ({"numeric.py": "MINE = True"}, "numeric"),
    "numeric/": ({"numeric/__init__.py": "MINE = True"}, "numeric"),
    "derive/": ({"derive/__init__.py": "MINE = True"}, "derive"),
}
PLAIN = "import hypothesis\nfrom {name} import MINE\n\ndef test_it():\n    assert MINE\n"
FIXTURE = "def test_it(gradproof_audit):\n    gradproof_audit(None, None, None)\n"
STRATEGY = "from gradproof.strategies import laws\n\ndef test_it():\n    pass\n"


@pytest.fixture(scope="session", params=["wheel", "editable"])
def python(request, tmp_path_factory):
    """The Python of an environment with gradproof, installed in this way, and with the libraries of the one that runs us."""
    place = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    source = [ROOT] if request.param == "wheel" else ["--editable", ROOT]
    arguments = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", *source]
    subprocess.run([*PIP, "--python", python, "install", *arguments], check=True, env=bare(), cwd=place)
    return python


def bare():
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV", "HYPOTHESIS"))}


def project(folder, name, test=""):
    files, module = PROJECTS[name]
    for path, text in {**files, "conftest.py": "", "test_mine.py": test.format(name=module)}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return folder / next(iter(files))


def ran(folder, *command):
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=120, env=bare())


def pytest_of(python, how):
    script = "import sys; sys.path.pop(0); import pytest; sys.exit(pytest.main())"  # as the script, which has no folder first
    run = ["-m", "pytest"] if how == "python -m pytest" else ["-c", script]
    return [python, *run, "-q", "-p", "no:cacheprovider", "-W", "error"]


HOW = ["pytest", "python -m pytest"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", PROJECTS)
def test_pytest_and_hypothesis_start_and_a_fixture_says_in_one_line_which_module_stands_in_the_way(tmp_path, python, name, how):
    """One run of two files: the user imports their own module in one, and asks for our fixture in the other."""
    theirs = project(tmp_path, name, PLAIN)
    (tmp_path / "test_ours.py").write_text(FIXTURE)
    result = ran(tmp_path, *pytest_of(python, how))
    assert (result.returncode, result.stderr) == (1, ""), result.stdout
    assert "1 failed, 1 passed" in result.stdout
    assert "FAILED test_ours.py::test_it" in result.stdout
    assert f"{theirs} stands in the way of the package" in result.stdout
    assert "Traceback" not in result.stdout
    assert "doors.py" not in result.stdout


@pytest.mark.parametrize("name", PROJECTS)
def test_a_strategy_says_which_module_stands_in_the_way(tmp_path, python, name):
    theirs = project(tmp_path, name, STRATEGY)
    result = ran(tmp_path, *pytest_of(python, HOW[1]))
    assert result.returncode == 2
    assert f"{theirs} stands in the way of the package" in result.stdout


@pytest.mark.parametrize("name", PROJECTS)
def test_the_command_says_in_one_line_which_module_stands_in_the_way(tmp_path, python, name):
    theirs = project(tmp_path, name)
    result = ran(tmp_path, python, "-m", "gradproof", "list")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"gradproof: {theirs} stands in the way of the package")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", PROJECTS)
def test_the_console_script_works_where_nothing_stands_in_its_way(tmp_path, python, name):
    project(tmp_path, name)
    result = ran(tmp_path, python.parent / "gradproof", "list")
    assert (result.returncode, result.stderr) == (0, "")
    assert "rebar" in result.stdout


def test_gradproof_is_that_of_the_environment(tmp_path, python):
    code = "import gradproof.doors as d, derive, numeric; print(d.__file__, d.is_ours('derive'), d.is_ours('numeric'))"
    result = ran(tmp_path, python, "-c", code)
    file, *ours = result.stdout.split()
    assert ours == ["True", "True"]
    assert Path(file).is_relative_to(python.parent.parent) or Path(file).is_relative_to(ROOT)
