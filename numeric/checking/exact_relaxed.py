"""The exact gradient of a target over the noise of a relaxation, such as E_u[f(sigma(h(u, theta), lambda))].

The objective is interpreted at fixed nodes of its own noise, and autograd differentiates it by the parameters there: nothing of
the generated code has a part in it. That is right where the objective moves smoothly with the parameters; an outcome H(z),
which jumps, is refused, as is a law that moves by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Expect,
    Grad,
    Latent,
    RandomVariable,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
)
from numeric.checking.exact_target import Functions
from numeric.checking.exact_variance import Rows, expectations, outer_value
from numeric.checking.problem.noise_nodes import noise_rows
from numeric.codegen.meaning.vectors import functions_with_slopes


def is_relaxed(objective: Term) -> bool:
    """Whether a target is a mean over the noise of a latent variable.

    >>> from derive.catalogue import catalogue
    >>> [is_relaxed(catalogue[name].objective) for name in ("concrete", "rebar")]
    [False, False]
    """
    return anywhere(objective, lambda part: isinstance(part, Apply) and isinstance(part.function, (Latent, ConditionalLatent)))


def exact_relaxed_target(
    estimator: Estimator,
    family: str,
    parameters: Mapping[str, Tensor],
    functions: Functions,
    constants: Mapping[str, Any],
    nodes: int = 14,
) -> Tensor:
    """Return the gradient of the target by the logits, shape (n,), in float64.

    Args and Raises as `numeric.checking.exact_target.exact_target`; `nodes` are those of each noise of a coordinate.

    >>> from derive.notation import E, constant, finite, function, grad, parameter, relaxation, uniform
    >>> theta, u, f = parameter("theta"), uniform("u"), function("f", differentiable=True)
    >>> r = relaxation(finite("b", theta))
    >>> soft = r.sigma(r.h(u, theta), constant("lambda"))
    >>> mine = Estimator("mine", grad(f(soft), theta), (u,), grad(E(f(soft), u), theta))
    >>> at = {"logits": torch.zeros(1)}, {"f": lambda s: s.sum(-1)}, {"lambda": 1.0}
    >>> exact_relaxed_target(mine, "bernoulli", *at)  # the mean of u (1 - u)
    tensor([0.1667], dtype=torch.float64)
    """
    given = {name: value.double() if isinstance(value, Tensor) else value for name, value in constants.items()}
    point = {name: part.detach().double() for name, part in parameters.items()}
    means, slopes = {}, []
    for term in expectations(estimator.objective):
        value, slope = _mean(term, estimator, family, point, functions, given, nodes)
        means[term] = value.requires_grad_()
        slopes.append(slope)
    if not means:
        _refuse(estimator)
    outer = torch.autograd.grad(outer_value(estimator.objective, means).sum(), list(means.values()))
    return sum((weight * slope for weight, slope in zip(outer, slopes, strict=True)), start=torch.zeros_like(slopes[0]))


def _mean(
    term: Expect,
    estimator: Estimator,
    family: str,
    point: Mapping[str, Tensor],
    functions: Functions,
    constants: Mapping[str, Any],
    nodes: int,
) -> tuple[Tensor, Tensor]:
    """An expectation over noise, shape (1,), and its gradient, shape (n,)."""
    body, noise = _opened(term)
    jumps = anywhere(body, lambda part: isinstance(part, Apply) and isinstance(part.function, Threshold))
    if jumps or not all(isinstance(variable.law, UniformLaw) for variable in noise):
        _refuse(estimator)
    program = Estimator(estimator.name, body, noise, Grad(term, estimator.parameter))
    total, slope = torch.zeros(1, dtype=torch.float64), torch.zeros_like(next(iter(point.values())))
    quadratic = not functions_with_slopes(estimator.formula)
    for values, weights in noise_rows(program, family, dict(point), nodes, quadratic=quadratic):
        leaves = {name: part.clone().requires_grad_() for name, part in point.items()}
        rows = {name: part.expand_as(next(iter(values.values()))) for name, part in leaves.items()}
        mean = weights @ Rows(program, family, rows, values, functions, constants).scalar(body).expand(len(weights), 1)
        total = total + mean.detach()
        slope = slope + torch.autograd.grad(mean.sum(), list(leaves.values()), materialize_grads=True)[0]
    return total, slope


def _opened(term: Term) -> tuple[Term, tuple[RandomVariable, ...]]:
    """What stands inside of nested expectations, and their variables."""
    if not isinstance(term, Expect):
        return term, ()
    body, inner = _opened(term.body)
    return body, (term.variable, *inner)


def _refuse(estimator: Estimator) -> None:
    message = (
        f"the crosscheck has no exact value for the target of {estimator.name!r}: of a mean over the noise of a relaxation it"
        " knows functions of latent variables and of sigma(z, lambda), with uniform noise alone and no outcome H(z)."
    )
    raise UsageError(message)
