"""Pathwise or score function: which has the lower variance? The question of note 004, settled with exact numbers.

Run `python -m docs.variance.study` from the root of the repository; it writes README.md and the plots beside this file. Every
number of the page is computed while the page is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from math import factorial, lcm
from pathlib import Path
from typing import Any

from rich.progress import track

from derive.exact import comparison as exact
from derive.laws.models import RationalCase
from docs.templates import filled
from docs.variance import baselines, cosine, forms
from numeric.report import drawing
from numeric.report.drawing import COLOURS, INK, SOFT

HERE = Path(__file__).parent
SEED = 4
PHASES = {"0 (cosine)": Fraction(0), "pi/4": Fraction(1, 4), "pi/2 (sine)": Fraction(1, 2)}
NAMES = ("mu", "sigma")


# Facts: everything that the page states, computed


def witness(name: str, *, with_baseline: bool, degree: int) -> forms.Pivot:
    """The f of lowest degree for which the score function has the lower variance."""
    return next(one for one in forms.pivots(name, degree, with_baseline=with_baseline) if one.least <= 0)


def exact_variances(name: str, a: Sequence[Fraction], c: Fraction) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Mean of both estimators, and variances under Normal(0, 1) by gradproof's evaluator: pathwise, score function, with c."""
    case = RationalCase({"mu": Fraction(0), "sigma": Fraction(1)})
    path, plain = (exact.mean_and_variance_at(one, case) for one in forms.estimators(name, a))
    best = exact.mean_and_variance_at(forms.estimators(name, a, c)[1], case)
    if len({path[0], plain[0], best[0]}) > 1:
        message = f"the estimators for {name} disagree in the mean: {path[0]}, {plain[0]}, {best[0]}"
        raise ArithmeticError(message)
    return path[0], path[1], plain[1], best[1]


def worst_ratio(name: str, degree: int, *, with_baseline: bool) -> float:
    """The largest Var pathwise / Var score function over all f of a degree: an eigenvalue, in floating point."""
    import numpy as np

    start = 1 if with_baseline else 0
    scale = [Fraction(1, factorial(n)) for n in range(degree + 1)]  # numbers of one size; the ratio does not change
    matrices = [forms.path_matrix(name, degree), forms.score_matrix(name, degree, with_baseline=with_baseline)]
    used = range(start, degree + 1)
    path, learned = (np.array([[float(m[i][j] * scale[i] * scale[j]) for j in used] for i in used]) for m in matrices)
    root = np.linalg.inv(np.linalg.cholesky(learned))
    return float(np.linalg.eigvalsh(root @ path @ root.T)[-1])


# The page


def polynomial(a: Sequence[Fraction], x: str = "z") -> str:
    """The readable text of sum a_n He_n(x), in powers.

    >>> polynomial([Fraction(24), Fraction(0), Fraction(-12), Fraction(0), Fraction(1)])
    'z^4 - 18 z^2 + 39'
    """
    text = ""
    for n, number in reversed(list(enumerate(forms.powers(a)))):
        if number:
            power = "" if n == 0 else x if n == 1 else f"{x}^{n}"
            size = "" if abs(number) == 1 and n else f"{abs(number)}"
            sign = (" - " if number < 0 else " + ") if text else ("-" if number < 0 else "")
            text += sign + " ".join(filter(None, [size, power]))
    return text


def integral(a: Sequence[Fraction]) -> list[Fraction]:
    """The multiple with integer coefficients: the ratio of variances does not change."""
    factor = lcm(*(x.denominator for x in a))
    return [factor * x for x in a]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def witness_rows(degree: int) -> list[list[Any]]:
    rows = []
    for name in NAMES:
        for parity in (0, 1):
            negative = (one for one in forms.pivots(name, degree, with_baseline=False) if one.least <= 0)
            a = integral(next(one.minimiser for one in negative if one.degree % 2 == parity))
            c = forms.baseline(name, a)
            mean, path, plain, best = exact_variances(name, a, c)
            rows.append([name, f"`{polynomial(a)}`", mean, path, plain, c, best, f"{float(path / best):.4f}"])
    return rows


def familiar_rows() -> list[list[Any]]:
    """Functions for which the pathwise estimator wins, by exact variances under Normal(0, 1)."""
    one = Fraction(1)
    examples = [[0 * one, one], [one, 0 * one, one], [0 * one, 3 * one, 0 * one, one]]
    examples += [forms.unit(n) for n in (4, 8)]
    rows = []
    for a in examples:
        for name in NAMES:
            c = forms.baseline(name, a)
            _, path, plain, best = exact_variances(name, a, c)
            rows.append([f"`{polynomial(a)}`", name, path, plain, c, best])
    return rows


def pivot_rows(degree: int) -> list[list[Any]]:
    by_degree = {}
    for name in NAMES:
        for with_baseline in (False, True):
            for one in forms.pivots(name, degree, with_baseline=with_baseline):
                by_degree[one.degree, name, with_baseline] = one.least
    columns = [(name, with_baseline) for name in NAMES for with_baseline in (False, True)]
    return [[n, *(by_degree.get((n, *column), "-") for column in columns)] for n in range(degree + 1)]


def threshold_rows() -> list[list[str]]:
    rows = []
    for label, phase in PHASES.items():
        cells = [cosine.threshold(name, phase, with_baseline=flag) for name in NAMES for flag in (False, True)]
        rows.append([label, *(str(cell) for cell in cells)])
    return rows


def cosine_cases() -> int:
    """Compare the closed formulas with certified integrals; return the number of comparisons."""
    points = [(Fraction(1, 2), Fraction(0)), (Fraction(3, 2), Fraction(1, 8)), (Fraction(3), Fraction(1, 2))]
    agree = [
        left.overlaps(right)
        for name in NAMES
        for kappa, phase in points
        for left, right in zip(
            cosine.enclosed(name, kappa, phase), cosine.VARIANCES[name](cosine.ball(kappa), cosine.ball(phase)), strict=True
        )
    ]
    _require(all(agree), "the closed formulas for the cosine lie in the enclosures")
    return len(agree)


def ratio_rows(degrees: Sequence[int]) -> list[list[str]]:
    """The worst ratios; the constant of f is free, so the best baseline must not change them."""
    rows = []
    for degree in degrees:
        plain, best = ([worst_ratio(name, degree, with_baseline=flag) for name in NAMES] for flag in (False, True))
        _require(all(abs(x - y) < 1e-6 for x, y in zip(plain, best, strict=True)), "a baseline does not change the worst case")
        rows.append([str(degree), *(f"{ratio:.4f}" for ratio in plain)])
    return rows


def baseline_rows(cases: int) -> list[list[Any]]:
    checks = {
        "constant, one parameter": baselines.check_constant,
        "constant, sum over all logits": baselines.check_softmax,
        "eta": baselines.check_eta,
    }
    rows = []
    for label, check in checks.items():
        for outcomes in (2, 3, 4):
            done = check(outcomes, cases, SEED)
            _require(done.holds and done.parabola, f"{label}: the formula has the lowest variance")
            rows.append([label, outcomes, done.cases, "yes", "yes", f"{done.least} of {done.cases}"])
    return rows


def family_gap(*, with_baseline: bool) -> tuple[Fraction, Fraction, Fraction]:
    """The gap for mu of f = He_4 - t He_2, as p t^2 + q t + r."""
    matrix = forms.gap_matrix("mu", 4, with_baseline=with_baseline)
    return matrix[2][2], -2 * matrix[2][4], matrix[4][4]


def page(degree: int = 8, proof_degree: int = 6, cases: int = 20) -> str:
    """Return the text of README.md: the template, filled with what was computed.

    Raises
        ArithmeticError, if a claim that the template makes does not hold.
    """
    return filled(HERE / "README.md.jinja", facts(degree, proof_degree, cases))


def facts(degree: int, proof_degree: int, cases: int) -> dict[str, Any]:
    """Compute everything that the template names, and check what it says in words."""
    first = {(name, flag): witness(name, with_baseline=flag, degree=degree) for name in NAMES for flag in (False, True)}
    a = integral(first["mu", False].minimiser)
    c = forms.baseline("mu", a)
    mean, path, plain, _ = exact_variances("mu", a, c)
    _require(path > plain and c == 0, "the first witness is one, and no constant helps it")
    _require(all(first[name, True].degree == first[name, False].degree for name in NAMES), "a baseline changes no degree")
    for name in NAMES:
        _require(forms.proved_gap(name, proof_degree), f"the gap for {name} is the quadratic form")
        _require(forms.proved_baseline(name, proof_degree), f"the identity of the best constant for {name}")
    for outcomes in (2, 3, 4):
        _require(baselines.proved_identities(outcomes), f"the identities of the best constant and eta, {outcomes} outcomes")
    _require(constants_hold(), "the best constants are a_0 + 2 a_2 and a_0 + 4 a_2 + 12 a_4")
    _require(blocks_hold(degree), "the determinants of the blocks for mu")
    _require(derivatives_hold(degree), "the gap for mu is E[F^2] + E[F'^2] + 2 E[F F'']")
    p, q, r = family_gap(with_baseline=True)
    (low, high), without = quadratic_roots(p, q, r), family_gap(with_baseline=False)
    _require(without[1] ** 2 < 4 * without[0] * without[2], "without a baseline the family has no sign change")
    columns = ["mu", "mu, best c", "sigma", "sigma, best c"]
    witness_head = ["gradient in", "f", "mean", "Var pathwise", "Var score", "best c", "Var score, best c", "ratio with c"]
    checked_head = ["what", "outcomes", "cases", "lower than beside it", "rise exactly as predicted", "lowest variance is 0"]
    return {
        "witness": polynomial(a),
        "mean": mean,
        "path": path,
        "plain": plain,
        "degree_mu": first["mu", False].degree,
        "degree_sigma": first["sigma", False].degree,
        "safe_mu": first["mu", False].degree - 1,
        "safe_sigma": first["sigma", False].degree - 1,
        "proof_degree": proof_degree,
        "pivots": table(["n", *columns], pivot_rows(degree)),
        "witnesses": table(witness_head, witness_rows(degree)),
        "ratios": table(["degree", *NAMES], ratio_rows(range(1, degree + 1))),
        "family": f"{p} t^2 - {-q} t + {r}",
        "family_low": f"{low:.4f}",
        "family_high": f"{high:.4f}",
        "familiar": table(["f", "gradient in", "Var pathwise", "Var score", "best c", "Var score, best c"], familiar_rows()),
        "thresholds": table(["k mu", *columns], threshold_rows()),
        "cosine_cases": cosine_cases(),
        "seed": SEED,
        "checked": table(checked_head, baseline_rows(cases)),
    }


def _require(holds: bool, claim: str) -> None:
    if not holds:
        message = f"the page would say what is not so: {claim}"
        raise ArithmeticError(message)


def blocks_hold(degree: int) -> bool:
    """Whether the blocks of two and three have the determinants n+1 and -(n+1)(n^2+6n+7), divided by the factorials."""
    matrix = forms.gap_matrix("mu", degree, with_baseline=False)
    for n in range(degree - 3):
        block = [[matrix[i][j] / factorial(i) for j in (n, n + 2, n + 4)] for i in (n, n + 2, n + 4)]
        (a, b, _), (d, e, f), (_, h, i) = block
        if a * e - b * d != n + 1 or a * (e * i - f * h) - b * d * i != -(n + 1) * (n * n + 6 * n + 7):
            return False
    return True


def constants_hold() -> bool:
    """Whether the best constants are a_0 + 2 a_2 and a_0 + 4 a_2 + 12 a_4."""
    weights = {name: [forms.baseline(name, [*forms.unit(n), Fraction(0)]) for n in range(7)] for name in NAMES}
    return weights == {"mu": [1, 0, 2, 0, 0, 0, 0], "sigma": [1, 0, 4, 0, 12, 0, 0]}


def derivatives_hold(degree: int) -> bool:
    """Whether the form for mu is E[F^2] + E[F'^2] + 2 E[F F''], entry by entry."""
    matrix = forms.gap_matrix("mu", degree, with_baseline=False)

    def entry(m: int, n: int) -> Fraction:
        a, b = ([*forms.unit(k), *[Fraction(0)] * (degree - k)] for k in (m, n))
        da, db = forms.slope(a), forms.slope(b)
        return forms.inner(a, b) + forms.inner(da, db) + forms.inner(a, forms.slope(db)) + forms.inner(b, forms.slope(da))

    return all(matrix[m][n] == entry(m, n) for m in range(degree + 1) for n in range(degree + 1))


def quadratic_roots(p: Fraction, q: Fraction, r: Fraction) -> tuple[float, float]:
    root = float(q * q - 4 * p * r) ** 0.5
    return (-float(q) - root) / float(2 * p), (-float(q) + root) / float(2 * p)


# The plots


def plot_cosine(path: Path, points: int) -> None:
    figure, axes = drawing.figure(7.2, rows=2)
    for axis, name in zip(axes, NAMES, strict=True):
        for number, (label, phase) in enumerate(PHASES.items()):
            kappas = [Fraction(4 * i, points) for i in range(1, points + 1)]
            triples = [[float(x) for x in cosine.VARIANCES[name](cosine.ball(k), cosine.ball(phase))] for k in kappas]
            shown = [float(k) for k in kappas]
            _pair(axis, number, shown, triples, f"k mu = {label}")
            at = cosine.threshold(name, phase)
            axis.plot([float(at.low)], [1], "o", color=COLOURS[number], markersize=6, markeredgecolor=INK)
        _frame(axis, f"gradient in {name}", "k sigma", "Var pathwise / Var score function")
        axis.set_yscale("log")
        axis.set_ylim(0.01, 40)
    drawing.legend(figure, axes[0], "pale: with the best constant")
    drawing.write(figure, path)


def plot_polynomials(path: Path, degree: int, points: int) -> None:
    figure, axes = drawing.figure(7.2, rows=2)
    degrees = list(range(2, degree + 1))
    for number, name in enumerate(NAMES):
        worst = [worst_ratio(name, d, with_baseline=True) for d in degrees]
        axes[0].plot(degrees, worst, label=f"gradient in {name}", **(drawing.line(number, len(degrees)) | {"markevery": 1}))
    _frame(axes[0], "worst case over all f of a degree", "degree of f", "largest Var pathwise / Var score function")
    for number, name in enumerate(NAMES):
        ts = [Fraction(30 * i, points) for i in range(points + 1)]
        triples = [forms.variances(name, [Fraction(0), Fraction(0), -t, Fraction(0), Fraction(1)]) for t in ts]
        _pair(axes[1], number, [float(t) for t in ts], triples, f"gradient in {name}")
    _frame(axes[1], "f = He_4 - t He_2; pale: with the best constant", "t", "Var pathwise / Var score function")
    drawing.legend(figure, axes[0])
    drawing.write(figure, path)


def _pair(axis: Any, number: int, shown: Sequence[float], triples: Sequence[Sequence[Any]], label: str) -> None:
    """Draw the ratio of the variances, and pale and thin the one where the score function has its best constant."""
    look = drawing.line(number, len(shown))
    axis.plot(shown, [float(p / s) for p, s, _ in triples], label=label, **look)
    axis.plot(shown, [float(p / b) for p, _, b in triples], **(look | {"linewidth": 0.9, "marker": "", "alpha": 0.6}))


def _frame(axis: Any, title: str, x: str, y: str) -> None:
    axis.axhline(1, color=SOFT, linewidth=0.8)
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def write(folder: Path, points: int = 400, degree: int = 8) -> None:
    """Write the page and the plots into a folder."""
    jobs = {
        "README.md": lambda path: path.write_text(page(degree), encoding="utf-8"),
        "cosine.svg": lambda path: plot_cosine(path, points),
        "polynomials.svg": lambda path: plot_polynomials(path, degree + 4, points),
    }
    for name, job in track(jobs.items(), description="variance study", transient=True):
        with drawing.settled():
            job(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="the folder to write into")
    write(parser.parse_args().output)


if __name__ == "__main__":
    main()
