"""Out of the door: terms as SymPy expressions, derivations as equations, biases and variances in plain symbols."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import singledispatch
from itertools import pairwise
from typing import Any

import sympy

from derive.exact.comparison import value
from derive.kernel.theorem import Theorem
from derive.language.errors import NotEvaluable, UnknownNode, UsageError
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Grad,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Slope,
    Stop,
    Symbol,
    Term,
    Threshold,
    UniformLaw,
    subterms,
)
from derive.numbers.formula import Formula
from derive.numbers.unknowns import Generator, Monomial, Value, readable
from derive.printing.folding import Word, folded
from derive.proofs.calc import Derivation
from derive.verdicts.variance_report import VarianceReport
from derive.verdicts.verdict import Verdict


class _Constant(sympy.Function):  # type: ignore[misc]
    """A function whose derivative is zero wherever it is asked for: a threshold, or a value whose gradient is stopped."""

    def fdiff(self, argindex: int = 1) -> Any:
        """Return the derivative along an argument."""
        return sympy.S.Zero


_OUTCOMES, _WRITTEN_OUT = "K", ("exp", "log", "sign", "inverse")
_stopped = type("sg", (_Constant,), {"_imp_": staticmethod(lambda x: x)})
"""Stop-gradient: the value of its argument, under the name that SymPy prints."""


def expression(term: Term) -> Any:
    """Return a term as a SymPy expression, in which nothing is evaluated that SymPy leaves alone.

    An expectation is a `Sum` over outcomes 1, ..., K, or an `Integral`; a law that is not known is an undefined function.

    Raises
        UsageError, if two things have one name, which SymPy would take for one.

    >>> from derive.notation import E, finite, function, parameter
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> expression(E(f(b), b))
    Sum(f(b)*p(b, theta), (b, 1, K))
    """
    _refuse_shared(term)
    return _written(term)


def _refuse_shared(term: Term) -> None:
    """A symbol, a free variable and the index of a sum are symbols there; a law and a function are functions."""
    taken: dict[str, object] = {_OUTCOMES: "the number of outcomes"} if _counts(term) else {}
    for leaf in free(term):
        _refuse_two(taken, leaf.name, leaf)
    heads: dict[str, object] = {}
    for node in subterms(term):
        match node:
            case Apply(function, _):
                _refuse_two(heads, function.name, function)
            case Density(law, _) | Score(law, _, _):
                _refuse_two(heads, _law_name(law), "a law")
            case Expect(body, variable) | Over(body, variable):
                _refuse_two({_OUTCOMES: _OUTCOMES}, variable.name, variable)
                _refuse_two(heads, _law_name(variable.law), "a law")
                for leaf in (*free(body), *(leaf for each in variable.law.terms for leaf in free(each))):
                    _refuse_two({variable.name: variable}, leaf.name, leaf)


def _counts(term: Term) -> bool:
    """Whether there is a sum over outcomes, which ends at K."""
    return any(isinstance(node, (Expect, Over)) and isinstance(node.variable.law, FiniteLaw) for node in subterms(term))


def _law_name(law: Law) -> str:
    return str(getattr(law, "name", ""))


def _refuse_two(taken: dict[str, object], name: str, thing: object) -> None:
    if name and taken.setdefault(name, thing) != thing:
        message = f"{name!r} names two things, which SymPy would take for one: give each a name of its own."
        raise UsageError(message)


_WORDS: dict[str, Callable[..., Any]] = {
    "abs": sympy.Abs,
    "sqrt": sympy.sqrt,
    "indicator": lambda x: sympy.Piecewise((1, x > 0), (0, True)),
    "min": sympy.Min,
    "max": sympy.Max,
    "clip": lambda x, low, high: sympy.Min(sympy.Max(x, low), high),
}


def word(term: Apply, args: Iterable[Any]) -> Any:
    """Return what is printed as a word, in SymPy's.

    >>> from derive.printing.folding import Word
    >>> word(Word("max")(1, 2), (sympy.Symbol("x"), 1))
    Max(1, x)
    """
    return _WORDS[term.function.name](*args)


def _written(term: Term) -> Any:
    term = folded(term)
    match term:
        case Number(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Symbol(name) | RandomVariable(name, _):
            return sympy.Symbol(name)
        case Apply(Slope() as function, (arg,)):
            inner, order = function.orders
            held = sympy.Dummy("x")
            return sympy.Subs(sympy.Derivative(sympy.Function(inner.name)(held), (held, order)), held, _written(arg))
        case Apply(Word(), args):
            return word(term, map(_written, args))
        case Apply(function, args):
            kind = _Constant if isinstance(function, Threshold) else sympy.Function
            head = type(function.name, (_Constant,), {}) if kind is _Constant else sympy.Function(function.name)
            return head(*map(_written, args))
        case Add(args):
            return sympy.Add(*map(_written, args))
        case Mul(args):
            return sympy.Mul(*map(_written, args))
        case Power(base, exponent):
            return _written(base) ** exponent
        case Log(arg):
            return sympy.log(_written(arg))
        case Exp(arg):
            return sympy.exp(_written(arg))
        case Sigmoid(arg):
            return 1 / (1 + sympy.exp(-_written(arg)))
        case Sign(arg):
            return sympy.sign(_written(arg))
        case Stop(body):
            return _stopped(_written(body))
    return _calculus(term)


def _calculus(term: Term) -> Any:
    match term:
        case Density(law, at):
            return _density(law, _written(at))
        case Score(law, at, parameter):
            return _score(law, _written(at), sympy.Symbol(parameter.name))
        case Grad(body, parameter):
            return sympy.Derivative(_written(body), sympy.Symbol(parameter.name))
        case Expect(body, variable):
            return _over(variable, _written(body) * _density(variable.law, sympy.Symbol(variable.name), inside=True))
        case Over(body, variable):
            return _over(variable, _written(body))
    message = f"no node of the language can be written for SymPy from a {type(term).__name__}."
    raise UnknownNode(message)


def _over(variable: RandomVariable, body: Any) -> Any:
    name = sympy.Symbol(variable.name)
    _refuse_named(variable.law)
    match variable.law:
        case FiniteLaw():
            return sympy.Sum(body, (name, 1, sympy.Symbol(_OUTCOMES)))
        case UniformLaw(low, high):
            return sympy.Integral(body, (name, _written(low), _written(high)))
    return sympy.Integral(body, (name, -sympy.oo, sympy.oo))


def _refuse_named(law: Law) -> None:
    if isinstance(law, NamedLaw):
        message = f"the law {law.name} is not written for SymPy: sympy.stats has it, with parameters of its own."
        raise UnknownNode(message)


def _score(law: Law, at: Any, parameter: Any) -> Any:
    """The point of a score is held fixed."""
    if parameter not in at.free_symbols:
        return sympy.Derivative(sympy.log(_density(law, at)), parameter)
    held = sympy.Dummy("x")
    return sympy.Subs(sympy.Derivative(sympy.log(_density(law, held)), parameter), held, at)


def _density(law: Law, at: Any, *, inside: bool = False) -> Any:
    """Return a density at a point, which `inside` says to be in the support."""
    _refuse_named(law)
    terms = [_written(term) for term in law.terms]
    match law:
        case NormalLaw():
            loc, scale = terms
            return sympy.exp(-((at - loc) ** 2) / (2 * scale**2)) / (sympy.sqrt(2 * sympy.pi) * scale)
        case UniformLaw():
            height = 1 / (terms[1] - terms[0])
            within = True if inside else (terms[0] < at) & (at < terms[1])
            return sympy.Piecewise((height, within), (0, True))
    return sympy.Function(str(getattr(law, "name", "p")))(at, *terms)


# In plain symbols


def on_outcomes(term: Term, outcomes: int) -> Any:
    """Return the value of a term for every law on so many outcomes, in plain symbols: p1, s1, f1 for p(1), score(1), f(1).

    Raises
        UsageError, if the term has a free random variable, or differentiates along several parameters.
        NotEvaluable, TooLarge, as `derive.exact.comparison.check`.

    >>> from derive.notation import E, finite, function, parameter, score
    >>> b, f = finite("b", parameter("theta")), function("f")
    >>> sympy.factor(on_outcomes(E(f(b) * score(b), b), 2))
    p1*s1*(f1 - f2)
    """
    return plain(value(term, _parameter(term), outcomes))


def _parameter(term: Term) -> Symbol:
    found = {node.parameter for node in subterms(term) if isinstance(node, (Grad, Score))}
    if len(found) > 1:
        message = f"the term differentiates along {', '.join(sorted(symbol.name for symbol in found))}: expected one parameter."
        raise UsageError(message)
    return next(iter(found), Symbol("theta"))


def plain(formula: Formula) -> Any:
    """Return what the exact evaluator has found as an expression in plain symbols.

    Raises
        UsageError, if two unknowns have one name.
    """
    polynomials = [value for value, _ in (*formula.factors, *formula.divisors)]
    unknowns = {*_unknowns(formula.single), *(key for value in polynomials for key in _inside(value))}
    names = _plain_names(unknowns, formula.parameter)
    value = sympy.Rational(*formula.number.as_integer_ratio()) * _monomial(formula.single, names)
    for factor, power in formula.factors:
        value *= _polynomial(factor, names) ** power
    for divisor, power in formula.divisors:
        value /= _polynomial(divisor, names) ** power
    return value


def _inside(value: Value) -> Iterator[Generator]:
    for _, monomial in value.terms:
        yield from _unknowns(monomial)


def _unknowns(monomial: Monomial) -> Iterator[Generator]:
    """Yield the unknowns that become symbols."""
    for key, _ in monomial:
        if key.kind in _WRITTEN_OUT:
            yield from _inside(key.args[0])
        else:
            yield key


def _plain_names(keys: set[Generator], parameter: str) -> dict[Generator, str]:
    """Name each unknown: as a person reads it where the plain name is another's, or is kept for p(1) and score(1)."""
    plain = {key: readable(key, parameter) if _kept(key) else _plain_name(key, parameter) for key in keys}
    shared = Counter(plain.values())
    names = {key: name if shared[name] == 1 else readable(key, parameter) for key, name in plain.items()}
    taken: dict[str, object] = {}
    for key, name in names.items():
        _refuse_two(taken, name, key)
    return names


def _kept(key: Generator) -> bool:
    return key.kind == "function" and key.name in ("p", "s")


def _polynomial(value: Value, names: dict[Generator, str]) -> Any:
    terms = ((sympy.Rational(*c.as_integer_ratio()), monomial) for c, monomial in value.terms)
    return sympy.Add(*(c * _monomial(monomial, names) for c, monomial in terms))


def _monomial(monomial: Monomial, names: dict[Generator, str]) -> Any:
    return sympy.Mul(*(_unknown(key, names) ** power for key, power in monomial))


def _unknown(key: Generator, names: dict[Generator, str]) -> Any:
    match key.kind:
        case "exp" | "log" | "sign":
            return getattr(sympy, key.kind)(_polynomial(key.args[0], names))
        case "inverse":
            return 1 / _polynomial(key.args[0], names)
    return sympy.Symbol(names[key])


def _plain_name(key: Generator, parameter: str) -> str:
    """Return p1 for p(1), s1 for score(1), f1 for f(1), and the readable name of anything else."""
    written = readable(key, parameter)
    called = re.fullmatch(r"(\w+)\((\d+(?:, \d+)*)\)", written)
    return re.sub(r"^score(?=_|$)", "s", called[1]) + called[2].replace(", ", "_") if called else written


@singledispatch
def shown(thing: object, outcomes: int | None = None) -> Any:
    """Return something of ours for SymPy.

    Raises
        UnknownNode, if it has no meaning there.
    """
    message = f"SymPy has no form of a {type(thing).__name__}."
    raise UnknownNode(message)


@shown.register
def _(thing: Term, outcomes: int | None = None) -> Any:
    return expression(thing) if outcomes is None else on_outcomes(thing, outcomes)


@shown.register
def _(thing: Theorem, outcomes: int | None = None) -> Any:
    return sympy.Eq(shown(thing.lhs, outcomes), shown(thing.rhs, outcomes), evaluate=False)


@shown.register
def _(thing: Derivation, outcomes: int | None = None) -> Any:
    terms = [shown(line.term, outcomes) for line in thing.lines]
    return [sympy.Eq(before, after, evaluate=False) for before, after in pairwise(terms)]


@shown.register
def _(thing: Verdict, outcomes: int | None = None) -> Any:
    """E[g] - target, on two outcomes unless others are asked for."""
    return on_outcomes(thing.estimator.expectation - thing.estimator.target, outcomes or 2)


@shown.register
def _(thing: VarianceReport, outcomes: int | None = None) -> Any:
    if thing.written is None or outcomes not in (None, thing.outcomes):
        message = f"the variance is known on {thing.outcomes} outcomes: ask derive.variance(estimator, outcomes) for others."
        raise NotEvaluable(message)
    return plain(thing.written)
