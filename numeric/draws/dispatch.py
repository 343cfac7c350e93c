"""The dispatch mode that all others here are: it keeps torch.compile out of its own steps only where there is torch.compile.

Torch does so for each subclass of `TorchDispatchMode`, and imports its compiler at the first step: seconds, more than a small
audit takes. Who compiles has imported it, so nothing is lost by asking.
"""

from __future__ import annotations

import sys
from functools import wraps
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode whose steps are not compiled."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that this is seen to here."""
        return False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]
        step = cls.__dict__.get("__torch_dispatch__")
        if step is not None:
            cls.__torch_dispatch__ = _uncompiled(step)  # type: ignore[method-assign]


def _uncompiled(step: Any) -> Any:
    disabled: list[Any] = []

    @wraps(step)
    def inner(*args: Any, **kwargs: Any) -> Any:
        if not disabled:
            compiler = sys.modules.get("torch._dynamo")
            if compiler is None or not hasattr(compiler, "disable"):  # absent, or being imported
                return step(*args, **kwargs)
            disabled.append(compiler.disable(step, recursive=True, wrapping=False))
        return disabled[0](*args, **kwargs)

    return inner
