"""Claim: docs/audit_laws.md says what audits find of every law and sampler, and no verdict there is wrong."""

import inspect
import json

import pytest
import torch.distributions

from tests.laws.page import ANSWERS, PAGE, REFUSED, ask, is_wrong, render
from tests.laws.rows import ABSTRACT, LAWS, ROWS

answers = json.loads(ANSWERS.read_text(encoding="utf-8"))

CHEAP = (
    "Bernoulli, score", "Poisson, score", "Normal, score",
    "torch.multinomial without replacement, sampler", "argmax(p / Exponential), sampler", "Gumbel top-k, sampler",
    "gumbel_softmax(hard=True), scored, sampler", "torch.randperm, sampler", "DataLoader(shuffle=True), sampler",
)  # fmt: skip
"""Asked in `make test`; all rows in `make test-exhaustive`."""


def test_every_law_that_torch_exports_has_its_rows():
    exported = {name for name in torch.distributions.__all__ if inspect.isclass(getattr(torch.distributions, name))}
    laws = {name for name in exported if issubclass(getattr(torch.distributions, name), torch.distributions.Distribution)}
    assert laws - ABSTRACT == set(LAWS)


def test_the_page_is_that_of_the_answers():
    assert list(answers) == list(ROWS)
    assert PAGE.read_text(encoding="utf-8") == render(answers)


@pytest.mark.parametrize("key", ROWS)
def test_no_verdict_of_the_page_is_wrong(key):
    assert not is_wrong(answers[key], is_right=ROWS[key].is_right)


def test_what_is_refused_says_why():
    refused = [answer for found in answers.values() for answer in found.values() if answer["verdict"] == REFUSED]
    assert all(len(answer["why"]) > 40 for answer in refused)


@pytest.mark.parametrize("key", [key if key in CHEAP else pytest.param(key, marks=pytest.mark.exhaustive) for key in ROWS])
def test_an_audit_finds_what_the_page_says(key):
    found, said = ask(ROWS[key]), answers[key]
    assert {which: (each["verdict"], each.get("how")) for which, each in found.items()} == {
        which: (each["verdict"], each.get("how")) for which, each in said.items()
    }
