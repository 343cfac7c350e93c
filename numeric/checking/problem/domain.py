"""Where an estimator with named laws is tried: at parameters that its laws can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from torch import Tensor

from derive.language.choice import ChoiceLaw
from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import free
from derive.language.term import NamedLaw, Symbol, Term
from numeric.codegen.laws import laws_of
from numeric.codegen.running.positive import value_of

MARGINS = (0.1, 1e-4)
CENTRES = ((0.0, 0.8), (0.6, 0.2), (2.0, 0.4), (4.0, 0.8))
"""Middle and spread of the entries that are tried in turn, of both signs: the second suits rates and probabilities."""
TENTH = Fraction(1, 10)
SHAPED: dict[str, dict[int, Fraction | int]] = {"Beta": {0: TENTH, 1: 1}, "Gamma": {0: TENTH}, "Weibull": {0: 1}}
"""What parameters of shape are tried above, by their place. Below, a law has mass next to 0 or 1 where numbers have no
room, those of 32 bits near 0, and a Weibull law has much of its mean far out."""
SHAPES = 1.0  # added to the constants of what is tried above 1


def point_in_domain(estimator: Estimator, wave: Tensor, constants: Mapping[str, Any]) -> Tensor:
    """Return a point at which every parameter of a named law is positive, by a margin; without such laws the first one.

    Args
        wave       numbers in [-1, 1], one for each coordinate
        constants  the constants by their names in the formula

    Raises
        UsageError, if none of those that are tried is one.

    >>> import torch
    >>> from derive.notation import E, function, grad, parameter, poisson, score
    >>> theta, f = parameter("theta"), function("f")
    >>> n = poisson("n", rate=-theta)
    >>> mine = Estimator("mine", f(n) * score(n, theta), (n,), grad(E(f(n), n), theta))
    >>> point_in_domain(mine, torch.tensor([1.0, -0.5]), {})
    tensor([-0.4000, -0.7000])
    """
    required = [term for law in laws_of(estimator) if isinstance(law, NamedLaw) for term in _required(law)]
    required = [term for term in required if _symbols([term])]
    for margin, (middle, spread), sign in product(MARGINS, CENTRES, (1, -1)):
        tried = sign * middle + spread * wave
        known = {**constants, estimator.parameter.name: tried}
        if all(bool((value_of(term, known) >= margin).all()) for term in required):
            return tried
    message = (
        f"the crosscheck found no {estimator.parameter.name} at which {', '.join(map(str, dict.fromkeys(required)))} are all at"
        f" least {MARGINS[-1]}, with the constants {', '.join(f'{name} = {value}' for name, value in constants.items())}."
    )
    raise UsageError(message)


def _required(law: NamedLaw) -> list[Term]:
    if isinstance(law, ChoiceLaw):
        return list(law.parameters)
    return [*law.positives, *(law.parameters[i] - least for i, least in SHAPED.get(law.name, {}).items())]


def constants_of_laws(estimator: Estimator) -> dict[str, float]:
    """Return the constants that named laws demand to be positive, by their names, and what is added to the values of each.

    >>> from derive.notation import E, constant, function, grad, parameter, score, weibull
    >>> theta, c, f = parameter("theta"), constant("c"), function("f")
    >>> x = weibull("x", shape=c, scale=theta)
    >>> constants_of_laws(Estimator("mine", f(x) * score(x, theta), (x,), grad(E(f(x), x), theta)))
    {'c': 1.0}
    """
    laws = [law for law in laws_of(estimator) if isinstance(law, NamedLaw)]
    shapes = _symbols([law.parameters[i] for law in laws for i, least in SHAPED.get(law.name, {}).items() if least == 1])
    every = _symbols([term for law in laws for term in law.positives]) - {estimator.parameter.name}
    return {name: SHAPES if name in shapes else 0.0 for name in sorted(every)}


def _symbols(terms: Sequence[Term]) -> set[str]:
    return {leaf.name for term in terms for leaf in free(term) if isinstance(leaf, Symbol)}
