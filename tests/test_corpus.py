"""Claim: no judge is wrong about a statement of the corpus, and docs/corpus.md says where each is silent."""

import json
from collections import Counter

import pytest

from tests.corpus.judges import CHAPTERS, JUDGES, STATEMENTS, ask
from tests.corpus.page import ANSWERS, PAGE, render

EVERY = {"kernel": 4, "evaluator": 1, "instances": 4, "verdict": 12, "crosscheck": 12}
"""One in so many statements is judged in `make test`, all in `make test-exhaustive`."""

SLOW = {"two steps, second derivative", "two steps, second derivative without the cross term"}
"""Twenty seconds for a verdict: judged in `make test-exhaustive`."""

OPEN: dict[str, list[str]] = {}
"""Mistakes that are known and not yet mended."""

answers = json.loads(ANSWERS.read_text(encoding="utf-8"))


def test_the_corpus_has_two_hundred_true_and_two_hundred_false_statements_of_different_names():
    labels = Counter(statement.label for statement in STATEMENTS)
    assert min(labels[True], labels[False]) >= 200
    assert len({statement.name for statement in STATEMENTS}) == len(STATEMENTS)
    assert all(statement.reason for statement in STATEMENTS)


def test_no_statement_is_written_twice():
    assert max(Counter((statement.left, statement.right) for statement in STATEMENTS).values()) == 1


def test_the_page_is_that_of_the_answers():
    assert list(answers) == list(JUDGES)
    assert all(list(words) == [statement.name for statement in STATEMENTS] for words in answers.values())
    assert PAGE.read_text(encoding="utf-8") == render(answers)


@pytest.mark.parametrize("judge", JUDGES)
def test_no_judge_was_wrong(judge):
    assert [name for name, word in answers[judge].items() if word == "wrong"] == OPEN.get(judge, [])


def judged(judge, statements):
    return {statement.name: ask(judge, statement) for statement in statements}


def worse(judge, found):
    """Return who is wrong, or silent where the page says right; who speaks up needs only a new page."""
    return {
        name: (word, words)
        for name, (word, words) in found.items()
        if (word == "wrong" and name not in OPEN.get(judge, [])) or (word == "silent" and answers[judge][name] == "right")
    }


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_no_judge_answers_worse_than_the_page_says(judge, chapter):
    sample = [statement for statement in chapter.statements[:: EVERY[judge]] if statement.name not in SLOW]
    assert worse(judge, judged(judge, sample)) == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_the_judges_answer_as_the_page_says_of_every_statement(judge, chapter):
    found = judged(judge, chapter.statements)
    assert {name: word for name, (word, _) in found.items()} == {name: answers[judge][name] for name in found}
