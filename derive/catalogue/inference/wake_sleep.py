"""Wake and sleep: the gradients of an inference network from samples of the model, and from weighted samples of its own."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Over, copies, finite, function, grad, log, p, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
model: RandomVariable = finite("z", law="model")
q: RandomVariable = finite("q", theta, law="q")

sleep: Estimator = Estimator(
    name="sleep-phase",
    formula=-score(q, at=model),
    draws=(model,),
    target=grad(E(log(p(model)) - log(p(q, at=model)), model), theta),
    source="bornschein-2015",
    summary="Minus the score at a sample of the model: the gradient of the forward divergence.",
)

joint: Function = function("J")
outcome: RandomVariable = finite("b", theta)
first: RandomVariable
second: RandomVariable
first, second = copies(outcome, 2)
posterior: Term = grad(-Over(joint(outcome) * log(p(outcome)), outcome) / Over(joint(outcome), outcome), theta)


def weight(sample: RandomVariable) -> Term:
    """Return the weight of a sample: the joint density over that of the inference network."""
    return joint(sample) / p(sample)


wake: Estimator = Estimator(
    name="wake-phase-q",
    formula=-(weight(first) * score(first) + weight(second) * score(second)) / (weight(first) + weight(second)),
    draws=(first, second),
    target=posterior,
    source="bornschein-2015",
    summary="Minus the score at samples of the network itself, with self-normalised weights.",
    verdict="refuted",
)

wake_exact: Estimator = Estimator(
    name="wake-phase-exact-evidence",
    formula=-weight(outcome) / Over(joint(model), model) * score(outcome),
    draws=(outcome,),
    target=posterior,
    source="bornschein-2015",
    summary="The same with the weights over the exact evidence.",
    verdict="checked",
)
