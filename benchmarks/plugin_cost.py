"""What the plugins cost where nothing of them is used, against the same run without them; the limit is 20 ms each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

LIMIT = 0.020
ROUNDS = 15
WITHOUT_HOOKS = {"HYPOTHESIS_NO_PLUGINS": "1"}
Run = tuple[list[str], dict[str, str]]


def seconds(arguments: list[str], variables: dict[str, str]) -> float:
    """The processor time that a fresh interpreter takes: unlike that on the wall, it does not depend on who else runs."""
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=os.environ | variables)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def difference(without: Run, with_it: Run) -> tuple[float, float, float]:
    """The medians of both, and that of their differences: runs alternate, so that both see the same load."""
    seconds(*without), seconds(*with_it)
    pairs = [(seconds(*without), seconds(*with_it)) for _ in range(ROUNDS)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(b - a for a, b in pairs)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test_empty.py"
        test.write_text("def test_it():\n    pass\n", encoding="utf-8")
        pytest_run = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", str(test)]
        rows: dict[str, tuple[Run, Run]] = {
            "import of the pytest plugin": (
                (["-c", "import pytest"], {}), (["-c", "import pytest, gradproof.pytest_plugin"], {})
            ),
            "a run of pytest": (([*pytest_run, "-p", "no:gradproof"], {}), (pytest_run, {})),
            "import hypothesis": (
                (["-c", "import hypothesis"], WITHOUT_HOOKS), (["-c", "import hypothesis"], {})
            ),
        }  # fmt: skip
        costs = []
        for name, runs in rows.items():
            without, with_it, cost = difference(*runs)
            costs.append(cost)
            times = f"{without * 1e3:.0f} ms without, {with_it * 1e3:.0f} ms with, {cost * 1e3:+.1f} ms"
            print(f"{name}: {times}; limit {LIMIT * 1e3:.0f} ms")
    return 0 if max(costs) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
