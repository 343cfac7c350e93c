"""Every estimator of the catalogue runs, and its mean is the exact gradient of its own target where it is declared proved."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
import torch

import numeric
from derive.catalogue import catalogue
from derive.catalogue.elbo import log_joint, mu, sigma, z, z_of_epsilon
from derive.catalogue.importance_weighted import log_mean_exp
from derive.catalogue.muprop import expansion
from derive.estimator import Estimator
from derive.language.errors import NotEvaluable, UsageError
from derive.language.estimator import HOLDING
from derive.language.term import Term
from derive.notation import (
    E,
    constant,
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
    uniform,
)
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.checking.exact_target import exact_target
from numeric.cli.main import app, run
from numeric.codegen.torchgen import emit, generate, usual_families
from numeric.codegen.torchrun import Compiled, compile
from tests.families import FURTHER, WITHOUT_CODE

NAMES = tuple(name for name in catalogue if name not in FURTHER)
VARIANCES = ("rebar-variance-eta", "rebar-variance-lambda", "relax-variance-phi")
"""Their integrands multiply two noises, so that their rules have few nodes and change by up to 1e-9 (both sides alike)."""

CASES = [(name, family) for name in NAMES for family in usual_families(catalogue[name])]
IN_NORMAL = ("score-function", "constant-baseline", "elbo-score-function", "muprop", "nvil", "nvil-baseline")
IN_NORMAL += ("straight-through-affine", "leave-one-out")
SAMPLES = [("iwae", k) for k in (1, 2, 3, 5)] + [(n, k) for n in ("vimco", "vimco-arithmetic") for k in (2, 3)]
SAMPLES += [("leave-one-out", k) for k in (2, 3, 4)]

THETA = parameter("theta")
B, Q = finite("b", THETA), finite("b", THETA, law="q")
F = function("f")


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quick(estimator: Estimator, family: str | None = None, size: int | None = None) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=2000)


def assert_exact(report: CrosscheckReport) -> None:
    assert report.agrees, str(report)
    assert max(check.max_error for check in report.zero_noise) <= 1e-12, report.zero_noise
    most = 1e-9 if report.estimator in VARIANCES else 1e-12
    assert all(1e-12 <= check.tolerance <= most for check in report.zero_noise)


# Against the exact gradient


SLOW = {("relax-variance-phi", "categorical"), ("rebar-variance-lambda", "bernoulli")}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        pytest.param(*one, marks=pytest.mark.exhaustive) if one in SLOW else one
        for one in CASES + [(name, "normal") for name in IN_NORMAL]
    ],
)
def test_an_estimator_agrees_to_1e_12_exactly_if_it_is_declared_proved(name, family):
    report = quick(catalogue[name], family)
    if catalogue[name].verdict == "proved":
        assert_exact(report)
    else:
        assert not any(check.passed for check in report.zero_noise)


@pytest.mark.parametrize(("name", "samples"), SAMPLES)
def test_a_family_agrees_for_each_number_of_samples(name, samples):
    for family in usual_families(catalogue[name]):
        assert_exact(quick(catalogue[name].with_samples(samples), family))


def test_importance_weighted_bounds_are_compared_over_the_same_nodes_and_the_report_says_so():
    checks = quick(catalogue["iwae"]).zero_noise
    assert all(check.same_nodes for check in checks)
    assert all(check.quadrature_change > check.tolerance for check in checks if "at size 1" not in check.name)
    assert not any(check.same_nodes for check in quick(catalogue["vimco"]).zero_noise)


@pytest.mark.parametrize("name", ["vimco", "vimco-arithmetic"])
def test_a_score_function_estimate_of_a_bound_agrees_in_the_normal_family_too(name):
    """Its own rule must converge there: 220 nodes for each of two samples do, 40 for each of three do not."""
    right = quick(catalogue[name], "normal")
    assert right.agrees, str(right)
    assert all(check.max_error <= check.tolerance <= 1e-9 for check in right.zero_noise)
    wrong = replace(catalogue[name], formula=vimco_with(lambda bound, rest: rest[0], through_q=False), where=())
    assert not any(check.passed for check in quick(wrong, "normal").zero_noise)
    with pytest.raises(NotEvaluable, match=r"moves by .* from 30 to 40 nodes"):
        quick(catalogue[name].with_samples(3), "normal")


def test_a_score_function_estimate_of_a_bound_approaches_the_same_gradient_as_the_reparameterized_one():
    """Over its own nodes, which converge: so the gradient that both have is that of the bound, not of a quadrature."""
    params = {"loc": torch.tensor([0.2], dtype=torch.float64), "log_scale": torch.tensor([-0.3], dtype=torch.float64)}

    def joint(x):
        return -0.5 * x.square().sum(-1) - 0.1 * (x - 1).square().sum(-1)

    vimco = replace(catalogue["vimco"], target=catalogue["vimco"].target)
    finely = exact_target(catalogue["iwae"], "normal", params, {"log_joint": joint}, {}, nodes=40)
    x, w = sys.modules["numeric.checking.exact_gradient"].gauss_hermite(40)
    points = torch.cartesian_prod(x, x)
    noise = {f"b_{i + 1}": params["loc"] + params["log_scale"].exp() * points[:, i, None] for i in range(2)}
    estimates = compile(vimco, "normal").estimate(params, noise, joint)
    weights = torch.cartesian_prod(w, w).prod(-1)
    mean = torch.cat([weights @ part for part in estimates.values()])
    torch.testing.assert_close(mean, finely, rtol=0, atol=1e-7)


# Wrong twins


def formula(name: str) -> Term:
    return catalogue[name].formula


def current_sample_baseline(samples: int = 3) -> Term:
    b = copies(B, samples)
    mean = sum(F(x) for x in b) / samples
    return sum((F(x) - mean) * score(x) for x in b) / samples


def vimco_with(baseline: Callable[[Term, list[Term]], Term], *, through_q: bool = True) -> Term:
    b = copies(Q, 2)
    logs = [log_joint(x) - log(p(x)) for x in b]
    bound = log_mean_exp(logs)
    scored = sum((bound - baseline(bound, [*logs[:i], *logs[i + 1 :]])) * score(x) for i, x in enumerate(b))
    return scored + grad(bound, THETA) if through_q else scored


def relaxed(signs: tuple[int, int, int], *, conditional: bool = True) -> Term:
    r, u, v, c, phi = relaxation(B), uniform("u"), uniform("v"), function("c", differentiable=True), parameter("phi")
    z = r.h(u, THETA)
    b = r.H(z)
    tilde = r.h_tilde(v, b, THETA) if conditional else z
    parts = (c(tilde, phi) * score(B, at=b), grad(c(z, phi), THETA), grad(c(tilde, phi), THETA))
    return F(b) * score(B, at=b) + sum(sign * part for sign, part in zip(signs, parts, strict=True) if sign)


def points(samples: int = 2) -> list[Term]:
    return [mu(THETA) + sigma(THETA) * noise for noise in copies(normal("epsilon"), samples)]


def of_square(name: str) -> dict[str, Callable[[], Term]]:
    """Wrong gradients of a variance: 2 g dg with a mistake in the product, or with a part of g left out of dg."""
    g, parameter = dict(catalogue[name].where)["g"], catalogue[name].parameter
    first, pathwise, conditional = g.args
    return {
        "dropped factor": lambda: formula(name) / 2,
        "flipped sign": lambda: -formula(name),
        "dg for 2 g dg": lambda: grad(g, parameter),
        "no derivative through the score term": lambda: 2 * g * grad(pathwise + conditional, parameter),
        "no derivative through the pathwise term": lambda: 2 * g * grad(first + conditional, parameter),
        "no derivative through the conditional term": lambda: 2 * g * grad(first + pathwise, parameter),
        "flipped conditional term": lambda: 2 * g * grad(first + pathwise - conditional, parameter),
    }


C, PSI, X = function("C", differentiable=True), parameter("psi"), constant("x")
LOG_WEIGHT = log_joint(Q) - log(p(Q))
SLOPE, OFFSET = constant("slope"), constant("offset")

TWINS: dict[str, dict[str, Callable[[], Term]]] = {
    "score-function": {"no score": lambda: 1 * F(B), "flipped sign": lambda: -F(B) * score(B)},
    "constant-baseline": {
        "baseline of the current sample": lambda: (F(B) - F(B) / 2) * score(B),
        "dropped f": lambda: -constant("c") * score(B),
    },
    "control-variate": {
        "missing correction": lambda: formula("control-variate-without-correction"),
        "flipped correction": lambda: (F(B) - function("C")(B)) * score(B) - grad(E(function("C")(B), B), THETA),
    },
    "pathwise": {
        "half of the noise": lambda: grad(F(mu(THETA) + sigma(THETA) * normal("epsilon") / 2), THETA),
        "flipped noise in the derivative": lambda: -formula("pathwise"),
    },
    "leave-one-out": {
        "baseline with the current sample": current_sample_baseline,
        "sum for mean": lambda: 3 * formula("leave-one-out"),
    },
    "elbo-score-function": {
        "dropped log q": lambda: log_joint(Q) * score(Q),
        "flipped log q": lambda: (log_joint(Q) + log(p(Q))) * score(Q),
    },
    "sgvb": {
        "dropped log q": lambda: grad(log_joint(z_of_epsilon), THETA),
        "flipped log q": lambda: grad(log_joint(z_of_epsilon) + log(p(z, at=z_of_epsilon)), THETA),
    },
    "straight-through-affine": {
        "mean not passed": lambda: grad(OFFSET + SLOPE * B, THETA),
        "passed twice": lambda: 2 * formula("straight-through-affine"),
    },
    "muprop": {
        "missing correction": lambda: (F(B) - expansion) * score(B),
        "flipped correction": lambda: (F(B) - expansion) * score(B) - constant("df_0") * grad(E(B, B), THETA),
    },
    "rebar": {"dropped score term": lambda: formula("concrete")},
    "relax": {
        "dropped pathwise term": lambda: relaxed((-1, 0, -1)),
        "dropped conditional term": lambda: relaxed((-1, 1, 0)),
        "flipped sign": lambda: relaxed((1, 1, -1)),
        "z for z_tilde": lambda: relaxed((-1, 1, -1), conditional=False),
    },
    "iwae": {
        "mean of logs": lambda: grad(sum(log_joint(x) - log(p(z, at=x)) for x in points()) / 2, THETA),
        "dropped log q": lambda: grad(log_mean_exp([log_joint(x) for x in points()]), THETA),
        "first sample only": lambda: grad(log_mean_exp([log_joint(x) - log(p(z, at=x)) for x in points()[:1] * 2]), THETA),
    },
    "nvil": {
        "baseline of the current sample": lambda: (LOG_WEIGHT - LOG_WEIGHT / 2 - C(X, PSI)) * score(Q),
        "dropped log q": lambda: (log_joint(Q) - C(X, PSI) - constant("c")) * score(Q),
    },
    "nvil-baseline": {
        "dropped factor": lambda: formula("nvil-baseline") / 2,
        "flipped sign": lambda: -formula("nvil-baseline"),
        "dropped constant": lambda: -2 * (LOG_WEIGHT - C(X, PSI)) * grad(C(X, PSI), PSI),
    },
    "vimco": {
        "missing gradient of the bound": lambda: vimco_with(lambda bound, rest: log_mean_exp([*rest, *rest]), through_q=False),
        "baseline with the current sample": lambda: vimco_with(lambda bound, rest: bound),
        "flipped gradient of the bound": lambda: formula("vimco") - 2 * grad(dict(catalogue["vimco"].where)["L"], THETA),
    },
    "vimco-arithmetic": {
        "missing gradient of the bound": lambda: vimco_with(lambda bound, rest: rest[0], through_q=False),
        "flipped sign": lambda: -formula("vimco-arithmetic"),
    },
}
TWINS |= {name: of_square(name) for name in VARIANCES}
TWIN_CASES = [(name, what, family) for name in TWINS for what in TWINS[name] for family in usual_families(catalogue[name])]
OTHER_DRAWS = {("rebar", "dropped score term"): "concrete"}


def test_every_estimator_that_is_declared_proved_has_wrong_twins():
    assert set(TWINS) == {name for name in NAMES if catalogue[name].verdict == "proved"}


@pytest.mark.parametrize(("name", "what", "family"), TWIN_CASES)
def test_a_wrong_twin_is_rejected_without_noise(name, what, family):
    draws = catalogue[OTHER_DRAWS.get((name, what), name)].draws
    twin = replace(catalogue[name], formula=TWINS[name][what](), draws=draws, where=())
    report = quick(twin, family, {"bernoulli": 1, "categorical": 2}.get(family) if name in VARIANCES else None)
    assert not any(check.passed for check in report.zero_noise)
    assert not report.agrees


def test_the_builders_of_the_twins_give_the_right_estimators_too():
    for name, right in (("relax", relaxed((-1, 1, -1))), ("vimco", vimco_with(lambda bound, rest: rest[0]))):
        assert_exact(quick(replace(catalogue[name], formula=right, where=())))


def test_generated_code_that_is_wrong_is_rejected_though_its_formula_is_right(monkeypatch):
    families, walk = sys.modules["numeric.codegen.families"], sys.modules["numeric.codegen.walk"]
    for name, target, method, broken in (
        ("muprop", families.Bernoulli, "pull_mean", lambda self, slope, *_: slope),
        ("elbo-score-function", families.Bernoulli, "log_prob", lambda self, b, *_: f"logsigmoid({b} * logits).sum(-1)"),
        ("vimco", walk.Walk, "_derivative_of_log", lambda self, arg: None),
        ("sgvb", walk.Walk, "_derivative_of_log_density", lambda self, law, at: None),
    ):
        assert_exact(quick(catalogue[name]))
        with monkeypatch.context() as patch:
            patch.setattr(target, method, broken)
            assert not any(check.passed for check in quick(catalogue[name]).zero_noise), name


# The judge


def test_the_exact_target_is_the_exact_gradient_where_the_target_is_that_of_f():
    def f(b):
        return b[..., 0] * b[..., -1] ** 2 + b.sum(-1)

    logits = torch.tensor([0.3, -1.2], dtype=torch.float64)
    for family in ("bernoulli", "categorical"):
        gradient = exact_target(catalogue["score-function"], family, {"logits": logits}, {"f": f}, {})
        torch.testing.assert_close(gradient, numeric.exact_gradient(f, logits, family), rtol=1e-14, atol=1e-15)
    normal_params = {"loc": logits, "log_scale": logits / 3}
    expected = numeric.exact_gradient(f, normal_params, "normal", nodes=8)
    gradient = exact_target(catalogue["pathwise"], "normal", normal_params, {"f": f}, {}, nodes=8)
    torch.testing.assert_close(gradient, torch.cat([expected["loc"], expected["log_scale"]]), rtol=1e-12, atol=1e-13)


def test_the_exact_target_of_a_lower_bound_is_what_its_closed_form_gives():
    logits = torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([1.5, -0.5], dtype=torch.float64)
    q = torch.sigmoid(logits)
    entropy = -(q * q.log() + (1 - q) * (1 - q).log()).sum()
    (expected,) = torch.autograd.grad((a * q).sum() + entropy, logits)  # E[a . b] + H(q)
    functions = {"log_joint": lambda b: (b * a).sum(-1)}
    gradient = exact_target(catalogue["elbo-score-function"], "bernoulli", {"logits": logits}, functions, {})
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-14)


def test_a_two_sample_bound_is_that_of_a_double_sum():
    logits = torch.tensor([0.4, -0.7, 0.1], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([0.2, -1.0, 0.7], dtype=torch.float64)
    q = torch.softmax(logits, 0)
    w = values.exp() / q
    bound = (q[:, None] * q * torch.log((w[:, None] + w) / 2)).sum()
    (expected,) = torch.autograd.grad(bound, logits)
    functions = {"log_joint": lambda b: (b * values).sum(-1)}
    gradient = exact_target(catalogue["vimco"], "categorical", {"logits": logits}, functions, {})
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-14)


# Running


def values_of(compiled, point, dtype) -> dict:
    """Constants and other functions for a batch of outcomes (*batch, n)."""
    n, batch = point.shape[-1], point.shape[:-1]
    known = {"df_0": torch.linspace(-1, 1, n), "b_0": torch.full((n,), 0.4), "f_0": torch.full(batch, 0.2), "offset": 0.1}
    known |= {"slope": torch.linspace(1, 2, n), "x": torch.ones(*batch, 2), "psi": torch.full((*batch, 2), 0.3)}
    known |= {"phi": torch.full((*batch, 7) if compiled.parameter == "phi" else (7,), 0.1)}
    known |= {name: torch.full((*batch, 1), 0.7) for name in ("eta", "lambda_") if name == compiled.parameter}
    others = {"C": lambda *args: args[0].sum(-1) if len(args) == 1 else (args[0] * args[1]).sum(-1)}
    others["c"] = lambda z, phi: torch.sigmoid(z * phi.sum(-1, keepdim=True)).sum(-1)
    given = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in known.items() if k in compiled.constants}
    return given | {name: others[name] for name in compiled.functions[1:]}


@cache
def compiled_once(name: str, family: str) -> Compiled:
    return compile(catalogue[name], family)


def setting(name: str, family: str, signs: torch.Tensor):
    compiled = compiled_once(name, family)
    point = {"loc": signs, "log_scale": signs / 40} if family == "normal" else signs
    f = [lambda b: (b - 0.499).square().mean(-1) - b[..., 0]] if compiled.functions else []
    return compiled, point, f, values_of(compiled, signs, signs.dtype)


def parts(gradient) -> list[torch.Tensor]:
    return list(gradient.values()) if isinstance(gradient, dict) else [gradient]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "family"), CASES)
def test_an_estimate_has_shape_and_dtype_of_what_it_is_differentiated_by(name, family, dtype):
    compiled, point, f, keywords = setting(name, family, torch.linspace(-1, 1, 15, dtype=dtype).reshape(3, 5))
    shape = keywords[compiled.parameter].shape if compiled.parameter else (3, 5)
    noise = compiled.draw(point, torch.Generator().manual_seed(0), (4,))
    estimates = parts(compiled.estimate(point, noise, *f, **keywords))
    assert {(part.shape, part.dtype) for part in estimates} == {((4, *shape), dtype)}
    assert {part.shape for part in parts(compiled(point, *f, samples=2, **keywords))} == {shape}


@pytest.mark.parametrize(("name", "family"), CASES)
def test_each_batch_element_is_estimated_by_itself(name, family):
    compiled, point, f, keywords = setting(name, family, torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5))
    noise = compiled.draw(point, torch.Generator().manual_seed(0), (4,))
    together = parts(compiled.estimate(point, noise, *f, **keywords))
    for i in range(3):
        alone = {k: v[i] if torch.is_tensor(v) and v.shape[:1] == (3,) else v for k, v in keywords.items()}
        one = {key: value[i] for key, value in point.items()} if isinstance(point, dict) else point[i]
        estimates = compiled.estimate(one, {key: value[:, i] for key, value in noise.items()}, *f, **alone)
        for whole, part in zip(together, parts(estimates), strict=True):
            torch.testing.assert_close(whole[:, i], part, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "family"), CASES)
def test_the_backward_of_the_surrogate_is_the_estimate(name, family):
    compiled, point, f, keywords = setting(name, family, torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5))
    where = keywords[compiled.parameter] if compiled.parameter else point
    leaves = [part.requires_grad_() for part in parts(where)]
    estimate, loss = (
        run(point, *f, generator=torch.Generator().manual_seed(7), samples=3, **keywords)
        for run in (compiled, compiled.surrogate)
    )
    loss.backward()
    assert all(torch.equal(leaf.grad, part) for leaf, part in zip(leaves, parts(estimate), strict=True))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_float32_logits_of_plus_and_minus_80_give_finite_estimates(name, family):
    signs = torch.tensor([[80.0, -80.0, 80.0, -80.0, 0.0], [80.0] * 5, [-80.0] * 5, [0.0, 0.0, -80.0, 80.0, 1.0]])
    compiled, point, f, keywords = setting(name, family, signs)
    noise = compiled.draw(point, torch.Generator().manual_seed(0), (500,))
    assert all(torch.isfinite(part).all() for part in parts(compiled.estimate(point, noise, *f, **keywords)))
    if compiled.noise[0].startswith("b"):  # outcomes that are never drawn, too
        one_hot = torch.eye(5)[:, None].expand(5, 4, 5)
        noise = dict.fromkeys(compiled.noise, one_hot)
        assert all(torch.isfinite(part).all() for part in parts(compiled.estimate(point, noise, *f, **keywords)))


def test_a_log_of_a_sum_over_an_inner_and_an_outer_sample_broadcasts_the_two():
    x, c = finite("x", THETA), function("C")
    inner = E(log(exp(F(B)) + exp(c(x))), x)
    compiled = compile(Estimator("mine", inner * score(B), draws=(B,), target=grad(E(F(B), B), THETA)))
    logits, b = torch.tensor([0.3, -1.2], dtype=torch.float64), torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]).double()
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 2)
    q = torch.sigmoid(logits)
    weights = torch.where(every > 0, q, 1 - q).prod(-1)
    means = (weights * torch.log(b.sum(-1, keepdim=True).exp() + (every[:, 0] - every[:, 1]).exp())).sum(-1)
    estimates = compiled.estimate(logits, {"b": b}, lambda b: b.sum(-1), C=lambda x: x[..., 0] - x[..., 1])
    torch.testing.assert_close(estimates, means[:, None] * (b - q), rtol=1e-13, atol=1e-13)


def test_weights_that_differ_by_thousands_do_not_overflow():
    compiled = compile(catalogue["vimco"].with_samples(3))
    logits = torch.zeros(4)
    noise = compiled.draw(logits, torch.Generator().manual_seed(0), (200,))
    for scale in (1e3, -1e3):
        assert torch.isfinite(compiled.estimate(logits, noise, lambda b, s=scale: s * b.sum(-1) - 5 * s)).all()


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "mean"), [("vimco", lambda w: w.log().mean(0).exp()), ("vimco-arithmetic", lambda w: w.mean(0))]
)
def test_each_estimate_of_vimco_is_that_of_its_formula_in_weights(name, mean, samples):
    """A wrong baseline leaves the mean as it is, so the crosscheck cannot see it: here each estimate is computed by hand."""
    compiled, logits = compile(catalogue[name].with_samples(samples)), torch.tensor([0.3, -1.2], dtype=torch.float64)
    noise = compiled.draw(logits, torch.Generator().manual_seed(1), (50,))

    def joint(b):
        return b[..., 0] - 2 * b[..., 1]

    b, q = torch.stack(list(noise.values())), torch.sigmoid(logits)
    w = joint(b).exp() / torch.where(b > 0, q, 1 - q).prod(-1)
    expected = -(w / w.sum(0))[..., None] * (b - q)
    for i in range(samples):
        others = torch.cat([w[:i], w[i + 1 :]])
        baseline = torch.cat([others, mean(others)[None]]).mean(0).log()
        expected[i] += (w.mean(0).log() - baseline)[..., None] * (b[i] - q)
    torch.testing.assert_close(compiled.estimate(logits, noise, joint), expected.sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "keywords", "by_hand"),
    [
        ("constant-baseline", {"c": 0.7}, lambda f, q: f - 0.7),
        ("nvil", {"c": 0.7, "C": lambda x, psi: x * psi, "x": torch.tensor(2.0), "psi": 3.0}, lambda f, q: f - q - 6 - 0.7),
        ("elbo-score-function", {}, lambda f, q: f - q),
        ("leave-one-out", {}, lambda f, q: (f - (f.sum(0) - f) / 2) / 3),
    ],
)
def test_each_estimate_with_scores_is_its_learning_signal_times_the_score(name, keywords, by_hand):
    """A flipped baseline leaves the mean as it is, too."""
    compiled, logits = compile(catalogue[name]), torch.tensor([0.3, -1.2], dtype=torch.float64)
    noise = compiled.draw(logits, torch.Generator().manual_seed(1), (50,))
    b, p = torch.stack(list(noise.values())), torch.sigmoid(logits)
    signals = by_hand(b[..., 0] - 2 * b[..., 1], torch.where(b > 0, p, 1 - p).log().sum(-1))
    estimates = compiled.estimate(logits, noise, lambda b: b[..., 0] - 2 * b[..., 1], **keywords)
    torch.testing.assert_close(estimates, (signals[..., None] * (b - p)).sum(0), rtol=1e-12, atol=1e-12)


# Constants with shapes, and functions of constants


def test_muprop_takes_the_expansion_of_each_batch_element_and_its_inner_product():
    logits, point = torch.zeros(2, 3, dtype=torch.float64), torch.linspace(0.1, 0.6, 6, dtype=torch.float64).reshape(2, 3)

    def f(b):
        return (b * torch.arange(1.0, 4.0, dtype=b.dtype)).sum(-1) - 1

    slope = torch.arange(1.0, 4.0, dtype=torch.float64).expand(2, 3)
    exact = compile(catalogue["muprop"])(logits, f, f_0=f(point), df_0=slope, b_0=point)
    torch.testing.assert_close(exact, numeric.exact_gradient(f, logits))  # f is its own expansion, so there is no variance


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"df_0": torch.zeros(4)}, r"df_0: expected finite numbers of shape \(2, 3\)"),
        ({"f_0": torch.zeros(3)}, r"f_0: expected finite numbers of shape \(2\)"),
        ({"b_0": torch.full((3,), float("nan"))}, "b_0: .* with nan or infinity"),
        ({"df_0": "1"}, "df_0: expected a number, got '1'"),
    ],
)
def test_constants_of_a_wrong_shape_are_refused(wrong, message):
    right = {"f_0": 0.0, "df_0": 0.0, "b_0": 0.0}
    with pytest.raises(UsageError, match=message):
        compile(catalogue["muprop"])(torch.zeros(2, 3), lambda b: b.sum(-1), **(right | wrong))


def test_a_baseline_may_have_one_entry_for_each_batch_element():
    compiled, logits = compile(catalogue["constant-baseline"]), torch.zeros(2, 3, dtype=torch.float64)
    noise, c = compiled.draw(logits, torch.Generator().manual_seed(0), (5,)), torch.tensor([0.3, -2.0])
    together = compiled.estimate(logits, noise, lambda b: b.sum(-1), c=c)
    for i in range(2):
        alone = compiled.estimate(logits[i], {"b": noise["b"][:, i]}, lambda b: b.sum(-1), c=float(c[i]))
        torch.testing.assert_close(together[:, i], alone)


def test_a_constant_that_multiplies_a_score_is_one_number():
    estimator = Estimator("mine", constant("k") * F(B) * score(B), draws=(B,), target=grad(E(F(B), B), THETA))
    with pytest.raises(UsageError, match="k: expected a number"):
        compile(estimator)(torch.zeros(2, 3), lambda b: b.sum(-1), k=torch.zeros(3))


def test_a_learned_baseline_gets_its_arguments_as_they_are_and_must_answer_for_each_batch_element():
    compiled, seen = compile(catalogue["nvil"]), []

    def baseline(x, psi):
        seen.append((x, psi))
        return psi["bias"].expand(2)

    psi = {"bias": torch.tensor(0.5)}
    compiled(torch.zeros(2, 3), lambda b: b.sum(-1), C=baseline, x="anything", psi=psi)
    assert seen == [("anything", psi)]
    for wrong in (torch.zeros(3), torch.zeros(2, 3), 1.0):
        with pytest.raises(UsageError, match=r"C must return one number for each batch element: expected .* \(2,\)"):
            compiled(torch.zeros(2, 3), lambda b: b.sum(-1), C=lambda x, psi, w=wrong: w, x=0, psi=0)


def test_the_parameter_of_a_baseline_learns_by_least_squares():
    """At psi = E[log weight] - c the gradient is zero in the mean, and C(x, psi) = psi there."""
    logits = torch.tensor([0.3], dtype=torch.float64)
    q = torch.sigmoid(logits)
    mean = (q * (2 - q.log()) + (1 - q) * (0 - (1 - q).log())).sum()
    compiled = compile(catalogue["nvil-baseline"])
    noise, psi = {"b": torch.tensor([[1.0], [0.0]], dtype=torch.float64)}, (mean - 0.25).reshape(1)
    estimates = compiled.estimate(logits, noise, lambda b: 2 * b.sum(-1), C=lambda x, psi: psi.sum(-1), x=None, psi=psi, c=0.25)
    assert abs(float(q * estimates[0] + (1 - q) * estimates[1])) < 1e-14
    with pytest.raises(UsageError, match=r"psi is what the target is differentiated by: .* tensor \(3, m\)"):
        compiled(torch.zeros(3, 2), lambda b: b.sum(-1), C=lambda x, psi: psi.sum(-1), x=None, psi=torch.zeros(2))


def test_an_estimator_without_functions_takes_none():
    compiled = compile(catalogue["straight-through-affine"])
    assert compiled.functions == ()
    with pytest.raises(UsageError, match="has no function"):
        compiled(torch.zeros(3), lambda b: b.sum(-1), slope=1.0, offset=0.0)
    with pytest.raises(UsageError, match="expected a function of outcomes, got a NoneType"):
        compile(catalogue["score-function"])(torch.zeros(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: B * B * B * F(B), "uses b as a number"),
        (lambda: B * score(B), "uses b as a number"),
        (lambda: constant("k") * B * B, "uses b as a number"),
        (lambda: grad(F(E(B * B, B)), THETA), "the mean of something made of b"),
        (lambda: F(B) * score(B) + F(2 * constant("k")), "to samples in one place and to constants only"),
    ],
)
def test_what_has_no_meaning_for_vectors_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        emit(Estimator("mine", make(), draws=(B,), target=grad(E(F(B), B), THETA)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_on_a_gpu_too_an_estimator_agrees_exactly_if_it_is_declared_proved(name, family):
    report = crosscheck(catalogue[name], family, "cuda", samples=2000)
    assert report.agrees == (catalogue[name].verdict == "proved"), str(report)


# The source


@pytest.mark.parametrize(("name", "family"), CASES)
def test_the_source_is_python_with_short_lines_that_defines_draw_and_estimate(name, family):
    for samples in (1, 5) if catalogue[name].family is None else (3, 8):
        source = emit(catalogue[name].with_samples(samples), family)
        assert [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)][-2:] == ["draw", "estimate"]
        assert max(map(len, source.splitlines())) <= 128


def test_a_log_of_a_mean_of_weights_is_a_logsumexp_and_its_gradient_has_softmax_weights():
    for name in ("iwae", "vimco", "vimco-arithmetic"):
        source = emit(catalogue[name].with_samples(3))
        assert "torch.softmax(log_weights, 0)" in source
        assert "torch.log(" not in source
        assert "torch.exp(log" not in source.replace("torch.exp(log_scale)", "")
    assert "L = torch.logsumexp(log_weights, 0) - math.log(3)" in emit(catalogue["vimco"].with_samples(3))


def test_an_arithmetic_mean_in_place_of_a_sample_is_printed_as_the_mean_of_the_others():
    source = emit(catalogue["vimco-arithmetic"].with_samples(3))
    assert "log_weights_2 = torch.stack([log_w_2, log_w_3])" in source
    assert "torch.stack([log_w_2, log_w_3, (log_w_2 + log_w_3) / 2])" in emit(catalogue["vimco"].with_samples(3))


def test_the_density_at_a_reparameterized_point_is_printed_in_its_noise():
    body = emit(catalogue["sgvb"]).split('(...)."""\n')[1]
    assert body == (
        '    loc, log_scale = params["loc"], params["log_scale"]\n'
        "    scale = torch.exp(log_scale)\n"
        '    epsilon = noise["epsilon"]\n'
        "    z = loc + scale * epsilon\n"
        "    log_joint_z, dlog_joint_z = value_and_gradient(log_joint, z)\n"
        "    d_loc = dlog_joint_z\n"
        "    d_log_scale = dlog_joint_z * epsilon * scale + 1\n"
        '    return {"loc": d_loc, "log_scale": d_log_scale}\n'
    )


def test_a_density_at_another_point_that_moves_is_differentiated_through_it():
    point = mu(THETA) * Fraction(1, 2) + sigma(THETA) * normal("epsilon") * Fraction(3, 4)
    estimator = replace(catalogue["sgvb"], formula=grad(log(p(z, at=point)), THETA), where=())
    params = {"loc": torch.tensor([0.3, -0.2], dtype=torch.float64), "log_scale": torch.tensor([0.1, 0.4], dtype=torch.float64)}
    noise = torch.tensor([[0.7, -1.3]], dtype=torch.float64)
    loc, log_scale = (part.clone().requires_grad_() for part in params.values())
    at = loc / 2 + log_scale.exp() * noise * 0.75
    expected = torch.autograd.grad(torch.distributions.Normal(loc, log_scale.exp()).log_prob(at).sum(), (loc, log_scale))
    found = compile(estimator, "normal").estimate(params, {"epsilon": noise}, lambda x: x.sum(-1))
    for part, right in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(part[0], right, rtol=1e-13, atol=1e-13)


def test_constants_know_what_they_may_be():
    kinds = generate(catalogue["muprop"]).kinds
    assert {name: kind.name for name, kind in kinds.items()} == {"b_0": "VECTOR", "df_0": "VECTOR", "f_0": "BATCH"}
    assert generate(catalogue["rebar"]).kinds["eta"].name == "NUMBER"
    assert "log_weight = log_joint_b - log_q_b" in emit(catalogue["nvil"])


# The command


def test_crosscheck_all_passes_for_the_catalogue_and_answers_in_json(capsys):
    status = run(app, ["crosscheck", "--all", "--family", "vector", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert status == 0
    assert answer["schema"] == "gradproof/crosschecks/1"
    assert answer["as_declared"] is True
    assert {row["estimator"] for row in answer["crosschecks"]} > {"evolution-strategies", "stratified"}
    assert all(row["as_declared"] and row["agrees"] == (row["declared"] in HOLDING) for row in answer["crosschecks"])


def test_crosscheck_all_fails_when_one_is_not_as_declared(capsys, monkeypatch):
    sgvb = sys.modules["derive.catalogue.elbo"]
    monkeypatch.setattr(sgvb, "sgvb", replace(sgvb.sgvb, verdict="refuted"))
    assert run(app, ["crosscheck", "--all", "--family", "normal"]) == 1
    assert "NOT AS DECLARED" in capsys.readouterr().out


def test_crosscheck_all_is_undecided_when_one_cannot_be_run(capsys, monkeypatch):
    sgvb = sys.modules["derive.catalogue.elbo"]
    twice = grad(grad(log_joint(z_of_epsilon), THETA), THETA)
    monkeypatch.setattr(sgvb, "sgvb", replace(sgvb.sgvb, formula=twice))
    assert run(app, ["crosscheck", "--all", "--family", "normal"]) == 3
    assert "sgvb (normal): the formula of 'sgvb' differentiates a grad once more" in " ".join(capsys.readouterr().out.split())
    assert run(app, ["crosscheck", "--all", "--family", "normal", "--json"]) == 3
    rows = json.loads(capsys.readouterr().out)["crosschecks"]
    undecided = {row["estimator"] for row in rows if row["as_declared"] is None}
    assert undecided == {"sgvb", *WITHOUT_CODE} & {row["estimator"] for row in rows}


def test_crosscheck_and_emit_take_a_number_of_samples(capsys):
    assert run(app, ["emit", "iwae", "--samples", "3"]) == 0
    assert "w[2]" in capsys.readouterr().out
    assert run(app, ["crosscheck", "iwae", "--samples", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == 3
    assert run(app, ["crosscheck"]) == 2
    assert run(app, ["crosscheck", "iwae", "--all"]) == 2
    assert run(app, ["crosscheck", "--all", "--samples", "2"]) == 2
