"""Estimators from several samples: two that are wrong in ways that ship, and one that is right.

- `gradproof prove docs/examples/multi_sample.py:own_sample_baseline` answers refuted, with a witness;
- `gradproof prove docs/examples/multi_sample.py:group_mean --samples 4` answers scaled, by exactly 3/4;
- `gradproof prove docs/examples/multi_sample.py:leave_one_out --samples 3` answers proved.
"""

from derive.estimator import Estimator
from derive.notation import E, copies, finite, function, grad, parameter, score, total

theta = parameter("theta")
b = finite("b", theta)
f, baseline = function("f"), function("baseline")
target = grad(E(f(b), b), theta)

own_sample_baseline = Estimator(
    "own-sample-baseline",
    (f(b) - baseline(b)) * score(b),
    draws=(b,),
    target=target,
    summary="The baseline depends on the sample that it is subtracted from, and no correction is added.",
    verdict="refuted",
)


def group_mean(samples: int) -> Estimator:
    """Subtract the mean of all samples, the sample itself included."""
    drawn = copies(b, samples)
    mean = total(f(other) for other in drawn) / samples
    formula = total((f(sample) - mean) * score(sample) for sample in drawn) / samples
    return Estimator("group-mean", formula, draws=drawn, target=target, verdict="scaled")


def leave_one_out(samples: int) -> Estimator:
    """Subtract the mean of the other samples."""
    drawn = copies(b, samples)
    means = {sample: total(f(other) for other in drawn if other != sample) / (samples - 1) for sample in drawn}
    formula = total((f(sample) - means[sample]) * score(sample) for sample in drawn) / samples
    return Estimator("leave-one-out", formula, draws=drawn, target=target, source="kool-2019")
