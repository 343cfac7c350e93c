"""RELAX: REBAR with any differentiable control variate c of the latent variable."""

from derive.language.estimator import Estimator
from derive.language.notation import E, Relaxation, finite, function, grad, parameter, relaxation, score, uniform
from derive.language.term import Function, RandomVariable, Symbol, Term
from derive.proofs.calc import Derivation, calc
from derive.proofs.rules import (
    algebra,
    conditional_reparameterization,
    linearity,
    marginalization,
    pathwise_gradient,
    score_function_estimator,
)

theta: Symbol = parameter("theta")
phi: Symbol = parameter("phi")
b: RandomVariable = finite("b", theta)
u: RandomVariable = uniform("u")
v: RandomVariable = uniform("v")
f: Function = function("f")
c: Function = function("c", differentiable=True)
relaxed: Relaxation = relaxation(b)
z: Term = relaxed.h(u, theta)
hard: Term = relaxed.H(z)
z_tilde: Term = relaxed.h_tilde(v, hard, theta)
control: Term = c(z, phi)
control_tilde: Term = c(z_tilde, phi)


def derivation() -> Derivation:
    """As for REBAR: the relaxed gradient is subtracted conditionally on the sample and added pathwise."""
    given = c(relaxed.h_tilde(v, b, theta), phi)
    relaxed_gradient = grad(E(control, u), theta)
    first, pathwise = E(f(b) * score(b), b), E(grad(control, theta), u)
    conditional = E(E(given, v) * score(b), b) + E(E(grad(given, theta), v), b)
    inside = E(E((f(b) - given) * score(b) - grad(given, theta), v), b)
    reparameterized = E(E((f(hard) - control_tilde) * score(b, at=hard) - grad(control_tilde, theta), v), u)
    return calc(
        grad(E(f(b), b), theta),
        (score_function_estimator, first),
        (algebra, first - relaxed_gradient + relaxed_gradient),
        (marginalization(b, v), first - conditional + relaxed_gradient),
        (pathwise_gradient, first - conditional + pathwise),
        (linearity, inside + pathwise),
        (conditional_reparameterization(b, v), reparameterized + pathwise),
        (linearity, estimator.expectation),
    )


estimator: Estimator = Estimator(
    name="relax",
    formula=(f(hard) - control_tilde) * score(b, at=hard) + grad(control, theta) - grad(control_tilde, theta),
    draws=(u, v),
    target=grad(E(f(b), b), theta),
    where=(("z", z), ("b", hard), ("z_tilde", z_tilde)),
    source="grathwohl-2018",
    summary="Any differentiable function of the latent variable is the control variate; f need not be differentiable.",
    derivation=derivation,
)
