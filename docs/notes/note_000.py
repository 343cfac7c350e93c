"""Note 000, a blog post on gradients of expectations: no equation is numbered; score function, pathwise, Concrete, REBAR."""

from __future__ import annotations

from fractions import Fraction

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.kernel import theorem as kernel
from derive.language.term import lift
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    relaxation,
    score,
    uniform,
)
from derive.proofs.rules import (
    expectation,
    leibniz,
    log_derivative_trick,
    mean_score,
    pathwise,
    pathwise_gradient,
    product_rule,
    reparameterization,
    score_definition,
    score_function,
    score_function_estimator,
    zero_mean_score,
)
from docs.notes import cases
from docs.notes.cases import HALF, bernoulli, concrete_at_one, hump, hump_slope, rebar_at_one, variances
from docs.notes.checks import (
    chain,
    confirmed,
    moments,
    needs,
    numbers,
    outside,
    outside_differs,
    proved,
    read,
    refused,
    same,
    theorem,
    two_meanings,
    value,
)
from docs.notes.statement import HOLDS, ILL, UNDER, WRONG, Pen

PEN = Pen("000")
TITLE = "Blog post: estimating gradients of expectations"

theta, lambda_ = parameter("theta"), constant("lambda")
z, b = continuous("z", theta, law="q"), finite("b", theta)
f, rough, smooth = function("f"), function("f", differentiable=False), function("f", differentiable=True)
target = grad(E(f(b), b), theta)
mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
epsilon = normal("epsilon")
g = mu(theta) + sigma(theta) * epsilon
w = function("u", differentiable=True)(theta)

u, v = uniform("u"), uniform("v")
relaxed = relaxation(b)
latent = relaxed.h(u, theta)
soft = relaxed.sigma(latent, lambda_)
concrete = Estimator("concrete, its own target", grad(smooth(soft), theta), (u,), grad(E(smooth(soft), u), theta))
g_z, g_epsilon = normal("z", mu(theta), sigma(theta)), mu(theta) + sigma(theta) * epsilon


def rare(probability: Fraction) -> Fraction:
    """The variance of the score of an outcome whose probability moves at rate 1."""
    return moments(catalogue["score-function"], bernoulli(probability, f=(1, 1)))[1]


def rare_logit(probability: Fraction) -> Fraction:
    """The same where the logit moves at rate 1."""
    return moments(catalogue["score-function"], bernoulli(probability, probability * (1 - probability), f=(1, 1)))[1]


PROBLEM = [
    PEN.claim(
        "first display",
        r"$\nabla_\theta \mathbb{E}_{q(z)}[f(z)] = \nabla_\theta \int q(z)\, f(z)\, dz$",
        HOLDS,
        chain(grad(E(f(z), z), theta), (expectation, grad(Over(p(z) * f(z), z), theta))),
        remark="The note leaves out dz.",
    ),
    PEN.claim(
        "Score function gradient, first sentence",
        r"$\nabla_\theta$ goes inside the integral, since only q(z) is a function of $\theta$.",
        WRONG,
        numbers(cases.MOVING, cases.moving_values()[0], "=", cases.moving_values()[1], "only the density moves"),
        corrected="It goes inside where the support of q does not move and the derivative of f q has an integrable bound.",
        correct=(chain(grad(Over(p(z) * f(z), z), theta), (leibniz, Over(grad(p(z), theta) * f(z), z))),),
    ),
    PEN.claim(
        "Score function gradient, second display",
        r"$d \log u = du / u$",
        UNDER,
        chain(grad(log(w), theta), (product_rule, grad(w, theta) / w)),
    ),
    PEN.claim(
        "Score function gradient, third display",
        r"$\nabla_\theta \mathbb{E}_{q(z)}[f(z)] = \mathbb{E}_{q(z)}[\nabla_\theta\log q(z)\, f(z)]$",
        UNDER,
        chain(
            grad(E(f(z), z), theta),
            (expectation, grad(Over(p(z) * f(z), z), theta)),
            (leibniz, Over(grad(p(z), theta) * f(z), z)),
            (log_derivative_trick, Over(p(z) * score(z) * f(z), z)),
            (expectation, E(score(z) * f(z), z)),
        ),
        same(target, E(score(b) * f(b), b), theta),
        outside_differs(E(score(b) * f(b, theta), b), grad(E(f(b, theta), b), theta), theta, "f that contains theta"),
        outside(cases.MOVING, cases.moving_values()[0], "=", cases.moving_values()[1]),
    ),
    PEN.claim(
        "the same, used on the ELBO",
        r"The formula applies to the ELBO, whose $f = \log p(x, z) - \log q(z)$ contains $\theta$.",
        UNDER,
        proved(catalogue["elbo-score-function"]),
        chain(E(score(z), z), (mean_score, lift(0))),
        remark="The note says that only q is a function of theta, which is false for the ELBO; the missing term has mean zero.",
    ),
    PEN.claim(
        "Score function gradient, fourth sentence",
        r"Only the derivative $\nabla\log q$ is needed; not that of f.",
        UNDER,
        theorem(lambda: score_function(rough(z), z, theta), score_function_estimator),
    ),
    PEN.claim(
        "Score function gradient, fifth sentence",
        "The expectation is replaced with a Monte Carlo average.",
        UNDER,
        proved(catalogue["score-function"], 2),
        proved(catalogue["score-function"], 3),
    ),
    PEN.claim(
        "Score function gradient, sixth sentence",
        r"The derivative $\nabla_\theta\log p(x;\theta)$ is called a score function.",
        HOLDS,
        theorem(lambda: kernel.definition(score(z)), score_definition),
    ),
    PEN.claim(
        "Score function gradient, seventh sentence",
        "The expected value of the score is zero.",
        UNDER,
        theorem(lambda: zero_mean_score(z, theta), mean_score),
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
        "Score function gradient, second paragraph",
        "Monte Carlo gives noisy unbiased estimates of the gradient.",
        UNDER,
        proved(catalogue["score-function"]),
        proved(catalogue["score-function"], 2),
    ),
    PEN.claim(
        "Score function gradient, second paragraph",
        r"For the ELBO: sample from q(z; v), evaluate the gradient of $\log q(z; v)$, then $\log p(x, z)$ and $\log q(z)$.",
        UNDER,
        proved(catalogue["elbo-score-function"]),
        remark="The parameter, theta so far, is called v from here on.",
    ),
    PEN.claim(
        "Score function gradient, third paragraph",
        "Rare values lead to large scores and so to high variance.",
        UNDER,
        confirmed(
            "variance of the score where p moves at rate 1: p = 1/2 against p = 1/10", rare(HALF), "<", rare(Fraction(1, 10))
        ),
        confirmed("p = 1/10 against p = 1/100", rare(Fraction(1, 10)), "<", rare(Fraction(1, 100))),
        outside(
            "where the logit of p moves at rate 1: p = 1/2 against p = 1/100",
            rare_logit(HALF),
            "<",
            rare_logit(Fraction(1, 100)),
            "it depends on the parametrisation: with logits no score exceeds 1",
        ),
    ),
    PEN.claim(
        "Score function gradient, last sentence",
        "Control variates can reduce the variance.",
        UNDER,
        proved(catalogue["constant-baseline"]),
        confirmed(
            "p = 1/2, f = (1, 0): with the baseline 1/2 (f = (1/2, -1/2)), against none",
            moments(catalogue["score-function"], bernoulli(HALF, f=(HALF, -HALF)))[1],
            "<",
            moments(catalogue["score-function"], bernoulli(HALF, f=(1, 0)))[1],
        ),
    ),
    PEN.claim(
        "Score function gradient, last sentence",
        "A few more, non-restricting, assumptions give a better method of low variance, pathwise gradients.",
        WRONG,
        numbers(cases.REVERSED, variances(cases.quartic)[1], "<", variances(cases.quartic)[0]),
        corrected="The assumptions restrict: z is continuous and f differentiable. The variance is lower for some f.",
        correct=(
            needs("Differentiable", lambda: pathwise(grad(E(rough(g), epsilon), theta)), "f that is not differentiable"),
            needs("Differentiable", lambda: pathwise(grad(E(f(relaxed.H(latent)), u), theta)), "z that is discrete"),
            confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),
        ),
    ),
]

PATHS = [
    PEN.claim(
        "Path-wise Gradients, first assumption",
        r"z is a function of parameters v and noise $\epsilon$: $z = f(\epsilon, v)$.",
        ILL,
        two_meanings("f", {"the integrand f(z)": 1, "the map f(epsilon, v)": 2}, "f is the integrand in the first sentence"),
        corrected=r"$z = h(\epsilon, v)$, where $h(\epsilon, v)$ has the law q(z; v).",
        correct=(chain(E(f(g_z), g_z), (reparameterization(epsilon), E(f(g), epsilon))),),
    ),
    PEN.claim(
        "Path-wise Gradients, second assumption",
        "log p(x, z) and log q(z) are differentiable with respect to z.",
        UNDER,
        proved(catalogue["sgvb"]),
        proved(catalogue["pathwise"]),
        refused(
            "Differentiable", lambda: pathwise(grad(E(rough(g), epsilon), theta)), "an integrand that is not differentiable"
        ),
    ),
    PEN.claim(
        "Path-wise Gradients, last sentence",
        "The variance generally behaves better.",
        UNDER,
        confirmed(cases.USUAL, variances(lambda x: x**2)[1], "<", variances(lambda x: x**2)[0]),
        outside(cases.REVERSED, variances(cases.quartic)[1], "<", variances(cases.quartic)[0], "not for every f"),
    ),
    PEN.claim(
        "heading of Path-wise Gradients",
        "Pathwise gradients are for continuous variables.",
        HOLDS,
        needs("Differentiable", lambda: pathwise(grad(E(f(relaxed.H(latent)), u), theta)), "b that is discrete"),
    ),
    PEN.claim(
        "heading of the score function",
        "The score function is for continuous and for discrete variables.",
        UNDER,
        theorem(lambda: score_function(f(z), z, theta), score_function_estimator),
        theorem(lambda: score_function(f(b), b, theta), score_function_estimator),
    ),
]

CONCRETE = [
    PEN.claim(
        "Concrete gradients, first sentence",
        "A continuous analog and the pathwise gradient give a biased gradient of low variance.",
        UNDER,
        confirmed(
            "f(b) = b, theta = 1/2, lambda = 1: mean of the Concrete gradient, against the gradient",
            concrete_at_one(lambda s: s**0)[0],
            "!=",
            1,
        ),
        confirmed(
            "the variance there, against that of the score function",
            concrete_at_one(lambda s: s**0)[1],
            "<",
            moments(catalogue["score-function"], bernoulli(HALF, f=(1, 0)))[1],
        ),
        outside(
            "f(x) = x (1 - x), theta = 1/2, lambda = 1: Concrete against score function",
            concrete_at_one(hump_slope)[1],
            "<=",
            rebar_at_one(hump, hump_slope, 0)[1],
            "the variance is not low for every f",
        ),
    ),
    PEN.claim(
        "Concrete gradients, second paragraph",
        "With Concrete variables in the place of all discrete ones the model is continuous and can be reparameterized.",
        UNDER,
        proved(concrete),
        chain(grad(E(smooth(soft), u), theta), (pathwise_gradient, E(grad(smooth(soft), theta), u))),
        refused("Differentiable", lambda: pathwise(grad(E(rough(soft), u), theta)), "f that is not differentiable"),
    ),
    PEN.claim(
        "Concrete gradients, second paragraph",
        "The gradients are biased with respect to the discrete model.",
        UNDER,
        confirmed(
            "f(b) = b, theta = 1/2, lambda = 1: mean of the Concrete gradient, against the gradient",
            concrete_at_one(lambda s: s**0)[0],
            "!=",
            1,
        ),
        outside(
            "f constant: mean of the Concrete gradient, against 0",
            concrete_at_one(lambda s: lift(0))[0],
            "!=",
            0,
            "for a constant f there is no bias",
        ),
    ),
    PEN.claim(
        "Concrete gradients, second paragraph",
        "The temperature controls how tight the relaxation is.",
        UNDER,
        cases.flatter(tuple(map(Fraction, ("1/4", "1/2", "1", "2", "4")))),
    ),
    PEN.claim(
        "Concrete gradients, last sentence",
        "In the limit of low temperature the estimates become unbiased, and their variance diverges.",
        UNDER,
        *cases.LIMIT,
        outside(
            "f constant: the variance", concrete_at_one(lambda s: lift(0))[1], "!=", 0, "for a constant f nothing diverges"
        ),
    ),
]

REBAR = [
    PEN.claim(
        "Rebar gradient, first two sentences",
        "Combines the score function with Concrete gradients through a control variate; unbiased.",
        UNDER,
        proved(catalogue["rebar"]),
    ),
    PEN.claim(
        "Rebar gradient, second sentence",
        "Low variance.",
        UNDER,
        confirmed(
            "f(b) = b, theta = 1/2, lambda = 1: variance of REBAR against score function",
            rebar_at_one(lambda s: s, lambda s: s**0, 1)[1],
            "<",
            rebar_at_one(lambda s: s, lambda s: s**0, 0)[1],
        ),
        outside(
            "f(x) = x (1 - x), theta = 1/2, lambda = 1: variance of REBAR against score function",
            rebar_at_one(hump, hump_slope, 1)[1],
            "<=",
            rebar_at_one(hump, hump_slope, 0)[1],
            "not for every f",
        ),
    ),
    PEN.claim(
        "Rebar gradient, third sentence",
        "No additional hyper-parameters need tuning.",
        UNDER,
        read("the temperature and the factor eta remain; they can follow the gradient of the variance"),
        proved(catalogue["rebar"]),
    ),
    PEN.claim(
        "Rebar gradient, fourth sentence",
        "The difference of the score function and the reparameterized gradient of the relaxed model is a control variate.",
        UNDER,
        same(
            E(f(g_z) * score(g_z, theta), g_z) - E(grad(f(g_epsilon), theta), epsilon),
            lift(0),
            theta,
            under=("checked for a normal z", "both gradients exist"),
        ),
        remark="Its mean is zero: both are estimators of one gradient.",
    ),
]


STATEMENTS = [*PROBLEM, *PATHS, *CONCRETE, *REBAR]
NOT_JUDGED = (
    "Names and history (REINFORCE, likelihood ratio, black-box inference), and why the ELBO is hard to differentiate.",
    "That Concrete gradients optimise large models effectively, and how REBAR's control variate compares in experiments.",
    "The sections on MuProp and straight-through, which are headings only.",
)
