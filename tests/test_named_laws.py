"""The laws with names: densities, scores, moments and supports are those of SciPy and torch, and verdicts on them are right."""

from __future__ import annotations

import re
from fractions import Fraction
from math import inf

import numpy as np
import pytest
import torch
from scipy import stats

import derive
from derive.estimator import Estimator
from derive.exact.comparison import identically_equal
from derive.instances import compare
from derive.instances.charts import Rule
from derive.instances.errors import UnreadableError
from derive.instances.evaluate import Evaluator
from derive.instances.instance import Instance, Needs
from derive.instances.jets import coefficient
from derive.instances.named import FAMILIES
from derive.kernel import theorem as kernel
from derive.kernel.premises import (
    EVERYTHING,
    HOLDS,
    Covers,
    Differentiable,
    NonZero,
    Normalised,
    Positive,
    SupportFixed,
    consult,
)
from derive.language.errors import NotEvaluable, PremiseError, UnknownNode, UsageError
from derive.language.named import PARAMETERS, named
from derive.language.term import Density, NamedLaw, RandomVariable, lift
from derive.laws.named import KNOWN
from derive.laws.named.refusals import NONE
from derive.notation import (
    E,
    Over,
    beta,
    constant,
    continuous,
    copies,
    exp,
    exponential,
    function,
    gamma,
    geometric,
    grad,
    gumbel,
    laplace,
    log,
    logistic,
    maxwell,
    negative_binomial,
    normal,
    p,
    parameter,
    poisson,
    score,
    sigmoid,
    stop,
    weibull,
)
from derive.printing import text
from derive.written.grammar import declare, parse
from derive.written.setting import Setting

theta, c, f = parameter("theta"), constant("c"), function("f")
d = torch.distributions


def logistic_of_torch(loc, scale):
    parts = [d.transforms.SigmoidTransform().inv, d.transforms.AffineTransform(loc, scale)]
    return d.TransformedDistribution(d.Uniform(torch.zeros_like(loc), 1), parts)


class MaxwellOfTorch:
    """The law that torch has not: a normal density times the square of the standardised point."""

    def __init__(self, loc, scale):
        self.loc, self.scale, self.normal = loc, scale, d.Normal(loc, scale)

    def log_prob(self, x):
        return self.normal.log_prob(x) + ((x - self.loc) / self.scale).square().log()


class MaxwellOnBothSides(stats.rv_continuous):
    """SciPy has one side: the law of its size, of which either sign is as likely."""

    def _logpdf(self, x):
        return stats.maxwell.logpdf(abs(x)) - np.log(2)

    def _cdf(self, x):
        return (1 + np.sign(x) * stats.maxwell.cdf(abs(x))) / 2

    def _munp(self, n):
        return 0.0 if n % 2 else stats.maxwell.moment(n)

    def _rvs(self, size=None, random_state=None):
        return stats.maxwell.rvs(size=size, random_state=random_state) * random_state.choice((-1, 1), size)


TORCH = {
    "Exponential": d.Exponential,
    "Gamma": d.Gamma,
    "Beta": d.Beta,
    "Poisson": d.Poisson,
    "Geometric": d.Geometric,
    "Laplace": d.Laplace,
    "Logistic": logistic_of_torch,
    "Gumbel": d.Gumbel,
    "Weibull": lambda shape, scale: d.Weibull(scale, shape),
    "NegativeBinomial": d.NegativeBinomial,
    "Maxwell": MaxwellOfTorch,
}
SCIPY = {
    "Exponential": lambda rate: stats.expon(scale=1 / rate),
    "Gamma": lambda shape, rate: stats.gamma(shape, scale=1 / rate),
    "Beta": stats.beta,
    "Poisson": stats.poisson,
    "Geometric": lambda probability: stats.geom(probability, loc=-1),
    "Laplace": stats.laplace,
    "Logistic": stats.logistic,
    "Gumbel": stats.gumbel_r,
    "Weibull": lambda shape, scale: stats.weibull_min(shape, scale=scale),
    "NegativeBinomial": lambda total, probability: stats.nbinom(total, 1 - probability),
    "Maxwell": MaxwellOnBothSides(name="maxwell_on_both_sides"),
}
COUNTS = ("Poisson", "Geometric", "NegativeBinomial")
VALUES = {
    "rate": (Fraction(3, 4), 2),
    "shape": (Fraction(3, 2), 3),
    "a": (Fraction(5, 4), 3),
    "b": (2, Fraction(7, 2)),
    "probability": (Fraction(1, 3), Fraction(3, 4)),
    "loc": (Fraction(-1, 2), 1),
    "scale": (Fraction(4, 5), 2),
    "total": (Fraction(5, 2), 1),
}
POINTS = {"Beta": (0.2, 0.7), "Poisson": (0, 1, 4), "Geometric": (0, 1, 4), "Laplace": (-1.7, 0.4, 3), "Logistic": (-2, 0.4),
          "Gumbel": (-1, 0.4, 3), "NegativeBinomial": (0, 1, 4), "Maxwell": (-1.7, 0.4, 3)}  # fmt: skip
SHORT = {"NegativeBinomial": {"probability": (Fraction(1, 3), Fraction(2, 5))}}  # tails that the instances sum to the end
CASES = [
    (name, tuple((VALUES | SHORT.get(name, {}))[one][i] for one in taken)) for name, taken in PARAMETERS.items() for i in (0, 1)
]


def evaluator():
    return Evaluator(Instance(0, 0, Needs()), Rule(0.05, 0.5))


@pytest.mark.parametrize(("name", "values"), CASES)
def test_density_and_score_are_those_of_torch_and_scipy(name, values):
    for at in POINTS.get(name, (0.1, 1, 2.5)):
        tensors = [torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for value in values]
        point = torch.tensor(float(at), dtype=torch.float64)
        theirs = TORCH[name](*tensors).log_prob(point)
        scipy = SCIPY[name](*map(float, values))
        assert theirs.item() == pytest.approx(getattr(scipy, "logpmf" if name in COUNTS else "logpdf")(at))
        slopes = torch.autograd.grad(theirs, tensors)
        jets = [{0: np.asarray(float(value)), 1 << i: np.ones(())} for i, value in enumerate(values)]
        ours = FAMILIES[name].log_density({0: np.asarray(float(at))}, tuple(jets))
        assert ours[0] == pytest.approx(theirs.item())
        written = KNOWN[name].slopes(lift(Fraction(str(at))), *map(lift, values))
        for i, slope in enumerate(slopes):
            assert coefficient(ours, 1 << i)[0] == pytest.approx(slope.item(), abs=1e-12)
            if written[i] != NONE:
                assert float(evaluator().value(written[i])) == pytest.approx(slope.item(), abs=1e-12)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_moments_are_those_of_scipy_and_of_the_instances(name, values):
    x = RandomVariable("x", named(name, *values))
    scipy = SCIPY[name](*map(float, values))
    for order in range(1, 5):
        expected = float(scipy.moment(order))
        assert float(evaluator().value(E(x**order, x))) == pytest.approx(expected, rel=1e-7)
        if name in ("Logistic", "Gumbel", "Weibull"):
            with pytest.raises(NotEvaluable, match=name):
                KNOWN[name].moment(order, *map(lift, values))
            continue
        moment = KNOWN[name].moment(order, *map(lift, values))
        assert float(evaluator().value(moment)) == pytest.approx(expected, rel=1e-9)
    assert float(evaluator().value(E(1 + 0 * x, x))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_the_support_is_that_of_scipy_and_no_parameter_moves_it(name, values):
    law = named(name, *values)
    low, high = SCIPY[name](*map(float, values)).support()
    assert law.counts == (name in COUNTS)
    for at in (-1.0, -0.5, 0.5, 1.0, 2.0):
        inside = FAMILIES[name].inside({0: np.asarray(at)}, tuple({0: np.asarray(float(v))} for v in values))
        assert bool(np.all(inside)) == (low <= at <= high and (not law.counts or at == int(at))) or at in (low, high)
    moving = RandomVariable("x", named(name, *(c if name == "Maxwell" and not i else theta for i, _ in enumerate(values))))
    assert consult(SupportFixed(moving, theta)) == HOLDS
    assert (low, high) in ((0, inf), (-inf, inf), (0, 1))


def test_every_law_has_a_file_a_density_and_a_word_in_the_notation():
    assert set(PARAMETERS) == set(KNOWN) == set(FAMILIES) == set(TORCH) == set(SCIPY)
    for name, taken in PARAMETERS.items():
        word = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        made = getattr(derive.notation, word)("x", **dict.fromkeys(taken, Fraction(1, 2)))
        assert isinstance(made.law, NamedLaw)
        assert made.law.name == name


# Verdicts

x, n, g = exponential("x", rate=theta), poisson("n", rate=theta), geometric("g", probability=theta)
x1, x2 = copies(x, 2)
g1, g2 = copies(g, 2)
shaped, bounded = gamma("w", shape=theta, rate=1), beta("w", a=theta, b=2)


q = sigmoid(theta)
b, b1 = negative_binomial("b", total=c, probability=q), negative_binomial("b", total=c + 1, probability=q)
failing, m = negative_binomial("b", total=theta, probability=Fraction(1, 3)), maxwell("m", scale=theta)


def of(variable):
    return grad(E(f(variable), variable), theta)


JUDGED = {
    "exponential score": (f(x) * score(x), (x,), x, "proved"),
    "exponential score, minus": (-f(x) * score(x), (x,), x, "refuted"),
    "exponential score, a constant": (f(x) * (score(x) + 1), (x,), x, "refuted"),
    "exponential measure-valued": ((f(x1) - f(x1 + x2)) / theta, (x1, x2), x, "checked"),
    "exponential measure-valued, no factor": (f(x1) - f(x1 + x2), (x1, x2), x, "scaled"),
    "exponential measure-valued, one sample": ((f(x1) - f(2 * x1)) / theta, (x1,), x, "refuted"),
    "poisson score": (f(n) * score(n), (n,), n, "proved"),
    "poisson measure-valued": (f(n + 1) - f(n), (n,), n, "checked"),
    "poisson measure-valued, minus": (f(n) - f(n + 1), (n,), n, "refuted"),
    "poisson measure-valued, backwards": (f(n) - f(n - 1), (n,), n, "refuted"),
    "geometric score": (f(g) * score(g), (g,), g, "proved"),
    "geometric measure-valued": ((f(g1 + g2) - f(g1 + g2 + 1)) / theta**2, (g1, g2), g, "checked"),
    "geometric measure-valued, one sample": ((f(g) - f(g + 1)) / theta**2, (g,), g, "refuted"),
    "gamma shape": (f(shaped) * score(shaped), (shaped,), shaped, "proved"),
    "gamma shape, twice": (2 * f(shaped) * score(shaped), (shaped,), shaped, "undecided"),
    "beta": (f(bounded) * score(bounded), (bounded,), bounded, "proved"),
    "negative binomial score": (f(b) * score(b, theta), (b,), b, "proved"),
    "negative binomial measure-valued": (c * (f(b1 + 1) - f(b1)) * exp(theta), (b1,), b, "checked"),
    "negative binomial measure-valued, one sample": (c * (f(b + 1) - f(b)) * exp(theta), (b,), b, "refuted"),
    "negative binomial total": (f(failing) * score(failing), (failing,), failing, "proved"),
    "negative binomial total, twice": (2 * f(failing) * score(failing), (failing,), failing, "undecided"),
    "maxwell score": (f(m) * score(m), (m,), m, "proved"),
    "maxwell score, minus": (-f(m) * score(m), (m,), m, "refuted"),
    "maxwell score, a normal one": (f(m) * ((m / theta) ** 2 - 1) / theta, (m,), m, "refuted"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_verdict_is_right(name):
    formula, draws, variable, word = JUDGED[name]
    verdict = derive.prove(Estimator("mine", formula, draws, of(variable)))
    assert verdict.verdict == word
    if word in ("refuted", "scaled"):
        assert verdict.witness.mean != verdict.witness.target
        assert Fraction(verdict.witness.case["theta"]) > 0


MOVING = (
    laplace("w", scale=theta),
    logistic("w", loc=theta),
    logistic("w", scale=theta),
    gumbel("w", loc=theta),
    weibull("w", shape=2, scale=theta),
    weibull("w", shape=theta),
    maxwell("w", scale=theta),
    negative_binomial("w", total=theta, probability=Fraction(1, 3)),
    negative_binomial("w", total=2, probability=sigmoid(theta)),
    poisson("w", rate=exp(theta)),
    geometric("w", probability=sigmoid(theta)),
)


@pytest.mark.parametrize("variable", MOVING)
def test_the_score_function_is_proved_for_every_law(variable):
    found = derive.prove(Estimator("mine", f(variable) * score(variable, theta), (variable,), of(variable)))
    assert found.verdict == "proved"
    wrong = derive.prove(
        Estimator("mine", (f(variable) + score(variable, theta)) * score(variable, theta), (variable,), of(variable))
    )
    assert wrong.verdict in ("undecided", "refuted")


def test_instances_know_the_measure_valued_gradients_and_their_twins():
    for name in ("exponential measure-valued", "poisson measure-valued"):
        formula, draws, variable, _ = JUDGED[name]
        assert compare(E(formula, *draws), of(variable), assumptions=[Positive(theta)]).verdict == "agree"
        assert compare(E(2 * formula, *draws), of(variable), assumptions=[Positive(theta)]).verdict == "differ"
    rate = geometric("g", probability=sigmoid(theta))
    first, second = copies(rate, 2)
    q = sigmoid(theta)
    weak = (f(first + second) - f(first + second + 1)) / q**2 * grad(q, theta)
    assert compare(E(weak, first, second), of(rate)).verdict == "agree"


def test_the_score_of_a_moving_laplace_law_has_a_kink_and_is_refused():
    moving = laplace("w", loc=theta)
    assert "kink" in consult(Differentiable(p(moving), theta)).failure
    assert derive.prove(Estimator("mine", f(moving) * score(moving, theta), (moving,), of(moving))).verdict == "undecided"
    assert compare(E(f(moving) * score(moving, theta), moving), of(moving)).verdict == "agree"


# Kernel


MIDDLE = {
    "the law itself": Positive(p(maxwell("m", scale=c))),
    "a point beside the middle": Positive(p(maxwell("m"), at=exp(theta))),
    "the same middle": Covers(p(maxwell("m", loc=c)), p(maxwell("y", loc=c, scale=2))),
    "of a normal law": Covers(p(normal("z")), p(maxwell("m"))),
    "its size moves": SupportFixed(maxwell("m", scale=theta), theta),
}
AT_ZERO = {
    "a normal point": (Positive(p(maxwell("m"), at=normal("z"))), "NonZero fails"),
    "a moved normal point": (Positive(p(maxwell("m", loc=c), at=c + 2 * normal("z"))), "NonZero fails"),
    "one over it": (NonZero(p(maxwell("m"), at=normal("z"))), "NonZero fails"),
    "its middle": (Positive(p(maxwell("m", loc=c), at=c)), "NonZero fails"),
    "another law": (Covers(p(maxwell("m")), p(normal("z"))), "zero at 0, where"),
    "another law with a name": (Covers(p(maxwell("m", loc=c)), p(laplace("z"))), "zero at c, where"),
    "another middle": (Covers(p(maxwell("m")), p(maxwell("y", loc=1))), "zero at 0, and the other one at 1"),
    "its middle moves": (SupportFixed(maxwell("m", loc=theta), theta), "zero at its middle, which moves"),
    "a logarithm": (Differentiable(log(p(maxwell("m", scale=theta), at=normal("z"))), theta), "NonZero fails"),
}


@pytest.mark.parametrize("name", MIDDLE)
def test_a_maxwell_density_is_positive_but_at_its_middle(name):
    assert not consult(MIDDLE[name]).failure
    assert not any(isinstance(need, (Covers, SupportFixed)) for need in consult(MIDDLE[name]).needs)


@pytest.mark.parametrize("name", AT_ZERO)
def test_a_maxwell_density_is_zero_at_its_middle(name):
    premise, said = AT_ZERO[name]
    assert said in consult(premise).failure


def test_what_divides_by_a_maxwell_density_under_another_law_is_not_proved():
    """At the middle the weight has a pole, and the estimate no variance."""
    m, z = maxwell("m", scale=theta), normal("z")
    weighted = Estimator("mine", p(z, at=m) / p(m) * f(m) * score(m, theta), (m,), grad(E(f(z), z), theta))
    verdict = derive.prove(weighted)
    assert verdict.verdict in ("undecided", "refuted")
    assert any("a Maxwell density is zero at 0" in said for said in verdict.tried)
    moved = maxwell("m", loc=theta)
    found = derive.prove(Estimator("mine", f(moved) * score(moved, theta), (moved,), of(moved)))
    assert found.verdict == "undecided"
    assert compare(E(f(moved) * score(moved, theta), moved), of(moved)).verdict == "agree"
    with pytest.raises(PremiseError, match="zero at its middle"):
        kernel.leibniz(grad(Over(p(moved), moved), theta), assuming=EVERYTHING)


NEEDED = {"Exponential": 1, "Gamma": 2, "Laplace": 1, "Geometric": 2, "NegativeBinomial": 3, "Maxwell": 1}


@pytest.mark.parametrize(("name", "needs"), NEEDED.items())
def test_a_law_is_one_where_its_parameters_are_positive(name, needs):
    variable = RandomVariable("x", named(name, *(constant(f"c{i}") for i, _ in enumerate(PARAMETERS[name]))))
    assert len(consult(Normalised(variable)).needs) == needs
    assert consult(Normalised(variable)) == consult(Positive(p(variable)))
    with pytest.raises(PremiseError, match="Positive"):
        kernel.normalisation(Over(p(variable), variable))
    assert len(kernel.normalisation(Over(p(variable), variable), assuming=EVERYTHING).assumptions) == needs


def test_a_density_is_differentiable_where_its_law_is_one():
    assert consult(Differentiable(p(x), theta)).needs == {Positive(theta)}
    assert consult(Differentiable(p(poisson("n", rate=exp(theta))), theta)) == HOLDS
    assert consult(Differentiable(p(x, at=constant("c")), theta)).needs == {Differentiable(p(x, at=constant("c")), theta)}


def test_probabilities_and_densities_do_not_cover_each_other():
    """A normal density is positive at 0, 1, 2, ..., and yet no sum over them is an integral with it."""
    z, t = normal("z"), continuous("t", c)
    for first, second in ((z, n), (n, z), (t, n), (x, n)):
        assert "density" in consult(Covers(Density(first.law, first), Density(second.law, first))).failure
        with pytest.raises(PremiseError, match="Covers"):
            kernel.change_of_law(E(f(second), second), first, assuming=EVERYTHING)
    assert not consult(Covers(Density(n.law, n), Density(g.law, n))).failure


def test_the_instances_read_a_maxwell_law_through_its_zero():
    """Its logarithm and powers below one have means; what has a pole without one is not read."""
    m, z = maxwell("m"), normal("z")
    assert float(evaluator().value(E(log(p(m)), m))) == pytest.approx(-np.log(2) - stats.maxwell.entropy(), abs=1e-10)
    assert compare(E(m**-2, m), 1 + 0 * theta).verdict == "agree"
    for none in (E(m**-4, m), E(log(p(m, at=z)), z), E(z**-2, z)):
        assert compare(none, 1 + 0 * theta).verdict == "silent"
    middle = p(maxwell("m", loc=theta), at=stop(theta))
    assert float(evaluator().value(middle)) == 0
    with pytest.raises(UnreadableError, match="no finite number"):
        evaluator().value(grad(middle, theta))


# What is refused


def test_parameters_that_are_numbers_are_checked():
    for make in (
        lambda: exponential("x", rate=0),
        lambda: geometric("x", probability=1),
        lambda: beta("x", a=1, b=-1),
        lambda: gumbel("x", scale=0),
        lambda: maxwell("x", scale=-1),
        lambda: negative_binomial("x", total=0, probability=Fraction(1, 2)),
        lambda: negative_binomial("x", total=2, probability=1),
        lambda: named("Cauchy", 0, 1),
        lambda: named("Gamma", 1),
    ):
        with pytest.raises(UsageError):
            make()
    assert geometric("x", probability=Fraction(1, 2)).law.parameters == (lift(Fraction(1, 2)),)


def test_what_does_not_fit_is_refused_by_name():
    w = gumbel("w", loc=theta)
    with pytest.raises(NotEvaluable, match="Gumbel law the moments"):
        identically_equal(E(f(w), w), 0 * theta, theta, 2)
    with pytest.raises(NotEvaluable, match="Gamma law the score"):
        identically_equal(E(f(shaped) * score(shaped), shaped), 0 * theta, theta, 2)
    with pytest.raises(NotEvaluable, match="without the probabilities"):
        identically_equal(Over(f(n), n), 0 * theta, theta, 2)
    with pytest.raises(UnknownNode, match="Poisson is not written for SymPy"):
        E(f(n), n).to_sympy()


def test_an_instance_reads_no_law_with_wrong_parameters_and_no_sum_without_an_end():
    m = poisson("m", rate=-1 - theta**2)
    with pytest.raises(UnreadableError, match="positive"):
        evaluator().value(E(f(m), m))
    slow = geometric("s", probability=Fraction(1, 50))
    with pytest.raises(UnreadableError, match="ended"):
        evaluator().value(E(slow, slow))


# Print


def test_it_is_printed_and_read_back():
    read_back = (
        (x, "x ~ Exponential(theta)"), (n, "n ~ Poisson(theta)"), (shaped, "w ~ Gamma(theta, 1)"),
        (m, "m ~ Maxwell(0, theta)"), (failing, "b ~ NegativeBinomial(theta, 1/3)"),
    )  # fmt: skip
    for variable, drawn in read_back:
        setting = Setting()
        declare(drawn, setting)
        assert setting.variables[variable.name] == variable
        for term in (E(f(variable), variable), p(variable), score(variable, theta), Over(p(variable) * f(variable), variable)):
            assert parse(text.render(term), setting) == term
    assert text.render(Over(p(n), n)) == "sum_n Poisson(n; theta)"
    assert text.render(Over(p(x), x)) == "int Exponential(x; theta) dx"
    with pytest.raises(UsageError, match="expected Gamma with two parameters"):
        declare("w ~ Gamma(theta)", Setting())


def test_a_factor_that_moves_is_a_scale_of_unknown_integrands_only():
    """Of one function with one parameter, any other mean is a multiple of the gradient."""
    x = exponential("x", rate=theta)
    target = grad(E(c * x + x**2, x), theta)
    biased = derive.prove(Estimator("biased", (c * x + x**2 / 2) * score(x, theta), (x,), target))
    assert (biased.verdict, biased.scale) == ("refuted", None)
    doubled = derive.prove(Estimator("doubled", 2 * (c * x + x**2) * score(x, theta), (x,), target))
    assert (doubled.verdict, doubled.scale) == ("scaled", 2)
    of_any = derive.prove(Estimator("of any", theta * f(x) * score(x, theta), (x,), grad(E(f(x), x), theta)))
    assert (of_any.verdict, of_any.scale) == ("scaled", "theta")
