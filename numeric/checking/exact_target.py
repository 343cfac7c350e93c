"""The exact gradient of the target of any estimator: its objective is evaluated as it stands, and differentiated by autograd.

This is the judge of generated code, so it shares none with it: the formula of the objective is interpreted (not printed),
expectations are sums over every outcome or quadrature node (not draws), and autograd differentiates the whole (no score, no
symbolic derivative). A normal variable is loc + scale * x at fixed nodes x, so that a reparameterized estimate over the same
nodes has the same mean, converged or not.

`Stop` changes no value, so an objective is read without it: its true gradient does not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Law,
    Log,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Sigmoid,
    Stop,
    Symbol,
    Term,
)
from numeric.checking.exact_gradient import gauss_hermite
from numeric.codegen.families import family_of
from numeric.codegen.inventory import law_parameter, location_and_scale

MAX_ELEMENTS = 2**24

Functions = Mapping[str, Callable[..., Tensor]]


def exact_target(
    estimator: Estimator,
    family: str,
    parameters: Mapping[str, Tensor],
    functions: Functions,
    constants: Mapping[str, Any],
    nodes: int = 32,
) -> Tensor:
    """Return the gradient of the estimator's target, in float64, all parameters of the family in one dimension.

    Args
        parameters  {"logits": (n,)} or {"loc": (n,), "log_scale": (n,)}
        functions   the functions of the formula by their names: outcomes (..., n) to values (...), for any leading dimensions
        constants   the constants by their names: numbers, or tensors where the formula multiplies them with outcomes
        nodes       Gauss-Hermite nodes for each coordinate of a normal variable

    Returns
        Shape (n,) for logits, (2 n,) for loc and log_scale, that of the constant where the target is differentiated by one.

    Raises
        UsageError, if the objective is of a form that has no value here; the message says which part.
        TooLarge, if the outcomes of all variables together are more than 2**24 numbers.

    >>> from derive.catalogue import catalogue
    >>> exact_target(catalogue["score-function"], "bernoulli", {"logits": torch.zeros(1)}, {"f": lambda b: b.sum(-1)}, {})
    tensor([0.2500], dtype=torch.float64)
    """
    leaves = {name: part.detach().double().requires_grad_() for name, part in parameters.items()}
    by = estimator.parameter
    given = {name: value.double() if isinstance(value, Tensor) else value for name, value in constants.items()}
    if by != law_parameter(estimator):
        given[by.name] = given[by.name].detach().clone().requires_grad_()
        wanted = [given[by.name]]
    else:
        wanted = list(leaves.values())
    with torch.enable_grad():
        value = _Objective(estimator, family, leaves, functions, given, nodes).scalar(estimator.objective)
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(part) for part in wanted], -1)
    return torch.cat(torch.autograd.grad(value.sum(), wanted, materialize_grads=True), -1)


@dataclass
class _Objective:
    """An interpreter of one objective; each bound variable adds a dimension in front, with every outcome of it."""

    estimator: Estimator
    family: str
    parameters: dict[str, Tensor]
    functions: Functions
    constants: dict[str, Any]
    nodes: int
    values: dict[RandomVariable, Tensor] = field(default_factory=dict)
    depth: int = 0
    rows: int = 1

    @property
    def _first(self) -> Tensor:
        return next(iter(self.parameters.values())).detach()

    def scalar(self, term: Term) -> Tensor:
        """The value of a scalar, shape (outcomes of the last bound variable, ..., outcomes of the first)."""
        match term:
            case Number(value):
                return self._first.new_full((), float(value))
            case Symbol(name) if self._is_constant(term):
                return torch.as_tensor(self._constant(name), dtype=torch.float64, device=self._first.device)
            case Add(args):
                return fold(torch.add, [self.scalar(arg) for arg in args])
            case Mul(args):
                return self._product(args)
            case Power(base, exponent):
                return self.scalar(base) ** exponent
            case Log(Density(law, at)):
                return self._log_density(law, self.vector(at))
            case Log(arg):
                return self.scalar(arg).log()
            case Exp(arg):
                return self.scalar(arg).exp()
            case Sigmoid(arg):
                return self.scalar(arg).sigmoid()
            case Density(law, at):
                return self._log_density(law, self.vector(at)).exp()
            case Stop(body):
                return self.scalar(body).detach()
            case Expect(body, variable):
                return self._mean(body, variable, self.scalar)
            case Apply(function, args) if type(function) is Function:
                return self._apply(function.name, args)
        self._refuse(term)

    def vector(self, term: Term) -> Tensor:
        """The value of an argument of a function, shape (..., n)."""
        match term:
            case RandomVariable():
                return self.values[term]
            case Expect(body, variable):
                return self._mean(body, variable, self.vector)
            case Stop(body):
                return self.vector(body).detach()
            case Number(value):
                return self._first.new_full((1,), float(value))
            case Symbol() if term == law_parameter(self.estimator) and self.family != "normal":
                return self.parameters["logits"]
            case Symbol(name) if self._is_constant(term):
                return torch.as_tensor(self._constant(name), dtype=torch.float64, device=self._first.device)
            case Add(args):
                return fold(torch.add, [self.vector(arg) for arg in args])
            case Mul(args):
                return fold(torch.mul, [self.vector(arg) for arg in args])
            case Apply() if term in (names := location_and_scale(self.estimator, family_of(self.family))):
                return self.parameters["loc"] if names[term] == "loc" else self.parameters["log_scale"].exp()
        self._refuse(term)

    def _refuse(self, term: Term) -> NoReturn:
        message = (
            f"the crosscheck has no exact value for a {type(term).__name__} in the target of {self.estimator.name!r}: it knows "
            "expectations over finite and normal laws of functions, densities and constants."
        )
        raise UsageError(message)

    def _constant(self, name: str) -> Any:
        if name not in self.constants:
            message = f"the target of {self.estimator.name!r} needs the constant {name}; given: {', '.join(self.constants)}."
            raise UsageError(message)
        return self.constants[name]

    def _product(self, args: tuple[Term, ...]) -> Tensor:
        """A product of scalars; vectors among the factors, with the constants that multiply them, are one inner product."""
        vectors = [arg for arg in args if _holds_vector(arg)]
        if not vectors:
            return fold(torch.mul, [self.scalar(arg) for arg in args])
        scalars = [arg for arg in args if arg not in vectors and not isinstance(arg, Symbol)]
        factors = [self.vector(arg) for arg in args if arg not in scalars]
        inner = fold(torch.mul, factors).sum(-1)
        return fold(torch.mul, [inner, *(self.scalar(arg) for arg in scalars)])

    def _apply(self, name: str, args: tuple[Term, ...]) -> Tensor:
        function = self.functions[name]
        if not any(_holds_vector(arg) for arg in args):
            return function(*(self._constant(arg.name) if self._is_constant(arg) else self.scalar(arg) for arg in args))
        return function(*map(self.vector, args)).double()

    def _is_constant(self, term: Term) -> TypeGuard[Symbol]:
        return isinstance(term, Symbol) and term != law_parameter(self.estimator)

    def _mean(self, body: Term, variable: RandomVariable, read: Callable[[Term], Tensor]) -> Tensor:
        """The weighted sum over every outcome, in a new first dimension."""
        outcomes, weights = self._outcomes(variable.law)
        depth, outer, rows = self.depth, self.values, self.rows
        size = rows * outcomes.numel()
        if size > MAX_ELEMENTS:
            message = f"the target of {self.estimator.name!r} has {size} numbers, more than {MAX_ELEMENTS}: use a smaller size."
            raise TooLarge(message)
        self.values = {**outer, variable: outcomes.reshape(-1, *[1] * depth, outcomes.shape[-1])}
        self.depth, self.rows = depth + 1, rows * len(outcomes)
        value = read(body)
        self.depth, self.values, self.rows = depth, outer, rows
        last = [1] if read == self.vector else []
        return (value * weights.reshape(-1, *[1] * depth, *last)).sum(0)

    # Laws

    def _outcomes(self, law: Law) -> tuple[Tensor, Tensor]:
        """Every outcome, shape (outcomes, n), and the probabilities, shape (outcomes,), both differentiable."""
        self._check(law)
        if self.family == "normal":
            return self._normal_nodes()
        logits = self.parameters["logits"]
        n = logits.numel()
        if self.family == "categorical":
            return torch.eye(n, dtype=torch.float64, device=logits.device), torch.softmax(logits, 0)
        bits = torch.cartesian_prod(*[torch.arange(2, device=logits.device)] * n).reshape(-1, n).double()
        return bits, self._log_density(law, bits).exp()

    def _normal_nodes(self) -> tuple[Tensor, Tensor]:
        loc, scale = self.parameters["loc"], self.parameters["log_scale"].exp()
        n = loc.numel()
        if self.nodes**n * n > MAX_ELEMENTS:
            message = f"{self.nodes} nodes for each of {n} coordinates are too many: use a smaller size."
            raise TooLarge(message)
        x, w = gauss_hermite(self.nodes, loc)
        grid = torch.cartesian_prod(*[torch.arange(self.nodes, device=loc.device)] * n).reshape(-1, n)
        return loc + scale * x[grid], w[grid].prod(-1)

    def _log_density(self, law: Law, at: Tensor) -> Tensor:
        self._check(law)
        if self.family == "normal":
            normal = torch.distributions.Normal(self.parameters["loc"], self.parameters["log_scale"].exp(), validate_args=False)
            log_p: Tensor = normal.log_prob(at).sum(-1)
            return log_p
        logits = self.parameters["logits"]
        if self.family == "categorical":
            return (at * torch.log_softmax(logits, 0)).sum(-1)
        return (at * logsigmoid(logits) + (1 - at) * logsigmoid(-logits)).sum(-1)

    def _check(self, law: Law) -> None:
        theta = law_parameter(self.estimator)
        if isinstance(law, FiniteLaw) and law.parameters == (theta,) and not law.given:
            return
        known = location_and_scale(self.estimator, family_of(self.family))
        if isinstance(law, NormalLaw) and {law.loc, law.scale} <= set(known):
            return
        message = f"the target of {self.estimator.name!r} has a law that is not the one of the {self.family} family."
        raise UsageError(message)


def fold(operation: Callable[[Tensor, Tensor], Tensor], parts: list[Tensor]) -> Tensor:
    """Join tensors one after the other."""
    total = parts[0]
    for part in parts[1:]:
        total = operation(total, part)
    return total


def _holds_vector(term: Term) -> bool:
    """Whether a term is made of outcomes, with no function and no inner product between: then it is a vector."""
    match term:
        case RandomVariable():
            return True
        case Add(args):
            return any(map(_holds_vector, args)) and not any(_is_scalar(arg) for arg in args)
        case Mul(args):
            return any(map(_holds_vector, args)) and not any(isinstance(arg, Symbol) for arg in args)
        case Stop(body) | Expect(body, _):
            return _holds_vector(body)
    return False


def _is_scalar(term: Term) -> bool:
    """Whether a term is a number whatever stands beside it; a constant is not, it may be a vector."""
    factors = term.args if isinstance(term, Mul) else (term,)
    return not _holds_vector(term) and not all(isinstance(factor, (Number, Symbol)) for factor in factors)
