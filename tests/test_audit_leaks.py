"""Continuous noise that leaves torch is refused by the name of its way out; decided draws may leave."""

from __future__ import annotations

import functools
import io
import math
import multiprocessing.reduction
import pickle

import numpy as np
import pytest
import torch

from derive.language.errors import TooLarge
from numeric.auditing.audit import AuditWarning, NotAuditable, audit
from numeric.draws import leaving
from numeric.draws.tape import Tape
from numeric.means.runs import Runs

REWARD = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)


def parameter(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def theta():
    return parameter(0.3, -0.2, 0.6)


def objective_of(theta):
    return lambda: REWARD[torch.multinomial(theta.softmax(-1), 1)[0]]


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64)


WAYS = {
    "numpy": lambda z: z.numpy().sum(),
    "__array__": lambda z: np.asarray(z).sum(),
    "__dlpack__": lambda z: np.from_dlpack(z).sum(),
    "tolist": lambda z: sum(z.tolist()),
    "__float__": lambda z: float(z.sum()),
    "__int__": lambda z: int(z.sum()),
    "__repr__": lambda z: len(str(z)) + len(repr(z)),
    "__format__": lambda z: float(f"{z.sum():.2f}"),
    "storage": lambda z: len(z.storage()),
    "untyped_storage": lambda z: len(pickle.dumps(z)) + len(z.untyped_storage()),
    "data_ptr": lambda z: z.data_ptr() % 2,
    "apply_": lambda z: float(z.apply_(lambda x: float(x > 0)).numel()),
    "map_": lambda z: float(z.map_(z, lambda x, y: float(x > y)).numel()),
    "map2_": lambda z: float(z.map2_(z, z, lambda x, y, _: float(x > y)).numel()),
}


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("way", WAYS)
def test_noise_that_leaves_torch_is_refused_by_the_name_of_its_way(way, theta):
    loss = lambda: theta.sum() * (1.0 if WAYS[way](noise(2)) > 0.7 else 0.0)  # noqa: E731
    with pytest.raises(NotAuditable, match=rf"noise leaves torch by Tensor\.{way},"):
        audit(loss, theta, lambda: theta.sum() / 2)


@pytest.mark.filterwarnings("ignore:TypedStorage")
@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"__float__", "__int__"}])
def test_without_its_guard_a_way_out_is_not_seen(way, theta, monkeypatch):
    monkeypatch.setattr(leaving, "WAYS_OUT", [each for each in leaving.WAYS_OUT if each not in {way, "__float__"}])
    captured = {method: name for method, name in leaving._CAPTURED.items() if name in leaving.WAYS_OUT}
    monkeypatch.setattr(leaving, "_CAPTURED", captured)

    def loss():
        with torch.no_grad():
            WAYS[way](torch.rand(2, dtype=torch.float64))
        return theta.sum()

    try:
        with leaving.watched_exits():
            Runs({"theta": theta}).loss(loss, Tape())
    except NotAuditable as error:
        assert f"Tensor.{way}," not in str(error)  # noqa: PT017


def test_the_ways_out_are_those_that_are_tried():
    assert set(leaving.WAYS_OUT) == set(WAYS)


numpy_of = torch.Tensor.numpy
OTHER = {
    "a method that was taken from the class before": lambda z: numpy_of(z).sum(),
    "to_dlpack": lambda z: torch.from_dlpack(torch.utils.dlpack.to_dlpack(z)).sum(),
    "a legacy constructor": lambda z: torch.DoubleTensor([z[0]]).sum(),
    "numpy's assignment": lambda z: np.zeros(1).__setitem__(0, z[0]) or 0.0,
    "a percent sign": lambda z: float("%f" % z[0]),  # noqa: UP031
    "a method of a subclass": lambda z: z.as_subclass(Subclass).numpy().sum(),
    "the numbers of its memory": lambda z: z.untyped_storage().tolist()[0],
    "a sparse tensor": lambda z: torch.sparse_coo_tensor([[0]], [z[0]], (1,)).to_dense().sum(),
    "a queue": lambda z: multiprocessing.reduction.ForkingPickler.dumps(z)[0],
}


class Subclass(torch.Tensor):
    pass


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize("way", OTHER)
def test_noise_that_leaves_torch_by_a_detour_is_refused(way, theta):
    loss = lambda: theta.sum() * (1.0 if OTHER[way](noise(2)) > 0.7 else 0.0)  # noqa: E731
    with pytest.raises(NotAuditable, match="noise leaves torch by"):
        audit(loss, theta, lambda: theta.sum() / 2)


def test_noise_saved_to_a_file_is_refused(theta):
    loss = lambda: torch.save(noise(2), file := io.BytesIO()) or theta.sum() * file.tell()  # noqa: E731
    with pytest.raises(NotAuditable, match="leaves torch"):
        audit(loss, theta, lambda: theta.sum())


def test_enumerated_draws_may_leave_torch(theta):
    def loss(leave):
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)
        return float(REWARD[leave(a)]) * log_p[a[0]]

    for leave in (lambda a: int(a.numpy()[0]), lambda a: a.tolist()[0], lambda a: int(f"{a.item()}"), lambda a: int(str(a)[8])):
        assert audit(functools.partial(loss, leave), theta, objective_of(theta))


@pytest.mark.parametrize("leave", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__, np.asarray])
def test_constants_of_an_objective_may_leave_torch(leave, theta):
    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        return REWARD[a] * log_p[a]

    def objective():
        drawn = leave((theta.detach() * 0).clone())
        return REWARD[torch.multinomial(theta.softmax(-1), 1)[0]] + float(drawn[0])

    assert audit(loss, theta, objective)


@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_a_threshold_of_uniform_noise_may_leave_torch(factor):
    theta = parameter(0.3)

    def loss():
        p = theta.sigmoid().sum()
        b = (torch.rand((), dtype=torch.float64) < p).numpy()
        return factor * (p.log() if b else (1 - p).log()) * float(b)

    assert bool(audit(loss, theta, lambda: theta.sigmoid().sum(), raise_exception=False)) == (factor == 1.0)


def test_an_environment_that_takes_the_action_as_an_array_is_refused_for_continuous_actions(theta):
    def step(action):
        return float(np.sign(action).sum())

    def loss():
        law = torch.distributions.Normal(theta, 1.0)
        action = law.sample()
        return step(action.numpy()) * law.log_prob(action).sum()

    with pytest.raises(NotAuditable, match=r"Tensor\.numpy"):
        audit(loss, theta, lambda: (2 * torch.distributions.Normal(0.0, 1.0).cdf(theta) - 1).sum())


def test_noise_that_a_hook_or_a_custom_backward_takes_out_is_refused(theta):
    def clipped(gradient):
        return torch.as_tensor(np.clip(gradient.numpy(), -1, 1))

    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return clipped(gradient)

    def with_hook():
        x = theta + noise(3)
        x.register_hook(clipped)
        return (x**2).sum()

    def value():
        return ((theta + noise(3)) ** 2).sum()

    for loss in (with_hook, lambda: (Clip.apply(theta + noise(3)) ** 2).sum()):
        with pytest.raises((NotAuditable, TooLarge), match=r"leaves torch by Tensor\.numpy"):
            audit(loss, theta, value)


@pytest.mark.parametrize("shared", ["before", "from numpy", "copied into", "dlpack"])
def test_noise_written_into_memory_that_numpy_shares_is_refused(shared, theta):
    def loss():
        x = torch.zeros(1, dtype=torch.float64)
        if shared == "from numpy":
            seen = np.zeros(1)
            torch.from_numpy(seen).normal_()
        elif shared == "copied into":
            seen = np.zeros(1)
            torch.from_numpy(seen).copy_(noise(1))
        else:
            seen = x.numpy() if shared == "before" else np.from_dlpack(x)
            x.normal_()
        return theta.sum() * (1.0 if seen[0] > 0.7 else 0.0)

    with pytest.raises(NotAuditable, match="shares"):
        audit(loss, theta, lambda: theta.sum() / 2)


MADE = {
    "tensor": lambda z: torch.tensor([z[0], z[1]]),
    "as_tensor": lambda z: torch.as_tensor([z[0], 1.0]),
    "new_tensor": lambda z: z.new_tensor([z[0], z[1]]),
}


@pytest.mark.parametrize("made", MADE)
def test_a_tensor_that_is_made_of_a_list_of_noise_holds_noise(made, theta):
    loss = lambda: theta.sum() * (MADE[made](noise(2)) > theta[:2]).double().sum()  # noqa: E731
    with pytest.raises(NotAuditable, match="decide"):
        audit(loss, theta, loss)


@pytest.mark.parametrize("made", MADE)
def test_a_fixed_threshold_of_a_list_of_noise_is_integrated(made, theta):
    """One of the two numbers is 1.0, the other one is noise: P(z > 0.7) = erfc(0.7 / sqrt 2) / 2."""
    pair = lambda: torch.cat([noise(1), torch.ones(1, dtype=torch.float64)])  # noqa: E731
    loss = lambda: theta.sum() * (MADE[made](pair()) > 0.7).double().sum()  # noqa: E731
    report = audit(loss, theta, loss)
    assert report.quadrature
    assert report.exact["theta"].tolist() == pytest.approx([1 + math.erfc(0.7 / math.sqrt(2)) / 2] * 3, rel=1e-12)


def test_the_methods_of_torch_are_those_of_before(theta):
    before = {name: vars(torch.Tensor).get(name) for name in leaving.WAYS_OUT}
    with pytest.raises(ZeroDivisionError):
        audit(lambda: 1 / 0, theta, lambda: theta.sum())
    assert {name: vars(torch.Tensor).get(name) for name in leaving.WAYS_OUT} == before


def test_noise_in_rows_of_vmap_can_be_shown_by_no_way(theta):
    def value():
        def row(t):
            z = torch.randn((), dtype=torch.float64)
            return t * len(repr(z))

        return torch.vmap(row, randomness="different")(theta).sum()

    with pytest.raises(NotAuditable, match="__repr__"):
        audit(value, theta, value)


def test_noise_whose_law_is_noise_is_not_taken_for_noise_that_leaves(theta):
    def value():
        first = torch.randn(1, dtype=torch.float64)
        second = torch.normal(first, torch.ones(1, dtype=torch.float64))
        return ((theta + second) ** 2).sum()

    with pytest.warns(AuditWarning, match="frozen"):
        assert audit(value, theta, value)
