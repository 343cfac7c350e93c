"""MuProp: a first-order expansion of the integrand as control variate, with the gradient of its mean added back."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, parameter, score

theta = parameter("theta")
b = finite("b", theta)
f = function("f")
value, slope, point = constant("f_0"), constant("df_0"), constant("b_0")
expansion = value + slope * (b - point)

estimator = Estimator(
    name="muprop",
    formula=(f(b) - expansion) * score(b) + slope * grad(E(b, b), theta),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    where=(("expansion", expansion),),
    source="gu-2016",
    summary="The expansion of f around a fixed point b_0, with value f_0 and derivative df_0 there, is the control variate.",
)
