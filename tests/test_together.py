"""What a compiled estimator runs at once is what its generated module says in two functions, to the last bit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch

from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from derive.language.errors import GradproofError, UsageError
from derive.language.estimator import Estimator
from derive.notation import E, constant, copies, finite, function, grad, parameter, score
from numeric.checking.cases import Case
from numeric.checking.crosscheck import crosscheck
from numeric.codegen import torchrun
from numeric.codegen.families import FAMILIES
from numeric.codegen.running.together import NAME, together
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import Compiled, compile

HEAD = "def draw(logits, generator=None, sample_shape=()):\n    {}\n    return {{'b': b}}\n"
ESTIMATE = "def estimate(logits, noise, f):\n    b = noise['b']\n    {}\n"


def module(draw: str, *estimate: str) -> str:
    return HEAD.format(draw) + ESTIMATE.format("\n    ".join(estimate))


def equal(found, expected) -> bool:
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(equal(found[key], expected[key]) for key in found)
    return torch.equal(found, expected)


def settings(name: str) -> Iterator[tuple[Case, Compiled]]:
    """An estimator in every family in which it has code."""
    for family in FAMILIES:
        with suppress(GradproofError):
            yield Case(catalogue[name], family, "cpu", None), compile(catalogue[name], family)


@pytest.mark.parametrize("name", catalogue)
@pytest.mark.parametrize("count", [1, 6000])
def test_an_estimate_of_a_call_is_that_of_draw_and_estimate(name, count):
    found = list(settings(name))
    assert found
    for case, compiled in found:
        require_same(case, compiled, count)


def require_same(case: Case, compiled: Compiled, count: int) -> None:
    params, given, drawn_with = case.shaped(case.parameters(0)), case.keywords(0), case.drawn_with(0)
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    noise = compiled.draw(params, first, (count,), **drawn_with)
    expected = compiled.estimate(params, noise, *case.objective, **given)
    with torch.no_grad():
        drawn, found = compiled._sampled(
            params, *case.objective, generator=second, sample_shape=(count,), **drawn_with | given
        )
    assert equal(found, expected)
    assert equal(drawn, noise)
    assert torch.equal(first.get_state(), second.get_state())


def test_a_crosscheck_sees_a_call_that_is_not_what_the_module_says(monkeypatch):
    monkeypatch.setattr(torchrun, "together", lambda source: together(source).replace("b - p", "b - 1.01 * p"))
    report = crosscheck(catalogue["score-function"], samples=1000)
    assert not report.agrees
    assert "a batch differs" in str(report)


def test_what_both_compute_is_computed_once():
    source = emit(leave_one_out(4))
    assert source.count("torch.sigmoid(logits)") == 2
    assert together(source).count("torch.sigmoid(logits)") == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("p = torch.sigmoid(logits)", "p = p + 1", "return f(b) * p"),
        ("p = 2", "logits = logits * p", "q = torch.sigmoid(logits)", "return f(b) * q"),
        ("p, q = torch.sigmoid(logits)", "return p * q"),
    ],
)
def test_what_changes_in_between_is_computed_where_it_stands(lines):
    text = together(module("b = draws(torch.sigmoid(logits))", *lines))
    assert text.count("torch.sigmoid(logits)") == 2
    (own,) = (line for line in lines if "sigmoid" in line)
    assert text.index("draws") < text.index(own)


def test_a_name_is_forgotten_after_its_last_use_and_not_before():
    text = together(emit(catalogue["rebar"]))
    lines = text.splitlines()
    for number, line in enumerate(lines):
        for name in re.findall(r"\w+", line.removeprefix("    del ")) if line.startswith("    del ") else []:
            later = [text for text in lines[number + 1 :] if re.search(rf"\b{name}\b", text)]
            assert all(f"{name} = " in text for text in later)
    assert "del log_1_v, log_v" in text
    assert "del noise" not in text


def test_what_a_function_inside_or_a_comprehension_uses_is_not_forgotten():
    inside = ("a = 2 * b", "def g(x):\n        return x * a", "c = f(g)", "d = [k for k in c]", "return d * 3")
    text = together(module("b = draws(logits)", *inside))
    assert "del c, d" not in text
    assert not re.search(r"del .*\b[akx]\b", text)


@pytest.mark.parametrize("last", ["return s * f(s)", "return (lambda t: t * t)(f(s))"])
def test_only_what_is_used_once_moves_into_the_result(last):
    twice = together(module("b = draws(logits)", "s = b - logits", last))
    assert ("s = b - logits" in twice) is (last.count("(s)") + last.count("s *") > 1)
    called = together(module("b = draws(logits)", "s = f(b) - logits", "t = f(logits)", "return s * t"))
    assert called.index("f(b)") < called.index("f(logits)")


def test_the_result_is_one_function_that_python_compiles_and_at_most_a_helper():
    for name in catalogue:
        *helpers, function = ast.parse(together(emit(catalogue[name]))).body
        assert function.name == NAME
        assert [helper.name for helper in helpers] in ([], ["scaled"])


@pytest.mark.parametrize(("old", "new"), [("'b_1': b_1", "'b_1': b_2"), ("noise['b_1']", "noise['b_3']")])
def test_samples_are_one_tensor_from_the_start_only_where_each_is_given_and_taken_by_its_own_name(old, new):
    source = ast.unparse(ast.parse(emit(leave_one_out(3))))
    assert "torch.stack" not in together(source)
    assert source.count(old) == 1
    assert "torch.stack((b_1, b_2, b_3))" in together(source.replace(old, new))


def test_a_module_that_returns_nothing_is_refused():
    with pytest.raises(ValueError, match="must return something"):
        together(module("b = draws(logits)", "s = b - logits"))


def test_what_stands_in_both_stands_once_unless_something_changes_it():
    text = together(emit(catalogue["pathwise"]))
    assert text.count("torch.exp(log_scale)") == text.count("params['log_scale']") == 1
    lines = ("a = 2 * logits", "c = 3 * a")
    body = "b = draws(logits)\n    " + "\n    ".join(lines)
    assert together(module(body, *lines, "return f(b) * c")).count("2 * logits") == 1
    for between in ("a = 5", "logits = 5", "c = 7"):
        text = together(module(body, between, *lines, "return f(b) * c * a"))
        assert text.count("3 * a") == 2


def test_draws_are_parted_without_a_tensor_of_all():
    assert "map(torch.Tensor.contiguous, drawn.unbind(-2))" in together(emit(catalogue["rebar"]))
    assert "torch.stack(b.unbind(-2))" in together(module("b = draws(logits)", "a = torch.stack(b.unbind(-2))", "return a * a"))


def test_a_threshold_in_place_is_that_by_way_of_booleans():
    assert "z.clone().ge_(0)" in together(emit(catalogue["rebar"]))
    z = torch.tensor([-1.0, -0.0, 0.0, 2.0, torch.nan, torch.inf])
    assert torch.equal(z.clone().ge_(0), (z >= 0).to(z.dtype))


@pytest.mark.parametrize("name", ["score-function", "leave-one-out", "policy-surrogate", "rebar"])
@pytest.mark.parametrize("samples", [1, 20_000])
def test_a_function_that_changes_its_argument_is_refused(name, samples):
    """The scores read the outcomes too, before or after it, and of few numbers it is given a copy of them."""
    called, gently = compile(catalogue[name]), [True]

    def halves(b):
        value = b.sum(-1)
        if not gently:
            b.detach().mul_(0.5)
        return value

    called(torch.zeros(2), halves, samples=samples)
    gently.clear()
    with pytest.raises(UsageError, match="changes its argument in place"):  # what was checked in the last call is not again
        called(torch.zeros(2), halves, samples=samples)
    with pytest.raises(UsageError, match="changes its argument in place"):
        compile(catalogue[name])(torch.zeros(2), halves, samples=samples)


def test_a_constant_may_be_called_as_what_the_text_calls():
    theta, odd, f = parameter("theta"), constant("map"), function("f")
    b = finite("b", theta)
    one, two = copies(b, 2)
    mine = Estimator("mine", odd * (f(one) * score(one) + f(two) * score(two)) / 2, (one, two), grad(odd * E(f(b), b), theta))
    called = compile(mine)
    assert called(torch.zeros(2), lambda b: b.sum(-1), samples=3, map_=2.0).shape == (2,)
