"""Groups of samples of one prompt: what is subtracted from each reward, and what it is divided by."""

from collections.abc import Callable
from dataclasses import replace

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, copies, exp, finite, function, grad, log, p, parameter, score, total
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.samples.statistic import Samples, samples

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
r: Function = function("r")
target: Term = grad(E(r(b), b), theta)


def group(samples: int, advantage: Callable[[Term, Term, Term], Term]) -> tuple[tuple[RandomVariable, ...], Term]:
    """Return the samples of a group, and the mean of advantage times score; an advantage is of reward, mean and variance."""
    drawn = copies(b, samples)
    mean = total(r(sample) for sample in drawn) / samples
    spread = total((r(sample) - mean) ** 2 for sample in drawn) / samples
    return drawn, total(advantage(r(sample), mean, spread) * score(sample) for sample in drawn) / samples


_two, _divided = group(2, lambda reward, mean, spread: (reward - mean) * exp(-log(spread + constant("epsilon")) / 2))
grpo: Estimator = Estimator(
    name="grpo",
    formula=_divided,
    draws=_two,
    target=target,
    source="shao-2024",
    summary="The mean of the group is subtracted, and the deviation of the group divides: of three rewards no gradient at all.",
    verdict="refuted",
)

each: Samples = samples(b, "G")
dr_grpo: Estimator = each.estimator(
    "dr-grpo",
    each.mean(lambda x: (r(x) - each.mean(r)) * score(x)),
    target,
    source="liu-2025",
    summary="The mean of the group, own reward included, is subtracted: (G - 1)/G times the gradient.",
    verdict="scaled",
)

greedy: Symbol = constant("greedy")
remax: Estimator = Estimator(
    name="remax",
    formula=(r(b) - r(greedy)) * score(b),
    draws=(b,),
    target=target,
    source="li-2023",
    summary="The reward of the greedy outcome is the baseline: any outcome that is not drawn will do.",
)

length: Function = function("L")
one: RandomVariable
two: RandomVariable
one, two = copies(b, 2)
_weighted: Term = (length(one) * r(one) + length(two) * r(two)) / (length(one) + length(two))
opo: Estimator = Estimator(
    name="opo",
    formula=((r(one) - _weighted) * score(one) + (r(two) - _weighted) * score(two)) / 2,
    draws=(one, two),
    target=target,
    source="hao-2025",
    summary="The rewards of the group weighted by length are the baseline, own reward included.",
    verdict="refuted",
)

length_normalised: Estimator = Estimator(
    name="length-normalised",
    formula=r(b) * score(b) / length(b),
    draws=(b,),
    target=target,
    source="liu-2025",
    summary="Each sample is divided by its own length: the gradient of another reward.",
    verdict="refuted",
)

log_joint: Function = function("log_joint")
q: RandomVariable = finite("b", theta, law="q")
proposals: Samples = samples(q)


def log_weight(sample: RandomVariable) -> Term:
    """The logarithm of q over the joint density."""
    return log(p(sample)) - log_joint(sample)


_spread: Term = proposals.mean(lambda sample: (log_weight(sample) - proposals.mean(log_weight)) ** 2)
_of_any_number: Estimator = proposals.estimator(
    "vargrad",
    grad(proposals.number / (proposals.number - 1) * _spread / 2, theta),
    grad(E(log_weight(q), q), theta),
    source="richter-2020",
    summary="Half the variance of the log weight, differentiated at samples that are held fixed.",
)
first: RandomVariable
second: RandomVariable
first, second = copies(q, 2)
vargrad: Estimator = replace(
    _of_any_number,
    formula=grad((log(p(first)) - log_joint(first) - log(p(second)) + log_joint(second)) ** 2 / 4, theta),
    draws=(first, second),
)

_success: Term = E(r(b), b)
_scored: Term = r(one) * score(one) * (1 - r(two) / 2) + r(two) * score(two) * (1 - r(one) / 2)
maxrl: Estimator = Estimator(
    name="maxrl",
    formula=_scored,
    draws=(one, two),
    target=grad(_success + (1 - (1 - _success) ** 2) / 2, theta),
    source="tajwar-2026",
    summary="For rewards 0 and 1 the mean score of the successes of two samples: the gradient of pass@1 + pass@2 / 2.",
)

maxrl_for_log: Estimator = replace(
    maxrl,
    name="maxrl-for-log",
    target=grad(log(_success), theta),
    summary="The same taken for the gradient of the log of the chance of success, of which it has the first two terms.",
    verdict="refuted",
)
