"""RELAX: REBAR with any differentiable control variate c of the latent variable."""

from derive.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, relaxation, score, uniform

theta = parameter("theta")
b = finite("b", theta)
u, v = uniform("u"), uniform("v")
f, c = function("f"), function("c", differentiable=True)
relaxed = relaxation(b)
z = relaxed.h(u, theta)
hard = relaxed.H(z)
z_tilde = relaxed.h_tilde(v, hard, theta)

estimator = Estimator(
    name="relax",
    formula=(f(hard) - c(z_tilde)) * score(b, at=hard) + grad(c(z), theta) - grad(c(z_tilde), theta),
    draws=(u, v),
    target=grad(E(f(b), b), theta),
    where=(("z", z), ("b", hard), ("z_tilde", z_tilde)),
    source="grathwohl-2018",
    summary="Any differentiable function of the latent variable is the control variate; f need not be differentiable.",
)
