"""The figures of a report as SVG, by matplotlib where it is installed."""

from __future__ import annotations

import io
import math
from typing import Any

from numeric.report.figures import Figure, Series

_STYLES: dict[str, dict[str, Any]] = {
    "line": {"marker": ".", "linewidth": 1.4},
    "dashed": {"linestyle": "--", "linewidth": 1.0},
    "dot": {"marker": "o", "linestyle": "none", "color": "#006ba4"},
    "cross": {"marker": "X", "linestyle": "none", "color": "#c85200", "markersize": 8},
    "bar": {"marker": "|", "linestyle": "none", "color": "#333333", "markersize": 12},
}
_MARKS = ".ovs^DPX<>*h"
_SETTINGS = {"svg.hashsalt": "gradproof", "svg.fonttype": "path", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}
_LEAST = 1e-18


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def draw(figure: Figure) -> str:
    """Return a figure as SVG: the same figure gives the same text, without a date."""
    import matplotlib as mpl
    from matplotlib import style
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(), style.context(["default", "tableau-colorblind10", _SETTINGS]):
        rows = [position for position in figure.positions if isinstance(position, str)]
        canvas = Canvas(figsize=(8, 1.5 + 0.24 * len(rows) if rows else 4.6), layout="constrained")
        axes = canvas.subplots()
        if rows:
            axes.plot([_LEAST] * len(rows), rows, alpha=0)  # every row once, in order
        for number, series in enumerate(figure.series):
            _plot(axes, series, number, sideways=bool(rows))
        _label(axes, figure, sideways=bool(rows))
        canvas.legend(fontsize=8, loc="outside lower center", ncols=3 if rows else 2)
        written = io.StringIO()
        canvas.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def _plot(axes: Any, series: Series, number: int, *, sideways: bool) -> None:
    look = dict(_STYLES[series.style])
    if series.style == "line":
        look["marker"] = _MARKS[number % len(_MARKS)]
        look["markersize"] = 4
    positions = list(series.values)
    if sideways:
        axes.plot([max(value, _LEAST) for value in series.values.values()], positions, label=series.label, **look)
    else:
        values = [value if value > 0 else math.nan for value in series.values.values()]
        axes.plot(positions, values, label=series.label, **look)


def _label(axes: Any, figure: Figure, *, sideways: bool) -> None:
    if sideways:
        axes.set_xscale("log")
        axes.set_xlabel(figure.value)
        rows = len(axes.get_yticks())
        axes.set_ylim(rows - 0.4, -0.6)
    else:
        axes.set_yscale("log")
        axes.set_xscale("log" if figure.log_position else "linear")
        axes.set_xlabel(figure.position)
        axes.set_ylabel(figure.value)
