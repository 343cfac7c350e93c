"""REBAR from formula to code: prove it, print its derivation, run it on a toy problem, compare with the exact gradient."""

from __future__ import annotations

import torch

import derive
import numeric
from numeric.codegen.torchrun import Compiled

LOGITS = torch.tensor([[-1.0], [0.0], [0.5], [2.0]], dtype=torch.float64)
BATCH, BATCHES = 250_000, 16


def f(b: torch.Tensor) -> torch.Tensor:
    """The toy objective of Tucker et al. (2017): one bit, whose best value is barely better than the other."""
    return (b - 0.499).square().sum(-1)


def main() -> None:
    rebar = derive.load("rebar")
    verdict = derive.prove(rebar)
    print(f"1. {rebar.name} is {verdict.verdict}, for {verdict.holds_for}.\n")
    print("2. Its derivation:\n")
    print(derive.explain(rebar))
    print(f"3. Its torch code on f(b) = (b - 0.499)^2, {BATCH * BATCHES} samples:\n")
    exact = numeric.exact_gradient(f, LOGITS)
    estimated, error = mean_and_error(numeric.compile(rebar))
    print(f"{'logit':>8} {'exact':>12} {'estimated':>12} {'standard error':>16}")
    for row in zip(LOGITS, exact, estimated, error, strict=True):
        print("{:8.2f} {:12.3e} {:12.3e} {:16.1e}".format(*(float(value) for value in row)))
    print(f"\n4. {numeric.crosscheck(rebar)}")


def mean_and_error(compiled: Compiled) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of many independent estimates and its standard error."""
    generator = torch.Generator().manual_seed(0)
    total, squares = torch.zeros_like(LOGITS), torch.zeros_like(LOGITS)
    for _ in range(BATCHES):
        estimates = compiled.estimate(LOGITS, compiled.draw(LOGITS, generator, (BATCH,)), f)
        total += estimates.sum(0)
        squares += estimates.square().sum(0)
    count = BATCH * BATCHES
    mean = total / count
    return mean, ((squares / count - mean.square()) / count).sqrt()


if __name__ == "__main__":
    main()
