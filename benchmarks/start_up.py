"""What it takes to start: imports beside those of SymPy, and the plugins where nothing of them is used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measuring import Options, Row, Table, figure, fresh, once, processes, ratio

ABOUT = """\
Processor time of fresh interpreters, which alternate. *With / without*: an import of gradproof beside one of SymPy alone,
or a run with a plugin of gradproof that nothing uses, and without it; *cost*: the median difference.
"""
ROUNDS = 15
MOST = 0.020
"""The seconds that a plugin may cost."""
NO_HOOKS = {"HYPOTHESIS_NO_PLUGINS": "1"}
Timed = dict[str, Callable[[], float]]


def started(code: str, **variables: str) -> Callable[[], float]:
    return lambda: fresh(["-c", code], os.environ | variables)


def pytest_run(*options: str) -> Callable[[], float]:
    """One empty test, in a folder of its own."""

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            test = Path(folder) / "test_empty.py"
            test.write_text("def test_it():\n    pass\n", encoding="utf-8")
            return fresh(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options, str(test)])

    return run


CASES: dict[str, tuple[Callable[[], float], Callable[[], float], float | None]] = {
    "`import derive`, beside `import sympy`": (started("import sympy"), started("import derive"), None),
    "`import derive.cli.main`, the command, beside `import sympy`": (
        started("import sympy"), started("import derive.cli.main"), None
    ),
    "`import gradproof.pytest_plugin` after `import pytest`": (
        started("import pytest"), started("import pytest, gradproof.pytest_plugin"), MOST
    ),
    "pytest on one empty test, `-p no:gradproof` without": (pytest_run("-p", "no:gradproof"), pytest_run(), MOST),
    "`import hypothesis`, without its entry points": (
        started("import hypothesis", **NO_HOOKS), started("import hypothesis"), MOST
    ),
}  # fmt: skip


def rows(options: Options) -> Iterator[Row]:
    for name, (without, with_it, most) in CASES.items():
        times = processes({"without": without, "with": with_it}, 3 if options.quick else ROUNDS)
        costs = figure([b - a for a, b in zip(times["without"], times["with"], strict=True)])
        found = {"with / without": ratio(times, "with", "without"), "cost": once(costs.median, most, "s")}
        yield Row({"what": name}, found | {"with": figure(times["with"], unit="s")})


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the table of this file, and its rows as they come."""
    yield Table("Start-up", ABOUT), rows(options)
