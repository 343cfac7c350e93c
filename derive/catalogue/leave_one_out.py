"""The score function estimator with a leave-one-out baseline, also called RLOO or VarGrad."""

from derive.language.estimator import Estimator
from derive.language.notation import E, finite, function, grad, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.samples.statistic import Samples, samples

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")
each: Samples = samples(b)
formula: Term = each.mean(lambda x: (f(x) - each.without(x).mean(f)) * score(x))

estimator: Estimator = each.estimator(
    "leave-one-out",
    formula,
    grad(E(f(b), b), theta),
    source="kool-2019",
    summary="The baseline of each sample is the mean of the integrand over the other samples.",
)


def leave_one_out(number: int) -> Estimator:
    """Return the estimator with so many samples.

    Raises
        UsageError, for fewer than two.
    """
    return estimator.with_samples(number)
