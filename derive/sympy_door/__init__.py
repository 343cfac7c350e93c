"""The door to SymPy: formulas that a user has in SymPy come in, ours go out. The only folder that imports it.

SymPy rewrites what is built with it, so a line that has been out and in is equal to what it was, not the same. Nothing of ours
is decided by what comes out.
"""

from __future__ import annotations

from typing import Any

import sympy

from derive.language.errors import UsageError
from derive.language.term import Add, Apply, Exp, Log, Mul, Number, Power, Sigmoid, Sign, Term
from derive.printing.folding import Word, folded
from derive.printing.text import render
from derive.sympy_door.inwards import from_sympy as from_sympy, variable_of as variable_of
from derive.sympy_door.outwards import expression as expression, on_outcomes as on_outcomes, shown as shown, word

__all__ = ["expression", "from_sympy", "on_outcomes", "shown", "to_sympy", "variable_of"]


def to_sympy(term: Term) -> tuple[Any, dict[Any, Term]]:
    """Return a term as a SymPy expression, and what each of its symbols stands for.

    Sums, products, powers, log, exp and sigmoid are translated; an expectation, a function, a density becomes one symbol.

    Raises
        UsageError, if two terms are written alike, as a constant b and a variable b.

    >>> from derive.notation import constant, log
    >>> expression, symbols = to_sympy(log(constant("x")) ** 2)
    >>> expression
    log(x)**2
    """
    symbols: dict[Any, Term] = {}
    return _outwards(term, symbols), symbols


def _outwards(term: Term, symbols: dict[Any, Term]) -> Any:
    term = folded(term)
    match term:
        case Apply(Word(), args):
            return word(term, (_outwards(arg, symbols) for arg in args))
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
        case Sign(arg):
            return sympy.sign(_outwards(arg, symbols))
    symbol = sympy.Symbol(render(term))
    if symbols.setdefault(symbol, term) != term:
        message = f"{symbol} is how two terms are written, which SymPy would take for one: give each a name of its own."
        raise UsageError(message)
    return symbol
