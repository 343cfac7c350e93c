"""Note 004, a question and its answer: Gaussian score function against reparameterization. Equations (1) and (2).

The law is normal with mean mu(theta) and standard deviation sigma(theta); the note's parameter phi is theta here.
"""

from __future__ import annotations

from derive.estimator import Estimator
from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING
from derive.language.term import Density, Term, lift
from derive.notation import E, Over, exp, function, grad, normal, p, parameter, score
from derive.proofs.rules import (
    algebra,
    expectation,
    leibniz,
    log_derivative_trick,
    pathwise,
    pathwise_gradient,
    reparameterization,
    score_function,
    score_function_estimator,
)
from docs.notes import cases
from docs.notes.cases import by_score, variances
from docs.notes.checks import (
    chain,
    closed,
    confirmed,
    moments,
    numbers,
    outside,
    proved,
    read,
    refused,
    same,
    theorem,
    unscoped,
    value,
)
from docs.notes.statement import HOLDS, ILL, UNDER, WRONG, Pen

PEN = Pen("004")
TITLE = "Question and answer: the variances of the two Gaussian estimators"

theta = parameter("theta")
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
z, epsilon = normal("z", mu(theta), sigma(theta)), normal("epsilon")
f, rough = function("f"), function("f", differentiable=False)
path = mu(theta) + sigma(theta) * epsilon
q, moved, slope = p(z), grad(p(z), theta), score(z, theta)
target = grad(E(f(z), z), theta)
line_1, line_2 = grad(Over(f(z) * q, z), theta), Over(f(z) * moved, z)
line_3, line_4, last = Over(q / q * f(z) * moved, z), Over(q * f(z) * slope, z), E(f(z) * slope, z)
first = Estimator("E_1", f(z) * slope, (z,), target)
second = Estimator("E_2", grad(f(path), theta), (epsilon,), target)
wide = normal("z", 0, 2)
BY_SCORE, BY_PATH = variances(cases.quartic)


def linear(x: Term) -> Term:
    """The function x."""
    return x


QUESTION = [
    PEN.claim(
        "first display, first line",
        r"$\nabla_\phi\mathbb{E}_{q_\phi}[f(z)] = \nabla\int f(z)\, q_\phi(z)\, dz$",
        HOLDS,
        chain(target, (expectation, line_1)),
        same(target, line_1, theta),
    ),
    PEN.claim(
        "first display, second line",
        r"$\nabla\int f(z)\, q_\phi(z)\, dz = \int f(z)\,\nabla q_\phi(z)\, dz$",
        UNDER,
        chain(line_1, (leibniz, line_2)),
        same(line_1, line_2, theta),
        refused(
            "Dominated",
            lambda: kernel.leibniz(grad(Over(p(cases.z) * exp(cases.z**2), cases.z), theta), assuming=EVERYTHING),
            "f(z) = exp(z^2), which is continuous, and has no mean under N(theta, 1)",
        ),
        remark="The note assumes that f is continuous: that is neither needed nor enough; what matters is how fast f grows.",
    ),
    PEN.claim(
        "first display, third line",
        r"$\ldots = \int \frac{q_\phi(z)}{q_\phi(z)}\, f(z)\,\nabla_\phi q_\phi(z)\, dz$",
        UNDER,
        theorem(lambda: kernel.algebra(f(z) * moved, q / q * f(z) * moved, assuming=EVERYTHING), algebra),
        remark="A normal density of positive scale is never 0.",
    ),
    PEN.claim(
        "first display, fourth line",
        r"$\ldots = \int q_\phi(z)\, f(z)\,\nabla_\phi\log q_\phi(z)\, dz$",
        UNDER,
        chain(line_3, (log_derivative_trick, line_4)),
        same(line_2, line_4, theta),
    ),
    PEN.equation(
        "1",
        r"\ldots = \mathbb{E}_{z\sim q_\phi}[f(z)\,\nabla_\phi\log q_\phi(z)]",
        UNDER,
        chain(line_4, (expectation, last)),
        theorem(lambda: score_function(f(z), z, theta), score_function_estimator),
        proved(first),
    ),
    PEN.claim(
        "item 2, first half",
        r"$z = \mu_\phi(x) + \epsilon\,\sigma_\phi(x)$ with $\epsilon\sim N(0, 1)$.",
        UNDER,
        chain(E(f(z), z), (reparameterization(epsilon), E(f(path), epsilon))),
        same(E(f(z), z), E(f(path), epsilon), theta),
    ),
    PEN.equation(
        "2",
        r"\nabla_\phi\mathbb{E}_{z\sim q_\phi}[f(z)] = \mathbb{E}_{\epsilon\sim N(0,1)}[\nabla_\phi f(\mu_\phi + "
        r"\epsilon\sigma_\phi)]",
        UNDER,
        chain(
            target,
            (reparameterization(epsilon), grad(E(f(path), epsilon), theta)),
            (pathwise_gradient, E(grad(f(path), theta), epsilon)),
        ),
        proved(second),
        refused("Differentiable", lambda: pathwise(grad(E(rough(path), epsilon), theta)), "f that is continuous only"),
        remark="The note assumes that f is continuous; (2) needs it to be differentiable.",
    ),
    PEN.claim(
        "third paragraph",
        "Reparameterization generally has the lower variance.",
        UNDER,
        confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),
        outside(cases.REVERSED, BY_PATH, "<", BY_SCORE, "not for every f"),
    ),
    PEN.claim(
        "fourth paragraph, first reason",
        "(1) has high variance because f(z) is computed from samples and its variance is unbounded.",
        WRONG,
        numbers(
            "f = 1, z ~ N(theta, 1): the variance of f(z) against that of (1), f(z) times the score",
            moments(Estimator("f", lift(1) + 0 * cases.z, (cases.z,), by_score(linear).target), theta=0)[1],
            "=",
            moments(by_score(lambda x: x**0), theta=0)[1],
        ),
        corrected="(1) has variance even where f has none: the score does. What counts is the mean of the square of f "
        "times the score.",
        correct=(same(E((f(z) * slope) ** 2, z) - last**2, E((f(z) * slope - last) ** 2, z), theta),),
    ),
    PEN.claim(
        "fourth paragraph, second reason",
        r"In (2) everything is fixed except $\epsilon$, whose variance is 1.",
        WRONG,
        numbers(
            "z ~ N(theta, 1), theta = 0, f(z) = z^4 - 10 z^2 + 15: the variance of the integrand of (2) against 1",
            BY_PATH,
            "=",
            1,
        ),
        corrected=r"What varies is $f'(\mu + \epsilon\sigma)$ times the derivative of the path; its variance depends on f.",
        correct=(confirmed("f(z) = z: the variance of the integrand of (2)", variances(linear)[1], "=", 0),),
    ),
    PEN.claim(
        "fourth paragraph, conclusion",
        "As a result (1) has the higher variance.",
        WRONG,
        numbers(cases.REVERSED, BY_PATH, "<", BY_SCORE),
        corrected="For some f.",
        correct=(confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),),
    ),
]

ANSWER = [
    PEN.claim(
        "answer, error term",
        r"$\epsilon \equiv (Z - \mu(\phi)) / \sigma(\phi)$, the number of standard deviations from the mean.",
        UNDER,
        same((z - mu(theta)) / sigma(theta) * sigma(theta) + mu(theta), z, theta, under=("sigma is not 0",)),
        same(E(((z - mu(theta)) / sigma(theta)) ** 2, z), lift(1), theta, under=("sigma is not 0",)),
    ),
    PEN.claim(
        "answer, first display, first line",
        r"$J(\phi) \equiv \mathbb{E}(r(Z)) = \int r(z)\, N(z\mid\mu, \sigma^2)\, dz$",
        HOLDS,
        chain(E(f(z), z), (expectation, Over(q * f(z), z))),
    ),
    PEN.claim(
        "answer, first display, second line",
        r"$J(\phi) = \int r(\mu + \epsilon\,\sigma)\, N(\epsilon\mid 0, 1)\, dz$",
        ILL,
        unscoped(
            lambda: closed("J", Over(f(path) * Density(epsilon.law, epsilon), z)),
            "the integral is over z, and epsilon stays free",
        ),
        numbers(
            "r = 1, mu = 0, sigma = 2, epsilon = z / 2: the integral over z of N(z / 2; 0, 1) = 2 N(z; 0, 4), against J",
            value(E(lift(2), wide)),
            "=",
            1,
        ),
        corrected=r"$\int r(\mu + \epsilon\,\sigma)\, N(\epsilon\mid 0, 1)\, d\epsilon$",
        correct=(
            chain(
                E(f(z), z),
                (reparameterization(epsilon), E(f(path), epsilon)),
                (expectation, Over(p(epsilon) * f(path), epsilon)),
            ),
        ),
    ),
    PEN.claim(
        "answer, after the first display",
        "Both integrals are equal by a change of variable.",
        UNDER,
        chain(E(f(z), z), (reparameterization(epsilon), E(f(path), epsilon)), under=("the second one is over epsilon",)),
    ),
    PEN.claim(
        "answer, second display, first line",
        r"$\nabla_\phi J = \int r(z)\,\big(\nabla_\phi\ln N(z\mid\mu, \sigma^2)\big)\, N(z\mid\mu, \sigma^2)\, dz$",
        UNDER,
        chain(target, (expectation, line_1), (leibniz, line_2), (log_derivative_trick, Over(f(z) * slope * q, z))),
    ),
    PEN.claim(
        "answer, second display, second line",
        r"$\nabla_\phi J = \int \big(\nabla_\phi r(\mu + \epsilon\,\sigma)\big)\, N(\epsilon\mid 0, 1)\, dz$",
        ILL,
        unscoped(
            lambda: closed("gradient", Over(grad(f(path), theta) * Density(epsilon.law, epsilon), z)),
            "the integral is over z, and epsilon stays free",
        ),
        corrected=r"$\int \big(\nabla_\phi r(\mu + \epsilon\,\sigma)\big)\, N(\epsilon\mid 0, 1)\, d\epsilon$, for "
        r"differentiable r",
        correct=(
            chain(
                target,
                (reparameterization(epsilon), grad(E(f(path), epsilon), theta)),
                (pathwise_gradient, E(grad(f(path), theta), epsilon)),
                (expectation, Over(p(epsilon) * grad(f(path), theta), epsilon)),
            ),
        ),
    ),
    PEN.claim(
        "answer, after the second display",
        "Both are valid expressions for the gradient.",
        UNDER,
        proved(first),
        proved(second),
        refused(
            "Differentiable", lambda: pathwise(grad(E(rough(path), epsilon), theta)), "the second, for r not differentiable"
        ),
    ),
    PEN.claim(
        "answer, third display, first line",
        r"$\hat E_1 = \frac1M\sum_j r(z_j)\,\nabla_\phi\ln N(z_j\mid\mu, \sigma^2)$ estimates $\nabla_\phi J$.",
        UNDER,
        proved(first),
        proved(first, 2),
    ),
    PEN.claim(
        "answer, third display, second line",
        r"$\hat E_2 = \frac1M\sum_j\nabla_\phi r(\mu + \epsilon_j\,\sigma)$ estimates $\nabla_\phi J$.",
        UNDER,
        proved(second),
        proved(second, 2),
    ),
    PEN.claim(
        "answer, last paragraph, the speaker's claim",
        "The variance of the second estimator is lower than that of the first.",
        WRONG,
        numbers(cases.REVERSED, BY_PATH, "<", BY_SCORE),
        corrected="For some r, such as affine and quadratic ones.",
        correct=(
            confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),
            confirmed("f(z) = z, theta = 0: pathwise against score function", variances(linear)[1], "<", variances(linear)[0]),
        ),
        remark="With M samples both variances are divided by M.",
    ),
    PEN.claim(
        "answer, last paragraph, the doubt",
        "I doubt that it holds for all functions r.",
        HOLDS,
        confirmed(f"{cases.REVERSED}, the other way round", BY_SCORE, "<", BY_PATH),
        remark="The doubt is right.",
    ),
    PEN.claim(
        "answer, last paragraph, the guess",
        "It may hold where the gradient of r is fairly insensitive to its argument.",
        UNDER,
        confirmed("r(z) = z, whose gradient is constant: the variance of the second", variances(linear)[1], "=", 0),
        confirmed("the variance of the first there is greater", variances(linear)[1], "<", variances(linear)[0]),
        outside(cases.REVERSED, BY_PATH, "<", BY_SCORE, "where the gradient of r varies much"),
        read("a guess without a measure of insensitivity"),
    ),
]

STATEMENTS = [*QUESTION, *ANSWER]
NOT_JUDGED = ("That x may be left out because everything is conditional on it, and the comments on the question.",)
