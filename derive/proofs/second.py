"""The second stage of the search: stops by their values, ratios by their laws, noise by its symmetry. Not trusted.

It is tried where the first stage left a remainder. A normal law is opened in two ways: through its noise, or as a score
function that is written out, which needs no derivative of the integrand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from derive.kernel import algebra as scalar, theorem as kernel
from derive.kernel.premises import EVERYTHING, Assuming
from derive.kernel.theorem import Theorem
from derive.language.errors import RuleError, ScopeError, TooLong
from derive.language.estimator import Estimator
from derive.language.scope import canonical, depends, free, substitute
from derive.language.term import (
    Add,
    Density,
    Expect,
    FiniteLaw,
    Grad,
    NormalLaw,
    Number,
    Over,
    RandomVariable,
    Symbol,
    Term,
    parts,
)
from derive.proofs import rules
from derive.proofs.calc import Derivation
from derive.proofs.chains import joined, moments
from derive.proofs.conversions import Rewrite, equal_by_normal_form, normalise, rewrite_everywhere

_STEPS = 40
_STANDARD = NormalLaw(scalar.ZERO, scalar.ONE)


def derivation(estimator: Estimator, rewrites: list[Rewrite]) -> Derivation | None:
    """Return a derivation by the rewrites of the first stage and those of this file, or None.

    Raises
        RuleError, if mean or target have no normal form.
    """
    noisy = _through_noise([draw for draw in estimator.draws if draw.law == _STANDARD])
    for opening in ([noisy, rules.pathwise_gradient], [_as_score, noisy]):
        steps = [*opening, *rewrites, *REWRITES]
        sides = estimator.target, estimator.expectation
        try:
            target, mean = (moments(side, steps, _STEPS, bounded=True) for side in sides)
        except TooLong:
            continue
        meeting = equal_by_normal_form(target[-1][1].rhs, mean[-1][1].rhs, EVERYTHING)
        if meeting is not None:
            return joined(estimator, target, meeting, mean)
    return None


def _refuse(message: str) -> NoReturn:
    raise RuleError(message)


# Normal laws


def _through_noise(draws: list[RandomVariable]) -> Rewrite:
    """Return the rewrite E_z[x(z)] = E_e[x(loc + scale e)] for every normal law but the standard one."""

    def rewrite(term: Term, assuming: Assuming) -> Theorem:
        match term:
            case Expect(_, RandomVariable(_, NormalLaw() as law)) if law != _STANDARD:
                return kernel.reparameterize(term, _noise_for(term, draws), assuming=assuming)
        _refuse("a normal law is written through noise once.")

    return Rewrite("reparameterization", rewrite)


def _noise_for(term: Term, draws: list[RandomVariable]) -> RandomVariable:
    """Return standard normal noise that a term does not use: what is drawn already, if that will do."""
    names = {leaf.name for leaf in free(term)}
    numbered = (RandomVariable(f"e_{i}" if i else "e", _STANDARD) for i in range(len(names) + 1))
    return next(noise for noise in (*draws, *numbered) if noise.name not in names)


def _rewrite_as_score(term: Term, assuming: Assuming) -> Theorem:
    """d E_e[x(loc + scale e)] = E_z[x(z) score(z)] + E_z[d x(z)], also where d stands inside the expectation."""
    match term:
        case Grad(Expect(body, e), theta) if e.law == _STANDARD:
            back = _drawn(body, e, theta, assuming)
            moved = kernel.congruence(term, ((0,), back))
            opened = rules.score_function_estimator.apply(moved.rhs, assuming)
            return kernel.transitivity(moved, opened)
        case Expect(Grad(body, theta), e) if e.law == _STANDARD:
            whole = Grad(Expect(body, e), theta)
            opened = _rewrite_as_score(whole, assuming)
            return kernel.transitivity(kernel.symmetry(rules.pathwise(whole, assuming=assuming)), opened)
    _refuse("a score stands for the gradient of an expectation over standard normal noise.")


def _drawn(body: Term, e: RandomVariable, theta: Symbol, assuming: Assuming) -> Theorem:
    """E_e[x(loc + scale e)] = E_z[x(z)] for some loc + scale e in the body that moves with the parameter."""
    whole = Expect(body, e)
    for loc, scale in _affine(body, e):
        if not (depends(loc, theta) or depends(scale, theta)):
            continue
        z = RandomVariable(e.name, NormalLaw(loc, scale))
        try:
            moved = scalar.tidy(substitute(body, {e: (z - loc) / scale}))
        except ScopeError:
            continue
        back = kernel.reparameterize(Expect(moved, z), e, assuming=assuming)
        return kernel.symmetry(kernel.transitivity(back, kernel.algebra(back.rhs, whole, assuming=assuming)))
    _refuse("no location and scale of the noise move with the parameter.")


def _affine(term: Term, e: RandomVariable) -> Iterator[tuple[Term, Term]]:
    """Yield loc and scale of each sum loc + scale e in a term."""
    if not depends(term, e):
        return
    if isinstance(term, Add):
        split = scalar.monomials(term)
        moving = [(c, factors) for c, factors in split if any(depends(atom, e) for atom, _ in factors)]
        powers = [[n for atom, n in factors if depends(atom, e)] for _, factors in moving]
        if all(found == [1] and (e, 1) in factors for found, (_, factors) in zip(powers, moving, strict=True)):
            scale = scalar.sum_of(tuple((c, tuple(one for one in factors if one[0] != e)) for c, factors in moving))
            if not (isinstance(scale, Number) and scale.value <= 0) and moving[0][0] > 0:
                yield scalar.sum_of(tuple(one for one in split if one not in moving)), scale
    for part in parts(term):
        yield from _affine(part, e)


# Sums and laws


def _rewrite_folded(term: Term, assuming: Assuming) -> Theorem:
    """The sum of x over b = E_b[x / p(b)]."""
    if not isinstance(term, Over) or not isinstance(term.variable.law, FiniteLaw):
        _refuse("a sum over outcomes is folded into an expectation.")
    inside = scalar.tidy(term.body / Density(term.variable.law, term.variable))
    unfolded = kernel.definition(Expect(inside, term.variable), assuming=assuming)
    return kernel.symmetry(kernel.transitivity(unfolded, kernel.algebra(unfolded.rhs, term, assuming=assuming)))


def _rewrite_own_law(term: Term, assuming: Assuming) -> Theorem:
    """E_a[p(a) / q(a) x(a)] = E_b[x(b)], a ~ q, b ~ p."""
    if not isinstance(term, Expect):
        _refuse("an expectation is taken over another law.")
    drawn = term.variable
    split = scalar.monomials(term.body)
    factors = dict(split[0][1]) if len(split) == 1 else {}
    own = Density(drawn.law, drawn)
    if factors.get(own, 0) < 0:
        for atom, power in factors.items():
            if isinstance(atom, Density) and atom.at == drawn and atom != own and power > 0:
                return _over(term, RandomVariable(drawn.name, atom.law), assuming)
    _refuse("no ratio of densities stands in the expectation.")


def _over(term: Expect, variable: RandomVariable, assuming: Assuming) -> Theorem:
    drawn = term.variable
    inside = scalar.tidy(term.body * Density(drawn.law, drawn) / Density(variable.law, drawn))
    other = Expect(substitute(inside, {drawn: variable}), variable)
    changed = kernel.change_of_law(other, drawn, assuming=assuming)
    return kernel.symmetry(kernel.transitivity(changed, kernel.algebra(changed.rhs, term, assuming=assuming)))


def _rewrite_ordered(term: Term, assuming: Assuming) -> Theorem:
    """Exchange two expectations, if that comes first in a fixed order of terms."""
    nested = _nested(term, assuming)
    exchanged = kernel.exchange(nested.rhs, assuming=assuming)
    theorem = _chain(nested, exchanged, normalise(exchanged.rhs, assuming))
    if repr(canonical(theorem.rhs)) < repr(canonical(term)):
        return theorem
    _refuse("the expectations stand in order.")


def _nested(term: Term, assuming: Assuming) -> Theorem:
    """Return E_a[x(a) E_b[y]] = E_a[E_b[x(a) y]]."""
    split = scalar.monomials(term.body) if isinstance(term, Expect) else ()
    inner = [atom for atom, power in split[0][1] if isinstance(atom, Expect) and power == 1] if len(split) == 1 else []
    if not isinstance(term, Expect) or len(inner) != 1 or depends(term, inner[0].variable):
        _refuse("no expectation of one other expectation.")
    rest = tuple(one for one in split[0][1] if one[0] is not inner[0])
    whole = Expect(scalar.product_of(split[0][0], rest) * inner[0].body, inner[0].variable)
    if depends(scalar.product_of(split[0][0], rest), inner[0].variable):
        _refuse("the factor uses the variable of the inner expectation.")
    apart = kernel.linearity(whole, assuming=assuming)
    nested = kernel.congruence(Expect(whole, term.variable), ((len(term.variable.law.terms),), apart))
    return kernel.symmetry(kernel.transitivity(nested, kernel.algebra(nested.rhs, term, assuming=assuming)))


def _rewrite_total(term: Term, assuming: Assuming) -> Theorem:
    """E_b[d ... d p(b) / p(b)] = d ... d 1 = 0."""
    match term:
        case Expect(body, b):
            density = Density(b.law, b)
            summed = scalar.tidy(body * density)
            if isinstance(summed, Grad):
                start = kernel.definition(term, assuming=assuming)
                start = kernel.transitivity(start, kernel.algebra(start.rhs, Over(summed, b), assuming=assuming))
                outside = _outside(Over(summed, b), assuming)
                return _chain(start, outside, normalise(outside.rhs, assuming))
    _refuse("no mean of derivatives of a density.")


def _outside(term: Over, assuming: Assuming) -> Theorem:
    """The sum of d ... d p(b) over b = d ... d of the sum of p(b) = d ... d 1."""
    if not isinstance(term.body, Grad):
        return kernel.normalisation(term, assuming=assuming)
    inner = Over(term.body.body, term.variable)
    whole = Grad(inner, term.body.parameter)
    swapped = kernel.symmetry(kernel.leibniz(whole, assuming=assuming))
    return kernel.transitivity(swapped, kernel.congruence(whole, ((0,), _outside(inner, assuming))))


def _chain(first: Theorem, *others: Theorem) -> Theorem:
    for other in others:
        first = kernel.transitivity(first, other)
    return first


# Symmetric noise


def _rewrite_first_moment(term: Term, assuming: Assuming) -> Theorem:
    """E[z] = c / 2 of a law with the mirror image c - z."""
    if not isinstance(term, Expect) or term.body != term.variable:
        _refuse("no first moment.")
    mirrored = kernel.reflect(term)
    return _halved(term, kernel.transitivity(mirrored, normalise(mirrored.rhs, assuming)), assuming)


def _rewrite_second_moment(term: Term, assuming: Assuming) -> Theorem:
    """E[e^2] = 1: the derivative of E_z[z] in the location is 1, and as a score function E[(m + e) e]."""
    if not isinstance(term, Expect) or term.variable.law != _STANDARD or term.body != term.variable**2:
        _refuse("no second moment of standard normal noise.")
    m = Symbol("m")
    z = RandomVariable("z", NormalLaw(m, scalar.ONE))
    whole = Grad(Expect(z, z), m)
    noisy = rules.reparameterization(term.variable)
    one = _followed(whole, [noisy], assuming)
    square = _followed(whole, [rules.score_function_estimator, rules.normal_score, noisy, _first_moment], assuming)
    return kernel.transitivity(kernel.symmetry(square), one)


def _rewrite_mirrored(term: Term, assuming: Assuming) -> Theorem:
    """Put the mirror image of noise in its place, if that has fewer minus signs; what is odd has mean zero."""
    mirrored = kernel.reflect(term)
    mirrored = kernel.transitivity(mirrored, normalise(mirrored.rhs, assuming))
    if scalar.equal(mirrored.rhs, -term):
        return _halved(term, mirrored, assuming)
    if _signs(mirrored.rhs) < _signs(term):
        return mirrored
    _refuse("the mirror image is not simpler.")


def _signs(term: Term) -> tuple[int, str]:
    """Return how many minus signs stand in a term, not counting that of a product, and a fixed order of terms."""
    inside = [atom for _, factors in scalar.monomials(term) for atom, _ in factors]
    written = repr([canonical(atom) for atom in inside])
    return written.count("Fraction(-"), written


def _halved(term: Term, mirrored: Theorem, assuming: Assuming) -> Theorem:
    """From m = c - m: m = c / 2."""
    doubled = kernel.algebra(term, (term + term) / 2)
    twice = kernel.congruence(doubled.rhs, ((0, 1), mirrored))
    halved = kernel.algebra(twice.rhs, scalar.tidy(twice.rhs), assuming=assuming)
    return kernel.transitivity(kernel.transitivity(doubled, twice), halved)


def _followed(term: Term, rewrites: list[Rewrite], assuming: Assuming) -> Theorem:
    theorem = kernel.reflexivity(term)
    for rewrite in rewrites:
        theorem = kernel.transitivity(theorem, rewrite_everywhere(theorem.rhs, rewrite, assuming))
        theorem = kernel.transitivity(theorem, normalise(theorem.rhs, assuming))
    return theorem


_as_score = Rewrite("score_function", _rewrite_as_score)
_first_moment = Rewrite("symmetry", _rewrite_first_moment)
REWRITES = [
    rules.normal_score,
    rules.value_of_stop,
    Rewrite("leibniz", _rewrite_total),
    rules.log_derivative_trick,
    Rewrite("expectation", _rewrite_folded),
    Rewrite("change_of_law", _rewrite_own_law),
    _first_moment,
    Rewrite("second_moment", _rewrite_second_moment),
    Rewrite("reflection", _rewrite_mirrored),
    Rewrite("exchange", _rewrite_ordered),
]
