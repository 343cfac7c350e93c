"""What the notation writes out with signs, folded again for print: abs, sqrt, indicator, min, max and clip.

A part is folded only where the notation makes that very part of what is then printed: what is read back is what was printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from derive.language.notation import absolute, clip, indicator, maximum, minimum, sqrt
from derive.language.term import Add, Apply, Exp, Function, Mul, Number, Power, RandomVariable, Sign, Term, anywhere

WORDS: dict[str, tuple[int, Callable[..., Term]]] = {
    "abs": (1, absolute),
    "sqrt": (1, sqrt),
    "indicator": (1, indicator),
    "min": (2, minimum),
    "max": (2, maximum),
    "clip": (3, clip),
}
"""How many arguments each takes, and what writes it out."""
_HALF = Number(Fraction(1, 2))


@dataclass(frozen=True)
class Word(Function):
    """One of `WORDS`, in print only: no term that anybody reads has it."""


def folded(term: Term, kept: Callable[[Term], bool] = lambda _: False) -> Term:
    """Return a product with what it has written out as functions of `Word`, and any other term as it is.

    Args
        term   any term; what is inside its factors is left to whoever prints them
        kept   which parts stay as they are, because they have a name of their own

    >>> from derive.notation import constant
    >>> x, y = constant("x"), constant("y")
    >>> folded(2 * minimum(x, y)) == 2 * Word("min")(x, y)
    True
    """
    if not isinstance(term, Mul):
        return term
    pieces: list[tuple[int, Term]] = []  # where each begins among the factors
    for end in range(1, len(term.args) + 1):
        begin, piece = end - 1, term.args[end - 1]
        size, found = _last(term.args[:end])
        if found is not None and (end - size in (start for start, _ in pieces)):
            begin, written = end - size, Mul(term.args[end - size : end])
            piece = written if kept(written) and size < len(term.args) else found
        pieces = [*(one for one in pieces if one[0] < begin), (begin, piece)]
    return pieces[0][1] if len(pieces) == 1 else Mul(tuple(one for _, one in pieces)) if len(pieces) < len(term.args) else term


def unfolded(term: Apply) -> Term:
    """Return what a function of `Word` stands for.

    >>> from derive.notation import constant
    >>> unfolded(Word("abs")(constant("x"))) == absolute(constant("x"))
    True
    """
    return WORDS[term.function.name][1](*term.args)


def _last(factors: Sequence[Term]) -> tuple[int, Apply | None]:
    """Return how many of the last factors are one that is written out, and it."""
    match factors:
        case (*before, Sign(arg)):
            spread = arg.args if isinstance(arg, Mul) else (arg,)
            return len(spread) + 1, Word("abs")(arg) if tuple(before)[-len(spread) :] == spread else None
        case (*_, Power(Sign(arg), 2), Exp()):
            return 2, Word("sqrt")(arg) if sqrt(arg) == Mul(tuple(factors[-2:])) else None
        case (*_, Add(args), Number(value)) if value == _HALF.value:
            found = _halved(args)
            return 2, found if found is not None and unfolded(found) == Mul(tuple(factors[-2:])) else None
    return 0, None


def _halved(args: Sequence[Term]) -> Apply | None:
    """Return what x in x/2 may be, a sum with these summands."""
    match args:
        case (Sign(arg), _):
            return Word("indicator")(arg)
        case (*summands, Mul((*size, Sign(Add(difference))))):
            left = len(difference) - 1
            pair = _summed(summands[:left]), _summed(summands[left:])
            return _clipped(*pair) if size[:1] == [Number(Fraction(-1))] else Word("max")(*pair)
    return None


def _clipped(left: Term, right: Term) -> Apply:
    """Return the smaller of two; of the larger of two others, and where the bounds are no variables, a value in an interval."""
    inner = folded(left)
    if isinstance(inner, Apply) and inner.function == Word("max"):
        value, low = inner.args
        if not any(anywhere(bound, lambda part: isinstance(part, RandomVariable)) for bound in (low, right)):
            return Word("clip")(value, low, right)
    return Word("min")(left, right)


def _summed(summands: Sequence[Term]) -> Term:
    return summands[0] if len(summands) == 1 else Add(tuple(summands))
