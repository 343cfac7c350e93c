"""Explicit finite laws: signs that move all parameters at once, a coupled pair of bits, classes without replacement."""

from itertools import combinations

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, exp, function, grad, parameter, sigmoid, total
from derive.language.outcomes import bernoulli, categorical, choice, coordinate, entry, rademacher
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
f: Function = function("f")

# Simultaneous perturbation: of the other parameters one stands for all

other: Symbol
c: Symbol
other, c = constant("theta_2"), constant("c")
d: RandomVariable
e: RandomVariable
d, e = rademacher("d"), rademacher("e")
smooth: Function = function("f", differentiable=True)

spsa: Estimator = Estimator(
    name="spsa",
    formula=(smooth(theta + c * d, other + c * e) - smooth(theta - c * d, other - c * e)) / (2 * c * d),
    draws=(d, e),
    target=grad(smooth(theta, other), theta),
    source="spall-1992, section II",
    summary="Two values of the objective for the gradient by all parameters, each of which is moved by c, up or down.",
    verdict="refuted",
)

first: Symbol
mixed: Symbol
first, mixed = constant("a"), constant("h")


def quadratic(x: Term, y: Term) -> Term:
    """Return a quadratic function of both parameters; what is left out does not move with the first one."""
    return first * x + x**2 + mixed * x * y


spsa_quadratic: Estimator = Estimator(
    name="spsa-quadratic",
    formula=(quadratic(theta + c * d, other + c * e) - quadratic(theta - c * d, other - c * e)) / (2 * c * d),
    draws=(d, e),
    target=grad(quadratic(theta, other), theta),
    source="spall-1992, section II",
    summary="Of a quadratic objective it is the gradient: what the other parameters add has the mean zero.",
)

# A class with a logit: its probability moves up, and those of all classes down

logits: tuple[Symbol, ...] = (theta, constant("t_1"), constant("t_2"))
k: RandomVariable = categorical("k", logits=logits)
probability: Term = exp(theta) / total(map(exp, logits))
of_logit: Term = grad(E(f(k), k), theta)

measure_valued: Estimator = Estimator(
    name="measure-valued-categorical",
    formula=probability * (f(0) - f(k)),
    draws=(k,),
    target=of_logit,
    source="mohamed-2020, section 6",
    summary="The integrand at the class of the logit, less that at a sample, times the probability of that class.",
)

unweighted: Estimator = Estimator(
    name="measure-valued-categorical-unweighted",
    formula=f(0) - f(k),
    draws=(k,),
    target=of_logit,
    source="mohamed-2020, section 6",
    summary="Without the probability, which is the constant of the decomposition.",
    verdict="refuted",
)

# A bit and its antithetic partner: u < s and 1 - u < s, for s above 1/2

s: Term = sigmoid(theta)
bit: RandomVariable = bernoulli("a", logit=theta)
pair: RandomVariable = choice("b", ((1, 1), 2 * s - 1), ((1, 0), 1 - s), ((0, 1), 1 - s))
upper: Term
lower: Term
upper, lower = coordinate(pair, 0), coordinate(pair, 1)
swapped: Term = (f(upper) - f(lower)) * (1 - 2 * lower) * (upper - lower) ** 2 / 2
of_bit: Term = grad(E(f(bit), bit), theta)

disarm: Estimator = Estimator(
    name="disarm",
    formula=swapped * s,
    draws=(pair,),
    target=of_bit,
    source="dong-2020, eq. 9",
    summary="Two bits of one uniform number, antithetic: they count where they differ. Stated for theta above 0.",
)

disarm_unscaled: Estimator = Estimator(
    name="disarm-unscaled",
    formula=swapped,
    draws=(pair,),
    target=of_bit,
    source="dong-2020, eq. 9",
    summary="Without the factor sigmoid(theta), which is one nowhere.",
    verdict="refuted",
)

# A set of two of three classes, drawn without replacement: the probabilities are theta, q and what is left

q: Symbol = constant("q")
p: tuple[Term, ...] = (theta, q, 1 - theta - q)
drawn: RandomVariable = choice("a", *enumerate(p))
sets: tuple[tuple[int, int], ...] = tuple(combinations(range(len(p)), 2))
two: RandomVariable = choice("S", *(((i, j), p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])) for i, j in sets))
of_classes: Term = grad(E(f(drawn), drawn), theta)


def score_of(i: int) -> Term:
    """Return the score of a class."""
    return grad(p[i], theta) / p[i]


def share(i: int, j: int) -> Term:
    """Return p(i) R(S, i) for S = {i, j}: R is the probability of j if i is drawn first, over that of the set."""
    return (1 - p[j]) / (2 - p[i] - p[j])


unordered_set: Estimator = Estimator(
    name="unordered-set",
    formula=entry(two, [share(i, j) * f(i) * score_of(i) + share(j, i) * f(j) * score_of(j) for i, j in sets]),
    draws=(two,),
    target=of_classes,
    source="kool-2020, eq. 12",
    summary="Two of three classes without replacement, each weighted by the ratio of probabilities of the set.",
)

as_if_independent: Estimator = Estimator(
    name="unordered-set-unweighted",
    formula=entry(two, [(f(i) * score_of(i) + f(j) * score_of(j)) / 2 for i, j in sets]),
    draws=(two,),
    target=of_classes,
    source="kool-2020, section 3",
    summary="The average of both, as if they were independent samples.",
    verdict="refuted",
)
