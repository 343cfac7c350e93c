"""sign, and what is written with it: values, derivatives where there are any, refusals where noise meets the jump."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import erf, sqrt

import pytest
import sympy
import torch

import derive
import numeric
from derive.estimator import Estimator
from derive.exact.comparison import compare, identically_equal, mean_and_variance_at
from derive.exact.series import SeriesModel
from derive.exact.valuation import Valuation, is_possible
from derive.instances.charts import Rule
from derive.instances.errors import UnreadableError
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, Needs
from derive.kernel import theorem as kernel
from derive.kernel.algebra import equal
from derive.kernel.premises import EVERYTHING, Differentiable, consult
from derive.language.errors import NotEvaluable, PremiseError, TooLong
from derive.language.term import Grad, Number, Sign
from derive.laws.models import RationalCase, SymbolicModel
from derive.notation import (
    E,
    Over,
    absolute,
    clip,
    constant,
    copies,
    exp,
    finite,
    function,
    grad,
    indicator,
    log,
    maximum,
    minimum,
    normal,
    p,
    parameter,
    relaxation,
    score,
    sign,
    stop,
    uniform,
)
from derive.numbers.ring import PolynomialRing
from derive.proofs.tactic import find
from derive.sympy_door import from_sympy
from derive.verdicts.conditions import conditions_of
from numeric.codegen.noise_roles import is_polynomial

theta, c = parameter("theta"), constant("c")
b, a, z, eps, u = finite("b", theta), finite("a", law="mu"), normal("z", theta), normal("eps"), uniform("u")
f = function("f")
target = grad(E(f(b), b), theta)
LOW, HIGH = Fraction(4, 5), Fraction(6, 5)
HALF = Fraction(1, 2)


def judged(formula, draws=(b,), aim=target):
    return derive.prove(Estimator("mine", formula, draws, aim))


def surrogate(ratio, sample):
    return grad(minimum(ratio * f(sample), clip(ratio, LOW, HIGH) * f(sample)), theta)


def sign_of(x):
    return (x > 0) - (x < 0)


MEANINGS = {
    "sign": (lambda x, y: sign(x - y), lambda x, y: sign_of(x - y)),
    "indicator": (lambda x, y: indicator(x - y), lambda x, y: int(x > y)),
    "absolute": (lambda x, y: absolute(x - y), lambda x, y: abs(x - y)),
    "maximum": (maximum, max),
    "minimum": (minimum, min),
    "clip": (lambda x, y: clip(x, -1, y + 2), lambda x, y: min(max(x, -1), y + 2)),
}


# Values


@pytest.mark.parametrize("name", MEANINGS)
def test_the_values_are_those_of_python_also_where_arguments_are_equal(name):
    ours, python = MEANINGS[name]
    estimator = Estimator("mine", ours(f(b), c), (b,), target)
    for left, other, right in product((-2, Fraction(-1, 3), 0, 1), (0, 1), (-1, 0, 1)):
        case = RationalCase.finite((HALF, HALF), (1, -1), f=(left, other), symbols={"c": right})
        mean, _ = mean_and_variance_at(estimator, case)
        assert mean == HALF * (python(Fraction(left), Fraction(right)) + python(Fraction(other), Fraction(right)))


@pytest.mark.parametrize("name", MEANINGS)
def test_the_generated_code_has_the_values_of_python(name):
    ours, python = MEANINGS[name]
    estimator = Estimator("mine", ours(f(b), c) * score(b), (b,), grad(E(ours(f(b), c), b), theta))
    compiled = numeric.compile(estimator)
    logits = torch.zeros(1, dtype=torch.float64)
    for value, right, outcome in product((-2.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (0.0, 1.0)):
        found = compiled.estimate(logits, {"b": torch.tensor([outcome])}, lambda b, v=value: b[..., 0] * 0 + v, c=right)
        assert found.item() == python(value, right) * (outcome - 0.5)


def test_the_sign_of_a_number_alone_is_that_of_python_in_generated_code():
    compiled = numeric.compile(Estimator("mine", sign(c) * f(b) * score(b), (b,), target))
    for value in (-2.0, 0.0, 3.0):
        found = compiled.estimate(torch.zeros(1), {"b": torch.ones(1)}, lambda b: b[..., 0], c=value)
        assert found.item() == sign_of(value) / 2


def test_a_constant_may_be_a_tensor_without_dimensions():
    compiled = numeric.compile(Estimator("mine", sign(c) * f(b) * score(b), (b,), target))
    for value in (-2.0, 0.0, 3.0):
        found = compiled.estimate(torch.zeros(1), {"b": torch.ones(1)}, lambda b: b[..., 0], c=torch.tensor(value))
        assert found.item() == sign_of(value) / 2


def test_an_instance_sees_the_jump_under_an_integral():
    evaluator = Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5))
    for loc in (Fraction(-3, 2), Fraction(0), Fraction(1, 3)):
        found = evaluator.value(E(sign(normal("z", loc)), normal("z", loc)))
        assert abs(found - erf(float(loc) / sqrt(2))) < 1e-9


# Verdicts


@pytest.mark.parametrize(
    ("formula", "draws", "aim", "word"),
    [
        ((minimum(f(b), c) + maximum(f(b), c) - c) * score(b), (b,), target, "proved"),
        (absolute(f(b)) * score(b), (b,), grad(E(maximum(f(b), -f(b)), b), theta), "proved"),
        (indicator(f(b) - c) * score(b), (b,), grad(E(indicator(f(b) - c), b), theta), "proved"),
        (minimum(stop(p(b, at=a) / p(a)), c) * score(b, at=a) * f(a), (a,), target, "refuted"),
        (clip(f(b), -c, c) * score(b), (b,), target, "refuted"),
        (surrogate(p(b, at=a) / p(a), a), (a,), target, "refuted"),
        (surrogate(p(b) / stop(p(b)), b), (b,), target, "proved"),
    ],
)
def test_the_verdict_is_right(formula, draws, aim, word):
    assert judged(formula, draws, aim).verdict == word


def test_a_counterexample_stands_where_the_sign_has_a_derivative():
    witness = judged(surrogate(p(b, at=a) / p(a), a), (a,)).witness
    case = {name: Fraction(value) for name, value in witness.case.items()}
    mean = 0
    for k in ("1", "2"):
        ratio, slope, value = case[f"p({k})"] / case[f"mu({k})"], case[f"dp({k})"], case[f"f({k})"]
        assert ratio not in (LOW, HIGH)
        mean += slope * value * (ratio * value < min(max(ratio, LOW), HIGH) * value or LOW < ratio < HIGH)
    assert mean == witness.mean
    assert witness.target == sum(case[f"dp({k})"] * case[f"f({k})"] for k in ("1", "2"))


@pytest.mark.parametrize(
    ("integrand", "noise"),
    [(absolute(theta + eps), eps), (sign(theta + eps) * f(theta + eps), eps), (indicator(u - theta), u)],
)
def test_a_jump_that_noise_meets_is_never_differentiated(integrand, noise):
    verdict = judged(grad(integrand, theta), (noise,), grad(E(integrand, noise), theta))
    assert verdict.verdict == "undecided"
    assert verdict.derivation is None


def test_what_is_tied_by_the_meaning_of_sign_is_proved_by_it():
    for formula in (sign(f(b)) ** 2 * f(b), sign(f(b)) ** 3 * f(b) ** 2 - sign(f(b)) * f(b) ** 2 + f(b)):
        assert judged(formula * score(b)).verdict == "proved"


def test_what_is_tied_by_the_meaning_of_sign_in_a_way_that_no_rule_knows_is_not_refuted():
    """Of two numbers the larger has the sign of their difference, so that this product of three signs is one of them."""
    larger = indicator(f(b) - c) * indicator(c - constant("e")) * (1 - indicator(f(b) - constant("e")))
    assert judged((f(b) + larger) * score(b)).verdict == "undecided"


def test_a_sign_that_turns_at_the_parameter_itself_has_no_derivative():
    assert judged(grad(sign(theta - stop(theta)) * f(b), theta)).verdict == "undecided"


r = p(b) / stop(p(b))
TURNING = {
    "twice": sign((theta - stop(theta)) ** 2),
    "ratio": sign((r - 1) ** 2),
    "two summands": sign((theta + c) / stop(theta + c) - 1),
    "ratio of means": sign(E(f(b), b) / stop(E(f(b), b)) - 1),
    "all probabilities": sign(E(r, b) - 1 + stop(p(b)) - p(b)),
    "logarithms": sign(log(p(b) ** 2) - 2 * stop(log(p(b)))),
}


@pytest.mark.parametrize("name", TURNING)
def test_a_sign_that_turns_at_every_parameter_has_no_derivative_however_it_is_written(name):
    """Its condition would hold for no law: of (theta - stop(theta))^2 the sign is 0 at theta and 1 around it."""
    turning = TURNING[name]
    with pytest.raises(NotEvaluable, match="no derivative where its argument is zero"):
        identically_equal(E(grad(r * (1 - turning) * f(b), theta), b), target, theta, outcomes=2)
    assert judged((1 + turning) * score(b) * f(b), (b,), grad(E((1 + turning) * f(b), b), theta)).verdict == "undecided"


def test_a_sign_that_turns_has_no_mean_at_a_case():
    case = RationalCase.finite((HALF, HALF), (1, -1), f=(1, 0))
    with pytest.raises(NotEvaluable, match="no derivative where its argument is zero"):
        mean_and_variance_at(Estimator("mine", grad(r * (1 - TURNING["ratio"]) * f(b), theta), (b,), target), case)


def test_the_value_of_a_sign_is_needed_where_it_turns_too():
    assert judged((1 + stop(TURNING["twice"])) * f(b) * score(b)).verdict == "proved"


def test_a_sign_of_what_stays_zero_is_differentiable():
    """Two samples that are equal are so at every parameter, also where their weights are stopped."""
    first, second = copies(b, 2)
    g = function("g", differentiable=True)
    for body in (maximum(g(first, theta), g(second, theta)), absolute(r_of(first) * f(first) - r_of(second) * f(second))):
        moving = (score(first) + score(second)) * body + grad(body, theta)
        comparison = compare(E(moving, first, second), grad(E(body, first, second), theta), theta, 2)
        assert comparison.zero
        assert not comparison.trivial


def r_of(variable):
    return p(variable) / stop(p(variable))


def test_a_mean_that_an_instance_sees_constant_is_not_called_vacuous():
    """On an instance f has one sign mostly, so that E[sign f] does not move there."""
    u, h = uniform("u"), relaxation(b)
    outcome = h.H(h.h(u, theta))
    found = judged(sign(f(outcome)) * score(b, at=outcome), (u,), grad(E(sign(f(b)), b), theta))
    assert found.verdict == "proved"


def test_a_sign_is_odd_and_has_no_scale():
    turned = f(b) + sign(c - f(b)) + sign(2 * f(b) - 2 * c)
    assert judged(turned * score(b)).verdict == "proved"
    assert judged((f(b) + sign(c - f(b)) - sign(2 * f(b) - 2 * c)) * score(b)).verdict == "refuted"


def test_the_case_of_a_witness_says_no_sign_of_what_it_says():
    witness = judged(clip(f(b), -c, c) * score(b)).witness
    assert not [name for name in witness.case if name.startswith("sign")]


def test_a_sign_of_noise_is_read_by_instances_alone():
    for term in (E(sign(z), z), E(sign(u - theta), u)):
        with pytest.raises(NotEvaluable, match="noise"):
            identically_equal(term, term + c - c, theta, outcomes=2)


def test_no_case_is_possible_in_which_a_sign_has_no_derivative():
    model = SymbolicModel(PolynomialRing(4), 2, "theta")
    scalar = model.sign(model.symbol("x"))
    for value, possible in ((-3, True), (0, False), (2, True)):
        point = Valuation(model, lambda key, value=value: Fraction(value))
        assert is_possible(point) is possible
        if possible:
            assert point.of(scalar) == sign_of(value)


def test_an_instance_knows_no_sign_that_rounding_may_turn():
    evaluator = Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5))
    assert evaluator.value(sign(0 * c)) == 0
    turning = grad(sign(theta - stop(theta)), theta), grad(sign((theta - stop(theta)) ** 2), theta)
    for term in (sign(exp(log(1 + c**2)) - 1 - c**2 + Fraction(1, 10**15)), *turning):
        with pytest.raises(UnreadableError, match="zero"):
            evaluator.value(term)


def test_a_series_knows_no_sign_of_what_was_cut():
    model = SeriesModel(PolynomialRing(4), "theta", {}, (1, 1))
    assert model.sign(model.size - model.number(2)) == -1
    for small in (model.size, model.cut(model.size**3)):
        with pytest.raises(NotEvaluable, match="small"):
            model.sign(small)


def test_a_law_that_moves_through_a_sign_needs_its_derivative():
    variable = normal("z", theta * sign(theta))
    found = conditions_of(Estimator("mine", f(variable) * score(variable, parameter=theta), (variable,), target))
    assert Differentiable(sign(theta), theta) in found.needed


# Kernel


def test_the_derivative_of_a_sign_is_zero_where_it_has_one():
    found = kernel.differentiate(grad(sign(theta - c), theta), assuming=EVERYTHING)
    assert found.rhs == Number(Fraction(0))
    (assumed,) = found.assumptions
    assert isinstance(assumed, Differentiable)
    assert equal(assumed.term.arg, c - theta)


def test_the_premise_is_not_given_by_itself():
    with pytest.raises(PremiseError):
        kernel.differentiate(grad(sign(theta - c), theta))


def test_a_sign_of_what_is_positive_needs_nothing():
    assert not kernel.differentiate(grad(sign(exp(theta)), theta)).assumptions


@pytest.mark.parametrize("argument", [theta + eps, z - theta, theta - u, f(eps) + theta])
def test_a_sign_of_noise_that_moves_is_refused_even_if_everything_may_be_assumed(argument):
    assert "jumps" in consult(Differentiable(sign(argument), theta)).failure
    with pytest.raises(PremiseError):
        kernel.differentiate(Grad(sign(argument), theta), assuming=EVERYTHING)


def test_no_mean_over_noise_is_differentiated_through_a_sign():
    with pytest.raises(PremiseError):
        kernel.leibniz(grad(Over(p(eps) * sign(theta + eps), eps), theta), assuming=EVERYTHING)


# Doors


def test_sympy_takes_and_gives_signs():
    x, y = sympy.symbols("x y", real=True)
    for expression in (sympy.sign(x - y), sympy.Abs(x - y), sympy.Max(x, y, 1), sympy.Min(x, y)):
        back = from_sympy(expression).to_sympy()
        for left, right in product((-2, 0, 3), (-1, 0, 3)):
            values = {sympy.Symbol("x"): left, sympy.Symbol("y"): right}
            assert back.subs(values) == expression.subs({x: left, y: right})


def test_a_sign_is_written_as_it_is_called():
    assert str(sign(c)) == "sign(c)"
    assert r"\mathrm{sign}(c)" in sign(c)._repr_latex_()
    assert Sign(c) == sign(c)


# Code


def test_what_has_a_sign_of_noise_is_no_polynomial():
    """A rule for polynomials would be taken for exact."""
    assert is_polynomial(Estimator("mine", f(z) * score(z), (z,), grad(E(f(z), z), theta)))
    assert not is_polynomial(Estimator("mine", sign(z) * f(z) * score(z), (z,), grad(E(f(z), z), theta)))


def test_nothing_goes_back_through_a_sign_in_generated_code():
    shifted = Estimator("mine", grad(f(theta + sign(theta) + eps), theta), (eps,), grad(E(f(z + sign(theta)), z), theta))
    loc, noise = torch.tensor([[-0.3], [0.7]], dtype=torch.float64), torch.tensor([[0.2], [0.1]], dtype=torch.float64)
    found = numeric.compile(shifted, "vector").estimate(loc, {"eps_": noise}, lambda x: (x**2).sum(-1))
    assert torch.allclose(found, 2 * (loc + torch.sign(loc) + noise))


def test_the_code_of_a_clipped_surrogate_is_what_autograd_gives():
    compiled = numeric.compile(Estimator("ppo", surrogate(p(b, at=a) / p(a), a), (a,), target))
    logits = {name: torch.linspace(start, -1, 3, dtype=torch.float64) for name, start in (("p", 2.0), ("mu", 0.5))}
    for bits in product((0.0, 1.0), repeat=3):
        outcome = torch.tensor(bits, dtype=torch.float64)
        found = compiled.estimate(logits, {"a": outcome}, reward)["p"]
        moved = logits["p"].clone().requires_grad_()
        ratio = (log_prob(moved, outcome) - log_prob(logits["mu"], outcome)).exp()
        loss = torch.minimum(ratio * reward(outcome), ratio.clamp(float(LOW), float(HIGH)) * reward(outcome))
        assert torch.allclose(found, torch.autograd.grad(loss, moved)[0])


def reward(outcome):
    return outcome.sum(-1) - 1.5


def log_prob(logits, outcome):
    return torch.nn.functional.logsigmoid((2 * outcome - 1) * logits).sum(-1)


def test_what_stands_in_signs_of_signs_is_counted_before_a_search_writes_it_out():
    twice = clip(clip(p(b, at=a) / p(a), LOW, HIGH), LOW, HIGH)
    nested = grad(minimum(p(b, at=a) / p(a) * f(a), twice * f(a)), theta)
    with pytest.raises(TooLong, match="terms"):
        find(Estimator("nested", nested, (a,), target))
