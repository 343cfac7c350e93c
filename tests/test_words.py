"""The word of a verdict claims no more than was shown, and names what it rests on."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import combinations
from math import prod

import pytest

import derive
from derive.cli.main import app, run
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.exact.extension import extension
from derive.instances import Opinion
from derive.kernel.premises import Covers, consult
from derive.language.errors import Disagreement, NotEvaluable, UsageError
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    relaxation,
    score,
    sigmoid,
    stop,
    uniform,
)
from derive.printing import paper
from derive.proofs.calc import Derivation, Line, calc
from derive.proofs.rules import score_function_estimator
from derive.verdicts import prover, words
from numeric.codegen.torchgen import emit

theta, phi, c = parameter("theta"), parameter("phi"), constant("c")
b, u, epsilon = finite("b", theta), uniform("u"), normal("epsilon")
f, smooth = function("f"), function("f", differentiable=True)
R = relaxation(b)
target = grad(E(f(b), b), theta)


def judged(formula, draws, aim=target, derivation=None, **options):
    return derive.prove(Estimator("mine", formula, draws, aim, derivation=derivation), **options)


def word(formula, draws, aim=target, **options):
    try:
        return judged(formula, draws, aim, **options).verdict
    except Disagreement:
        return "disagreement"


def names(verdict):
    return {premise.name for premise in (*verdict.conditions, *verdict.assumptions)}


# From finitely many outcomes to all


def vandermonde(count):
    draws = copies(b, count)
    return draws, prod((f(x) - f(y) for x, y in combinations(draws, 2)), start=constant("one") * 0 + 1)


def test_without_a_derivation_the_theorem_proves_for_every_number_of_outcomes():
    verdict = judged(f(b) * score(b), (b,), search=False)
    assert (verdict.verdict, verdict.derivation) == ("proved", None)
    assert verdict.holds_for == "every law on any finite number of outcomes"
    assert names(verdict) == {"Differentiable"}


def test_a_product_of_differences_that_needs_four_outcomes_is_refuted_though_it_vanishes_on_three():
    draws, product = vandermonde(4)
    wrong = f(draws[0]) * score(draws[0]) + product**2
    verdict = judged(wrong, draws, outcomes=(2, 3), search=False)
    assert [check.identically_zero for check in verdict.checked[:2]] == [True, True]
    assert verdict.verdict != "proved"
    assert verdict.checked[-1].outcomes == extension([Estimator("e", wrong, draws, target).expectation, target]).outcomes


@pytest.mark.exhaustive
def test_five_draws_are_compared_on_more_outcomes_than_four():
    draws, product = vandermonde(5)
    verdict = judged(f(draws[0]) * score(draws[0]) + product**2, draws, search=False)
    assert [check.identically_zero for check in verdict.checked[:3]] == [True] * 3
    assert verdict.verdict in ("checked", "refuted", "undecided")
    assert verdict.verdict != "proved"


@pytest.mark.parametrize(
    ("terms", "outcomes"),
    [
        ([E(f(b), b)], 1),
        ([target, E(f(b) * score(b), b)], 2),
        ([E(f(b), b) ** 3], 3),
        ([E(p(b) * f(b), b), E(f(b), b)], 2),
        ([E(f(b) / p(b), b)], 1),
        ([grad(grad(E(f(b), b), theta), theta)], 3),
        ([Over(f(b), b)], 1),
    ],
)
def test_draws_derivatives_and_relations_are_counted(terms, outcomes):
    assert extension(terms).outcomes == outcomes


def test_a_law_given_another_outcome_is_counted_by_conditions():
    a = finite("a", theta, law="q", given=(b,))
    assert extension([E(f(a), b, a)]).outcomes == 2
    assert extension([grad(E(f(a), b, a), theta)]).outcomes == 4
    assert extension([E(f(a) / p(a), b, a)]).outcomes is None


def test_a_sum_without_probabilities_must_vanish_on_every_smaller_number_too():
    counted = Over(c / c, b) - 2
    assert exact.identically_equal(counted, 0 * c, theta, 2)
    assert extension([counted]).each
    assert word(counted * 0 + counted, (b,), grad(E(c, b), theta), outcomes=(2,), search=False) not in ("proved", "vacuous")
    assert not extension([target]).each


@pytest.mark.parametrize(
    "term",
    [
        log(E(f(b), b)),
        exp(E(f(b), b)),
        1 / E(f(b), b),
        f(E(f(b), b)),
        log(p(b) + 1),
        1 / (p(b) + f(b)),
        sigmoid(p(b)),
        exp(p(b)),
        1 / score(b),
        E(f(R.H(R.h(u, theta))), u),
    ],
)
def test_an_atom_that_mentions_all_outcomes_is_outside_of_the_theorem(term):
    found = extension([E(term, b)])
    assert found.outcomes is None
    assert found.reason


def test_the_bound_is_sharp_for_powers_of_differences():
    for count in (2, 3, 4):
        draws, product = vandermonde(count)
        term = E(product**2, *draws)
        assert extension([term]).outcomes == count
        assert exact.identically_equal(term, 0 * c, theta, count - 1)
        assert not exact.identically_equal(term, 0 * c, theta, count)


def test_points_of_a_base_measure_are_outcomes_and_the_conditions_are_listed():
    x = normal("x", function("mu", differentiable=True)(theta), function("sigma", differentiable=True)(theta))
    one, two = copies(x, 2)
    pair = (exp(smooth(one)) + exp(smooth(two))) / 2
    verdict = judged(pair * 0 + grad(E(exp(smooth(x)), x), theta), (one, two), grad(E(exp(smooth(x)), x), theta), search=False)
    assert verdict.verdict == "proved"
    assert verdict.holds_for == "every location-scale family"
    assert "Integrable" in names(verdict)


# Polynomials


def step_of(h):
    return smooth(theta + h + c * epsilon)


SMOOTH = grad(E(smooth(theta + c * epsilon), epsilon), theta)
UNIFORM = grad(E(smooth(theta + u), u), theta)


@pytest.mark.parametrize(
    ("formula", "draws", "aim"),
    [
        ((8 * (step_of(phi) - step_of(-phi)) - (step_of(2 * phi) - step_of(-2 * phi))) / (12 * phi), (epsilon,), SMOOTH),
        ((grad(smooth(theta + c), theta) + grad(smooth(theta - c), theta)) / 2 + 0 * epsilon, (epsilon,), SMOOTH),
        (
            (grad(smooth(theta), theta) + 4 * grad(smooth(theta + Fraction(1, 2)), theta) + grad(smooth(theta + 1), theta)) / 6,
            (u,),
            UNIFORM,
        ),
    ],
)
def test_a_rule_that_is_exact_for_low_degrees_only_is_refuted(formula, draws, aim):
    assert word(formula, draws, aim) == "refuted"


def test_polynomials_without_a_derivation_are_checked_and_say_their_degree():
    verdict = judged(grad(step_of(0), theta), (epsilon,), SMOOTH, search=False)
    assert verdict.verdict == "checked"
    assert verdict.exit_code == 3
    assert verdict.holds_for == "polynomials of degree 9 under a normal law"
    assert any("not extended" in line for line in verdict.tried)


# Premises


def test_a_function_that_jumps_is_not_differentiated():
    step = function("step", differentiable=False)
    x = theta + epsilon
    assert word(grad(step(x), theta), (epsilon,), grad(E(step(x), epsilon), theta)) == "undecided"
    z = normal("z", theta, 1)
    assert word(step(z) * score(z), (z,), grad(E(step(z), z), theta)) == "proved"


def test_a_mean_that_is_infinite_is_undecided_and_the_premise_is_named():
    z = normal("z", theta, 1)
    shifted = grad(exp((theta + epsilon) ** 2), theta)
    verdict = judged(shifted, (epsilon,), grad(E(exp(z**2), z), theta))
    assert verdict.verdict == "undecided"
    assert any("Integrable fails" in line or "Dominated fails" in line for line in verdict.tried)


def test_the_mean_of_an_inverse_of_a_normal_variable_is_undecided():
    z = normal("z", theta, 1)
    assert word(score(z) / z, (z,), grad(E(1 / z, z), theta)) == "undecided"


def test_importance_sampling_needs_a_law_that_covers_the_target():
    q = finite("b", phi, law="q")
    verdict = judged(p(b, at=q) / p(q) * f(q) * score(b, at=q), (q,))
    assert verdict.verdict == "proved"
    assert "Covers" in names(verdict)


def test_covering_is_decided_from_the_supports():
    wide, narrow, line = uniform("x", 0, 2), uniform("x", 0, 1), normal("x")
    assert not consult(Covers(p(wide), p(narrow, at=wide))).failure
    assert consult(Covers(p(narrow), p(wide, at=narrow))).failure
    assert consult(Covers(p(narrow), p(line, at=narrow))).failure
    assert not consult(Covers(p(line), p(narrow, at=line))).needs


def test_a_division_by_a_function_lists_that_it_is_not_zero():
    assert "NonZero" in names(judged(f(b) ** 2 / f(b) * score(b), (b,)))


def test_a_logarithm_lists_that_its_argument_is_positive():
    assert "Positive" in names(judged(log(f(b)) * score(b), (b,), grad(E(log(f(b)), b), theta), search=False))


# Vacuous, scaled, refuted in words


@pytest.mark.parametrize("formula", [0 * f(b), f(b) * score(b, phi)])
def test_a_parameter_that_occurs_nowhere_tests_nothing(formula):
    verdict = judged(formula, (b,), grad(E(f(b), b), phi))
    assert (verdict.verdict, verdict.exit_code) == ("vacuous", 3)


def test_a_target_that_is_zero_by_cancellation_tests_nothing():
    assert word(score(b), (b,), grad(E(c, b), theta)) == "vacuous"


def test_a_biased_estimate_of_a_parameter_that_occurs_nowhere_is_refuted():
    assert word(f(b) * score(b), (b,), grad(E(f(b), b), phi)) == "refuted"


def test_the_mean_is_zero_and_the_reversed_gradient_are_said_in_words():
    zero, reverse = judged(c * score(b), (b,)), judged(-f(b) * score(b), (b,))
    assert (zero.verdict, zero.remark) == ("refuted", "the mean is zero")
    assert (reverse.verdict, reverse.remark) == ("refuted", "the mean is the reversed gradient")


def test_a_witness_that_is_enclosed_says_how_far_it_may_be_off():
    """2 e^2 - e is no fraction: in text and in LaTeX, as in JSON, it is known up to a radius."""
    verdict = judged(exp(f(b)) * f(b) * score(b), (b,))
    radius = verdict.witness.radius
    assert radius > 0
    assert verdict.witness.in_words.endswith(f", target = {verdict.witness.target}, both up to {radius}")
    assert f", both up to ${radius}$" in paper._witness(verdict.witness.in_words)
    assert "both up to" not in judged((f(b) - function("C")(b)) * score(b), (b,)).witness.in_words


def test_a_symbolic_scale_is_found():
    sigma = function("sigma")(theta)
    for scale, text in ((c, "c"), ((c - 1) / c, "c - 1 / (c)"), (sigma, "sigma(theta)")):
        verdict = judged(scale * f(b) * score(b), (b,))
        assert verdict.verdict == "scaled"
        assert str(verdict.scale).replace("(", "").replace(")", "") == text.replace("(", "").replace(")", "")


def test_a_factor_of_the_law_or_of_the_integrand_is_no_scale():
    assert word(E(f(b), b) * f(b) * score(b), (b,)) == "refuted"


# The third judge


def test_a_derivation_for_any_density_is_proved_where_instances_agree():
    x = continuous("x", theta)
    verdict = judged(f(x) * score(x), (x,), grad(E(f(x), x), theta))
    assert (verdict.verdict, verdict.exit_code) == ("proved", 0)
    assert {"SupportFixed", "Dominated"} <= names(verdict)


def test_a_derivation_that_no_judge_could_read_is_undecided(monkeypatch):
    x = continuous("x", theta)
    monkeypatch.setattr(prover, "opinion_of", lambda *_: Opinion("silent", "nothing was read"))
    verdict = judged(f(x) * score(x), (x,), grad(E(f(x), x), theta))
    assert verdict.verdict == "undecided"
    assert "random instances were not read: nothing was read" in verdict.tried


@pytest.mark.parametrize("search", [True, False])
def test_an_instance_that_differs_from_a_proof_or_from_an_exact_zero_stops_everything(monkeypatch, search):
    monkeypatch.setattr(prover, "opinion_of", lambda *_: Opinion("differ", "1 and 2.", {"theta": "0.3"}))
    with pytest.raises(Disagreement, match=r"1 and 2\. The instance: theta = 0\.3"):
        judged(f(b) * score(b), (b,), search=search)


def test_a_line_that_instances_contradict_is_named():
    right = calc(target, (score_function_estimator, E(f(b) * score(b), b)))
    lines = (right.lines[0], Line("false", 2 * right.lines[1].term), *right.lines[1:])
    with pytest.raises(Disagreement, match="line 2 of the derivation of 'mine', by false, is contradicted"):
        judged(f(b) * score(b), (b,), derivation=lambda: Derivation(lines, right.theorem))


def test_a_difference_that_no_instance_shows_accuses_nobody(monkeypatch):
    monkeypatch.setattr(prover, "opinion_of", lambda *_: Opinion("agree", "both sides are equal on 4 instances."))
    assert word(2 * f(b) * score(b), (b,)) == "undecided"


# Undecided


def test_what_is_undecided_shows_the_bias_that_remains():
    x = continuous("x", theta)
    verdict = judged(2 * smooth(x) * score(x), (x,), grad(E(smooth(x), x), theta))
    assert verdict.verdict == "undecided"
    assert "E_x" in verdict.to_json()["bias"]["text"]


# The evaluator's share of the kernel's faults


@pytest.mark.parametrize("at", [theta + c, c, 0 * c, phi])
def test_a_relaxation_elsewhere_than_at_its_own_parameters_is_not_proved(at):
    hard, other = R.H(R.h(u, theta)), R.H(R.h(u, at))
    for formula in (f(other) * score(b, at=other), f(hard) * score(b, at=hard) + f(other) - f(hard)):
        assert word(formula, (u,)) not in ("proved", "checked")


@pytest.mark.parametrize("at", [theta + c, 0 * c, c])
def test_the_generated_code_of_a_relaxation_elsewhere_is_refused_by_name(at):
    other = R.H(R.h(u, at))
    with pytest.raises(UsageError, match="takes h elsewhere than at the parameter of the law p"):
        emit(Estimator("mine", f(other) * score(b, at=other), (u,), target), "bernoulli")


def test_the_generated_code_of_a_stopped_relaxation_has_no_gradient_through_it():
    hard = R.H(R.h(u, theta))
    soft = grad(smooth(R.sigma(R.h(u, stop(theta)), c)), theta)
    aim = grad(E(smooth(b), b), theta)
    plain, stopped = smooth(hard) * score(b, at=hard), smooth(hard) * score(b, at=hard) + soft
    code = [emit(Estimator("mine", formula, (u,), aim), "bernoulli") for formula in (plain, stopped)]
    assert code[0].splitlines()[-4:] == code[1].splitlines()[-4:]


def test_a_stopped_relaxation_holds():
    hard = R.H(R.h(u, theta))
    soft = grad(smooth(R.sigma(R.h(u, stop(theta)), c)), theta)
    assert word(smooth(hard) * score(b, at=hard) + soft, (u,), grad(E(smooth(b), b), theta)) in ("proved", "checked")


def test_the_mean_of_an_outcome_decided_at_a_stopped_parameter_does_not_move():
    frozen = E(f(R.H(R.h(u, stop(theta)))), u)
    with pytest.raises(NotEvaluable, match="stopped parameter"):
        exact.compare(grad(frozen, theta), 0 * c, theta, 2)


def test_a_uniform_density_at_another_point_is_not_read_as_a_constant():
    w = uniform("w", 0, theta)
    aim = grad(E(p(w, at=u) * u, u), theta)
    assert word(grad(p(w, at=u) * u, theta), (u,), aim, search=False) == "undecided"
    with pytest.raises(NotEvaluable, match="a variable of its own law only"):
        exact.compare(aim, 0 * c, theta, 2)


def test_importance_sampling_from_a_wider_uniform_is_not_refuted():
    wide, narrow = uniform("x", 0, 2), uniform("y")
    formula = p(narrow, at=wide) / p(wide) * smooth(wide + theta)
    verdict = judged(grad(formula, theta), (wide,), grad(E(smooth(narrow + theta), narrow), theta))
    assert verdict.verdict in ("proved", "undecided")


# Text, JSON, exit status


def test_the_command_shows_words_conditions_and_status(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from derive.estimator import Estimator\n"
        "from derive.notation import *\n"
        "theta, phi = parameter('theta'), parameter('phi')\n"
        "b, f = finite('b', theta), function('f')\n"
        "u, d, g = uniform('u', -1, 1), constant('d'), function('g', differentiable=True)\n"
        "difference = (g(theta + d) - g(theta - d)) / (2 * d)\n"
        "held = Estimator('held', difference, (), grad(E(g(theta + d * u), u), theta))\n"
        "empty = Estimator('empty', 0 * f(b), (b,), grad(E(f(b), b), phi))\n",
        encoding="utf-8",
    )
    assert run(app, ["prove", f"{path}:held"]) == 3
    shown = capsys.readouterr().out
    assert "held: checked" in shown
    assert "requires" in shown
    assert run(app, ["prove", f"{path}:held", "--accept", "checked", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "checked"
    assert answer["conditions"]
    assert run(app, ["prove", f"{path}:empty", "--accept", "checked"]) == 3
    assert "nothing was tested" in capsys.readouterr().out


# Each guard is missed when it is gone


CLAIMED = ("proved", "disagreement")  # the claim stands, or the third judge has to stop it


def test_without_the_count_of_outcomes_the_product_of_differences_would_be_proved(monkeypatch):
    draws, product = vandermonde(4)
    monkeypatch.setattr(exact, "extension", lambda terms, nodes: words.exact.Extension(2))
    assert word(f(draws[0]) * score(draws[0]) + product**2, draws, outcomes=(2, 3), search=False) in CLAIMED


def test_without_the_test_for_zero_sides_a_vacuous_statement_would_be_proved(monkeypatch):
    monkeypatch.setattr(words, "_is_vacuous", lambda evidence: False)
    assert word(0 * f(b), (b,), grad(E(f(b), b), phi)) == "proved"


def test_at_degree_three_the_two_point_rule_would_hold():
    rule = (grad(smooth(theta + c), theta) + grad(smooth(theta - c), theta)) / 2
    assert exact.identically_equal(rule, SMOOTH, theta, 2, degree=3)
    assert not exact.identically_equal(rule, SMOOTH, theta, 2)


def test_a_verdict_says_that_no_instance_was_read(monkeypatch):
    monkeypatch.setattr("derive.verdicts.prover.opinion_of", lambda *_: Opinion("silent", "an integral is not known."))
    verdict = judged(f(b) * score(b), (b,))
    assert verdict.verdict == "proved"
    assert verdict.tried == ("random instances were not read: an integral is not known.",)


@pytest.mark.parametrize("exponent", [6, 12, 30])
def test_a_bias_below_the_precision_of_the_instances_is_refuted_by_its_exact_witness(exponent):
    assert word(f(b) * score(b) + Fraction(1, 10**exponent) * f(b), (b,)) == "refuted"


def test_a_difference_that_the_instances_could_see_and_do_not_is_undecided(monkeypatch):
    monkeypatch.setattr(words, "RESOLVED", Fraction(0))
    assert word(f(b) * score(b) + Fraction(1, 10**12) * f(b), (b,)) == "undecided"
