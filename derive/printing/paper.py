r"""Fragments for a paper: `align` displays no wider than a column, `\cite` keys, the rest in sentences; with amsmath, amssymb.

The steps of a derivation are lettered above their equals signs and named below: a column has no room beside a formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import count
from string import ascii_lowercase
from typing import TYPE_CHECKING

from derive.language.errors import UsageError
from derive.language.term import Term
from derive.numbers.formula import Formula
from derive.printing import unknowns
from derive.printing.breaking import broken
from derive.printing.conclusion import Conclusion
from derive.printing.latex import Narrow, escape, finished, inline, name, premises, relations, sized
from derive.printing.layout import Condition, Where, start
from derive.printing.measure import points

if TYPE_CHECKING:
    from derive.language.estimator import Estimator
    from derive.proofs.calc import Derivation

COLUMN = "84mm"
_UNITS = {"mm": 72.27 / 25.4, "cm": 72.27 / 2.54, "in": 72.27, "pt": 1.0}
_NARROWEST, _SIGN, _INDENT = 150, 24, 10
MOST_TERMS = 16
"""The most terms of a polynomial that are written out: who wants more has the answer of the command, as a formula."""
_FACTS = {
    "holds for": "This holds for",
    "scale": "Here",
    "in words": "In words:",
    "witness": "A witness:",
}
_MOVED = r"\partial "
_VALUE = re.compile(r"(d(?=\w+\())?([A-Za-z]\w*?)(\(\d+\))? = (-?\d+(?:/\d+)?)")


def width_in_points(width: str) -> float:
    """Return a width such as 84mm, 8.4cm, 3.3in or 240pt in points of TeX.

    Raises
        UsageError, if it is none, or narrower than a formula.

    >>> round(width_in_points("84mm"))
    239
    """
    match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,3})?) ?(mm|cm|in|pt)", width)
    found = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if found < _NARROWEST:
        message = f"a column is a number of mm, cm, in or pt wide, at least {_NARROWEST} pt, such as 84mm; got {width!r}."
        raise UsageError(message)
    return found


def explanation(estimator: Estimator, derivation: Derivation, width: str = COLUMN) -> str:
    """Return the statement of an estimator and its derivation.

    Raises
        UsageError, as `width_in_points`.
    """
    where, column = estimator.where, width_in_points(width)
    rows, named = _steps(derivation, where, column)
    return _fragment(
        [
            *_stated(estimator, column),
            "Its mean is the gradient that it should be:",
            _align(rows),
            f"by {_listed(named)}.",
            _assumed(derivation.theorem.assumptions, where),
        ]
    )


def statement(estimator: Estimator, conclusion: Conclusion, conditions: Iterable[Condition], width: str = COLUMN) -> str:
    """Return the statement of an estimator and what is known of it; errors as `explanation`."""
    where, column = estimator.where, width_in_points(width)
    bias = (
        []
        if conclusion.bias is None
        else [
            "Its bias is",
            _align(_formula(r"\mathbb{E}[g] - T &= ", _lines(conclusion.bias, where, column - 60))),
        ]
    )
    other = (
        []
        if conclusion.other is None
        else ["Its mean is", _align(_formula(r"\mathbb{E}[g] &= ", _lines(conclusion.other, where, column - 40)))]
    )
    return _fragment(
        [
            *_stated(estimator, column),
            r"It should have the mean",
            _align(_formula("T &= ", _lines(estimator.target, where, column - 20))),
            rf"and is \emph{{{escape(conclusion.verdict)}}}.",
            *_facts(conclusion),
            *other,
            *bias,
            _assumed(conditions, where),
        ]
    )


def variance(estimator: Estimator, outcomes: int, formula: Formula, width: str = COLUMN) -> str:
    """Return the variance of an estimator on so many outcomes; errors as `explanation`."""
    column = width_in_points(width)
    shown = unknowns.show(Narrow(), formula, MOST_TERMS)
    longest = max((len(value.terms) for value, _ in (*formula.factors, *formula.divisors)), default=0)
    return _fragment(
        [
            *_stated(estimator, column),
            f"On {outcomes} outcomes its variance is",
            _align([r"& \operatorname{Var}(g) \nonumber", *_formula("&= ", _broken(shown, column - _SIGN))]),
            f"where the dots stand for what follows the first {MOST_TERMS} of {longest} terms." if longest > MOST_TERMS else "",
        ]
    )


def _fragment(parts: Iterable[str]) -> str:
    """Return a paragraph that rather has wide spaces than long lines."""
    return "\n".join([r"\begin{sloppypar}", *filter(None, parts), r"\end{sloppypar}"]) + "\n"


def _stated(estimator: Estimator, column: float) -> list[str]:
    drawn = ", ".join(f"${inline(relation)}$" for relation in relations(Narrow, estimator))
    formula = _formula("g &= ", _lines(estimator.formula, estimator.where, column - 20))
    return [rf"With {drawn}, consider the estimator{cited(estimator.source)}", _align(formula)]


def cited(source: str) -> str:
    r"""Return the citation of a source.

    >>> cited("tucker-2017, eq. 8; williams-1992")
    '~\\cite[eq.~8]{tucker-2017}, \\cite{williams-1992}'
    """
    cites = []
    for part in filter(None, source.split(";")):
        key, _, place = part.strip().partition(", ")
        optional = f"[{escape(place).replace(' ', '~')}]" if place else ""
        cites.append(rf"\cite{optional}{{{key}}}")
    return f"~{', '.join(cites)}" if cites else ""


def _steps(derivation: Derivation, where: Where, column: float) -> tuple[list[str], list[str]]:
    """Return the rows of a derivation, and what its letters stand for; one reason has one letter."""
    letters: dict[str, str] = {}
    names = (ascii_lowercase[i] if i < 26 else f"{ascii_lowercase[i // 26 - 1]}{ascii_lowercase[i % 26]}" for i in count())
    rows: list[str] = []
    for line in derivation.lines:
        written = _lines(line.term, where, column - _SIGN)
        if not line.reason:
            rows += _formula("& ", written)
            continue
        if line.reason not in letters:
            letters[line.reason] = next(names)
        rows += _formula(rf"\overset{{\text{{({letters[line.reason]})}}}}{{=}}{{}}& ", written)
    return rows, [f"({letter}) {escape(reason)}" for reason, letter in letters.items()]


def _lines(term: Term, where: Where, limit: float) -> list[str]:
    return _broken(start(Narrow, term, where).show(term), limit)


def _broken(marked: str, limit: float) -> list[str]:
    """Break a formula; where a line goes deeper there is less room for it."""
    return finished(broken(sized(marked), int(limit) - _INDENT, lambda line: int(points(line)), _INDENT), r"\enspace ")


def _formula(head: str, lines: Sequence[str]) -> list[str]:
    rows = [head + lines[0], *(rf"&\quad {line}" for line in lines[1:])]
    return [*(rf"{row} \nonumber" for row in rows[:-1]), rows[-1]]


def _align(rows: Sequence[str]) -> str:
    return (
        "\\begin{align}\n"
        + " \\\\\n".join([*(row if row.endswith("nonumber") else rf"{row} \nonumber" for row in rows[:-1]), rows[-1]])
        + "\n\\end{align}"
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1] if words else ""


def _facts(conclusion: Conclusion) -> list[str]:
    """Return what is said in words, and the witness where its values are of names that people write."""
    found = dict(conclusion.facts)
    case = _witness(found.pop("witness", ""))
    found.update({"witness": case} if case else {})
    named = {label: fact for label, fact in found.items() if label in _FACTS and (case or "the witness" not in fact)}
    return [f"{_FACTS[label]} {fact if label == 'witness' else escape(fact)}." for label, fact in named.items()]


def _witness(words: str) -> str:
    r"""Return a witness as mathematics, "" where it has a name of the exact evaluator.

    >>> print(_witness("p(1) = 1/2, dp(1) = -1, c = 0: E[estimate] = -1, target = 0"))
    $p(1) = 1/2$, $\partial p(1) = -1$, $c = 0$: $\mathbb{E}[g] = -1$, $T = 0$
    """
    values, _, means = words.partition(": ")
    found = [_VALUE.fullmatch(value) for value in values.split(", ")]
    mean = re.fullmatch(r"E\[estimate\] = (-?\d+(?:/\d+)?), target = (-?\d+(?:/\d+)?)(?:, both up to (\d+/\d+))?", means)
    if mean is None or not all(found):
        return ""
    written = ", ".join(_valued(*each.groups()) for each in found if each)
    off = f", both up to ${mean[3]}$" if mean[3] else ""
    return rf"{written}: $\mathbb{{E}}[g] = {mean[1]}$, $T = {mean[2]}${off}"


def _valued(moved: str | None, of: str, place: str | None, value: str) -> str:
    return f"${_MOVED if moved else ''}{name(of)}{place or ''} = {value}$"


def _assumed(conditions: Iterable[Condition], where: Where) -> str:
    claims = [said for _, said in premises(conditions, where, _written)]
    return f"It is assumed that {'; '.join(claims)}." if claims else ""


def _written(term: Term, where: Where) -> str:
    return f"${inline(start(Narrow, term, where).show(term))}$"
