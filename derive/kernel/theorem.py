"""The kernel: what a theorem is, and the fourteen rules that can make one. TRUSTED.

    reflexivity(term)                    term = term
    symmetry(theorem)                    from a = b: b = a
    transitivity(first, second)          from a = b and b = c: a = c
    congruence(term, (path, theorem), ...)
                                         from a = b: term with a at the path = term with b there
    algebra(left, right)                 equal rational functions of their atoms
    assume(left, right)                  left = right |- left = right
    definition(term)                     E over b = sum of p(b) times it;  score = d log p
    differentiate(term)                  d of sums, products, powers, log, exp, sigmoid
    linearity(term)                      E or sum of a sum; factors without the variable move out
    leibniz(term)                        d of a sum or integral = sum or integral of d
    normalisation(term)                  the sum of p(b) is 1
    exchange(term)                       E over a of E over b = E over b of E over a
    reparameterize(term, noise)          E over z ~ Normal(loc, scale) = E over noise at loc + scale * noise
    conditional_reparameterize(term, outcome, noise)
                                         E over u at z = h(u), b = H(z) = E over b of E over v at z = h_tilde(v, b)

A theorem `assumptions |- lhs = rhs` says: on every open set of values of the free symbols on which the assumptions hold and
both sides have a value, for every value of the random variables, both sides are equal, and so are their derivatives. An
assumption that speaks of a random variable is made for all its values. A term is read at two values of each symbol, one that
moves and one at which `Stop` takes it; `Grad` is the derivative in the first. Both sides are well scoped
(`derive.language.scope.scoped`), so that one variable is one value. Each rule consults its premises
(`derive.kernel.premises`), refuses by name where one fails, and records itself and its inputs, so that `derive.kernel.recheck`
can replay it. Nothing but a rule makes a theorem: that stops accidents, not malice. `object.__new__` forges one, and `recheck`
finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

from derive.kernel import algebra as scalar
from derive.kernel.premises import (
    Assuming,
    ConditionalReparameterization,
    Differentiable,
    Dominated,
    Independent,
    Integrable,
    JointlyIntegrable,
    Normalised,
    Positive,
    Premise,
    SupportFixed,
    defined,
    require,
)
from derive.language.errors import RuleError, ScopeError
from derive.language.scope import alpha_equal, depends, free, scoped, substitute
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Density,
    Expect,
    FiniteLaw,
    Grad,
    Latent,
    Log,
    NormalLaw,
    Over,
    RandomVariable,
    Score,
    Stop,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
    rebuild,
)

__all__ = [
    "RULES",
    "Equation",
    "Theorem",
    "algebra",
    "assume",
    "conditional_reparameterize",
    "congruence",
    "definition",
    "differentiate",
    "exchange",
    "leibniz",
    "linearity",
    "normalisation",
    "reflexivity",
    "reparameterize",
    "symmetry",
    "transitivity",
]

Path = tuple[int, ...]
_KEY = object()
_NOTHING: frozenset[Premise] = frozenset()


@dataclass(frozen=True)
class Equation:
    """An equation that a user assumed, as it stands left of the turnstile."""

    lhs: Term
    rhs: Term


class Theorem:
    """assumptions |- lhs = rhs, with the rule and the inputs that made it. Only the rules of this file make one.

    Raises
        RuleError, on any attempt to construct, change, subclass, copy or unpickle a theorem.
        ScopeError, if a variable is bound inside the scope of another whose law depends on it.
    """

    __slots__ = ("assumptions", "inputs", "lhs", "rhs", "rule")
    assumptions: frozenset[Premise | Equation]
    lhs: Term
    rhs: Term
    rule: str
    inputs: tuple[Any, ...]

    def __init__(
        self, key: object, lhs: Term, rhs: Term, rule: str, inputs: tuple[Any, ...], assumptions: Iterable[Premise | Equation]
    ) -> None:
        if key is not _KEY:
            _refuse("a theorem is made by a rule of the kernel, not by its constructor.")
        for name, value in zip(("lhs", "rhs", "rule", "inputs"), (scoped(lhs), scoped(rhs), rule, inputs), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "assumptions", frozenset(assumptions))

    def __init_subclass__(cls) -> None:
        _refuse("Theorem cannot be subclassed.")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(f"a theorem cannot be changed: {name!r} stays as it is.")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(f"a theorem cannot be changed: {name!r} stays as it is.")

    def __reduce__(self) -> NoReturn:
        _refuse("a theorem cannot be copied or pickled: replay its derivation instead.")


def reflexivity(term: Term) -> Theorem:
    """Any term equals itself.

    Premises
        none
    Conclusion
        |- term = term
    Source
        equality

    >>> from derive.notation import constant
    >>> reflexivity(constant("x")).rhs
    Symbol(name='x')
    """
    return Theorem(_KEY, term, term, "reflexivity", (term,), ())


def symmetry(theorem: Theorem) -> Theorem:
    """Swap the sides.

    Premises
        G |- a = b
    Conclusion
        G |- b = a
    Source
        equality
    """
    _checked(theorem)
    return Theorem(_KEY, theorem.rhs, theorem.lhs, "symmetry", (theorem,), theorem.assumptions)


def transitivity(first: Theorem, second: Theorem) -> Theorem:
    """Chain two equations.

    Premises
        G |- a = b and H |- b' = c, where b and b' differ at most in bound names
    Conclusion
        G, H |- a = c
    Fails
        RuleError, if the middle terms differ.
    Source
        equality
    """
    _checked(first, second)
    if not alpha_equal(first.rhs, second.lhs):
        _refuse("transitivity needs the right side of the first theorem to be the left side of the second.")
    return Theorem(_KEY, first.lhs, second.rhs, "transitivity", (first, second), first.assumptions | second.assumptions)


def congruence(term: Term, *replaced: tuple[Path, Theorem]) -> Theorem:
    """Replace equals by equals at some places of a term, under binders and gradients too.

    Free variables of a theorem stand for every value, so a binder of the term may bind them.

    Premises
        G |- a = b, for each place; the term has a at the path (numbers of `parts`), and no path leads through another place
    Conclusion
        G |- term[a] = term[b], with the assumptions of all
    Fails
        RuleError, if something else stands at a path, or it leads into the law of a bound variable.
    Source
        equality
    """
    _checked(*(theorem for _, theorem in replaced))
    assumptions = frozenset[Premise | Equation]().union(*(theorem.assumptions for _, theorem in replaced))
    return Theorem(_KEY, term, _plug(term, replaced), "congruence", (term, *replaced), assumptions)


def algebra(left: Term, right: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Two terms that are the same rational function of their atoms are equal.

    The logarithm of a product is split where its factors are positive by their shape, and if need be where they are assumed to.

    Premises
        NonZero(d), for everything that either side divides by
        Positive(x), where exp(log x) is x, and for the factors of logarithms that are split
    Conclusion
        premises |- left = right
    Fails
        RuleError, if the difference is not the zero polynomial; PremiseError, if a denominator may be zero, or a logarithm
        may be of what is not positive.
    Source
        field axioms, and log(x y) = log x + log y

    >>> from derive.notation import constant
    >>> x = constant("x")
    >>> algebra((x + 1) * (x - 1), x**2 - 1).assumptions
    frozenset()
    """
    premises = defined(left, right)
    if not scalar.equal(left, right):
        split = scalar.split_logarithms(left), scalar.split_logarithms(right)
        if not scalar.equal(*split):
            _refuse("algebra: the two sides are not the same rational function of their atoms.")
        factors = (factor for side in (left, right) for factor in scalar.factors_of_logarithms(side))
        premises += [*defined(*split), *map(Positive, factors)]
    return _theorem(left, right, "algebra", (left, right), premises, assuming)


def assume(left: Term, right: Term) -> Theorem:
    """Assume an equation; it stays left of the turnstile of whatever is derived from it.

    Premises
        none
    Conclusion
        left = right |- left = right
    Source
        equality
    """
    return Theorem(_KEY, left, right, "assume", (left, right), (Equation(left, right),))


def definition(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Unfold an expectation or a score.

    Premises
        Positive(p(at)), for a score
    Conclusion
        |- E_b[x] = sum over b of p(b) x          or
        premise |- score(at) = d/dtheta log p(at)
    Fails
        RuleError, if the term is neither, or the point of the score moves with the parameter; PremiseError, if the density may
        be zero at the point.
    Source
        mohamed-2020, section 2 and section 4.1
    """
    match term:
        case Expect(body, variable):
            return _theorem(term, Over(Density(variable.law, variable) * body, variable), "definition", (term,), (), assuming)
        case Score(law, at, parameter) if not depends(at, parameter):
            unfolded = Grad(Log(Density(law, at)), parameter)
            return _theorem(term, unfolded, "definition", (term,), [Positive(Density(law, at))], assuming)
    _refuse(f"definition unfolds an expectation, or a score at a fixed point, not a {type(term).__name__}.")


def differentiate(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Differentiate through + * / log exp sigmoid; other terms that depend on the parameter keep their gradient sign.

    Premises
        Differentiable(body, theta)
    Conclusion
        premise |- d/dtheta body = its derivative
    Fails
        RuleError, if the term is no gradient; PremiseError, if a factor jumps or may not be differentiable.
    Source
        sum, product and chain rule
    """
    match term:
        case Grad(Log(Density() as density) as body, parameter):
            result = scalar.ONE / density * Grad(density, parameter)
            return _theorem(term, result, "differentiate", (term,), [Differentiable(body, parameter)], assuming)
        case Grad(body, parameter):
            result = scalar.derivative(body, parameter)
            premises = [] if result == term else [Differentiable(body, parameter)]
            return _theorem(term, result, "differentiate", (term,), premises, assuming)
    _refuse(f"differentiate needs a gradient, not a {type(term).__name__}.")


def linearity(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Split the expectation or sum of a sum, and move factors that do not depend on the variable out of it.

    Premises
        Integrable(summand), for each summand; those of `algebra`, for the body
    Conclusion
        premises |- E_b[sum of c m(b)] = sum of c E_b[m(b)]
    Fails
        RuleError, if the term is no expectation or sum; PremiseError, if a summand may have no finite integral.
    Source
        linearity of the integral
    """
    if not isinstance(term, (Expect, Over)):
        _refuse(f"linearity needs an expectation, a sum or an integral, not a {type(term).__name__}.")
    variable = term.variable
    summands: list[Term] = []
    premises = defined(term.body)
    weight = Density(variable.law, variable) if isinstance(term, Expect) else scalar.ONE
    for coefficient, factors in scalar.monomials(term.body):
        inside = tuple(factor for factor in factors if depends(factor[0], variable))
        outside = tuple(factor for factor in factors if factor not in inside)
        kept = scalar.product_of(Fraction(1), inside)
        premises.append(Integrable(variable, weight * kept))
        summands.append(scalar.product_of(coefficient, outside) * type(term)(kept, variable))
    result = sum(summands[1:], start=summands[0]) if summands else scalar.ZERO
    if scalar.equal(result, term):
        return algebra(term, result, assuming=assuming)
    return _theorem(term, result, "linearity", (term,), premises, assuming)


def leibniz(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Differentiate under the sum or integral.

    Premises
        SupportFixed(b, theta), Differentiable(body, theta), Dominated(b, body, theta)
    Conclusion
        premises |- d/dtheta of the sum over b of body = the sum over b of d/dtheta body
    Fails
        RuleError, if the term is no gradient of a sum or integral; PremiseError, if the support moves, the body jumps,
        or its derivative has no integrable bound.
    Source
        mohamed-2020, section 4.3.1
    """
    match term:
        case Grad(Over(body, variable), parameter):
            swap = (SupportFixed(variable, parameter), Differentiable(body, parameter), Dominated(variable, body, parameter))
            return _theorem(term, Over(Grad(body, parameter), variable), "leibniz", (term,), swap, assuming)
    _refuse("leibniz needs the gradient of a sum or integral.")


def normalisation(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """A density sums to one.

    Premises
        Normalised(b)
    Conclusion
        premise |- the sum over b of p(b) = 1
    Fails
        RuleError, if the body is not the density of the variable; PremiseError, if it is declared as not normalised.
    Source
        definition of a density
    """
    match term:
        case Over(Density(law, at), variable) if at == variable and law == variable.law:
            return _theorem(term, scalar.ONE, "normalisation", (term,), [Normalised(variable)], assuming)
    _refuse("normalisation needs the sum or integral of the density of its own variable.")


def exchange(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Exchange two expectations over independent variables.

    Premises
        Independent(law of each variable, the other variable), JointlyIntegrable(b, a, x)
    Conclusion
        premises |- E_a[E_b[x]] = E_b[E_a[x]]
    Fails
        RuleError, if the term is no double expectation; PremiseError, if one law depends on the other variable.
    Source
        Fubini's theorem
    """
    match term:
        case Expect(Expect(body, inner), outer) if inner != outer:
            premises: list[Premise] = [Independent(part, outer) for part in inner.law.terms]
            premises += [Independent(part, inner) for part in outer.law.terms]
            premises.append(JointlyIntegrable(inner, outer, body))
            return _theorem(term, Expect(Expect(body, outer), inner), "exchange", (term,), premises, assuming)
    _refuse("exchange needs an expectation of an expectation over another variable.")


def reparameterize(term: Term, noise: RandomVariable, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Write a normal variable as loc + scale * noise.

    Premises
        Normalised(z): the scale is positive
    Conclusion
        premise |- E_z[x(z)] = E_noise[x(loc + scale * noise)]
    Fails
        RuleError, if the term is no expectation over a normal law, or the noise is not standard normal, or is used in it, or x
        holds z fixed where loc + scale * noise moves: under a gradient, a stop, or in the law of a score; PremiseError, if the
        scale may not be positive.
    Source
        kingma-2014, section 2.4
    """
    match term:
        case Expect(body, RandomVariable(_, NormalLaw(loc, scale)) as z):
            if noise.law != NormalLaw(scalar.ZERO, scalar.ONE) or depends(term, noise):
                _refuse(f"reparameterize needs unused standard normal noise; {noise.name} is not.")
            try:
                moved = Expect(substitute(body, {z: loc + scale * noise}), noise)
            except ScopeError as error:
                _refuse(f"reparameterize: {error}")
            return _theorem(term, moved, "reparameterize", (term, noise), [Normalised(z)], assuming)
    _refuse("reparameterize needs an expectation over a normal law.")


def conditional_reparameterize(
    term: Term, outcome: RandomVariable, noise: RandomVariable, *, assuming: Assuming = _NOTHING
) -> Theorem:
    """Draw the outcome first, and the latent variable from its law given the outcome.

    Premises
        ConditionalReparameterization(b, H, h_tilde, h)
    Conclusion
        premise |- E_u[x(h(u, .), H(h(u, .)))] = E_b[E_v[x(h_tilde(v, b, .), b)]], at the parameters and conditions of p(b; .)
    Fails
        RuleError, if the term is no expectation over uniform noise, uses it outside h(u, .), takes h(u, .) at something else
        than what the law of the outcome stands at, or differentiates or stops it: no function of the latent variable.
    Source
        tucker-2017, section 3
    """
    if not isinstance(term, Expect) or not _is_noise(term.variable) or not _is_noise(noise) or depends(term, noise):
        _refuse("conditional_reparameterize needs an expectation over uniform noise, and other, unused noise.")
    law, latents = outcome.law, _latents(term.body, term.variable)
    if len(latents) != 1 or depends(term, outcome):
        _refuse(f"conditional_reparameterize needs one latent variable h({term.variable.name}, .) and an unused outcome.")
    latent = latents.pop()
    if not isinstance(law, FiniteLaw) or not _stands_at(latent, law):
        _refuse(f"conditional_reparameterize: the latent variable does not stand where the law of {outcome.name} does.")
    own: FiniteLaw = latent.function.law  # type: ignore[attr-defined]
    hard = Apply(Threshold("H", False, own, outcome.name), (latent,))
    conditional = Apply(ConditionalLatent("h_tilde", True, own), (noise, outcome, *latent.args[1:]))
    body = _replace(_replace(term.body, hard, outcome, hard=True), latent, conditional, hard=False)
    if depends(body, term.variable):
        _refuse(f"conditional_reparameterize: {term.variable.name} is used outside the latent variable.")
    result = Expect(Expect(body, noise) if depends(body, noise) else body, outcome)
    premise = ConditionalReparameterization(outcome, hard, conditional, latent)
    return _theorem(term, result, "conditional_reparameterize", (term, outcome, noise), [premise], assuming)


RULES: dict[str, Callable[..., Theorem]] = {name: globals()[name] for name in __all__ if name.islower()}


def _theorem(
    lhs: Term, rhs: Term, rule: str, inputs: tuple[Any, ...], premises: Iterable[Premise], assuming: Assuming
) -> Theorem:
    """Make a theorem of a rule that has premises: it rests on those that could not be decided."""
    return Theorem(_KEY, lhs, rhs, rule, inputs, require(rule, premises, assuming))


def _refuse(message: str) -> NoReturn:
    raise RuleError(message)


def _checked(*theorems: object) -> None:
    """Refuse an input that is no theorem, or one that no rule has finished."""
    for theorem in theorems:
        if type(theorem) is not Theorem or not hasattr(theorem, "assumptions"):
            _refuse(f"a rule takes theorems, not a {type(theorem).__name__}.")


def _plug(term: Term, replaced: tuple[tuple[Path, Theorem], ...]) -> Term:
    """Return the term with the right side of each theorem at its path, where its left side must stand."""
    if len(replaced) == 1 and not replaced[0][0]:
        theorem = replaced[0][1]
        if not alpha_equal(term, theorem.lhs):
            _refuse("congruence: the left side of the theorem does not stand at the path.")
        return theorem.rhs
    children = list(parts(term))
    in_law = len(children) - 1 if isinstance(term, (Expect, Over)) else 0
    below: dict[int, list[tuple[Path, Theorem]]] = {}
    for path, theorem in replaced:
        if not path:
            _refuse("congruence: one place stands inside another.")
        below.setdefault(path[0], []).append((path[1:], theorem))
    for index, inside in below.items():
        if not in_law <= index < len(children):
            _refuse("congruence: the path leads out of the term, or into the law of a bound variable.")
        children[index] = _plug(children[index], tuple(inside))
    return rebuild(term, tuple(children))


def _is_noise(variable: RandomVariable) -> bool:
    return variable.law == UniformLaw(scalar.ZERO, scalar.ONE)


def _latents(term: Term, noise: RandomVariable) -> set[Apply]:
    """Return the latent variables h(u, .) that a noise variable drives in a term."""
    own = {term} if isinstance(term, Apply) and isinstance(term.function, Latent) and term.args[0] == noise else set()
    return own.union(*(_latents(part, noise) for part in parts(term)))


def _stands_at(latent: Apply, law: FiniteLaw) -> bool:
    """Whether h(u, .) decides an outcome of this law: its arguments are what the law stands at, in the order of the law."""
    own = latent.function.law if latent.function == Latent("h", True, getattr(latent.function, "law", None)) else None
    if own is None or len(own.terms) != len(law.terms) or len(own.given) != len(law.given):
        return False
    return own.with_terms(latent.args[1:]) == law


def _replace(term: Term, old: Term, new: Term, *, hard: bool) -> Term:
    """Replace a subterm, refusing where a binder would capture the new one or a law would change under its variable.

    A gradient may hold a hard outcome fixed, which is piecewise constant, but no latent variable; a stop neither, since the law
    of the outcome goes on moving.
    """
    if term == old:
        return new
    if not anywhere(term, lambda part: part == old):
        return term
    moving = parts(term)[:-1] if isinstance(term, Score) else (term,) if isinstance(term, Grad) else ()
    if isinstance(term, Stop) or (not hard and any(anywhere(part, lambda inner: inner == old) for part in moving)):
        _refuse("conditional_reparameterize: the derivative of h(u, .) at fixed noise is no function of the latent variable.")
    if isinstance(term, (Expect, Over)):
        in_law = any(anywhere(part, lambda inner: inner == old) for part in term.variable.law.terms)
        if in_law or term.variable in free(new) | free(old):
            _refuse(f"conditional_reparameterize: the variable {term.variable.name} is bound again inside the expectation.")
    return rebuild(term, tuple(_replace(part, old, new, hard=hard) for part in parts(term)))
