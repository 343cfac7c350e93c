"""What needs Sphinx is collected where it is installed; each worker computes with one thread, and seldom looks for garbage."""

import gc
import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of two workers wait for each other

collect_ignore = [] if find_spec("sphinx") else ["gradproof/sphinx.py", "gradproof/directives.py"]


def pytest_collection_finish() -> None:
    """Libraries and ten thousand tests stay to the end: to walk over them at each collection took a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)
