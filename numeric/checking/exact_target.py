"""The exact gradient of the target of any estimator: its objective is evaluated as it stands, and differentiated by autograd.

This is the judge of generated code, so it shares none with it: the formula of the objective is interpreted (not printed),
expectations are sums over every outcome or quadrature node (not draws), and autograd differentiates the whole (no score, no
symbolic derivative). A normal variable is loc + scale * x at fixed nodes x, so that a reparameterized estimate over the same
nodes has the same mean, converged or not. A law with a name is a density at nodes that stand still.

`Stop` changes no value, so an objective is read without it: its true gradient does not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, NoReturn, TypeGuard

import torch
from torch import Tensor

from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Sigmoid,
    Sign,
    Stop,
    Symbol,
    Term,
    UniformLaw,
)
from numeric.checking.exact_gradient import gauss_hermite, gauss_legendre
from numeric.checking.problem.joint_rows import FiniteLaws
from numeric.checking.problem.named_laws import log_density, nodes_of, values_of
from numeric.codegen.families import family_of
from numeric.codegen.inventory import law_parameter
from numeric.codegen.laws import logits_of_laws
from numeric.codegen.meaning.location import Location, location_and_scale

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
        parameters  {"logits": (n,)} or {"loc": (n,), "log_scale": (n,)}; of several laws the logits of each, by its name
        functions   the functions of the formula by their names: outcomes (..., n) to values (...), for any leading dimensions
        constants   the constants by their names: numbers, or tensors where the formula multiplies them with outcomes
        nodes       Gauss-Hermite nodes for each coordinate of a normal variable

    Returns
        Shape (n,) for logits, (2 n,) for loc and log_scale, that of the constant where the target is differentiated by one; the
        entries of all laws that depend on its parameter, where there are several.

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
        still = {one.name for one in logits_of_laws(estimator, target=True) if not one.moves}
        wanted = [leaf for name, leaf in leaves.items() if name not in still]
    with torch.enable_grad():
        value = Interpreter(estimator, family, leaves, functions, given, nodes).scalar(estimator.objective)
    if not value.requires_grad:
        return torch.cat([torch.zeros_like(part).flatten() for part in wanted], -1)
    gradients = torch.autograd.grad(value.sum(), wanted, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients], -1)


@dataclass
class Interpreter:
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

    @cached_property
    def _laws(self) -> FiniteLaws:
        return FiniteLaws.of(self.estimator, self.family, self.parameters)

    @cached_property
    def _location(self) -> Location:
        return location_and_scale(self.estimator, family_of(self.family), law_parameter(self.estimator))

    def scalar(self, term: Term) -> Tensor:
        """The value of a scalar, shape (outcomes of the last bound variable, ..., outcomes of the first)."""
        match term:
            case Number(value):
                return self._first.new_full((), float(value))
            case Symbol(name) if self._is_constant(term):
                return torch.as_tensor(self._constant(name), dtype=torch.float64, device=self._first.device)
            case Symbol() if self.family == "vector" and self._first.numel() == 1:
                return self.parameters[next(iter(self.parameters))].sum()
            case RandomVariable() if self.family == "vector" and self._first.numel() == 1:
                return self.values[term].squeeze(-1)
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
            case Sign(arg):
                return self.scalar(arg).sign()
            case Entry(values, entries, at) if self._first.numel() == 1:
                return entry_at(self.vector(at).squeeze(-1), values, [self.scalar(one) for one in entries])
            case Density(law, at):
                return self._log_density(law, self.vector(at)).exp()
            case Stop(body):
                return self.scalar(body).detach()
            case Expect(body, variable):
                return self._mean(body, variable, self.scalar)
            case Over(body, variable) if isinstance(variable.law, FiniteLaw):
                return self._mean(body, variable, self.scalar, weighted=False)
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
            case Symbol() if term == law_parameter(self.estimator) and len(self.parameters) == 1:
                return next(iter(self.parameters.values()))
            case Symbol(name) if self._is_constant(term):
                return torch.as_tensor(self._constant(name), dtype=torch.float64, device=self._first.device)
            case Add(args):
                return fold(torch.add, [self.vector(arg) for arg in args])
            case Mul(args):
                return fold(torch.mul, [self.vector(arg) for arg in args])
            case Power(base, exponent):
                return self.vector(base) ** exponent
            case Log(arg):
                return self.vector(arg).log()
            case Exp(arg):
                return self.vector(arg).exp()
            case Sigmoid(arg):
                return self.vector(arg).sigmoid()
            case Sign(arg):
                return self.vector(arg).sign()
            case Entry(values, entries, at):
                return entry_at(self.vector(at), values, [self.vector(one) for one in entries])
            case Apply(_, args) if self._location.of(term) is not None:
                tensor = self.parameters["loc"] if self._location.of(term) == "loc" else self.parameters["log_scale"].exp()
                given = [self._laws.number(self.vector(arg)) for arg in args if arg != self._location.theta]
                return tensor[tuple(given)] if given else tensor
        self._refuse(term)

    def _refuse(self, term: Term) -> NoReturn:
        message = (
            f"the crosscheck has no exact value for a {type(term).__name__} in the target of {self.estimator.name!r}: it knows "
            "expectations over finite and normal laws, and those with names, of functions, densities and constants."
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
        constants = [arg for arg in args if isinstance(arg, Symbol)]
        if len(vectors) == 1 and not constants:
            vectors += [arg for arg in args if arg not in vectors and _is_slope(arg)]
        if self.family != "vector" and (len(vectors) + len(constants) == 1 or len(vectors) > 1 + (not constants)):
            message = (
                f"the target of {self.estimator.name!r} uses a vector as a number: it may stand as an argument of a function,"
                " or in an inner product with a constant or with one other vector."
            )
            raise UsageError(message)
        scalars = [arg for arg in args if arg not in vectors and not isinstance(arg, Symbol)]
        factors = [self.vector(arg) for arg in args if arg not in scalars]
        inner = fold(torch.mul, factors).sum(-1)
        return fold(torch.mul, [inner, *(self.scalar(arg) for arg in scalars)])

    def _apply(self, name: str, args: tuple[Term, ...]) -> Tensor:
        function = self.functions[name]
        numbers = self.family == "vector" and all(isinstance(arg, Number) for arg in args)
        if not (numbers or any(map(self._is_event, args))):
            values = [self._constant(arg.name) if self._is_constant(arg) else self.scalar(arg) for arg in args]
            if not any(isinstance(value, Tensor) for value in values):
                message = f"the target of {self.estimator.name!r} applies {name} to numbers: it is known at vectors."
                raise UsageError(message)
            return function(*values)
        return function(*map(self.vector, args)).double()

    def _is_event(self, arg: Term) -> bool:
        leaves = free(arg)
        theta = law_parameter(self.estimator)
        return _holds_vector(arg) or any(leaf == theta or isinstance(leaf, RandomVariable) for leaf in leaves)

    def _is_constant(self, term: Term) -> TypeGuard[Symbol]:
        return isinstance(term, Symbol) and term != law_parameter(self.estimator)

    def _mean(
        self, body: Term, variable: RandomVariable, read: Callable[[Term], Tensor], *, weighted: bool = True
    ) -> Tensor:
        """The weighted sum over every outcome, in a new first dimension; without weights, the sum."""
        outcomes, weights = self._outcomes(variable.law)
        weights = weights if weighted else torch.ones_like(weights)
        depth, outer, rows = self.depth, self.values, self.rows
        size = rows * len(outcomes) * outcomes.shape[-1]
        if size > MAX_ELEMENTS:
            message = f"the target of {self.estimator.name!r} has {size} numbers, more than {MAX_ELEMENTS}: use a smaller size."
            raise TooLarge(message)
        self.values = {**outer, variable: outcomes}
        self.depth, self.rows = depth + 1, rows * len(outcomes)
        value = read(body)
        self.depth, self.values, self.rows = depth, outer, rows
        last = [1] if read == self.vector else []
        value = value if value.ndim > depth + len(last) else value[None]
        return (value * weights.reshape(*weights.shape, *last)).sum(0)

    # Laws

    def _outcomes(self, law: Law) -> tuple[Tensor, Tensor]:
        """Every outcome, shape (outcomes, *dimensions, n), and the probabilities, (outcomes, *dimensions), differentiable.

        There is a dimension for each variable that is bound outside, of size 1 where the law is not given that one.
        """
        ones = [1] * self.depth
        if isinstance(law, FiniteLaw) and not self._as_normal:
            outcomes = self._laws.outcomes(law)
            outcomes = outcomes.reshape(-1, *ones, outcomes.shape[-1])
            weights = self._log_density(law, outcomes).exp()
            return outcomes, weights.reshape(len(outcomes), *[1] * (self.depth + 1 - weights.ndim), *weights.shape[1:])
        if isinstance(law, NamedLaw):
            return self._nodes(law)
        x, w = self._noise(law)
        x, w = x.reshape(-1, *ones, x.shape[-1]), w.reshape(-1, *ones)
        if isinstance(law, UniformLaw):
            low, high = self.vector(law.low), self.vector(law.high)
            return low + (high - low) * x, w
        loc, scale = self._loc_and_scale(law)
        return loc + scale * x, w

    def _nodes(self, law: NamedLaw) -> tuple[Tensor, Tensor]:
        """Nodes that stand still, and weights with the density, which moves."""
        x, log_w = nodes_of(law, values_of(law, self.vector), self._first.shape[-1], self.nodes)
        x, log_w = x.reshape(-1, *[1] * self.depth, x.shape[-1]), log_w.reshape(-1, *[1] * self.depth)
        return x, (log_w + self._log_density(law, x)).exp()

    @property
    def _as_normal(self) -> bool:
        """Whether the law p(b; theta) of a formula is a normal one, of loc and log_scale."""
        return self.family == "normal" and set(self.parameters) == {"loc", "log_scale"}

    def _noise(self, law: Law) -> tuple[Tensor, Tensor]:
        """The nodes of the noise of a continuous law, shape (rows, n), and their weights, shape (rows,)."""
        like = self.parameters.get("loc", self._first)
        n = like.shape[-1]
        if self.nodes**n * n > MAX_ELEMENTS:
            message = f"{self.nodes} nodes for each of {n} coordinates are too many: use a smaller size."
            raise TooLarge(message)
        x, w = (gauss_legendre if isinstance(law, UniformLaw) else gauss_hermite)(self.nodes, like)
        grid = torch.cartesian_prod(*[torch.arange(self.nodes, device=like.device)] * n).reshape(-1, n)
        return x[grid], w[grid].prod(-1)

    def _loc_and_scale(self, law: Law) -> tuple[Tensor, Tensor]:
        if isinstance(law, FiniteLaw) and self._as_normal:
            return self.parameters["loc"], self.parameters["log_scale"].exp()
        if isinstance(law, NormalLaw):
            return self.vector(law.loc), self.vector(law.scale)
        what = type(law).__name__
        message = (
            f"the target of {self.estimator.name!r} has a {what}: expected a finite, a normal or a uniform law, or one with a"
            " name."
        )
        raise UsageError(message)

    def _log_density(self, law: Law, at: Tensor) -> Tensor:
        if isinstance(law, FiniteLaw) and not self._as_normal:
            return self._laws.log_probability(law, at, self.vector)
        if isinstance(law, NamedLaw):
            return log_density(law, at, values_of(law, self.vector))
        normal = torch.distributions.Normal(*self._loc_and_scale(law), validate_args=False)
        log_p: Tensor = normal.log_prob(at).sum(-1)
        return log_p


def entry_at(at: Tensor, values: Sequence[Fraction], entries: Sequence[Tensor]) -> Tensor:
    """The entry of a table at numbers, all of which are among the values."""
    terms = [torch.where(at == float(value), one, 0.0) for value, one in zip(values, entries, strict=True)]
    return fold(torch.add, terms)


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
        case Power(base, exponent):
            return exponent > 1 and _holds_vector(base)
    return False


def _is_slope(term: Term) -> bool:
    """Whether a sum is a vector beside another one: constants, and multiples of outcomes by constants."""
    if not (isinstance(term, Add) and any(isinstance(leaf, RandomVariable) for leaf in free(term))):
        return False
    factors = [arg.args if isinstance(arg, Mul) else (arg,) for arg in term.args]
    return all(isinstance(one, (Number, Symbol)) or _holds_vector(one) for each in factors for one in each)


def _is_scalar(term: Term) -> bool:
    """Whether a term is a number whatever stands beside it; a constant is not, it may be a vector."""
    factors = term.args if isinstance(term, Mul) else (term,)
    return not _holds_vector(term) and not all(isinstance(factor, (Number, Symbol)) for factor in factors)
