"""The tutorial names all that a formula and a derivation are written with, and its three files get the answers that they state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import derive
from derive import notation
from derive.cli.main import run
from derive.proofs import rules
from derive.proofs.conversions import Rewrite
from derive.written.block import REWRITES, WITH
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "derivations.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1] for line in PAGE.replace(r"\|", "").splitlines() if line.startswith("| ")]
NAMED = {name for row in ROWS for code in re.findall("`([^`]+)`", row) for name in re.findall(r"^\w+|(?<=, )\w+(?=\()", code)}


def test_every_name_of_the_notation_has_a_row():
    assert set(notation.__all__) - NAMED == {"Relaxation"}
    assert "a `Relaxation`" in PAGE


def test_every_rule_that_a_derivation_may_name_has_a_row():
    plain = {name for name, value in vars(rules).items() if isinstance(value, Rewrite)}
    assert plain | {"reparameterization", "change_of_law", "conditional_reparameterization", "marginalization"} <= NAMED
    printed = {line.split("|")[2].strip() for line in PAGE.splitlines() if line.startswith("| `")}
    assert {name.replace("_", " ") for name in [*REWRITES, *WITH]} - printed <= {"linearity", "algebra"}
