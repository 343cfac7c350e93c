"""Code of an estimator for S samples, side by side in one tensor, computes what it computes of the same written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from derive.catalogue import catalogue
from derive.catalogue.leave_one_out import leave_one_out
from derive.language.estimator import Estimator
from derive.notation import E, constant, exp, finite, function, grad, log, normal, p, parameter, samples, score, stop
from numeric.checking.crosscheck import crosscheck
from numeric.codegen.running.module import module_of
from numeric.codegen.running.together import together
from numeric.codegen.torchgen import emit
from numeric.codegen.torchrun import compile

THETA, C, F, G = parameter("theta"), constant("c"), function("f"), function("g")
B = finite("b", THETA)
H = function("h", differentiable=True)
EACH = samples(B)
Z = normal("z", function("mu")(THETA), function("sigma")(THETA))
NORMAL = samples(Z)
Y = normal("y")
NOISE = samples(Y)
PROPOSED = samples(finite("o", parameter("phi"), law="q"))
TARGET = grad(E(F(B), B), THETA)


def mine(formula, each=EACH, target=TARGET, **more) -> Estimator:
    return each.estimator("mine", formula, target, verdict="refuted", **more)


SCORES = EACH.mean(score)


def others(x, each=EACH):
    return each.without(x).mean(F)


SIDE_BY_SIDE = {
    "leave-one-out": mine(EACH.mean(lambda x: (F(x) - others(x)) * score(x))),
    "the mean of all": mine(EACH.mean(lambda x: (F(x) - EACH.mean(F)) * score(x))),
    "an average": mine(EACH.mean(lambda x: F(x) * score(x))),
    "a constant, a power and S": mine(EACH.number / (EACH.number - 1) * C * EACH.mean(lambda x: F(x) ** 2 * score(x)) / 3),
    "a product of means": mine(EACH.mean(F) * EACH.mean(score)),
    "a power of a mean": mine(EACH.mean(lambda x: EACH.mean(F) ** 2 * score(x))),
    "others of others": mine(EACH.mean(lambda x: EACH.without(x).mean(lambda y: F(y) - others(y)) * score(x))),
    "a density": mine(EACH.mean(lambda x: log(p(x)) * exp(-F(x)) * score(x))),
    "a mean of what has no sample beside one": mine(EACH.mean(lambda x: G(C) * F(x) * score(x)) - 2 * EACH.mean(score)),
    "normal": mine(
        NORMAL.mean(lambda x: (F(x) - others(x, NORMAL)) * score(x, THETA)), NORMAL, grad(E(F(Z), Z), THETA)
    ),
}
ONE_BY_ONE = {
    "two samples in one function": mine(EACH.mean(lambda x: EACH.without(x).mean(lambda y: G(x, y)) * score(x))),
    "two samples in one product": mine(EACH.mean(lambda x: EACH.without(x).mean(lambda y: F(x) * F(y) * score(y)))),
    "the score of another sample": mine(EACH.mean(lambda x: EACH.without(x).mean(lambda y: F(y) * score(x)))),
    "a mean of a mean of all": mine(EACH.mean(score) * EACH.mean(lambda _: C * EACH.mean(F))),
    "a slope": mine(NOISE.mean(lambda x: C * H.slope(x)), NOISE, grad(THETA * E(H(Y), Y), THETA)),
    "all but the sample of an outer mean": mine(
        EACH.mean(lambda x: EACH.mean(lambda y: EACH.without(x).mean(F) * score(y)) * score(x) / score(x))
    ),
    "a mean of what is the same for all": mine(EACH.mean(lambda x: F(x) * score(x)) + EACH.mean(lambda _: C) * SCORES),
    "two laws": mine(PROPOSED.mean(lambda x: p(B, x) / p(x) * F(x) * score(B, at=x)), PROPOSED),
    "all but two": mine(EACH.mean(lambda x: EACH.mean(lambda y: EACH.without(x, y).mean(F) * F(y)) * score(x)), shown=4),
    "a gradient": mine(grad(EACH.mean(lambda x: stop(F(x)) * log(p(x))), THETA)),
    "another formula than its family's": replace(
        mine(EACH.mean(lambda x: (F(x) - others(x)) * score(x))),
        formula=mine(EACH.mean(lambda x: 2 * (F(x) - others(x)) * score(x))).formula,
    ),
}  # fmt: skip


def written_out(estimator: Estimator) -> Estimator:
    return replace(estimator, family=None)


def value(*args):
    """One number for each outcome, that of each argument in its own way."""
    return sum(((k + 2) * arg.sum(-1) if arg.ndim else k + arg).sin() for k, arg in enumerate(map(torch.as_tensor, args)))


def estimates(estimator: Estimator, batch: tuple[int, ...], family: str | None = None):
    """Two estimates from the same noise: of the estimator as it is, and written out."""
    found = []
    for one in (estimator, written_out(estimator)):
        compiled, generator = compile(one, family), torch.Generator().manual_seed(0)
        logits = torch.linspace(-1, 1, 3 * torch.Size(batch).numel(), dtype=torch.float64).reshape(*batch, 3)
        params = {"loc": logits, "log_scale": logits / 3} if compiled.family == "normal" else logits
        given = dict.fromkeys(compiled.functions[1:], value) | dict.fromkeys(compiled.constants, 0.7)
        noise = compiled.draw(params, generator, (5,))
        gradients = (compiled.estimate(params, noise, value, **given), compiled(params, value, generator=generator, **given))
        found.append([part for one in gradients for part in (one.values() if isinstance(one, dict) else [one])])
    return zip(*found, strict=True)


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_samples_side_by_side_are_those_one_by_one(name):
    estimator = SIDE_BY_SIDE[name]
    source = emit(estimator)
    assert ".mean(0)" in source
    assert "_1)" not in source.partition("def estimate")[2].replace(", b_1)", "").replace("stack((b_1,", "")
    families = [None] if name == "normal" else ["bernoulli", "categorical"]
    for family in families:
        for batch in ((), (2,), (2, 4000)):  # the last is evaluated one by one
            for found, expected in estimates(estimator, batch, family):
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


BESIDE_MEANS = {
    "alone": EACH.mean(F) + C,
    "others less a constant": EACH.mean(lambda x: (others(x) - C) * score(x)),
    "others and a constant, halved": EACH.mean(lambda x: (F(x) - (others(x) + C) / 2) * score(x)),
    "a power": (EACH.mean(F) - C) ** 2 * EACH.mean(lambda x: F(x) * score(x)),
    "beside a value": EACH.mean(lambda x: (F(x) - 2 * C) * score(x)),
}


@pytest.mark.parametrize("formula", BESIDE_MEANS.values(), ids=BESIDE_MEANS)
def test_a_constant_beside_a_mean_may_have_an_entry_for_each_element_of_the_batch(formula):
    noise = torch.Generator().manual_seed(0)
    found = []
    for one in (mine(formula), written_out(mine(formula))):
        compiled = compile(one)
        logits, c = torch.zeros(4, 3, dtype=torch.float64), torch.arange(4, dtype=torch.float64)
        found.append(compiled.estimate(logits, compiled.draw(logits, noise.manual_seed(0), (5,)), value, c=c))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("check", [True, False])
def test_rewards_may_be_whole_numbers(check):
    group = compile(catalogue["dr-grpo"])
    found = [
        group(torch.zeros(2, 3), reward, generator=torch.Generator().manual_seed(0), check=check)
        for reward in (lambda b: b.sum(-1), lambda b: b.sum(-1).long())
    ]
    assert torch.equal(*found)


def test_a_difference_of_numbers_beside_a_value_is_no_tensor():
    c, d = constant("c"), constant("d")
    compiled = compile(Estimator("mine", F(B) * (c - d) * score(B), (B,), grad((c - d) * E(F(B), B), THETA)))
    given = {"generator": torch.Generator(), "c": 1.0}
    given["generator"].manual_seed(0)
    first = compiled(torch.zeros(2), value, d=0.5, **given)
    given["generator"].manual_seed(0)
    assert torch.equal(first, compiled(torch.zeros(2), value, d=torch.tensor(0.5), **given))


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_samples_that_have_to_be_told_apart_are_written_out(name):
    estimator = ONE_BY_ONE[name]
    assert emit(estimator).partition("def estimate")[2] == emit(written_out(estimator)).partition("def estimate")[2]


def test_one_sample_and_two_are_written_as_one_would():
    alone = catalogue["dr-grpo"].with_samples(1)
    assert emit(alone).partition("def estimate")[2] == emit(written_out(alone)).partition("def estimate")[2]
    assert "((f_b - (f_b.sum(0) - f_b))[..., None] * score_b).mean(0)" in emit(leave_one_out(2))


def test_a_sample_drawn_before_the_others_is_none_of_them():
    before = finite("a", THETA, law="p")
    each = samples(finite("b", THETA, law="p"))
    estimator = mine(each.mean(lambda x: (F(x) - F(before)) * score(x)), each, before=(before,))
    assert emit(estimator) == emit(written_out(estimator))


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_any_number_of_samples_has_the_exact_gradient_as_its_mean(number, family):
    assert crosscheck(leave_one_out(number), family).agrees
    assert not crosscheck(catalogue["dr-grpo"].with_samples(number), family).agrees


def test_the_tensor_of_samples_has_a_name_that_nobody_else_has():
    c = constant("b")
    named = mine(EACH.mean(lambda x: (F(x) - c) * score(x)))
    assert "b_4 = torch.stack((b_1, b_2, b_3))" in emit(named)


def test_memory_of_a_difference_is_used_again_only_where_the_product_is_the_same():
    source = together(emit(catalogue["score-function"]))
    scaled = module_of("import torch\n" + source.partition("def draw_and")[0], "scaled").scaled
    many = torch.ones(2, 20_000)
    kept = many.clone()
    assert scaled(kept, torch.full((2, 1), 3.0)) is kept
    for difference, factor in (
        (torch.ones(2, 3), torch.ones(2, 1)),
        (many, torch.ones(2, 1, dtype=torch.float64)),
        (many, torch.ones(5, 2, 1)),
        (many, torch.ones(1)),
    ):
        product = scaled(difference, factor)
        assert product is not difference
        assert torch.equal(product, factor * difference)
        assert product.dtype == (factor * difference).dtype
