"""A module that can be called, as its function of the same name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module whose call is the call of the function that has the module's own name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(name: str) -> None:
    """Let a call of the module `name` call its function of the same name; the module itself says so, with `__name__`."""
    sys.modules[name].__class__ = CallableModule
