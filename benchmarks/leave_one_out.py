"""Leave-one-out, proved for every law and every integrand: gradproof against sympy.simplify, in one run.

    python benchmarks/leave_one_out.py [SECONDS]

SECONDS (default 60) is how long sympy.simplify may take on each case; where it does not finish, the ratio is a lower bound.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from itertools import product
from multiprocessing.connection import Connection

import sympy

from derive.estimator import Estimator
from derive.exact import comparison as exact, evaluate
from derive.language.term import lift
from derive.notation import E, copies, finite, function, grad, parameter, score


def leave_one_out(samples: int) -> Estimator:
    """Return the score function estimator with the mean of the other samples as baseline."""
    theta = parameter("theta")
    b, f = finite("b", theta), function("f")
    draws = copies(b, samples)
    formula = lift(0)
    for draw in draws:
        others = sum((f(other) for other in draws if other != draw), start=lift(0))
        formula = formula + (f(draw) - others / (samples - 1)) * score(draw)
    return Estimator("leave-one-out", formula / samples, draws, grad(E(f(b), b), theta))


def ours(outcomes: int, samples: int, repeats: int = 3) -> float:
    """Return the best of some times that the proof takes, from formula to answer."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        if not exact.check(leave_one_out(samples), outcomes).zero:
            message = "leave-one-out was not proved"
            raise SystemExit(message)
        best = min(best, time.perf_counter() - start)
    return best


def enumerated(outcomes: int, samples: int) -> float:
    """Return the time where means over copies are never split, as for a formula that is no sum of products."""
    before, evaluate.SUMMANDS = evaluate.SUMMANDS, 0
    try:
        return ours(outcomes, samples)
    finally:
        evaluate.SUMMANDS = before


def difference(outcomes: int, samples: int) -> sympy.Expr:
    """Return E[g] - T for SymPy: the same unknowns, with the last probability and its derivative eliminated."""
    p = list(sympy.symbols(f"p1:{outcomes}", positive=True))
    dp = list(sympy.symbols(f"dp1:{outcomes}"))
    f = sympy.symbols(f"f1:{outcomes + 1}")
    p.append(1 - sum(p))
    dp.append(-sum(dp))
    terms = []
    for draw in product(range(outcomes), repeat=samples):
        weight = sympy.Mul(*(p[k] for k in draw))
        total = sum(f[k] for k in draw)
        g = sympy.Add(*((f[k] - (total - f[k]) / (samples - 1)) * dp[k] / p[k] for k in draw)) / samples
        terms.append(weight * g)
    return sympy.Add(*terms) - sympy.Add(*(dp[k] * f[k] for k in range(outcomes)))


def _simplify(outcomes: int, samples: int, pipe: Connection) -> None:
    expression = difference(outcomes, samples)
    pipe.send("built")
    start = time.perf_counter()
    answer = sympy.simplify(expression)
    pipe.send((answer == 0, time.perf_counter() - start))


def theirs(outcomes: int, samples: int, limit: float) -> float | None:
    """Return how long sympy.simplify takes, building the expression not counted; None where it is not done in time."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_simplify, args=(outcomes, samples, there))
    process.start()
    here.recv()
    answer = here.recv() if here.poll(limit) else None
    process.terminate()
    process.join()
    if answer is not None and not answer[0]:
        print("   (sympy.simplify ended, but did not reach 0)")
    return None if answer is None else answer[1]


def main() -> None:
    """Print one line a case."""
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    ours(2, 2)
    for outcomes, samples in ((2, 2), (3, 2), (3, 3), (6, 4)):
        mine, other = ours(outcomes, samples), theirs(outcomes, samples, limit)
        sign, seconds = ("", other) if other is not None else ("more than ", limit)
        print(
            f"{outcomes} outcomes, {samples} samples: gradproof {mine * 1e3:.1f} ms, sympy.simplify {sign}{seconds:.2f} s, "
            f"ratio {sign}{seconds / mine:.0f}"
        )
    print(f"8 outcomes, 6 samples, as a sum of products of means: gradproof {ours(8, 6) * 1e3:.1f} ms")
    print(f"8 outcomes, 6 samples, over all 1716 multisets (262144 tuples): gradproof {enumerated(8, 6) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
