"""The study of note 004 is exact: its page says what its code computes, and its forms are gradproof's variances."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from derive.exact import comparison as exact
from derive.laws.models import RationalCase
from docs.variance import baselines, cosine, forms, study

FOLDER = Path(study.__file__).parent
NAMES = ("mu", "sigma")
POLYNOMIAL = [Fraction(x) for x in (3, -1, 4, 1, -2)]


@cache
def written():
    return study.page()


def test_the_page_says_what_the_code_computes():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == written()


def test_the_plots_of_the_page_are_there_and_small(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "page", lambda _: written())
    study.write(tmp_path, points=8)
    for name in ("cosine.svg", "polynomials.svg"):
        assert f"({name})" in (tmp_path / "README.md").read_text(encoding="utf-8")
        assert (tmp_path / name).stat().st_size > 5000
        assert (FOLDER / name).stat().st_size < 100_000


@pytest.mark.parametrize("name", NAMES)
def test_the_variances_of_the_forms_are_those_of_the_evaluator(name):
    """At a normal law that is not the standard one; the forms are sigma^2 times the variance."""
    case = RationalCase({"mu": Fraction(-2, 3), "sigma": Fraction(5, 2)})
    c = forms.baseline(name, POLYNOMIAL)
    path, plain = (exact.mean_and_variance_at(one, case)[1] for one in forms.estimators(name, POLYNOMIAL))
    best = exact.mean_and_variance_at(forms.estimators(name, POLYNOMIAL, c)[1], case)[1]
    assert tuple(Fraction(25, 4) * one for one in (path, plain, best)) == forms.variances(name, POLYNOMIAL)


@pytest.mark.parametrize("name", NAMES)
def test_the_gap_is_proved_for_all_coefficients_and_a_wrong_gap_is_not(name, monkeypatch):
    assert forms.proved_gap(name, 5)
    right = forms.gap_matrix

    def wrong(*args, **keywords):
        matrix = right(*args, **keywords)
        matrix[0][2] += 1
        return matrix

    monkeypatch.setattr(forms, "gap_matrix", wrong)
    assert not forms.proved_gap(name, 5)


@pytest.mark.parametrize(("name", "degree"), [("mu", 4), ("sigma", 6)])
@pytest.mark.parametrize("with_baseline", [False, True])
def test_the_first_witness_has_this_degree_and_is_one(name, degree, with_baseline):
    found = study.witness(name, with_baseline=with_baseline, degree=8)
    assert found.degree == degree
    _, path, plain, best = study.exact_variances(name, found.minimiser, forms.baseline(name, found.minimiser))
    assert path > best
    if not with_baseline:
        assert path > plain


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phase", [Fraction(0), Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)])
def test_the_closed_formulas_of_the_cosine_lie_in_certified_integrals(name, phase):
    kappa = Fraction(7, 5)
    integrals = cosine.enclosed(name, kappa, phase)
    closed = cosine.VARIANCES[name](cosine.ball(kappa), cosine.ball(phase))
    assert all(left.overlaps(right) for left, right in zip(integrals, closed, strict=True))
    wrong = [one * (1 + cosine.ball(Fraction(1, 10**9))) for one in closed]
    assert not any(left.overlaps(right) for left, right in zip(integrals, wrong, strict=True))


@pytest.mark.parametrize(("name", "square"), [("mu", 1), ("sigma", 2)])
def test_the_threshold_at_a_quarter_turn_is_exact(name, square):
    found = cosine.threshold(name, Fraction(1, 4))
    assert found.low**2 <= square <= found.high**2
    assert found.high - found.low < Fraction(1, 10**12)


def test_a_threshold_is_not_certified_where_the_sign_does_not_change():
    with pytest.raises(ArithmeticError):
        cosine.threshold("mu", Fraction(0), start=Fraction(2), stop=Fraction(3))


@pytest.mark.parametrize("outcomes", [2, 3])
def test_the_best_constant_and_eta_are_best(outcomes, monkeypatch):
    assert baselines.proved_identities(outcomes)
    for check in (baselines.check_constant, baselines.check_softmax, baselines.check_eta):
        assert check(outcomes, 5, seed=1).holds
        assert check(outcomes, 5, seed=1).parabola
    monkeypatch.setattr(baselines, "best_constant", lambda p, _, f: sum(q * x for q, x in zip(p, f, strict=True)))
    assert not baselines.check_constant(outcomes, 5, seed=1).parabola  # E[f] is not the best constant


def test_the_best_constant_of_a_bernoulli_leaves_no_variance():
    p, f = (Fraction(1, 5), Fraction(4, 5)), (Fraction(3), Fraction(-7, 2))
    c = baselines.best_constant(p, (Fraction(1), Fraction(-1)), f)
    assert c == p[1] * f[0] + p[0] * f[1]
    assert baselines.variance_with(c, p, (Fraction(1), Fraction(-1)), f) == 0


def test_the_page_is_not_written_if_a_claim_fails(monkeypatch):
    monkeypatch.setattr(forms, "proved_gap", lambda *_: False)
    with pytest.raises(ArithmeticError, match="what is not so"):
        study.page(degree=7, proof_degree=2, cases=1)
