"""Run estimators in torch and compare them with exact gradients.

What is in `__all__` is public. Nothing is imported before it is used, so `import numeric` works without torch.

>>> import numeric
>>> "audit" in numeric.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    # Anybody's code
    "audit", "AuditCase", "AuditReport", "Contribution", "replay", "BiasedGradient", "UndecidedAudit", "VacuousAudit",
    "UnexpectedVerdict", "NotAuditable", "AuditWarning", "same_gradient", "SameGradient", "DifferentGradient",
    "exact_mean", "ExactMean", "exact_expectation",
    # Losses of language-model fine-tuning
    "testbed",
    # Code from formulas
    "compile", "Compiled", "emit", "crosscheck", "CrosscheckReport", "exact_gradient",
    # Samplers
    "sequential_test", "SequentialReport", "samples_needed",
    # Answers to a problem
    "torch_oracle", "TorchOracle", "WrongGradient", "RejectedSampler", "VacuousCheckWarning",
    # Errors of both packages
    "GradproofError", "NotEvaluable", "TooLarge", "UnknownNode", "UsageError",
]

if TYPE_CHECKING:
    from derive.language.errors import (
        GradproofError as GradproofError,
        NotEvaluable as NotEvaluable,
        TooLarge as TooLarge,
        UnknownNode as UnknownNode,
        UsageError as UsageError,
    )
    from numeric import testbed as testbed
    from numeric.auditing.audit import AuditCase as AuditCase, audit as audit, replay as replay
    from numeric.auditing.audit_report import (
        AuditReport as AuditReport,
        AuditWarning as AuditWarning,
        BiasedGradient as BiasedGradient,
        Contribution as Contribution,
        UndecidedAudit as UndecidedAudit,
        UnexpectedVerdict as UnexpectedVerdict,
        VacuousAudit as VacuousAudit,
    )
    from numeric.checking.crosscheck import CrosscheckReport as CrosscheckReport, crosscheck as crosscheck
    from numeric.checking.exact_gradient import exact_gradient as exact_gradient
    from numeric.checking.expectations import exact_expectation as exact_expectation, exact_mean as exact_mean
    from numeric.checking.same_gradient import (
        DifferentGradient as DifferentGradient,
        SameGradient as SameGradient,
        same_gradient as same_gradient,
    )
    from numeric.checking.sequential_test import (
        SequentialReport as SequentialReport,
        samples_needed as samples_needed,
        sequential_test as sequential_test,
    )
    from numeric.checking.torch_oracle import (
        RejectedSampler as RejectedSampler,
        TorchOracle as TorchOracle,
        VacuousCheckWarning as VacuousCheckWarning,
        WrongGradient as WrongGradient,
        torch_oracle as torch_oracle,
    )
    from numeric.codegen.torchgen import emit as emit
    from numeric.codegen.torchrun import Compiled as Compiled, compile as compile
    from numeric.draws.tape import NotAuditable as NotAuditable
    from numeric.means.exact_mean import ExactMean as ExactMean
else:  # a checker must not read `__getattr__` as leave to take any name
    _HOMES = {
        "derive.language.errors": ("GradproofError", "NotEvaluable", "TooLarge", "UnknownNode", "UsageError"),
        "numeric.auditing.audit": ("AuditCase", "audit", "replay"),
        "numeric.auditing.audit_report": (
            "AuditReport", "AuditWarning", "BiasedGradient", "Contribution", "UndecidedAudit", "UnexpectedVerdict",
            "VacuousAudit",
        ),
        "numeric.checking.crosscheck": ("CrosscheckReport", "crosscheck"),
        "numeric.means.exact_mean": ("ExactMean",),
        "numeric.checking.exact_gradient": ("exact_gradient",),
        "numeric.checking.expectations": ("exact_expectation", "exact_mean"),
        "numeric.checking.same_gradient": ("DifferentGradient", "SameGradient", "same_gradient"),
        "numeric.checking.sequential_test": ("SequentialReport", "samples_needed", "sequential_test"),
        "numeric.checking.torch_oracle": (
            "RejectedSampler", "TorchOracle", "VacuousCheckWarning", "WrongGradient", "torch_oracle",
        ),
        "numeric.codegen.torchgen": ("emit",),
        "numeric.codegen.torchrun": ("Compiled", "compile"),
        "numeric.draws.tape": ("NotAuditable",),
    }
    _HOME = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        if name == "testbed":
            return import_module("numeric.testbed")
        message = f"module 'numeric' has no attribute {name!r}"
        raise AttributeError(message)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
