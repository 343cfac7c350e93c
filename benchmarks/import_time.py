"""How long `import derive` takes beyond `import sympy`, both measured in one run; the limit is 0.3 s."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

LIMIT = 0.3
ROUNDS = 7


def seconds(code: str) -> float:
    """The time that a fresh interpreter takes for a piece of code."""
    started = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - started


def main() -> int:
    pairs = [(seconds("import sympy"), seconds("import derive, derive.cli.main")) for _ in range(ROUNDS)]
    sympy, ours = (median(times) for times in zip(*pairs, strict=True))
    print(f"import sympy: {sympy:.3f} s; import derive, derive.cli.main: {ours:.3f} s; limit: sympy + {LIMIT} s")
    return 0 if ours <= sympy + LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
