"""What `--fragment` and `--bibtex` of explain, prove and variance print."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Literal, TypeAlias

import typer

import derive
from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.printing import paper
from derive.verdicts.variance_report import as_formula

Notation: TypeAlias = Annotated[Literal["text", "latex"], typer.Option("--format", help="The notation; latex with --fragment.")]
Fragment: TypeAlias = Annotated[bool, typer.Option("--fragment", help="LaTeX to be put into a paper, as wide as a column.")]
Width: TypeAlias = Annotated[str, typer.Option(metavar="WIDTH", help="The width of a column, with --fragment.")]
Bibtex: TypeAlias = Annotated[bool, typer.Option("--bibtex", help="Print the sources for BibTeX, and nothing else.")]


def explained(estimator: Estimator, width: str) -> str:
    """Return the derivation as a fragment; where there is none, what is known."""
    verdict = derive.prove(estimator)
    holds = verdict.derivation is not None and verdict.verdict != "other-target"
    return paper.explanation(estimator, verdict.derivation, width) if verdict.derivation and holds else proved(estimator, width)


def proved(estimator: Estimator, width: str) -> str:
    """Return the verdict as a fragment."""
    verdict = derive.prove(estimator)
    return paper.statement(estimator, verdict.conclusion, (*verdict.assumptions, *verdict.conditions), width)


def varied(estimator: Estimator, outcomes: int, width: str) -> str:
    """Return the variance as a fragment."""
    return paper.variance(estimator, outcomes, as_formula(estimator, outcomes).written, width)


def asked_for(notation: str, *, fragment: bool, bibtex: bool) -> bool:
    """Whether something for a paper is asked for.

    Raises
        UsageError, if a fragment is asked for in another notation than LaTeX, or LaTeX that is no fragment where there is none.
    """
    if fragment and notation != "latex":
        message = "a fragment is LaTeX: say --format latex --fragment."
        raise UsageError(message)
    return fragment or bibtex


def written(estimator: Estimator, write: Callable[[Estimator], str], *, bibtex: bool) -> str:
    """Return the fragment, or the sources."""
    return bibliography(estimator.source) if bibtex else write(estimator)


def bibliography(source: str) -> str:
    """Return the BibTeX entries of a source.

    Raises
        UsageError, if there is none, or it is not in the list of references.

    >>> bibliography("tucker-2017, eq. 8").splitlines()[0]
    '@inproceedings{tucker-2017,'
    """
    text = files("derive.catalogue").joinpath("references.bib").read_text(encoding="utf-8")
    entries = {match[1]: match[0] for match in re.finditer(r"^@\w+\{([^,]+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)}
    keys = [part.split(",")[0].strip() for part in source.split(";") if part.strip()]
    missing = [key for key in keys if key not in entries]
    if missing or not keys:
        message = f"no reference is called {', '.join(missing)}." if missing else "the estimator names no source."
        raise UsageError(message)
    return "\n\n".join(entries[key] for key in keys) + "\n"
