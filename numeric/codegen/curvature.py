"""Second derivatives: the matrix of them, and its product with a constant vector.

The first derivative is printed as ever, as a function of the parameters inside `estimate`, and torch differentiates that one.
What does not move with the parameters stands before that function, once.

A formula is a scalar for one number theta, and where each summand is differentiated twice it is a square in the step that theta
takes. Of a vector theta that is a quadratic form of the step, and what is returned is the symmetric matrix of that form: the
square of a score becomes its outer product with itself, a product of two derivatives the mean of both outer products.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import NoReturn

from derive.language.errors import UsageError
from derive.language.scope import free
from derive.language.term import (
    Add,
    Expect,
    Grad,
    Mul,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    parts,
    subterms,
)
from numeric.codegen.backward import Backward
from numeric.codegen.expressions import Code, Kind, Level, Nested, Shape, Writer, number, times
from numeric.codegen.inventory import NEVER, ONCE, TWICE, degrees
from numeric.codegen.walk import sum_of

JACOBIAN = '''
def jacobian(slope, x):
    """Return the derivative of slope(x), shape (*batch, m), by x: a matrix for each element of the batch, (*batch, m, n)."""
    y, pull = torch.func.vjp(slope, x)
    units = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    return torch.stack([pull(unit.expand_as(y))[0].reshape(*y.shape[:-1], -1) for unit in units], -2)
'''

GRADIENT = '''
def gradient(value, x):
    """Return the derivative of value(x), shape (*batch), by x, shape (*batch, n)."""
    y, pull = torch.func.vjp(value, x)
    return pull(torch.ones_like(y))[0].reshape(*y.shape, -1)
'''

VALUE_AND_SLOPE = '''
def value_and_slope(f, x):
    """Return f(x), shape (*batch), and its derivative at x, shape (*batch, n), which can be differentiated once more."""
    y, pull = torch.func.vjp(f, x)
    return y, *pull(torch.ones_like(y))
'''

CURVATURE = '''
def curvature(f, x):
    """Return the second derivative of f(x), shape (*batch), by each entry of x, the others held fixed: shape (*batch, n)."""
    units = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.stack([slope_gradient(f, x, unit)[..., i] for i, unit in enumerate(units)], -1)
'''


class Curvature(Backward):
    """The last part of a walk: what is differentiated twice by theta."""

    wrt: str
    columns: str
    write: Writer

    def matrix(self, term: Term) -> Code | None:
        """The second derivatives of a formula by the parameters `wrt` (rows) and `columns`, shape (*batch, n, m); None is zero.

        Raises
            UsageError, if a summand is not differentiated twice.
        """
        found = degrees(term, self.theta)
        if found is not None and not found:
            return None
        if found != TWICE or self.summed:
            self._refuse_degree(term)
        match term:
            case Add(args):
                return sum_of(self.matrix(arg) for arg in args)
            case Mul(args):
                return self._matrix_of_product(args)
            case Power(base, exponent):
                return self.matrix(base) if exponent == 1 else self._product(base, base)
            case Stop(body):
                return self.matrix(body)
            case Expect(body, _) | Over(body, _):
                return self._enumerate(term, body, self._matrix_or_zero)
            case Grad(body, _):
                return self._symmetric_jacobian(body)
        self._refuse_degree(term)

    def _matrix_or_zero(self, term: Term) -> Code:
        return self.matrix(term) or number(Fraction(0))

    def _matrix_of_product(self, args: tuple[Term, ...]) -> Code | None:
        own = [degrees(arg, self.theta) for arg in args]
        rest = [arg for arg, found in zip(args, own, strict=True) if found == NEVER]
        inner = [arg for arg, found in zip(args, own, strict=True) if found != NEVER]
        if len(inner) == 1 or inner[0] == inner[1]:
            product = self.matrix(inner[0]) if len(inner) == 1 else self._product(inner[0], inner[0])
            return product and times([*map(self.value, rest), product])
        both = sum_of([self._product(inner[0], inner[1]), self._product(inner[1], inner[0])])
        return both and times([*self._halved(rest), both])

    def _halved(self, args: list[Term]) -> list[Code]:
        numbers = [arg.value for arg in args if isinstance(arg, Number)]
        half = number(prod(numbers, start=Fraction(1)) / 2)
        return [half, *(self.value(arg) for arg in args if not isinstance(arg, Number))]

    def _product(self, row: Term, column: Term) -> Code | None:
        first = self.at_parameter(self.wrt, lambda: self.value(row))
        second = self.at_parameter(self.columns, lambda: self.value(column))
        if "0" in (first.text, second.text):
            return None
        left, right = (self.write.assign("slope", code.text) for code in (first, second))
        return Code(f"{left}[..., :, None] * {right}[..., None, :]", Shape.MATRIX, Level.PRODUCT)

    def at_parameter(self, parameter: str, read: Callable[[], Code]) -> Code:
        """What is read, with its derivatives by this parameter."""
        kept, self.wrt = self.wrt, parameter
        code = read()
        self.wrt = kept
        return code

    # Through torch

    def _symmetric_jacobian(self, body: Term) -> Code | None:
        """The derivative of a derivative; the mean of both orders, where they are not the same."""
        first = self._jacobian(body)
        if self._is_gradient(body):
            return first
        if self.wrt == self.columns:
            if first is None:
                return None
            name = self.write.assign("slopes", first.text)
            return Code(f"({name} + {name}.mT) / 2", Shape.MATRIX, Level.PRODUCT)
        self.wrt, self.columns = self.columns, self.wrt
        other = self._jacobian(body)
        self.wrt, self.columns = self.columns, self.wrt
        both = sum_of([first, other and Code(f"{other.at(Level.ATOM)}.mT", Shape.MATRIX)])
        return both and times([both], [number(Fraction(2))])

    def _is_gradient(self, body: Term) -> bool:
        """Whether the derivative of a derivative is symmetric as it stands."""
        match body:
            case Grad():
                return True
            case Score(_, at, _):
                return not self._moves(at)
            case Add(args):
                return all(map(self._is_gradient, args))
            case Mul(args):
                inner = [arg for arg in args if degrees(arg, self.theta) == ONCE]
                return self._is_gradient(inner[0]) and not any(self._moves(arg) for arg in args if arg != inner[0])
        return False

    def _jacobian(self, body: Term) -> Code | None:
        text = self._through_torch("jacobian", "slope", body, self.columns)
        return Code(text, Shape.MATRIX) if text else None

    def _through_torch(self, helper: str, name: str, body: Term, parameter: str) -> str | None:
        """A derivative of the body, which is printed as a function of the parameter; None is zero."""
        outer = self.write
        self.write = inner = Nested(outer.names, outer=outer, moving={parameter})
        if parameter == "log_scale":
            inner.lines.append("scale = torch.exp(log_scale)")
            inner.moving.add("scale")
        code = self.value(body)
        self.write = outer
        inner.close()
        if not inner.moves(code.text):
            return None
        return f"{helper}({self._function(inner, name, parameter, code.text)}, {self._expanded(parameter, body)})"

    def _function(self, inner: Nested, wish: str, parameter: str, result: str) -> str:
        """The name of the function that these statements are; one that is there already is not written again."""
        text = inner.function("", parameter, result)
        memo = inner.outer.memo
        if text not in memo:
            memo[text] = inner.names.fresh(wish)
            inner.outer.lines.append(inner.function(memo[text], parameter, result))
        return memo[text]

    def _expanded(self, parameter: str, body: Term) -> str:
        """The parameter with a row for each sample, and for each outcome that is summed over outside."""
        leaves = [leaf for leaf in free(body) if isinstance(leaf, RandomVariable)]
        outcomes = [self.bound[leaf] for leaf in leaves if leaf in self.bound]
        draws = [self.write.names.of(draw) for draw in self.estimator.draws if draw in leaves]
        shapes = [f"{name}.shape[:-1]" for name in draws]
        shapes = [f"{self.shapes[-1]}[:-1]"] if outcomes else shapes
        if not shapes:
            return parameter
        return f"{parameter}.expand(*{shapes[0]}{', -1' * self.dimensions(parameter)})"

    # The product with a vector

    def along(self, constant: Symbol) -> str:
        """A constant vector, with an entry for each of the parameter also where one number is given."""
        if len(self.parameters) > 1 or self.dimensions(self.wrt) > 1:
            message = (
                f"{self.estimator.name!r} multiplies second derivatives with {constant.name}, a vector with the shape of the "
                f"parameters; here they are {', '.join(map(self.key, self.parameters))}, expected one tensor (*batch, n)."
            )
            raise UsageError(message)
        vector = self.constant(constant, Kind.VECTOR)
        return self._outermost().assign(f"along_{vector}", f"torch.zeros_like({self.wrt}) + {vector}")

    def _outermost(self) -> Writer:
        writer = self.write
        while isinstance(writer, Nested):
            writer = writer.outer
        return writer

    def _quotient(self, args: tuple[Term, ...]) -> Code:
        along = [arg for arg in args if isinstance(arg, Symbol) and arg in self.directions]
        if not along:
            return super()._quotient(args)
        rest = Mul(tuple(arg for arg in args if arg not in along))
        found = degrees(rest, self.theta, self.directions)
        if len(along) != 1 or found not in (ONCE, TWICE):
            self._refuse_degree(Mul(args))
        vector = self.along(along[0])
        if found == ONCE:
            code = times([Code(vector, Shape.COORDINATE), self.value(rest)])
            return Code(f"({code.text}).sum(-1)", Shape.BATCH)
        self.columns = self.wrt
        product = self.matrix(rest)
        if product is None:
            return number(Fraction(0))
        return Code(f"({product.at(Level.PRODUCT)} * {vector}[..., None, :]).sum(-1)", Shape.COORDINATE)

    def _value(self, term: Term) -> Code:
        if isinstance(term, Grad) and term.parameter == self.by and self._is_curved(term.body):
            if degrees(term.body, self.theta, self.directions) != NEVER:
                self._refuse_twice(term.body)
            text = self._through_torch("gradient", "value", term.body, self.wrt)
            return Code(text, Shape.COORDINATE) if text else number(Fraction(0))
        return super()._value(term)

    def _is_curved(self, term: Term) -> bool:
        """Whether a derivative by theta is differentiated once more, and nothing stops that."""
        if isinstance(term, Stop):
            return False
        own = isinstance(term, (Score, Grad)) and term.parameter == self.by
        return own or any(map(self._is_curved, parts(term)))

    # Refusals

    def _refuse_twice(self, term: Term) -> NoReturn:
        inner = next(part for part in subterms(term) if isinstance(part, (Score, Grad)) and part.parameter == self.by)
        message = (
            f"the formula of {self.estimator.name!r} differentiates a {type(inner).__name__.lower()} once more, which is a"
            " matrix: the generated code has matrices where the target is one, grad(grad(E(...), theta), theta), and the"
            " product of one with a constant v where the target is grad(v * grad(E(...), theta), theta)."
        )
        raise UsageError(message)

    def _refuse_degree(self, term: Term) -> NoReturn:
        found = degrees(term, self.theta, self.directions)
        how = "in no fixed number" if found is None else " or ".join(map(str, sorted(found))) + " times"
        message = (
            f"the target of {self.estimator.name!r} is a second derivative, and its formula has a summand that is"
            f" differentiated by {self.theta.name} {how}: of a vector {self.theta.name}, a summand is a matrix where it is"
            " differentiated twice, as the square of a score is, and only there."
        )
        raise UsageError(message)
