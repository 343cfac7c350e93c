"""The pytest plugin: right code passes, wrong code fails with the report of its audit, and nonsense is refused in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import hypothesis  # noqa: F401, an inner run of pytest would import it, and forget it at its end
import pytest
import torch

import numeric.auditing.audit
from derive.language.errors import UsageError
from derive.verdicts.oracle import oracle
from derive.verdicts.problem import problem_of, read_problem
from numeric.checking.sequential_test import SequentialReport
from numeric.checking.torch_oracle import RejectedSampler, TorchOracle, VacuousCheckWarning, WrongGradient, torch_oracle

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
PROBLEM = ROOT / "docs" / "examples" / "problem.json"
BERNOULLI = {"family": "bernoulli", "probability": "1/3"}
COIN = {"schema": "gradproof/problem/1", "law": BERNOULLI, "f": {"table": ["0", "1"]}, "samples": 1}
DIE = COIN | {
    "law": {"family": "categorical", "probabilities": ["1/2", "1/3", "1/6"]}, "f": {"table": ["1", "-1/2", "2"]}, "samples": 2
}  # fmt: skip

PREAMBLE = f"""
import pytest
import torch

REWARDS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
theta = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
COIN = {COIN!r}

def loss(scale=1):
    b = torch.distributions.Categorical(logits=theta).sample()
    return scale * REWARDS[b] * theta.log_softmax(-1)[b]

def objective():
    return REWARDS[torch.multinomial(theta.softmax(-1), 1)]
"""


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """Import what an audit imports, so that no inner run of pytest forgets it again."""
    theta = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    draw = lambda: theta.log_softmax(-1)[torch.multinomial(theta.softmax(-1), 1)]  # noqa: E731
    numeric.audit(draw, theta, draw, raise_exception=False)


@pytest.fixture
def run(pytester):
    """Run pytest on a test file that begins with the preamble."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:randomly --strict-markers")

    def run_file(text, *arguments):
        pytester.makepyfile(test_inner=PREAMBLE + text)
        return pytester.runpytest_inprocess(*arguments)

    return run_file


# Audits

RIGHT = """
def test_it(gradproof_audit):
    assert gradproof_audit(loss, theta, objective).outcomes == 3
"""
WRONG = """
def test_it(gradproof_audit):
    gradproof_audit(lambda: loss(0.95), theta, objective)
"""
CASE = """
def test_it(gradproof_audit):
    from numeric.auditing.audit import AuditCase
    gradproof_audit(AuditCase(loss=loss, params=theta, objective=objective))
"""


@pytest.mark.parametrize("text", [RIGHT, CASE], ids=["arguments", "case"])
def test_right_code_passes_and_the_outcomes_are_counted(run, text):
    result = run(text)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*= gradproof =*", "1 audit over 3 outcomes"])


def test_wrong_code_fails_with_the_report_and_without_our_frames(run):
    result = run(WRONG)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*gradproof_audit(lambda: loss(0.95), theta, objective)",
            "E*BiasedGradient: scaled: *0.95 times the exact gradient",
            "E*worst*the gradient of theta[[]1[]]",
            "E*exact*-0.36574267470*",
            "E*mean*-0.34745554097*",
            "E*reproduce*numeric.replay(loss, params, (?,))",
            "test_inner.py:*: BiasedGradient",
            "1 audit over 3 outcomes",
        ]
    )
    assert "numeric/" not in result.stdout.str()
    assert "gradproof/" not in result.stdout.str()


def test_the_exceptions_are_those_of_numeric_audit(run):
    text = """
    from numeric.auditing.audit import BiasedGradient, NotAuditable

def test_raised(gradproof_audit):
    with pytest.raises(BiasedGradient) as caught:
        gradproof_audit(lambda: -loss(), theta, objective)
    assert abs(caught.value.report.scaled_by + 1) < 1e-12

@pytest.mark.xfail(raises=BiasedGradient, strict=True)
def test_expected(gradproof_audit):
    gradproof_audit(lambda: -loss(), theta, objective)

def test_returned(gradproof_audit):
    assert not gradproof_audit(lambda: -loss(), theta, objective, raise_exception=False)
"""
    result = run(text.replace("    from numeric", "from numeric", 1))
    result.assert_outcomes(passed=2, xfailed=1)
    result.stdout.fnmatch_lines(["3 audits over 9 outcomes"])


def test_an_error_of_the_code_itself_keeps_its_frames(run):
    text = """
def broken():
    loss()
    return 1 / 0

def test_it(gradproof_audit):
    gradproof_audit(broken, theta, objective)
"""
    result = run(text)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">*return 1 / 0", "E*ZeroDivisionError*"])


def test_an_audit_that_any_code_passes_fails(run):
    text = "def test_it(gradproof_audit):\n    gradproof_audit(lambda: 0 * theta.sum(), theta, lambda: 0 * theta.sum())"
    result = run(text, "-W", "ignore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*VacuousAudit: *"])


# The budget


def budget_case(mark=""):
    return f"{mark}\ndef test_it(gradproof_audit):\n    gradproof_audit(loss, theta, objective)\n"


BUDGETS = {
    "option": (budget_case(), ["--gradproof-budget", "2"], ""),
    "configuration": (budget_case(), [], "gradproof_budget = 2"),
    "marker": (budget_case("@pytest.mark.gradproof(budget=2)"), [], ""),
    "marker over option": (budget_case("@pytest.mark.gradproof(budget=2)"), ["--gradproof-budget", "9"], ""),
    "option over configuration": (budget_case(), ["--gradproof-budget", "2"], "gradproof_budget = 9"),
    "closer marker": (
        "pytestmark = pytest.mark.gradproof(budget=9)\n" + budget_case("@pytest.mark.gradproof(budget=2)"), [], ""
    ),
    "farther marker": (
        "pytestmark = pytest.mark.gradproof(budget=2)\n" + budget_case("@pytest.mark.gradproof(false_alarm_rate=0.1)"), [], ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", BUDGETS)
def test_the_budget_comes_from_the_closest_source(run, pytester, source):
    text, arguments, configuration = BUDGETS[source]
    pytester.makeini(f"[pytest]\n{configuration}")
    result = run(text, *arguments)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*TooLarge: *more than the budget of 2*"])
    enough = run(text.replace("budget=2", "budget=3"), *["3" if part == "2" else part for part in arguments])
    enough.assert_outcomes(**({"passed": 1} if configuration != "gradproof_budget = 2" else {"failed": 1}))


def test_an_argument_of_the_call_wins(run):
    text = "def test_it(gradproof_audit):\n    gradproof_audit(loss, theta, objective, budget=3)"
    run(text, "--gradproof-budget=1").assert_outcomes(passed=1)


NONSENSE = [
    (["--gradproof-budget", "0"], "", "--gradproof-budget is '0'; expected the most outcomes to run, a positive integer*"),
    (["--gradproof-budget", "many"], "", "--gradproof-budget is 'many'; expected*"),
    (["--gradproof-budget", "1.5"], "", "--gradproof-budget is '1.5'; expected*"),
    (["--gradproof-false-alarm-rate", "1"], "", "--gradproof-false-alarm-rate is '1'; expected a number strictly between*"),
    (["--gradproof-false-alarm-rate", "nan"], "", "--gradproof-false-alarm-rate is 'nan'; expected*"),
    ([], "gradproof_budget = -3", "gradproof_budget of the configuration is -3; expected*"),
    ([], "gradproof_budget = many", "gradproof_budget of the configuration is no number: *many*"),
    ([], "gradproof_false_alarm_rate = 0", "gradproof_false_alarm_rate of the configuration is 0.0; expected*"),
]


@pytest.mark.parametrize(("arguments", "configuration", "message"), NONSENSE)
def test_nonsense_is_a_usage_error_in_one_line(run, pytester, arguments, configuration, message):
    pytester.makeini(f"[pytest]\n{configuration}")
    result = run(RIGHT, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.errlines if line.strip()]
    assert len(lines) == 1
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


MARKERS = [
    ("budgets=3", "*test_it: the marker gradproof takes the keywords budget and false_alarm_rate; got budgets=...."),
    ("3", "*test_it: the marker gradproof takes the keywords budget and false_alarm_rate; got 3."),
    ("budget=0", "*test_it: budget of the marker gradproof is 0; expected the most outcomes to run*"),
    ("budget=True", "*test_it: budget of the marker gradproof is True; expected*"),
    ("false_alarm_rate=1e-6, budget='3'", "*test_it: budget of the marker gradproof is '3'; expected*"),
    ("false_alarm_rate=1.5", "*test_it: false_alarm_rate of the marker gradproof is 1.5; expected*"),
]


@pytest.mark.parametrize(("marker", "message"), MARKERS)
def test_a_wrong_marker_stops_the_run_before_its_first_test(run, marker, message):
    result = run(f"@pytest.mark.gradproof({marker})\ndef test_it():\n    pass\n\ndef test_other():\n    pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "passed" not in result.stdout.str()


# Oracles in a test

SAMPLER = """
def test_it(gradproof_oracle):
    coin = gradproof_oracle(COIN)

    def sampler(count):
        b = torch.bernoulli(torch.full((count,), 1 / 3))
        return BUG * coin.f(b) * (b - 1 / 3)

    coin.check_sampler(sampler, "score-function", bias=0.1)
"""


def test_a_right_sampler_passes_and_its_rate_is_counted(run):
    again = SAMPLER.replace("test_it", "test_again")
    result = run("BUG = 1" + SAMPLER + again, "--gradproof-false-alarm-rate=1e-6")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["2 sequential tests: right code fails one of them with probability at most 2e-06"])


def test_a_wrong_sampler_fails_with_the_test_and_without_our_frames(run):
    result = run("BUG = 0.5" + SAMPLER)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*coin.check_sampler(sampler, "score-function", bias=0.1)',
            "E*RejectedSampler: REJECTED after * samples*at most 1e-09",
            "E*coordinate 0 is logit; its mean is another, or its variance exceeds that of score-function",
        ]
    )
    assert "numeric/" not in result.stdout.str()
    assert "gradproof/" not in result.stdout.str()


@pytest.mark.parametrize("source", ["marker", "configuration"])
def test_the_false_alarm_rate_comes_from_its_source(run, pytester, source):
    mark = "@pytest.mark.gradproof(false_alarm_rate=0.125)" if source == "marker" else ""
    pytester.makeini(f"[pytest]\n{'gradproof_false_alarm_rate = 0.125' if source == 'configuration' else ''}")
    result = run(f"{mark}\ndef test_it(gradproof_oracle):\n    assert gradproof_oracle(COIN).alpha == 0.125")
    result.assert_outcomes(passed=1)


def test_an_oracle_is_loaded_from_beside_the_test(run, pytester):
    pytester.makefile(".json", problem=json.dumps(COIN), answers=json.dumps(oracle(problem_of(COIN)).to_json()))
    text = """
@pytest.mark.parametrize("name", ["problem.json", "answers.json"])
def test_it(gradproof_oracle, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    coin = gradproof_oracle(name)
    theta = coin.logits()
    theta.sigmoid().backward()
    coin.check_gradient(theta.grad)
"""
    result = run(text)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["2 gradients compared with the exact one"])


def test_a_hostile_file_is_refused_in_one_line(run, pytester):
    hostile = {
        "nested": "[" * 100_000,
        "power": json.dumps(COIN | {"f": {"formula": "9**9**9"}}),
        "code": json.dumps(COIN | {"f": {"formula": "__import__('os').system('true')"}}),
        "twice": '{"schema": "gradproof/problem/1", "schema": "gradproof/oracle/1"}',
        "false": json.dumps(oracle(problem_of(COIN)).to_json()).replace('"2/9"', '"1/9"'),
        "number": "nan",
    }
    pytester.makefile(".json", **hostile)
    text = "@pytest.mark.parametrize('name', [{}])\ndef test_it(gradproof_oracle, name):\n    gradproof_oracle(name)\n"
    result = run(text.format(", ".join(f"'{name}.json'" for name in hostile)))
    result.assert_outcomes(failed=len(hostile))
    lines = [line for line in result.outlines if line.startswith("E  ")]
    assert len(lines) == len(hostile)
    assert all("UsageError: '" in line and f"{name}.json'" in line for name, line in zip(hostile, lines, strict=True))
    assert "numeric/" not in result.stdout.str()
    assert "gradproof/" not in result.stdout.str()


# A run of pytest as a whole


def test_a_run_without_a_check_has_no_summary(run):
    result = run("def test_it():\n    pass")
    result.assert_outcomes(passed=1)
    assert "= gradproof =" not in result.stdout.str()


def test_the_plugin_can_be_switched_off(run):
    result = run("def test_it():\n    pass", "-p", "no:gradproof")
    result.assert_outcomes(passed=1)
    run(RIGHT, "-p", "no:gradproof").assert_outcomes(errors=1)


def test_the_marker_and_the_options_are_described(pytester):
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.gradproof(*"])
    help_of = pytester.runpytest_inprocess("--help")
    help_of.stdout.fnmatch_lines(["*--gradproof-budget=N*", "*--gradproof-false-alarm-rate=RATE*", "*gradproof_budget (int):*"])


@pytest.mark.slow
def test_workers_of_xdist_report_what_they_checked(run, pytester):
    text = "import pytest\n" + "".join(RIGHT.replace("test_it", f"test_{n}") for n in range(3)) + "BUG = 1" + SAMPLER
    pytester.makepyfile(test_inner=PREAMBLE + text)
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider", "--gradproof-false-alarm-rate=1e-5")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["3 audits over 9 outcomes", "1 sequential test: right code fails it with probability at most 1e-05"]
    )


@pytest.mark.slow
def test_a_wrong_marker_fails_its_test_where_a_worker_finds_it(pytester):
    wrong = "import pytest\n\n@pytest.mark.gradproof(budgets=3)\ndef test_it():\n    pass\n"
    pytester.makepyfile(test_inner=wrong + "\ndef test_other():\n    pass\n")
    result = pytester.runpytest_subprocess("-n", "1", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it: the marker gradproof takes the keywords *; got budgets=...."])


def test_a_junit_file_has_what_was_checked(run, pytester):
    run(RIGHT, "--junitxml=found.xml")
    assert '<property name="gradproof_outcomes" value="3"' in (pytester.path / "found.xml").read_text(encoding="utf-8")


def test_importing_the_plugin_imports_neither_torch_nor_the_language():
    heavy = {"derive", "torch", "sympy", "flint", "numpy", "rich", "typer"}
    code = "import sys, pytest; before = set(sys.modules); import gradproof.pytest_plugin; "
    code += f"sys.exit(any(name.split('.')[0] in {heavy} for name in set(sys.modules) - before))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_of_pytest_with_the_plugin_does_not_import_torch(pytester):
    text = "import sys\n\ndef test_it(gradproof_audit, gradproof_oracle):\n    assert 'torch' not in sys.modules"
    pytester.makepyfile(test_inner=text)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


# What an oracle says in torch


@pytest.mark.parametrize("document", [COIN, DIE], ids=["bernoulli", "categorical"])
def test_the_values_are_those_of_the_oracle(document):
    exact, made = oracle(problem_of(document)), torch_oracle(document)
    assert made.gradient.flatten().tolist() == [float(value) for value in exact.gradient]
    assert made.objective == float(exact.objective)
    for entry in exact.estimators:
        assert made.variance(entry.name).flatten().tolist() == [float(one.variance) for one in entry.coordinates]
        assert made.mean(entry.name).flatten().tolist() == [float(one.mean) for one in entry.coordinates]
    assert made.probabilities.tolist() == [float(p) for p in exact.problem.probabilities]
    assert made.logits().shape == made.gradient.shape


@pytest.mark.parametrize("document", [COIN, DIE], ids=["bernoulli", "categorical"])
def test_the_gradient_of_the_logits_is_the_exact_one_by_autograd(document):
    made = torch_oracle(document)
    logits = made.logits()
    if made.family == "bernoulli":
        objective = logits.sigmoid() * made.f(torch.ones(())).double() + (-logits).sigmoid() * made.f(torch.zeros(())).double()
    else:
        objective = logits.softmax(-1) @ made.f(torch.arange(3))
    objective.backward()
    made.check_gradient(logits.grad)
    assert float(objective.detach()) == pytest.approx(made.objective, rel=1e-14)


def test_a_product_has_the_logits_of_all_its_variables():
    law = {"family": "product", "factors": [BERNOULLI, DIE["law"]]}
    made = torch_oracle(COIN | {"law": law, "f": {"formula": "3*b1 + b1*b2 - b2**2"}})
    b = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    assert torch.equal(made.f(b), (3 * b[:, 0] + b[:, 0] * b[:, 1] - b[:, 1] ** 2).double())
    logits = made.logits()
    coin = torch.stack([-logits[0], logits[0]]).sigmoid()
    (torch.outer(coin, logits[1:].softmax(-1)).flatten() @ made.f(b)).backward()
    made.check_gradient(logits.grad)


def test_f_follows_shape_and_dtype_and_refuses_what_is_no_outcome():
    made = torch_oracle(DIE)
    assert made.f(torch.tensor([[0, 2]])).tolist() == [[1.0, 2.0]]
    assert made.f(torch.tensor([1.0])).dtype == torch.float32
    assert made.f(torch.tensor([1])).dtype == torch.float64
    for wrong in (torch.tensor([3]), torch.tensor([-1]), torch.tensor([0.5])):
        with pytest.raises(UsageError, match=r"outcomes of \[3\] values"):
            made.f(wrong)


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (None, "got None"),
        (0.25, r"got 0\.25"),
        (torch.zeros(2), r"got a tensor of shape \(2,\)"),
        (torch.zeros(3).double(), "worst in logit_"),
        (torch.full((3,), torch.nan), "actual  nan"),
    ],
)
def test_a_gradient_that_is_another_or_none_is_wrong(actual, message):
    with pytest.raises(WrongGradient, match=message):
        torch_oracle(DIE).check_gradient(actual)


def test_the_tolerance_follows_the_dtype_and_can_be_given():
    made = torch_oracle(DIE)
    near = made.gradient + 1e-7
    made.check_gradient(near.float())
    made.check_gradient(near, atol=2e-7)
    with pytest.raises(WrongGradient, match="logit_"):
        made.check_gradient(near)


def leave_one_out(made, scale=1.0):
    """Two samples of the die, each with the other's value as its baseline."""

    def sampler(count):
        p = made.probabilities
        b = torch.multinomial(p, 2 * count, replacement=True).reshape(count, 2)
        f, score = made.f(b), torch.eye(len(p), dtype=torch.float64)[b] - p
        return scale * ((f - f.flip(1))[..., None] * score).mean(1)

    return sampler


@pytest.mark.parametrize("seed", range(3))
def test_a_sampler_of_several_coordinates_is_judged(seed):
    made = torch_oracle(DIE)
    report = made.check_sampler(leave_one_out(made), "leave-one-out", bias=0.2, seed=seed)
    assert report.alpha == 1e-9
    with pytest.raises(RejectedSampler) as caught:
        made.check_sampler(leave_one_out(made, 0.5), "leave-one-out", bias=0.2, seed=seed)
    assert isinstance(caught.value.report, SequentialReport)
    assert caught.value.report.rejected


def test_an_estimate_without_variance_is_compared_and_not_refused():
    constant = torch_oracle(DIE | {"f": {"table": ["1/3", "1/3", "1/3"]}})
    with pytest.warns(VacuousCheckWarning, match="state another one"):
        constant.check_sampler(leave_one_out(constant), "leave-one-out")
    with pytest.raises(RejectedSampler):
        constant.check_sampler(lambda count: torch.full((count, 3), 1e-4), "leave-one-out")


def test_a_pass_that_zeros_would_share_is_reported():
    made = torch_oracle(DIE)
    with pytest.warns(VacuousCheckWarning, match="give bias="):
        made.check_sampler(leave_one_out(made), "leave-one-out", max_samples=50)
    with pytest.warns(VacuousCheckWarning, match="code that returns zeros passes"):
        torch_oracle(COIN | {"f": {"table": ["2", "2"]}}).check_gradient(torch.zeros(()))


@pytest.mark.parametrize(
    ("estimator", "stated", "message"),
    [
        (None, {}, "needs bounds"),
        ("rebar", {}, "no estimator 'rebar': it draws continuous noise.*it has score-function"),
        ("reinforce", {}, "no estimator 'reinforce': it has score-function"),
    ],
)
def test_a_sampler_is_not_tested_without_what_bounds_it(estimator, stated, message):
    made = torch_oracle(COIN)
    with pytest.raises(UsageError, match=message):
        made.check_sampler(lambda count: torch.zeros(count), estimator, **stated)


def test_a_sampler_of_a_biased_estimator_is_refused_by_name():
    made = torch_oracle(read_problem(PROBLEM).document)
    with pytest.raises(UsageError, match="'straight-through' is biased in this problem"):
        made.check_sampler(lambda count: torch.zeros(count), "straight-through")


def test_bounds_serve_where_the_code_is_no_estimator_of_the_catalogue():
    made = torch_oracle(COIN)
    bounds = (-1.0, 1.0)
    with pytest.raises(RejectedSampler, match="logit; its mean is another"):
        made.check_sampler(lambda count: torch.rand(count), bounds=bounds)


def test_a_file_with_a_negative_variance_contradicts_itself(tmp_path):
    document = oracle(problem_of(COIN)).to_json()
    negative = {"exact": "-1", "decimal": -1.0, "float64": "-0x1.0000000000000p+0"}
    document["estimators"][0]["coordinates"][0]["variance"] = negative
    path = tmp_path / "negative.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match=r"negative\.json': the moments of score-function contradict"):
        torch_oracle(path)


def test_a_check_is_recorded():
    found = []
    made = TorchOracle(torch_oracle(COIN).document, record=found.append)
    made.check_gradient(made.gradient)
    assert found == [None]


# The page about testing


def test_the_tests_of_the_page_do_what_it_says(pytester):
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    code = [text for kind, text in blocks if kind == "python" and not text.startswith(">>>")]
    problem = next(text for kind, text in blocks if kind == "json")
    pytester.makefile(".json", die=problem)
    pytester.makepyfile(test_page="\n\n".join(code))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1)
    shown = [line for kind, text in blocks if kind == "text" for line in text.splitlines()]
    assert len(shown) == 9
    assert [line for line in shown if line not in result.outlines] == []
