"""Take away any one guard of the audit, and some test of the audit fails: nothing is refused for show.

A guard is an `if` that raises, or a call of a function named `require_...`. The modules are imported with a switch at each
guard. One run of the tests finds which of them trip which guard; then each guard is switched off in turn, and its tests are run
again.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import resource
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("auditing", "draws", "means", "state")
PATHS = {path.stem: path for folder in FOLDERS for path in sorted((ROOT / "numeric" / folder).glob("[a-z]*.py"))}
MODULES = {f"numeric.{path.parent.name}.{path.stem}": path for path in PATHS.values()}
TESTS = [f"tests/{path.name}" for path in sorted((ROOT / "tests").glob("test_audit_*.py")) if path.stem != "test_audit_mutants"]
SECONDS, BYTES = 60, 2**35
OTHERWISE: dict[str, str] = {}
"""Guards that no test of the audit can trip, and why."""


class Switches(ast.NodeTransformer):
    """Put a switch at each guard of a module; `keys` names them."""

    def __init__(self, module: str) -> None:
        self.keys: list[str] = []
        self._where = [module]

    def visit_FunctionDef(self, node):
        self._where.append(node.name)
        self.generic_visit(node)
        self._where.pop()
        return node

    visit_ClassDef = visit_FunctionDef

    def visit_If(self, node):
        self.generic_visit(node)
        if any(isinstance(one, ast.Raise) for one in node.body):
            node.test = self._switched("trips", node.test, node.test)
        return node

    def visit_Expr(self, node):
        call = node.value
        name = ast.unparse(call.func).rpartition(".")[2] if isinstance(call, ast.Call) else ""
        if name.lstrip("_").startswith("require_"):
            nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
            node.value = self._switched("calls", call, ast.Lambda(nothing, call))
        return node

    def _switched(self, how, named, what):
        self.keys.append(f"{'.'.join(self._where)}: {ast.unparse(named)}")
        switches = ast.Call(ast.Name("__import__", ast.Load()), [ast.Constant("audit_switches")], [])
        return ast.Call(ast.Attribute(switches, how, ast.Load()), [ast.Constant(self.keys[-1]), what], [])


def switched(module: str, source: str) -> tuple[ast.Module, list[str]]:
    tree, switches = ast.parse(source), Switches(module)
    return ast.fix_missing_locations(switches.visit(tree)), switches.keys


def guards() -> list[str]:
    return [key for module, path in PATHS.items() for key in switched(module, path.read_text())[1]]


class Switchboard:
    """What the switches call: notes the tests that trip a guard, and lets the guard that is off pass everything."""

    def __init__(self) -> None:
        self.off, self.test = "", ""
        self.tripped: dict[str, list[str]] = defaultdict(list)

    def trips(self, key, value):
        if value and not self.off:
            self.tripped[key].append(self.test)
        return value and key != self.off

    def calls(self, key, call):
        if key == self.off:
            return
        try:
            call()
        except Exception:
            if not self.off:
                self.tripped[key].append(self.test)
            raise

    def pytest_runtest_setup(self, item):
        self.test = item.nodeid
        signal.alarm(SECONDS)

    def pytest_runtest_teardown(self):
        signal.alarm(0)


class Loader(importlib.machinery.SourceFileLoader):
    """Compile a module of the audit with its switches."""

    def get_code(self, fullname):
        return compile(switched(fullname.rpartition(".")[2], Path(self.path).read_text())[0], self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    """Find the modules of the audit for the loader."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in MODULES:
            return None
        where = str(MODULES[fullname])
        return importlib.machinery.ModuleSpec(fullname, Loader(fullname, where), origin=where)


def too_long(*_):
    message = "a test ran for too long"
    raise TimeoutError(message)


def main() -> None:
    """Print for each guard the tests that trip it, and whether they fail without it."""
    board = Switchboard()
    sys.modules["audit_switches"] = board
    sys.path.insert(0, str(ROOT))
    sys.meta_path.insert(0, Finder())
    for module in MODULES:
        importlib.import_module(module)  # before pytest, which would load what belongs to a plugin itself
    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    quiet = "-qq --no-header --no-summary --tb=no --assert=plain -p no:cacheprovider".split()
    quiet += ["-W", "ignore::pytest.PytestConfigWarning"]
    unmutated = pytest.main([*TESTS, "-m", "not slow and not exhaustive", *quiet], plugins=[board])
    found = {"": {"tests": [], "killed": unmutated == 1}}
    for key in guards():
        tests = list(dict.fromkeys(test for test in board.tripped.get(key, ()) if test))
        board.off = key
        killed = bool(tests) and pytest.main([*tests, "-x", *quiet], plugins=[board]) == 1
        print(key, killed, file=sys.stderr, flush=True)  # noqa: T201
        found[key] = {"tests": tests, "killed": killed}
    print("\n" + json.dumps(found))  # noqa: T201


def test_a_guard_is_found_and_can_be_switched_off():
    source = "def f(x):\n    if x:\n        raise ValueError\n    require_it(x)\n"
    tree, keys = switched("m", source)
    assert keys == ["m.f: x", "m.f: require_it(x)"]
    sys.modules["audit_switches"] = board = Switchboard()
    try:
        scope = {"require_it": int}
        exec(compile(tree, "m", "exec"), scope)  # noqa: S102
        with pytest.raises(ValueError, match=r"^$"):
            scope["f"](1)
        board.off = keys[0]
        scope["f"](1)
        with pytest.raises(ValueError, match="invalid literal"):
            scope["f"]("not a number")
        board.off = keys[1]
        scope["f"]("")
    finally:
        del sys.modules["audit_switches"]


def test_guards_have_names_of_their_own():
    assert len(guards()) == len(set(guards())) > 60
    assert set(OTHERWISE) <= set(guards())


@pytest.mark.exhaustive
def test_every_guard_is_needed_by_a_test():
    command = [sys.executable, __file__]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3600)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert not found.pop("")["killed"], "the tests fail without a mutation"
    assert [key for key, each in found.items() if not each["killed"]] == list(OTHERWISE)


if __name__ == "__main__":
    main()
