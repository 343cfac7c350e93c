"""Chance that does not come from torch is refused by name, or audited at a declared state that the report names."""

from __future__ import annotations

import functools
import operator
import os
import pickle
import random
import secrets
import threading
import types
import uuid
import weakref
from collections import deque

import numpy as np
import pytest
import torch

from numeric.auditing.audit import AuditWarning, NotAuditable, audit
from numeric.state.foreign import Entropy
from numeric.state.reachable import reachable

REWARD = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
GLOBAL = np.random.default_rng(5)


def parameter(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def theta():
    return parameter(0.3, -0.2, 0.6)


def objective_of(theta):
    return lambda: REWARD[torch.multinomial(theta.softmax(-1), 1)[0]]


class Slots:
    __slots__ = ("rng",)

    def __init__(self, rng):
        self.rng = rng

    def draw(self):
        return self.rng.random()


class Lazy:
    shared = np.random.default_rng(11)

    def draw(self):
        return self.shared.random()


class Environment:
    def __init__(self, rng):
        self.spaces = {"action": types.SimpleNamespace(np_random=rng)}

    def draw(self):
        return self.spaces["action"].np_random.random()


def yielding(rng):
    while True:
        yield rng.random()


def read_global():
    return GLOBAL.random()


HIDING = {
    "a closure": lambda rng: lambda: rng.random(),
    "slots": lambda rng: Slots(rng).draw,
    "an object in a dictionary in an object": lambda rng: Environment(rng).draw,
    "a bound method of the generator": lambda rng: rng.random,
    "a partial": lambda rng: functools.partial(lambda own: own.random(), rng),
    "a default": lambda rng: lambda own=rng: own.random(),
    "a deque": lambda rng: functools.partial(lambda queue: queue[0].random(), deque([rng])),
    "a generator function": lambda rng: yielding(rng).__next__,
    "an iterator": lambda rng: map(operator.methodcaller("random"), [rng] * 10**4).__next__,
    "an array of objects": lambda rng: functools.partial(lambda cells: cells[0].random(), np.array([rng, None])),
    "a weak reference": lambda rng: functools.partial(lambda own: own().random(), weakref.ref(rng)),
    "a module": lambda rng: torch.nn.ModuleList([_held(torch.nn.Identity(), rng)])[0].rng.random,
    "a variable of the thread": lambda rng: functools.partial(lambda own: own.rng.random(), _held(threading.local(), rng)),
    "the name of a global in a string": lambda rng: lambda: globals()["GLOBAL"].random(),
    "a cached function": lambda rng: functools.partial(lambda made: made().random(), functools.lru_cache(lambda: rng)),
    "a property": lambda rng: functools.partial(lambda own: own.value, Properties(rng)),
    "a global": lambda rng: read_global,
    "a class": lambda rng: Lazy().draw,
}


class Properties:
    def __init__(self, rng):
        self.__dict__["hidden"] = (frozenset(), [rng])

    @property
    def value(self):
        return self.hidden[1][0].random()


def _held(module, rng):
    module.rng = rng
    return module


@pytest.mark.parametrize("make", [np.random.default_rng, random.Random, np.random.RandomState])
@pytest.mark.parametrize("hiding", HIDING)
def test_a_rare_draw_of_a_hidden_generator_is_refused_by_name(hiding, make, theta):
    """The hidden draw matters once in 10**9 runs, so no replay would show it."""
    if hiding == "a weak reference" and make is not random.Random:
        pytest.skip("generators of numpy take no weak references")
    rng = make(7)
    draw = HIDING[hiding](rng)

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        reward = REWARD[a] + (50.0 if int(a) == 1 and draw() < 1e-9 else 0.0)
        return reward * log_p[a]

    before = pickle.dumps(rng)
    with pytest.raises(NotAuditable, match=r"draws from a generator of (numpy\.)?random \(loss\.draw"):
        audit(loss, theta, objective_of(theta))
    assert pickle.dumps(rng) == before


def test_a_hidden_generator_of_the_objective_is_refused(theta):
    rng = random.Random(3)
    loss = lambda: theta.sum()  # noqa: E731
    with pytest.raises(NotAuditable, match=r"\(objective\.rng\)"):
        audit(loss, theta, lambda: theta.sum() + (torch.bernoulli(torch.tensor(0.5)) > 0 and rng.random() < 0) * 1.0)


def test_a_hidden_generator_of_a_batched_audit_is_refused(theta):
    rng = random.Random(3)

    def loss(n):
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), n, replacement=True)
        return REWARD[a] * log_p[a] + 0 * rng.random()

    with pytest.raises(NotAuditable, match=r"\(loss\.rng\)"):
        audit(loss, theta, lambda n: REWARD[torch.multinomial(theta.softmax(-1), n, replacement=True)], batched=True)


def test_what_goes_wrong_by_a_hidden_generator_is_told_by_its_name(theta):
    """The probability of a later draw changes between the runs: a message on that would not say why."""
    rng = random.Random(3)

    def loss():
        first = torch.bernoulli(torch.tensor(0.5))
        return theta.sum() * (torch.bernoulli(torch.tensor(rng.random())) if first else first)

    with pytest.raises(NotAuditable, match=r"draws from a generator of random \(loss\.rng\)"):
        audit(loss, theta, lambda: theta.sum() / 4)


def test_a_generator_that_is_reached_and_not_drawn_from_is_no_matter(theta):
    environment = Environment(np.random.default_rng(3))

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        return REWARD[a] * log_p[a] if environment.spaces else environment.draw()

    assert audit(loss, theta, objective_of(theta))


@pytest.mark.parametrize("held", ["generator", "environment"])
@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_a_declared_generator_is_audited_at_its_state_and_the_report_says_so(held, factor, theta):
    rng = np.random.default_rng(3)
    environment = Environment(rng)

    def value(a):
        return REWARD[a] + environment.draw()

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        return factor * value(a) * log_p[a]

    before = rng.bit_generator.state
    state = [rng if held == "generator" else environment]
    with pytest.warns(AuditWarning, match=r"draws from state\[0\].*not enumerated: the verdict is on the present state"):
        report = audit(
            loss, theta, lambda: value(torch.multinomial(theta.softmax(-1), 1)[0]), state=state, raise_exception=False
        )
    assert bool(report) == (factor == 1.0)
    assert rng.bit_generator.state == before


def test_numpys_own_generator_can_be_declared(theta):
    loss = lambda: theta.sum() * torch.bernoulli(torch.tensor(0.5)) * np.random.rand()  # noqa: E731
    with pytest.warns(AuditWarning, match="present state"):
        assert audit(loss, theta, loss, state=[np.random])


def test_children_of_a_hidden_generator_are_seen(theta):
    rng = np.random.default_rng(3)
    loss = lambda: theta.sum() + (rng.spawn(1)[0].random() < 0) * torch.bernoulli(torch.tensor(0.5))  # noqa: E731
    with pytest.raises(NotAuditable, match=r"\(loss\.rng\.seed_seq\)"):
        audit(loss, theta, lambda: theta.sum())
    assert rng.bit_generator.seed_seq.n_children_spawned == 0


class Reseeding:
    """An environment that makes its generator when it is first used, or in each run."""

    rng = None

    def __init__(self, *, each):
        self.each = each

    def draw(self):
        if self.each or self.rng is None:
            self.rng = np.random.default_rng(0)
        return self.rng.random()


@pytest.mark.parametrize("each", [False, True])
def test_a_generator_that_the_code_makes_is_seen(each, theta):
    environment = Reseeding(each=each)

    def value(a):
        return REWARD[a] + (50.0 if int(a) == 1 and environment.draw() < 0 else 0.0)

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        return value(a) * log_p[a] + 0.0 * environment.draw()

    def objective():
        return value(torch.multinomial(theta.softmax(-1), 1)[0])

    if each:
        with pytest.warns(AuditWarning, match="verdict is on the present state"):
            assert audit(loss, theta, objective)
    else:
        with pytest.raises(NotAuditable, match=r"draws from a generator of numpy\.random \(loss.*\.rng\)"):
            audit(loss, theta, objective)


def test_a_second_generator_on_declared_bits_is_declared_too(theta):
    rng = np.random.default_rng(3)
    second = np.random.Generator(rng.bit_generator)
    loss = lambda: (1 + second.random()) * theta.sum() * torch.bernoulli(torch.tensor(0.5))  # noqa: E731
    with pytest.warns(AuditWarning, match="present state"):
        assert audit(loss, theta, loss, state=[rng])


ENTROPY = {
    "os.urandom": lambda: os.urandom(1)[0],
    "uuid4": lambda: uuid.uuid4().int,
    "secrets": lambda: secrets.randbelow(2**30),
    "an unseeded generator of numpy": lambda: np.random.default_rng().random(),
    "an unseeded generator of random": lambda: random.Random().random(),
    "the system's generator": lambda: random.SystemRandom().random(),
}


@pytest.mark.parametrize("source", ENTROPY)
def test_entropy_is_refused_by_name(source, theta):
    draw = ENTROPY[source]

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        return (REWARD[a] + (50.0 if int(a) == 1 and draw() < 0 else 0.0)) * log_p[a]

    with pytest.raises(NotAuditable, match=r"entropy from the operating system \(.*line"):
        audit(loss, theta, objective_of(theta))
    assert not Entropy().calls
    assert os.urandom.__module__ == "posix"


def test_what_the_library_names_its_files_by_is_no_entropy(theta):
    import tempfile

    def loss():
        log_p = theta.log_softmax(-1)
        a = torch.multinomial(log_p.exp(), 1)[0]
        with tempfile.TemporaryFile() as file:
            file.write(b"a log")
        return REWARD[a] * log_p[a]

    assert audit(loss, theta, objective_of(theta))


def test_the_search_stays_out_of_libraries_and_names_the_way():
    rng = random.Random(1)
    found = list(reachable([("loss", lambda: np.mean([rng.random(), torch.rand(1)]))]))
    assert len(found) < 100
    assert ("loss.rng", rng) in found


class Remote:
    """A client that answers for every name, and cannot while it is not connected."""

    def __getattr__(self, name):
        raise RuntimeError(name)


class Compiled:
    """As a function of Cython: its type names what it is bound to, and it is bound to nothing."""

    @property
    def __self__(self):
        raise AttributeError(type(self).__name__)


@pytest.mark.parametrize("made", [Remote, Compiled])
def test_an_object_that_raises_at_any_name_is_walked(made):
    client = made()
    theta = torch.ones(1, requires_grad=True, dtype=torch.float64)
    loss = lambda: theta.sum() * torch.bernoulli(torch.tensor(0.5)) if client else None  # noqa: E731
    assert audit(loss, theta, loss).unbiased
    assert any(thing is client for _, thing in reachable([("loss", loss)]))


# A seed inside of the code


def seeded(where):
    logits = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def loss(factor=1.0):
        generator = where()
        action = torch.multinomial(logits.softmax(-1), 1, generator=generator)[0]
        return factor * rewards[action] * logits.log_softmax(-1)[action]

    return loss, logits, lambda: logits.softmax(-1) @ rewards


SEEDED = {"of torch": lambda: torch.manual_seed(0), "of its own": lambda: torch.Generator().manual_seed(0)}


@pytest.mark.filterwarnings("ignore:the code seeds its generator")
@pytest.mark.parametrize("where", SEEDED.values(), ids=SEEDED)
def test_code_that_seeds_its_generator_at_every_call_is_not_acquitted(where):
    """Its draws are enumerated as if they were not the same at every call: that they are, is no estimator of the mean."""
    loss, logits, objective = seeded(where)
    report = audit(loss, logits, objective, raise_exception=False)
    assert (report.verdict, bool(report)) == ("undecided", False)
    assert "seed once, before the code is called" in str(report)
    assert audit(lambda: loss(0.95), logits, objective, raise_exception=False).verdict == "scaled"


def test_a_seed_before_the_code_is_none_of_it():
    generator = torch.Generator().manual_seed(0)
    loss, logits, objective = seeded(lambda: generator)
    assert audit(loss, logits, objective).verdict == "unbiased"
