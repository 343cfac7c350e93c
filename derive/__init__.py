"""Prove stochastic gradient estimators: the language, the exact evaluator, the kernel, the verdicts, the catalogue.

>>> import derive
>>> derive.prove(derive.catalogue["rebar"]).verdict
'proved'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from derive.catalogue import catalogue

if TYPE_CHECKING:
    from derive.prover import explain, load, prove, variance

__all__ = ["catalogue", "explain", "load", "prove", "variance"]


def __getattr__(name: str) -> Any:
    """Import the prover when it is first used: a program that only writes formulas does not pay for it."""
    if name in __all__:
        return getattr(import_module("derive.prover"), name)
    message = f"module 'derive' has no attribute {name!r}"
    raise AttributeError(message)
