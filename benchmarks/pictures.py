"""Pictures of results, for who would rather look than read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from benchmarks.measuring import Row, Table

MARKS = {"ours": "o", "before": "x", "Pyro Trace_ELBO": "^", "Pyro TraceGraph_ELBO": "v", "Storchastic": "s"}
PLAIN = {"svg.hashsalt": "gradproof", "svg.fonttype": "none", "font.size": 8}


def draw(table: Table, path: Path) -> None:
    """Draw the picture of a table; the same results give the same bytes."""
    with mpl.rc_context(PLAIN):
        picture = Picture(layout="constrained")
        _DRAWN[table.title](table.rows, picture.add_subplot())
        picture.savefig(path, metadata={"Date": None})


def _estimators(rows: list[Row], axes: Axes) -> None:
    """All as multiples of the time by hand, one line for each case."""
    axes.figure.set_size_inches(7, 0.16 * len(rows) + 1)
    for name, mark in MARKS.items():
        points = [(_by_hand(row, name), -i) for i, row in enumerate(rows) if name == "ours" or f"{name} / ours" in row.figures]
        if points:
            axes.plot(*zip(*points, strict=True), mark, label=name, markersize=4, markerfacecolor="none")
    goals = [(goal, -i) for i, row in enumerate(rows) if (goal := row.figures["ours / hand"].goal) is not None]
    axes.plot(*zip(*goals, strict=True), "|", color="black", label="goal of ours", markersize=7)
    axes.set_yticks([-i for i in range(len(rows))], [f"{row.case['estimator']}  {row.case['n x batch']}" for row in rows])
    axes.axvline(1, color="grey", linewidth=0.6)
    axes.set_xscale("log")
    axes.set_xlabel("times the same written by hand")
    axes.legend()


def _by_hand(row: Row, name: str) -> float:
    ours = row.figures["ours / hand"].median
    return ours if name == "ours" else ours * row.figures[f"{name} / ours"].median


def _growth(rows: list[Row], axes: Axes) -> None:
    """Seconds by samples, both in logarithms, with the goals."""
    axes.figure.set_size_inches(5, 3.4)
    counted = [row for row in rows if row.case["samples S"]]
    for name, mark in zip(dict.fromkeys(row.case["estimator"] for row in counted), "osD", strict=False):
        own = [(int(row.case["samples S"]), row.figures["seconds"]) for row in counted if row.case["estimator"] == name]
        (line,) = axes.plot([s for s, _ in own], [one.median for _, one in own], f"{mark}-", label=name, markersize=4)
        if goals := [(s, one.goal) for s, one in own if one.goal is not None]:
            axes.plot(*zip(*goals, strict=True), "_", color=line.get_color(), markersize=11, label=f"goal of {name}")
    axes.set(xscale="log", yscale="log", xlabel="samples S", ylabel="seconds of a proof")
    axes.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
    axes.minorticks_off()
    axes.legend()


def _sizes(rows: list[Row], axes: Axes) -> None:
    """Each as a multiple of ours, by the number of outcomes."""
    axes.figure.set_size_inches(5, 3.4)
    names = list(dict.fromkeys(name for row in rows for name in row.figures if name.endswith(" / ours")))
    doubling = [(row.case["outcomes"], 1 / row.figures["ours / doubling"].median) for row in rows]
    axes.plot(*zip(*doubling, strict=True), "o-", label="doubling, with f", markersize=4)
    for name, mark in zip(names, "sD^", strict=False):
        own = [(row.case["outcomes"], row.figures[name].median) for row in rows if name in row.figures]
        axes.plot(*zip(*own, strict=True), f"{mark}-", label=f"{name.removesuffix(' / ours')}, f given", markersize=4)
    axes.axhline(1, color="grey", linewidth=0.6)
    axes.set(yscale="log", xlabel="outcomes", ylabel="times numeric.exact_gradient")
    axes.legend()


_DRAWN: dict[str, Callable[[list[Row], Axes], None]] = {
    "Generated estimators": _estimators,
    "Growth of proofs": _growth,
    "Exact gradients of bits": _sizes,
}
