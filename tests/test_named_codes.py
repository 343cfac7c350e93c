"""Torch code of laws with names: densities, scores and samplers are those of SciPy and torch, and the crosscheck judges it."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode

import numeric
from derive.estimator import Estimator
from derive.language.errors import NotEvaluable, UsageError
from derive.language.named import PARAMETERS, named
from derive.language.scope import free
from derive.language.term import RandomVariable
from derive.notation import (
    E,
    beta,
    constant,
    copies,
    exp,
    exponential,
    finite,
    function,
    gamma,
    geometric,
    grad,
    gumbel,
    laplace,
    log,
    logistic,
    maxwell,
    minimum,
    negative_binomial,
    normal,
    p,
    parameter,
    poisson,
    score,
    sigmoid,
    stop,
    weibull,
)
from numeric.checking import cases, crosscheck as stages
from numeric.checking.cases import Case
from numeric.checking.crosscheck import crosscheck
from numeric.checking.problem import domain, named_laws
from numeric.checking.problem.named_laws import log_density, nodes_of
from numeric.codegen.named import NAMED, family
from numeric.codegen.running import checks
from numeric.codegen.running.module import module_of
from numeric.codegen.torchgen import generate
from numeric.codegen.torchrun import Compiled, compile
from tests.test_named_laws import COUNTS, SCIPY, TORCH

theta, c, s = parameter("theta"), constant("c"), constant("s")
f, lj = function("f", differentiable=True), function("log_joint", differentiable=True)
CHAINS = {
    "probability": (sigmoid(theta), torch.sigmoid),
    "loc": (3 * theta - 1, lambda t: 3 * t - 1),
    "else": (exp(theta) / 2, lambda t: t.exp() / 2),
}
SECOND = {"NegativeBinomial": Fraction(2, 5)}
EACH = [(name, i) for name, taken in PARAMETERS.items() for i in range(len(taken))]
FALSE_ALARM = 1e-9
DRAWN = 100_000


def one(outcomes):
    return torch.ones(outcomes.shape[:-1], dtype=outcomes.dtype, device=outcomes.device)


def target(variable):
    return grad(E(f(variable), variable), theta)


def moving(name, i):
    """A variable of a law whose i-th parameter moves; the other one is a constant, or a number where the first moves."""
    term, chain = CHAINS[PARAMETERS[name][i] if PARAMETERS[name][i] in CHAINS else "else"]
    given = [c if i else SECOND.get(name, Fraction(7, 4)) for _ in PARAMETERS[name]]
    given[i] = term
    return RandomVariable("x", named(name, *given)), chain


def values_of(name, i, chain, t, other):
    second = float(SECOND.get(name, 1.75))
    return [chain(t) if j == i else torch.full_like(t, other if i else second) for j, _ in enumerate(PARAMETERS[name])]


def some_points(name, values, count):
    frozen = SCIPY[name](*(part.detach().numpy() for part in values))
    return torch.tensor(frozen.rvs(size=(count, *values[0].shape), random_state=np.random.default_rng(3)), dtype=torch.float64)


# Densities and scores


@pytest.mark.parametrize(("name", "i"), EACH)
def test_density_and_score_are_those_of_torch_and_scipy(name, i):
    variable, chain = moving(name, i)
    t = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None].requires_grad_()
    values = values_of(name, i, chain, t, 1.25)
    x, constants = some_points(name, values, 20), {"c": 1.25} if i else {}
    expected = TORCH[name](*values).log_prob(x)
    slope = torch.stack([torch.autograd.grad(row.sum(), t, retain_graph=True)[0] for row in expected])
    kind = "logpmf" if name in COUNTS else "logpdf"
    scipy = getattr(SCIPY[name](*(part.detach().numpy() for part in values)), kind)(x.numpy())
    density = compile(Estimator("density", log(p(variable)), (variable,), target(variable)))
    found = density.estimate(t.detach(), {"x": x}, one, **constants)
    assert torch.allclose(found, expected.detach(), rtol=1e-12, atol=1e-12)
    assert np.allclose(found, scipy, rtol=1e-10, atol=1e-10)
    scored = compile(Estimator("score", f(variable) * score(variable, theta), (variable,), target(variable)))
    assert torch.allclose(scored.estimate(t, {"x": x}, one, **constants), slope, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name not in COUNTS])
def test_the_derivative_by_the_outcome_is_that_of_torch(name):
    variable = RandomVariable("x", named(name, *(constant(f"c{i}") for i, _ in enumerate(PARAMETERS[name]))))
    point = theta if NAMED[name].inside == "" else sigmoid(theta)
    e = normal("e")
    formula = grad(log(p(variable, at=point + 0 * e)), theta)
    made = compile(Estimator("slope", formula, (e,), target(e)))
    t = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None].requires_grad_()
    given = {f"c{i}": 1.5 + i for i, _ in enumerate(PARAMETERS[name])}
    at = t if NAMED[name].inside == "" else t.sigmoid()
    expected = torch.autograd.grad(TORCH[name](*map(torch.tensor, map(np.float64, given.values()))).log_prob(at).sum(), t)[0]
    found = made.estimate(t, {"e": torch.zeros(5, 1, dtype=torch.float64)}, one, **given)
    assert torch.allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_the_judge_has_the_same_densities_from_torch():
    for name, taken in PARAMETERS.items():
        values = [torch.tensor([0.75 if one == "probability" else 1.5 + i], dtype=torch.float64) for i, one in enumerate(taken)]
        x = some_points(name, values, 30)
        scipy = SCIPY[name](*(float(value) for value in values))
        found = log_density(named(name, *([Fraction(1, 2)] * len(taken))), x, values)
        assert np.allclose(found, getattr(scipy, "logpmf" if name in COUNTS else "logpdf")(x.numpy())[:, 0], rtol=1e-10)


# Samplers


WAYS = {"tensors": theta, "constants": c, "numbers": None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PARAMETERS)
def test_the_sampler_has_its_law(name, way, dtype):
    numbers = [Fraction(2, 5)] if name == "Geometric" else [Fraction(3, 2), Fraction(4, 5)][: len(PARAMETERS[name])]
    given = [WAYS[way] or number for number in numbers]
    if way != "numbers" and len(given) == 2:
        given[1] = WAYS[way] - Fraction(7, 10)
    variable = RandomVariable("x", named(name, *given))
    made = compile(Estimator("draws", f(variable) + 0 * theta * c, (variable,), target(variable)))
    t = torch.full((1,), float(numbers[0]), dtype=dtype)
    constants = {"c": float(numbers[0])} if "c" in made._generated.drawn_with else {}
    before = torch.get_rng_state()
    draw = lambda: made.draw(t, torch.Generator().manual_seed(5), (DRAWN,), **constants)["x"]  # noqa: E731
    drawn = draw()
    assert (drawn.dtype, drawn.shape) == (dtype, (DRAWN, 1))
    assert torch.equal(drawn, draw())
    assert torch.equal(torch.get_rng_state(), before)
    law = SCIPY[name](*map(float, numbers))
    if name in COUNTS:
        edges = np.arange(int(law.ppf(1 - 50 / DRAWN)))
        expected = DRAWN * np.append(law.pmf(edges), law.sf(edges[-1]))
        counted = np.bincount(np.minimum(drawn.numpy()[:, 0].astype(int), len(edges)), minlength=len(edges) + 1)
        assert stats.chisquare(counted, expected * counted.sum() / expected.sum()).pvalue > FALSE_ALARM
    else:
        assert stats.kstest(drawn.double().numpy()[:, 0], law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", PARAMETERS)
def test_draws_of_two_variables_and_of_coordinates_are_independent(name):
    variable, _ = moving(name, 0)
    one, two = copies(variable, 2)
    made = compile(Estimator("pair", f(one) * f(two) * score(one, theta), (one, two), target(variable)))
    noise = made.draw(torch.zeros(2, dtype=torch.float64), torch.Generator().manual_seed(1), (20_000,))
    columns = torch.cat(list(noise.values()), -1)
    ranks = columns if name in COUNTS else columns.argsort(0).argsort(0).double()
    off = torch.corrcoef(ranks.T) - torch.eye(4)
    assert float(off.abs().max()) < 6.2 / 20_000**0.5


@pytest.mark.parametrize(("name", "i"), EACH)
def test_draws_and_estimates_are_where_the_parameters_are(name, i):
    variable, _ = moving(name, i)
    own = Estimator("mine", log(p(variable)) * f(variable) * score(variable, theta), (variable,), target(variable))
    made, case = compile(own), Case(own, "vector", "meta", 1)
    params = case.shaped(case.parameters(0))
    drawn = made.draw(params, None, (3,), **case.drawn_with(0))
    found = made.estimate(params, drawn, *case.objective, **case.keywords(0))
    assert (drawn["x"].device.type, drawn["x"].shape, found.device.type, found.shape) == ("meta", (3, 1), "meta", (3, 1))
    left = Compiled(own, replace(made._generated, source=made.source.replace(", device=theta.device", "")))
    if ", device=theta.device" in made.source:
        with pytest.raises(RuntimeError, match="device"):
            left.estimate(params, left.draw(params, None, (3,), **case.drawn_with(0)), *case.objective, **case.keywords(0))


@pytest.mark.parametrize("name", PARAMETERS)
def test_draws_for_parameters_on_a_gpu_are_made_there(name):
    variable, _ = moving(name, len(PARAMETERS[name]) - 1)
    own = Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable))
    generated = generate(own)
    module = module_of(generated.source, "fake")
    with FakeTensorMode():
        drawn = module.draw(torch.zeros(2, 3, device="cuda"), None, (4,), **dict.fromkeys(generated.drawn_with, 0.5))
    assert (drawn["x"].device.type, drawn["x"].shape) == ("cuda", (4, 2, 3))


def test_a_batch_goes_through_vmap_and_compile():
    x = gamma("x", shape=exp(theta), rate=2)
    made = compile(Estimator("mine", f(x) * score(x, theta), (x,), target(x)))
    t = torch.zeros(4, 3)
    found = torch.vmap(lambda row: made(row, lambda v: v.sum(-1)), randomness="different")(t)
    assert found.shape == t.shape
    assert made.compile(backend="eager")(t, lambda v: v.sum(-1)).shape == t.shape


# The ends


UNIFORM = (".clamp(eps, 1 - eps)", "rand")
GUARDS = dict.fromkeys(("Exponential", "Geometric", "Laplace", "Logistic", "Gumbel", "Weibull"), UNIFORM)
GUARDS |= {"Gamma": (".clamp(min=tiny)", "_standard_gamma"), "Beta": (".clamp(tiny, 1 - eps)", "_standard_gamma"),
           "Maxwell": (" + (drawn == c) * (2 * eps * drawn + tiny)", "randn")}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_ends_of_the_noise_have_finite_scores(name, end, monkeypatch):
    """And without the guard they have not, at one of the two ends."""
    guard, draws = GUARDS[name]
    variable, _ = moving(name, len(PARAMETERS[name]) - 1)
    own = Estimator("mine", log(p(variable)) * f(variable) * score(variable, theta), (variable,), target(variable))
    made = compile(own)
    calls = []

    def at_the_end(first, *args, **options):
        calls.append(first)
        shape = first.shape if isinstance(first, torch.Tensor) else first
        value = 1 - end if name == "Beta" and len(calls) % 2 else end
        return torch.full(shape, value, dtype=torch.float32)

    monkeypatch.setattr(torch, draws, at_the_end)
    constants = {"c": 1.25} if "c" in made._generated.drawn_with else {}
    keywords = {"c": 1.25} if "c" in made.constants else {}

    def estimate(compiled):
        noise = compiled.draw(torch.zeros(1), None, (1,), **constants)
        return compiled.estimate(torch.zeros(1), noise, one, **keywords)

    assert bool(torch.isfinite(estimate(made)).all())
    assert guard in made.source
    unguarded = Compiled(own, replace(made._generated, source=made.source.replace(guard, "")))
    seen = bool(torch.isfinite(estimate(unguarded)).all())
    assert not (seen and (name, end) in INFINITE)


INFINITE = {
    ("Exponential", 0.0), ("Geometric", 0.0), ("Laplace", 0.0), ("Laplace", 1.0), ("Logistic", 0.0), ("Logistic", 1.0),
    ("Gumbel", 0.0), ("Gumbel", 1.0), ("Weibull", 0.0), ("Weibull", 1.0), ("Gamma", 0.0), ("Beta", 0.0), ("Maxwell", 0.0),
}  # fmt: skip


OUTSIDE = (
    (exponential("x", rate=2), normal("e"), (-1.0, 0.5), (-math.inf, math.log(2) - 1)),
    (weibull("x", shape=1, scale=1), normal("e"), (-1.0, 0.5), (-math.inf, -0.5)),
    (beta("x", a=1, b=1), exponential("e"), (1.5, 0.5), (-math.inf, 0.0)),
    (poisson("x", rate=1), geometric("e", probability=Fraction(1, 2)), (0.0, 1.0), (-math.inf, -1.0)),
    (geometric("x", probability=Fraction(1, 2)), poisson("e"), (0.0, 1.0), (-math.inf, math.log(0.5))),
)


@pytest.mark.parametrize(("law", "noise", "points", "expected"), OUTSIDE)
def test_a_density_is_zero_outside_of_its_support(law, noise, points, expected):
    at = noise - 1 if law.law.counts else noise
    made = compile(Estimator("mine", log(p(law, at=at)) + 0 * theta, (noise,), target(noise)))
    x = torch.tensor(points, dtype=torch.float64)[:, None]
    assert made._estimate(torch.ones(1).double(), {"e": x}, one)[:, 0].tolist() == pytest.approx(expected)
    assert "torch.where" in made.source
    assert log_density(law.law, x - int(law.law.counts), [torch.tensor([float(t.value)]) for t in law.law.terms]).tolist() == (
        pytest.approx(expected)
    )


def test_a_density_without_its_support_is_disagreed_with(monkeypatch):
    """One count less than that of a proposal may be -1: without the guard that has a weight."""
    weighted = p(g, at=other - 1) / p(other) * f(other - 1) * score(g, theta, at=other - 1)
    mine = Estimator("mine", weighted, (other,), target(g))
    assert crosscheck(mine, samples=20_000).agrees
    monkeypatch.setattr(family.Named, "log_prob_anywhere", family.Named.log_prob)
    assert not crosscheck(mine, samples=20_000).agrees


# Parameters must be positive


REFUSED = (
    (exponential("x", rate=theta), (-1.0, 1.0), "theta, which must be positive: 1 of 2 entries is not, the smallest is -1"),
    (geometric("x", probability=theta), (0.5, 1.5), "1 - theta, which must be positive"),
    (gumbel("x", loc=theta, scale=2 - theta), (0.0, 2.0), "2 - theta, which must be positive"),
    (poisson("x", rate=exp(theta)), (0.0, -1000.0), r"exp\(theta\), which must be positive"),
)


@pytest.mark.parametrize(("variable", "values", "said"), REFUSED)
def test_parameters_that_are_not_positive_are_refused(variable, values, said, monkeypatch):
    made = compile(Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable)))
    good, bad = torch.full((2,), 0.5), torch.tensor(values)
    noise = made.draw(good, torch.Generator().manual_seed(0))
    objective = lambda v: v.sum(-1)  # noqa: E731
    made(good, objective)
    for call in (lambda: made(bad, objective), lambda: made.draw(bad), lambda: made.estimate(bad, noise, objective)):
        with pytest.raises(UsageError, match=said):
            call()
    made(good, objective, check=False)
    monkeypatch.setattr(checks, "require_positive", lambda *_, **__: None)
    if variable.law.name == "Exponential":
        assert bool(torch.isfinite(made(bad, objective)).all())


def test_constants_that_are_not_positive_are_refused_where_they_are_used():
    x, proposal = exponential("x", rate=theta), exponential("x", rate=c)
    kl = grad(E(log(p(x)) - log(p(proposal, at=x)), x), theta)
    made = compile(Estimator("kl", (log(p(x)) - log(p(proposal, at=x))) * score(x, theta), (x,), kl))
    t = torch.ones(1)
    noise = made.draw(t)
    for keywords in ({}, {"c": -1.0}):
        with pytest.raises(UsageError, match="the parameter c, which must be positive"):
            made(t, **keywords)
        with pytest.raises(UsageError, match="the parameter c, which must be positive"):
            made.estimate(t, noise, **keywords)
    assert made(t, c=2.0).shape == (1,)


def test_a_constant_of_a_draw_alone_must_be_a_number():
    noise = exponential("e", rate=c)
    made = compile(Estimator("mine", grad(f(theta * noise), theta), (noise,), grad(E(f(theta * noise), noise), theta)))
    assert made(torch.ones(2), lambda v: v.sum(-1), c=2.0).shape == (2,)
    for wrong in ("2", torch.ones(3)):
        with pytest.raises(UsageError, match="c: expected a number"):
            made(torch.ones(2), lambda v: v.sum(-1), c=wrong)


@pytest.mark.parametrize(("make", "name"), [(maxwell, "normals"), (laplace, "centred"), (logistic, "uniform")])
def test_a_constant_that_is_called_as_the_noise_of_a_sampler_is_told_apart(make, name):
    variable = make("x", loc=constant(name), scale=theta)
    mine = Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable))
    assert crosscheck(mine, samples=20_000).agrees


# The judge


@pytest.mark.parametrize("name", PARAMETERS)
def test_moments_at_the_nodes_are_those_of_scipy(name):
    values = [0.6 if one == "probability" else value for one, value in zip(PARAMETERS[name], (1.6, 1.3), strict=False)]
    law = named(name, *(Fraction(str(value)) for value in values))
    given = [torch.tensor([value], dtype=torch.float64) for value in values]
    x, log_w = nodes_of(law, given, 1, 48)
    weights = (log_density(law, x, given) + log_w).exp()
    for order in range(5):
        expected = SCIPY[name](*values).moment(order) if order else 1.0
        assert float((weights * x[:, 0] ** order).sum()) == pytest.approx(expected, rel=1e-9)
    two, both = nodes_of(law, [torch.cat([part, part]) for part in given], 2, 40)
    weights = (log_density(law, two, given) + both).exp()
    assert float((weights * two[:, 0] * two[:, 1]).sum()) == pytest.approx(SCIPY[name](*values).mean() ** 2, rel=1e-9)


def test_mass_that_numbers_have_no_room_for_is_no_judgement(monkeypatch):
    law, given = named("Beta", 2, Fraction(1, 4)), [torch.tensor([2.0]), torch.tensor([0.25])]
    with pytest.raises(NotEvaluable, match="the mass of Beta"):
        nodes_of(law, given, 1, 48)
    monkeypatch.setattr(named_laws, "LOST", 1.0)
    assert nodes_of(law, given, 1, 48)[0].shape == (48, 1)


def test_weights_without_a_variance_are_no_accusation(monkeypatch):
    """The tail of the proposal is far too short: the means of samples are wrong by more than their standard error says."""
    x, proposal = exponential("x", rate=theta), exponential("x", rate=8 * stop(theta))
    right = Estimator("right", p(x, at=proposal) / p(proposal) * f(proposal) * score(x, theta, at=proposal), (proposal,),
                      target(x))  # fmt: skip
    with pytest.raises(NotEvaluable, match="no variance that the quadrature"):
        crosscheck(right)
    monkeypatch.setattr(stages, "MOVES", math.inf)
    assert not crosscheck(right).agrees


def test_a_parameter_that_no_point_allows_is_named():
    x = poisson("x", rate=theta - theta)
    with pytest.raises(UsageError, match="found no theta at which"):
        crosscheck(Estimator("mine", f(x) * score(x, theta), (x,), target(x)))


def test_a_shape_at_which_32_bits_have_no_room_is_not_tried(monkeypatch):
    """A third of the mass is below the smallest number, and the samples have another score there."""
    tiny = gamma("x", shape=theta / 400, rate=1)
    mine = Estimator("mine", f(tiny) * score(tiny, theta), (tiny,), target(tiny))
    with pytest.raises(UsageError, match="found no theta at which"):
        crosscheck(mine)
    monkeypatch.setattr(domain, "SHAPED", {})
    with pytest.raises(NotEvaluable, match="the mass of Gamma"):
        crosscheck(mine)


ROUGH = {
    "a density outside": log(p(exponential("x", rate=theta), at=laplace("e") + 1)),
    "a beta density on the line": p(beta("x", a=theta, b=2), at=exponential("e")),
    "a kink of another law": log(p(laplace("z", loc=theta), at=laplace("e"))),
    "a kink elsewhere": score(laplace("z", loc=theta), theta, at=theta + 1 + laplace("e")),
    "a zero of another law": log(p(maxwell("z", loc=theta), at=laplace("e"))),
    "a zero under another law of its middle": log(p(maxwell("z", loc=theta), at=laplace("e", loc=theta))),
    "a zero in normal noise": score(maxwell("z", scale=theta), theta, at=normal("e")),
    "a zero elsewhere": score(maxwell("z", loc=theta), theta, at=theta + 1 + maxwell("e")),
    "a kink in smooth noise": p(laplace("z", loc=theta), at=logistic("e")),
    "a smaller one": minimum(p(exponential("x", rate=theta), at=exponential("e")), 1),
}


@pytest.mark.parametrize("name", ROUGH)
def test_what_jumps_or_bends_between_nodes_is_no_judgement(name, monkeypatch):
    noise = next(leaf for leaf in free(ROUGH[name]) if isinstance(leaf, RandomVariable))
    mine = Estimator("mine", ROUGH[name] * f(noise), (noise,), target(exponential("x", rate=theta)))
    with pytest.raises(NotEvaluable, match="may jump or bend between the nodes"):
        crosscheck(mine, samples=1000)


def test_a_kink_between_the_nodes_would_be_an_accusation(monkeypatch):
    """The penalty k3 is right; its derivative jumps where the other law bends."""
    here, there = laplace("z", loc=theta), laplace("z")
    ratio = log(p(here)) - log(p(there, at=here))
    forward = grad(E(log(p(there)) - log(p(here, at=there)), there), theta)
    k3 = Estimator("k3", grad(exp(-ratio) - 1 + ratio, theta), (here,), forward)
    with pytest.raises(NotEvaluable, match="the density of Laplace at z"):
        crosscheck(k3, samples=1000)
    monkeypatch.setattr(cases, "require_smooth", lambda *_: None)
    assert not crosscheck(k3, samples=1000).agrees


def test_the_least_of_a_ratio_of_counts_is_judged():
    """A sum has no nodes to miss a branch between; the estimate is biased, and told from that of the whole ratio."""
    weight = p(n, at=other) / p(other)
    cut = minimum(weight, Fraction(3, 2)) * f(other) * score(n, theta, at=other)
    assert not crosscheck(Estimator("mine", cut, (other,), target(n)), samples=20_000).agrees
    whole = minimum(weight, 1000) * f(other) * score(n, theta, at=other)
    with pytest.raises(NotEvaluable, match="a sign in them never changes"):
        crosscheck(Estimator("mine", whole, (other,), target(n)), samples=20_000)


def test_large_parameters_and_densities_that_overflow_are_no_accusation(monkeypatch):
    monkeypatch.setattr(domain, "SHAPED", {})
    wide, thin = gamma("x", shape=100 * theta, rate=1), beta("x", a=theta / 4, b=3)
    for variable in (wide, thin):
        mine = Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable))
        assert crosscheck(mine, samples=20_000).agrees
    monkeypatch.setattr(stages, "MAX_TOLERANCE", 0.0)
    mine = Estimator("mine", f(wide) * score(wide, theta), (wide,), target(wide))
    assert max(check.max_error / check.tolerance for check in stages_of(mine, 2)) > 0.1


def stages_of(estimator, size=1):
    case = Case(estimator, "vector", "cpu", size)
    return [stages._zero_noise(compile(estimator), case, k, stages.Branches()) for k in (0, 1)]


def test_a_score_that_overflows_far_out_is_no_accusation(monkeypatch):
    """There it is infinite and the density zero, whose product is no number, of a weight that is nothing."""
    sharp, wide = gumbel("z", loc=theta, scale=Fraction(1, 8)), logistic("q", scale=4)
    mine = Estimator("mine", p(sharp, at=wide) / p(wide) * f(wide) * score(sharp, theta, at=wide), (wide,), target(sharp))
    assert all(math.isnan(check.max_error) and not check.decided for check in stages_of(mine))
    monkeypatch.setattr(stages.math, "isnan", lambda number: False)
    assert all(check.decided and not check.passed for check in stages_of(mine))


def test_a_density_that_is_the_same_everywhere_has_an_entry_for_each_point():
    flat = beta("x", a=1, b=1)
    made = compile(Estimator("mine", log(p(flat)) + 0 * theta, (flat,), target(flat)))
    assert made.estimate(torch.ones(1), {"x": torch.tensor([[0.25], [0.75]])}, one).tolist() == [[0.0], [0.0]]


# Right estimators and their wrong twins

x, e, n, g = exponential("x", rate=theta), exponential("e"), poisson("n", rate=theta), geometric("g", probability=theta)
x1, x2 = copies(x, 2)
g1, g2 = copies(g, 2)
lo, gu, la = logistic("e"), gumbel("e"), laplace("e")
z_lo, z_gu, z_la = logistic("z", loc=theta, scale=s), gumbel("z", loc=theta, scale=s), laplace("z", loc=theta, scale=s)
w, w_e = weibull("w", shape=s, scale=theta), weibull("e", shape=s)
k, k_e = gamma("k", shape=s, rate=theta), gamma("e", shape=s)
two, three = gamma("x", shape=2, rate=theta), gamma("y", shape=3, rate=theta)
several, more = (negative_binomial("n", total=total, probability=sigmoid(theta)) for total in (c, c + 1))
ma, no, ma_e = maxwell("m", loc=c, scale=theta), normal("z", c, theta), maxwell("e")
ma_0, ma_s = maxwell("z", scale=theta), maxwell("z", loc=theta, scale=s)
proposal, other = exponential("x", rate=c), geometric("n", probability=c)
ratio = p(x, at=proposal) / p(proposal)
k1 = log(p(x)) - log(p(proposal, at=x))
KL = grad(E(k1, x), theta)


def elbo(variable):
    return grad(E(lj(variable) - log(p(variable)), variable), theta)


RIGHT = {
    "exponential with a baseline": ((f(x1) - f(x2)) * score(x1, theta), (x1, x2), target(x)),
    "exponential, measure-valued": ((f(x1) - f(x1 + x2)) / theta, (x1, x2), target(x)),
    "exponential, path": (grad(f(e / theta), theta), (e,), target(x)),
    "poisson, measure-valued": (f(n + 1) - f(n), (n,), target(n)),
    "geometric, measure-valued": ((f(g1 + g2) - f(g1 + g2 + 1)) / theta**2, (g1, g2), target(g)),
    "gamma, measure-valued in the rate": (2 * (f(two) - f(three)) / theta, (two, three), target(two)),
    "logistic, path": (grad(f(theta + s * lo), theta), (lo,), target(z_lo)),
    "gumbel, path": (grad(f(theta + s * gu), theta), (gu,), target(z_gu)),
    "laplace, path": (grad(f(theta + s * la), theta), (la,), target(z_la)),
    "weibull, path": (grad(f(theta * w_e), theta), (w_e,), target(w)),
    "gamma, path in the rate": (grad(f(k_e / theta), theta), (k_e,), target(k)),
    "exponential by another": (ratio * f(proposal) * score(x, theta, at=proposal), (proposal,), target(x)),
    "poisson by a geometric": (p(n, at=other) / p(other) * f(other) * score(n, theta, at=other), (other,), target(n)),
    "exponential beside a normal": (f(x) * normal("e") ** 2 * score(x, theta), (x, normal("e")), target(x)),
    "bound, score": ((lj(x) - log(p(x))) * score(x, theta), (x,), elbo(x)),
    "bound, path": (grad(lj(e / theta) - log(p(x, at=e / theta)), theta), (e,), elbo(x)),
    "bound, path of a gamma": (grad(lj(k_e / theta) - log(p(k, at=k_e / theta)), theta), (k_e,), elbo(k)),
    "bound, path of a laplace": (grad(lj(theta + s * la) - log(p(z_la, at=theta + s * la)), theta), (la,), elbo(z_la)),
    "bound, path of a logistic": (grad(lj(theta + s * lo) - log(p(z_lo, at=theta + s * lo)), theta), (lo,), elbo(z_lo)),
    "k1 with the score": (k1 * score(x, theta), (x,), KL),
    "k2 as a loss": (grad(k1**2 / 2, theta), (x,), KL),
    "negative binomial, measure-valued": (c * (f(more + 1) - f(more)) * exp(theta), (more,), target(several)),
    "normal scale, measure-valued": ((f(ma) - f(no)) / theta, (ma, no), target(no)),
    "maxwell, path": (grad(f(theta * ma_e), theta), (ma_e,), target(ma_0)),
    "maxwell, path of the middle": (grad(f(theta + s * ma_e), theta), (ma_e,), target(ma_s)),
    "bound, path of a maxwell": (grad(lj(theta * ma_e) - log(p(ma_0, at=theta * ma_e)), theta), (ma_e,), elbo(ma_0)),
    "a second derivative": (f(x) * (score(x, theta) ** 2 + grad(score(x, theta), theta)), (x,), grad(target(x), theta)),
}
WRONG = {
    "exponential, no 1 / rate": (f(x1) - f(x1 + x2), (x1, x2), target(x)),
    "exponential, one sample twice": ((f(x1) - f(2 * x1)) / theta, (x1,), target(x)),
    "exponential, rate for scale": (grad(f(e * theta), theta), (e,), target(x)),
    "exponential, the sample is held": (grad(f(x), theta), (x,), target(x)),
    "exponential, scale for rate": (f(x) * (x / theta**2 - 1 / theta), (x,), target(x)),
    "poisson, minus": (f(n) - f(n + 1), (n,), target(n)),
    "poisson, b - 1": (f(n) - f(n - 1), (n,), target(n)),
    "geometric, one sample": ((f(g1) - f(g1 + 1)) / theta**2, (g1,), target(g)),
    "gamma, no shape": ((f(two) - f(three)) / theta, (two, three), target(two)),
    "negative binomial, the same total": (c * (f(several + 1) - f(several)) * exp(theta), (several,), target(several)),
    "normal scale, one draw": ((f(2 * no - c) - f(no)) / theta, (no,), target(no)),
    "maxwell for normal": (grad(f(theta * ma_e), theta), (ma_e,), target(no)),
    "laplace, no scale": (grad(f(theta + la), theta), (la,), target(z_la)),
    "gumbel for logistic": (grad(f(theta + s * gu), theta), (gu,), target(z_lo)),
    "gumbel, minus": (grad(f(theta - s * gu), theta), (gu,), target(z_gu)),
    "no ratio": (f(proposal) * score(x, theta, at=proposal), (proposal,), target(x)),
    "ratio upside down": (p(proposal) / p(x, at=proposal) * f(proposal) * score(x, theta, at=proposal), (proposal,), target(x)),
    "bound without the Jacobian": (grad(lj(e / theta) - log(p(e)), theta), (e,), elbo(x)),
    "k1 as a loss": (grad(k1, theta), (x,), KL),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_estimators_agree(name):
    assert crosscheck(Estimator("mine", *RIGHT[name]), samples=20_000).agrees


@pytest.mark.parametrize("name", WRONG)
def test_wrong_twins_disagree(name):
    assert not crosscheck(Estimator("mine", *WRONG[name]), samples=20_000).agrees


@pytest.mark.parametrize(("name", "i"), EACH)
def test_the_score_function_agrees_for_every_parameter_and_its_twin_does_not(name, i):
    variable, _ = moving(name, i)
    right = crosscheck(Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable)), samples=20_000)
    assert (right.agrees, right.size) == (True, 2)
    twin = Estimator("mine", f(variable) * (score(variable, theta) + theta), (variable,), target(variable))
    assert not crosscheck(twin, samples=20_000, size=1).agrees


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_wrong_slope_in_the_code_is_disagreed_with(name, monkeypatch):
    variable, _ = moving(name, 0)
    kind, right = NAMED[name], NAMED[name].slope
    monkeypatch.setattr(kind, "slope", lambda self, x, i, assign: family.minus(right(self, x, i, assign)))
    mine = Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable))
    assert not crosscheck(mine, samples=20_000, size=1).agrees


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_wrong_sampler_is_seen_by_the_samples(name, monkeypatch):
    """Each draw is that of the parameters of another law: halved rates and probabilities, and scales."""
    variable, _ = moving(name, len(PARAMETERS[name]) - 1)
    mine = Estimator("mine", f(variable) * score(variable, theta), (variable,), target(variable))
    right = NAMED[name].draw

    def wrong(self, shape, at=""):
        halved = family.times([family.number(Fraction(1, 2)), self.given[-1]])
        return right(replace(self, given=(*self.given[:-1], halved)), shape)

    assert crosscheck(mine, samples=20_000, size=1).agrees
    monkeypatch.setattr(NAMED[name], "draw", wrong)
    report = crosscheck(mine, samples=20_000, size=1)
    assert (report.agrees, report.sampling.passed) == (False, False)


# Refusals by name


MINE = {
    "beside a finite law": (f(x) * f(finite("b", theta)), (x, finite("b", theta)), None, "runs in the vector family"),
    "in another family": (f(x) * score(x, theta), (x,), "normal", "runs in the vector family"),
    "of another draw": (
        f(x) * f(exponential("y", rate=exp(normal("z")))),
        (x, normal("z"), exponential("y", rate=exp(normal("z")))),
        None,
        "of draws or functions",
    ),
    "of a function": (
        f(exponential("y", rate=exp(f(theta)))),
        (exponential("y", rate=exp(f(theta))),),
        None,
        "of draws or functions",
    ),
    "a mean in a function": (f(x) * f(E(x, x)), (x,), None, "exponential law has no mean in generated code"),
    "a mean inside": (f(x) * E(x, x), (x,), None, "no mean under a law with a name"),
    "through a count": (grad(log(p(n, at=n + theta)), theta), (n,), None, "poisson family has outcomes that do not move"),
}


@pytest.mark.parametrize("name", MINE)
def test_what_has_no_code_is_refused_by_name(name):
    formula, draws, kind, said = MINE[name]
    with pytest.raises(UsageError, match=said):
        generate(Estimator("mine", formula, draws, target(x)), kind)


def test_the_source_says_the_laws_and_is_short():
    source = numeric.emit(Estimator("mine", f(k) * score(k, theta), (k,), target(k)))
    assert "k is Gamma(shape = s, rate = theta)." in source
    assert max(map(len, source.splitlines())) <= 120
    assert "score_k = s / theta - k" in source
