"""A compiled estimator computes its formula: right shapes and derivatives, finite where logits are large, clear refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import numeric
from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.language.errors import TooLarge, UsageError
from derive.language.term import Term
from derive.notation import E, copies, finite, function, grad, parameter, relaxation, score, sigmoid, uniform
from numeric.codegen.inputs import logits_of
from numeric.codegen.torchrun import compile

THETA = parameter("theta")
B = finite("b", THETA)
F, C = function("f"), function("C")
TARGET = grad(E(F(B), B), THETA)
FINITE = ("score-function", "constant-baseline", "control-variate", "rebar")
CASES = [(name, family) for name in FINITE for family in ("bernoulli", "categorical")] + [("pathwise", "normal")]


def objective(b: torch.Tensor) -> torch.Tensor:
    return (b - 0.499).square().mean(-1) + (b * torch.arange(b.shape[-1], device=b.device, dtype=b.dtype)).sum(-1).square()


def other(b: torch.Tensor) -> torch.Tensor:
    return b[..., 0] * b[..., -1] - b.sum(-1)


def keywords(name: str) -> dict:
    return {"C": other} if name == "control-variate" else {}


def params(family: str, shape: tuple[int, ...] = (3, 5), dtype: torch.dtype = torch.float64, scale: float = 1.0):
    generator = torch.Generator().manual_seed(1)
    first, second = (scale * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return {"loc": first, "log_scale": second / 4} if family == "normal" else first


def mine(formula: Term, *draws) -> Estimator:
    return Estimator("mine", formula, draws=draws or (B,), target=TARGET)


def tensors(gradient) -> list[torch.Tensor]:
    return list(gradient.values()) if isinstance(gradient, dict) else [gradient]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "family"), CASES)
def test_an_estimate_has_the_shape_and_the_dtype_of_the_parameters(name, family, dtype):
    for shape in ((4,), (3, 5), (2, 3, 5)):
        gradient = compile(catalogue[name], family)(params(family, shape, dtype), objective, samples=2, **keywords(name))
        assert {(part.shape, part.dtype) for part in tensors(gradient)} == {(torch.Size(shape), dtype)}


@pytest.mark.parametrize(("name", "family"), CASES)
def test_the_same_generator_gives_the_same_estimate_and_another_seed_another(name, family):
    compiled = compile(catalogue[name], family)
    first, second, third = (
        torch.cat(tensors(compiled(params(family), objective, generator=torch.Generator().manual_seed(s), **keywords(name))))
        for s in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(("name", "family"), CASES)
def test_the_surrogates_backward_puts_exactly_the_estimate_in_grad(name, family):
    compiled, point = compile(catalogue[name], family), params(family)
    leaves = [part.requires_grad_() for part in tensors(point)]
    seeds = [torch.Generator().manual_seed(7) for _ in range(2)]
    estimate = compiled(point, objective, generator=seeds[0], samples=3, **keywords(name))
    loss = compiled.surrogate(point, objective, generator=seeds[1], samples=3, **keywords(name))
    loss.backward()
    assert loss.shape == ()
    assert all(torch.equal(leaf.grad, part) for leaf, part in zip(leaves, tensors(estimate), strict=True))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_float32_logits_of_plus_and_minus_80_give_finite_estimates(name, family):
    signs = torch.tensor([[80.0, -80.0, 80.0, -80.0, 0.0], [80.0] * 5, [-80.0] * 5, [0.0, 0.0, -80.0, 80.0, 1.0]])
    point = {"loc": signs, "log_scale": signs / 40} if family == "normal" else signs
    compiled = compile(catalogue[name], family)
    noise = compiled.draw(point, torch.Generator().manual_seed(0), (2000,))
    assert all(torch.isfinite(part).all() for part in tensors(compiled.estimate(point, noise, objective, **keywords(name))))


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_float32_relaxations_at_80_are_those_of_float64(family):
    """At a high temperature sigma(z / lambda) is not saturated, so that an infinite z would be seen."""
    signs = torch.tensor([80.0, -80.0, 79.0, -80.0])
    compiled = compile(catalogue["rebar"], family)
    noise = compiled.draw(signs, torch.Generator().manual_seed(0), (500,))
    double = {name: value.double() for name, value in noise.items()}
    single, exact = (
        compiled.estimate(logits, u, objective, lambda_=50.0) for logits, u in ((signs, noise), (signs.double(), double))
    )
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5)


def test_every_outcome_is_finite_at_80_even_those_that_are_never_drawn():
    r, v = relaxation(B), uniform("v")
    conditional = r.sigma(r.h_tilde(v, B, THETA), parameter("lambda"))
    compiled = compile(mine(F(conditional) * score(B) - grad(F(conditional), THETA), B, v))
    logits = torch.tensor([80.0, -80.0, 80.0, -80.0])
    b, eps = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.finfo(torch.float32).eps
    for u in (eps, 0.5, 1 - eps):
        assert torch.isfinite(compiled.estimate(logits, {"b": b, "v": torch.full((4,), u)}, objective)).all()


def naive_rebar(family: str, logits, u, v, eta: float, lambda_: float):
    """REBAR as in the papers (Tucker et al. 2017, eq. 8), unstable, by autograd of one loss with b, u and v held fixed."""
    logits = logits.clone().requires_grad_()
    if family == "bernoulli":
        p, soft = torch.sigmoid(logits), torch.sigmoid
        z = torch.log(p / (1 - p)) + torch.log(u / (1 - u))
        b = (z > 0).to(z.dtype)
        given = b * ((1 - p) + v * p) + (1 - b) * v * (1 - p)
        z_tilde = torch.log(p / (1 - p)) + torch.log(given / (1 - given))
        log_p = (b * torch.log(p) + (1 - b) * torch.log(1 - p)).sum(-1)
    else:
        p, soft = torch.softmax(logits, -1), lambda x: torch.softmax(x, -1)
        z = torch.log(p) - torch.log(-torch.log(u))
        b = torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)
        winner = -torch.log((b * v).sum(-1, keepdim=True))
        z_tilde = torch.where(b > 0, -torch.log(-torch.log(v)), -torch.log(-torch.log(v) / p + winner))
        log_p = (b * torch.log(p)).sum(-1)
    f_z, f_z_tilde = objective(soft(z / lambda_)), objective(soft(z_tilde / lambda_))
    loss = (objective(b) - eta * f_z_tilde).detach() * log_p + eta * f_z - eta * f_z_tilde
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_the_printed_derivatives_of_the_relaxation_are_those_of_autograd(family):
    compiled, logits = compile(catalogue["rebar"], family), params(family, (200, 4))
    noise = compiled.draw(logits, torch.Generator().manual_seed(3))
    for eta, lambda_ in ((1.0, 0.5), (0.3, 1.7)):
        estimate = compiled.estimate(logits, noise, objective, eta=eta, lambda_=lambda_)
        torch.testing.assert_close(
            estimate, naive_rebar(family, logits, noise["u"], noise["v"], eta, lambda_), rtol=1e-8, atol=1e-10
        )


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_derivatives_through_z_itself_and_through_algebra_of_theta_are_those_of_autograd(family):
    r, u = relaxation(B), uniform("u")
    point = r.h(u, THETA) * sigmoid(THETA) + THETA**2 / 3
    compiled, logits = compile(mine(grad(F(point) * F(sigmoid(THETA)), THETA), u), family), params(family)
    noise = compiled.draw(logits, torch.Generator().manual_seed(0))
    leaf = logits.clone().requires_grad_()
    if family == "bernoulli":
        z = leaf + torch.logit(noise["u"])
    else:
        z = torch.log_softmax(leaf, -1) - torch.log(-torch.log(noise["u"]))
    loss = objective(z * torch.sigmoid(leaf) + leaf**2 / 3) * objective(torch.sigmoid(leaf))
    (expected,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(compiled.estimate(logits, noise, objective), expected, rtol=1e-9, atol=1e-9)


def test_an_integrand_that_depends_on_theta_is_differentiated_for_each_sample_by_itself():
    def f(b, logits):
        return (b * logits.exp()).sum(-1) ** 2

    formula = F(B, THETA) * score(B) + grad(F(B, THETA), THETA)
    compiled = compile(Estimator("mine", formula, draws=(B,), target=grad(E(F(B, THETA), B), THETA)))
    logits = params("bernoulli", (3,)).requires_grad_()
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    p = (every * torch.sigmoid(logits) + (1 - every) * torch.sigmoid(-logits)).prod(-1)
    (expected,) = torch.autograd.grad((p * f(every, logits)).sum(), logits)
    mean = (p.detach()[:, None] * compiled.estimate(logits, {"b": every}, f)).sum(0)
    torch.testing.assert_close(mean, expected, rtol=1e-13, atol=1e-13)


def test_an_expectation_inside_a_formula_may_use_the_outer_sample():
    x = finite("x", THETA)
    inside, outside = E(F(x) * C(B), x) * score(B), E(F(x), x) * C(B) * score(B)
    for family in ("bernoulli", "categorical"):
        logits = params(family)
        one, two = (compile(mine(formula), family) for formula in (inside, outside))
        noise = one.draw(logits, torch.Generator().manual_seed(0), (7,))
        torch.testing.assert_close(
            one.estimate(logits, noise, objective, C=other), two.estimate(logits, noise, objective, C=other)
        )


def test_the_mean_of_many_samples_approaches_the_exact_gradient_for_a_users_leave_one_out():
    b = copies(B, 4)
    rest = [sum(F(y) for y in b if y != x) / 3 for x in b]
    formula = sum(((F(x) - r) * score(x) for x, r in zip(b, rest, strict=True)), start=0 * score(b[0])) / 4
    compiled, logits = compile(mine(formula, *b)), params("bernoulli", (3,))
    noise = compiled.draw(logits, torch.Generator().manual_seed(0), (50_000,))
    estimates = compiled.estimate(logits, noise, objective)
    z = (estimates.mean(0) - numeric.exact_gradient(objective, logits)) / (estimates.std(0) / 50_000**0.5)
    assert z.abs().max() < 6.5  # two-sided 1e-10 for each coordinate under the normal approximation


def test_uniform_noise_stays_inside_the_open_interval_in_every_dtype():
    compiled = compile(catalogue["rebar"])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        u = compiled.draw(torch.zeros(100_000, dtype=dtype), torch.Generator().manual_seed(0))["u"]
        assert u.min() > 0
        assert u.max() < 1


@pytest.mark.parametrize(
    ("bad", "family", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "bernoulli", "floating point dtype, got torch.int64"),
        (torch.tensor([0.0, float("nan")]), "bernoulli", "1 of 2 that are nan or infinite"),
        (torch.tensor([0.0, float("inf")]), "categorical", "1 of 2 that are nan or infinite"),
        (torch.tensor(0.0), "bernoulli", r"shape \(\*batch, n\)"),
        (torch.zeros(2, 0), "categorical", r"got shape \(2, 0\)"),
        ([0.0, 1.0], "bernoulli", "expected a tensor, got a list"),
        (torch.zeros(3), "normal", "dictionary of loc and log_scale"),
        ({"loc": torch.zeros(3)}, "normal", "dictionary of loc and log_scale"),
        ({"loc": torch.zeros(3), "log_scale": torch.zeros(2)}, "normal", "must agree in shape"),
    ],
)
def test_parameters_that_are_not_as_they_must_be_are_refused(bad, family, message):
    compiled = compile(catalogue["score-function"], family)
    with pytest.raises(UsageError, match=message):
        compiled(bad, objective)
    with pytest.raises(UsageError, match=message):
        numeric.exact_gradient(objective, bad, family)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda b: b, r"expected shape \(1, 3\), got \(1, 3, 4\)"),
        (lambda b: b.sum(), r"expected shape \(1, 3\), got \(\)"),
        (lambda b: 1.0, "must return a tensor"),
        (lambda b: b.sum(-1) / 0, "finite real numbers"),
        (lambda b: b.sum(-1) * 1j, "finite real numbers"),
        ("f", "expected a function"),
    ],
)
def test_values_of_f_that_are_not_as_they_must_be_are_refused(f, message):
    for name in ("score-function", "rebar"):
        with pytest.raises(UsageError, match=message):
            compile(catalogue[name])(torch.zeros(3, 4), f)


def test_keywords_samples_and_noise_are_checked():
    compiled, logits = compile(catalogue["rebar"]), torch.zeros(3)
    for wrong, message in (
        ({"lambda_": 0.0}, "expected a positive finite number"),
        ({"eta": float("nan")}, "expected a finite number"),
        ({"eta": "1"}, "expected a number, got '1'"),
        ({"eta": torch.ones(3)}, r"eta: expected a number, got a tensor of shape \(3,\); it is one for the whole batch"),
        ({"temperature": 1.0}, "unknown temperature; expected: eta, lambda_"),
        ({"samples": 0}, "samples must be a positive integer"),
    ):
        with pytest.raises(UsageError, match=message):
            compiled(logits, objective, **wrong)
    with pytest.raises(UsageError, match="missing C"):
        compile(catalogue["control-variate"])(logits, objective)
    with pytest.raises(UsageError, match="lacks 'v'"):
        compiled.estimate(logits, {"u": torch.full((3,), 0.5)}, objective)
    with pytest.raises(UsageError, match=r"expected shape \(\*sample_shape, 3\), got \(2,\)"):
        compiled.estimate(logits, {"u": torch.full((2,), 0.5), "v": torch.full((2,), 0.5)}, objective)


def test_probabilities_outside_the_unit_interval_are_refused():
    assert torch.equal(logits_of(torch.tensor([0.5])), torch.zeros(1))
    for bad in (1.5, -0.1, 0.0, 1.0):
        with pytest.raises(UsageError, match="strictly between 0 and 1"):
            logits_of(torch.tensor([0.5, bad]))
    with pytest.raises(UsageError, match="add up to 1"):
        logits_of(torch.tensor([0.5, 0.1]), "categorical")


def test_enumerating_too_many_outcomes_is_refused_before_any_memory_is_taken():
    with pytest.raises(TooLarge, match="1073741824 outcomes"):
        compile(catalogue["control-variate"])(torch.zeros(30), objective, C=other)
    with pytest.raises(TooLarge, match="31 bits"):
        numeric.exact_gradient(objective, torch.zeros(31))


def test_the_exact_gradient_is_that_of_autograd_through_the_enumerated_expectation(monkeypatch):
    logits = params("bernoulli", (2, 3)).requires_grad_()
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)[:, None, :]
    p = (every * torch.sigmoid(logits) + (1 - every) * torch.sigmoid(-logits)).prod(-1)
    (expected,) = torch.autograd.grad((p * objective(every.expand(-1, 2, -1))).sum(), logits)
    torch.testing.assert_close(numeric.exact_gradient(objective, logits), expected, rtol=1e-13, atol=1e-14)
    for elements in (1, 12, 24):  # 0, 1 and 2 of the three bits inside a chunk
        monkeypatch.setattr(sys.modules["numeric.checking.exact_gradient"], "CHUNK_ELEMENTS", elements)
        torch.testing.assert_close(numeric.exact_gradient(objective, logits), expected, rtol=1e-13, atol=1e-14)
    (p,) = (torch.softmax(logits, -1),)
    classes = torch.eye(3, dtype=torch.float64)[:, None, :].expand(-1, 2, -1)
    (expected,) = torch.autograd.grad((p.T * objective(classes)).sum(), logits)
    torch.testing.assert_close(numeric.exact_gradient(objective, logits, "categorical"), expected, rtol=1e-13, atol=1e-14)


def test_the_exact_gradient_keeps_its_relative_accuracy_for_large_logits():
    logits = torch.tensor([80.0, -80.0, 1.0], dtype=torch.float64)
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)  # of E[sum w b] = sum w sigmoid(l)
    torch.testing.assert_close(numeric.exact_gradient(lambda b: b[..., :2].sum(-1), logits)[:2], slope[:2], rtol=1e-12, atol=0)


def test_the_exact_normal_gradient_is_exact_for_polynomials():
    loc, log_scale = torch.tensor([0.3], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
    gradient = numeric.exact_gradient(lambda z: z[..., 0] ** 4, {"loc": loc, "log_scale": log_scale}, "normal", nodes=4)
    m, v = loc, torch.exp(2 * log_scale)  # E z^4 = m^4 + 6 m^2 v + 3 v^2, dv/dlog_scale = 2 v
    torch.testing.assert_close(gradient["loc"], 4 * m**3 + 12 * m * v, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gradient["log_scale"], 12 * m**2 * v + 12 * v**2, rtol=1e-13, atol=1e-13)


FIRST = ["numeric.checking.crosscheck", "numeric.checking.exact_gradient", "numeric.codegen.torchrun", "numeric"]
EACH_FIRST = """
import importlib, sys
import torch

def holds(first):
    importlib.import_module(first)
    import numeric
    from derive.catalogue import catalogue
    r = numeric.crosscheck(catalogue["score-function"], size=1, samples=100)
    g = numeric.exact_gradient(lambda b: b.sum(-1), torch.zeros(1))
    from numeric.checking.crosscheck import crosscheck
    from numeric import crosscheck as again, exact_gradient as e
    return r.agrees and g == 0.25 and crosscheck.__name__ == "crosscheck" and callable(again) and bool(e)

for first in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("derive", "gradproof", "numeric")]:
        del sys.modules[name]
    print(first, holds(first))
"""


def test_functions_that_share_a_modules_name_can_be_called_whatever_is_imported_first():
    """Imported anew each time, in a process of its own that imports torch once."""
    done = subprocess.run([sys.executable, "-c", EACH_FIRST, *FIRST], check=False, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{first} True" for first in FIRST], done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_on_a_gpu_estimates_live_there_and_equal_those_of_the_cpu_for_the_same_noise(name, family):
    compiled, point = compile(catalogue[name], family), params(family)
    noise = compiled.draw(point, torch.Generator().manual_seed(0), (5,))
    there = {k: v.cuda() for k, v in point.items()} if isinstance(point, dict) else point.cuda()
    here = compiled.estimate(point, noise, objective, **keywords(name))
    moved = compiled.estimate(there, {k: v.cuda() for k, v in noise.items()}, objective, **keywords(name))
    for a, b in zip(tensors(here), tensors(moved), strict=True):
        assert b.is_cuda
        torch.testing.assert_close(b.cpu(), a, rtol=1e-10, atol=1e-12)
    drawn = compiled(there, objective, generator=torch.Generator("cuda").manual_seed(0), **keywords(name))
    assert all(part.is_cuda for part in tensors(drawn))


@pytest.mark.parametrize("name", ["f", "samples", "self"])
def test_a_function_that_is_called_as_an_argument_is_refused_by_name(name):
    theta, g, other = parameter("theta"), function("g"), function(name)
    b = finite("b", theta)
    mine = Estimator("mine", (g(b) - other(b)) * score(b), (b,), grad(E(g(b) - other(b), b), theta))
    with pytest.raises(UsageError, match=f"^{name} of 'mine' is given .* rename it"):
        numeric.compile(mine)
