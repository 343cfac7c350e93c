"""Prove stochastic gradient estimators: the language, the exact evaluator, the kernel, the verdicts, the catalogue.

>>> import derive
>>> derive.prove(derive.catalogue["rebar"]).verdict
'proved'
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from derive.catalogue import catalogue

if TYPE_CHECKING:
    from derive.prover import explain, load, prove
    from derive.variance_report import variance

__all__ = ["catalogue", "explain", "load", "prove", "variance"]
_HOMES = {"explain": "prover", "load": "prover", "prove": "prover", "variance": "variance_report"}


def __getattr__(name: str) -> Any:
    """Import the prover when it is first used: a program that only writes formulas does not pay for it."""
    if name in _HOMES:
        return getattr(import_module(f"derive.{_HOMES[name]}"), name)
    message = f"module 'derive' has no attribute {name!r}"
    raise AttributeError(message)


if sys.modules.get("hypothesis") is not None:
    # Where it is imported later, its entry point does the same: `numeric.hypothesis_entry`.
    import_module("derive.strategies")
