"""A typed derivation is read as it is printed, and every line of it is checked; what may be read in two ways is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from derive.catalogue import catalogue
from derive.cli.main import run
from derive.kernel import algebra
from derive.language.errors import UsageError
from derive.language.term import Apply, Function, RandomVariable, Symbol
from derive.notation import E, finite, function, normal, parameter
from derive.printing.text import render
from derive.proofs import rules
from derive.proofs.conversions import Rewrite
from derive.written.block import REWRITES, Written, WrongStep, check, check_page
from derive.written.grammar import declare, parse
from derive.written.page import Unreadable, blocks
from derive.written.setting import Setting, setting_of
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "examples" / "derivation.md"
DRAWN = ("b ~ p(b; theta)", "u ~ Uniform(0, 1)", "z ~ Normal(mu, s^2)", "a ~ q(a | b; phi)", "continuous x ~ r(x; theta)")


def setting():
    found = Setting()
    for line in DRAWN:
        declare(line, found)
    return found


# Reading what is printed


@pytest.mark.parametrize("name", catalogue)
def test_what_is_printed_is_read_as_what_it_was(name):
    estimator = catalogue[name]
    found = setting_of(estimator)
    for where in ((), estimator.where):
        found.names = dict(where)
        for term in (estimator.formula, estimator.target, estimator.expectation):
            read = parse(render(term, where), found)
            assert render(read, where) == render(term, where)
            assert read == term or algebra.equal(algebra.tidy(read), algebra.tidy(term))


@pytest.mark.parametrize(
    "text",
    [
        "d_theta log p(b; theta)", "d_theta (log p(b; theta))", "(d_theta p(b; theta)) * f(b)", "sum_b p(b; theta) * f(b)",
        "int_{0}^{1} f(u) du", "int r(x; theta) * f(x) dx", "E_{b,q(a | b; phi)}[f(a)]", "E_z[f(z)]", "c / x^2", "1/2",
        "-f(b) + c", "f(b) / (c * g(b))", "exp(c) + sigmoid(c) + sg(c) + log(c)", "q(a | b; phi)", "Normal(z; 0, 4)",
    ],
)  # fmt: skip
def test_each_form_is_read_as_it_is_printed(text):
    assert render(parse(text, setting())) == text


# Refusals


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("d_theta f(b) * g(b)", "brackets"),
        ("d_theta f(b)^2", "brackets"),
        ("log f(b)", "stands in front of a law"),
        ("log p(b; theta) * c", "brackets"),
        ("E_w[f(w)]", "'w' is not drawn"),
        ("sum_u f(u)", "is continuous"),
        ("int f(b) db", "is discrete"),
        ("int_{0}^{2} f(u) du", "limits are not those"),
        ("int f(u) du", "limits are not those"),
        ("p(b; phi)", "no law p"),
        ("p(b)", "no law p"),
        ("p(b, b; theta)", "one outcome"),
        ("Normal(z; 0, 2)", "written as a square"),
        ("E_{Normal(z; 0, 1)}[f(z)]", "law of a variable"),
        ("c^x", "expected an integer"),
        ("c^65", "expected an integer"),
        ("c + ", "expected"),
        ("c d", "expected the end"),
        ("c $ d", "expected the end"),
        ("(" * 61 + "c" + ")" * 61, "nested"),
        ("c" * 20_001, "at most"),
        ("__import__('os')", "expected"),
        ("d_theta (theta² * c)", "typed in ASCII"),
        ("d_theta (thetа * c)", "typed in ASCII"),
        ("θ * c", "typed in ASCII"),
        ("c^٢", "typed in ASCII"),
        ("d_theta " * 200 + "f(c)", "nested"),
        ("sum_b " * 200 + "f(b)", "nested"),
        ("d_theta E(f(b))", "'E' is no name of a function"),
        ("d_theta E_b(f(b))", "'E_b' is no name of a function"),
        ("grad_theta(f(b))", "is no name of a function"),
        ("exp(c, c)", "'exp' is no name"),
        ("sigmoid + c", "'sigmoid' is no name"),
        ("d_u f(u)", "'u' stands for a variable and for a constant"),
        ("b(c)", "'b' stands for a variable and for a function"),
        ("d_theta (f * f(b))", "'f' stands for a constant and for a function"),
        ("p * f(b)", "'p' stands for a law and for a constant"),
    ],
)
def test_what_is_no_formula_or_two_is_refused(text, why):
    with pytest.raises(UsageError, match=why):
        parse(text, setting())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("b ~ q(b; theta)", "drawn from two laws"),
        ("c ~ p(c; theta)", "call one of them q"),
        ("c ~ s(d; theta)", "expected 'c'"),
        ("c ~ s(c; 2)", "are symbols"),
        ("c ~ Normal(0)", "two parameters"),
        ("c = 2", "expected how a variable is drawn"),
        ("c ~ s(c; theta) f", "expected the end"),
        ("c ~ t(c; c)", "'c' stands for a constant and for a variable"),
        ("c ~ t(c | c; theta)", "'c' stands for a constant and for a variable"),
        ("theta ~ Normal(0, 1)", "'theta' stands for a constant and for a variable"),
        ("c ~ log(c; theta)", "'log' is no name of a law"),
        ("E_b ~ t(E_b; theta)", "'E_b' is no name of a variable"),
        ("² ~ t(²; theta)", "typed in ASCII"),
    ],
)
def test_what_declares_nothing_or_two_things_is_refused(line, why):
    with pytest.raises(UsageError, match=why):
        declare(line, setting())


def test_copies_share_their_law():
    found = setting()
    declare("b_1 ~ p(b_1; theta)", found)
    declare("b_2 ~ p(b_2; theta)", found)
    assert found.variables["b_1"].law == found.variables["b_2"].law


def test_a_name_for_two_functions_is_refused_where_a_setting_is_read_off():
    b = finite("b", parameter("theta"))
    double = Apply(Function("f", differentiable=True), (b,)) + function("f")(b)
    from derive.estimator import Estimator
    from derive.notation import grad

    with pytest.raises(UsageError, match="two functions"):
        setting_of(Estimator("mine", double, draws=(b,), target=grad(E(double, b), parameter("theta"))))


# Checking


def test_the_example_stands():
    found = list(check_page(PAGE.read_text(encoding="utf-8")))
    assert [type(one) for one in found] == [Written, Written]
    assert [len(one.lines) for one in found] == [5, 4]
    assert {premise.name for premise in found[0].assumptions} == {"Differentiable"}


def test_every_rewrite_can_be_named():
    assert {value.name for value in vars(rules).values() if isinstance(value, Rewrite)} == set(REWRITES)


LINES = PAGE.read_text(encoding="utf-8").splitlines()
FIRST = LINES.index("```derivation") + 2  # the number of the first line of the first block
BLOCK = LINES[FIRST - 1 : LINES.index("```", FIRST)]


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        (4, "= sum_b p(b; theta) * f(b)                      by expectation"),
        (5, "= sum_b (d_theta p(b; theta)) * f(b) * 2        by leibniz"),
        (6, "= sum_b (d_theta log p(b; theta)) * f(b)        by log derivative"),
        (7, "= E_b[f(b) * d_theta log p(b; theta)]           by leibniz"),
    ],
)
def test_a_wrong_step_is_named_by_its_line(line, typed):
    wrong = [*BLOCK[: line - 1], typed, *BLOCK[line:]]
    with pytest.raises(WrongStep) as refused:
        check(wrong, FIRST)
    assert refused.value.line == FIRST + line - 1


def test_a_premise_that_fails_is_said():
    moving = ["u ~ Uniform(0, theta)", "d_theta int_{0}^{theta} f(u) du", "= int_{0}^{theta} d_theta f(u) du by leibniz"]
    with pytest.raises(WrongStep, match="SupportFixed fails"):
        check(moving)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["b ~ p(b; theta)", "E_b[f(b)]"], "at least one step"),
        (["= E_b[f(b)] by algebra"], "stands alone"),
        (["f(c)", "= f(c)"], "expected '= ... by rule'"),
        (["f(c)", "= f(c) by magic"], "no rule"),
        (["f(c)", "= f(c) by algebra with c"], "is not drawn"),
        (["c ~ p(c; theta)", "f(c)", "= f(c) by algebra with c"], "no rule that takes 1"),
        (["f(c)", "= f(c) by reparameterization"], "written with 1 of the variables"),
        (["f(c)", "= f(c) by reparameterization with e"], "is not drawn"),
        (["estimator no-such", "f(c)", "= f(c) by algebra"], "no estimator is called"),
        (["b ~ q(b; phi)", "estimator score-function", "f(c)", "= f(c) by algebra"], "stands once, in front"),
        (["estimator rebar", "estimator score-function", "f(c)", "= f(c) by algebra"], "stands once, in front"),
        (["estimator pathwise", "sigma ~ Normal(0, 1)", "f(c)", "= f(c) by algebra"], "a function and for a variable"),
        (["b ~ p(b; t)", "a ~ q(a | b; t)", "E_b[E_a[f(a)]]", "= E_a[E_b[f(a)]] by exchange"], "bound inside the scope"),
        (["((a + b)^64)^64", "= a by algebra"], "feasible"),
    ],
)
def test_what_is_no_derivation_cannot_be_read(lines, why):
    with pytest.raises(Unreadable, match=why):
        check(lines)


@pytest.mark.parametrize("other", ["0 - x", "y * 3 - 3 * y - 2 * x / 2"])
def test_what_assumes_a_thing_and_its_opposite_to_be_positive_does_not_hold(other):
    """Nothing is both, so that exp(log(x)) + exp(log(-x)) = 0 would hold of nothing."""
    with pytest.raises(WrongStep, match="assumes both"):
        check([f"exp(log(x)) + exp(log({other}))", "= 0 by algebra"])
    assert len(check([f"exp(log(x)) + exp(log(c - ({other})))", f"= x + c - ({other}) by algebra"]).lines) == 2


def test_a_rule_takes_its_variables():
    drawn = ["z ~ Normal(mu, s^2)", "epsilon ~ Normal(0, 1)", "E_{Normal(z; mu, s^2)}[f(z)]"]
    found = check([*drawn, "= E_epsilon[f(mu + s * epsilon)] by reparameterization with epsilon"])
    assert len(found.lines) == 2
    with pytest.raises(WrongStep):
        check([*drawn, "= E_epsilon[f(mu + epsilon)] by reparameterization with epsilon"])


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["2 * E_b[f(b)]", "= E_b[2 * f(b)] by linearity"], "begin with the target"),
        (["d_theta E_b[f(b)]", "= E_b[f(b) * d_theta log p(b; theta)] by score function"], "end with the mean"),
    ],
)
def test_a_derivation_of_an_estimator_leads_from_its_target_to_its_mean(lines, why):
    with pytest.raises(WrongStep, match=why):
        check(["estimator constant-baseline", *lines])


# Pages


def test_an_example_inside_another_block_is_no_derivation():
    assert list(blocks("````markdown\n```derivation\na\n```\n````\n")) == []


def test_a_block_of_a_directive_is_one():
    assert list(blocks("```{derivation}\na\n```\n")) == [(2, ["a"])]


def test_a_block_that_is_not_closed_is_seen():
    [found] = check_page("```derivation\na\n")
    assert (type(found), found.line) == (Unreadable, 1)


@pytest.mark.parametrize(
    ("page", "status", "said"),
    [
        ("```derivation\na * 2\n= 2 * a by algebra\n```\n", 0, "page.md:2: holds, 1 steps"),
        ("```derivation\na * 2\n= 3 * a by algebra\n```\n", 1, "page.md:3: does not hold"),
        ("```derivation\na * 2\n= 3 * by algebra\n```\n", 2, "page.md:3: cannot be read"),
        ("```derivation\nsg(a)\n= a by value of stop\n```\n", 0, "page.md:2: holds in value only, 1 steps"),
        ("text\n", 2, "nothing was checked"),
    ],
)
def test_the_command_answers_with_its_status(tmp_path, capsys, monkeypatch, page, status, said):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(page, encoding="utf-8")
    assert run(app, ["check", "page.md"]) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_a_page_that_is_not_there_is_bad_input(capsys):
    assert run(app, ["check", "no/such/page.md"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_names_that_are_not_declared_are_symbols_and_functions():
    read = parse("g(c)", Setting())
    assert read == function("g")(Symbol("c"))
    assert isinstance(parse("b", setting()), RandomVariable)
    assert parse("E_z[z]", setting()) == E(normal("z", Symbol("mu"), Symbol("s")), normal("z", Symbol("mu"), Symbol("s")))
