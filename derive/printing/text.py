"""Formulas and derivations as plain text, `E_b[(f(b) - c) * d_theta log p(b; theta)]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from textwrap import fill
from typing import TYPE_CHECKING, ClassVar

from derive.language.choice import ChoiceLaw
from derive.language.term import DensityLaw, FiniteLaw, RandomVariable, Term
from derive.printing.breaking import BREAK, INDENT, SOFT, broken, unmarked
from derive.printing.conclusion import Conclusion
from derive.printing.layout import Condition, Printer, Where, apart, spoken, start

if TYPE_CHECKING:
    from derive.language.estimator import Estimator
    from derive.proofs.calc import Derivation

LIMIT = 96


class Text(Printer):
    """Plain text: `*` and `/` are written out, so that a formula can be read in one way only."""

    bars: ClassVar[bool] = False

    def name(self, name: str) -> str:
        return "".join(character if character.isprintable() else "?" for character in name)

    def quoted(self, name: str) -> str:
        return f"'{self.name(name)}'"

    def word(self, word: str) -> str:
        return word

    def number(self, value: Fraction) -> str:
        return str(value)

    def bracket(self, inner: str) -> str:
        return f"({inner})"

    def call(self, head: str, args: Sequence[str], given: Sequence[str] = (), parameters: Sequence[str] = ()) -> str:
        bar = f" | {', '.join(given)}" if given else ""
        semicolon = f"; {', '.join(parameters)}" if parameters else ""
        return f"{head}({', '.join(args)}{bar}{semicolon})"

    def total(self, signed: Sequence[tuple[bool, str]]) -> str:
        (minus, first), *rest = signed or [(False, "0")]
        return ("-" if minus else "") + first + "".join(f"{BREAK}{' - ' if minus else ' + '}{term}" for minus, term in rest)

    def product(self, factors: Sequence[str]) -> str:
        return f"{SOFT} * ".join(factors)

    def fraction(self, top: str, bottom: str) -> str:
        return f"{top} / {bottom}"

    def power(self, base: str, exponent: int) -> str:
        return f"{base}^{exponent}" if exponent >= 0 else f"{base}^({exponent})"

    def log(self, inner: str) -> str:
        return f"log {inner}"

    def derivative(self, parameter: str, inner: str, order: int = 1) -> str:
        return f"d_{parameter} " * order + inner

    def expectation(self, variables: Sequence[RandomVariable], inner: str) -> str:
        subscripts = [self._subscript(variable) for variable in variables]
        if len(subscripts) == 1:
            return f"E_{subscripts[0]}[{inner}]"
        return f"E_{{{','.join(one.removeprefix('{').removesuffix('}') for one in subscripts)}}}[{inner}]"

    def _subscript(self, variable: RandomVariable) -> str:
        law, name = variable.law, self.called(variable.name)
        if isinstance(law, ChoiceLaw):
            return name
        plain = not isinstance(law, (FiniteLaw, DensityLaw)) or (law.name == "p" and not getattr(law, "given", ()))
        return name if plain else f"{{{unmarked(self.distribution(law, name))}}}"

    def summation(self, variable: str, inner: str) -> str:
        return f"sum_{variable} {inner}"

    def integral(self, variable: str, bounds: tuple[str, str] | None, inner: str) -> str:
        limits = f"_{{{unmarked(bounds[0])}}}^{{{unmarked(bounds[1])}}}" if bounds else ""
        return f"int{limits} {inner} d{variable}"

    def primed(self, head: str, order: int) -> str:
        return head + "'" * order

    def mean(self, inner: str, event: str, *, restricted: bool) -> str:
        return f"E[{inner}{('; ' if restricted else ' | ') if event else ''}{event}]"

    def relation(self, left: str, sign: str, right: str) -> str:
        return f"{left}{'' if sign == ':' else ' '}{sign} {right}"

    def width(self, printed: str) -> int:
        return len(unmarked(printed))


def render(term: Term, where: Where = ()) -> str:
    """Return a term as one line of text; a subterm that equals the value of an abbreviation prints as its name.

    Raises
        UnknownNode, if the term is of no kind of the language.

    >>> from derive.notation import E, constant, finite, function, parameter, score
    >>> theta, c, f = parameter("theta"), constant("c"), function("f")
    >>> b = finite("b", theta)
    >>> render(E((f(b) - c) * score(b), b))
    'E_b[(f(b) - c) * d_theta log p(b; theta)]'
    >>> render(E((f(b) - c) * score(b), b), where=[("h", f(b) - c)])
    'E_b[h * d_theta log p(b; theta)]'
    """
    return unmarked(start(Text, term, where).show(term))


def lines(term: Term, where: Where = (), limit: int = LIMIT) -> list[str]:
    """Return a term as lines that are no longer than the limit where they can be broken."""
    shown = broken(start(Text, term, where).show(term), limit, len)
    return [shown[0], *(4 * line.count(INDENT) * " " + line.strip(INDENT + " ") for line in shown[1:])]


def premise(condition: Condition, where: Where = ()) -> str:
    """Return a side condition by name and in words.

    >>> from derive.notation import finite, parameter
    >>> from derive.kernel.premises import SupportFixed
    >>> theta = parameter("theta")
    >>> premise(SupportFixed(finite("b", theta), theta))
    'SupportFixed(b, theta): the support of b does not depend on theta'
    """
    _, sentence, terms = spoken(condition)
    subjects = [render(term, apart(terms, where)) for term in terms]
    return f"{premise_name(condition, where)}: {sentence.format(*subjects)}"


def premise_name(condition: Condition, where: Where = ()) -> str:
    """Return a side condition by name alone, `SupportFixed(b, theta)`."""
    label, _, terms = spoken(condition)
    return f"{label}({', '.join(render(term, apart(terms, where)) for term in terms)})"


def premises(conditions: Iterable[Condition], where: Where = ()) -> list[str]:
    """Return side conditions in words, in alphabetical order."""
    return sorted(premise(condition, where) for condition in conditions)


def statement(estimator: Estimator) -> list[str]:
    r"""Return the head of a document: what is drawn, the definitions, the estimate and the target.

    >>> from derive.catalogue import catalogue
    >>> print("\n".join(statement(catalogue["pathwise"])))
    draw      epsilon ~ Normal(0, 1)
    where     z = mu(theta) + sigma(theta) * epsilon
    estimate  d_theta f(z)
    target    d_theta E_z[f(z)]
    """
    where = estimator.where
    rows = [("draw", [unmarked(Text().drawn(variable))]) for variable in estimator.draws]
    rows += [("where", [unmarked(definition)]) for definition in Text(where).definitions()]
    rows += [("estimate", lines(estimator.formula, where)), ("target", lines(estimator.target, where))]
    return [f"{label:10}{first}" + "".join(f"\n{'':14}{line}" for line in more) for label, (first, *more) in rows]


def document(estimator: Estimator, derivation: Derivation | None, conclusion: Conclusion | None = None) -> str:
    """Return the statement of an estimator, its derivation line by line with the rule that gives each line, and the verdict."""
    head = [estimator.name, "=" * len(estimator.name), *_if(estimator.summary), *_if(estimator.source, "Source: "), ""]
    none = ["", "There is no derivation."]
    written = none if derivation is None else [*steps(derivation, estimator.where), *_assumptions(derivation, estimator.where)]
    return "\n".join([*head, *statement(estimator), *written, *_concluded(conclusion, estimator.where)]) + "\n"


def _concluded(conclusion: Conclusion | None, where: Where) -> list[str]:
    if conclusion is None:
        return []
    heading = f"Verdict: {conclusion.verdict}"
    facts = [_filled(f"{label:14}{fact}", 0, 14) for label, fact in conclusion.facts]
    needs = [_filled(f"{'requires':14}{condition}", 0, 14) for condition in premises(conclusion.conditions, where)]
    bias = [] if conclusion.bias is None else lines(conclusion.bias, where)
    shown = [f"{'' if number else 'bias':14}{line}" for number, line in enumerate(bias)]
    return ["", heading, "-" * len(heading), *facts, *needs, *shown]


def _if(value: str, label: str = "") -> list[str]:
    return [label + Text().name(value)] if value else []


def steps(derivation: Derivation, where: Where = ()) -> list[str]:
    """Return the lines of a derivation, each with the rule that gives it and what that rule needs."""
    written = ["", "Derivation", "----------"]
    for line in derivation.lines:
        first, *rest = lines(line.term, where)
        if line.rule:
            written += ["", f"  = by {line.reason}"]
        written += [f"    {first}", *(f"        {more}" for more in rest)]
        written += [_filled(f"needs {condition}", 6) for condition in premises(line.premises, where)]
    return written


def _assumptions(derivation: Derivation, where: Where) -> list[str]:
    assumed = premises(derivation.theorem.assumptions, where)
    heading = "Assumptions" if assumed else "No assumptions: every side condition was decided."
    return ["", heading, *(_filled(condition, 2) for condition in assumed)]


def _filled(text: str, indent: int, hanging: int = 2) -> str:
    return fill(text, LIMIT, initial_indent=" " * indent, subsequent_indent=" " * (indent + hanging), break_long_words=False)
