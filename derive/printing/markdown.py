"""Derivations as Markdown, with LaTeX between dollar signs, for a paper's appendix, a lecture or a docstring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from derive.printing import latex
from derive.printing.conclusion import Conclusion
from derive.printing.layout import Where

if TYPE_CHECKING:
    from derive.language.estimator import Estimator
    from derive.proofs.calc import Derivation

LIMIT = 80


def escape(text: str) -> str:
    r"""Return any text so that Markdown prints it and does not obey it.

    >>> print(escape("z_tilde *is* <b>"))
    z\_tilde \*is\* &lt;b&gt;
    """
    html = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + character if character in "\\`*_[]#$|~" else character for character in html)


def document(estimator: Estimator, derivation: Derivation | None, conclusion: Conclusion | None = None) -> str:
    """Return the statement of an estimator, its derivation, a numbered display for each line, and the verdict.

    >>> from derive.catalogue import catalogue
    >>> print(document(catalogue["score-function"], None).splitlines()[0])
    # score-function
    """
    where = estimator.where
    parts = [
        f"# {escape(estimator.name)}",
        escape(estimator.summary),
        f"Source: {escape(estimator.source)}." if estimator.source else "",
        _bullets([f"${relation}$" for relation in latex.setting(estimator)]),
        "The estimate:",
        _display(latex.lines(estimator.formula, where, LIMIT)),
        "The gradient that it should have as its mean:",
        _display(latex.lines(estimator.target, where, LIMIT)),
        *(["There is no derivation."] if derivation is None else _derived(derivation, where)),
        *([] if conclusion is None else _concluded(conclusion, where)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _derived(derivation: Derivation, where: Where) -> list[str]:
    written = ["## Derivation"]
    for number, line in enumerate(derivation.lines, 1):
        if line.rule:
            needs = [text for _, text in latex.premises(line.premises, where)]
            because = f"; it needs that {', and that '.join(needs)}" if needs else ""
            written.append(f"by *{escape(line.reason)}*{because}:")
        written.append(_display(latex.lines(line.term, where, LIMIT), number, "= " if line.rule else ""))
    assumed = latex.premises(derivation.theorem.assumptions, where)
    listed = _bullets([f"**{escape(label)}**: {text}." for label, text in assumed])
    return [*written, "## Assumptions", listed or "None: every side condition was decided."]


def _concluded(conclusion: Conclusion, where: Where) -> list[str]:
    facts = [f"**{escape(label)}**: {escape(fact)}" for label, fact in conclusion.facts]
    needs = [f"**{escape(label)}**: {text}." for label, text in latex.premises(conclusion.conditions, where)]
    bias = [] if conclusion.bias is None else ["The bias:", _display(latex.lines(conclusion.bias, where, LIMIT))]
    return [f"## Verdict: {escape(conclusion.verdict)}", _bullets([*facts, *needs]), *bias]


def _display(lines: Sequence[str], number: int | None = None, sign: str = "") -> str:
    first, *rest = lines
    tag = f" \\tag{{{number}}}" if number is not None else ""
    if not rest:
        return f"$$\n{sign}{first}{tag}\n$$"
    head = f"={{}}& {first}" if sign else f"& {first}"
    rows = " \\\\\n".join([head, *(f"& \\quad {line}" for line in rest)])
    return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}{tag}\n$$"


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
