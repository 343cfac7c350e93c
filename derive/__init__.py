"""Prove stochastic gradient estimators: the language, the exact evaluator, the kernel, the verdicts, the catalogue.

What is in `__all__` is public, and so is what `derive.notation` and `derive.strategies` declare. The language is imported here,
the rest when it is first used: a program that only writes formulas pays for nothing else.

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

__all__ = [
    # Formulas and estimators
    "Estimator", "catalogue", "load",
    # Verdicts
    "prove", "Verdict", "Counterexample", "explain", "variance", "VarianceReport",
    # Many of them
    "sweep", "Answer",
    # Answers to a problem
    "oracle", "Oracle", "Problem", "problem_of", "read_problem",
    # Printing
    "text", "markdown", "latex", "html",
    # Errors
    "GradproofError", "Disagreement", "NotEvaluable", "NotExact", "PremiseError", "RuleError", "ScopeError", "TooLarge",
    "UnknownNode", "UsageError",
]

if TYPE_CHECKING:
    from derive.printing import html as html, latex as latex, markdown as markdown, text as text
    from derive.verdicts.loading import load as load
    from derive.verdicts.oracle import Oracle as Oracle, oracle as oracle
    from derive.verdicts.problem import Problem as Problem, problem_of as problem_of, read_problem as read_problem
    from derive.verdicts.prover import explain as explain, prove as prove
    from derive.verdicts.sweep import Answer as Answer, sweep as sweep
    from derive.verdicts.variance_report import VarianceReport as VarianceReport, variance as variance
    from derive.verdicts.verdict import Counterexample as Counterexample, Verdict as Verdict
else:  # a checker must not read `__getattr__` as leave to take any name
    _PRINTING = ("html", "latex", "markdown", "text")
    _HOMES = {
        "derive.verdicts.loading": ("load",),
        "derive.verdicts.oracle": ("Oracle", "oracle"),
        "derive.verdicts.problem": ("Problem", "problem_of", "read_problem"),
        "derive.verdicts.prover": ("explain", "prove"),
        "derive.verdicts.sweep": ("Answer", "sweep"),
        "derive.verdicts.variance_report": ("VarianceReport", "variance"),
        "derive.verdicts.verdict": ("Counterexample", "Verdict"),
    }
    _HOME = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in _PRINTING:
            return import_module(f"derive.printing.{name}")
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        message = f"module 'derive' has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


if "hypothesis" in sys.modules:  # where it is imported later, its entry point does the same
    import_module("derive.strategies")
