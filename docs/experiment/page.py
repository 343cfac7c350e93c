"""The page of the experiment: tables and plots from stored results, and the exact variances that explain them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from derive.catalogue import catalogue
from derive.exact import comparison as exact
from derive.laws.models import RationalCase
from docs.experiment.controls import Control, Network, Rebar, Sigmoid, objective
from docs.experiment.quadrature import moments
from docs.experiment.training import GOOD, METHODS, relax
from docs.templates import filled
from numeric.report import drawing

HERE = Path(__file__).parent
Results = Mapping[str, Any]
BOUND = 1e-9  # of numerical errors that the page calls small
T = Fraction(501, 1000)
LOSSES = (T**2, (T - 1) ** 2)  # f(0), f(1)


def loss(p: float) -> float:
    return float(LOSSES[0]) + p * float(LOSSES[1] - LOSSES[0])


# Exact variances


def bernoulli_variance(estimator: str, p: Fraction, **symbols: Fraction) -> tuple[Fraction, Fraction]:
    """Mean and variance of an estimator of the catalogue in the logit, by gradproof's evaluator; outcomes 0 and 1."""
    slope = p * (1 - p)
    case = RationalCase.finite((1 - p, p), (-slope, slope), f=LOSSES, symbols=symbols)
    return exact.mean_and_variance_at(catalogue[estimator], case)


def best_constant(p: Fraction) -> Fraction:
    """The baseline that leaves no variance: (1 - p) f(1) + p f(0)."""
    return (1 - p) * LOSSES[1] + p * LOSSES[0]


def control_variance(control: Control, phi: Tensor, logits: Tensor, nodes: int) -> Tensor:
    """The variance of RELAX with a control, for every row of phi."""
    estimate = partial(relax, logits, f=objective, c=partial(control.value, phi))
    return moments(lambda noise: estimate(noise=noise), logits, nodes=nodes).variance[:, 0]


def covariance(control: Control, phi: Tensor, logits: Tensor, nodes: int = 256) -> tuple[Tensor, Tensor]:
    """Cov(g_0, h) by quadrature, (Var(g_0 + h) - Var(g_0 - h)) / 4, and the formula -c(0) p (1 - p) c*."""
    value = partial(control.value, phi)
    plus, minus = (
        moments(partial(_with_control, logits, sign, value), logits, nodes=nodes).variance[:, 0] for sign in (1, -1)
    )
    p = torch.sigmoid(logits[:, 0])
    constant = (1 - p) * float(LOSSES[1]) + p * float(LOSSES[0])
    return (plus - minus) / 4, -value(torch.zeros_like(logits)) * p * (1 - p) * constant


def _with_control(logits: Tensor, sign: int, value: Callable[[Tensor], Tensor], noise: Mapping[str, Tensor]) -> Tensor:
    return relax(logits, noise, objective, lambda z: sign * value(z))


def covariance_error() -> float:
    """The largest deviation between the two, for the controls of this page at five logits."""
    logits = torch.tensor([[-3.0], [0.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    pairs = [covariance(one, one.start(5, generator), logits) for one in (Network(), Rebar(), Sigmoid())]
    return max(float((left - right).abs().max()) for left, right in pairs)


def quadrature_error(nodes: int) -> float:
    """The largest relative error of so many nodes against four times as many, for the first controls at five logits."""
    logits = torch.tensor([[-3.0], [0.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
    errors = []
    for control in (Network(), Rebar(), Sigmoid()):
        phi = control.start(5, torch.Generator().manual_seed(0))
        coarse, fine = (control_variance(control, phi, logits, count) for count in (nodes, 4 * nodes))
        errors.append(float((coarse / fine - 1).abs().max()))
    return max(errors)


@dataclass(frozen=True)
class RebarScan:
    """The variance of REBAR over lambda at one logit: with eta = 1, and with the best eta, which is eta.

    Args
        error  the largest relative change of `best` when the number of nodes is doubled
    """

    temperatures: Tensor
    plain: Tensor
    eta: Tensor
    best: Tensor
    error: float


def scan(logit: float, temperatures: Tensor, nodes: int = 256) -> RebarScan:
    """Var(eta) = Var(0) + C eta + H eta^2, from its values at eta = -1, 0, 1."""

    def at(count: int) -> tuple[Tensor, Tensor, Tensor]:
        logits = torch.full((len(temperatures), 1), logit, dtype=torch.float64)
        low, zero, high = (
            control_variance(Rebar(), torch.stack([torch.full_like(temperatures, eta), temperatures.log()], 1), logits, count)
            for eta in (-1.0, 0.0, 1.0)
        )
        linear, square = (high - low) / 2, (high + low) / 2 - zero
        return high, -linear / (2 * square), zero - linear.square() / (4 * square)

    (_, _, coarse), (plain, eta, best) = at(nodes // 2), at(nodes)
    return RebarScan(temperatures, plain, eta, best, float(((best - coarse) / best).abs().max()))


# Tables


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def outcome_rows(results: Results) -> list[list[str]]:
    rows = []
    for name, done in results["methods"].items():
        low, middle, high = min(done["final_p"]), median(done["final_p"]), max(done["final_p"])
        reached = [step for step in done["reached"] if step is not None]
        half = 2 * len(reached) > len(done["reached"])
        when = median([step if step is not None else float("inf") for step in done["reached"]]) if half else None
        rows.append(
            [
                METHODS[name].label,
                f"{middle:.4f} ({low:.4f} to {high:.4f})",
                f"{loss(middle):.6f}",
                f"{sum(p > GOOD for p in done['final_p'])} of {len(done['final_p'])}",
                f"{sum(p < 1 - GOOD for p in done['final_p'])}",
                "-" if when is None else f"{when:.0f}",
                f"{done['variance'][1][0]:.3g}",
                f"{done['variance'][1][-1]:.3g}",
            ]
        )
    return rows


def start_rows(nodes: int = 384) -> list[list[str]]:
    """The variances at logit 0, where every run starts."""
    p, half = Fraction(1, 2), torch.zeros(1, 1, dtype=torch.float64)
    mean, plain = bernoulli_variance("score-function", p)
    _, quarter = bernoulli_variance("constant-baseline", p, c=Fraction(1, 4))
    _, best = bernoulli_variance("constant-baseline", p, c=best_constant(p))
    rows = [["score function", f"{plain} = {float(plain):.6g}", plain]]
    rows += [["baseline c = 1/4", f"{quarter} = {float(quarter):.3g}", quarter]]
    rows += [[f"baseline c = (1 - p) f(1) + p f(0) = {best_constant(p)}", f"{best}", best]]
    learners = {"REBAR, eta = 1, lambda = 1/2": Rebar(), "control sigma(z / 5)": Sigmoid()}
    for label, control in learners.items():
        phi = control.start(1, torch.Generator())
        value, coarse = (float(control_variance(control, phi, half, n)) for n in (nodes, nodes // 2))
        _require(abs(value - coarse) < BOUND, f"the variance of {label} at logit 0 is known to {BOUND}")
        rows.append([label, f"{value:.6g} (quadrature)", Fraction(value)])
    return [[label, shown, f"{float(value / mean**2):.4g}"] for label, shown, value in rows]


def scan_rows(scans: Mapping[float, RebarScan]) -> list[list[str]]:
    rows = []
    for logit, one in scans.items():
        nothing, at = Rebar(eta=0.0), torch.full((1, 1), logit, dtype=torch.float64)
        plain = float(control_variance(nothing, nothing.start(1, torch.Generator()), at, 256))
        k, j = int(one.best.argmin()), int(one.plain.argmin())
        _require(one.error < BOUND, f"the variance of REBAR at logit {logit} is known to {BOUND}, relative")
        rows.append(
            [
                f"{logit:g}",
                f"{plain:.4g}",
                f"{float(one.plain[j]):.4g} at lambda = {float(one.temperatures[j]):.2f}",
                f"{float(one.best[k]):.4g} at lambda = {float(one.temperatures[k]):.2f}, eta = {float(one.eta[k]):.3f}",
                f"1 - {1 - float(one.best[k]) / plain:.0e}",
            ]
        )
    return rows


def scans(points: int) -> dict[float, RebarScan]:
    temperatures = torch.logspace(-1, 1, points, dtype=torch.float64)
    return {logit: scan(logit, temperatures) for logit in (0.0, 1.0, 3.0)}


# The page


def text(stored: Results, points: int = 61) -> str:
    """Return README.md.

    Raises
        ArithmeticError, if the results do not show what the template says of them.
    """
    adam, sgd = stored["adam"], stored["sgd"]
    check_claims(adam)
    check_gamble(sgd)
    _require(covariance_error() < BOUND, "the covariance is -c(0) p (1 - p) c*")
    settings = adam["settings"]
    half = Fraction(1, 2)
    facts = {
        **settings,
        "sgd_rate": f"{sgd['settings']['rate']:g}",
        "points": points,
        "good": GOOD,
        "low_loss": f"{float(LOSSES[1]):.6f}",
        "start_loss": f"{float((LOSSES[0] + LOSSES[1]) / 2):.6f}",
        "high_loss": f"{float(LOSSES[0]):.6f}",
        "gradient": bernoulli_variance("score-function", half)[0],
        "deviation": f"{float(bernoulli_variance('score-function', half)[1]) ** 0.5:.4f}",
        "f_half": f"{float((T - half) ** 2):g}",
        "eta_limit": f"{float(best_constant(half) / (T - half) ** 2):,.0f}",
        "minutes": f"{sum(done['seconds'] for run in (adam, sgd) for done in run['methods'].values()) / 60:.1f}",
        "adam_rows": table(OUTCOME_HEAD, outcome_rows(adam)),
        "sgd_rows": table(OUTCOME_HEAD, outcome_rows(sgd)),
        "start_rows": table(["estimator", "variance at logit 0", "variance / gradient^2"], start_rows()),
        "scan_rows": table(SCAN_HEAD, scan_rows(scans(points))),
        "eta_end": learned(adam, "rebar", 0),
        "lambda_end": learned(adam, "sigmoid", 0),
        "node_error": f"{quadrature_error(settings['nodes']):.0e}",
        "bound": f"{BOUND:g}",
    }
    return filled(HERE / "README.md.jinja", facts)


OUTCOME_HEAD = ["estimator", "p at the end", "loss", "p > 0.9", "p < 0.1", "from step", "variance, start", "variance, end"]
SCAN_HEAD = ["logit", "score function", "REBAR, eta = 1, best lambda", "best eta and lambda", "best / score function"]


def _require(holds: bool, claim: str) -> None:
    if not holds:
        message = f"the page would say what is not so: {claim}"
        raise ArithmeticError(message)


def learned(results: Results, name: str, index: int) -> str:
    values = [phi[index] for phi in results["methods"][name]["phi"]]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def check_claims(results: Results) -> None:
    """Compare what the template says in words with the results."""
    good = {name: sum(p > GOOD for p in done["final_p"]) for name, done in results["methods"].items()}
    count = results["settings"]["replicates"]
    fail = all(2 * good[name] < count for name in ("score-function", "rebar-fixed", "rebar", "sigmoid"))
    succeed = all(good[name] == count for name in ("exact", "baseline", "relax"))
    ends = {name: median(done["final_p"]) for name, done in results["methods"].items()}
    if not (fail and succeed and ends["relax"] < ends["baseline"] < ends["exact"]):
        message = f"the template does not describe these results: above {GOOD} end {good} of {count}"
        raise ArithmeticError(message)


def check_gamble(results: Results) -> None:
    """Compare what the template says of plain gradient descent with the results."""
    ends = {name: done["final_p"] for name, done in results["methods"].items()}
    noisy = ("score-function", "rebar-fixed", "rebar", "sigmoid")
    gamble = all(max(ends[name]) > GOOD and min(ends[name]) < 1 - GOOD for name in noisy)
    follow = all(abs(median(ends[name]) - ends["exact"][0]) < 0.01 for name in ("baseline", "relax"))
    if not (gamble and follow and all(median(ends[name]) > ends["exact"][0] for name in noisy)):
        message = f"the template does not describe these results of gradient descent: {ends}"
        raise ArithmeticError(message)


# The plots


def plot_training(results: Results, path: Path) -> None:
    with drawing.settled():
        figure, axes = drawing.figure(7.4, rows=2)
        for number, (name, done) in enumerate(results["methods"].items()):
            steps, look = done["step"], drawing.line(number, len(done["step"]))
            low, middle, high = ([loss(p) for p in done["p"][k]] for k in range(3))
            axes[0].plot(steps, middle, label=METHODS[name].label, **look)
            axes[0].fill_between(steps, low, high, color=look["color"], alpha=0.12, linewidth=0)
            low, middle, high = (done["variance"][k] for k in range(3))
            if max(middle) > 0:
                axes[1].plot(steps, middle, **look)
                axes[1].fill_between(steps, low, high, color=look["color"], alpha=0.12, linewidth=0)
        _frame(axes[0], "exact loss: median, 10 % to 90 %", "step", "E[f(b)]")
        axes[0].ticklabel_format(axis="y", useOffset=False)
        _frame(axes[1], "variance of one estimate: median, 10 % to 90 %", "step", "variance, log scale")
        axes[1].set_yscale("log")
        drawing.legend(figure, axes[0])
        drawing.write(figure, path)


def plot_scan(found: Mapping[float, RebarScan], path: Path) -> None:
    with drawing.settled():
        figure, axes = drawing.figure(6.6, rows=2)
        for axis, logit in zip(axes, (0.0, 3.0), strict=True):
            one = found[logit]
            logits = torch.full((1, 1), logit, dtype=torch.float64)
            nothing = Rebar(eta=0.0)
            plain = float(control_variance(nothing, nothing.start(1, torch.Generator()), logits, 256))
            looks = [drawing.line(number, len(one.temperatures)) for number in range(3)]
            axis.plot(one.temperatures, torch.full_like(one.temperatures, plain), label="score function", **looks[0])
            axis.plot(one.temperatures, one.plain, label="REBAR, eta = 1", **looks[1])
            axis.plot(one.temperatures, one.best, label="REBAR, best eta", **looks[2])
            _frame(axis, f"logit {logit:g}", "lambda", "variance of one estimate")
            axis.set_xscale("log")
            axis.set_yscale("log")
        drawing.legend(figure, axes[0])
        drawing.write(figure, path)


def _frame(axis: Any, title: str, x: str, y: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def write(stored: Results, folder: Path, points: int = 61) -> None:
    """Write the page and the plots."""
    (folder / "README.md").write_text(text(stored, points), encoding="utf-8")
    for name in ("adam", "sgd"):
        plot_training(stored[name], folder / f"{name}.svg")
    plot_scan(scans(points), folder / "rebar.svg")
