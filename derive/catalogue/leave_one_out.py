"""The score function estimator with a leave-one-out baseline, also called RLOO or VarGrad."""

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.notation import E, copies, finite, function, grad, parameter, score, total
from derive.language.term import Function, RandomVariable, Symbol

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")


def leave_one_out(samples: int) -> Estimator:
    """Subtract from each integrand the mean of the others.

    Raises
        UsageError, for fewer than two samples.
    """
    if samples < 2:
        message = f"leave-one-out needs at least 2 samples, got {samples}."
        raise UsageError(message)
    drawn = copies(b, samples)
    means = {sample: total(f(other) for other in drawn if other != sample) / (samples - 1) for sample in drawn}
    return Estimator(
        name="leave-one-out",
        formula=total((f(sample) - means[sample]) * score(sample) for sample in drawn) / samples,
        draws=drawn,
        target=grad(E(f(b), b), theta),
        source="kool-2019",
        summary="The baseline of each sample is the mean of the integrand over the other samples.",
        family=leave_one_out,
    )


estimator: Estimator = leave_one_out(3)
