"""Joint laws are draws one after the other: densities, scores and moments together are those of SciPy and torch."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

import derive
import numeric
from derive.estimator import Estimator
from derive.exact.comparison import identically_equal
from derive.instances.charts import Rule
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, Needs
from derive.language.errors import NotATerm, UsageError
from derive.language.scope import substitute
from derive.language.term import RandomVariable, lift
from derive.notation import (
    E,
    constant,
    copies,
    dirichlet,
    function,
    grad,
    log,
    multivariate_normal,
    normal,
    p,
    parameter,
    score,
)
from derive.printing import latex, markdown, text
from numeric.codegen.torchgen import usual_families
from numeric.codegen.torchrun import compile

theta, c, f = parameter("theta"), constant("c"), function("f")
smooth, joint = function("f", differentiable=True), function("log_joint", differentiable=True)
d = torch.distributions
INSTANCE = Instance(0, 0, Needs())
AT = INSTANCE.symbol("theta")
FALSE_ALARM = 1e-9


def number(term, point=None):
    """The value of a term at the theta of the instance, with numbers for its draws."""
    given = {leaf: lift(value) for leaf, value in (point or {}).items()}
    return float(Evaluator(INSTANCE, Rule(0.05, 0.5)).value(substitute(term, given)))


def tensor(values):
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def agrees(made, samples=20_000):
    return numeric.crosscheck(made, samples=samples).agrees


# Normal vectors

MEAN = (theta, 2 * theta - 1, Fraction(1, 2))
FACTOR = ((1 + theta**2,), (theta, 2), (Fraction(-1, 2), 1 - 2 * theta, 1 + theta**2))
Z = multivariate_normal("z", mean=MEAN, cholesky=FACTOR)
POINTS = [(0, 0, 0), (1, Fraction(-1, 2), 2), (Fraction(3, 2), 4, Fraction(-5, 2))]


def torch_normal(t):
    zero, size = torch.zeros_like(t), 1 + t**2
    rows = [(size, zero, zero), (t, zero + 2, zero), (zero - 0.5, 1 - 2 * t, size)]
    return d.MultivariateNormal(torch.stack([t, 2 * t - 1, zero + 0.5]), scale_tril=torch.stack(list(map(torch.stack, rows))))


@pytest.mark.parametrize("point", POINTS)
def test_density_and_score_of_a_normal_vector_are_those_of_torch_and_scipy(point):
    t = torch.tensor(AT, dtype=torch.float64, requires_grad=True)
    law, at = torch_normal(t), dict(zip(Z, point, strict=True))
    theirs = law.log_prob(tensor(point))
    ours = sum(number(log(p(draw)), at) for draw in Z)
    assert ours == pytest.approx(theirs.item())
    scipy = stats.multivariate_normal(law.mean.detach().numpy(), law.covariance_matrix.detach().numpy())
    assert ours == pytest.approx(scipy.logpdf([float(value) for value in point]))
    slope = sum(number(score(draw, theta), at) for draw in Z)
    assert slope == pytest.approx(torch.autograd.grad(theirs, t)[0].item())


def test_moments_of_a_normal_vector_are_those_of_its_mean_and_factor():
    law = torch_normal(torch.tensor(AT, dtype=torch.float64))
    for i, j in product(range(3), repeat=2):
        covariance = sum((FACTOR[i][k] * lift(FACTOR[j][k]) for k in range(min(i, j) + 1)), start=lift(0))
        assert number(covariance) == pytest.approx(law.covariance_matrix[i, j].item())
        assert identically_equal(E(Z[i] * Z[j], *Z), MEAN[i] * lift(MEAN[j]) + covariance, theta, 2)
        assert identically_equal(E(Z[i], *Z), lift(MEAN[i]), theta, 2)
        assert not identically_equal(E(Z[i] * Z[j], *Z), MEAN[i] * lift(MEAN[j]) + 2 * covariance, theta, 2)


def of_vector(draws, of=f):
    return grad(E(of(*draws), *draws), theta)


def vector(mean, cholesky):
    return multivariate_normal("z", mean=mean, cholesky=cholesky)


MOVED = {
    "the first mean": (vector((theta, c), ((1,), (c, 2))), (0, 1)),
    "both means": (vector((theta, theta), ((1,), (c, 2))), (0, 1)),
    "the second mean": (vector((0, theta), ((2,), (c, 1))), (1,)),
    "the first deviation": (vector((0, c), ((theta,), (c, 2))), (0, 1)),
    "below the diagonal": (vector((0, c), ((1,), (theta, 2))), (1,)),
    "the last deviation": (vector((c, 0), ((1,), (c, theta))), (1,)),
}


FIRST = pytest.param("the first mean", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("name", [FIRST, *list(MOVED)[1:]])
def test_the_score_function_of_a_normal_vector_is_proved_run_and_printed(name):
    draws, moving = MOVED[name]
    formula = f(*draws) * sum(score(draws[i], theta) for i in moving)
    mine = Estimator("mine", formula, draws, of_vector(draws))
    verdict = derive.prove(mine)
    assert (verdict.verdict, verdict.holds_for) == ("proved", "every law that meets the assumptions")
    assert all(check.identically_zero for check in verdict.checked)
    assert usual_families(mine) == ("vector",)
    assert agrees(mine)
    assert derive.variance(mine).variance is not None
    for notation in (text, markdown, latex):
        assert "proved" in notation.document(mine, verdict.derivation, verdict.conclusion)
    twice = Estimator("twice", 2 * formula, draws, of_vector(draws))
    assert derive.prove(twice).verdict == "scaled"
    assert not agrees(twice)


def test_the_score_of_the_first_draw_alone_is_not_that_of_the_vector():
    """The mean of the second draw moves too, where it is given the first one."""
    draws, _ = MOVED["the first mean"]
    alone = Estimator("mine", f(*draws) * score(draws[0], theta), draws, of_vector(draws))
    verdict = derive.prove(alone)
    assert verdict.verdict == "refuted"
    assert verdict.witness.mean != verdict.witness.target
    assert not agrees(alone)


def test_a_normal_vector_is_reparameterized():
    draws = vector((theta, c), ((1,), (c, 2)))
    noise = copies(normal("e"), 2)
    at = theta + noise[0], c + c * noise[0] + 2 * noise[1]
    path = Estimator("mine", grad(smooth(*at), theta), noise, of_vector(draws, smooth))
    assert derive.prove(path).verdict == "proved"
    assert agrees(path)
    without = Estimator("mine", grad(smooth(at[0], c + 2 * noise[1]), theta), noise, of_vector(draws, smooth))
    assert derive.prove(without).verdict == "refuted"
    assert not agrees(without)


def test_three_components_are_judged_where_rows_are_counted_once():
    """The nodes of a draw that is given two others are as many as its own, in dimensions that are there already."""
    draws = multivariate_normal("z", mean=(theta, 0, 1), cholesky=((1,), (c, 1), (1, 0, 2)))
    formula = f(*draws) * sum(score(draw, theta) for draw in draws)
    assert agrees(Estimator("mine", formula, draws, of_vector(draws)))


@pytest.mark.parametrize(
    ("mean", "cholesky", "said"),
    [
        ((), (), "lower triangular"),
        ((0, 0), ((1,),), r"rows of the lengths \[1, 2\]; got \[1\]"),
        ((0, 0), ((1, 0), (0, 1)), r"got \[2, 2\]. Give"),
        ((0,), ((1,), (0, 1)), r"\[1\]; got \[1, 2\]"),
        ((0, 0), ((1,), (2, 0)), "standard deviation 0"),
        ((0, 0), ((-1,), (2, 1)), "standard deviation -1"),
    ],
)
def test_what_is_no_lower_triangular_factor_is_refused(mean, cholesky, said):
    with pytest.raises(UsageError, match=said):
        multivariate_normal("z", mean=mean, cholesky=cholesky)


def test_a_diagonal_factor_gives_independent_draws():
    draws = multivariate_normal("z", mean=(theta, 0), cholesky=((1,), (0, c)))
    assert draws == (normal("z_1", theta, 1), normal("z_2", 0, c))


# Proportions

WEIGHTS = {
    "the first": ((theta, 2, 1), lambda t: (t, 2, 1)),
    "the second": ((2, theta, 3), lambda t: (2, t, 3)),
    "the last": ((Fraction(3, 2), 2, theta), lambda t: (1.5, 2, t)),
    "all": ((theta, 2 * theta, theta + 1), lambda t: (t, 2 * t, t + 1)),
    "two": ((theta, 3 * theta), lambda t: (t, 3 * t)),
    "four": ((1, theta, 2, theta), lambda t: (1, t, 2, t)),
}
PROPORTIONS = {2: (0.3, 0.7), 3: (0.2, 0.5, 0.3), 4: (0.1, 0.4, 0.3, 0.2)}


def shares(proportions):
    """The values of the draws at which the coordinates are these proportions."""
    exact = [Fraction(str(x)) for x in proportions]
    return [x / (1 - sum(exact[:k])) for k, x in enumerate(exact[:-1])]


@pytest.mark.parametrize("name", WEIGHTS)
def test_density_and_score_of_proportions_are_those_of_torch_and_scipy(name):
    terms, values = WEIGHTS[name]
    x = dirichlet("x", concentration=terms)
    proportions = PROPORTIONS[len(terms)]
    at = dict(zip(x.draws, shares(proportions), strict=True))
    t = torch.tensor(AT, dtype=torch.float64, requires_grad=True)
    concentration = torch.stack([torch.as_tensor(value, dtype=torch.float64) + 0 * t for value in values(t)])
    theirs = d.Dirichlet(concentration).log_prob(tensor(proportions))
    assert [number(one, at) for one in x.coordinates] == pytest.approx(proportions)
    jacobian = sum(np.log(1 - sum(proportions[:k])) for k in range(1, len(proportions) - 1))
    ours = sum(number(log(p(draw)), at) for draw in x.draws) - jacobian
    assert ours == pytest.approx(theirs.item())
    assert ours == pytest.approx(stats.dirichlet(concentration.detach().numpy()).logpdf(proportions))
    assert number(x.score(theta), at) == pytest.approx(torch.autograd.grad(theirs, t)[0].item())


def test_moments_of_proportions_are_those_of_scipy():
    terms = (Fraction(3, 2), 2, 1)
    x, law = dirichlet("x", concentration=terms), stats.dirichlet([1.5, 2, 1])
    for i, j in product(range(3), repeat=2):
        together = number(E(x.coordinates[i] * x.coordinates[j], *x.draws))
        assert together == pytest.approx(law.cov()[i, j] + law.mean()[i] * law.mean()[j])
        assert number(E(x.coordinates[i], *x.draws)) == pytest.approx(law.mean()[i])


def test_the_samples_have_the_margins_of_proportions():
    terms = (Fraction(3, 2), 2, 1)
    x = dirichlet("x", concentration=terms)
    made = compile(Estimator("mine", f(*x.coordinates) + 0 * theta, x.draws, grad(E(f(*x.coordinates), *x.draws), theta)))
    noise = made.draw(torch.ones(1, dtype=torch.float64), torch.Generator().manual_seed(3), (20_000,))
    first, second = noise["x_1"][:, 0].numpy(), noise["x_2"][:, 0].numpy()
    for drawn, own in zip((first, (1 - first) * second, (1 - first) * (1 - second)), (1.5, 2, 1), strict=True):
        assert stats.kstest(drawn, stats.beta(own, 4.5 - own).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "four"])
def test_the_score_function_of_proportions_is_proved_and_runs(name):
    x = dirichlet("x", concentration=WEIGHTS[name][0])
    target = grad(E(f(*x.coordinates), *x.draws), theta)
    mine = Estimator("mine", f(*x.coordinates) * x.score(theta), x.draws, target)
    assert derive.prove(mine).verdict == "proved"
    assert agrees(mine)
    wrong = Estimator("mine", f(*x.coordinates) * (x.score(theta) + 1), x.draws, target)
    assert not agrees(wrong)


def test_the_score_of_the_first_share_alone_is_not_that_of_the_proportions():
    x = dirichlet("x", concentration=(2, theta, 3))
    target = grad(E(f(*x.coordinates), *x.draws), theta)
    alone = Estimator("mine", f(*x.coordinates) * score(x.draws[0], theta), x.draws, target)
    assert derive.prove(alone).verdict in ("undecided", "refuted")
    assert not agrees(alone)


def test_a_draw_that_does_not_move_has_no_part_in_the_score():
    x = dirichlet("x", concentration=(theta, 2, 1))
    assert x.score(theta) == score(x.draws[0], theta)
    assert x.score(parameter("phi")) == lift(0)
    with pytest.raises(NotATerm, match="differentiates by a parameter"):
        x.score(2)


def test_proportions_of_one_piece_and_of_negative_concentrations_are_refused():
    with pytest.raises(UsageError, match="two or more concentrations"):
        dirichlet("x", concentration=(1,))
    for bad in ((0, 1, 2), (1, -2, 3), (1, 1, 0)):
        with pytest.raises(UsageError, match="must be positive"):
            dirichlet("x", concentration=bad)


def test_numbers_among_the_concentrations_are_added():
    x = dirichlet("x", concentration=(1, theta, 2, 3))
    assert [str(draw.law) for draw in x.draws] == ["Beta(.; 1, theta + 5)", "Beta(.; theta, 5)", "Beta(.; 2, 3)"]
    assert all(isinstance(draw, RandomVariable) for draw in x.draws)
