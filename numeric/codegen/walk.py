"""The walk over a formula that prints its values and derivatives as torch expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import NoReturn

from derive.language.errors import UsageError
from derive.language.scope import depends
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
    Sign,
    Slope,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
)
from numeric.codegen.events import unknown
from numeric.codegen.expressions import Code, Level, Shape, coordinate, number, plus, power, times
from numeric.codegen.inventory import standardised
from numeric.codegen.logarithms import exponentials
from numeric.codegen.meaning.vectors import Form, slope_order
from numeric.codegen.named.explicit import looked_up
from numeric.codegen.values import Values


class Walk(Values):
    """One walk over a formula for one family: values, derivatives by theta, and what was met on the way."""

    def derivative(self, term: Term) -> Code | None:
        """The derivative of a scalar of the formula with respect to each coordinate of the parameters; None is zero."""
        if not depends(term, self.by):
            return None
        match term:
            case Symbol():
                return number(Fraction(1))
            case Number() | RandomVariable() | Stop() | Sign():
                return None
            case Add(args):
                return sum_of(self.derivative(arg) for arg in args)
            case Mul(args):
                return self._derivative_of_product(args)
            case Power(base, exponent):
                return self._chain(base, lambda: [number(Fraction(exponent)), power(self.value(base), exponent - 1)])
            case Log(Density(law, at)):
                return self._derivative_of_log_density(law, at)
            case Log(arg):
                return self._derivative_of_log(arg)
            case Exp(arg):
                return self._chain(arg, lambda: [self.value(term)])
            case Sigmoid(arg):
                return self._chain(arg, lambda: [self.value(term), self.value(1 - term)])
            case Density(law, at):
                return self._chain(Log(term), lambda: [self.value(term)])
            case Apply(Slope() as function, (x,)):
                return self.pull(x, self.value(function.slope(x))) if self._moves(x) else None
            case Apply():
                return sum_of(self._through(term, i) for i in range(len(term.args)))
            case Entry(values, entries, at):
                slopes = [self.derivative(one) or number(Fraction(0)) for one in entries]
                return Code(looked_up(self.event(at), values, slopes), Shape.COORDINATE)
            case Expect(body, variable):
                through_law = body * Score(variable.law, variable, self.by)
                moves = depends(body, self.by)
                return self._enumerate(term, through_law + Grad(body, self.by) if moves else through_law)
            case Over(body, _):
                return self._enumerate(term, Grad(body, self.by))
            case Score() | Grad():
                message = f"the formula of {self.estimator.name!r} differentiates a {type(term).__name__.lower()} once more; "
                message += "the generated code has first derivatives only."
                raise UsageError(message)
        unknown(term)

    def _derivative_of_product(self, args: tuple[Term, ...]) -> Code | None:
        if (form := self._form(args)) is not None:
            return self._derivative_of_form(form)
        if (inner := self._inner_product(args)) is None:
            return sum_of(self._leibniz(args, i) for i in range(len(args)))
        vectors, rest = inner.vectors, inner.rest
        slope = sum_of(self.pull(vectors[i], self._weights([*vectors[:i], *vectors[i + 1 :]])) for i in range(len(vectors)))
        through = slope and times([*map(self.value, rest), slope])
        others = sum_of(self._leibniz(rest, i) for i in range(len(rest)))
        return sum_of([through, others and times([self._inner_value(vectors), others])])

    def _derivative_of_form(self, form: Form) -> Code | None:
        if self._moves(form.matrix) or isinstance(form.vectors[1], Grad):
            self._refuse_third(form.matrix)
        first, second = form.vectors
        pairs = [(v, w) for v, w in ((first, second), (second, first)) if self._moves(v)]
        through = sum_of(self.pull(v, self._bent(form.matrix, self._weight(w))) for v, w in pairs)
        others = sum_of(self._leibniz(form.rest, i) for i in range(len(form.rest)))
        own = through and times([*map(self.value, form.rest), through])
        return sum_of([own, others and times([self._form_value(form), others])])

    def _refuse_third(self, matrix: Apply) -> NoReturn:
        message = (
            f"{self.estimator.name!r} differentiates {matrix.function.name}, or what it is multiplied with, once more: the"
            " generated code has first and second derivatives of functions. stop(x) holds a point still."
        )
        raise UsageError(message)

    def _leibniz(self, args: tuple[Term, ...], i: int) -> Code | None:
        slope = self.derivative(args[i])
        if slope is None:
            return None
        others = self.value(Mul((*args[:i], *args[i + 1 :]))) if len(args) > 1 else number(Fraction(1))
        return times([others, slope])

    def _chain(self, inner: Term, outer: Callable[[], list[Code]]) -> Code | None:
        slope = self.derivative(inner)
        return slope and times([*outer(), slope])

    def _derivative_of_log(self, arg: Term) -> Code | None:
        """d log(sum of c exp(a)) is the mean of da with softmax weights; d log(x) is dx / x."""
        terms = exponentials(arg)
        if terms is None:
            slope = self.derivative(arg)
            return slope and times([slope], [self.value(arg)])
        if len(terms) == 1:
            return self.derivative(terms[0][1])
        slopes = [self.derivative(exponent) for _, exponent in terms]
        if all(slope is None for slope in slopes):
            return None
        stack, _ = self._stack(terms)
        w = self.write.assign("w", f"torch.softmax({stack}, 0)")
        return sum_of(slope and times([Code(f"{w}[{k}]", Shape.BATCH), slope]) for k, slope in enumerate(slopes))

    def _derivative_of_log_density(self, law: Law, at: Term) -> Code | None:
        """The score, and what goes through the point where that moves with theta."""
        if not depends(at, self.by) or (isinstance(at, Apply) and isinstance(at.function, Threshold)):
            return self.value(Score(law, at, self.by))
        noise = standardised(law, at) if isinstance(law, NormalLaw) and self.location.holds(law) else None
        if noise is None or not isinstance(law, NormalLaw):
            through = self.pull(at, coordinate(self.law(law).pull_log_prob(self.event(at), self.write.assign)))
            return sum_of([self.value(Score(law, at, self.by)), through])
        # log q(loc + scale x) = -x^2 / 2 - log scale: nothing of it moves with loc
        own = self._less_one(law) if self.wrt == "log_scale" else None
        return sum_of([own, self.pull(noise, Code(f"-{self.event(noise)}", Shape.COORDINATE, Level.PRODUCT))])

    def _less_one(self, law: NormalLaw) -> Code:
        """The derivative of -log scale by log_scale, at the outcome where the law takes it."""
        if not self.location.given("log_scale"):
            return number(Fraction(-1))
        ones = f"torch.ones_like({self.located(law.scale)})"
        return self.by_location(law.scale, Code(f"-{ones}", Shape.COORDINATE, Level.PRODUCT))

    def _through(self, term: Apply, i: int) -> Code | None:
        """The part of the derivative of f(..., x, ...) that goes through its i-th argument."""
        if not self._moves(term.args[i]):
            return None
        name, args, text = self._called(term)
        self.differentiated.add(self._differentiating(text, i))
        _, slope = self._value_and_slope(text, name, args, i)
        return self.pull(term.args[i], Code(slope, Shape.COORDINATE))

    def _moves(self, arg: Term) -> bool:
        """Whether an event has a derivative by theta that is not zero by construction."""
        match arg:
            case Stop() | Number() | RandomVariable() | Sign():
                return False
            case Apply(Threshold(), _):
                return False
            case Symbol():
                return arg == self.by
            case Expect():
                return depends(arg, self.by)
            case Entry(_, entries, _):
                return any(map(self._moves, entries))
        return any(self._moves(part) for part in parts(arg))

    # Back through vectors

    def pull(self, term: Term, slope: Code) -> Code | None:
        """The derivative by theta of a number whose derivative by the vector `term` is `slope` (shapes (*batch, n))."""
        if self.location.of(term) is not None:
            return self._pull_location(term, slope)
        if not self._moves(term):
            return None
        match term:
            case Symbol():
                return slope
            case Apply(Slope(), (x,)) if slope_order(term) == 1 and self.family.name != "vector":
                return self.pull(x, self._bent(term, slope))
            case Apply(Slope(), _):
                through = self.derivative(term)
                return through and times([slope, through])
            case Apply(function, _) if type(function) is Function:
                message = f"{self.estimator.name!r} differentiates {function.name}, which gives a vector; no code does that."
                raise UsageError(message)
            case Apply(function, args):
                return self._pull_map(function, args, term, slope)
            case Density() | Log(Density()):
                through = self.derivative(term)
                return through and times([Code(f"{slope.at(Level.ATOM)}.sum(-1)", Shape.BATCH), through])
            case Add(args):
                return sum_of(self.pull(arg, slope) for arg in args)
            case Mul(args):
                return sum_of(self.pull(arg, self._others(args, i, slope)) for i, arg in enumerate(args))
            case Power(base, exponent):
                outer = [number(Fraction(exponent)), power(self.event_code(base), exponent - 1)]
                return self.pull(base, times([slope, *outer]))
            case Log(arg):
                return self.pull(arg, times([slope], [self.event_code(arg)]))
            case Exp(arg):
                return self.pull(arg, times([slope, self.event_code(term)]))
            case Sigmoid(arg):
                s = self.event(term)
                return self.pull(arg, Code(f"{slope.at(Level.PRODUCT)} * {s} * (1 - {s})", Shape.COORDINATE, Level.PRODUCT))
            case Entry():
                through = self.derivative(term)
                return through and times([slope, through])
            case Expect(body, variable):
                self._mean(body, variable)
                if isinstance(variable.law, NormalLaw):
                    return self.pull(variable.law.loc, slope)
                text = self.law(variable.law).pull_mean(slope.at(Level.ATOM), self.wrt, self.write.assign)
                return None if text is None else self.by_logits(variable.law, text)
        unknown(term)

    def _others(self, args: tuple[Term, ...], i: int, slope: Code) -> Code:
        return times([slope, *(self.event_code(arg) for j, arg in enumerate(args) if j != i)])

    def _pull_location(self, term: Term, slope: Code) -> Code | None:
        """In the normal family mu(theta) is loc and sigma(theta) is exp(log_scale), whose derivative is itself."""
        if self.location.of(term) == "loc":
            return self.by_location(term, slope) if self.wrt == "loc" else None
        if self.wrt != "log_scale":
            return None
        return self.by_location(term, times([slope, Code(self.located(term), Shape.COORDINATE)]))

    def _pull_map(self, function: Function, args: tuple[Term, ...], term: Term, slope: Code) -> Code | None:
        text, assign = self.write.assign(f"d_{self.event(term)}", slope.text), self.write.assign
        match function:
            case SoftThreshold():
                inner = self.outcomes.pull_soft(text, self.event(term), self.value(args[1]).at(Level.ATOM))
                return self.pull(args[0], coordinate(inner))
            case Latent(law=FiniteLaw() as law):
                return self.by_logits(law, self.law(law).pull_latent(text, assign))
            case ConditionalLatent(law=FiniteLaw() as law):
                v, b, hint = self._noise(args[0]), self.event(args[1]), self.hints.get(term, "z_tilde")
                return self.by_logits(law, self.law(law).pull_conditional(text, v, b, hint, assign))
        unknown(term)


def sum_of(codes: Iterable[Code | None]) -> Code | None:
    """The sum of derivatives, of which those that are zero are None."""
    present = [code for code in codes if code is not None]
    return plus(present) if present else None
