"""Two estimators that are not proved, and what is said instead.

- `gradproof prove docs/examples/words.py:stopped_relaxation` answers checked: no derivation was found, and the exact identity
  speaks of the numbers of outcomes that were compared;
- `gradproof prove docs/examples/words.py:wrong_parameter` answers vacuous: phi occurs nowhere, so any mean of zero would do.
"""

from derive.estimator import Estimator
from derive.notation import E, constant, finite, function, grad, parameter, relaxation, score, stop, uniform

theta, phi = parameter("theta"), parameter("phi")
b, u = finite("b", theta), uniform("u")
f = function("f", differentiable=True)
relaxed = relaxation(b)
hard = relaxed.H(relaxed.h(u, theta))

stopped_relaxation = Estimator(
    "stopped-relaxation",
    f(hard) * score(b, at=hard) + grad(f(relaxed.sigma(relaxed.h(u, stop(theta)), constant("lambda"))), theta),
    draws=(u,),
    target=grad(E(f(b), b), theta),
    summary="The gradient of the relaxation is stopped, so it adds nothing to the score function.",
    verdict="checked",
)

wrong_parameter = Estimator(
    "wrong-parameter",
    f(b) * score(b, phi),
    draws=(b,),
    target=grad(E(f(b), b), phi),
    summary="The law depends on theta; phi is a slip of the pen.",
    verdict="vacuous",
)
