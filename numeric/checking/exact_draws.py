"""The law of what a generated `draw` gives, outcome by outcome, against the law that it should have."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from derive.language.choice import ChoiceLaw
from derive.language.errors import TooLarge
from derive.language.term import FiniteLaw
from numeric.checking.cases import Case
from numeric.codegen.torchrun import Compiled
from numeric.draws.generators import Generators
from numeric.draws.interception import Interceptor
from numeric.draws.tape import Tape, explore

BUDGET = 2**10


def draw_error(case: Case, compiled: Compiled) -> float | None:
    """Return the largest error of the probability of a joint outcome of all draws.

    The draws are intercepted and run through every outcome, as in `numeric.audit`, so a sample that is given twice, or drawn
    from another law, is seen without sampling. None where noise is continuous, or where there are more than 1,024 outcomes.

    >>> from derive.catalogue import catalogue
    >>> from numeric.codegen.torchrun import compile
    >>> samples = catalogue["leave-one-out"]
    >>> draw_error(Case(samples, "bernoulli", "cpu", 2), compile(samples)) < 1e-12
    True
    """
    if case.family == "normal" or not case.estimator.draws:
        return None
    if not all(isinstance(draw.law, (FiniteLaw, ChoiceLaw)) for draw in case.estimator.draws):
        return None
    parameters = {name: part.cpu() for name, part in case.parameters(0).items()}

    def run(tape: Tape) -> Tensor:
        with Interceptor(tape, Generators(), frozen=0):
            noise = compiled.draw(case.shaped(parameters), torch.Generator(), **case.drawn_with(0))
        return torch.cat([noise[name] for name in compiled.noise])

    found: defaultdict[tuple[float, ...], float] = defaultdict(float)
    try:
        for tape, values in explore(run, BUDGET):
            found[tuple(values.tolist())] += tape.weight
    except TooLarge:
        return None
    # Both sides sum to 1 over all outcomes, so an outcome that is never drawn shows as too much probability for the others.
    right = case.probabilities()
    return max(abs(weight - right.get(key, 0.0)) for key, weight in found.items())
