"""Generated estimators against the same by hand, the least that must be done, general libraries, and what they were before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import torch

import numeric
from benchmarks.before import Before, packages_of
from benchmarks.by_hand import BY_HAND, K, Run, f, floor, keywords, params_of
from benchmarks.measuring import Figure, Options, Row, Table, Times, figure, interleaved, ratio, timer
from benchmarks.peers import pyro_runs, storchastic_runs
from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from numeric.codegen.running.module import module_of

ABOUT = """\
One estimate each. *Hand*: as in `by_hand.py`, scores in closed form, the rest by autograd. *Floor*: one draw of the noise
and one evaluation of f for each sample that is needed. *Raw*: `draw` and `estimate` of the generated module, called
directly. *Ours*: the compiled callable as a user calls it; *rowwise*: with `rowwise=True`; *compiled*: that of
`compiled.compile()`. Pyro and Storchastic: as their users write it. *Before*: the compiled callable of an earlier commit.
"""
SIZES = ((1, 1), (1, 1_000), (200, 1_000), (200, 100_000))
LARGE = ("score-function", "leave-one-out", "rebar")  # what is run on the largest batch
ROUNDS, LARGEST, FROM = 21, 10**6, 200_000
RATIOS = (("ours", "hand"), ("raw", "hand"), ("ours", "floor"), ("rowwise", "floor"), ("compiled", "ours"))
FLOOR = {"score-function": 1.2, "leave-one-out": 1.2, "rebar": 3.0}
ROWWISE = {"score-function": 0.55, "rebar": 2.4}
PEERS = ("Pyro Trace_ELBO", "Pyro TraceGraph_ELBO", "Storchastic")


def goal(above: str, below: str, name: str, draws: int) -> float | None:
    """Return the most that a ratio should be."""
    match above, below:
        case "ours", "hand":
            return 1.05 if draws >= FROM else 1.5 if draws == 1 else None
        case "ours", "floor":
            return FLOOR.get(name) if draws == FROM else None
        case "rowwise", "floor":
            return ROWWISE.get(name) if draws > LARGEST else None
    return None


def contenders(name: str, n: int, batch: int, device: str) -> dict[str, Run]:
    """Return what is run, by its name."""
    estimator = leave_one_out(K) if name == "leave-one-out" else catalogue[name]
    ours, module = numeric.compile(estimator), module_of(numeric.emit(estimator), name)
    params = params_of(n, batch, device, normal=ours.family == "normal")
    g, given = torch.Generator(device).manual_seed(0), keywords(name, params)
    runs: dict[str, Run] = {
        "hand": lambda: BY_HAND[name](params, g),
        "floor": floor(name, params, g),
        "raw": lambda: module.estimate(params, module.draw(params, g), f, **given),
        "ours": lambda: ours(params, f, generator=g, **given),
        "rowwise": lambda: ours(params, f, generator=g, rowwise=True, **given),
    }
    if n * batch >= FROM and (device != "cpu" or shutil.which("g++")):
        itself = ours.compile()
        runs["compiled"] = lambda: itself(params, f, generator=g, **given)
    if name == "rebar" and n * batch > LARGEST:  # Storchastic keeps the graph of one call in the next: more than 24 GB
        return runs
    return runs | pyro_runs(name, params) | storchastic_runs(name, params)


def figures(times: Times, name: str, n: int, batch: int) -> dict[str, Figure]:
    """Return the ratios of what was run, and the time of ours."""
    found = {
        f"{above} / {below}": ratio(times, above, below, goal(above, below, name, n * batch))
        for above, below in RATIOS
        if above in times
    }
    least = 5.0 if (n, batch) == (1, 1_000) else 1.0
    found |= {f"{peer} / ours": ratio(times, peer, "ours", least, at_least=True) for peer in PEERS if peer in times}
    if "before" in times:
        found["before / ours"] = ratio(times, "before", "ours")
    return found | {"ours": figure(times["ours"], unit="s")}


def row(name: str, n: int, batch: int, options: Options, before: Before | None) -> Row:
    """Measure one estimator at one size."""
    runs = {key: timer(run, options.device) for key, run in contenders(name, n, batch, options.device).items()}
    if before is not None:
        runs["before"] = before.timer(name, n, batch)
    rounds = 5 if options.quick else ROUNDS if n * batch <= LARGEST else ROUNDS // 3
    found = figures(interleaved(runs, rounds), name, n, batch)
    return Row({"estimator": name, "n x batch": f"{n} x {batch:,}"}, found)


def rows(options: Options) -> Iterator[Row]:
    with packages_of(options.before) as before:
        for name in BY_HAND:
            for n, batch in SIZES:
                if n * batch <= LARGEST or (name in LARGE and not options.quick):
                    yield row(name, n, batch, options, before)


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the table of this file, and its rows as they come."""
    yield Table("Generated estimators", ABOUT), rows(options)
