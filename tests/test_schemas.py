"""Each kind of document has a schema, what is written fits it, and what is broken does not."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import torch

import numeric
from derive.cli.main import run
from derive.language.errors import UsageError
from derive.verdicts.strict_json import kinds, schema_of
from numeric.cli.main import app

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PROBLEM = {
    "schema": "gradproof/problem/1",
    "law": {"family": "product", "factors": [{"family": "bernoulli", "probability": "1/3"}] * 2},
    "f": {"formula": "b1*b2 - b1"},
    "samples": 2,
    "constants": {"c": "1/7"},
}
BOUND = {
    "schema": "gradproof/problem/1",
    "law": {"family": "categorical", "probabilities": ["1/2", "1/3", "1/6"]},
    "f": {"table": ["0", "1", "-1/2"]},
    "samples": 2,
    "objective": "bound",
}
COMMANDS = {
    "catalogue": [["list", "--json"]],
    "verdict": [["prove", name, "--json"] for name in ("score-function", "control-variate-without-correction", "concrete")],
    "verdicts": [["prove", str(EXAMPLES / "words.py"), "--json"]],
    "variance": [["variance", name, "--json"] for name in ("constant-baseline", "iwae", "all-action")],
    "variances": [["variance", str(EXAMPLES / "words.py"), "--json"]],
    "crosscheck": [["crosscheck", "score-function", "--json"]],
    "crosschecks": [["crosscheck", str(EXAMPLES / "multi_sample.py"), "--json"]],
    "audit": [["audit", str(EXAMPLES / "moving_average.py:case"), "--json"]],
    "audits": [["audit", str(EXAMPLES / name), "--json"] for name in ("moving_average.py", "audit_leave_one_out.py")],
    "gallery": [["gallery", "--json"]],
    "report": [["report", "-o", "FOLDER/report", "score-function", "FOLDER/problem.json", "--json"]],
    "oracle": [["oracle", f"FOLDER/{name}.json"] for name in ("problem", "bound")],
    "oracles": [["oracle", "FOLDER/problem.json", "FOLDER/bound.json", "FOLDER/no-such.json"]],
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Some documents of each kind, as the commands print them."""
    folder = tmp_path_factory.mktemp("documents")
    for name, problem in (("problem", PROBLEM), ("bound", BOUND)):
        (folder / f"{name}.json").write_text(json.dumps(problem), encoding="utf-8")
    found = {kind: [printed(line, folder) for line in lines] for kind, lines in COMMANDS.items()}
    theta = torch.zeros(2, requires_grad=True)
    found["audit"].append(integrated().to_json())
    same = numeric.same_gradient(lambda: (theta**2).sum(), lambda: (theta * theta).sum(), theta, raise_exception=False)
    tested = numeric.sequential_test(lambda n: torch.full((n, 1), 0.5), torch.tensor([0.5]), bounds=(0, 1), max_samples=100)
    return found | {"problem": [PROBLEM, BOUND], "same-gradient": [same.to_json()], "sequential-test": [tested.to_json()]}


def integrated():
    """An audit by quadrature."""
    theta = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    noisy = lambda: (theta + torch.randn(1, dtype=theta.dtype)).square().sum()  # noqa: E731, the audit asks for a callable
    return numeric.audit(noisy, theta, lambda: theta.square().sum() + 1)


def printed(line, folder):
    out = folder / "printed.json"
    with out.open("w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        assert run(app, [part.replace("FOLDER", str(folder)) for part in line]) < 4
    return json.loads(out.read_text(encoding="utf-8"))


@cache
def validator(kind):
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))
    return jsonschema.Draft202012Validator(schema_of(kind))


def test_there_are_documents_of_each_kind(documents):
    assert sorted(documents) == kinds()


@pytest.mark.parametrize("kind", kinds())
def test_what_is_written_fits_its_schema(kind, documents):
    for document in documents[kind]:
        assert document["schema"] == f"gradproof/{kind}/1"
        validator(kind).validate(json.loads(json.dumps(document)))


@pytest.mark.parametrize("kind", kinds())
def test_what_is_broken_at_any_place_does_not_fit(kind, documents):
    for document in documents[kind]:
        for broken, demanded in mutants(document, schema_of(kind)):
            assert not validator(kind).is_valid(broken) or not demanded
    assert not validator(kind).is_valid(documents[kind][0] | {"schema": f"gradproof/{kind}/2"})
    assert not validator(kind).is_valid(documents[kind][0] | {"more": 1})


def mutants(document, rule):
    """A document without each of its keys, and with a list in place of each value: what must be refused."""
    for key in document:
        yield {name: value for name, value in document.items() if name != key}, key in rule["required"]
        yield document | {key: [[[]], None]}, key != "more"
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for inner in value[0]:
                broken = copy.deepcopy(document)
                broken[key][0][inner] = {"no": ["such", {"value": None}]}
                yield broken, inner not in ("choices", "values", "problem")


@pytest.mark.parametrize("kind", kinds())
def test_the_command_prints_a_schema_that_stands_alone(kind, capsys):
    assert run(app, ["schema", kind]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone == schema_of(kind)
    assert alone["$id"] == f"urn:gradproof:{kind}:1"
    assert all(target.startswith("#/$defs/") or target in alone["$defs"] for target in referred(alone))


def referred(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value["$ref"]] if isinstance(value, dict) and "$ref" in value else []
    return own + [target for part in inner for target in referred(part)]


def test_the_kinds_are_listed_and_another_is_refused(capsys):
    assert run(app, ["schema"]) == 0
    assert capsys.readouterr().out.split() == kinds()
    for wrong in ("oracel", "../oracle", "oracle-1", "", "名"):
        with pytest.raises(UsageError, match="the kinds are audit, "):
            schema_of(wrong)
    assert run(app, ["schema", "oracel"]) == 2
