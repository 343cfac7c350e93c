"""Right estimators are proved; wrong ones, ours and a user's, are refuted with a witness or scaled by an exact constant."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import derive
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.language.errors import Disagreement, GradproofError, ScopeError, TooLarge, UsageError
from derive.laws.models import RationalCase
from derive.notation import E, continuous, finite, function, grad, normal, parameter, score, uniform
from derive.printing import text
from derive.proofs.calc import calc
from derive.proofs.rules import algebra
from derive.verdicts import prover
from tests.proved import proved

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples" / "multi_sample.py"
theta = parameter("theta")
b, f, C = finite("b", theta), function("f"), function("C")
target = grad(E(f(b), b), theta)


@pytest.mark.parametrize("name", derive.catalogue)
def test_the_catalogue_gets_the_verdicts_that_it_declares(name):
    estimator, verdict = derive.catalogue[name], proved(name)
    assert verdict.verdict == estimator.verdict
    wanted = ([2], [2, 3, 4]) if verdict.verdict == "refuted" else ([2, 3, 4],)
    assert [check.outcomes for check in verdict.checked] in wanted
    assert all(check.identically_zero == (verdict.verdict in ("proved", "checked")) for check in verdict.checked)


def test_the_control_variate_without_its_correction_is_biased_by_minus_the_gradient_of_its_mean():
    verdict = derive.prove(derive.catalogue["control-variate-without-correction"])
    assert verdict.verdict == "refuted"
    assert text.render(verdict.bias) == text.render(-grad(E(C(b), b), theta))


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_a_group_mean_that_contains_the_sample_scales_the_gradient(samples):
    verdict = derive.prove(derive.load(f"{EXAMPLES}:group_mean", samples))
    assert verdict.verdict == "scaled"
    assert verdict.scale == Fraction(samples - 1, samples)
    assert verdict.exit_code == 1


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_leave_one_out_is_proved_for_every_law(samples):
    verdict = derive.prove(derive.load(f"{EXAMPLES}:leave_one_out", samples))
    assert verdict.verdict == "proved"
    assert verdict.holds_for == "every law that meets the assumptions"


def test_a_baseline_from_its_own_sample_is_refuted_with_a_witness_that_holds():
    estimator = derive.load(f"{EXAMPLES}:own_sample_baseline")
    verdict = derive.prove(estimator)
    assert verdict.verdict == "refuted"
    witness = verdict.witness
    case = RationalCase({name: Fraction(value) for name, value in witness.case.items()})
    assert witness.mean != witness.target
    assert exact.mean_and_variance_at(estimator, case)[0] == witness.mean


def test_the_witness_agrees_with_an_enumeration_by_hand():
    witness = derive.prove(derive.load(f"{EXAMPLES}:own_sample_baseline")).witness
    value = {name: Fraction(number) for name, number in witness.case.items()}
    tangents = [value["dp(1)"], value["dp(2)"]]
    biased = sum(d * (value[f"f({k})"] - value[f"baseline({k})"]) for k, d in enumerate(tangents, 1))
    assert witness.mean == biased
    assert witness.target == sum(d * value[f"f({k})"] for k, d in enumerate(tangents, 1))


def test_the_concrete_estimator_is_the_gradient_of_the_relaxed_objective():
    verdict = derive.prove(derive.catalogue["concrete"])
    assert verdict.verdict == "other-target"
    named = verdict.derivation.lines[0].term
    assert text.render(named, verdict.estimator.where) == "d_theta E_u[f(sigma(z, lambda))]"
    assert not any(check.identically_zero for check in verdict.checked)


def test_a_uniform_law_with_a_moving_bound_is_refuted():
    x = uniform("x", 0, theta)
    verdict = derive.prove(Estimator("moving", f(x) * score(x), (x,), grad(E(f(x), x), theta)))
    assert verdict.verdict == "refuted"
    identity = derive.prove(Estimator("moving", x * score(x), (x,), grad(E(x, x), theta)))
    assert (identity.witness.mean, identity.witness.target) == (Fraction(-1, 2), Fraction(1, 2))
    assert identity.scale == -1


def test_what_neither_reading_can_decide_is_undecided_and_says_what_was_tried():
    t = continuous("t", theta)
    verdict = derive.prove(Estimator("abstract", 2 * f(t) * score(t), (t,), grad(E(f(t), t), theta)))
    assert (verdict.verdict, verdict.exit_code) == ("undecided", 3)
    assert any("no reading" in line for line in verdict.tried)


def test_a_derivation_that_the_exact_evaluator_contradicts_stops_everything(monkeypatch):
    estimator = derive.catalogue["score-function"]
    wrong = exact.check(derive.catalogue["control-variate-without-correction"], 2)
    monkeypatch.setattr(exact, "check", lambda *args: wrong)
    with pytest.raises(Disagreement, match="bug of gradproof"):
        derive.prove(estimator)


def test_a_derivation_of_something_else_is_refused():
    estimator = replace(derive.catalogue["score-function"], derivation=lambda: calc(f(b), (algebra, f(b))))
    with pytest.raises(UsageError, match="does not lead from its target"):
        derive.prove(estimator)


def test_a_derivation_that_returns_a_bare_theorem_is_refused():
    chain = derive.catalogue["score-function"].derivation()
    estimator = replace(derive.catalogue["score-function"], derivation=lambda: chain.theorem)
    with pytest.raises(UsageError, match=r"is a Theorem; expected what .*calc"):
        derive.prove(estimator)


def test_a_chain_that_does_not_stand_is_reported_and_replaced_by_one_that_is_found():
    broken = replace(derive.catalogue["score-function"], derivation=lambda: calc(f(b), (algebra, 2 * f(b))))
    verdict = derive.prove(broken)
    assert verdict.verdict == "proved"
    assert "does not stand" in verdict.tried[0]


def test_without_a_derivation_a_proof_says_for_how_many_outcomes_it_holds():
    verdict = derive.prove(replace(derive.catalogue["score-function"], derivation=None), outcomes=(2, 3), search=False)
    assert (verdict.verdict, verdict.derivation) == ("proved", None)
    assert verdict.holds_for == "every law on any finite number of outcomes"
    normal_law = derive.prove(replace(derive.catalogue["pathwise"], derivation=None), outcomes=(2,), search=False)
    assert "polynomial" in normal_law.holds_for


def test_of_a_law_without_outcomes_no_number_of_them_is_said():
    counts = derive.prove(derive.catalogue["measure-valued-poisson"])
    assert "E[estimate] - target is identically zero for polynomials of degree 9 under a Poisson law\n" in str(counts)
    assert "outcomes" not in str(counts)
    wrong = derive.prove(derive.catalogue["measure-valued-poisson-backward"])
    assert "is not zero for polynomials of degree 9 under a Poisson law" in str(wrong)
    assert "\nevaluated " in str(wrong)
    assert "outcomes" not in str(wrong)
    finite_law = str(derive.prove(derive.catalogue["constant-baseline"]))
    assert "is identically zero on 2, 3, 4 outcomes" in finite_law
    points = str(derive.prove(derive.catalogue["iwae-sticking-the-landing"]))
    assert "is not zero on 2 points of a base measure" in points
    assert "\non 2 points " in points
    relaxed = str(derive.prove(derive.catalogue["rebar"]))
    assert "is identically zero on 2, 3, 4 outcomes" in relaxed


def test_the_average_of_copies_is_judged_as_one_estimator():
    verdict = derive.prove(derive.catalogue["constant-baseline"], outcomes=(2,), samples=3)
    assert verdict.verdict == "proved"
    assert verdict.checked[0].samples == 3


def test_the_average_of_rebar_keeps_its_noises_apart():
    averaged = derive.catalogue["rebar"].with_samples(2)
    assert [draw.name for draw in averaged.draws] == ["u_1", "v_1", "u_2", "v_2"]
    assert derive.prove(averaged, outcomes=(2,)).verdict == "proved"


def test_a_pathwise_estimator_that_forgets_the_scale_is_refuted():
    mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
    z, epsilon = normal("z", mu(theta), sigma(theta)), normal("epsilon")
    wrong = Estimator("no-scale", grad(f(mu(theta) + epsilon), theta), (epsilon,), grad(E(f(z), z), theta))
    assert derive.prove(wrong).verdict == "refuted"


@pytest.mark.parametrize("outcomes", [(), (0,), (1, 2), (-3,)])
def test_too_few_outcomes_are_refused(outcomes):
    with pytest.raises(UsageError, match="at least 2 outcomes"):
        derive.prove(derive.catalogue["score-function"], outcomes=outcomes)


def test_too_many_outcomes_are_refused_with_what_is_feasible():
    with pytest.raises(TooLarge, match="at most"):
        derive.prove(derive.load(f"{EXAMPLES}:leave_one_out", 4), outcomes=(10_000,))


def test_an_estimator_must_draw_what_it_uses_and_target_a_gradient():
    with pytest.raises(ScopeError, match="which is not drawn"):
        Estimator("unbound", f(b) * score(b), (), target)
    with pytest.raises(ScopeError, match=r"A target draws nothing: average over it, as in grad\(E\(f\(b\), b\), theta\)"):
        Estimator("free", f(b) * score(b), (b,), grad(E(f(b)), theta))
    with pytest.raises(UsageError, match="must be a gradient"):
        Estimator("no-gradient", f(b), (b,), E(f(b), b))
    with pytest.raises(UsageError, match="must be one of"):
        Estimator("verdict", f(b), (b,), target, verdict="perhaps")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rebr", "did you mean rebar"),
        ("no/such/file.py:estimator", "there is no file"),
        (f"{EXAMPLES}:leave_two_out", "has no 'leave_two_out'"),
        (f"{EXAMPLES}:theta", "is a Symbol; expected an Estimator"),
        (f"{EXAMPLES}:grad", "failed"),
        (str(EXAMPLES), "say which object"),
    ],
)
def test_a_bad_name_gets_one_line_that_says_what_to_do(name, message):
    with pytest.raises(GradproofError, match=message):
        derive.load(name)


def test_a_file_that_fails_to_import_is_reported_in_one_line(tmp_path):
    (tmp_path / "broken.py").write_text("x = 1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        derive.load(f"{tmp_path}/broken.py:x")


FORMATS = ("text", "markdown", "latex", "html")
EXPLAINED = [(name, FORMATS[number % 4]) for number, name in enumerate(derive.catalogue)]
EXPLAINED += [(name, format_) for name in ("rebar", "straight-through", "dice", "concrete") for format_ in FORMATS]


@pytest.mark.parametrize(("name", "format_"), EXPLAINED)
def test_every_estimator_is_explained(name, format_, monkeypatch):
    verdict = proved(name)
    monkeypatch.setattr(prover, "prove", lambda estimator: verdict)
    document = derive.explain(derive.catalogue[name], format=format_)
    assert f"Verdict: {derive.catalogue[name].verdict}" in document


def test_a_refuted_estimator_is_explained_by_its_bias_and_a_witness():
    document = derive.explain(derive.catalogue["control-variate-without-correction"])
    assert "There is no derivation." in document
    assert "bias          -d_theta E_b[C(b)]" in document
    assert "witness       p(1) = 1/2" in document
    assert "holds for     the witness" in document


def test_a_format_that_is_none_is_refused():
    with pytest.raises(UsageError, match="must be one of text"):
        derive.explain(derive.catalogue["rebar"], format="word")
