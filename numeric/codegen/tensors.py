"""The tensors that a caller gives, and the families of the laws at them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import Apply, FiniteLaw, Law, Log, NamedLaw, NormalLaw, RandomVariable, Symbol, Term
from numeric.codegen.expressions import Code, Level, Names, Shape, Writer, call, checked_identifier, coordinate, mentions, word
from numeric.codegen.families import FAMILIES, Family, Finite, Normal
from numeric.codegen.inventory import directions, is_summed, law_parameter, order
from numeric.codegen.laws import Key, Logits, is_several, key_of, logits_of_laws, noise_of, unstopped
from numeric.codegen.meaning.location import Location, location_and_scale
from numeric.codegen.named import named_family
from numeric.codegen.named.family import Named


class Tensors(ABC):
    """The first part of a walk: which tensors are given, and what they are the parameters of."""

    estimator: Estimator
    family: Family
    theta: Symbol
    law_parameter: Symbol
    summed: bool
    order: int
    directions: frozenset[Symbol]
    by: Symbol
    write: Writer
    location: Location
    laws: tuple[Logits, ...]
    several: bool
    logits: dict[Key, str]
    outcomes: Family
    by_parameters: tuple[str, ...]
    parameters: tuple[str, ...]
    wrt: str

    def __init__(self, estimator: Estimator, family: Family, names: Names) -> None:
        self.estimator, self.family = estimator, family
        self.theta, self.law_parameter = estimator.parameter, law_parameter(estimator)
        self.summed = is_summed(estimator)
        self.order, self.directions = order(estimator), directions(estimator)
        self.by = self.law_parameter if self.summed else self.theta
        self.write = Writer(names)
        self.location = location_and_scale(estimator, family, self.law_parameter)
        self.laws = logits_of_laws(estimator)
        self.several = is_several(self.laws) or bool(self.laws and self.location)
        by_name = self.laws if self.several else ()
        self.logits = {key_of(one.law): names.fresh(f"{checked_identifier(one.name)}_logits") for one in by_name}
        self.outcomes = self.family_of_outcomes()
        self.by_parameters = self.moving_tensors()
        self.parameters = self.by_parameters if self.theta == self.law_parameter else (names.of(self.theta),)
        self.wrt = (self.by_parameters if self.summed else self.parameters)[0]

    @abstractmethod
    def value(self, term: Term) -> Code:
        """The value of a scalar of the formula; `Values` has it."""

    @abstractmethod
    def symbol(self, symbol: Symbol) -> Code:
        """The value of a symbol of the formula; `Values` has it."""

    @abstractmethod
    def event(self, term: Term) -> str:
        """The name of a vector that is an argument of a function; `Events` has it."""

    @abstractmethod
    def event_code(self, term: Term) -> Code:
        """The value of such a vector; `Events` has it."""

    def family_of_outcomes(self) -> Family:
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

    def moving_tensors(self) -> tuple[str, ...]:
        """The tensors that the symbol of the law's parameters stands for."""
        if not self.several:
            return self.family.parameters
        moving = tuple(name for key, name in self.logits.items() if self.law_parameter in key[1])
        return moving + (self.family.parameters if self.location else ())

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
        used = [name for name in self.logits.values() if any(mentions(text, name) for text in statements)]
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
        given = any(one.conditions for one in self.laws) or any(self.location.given(name) for name in ("loc", "log_scale"))
        table = "; of a law that is given outcomes, one row for each of them" if given else ""
        shapes = [f"{name} (*batch, {'rows, ' * len(self.location.given(name))}n)" for name in self.family.parameters]
        normal = f", and {' and '.join(shapes)}" if self.location else ""
        return f"params has the logits of each law, {kind}: {', '.join(listed)}{normal}{table}"

    def entries(self, parameter: str) -> str:
        """A tensor with its entries in one last dimension: those of a table stand in several."""
        dimensions = self.dimensions(parameter)
        return parameter if dimensions == 1 else f"{parameter}.flatten({-dimensions})"

    def dimensions(self, parameter: str) -> int:
        """How many dimensions of a tensor follow those of the batch: more than one of a table."""
        given = [len(one.law.given) for one in self.laws if self.logits.get(key_of(one.law)) == parameter]
        return 1 + sum(given or [len(self.location.given(parameter))])

    # Laws

    def law(self, law: Law | None) -> Family:
        """The family of a law, at the tensors of that law.

        Raises
            UsageError, if the law is uniform, or an abstract density.
        """
        match law:
            case FiniteLaw():
                return self._finite(law)
            case NormalLaw(loc, scale) if self.location.holds(NormalLaw(unstopped(loc), unstopped(scale))):
                return self._located_law(unstopped(loc), unstopped(scale))
            case NamedLaw():
                return self.named(law)
            case NormalLaw(loc, scale):
                deviation = self.value(scale) if isinstance(scale, Symbol) else self.event_code(scale)
                mean = self.event_code(loc).at(Level.PRODUCT)
                return Normal(mean, deviation.at(Level.ATOM), call(Log, deviation).text)
        message = (
            f"{self.estimator.name!r} uses the density, the score or the mean of a {type(law).__name__}; the generated code"
            " has those of finite and normal laws, and of those with names."
        )
        raise UsageError(message)

    def named(self, law: NamedLaw) -> Named:
        """The family of a law with a name, at the terms of its parameters; constants alone are numbers there."""
        moving = {self.theta, self.law_parameter}
        read = [self.event_code if free(term) & moving else self.value for term in law.terms]
        return named_family(law, tuple(code(term) for code, term in zip(read, law.terms, strict=True)), self.tensors[0])

    def _finite(self, law: FiniteLaw) -> Family:
        if not self.several or not isinstance(self.outcomes, Finite):
            return self.outcomes
        logits = self.logits[key_of(law)]
        if law.given:
            logits = self._at_row(logits, law.given, f"{logits}_given")
        return type(self.outcomes)(logits)

    def _at_row(self, table: str, given: Sequence[Term], hint: str) -> str:
        """The name of the row of a table that belongs to the outcomes that it is given."""
        flat = table if len(given) == 1 else f"{table}.flatten({-len(given) - 1}, -2)"
        named = "_".join([hint, *(word(self.event(term)) for term in given)])
        return self.write.assign(named, f"({self._row(given)}[..., None] * {flat}).sum(-2)")

    def _row(self, given: Sequence[Term]) -> str:
        """Which row of a table belongs to the outcomes that it is given, one-hot."""
        finite = self.outcomes
        rows = [self.write.assign(f"row_{event}", finite.row(event)) for event in map(self.event, given)]
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
        return self.by_table(law.given, text)

    def by_table(self, given: Sequence[Term], text: str) -> Code:
        """From the derivative by a row of a table to that by all of its entries, in one dimension."""
        inner = text if text.isidentifier() else f"({text})"
        return Code(f"({self._row(given)}[..., :, None] * {inner}[..., None, :]).flatten(-2)", Shape.COORDINATE)

    # The normal law whose parameters are given

    def located(self, term: Term) -> str:
        """The name of loc or scale, at the outcomes at which a term takes it."""
        name = self.location.of(term)
        if name is None or not isinstance(term, Apply):
            raise KeyError(term)
        given = self.location.outcomes(term)
        return self._at_row(name, given, name) if given else name

    def _located_law(self, loc: Term, scale: Term) -> Family:
        given = self.location.outcomes(scale) if isinstance(scale, Apply) else []
        log_scale = self._at_row("log_scale", given, "log_scale") if given else "log_scale"
        return Normal(self.located(loc), self.located(scale), log_scale)

    def by_location(self, term: Term, slope: Code) -> Code:
        """From the derivative by loc or log_scale at an outcome to that by all of their entries."""
        given = self.location.outcomes(term) if isinstance(term, Apply) else []
        return self.by_table(given, slope.text) if given else slope
