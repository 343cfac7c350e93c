"""Imports point to strictly lower layers, and what must not stand in the sources does not: each checker flags its canary."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = {
    0: "derive.errors",
    1: (
        "derive.term derive.ring derive.unknowns derive.audit derive.audit.statement derive.formula "
        "derive.strict_json numeric.capital numeric.tape numeric.audit_report numeric.families "
        "numeric.callable_module numeric.quadrature_rules"
    ),
    2: (
        "derive.scope derive.notation derive.problem derive.jets derive.occurrences derive.expansion "
        "derive.enclosures numeric.expressions numeric.logarithms numeric.random_ops numeric.generators "
        "numeric.moments"
    ),
    3: (
        "derive.algebra derive.estimator derive.models derive.bernoulli derive.bounds derive.two_samples "
        "derive.oracle_numbers numeric.taint numeric.restoring numeric.inputs"
    ),
    4: (
        "derive.premises derive.integrals derive.reading derive.logistic derive.strategies "
        "numeric.inventory numeric.interception numeric.noise_sources numeric.noise_roles"
    ),
    5: (
        "derive.kernel derive.densities derive.relations derive.points numeric.events numeric.exact_mean "
        "numeric.hypothesis_entry"
    ),
    6: (
        "derive.conversions derive.recheck derive.printing derive.evaluate derive.witness numeric.values "
        "numeric.audit_runs numeric.batched"
    ),
    7: "derive.calc derive.series derive.views derive.text derive.latex numeric.walk numeric.batched_mean",
    8: "derive.exact derive.rules derive.markdown derive.html derive.sympy_door numeric.backward numeric.audit_mean",
    9: "derive.tactic derive.verdict numeric.torchgen numeric.exact_gradient numeric.quadrature",
    10: "derive.catalogue numeric.torchrun numeric.noise_nodes numeric.exact_target numeric.sequential_test",
    11: "derive.prover derive.variance_report derive.oracle numeric.exact_variance numeric.audit numeric.exact_draws",
    12: "numeric.cases numeric.torch_oracle derive.audit.checks",
    13: "derive.audit.cases derive.audit.pages numeric.crosscheck",
    14: " ".join(f"derive.audit.note_00{i}" for i in range(5)) + " numeric.report_collect numeric.report_figures",
    15: "derive.cli numeric.report_pages numeric.report_plots",
    16: "derive.oracle_cli numeric.audit_cli numeric.report",
    17: "numeric.pytest_plugin numeric.report_cli",
    18: "numeric.cli",
}
LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules.split()}
FACES = {"derive": 13, "numeric": 16}
"""The packages themselves: what `import derive` offers is a face for those above."""

_EVALUATOR = "ring unknowns jets models occurrences expansion reading integrals densities relations evaluate witness exact "
_EVALUATOR += "series views enclosures bernoulli bounds logistic points two_samples"
EVALUATOR = {f"derive.{name}" for name in _EVALUATOR.split()}
MAY_EVALUATE_WITH = {"derive.errors", "derive.term", "derive.estimator"} | EVALUATOR
_TORCH = (
    "exact_draws inputs exact_variance "
    "torch_oracle torchrun capital exact_gradient noise_nodes exact_target cases crosscheck sequential_test audit "
    "audit_report random_ops generators moments taint restoring interception exact_mean audit_runs "
    "batched batched_mean quadrature_rules noise_sources audit_mean quadrature "
).split()
MAY_IMPORT_TORCH = {f"numeric.{name}" for name in _TORCH}
NEVER_CALLED_IN_DERIVE = {"eval", "exec", "sympify", "parse_expr", "simplify", "subs", "xreplace", "doit"}

POLYNOMIALS = {("derive.ring", "subs")}
"""A polynomial of FLINT binds no variable, so putting values into it captures none."""

SOURCES = sorted([*ROOT.glob("derive/**/*.py"), *ROOT.glob("numeric/**/*.py")])


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str) -> Iterator[str]:
    """Yield the modules that a source imports when it runs, in functions too; not those for annotations only."""
    stack: list[ast.AST] = [ast.parse(source)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node)
        else:
            stack += ast.iter_child_nodes(node)


def _imported_from(node: ast.ImportFrom) -> list[str]:
    """`from derive import kernel` imports derive.kernel; `from derive.term import Term` imports derive.term."""
    if node.module not in FACES:
        return [node.module or "."]
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    return [module if module in LAYER else str(node.module) for module in inner]


def layer_of(module: str) -> int | None:
    if module in FACES:
        return FACES[module]
    return next((LAYER[name] for name in (module, module.rpartition(".")[0]) if name in LAYER), None)


def upward_imports(module: str, source: str) -> list[str]:
    layer, ours = layer_of(module), [name for name in imports(source) if name.split(".")[0] in FACES]
    same_catalogue = "derive.catalogue"
    return [
        f"{module} imports {name}"
        for name in ours
        if not (module.startswith(same_catalogue) and name.startswith(same_catalogue))
        and (layer is None or layer_of(name) is None or layer_of(name) >= layer)
    ]


def foreign_imports(module: str, source: str) -> list[str]:
    found = set(imports(source))
    package = {name.split(".")[0] for name in found}
    wrong = []
    if module.startswith("derive") and "numeric" in package:
        wrong.append(f"{module} imports numeric")
    if "torch" in package and module not in MAY_IMPORT_TORCH:
        wrong.append(f"{module} imports torch")
    if "pickle" in package:
        wrong.append(f"{module} imports pickle")
    if module in EVALUATOR:
        wrong += [f"{module} imports {name}" for name in found if name.startswith("derive") and name not in MAY_EVALUATE_WITH]
    return wrong


def assert_statements(module: str, source: str) -> list[str]:
    return [f"{module}:{node.lineno}" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


def forbidden_calls(module: str, source: str) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [(node, getattr(node.func, "id", getattr(node.func, "attr", ""))) for node in calls]
    return [f"{module}:{node.lineno} calls {name}" for node, name in named if _is_forbidden(module, name)]


def _is_forbidden(module: str, name: str) -> bool:
    return name in NEVER_CALLED_IN_DERIVE and (module, name) not in POLYNOMIALS


def function_lengths(source: str) -> list[int]:
    """Return the lines of each function without its docstring."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [_length(function) for function in functions]


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    doc = first.end_lineno - first.lineno + 1 if is_doc else 0
    return function.end_lineno - function.lineno + 1 - doc


def too_long(lengths: list[int]) -> bool:
    return sum(length < 30 for length in lengths) < 0.9 * len(lengths)


def findings(checker, paths=SOURCES) -> list[str]:
    return [finding for path in paths for finding in checker(module_of(path), path.read_text(encoding="utf-8"))]


def in_derive() -> list[Path]:
    return [path for path in SOURCES if module_of(path).startswith("derive")]


def test_every_file_has_a_layer():
    assert [module_of(path) for path in SOURCES if layer_of(module_of(path)) is None] == []


def test_imports_point_to_strictly_lower_layers():
    assert findings(upward_imports, [path for path in SOURCES if path.name != "__init__.py"]) == []


def test_numeric_torch_and_pickle_stay_where_they_may():
    assert findings(foreign_imports) == []


def test_no_assert_statement_stands_in_the_packages():
    assert findings(assert_statements) == []


def test_nothing_in_derive_executes_text_or_uses_a_heuristic_of_sympy():
    assert findings(forbidden_calls, in_derive()) == []


def test_nine_functions_in_ten_are_under_thirty_lines():
    assert not too_long([length for path in SOURCES for length in function_lengths(path.read_text(encoding="utf-8"))])


@pytest.mark.parametrize("module", ["derive", "derive.cli", "numeric.cli"])
def test_importing_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_import_of_torch_would_be_seen():
    code = "import sys; sys.modules['torch'] = sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 1


CANARIES = [
    (upward_imports, "derive.term", "from derive.kernel import Theorem"),
    (upward_imports, "derive.term", "def f():\n    from derive import term"),
    (upward_imports, "derive.kernel", "import derive"),
    (upward_imports, "derive.nowhere", "from derive.term import Term"),
    (foreign_imports, "derive.prove", "import numeric.torchgen"),
    (foreign_imports, "derive.prove", "from torch import nn"),
    (foreign_imports, "numeric.torchgen", "def f():\n    import torch"),
    (foreign_imports, "derive.exact", "from derive.kernel import Theorem"),
    (foreign_imports, "derive.exact", "from derive import scope"),
    (foreign_imports, "derive.prove", "import pickle"),
    (assert_statements, "derive.kernel", "def f(x):\n    assert x"),
    (forbidden_calls, "derive.algebra", "import sympy\ny = sympy.simplify(x)"),
    (forbidden_calls, "derive.algebra", "y = x.subs(a, b)"),
    (forbidden_calls, "derive.algebra", "y = x.xreplace({})"),
    (forbidden_calls, "derive.algebra", "y = x.doit()"),
    (forbidden_calls, "derive.load", "eval('1')"),
    (forbidden_calls, "derive.load", "exec('1')"),
    (forbidden_calls, "derive.load", "sympy.parsing.parse_expr('1')"),
]


@pytest.mark.parametrize(("checker", "module", "snippet"), CANARIES)
def test_a_checker_flags_its_canary(checker, module, snippet):
    assert checker(module, snippet)


def test_a_checker_passes_what_is_allowed():
    allowed = "from derive.term import Term\nif TYPE_CHECKING:\n    from derive.calc import Line\n"
    assert not upward_imports("derive.scope", allowed)
    assert not foreign_imports("numeric.torchrun", "import torch")


def test_long_functions_are_counted_without_their_docstring():
    documented = "def f():\n    '''" + "\n" * 40 + "'''\n    return 1\n"
    assert function_lengths(documented) == [2]
    assert too_long([10] * 8 + [40] * 2)
