"""The strategies keep their promises, and what they make is judged alike by every reading of the package."""

from __future__ import annotations

import ast
import operator
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from itertools import product
from math import prod

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

import derive
from derive import strategies
from derive.estimator import Estimator
from derive.exact import comparison as exact
from derive.kernel.algebra import derivative, equal, tidy
from derive.kernel.premises import EVERYTHING
from derive.language.errors import GradproofError, NotEvaluable, RuleError, TooLarge
from derive.language.scope import alpha_equal, canonical
from derive.language.term import Add, Apply, Expect, Grad, Mul, Number, Power, Score, Symbol, Term
from derive.laws.models import RationalCase
from derive.notation import constant
from derive.printing import latex, text
from derive.proofs.conversions import normalise
from derive.strategies import BIASED, DRAWS, TARGET, UNBIASED, ZERO_MEAN, C, f, theta
from derive.verdicts.oracle import oracle
from derive.verdicts.problem import Problem, problem_of

steady = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Every run tries the same examples, so that none fails by chance."""


# What is promised


@steady
@given(st.one_of(strategies.laws(), strategies.bernoulli_laws(), strategies.categorical_laws()))
def test_a_law_has_positive_probabilities_and_tangents_that_keep_their_sum(law):
    weights, tangents = law
    assert sum(weights) == 1
    assert sum(tangents) == 0
    assert min(weights) > 0
    assert len(weights) == len(tangents) >= 2


@steady
@given(strategies.problem_documents())
def test_a_document_of_a_problem_is_read_as_one(document):
    problem = problem_of(document)
    assert all(sum(tangent) == 0 for tangent in problem.tangents)
    assert len(problem.f) == len(problem.probabilities)


@pytest.mark.parametrize("imports", ["hypothesis, derive", "derive, hypothesis", "derive.strategies"])
def test_types_are_registered_whoever_is_imported_first(imports):
    code = f"import {imports}; from hypothesis import find, strategies as st; from derive.estimator import Estimator; "
    code += "assert find(st.from_type(Estimator), lambda one: True).name == 'unbiased'"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_hypothesis_does_not_import_what_is_not_used():
    code = "import sys, hypothesis, gradproof.hypothesis_entry; sys.exit(bool({'derive', 'flint', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_derive_does_not_import_hypothesis():
    code = "import sys, derive, derive.verdicts.oracle, derive.verdicts.prover; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [Estimator, Problem, RationalCase, Term, Symbol, Number])
def test_the_public_types_resolve(kind):
    @settings(steady, max_examples=5)
    @given(st.from_type(kind))
    def resolved(value):
        assert isinstance(value, kind)

    resolved()


# The pieces, by plain enumeration


class Plain:
    """A term read at a rational case, by sums over outcomes; another reading than that of `derive.exact.comparison`."""

    def __init__(self, case):
        self.values = case.values
        self.outcomes = range(1, 1 + sum(name.startswith("p(") for name in case.values))

    def at(self, term, drawn):
        """The value, with the outcome of each variable in `drawn`."""
        match term:
            case Number(value):
                return value
            case Symbol(name):
                return self.values[name]
            case Apply(function, (variable,)):
                return self.values[f"{function.name}({drawn[variable]})"]
            case Score(_, variable, _):
                return self.values[f"dp({drawn[variable]})"] / self.values[f"p({drawn[variable]})"]
            case Add(args):
                return sum(self.at(arg, drawn) for arg in args)
            case Mul(args):
                return prod(self.at(arg, drawn) for arg in args)
            case Power(base, exponent):
                return self.at(base, drawn) ** exponent
            case Expect(body, variable):
                return self.mean(body, variable, "p", drawn)
            case Grad(Expect(body, variable), _):
                return self.mean(body, variable, "dp", drawn)
        raise NotImplementedError(type(term))

    def mean(self, body, variable, weights, drawn):
        return sum(self.values[f"{weights}({k})"] * self.at(body, {**drawn, variable: k}) for k in self.outcomes)

    def moments(self, estimator):
        mean = square = Fraction(0)
        for outcome in product(self.outcomes, repeat=len(DRAWS)):
            weight = prod(self.values[f"p({k})"] for k in outcome)
            value = self.at(estimator.formula, dict(zip(DRAWS, outcome, strict=True)))
            mean, square = mean + weight * value, square + weight * value**2
        return mean, square - mean**2


@pytest.mark.parametrize("piece", [*UNBIASED, *ZERO_MEAN, *BIASED], ids=text.render)
def test_a_piece_has_the_mean_that_it_is_listed_for(piece):
    estimator = Estimator("piece", piece, DRAWS, TARGET)
    against = {"target": TARGET, "zero": 0 * TARGET}
    equals = {name: exact.identically_equal(estimator.expectation, right, theta, 3) for name, right in against.items()}
    assert equals == {"target": piece in UNBIASED, "zero": piece in ZERO_MEAN}
    assert piece not in BIASED or exact.scale(estimator, 3) is None


# The readings of random estimators


@settings(steady, max_examples=60)
@given(strategies.estimators(), strategies.cases())
def test_mean_and_variance_are_those_of_plain_enumeration(estimator, case):
    assert exact.mean_and_variance_at(estimator, case) == Plain(case).moments(estimator)


@settings(steady, max_examples=40)
@given(strategies.estimators())
def test_the_prover_finds_what_the_estimator_was_made_to_be(estimator):
    found = derive.prove(estimator, outcomes=(2, 3))
    assert found.verdict == estimator.verdict
    assert (found.derivation is not None) == (estimator.verdict == "proved")
    assert found.verdict == "proved" or found.witness.mean != found.witness.target


@settings(steady, max_examples=25)
@given(strategies.biased_estimators())
def test_a_witness_is_one_by_plain_enumeration_too(estimator):
    witness = derive.prove(estimator, outcomes=(2,)).witness
    plain = Plain(RationalCase({"c": Fraction(0)} | {name: Fraction(value) for name, value in witness.case.items()}))
    plain.values |= {f"C({k})": Fraction(0) for k in plain.outcomes if f"C({k})" not in plain.values}
    assert plain.moments(estimator)[0] == witness.mean
    assert plain.at(estimator.target, {}) == witness.target


@settings(steady, max_examples=30)
@given(strategies.problems())
def test_an_oracle_has_the_gradient_of_a_difference_of_its_objective(problem):
    """E[f] is linear in the probabilities, so moving them along a tangent changes it by exactly the gradient."""
    answers = oracle(problem)
    for tangent, gradient in zip(problem.tangents, answers.gradient, strict=True):
        moved = [p + dp for p, dp in zip(problem.probabilities, tangent, strict=True)]
        assert sum(p * value for p, value in zip(moved, problem.f, strict=True)) - answers.objective == gradient


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the exact gradient is zero")
@settings(steady, max_examples=12, phases=(Phase.generate,))
@given(strategies.estimators(), strategies.cases(constants=()), st.data())
def test_generated_code_has_the_exact_mean_and_variance_over_every_outcome(estimator, case, data):
    """Three readings of one formula: the exact evaluator at a point, and the torch code of the formula under an audit."""
    numeric, torch = pytest.importorskip("numeric"), pytest.importorskip("torch")
    outcomes = sum(name.startswith("p(") for name in case.values)
    baseline = data.draw(strategies.rationals())
    p, tables = [case.values[f"p({k})"] for k in range(1, outcomes + 1)], {}
    for name in ("f", "C"):
        values = [float(case.values[f"{name}({k})"]) for k in range(1, outcomes + 1)]
        tables[name] = torch.tensor(values, dtype=torch.float64)
    logits = torch.tensor([float(q) for q in p], dtype=torch.float64).log().requires_grad_()
    compiled = numeric.compile(estimator, "categorical")
    given = {"C": lambda b: b @ tables["C"]} if "C" in compiled.functions else {}
    given |= {"c": float(baseline)} if "c" in compiled.constants else {}
    report = numeric.audit(
        lambda: compiled.surrogate(logits, lambda b: b @ tables["f"], **given),
        {"logits": logits},
        lambda: tables["f"][torch.multinomial(logits.softmax(-1), 1)].sum(),
        raise_exception=False,
    )
    assert report.outcomes == outcomes**2
    for i in range(outcomes):
        along = {f"dp({k})": q * (int(k == i + 1) - p[i]) for k, q in enumerate(p, 1)}
        mean, variance = exact.mean_and_variance_at(estimator, RationalCase(case.values | along | {"c": baseline}))
        assert float(report.mean["logits"][i]) == pytest.approx(float(mean), abs=1e-12, rel=1e-11)
        assert float(report.variance["logits"][i]) == pytest.approx(float(variance), abs=1e-11, rel=1e-10)


PARTS = (f(DRAWS[0]), f(DRAWS[1]), C(DRAWS[0]), strategies.score(DRAWS[0]), strategies.score(DRAWS[1]), TARGET, strategies.c)


@settings(steady, max_examples=25)
@given(strategies.polynomials(PARTS, max_leaves=6), strategies.cases())
def test_any_formula_is_judged_without_a_contradiction(formula, case):
    """The prover raises `Disagreement` where its derivation and the exact evaluator part; enumeration is the third voice."""
    estimator = Estimator("any", formula, DRAWS, TARGET)
    found, plain = derive.prove(estimator, outcomes=(2, 3)), Plain(case)
    mean, target = plain.moments(estimator)[0], plain.at(TARGET, {})
    assert found.verdict != "undecided"
    assert found.verdict != "proved" or mean == target
    assert found.verdict != "scaled" or mean == found.scale * target


# Random formulas


@settings(steady, max_examples=150)
@given(strategies.terms())
def test_every_formula_is_printed_or_refused_by_name(term):
    for notation in (text, latex):
        printed = notation.render(term)
        assert printed
        assert all(printed.count(left) == printed.count(right) for left, right in ("()", "[]", "{}"))


x, y = constant("x"), constant("y")
numbers = strategies.polynomials((x, y), max_leaves=2) | st.just(x)
arithmetic = st.recursive(numbers, strategies.arithmetic, max_leaves=8)
POINT = {"x": Fraction(5, 7), "y": Fraction(-3, 2)}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: pow}


def read(node):
    """The value of printed arithmetic, by Python's own grammar: precedence and brackets are not ours."""
    match node:
        case ast.Constant(value):
            return Fraction(value)
        case ast.Name(name):
            return POINT[name]
        case ast.UnaryOp(ast.USub(), operand):
            return -read(operand)
        case ast.BinOp(left, sign, right):
            power = int(read(right)) if isinstance(sign, ast.Pow) else read(right)
            return OPERATORS[type(sign)](read(left), power)
    raise NotImplementedError(ast.dump(node))


@settings(steady, max_examples=200)
@given(arithmetic)
def test_printed_arithmetic_reads_back_as_the_same_value(term):
    value = None
    try:
        value = Plain(RationalCase(POINT)).at(term, {})
    except ZeroDivisionError:
        return
    printed = text.render(term).replace("^", "**").replace("\n", " ")
    try:
        assert read(ast.parse(printed, mode="eval").body) == value, printed
    except ZeroDivisionError:
        pytest.fail(f"{printed} divides by zero where the formula does not")


@settings(steady, max_examples=60)
@given(strategies.terms(transcendental=False, max_leaves=5))
def test_what_is_tidied_has_the_same_exact_value(term):
    try:
        ours = tidy(term)
        same = exact.identically_equal(term, ours, theta, 2)
    except (NotEvaluable, TooLarge, RuleError):
        return
    assert same, (text.render(term), text.render(ours))


@settings(steady, max_examples=40)
@given(strategies.terms(max_leaves=6), st.booleans())
def test_a_normal_form_of_the_kernel_has_the_same_exact_value(term, split):
    """The theorem says lhs = rhs; the judge must not be able to refute it."""
    try:
        theorem = normalise(term, EVERYTHING, split=split)
        found = exact.compare(theorem.lhs, theorem.rhs, theta, 2)
    except (NotEvaluable, TooLarge, RuleError):
        return
    assert found.zero or not found.conclusive, (text.render(theorem.lhs), text.render(theorem.rhs))


@settings(steady, max_examples=100)
@given(strategies.terms(max_leaves=5))
def test_a_derivative_is_that_of_the_evaluator(term):
    """The algebra differentiates a tree by rules, the evaluator its value by jets."""
    with suppress(NotEvaluable, TooLarge):
        found = exact.compare(Grad(term, theta), derivative(term, theta), theta, 2)
        assert found.zero or not found.conclusive, text.render(term)


@settings(steady, max_examples=100)
@given(strategies.terms())
def test_a_canonical_formula_is_the_same_formula(term):
    assert alpha_equal(canonical(term), term)
    assert equal(term, term)
    assert text.render(term)


@settings(steady, max_examples=100)
@given(strategies.terms(max_leaves=6))
def test_no_formula_makes_a_reading_fail_in_another_way(term):
    for reading in (tidy, lambda one: exact.identically_equal(one, one, theta, 2)):
        with suppress(GradproofError):
            reading(term)
