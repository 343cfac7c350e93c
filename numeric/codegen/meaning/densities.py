"""An abstract density is run as a normal law, as a finite law is as bits or classes: one instance of what is meant."""

from __future__ import annotations

from dataclasses import replace

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.term import (
    Density,
    DensityLaw,
    Expect,
    FiniteLaw,
    Law,
    Over,
    RandomVariable,
    Score,
    Term,
    parts,
    rebuild,
)
from numeric.codegen.laws import laws_of


def densities_of(estimator: Estimator) -> list[DensityLaw]:
    """Return the abstract densities of an estimator, each once.

    >>> from derive.notation import E, continuous, function, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> g = continuous("g", theta, law="rho")
    >>> mine = Estimator("mine", f(g) * score(g), (g,), grad(E(f(g), g), theta))
    >>> [law.name for law in densities_of(mine)]
    ['rho']
    """
    return [law for law in dict.fromkeys(laws_of(estimator)) if isinstance(law, DensityLaw)]


def in_family(estimator: Estimator, family: str) -> Estimator:
    """Return the estimator with the law of the family in the place of an abstract density.

    Raises
        UsageError, in a family of outcomes, or if there are several densities, or one that is not normalised.
    """
    found = densities_of(estimator)
    if not found:
        return estimator
    if family != "normal":
        message = (
            f"{estimator.name!r} uses {found[0].name}, an abstract density on the line, which the {family} family is not: it"
            " runs in the normal family only (--family normal)."
        )
        raise UsageError(message)
    others = [law for law in laws_of(estimator) if not isinstance(law, DensityLaw)]
    if len(found) > 1 or others or not found[0].normalised or len(found[0].parameters) != 1:
        message = (
            f"{estimator.name!r} uses {' and '.join(law.name for law in found)}, abstract densities, of which there is no"
            " sampler: one that is normalised, of one parameter, and beside no other law, is run as a normal law."
        )
        raise UsageError(message)
    laws = tuple(RandomVariable(draw.name, _law(draw.law)) for draw in estimator.draws)
    where = tuple((name, _term(term)) for name, term in estimator.where)
    return replace(estimator, formula=_term(estimator.formula), draws=laws, target=_term(estimator.target), where=where)


def _law(law: Law) -> Law:
    return FiniteLaw(law.name, law.parameters, (), law.default_of) if isinstance(law, DensityLaw) else law


def _term(term: Term) -> Term:
    match term:
        case RandomVariable(name, law):
            return RandomVariable(name, _law(law))
        case Expect(body, variable) | Over(body, variable):
            return type(term)(_term(body), RandomVariable(variable.name, _law(variable.law)))
        case Density(law, at):
            return Density(_law(law), _term(at))
        case Score(law, at, parameter):
            return Score(_law(law), _term(at), parameter)
    return rebuild(term, tuple(map(_term, parts(term))))
