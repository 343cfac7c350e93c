"""Strategies of hypothesis: laws, tables of integrands, problems, formulas, and estimators that are right or wrong on purpose.

All numbers are rationals and shrink to small ones. hypothesis is not required by anything else in this package. Where both are
imported, `st.from_type` knows the types that are registered at the end of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from derive.language.estimator import Estimator
from derive.language.notation import (
    E,
    Over,
    constant,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    p,
    parameter,
    score,
    sigmoid,
    stop,
    total,
)
from derive.language.term import Exact, Function, Number, RandomVariable, Symbol, Term
from derive.laws.models import RationalCase
from derive.verdicts.problem import SCHEMA, Problem, problem_of

Table: TypeAlias = tuple[Fraction, ...]
Law: TypeAlias = tuple[Table, Table]
"""Probabilities, and their derivatives along a parameter."""

theta: Symbol = parameter("theta")
c: Symbol = constant("c")
b: RandomVariable = finite("b", theta)
DRAWS: tuple[RandomVariable, ...] = copies(b, 2)
first: RandomVariable = DRAWS[0]
second: RandomVariable = DRAWS[1]
f: Function = function("f")
C: Function = function("C")
TARGET: Term = grad(E(f(b), b), theta)

_CORRECTION = grad(E(C(b), b), theta)
UNBIASED: tuple[Term, ...] = (
    f(first) * score(first),
    f(second) * score(second),
    (f(first) - c) * score(first),
    (f(first) - f(second)) * score(first),
    (f(second) - C(first)) * score(second),
    (f(first) - C(first)) * score(first) + _CORRECTION,
    (f(first) - E(f(b), b)) * score(first),
)
"""Estimates whose mean is `TARGET`, for every law, f and C."""

ZERO_MEAN: tuple[Term, ...] = (
    score(first),
    c * score(second),
    score(first) * score(second),
    f(first) * score(second),
    f(first) - f(second),
    f(second) - E(f(b), b),
    C(first) * score(first) - _CORRECTION,
    score(first) ** 2 - score(second) ** 2,
)
"""Estimates whose mean is zero, for every law, f and C."""

BIASED: tuple[Term, ...] = (
    f(first),
    C(second),
    score(first) ** 2,
    f(first) * score(first) ** 2,
    f(first) * C(second),
    C(first) * score(first),
)
"""Estimates whose mean is neither zero nor a multiple of `TARGET`."""


# Numbers, laws and tables


def rationals(*, low: int = -3, high: int = 3, max_denominator: int = 4) -> SearchStrategy[Fraction]:
    """Small rational numbers; they shrink to 0.

    >>> from hypothesis import find
    >>> find(rationals(), lambda value: value > 1)
    Fraction(2, 1)
    """
    return st.fractions(low, high, max_denominator=max_denominator)


def probabilities(outcomes: int | Sequence[int] = (2, 3, 4), *, largest: int = 9) -> SearchStrategy[Table]:
    """The positive rational probabilities of so many outcomes, or of one of these numbers of outcomes.

    They are integers from 1 to `largest` over their sum, and shrink to equal ones.
    """
    weights = _sizes(outcomes).flatmap(lambda n: st.lists(st.integers(1, largest), min_size=n, max_size=n))
    return weights.map(lambda w: tuple(Fraction(one, sum(w)) for one in w))


def tables(outcomes: int, values: SearchStrategy[Fraction] | None = None) -> SearchStrategy[Table]:
    """The values of an integrand at so many outcomes."""
    return st.lists(rationals() if values is None else values, min_size=outcomes, max_size=outcomes).map(tuple)


@st.composite
def laws(draw: DrawFn, outcomes: int | Sequence[int] = (2, 3, 4)) -> Law:
    """Finite laws along any parameter: positive probabilities that sum to 1, tangents that sum to 0.

    >>> from hypothesis import find
    >>> find(laws(), lambda law: len(law[0]) == 2)
    ((Fraction(1, 2), Fraction(1, 2)), (Fraction(0, 1), Fraction(0, 1)))
    """
    weights = draw(probabilities(outcomes))
    tangents = draw(tables(len(weights) - 1))
    return weights, (*tangents, -sum(tangents, start=Fraction(0)))


def bernoulli_laws() -> SearchStrategy[Law]:
    """Bernoulli laws along their logit: p and p (1 - p) of the outcome 1, which is the second."""
    return probabilities(2).map(lambda q: (q, (-q[0] * q[1], q[0] * q[1])))


@st.composite
def categorical_laws(draw: DrawFn, outcomes: int | Sequence[int] = (2, 3, 4)) -> Law:
    """Categorical laws along one of their logits: the tangents are p_k (1[k = i] - p_i)."""
    q = draw(probabilities(outcomes))
    i = draw(st.integers(0, len(q) - 1))
    return q, tuple(value * (int(k == i) - q[i]) for k, value in enumerate(q))


@st.composite
def cases(
    draw: DrawFn,
    outcomes: int | Sequence[int] = (2, 3),
    *,
    functions: Sequence[str] = ("f", "C"),
    constants: Sequence[str] = ("c",),
) -> RationalCase:
    """Points for the exact evaluator: a law named p, tables of functions of its outcome, values of constants."""
    weights, tangents = draw(laws(outcomes))
    given: dict[str, Any] = {name: draw(tables(len(weights))) for name in functions}
    return RationalCase.finite(weights, tangents, symbols={name: draw(rationals()) for name in constants}, **given)


@st.composite
def problem_documents(draw: DrawFn) -> dict[str, Any]:
    """Problems for `gradproof oracle`, as JSON values: a Bernoulli or categorical law, a table or a polynomial, samples."""
    bernoulli = draw(st.booleans())
    q = draw(probabilities(2 if bernoulli else (2, 3, 4)))
    law: dict[str, Any] = {"family": "categorical", "probabilities": [str(value) for value in q]}
    if bernoulli:
        law = {"family": "bernoulli", "probability": str(q[1])}
    function_of_b: SearchStrategy[dict[str, Any]] = st.one_of(
        tables(len(q)).map(lambda values: {"table": [str(value) for value in values]}),
        st.builds(lambda shift, power: {"formula": f"(b - {shift})**{power}"}, rationals(low=0), st.integers(0, 3)),
    )
    document: dict[str, Any] = {"schema": SCHEMA, "law": law, "f": draw(function_of_b), "samples": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        document |= {"constants": {"c": str(draw(rationals()))}, "functions": {"C": draw(function_of_b)}}
    return document


def problems() -> SearchStrategy[Problem]:
    """Problems for `derive.verdicts.oracle.oracle`."""
    return problem_documents().map(problem_of)


def _sizes(outcomes: int | Sequence[int]) -> SearchStrategy[int]:
    return st.just(outcomes) if isinstance(outcomes, int) else st.sampled_from(tuple(outcomes))


# Formulas


def terms(*, transcendental: bool = True, calculus: bool = True, max_leaves: int = 8) -> SearchStrategy[Term]:
    """Formulas over theta, c, the outcome b, f(b), C(b), p(b; theta) and its score, in which b may be free.

    Args
        transcendental  with log, exp and the logistic function
        calculus        with gradients, stopped gradients, expectations and sums over b
        max_leaves      a bound of the size, on average
    """
    leaves = st.sampled_from((theta, c, f(b), C(b), p(b), score(b), b)) | rationals().map(Number)

    def grown(inner: SearchStrategy[Term]) -> SearchStrategy[Term]:
        kinds = [arithmetic(inner)]
        if transcendental:
            kinds += [st.builds(log, inner), st.builds(exp, inner), st.builds(sigmoid, inner)]
        if calculus:
            kinds += [st.builds(stop, inner), inner.map(lambda term: grad(term, theta))]
            kinds += [inner.map(lambda term: E(term, b)), inner.map(lambda term: Over(term, b))]
        return st.one_of(kinds)

    return st.recursive(leaves, grown, max_leaves=max_leaves)


def arithmetic(inner: SearchStrategy[Term]) -> SearchStrategy[Term]:
    """Sums, differences, products, quotients, negatives and integer powers of formulas."""
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda ab: ab[0] + ab[1]),
        pairs.map(lambda ab: ab[0] - ab[1]),
        pairs.map(lambda ab: ab[0] * ab[1]),
        pairs.filter(lambda ab: ab[1] != Number(Fraction(0))).map(lambda ab: ab[0] / ab[1]),
        inner.map(lambda term: -term),
        st.tuples(inner, st.integers(-2, 3)).map(lambda pair: pair[0] ** pair[1]),
    )


def polynomials(atoms: Sequence[Term], *, max_leaves: int = 8) -> SearchStrategy[Term]:
    """Polynomials of these atoms with rational coefficients, as trees of sums, differences and products."""
    leaves = st.sampled_from(tuple(atoms)) | rationals().map(Number)

    def grown(inner: SearchStrategy[Term]) -> SearchStrategy[Term]:
        pairs = st.tuples(inner, inner)
        return pairs.map(lambda ab: ab[0] + ab[1]) | pairs.map(lambda ab: ab[0] * ab[1]) | pairs.map(lambda ab: ab[0] - ab[1])

    return st.recursive(leaves, grown, max_leaves=max_leaves)


# Estimators


@st.composite
def unbiased_estimators(draw: DrawFn) -> Estimator:
    """Unbiased estimators of `TARGET` from two samples: weighted means of `UNBIASED`, plus anything of `ZERO_MEAN`.

    >>> from hypothesis import find
    >>> from derive.printing import text
    >>> text.render(find(unbiased_estimators(), lambda found: True).formula)
    'f(b_1) * d_theta log p(b_1; theta)'
    """
    return _estimator("unbiased", _combined(draw, Fraction(1)), "proved")


@st.composite
def biased_estimators(draw: DrawFn) -> Estimator:
    """Estimators that are wrong for almost every law: a multiple of an unbiased one, plus one of `BIASED` or nothing.

    Their `verdict` says which: "scaled" without a biased part, else "refuted".
    """
    piece = draw(st.sampled_from((None, *BIASED)))
    if piece is None:
        scale = draw(rationals().filter(lambda value: value not in (-1, 0, 1)))
        return _estimator("scaled", _combined(draw, scale), "scaled")
    return _estimator("biased", _combined(draw, Fraction(1)) + _weighted(draw(_WEIGHTS), piece), "refuted")


def estimators() -> SearchStrategy[Estimator]:
    """Estimators, right and wrong; `verdict` says what the prover should find."""
    return unbiased_estimators() | biased_estimators()


_WEIGHTS = rationals().filter(bool)


def _combined(draw: DrawFn, scale: Fraction) -> Term:
    """A formula with the mean `scale * TARGET`."""
    pieces = draw(st.lists(st.sampled_from(UNBIASED), min_size=1, max_size=3, unique=True))
    others = [draw(_WEIGHTS) for _ in pieces[1:]]
    weights = [scale - sum(others, start=Fraction(0)), *others]
    zeros = draw(st.lists(st.tuples(_WEIGHTS, st.sampled_from(ZERO_MEAN)), max_size=2))
    return total(_weighted(weight, piece) for weight, piece in [*zip(weights, pieces, strict=True), *zeros])


def _weighted(weight: Exact, piece: Term) -> Term:
    return piece if weight == 1 else weight * piece


def _estimator(name: str, formula: Term, verdict: str) -> Estimator:
    return Estimator(name, formula, DRAWS, TARGET, verdict=verdict)


# Registration

st.register_type_strategy(Estimator, estimators())
st.register_type_strategy(Problem, problems())
st.register_type_strategy(RationalCase, cases())
st.register_type_strategy(Symbol, st.sampled_from((theta, c)))
st.register_type_strategy(Number, rationals().map(Number))
st.register_type_strategy(Term, terms())
