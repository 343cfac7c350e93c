"""The exact gradient of many outcomes: numeric.exact_gradient, autograd over a table, and Pyro's TraceEnum_ELBO, in one run.

    python benchmarks/exact_gradient.py

The problem: 20 independent bits with logits, f(b) = (w . b)^2, the gradient of E[f(b)] in the logits, float64, one thread.
Ours evaluates f; how long that takes on the table of all bits is measured by itself, and is counted for ours alone. Autograd
gets the table of f for nothing, and differentiates sum_b p(b) f(b) through a table of p(b): once built row by row from all
bits, as one would write it, once by doubling, which only an integrand that is a table already allows. For TraceEnum_ELBO the
model is the guide at fixed logits plus the factor f, so that the gradient of the bound is that of E[f(b)]; the results are
compared. Pyro is optional: where it is not installed, its line says so. Then from 2**10 outcomes on, against doubling, both
with f; 64 categorical laws of 1,000 classes, and one of 50,000, against p (f - E f) as one writes it; last, 2**24 outcomes in
a process of their own, with the largest resident memory.
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from numeric.checking.exact_gradient import exact_gradient

BITS, MORE_BITS, REPEATS = 20, 24, 9


def problem(bits: int) -> tuple[Tensor, Tensor]:
    """Return logits and weights."""
    return torch.linspace(-1, 1, bits, dtype=torch.float64), torch.linspace(0.5, 1.5, bits, dtype=torch.float64)


def best(run: Callable[[], Tensor], repeats: int = REPEATS) -> tuple[float, Tensor]:
    """Return the best of some times, after one that does not count, and the result."""
    result, seconds = run(), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


def ours(logits: Tensor, w: Tensor) -> Tensor:
    gradient = exact_gradient(lambda b: (b @ w).square(), logits)
    return gradient if isinstance(gradient, Tensor) else gradient["logits"]


def all_bits(bits: int) -> Tensor:
    return ((torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1).double()


def by_rows(logits: Tensor, table: Tensor, outcomes: Tensor) -> Tensor:
    """One autograd pass over log p(b), summed over the bits of each row."""
    moving = logits.clone().requires_grad_()
    log_p = (outcomes * logsigmoid(moving) + (1 - outcomes) * logsigmoid(-moving)).sum(-1)
    (log_p.exp() * table).sum().backward()
    return moving.grad


def by_doubling(logits: Tensor, table: Tensor) -> Tensor:
    """One autograd pass over a table of log p(b) that each bit doubles."""
    moving = logits.clone().requires_grad_()
    log_p = moving.new_zeros(1)
    for i in range(len(logits)):
        log_p = torch.cat([log_p + logsigmoid(-moving[i]), log_p + logsigmoid(moving[i])])
    (log_p.exp() * table).sum().backward()
    return moving.grad


def by_pyro(logits: Tensor, table: Tensor) -> Callable[[], Tensor]:
    """One pass of TraceEnum_ELBO over 20 bits that are enumerated in parallel; each has a dimension of its own."""
    import pyro
    from pyro import distributions as dist
    from pyro.infer import TraceEnum_ELBO

    n, moving = len(logits), logits.clone().requires_grad_()
    cube = table.reshape([2] * n)

    def sample(at: Tensor) -> list[Tensor]:
        return [pyro.sample(f"b{i}", dist.Bernoulli(logits=at[i]), infer={"enumerate": "parallel"}) for i in range(n)]

    def guide() -> None:
        sample(moving)

    def model() -> None:
        bits = [b.long() for b in sample(logits)]
        pyro.factor("f", cube[tuple(reversed(bits))])

    elbo = TraceEnum_ELBO(max_plate_nesting=0)

    def run() -> Tensor:
        moving.grad = None
        elbo.differentiable_loss(model, guide).backward()
        return -moving.grad

    return run


def report(name: str, seconds: float, gradient: Tensor, exact: Tensor, reference: float) -> None:
    error = float((gradient - exact).abs().max() / exact.abs().max())
    print(f"{name:<46} {seconds * 1e3:9.1f} ms   {seconds / reference:6.2f} x ours   relative difference {error:.0e}")


def large() -> None:
    """2**24 outcomes; prints seconds and the largest resident memory."""
    logits, w = problem(MORE_BITS)
    start = time.perf_counter()
    ours(logits, w)
    seconds = time.perf_counter() - start
    print(f"{seconds:.2f} s, largest resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def by_size() -> None:
    """From 2**10 outcomes on: both evaluate f."""
    for bits in (10, 12, 14, 16, 18, 20):
        logits, w = problem(bits)
        outcomes = all_bits(bits)
        of_ours, _ = best(lambda logits=logits, w=w: ours(logits, w))
        doubling, _ = best(lambda logits=logits, w=w, outcomes=outcomes: by_doubling(logits, (outcomes @ w).square()))
        print(f"2**{bits} outcomes: {of_ours * 1e3:9.2f} ms   ours / (doubling with f) {of_ours / doubling:.2f}")


def of_classes(shape: tuple[int, ...]) -> None:
    """Categorical laws: by the numbers of classes, and by one-hot rows."""
    w = torch.linspace(-1, 1, shape[-1], dtype=torch.float64)
    logits = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)

    def hand() -> Tensor:
        p = torch.softmax(logits, -1)
        return p * (w - (p * w).sum(-1, keepdim=True))

    by_hand, exact = best(hand)
    by_number, gradient = best(lambda: exact_gradient(lambda k: w[k], logits, "categorical", of_classes=True))
    by_row, _ = best(lambda: exact_gradient(lambda b: b @ w, logits, "categorical"), 1)
    print(
        f"{shape} logits: by hand {by_hand * 1e3:.2f} ms, by number {by_number / by_hand:.2f} x that, one-hot rows "
        f"{by_row / by_hand:.0f} x; largest difference {float((gradient - exact).abs().max()):.0e}"
    )


def main() -> None:
    """Print one line a way."""
    torch.set_num_threads(1)
    if "--large" in sys.argv:
        large()
        return
    logits, w = problem(BITS)
    outcomes = all_bits(BITS)
    table = (outcomes @ w).square()
    seconds, exact = best(lambda: ours(logits, w))
    report(f"numeric.exact_gradient, 2**{BITS} outcomes", seconds, exact, exact, seconds)
    of_f, _ = best(lambda: (outcomes @ w).square())
    print(f"{'f on all outcomes, which ours evaluates':<46} {of_f * 1e3:9.1f} ms   {of_f / seconds:6.2f} x ours")
    report("autograd, p(b) row by row, table of f given", *best(lambda: by_rows(logits, table, outcomes)), exact, seconds)
    doubling, gradient = best(lambda: by_doubling(logits, table))
    report("autograd, p(b) by doubling, table of f given", doubling, gradient, exact, seconds)
    print(f"{'both with f: ours / (the last pass + f)':<46} {seconds / (doubling + of_f):9.2f}")
    print(f"{'both without f: (ours - f) / the last pass':<46} {(seconds - of_f) / doubling:9.2f}")
    try:
        run = by_pyro(logits, table)
    except ImportError:
        print("Pyro's TraceEnum_ELBO: not run, pyro-ppl is not installed here")
    else:
        report("Pyro's TraceEnum_ELBO, table of f given", *best(run, 3), exact, seconds)
    by_size()
    for shape in ((64, 1000), (50_000,)):
        of_classes(shape)
    alone = subprocess.run([sys.executable, __file__, "--large"], capture_output=True, text=True, check=True)
    print(f"numeric.exact_gradient, 2**{MORE_BITS} outcomes: {alone.stdout.strip()}")


if __name__ == "__main__":
    main()
