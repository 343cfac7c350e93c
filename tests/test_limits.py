"""No formula ends the process, fills the memory or takes for ever: each is judged, or refused in one line."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

import derive
from derive.estimator import Estimator
from derive.exact import comparison as exact, extension
from derive.exact.extension import Shape
from derive.exact.relations import Relation, Relations
from derive.kernel.algebra import monomials, tidy
from derive.kernel.premises import NonZero
from derive.language.depth import MOST_DEPTH, nodes, refuse_deep
from derive.language.errors import RuleError, TooLarge, TooLong
from derive.language.term import lift
from derive.laws.models import SymbolicModel
from derive.notation import E, constant, copies, exp, finite, function, grad, log, normal, parameter, relaxation, score, uniform
from derive.numbers import ring
from derive.numbers.expansion import expand
from derive.numbers.unknowns import Generator
from derive.proofs.size import refuse_long, summands
from derive.proofs.tactic import find
from derive.verdicts.conditions import conditions_of

theta, c, temperature = parameter("theta"), constant("c"), constant("lambda")
b, f = finite("b", theta), function("f")
target = grad(E(f(b), b), theta)
HUGE = 10_000_000

_SCRIPT = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
import derive
from derive.estimator import Estimator
from derive.notation import E, constant, copies, exp, finite, function, grad, parameter, score
theta, c = parameter("theta"), constant("c")
b, f, g, h = finite("b", theta), function("f"), function("g"), function("h")
target = grad(E(f(b), b), theta)
{formula}
try:
    print(derive.prove(Estimator("it", formula, draws, target)).verdict)
except derive.language.errors.GradproofError as error:
    print(type(error).__name__)
"""
_HISTORY = """
first = finite("a", theta, law="pi_0")
second = finite("c", theta, law="pi_1", given=(first,))
third = finite("d", theta, law="pi_2", given=(first, second))
draws = (first, second, third)
rest = g(first, second) + h(first, second, third)
target = grad(E(f(first) + rest, *draws), theta)
"""


def judged(formula: str, seconds: int = 20) -> str:
    """Return what a process says that has 2 GB and so many seconds."""
    script = _SCRIPT.format(formula=formula, seconds=seconds)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.strip()


_TWENTY = """
draws = copies(b, 20)
others = {own: (sum(map(f, draws)) - {left_out}) / 19 for own in draws}
formula = sum((f(own) - others[own]) * score(own) for own in draws) / 20
"""


@pytest.mark.parametrize(("left_out", "verdict"), [("f(own)", "proved"), ("f(draws[0])", "scaled")])
def test_twenty_samples_that_leave_themselves_out_are_derived(left_out, verdict):
    assert judged(_TWENTY.replace("{left_out}", left_out)) == verdict


def test_three_steps_with_full_history_are_proved_in_little_memory():
    togo = "formula = (f(first) + rest) * score(first) + rest * score(second) + h(first, second, third) * score(third)"
    assert judged(_HISTORY + togo) in ("proved", "checked")


def test_three_steps_with_full_history_that_forget_a_score_are_refuted():
    forgets = "formula = (f(first) + rest) * (score(first) + score(second))"
    assert judged(_HISTORY + forgets) == "refuted"


_STEPS = """
from derive.notation import total
draws = [finite("a0", theta, law="pi0")]
for step in range(1, 8):
    draws.append(finite(f"a{step}", theta, law=f"pi{step}", given=(draws[-1],)))
rewards = total(function(f"r{step}")(draw) for step, draw in enumerate(draws))
draws, formula, target = tuple(draws), rewards * total(map(score, draws)), grad(E(rewards, *draws), theta)
"""


@pytest.mark.exhaustive
def test_eight_steps_are_proved_in_little_memory():
    assert judged(_STEPS, seconds=60) == "proved"


def test_twelve_gradients_in_one_another_are_no_hang():
    nested = """
formula, draws = derive.notation.p(b) * theta, (b,)
for _ in range(12):
    formula = grad(formula * theta, theta)
formula = formula * f(b) / derive.notation.p(b)
"""
    assert judged(nested) in ("refuted", "undecided", "TooLarge")


@pytest.mark.parametrize("base", ["Fraction(3, 7)", "Fraction(3, 2)"])
def test_a_huge_power_of_a_fraction_is_no_hang(base):
    power = f"""
from fractions import Fraction
draws, formula = (b,), (theta * 0 + {base}) ** {HUGE // 2} * f(b) * score(b)
"""
    assert judged(power) in ("scaled", "refuted", "undecided", "TooLarge")


def test_a_quotient_of_two_inner_means_is_refuted():
    quotient = """
one, two = copies(b, 2)
draws, quotient = (one,), E(g(one, two), two) / E(h(one, two), two)
formula, target = quotient * score(one), grad(E(quotient, one), theta)
"""
    assert judged(quotient) == "refuted"


@pytest.mark.parametrize("formula", [f"c**{HUGE} * f(b) * score(b)", "(c + 1)**100000 * f(b) * score(b)"])
def test_a_huge_power_is_judged_or_refused(formula):
    assert judged(f"draws, formula = (b,), {formula}") in ("scaled", "refuted", "undecided", "TooLarge")


# The elimination of scores: nothing is multiplied by a probability that stands beside the score


def test_clearing_scores_does_not_multiply_by_every_probability(monkeypatch):
    """With one factor for each of many conditions the polynomial would have 3 to the power of their number terms."""
    largest = []
    clear = Relations._clear_one

    def measured(self, scalars, relation):
        result = clear(self, scalars, relation)
        largest.append(max(map(len, result)))
        return result

    monkeypatch.setattr(Relations, "_clear_one", measured)
    first = finite("a", theta, law="pi_0")
    second = finite("d", theta, law="pi_1", given=(first,))
    g, rewards = function("g"), function("r")
    mean, goal = E(g(first) * score(first) + rewards(first, second) * score(second), first, second), E(g(first), first)
    exact.compare(mean + E(rewards(first, second) * score(first), first, second), grad(goal, theta), theta, 4)
    assert max(largest) < 400


def test_what_is_divided_is_multiplied_back():
    """E[score^2 / p] has p(K) once and its score twice: one factor is cancelled, and one is left."""
    one, two = copies(b, 2)
    square = E(score(one) * score(two) * f(one), one, two)
    assert exact.identically_equal(square, 0 * c, theta, 3)
    assert exact.identically_equal(E(score(b) ** 2, b), -E(grad(score(b), theta), b), theta, 3)
    assert not exact.identically_equal(E(score(b) ** 2, b), E(score(b) ** 3, b), theta, 2)


@pytest.mark.parametrize("times", range(3))
def test_a_cleared_scalar_is_the_scalar_times_the_factor(times):
    """Whatever was divided by a denominator is multiplied by it where the other terms are not."""
    model = SymbolicModel(ring.PolynomialRing(8), 2, "theta")
    x, d, a = (model.symbol(name) for name in ("x", "d", "a"))
    pivot = model.ring.indices[Generator("symbol", "x")]
    relations = Relations(model, [])
    relations.rows = [Relation(pivot, a + 1, d)]
    scalar = x**3 * d**times + x * (a + d) + x**2 * d + a
    top, factor = relations.clear([scalar, model.one])
    values = {"d": Fraction(3), "a": Fraction(4), "x": Fraction(5, 3)}
    point = {model.ring.indices[Generator("symbol", name)]: value for name, value in values.items()}
    assert model.ring.value(factor, point) == 3 ** max(3 - times, 1)
    assert model.ring.value(top, point) == model.ring.value(scalar, point) * model.ring.value(factor, point)


def test_a_power_has_the_shapes_of_the_product():
    shapes = frozenset({Shape(1, (("p", 1),)), Shape(0, (("q", 2),), (), 1)})
    for exponent in range(6):
        assert extension._raised(shapes, exponent) == extension._product([shapes] * exponent)


# Terms are counted before they are multiplied


def test_a_product_is_refused_before_it_is_multiplied(monkeypatch):
    monkeypatch.setattr(ring, "MOST_TERMS", 3)
    x = ring.PolynomialRing(2).generator("x")
    with pytest.raises(TooLarge, match="4 terms are more than the 3"):
        ring.product(x + 1, x + 2)


def test_all_relations_together_have_a_budget(monkeypatch):
    monkeypatch.setattr("derive.exact.relations._ROUNDS", Fraction(1, HUGE))
    with pytest.raises(TooLarge, match="terms are more than"):
        exact.compare(E(f(b) * score(b) ** 2, b), target, theta, 4)


def test_a_sum_is_refused_for_the_unknowns_that_its_terms_do_not_have_too(monkeypatch):
    monkeypatch.setattr(ring, "MOST_EXPONENTS", 10)
    narrow, wide = ring.PolynomialRing(2), ring.PolynomialRing(6)
    assert ring.total([narrow.generator("x"), narrow.one], narrow.zero) == narrow.generator("x") + 1
    with pytest.raises(TooLarge, match="2 terms in 6 unknowns"):
        ring.total([wide.generator("x"), wide.one], wide.zero)


@pytest.mark.parametrize("base", [lift(3), 2 * c, c / 2])
def test_a_power_with_too_many_digits_is_refused(base):
    with pytest.raises(TooLarge, match="a power with the exponent 100000000 has more digits"):
        exact.compare(base ** (10 * HUGE), 0 * c, theta, 2)


def test_a_power_of_a_probability_that_would_be_gone_through_is_refused():
    with pytest.raises(TooLarge, match=f"the power {HUGE + 1} of a probability"):
        exact.compare(E(derive.notation.p(b) ** HUGE, b), 0 * c, theta, 2)


def test_a_moment_of_a_high_degree_is_refused():
    z = normal("z", theta, 1)
    with pytest.raises(TooLarge, match="the power 3000"):
        exact.compare(E(z**3000, z), 0 * c, theta, 2)


def test_no_common_factor_of_high_powers_is_looked_for(monkeypatch):
    lowest = ring.PolynomialRing.lowest

    def watched(self, *polynomials):
        assert self.is_simple(polynomials)
        return lowest(self, *polynomials)

    monkeypatch.setattr(ring.PolynomialRing, "lowest", watched)
    assert exact.compare(E((f(b) + c) ** 300 * score(b), b), target, theta, 2).scale is None


def test_no_witness_has_values_of_thousands_of_digits():
    assert exact.witness((c - 1) * c**3000, 0 * c, theta, 2) is None
    assert exact.witness((c - 1) * c**30, 0 * c, theta, 2).left == 2**30


def test_the_kernel_expands_no_power_of_a_sum_that_is_too_large():
    for term in ((c + theta) ** 3000, (lift(3) * c) ** HUGE):
        with pytest.raises(RuleError, match="more than the 500"):
            tidy(term)


def test_the_power_of_a_monomial_is_no_sum_of_products():
    assert expand((c * theta) ** HUGE, 64) == [(1, ((c * theta) ** HUGE,))]


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(TooLarge, match="give it a name"):
        lift(3**10_000)


def test_a_variance_whose_numbers_have_thousands_of_digits_is_refused():
    body = f(b)
    for _ in range(20):
        body = f(2 * body)
    with pytest.raises(TooLarge, match="nest fewer"):
        derive.variance(Estimator("deep", body * score(b), (b,), grad(E(body, b), theta)))


# Depth: every reading recurses


def nested(depth):
    term = f(b)
    for _ in range(depth):
        term = exp(term)
    return term


def test_400_nested_exponentials_are_refused_in_one_line():
    with pytest.raises(TooLarge, match=f"the formula of 'deep' is nested more than {MOST_DEPTH} deep"):
        Estimator("deep", nested(400) * score(b), (b,), target)
    with pytest.raises(TooLarge, match="the target of 'deep'"):
        Estimator("deep", f(b) * score(b), (b,), grad(E(nested(400), b), theta))
    with pytest.raises(TooLarge, match="the mean or target"):
        exact.compare(E(nested(400), b), 0 * c, theta, 2)


def test_a_chain_of_conditions_is_nested_too():
    draws = [b]
    for n in range(MOST_DEPTH):
        draws.append(finite(f"b{n}", theta, law=f"q{n}", given=(draws[-1],)))
    with pytest.raises(TooLarge, match="nested"):
        refuse_deep(f(draws[-1]), "formula")


def test_whatever_is_not_refused_for_its_depth_is_read():
    body = nested(MOST_DEPTH - 6)
    deep = Estimator("deep", body * score(b), (b,), grad(E(body, b), theta))
    assert derive.prove(deep).verdict == "proved"
    assert len(derive.explain(deep, format="latex")) > len(derive.explain(deep)) > 1000


# Formulas that crashed


def test_one_function_may_stand_at_an_outcome_and_at_a_normal_variable():
    z = normal("z", theta, 1)
    both = Estimator("both", (f(b) + f(z)) * score(b), (b, z), target)
    assert derive.prove(both).verdict in ("proved", "checked")
    assert "f(1)" in derive.variance(both).formula


def test_the_concrete_estimator_has_a_variance_at_its_own_target():
    u, relaxed = uniform("u"), relaxation(b)
    soft = relaxed.sigma(relaxed.h(u, theta), temperature)
    own = Estimator("own", grad(f(soft), theta), (u,), grad(E(f(soft), u), theta))
    found = derive.variance(own)
    assert found.variance > 2 * found.radius > 0


def test_an_estimator_without_draws_is_judged_and_has_no_variance():
    alone = Estimator("alone", target, (), target)
    assert derive.prove(alone).verdict == "proved"
    assert derive.variance(alone).variance == 0


def test_a_logarithm_of_a_huge_power_is_read():
    power = exp(HUGE * log(c))
    assert exact.compare(power, c**HUGE, theta, 2).zero


def test_a_bias_in_free_unknowns_is_refuted_without_a_case(monkeypatch):
    """Every case of a power of 3000 has values of thousands of digits; that the polynomial is not zero is enough."""
    monkeypatch.setattr("derive.exact.witness.Candidates.points", lambda *_, **__: iter(()))
    wrong = Estimator("wrong", f(b) ** 2 * score(b), (b,), target)
    verdict = derive.prove(wrong)
    assert (verdict.verdict, verdict.witness) == ("refuted", None)
    assert "free unknowns" in verdict.holds_for


def test_a_bias_in_tied_unknowns_is_not_refuted_without_a_case(monkeypatch):
    """exp, log and scales are tied: what is no zero polynomial may be zero, or have no case."""
    monkeypatch.setattr("derive.exact.witness.Candidates.points", lambda *_, **__: iter(()))
    z = normal("z", theta, c)
    for left in (exp(f(b)), log(f(b)), z):
        assert not exact.compare(E(left, b, z), 0 * c, theta, 2).conclusive


# Sizes, counted before anything is multiplied


@pytest.mark.parametrize(
    ("term", "most"),
    [
        (f(b) + c, 2),
        ((f(b) + c) * (theta + 1) ** 2, 6),
        ((f(b) + c) ** 1000, 1001),
        (sum(1 / (f(b) + n) for n in range(1, 5)), 4 * 9),
        (E((f(b) + 1) * score(b), b) * c, 2),
        (grad(grad(grad(E(f(b), b), theta), theta), theta), 6),
        (exp((f(b) + c) ** 9), 1),
    ],
)
def test_summands_are_counted_without_multiplying(term, most):
    assert summands(term) == most


@pytest.mark.parametrize("term", [(f(b) + c) ** 30 * (theta + 1) ** 30, exp(c) / (f(b) + c) ** 90, 0 * c + (f(b) + 1) ** 40])
def test_there_are_never_more_summands_than_were_counted(term):
    assert len(monomials.__wrapped__(term)) <= summands(term)


def test_a_search_refuses_a_long_sum_and_the_evaluator_judges_it():
    many = sum(function(f"f{n}")(b) for n in range(1200))
    with pytest.raises(TooLong, match="1200 terms"):
        find(Estimator("long", many * score(b), (b,), grad(E(many, b), theta)))
    with pytest.raises(TooLong, match="parts"):
        refuse_long(function("F")(*[b] * 6000), "the mean")


def test_a_formula_that_shares_its_parts_is_counted_as_it_would_be_written():
    shared = f(b)
    for _ in range(60):
        shared = function("g")(shared, shared)
    assert nodes(shared) > 2**60
    with pytest.raises(TooLarge, match="name some as functions"):
        Estimator("shared", shared * score(b), (b,), target)


def test_a_normal_form_that_would_be_long_to_write_is_refused_and_decides_nothing():
    fraction = f(b)
    for n in range(14):
        fraction = 1 / (fraction + function(f"h{n}")(b))
    with pytest.raises(TooLong):
        tidy(fraction)
    conditions = conditions_of(Estimator("nested", fraction * score(b), (b,), target))
    assert conditions.failures == ()
    assert any(isinstance(need, NonZero) for need in conditions.needed)


LARGE = {
    "two laws in a chain whose conditions move": (
        "k = finite('k', theta, law='k', given=(theta * b,))\n"
        "l = finite('l', theta, law='k', given=(theta * k,))\n"
        "draws, formula = (b, k, l), f(l) * (score(l, theta) + score(k, theta) + score(b))\n"
        "target = grad(E(f(l), *draws), theta)",
        {"proved"},
    ),
    "forty samples": (
        "draws = copies(b, 40)\nothers = [sum(f(y) for y in draws if y is not x) / 39 for x in draws]\n"
        "formula = sum((f(x) - other) * score(x) for x, other in zip(draws, others)) / 40",
        {"checked"},
    ),
    "many denominators": (
        "draws, ratio = (b,), sum(1 / (function(f'h{n}')(b) + c) for n in range(20))\n"
        "formula, target = ratio * score(b), grad(E(ratio, b), theta)",
        {"proved", "checked"},
    ),
    "a high power": ("draws, formula, target = (b,), f(b) ** 10**6 * score(b), grad(E(f(b) ** 10**6, b), theta)", {"proved"}),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_comes_back_in_little_time_and_memory(name):
    formula, words = LARGE[name]
    assert judged(formula) in words
