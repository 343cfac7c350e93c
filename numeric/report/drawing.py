"""How our plots look: one SVG for light and dark, narrow as a telephone, and no curve told apart by its colour alone."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTH, FONT = 4.8, 9.5
"""The width of a figure in inches, and the size of its letters in points: 9 pixels high where a telephone shows it 350 wide."""

INK, SOFT, FAINT, PAPER = "#1d2125", "#5b6570", "#c3c9d0", "#ffffff"
COLOURS = ("#173692", "#7d0100", "#4f965d", "#430c3a", "#b08111", "#82758e")
DARK = {
    INK: "#e4e7ea",
    SOFT: "#a2abb5",
    FAINT: "#3b434c",
    PAPER: "#16191d",
    **dict(zip(COLOURS, ("#609ba7", "#f47b4a", "#01ffae", "#ba95ff", "#fcc300", "#c6f3fe"), strict=True)),
}
"""What each colour becomes where the reader wants it dark."""

_PATH, _LONG = re.compile(r' d="[^"]*"'), re.compile(r"(\d\.\d\d)\d+")
_MARGIN = 0.1
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), (0, (9, 2)))
MARKS = "os^DvPX<>*ph"
SETTINGS: Mapping[str, Any] = {
    "svg.hashsalt": "gradproof",
    "svg.fonttype": "path",
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "legend.fontsize": FONT - 0.5,
    "legend.title_fontsize": FONT - 0.5,
    "legend.framealpha": 1,
    "legend.handlelength": 3.6,
    "legend.facecolor": PAPER,
    "legend.edgecolor": FAINT,
    "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT - 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def line(number: int, points: int) -> dict[str, Any]:
    """Return how the curve of a number looks: colour, dash and mark, which come together again after 330 curves.

    On each curve the marks stand elsewhere, and a later one is thinner, so that of two that lie on each other both are seen.

    >>> line(0, 20)["marker"], line(1, 20)["marker"], line(7, 20)["color"] == line(1, 20)["color"]
    ('o', 's', True)
    """
    step = max(points // 6, 1)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": max(2.6 - 0.4 * number, 1.2),
        "marker": MARKS[number % len(MARKS)],
        "markersize": 4.5,
        "markevery": (number * max(step // 3, 1) % step, step),
    }


def figure(height: float, rows: int = 1) -> tuple[Any, Any]:
    """Return a figure of so many inches, and its plots, one below the other."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(WIDTH, height), layout="constrained")
    return canvas, canvas.subplots(rows, 1)


def svg(canvas: Any) -> str:
    """Return a figure as SVG that follows its reader into the dark; the same figure gives the same text, without a date."""
    written = io.StringIO()
    canvas.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return themed(_PATH.sub(lambda path: _LONG.sub(r"\1", path[0]), written.getvalue()))


def legend(canvas: Any, axes: Any, title: str | None = None) -> None:
    """Write below a figure what the curves of one of its plots are, in as many columns as fit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    handles, labels = axes.get_legend_handles_labels()
    renderer = FigureCanvasAgg(canvas).get_renderer()  # type: ignore[no-untyped-call]
    for columns in (3, 2, 1):
        found = canvas.legend(handles, labels, title=title, loc="outside lower left", ncols=columns)
        if columns == 1 or found.get_window_extent(renderer).width <= canvas.bbox.width - _MARGIN * canvas.dpi:
            return
        found.remove()


def themed(drawn: str) -> str:
    """Return an SVG in our colours with those of the dark beside them: a reader of SVG that knows no CSS shows the light ones.

    >>> "prefers-color-scheme: dark" in themed('<svg><g style="fill: #ffffff"/></svg>')
    True
    """
    pairs = [(what, *pair) for pair in DARK.items() for what in ("fill", "stroke")]
    rules = [f'[style*="{what}: {light}"]{{{what}:{dark}!important}}' for what, light, dark in pairs]
    style = f"<style>@media screen and (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    start = drawn.index(">", drawn.index("<svg")) + 1
    return drawn[:start] + style + drawn[start:]


def write(canvas: Any, path: Path) -> None:
    """Write a figure as SVG."""
    path.write_text(svg(canvas), encoding="utf-8")


def settled() -> Any:
    """Return the context in which figures are drawn, whatever a user has set."""
    from matplotlib import style

    return style.context(["default", dict(SETTINGS)])


def together(curves: Mapping[str, Mapping[Any, float]]) -> list[tuple[str, Mapping[Any, float]]]:
    """Return the curves, those that are the same as one, which has all their names.

    >>> [label for label, _ in together({"a": {0: 1.0}, "b": {0: 2.0}, "c": {0: 1.0 + 1e-15}})]
    ['a = c', 'b']
    """
    found: list[tuple[list[str], Mapping[Any, float]]] = []
    for label, values in curves.items():
        same = next((names for names, known in found if _alike(known, values)), None)
        found.append(([label], values)) if same is None else same.append(label)
    return [(" = ".join(names), values) for names, values in found]


def _alike(left: Mapping[Any, float], right: Mapping[Any, float]) -> bool:
    return left.keys() == right.keys() and all(abs(left[at] - right[at]) <= 1e-9 * abs(left[at]) for at in left)
