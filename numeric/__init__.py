"""Run estimators in torch and compare them with exact gradients.

Nothing is imported before it is used, so `import numeric` works without torch.

>>> import numeric
>>> "audit" in numeric.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numeric.auditing.audit import AuditCase as AuditCase, audit as audit, replay as replay
    from numeric.auditing.audit_report import (
        AuditReport as AuditReport,
        AuditWarning as AuditWarning,
        BiasedGradient as BiasedGradient,
        VacuousAudit as VacuousAudit,
    )
    from numeric.checking.crosscheck import crosscheck as crosscheck
    from numeric.checking.exact_gradient import exact_gradient as exact_gradient
    from numeric.checking.sequential_test import sequential_test as sequential_test
    from numeric.checking.torch_oracle import (
        RejectedSampler as RejectedSampler,
        VacuousCheckWarning as VacuousCheckWarning,
        WrongGradient as WrongGradient,
    )
    from numeric.codegen.torchgen import emit as emit
    from numeric.codegen.torchrun import compile as compile
    from numeric.draws.tape import NotAuditable as NotAuditable

_HOMES = {
    "numeric.auditing.audit": ("AuditCase", "audit", "replay"),
    "numeric.auditing.audit_report": ("AuditReport", "AuditWarning", "BiasedGradient", "VacuousAudit"),
    "numeric.checking.crosscheck": ("crosscheck",),
    "numeric.checking.exact_gradient": ("exact_gradient",),
    "numeric.checking.sequential_test": ("sequential_test",),
    "numeric.checking.torch_oracle": ("RejectedSampler", "VacuousCheckWarning", "WrongGradient"),
    "numeric.codegen.torchgen": ("emit",),
    "numeric.codegen.torchrun": ("compile",),
    "numeric.draws.tape": ("NotAuditable",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuditCase",
    "AuditReport",
    "AuditWarning",
    "BiasedGradient",
    "NotAuditable",
    "RejectedSampler",
    "VacuousAudit",
    "VacuousCheckWarning",
    "WrongGradient",
    "audit",
    "compile",
    "crosscheck",
    "emit",
    "exact_gradient",
    "replay",
    "sequential_test",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    message = f"module 'numeric' has no attribute {name!r}"
    raise AttributeError(message)
