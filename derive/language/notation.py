"""The names that a user writes formulas with, after the papers: E, grad, score, p, copies, relaxation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

from derive.language.errors import ScopeError, UsageError
from derive.language.expected import a_count, a_name, a_parameter, a_variable, conditions, jointly, law_parameters
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
    Sign,
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
    return Symbol(a_name(name, "parameter"))


def constant(name: str) -> Symbol:
    """A scalar that is not differentiated: a baseline, a scale, a temperature."""
    return Symbol(a_name(name, "constant"))


def function(name: str, *, differentiable: bool | None = None) -> Function:
    """An abstract function of any arguments; say `differentiable=True` where a derivation may differentiate it."""
    if "'" in a_name(name, "function"):
        message = f"{name!r} is the name of a derivative: that of a function f is f.slope."
        raise UsageError(message)
    return Function(name, differentiable)


def finite(name: str, *parameters: Symbol, law: str | None = None, given: tuple[Term, ...] = ()) -> RandomVariable:
    """A variable with any law p(name | given; parameters) on any finite support.

    Two variables whose laws have the same name have the same law. Without `law` it is p, and then no variable of another
    name may be drawn from a p of its own: say law="p" of the second where they shall share it, law="q" where not.

    Raises
        UsageError, NotATerm, if a name is empty, a parameter no parameter, or `given` no tuple.

    >>> finite("a", parameter("theta"), law="q").law.name
    'q'
    """
    a_name(name, "variable")
    called, default_of = _law_name(law, name)
    return RandomVariable(name, FiniteLaw(called, law_parameters(parameters, name), conditions(given, name), default_of))


def continuous(name: str, *parameters: Symbol, law: str | None = None, normalised: bool = True) -> RandomVariable:
    """A variable with an abstract density, of which nothing is known but what is assumed; `law` as in `finite`."""
    a_name(name, "variable")
    called, default_of = _law_name(law, name)
    return RandomVariable(name, DensityLaw(called, law_parameters(parameters, name), normalised, default_of))


def _law_name(law: str | None, variable: str) -> tuple[str, str]:
    return ("p", variable) if law is None else (a_name(law, "law"), "")


def uniform(name: str, low: Exact = 0, high: Exact = 1) -> RandomVariable:
    """A variable uniform on (low, high)."""
    return RandomVariable(a_name(name, "variable"), UniformLaw(lift(low), lift(high)))


def normal(name: str, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A normal variable with mean `loc` and standard deviation `scale`."""
    return RandomVariable(a_name(name, "variable"), NormalLaw(lift(loc), lift(scale)))


def copies(variable: RandomVariable, count: int) -> tuple[RandomVariable, ...]:
    """Independent copies of a variable, named name_1, ..., name_count.

    >>> [copy.name for copy in copies(finite("b", parameter("theta")), 2)]
    ['b_1', 'b_2']
    """
    a_variable(variable, "copies(b, 2)")
    return tuple(RandomVariable(f"{variable.name}_{i}", variable.law) for i in range(1, a_count(count, "copies") + 1))


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
    law = a_variable(variable, "relaxation(b)").law
    if not isinstance(law, FiniteLaw):
        message = f"only a variable with a finite law has a relaxation; {variable.name} has a {type(variable.law).__name__}."
        raise UsageError(message)
    return Relaxation(
        Latent("h", True, law),
        Threshold("H", False, law, variable.name),
        ConditionalLatent("h_tilde", True, law),
        SoftThreshold("sigma", True, law),
    )


def E(body: Exact, *variables: RandomVariable) -> Term:
    """The expectation over independent variables, the first one outermost; a law may depend on the variables before it.

    Raises
        ScopeError, if a variable is bound twice, or a law depends on a variable after it.
        UsageError, if variables of different names share a law by default; see `finite`.
    """
    result = lift(body)
    for variable in reversed(jointly(variables, "the expectation E(body, b, ...)")):
        result = Expect(result, variable)
    return result


def Over(body: Exact, variable: RandomVariable) -> Term:
    """The sum or integral over the support of a variable."""
    return _Over(lift(body), a_variable(variable, "Over(body, b)"))


def p(variable: RandomVariable, at: Exact | None = None) -> Density:
    """The probability or density of a variable, at the variable itself or at another point."""
    a_variable(variable, "p(b)")
    return Density(variable.law, variable if at is None else lift(at))


def score(variable: RandomVariable, parameter: Symbol | None = None, at: Exact | None = None) -> Score:
    """The score d/dparameter log p(at); the parameter may be left out when the law has just one.

    Raises
        ScopeError, if the parameter is left out and the law does not have exactly one.
    """
    a_variable(variable, "score(b, theta)")
    if parameter is None:
        symbols = [term for term in variable.law.terms if isinstance(term, Symbol)]
        if len(symbols) != 1:
            message = (
                f"the law of {variable.name} names {len(symbols) or 'no'} parameters: say by which one the score is taken,"
                f" as score({variable.name}, theta)."
            )
            raise ScopeError(message)
        parameter = symbols[0]
    by = a_parameter(parameter, "score(b, theta)")
    return Score(variable.law, variable if at is None else lift(at), by)


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
    return Grad(lift(body), a_parameter(parameter, "grad(body, theta)"))


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


def sign(arg: Exact) -> Sign:
    """1 where the argument is positive, -1 where it is negative, 0 at 0. The functions below are written with it.

    Its derivative is zero, on the condition that it has one: near an argument that is not zero. That of noise jumps.

    >>> sign(-2)
    Sign(arg=Number(value=Fraction(-2, 1)))
    """
    return Sign(lift(arg))


def indicator(arg: Exact) -> Term:
    """Whether the argument is positive, as 1 or 0: of f(a) - f(b) it says whether f(a) > f(b)."""
    return (sign(arg) + sign(arg) ** 2) / 2


def absolute(arg: Exact) -> Term:
    """The absolute value."""
    return lift(arg) * sign(arg)


def sqrt(arg: Exact) -> Term:
    """The square root, 0 at 0; a derivative of it is taken on the condition that there is one, which 0 has not.

    Where the argument is not zero it is exp(log(x) / 2), so that there is none of what is negative; that its square is x again
    is not known to the algebra.

    >>> print(sqrt(constant("x")) / 2)
    sqrt(x) / 2
    """
    nonzero = sign(arg) ** 2
    return nonzero * exp(log(1 - nonzero + arg) / 2)


def maximum(left: Exact, right: Exact) -> Term:
    """The larger of two values."""
    return (lift(left) + right + absolute(lift(left) - right)) / 2


def minimum(left: Exact, right: Exact) -> Term:
    """The smaller of two values.

    >>> from derive.language.estimator import Estimator
    >>> from derive.verdicts.prover import prove
    >>> b, f, c, theta = finite("b", parameter("theta")), function("f"), constant("c"), parameter("theta")
    >>> truncated = minimum(f(b), c) + maximum(f(b), c) - c
    >>> prove(Estimator("truncated", truncated * score(b), (b,), grad(E(f(b), b), theta))).verdict
    'proved'
    """
    return (lift(left) + right - absolute(lift(left) - right)) / 2


def clip(arg: Exact, low: Exact, high: Exact) -> Term:
    """The value moved into the interval [low, high]."""
    return minimum(maximum(arg, low), high)
