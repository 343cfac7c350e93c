"""Plots are dark in the dark, readable on a telephone, and no two curves are told apart by their colours alone."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from derive.cli.main import run
from docs.site import estimators
from docs.site.look import browser, picture
from numeric.cli.main import app
from numeric.report import drawing, figures, plots
from numeric.report.drawing import COLOURS, DARK, PAPER
from numeric.report.figures import Figure, Series

np = pytest.importorskip("numpy")
matplotlib = pytest.importorskip("matplotlib")

DOCS = Path(__file__).parent.parent / "docs"
STORED = sorted([*DOCS.glob("experiment/*.svg"), *DOCS.glob("variance/*.svg")])
TELEPHONE = 350
SIMULATED = {
    "as they are": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as it is seen, after Machado, Oliveira and Fernandes (2009)."""


def of_names(count):
    rows = {f"an estimator with a long name, number {i}": 10.0**-i for i in range(count)}
    return Figure("rows", "", "", "", "error", (Series("agrees", rows, "dot"), Series("tolerance", rows, "bar")))


def of_curves(count):
    label = "curve {} (c = 0.25, lambda = 0.5, eta = 1, psi = 2)"
    curves = tuple(Series(label.format(i), {1.0: 1.0, 2.0: 3.0 + i}) for i in range(count))
    return Figure("curves", "", "", "x", "y", curves)


ODD = {
    "nothing": Figure("nothing", "", "", "x", "y", (Series("zero", {1.0: 0.0}),)),
    "one row": of_names(1),
    "many rows": of_names(60),
    "many curves": of_curves(30),
    "unicode": Figure("unicode", "", "", "é", "$x$ <&>", (Series("λ & <b> $\\alpha$ _ %", {1.0: 1.0}),)),
}


DRAWN = {
    **{path.name: partial(path.read_text, encoding="utf-8") for path in STORED},
    "temperatures": lambda: plots.draw(figures.temperatures()),
    **{name: partial(plots.draw, figure) for name, figure in ODD.items()},
}


@cache
def drawn(name):
    return DRAWN[name]()


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return high / low


def lab(light):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(light, 0, 1)
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SIMULATED)
@pytest.mark.parametrize("colours", [COLOURS, [DARK[colour] for colour in COLOURS]], ids=["light", "dark"])
def test_the_colours_are_told_apart_by_those_who_see_fewer(seen, colours):
    """A difference of 10 is seen at a glance, one of 2 when looked for."""
    places = [lab(SIMULATED[seen] @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(one - other) for one, other in combinations(places, 2)) > 20


def test_the_colours_stand_out_from_the_paper():
    assert min(contrast(colour, PAPER) for colour in COLOURS) > 3
    assert min(contrast(DARK[colour], DARK[PAPER]) for colour in COLOURS) > 3
    assert min(contrast(*pair) for pair in ((drawing.INK, PAPER), (DARK[drawing.INK], DARK[PAPER]))) > 7


def test_of_sixty_curves_no_two_look_alike():
    looks = [drawing.line(number, 40) for number in range(60)]
    assert len({(look["color"], look["linestyle"], look["marker"]) for look in looks}) == 60
    assert len({(look["linestyle"], look["marker"]) for look in looks[:12]}) == 12, "without colours"
    assert len({look["markevery"] for look in looks[:3]}) == 3, "marks of curves that lie on each other"


def test_curves_that_are_the_same_are_drawn_once_and_almost_the_same_are_not():
    values = {0: 1.0, 1: 2.0}
    curves = {"a": values, "b": {0: 1.0, 1: 2.0 + 1e-6}, "c": dict(values), "d": {0: 1.0}}
    assert [label for label, _ in drawing.together(curves)] == ["a = c", "b", "d"]


def test_there_are_stored_plots():
    assert len(STORED) == 5
    assert all(path.stat().st_size < 200_000 for path in STORED)


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_has_no_colour_that_stays_as_it_is_in_the_dark(name):
    svg = drawn(name)
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{3,8})", svg.partition("</style>")[2]))
    assert used, name
    assert used <= DARK.keys()
    rules = re.search(r"<style>@media screen and \(prefers-color-scheme: dark\)\{(.*?)\}</style>", svg)
    for light in used:
        assert f'[style*="fill: {light}"]{{fill:{DARK[light]}!important}}' in rules[1]
        assert f'[style*="stroke: {light}"]{{stroke:{DARK[light]}!important}}' in rules[1]


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_as_narrow_as_a_telephone_and_well_formed(name):
    root = ElementTree.fromstring(drawn(name))
    width = float(root.attrib["width"].removesuffix("pt")) * 96 / 72
    smallest = (drawing.FONT - 1) * 96 / 72 * min(TELEPHONE / width, 1)
    assert smallest > 8.5, name


@pytest.mark.parametrize("columns", [1, 3])
def test_a_legend_is_no_wider_than_its_figure(columns):
    with drawing.settled():
        canvas, axes = drawing.figure(4)
        for i in range(6):
            axes.plot([1], [1], label="c" * (50 if columns == 1 else 3) + str(i))
        drawing.legend(canvas, axes)
        drawing.svg(canvas)
        (legend,) = canvas.legends
        assert legend._ncols == columns
        assert legend.get_window_extent().x1 <= canvas.bbox.width


def test_settings_of_a_user_change_nothing():
    before = plots.draw(figures.temperatures())
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red", "svg.fonttype": "none"}):
        assert plots.draw(figures.temperatures()) == before


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_a_plot_light_or_dark_as_its_reader_wants(dark, tmp_path):
    (tmp_path / "plot.svg").write_text(plots.draw(figures.temperatures()), encoding="utf-8")
    page = '<!doctype html><meta name="color-scheme" content="light dark"><body style="margin:0"><img width=390 src="plot.svg">'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    picture(tmp_path, "a.html", tmp_path / "a.png", narrow=True, dark=dark)
    pixels = matplotlib.image.imread(tmp_path / "a.png")[:250, :380, :3]
    background = np.median(pixels.reshape(-1, 3), axis=0) * 255
    wanted = DARK[PAPER] if dark else PAPER
    assert np.allclose(background, [int(wanted[i : i + 2], 16) for i in (1, 3, 5)], atol=2)


# The command


def test_the_command_writes_the_plot_of_the_site(tmp_path, capsys):
    target = tmp_path / "plot.svg"
    assert run(app, ["variance", "leave-one-out", "--plot", str(target), "--quiet"]) == 0
    assert capsys.readouterr().out == "leave-one-out: 1/12000000\n"
    drawn = target.read_text(encoding="utf-8")
    assert drawn == estimators.known("leave-one-out").plot
    assert "<path" in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pathwise"], "pathwise has no plot: only estimators of d_theta E_b[f(b)] for a finite b are drawn."),
        (["--all"], "variance takes a NAME, with --at or --plot"),
        (["docs/examples/multi_sample.py"], "say which object of docs/examples/multi_sample.py is meant"),
    ],
)
def test_what_has_no_plot_writes_none(tmp_path, capsys, arguments, message):
    target = tmp_path / "plot.svg"
    assert run(app, ["variance", *arguments, "--plot", str(target)]) == 2
    assert message in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize("name", ["a$b^$_{", "$", r"\frac", r"\$x$"])
def test_a_name_is_no_formula_of_tex(name):
    from derive.catalogue import catalogue

    figure, drawn = plots.variance_plot(replace(catalogue["score-function"], name=name))
    assert name in {series.label for series in figure.series}
    assert "</svg>" in drawn


def test_a_plot_without_matplotlib_names_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    assert run(app, ["variance", "score-function", "--plot", str(tmp_path / "plot.svg")]) == 2
    assert "install gradproof[docs]" in capsys.readouterr().err
