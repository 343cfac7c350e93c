"""REBAR from formula to code: prove it, print its derivation, let it learn its eta, compare its mean with the exact one."""

from __future__ import annotations

import torch

import derive
import numeric
from numeric.codegen.torchrun import Compiled

LOGITS = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
BATCH, BATCHES, STEPS = 250_000, 16, 100


def f(b: torch.Tensor) -> torch.Tensor:
    """The toy objective of Tucker et al. (2017), of four bits: each is a little better at 0."""
    return (b - 0.45).square().sum(-1)


def main() -> None:
    rebar = derive.load("rebar")
    verdict = derive.prove(rebar)
    print(f"1. {rebar.name} is {verdict.verdict}, for {verdict.holds_for}.\n")
    print("2. Its derivation:\n")
    print(derive.explain(rebar))
    eta = learned_eta()
    print(f"3. Its torch code on f(b) = the sum of (b - 0.45)^2 over four bits, {BATCH * BATCHES:,} samples. REBAR is unbiased")
    print(f"   for every eta; the gradient of its variance has led from eta = 1 to eta = {eta:.2f}. Beside it, what as many")
    print("   samples of the score function would err by:\n")
    exact = numeric.exact_gradient(f, LOGITS)
    estimated, error = mean_and_error(numeric.compile(rebar), BATCHES, eta=eta)
    other = mean_and_error(numeric.compile(derive.load("score-function")), 1)[1] / BATCHES**0.5
    print(f"{'logit':>8} {'exact':>10} {'estimated':>10} {'standard error':>15} {'score function':>15}")
    for row in zip(LOGITS, exact, estimated, error, other, strict=True):
        print("{:8.2f} {:10.5f} {:10.5f} {:15.5f} {:15.5f}".format(*(float(value) for value in row)))
    print(f"\n4. {numeric.crosscheck(rebar)}")


def learned_eta() -> float:
    """The factor of the control variate after some steps on the gradient of the variance, from 1."""
    generator = torch.Generator().manual_seed(0)
    gradient = numeric.compile(derive.load("rebar-variance-eta"))
    eta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([eta], lr=0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        gradient.surrogate(LOGITS, f, eta=eta, samples=500, generator=generator).backward()
        optimizer.step()
    return eta.item()


def mean_and_error(compiled: Compiled, batches: int, **constants: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of many independent estimates and its standard error."""
    generator = torch.Generator().manual_seed(0)
    total, squares = torch.zeros_like(LOGITS), torch.zeros_like(LOGITS)
    for _ in range(batches):
        estimates = compiled.estimate(LOGITS, compiled.draw(LOGITS, generator, (BATCH,)), f, **constants)
        total += estimates.sum(0)
        squares += estimates.square().sum(0)
    count = BATCH * batches
    mean = total / count
    return mean, ((squares / count - mean.square()) / count).sqrt()


if __name__ == "__main__":
    main()
