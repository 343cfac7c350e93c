"""A file of a user finds what stands beside it and in the working directory, and leaves nothing that another would find."""

from __future__ import annotations

import sys

import pytest

import derive
from derive.language.errors import UsageError
from derive.verdicts import loading

PROGRAM = """
from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score
theta, f = parameter('theta'), function('f')
b = finite('b', theta)
def made(name, scale=1):
    return Estimator(name, scale * f(b) * score(b), draws=(b,), target=grad(E(f(b), b), theta))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory that is empty but for a folder `deep`."""
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(name):
    with pytest.raises(UsageError) as caught:
        derive.load(name)
    return str(caught.value)


def test_a_file_finds_what_stands_beside_it_and_in_the_working_directory(here):
    (here / "deep" / "neighbour.py").write_text(PROGRAM)
    (here / "common.py").write_text("NAME = 'mine'")
    (here / "deep" / "mine.py").write_text("from neighbour import made\nfrom common import NAME\nmine = made(NAME)")
    assert derive.load("deep/mine.py:mine").name == "mine"


def test_what_stands_beside_comes_before_the_working_directory(here):
    (here / "deep" / "neighbour.py").write_text(PROGRAM + "mine = made('beside')")
    (here / "neighbour.py").write_text(PROGRAM + "mine = made('here')")
    (here / "deep" / "mine.py").write_text("from neighbour import mine")
    assert derive.load("deep/mine.py:mine").name == "beside"


def test_two_folders_may_each_have_a_module_of_one_name(here):
    for name in ("deep", "other"):
        (here / name).mkdir(exist_ok=True)
        (here / name / "neighbour.py").write_text(PROGRAM + f"mine = made('{name}')")
        (here / name / "mine.py").write_text("from neighbour import mine")
    assert [derive.load(f"{name}/mine.py:mine").name for name in ("deep", "other", "deep")] == ["deep", "other", "deep"]


def test_an_import_that_waits_until_the_call_finds_the_same_module(here):
    (here / "deep" / "neighbour.py").write_text(PROGRAM)
    late = "import neighbour\nbefore = neighbour\ndef mine(samples):\n    import neighbour\n"
    (here / "deep" / "mine.py").write_text(late + "    return neighbour.made('same' if neighbour is before else 'twice')")
    assert derive.load("deep/mine.py:mine").name == "same"


def test_a_derivation_that_cannot_be_made_is_named(here):
    own = "from dataclasses import replace\nmine = replace(made('mine'), derivation=lambda: 1 / 0)"
    (here / "mine.py").write_text(PROGRAM + own)
    with pytest.raises(UsageError, match="the derivation of 'mine' cannot be made: ZeroDivisionError"):
        derive.prove(derive.load("mine.py:mine"))


def test_what_stands_beside_is_imported_again_when_it_has_changed(here):
    (here / "deep" / "mine.py").write_text("from neighbour import mine")
    for name in ("one", "another"):
        (here / "deep" / "shared.py").write_text(PROGRAM)
        (here / "deep" / "neighbour.py").write_text(f"from shared import made\nmine = made('{name}')")
        assert derive.load("deep/mine.py:mine").name == name


def test_the_path_and_the_modules_are_as_before(here):
    (here / "deep" / "neighbour.py").write_text(PROGRAM)
    (here / "deep" / "mine.py").write_text("import sys, neighbour\nsys.path.append('kept')\nmine = neighbour.made('mine')")
    path = list(sys.path)
    derive.load("deep/mine.py:mine")
    try:
        assert sys.path == [*path, "kept"]
    finally:
        sys.path[:] = path
    assert "neighbour" not in sys.modules


@pytest.mark.parametrize("program", ["import no_such_module", "from string import no_such_name"])
def test_an_import_that_fails_says_where_was_looked(here, program):
    (here / "deep" / "mine.py").write_text(program)
    message = refused("deep/mine.py:mine")
    assert "no_such" in message
    assert f"beside the file in {here / 'deep'}, in the working directory {here}," in message


@pytest.mark.parametrize("name", ["numeric", "derive"])
@pytest.mark.parametrize("place", ["deep", "."])
@pytest.mark.parametrize("kind", ["{}.py", "{}/__init__.py"])
def test_a_module_of_the_user_with_the_name_of_one_of_ours_is_named(here, name, place, kind):
    file = here / place / kind.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    (here / "deep" / "mine.py").write_text(PROGRAM + "mine = made('mine')")
    assert refused("deep/mine.py:mine").startswith(f"{file} stands in the way of the package '{name}'")


def test_a_folder_that_is_no_package_stands_in_nobodys_way(here):
    (here / "derive").mkdir()
    (here / "deep" / "mine.py").write_text(PROGRAM + "mine = made('mine')")
    assert derive.load("deep/mine.py:mine").name == "mine"


def test_every_estimator_of_a_file_is_loaded_once(here):
    (here / "mine.py").write_text(PROGRAM + "one, two = made('one'), made('two', 2)\nagain = one\n_three = made('three')")
    assert list(loading.load_all("mine.py")) == ["mine.py:one", "mine.py:two", "mine.py:_three"]
    assert "it has one, two, _three" in refused("mine.py")


def test_a_file_without_an_estimator_is_refused(here):
    (here / "mine.py").write_text("three = 3")
    with pytest.raises(UsageError, match="no estimators"):
        loading.load_all("mine.py")


@pytest.mark.parametrize("name", ["x" * 300 + ".py:mine", "nul\0.py:mine", ":mine", ".:mine", "deep:mine"])
def test_a_path_that_is_no_file_is_refused(here, name):
    assert "there is no file" in refused(name)
