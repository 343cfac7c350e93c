"""Run estimators in torch and compare them with exact gradients.

Nothing is imported before it is used, so `import numeric` works without torch.

>>> import numeric
>>> sorted(numeric.__all__)
['AuditCase', 'audit', 'compile', 'crosscheck', 'emit', 'exact_gradient', 'sequential_test']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numeric.audit import AuditCase as AuditCase, audit as audit
    from numeric.crosscheck import crosscheck as crosscheck
    from numeric.exact_gradient import exact_gradient as exact_gradient
    from numeric.sequential_test import sequential_test as sequential_test
    from numeric.torchgen import emit as emit
    from numeric.torchrun import compile as compile

__all__ = ["AuditCase", "audit", "compile", "crosscheck", "emit", "exact_gradient", "sequential_test"]

_FUNCTIONS = {"AuditCase": "numeric.audit", "compile": "numeric.torchrun", "emit": "numeric.torchgen"}

# A module and its main function share these names. Importing `numeric.crosscheck` binds the module here, whoever does it and
# whenever; so the name always means the module, and the module can be called (`numeric.callable_module`).
_CALLABLE_MODULES = {"audit", "crosscheck", "exact_gradient", "sequential_test"}


def __getattr__(name: str) -> Any:
    if name in _CALLABLE_MODULES:
        return import_module(f"numeric.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    message = f"module 'numeric' has no attribute {name!r}"
    raise AttributeError(message)
