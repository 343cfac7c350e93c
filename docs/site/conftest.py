"""What needs Sphinx or docutils is collected where they are installed."""

from importlib.util import find_spec

collect_ignore = ["conf.py"] if find_spec("sphinx") else ["conf.py", "mathml.py"]
