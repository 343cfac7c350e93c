"""An oracle's values are exact, its files follow their schemas, and hostile problems are refused in one line with status 2."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from fractions import Fraction
from itertools import product
from math import prod
from pathlib import Path

import jsonschema
import mpmath
import pytest
import typer
from hypothesis import given, settings, strategies as st

import derive
from derive import strategies
from derive.catalogue import catalogue
from derive.cli.main import run
from derive.cli.oracle import register
from derive.language.errors import GradproofError, TooLarge, UsageError
from derive.language.formula import MOST_DEGREE, MOST_NESTED, parse_formula
from derive.verdicts import strict_json
from derive.verdicts.oracle import number, oracle, read_oracle
from derive.verdicts.problem import problem_of, read_problem
from derive.verdicts.strict_json import parse_json, read_json, schema, validate

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "problem.json"
APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)

HALF = number(Fraction(1, 2))
BERNOULLI = {"family": "bernoulli", "probability": "1/3"}
THREE = {"family": "categorical", "probabilities": ["1/2", "1/3", "1/6"]}


def stated(law=BERNOULLI, f=None, samples=2, **more):
    f = {"formula": "(b - 499/1000)**2 + b/3"} if f is None else f
    return {"schema": "gradproof/problem/1", "law": law, "f": f, "samples": samples, **more}


FULL = {
    "constants": {"c": "2/7", "b_0": "1/2", "f_0": "3/5", "df_0": "-1/4"},
    "functions": {"C": {"formula": "3 - 2*b**2"}},
}


def answers(**given):
    return oracle(problem_of(stated(**{**FULL, **given})))


# The values, against enumeration with fractions


def brute_force(estimate, law, dlaw, samples):
    """The mean and variance of estimate(draws, score) over all draws, in twenty lines of fractions."""
    mean = square = Fraction(0)
    for draws in product(range(len(law)), repeat=samples):
        weight = prod(law[k] for k in draws)
        g = estimate(draws, [dlaw[k] / law[k] for k in draws])
        mean, square = mean + weight * g, square + weight * g * g
    return mean, square - mean * mean


def formulas(f, C, law, dlaw):
    """What the papers say, once more, as plain Python: estimates from K draws and their scores."""
    slope_of_mean = sum(k * d for k, d in enumerate(dlaw))
    slope_of_C = sum(c * d for c, d in zip(C, dlaw, strict=True))
    c, b_0, f_0, df_0 = Fraction(2, 7), Fraction(1, 2), Fraction(3, 5), Fraction(-1, 4)

    def averaged(one):
        return lambda draws, scores: sum(map(one, draws, scores)) / len(draws)

    def leave_one_out(draws, scores):
        total, others = sum(f[k] for k in draws), len(draws) - 1
        return sum((f[k] - (total - f[k]) / others) * s for k, s in zip(draws, scores, strict=True)) / len(draws)

    def derivative(b):
        return 2 * (b - Fraction(499, 1000)) + Fraction(1, 3)

    return {
        "score-function": averaged(lambda k, s: f[k] * s),
        "constant-baseline": averaged(lambda k, s: (f[k] - c) * s),
        "control-variate": averaged(lambda k, s: (f[k] - C[k]) * s + slope_of_C),
        "control-variate-without-correction": averaged(lambda k, s: (f[k] - C[k]) * s),
        "leave-one-out": leave_one_out,
        "muprop": averaged(lambda k, s: (f[k] - f_0 - df_0 * (k - b_0)) * s + df_0 * slope_of_mean),
        "straight-through": averaged(lambda k, s: derivative(k) * slope_of_mean),
    }


@pytest.mark.parametrize("samples", [2, 3])
@pytest.mark.parametrize("law", [BERNOULLI, THREE], ids=["bernoulli", "categorical"])
def test_every_value_is_that_of_enumeration_with_fractions(law, samples):
    found = answers(law=law, samples=samples)
    p = [Fraction(2, 3), Fraction(1, 3)] if law is BERNOULLI else [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    directions = [1] if law is BERNOULLI else [0, 1, 2]
    f = [(b - Fraction(499, 1000)) ** 2 + Fraction(b, 3) for b in range(len(p))]
    C = [3 - 2 * Fraction(b) ** 2 for b in range(len(p))]
    by_name = {entry.name: entry for entry in found.estimators}
    for at, i in enumerate(directions):
        dp = [p[k] * ((k == i) - p[i]) for k in range(len(p))]
        gradient = sum(d * value for d, value in zip(dp, f, strict=True))
        assert found.gradient[at] == gradient
        for name, estimate in formulas(f, C, p, dp).items():
            coordinate = by_name[name].coordinates[at]
            mean, variance = brute_force(estimate, p, dp, samples)
            assert (coordinate.mean, coordinate.bias, coordinate.variance) == (mean, mean - gradient, variance), name
    assert set(by_name) >= set(formulas(f, C, p, dp))


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_any_law_and_table_give_the_values_of_enumeration(data):
    p = data.draw(strategies.probabilities())
    f = data.draw(strategies.tables(len(p)))
    found = answers(
        law={"family": "categorical", "probabilities": [str(value) for value in p]},
        f={"table": [str(value) for value in f]},
        functions={},
    )
    estimates = formulas(f, f, p, [Fraction(0)] * len(p))
    entries = [entry for entry in found.estimators if entry.name in ("score-function", "constant-baseline", "leave-one-out")]
    assert len(entries) == 3
    for entry in entries:
        for i, coordinate in enumerate(entry.coordinates):
            dp = [p[k] * ((k == i) - p[i]) for k in range(len(p))]
            assert (coordinate.mean, coordinate.variance) == brute_force(estimates[entry.name], p, dp, 2)


def test_the_gradient_is_the_derivative_of_the_objective_in_the_logit():
    """By a rational difference quotient in the odds w = p/(1-p), where d/dlogit = w d/dw."""
    def objective(odds):
        law = {"family": "bernoulli", "probability": str(odds / (1 + odds))}
        return oracle(problem_of(stated(law=law))).objective

    odds, h = Fraction(1, 2), Fraction(1, 10**9)
    slope = odds * (objective(odds + h) - objective(odds - h)) / (2 * h)
    assert abs(slope - answers().gradient[0]) < Fraction(1, 10**15)


def test_a_biased_estimator_is_listed_with_its_bias():
    by_name = {entry.name: entry for entry in answers().estimators}
    assert not by_name["control-variate-without-correction"].unbiased
    assert by_name["control-variate"].unbiased
    assert not by_name["straight-through"].unbiased


def test_each_estimator_of_the_catalogue_is_answered_or_refused_with_a_reason():
    found = answers(f={"table": ["0", "1"]}, constants={}, functions={}, samples=1)
    assert sorted([*(entry.name for entry in found.estimators), *found.not_applicable]) == sorted(catalogue)
    assert [entry.name for entry in found.estimators] == ["score-function", "policy-surrogate"]
    assert found.not_applicable["constant-baseline"] == "it needs c, which the problem does not state."
    assert found.not_applicable["control-variate"] == "it needs C(1), which the problem does not state."
    assert "f between the outcomes, as a formula" in found.not_applicable["straight-through"]
    assert "at least 2 samples" in found.not_applicable["leave-one-out"]
    assert "continuous noise" in found.not_applicable["rebar"]
    assert "another than the gradient" in found.not_applicable["vimco"]


@pytest.mark.parametrize("text", ["1/3", "-2", "1/1000000000000000000000000000000000000000", "0"])
def test_a_float64_in_hex_is_the_nearest_to_the_rational_beside_it(text):
    shown = number(Fraction(text))
    assert shown["exact"] == text
    nearest = Fraction(float.fromhex(shown["float64"]))
    assert abs(nearest - Fraction(text)) <= abs(nearest) * Fraction(1, 2**53)


@pytest.mark.slow
def test_the_largest_problem_is_answered():
    weights = [f"{k}/78" for k in range(1, 13)]
    found = answers(law={"family": "categorical", "probabilities": weights}, samples=8)
    assert len(found.gradient) == 12


# Formulas


@pytest.mark.parametrize(
    ("text", "at_2"),
    [
        ("b", 2),
        ("-b**2", -4),
        ("(-b)**2", 4),
        ("2 - 3 - 4", -5),
        ("12/3/2", 2),
        ("1/2*b", 1),
        ("--b", 2),
        ("2*-b", -4),
        ("3*(b - 1/2)**3", Fraction(81, 8)),
        ("(b - b + 2)/(3 - 1)", 1),
        ("b**0", 1),
        ("0*b", 0),
        (" ( b ) ", 2),
        ("+".join(["(b)"] * 40), 80),
        ("(" * MOST_NESTED + "b" + ")" * MOST_NESTED, 2),
    ],
)
def test_a_formula_means_what_it_means_in_arithmetic(text, at_2):
    assert parse_formula(text)(Fraction(2)) == at_2


SUMS_AND_PRODUCTS = st.recursive(
    st.sampled_from(["b", "2", "3/7", "10"]), lambda inner: st.builds("({}){}({})".format, inner, st.sampled_from("+-*"), inner)
)


@given(SUMS_AND_PRODUCTS)
@settings(max_examples=60, deadline=None)
def test_formulas_agree_with_python_on_fractions(text):
    try:
        ours = parse_formula(text)
    except UsageError:
        return
    exact = text.replace("3/7", "Fraction(3, 7)")
    assert ours(Fraction(5, 3)) == eval(exact, {"Fraction": Fraction, "b": Fraction(5, 3)})  # noqa: S307, made above


HOSTILE_FORMULAS = {
    "9**9**9": "a power of a power",
    "b**99": "exponent",
    "b**999999999999": "exponent",
    "((9**64)**64)**64": "bits",
    "b**64*b": f"degree of at most {MOST_DEGREE}",
    "b**-1": "exponent",
    "b**b": "exponent",
    "b**(2)": "exponent",
    "1/b": "a number that is not zero",
    "1/0": "a number that is not zero",
    "1/(b - b)": "a number that is not zero",
    "9" * 41: "at most 40 digits",
    "(" * 33 + "b" + ")" * 33: "parentheses inside one another",
    "b" + "+b" * 600: "at most 1000 characters",
    "__import__('os').system('true')": "the variable b",
    "exec('1')": "the variable b",
    "b.__class__": "an operator or the end",
    "lambda: b": "the variable b",
    "b if b else b": "an operator or the end",
    "c": "the variable b",
    "theta": "the variable b",
    "β": "the variable b",
    "１": "the variable b",
    "1.5": "an operator or the end",
    "1e9": "an operator or the end",
    "nan": "the variable b",
    "b^2": "an operator or the end",
    "2b": "an operator or the end",
    "(b": "a closing parenthesis",
    "b)": "an operator or the end",
    "": "the end",
    "b\n+1": "an operator or the end",
    "b;b": "an operator or the end",
    "b\x00": "an operator or the end",
    "b # c": "an operator or the end",
}


@pytest.mark.parametrize("text", HOSTILE_FORMULAS, ids=lambda text: ascii(text[:30]))
def test_a_formula_that_is_no_polynomial_or_too_large_is_refused(text):
    with pytest.raises(UsageError, match=HOSTILE_FORMULAS[text]) as raised:
        parse_formula(text)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


@given(st.text(alphabet="b0123456789+-*/() .xe_", max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_text_makes_the_parser_fail_in_another_way(text):
    with suppress(UsageError):
        parse_formula(text)


# Documents


def with_value(path, value):
    document = copy.deepcopy(stated(**FULL))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


WRONG_VALUES = [
    (("schema",), "gradproof/problem/2"),
    (("schema",), True),
    (("samples",), True),
    (("samples",), "2"),
    (("samples",), 0),
    (("samples",), 9),
    (("samples",), 1.5),
    (("samples",), None),
    (("name",), "__class__"),
    (("name",), "rm -rf $(HOME)"),
    (("name",), "a\nb"),
    (("law",), {"family": "bernoulli"}),
    (("law",), {"family": "normal", "probability": "1/2"}),
    (("law",), []),
    (("law", "probability"), "3/2"),
    (("law", "probability"), "0"),
    (("law", "probability"), "1/0"),
    (("law", "probability"), 0.5),
    (("law", "probability"), "nan"),
    (("law", "probability"), "Infinity"),
    (("law", "probability"), "1e-3"),
    (("law", "probability"), "１/３"),
    (("law", "probability"), "1/3\n"),
    (("law", "probability"), "1/" + "9" * 41),
    (("law", "probability"), True),
    (("law", "probability"), {"a": 1}),
    (("law", "more"), "1"),
    (("law",), {"family": "categorical", "probabilities": ["1/2", "1/3"]}),
    (("law",), {"family": "categorical", "probabilities": ["1"]}),
    (("law",), {"family": "categorical", "probabilities": ["1/20"] * 20}),
    (("law",), {"family": "categorical", "probabilities": ["-1/2", "3/2"]}),
    (("f",), "b"),
    (("f",), {"formula": "b", "table": ["0", "1"]}),
    (("f",), {"table": ["0"]}),
    (("f",), {"table": ["0", "1", "2"]}),
    (("f",), {"table": ["0", None]}),
    (("f",), {"formula": 3}),
    (("f",), {"formula": "9**9**9"}),
    (("f",), {"formula": "b" * 2000}),
    (("f",), {"formula": "__import__('os')"}),
    (("constants", "theta"), "1"),
    (("constants", "__class__"), "1"),
    (("constants", "c"), 1),
    (("constants", "c"), False),
    (("functions", "C"), {"table": []}),
    (("functions", "eval"), {"table": ["0", "1"]}),
    (("code",), "import os"),
]


@pytest.mark.parametrize(("path", "value"), WRONG_VALUES, ids=lambda part: ascii(part)[:40])
def test_a_document_that_is_no_problem_is_refused_in_one_short_line(path, value):
    with pytest.raises(UsageError) as raised:
        problem_of(with_value(path, value))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("document", [None, [], "text", 3, True, {}])
def test_a_value_that_is_no_object_of_ours_is_refused(document):
    with pytest.raises(UsageError, match="the document"):
        problem_of(document)


@pytest.mark.parametrize(("path", "value"), WRONG_VALUES, ids=lambda part: ascii(part)[:40])
def test_our_check_refuses_whatever_jsonschema_refuses(path, value):
    """And, but for a newline at the end of a string, which `$` lets pass there, the other way round."""
    document = with_value(path, value)
    theirs = jsonschema.Draft202012Validator(schema("problem-1")).is_valid(document)
    try:
        validate(document, "problem-1")
    except UsageError:
        assert not theirs or "1/3\n" in str(value) + "\n"
    else:
        assert theirs


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_our_check_agrees_with_jsonschema_on_damaged_documents(data):
    document = copy.deepcopy(stated(**FULL, name="x"))
    key = data.draw(st.sampled_from(sorted(document)))
    text = st.text(st.characters(exclude_characters="\n"), max_size=5)
    scalars = st.none() | st.booleans() | st.integers() | text
    damage = data.draw(st.sampled_from(["drop", "replace", "inside"]))
    value = data.draw(st.recursive(scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(text, x, max_size=3)))
    if damage == "drop":
        del document[key]
    elif damage == "inside" and isinstance(document[key], dict):
        document[key][data.draw(st.sampled_from([*document[key], "new"]))] = value
    else:
        document[key] = value
    theirs = jsonschema.Draft202012Validator(schema("problem-1")).is_valid(document)
    try:
        validate(document, "problem-1")
    except UsageError:
        assert not theirs
    else:
        assert theirs


@pytest.mark.parametrize("kind", ["problem-1", "oracle-1"])
def test_the_schemas_are_schemas(kind):
    jsonschema.Draft202012Validator.check_schema(schema(kind))


def test_a_keyword_that_the_check_does_not_know_is_never_passed_over(monkeypatch):
    monkeypatch.setattr(strict_json, "schema", lambda kind: {"type": "string", "minLength": 3})
    with pytest.raises(GradproofError, match="minLength"):
        validate("ab", "any")


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ({"oneOf": [{"type": "string"}, {"const": "a"}]}, "a", "more than one"),
        ({"oneOf": [{"type": "string"}, {"const": "a"}]}, 1, "none of its forms"),
        ({"const": 1}, True, "must be 1"),
        ({"type": "integer"}, True, "of type integer"),
        ({"type": "integer", "maximum": 3}, 4, "from None to 3"),
        ({"type": "array", "items": {"type": "null"}}, [None, 0], "entry 2"),
    ],
)
def test_the_check_of_each_keyword_refuses_its_canary(rule, value, expected, monkeypatch):
    monkeypatch.setattr(strict_json, "schema", lambda kind: rule)
    with pytest.raises(UsageError, match=expected):
        validate(value, "any")
    if value is not True:
        assert not jsonschema.Draft202012Validator(rule).is_valid(value)


# Files


HOSTILE_FILES = {
    "deep": (b"[" * 60_000, "nest deeper"),
    "deep objects": (b'{"a":' * 10_000, "nest deeper"),
    "long integer": (b'{"samples": ' + b"9" * 5000 + b"}", "at most 18"),
    "duplicate": (b'{"schema": "gradproof/problem/1", "schema": "x"}', "twice"),
    "nan": (b'{"samples": NaN}', "NaN"),
    "infinity": (b'{"samples": -Infinity}', "Infinity"),
    "overflow": (b'{"schema": 1e999, "law": 1, "f": 1, "samples": 1}', "schema must be"),
    "latin": (b'{"name": "\xe9"}', "not UTF-8"),
    "bom": (b"\xef\xbb\xbf{}", "not JSON"),
    "truncated": (b'{"schema": "gradp', "not JSON"),
    "trailing": (b"{} {}", "not JSON"),
    "comment": (b"{} // x", "not JSON"),
    "empty": (b"", "not JSON"),
    "binary": (b"\x80\x04\x95\x00", "not UTF-8"),
    "oversize": (b" " * (2**16 + 1), "larger than"),
    "surrogate": (b'{"name": "\\ud800", "schema": "gradproof/problem/1"}', "lacks"),
    "surrogate key": (b'{"schema":"gradproof/problem/1","law":1,"f":1,"samples":1,"\\ud800":1}', "law"),
    "quotes": (b'"' + b'\\"' * 30_000, "not JSON"),
}


def refused(capsys, *arguments):
    assert run(APP, ["oracle", *map(str, arguments)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("gradproof: ")
    assert errors.count("\n") == 1
    assert len(errors) < 800
    return errors


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_refused_in_one_line_with_status_2(name, tmp_path, capsys):
    data, expected = HOSTILE_FILES[name]
    path = tmp_path / "problem.json"
    path.write_bytes(data)
    assert expected in refused(capsys, path, "-o", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_file_that_is_not_there_or_a_folder_without_one_is_refused(tmp_path, capsys):
    assert "cannot read" in refused(capsys, tmp_path / "missing.json")
    assert "there is no problem in" in refused(capsys, tmp_path)


def test_depth_is_counted_outside_of_strings_only():
    assert parse_json(json.dumps({"a": "[" * 1000})) == {"a": "[" * 1000}
    with pytest.raises(UsageError, match="nest deeper"):
        parse_json(json.dumps('\\"') + "[" * 100)


def test_numbers_that_do_not_fit_are_refused_before_anything_is_written():
    with pytest.raises(TooLarge, match="float64"):
        number(Fraction(10) ** 400)
    with pytest.raises(TooLarge, match="bits"):
        number(1 / Fraction(10) ** 4500)
    with pytest.raises(TooLarge):
        answers(f={"formula": "(9**40*b)**8"}).to_json()


# The command and the answers


def test_the_command_writes_a_file_that_follows_the_schema_and_can_be_read_again(tmp_path):
    out = tmp_path / "oracle.json"
    assert run(APP, ["oracle", str(EXAMPLE), "-o", str(out)]) == 0
    document = read_json(out)
    jsonschema.Draft202012Validator(schema("oracle-1")).validate(document)
    assert read_oracle(out) == document == oracle(read_problem(EXAMPLE)).to_json()
    assert Fraction(document["gradient"][0]["exact"]) == Fraction(2, 9) * (Fraction(251001, 10**6) - Fraction(249001, 10**6))


def test_without_a_file_the_answers_are_printed(capsys):
    assert run(APP, ["oracle", str(EXAMPLE)]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "gradproof/oracle/1"


def test_many_problems_are_answered_in_processes_kept_and_not_answered_again(tmp_path, capsys, monkeypatch):
    for name, table in (("a", ["0", "1"]), ("b", ["1/2", "1"])):
        problem = {"schema": "gradproof/problem/1", "law": BERNOULLI, "f": {"table": table}, "samples": 1}
        (tmp_path / f"{name}.json").write_text(json.dumps(problem), encoding="utf-8")
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    arguments = ["oracle", str(tmp_path), str(tmp_path / "a.json"), "--results", str(tmp_path / "kept")]
    assert run(APP, [*arguments, "--jobs", "2"]) == 2
    output, errors = capsys.readouterr()
    answer = json.loads(output)
    assert (answer["schema"], errors.count("\n"), "c.json" in errors) == ("gradproof/oracles/1", 1, True)
    assert [Path(one["object"]).name for one in answer["oracles"]] == ["a.json", "b.json"]
    assert [Path(one["object"]).name for one in answer["errors"]] == ["c.json"]
    alone = oracle(read_problem(tmp_path / "a.json")).to_json()
    assert answer["oracles"][0] == {"object": str(tmp_path / "a.json")} | alone
    assert len(list((tmp_path / "kept").iterdir())) == 2

    (tmp_path / "b.json").write_text((tmp_path / "a.json").read_text())
    asked = []
    monkeypatch.setattr("derive.verdicts.oracle.oracle", lambda problem: asked.append(problem) or oracle(problem))
    assert run(APP, arguments) == 2
    again = json.loads(capsys.readouterr().out)
    assert len(asked) == 1  # b has changed, a has not, and c is no problem
    assert again["oracles"][0] == answer["oracles"][0]
    assert again["oracles"][1] == {"object": str(tmp_path / "b.json")} | alone


def test_one_problem_is_no_sweep(capsys):
    assert "is one" in refused(capsys, EXAMPLE, "--jobs", "2")


def tampered(document, path, value):
    result = copy.deepcopy(document)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("schema",), "gradproof/oracle/2", "schema must be"),
        (("gradient", 0, "float64"), "0x1.0000000000000p-1", "not the float64"),
        (("gradient", 0, "float64"), 0.5, "float64 must be"),
        (("gradient", 0, "decimal"), 0.5, "not the float64"),
        (("gradient", 0, "decimal"), "0.5", "decimal must be of type number"),
        (("gradient", 0, "decimal"), True, "decimal must be of type number"),
        (("gradient", 0), HALF, "gradient is not that of the problem"),
        (("gradient", 0, "exact"), "1/0", "denominator 0"),
        (("objective",), HALF | {"exact": "2/4"}, "lowest terms"),
        (("problem", "samples"), 3, "contradict"),
        (("problem", "law", "probability"), "1/2", "outcomes is not that"),
        (("problem", "f", "formula"), "9**9**9", "a power of a power"),
        (("estimators", 0, "unbiased"), False, "contradict"),
        (("estimators", 0, "coordinates", 0, "bias"), number(Fraction(1)), "contradict"),
        (("estimators", 0, "coordinates", 0, "parameter"), "other", "contradict"),
        (("estimators", 0, "coordinates", 0, "mean"), number(Fraction(1)), "contradict"),
        (("estimators", 0, "form"), "other", "none of its forms"),
        (("more",), 1, "no key"),
    ],
)
def test_an_oracle_file_that_contradicts_itself_is_refused(path, value, match, tmp_path):
    out = tmp_path / "oracle.json"
    out.write_text(json.dumps(tampered(answers().to_json(), path, value)), encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        read_oracle(out)


# Bounds: values as balls


def bound_of_law(q, log_joint, samples):
    """L_K, by all draws."""
    draws = product(range(len(q)), repeat=samples)
    return sum(prod(q[k] for k in draw) * log_mean([mpmath.exp(log_joint[k]) / q[k] for k in draw]) for draw in draws)


def log_mean(weights):
    return mpmath.log(sum(weights) / len(weights))


def bound_at(logits, log_joint, samples):
    weights = [mpmath.exp(x) for x in logits]
    return bound_of_law([w / sum(weights) for w in weights], log_joint, samples)


def middle(stated):
    return mpmath.mpf(stated["middle"]), mpmath.mpf(stated["radius"])


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_gradient_of_a_bound_is_that_of_all_draws_by_numerical_differentiation(samples):
    log_joint = ["1/2", "-1", "2/3"]
    document = oracle(problem_of(stated(THREE, {"table": log_joint}, samples, objective="bound"))).to_json()
    with mpmath.workdps(40):
        values = [mpmath.mpf(1) / 2, mpmath.mpf(-1), mpmath.mpf(2) / 3]
        logits = [mpmath.log(mpmath.mpf(1) / n) for n in (2, 3, 6)]
        found, radius = middle(document["objective"])
        assert abs(found - bound_at(logits, values, samples)) <= radius
        for i, stated_gradient in enumerate(document["gradient"]):
            moved = lambda x, i=i: bound_at([*logits[:i], x, *logits[i + 1 :]], values, samples)  # noqa: E731
            assert abs(middle(stated_gradient)[0] - mpmath.diff(moved, logits[i])) < mpmath.mpf(10) ** -15
    names = {1: ["elbo-score-function"], 2: ["vimco", "vimco-arithmetic"], 3: ["vimco", "vimco-arithmetic"]}[samples]
    assert [entry["name"] for entry in document["estimators"]] == names
    assert all(entry["unbiased"] for entry in document["estimators"])
    other = f"another than the gradient of the bound of {samples} sample"
    assert any(other in one["reason"] for one in document["not_applicable"] if one["name"] == "score-function")


def test_the_variance_of_an_estimator_of_the_bound_is_that_of_the_report():
    problem = problem_of(stated(BERNOULLI, {"table": ["0", "1"]}, 2, objective="bound"))
    (entry, _) = oracle(problem).estimators
    report = derive.variance(catalogue["vimco"], at={"q(2)": Fraction(1, 3)})
    assert abs(entry.coordinates[0].variance.middle - report.variance) <= 2 * report.radius
    assert abs(entry.coordinates[0].mean.middle - report.mean) <= 2 * report.radius


def test_nvil_takes_the_constant_of_the_problem_as_its_baseline():
    bounded = stated(BERNOULLI, {"table": ["0", "1"]}, 1, objective="bound", constants={"c": "1/2"})
    (plain, nvil) = oracle(problem_of(bounded)).estimators
    assert (plain.name, nvil.name) == ("elbo-score-function", "nvil")
    assert nvil.coordinates[0].variance.middle < plain.coordinates[0].variance.middle


def written(tmp_path, document):
    path = tmp_path / "oracle.json"
    path.write_text(json.dumps(document))
    return path


BOUND = oracle(problem_of(stated(BERNOULLI, {"table": ["0", "1"]}, 2, objective="bound"))).to_json()


def test_an_oracle_of_a_bound_is_read_again_and_fits_its_schema(tmp_path):
    jsonschema.validate(BOUND, schema("oracle-1"))
    assert read_oracle(written(tmp_path, BOUND)) == BOUND


def first(document):
    return document["estimators"][0]["coordinates"][0]


BROKEN = {
    "a wider ball": (lambda d: d["gradient"][0].update(radius="0.000000000000000000000003"), "gradient is not that"),
    "another middle": (lambda d: d["objective"].update(middle="1.113080405280738648454481"), "objective is not that"),
    "another float64": (lambda d: d["objective"].update(float64="0x1.0000000000000p+0"), "is not the float64"),
    "no radius": (lambda d: d["objective"].update(radius="0.000000000000000000000000"), "is not positive"),
    "a useless radius": (
        lambda d: [first(d)[key].update(radius="1.000000000000000000000000") for key in ("mean", "bias")],
        "wider than",
    ),
    "another mean": (
        lambda d: first(d)["mean"].update(middle=f"0.5{'0' * 23}", float64="0x1.0000000000000p-1", decimal=0.5),
        "contradict the gradient",
    ),
    "a negative variance": (
        lambda d: first(d)["variance"].update(middle=f"-0.5{'0' * 23}", float64="-0x1.0000000000000p-1", decimal=-0.5),
        "contradict the gradient",
    ),
    "a claim of bias": (lambda d: d["estimators"][0].update(unbiased=False), "contradict the gradient"),
    "a short decimal": (lambda d: d["objective"].update(middle="1.5"), "24 digits"),
    "nan": (lambda d: d["objective"].update(middle="nan"), "24 digits"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_ball_that_was_changed_is_refused(tmp_path, name):
    change, message = BROKEN[name]
    document = copy.deepcopy(BOUND)
    change(document)
    with pytest.raises(UsageError, match=message):
        read_oracle(written(tmp_path, document))


# Laws of several variables


PAIR = {"family": "product", "factors": [BERNOULLI, THREE]}


def test_a_product_is_the_joint_law_with_the_logits_of_each_variable():
    """E[(b1 - b2)^2] and its gradient, by the sum over both variables."""
    problem = problem_of(stated(PAIR, {"formula": "(b1 - b2)**2 + b1/2"}, 1))
    found = oracle(problem)
    p, q = [Fraction(2, 3), Fraction(1, 3)], [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    f = {(i, j): Fraction(i - j) ** 2 + Fraction(i, 2) for i, j in product(range(2), range(3))}
    slopes = {"logit_1": [-p[0] * p[1], p[0] * p[1]]}
    expected = [sum(dp * q[j] * f[i, j] for i, dp in enumerate(slopes["logit_1"]) for j in range(3))]
    for k in range(3):
        dq = [q[j] * ((j == k) - q[k]) for j in range(3)]
        expected.append(sum(p[i] * dq[j] * f[i, j] for i in range(2) for j in range(3)))
    assert problem.parameters == ("logit_1", "logit_2_0", "logit_2_1", "logit_2_2")
    assert list(found.gradient) == expected
    assert found.objective == sum(p[i] * q[j] * value for (i, j), value in f.items())
    score = next(entry for entry in found.estimators if entry.name == "score-function")
    square = sum(p[i] * q[j] * (f[i, j] * (i - p[1])) ** 2 for i, j in f)
    assert score.coordinates[0].variance == square - expected[0] ** 2
    assert found.not_applicable["straight-through"] == "it needs b as one number, which the problem does not state."


def test_a_product_names_the_values_of_its_variables_and_is_read_again(tmp_path):
    document = oracle(problem_of(stated(PAIR, {"table": ["0", "1", "2", "3", "4", "5"]}, 2))).to_json()
    assert [row["values"] for row in document["outcomes"]] == [[i, j] for i in range(2) for j in range(3)]
    jsonschema.validate(document, schema("oracle-1"))
    assert read_oracle(written(tmp_path, document)) == document


@pytest.mark.parametrize(
    ("law", "f", "message"),
    [
        (PAIR, {"formula": "b"}, "the variable b1 or b2"),
        (PAIR, {"formula": "b3"}, "the variable b1 or b2"),
        (PAIR, {"formula": "1/b1"}, "not zero after '/' at every outcome"),
        (PAIR, {"table": ["0", "1"]}, "has 2 entries; the law has 6 outcomes"),
        ({"family": "product", "factors": [THREE] * 6}, {"formula": "b1"}, "729 outcomes, more than the 256"),
        ({"family": "product", "factors": [THREE]}, {"formula": "b1"}, "from 2 to 8 entries"),
        ({"family": "product", "factors": [PAIR, PAIR]}, {"formula": "b1"}, "none of its forms"),
        (BERNOULLI, {"formula": "b1"}, "the variable b or"),
    ],
)
def test_a_product_that_cannot_be_read_is_refused(law, f, message):
    with pytest.raises(UsageError, match=message):
        problem_of(stated(law, f))


def test_a_file_of_the_first_form_still_fits_and_says_what_it_said(tmp_path):
    """Neither the objective nor the values of variables stand in it: all that was added is optional."""
    document = answers(f={"table": ["0", "1"]}).to_json()
    assert "objective" not in document["problem"]
    assert all(set(row) == {"b", "probability", "f"} for row in document["outcomes"])
    assert document["schema"] == "gradproof/oracle/1"
    assert read_oracle(written(tmp_path, document)) == document
