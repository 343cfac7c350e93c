"""How the time of a proof grows with the number of samples, and what the catalogue takes: processor time of fresh processes."""

from __future__ import annotations

import math
import subprocess
import sys

FAMILIES = {"leave-one-out": (4, 8, 16, 32), "iwae": (2, 3, 6), "vimco": (2, 5, 10)}
_ONE = """
import time
from derive import load, prove
estimator = load({name!r}, {samples})
start = time.process_time()
verdict = prove(estimator).verdict
print(verdict, time.process_time() - start)
"""
_ALL = """
import time
from derive import prove
from derive.catalogue import catalogue
start = time.process_time()
for estimator in catalogue.values():
    prove(estimator)
print(len(catalogue), time.process_time() - start)
"""


def measured(script: str) -> tuple[str, float]:
    """Return what a fresh process prints: a word, and the seconds that it took."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    word, seconds = done.stdout.split()
    return word, float(seconds)


def main() -> None:
    print("| estimator | samples S | verdict | seconds | grows as |\n|---|--:|---|--:|---|")
    for name, numbers in FAMILIES.items():
        before: tuple[int, float] | None = None
        for samples in numbers:
            word, seconds = measured(_ONE.format(name=name, samples=samples))
            power = "" if before is None else f"S^{math.log(seconds / before[1]) / math.log(samples / before[0]):.1f}"
            print(f"| {name} | {samples} | {word} | {seconds:.2f} | {power} |", flush=True)
            before = samples, seconds
    entries, seconds = measured(_ALL)
    print(f"\nprove --all: {seconds:.1f} s for {entries} entries, {seconds / int(entries):.2f} s each")


if __name__ == "__main__":
    main()
