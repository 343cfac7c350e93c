"""The figures of a report as SVG, by matplotlib where it is installed."""

from __future__ import annotations

import math
from dataclasses import replace
from textwrap import fill
from typing import Any

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from numeric.report import drawing
from numeric.report.drawing import COLOURS, FONT, PAPER, SOFT
from numeric.report.figures import Figure, Series, variance_beside

_STYLES: dict[str, dict[str, Any]] = {
    "dashed": {"linewidth": 1.0, "color": SOFT, "marker": ""},
    "dot": {"marker": "o", "linestyle": "none", "color": COLOURS[0], "markersize": 4.5},
    "cross": {"marker": "X", "linestyle": "none", "color": COLOURS[1], "markersize": 8},
    "bar": {"marker": "|", "linestyle": "none", "color": SOFT, "markersize": 12},
}
_LEAST = 1e-18
_LINE, _ROW, _WIDEST = 0.19, 0.2, 54
"""The height of a line of the legend, and of a row that has a name, in inches; the length of that line, in letters."""


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def draw(figure: Figure) -> str:
    """Return a figure as SVG: the same figure gives the same text, without a date."""
    figure = replace(figure, series=tuple(map(_plain, figure.series)))
    with drawing.settled():
        rows = [position for position in figure.positions if isinstance(position, str)]
        shown = _merged(figure.series)
        lines = sum(1 + series.label.count("\n") for series in shown)
        canvas, axes = drawing.figure((1.2 + _ROW * len(rows) if rows else 3.6) + _LINE * lines)
        if rows:
            axes.plot([_LEAST] * len(rows), rows, color=PAPER, alpha=0)  # every row once, in order
        for number, series in enumerate(shown):
            _plot(axes, series, number, sideways=bool(rows))
        _label(axes, figure, sideways=bool(rows))
        drawing.legend(canvas, axes)
        return drawing.svg(canvas)


def _plain(series: Series) -> Series:
    """Return a series whose names are no formulas of TeX: an estimator may be called `$`."""
    values = {_escaped(position): value for position, value in series.values.items()}
    return replace(series, label=str(_escaped(series.label)), values=values)


def _escaped(name: float | str) -> float | str:
    return name.replace("$", r"\$") if isinstance(name, str) else name


def variance_plot(estimator: Estimator) -> tuple[Figure, str]:
    """Return the variance of an estimator over the probability of a coin, beside that of the score function, and it as SVG.

    Raises
        UsageError, if matplotlib is not installed, or the estimator is of another problem.
    """
    if not available():
        message = "a plot needs matplotlib, which is not installed; install gradproof[docs]."
        raise UsageError(message)
    figure = variance_beside(estimator)
    if figure is None:
        message = f"{estimator.name} has no plot: only estimators of d_theta E_b[f(b)] for a finite b are drawn."
        raise UsageError(message)
    return figure, draw(figure)


def _merged(series: tuple[Series, ...]) -> list[Series]:
    """Return the series, curves that are the same as one with all their names."""
    curves = {one.label: one.values for one in series if one.style == "line"}
    others = [one for one in series if one.style != "line"]
    return [*(Series(fill(label, _WIDEST), values) for label, values in drawing.together(curves)), *others]


def _plot(axes: Any, series: Series, number: int, *, sideways: bool) -> None:
    positions, values = list(series.values), list(series.values.values())
    curve = drawing.line(number, len(positions)) if series.style in ("line", "dashed") else {}
    look = curve | _STYLES.get(series.style, {})
    if sideways:
        axes.plot([max(value, _LEAST) for value in values], positions, label=series.label, **look)
    else:
        axes.plot(positions, [value if value > 0 else math.nan for value in values], label=series.label, **look)


def _label(axes: Any, figure: Figure, *, sideways: bool) -> None:
    if sideways:
        axes.set_xscale("log")
        axes.set_xlabel(figure.value)
        axes.tick_params(axis="y", labelsize=FONT - 1)
        rows = len(axes.get_yticks())
        axes.set_ylim(rows - 0.4, -0.6)
    else:
        axes.set_yscale("log")
        axes.set_xscale("log" if figure.log_position else "linear")
        axes.set_xlabel(figure.position)
        axes.set_ylabel(figure.value)
