"""The text that `torchgen` made, as a module that can be imported: debuggers, tracebacks and torch.compile look it up there."""

from __future__ import annotations

import builtins
import linecache
import sys
from itertools import count
from types import ModuleType

_serial = count()


def module_of(source: str, name: str) -> ModuleType:
    """Run generated source; it holds names that were checked to be identifiers, and nothing else from outside.

    >>> module_of("draw = lambda: 4", "dice").draw()
    4
    """
    filename = f"<gradproof {name} {next(_serial)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = sys.modules[filename] = ModuleType(filename)
    try:
        exec(builtins.compile(source, filename, "exec"), vars(module))  # noqa: S102, the text is our own
    except BaseException:
        forget(module)
        raise
    return module


def forget(module: ModuleType) -> None:
    """Undo what `module_of` left behind."""
    linecache.cache.pop(module.__name__, None)
    sys.modules.pop(module.__name__, None)
