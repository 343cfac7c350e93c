"""Each package has one door: what it declares is documented, has the types that it says, and is imported when it is used."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import pydoc
import subprocess
import sys
import sysconfig
import typing
import venv
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import derive
import numeric
from derive.language.errors import GradproofError

ROOT = Path(__file__).parent.parent
NAMES = [(package, name) for package in (derive, numeric) for name in package.__all__]
FUNCTIONS = [getattr(package, name) for package, name in NAMES if inspect.isfunction(getattr(package, name))]


def declared(package):
    """What a type checker finds behind each name of a package: the module it comes from, and its name there."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {a.asname: (node.module, a.name) for node in imports for a in node.names if a.asname is not None}


def loaded(code, modules):
    answer = f"import sys; {code}; print(*sorted(set({modules!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", answer], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("package", [derive, numeric], ids=lambda package: package.__name__)
def test_what_a_checker_sees_is_what_a_program_gets(package):
    assert set(declared(package)) == set(package.__all__) <= set(dir(package))
    for name, (home, its_name) in declared(package).items():
        module = import_module(home)
        found = getattr(module, its_name) if hasattr(module, its_name) else import_module(f"{home}.{its_name}")
        assert getattr(package, name) is found


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: getattr(value, "__name__", value))
def test_every_public_name_is_documented(package, name):
    own = getattr(package, name).__doc__
    assert own
    assert not own.startswith(f"{name}(")  # the text that dataclasses make up


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_public_function_is_plain_and_says_what_it_takes(function):
    parameters = inspect.signature(function).parameters.values()
    assert not {parameter.kind for parameter in parameters} & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    assert {parameter.name for parameter in parameters} | {"return"} == set(typing.get_type_hints(function))
    shown = pydoc.render_doc(function, renderer=pydoc.plaintext)
    assert f"{function.__name__}(" in shown
    assert inspect.getdoc(function).splitlines()[0] in shown


def test_the_functions_that_users_call_first_are_at_the_door():
    names = {"audit", "compile", "crosscheck", "emit", "exact_gradient", "replay", "sequential_test"}
    assert names <= {function.__name__ for function in FUNCTIONS}


@pytest.fixture(scope="module")
def imported() -> str:
    """What a process says that imports modules first, and then asks for functions of their names."""
    code = "import sys, numeric.auditing.audit, numeric.checking.crosscheck, derive.verdicts.oracle, derive.catalogue.rebar; "
    code += "import derive, numeric; print([type(f).__name__ for f in (numeric.audit, numeric.crosscheck, derive.oracle)], "
    code += "'joblib' in sys.modules); derive.catalogue['rebar']"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_a_function_is_found_where_its_module_was_imported_before(imported):
    assert imported.startswith(f"{['function'] * 3} ")


def test_nothing_is_imported_for_jobs_where_none_are_asked_for(imported):
    assert imported.endswith(" False\n")


@pytest.mark.parametrize("package", [derive, numeric], ids=lambda package: package.__name__)
def test_a_name_that_is_not_there_is_refused(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'audits'"):
        package.audits  # noqa: B018


def test_every_error_can_be_caught_by_a_name_at_the_door():
    for package in (derive, numeric):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    public = {getattr(package, name) for package, name in NAMES if name not in ("catalogue", "GradproofError")}
    errors = [error for error in below(GradproofError) if error.__module__.split(".")[0] in ("derive", "numeric")]
    assert len(errors) > 10
    for error in errors:
        door = numeric if error.__module__.startswith("numeric") else derive
        assert any(getattr(door, parent.__name__, None) is parent for parent in error.__mro__ if parent in public), error


def below(kind):
    return [each for child in kind.__subclasses__() for each in (child, *below(child))]


def test_importing_derive_loads_neither_sympy_nor_torch_nor_numpy():
    heavy = ["flint", "hypothesis", "jinja2", "numpy", "numeric", "rich", "scipy", "sympy", "torch", "typer"]
    assert loaded("import derive", heavy) == []


def test_proving_loads_neither_sympy_nor_torch():
    assert loaded("import derive; derive.prove(derive.catalogue['score-function'])", ["numeric", "sympy", "torch"]) == []


def test_importing_numeric_does_not_load_torch():
    heavy = ["derive", "flint", "jinja2", "numpy", "rich", "scipy", "sympy", "torch", "typer"]
    assert loaded("import numeric; dir(numeric)", heavy) == []


# What is shipped

USER = """
import derive, numeric
reveal_type(derive.prove(derive.catalogue["rebar"]).verdict)
reveal_type(numeric.audit(lambda: None, [], lambda: None))
reveal_type(numeric.compile(derive.load("rebar")))
derive.proof
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_says_that_it_is_typed_and_leaves_the_notes_out(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"{package}/py.typed" for package in ("derive", "gradproof", "numeric")} <= set(names)
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"derive", "gradproof", "numeric"}
    assert not [name for name in names if "notes" in name]


@pytest.mark.slow
def test_a_user_who_checks_types_sees_ours(wheel, tmp_path):
    venv.create(tmp_path / "env", symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "env")}))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    # Others are large, and their types are not ours.
    others = ",".join(f"{name}.*" for name in "torch numpy flint rich typer click jinja2 markupsafe".split())
    options = f"[mypy]\n[mypy-{others}]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n"
    (tmp_path / "mypy.ini").write_text(options, encoding="utf-8")
    python = str(tmp_path / "env" / "bin" / "python")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-executable", python, "user.py"]
    found = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, env={})
    revealed = [line.partition(": ")[2] for line in found.stdout.splitlines()]
    assert revealed[:-1] == [
        'note: Revealed type is "str"',
        'note: Revealed type is "numeric.auditing.audit_report.AuditReport"',
        'note: Revealed type is "numeric.codegen.torchrun.Compiled"',
        'error: Module has no attribute "proof"  [attr-defined]',
    ], found.stdout + found.stderr
