"""Code of f.slope(x) and f.slope.slope(x): its mean is the exact gradient where a formula is right, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import (
    E,
    Over,
    constant,
    exp,
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
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.noise_roles import is_polynomial, roles
from numeric.codegen.torchgen import emit, generate
from numeric.codegen.torchrun import Compiled, compile

theta, s, c = parameter("theta"), constant("s"), constant("c")
f = function("f", differentiable=True)
b, o, a = finite("b", theta), finite("o", theta), finite("a", theta, law="q")
m = E(o, o)
M = stop(m)
bits = grad(E(f(b), b), theta)
through_mean = f.slope(M) * grad(m, theta)
expanded = (f(b) - f(M) - f.slope(M) * (b - M)) * score(b)
twice = (f(b) - f(M) - f.slope(M) * (b - M) - f.slope.slope(M) * (b - M) ** 2 / 2) * score(b)
turned = grad(f.slope(m) * b, theta)
bend = E(f.slope.slope(M) * (b - M) ** 2 * score(b), b)

u = uniform("u")
r = relaxation(b)
z_of_u = r.h(u, theta)
soft, hard = r.sigma(z_of_u, constant("lambda")), r.H(z_of_u)
relaxed = grad(E(f(soft), u), theta)

mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
epsilon, z = normal("epsilon"), normal("z", mu(theta), sigma(theta))
mean, scale = mu(theta), sigma(theta)
moved = mean + scale * epsilon
of_normal = grad(E(f(z), z), theta)
bonnet, price = f.slope(z) * grad(mean, theta), f.slope.slope(z) * scale * grad(scale, theta)
bonnet_at_mean, price_at_mean = f.slope(mean) * grad(mean, theta), f.slope.slope(mean) * scale * grad(scale, theta)
taylor = (f(z) - f(mean) - f.slope(mean) * (z - mean) - f.slope.slope(mean) * (z - mean) ** 2 / 2) * score(z, theta)

x = theta + s * epsilon
wide = normal("y", 0, exp(theta))
smooth, of_scale = grad(E(f(x), epsilon), theta), grad(E(f(wide), wide), theta)


def mine(formula: Term, *draws, target=bits) -> Estimator:
    return Estimator("mine", formula, draws=draws or (b,), target=target)


def quick(estimator: Estimator, family: str, size: int | None = None) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=500)


DISCRETE = {
    "MuProp": (mine(expanded + through_mean), True),
    "MuProp, the slope at the sample beside the mean": (mine(expanded + f.slope(b) * grad(m, theta)), False),
    "MuProp, without its correction": (mine(expanded), False),
    "MuProp, its correction twice": (mine(expanded + 2 * through_mean), False),
    "MuProp at a mean that moves": (mine(expanded + grad(E(stop(f(m)) + f.slope(M) * (b - M), b), theta)), True),
    "the mean itself moves": (mine(expanded + through_mean + turned - f.slope.slope(m) * b * grad(m, theta)), True),
    "the mean itself moves, twice as far": (
        mine(expanded + through_mean + turned - 2 * f.slope.slope(m) * b * grad(m, theta)), False
    ),
    "the mean itself moves, without what is bent": (mine(expanded + through_mean + turned), False),
    "any slope at the sample": (mine((f(b) - f.slope(b) * b) * score(b) + E(f.slope(b) * b * score(b), b)), True),
    "second order": (mine(twice + through_mean + bend / 2), True),
    "second order, without the half": (mine(twice + through_mean + bend), False),
    "second order, without its correction": (mine(twice + through_mean), False),
    "second order, at the sample": (mine(twice + through_mean + E(f.slope.slope(b) * (b - M) ** 2 * score(b), b) / 2), False),
    "second order, of two vectors": (
        mine((f(b) - f.slope.slope(b) * (b - M) * b) * score(b) + E(f.slope.slope(b) * b * (b - M) * score(b), b)), True
    ),
    "straight-through": (mine(f.slope(b) * grad(m, theta)), False),
    "ReinMax": (mine(Over((f.slope(b) + f.slope(o)) / 2 * (o - b) * grad(p(o), theta), o)), False),
    "two laws": (
        mine(
            f(a) * ((f(b) - f.slope(m) * b) * score(b) + f(b) * score(a) + f.slope(m) * grad(m, theta)), b, a,
            target=grad(E(f(b) * f(a), b, a), theta),
        ),
        True,
    ),
    "two laws, at the sample": (
        mine(
            f(a) * ((f(b) - f.slope(m) * b) * score(b) + f(b) * score(a) + f.slope(b) * grad(m, theta)), b, a,
            target=grad(E(f(b) * f(a), b, a), theta),
        ),
        False,
    ),
    "a relaxation": (mine(f.slope(soft) * grad(soft, theta), u, target=relaxed), True),
    "a relaxation, the slope at the outcome": (mine(f.slope(hard) * grad(soft, theta), u, target=relaxed), False),
}  # fmt: skip

NORMAL = {
    "pathwise": (mine(f.slope(moved) * grad(moved, theta), epsilon, target=of_normal), True),
    "pathwise, the slope at the mean": (mine(f.slope(mean) * grad(moved, theta), epsilon, target=of_normal), False),
    "pathwise, half of it": (mine(f.slope(moved) * grad(moved, theta) / 2, epsilon, target=of_normal), False),
    "Bonnet and Price": (mine(bonnet + price, z, target=of_normal), True),
    "Bonnet and Price, of the variance": (
        mine(bonnet + f.slope.slope(z) / 2 * grad(scale**2, theta), z, target=of_normal), True
    ),
    "Bonnet and Price, of the variance, without the half": (
        mine(bonnet + f.slope.slope(z) * grad(scale**2, theta), z, target=of_normal), False
    ),
    "Bonnet alone": (mine(bonnet, z, target=of_normal), False),
    "Bonnet at the mean": (mine(bonnet_at_mean + price, z, target=of_normal), False),
    "Price at the mean": (mine(bonnet + price_at_mean, z, target=of_normal), False),
    "an expansion of second order": (mine(taylor + bonnet_at_mean + price_at_mean, z, target=of_normal), True),
    "an expansion of second order, half of Price": (
        mine(taylor + bonnet_at_mean + price_at_mean / 2, z, target=of_normal), False
    ),
    "the matrix of second derivatives": (
        mine(grad(f.slope(moved) * grad(moved, theta), theta), epsilon, target=grad(of_normal, theta)), True
    ),
    "the matrix of second derivatives, half of it": (
        mine(grad(f.slope(moved) * grad(moved, theta), theta) / 2, epsilon, target=grad(of_normal, theta)), False
    ),
}  # fmt: skip

VECTOR = {
    "pathwise": (mine(f.slope(x), epsilon, target=smooth), True),
    "pathwise, half of it": (mine(f.slope(x) / 2, epsilon, target=smooth), False),
    "the second derivative for the first": (mine(s * f.slope.slope(x), epsilon, target=smooth), False),
    "a second derivative": (mine(f.slope.slope(x), epsilon, target=grad(smooth, theta)), True),
    "the slope, differentiated": (mine(grad(f.slope(x), theta), epsilon, target=grad(smooth, theta)), True),
    "a second derivative, from a score": (mine(f.slope(x) * epsilon / s, epsilon, target=grad(smooth, theta)), True),
    "a second derivative, without the step": (mine(f.slope(x) * epsilon, epsilon, target=grad(smooth, theta)), False),
    "a matrix": (mine(grad(f.slope(x) * grad(x, theta), theta), epsilon, target=grad(smooth, theta)), True),
    "Price": (mine(f.slope.slope(wide) * exp(2 * theta), wide, target=of_scale), True),
    "Price, of the scale": (mine(f.slope.slope(wide) * exp(theta), wide, target=of_scale), False),
    "through the scale": (mine(f.slope(wide) * wide, wide, target=of_scale), True),
    "through the scale, without it": (mine(f.slope(wide), wide, target=of_scale), False),
}


def told(report: CrosscheckReport) -> bool:
    return not all(check.passed for check in report.zero_noise)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", DISCRETE)
def test_slopes_of_functions_of_outcomes(name, family):
    estimator, right = DISCRETE[name]
    report = quick(estimator, family)
    assert report.agrees == right, str(report)
    assert told(report) != right
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("name", NORMAL)
def test_slopes_of_functions_of_normal_vectors(name):
    estimator, right = NORMAL[name]
    report = quick(estimator, "normal")
    assert report.size == 3
    assert report.agrees == right, str(report)
    assert told(report) != right
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("name", VECTOR)
def test_slopes_are_one_number_for_each_coordinate_where_theta_is_a_vector(name):
    estimator, right = VECTOR[name]
    report = quick(estimator, "vector", 2 if wide in estimator.draws else 1)  # the judge of the others takes long
    assert report.agrees == right, str(report)
    assert told(report) != right


# Mutants of the code


@pytest.mark.parametrize(
    ("estimator", "family", "was", "now"),
    [
        (DISCRETE["MuProp"][0], "categorical", "df_p * (b - p)", "df_p.flip(-1) * (b - p)"),
        (DISCRETE["MuProp"][0], "bernoulli", "value_and_gradient(f, p)", "value_and_gradient(f, b)"),
        (NORMAL["an expansion of second order"][0], "normal", "torch.broadcast_tensors(loc, ", "torch.broadcast_tensors(z, "),
        (NORMAL["an expansion of second order"][0], "normal", "return gradient\n", "return dx * gradient\n"),
        (DISCRETE["the mean itself moves"][0], "categorical", "- p * (ddf - ", "- p.flip(-1) * (ddf - "),
        (NORMAL["Bonnet and Price"][0], "normal", "unit)[..., i]", "unit).sum(-1)"),
        (NORMAL["Bonnet and Price"][0], "normal", "ddf_z * scale * scale", "ddf_z * scale"),
        (VECTOR["Price"][0], "vector", "unit)[..., i]", "unit)[..., -1 - i]"),
        (VECTOR["Price"][0], "vector", "unit)[..., i]", "unit).sum(-1)"),
    ],
)
def test_code_that_takes_another_derivative_is_told(estimator, family, was, now, monkeypatch):
    init, changed = Compiled.__init__, []

    def mutated(self, estimator, generated):
        changed.append(generated.source.replace(was, now))
        assert changed[-1] != generated.source
        init(self, estimator, replace(generated, source=changed[-1]))

    monkeypatch.setattr(Compiled, "__init__", mutated)
    assert told(quick(estimator, family, 2 if family == "vector" else 3))
    assert len(changed) == 1


# Against torch by hand


def rough(point):
    return torch.sin(1.3 * point[..., 0]) * point[..., 1] + point[..., 2] ** 3 + point.sum(-1) ** 2


def test_muprop_is_that_of_torch_for_each_sample_and_each_element_of_a_batch():
    code = compile(DISCRETE["MuProp"][0], "bernoulli")
    logits = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    drawn = code.draw(logits, torch.Generator().manual_seed(0), (5,))["b"]
    found = code.estimate(logits, {"b": drawn}, rough)

    at = torch.sigmoid(logits)
    slope = torch.func.vmap(torch.func.grad(rough))(at)
    rest = rough(drawn) - rough(at) - (slope * (drawn - at)).sum(-1)
    assert torch.allclose(found, rest[..., None] * (drawn - at) + slope * at * (1 - at), atol=1e-14)


def test_a_quadratic_form_is_that_of_the_matrix_of_torch():
    code = compile(mine(f.slope.slope(M) * (b - M) ** 2 * score(b)), "categorical")
    logits = torch.linspace(-1, 1, 3, dtype=torch.float64)
    drawn = torch.eye(3, dtype=torch.float64)
    away = drawn - logits.softmax(-1)
    matrix = torch.autograd.functional.hessian(rough, logits.softmax(-1))
    expected = torch.einsum("ki,ij,kj->k", away, matrix, away)[:, None] * away
    assert torch.allclose(code.estimate(logits, {"b": drawn}, rough), expected, atol=1e-14)


def test_a_second_derivative_is_the_diagonal_of_the_matrix_of_torch():
    code = compile(VECTOR["a second derivative"][0])
    at = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    noise = torch.zeros(4, 2, 3, dtype=torch.float64)
    rows = [torch.autograd.functional.hessian(rough, row).diagonal() for row in at]
    found = code.estimate(at, {"epsilon": noise}, rough, s=1.0)
    assert torch.allclose(found, torch.stack(rows).expand(4, 2, 3), atol=1e-14)


@pytest.mark.parametrize(
    ("estimator", "family"),
    [
        (DISCRETE["the mean itself moves"][0], "categorical"),
        (DISCRETE["second order"][0], "bernoulli"),
        (NORMAL["an expansion of second order"][0], "normal"),
    ],
)
def test_slopes_pass_the_transforms_of_torch(estimator, family):
    code, points = compile(estimator, family), torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    given = {"loc": points, "log_scale": 0.3 * points} if family == "normal" else points
    noise = code.draw(given, torch.Generator().manual_seed(1))
    found = code.estimate(given, noise, rough)
    mapped = torch.func.vmap(lambda row, drawn: code.estimate(row, drawn, rough))(given, noise)
    traced = code.compile(backend="eager").estimate(given, noise, rough)
    for other in (mapped, traced):
        torch.testing.assert_close(other, found, atol=1e-14, rtol=0)


def test_a_function_without_a_slope_has_the_slope_zero():
    for name, family in (("second order", "bernoulli"), ("MuProp", "categorical")):
        found = compile(DISCRETE[name][0], family)(torch.zeros(3), lambda b: torch.ones_like(b[..., 0]))
        assert found.abs().max() == 0


def test_the_module_says_how_often_functions_are_evaluated():
    assert "f is evaluated once at b, and once with its derivative at p." in emit(DISCRETE["MuProp"][0], "bernoulli")
    said = "once with its derivative at z, and once for each entry with its second derivative by it at z."
    assert said in emit(NORMAL["Bonnet and Price"][0])
    assert generate(DISCRETE["MuProp"][0], "bernoulli").functions == ("f",)


# Refusals


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (f.slope(b) * score(b), "uses f' as a number; in the"),
        (f.slope(b) * c * grad(m, theta), "uses f' as a number; in the"),
        (f.slope(b), "uses f' as a number; in the"),
        (c * f.slope(b), "uses f' as a number; in the"),
        (c * (f.slope(b) + f.slope(M)), "uses a vector as a number"),
        (f.slope(theta) * grad(c * theta, theta), "f' .* a number|takes f' at theta itself"),
        (f.slope(theta) * (b - M), "takes f' at theta itself"),
        (f.slope(c) * grad(m, theta), "takes f' at a constant"),
        (f.slope.slope(M) * score(b), "f'' of 'mine' is a matrix"),
        (f.slope.slope(M) * (b - M) * score(b), "f'' of 'mine' is a matrix"),
        (f.slope.slope(M) * (b - M) ** 3 * score(b), "f'' of 'mine' is a matrix"),
        (f.slope.slope(M) * (1 - 2 * M) * grad(m, theta), "f'' of 'mine' is a matrix"),
        (f.slope.slope(M) * grad(m, theta) ** 2, "f'' of 'mine' is a matrix"),
        (f(f.slope.slope(b)) * score(b), "f'' of 'mine' is a matrix"),
        (f.slope.slope.slope(M) * (b - M) ** 2 * score(b), "f''' is a derivative of order 3"),
        (grad(f.slope.slope(m) * (b - M) ** 2, theta), "differentiates f'', or what it is multiplied with, once more"),
    ],
)
def test_what_has_no_reading_is_refused_by_name(formula, message, family):
    with pytest.raises(UsageError, match=message):
        emit(mine(formula), family)


@pytest.mark.parametrize(
    ("formula", "draw", "family", "message"),
    [
        (bonnet + f.slope.slope(z) * grad(scale, theta), z, "normal", "f'' of 'mine' is a matrix"),
        (f.slope(z) * scale * grad(scale, theta), z, "normal", "uses f' as a number"),
        (f.slope(z) * mu.slope(theta), z, "normal", "neither the mean nor the scale|mu"),
        (f.slope.slope.slope(x), epsilon, "vector", "f''' is a derivative of order 3"),
        (grad(f.slope.slope(x), theta), epsilon, "vector", "f''' is a derivative of order 3"),
    ],
)
def test_what_has_no_reading_of_normal_vectors_is_refused_by_name(formula, draw, family, message):
    with pytest.raises(UsageError, match=message):
        emit(mine(formula, draw, target=of_normal if family == "normal" else smooth), family)


def test_a_matrix_is_not_made_of_one_number_for_each_coordinate():
    with pytest.raises(UsageError, match="f'' is one number for each coordinate, and the target of 'mine' a matrix"):
        emit(mine(f.slope.slope(x) * grad(x, theta) ** 2, epsilon, target=grad(smooth, theta)), "vector")


def test_calls_at_several_points_are_right_for_one_number_each():
    """The slope at another point is a call at another point."""
    estimator = mine(f.slope(theta), epsilon, target=smooth)
    assert not generate(estimator, "vector").coordinatewise
    with pytest.raises(UsageError, match="calls a function at several points"):
        quick(estimator, "vector", 2)
    assert not quick(estimator, "vector", 1).agrees


def test_a_slope_tells_a_quadratic_function_from_another_one():
    """So the crosscheck takes others, of which all coordinates interact, and of no degree where functions are composed."""
    assert roles(DISCRETE["MuProp"][0]).order > 3
    assert is_polynomial(NORMAL["pathwise"][0])
    assert not is_polynomial(mine(f(z - s * f.slope(z)) * score(z, theta), z, target=of_normal))


def test_a_target_with_a_slope_has_no_exact_value():
    with pytest.raises(UsageError, match="the target of 'mine' holds a slope of f"):
        quick(mine(f.slope(b) * b * score(b), target=grad(E(f.slope(b) * b, b), theta)), "bernoulli")
