"""What values a term takes over a random variable, and how large its integral is; None where it is not known."""

from __future__ import annotations

from fractions import Fraction

from derive.kernel.algebra import Factors, monomials
from derive.language.scope import depends, free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Exp,
    Expect,
    FiniteLaw,
    Mul,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Sigmoid,
    SoftThreshold,
    Term,
    Threshold,
    UniformLaw,
    parts,
    rebuild,
)


def is_small(variable: RandomVariable, term: Term, *, differentiated: bool) -> bool | None:
    """Whether a term has a finite integral over a variable, and if differentiated also its derivatives in smooth parameters.

    False says that it outgrows the density, or has a pole at the end of an interval.
    """
    match variable.law:
        case UniformLaw() as law:
            if _elementary(term, variable) or (not differentiated and _bounded(term, variable)):
                return True
            return False if not differentiated and _has_pole(variable, law, term) else None
        case NormalLaw() as law:
            known = [_under_normal(variable, law, factors, alone=not differentiated) for _, factors in monomials(term)]
            return None if None in known else False not in known
    return None


def at_outcomes(term: Term) -> Term:
    """Write b for H(z): a premise that holds for every outcome b holds for the one that the noise decides.

    Each H(z) gets an outcome of its own, and none that the term has already.
    """
    names = {leaf.name for leaf in free(term)}
    outcomes: dict[Term, Term] = {}
    for hard in _thresholds(term):
        if hard not in outcomes and isinstance(hard.function.law, FiniteLaw):  # type: ignore[attr-defined]
            outcome: str = hard.function.outcome  # type: ignore[attr-defined]
            numbered = (f"{outcome}_{i}" for i in range(1, len(names) + 2))
            name = next(name for name in (outcome, *numbered) if name not in names)
            names.add(name)
            outcomes[hard] = RandomVariable(name, hard.function.law)  # type: ignore[attr-defined]
    return _replaced(term, outcomes)


def _thresholds(term: Term) -> list[Apply]:
    """Return the applied thresholds outside binders of outcomes, whose variables they might use."""
    if isinstance(term, Apply) and isinstance(term.function, Threshold):
        return [term]
    return [] if _binds_outcome(term) else [found for part in parts(term) for found in _thresholds(part)]


def _binds_outcome(term: Term) -> bool:
    return isinstance(term, (Expect, Over)) and isinstance(term.variable.law, FiniteLaw)


def _replaced(term: Term, outcomes: dict[Term, Term]) -> Term:
    if term in outcomes:
        return outcomes[term]
    return term if _binds_outcome(term) else rebuild(term, tuple(_replaced(part, outcomes) for part in parts(term)))


def _elementary(term: Term, variable: RandomVariable) -> bool:
    """Whether a term is a smooth elementary function of the variable: it and its derivatives are bounded on an interval."""
    if isinstance(term, RandomVariable) or not depends(term, variable):
        return True
    match term:
        case Density(NormalLaw(_, scale), _) if not depends(scale, variable):
            smooth = True
        case Density(UniformLaw() as law, at):
            return law == variable.law and at == variable
        case Add() | Mul() | Exp() | Sigmoid():
            smooth = True
        case Power(_, exponent):
            smooth = exponent >= 0
        case _:
            smooth = False
    return smooth and all(_elementary(part, variable) for part in parts(term))


def _bounded(term: Term, variable: RandomVariable) -> bool:
    """Whether a term is bounded over the noise: a relaxed outcome, or something with finitely many values."""
    if not depends(at_outcomes(term), variable):
        return True
    match term:
        case Apply(SoftThreshold(), _):
            return True
        case Density(UniformLaw() as law, _):
            return not any(depends(part, variable) for part in law.terms)
        case Expect(body, inner):
            return isinstance(inner.law, (UniformLaw, FiniteLaw)) and _bounded(body, variable) and _bounded(body, inner)
        case Power(_, exponent) if exponent < 0:
            return False
    return isinstance(term, (Add, Mul, Power)) and all(_bounded(part, variable) for part in parts(term))


def _has_pole(variable: RandomVariable, law: UniformLaw, term: Term) -> bool:
    """Whether an integral diverges at an end of the interval, which is 0: powers of the variable, one of them negative."""
    if not any(isinstance(end, Number) and end.value == 0 for end in law.terms):
        return False
    products = [dict(factors) for _, factors in monomials(term)]
    own = (variable, Density(law, variable))
    powers = not any(depends(atom, variable) for factors in products for atom in factors if atom not in own)
    return powers and any(factors.get(variable, 0) < 0 for factors in products)


def _under_normal(variable: RandomVariable, law: NormalLaw, factors: Factors, *, alone: bool) -> bool | None:
    """Whether density times power times exp has finite integrals, locally uniformly in the parameters; None where unknown.

    Alone, that is not as something whose derivative counts, a power without the density has none.
    """
    exponent: Term = Number(Fraction(0))
    densities = 0
    for atom, power in factors:
        if atom == Density(law, variable):
            densities += power
        elif isinstance(atom, Exp):
            exponent = exponent + power * atom.arg
        elif depends(atom, variable) and not (atom == variable and power > 0):
            return None
    falls = _falls(variable, law, exponent)
    flat = alone and densities < 1 and not depends(exponent, variable)
    return falls if densities == 1 else False if flat else None


def _falls(variable: RandomVariable, law: NormalLaw, exponent: Term) -> bool | None:
    """Whether exp(exponent) grows slower than the normal density falls, read off the leading power of the variable."""
    by_degree: dict[int, list[tuple[Fraction, bool]]] = {}
    for coefficient, factors in monomials(exponent):
        if any(depends(atom, variable) and (atom != variable or power < 0) for atom, power in factors):
            return None
        degree = sum(power for atom, power in factors if atom == variable)
        by_degree.setdefault(degree, []).append((coefficient, all(atom == variable for atom, _ in factors)))
    degree = max(by_degree, default=0)
    if degree < 2:
        return True
    (coefficient, numeric), *others = by_degree[degree]
    if others or not numeric:
        return None
    if degree == 2:
        return 2 * coefficient * law.scale.value**2 < 1 if isinstance(law.scale, Number) else None
    return degree % 2 == 0 and coefficient < 0


def sides(term: Term) -> tuple[bool, bool] | None:
    """Whether a polynomial in one random variable is positive everywhere, and negative everywhere; None where it is not known.

    One of odd degree takes every value under a normal law; one of degree 1 lies between its values at the bounds of a uniform
    law.
    """
    for variable in (leaf for leaf in free(term) if isinstance(leaf, RandomVariable)):
        coefficients = _coefficients(term, variable)
        if coefficients is None:
            continue
        match variable.law:
            case NormalLaw() if max(coefficients) % 2:
                return False, False
            case UniformLaw(Number(low), Number(high)) if max(coefficients) == 1 and None not in coefficients.values():
                ends = [sum(c * end**n for n, c in coefficients.items() if c is not None) for end in (low, high)]
                return min(ends) >= 0, max(ends) <= 0
            case UniformLaw(Number(low), _) if term == variable and low >= 0:
                return True, False
    return None


def _coefficients(term: Term, variable: RandomVariable) -> dict[int, Fraction | None] | None:
    """Return the coefficients of the powers of a variable, None for those that are no numbers; None if it is no polynomial."""
    found: dict[int, Fraction | None] = {}
    for coefficient, factors in monomials(term):
        others = [atom for atom, _ in factors if atom != variable]
        power = sum(n for atom, n in factors if atom == variable)
        if power < 0 or any(depends(atom, variable) for atom in others):
            return None
        found[power] = None if others or power in found else coefficient
    return found
