"""What was once a false theorem is refused, and its true twin holds with every condition that it needs."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest

from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING, Covers, Dominated, Integrable, NonZero, Positive, consult
from derive.language.errors import PremiseError, RuleError, ScopeError, UsageError
from derive.language.scope import alpha_equal, free
from derive.language.term import Apply, Expect, Grad, Log, RandomVariable, Stop
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
    sigmoid,
    stop,
    uniform,
)

theta, phi, c, x, y = parameter("theta"), parameter("phi"), constant("c"), constant("x"), constant("y")
b = finite("b", theta)
b1, b2 = copies(b, 2)
a = finite("a", theta, law="q", given=(b,))
f, g, smooth = function("f"), function("g"), function("s", differentiable=True)
u, v, epsilon = uniform("u"), uniform("v"), normal("epsilon")
z = normal("z", theta, 1)
q = continuous("t", theta, law="q")
relaxed = relaxation(b)
half = Fraction(1, 2)


def needs(theorem) -> set[str]:
    return {premise.name for premise in theorem.assumptions}


# 1. Names of bound variables


def nested(*inner):
    return E(E(f(*inner), b2), b1)


def test_a_variable_under_two_binders_is_not_captured():
    with pytest.raises(RuleError, match="not the same"):
        kernel.algebra(Expect(Expect(f(b1, b2), b2) - Expect(f(b2, b2), b2), b1), Expect(0 * c, b1))
    with pytest.raises(RuleError, match="not the same"):
        kernel.algebra(nested(b1, b2), nested(b2, b2))
    assert kernel.algebra(nested(b1, b2), Expect(Expect(f(b2, b1), b1), b2)).assumptions == frozenset()


@pytest.mark.parametrize("around", [lambda t: f(t), lambda t: stop(t), lambda t: 1 / (1 + exp(t)), lambda t: log(exp(t) + 1)])
@pytest.mark.parametrize("binder", [Expect, Over])
def test_no_atom_around_a_binder_loses_its_depth(around, binder):
    def term(first, second):
        return binder(around(binder(around(binder(f(first, second), b)), b2)), b1)

    with pytest.raises(RuleError, match="not the same"):
        kernel.algebra(term(b1, b2), term(b2, b1))
    with pytest.raises(RuleError, match="not the same"):
        kernel.algebra(term(b1, b2), term(b1, b))
    renamed = binder(around(binder(around(binder(f(b2, b1), b)), b1)), b2)
    assert kernel.algebra(term(b1, b2), renamed, assuming=EVERYTHING)


def test_terms_are_equal_where_a_binder_inside_them_vanishes():
    assert kernel.algebra(E(0 * E(f(b2), b2) + f(b1), b1), E(f(b1), b1))


# 2. Exchange


def test_exchange_refuses_an_outer_law_that_mentions_the_inner_variable():
    with pytest.raises(PremiseError, match="Independent fails, because the term depends on b"):
        kernel.exchange(Expect(Expect(f(a, b), b), a), assuming=EVERYTHING)
    for law in (normal("w", b, 1), normal("w", 0, exp(b)), uniform("w", b, b + 1)):
        for term in (Expect(Expect(f(law, b), b), law), Expect(Expect(f(law, b), law), b)):
            with pytest.raises(PremiseError, match="Independent fails"):
                kernel.exchange(term, assuming=EVERYTHING)


def test_no_theorem_speaks_of_a_variable_that_is_two_values():
    with pytest.raises(ScopeError, match="bind it outside"):
        kernel.reflexivity(Expect(Expect(f(a, b), b), a))
    with pytest.raises(ScopeError, match="bind it outside"):
        kernel.congruence(Expect(f(b), b), ((1,), kernel.assume(f(b), g(a))))


# 3. The latent variable stands where the law does


def conditional(*at):
    return kernel.conditional_reparameterize(E(f(relaxed.H(Apply(relaxed.h, (u, *at)))), u), b, v, assuming=EVERYTHING)


@pytest.mark.parametrize("at", [(stop(theta),), (phi,), (theta + c,), (), (theta, theta), (2 * theta,), (0 * theta + 1,), (b,)])
def test_a_latent_variable_elsewhere_has_another_law(at):
    with pytest.raises(RuleError, match=r"does not stand where the law of b does|unused outcome"):
        conditional(*at)
    assert needs(conditional(theta)) == {"ConditionalReparameterization"}


def test_the_parameters_of_a_latent_variable_come_in_the_order_of_its_law():
    two = finite("b", theta, phi)
    maps = relaxation(two)
    swapped = E(f(maps.H(maps.h(u, phi, theta))), u)
    with pytest.raises(RuleError, match="does not stand"):
        kernel.conditional_reparameterize(swapped, two, v, assuming=EVERYTHING)
    assert kernel.conditional_reparameterize(E(f(maps.H(maps.h(u, theta, phi))), u), two, v, assuming=EVERYTHING)


def test_a_conditional_latent_variable_needs_its_condition():
    maps = relaxation(a)
    hard = maps.H(Apply(maps.h, (u, theta, b)))
    theorem = kernel.conditional_reparameterize(E(f(hard), u), a, v, assuming=EVERYTHING)
    assert theorem.rhs == Expect(f(a), a)
    for at in ((theta,), (theta, theta), (theta, b1)):
        with pytest.raises(RuleError, match="does not stand"):
            kernel.conditional_reparameterize(E(f(maps.H(Apply(maps.h, (u, *at)))), u), a, v, assuming=EVERYTHING)


@pytest.mark.parametrize(
    "body",
    [
        stop(f(relaxed.H(relaxed.h(u, theta)))),
        stop(smooth(relaxed.h(u, theta))),
        grad(smooth(relaxed.h(u, theta)), theta),
        score(finite("d", theta, law="r", given=(relaxed.h(u, theta),)), theta, at=x),
    ],
)
def test_what_is_held_fixed_at_the_noise_is_not_held_fixed_at_the_latent_variable(body):
    """The mean of a stopped relaxation does not move, and the law of the outcome does."""
    with pytest.raises(RuleError, match="no function of the latent variable"):
        kernel.conditional_reparameterize(E(body, u), b, v, assuming=EVERYTHING)


@pytest.mark.parametrize("body", [stop(z), grad(z * theta, theta), score(finite("a", theta, law="q", given=(z,)), theta, at=x)])
def test_what_is_held_fixed_at_a_normal_variable_is_not_held_fixed_at_the_noise(body):
    """The derivative of E_z[stop(z)] is that of the mean of z, and the derivative of E[stop(theta + noise)] is zero."""
    with pytest.raises(RuleError, match="holds z fixed"):
        kernel.reparameterize(E(body, z), epsilon, assuming=EVERYTHING)
    assert kernel.reparameterize(E(score(b, at=z), z), epsilon, assuming=EVERYTHING)


# 4. Sizes


def test_an_abstract_density_is_not_known_to_be_bounded():
    swap = grad(Over(p(u) * p(q, at=u), u), theta)
    assert "Dominated" in needs(kernel.leibniz(swap, assuming=EVERYTHING))
    assert "Integrable" in needs(kernel.linearity(E(p(q, at=u) ** 2 + u, u), assuming=EVERYTHING))
    assert not needs(kernel.linearity(E(p(z, at=u) ** 2 + u, u)))


def test_a_density_whose_scale_or_bounds_move_with_the_noise_is_not_bounded():
    for law in (normal("w", 0, u), uniform("w", 0, u)):
        assert consult(Integrable(u, p(u) * p(law, at=x))).needs


# 5. A uniform density away from its own variable is an indicator


def test_a_uniform_density_jumps_where_its_bounds_move_against_the_point():
    w = uniform("w", 0, theta)
    for term in (p(w, at=u) * u, p(w, at=x), p(u, at=theta), p(uniform("w", theta, 1), at=u)):
        with pytest.raises(PremiseError, match="Differentiable fails, because a uniform density jumps"):
            kernel.differentiate(grad(theta * term, theta), assuming=EVERYTHING)
    own = kernel.differentiate(grad(theta * p(w), theta), assuming=EVERYTHING)
    assert own.assumptions == {Positive(theta)}


def test_a_score_away_from_its_own_variable_needs_a_positive_density():
    w = uniform("w", 0, 2)
    assert kernel.definition(score(uniform("w", 0, theta), theta)).assumptions == frozenset()
    for at in (u, x, w):
        with pytest.raises(PremiseError, match="Positive is not decided"):
            kernel.definition(score(uniform("w", 0, theta), theta, at=at))
    with pytest.raises(PremiseError, match="NonZero is not decided"):
        kernel.algebra(p(u, at=w) / p(u, at=w), 1 + 0 * c)


# 6. Logarithms


def test_a_logarithm_of_what_is_negative_is_none():
    with pytest.raises(PremiseError, match="Positive fails, because it is negative"):
        kernel.algebra(exp(Log(-exp(x))), -exp(x), assuming=EVERYTHING)
    with pytest.raises(PremiseError, match="Positive fails"):
        kernel.differentiate(grad(log(-exp(theta)), theta), assuming=EVERYTHING)
    with pytest.raises(PremiseError, match=r"Positive fails .*because its random variable takes values"):
        kernel.leibniz(grad(Over(p(epsilon) * log(theta + epsilon), epsilon), theta), assuming=EVERYTHING)


def test_exp_and_log_are_inverse_where_the_argument_is_positive():
    assert kernel.algebra(exp(log(x)), x, assuming=EVERYTHING).assumptions == {Positive(x)}
    assert kernel.algebra(exp(2 * log(x) - y), x**2 / exp(y), assuming=EVERYTHING).assumptions == {Positive(x)}
    assert kernel.algebra(log(exp(x)), x).assumptions == frozenset()
    assert kernel.differentiate(grad(log(theta), theta), assuming=EVERYTHING).assumptions == {Positive(theta)}
    with pytest.raises(RuleError, match="identically -1"):
        kernel.algebra(log(x - x - 1), x)


def test_logarithms_of_products_quotients_and_powers_split_where_the_factors_are_positive():
    assert kernel.algebra(log(exp(x) * p(b) / p(b1)), x + log(p(b)) - log(p(b1))).assumptions == frozenset()
    assert kernel.algebra(log(2 * exp(x) * y), log(y) + x + log(2), assuming=EVERYTHING).assumptions == {Positive(y)}
    split = kernel.algebra(log(x**2 / y), 2 * log(x) - log(y), assuming=EVERYTHING)
    assert split.assumptions == {Positive(x), Positive(y), NonZero(y)}
    assert kernel.algebra(E(log(f(b) * g(b)), b), E(log(f(b)) + log(g(b)), b), assuming=EVERYTHING)
    assert kernel.algebra(log(12), 2 * log(2) + log(3)).assumptions == frozenset()
    assert kernel.algebra(log(sigmoid(x)), x - log(1 + exp(x))).assumptions == frozenset()
    false = (log(x + y), log(x) + log(y)), (log(-x), -log(x)), (log(x * y), log(x) * log(y)), (log(x) / 2, log(x / 2))
    for left, right in false:
        with pytest.raises(RuleError, match="not the same"):
            kernel.algebra(left, right, assuming=EVERYTHING)


@pytest.mark.parametrize("term", [u, 1 - u, 2 + 3 * u, -log(u), u / (1 - u), uniform("w", 0, theta), exp(x) + u, x**0])
def test_what_is_positive_is_known(term):
    assert consult(Positive(term)) == consult(NonZero(term)) == kernel_holds()


def kernel_holds():
    return consult(Positive(exp(x)))


@pytest.mark.parametrize("term", [epsilon, c * z + 1, epsilon**3 - 1, u - Fraction(1, 2), x - x, -exp(x)])
def test_what_is_not_positive_is_known(term):
    assert consult(Positive(term)).failure
    assert bool(consult(NonZero(term)).failure) == (term != -exp(x))


def test_a_quotient_by_a_normal_variable_is_refused():
    with pytest.raises(PremiseError, match="NonZero fails"):
        kernel.linearity(E(1 / z + z, z), assuming=EVERYTHING)


# 7. Exponents, scales and bounds


def test_the_power_zero_is_one_everywhere():
    theorem = kernel.differentiate(grad(smooth(theta) ** 0, theta))
    assert kernel.algebra(theorem.rhs, 0 * c).assumptions == frozenset()
    assert kernel.algebra(x**0, 1 + 0 * c).assumptions == frozenset()


@pytest.mark.parametrize(
    "make",
    [lambda: normal("z", theta, 0), lambda: normal("z", theta, -1), lambda: uniform("x", 1, 0), lambda: uniform("x", 1, 1)],
)
def test_what_is_no_law_is_refused_when_it_is_made(make):
    with pytest.raises(UsageError, match="expected"):
        make()


def test_a_law_whose_terms_may_make_it_none_needs_a_premise():
    sample, box = normal("z", theta, phi), uniform("x", theta, phi)
    assert kernel.normalisation(Over(p(sample), sample), assuming=EVERYTHING).assumptions == {Positive(phi)}
    assert kernel.normalisation(Over(p(box), box), assuming=EVERYTHING).assumptions == {Positive(phi - theta)}
    assert kernel.reparameterize(E(f(sample), sample), epsilon, assuming=EVERYTHING).assumptions == {Positive(phi)}
    assert kernel.algebra(p(sample) / p(sample), 1 + 0 * c, assuming=EVERYTHING).assumptions == {Positive(phi)}
    for none in (normal("z", theta, phi - phi), normal("z", 0, -exp(phi))):
        with pytest.raises(PremiseError, match="Normalised fails"):
            kernel.reparameterize(E(f(none), none), epsilon, assuming=EVERYTHING)


# 8. Bounded


def test_a_differentiable_function_of_a_relaxed_outcome_is_not_bounded():
    soft = relaxed.sigma(relaxed.h(u, theta), c)
    assert consult(Integrable(u, p(u) * smooth(soft))).needs
    assert not consult(Integrable(u, p(u) * soft**2)).needs
    assert not consult(Integrable(u, p(u) * f(relaxed.H(relaxed.h(u, theta))))).needs


def test_two_outcomes_that_noise_decides_are_two_in_a_premise():
    first, second = relaxed.H(relaxed.h(u, theta)), relaxed.H(relaxed.h(v, theta))
    (premise,) = consult(Integrable(u, p(u) * f(b, first, second, relaxed.h(u, theta)))).needs
    points = {leaf.name for leaf in free(premise.term)} - {"theta", "u"}
    assert points == {"b", "b_1", "b_2"}


def test_a_dominated_product_says_nothing_of_a_factor_where_the_density_moves():
    moving = continuous("t", theta)
    inside = p(moving) * Grad(smooth(moving, theta), theta)
    (premise,) = consult(Integrable(moving, inside)).needs
    assert isinstance(premise, Integrable)
    still = continuous("t")
    (premise,) = consult(Integrable(still, p(still) * Grad(smooth(still, theta), theta))).needs
    assert isinstance(premise, Dominated)


def test_the_temperature_of_a_relaxation_is_positive():
    soft = relaxed.sigma(relaxed.h(u, theta), c)
    assert Positive(c) in kernel.differentiate(grad(theta * soft, theta), assuming=EVERYTHING).assumptions


def test_a_jump_inside_a_score_or_a_second_derivative_is_found():
    hard = relaxed.H(relaxed.h(u, theta))
    for term in (score(b, at=hard), grad(f(hard, theta), theta)):
        with pytest.raises(PremiseError, match="threshold H jumps"):
            kernel.leibniz(grad(Over(p(u) * term, u), theta), assuming=EVERYTHING)


# 9. Other laws, mirror images and values


def test_a_ratio_that_another_law_makes_zero_over_zero_is_not_cancelled():
    """E_b[f(b) / q(b)] sums f over the support of q, and the mean of f(a) / p(a) over a ~ p sums it over that of p."""
    old, new = finite("b", law="q"), finite("a", law="p")
    covers = Covers(p(new), p(old, at=new))
    with pytest.raises(PremiseError, match="NonZero is not decided"):
        kernel.change_of_law(E(f(old) / p(old), old), new, assuming=frozenset({covers}))
    assert kernel.change_of_law(E(f(old) / p(old), old), new, assuming=EVERYTHING).assumptions == {
        covers,
        NonZero(p(old, at=new)),
    }


@pytest.mark.parametrize(("low", "high"), [(0, half), (half, 2), (-1, half), (2, 3)])
def test_a_uniform_law_covers_no_point_outside_it(low, high):
    with pytest.raises(PremiseError, match="Covers fails, because"):
        kernel.change_of_law(E(f(u), u), uniform("w", low, high), assuming=EVERYTHING)


def test_an_interval_that_moves_covers_no_stopped_one_as_it_moves():
    """The derivatives of the two sides differ by the value at the end that moves."""
    moving, frozen = uniform("x", 0, theta), uniform("y", 0, stop(theta))
    for old, new in ((moving, frozen), (frozen, moving)):
        with pytest.raises(PremiseError, match="SupportFixed fails"):
            kernel.change_of_law(E(f(old), old), new, assuming=EVERYTHING)
    for old, new in ((z, normal("y", stop(theta), 1)), (normal("y", stop(theta), 1), z)):
        assert kernel.change_of_law(E(f(old), old), new).assumptions == frozenset()


def test_a_change_of_law_captures_no_variable():
    """The new variable is bound inside the expectation already, or stands in the law of another one."""
    new = finite("a", law="mu")
    inside = E(E(f(b, new), new), b)
    theorem = kernel.change_of_law(inside, new, assuming=EVERYTHING)
    other = RandomVariable("a_1", new.law)
    assert alpha_equal(theorem.rhs, E(p(b, at=new) / p(new) * E(f(new, other), other), new))
    chained = finite("c", law="r", given=(new,))
    with pytest.raises(ScopeError, match="bind it outside"):
        kernel.change_of_law(E(f(b, chained), b), new, assuming=EVERYTHING)


def test_a_condition_follows_the_variable_that_is_drawn_anew():
    new = finite("c", law="mu")
    theorem = kernel.change_of_law(E(E(f(a, b), a), b), new, assuming=EVERYTHING)
    given = RandomVariable("a", a.law.with_terms((theta, new)))
    assert alpha_equal(theorem.rhs, E(p(b, at=new) / p(new) * E(f(given, new), given), new))


def test_a_finite_law_covers_no_continuous_one():
    for old, new in ((b, z), (z, b), (b, u), (q, b)):
        with pytest.raises(RuleError, match="one is finite and the other one is not"):
            kernel.change_of_law(E(f(old), old), new, assuming=EVERYTHING)


@pytest.mark.parametrize("body", [stop(z), grad(z * theta, theta), score(finite("a", theta, law="q", given=(z,)), theta, at=x)])
def test_what_is_held_fixed_at_a_variable_is_not_held_fixed_at_its_mirror_image(body):
    with pytest.raises(RuleError, match="holds z fixed"):
        kernel.reflect(E(body, z))
    assert kernel.reflect(E(grad(smooth(epsilon, theta), theta), epsilon))


def test_the_mirror_image_of_a_variable_stands_in_the_laws_that_depend_on_it_too():
    inner = normal("w", epsilon, 1)
    mirrored = normal("w", -epsilon, 1)
    theorem = kernel.reflect(E(E(f(inner), inner) * epsilon, epsilon))
    assert kernel.algebra(theorem.rhs, E(-E(f(mirrored), mirrored) * epsilon, epsilon))


def test_a_stopped_ratio_is_one_in_value_and_not_below_a_gradient():
    """DiCE: exp(log p - stop(log p)) is 1, and its derivative is the score."""
    known = kernel.stopped_value(stop(log(p(b))))
    box = exp(log(p(b)) - stop(log(p(b))))
    assert kernel.congruence(box, ((0, 1, 1), known)).values_only
    for whole, path in ((grad(box, theta), (0, 0, 1, 1)), (stop(grad(box, theta)), (0, 0, 0, 1, 1))):
        with pytest.raises(RuleError, match="equality of values only"):
            kernel.congruence(whole, (path, known))


# Terms


def test_a_term_goes_to_another_process_without_its_hash():
    term = E(f(b) * x, b)
    assert hash(term) == hash(copy.deepcopy(term))
    assert "_hash" in vars(term)
    assert "_hash" not in term.__getstate__()
    assert copy.copy(Stop(term)) == Stop(term)
