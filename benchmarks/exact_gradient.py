"""Exact gradients of many outcomes: against autograd over a table, Pyro's TraceEnum_ELBO, and classes written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from benchmarks.measuring import Options, Row, Table, figure, interleaved, once, printed, ratio, timer
from numeric.checking.exact_gradient import exact_gradient

BITS = """\
n independent bits with logits, f(b) = (w . b)^2, the gradient of E[f(b)] in the logits, float64. Ours evaluates f.
*Doubling*: autograd through a table of p(b) that each bit doubles, and f on all bits; *rows*: through one that is built row
by row from all bits, as one would write it; `TraceEnum_ELBO` of Pyro: the model is the guide at fixed logits plus the
factor f. These two get the table of f for nothing. All gradients are compared.
"""
CLASSES = """\
Categorical laws, against p (f - E f) as one writes it, with a table of f. *Number*: f takes the numbers of classes
(`of_classes=True`); *one-hot*: it takes rows.
"""
MEMORY = "All outcomes of so many bits in a process of their own, with the largest resident memory in GiB.\n"
SIZES = {10: 1.2, 12: 1.2, 14: 1.2, 16: None, 18: None, 20: 0.9}
SHAPES = {(64, 1_000): 1.2, (50_000,): None}
ROUNDS, SLOW = 9, 3
MOST_ROWS = 16  # bits, for what keeps a table of all of them in its graph: 50 times slower than ours
MANY = 24
ALONE = """
import resource, time
import torch
from benchmarks.exact_gradient import ours, problem
torch.set_num_threads(1)
logits, w = problem({bits})
start = time.process_time()
ours(logits, w)
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def problem(bits: int) -> tuple[Tensor, Tensor]:
    """Return logits and weights."""
    return torch.linspace(-1, 1, bits, dtype=torch.float64), torch.linspace(0.5, 1.5, bits, dtype=torch.float64)


def ours(logits: Tensor, w: Tensor) -> Tensor:
    gradient = exact_gradient(lambda b: (b @ w).square(), logits)
    return gradient if isinstance(gradient, Tensor) else gradient["logits"]


def all_bits(bits: int) -> Tensor:
    return ((torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1).double()


def by_rows(logits: Tensor, table: Tensor, outcomes: Tensor) -> Tensor:
    """One autograd pass over log p(b), summed over the bits of each row."""
    moving = logits.clone().requires_grad_()
    log_p = (outcomes * logsigmoid(moving) + (1 - outcomes) * logsigmoid(-moving)).sum(-1)
    return torch.autograd.grad((log_p.exp() * table).sum(), moving)[0]


def by_doubling(logits: Tensor, table: Tensor) -> Tensor:
    """One autograd pass over a table of log p(b) that each bit doubles."""
    moving = logits.clone().requires_grad_()
    log_p = moving.new_zeros(1)
    for i in range(len(logits)):
        log_p = torch.cat([log_p + logsigmoid(-moving[i]), log_p + logsigmoid(moving[i])])
    return torch.autograd.grad((log_p.exp() * table).sum(), moving)[0]


def by_pyro(logits: Tensor, table: Tensor) -> dict[str, Callable[[], Tensor]]:
    """One pass of TraceEnum_ELBO over bits that are enumerated in parallel; each has a dimension of its own."""
    try:
        import pyro
    except ImportError:
        return {}
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
    return {"TraceEnum_ELBO": lambda: -torch.autograd.grad(elbo.differentiable_loss(model, guide), moving)[0]}


def require_same(runs: dict[str, Callable[[], Tensor]], error: float = 1e-12) -> None:
    """Refuse to time what does not compute the same."""
    first, *others = (run() for run in runs.values())
    if not all(torch.allclose(other, first, rtol=error, atol=error * float(first.abs().max())) for other in others):
        message = f"the gradients of {', '.join(runs)} are not the same."
        raise SystemExit(message)


def of_bits(options: Options) -> Iterator[Row]:
    rounds = SLOW if options.quick else ROUNDS
    for bits, goal in SIZES.items():
        (logits, w), outcomes = problem(bits), all_bits(bits)
        table = (outcomes @ w).square()
        runs: dict[str, Callable[[], Tensor]] = {
            "ours": lambda logits=logits, w=w: ours(logits, w),
            "doubling": lambda logits=logits, w=w, outcomes=outcomes: by_doubling(logits, (outcomes @ w).square()),
            **by_pyro(logits, table),
        }
        if bits <= MOST_ROWS:
            runs["rows"] = lambda logits=logits, table=table, outcomes=outcomes: by_rows(logits, table, outcomes)
        require_same(runs)
        times = interleaved({name: timer(run) for name, run in runs.items()}, rounds)
        found = {"ours / doubling": ratio(times, "ours", "doubling", goal)}
        found |= {f"{name} / ours": ratio(times, name, "ours") for name in times if name not in ("ours", "doubling")}
        yield Row({"outcomes": f"2^{bits}"}, found | {"ours": figure(times["ours"], unit="s")})


def of_classes(options: Options) -> Iterator[Row]:
    for shape, goal in SHAPES.items():
        w = torch.linspace(-1, 1, shape[-1], dtype=torch.float64)
        logits = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).reshape(shape)

        def hand(logits: Tensor = logits, w: Tensor = w) -> Tensor:
            p = torch.softmax(logits, -1)
            return p * (w - (p * w).sum(-1, keepdim=True))

        def by_number(logits: Tensor = logits, w: Tensor = w) -> object:
            return exact_gradient(lambda k: w[k], logits, "categorical", of_classes=True)

        def one_hot(logits: Tensor = logits, w: Tensor = w) -> object:
            return exact_gradient(lambda b: b @ w, logits, "categorical")

        require_same({"hand": hand, "number": by_number})  # type: ignore[dict-item]
        times = interleaved({"hand": timer(hand), "number": timer(by_number)}, SLOW if options.quick else ROUNDS)
        found = {"number / hand": ratio(times, "number", "hand", goal)}
        if not options.quick:
            rows = timer(one_hot)(1)
            found["one-hot / hand"] = figure([rows / one for one in times["hand"]])
        yield Row({"logits": " x ".join(f"{size:,}" for size in shape)}, found | {"number": figure(times["number"], unit="s")})


def alone(options: Options) -> Iterator[Row]:
    bits = 20 if options.quick else MANY
    seconds, memory = map(float, printed(ALONE.format(bits=bits)))
    yield Row({"outcomes": f"2^{bits}"}, {"ours": once(seconds, unit="s"), "GiB": once(memory)})


def tables(options: Options) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yield the tables of this file, and their rows as they come."""
    yield Table("Exact gradients of bits", BITS), of_bits(options)
    yield Table("Exact gradients of classes", CLASSES), of_classes(options)
    yield Table("Memory of exact gradients", MEMORY), alone(options)
