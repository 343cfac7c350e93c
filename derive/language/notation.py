"""The names that a user writes formulas with, after the papers: E, grad, score, p, copies, relaxation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

from derive.language.errors import ScopeError, UsageError
from derive.language.term import (
    ConditionalLatent,
    Density,
    DensityLaw,
    Exact,
    Exp,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Latent,
    Log,
    NormalLaw,
    Over as _Over,
    RandomVariable,
    Score,
    Sigmoid,
    SoftThreshold,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    lift,
)


def parameter(name: str) -> Symbol:
    """A scalar that is differentiated: one coordinate of the parameters, in any parametrization.

    >>> parameter("theta")
    Symbol(name='theta')
    """
    return Symbol(name)


def constant(name: str) -> Symbol:
    """A scalar that is not differentiated: a baseline, a scale, a temperature."""
    return Symbol(name)


def function(name: str, *, differentiable: bool | None = None) -> Function:
    """An abstract function of any arguments; say `differentiable=True` where a derivation may differentiate it."""
    return Function(name, differentiable)


def finite(name: str, *parameters: Symbol, law: str = "p", given: tuple[Term, ...] = ()) -> RandomVariable:
    """A variable with any law p(name | given; parameters) on any finite support."""
    return RandomVariable(name, FiniteLaw(law, parameters, given))


def continuous(name: str, *parameters: Symbol, law: str = "p", normalised: bool = True) -> RandomVariable:
    """A variable with an abstract density, of which nothing is known but what is assumed."""
    return RandomVariable(name, DensityLaw(law, parameters, normalised))


def uniform(name: str, low: Exact = 0, high: Exact = 1) -> RandomVariable:
    """A variable uniform on (low, high)."""
    return RandomVariable(name, UniformLaw(lift(low), lift(high)))


def normal(name: str, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A normal variable with mean `loc` and standard deviation `scale`."""
    return RandomVariable(name, NormalLaw(lift(loc), lift(scale)))


def copies(variable: RandomVariable, count: int) -> tuple[RandomVariable, ...]:
    """Independent copies of a variable, named name_1, ..., name_count.

    >>> [copy.name for copy in copies(finite("b", parameter("theta")), 2)]
    ['b_1', 'b_2']
    """
    if count < 1:
        message = f"the number of copies must be at least 1, got {count}."
        raise UsageError(message)
    return tuple(RandomVariable(f"{variable.name}_{i}", variable.law) for i in range(1, count + 1))


@dataclass(frozen=True)
class Relaxation:
    """The maps of a relaxed discrete variable: z = h(u, theta), b = H(z), z_tilde = h_tilde(v, b, theta), sigma(z, lambda)."""

    h: Latent
    H: Threshold
    h_tilde: ConditionalLatent
    sigma: SoftThreshold


def relaxation(variable: RandomVariable) -> Relaxation:
    """Declare a relaxation of a finite variable b: H(h(u, theta)) has its law, h_tilde(v, b, theta) that of z given b.

    Raises
        UsageError, if the variable has no finite law.
    """
    if not isinstance(variable.law, FiniteLaw):
        message = f"only a variable with a finite law has a relaxation; {variable.name} has a {type(variable.law).__name__}."
        raise UsageError(message)
    law = variable.law
    return Relaxation(
        Latent("h", True, law),
        Threshold("H", False, law, variable.name),
        ConditionalLatent("h_tilde", True, law),
        SoftThreshold("sigma", True, law),
    )


def E(body: Exact, *variables: RandomVariable) -> Term:
    """The expectation over independent variables, the first one outermost; a law may depend on the variables before it."""
    result = lift(body)
    for variable in reversed(variables):
        result = Expect(result, variable)
    return result


def Over(body: Exact, variable: RandomVariable) -> Term:
    """The sum or integral over the support of a variable."""
    return _Over(lift(body), variable)


def p(variable: RandomVariable, at: Exact | None = None) -> Density:
    """The probability or density of a variable, at the variable itself or at another point."""
    return Density(variable.law, variable if at is None else lift(at))


def score(variable: RandomVariable, parameter: Symbol | None = None, at: Exact | None = None) -> Score:
    """The score d/dparameter log p(at); the parameter may be left out when the law has just one.

    Raises
        ScopeError, if the parameter is left out and the law does not have exactly one.
    """
    if parameter is None:
        symbols = [term for term in variable.law.terms if isinstance(term, Symbol)]
        if len(symbols) != 1:
            message = (
                f"the law of {variable.name} has {len(symbols)} parameters: say which one, as score({variable.name}, theta)."
            )
            raise ScopeError(message)
        parameter = symbols[0]
    return Score(variable.law, variable if at is None else lift(at), parameter)


def total(terms: Iterable[Term]) -> Term:
    """The sum of one or more terms.

    Raises
        UsageError, if there is none.
    """
    first, *others = tuple(terms) or (None,)
    if first is None:
        message = "a sum needs at least one term."
        raise UsageError(message)
    return reduce(add, others, first)


def grad(body: Exact, parameter: Symbol) -> Grad:
    """The derivative with respect to a parameter."""
    return Grad(lift(body), parameter)


def stop(body: Exact) -> Stop:
    """The value with its gradient stopped."""
    return Stop(lift(body))


def log(arg: Exact) -> Log:
    """The natural logarithm."""
    return Log(lift(arg))


def exp(arg: Exact) -> Exp:
    """The exponential."""
    return Exp(lift(arg))


def sigmoid(arg: Exact) -> Sigmoid:
    """The logistic function."""
    return Sigmoid(lift(arg))
