"""Objectives that jump by operations that are smooth where they are defined, and what a few values of noise do not show."""

import pytest
import torch
from torch.distributions import Normal

import derive
import numeric
from numeric import audit, same_gradient
from numeric.draws.tape import NotAuditable

A = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)


def x():
    return A + torch.randn((), dtype=torch.float64)


JUMPS = {
    "x / sqrt(x^2)": lambda x: x + x / x.square().sqrt(),
    "normalize of one number": lambda x: x + torch.nn.functional.normalize(x[None], dim=0)[0],
    "atan(1 / x)": lambda x: torch.atan(1 / x),
    "atan(tan(x))": lambda x: x + torch.atan(torch.tan(x)),
    "a sigmoid without width": lambda x: x + torch.sigmoid(x * 1e300),
}


@pytest.mark.parametrize("function", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("scored", [False, True])
def test_a_jump_that_no_operation_shows_is_refused(function, scored):
    """The derivative at fixed noise leaves out the jump: the loss along the path is biased, and the score function is right."""

    def score():
        value = x().detach()
        return function(value) * Normal(A, 1.0).log_prob(value)

    with pytest.raises(NotAuditable, match=r"continuous noise decides: its value changes by .* write it with discrete draws"):
        audit(score if scored else lambda: function(x()), A, lambda: function(x()))


def test_a_jump_where_the_noise_is_zero_is_refused():
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def objective():
        value = zero + torch.randn((), dtype=torch.float64)
        return value + value / value.square().sqrt()

    with pytest.raises(NotAuditable, match="its value changes by 2 "):
        audit(objective, zero, objective)


def test_what_is_too_steep_to_be_integrated_is_refused_and_not_called_biased():
    def steep(value):
        return torch.nn.functional.layer_norm(torch.stack([value, 0 * value]), (2,), eps=1e-12)[0]

    def score():
        value = x().detach()
        return steep(value) * Normal(A, 1.0).log_prob(value)

    with pytest.raises(NotAuditable, match="its value changes by"):
        audit(score, A, lambda: steep(x()))


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
@pytest.mark.parametrize(
    "function",
    [
        lambda: A * (z := torch.randn((), dtype=torch.float64)) / z.square().sqrt() + A.square(),
        lambda: x().square().sqrt(),
        lambda: torch.tanh(50 * x()),
    ],
    ids=["a jump that stays where it is", "a kink", "a steep slope"],
)
def test_what_may_be_differentiated_at_fixed_noise_is_unbiased(function):
    assert audit(function, A, function)


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
def test_a_gradient_that_frozen_noise_does_not_meet_is_not_vacuous():
    report = audit(lambda: (x() - 2.5).relu(), A, lambda: (x() - 2.5).relu())
    assert report.verdict == "unbiased"


PARTS = {
    "a clamp": lambda x: x + (x - 3).relu(),
    "a hinge by a root": lambda x: x + (x - 3) + (x - 3).square().sqrt(),
    "a bump": lambda x: x + torch.sigmoid(20 * (x - 4)),
}


@pytest.mark.parametrize("second", PARTS.values(), ids=PARTS)
def test_paths_that_part_where_noise_is_rare_are_different(second):
    assert same_gradient(x, lambda: second(x()), A, raise_exception=False).verdict == "different"


def test_paths_that_are_infinite_alike_far_out_are_equal():
    report = same_gradient(lambda: x().exp().exp(), lambda: torch.exp(torch.exp(x())), A)
    assert report.points > 100


def test_noise_that_is_kept_from_the_first_run_is_refused():
    kept = {}

    def cached():
        action = int(torch.bernoulli(A.detach()))
        if action not in kept:
            kept[action] = torch.rand(())
        return (action - kept[action]) * (A if action else 1 - A).log()

    with pytest.raises(NotAuditable, match="kept between the runs"):
        audit(cached, A, lambda: torch.bernoulli(A))


LOGITS = torch.tensor([[0.3, -0.2], [0.1, 1.0]], dtype=torch.float64)

HIDDEN = {
    "detach": lambda b: b.detach().square().sum(-1),
    "numpy": lambda b: torch.from_numpy(b.detach().numpy().sum(-1)),
    "a comparison": lambda b: (b > 0.5).double().sum(-1),
}


@pytest.mark.parametrize("f", HIDDEN.values(), ids=HIDDEN)
def test_a_function_that_is_differentiated_and_hides_its_derivative_is_refused(f):
    with pytest.raises(derive.UsageError, match="its value has no graph"):
        numeric.compile(derive.load("rebar"))(LOGITS, f)
    assert numeric.compile(derive.load("score-function"))(LOGITS, f).shape == LOGITS.shape


def test_a_constant_needs_no_graph():
    assert numeric.compile(derive.load("rebar"))(LOGITS, lambda b: torch.ones(b.shape[:-1])).shape == LOGITS.shape


def test_exact_gradients_in_inference_mode_and_of_no_rows():
    f = lambda b: b.prod(-1)  # noqa: E731
    with torch.inference_mode():
        assert torch.equal(numeric.exact_gradient(f, LOGITS), numeric.exact_gradient(f, LOGITS.clone()))
    for family in ("bernoulli", "categorical"):
        assert numeric.exact_gradient(lambda b: b.sum(-1), torch.zeros(0, 2), family).shape == (0, 2)
