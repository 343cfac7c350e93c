"""The page of the four readings says what the readings say."""

import json

import pytest

import derive
from derive.catalogue import catalogue
from docs.readings.page import ANSWERS, PAGE, crosschecked, is_right, read, render
from docs.readings.rows import ROWS
from tests.proved import proved

STORED = json.loads(ANSWERS.read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_answers():
    assert list(STORED) == list(catalogue)
    assert PAGE.read_text(encoding="utf-8") == render(STORED)


SLOW = {"rebar-variance-lambda"}


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.exhaustive) if one in SLOW else one for one in catalogue])
def test_the_readings_answer_as_the_page_says(name, monkeypatch):
    monkeypatch.setattr(derive, "prove", lambda estimator: proved(estimator.name))
    assert STORED[name] == read(name) | {"crosscheck": STORED[name]["crosscheck"]}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", catalogue)
def test_the_crosscheck_answers_as_the_page_says(name):
    assert STORED[name]["crosscheck"] == crosschecked(name)


def test_every_entry_is_in_one_row_and_every_row_has_entries_or_a_reason():
    named = [name for row in ROWS for name in row.entries]
    assert sorted(named) == sorted(catalogue)
    assert all(bool(row.entries) != bool(row.missing) for row in ROWS)
    assert len({row.title for row in ROWS}) == len(ROWS)


def test_an_entry_that_a_reading_refuses_is_not_right():
    answer = STORED["score-function"]
    assert is_right("score-function", answer)
    assert not is_right("score-function", answer | {"variance": "refused: why"})
    assert not is_right("score-function", answer | {"verdict": "checked"})
    assert not is_right("score-function", answer | {"crosscheck": {"bernoulli": "disagrees"}})
