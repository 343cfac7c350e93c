"""Noise that is thresholded and used is integrated between its breakpoints: right code passes, and every mistake is found."""

from __future__ import annotations

import math

import pytest
import torch

from derive.language.errors import TooLarge, UsageError
from numeric.auditing.audit import NotAuditable, UndecidedAudit, audit
from numeric.draws.quadrature_rules import FAMILIES, Bracket, cumulative, quantile, rule

torch.set_num_threads(1)


def parameter(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def square(b):
    return ((b - 0.45) ** 2 * torch.arange(1, b.numel() + 1)).sum() + b.prod()


CONDITIONAL = {
    "right": lambda v, p, b: torch.where(b > 0, v * p + 1 - p, v * (1 - p)),
    "swapped": lambda v, p, b: torch.where(b > 0, v * (1 - p), v * p + 1 - p),
    "reversed": lambda v, p, b: torch.where(b > 0, 1 - v * (1 - p), v * p),
}


def rebar(theta, *, conditional="right", correction=True, temperature=1.0):
    """REBAR as it is written by hand: b is a threshold of the noise that its relaxation uses too."""

    def loss():
        p, u, v = theta.sigmoid(), torch.rand_like(theta), torch.rand_like(theta)
        z = theta + torch.logit(u)
        b = (z > 0).to(theta.dtype).detach()
        z_tilde = theta + torch.logit(CONDITIONAL[conditional](v, p, b))
        soft, soft_tilde = square((z / temperature).sigmoid()), square((z_tilde / temperature).sigmoid())
        score = torch.distributions.Bernoulli(logits=theta).log_prob(b).sum()
        return (square(b) - soft_tilde).detach() * score + (soft - soft_tilde if correction else 0)

    return loss, theta, lambda: square(torch.bernoulli(theta.sigmoid()))


@pytest.mark.parametrize(("temperature", "rtol"), [pytest.param(1.0, 1e-9, marks=pytest.mark.exhaustive), (0.5, 1e-6)])
def test_rebar_by_hand_is_unbiased(temperature, rtol):
    report = audit(*rebar(parameter(0.4), temperature=temperature), rtol=rtol)
    assert report.scaled_by == pytest.approx(1, abs=rtol)
    assert float(report.quadrature_error["theta"]) < rtol
    assert "2 scalars of noise in the loss, in up to 2 segments" in str(report)
    assert report.to_json()["quadrature_error"]["theta"][0] < rtol


@pytest.mark.exhaustive
def test_rebar_of_two_bits_is_not_accused():
    report = audit(*rebar(parameter(0.4, -0.3)), rtol=1e-6, raise_exception=False)
    assert report.verdict in ("unbiased", "unbiased up to x", "undecided")


REVERSED, MISSING = (
    pytest.param(mistake, marks=pytest.mark.exhaustive) for mistake in ({"conditional": "reversed"}, {"correction": False})
)


@pytest.mark.parametrize("mistake", [{"conditional": "swapped"}, REVERSED, MISSING])
def test_a_mistake_in_rebar_is_found(mistake):
    report = audit(*rebar(parameter(0.4), **mistake), raise_exception=False)
    assert not report
    assert abs(float(report.bias["theta"])) > 0.01


def normal_tail(theta):
    return 0.5 * torch.erfc(-theta / math.sqrt(2))


def normal_density(theta):
    return torch.exp(-theta.square() / 2) / math.sqrt(2 * math.pi)


def thresholded(theta, shift):
    """E[1{x > 0} (x^2 + shift)] with x = theta + noise, and its value by hand."""

    def loss():
        x = theta + torch.randn(1, dtype=theta.dtype)
        return ((x > 0) * (x**2 + shift)).sum()

    def closed():
        by_hand = (1 + theta**2 + shift) * normal_tail(theta) + theta * normal_density(theta)
        return by_hand.sum()

    return loss, theta, closed


def test_a_thresholded_normal_without_a_jump_is_unbiased():
    assert float(audit(*thresholded(parameter(0.3), 0.0)).quadrature_error["theta"]) < 1e-10


def test_a_jump_that_moves_with_the_parameter_is_found():
    theta = parameter(0.3)
    report = audit(*thresholded(theta, 1.0), raise_exception=False)
    assert float(report.bias["theta"]) == pytest.approx(-float(normal_density(theta.detach())), rel=1e-9)


def test_the_error_of_quadrature_is_tolerated_and_shown():
    theta = parameter(0.3)

    def loss():
        u = torch.rand(1, dtype=torch.float64)
        return ((u > 0.25) * (theta * 5 * u).exp()).sum()

    def closed():
        return ((5 * theta).exp() - (1.25 * theta).exp()).sum() / (5 * theta).sum()

    report = audit(loss, theta, closed, atol=0.0, rtol=0.0, budget=60, breakpoints=[[0.25]], raise_exception=False)
    assert 0 < float(report.quadrature_error["theta"]) == float(report.tolerance["theta"]) < 1e-3
    assert f"estimated error {float(report.quadrature_error['theta']):.1e}" in str(report)


@pytest.mark.filterwarnings("ignore::numeric.auditing.audit_report.AuditWarning")
def test_the_error_of_an_integrated_objective_counts():
    theta = parameter(0.3)

    def closed():
        return (((5 * theta).exp() - 1) / (5 * theta)).sum()

    def objective():
        return (theta * 5 * torch.rand(1, dtype=torch.float64)).exp().sum()

    report = audit(closed, theta, objective, atol=0.0, rtol=0.0, budget=60, raise_exception=False)
    error = float(report.quadrature_error["theta"])
    assert float(report.bias["theta"].abs()) - 1e-13 <= error > 0


@pytest.mark.exhaustive
def test_an_objective_may_draw_bits_by_uniform_noise_beside_noise_that_is_integrated():
    theta = parameter(0.3)

    def draw():
        return torch.distributions.Normal(theta, 0.5), (torch.rand(1, dtype=torch.float64) < theta.sigmoid()).double()

    def loss():
        law, b = draw()
        x = law.sample()
        return (x * b * (law.log_prob(x) + torch.distributions.Bernoulli(logits=theta).log_prob(b))).sum()

    def objective():
        law, b = draw()
        return (law.rsample() * b).sum()

    assert audit(loss, theta, objective, rtol=1e-6).objective_outcomes < 2000


@pytest.mark.exhaustive
def test_float32_code_is_integrated():
    theta = parameter(0.4, dtype=torch.float32)
    report = audit(*rebar(theta))
    assert float(report.tolerance["theta"]) < 1e-3


def test_a_score_function_of_a_clipped_normal_policy_is_integrated():
    theta = parameter(0.3)

    def loss():
        law = torch.distributions.Normal(theta, 0.5)
        x = law.sample()
        return (x.clamp(-1, 1) ** 2 * law.log_prob(x)).sum()

    def objective(clip=1.0):
        return (theta + 0.5 * torch.randn(1, dtype=theta.dtype)).clamp(-clip, clip).square().sum()

    report = audit(loss, theta, objective)
    assert "3 segments" in report.quadrature
    assert not audit(loss, theta, lambda: objective(2.0), raise_exception=False)


def test_a_branch_taken_by_noise_has_the_probability_of_its_side():
    theta = parameter(0.4)
    report = audit(lambda: theta.sum() if torch.randn(()) > 0.2 else -theta.sum(), theta, theta.sum, raise_exception=False)
    assert report.scaled_by == pytest.approx(1 - 2 * cumulative("normal", 0.2), rel=1e-6)


def test_breakpoints_that_depend_on_a_discrete_draw_are_found():
    theta = parameter(0.4)

    def loss():
        b = torch.bernoulli(torch.tensor(0.5))
        u = torch.rand(1, dtype=torch.float64)
        return (theta * (u > (0.25 if b else 0.75)) * u * 2).sum()

    sides = sum((1 - t**2) / 2 for t in (0.25, 0.75))
    assert audit(loss, theta, lambda: theta.sum() * sides)


def test_two_breakpoints_of_one_scalar_are_found():
    theta = parameter(0.4)

    def loss():
        u = torch.rand(1, dtype=torch.float64)
        return (theta * ((u > 0.31) & (u < 0.32)) * u).sum()

    assert audit(loss, theta, lambda: theta.sum() * (0.32**2 - 0.31**2) / 2)


def leaving(theta):
    return lambda: theta.sum() * (1.0 if torch.rand(1, dtype=torch.float64).item() > 0.3 else 2.0)


def test_noise_that_leaves_torch_needs_breakpoints_that_are_given():
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match=r"leaves torch.*breakpoints="):
        audit(leaving(theta), theta, lambda: 1.3 * theta.sum())
    assert audit(leaving(theta), theta, lambda: 1.3 * theta.sum(), breakpoints=[[0.3]], rtol=1e-8)


@pytest.mark.parametrize(
    "wrong", [0.1, 0.4, 0.5, *(pytest.param(place, marks=pytest.mark.exhaustive) for place in (0.45, 0.6))]
)
def test_breakpoints_given_wrongly_do_not_converge(wrong):
    theta = parameter(0.4)
    with pytest.raises(NotAuditable, match="does not converge"):
        audit(leaving(theta), theta, lambda: 1.3 * theta.sum(), breakpoints=[[wrong]])


@pytest.mark.parametrize(("given", "message"), [([], "0 lists"), ([[0.5], []], "2 lists"), ([[1.5]], "outside")])
def test_breakpoints_of_the_wrong_form_are_refused(given, message):
    theta = parameter(0.4)
    with pytest.raises(UsageError, match=message):
        audit(leaving(theta), theta, theta.sum, breakpoints=given)
    with pytest.raises(UsageError, match="no batched form"):
        audit(lambda n: theta.sum().expand(n), theta, lambda n: theta.sum().expand(n), breakpoints=given, batched=True)


def test_a_gradient_with_an_infinite_mean_is_undecided():
    theta = parameter(0.4)

    def loss():
        u = torch.rand(1, dtype=torch.float64)
        return (theta * (u < 0.3) / u).sum()

    with pytest.raises(UndecidedAudit, match="more than its probability takes away"):
        audit(loss, theta, theta.sum)


def test_a_singularity_at_a_breakpoint_is_no_bias():
    theta = parameter(0.4)

    def loss():
        u = torch.rand(1, dtype=torch.float64)
        return (theta * (u < 0.5) * -u.log() * u.rsqrt()).sum()

    mean = 2 * math.sqrt(0.5) * (2 - math.log(0.5))
    assert audit(loss, theta, lambda: theta.sum() * mean, rtol=1e-7).verdict in ("unbiased", "unbiased up to x")


COUPLED = {
    "sum": lambda: torch.randn(2).sum() > 0.3,
    "argmax": lambda: (torch.randn(3) + torch.arange(3) / 10).argmax(),
    "two draws": lambda: torch.randn(()) > torch.randn(()),
}


@pytest.mark.parametrize("name", COUPLED)
def test_a_decision_of_several_noises_is_sampled(name):
    theta = parameter(0.4)
    report = audit(lambda: theta.sum() * COUPLED[name](), theta, theta.sum, raise_exception=False)
    assert (report.verdict, bool(report.sampling)) == ("biased", True)


@pytest.mark.exhaustive
def test_many_scalars_are_too_many():
    theta = parameter(*[0.4] * 6)
    with pytest.raises(TooLarge, match=r"decides the outcome by aten\.gt.*scalars of noise.*more than the budget of 1000"):
        audit(*rebar(theta), budget=1000)


def test_a_step_with_many_breakpoints_is_enumerated():
    theta = parameter(0.4)
    report = audit(lambda: theta.sum() * (200 * torch.rand(())).floor(), theta, theta.sum, raise_exception=False)
    assert report.outcomes == 200
    assert float(report.mean["theta"]) == pytest.approx(99.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["Gauss", "tanh-sinh"])
def test_segments_of_a_few_numbers_have_nodes(method, family):
    breakpoints = (Bracket(2.0**-53, 2.0**-52), Bracket(0.25, 0.25 + 2.0**-52), Bracket(1 - 2.0**-52, 1 - 2.0**-53))
    nodes = rule(family, (*breakpoints[:2], Bracket(0.25 + 2.0**-51, 0.25 + 2.0**-50), breakpoints[2]), method, 2)
    assert math.fsum(node.weight for node in nodes) == pytest.approx(1, abs=1e-15)
    assert all(math.isfinite(node.value) and node.weight >= 0 for node in nodes)
    assert all(sum(node.segment == segment for node in nodes) >= 2**2 - 1 for segment in range(5))
    values = [node.value for node in sorted(nodes, key=lambda node: (node.segment, node.value))]
    assert values == sorted(values)


def test_weights_are_those_of_the_law_and_quantiles_invert_it():
    u = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
    for family in FAMILIES[:4]:
        back = [cumulative(family, float(x)) for x in quantile(family, u, 1 - u)]
        assert back == pytest.approx(u.tolist(), abs=1e-12)
    for method in ("Gauss", "tanh-sinh"):
        nodes = rule("exponential", (Bracket(0.3, 0.3),), method, 4)
        assert sum(node.weight for node in nodes) == pytest.approx(1, abs=1e-13)
        assert sum(node.weight for node in nodes if node.segment == 0) == pytest.approx(0.3, abs=1e-9)
        assert sum(node.weight * node.value**3 for node in nodes) == pytest.approx(6, rel=1e-6)


def law(draw):
    theta = parameter(0.4)
    return lambda: ((draw() > 0.7) * theta).sum(), theta


LAWS = {
    "uniform on another interval": (lambda: torch.empty(1).double().uniform_(-1, 3), 2.3 / 4),
    "normal with a mean": (lambda: torch.normal(torch.ones(1).double(), 2.0), 1 - cumulative("normal", -0.15)),
    "exponential": (lambda: torch.empty(1).double().exponential_(2.0), math.exp(-1.4)),
    "cauchy": (lambda: torch.empty(1).double().cauchy_(0.1, 2.0), 1 - cumulative("cauchy", 0.3)),
    "log normal": (lambda: torch.empty(1).double().log_normal_(0.5, 0.25), 1 - cumulative("normal", (math.log(0.7) - 0.5) * 4)),
}


@pytest.mark.parametrize("name", LAWS)
def test_each_law_has_its_location_and_scale(name):
    draw, probability = LAWS[name]
    loss, theta = law(draw)
    assert audit(loss, theta, lambda: theta.sum() * probability)
