"""What needs Sphinx is collected where it is installed; each worker computes with one thread, and seldom looks for garbage."""

import gc
import os
import sys
from importlib.util import find_spec
from itertools import count

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of two workers wait for each other

collect_ignore = [] if find_spec("sphinx") else ["gradproof/sphinx.py", "gradproof/directives.py"]

gc.disable()  # until all is collected: what collecting makes is kept

SELDOM = 50
_ended = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at the verdicts of the whole catalogue comes first and so in one worker: to prove it twice takes seconds."""
    shared = getattr(sys.modules.get("tests.proved"), "proved", None)
    items.sort(key=lambda item: shared is None or getattr(getattr(item, "module", None), "proved", None) is not shared)


def pytest_collection_finish() -> None:
    """Libraries and ten thousand tests stay to the end: to walk over them at each collection took a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
    gc.enable()


def pytest_runtest_logfinish() -> None:
    """What tests leave to others, as verdicts, stays too: an audit looks through all after each run that keeps a tensor."""
    if next(_ended) % SELDOM == 0:
        gc.collect()
        gc.freeze()
