"""For each premise of each rule there is a case in which only that premise is broken, and the rule refuses by its name."""

from __future__ import annotations

from fractions import Fraction

import pytest

from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING, Covers, Differentiable, Dominated, Premise, SupportFixed, consult
from derive.language.errors import PremiseError, RuleError
from derive.language.term import Number, RandomVariable, Score
from derive.notation import (
    E,
    Over,
    choice,
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
from derive.proofs.calc import calc
from derive.proofs.rules import (
    algebra,
    conditional_marginalization,
    control_variate_correction,
    expectation,
    leibniz,
    linearity,
    log_derivative,
    log_derivative_trick,
    mean_score,
    pathwise,
    score_function,
    score_function_estimator,
    zero_mean_baseline,
    zero_mean_score,
)

theta, x, y = parameter("theta"), constant("x"), constant("y")
b = finite("b", theta)
first, second = copies(b, 2)
f, C, smooth = function("f"), function("C"), function("g", differentiable=True)
rough = function("r", differentiable=False)
u, v, epsilon = uniform("u"), uniform("v"), normal("epsilon")
moving, fixed = uniform("x", 0, theta), uniform("x", 0, 1)
abstract = continuous("t", theta)
relaxed = relaxation(b)
latent = relaxed.h(u, theta)
half = Fraction(1, 2)
raw, unequal = choice("r", (1, x), (0, 1 - x)), choice("r", (1, x), (0, x))


def refuses(premise: str, rule, *args, **kwargs) -> None:
    with pytest.raises(PremiseError, match=rf"refuses: {premise} (fails|is not decided)"):
        rule(*args, **kwargs)


# Premises that fail


def test_leibniz_refuses_a_support_that_moves():
    refuses("SupportFixed", kernel.leibniz, grad(Over(p(moving) * f(moving), moving), theta), assuming=EVERYTHING)
    assert kernel.leibniz(grad(Over(p(fixed) * smooth(fixed, theta), fixed), theta), assuming=EVERYTHING)


def test_leibniz_refuses_an_integrand_that_jumps():
    refuses("Differentiable", kernel.leibniz, grad(Over(p(u) * f(relaxed.H(latent)), u), theta), assuming=EVERYTHING)
    assert kernel.leibniz(grad(Over(p(u) * smooth(latent), u), theta), assuming=EVERYTHING)


def test_leibniz_refuses_a_swap_that_is_not_dominated():
    def swap(growth):
        return grad(Over(p(epsilon) * exp(theta + growth * epsilon**2), epsilon), theta)

    refuses("Dominated", kernel.leibniz, swap(half), assuming=EVERYTHING)
    assert kernel.leibniz(swap(Fraction(1, 3))).assumptions == frozenset()


def test_linearity_refuses_a_summand_without_an_integral():
    refuses("Integrable", kernel.linearity, E(exp(half * epsilon**2) + epsilon, epsilon), assuming=EVERYTHING)
    assert kernel.linearity(E(exp(Fraction(1, 3) * epsilon**2) + epsilon, epsilon)).assumptions == frozenset()


def test_linearity_refuses_a_denominator_that_may_vanish():
    refuses("NonZero", kernel.linearity, E(f(b) / x + f(b), b))
    assert kernel.linearity(E(f(b) / x + f(b), b), assuming=EVERYTHING)
    with pytest.raises(RuleError, match="identically zero"):
        kernel.linearity(E(f(b) / (x - x), b), assuming=EVERYTHING)


def test_algebra_refuses_a_denominator_that_may_vanish():
    refuses("NonZero", kernel.algebra, x / y * y, x)
    assert kernel.algebra(x / y * y, x, assuming=EVERYTHING)
    assert kernel.algebra(x / exp(y) * exp(y), x).assumptions == frozenset()
    positive = 2 * exp(y) ** 3 + p(b) * exp(x)
    assert kernel.algebra(x / positive * positive, x).assumptions == frozenset()
    refuses("NonZero", kernel.algebra, x / (exp(y) - exp(x)) * (exp(y) - exp(x)), x)


def test_algebra_and_linearity_refuse_a_logarithm_of_what_may_not_be_positive():
    refuses("Positive", kernel.algebra, exp(log(x)), x)
    refuses("Positive", kernel.linearity, E(exp(log(x)) * f(b) + f(b), b))
    assert kernel.algebra(exp(log(x)), x, assuming=EVERYTHING)
    assert kernel.linearity(E(exp(log(x)) * f(b) + f(b), b), assuming=EVERYTHING)


def test_definition_refuses_a_score_where_the_density_may_be_zero():
    refuses("Positive", kernel.definition, score(b, at=x))
    assert kernel.definition(score(b, at=x), assuming=EVERYTHING)


def test_reparameterize_refuses_a_scale_that_may_not_be_positive():
    sample = normal("z", theta, x)
    refuses("Positive", kernel.reparameterize, E(f(sample), sample), epsilon)
    assert kernel.reparameterize(E(f(sample), sample), epsilon, assuming=EVERYTHING)


def test_outcomes_refuses_numbers_that_are_no_law():
    refuses("Normalised", kernel.outcomes, E(f(unequal), unequal), assuming=EVERYTHING)
    refuses("NotNegative", kernel.outcomes, E(f(raw), raw))
    assert kernel.outcomes(E(f(raw), raw), assuming=EVERYTHING)


def test_outcomes_refuses_the_score_of_what_cannot_happen():
    never, once = (Score(raw.law, Number(Fraction(value)), x) for value in (7, 1))
    refuses("Positive", kernel.outcomes, never, assuming=EVERYTHING)
    refuses("Positive", kernel.outcomes, once)
    assert kernel.outcomes(once, assuming=EVERYTHING)


other, still = finite("a", law="q"), RandomVariable("t", abstract.law.with_terms((stop(theta),)))


def test_change_of_law_refuses_a_law_that_does_not_cover():
    wide, part = uniform("w", -1, 2), uniform("w", 0, half)
    refuses("Covers", kernel.change_of_law, E(f(u), u), part, assuming=EVERYTHING)
    refuses("Covers", kernel.change_of_law, E(f(epsilon), epsilon), u, assuming=EVERYTHING)
    refuses("Covers", kernel.change_of_law, E(f(b), b), other)
    assert kernel.change_of_law(E(f(u), u), wide).assumptions == frozenset()
    assert kernel.change_of_law(E(f(u), u), epsilon).assumptions == frozenset()


def test_change_of_law_refuses_a_law_that_may_be_none():
    sample = normal("z", theta, x)
    refuses("Positive", kernel.change_of_law, E(f(epsilon), epsilon), sample)
    energy = continuous("t", normalised=False)
    refuses("Normalised", kernel.change_of_law, E(f(abstract), abstract), energy, assuming=EVERYTHING)
    assert kernel.change_of_law(E(f(epsilon), epsilon), sample, assuming=EVERYTHING)


def test_change_of_law_refuses_supports_that_a_stop_parts():
    """U(0, theta) covers U(0, stop(theta)) in value, and not as theta moves."""
    frozen = uniform("y", 0, stop(theta))
    refuses("SupportFixed", kernel.change_of_law, E(f(moving), moving), frozen, assuming=EVERYTHING)
    refuses("SupportFixed", kernel.change_of_law, E(f(frozen), frozen), moving, assuming=EVERYTHING)
    theorem = kernel.change_of_law(E(f(abstract), abstract), RandomVariable("s", still.law), assuming=EVERYTHING)
    assert "SupportFixed" in {premise.name for premise in theorem.assumptions}


@pytest.mark.parametrize(
    ("body", "premise"),
    [
        (lambda at: f(at) / p(b, at=at), "NonZero"),
        (lambda at: f(at) * log(p(b, at=at)), "Positive"),
        (lambda at: f(at) * score(b, at=at), "Positive"),
        (lambda at: grad(f(at, theta), theta), "Differentiable"),
        (lambda at: E(f(at, epsilon), epsilon), "Integrable"),
    ],
)
def test_change_of_law_refuses_what_may_have_no_value_where_nothing_was_drawn_before(body, premise):
    covered = frozenset({Covers(p(other), p(b, at=other))})
    refuses(premise, kernel.change_of_law, E(body(b), b), other, assuming=covered)
    assert kernel.change_of_law(E(body(b), b), other, assuming=EVERYTHING)


def test_normal_score_refuses_a_scale_that_may_not_be_positive():
    refuses("Positive", kernel.normal_score, score(normal("z", theta, x), theta))
    assert kernel.normal_score(score(normal("z", theta, 2), theta)).assumptions == frozenset()


def test_normal_score_refuses_parameters_and_points_that_jump():
    jumps = f(relaxed.H(latent))
    refuses("Differentiable", kernel.normal_score, score(normal("z", jumps, 1), theta), assuming=EVERYTHING)
    refuses("Differentiable", kernel.normal_score, score(normal("z", theta, exp(rough(theta))), theta), assuming=EVERYTHING)
    refuses("Differentiable", kernel.normal_score, grad(log(p(normal("z", theta, 1), at=jumps)), theta), assuming=EVERYTHING)
    assert kernel.normal_score(score(normal("z", theta, 1), theta, at=jumps)).assumptions == frozenset()


def test_a_density_is_positive_at_its_own_variable_only():
    assert kernel.algebra(p(b) / p(b), constant("x") ** 0).assumptions == frozenset()
    refuses("NonZero", kernel.algebra, p(fixed, at=x) / p(fixed, at=x), x**0)


def test_differentiate_refuses_a_factor_that_jumps_or_is_declared_rough():
    refuses("Differentiable", kernel.differentiate, grad(theta * f(relaxed.H(latent)), theta), assuming=EVERYTHING)
    refuses("Differentiable", kernel.differentiate, grad(theta * rough(theta), theta), assuming=EVERYTHING)
    assert kernel.differentiate(grad(theta * smooth(theta), theta)).assumptions == frozenset()


def test_chain_refuses_a_point_that_jumps_and_a_slope_that_may_have_none():
    smooth, latent = function("smooth", differentiable=True), relaxation(b)
    jumping = smooth(latent.H(latent.h(uniform("u"), theta)) + theta)
    with pytest.raises(PremiseError, match=r"chain refuses: Differentiable fails.*jumps"):
        kernel.chain(grad(jumping, theta), assuming=EVERYTHING)
    with pytest.raises(PremiseError, match="chain refuses: Differentiable is not decided"):
        kernel.chain(grad(smooth.slope(theta), theta))
    assert not kernel.chain(grad(smooth(theta**2), theta)).assumptions


def test_normalisation_refuses_an_energy():
    energy = continuous("t", theta, normalised=False)
    refuses("Normalised", kernel.normalisation, Over(p(energy), energy), assuming=EVERYTHING)
    assert kernel.normalisation(Over(p(abstract), abstract)).assumptions == frozenset()


def test_exchange_refuses_a_law_that_depends_on_the_other_variable():
    inner = finite("c", theta, law="q", given=(b,))
    refuses("Independent", kernel.exchange, E(E(f(b, inner), inner), b), assuming=EVERYTHING)
    assert kernel.exchange(E(E(f(first, second), second), first)).assumptions == frozenset()


def test_a_baseline_that_depends_on_its_own_sample_is_refused_without_its_correction():
    refuses("Independent", zero_mean_baseline, C(b), b, theta)
    assert zero_mean_baseline(x, b, theta)
    assert control_variate_correction(f(b), C(b), b, theta)


def test_pathwise_refuses_a_law_that_moves_with_the_parameter():
    sample = normal("z", theta, 1)
    refuses("Independent", pathwise, grad(E(smooth(sample), sample), theta))
    assert pathwise(grad(E(smooth(theta + epsilon), epsilon), theta))


def test_pathwise_refuses_a_jump():
    with pytest.raises(PremiseError, match="Differentiable fails, because the threshold H jumps"):
        pathwise(grad(E(f(relaxed.H(latent)), u), theta))
    assert pathwise(grad(E(smooth(latent), u), theta))


@pytest.mark.parametrize("theorem", [zero_mean_score, lambda x, theta: score_function(f(x), x, theta)])
def test_no_score_identity_holds_on_uniform_zero_to_theta(theorem):
    with pytest.raises(PremiseError, match="SupportFixed fails, because the bounds of the uniform law of x move with theta"):
        theorem(moving, theta)


def test_conditional_marginalization_refuses_a_relaxation_of_another_law():
    other = finite("b", theta, law="q")
    with pytest.raises(RuleError, match="does not stand where the law of b does"):
        conditional_marginalization(grad(E(smooth(latent), u), theta), other, v)


# Premises that cannot be decided must be assumed


@pytest.mark.parametrize(
    ("rule", "args", "needed"),
    [
        (kernel.leibniz, (grad(Over(p(abstract) * f(abstract), abstract), theta),), "SupportFixed"),
        (kernel.leibniz, (grad(Over(p(b) * f(b), b), theta),), "Differentiable"),
        (kernel.leibniz, (grad(Over(p(epsilon) * smooth(theta * epsilon), epsilon), theta),), "Dominated"),
        (kernel.differentiate, (grad(theta * f(theta), theta),), "Differentiable"),
        (kernel.linearity, (E(f(epsilon) + 1, epsilon),), "Integrable"),
        (kernel.exchange, (E(E(f(u, v), v), u),), "JointlyIntegrable"),
        (kernel.conditional_reparameterize, (E(f(relaxed.H(latent)), u), b, v), "ConditionalReparameterization"),
    ],
)
def test_a_premise_that_cannot_be_decided_is_refused_unless_assumed_and_then_travels(rule, args, needed):
    with pytest.raises(PremiseError, match=rf"{needed} is not decided and was not assumed"):
        rule(*args)
    theorem = rule(*args, assuming=EVERYTHING)
    assert needed in {premise.name for premise in theorem.assumptions}
    assert rule(*args, assuming=theorem.assumptions).assumptions == theorem.assumptions


def test_assuming_something_else_does_not_help():
    wrong = frozenset[Premise]({Differentiable(p(first), parameter("phi")), SupportFixed(b, theta)})
    refuses("Differentiable", kernel.leibniz, grad(Over(p(b) * f(b), b), theta), assuming=wrong)


def test_a_premise_that_fails_cannot_be_assumed():
    premise = SupportFixed(moving, theta)
    refuses("SupportFixed", kernel.leibniz, grad(Over(p(moving), moving), theta), assuming=frozenset({premise}))


# What is decided


def test_polynomials_under_a_normal_law_are_dominated_and_what_outgrows_it_is_not():
    def verdict(integrand):
        return consult(Dominated(epsilon, p(epsilon) * integrand, theta))

    assert verdict((theta + epsilon) ** 4) == verdict(exp(theta * epsilon)) == verdict(exp(-(epsilon**4)))
    assert not verdict((theta + epsilon) ** 4).failure
    assert verdict(exp(epsilon**3)).failure
    assert verdict(exp(epsilon**4)).failure
    assert verdict(exp(x * epsilon**2)).needs
    assert verdict(f(epsilon)).needs
    assert consult(Dominated(epsilon, epsilon**2, theta)).needs, "without the density nothing falls"


# Shapes

SIDED = (kernel.linearity, kernel.exchange, kernel.conditional_reparameterize, kernel.change_of_law, kernel.normal_score)


@pytest.mark.parametrize(
    ("rule", "args"),
    [
        (kernel.definition, (f(b),)),
        (kernel.definition, (score(b, at=relaxed.H(latent)),)),
        (kernel.differentiate, (f(b),)),
        (kernel.linearity, (f(b),)),
        (kernel.leibniz, (grad(f(b), theta),)),
        (kernel.normalisation, (Over(f(b), b),)),
        (kernel.exchange, (E(f(b), b),)),
        (kernel.exchange, (E(E(f(b), b), b),)),
        (kernel.reparameterize, (E(f(b), b), epsilon)),
        (kernel.reparameterize, (E(f(normal("z", x, y)), normal("z", x, y)), u)),
        (kernel.reparameterize, (E(f(normal("z", x, y), epsilon), normal("z", x, y)), epsilon)),
        (kernel.conditional_reparameterize, (E(f(b), b), b, v)),
        (kernel.conditional_reparameterize, (E(f(u), u), b, v)),
        (kernel.conditional_reparameterize, (E(f(latent) * f(u), u), b, v)),
        (kernel.conditional_reparameterize, (E(grad(smooth(latent), theta), u), b, v)),
        (kernel.conditional_reparameterize, (E(f(latent) * f(v), u), b, v)),
        (kernel.change_of_law, (f(b), other)),
        (kernel.change_of_law, (E(f(b), b), u)),
        (kernel.change_of_law, (E(f(u), u), b)),
        (kernel.change_of_law, (E(f(b, other), b), other)),
        (kernel.change_of_law, (E(f(b), b), finite("c", law="r", given=(b,)))),
        (kernel.change_of_law, (E(p(normal("z", 0, b), at=x), b), other)),
        (kernel.reflect, (f(epsilon),)),
        (kernel.reflect, (E(f(b), b),)),
        (kernel.reflect, (E(f(abstract), abstract),)),
        (kernel.reflect, (E(stop(f(moving)), moving),)),
        (kernel.reflect, (E(grad(f(moving, theta), theta), moving),)),
        (kernel.normal_score, (score(b),)),
        (kernel.normal_score, (grad(log(p(b)), theta),)),
        (kernel.normal_score, (p(epsilon),)),
        (kernel.stopped_value, (f(b),)),
        (kernel.chain, (grad(f(theta), theta),)),
        (kernel.chain, (grad(function("two", differentiable=True)(theta, b), theta),)),
        (kernel.chain, (grad(relaxation(b).h(uniform("u"), theta), theta),)),
        (kernel.conditional_reparameterize, (E(f(latent) * f(b), u), b, v)),
        (kernel.conditional_reparameterize, (E(E(f(latent, v), v), u), b, v)),
        (kernel.transitivity, (kernel.reflexivity(x), kernel.reflexivity(y))),
        (kernel.congruence, (x + y, ((0,), kernel.reflexivity(y)))),
        (kernel.congruence, (x + y, ((0,), kernel.reflexivity(x)), ((1,), kernel.reflexivity(x)))),
        (kernel.congruence, (x + y, ((0,), kernel.reflexivity(x)), ((0,), kernel.reflexivity(x)))),
        (kernel.congruence, (x + f(y), ((1,), kernel.reflexivity(f(y))), ((1, 0), kernel.reflexivity(y)))),
        (kernel.congruence, (x + y, ((7,), kernel.reflexivity(y)))),
        (kernel.congruence, (E(f(b), b), ((0,), kernel.reflexivity(theta)))),
        (kernel.algebra, (x, y)),
        (kernel.algebra, (f(first), f(second))),
    ],
)
def test_a_rule_refuses_terms_of_another_shape(rule, args):
    kwargs = {"assuming": EVERYTHING} if rule in SIDED else {}
    with pytest.raises(RuleError):
        rule(*args, **kwargs)


# Famous wrong derivations


def test_a_chain_that_drops_the_correction_of_a_control_variate_is_refused():
    with pytest.raises(RuleError, match=r"step 2 \(zero_mean_score\) is refused"):
        calc(
            grad(E(f(b), b), theta),
            (score_function_estimator, E(f(b) * score(b), b)),
            (mean_score, E((f(b) - C(b)) * score(b), b)),
        )


def test_a_chain_that_forgets_that_the_integrand_depends_on_the_parameter_is_refused():
    with pytest.raises(RuleError, match=r"step 1 \(score_function\) is refused"):
        calc(grad(E(f(b, theta), b), theta), (score_function_estimator, E(f(b, theta) * score(b), b)))


def test_a_chain_with_a_wrong_sign_or_factor_is_refused():
    with pytest.raises(RuleError, match="does not lead to this line"):
        calc(E(2 * f(b), b), (linearity, 3 * E(f(b), b)))
    with pytest.raises(RuleError, match="step 1"):
        calc(Over(grad(p(b), theta) * f(b), b), (log_derivative_trick, -Over(p(b) * score(b) * f(b), b)))


def test_a_step_under_the_wrong_name_is_refused():
    with pytest.raises(RuleError, match=r"step 1 \(algebra\) is refused"):
        calc(E(f(b), b), (algebra, Over(p(b) * f(b), b)))
    with pytest.raises(RuleError, match=r"step 1 \(leibniz\) is refused"):
        calc(E(f(b), b), (leibniz, Over(p(b) * f(b), b)))


def test_a_chain_may_not_assume_what_its_author_did_not_allow():
    steps = ((expectation, grad(Over(p(b) * f(b), b), theta)), (leibniz, Over(grad(p(b), theta) * f(b), b)))
    assert calc(grad(E(f(b), b), theta), *steps).theorem.assumptions
    with pytest.raises(PremiseError, match=r"step 2 \(leibniz\) is refused: .*Differentiable is not decided"):
        calc(grad(E(f(b), b), theta), *steps, assuming=frozenset())


def test_the_log_derivative_is_refused_where_the_density_is_not_differentiable():
    refuses("Differentiable", log_derivative, b.law, b, theta, assuming=frozenset())
    with pytest.raises(RuleError):
        log_derivative(b.law, relaxed.H(latent), theta)
