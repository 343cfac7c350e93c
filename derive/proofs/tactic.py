"""Find a derivation: bring the mean and its target to the same sum of one-sample moments. Not trusted.

Both sides are rewritten until nothing changes: independent samples factorise (linearity), scores of mean zero vanish, gradients
of means become scores times integrands, relaxed noise is drawn after the outcome that it decides. If both end in the same sum,
the two chains meet; if not, what remains is the bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from derive.kernel import algebra as scalar, theorem as kernel
from derive.kernel.premises import EVERYTHING
from derive.kernel.theorem import Theorem
from derive.language.errors import RuleError
from derive.language.estimator import Estimator
from derive.language.scope import depends, free
from derive.language.target import gradients
from derive.language.term import (
    Apply,
    Expect,
    FiniteLaw,
    Grad,
    Latent,
    NormalLaw,
    Number,
    Over,
    RandomVariable,
    Score,
    Slope,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
    rebuild,
    subterms,
)
from derive.proofs import rules, second
from derive.proofs.calc import Derivation
from derive.proofs.chains import chained, joined, moments
from derive.proofs.conversions import Rewrite, equal_by_normal_form, normalise
from derive.proofs.gathering import gathered
from derive.proofs.size import refuse_long
from derive.sharing import remembered


@dataclass(frozen=True)
class Finding:
    """What the search came to: a derivation if both sides met; else the bias, c where E[g] = c T, and another target.

    `other` leads from another gradient to E[g].
    """

    derivation: Derivation | None
    bias: Term
    scale: Fraction | None
    other: Derivation | None = None


def find(estimator: Estimator, *, further: bool = True) -> Finding:
    """Search for a derivation of an estimator.

    Args
        estimator  what is searched for
        further    whether `find_further` goes on where there is a remainder

    Raises
        RuleError, if mean or target are too long for a search, or have no normal form.

    >>> from derive.catalogue import catalogue
    >>> find(catalogue["constant-baseline"]).derivation is not None
    True
    """
    refuse_long(estimator.expectation, "the mean")
    refuse_long(estimator.target, "the target")
    mean = moments(estimator.expectation, _simplifiers(estimator))
    best: Finding | None = None
    for opening in _openings(estimator):
        target = moments(estimator.target, [*opening, *_simplifiers(estimator)])
        meeting = equal_by_normal_form(target[-1][1].rhs, mean[-1][1].rhs, EVERYTHING)
        if meeting is not None:
            return Finding(joined(estimator, target, meeting, mean), scalar.ZERO, Fraction(1))
        finding = Finding(None, _bias(mean[-1][1].rhs, target[-1][1].rhs), _scale(mean[-1][1].rhs, target[-1][1].rhs))
        best = finding if best is None or finding.scale is not None else best
    if best is None:
        message = f"no opening for the target of {estimator.name!r}."
        raise RuleError(message)
    found = find_further(estimator) if further and best.scale is None else None
    if found is not None:
        return Finding(found, scalar.ZERO, Fraction(1))
    return replace(best, other=_other_target(estimator))


def find_further(estimator: Estimator) -> Derivation | None:
    """Search in the second stage, which goes on where the first one leaves a remainder.

    Raises
        RuleError, if mean or target are too long for a search, or have no normal form.

    >>> from derive.notation import E, finite, function, grad, p, parameter
    >>> theta, r = parameter("theta"), function("r")
    >>> b, a = finite("b", theta), finite("a", law="mu")
    >>> found = find_further(Estimator("off-policy", grad(p(b, at=a) / p(a) * r(a), theta), (a,), grad(E(r(b), b), theta)))
    >>> "change_of_law" in [line.rule for line in found.lines]
    True
    """
    refuse_long(estimator.expectation, "the mean")
    refuse_long(estimator.target, "the target")
    return second.derivation(estimator, _simplifiers(estimator))


def _other_target(estimator: Estimator) -> Derivation | None:
    """Return the derivation of E[g] = d E_u[x], where the mean is that of the gradient of one term, over noise."""
    mean = normalise(estimator.expectation, EVERYTHING)
    try:
        swapped = _swap_back(mean.rhs, EVERYTHING)
    except RuleError:
        return None
    return chained(swapped.rhs, [("pathwise", kernel.symmetry(swapped)), ("linearity", kernel.symmetry(mean))])


def _openings(estimator: Estimator) -> Iterator[list[Rewrite]]:
    """Yield the ways to open the target: through drawn noise where the law is normal, and as a score function."""
    means = [one.body for _, one in gradients(estimator.target) if isinstance(one.body, Expect)]
    if any(isinstance(mean.variable.law, NormalLaw) for mean in means):
        standard = [draw for draw in estimator.draws if draw.law == NormalLaw(scalar.ZERO, scalar.ONE)]
        yield from ([rules.reparameterization(noise), rules.pathwise_gradient] for noise in standard)
    yield [rules.score_function_estimator]


def _simplifiers(estimator: Estimator) -> list[Rewrite]:
    relaxed = [
        rewrite
        for outcome, noise in _relaxations(estimator)
        for rewrite in (
            rules.conditional_reparameterization(outcome, noise),
            _relaxed_gradient,
            rules.marginalization(outcome, noise),
        )
    ]
    slopes = [rules.chain_rule] if any(anywhere(term, _has_slope) for term in (estimator.formula, estimator.target)) else []
    scores = [rules.score_definition, rules.score_function_estimator, rules.mean_score]
    return [*slopes, *relaxed, *scores, rules.pathwise_gradient]


def _has_slope(term: Term) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Slope)


def _relaxations(estimator: Estimator) -> list[tuple[RandomVariable, RandomVariable]]:
    """Return the outcome of each relaxation in the formula, with noise of a name that is not taken."""
    outcomes = {
        RandomVariable(term.function.outcome, term.function.law)
        for term in subterms(estimator.formula)
        if isinstance(term, Apply) and isinstance(term.function, Threshold) and isinstance(term.function.law, FiniteLaw)
    }
    taken = {draw.name for draw in estimator.draws} | {leaf.name for leaf in free(estimator.formula)}
    name = next(candidate for candidate in ("w", *(f"w_{i}" for i in range(1, len(taken) + 2))) if candidate not in taken)
    noise = RandomVariable(name, UniformLaw(scalar.ZERO, scalar.ONE))
    return [(outcome, noise) for outcome in sorted(outcomes, key=repr)]


def _swap_back(term: Term, assuming: object) -> Theorem:
    """E_u[d c(h(u, .))] = d E_u[c(h(u, .))], where u drives a latent variable."""
    match term:
        case Expect(Grad(body, theta), u) if any(_driven(part, u) for part in subterms(body)):
            return kernel.symmetry(rules.pathwise(Grad(Expect(body, u), theta)))
    message = "relaxed gradients are expectations of the gradient of a latent variable."
    raise RuleError(message)


def _driven(term: Term, noise: RandomVariable) -> bool:
    return isinstance(term, Apply) and isinstance(term.function, Latent) and term.args[0] == noise


_relaxed_gradient = Rewrite("pathwise", _swap_back)


def _bias(mean: Term, target: Term) -> Term:
    """Return mean - target, with each E_b[C(b) score(b)] written as the gradient of E_b[C(b)] again, and signs for a reader."""
    return gathered(normalise(_folded(scalar.tidy(mean - target)), EVERYTHING).rhs)


@remembered
def _folded(term: Term) -> Term:
    if isinstance(term, Expect):
        return _mean_of_score_product(term) or term
    if isinstance(term, (Number, Grad, Over)):
        return term
    children = tuple(_folded(part) for part in parts(term))
    return term if children == parts(term) else rebuild(term, children)


def _mean_of_score_product(term: Expect) -> Grad | None:
    """Return d E_b[C(b)] for E_b[C(b) score(b)], where C does not depend on the parameter."""
    split = scalar.monomials(term.body)
    if len(split) != 1:
        return None
    coefficient, factors = split[0]
    own = [(atom, n) for atom, n in factors if isinstance(atom, Score) and atom.law == term.variable.law]
    if len(own) != 1 or own[0][1] != 1 or own[0][0].at != term.variable:
        return None
    theta = own[0][0].parameter
    control = scalar.product_of(coefficient, tuple(factor for factor in factors if factor not in own))
    return None if depends(control, theta) else Grad(Expect(control, term.variable), theta)


def _scale(mean: Term, target: Term) -> Fraction | None:
    """Return c if the mean is c times the target, term by term."""
    first, second = scalar.monomials(mean), scalar.monomials(target)
    if not first or not second:
        return Fraction(0) if second and not first else None
    ratio = first[0][0] / second[0][0]
    return ratio if scalar.equal(mean, Number(ratio) * target) else None
