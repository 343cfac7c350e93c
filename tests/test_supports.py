"""A law that is sampled in place of another covers it, or the verdict says that it must; instances have laws that do not."""

from __future__ import annotations

from collections import Counter

import pytest

import derive
from derive.estimator import Estimator
from derive.instances import compare
from derive.instances.instance import Instance, needs_of
from derive.kernel.premises import HOLDS, Covers, Positive, consult
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    p,
    parameter,
    relaxation,
    score,
    sigmoid,
    stop,
    uniform,
)
from derive.verdicts import supports
from derive.verdicts.conditions import conditions_of
from derive.verdicts.supports import supports_of

theta, phi, c = parameter("theta"), parameter("phi"), constant("c")
b, q, r = finite("b", theta), finite("a", law="q"), finite("r", law="r")
f, g = function("f", differentiable=True), function("g")
u = uniform("u")
relaxed = relaxation(q)
hard = relaxed.H(relaxed.h(u))
target, score_term = grad(E(f(b), b), theta), E(f(b) * score(b), b)
q_covers = Covers(p(q), p(b, at=q))

ratio = p(b, at=q) / p(q)
half = p(b, at=q) / 2 + p(q) / 2
odds = sigmoid(log(p(b, at=q)) - log(p(q)))
# each is the gradient if the laws that are named cover one another, and something else if they do not
NEEDS = {
    "importance sampling": (E(ratio * f(q) * score(b, at=q), q), "q>p"),
    "importance sampling, stopped": (E(stop(ratio) * f(q) * score(b, at=q), q), "q>p"),
    "importance sampling at a stopped point": (E(p(b, at=stop(q)) / p(q) * f(q) * score(b, at=q), q), "q>p"),
    "importance sampling by a gradient": (E(grad(p(b, at=q), theta) / p(q) * f(q), q), "q>p"),
    "importance sampling, exponential": (E(exp(log(p(b, at=q)) - log(p(q))) * f(q) * score(b, at=q), q), "q>p"),
    "importance sampling, one over the ratio": (E(f(q) * score(b, at=q) / (p(q) / p(b, at=q)), q), "q>p"),
    "importance sampling, odds": (E(odds / (1 - odds) * f(q) * score(b, at=q), q), "q>p"),
    "importance sampling of a relaxation": (E(p(b, at=hard) / p(q, at=hard) * f(hard) * score(b, at=hard), u), "q>p"),
    "a sum over the other law": (Over(grad(p(b, at=q), theta) * f(q), q), "q>p"),
    "the other law sums to one": (score_term + Over(p(b, at=q), q) - 1, "q>p"),
    "a mean weight": (score_term + E(ratio, q) - 1, "q>p"),
    "a mean weight in the target's direction": (score_term + E(p(q, at=b) / p(b), b) - 1, "p>q"),
    "counting": (score_term + E(1 / p(b), b) - Over(0 * p(q) + 1, q), "p>q q>p"),
}
ALWAYS = {
    "one law": score_term + E(1 / p(b), b) - Over(0 * p(b) + 1, b),
    "the balance heuristic": E(E(p(b, at=q) / half * f(q) * score(b, at=q), q), b) / 2
    + E(p(b) / (p(b) / 2 + p(q, at=b) / 2) * f(b) * score(b), b) / 2,
    "a baseline under the other law": E((f(b) - E(f(q), q)) * score(b), b),
    "the same law at other parameters": E(p(b, at=(d := finite("b", phi))) / p(d) * f(d) * score(b, at=d), d),
    "its own density at a stopped point": score_term + E((p(q, at=stop(q)) / p(q) - 1) * g(q), q),
    "log ratio": score_term + E(log(p(b)) - log(p(q, at=b)), b) - E(log(p(b) / p(q, at=b)), b),
}


def covers(premises):
    """Return the pairs of laws, by name, of which the first must be positive where the second is."""
    pairs = [(one.sampled.law, one.other.law) for one in premises if isinstance(one, Covers) and consult(one) != HOLDS]
    return {tuple(getattr(law, "name", type(law).__name__) for law in pair) for pair in pairs}


def expected(name):
    return {tuple(pair.split(">")) for pair in NEEDS[name][1].split()} if name in NEEDS else set()


@pytest.mark.parametrize("name", NEEDS)
def test_what_must_cover_is_a_condition(name):
    assert covers(supports_of((target, NEEDS[name][0]))) == expected(name)


@pytest.mark.parametrize("name", NEEDS)
def test_instances_refute_a_claim_without_its_condition_and_agree_with_it(name):
    mean, _ = NEEDS[name]
    needed = tuple(supports_of((target, mean)))
    rest = tuple(need for need in needed if not isinstance(need, Covers))
    assert compare(target, mean, assumptions=needed).verdict == "agree"
    assert compare(target, mean, assumptions=rest).verdict == "differ"


@pytest.mark.parametrize("name", ALWAYS)
def test_what_holds_on_all_supports_asks_for_nothing(name):
    needed = tuple(supports_of((target, ALWAYS[name])))
    assert covers(needed) == expected(name)
    assert compare(target, ALWAYS[name], assumptions=needed).verdict == "agree"


@pytest.mark.parametrize("verdict", ["proved", "checked"])
def test_a_verdict_lists_that_the_sampled_law_covers(verdict):
    draws, formula = {
        "proved": ((b,), f(b) * score(b) + Over(p(b, at=q), q) - 1),
        "checked": ((u,), p(b, at=hard) / p(q, at=hard) * f(hard) * score(b, at=hard)),
    }[verdict]
    found = derive.prove(Estimator("other-law", formula, draws, target), search=False)
    assert found.verdict == verdict
    assert covers(found.conditions) == {("q", "p")}
    derived = derive.prove(Estimator("other-law", formula, draws, target))
    assert covers(derived.derivation.theorem.assumptions) == {("q", "p")}


def test_a_derivation_sums_over_each_support_and_lists_no_covering():
    found = derive.prove(Estimator("cancels", f(b) * score(b) + E(ratio, q) - E(ratio, q), (b,), target))
    assert found.derivation is not None
    assert covers(found.conditions) == set()


def test_a_condition_that_is_forgotten_is_contradicted_by_an_instance(monkeypatch):
    estimator = Estimator("forgets", ratio * f(q) * score(b, at=q), (q,), target)
    monkeypatch.setattr("derive.verdicts.conditions.supports_of", lambda sides: ())
    assert not covers(conditions_of(estimator).needed)
    with pytest.raises(derive.language.errors.Disagreement, match="instances refute"):
        derive.prove(estimator, search=False)


def test_without_different_supports_no_instance_would_see_that_a_condition_is_missing(monkeypatch):
    monkeypatch.setattr(Instance, "_differs", False)
    seen = {name: compare(target, mean).verdict for name, (mean, _) in NEEDS.items()}
    assert set(seen.values()) == {"agree"}


def test_a_score_where_its_law_may_be_zero_asks_that_it_is_not():
    asked = list(supports_of((E(score(b, at=q), q),)))
    assert asked == [Positive(p(b, at=q))]
    assert list(supports_of((E(p(b, at=q) * score(b, at=q), q),))) == []


def test_a_continuous_law_that_is_sampled_covers():
    narrow, wide = uniform("n", 0, 1), uniform("w", 0, 2)
    estimate = p(wide, at=narrow) / p(narrow) * f(narrow) * 2 * theta
    failures = conditions_of(Estimator("narrow", estimate, (narrow,), grad(E(theta**2 * f(wide), wide), theta))).failures
    assert [line for line in failures if line.startswith("Covers fails")]


def test_the_laws_of_an_instance_miss_different_outcomes_unless_one_covers_the_other():
    sides = target, NEEDS["importance sampling"][0]
    free, held = (Instance(0, 1, needs_of(sides, given)) for given in ((), (q_covers,)))
    assert [int(free.support(one.law).sum()) for one in (b, q)] != [free.outcomes, free.outcomes]
    assert all(held.support(q.law) >= held.support(b.law))
    three = needs_of((p(b) * p(q) * p(r),), (q_covers, Covers(p(r), p(q, at=r))))
    assert all(all(Instance(0, n, three).support(r.law) >= Instance(0, n, three).support(b.law)) for n in range(8))


def test_an_inverse_sum_is_bounded_by_its_best_part_only_where_nothing_is_negative():
    difference = E(p(b, at=q) / (p(b, at=q) - p(q)) * f(q), q)
    assert covers(supports_of((difference,)))


def test_importance_sampling_from_an_abstract_density_is_proved():
    x, y = continuous("x", theta), continuous("y", law="q")
    weight, aim = p(x, at=y) / p(y), grad(E(f(x), x), theta)
    right, wrong = (Estimator("off-policy", w * f(y) * score(x, at=y), (y,), aim) for w in (weight, 1 / weight))
    verdict = derive.prove(right)
    assert verdict.verdict == "proved"
    assert Covers(p(y), p(x, at=y)) in verdict.derivation.theorem.assumptions
    assert derive.prove(wrong).verdict == "undecided"


def test_many_products_are_bounded_without_being_listed():
    many = E(ratio * exp(c), q)
    for one in copies(q, 12):
        many = many * E((p(b, at=one) + 1 / p(one) + f(one)) ** 3 * (p(b, at=one) + 2), one)
    assert covers(supports_of((many,))) == {("q", "p")}


def added(*products):
    """Add the degrees in bounded factors too, so that one over such a factor cancels it."""
    counted = Counter()
    for one in products:
        counted.update(dict(one))
    return frozenset(item for item in counted.items() if item[1])


MUTANTS = {
    "an exponential is bounded": ("_exponential", lambda term, point: frozenset({frozenset()})),
    "bounded factors cancel": ("_sum", added),
    "stops hide the point": ("_without_stops", lambda term: term),
    "an inverse sum is unbounded": ("_nonnegative", lambda term: False),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_in_the_degrees_is_seen(mutant, monkeypatch):
    name, instead = MUTANTS[mutant]
    monkeypatch.setattr(supports, name, instead)
    means = {name: mean for name, (mean, _) in NEEDS.items()} | ALWAYS
    assert any(covers(supports_of((target, mean))) != expected(name) for name, mean in means.items())
