"""Two estimators that are not proved, and what is said instead.

- `gradproof prove docs/examples/words.py:central_difference` answers checked: no derivation was found, since the kernel does
  not integrate a derivative to the values at both ends, and the exact identity speaks of polynomials;
- `gradproof prove docs/examples/words.py:wrong_parameter` answers vacuous: phi occurs nowhere, so any mean of zero would do.
"""

from derive.estimator import Estimator
from derive.notation import E, constant, finite, function, grad, parameter, score, uniform

theta, phi = parameter("theta"), parameter("phi")
b, u, d = finite("b", theta), uniform("u", -1, 1), constant("d")
f = function("f", differentiable=True)

central_difference = Estimator(
    "central-difference",
    (f(theta + d) - f(theta - d)) / (2 * d),
    draws=(),
    target=grad(E(f(theta + d * u), u), theta),
    summary="The difference between both ends is the gradient of the mean over the interval, for every d.",
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
