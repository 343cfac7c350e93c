"""The files that a page gives its reader: a name between backticks and a colon on a line alone, and the block below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_FILE = re.compile(r"^`([\w.]+)`:\n\n(`{3,})\w+\n(.*?)^\2$", re.MULTILINE | re.DOTALL)


def files(text: str) -> dict[str, str]:
    r"""Return the files of a page by their names.

    >>> files("`a.py`:\n\n```python\nx = 1\n```\n")
    {'a.py': 'x = 1\n'}
    """
    return {name: content for name, _, content in _FILE.findall(text)}


def write(text: str, folder: Path) -> None:
    """Write the files of a page into a folder."""
    for name, content in files(text).items():
        (folder / name).write_text(content, encoding="utf-8")


@contextmanager
def beside(text: str) -> Iterator[None]:
    """Stand where the reader of a page stands: among its files, or here where it has none."""
    if not files(text):
        yield
        return
    with TemporaryDirectory() as folder, chdir(folder):
        write(text, Path(folder))
        yield
