"""The subjects need the libraries that they are about, which `make test-subjects` installs; without those, none is collected.

Each library has a test file of its own and runs in a process of its own, since some of them change torch when imported.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("pyro", "storch", "torchrl", "trl", "verl", "openrlhf")
INSTALLED = all(find_spec(name) is not None for name in LIBRARIES)

collect_ignore_glob = [] if INSTALLED else ["*.py"]

if INSTALLED:
    sys.path.insert(0, str(Path(__file__).parent.parent))  # verl installs a package of the name "tests"
