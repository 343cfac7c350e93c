"""The walk over a formula that prints its values and derivatives as torch expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NoReturn

from derive.errors import UnknownNode, UsageError
from derive.estimator import Estimator
from derive.scope import depends, free
from derive.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Latent,
    Law,
    Log,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    parts,
)
from numeric.expressions import (
    Code,
    Level,
    Names,
    Shape,
    Writer,
    call,
    checked_identifier,
    coordinate,
    number,
    one,
    plus,
    power,
    times,
    zero,
)
from numeric.families import Family


class Walk:
    """One walk over a formula for one family: values, derivatives by theta, and what was met on the way."""

    def __init__(self, estimator: Estimator, family: Family, names: Names, differentiated: frozenset[str]) -> None:
        self.estimator, self.family = estimator, family
        self.theta = estimator.parameter
        self.write = Writer(names)
        self.wrt = family.parameters[0]
        self.location = _location_and_scale(estimator, family)
        self.hints = {term: checked_identifier(name) for name, term in estimator.where}
        self.bound: dict[RandomVariable, str] = {}
        self.shapes: list[str] = []
        self.wanted = differentiated
        self.differentiated: set[str] = set()
        self.enumerates = False

    # Values

    def value(self, term: Term) -> Code:
        """The value of a scalar of the formula."""
        match term:
            case Number(value):
                return number(value)
            case Symbol():
                return self._symbol(term)
            case Add(args):
                return plus([self.value(arg) for arg in args])
            case Mul(args):
                return self._quotient(args)
            case Power(base, exponent):
                return power(self.value(base), exponent)
            case Log(Density(law, at)):
                return self._log_prob(law, at)
            case Log(arg) | Exp(arg) | Sigmoid(arg):
                return call(type(term), self.value(arg))
            case Apply():
                return self._call_user(term)
            case Density(law, at):
                log_p = self._log_prob(law, at).text
                return Code(self.write.assign(log_p.removeprefix("log_"), f"torch.exp({log_p})"), Shape.BATCH)
            case Score(law, at, parameter):
                return self._score(law, at, parameter)
            case Expect() | Over():
                return self._enumerate(term, term.body)
            case Grad(body, parameter):
                self._check_parameter(parameter)
                return self.derivative(body) or number(Fraction(0))
            case Stop(body):
                return self.value(body)
            case RandomVariable(name, _):
                message = (
                    f"the formula of {self.estimator.name!r} uses {name} as a number; in the {self.family.name} family it is a "
                    f"vector: use it as an argument of a function, such as f({name}), or in its score."
                )
                raise UsageError(message)
        _unknown(term)

    def _quotient(self, args: Iterable[Term]) -> Code:
        above: list[Code] = []
        below: list[Code] = []
        for arg in args:
            if isinstance(arg, Power) and arg.exponent < 0:
                below.append(power(self.value(arg.base), -arg.exponent))
            else:
                above.append(self.value(arg))
        return times(above or [number(Fraction(1))], below)

    def _symbol(self, symbol: Symbol) -> Code:
        if symbol != self.theta:
            return Code(self.write.names.of(symbol), Shape.NUMBER)
        if len(self.family.parameters) > 1:
            message = (
                f"{symbol.name} stands for {' and '.join(self.family.parameters)} in the {self.family.name} family, so it "
                "has no value of its own: write mu(theta) and sigma(theta)."
            )
            raise UsageError(message)
        return Code(self.wrt, Shape.COORDINATE)

    def _score(self, law: Law, at: Term, parameter: Symbol) -> Code:
        self._check_law(law)
        self._check_parameter(parameter)
        b = self.event(at)
        text = self.family.score(b, self.wrt, self.write.assign)
        hint = f"score_{b}" if len(self.family.parameters) == 1 else f"score_{b}_{self.wrt}"
        return Code(self.write.assign(hint, text), Shape.COORDINATE)

    def _log_prob(self, law: Law, at: Term) -> Code:
        self._check_law(law)
        b = self.event(at)
        return Code(self.write.assign(f"log_p_{b}", self.family.log_prob(b, self.write.assign)), Shape.BATCH)

    def _enumerate(self, term: Expect | Over, body: Term) -> Code:
        """E or the sum over every outcome of a finite law, with `body` in place of the body of the term."""
        variable = term.variable
        self._check_law(variable.law)
        if not self.family.every_outcome:
            message = (
                f"the {self.family.name} family has no finite set of outcomes, so the expectation over {variable.name} inside "
                f"the formula of {self.estimator.name!r} cannot be computed; it runs in the bernoulli and categorical families."
            )
            raise UsageError(message)
        self.enumerates = True
        every = self.write.assign(f"every_{variable.name}", f"every_outcome(logits, {self._outer_shape(body, variable)})")
        outer = self.bound.get(variable)
        self.bound[variable] = every
        self.shapes.append(f"{every}.shape")
        summand = self._weighted(term, body)
        self.shapes.pop()
        self.bound.pop(variable)
        if outer is not None:
            self.bound[variable] = outer
        return Code(f"{summand.at(Level.ATOM)}.sum(0)", summand.shape)

    def _weighted(self, term: Expect | Over, body: Term) -> Code:
        if isinstance(term, Expect):
            return self.value(Density(term.variable.law, term.variable) * body)
        ones = Code(f"torch.ones_like({self.bound[term.variable]}[..., 0])", Shape.BATCH)
        return times([ones, self.value(body)])

    def _outer_shape(self, body: Term, variable: RandomVariable) -> str:
        """The shape that the outcomes extend: the whole outer one if the body uses an outer variable, else the parameters'."""
        outside = [leaf for leaf in free(body) if isinstance(leaf, RandomVariable) and leaf != variable]
        if not outside:
            return f"{self.wrt}.shape"
        return self.shapes[-1] if self.shapes else f"{self.event(outside[0])}.shape"

    # The user's functions

    def _call_user(self, term: Apply) -> Code:
        self._check_user_function(term)
        name, args = self.write.names.of(term.function), [self._argument(arg) for arg in term.args]
        hint = "_".join([name, *(_word(arg) for arg in args)])
        call = f"{name}({', '.join(args)})"
        for i in range(len(args)):
            if self._differentiating(call, i) in self.wanted:
                return Code(self._value_and_slope(call, name, args, i)[0], Shape.BATCH)
        return Code(self.write.assign(hint, call), Shape.BATCH)

    def _check_user_function(self, term: Apply) -> None:
        function = term.function
        if type(function) is not Function:
            message = f"{function.name} gives a vector: use it as an argument of a function, such as f({function.name}(...))."
            raise UsageError(message)
        if not any(isinstance(leaf, RandomVariable) or leaf == self.theta for leaf in free(term)):
            message = f"{function.name} is applied to constants only: make it a constant, constant({function.name!r})."
            raise UsageError(message)
        if all(arg == self.theta for arg in term.args) and len(self.family.parameters) > 1:
            message = (
                f"{function.name}({self.theta.name}) is neither the mean nor the scale of the normal law of "
                f"{self.estimator.name!r}; those are what the {self.family.name} family knows."
            )
            raise UsageError(message)

    def _argument(self, arg: Term) -> str:
        if isinstance(arg, (Symbol, Number)) and arg != self.theta:
            return self.value(arg).text
        return self.event(arg)

    def _value_and_slope(self, call: str, name: str, args: list[str], i: int) -> tuple[str, str]:
        hint = "_".join([name, *(_word(arg) for arg in args)])
        if len(args) == 1:
            return self.write.assign_pair(hint, f"value_and_gradient({name}, {args[0]})")
        tensors = [arg for arg in args if arg.isidentifier() and arg not in self._constant_names()]
        shapes = ", ".join(f"{arg}.shape" for arg in tensors)
        point = args[i] if len(tensors) == 1 else f"{args[i]}.expand(torch.broadcast_shapes({shapes}))"
        inner = ", ".join("x" if j == i else arg for j, arg in enumerate(args))
        return self.write.assign_pair(hint, f"value_and_gradient(lambda x: {name}({inner}), {point})")

    def _constant_names(self) -> set[str]:
        return {self.write.names.of(symbol) for symbol in constants_of(self.estimator)}

    def _differentiating(self, call: str, i: int) -> str:
        return f"{call} by {i}"

    # Events: the arguments of functions

    def event(self, term: Term) -> str:
        """The name of a vector that is an argument of a function."""
        text = self._event_code(term)
        hint = self.hints.get(term) or _hint(term)
        return self.write.assign(hint, text.text)

    def _event_code(self, term: Term) -> Code:
        if term in self.location:
            return Code(self.location[term], Shape.COORDINATE)
        match term:
            case RandomVariable():
                return Code(self.bound.get(term) or self.write.names.of(term), Shape.COORDINATE)
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
        message = f"a {type(term).__name__} is no vector, so it cannot be an argument of a function in the generated code."
        raise UsageError(message)

    def _map(self, function: Function, args: tuple[Term, ...], term: Term) -> str:
        """The maps of a relaxation: h, H, h_tilde and sigma."""
        match function:
            case Latent():
                self._check_law(function.law)
                return self.family.latent(self._noise(args[0]), self.write.assign)
            case Threshold():
                return self.family.threshold(self.event(args[0]))
            case ConditionalLatent():
                self._check_law(function.law)
                hint = self.hints.get(term, "z_tilde")
                return self.family.conditional(self._noise(args[0]), self.event(args[1]), hint, self.write.assign)
            case SoftThreshold():
                return self.family.soft(self.event(args[0]), self.value(args[1]).at(Level.ATOM))
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

    # Derivatives by theta; None is zero

    def derivative(self, term: Term) -> Code | None:
        """The derivative of a scalar of the formula with respect to each coordinate of the parameters."""
        if not depends(term, self.theta):
            return None
        match term:
            case Symbol():
                return number(Fraction(1))
            case Number() | RandomVariable() | Stop():
                return None
            case Add(args):
                return _sum_of(self.derivative(arg) for arg in args)
            case Mul(args):
                return _sum_of(self._leibniz(args, i) for i in range(len(args)))
            case Power(base, exponent):
                return self._chain(base, lambda: [number(Fraction(exponent)), power(self.value(base), exponent - 1)])
            case Log(Density(law, at)):
                return self._with_point(Score(law, at, self.theta), at)
            case Log(arg):
                slope = self.derivative(arg)
                return slope and times([slope], [self.value(arg)])
            case Exp(arg):
                return self._chain(arg, lambda: [self.value(term)])
            case Sigmoid(arg):
                return self._chain(arg, lambda: [self.value(term), self.value(1 - term)])
            case Density(law, at):
                return self._with_point(term * Score(law, at, self.theta), at)
            case Apply():
                return _sum_of(self._through(term, i) for i in range(len(term.args)))
            case Expect(body, variable):
                through_law = body * Score(variable.law, variable, self.theta)
                moves = depends(body, self.theta)
                return self._enumerate(term, through_law + Grad(body, self.theta) if moves else through_law)
            case Over(body, _):
                return self._enumerate(term, Grad(body, self.theta))
            case Score() | Grad():
                message = f"the formula of {self.estimator.name!r} differentiates a {type(term).__name__.lower()} once more; "
                message += "the generated code has first derivatives only."
                raise UsageError(message)
        _unknown(term)

    def _leibniz(self, args: tuple[Term, ...], i: int) -> Code | None:
        slope = self.derivative(args[i])
        return slope and times([*(self.value(arg) for j, arg in enumerate(args) if j != i), slope])

    def _chain(self, inner: Term, outer: Callable[[], list[Code]]) -> Code | None:
        slope = self.derivative(inner)
        return slope and times([*outer(), slope])

    def _with_point(self, held: Term, at: Term) -> Code:
        """The derivative of a density with its point held fixed; a point that moves with theta is not supported."""
        if depends(at, self.theta) and not (isinstance(at, Apply) and isinstance(at.function, Threshold)):
            message = f"{self.estimator.name!r} differentiates a density at a point that moves; wrap the point in stop()."
            raise UsageError(message)
        return self.value(held)

    def _through(self, term: Apply, i: int) -> Code | None:
        """The part of the derivative of f(..., x, ...) that goes through its i-th argument."""
        if not self._moves(term.args[i]):
            return None
        self._check_user_function(term)
        name, args = self.write.names.of(term.function), [self._argument(arg) for arg in term.args]
        call = f"{name}({', '.join(args)})"
        self.differentiated.add(self._differentiating(call, i))
        _, slope = self._value_and_slope(call, name, args, i)
        return self.pull(term.args[i], Code(slope, Shape.COORDINATE))

    def _moves(self, arg: Term) -> bool:
        """Whether an event has a derivative by theta that is not zero by construction."""
        match arg:
            case Stop() | Number() | RandomVariable():
                return False
            case Apply(Threshold(), _):
                return False
            case Symbol():
                return arg == self.theta
            case Apply(Latent(), _) | Apply(ConditionalLatent(), _):
                return True
        return any(self._moves(part) for part in parts(arg))

    def pull(self, term: Term, slope: Code) -> Code | None:
        """The derivative by theta of a number whose derivative by the vector `term` is `slope` (shapes (*batch, n))."""
        if term in self.location:
            return self._pull_location(term, slope)
        if not self._moves(term):
            return None
        match term:
            case Symbol():
                return slope
            case Apply(function, args):
                return self._pull_map(function, args, term, slope)
            case Add(args):
                return _sum_of(self.pull(arg, slope) for arg in args)
            case Mul(args):
                return _sum_of(self.pull(arg, self._others(args, i, slope)) for i, arg in enumerate(args))
            case Power(base, exponent):
                outer = [number(Fraction(exponent)), power(self._event_code(base), exponent - 1)]
                return self.pull(base, times([slope, *outer]))
            case Log(arg):
                return self.pull(arg, times([slope], [self._event_code(arg)]))
            case Exp(arg):
                return self.pull(arg, times([slope, self._event_code(term)]))
            case Sigmoid(arg):
                s = self.event(term)
                return self.pull(arg, Code(f"{slope.at(Level.PRODUCT)} * {s} * (1 - {s})", Shape.COORDINATE, Level.PRODUCT))
        _unknown(term)

    def _others(self, args: tuple[Term, ...], i: int, slope: Code) -> Code:
        return times([slope, *(self._event_code(arg) for j, arg in enumerate(args) if j != i)])

    def _pull_location(self, term: Term, slope: Code) -> Code | None:
        """In the normal family mu(theta) is loc and sigma(theta) is exp(log_scale), whose derivative is itself."""
        if self.location[term] == "loc":
            return slope if self.wrt == "loc" else None
        return times([slope, Code("scale", Shape.COORDINATE)]) if self.wrt == "log_scale" else None

    def _pull_map(self, function: Function, args: tuple[Term, ...], term: Term, slope: Code) -> Code | None:
        text, assign = self.write.assign(f"d_{self.event(term)}", slope.text), self.write.assign
        match function:
            case SoftThreshold():
                inner = self.family.pull_soft(text, self.event(term), self.value(args[1]).at(Level.ATOM))
                return self.pull(args[0], coordinate(inner))
            case Latent():
                return coordinate(self.family.pull_latent(text, assign))
            case ConditionalLatent():
                v, b, hint = self._noise(args[0]), self.event(args[1]), self.hints.get(term, "z_tilde")
                return coordinate(self.family.pull_conditional(text, v, b, hint, assign))
        _unknown(term)

    # Refusals

    def _check_law(self, law: Law | None) -> None:
        if isinstance(law, NormalLaw) and {law.loc, law.scale} <= set(self.location):
            return
        if isinstance(law, FiniteLaw) and law.parameters == (self.theta,) and not law.given:
            return
        what = f"the law {law.name}" if isinstance(law, FiniteLaw) else f"a {type(law).__name__}"
        message = (
            f"{self.estimator.name!r} uses {what}, which is not the law of the {self.family.name} family: expected a finite "
            f"law with the parameter {self.theta.name} alone and nothing given, such as finite('b', {self.theta.name})."
        )
        raise UsageError(message)

    def _check_parameter(self, parameter: Symbol) -> None:
        if parameter != self.theta:
            message = f"{self.estimator.name!r} differentiates by {parameter.name}; its target, by {self.theta.name}."
            raise UsageError(message)


def _sum_of(codes: Iterable[Code | None]) -> Code | None:
    present = [code for code in codes if code is not None]
    return plus(present) if present else None


def _word(text: str) -> str:
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


def _unknown(term: Term) -> NoReturn:
    message = f"the torch generator has no case for a {type(term).__name__}."
    raise UnknownNode(message)


def _laws(term: Term) -> list[Law]:
    """The laws that occur in a term, with those of bound variables."""
    own = []
    match term:
        case Density(law, _) | Score(law, _, _):
            own = [law]
        case Expect(_, variable) | Over(_, variable):
            own = [variable.law]
    return own + [law for part in parts(term) for law in _laws(part)]


def _location_and_scale(estimator: Estimator, family: Family) -> dict[Term, str]:
    """The terms that stand for loc and scale, read off the normal law of the target; empty where there is none.

    Raises
        UsageError, if the target has a normal law in another family, or one that does not move in mean and scale separately.
    """
    everything = _laws(estimator.target) + _laws(estimator.formula) + [draw.law for draw in estimator.draws]
    laws = {law for law in everything if isinstance(law, NormalLaw) and depends(law.loc + law.scale, estimator.parameter)}
    if not laws:
        return {}
    if family.name != "normal":
        message = (
            f"{estimator.name!r} is about a normal law, which the {family.name} family is not: it runs in the normal family "
            "only (--family normal)."
        )
        raise UsageError(message)
    law = laws.pop()
    if laws or law.loc == law.scale or not all(_is_map_of(term, estimator.parameter) for term in (law.loc, law.scale)):
        message = f"{estimator.name!r} needs one normal law, normal('z', mu(theta), sigma(theta)) with abstract mu and sigma."
        raise UsageError(message)
    return {law.loc: "loc", law.scale: "scale"}


def _is_map_of(term: Term, theta: Symbol) -> bool:
    return isinstance(term, Apply) and type(term.function) is Function and term.args == (theta,)


def constants_of(estimator: Estimator) -> list[Symbol]:
    """The free symbols of the formula other than the parameter, by name."""
    symbols = [leaf for leaf in free(estimator.formula) if isinstance(leaf, Symbol) and leaf != estimator.parameter]
    return sorted(symbols, key=lambda symbol: symbol.name)


def functions_of(term: Term) -> list[Function]:
    """The abstract functions of a term, in the order of their first occurrence."""
    own = [term.function] if isinstance(term, Apply) and type(term.function) is Function else []
    return list(dict.fromkeys(own + [function for part in parts(term) for function in functions_of(part)]))
