"""An oracle is read, and an estimator recomputed by enumeration, in JavaScript and in R; a wrong twin is found there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from derive.verdicts.oracle import oracle
from derive.verdicts.problem import problem_of

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
COIN = {"family": "bernoulli", "probability": "1/3"}
DIE = {"family": "categorical", "probabilities": ["1/2", "1/3", "1/6"]}
HARD = {"family": "categorical", "probabilities": ["1/1000003", "1/7", "6000011/7000021"]}
PROBLEMS = {
    "coin": (COIN, {"formula": "(b - 499/1000)**2"}, 2),
    "die": (DIE, {"table": ["1", "-1/2", "2"]}, 3),
    "hard": (HARD, {"table": ["123456789/1000", "-1/3", "0"]}, 2),
    "zero": (COIN, {"table": ["0", "0"]}, 2),
}
LANGUAGES = {"node": ["node", "oracle.mjs"], "R": ["Rscript", "oracle.R"]}


def stated(law, f, samples, **more):
    return oracle(problem_of({"schema": "gradproof/problem/1", "law": law, "f": f, "samples": samples, **more})).to_json()


def judged(language, document, name, folder):
    """The exit status of the example for an estimator, and what it says."""
    program, script = LANGUAGES[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if language == "R" and subprocess.run(["Rscript", "-e", "library(jsonlite)"], capture_output=True, check=False).returncode:
        pytest.skip("the package jsonlite of R is not installed")
    path = folder / "oracle.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([program, EXAMPLES / script, path, name], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout or done.stderr


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", ["score-function", "leave-one-out"])
def test_the_moments_of_an_estimator_are_those_of_the_oracle(language, problem, name, tmp_path):
    assert judged(language, stated(*PROBLEMS[problem]), name, tmp_path) == (0, f"{name}: right\n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("problem", ["coin", "die", "hard"])
def test_a_wrong_twin_is_found(language, problem, tmp_path):
    document = stated(*PROBLEMS[problem])
    status, said = judged(language, document, "group-mean", tmp_path)
    assert status == 1
    assert said.count("mean ") == len(document["parameters"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("moment", ["mean", "variance"])
def test_a_number_that_is_off_in_the_oracle_is_found(language, moment, tmp_path):
    """In each place that an example reads: the fraction for JavaScript, the decimal for R."""
    document = stated(*PROBLEMS["die"])
    entry = next(one for one in document["estimators"] if one["name"] == "leave-one-out")
    number = document["gradient"][1] if moment == "mean" else entry["coordinates"][1]["variance"]
    number.update(exact="1/7", decimal=number["decimal"] * (1 + 1e-9))
    status, said = judged(language, document, "leave-one-out", tmp_path)
    assert status == 1
    assert f"logit_1: {moment}" in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_an_example_cannot_do_is_an_error(language, tmp_path):
    bound = stated(COIN, {"table": ["0", "1"]}, 2, objective="bound")
    product = stated({"family": "product", "factors": [COIN, COIN]}, {"formula": "b1*b2"}, 1)
    for document in (bound, product):
        status, said = judged(language, document, "score-function", tmp_path)
        assert status != 0
        assert "one variable" in said
    status, said = judged(language, stated(*PROBLEMS["coin"]), "nobody", tmp_path)
    assert status != 0
    assert "no estimator is called nobody" in said


@pytest.mark.parametrize("value", ["1/3", "-2", "0", f"1/{10**39}", "123456789123456789123456789"])
def test_a_decimal_is_read_by_javascript_as_the_float64_beside_it(value, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    document = stated(COIN, {"table": [value, "0"]}, 1)
    number = document["outcomes"][0]["f"]
    (tmp_path / "oracle.json").write_text(json.dumps(document), encoding="utf-8")
    code = "console.log(JSON.parse(require('fs').readFileSync(process.argv[1])).outcomes[0].f.decimal)"
    read = subprocess.run(["node", "-e", code, tmp_path / "oracle.json"], capture_output=True, text=True, check=True)
    assert float(read.stdout).hex() == number["float64"]
    assert float(number["decimal"]).hex() == number["float64"]
