"""Proofs against SymPy and SymEngine, and how their time grows with the number of samples."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from itertools import product
from multiprocessing.connection import Connection
from typing import Any

import sympy

from benchmarks.measuring import Options, Row, Table, once, printed
from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from derive.estimator import Estimator
from derive.exact import comparison as exact

BESIDE = """\
Leave-one-out is unbiased, for every law on K outcomes and every integrand: one identity of rational functions. The same
difference E[g] - T, as a sum over the K^S tuples, is given to `sympy.simplify` and to the expansion of SymEngine; the time
to write it down is not counted. `sympy.stats` takes the mean itself, of bits. Ours is the exact comparison alone, from the
formula to the answer; "at least": not done in the time it was given.
"""
GROWTH = """\
Processor time of a proof in a fresh process, imports left out: search, replay, exact comparison on 2, 3 and 4 outcomes,
instances. *Grows as* S^k, from the row before.
"""
OUTCOMES = """\
The exact comparison on K outcomes alone, the best of three. *Power*: k where the time grows as K^k,
from the row before.
"""
CASES = ((2, 2), (3, 2), (3, 3), (6, 4))
FAMILIES = {"leave-one-out": (4, 8, 16, 32), "iwae": (2, 3, 6), "vimco": (2, 5, 10)}
GOALS = {
    ("leave-one-out", 8): 0.1,
    ("leave-one-out", 16): 0.3,
    ("leave-one-out", 32): 1.0,
    ("iwae", 6): 3.0,
    ("vimco", 10): 3.0,
}
COMPARED = {"leave-one-out": (4, 8, 16, 32), "rebar": (4, 8, 16, 32), "vimco": (4, 8, 16)}
MOST_POWER, EACH = 2.0, 0.25
PATIENCE = 60.0
ONE = """
import time
from derive import load, prove
estimator = load({name!r}, {samples})
start = time.process_time()
verdict = prove(estimator).verdict
print(verdict, time.process_time() - start)
"""
ALL = """
import time
from derive import prove
from derive.catalogue import catalogue
start = time.process_time()
for estimator in catalogue.values():
    prove(estimator)
print(len(catalogue), time.process_time() - start)
"""


def compared(estimator: Estimator, outcomes: int, repeats: int = 3) -> float:
    """Return the best of some times of the comparison."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        if not exact.check(estimator, outcomes).zero:
            message = f"{estimator.name} was not proved"
            raise SystemExit(message)
        best = min(best, time.perf_counter() - start)
    return best


# Theirs


def difference(outcomes: int, samples: int, of: Any) -> tuple[Any, Any, Any]:
    """Return E[g] - T in the symbols of SymPy or of SymEngine, the last probability, and what that is in the others."""
    p = [of.Symbol(f"p{k}") for k in range(outcomes)]
    dp = [of.Symbol(f"dp{k}") for k in range(1, outcomes)]
    f = [of.Symbol(f"f{k}") for k in range(outcomes)]
    dp.append(-sum(dp))
    terms = []
    for draw in product(range(outcomes), repeat=samples):
        total = sum(f[k] for k in draw)
        g = sum((f[k] - (total - f[k]) / of.Integer(samples - 1)) * dp[k] / p[k] for k in draw) / samples
        terms.append(of.Mul(*(p[k] for k in draw)) * g)
    return of.Add(*terms) - sum(one * value for one, value in zip(dp, f, strict=True)), p[-1], 1 - sum(p[:-1])


def simplified(outcomes: int, samples: int) -> Callable[[], bool]:
    whole, last, value = difference(outcomes, samples, sympy)
    whole = whole.subs(last, value)
    return lambda: bool(sympy.simplify(whole) == 0)


def expanded(outcomes: int, samples: int) -> Callable[[], bool]:
    """It cancels powers of a symbol, and no sums: the last probability is eliminated after that."""
    import symengine

    whole, last, value = difference(outcomes, samples, symengine)
    return lambda: bool(whole.expand().subs({last: value}).expand() == 0)


def by_stats(outcomes: int, samples: int) -> Callable[[], bool]:
    """Bits only: the mean of what is a polynomial in them."""
    from sympy import stats

    if outcomes != 2:
        return lambda: False
    p, dp, low, high = sympy.symbols("p dp f0 f1")

    def run() -> bool:
        bits = [stats.FiniteRV(f"b{i}", {0: 1 - p, 1: p}, check=False) for i in range(samples)]
        values = [low + (high - low) * b for b in bits]
        scores = [dp * (b - p) / (p * (1 - p)) for b in bits]
        every = zip(values, scores, strict=True)
        g = sum((value - (sum(values) - value) / (samples - 1)) * score for value, score in every) / samples
        return bool(sympy.simplify(stats.E(g) - dp * (high - low)) == 0)

    return run


def _timed(make: Callable[[int, int], Callable[[], bool]], outcomes: int, samples: int, pipe: Connection) -> None:
    try:
        run = make(outcomes, samples)
    except ImportError:
        pipe.send(None)
        return
    pipe.send("built")
    start = time.perf_counter()
    answer = run()
    pipe.send(time.perf_counter() - start if answer else None)


def theirs(make: Callable[[int, int], Callable[[], bool]], outcomes: int, samples: int, patience: float) -> float | None:
    """Return how long a library takes, infinity where it is not done in time; None where it is not there, or reaches no 0."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_timed, args=(make, outcomes, samples, there))
    process.start()
    built = here.recv()
    seconds = None if built is None else here.recv() if here.poll(patience) else math.inf
    process.terminate()
    process.join()
    return seconds


LIBRARIES = {"sympy.simplify": simplified, "sympy.stats": by_stats, "symengine": expanded}


def beside(options: Options) -> Iterator[Row]:
    patience = 5.0 if options.quick else PATIENCE
    compared(leave_one_out(2), 2)
    for outcomes, samples in CASES:
        mine = compared(leave_one_out(samples), outcomes)
        found = {name: theirs(make, outcomes, samples, patience) for name, make in LIBRARIES.items()}
        ratios = {f"{name} / ours": once(min(one, patience) / mine) for name, one in found.items() if one is not None}
        late = ", ".join(name for name, one in found.items() if one == math.inf)
        case = {"outcomes K": str(outcomes), "samples S": str(samples), "at least": late}
        yield Row(case, ratios | {"ours": once(mine, unit="s")})


def by_outcomes(options: Options) -> Iterator[Row]:
    for name, numbers in COMPARED.items():
        estimator, before = catalogue[name], None
        for outcomes in numbers[: 2 if options.quick else None]:
            seconds = compared(estimator, outcomes)
            found = {"seconds": once(seconds, unit="s")}
            if before is not None:
                found["power"] = once(math.log2(seconds / before), MOST_POWER)
            yield Row({"estimator": name, "outcomes K": str(outcomes)}, found)
            before = seconds


def growth(options: Options) -> Iterator[Row]:
    for name, numbers in FAMILIES.items():
        before: tuple[int, float] | None = None
        for samples in numbers[: 2 if options.quick else None]:
            verdict, time_taken = printed(ONE.format(name=name, samples=samples))
            seconds = float(time_taken)
            power = "" if before is None else f"{math.log(seconds / before[1]) / math.log(samples / before[0]):.1f}"
            case = {"estimator": name, "samples S": str(samples), "verdict": verdict, "grows as": f"S^{power}" if power else ""}
            yield Row(case, {"seconds": once(seconds, GOALS.get((name, samples)), "s")})
            before = samples, seconds
    entries, time_taken = printed(ALL)
    each = {"seconds": once(float(time_taken) / int(entries), EACH, "s")}
    yield Row({"estimator": f"all {entries}, on average", "samples S": "", "verdict": "", "grows as": ""}, each)


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the tables of this file, and their rows as they come."""
    yield Table("Comparisons", BESIDE), beside(options)
    yield Table("Growth of comparisons", OUTCOMES), by_outcomes(options)
    yield Table("Growth of proofs", GROWTH), growth(options)
