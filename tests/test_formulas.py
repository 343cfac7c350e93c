"""Claim: what is no formula is refused where it is written, and the message says what was expected."""

import numbers
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
import sympy

import derive
from derive.cli.main import app, run
from derive.exact import comparison
from derive.language.errors import GradproofError, NotATerm, NotExact, ScopeError, UsageError
from derive.language.estimator import Estimator
from derive.language.expected import refuse_shared_defaults
from derive.language.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    finite,
    function,
    grad,
    normal,
    p,
    parameter,
    relaxation,
    score,
    stop,
    uniform,
)
from derive.language.term import Number, Power, lift

theta, phi, x, c = parameter("theta"), parameter("phi"), parameter("x"), constant("c")
b, z, u, v = finite("b", theta), normal("z", theta, 1), uniform("u"), uniform("v")
b1, b2 = copies(b, 2)
f, g, h = function("f"), function("g"), function("h")
r = relaxation(b)
target = grad(E(f(b), b), theta)


# Exact numbers


@pytest.mark.parametrize("two", [2, Fraction(2), numpy.int64(2), numpy.uint8(2), sympy.Integer(2), sympy.Rational(2)])
def test_exact_numbers_of_other_libraries_are_taken_on_both_sides(two):
    assert isinstance(two, numbers.Rational)
    for term in (f(b) * two, f(b) + two, f(b) - two, f(b) / two, f(two), Number(two)):
        assert "Fraction(" in repr(term)
    assert two * f(b) == 2 * f(b)
    assert two + f(b) == 2 + f(b)
    assert two - f(b) == 2 - f(b)
    assert two / f(b) == 2 / f(b)
    assert f(b) ** two == f(b) ** 2 == Power(f(b), two)
    assert type(Number(two).value) is Fraction
    assert len(copies(b, two)) == 2


@pytest.mark.parametrize(
    "inexact",
    [0.5, numpy.float64(2), numpy.float32(2), Decimal("0.5"), 1j, float("nan"), sympy.Float(2), sympy.nan, sympy.oo],
)
def test_inexact_numbers_are_refused_wherever_a_term_is_expected(inexact):
    uses = (
        lambda: f(b) * inexact,
        lambda: lift(inexact * f(b)),  # SymPy's nan swallows what it is multiplied with
        lambda: lift(inexact + f(b)),
        lambda: f(inexact),
        lambda: Number(inexact),
        lambda: E(inexact, b),
        lambda: normal("y", inexact, 1),
        lambda: uniform("y", 0, inexact),
        lambda: f(b) ** inexact,
        lambda: p(b, at=inexact),
        lambda: Estimator("mine", inexact, (b,), target),
    )
    for use in uses:
        with pytest.raises(NotExact):
            use()


def test_zero_in_a_sum_is_only_the_integer_with_which_sums_start():
    assert sum([f(b), c]) == f(b) + c
    for zero in (0.0, False, numpy.float64(0)):
        with pytest.raises(NotExact):
            zero + f(b)


def test_a_fraction_that_is_no_integer_is_no_exponent():
    with pytest.raises(NotExact, match="powers are integers"):
        x ** Fraction(1, 2)


# Comparisons


comparisons = [b == 1, b == x, b == b1, f(b1) == f(b2), f(b1) == f(b1), b != 1, b != x, numpy.int64(1) == b, b == 0.5]


@pytest.mark.parametrize("compared", comparisons)
def test_a_comparison_is_no_number_in_a_formula(compared):
    uses = (
        lambda: f(b) * compared,
        lambda: compared * f(b),
        lambda: (1 - compared) * f(b),
        lambda: Fraction(1, 2) * compared,
        lambda: compared + compared,
        lambda: -compared,
        lambda: sum([compared]),
        lambda: f(compared),
        lambda: E(compared, b),
        lambda: Estimator("mine", compared, (b,), target),
    )
    for use in uses:
        with pytest.raises(NotATerm, match="indicator as a function"):
            use()
        with pytest.raises(TypeError):
            use()


def test_a_comparison_still_answers_python():
    assert f(b1) == f(b1)
    assert f(b1) != f(b2)
    assert (f(b1) == f(b2)) == (x == c)
    assert b != 1
    assert {f(b): 1}[f(b)] == 1
    assert len({f(b) == x, False}) == 1
    assert f(b) != "f(b)"


@pytest.mark.parametrize("wrong", [True, False, numpy.bool_(1), "theta", None, (b, x), [b], f, numpy.array([1, 2])])
def test_what_is_no_term_is_refused_as_an_operand(wrong):
    uses = (lambda: score(b) * wrong, lambda: score(b) + wrong, lambda: E(wrong, b), lambda: f(wrong), lambda: Number(wrong))
    for use in uses:
        with pytest.raises(NotATerm, match="formulas are exact"):
            use()


# Arguments of the notation


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda: grad(x, "theta"), r"differentiates by a parameter, .* got 'theta'"),
        (lambda: grad(f(b), b), "got the random variable b"),
        (lambda: grad(f(x), 2 * theta), "of type Mul"),
        (lambda: grad(f(x), None), "of type NoneType"),
        (lambda: score(b, "theta"), "differentiates by a parameter"),
        (lambda: score(b, b), "got the random variable b"),
        (lambda: score(f(b)), "of type Apply"),
        (lambda: score("b"), "takes a random variable"),
        (lambda: p("b"), "takes a random variable"),
        (lambda: p(f(b)), "of type Apply"),
        (lambda: Over(f(b), "b"), "takes a random variable"),
        (lambda: Over(f(b), (b,)), "takes a random variable"),
        (lambda: E(x, (b, z)), "takes a random variable"),
        (lambda: E(f(b), "b"), "takes a random variable"),
        (lambda: E(f(x), theta), "of type Symbol"),
        (lambda: copies("b", 2), "takes a random variable"),
        (lambda: relaxation("b"), "takes a random variable"),
        (lambda: finite("b", "theta"), "takes parameters"),
        (lambda: finite("b", 1), "takes parameters"),
        (lambda: finite("a", b), r"got the random variable b. A condition is written given"),
        (lambda: continuous("t", "theta"), "takes parameters"),
        (lambda: finite("a", theta, given=b), r"a tuple, such as given=\(b,\)"),
        (lambda: finite("a", theta, given="b"), "a tuple"),
        (lambda: finite("a", theta, given=("b",)), "expected a term"),
        (lambda: normal("z", "theta", 1), "expected a term"),
        (lambda: normal("z", f, 1), "applied to its arguments"),
        (lambda: stop(f), "applied to its arguments"),
        (lambda: Estimator("mine", f, (b,), target), "applied to its arguments"),
        (lambda: Estimator("mine", f(b), b, target), r"a tuple of random variables, .* got the random variable b"),
        (lambda: Estimator("mine", f(b), "b", target), "a tuple of random variables"),
        (lambda: Estimator("mine", f(b), ("b",), target), "takes a random variable"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_with_what_was_expected(use, expected):
    with pytest.raises(NotATerm, match=expected):
        use()


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda: r.h(u), r"takes h\(u, theta\); got 1"),
        (lambda: r.h(u, theta, x), "got 3"),
        (lambda: r.H(r.h(u, theta), theta), r"takes H\(z\)"),
        (lambda: r.h_tilde(v, theta), r"takes h_tilde\(v, b, theta\)"),
        (lambda: r.sigma(r.h(u, theta)), r"takes sigma\(z, lambda\)"),
        (lambda: copies(b, 0), "at least 1"),
        (lambda: copies(b, True), "whole number"),
        (lambda: copies(b, 2.0), "whole number"),
        (lambda: copies(b, "2"), "whole number"),
        (lambda: relaxation(z), "finite law"),
        (lambda: Estimator("mine", f(b), (b,), E(f(b), b)), "must be a gradient"),
        (lambda: Estimator("", f(b), (b,), target), "not empty"),
    ],
)
def test_a_wrong_number_of_arguments_is_refused_with_what_was_expected(use, expected):
    with pytest.raises(UsageError, match=expected):
        use()


@pytest.mark.parametrize("name", ["", " ", None, 3, b"x", ("x",), theta])
def test_a_name_is_a_string_that_is_not_empty(name):
    makers = (parameter, constant, function, finite, continuous, uniform, normal)
    for make in makers:
        with pytest.raises(UsageError, match="a string that is not empty"):
            make(name)
    for make in (finite, continuous):
        if name is not None:  # the law's name may be left out
            with pytest.raises(UsageError, match="the name of a law"):
                make("b", theta, law=name)


def test_a_score_without_a_parameter_says_that_the_law_has_none():
    with pytest.raises(ScopeError, match="names no parameters"):
        score(finite("a", law="mu"))
    with pytest.raises(ScopeError, match="names 2 parameters"):
        score(finite("a", theta, phi))


# The order of draws

a = finite("a", theta, law="q", given=(b,))
y = normal("y", b, 1)


moved = [normal("y", 0, f(b)), uniform("y", 0, b), uniform("y", b, 5), normal("y", E(g(x), u) + b, 1)]


@pytest.mark.parametrize("later", [a, y, *moved])
def test_a_law_may_use_only_what_is_drawn_before_it(later):
    Estimator("mine", h(b, later), (b, later), grad(E(h(b, later), b, later), theta))
    with pytest.raises(ScopeError, match=f"law of {later.name} depends on b, drawn after it"):
        Estimator("mine", h(b, later), (later, b), target)
    with pytest.raises(ScopeError, match=f"law of {later.name} of 'mine' uses b, which is not drawn"):
        Estimator("mine", h(later, later), (later,), target)
    with pytest.raises(ScopeError, match="depends on b, drawn after it"):
        E(h(b, later), later, b)


def test_a_target_may_use_only_what_it_binds():
    with pytest.raises(ScopeError, match="target of 'mine' uses b"):
        Estimator("mine", h(b, a), (b, a), grad(E(h(a, a), a), theta))


def test_a_variable_is_drawn_once():
    for twice in ((b, b), (b, normal("b", theta, 1))):
        with pytest.raises(ScopeError, match=r"draws b twice: independent copies are copies\(b, 2\)"):
            Estimator("mine", f(b), twice, target)
        with pytest.raises(ScopeError, match="draws b twice"):
            E(f(b), *twice)


def test_a_list_of_draws_is_taken_as_a_tuple():
    assert Estimator("mine", f(b) * score(b), [b], target).draws == (b,)


# Laws that share a name

k = finite("k", theta)


@pytest.mark.parametrize("other", [k, finite("k", phi), finite("k"), finite("k", theta, phi)])
def test_two_draws_do_not_share_a_law_that_nobody_named(other):
    with pytest.raises(UsageError, match=r"b and k, and both have the law p by default: .*law='q'.*copies\(b, 2\) or law='p'"):
        Estimator("mine", (f(b) - f(other)) * score(b), (b, other), target)
    with pytest.raises(UsageError, match="both have the law p by default"):
        E(h(b, other), b, other)


def test_two_densities_do_not_share_a_law_that_nobody_named():
    s, t = continuous("s", theta), continuous("t", theta)
    with pytest.raises(UsageError, match="s and t"):
        E(h(s, t), s, t)


def test_the_copies_of_a_variable_are_no_second_variable_but_those_of_two_are():
    Estimator("mine", f(b1) * score(b2), (b, b1, b2), target)
    first, _ = copies(k, 2)
    with pytest.raises(UsageError, match="b and k"):
        E(h(b1, first), b1, first)
    with pytest.raises(UsageError, match="b and k"):
        E(h(b, k), *Estimator("mine", f(b), (b,), target).with_samples(2).draws, k)


@pytest.mark.parametrize(
    "named",
    [
        finite("k", theta, law="p"),
        finite("k", theta, law="q"),
        finite("k", theta, given=(b,)),
        continuous("k", theta),
        normal("k", theta, 1),
    ],
)
def test_a_law_that_is_named_or_of_another_kind_may_be_drawn_beside_the_default(named):
    Estimator("mine", f(b) * score(b), (b, named), target)


def test_the_index_of_a_sum_or_mean_inside_a_formula_may_run_over_the_law_of_a_draw():
    fisher = E(score(k) ** 2, k)
    Estimator("mine", f(b) * score(b) / fisher, (b,), target)
    Estimator("mine", Over(h(b, k) * grad(p(k), theta), k), (b,), target)


def test_shared_law_is_the_same_law_whoever_names_it():
    assert finite("b", theta) == finite("b", theta, law="p")
    refuse_shared_defaults((b, finite("k", theta, law="p")), "this")
    shared = finite("k", theta, law="p")
    pair = Estimator("pair", (f(b) - f(shared)) * (score(b) - score(shared)) / 2, (b, shared), target)
    assert derive.prove(pair).verdict == "proved"


def test_one_function_may_be_applied_to_an_outcome_and_to_a_moving_normal_variable():
    mu, fixed, noise = function("mu", differentiable=True), finite("r", law="r"), normal("epsilon")
    y, path = normal("y", mu(b, theta), 1), f(mu(b, theta) + noise)
    left, right = E(path * score(b) + grad(path, theta), b, noise), grad(E(f(y) + E(f(fixed) * phi, fixed), b, y), theta)
    assert comparison.compare(left, right, theta, 2).zero
    assert not comparison.compare(left, right + 1, theta, 2).zero


# The command


@pytest.mark.parametrize(
    "line",
    [
        "grad(f(b), 'theta')",
        "f(b) * (b == 1)",
        "(1 - (b == theta)) * f(b)",
        "f(b) * 0.5",
        "f(b) * (f(b1) == f(b2))",
        "E(f(b), (b, b1))",
        "relaxation(b).h(b)",
        "score(finite('a', law='m'))",
        "E(f(b) * f(k), b, k)",
        "finite('b', 'theta')",
        "f(b) < 1",
        "f + 1",
    ],
)
def test_the_command_says_in_one_line_what_is_wrong_with_a_formula(line, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from derive.language.estimator import Estimator\n"
        "from derive.language.notation import *\n"
        "theta, f = parameter('theta'), function('f')\n"
        "b, k = finite('b', theta), finite('k', theta)\n"
        "b1, b2 = copies(b, 2)\n"
        f"mine = Estimator('mine', {line}, (b,), grad(E(f(b), b), theta))\n"
    )
    assert run(app, ["prove", f"{file}:mine"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_every_refusal_is_an_error_of_the_user():
    assert issubclass(NotATerm, (GradproofError, TypeError))
