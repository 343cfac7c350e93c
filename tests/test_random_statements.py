"""Claim: of random statements, no judge calls a true one false, and no two judges contradict each other."""

from collections import Counter

import pytest

from derive.language.errors import GradproofError
from tests.corpus.judges import JUDGES
from tests.corpus.random_statements import random_changed, random_true

ASKED = ("kernel", "evaluator", "instances")
BATCH, BATCHES = 250, 40


def opinions(statement):
    """Return what each judge says: True, False, or None."""
    said = {}
    for judge in ASKED:
        try:
            said[judge] = JUDGES[judge](statement).says
        except GradproofError:
            said[judge] = None
    return said


def wrong(seeds):
    """Return the true statements that are called false, the others on which judges differ, and how many were silent."""
    found, silent = [], Counter()
    for seed in seeds:
        for make, true in ((random_true, True), (random_changed, False)):
            statement = make(seed)
            said = opinions(statement)
            silent.update(judge for judge, says in said.items() if says is None)
            answers = set(said.values()) - {None} | ({True} if true else set())
            if len(answers) > 1:
                found.append((statement.name, said, statement.left, statement.right))
    return found, silent


def test_random_statements_are_true_or_false_and_the_judges_agree():
    found, silent = wrong(range(2, 10))
    assert found == []
    assert silent["instances"] < 8


@pytest.mark.exhaustive
@pytest.mark.parametrize("batch", range(BATCHES))
def test_twenty_thousand_random_statements_are_judged_without_a_mistake(batch):
    found, silent = wrong(range(BATCH * batch, BATCH * (batch + 1)))
    assert found == []
    assert silent["instances"] < BATCH
