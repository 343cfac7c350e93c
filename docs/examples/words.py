"""Two estimators that are not proved, and what is said instead.

- `gradproof prove docs/examples/words.py:dice` answers checked: no derivation was found, and the exact identity speaks of the
  numbers of outcomes that were compared;
- `gradproof prove docs/examples/words.py:wrong_parameter` answers vacuous: phi occurs nowhere, so any mean of zero would do.
"""

from derive.estimator import Estimator
from derive.notation import E, exp, finite, function, grad, log, p, parameter, score, stop

theta, phi = parameter("theta"), parameter("phi")
b, f = finite("b", theta), function("f")

dice = Estimator(
    "dice",
    grad(grad(exp(log(p(b)) - stop(log(p(b)))) * f(b), theta), theta),
    draws=(b,),
    target=grad(grad(E(f(b), b), theta), theta),
    summary="The infinitely differentiable estimator (foerster-2018), twice: its box is one and keeps its derivatives.",
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
