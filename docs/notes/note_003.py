"""Note 003, a documentation page on variational bounds and their gradients: SGVB, IWAE, NVIL, VIMCO; no equation is numbered.

A latent variable has any finite law q(z) with parameter theta; `joint` is p(x, z) for the x that is observed. In the note theta
belongs to p and phi to q, and its gradient is with respect to both; here one coordinate of either moves at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import prod

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.kernel import theorem as kernel
from derive.language.term import Number, Term, lift
from derive.laws.models import RationalCase
from derive.notation import (
    E,
    Over,
    constant,
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
    algebra,
    linearity,
    mean_score,
    pathwise,
    pathwise_gradient,
    product_rule,
    reparameterization,
    score_function_estimator,
)
from docs.notes.checks import (
    chain,
    confirmed,
    differs,
    moments,
    needed_error,
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

PEN = Pen("003")
TITLE = "Documentation page: gradient estimators for variational inference"

theta = parameter("theta")
z = finite("z", theta, law="q")
joint, f, rough = function("joint"), function("f", differentiable=True), function("f", differentiable=False)
evidence = Over(joint(z), z)
log_posterior = log(joint(z)) - log(evidence)
divergence = E(log(p(z)) - log_posterior, z)
elbo = E(log(joint(z)) - log(p(z)), z)

mu, sigma = function("mu", differentiable=True), function("sigma", differentiable=True)
normal_z, epsilon = normal("z", mu(theta), sigma(theta)), normal("epsilon")
z_of_epsilon = mu(theta) + sigma(theta) * epsilon
b, u = finite("b", theta), uniform("u")
relaxed = relaxation(b)
hard = relaxed.H(relaxed.h(u, theta))

x, psi, c = constant("x"), parameter("psi"), constant("c")
baseline = function("C", differentiable=True)(x, psi) + c


def weights(samples: int) -> list[Term]:
    """w_k(theta), the weight at the k-th noise as a function of the parameter, for so many samples."""
    return [function(f"w_{k}", differentiable=True)(theta) for k in range(1, samples + 1)]


def gradient_of_log_mean(samples: int) -> tuple[Term, Term]:
    """Both ends of the IWAE chain: the gradient of the log of the mean, and normalised weights times gradients of logs."""
    drawn = weights(samples)
    total = sum(drawn[1:], start=drawn[0])
    right = sum((one / total * grad(log(one), theta) for one in drawn), start=Number(Fraction(0)))
    return grad(log(total / samples), theta), right


def totals(samples: int) -> Term:
    """The mean of the weights."""
    drawn = weights(samples)
    return sum(drawn[1:], start=drawn[0]) / samples


def mean_gradient(samples: int) -> tuple[Term, Term]:
    """The third equality of the IWAE chain: the gradient of the log of the mean, and the gradient of the mean over the mean."""
    mean = totals(samples)
    return grad(log(mean), theta), grad(mean, theta) / mean


def log_mean(samples: int) -> Estimator:
    """The IWAE estimator of the catalogue, for K samples."""
    return catalogue["iwae"].with_samples(samples)


def rest_means(samples: int) -> tuple[Term, Term]:
    """The mean of K numbers, and the mean of their K leave-one-out means."""
    values = [constant(f"w_{k}") for k in range(1, samples + 1)]
    mean = sum(values[1:], start=values[0]) / samples
    out = [
        sum((one for j, one in enumerate(values) if j != i), start=Number(Fraction(0))) / (samples - 1) for i in range(samples)
    ]
    return mean, sum(out[1:], start=out[0]) / samples


def power_of_bound(samples: int, root: int, values: Sequence[Fraction] = (Fraction(1), Fraction(3))) -> Fraction:
    """Return exp(root * L_K) for two outcomes of probability 1/2 with these weights; root is a multiple of 2^K.

    >>> power_of_bound(1, 2), power_of_bound(2, 4)
    (Fraction(3, 1), Fraction(12, 1))
    """
    draws = list(product(values, repeat=samples))
    means = [sum(draw, start=Fraction(0)) / samples for draw in draws]
    return prod((mean for mean in means for _ in range(root // len(draws))), start=Fraction(1))


def with_baseline(value: Fraction | int) -> Fraction:
    """The variance with a constant baseline at p = (1/4, 3/4), f = (1, 0)."""
    case = RationalCase.finite((Fraction(1, 4), Fraction(3, 4)), (1, -1), f=(1, 0), symbols={"c": value})
    return moments(catalogue["constant-baseline"], case)[1]


def evidence_of(likelihoods: tuple[Fraction, Fraction]) -> Fraction:
    """p(x) for a prior of 1/2 and 1/2."""
    return (likelihoods[0] + likelihoods[1]) / 2


def joint_product(likelihoods: tuple[Fraction, Fraction]) -> Fraction:
    """exp(2 E[log p(x, z)]), z from the prior."""
    return likelihoods[0] * likelihoods[1] / 4


UNEQUAL, EQUAL = (Fraction(4, 5), Fraction(1, 20)), (Fraction(3, 10), Fraction(3, 10))
L = [power_of_bound(k, 16) for k in (1, 2, 4)]
MODELS = "p(x given z) = (4/5, 1/20) against (3/10, 3/10), prior (1/2, 1/2)"

BOUNDS = [
    PEN.claim(
        "Variational Lower Bounds, first effect",
        r"Maximising $\mathbb{E}_{x}[\mathcal{L}]$ maximises $\mathbb{E}_{x,\, z\sim p_\theta(z)}[\log p_\theta(x, z)]$.",
        WRONG,
        numbers(
            f"{MODELS}: the bound (at its best q, log p(x)) prefers the first, p(x) = 17/40 > 3/10; exp(2 E[log p(x, "
            f"z)]) should too",
            joint_product(EQUAL),
            "<",
            joint_product(UNEQUAL),
        ),
        corrected=r"It maximises $\mathbb{E}_{x}[\log p_\theta(x)]$ up to the divergence; in $\mathcal{L}$ the joint "
        r"is averaged over "
        r"$q_\phi(z\mid x)$, not over the prior.",
        correct=(
            same(elbo, log(evidence) - divergence, theta),
            confirmed("p(x) of both models", evidence_of(EQUAL), "<", evidence_of(UNEQUAL)),
        ),
    ),
    PEN.claim(
        "Variational Lower Bounds, second effect",
        r"It makes $q_\phi(z\mid x)$ approximate $p_\theta(z\mid x)$.",
        HOLDS,
        same(elbo, log(evidence) - divergence, theta),
        read("log p(x) does not contain phi, so a greater bound is a smaller divergence of q from the posterior"),
    ),
    PEN.claim(
        "ELBO, first line",
        r"$\log p_\theta(x) \ge \log p_\theta(x) - D_{KL}[q_\phi(z\mid x)\,\|\,p_\theta(z\mid x)]$",
        HOLDS,
        same(E(joint(z) / evidence / p(z) - 1, z), lift(0), theta),
        read("log(t) <= t - 1, at t = posterior / q, whose mean under q is 1: so minus the divergence is at most 0"),
    ),
    PEN.claim(
        "ELBO, second line",
        r"$\ldots = \mathbb{E}_{q}[\log p_\theta(x) + \log p_\theta(z\mid x) - \log q_\phi(z\mid x)]$",
        HOLDS,
        same(log(evidence) - divergence, E(log(evidence) + log_posterior - log(p(z)), z), theta),
    ),
    PEN.claim(
        "ELBO, third line",
        r"$\ldots = \mathbb{E}_{q}[\log p_\theta(x, z) - \log q_\phi(z\mid x)]$",
        HOLDS,
        same(E(log(evidence) + log_posterior - log(p(z)), z), elbo, theta),
        remark="By log p(z given x) = log p(x, z) - log p(x), which is how the posterior is encoded.",
    ),
    PEN.claim(
        "ELBO, fourth line",
        r"$\ldots = \mathcal{L}(x; \theta, \phi)$",
        HOLDS,
        theorem(lambda: kernel.reflexivity(elbo), algebra),
        remark="The definition of the bound.",
    ),
    PEN.claim(
        "Monte Carlo Objective, definition",
        r"$\mathcal{L}_K = \mathbb{E}\big[\log\frac1K\sum_k \frac{p_\theta(x, z^{(k)})}{q_\phi(z^{(k)}\mid x)}\big]$, "
        r"a lower bound",
        HOLDS,
        same(E(joint(z) / p(z), z), evidence, theta),
        confirmed(
            "K = 2, q = (1/2, 1/2), weights 1 and 3: exp(16 L_2) against exp(16 log p(x))", L[1], "<=", Fraction(2) ** 16
        ),
        read("log is concave, and the mean of the weights is p(x)"),
    ),
    PEN.claim(
        "Monte Carlo Objective, theorem, first half",
        r"$\log p_\theta(x) \ge \mathcal{L}_K \ge \mathcal{L}_M$ for $K \ge M$",
        HOLDS,
        *(same(*rest_means(k), theta) for k in (2, 3, 4)),
        confirmed("q = (1/2, 1/2), weights 1 and 3: exp(16 L_1) against exp(16 L_2)", L[0], "<=", L[1]),
        confirmed("exp(16 L_2) against exp(16 L_4)", L[1], "<=", L[2]),
        confirmed("exp(16 L_4) against p(x)^16", L[2], "<=", Fraction(2) ** 16),
        read("the mean of K weights is the mean of its leave-one-out means, and log is concave: L_(K-1) <= L_K"),
        remark="The note writes the bound without x here.",
    ),
    PEN.claim(
        "Monte Carlo Objective, theorem, second half",
        r"$\lim_{K\to\infty}\mathcal{L}_K = \log p_\theta(x)$",
        UNDER,
        read("by the law of large numbers where the weights are bounded, as on finitely many outcomes"),
        confirmed(
            "q = (1/2, 1/2), weights 1 and 3: the gap of L_4 is less than half of that of L_2, as exp(16 gap)",
            (Fraction(2) ** 16 / L[2]) ** 2,
            "<",
            Fraction(2) ** 16 / L[1],
        ),
        outside(
            "weights 0 and 2, q = (1/2, 1/2), K = 2: exp(4 L_2), which is 0 as for every K, against p(x)^4",
            power_of_bound(2, 4, (Fraction(0), Fraction(2))),
            "=",
            value(E(2 * u, u)),
            "where a weight may be 0, log of the mean is not integrable",
        ),
    ),
    PEN.claim(
        "names, from SGVB to VIMCO",
        r"$\mathcal{L} = \mathbb{E}[f(x, z)]$ (SGVB, NVIL), and $\mathcal{L}_K = \mathbb{E}[\log\frac1K\sum_k f(x, "
        r"z^{(k)})]$ (IWAE, VIMCO).",
        ILL,
        two_meanings("f", {"the log weight": 1, "the weight": 2}, "with one f the bound for K = 1 would be two numbers"),
        numbers("f = 1: E[f] against E[log f], both called the bound for one sample", value(lift(1)), "=", value(log(lift(1)))),
        corrected=r"In SGVB and NVIL $f = \log p - \log q$, in IWAE and VIMCO $f = p / q$.",
        correct=(proved(catalogue["sgvb"]), proved(catalogue["iwae"])),
    ),
]

PATHS = [
    PEN.claim(
        "SGVB, first equality",
        r"$\nabla\mathbb{E}_{q(z\mid x)}[f(x, z)] = \nabla\mathbb{E}_{q(\epsilon)}[f(x, z(\epsilon))]$",
        UNDER,
        chain(
            grad(E(f(normal_z, theta), normal_z), theta),
            (reparameterization(epsilon), grad(E(f(z_of_epsilon, theta), epsilon), theta)),
            under=("z(epsilon) has the law q(z given x)",),
        ),
    ),
    PEN.claim(
        "SGVB, second equality",
        r"$\nabla\mathbb{E}_{q(\epsilon)}[f(x, z(\epsilon))] = \mathbb{E}_{q(\epsilon)}[\nabla f(x, z(\epsilon))]$",
        UNDER,
        chain(
            grad(E(f(z_of_epsilon, theta), epsilon), theta),
            (pathwise_gradient, E(grad(f(z_of_epsilon, theta), theta), epsilon)),
        ),
        proved(catalogue["sgvb"]),
        refused(
            "Differentiable", lambda: pathwise(grad(E(rough(z_of_epsilon), epsilon), theta)), "f that is not differentiable"
        ),
    ),
    PEN.claim(
        "SGVB, conditions",
        r"It is enough that $\epsilon$ does not depend on the parameters and $z(\epsilon)$ is a differentiable mapping.",
        WRONG,
        differs(
            E(grad(f(hard), theta), u),
            grad(E(f(hard), u), theta),
            theta,
            "z(u) = h(u, theta) is differentiable, the integrand f(H(z)) is not: mean of its gradient against the gradient",
        ),
        corrected="f must be differentiable in z too, and the gradient must have an integrable bound.",
        correct=(proved(catalogue["sgvb"]), proved(catalogue["pathwise"])),
    ),
    PEN.claim(
        "IWAE, normalised weights",
        r"$\widetilde w_k = w_k / \sum_i w_i$",
        HOLDS,
        same(sum((one / (weights(2)[0] + weights(2)[1]) for one in weights(2)), start=Number(Fraction(0))), lift(1), theta),
        remark="They sum to 1.",
    ),
    PEN.claim(
        "IWAE, first two equalities",
        r"$\nabla\mathbb{E}_{q(z^{(1:K)})}[\log\frac1K\sum_k f] = \nabla\mathbb{E}_{q(\epsilon^{(1:K)})}[\log\frac1K\sum_k w_k]"
        r" = \mathbb{E}[\nabla\log\frac1K\sum_k w_k]$",
        UNDER,
        *(proved(log_mean(k)) for k in (1, 2, 3)),
    ),
    PEN.claim(
        "IWAE, third equality",
        r"$\nabla\log\frac1K\sum_k w_k = \frac{\nabla\frac1K\sum_k w_k}{\frac1K\sum_i w_i}$",
        UNDER,
        *(chain(mean_gradient(k)[0], (product_rule, mean_gradient(k)[1])) for k in (2, 3)),
        *(same(*mean_gradient(k), theta, under=("the weights are positive",)) for k in (1, 2, 3)),
    ),
    PEN.claim(
        "IWAE, fourth equality",
        r"$\frac{\nabla\frac1K\sum_k w_k}{\frac1K\sum_i w_i} = \frac{\sum_k w_k\nabla\log w_k}{\sum_i w_i}$",
        UNDER,
        *(same(grad(totals(k), theta) / totals(k), gradient_of_log_mean(k)[1], theta, under=("w_k > 0",)) for k in (1, 2, 3)),
    ),
    PEN.claim(
        "IWAE, fifth equality",
        r"$\frac{\sum_k w_k\nabla\log w_k}{\sum_i w_i} = \sum_k\widetilde w_k\nabla\log w_k$",
        UNDER,
        *(same(*gradient_of_log_mean(k), theta, under=("w_k > 0",)) for k in (1, 2, 3)),
    ),
]

zf = f(z, theta)
log_q = score(z)
nvil_first = E(grad(zf, theta) + zf * log_q, z)
nvil_second = E(grad(zf, theta) + (zf - baseline) * log_q, z)
residual = f(z) - baseline

SCORES = [
    PEN.claim(
        "NVIL, first equality",
        r"$\nabla\mathbb{E}_{q}[f(x, z)] = \mathbb{E}_{q}[\nabla f(x, z) + f(x, z)\,\nabla\log q(z\mid x)]$",
        UNDER,
        chain(grad(E(zf, z), theta), (score_function_estimator, nvil_first)),
        same(grad(E(zf, z), theta), nvil_first, theta),
    ),
    PEN.claim(
        "NVIL, second equality",
        r"$\ldots = \mathbb{E}_{q}[\nabla f(x, z) + (f(x, z) - C_\psi(x) - c)\,\nabla\log q(z\mid x)]$",
        UNDER,
        chain(
            nvil_first,
            (linearity, nvil_first - baseline * 0),
            (mean_score, nvil_first - baseline * E(log_q, z)),
            (linearity, nvil_second),
        ),
        same(nvil_first, nvil_second, theta),
        proved(catalogue["nvil"]),
        outside_differs(
            E((f(z) - function("C")(z)) * log_q, z), E(f(z) * log_q, z), theta, "a baseline that sees z, with and without it"
        ),
    ),
    PEN.claim(
        "NVIL, the baseline's gradient",
        r"$\nabla_\psi\mathbb{E}_{q}[(f - C_\psi(x) - c)^2] = \mathbb{E}_{q}[-2\,(f - C_\psi(x) - c)\,\nabla_\psi C_\psi(x)]$",
        HOLDS,
        proved(catalogue["nvil-baseline"]),
        same(grad(E(residual**2, z), psi), E(-2 * residual * grad(baseline, psi), z), psi),
        remark="q does not contain psi.",
    ),
    PEN.claim(
        "NVIL, how the baseline is learnt",
        "The baseline should be learnt by minimising the expected squared error.",
        UNDER,
        confirmed(
            "variance at p = (1/4, 3/4), f = (1, 0): with the least-squares baseline E[f] = 1/4 against none",
            with_baseline(Fraction(1, 4)),
            "<",
            with_baseline(0),
        ),
        outside(
            "variance there: with the least-squares baseline 1/4, against the baseline 3/4",
            with_baseline(Fraction(1, 4)),
            "<=",
            with_baseline(Fraction(3, 4)),
            "it does not give the least variance",
        ),
        remark=r"The least variance is at $c = \mathbb{E}[f s^2] / \mathbb{E}[s^2]$ for the score s.",
    ),
    PEN.claim(
        "VIMCO, display",
        r"$\nabla\mathcal{L}_K = \mathbb{E}\big[\sum_k\hat L(z^{(k)}\mid z^{(-k)})\,\nabla\log q(z^{(k)}\mid x)\big]"
        r" + \mathbb{E}\big[\sum_k\widetilde w_k\,\nabla\log f(x, z^{(k)})\big]$",
        UNDER,
        proved(catalogue["vimco"], 2),
        proved(catalogue["vimco"], 3),
        *(same(*gradient_of_log_mean(k), theta, under=("f > 0", "K is at least 2")) for k in (2, 3)),
        needed_error(lambda: catalogue["vimco"].with_samples(1), "K = 1"),
    ),
    PEN.claim(
        "VIMCO, definitions",
        r"$\hat L(z^{(k)}\mid z^{(-k)}) = \hat L(z^{(1:K)}) - \log\frac1K\big(\hat f(x, z^{(-k)}) + \sum_{i\ne k} f(x, "
        r"z^{(i)})\big)$",
        UNDER,
        proved(catalogue["vimco"]),
        proved(catalogue["vimco-arithmetic"]),
        needed_error(lambda: catalogue["vimco"].with_samples(1), "K = 1: the others have no mean"),
        remark="The baseline of sample k does not contain sample k; any mean of the others would do.",
    ),
    PEN.claim(
        "VIMCO, first sentence",
        "The other samples centre the learning signals.",
        UNDER,
        proved(catalogue["vimco"]),
        outside(
            "K = 2, q = (1/2, 1/2), f = (1, 3): exp(4 E[signal]) against exp(0)",
            power_of_bound(2, 4) / power_of_bound(1, 4),
            "=",
            1,
            "the mean of a signal is L_2 - L_1, near 0 and not 0",
        ),
        remark="The mean of the estimator does not change, because the signal's baseline does not see its own sample.",
    ),
]

STATEMENTS = [*BOUNDS, *PATHS, *SCORES]
NOT_JUDGED = (
    "What posteriors are for, that they are often intractable, and that stochastic gradient descent is often adopted.",
    "That the formulas extend to several visible and latent variables by treating them as one.",
    "NVIL's joint training of both objectives with a proper coefficient.",
)
