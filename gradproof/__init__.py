"""The face of gradproof: its version, `python -m gradproof`, and the entry points of the console, pytest and hypothesis."""

from importlib import metadata

__version__ = metadata.version("gradproof")
