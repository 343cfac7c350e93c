"""Laws that are run as another one, an instance of what is meant: any density as a normal law, mu(theta) as theta itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    Density,
    DensityLaw,
    Expect,
    FiniteLaw,
    Function,
    Grad,
    Law,
    NamedLaw,
    NormalLaw,
    Over,
    RandomVariable,
    Score,
    Symbol,
    Term,
    anywhere,
    parts,
    rebuild,
)
from numeric.codegen.laws import laws_of, unstopped


def in_family(estimator: Estimator, family: str) -> Estimator:
    """Return the estimator with the laws of the family in the place of others that stand for them.

    Raises
        UsageError, for an abstract density in a family of outcomes, several of them, or one that is not normalised; for a law
        with a name in another family than vector, or with parameters that are made of draws or of functions.
    """
    for law in laws_of(estimator):
        if isinstance(law, NamedLaw):
            _require_plain(law, estimator, family)
    if densities_of(estimator):
        _require_one_density(estimator, family)
        return _rewritten(estimator, _as_finite, lambda term: None)
    mean = mean_alone(estimator)
    if mean is None or family != "vector":
        return estimator
    theta = estimator.parameter
    return _rewritten(estimator, lambda law: law, lambda term: theta if term == Apply(mean, (theta,)) else None)


# Densities


def densities_of(estimator: Estimator) -> list[DensityLaw]:
    """Return the abstract densities of an estimator, each once.

    >>> from derive.notation import E, continuous, function, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> g = continuous("g", theta, law="rho")
    >>> mine = Estimator("mine", f(g) * score(g), (g,), grad(E(f(g), g), theta))
    >>> [law.name for law in densities_of(mine)]
    ['rho']
    """
    return [law for law in dict.fromkeys(laws_of(estimator)) if type(law) is DensityLaw]


def _require_one_density(estimator: Estimator, family: str) -> None:
    found = densities_of(estimator)
    if family != "normal":
        message = (
            f"{estimator.name!r} uses {found[0].name}, an abstract density on the line, which the {family} family is not: it"
            " runs in the normal family only (--family normal)."
        )
        raise UsageError(message)
    others = [law for law in laws_of(estimator) if type(law) is not DensityLaw]
    if len(found) > 1 or others or not found[0].normalised or len(found[0].parameters) != 1:
        message = (
            f"{estimator.name!r} uses {' and '.join(law.name for law in found)}, abstract densities, of which there is no"
            " sampler: one that is normalised, of one parameter, and beside no other law, is run as a normal law."
        )
        raise UsageError(message)


def _as_finite(law: Law) -> Law:
    """A finite law, which the normal family reads as a normal one."""
    return FiniteLaw(law.name, law.parameters, (), law.default_of) if type(law) is DensityLaw else law


# Laws with names


def _require_plain(law: NamedLaw, estimator: Estimator, family: str) -> None:
    if family != "vector":
        message = (
            f"{estimator.name!r} uses {law.name}, a law with a name, whose parameters are terms: it runs in the vector family"
            f" (--family vector), beside others of its kind and normal laws, not in the {family} family."
        )
        raise UsageError(message)
    for term in law.terms:
        if anywhere(term, lambda part: isinstance(part, (RandomVariable, Apply, Density, Score, Grad, Expect, Over))):
            message = (
                f"{estimator.name!r} uses the law {law.name} with the parameter {term}: the generated code knows parameters"
                f" that are made of {estimator.parameter.name} and constants, not of draws or functions."
            )
            raise UsageError(message)


# Means


def mean_alone(estimator: Estimator) -> Function | None:
    """Return mu where the normal laws have the mean mu(theta) and a scale that does not move: then theta may be that mean.

    None where theta stands anywhere else, or there are other laws with parameters.

    >>> from derive.notation import E, constant, function, grad, normal, parameter, score
    >>> theta, mu, f = parameter("theta"), function("mu", differentiable=True), function("f")
    >>> action = normal("a", mu(theta), constant("s"))
    >>> policy = Estimator("policy", f(action) * score(action, theta), (action,), grad(E(f(action), action), theta))
    >>> mean_alone(policy).name
    'mu'
    """
    theta, laws = estimator.parameter, laws_of(estimator)
    moving = [law for law in laws if any(depends(term, theta) for term in law.terms)]
    if not moving or not all(isinstance(law, NormalLaw) and not depends(law.scale, theta) for law in moving):
        return None
    means = {unstopped(law.loc) for law in moving if isinstance(law, NormalLaw)}
    (mean, *others) = means
    known = isinstance(mean, Apply) and type(mean.function) is Function and mean.args == (theta,)
    if others or not known or not isinstance(mean, Apply):
        return None
    every = [estimator.formula, estimator.target, *(term for law in laws for term in law.terms)]
    return None if any(_stands_elsewhere(term, mean, theta) for term in every) else mean.function


def _stands_elsewhere(term: Term, mean: Term, theta: Symbol) -> bool:
    if term == mean:
        return False
    return term == theta or any(_stands_elsewhere(part, mean, theta) for part in parts(term))


# Rewriting


def _rewritten(estimator: Estimator, law: Callable[[Law], Law], leaf: Callable[[Term], Term | None]) -> Estimator:
    """The estimator with other laws, and other terms in the place of some."""

    def of_law(given: Law) -> Law:
        return law(given.with_terms(tuple(map(of_term, given.terms))))

    def of_term(term: Term) -> Term:
        if (found := leaf(term)) is not None:
            return found
        match term:
            case RandomVariable(name, given):
                return RandomVariable(name, of_law(given))
            case Expect(body, variable) | Over(body, variable):
                return type(term)(of_term(body), RandomVariable(variable.name, of_law(variable.law)))
        new = rebuild(term, tuple(map(of_term, parts(term))))
        own = getattr(new, "law", None)
        return replace(new, law=law(own)) if isinstance(own, Law) else new  # type: ignore[call-arg]

    draws = tuple(RandomVariable(draw.name, of_law(draw.law)) for draw in estimator.draws)
    where = tuple((name, of_term(term)) for name, term in estimator.where)
    return replace(estimator, formula=of_term(estimator.formula), draws=draws, target=of_term(estimator.target), where=where)
