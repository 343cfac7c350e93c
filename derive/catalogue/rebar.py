"""REBAR: the score function with a relaxed control variate that is marginalized conditionally on the sample."""

from derive.estimator import Estimator
from derive.notation import E, constant, finite, function, grad, parameter, relaxation, score, uniform

theta = parameter("theta")
lambda_, eta = constant("lambda"), constant("eta")
b = finite("b", theta)
u, v = uniform("u"), uniform("v")
f = function("f", differentiable=True)
relaxed = relaxation(b)

z = relaxed.h(u, theta)
hard = relaxed.H(z)
z_tilde = relaxed.h_tilde(v, hard, theta)
control, control_tilde = f(relaxed.sigma(z, lambda_)), f(relaxed.sigma(z_tilde, lambda_))

estimator = Estimator(
    name="rebar",
    formula=(f(hard) - eta * control_tilde) * score(b, at=hard) + eta * grad(control, theta) - eta * grad(control_tilde, theta),
    draws=(u, v),
    target=grad(E(f(b), b), theta),
    where=(("z", z), ("b", hard), ("z_tilde", z_tilde)),
    source="tucker-2017",
    summary="The relaxed integrand is the control variate, marginalized conditionally on the discrete sample.",
)
