"""How what we return is shown by `print` and in a notebook: at most a screen of text, a LaTeX display, a fragment of HTML.

Each thing becomes a sheet: a title and rows, each a label with a formula, a claim or words. A notation writes sheets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import singledispatch
from textwrap import wrap
from typing import TypeAlias

from markupsafe import Markup

from derive.catalogue import Catalogue
from derive.kernel.premises import Premise
from derive.kernel.theorem import Equation, Theorem
from derive.language.errors import UnknownNode
from derive.language.estimator import Estimator
from derive.language.term import Function, Law, RandomVariable, Term
from derive.numbers.formula import Formula
from derive.printing import html as html_, latex as latex_, text as text_, unknowns
from derive.printing.breaking import broken, unmarked
from derive.printing.latex import Latex
from derive.printing.layout import Condition, Printer, Where, start
from derive.proofs.calc import Derivation, Line
from derive.verdicts.variance_report import VarianceReport
from derive.verdicts.verdict import BY_HAND, Verdict

WIDTH, HEIGHT = 120, 40
"""A screen, in characters and lines."""

MOST_TERMS = 12
"""Of a polynomial, as many terms are shown in a notebook."""

MOST_CHARACTERS = 1_500
"""A cell of text that is longer is cut: nobody reads a bias of three pages, and the witness stands below it."""


@dataclass(frozen=True)
class Math:
    """Something that is written in every notation; the function is given the kind of printer."""

    write: Callable[[type[Printer]], str]


@dataclass(frozen=True)
class Claim:
    """A side condition, in words with formulas."""

    condition: Condition
    where: Where


Cell: TypeAlias = str | Math | Claim


@dataclass(frozen=True)
class Sheet:
    """A title, "" for none, and rows of a label and what it says; a label that is repeated is written once."""

    title: str
    rows: tuple[tuple[str, Cell], ...]

    def labelled(self) -> Iterator[tuple[str, Cell]]:
        """Yield the rows, with "" in place of a label that the row before has."""
        previous = ""
        for label, cell in self.rows:
            yield "" if label == previous else label, cell
            previous = label


# What is shown


def _term(term: Term, where: Where = ()) -> Math:
    return Math(lambda kind: start(kind, term, where).show(term))


def _drawn(estimator: Estimator) -> list[tuple[str, Cell]]:
    def definition(number: int) -> Math:
        return Math(lambda kind: kind(estimator.where).definitions()[number])

    def draw(variable: RandomVariable) -> Math:
        return Math(lambda kind: kind().drawn(variable))

    drawn = [("draw", draw(variable)) for variable in estimator.draws]
    return [*drawn, *(("where", definition(number)) for number in range(len(estimator.where)))]


@singledispatch
def sheet(thing: object) -> Sheet:
    """Return what is shown of a thing.

    Raises
        UnknownNode, if it is none of the things that we return.

    >>> sheet(Estimator).title
    Traceback (most recent call last):
    derive.language.errors.UnknownNode: nothing of ours: type
    """
    message = f"nothing of ours: {type(thing).__name__}"
    raise UnknownNode(message)


@sheet.register
def _(thing: Term) -> Sheet:
    return Sheet("", (("", _term(thing)),))


@sheet.register
def _(thing: Function) -> Sheet:
    return Sheet("", (("", Math(lambda kind: kind().name(thing.name))),))


@sheet.register
def _(thing: Law) -> Sheet:
    return Sheet("", (("", Math(lambda kind: kind().distribution(thing, kind().word(".")))),))


@sheet.register(Premise)
@sheet.register(Equation)
def _(thing: Condition) -> Sheet:
    return Sheet("", (("", Claim(thing, ())),))


@sheet.register
def _(thing: Estimator) -> Sheet:
    said = [("", thing.summary)] if thing.summary else []
    source = [("source", thing.source)] if thing.source else []
    formulas = [("estimate", _term(thing.formula, thing.where)), ("target", _term(thing.target, thing.where))]
    return Sheet(thing.name, (*said, *_drawn(thing), *formulas, *source))


@sheet.register
def _(thing: Theorem) -> Sheet:
    return Sheet("", (("", _term(thing.lhs)), ("=", _term(thing.rhs)), *_claims("if", _in_order(thing.assumptions))))


def _claims(label: str, conditions: Iterable[Condition], where: Where = ()) -> list[tuple[str, Cell]]:
    return [(label, Claim(condition, where)) for condition in conditions]


def _in_order(conditions: Iterable[Condition]) -> list[Condition]:
    return sorted(conditions, key=text_.premise)


@sheet.register
def _(thing: Line) -> Sheet:
    return Sheet("", tuple(_line(thing)))


def _line(line: Line, where: Where = ()) -> list[tuple[str, Cell]]:
    label = f"= {line.reason}" if line.rule else ""
    return [(label, _term(line.term, where)), *_claims("needs", line.premises, where)]


@sheet.register
def _(thing: Derivation) -> Sheet:
    lines = [row for line in thing.lines for row in _line(line)]
    return Sheet("", (*lines, *_claims("assumes", _in_order(thing.theorem.assumptions))))


@sheet.register
def _(thing: Verdict) -> Sheet:
    return Sheet(f"{thing.estimator.name}: {thing.verdict}", tuple(rows(thing)))


def rows(verdict: Verdict) -> list[tuple[str, Cell]]:
    """Return what there is to say of a verdict, as `gradproof prove` does."""
    where, derivation = verdict.estimator.where, verdict.derivation
    rules = ", ".join(line.rule.replace("_", " ") for line in (derivation.lines if derivation else ()) if line.rule)
    said: list[tuple[str, Cell]] = [("target", _term(verdict.estimator.target, where)), ("holds for", verdict.holds_for)]
    said += [("in words", verdict.remark)] if verdict.remark else []
    said += _claims("assumes", verdict.assumptions, where) + _claims("requires", verdict.conditions, where)
    said += [("derived by", rules)] if rules else []
    said += [("checked", found) for found in verdict.checks_in_words]
    said += _bias(verdict)
    everything = verdict.verdict in ("undecided", "checked")
    return said + [("tried", attempt) for attempt in verdict.tried if everything or attempt.startswith(BY_HAND)]


def _bias(verdict: Verdict) -> list[tuple[str, Cell]]:
    where, other = verdict.estimator.where, verdict.other_target
    formulas = {} if verdict.bias is None else {"bias": _term(verdict.bias, where)}
    formulas |= {} if other is None else {"other target": Math(lambda kind: _mean_is(start(kind, other, where), other))}
    return [(label, formulas.get(label, fact)) for label, fact in verdict.facts]


def _mean_is(printer: Printer, term: Term) -> str:
    return printer.relation(printer.mean(printer.word("estimate"), "", restricted=False), "=", printer.show(term))


@sheet.register
def _(thing: VarianceReport) -> Sheet:
    point = ", ".join(f"{name} = {value}" for name, value in thing.point.items())
    said: list[tuple[str, Cell]] = [("variance", _formula(thing.written) if thing.written else thing.formula)]
    said += [("at", point)] if point else []
    said += [("value" if point else "at a point", thing.shown)]
    said += [("of", thing.note)] if thing.note and thing.variance is not None else []
    said += [("best", thing.in_words(best)) for best in thing.best]
    return Sheet(f"{thing.estimator.name}: variance {thing.where}", tuple(said))


def _formula(formula: Formula) -> Math:
    return Math(lambda kind: unknowns.show(kind(), formula, MOST_TERMS))


@sheet.register
def _(thing: Catalogue) -> Sheet:
    listed = [(name, f"{estimator.verdict}: {estimator.summary}") for name, estimator in thing.items()]
    return Sheet("the catalogue", tuple(listed))


# How it is shown


def text(thing: object) -> str:
    """Return at most a screen of text.

    >>> from derive.notation import parameter
    >>> print(text(parameter("x") ** 2))
    x^2
    """
    lines = "\n".join(_text_lines(thing)).strip("\n").splitlines()
    more = len(lines) - HEIGHT
    kept = lines if more <= 0 else [*lines[: HEIGHT - 1], f"... ({more + 1} more lines)"]
    return "\n".join(line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in kept)


def _text_lines(thing: object) -> list[str]:
    match thing:
        case Term():
            return text_.lines(thing)
        case Estimator():
            return [text_.Text().name(thing.name), *([thing.summary] if thing.summary else []), *text_.statement(thing)]
        case Derivation():
            return text_.steps(thing)[3:]
    shown = sheet(thing)
    return [*([text_.Text().name(shown.title)] if shown.title else []), *columns(shown)]


def columns(shown: Sheet, width: int = WIDTH) -> list[str]:
    """Return the rows of a sheet as text, in two columns."""
    indent = max((len(label) + 2 for label, _ in shown.rows if label), default=0)
    return [
        f"{label if number == 0 else '':{indent}}{line}".rstrip()
        for label, cell in shown.labelled()
        for number, line in enumerate(
            wrap(as_text(cell), width - indent, break_long_words=False, break_on_hyphens=False) or [""]
        )
    ]


def as_text(cell: Cell) -> str:
    """Return a cell as one line of text, cut where it is long.

    >>> as_text("f(b) " * 400)[-62:]
    'f(b) f(b) f(b) ... (1,001 more characters: JSON has all of it)'
    """
    whole = _as_text(cell)
    if len(whole) <= MOST_CHARACTERS:
        return whole
    kept = whole[: MOST_CHARACTERS * 2 // 3].rpartition(" ")[0]
    return f"{kept} ... ({len(whole) - len(kept):,} more characters: JSON has all of it)"


def _as_text(cell: Cell) -> str:
    match cell:
        case Math():
            return unmarked(cell.write(text_.Text))
        case Claim():
            return text_.premise(cell.condition, cell.where)
    return cell


def latex(thing: object) -> str:
    r"""Return LaTeX between dollar signs, which needs amsmath only.

    >>> from derive.notation import parameter
    >>> latex(parameter("x") ** 2)
    '$\\displaystyle x^{2}$'
    """
    shown = sheet(thing)
    if not shown.title and [label for label, _ in shown.rows] == [""]:
        cell = shown.rows[0][1]
        inner = " ".join(latex_.finished([cell.write(Latex)])) if isinstance(cell, Math) else _latex(cell)[0]
        return rf"$\displaystyle {unmarked(inner)}$"
    title = [rf"& \textbf{{{latex_.escape(shown.title)}}}"] if shown.title else []
    lines = [rf"{_label(label)} & {line}" for label, cell in shown.labelled() for label, line in _beside(label, _latex(cell))]
    body = " \\\\\n".join([*title, *lines])
    return f"$$\n\\begin{{array}}{{ll}}\n{body}\n\\end{{array}}\n$$"


def _label(label: str) -> str:
    return rf"\text{{{latex_.escape(label)}}}" if label else ""


def _beside(label: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(label if number == 0 else "", line if number == 0 else rf"\quad {line}") for number, line in enumerate(lines)]


def _latex(cell: Cell) -> list[str]:
    match cell:
        case Math():
            return [
                rf"\displaystyle {line}" for line in latex_.finished(broken(cell.write(Latex), 2 * latex_.LIMIT, latex_.width))
            ]
        case Claim():
            return [rf"\text{{{latex_.premise(cell.condition, cell.where)}}}"]
    return [rf"\text{{{latex_.escape(line)}}}" for line in wrap(cell, WIDTH)]


def html(thing: object) -> str:
    """Return a fragment of HTML with MathML, whose style touches nothing outside it.

    >>> from derive.notation import parameter
    >>> "<msup>" in html(parameter("x") ** 2)
    True
    """
    shown = sheet(thing)
    return html_.fragment(shown.title, [(label, _html(cell)) for label, cell in shown.labelled()])


def _html(cell: Cell) -> Markup | str:
    match cell:
        case Math():
            return html_.math(unmarked(cell.write(html_.MathML)))
        case Claim():
            return html_.sentence(cell.condition, cell.where)
    return cell
