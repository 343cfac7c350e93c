"""The gradient of a variance, as generated code: each estimate is the derivative of a square, and its judge is certified."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from derive.catalogue import catalogue
from derive.catalogue.constant_baseline import c as baseline_constant
from derive.catalogue.variance_gradient import variance_gradient
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.laws.bernoulli import RelaxedBernoulli
from derive.notation import E, constant, copies, exp, finite, function, grad, parameter, relaxation, score, stop, uniform
from numeric.checking.crosscheck import crosscheck
from numeric.checking.exact_variance import exact_variance_gradient
from numeric.codegen.expressions import Code, Level, Shape
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import compile

DOUBLE = torch.float64
NAMES = {"rebar-variance-eta": "eta", "rebar-variance-lambda": "lambda_", "relax-variance-phi": "phi"}
CASES = [(name, family) for name in NAMES for family in ("bernoulli", "categorical")]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def f(b: Tensor) -> Tensor:
    return (b - 0.3).square().sum(-1) * b[..., 0] + b[..., 1] * b[..., 2] ** 2


def control(z: Tensor, phi: Tensor) -> Tensor:
    wave = torch.sin(z.sum(-1) * phi[..., 3]) * phi[..., 4]
    return torch.tanh(z[..., 0] * phi[..., 0] + z[..., 1] * phi[..., 1] ** 2) * phi[..., 2] + wave


def setting(name: str) -> tuple[str, Tensor, dict]:
    """What the variance is differentiated by, and its value for a batch of three."""
    by = NAMES[name]
    at = torch.linspace(-1, 1, 15, dtype=DOUBLE).reshape(3, 5) if by == "phi" else torch.full((3, 1), 0.7, dtype=DOUBLE)
    return by, at, {"c": control} if by == "phi" else {}


# Each estimate


@pytest.mark.parametrize(("name", "family"), CASES)
def test_each_estimate_is_the_derivative_of_the_square_of_that_sample(name, family):
    """Central differences of the generated estimator itself, at the same noise: 4 coordinates, a batch of 3, 6 samples."""
    by, at, keywords = setting(name)
    compiled, squared = compile(catalogue[name], family), compile(catalogue[name.split("-")[0]], family)
    logits = torch.cos(torch.arange(12, dtype=DOUBLE)).reshape(3, 4)
    noise, step = compiled.draw(logits, torch.Generator().manual_seed(1), (6,)), 1e-5
    found = compiled.estimate(logits, noise, f, **keywords, **{by: at})
    assert found.shape == (6, *at.shape)

    def square(i: int, value: Tensor) -> Tensor:
        given = value if by == "phi" else float(value)
        one = {key: draw[:, i] for key, draw in noise.items()}
        return squared.estimate(logits[i], one, f, **keywords, **{by: given}).square().sum(-1)

    for i in range(3):
        for k in range(at.shape[-1]):
            moved = torch.zeros(at.shape[-1], dtype=DOUBLE)
            moved[k] = step
            difference = (square(i, at[i] + moved) - square(i, at[i] - moved)) / (2 * step)
            torch.testing.assert_close(found[:, i, k], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("integrand", [lambda b: torch.full_like(b[..., 0], 2.0), lambda b: 3 * b.sum(-1)])
def test_an_integrand_with_fewer_derivatives_has_zeros_in_their_place(integrand, family):
    compiled, rebar = compile(catalogue["rebar-variance-lambda"], family), compile(catalogue["rebar"], family)
    logits, step = torch.tensor([0.3, -0.8], dtype=DOUBLE), 1e-5
    noise = compiled.draw(logits, torch.Generator().manual_seed(2), (20,))
    found = compiled.estimate(logits, noise, integrand, lambda_=torch.tensor([0.9], dtype=DOUBLE))
    high, low = (rebar.estimate(logits, noise, integrand, lambda_=0.9 + sign * step).square().sum(-1) for sign in (1, -1))
    torch.testing.assert_close(found[:, 0], (high - low) / (2 * step), rtol=1e-6, atol=1e-7)


def test_eta_needs_no_second_derivative_of_f():
    assert "slope_gradient" not in emit(catalogue["rebar-variance-eta"])
    assert "slope_gradient" in emit(catalogue["rebar-variance-lambda"])


def test_the_backward_of_the_surrogate_lowers_the_variance_of_rebar():
    """One step of eta = 1 towards the least variance."""
    compiled, logits = compile(catalogue["rebar-variance-eta"]), torch.zeros(3, dtype=DOUBLE)
    eta = torch.ones(1, dtype=DOUBLE, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    compiled.surrogate(logits, lambda b: (b - 0.499).square().sum(-1), generator=generator, samples=20_000, eta=eta).backward()
    better = 1 - 0.1 * float(eta.grad.sign())
    noise = compiled.draw(logits, generator, (20_000,))
    rebar = compile(catalogue["rebar"])
    variances = [
        rebar.estimate(logits, noise, lambda b: (b - 0.499).square().sum(-1), eta=at).var(0).sum() for at in (1.0, better)
    ]
    assert variances[1] < variances[0]


# The judge, against integrals by ball arithmetic

P, POLYNOMIAL, ETA = Fraction(2, 7), (Fraction(1, 3), Fraction(-1), Fraction(5, 4), Fraction(1, 2)), Fraction(7, 10)


def certified(temperature: Fraction) -> RelaxedBernoulli:
    return RelaxedBernoulli(P, POLYNOMIAL, temperature)


def judged(name: str, constants: dict, nodes: int = 40) -> Tensor:
    coefficients = torch.tensor([float(c) for c in POLYNOMIAL], dtype=DOUBLE)
    powers = torch.arange(4, dtype=DOUBLE)
    functions = {
        "f": lambda b: (coefficients * b**powers).sum(-1),
        "c": lambda z, phi: (phi * torch.sigmoid(2 * z) ** powers).sum(-1),
    }
    point = {"logits": torch.tensor([math.log(P / (1 - P))], dtype=DOUBLE)}
    return exact_variance_gradient(catalogue[name], "bernoulli", point, functions, constants, nodes)


@pytest.mark.parametrize("temperature", [Fraction(1), Fraction(1, 2), Fraction(1, 3)])
def test_the_derivative_in_eta_is_that_of_a_certified_parabola(temperature):
    """Var(eta) is a polynomial of degree two, so a central difference of any step is its derivative."""
    law = certified(temperature)
    high, low = (law.rebar(ETA + step).variance.middle for step in (1, -1))
    found = judged("rebar-variance-eta", {"eta": torch.tensor([float(ETA)], dtype=DOUBLE), "lambda": float(temperature)})
    assert abs(float(found) - float((high - low) / 2)) < 1e-13


@pytest.mark.parametrize("temperature", [Fraction(1), Fraction(1, 2), Fraction(2, 3)])
def test_the_derivative_in_lambda_is_that_of_certified_variances(temperature):
    """A central difference of sixth order; with the step 1/400 its own error is about 1e-13."""
    step, weights = Fraction(1, 400), {1: Fraction(3, 4), 2: Fraction(-3, 20), 3: Fraction(1, 60)}

    def variance(lambda_: Fraction) -> Fraction:
        return certified(lambda_).rebar(ETA).variance.middle

    slope = sum(w * (variance(temperature + k * step) - variance(temperature - k * step)) for k, w in weights.items()) / step
    given = {"eta": float(ETA), "lambda": torch.tensor([float(temperature)], dtype=DOUBLE)}
    assert abs(float(judged("rebar-variance-lambda", given)) - float(slope)) < 1e-11


def test_the_derivative_in_phi_is_that_of_a_certified_parabola():
    """The control variate is linear in phi, so the variance is of degree two in it."""
    law, control = certified(Fraction(1, 2)), [Fraction(1, 5), Fraction(-2, 3), Fraction(1), Fraction(1, 4)]
    phi = torch.tensor([float(c) for c in control], dtype=DOUBLE)
    found = judged("relax-variance-phi", {"phi": phi})
    for k in range(4):
        high, low = (law.relax(tuple(c + sign * (i == k) for i, c in enumerate(control))).variance.middle for sign in (1, -1))
        assert abs(float(found[k]) - float((high - low) / 2)) < 1e-13


# Mistakes in the generator


def no_bend(self, soft, along, weight):
    return Code(f"0.0 * {along}", Shape.COORDINATE, Level.PRODUCT)


WRONG: dict[str, tuple[str, str, str, Callable, tuple[str, ...]]] = {
    "the relaxation does not move with lambda": ("backward", "Backward", "_bend", no_bend, ("rebar-variance-lambda",)),
    "no second derivative of f": (
        "backward",
        "Backward",
        "_slope_gradient",
        lambda self, *_: Code("torch.zeros_like(u)", Shape.COORDINATE),
        ("rebar-variance-lambda",),
    ),
    "no curvature of the relaxation": (
        "families",
        "{family}",
        "bend_soft",
        lambda self, direction, ds, s, temperature: f"0.0 * {ds}",
        ("rebar-variance-lambda",),
    ),
    "no derivative through the conditional relaxation": (
        "families",
        "{family}",
        "push_conditional",
        lambda self, direction, *_: f"0.0 * {direction}",
        ("rebar-variance-lambda", "relax-variance-phi"),
    ),
    "the conditional relaxation moves as z does": (
        "families",
        "{family}",
        "push_conditional",
        lambda self, direction, v, b, hint, assign: self.push_latent(direction, assign),
        ("rebar-variance-lambda", "relax-variance-phi"),
    ),
    "the sum over coordinates is a mean": (
        "backward",
        "Backward",
        "_in_batch",
        lambda self, weight: Code(f"({weight.text}).mean(-1)", Shape.BATCH),
        ("relax-variance-phi",),
    ),
    "only the first coordinate": (
        "backward",
        "Backward",
        "_summed",
        lambda self, weight: Code(f"({weight.text})[..., :1]", Shape.COORDINATE),
        ("rebar-variance-eta",),
    ),
}


OF_MANY = {"the sum over coordinates is a mean", "only the first coordinate"}


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize(("what", "name"), [(what, name) for what, entry in WRONG.items() for name in entry[-1]])
def test_generated_code_that_is_wrong_is_rejected_without_noise(monkeypatch, what, name, family):
    module, owner, method, broken, _ = WRONG[what]
    target = getattr(sys.modules[f"numeric.codegen.{module}"], owner.format(family=family.capitalize()))
    monkeypatch.setattr(target, method, broken)
    size = 2 if family == "categorical" or what in OF_MANY else 1
    report = crosscheck(catalogue[name], family, size=size, samples=2000)
    assert not any(check.passed for check in report.zero_noise if what not in OF_MANY or "at size 1" not in check.name)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_a_transposed_derivative_of_the_latent_variable_is_rejected(monkeypatch, family):
    """Of independent bits it is diagonal, so the two are the same there."""
    families = sys.modules["numeric.codegen.families"]
    law = getattr(families, family.capitalize())
    monkeypatch.setattr(law, "push_latent", lambda self, direction, assign: self.pull_latent(direction, assign))
    report = crosscheck(catalogue["relax-variance-phi"], family, size=2, samples=2000)
    assert all(check.passed == (family == "bernoulli") for check in report.zero_noise)


# Others

THETA, ETA_, B = parameter("theta"), constant("eta"), finite("b", parameter("theta"))
R, U, F = relaxation(B), uniform("u"), function("f", differentiable=True)
G = (F(B) - ETA_) * score(B)


@pytest.mark.parametrize("family", ["bernoulli", "categorical", "normal"])
def test_the_variance_gradient_of_a_users_estimator_runs_and_agrees(family):
    learned = variance_gradient(catalogue["constant-baseline"], baseline_constant, "mine")
    report = crosscheck(learned, family, samples=2000)
    assert report.agrees, str(report)
    assert all(check.tolerance <= 1e-11 for check in report.zero_noise)


def test_a_gradient_of_a_variance_that_is_written_out_by_hand_agrees():
    b, f = finite("b", parameter("theta")), function("f")
    mine = variance_gradient(catalogue["constant-baseline"], baseline_constant, "mine")
    by_hand = -2 * (f(b) - baseline_constant) * score(b) ** 2
    for formula, right in ((by_hand, True), (-by_hand, False), (by_hand * 3 / 2, False)):
        report = crosscheck(Estimator("by_hand", formula, draws=(b,), target=mine.target), samples=2000)
        assert all(check.passed == right for check in report.zero_noise)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_a_mean_that_moves_with_the_parameter_is_part_of_the_variance(family):
    """Var[eta f score] = eta^2 Var[f score]: 2 g dg is biased, by twice the product of g and dg of two samples."""
    b, other = copies(B, 2)
    g, another = (ETA_ * F(x) * score(x) for x in (b, other))
    target = grad(E(g**2, b) - E(g, b) ** 2, ETA_)
    whole = 2 * g * grad(g, ETA_) - 2 * g * grad(another, ETA_)
    for formula, right in ((whole, True), (2 * g * grad(g, ETA_), False)):
        report = crosscheck(Estimator("mine", formula, draws=(b, other), target=target), family, samples=2000)
        assert all(check.passed == right for check in report.zero_noise)


@pytest.mark.exhaustive
def test_three_classes_agree(monkeypatch):
    monkeypatch.setattr(sys.modules["numeric.checking.cases"], "LEGENDRE_NODES", 10)
    report = crosscheck(catalogue["relax-variance-phi"], "categorical", size=3, samples=2000)
    assert report.agrees, str(report)
    assert max(check.max_error for check in report.zero_noise) < 1e-12


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rebar-variance-eta", 0.7, r"eta is what the target is differentiated by: .* \(2, 1\), one number .* got a float"),
        ("rebar-variance-eta", torch.ones(2, 3), r"eta: expected shape \(2, 1\), one number a batch element, got \(2, 3\)"),
        ("rebar-variance-eta", torch.ones(1), r"\(2, 1\), one number .* of shape \(1,\); expand one that they"),
        ("rebar-variance-eta", torch.full((2, 1), float("nan")), r"eta: expected finite numbers, got \[nan, nan\]"),
        ("rebar-variance-lambda", -torch.ones(2, 1), r"lambda_: expected positive finite numbers, got \[-1.0, -1.0\]"),
        ("relax-variance-phi", torch.ones(7), r"phi is what the target is differentiated by: .* tensor \(2, m\), one vector"),
    ],
)
def test_a_parameter_of_another_form_is_refused(name, value, message):
    given = {NAMES[name]: value} | ({"c": lambda z, phi: z.sum(-1)} if name.startswith("relax") else {})
    with pytest.raises(UsageError, match=message):
        compile(catalogue[name])(torch.zeros(2, 3), lambda b: b.sum(-1), **given)


def test_the_parameter_has_no_default():
    with pytest.raises(UsageError, match="missing lambda_"):
        compile(catalogue["rebar-variance-lambda"])(torch.zeros(3), lambda b: b.sum(-1))


def test_what_is_stopped_has_no_derivative():
    logits, eta = torch.zeros(3, dtype=DOUBLE), torch.full((1,), 0.3, dtype=DOUBLE)
    target = grad(E(G**2, B) - E(G, B) ** 2, ETA_)
    estimates = [
        compile(Estimator("mine", 2 * G * grad(g, ETA_), draws=(B,), target=target))(
            logits, lambda b: b.sum(-1), eta=eta, generator=torch.Generator().manual_seed(0)
        )
        for g in (stop(G), stop(G) + G, G)
    ]
    assert estimates[0] == 0
    assert estimates[1] == estimates[2] != 0


@pytest.mark.parametrize(
    ("formula", "draws"),
    [
        (2 * grad(G, ETA_) * grad(G, ETA_), (B,)),
        (exp(grad(G, ETA_)) * score(B), (B,)),
        (2 * G * grad(exp(ETA_) * score(B), ETA_), (B,)),
        (2 * G * grad(grad(G, ETA_), ETA_), (B,)),
    ],
)
def test_what_is_not_differentiated_by_the_parameter_is_refused(formula, draws):
    target = grad(E(G**2, B) - E(G, B) ** 2, ETA_)
    with pytest.raises(UsageError, match="eta stands in a"):
        emit(Estimator("mine", formula, draws=draws, target=target))


def test_a_relaxation_at_the_parameter_of_a_gradient_of_the_variance_is_refused():
    target = grad(E(G**2, B) - E(G, B) ** 2, ETA_)
    formula = 2 * G * grad(F(R.sigma(R.h(U, ETA_), 1)) * score(B), ETA_)
    with pytest.raises(UsageError, match="takes h elsewhere than at the parameter of the law p"):
        emit(Estimator("mine", formula, draws=(B, U), target=target))


def test_the_judge_refuses_a_target_that_it_cannot_read():
    target = grad(exp(E(G**2, B)), ETA_)
    with pytest.raises(UsageError, match="a Exp outside of the expectations"):
        crosscheck(Estimator("mine", 2 * G * grad(G, ETA_), draws=(B,), target=target))
    target = grad(E(exp(G), B), ETA_)
    with pytest.raises(UsageError, match="no exact value for a Exp in the target of 'mine'"):
        crosscheck(Estimator("mine", 2 * G * grad(G, ETA_), draws=(B,), target=target))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_on_a_gpu_too_the_gradient_of_a_variance_agrees(name, family):
    assert crosscheck(catalogue[name], family, "cuda", samples=2000).agrees
