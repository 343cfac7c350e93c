"""Noise is frozen only where that is a proof; else it is integrated by two rules that agree, or sampled at a stated rate."""

from __future__ import annotations

import warnings

import pytest
import torch

import numeric
from numeric.auditing.audit_report import UndecidedAudit
from numeric.draws import quadrature_rules, smooth_ops
from numeric.noise import sampled

RIGHT = {"unbiased", "unbiased up to x"}
WRONG = {"biased", "scaled"}


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64)


def verdict(loss, params, objective):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numeric.AuditWarning)
        return numeric.audit(loss, params, objective, raise_exception=False).verdict


# Frozen noise is no proof where the code is only piecewise smooth


class Clipped(torch.autograd.Function):
    """The identity, with a gradient that is clipped."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-3, 3)


def hooked(x):
    x.register_hook(lambda gradient: gradient.clamp(-3, 3))
    return x


def straight_through(x):
    return x.clamp(-2, 2).detach() + x - x.detach()


def clipped_by_norm(theta):
    def loss():
        ((theta + noise()) ** 2).backward()
        torch.nn.utils.clip_grad_norm_([theta], 3.0)

    return loss


huber = torch.nn.functional.huber_loss
PIECEWISE = {
    "forgotten clamp": (lambda th: ((th + noise()).clamp(-1.5, 1.5) - 2) ** 2, lambda th: (th + noise() - 2) ** 2),
    "forgotten clamp, in place": (lambda th: ((th + noise()).clamp_(max=2.0) - 2) ** 2, lambda th: (th + noise() - 2) ** 2),
    "Huber for squared": (lambda th: 2 * huber(th + noise(), torch.zeros(()).double()), lambda th: (th + noise()) ** 2),
    "straight through": (lambda th: straight_through(th + noise()) ** 2, lambda th: (th + noise()) ** 2),
    "hook": (lambda th: hooked(th + noise()) ** 2, lambda th: (th + noise()) ** 2),
    "custom backward": (lambda th: Clipped.apply(th + noise()) ** 2, lambda th: (th + noise()) ** 2),
    "relu far out": (lambda th: (x := th + noise()) ** 2 + torch.relu(x - 2) * 0.5, lambda th: (th + noise()) ** 2),
}


SLOW = {"Huber for squared"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW else n for n in PIECEWISE])
def test_what_differs_only_beyond_a_kink_is_seen(name):
    th = scalar(0.3)
    loss, objective = PIECEWISE[name]
    assert verdict(lambda: loss(th), th, lambda: objective(th)) in WRONG


def test_a_gradient_that_is_clipped_by_its_norm_is_not_acquitted():
    th = scalar(0.3)
    assert verdict(clipped_by_norm(th), th, lambda: (th + noise()) ** 2) not in RIGHT


@pytest.mark.parametrize("name", ["forgotten clamp", "relu far out"])
def test_the_same_kink_in_loss_and_objective_is_right(name):
    th = scalar(0.3)
    loss, _ = PIECEWISE[name]
    assert verdict(lambda: loss(th), th, lambda: loss(th)) in RIGHT


def test_a_kink_that_is_taken_for_smooth_would_hide_the_clamp(monkeypatch):
    taken = smooth_ops.SMOOTH | {"clamp", "ge", "le", "logical_and"}
    monkeypatch.setattr("numeric.draws.taint.is_smooth", lambda call: smooth_ops.functional(call) in taken)
    monkeypatch.setattr("numeric.auditing.measured.differ", lambda *_: False)
    th = scalar(0.3)
    loss, objective = PIECEWISE["hook"]
    assert verdict(lambda: loss(th), th, lambda: objective(th)) == "unbiased"


def test_a_bump_between_the_frozen_values_is_seen():
    th = scalar(0.3)

    def bump(x):
        return 3 * torch.exp(-((x - 1.0) ** 2) / (2 * 0.1**2))

    assert verdict(lambda: (x := th + noise()) ** 2 + bump(x), th, lambda: (th + noise()) ** 2) not in RIGHT


def test_numbers_at_one_value_of_the_noise_say_so():
    th = scalar(0.3)
    with pytest.warns(numeric.AuditWarning, match="frozen"):
        report = numeric.audit(lambda: (th + noise()) ** 2, th, lambda: (th + noise()) ** 2)
    assert report.to_json()["at"] == "at one value of the noise"
    assert str(report).count("(at one value of the noise)") == 5


# Not decided is not biased, and more dimensions are sampled


def vae(size, kind):
    """Return loss, parameters and objective of a Gaussian variational autoencoder of so many latents."""
    mu = torch.linspace(-0.5, 0.7, size, dtype=torch.float64).requires_grad_()
    ls = torch.linspace(-0.9, -0.2, size, dtype=torch.float64).requires_grad_()
    w = torch.linspace(0.3, 1.1, size, dtype=torch.float64)

    def z():
        return mu + ls.exp() * noise(size)

    def closed(half=0.5, times=1.0):
        return torch.nn.functional.softplus(z() @ w) + times * (half * (mu**2 + (2 * ls).exp() - 1) - ls).sum()

    def sampled_divergence():
        x = z()
        m, s = (mu.detach(), ls.detach()) if kind == "sticking the landing" else (mu, ls)
        jacobian = 0 if kind == "no log-Jacobian" else s
        log_q = (-0.5 * ((x - m) / s.exp()) ** 2 - jacobian).sum()
        return torch.nn.functional.softplus(x @ w) + log_q + 0.5 * (x**2).sum()

    losses = {"KL counted twice": lambda: closed(times=2.0), "no half": lambda: closed(half=1.0)}
    return losses.get(kind, sampled_divergence), {"mu": mu, "ls": ls}, closed


@pytest.mark.parametrize(("size", "kind"), [(3, "sampled"), (20, "sticking the landing")])
def test_a_right_variational_autoencoder_is_unbiased_up_to_a_stated_bound(size, kind):
    report = numeric.audit(*vae(size, kind))
    assert report.verdict == "unbiased up to x"
    largest = max(float(part.abs().max()) for part in report.exact.values())
    assert max(float(part.max()) for part in report.tolerance.values()) <= sampled.SHARE * largest


@pytest.mark.parametrize(("size", "kind"), [(3, "KL counted twice"), (6, "no half"), (6, "no log-Jacobian")])
def test_a_wrong_variational_autoencoder_is_biased(size, kind):
    assert verdict(*vae(size, kind)) in WRONG


def test_an_antithetic_pair_of_four_normals_is_not_accused():
    th = torch.tensor([0.3, -0.2, 0.1, 0.5], requires_grad=True, dtype=torch.float64)

    def f(x):
        return (x**3).sum() + x.prod()

    def loss():
        e = noise(4)
        return (f(th + e) + f(th - e)) / 2

    assert verdict(loss, th, lambda: f(th + noise(4))) in RIGHT
    assert verdict(lambda: loss() + 0.1 * th.sum(), th, lambda: f(th + noise(4))) in WRONG


def test_tails_that_are_not_resolved_leave_it_undecided():
    th = torch.tensor([0.3, -0.2, 0.1, 0.5], requires_grad=True, dtype=torch.float64)

    def loss():
        z = torch.distributions.Normal(th, 1.0).sample()
        return (0.6 * z**2).exp().sum() * torch.distributions.Normal(th, 1.0).log_prob(z).sum()

    with pytest.raises(UndecidedAudit, match="undecided"):
        numeric.audit(loss, th, lambda: (0.6 * (th + noise(4)) ** 2).exp().sum())


# Quadrature is believed where twice as many nodes, twice, and another rule agree


def scored(f):
    def make(th):
        def loss():
            law = torch.distributions.Normal(th, torch.ones((), dtype=torch.float64))
            x = law.sample()
            return f(x) * law.log_prob(x)

        return loss

    return make


def test_a_narrow_bump_in_a_score_function_is_not_acquitted():
    th = scalar(0.3)
    loss = scored(lambda x: x + torch.exp(-((x - 1.0) ** 2) / (2 * 0.1**2)))(th)
    assert verdict(loss, th, lambda: th * 1.0) not in RIGHT


def test_a_fast_cosine_is_not_accused():
    th = scalar(0.3)
    loss = scored(lambda x: (25 * x).cos() + x)(th)
    assert verdict(loss, th, lambda: th + (25 * th).cos() * 2.0**-450) not in WRONG


@pytest.mark.parametrize("rate", [1, pytest.param(4, marks=pytest.mark.exhaustive), 6])
def test_an_exponential_of_a_normal_is_unbiased(rate):
    th = scalar(0.3)
    assert verdict(scored(lambda x: (rate * x).exp())(th), th, lambda: (rate * (th + noise())).exp()) == "unbiased"
    assert verdict(scored(lambda x: 0.999 * (rate * x).exp())(th), th, lambda: (rate * (th + noise())).exp()) in WRONG


@pytest.mark.parametrize("degree", [20, 40, 60])
def test_a_gauss_rule_is_exact_for_polynomials(degree):
    nodes = quadrature_moment("Gauss", 6, degree)
    exact = float(torch.tensor([float(k) for k in range(1, degree, 2)], dtype=torch.float64).prod())
    assert abs(nodes / exact - 1) < 1e-11
    assert abs(quadrature_moment("tanh-sinh", 4, degree) / exact - 1) < 1e-11


def quadrature_moment(method, level, degree):
    return sum(node.weight * node.value**degree for node in quadrature_rules.rule("normal", (), method, level))
