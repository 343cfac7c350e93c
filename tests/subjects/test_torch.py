"""torch.distributions and torch.nn.functional: straight-through and relaxed samples."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributions as dist
import torch.nn.functional as F
from subjects.subject import (
    REWARDS,
    Measured,
    Subject,
    audited,
    compared,
    gradient_by_hand,
    logits,
    other_target,
    quadrature,
    require_as_expected,
)

from numeric.checking.sequential_test import sequential_test

TEMPERATURE = 0.5


def affine(b):
    return (b * REWARDS).sum(-1)


def square(b):
    return affine(b) ** 2


def one_hot(theta):
    return F.one_hot(torch.multinomial(theta.softmax(-1), 1)[0], 3).double()


def straight_through(f):
    theta = logits()
    return audited(lambda: f(dist.OneHotCategoricalStraightThrough(logits=theta).rsample()), theta, lambda: f(one_hot(theta)))


# Relaxations: pathwise under frozen noise against the relaxed objective, and by quadrature against the discrete one


def bernoulli_objective(b):
    return (b - 0.45) ** 2


def relaxed_bernoulli():
    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss():
        return bernoulli_objective(dist.RelaxedBernoulli(torch.tensor(TEMPERATURE).double(), logits=theta).rsample())

    def relaxed():
        u = torch.rand((), dtype=torch.float64)
        return bernoulli_objective(((theta + u.log() - (-u).log1p()) / TEMPERATURE).sigmoid())

    mean = quadrature(lambda: loss().backward(), theta, [(0, 0.5, 1)])
    p = theta.detach().sigmoid()
    exact = p * (1 - p) * (bernoulli_objective(torch.tensor(1.0)) - bernoulli_objective(torch.tensor(0.0)))
    return other_target(compared(mean, exact, "quadrature", 1e-9), audited(loss, theta, relaxed))


def relaxed_categorical():
    theta = logits()

    def loss():
        return square(dist.RelaxedOneHotCategorical(torch.tensor(TEMPERATURE).double(), logits=theta).rsample())

    def relaxed():
        u = torch.rand(3, dtype=torch.float64)
        return square(((theta - (-u.log()).log()) / TEMPERATURE).softmax(-1))

    return audited(loss, theta, relaxed)


def gumbel_softmax(tau=TEMPERATURE):
    theta = logits()

    def relaxed():
        noise = torch.empty(3, dtype=torch.float64).exponential_()
        return square(((theta - noise.log()) / TEMPERATURE).softmax(-1))

    return audited(lambda: square(F.gumbel_softmax(theta, tau=tau)), theta, relaxed)


def gumbel_softmax_hard(tau=TEMPERATURE):
    """Tested by sampling: the argmax of Gumbel noise has no list of outcomes that the audit could enumerate."""
    theta = logits()

    def sampler(count):
        rows = theta.detach().expand(count, 3).clone().requires_grad_()
        affine(F.gumbel_softmax(rows, tau=tau, hard=True)).sum().backward()
        return rows.grad

    exact = gradient_by_hand()
    limit = 2.5 / tau  # each coordinate is y_i (W_i - y.W) / tau, and the rewards are within 2.5 of each other
    report = sequential_test(sampler, exact, bounds=(-limit, limit), alpha=1e-9, max_samples=200_000)
    return report, exact


def gumbel_softmax_hard_verdict():
    report, exact = gumbel_softmax_hard()
    if not report.rejected:
        return Measured("unbiased", how="sequential test")
    at = report.coordinate
    return Measured("biased", (report.mean,), (float(exact[at]),), None, f"rejected after {report.samples} samples")


SUBJECTS = [
    Subject(
        "straight-through-affine",
        "OneHotCategoricalStraightThrough(logits=theta).rsample()",
        "E[f(b)], f affine",
        partial(straight_through, affine),
        "unbiased",
        "For an affine integrand the straight-through gradient is right.",
    ),
    Subject(
        "straight-through-square",
        "OneHotCategoricalStraightThrough(logits=theta).rsample()",
        "E[f(b)], f(b) = (b . w)^2",
        partial(straight_through, square),
        "biased",
        "The known bias of straight-through, in the first coordinate with the wrong sign. The docstring names the method "
        "and its "
        "paper, which calls it biased.",
        mean=(0.0298019236554153, -0.7040190787785103, 0.6742171551230951),
        standing="documented",
    ),
    Subject(
        "relaxed-bernoulli",
        "RelaxedBernoulli(0.5, logits=theta).rsample()",
        "E[f(b)], b discrete, f(b) = (b - 0.45)^2",
        relaxed_bernoulli,
        "other target",
        "The exact gradient of the relaxed objective E[f(z)], which is another number than that of the discrete one.",
        mean=(0.03188420076779583,),
        standing="documented",
    ),
    Subject(
        "relaxed-one-hot-categorical",
        "RelaxedOneHotCategorical(0.5, logits=theta).rsample()",
        "E[f(z)], z relaxed, f(z) = (z . w)^2",
        relaxed_categorical,
        "unbiased",
        "Of the relaxed objective, by every set of frozen noise.",
    ),
    Subject(
        "gumbel-softmax",
        "gumbel_softmax(theta, tau=0.5)",
        "E[f(z)], z relaxed, f(z) = (z . w)^2",
        gumbel_softmax,
        "unbiased",
        "Of the relaxed objective, by every set of frozen noise.",
    ),
    Subject(
        "gumbel-softmax-hard",
        "gumbel_softmax(theta, tau=0.5, hard=True)",
        "E[f(b)], b discrete, f affine",
        gumbel_softmax_hard_verdict,
        "biased",
        "The audit refuses the argmax of Gumbel noise by name, so this is the sequential test at a false-alarm rate of "
        "1e-9. Unlike "
        "OneHotCategoricalStraightThrough it is biased for affine integrands too: it has the gradient of the relaxed "
        "sample. The "
        "docstring says so (\"differentiated as if it is the soft sample\").",
        mean=(0.3204,),
        standing="documented",
        tolerance=1e-3,
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_a_straight_through_gradient_that_counts_twice_is_found(monkeypatch):
    def twice(self, sample_shape=()):
        probs = self._categorical.probs
        return self.sample(sample_shape) + 2 * (probs - probs.detach())

    monkeypatch.setattr(dist.OneHotCategoricalStraightThrough, "rsample", twice)
    found = straight_through(affine)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(2, abs=1e-12)


def test_a_relaxed_sample_at_another_temperature_is_found():
    assert gumbel_softmax(1.1 * TEMPERATURE).verdict == "biased"
