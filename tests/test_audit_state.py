"""Declared state is put back before each run, in place and all the way down; after an audit everything is as it was before."""

from __future__ import annotations

import array
import functools
import itertools
import random
import types
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from derive.language.errors import UsageError
from numeric.auditing.audit import BiasedGradient, NotAuditable, audit, replay
from numeric.state.snapshot import Snapshot

REWARD = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
Pair = namedtuple("Pair", "left right")


def parameter(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def score(theta, baseline):
    """A loss with a baseline that is told each reward, and says what it was before; and its objective."""

    def loss():
        law = torch.distributions.Categorical(logits=theta)
        a = law.sample()
        return (REWARD[a] - baseline(float(REWARD[a]))) * law.log_prob(a)

    return loss, lambda: REWARD[torch.multinomial(theta.softmax(-1), 1)[0]]


class Agent:
    """Holds the parameters and an average, as objects of libraries do."""

    def __init__(self):
        self.theta, self.average, self.trace = parameter(0.3, -0.2, 0.1), 0.0, deque([0.0], maxlen=3)

    def loss(self, *, updated_first=False):
        law = torch.distributions.Categorical(logits=self.theta)
        a = law.sample()
        reward, before = float(REWARD[a]), self.average
        self.average = 0.9 * self.average + 0.1 * reward
        self.trace.append(self.average)
        return (reward - (self.average if updated_first else before)) * law.log_prob(a)

    def objective(self):
        return REWARD[torch.multinomial(self.theta.softmax(-1), 1)[0]]


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(()))
        self.average, self.trace = 0.0, deque([0.0])

    loss, objective = Agent.loss, Agent.objective


@pytest.mark.parametrize("make", [Agent, Module])
def test_an_object_that_holds_the_parameters_and_an_average_is_audited_and_stays_the_same(make):
    agent = make()
    theta, trace, values = agent.theta, agent.trace, agent.theta.detach().clone()
    assert audit(agent.loss, theta, agent.objective, state=[agent])
    first = functools.partial(agent.loss, updated_first=True)
    report = audit(first, theta, agent.objective, state=[agent], raise_exception=False)
    assert report.scaled_by == pytest.approx(0.9, abs=1e-12)
    assert agent.theta is theta
    assert agent.trace is trace
    assert torch.equal(theta, values)
    assert (agent.average, list(agent.trace)) == (0.0, [0.0])


def test_one_object_is_state_as_well_as_a_list_of_one():
    agent = Agent()
    assert audit(agent.loss, agent.theta, agent.objective, state=agent)
    assert agent.average == 0.0


class Slots:
    __slots__ = ("late", "value")

    def __init__(self):
        self.value = 0.0


@dataclass(frozen=True)
class Frozen:
    values: list = field(default_factory=lambda: [0.0])


@dataclass(slots=True)
class SlotsOfData:
    value: float = 0.0


class Lists(list):
    extra = 0.0


def closure():
    count = 0.0

    def bump():
        nonlocal count
        count += 1.0
        return count

    return bump


def _set(thing, **values):
    for name, value in values.items():
        setattr(thing, name, value)


def _late(slots):
    slots.value, slots.late = 3.0, 1.0


CHANGES = {
    "dict": (lambda: {"a": 0.0}, lambda x: x.update(a=1.0, b=2.0), lambda x: x),
    "ordered": (lambda: OrderedDict(a=1, b=2), lambda x: x.move_to_end("a"), lambda x: list(x.items())),
    "defaultdict": (lambda: defaultdict(list, a=[1]), lambda x: x["b"].append(1) or x["a"].append(2), dict),
    "counter": (lambda: Counter("ab"), lambda x: x.update("bbb"), dict),
    "userdict": (lambda: UserDict(a=1), lambda x: x.update(b=1), dict),
    "list": (lambda: [1, [2]], lambda x: x[1].append(x.pop(0)), lambda x: x),
    "deque": (lambda: deque([1, 2], maxlen=2), lambda x: x.append(3), lambda x: (list(x), x.maxlen)),
    "set": (lambda: {1, 2}, lambda x: x.add(3) or x.discard(1), lambda x: x),
    "bytearray": (lambda: bytearray(b"ab"), lambda x: x.append(1), bytes),
    "numbers": (lambda: array.array("d", [1.0]), lambda x: x.append(2.0), list),
    "array": (lambda: np.zeros(2), lambda x: x.__setitem__(0, 5.0), lambda x: x.tolist()),
    "array of objects": (lambda: np.array([{1}, None]), lambda x: x[0].add(2), lambda x: x.tolist()),
    "tensor": (lambda: torch.zeros(2), lambda x: x.add_(1), lambda x: x.tolist()),
    "new memory": (lambda: torch.zeros(2), lambda x: _set(x, data=torch.ones(3)), lambda x: x.tolist()),
    "tuple": (lambda: ([1], {2}), lambda x: x[0].append(x[1].pop()), lambda x: x),
    "namedtuple": (lambda: Pair([1], 2), lambda x: x.left.append(3), lambda x: x.left),
    "attributes": (Agent, lambda x: _set(x, average=1.0, new=2.0), lambda x: sorted(vars(x))),
    "slots": (Slots, _late, lambda x: (x.value, hasattr(x, "late"))),
    "frozen": (Frozen, lambda x: x.values.append(1.0), lambda x: x.values),
    "slots of a dataclass": (SlotsOfData, lambda x: _set(x, value=1.0), lambda x: x.value),
    "subclass": (lambda: Lists([1]), lambda x: x.append(2) or _set(x, extra=1.0), lambda x: (list(x), x.extra)),
    "namespace": (lambda: types.SimpleNamespace(a=[1]), lambda x: x.a.append(2), lambda x: x.a),
    "closure": (closure, lambda x: x(), lambda x: x.__closure__[0].cell_contents),
    "bound method": (lambda: Agent().loss, lambda x: _set(x.__self__, average=1.0), lambda x: x.__self__.average),
    "partial": (lambda: functools.partial(print, [1]), lambda x: x.args[0].append(2), lambda x: x.args),
    "training": (lambda: torch.nn.Dropout(), lambda x: x.eval(), lambda x: x.training),
    "buffers": (lambda: torch.nn.BatchNorm1d(1), lambda x: x(torch.ones(2, 1)), lambda x: x.num_batches_tracked.item()),
    "hooks": (lambda: torch.nn.Identity(), lambda x: x.register_forward_hook(print), lambda x: len(x._forward_hooks)),
    "random": (lambda: random.Random(1), lambda x: x.random(), lambda x: x.getstate()),
    "numpy": (lambda: np.random.default_rng(1), lambda x: x.random(), lambda x: str(x.bit_generator.state)),
    "old numpy": (lambda: np.random.RandomState(1), lambda x: x.rand(), lambda x: str(x.get_state())),
    "exception": (lambda: ValueError([1]), lambda x: x.args[0].append(2), lambda x: x.args[0]),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("nested", [False, True])
def test_every_kind_of_state_is_put_back_in_place(kind, nested):
    make, change, shown = CHANGES[kind]
    thing = make()
    before = repr(shown(thing))
    held = types.SimpleNamespace(deep=[{"there": thing}]) if nested else thing
    snapshot = Snapshot([held])
    for _ in range(2):
        change(thing)
        assert repr(shown(thing)) != before
        snapshot.put_back()
        assert repr(shown(thing)) == before
    assert not nested or held.deep[0]["there"] is thing


def test_the_attributes_of_a_class_are_state_if_the_class_is():
    class Shared:
        average, seen = 0.0, ()

        def __call__(self, reward):
            before = Shared.average
            Shared.average = 0.9 * before + 0.1 * reward
            Shared.new = reward
            return before

    theta = parameter(0.3, -0.2, 0.1)
    loss, objective = score(theta, Shared())
    with pytest.raises(NotAuditable, match=r"state=\[...\]"):
        audit(loss, theta, objective)
    Shared.average = 0.0
    del Shared.new
    assert audit(loss, theta, objective, state=[Shared])
    assert Shared.average == 0.0
    assert not hasattr(Shared, "new")


def test_an_optimiser_is_state():
    theta, value = parameter(0.3, -0.2, 0.1), parameter(0.5)
    optimiser = torch.optim.SGD([value], lr=0.1, momentum=0.9)

    def baseline(reward):
        before = float(value.detach())
        optimiser.zero_grad()
        (value - reward).square().sum().backward()
        optimiser.step()
        return before

    loss, objective = score(theta, baseline)
    assert audit(loss, theta, objective, state=[optimiser])
    assert (value.item(), dict(optimiser.state), value.grad) == (0.5, {}, None)


REFUSED = {
    "itertools.count": lambda: itertools.count(),
    "list_iterator": lambda: iter([1]),
    "generator": lambda: (x for x in [1]),
    "TextIOWrapper": lambda: open(__file__),
    "dict_values": lambda: {}.values(),
}


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("nested", [False, True])
def test_state_that_cannot_be_put_back_is_refused_before_anything_runs(kind, nested):
    thing = REFUSED[kind]()
    state = types.SimpleNamespace(a={"b": thing}) if nested else thing
    way = r"state\[0\]\.a\['b'\]" if nested else r"state\[0\]"
    with pytest.raises(UsageError, match=rf"{way} is of type \w+, which cannot be set back"):
        audit(lambda: pytest.fail("it runs"), parameter(0.3), lambda: 0.0, state=[state])


@pytest.mark.parametrize("constant", [3.0, "name", None])
def test_a_constant_is_no_state(constant):
    with pytest.raises(UsageError, match="holds nothing that changes"):
        audit(lambda: pytest.fail("it runs"), parameter(0.3), lambda: 0.0, state=[constant])


def test_an_object_that_is_half_written_in_c_is_no_state():
    class Hidden(type(itertools.count())):
        pass

    with pytest.raises(UsageError, match=r"state\[0\] is of type Hidden"):
        Snapshot([Hidden()])


def test_memory_of_the_parameters_is_left_to_the_audit():
    theta = parameter(0.3, -0.2, 0.1)
    agent = types.SimpleNamespace(data=theta.data, seen=theta.detach().numpy(), view=theta.detach()[:2], own=theta.detach() + 0)
    snapshot = Snapshot([agent], [theta])
    with torch.no_grad():
        theta.add_(1.0)
        agent.own.add_(1.0)
    snapshot.put_back()
    assert theta.tolist() == pytest.approx([1.3, 0.8, 1.1])
    assert agent.own.tolist() == pytest.approx([0.3, -0.2, 0.1])


def test_what_code_reaches_may_be_expanded_or_made_in_inference_mode_or_sparse():
    theta = parameter(0.3, -0.2, 0.1)
    with torch.inference_mode():
        embedding = torch.ones(3, dtype=torch.float64)
    others = [embedding, torch.zeros(1).expand(3), torch.eye(3).to_sparse(), torch.empty(2, device="meta")]
    lazy = torch.nn.LazyLinear(1)
    loss, objective = score(theta, lambda reward: 0.0 * float(embedding[0]) if others and lazy else 1.0)
    assert audit(loss, theta, objective)
    assert audit(loss, theta, objective, state=others)


def world():
    """Tensors, modules and generators that a loss changes without need, and how all of them are now."""
    critic = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1), torch.nn.Dropout(0.0)).double()
    frozen, spare = parameter(0.5).requires_grad_(False), parameter(0.25)
    spare.grad = torch.ones(1, dtype=torch.float64)
    everything = types.SimpleNamespace(theta=parameter(0.3, -0.2, 0.1), critic=critic, frozen=frozen, spare=spare)
    everything.theta.grad = torch.full((3,), 7.0, dtype=torch.float64)
    return everything


def shown(everything):
    tensors = [everything.theta, everything.frozen, everything.spare, *everything.critic.state_dict(keep_vars=True).values()]
    return [
        *((id(x), x.tolist(), x.requires_grad, id(x.grad), x.grad is None or x.grad.tolist()) for x in tensors),
        *((id(module), module.training) for module in everything.critic.modules()),
        torch.get_rng_state().tolist(),
        random.getstate(),
        str(np.random.get_state()),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    ]


def use(everything, a):
    """Change what there is to change."""
    everything.critic(torch.ones(2, 1, dtype=torch.float64) * float(a)).sum().backward()
    everything.spare.square().sum().backward()
    everything.critic.eval()
    everything.frozen.requires_grad_(True)
    everything.frozen.data.add_(1.0)
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("ends", ["well", "by an error", "by a refusal", "as biased", "replayed"])
def test_after_an_audit_everything_is_bit_for_bit_as_before(ends):
    everything = world()

    def loss():
        law = torch.distributions.Categorical(logits=everything.theta)
        a = law.sample()
        everything.critic.train()
        use(everything, a)
        if ends == "by an error" and int(a) == 2:
            raise ZeroDivisionError
        if ends == "by a refusal":
            np.random.rand()
        return (0.5 if ends == "as biased" else 1.0) * REWARD[a] * law.log_prob(a)

    def objective():
        return REWARD[torch.multinomial(everything.theta.softmax(-1), 1)[0]]

    before = shown(everything)
    expected = {"by an error": ZeroDivisionError, "by a refusal": NotAuditable, "as biased": BiasedGradient}.get(ends)
    if ends == "replayed":
        replay(loss, everything.theta, (1,))
    elif expected is None:
        assert audit(loss, everything.theta, objective)
    else:
        with pytest.raises(expected):
            audit(loss, everything.theta, objective)
    assert shown(everything) == before


@pytest.mark.parametrize("guard", ["put_back", "holds"])
def test_without_its_guard_state_is_not_what_it_was(guard, monkeypatch):
    agent, rng = Agent(), random.Random(2)
    monkeypatch.setattr(Snapshot, guard, lambda *_: False)
    with pytest.raises(NotAuditable):
        audit(lambda: agent.loss() + rng.random() * 0, agent.theta, agent.objective, state=[agent, rng])
