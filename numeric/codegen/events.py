"""The vectors of a formula (outcomes, latent variables, means) and the user's functions, printed as torch expressions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn

from derive.language.errors import UnknownNode, UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Latent,
    Law,
    Log,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
)
from derive.laws.occurrences import stands_at_its_law
from numeric.codegen.expressions import (
    Code,
    Kind,
    Level,
    Names,
    Shape,
    Writer,
    call,
    checked_identifier,
    coordinate,
    one,
    plus,
    power,
    times,
    zero,
)
from numeric.codegen.families import FAMILIES, Family, Finite, Normal
from numeric.codegen.inventory import NO_PARAMETER, constants_of, is_summed, law_parameter, location_and_scale, used_as_number
from numeric.codegen.laws import is_several, key_of, logits_of_laws, noise_of, unstopped


class Events(ABC):
    """The first part of a walk: names, vectors, and calls of the user's functions."""

    estimator: Estimator
    family: Family
    theta: Symbol
    law_parameter: Symbol
    summed: bool
    by: Symbol
    write: Writer
    parameters: tuple[str, ...]
    by_parameters: tuple[str, ...]
    wrt: str
    location: dict[Term, str]
    hints: dict[Term, str]
    sums: dict[tuple[Term, ...], Add]

    def __init__(self, estimator: Estimator, family: Family, names: Names, differentiated: frozenset[str]) -> None:
        self.estimator, self.family = estimator, family
        self.theta, self.law_parameter = estimator.parameter, law_parameter(estimator)
        self.summed = is_summed(estimator)
        self.by = self.law_parameter if self.summed else self.theta
        self.write = Writer(names)
        self.location = location_and_scale(estimator, family)
        self.laws = logits_of_laws(estimator)
        self.several = is_several(self.laws) or bool(self.laws and self.location)
        by_name = self.laws if self.several else ()
        self.logits = {key_of(one.law): names.fresh(f"{checked_identifier(one.name)}_logits") for one in by_name}
        self.outcomes = self._outcomes()
        self.by_parameters = self._by_parameters()
        self.parameters = self.by_parameters if self.theta == self.law_parameter else (names.of(self.theta),)
        self.wrt = (self.by_parameters if self.summed else self.parameters)[0]
        self.hints = {term: checked_identifier(name) for name, term in estimator.where}
        self.sums = {term.args: term for term in self.hints if isinstance(term, Add)}
        self.bound: dict[RandomVariable, str] = {}
        self.shapes: list[str] = []
        self.wanted = differentiated
        self.differentiated: set[str] = set()
        by_constant = self.summed or self.law_parameter == NO_PARAMETER
        is_number = by_constant and any(used_as_number(term, self.theta) for term in (estimator.formula, estimator.objective))
        self.kinds: dict[Symbol, Kind] = {self.theta: Kind.NUMBER} if is_number else {}
        self.fixed: set[tuple[str, int]] = set()
        self.baselines: set[str] = set()
        self.applied: set[str] = set()
        self.enumerates = False

    @abstractmethod
    def value(self, term: Term) -> Code:
        """The value of a scalar of the formula; `Values` has it."""

    def _outcomes(self) -> Family:
        """The family of the outcomes: with logits by name, a finite one."""
        if not self.several or isinstance(self.family, Finite):
            return self.family
        if self.location:
            return FAMILIES["categorical"]
        message = (
            f"{self.estimator.name!r} has the finite laws {', '.join(one.name for one in self.laws)}, each with logits of its "
            f"own, which the {self.family.name} family has not: it runs in the bernoulli and categorical families."
        )
        raise UsageError(message)

    def _by_parameters(self) -> tuple[str, ...]:
        """The tensors that the symbol of the law's parameters stands for."""
        if not self.several:
            return self.family.parameters
        moving = tuple(name for key, name in self.logits.items() if self.law_parameter in key[1])
        return moving + (self.family.parameters if self.location else ())

    # The tensors that are given

    @property
    def argument(self) -> str:
        """The name of the first argument of the generated functions."""
        return "params" if self.several else self.family.argument

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of the tensors of all parameters."""
        return (*self.logits.values(), *(self.family.parameters if self.location or not self.several else ()))

    def unpack(self, statements: list[str]) -> list[str]:
        """The statements that open a generated function, for what these statements use."""
        if not self.several:
            return self.family.unpack()
        used = [name for name in self.logits.values() if any(name in statement for statement in statements)]
        given = ", ".join(f'params["{self.key(name)}"]' for name in used)
        lines = [f"{', '.join(used)} = {given}"] if used else []
        return lines + (self.family.unpack() if self.location else [])

    def key(self, parameter: str) -> str:
        """The name under which a tensor is given, and its gradient returned."""
        return next((one.name for one in self.laws if self.logits.get(key_of(one.law)) == parameter), parameter)

    def batch(self, tensor: str) -> str:
        """The index that leaves the dimensions of the batch in a shape, where laws have sizes of their own."""
        return f"[:{-self.dimensions(tensor)}]" if self.several else ""

    def shape_of(self, draw: RandomVariable) -> str:
        """The shape of a draw: that of its law, or of the first law where it is noise."""
        if not self.several:
            return "shape"
        return f"(*shape, {self.tensor_of(draw)}.shape[-1])"

    def tensor_of(self, draw: RandomVariable) -> str:
        """The tensor whose last dimension a draw has: that of its law, of the law that it is noise of, or the first one."""
        laws = [draw.law, *noise_of(self.estimator.formula, draw)]
        known = [self.logits[key_of(law)] for law in laws if isinstance(law, FiniteLaw) and key_of(law) in self.logits]
        return known[0] if known else self.tensors[-1 if self.location else 0]

    def shapes_of_parameters(self) -> str:
        """What the first argument is, for the documentation of the module."""
        if not self.several:
            return self.family.shapes
        last = "K" if self.outcomes.name == "categorical" else "n"
        rows = {"K": "rows", "n": "2**n"}[last]
        listed = [f"{one.name} (*batch, {''.join([f'{rows}, '] * one.conditions)}{last})" for one in self.laws]
        kind = "one class of K" if last == "K" else "n independent bits"
        given = any(one.conditions for one in self.laws)
        table = "; of a law that is given outcomes, one row for each of them" if given else ""
        normal = ", and loc and log_scale (*batch, n)" if self.location else ""
        return f"params has the logits of each law, {kind}: {', '.join(listed)}{normal}{table}"

    def entries(self, parameter: str) -> str:
        """A tensor with its entries in one last dimension: those of a table stand in several."""
        dimensions = self.dimensions(parameter)
        return parameter if dimensions == 1 else f"{parameter}.flatten({-dimensions})"

    def dimensions(self, parameter: str) -> int:
        """How many dimensions of a tensor follow those of the batch: more than one of a table."""
        return next((1 + len(one.law.given) for one in self.laws if self.logits.get(key_of(one.law)) == parameter), 1)

    def constant(self, symbol: Symbol, kind: Kind) -> str:
        """The name of a constant, used where it may be of this kind; it must suit everywhere."""
        self.kinds[symbol] = min(kind, self.kinds.get(symbol, kind))
        return self.write.names.of(symbol)

    # The user's functions

    def _call_user(self, term: Apply) -> Code:
        name, args, text = self._called(term)
        for i in range(len(args)):
            if self._differentiating(text, i) in self.wanted:
                return Code(self._value_and_slope(text, name, args, i)[0], Shape.BATCH)
        return Code(self.write.assign(_joined(name, args), text), Shape.BATCH)

    def _called(self, term: Apply) -> tuple[str, list[str], str]:
        """The name of a function, its arguments, and the call."""
        self._check_user_function(term)
        name = self.write.names.of(term.function)
        constants_only = not any(isinstance(leaf, RandomVariable) or leaf == self.law_parameter for leaf in free(term))
        (self.baselines if constants_only else self.applied).add(name)
        if name in self.baselines & self.applied:
            message = f"{name} is applied to samples in one place and to constants only in another: give them two names."
            raise UsageError(message)
        args = [self._argument(arg) for arg in term.args]
        self.fixed |= {(name, i) for i, arg in enumerate(term.args) if isinstance(arg, Symbol) and arg != self.law_parameter}
        return name, args, f"{name}({', '.join(args)})"

    def _check_user_function(self, term: Apply) -> None:
        function = term.function
        if type(function) is not Function:
            message = f"{function.name} gives a vector: use it as an argument of a function, such as f({function.name}(...))."
            raise UsageError(message)
        if all(arg == self.law_parameter for arg in term.args) and len(self.by_parameters) > 1:
            message = (
                f"{function.name}({self.law_parameter.name}) is neither the mean nor the scale of the normal law of "
                f"{self.estimator.name!r}; those are what the {self.family.name} family knows."
            )
            raise UsageError(message)

    def _is_constant(self, arg: Term) -> bool:
        return isinstance(arg, Symbol) and arg not in {self.theta, self.law_parameter}

    def _argument(self, arg: Term) -> str:
        if isinstance(arg, Symbol) and (self._is_constant(arg) or (self.summed and arg == self.theta)):
            return self.constant(arg, Kind.ANYTHING)
        return self.value(arg).text if isinstance(arg, Number) else self.event(arg)

    def _value_and_slope(self, text: str, name: str, args: list[str], i: int) -> tuple[str, str]:
        hint = _joined(name, args)
        if len(args) == 1:
            return self.write.assign_pair(hint, f"value_and_gradient({name}, {args[0]})")
        constants = {self.write.names.of(symbol) for symbol in constants_of(self.estimator)}
        tensors = [arg for arg in args if arg.isidentifier() and arg not in constants]
        point = self._point(args[i], tensors)
        free_name = args[i] if args.count(args[i]) == 1 else "point"
        inner = ", ".join(free_name if j == i else arg for j, arg in enumerate(args))
        return self.write.assign_pair(hint, f"value_and_gradient(lambda {free_name}: {name}({inner}), {point})")

    def _point(self, arg: str, tensors: list[str]) -> str:
        """An argument expanded to every sample, so that each has a gradient of its own."""
        if tensors and arg not in tensors:
            return f"{arg}.expand(*{tensors[0]}.shape[:-1], -1)"
        shapes = ", ".join(f"{name}.shape" for name in tensors)
        return arg if len(tensors) <= 1 else f"{arg}.expand(torch.broadcast_shapes({shapes}))"

    def _differentiating(self, text: str, i: int) -> str:
        return f"{text} by {i}"

    # Events: the arguments of functions

    def event(self, term: Term) -> str:
        """The name of a vector that is an argument of a function."""
        code = self._event_code(term)
        hint = self.hints.get(term) or _hint(term)
        return self.write.assign(hint, code.text)

    def _event_code(self, term: Term) -> Code:
        if term in self.location:
            return Code(self.location[term], Shape.COORDINATE)
        match term:
            case RandomVariable():
                return Code(self.bound.get(term) or self.write.names.of(term), Shape.COORDINATE)
            case Symbol() if term not in {self.theta, self.law_parameter}:
                return Code(self.constant(term, Kind.VECTOR), Shape.NUMBER)
            case Number() | Symbol():
                return self.value(term)
            case Apply(function, args):
                return Code(self._map(function, args, term), Shape.COORDINATE, Level.SUM)
            case Add(args):
                return plus([self._event_code(arg) for arg in args])
            case Mul(args):
                return times([self._event_code(arg) for arg in args])
            case Power(base, exponent):
                return power(self._event_code(base), exponent)
            case Log(arg) | Exp(arg) | Sigmoid(arg):
                return call(type(term), self._event_code(arg))
            case Stop(body):
                return self._event_code(body)
            case Expect(body, variable):
                return Code(self._mean(body, variable), Shape.COORDINATE)
        message = f"a {type(term).__name__} is no vector, so it cannot be an argument of a function in the generated code."
        raise UsageError(message)

    def _mean(self, body: Term, variable: RandomVariable) -> str:
        """E[b], a vector; the mean of anything else made of b is refused."""
        if body != variable:
            message = (
                f"the formula of {self.estimator.name!r} uses the mean of something made of {variable.name} as a vector; the "
                f"generated code knows that of {variable.name} itself, E({variable.name}, {variable.name})."
            )
            raise UsageError(message)
        hint = f"mean_{variable.name}" if self.several else "mean"
        return self.write.assign(hint, self.law(variable.law).mean(self.write.assign))

    def _map(self, function: Function, args: tuple[Term, ...], term: Term) -> str:
        """The maps of a relaxation: h, H, h_tilde and sigma."""
        match function:
            case Latent():
                self._check_place(term, function.law)
                return self.law(function.law).latent(self._noise(args[0]), self.write.assign)
            case Threshold():
                return self.outcomes.threshold(self.event(args[0]))
            case ConditionalLatent():
                self._check_place(term, function.law)
                hint = self.hints.get(term, "z_tilde")
                return self.law(function.law).conditional(self._noise(args[0]), self.event(args[1]), hint, self.write.assign)
            case SoftThreshold():
                return self.outcomes.soft(self.event(args[0]), self.value(args[1]).at(Level.ATOM))
        message = (
            f"{function.name} is used as a vector inside another function; the generated code knows the vectors of a "
            "relaxation and, in the normal family, the mean and scale of the target's law."
        )
        raise UsageError(message)

    def _noise(self, term: Term) -> str:
        if not (isinstance(term, RandomVariable) and term.law == UniformLaw(zero(), one())):
            message = "the noise of a relaxation must be a variable that is uniform on (0, 1), such as uniform('u')."
            raise UsageError(message)
        return self.write.names.of(term)

    # Laws

    def law(self, law: Law | None) -> Family:
        """The family of a law, at the tensors of that law.

        Raises
            UsageError, if the law is neither finite nor normal.
        """
        match law:
            case FiniteLaw():
                return self._finite(law)
            case NormalLaw(loc, scale) if {unstopped(loc), unstopped(scale)} <= set(self.location):
                return self.family
            case NormalLaw(loc, scale):
                deviation = self.value(scale) if isinstance(scale, Symbol) else self._event_code(scale)
                mean = self._event_code(loc).at(Level.PRODUCT)
                return Normal(mean, deviation.at(Level.ATOM), call(Log, deviation).text)
        message = (
            f"{self.estimator.name!r} uses the density, the score or the mean of a {type(law).__name__}; the generated code"
            " has those of finite and normal laws."
        )
        raise UsageError(message)

    def _finite(self, law: FiniteLaw) -> Family:
        if not self.several or not isinstance(self.outcomes, Finite):
            return self.outcomes
        logits = self.logits[key_of(law)]
        if law.given:
            flat = logits if len(law.given) == 1 else f"{logits}.flatten({-len(law.given) - 1}, -2)"
            hint = "_".join([logits, "given", *(word(self.event(term)) for term in law.given)])
            logits = self.write.assign(hint, f"({self._row(law)}[..., None] * {flat}).sum(-2)")
        return type(self.outcomes)(logits)

    def _row(self, law: FiniteLaw) -> str:
        """Which row of the table of a law belongs to the outcomes that it is given, one-hot."""
        finite = self.outcomes
        rows = [self.write.assign(f"row_{event}", finite.row(event)) for event in map(self.event, law.given)]
        row = rows[0]
        for other in rows[1:]:
            row = self.write.assign("row", f"({row}[..., :, None] * {other}[..., None, :]).flatten(-2)")
        return row

    def by_logits(self, law: Law, text: str) -> Code | None:
        """From the derivative by the logits of one row to that by all entries of the table, in one dimension; None is zero."""
        if not isinstance(law, FiniteLaw) or self.by not in law.parameters:
            return None
        if not self.several:
            return coordinate(text)
        if self.logits[key_of(law)] != self.wrt:
            return None
        if not law.given:
            return coordinate(text)
        inner = text if text.isidentifier() else f"({text})"
        return Code(f"({self._row(law)}[..., :, None] * {inner}[..., None, :]).flatten(-2)", Shape.COORDINATE)

    # Refusals

    def _check_place(self, term: Term, law: FiniteLaw | None) -> None:
        """Refuse h(u, theta + t): the code draws from the law at its own parameter only."""
        if law is not None and isinstance(term, Apply) and not stands_at_its_law(term, law):
            message = (
                f"{self.estimator.name!r} takes {term.function.name} elsewhere than at the parameter of the law {law.name}: "
                f"expected {self.law_parameter.name}, or stop({self.law_parameter.name})."
            )
            raise UsageError(message)

    def _check_parameter(self, parameter: Symbol) -> None:
        if parameter != self.by:
            message = f"{self.estimator.name!r} differentiates by {parameter.name}; its target, by {self.theta.name}."
            raise UsageError(message)


def _joined(name: str, args: list[str]) -> str:
    return "_".join([name, *(word(arg) for arg in args)])


def word(text: str) -> str:
    """Part of a readable name: an identifier as it is, a number without its point."""
    return "".join(char if char.isalnum() or char == "_" else "_" for char in text).strip("_") or "x"


def _hint(term: Term) -> str:
    """A readable name for a vector that the estimator does not name itself."""
    match term:
        case RandomVariable(name, _):
            return name
        case Apply(function, (first, *_)) if isinstance(function, SoftThreshold):
            return f"sigma_{_hint(first)}"
        case Apply(Latent(), _):
            return "z"
        case Apply(Threshold(), _):
            return "b"
        case Apply(ConditionalLatent(), _):
            return "z_tilde"
    return "value"


def unknown(term: Term) -> NoReturn:
    """Refuse a node.

    Raises
        UnknownNode, always.
    """
    message = f"the torch generator has no case for a {type(term).__name__}."
    raise UnknownNode(message)
