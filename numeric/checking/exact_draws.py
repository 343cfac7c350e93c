"""The law of what a generated `draw` gives, outcome by outcome, against the law that it should have."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from derive.language.errors import TooLarge
from derive.language.estimator import Estimator
from derive.language.term import FiniteLaw
from numeric.codegen.torchrun import Compiled
from numeric.draws.generators import Generators
from numeric.draws.interception import Interceptor
from numeric.draws.tape import Tape, explore

BUDGET = 2**10


def draw_error(estimator: Estimator, compiled: Compiled, logits: Tensor) -> float | None:
    """Return the largest error of the probability of a joint outcome of all draws.

    The draws are intercepted and run through every outcome, as in `numeric.audit`, so a sample that is given twice, or drawn
    from another law, is seen without sampling. None where noise is continuous, or where there are more than 1,024 outcomes.

    Args
        logits  (n,), on the CPU

    >>> from derive.catalogue import catalogue
    >>> from numeric.codegen.torchrun import compile
    >>> samples = catalogue["leave-one-out"]
    >>> draw_error(samples, compile(samples), torch.tensor([0.3, -0.8])) < 1e-7
    True
    """
    if compiled.family == "normal" or not all(isinstance(draw.law, FiniteLaw) for draw in estimator.draws):
        return None

    def run(tape: Tape) -> Tensor:
        with Interceptor(tape, Generators(), frozen=0):
            noise = compiled.draw(logits, torch.Generator())
        return torch.stack([noise[name] for name in compiled.noise])

    found: defaultdict[tuple[float, ...], float] = defaultdict(float)
    outcomes = {}
    try:
        for tape, values in explore(run, BUDGET):
            key = tuple(values.flatten().tolist())
            found[key] += tape.weight
            outcomes[key] = values
    except TooLarge:
        return None
    # Both sides sum to 1 over all outcomes, so an outcome that is never drawn shows as too much probability for the others.
    return max(abs(weight - float(_probability(outcomes[key], logits, compiled.family))) for key, weight in found.items())


def _probability(values: Tensor, logits: Tensor, family: str) -> Tensor:
    """The probability of independent draws, shape (draws, n); zero for what is no outcome."""
    if family == "categorical":
        is_one_hot = ((values == 0) | (values == 1)).all() & (values.sum(-1) == 1).all()
        return (values * torch.softmax(logits, -1)).sum(-1).prod() * is_one_hot
    p = torch.sigmoid(logits)
    return torch.where(values == 1, p, torch.where(values == 0, 1 - p, 0.0)).prod()
