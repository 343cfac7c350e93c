"""Every single mistake of a list is killed, or proved to leave the mean as it is; and a check that cannot fail says so."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import derive
from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.language.errors import NotEvaluable, RuleError, TooLarge
from derive.notation import E, constant, exp, finite, function, grad, log, parameter, relaxation, score, uniform
from docs.mutants import checks, formulas, page, proofs, sources, study, symbolic
from numeric.auditing.audit import audit
from numeric.checking.crosscheck import crosscheck
from numeric.checking.sequential_test import sequential_test

FOLDER = Path(study.__file__).parent
SUBSET = [
    ("score-function", "formula"),
    ("score-function", "categorical"),
    pytest.param("constant-baseline", "bernoulli", marks=pytest.mark.exhaustive),
]
THETA = parameter("theta")
B, U, V = finite("b", THETA), uniform("u"), uniform("v")
F = function("f", differentiable=True)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stored():
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


# The table


def test_no_mutant_survives_and_no_readings_disagree():
    assert stored()["wrong"] == []
    families = [found for one in stored()["counts"].values() for found in one.values()]
    counted = sum((Counter(one) for kinds in families for one in kinds.values()), Counter())
    assert set(counted) == {"killed", "equivalent", "no number"}


def test_no_check_lets_a_wrong_mutant_pass():
    """A check may refuse to judge; what it lets pass must be equivalent."""
    assert stored()["missed"] == []
    for reading in ("formula", "code"):
        said = stored()["checks"][reading]
        assert not any(one.get("passed") for one in said.values())
        assert all(said[name]["killed"] for name in checks.CHECKS)


def test_every_right_estimator_and_every_family_of_its_code_is_in_the_table():
    """What was not run is named as such on the page."""
    table = {f"{name} ({family})" for name, families in stored()["counts"].items() for family in families}
    assert table | set(stored()["missing"]) == {f"{job.name} ({job.family})" for job in study.jobs()}
    assert not table & set(stored()["missing"])


@pytest.mark.exhaustive
def test_nothing_is_missing_from_the_table():
    """What is there is right, see above; this fails until the code that has changed is judged again (`make mutants`)."""
    assert stored()["missing"] == []


def test_the_rows_are_about_the_code_that_is_generated_now():
    run = [job for job in study.jobs() if f"{job.name} ({job.family})" not in stored()["missing"]]
    assert stored()["sources"] == study.digests(run)


def test_the_page_says_what_was_found():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page.text(stored())


def test_every_equivalent_mutant_has_a_proof():
    assert all(row["proof"] and not row["proof"].startswith("NOT READ") for row in stored()["equivalent"])


@pytest.mark.parametrize(("name", "family"), SUBSET)
def test_a_fresh_run_finds_what_the_page_says(name, family):
    found = page.summary(study.run(study.Job(name, family)))
    assert found["counts"][name][family] == stored()["counts"][name][family]
    assert found["equivalent"] == [row for row in stored()["equivalent"] if (row["estimator"], row["family"]) == (name, family)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("job", study.jobs(), ids=lambda job: f"{job.name}-{job.family}")
def test_a_fresh_run_of_the_whole_table_finds_no_survivor(job):
    assert page.summary(study.run(job))["wrong"] == []


def test_a_check_that_is_switched_off_leaves_survivors(monkeypatch):
    """The table itself can fail: without its checks everything survives that is not proved."""
    passed = checks.Finding(checks.PASSED)
    monkeypatch.setattr(checks, "judge", lambda *_, **__: passed)
    rows = study.run(study.Job("score-function", "bernoulli"))
    assert {row["status"] for row in rows} == {"survived", "equivalent"}
    assert sum(row["status"] == "equivalent" for row in rows) == 2


# The lists


def kinds(mutants):
    return {one.kind for one in mutants}


def test_the_formula_mistakes_are_those_of_the_list():
    every = kinds(one for estimator in study.subjects() for one in formulas.mutants(estimator))
    assert every == {
        "drop a term", "drop a factor", "flip a sign", "K for K-1", "detach", "un-detach", "swap the sample",
        "updated baseline", "wrong conditional noise",
    }  # fmt: skip


def test_leave_one_out_gets_its_own_sample_a_count_too_many_and_an_updated_baseline():
    changes = {one.change for one in formulas.mutants(catalogue["leave-one-out"])}
    assert {"b_2 -> b_1", "1/2 -> 1/3", "1/3 -> 1/2"} <= changes
    assert any(one.kind == "updated baseline" for one in formulas.mutants(catalogue["leave-one-out"]))


def test_no_mutant_is_the_original_and_none_comes_twice():
    for name in ("rebar", "leave-one-out"):
        found = [one.estimator.formula for one in formulas.mutants(catalogue[name])]
        assert len(set(found)) == len(found)
        assert catalogue[name].formula not in found
        source = checks.subject_of(catalogue[name], "bernoulli").generated.source
        texts = [one.source for one in sources.mutants(source)]
        assert len(set(texts)) == len(texts)


# The proofs


LEFT = checks.subject_of(catalogue["leave-one-out"], "bernoulli")


def changed(old, new):
    assert old in LEFT.generated.source
    return LEFT.generated.source.replace(old, new, 1)


def test_terms_tell_the_same_function_from_another():
    same = changed("f_b - (f_b.sum(0) - f_b) / 2", "1.5 * f_b - f_b.sum(0) / 2")
    other = changed("f_b - (f_b.sum(0) - f_b) / 2", "f_b - (f_b.sum(0) - f_b) / 3")
    assert symbolic.identical(same, LEFT.generated.source, LEFT.generated, (1,))
    assert not symbolic.identical(other, LEFT.generated.source, LEFT.generated, (1,))
    assert symbolic.same_mean(other, LEFT.generated.source, LEFT.generated, (1,))
    wrong = changed("f_b - (f_b.sum(0) - f_b) / 2", "f_b - f_b.sum(0) / 2")
    assert not symbolic.same_mean(wrong, LEFT.generated.source, LEFT.generated, (1,))


def test_a_sum_of_derivatives_of_softmax_is_zero_and_the_terms_know_it():
    rebar = checks.subject_of(catalogue["rebar"], "categorical")
    line = "d_z - p * d_z.sum(-1, keepdim=True)"
    assert line in rebar.generated.source
    assert symbolic.identical(rebar.generated.source.replace(line, "d_z"), rebar.generated.source, rebar.generated, (2,))


@pytest.mark.parametrize(
    ("old", "new", "proved"),
    [
        ("eta * (d_z - p * d_z.sum(-1, keepdim=True))\n", "eta * (d_z - logits)\n", True),
        ("eta * (d_z - p * d_z.sum(-1, keepdim=True))\n", "eta * (d_z - b)\n", False),
        ("eta * (d_z - p * d_z.sum(-1, keepdim=True))\n", "eta * (d_z - u)\n", False),
        ("eta * (d_z - p * d_z.sum(-1, keepdim=True))\n", "eta * d_z * logits\n", False),
        ("(weight * (d_z - p * d_z.sum(-1, keepdim=True)))", "(weight * (d_z - logits))", False),
    ],
)
def test_a_constant_added_to_an_estimate_leaves_the_gradient_of_its_variance(old, new, proved):
    """Not what an outcome or noise moves, no factor, and nothing in the derivative of the estimate."""
    eta = checks.subject_of(catalogue["rebar-variance-eta"], "categorical")
    assert eta.generated.source.count(old) == 1
    found = proofs._by_constant(eta.generated.source.replace(old, new), eta)
    assert ("E[2 (g + k) dg] is derived" in found) is proved


def test_a_constant_in_an_estimate_proves_nothing_where_the_formula_with_it_is_not_derived(monkeypatch):
    eta = checks.subject_of(catalogue["rebar-variance-eta"], "categorical")
    centred = "eta * (d_z - p * d_z.sum(-1, keepdim=True))\n"
    mutant = eta.generated.source.replace(centred, "eta * (d_z - logits)\n")
    assert mutant != eta.generated.source
    assert proofs._by_constant(mutant, eta)
    monkeypatch.setattr(proofs, "verdict", lambda *_: "undecided")
    assert proofs._by_constant(mutant, eta) == ""


def test_code_that_has_no_exact_meaning_is_not_read():
    with pytest.raises(symbolic.NotReadable):
        symbolic.identical(changed("at_each(f, b)", "torch.rand(3)"), LEFT.generated.source, LEFT.generated, (1,))


def test_code_that_treats_many_numbers_otherwise_than_few_is_not_read():
    """What is generated has a way for each, and a proof about one says nothing of the other."""
    wrong = changed("[f(point) for point in points]", "[f(1 - point) for point in points]")
    with pytest.raises(symbolic.NotReadable, match="few numbers and many"):
        symbolic.identical(wrong, LEFT.generated.source, LEFT.generated, (1,))
    few = changed("f(points) if", "f(1 - points) if")
    with pytest.raises(symbolic.NotReadable, match="few numbers and many"):
        symbolic.identical(few, LEFT.generated.source, LEFT.generated, (1,))


def test_lerp_is_read_by_its_definition_where_its_weight_is_no_bit():
    rebar = checks.subject_of(catalogue["rebar"], "bernoulli")
    line, (old, new) = "torch.lerp(log_v, log_1_v, b)", ("torch.where(b > 0, log_1_v, log_v)", "torch.lerp(log_v, log_1_v, -b)")
    assert line in rebar.generated.source
    same, other = (rebar.generated.source.replace(line, text) for text in (old, new))
    assert symbolic.identical(same, rebar.generated.source, rebar.generated, (1,))
    assert not symbolic.identical(other, rebar.generated.source, rebar.generated, (1,))


def test_code_that_jumps_at_the_mirror_image_of_the_nodes_is_not_judged_by_them(monkeypatch):
    """Nodes are split where z jumps; of -logit(u), which has the law of logit(u), two rules are wrong alike and accused it."""
    relax = checks.subject_of(catalogue["relax"], "bernoulli")
    (mirrored,) = [one for one in sources.mutants(relax.generated.source) if one.change.endswith("-> logits - torch.logit(u)")]
    assert checks.judge("crosscheck", relax.mutated(mirrored.source), relax) == checks.Finding(checks.KILLED, checks.NODES)
    monkeypatch.setattr(sources, "mutants", lambda source: [mirrored])
    monkeypatch.setattr(checks, "LONG", checks.SAMPLES)
    for proof, status in ((f"{checks.MIRRORED}u", "equivalent"), ("the same terms", "disagreement"), ("", "killed")):
        monkeypatch.setattr(proofs, "code_proof", lambda *_, proof=proof: proof)
        assert [row["status"] for row in study.run(study.Job("relax", "bernoulli"))] == [status]


def test_terms_that_are_too_large_are_not_the_same(monkeypatch):
    def large(*_):
        raise TooLarge("too large")

    monkeypatch.setattr(symbolic, "identical", large)
    monkeypatch.setattr(symbolic, "same_mean", large)
    mutant = next(sources.mutants(LEFT.generated.source))
    assert proofs.code_proof(mutant, LEFT) == ""


def test_zeros_that_give_a_result_its_shape_are_no_term():
    affine = checks.subject_of(catalogue["straight-through-affine"], "bernoulli").generated.source
    assert "+ torch.zeros_like(b)" in affine
    assert all("+ torch.zeros_like(b)" in one.source for one in sources.mutants(affine))


def test_a_wrong_lemma_proves_nothing():
    wrong = replace(catalogue["score-function"], formula=2 * F(B) * score(B), derivation=None)
    assert proofs.formula_proof(wrong) == ""


# What the table found


def test_noise_in_h_and_in_h_tilde_is_read_summand_by_summand():
    """The evaluator took the moments of h_tilde(v, b) for those of h(v), and called this biased estimator unbiased."""
    relaxed = relaxation(B)
    z, lambda_, eta = relaxed.h(U, THETA), constant("lambda"), constant("eta")
    hard = relaxed.H(z)
    tilde, fresh = (F(relaxed.sigma(at, lambda_)) for at in (relaxed.h_tilde(V, hard, THETA), relaxed.h(V, THETA)))
    soft, s = F(relaxed.sigma(z, lambda_)), score(B, at=hard)
    formula = (F(hard) - eta * fresh) * s + eta * grad(soft, THETA) - eta * grad(tilde, THETA)
    wrong = Estimator("wrong", formula, draws=(U, V), target=grad(E(F(B), B), THETA))
    assert derive.prove(wrong, (2,)).verdict == "refuted"
    assert not crosscheck(wrong, "bernoulli", samples=100).agrees
    with pytest.raises(NotEvaluable, match="is in h and in h_tilde of one product"):
        exact.check(replace(wrong, formula=fresh * tilde * s), 2)


def test_the_logarithm_of_zero_is_no_atom():
    weight = exp(F(B)) - exp(F(B))
    wrong = Estimator("wrong", (F(B) - log(weight)) * score(B), draws=(B,), target=grad(E(F(B), B), THETA))
    assert derive.prove(wrong, (2,)).verdict == "undecided"
    with pytest.raises(RuleError, match="logarithm of something that is identically zero"):
        derive.kernel.algebra.tidy(log(weight))
    with pytest.raises(NotEvaluable, match="identically zero"):
        exact.check(wrong, 2)


def test_a_mistake_that_only_a_batch_shows_is_seen():
    """Right for one vector of parameters: a shape that does not fit a batch, and a factor that is its number of dimensions."""
    original = checks.subject_of(catalogue["control-variate"], "categorical")
    assert checks.judge("crosscheck", original, original).verdict == checks.PASSED
    for old, new in (("len(shape) - 1", "len(shape) - 2"), ("return (f_b", "return logits.dim() * (f_b")):
        source = original.generated.source.replace(old, new)
        assert source != original.generated.source
        assert checks.judge("crosscheck", original.mutated(source), original).verdict == checks.KILLED


GUARDS = [(("no_grad", "detach"), True), (("no_grad",), True), (("detach",), True), ((), False)]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rebar", "d_z_tilde * dz_tilde", "d_z * dz_tilde"),
        ("relax", "p * dc_z_phi.sum(-1, keepdim=True)", "0"),
        pytest.param(
            "relax-variance-phi",
            "p * dc_z_phi.sum(-1, keepdim=True)",
            "dc_z_phi.sum(-1, keepdim=True)",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_noises_of_one_class_do_not_stand_in_for_each_other_and_a_shift_of_z_is_seen(name, old, new):
    """The nodes of u and v met at one latent z, and the controls were the same at z and at z shifted: both mistakes passed."""
    original = checks.subject_of(catalogue[name], "categorical")
    assert old in original.generated.source
    assert checks.judge("crosscheck", original, original).verdict == checks.PASSED
    mutant = original.mutated(original.generated.source.replace(old, new))
    assert checks.judge("crosscheck", mutant, original).verdict == checks.KILLED


@pytest.mark.parametrize(("guards", "unbiased"), GUARDS)
def test_either_guard_of_the_surrogate_is_enough_and_without_both_the_audit_sees_it(guards, unbiased):
    """Under no_grad the estimate has no graph, so to detach it again changes nothing; one of the two must stand."""
    source = checks.subject_of(catalogue["score-function"], "bernoulli").generated.source
    kept = source if "no_grad" in guards else source.replace("@torch.no_grad()\n", "")
    module = {}
    exec(kept, module)  # noqa: S102, generated code
    logits = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)

    def loss():
        estimate = module["estimate"](logits, module["draw"](logits.detach()), f)
        return (logits * (estimate.detach() if "detach" in guards else estimate)).sum()

    def f(b):
        return (b + 1).square().sum(-1)

    report = audit(loss, logits, lambda: f(torch.bernoulli(logits.sigmoid())), raise_exception=False)
    assert report.unbiased is unbiased


# Vacuous checks


def silent(formula):
    return Estimator("silent", formula, draws=(B,), target=grad(E(constant("c"), B), THETA))


def test_a_crosscheck_of_zeros_against_zero_is_vacuous_and_does_not_agree():
    report = crosscheck(silent(0 * score(B)), "bernoulli", samples=100)
    assert report.vacuous
    assert not report.agrees
    assert report.to_json()["vacuous"] is True
    assert "VACUOUS" in str(report)


def test_a_zero_target_with_estimates_that_move_is_a_check_and_so_is_a_wrong_zero():
    moving = crosscheck(silent(constant("c") * score(B)), "bernoulli", samples=100)
    assert moving.agrees
    assert not moving.vacuous
    zero = crosscheck(replace(catalogue["score-function"], formula=0 * score(B)), "bernoulli", samples=100)
    assert not zero.agrees
    assert not zero.vacuous


def test_a_sequential_test_of_zeros_against_zero_is_vacuous():
    report = sequential_test(lambda n: torch.zeros(n, 2), torch.zeros(2), bounds=(-1, 1), max_samples=100)
    assert report.vacuous
    assert not report.rejected
    assert report.to_json()["vacuous"] is True
    assert "VACUOUS" in str(report)
    assert not sequential_test(lambda n: torch.randn(n), 0.0, variance=1, max_samples=100).vacuous
    assert not sequential_test(lambda n: torch.zeros(n), 0.5, bounds=(0, 1), max_samples=100).vacuous
