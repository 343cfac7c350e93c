"""The derivative of a sum over the coordinates of theta, by a constant of the formula: the gradient of a variance.

The formula 2 g d_eta g is one number for each coordinate theta; what is estimated is their sum, the derivative of the trace of
the covariance. The walk goes backwards: `back(term, weight)` is the derivative by the parameter of sum over i of weight_i *
term_i, so that a parameter of many entries costs no more than one. A gradient by theta inside becomes a derivative in the
direction of the weights; where that is differentiated once more, autograd differentiates the user's function twice, and
everything else is printed.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NoReturn

from derive.language.errors import UsageError
from derive.language.scope import depends
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Grad,
    Latent,
    Mul,
    Number,
    Power,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    anywhere,
)
from numeric.codegen.expressions import Code, Level, Shape, coordinate, number, plus, power, times, word
from numeric.codegen.inventory import has_coordinates
from numeric.codegen.walk import Walk, sum_of

SLOPE_GRADIENT = '''
def slope_gradient(f, x, dx, y=None):
    """Return the derivative by y of the slope of f(x, y) along dx at x, shape of y; without y, that of f(x) by x."""
    if torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        at = (x,) if y is None else (x, y)

        def slope_at(*at):
            value, pull = torch.func.vjp(f, *at)
            return pull(torch.ones_like(value))[0]

        _, pull = torch.func.vjp(slope_at, *at)
        return pull(dx.expand_as(x))[-1]
    x = x.detach().requires_grad_()
    y = y if y is None else y.detach().requires_grad_()
    with torch.enable_grad():
        value = f(x) if y is None else f(x, y)
        if not value.requires_grad:
            return torch.zeros_like(x if y is None else y)
        (slope,) = torch.autograd.grad(value, x, torch.ones_like(value), create_graph=True, materialize_grads=True)
    if not slope.requires_grad:
        return torch.zeros_like(x if y is None else y)
    (gradient,) = torch.autograd.grad(slope, x if y is None else y, dx.expand_as(slope), materialize_grads=True)
    return gradient
'''


class Backward(Walk):
    """The last part of a walk: derivatives by a constant, of sums over the coordinates of theta."""

    def total(self, term: Term, factors: tuple[Term, ...] = ()) -> Code | None:
        """The sum over the coordinates of a scalar times the factors, shape of the parameter; None is zero.

        Raises
            UsageError, if derivatives by the parameter are multiplied, or stand inside another function.
        """
        if not self._differentiates(term):
            return self._summed(self._over_coordinates((*factors, term)))
        match term:
            case Add(args):
                return sum_of(self.total(arg, factors) for arg in args)
            case Grad(body, parameter) if parameter == self.theta:
                return self.back(body, self._over_coordinates(factors))
            case Mul(args):
                inner, *more = [i for i, arg in enumerate(args) if self._differentiates(arg)]
                if not more:
                    return self.total(args[inner], (*factors, *args[:inner], *args[inner + 1 :]))
        self._refuse_parameter(term)

    def _differentiates(self, term: Term) -> bool:
        return anywhere(term, lambda part: isinstance(part, Grad) and part.parameter == self.theta)

    def _over_coordinates(self, factors: tuple[Term, ...]) -> Code:
        """The product, one number for each coordinate also where it is the same for all of them."""
        codes = [self.value(factor) for factor in factors]
        if any(has_coordinates(factor, self.law_parameter) for factor in factors):
            return times(codes)
        return times([*codes, Code(f"torch.ones_like({self.entries(self.wrt)})", Shape.COORDINATE)])

    def back(self, term: Term, weight: Code) -> Code | None:
        """The derivative by the parameter of the sum of weight * term; None is zero.

        Raises
            UsageError, if the parameter stands where the generated code cannot differentiate by it.
        """
        if not depends(term, self.theta):
            return None
        match term:
            case Symbol():
                return self._summed(weight)
            case Stop():
                return None
            case Add(args):
                weight = self._named(weight)
                return sum_of(self.back(arg, weight) for arg in args)
            case Mul(args):
                return sum_of(self._back_factor(args, i, weight) for i in range(len(args)))
            case Power(base, exponent):
                return self.back(base, times([weight, number(Fraction(exponent)), power(self.value(base), exponent - 1)]))
            case Grad(body, parameter) if parameter == self.by:
                return self._back_gradient(body, self._named(weight))
            case Apply(_, args):
                weight = self._in_batch(weight)
                return sum_of(self._back_argument(term, i, weight) for i in range(len(args)))
        self._refuse_parameter(term)

    def _back_factor(self, args: tuple[Term, ...], i: int, weight: Code) -> Code | None:
        if not depends(args[i], self.theta):
            return None
        return self.back(args[i], times([weight, *(self.value(arg) for j, arg in enumerate(args) if j != i)]))

    # The user's functions

    def _back_argument(self, term: Apply, i: int, weight: Code) -> Code | None:
        """Through one argument of a function: the parameter itself, or a relaxation at the temperature that it is."""
        arg = term.args[i]
        if not depends(arg, self.theta):
            return None
        weighted = times([weight, self._slope(term, i)])
        return weighted if arg == self.theta else self._back_soft(arg, weighted)

    def _slope(self, term: Apply, i: int) -> Code:
        name, args, text = self._called(term)
        self.differentiated.add(self._differentiating(text, i))
        return Code(self._value_and_slope(text, name, args, i)[1], Shape.COORDINATE)

    def _back_soft(self, term: Term, weight: Code) -> Code | None:
        """From sigma(z, lambda) to lambda, on which z does not depend."""
        soft = self._checked_soft(term)
        return self.back(soft.args[1], times([weight, Code(self._by_temperature(soft), Shape.COORDINATE)]))

    def _checked_soft(self, term: Term) -> Apply:
        if isinstance(term, Apply) and isinstance(term.function, SoftThreshold) and not depends(term.args[0], self.theta):
            return term
        self._refuse_parameter(term)

    def _by_temperature(self, soft: Apply) -> str:
        """d sigma(z, lambda) / d lambda: sigma is a function of z / lambda, so it is -z / lambda times that by z."""
        z, s, temperature = self.event(soft.args[0]), self.event(soft), self._temperature(soft)
        return self.write.assign(f"d{s}", f"-({self.outcomes.pull_soft(z, s, temperature)}) / {temperature}")

    def _temperature(self, soft: Apply) -> str:
        return self.value(soft.args[1]).at(Level.ATOM)

    # Gradients by theta

    def _back_gradient(self, body: Term, weight: Code) -> Code | None:
        """Through d/dtheta of something, first brought down to the user's functions by linearity and the rule of Leibniz."""
        match body:
            case Add(args):
                return sum_of(self.back(Grad(arg, self.by), weight) for arg in args)
            case Mul(args):
                moving = [i for i, arg in enumerate(args) if depends(arg, self.by)]
                products = [Mul((*args[:i], *args[i + 1 :], Grad(args[i], self.by))) for i in moving]
                return sum_of(self.back(product, weight) for product in products)
            case Power(base, exponent):
                return self.back(Mul((Number(Fraction(exponent)), base ** (exponent - 1), Grad(base, self.by))), weight)
            case Apply(_, args):
                moving = [i for i, arg in enumerate(args) if self._moves(arg)]
                pairs = [(i, j) for i in moving for j, arg in enumerate(args) if depends(arg, self.theta)]
                return sum_of(self._back_twice(body, i, j, weight) for i, j in pairs)
        self._refuse_parameter(body)

    def _back_twice(self, term: Apply, i: int, j: int, weight: Code) -> Code | None:
        """Through theta in the i-th argument of a function, and through the parameter in the j-th."""
        along, second = self.push(term.args[i], weight), self._slope_gradient(term, i, j, weight)
        if term.args[j] == self.theta:
            return second
        if i != j:
            self._refuse_parameter(term)
        soft, slope = self._checked_soft(term.args[i]), self._slope(term, i)
        return sum_of([self._back_soft(soft, second), self.back(soft.args[1], times([slope, self._bend(soft, along, weight)]))])

    def _slope_gradient(self, term: Apply, i: int, j: int, weight: Code) -> Code:
        """The slope in the direction of the weights, differentiated by the j-th argument."""
        self.differentiates_twice = True
        name, args, _ = self._called(term)
        along, both = self.push(term.args[i], weight), list(dict.fromkeys([args[i], args[j]]))
        function = name if args == both else f"lambda {', '.join(both)}: {name}({', '.join(args)})"
        tensors = [arg for arg, part in zip(args, term.args, strict=True) if not isinstance(part, Symbol)]
        points = ", ".join([args[i], along, *(self._point(arg, tensors) for arg in both[1:])])
        return Code(self.write.assign(f"dd{word(name)}", f"slope_gradient({function}, {points})"), Shape.COORDINATE)

    def _bend(self, soft: Apply, along: str, weight: Code) -> Code:
        """How the direction `along` in sigma(z, lambda), that one in z belongs to, moves with lambda."""
        s, temperature = self.event(soft), self._temperature(soft)
        bent = self.outcomes.bend_soft(self.push(soft.args[0], weight), self._by_temperature(soft), s, temperature)
        return plus([coordinate(bent), Code(f"-{along} / {temperature}", Shape.COORDINATE, Level.PRODUCT)])

    def push(self, term: Term, weight: Code) -> str:
        """The name of the direction in which a vector moves when theta moves along the weights.

        Raises
            UsageError, if the vector is none of a relaxation.
        """
        match term:
            case Apply(SoftThreshold(), (inner, _)):
                text = self.outcomes.pull_soft(self.push(inner, weight), self.event(term), self._temperature(term))
            case Apply(Latent(law=law), _):
                text = self.law(law).push_latent(weight.text, self.write.assign)
            case Apply(ConditionalLatent(law=law), (v, b, *_)):
                names = self._noise(v), self.event(b), self.hints.get(term, "z_tilde")
                text = self.law(law).push_conditional(weight.text, *names, self.write.assign)
            case _:
                self._refuse_parameter(term)
        return self.write.assign(f"along_{self.event(term)}", text)

    # Sums over coordinates

    def _named(self, weight: Code) -> Code:
        return Code(self.write.assign("weight", weight.text), weight.shape)

    def _in_batch(self, weight: Code) -> Code:
        return Code(f"({weight.text}).sum(-1)", Shape.BATCH)

    def _summed(self, weight: Code) -> Code:
        return Code(f"({weight.text}).sum(-1, keepdim=True)", Shape.COORDINATE)

    def _refuse_parameter(self, term: Term) -> NoReturn:
        message = (
            f"{self.theta.name} stands in a {type(term).__name__} of {self.estimator.name!r} by which the generated code does "
            f"not differentiate the sum over the coordinates of {self.by.name}; it knows sums, products, powers, functions of "
            f"{self.theta.name} and of relaxations at temperature {self.theta.name}."
        )
        raise UsageError(message)
