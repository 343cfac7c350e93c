"""In at the door: SymPy expressions, with laws of `sympy.stats`, as terms. What has no meaning here is refused by name."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import reduce
from typing import Any, NoReturn, cast

import sympy
from sympy import stats
from sympy.core.function import AppliedUndef, UndefinedFunction
from sympy.stats.crv_types import NormalDistribution, UniformDistribution
from sympy.stats.frv_types import BernoulliDistribution, FiniteDistributionHandmade

from derive.language.errors import NotATerm, NotExact, TooLarge, UnknownNode
from derive.language.exactness import exact
from derive.language.notation import E, Over as over, absolute, finite, grad, indicator, maximum, minimum, normal, sign, uniform
from derive.language.term import (
    Add,
    Density,
    Exp,
    FiniteLaw,
    Function,
    Log,
    Mul,
    NormalLaw,
    Number,
    Power,
    RandomVariable,
    Score,
    Symbol,
    Term,
    UniformLaw,
    lift,
)

MOST_TERMS, MOST_ORDER = 100, 8
_OUTCOMES = sympy.Symbol("K")


def from_sympy(expression: Any, symbols: Mapping[Any, Term | Function] | None = None, *, any_law: bool = False) -> Term:
    """Return a SymPy expression as a term.

    Sums of so many terms are written out, `sympy.stats.Expectation` is E over its random variables, each as `variable_of` reads
    it; a `Sum` or an `Integral` over the support of a variable of ours is one; the square root of x is exp(log(x) / 2), and so
    x must be positive.

    Args
        expression  exact numbers, symbols, + * / powers, exp, log, undefined functions, derivatives, sums, integrals, means
        symbols     what a symbol, or an undefined function, stands for; a symbol that is not listed becomes a `Symbol` of its
                    name, and a function `Function` of its name, of which nothing is known
        any_law     as for `variable_of`

    Raises
        NotExact, if a float occurs.
        NotATerm, if `symbols` has something else than symbols and functions of SymPy, and terms and functions of ours.
        UnknownNode, if something occurs that has no meaning here, by its name; if two symbols or functions have one name, as
        with other assumptions.
        TooLarge, if it is nested too deeply.

    >>> x, f = sympy.Symbol("x"), sympy.Function("f")
    >>> from_sympy(x**2 / 3) == Number(Fraction(1, 3)) * Symbol("x") ** 2
    True
    >>> b = stats.Bernoulli("b", sympy.Symbol("theta"))
    >>> print(from_sympy(stats.Expectation(f(b)), any_law=True))
    E_b[f(b)]
    """
    listed = _listed(symbols or {})
    try:
        read = _expression(expression)
        _refuse_confusion(read, listed)
        return _Reader(listed, any_law=any_law).read(read)
    except RecursionError:
        message = "the expression is nested too deeply to be read."
        raise TooLarge(message) from None


def variable_of(symbol: Any, *, any_law: bool = False) -> RandomVariable:
    """Return a random variable of `sympy.stats` as one of ours.

    `Normal` and `Uniform` are themselves. Of `Bernoulli` and `FiniteRV` there is no form here that keeps the support: with
    `any_law` they stand for every law on any finite support, of which theirs is one: p(b; theta) for a bit of probability
    theta, so that two of them share it, and p_b(b; parameters) for any other law of b. What is proved then holds for it; what
    is refuted is refuted of some such law, and may be right for theirs.

    Raises
        UnknownNode, if the law has no form here, or its values move with a parameter.

    >>> print(variable_of(stats.Normal("z", sympy.Symbol("mu"), 1)).law)
    Normal(.; mu, 1)
    """
    return _variable(symbol, from_sympy, any_law=any_law)


def _variable(symbol: Any, read: Callable[[Any], Term], *, any_law: bool) -> RandomVariable:
    law, name = getattr(getattr(symbol, "pspace", None), "distribution", None), str(getattr(symbol, "symbol", symbol))
    if isinstance(law, NormalDistribution):
        return normal(name, read(law.mean), read(law.std))
    if isinstance(law, UniformDistribution):
        return uniform(name, read(law.left), read(law.right))
    if isinstance(law, (BernoulliDistribution, FiniteDistributionHandmade)):
        if not any_law:
            message = (
                f"{name} has a finite law of its own, which has no form here; any_law=True lets it stand for every law on any "
                "finite support: what is proved holds for it, what is refuted need not be wrong for it."
            )
            raise UnknownNode(message)
        return _any_law(name, law, read)
    _refuse(f"the law {type(law).__name__} of {name}", "Normal, Uniform, Bernoulli or FiniteRV of sympy.stats")


def _any_law(name: str, law: Any, read: Callable[[Any], Term]) -> RandomVariable:
    probabilities = {value: probability for value, probability in law.dict.items() if probability != 0}
    if any(getattr(value, "free_symbols", ()) for value in probabilities):
        _refuse(f"the law of {name}, whose values are symbols,", "values that are numbers: those of a law do not move")
    parameters = [read(each) for each in sorted(law.free_symbols, key=str)]
    bit = len(parameters) == 1 and probabilities == {1: next(iter(law.free_symbols)), 0: 1 - next(iter(law.free_symbols))}
    return finite(name, *(cast("Symbol", each) for each in parameters), law="p" if bit else f"p_{name}")


def _listed(symbols: Mapping[Any, Any]) -> Mapping[Any, Term | Function]:
    """Refuse what would be passed over: a name in the place of a symbol, a number in the place of a term."""
    for key, value in symbols.items():
        function = isinstance(key, UndefinedFunction)
        if not (isinstance(value, Function) if function else isinstance(key, sympy.Basic) and isinstance(value, Term)):
            message = f"{key!r} stands for {value!r}: expected a symbol of SymPy and a term, or a function and one of ours."
            raise NotATerm(message)
    return symbols


def _expression(expression: Any) -> Any:
    if isinstance(expression, sympy.Basic):
        return expression
    if type(expression) is not bool and isinstance(expression, numbers.Number):
        number = exact(expression)
        return sympy.Rational(number.numerator, number.denominator)
    _refuse(f"a {type(expression).__name__}", "an expression of SymPy")


def _refuse_confusion(expression: Any, listed: Mapping[Any, Any]) -> None:
    """Refuse two symbols, or two functions, of one name: here they would be one. Nor is there an order in a product."""
    names = {_named(key): key for key in listed}
    for leaf in _leaves(expression):
        if getattr(leaf, "is_commutative", True) is False:
            _refuse(f"{leaf}, which does not commute,", "symbols that do")
        known = names.setdefault(_named(leaf), leaf)
        if known != leaf and leaf not in listed:
            _refuse(f"{leaf} beside another {leaf}, of which one may be positive, random or a Dummy,", "a name for each")


def _named(leaf: Any) -> tuple[bool, str]:
    return isinstance(leaf, UndefinedFunction), str(getattr(leaf, "name", leaf))


def _leaves(expression: Any) -> Iterator[Any]:
    """Yield the symbols and the undefined functions, in the laws of random symbols too."""
    if isinstance(expression, stats.rv.RandomSymbol):
        yield expression
        yield from (leaf for arg in getattr(expression.pspace, "distribution", sympy.S.Zero).args for leaf in _leaves(arg))
    elif isinstance(expression, sympy.Symbol):
        yield expression
    else:
        if isinstance(expression, AppliedUndef):
            yield expression.func
        yield from (leaf for arg in getattr(expression, "args", ()) for leaf in _leaves(arg))


def _refuse(what: str, expected: str) -> NoReturn:
    message = f"{what} has no meaning here; expected {expected}."
    raise UnknownNode(message)


def _order(expression: Any) -> Any | None:
    """Return x > y of what is 1 there, and 0 elsewhere."""
    (value, order), (other, rest) = expression.args if len(expression.args) == 2 else ((0, None), (0, None))
    strict = isinstance(order, (sympy.StrictGreaterThan, sympy.StrictLessThan))
    return order if strict and (value, other) == (1, 0) and rest == True else None  # noqa: E712 - SymPy's true is not True


class _Reader:
    """One expression; the random variables that it meets are read once each."""

    def __init__(self, symbols: Mapping[Any, Term | Function], *, any_law: bool) -> None:
        self.symbols, self.any_law = symbols, any_law

    def variable_of(self, symbol: Any) -> RandomVariable:
        read = self.symbols.get(symbol)
        if isinstance(read, Term) and not isinstance(read, RandomVariable):
            _refuse(f"a mean over {symbol}, which stands for {read},", "a random variable")
        return read if isinstance(read, RandomVariable) else _variable(symbol, self.read, any_law=self.any_law)

    def _with(self, index: Any, value: Term) -> _Reader:
        return _Reader({**self.symbols, index: value}, any_law=self.any_law)

    def read(self, expression: Any) -> Term:
        known = self.symbols.get(expression) if getattr(expression, "is_Symbol", False) or expression in self.symbols else None
        if isinstance(known, Term):
            return known
        if isinstance(expression, stats.rv.RandomSymbol):
            return self.variable_of(expression)
        if isinstance(expression, sympy.Symbol):
            laws = [getattr(known, "law", None) for known in self.symbols.values()]
            if expression == _OUTCOMES and any(isinstance(law, FiniteLaw) for law in laws):
                _refuse(f"{expression}, which is how many outcomes there are,", "another name for a constant")
            return Symbol(expression.name)
        if isinstance(expression, sympy.Float):
            message = f"formulas are exact: got the float {expression}; write a Rational."
            raise NotExact(message)
        if isinstance(expression, sympy.Rational):
            return Number(Fraction(int(expression.p), int(expression.q)))
        return self._algebra(expression)

    def _algebra(self, expression: Any) -> Term:
        match expression:
            case sympy.Add():
                return Add(tuple(map(self.read, expression.args)))
            case sympy.Mul():
                return Mul(tuple(map(self.read, expression.args)))
            case sympy.Pow():
                return self._power(expression)
            case sympy.exp():
                return Exp(self.read(expression.args[0]))
            case sympy.log() if len(expression.args) == 1:
                return Log(self.read(expression.args[0]))
            case sympy.sign() | sympy.Abs():
                return (sign if isinstance(expression, sympy.sign) else absolute)(self.read(expression.args[0]))
            case sympy.Max() | sympy.Min():
                return reduce(maximum if isinstance(expression, sympy.Max) else minimum, map(self.read, expression.args))
            case sympy.Piecewise() if (order := _order(expression)) is not None:
                return indicator(self.read(order.gts) - self.read(order.lts))
            case AppliedUndef():
                return self._applied(expression)
        return self._calculus(expression)

    def _power(self, expression: Any) -> Term:
        base, exponent = expression.base, expression.exp
        if isinstance(exponent, sympy.Integer):
            return Power(self.read(base), int(exponent))
        if not (isinstance(base, sympy.Rational) and base <= 0):
            return Exp(Mul((self.read(exponent), Log(self.read(base)))))
        _refuse(f"{expression}, a power of what is not positive,", "a positive base")

    def _applied(self, expression: Any) -> Term:
        """An undefined function; p(b, ...) is the density of a variable whose law is called p and has these parameters."""
        args = tuple(map(self.read, expression.args))
        if not args:
            _refuse(f"{expression}, a function without arguments,", "a symbol")
        function = self.symbols.get(expression.func)
        if isinstance(function, Function):
            return function(*args)
        name = expression.func.__name__
        law = getattr(args[0], "law", None)
        if isinstance(law, FiniteLaw) and name in (law.name, "p") and args[1:] == law.terms:
            return Density(law, args[0])
        return Function(name)(*args)

    def _calculus(self, expression: Any) -> Term:
        match expression:
            case sympy.Derivative():
                return self._derivative(expression)
            case stats.Expectation() if len(expression.args) > 1:
                _refuse(f"{expression}, a mean under a condition,", "a mean over a law")
            case stats.Expectation():
                variables = sorted(map(self.variable_of, expression.args[0].atoms(stats.rv.RandomSymbol)), key=lambda v: v.name)
                return E(self.read(expression.args[0]), *variables)
            case sympy.Sum() | sympy.Integral():
                result = expression.function
                for limit in expression.limits:
                    result = self._summed(expression, result, limit)
                return lift(result)
        expected = "+ * / powers, exp, log, functions, derivatives, sums over outcomes, integrals over a law, Expectation"
        _refuse(type(expression).__name__ + (f" ({expression})" if expression.is_Atom else ""), expected)

    def _derivative(self, expression: Any) -> Term:
        term = self.read(expression.expr)
        for along, order in expression.variable_count:
            symbol = self.read(along)
            if not (isinstance(symbol, Symbol) and isinstance(order, sympy.Integer) and order <= MOST_ORDER):
                _refuse(f"a derivative along {along}, {order} times,", "a parameter, and a few times")
            for _ in range(int(order)):
                term = _gradient(term, symbol)
        return term

    def _summed(self, expression: Any, body: Any, limit: Any) -> Term:
        index, *ends = limit
        variable = self.symbols.get(index)
        kind = type(expression).__name__
        if isinstance(variable, RandomVariable) and self._covers(variable, ends, kind):
            return over(body if isinstance(body, Term) else self.read(body), variable)
        integers = len(ends) == 2 and all(isinstance(end, sympy.Integer) for end in ends)
        if kind == "Sum" and integers and not isinstance(body, Term) and -1 <= ends[1] - ends[0] < MOST_TERMS:
            values = range(int(ends[0]), int(ends[1]) + 1)
            return Add(tuple(self._with(index, Number(Fraction(value))).read(body) for value in values))
        _refuse(f"a {kind} over {limit}", f"a variable of ours over its whole support, or a Sum of at most {MOST_TERMS} terms")

    def _covers(self, variable: RandomVariable, ends: list[Any], kind: str) -> bool:
        """Whether the ends are those of the support; the outcomes of a finite law are 1, ..., K."""
        match variable.law:
            case FiniteLaw():
                return kind == "Sum" and ends == [1, _OUTCOMES]
            case UniformLaw(low, high):
                return kind == "Integral" and [self.read(end) for end in ends] == [low, high]
            case NormalLaw():
                return kind == "Integral" and ends == [-sympy.oo, sympy.oo]
        return kind == "Integral" and ends == [-sympy.oo, sympy.oo]


def _gradient(term: Term, parameter: Symbol) -> Term:
    """The derivative of log p(b) at a variable is its score."""
    match term:
        case Log(Density(law, RandomVariable() as at)):
            return Score(law, at, parameter)
    return grad(term, parameter)
