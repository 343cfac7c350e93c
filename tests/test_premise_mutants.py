"""Delete any one premise of any one rule, and some test of the refusals fails: no premise is checked for show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from derive.kernel import theorem as kernel
from derive.proofs import rules

ROOT = Path(__file__).parent.parent
MUTANT = """
import sys, pytest
import derive.kernel.judgement, derive.kernel.premises, derive.proofs.rules
rule, premise, require = *sys.argv[1:], derive.kernel.premises.require

def forgetful(name, premises, assuming):
    return require(name, [one for one in premises if (name, one.name) != (rule, premise)], assuming)

derive.kernel.judgement.require = derive.proofs.rules.require = forgetful
quiet = ["-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"]
sys.exit(pytest.main(["tests/test_refusals.py", "-qx", *quiet]))
"""
PREMISES = [
    ("algebra", "NonZero"),
    ("algebra", "Positive"),
    ("chain", "Differentiable"),
    ("definition", "Positive"),
    ("differentiate", "Differentiable"),
    ("linearity", "NonZero"),
    ("linearity", "Positive"),
    ("linearity", "Integrable"),
    ("leibniz", "SupportFixed"),
    ("leibniz", "Differentiable"),
    ("leibniz", "Dominated"),
    ("normalisation", "Normalised"),
    ("exchange", "Independent"),
    ("exchange", "JointlyIntegrable"),
    ("reparameterize", "Normalised"),
    ("conditional_reparameterize", "ConditionalReparameterization"),
    ("change_of_law", "Normalised"),
    ("change_of_law", "Covers"),
    ("change_of_law", "SupportFixed"),
    ("change_of_law", "NonZero"),
    ("change_of_law", "Positive"),
    ("change_of_law", "Differentiable"),
    ("change_of_law", "Integrable"),
    ("outcomes", "Normalised"),
    ("outcomes", "Positive"),
    ("normal_score", "Positive"),
    ("normal_score", "Differentiable"),
    ("zero_mean_baseline", "Independent"),
]


def run(rule, premise):
    command = [sys.executable, "-c", MUTANT, rule, premise]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_every_rule_that_consults_premises_is_mutated():
    for module in (kernel, rules):
        source = Path(module.__file__).read_text()
        consulting = set(re.findall(r'(?:concluded\([^\n]*?, |require\()"(\w+)"', source))
        assert consulting
        assert consulting <= {rule for rule, _ in PREMISES}


def test_without_a_mutation_the_refusals_pass():
    assert run("none", "none").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "premise"), PREMISES)
def test_a_rule_that_forgets_a_premise_is_found(rule, premise):
    result = run(rule, premise)
    assert result.returncode == 1, result.stdout
    assert "DID NOT RAISE" in result.stdout or "Error" in result.stdout
