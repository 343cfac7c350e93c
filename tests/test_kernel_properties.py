"""Wherever a rule makes a theorem of a random term, both sides and their derivatives agree on random instances.

The judge of `derive.instances` shares nothing with the kernel. Each fault that the kernel once had is put back, and found here
or by the directed tests of `tests/test_false_theorems.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest
from hypothesis import Phase, given, settings, strategies as st

from derive import sharing
from derive.instances import compare
from derive.kernel import algebra as scalar, judgement, latents, laws, premises, tails, theorem as kernel
from derive.kernel.premises import HOLDS, Differentiable, NonZero, NotNegative, Positive
from derive.language import scope
from derive.language.errors import GradproofError
from derive.language.term import (
    Apply,
    BoundName,
    Density,
    Expect,
    Over,
    Power,
    RandomVariable,
    Symbol,
    Term,
    UniformLaw,
    parts,
    rebuild,
)
from derive.notation import (
    E,
    choice,
    constant,
    continuous,
    copies,
    entry,
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
from tests import test_false_theorems as directed

theta, phi, c = parameter("theta"), parameter("phi"), constant("b_2")  # a constant with the name of a copy
b = finite("b", theta)
b1, b2 = copies(b, 2)
a = finite("a", theta, law="q", given=(b1,))
z, epsilon, u, v = normal("z", theta, exp(c)), normal("epsilon"), uniform("u"), uniform("v")
q, wide = continuous("t", theta, law="d"), uniform("w", 0, exp(theta))
f, s = function("f", differentiable=True), function("s", differentiable=True)
one = function("one", differentiable=True)
relaxed = relaxation(b)
FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


class Mild:
    """Let a rule assume what the judge reads, and nothing of the size of an integrand."""

    def __contains__(self, premise: object) -> bool:
        return isinstance(premise, (Differentiable, NonZero, NotNegative, Positive, premises.ConditionalReparameterization))


# Random terms


def leaf(random: Random, variables: tuple[RandomVariable, ...]) -> Term:
    some = [random.choice(variables) for _ in range(2)]
    outcomes = [one for one in variables if one.law == b.law] or [None]
    at = random.choice(outcomes)
    choices = [theta, c, f(*some), f(*some), s(some[0], theta), stop(s(some[0], theta)), grad(s(some[0], theta) * theta, theta)]
    return random.choice(choices if at is None else [*choices, score(at), p(at), f(at)])


def term(random: Random, variables: tuple[RandomVariable, ...], depth: int = 2) -> Term:
    if depth == 0:
        return leaf(random, variables)

    def inner(*more: RandomVariable) -> Term:
        return term(random, (*variables, *more), depth - 1)

    kind = random.randrange(7)
    if kind == 0:
        return inner() + random.choice([-1, 2]) * inner()
    if kind == 1:
        return inner() * inner()
    if kind in (2, 3):
        bound = random.choice([b1, b2, a] if b1 in variables else [b1, b2])
        return random.choice([Expect, Over])(inner(bound), bound)
    return [stop(inner()), exp(inner() / 5), leaf(random, variables) / (1 + exp(leaf(random, variables)))][kind - 4]


def twin(random: Random, whole: Term) -> Term:
    """Return the term with one variable put in the place of another somewhere: mostly something else, and sometimes equal."""
    if isinstance(whole, RandomVariable) and whole in (b1, b2):
        return random.choice([b1, b2])
    children = parts(whole)
    first = len(children) - 1 if isinstance(whole, (Expect, Over)) else 0
    if first >= len(children):
        return whole
    i = random.randrange(first, len(children))
    return rebuild(whole, (*children[:i], twin(random, children[i]), *children[i + 1 :]))


other, frozen = finite("a", law="r"), RandomVariable("d", b.law.with_terms((stop(theta),)))
held, box, spread = uniform("w", 0, exp(stop(theta))), uniform("x", -1, 2), normal("y", stop(theta), 2)
AROUND: list[tuple[Callable[[Term], Term], int]] = [
    (lambda inner: grad(inner, theta), 0),
    (lambda inner: stop(inner), 0),
    (lambda inner: inner * s(b2, theta), 0),
    (lambda inner: theta + inner, 1),
    (lambda inner: Expect(inner, b1), 1),
    (lambda inner: score(z, theta, at=inner), 2),
    (lambda inner: p(normal("z", inner, 1), at=c), 0),
    (lambda inner: score(normal("z", inner, 1), theta, at=c), 0),
]


class Changing(Mild):
    """Assume what a change of law needs besides."""

    def __contains__(self, premise: object) -> bool:
        return super().__contains__(premise) or isinstance(premise, (premises.Covers, premises.Integrable))


# What each rule is given


def for_algebra(random: Random) -> kernel.Theorem:
    binder = random.choice([Expect, Over])
    inner = binder(f(b1, b2) * random.choice([stop(theta), leaf(random, (b1, b2))]), b2)
    whole = Expect(theta * inner - twin(random, theta * inner) + term(random, (b1, b2), 1), b1)
    return kernel.algebra(whole, random.choice([twin(random, whole), scalar.tidy(whole)]), assuming=Mild())


def for_definition(random: Random) -> kernel.Theorem:
    return kernel.definition(random.choice([Expect(term(random, (b1, b2)), b1), score(b1), score(b, at=b2), score(z)]))


def for_differentiate(random: Random) -> kernel.Theorem:
    inner = term(random, (b1, b2))
    around = [inner, inner * theta, (1 + inner**2) ** -1, log(1 + exp(inner / 9))]
    return kernel.differentiate(grad(random.choice(around), theta), assuming=Mild())


def for_chain(random: Random) -> kernel.Theorem:
    function = random.choice([one, one, one.slope])
    points = [theta, theta**2 * c, stop(theta) * theta, epsilon * exp(theta / 3), f(b1, theta), one(theta), b1 + theta]
    inner = random.choice(points)
    return kernel.chain(grad(function(inner), theta), assuming=Mild())


def for_linearity(random: Random) -> kernel.Theorem:
    bound = random.choice([b1, b2, u, z])
    tail = theta * bound + random.choice([bound**2, exp(bound * c / 9)]) * stop(theta)
    body = term(random, (b1, b2), 2) if bound in (b1, b2) else tail
    return kernel.linearity(random.choice([Expect, Over])(body, bound), assuming=Mild())


def for_leibniz(random: Random) -> kernel.Theorem:
    integrand = random.choice([p(q, at=u) * u, p(wide, at=u) * u, exp(theta * u), p(normal("y", theta, 1), at=u)])
    whole = random.choice([Over(p(b1) * term(random, (b1, b2)), b1), Over(p(u) * integrand, u), Over(p(wide), wide)])
    return kernel.leibniz(grad(whole, theta), assuming=Mild())


def for_exchange(random: Random) -> kernel.Theorem:
    outer, inner = random.sample([b1, b2, a], 2)
    return kernel.exchange(Expect(Expect(term(random, (b1, b2, a), 1) * f(outer, inner), inner), outer), assuming=Mild())


def for_reparameterize(random: Random) -> kernel.Theorem:
    held = random.choice([s(z, theta), grad(s(z, theta), theta), stop(z * theta), score(b, at=z), score(z, theta), p(z)])
    return kernel.reparameterize(Expect(random.choice([held, held * z, Expect(f(b1) * held, b1)]), z), epsilon, assuming=Mild())


def for_conditional_reparameterize(random: Random) -> kernel.Theorem:
    at = random.choice([theta, theta, stop(theta), 2 * theta, phi])
    latent = relaxed.h(u, at)
    hard = relaxed.H(latent)
    soft = f(hard, theta) * relaxed.sigma(latent, 1)
    body = random.choice([f(hard), soft, stop(f(hard)), score(b, at=hard), grad(f(hard, theta), theta)])
    whole = random.choice([body, c * body, body + Expect(f(b1), b1)])
    return kernel.conditional_reparameterize(Expect(whole, u), b, v, assuming=Mild())


def for_congruence(random: Random) -> kernel.Theorem:
    known = for_algebra(random)
    around: list[tuple[Callable[[Term], Term], tuple[int, ...]]] = [
        (lambda inner: grad(inner, theta), (0,)),
        (lambda inner: stop(inner), (0,)),
        (lambda inner: Expect(inner, b1), (1,)),
        (lambda inner: Expect(inner, b2), (1,)),
    ]
    make, path = random.choice(around)
    other = for_algebra(random)
    return kernel.congruence(c * make(known.lhs) + other.lhs, ((0, 1, *path), known), ((1,), other))


def for_change_of_law(random: Random) -> kernel.Theorem:
    """Change between finite laws of other supports, laws at a stopped parameter, and continuous laws."""
    old, new = random.choice(
        [(b1, other), (other, b1), (b1, frozen), (frozen, b1), (z, spread), (wide, u), (u, box), (box, u), (held, wide)]
    )
    body = f(old) if old in (b1, other, frozen) else f(old) * old
    tail = random.choice([score(b, at=old), p(other, at=old), grad(s(old, theta) * p(b, at=old), theta), stop(s(old, theta))])
    more = random.choice([1 / p(b, at=old), log(p(other, at=old)), exp(old / 9), Expect(s(old, theta) * f(b2), b2)])
    finite_only = tail * more if old in (b1, other, frozen) else stop(s(old, theta)) + old * theta
    return kernel.change_of_law(Expect(random.choice([body, body * finite_only]), old), new, assuming=Changing())


def for_reflect(random: Random) -> kernel.Theorem:
    variable = random.choice([epsilon, u, z, box, wide])
    tail = random.choice(
        [stop(s(variable, 1)), grad(s(variable, theta), theta), score(z, theta, at=variable), p(z, at=variable)]
    )
    inner = normal("y", variable, 1)
    return kernel.reflect(
        Expect(
            random.choice([tail * variable, tail, Expect(f(b1) * s(variable, theta), b1), Expect(inner**2, inner)]), variable
        )
    )


def for_normal_score(random: Random) -> kernel.Theorem:
    law = random.choice([z, normal("z", stop(theta), 1), normal("z", theta * c, exp(theta)), normal("z", s(b1, theta), 2)])
    at = random.choice([law, f(b1), theta**2, stop(theta) + theta, s(b1, theta)])
    return kernel.normal_score(random.choice([score(law, theta, at=at), grad(log(p(law, at=at)), theta)]), assuming=Mild())


def for_outcomes(random: Random) -> kernel.Theorem:
    """Write out numbers whose probabilities move, may be stopped, or depend on another outcome."""
    chance = random.choice([sigmoid(theta), stop(sigmoid(theta)), sigmoid(theta * b1), Fraction(1, 3)])
    drawn = choice("t", (-1, chance), (Fraction(1, 2), 1 - chance))
    table = entry(drawn, (s(b1, theta), stop(theta)))
    tail = random.choice([p(drawn), score(drawn, theta), stop(table * theta), grad(table, theta), E(f(b1) * table, b1), table])
    kind = random.choice([Expect, Expect, Over])
    return kernel.outcomes(kind(random.choice([tail, f(drawn) * tail, tail * leaf(random, (b1, b2))]), drawn), assuming=Mild())


def for_stopped_value(random: Random) -> kernel.Theorem:
    """Take the value of a stop somewhere in a term, where it may also be stopped and differentiated again."""
    known = kernel.stopped_value(stop(leaf(random, (b1, b2))))
    whole, path = known.lhs, ()
    for _ in range(random.randrange(4)):
        make, index = random.choice(AROUND)
        whole, path = make(whole), (index, *path)
    return kernel.congruence(whole, (path, known))


def for_normalisation(random: Random) -> kernel.Theorem:
    at, over = random.choice([b, b1, a, z, u, wide]), random.choice([b, b1, a, z, u, wide])
    return kernel.normalisation(Over(p(at, at=over), over), assuming=Mild())


RULES = {name.removeprefix("for_"): make for name, make in list(globals().items()) if name.startswith("for_")}


def judge(make: Callable[[Random], kernel.Theorem], random: Random) -> str:
    """Return what the instances say of what a rule makes, if it makes a theorem: of both sides, and of their derivatives.

    Of derivatives only where the theorem speaks of them.
    """
    try:
        made = make(random)
    except GradproofError:
        return "refused"
    instances = 4 if made.rule == "change_of_law" else 2  # enough that each of two laws misses an outcome
    derivatives = () if made.values_only else ((grad(made.lhs, theta), grad(made.rhs, theta)),)
    for left, right in ((made.lhs, made.rhs), *derivatives):
        opinion = compare(left, right, assumptions=made.assumptions, seed=random.randrange(1000), instances=instances)
        if opinion.verdict == "differ":
            return f"differ: {made.rule}: {opinion.reason}"
    return opinion.verdict


def run(name: str) -> list[str]:
    """Return the answers on random terms; a disagreement is an error."""
    answers: list[str] = []

    @FEW
    @given(st.randoms(use_true_random=False))
    def every(random: Random) -> None:
        answers.append(judge(RULES[name], random))
        assert not answers[-1].startswith("differ"), answers[-1]

    every()
    return answers


@pytest.mark.parametrize("name", RULES)
def test_both_sides_of_what_a_rule_makes_of_a_random_term_are_equal(name):
    assert run(name).count("agree") >= 2, "the rule was hardly tried"


def test_every_rule_with_a_content_of_its_own_is_tried():
    assert set(kernel.RULES) - set(RULES) == {"reflexivity", "symmetry", "transitivity", "assume"}


# Each fault put back


def by_depth(whole: Term, depth: int = 0) -> Term:
    """The numbering that once was: from 0 again for every atom, under binders too."""
    if isinstance(whole, (Expect, Over)):
        bound = RandomVariable(BoundName(f"#{depth}"), whole.variable.law)
        return type(whole)(by_depth(scope.substitute(whole.body, {whole.variable: bound}), depth + 1), bound)
    return rebuild(whole, tuple(by_depth(part, depth) for part in parts(whole)))


def divided_power(whole: Term, parameter: Symbol) -> Term:
    """The derivative of f^0 that once was: 0 f'/f."""
    return 0 * whole.base**-1 * grad(whole.base, parameter) if isinstance(whole, Power) else DERIVATIVE(whole, parameter)


def smooth_density(term: Density, law: object, at: Term, parameter: object) -> premises.Decision:
    return HOLDS if isinstance(law, UniformLaw) else DENSITY(term, law, at, parameter)


def any_density(whole: Term, variable: RandomVariable) -> bool:
    return isinstance(whole, Density) or ELEMENTARY(whole, variable)


def without(name: str) -> Callable[..., frozenset[premises.Premise]]:
    """Return a kernel's `require` that forgets premises of one kind."""
    return lambda rule, needed, assuming: premises.require(rule, [one for one in needed if one.name != name], assuming)


def continuous_is_bounded(whole: Term, variable: RandomVariable) -> bool:
    return isinstance(whole, Apply) or BOUNDED(whole, variable)


DERIVATIVE, DENSITY = scalar.derivative, premises._density_differentiable
ELEMENTARY, BOUNDED = tails._elementary, tails._bounded
FAULTS: dict[str, tuple[list[tuple[object, str, object]], str]] = {
    "1 names": ([(scalar, "_key", lambda atom: scalar._tidy_parts(by_depth(atom)))], "algebra"),
    "2 exchange": ([(judgement, "require", without("Independent")), (judgement, "scoped", lambda whole: whole)], "exchange"),
    "3 latent": ([(latents, "_stands_at", lambda latent, law: True)], "conditional_reparameterize"),
    "4 density": ([(tails, "_elementary", any_density)], "leibniz"),
    "5 indicator": ([(premises, "_density_differentiable", smooth_density), (tails, "_elementary", any_density)], "leibniz"),
    "covers": ([(judgement, "require", without("Covers"))], "change_of_law"),
    "moving supports": ([(laws, "_fixed_supports", lambda variable, drawn: iter(()))], "change_of_law"),
    "values": ([(kernel, "only_in_value", lambda whole, path: True)], "stopped_value"),
    "values in full": ([(kernel, "only_in_value", lambda whole, path: False)], "stopped_value"),
    "mirror": ([(kernel, "mirrored", lambda variable: -variable)], "reflect"),
    "held mirror": ([(scope, "_demand_fixed", lambda leaves: None)], "reflect"),
    "held": ([(scope, "_demand_fixed", lambda leaves: None)], "reparameterize"),
}
DIRECTED: dict[str, tuple[list[tuple[object, str, object]], Callable[[], None]]] = {
    "6 positive": ([(premises, "_positive", lambda whole: HOLDS)], directed.test_a_logarithm_of_what_is_negative_is_none),
    "7 power": ([(scalar, "derivative", divided_power)], directed.test_the_power_zero_is_one_everywhere),
    "7 law": (
        [(premises, "_normalised", lambda variable: HOLDS)],
        directed.test_a_law_whose_terms_may_make_it_none_needs_a_premise,
    ),
    "new points": (
        [(laws, "_needs", lambda whole, variable: iter(()))],
        directed.test_a_ratio_that_another_law_makes_zero_over_zero_is_not_cancelled,
    ),
    "8 bounded": (
        [(tails, "_bounded", continuous_is_bounded)],
        directed.test_a_differentiable_function_of_a_relaxed_outcome_is_not_bounded,
    ),
}


def forget() -> None:
    for cached in (scalar.tidy, scalar.monomials, scalar._key, scalar._exponentials, scalar._logarithm, scope.canonical):
        getattr(cached, "cache_clear", lambda: None)()
    sharing.forget()


@pytest.fixture
def put_back(monkeypatch):
    def patch(changes: list[tuple[object, str, object]]) -> None:
        forget()
        for where, name, new in changes:
            monkeypatch.setattr(where, name, new)

    yield patch
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_back_is_found_by_random_terms(fault, put_back):
    changes, rule = FAULTS[fault]
    put_back(changes)
    answers = (judge(RULES[rule], Random(seed)) for seed in range(300))
    assert any(answer.startswith("differ") for answer in answers)


@pytest.mark.parametrize("fault", DIRECTED)
def test_a_fault_that_is_put_back_is_found_by_a_directed_test(fault, put_back):
    changes, claim = DIRECTED[fault]
    claim()
    put_back(changes)
    with pytest.raises((AssertionError, GradproofError, pytest.fail.Exception)):
        claim()
