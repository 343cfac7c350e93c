"""The dispatch mode that all others here are: its steps are kept out of torch.compile only where there is torch.compile.

Torch does so for each subclass of `TorchDispatchMode`, and imports its compiler at the first step: seconds, more than a small
audit takes. Who compiles has imported it before the mode is entered.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_KEPT_OUT: set[type[TorchDispatchMode]] = set()


class DispatchMode(TorchDispatchMode):
    """A dispatch mode whose steps are not compiled."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch wraps the steps of a class when it is made."""
        return False

    def __enter__(self) -> Any:
        kind = type(self)
        if kind not in _KEPT_OUT and "torch._dynamo" in sys.modules:
            _KEPT_OUT.add(kind)
            kind.__torch_dispatch__ = torch._disable_dynamo(kind.__torch_dispatch__)  # type: ignore[method-assign, attr-defined]
        return super().__enter__()  # type: ignore[no-untyped-call]
