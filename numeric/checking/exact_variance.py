"""The exact gradient of a variance by a parameter that is not the law's, such as eta, lambda or phi of a control variate.

This is the judge of the generated gradients of variances, so it shares none of their derivatives: the objective
E[g^2] - E[g]^2 is interpreted as it stands, g with its scores and gradients by theta too, at the nodes of `noise_nodes`;
autograd differentiates g by theta and the whole by the parameter. The maps of a relaxation are written here once more, from the
papers. What is one number for each coordinate of theta is summed over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Expect,
    Function,
    Grad,
    Latent,
    Law,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Score,
    SoftThreshold,
    Symbol,
    Term,
    Threshold,
)
from numeric.checking.exact_target import Functions, fold
from numeric.checking.problem.noise_nodes import noise_rows
from numeric.codegen.families import family_of
from numeric.codegen.inventory import law_parameter
from numeric.codegen.meaning.location import Location, location_and_scale


def exact_variance_gradient(
    estimator: Estimator,
    family: str,
    parameters: Mapping[str, Tensor],
    functions: Functions,
    constants: Mapping[str, Any],
    nodes: int = 14,
) -> Tensor:
    """Return the gradient of the estimator's target, in float64, summed over the coordinates of the law's parameters.

    Args
        parameters  {"logits": (n,)} or {"loc": (n,), "log_scale": (n,)}
        functions   the functions of the formula by their names: outcomes (..., n) to values (...)
        constants   the constants by their names; the one that the target is differentiated by is a tensor (m,)
        nodes       for each noise of a coordinate

    Returns
        Shape (m,).

    Raises
        UsageError, if the target is not made of expectations over the draws; the message says which part.
        TooLarge, if there are too many rows.

    >>> from derive.catalogue import catalogue
    >>> from derive.catalogue.variance_gradient import variance_gradient
    >>> from derive.catalogue.constant_baseline import c, estimator as baseline
    >>> at = {"logits": torch.zeros(1)}, {"f": lambda b: b.sum(-1)}, {"c": torch.zeros(1)}
    >>> exact_variance_gradient(variance_gradient(baseline, c, "mine"), "bernoulli", *at)  # Var = (1 - 2 c)^2 / 16
    tensor([-0.2500], dtype=torch.float64)
    """
    given = {name: value.double() if isinstance(value, Tensor) else value for name, value in constants.items()}
    leaf = given[estimator.parameter.name] = given[estimator.parameter.name].detach().clone().requires_grad_()
    point = {name: part.detach().double() for name, part in parameters.items()}

    def readings() -> Iterator[tuple[Rows, Tensor]]:
        for noise, weights in noise_rows(estimator, family, point, nodes):
            leaves = {name: part.expand_as(next(iter(noise.values()))).clone().requires_grad_() for name, part in point.items()}
            yield Rows(estimator, family, leaves, noise, functions, given), weights

    wanted = expectations(estimator.objective)
    means = dict.fromkeys(wanted, torch.zeros_like(leaf[:1]))
    for rows, weights in readings():
        for term in wanted:
            means[term] = means[term] + weights @ rows.body(term).detach()
    means = {term: mean.requires_grad_() for term, mean in means.items()}
    outer = torch.autograd.grad(outer_value(estimator.objective, means).sum(), list(means.values()))
    gradient = torch.zeros_like(leaf)
    for rows, weights in readings():
        sums = [(weights @ rows.body(term) * slope).sum() for term, slope in zip(wanted, outer, strict=True)]
        whole = fold(torch.add, sums)
        gradient = gradient + torch.autograd.grad(whole, leaf, materialize_grads=True)[0]
    return gradient


def expectations(term: Term) -> list[Expect]:
    """The expectations that a term is made of, each once."""
    if isinstance(term, Expect):
        return [term]
    inner: tuple[Term, ...] = ()
    match term:
        case Add(args) | Mul(args):
            inner = args
        case Power(base, _):
            inner = (base,)
    return list(dict.fromkeys(found for part in inner for found in expectations(part)))


def outer_value(term: Term, means: Mapping[Expect, Tensor]) -> Tensor:
    """The value of a term for given values of its expectations, one for each coordinate of theta."""
    match term:
        case Expect():
            return means[term]
        case Number(value):
            return next(iter(means.values())).new_full((1,), float(value))
        case Add(args):
            return fold(torch.add, [outer_value(arg, means) for arg in args])
        case Mul(args):
            return fold(torch.mul, [outer_value(arg, means) for arg in args])
        case Power(base, exponent):
            return outer_value(base, means) ** exponent
    message = f"a {type(term).__name__} outside of the expectations of a target has no exact value in the crosscheck."
    raise UsageError(message)


@dataclass
class Rows:
    """An interpreter of what is inside an expectation, at rows of noise: a scalar has shape (rows, 1) or (rows, n)."""

    estimator: Estimator
    family: str
    leaves: dict[str, Tensor]
    noise: dict[str, Tensor]
    functions: Functions
    constants: Mapping[str, Any]
    memo: dict[Term, Tensor] = field(default_factory=dict)

    @cached_property
    def _location(self) -> Location:
        return location_and_scale(self.estimator, family_of(self.family), law_parameter(self.estimator))

    def body(self, term: Term) -> Tensor:
        """The value of an expectation's integrand, shape (rows, coordinates of theta)."""
        while isinstance(term, Expect):
            if term.variable not in self.estimator.draws:
                self._refuse(term)
            term = term.body
        rows, n = self._first.shape
        return self.scalar(term).expand(rows, n * len(self.leaves))

    @property
    def _first(self) -> Tensor:
        return next(iter(self.noise.values()))

    def scalar(self, term: Term) -> Tensor:
        """The value of a scalar, computed once."""
        if term not in self.memo:
            self.memo[term] = self._scalar(term)
        return self.memo[term]

    def _scalar(self, term: Term) -> Tensor:
        match term:
            case Number(value):
                return self._first.new_full((1, 1), float(value))
            case Symbol(name):
                return torch.as_tensor(self.constants[name], dtype=torch.float64, device=self._first.device).reshape(1, 1)
            case Add(args):
                return fold(torch.add, list(map(self.scalar, args)))
            case Mul(args):
                return fold(torch.mul, list(map(self.scalar, args)))
            case Power(base, exponent):
                return self.scalar(base) ** exponent
            case Score(law, at, parameter) if parameter == law_parameter(self.estimator):
                return self._by_theta(self._log_density(law, self.vector(at).detach()))
            case Grad(body, parameter) if parameter == law_parameter(self.estimator):
                return self._by_theta(self.scalar(body))
            case Apply(function, args) if type(function) is Function:
                return self.functions[function.name](*map(self._argument, args)).double()[:, None]
        self._refuse(term)

    def _by_theta(self, value: Tensor) -> Tensor:
        """The derivative of one number for each row, by the parameters of its row."""
        total, leaves = value.sum(), list(self.leaves.values())
        return torch.cat(torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True), -1)

    def _argument(self, arg: Term) -> Any:
        return self.constants[arg.name] if isinstance(arg, Symbol) else self.vector(arg)

    def vector(self, term: Term) -> Tensor:
        """The value of an event, shape (rows, n), computed once."""
        if term not in self.memo:
            self.memo[term] = self._vector(term)
        return self.memo[term]

    def _vector(self, term: Term) -> Tensor:
        match term:
            case RandomVariable(name):
                return self.noise[name]
            case Apply(Latent(), (u, _)):
                return self._latent(self.vector(u))
            case Apply(Threshold(), (z,)):
                return self._threshold(self.vector(z))
            case Apply(ConditionalLatent(), (v, b, _)):
                return self._conditional(self.vector(v), self.vector(b))
            case Apply(SoftThreshold(), (z, temperature)):
                x = self.vector(z) / self.scalar(temperature)
                return torch.softmax(x, -1) if self.family == "categorical" else torch.sigmoid(x)
            case Apply() if self._location.of(term) is not None:
                return self.leaves["loc"] if self._location.of(term) == "loc" else self.leaves["log_scale"].exp()
            case Add(args):
                return fold(torch.add, list(map(self.vector, args)))
            case Mul(args):
                return fold(torch.mul, list(map(self.vector, args)))
        self._refuse(term)

    # The relaxation of Tucker et al. (2017) for bits, that of Maddison et al. (2017) and Grathwohl et al. (2018) for classes

    def _latent(self, u: Tensor) -> Tensor:
        logits = self.leaves["logits"]
        if self.family == "categorical":
            return torch.log_softmax(logits, -1) - (-u.log()).log()
        return logits + u.log() - (1 - u).log()

    def _threshold(self, z: Tensor) -> Tensor:
        if self.family == "categorical":
            return torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).double()
        return (z > 0).double()

    def _conditional(self, v: Tensor, b: Tensor) -> Tensor:
        """For bits u = v p + (1 - p) given a one, v (1 - p) given a zero; for classes the least exponential, and the others."""
        if self.family == "categorical":
            exponential = -v.log()
            least = (b * exponential).sum(-1, keepdim=True)
            rate = torch.softmax(self.leaves["logits"], -1)
            return -torch.where(b > 0, exponential, exponential / rate + least).log()
        p = torch.sigmoid(self.leaves["logits"])
        return self._latent(torch.where(b > 0, v * p + (1 - p), v * (1 - p)))

    def _log_density(self, law: Law, at: Tensor) -> Tensor:
        if law.terms != (law_parameter(self.estimator),) and not isinstance(law, NormalLaw):
            self._refuse_law()
        if self.family == "normal":
            normal = torch.distributions.Normal(self.leaves["loc"], self.leaves["log_scale"].exp(), validate_args=False)
            log_p: Tensor = normal.log_prob(at)
            return log_p
        logits = self.leaves["logits"]
        if self.family == "categorical":
            return at * torch.log_softmax(logits, -1)
        return -torch.nn.functional.binary_cross_entropy_with_logits(logits, at, reduction="none")

    def _refuse_law(self) -> NoReturn:
        message = f"the target of {self.estimator.name!r} has a law that is not the one of the {self.family} family."
        raise UsageError(message)

    def _refuse(self, term: Term) -> NoReturn:
        message = (
            f"the crosscheck has no exact value for a {type(term).__name__} in the target of {self.estimator.name!r}: of a "
            "variance it knows sums, products and powers of functions, of scores, and of gradients by the law's parameter."
        )
        raise UsageError(message)
