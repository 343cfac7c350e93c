"""A control variate whose coefficient is fitted to samples."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, copies, finite, function, grad, parameter, score, total
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function
f, C = function("f"), function("C")
ridge: Symbol = constant("c")
correction: Term = grad(E(C(b), b), theta)
target: Term = grad(E(f(b), b), theta)
one: RandomVariable
two: RandomVariable
one, two = copies(b, 2)

mean: Term
control: Term
mean, control = (f(one) + f(two)) / 2, (C(one) + C(two)) / 2
covariance: Term = total((f(sample) - mean) * (C(sample) - control) for sample in (one, two))
variance: Term = total((C(sample) - control) ** 2 for sample in (one, two)) + ridge
fitted: Term = covariance / variance

same_samples: Estimator = Estimator(
    name="coefficient-from-same-samples",
    formula=total((f(sample) - fitted * C(sample)) * score(sample) for sample in (one, two)) / 2 + fitted * correction,
    draws=(one, two),
    target=target,
    where=(("cov", covariance), ("var", variance)),
    source="owen-2013, section 8.9",
    summary="The coefficient is fitted to the samples that it is used on: it is no constant, and biased.",
    verdict="refuted",
)

other: Term = f(two) * C(two) / (C(two) ** 2 + ridge)
other_samples: Estimator = Estimator(
    name="coefficient-from-other-samples",
    formula=(f(one) - other * C(one)) * score(one) + other * correction,
    draws=(one, two),
    target=target,
    source="owen-2013, section 8.9",
    summary="The coefficient is fitted to another sample, and may be any function of it.",
)
