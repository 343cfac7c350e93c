"""How what we return is shown to people: by `print`, and in a notebook. Nothing that is decided depends on it."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any


class Shown:
    """Base of what is shown: `derive.display`, which stands above all of it, is loaded when something is looked at."""

    __slots__ = ()

    def __str__(self) -> str:
        return str(_display().text(self))

    def _repr_latex_(self) -> str:
        return str(_display().latex(self))

    def _repr_html_(self) -> str:
        return str(_display().html(self))

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        forms = {"text/plain": self.__str__, "text/latex": self._repr_latex_, "text/html": self._repr_html_}
        wanted = [kind for kind in forms if (not include or kind in include) and kind not in (exclude or ())]
        return {kind: forms[kind]() for kind in wanted}


class Symbolic(Shown):
    """Base of what SymPy can read: `derive.sympy_door`, and SymPy with it, is loaded when it is asked for."""

    __slots__ = ()

    def to_sympy(self, outcomes: int | None = None) -> Any:
        """Return this for SymPy; on so many outcomes, in plain symbols (p1, s1, f1) for probabilities, scores and values."""
        return import_module("derive.sympy_door").shown(self, outcomes)


def _display() -> Any:
    return import_module("derive.display")
