"""Note 002, a blog post on the gradient of the ELBO: equations (1.1), (1.2), (2.1) to (2.6), and the displays between."""

from __future__ import annotations

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.kernel import theorem as kernel
from derive.kernel.premises import EVERYTHING
from derive.language.term import lift
from derive.notation import E, Over, continuous, copies, finite, function, grad, log, p, parameter, score
from derive.proofs.rules import (
    algebra,
    expectation,
    leibniz,
    log_derivative,
    log_derivative_trick,
    mean_score,
    normalisation,
    score_definition,
    zero_mean_score,
)
from docs.notes import cases
from docs.notes.cases import HALF, bernoulli
from docs.notes.checks import (
    chain,
    confirmed,
    moments,
    numbers,
    outside,
    outside_differs,
    proved,
    read,
    refused,
    same,
    theorem,
    undefined,
    value,
)
from docs.notes.statement import HOLDS, ILL, UNDER, WRONG, Pen

PEN = Pen("002")
TITLE = "Blog post: the gradient of the ELBO"

theta = parameter("theta")
x, b = continuous("x", theta), finite("b", theta)
f, C = function("f"), function("C")
target, moved = grad(E(f(b), b), theta), grad(p(x), theta)
line_1, line_2 = grad(Over(p(x) * f(x), x), theta), Over(moved * f(x), x)
line_3, line_5 = Over(p(x) / p(x) * moved * f(x), x), Over(p(x) * score(x) * f(x), x)
finite_2, finite_5 = Over(grad(p(b), theta) * f(b), b), Over(p(b) * score(b) * f(b), b)
finite_3 = Over(p(b) / p(b) * grad(p(b), theta) * f(b), b)
line_4, finite_4 = Over(p(x) * (moved / p(x)) * f(x), x), Over(p(b) * (grad(p(b), theta) / p(b)) * f(b), b)

q = finite("z", theta, law="q")
joint = function("joint")
evidence = Over(joint(q), q)
log_posterior = log(joint(q)) - log(evidence)
elbo = E(log(joint(q)) - log(p(q)), q)
first, second = copies(b, 2)
average = Estimator("average", (f(first) + f(second)) / 2, (first, second), target)
half = bernoulli(HALF, f=(1, 0))
start_to_2 = ((expectation, line_1), (leibniz, line_2))

PROBLEM = [
    PEN.claim(
        "introduction",
        "The ELBO is a surrogate objective: its maximiser is the law that is closest to the posterior.",
        HOLDS,
        same(elbo, log(evidence) - E(log(p(q)) - log_posterior, q), theta),
        read("ELBO = log p(x) - KL(q, posterior), and log p(x) does not depend on q: the maximiser has the least divergence"),
    ),
    PEN.claim(
        "Definition of the problem, first display",
        r"$\mathbb{E}_{p_\theta}[f(x)] \approx \frac1N \sum_n f(x_n)$ with $x_n \sim p_\theta$",
        HOLDS,
        same(average.expectation, E(f(b), b), theta),
        remark="The mean of the right side is the left side for any number of samples.",
    ),
    PEN.equation(
        "1.1",
        r"\nabla_\theta\mathbb{E}_{p_\theta}[f(x)] = \nabla_\theta \int p_\theta(x)\, f(x)\, dx",
        HOLDS,
        chain(grad(E(f(x), x), theta), (expectation, line_1)),
        same(target, grad(Over(p(b) * f(b), b), theta), theta),
    ),
    PEN.equation(
        "1.2",
        r"\nabla_\theta \int p_\theta(x)\, f(x)\, dx = \int \nabla_\theta p_\theta(x)\, f(x)\, dx",
        UNDER,
        chain(line_1, (leibniz, line_2)),
        same(grad(Over(p(b) * f(b), b), theta), finite_2, theta),
        refused(
            "SupportFixed",
            lambda: kernel.leibniz(grad(Over(p(cases.moving) * f(cases.moving), cases.moving), theta), assuming=EVERYTHING),
            "a support that moves",
        ),
        outside(cases.MOVING, cases.moving_values()[0], "=", cases.moving_values()[1]),
        remark="The note names the rule, and not its conditions.",
    ),
    PEN.claim(
        "after (1.2)",
        "Most of the time the gradient of a density is not itself a density.",
        UNDER,
        chain(Over(moved, x), (leibniz, grad(Over(p(x), x), theta)), (normalisation, grad(lift(1), theta)), (algebra, lift(0))),
        corrected="It never is: its integral is 0.",
    ),
    PEN.claim(
        "after (1.2)",
        r"The quantity $\nabla_\theta p(x_\theta)$.",
        ILL,
        undefined({"x_theta"}, {"x", "p_theta", "f", "theta"}, "the subscript has moved from the density to its argument"),
        corrected=r"$\nabla_\theta p_\theta(x)$",
    ),
    PEN.claim(
        "after (1.2)",
        "So the integral in (1.2) cannot be cast into an expectation, nor approximated by Monte Carlo.",
        WRONG,
        numbers(
            "p = 1/2, f = (1, 0): (1.2), against the expectation (2.6)",
            moments(Estimator("(1.2)", finite_2, (), target), half)[0],
            "!=",
            moments(catalogue["score-function"], half)[0],
            "an expectation that equals it, at an exact case",
        ),
        corrected="It is no expectation with the weights of the gradient of p; it is the expectation (2.6) with the weights p.",
        correct=(chain(line_2, (log_derivative_trick, line_5), (expectation, E(score(x) * f(x), x))),),
        remark="The note itself does so in (2.6).",
    ),
    PEN.claim(
        "second display",
        r"$\nabla_\theta \mathrm{ELBO}(q) = \nabla_\theta\mathbb{E}_q\big[\log\frac{p(x, z)}{q(z)}\big]$",
        HOLDS,
        theorem(lambda: kernel.reflexivity(grad(E(log(joint(q) / p(q)), q), theta)), algebra),
        remark="q contains theta twice, as the law and in the integrand: (1.2) and (2.6), for f without theta, do not apply as "
        "they stand. The note does not come back to it; the term that is missing has mean zero, see the next record.",
    ),
    PEN.claim(
        "the score function estimator, used on the ELBO",
        r"(2.6) with $f = \log p(x, z) - \log q(z)$ is the gradient of the ELBO.",
        UNDER,
        proved(catalogue["elbo-score-function"]),
        chain(E(score(x), x), (mean_score, lift(0))),
        outside_differs(E(score(b) * f(b, theta), b), grad(E(f(b, theta), b), theta), theta, "any f that contains theta"),
    ),
]

SCORE = [
    PEN.claim(
        "definition of the score",
        r"$\text{score} = \nabla_\theta\log p_\theta(x)$",
        HOLDS,
        theorem(lambda: kernel.definition(score(x)), score_definition),
    ),
    PEN.claim(
        "the log-derivative trick",
        r"$\nabla_\theta\log p_\theta(x) = \nabla_\theta p_\theta(x) / p_\theta(x)$",
        UNDER,
        theorem(
            lambda: log_derivative(x.law, x, theta),
            log_derivative_trick,
            ("divided by p(x), which is positive on the support",),
        ),
        same(score(b), grad(p(b), theta) / p(b), theta),
    ),
    PEN.claim(
        "the mean of the score",
        r"$\mathbb{E}[\nabla\log p_\theta] = \mathbb{E}\big[\frac{\nabla p_\theta}{p_\theta}\big] = \int "
        r"p_\theta\frac{\nabla p_\theta}{p_\theta}"
        r" = \nabla \int p_\theta = \nabla 1 = 0$",
        UNDER,
        chain(
            E(score(x), x),
            (log_derivative_trick, E(moved / p(x), x)),
            (expectation, Over(p(x) * (moved / p(x)), x)),
            (leibniz, grad(Over(p(x), x), theta)),
            (normalisation, grad(lift(1), theta)),
            (algebra, lift(0)),
        ),
        same(E(score(b), b), lift(0), theta),
        refused("SupportFixed", lambda: zero_mean_score(cases.moving, theta), "a support that moves"),
        outside(
            "x ~ Uniform(0, theta), theta = 1: mean of the score, against 0",
            value(E(score(cases.moving), cases.moving), theta=1),
            "=",
            0,
        ),
    ),
    PEN.claim(
        "after the mean of the score",
        "That the score has mean zero is not particularly relevant here.",
        WRONG,
        numbers(
            "an ELBO whose law has a score of another mean, Uniform(0, theta), theta = 1, log p = 0: its gradient by (2.6)"
            " without that property leaves out minus the mean of the score, against 0",
            -value(E(score(cases.moving), cases.moving), theta=1),
            "=",
            0,
        ),
        corrected="It is why (2.6) gives the gradient of the ELBO, whose integrand contains theta.",
        correct=(proved(catalogue["elbo-score-function"]),),
    ),
    PEN.claim(
        "after the mean of the score",
        "It is fundamental for control variates.",
        UNDER,
        proved(catalogue["constant-baseline"]),
    ),
]

DERIVATION = [
    PEN.equation(
        "2.1",
        r"\nabla_\theta\mathbb{E}_{p_\theta}[f(x)] = \nabla_\theta\int p_\theta(x)\, f(x)\, dx",
        HOLDS,
        chain(grad(E(f(x), x), theta), (expectation, line_1)),
        same(target, grad(Over(p(b) * f(b), b), theta), theta),
    ),
    PEN.equation(
        "2.2",
        r"(2.1) = \int \nabla_\theta p_\theta(x)\, f(x)\, dx",
        UNDER,
        chain(line_1, (leibniz, line_2)),
        same(grad(Over(p(b) * f(b), b), theta), finite_2, theta),
        outside(cases.MOVING, cases.moving_values()[0], "=", cases.moving_values()[1]),
    ),
    PEN.equation(
        "2.3",
        r"(2.2) = \int \frac{p_\theta(x)}{p_\theta(x)}\,\nabla_\theta p_\theta(x)\, f(x)\, dx",
        UNDER,
        theorem(
            lambda: kernel.algebra(moved * f(x), p(x) / p(x) * moved * f(x)),
            algebra,
            ("the integral is over the support, where p > 0",),
        ),
        same(finite_2, finite_3, theta),
        refused(
            "NonZero",
            lambda: kernel.algebra(lift(1), p(cases.u, at=theta) / p(cases.u, at=theta)),
            "a point that may lie outside of the support",
        ),
    ),
    PEN.equation(
        "2.4",
        r"(2.3) = \int p_\theta(x)\,\frac{\nabla_\theta p_\theta(x)}{p_\theta(x)}\, f(x)\, dx",
        HOLDS,
        theorem(lambda: kernel.algebra(line_3.body, line_4.body), algebra),  # type: ignore[attr-defined]
        same(finite_3, finite_4, theta),
    ),
    PEN.equation(
        "2.5",
        r"(2.4) = \int p_\theta(x)\,\nabla_\theta\log p_\theta(x)\, f(x)\, dx",
        UNDER,
        chain(line_4, (log_derivative_trick, line_5)),
        same(finite_4, finite_5, theta),
    ),
    PEN.equation(
        "2.6",
        r"(2.5) = \mathbb{E}_{p_\theta}[\nabla_\theta\log p_\theta(x)\, f(x)]",
        HOLDS,
        chain(line_5, (expectation, E(score(x) * f(x), x))),
        same(finite_5, E(score(b) * f(b), b), theta),
    ),
    PEN.claim(
        "after (2.6), display",
        r"$\mathbb{E}_{p_\theta}[\nabla_\theta\log p_\theta(x)\, f(x)] \approx \frac1N\sum_n \nabla_\theta\log "
        r"p_\theta(x_n)\, f(x_n)$",
        UNDER,
        proved(catalogue["score-function"], 2),
        proved(catalogue["score-function"], 3),
    ),
    PEN.claim(
        "description of (2.1) and (2.2)",
        "The definition of expectation, then Leibniz's rule, as in the section before.",
        UNDER,
        chain(grad(E(f(x), x), theta), *start_to_2),
    ),
    PEN.claim(
        "description of (2.2) to (2.3)",
        "A new term, equal to 1, is added without effect on the product.",
        UNDER,
        theorem(lambda: kernel.algebra(p(x) / p(x), lift(1)), algebra, ("a factor, not a term; p(x) is not 0",)),
        outside("adding 1 to the product 1: 1 + 1 against 1", 2, "=", 1, "as a term that is added"),
    ),
    PEN.claim(
        "description of (2.3) to (2.4)",
        "The denominator changes place.",
        HOLDS,
        theorem(lambda: kernel.algebra(line_3.body, line_4.body), algebra),  # type: ignore[attr-defined]
    ),
    PEN.claim(
        "description of (2.4) to (2.5)",
        "The log-derivative trick applies.",
        UNDER,
        theorem(lambda: log_derivative(x.law, x, theta), log_derivative_trick),
    ),
    PEN.claim(
        "description of (2.5) to (2.6)",
        "The integral is a proper expectation.",
        HOLDS,
        chain(line_5, (expectation, E(score(x) * f(x), x))),
    ),
    PEN.claim(
        "The reparameterization trick, first sentence",
        "The score function estimator has a large variance.",
        UNDER,
        confirmed(
            "variance at p = 1/2, f = (10, 9) against f = (1, 0), the gradient is 1 for both",
            moments(catalogue["score-function"], half)[1],
            "<",
            moments(catalogue["score-function"], bernoulli(HALF, f=(10, 9)))[1],
        ),
        outside(
            "0 < variance, p = 1/2, f = (1, -1)",
            0,
            "<",
            moments(catalogue["score-function"], bernoulli(HALF, f=(1, -1)))[1],
            "for some f it has none",
        ),
    ),
]

STATEMENTS = [*PROBLEM, *SCORE, *DERIVATION]
NOT_JUDGED = ("Names and history, and the empty sections at the end.",)
