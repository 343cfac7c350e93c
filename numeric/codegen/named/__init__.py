"""Laws that are known by their names, printed as torch expressions: sampler, log-density, and its derivatives."""

from __future__ import annotations

from derive.language.choice import ChoiceLaw
from derive.language.term import Law, NamedLaw
from numeric.codegen.expressions import Code
from numeric.codegen.named.counts import Geometric, NegativeBinomial, Poisson
from numeric.codegen.named.explicit import Choice
from numeric.codegen.named.family import Named
from numeric.codegen.named.line import Gumbel, Laplace, Logistic, Maxwell
from numeric.codegen.named.positive import Beta, Exponential, Gamma, Weibull

NAMED: dict[str, type[Named]] = {
    kind.__name__: kind
    for kind in (
        Exponential, Gamma, Beta, Poisson, Geometric, Laplace, Logistic, Gumbel, Weibull, NegativeBinomial, Maxwell,
    )
}  # fmt: skip


def named_family(law: NamedLaw, parameters: tuple[Code, ...], like: str) -> Named:
    """Return the family of a law at expressions for its parameters; `like` is the tensor whose dtype and device it has.

    >>> from numeric.codegen.expressions import Shape
    >>> from derive.language.named import named
    >>> rate = Code("theta", Shape.COORDINATE)
    >>> named_family(named("Exponential", 1), (rate,), "theta").log_density("x", lambda hint, text: text).text
    'torch.log(theta) - theta * x'
    """
    if isinstance(law, ChoiceLaw):
        return Choice(parameters, like, law.values)
    return NAMED[law.name](parameters, like)


def is_inside(drawn: Law, law: NamedLaw) -> bool:
    """Whether the log-density of a law with a name may be written as it is at the outcomes of another law.

    They lie in its support, whatever the parameters are, or the formula is right elsewhere too.

    >>> from derive.language.named import named
    >>> is_inside(named("Poisson", 1), named("Poisson", 2)), is_inside(named("Laplace", 0, 1), named("Exponential", 1))
    (True, False)
    """
    if isinstance(law, ChoiceLaw) or isinstance(drawn, ChoiceLaw):
        return isinstance(law, ChoiceLaw) and isinstance(drawn, ChoiceLaw) and set(drawn.values) <= set(law.values)
    support = NAMED[law.name].inside
    return not support or (isinstance(drawn, NamedLaw) and NAMED[drawn.name].inside == support)
