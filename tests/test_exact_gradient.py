"""The exact gradient by halves of a table is the sum over all outcomes, whatever the chunks are and whatever f does."""

from __future__ import annotations

import sys

import pytest
import torch

from derive.language.errors import UsageError
from numeric.checking.exact_gradient import exact_gradient

torch.set_num_threads(1)


def by_hand(f, logits):
    """The gradient of sum_b p(b) f(b) by autograd, b over all rows of bits."""
    moving = logits.clone().requires_grad_()
    batch, n = logits.shape
    bits = ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).double()[:, None, :].expand(-1, batch, -1)
    p = torch.distributions.Bernoulli(logits=moving).log_prob(bits).sum(-1).exp()
    return torch.autograd.grad((p * f(bits)).sum(), moving)[0]


def wave(b):
    return (b * torch.arange(1, b.shape[-1] + 1)).sum(-1).sin() + b[..., 0] * b[..., -1]


@pytest.mark.parametrize("elements", [1, 2, 16, 64, 2**20])
@pytest.mark.parametrize(("batch", "n"), [(1, 1), (1, 6), (3, 4)])
def test_every_way_to_cut_the_outcomes_gives_the_same_gradient(monkeypatch, elements, batch, n):
    monkeypatch.setattr(sys.modules["numeric.checking.exact_gradient"], "CHUNK_ELEMENTS", elements)
    logits = torch.linspace(-2, 1.5, batch * n, dtype=torch.float64).reshape(batch, n)
    torch.testing.assert_close(exact_gradient(wave, logits), by_hand(wave, logits), rtol=1e-12, atol=1e-14)


def test_an_f_that_writes_into_its_outcomes_spoils_no_later_chunk(monkeypatch):
    monkeypatch.setattr(sys.modules["numeric.checking.exact_gradient"], "CHUNK_ELEMENTS", 16)
    logits = torch.linspace(-2, 1.5, 6, dtype=torch.float64)[None]

    def careless(b):
        value = wave(b)
        b.zero_()
        return value

    torch.testing.assert_close(exact_gradient(careless, logits), by_hand(wave, logits), rtol=1e-12, atol=1e-14)


def test_classes_by_number_have_the_gradient_of_one_hot_rows():
    weights = torch.linspace(-1, 2, 5, dtype=torch.float64)
    for shape in ((5,), (3, 5), (2, 3, 5)):
        logits = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        of_rows = exact_gradient(lambda b: (b @ weights).sin(), logits, "categorical")
        torch.testing.assert_close(exact_gradient(lambda k: weights[k].sin(), logits, "categorical", of_classes=True), of_rows)
        each = logits.cos()
        of_rows = exact_gradient(lambda b, each=each: (b * each).sum(-1), logits, "categorical")
        torch.testing.assert_close(exact_gradient(lambda k, e=each: e[..., k], logits, "categorical", of_classes=True), of_rows)


@pytest.mark.parametrize(
    ("f", "family", "message"),
    [
        (lambda k: k, "bernoulli", "of_classes is for the categorical family"),
        (lambda k: k[:2], "categorical", "one value each, of shape \\(4,\\); got shape \\(2,\\)"),
        (lambda k: 1.0, "categorical", "got a float"),
        (lambda k: k / 0, "categorical", "finite real numbers"),
        (lambda k: k * 1j, "categorical", "finite real numbers"),
    ],
)
def test_what_is_no_value_of_each_class_is_refused(f, family, message):
    with pytest.raises(UsageError, match=message):
        exact_gradient(f, torch.zeros(3, 4), family, of_classes=True)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("each", [False, True])
def test_the_gradient_of_classes_is_that_of_autograd_through_the_mean(shape, each):
    """One value for each class, or one for each law and class: the two are centred in ways of their own."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    values = torch.randn(shape if each else shape[-1:], generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad((logits.softmax(-1) * values).sum(), logits)
    found = exact_gradient(lambda k: values, logits, "categorical", of_classes=True)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
