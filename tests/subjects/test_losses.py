"""What the gallery says of the losses of libraries is what they measure to, today."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from subjects import losses

CHECK = """
import sys
from subjects import losses
wrong = [entry.call for entry in losses.entries(sys.argv[1]) if entry.row and not losses.is_its_row(entry)]
sys.exit(f"not their rows: {wrong}" if wrong else 0)
"""


@pytest.mark.slow
def test_the_page_and_the_rows_are_what_is_measured():
    text, seen = losses.page()
    assert losses.PAGE.read_text(encoding="utf-8") == text, "run `make subjects` and look at what changed"
    assert losses.SEEN.read_text(encoding="utf-8") == seen, "run `make subjects` and look at what changed"


@pytest.mark.slow
@pytest.mark.parametrize("library", losses.LIBRARIES)
def test_a_loss_that_is_said_to_be_a_row_has_its_mean(library):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CHECK, library], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_loss_that_is_not_its_row_is_found():
    def twice(logprobs, old_logprobs, rewards, mask):
        return -2 * ((logprobs - old_logprobs).exp() * rewards[:, None] * mask).sum() / mask.sum()

    def once(logprobs, old_logprobs, rewards, mask):
        return twice(logprobs, old_logprobs, rewards, mask) / 2

    entry = losses.Entry("it", twice, "token-mean")
    assert not losses.is_its_row(entry)
    assert losses.is_its_row(replace(entry, loss=once))
