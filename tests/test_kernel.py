"""Only a rule makes a theorem, each rule concludes what its docstring draws, and a forged theorem is refused or found."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
import tokenize
from itertools import pairwise
from pathlib import Path

import pytest

from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING, Covers, Differentiable, Integrable, Positive
from derive.kernel.recheck import recheck
from derive.kernel.theorem import Equation, Theorem
from derive.language.errors import PremiseError, RuleError
from derive.language.scope import alpha_equal
from derive.language.term import Density, Mul, Number, RandomVariable
from derive.notation import (
    E,
    Over,
    constant,
    copies,
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
from derive.proofs.rules import conditional_marginalization, control_variate_correction, log_derivative, zero_mean_score

theta, x, y, z = parameter("theta"), constant("x"), constant("y"), constant("z")
b = finite("b", theta)
first, second = copies(b, 2)
f, c = function("f"), function("c", differentiable=True)
u, v = uniform("u"), uniform("v")
relaxed = relaxation(b)


def says(theorem: Theorem, left, right) -> bool:
    recheck(theorem)
    return alpha_equal(theorem.lhs, left) and alpha_equal(theorem.rhs, right)


def test_the_kernel_stays_small():
    kinds = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    source = Path(kernel.__file__).read_text()
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    code = {line for token in tokens if token.type not in kinds for line in range(token.start[0], token.end[0] + 1)}
    docstrings = {
        line
        for before, token in pairwise(tokens)
        if token.type == tokenize.STRING and before.type in (tokenize.INDENT, tokenize.NEWLINE, tokenize.NL)
        for line in range(token.start[0], token.end[0] + 1)
    }
    assert len(code - docstrings) <= 400
    assert 10 <= len(kernel.RULES) <= 20


def test_the_kernel_exports_its_rules_and_nothing_else():
    assert set(kernel.__all__) == {"RULES", "Equation", "Theorem", *kernel.RULES}
    assert list(kernel.RULES) == sorted(kernel.RULES)
    for name, rule in kernel.RULES.items():
        assert f"    {name}(" in (kernel.__doc__ or ""), f"the interface does not list {name}"
        assert all(word in (rule.__doc__ or "") for word in ("Premises", "Conclusion", "Source")), name


def test_equality_is_reflexive_symmetric_and_transitive():
    known = kernel.algebra(2 * x, x + x)
    assert says(kernel.reflexivity(x), x, x)
    assert says(kernel.symmetry(known), x + x, 2 * x)
    assert says(kernel.transitivity(known, kernel.symmetry(known)), 2 * x, 2 * x)


def test_congruence_rewrites_under_binders_and_gradients():
    known = kernel.algebra(f(b) + f(b), 2 * f(b))
    whole = grad(Over(f(b) + f(b), b), theta)
    assert says(kernel.congruence(whole, ((0, 1), known)), whole, grad(Over(2 * f(b), b), theta))


def test_algebra_proves_rational_identities_and_keeps_the_conditions_of_division():
    ratio = kernel.algebra((x**2 - y**2) / (x - y), x + y, assuming=EVERYTHING)
    assert {premise.name for premise in ratio.assumptions} == {"NonZero"}
    assert recheck(ratio) == 1


def test_a_density_divides_freely_since_it_is_positive_on_its_support():
    assert kernel.algebra(p(b) * f(b) / p(b), f(b)).assumptions == frozenset()


def test_an_assumed_equation_stays_left_of_the_turnstile():
    assumed = kernel.assume(x, y)
    chained = kernel.transitivity(assumed, kernel.assume(y, z))
    assert chained.assumptions == {Equation(x, y), Equation(y, z)}
    assert says(chained, x, z)


def test_definition_unfolds_expectations_and_scores():
    assert says(kernel.definition(E(f(b), b)), E(f(b), b), Over(p(b) * f(b), b))
    assert says(kernel.definition(score(b)), score(b), grad(log(p(b)), theta))


def test_differentiate_knows_sums_products_powers_and_chains():
    term = grad(x * theta**2 + log(theta), theta)
    theorem = kernel.differentiate(term, assuming=EVERYTHING)
    assert kernel.algebra(theorem.rhs, 2 * x * theta + 1 / theta, assuming=EVERYTHING)


def test_what_depends_on_the_parameter_only_under_stops_has_derivative_zero():
    whole = grad(c(relaxed.h(u, stop(theta))), theta)
    assert says(kernel.differentiate(whole), whole, Number(0))
    assert kernel.differentiate(grad(stop(theta) * theta, theta)).rhs != Number(0)


def test_linearity_splits_sums_and_moves_constants_out():
    theorem = kernel.linearity(E(x * f(b) - 2 * y, b))
    assert says(theorem, E(x * f(b) - 2 * y, b), theorem.rhs)
    assert kernel.algebra(theorem.rhs, x * E(f(b), b) - 2 * y * E(1, b))


def test_linearity_needs_each_integrand_that_it_leaves_to_be_integrable():
    noise, g = normal("epsilon"), function("g")
    whole = E(f(noise) + x * f(noise) + 2 * g(noise) + y, noise)
    needed = {Integrable(noise, p(noise) * f(noise)), Integrable(noise, p(noise) * g(noise))}
    assert kernel.linearity(whole, assuming=EVERYTHING).assumptions == needed
    for missing in needed:
        with pytest.raises(PremiseError, match="linearity refuses: Integrable"):
            kernel.linearity(whole, assuming=frozenset(needed - {missing}))


def test_leibniz_moves_the_gradient_under_a_finite_sum():
    whole = grad(Over(p(b) * f(b), b), theta)
    theorem = kernel.leibniz(whole, assuming=EVERYTHING)
    assert says(theorem, whole, Over(grad(p(b) * f(b), theta), b))
    assert theorem.assumptions == {Differentiable(p(b), theta)}


def test_a_density_sums_to_one():
    assert says(kernel.normalisation(Over(p(b), b)), Over(p(b), b), Number(1))


def test_independent_expectations_exchange():
    term = E(E(f(first, second), second), first)
    assert says(kernel.exchange(term), term, E(E(f(first, second), first), second))


def test_a_normal_variable_is_location_plus_scale_times_noise():
    sample, noise = normal("z", x, y), normal("epsilon")
    theorem = kernel.reparameterize(E(f(sample), sample), noise, assuming=EVERYTHING)
    assert says(theorem, E(f(sample), sample), E(f(x + y * noise), noise))
    assert theorem.assumptions == {Positive(y)}


def test_relaxed_noise_is_drawn_after_the_outcome_that_it_decides():
    latent = relaxed.h(u, theta)
    term = E(f(relaxed.H(latent)) * c(latent), u)
    theorem = kernel.conditional_reparameterize(term, b, v, assuming=EVERYTHING)
    assert says(theorem, term, E(E(f(b) * c(relaxed.h_tilde(v, b, theta)), v), b))


def test_another_law_is_sampled_with_the_ratio_of_the_densities_as_a_weight():
    old, new = finite("a", law="mu"), finite("b", theta)
    theorem = kernel.change_of_law(E(f(new), new), old, assuming=EVERYTHING)
    assert says(theorem, E(f(new), new), E(p(new, at=old) / p(old) * f(old), old))
    assert theorem.assumptions == {Covers(p(old), p(new, at=old))}


def test_one_law_at_two_parameters_and_two_normal_laws_cover_each_other():
    still = RandomVariable("a", b.law.with_terms((stop(theta),)))
    assert kernel.change_of_law(E(f(b) / f(b), b), still).assumptions == frozenset()
    assert kernel.change_of_law(E(f(normal("z")), normal("z")), normal("y", theta, 2)).assumptions == frozenset()


def test_a_symmetric_variable_is_its_mirror_image():
    noise, sample = normal("epsilon"), normal("z", x, y)
    assert says(kernel.reflect(E(f(noise), noise)), E(f(noise), noise), E(f(-noise), noise))
    assert says(kernel.reflect(E(f(u, theta), u)), E(f(u, theta), u), E(f(1 - u, theta), u))
    assert says(kernel.reflect(E(f(sample), sample)), E(f(sample), sample), E(f(2 * x - sample), sample))
    held = E(grad(c(noise, theta), theta), noise)
    assert says(kernel.reflect(held), held, E(grad(c(-noise, theta), theta), noise))


def test_the_score_of_a_normal_law_is_written_out():
    sample = normal("z", theta, y)
    location = kernel.normal_score(score(sample, theta), assuming=EVERYTHING)
    assert kernel.algebra(location.rhs, (sample - theta) / y**2, assuming=EVERYTHING)
    scale = kernel.normal_score(score(normal("z", x, theta), theta, at=z), assuming=EVERYTHING)
    assert kernel.algebra(scale.rhs, ((z - x) ** 2 / theta**2 - 1) / theta, assuming=EVERYTHING)
    assert location.assumptions == {Positive(y)}


def test_the_point_of_a_normal_density_moves_in_its_logarithm_and_not_in_its_score():
    sample = normal("z", theta, 1)
    whole = grad(log(p(sample, at=theta + x)), theta)
    assert kernel.algebra(kernel.normal_score(whole).rhs, Number(0))
    assert kernel.algebra(kernel.normal_score(score(sample, theta, at=theta + x)).rhs, x)


# Values only


def test_what_is_stopped_has_the_value_that_it_had():
    theorem = kernel.stopped_value(stop(c(theta)))
    assert says(theorem, stop(c(theta)), c(theta))
    assert theorem.values_only
    assert not kernel.reflexivity(x).values_only


def test_an_equality_of_values_stays_one():
    known = kernel.stopped_value(stop(c(theta)))
    assert kernel.symmetry(known).values_only
    assert kernel.transitivity(known, kernel.reflexivity(c(theta))).values_only
    assert kernel.transitivity(kernel.reflexivity(known.lhs), known).values_only
    assert kernel.congruence(E(known.lhs * f(b), b), ((1, 0), known)).values_only
    assert kernel.congruence(p(normal("z", known.lhs, 1), at=x), ((0,), known)).values_only
    assert kernel.congruence(score(b, at=known.lhs), ((1,), known)).values_only


def test_an_equality_of_values_says_nothing_below_a_derivative():
    known = kernel.stopped_value(stop(c(theta)))
    sample = normal("z", known.lhs, 1)
    for whole, path in [
        (grad(known.lhs, theta), (0,)),
        (grad(known.lhs, parameter("phi")), (0,)),
        (grad(x * E(known.lhs, b), theta), (0, 1, 1)),
        (stop(grad(known.lhs, theta)), (0, 0)),
        (grad(stop(grad(known.lhs, theta)), theta), (0, 0, 0)),
        (score(sample, theta, at=x), (0,)),
    ]:
        with pytest.raises(RuleError, match="equality of values only"):
            kernel.congruence(whole, (path, known))


def test_each_place_of_a_congruence_is_asked_for_its_derivatives():
    known = kernel.stopped_value(stop(c(theta)))
    whole = known.lhs + grad(known.lhs, theta)
    assert kernel.congruence(whole, ((0,), known)).values_only
    for places in (((0,), known), ((1, 0), known)), (((1, 0), known), ((0,), known)):
        with pytest.raises(RuleError, match="equality of values only"):
            kernel.congruence(whole, *places)
    mixed = kernel.congruence(x + known.lhs, ((0,), kernel.algebra(x, x + 0 * y)), ((1,), known))
    assert mixed.values_only


def test_what_stands_under_a_stop_counts_by_its_value():
    known = kernel.stopped_value(stop(c(theta)))
    whole = grad(theta * stop(x * known.lhs), theta)
    theorem = kernel.congruence(whole, ((0, 1, 0, 1), known))
    assert says(theorem, whole, grad(theta * stop(x * c(theta)), theta))
    assert not theorem.values_only


def test_a_theorem_that_hides_that_it_is_one_of_values_only_is_found():
    known = kernel.stopped_value(stop(x))
    hidden = {name: getattr(known, name) for name in Theorem.__slots__} | {"values_only": False}
    with pytest.raises(RuleError, match="something else"):
        recheck(forge(**hidden))


# The four identities


def names(theorem: Theorem) -> set[str]:
    return {premise.name for premise in theorem.assumptions}


def test_log_derivative():
    theorem = log_derivative(b.law, b, theta)
    assert says(theorem, grad(p(b), theta), p(b) * score(b))
    assert names(theorem) == {"Differentiable"}


def test_zero_mean_score():
    theorem = zero_mean_score(b, theta)
    assert says(theorem, E(score(b), b), Number(0))
    assert names(theorem) == {"Differentiable"}


def test_control_variate_correction():
    theorem = control_variate_correction(f(b), c(b), b, theta)
    right = E((f(b) - c(b)) * score(b), b) + grad(E(c(b), b), theta)
    assert says(theorem, grad(E(f(b), b), theta), right)
    assert names(theorem) == {"Differentiable"}


def test_conditional_marginalization():
    given = c(relaxed.h_tilde(v, b, theta))
    whole = grad(E(c(relaxed.h(u, theta)), u), theta)
    theorem = conditional_marginalization(whole, b, v)
    assert says(theorem, whole, E(E(given, v) * score(b), b) + E(E(grad(given, theta), v), b))
    assert names(theorem) == {"ConditionalReparameterization", "Differentiable", "Dominated"}


# Forgery


@pytest.fixture
def honest() -> Theorem:
    return kernel.algebra(2 * x, x + x)


def forge(**changes: object) -> Theorem:
    """Make a theorem around the constructor, as only bad will does."""
    source = kernel.algebra(2 * x, x + x)
    forged = object.__new__(Theorem)
    for name in Theorem.__slots__:
        object.__setattr__(forged, name, changes.get(name, getattr(source, name)))
    return forged


def test_the_constructor_refuses():
    with pytest.raises(RuleError, match="made by a rule"):
        Theorem(object(), x, y, "algebra", (x, y), ())


def test_dataclasses_replace_refuses(honest):
    with pytest.raises((TypeError, RuleError)):
        dataclasses.replace(honest, rhs=y)  # type: ignore[type-var]


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copying_and_pickling_refuse(honest, copier):
    with pytest.raises(RuleError, match="copied or pickled"):
        copier(honest)


def test_changing_and_deleting_refuse(honest):
    with pytest.raises(RuleError, match="cannot be changed"):
        honest.rhs = y
    with pytest.raises(RuleError, match="cannot be changed"):
        del honest.assumptions


def test_subclassing_refuses():
    with pytest.raises(RuleError, match="subclassed"):
        type("Forged", (Theorem,), {})


def test_a_theorem_that_says_something_else_than_its_rule_gives_is_found():
    with pytest.raises(RuleError):
        recheck(forge(rhs=y))


def test_a_dropped_assumption_is_found():
    assumed = kernel.algebra(x / y * y, x, assuming=EVERYTHING)
    assert assumed.assumptions
    with pytest.raises(RuleError):
        recheck(forge(lhs=assumed.lhs, rhs=assumed.rhs, inputs=assumed.inputs, assumptions=frozenset()))


def test_an_unknown_rule_and_a_hollow_theorem_are_found():
    with pytest.raises(RuleError, match="no rule"):
        recheck(forge(rule="magic"))
    with pytest.raises(RuleError, match="no rule has made"):
        recheck(object.__new__(Theorem))


def test_a_theorem_that_rests_on_a_forged_one_is_found():
    derived = kernel.symmetry(forge(rhs=y))
    with pytest.raises(RuleError):
        recheck(kernel.transitivity(derived, kernel.reflexivity(derived.rhs)))


def test_a_theorem_that_rests_on_itself_is_found():
    circular = object.__new__(Theorem)
    for name, value in {
        "lhs": x,
        "rhs": y,
        "rule": "symmetry",
        "inputs": (circular,),
        "assumptions": frozenset(),
        "values_only": False,
    }.items():
        object.__setattr__(circular, name, value)
    with pytest.raises(RuleError, match="rests on itself"):
        recheck(circular)


def test_a_rule_takes_only_theorems():
    fake = dataclasses.make_dataclass("Fake", ["lhs", "rhs", "inputs", "assumptions"])(x, y, (), frozenset())
    with pytest.raises(RuleError, match="a rule takes theorems"):
        kernel.symmetry(fake)


def test_a_free_density_of_another_law_is_not_normalised_away():
    other = finite("b", theta, law="q")
    with pytest.raises(RuleError, match="density of its own variable"):
        kernel.normalisation(Over(Density(other.law, b), b))


def test_a_product_with_a_density_is_not_normalised_away():
    with pytest.raises(RuleError, match="density of its own variable"):
        kernel.normalisation(Over(Mul((Number(2), p(b))), b))
