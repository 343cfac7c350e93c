"""The experiment of note 001 runs on generated code: its gradients, variances and page are what they say they are."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import numeric
from derive.catalogue import catalogue
from docs.experiment import page, training
from docs.experiment.controls import Control, Network, Rebar, Sigmoid, objective
from docs.experiment.quadrature import moments
from docs.experiment.training import METHODS, Settings

FOLDER = Path(page.__file__).parent
CONTROLS = {"network": Network(), "rebar": Rebar(), "sigmoid": Sigmoid()}
LOGITS = torch.tensor([[-3.0], [-0.5], [0.0], [1.0], [4.0]], dtype=torch.float64)


def started(control, seed=1):
    """A phi that differs from run to run."""
    generator = torch.Generator().manual_seed(seed)
    phi = control.start(len(LOGITS), generator)
    return phi * (1 + torch.rand(phi.shape, generator=generator, dtype=phi.dtype) / 2)


def noise(samples=()):
    return training.compiled("relax").draw(LOGITS, torch.Generator().manual_seed(2), samples)


@pytest.fixture(scope="module")
def stored():
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


def test_the_page_says_what_the_results_and_the_code_say(stored):
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page.text(stored)


def test_the_stored_results_are_of_these_settings_and_methods(stored):
    assert {label: Settings(**one["settings"]) for label, one in stored.items()} == training.SETTINGS
    assert all(list(one["methods"]) == list(METHODS) for one in stored.values())
    assert all((FOLDER / name).stat().st_size < 200_000 for name in ("adam.svg", "sgd.svg", "rebar.svg", "results.json"))


def test_the_page_refuses_results_that_it_does_not_describe(stored):
    methods = stored["adam"]["methods"]
    swapped = {**stored["adam"], "methods": {**methods, "relax": methods["rebar"]}}
    with pytest.raises(ArithmeticError, match="does not describe"):
        page.check_claims(swapped)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_fifty_steps_of_every_method_run_and_repeat(optimiser, tmp_path):
    settings = replace(Settings(), steps=50, replicates=3, every=25, nodes=48, optimiser=optimiser)
    first, second = (training.run({"short": settings}, jobs=1)["short"]["methods"] for _ in range(2))
    for name in METHODS:
        assert first[name]["final_p"] == second[name]["final_p"]
        assert first[name]["step"] == [0, 25, 50]
        assert len(set(first[name]["final_p"])) == (1 if name == "exact" else 3) or name == "baseline"
    assert first["exact"]["final_p"][0] > 0.5
    page.plot_training({"methods": first}, tmp_path / "short.svg")
    assert (tmp_path / "short.svg").stat().st_size > 5000


@pytest.mark.parametrize("seed", range(3))
def test_relax_with_the_control_of_rebar_is_the_generated_rebar(seed):
    """One eta and lambda for each run here; the generated REBAR takes one for all, so it is called run by run."""
    phi, draws = started(Rebar(), seed), noise((7,))
    ours = training.relax(LOGITS, draws, objective, partial(Rebar().value, phi))
    rebar = numeric.compile(catalogue["rebar"])
    for run, (eta, log_temperature) in enumerate(phi.tolist()):
        constants = {"eta": eta, "lambda_": float(torch.tensor(log_temperature, dtype=torch.float64).exp())}
        theirs = rebar.estimate(LOGITS, draws, objective, **constants)
        torch.testing.assert_close(ours[:, run], theirs[:, run], rtol=1e-12, atol=1e-15)


def by_autograd(control, phi, draws):
    """RELAX written anew and differentiated by autograd: the estimate, and the gradient of its square in phi."""
    u, v = draws["u"], draws["v"]
    p = torch.sigmoid(LOGITS)
    logits, phi = LOGITS.clone().requires_grad_(), phi.clone().requires_grad_()
    theta = torch.sigmoid(logits)
    z = logits + torch.logit(u)
    b = (z > 0).to(z.dtype).detach()
    u_tilde = torch.where(b > 0, 1 - theta + v * theta, v * (1 - theta))  # uniform on the part of (0, 1) where b is what it is
    z_tilde = logits + torch.logit(u_tilde)
    c, c_tilde = control.value(phi, z), control.value(phi, z_tilde)
    (dc,) = torch.autograd.grad((c - c_tilde).sum(), logits, create_graph=True)
    g = (objective(b) - c_tilde)[..., None] * (b - p) + dc
    (dphi,) = torch.autograd.grad(g.square().sum(), phi)
    return g.detach(), dphi


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("seed", range(4))
def test_estimate_and_gradient_of_its_square_are_those_of_autograd(name, seed):
    control, phi = CONTROLS[name], started(CONTROLS[name], seed)
    method = replace(METHODS["relax"], control=control)
    draws = training.compiled("relax").draw(LOGITS, torch.Generator().manual_seed(seed))
    ours, slope = training.gradient(method, LOGITS, phi, torch.Generator().manual_seed(seed))
    theirs, dphi = by_autograd(control, phi, draws)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(slope, dphi, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_rows_of_a_control_are_its_parts(name):
    control, phi = CONTROLS[name], started(CONTROLS[name])
    z = torch.randn((1 + phi.shape[1], len(LOGITS), 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(control.rows(phi, z), Control.rows(control, phi, z), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_quadrature_has_the_exact_mean_and_the_variance_of_many_samples(name):
    control, phi = CONTROLS[name], started(CONTROLS[name])
    value = partial(control.value, phi)
    found = moments(lambda rows: training.relax(LOGITS, rows, objective, value), LOGITS, nodes=256)
    torch.testing.assert_close(found.mean, numeric.exact_gradient(objective, LOGITS), rtol=0, atol=1e-13)
    sampled = training.relax(LOGITS, noise((100_000,)), objective, value)
    fourth = (sampled - found.mean).pow(4).mean(0)
    error = ((fourth - found.variance.square()) / len(sampled)).sqrt()
    assert ((sampled - found.mean).square().mean(0) - found.variance).abs().div(error).max() < 5


def test_a_wrong_control_is_seen_by_the_quadrature():
    """Without the terms of the control that move, the mean is off."""
    broken = moments(lambda rows: training.relax(LOGITS, rows, objective, lambda z: z[..., 0].detach()), LOGITS)
    assert (broken.mean - numeric.exact_gradient(objective, LOGITS)).abs().max() > 1e-3


def test_the_variances_over_both_outcomes_are_those_of_the_evaluator():
    quarter = torch.tensor([[1 / 3]], dtype=torch.float64).log()  # the logit of p = 1/4
    for name, (estimator, symbols) in {
        "score-function": ("score-function", {}),
        "baseline": ("constant-baseline", {"c": page.Fraction(1, 4)}),
    }.items():
        exact = page.bernoulli_variance(estimator, page.Fraction(1, 4), **symbols)[1]
        assert float(training.variance(METHODS[name], quarter, None, 0)) == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_covariance_of_a_control_depends_on_its_value_at_the_threshold_only(name):
    control, phi = CONTROLS[name], started(CONTROLS[name])
    found, formula = page.covariance(control, phi, LOGITS)
    torch.testing.assert_close(found, formula, rtol=1e-9, atol=1e-14)


def test_the_best_eta_of_rebar_takes_next_to_nothing_off():
    scanned = page.scan(0.0, torch.tensor([0.2, 0.5, 2.0], dtype=torch.float64), nodes=128)
    score = float(page.bernoulli_variance("score-function", page.Fraction(1, 2))[1])
    assert ((scanned.best / score - 1).abs() < 1e-6).all()
    assert (scanned.plain > score).all()
    assert scanned.error < 1e-4
