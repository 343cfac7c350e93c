"""Gradients that grow without bound in the middle of their noise: with no mean they are not acquitted, with one they are."""

from __future__ import annotations

import warnings

import pytest
import torch

import numeric
from numeric.draws.restoring import put_back
from numeric.means.runs import Runs
from numeric.noise import singular, tails
from numeric.noise.at_noise import AtNoise

RIGHT = {"unbiased", "unbiased up to x"}


def vector(size):
    return torch.full((size,), 0.7, dtype=torch.float64, requires_grad=True)


def noise(*size):
    return torch.randn(*size, dtype=torch.float64)


def verdict_of(function, size):
    th = vector(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numeric.AuditWarning)
        return numeric.audit(lambda: function(th), th, lambda: function(th), raise_exception=False)


def with_a_bernoulli_draw(th):
    return th.sum() * torch.distributions.Bernoulli(torch.tensor(0.3, dtype=torch.float64)).sample() / noise(1).abs().sum()


def with_an_exponential(th):
    z = noise(3)
    return th.sum() / (z[0] - z[1]).abs() + (2 * z[2]).exp() * th.sum()


NO_MEAN = {
    "1 / |z|": (1, lambda th: th.sum() / noise(1).abs().sum()),
    "1 / z, whose principal value is zero": (1, lambda th: th.sum() / noise(1).sum()),
    "beside a large constant": (1, lambda th: th.sum() * (1000 + 1 / (noise(1) - 0.3).abs().sum())),
    "of a uniform, squared": (1, lambda th: th.sum() / (torch.rand((), dtype=torch.float64) - 0.5) ** 2),
    "the slope of a logarithm": (1, lambda th: (noise(1) + th).abs().log().sum()),
    "on a plane in ten dimensions": (10, lambda th: th.sum() / noise(10).sum().abs()),
    "on a plane in a hundred dimensions": (1, lambda th: th.sum() / noise(100).sum().abs()),
    "at a point in two dimensions": (1, lambda th: th.sum() / noise(2).square().sum()),
    "at a point in three dimensions": (1, lambda th: th.sum() / noise(3).square().sum() ** 1.5),
    "on two lines that cross": (1, lambda th: th.sum() / noise(2).prod().abs()),
    "beside larger values far out": (1, with_an_exponential),
    "with a Bernoulli draw": (1, with_a_bernoulli_draw),
}

A_MEAN = {
    "|z|^-0.5": (1, lambda th: th.sum() * noise(1).abs().sum() ** -0.5),
    "|z|^-0.9": (1, lambda th: th.sum() * noise(1).abs().sum() ** -0.9),
    "1 / r in two dimensions": (1, lambda th: th.sum() / noise(2).norm()),
    "1 / r^2 in three dimensions": (1, lambda th: th.sum() / noise(3).square().sum()),
    "a peak": (1, lambda th: th.sum() / (noise(1).abs().sum() + 1e-3)),
    "a narrow peak": (1, lambda th: th.sum() / (noise(1).abs().sum() + 1e-7)),
    "a kink": (5, lambda th: (th + noise(5)).relu().square().sum()),
    "rounding that grows": (2, lambda th: (lambda x: ((1 - x.cos()) / x.square()).sum())(th + noise(2))),
}


SLOW = {"on two lines that cross", "with a Bernoulli draw"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW else n for n in NO_MEAN])
def test_equal_gradients_without_a_mean_are_undecided(name):
    size, function = NO_MEAN[name]
    report = verdict_of(function, size)
    assert report.verdict == "undecided"
    assert "grow without bound" in report.undecided


@pytest.mark.parametrize("name", ["1 / |z|", "of a uniform, squared"])
def test_without_the_search_they_would_be_acquitted(name, monkeypatch):
    monkeypatch.setattr(tails, "singular", lambda *_, **__: "")
    size, function = NO_MEAN[name]
    assert verdict_of(function, size).verdict in RIGHT


@pytest.mark.parametrize(
    ("power", "found"),
    [(-1.0, True), (1.0, False), *(pytest.param(*one, marks=pytest.mark.exhaustive) for one in ((-2.0, True), (-0.4, False)))],
)
def test_code_that_does_not_run_as_rows_is_searched_by_fewer_points(power, found):
    """It asks whether its noise is finite."""
    th = vector(1)

    def function():
        x = noise(1)
        return (th * x.abs() ** power).sum() if bool(x.isfinite().all()) else th.sum()

    runs = Runs({"theta": th})
    with put_back(runs.params, (), runs.generators, {"loss": function}) as start:
        runs.reset, runs.bystanders = start.reset, start.bystanders
        assert bool(singular.singular(AtNoise(runs, function, function), together=False)) is found


SLOWLY = {"|z|^-0.5", "1 / r in two dimensions"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOWLY else n for n in A_MEAN])
def test_equal_gradients_with_a_mean_are_acquitted(name):
    size, function = A_MEAN[name]
    assert verdict_of(function, size).verdict in RIGHT


def test_gradients_that_differ_are_searched_as_well():
    """The two have the same principal value, and neither has a mean."""
    th = vector(1)
    loss = lambda: th.sum() * (1 / noise(1).abs().sum() + noise(1).sum())  # noqa: E731
    objective = lambda: th.sum() / noise(1).abs().sum()  # noqa: E731
    assert numeric.audit(loss, th, objective, raise_exception=False).verdict == "undecided"


GUARDS = {
    "the index": ("1 / r in two dimensions", "_index", lambda *_, **__: (1.0, 0.0)),
    "its error": ("|z|^-0.5", "DEVIATIONS", 60.0),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_right_code_is_left_undecided(guard, monkeypatch):
    name, attribute, value = GUARDS[guard]
    monkeypatch.setattr(singular, attribute, value)
    size, function = A_MEAN[name]
    assert verdict_of(function, size).verdict == "undecided"


def test_low_precision_is_not_zoomed_into_beyond_its_roundings():
    """A peak that is wider than a rounding of its place."""
    th = torch.ones(1, dtype=torch.float32, requires_grad=True)
    function = lambda: th.sum() / ((torch.randn(1) - 0.7).abs().sum() + 1e-3)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numeric.AuditWarning)
        assert numeric.audit(function, th, function, raise_exception=False).verdict in RIGHT
