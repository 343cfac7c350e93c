"""The families of the catalogue that have a folder: a wrong twin of each proved entry is refuted, and its code disagrees."""

from dataclasses import replace

import pytest

import derive
import numeric
from derive.catalogue import catalogue
from derive.instances import compare
from numeric.codegen.torchgen import usual_families
from tests.families import FURTHER, STORED, TWINS, WITHOUT_CODE

WITH_CODE = [name for name in TWINS if set(STORED[name]["crosscheck"].values()) == {"agrees"}]


def twin(name):
    return replace(catalogue[name], formula=TWINS[name], derivation=None, where=(), verdict="refuted")


def test_there_are_families_and_most_of_their_code_is_held_against_exact_gradients():
    assert len(FURTHER) >= 60
    assert len(WITH_CODE) >= 25
    assert WITHOUT_CODE == ()


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_not_proved_and_has_a_witness(name):
    verdict = derive.prove(twin(name), outcomes=(2,))
    assert verdict.verdict in ("refuted", "scaled", "other-target")
    assert verdict.witness.mean != verdict.witness.target


@pytest.mark.parametrize("name", TWINS)
def test_the_instances_differ_on_a_twin(name):
    wrong = twin(name)
    assert compare(wrong.target, wrong.expectation).verdict == "differ"


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_twin_disagrees(name):
    assert not numeric.crosscheck(twin(name), usual_families(catalogue[name])[0], samples=1000).agrees
