"""Run notebooks, those of this folder unless others are named, and write into them what their cells show; a test compares."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

DOCS = Path(__file__).parent


def execute(path: Path) -> None:
    """Run a notebook and write what its cells show.

    Raises
        CellExecutionError, if a cell fails; then nothing is written.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:  # sockets are files, of this kernel alone: no port of the network
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        NotebookClient(notebook, km=kernel, timeout=300, resources={"metadata": {"path": str(DOCS.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day
    notebook.metadata.get("language_info", {}).pop("version", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for named in [Path(argument) for argument in sys.argv[1:]] or sorted(DOCS.glob("*.ipynb")):
        execute(named)
