"""The contracts of pyproject.toml can be broken and are then seen, and so is what a linter of imports does not look at."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("derive", "gradproof", "numeric")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({path.parent for path in SOURCES})
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]

MOST_FILES = 16
MOST_BYTES = 24_000
EXECUTES_TEXT = {"eval", "exec", "sympify", "parse_expr"}
HEURISTICS = {"simplify", "subs", "xreplace", "doit"}
ALLOWED_CALLS = {
    ("derive.numbers.ring", "subs"),  # a polynomial of FLINT binds no variable, so putting values into it captures none
    ("numeric.codegen.running.module", "exec"),  # the source that we have generated
}


# The contracts: each is broken once, in a copy of the tree

BREAKING = [
    ("packages", "derive/verdicts/prover.py", "import numeric.codegen.torchgen"),
    ("packages", "numeric/cli/main.py", "import gradproof"),
    ("derive", "derive/language/scope.py", "def f():\n    from derive.printing import text"),
    ("derive", "derive/printing/text.py", "import derive.catalogue.rebar"),
    ("derive", "derive/verdicts/prover.py", "import derive.notation"),
    ("derive", "derive/kernel/algebra.py", "if TYPE_CHECKING:\n    from derive.numbers.ring import Ball"),
    ("derive", "derive/instances/__init__.py", "from derive.exact import comparison"),
    ("derive", "derive/instances/__init__.py", "from derive.kernel.theorem import Theorem"),
    ("derive", "derive/attic/broken.py", ""),
    ("numeric", "numeric/codegen/torchgen.py", "from numeric.auditing import audit"),
    ("numeric", "numeric/draws/tape.py", "from numeric.codegen import torchgen"),
    ("numeric", "numeric/testbed/setting.py", "from numeric.gallery import rows"),
    ("judge", "derive/laws/reading.py", "from derive.kernel.theorem import Theorem"),
    ("judge", "derive/exact/comparison.py", "from derive.proofs.calc import Derivation"),
    ("trusted", "derive/kernel/theorem.py", "from derive.language.notation import E"),
    ("trusted", "derive/kernel/premises.py", "import numpy"),
    ("trusted", "derive/language/scope.py", "from derive.language import formula"),
    ("torch", "numeric/codegen/torchgen.py", "def f():\n    import torch"),
    ("torch", "derive/exact/points.py", "from torch import nn"),
    ("flint", "derive/exact/points.py", "import flint"),
    ("sympy", "derive/proofs/rules.py", "import sympy"),
    ("data", "derive/verdicts/prover.py", "import pickle"),
]


@pytest.fixture(scope="module")
def copy_of_the_tree(tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(tree: Path, *contracts: str) -> tuple[int, str]:
    """Return the exit status of import-linter in a tree, and what it prints."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    options = [option for contract in contracts for option in ("--contract", contract)]
    run = subprocess.run([*command, *options], cwd=tree, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


def test_the_tree_keeps_every_contract(copy_of_the_tree):
    status, said = lint(copy_of_the_tree)
    assert (status, f"{len(CONTRACTS)} kept, 0 broken" in said) == (0, True)


@contextmanager
def added(tree: Path, file: str, line: str):
    """Append a line to a file, or write the file in a new folder; afterwards all is as before."""
    path = tree / file
    if path.exists():
        before = path.read_text(encoding="utf-8")
        path.write_text(f"{before}\n{line}\n", encoding="utf-8")
        yield
        path.write_text(before, encoding="utf-8")
        return
    path.parent.mkdir()
    (path.parent / "__init__.py").touch()
    path.write_text(f"{line}\n", encoding="utf-8")
    yield
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(("contract", "file", "line"), BREAKING)
def test_a_contract_that_is_broken_is_seen(copy_of_the_tree, contract, file, line):
    with added(copy_of_the_tree, file, line):
        status, said = lint(copy_of_the_tree, contract)
    assert (status, "0 kept, 1 broken" in said) == (1, True), said


def test_every_contract_is_broken_once():
    assert {contract for contract, _, _ in BREAKING} == {contract["id"] for contract in CONTRACTS}


# What an import linter does not see


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def assert_statements(module: str, source: str) -> list[str]:
    return [f"{module}:{node.lineno}" for node in nodes(source) if isinstance(node, ast.Assert)]


def forbidden_calls(module: str, source: str) -> list[str]:
    """Text is executed nowhere; in derive, no heuristic of SymPy decides and nothing else than `scope` substitutes."""
    forbidden = EXECUTES_TEXT | (HEURISTICS if module.startswith("derive") else set())
    calls = [node for node in nodes(source) if isinstance(node, ast.Call)]
    named = [(node, getattr(node.func, "id", getattr(node.func, "attr", ""))) for node in calls]
    return [
        f"{module}:{node.lineno} calls {name}"
        for node, name in named
        if name in forbidden and (module, name) not in ALLOWED_CALLS and not _switches_torch(node, name)
    ]


def _switches_torch(call: ast.Call, name: str) -> bool:
    """`model.eval()` of torch takes no text."""
    return name == "eval" and isinstance(call.func, ast.Attribute) and not call.args


def function_lengths(source: str) -> list[int]:
    """Return the lines of each function without its docstring."""
    functions = [node for node in nodes(source) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [_length(function) for function in functions]


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    doc = first.end_lineno - first.lineno + 1 if is_doc else 0
    return function.end_lineno - function.lineno + 1 - doc


def too_long(lengths: list[int]) -> bool:
    return sum(length < 30 for length in lengths) < 0.9 * len(lengths)


def crowded(folder: Path) -> bool:
    return len(list(folder.glob("*.py"))) > MOST_FILES


def named_as_its_folder(folder: Path) -> bool:
    return (folder / f"{folder.name}.py").exists()


def too_large(path: Path) -> bool:
    return path.stat().st_size > MOST_BYTES


def findings(checker) -> list[str]:
    return [finding for path in SOURCES for finding in checker(module_of(path), path.read_text(encoding="utf-8"))]


def test_no_assert_statement_stands_in_the_packages():
    assert findings(assert_statements) == []


def test_nothing_executes_text_or_uses_a_heuristic_of_sympy():
    assert findings(forbidden_calls) == []


def test_nine_functions_in_ten_are_under_thirty_lines():
    assert not too_long([length for path in SOURCES for length in function_lengths(path.read_text(encoding="utf-8"))])


def test_a_folder_holds_at_most_sixteen_files_and_none_of_its_own_name():
    assert [folder for folder in FOLDERS if crowded(folder) or named_as_its_folder(folder)] == []


def test_no_file_is_larger_than_24_kilobytes():
    assert [path for path in SOURCES if too_large(path)] == []


@pytest.mark.parametrize("module", ["derive", "derive.cli.main", "gradproof", "numeric", "numeric.cli.main"])
@pytest.mark.parametrize("library", ["torch", "sympy"])
def test_importing_imports_neither_torch_nor_sympy(module, library):
    code = f"import sys, {module}; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_import_of_torch_would_be_seen():
    code = "import sys; sys.modules['torch'] = sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 1


CANARIES = [
    (assert_statements, "derive.kernel.theorem", "def f(x):\n    assert x"),
    (forbidden_calls, "derive.kernel.algebra", "import sympy\ny = sympy.simplify(x)"),
    (forbidden_calls, "derive.kernel.algebra", "y = x.subs(a, b)"),
    (forbidden_calls, "derive.kernel.algebra", "y = x.xreplace({})"),
    (forbidden_calls, "derive.kernel.algebra", "y = x.doit()"),
    (forbidden_calls, "derive.verdicts.prover", "eval('1')"),
    (forbidden_calls, "derive.verdicts.prover", "exec('1')"),
    (forbidden_calls, "derive.verdicts.prover", "sympy.parsing.parse_expr('1')"),
    (forbidden_calls, "numeric.codegen.walk", "exec('1')"),
    (forbidden_calls, "numeric.codegen.walk", "builtins.eval(text)"),
]


@pytest.mark.parametrize(("checker", "module", "snippet"), CANARIES)
def test_a_checker_flags_its_canary(checker, module, snippet):
    assert checker(module, snippet)


def test_a_checker_passes_what_is_allowed():
    assert not forbidden_calls("numeric.codegen.running.module", "exec(code, names)")
    assert not forbidden_calls("numeric.auditing.audit", "model.eval()")
    assert not forbidden_calls("derive.numbers.ring", "p.subs({})")


def test_long_functions_are_counted_without_their_docstring():
    documented = "def f():\n    '''" + "\n" * 40 + "'''\n    return 1\n"
    assert function_lengths(documented) == [2]
    assert too_long([10] * 8 + [40] * 2)


def test_a_crowded_folder_a_file_named_as_its_folder_and_a_large_file_are_seen(tmp_path):
    folder = tmp_path / "kernel"
    folder.mkdir()
    for number in range(MOST_FILES):
        (folder / f"file_{number}.py").touch()
    assert not crowded(folder)
    assert not named_as_its_folder(folder)
    (folder / "kernel.py").write_text("#" * (MOST_BYTES + 1))
    assert crowded(folder)
    assert named_as_its_folder(folder)
    assert too_large(folder / "kernel.py")
