"""Generated estimators against the same by hand, the least that must be done, and general libraries, in one run.

    python benchmarks/estimators.py [--quick] [--device cuda] [--write]

Contenders, each for one estimate: `hand` as in `by_hand.py`; `floor`, one draw of the noise and one evaluation of f for each
sample that is needed; `raw`, `draw` and `estimate` of the generated module called directly; `ours`, the compiled callable as
a user calls it; `rowwise`, that with rowwise=True; `compiled`, that of `compiled.compile()`, where there is a C++ compiler;
Pyro and Storchastic, where they are installed (`make bench-peers`). In each round everything runs once, one after the
other, so that what the machine does besides hits all of them; a ratio is the median over the rounds, with its quartiles. On a
CPU the processor time of one thread is measured, on a GPU the time until the device is done. Before the first, one large block
of memory is freed, see `settle`. --write puts the table into benchmarks/estimators.md.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from by_hand import BY_HAND, K, Params, Run, f, floor, keywords
from peers import pyro_runs, storchastic_runs

import numeric
from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from numeric.codegen.running.module import module_of

HERE = Path(__file__).parent
SIZES = [(1, 1), (1, 1000), (200, 1000), (200, 100_000)]
LARGE = {"score-function", "leave-one-out", "rebar"}  # what is run on the largest batch
SECONDS, ROUNDS, LARGEST = 0.01, 21, 10**6
RATIOS = [("ours", "hand"), ("raw", "hand"), ("ours", "floor"), ("rowwise", "floor"), ("compiled", "ours")]
GOALS: dict[tuple[str, str], Callable[[str, int], float | None]] = {
    ("ours", "hand"): lambda name, draws: 1.05 if draws >= 200_000 else 1.5 if draws == 1 else None,
    ("ours", "floor"): lambda name, draws: (
        {"score-function": 1.2, "leave-one-out": 1.2, "rebar": 3.0}.get(name) if draws == 200_000 else None
    ),
    ("rowwise", "floor"): lambda name, draws: {"score-function": 0.55, "rebar": 2.4}.get(name) if draws > 10**6 else None,
}


def contenders(name: str, n: int, batch: int, device: str) -> dict[str, Run]:
    """Return what is run, by its name."""
    logits = torch.linspace(-1, 1, n * batch, device=device).reshape(batch, n)
    estimator = leave_one_out(K) if name == "leave-one-out" else catalogue[name]
    ours, module = numeric.compile(estimator), module_of(numeric.emit(estimator), name)
    params: Params = {"loc": logits, "log_scale": logits / 4} if ours.family == "normal" else logits
    g, given = torch.Generator(device).manual_seed(0), keywords(name, params)
    runs: dict[str, Run] = {
        "hand": lambda: BY_HAND[name](params, g),
        "floor": floor(name, params, g),
        "raw": lambda: module.estimate(params, module.draw(params, g), f, **given),
        "ours": lambda: ours(params, f, generator=g, **given),
        "rowwise": lambda: ours(params, f, generator=g, rowwise=True, **given),
    }
    if n * batch >= 200_000 and (device != "cpu" or shutil.which("g++")):
        itself = ours.compile()
        runs["compiled"] = lambda: itself(params, f, generator=g, **given)
    if name == "rebar" and n * batch > LARGEST:  # Storchastic keeps the graph of one call in the next: more than 24 GB
        return runs
    return runs | pyro_runs(name, params) | storchastic_runs(name, params)


def settle() -> None:
    """Free one block of almost 32 MiB, as any program with large tensors has.

    Until then glibc gives the top of its heap back after each call, and the page faults of the next one are up to half of the
    time of whoever uses more than a few tensors at once, by hand or not; how many they are depends on what ran before.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def seconds(run: Run, repeats: int, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for _ in range(repeats):
        run()
    if device != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def measured(runs: dict[str, Run], rounds: int, device: str) -> dict[str, list[float]]:
    """Return the times of each, one for each round; what takes ten milliseconds or more runs once in a round."""
    repeats = {}
    for name, run in runs.items():
        seconds(run, 1, device)
        repeats[name] = max(1, int(SECONDS / max(seconds(run, 2, device), 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(seconds(run, repeats[name], device))
    return found


def ratio(times: dict[str, list[float]], above: str, below: str) -> tuple[float, float, float] | None:
    """Return median and quartiles over the rounds."""
    if above not in times or below not in times:
        return None
    low, middle, high = statistics.quantiles([a / b for a, b in zip(times[above], times[below], strict=True)], n=4)
    return middle, low, high


def cell(times: dict[str, list[float]], above: str, below: str, goal: float | None = None) -> str:
    found = ratio(times, above, below)
    if found is None:
        return ""
    text = f"{found[0]:.2f}"
    text = f"**{text}**" if goal is not None and found[0] > goal else text
    return f"{text} ({found[1]:.2f}-{found[2]:.2f})"


def row(name: str, n: int, batch: int, rounds: int, device: str) -> str:
    times = measured(contenders(name, n, batch, device), rounds, device)
    cells = [cell(times, *pair, GOALS[pair](name, n * batch) if pair in GOALS else None) for pair in RATIOS]
    peers = [each for each in times if each.startswith(("Pyro", "Storchastic"))]
    others = ", ".join(f"{each} {cell(times, each, 'ours')}" for each in peers)
    microseconds = statistics.median(times["ours"]) * 1e6
    return "| " + " | ".join([f"{name}", f"{n} x {batch:,}", *cells, others, f"{microseconds:,.0f}"]) + " |"


def machine(device: str) -> str:
    """What it ran on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), platform.machine())
    what = model if device == "cpu" else torch.cuda.get_device_name()
    return f"{what}, one thread, Python {platform.python_version()}, torch {torch.__version__}"


def table(sizes: list[tuple[int, int]], rounds: int, device: str) -> Iterator[str]:
    """Yield the lines of the table."""
    heads = ["estimator", "n x batch", *(f"{a} / {b}" for a, b in RATIOS), "peers / ours", "ours, us"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---|---|" + "--:|" * len(RATIOS) + "---|--:|"
    for name in BY_HAND:
        for n, batch in sizes:
            if batch <= 1000 or name in LARGE:
                yield row(name, n, batch, rounds if batch <= 1000 else max(3, rounds // 3), device)


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few rounds, and no large batch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    options: Any = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    settle()
    lines = [f"Measured on {machine(options.device)}; medians and quartiles, in bold where a goal is missed.", ""]
    print(*lines, sep="\n")
    for line in table(SIZES[:3] if options.quick else SIZES, 5 if options.quick else ROUNDS, options.device):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        (HERE / "estimators.md").write_text("\n".join(["# Generated estimators", "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
