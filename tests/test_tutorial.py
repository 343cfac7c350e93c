"""The tutorial names all that formulas and derivations are written with; its three files get the answers that they state."""

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


# The three files

STATED = [
    ("ppo.py:off_policy", "refuted", 1),
    ("ppo.py:on_policy", "proved", 0),
    ("actor_critic.py:bootstrapped", "refuted", 1),
    ("actor_critic.py:baseline", "proved", 0),
    ("actor_critic.py:exact", "proved", 0),
    pytest.param("dreg.py:doubly_reparameterized", "proved", 0, marks=pytest.mark.slow),
    ("dreg.py:weights_not_squared", "refuted", 1),
]


@pytest.mark.parametrize(("name", "word", "status"), STATED)
def test_a_file_that_is_written_from_the_tutorial_gets_the_answer_that_it_states(capsys, name, word, status):
    assert derive.load(f"{EXAMPLES / name}").verdict == word
    assert run(app, ["prove", str(EXAMPLES / name)]) == status
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith(f": {word}")
    assert ("witness" in {line.split(" ")[0] for line in shown}) == (word == "refuted")


def test_a_formula_that_fills_pages_is_cut_on_the_screen_and_whole_in_json(capsys):
    name = str(EXAMPLES / "ppo.py:off_policy")
    run(app, ["prove", name])
    shown = capsys.readouterr().out
    assert "more characters: JSON has all of it)" in shown
    assert len(shown.splitlines()) < 40
    run(app, ["prove", name, "--json"])
    assert len(capsys.readouterr().out) > 2 * len(shown)
