"""The gradient of an estimator's own variance with respect to its free parameters: how REBAR and RELAX learn theirs.

The mean does not depend on the parameter, so d Var[g] = d E[g^2], and a single sample estimates that by 2 g dg.
"""

from functools import partial

from derive.catalogue.rebar import estimator as rebar, eta, lambda_
from derive.catalogue.relax import estimator as relax, phi
from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.notation import E, grad
from derive.language.term import Symbol, Term
from derive.proofs.calc import Derivation, calc, chain_of
from derive.proofs.rules import known, linearity, pathwise_gradient


def variance_gradient(estimator: Estimator, parameter: Symbol, name: str) -> Estimator:
    """The estimator 2 g dg of the derivative of Var[g] with respect to a parameter that the mean does not depend on.

    Raises
        UsageError, if there is no hand-written derivation of the mean.
    """
    if estimator.derivation is None:
        message = f"the gradient of a variance needs a derivation of the mean, which {estimator.name!r} has not."
        raise UsageError(message)
    g = estimator.formula
    mean, square = estimator.expectation, E(g**2, *estimator.draws)
    return Estimator(
        name=name,
        formula=2 * g * grad(g, parameter),
        draws=estimator.draws,
        target=grad(square - mean**2, parameter),
        where=(*estimator.where, ("g", g)),
        source=estimator.source,
        summary=f"The gradient of the variance of {estimator.name} with respect to {parameter.name}: 2 g dg.",
        derivation=partial(_derivation, estimator, square, parameter),
    )


def _derivation(estimator: Estimator, square: Term, parameter: Symbol) -> Derivation:
    """The mean is the target of the estimator, which the parameter does not move; the rest is pathwise."""
    g, target, draws = estimator.formula, estimator.target, estimator.draws
    passed = [E(grad(E(g**2, *draws[k:]), parameter), *draws[:k]) for k in range(1, len(draws) + 1)]
    return calc(
        grad(square - estimator.expectation**2, parameter),
        (known(estimator.name, chain_of(estimator).theorem), grad(square - target**2, parameter)),
        (linearity, grad(square, parameter)),
        *((pathwise_gradient, line) for line in passed),
        (linearity, E(2 * g * grad(g, parameter), *draws)),
    )


rebar_eta: Estimator = variance_gradient(rebar, eta, "rebar-variance-eta")
rebar_lambda: Estimator = variance_gradient(rebar, lambda_, "rebar-variance-lambda")
relax_phi: Estimator = variance_gradient(relax, phi, "relax-variance-phi")
