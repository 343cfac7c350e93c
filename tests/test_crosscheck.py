"""The crosscheck accepts every right estimator to 1e-12 without noise, and rejects every wrong one before it samples."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch

from derive.catalogue import catalogue
from derive.catalogue.control_variate import without_correction
from derive.estimator import Estimator
from derive.language.errors import NotEvaluable, TooLarge, UsageError
from derive.language.term import Term
from derive.notation import (
    E,
    constant,
    copies,
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
from numeric.checking.cases import Case
from numeric.checking.crosscheck import CrosscheckReport, _sampling, crosscheck
from numeric.checking.problem.noise_nodes import _log_gamma, noise_rows
from numeric.codegen.noise_roles import roles
from numeric.codegen.torchrun import Compiled, compile as compile_estimator

THETA = parameter("theta")
B, U, V = finite("b", THETA), uniform("u"), uniform("v")
F, C = function("f"), function("C")
TARGET = grad(E(F(B), B), THETA)
FINITE = ("score-function", "constant-baseline", "control-variate", "rebar")


def mine(formula: Term, *draws) -> Estimator:
    return Estimator("mine", formula, draws=draws or (B,), target=TARGET)


def quick(estimator: Estimator, family: str = "bernoulli", size: int = 3) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=20_000)


def assert_exact(report: CrosscheckReport) -> None:
    assert report.agrees, str(report)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise), report.zero_noise
    assert all(check.max_error <= 1e-12 for check in report.zero_noise)


@pytest.fixture(autouse=True)
def _one_thread():
    """Two threads wait for each other where other programs use the cores; one is as fast here and never stalls."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Right estimators


SIZES = [("bernoulli", 1), ("bernoulli", 3), ("bernoulli", 8), ("categorical", 3), ("categorical", 5)]
LARGE = {("rebar", "categorical", 5), ("rebar", "bernoulli", 8)}


@pytest.mark.parametrize(
    ("name", "family", "size"),
    [
        pytest.param(*one, marks=pytest.mark.exhaustive) if one in LARGE else one
        for one in [(name, *size) for name in FINITE for size in SIZES]
    ],
)
def test_the_finite_estimators_have_the_exact_gradient_as_their_mean_to_1e_12(name, family, size):
    assert_exact(quick(catalogue[name], family, size))


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("name", ["pathwise", "score-function", "constant-baseline"])
def test_the_normal_estimators_have_the_exact_gradient_as_their_mean_to_1e_12(name, size):
    assert_exact(quick(catalogue[name], "normal", size))


def leave_one_out(samples: int) -> Estimator:
    b = copies(B, samples)
    rest = [sum(F(y) for y in b if y != x) / (samples - 1) for x in b]
    formula = sum(((F(x) - r) * score(x) for x, r in zip(b, rest, strict=True)), start=0 * score(b[0])) / samples
    return mine(formula, *b)


@pytest.mark.parametrize(("family", "size"), [("bernoulli", 3), ("bernoulli", 8), ("categorical", 4)])
def test_a_users_leave_one_out_agrees(family, size):
    assert_exact(quick(leave_one_out(3), family, size))


def relaxed(h_tilde: bool = True):
    r = relaxation(B)
    z = r.h(U, THETA)
    return r, z, r.H(z), r.h_tilde(V, r.H(z), THETA) if h_tilde else z


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_a_control_variate_on_the_latent_variable_itself_agrees(family):
    _, z, b, z_tilde = relaxed()
    relax = (F(b) - C(z_tilde)) * score(B, at=b) + grad(C(z), THETA) - grad(C(z_tilde), THETA)  # Grathwohl et al. 2018, eq. 9
    assert_exact(quick(mine(relax, U, V), family))


def test_paired_and_full_products_of_nodes_give_the_same_mean(monkeypatch):
    paired = quick(catalogue["rebar"], "categorical")
    roles_of = roles
    nodes = sys.modules["numeric.checking.problem.noise_nodes"]
    monkeypatch.setattr(nodes, "roles", lambda e: replace(roles_of(e), separate=False))
    for family, size in (("bernoulli", 1), ("categorical", 2)):
        full = quick(catalogue["rebar"], family, size)
        assert_exact(full)
        assert full.zero_noise[0].rows > 100
    assert_exact(paired)


def test_a_product_of_two_noises_is_seen_in_the_formula_and_an_outcome_does_not_count():
    r, z, b, z_tilde = relaxed()
    one, two = F(r.sigma(z, constant("lambda"))), F(r.sigma(z_tilde, constant("lambda")))
    assert roles(mine((one + two) * score(B, at=b), U, V)).separate
    assert not roles(mine(one * (F(b) - two) * score(B, at=b), U, V)).separate
    assert not roles(mine(grad(one * two, THETA), U, V)).separate
    assert not roles(mine((one - two) ** 2 * score(B, at=b), U, V)).separate


@pytest.mark.parametrize(("family", "size"), [("bernoulli", 2), ("bernoulli", 5), ("categorical", 4)])
def test_the_rows_have_the_law_of_the_draw(family, size):
    logits = torch.linspace(-0.5, 0.4, size, dtype=torch.float64)
    total = first = torch.zeros((), dtype=torch.float64)
    for noise, weights in noise_rows(catalogue["rebar"], family, {"logits": logits}, 12):
        assert all(value.gt(0).all() and value.lt(1).all() for value in noise.values())
        total = total + weights.sum()
        if family == "bernoulli":
            first = first + weights @ noise["u"]
    assert abs(float(total) - 1) < 1e-10
    if family == "bernoulli":
        assert float((first - 0.5).abs().max()) < 1e-12


def relax_with(power: int) -> Estimator:
    """RELAX with c^power for c."""
    _, z, b, z_tilde = relaxed()
    soft, tilde = C(z) ** power, C(z_tilde) ** power
    return mine((F(b) - tilde) * score(B, at=b) + grad(soft, THETA) - grad(tilde, THETA), U, V)


@pytest.mark.parametrize(("power", "shifted"), [(1, True), (2, True), (3, False)])
def test_a_common_shift_of_a_latent_variable_is_fed_up_to_squares(power, shifted):
    assert roles(relax_with(power)).shifted is shifted
    assert_exact(quick(relax_with(power), "categorical"))
    assert not roles(catalogue["rebar"]).shifted


def test_the_rule_for_the_shift_is_not_exact_for_a_cube(monkeypatch):
    monkeypatch.setattr(sys.modules["numeric.codegen.noise_roles"], "SHIFT_DEGREE", 3)
    assert not any(check.passed for check in quick(relax_with(3), "categorical").zero_noise)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_rule_for_the_shift_has_the_moments_of_the_logarithm_of_a_gamma_variable(dimensions):
    x = torch.tensor(_log_gamma(3, dimensions), dtype=torch.float64)
    euler = 0.5772156649015329
    assert x.mean(0).tolist() == pytest.approx([1.5 - euler] * dimensions, abs=1e-14)
    around = x - (1.5 - euler)
    assert (around.T @ around / len(x)).flatten().tolist() == pytest.approx(
        (torch.eye(dimensions) * (torch.pi**2 / 6 - 1.25)).flatten().tolist(), abs=1e-7
    )


# Wrong estimators


def group_mean(samples: int) -> Estimator:
    b = copies(B, samples)
    mean = sum(F(x) for x in b) / samples
    return mine(sum(((F(x) - mean) * score(x) for x in b), start=0 * score(b[0])) / samples, *b)


def rebar_variant(signs: tuple[int, int, int], *, conditional: bool = True) -> Estimator:
    """REBAR with a sign for each of its three control terms, (-1, 1, -1) in the paper; or with z in place of z_tilde."""
    r, z, b, z_tilde = relaxed(conditional)
    lambda_, eta = constant("lambda"), constant("eta")
    one, two = F(r.sigma(z, lambda_)), F(r.sigma(z_tilde, lambda_))
    formula = (
        (F(b) + signs[0] * eta * two) * score(B, at=b) + signs[1] * eta * grad(one, THETA) + signs[2] * eta * grad(two, THETA)
    )
    return mine(formula, U, V)


WRONG = {
    "a control variate without its correction": lambda: without_correction,
    "a group mean that contains the sample": lambda: group_mean(3),
    "rebar, first sign flipped": lambda: rebar_variant((1, 1, -1)),
    "rebar, second sign flipped": lambda: rebar_variant((-1, -1, -1)),
    "rebar, third sign flipped": lambda: rebar_variant((-1, 1, 1)),
    "rebar, z in place of z_tilde": lambda: rebar_variant((-1, 1, -1), conditional=False),
    "the score function, one part in ten thousand too small": lambda: mine(F(B) * score(B) * 9999 / 10000),
    "no score": lambda: mine(F(B) * 1),
    "zero": lambda: mine(0 * score(B)),
}


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_estimator_is_rejected_without_noise(what, family):
    report = quick(WRONG[what](), family)
    assert not report.agrees
    assert not any(check.passed for check in report.zero_noise)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


def test_the_right_signs_of_the_same_formula_agree():
    assert_exact(quick(rebar_variant((-1, 1, -1))))


def test_a_wrong_pathwise_estimator_is_rejected_without_noise():
    right = catalogue["pathwise"]
    mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
    epsilon = normal("epsilon")
    half = replace(right, formula=grad(F(mu(THETA) + sigma(THETA) * epsilon / 2), THETA))
    report = quick(half, "normal")
    assert not any(check.passed for check in report.zero_noise)


def test_generated_code_that_is_wrong_is_rejected_though_its_formula_is_right(monkeypatch):
    families = sys.modules["numeric.codegen.families"]
    for method, broken in (
        ("pull_conditional", lambda self, slope, v, b, hint, assign: slope),
        ("conditional", lambda self, v, b, hint, assign: f"logits + torch.logit({v})"),
        ("score", lambda self, b, parameter, assign: f"{b} - 0.5"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(families.Bernoulli, method, broken)
            assert not any(check.passed for check in quick(catalogue["rebar"]).zero_noise), method


def test_a_draw_that_is_wrong_is_seen_by_sampling_where_the_exact_stage_cannot(monkeypatch):
    families = sys.modules["numeric.codegen.families"]
    monkeypatch.setattr(families.Bernoulli, "draw", lambda self, shape, at="": [f"torch.bernoulli(torch.full({shape}, 0.5))"])
    report = quick(catalogue["score-function"])
    assert all(check.passed for check in report.zero_noise)
    assert not report.sampling.passed
    assert not report.agrees
    assert "the probability of a draw is wrong by" in str(report)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_samples_that_are_one_sample_are_seen_exactly(monkeypatch, family):
    """Where the others are much alike, thousands of samples do not show it."""
    original = Compiled.draw

    def twice(self, *args, **kwargs):
        noise = original(self, *args, **kwargs)
        return noise | {"b_1": noise["b_2"]}

    assert quick(catalogue["vimco"], family).draw_error < 1e-15
    monkeypatch.setattr(Compiled, "draw", twice)
    report = quick(catalogue["vimco"], family)
    assert report.draw_error > 0.1
    assert all(check.passed for check in report.zero_noise)
    assert not report.agrees


@pytest.mark.parametrize("field", ["batch_error", "draw_error"])
def test_an_error_that_is_no_number_does_not_agree(field):
    report = quick(catalogue["score-function"])
    assert report.agrees
    assert not replace(report, **{field: float("nan")}).agrees


def test_continuous_noise_and_many_outcomes_have_no_exact_law():
    assert quick(catalogue["rebar"]).draw_error is None
    assert quick(catalogue["score-function"], size=11).draw_error is None


# The report


def test_the_threshold_of_the_sampling_stage_has_the_declared_false_alarm_rate():
    sampling = crosscheck(catalogue["score-function"], samples=1000, false_alarm=0.03).sampling
    assert 3 * 2 * (1 - NormalDist().cdf(sampling.threshold)) == pytest.approx(0.03)
    assert sampling.false_alarm == 0.03


def test_false_alarms_are_as_rare_as_declared():
    estimator = catalogue["score-function"]
    compiled, case = compile_estimator(estimator, "bernoulli"), Case(estimator, "bernoulli", "cpu", 1)
    stages = [_sampling(compiled, case, 500, 0.1, seed) for seed in range(200)]
    assert stages[3] == crosscheck(estimator, size=1, samples=500, false_alarm=0.1, seed=3).sampling
    alarms = sum(not stage.passed for stage in stages)
    assert alarms <= 45  # binomial(200, 0.1): more has probability below 1e-6
    assert alarms >= 3  # fewer has probability below 1e-6


def test_the_smallest_detectable_bias_is_detected():
    biased = replace(catalogue["score-function"], formula=F(B) * score(B) + constant("bias"))
    clean = crosscheck(catalogue["score-function"], samples=20_000).sampling
    found = crosscheck(biased, samples=20_000).sampling
    assert clean.smallest_detectable_bias < 0.4 <= max(abs(a - b) for a, b in zip(found.mean, found.exact, strict=True)) + 0.05
    assert not found.passed


def test_the_report_is_json_with_its_schema_and_says_what_was_checked():
    report = quick(catalogue["rebar"])
    answer = json.loads(json.dumps(report.to_json()))
    assert answer["schema"] == "gradproof/crosscheck/1"
    assert answer["agrees"] is True
    assert [check["name"] for check in answer["zero_noise"]] == [
        "parameters 1: eta=0.7, lambda_=1",
        "parameters 2: eta=0.7, lambda_=0.5",
        "parameters 1, other functions at size 1: eta=0.7, lambda_=1",
        "parameters 2, other functions at size 1: eta=0.7, lambda_=0.5",
    ]
    assert "agrees" in str(report)
    bad = json.dumps(quick(mine(0 * score(B))).to_json(), allow_nan=False)
    assert json.loads(bad)["agrees"] is False


def test_progress_is_told_after_each_check():
    calls = []
    crosscheck(catalogue["score-function"], samples=10, progress=lambda *call: calls.append(call))
    others = ", other functions at size 1"
    names = ["parameters 1", "parameters 2", f"parameters 1{others}", f"parameters 2{others}", "sampling"]
    assert calls == [(name, i, 5) for i, name in enumerate(names, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a positive integer"),
        ({"samples": 1}, "samples must be an integer of at least 2"),
        ({"false_alarm": 0.0}, "false_alarm is a probability"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
        ({"family": "poisson"}, "no family is called 'poisson'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        crosscheck(catalogue["score-function"], **arguments)


def test_the_gradient_of_the_outcomes_is_not_that_of_the_relaxed_ones():
    r = relaxation(B)
    relaxed_target = grad(E(F(r.sigma(r.h(U, THETA), constant("lambda"))), U), THETA)
    found = crosscheck(Estimator("mine", F(B) * score(B), draws=(B,), target=relaxed_target), samples=2000)
    assert not any(check.passed for check in found.zero_noise)


def test_a_target_is_read_as_it_stands_and_not_taken_for_that_of_f():
    square = Estimator("mine", F(B) * F(B) * score(B), draws=(B,), target=grad(E(F(B) * F(B), B), THETA))
    assert_exact(quick(square))
    assert not any(check.passed for check in quick(replace(square, formula=F(B) * score(B))).zero_noise)


def test_a_quadrature_that_does_not_converge_decides_nothing(monkeypatch):
    monkeypatch.setattr(sys.modules["numeric.checking.cases"], "LEGENDRE_NODES", 4)
    with pytest.raises(NotEvaluable, match="has not converged"):
        quick(catalogue["rebar"])


def test_an_error_within_what_a_quadrature_still_moves_by_is_no_agreement():
    check = quick(catalogue["rebar"]).zero_noise[0]
    assert check.passed
    loose = replace(check, max_error=1e-4, quadrature_change=1e-3, tolerance=1e-3)
    assert not loose.decided
    assert not loose.passed


def test_where_the_quadrature_does_not_converge_sampling_may_still_disagree(monkeypatch):
    """Minus a Gumbel moves the jump away from the nodes; of two classes it has the same law, of three it has another."""
    families = sys.modules["numeric.codegen.families"]
    original = families.Categorical.latent
    monkeypatch.setattr(families.Categorical, "latent", lambda *a, **k: original(*a, **k).replace(" - torch", " + torch"))
    with pytest.raises(NotEvaluable, match="has not converged"):
        quick(catalogue["rebar"], "categorical", 2)
    report = crosscheck(catalogue["rebar"], "categorical", size=3, samples=100_000)
    assert not any(check.decided or check.passed for check in report.zero_noise)
    assert not report.sampling.passed
    assert not report.agrees


def test_too_many_rows_are_refused():
    with pytest.raises(TooLarge, match="use a smaller size"):
        crosscheck(catalogue["rebar"], "categorical", size=7, samples=10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("name", "family"), [(n, f) for n in FINITE for f in ("bernoulli", "categorical")] + [("pathwise", "normal")]
)
def test_the_crosscheck_agrees_on_a_gpu(name, family):
    assert_exact(crosscheck(catalogue[name], family, "cuda"))


# What has no code, or no exact value, is refused


def test_two_laws_are_not_taken_for_one():
    other = finite("q", THETA, law="q")
    target = grad(E(F(B), B), THETA)
    for formula, draw in ((F(other) * score(other), other), (F(B) * score(other, at=B), B)):
        assert not quick(Estimator("two-laws", formula, (draw,), target)).agrees
    assert not quick(Estimator("mixture", F(B) * score(B), (B,), grad(E(F(B), B) / 2 + E(F(other), other) / 2, THETA))).agrees


def test_a_formula_without_draws_is_compared_too():
    exact = E(F(B) * score(B), B)
    right, wrong = (quick(Estimator("exact", formula, (), grad(E(F(B), B), THETA))) for formula in (exact, exact + 1))
    assert right.agrees
    assert not wrong.agrees


def test_the_exact_target_differentiates_the_parameter_in_the_integrand_and_not_what_is_stopped():
    moving, both = F(B, THETA), grad(F(B, THETA), THETA)
    whole, stopped = grad(E(moving, B), THETA), grad(E(stop(moving), B), THETA)
    for formula, target, right in (
        (moving * score(B) + both, whole, True),
        (moving * score(B), whole, False),
        (moving * score(B), stopped, True),
        (moving * score(B) + both, stopped, False),
    ):
        assert crosscheck(Estimator("moving", formula, (B,), target), samples=2000).agrees == right


def test_the_exact_target_refuses_the_parameter_as_a_number():
    with pytest.raises(UsageError, match="no exact value for a Symbol"):
        crosscheck(Estimator("times", THETA * F(B) * score(B) + F(B), (B,), grad(E(THETA * F(B), B), THETA)), samples=2000)


def test_a_law_that_only_the_target_has_is_given_no_logits_of_another():
    """With the logits of p for those of r, the mean of the score would be the gradient of a divergence: both were zero."""
    b, r = finite("b", THETA), finite("r", law="r")
    divergence = grad(E(log(p(r)) - log(p(b, at=r)), r), THETA)
    assert not crosscheck(Estimator("mine", -score(b), (b,), divergence), "bernoulli", samples=2000).agrees
    assert crosscheck(Estimator("theirs", -score(b, at=r), (r,), divergence), "bernoulli", samples=2000).agrees


def test_a_function_of_numbers_alone_is_refused_in_a_target():
    f, half = function("f", differentiable=True), sigmoid(THETA)
    target = grad(half * f(constant("one")) + (1 - half) * f(constant("zero")), THETA)
    with pytest.raises(UsageError, match="applies f to numbers"):
        crosscheck(Estimator("mine", grad(f(half), THETA), (), target))
