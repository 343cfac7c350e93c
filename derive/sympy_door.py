"""The door to SymPy: scalar formulas that a user has in SymPy come in, ours go out. The only file that imports it.

SymPy rewrites what is built with it, so a line that has been out and in is equal to what it was, not the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy

from derive.language.errors import NotExact, UnknownNode
from derive.language.term import Add, Exp, Log, Mul, Number, Power, Sigmoid, Symbol, Term
from derive.printing.text import render


def to_sympy(term: Term) -> tuple[Any, dict[Any, Term]]:
    """Return a term as a SymPy expression, and what each of its symbols stands for.

    Sums, products, powers, log, exp and sigmoid are translated; an expectation, a function, a density becomes one symbol.

    >>> from derive.notation import constant, log
    >>> expression, symbols = to_sympy(log(constant("x")) ** 2)
    >>> expression
    log(x)**2
    """
    symbols: dict[Any, Term] = {}
    return _outwards(term, symbols), symbols


def _outwards(term: Term, symbols: dict[Any, Term]) -> Any:
    match term:
        case Number(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Add(args):
            return sympy.Add(*(_outwards(arg, symbols) for arg in args))
        case Mul(args):
            return sympy.Mul(*(_outwards(arg, symbols) for arg in args))
        case Power(base, exponent):
            return _outwards(base, symbols) ** exponent
        case Log(arg):
            return sympy.log(_outwards(arg, symbols))
        case Exp(arg):
            return sympy.exp(_outwards(arg, symbols))
        case Sigmoid(arg):
            return 1 / (1 + sympy.exp(-_outwards(arg, symbols)))
    symbol = sympy.Symbol(render(term))
    symbols[symbol] = term
    return symbol


def from_sympy(expression: Any, symbols: Mapping[Any, Term] | None = None) -> Term:
    """Return a SymPy expression as a term.

    Args
        expression  made of symbols, exact numbers, + * / integer powers, log and exp
        symbols     what a symbol stands for; one that is not listed becomes a `Symbol` of its name

    Raises
        NotExact, if a float occurs.
        UnknownNode, if something else occurs, such as an integral or a sum, which SymPy rewrites unasked.

    >>> x = sympy.Symbol("x")
    >>> from_sympy(x**2 / 3) == Number(Fraction(1, 3)) * Symbol("x") ** 2
    True
    """
    known = symbols or {}
    if expression in known:
        return known[expression]
    if isinstance(expression, sympy.Symbol):
        return Symbol(expression.name)
    if isinstance(expression, sympy.Float):
        message = f"formulas are exact: got the float {expression}; write a Rational."
        raise NotExact(message)
    if isinstance(expression, sympy.Rational):
        return Number(Fraction(int(expression.p), int(expression.q)))
    return _inwards(expression, [from_sympy(arg, known) for arg in getattr(expression, "args", ())])


def _inwards(expression: Any, args: list[Term]) -> Term:
    if isinstance(expression, sympy.Add):
        return Add(tuple(args))
    if isinstance(expression, sympy.Mul):
        return Mul(tuple(args))
    if isinstance(expression, sympy.Pow) and isinstance(expression.exp, sympy.Integer):
        return Power(args[0], int(expression.exp))
    if isinstance(expression, sympy.log) and len(args) == 1:
        return Log(args[0])
    if isinstance(expression, sympy.exp):
        return Exp(args[0])
    message = f"no scalar formula of ours: {type(expression).__name__}; expected + * / integer powers, log and exp."
    raise UnknownNode(message)
