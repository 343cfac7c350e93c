"""The exact value of a target that is made of derivatives: second derivatives, scores, a gradient over a Fisher information.

This is the judge of generated code that differentiates twice, so it shares nothing with it, no product rule and no matrix: a
formula is about one number theta, and is read as one. The parameters move along a line, at + t v, and everything in the target
is a function of the one number t: a gradient is a derivative by t, a score that of a log-density, with the point held fixed.
Second derivatives along v, and along sums of two directions, are a quadratic form, of which the matrix follows.

What is no quadratic form, such as a gradient over a Fisher information, is meant for each coordinate by itself, with the others
held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from derive.language.estimator import Estimator
from derive.language.term import Grad, Score, Term
from numeric.checking.exact_target import Functions, Interpreter
from numeric.codegen.inventory import directions, law_parameter, order
from numeric.codegen.laws import logits_of_laws


@dataclass
class Line(Interpreter):
    """An interpreter of a formula whose parameters move along a line, at + t v, as functions of the number t.

    Args
        at    what the target is differentiated by: the parameters of its laws, or a constant
        step  the direction v
        t     the number, 0
    """

    at: Mapping[str, Tensor] = field(default_factory=dict)
    step: Mapping[str, Tensor] = field(default_factory=dict)
    t: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def moved(self, t: Tensor) -> Line:
        """The same interpreter where the parameters are at + t v; the values of random variables stay what they are."""
        where = {name: part + t * self.step[name] for name, part in self.at.items()}
        if self.estimator.parameter == law_parameter(self.estimator):
            return replace(self, parameters={**self.parameters, **where}, t=t)
        return replace(self, constants={**self.constants, **where}, t=t)

    def scalar(self, term: Term) -> Tensor:
        """The value of a scalar, one number for each outcome of the variables that are bound outside."""
        match term:
            case Grad(body, parameter) if parameter == self.estimator.parameter:
                return self._slope(lambda line: line.scalar(body))
            case Score(law, at, parameter) if parameter == self.estimator.parameter:
                point = self.vector(at)
                return self._slope(lambda line: line._log_density(law, point))
        return super().scalar(term)

    def _slope(self, read: Callable[[Line], Tensor]) -> Tensor:
        """The derivative by t of every number that is read, where random variables and points keep their values."""
        t = self.t.clone() if self.t.requires_grad else self.t.clone().requires_grad_()
        value = read(self.moved(t))
        if not value.requires_grad:
            return torch.zeros_like(value)
        ones = torch.ones_like(value, requires_grad=True)
        (total,) = torch.autograd.grad(value, t, ones, create_graph=True, materialize_grads=True)
        if not total.requires_grad:
            return torch.zeros_like(value)
        (slope,) = torch.autograd.grad(total, ones, torch.ones_like(total), create_graph=True, materialize_grads=True)
        return slope


def exact_derivatives(
    estimator: Estimator,
    family: str,
    parameters: Mapping[str, Tensor],
    functions: Functions,
    constants: Mapping[str, Any],
    nodes: int = 32,
) -> Tensor:
    """Return the exact value of a target that is made of derivatives, in float64, all of its entries in one dimension.

    Args and Raises as `numeric.checking.exact_target.exact_target`.

    Returns
        Shape (N,), one number for each of the N entries of the parameters; (N * N,) where the target is a matrix, row by row.

    >>> from derive.catalogue import catalogue
    >>> at = {"logits": torch.zeros(2)}
    >>> exact_derivatives(catalogue["hessian-score"], "bernoulli", at, {"f": lambda b: b[..., 0] * b[..., 1]}, {})
    tensor([0.0000, 0.0625, 0.0625, 0.0000], dtype=torch.float64)
    """
    leaves = {name: part.detach().double() for name, part in parameters.items()}
    given = {name: value.double() if isinstance(value, Tensor) else value for name, value in constants.items()}
    if estimator.parameter != law_parameter(estimator):
        at = {estimator.parameter.name: given[estimator.parameter.name]}
    else:
        still = {one.name for one in logits_of_laws(estimator, target=True) if not one.moves}
        at = {name: leaf for name, leaf in leaves.items() if name not in still}
    return _entries(Line(estimator, family, leaves, functions, given, nodes, at=at))


def _entries(line: Line) -> Tensor:
    """Where a constant v of grad(v * grad(..., theta), theta) is a vector, the matrix is that of the target with v = 1."""
    size = sum(part.numel() for part in line.at.values())
    along, units = directions(line.estimator), torch.eye(size, dtype=torch.float64)
    if not along:
        one_by_one = order(line.estimator) == 1
        return torch.stack([_value(line, unit) for unit in units]) if one_by_one else _matrix(line, units).flatten()
    ones = {symbol.name: 1.0 for symbol in along}
    vector = torch.as_tensor(line.constants[next(iter(ones))], dtype=torch.float64)
    return _matrix(replace(line, constants={**line.constants, **ones}), units) @ vector.expand(size)


def _value(line: Line, direction: Tensor) -> Tensor:
    """The target for the one number t, where the parameters move in this direction."""
    pieces = direction.split([part.numel() for part in line.at.values()])
    step = {name: piece.reshape(part.shape).to(part) for (name, part), piece in zip(line.at.items(), pieces, strict=True)}
    with torch.enable_grad():
        return replace(line, step=step).scalar(line.estimator.target).detach().sum().cpu()


def _matrix(line: Line, units: Tensor) -> Tensor:
    """The symmetric matrix of a quadratic form q: its entries are (q(v + w) - q(v) - q(w)) / 2 for units v and w."""
    own = [_value(line, unit) for unit in units]
    both = [[_value(line, v + w) - own[i] - own[j] for j, w in enumerate(units)] for i, v in enumerate(units)]
    return torch.stack([torch.stack(row) for row in both]) / 2
