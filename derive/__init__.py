"""Prove stochastic gradient estimators: the language, the exact evaluator, the kernel, the verdicts, the catalogue.

>>> import derive
>>> derive.prove(derive.catalogue["rebar"]).verdict
'proved'
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from derive.catalogue import catalogue as catalogue
from derive.language.errors import (
    Disagreement as Disagreement,
    GradproofError as GradproofError,
    NotEvaluable as NotEvaluable,
    NotExact as NotExact,
    PremiseError as PremiseError,
    RuleError as RuleError,
    ScopeError as ScopeError,
    TooLarge as TooLarge,
    UnknownNode as UnknownNode,
    UsageError as UsageError,
)
from derive.language.estimator import Estimator as Estimator

if TYPE_CHECKING:
    from derive.printing import html as html, latex as latex, markdown as markdown, text as text
    from derive.verdicts.loading import load as load
    from derive.verdicts.oracle import oracle as oracle
    from derive.verdicts.prover import explain as explain, prove as prove
    from derive.verdicts.variance_report import variance as variance
    from derive.verdicts.verdict import Verdict as Verdict

_LAZY = {
    "Verdict": "derive.verdicts.verdict",
    "explain": "derive.verdicts.prover",
    "load": "derive.verdicts.loading",
    "oracle": "derive.verdicts.oracle",
    "prove": "derive.verdicts.prover",
    "variance": "derive.verdicts.variance_report",
}
_PRINTING = ("html", "latex", "markdown", "text")

__all__ = [
    "Disagreement",
    "Estimator",
    "GradproofError",
    "NotEvaluable",
    "NotExact",
    "PremiseError",
    "RuleError",
    "ScopeError",
    "TooLarge",
    "UnknownNode",
    "UsageError",
    "Verdict",
    "catalogue",
    "explain",
    "html",
    "latex",
    "load",
    "markdown",
    "oracle",
    "prove",
    "text",
    "variance",
]


def __getattr__(name: str) -> Any:
    """Import the prover when it is first used: a program that only writes formulas does not pay for it."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _PRINTING:
        return import_module(f"derive.printing.{name}")
    message = f"module 'derive' has no attribute {name!r}"
    raise AttributeError(message)


if "hypothesis" in sys.modules:  # where it is imported later, its entry point does the same
    import_module("derive.strategies")
