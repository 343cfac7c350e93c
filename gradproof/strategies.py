"""The strategies of `derive.strategies`, under a name that no module of a user's project hides.

>>> from gradproof.strategies import laws
>>> laws.__module__
'derive.strategies'
"""

from __future__ import annotations

from typing import Any

from gradproof.doors import open_door


def __getattr__(name: str) -> Any:
    """Return a strategy.

    Raises
        StandsInTheWay, an ImportError, if a module of the user has the name of one of our packages.
    """
    if name.startswith("__"):
        message = f"module 'gradproof.strategies' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(open_door("derive.strategies"), name)
