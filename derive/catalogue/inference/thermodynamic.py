"""The thermodynamic variational objective: a mean of log weights under q w^beta, a law between q and the posterior."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, copies, exp, finite, function, grad, log, p, parameter, score, total
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import linearity, score_definition, score_function_estimator

theta: Symbol = parameter("theta")
beta: Symbol = constant("beta")
log_joint: Function = function("log_joint")
q: RandomVariable = finite("b", theta, law="q")


def log_weight(sample: RandomVariable) -> Term:
    """Return the logarithm of the joint density over q."""
    return log_joint(sample) - log(p(sample))


def weight(sample: RandomVariable) -> Term:
    """Return the weight to the power beta."""
    return exp(beta * log_weight(sample))


def covaried(sample: RandomVariable, mean: Term) -> Term:
    """Return what the score is multiplied by: the covariance with the log weight, and the derivative of that weight."""
    return (1 - beta) * (log_weight(sample) - mean) - 1


evidence: Term = E(weight(q), q)
mean: Term = E(weight(q) * log_weight(q), q) / evidence
target: Term = grad(mean, theta)

formula: Term = weight(q) / evidence * covaried(q, mean) * score(q)


def derivation() -> Derivation:
    """Scores of the law and derivatives of the log weight, which is -score, each with the log weight less its mean."""
    w, above = weight(q), log_weight(q) - mean
    of_law, of_weight = E(w * log_weight(q) * score(q), q), E(grad(w * log_weight(q), theta), q)
    of_evidence = E(w * score(q), q) + E(grad(w, theta), q)
    return calc(
        target,
        (linearity, grad(E(w * log_weight(q), q), theta) / evidence - mean * grad(evidence, theta) / evidence),
        (score_function_estimator, (of_law + of_weight) / evidence - mean * of_evidence / evidence),
        (linearity, E(w / evidence * (above * score(q) - (beta * above + 1) * grad(log(p(q)), theta)), q)),
        (score_definition, E(w / evidence * (above * score(q) - (beta * above + 1) * score(q)), q)),
        (linearity, E(formula, q)),
    )


exact: Estimator = Estimator(
    name="thermodynamic-exact-evidence",
    formula=formula,
    draws=(q,),
    target=target,
    where=(("m", mean), ("Z", evidence)),
    source="masrani-2019",
    summary="A covariance of log weight and score under q w^beta, with its normaliser and its mean known.",
    derivation=derivation,
)

first: RandomVariable
second: RandomVariable
first, second = copies(q, 2)
both: Term = weight(first) + weight(second)
sampled: Term = (weight(first) * log_weight(first) + weight(second) * log_weight(second)) / both
self_normalised: Estimator = Estimator(
    name="thermodynamic-self-normalised",
    formula=total(weight(sample) * covaried(sample, sampled) * score(sample) for sample in (first, second)) / both,
    draws=(first, second),
    target=target,
    where=(("m", sampled), ("S", both)),
    source="masrani-2019",
    summary="The same of two samples, which stand for normaliser and mean as well.",
    verdict="refuted",
)
