"""Laws that are known by their names, with their parameters by name: what they are called, and what their parameters must be.

Where torch.distributions and scipy.stats take other parameters, the parameters here are torch's.
"""

from __future__ import annotations

from derive.language.errors import UsageError
from derive.language.expected import a_name
from derive.language.term import Exact, NamedLaw, Number, RandomVariable, Term, lift

PARAMETERS: dict[str, tuple[str, ...]] = {
    "Exponential": ("rate",),
    "Gamma": ("shape", "rate"),
    "Beta": ("a", "b"),
    "Poisson": ("rate",),
    "Geometric": ("probability",),
    "Laplace": ("loc", "scale"),
    "Logistic": ("loc", "scale"),
    "Gumbel": ("loc", "scale"),
    "Weibull": ("shape", "scale"),
    "NegativeBinomial": ("total", "probability"),
    "Maxwell": ("loc", "scale"),
}
"""The parameters of each law, in their order."""


def named(law: str, *parameters: Exact) -> NamedLaw:
    """Return a law by its name, as it is printed.

    Raises
        UsageError, if there is none of this name, with so many parameters, or one that is a number is not positive.

    >>> named("Gamma", 2, 1).counts, named("Poisson", 2).counts
    (False, True)
    """
    if len(parameters) != len(PARAMETERS.get(law, ())):
        known = ", ".join(f"{name}({', '.join(taken)})" for name, taken in PARAMETERS.items())
        message = f"no law {law} of {len(parameters)} parameters is known; there are {known}."
        raise UsageError(message)
    made = NamedLaw(law, tuple(map(lift, parameters)))
    numbers = [term for term in made.positives if _is_number(term)]
    if any(_value(term) <= 0 for term in numbers):
        positive = ", ".join(name for name in PARAMETERS[law] if name != "loc")
        message = f"no {law} law has such parameters: {positive} must be positive, a probability below 1."
        raise UsageError(message)
    return made


def _is_number(term: Term) -> bool:
    return all(isinstance(part, Number) for part in getattr(term, "args", (term,)))


def _value(term: Term) -> int:
    total = sum(part.value for part in getattr(term, "args", (term,)) if isinstance(part, Number))
    return (total > 0) - (total < 0)


def exponential(name: str, *, rate: Exact = 1) -> RandomVariable:
    """A variable with the density rate exp(-rate x) on x > 0; its mean is 1 / rate.

    >>> print(exponential("x", rate=2).law)
    Exponential(.; 2)
    """
    return RandomVariable(a_name(name, "variable"), named("Exponential", rate))


def gamma(name: str, *, shape: Exact, rate: Exact = 1) -> RandomVariable:
    """A variable with the density rate^shape x^(shape - 1) exp(-rate x) / Gamma(shape) on x > 0."""
    return RandomVariable(a_name(name, "variable"), named("Gamma", shape, rate))


def beta(name: str, *, a: Exact, b: Exact) -> RandomVariable:
    """A variable with the density x^(a - 1) (1 - x)^(b - 1) / B(a, b) on (0, 1)."""
    return RandomVariable(a_name(name, "variable"), named("Beta", a, b))


def poisson(name: str, *, rate: Exact = 1) -> RandomVariable:
    """A variable with the probabilities rate^x exp(-rate) / x! on x = 0, 1, 2, ..."""
    return RandomVariable(a_name(name, "variable"), named("Poisson", rate))


def geometric(name: str, *, probability: Exact) -> RandomVariable:
    """A variable with the probabilities p (1 - p)^x on x = 0, 1, 2, ...: the failures before the first success."""
    return RandomVariable(a_name(name, "variable"), named("Geometric", probability))


def laplace(name: str, *, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A variable with the density exp(-|x - loc| / scale) / (2 scale)."""
    return RandomVariable(a_name(name, "variable"), named("Laplace", loc, scale))


def logistic(name: str, *, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A variable with the distribution function sigmoid((x - loc) / scale)."""
    return RandomVariable(a_name(name, "variable"), named("Logistic", loc, scale))


def gumbel(name: str, *, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A variable with the distribution function exp(-exp(-(x - loc) / scale))."""
    return RandomVariable(a_name(name, "variable"), named("Gumbel", loc, scale))


def weibull(name: str, *, shape: Exact, scale: Exact = 1) -> RandomVariable:
    """A variable with the distribution function 1 - exp(-(x / scale)^shape) on x > 0."""
    return RandomVariable(a_name(name, "variable"), named("Weibull", shape, scale))


def negative_binomial(name: str, *, total: Exact, probability: Exact) -> RandomVariable:
    """A variable with the probabilities Gamma(total + x) / (Gamma(total) x!) p^x (1 - p)^total on x = 0, 1, 2, ...

    The successes, each of the probability p, before so many failures; `total` is positive and need not be whole. So in
    torch.distributions.NegativeBinomial, where p is `probs`; scipy.stats.nbinom has 1 - p. The mean is total p / (1 - p).

    >>> from fractions import Fraction
    >>> print(negative_binomial("n", total=2, probability=Fraction(1, 3)).law)
    NegativeBinomial(.; 2, 1/3)
    """
    return RandomVariable(a_name(name, "variable"), named("NegativeBinomial", total, probability))


def maxwell(name: str, *, loc: Exact = 0, scale: Exact = 1) -> RandomVariable:
    """A variable with the density (x - loc)^2 / (scale^3 sqrt(2 pi)) exp(-(x - loc)^2 / (2 scale^2)) on the line.

    The double-sided Maxwell law: as far from loc as a Maxwell variable from 0, on either side; scipy.stats.maxwell has one
    side. Its density is zero at loc, which is therefore no point of its support.

    Source
        mohamed-2020, section 6 and table 1: the part of the derivative of a normal density by its scale that is positive

    >>> print(maxwell("x", scale=2).law)
    Maxwell(.; 0, 2)
    """
    return RandomVariable(a_name(name, "variable"), named("Maxwell", loc, scale))
