"""Every outcome and node of the draws of a program with several laws, one draw after the other, with their probabilities.

The laws are read here once more and share no code with the generated ones: a row of a table is found by its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.term import FiniteLaw, NamedLaw, NormalLaw, Number, Term, UniformLaw
from numeric.checking.exact_gradient import gauss_hermite, gauss_legendre
from numeric.checking.problem.named_laws import log_density, nodes_of, values_of
from numeric.codegen.laws import Key, key_of, logits_of_laws

MAX_ROWS = 2**18

Vector = Callable[[Term], Tensor]


@dataclass(frozen=True)
class FiniteLaws:
    """The finite laws of an estimator at given logits.

    Args
        family   "bernoulli" or "categorical"
        logits   the tensor of each law, by its key: (n,), or (rows, ..., n) of a law that is given outcomes
    """

    family: str
    logits: Mapping[Key, Tensor]

    @classmethod
    def of(cls, estimator: Estimator, family: str, tensors: Mapping[str, Tensor]) -> FiniteLaws:
        """Return the laws of an estimator, its tensors by the names of the laws; one law alone may be called "logits"."""
        known = logits_of_laws(estimator, target=True)
        return cls(family, {key_of(one.law): tensors.get(one.name, next(iter(tensors.values()))) for one in known})

    def outcomes(self, law: FiniteLaw) -> Tensor:
        """Every outcome, shape (outcomes, n)."""
        logits = self.logits[key_of(law)]
        n = logits.shape[-1]
        if self.family != "bernoulli":
            return torch.eye(n, dtype=torch.float64, device=logits.device)
        return torch.cartesian_prod(*[torch.arange(2, device=logits.device)] * n).reshape(-1, n).double()

    def log_probability(self, law: FiniteLaw, at: Tensor, vector: Vector) -> Tensor:
        """log p(at | given), shape (...) for outcomes (..., n)."""
        logits = self.logits[key_of(law)]
        if law.given:
            logits = logits[tuple(self.number(vector(term)) for term in law.given)]
        if self.family != "bernoulli":
            return (at * torch.log_softmax(logits, -1)).sum(-1)
        return (at * logsigmoid(logits) + (1 - at) * logsigmoid(-logits)).sum(-1)

    def number(self, outcome: Tensor) -> Tensor:
        """The number of an outcome among those that a law may be given."""
        if self.family != "bernoulli":
            return outcome.argmax(-1)
        return (outcome * 2.0 ** torch.arange(outcome.shape[-1], device=outcome.device)).sum(-1).long()


def joint_rows(
    estimator: Estimator, laws: FiniteLaws, size: int, nodes: int, vector: Callable[[Term, Mapping[str, Tensor]], Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the noise of every row, each entry of shape (rows, n), and their weights, shape (rows,), which add up to 1.

    Args
        size    the number of coordinates of continuous noise
        nodes   Gauss nodes for each of them
        vector  the value of an argument of a law, such as a mean, given the draws before it

    Raises
        TooLarge, if there are more than 2**18 rows.
        UsageError, if a draw is uniform between terms.
        NotEvaluable, if the nodes do not have all the mass of a law with a name.
    """
    noise: dict[str, Tensor] = {}
    weights = torch.ones(1, dtype=torch.float64)
    for draw in estimator.draws:
        named = draw.law if isinstance(draw.law, NamedLaw) else None
        given = values_of(named, lambda term: vector(term, {})) if named else []
        points, logs = nodes_of(named, given, size, nodes) if named else _points(draw.law, laws, size, nodes, draw.name)
        rows = weights.numel() * len(points)
        if rows > MAX_ROWS:
            message = f"every outcome and node together are {rows} rows or more, more than {MAX_ROWS}: use a smaller size."
            raise TooLarge(message)
        noise = {name: value.repeat_interleave(len(points), 0) for name, value in noise.items()}
        drawn, before = points.repeat(weights.numel(), 1), dict(noise)

        def known(term: Term, before: Mapping[str, Tensor] = before) -> Tensor:
            return vector(term, before)

        weights = weights.to(points.device).repeat_interleave(len(points))
        match draw.law:
            case FiniteLaw():
                weights = weights * laws.log_probability(draw.law, drawn, known).exp()
            case NamedLaw() if logs is not None:
                logs = (logs + log_density(draw.law, points, given)).exp()
            case NormalLaw(loc, scale):
                drawn = known(loc) + known(scale) * drawn
        noise[draw.name] = drawn
        weights = weights if logs is None else weights * logs.repeat(len(weights) // len(points))
    return noise, weights


def _points(law: object, laws: FiniteLaws, size: int, nodes: int, name: str) -> tuple[Tensor, Tensor | None]:
    """The outcomes of a finite law; of a continuous one the nodes of its noise, with their weights."""
    match law:
        case FiniteLaw():
            return laws.outcomes(law), None
        case NormalLaw():
            x, w = gauss_hermite(nodes)
        case UniformLaw(Number(low), Number(high)):
            x, w = gauss_legendre(nodes)
            x = float(low) + float(high - low) * x
        case _:
            message = (
                f"the crosscheck does not know the law of {name}: expected a finite law, one with a name, or normal or uniform"
                " noise."
            )
            raise UsageError(message)
    if nodes**size > MAX_ROWS:
        message = f"{nodes} nodes for each of {size} coordinates are too many: use a smaller size."
        raise TooLarge(message)
    grid = torch.cartesian_prod(*[torch.arange(nodes)] * size).reshape(-1, size)
    return x[grid], w[grid].prod(-1)
