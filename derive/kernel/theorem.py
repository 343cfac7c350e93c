"""The kernel: what a theorem is, and the twenty rules that can make one. TRUSTED.

    reflexivity(term)                    term = term
    symmetry(theorem)                    from a = b: b = a
    transitivity(first, second)          from a = b and b = c: a = c
    congruence(term, (path, theorem), ...)
                                         from a = b: term with a at the path = term with b there
    algebra(left, right)                 equal rational functions of their atoms
    assume(left, right)                  left = right |- left = right
    definition(term)                     E over b = sum of p(b) times it;  score = d log p
    differentiate(term)                  d of sums, products, powers, log, exp, sigmoid
    chain(term)                          d of f(x) = f'(x) times d of x
    linearity(term)                      E or sum of a sum; factors without the variable move out
    leibniz(term)                        d of a sum or integral = sum or integral of d
    normalisation(term)                  the sum of p(b) is 1
    exchange(term)                       E over a of E over b = E over b of E over a
    reparameterize(term, noise)          E over z ~ Normal(loc, scale) = E over noise at loc + scale * noise
    conditional_reparameterize(term, outcome, noise)
                                         E over u at z = h(u), b = H(z) = E over b of E over v at z = h_tilde(v, b)
    change_of_law(term, variable)        E over b ~ q of x(b) = E over a ~ p of q(a) / p(a) times x(a)
    reflect(term)                        E over z = E at its mirror image: -z of a standard normal, 1 - u of a unit uniform
    normal_score(term)                   the derivative of the logarithm of a normal density, written out
    stopped_value(term)                  stop(x) = x, in value only
    outcomes(term)                       E over an explicit finite law = sum of its probabilities times x at its values

A theorem `assumptions |- lhs = rhs` says: on every open set of values of the free symbols on which the assumptions hold and
both sides have a value, for every value of the random variables, both sides are equal, and so are their derivatives. An
assumption that speaks of a random variable is made for all its values. A term is read at two values of each symbol, one that
moves and one at which `Stop` takes it; `Grad` is the derivative in the first. A theorem that is marked `values_only` claims the
equality where both are one value, and nothing of derivatives. Both sides are well scoped
(`derive.language.scope.scoped`), so that one variable is one value. Each rule consults its premises
(`derive.kernel.premises`), refuses by name where one fails, and records itself and its inputs, so that `derive.kernel.recheck`
can replay it. Nothing but a rule makes a theorem: that stops accidents, not malice. `object.__new__` forges one, and `recheck`
finds it.
"""

from __future__ import annotations

from collections.abc import Callable

from derive.kernel import algebra as scalar
from derive.kernel.judgement import KEY, Equation, Path, Theorem, checked, concluded, only_in_value, plugged, refuse
from derive.kernel.latents import drawn_after
from derive.kernel.laws import at_outcomes, changed, derivative_of_log_normal, mirrored, split_mean
from derive.kernel.premises import (
    Assuming,
    Differentiable,
    Dominated,
    Independent,
    JointlyIntegrable,
    Normalised,
    Positive,
    Premise,
    SupportFixed,
    defined,
)
from derive.language.errors import ScopeError
from derive.language.scope import alpha_equal, depends, substitute
from derive.language.term import (
    Apply,
    Density,
    Expect,
    Function,
    Grad,
    Log,
    NormalLaw,
    Over,
    RandomVariable,
    Score,
    Slope,
    Stop,
    Term,
)

__all__ = [
    "RULES",
    "Equation",
    "Theorem",
    "algebra",
    "assume",
    "chain",
    "change_of_law",
    "conditional_reparameterize",
    "congruence",
    "definition",
    "differentiate",
    "exchange",
    "leibniz",
    "linearity",
    "normal_score",
    "normalisation",
    "outcomes",
    "reflect",
    "reflexivity",
    "reparameterize",
    "stopped_value",
    "symmetry",
    "transitivity",
]

_NOTHING: frozenset[Premise] = frozenset()


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
    return Theorem(KEY, term, term, "reflexivity", (term,), ())


def symmetry(theorem: Theorem) -> Theorem:
    """Swap the sides.

    Premises
        G |- a = b
    Conclusion
        G |- b = a
    Source
        equality
    """
    checked(theorem)
    swapped = theorem.rhs, theorem.lhs
    return Theorem(KEY, *swapped, "symmetry", (theorem,), theorem.assumptions, values_only=theorem.values_only)


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
    checked(first, second)
    if not alpha_equal(first.rhs, second.lhs):
        refuse("transitivity needs the right side of the first theorem to be the left side of the second.")
    assumptions, values_only = first.assumptions | second.assumptions, first.values_only or second.values_only
    return Theorem(KEY, first.lhs, second.rhs, "transitivity", (first, second), assumptions, values_only=values_only)


def congruence(term: Term, *replaced: tuple[Path, Theorem]) -> Theorem:
    """Replace equals by equals at some places of a term, under binders and gradients too.

    Free variables of a theorem stand for every value, so a binder of the term may bind them. An equality of values only holds
    of the whole term in value only, and in full under a stop, which takes the value of what it stops.

    Premises
        G |- a = b, for each place; the term has a at the path (numbers of `parts`), and no path leads through another place
    Conclusion
        G |- term[a] = term[b], with the assumptions of all
    Fails
        RuleError, if something else stands at a path, it leads into the law of a bound variable, or an equality of values only
        would stand where a derivative is taken.
    Source
        equality
    """
    checked(*(theorem for _, theorem in replaced))
    assumptions = frozenset[Premise | Equation]().union(*(theorem.assumptions for _, theorem in replaced))
    new = plugged(term, replaced)
    weak = [theorem.values_only and only_in_value(term, path) for path, theorem in replaced]
    return Theorem(KEY, term, new, "congruence", (term, *replaced), assumptions, values_only=any(weak))


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
            refuse("algebra: the two sides are not the same rational function of their atoms.")
        factors = (factor for side in (left, right) for factor in scalar.factors_of_logarithms(side))
        premises += [*defined(*split), *map(Positive, factors)]
    return concluded(left, right, "algebra", (left, right), premises, assuming)


def assume(left: Term, right: Term) -> Theorem:
    """Assume an equation; it stays left of the turnstile of whatever is derived from it.

    Premises
        none
    Conclusion
        left = right |- left = right
    Source
        equality
    """
    return Theorem(KEY, left, right, "assume", (left, right), (Equation(left, right),))


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
            return concluded(term, Over(Density(variable.law, variable) * body, variable), "definition", (term,), (), assuming)
        case Score(law, at, parameter) if not depends(at, parameter):
            unfolded = Grad(Log(Density(law, at)), parameter)
            return concluded(term, unfolded, "definition", (term,), [Positive(Density(law, at))], assuming)
    refuse(f"definition unfolds an expectation, or a score at a fixed point, not a {type(term).__name__}.")


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
            return concluded(term, result, "differentiate", (term,), [Differentiable(body, parameter)], assuming)
        case Grad(body, parameter):
            result = scalar.derivative(body, parameter)
            premises = [] if result == term else [Differentiable(body, parameter)]
            return concluded(term, result, "differentiate", (term,), premises, assuming)
    refuse(f"differentiate needs a gradient, not a {type(term).__name__}.")


def chain(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """The derivative of a function of what moves is its slope there times the derivative of that.

    Premises
        Differentiable(f(x), theta), and so of x
    Conclusion
        premise |- d/dtheta f(x) = f'(x) d/dtheta x
    Fails
        RuleError, if the term is no gradient of a function of one argument that has a slope.
        PremiseError, if x jumps.
    Source
        the chain rule

    >>> from derive.notation import function, grad, parameter
    >>> theta, f = parameter("theta"), function("f", differentiable=True)
    >>> print(chain(grad(f(theta**2), theta)).rhs)
    f'(theta^2) * d_theta (theta^2)
    """
    match term:
        case Grad(Apply(Function() as function, (x,)) as body, theta) if type(function) in (Function, Slope):
            slope = function.slope if function.differentiable or isinstance(function, Slope) else None
            if slope is not None:
                smooth = [Differentiable(body, theta)]
                return concluded(term, slope(x) * Grad(x, theta), "chain", (term,), smooth, assuming)
    refuse("chain needs the gradient of a function of one argument that is declared as differentiable.")


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
        refuse(f"linearity needs an expectation, a sum or an integral, not a {type(term).__name__}.")
    summands, premises = split_mean(term)
    result = scalar.added(summands)
    if len(summands) < 2 and scalar.equal(result, term):  # the mean of a sum is no sum of means of products
        return algebra(term, result, assuming=assuming)
    return concluded(term, result, "linearity", (term,), premises, assuming)


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
            return concluded(term, Over(Grad(body, parameter), variable), "leibniz", (term,), swap, assuming)
    refuse("leibniz needs the gradient of a sum or integral.")


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
            return concluded(term, scalar.ONE, "normalisation", (term,), [Normalised(variable)], assuming)
    refuse("normalisation needs the sum or integral of the density of its own variable.")


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
            return concluded(term, Expect(Expect(body, outer), inner), "exchange", (term,), premises, assuming)
    refuse("exchange needs an expectation of an expectation over another variable.")


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
                refuse(f"reparameterize needs unused standard normal noise; {noise.name} is not.")
            try:
                moved = Expect(substitute(body, {z: loc + scale * noise}), noise)
            except ScopeError as error:
                refuse(f"reparameterize: {error}")
            return concluded(term, moved, "reparameterize", (term, noise), [Normalised(z)], assuming)
    refuse("reparameterize needs an expectation over a normal law.")


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
    result, premise = drawn_after(term, outcome, noise)
    return concluded(term, result, "conditional_reparameterize", (term, outcome, noise), [premise], assuming)


def change_of_law(term: Term, variable: RandomVariable, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Draw from another law, and weight by the ratio of the densities.

    Premises
        Normalised(a), Covers(p(a), q(a)): p is positive wherever q is
        SupportFixed(a, theta), if a stop stands in one of the laws, for both laws and all of their parameters
        what x(a) needs to have a value, where p is positive and q may not be: NonZero, Positive, Differentiable, Integrable
    Conclusion
        premises |- E_b[x(b)] = E_a[q(a) / p(a) x(a)], b ~ q, a ~ p
    Fails
        RuleError, if the term is no expectation, the new variable is used in it or depends on the old one, or one law is
        finite and the other one continuous; PremiseError, if the new law does not cover the old one.
    Source
        owen-2013, section 9.1

    >>> from derive.notation import E, function, normal, uniform
    >>> z, u, f = normal("z"), uniform("u"), function("f")
    >>> change_of_law(E(f(u), u), z).assumptions
    frozenset()
    >>> change_of_law(E(f(z), z), u)
    Traceback (most recent call last):
    ...
    derive.language.errors.PremiseError: change_of_law refuses: Covers fails, because a uniform law does not cover a normal one.
    """
    match term:
        case Expect():
            moved, premises = changed(term, variable)
            return concluded(term, moved, "change_of_law", (term, variable), premises, assuming)
    refuse("change_of_law needs an expectation.")


def reflect(term: Term) -> Theorem:
    """Put the mirror image of a normal or uniform variable in its place: both have one law.

    Premises
        none
    Conclusion
        |- E_z[x(z)] = E_z[x(2 loc - z)], or E_u[x(u)] = E_u[x(low + high - u)]
    Fails
        RuleError, if the term is no expectation over a normal or uniform law, or x holds the variable fixed where its mirror
        image moves: under a gradient, a stop, or in the law of a score.
    Source
        owen-2013, section 8.2

    >>> from derive.notation import E, function, normal
    >>> z, f = normal("z"), function("f")
    >>> reflect(E(f(z), z)).rhs == E(f(-z), z)
    True
    """
    match term:
        case Expect(body, variable) if (image := mirrored(variable)) is not None:
            try:
                return Theorem(KEY, term, Expect(substitute(body, {variable: image}), variable), "reflect", (term,), ())
            except ScopeError as error:
                refuse(f"reflect: {error}")
    refuse("reflect needs an expectation over a normal or uniform law.")


def normal_score(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Write out the score of a normal law, or the derivative of the logarithm of its density at a point that moves.

    Premises
        Positive(scale), Differentiable(loc, theta), Differentiable(scale, theta), and Differentiable(at, theta) where it moves
    Conclusion
        premises |- score(at) = (at - loc) / scale^2 dloc + ((at - loc)^2 / scale^3 - 1 / scale) dscale          or
        premises |- d/dtheta log p(at) = that - (at - loc) / scale^2 dat
    Fails
        RuleError, if the term is no score of a normal law, and no derivative of the logarithm of its density; PremiseError, if
        the scale may not be positive.
    Source
        the density of the normal law

    >>> from derive.notation import normal, parameter, score
    >>> theta, z = parameter("theta"), normal("z", parameter("theta"))
    >>> scalar.equal(normal_score(score(z)).rhs, z - theta)
    True
    """
    match term:
        case Score(NormalLaw() as law, at, parameter):
            moving: Term = scalar.ZERO
        case Grad(Log(Density(NormalLaw() as law, at)), parameter):
            moving = at
        case _:
            refuse("normal_score needs the score of a normal law, or the derivative of the logarithm of its density.")
    result = derivative_of_log_normal(law, at, moving, parameter)
    smooth = (Differentiable(part, parameter) for part in (law.loc, law.scale, moving))
    return concluded(term, result, "normal_score", (term,), [Positive(law.scale), *smooth], assuming)


def stopped_value(term: Term) -> Theorem:
    """What is stopped has the value that it had; its derivative is another.

    Premises
        none
    Conclusion
        |- stop(x) = x, in value only
    Fails
        RuleError, if the term is no stop.
    Source
        foerster-2018, section 3

    >>> from derive.notation import constant, stop
    >>> stopped_value(stop(constant("x"))).values_only
    True
    """
    match term:
        case Stop(body):
            return Theorem(KEY, term, body, "stopped_value", (term,), (), values_only=True)
    refuse("stopped_value needs a stop.")


def outcomes(term: Term, *, assuming: Assuming = _NOTHING) -> Theorem:
    """Write out an explicit finite law, number by number.

    Premises
        Normalised(b), for a mean: the probabilities sum to one, and are NotNegative; Positive(p(v)), for a score
    Conclusion
        premises |- E_b[x(b)] = sum of p(v) x(v); sum over b of x(b) = sum of x(v); the probability and the score of v
    Fails
        RuleError, if the term is none of these; PremiseError, if it is no law.
    Source
        definition of an expectation
    """
    result, premises = at_outcomes(term)
    return concluded(term, result, "outcomes", (term,), premises, assuming)


RULES: dict[str, Callable[..., Theorem]] = {name: globals()[name] for name in __all__ if name.islower()}
