"""Noise of the laws that people use runs as rows, to full precision in its tails, and what it decides alone does not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import (
    Beta,
    Dirichlet,
    Exponential,
    Gamma,
    Laplace,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    StudentT,
)
from torch.nn.functional import binary_cross_entropy_with_logits, gumbel_softmax

from derive.language.errors import GradproofError
from numeric import NotAuditable, audit
from numeric.auditing import measured
from numeric.auditing.integration.integrand import Integrand
from numeric.auditing.integration.rows import RowRuns
from numeric.draws.noise_rows import FreshRows, NoiseRows
from numeric.draws.quadrature_rules import quantile
from numeric.draws.taint import Taint
from numeric.draws.tape import Tape
from numeric.means.exact_mean import ByNumbers
from numeric.means.runs import Runs
from numeric.noise.at_noise import laws_in_rows


def parameter(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


A, B = parameter(1.7), parameter(2.6)

AS_ROWS = {
    "Beta": lambda: Beta(A, B),
    "Dirichlet": lambda: Dirichlet(torch.stack([A, B, A])),
    "Exponential": lambda: Exponential(A),
    "Gamma": lambda: Gamma(A, B),
}


def scored(law) -> Tensor:
    x = law.sample()
    return x.tanh().sum() * law.log_prob(x)


@pytest.mark.parametrize("law", AS_ROWS.values(), ids=AS_ROWS)
@pytest.mark.parametrize("by_numbers", [False, True], ids=["scored", "by numbers"])
def test_a_law_runs_as_rows_that_runs_alone_confirm(law, by_numbers):
    runs = Runs({"a": A, "b": B})
    runs.reset = lambda: [setattr(each, "grad", None) for each in (A, B)]
    function = (lambda: law().sample().tanh().sum()) if by_numbers else lambda: scored(law())
    code = RowRuns(runs, function, by_numbers=by_numbers)
    value = lambda tape: runs.objective(function, tape, differentiate=False)  # noqa: E731
    gradient = lambda tape: runs.loss(function, tape)  # noqa: E731
    integrand = Integrand(runs, value if by_numbers else gradient, code, refuse=by_numbers, given=None)
    found = integrand.exact_mean({}, "Gauss", 2, check=False) if by_numbers else integrand.moments({}, "Gauss", 2)
    assert found.outcomes > 2


def test_a_beta_objective_has_the_derivative_that_is_known_in_closed_form():
    draw, total = (lambda: Beta(A, B).sample()), 4.3
    runs = Runs({"a": A, "b": B})
    runs.reset = lambda: [setattr(each, "grad", None) for each in (A, B)]
    value = lambda tape: runs.objective(draw, tape, differentiate=False)  # noqa: E731
    integrand = Integrand(runs, value, RowRuns(runs, draw, by_numbers=True), refuse=True, given=None)
    found = integrand.exact_mean({}, "Gauss", 5, check=False).gradient
    assert math.isclose(float(found["a"]), 2.6 / total**2, rel_tol=1e-8)
    assert math.isclose(float(found["b"]), -1.7 / total**2, rel_tol=1e-8)


@pytest.mark.parametrize("score", [-36.0, -20.0, -8.5, -3.0, 3.0, 8.5, 20.0, 36.0])
def test_exponential_noise_has_both_tails_to_full_precision(score):
    def one(row: Tensor) -> Tensor:
        with FreshRows(row):
            return torch.empty(1, dtype=torch.float64).exponential_()

    with NoiseRows(torch.full((3, 1), score, dtype=torch.float64)):
        found = torch.vmap(one, randomness="different")(torch.zeros(3, dtype=torch.float64))
    assert math.isclose(
        float(found[0]), -norm.logsf(score) if score > 0 else float(-math.log1p(-norm.cdf(score))), rel_tol=1e-12
    )


def test_the_lower_tail_of_an_exponential_law_is_not_rounded_to_zero():
    u = torch.tensor(1e-30, dtype=torch.float64)
    assert float(quantile("exponential", u, 1 - u)) == 1e-30


def test_a_relaxed_sample_of_torch_is_seen_inside_its_function():
    logits = torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)

    def soft() -> Tensor:
        return (weights * gumbel_softmax(logits, tau=0.7)).sum().sin()

    assert audit(lambda: 0.95 * soft(), logits, soft, raise_exception=False).verdict == "biased"


def test_a_relaxed_sample_has_one_noise_for_each_row_with_and_without_its_gradient_by_numbers():
    logits = torch.zeros(2, dtype=torch.float64)

    def one(row: Tensor) -> Tensor:
        with FreshRows(row):
            return gumbel_softmax(logits)

    points = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    with laws_in_rows(), NoiseRows(points), ByNumbers():
        found = torch.vmap(one, randomness="different")(torch.zeros(3, dtype=torch.float64))
    assert len(found.unique(dim=0)) == 3


@pytest.mark.parametrize(("dtype", "is_rough"), [(torch.float32, False), (torch.bfloat16, True)])
def test_the_rounding_of_a_draw_in_few_digits_is_a_share_that_counts(dtype, is_rough):
    runs, eps = Runs({"a": A}), torch.finfo(dtype).eps
    runs.loss(lambda: A.detach() * torch.rand(3, dtype=dtype).clamp(eps, 1 - eps).log().sum(), Tape())
    assert ("clamp" in runs.rough) is is_rough


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
def test_cross_entropy_of_noise_is_smooth():
    def loss() -> Tensor:
        target = torch.rand((), dtype=torch.float64)
        return binary_cross_entropy_with_logits(A, target)

    assert audit(loss, A, loss).frozen_noise == 1


ROUNDING = torch.finfo(torch.float64).eps


@pytest.mark.parametrize(
    ("clamped", "is_rough"),
    [
        (lambda u: u.clamp(ROUNDING, 1 - ROUNDING), False),
        (lambda u: u[:2].clamp_(min=ROUNDING), False),
        (lambda u: u.clamp(2.0**-44), True),
        (lambda u: u.clamp(max=1 - 2.0**-44), True),
        (lambda u: (A * u).clamp(ROUNDING, 1 - ROUNDING), True),
    ],
)
def test_a_clamp_at_the_rounding_of_a_draw_is_no_kink(clamped, is_rough):
    runs = Runs({"a": A})
    runs.loss(lambda: A.detach() * clamped(torch.rand(3, dtype=torch.float64)).log().sum(), Tape())
    assert ("clamp" in runs.rough) is is_rough


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
@pytest.mark.parametrize("size", [0, 3])
def test_relaxed_laws_of_torch_are_unbiased_for_what_they_write(size):
    logits = torch.tensor([0.3, -0.5, 0.2][: size or 1], dtype=torch.float64).reshape((size,) * bool(size)).requires_grad_()
    law = RelaxedOneHotCategorical if size else RelaxedBernoulli

    def loss(temperature: float = 0.5) -> Tensor:
        z = law(torch.tensor(temperature, dtype=torch.float64), logits=logits).rsample()
        return ((z - 0.45) ** 2 * torch.arange(1, 1 + max(size, 1))).sum()

    def objective() -> Tensor:
        u = torch.rand_like(logits)
        z = ((logits - (-u.log()).log()) / 0.5).softmax(-1) if size else ((logits + u.logit()) / 0.5).sigmoid()
        return ((z - 0.45) ** 2 * torch.arange(1, 1 + max(size, 1))).sum()

    assert audit(loss, logits, objective).verdict == "unbiased"
    assert not audit(lambda: loss(0.55), logits, objective, raise_exception=False).unbiased


# What noise decides alone


def test_a_sign_of_noise_in_the_objective_does_not_move_with_the_parameters():
    loc, scale = parameter(0.3), parameter(1.2)

    def objective() -> Tensor:
        return Laplace(loc, scale).sample().tanh()

    assert audit(lambda: scored(Laplace(loc, scale)), [loc, scale], objective).quadrature


MOVING = {
    "a parameter": lambda: A - 1,
    "its number": lambda: A.item() - 1,
    "what is detached": lambda: A.detach() - 1,
    "under no_grad": lambda: A.data - 1,
}


@pytest.mark.parametrize("threshold", MOVING.values(), ids=MOVING)
def test_a_threshold_that_moves_with_the_parameters_is_not_left_out_of_the_derivative(threshold):
    """The derivative at fixed noise is that of A alone; the law of sin(2u) is not known, so that none is enumerated."""

    def objective() -> Tensor:
        return A * (torch.sin(2 * torch.rand((), dtype=torch.float64)) < threshold())

    def loss() -> Tensor:
        return A * (torch.sin(2 * torch.rand((), dtype=torch.float64)) < A.detach() - 1)

    with pytest.raises(NotAuditable):
        audit(loss, A, objective)


FIRST, SECOND, EDGE = parameter(0.5), parameter(0.5), parameter(0.9995)


def all_of(bits: int) -> Tensor:
    return torch.bernoulli(torch.full((bits,), 0.9, dtype=torch.float64)).prod()


def steps(threshold: float) -> Tensor:
    """A step of noise of which no law is known, so that it is integrated."""
    return (torch.randn((), dtype=torch.float64).sin() > threshold).double()


def above(threshold: float) -> Tensor:
    return (torch.randn(1, dtype=torch.float64).square() > threshold).double().sum()


MOVING_NUMBERS = {
    "two parameters that cancel where both move alike": lambda: 2 * above((FIRST - SECOND).item() + 0.5),
    "a step that counts in one of many outcomes": lambda: all_of(6) * steps(FIRST.item()),
    "a step that other noise hides nearly everywhere": lambda: 9 * steps(0.99) * steps(FIRST.item()),
    "at the end of what a law allows": lambda: steps(EDGE.item() - 0.5) + 0 * torch.bernoulli(EDGE),
}


SLOW = "a step that other noise hides nearly everywhere"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n == SLOW else n for n in MOVING_NUMBERS])
def test_a_step_that_moves_with_a_number_is_refused_whatever_it_adds_where_it_is_looked_at(name):
    params = [FIRST, SECOND, EDGE]
    smooth = lambda: sum(each.square() for each in params)  # noqa: E731
    with pytest.raises(NotAuditable, match="changes where a parameter says so"):
        audit(smooth, params, lambda: smooth() + MOVING_NUMBERS[name]())


@pytest.mark.filterwarnings("ignore:the loss draws nothing")
def test_without_the_guard_what_moves_would_be_acquitted(monkeypatch):
    monkeypatch.setattr(Integrand, "require_still", lambda *_: None)
    params = [FIRST, SECOND]
    smooth = lambda: FIRST.square() + SECOND.square()  # noqa: E731
    assert audit(smooth, params, lambda: smooth() + 2 * above((FIRST - SECOND).item() + 0.5)).verdict == "unbiased"


def test_an_objective_that_does_not_run_beside_its_parameters_is_refused():
    def objective() -> Tensor:
        """E = FIRST / 2, as far as anybody can see."""
        if FIRST.item() != 0.5:
            message = "0.5 only"
            raise ValueError(message)
        return FIRST * steps(0.3)

    with pytest.raises(NotAuditable, match="does not run at parameters beside these"):
        audit(objective, FIRST, objective)


# Noise that only some outcomes draw


def late(function) -> Tensor:
    """Noise is drawn where a coin falls on its second side."""
    coin = torch.bernoulli(torch.tensor(0.5, dtype=torch.float64))
    return function(A + torch.randn((), dtype=torch.float64)) if coin == 1 else 0 * A


@pytest.mark.parametrize("frozen", [True, False])
def test_noise_that_the_first_outcome_does_not_draw_is_integrated(frozen, monkeypatch):
    """A clamp that is forgotten far out is no part of what one frozen value shows; E (A + z)^2 / 2 has the slope A."""
    if frozen:
        monkeypatch.setattr(Runs, "require_noise_at_first", lambda _: None)
    squared, clamped = (lambda: late(torch.square)), (lambda: late(lambda x: x.clamp(max=3.5).square()))
    assert audit(squared, A, clamped, raise_exception=False).verdict == ("unbiased" if frozen else "biased")
    right = audit(squared, A, lambda: A.square() / 2 + 0 * late(torch.square), raise_exception=False)
    assert right.verdict == ("biased" if frozen else "unbiased")


@pytest.mark.filterwarnings("ignore:the loss draws nothing")
def test_an_objective_whose_first_outcome_draws_no_noise_is_not_held_for_one_without_noise():
    """E (A + z)^2 / 2 = (A^2 + 1) / 2."""
    report = audit(lambda: A.square() / 2, A, lambda: late(torch.square))
    assert report.verdict == "unbiased"
    assert math.isclose(report.value, (A.item() ** 2 + 1) / 2, rel_tol=1e-9)


# What torch knows to a few digits, and what gives integers beside what it computes


def test_a_sampled_audit_tolerates_what_torch_knows_to_a_few_digits():
    df, loc, scale = (parameter(value) for value in (4.3, 0.3, 1.2))

    def pathwise() -> Tensor:
        return StudentT(df, loc, scale).rsample().tanh()

    report = audit(pathwise, [df, loc, scale], lambda: StudentT(df, loc, scale).sample().tanh(), raise_exception=False)
    assert report.sampling
    assert report.verdict == "unbiased up to x"
    assert "of which 0.001 is tolerated" in report.left_out


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
def test_a_factorisation_of_noise_is_smooth_and_the_sign_of_a_determinant_is_not():
    def matrix() -> Tensor:
        z = torch.randn(2, 2, dtype=torch.float64)
        return z @ z.T + A.exp() * torch.eye(2, dtype=torch.float64)

    def loss() -> Tensor:
        return torch.linalg.cholesky(matrix()).diagonal().log().sum() + torch.linalg.det(matrix())

    assert audit(loss, A, loss).frozen_noise == 2
    sign = lambda: A * torch.linalg.slogdet(torch.randn(2, 2, dtype=torch.float64))[0]  # noqa: E731
    assert not is_settled_at_frozen_noise(sign)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def factor_info(theta: Tensor) -> Tensor:
    """Whether theta z + 0.3 is positive."""
    return torch.linalg.cholesky_ex((theta * normal(1) + 0.3).reshape(1, 1)).info


UNSEEN = {
    "the success of a factorisation": lambda: factor_info(A).double(),
    "a branch by it": lambda: 2.0 if factor_info(A) == 0 else 1.0,
    "its number": lambda: float(factor_info(A).item()),
    "a complex copy": lambda: (normal(1).to(torch.complex128).real > A).double().sum(),
    "a complex product": lambda: ((normal(1) * torch.ones(1, dtype=torch.complex128)).real > A).double().sum(),
    "a Fourier transform": lambda: (torch.fft.fft(normal(2)).real > A).double().sum(),
    "a complex number": lambda: float(normal(1).to(torch.complex128).sum().item().real > A.item()),
}


@pytest.mark.parametrize("decision", UNSEEN.values(), ids=UNSEEN)
def test_a_decision_by_integers_or_complex_numbers_of_noise_is_seen(decision):
    """The derivative at fixed noise is that of A^2 alone, and leaves out what the decision adds."""
    with pytest.raises(NotAuditable, match="continuous noise"):
        audit(lambda: A.square() + 0 * normal(1).sum(), A, lambda: A.square() + 3 * decision())


@pytest.mark.filterwarnings("ignore:continuous noise was frozen")
def test_without_these_marks_the_decision_would_be_left_out(monkeypatch):
    def floats_alone(taint: Taint, touched: Sequence[Tensor], outputs: Sequence[Tensor], *, integers: bool) -> None:
        Taint.marked(taint, touched, [leaf for leaf in outputs if leaf.is_floating_point()], integers=integers)

    monkeypatch.setattr(Taint, "marked", Taint.mark, raising=False)
    monkeypatch.setattr(Taint, "mark", floats_alone)
    monkeypatch.setattr(measured, "require_gradual", lambda *_, **__: None)  # which sees the jump in the values
    for decision in (UNSEEN["the success of a factorisation"], UNSEEN["a complex copy"]):
        report = audit(lambda: A.square() + 0 * normal(1).sum(), A, lambda each=decision: A.square() + 3 * each())
        assert report.verdict == "unbiased"


def is_settled_at_frozen_noise(function) -> bool:
    try:
        return bool(audit(function, A, function, raise_exception=False).frozen_noise)
    except GradproofError:
        return False
