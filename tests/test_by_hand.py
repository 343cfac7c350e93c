"""The verdicts of the catalogue against computations that share nothing with it: formulas as the papers state them, enumerated.

Laws are softmax families in theta with random coefficients; derivatives are numerical, with 30 digits.
"""

from __future__ import annotations

import random

import pytest
from mpmath import diff, exp, log, mp, mpf, sqrt

from derive.catalogue import catalogue

AT = mpf(3) / 10
RANDOM = random.Random(7)
BIT, THREE = range(2), range(3)


def number():
    return mpf(RANDOM.randint(-9, 9)) / 7


def numbers(*shape):
    return [numbers(*shape[1:]) for _ in range(shape[0])] if shape else number()


def d(function, order=1):
    with mp.workdps(30):
        return diff(function, AT, order)


class Family:
    """Probabilities p(k, theta) of the outcomes 0, 1, ..., with their scores."""

    def __init__(self, outcomes):
        self.outcomes, self.coefficients = range(outcomes), numbers(outcomes, 3)
        self.now = [self(k, AT) for k in self.outcomes]
        self.score = [d(lambda t, k=k: log(self(k, t))) for k in self.outcomes]
        self.slope = [d(lambda t, k=k: log(self(k, t)), 2) for k in self.outcomes]

    def __call__(self, k, t):
        weights = [exp(a + b * t + c * t**2 / 2) for a, b, c in self.coefficients]
        return weights[k] / sum(weights)

    def mean(self, of):
        return sum(self.now[k] * of(k) for k in self.outcomes)

    def mean_of_pairs(self, of):
        return self.mean(lambda a: self.mean(lambda b: of(a, b)))

    def mean_of_triples(self, of):
        return self.mean(lambda a: self.mean_of_pairs(lambda b, c: of(a, b, c)))

    def gradient(self, of, order=1):
        """Return the derivative of the mean of a function of the outcome and theta."""
        return d(lambda t: sum(self(k, t) * of(k, t) for k in self.outcomes), order)


P, X, Y, FIRST, SECOND = Family(3), Family(2), Family(2), Family(2), [Family(2), Family(2)]
S, C, TAU, LAMBDA, V0 = P.score, number(), number(), number(), number()
f, r, baseline, joint = numbers(3), numbers(3), numbers(3), numbers(3)
length, positive = ([1 + abs(each) for each in numbers(3)] for _ in range(2))
ref, mu, values = ([mpf(each) / 10 for each in row] for row in ((2, 5, 3), (3, 3, 4), (-10, 5, 20)))
ratio = [P.now[k] / mu[k] for k in THREE]
h, r0, r1, v1, q1, f2, g2 = (numbers(*shape) for shape in ((2, 2), (2,), (2, 2), (2,), (2, 2), (2,), (2,)))
mu0, mu1 = [mpf(4) / 10, mpf(6) / 10], [[mpf(1) / 4, mpf(3) / 4], [mpf(2) / 3, mpf(1) / 3]]
world = [[mpf(3) / 10, mpf(7) / 10], [mpf(6) / 10, mpf(4) / 10]]
T, T_R, T_2 = P.gradient(lambda k, _: f[k]), P.gradient(lambda k, _: r[k]), P.gradient(lambda k, _: f[k], 2)
REVERSE = P.gradient(lambda k, t: log(P(k, t) / ref[k]))
FORWARD = d(lambda t: sum(ref[k] * log(ref[k] / P(k, t)) for k in THREE))
ENTROPY = P.gradient(lambda k, t: r[k] - TAU * log(P(k, t)))
BASELINE = P.gradient(lambda k, _: baseline[k])


def k1(k, t):
    return log(P(k, t) / ref[k])


def k3(k, t):
    return ref[k] / P(k, t) - 1 + log(P(k, t) / ref[k])


def of_others(of):
    """Mean over an action of another policy, and the next action after it."""
    return sum(mu0[a] * mu1[a][b] * of(a, b) for a in BIT for b in BIT)


def of_steps(of):
    """Mean over an action, the state that it leads to, and the action there."""
    return sum(FIRST.now[a] * world[a][s] * SECOND[s].now[b] * of(a, s, b) for a in BIT for s in BIT for b in BIT)


T_OTHERS = d(lambda t: sum(FIRST(a, t) * SECOND[a](b, t) * (r0[a] + r1[a][b]) for a in BIT for b in BIT))
T_STEPS = d(lambda t: sum(
    FIRST(a, t) * world[a][s] * SECOND[s](b, t) * (r0[a] + r1[s][b]) for a in BIT for s in BIT for b in BIT
))  # fmt: skip
T_H = d(lambda t: sum(X(a, t) * Y(b, t) * h[a][b] for a in BIT for b in BIT))
VALUE = [sum(SECOND[s].now[b] * r1[s][b] for b in BIT) for s in BIT]
s0, s1 = FIRST.score, [family.score for family in SECOND]
w0 = [FIRST.now[a] / mu0[a] for a in BIT]
w1 = [[SECOND[a].now[b] / mu1[a][b] for b in BIT] for a in BIT]


def of_bits(of):
    return X.mean(lambda a: Y.mean(lambda b: of(a, b)))


def grpo(a, b):
    mean = (r[a] + r[b]) / 2
    deviation = sqrt(((r[a] - mean) ** 2 + (r[b] - mean) ** 2) / 2 + mpf(1) / 10)
    return ((r[a] - mean) * S[a] + (r[b] - mean) * S[b]) / deviation / 2


def opo(a, b):
    mean = (length[a] * r[a] + length[b] * r[b]) / (length[a] + length[b])
    return ((r[a] - mean) * S[a] + (r[b] - mean) * S[b]) / 2


def fitted(a, b):
    mean, other = (f[a] + f[b]) / 2, (baseline[a] + baseline[b]) / 2
    covariance = (f[a] - mean) * (baseline[a] - other) + (f[b] - mean) * (baseline[b] - other)
    beta = covariance / ((baseline[a] - other) ** 2 + (baseline[b] - other) ** 2 + mpf(1) / 5)
    return ((f[a] - beta * baseline[a]) * S[a] + (f[b] - beta * baseline[b]) * S[b]) / 2 + beta * BASELINE


def fitted_elsewhere(a, b):
    beta = f[b] * baseline[b] / (baseline[b] ** 2 + mpf(1) / 5)
    return (f[a] - beta * baseline[a]) * S[a] + beta * BASELINE


def slope(k):
    """Of C x + TAU x^2 at an outcome."""
    return C + 2 * TAU * values[k]


def softmax(t):
    weights = [exp(t), exp(C), exp(TAU)]
    return [weight / sum(weights) for weight in weights]


def of_logits(of):
    now = softmax(AT)
    return sum(now[k] * of(k, now) for k in THREE)


def share(t):
    return 1 / (1 + exp(-t))


def of_pair(of):
    """Mean over u < s and 1 - u < s, where u is uniform: s is above 1/2."""
    s = share(AT)
    return (2 * s - 1) * of(1, 1) + (1 - s) * of(1, 0) + (1 - s) * of(0, 1)


def swapped(a, b):
    return (f[a] - f[b]) * (-1) ** b * (a != b) / 2


def shares(t):
    return [t, mpf(3) / 8, mpf(5) / 8 - t]


def of_sets(of):
    """Mean over the first two of three classes without replacement, in any order."""
    now = shares(AT)
    return sum(now[i] * now[j] / (1 - now[i]) * of(*sorted((i, j))) for i in THREE for j in THREE if i != j)


def of_share(i):
    return f[i] * d(lambda t: log(shares(t)[i]))


def of_set(i, j):
    """The weight of a class in a set: of both orders, how likely is the one in which it is first?"""
    now = shares(AT)
    first, last = now[i] * now[j] / (1 - now[i]), now[j] * now[i] / (1 - now[j])
    return now[i] * (now[j] / (1 - now[i])) / (first + last) * of_share(i)


T_LOGITS = d(lambda t: sum(softmax(t)[k] * f[k] for k in THREE))
T_BIT = d(lambda t: share(t) * f[1] + (1 - share(t)) * f[0])
T_SHARES = d(lambda t: sum(shares(t)[k] * f[k] for k in THREE))


def wake(a, b):
    one, other = positive[a] / P.now[a], positive[b] / P.now[b]
    return -(one * S[a] + other * S[b]) / (one + other)


QUADRATIC = P.gradient(lambda k, _: C * values[k] + TAU * values[k] ** 2)
POSTERIOR = d(lambda t: -sum(positive[k] * log(P(k, t)) for k in THREE) / sum(positive))
FISHER = P.mean(lambda k: S[k] ** 2)

BETA, ALPHA = mpf(2) / 5, mpf(5) / 2


def log_weight(k, t=AT):
    return joint[k] - log(P(k, t))


def weight(k, t=AT):
    return exp(BETA * log_weight(k, t))


def tempered(of, t=AT):
    """Mean under p w^beta."""
    return sum(P(k, t) * weight(k, t) * of(k, t) for k in THREE) / sum(P(k, t) * weight(k, t) for k in THREE)


MEAN_LOG = tempered(log_weight)


def thermodynamic(a, b):
    mean = (weight(a) * log_weight(a) + weight(b) * log_weight(b)) / (weight(a) + weight(b))
    return sum(weight(k) * ((1 - BETA) * (log_weight(k) - mean) - 1) * S[k] for k in (a, b)) / (weight(a) + weight(b))


def success(t):
    return sum(P(k, t) * r[k] for k in THREE)


def squared(k, t):
    return (C + log(P(k, t)) - joint[k]) ** 2


# Integrands c z^x, summed over two z: their means are closed, and that at a sum of samples is a product.

POWERS = [(number(), mpf(1) / 2), (number(), mpf(1) / 3)]


def powers(of):
    return sum(c * of(z) for c, z in POWERS)


def sigmoid(t):
    return 1 / (1 + exp(-t))


def poisson(z, t=AT):
    return exp(t * (z - 1))


def exponential(z, t=AT):
    return t / (t - log(z))


def gamma(z, t=AT):
    return exponential(z, t) ** ALPHA


def geometric(z, t=AT):
    return sigmoid(t) / (1 - (1 - sigmoid(t)) * z)


def normal(z, t=AT):
    return exp(MIDDLE * log(z) + (t * log(z)) ** 2 / 2)


def maxwell(z, t=AT):
    return (1 + (t * log(z)) ** 2) * normal(z, t)


def gradient(law):
    return d(lambda t: powers(lambda z: law(z, t)))


ODDS = exp(-AT)  # of a failure
MIDDLE = mpf(2) / 5

MEANS = {
    # Samples of another policy
    "importance-sampling-baseline": (lambda: sum(mu[k] * ratio[k] * (r[k] - C) * S[k] for k in THREE), T_R),
    "off-policy-without-ratio": (lambda: sum(mu[k] * r[k] * S[k] for k in THREE), T_R),
    "self-normalised-importance-sampling": (lambda: sum(
        mu[a] * mu[b] * (ratio[a] * r[a] * S[a] + ratio[b] * r[b] * S[b]) / (ratio[a] + ratio[b]) for a in THREE for b in THREE
    ), T_R),
    "truncated-importance-sampling": (lambda: sum(mu[k] * min(ratio[k], C) * r[k] * S[k] for k in THREE), T_R),
    "clipped-surrogate": (lambda: d(
        lambda t: sum(mu[k] * min(P(k, t) / mu[k] * r[k], min(max(P(k, t) / mu[k], 0.8), 1.2) * r[k]) for k in THREE)), T_R),
    "sequence-importance-sampling": (lambda: of_others(
        lambda a, b: w0[a] * w1[a][b] * (r0[a] + r1[a][b]) * (s0[a] + s1[a][b])), T_OTHERS),
    "per-decision-importance-sampling": (lambda: of_others(
        lambda a, b: w0[a] * r0[a] * s0[a] + w0[a] * w1[a][b] * r1[a][b] * (s0[a] + s1[a][b])), T_OTHERS),
    "token-importance-sampling": (lambda: of_others(
        lambda a, b: (r0[a] + r1[a][b]) * (w0[a] * s0[a] + w1[a][b] * s1[a][b])), T_OTHERS),
    # Two steps
    "reinforce-two-steps": (lambda: of_steps(lambda a, s, b: (r0[a] + r1[s][b]) * (s0[a] + s1[s][b])), T_STEPS),
    "reward-to-go": (lambda: of_steps(lambda a, s, b: (r0[a] + r1[s][b]) * s0[a] + r1[s][b] * s1[s][b]), T_STEPS),
    "immediate-reward": (lambda: of_steps(lambda a, s, b: r0[a] * s0[a] + r1[s][b] * s1[s][b]), T_STEPS),
    "state-baseline": (lambda: of_steps(
        lambda a, s, b: (r0[a] + r1[s][b] - V0) * s0[a] + (r1[s][b] - v1[s]) * s1[s][b]), T_STEPS),
    "action-baseline": (lambda: of_steps(
        lambda a, s, b: (r0[a] + r1[s][b]) * s0[a] + (r1[s][b] - q1[s][b]) * s1[s][b]), T_STEPS),
    "actor-critic": (lambda: of_steps(lambda a, s, b: (r0[a] + v1[s]) * s0[a] + r1[s][b] * s1[s][b]), T_STEPS),
    "actor-critic-exact": (lambda: of_steps(lambda a, s, b: (r0[a] + VALUE[s]) * s0[a] + r1[s][b] * s1[s][b]), T_STEPS),
    "all-action": (lambda: of_steps(lambda a, s, b: sum(
        FIRST.now[i] * s0[i] * (r0[i] + sum(world[i][j] * VALUE[j] for j in BIT)) for i in BIT
    ) + sum(SECOND[s].now[i] * r1[s][i] * s1[s][i] for i in BIT)), T_STEPS),
    "generalized-advantage": (lambda: of_steps(lambda a, s, b: (
        r0[a] + v1[s] - V0 + LAMBDA * (r1[s][b] - v1[s])) * s0[a] + (r1[s][b] - v1[s]) * s1[s][b]), T_STEPS),
    "generalized-advantage-one": (lambda: of_steps(
        lambda a, s, b: (r0[a] - V0 + r1[s][b]) * s0[a] + (r1[s][b] - v1[s]) * s1[s][b]), T_STEPS),
    # Groups
    "grpo": (lambda: P.mean_of_pairs(grpo), T_R),
    "dr-grpo": (lambda: P.mean_of_triples(
        lambda *group: sum((r[k] - sum(r[j] for j in group) / 3) * S[k] for k in group) / 3), T_R),
    "remax": (lambda: P.mean(lambda k: (r[k] - r[0]) * S[k]), T_R),
    "opo": (lambda: P.mean_of_pairs(opo), T_R),
    "length-normalised": (lambda: P.mean(lambda k: r[k] * S[k] / length[k]), T_R),
    "vargrad": (lambda: P.mean_of_pairs(lambda a, b: d(
        lambda t: (log(P(a, t)) - joint[a] - log(P(b, t)) + joint[b]) ** 2 / 4
    )), P.gradient(lambda k, t: log(P(k, t)) - joint[k])),
    "maxrl": (lambda: P.mean_of_pairs(lambda a, b: r[a] * (1 - r[b] / 2) * S[a] + r[b] * (1 - r[a] / 2) * S[b]),
        d(lambda t: success(t) + (1 - (1 - success(t)) ** 2) / 2)),
    "maxrl-for-log": (lambda: P.mean_of_pairs(lambda a, b: r[a] * (1 - r[b] / 2) * S[a] + r[b] * (1 - r[a] / 2) * S[b]),
        T_R / success(AT)),
    # Penalties
    "kl-k1-loss": (lambda: P.mean(lambda k: d(lambda t: k1(k, t))), REVERSE),
    "kl-k1-reward": (lambda: P.mean(lambda k: k1(k, AT) * S[k]), REVERSE),
    "kl-k2-loss": (lambda: P.mean(lambda k: d(lambda t: k1(k, t) ** 2 / 2)), REVERSE),
    "kl-k3-loss": (lambda: P.mean(lambda k: d(lambda t: k3(k, t))), REVERSE),
    "kl-k3-loss-forward": (lambda: P.mean(lambda k: d(lambda t: k3(k, t))), FORWARD),
    "kl-k3-with-ratio": (lambda: P.mean(lambda k: d(lambda t: P(k, t) / P.now[k] * k3(k, t))), REVERSE),
    "kl-k3-reward": (lambda: P.mean(lambda k: k3(k, AT) * S[k]), REVERSE - FORWARD),
    "entropy-sampled": (lambda: P.mean(lambda k: (r[k] - TAU * log(P.now[k])) * S[k]), ENTROPY),
    "entropy-bonus": (lambda: P.mean(lambda k: r[k] * S[k]) - TAU * P.gradient(lambda k, t: log(P(k, t))), ENTROPY),
    "entropy-of-samples": (lambda: P.mean(lambda k: (r[k] - TAU) * S[k]), ENTROPY),
    # Second derivatives, and the metric
    "dice-second-order": (lambda: P.mean(lambda k: d(lambda t: P(k, t) / P.now[k], 2) * f[k]), T_2),
    "surrogate-second-order": (lambda: P.mean(lambda k: P.slope[k] * f[k]), T_2),
    "hessian-score": (lambda: P.mean(lambda k: (S[k] ** 2 + P.slope[k]) * f[k]), T_2),
    "hessian-score-squared": (lambda: P.mean(lambda k: S[k] ** 2 * f[k]), T_2),
    "natural-gradient": (lambda: P.mean(lambda k: f[k] * S[k] / FISHER), T / FISHER),
    # Inference
    "sleep-phase": (lambda: -sum(ref[k] * S[k] for k in THREE), FORWARD),
    "wake-phase-q": (lambda: P.mean_of_pairs(wake), POSTERIOR),
    "wake-phase-exact-evidence": (lambda: -sum(positive[k] * S[k] for k in THREE) / sum(positive), POSTERIOR),
    "trajectory-balance": (lambda: P.mean(lambda k: d(lambda t: squared(k, t))),
        2 * P.gradient(lambda k, t: log(P(k, t)) - joint[k])),
    "trajectory-balance-off-policy": (lambda: sum(mu[k] * d(lambda t, k=k: squared(k, t)) for k in THREE),
        2 * P.gradient(lambda k, t: log(P(k, t)) - joint[k])),
    "thermodynamic-exact-evidence": (lambda: tempered(
        lambda k, t: ((1 - BETA) * (log_weight(k) - MEAN_LOG) - 1) * S[k]), d(lambda t: tempered(log_weight, t))),
    "thermodynamic-self-normalised": (lambda: P.mean_of_pairs(thermodynamic), d(lambda t: tempered(log_weight, t))),
    # Measure-valued
    "measure-valued-poisson": (lambda: powers(lambda z: (z - 1) * poisson(z)), gradient(poisson)),
    "measure-valued-poisson-backward": (lambda: powers(lambda z: (1 - 1 / z) * poisson(z)), gradient(poisson)),
    "measure-valued-exponential": (lambda: powers(lambda z: exponential(z) - exponential(z) ** 2) / AT, gradient(exponential)),
    "measure-valued-exponential-doubled": (
        lambda: powers(lambda z: exponential(z) - exponential(z**2)) / AT, gradient(exponential)),
    "measure-valued-gamma": (lambda: ALPHA * powers(lambda z: gamma(z) - gamma(z) * exponential(z)) / AT, gradient(gamma)),
    "measure-valued-gamma-unscaled": (lambda: powers(lambda z: gamma(z) - gamma(z) * exponential(z)) / AT, gradient(gamma)),
    "measure-valued-geometric": (lambda: ODDS * powers(lambda z: (1 - z) * geometric(z) ** 2), gradient(geometric)),
    "measure-valued-geometric-single": (lambda: ODDS * powers(lambda z: (1 - z) * geometric(z)), gradient(geometric)),
    "measure-valued-normal-scale": (lambda: powers(lambda z: maxwell(z) - normal(z)) / AT, gradient(normal)),
    "measure-valued-normal-scale-stretched": (
        lambda: powers(lambda z: normal(z**2) * z**-MIDDLE - normal(z)) / AT, gradient(normal)),
    # Explicit laws
    "measure-valued-categorical": (lambda: of_logits(lambda k, now: now[0] * (f[0] - f[k])), T_LOGITS),
    "measure-valued-categorical-unweighted": (lambda: of_logits(lambda k, _: f[0] - f[k]), T_LOGITS),
    "disarm": (lambda: of_pair(lambda a, b: share(AT) * swapped(a, b)), T_BIT),
    "disarm-unscaled": (lambda: of_pair(swapped), T_BIT),
    "unordered-set": (lambda: of_sets(lambda i, j: of_set(i, j) + of_set(j, i)), T_SHARES),
    "unordered-set-unweighted": (lambda: of_sets(lambda i, j: (of_share(i) + of_share(j)) / 2), T_SHARES),
    # Sums and slopes
    "local-expectation-gradients": (lambda: of_bits(lambda a, b: sum(
        X.now[i] * X.score[i] * h[i][b] + Y.now[i] * Y.score[i] * h[a][i] for i in BIT)), T_H),
    "rao-blackwell": (lambda: of_bits(
        lambda a, b: sum(X.now[i] * h[i][b] * X.score[i] for i in BIT) + h[a][b] * Y.score[b]), T_H),
    "markov-blanket": (lambda: of_bits(lambda a, b: f2[a] * X.score[a] + g2[b] * Y.score[b]),
        d(lambda t: sum(X(a, t) * f2[a] + Y(a, t) * g2[a] for a in BIT))),
    "reinmax-quadratic": (lambda: P.mean(lambda b: sum(
        (slope(b) + slope(o)) / 2 * (values[o] - values[b]) * P.now[o] * S[o] for o in THREE)), QUADRATIC),
    "straight-through-quadratic": (lambda: P.mean(slope) * P.gradient(lambda k, _: values[k]), QUADRATIC),
    "coefficient-from-same-samples": (lambda: P.mean_of_pairs(fitted), T),
    "coefficient-from-other-samples": (lambda: P.mean_of_pairs(fitted_elsewhere), T),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANS)
def test_an_estimator_is_biased_on_a_random_case_where_its_verdict_says_so_and_not_else(name):
    mean, target = MEANS[name]
    unbiased = abs(mean() - target) < mpf(10) ** -9
    assert unbiased == (catalogue[name].verdict in ("proved", "checked"))


def test_three_samples_of_dr_grpo_scale_the_gradient_by_two_thirds():
    mean, target = MEANS["dr-grpo"]
    assert abs(mean() - 2 * target / 3) < mpf(10) ** -9


def test_without_its_shape_the_estimator_of_a_gamma_law_is_scaled_by_one_over_it():
    mean, target = MEANS["measure-valued-gamma-unscaled"]
    assert abs(ALPHA * mean() - target) < mpf(10) ** -9


def test_each_entry_of_a_family_with_rows_here_has_one():
    """Of the files whose entries are worked by hand, none is left out."""
    worked = ("measure-valued-", "disarm", "unordered-", "maxrl", "trajectory-", "thermodynamic-")
    names = {name for name in catalogue if name.startswith(worked)}
    assert names - {"measure-valued-bernoulli"} <= set(MEANS)
