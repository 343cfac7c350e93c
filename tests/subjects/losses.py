"""Loss functions of fine-tuning libraries on the testbed: what each is on policy and off, with the library's defaults."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from docs.templates import filled
from numeric import testbed
from numeric.gallery.measure import measured
from numeric.gallery.rows import GALLERY
from numeric.testbed.groups import mean_gradient

ROOT = Path(__file__).parent.parent.parent
TEMPLATE = ROOT / "docs" / "gallery" / "libraries.md.jinja"
PAGE = ROOT / "docs" / "gallery" / "libraries.md"
SEEN = ROOT / "numeric" / "gallery" / "seen.json"
LIBRARIES = ("trl", "verl", "openrlhf")
FLOAT32 = 1e-5
"""Libraries compute in float32 inside."""


@dataclass(frozen=True)
class Entry:
    """A loss function of a library.

    Args
        call    as a user writes it
        loss    a function of the testbed's tensors
        row     the row of the gallery that it is, where it is one
        binary  whether it is run with rewards of 0 and 1
        kl      whether it is a KL term alone
    """

    call: str
    loss: Callable[..., Any]
    row: str = ""
    binary: bool = False
    kl: bool = False
    policies: tuple[str, ...] = ("on", "off")


def entries(library: str) -> list[Entry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(importlib.import_module(f"subjects.losses_{library}").ENTRIES)


def is_its_row(entry: Entry) -> bool:
    """Whether a loss has the mean of the row that it is said to be, at two points and every size of its groups."""
    row = GALLERY[entry.row]
    return all(_same(entry, seed, size) for seed in range(2) for size in row.sizes)


def _same(entry: Entry, seed: int, size: int) -> bool:
    row = GALLERY[entry.row]
    right = measured(row, seed, size).mean
    found = mean_gradient(entry.loss, row.world.samples(row.world.point(seed)), size)
    return float((found.gradient - right.gradient).norm()) < FLOAT32 * max(right.size, float(right.gradient.norm()))


def line(entry: Entry) -> list[str]:
    """The cells of the table."""
    reports = [
        testbed.check(entry.loss, group=2, policy=policy, binary=entry.binary, negligible=FLOAT32) for policy in entry.policies
    ]
    verdicts = [of_divergence(report) if entry.kl else of_reward(report) for report in reports]
    verdicts += ["not run"] * (2 - len(verdicts))
    row = f"[{entry.row}]({GALLERY[entry.row].page}.md#{entry.row})" if entry.row else ""
    return [f"`{entry.call}`", *verdicts, row]


def of_reward(report: testbed.Report) -> str:
    found = report.targets["reward"]
    shown = {
        "unbiased": "unbiased",
        "scaled": f"scaled by {found.factors[0]:.4g}" if found.factors else "",
        "parallel": "parallel",
        "zero": "zero",
        "other target": f"other target: {testbed.TARGETS[report.target].words}" if report.target in testbed.TARGETS else "",
        "biased": f"biased: cosine {found.cosine:.2f}, norm ratio {found.norm_ratio:.2f}",
    }[report.verdict]
    return shown + ("" if report.baseline_free else "; no baseline is free")


def of_divergence(report: testbed.Report) -> str:
    if not report.regularised:
        return "zero"
    if not report.divergence:
        found = report.divergences["kl"]
        return f"none of them: against the KL of the sequence cosine {found.cosine:.2f}, norm ratio {found.norm_ratio:.2f}"
    factor = report.divergences[report.divergence].factors[0]
    times = "" if abs(factor - 1) < 1e-4 else f"{factor:.4g} times "
    return f"{times}{testbed.TARGETS[report.divergence].words}"


def of_library(library: str) -> dict[str, Any]:
    """The rows of the table of a library, and where its losses stand in the gallery, from a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "subjects.losses", library]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(library: str, rows: list[list[str]]) -> str:
    head = f"## {library} {version(library).partition('+')[0]}\n\n| call | on policy | off policy | row |\n|---|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def seen(library: str) -> dict[str, list[str]]:
    """By the row of the gallery: the losses of a library that are it, as of its version."""
    found: dict[str, list[str]] = {}
    for entry in entries(library):
        if entry.row:
            found.setdefault(entry.row, []).append(f"{library} {version(library).partition('+')[0]}: {entry.call}")
    return found


def page() -> tuple[str, str]:
    """The page of the libraries, and by the row of the gallery what libraries call it, as JSON; all measured anew."""
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(LIBRARIES, pool.map(of_library, LIBRARIES), strict=True))
    tables = "\n\n".join(table(library, found[library]["rows"]) for library in LIBRARIES)
    rows = {name: [each for library in LIBRARIES for each in found[library]["seen"].get(name, [])] for name in GALLERY}
    kept = {name: each for name, each in rows.items() if each}
    return filled(TEMPLATE, {"tables": tables}), json.dumps(kept, indent=2) + "\n"


def main(arguments: list[str]) -> None:
    """Write the page, or print the rows of one library."""
    torch.set_num_threads(1)
    if arguments:
        rows = [line(entry) for entry in entries(arguments[0])]
        sys.stdout.write("\n" + json.dumps({"rows": rows, "seen": seen(arguments[0])}) + "\n")
    else:
        text, found = page()
        PAGE.write_text(text, encoding="utf-8")
        SEEN.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
