"""Delete any one premise of any one rule, and some test of the refusals fails: no premise is checked for show."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from pathlib import Path

import pytest

from derive.kernel import judgement, theorem as kernel
from derive.proofs import rules

ROOT = Path(__file__).parent.parent
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pytest", "hypothesis", "xdist.plugin", "derive.proofs.rules", "derive.notation"])
"""Each mutant begins as a process that has imported the kernel and computed nothing: what is kept with a node would hide it."""
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


def refusals(rule, premise, output):
    """Run the tests of the refusals with a rule that forgets a premise; their result is that of the process."""
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), sys.stdout.fileno())

    def forgetful(name, premises, assuming, require=judgement.require):
        return require(name, [one for one in premises if (name, one.name) != (rule, premise)], assuming)

    judgement.require = rules.require = forgetful
    warned = ["-W", "ignore::pytest.PytestConfigWarning", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    quiet = [*warned, "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    sys.exit(pytest.main([f"{ROOT}/tests/test_refusals.py", f"--rootdir={ROOT}", "-qx", *quiet]))


def run(rule, premise, folder):
    """The exit status and the output."""
    process = FORKED.Process(target=refusals, args=(rule, premise, folder / "output"))
    process.start()
    process.join(300)
    return process.exitcode, (folder / "output").read_text(encoding="utf-8")


def test_every_rule_that_consults_premises_is_mutated():
    for module in (kernel, rules):
        source = Path(module.__file__).read_text()
        consulting = set(re.findall(r'(?:concluded\([^\n]*?, |require\()"(\w+)"', source))
        assert consulting
        assert consulting <= {rule for rule, _ in PREMISES}


def test_without_a_mutation_the_refusals_pass(tmp_path):
    assert run("none", "none", tmp_path)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "premise"), PREMISES)
def test_a_rule_that_forgets_a_premise_is_found(rule, premise, tmp_path):
    status, output = run(rule, premise, tmp_path)
    assert status == 1, output
    assert "DID NOT RAISE" in output or "Error" in output
