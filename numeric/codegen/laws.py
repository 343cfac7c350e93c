"""The finite laws of a program: each has logits of its own, and a law that is given outcomes a table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from derive.language.choice import ChoiceLaw
from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends, free
from derive.language.term import (
    Add,
    Apply,
    ConditionalLatent,
    Density,
    DensityLaw,
    Expect,
    FiniteLaw,
    Latent,
    Law,
    Mul,
    NamedLaw,
    Number,
    Over,
    RandomVariable,
    Score,
    Stop,
    Symbol,
    Term,
    Threshold,
    parts,
)
from derive.sharing import remembered

Key: TypeAlias = tuple[str, tuple[Term, ...], int]
"""What laws with the same logits have in common: the name, the parameters without stop, and how many outcomes are given."""


@dataclass(frozen=True)
class Logits:
    """The logits of one finite law, a tensor (*batch, n), or a table with one row for each outcome that the law is given.

    Args
        name        the key under which they are given: the name of the law
        law         the law
        moves       whether it depends on the parameter of the target: then the estimate has a gradient for it
    """

    name: str
    law: FiniteLaw
    moves: bool

    @property
    def conditions(self) -> int:
        """How many outcomes the law is given: so many dimensions of the table stand before the last one."""
        return len(self.law.given)


def laws_of(estimator: Estimator) -> list[Law]:
    """The laws of an estimator: of its target, its formula and its draws."""
    return laws_in(estimator.target) + _used(estimator)


def _used(estimator: Estimator) -> list[Law]:
    return [draw.law for draw in estimator.draws] + laws_in(estimator.formula)


def laws_in(term: Term) -> list[Law]:
    """The laws that occur in a term, each object once, with those of bound variables and of relaxations."""
    return list(_laws_in(term))


@remembered
def _laws_in(term: Term) -> tuple[Law, ...]:
    own: list[Law] = []
    match term:
        case Density(law, _) | Score(law, _, _):
            own = [law]
        case Expect(_, variable) | Over(_, variable):
            own = [variable.law]
        case Apply(Latent(law=law) | Threshold(law=law) | ConditionalLatent(law=law), _) if law is not None:
            own = [law]
    found = {id(law): law for law in (*own, *(law for part in parts(term) for law in _laws_in(part)))}
    return tuple(found.values())


def positives_of(estimator: Estimator) -> tuple[Term, ...]:
    """Return what must be positive so that the laws with names that the code uses are laws, without what is a number.

    >>> from derive.notation import E, function, geometric, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> n = geometric("n", probability=theta)
    >>> print(*positives_of(Estimator("mine", f(n) * score(n), (n,), grad(E(f(n), n), theta))), sep=", ")
    theta, 1 - theta
    """
    named = [law for law in _used(estimator) if isinstance(law, NamedLaw)]
    terms = dict.fromkeys(term for law in named for term in law.positives)
    return tuple(term for term in terms if any(isinstance(leaf, Symbol) for leaf in free(term)))


def probabilities_of(estimator: Estimator) -> tuple[Term, ...]:
    """Return what must not be negative so that explicit finite laws are laws, without what is a number.

    >>> from derive.notation import E, choice, function, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> b = choice("b", (1, theta), (0, 1 - theta))
    >>> mine = Estimator("mine", f(b) * score(b, theta), (b,), grad(E(f(b), b), theta))
    >>> print(*probabilities_of(mine), sep=", ")
    theta, 1 - theta
    """
    explicit = [law for law in _used(estimator) if isinstance(law, ChoiceLaw)]
    terms = dict.fromkeys(term for law in explicit for term in law.parameters)
    return tuple(term for term in terms if any(isinstance(leaf, Symbol) for leaf in free(term)))


def logits_of_laws(estimator: Estimator, *, target: bool = False) -> tuple[Logits, ...]:
    """Return the finite laws that the code computes with, those of the draws first.

    A law of the target that does not move, and that the formula does not use, is one of them where `target` says so.

    Raises
        UsageError, if a law is an abstract density, or has parameters that are no tensor of logits.

    >>> from derive.catalogue import catalogue
    >>> [logits.name for logits in logits_of_laws(catalogue["score-function"])]
    ['p']
    """
    found: dict[Key, FiniteLaw] = {}
    moving = [law for law in laws_in(estimator.target) if target or _moves(law, estimator)]
    for law in [*_used(estimator), *moving]:
        _refuse_density(law, estimator)
        if isinstance(law, FiniteLaw):
            found.setdefault(key_of(law), _checked(law, estimator))
    names = [law.name for law in found.values()]
    return tuple(Logits(_name(law, names), law, _moves(law, estimator)) for law in found.values())


def key_of(law: FiniteLaw) -> Key:
    """Return the same for two laws with the same logits: a stopped parameter is the same number."""
    return law.name, tuple(map(unstopped, law.parameters)), len(law.given)


def unstopped(term: Term) -> Term:
    """The term without the stop that it may stand in."""
    return unstopped(term.body) if isinstance(term, Stop) else term


def taken_at(term: Term) -> set[tuple[Key, Key]]:
    """The pairs of laws, by their keys, of which one is taken at an outcome of the other: their outcomes are of one size.

    >>> from derive.notation import finite, p
    >>> a, b = finite("a", law="mu"), finite("b", law="pi")
    >>> [tuple(name for name, *_ in pair) for pair in taken_at(p(b, at=a))]
    [('pi', 'mu')]
    """
    own: set[tuple[Key, Key]] = set()
    match term:
        case Density(FiniteLaw() as law, at) | Score(FiniteLaw() as law, at, _):
            drawn = law_of(at)
            own = {(key_of(law), key_of(drawn))} if drawn is not None else set()
    return own.union(*(taken_at(part) for part in parts(term)))


def law_of(outcome: Term) -> FiniteLaw | None:
    """The finite law of an outcome, drawn or decided by a latent variable; None for anything else."""
    match outcome:
        case RandomVariable(law=FiniteLaw() as law) | Apply(Threshold(law=FiniteLaw() as law), _):
            return law
    return None


def mirrored(term: Term) -> RandomVariable | None:
    """The variable u of 1 - u, None for another term.

    >>> from derive.notation import uniform
    >>> u = uniform("u")
    >>> mirrored(1 - u) == u, mirrored(u)
    (True, None)
    """
    match term:
        case Add((Number(value=1), Mul((Number(value=-1), RandomVariable() as noise)))):
            return noise
    return None


def noise_of(term: Term, draw: RandomVariable) -> list[FiniteLaw]:
    """The laws whose latent variables a draw is the noise of.

    >>> from derive.catalogue import catalogue
    >>> rebar = catalogue["rebar"]
    >>> {law.name for law in noise_of(rebar.formula, rebar.draws[0])}
    {'p'}
    """
    own = []
    match term:
        case Apply(Latent(law=FiniteLaw() as law) | ConditionalLatent(law=FiniteLaw() as law), (noise, *_)) if noise == draw:
            own = [law]
    return own + [law for part in parts(term) for law in noise_of(part, draw)]


def is_several(logits: tuple[Logits, ...]) -> bool:
    """Whether the logits are given by name: those of one law that is given nothing are given as they are.

    >>> from derive.catalogue import catalogue
    >>> is_several(logits_of_laws(catalogue["rebar"]))
    False
    """
    return len(logits) > 1 or any(one.conditions for one in logits)


def _moves(law: Law, estimator: Estimator) -> bool:
    return isinstance(law, FiniteLaw) and any(depends(term, estimator.parameter) for term in law.parameters)


def _name(law: FiniteLaw, names: list[str]) -> str:
    """The name of the law, with that of its parameter where two laws share it."""
    if names.count(law.name) == 1:
        return law.name
    return "_".join([law.name, *(term.name for term in map(unstopped, law.parameters) if isinstance(term, Symbol))])


def _checked(law: FiniteLaw, estimator: Estimator) -> FiniteLaw:
    parameters = tuple(map(unstopped, law.parameters))
    if len(parameters) <= 1 and all(isinstance(term, Symbol) for term in parameters):
        return FiniteLaw(law.name, parameters, law.given)
    message = (
        f"{estimator.name!r} uses the law {law.name} of {len(law.parameters)} parameters; its logits are one tensor: expected"
        f" a finite law of one parameter, or of none, such as finite('b', {estimator.parameter.name}, law={law.name!r})."
    )
    raise UsageError(message)


def _refuse_density(law: Law, estimator: Estimator) -> None:
    if type(law) is DensityLaw:
        message = (
            f"{estimator.name!r} uses {law.name}, an abstract density, of which there is no sampler and no formula: expected a "
            "finite, a normal or a uniform law, or one with a name."
        )
        raise UsageError(message)
