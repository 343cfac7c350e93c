"""The one way from this package to `derive` and `numeric`: a module of the user that has such a name is named, not imported.

Nothing here is imported by them, and nothing here imports them before it is asked to.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("derive", "numeric")
_HOME = Path(__file__).resolve().parent.parent


class StandsInTheWay(ImportError):
    """A module of the user has the name of one of our packages: the message says which, and what to do."""


def open_door(name: str) -> ModuleType:
    """Import a module of `derive` or `numeric`.

    Raises
        StandsInTheWay, if Python would import another module under the name of one of them.

    >>> open_door("derive.language.errors").__name__
    'derive.language.errors'
    """
    for package in PACKAGES:
        found = place(package)
        if found is not None and not is_ours(package):
            message = f"{found} stands in the way of the package {package!r} of gradproof: rename it, or run elsewhere."
            raise StandsInTheWay(message)
    return import_module(name)


def is_ours(package: str) -> bool:
    """Return whether what is imported under a name, or would be, is our package.

    >>> is_ours("numeric"), is_ours("string")
    (True, False)
    """
    found = place(package)
    return found is not None and found.resolve() == _HOME / package / "__init__.py"


def place(package: str) -> Path | None:
    """Return the file, or the folder that is no package, that is imported under a name, or would be; None where there is none.

    >>> place("numeric").name
    '__init__.py'
    """
    spec = None if package in sys.modules else PathFinder.find_spec(package)
    if package in sys.modules:
        module = sys.modules[package]
        file, folders = getattr(module, "__file__", None), getattr(module, "__path__", ())
    else:
        file, folders = (None, ()) if spec is None else (spec.origin, spec.submodule_search_locations or ())
    return next((Path(each) for each in (file, *folders) if each is not None), None)
