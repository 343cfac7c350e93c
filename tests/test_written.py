"""A typed derivation is read as it is printed, and every line of it is checked; what may be read in two ways is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from derive.catalogue import catalogue
from derive.cli.main import run
from derive.kernel import algebra
from derive.language.errors import RuleError, UsageError
from derive.language.term import Apply, Function, RandomVariable, Symbol
from derive.notation import E, continuous, finite, function, grad, normal, p, parameter, relaxation, score, uniform
from derive.printing.text import premises, render
from derive.proofs import rules
from derive.proofs.calc import calc
from derive.proofs.conversions import Rewrite
from derive.written.block import REWRITES, Written, WrongStep, check, check_page
from derive.written.grammar import declare, parse
from derive.written.page import Unreadable, blocks
from derive.written.setting import Setting, setting_of
from derive.written.writing import block
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
    assert [type(one) for one in found] == [Written, Written, Written]
    assert [len(one.lines) for one in found] == [5, 4, 2]
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
        (["exp(1 - 10^40)", "= a by algebra"], "feasible"),
        ([f"1 / {'(' * 11}x{'^64)' * 11}", "= a by algebra"], "feasible"),
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


def logs(*terms):
    return [" + ".join(f"exp(log({term}))" for term in terms), f"= {' + '.join(f'({term})' for term in terms)} by algebra"]


@pytest.mark.parametrize(
    "terms", [("x", "y", "-x - y"), ("x - 1", "y - x", "-y"), ("x", "y", "z", "-x - y - z - c^2"), ("x - y", "y - x - 1")]
)
def test_what_assumes_of_several_things_that_they_are_positive_though_no_values_make_them_so_does_not_hold(terms):
    with pytest.raises(WrongStep, match="no value makes"):
        check(logs(*terms))
    assert len(check(logs(*terms[1:])).lines) == 2
    assert len(check(logs(*terms[:-1], f"{terms[-1]} + c")).lines) == 2


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


# What is known of functions, and what a step needs


def test_what_is_known_of_functions_is_declared():
    found = setting()
    for line in ("differentiable f, g", "not differentiable k", "relaxation of b"):
        declare(line, found)
    assert [found.functions[name].differentiable for name in ("f", "g", "k")] == [True, True, False]
    maps = relaxation(found.variables["b"])
    assert parse("H(h(u, theta))", found) == maps.H(maps.h(found.variables["u"], Symbol("theta")))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["differentiable f", "not differentiable f"], "f is declared twice"),
        (["relaxation of b", "differentiable h"], "h is declared twice"),
        (["v ~ Normal(m(c), 1)", "differentiable m"], "m is declared twice"),
        (["relaxation of w"], "'w' is not drawn"),
        (["relaxation of z"], "only a variable with a finite law"),
        (["differentiable b"], "'b' stands for a variable and for a function"),
        (["differentiable log"], "'log' is no name of a function"),
        (["differentiable"], "expected how a variable is drawn"),
        (["not f"], "expected how a variable is drawn"),
        (["not not differentiable f"], "expected how a variable is drawn"),
        (["differentiable f g"], "expected how a variable is drawn"),
    ],
)
def test_what_is_said_twice_or_of_no_function_is_refused(lines, why):
    *before, last = lines
    found = setting()
    for line in before:
        declare(line, found)
    with pytest.raises(UsageError, match=why):
        declare(last, found)


MOVES = ["u ~ Uniform(0, 1)", "d_theta E_u[f(u + theta)]", "= E_u[d_theta f(u + theta)] by pathwise"]


def test_a_function_that_is_declared_as_not_differentiable_is_not_differentiated():
    assert "Differentiable" in {premise.name for premise in check(MOVES).assumptions}
    assert "Differentiable" not in {premise.name for premise in check(["differentiable f", *MOVES]).assumptions}
    with pytest.raises(WrongStep, match="declared as not differentiable"):
        check(["not differentiable f", *MOVES])


def test_what_a_step_needs_is_said_in_any_order_with_or_without_its_words():
    needed = [f"needs {condition}" for condition in premises(check(MOVES).assumptions)]
    broken = [part for line in needed for part in line.replace(", ", ",\n").splitlines()]
    for said in (needed, needed[::-1], [line.partition(":")[0] for line in needed], broken):
        assert len(check([*MOVES, *said]).lines) == 2


@pytest.mark.parametrize(
    ("typed", "line", "why"),
    [
        ([*MOVES, "needs SupportFixed(u, theta)"], 4, "does not need SupportFixed"),
        ([*MOVES, "needs Differentiable(f(theta + u), theta): it is not"], 4, "does not need"),
        ([*MOVES, "needs Differentiable(f(theta + u), phi)"], 4, "does not need"),
        ([*MOVES, "needs nothing"], 4, "does not need nothing"),
        ([*MOVES, "= E_u[d_theta f(u + theta)] + 0 by algebra", "needs NonZero(c)"], 3, "which the block does not say"),
    ],
)
def test_a_step_that_needs_less_or_more_than_is_said_does_not_hold(typed, line, why):
    with pytest.raises(WrongStep, match=why) as refused:
        check(typed)
    assert refused.value.line == line


def test_a_premise_is_said_where_it_is_first_needed():
    needed = [f"needs {condition}" for condition in premises(check(MOVES).assumptions)]
    again = "= E_u[d_theta f(u + theta)] + d_theta E_u[f(u + theta)] - E_u[d_theta f(u + theta)] by pathwise"
    assert len(check([*MOVES, *needed, again]).lines) == 3
    with pytest.raises(WrongStep, match="first to need is nothing"):
        check([*MOVES, *needed, again, needed[0]])


@pytest.mark.parametrize("lines", [["needs NonZero(c)"], ["f(c)", "needs NonZero(c)", "= f(c) by algebra"]])
def test_what_is_needed_stands_below_a_step(lines):
    with pytest.raises(Unreadable, match="stands below the step"):
        check(lines)


# Writing


theta, f = parameter("theta"), function("f")
b, epsilon = finite("b", theta), normal("epsilon")
z = normal("z", theta, 2)
x, q, relaxed = finite("x", theta, law="q"), finite("a", parameter("phi"), law="q", given=(b,)), relaxation(b)
u, v = uniform("u"), uniform("v")
hard = relaxed.H(relaxed.h(u, theta))
c, LONG = Symbol("c"), sum((f(b, theta, Symbol(f"x{i}")) for i in range(30)), f(b))
CHAINS = {
    "score function": (grad(E(f(b), b), theta), (rules.score_function_estimator, E(f(b) * score(b), b))),
    "another name": (E(f(z), z), (rules.reparameterization(epsilon), E(f(theta + 2 * epsilon), epsilon))),
    "another law": (E(f(b), b), (rules.change_of_law(x), E(p(b, at=x) / p(x) * f(x), x))),
    "a condition": (E(2 * f(q), b, q), (rules.linearity, 2 * E(f(q), b, q))),
    "a law without a variable": (2 * f(hard), (rules.algebra, f(hard) + f(hard))),
    "a score elsewhere": (score(b, at=c) * 2, (rules.algebra, score(b, at=c) + score(b, at=c))),
    "relaxed": (grad(E(f(hard), u), theta), (rules.conditional_reparameterization(b, v), grad(E(f(b), b), theta))),
    "nothing": (E(f(b), b), (rules.algebra, E(f(b), b))),
    "long": (LONG, (rules.algebra, LONG * 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_a_derivation_is_written_as_a_block_that_says_the_same(name):
    start, *steps = CHAINS[name]
    derived, written = calc(start, *steps), block(start, *steps)
    read = check(written)
    assert [line.rule for line in read.lines] == [line.rule for line in derived.lines]
    assert premises(read.assumptions) == premises(derived.theorem.assumptions)
    assert sum("needs " in line for line in written) == len(read.assumptions)
    assert max(map(len, written)) <= 104


def double(name):
    return Function(name)(theta) + Function(name, differentiable=True)(theta)


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (double("f"), "declared twice|says something else|is refused"),
        (f(Symbol("a + b")), "is refused"),
        (Symbol("log") * 2, "is refused"),
        (E(f(continuous("y", theta, normalised=False)), continuous("y", theta, normalised=False)), "says something else"),
    ],
)
def test_what_the_notation_cannot_say_is_no_block(start, why):
    with pytest.raises(UsageError, match=why):
        block(start, (rules.algebra, start * 1))


def test_what_does_not_hold_is_no_block():
    with pytest.raises(RuleError, match="does not lead"):
        block(f(theta), (rules.algebra, 2 * f(theta)))
