"""Note 001, slides on gradient estimators from the score function to RELAX: equations (1) to (51), and the claims between them.

`t` is a variable with any density, `b` one with any finite law; `Z` is a latent variable with any finite law given b, on which
the sums of equations (31) to (46) are exact.
"""

from __future__ import annotations

from fractions import Fraction

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.exact.comparison import second_moment
from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING
from derive.kernel.theorem import Theorem
from derive.language.term import Function, Term, lift
from derive.laws.models import RationalCase
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
    uniform,
)
from derive.proofs.calc import chain_of
from derive.proofs.rules import (
    algebra,
    conditional_reparameterization,
    control_variate_correction,
    expectation,
    leibniz,
    linearity,
    log_derivative_trick,
    marginalization,
    mean_score,
    normalisation,
    pathwise,
    pathwise_gradient,
    product_rule,
    reparameterization,
    score_function,
    score_function_estimator,
)
from docs.notes import cases
from docs.notes.cases import HALF, bernoulli, concrete_at_one, hump, hump_slope, rebar_at_one, variances
from docs.notes.checks import (
    chain,
    closed,
    confirmed,
    differs,
    moments,
    needs,
    not_summable,
    numbers,
    outside,
    outside_differs,
    proved,
    read,
    refused,
    same,
    theorem,
    unbalanced,
    undefined,
    unscoped,
    value,
    without,
    wrong_reference,
)
from docs.notes.statement import HOLDS, ILL, UNDER, WRONG, Pen

PEN = Pen("001")
TITLE = "Slides on gradient estimators, from the score function to RELAX"

theta, phi, lambda_ = parameter("theta"), parameter("phi"), parameter("lambda")
c = constant("c")
t, b = continuous("b", theta), finite("b", theta)
f, C = function("f"), function("C")
rough, smooth = function("f", differentiable=False), function("f", differentiable=True)
target, moved = grad(E(f(b), b), theta), grad(p(t), theta)

# Reparameterization: a normal law

mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
z, epsilon = normal("z", mu(theta), sigma(theta)), normal("epsilon")
g = mu(theta) + sigma(theta) * epsilon
plain = parameter("mu")
twice, twice_g = normal("b", 2 * theta, 1), 2 * theta + epsilon

# The relaxation

u, v = uniform("u"), uniform("v")
relaxed = relaxation(b)
latent = relaxed.h(u, theta)
hard = relaxed.H(latent)
latent_tilde, latent_given = relaxed.h_tilde(v, hard, theta), relaxed.h_tilde(v, b, theta)


def soft(point: Term, body: Function = smooth) -> Term:
    """f(sigma_lambda(z))."""
    return body(relaxed.sigma(point, lambda_))


control, control_tilde, control_given = soft(latent), soft(latent_tilde), soft(latent_given)
rebar_formula = (smooth(hard) - control_tilde) * score(b, at=hard) + grad(control, theta) - grad(control_tilde, theta)
rebar = Estimator("rebar (47)", rebar_formula, (u, v), grad(E(smooth(b), b), theta), where=catalogue["rebar"].where)
learned = function("C", differentiable=True)


def relax_formula(body: Function) -> Term:
    """The corrected (51)."""
    inside = (body(hard) - learned(latent_tilde, phi)) * score(b, at=hard)
    return inside + grad(learned(latent, phi), theta) - grad(learned(latent_tilde, phi), theta)


relax = Estimator("relax (51)", relax_formula(rough), (u, v), grad(E(rough(b), b), theta), where=catalogue["relax"].where)

# Any joint law of b and a latent variable with finitely many values

Z, b_2 = finite("z", law="m"), finite("b_2", theta)
cz = function("c")(Z)


def given(outcome: Term) -> Term:
    """p(z | b; theta)."""
    return p(finite("z", theta, law="q", given=(outcome,)), at=Z)


marginal = Over(p(b_2) * given(b_2), b_2)
score_z = grad(log(marginal), theta)
line_31 = Over(marginal * cz * score_z, Z)
line_32 = Over(Over(p(b) * given(b) * cz * score_z, b), Z)
line_34 = Over(p(b) * Over(given(b) * cz * score_z, Z), b)
line_35 = Over(p(b) * Over(given(b) * cz * (grad(log(given(b)), theta) + grad(log(p(b)), theta)), Z), b)
first_36 = Over(p(b) * grad(Over(given(b) * cz, Z), theta), b)
line_39 = Over(p(b) * Over(given(b) * cz * score(b), Z), b)
line_40 = Over(p(b) * Over(given(b) * cz * (1 / p(b)) * grad(p(b), theta), Z), b)
line_41 = Over(p(b) * (1 / p(b)) * Over(given(b) * cz * grad(p(b), theta), Z), b)
line_42 = Over(Over(given(b) * cz * grad(p(b), theta), Z), b)
AS_INTEGRAL = "read with an integral for the sum over z, see (31)"

relax_without_last = (rough(hard) - learned(latent_tilde, phi)) * score(b, at=hard) - grad(learned(latent_tilde, phi), theta)


def second_moment_alone(estimator: Estimator, mean: Theorem, symbol: str) -> Theorem:
    """d/dx (E[g^2] - E[g]^2) = d/dx E[g^2], because E[g] is the target, which does not contain x."""
    square, x = second_moment(estimator), parameter(symbol)
    swapped = kernel.symmetry(mean)
    line = kernel.reflexivity(grad(square - swapped.lhs * swapped.lhs, x))
    for factor in (1, 2):
        line = kernel.transitivity(line, kernel.congruence(line.rhs, ((0, 1, factor), swapped)))
    inside = kernel.differentiate(line.rhs, assuming=EVERYTHING)
    taken = kernel.differentiate(grad(square, x), assuming=EVERYTHING)
    rest = kernel.algebra(inside.rhs, taken.rhs, assuming=EVERYTHING)
    return kernel.transitivity(kernel.transitivity(kernel.transitivity(line, inside), rest), kernel.symmetry(taken))


def mean_of_rebar() -> Theorem:
    """The derivation of REBAR, for every eta."""
    return chain_of(catalogue["rebar"]).theorem


def mean_without_lambda() -> Theorem:
    """d/dlambda E[g] = 0."""
    swapped = kernel.symmetry(mean_of_rebar())
    inside = kernel.congruence(grad(swapped.lhs, lambda_), ((0,), swapped))
    return kernel.transitivity(inside, kernel.differentiate(inside.rhs, assuming=EVERYTHING))


def mean_of_relax() -> Theorem:
    """The derivation of (51), as the search finds it."""
    from derive.proofs.tactic import find

    derivation = find(relax).derivation
    return derivation.theorem if derivation is not None else kernel.reflexivity(target)


def shifted(shift: int) -> Fraction:
    """The variance of the score function estimator at p = 1/2, f = (1 + shift, shift)."""
    return moments(catalogue["score-function"], bernoulli(HALF, f=(1 + shift, shift)))[1]


def with_baseline(baseline: Fraction | int) -> Fraction:
    """The variance with a constant baseline at p = 1/2, f = (1, 0)."""
    case = RationalCase.finite((HALF, HALF), (1, -1), f=(1, 0), symbols={"c": baseline})
    return moments(catalogue["constant-baseline"], case)[1]


def lift_one(_: Term) -> Term:
    """The function 1."""
    return lift(1)


def lift_zero(_: Term) -> Term:
    """Its derivative."""
    return lift(0)


def outcome(probability: Fraction, noise: Fraction) -> int:
    """H(h(u, theta)): z >= 0 where u >= 1 - theta."""
    return int(noise >= 1 - probability)


def sigmoid_at_zero() -> Fraction:
    """sigma_lambda(0) = 1 / (1 + 1)."""
    return value(1 / (lift(1) + 1))


def mixed(weight: Fraction | int) -> Fraction:
    """The variance of ((1 - a) f score + a d f(z)) for f(z) = z^2 at theta = 0, where both use the same noise."""
    x = theta + epsilon
    body = (1 - weight) * x**2 * epsilon + weight * grad(x**2, theta)
    return moments(Estimator("mixed", body, (epsilon,), cases.by_path(lambda y: y**2).target), theta=0)[1]


def loss(outcome: int) -> Fraction:
    """(0.501 - b)^2."""
    return (Fraction(501, 1000) - outcome) ** 2


F_bz, G = function("F")(b, Z), function("g")
concrete_gradient = grad(E(control, u), theta)
NAMES = (("z", latent), ("b", hard), ("z_tilde", latent_tilde))
BY_SCORE, PATHWISE = variances(lambda x: x**2)
square_gradient = grad(E(cases.z**2, cases.z), theta)
all_control = Estimator("C = f", 0 * score(cases.z) + square_gradient, (cases.z,), square_gradient)
three = RationalCase.finite((Fraction(1, 3),) * 3, (1, -1, 0), f=(1, 0, 0), C=(0, 0, 1))
no_correction = catalogue["control-variate-without-correction"]
experiment = moments(catalogue["score-function"], bernoulli(HALF, f=(loss(1), loss(0))))
MOVING_SUPPORT = cases.MOVING
score_alone = concrete_at_one(lambda s: s**0)

EQUATIONS_1 = [
    PEN.equation(
        "1",
        r"\partial_\theta \mathbb{E}_{p(b;\theta)}[f(b)] = \partial_\theta \int f(b)\, p(b;\theta)\, db",
        HOLDS,
        chain(grad(E(f(t), t), theta), (expectation, grad(Over(p(t) * f(t), t), theta))),
        same(target, grad(Over(p(b) * f(b), b), theta), theta),
    ),
    PEN.equation(
        "2",
        r"\partial_\theta \int f(b)\, p(b;\theta)\, db = \int f(b)\, \partial_\theta p(b;\theta)\, db",
        UNDER,
        chain(grad(Over(p(t) * f(t), t), theta), (leibniz, Over(f(t) * moved, t))),
        same(grad(Over(p(b) * f(b), b), theta), Over(f(b) * grad(p(b), theta), b), theta),
        refused(
            "SupportFixed",
            lambda: kernel.leibniz(grad(Over(p(cases.moving) * f(cases.moving), cases.moving), theta), assuming=EVERYTHING),
            "a support that moves with theta",
        ),
        outside(MOVING_SUPPORT, cases.moving_values()[0], "=", cases.moving_values()[1]),
        remark="The slide names no condition.",
    ),
    PEN.claim(
        "Motivation, last sentence",
        r"(2) does not have the form of an expectation, so simple Monte Carlo cannot estimate it.",
        UNDER,
        chain(Over(moved, t), (leibniz, grad(Over(p(t), t), theta)), (normalisation, grad(lift(1), theta)), (algebra, lift(0))),
        corrected=r"With the weights $\partial_\theta p$, whose sum is 0 and never 1, (2) is no expectation; with the weights "
        "$p$ it is one: (6).",
        correct=(
            chain(
                Over(f(t) * moved, t),
                (log_derivative_trick, Over(f(t) * p(t) * score(t), t)),
                (expectation, E(f(t) * score(t), t)),
            ),
        ),
    ),
    PEN.equation(
        "3",
        r"\int f(b)\, \partial_\theta p(b;\theta)\, db \quad\text{(repeats (2))}",
        HOLDS,
        theorem(lambda: kernel.reflexivity(Over(f(t) * moved, t)), algebra),
    ),
    PEN.equation(
        "4",
        r"\int f(b)\, \partial_\theta p(b;\theta)\, db = \int f(b)\, p(b;\theta)\, \partial_\theta \log p(b;\theta)\, db",
        UNDER,
        chain(Over(f(t) * moved, t), (log_derivative_trick, Over(f(t) * p(t) * score(t), t))),
        same(Over(f(b) * grad(p(b), theta), b), Over(f(b) * p(b) * score(b), b), theta),
    ),
    PEN.claim(
        "after (4)",
        r"(4) is the expectation of $f(b)\,\partial_\theta\log p(b;\theta)$ over $p(b;\theta)$.",
        HOLDS,
        chain(Over(f(t) * p(t) * score(t), t), (expectation, E(f(t) * score(t), t))),
    ),
    PEN.equation(
        "5",
        r"\partial L = \int f(b)\, p(b;\theta)\, \partial_\theta \log p(b;\theta)\, db",
        UNDER,
        chain(
            grad(E(f(t), t), theta),
            (expectation, grad(Over(p(t) * f(t), t), theta)),
            (leibniz, Over(f(t) * moved, t)),
            (log_derivative_trick, Over(f(t) * p(t) * score(t), t)),
            under=("L = E[f(b)], which the slide does not say, and the derivative is with respect to theta",),
        ),
    ),
    PEN.equation(
        "6",
        r"\int f(b)\, p(b;\theta)\, \partial_\theta\log p(b;\theta)\, db"
        r" = \mathbb{E}_{p(b;\theta)}[f(b)\, \partial_\theta\log p(b;\theta)]",
        HOLDS,
        chain(Over(f(t) * p(t) * score(t), t), (expectation, E(f(t) * score(t), t))),
        same(Over(f(b) * p(b) * score(b), b), E(f(b) * score(b), b), theta),
    ),
    PEN.equation(
        "7",
        r"\mathbb{E}[f(b)\,\partial_\theta\log p(b;\theta)] \approx \frac1S \sum_s f(b^{(s)})\,"
        r"\partial_\theta\log p(b^{(s)};\theta)",
        UNDER,
        proved(catalogue["score-function"], 2),
        proved(catalogue["score-function"], 3),
        confirmed(
            "variance at p = 1/2, f = (1, 0): 3 samples against a third of that of 1 sample",
            moments(catalogue["score-function"].with_samples(3), bernoulli(HALF, f=(1, 0)))[1],
            "=",
            shifted(0) / 3,
        ),
        remark="Read as: the right side has the left side as its mean, and its variance falls as 1/S.",
    ),
    PEN.claim(
        "after (7)",
        r"$b^{(b)}$ is a sample of $p(b;\theta)$.",
        ILL,
        unscoped(
            lambda: Estimator("index", f(copies(b, 2)[0]) * score(copies(b, 2)[0]), (b,), target),
            "the sum uses b^(s), and what is drawn has the index b",
        ),
        corrected=r"$b^{(s)}$, for $s = 1, \dots, S$.",
        correct=(proved(catalogue["score-function"], 2),),
    ),
    PEN.claim(
        "Score Function, pros, first half",
        "The method does not need f to be differentiable.",
        UNDER,
        theorem(lambda: score_function(rough(b), b, theta), score_function_estimator),
        theorem(lambda: score_function(rough(t), t, theta), score_function_estimator),
    ),
    PEN.claim(
        "Score Function, pros, second half",
        "b may be discrete or continuous, as long as its density is differentiable.",
        WRONG,
        numbers(
            MOVING_SUPPORT, cases.moving_values()[0], "=", cases.moving_values()[1], "the density 1/theta is differentiable"
        ),
        corrected="The density is differentiable, its support does not move with the parameter, and the derivative of f p has "
        "an integrable bound.",
        correct=(
            theorem(lambda: score_function(f(b), b, theta), score_function_estimator),
            theorem(lambda: score_function(f(t), t, theta), score_function_estimator),
        ),
    ),
    PEN.claim(
        "Score Function, cons",
        "The method is known to have high variance.",
        UNDER,
        confirmed(
            "variance at p = 1/2, f = (10, 9) against f = (1, 0), the gradient is 1 for both", shifted(0), "<", shifted(9)
        ),
        confirmed("the same, f = (100, 99) against f = (10, 9)", shifted(9), "<", shifted(99)),
        outside(
            "0 < variance, p = 1/2, f = (1, -1)",
            0,
            "<",
            moments(catalogue["score-function"], bernoulli(HALF, f=(1, -1)))[1],
            "for some f it has no variance at all",
        ),
        remark="Without a measure of high this is no statement; the mean of f is what drives it: the variance grows as "
        "its square.",
    ),
    PEN.claim(
        "Reparameterization, first slide, first paragraph",
        r"Instead of $\theta$, another parameter is differentiated, on which $\theta$ depends.",
        WRONG,
        numbers(
            "f(b) = b, b = mu + epsilon, mu = 2 theta: derivative in mu against derivative in theta",
            value(E(grad(plain + epsilon, plain), epsilon), mu=0),
            "=",
            value(E(grad(twice_g, theta), epsilon), theta=0),
        ),
        corrected=r"It is still $\theta$ that is differentiated, through $b = h(\epsilon, \theta)$: b depends on it, "
        r"the noise does not.",
        correct=(
            without(E(f(epsilon), epsilon), theta, "the mean over the noise"),
            chain(grad(E(f(g), epsilon), theta), (pathwise_gradient, E(grad(f(g), theta), epsilon))),
        ),
    ),
    PEN.claim(
        "Reparameterization, first slide",
        r"Choose a smooth function h and write $b = h(\epsilon, \theta)$ with $\epsilon \sim N(0, 1)$.",
        UNDER,
        chain(
            E(f(z), z), (reparameterization(epsilon), E(f(g), epsilon)), under=("h(epsilon, theta) has the law p(b; theta)",)
        ),
        outside_differs(
            E(grad(twice_g, theta), epsilon),
            grad(E(normal("b", theta, 1), normal("b", theta, 1)), theta),
            theta,
            "h = 2 theta + epsilon is smooth, b ~ N(theta, 1)",
        ),
        corrected=r"h is such that $h(\epsilon, \theta)$ has the law of b.",
    ),
    PEN.equation(
        "8",
        r"\partial_\theta L = \partial_\theta \mathbb{E}_{p(b;\theta)}[f(b)]",
        HOLDS,
        theorem(lambda: kernel.reflexivity(grad(E(f(t), t), theta)), algebra),
        remark="Defines L, which (5) has used already.",
    ),
    PEN.equation(
        "9",
        r"\partial_\theta \mathbb{E}_{p(b;\theta)}[f(b)] = \partial_\theta \mathbb{E}_{\epsilon\sim "
        r"p(\epsilon)}[f(g(\theta, \epsilon))]",
        ILL,
        undefined({"f", "g", "theta", "epsilon"}, {"f", "h", "theta", "epsilon", "b"}, "the slide defines h, and uses g"),
        corrected=r"$\partial_\theta \mathbb{E}_{\epsilon\sim N(0,1)}[f(h(\epsilon, \theta))]$, where $h(\epsilon, "
        r"\theta)$ has the law of b.",
        correct=(chain(grad(E(f(z), z), theta), (reparameterization(epsilon), grad(E(f(g), epsilon), theta))),),
        remark="(10) to (12) are judged with g for h.",
    ),
    PEN.equation(
        "10",
        r"\partial_\theta \mathbb{E}_{\epsilon}[f(g(\theta, \epsilon))] = \mathbb{E}_{\epsilon}[\partial_\theta "
        r"f(g(\theta, \epsilon))]",
        UNDER,
        chain(grad(E(f(g), epsilon), theta), (pathwise_gradient, E(grad(f(g), theta), epsilon))),
        same(grad(E(f(z), z), theta), E(grad(f(g), theta), epsilon), theta),
        refused("Differentiable", lambda: pathwise(grad(E(rough(g), epsilon), theta)), "f that is not differentiable"),
    ),
    PEN.equation(
        "11",
        r"\mathbb{E}_{\epsilon}[\partial_\theta f(g(\theta, \epsilon))] ="
        r" \mathbb{E}_{\epsilon}[\partial_\theta f(g(\theta, \epsilon))\; \partial_\theta g(\theta, \epsilon)]",
        WRONG,
        differs(
            E(grad(f(twice_g), theta) * grad(twice_g, theta), epsilon),
            E(grad(f(twice_g), theta), epsilon),
            theta,
            "g = 2 theta + epsilon, f(b) = f_1 b: right side and left side",
        ),
        corrected=r"$\mathbb{E}_{\epsilon}[f'(g(\theta, \epsilon))\; \partial_\theta g(\theta, \epsilon)]$: "
        r"$\partial_\theta f(g)$ has the factor $\partial_\theta g$ already.",
        correct=(same(E(grad(g**3, theta), epsilon), E(3 * g**2 * grad(g, theta), epsilon), theta),),
    ),
    PEN.equation(
        "12",
        r"\mathbb{E}_\epsilon[\cdots] \approx \frac1S \sum_s \partial_\theta f(g(\theta, \epsilon^{(s)}))\;"
        r" \partial_\theta g(\theta, \epsilon^{(s)})",
        WRONG,
        differs(
            E(grad(f(twice_g), theta) * grad(twice_g, theta), epsilon),
            grad(E(f(twice), twice), theta),
            theta,
            "b = 2 theta + epsilon, f(b) = f_1 b: the mean of each summand and the gradient (8)",
        ),
        corrected=r"$\frac1S \sum_s f'(g(\theta, \epsilon^{(s)}))\; \partial_\theta g(\theta, \epsilon^{(s)})$",
        correct=(proved(catalogue["pathwise"]), proved(catalogue["pathwise"], 2)),
    ),
    PEN.claim(
        "Reparameterization, second slide, first bullet",
        "Reparameterization gives lower variance.",
        WRONG,
        numbers(cases.REVERSED, variances(cases.quartic)[1], "<", variances(cases.quartic)[0]),
        corrected="For some f, such as f(z) = z^2, it does.",
        correct=(confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),),
    ),
    PEN.claim(
        "Reparameterization, second slide, second bullet",
        r"f must be differentiable with respect to $\phi$.",
        ILL,
        undefined({"f", "phi"}, {"f", "g", "theta", "epsilon"}, "no phi occurs in (8) to (12)"),
        corrected="f must be differentiable with respect to its argument.",
        correct=(
            theorem(lambda: kernel.differentiate(grad(f(g), phi)), product_rule),
            needs("Differentiable", lambda: pathwise(grad(E(rough(g), epsilon), theta)), "f that is not differentiable"),
        ),
        remark="The derivative with respect to phi is identically zero.",
    ),
    PEN.claim(
        "Reparameterization, second slide, last sentence",
        "The pros of the score function become the cons of reparameterization.",
        HOLDS,
        needs("Differentiable", lambda: pathwise(grad(E(rough(g), epsilon), theta)), "f that is not differentiable"),
        needs("Differentiable", lambda: pathwise(grad(E(smooth(hard), u), theta)), "b that is discrete, through its threshold"),
    ),
]

EQUATIONS_2 = [
    PEN.claim(
        "Initial Idea, first sentence",
        "A control variate C alleviates the high variance of the score function.",
        UNDER,
        confirmed("variance at p = 1/2, f = (1, 0): C = 1/2 against C = 0", with_baseline(HALF), "<", shifted(0)),
        outside("the same, C = 10 against C = 0", with_baseline(10), "<", shifted(0), "a badly chosen C raises it"),
    ),
    PEN.equation(
        "13",
        r"\mathbb{E}_{p(b;\theta)}[(f(b) - C)\, \partial_\theta \log p(b;\theta)]\quad\text{is unbiased if } C \text{ "
        r"is constant}",
        UNDER,
        proved(catalogue["constant-baseline"]),
    ),
    PEN.claim(
        "after (13)",
        "If C is a function of b, (13) is biased.",
        UNDER,
        same(no_correction.expectation - target, -grad(E(C(b), b), theta), theta, under=("the gradient of E[C(b)] is not 0",)),
        outside(
            "bias at p = (1/3, 1/3, 1/3), dp = (1, -1, 0), f = (1, 0, 0), C = (0, 0, 1), against 0",
            moments(no_correction, three)[0] - 1,
            "!=",
            0,
            "a C that depends on b, without bias",
        ),
        corrected=r"The bias is $-\partial_\theta \mathbb{E}[C(b)]$, which need not be 0.",
    ),
    PEN.equation(
        "14",
        r"\mathbb{E}_{p(b;\theta)}[(f(b) - C(b))\, \partial_\theta\log p(b;\theta)] + "
        r"\partial_\theta\mathbb{E}_{p(b;\theta)}[C(b)]"
        r"\quad\text{equals } \partial_\theta\mathbb{E}[f(b)]",
        UNDER,
        theorem(lambda: control_variate_correction(f(b), C(b), b, theta), score_function_estimator),
        theorem(lambda: control_variate_correction(f(t), C(t), t, theta), score_function_estimator),
        proved(catalogue["control-variate"]),
    ),
    PEN.claim(
        "Justification, first bullet",
        "For any fixed c, (15) is unbiased.",
        UNDER,
        proved(catalogue["constant-baseline"]),
    ),
    PEN.equation(
        "15",
        r"\mathbb{E}_{p(b;\theta)}[(f(b) - c)\, \partial_\theta \log p(b;\theta)]\quad\text{(start of a chain)}",
        HOLDS,
        theorem(lambda: kernel.reflexivity(E((f(t) - c) * score(t), t)), algebra),
    ),
    PEN.equation(
        "16",
        r"(15) = \int p(b;\theta)\, (f(b) - c)\, \partial_\theta\log p(b;\theta)",
        HOLDS,
        chain(E((f(t) - c) * score(t), t), (expectation, Over(p(t) * (f(t) - c) * score(t), t))),
        remark="The differential db is left out, here and up to (22).",
    ),
    PEN.equation(
        "17",
        r"(16) = \int p(b;\theta)\, (f(b) - c)\, \frac{1}{p(b;\theta)}\, \partial_\theta p(b;\theta)",
        UNDER,
        chain(
            Over(p(t) * (f(t) - c) * score(t), t),
            (log_derivative_trick, Over(p(t) * (f(t) - c) * (1 / p(t)) * moved, t)),
        ),
    ),
    PEN.equation(
        "18",
        r"(17) = \int (f(b) - c)\, \partial_\theta p(b;\theta)",
        HOLDS,
        theorem(lambda: kernel.algebra(p(t) * (f(t) - c) * (1 / p(t)) * moved, (f(t) - c) * moved), algebra),
        same(Over(p(b) * (f(b) - c) * (1 / p(b)) * grad(p(b), theta), b), Over((f(b) - c) * grad(p(b), theta), b), theta),
    ),
    PEN.equation(
        "19",
        r"(18) = \int f(b)\, \partial_\theta p(b;\theta) - \int c\, \partial_\theta p(b;\theta)",
        UNDER,
        chain(Over((f(t) - c) * moved, t), (linearity, Over(f(t) * moved, t) - Over(c * moved, t))),
        same(
            Over((f(b) - c) * grad(p(b), theta), b),
            Over(f(b) * grad(p(b), theta), b) - Over(c * grad(p(b), theta), b),
            theta,
        ),
    ),
    PEN.equation(
        "20",
        r"(19) = \int f(b)\, \partial_\theta p(b;\theta) = \partial_\theta \mathbb{E}_{p(b;\theta)}[f(b)]",
        UNDER,
        chain(
            Over(f(t) * moved, t) - Over(c * moved, t),
            (leibniz, grad(Over(p(t) * f(t), t), theta) - c * grad(Over(p(t), t), theta)),
            (normalisation, grad(Over(p(t) * f(t), t), theta)),
            (expectation, grad(E(f(t), t), theta)),
        ),
        same(Over(f(b) * grad(p(b), theta), b) - Over(c * grad(p(b), theta), b), target, theta),
    ),
    PEN.claim(
        "display after (20)",
        r"$\int c\, \partial_\theta p = c\, \partial_\theta \int p = c\, \partial_\theta 1 = 0$",
        UNDER,
        chain(
            Over(c * moved, t),
            (leibniz, c * grad(Over(p(t), t), theta)),
            (normalisation, c * grad(lift(1), theta)),
            (algebra, lift(0)),
        ),
        outside(
            "x ~ Uniform(0, theta), theta = 1: the integral of the derivative of the density, against 0",
            value(E(score(cases.moving), cases.moving), theta=1),
            "=",
            0,
            "a support that moves",
        ),
    ),
    PEN.claim(
        "Justification, second slide",
        r"If $c(b) = b$, the second term of (19) is $\partial_\theta \mathbb{E}[b]$, and (20) does not hold.",
        UNDER,
        chain(Over(t * moved, t), (leibniz, grad(Over(p(t) * t, t), theta)), (expectation, grad(E(t, t), theta))),
        same(Over(b * grad(p(b), theta), b), grad(E(b, b), theta), theta, under=("the gradient of E[b] is not 0",)),
        remark=r"With its sign the term is $-\partial_\theta\mathbb{E}[b]$.",
    ),
    PEN.equation(
        "21",
        r"\int f(b)\, \partial_\theta p(b;\theta) - \int c(b)\, \partial_\theta p(b;\theta)\quad\text{(is (15) with } c(b))",
        UNDER,
        chain(
            E((f(t) - C(t)) * score(t), t),
            (expectation, Over(p(t) * (f(t) - C(t)) * score(t), t)),
            (log_derivative_trick, Over(f(t) * moved, t) - Over(C(t) * moved, t)),
        ),
    ),
    PEN.equation(
        "22",
        r"(21) = \partial_\theta\mathbb{E}_{p(b;\theta)}[f(b)] - \partial_\theta\mathbb{E}_{p(b;\theta)}[c(b)]",
        UNDER,
        chain(
            Over(f(t) * moved, t) - Over(C(t) * moved, t),
            (leibniz, grad(Over(p(t) * f(t), t), theta) - grad(Over(p(t) * C(t), t), theta)),
            (expectation, grad(E(f(t), t), theta) - grad(E(C(t), t), theta)),
        ),
        same(Over(f(b) * grad(p(b), theta), b) - Over(C(b) * grad(p(b), theta), b), target - grad(E(C(b), b), theta), theta),
    ),
    PEN.claim(
        "after (22)",
        "The term that (14) adds cancels the negative bias; (14) is unbiased.",
        UNDER,
        proved(catalogue["control-variate"]),
        same(no_correction.expectation + grad(E(C(b), b), theta), target, theta),
        remark=r"The bias is minus a gradient; its sign may be either.",
    ),
    PEN.claim(
        "Initial Idea, second slide, first bullet",
        "When C = f, (14) becomes exactly the regular reparameterization.",
        WRONG,
        numbers(
            "variance for f(z) = z^2, z ~ N(theta, 1), theta = 0: (14) with C = f, which is the gradient itself, "
            "against pathwise",
            moments(all_control, theta=0)[1],
            "=",
            PATHWISE,
        ),
        corrected=r"(14) becomes $\partial_\theta\mathbb{E}[f(b)]$, the target itself. It is the pathwise estimator if "
        r"the correction "
        "is estimated through the noise, which needs a reparameterized b.",
        correct=(
            theorem(
                lambda: kernel.algebra((f(t) - f(t)) * score(t) + grad(E(f(t), t), theta), grad(E(f(t), t), theta)), algebra
            ),
            confirmed("variance with the correction through the noise, f(z) = z^2, against pathwise", mixed(1), "=", PATHWISE),
        ),
    ),
    PEN.claim(
        "Initial Idea, second slide, second bullet",
        "C balances between score function and reparameterization; the variance can be as low as that of reparameterization.",
        UNDER,
        confirmed(
            "variance with C = f, the correction through the noise, f(z) = z^2, against pathwise", mixed(1), "=", PATHWISE
        ),
        confirmed("with C = 0, against the score function", mixed(0), "=", BY_SCORE),
        confirmed("with C = f/2, against pathwise", PATHWISE, "<", mixed(HALF)),
        outside(
            cases.REVERSED, variances(cases.quartic)[1], "<=", variances(cases.quartic)[0], "where the score function is lower"
        ),
    ),
    PEN.claim(
        "Initial Idea, second slide, third bullet",
        r"If $C \ne f$, f need not be differentiable.",
        UNDER,
        proved(relax),
        refused(
            "Differentiable",
            lambda: pathwise(grad(E(rough(mu(theta) * epsilon), epsilon), theta)),
            "C that differs from f and contains it, C(b) = f(mu(theta) epsilon)",
        ),
        corrected="If C does not contain f.",
        remark="REBAR's C differs from f, and needs f to be differentiable, as the slides say themselves after (50).",
    ),
    PEN.claim(
        "Objective, first bullet",
        r"C should be differentiable with respect to $\theta$.",
        UNDER,
        proved(catalogue["control-variate"]),
        read(
            "C(b) does not contain theta: what moves is the point b = h(u, theta), so C must be differentiable in its argument"
        ),
    ),
    PEN.claim(
        "Objective, last bullet",
        "For discrete b, (14) requires a good reparameterization function h.",
        UNDER,
        read("a requirement where the gradient of E[C(b)] is to be estimated from samples through C"),
        proved(catalogue["control-variate"]),
        outside(
            "mean of (14), with the correction as a finite sum and no h, against the target, p = 1/2, f = (1, 0), C = (1, 3)",
            moments(catalogue["control-variate"], bernoulli(HALF, f=(1, 0), C=(1, 3)))[0],
            "!=",
            moments(catalogue["score-function"], bernoulli(HALF, f=(1, 0)))[0],
            "for a finite law the correction is a sum",
        ),
    ),
    PEN.claim(
        "High Level Procedure, second bullet",
        r"Update $\theta$ so that it optimizes (14).",
        ILL,
        wrong_reference("14", "the objective", {"14": "the gradient of the objective", "8": "the objective"}),
        corrected=r"Update $\theta$ along (14): it is the gradient of what is optimized.",
        correct=(proved(catalogue["control-variate"]),),
    ),
    PEN.claim(
        "High Level Procedure, last bullet",
        "The parameters of C are free to minimise the variance.",
        UNDER,
        proved(catalogue["control-variate"]),
        proved(relax),
    ),
]

concrete_line = E(grad(control, theta), u)
point, w = continuous("z", theta), uniform("w", 1 - theta, 1)
below = uniform("w", 0, 1 - theta)
x = constant("z")
score_part = Estimator("score part", f(point) * score(point), (point,), grad(E(f(point), point), theta))

CONCRETE = [
    PEN.claim(
        "First Approach, first sentence",
        r"$b \sim p(b;\phi)$ is a Bernoulli variable.",
        ILL,
        undefined({"b", "phi"}, {"b", "theta", "f", "epsilon"}, "the parameter is theta everywhere else on the slide"),
        corrected=r"$b \sim p(b;\theta)$.",
    ),
    PEN.claim(
        "First Approach, second bullet",
        r"$z = \log\frac{\theta}{1-\theta} + \log\frac{u}{1-u}$, $H(z) = 1$ where $z \ge 0$: $H(z)$ is Bernoulli($\theta$).",
        UNDER,
        theorem(
            lambda: kernel.algebra(theta * x - (1 - theta) * (1 - x), x - (1 - theta)), algebra, ("0 < theta < 1, 0 < u < 1",)
        ),
        same(Over(lift(1), w), theta, theta),
        read("z >= 0 says that theta u >= (1 - theta)(1 - u), which is u >= 1 - theta; that interval has length theta"),
    ),
    PEN.claim(
        "First Approach, third bullet",
        r"$b = H(z) \approx \sigma_\lambda(z) = (1 + \exp(-z/\lambda))^{-1}$.",
        UNDER,
        same(sigmoid(x / lambda_), 1 / (1 + exp(-x / lambda_)), theta),
        outside(
            "H(0) against sigma_lambda(0), for every lambda", 1, "=", sigmoid_at_zero(), "at z = 0, which has probability 0"
        ),
        read("where z is not 0 the limit for lambda to 0 is H(z)"),
    ),
    PEN.equation(
        "23",
        r"\partial_\theta\mathbb{E}_{p(b;\theta)}[f(b)] \approx \partial_\theta\mathbb{E}_{p(z;\theta)}[f(\sigma_\lambda(z))]",
        UNDER,
        *cases.LIMIT,
        outside(
            "theta = 1/2, lambda = 1, f(b) = b: relaxed gradient against gradient", score_alone[0], "=", 1, "as an equation"
        ),
        outside_differs(grad(E(control, u), theta), grad(E(smooth(b), b), theta), theta, "relaxed gradient against gradient"),
        corrected=r"The right side is the gradient of another objective; it tends to the left side as $\lambda \to 0$.",
    ),
    PEN.equation(
        "24",
        r"\partial_\theta\mathbb{E}_{p(z;\theta)}[f(\sigma_\lambda(z))] = "
        r"\partial_\theta\mathbb{E}_{p(u)}[f(\sigma_\lambda(h(u,\theta)))]",
        UNDER,
        chain(E(f(z), z), (reparameterization(epsilon), E(f(g), epsilon)), under=("p(z; theta) is the law of h(u, theta)",)),
        read("for uniform noise, and the logistic law of z, this is what p(z; theta) means"),
    ),
    PEN.equation(
        "25",
        r"\partial_\theta\mathbb{E}_{p(u)}[f(\sigma_\lambda(h(u,\theta)))] = \mathbb{E}_{p(u)}[\partial_\theta "
        r"f(\sigma_\lambda(h(u,\theta)))]",
        UNDER,
        chain(grad(E(control, u), theta), (pathwise_gradient, concrete_line)),
        same(grad(E(control, u), theta), concrete_line, theta),
        refused("Differentiable", lambda: pathwise(grad(E(smooth(hard), u), theta)), "H(z) in place of sigma(z)"),
    ),
    PEN.claim(
        "after (25)",
        "(25) can be estimated by reparameterization.",
        UNDER,
        proved(Estimator("concrete, its own target", grad(control, theta), (u,), grad(E(control, u), theta))),
    ),
    PEN.claim(
        "Weakness of Concrete, first bullet",
        "The relaxation deals with discrete variables.",
        UNDER,
        proved(Estimator("concrete, its own target", grad(control, theta), (u,), grad(E(control, u), theta))),
        outside("theta = 1/2, lambda = 1, f(b) = b: relaxed gradient against gradient", score_alone[0], "=", 1, "with a bias"),
    ),
    PEN.claim(
        "Weakness of Concrete, third bullet",
        r"For large $\lambda$, $\sigma_\lambda$ is flat: lower variance, less accurate.",
        UNDER,
        cases.flatter(tuple(map(Fraction, ("1/4", "1/2", "1", "2", "4")))),
    ),
    PEN.claim(
        "Weakness of Concrete, last bullet",
        r"As $\lambda \to 0$ the approximation gets accurate and the variance very high.",
        UNDER,
        *cases.LIMIT,
    ),
]

REBAR = [
    PEN.claim(
        "REBAR approach, first sentence",
        "REBAR combines the Concrete relaxation with (14), and resolves the trade of bias against variance.",
        UNDER,
        proved(catalogue["rebar"]),
        remark="It is unbiased at every temperature; its variance still depends on the temperature.",
    ),
    PEN.equation(
        "26",
        r"\partial_\theta\mathbb{E}_{p(z;\theta)} f(\sigma_\lambda(z)) = "
        r"\mathbb{E}_{p(z;\theta)}[f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)]",
        UNDER,
        theorem(lambda: score_function(f(point), point, theta), score_function_estimator),
        same(grad(E(f(z), z), theta), E(f(z) * score(z, theta), z), theta),
    ),
    PEN.equation(
        "27",
        r"\mathbb{E}_{p(b;\theta)}[f(b)\,\partial_\theta\log p(b)] = \partial_\theta\mathbb{E}_{p(b;\theta)}[f(b)]",
        UNDER,
        theorem(lambda: kernel.symmetry(score_function(f(b), b, theta)), score_function_estimator, ("p(b) is p(b; theta)",)),
        outside_differs(
            E(f(b) * grad(log(p(finite("b", law="r"), at=b)), theta), b), target, theta, "p(b) that does not contain theta"
        ),
    ),
    PEN.equation(
        "28",
        r"\partial_\theta\mathbb{E}_{p(b;\theta)}[f(b)] = \partial_\theta\mathbb{E}_{p(z;\theta)}[f(H(z))]",
        UNDER,
        chain(grad(E(f(hard), u), theta), (conditional_reparameterization(b, v), target)),
        same(grad(E(f(hard), u), theta), target, theta),
    ),
    PEN.equation(
        "29",
        r"\partial_\theta\mathbb{E}_{p(z;\theta)}[f(H(z))] = \mathbb{E}_{p(z;\theta)}[f(H(z))\,\partial_\theta\log "
        r"p(z;\theta)]",
        UNDER,
        theorem(lambda: score_function(rough(point), point, theta), score_function_estimator),
        remark="H need not be differentiable: the score of z is.",
    ),
    PEN.claim(
        "slide after (29), display",
        r"The proposal $\mathbb{E}[f(b)\,\partial\log p(b) - C(b)\,\partial\log p(b)] + \partial\mathbb{E}[C(b)]$, the "
        r"same as (14).",
        HOLDS,
        same(
            E(f(b) * score(b) - C(b) * score(b), b) + grad(E(C(b), b), theta),
            E((f(b) - C(b)) * score(b), b) + grad(E(C(b), b), theta),
            theta,
        ),
    ),
    PEN.claim(
        "slide after (29), first bullet",
        "(29) approximates f(b).",
        WRONG,
        numbers("f = 1: (29), the mean of the score, against f(b)", value(E(score(cases.z), cases.z), theta=0), "=", 1),
        corrected=r"(29) is the gradient $\partial_\theta\mathbb{E}[f(b)]$: with $b = H(z)$ the value f(H(z)) stands for f(b).",
        correct=(same(E(f(hard), u), E(f(b), b), theta),),
    ),
    PEN.claim(
        "slide after (29), second bullet",
        "(26) is the control variate.",
        UNDER,
        theorem(
            lambda: score_function(f(point), point, theta),
            score_function_estimator,
            ("its summand f(sigma(z)) d log p(z) is the control variate, and its value (25) the correction",),
        ),
    ),
    PEN.equation(
        "30",
        r"\mathbb{E}_{p(z;\theta)}[f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)]\quad\text{(right side of (26))}",
        HOLDS,
        theorem(lambda: kernel.reflexivity(E(f(point) * score(point), point)), algebra),
    ),
    PEN.equation(
        "31",
        r"(30) = \sum_z p(z)\,[f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)]",
        ILL,
        not_summable(point),
        corrected=r"$\int p(z;\theta)\, f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)\, dz$",
        correct=(chain(E(f(point) * score(point), point), (expectation, Over(p(point) * f(point) * score(point), point))),),
        remark="(32) to (46) are judged with integrals for their sums over z.",
    ),
    PEN.equation(
        "32",
        r"(31) = \sum_z\sum_b p(b, z)\, f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)",
        UNDER,
        same(line_31, line_32, theta, under=(AS_INTEGRAL,)),
    ),
    PEN.equation(
        "33",
        r"(32) = \sum_z\sum_b p(z\mid b)\,p(b)\, f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)",
        UNDER,
        same(line_32, Over(Over(given(b) * p(b) * cz * score_z, b), Z), theta, under=(AS_INTEGRAL,)),
    ),
    PEN.equation(
        "34",
        r"(33) = \sum_b p(b)\sum_z p(z\mid b)\, f(\sigma_\lambda(z))\,\partial_\theta\log p(z;\theta)",
        UNDER,
        same(line_32, line_34, theta, under=(AS_INTEGRAL, "the sums may be exchanged")),
    ),
    PEN.equation(
        "35",
        r"(34) = \sum_b p(b)\sum_z p(z\mid b)\, f(\sigma_\lambda(z))\,\partial_\theta[\log p(z\mid b;\theta) + \log "
        r"p(b;\theta)]",
        UNDER,
        same(line_34, line_35, theta, under=(AS_INTEGRAL,)),
        outside_differs(
            score_z,
            grad(log(given(b)), theta) + grad(log(p(b)), theta),
            theta,
            "summand by summand, where b is not a function of z",
        ),
        remark=r"The totals are equal for every joint law, because the score of p(b given z) has mean zero; the summands are "
        "equal because b = H(z).",
    ),
    PEN.equation(
        "36",
        r"(35) = \mathbb{E}_{p(b)}\big[\partial_\theta\mathbb{E}_{p(z\mid b)}[f(\sigma_\lambda(z))]\big]"
        r" + \mathbb{E}_{p(b)}\big[\mathbb{E}_{p(z\mid b)}[f(\sigma_\lambda(z))\,\partial_\theta\log p(b)]\big]",
        UNDER,
        same(line_35, first_36 + line_39, theta, under=(AS_INTEGRAL,)),
        chain(
            grad(E(control, u), theta),
            (marginalization(b, v), E(E(control_given, v) * score(b), b) + E(E(grad(control_given, theta), v), b)),
        ),
        remark="This is the step called conditional marginalization: b is drawn first, then z given b.",
    ),
    PEN.claim(
        "after (36)",
        "(35) to (36) is the definition of expectation and the log-derivative trick.",
        UNDER,
        same(line_35, first_36 + line_39, theta, under=("the derivative may pass the integral over z given b",)),
    ),
    PEN.equation(
        "37",
        r"\mathbb{E}_{p(b)}\big[\partial_\theta\mathbb{E}_{p(z\mid b)}[f(\sigma_\lambda(z))]\big]"
        r" = \mathbb{E}_{p(b)}\big[\mathbb{E}_{p(v)}[\partial_\theta f(\sigma_\lambda(\tilde z))]\big]",
        UNDER,
        chain(E(grad(E(control_given, v), theta), b), (pathwise_gradient, E(E(grad(control_given, theta), v), b))),
        same(E(grad(E(control_given, v), theta), b), E(E(grad(control_given, theta), v), b), theta),
    ),
    PEN.claim(
        "after (37)",
        r"$v \sim \mathrm{Unif}(0, 1)$ and $\tilde z = \tilde h(v, b, \theta)$, which has the law of z given b.",
        UNDER,
        same(E(f(w), w), E(f((1 - theta) + theta * v), v), theta, under=("0 < theta < 1",)),
        same(E(f(below), below), E(f((1 - theta) * v), v), theta, under=("0 < theta < 1",)),
        remark="For the Bernoulli law, where b = 1 if u > 1 - theta: u given b is 1 - theta + theta v, or (1 - theta) v.",
    ),
    PEN.equation(
        "38",
        r"\mathbb{E}_{p(b)}\Big[\mathbb{E}_{p(z\mid b)}\big[f(\sigma_\lambda(z))\,\partial_\theta\log p(b)\big]",
        ILL,
        unbalanced("E[E[f(s(z)) d(log(p(b)))]"),
        corrected=r"The same with a closing bracket: the second term of (36).",
        correct=(same(line_35 - first_36, line_39, theta),),
    ),
    PEN.equation(
        "39",
        r"(38) = \sum_b p(b)\sum_z p(z\mid b)\,[f(\sigma_\lambda(z))\,\partial_\theta\log p(b)]",
        UNDER,
        same(E(Over(given(b) * cz * score(b), Z), b), line_39, theta, under=(AS_INTEGRAL,)),
    ),
    PEN.equation(
        "40",
        r"(39) = \sum_b p(b)\sum_z p(z\mid b)\,\big[f(\sigma_\lambda(z))\,\tfrac{1}{p(b)}\,\partial_\theta p(b)\big]",
        UNDER,
        same(line_39, line_40, theta, under=(AS_INTEGRAL,)),
        chain(
            Over(p(b) * C(b) * score(b), b),
            (log_derivative_trick, Over(p(b) * C(b) * (1 / p(b)) * grad(p(b), theta), b)),
        ),
    ),
    PEN.equation(
        "41",
        r"(40) = \sum_b p(b)\,\tfrac{1}{p(b)}\sum_z p(z\mid b)\,[f(\sigma_\lambda(z))\,\partial_\theta p(b)]",
        UNDER,
        same(line_40, line_41, theta, under=(AS_INTEGRAL,)),
    ),
    PEN.equation(
        "42",
        r"(41) = \sum_b\sum_z p(z\mid b)\,[f(\sigma_\lambda(z))\,\partial_\theta p(b)]",
        UNDER,
        same(line_41, line_42, theta, under=(AS_INTEGRAL,)),
        theorem(lambda: kernel.algebra(p(b) * (1 / p(b)) * C(b), C(b)), algebra),
    ),
    PEN.equation(
        "43",
        r"(42) = \mathbb{E}_{p(b)}\big[\mathbb{E}_{p(z\mid b)}[f(\sigma_\lambda(z))\,\partial_\theta\log p(b;\theta)]\big]",
        UNDER,
        same(line_42, E(Over(given(b) * cz * score(b), Z), b), theta, under=(AS_INTEGRAL,)),
        remark="(43) is (38) again: the lines between them cancel each other.",
    ),
    PEN.equation(
        "44",
        r"(43) = \mathbb{E}_{p(b)}\big[\mathbb{E}_{p(v)}[f(\sigma_\lambda(\tilde z))\,\partial_\theta\log p(b;\theta)]\big]",
        UNDER,
        chain(
            E(control * score(b, at=hard), u),
            (conditional_reparameterization(b, v), E(E(control_given * score(b), v), b)),
        ),
        same(E(control * score(b, at=hard), u), E(E(control_given * score(b), v), b), theta),
    ),
    PEN.claim(
        "before (45), plugging in",
        "(36) replaces C(b) in (14), and (28) replaces f.",
        WRONG,
        differs(
            E((f(b) - concrete_gradient) * score(b), b) + grad(concrete_gradient, theta),
            target,
            theta,
            "(14) with the gradient (36) in the place of C(b), against the target",
        ),
        corrected=r"(36) replaces the product $C(b)\,\partial_\theta\log p(b)$, (25) replaces "
        r"$\partial_\theta\mathbb{E}[C(b)]$, and "
        "f(H(z)) replaces f(b).",
        correct=(proved(rebar),),
    ),
    PEN.claim(
        "before (45), last sentence",
        "The reparameterization makes b a function of u and v.",
        WRONG,
        numbers(
            "theta = 1/2: b at u = 3/4, v = 1/4, and at u = 3/4, v = 3/4",
            outcome(HALF, Fraction(3, 4)),
            "!=",
            outcome(HALF, Fraction(3, 4)),
            "v does not enter b = H(h(u, theta))",
        ),
        corrected=r"b depends on u alone; $\tilde z$ depends on v and, through b, on u.",
        correct=(without(hard, v, "b"),),
    ),
    PEN.equation(
        "45",
        r"\mathbb{E}_{p(b)}\big[\mathbb{E}_{p(z\mid b)}(F)\big] = \sum_b\sum_z p(z\mid b)\,p(b)\,(F)",
        UNDER,
        same(E(Over(given(b) * F_bz, Z), b), Over(Over(given(b) * p(b) * F_bz, Z), b), theta, under=(AS_INTEGRAL,)),
    ),
    PEN.equation(
        "46",
        r"(45) = \sum_b\sum_z p(z, b)\,(F) = \mathbb{E}_{p(u,v)}[F]",
        UNDER,
        chain(
            E(E(control_given * score(b), v), b),
            (conditional_reparameterization(b, v), E(E(control_tilde * score(b, at=hard), v), u)),
        ),
        same(E(E(control_given * score(b), v), b), E(control_tilde * score(b, at=hard), u, v), theta),
        outside_differs(
            E(control_given * control_given, b, v),
            E(control * control_tilde, u, v),
            theta,
            "F that has z and z_tilde: p(z, b) says nothing of two latent variables together",
        ),
    ),
    PEN.equation(
        "47",
        r"\hat g_\theta = \mathbb{E}_{p(u,v)}\big[(f(H(z)) - f(\sigma_\lambda(\tilde z)))\,\partial_\theta\log p(b)"
        r" + \partial_\theta f(\sigma_\lambda(z)) - \partial_\theta f(\sigma_\lambda(\tilde z))\big]",
        UNDER,
        proved(rebar),
        proved(catalogue["rebar"]),
        outside_differs(
            E((smooth(hard) - control_tilde) * score(b, at=hard) + grad(control, theta) + grad(control_tilde, theta), u, v),
            rebar.target,
            theta,
            "with a plus before the last term",
        ),
        remark="Judged as: the right side equals the gradient. REBAR as published has a factor eta on the control; "
        "here it is 1.",
    ),
    PEN.claim(
        "before (47)",
        "The gradient estimator is originally equation (21).",
        ILL,
        wrong_reference(
            "21", "the unbiased proposal", {"21": "the biased mean, without its correction", "14": "the unbiased proposal"}
        ),
        corrected="equation (14)",
        correct=(proved(catalogue["control-variate"]),),
    ),
    PEN.claim(
        "(47) as an estimator",
        "(47) is our gradient estimator, whose variance is to be reduced.",
        WRONG,
        numbers(
            "variance for f(b) = b, theta = 1/2, lambda = 1: of (47), an expectation, against that of its integrand",
            moments(Estimator("(47)", lift(1), (), target), RationalCase({}))[1],
            "=",
            rebar_at_one(lambda s: s, lambda s: s**0, 1)[1],
        ),
        corrected="The estimator is the integrand of (47); (47) is its mean, a number without variance.",
        correct=(proved(rebar),),
    ),
    PEN.equation(
        "48",
        r"\mathrm{Var}(\hat g_\theta) = \mathbb{E}[\hat g_\theta^2] - (\mathbb{E}[\hat g_\theta])^2]",
        ILL,
        unbalanced("Var(g) = E[g^2] - (E[g])^2]"),
        corrected=r"$\mathbb{E}[\hat g_\theta^2] - (\mathbb{E}[\hat g_\theta])^2$",
        correct=(same(E((G(b) - E(G(b), b)) ** 2, b), E(G(b) ** 2, b) - E(G(b), b) ** 2, theta),),
    ),
    PEN.claim(
        "display after (48)",
        r"$\mathbb{E}[\hat g_\theta] = f(H(z)) \Rightarrow \partial_\lambda f(H(z)) = 0$",
        ILL,
        unscoped(lambda: closed("f(H(z))", smooth(hard)), "the left side is a number, f(H(z)) depends on u"),
        numbers("f = 1: mean of the estimator against f(H(z))", rebar_at_one(lift_one, lift_zero, 1)[0], "=", 1),
        corrected=r"$\mathbb{E}[\hat g_\theta] = \partial_\theta\mathbb{E}[f(b)] \Rightarrow "
        r"\partial_\lambda\mathbb{E}[\hat g_\theta] = 0$",
        correct=(theorem(mean_without_lambda, where=NAMES),),
    ),
    PEN.equation(
        "49",
        r"\hat g_\lambda = \partial_\lambda(\mathbb{E}[\hat g_\theta^2] - (\mathbb{E}[\hat g_\theta])^2)",
        HOLDS,
        theorem(lambda: kernel.reflexivity(grad(second_moment(rebar) - rebar.expectation**2, lambda_)), algebra),
        remark="A definition: the derivative of the variance, for g the integrand of (47).",
    ),
    PEN.equation(
        "50",
        r"\hat g_\lambda = \partial_\lambda\mathbb{E}[\hat g_\theta^2]",
        UNDER,
        theorem(lambda: second_moment_alone(catalogue["rebar"], mean_of_rebar(), "lambda"), where=NAMES),
    ),
    PEN.claim(
        "update rule after (50)",
        r"$\lambda \leftarrow \lambda - \alpha\,\hat g_\lambda$",
        UNDER,
        read("a descent step, for a step size that is small enough"),
        confirmed("lambda = 1/10, alpha = 1/100, g = 1: 0 against the new lambda", 0, "<", Fraction(9, 100)),
        outside("lambda = 1/10, alpha = 1, g = 1: 0 < the new lambda", 0, "<", Fraction(-9, 10), "a step that is too long"),
        remark="sigma_lambda needs lambda > 0; a step on log(lambda) keeps it so.",
    ),
    PEN.claim(
        "summary of REBAR, second bullet",
        "REBAR reduces the variance by its control variate.",
        WRONG,
        numbers(
            "variance for f(x) = x (1 - x), theta = 1/2, lambda = 1: REBAR against score function",
            rebar_at_one(hump, hump_slope, 1)[1],
            "<=",
            rebar_at_one(hump, hump_slope, 0)[1],
        ),
        corrected="For some f, such as f(b) = b, it does; with the factor eta at its optimum it never does worse.",
        correct=(
            confirmed(
                "variance for f(b) = b, theta = 1/2, lambda = 1: REBAR against score function",
                rebar_at_one(lambda s: s, lambda s: s**0, 1)[1],
                "<",
                rebar_at_one(lambda s: s, lambda s: s**0, 0)[1],
            ),
            proved(catalogue["rebar"]),
        ),
    ),
    PEN.claim(
        "summary of REBAR, third bullet",
        "(47) requires f to be differentiable.",
        HOLDS,
        needs("Differentiable", lambda: pathwise(grad(E(soft(latent, rough), u), theta)), "f that is not differentiable"),
    ),
    PEN.claim(
        "summary of REBAR, last bullet",
        r"The only parameter that controls the variance is $\lambda$.",
        WRONG,
        numbers(
            "variance for f(x) = x (1 - x), theta = 1/2, lambda = 1: with eta = 1, and with eta = 1/2",
            rebar_at_one(hump, hump_slope, 1)[1],
            "=",
            rebar_at_one(hump, hump_slope, HALF)[1],
        ),
        corrected="A factor eta on the control variate is a second one: the mean is the same for every eta.",
        correct=(proved(catalogue["rebar"]),),
        remark="True of (47), from which eta was left out; not of REBAR.",
    ),
]

elbo = catalogue["elbo-score-function"]
own = function("f", differentiable=True)
X, prior, q = function("lik"), function("prior"), finite("z", theta, law="q")
DEFINES = {
    "47": "the gradient estimator of REBAR",
    "50": "the gradient of the variance",
    "51": "the gradient estimator of RELAX",
}
mixed_up = E((learned(relaxed.H(latent)) - soft(latent_tilde, learned)) * score(b, at=hard), u, v)
replaced = mixed_up + E(grad(soft(latent, learned), theta) - grad(soft(latent_tilde, learned), theta), u, v)

RELAX = [
    PEN.claim(
        "Justification of RELAX, first bullet, first half",
        "With the correction the estimator is unbiased for any choice of C.",
        UNDER,
        proved(relax),
        refused(
            "Differentiable",
            lambda: pathwise(grad(E(rough(latent), u), theta)),
            "C that is not differentiable, in the correction",
        ),
        remark="Any C that is differentiable, with an integrable bound.",
    ),
    PEN.claim(
        "Justification of RELAX, first bullet, second half",
        "By the universal approximation theorem a neural network can represent C.",
        UNDER,
        read("it approximates a continuous C on a compact set, as well as one likes; it need not represent it"),
    ),
    PEN.claim(
        "Justification of RELAX, third bullet",
        "f need not be differentiable: what is differentiated is the network.",
        UNDER,
        proved(relax),
    ),
    PEN.claim(
        "Justification of RELAX, last bullet",
        r"In (47), replace f with $C_\phi$.",
        WRONG,
        differs(replaced, target, theta, "(47) with C_phi for every f, against the target"),
        corrected=r"Replace $f(\sigma_\lambda(\cdot))$ with $C_\phi(\cdot)$ and keep f(H(z)).",
        correct=(proved(relax),),
    ),
    PEN.equation(
        "51",
        r"\hat g = \mathbb{E}_{p(u,v)}\big[[f(b) - [C_\phi(\tilde z)]]\,\partial_\theta\log p(b;\theta)"
        r" - \partial_\theta[C_\phi(\tilde z)]\big] + \partial_\theta[C_\phi(z)]",
        ILL,
        unscoped(
            lambda: closed("(51)", E(relax_without_last, u, v) + grad(learned(latent, phi), theta)),
            "the last term stands outside of the expectation that binds u",
        ),
        corrected=r"$\mathbb{E}_{p(u,v)}\big[(f(b) - C_\phi(\tilde z))\,\partial_\theta\log p(b;\theta) + "
        r"\partial_\theta C_\phi(z)"
        r" - \partial_\theta C_\phi(\tilde z)\big]$, with $b = H(z)$",
        correct=(proved(relax), proved(catalogue["relax"])),
    ),
    PEN.claim(
        "Algorithm 1, line 2",
        "u, v ~ q, the reparameterization distribution.",
        UNDER,
        proved(relax),
        read("u and v independent and uniform on (0, 1), as in the slides on Concrete and REBAR"),
    ),
    PEN.claim(
        "Algorithm 1, lines 3 and 4",
        r"$z_i \leftarrow h(u, \theta)$, $\tilde z_i \leftarrow \tilde h(v, H(z_i), \theta)$",
        ILL,
        undefined({"u", "v", "theta", "i"}, {"u", "v", "theta", "phi"}, "the index i is bound by no loop"),
        corrected=r"$z \leftarrow h(u, \theta)$, $\tilde z \leftarrow \tilde h(v, H(z), \theta)$",
        correct=(proved(relax),),
    ),
    PEN.claim(
        "Algorithm 1, line 5",
        r"$\hat g_\theta \leftarrow$ equation (50)",
        ILL,
        wrong_reference("50", "the gradient estimator of RELAX", DEFINES),
        corrected="equation (51), corrected and without its expectation",
        correct=(proved(relax),),
    ),
    PEN.claim(
        "Algorithm 1, line 6",
        r"$\hat g_\phi \leftarrow \partial_\phi \mathrm{Var}(\hat g_\theta)$",
        UNDER,
        theorem(lambda: second_moment_alone(relax, mean_of_relax(), "phi"), where=NAMES),
        corrected=r"$\hat g_\phi \leftarrow \partial_\phi(\hat g_\theta^2)$, a sample of it: the variance of one "
        r"sample is not known.",
        remark="As in (50), because the mean does not contain phi.",
    ),
    PEN.claim(
        "Algorithm 1, lines 7 and 8",
        r"$\theta \leftarrow \theta - \alpha_1\hat g_\theta$, $\phi \leftarrow \phi - \alpha_2\hat g_\phi$",
        UNDER,
        read("stochastic descent where f is to be minimised, with steps that are small enough"),
    ),
    PEN.claim(
        "Application, display",
        r"$L = -\mathbb{E}_{q}\big[\log\big(p(x\mid z) + \log p(z) - \log q(z\mid x)\big)\big]$",
        WRONG,
        differs(
            -E(log(X(q) + log(prior(q)) - log(p(q))), q),
            -E(log(X(q)) + log(prior(q)) - log(p(q)), q),
            theta,
            "as written, against the negative bound",
        ),
        corrected=r"$L = -\mathbb{E}_{q}[\log p(x\mid z) + \log p(z) - \log q(z\mid x)]$",
        correct=(proved(elbo),),
        remark="One bracket stands in the wrong place: the logarithm is taken of a density plus two logarithms.",
    ),
    PEN.claim(
        "Application, update rule and last sentence",
        r"RELAX can estimate $\partial_\theta L$.",
        UNDER,
        proved(elbo),
        chain(E(score(t), t), (mean_score, lift(0))),
        outside_differs(
            E(own(b, theta) * score(b), b), grad(E(own(b, theta), b), theta), theta, "any f that contains theta, taken as fixed"
        ),
        remark="Here f contains theta through log q, against the derivation; its own gradient has mean zero, as the score.",
    ),
    PEN.claim(
        "Experiment, objective",
        r"Minimise $\mathbb{E}_b[(0.501 - b)^2]$, $b \sim$ Bernoulli($\theta$).",
        HOLDS,
        confirmed("gradient in theta, f(1) - f(0)", loss(1) - loss(0), "=", Fraction(-1, 500)),
        remark="Linear in theta: the minimum is at theta = 1.",
    ),
    PEN.claim(
        "Experiment, second challenge, first half",
        "The loss is very small, even for a completely wrong move.",
        WRONG,
        numbers("the loss of b = 0, the wrong move, against the difference of both losses", loss(0), "=", loss(0) - loss(1)),
        corrected="The difference of the losses is small, 1/500; each of them is about 1/4.",
        correct=(confirmed("the loss of b = 1 against that of b = 0", loss(1), "<", loss(0)),),
    ),
    PEN.claim(
        "Experiment, second challenge, second half",
        "The variance of each update can be very high.",
        HOLDS,
        confirmed(
            "theta = 1/2: 60000 times the squared gradient, against the variance of the score function",
            60000 * experiment[0] ** 2,
            "<",
            experiment[1],
        ),
    ),
]

STATEMENTS = [*EQUATIONS_1, *EQUATIONS_2, *CONCRETE, *REBAR, *RELAX]
NOT_JUDGED = (
    "The wishes of the slide Goal, and the words on the difficulty of the problem.",
    "The experiment's result (REBAR fails in 10,000 iterations, RELAX succeeds): a measurement, which is repeated elsewhere.",
)
