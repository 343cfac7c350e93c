"""The gradient of the K-sample bound L_K = E[log mean of weights]: IWAE by reparameterization, VIMCO by scores."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import mul

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.notation import E, copies, exp, finite, function, grad, log, normal, p, parameter, score, total
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.laws.two_samples import two_samples
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import pathwise_gradient, reparameterization

theta: Symbol = parameter("theta")
log_joint: Function = function("log_joint", differentiable=True)

mu: Function = function("mu", differentiable=True)
sigma: Function = function("sigma", differentiable=True)
z: RandomVariable = normal("z", mu(theta), sigma(theta))
epsilon: RandomVariable = normal("epsilon")
b: RandomVariable = finite("b", theta, law="q")


def log_mean_exp(logs: Sequence[Term]) -> Term:
    """The logarithm of the mean of weights that are given by their logarithms."""
    return log(total(exp(one) for one in logs) / len(logs))


def importance_weighted(samples: int) -> Estimator:
    """The reparameterized gradient of the bound with so many importance samples (burda-2016).

    Raises
        UsageError, for fewer than one sample.
    """
    _demand(samples, 1, "iwae")
    noises, latents = copies(epsilon, samples), copies(z, samples)
    points = [mu(theta) + sigma(theta) * noise for noise in noises]
    bound = log_mean_exp([log_joint(point) - log(p(z, at=point)) for point in points])
    target = grad(E(log_mean_exp([log_joint(latent) - log(p(latent)) for latent in latents]), *latents), theta)
    return Estimator(
        name="iwae",
        formula=grad(bound, theta),
        draws=noises,
        target=target,
        where=tuple((f"z_{k}", point) for k, point in enumerate(points, 1)),
        source="burda-2016",
        summary="The log of the mean of K weights at reparameterized samples, differentiated through the samples.",
        derivation=partial(_pathwise, target, bound, noises),
        integrated=two_samples if samples == 2 else None,
        family=importance_weighted,
    )


def _pathwise(target: Term, bound: Term, noises: tuple[RandomVariable, ...]) -> Derivation:
    """All samples are reparameterized, and the gradient passes one expectation after the other."""
    passed = [E(grad(E(bound, *noises[k:]), theta), *noises[:k]) for k in range(1, len(noises) + 1)]
    return calc(
        target,
        (reparameterization(noises[0]), grad(E(bound, *noises), theta)),
        *((pathwise_gradient, line) for line in passed),
    )


def arithmetic_mean(logs: Sequence[Term]) -> Term:
    """The log of the arithmetic mean of the other weights."""
    return log_mean_exp(logs)


def geometric_mean(logs: Sequence[Term]) -> Term:
    """The log of the geometric mean of the other weights."""
    return total(logs) / len(logs)


def vimco(mean: Callable[[Sequence[Term]], Term], name: str, samples: int) -> Estimator:
    """Scores with a baseline for each sample, in which a mean of the other weights stands for its own (mnih-2016).

    Raises
        UsageError, for fewer than two samples.
    """
    _demand(samples, 2, name)
    drawn = copies(b, samples)
    logs = [log_joint(sample) - log(p(sample)) for sample in drawn]
    bound = log_mean_exp(logs)
    others = [[*logs[:i], *logs[i + 1 :]] for i in range(samples)]
    learning_signals = [bound - log_mean_exp([*rest, mean(rest)]) for rest in others]
    return Estimator(
        name=name,
        formula=total(map(mul, learning_signals, map(score, drawn))) + grad(bound, theta),
        draws=drawn,
        target=grad(E(bound, *drawn), theta),
        where=(("L", bound),),
        source="mnih-2016",
        summary="The score function gradient of the K-sample bound, with a baseline for each sample from the others.",
        family=partial(vimco, mean, name),
    )


def _demand(samples: int, least: int, name: str) -> None:
    if samples < least:
        message = f"{name} needs at least {least} samples, got {samples}."
        raise UsageError(message)


iwae: Estimator = importance_weighted(2)
vimco_geometric: Estimator = vimco(geometric_mean, "vimco", 2)
vimco_arithmetic: Estimator = vimco(arithmetic_mean, "vimco-arithmetic", 2)
