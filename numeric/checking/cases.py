"""The problem that the crosscheck tries an estimator on: parameters, constants, functions, and nodes for its expectation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends, free
from derive.language.term import (
    Apply,
    Expect,
    FiniteLaw,
    Function,
    NamedLaw,
    NormalLaw,
    RandomVariable,
    Symbol,
    Term,
    UniformLaw,
)
from numeric.checking.exact_directions import exact_derivatives
from numeric.checking.exact_gradient import exact_gradient
from numeric.checking.exact_relaxed import exact_relaxed_target, is_relaxed
from numeric.checking.exact_target import Interpreter, exact_target
from numeric.checking.exact_variance import exact_variance_gradient
from numeric.checking.problem.domain import constants_of_laws, point_in_domain
from numeric.checking.problem.functions import functions_for, signed_constants
from numeric.checking.problem.joint_rows import FiniteLaws, joint_rows
from numeric.checking.problem.kinks import require_smooth
from numeric.checking.problem.noise_nodes import noise_rows
from numeric.checking.problem.poles import require_mean
from numeric.codegen.expressions import Kind
from numeric.codegen.families import family_of
from numeric.codegen.inputs import Gradient, Objective
from numeric.codegen.inventory import has_coordinates, is_coordinatewise, is_summed, used_as_number, vector_constants
from numeric.codegen.laws import Logits, laws_of, logits_of_laws
from numeric.codegen.meaning.instances import in_family
from numeric.codegen.meaning.vectors import functions_with_slopes
from numeric.codegen.noise_roles import degree, exact_rule, is_polynomial, reparameterized, roles
from numeric.codegen.torchgen import Generated, generate

QUADRATIC, QUARTIC = 2, 4
FEWEST_NODES = {QUADRATIC: 5, QUARTIC: 8}  # code that is wrong may be no polynomial, and must not be right at all nodes
LEGENDRE_NODES = 14
SMALLEST_NODES = 40  # of each noise, at the smallest size
JOINT_NODES = 12  # of three classes, where noise in h and in h_tilde is multiplied: the rows are their fourth power
UNBOUNDED_NODES = (30, 18)
MOST_NODES = 220
MAX_ROWS = 2**16
MAX_JUDGED = 2**20
MAX_OUTCOMES = 2**12
MAX_POLYNOMIAL = 2**21
MOST_JOINT_NODES = 48
NAMED_NODES, MAX_NAMED_ROWS, CHEAP_ROWS = (64, 128), 2**18, 2**12  # farther out, scores overflow
MORE_NODES = ("Laplace", "Maxwell", "Geometric", "NegativeBinomial")  # both halves of the line, and a long tail
SIZE = 3
CONSTANTS = {"c": 0.3, "eta": 0.7}
TEMPERATURES = (1.0, 0.5)
SIGNED = (4.0, -1.0)  # what constants that decide a branch are multiplied by


class Case:
    """One problem; every number in it is fixed, and exact in float32."""

    estimator: Estimator
    family: str
    generated: Generated
    joint: bool
    polynomial: bool
    size: int
    laws: tuple[Logits, ...]
    beside: tuple[Logits, ...]
    names: tuple[str, ...]
    device: torch.device
    function: dict[str, Objective]
    plain: bool
    summed: bool
    unbounded: bool
    vectors: set[str]
    smallest: bool
    signed: set[str]
    named: bool
    of_laws: dict[str, float]
    _exact: dict[tuple[int, int], Tensor]

    def __init__(
        self,
        estimator: Estimator,
        family: str,
        device: str,
        size: int | None,
        *,
        smallest: bool = False,
        generated: Generated | None = None,
    ) -> None:
        estimator = in_family(estimator, family)
        self.estimator, self.family = estimator, family
        self.generated = generate(estimator, family) if generated is None else generated
        self.joint = bool(self.generated.laws) or family == "vector"
        self.polynomial = not self.joint and (family != "normal" or is_polynomial(estimator))
        self.smallest, self.signed = smallest, signed_constants(estimator) if smallest else set()
        self.size = natural_size(estimator, family) if size is None else size
        if smallest and not self.joint:
            self.size = 2 if family == "categorical" else 1
        self.names = self.generated.gives or family_of(family).parameters
        laws = logits_of_laws(estimator, target=True)
        self.laws = laws if self.generated.laws else ()
        self.beside = laws[1:] if len(laws) > 1 and not self.laws else ()
        if self.beside and (family == "normal" or any(one.conditions for one in laws)):
            message = (
                f"the target of {estimator.name!r} has the laws {', '.join(one.name for one in laws)}, and its code one only: "
                "the crosscheck gives logits to the laws of the code, and classes or bits to others that are given nothing."
            )
            raise UsageError(message)
        self.device = torch.device(device)
        kind = {"polynomial": self.polynomial, "joint": self.joint, "smallest": smallest}
        self.function = functions_for(estimator, family, self.generated, **kind)
        self.plain, self.summed = not self.joint and _is_plain(estimator), is_summed(estimator)
        self.unbounded = roles(estimator).unbounded
        self.named = any(isinstance(law, NamedLaw) for law in laws_of(estimator))
        self.vectors = self._vectors()
        self.of_laws = constants_of_laws(estimator)
        self._exact = {}
        require_mean(estimator)
        if self.named:
            require_smooth(estimator)

    @property
    def objective(self) -> tuple[Objective, ...]:
        """The first function, if there is one."""
        return tuple(self.function[name] for name in self.generated.functions[:1])

    def parameters(self, k: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """The k-th parameter point, each of shape (size,); spread over both signs."""
        if self.laws:
            return {name: value.to(self.device, dtype) for name, value in self._of_laws(k).items() if name in self.names}
        spread = 0.3 if self.family == "categorical" else 0.8
        steep = 0.4 if self.polynomial or reparameterized(self.estimator) else 0.2  # of a ratio of weights, slow to integrate
        if self.named:
            constants = {name: torch.as_tensor(value) for name, value in self._constants(self.keywords(k)).items()}
            point = point_in_domain(self.estimator, self._wave(1.7, k), constants)
            return {name: point.to(self.device, dtype) for name in self.names}
        values = [spread * self._wave(1.7, k), steep * torch.sin(1.3 * self._count() - k)][: len(self.names)]
        return {name: value.to(self.device, dtype) for name, value in zip(self.names, values, strict=True)}

    def _of_laws(self, k: int) -> dict[str, Tensor]:
        """The logits of every law, those of the target too: each law and each row another."""
        found = {}
        for i, one in enumerate(self.laws or self.beside):
            rows = 2**self.size if self.family == "bernoulli" else self.size
            shape = [rows] * one.conditions + [self.size]
            count = torch.arange(1, 1 + math.prod(shape), dtype=torch.float32)
            found[one.name] = (0.6 * torch.cos((1.7 + 0.2 * i) * count + k + 0.9 * i)).reshape(shape)
        return found | ({name: self._rows(name, k) for name in ("loc", "log_scale")} if self.family == "normal" else {})

    def _rows(self, name: str, k: int) -> Tensor:
        """The loc or log_scale of a normal law, one row for each outcome that it is given, each another."""
        shape = [self.size] * (1 + len(dict(self.generated.location)[name]))
        count = torch.arange(1, 1 + math.prod(shape), dtype=torch.float32).reshape(shape)
        return 0.8 * torch.cos(1.7 * count + k) if name == "loc" else 0.4 * torch.sin(1.3 * count - k)

    def _count(self) -> Tensor:
        return torch.arange(1, self.size + 1, dtype=torch.float32)

    def _wave(self, frequency: float, phase: float) -> Tensor:
        return torch.cos(frequency * self._count() + phase)

    def shaped(self, parameters: dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """What `compile` takes: the logits themselves, or a dictionary."""
        return parameters if len(self.names) > 1 or self.laws else parameters[self.names[0]]

    def keywords(self, k: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        """Values for all constants and other functions of the formula."""
        known = CONSTANTS | {"lambda_": TEMPERATURES[k]}
        constants: dict[str, Any] = {}
        for i, (name, _) in enumerate(self.generated.symbols):
            if name == self.generated.parameter and self.generated.kinds[name] is Kind.NUMBER:
                constants[name] = torch.tensor([known.get(name, 0.4)], device=self.device, dtype=dtype)
            elif name in self.vectors:
                middle, spread = (0.6, 0.2) if name in self.of_laws else (0.0, 0.5)
                constants[name] = (middle + spread * self._wave(0.9 + 0.4 * i, k)).to(self.device, dtype)
            else:
                constants[name] = known.get(name, 0.4 + 0.1 * i)
            if name in self.signed:
                constants[name] = SIGNED[k] * constants[name]
            constants[name] = constants[name] + self.of_laws.get(name, 0.0)
        return {name: self.function[name] for name in self.generated.functions[1:]} | constants

    def drawn_with(self, k: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        """The constants of the laws of the draws."""
        return {name: value for name, value in self.keywords(k, dtype).items() if name in self.generated.drawn_with}

    def _vectors(self) -> set[str]:
        """The constants that get a vector: they multiply one, are an argument of a function, or are differentiated by."""
        kinds, names = self.generated.kinds, self.generated.names
        of_formula = {name for name, kind in kinds.items() if kind in {Kind.VECTOR, Kind.ANYTHING}}
        of_target = {names[symbol] for symbol in vector_constants(self.estimator.objective) if symbol in names}
        if self.joint:  # there a constant times noise is no inner product
            of_target = set()
        by = {self.generated.parameter} if self.generated.parameter else set()
        return of_formula | of_target | by

    # Both sides of the comparison

    def rows(self, k: int, nodes: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Every outcome and node of the draws, with their weights."""
        if not self.joint:
            yield from noise_rows(self.estimator, self.family, self.parameters(k), nodes)
            return
        yield self._joint(k, nodes, self._every_parameter(k))

    def _joint(self, k: int, nodes: int, parameters: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        laws = FiniteLaws.of(self.estimator, self.family, parameters)
        known = self._constants(self.keywords(k))
        objective = partial(Interpreter, self.estimator, self.family, parameters, {}, known, nodes)

        def vector(term: Term, draws: Mapping[str, Tensor]) -> Tensor:
            values = {draw: draws[draw.name] for draw in self.estimator.draws if draw.name in draws}
            return objective(values=values).vector(term)

        return joint_rows(self.estimator, laws, self.size, nodes, vector)

    def probabilities(self) -> dict[tuple[float, ...], float]:
        """The probability of each joint outcome of the draws at the first point, all of them finite."""
        noise, weights = self._joint(0, 0, {name: part.cpu() for name, part in self._every_parameter(0).items()})
        keys = torch.cat([noise[draw.name] for draw in self.estimator.draws], -1)
        return dict(zip(map(tuple, keys.tolist()), weights.tolist(), strict=True))

    def _every_parameter(self, k: int) -> dict[str, Tensor]:
        """The parameters, and the logits of laws that occur in the target only."""
        every = self._of_laws(k) if self.laws or self.beside else {}
        others = {name: value.to(self.device, torch.float64) for name, value in every.items()}
        return self.parameters(k) | {name: value for name, value in others.items() if name not in self.names}

    def nodes(self) -> int:
        """Nodes for each noise: as many as are exact, or as reach rounding, or as are not too many together."""
        if self.named:
            cheap, feasible = self._nodes_within(CHEAP_ROWS), self._nodes_within(MAX_NAMED_ROWS)
            return max(min(NAMED_NODES[1], cheap), min(NAMED_NODES[0], feasible))
        if self.joint:
            return min(MOST_JOINT_NODES, self._nodes_within(MAX_ROWS))
        if self.unbounded and not self.smallest:
            return UNBOUNDED_NODES[self.size > {"categorical": 2, "bernoulli": 1}[self.family]]
        if not exact_rule(self.estimator):
            if self.smallest:
                return SMALLEST_NODES
            large = {"categorical": 4, "bernoulli": 3, "normal": 3}[self.family]
            fewer = 3 if self.family == "categorical" else 1
            if self.family == "categorical" and self.size > 2 and not roles(self.estimator).separate:
                return JOINT_NODES
            return LEGENDRE_NODES - fewer if self.size > large else LEGENDRE_NODES
        if self.polynomial:
            return hermite_nodes(self.estimator, smallest=self.smallest)
        return self._nodes_within(MAX_ROWS)

    def _nodes_within(self, rows: int) -> int:
        draws = self.estimator.draws
        mixed = {FiniteLaw, NormalLaw} <= {type(draw.law) for draw in draws}  # else all draws are normal in that family
        dimensions = self.size * sum(not (mixed and isinstance(draw.law, FiniteLaw)) for draw in draws)
        twice = 2 ** (self.size * sum(isinstance(draw.law, NamedLaw) and draw.law.name in MORE_NODES for draw in draws))
        return max(nodes for nodes in range(2, MOST_NODES + 1) if nodes == 2 or twice * nodes**dimensions <= rows)

    @property
    def converges(self) -> bool:
        """Whether the mean of the estimate has an error of quadrature that the exact gradient does not share."""
        return not exact_rule(self.estimator) or not (self.polynomial or reparameterized(self.estimator))

    def fewer(self, nodes: int) -> int:
        """A coarser rule, to see what the number of nodes changes: Gauss-Hermite converges too slowly for one node less."""
        return nodes - 1 if self.polynomial else 3 * nodes // 4

    @property
    def share(self) -> float:
        """The share of that change that is granted: a quarter where convergence is geometric, else all of it."""
        return 0.25 if self.polynomial and not self.unbounded else 1.0

    def exact(self, k: int, nodes: int) -> Tensor:
        """The exact gradient of the target at the k-th point, all coordinates in one dimension; computed once.

        Raises
            UsageError, if there is none, as where a slope f'(x) stands in the target.
        """
        if (k, nodes) not in self._exact:
            self._exact[k, nodes] = self._exact_at(k, nodes)
        return self._exact[k, nodes]

    def _exact_at(self, k: int, nodes: int) -> Tensor:
        if bent := functions_with_slopes(self.estimator.objective):
            of = ", ".join(sorted(function.name for function in bent))
            message = f"the target of {self.estimator.name!r} holds a slope of {of}; the crosscheck has no exact value for it."
            raise UsageError(message)
        parameters = self.parameters(k)
        if self.plain:
            nodes = hermite_nodes(self.estimator, smallest=self.smallest) if self.polynomial else nodes
            return flat(exact_gradient(self.objective[0], self.shaped(parameters), self.family, nodes=nodes))
        names, constants = self.generated.names, self._constants(self.keywords(k))
        functions = {thing.name: self.function[name] for thing, name in names.items() if isinstance(thing, Function)}
        if self.joint and self.summed:
            message = f"the crosscheck has no exact gradient of the variance of {self.estimator.name!r}, under several laws."
            raise UsageError(message)
        derived = has_coordinates(self.estimator.objective, self.estimator.parameter)
        exact = exact_derivatives if derived else exact_target
        exact = exact_relaxed_target if is_relaxed(self.estimator.objective) else exact
        exact = exact_variance_gradient if self.summed else exact
        every = self._every_parameter(k)
        given = every if self.joint or self.beside else parameters
        return exact(self.estimator, self.family, given, functions, constants, nodes)

    def _constants(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """The constants by their names in the formula."""
        names = self.generated.names
        given = {thing.name: keywords[name] for thing, name in names.items() if isinstance(thing, Symbol)}
        return self._of_target_only() | given

    def _of_target_only(self) -> dict[str, Any]:
        """Values for constants of the target that the formula has left out."""
        symbols = {leaf.name for leaf in free(self.estimator.target) if isinstance(leaf, Symbol)}
        return {name: CONSTANTS.get(name, 0.4) for name in symbols}

    def converged(self, k: int) -> tuple[Tensor, float]:
        """The exact gradient at as many nodes as are feasible, and by how much it moved in the last step."""
        if self.polynomial and not self.summed:
            return self.exact(k, hermite_nodes(self.estimator, smallest=self.smallest)), 0.0
        nodes = self.nodes() if self.summed or self.named else self._nodes_within(MAX_JUDGED)
        exact = self.exact(k, nodes)
        return exact, float((exact - self.exact(k, self.fewer(nodes))).abs().max()) if nodes > 2 else float("inf")


def natural_size(estimator: Estimator, family: str) -> int:
    """The size that is meant where none is given: 3, or less where all samples or nodes of that size would be too many.

    >>> from derive.catalogue import catalogue
    >>> natural_size(catalogue["vimco"], "bernoulli"), natural_size(catalogue["iwae"], "normal")
    (3, 2)
    """
    if family == "vector":
        named = any(isinstance(law, NamedLaw) for law in laws_of(estimator))
        number = used_as_number(_under_means(estimator.objective) if named else estimator.objective, estimator.parameter)
        several = named and len(estimator.draws) > 1  # nodes of each draw and coordinate
        return SIZE - 1 if is_coordinatewise(estimator) and not (number or several) else 1
    known = roles(estimator)
    if not known.separate:  # three classes where 1e-12 is within reach: of two, a Gumbel and minus a Gumbel have one law
        return 3 if family == "categorical" and not known.unbounded else 2
    draws = len([draw for draw in estimator.draws if not isinstance(draw.law, UniformLaw)])
    if family == "normal" and {FiniteLaw, NormalLaw} <= set(map(type, laws_of(estimator))):
        return SIZE - 1  # as many outcomes as coordinates
    if family == "normal":
        fits = [n for n in (1, 2, 3) if hermite_nodes(estimator) ** (n * draws) <= MAX_POLYNOMIAL]
        if is_polynomial(estimator):
            return max(fits, default=1)
        return max(1, min(SIZE, 4 // draws)) if reparameterized(estimator) else 1
    outcomes = {n: (n if family == "categorical" else 2**n) ** draws for n in (1, 2, 3)}
    return max((n for n in outcomes if outcomes[n] <= MAX_OUTCOMES), default=1)


def _under_means(term: Term) -> Term:
    """What is averaged over all variables: there a parameter is one of no law."""
    return _under_means(term.body) if isinstance(term, Expect) else term


def hermite_nodes(estimator: Estimator, *, smallest: bool = False) -> int:
    """Return how many nodes are exact for the polynomials that the user's functions are in the normal family.

    >>> from derive.catalogue import catalogue
    >>> hermite_nodes(catalogue["score-function"]), hermite_nodes(catalogue["score-function"], smallest=True)
    (5, 8)
    """
    of_functions = QUARTIC if smallest or functions_with_slopes(estimator.formula) else QUADRATIC
    return max(FEWEST_NODES[of_functions], degree(estimator, of_functions) // 2 + 1)


def _is_plain(estimator: Estimator) -> bool:
    """Whether the target is that of one function of one variable, grad(E(f(b), b), theta)."""
    match estimator.objective:
        case Expect(Apply(Function() as function, (RandomVariable() as point,)), variable) if point == variable:
            known = type(function) is Function and isinstance(variable.law, (FiniteLaw, NormalLaw))
            return known and any(depends(term, estimator.parameter) for term in variable.law.terms)
    return False


def flat(gradient: Gradient, leading: int = -1) -> Tensor:
    """All coordinates in the last dimension, loc first; tables have their entries in those after the `leading` ones.

    Matrices by several parameters are one matrix of all of them, row by row.
    """
    parts: list[Any] = list(gradient.values()) if isinstance(gradient, dict) else [gradient]
    if isinstance(parts[0], dict):
        return torch.cat([torch.cat(list(row.values()), -1) for row in parts], -2).flatten(leading)
    return torch.cat([part.flatten(leading) for part in parts], -1)
