"""What lies beyond all points, or between them, is looked for: it neither acquits wrong code nor accuses right code."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager

import pytest
import torch

import numeric
from numeric.auditing import measured
from numeric.draws.noise_rows import NotInRows
from numeric.draws.restoring import put_back
from numeric.draws.taint import NotIntegrable
from numeric.draws.tape import NotAuditable
from numeric.means.runs import Runs
from numeric.noise import sampled, tails
from numeric.noise.dense import require_resolved
from numeric.noise.probes import differ
from numeric.noise.tails import Tails

RIGHT, WRONG = {"unbiased", "unbiased up to x"}, {"biased", "scaled"}
torch.set_num_threads(1)


def vector(size, value=0.3):
    return torch.full((size,), value, dtype=torch.float64, requires_grad=True)


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64)


def verdict(loss, params, objective):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numeric.AuditWarning)
        return numeric.audit(loss, params, objective, raise_exception=False).verdict


# Mass beyond all points


def hinge(x, at, weight):
    return x.sum() + weight * torch.relu(x - at)


def mean_hinge(mean, at, weight):
    z = mean - at
    return mean + weight * (z * 0.5 * torch.erfc(-z / math.sqrt(2)) + torch.exp(-z * z / 2) / math.sqrt(2 * math.pi))


def exponential(size):
    """The exponential of a sum of normals, whose mean lies sqrt(size) deviations out, its mean, and one that is cut."""
    th = vector(size, 0.0)
    drawn, mean = (lambda: (th + noise(size)).sum().exp()), (lambda: (th.sum() + size / 2).exp())
    return th, drawn, mean, lambda: drawn().clamp(max=math.exp(1.1 * size))


def hinged(at, weight, along):
    """A hinge far out along an axis, or along the sum of two, its mean, and what forgets it."""
    th = vector(6)
    pick = torch.zeros(6, dtype=torch.float64)
    pick[:along] = 1 / math.sqrt(along)
    drawn, forgotten = (lambda: (x := th + noise(6)).sum() + hinge(x @ pick, at, weight)), lambda: (th + noise(6)).sum()
    return th, drawn, lambda: th.sum() + mean_hinge(th @ pick, at, weight), lambda: forgotten() + (th + noise(6)) @ pick


FAR = {
    "exponential of a sum": lambda: exponential(36),
    "hinge along an axis": lambda: hinged(4.8, 2e4, 1),
    "hinge along two axes": lambda: hinged(5.6, 1e6, 2),
}


SLOW = {"hinge along an axis"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW else n for n in FAR])
def test_mass_beyond_all_points_is_met(name):
    th, drawn, mean, wrong = FAR[name]()
    assert verdict(drawn, th, mean) in RIGHT
    assert verdict(wrong, th, mean) in WRONG


@pytest.mark.parametrize("name", FAR)
def test_without_the_search_for_tails_right_code_would_be_accused(name, monkeypatch):
    nothing = Tails(torch.zeros(0, 36 if "sum" in name else 6, dtype=torch.float64), torch.zeros(0), torch.zeros(1), 0, "")
    monkeypatch.setattr("numeric.noise.sampled.found_tails", lambda *_, **__: nothing)
    th, drawn, mean, _ = FAR[name]()
    assert verdict(drawn, th, mean) not in RIGHT


def test_tails_that_grow_faster_than_their_probability_falls_leave_it_undecided():
    th = vector(5)
    report = numeric.audit(
        lambda: (0.6 * (th + noise(5)) ** 2).exp().sum(), th, lambda: th.exp().sum() + 0 * noise(5).sum(), raise_exception=False
    )
    assert report.verdict == "undecided"
    assert "15 deviations out" in report.undecided


def exponential_noise(size):
    return torch.empty(size, dtype=torch.float64).exponential_()


BOUNDLESS = {
    "1 / uniform": lambda th: th[0] / torch.rand((), dtype=torch.float64),
    "1 / exponential": lambda th: th[0] / exponential_noise(1).sum(),
    "1 / gamma": lambda th: th[0] / torch.distributions.Gamma(torch.tensor(0.7, dtype=torch.float64), 1.0).sample(),
    "exp(0.6 z^2)": lambda th: th[0] * (0.6 * noise(2).square()).exp().sum(),
    "|Cauchy|": lambda th: th[0] * torch.empty(1, dtype=torch.float64).cauchy_().abs().sum(),
    "a Pareto law of index 0.9": lambda th: th[0] * (exponential_noise(1) / 0.9).exp().sum(),
}


@pytest.mark.parametrize("name", BOUNDLESS)
def test_equal_gradients_that_have_no_mean_are_not_acquitted(name, monkeypatch):
    """The mean of each is infinite: the integral of 1/u, of exp(0.1 z^2), of e^(x/0.9 - x), of x^(0.7 - 2) at zero."""
    th = vector(1)
    function = lambda: BOUNDLESS[name](th)  # noqa: E731
    assert verdict(function, th, function) == "undecided"
    for module in (tails, measured):
        monkeypatch.setattr(module, "boundless" if module is tails else "without_mean", lambda *_, **__: "")
    assert verdict(function, th, function) in RIGHT


@pytest.mark.parametrize("power", [0.5, 0.9])
def test_a_steep_gradient_that_has_a_mean_is_acquitted(power):
    """The integral of u^-p is 1 / (1 - p)."""
    th = vector(1)
    function = lambda: th.sum() * torch.rand((), dtype=torch.float64) ** -power  # noqa: E731
    assert verdict(function, th, function) in RIGHT


@pytest.mark.parametrize("error", [ValueError, NotAuditable])
def test_code_that_does_not_run_far_out_is_not_held_to_have_no_mean(error, monkeypatch):
    def stops(functions, *, together):
        raise NotInRows if together else error

    monkeypatch.setattr(tails, "boundless", stops)
    th = vector(1)
    function = lambda: (th * noise(1).exp()).sum()  # noqa: E731
    assert verdict(function, th, function) == "unbiased"


# How many points are enough


def one_by_one(th):
    """A loss that does not run as rows, for it asks whether its values are finite."""
    x = th + noise(len(th))
    return sum((each.tanh() + each.square() for each in x if bool(each.detach().isfinite())), torch.zeros(()))


@pytest.mark.parametrize("size", [1, pytest.param(5, marks=pytest.mark.exhaustive)])
def test_equal_gradients_are_acquitted_only_after_so_many_points_that_what_they_cannot_see_is_small(size, monkeypatch):
    """What none of n points meets has a probability below log(1e9) / n, so that 1 % needs 2073 points, and 4 % 519."""
    if size == 1:
        monkeypatch.setattr(sampled, "SHARE", 0.04)
        monkeypatch.setattr(sampled, "ONE_BY_ONE", (4, 16))
    th = vector(size)
    function = lambda: one_by_one(th)  # noqa: E731
    with started(function, th, function) as runs:
        found = sampled.sampled(runs, function, function)
    assert not found.together
    assert not found.reason
    assert found.points * found.replicates >= math.log(1e9) / sampled.SHARE
    assert float(found.up_to.max()) <= sampled.SHARE * found.scale


def equal_at(points, replicates):
    one = torch.ones(replicates, 1, dtype=torch.float64)
    return sampled._Replicates(one, one, one[:, 0], points, (1e-12, 1e-9), torch.zeros(1), 0.0, 0.0)


def test_what_the_points_cannot_see_counts_in_whether_a_bias_is_bounded(monkeypatch):
    assert equal_at(16, 34).are_equal
    assert not equal_at(16, 34).is_bounded
    assert math.isclose(equal_at(16, 34).largest, math.log(1e9) / 544)
    assert not equal_at(64, 32).is_bounded
    assert equal_at(64, 33).is_bounded
    monkeypatch.setattr(sampled, "_unseen", lambda points: 0.0)
    assert equal_at(16, 34).is_bounded


def test_a_bias_below_what_torch_knows_of_gamma_noise_is_no_equality(monkeypatch):
    """Where gradients differ at all, they are acquitted at the last size only, after single points were looked at."""
    th = vector(3, 1.5)
    loss = lambda: (1 + 5e-4) * torch.distributions.Gamma(th, 1.0).rsample().tanh().sum()  # noqa: E731
    objective = lambda: torch.distributions.Gamma(th, 1.0).sample().tanh().sum()  # noqa: E731
    report = numeric.audit(loss, th, objective)
    assert report.verdict == "unbiased up to x"
    assert report.outcomes % sampled.TOGETHER[-1] == 0


def test_points_of_tails_have_weights_that_make_them_no_part_of_the_law_lost():
    centres = torch.tensor([[5.0, 0.0], [0.0, -6.0]], dtype=torch.float64)
    shares = torch.tensor([0.15, 0.1], dtype=torch.float64)
    points, weights = Tails(centres, shares, torch.zeros(1), 2, "").points(2**14, 3)
    assert float(weights.max()) <= 4 / 3 + 1e-12
    moments = ((weights * each).mean().item() for each in (points[:, 0] ** 0, points[:, 0], points[:, 1] ** 2))
    assert [round(each, 2) for each in moments] == [1.0, 0.0, 1.0]
    far = (weights * (points[:, 0] > 5)).mean()
    assert abs(float(far) / (0.5 * math.erfc(5 / math.sqrt(2))) - 1) < 0.05


def test_right_code_of_small_tails_is_acquitted_at_the_last_size_only():
    th = vector(5)
    report = numeric.audit(lambda: ((th + noise(5)) ** 2 + th * noise(5)).sum(), th, lambda: (th**2 + 0 * noise(5)).sum())
    assert report.verdict == "unbiased up to x"
    assert report.outcomes % sampled.TOGETHER[-1] == 0
    assert "tails were looked for" in report.sampling


# Steep places of smooth code


class SoftlyClipped(torch.autograd.Function):
    """The identity, whose gradient is softly clipped far out."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient - torch.nn.functional.softplus(60 * (gradient - 6)) / 60


softplus = torch.nn.functional.softplus
STEEP = {
    "softplus far out": lambda x: 20 * softplus(x - 3.6, beta=40),
    "softplus": lambda x: softplus(50 * (x - 3.3)),
    "sigmoid": lambda x: 4 * torch.sigmoid(400 * (x - 3.2)),
    "narrow bump": lambda x: 10 * torch.exp(-((x - 0.4) ** 2) / (2 * 0.004**2)),
    "soft clip backwards": lambda x: SoftlyClipped.apply(x) ** 2 - x**2,
}


@contextmanager
def started(loss, th, objective):
    runs = Runs({"th": th})
    with put_back(runs.params, (), runs.generators, {"loss": loss, "objective": objective}) as start:
        runs.reset, runs.bystanders = start.reset, start.bystanders
        yield runs


def are_apart(loss, th, objective):
    with started(loss, th, objective) as runs:
        return differ(runs, loss, objective, 1000)


@pytest.mark.parametrize("name", STEEP)
def test_a_steep_place_of_smooth_code_is_found(name):
    th = vector(1)
    steep = STEEP[name]
    assert are_apart(lambda: ((x := th + noise(1)) + steep(x)).sum(), th, lambda: (th + noise(1)).sum())


def test_the_same_steep_place_in_both_is_no_difference():
    th = vector(2)
    loss = lambda: STEEP["softplus"](th + noise(2)).sum() + (th + noise(2)).prod()  # noqa: E731
    assert not are_apart(loss, th, loss)


def test_a_steep_place_of_one_of_ten_scalars_is_found_and_the_code_is_not_acquitted():
    th = vector(10)
    loss = lambda: (x := th + noise(10)).sum() + softplus(400 * (x[3] - 3.7))  # noqa: E731
    assert verdict(loss, th, lambda: (th + noise(10)).sum()) in WRONG


def test_a_peak_between_the_nodes_of_two_rules_is_not_acquitted(monkeypatch):
    th = vector(1)

    def loss():
        e = noise(1)
        return (th * e**2 + th * STEEP["narrow bump"](e)).sum()

    assert verdict(loss, th, lambda: th.sum()) not in RIGHT
    monkeypatch.setattr(measured, "require_resolved", lambda *_: None)
    assert verdict(loss, th, lambda: th.sum()) == "unbiased"


@pytest.mark.parametrize(("width", "size"), [(0.004, 1), (0.02, 2)])
def test_dense_points_contradict_a_quadrature_that_misses_a_peak_and_no_other(width, size):
    th, tolerance = vector(size), {"th": torch.full((size,), 1e-9, dtype=torch.float64)}
    objective = lambda: (th + noise(size)).sum()  # noqa: E731
    peaked = lambda: (x := th + noise(size)).sum() + torch.exp(-((x - 0.5) ** 2).sum() / (2 * width**2)) / width**size  # noqa: E731
    unbiased = {"th": torch.zeros(size, dtype=torch.float64)}
    with started(peaked, th, objective) as runs, pytest.raises(NotIntegrable, match="dense points"):
        require_resolved(runs, peaked, objective, unbiased, tolerance)
    noisy = lambda: ((th + noise(size)) ** 3 - noise(size)).sum()  # noqa: E731
    with started(noisy, th, objective) as runs:
        require_resolved(runs, noisy, lambda: (th**3 + 3 * th + 0 * noise(size)).sum(), unbiased, tolerance)
