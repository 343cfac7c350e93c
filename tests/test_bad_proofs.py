"""Every derivation of this corpus has one wrong step, one for each rule and each premise, and is refused at that step."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive.estimator import Estimator
from derive.kernel.premises import (
    EVERYTHING,
    ConditionalReparameterization,
    Covers,
    Differentiable,
    Dominated,
    Integrable,
    JointlyIntegrable,
    NonZero,
    Positive,
    Premise,
    SupportFixed,
)
from derive.language.errors import GradproofError, ScopeError, UsageError
from derive.language.term import Expect, Over as Sum, RandomVariable
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
    normal,
    p,
    parameter,
    relaxation,
    score,
    stop,
    uniform,
)
from derive.proofs import rules
from derive.proofs.calc import calc
from derive.verdicts.prover import prove
from derive.verdicts.verdict import BY_HAND

theta, phi, c, x, y = parameter("theta"), parameter("phi"), constant("c"), constant("x"), constant("y")
b = finite("b", theta)
b1, b2 = copies(b, 2)
a = finite("a", theta, law="q", given=(b,))
f, s, step = function("f"), function("s", differentiable=True), function("step", differentiable=False)
u, v, epsilon = uniform("u"), uniform("v"), normal("epsilon")
z, moving, t = normal("z", theta, 1), uniform("x", 0, theta), continuous("t", theta)
energy = continuous("t", theta, normalised=False)
scaled = normal("z", theta, phi)
maps = relaxation(b)
latent = maps.h(u, theta)
hard = maps.H(latent)
given = maps.h_tilde(v, b, theta)
noisy, jumping = s(theta + epsilon), step(theta + epsilon)
at_noise, at_scaled_noise = E(f(theta + epsilon), epsilon), E(f(theta + phi * epsilon), epsilon)
by_noise, by_outcome = rules.reparameterization(epsilon), rules.conditional_reparameterization(b, v)
short, frozen_t = uniform("w", 0, Fraction(1, 2)), RandomVariable("y", t.law.with_terms((stop(theta),)))
behaviour = finite("a", law="mu")
ratio = p(b, at=behaviour) / p(behaviour)
by_behaviour = rules.change_of_law(behaviour)
box = exp(log(p(b)) - stop(log(p(b))))


class Without:
    """Assume everything but one kind of premise."""

    def __init__(self, kind: type[Premise]) -> None:
        self.kind = kind

    def __contains__(self, premise: object) -> bool:
        return not isinstance(premise, self.kind)


RIGHT = [
    (E(f(b), b), (rules.expectation, Over(p(b) * f(b), b))),
    (grad(E(f(b), b), theta), (rules.score_function_estimator, E(f(b) * score(b), b))),
    (E(E(f(b1, b2), b2), b1), (rules.exchange, E(E(f(b1, b2), b1), b2))),
    (E(f(z), z), (by_noise, at_noise)),
    (E(f(hard) * s(latent), u), (by_outcome, E(E(f(b) * s(given), v), b))),
    (E(f(b), b), (by_behaviour, E(ratio * f(behaviour), behaviour))),
    (E(f(epsilon) * epsilon, epsilon), (rules.reflection, -E(f(-epsilon) * epsilon, epsilon))),
    (E(f(z) * score(z), z), (rules.normal_score, E(f(z) * (z - theta), z))),
    (stop(s(theta)) * theta, (rules.value_of_stop, s(theta) * theta)),
]

# The wrong step of each: what stands before it, its rule, and what does not follow.
STEPS = {
    "expectation without the density": (E(f(b), b), rules.expectation, Over(f(b), b)),
    "expectation over the density of another law": (E(f(b), b), rules.expectation, Over(p(finite("b", phi), at=b) * f(b), b)),
    "algebra that captures": (Expect(Sum(f(b1, b2), b2), b1), rules.algebra, Expect(Sum(f(b2, b2), b2), b1)),
    "algebra with a lost sign": (E((f(b) - c) * score(b), b), rules.algebra, E((f(b) + c) * score(b), b)),
    "algebra that splits the logarithm of a sum": (log(x + y), rules.algebra, log(x) + log(y)),
    "algebra that drops a stop": (grad(stop(s(theta)) * theta, theta), rules.algebra, grad(s(theta) * theta, theta)),
    "linearity over a product": (E(f(b1) * score(b1), b1), rules.linearity, E(f(b1), b1) * E(score(b1), b1)),
    "linearity that moves the variable out": (E(f(b1) * c, b1), rules.linearity, f(b1) * E(c, b1)),
    "product rule with one term": (grad(s(theta) * theta, theta), rules.product_rule, s(theta)),
    "product rule through a stop": (grad(stop(theta) * theta, theta), rules.product_rule, 2 * theta),
    "leibniz without the density": (grad(Over(p(b) * f(b), b), theta), rules.leibniz, Over(p(b) * grad(f(b), theta), b)),
    "normalisation of another law": (Over(p(finite("b", phi), at=b), b), rules.normalisation, 1 + 0 * c),
    "normalisation of a square": (Over(p(b) ** 2, b), rules.normalisation, 1 + 0 * c),
    "log derivative without the density": (Over(grad(p(b), theta), b), rules.log_derivative_trick, Over(score(b), b)),
    "score of another parameter": (grad(log(p(b)), theta), rules.score_definition, score(b, phi)),
    "mean of a square of the score": (E(score(b) ** 2, b), rules.mean_score, 0 * c),
    "mean of another score": (E(score(finite("b", theta, law="q"), at=b), b), rules.mean_score, 0 * c),
    "score function without its own gradient": (
        grad(E(f(b, theta), b), theta), rules.score_function_estimator, E(f(b, theta) * score(b), b)
    ),
    "pathwise with the score": (grad(E(noisy, epsilon), theta), rules.pathwise_gradient, E(noisy, epsilon)),
    "exchange of the roles": (E(E(f(b1, b2) * c, b2), b1), rules.exchange, E(E(f(b2, b1) * f(b1), b2), b1)),
    "reparameterization without the scale": (E(f(scaled), scaled), by_noise, at_noise),
    "reparameterization of what is stopped": (E(stop(z), z), by_noise, E(stop(theta + epsilon), epsilon)),
    "reparameterization by other noise": (E(f(z), z), rules.reparameterization(u), E(f(theta + u), u)),
    "a relaxation at another parameter": (
        E(f(maps.H(maps.h(u, phi))), u), by_outcome, E(f(b), b)
    ),
    "a relaxation at a stopped parameter": (
        E(f(maps.H(maps.h(u, stop(theta)))), u), by_outcome, E(f(b), b)
    ),
    "another law without the ratio": (E(f(b), b), by_behaviour, E(f(behaviour), behaviour)),
    "another law with the ratio upside down": (E(f(b), b), by_behaviour, E(f(behaviour) / ratio, behaviour)),
    "a mirror image with a lost sign": (E(f(epsilon) * epsilon, epsilon), rules.reflection, E(f(-epsilon) * epsilon, epsilon)),
    "a mirror image of what is stopped": (E(stop(z), z), rules.reflection, E(stop(2 * theta - z), z)),
    "a normal score without the variance": (E(score(scaled, theta), scaled), rules.normal_score, E(scaled - theta, scaled)),
    "the value of a stop below a gradient": (grad(stop(s(theta)), theta), rules.value_of_stop, grad(s(theta), theta)),
    "the value of a stop in a box below a gradient": (grad(box * f(b), theta), rules.value_of_stop, grad(f(b), theta)),
    "the value of a stop in the law of a score": (
        score(normal("z", stop(s(theta)), 1), theta, at=x), rules.value_of_stop, score(normal("z", s(theta), 1), theta, at=x)
    ),
    "a relaxation that keeps its noise": (E(f(hard) * s(latent), u), by_outcome, E(f(b) * s(latent), b)),
}  # fmt: skip

PREMISES = {
    "Differentiable": (Differentiable, grad(Over(p(b) * f(b), b), theta), rules.leibniz, Over(grad(p(b), theta) * f(b), b)),
    "Dominated": (
        Dominated, grad(E(noisy, epsilon), theta), rules.pathwise_gradient, E(grad(noisy, theta), epsilon)
    ),
    "Integrable": (Integrable, E(f(epsilon) + epsilon, epsilon), rules.linearity, E(f(epsilon), epsilon) + E(epsilon, epsilon)),
    "JointlyIntegrable": (JointlyIntegrable, E(E(f(u, v), v), u), rules.exchange, E(E(f(u, v), u), v)),
    "SupportFixed": (SupportFixed, E(score(t), t), rules.mean_score, 0 * c),
    "NonZero": (NonZero, x / y * y, rules.algebra, x),
    "Positive": (Positive, exp(log(x)), rules.algebra, x),
    "Positive, of a scale": (Positive, E(f(scaled), scaled), by_noise, at_scaled_noise),
    "Positive, of a density": (Positive, grad(log(p(b, at=x)), theta), rules.score_definition, score(b, at=x)),
    "Covers": (Covers, E(f(b), b), by_behaviour, E(ratio * f(behaviour), behaviour)),
    "NonZero, of a new divisor": (NonZero, E(f(b) / s(b), b), by_behaviour, E(ratio * f(behaviour) / s(behaviour), behaviour)),
    "SupportFixed, where a stop parts laws": (
        SupportFixed, E(f(t), t), rules.change_of_law(frozen_t), E(p(t, at=frozen_t) / p(frozen_t) * f(frozen_t), frozen_t)
    ),
    "Positive, of the scale of a score": (
        Positive, score(scaled, theta, at=x), rules.normal_score, (x - theta) / phi**2
    ),
    "Differentiable, of a location": (
        Differentiable, score(normal("z", f(theta), 1), theta, at=x), rules.normal_score, (x - f(theta)) * grad(f(theta), theta)
    ),
    "ConditionalReparameterization": (
        ConditionalReparameterization, E(f(hard), u), by_outcome, E(f(b), b)
    ),
}  # fmt: skip

FAILING = {
    "a support that moves": (E(score(moving), moving), rules.mean_score, 0 * c),
    "a jump": (grad(E(f(hard), u), theta), rules.pathwise_gradient, E(grad(f(hard), theta), u)),
    "a step": (grad(E(jumping, epsilon), theta), rules.pathwise_gradient, E(grad(jumping, theta), epsilon)),
    "an indicator": (
        grad(E(p(moving, at=u) * u, u), theta), rules.pathwise_gradient, E(grad(p(moving, at=u) * u, theta), u)
    ),
    "an integrand that outgrows its density": (
        grad(E(exp(theta * epsilon + epsilon**2), epsilon), theta), rules.pathwise_gradient,
        E(epsilon * exp(theta * epsilon + epsilon**2), epsilon),
    ),
    "an energy": (E(score(energy), energy), rules.mean_score, 0 * c),
    "a law that moves": (grad(E(f(b), b), theta), rules.pathwise_gradient, E(grad(f(b), theta), b)),
    "a conditional law": (E(E(f(a, b), a), b), rules.exchange, E(E(f(b1, b), b), b1)),
    "a logarithm of what is negative": (exp(log(-exp(x))), rules.algebra, -exp(x)),
    "a uniform law for a normal one": (E(f(epsilon), epsilon), rules.change_of_law(u), E(p(epsilon, at=u) * f(u), u)),
    "a shorter interval": (E(f(u), u), rules.change_of_law(short), E(p(u, at=short) / 2 * f(short), short)),
    "a normal law whose location jumps": (
        score(normal("z", f(hard), 1), theta, at=x), rules.normal_score, (x - f(hard)) * grad(f(hard), theta)
    ),
    "a quotient by a normal variable": (E(1 / z + z, z), rules.linearity, E(1 / z, z) + E(z, z)),
}  # fmt: skip


@pytest.mark.parametrize(("start", "step"), RIGHT)
def test_a_right_step_passes(start, step):
    assert calc(start, step).theorem


@pytest.mark.parametrize("name", STEPS)
def test_a_wrong_step_is_refused(name):
    start, rewrite, wrong = STEPS[name]
    with pytest.raises(GradproofError, match=rf"step 1 \({rewrite.name}\) is refused"):
        calc(start, (rewrite, wrong), assuming=EVERYTHING)


@pytest.mark.parametrize("name", PREMISES)
def test_a_step_whose_premise_may_not_be_assumed_is_refused(name):
    kind, start, rewrite, line = PREMISES[name]
    assert any(isinstance(premise, kind) for premise in calc(start, (rewrite, line)).theorem.assumptions)
    with pytest.raises(GradproofError, match=rf"step 1 \({rewrite.name}\) is refused"):
        calc(start, (rewrite, line), assuming=Without(kind))


@pytest.mark.parametrize("name", FAILING)
def test_a_step_whose_premise_fails_is_refused_whatever_is_assumed(name):
    start, rewrite, line = FAILING[name]
    with pytest.raises(GradproofError, match=rf"step 1 \({rewrite.name}\) is refused"):
        calc(start, (rewrite, line), assuming=EVERYTHING)


def test_a_line_in_which_one_variable_is_two_values_is_refused():
    with pytest.raises(ScopeError, match="bind it outside"):
        calc(E(E(f(a, b), a), b), (rules.exchange, Expect(Expect(f(a, b), b), a)))


# How far it got

AIM = grad(E(f(b), b), theta)


def test_a_step_that_is_refused_is_shown_with_the_line_before_and_the_line_that_does_not_follow():
    wrong = (f(b) - c) * score(b)
    steps = [(rules.score_function_estimator, E(f(b) * score(b), b)), (rules.linearity, E(wrong, b))]
    found = prove(Estimator("mine", wrong, (b,), AIM, derivation=lambda: calc(AIM, *steps)))
    assert found.verdict == "proved"
    (said,) = found.tried
    assert said.startswith(BY_HAND)
    assert "step 2 (linearity)" in said
    assert "stands: E_b[f(b) * d_theta log p(b; theta)]." in said
    assert said.endswith("does not follow: E_b[(f(b) - c) * d_theta log p(b; theta)]")
    assert BY_HAND in str(found)


def test_a_derivation_may_be_given_as_it_is():
    chain = calc(AIM, (rules.score_function_estimator, E(f(b) * score(b), b)))
    found = prove(Estimator("mine", f(b) * score(b), (b,), AIM, derivation=chain), search=False)
    assert (found.verdict, found.tried, len(found.derivation.lines)) == ("proved", (), 2)


@pytest.mark.parametrize("wrong", [lambda line: line, "linearity", lambda: 1])
def test_what_is_no_derivation_is_refused_with_what_was_expected(wrong):
    with pytest.raises(UsageError, match="calc` returns"):
        prove(Estimator("mine", f(b) * score(b), (b,), AIM, derivation=wrong))
