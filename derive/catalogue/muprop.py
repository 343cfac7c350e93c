"""MuProp: a first-order expansion of the integrand as control variate, with the gradient of its mean added back."""

from derive.language.estimator import Estimator
from derive.language.notation import E, constant, finite, function, grad, parameter, score
from derive.language.term import Function, RandomVariable, Symbol, Term

theta: Symbol = parameter("theta")
b: RandomVariable = finite("b", theta)
f: Function = function("f")
value: Symbol = constant("f_0")
slope: Symbol = constant("df_0")
point: Symbol = constant("b_0")
expansion: Term = value + slope * (b - point)

estimator: Estimator = Estimator(
    name="muprop",
    formula=(f(b) - expansion) * score(b) + slope * grad(E(b, b), theta),
    draws=(b,),
    target=grad(E(f(b), b), theta),
    where=(("expansion", expansion),),
    source="gu-2016",
    summary="The expansion of f around a fixed point b_0, with value f_0 and derivative df_0 there, is the control variate.",
)
