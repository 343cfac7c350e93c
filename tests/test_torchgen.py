"""The torch source is made from the formula alone: without torch, readable, and refused by name where it cannot be made."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction

import pytest

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.language.errors import UnknownNode, UsageError
from derive.language.term import FiniteLaw, RandomVariable, Score, Term
from derive.notation import E, constant, copies, finite, function, grad, normal, parameter, relaxation, score, uniform
from numeric.codegen.torchgen import emit, generate

THETA = parameter("theta")
B = finite("b", THETA)
F = function("f")
TARGET = grad(E(F(B), B), THETA)
FINITE = ("score-function", "constant-baseline", "control-variate", "rebar")


def mine(formula: Term, *draws: RandomVariable, **fields: str) -> Estimator:
    return Estimator(fields.pop("name", "mine"), formula, draws=draws or (B,), target=TARGET, **fields)


def test_neither_the_package_nor_the_generator_imports_torch():
    program = (
        "import sys, numeric; from derive.catalogue import catalogue; "
        "[numeric.emit(catalogue[n], f) for n in ('score-function', 'rebar') for f in ('bernoulli', 'categorical')]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", FINITE)
def test_the_source_of_a_finite_estimator_is_python_with_two_public_functions_and_short_lines(name, family):
    source = emit(catalogue[name], family)
    defined = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert defined[-2:] == ["draw", "estimate"]
    assert max(map(len, source.splitlines())) <= 128


def test_the_score_function_estimator_reads_as_it_would_be_written_by_hand():
    body = emit(catalogue["constant-baseline"]).split('(...)."""\n')[1]
    assert body == (
        '    b = noise["b"]\n'
        "    f_b = f(b)\n"
        "    p = torch.sigmoid(logits)\n"
        "    score_b = b - p\n"
        "    return (f_b - c)[..., None] * score_b\n"
    )


def test_autograd_is_asked_for_derivatives_of_the_users_function_and_of_nothing_else():
    for name in ("score-function", "constant-baseline", "control-variate"):
        assert "autograd" not in emit(catalogue[name])
    assert emit(catalogue["rebar"]).count("torch.autograd.grad(y, x") == 1


def test_free_symbols_become_keywords_with_documented_defaults_and_others_are_required():
    k, c = constant("k"), constant("c")
    generated = generate(mine((k * F(B) - c) * score(B)))
    assert generated.symbols == (("k", None), ("c", 0.0))
    assert generate(catalogue["rebar"]).symbols == (("eta", 1.0), ("lambda_", 0.5))


def test_the_objective_comes_first_among_the_functions_and_the_others_follow():
    assert generate(catalogue["control-variate"]).functions == ("f", "C")


def test_leave_one_out_with_its_copies_is_generated_from_its_tree():
    b = copies(B, 3)
    formula = sum((Fraction(1, 3) * (F(x) - sum(F(y) for y in b if y != x) / 2) * score(x) for x in b), start=0 * score(b[0]))
    generated = generate(mine(formula, *b))
    assert generated.noise == ("b_1", "b_2", "b_3")
    assert generated.source.count("at_once(f, b_1, b_2, b_3)") == 1


@pytest.mark.parametrize("name", ["x; import os", "a b", "2x", "__import__", "f[", "naïve", "x\ny"])
def test_a_name_that_is_no_plain_identifier_is_refused(name):
    with pytest.raises(UsageError, match="cannot become a name in generated code"):
        emit(mine(function(name)(B) * score(B)))
    with pytest.raises(UsageError, match="cannot become a name in generated code"):
        emit(mine((F(B) - constant(name)) * score(B)))
    other = finite(name, THETA)
    with pytest.raises(UsageError, match="cannot become a name in generated code"):
        emit(mine(F(other) * score(other), other))


def test_text_of_the_estimator_cannot_leave_the_docstring():
    evil = mine(F(B) * score(B), name='"""\nimport os\n"""', summary='\\"""; x = 1', source='"""')
    tree = ast.parse(emit(evil))
    assert {type(node).__name__ for node in tree.body} == {"Expr", "Import", "FunctionDef"}
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["bernoulli", "draw", "estimate"]


def test_names_that_python_or_the_generated_code_uses_get_an_underscore():
    source = emit(mine((F(B) - constant("lambda")) * score(B) - constant("torch") * score(B)))
    assert "lambda_=0.5" in source
    assert "torch_" in source


def test_a_node_that_the_generator_does_not_know_is_named():
    @dataclass(frozen=True)
    class Novel(Term):
        pass

    with pytest.raises(UnknownNode, match="Novel"):
        emit(_with_formula(Novel()))


def _with_formula(formula: Term) -> Estimator:
    """An estimator whose formula is outside the language; its own checks would not let it be made."""
    estimator = mine(F(B) * score(B))
    object.__setattr__(estimator, "formula", formula)
    return estimator


@pytest.mark.parametrize(
    ("make", "family", "message"),
    [
        (lambda: catalogue["pathwise"], "bernoulli", "runs in the normal family"),
        (lambda: catalogue["pathwise"], "categorical", "runs in the normal family"),
        (lambda: catalogue["rebar"], "normal", "has no threshold|has no latent"),
        (lambda: catalogue["control-variate"], "normal", "no finite set of outcomes"),
        (lambda: catalogue["score-function"], "poisson", "no family is called 'poisson'"),
        (lambda: mine(B * score(B)), "bernoulli", "uses b as a number"),
        (lambda: mine(grad(score(B) * F(B), THETA)), "bernoulli", "differentiates a score once more"),
        (lambda: mine(F(B) * Score(FiniteLaw("q", (THETA, parameter("phi"))), B, THETA)), "bernoulli", "uses the law q"),
        (lambda: mine(F(B) * score(B) * THETA), "normal", "has no value of its own"),
        (lambda: mine(F(B) * score(B), B, normal("e", THETA, 1)), "bernoulli", "runs in the normal family"),
    ],
)
def test_what_cannot_be_run_in_a_family_is_refused_with_the_reason(make, family, message):
    with pytest.raises(UsageError, match=message):
        emit(make(), family)


def test_noise_of_a_relaxation_must_be_uniform_on_the_unit_interval():
    r, u = relaxation(B), uniform("u", 0, 2)
    with pytest.raises(UsageError, match=r"uniform on \(0, 1\)"):
        emit(mine(F(r.H(r.h(u, THETA))) * score(B, at=r.H(r.h(u, THETA))), u))
