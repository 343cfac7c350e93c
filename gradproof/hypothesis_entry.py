"""The entry point that hypothesis calls when it is imported: our types get their strategies, if they are there already.

It stands in this package because importing a file of `derive` imports the language, and a program that uses hypothesis but
not us should not pay for that. Where hypothesis is imported first, `import derive` registers the strategies.
"""

from __future__ import annotations

import sys
from importlib import import_module

from gradproof.doors import is_ours


def register() -> None:
    """Import `derive.strategies`, which registers itself for `st.from_type`, if `derive` is imported, and ours."""
    if "derive" in sys.modules and is_ours("derive"):
        import_module("derive.strategies")
