"""Check the derivations that a Markdown page contains: each line of a block ```derivation, by the rule that is named beside it.

    b ~ p(b; theta)                                       what is drawn, or `estimator NAME` for a catalogue name
    d_theta E_b[f(b)]                                     the first line
    = d_theta sum_b p(b; theta) * f(b)  by expectation    a step; without = a line continues the one above
    = sum_b (d_theta p(b; theta)) * f(b)  by leibniz
      needs Differentiable(p(b; theta), theta)            what the step assumes; all of it, if the block says any

A rule that needs a variable is written `by change of law with a`. In front of the first line may stand what is known of
functions: `differentiable f`, `not differentiable g`, and `relaxation of b` for its maps h, H, h_tilde and sigma.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, combinations
from typing import TypeVar

from derive.catalogue import catalogue
from derive.kernel.premises import EVERYTHING, Positive, Premise, require
from derive.kernel.theorem import Equation
from derive.language.errors import GradproofError, PremiseError, RuleError, ScopeError, TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.notation import total
from derive.language.scope import alpha_equal
from derive.language.term import RandomVariable, Term
from derive.printing.text import premise, premise_name, render
from derive.proofs import rules
from derive.proofs.calc import Derivation, Line, calc
from derive.proofs.conversions import Rewrite
from derive.written.grammar import declare, declares, parse
from derive.written.page import Unreadable, blocks
from derive.written.setting import Setting, setting_of

Result = TypeVar("Result")
MOST_TOGETHER = 4
_STEP = re.compile(r"(?P<term>.*?)\s*\bby\s+(?P<rule>[a-z_ ]+?)(?:\s+with\s+(?P<names>\w+(?:\s*,\s*\w+)*))?\s*", re.DOTALL)

_PLAIN = (
    rules.expectation, rules.leibniz, rules.normalisation, rules.exchange, rules.linearity, rules.algebra, rules.reflection,
    rules.normal_score, rules.value_of_stop, rules.outcomes, rules.product_rule, rules.chain_rule, rules.score_definition,
    rules.log_derivative_trick, rules.mean_score, rules.score_function_estimator, rules.pathwise_gradient,
)  # fmt: skip
REWRITES: dict[str, Rewrite] = {rewrite.name: rewrite for rewrite in _PLAIN}
"""The rules that a line may name."""

WITH: dict[str, tuple[int, Callable[..., Rewrite]]] = {
    "reparameterization": (1, rules.reparameterization),
    "change_of_law": (1, rules.change_of_law),
    "conditional_reparameterization": (2, rules.conditional_reparameterization),
    "conditional_marginalization": (2, rules.marginalization),
}
"""The rules that a line names with so many variables."""


class WrongStep(RuleError):
    """A line of a typed derivation does not follow from the one above; `line` is its number on the page."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Written:
    """A derivation that stands: the number of its first line on the page, its lines, and everything that it assumes."""

    line: int
    lines: tuple[Line, ...]
    assumptions: frozenset[Premise | Equation]
    estimator: Estimator | None = None


@dataclass
class _Row:
    """What is typed on one line and those that continue it, and below it what the step is said to need."""

    number: int
    text: str
    needs: list[_Row] = field(default_factory=list)


@dataclass
class _Typed:
    """A block taken apart."""

    setting: Setting = field(default_factory=Setting)
    estimator: Estimator | None = None
    rows: list[_Row] = field(default_factory=list)


def check(lines: Sequence[str], first: int = 1) -> Written:
    """Check a derivation line by line.

    Args
        lines   of the block
        first   the number of the first one on its page

    Raises
        WrongStep, Unreadable, with the number of the line.

    >>> found = check(["b ~ p(b; theta)", "E_b[2 * f(b)]", "= 2 * E_b[f(b)]  by linearity"])
    >>> len(found.lines), sorted(found.assumptions, key=repr)
    (2, [])
    >>> check(["b ~ p(b; theta)", "E_b[2 * f(b)]", "= 3 * E_b[f(b)]  by linearity"])
    Traceback (most recent call last):
    ...
    derive.written.block.WrongStep: linearity does not lead to this line.
    """
    typed = _taken_apart(lines, first)
    start, *steps = typed.rows
    written = [Line("", _term(start, start.text, typed.setting))]
    assumptions: frozenset[Premise | Equation] = frozenset()
    for row in steps:
        found = _followed(written[-1].term, row, typed.setting)
        new = found.theorem.assumptions - assumptions
        line = found.lines[-1]
        written.append(Line(line.rule, line.term, tuple(sorted(new, key=repr)), line.values_only))
        assumptions |= found.theorem.assumptions
        _demand_possible(row, assumptions)
        if any(each.needs for each in steps):
            _demand_said(row, new, typed.estimator)
    if typed.estimator is not None:
        _demand_ends(typed.estimator, written, typed.rows)
    return Written(start.number, tuple(written), assumptions, typed.estimator)


def check_page(text: str) -> Iterator[Written | WrongStep | Unreadable]:
    """Yield for each derivation of a page that it stands, or why not."""
    for block in blocks(text):
        if isinstance(block, Unreadable):
            yield block
            continue
        first, lines = block
        try:
            yield check(lines, first)
        except (WrongStep, Unreadable) as error:
            yield error


def _taken_apart(lines: Sequence[str], first: int) -> _Typed:
    typed = _Typed()
    for number, line in enumerate(lines, start=first):
        text = line.strip()
        if not text:
            continue
        if not typed.rows and (text.startswith("estimator ") or declares(text)):
            _readable(number, partial(_set, typed, text))
        elif text.startswith("needs "):
            _under(typed.rows, number).needs.append(_Row(number, text.removeprefix("needs ")))
        elif typed.rows and not text.startswith("="):
            row = (typed.rows[-1].needs or typed.rows)[-1]
            row.text += f" {text}"
        elif typed.rows or not text.startswith("="):
            typed.rows.append(_Row(number, text.removeprefix("=")))
        else:
            raise Unreadable(number, "the first line of a derivation stands alone, without = in front.")
    if len(typed.rows) < 2:
        raise Unreadable(first, "a derivation has a first line and at least one step, '= ... by rule'.")
    return typed


def _under(rows: Sequence[_Row], number: int) -> _Row:
    """Return the step that a line `needs ...` stands under."""
    if len(rows) < 2:
        raise Unreadable(number, "what a step needs stands below the step, '= ... by rule'.")
    return rows[-1]


def _set(typed: _Typed, text: str) -> None:
    if declares(text):
        declare(text, typed.setting)
        return
    if typed.estimator is not None or typed.setting.roles:
        message = "'estimator NAME' stands once, in front of what else is drawn."
        raise UsageError(message)
    typed.estimator = catalogue[text.removeprefix("estimator ").strip()]
    typed.setting = setting_of(typed.estimator)


def _followed(before: Term, row: _Row, setting: Setting) -> Derivation:
    """Return the step from one line to the next."""
    found = _STEP.fullmatch(row.text)
    if found is None:
        raise Unreadable(row.number, f"expected '= ... by rule'; got {' '.join(row.text.split())!r}.")
    term = _term(row, found["term"] or "", setting)
    rewrite = _readable(row.number, lambda: _rewrite(found["rule"], found["names"], setting))
    try:
        return calc(before, (rewrite, term))
    except (TooLarge, ScopeError) as error:
        raise Unreadable(row.number, str(error)) from error
    except RuleError as error:
        reason = str(error).removeprefix(f"step 1 ({rewrite.name}) is refused: ")
        said = reason if not reason.startswith("it does not lead") else f"{found['rule']} does not lead to this line"
        raise WrongStep(row.number, said.rstrip(".") + ".") from error


def _demand_possible(row: _Row, assumptions: Iterable[Premise | Equation]) -> None:
    """Of what assumes that x and -x, or x, y and -x - y are positive everything holds: no sum of these is."""
    positive = sorted((premise.term for premise in assumptions if isinstance(premise, Positive)), key=repr)
    for some in chain.from_iterable(combinations(positive, size) for size in range(2, MOST_TOGETHER + 1)):
        try:
            require("a sum", [Positive(total(some))], EVERYTHING)
        except PremiseError as error:
            shown = " and ".join(sorted(map(render, some)))
            message = f"no value makes {shown} positive, and the derivation assumes {'both' if len(some) == 2 else 'all'}."
            raise WrongStep(row.number, message) from error


def _demand_said(row: _Row, new: Iterable[Premise | Equation], estimator: Estimator | None) -> None:
    """What a step is said to need must be what it assumes and no line above it did, by name alone or with its words."""
    where = () if estimator is None else estimator.where
    needed = {premise_name(each, where): premise(each, where) for each in new}
    whole = ", ".join(sorted(needed)) or "nothing"
    for said in row.needs:
        text = " ".join(said.text.split())
        name = text.partition(":")[0]
        words = needed.pop(name, None)
        if words is None or text not in (name, words):
            raise WrongStep(said.number, f"the step does not need {text}; what it is the first to need is {whole}.")
    if needed:
        raise WrongStep(row.number, f"the step needs {', '.join(sorted(needed))}, which the block does not say.")


def _rewrite(rule: str, names: str | None, setting: Setting) -> Rewrite:
    name = "_".join(rule.replace("_", " ").split())
    variables = [_variable(each.strip(), setting) for each in (names or "").split(",") if each.strip()]
    if name in WITH and len(variables) == WITH[name][0]:
        return WITH[name][1](*variables)
    if name in REWRITES and not variables:
        return REWRITES[name]
    if name in WITH:
        message = f"{rule} is written with {WITH[name][0]} of the variables, as 'by {rule} with a'."
    else:
        message = (
            f"no rule that takes {len(variables)} variables is called {rule!r}; there are {', '.join([*REWRITES, *WITH])}."
        )
    raise UsageError(message)


def _variable(name: str, setting: Setting) -> RandomVariable:
    if name not in setting.variables:
        message = f"{name!r} is not drawn: declare it, as in 'b ~ p(b; theta)'."
        raise UsageError(message)
    return setting.variables[name]


def _term(row: _Row, text: str, setting: Setting) -> Term:
    return _readable(row.number, lambda: parse(text, setting))


def _readable(number: int, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except Unreadable:
        raise
    except GradproofError as error:
        raise Unreadable(number, str(error)) from error


def _demand_ends(estimator: Estimator, chain: Sequence[Line], rows: Sequence[_Row]) -> None:
    for row, line, expected, what in (
        (rows[0], chain[0], estimator.target, "begin with the target"),
        (rows[-1], chain[-1], estimator.expectation, "end with the mean of the estimate"),
    ):
        if not alpha_equal(line.term, expected) and not _only_algebra(line.term, expected):
            raise WrongStep(row.number, f"a derivation of {estimator.name} must {what}.")


def _only_algebra(left: Term, right: Term) -> bool:
    try:
        calc(left, (rules.algebra, right))
    except RuleError:
        return False
    return True
