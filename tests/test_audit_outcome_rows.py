"""Many outcomes as rows of one run: the same moments as one by one, and one by one where code could tell."""

from __future__ import annotations

import contextlib
import math
import warnings

import pytest
import torch
from torch import distributions as laws
from torch.autograd.graph import get_gradient_edge

import numeric
from numeric.auditing import audit_mean, outcome_runs
from numeric.auditing.integration.rows import RowRuns
from numeric.draws import noise_rows, outcome_rows
from numeric.draws.noise_rows import NotInRows
from numeric.draws.noise_sources import Line
from numeric.draws.random_ops import DISCRETE
from numeric.draws.restoring import put_back
from numeric.draws.tape import Count
from numeric.means.runs import Runs
from numeric.noise.at_noise import AtNoise

D = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=D)


def logits():
    return tensor(0.3, -0.2, 0.5).requires_grad_()


REWARD = tensor(1.0, -2.0, 0.5)


def bits(th):
    law = laws.Bernoulli(logits=th)
    b = law.sample()
    return (b * REWARD).sum() * law.log_prob(b).sum(), (b * REWARD).sum()


def group(th):
    law = laws.Categorical(logits=th)
    a = law.sample((3,))
    r = REWARD[a]
    return ((r - (r.sum() - r) / 2) * law.log_prob(a)).mean(), REWARD[laws.Categorical(logits=th).sample()]


def dependent(th):
    first = torch.multinomial(th.softmax(-1).expand(2, -1), 1)[:, 0]
    second = laws.Bernoulli(probs=0.2 + 0.2 * first.to(D).mean())
    b = second.sample()
    return th.log_softmax(-1)[first].sum() * (b + 1) * REWARD[first].sum(), th.sum()


def without_replacement(th):
    a = torch.multinomial(th.softmax(-1).expand(2, -1), 2)
    return th.log_softmax(-1)[a].sum() * REWARD[a[:, 0]].sum(), th.sum()


def impossible(th):
    """The second coin shows heads only if the first one does, so that the first run sees one option."""
    first = torch.bernoulli(th.sigmoid().expand(3, -1)[:, 0])
    second = torch.bernoulli(0.5 * first[0])
    return (first.sum() + second) * th.sum(), th.sum()


def sometimes_zero(th):
    """What the first run can draw, some others cannot: there the logarithm is infinite."""
    first = torch.bernoulli(th.sigmoid().expand(3, -1)[:, 0])
    p = 0.5 * (1 - first[0])
    second = torch.bernoulli(p)
    return (torch.where(second > 0, p, 1 - p).log() + 1) * th.sum() * first.sum(), th.sum()


def integers(th):
    k = torch.randint(1, 4, (2,))
    return th[k - 1].sum() ** 2 * torch.randint_like(k, 2).sum(), th.sum()


def dropped(th):
    return torch.nn.functional.dropout(th, 0.3).square().sum() * torch.bernoulli(tensor(0.5)).sum(), th.sum()


CODE = {
    "bits": bits, "group": group, "a law that depends on a draw": dependent, "without replacement": without_replacement,
    "an option that the first run has not": impossible, "an option that some runs have not": sometimes_zero,
    "integers": integers, "dropout": dropped,
}  # fmt: skip
ONE_BY_ONE = {"an option that the first run has not", "an option that some runs have not"}


def audited(code, monkeypatch, *, together, **options):
    monkeypatch.setattr(audit_mean, "FEWEST", 2 if together else math.inf)
    monkeypatch.setattr(outcome_runs, "FEWEST", 2 if together else math.inf)
    th = logits()
    loss = lambda: code(th)[0]  # noqa: E731
    objective = lambda: code(th)[1]  # noqa: E731
    return numeric.audit(loss, th, objective, raise_exception=False, **options)


@pytest.mark.parametrize("name", CODE)
def test_rows_give_the_moments_that_runs_alone_give(name, monkeypatch):
    rows, alone = (audited(CODE[name], monkeypatch, together=together) for together in (True, False))
    assert rows.together is (name not in ONE_BY_ONE)
    assert not alone.together
    for field in ("mean", "exact", "variance"):
        torch.testing.assert_close(getattr(rows, field), getattr(alone, field), rtol=1e-10, atol=1e-12)
    assert (rows.outcomes, rows.objective_outcomes) == (alone.outcomes, alone.objective_outcomes)
    assert rows.verdict == alone.verdict
    assert rows.value == pytest.approx(alone.value, rel=1e-12, abs=1e-14)
    if not rows.unbiased:  # else rounding decides of which coordinate they are
        assert abs(rows.contributions[0].gradient) == pytest.approx(abs(alone.contributions[0].gradient))
    assert "as rows of one run" in str(rows) or not rows.together


def nine_bits(th):
    b = torch.bernoulli(th.detach().sigmoid().expand(3, -1))
    return (b.sum() ** 2 * b @ th).sum(), th.sum()


@pytest.mark.parametrize(
    ("at_once", "together"), [(outcome_runs.FEWEST_TOGETHER, True), (outcome_runs.FEWEST_TOGETHER - 1, False)]
)
def test_runs_of_few_rows_are_looked_at_together(at_once, together, monkeypatch):
    whole = audited(nine_bits, monkeypatch, together=True)
    monkeypatch.setattr(outcome_runs.OutcomeRuns, "at_once", at_once)
    monkeypatch.setattr(outcome_runs, "FEWEST", 20)
    th, alone = logits(), []
    kept = Runs.loss
    monkeypatch.setattr(Runs, "loss", lambda *given, **options: alone.append(1) or kept(*given, **options))
    parts = numeric.audit(lambda: nine_bits(th)[0], th, lambda: nine_bits(th)[1], raise_exception=False)
    assert (parts.together, len(alone) < parts.outcomes) == (together, together)
    assert (parts.outcomes, parts.verdict) == (whole.outcomes, whole.verdict)
    for field in ("mean", "exact", "variance"):
        torch.testing.assert_close(getattr(parts, field), getattr(whole, field), rtol=1e-10, atol=1e-12)


# Code that could tell whether it runs on rows


def branches(th):
    b = torch.bernoulli(th.sigmoid())
    return (th * b).sum() * (3 if b.sum() > 2 else 1)


def catches(th):
    """It does in one outcome what it does in no row."""
    b = torch.bernoulli(th.sigmoid())
    with contextlib.suppress(RuntimeError):
        return (th * b).sum() * (1 + int(b.sum()) // 3)
    return (th * b).sum()


def prints(th):
    b = torch.bernoulli(th.sigmoid())
    return (th * b).sum() * (1 + ("1., 1., 1." in str(b)))


LOG = []


def logs(th):
    b = torch.bernoulli(th.sigmoid())
    LOG.append(b.sum())
    return (th * b).sum()


def clips(th):
    hooked = th * 1.0
    hooked.register_hook(lambda gradient: gradient.clamp(max=0.5))
    return (hooked * torch.bernoulli(th.sigmoid())).sum()


def differentiates(th):
    b = torch.bernoulli(th.sigmoid())
    slope = torch.autograd.grad((th.square() * b).sum(), th, create_graph=True)[0]
    return (slope * b).sum()


def steps_back(th):
    (th * torch.bernoulli(th.sigmoid())).sum().backward()


def leaves_torch(th):
    b = torch.bernoulli(th.sigmoid())
    return (th * b).sum() * float(b.detach().numpy().sum())


def seeds(th):
    """The second draw is the first one again."""
    torch.manual_seed(3)
    first = torch.bernoulli(tensor(0.5, 0.5, 0.5))
    torch.manual_seed(3)
    return (th * first * torch.bernoulli(tensor(0.5, 0.5, 0.5))).sum()


def knows(th):
    """It asks torch itself."""
    b = torch.bernoulli(th.sigmoid())
    return (th * b).sum() * (2 if torch._C._functorch.is_batchedtensor(b) else 1)


TELLING = {
    "branches": branches, "catches the error of a branch": catches, "prints": prints, "keeps what it drew": logs,
    "hooks": clips, "differentiates": differentiates, "calls backward": steps_back, "leaves torch": leaves_torch,
    "seeds": seeds, "asks torch": knows,
}  # fmt: skip


# Kinds of code that fresh eyes found to be another on rows: in one outcome of many, which no run alone need meet


INDEX = 2.0 ** torch.arange(8, dtype=D)


def drawn():
    """A uniform number of 0 to 255, from eight bits."""
    return (torch.bernoulli(torch.full((8,), 0.5, dtype=D)) * INDEX).sum()


def rare_padding(th, _):
    """An embedding that has no gradient in one outcome."""
    i = drawn()
    table = th.reshape(2, 1).expand(2, 3)
    return torch.nn.functional.embedding((i == 77).long(), table, padding_idx=1).sum()


def rare_tie(th, _):
    """Where the two are equal, the gradient of the largest is shared."""
    i = drawn()
    first = torch.where(i == 77, th[0], th[0] + i)
    second = torch.where(i == 77, th[1] + (th[0] - th[1]).detach(), th[1] - i - 1)
    return torch.max(torch.stack([first, second]))


def rare_option(th, _):
    """The second coin can fall in one outcome only, once in 1e12 times, and what it leads to is divided by that."""
    i = drawn()
    p = torch.where(i == 77, 1e-12, 0.0).to(D)
    coin = torch.bernoulli(p)
    return th[0] * i + th[1] * torch.where(coin > 0, 1 / p, torch.zeros_like(p))


def rare_error_of_a_law(th, _):
    """One outcome is outside of the support, and code makes something of that."""
    i = drawn()
    try:
        return laws.Exponential(th[0].exp()).log_prob(torch.where(i == 77, -0.5, 0.5 + i / 20)) + th[1]
    except ValueError:
        return 0 * th[0]


def small_beside_large(th, large):
    """In float32, a gradient that is small beside another."""
    row = torch.randint(0, 128, ()).remainder(2)
    return torch.nn.functional.embedding(row, th.reshape(2, 1), padding_idx=1).sum() * 1e-2 + large.sum() * 1e3


def improbable(th, _):
    """Products of probabilities that are too small for a number."""
    law = laws.Bernoulli(logits=torch.cat([th[:1] * 0 - 500, th[:1] * 0 - 500, th[:1].expand(5) * 0]))
    return law.sample().sum() * th.sum()


def keeps_in_a_slot(th, _, slot={}):  # noqa: B006
    slot["last"] = drawn()
    return th.sum() * slot["last"]


def counts_down_before_it_fails(th, _, left=[1]):  # noqa: B006
    """What a run that fails in the middle leaves behind is no start for the next one."""
    if not left:
        return th.sum() * 0
    left.pop()
    scale = float(drawn())
    left.append(1)
    return th.sum() * scale


def hooks_of_saved_tensors(th, _):
    """One outcome is saved otherwise."""
    i = drawn()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: 2 * t if bool((t == 77).any()) else t, lambda t: t):
        return th.sum() * i


class Doubled(torch.autograd.Function):
    """The gradient, and twice that where a number says so; it cannot run on rows."""

    @staticmethod
    def forward(ctx, x, doubled):
        ctx.factor = 1 + doubled
        return x.clone()

    @staticmethod
    def backward(ctx, *given):
        return ctx.factor * given[0], None


def falls_back(th, _):
    """Where a function of its own fails, code goes on with what has another gradient in one outcome."""
    i = drawn()
    try:
        return Doubled.apply(th.sum() * i, (i == 77).to(D))
    except RuntimeError:
        return th.sum() * i


RARE = {
    "padding": (rare_padding, D), "a tie": (rare_tie, D), "an option": (rare_option, D),
    "an error of a law": (rare_error_of_a_law, D), "an error of a function": (falls_back, D),
    "small beside large": (small_beside_large, torch.float32), "improbable": (improbable, D), "a slot": (keeps_in_a_slot, D),
    "a run that fails": (counts_down_before_it_fails, D), "hooks of saved tensors": (hooks_of_saved_tensors, D),
}  # fmt: skip


@pytest.mark.parametrize("name", RARE)
def test_what_is_otherwise_in_one_outcome_is_the_same_on_rows_and_alone(name, monkeypatch):
    code, dtype = RARE[name]
    found = []
    for fewest in (64, math.inf):
        monkeypatch.setattr(audit_mean, "FEWEST", fewest)
        monkeypatch.setattr(outcome_runs, "FEWEST", fewest)
        th, large = (torch.tensor(each, dtype=dtype, requires_grad=True) for each in ([0.3, -0.2], [1.0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", numeric.AuditWarning)
            objective = lambda: th.sum() + 1e3 * large.sum()  # noqa: E731, B023
            loss = lambda: code(th, large)  # noqa: E731, B023
            found.append(numeric.audit(loss, {"th": th, "large": large}, objective, raise_exception=False))
    rows, alone = found
    assert (rows.verdict, rows.outcomes) == (alone.verdict, alone.outcomes)
    torch.testing.assert_close(rows.mean, alone.mean, rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-12)
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(each) for each in keeps_in_a_slot.__defaults__[0].values())


def report_of(loss, monkeypatch, fewest):
    monkeypatch.setattr(audit_mean, "FEWEST", fewest)
    monkeypatch.setattr(outcome_runs, "FEWEST", fewest)
    th = logits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numeric.AuditWarning)
        return numeric.audit(lambda: loss(th), th, lambda: th.sum(), raise_exception=False)


@pytest.mark.parametrize("name", TELLING)
def test_code_that_could_tell_is_run_one_by_one(name, monkeypatch):
    found, alone = (report_of(TELLING[name], monkeypatch, fewest) for fewest in (2, math.inf))
    assert not found.together
    torch.testing.assert_close(found.mean, alone.mean)
    assert found.verdict == alone.verdict


class Never:
    """An attribute that is false whatever it is set to."""

    def __get__(self, *_):
        return False

    def __set__(self, *_):
        pass


TELLS = (Runs, "tells", Never())
FAILED = (noise_rows.FreshRows, "failed", Never())
PRINTED = (noise_rows, "_TELLS", set())
KEPT = (outcome_rows.Keeping, "keeps", False)
GUARDS = {
    "catches the error of a branch": (TELLS, FAILED),
    "prints": (TELLS, PRINTED),
    "asks torch": (),
    "keeps what it drew": (KEPT,),
}


@pytest.mark.parametrize(("name", "kept"), [(name, kept) for name, guards in GUARDS.items() for kept in (None, *guards)])
def test_each_guard_alone_has_code_run_one_by_one(name, kept, monkeypatch):
    """Without any of them, and with runs alone that confirm whatever rows give, it would be run on rows."""
    monkeypatch.setattr(Runs, "is_same", lambda *_: True)
    for guard in GUARDS[name]:
        if guard is not kept:
            monkeypatch.setattr(*guard, raising=False)
    assert report_of(TELLING[name], monkeypatch, 2).together is (kept is None)
    LOG.clear()


@contextlib.contextmanager
def started(th, loss):
    runs = Runs({"th": th})
    with put_back(runs.params, (), runs.generators, {"loss": loss}) as start:
        runs.reset, runs.bystanders = start.reset, start.bystanders
        yield runs


ONE_OF_MANY = tensor(0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0)
"""The outcome number 53 of 7 bits, which is none of those that are run alone too."""


def doubled_once(gradient):
    return gradient * (1 + (gradient == ONE_OF_MANY[: len(gradient)]).all())


def doubled_in_place(param):
    param.grad.copy_(doubled_once(param.grad))


HOOKS = {
    "tensor": lambda th: th.register_hook(doubled_once),
    "sum": lambda th: th.register_post_accumulate_grad_hook(doubled_in_place),
    "node": lambda th: get_gradient_edge(th).node.register_prehook(lambda given: (doubled_once(given[0]),)),
}  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_at_a_parameter_is_seen_in_runs_alone_only(hook):
    th = torch.ones(7, dtype=D, requires_grad=True)
    kept = get_gradient_edge(th), HOOKS[hook](th)
    loss = lambda: (th * torch.bernoulli(torch.full((7,), 0.5))).sum()  # noqa: E731
    with started(th, loss) as runs:
        moments = audit_mean.moments_of(runs, loss, 1000, Count(128, False, 128))
    assert not moments.together
    torch.testing.assert_close(moments.mean[0], 0.5 + ONE_OF_MANY / 128)
    kept[1].remove()
    with started(th, loss) as runs:
        assert audit_mean.moments_of(runs, loss, 1000, Count(128, False, 128)).together


@pytest.mark.parametrize("hook", HOOKS)
def test_rows_of_noise_are_refused_where_there_is_a_hook_at_a_parameter(hook):
    th = torch.ones(2, dtype=D, requires_grad=True)
    loss = lambda: (th * torch.randn(2, dtype=D)).sum()  # noqa: E731
    with started(th, loss) as runs:
        functions, point = AtNoise(runs, loss, loss), torch.zeros(1, 2, dtype=D)
        rows = RowRuns(runs, loss, by_numbers=False)
        run = [
            lambda: functions.values(loss, point),
            lambda: rows.decided([Line(0, seen=dict.fromkeys([(0, 0), (0, 1)], "normal"))], refuse=False),
        ]
        for each in run:
            each()
        kept = get_gradient_edge(th), HOOKS[hook](th)
        for each in run:
            with pytest.raises(NotInRows, match="hook at a parameter"):
                each()
    del kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([[0, 1], [0, 1], [1]], "none of the seen runs had"),
        ([[0, 1]] * 2, "draw more"),
        ([[0, 1]] * 4, "3 choices and a run alone 4"),
    ],
)
def test_rows_that_are_not_all_outcomes_are_refused(options, message):
    th = logits()
    loss = lambda: bits(th)[0]  # noqa: E731
    every = [torch.tensor(each) for each in options]
    with started(th, loss) as runs, pytest.raises(NotInRows, match=message):
        outcome_runs.OutcomeRuns(runs, loss, by_numbers=False, options=every, most=100).moments_of_outcomes(lambda each: each)


def test_a_law_that_is_overwritten_after_its_draw_is_refused(monkeypatch):
    def overwrites():
        p = th.sigmoid() * 1.0
        b = torch.bernoulli(p)
        p.data.mul_(0.5)
        return (b * REWARD).sum()

    th = logits()
    monkeypatch.setattr(outcome_runs, "FEWEST", 2)
    with pytest.raises(numeric.NotAuditable, match="overwritten in place"):
        numeric.audit(lambda: (th * torch.bernoulli(th.sigmoid())).sum(), th, overwrites)


def test_many_outcomes_take_a_share_of_the_time_that_runs_alone_take():
    """Runs are counted, not seconds."""
    runs = []
    th = torch.linspace(-1, 1, 10, dtype=D).requires_grad_()

    def loss():
        runs.append(1)
        law = laws.Bernoulli(logits=th)
        b = law.sample()
        return b.sum().square() * law.log_prob(b).sum()

    def objective():
        return torch.bernoulli(th.sigmoid()).sum().square()

    assert numeric.audit(loss, th, objective).together
    assert len(runs) < 100


def test_outcomes_are_rows_of_several_runs(monkeypatch):
    monkeypatch.setattr(outcome_runs.OutcomeRuns, "size", 100)
    th = torch.linspace(-1, 1, 3, dtype=D).requires_grad_()
    code = lambda: bits(th)[0] + 0 * torch.bernoulli(tensor(*[0.5] * 5)).sum()  # noqa: E731
    report = numeric.audit(code, th, lambda: bits(th)[1])
    assert report.together
    assert report.outcomes == 256


def test_every_law_of_rows_is_one_that_runs_alone_enumerate():
    assert outcome_rows._DRAWS.keys() < DISCRETE.keys()
