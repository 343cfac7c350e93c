"""The identities of gradient estimation, as theorems derived from the kernel, and the rewrites that a chain is written with.

Each function returns a theorem for the variable and the terms that it is given; each `Rewrite` applies one inside a line.
"""

from __future__ import annotations

from derive.kernel import theorem as kernel
from derive.kernel.algebra import ZERO
from derive.kernel.premises import EVERYTHING, Assuming, Independent, require
from derive.kernel.theorem import Theorem
from derive.language.errors import PremiseError, RuleError
from derive.language.scope import alpha_equal, depends
from derive.language.term import Density, Expect, Grad, Law, Log, Over, RandomVariable, Score, Symbol, Term
from derive.proofs.calc import calc
from derive.proofs.conversions import Rewrite, folded, subterm


def _unfold_expectation(term: Term, assuming: Assuming) -> Theorem:
    if not isinstance(term, Expect):
        message = "expectation needs an expectation."
        raise RuleError(message)
    return kernel.definition(term, assuming=assuming)


expectation: Rewrite = Rewrite("expectation", _unfold_expectation)
leibniz: Rewrite = Rewrite("leibniz", lambda term, assuming: kernel.leibniz(term, assuming=assuming))
normalisation: Rewrite = Rewrite("normalisation", lambda term, assuming: kernel.normalisation(term, assuming=assuming))
exchange: Rewrite = Rewrite("exchange", lambda term, assuming: kernel.exchange(term, assuming=assuming))
linearity: Rewrite = Rewrite("linearity", lambda term, assuming: kernel.reflexivity(term))
algebra: Rewrite = Rewrite("algebra", lambda term, assuming: kernel.reflexivity(term))
reflection: Rewrite = Rewrite("reflection", lambda term, assuming: kernel.reflect(term))
normal_score: Rewrite = Rewrite("normal_score", lambda term, assuming: kernel.normal_score(term, assuming=assuming))
chain_rule: Rewrite = Rewrite("chain", lambda term, assuming: kernel.chain(term, assuming=assuming))
value_of_stop: Rewrite = Rewrite("value_of_stop", lambda term, assuming: kernel.stopped_value(term))
outcomes: Rewrite = Rewrite("outcomes", lambda term, assuming: kernel.outcomes(term, assuming=assuming))
product_rule: Rewrite = Rewrite("product_rule", lambda term, assuming: kernel.differentiate(term, assuming=assuming))


def log_derivative(law: Law, at: Term, theta: Symbol, *, assuming: Assuming = EVERYTHING) -> Theorem:
    """The derivative of a density is the density times the score.

    Premises
        Differentiable(p(at), theta)
    Conclusion
        premise |- d/dtheta p(at) = p(at) score(at)
    Fails
        RuleError, if the point moves with theta; PremiseError, if the density is not differentiable.
    Source
        williams-1992; mohamed-2020, section 4.1

    >>> from derive.notation import finite, parameter
    >>> theta = parameter("theta")
    >>> b = finite("b", theta)
    >>> [premise.name for premise in log_derivative(b.law, b, theta).assumptions]
    ['Differentiable']
    """
    density, score = Density(law, at), Score(law, at, theta)
    unfolded = kernel.definition(score, assuming=assuming)
    inside = kernel.differentiate(unfolded.rhs, assuming=assuming)
    product = kernel.congruence(density * score, ((1,), kernel.transitivity(unfolded, inside)))
    cancelled = kernel.algebra(product.rhs, Grad(density, theta), assuming=assuming)
    return kernel.symmetry(kernel.transitivity(product, cancelled))


def _rewrite_log_derivative(term: Term, assuming: Assuming) -> Theorem:
    match term:
        case Grad(Density(law, at), theta):
            return log_derivative(law, at, theta, assuming=assuming)
    message = "log_derivative needs the gradient of a density."
    raise RuleError(message)


def _rewrite_score(term: Term, assuming: Assuming) -> Theorem:
    match term:
        case Grad(Log(Density(law, at)), theta):
            return kernel.symmetry(kernel.definition(Score(law, at, theta), assuming=assuming))
    message = "score needs the gradient of the logarithm of a density."
    raise RuleError(message)


score_definition: Rewrite = Rewrite("score", _rewrite_score)
log_derivative_trick: Rewrite = Rewrite("log_derivative", _rewrite_log_derivative)


def zero_mean_score(b: RandomVariable, theta: Symbol, *, assuming: Assuming = EVERYTHING) -> Theorem:
    """The score of a normalised density has mean zero.

    Premises
        SupportFixed(b, theta), Normalised(b), Differentiable(p(b), theta), Dominated(b, p(b), theta)
    Conclusion
        premises |- E_b[score(b)] = 0
    Fails
        PremiseError, if a premise fails: a support that moves, a density that is not normalised.
    Source
        williams-1992; mohamed-2020, section 4.1

    >>> from derive.notation import parameter, uniform
    >>> theta = parameter("theta")
    >>> zero_mean_score(uniform("x", 0, theta), theta)
    Traceback (most recent call last):
    ...
    derive.language.errors.PremiseError: step 3 (leibniz) is refused: leibniz refuses: SupportFixed fails, because the bounds \
of the uniform law of x move with theta.
    """
    density, score = Density(b.law, b), Score(b.law, b, theta)
    return calc(
        Expect(score, b),
        (expectation, Over(density * score, b)),
        (log_derivative_trick, Over(Grad(density, theta), b)),
        (leibniz, Grad(Over(density, b), theta)),
        (normalisation, ZERO),
        assuming=assuming,
    ).theorem


def score_function(body: Term, b: RandomVariable, theta: Symbol, *, assuming: Assuming = EVERYTHING) -> Theorem:
    """The gradient of an expectation is the expectation of the integrand times the score, plus that of its own gradient.

    Premises
        SupportFixed(b, theta), Differentiable(p(b) body, theta), Dominated(b, p(b) body, theta)
    Conclusion
        premises |- d/dtheta E_b[body] = E_b[body score(b)] + E_b[d/dtheta body]
    Fails
        PremiseError, if a premise fails.
    Source
        williams-1992; mohamed-2020, section 4.2
    """
    density, score = Density(b.law, b), Score(b.law, b, theta)
    own = (Grad(body, theta),) if depends(body, theta) else ()
    own_sum = [Over(density * one, b) for one in own]
    mean, moments = Expect(body, b), [Expect(one, b) for one in (body * score, *own)]
    opened = calc(
        Grad(mean, theta),
        (_unfolding(mean), Grad(Over(density * body, b), theta)),
        (leibniz, _sum(Over(Grad(density, theta) * body, b), *own_sum)),
        (log_derivative_trick, _sum(Over(density * score * body, b), *own_sum)),
        assuming=assuming,
    ).theorem
    return folded(opened, _sum(*moments), _unfolding(*moments), assuming)


def _unfolding(*wanted: Term) -> Rewrite:
    """The rewrite of these expectations as sums or integrals: those inside of them stay."""

    def rewrite(term: Term, assuming: Assuming) -> Theorem:
        if term not in wanted:
            message = "another expectation is unfolded."
            raise RuleError(message)
        return kernel.definition(term, assuming=assuming)

    return Rewrite("expectation", rewrite)


def _sum(first: Term, *others: Term) -> Term:
    for other in others:
        first = first + other
    return first


def control_variate_correction(
    body: Term, control: Term, b: RandomVariable, theta: Symbol, *, assuming: Assuming = EVERYTHING
) -> Theorem:
    """A control variate that depends on the sample is unbiased with the gradient of its mean added back.

    Premises
        those of `score_function`, for the integrand and the control variate
    Conclusion
        premises |- d/dtheta E_b[f(b)] = E_b[(f(b) - C(b)) score(b)] + d/dtheta E_b[C(b)]
    Fails
        PremiseError, if a premise fails; RuleError, if the integrand or control variate depends on theta.
    Source
        paisley-2012; tucker-2017, section 2
    """
    score = Score(b.law, b, theta)
    correction = Grad(Expect(control, b), theta)
    return calc(
        Grad(Expect(body, b), theta),
        (algebra, Grad(Expect(body, b), theta) - correction + correction),
        (score_function_estimator, Expect(body * score, b) - Expect(control * score, b) + correction),
        (linearity, Expect((body - control) * score, b) + correction),
        assuming=assuming,
    ).theorem


def zero_mean_baseline(baseline: Term, b: RandomVariable, theta: Symbol, *, assuming: Assuming = EVERYTHING) -> Theorem:
    """A baseline that does not depend on the sample adds nothing to the mean.

    Premises
        Independent(c, b), and those of `zero_mean_score`
    Conclusion
        premises |- E_b[c score(b)] = 0
    Fails
        PremiseError, if the baseline depends on the sample: it then needs `control_variate_correction`.
    Source
        williams-1992
    """
    require("zero_mean_baseline", [Independent(baseline, b)], assuming)
    score = Score(b.law, b, theta)
    return calc(
        Expect(baseline * score, b),
        (linearity, baseline * Expect(score, b)),
        (mean_score, ZERO),
        assuming=assuming,
    ).theorem


def pathwise(term: Term, *, assuming: Assuming = EVERYTHING) -> Theorem:
    """Differentiate under an expectation over noise whose law does not depend on the parameter.

    Premises
        Independent(law, theta), Differentiable(body, theta), Dominated(noise, p(noise) body, theta)
    Conclusion
        premises |- d/dtheta E_u[body] = E_u[d/dtheta body]
    Fails
        PremiseError, if the law moves with theta, or the body jumps: a threshold, a rounding, a sort.
    Source
        kingma-2014, section 2.4; mohamed-2020, section 5
    """
    match term:
        case Grad(Expect(body, u), theta):
            if any(depends(part, theta) for part in u.law.terms):
                message = f"pathwise refuses: Independent fails, because the law of {u.name} depends on {theta.name}."
                raise PremiseError(message)
            density, moved = Density(u.law, u), Expect(Grad(body, theta), u)
            opened = calc(
                term,
                (_unfolding(term.body), Grad(Over(density * body, u), theta)),
                (leibniz, Over(density * Grad(body, theta), u)),
                assuming=assuming,
            ).theorem
            return folded(opened, moved, _unfolding(moved), assuming)
    message = "pathwise needs the gradient of an expectation."
    raise RuleError(message)


def conditional_marginalization(
    term: Term, outcome: RandomVariable, noise: RandomVariable, *, assuming: Assuming = EVERYTHING
) -> Theorem:
    """REBAR's step: the gradient of a relaxed expectation, with the latent variable drawn given its outcome.

    Premises
        ConditionalReparameterization(b, H, h_tilde, h), those of `score_function` for the outcome, and of `pathwise` for v
    Conclusion
        premises |- d E_u[c(h(u, .))] = E_b[E_v[c(h_tilde(v, b, .))] score(b)] + E_b[E_v[d c(h_tilde(v, b, .))]]
    Fails
        RuleError, if the term is no gradient of an expectation over relaxed noise; PremiseError, if a premise fails.
    Source
        tucker-2017, section 3
    """
    if not isinstance(term, Grad):
        message = "conditional_marginalization needs the gradient of an expectation."
        raise RuleError(message)
    theta = term.parameter
    given = kernel.conditional_reparameterize(term.body, outcome, noise, assuming=assuming)
    inner = subterm(given.rhs, (len(outcome.law.terms),))
    score, swapped = Score(outcome.law, outcome, theta), _grad_inside(inner, theta)
    return calc(
        term,
        (conditional_reparameterization(outcome, noise), Grad(given.rhs, theta)),
        (score_function_estimator, Expect(inner * score, outcome) + Expect(Grad(inner, theta), outcome)),
        (pathwise_gradient, Expect(inner * score, outcome) + Expect(swapped, outcome)),
        assuming=assuming,
    ).theorem


def _grad_inside(term: Term, theta: Symbol) -> Term:
    if not isinstance(term, Expect):
        message = "conditional_marginalization needs an integrand that depends on the latent variable."
        raise RuleError(message)
    return Expect(Grad(term.body, theta), term.variable)


def _rewrite_zero_mean(term: Term, assuming: Assuming) -> Theorem:
    match term:
        case Expect(Score(law, at, theta), b) if at == b and law == b.law:
            return zero_mean_score(b, theta, assuming=assuming)
    message = "zero_mean_score needs the expectation of the score."
    raise RuleError(message)


def _rewrite_score_function(term: Term, assuming: Assuming) -> Theorem:
    match term:
        case Grad(Expect(body, b), theta) if any(depends(part, theta) for part in b.law.terms):
            return score_function(body, b, theta, assuming=assuming)
    message = "score_function needs the gradient of an expectation whose law depends on the parameter."
    raise RuleError(message)


mean_score: Rewrite = Rewrite("zero_mean_score", _rewrite_zero_mean)
score_function_estimator: Rewrite = Rewrite("score_function", _rewrite_score_function)
pathwise_gradient: Rewrite = Rewrite("pathwise", lambda term, assuming: pathwise(term, assuming=assuming))


def known(name: str, theorem: Theorem) -> Rewrite:
    """The rewrite of the right side of a theorem into its left side: of the mean of an estimator into its target, say."""

    def rewrite(term: Term, assuming: Assuming) -> Theorem:
        if not alpha_equal(term, theorem.rhs):
            message = f"{name} needs the right side of its theorem."
            raise RuleError(message)
        return kernel.symmetry(theorem)

    return Rewrite(name, rewrite)


def reparameterization(noise: RandomVariable) -> Rewrite:
    """The rewrite of a normal variable as loc + scale * noise."""
    return Rewrite("reparameterization", lambda term, assuming: kernel.reparameterize(term, noise, assuming=assuming), (noise,))


def change_of_law(variable: RandomVariable) -> Rewrite:
    """The rewrite that draws a variable of another law, and weights by the ratio of the densities."""
    return Rewrite("change_of_law", lambda term, assuming: kernel.change_of_law(term, variable, assuming=assuming), (variable,))


def conditional_reparameterization(outcome: RandomVariable, noise: RandomVariable) -> Rewrite:
    """The rewrite that draws the outcome first and the latent variable given it."""
    return Rewrite(
        "conditional_reparameterization",
        lambda term, assuming: kernel.conditional_reparameterize(term, outcome, noise, assuming=assuming),
        (outcome, noise),
    )


def marginalization(outcome: RandomVariable, noise: RandomVariable) -> Rewrite:
    """The rewrite by `conditional_marginalization`."""
    return Rewrite(
        "conditional_marginalization",
        lambda term, assuming: conditional_marginalization(term, outcome, noise, assuming=assuming),
        (outcome, noise),
    )
