"""REBAR: the score function with a relaxed control variate that is marginalized conditionally on the sample."""

from derive.language.estimator import Estimator
from derive.language.notation import (
    E,
    Over,
    Relaxation,
    constant,
    finite,
    function,
    grad,
    p,
    parameter,
    relaxation,
    score,
    uniform,
)
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import (
    algebra,
    conditional_reparameterization,
    expectation,
    leibniz,
    linearity,
    log_derivative_trick,
    marginalization,
    pathwise_gradient,
)

theta: Symbol = parameter("theta")
lambda_: Symbol = constant("lambda")
eta: Symbol = constant("eta")
b: RandomVariable = finite("b", theta)
u: RandomVariable = uniform("u")
v: RandomVariable = uniform("v")
f: Function = function("f", differentiable=True)
relaxed: Relaxation = relaxation(b)

z: Term = relaxed.h(u, theta)
hard: Term = relaxed.H(z)
z_tilde: Term = relaxed.h_tilde(v, hard, theta)
control: Term = f(relaxed.sigma(z, lambda_))
control_tilde: Term = f(relaxed.sigma(z_tilde, lambda_))



def derivation() -> Derivation:
    """Score function, plus and minus the relaxed gradient; one of the two is marginalized conditionally, the other pathwise."""
    given = f(relaxed.sigma(relaxed.h_tilde(v, b, theta), lambda_))
    relaxed_gradient = grad(E(control, u), theta)
    first = E(f(b) * score(b), b)
    conditional = E(E(given, v) * score(b), b) + E(E(grad(given, theta), v), b)
    inside = E(E((f(b) - eta * given) * score(b) - eta * grad(given, theta), v), b)
    reparameterized = E(E((f(hard) - eta * control_tilde) * score(b, at=hard) - eta * grad(control_tilde, theta), v), u)
    return calc(
        grad(E(f(b), b), theta),
        (expectation, grad(Over(p(b) * f(b), b), theta)),
        (leibniz, Over(grad(p(b), theta) * f(b), b)),
        (log_derivative_trick, Over(p(b) * score(b) * f(b), b)),
        (expectation, first),
        (algebra, first - eta * relaxed_gradient + eta * relaxed_gradient),
        (marginalization(b, v), first - eta * conditional + eta * relaxed_gradient),
        (pathwise_gradient, first - eta * conditional + eta * E(grad(control, theta), u)),
        (linearity, inside + eta * E(grad(control, theta), u)),
        (conditional_reparameterization(b, v), reparameterized + eta * E(grad(control, theta), u)),
        (linearity, estimator.expectation),
    )


estimator: Estimator = Estimator(
    name="rebar",
    formula=(f(hard) - eta * control_tilde) * score(b, at=hard) + eta * grad(control, theta) - eta * grad(control_tilde, theta),
    draws=(u, v),
    target=grad(E(f(b), b), theta),
    where=(("z", z), ("b", hard), ("z_tilde", z_tilde)),
    source="tucker-2017",
    summary="The relaxed integrand is the control variate, marginalized conditionally on the discrete sample.",
    derivation=derivation,
)
