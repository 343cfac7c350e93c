"""What the repository says of itself is so: its map, its links, its dependencies, and what a wheel holds."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("derive", "gradproof", "numeric")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "README.md", "docs/design.md", "docs/testing.md"]
MODULE_OF = {"markdown-it-py": "markdown_it", "python-flint": "flint"}
def requirements(lines) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines if isinstance(line, str)}


CORE = requirements(PROJECT["project"]["dependencies"])
EXTRAS = set().union(*map(requirements, PROJECT["project"]["optional-dependencies"].values()))
GROUPS = set().union(*map(requirements, PROJECT["dependency-groups"].values()))
PINNED = requirements(
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)


def imported(source: str) -> set[str]:
    """Return the first names of the modules that a source imports."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}}


def imported_by_the_packages() -> set[str]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    everything = set().union(*(imported(path.read_text(encoding="utf-8")) for path in paths))
    return everything - set(sys.stdlib_module_names) - set(PACKAGES)


def module_names(distributions: set[str]) -> set[str]:
    return {MODULE_OF.get(name, name).replace("-", "_") for name in distributions}


def test_every_dependency_is_used():
    assert module_names(CORE | EXTRAS) - imported_by_the_packages() == set()


def test_everything_that_is_imported_is_declared():
    for_tests = {"pytest", "hypothesis"}  # the plugin and the strategies are imported by the one that they are for
    for_clusters = {"distributed", "ray"}  # a backend of joblib is there where it is asked for
    assert imported_by_the_packages() - module_names(CORE | EXTRAS) - for_tests - for_clusters == set()


def test_an_import_is_seen_wherever_it_stands():
    assert imported("import a.b\ndef f():\n    from c.d import e\n") == {"a", "c"}


def test_every_requirement_is_pinned():
    assert (CORE | EXTRAS | GROUPS) - PINNED == set()


def test_what_tests_skip_without_is_installed_where_they_are_run():
    """A test that is skipped wherever it is run has never passed."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    wanted = set(re.findall(r'importorskip\("(\w+)', text)) - set(PACKAGES)
    groups = PROJECT["dependency-groups"]
    installed = set().union(*(requirements(groups[group["include-group"]]) for group in groups["dev"]), CORE, EXTRAS)
    assert len(wanted) > 5
    assert wanted <= module_names(installed)
    assert "'.[torch,docs]' --group dev\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_pre_commit_runs_the_ruff_that_make_runs():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    [revision] = re.findall(r"ruff-pre-commit\n\s*rev: v(\S+)", hooks)
    assert f"ruff=={revision}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def paths_named_in(page: str) -> set[str]:
    """Return what a page links to in the repository, and the files with a folder that it names as code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    base = Path(page).parent
    linked = {str(base / target) for target in re.findall(r"\]\(([^)#:]+)\)", text)}
    named = set(re.findall(r"`((?:derive|docs|gradproof|numeric|tests)/[\w/.]+)`", text))
    return linked | named


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    assert [path for path in sorted(paths_named_in(page)) if not (ROOT / path).exists()] == []


def test_a_name_of_nothing_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("[here](gone.md) and `derive/gone.py`, not `f(b)/2`", encoding="utf-8")
    assert paths_named_in("page.md") == {"gone.md", "derive/gone.py"}


def test_the_map_names_every_folder_and_fits_one_screen():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = [line for line in design.split("## The map")[1].split("##")[0].splitlines() if line.startswith("|")][2:]
    folders = {path.name for package in ("derive", "numeric") for path in (ROOT / package).iterdir() if path.is_dir()}
    unnamed = [name for name in sorted(folders - {"__pycache__", "cli"}) if not any(f"{name}`" in row for row in rows)]
    assert (unnamed, len(rows) < 20) == ([], True)


def test_a_wheel_holds_the_types_and_not_the_notes():
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    assert {path.split("/")[0] for path in files} == set(PACKAGES)
