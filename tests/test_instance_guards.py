"""What the instances cannot see is never called a difference; without any one of their guards, it would be."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from derive.instances import compare, cuts, densities, evaluate, functions, jets, opinion, place, roots
from derive.language.term import Term
from derive.notation import (
    E,
    constant,
    continuous,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    relaxation,
    score,
    sigmoid,
    stop,
    uniform,
)

theta, phi, c = parameter("theta"), parameter("phi"), constant("c")
b, d = finite("b", theta), finite("d", phi, law="q")
u, v, e = uniform("u"), uniform("v"), normal("e")
z, w = normal("z", theta, 1), normal("w")
x, y = continuous("x", theta), continuous("y", theta, law="q")
f, smooth, step = function("f"), function("g", differentiable=True), function("step", differentiable=False)
r = relaxation(b)
far = normal("far", 7, Fraction(1, 2))
narrow = normal("m", 1, Fraction(1, 1000))
tiny = Fraction(1, 200)
thin = uniform("k", Fraction(1, 2), 1 + tiny**2)
inside = uniform("k", Fraction(1, 4), Fraction(1, 2))


@dataclass(frozen=True)
class NonZero:
    term: Term


@dataclass(frozen=True)
class Positive:
    term: Term


@dataclass(frozen=True)
class Covers:
    sampled: Term
    other: Term


@dataclass(frozen=True)
class Equation:
    lhs: Term
    rhs: Term


@dataclass(frozen=True)
class Whatever:
    term: Term


TRUE_BUT_HARD = {
    "what cancels": (c + 10**20 - 10**20, c + 0),
    "a mean that does not exist": (grad(E(1 / z, z), theta), E(score(z, theta) / z, z)),
    "a mean that is infinite": (grad(E(exp(z**2), z), theta), E(exp(z**2) * score(z, theta), z)),
    "a narrow peak": (E(p(narrow, at=w), w), E(p(w, at=narrow), narrow)),
    "a narrow slope": (grad(E(sigmoid(1000 * z), z), theta), E(grad(sigmoid(1000 * (theta + e)), theta), e)),
    "two ends close together": (
        grad(E(p(thin, at=(theta + e) ** 2 + 1), e), theta),
        (p(z, at=-tiny) - p(z, at=tiny)) / (Fraction(1, 2) + tiny**2),
    ),
    "a jump for each outcome": (grad(E(step(theta + e + d), e, d), theta), grad(E(step(z + d), d, z), theta)),
    "a jump moved by a jump": (
        grad(E(step(theta + u + 2 * r.H(r.h(v, theta))), u, v), theta),
        grad(E(step(theta + u + 2 * b), u, b), theta),
    ),
    "the second derivative of a kink": (
        grad(grad(E(step(u + theta * v), u, v), theta), theta),
        grad(grad(E(step(u + theta * v), v, u), theta), theta),
    ),
    "the end of a density": (E(p(inside, at=u) * f(u), u), E(f(inside), inside)),
    "a law that does not cover the other": (E(f(u) * p(narrow_u := uniform("n", 0, theta), at=u), u), E(f(narrow_u), narrow_u)),
    "a law that is sampled far away": (E(f(far) * p(w, at=far) / p(far), far), E(f(w), w)),
    "two densities on other supports": (E(f(x) * p(y, at=x) / p(x), x), E(f(y), y)),
    "a density that is nowhere zero": (E(f(w) * p(u, at=w), w), E(f(w), w)),
}
ASSUMED = {
    "a law that does not cover the other": (Positive(theta), Covers(p(u), p(uniform("n", 0, theta)))),
    "two densities on other supports": (Covers(p(x), p(y)),),
    "a density that is nowhere zero": (Positive(p(u, at=w)),),
}


def verdicts(name, seeds=range(3)):
    left, right = TRUE_BUT_HARD[name]
    return {compare(left, right, assumptions=ASSUMED.get(name, ()), seed=seed).verdict for seed in seeds}


@pytest.mark.parametrize("name", TRUE_BUT_HARD)
def test_a_true_statement_that_is_hard_never_differs(name):
    assert "differ" not in verdicts(name)


GUARDS = {
    "the noise of sums": ("what cancels", opinion, "_NOISE", 0.0),
    "the resolution": ("a narrow peak", evaluate.Evaluator, "_resolved", lambda self, jet, place: jet),
    "the second computation": ("a narrow peak", opinion.Bench, "confirmed", opinion.Bench.sides),
    "close zeros": ("two ends close together", roots, "_refuse_near", lambda *args: None),
    "outcomes in jumps": ("a jump for each outcome", cuts, "_summed", lambda switch, sums, _: iter(() if sums else (switch,))),
    "jumps in jumps": ("a jump moved by a jump", cuts, "_demand_seen", lambda *args: None),
    "second derivatives": ("the second derivative of a kink", opinion, "demand_first_derivatives", lambda term: None),
    "cuts": ("two ends close together", evaluate.Evaluator, "_breaks", lambda *args: None),
    "reach": ("a law that is sampled far away", evaluate.Evaluator, "_demand_reached", lambda *args: None),
    "covers": ("a law that does not cover the other", opinion.Bench, "_covers", lambda *args: True),
    "all values": ("a density that is nowhere zero", opinion.Bench, "_covers", lambda *args: True),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_a_true_statement_differs(guard, monkeypatch):
    name, owner, attribute, instead = GUARDS[guard]
    cuts._all_jumps.cache_clear()
    monkeypatch.setattr(owner, attribute, instead)
    assert "differ" in verdicts(name, range(6))


def still(self):
    return self


def one_bit(self, parameter, value):
    moved = {**value, 1: 1 + 0 * value[0]}
    return place.replace(self, symbols={**self.symbols, parameter.name: moved}, bits=1), 1


MISTAKES = {
    "a stop that moves": (place.Place, "stopped", still, (E(grad(stop(f(theta)) * theta, theta), b), f(theta) + 0 * c)),
    "gradients that meet": (place.Place, "moved", one_bit, (grad(grad(theta**3, theta) * theta, theta), 9 * theta**2)),
    "a product without its rule": (jets, "multiply", jets.add, (theta * (theta + c), theta**2 + theta * c)),
    "a rule of chance that forgets the slope": (
        densities,
        "log_normal",
        lambda at, loc, scale: jets.scaled(at, 0),
        (grad(E(f(z), z), theta), E(f(z) * (z - theta), z)),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_the_reader_is_seen(mistake, monkeypatch):
    owner, attribute, instead, (left, right) = MISTAKES[mistake]
    assert compare(left, right).verdict == "agree"
    for module in (owner, evaluate):
        if hasattr(module, attribute):
            monkeypatch.setattr(module, attribute, instead)
    assert compare(left, right).verdict != "agree"


def test_laws_with_one_table_would_hide_a_missing_weight(monkeypatch):
    statement = E(f(b), b), E(f(d2 := finite("d", theta, law="q")), d2)
    assert compare(*statement).verdict == "differ"
    monkeypatch.setattr(
        evaluate.Instance, "table", lambda self, law, n: functions.random_table((self.seed, self.number), n, self.support(law))
    )
    monkeypatch.setattr(evaluate.Instance, "_differs", False)
    assert compare(*statement).verdict == "agree"


def test_an_assumption_chooses_the_instances():
    positive = log(c**2) * f(c), 2 * log(c) * f(c)
    assert compare(*positive, assumptions=(Positive(c),)).verdict == "agree"
    absolute = E(f(b), b) / f(theta) * f(theta), E(f(b), b)
    assert compare(*absolute, assumptions=(NonZero(f(theta)),)).verdict == "agree"


@pytest.mark.parametrize("seed", range(4))
def test_an_abstract_density_covers_another_one_where_that_is_assumed(seed):
    statement = grad(E(f(x), x), theta), E(p(x, at=y) / p(y) * f(y) * score(x, theta, at=y), y)
    assumed = Covers(p(y), p(x, at=y)), Positive(p(x, at=y))
    assert compare(*statement, assumptions=assumed, seed=seed).verdict == "agree"


def test_an_equation_that_does_not_hold_makes_the_instances_silent():
    assert compare(f(c), f(theta), assumptions=(Equation(f(c), f(theta)),)).verdict == "silent"
    assert compare(f(c), f(theta), assumptions=(Equation(f(c) + 0, f(c)),)).verdict == "differ"


def test_an_unknown_assumption_makes_the_instances_silent():
    opinion = compare(c + 0, c + 1, assumptions=(Whatever(c),))
    assert opinion.verdict == "silent"
    assert "Whatever" in opinion.reason


def test_what_is_zero_on_both_sides_is_called_trivial():
    assert compare(0 * f(b), grad(E(f(b), b), phi)).trivial
    assert not compare(f(b) + 0, f(b)).trivial


def test_a_difference_can_be_repeated():
    first, second = (compare(f(b) * theta, f(b) * theta**2, seed=7) for _ in range(2))
    assert first == second
    assert {"seed", "number", "outcomes", "theta", "f(x1)", "the value of b"} == set(first.instance)


def test_a_term_that_is_too_large_makes_the_instances_silent():
    deep = c
    for _ in range(3000):
        deep = exp(deep)
    assert compare(deep, deep + 1).verdict == "silent"
    many = [normal(f"n{i}", theta, 1) for i in range(6)]
    product = sum(many[1:], start=many[0])
    assert compare(E(smooth(product), *many), 0 * c).verdict == "silent"


def test_three_normal_variables_are_read_by_coarser_rules():
    three = [normal(f"n{i}", theta, 1) for i in range(3)]
    body = smooth(sum(three[1:], start=three[0]))
    slopes = E(body * sum((score(one, theta) for one in three[1:]), start=score(three[0], theta)), *three)
    assert compare(grad(E(body, *three), theta), slopes).verdict == "agree"
    assert compare(grad(E(body, *three), theta), 2 * slopes).verdict == "differ"
