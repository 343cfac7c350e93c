"""Measure-valued gradients: the derivative of a density is a difference of two densities, and each is sampled."""

from derive.language.estimator import Estimator
from derive.language.named import exponential, gamma, geometric, maxwell, poisson
from derive.language.notation import E, constant, copies, function, grad, normal, parameter, sigmoid
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
f: Function = function("f")


def target(variable: RandomVariable) -> Term:
    """Return the gradient of the mean of f."""
    return grad(E(f(variable), variable), theta)


n: RandomVariable = poisson("n", rate=theta)
of_poisson: Estimator = Estimator(
    name="measure-valued-poisson",
    formula=f(n + 1) - f(n),
    draws=(n,),
    target=target(n),
    source="mohamed-2020, section 6",
    summary="The integrand at one count more, less the integrand at the count.",
    verdict="checked",
)

backward: Estimator = Estimator(
    name="measure-valued-poisson-backward",
    formula=f(n) - f(n - 1),
    draws=(n,),
    target=target(n),
    source="mohamed-2020, section 6",
    summary="The difference to one count less, which asks for the integrand at -1 too.",
    verdict="refuted",
)

x: RandomVariable = exponential("x", rate=theta)
first: RandomVariable
second: RandomVariable
first, second = copies(x, 2)
of_exponential: Estimator = Estimator(
    name="measure-valued-exponential",
    formula=(f(first) - f(first + second)) / theta,
    draws=(first, second),
    target=target(x),
    source="mohamed-2020, section 6",
    summary="The integrand at a sample, less that at the sum of two, which has the other density: an Erlang law.",
    verdict="checked",
)

doubled: Estimator = Estimator(
    name="measure-valued-exponential-doubled",
    formula=(f(x) - f(2 * x)) / theta,
    draws=(x,),
    target=target(x),
    source="mohamed-2020, section 6",
    summary="One sample is doubled in the place of the sum of two: right for an affine integrand only.",
    verdict="refuted",
)

alpha: Symbol = constant("alpha")
y: RandomVariable = gamma("y", shape=alpha, rate=theta)
of_gamma: Estimator = Estimator(
    name="measure-valued-gamma",
    formula=alpha * (f(y) - f(y + x)) / theta,
    draws=(y, x),
    target=target(y),
    source="mohamed-2020, section 6",
    summary="In the rate: an exponential sample is added, which makes the shape one more.",
    verdict="checked",
)

without_shape: Estimator = Estimator(
    name="measure-valued-gamma-unscaled",
    formula=(f(y) - f(y + x)) / theta,
    draws=(y, x),
    target=target(y),
    source="mohamed-2020, section 6",
    summary="The factor of the exponential law, where the shape is one.",
    verdict="scaled",
)

s: Term = sigmoid(theta)
failures: RandomVariable = geometric("n", probability=s)
one: RandomVariable
two: RandomVariable
one, two = copies(failures, 2)
of_geometric: Estimator = Estimator(
    name="measure-valued-geometric",
    formula=(1 - s) / s * (f(one + two) - f(one + two + 1)),
    draws=(one, two),
    target=target(failures),
    source="mohamed-2020, section 6",
    summary="The number of failures before the first success: the difference is taken at the sum of two samples.",
    verdict="checked",
)

single: Estimator = Estimator(
    name="measure-valued-geometric-single",
    formula=(1 - s) / s * (f(failures) - f(failures + 1)),
    draws=(failures,),
    target=target(failures),
    source="mohamed-2020, section 6",
    summary="The difference is taken at one sample, as for a Poisson law: right for an affine integrand only.",
    verdict="refuted",
)

mu: Symbol = constant("mu")
z: RandomVariable = normal("z", mu, theta)
m: RandomVariable = maxwell("m", loc=mu, scale=theta)
of_normal_scale: Estimator = Estimator(
    name="measure-valued-normal-scale",
    formula=(f(m) - f(z)) / theta,
    draws=(m, z),
    target=target(z),
    source="mohamed-2020, section 6",
    summary="In the standard deviation: the integrand at a double-sided Maxwell sample, less that at a normal one.",
    verdict="checked",
)

stretched: Estimator = Estimator(
    name="measure-valued-normal-scale-stretched",
    formula=(f(2 * z - mu) - f(z)) / theta,
    draws=(z,),
    target=target(z),
    source="mohamed-2020, section 6",
    summary="A normal sample twice as far from the mean takes the place of Maxwell's: right for an affine integrand only.",
    verdict="refuted",
)
