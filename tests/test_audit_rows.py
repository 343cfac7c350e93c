"""Nodes of a grid that are run as rows give what runs alone give, or are refused: each guard is seen to stand alone."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as laws

from numeric.auditing import audit_report, elsewhere
from numeric.auditing.audit import audit
from numeric.auditing.audit_mean import exact_mean_of, moments_of
from numeric.auditing.audit_report import AuditWarning
from numeric.auditing.integration import integrand
from numeric.auditing.integration.integrand import Integrand
from numeric.auditing.integration.rows import RowRuns
from numeric.draws.decided_rows import FEWEST, ValueRows, by_row, filled
from numeric.draws.noise_rows import NotInRows
from numeric.draws.noise_sources import Cells
from numeric.draws.quadrature_rules import Bracket
from numeric.draws.taint import NotIntegrable
from numeric.draws.tape import count
from numeric.means.runs import Runs

torch.set_num_threads(1)


@pytest.fixture
def theta():
    return torch.tensor([0.4, -0.3], dtype=torch.float64, requires_grad=True)


def uniform():
    return torch.rand(1, dtype=torch.float64)


def sought(theta, loss):
    runs = Runs({"theta": theta})
    runs.reset = lambda: setattr(theta, "grad", None)
    return Integrand(runs, lambda tape: runs.loss(loss, tape), RowRuns(runs, loss, by_numbers=False), refuse=False, given=None)


def by_rows(theta, loss, breakpoints=None, level=3):
    return sought(theta, loss).moments(breakpoints or {}, "Gauss", level)


SMOOTH = {
    "one scalar": lambda theta: (theta * uniform()).exp().sum(),
    "two draws": lambda theta: (theta * torch.randn(1, dtype=torch.float64)).sin().sum() * uniform().sum(),
    "by a method": lambda theta: (theta.sigmoid() + uniform()).square().sum(),
    "two scalars": lambda theta: (theta * torch.randn(2, dtype=torch.float64)).cos().prod(),
    "in a list": lambda theta: torch.stack([theta[0] * uniform()[0], theta[1]]).logsumexp(0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_moments_by_rows_are_those_of_runs_alone(theta, name):
    """The mean, E|gradient| and the variance, to rounding."""
    code = sought(theta, lambda: SMOOTH[name](theta))
    rows = code.moments({}, "Gauss", 3)
    code.on_grid({}, "Gauss", 3)
    alone = moments_of(code.runs, lambda: SMOOTH[name](theta), 10_000, count(code.run, 10_000))
    assert rows.outcomes == alone.outcomes
    for first, second in ((rows.mean, alone.mean), (rows.size, alone.size), (rows.square, alone.square)):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)


def a_mixture(theta):
    """A categorical draw before normal noise of its law."""
    law = laws.MixtureSameFamily(laws.Categorical(logits=theta), laws.Normal(theta.exp(), 1 + theta**2))
    x = law.sample()
    return x.tanh() * law.log_prob(x), x.tanh()


def noise_between_bits(theta):
    """Noise, a bit, noise, and a bit whose law depends on the first one."""
    u, b, z = uniform().sum(), torch.bernoulli(theta.sigmoid()[0]), torch.randn((), dtype=torch.float64)
    other = torch.bernoulli(0.2 + 0.3 * b)
    return (theta.sum() * u + b * theta[1] * z).sin() * (1 + other), (u + b * z).cos() * (1 + other) * theta[1]


def an_option_that_cannot_be(theta):
    """The logarithm is infinite in the row that no run alone has."""
    b = torch.bernoulli(theta.sigmoid()[0])
    p = 1 - 0.5 * b
    other = torch.bernoulli(p)
    return (torch.where(other > 0, p, 1 - p).log() + uniform().sum()) * theta.sum(), b * other * uniform().sum() * theta.sum()


def bits(theta):
    return torch.bernoulli(theta.sigmoid().expand(4, 2))


def decides_by_outcome(theta):
    """Of the noise on the same side of its breakpoint, two outcomes make different things."""
    u, b = uniform().sum(), torch.bernoulli(theta.sigmoid()[0])
    chosen = (torch.where(b > 0, u, 1 - u) > 0.5).double()
    return theta.sum() * chosen * (1 + b), b * u


DISCRETE = {
    "a mixture": a_mixture, "noise between bits": noise_between_bits,
    "an option that cannot be": an_option_that_cannot_be, "a decision by outcome": decides_by_outcome,
}  # fmt: skip
HALF = {(0, 0): (Bracket(0.5 - 1e-12, 0.5 + 1e-12),)}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n == "a mixture" else n for n in DISCRETE])
def test_nodes_with_discrete_draws_beside_them_are_those_of_runs_alone(theta, name):
    """The moments of a loss, the mean of an objective and its gradient, and the outcomes."""
    loss, objective = (lambda: DISCRETE[name](theta)[0]), (lambda: DISCRETE[name](theta)[1])
    code, breakpoints = sought(theta, loss), HALF if name == "a decision by outcome" else {}
    rows = code.moments(breakpoints, "Gauss", 3)
    code.on_grid(breakpoints, "Gauss", 3)
    alone = moments_of(code.runs, loss, 10_000, count(code.run, 10_000))
    assert (rows.outcomes, rows.chooses) == (alone.outcomes, alone.chooses)
    for first, second in ((rows.mean, alone.mean), (rows.size, alone.size), (rows.square, alone.square)):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-14)
    runs = code.runs
    run = lambda tape: runs.objective(objective, tape, differentiate=False)  # noqa: E731
    aim = Integrand(runs, run, RowRuns(runs, objective, by_numbers=True), refuse=True, given=None)
    exact = aim.exact_mean(breakpoints, "Gauss", 3, check=True)
    aim.on_grid(breakpoints, "Gauss", 3)
    one_by_one = exact_mean_of(runs, objective, 10_000)
    assert exact.outcomes == one_by_one.outcomes
    assert exact.value == pytest.approx(one_by_one.value, rel=1e-12)
    torch.testing.assert_close(exact.gradient, one_by_one.gradient, rtol=1e-11, atol=1e-13)
    assert exact.slope_error < 1e-8


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (lambda theta: torch.bernoulli(uniform()).sum() * theta.sum(), "law that is noise"),
        (lambda theta: torch.poisson(theta.exp()).sum() * (theta * uniform()).sum(), "one by one"),
        (lambda theta: torch.bernoulli(theta.sigmoid()).sum().item() * (theta * uniform()).sum(), "leave torch"),
        (lambda theta: torch.bernoulli(0.5 * bits(theta).prod()) * (theta * uniform()).sum(), "none of the seen"),
    ],
)
def test_discrete_draws_that_rows_cannot_have_are_refused(theta, code, message):
    with pytest.raises(NotInRows, match=message):
        by_rows(theta, lambda: code(theta))


def test_what_two_outcomes_decide_in_one_cell_is_told_apart(theta, monkeypatch):
    loss = lambda: decides_by_outcome(theta)[0]  # noqa: E731
    kept = Cells.require_equal
    monkeypatch.setattr(Cells, "require_equal", lambda self, cell, found: kept(self, cell[-1:], found))
    with pytest.raises(NotIntegrable, match="decide differently"):
        by_rows(theta, loss, HALF)


def test_a_decision_within_a_cell_is_not_integrated(theta, monkeypatch):
    def loss():
        return (theta * (uniform() > 0.5)).sum()

    with pytest.raises(NotIntegrable, match="decide differently"):
        by_rows(theta, loss)
    by_rows(theta, loss, {(0, 0): (Bracket(0.5 - 1e-12, 0.5 + 1e-12),)})
    monkeypatch.setattr(Cells, "require_equal", lambda *_: None)
    assert by_rows(theta, loss).outcomes > 1


@pytest.mark.parametrize(
    "decides",
    [
        lambda u: u > 0.5,
        lambda u: (2 * u).floor(),
        lambda u: u.clamp(max=0.5),
        lambda u: (u - 0.5).abs(),
        lambda u: (u - 0.5).relu(),
        lambda u: (u - 0.5).sign(),
        lambda u: torch.stack([u, 1 - u]).argmax(0),
        lambda u: torch.stack([u, 1 - u]).max(0).values,
        lambda u: torch.stack([u, 1 - u]).sort(0).values[0],
        lambda u: torch.where(u > 0.5, u, 1 - u),
    ],
)
def test_every_kind_of_decision_is_seen_row_by_row(theta, decides):
    with pytest.raises((NotIntegrable, NotInRows)):
        by_rows(theta, lambda: (theta * decides(uniform())).sum())


def test_a_decision_in_which_rows_cannot_be_told_from_columns_is_refused(theta):
    places = torch.linspace(0.1, 0.9, FEWEST, dtype=torch.float64)
    with pytest.raises(NotInRows, match="not told apart"):
        by_rows(theta, lambda: theta.sum() * (uniform() > places).sum())
    with pytest.raises(NotInRows, match="not told apart"):
        by_row(torch.zeros(7, 14, dtype=torch.bool), 7)


@pytest.mark.parametrize("rows", [1, 101, 102, 500, 8192])
def test_the_number_of_rows_is_a_prime(rows):
    found = filled(rows)
    assert found >= max(rows, FEWEST)
    assert all(found % divisor for divisor in range(2, found))


def test_a_parameter_that_is_read_around_its_copies_is_refused(theta):
    outside = theta + 1  # of a sum, nothing is saved for one backward pass only
    with pytest.raises(NotInRows, match="no copy of their own"):
        by_rows(theta, lambda: (outside * uniform()).sum())


def test_rows_that_draw_less_than_a_run_alone_are_refused(theta, monkeypatch):
    def loss():
        in_rows = torch._C._functorch.maybe_current_level() is not None
        return (theta * uniform()).sum() + (0 if in_rows else uniform().sum() * theta.sum())

    with pytest.raises(NotInRows, match="draw 1 scalars of noise and a run alone 2"):
        by_rows(theta, loss)
    monkeypatch.setattr(ValueRows, "require_all_drawn", lambda _: None)
    with pytest.raises(NotInRows, match="run alone gives something else"):
        by_rows(theta, loss)


def test_rows_that_give_another_gradient_than_runs_alone_are_refused(theta, monkeypatch):
    def loss():
        in_rows = torch._C._functorch.maybe_current_level() is not None
        return (theta * uniform()).sum() * (1 + 1e-9 * in_rows)

    with pytest.raises(NotInRows, match="run alone gives something else"):
        by_rows(theta, loss)
    monkeypatch.setattr(RowRuns, "_require_equal", lambda *_: None)
    assert float(by_rows(theta, loss).mean[0][0]) == pytest.approx(0.5 + 5e-10, rel=1e-12)


def test_code_that_keeps_a_tensor_is_run_alone(theta):
    """What it keeps is a tensor then, and not what is none outside of rows."""
    log = []

    def loss():
        log.append((theta * uniform()).sum())
        return log[-1]

    with pytest.raises(NotInRows, match="beyond its end"):
        by_rows(theta, loss)
    with pytest.warns(AuditWarning, match="frozen"):
        audit(loss, theta, lambda: (theta * uniform()).sum())
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(each) for each in log)


def test_a_row_is_run_alone_in_each_cell(theta):
    """The wrong cell holds neither an end nor the largest gradient."""

    def loss():
        u = uniform()
        in_rows = torch._C._functorch.maybe_current_level() is not None
        inside = ((u > 0.4) & (u < 0.6)).double()
        return (theta * (1 - inside / 2 + in_rows * inside / 4)).sum()

    cut = (Bracket(0.4 - 1e-12, 0.4 + 1e-12), Bracket(0.6 - 1e-12, 0.6 + 1e-12))
    with pytest.raises(NotInRows, match="run alone gives something else"):
        by_rows(theta, loss, {(0, 0): cut})


def test_a_breakpoint_of_rows_that_runs_alone_do_not_have_is_refused(theta, monkeypatch):
    """Then the search runs alone, and finds the place of the runs."""

    def loss():
        in_rows = torch._C._functorch.maybe_current_level() is not None
        return (theta * (uniform() > (0.7 if in_rows else 0.3))).sum()

    ((found,),) = sought(theta, loss).breakpoints().values()
    assert found.below <= 0.3 <= found.above
    monkeypatch.setattr(integrand, "_confirmed", lambda _, changes: changes)
    monkeypatch.setattr(integrand, "_sharpened", lambda _, *change: change)
    ((wrong,),) = sought(theta, loss).breakpoints().values()
    assert wrong.below <= 0.7 <= wrong.above


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "unbiased"), (0.999, "scaled")])
def test_an_audit_that_falls_back_on_runs_alone_says_the_same(theta, factor, verdict, monkeypatch):
    def loss():
        u = uniform()
        return factor * (theta * (u > 0.3) * u).sum()

    for module in (audit_report, elsewhere):
        monkeypatch.setattr(module, "POINTS", 1)
    closed = lambda: theta.sum() * (1 - 0.3**2) / 2  # noqa: E731
    together = audit(loss, theta, closed, raise_exception=False)
    monkeypatch.setattr(RowRuns, "_run", _refused)
    alone = audit(loss, theta, closed, raise_exception=False)
    assert together.verdict == alone.verdict == verdict
    torch.testing.assert_close(together.mean, alone.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(together.variance, alone.variance, rtol=1e-10, atol=1e-13)


def _refused(*_, **__):
    message = "not now."
    raise NotInRows(message)
