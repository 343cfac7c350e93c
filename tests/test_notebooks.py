"""The notebooks show what their cells show when they are run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def executed(path, folder):
    """Return what the cells of a notebook show now; a process of its own, since Jupyter leaves threads and warnings behind."""
    copy = Path(shutil.copy(path, folder))
    subprocess.run([sys.executable, "-W", "ignore", str(ROOT / "docs" / "notebooks.py"), str(copy)], check=True, cwd=ROOT)
    return shown(copy)


def shown(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    return [["".join(output.get("text") or output["data"]["text/plain"]) for output in cell["outputs"]] for cell in cells]


def one_cell(source, output):
    shows = {"output_type": "execute_result", "metadata": {}, "data": {"text/plain": [output]}, "execution_count": 1}
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "source": [source], "outputs": [shows], "execution_count": 1}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_shows_what_its_cells_show(path, tmp_path):
    assert shown(path) == executed(path, tmp_path)


@pytest.mark.slow
def test_an_output_that_has_changed_is_seen(tmp_path):
    path = tmp_path / "wrong.ipynb"
    path.write_text(one_cell("1 + 1", "3"), encoding="utf-8")
    (tmp_path / "run").mkdir()
    assert (shown(path), executed(path, tmp_path / "run")) == ([["3"]], [["2"]])


def test_there_is_a_notebook_and_what_it_shows_can_be_read():
    for path in NOTEBOOKS:
        outputs = [text for cell in shown(path) for text in cell]
        assert len(outputs) >= 5
        assert all(len(text.splitlines()) <= 40 and "args=(" not in text for text in outputs)
    assert NOTEBOOKS
