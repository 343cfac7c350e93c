"""The vectors of a formula (outcomes, latent variables, means) and the user's functions, printed as torch expressions."""

from __future__ import annotations

from typing import NoReturn, cast

from derive.language.choice import coordinate_of
from derive.language.errors import UnknownNode, UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Latent,
    Log,
    Mul,
    Number,
    Power,
    RandomVariable,
    Sigmoid,
    Sign,
    Slope,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
    subterms,
)
from derive.laws.occurrences import stands_at_its_law
from numeric.codegen.expressions import (
    Code,
    Kind,
    Level,
    Names,
    Nested,
    Shape,
    call,
    checked_identifier,
    one,
    plus,
    power,
    times,
    word,
    zero,
)
from numeric.codegen.families import Family, Finite
from numeric.codegen.inventory import NO_PARAMETER, constants_of, used_as_number
from numeric.codegen.laws import mirrored
from numeric.codegen.meaning.vectors import functions_of_numbers, slope_order, user_function
from numeric.codegen.named.explicit import looked_up
from numeric.codegen.tensors import Tensors


class Events(Tensors):
    """The second part of a walk: names, vectors, and calls of the user's functions."""

    hints: dict[Term, str]
    sums: dict[tuple[Term, ...], Add]
    numbers: frozenset[Function]
    of_samples: set[Function]
    enumerates: bool
    differentiates_twice: bool
    has_curvature: bool

    def __init__(self, estimator: Estimator, family: Family, names: Names, differentiated: frozenset[str]) -> None:
        super().__init__(estimator, family, names)
        self.numbers = functions_of_numbers(estimator, {self.theta, self.law_parameter})
        self.vector_valued: set[str] = set()
        self.hints = {term: checked_identifier(name) for name, term in estimator.where}
        self.sums = {term.args: term for term in self.hints if isinstance(term, Add)}
        self.bound: dict[RandomVariable, str] = {}
        self.given: dict[Term, Code] = {}
        self.shapes: list[str] = []
        self.wanted = differentiated
        self.differentiated: set[str] = set()
        by_constant = self.summed or self.law_parameter == NO_PARAMETER
        is_number = by_constant and any(used_as_number(term, self.theta) for term in (estimator.formula, estimator.objective))
        self.kinds: dict[Symbol, Kind] = {self.theta: Kind.NUMBER} if is_number else {}
        self.fixed: set[tuple[str, int]] = set()
        self.baselines: set[str] = set()
        self.applied: set[str] = set()
        applications = [part for part in subterms(estimator.formula) if isinstance(part, Apply)]
        self.of_samples = {user_function(part) or part.function for part in applications if self._is_of_samples(part)}
        self.enumerates = self.differentiates_twice = self.has_curvature = False

    def constant(self, symbol: Symbol, kind: Kind) -> str:
        """The name of a constant, used where it may be of this kind; it must suit everywhere."""
        self.kinds[symbol] = min(kind, self.kinds.get(symbol, kind))
        return self.write.names.of(symbol)

    def stopped(self, code: Code) -> Code:
        """The value of what a derivative does not see; only inside a function that torch differentiates must it be told."""
        if not (isinstance(self.write, Nested) and self.write.moves(code.text)):
            return code
        return Code(f"{code.at(Level.ATOM)}.detach()", code.shape)

    # The user's functions

    def _call_user(self, term: Apply) -> Code:
        name, args, text = self._called(term)
        for i in range(len(args)):
            if self._differentiating(text, i) in self.wanted:
                return Code(self._value_and_slope(text, name, args, i)[0], Shape.BATCH)
        return Code(self.write.assign(_joined(name, args), text), Shape.BATCH)

    def _call_slope(self, term: Apply) -> Code:
        """A function that gives a vector, as it stands beside one."""
        name, args, text = self._called(term)
        self.vector_valued.add(name)
        return Code(self.write.assign(_joined(name, args), text), Shape.COORDINATE)

    def _called(self, term: Apply) -> tuple[str, list[str], str]:
        """The name of a function, its arguments, and the call."""
        self._check_user_function(term)
        name = self.write.names.of(term.function)
        sampled = term.function in self.of_samples
        (self.applied if sampled else self.baselines).add(name)
        numbers = self.family.name == "vector" and all(isinstance(arg, Number) for arg in term.args)
        at_samples = sampled and not numbers and not self._is_of_samples(term)
        if at_samples:
            args = [self._beside_samples(arg, alone=len(term.args) == 1) for arg in term.args]
            return name, args, f"{name}({', '.join(args)})"
        args = [self._argument(arg) for arg in term.args]
        self.fixed |= {(name, i) for i, arg in enumerate(term.args) if isinstance(arg, Symbol) and arg != self.law_parameter}
        return name, args, f"{name}({', '.join(args)})"

    def _check_user_function(self, term: Apply) -> None:
        function = term.function
        if isinstance(function, Slope):
            message = f"the generated code does not differentiate {function.name} there: write grad(f(x), theta)."
            raise UsageError(message)
        if type(function) is not Function:
            message = f"{function.name} gives a vector: use it as an argument of a function, such as f({function.name}(...))."
            raise UsageError(message)
        if self.location.of(term) is not None:
            message = (
                f"the formula of {self.estimator.name!r} uses {function.name} as a number; in the "
                f"{self.family.name} family it is a vector, {self.location.of(term)}: use it in an argument of a function."
            )
            raise UsageError(message)
        if all(arg == self.law_parameter for arg in term.args) and len(self.by_parameters) > 1:
            message = (
                f"{function.name}({self.law_parameter.name}) is neither the mean nor the scale of the normal law of "
                f"{self.estimator.name!r}; those are what the {self.family.name} family knows."
            )
            raise UsageError(message)

    def _is_constant(self, arg: Term) -> bool:
        return isinstance(arg, Symbol) and arg not in {self.theta, self.law_parameter}

    def _is_of_samples(self, term: Term) -> bool:
        return any(isinstance(leaf, RandomVariable) or leaf == self.law_parameter for leaf in free(term))

    def _beside_samples(self, arg: Term, *, alone: bool) -> str:
        """A constant outcome, as a vector for each batch element: the function is applied to samples elsewhere.

        Raises
            UsageError, if the constant is none, or no draw has a finite law.
        """
        laws = [self._finite(draw.law) for draw in self.estimator.draws if isinstance(draw.law, FiniteLaw)]
        law = next((law for law in laws if isinstance(law, Finite)), None)
        if law is None or not (alone and self._is_constant(arg)):
            message = (
                f"the formula of {self.estimator.name!r} applies a function to samples in one place and to constants only in "
                "another: expected a function of one argument, at samples of a finite law and at a constant; "
                "else give them two names."
            )
            raise UsageError(message)
        given = self.constant(cast("Symbol", arg), Kind.VECTOR)
        return self.write.assign(f"at_{given}", f"torch.zeros_like({law.logits}) + {given}")

    def _argument(self, arg: Term) -> str:
        if isinstance(arg, Symbol) and (self._is_constant(arg) or (self.summed and arg == self.theta)):
            return self.constant(arg, Kind.ANYTHING)
        alone = isinstance(arg, Number) and self.family.name != "vector"
        return self.value(arg).text if alone else self.event(arg)

    def _value_and_slope(self, text: str, name: str, args: list[str], i: int) -> tuple[str, str]:
        hint = _joined(name, args)
        helper = "value_and_slope" if isinstance(self.write, Nested) and self.write.moves(text) else "value_and_gradient"
        if len(args) == 1:
            return self.write.assign_pair(hint, f"{helper}({name}, {args[0]})")
        constants = {self.write.names.of(symbol) for symbol in constants_of(self.estimator)}
        tensors = [arg for arg in args if arg.isidentifier() and arg not in constants]
        point = self._point(args[i], tensors)
        free_name = args[i] if args.count(args[i]) == 1 else "point"
        inner = ", ".join(free_name if j == i else arg for j, arg in enumerate(args))
        return self.write.assign_pair(hint, f"{helper}(lambda {free_name}: {name}({inner}), {point})")

    def _point(self, arg: str, tensors: list[str]) -> str:
        """An argument expanded to every sample, so that each has a gradient of its own."""
        if tensors and arg not in tensors:
            return f"{arg}.expand(*{tensors[0]}.shape[:-1], -1)"
        shapes = ", ".join(f"{name}.shape" for name in tensors)
        return arg if len(tensors) <= 1 else f"{arg}.expand(torch.broadcast_shapes({shapes}))"

    def _differentiating(self, text: str, i: int) -> str:
        return f"{text} by {i}"

    # Their derivatives at a point

    def _slope_at(self, term: Apply) -> Code:
        """f'(x), the gradient of f; of coordinates that are read one by one f''(x) too, one number for each.

        Raises
            UsageError, if it is a matrix, is taken where there are no samples, or a derivative of a higher order.
        """
        alone = self.family.name == "vector"
        if slope_order(term) > 1 + alone:
            self._refuse_matrix(term)
        if alone and self.order > 1 and not isinstance(self.write, Nested):
            message = (
                f"{term.function.name} is one number for each coordinate, and the target of {self.estimator.name!r} a matrix of"
                " second derivatives: write grad(f(x), theta)."
            )
            raise UsageError(message)
        if slope_order(term) > 1:
            return self._curvature_at(term)
        name, args, text = self._called(self._sloped(term))
        self.differentiated.add(self._differentiating(text, 0))
        return Code(self._value_and_slope(text, name, args, 0)[1], Shape.COORDINATE)

    def _curvature_at(self, term: Apply) -> Code:
        """The diagonal of f''(x)."""
        self.differentiates_twice = self.has_curvature = True
        name, args, _ = self._called(self._sloped(term))
        return Code(self.write.assign(f"dd{_joined(name, args)}", f"curvature({name}, {args[0]})"), Shape.COORDINATE)

    def _sloped(self, term: Apply) -> Apply:
        """The value f(x) of f'(x), or of f''(x)."""
        function = user_function(term)
        if function is None or not self._is_of_samples(term):
            message = (
                f"the formula of {self.estimator.name!r} takes {term.function.name} at a constant: the generated code knows"
                " slopes at samples, means, and points that move with the parameter."
            )
            raise UsageError(message)
        if self.family.name != "vector" and any(map(self._is_theta, term.args)):
            message = (
                f"the formula of {self.estimator.name!r} takes {term.function.name} at {self.law_parameter.name} itself, where"
                " it may be one number for each coordinate or a vector: write"
                f" grad({function.name}(x), {self.law_parameter.name})."
            )
            raise UsageError(message)
        return Apply(function, term.args)

    def _bent(self, term: Apply, vector: Code) -> Code:
        """The matrix of the second derivatives of f at x times a vector, for f'(x) or f''(x)."""
        self.differentiates_twice = True
        name, args, _ = self._called(self._sloped(term))
        along = self.write.assign("along", vector.text)
        both = f"slope_gradient({name}, *torch.broadcast_tensors({args[0]}, {along}))"
        return Code(self.write.assign(f"dd{word(name)}", both), Shape.COORDINATE)

    def _refuse_matrix(self, term: Apply) -> NoReturn:
        name, order = term.function.name, slope_order(term)
        if order > 2:
            message = f"{name} is a derivative of order {order}; the generated code has the first and the second."
            raise UsageError(message)
        message = (
            f"{name} of {self.estimator.name!r} is a matrix of second derivatives in the {self.family.name} family: it has code"
            f" in the product with two vectors made of outcomes and means, such as {name}(m) * (b - m)**2, and in that with the"
            f" derivative of a variance, {name}(z) * grad(sigma(theta)**2, theta)."
        )
        raise UsageError(message)

    # Events: the arguments of functions

    def event(self, term: Term) -> str:
        """The name of a vector that is an argument of a function."""
        if isinstance(term, Number) and self.family.name == "vector":
            given = self.value(term).text
            hint = f"at_{given}" if given.isdecimal() else "at_number"
            return self.write.assign(hint, f"torch.full_like({self.tensors[0]}, {given})")
        code = self.event_code(term)
        if code.shape is Shape.NUMBER and any(isinstance(leaf, RandomVariable) for leaf in free(term)):
            message = f"{term} in the formula of {self.estimator.name!r} is the number {code.text}: write that number."
            raise UsageError(message)
        hint = self.hints.get(term) or _hint(term)
        return self.write.assign(hint, code.text)

    def event_code(self, term: Term) -> Code:
        """The value of a vector."""
        if self.location.of(term) is not None:
            return Code(self.located(term), Shape.COORDINATE)
        match term:
            case RandomVariable():
                return Code(self.bound.get(term) or self.write.names.of(term), Shape.COORDINATE)
            case Symbol() if term not in {self.theta, self.law_parameter}:
                return Code(self.constant(term, Kind.VECTOR), Shape.NUMBER)
            case Symbol():
                return self.symbol(term)
            case Number():
                return self.value(term)
            case Apply(Slope(), _):
                return self._slope_at(term)
            case Apply(function, _) if type(function) is Function and function not in self.numbers:
                return self._call_slope(term)
            case Apply(function, args):
                return Code(self._map(function, args, term), Shape.COORDINATE, Level.SUM)
            case Add(args):
                return plus([self.event_code(arg) for arg in args])
            case Mul(args):
                self._refuse_step(args)
                return times([self.event_code(arg) for arg in args])
            case Power(base, exponent):
                return power(self.event_code(base), exponent)
            case Entry(values, entries, at):
                read = [self.event_code(one) for one in entries]
                return self._looked_up(term, looked_up(self.event(at), values, read))
            case Density() | Log(Density()):
                return Code(f"{self.value(term).at(Level.ATOM)}[..., None]", Shape.COORDINATE)
            case Log(arg) | Exp(arg) | Sigmoid(arg) | Sign(arg):
                known = all(isinstance(leaf, Symbol) and self._is_constant(leaf) for leaf in free(arg))
                return call(type(term), self.value(arg) if known else self.event_code(arg))
            case Stop(body):
                return self.stopped(self.event_code(body))
            case Expect(body, variable):
                return Code(self._mean(body, variable), Shape.COORDINATE)
        message = f"a {type(term).__name__} is no vector, so it cannot be an argument of a function in the generated code."
        raise UsageError(message)

    def _looked_up(self, term: Entry, text: str) -> Code:
        """A table at an outcome, by name."""
        return Code(self.write.assign(self.hints.get(term) or _hint(term), text), Shape.COORDINATE)

    def _refuse_step(self, args: tuple[Term, ...]) -> None:
        """Refuse (theta - stop(theta)) * (o - b): of a vector theta it would be multiplied with b coordinate by coordinate."""
        if any(map(self._is_theta, args)) and any(map(_is_outcome, args)):
            message = (
                f"the formula of {self.estimator.name!r} multiplies {self.law_parameter.name} as a number with an event; in the"
                f" {self.family.name} family both are vectors, of which each entry of the one would move one entry of the other"
                " alone."
            )
            raise UsageError(message)

    def _is_theta(self, term: Term) -> bool:
        """Whether the parameter itself stands in a term, outside of laws and functions."""
        if isinstance(term, (Apply, Expect, Density)):
            return False
        return term == self.law_parameter or any(map(self._is_theta, parts(term)))

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
        if (inner := mirrored(term)) is not None:
            return self.write.assign(f"{self._noise(inner)}_mirrored", f"1 - {self._noise(inner)}")
        if not (isinstance(term, RandomVariable) and term.law == UniformLaw(zero(), one())):
            message = "the noise of a relaxation must be a variable that is uniform on (0, 1), such as uniform('u')."
            raise UsageError(message)
        return self.write.names.of(term)

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


def _is_outcome(term: Term) -> bool:
    """Whether an outcome of a finite law stands in a vector, outside of a mean."""
    match term:
        case RandomVariable(_, law):
            return isinstance(law, FiniteLaw)
        case Apply(function, _):
            return isinstance(function, Threshold)
        case Expect():
            return False
    return any(map(_is_outcome, parts(term)))


def _joined(name: str, args: list[str]) -> str:
    return "_".join([name, *(word(arg) for arg in args)])


def _hint(term: Term) -> str:
    """A readable name for a vector that the estimator does not name itself."""
    match term:
        case RandomVariable(name, _):
            return name
        case Entry(_, _, RandomVariable(name, _)):
            place = coordinate_of(term)
            return f"{name}_entry" if place is None else f"{name}_{place}"
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
