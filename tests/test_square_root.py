"""A square root that is 0 at 0: one value in every judge and in the code, and no derivative where it has none."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import exp as real_exp, sqrt as real_sqrt

import pytest
import sympy
import torch

import derive
import numeric
from derive.estimator import Estimator
from derive.exact.comparison import enclosed_mean_and_variance_at
from derive.instances.charts import Rule
from derive.instances.errors import UnreadableError
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, Needs
from derive.kernel import theorem as kernel
from derive.kernel.algebra import equal
from derive.kernel.premises import EVERYTHING, Differentiable, consult
from derive.language.errors import PremiseError, RuleError
from derive.language.term import Number
from derive.laws.models import RationalCase
from derive.notation import (
    E,
    absolute,
    constant,
    copies,
    exp,
    finite,
    function,
    grad,
    normal,
    parameter,
    score,
    sign,
    sqrt,
    stop,
    total,
)
from derive.printing import html, latex, text
from derive.written.grammar import declare, parse
from derive.written.setting import Setting

theta, x, eps = parameter("theta"), constant("x"), constant("eps")
b, r = finite("b", theta), function("r")
target = grad(E(r(b), b), theta)
HALF = Fraction(1, 2)


def group(size, divisor, name="grpo-std"):
    """GRPO over a group: rewards less their mean, over their standard deviation and what is added to it."""
    draws = copies(b, size)
    mean = total(r(one) for one in draws) / size
    variance = total((r(one) - mean) ** 2 for one in draws) / size
    body = total((r(one) - mean) / divisor(variance) * score(one) for one in draws) / size
    return Estimator(name, body, draws, target)


def standard(variance):
    return sqrt(variance) + eps


# Values


@pytest.mark.parametrize("value", [0, Fraction(1, 4), 1, 2, 9, Fraction(1, 10**8)])
def test_every_judge_has_the_value_of_a_square_root_at_zero_too(value):
    root = real_sqrt(value)
    estimator = Estimator("mine", sqrt(r(b)), (b,), target)
    case = RationalCase.finite((HALF, HALF), (1, -1), r=(value, value))
    mean, _ = enclosed_mean_and_variance_at(estimator, case, outcomes=2)
    assert mean.contains(sympy.sqrt(sympy.Rational(value))) if root in (0, 1) else abs(float(mean.middle) - root) < 1e-12
    found = Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5)).value(sqrt(value))
    assert abs(float(found) - root) < 1e-12
    weighted = Estimator("mine", sqrt(r(b)) * score(b), (b,), grad(E(sqrt(r(b)), b), theta))
    for dtype, near in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        logits = torch.zeros(1, dtype=dtype)
        estimate = numeric.compile(weighted).estimate(
            logits, {"b": torch.ones(1, dtype=dtype)}, lambda b: b[..., 0] * float(value)
        )
        assert abs(estimate.item() - root / 2) <= near * root


def test_there_is_none_of_what_is_negative():
    estimator = Estimator("mine", sqrt(r(b)), (b,), target)
    with pytest.raises(derive.language.errors.NotEvaluable, match="positive"):
        enclosed_mean_and_variance_at(estimator, RationalCase.finite((HALF, HALF), (1, -1), r=(-HALF, 1)), outcomes=2)
    with pytest.raises(UnreadableError):
        Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5)).value(sqrt(-HALF))
    with pytest.raises(RuleError, match="logarithm"):
        kernel.algebra(sqrt(-HALF), sqrt(-HALF) + x - x)


# Verdicts


def test_grpo_with_the_standard_deviation_is_refuted_by_a_case_that_can_be_added_up():
    verdict = derive.prove(group(2, standard))
    assert verdict.verdict == "refuted"
    case = {name: Fraction(value) for name, value in verdict.witness.case.items()}
    rewards, added = (case["r(1)"], case["r(2)"]), case["eps"]
    mean = Fraction(0)
    for pair in product((0, 1), repeat=2):
        weight = case[f"p({pair[0] + 1})"] * case[f"p({pair[1] + 1})"]
        middle = sum(rewards[k] for k in pair) / 2
        size = abs(rewards[pair[0]] - rewards[pair[1]]) / 2 + added
        slopes = [case[f"dp({k + 1})"] / case[f"p({k + 1})"] for k in pair]
        mean += weight * sum((rewards[k] - middle) / size * s for k, s in zip(pair, slopes, strict=True)) / 2
    assert abs(float(verdict.witness.mean) - float(mean)) < 1e-9
    assert verdict.witness.target == sum(case[f"dp({k})"] * rewards[k - 1] for k in (1, 2))


def test_three_samples_and_a_positive_term_are_refuted_too():
    assert derive.prove(group(3, standard)).verdict == "refuted"
    assert derive.prove(group(2, lambda variance: sqrt(variance) + exp(eps))).verdict == "refuted"


def test_its_bias_has_the_square_root():
    assert "sqrt(" in text.render(derive.prove(group(2, standard)).bias)
    assert "exp(" not in text.render(derive.prove(group(2, standard)).bias)


def test_without_anything_added_a_tie_divides_by_zero():
    assert derive.prove(group(2, sqrt)).verdict == "undecided"


def test_a_root_in_the_place_of_its_argument_is_refuted():
    assert derive.prove(Estimator("mine", sqrt(r(b)) * score(b), (b,), target)).verdict == "refuted"


# Kernel


def test_a_root_is_not_taken_for_its_argument():
    assert equal(sqrt(2 * x - x), sqrt(x))
    assert equal(sqrt(0), Number(Fraction(0)))
    assert not equal(sqrt(x**2), x)
    assert not equal(sqrt(x), x)


def test_a_derivative_is_refused_where_the_argument_may_be_zero():
    with pytest.raises(PremiseError, match="Differentiable"):
        kernel.differentiate(grad(sqrt(theta), theta))
    assumed = kernel.differentiate(grad(sqrt(theta), theta), assuming=EVERYTHING).assumptions
    assert any(isinstance(one, Differentiable) and equal(one.term, sign(theta)) for one in assumed)


def test_the_root_of_noise_is_never_differentiated():
    z = normal("z")
    assert "jumps" in consult(Differentiable(sqrt((theta - z) ** 2), theta)).failure


def test_no_judge_differentiates_a_root_at_zero():
    turning = sqrt((theta - stop(theta)) ** 2)
    assert derive.prove(Estimator("mine", grad(turning * r(b), theta), (b,), target)).verdict == "undecided"
    with pytest.raises(UnreadableError, match="zero"):
        Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5)).value(grad(turning, theta))


def test_the_derivative_where_there_is_one_is_the_usual_one():
    found = Evaluator(Instance(0, 0, Needs()), Rule(0.2, 0.5))
    moving = sqrt(exp(2 * theta))
    assert abs(found.value(grad(moving, theta)) - found.value(exp(theta))) < 1e-12
    assert abs(found.value(moving) - real_exp(float(found.value(theta)))) < 1e-12


# Print


def test_it_is_printed_and_read_back():
    setting = Setting()
    declare("b ~ p(b; theta)", setting)
    for term, written in (
        (sqrt(x), "sqrt(x)"),
        ((r(b) - x) / (sqrt(r(b) ** 2) + eps), "(r(b) - x) / (sqrt(r(b)^2) + eps)"),
        (x * sqrt(x * absolute(x)) * x, "x * sqrt(x * abs(x)) * x"),
        (grad(sqrt(theta), theta), "d_theta sqrt(theta)"),
    ):
        assert text.render(term) == written
        assert parse(written, setting) == term
    assert latex.render(sqrt(x)) == r"\sqrt{x}"
    assert "<msqrt>" in html.render(sqrt(x))
    assert sqrt(x).to_sympy() == sympy.sqrt(sympy.Symbol("x"))
