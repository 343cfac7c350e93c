"""The laws that are known by their names, one file each: moments, and derivatives of the logarithm of the density, as terms.

Both are here where they are rational in the parameters and polynomials in the variable, which is what the exact evaluator
integrates; where they are not, `NotEvaluable` says so by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from derive.language.term import Term
from derive.laws.named import (
    beta,
    exponential,
    gamma,
    geometric,
    gumbel,
    laplace,
    logistic,
    maxwell,
    negative_binomial,
    poisson,
    weibull,
)


@dataclass(frozen=True)
class Named:
    """What is known of a law.

    Args
        moment  E[x^n] of n and the parameters
        slopes  the derivative of log p(at) along each parameter, of the point and the parameters
    """

    moment: Callable[..., Term]
    slopes: Callable[..., tuple[Term, ...]]


_FILES = {
    "Exponential": exponential,
    "Gamma": gamma,
    "Beta": beta,
    "Poisson": poisson,
    "Geometric": geometric,
    "Laplace": laplace,
    "Logistic": logistic,
    "Gumbel": gumbel,
    "Weibull": weibull,
    "NegativeBinomial": negative_binomial,
    "Maxwell": maxwell,
}
KNOWN: dict[str, Named] = {name: Named(file.moment, file.slopes) for name, file in _FILES.items()}
