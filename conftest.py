"""What needs Sphinx is collected where it is installed; each worker computes with one thread."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of two workers wait for each other

collect_ignore = [] if find_spec("sphinx") else ["gradproof/sphinx.py", "gradproof/directives.py"]
