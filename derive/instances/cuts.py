"""Where a term jumps as a function of one of its variables: thresholds, rough functions, and the ends of other densities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeAlias

from derive.instances import explicit
from derive.instances.errors import UnreadableError
from derive.instances.jets import Jet, constant, subtract
from derive.language.choice import ChoiceLaw
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Density,
    DensityLaw,
    Exp,
    Expect,
    FiniteLaw,
    Grad,
    Law,
    Over,
    Power,
    RandomVariable,
    Score,
    Sign,
    Stop,
    Term,
    Threshold,
    UniformLaw,
    anywhere,
    parts,
)
from derive.sharing import remembered

if TYPE_CHECKING:
    from derive.instances.evaluate import Evaluator
    from derive.instances.place import Place

Switch: TypeAlias = "Callable[[Place], Jet]"
Cut: TypeAlias = "tuple[Switch, tuple[float, ...]]"


@dataclass(frozen=True)
class Jump:
    """A subterm that jumps.

    Args
        term     the subterm
        stopped  whether it stands in a `Stop`
        sums     the variables of finite laws that are bound between the integral and it
    """

    term: Term
    stopped: bool = False
    sums: tuple[RandomVariable, ...] = ()


def cuts_in(term: Term, variable: RandomVariable, evaluator: Evaluator) -> Iterator[Cut]:
    """Yield the functions whose passing a number makes a term jump while the variable moves, and these numbers.

    What depends on a continuous variable that is bound further inside is left to that integral.

    Raises
        UnreadableError, if that integral cannot see all that happens.
    """
    for jump in _all_jumps(term, variable):
        for switch, cuts in _cuts(jump.term, evaluator):
            held = partial(_stopped, switch) if jump.stopped else switch
            for whole in _summed(held, jump.sums, evaluator):
                yield whole, cuts


@lru_cache(maxsize=512)
def _all_jumps(term: Term, variable: RandomVariable) -> tuple[Jump, ...]:
    return tuple(dict.fromkeys(_jumps(term, variable, Jump(term))))


def _summed(switch: Switch, sums: tuple[RandomVariable, ...], evaluator: Evaluator) -> Iterator[Switch]:
    """Yield a switch for each outcome of the finite variables in it."""
    if not sums:
        yield switch
        return
    law = sums[0].law
    for value in explicit.points(law) if isinstance(law, ChoiceLaw) else evaluator.instance.values:
        yield from _summed(partial(_at, switch, sums[0], float(value)), sums[1:], evaluator)


def _at(switch: Switch, variable: RandomVariable, value: float, place: Place) -> Jet:
    return switch(place.where(variable, constant(value)))


def _stopped(switch: Switch, place: Place) -> Jet:
    return switch(place.stopped())


def _jumps(term: Term, variable: RandomVariable, around: Jump) -> Iterator[Jump]:
    if not depends(term, variable):
        return
    if _is_jump(term):
        yield replace(around, term=term)
    match term:
        case Expect(body, inner) | Over(body, inner):
            for part in inner.law.terms:
                yield from _jumps(part, variable, around)
            yield from _under(body, inner, variable, around)
        case _:
            held = replace(around, stopped=around.stopped or isinstance(term, Stop))
            for part in parts(term):
                yield from _jumps(part, variable, held)


def _under(body: Term, inner: RandomVariable, variable: RandomVariable, around: Jump) -> Iterator[Jump]:
    for jump in _jumps(body, variable, around):
        if not depends(jump.term, inner):
            yield jump
        elif isinstance(inner.law, (FiniteLaw, ChoiceLaw)):
            yield replace(jump, sums=(inner, *jump.sums))
        else:
            _demand_seen(jump.term, inner)


def _demand_seen(jump: Term, inner: RandomVariable) -> None:
    """Refuse a jump that depends on a continuous variable through another jump: its integral does not see it move."""
    if any(True for part in parts(jump) for _ in _jumps(part, inner, Jump(part))):
        message = f"a jump depends on {inner.name} through another jump."
        raise UnreadableError(message)


def _is_jump(term: Term) -> bool:
    match term:
        case Apply(Threshold(law=law), (Apply(ConditionalLatent(law=own), _),)) if law == own:
            return False
        case Apply(function, _):
            return isinstance(function, Threshold) or function.differentiable is False
        case Sign():
            return True
        case Density(law, at) | Score(law, at, _):
            own_point = isinstance(at, RandomVariable) and at.law == law
            return isinstance(law, (UniformLaw, DensityLaw)) and not own_point
    return False


def _cuts(jump: Term, evaluator: Evaluator) -> Iterator[Cut]:
    match jump:
        case Apply(Threshold(law=FiniteLaw() as law), (arg, *_)):
            yield lambda place: evaluator.read(arg, place), tuple(map(float, evaluator.instance.cuts_of(law)))
        case Sign(arg):
            yield lambda place: evaluator.read(arg, place), (0.0,)
        case Apply(function, args):
            concrete = evaluator.instance.function(function.name, len(args))
            yield lambda place: concrete.switch(*(evaluator.read(arg, place) for arg in args)), (concrete.cut,)
        case Density(law, at) | Score(law, at, _):
            for number in range(evaluator.count_of_ends(law)):
                yield partial(_from_end, evaluator, law, at, number), (0.0,)


def _from_end(evaluator: Evaluator, law: Law, at: Term, number: int, place: Place) -> Jet:
    return subtract(evaluator.read(at, place), evaluator.ends(law, place)[number])


@lru_cache(maxsize=512)
def sampled_for(body: Term, variable: RandomVariable) -> tuple[Law, ...]:
    """Return the continuous laws whose densities stand at a variable, where its own density divides."""
    own = Density(variable.law, variable)
    divides = anywhere(body, lambda term: isinstance(term, (Power, Exp)) and anywhere(term, lambda part: part == own))
    found: dict[Law, None] = {}
    anywhere(body, lambda term: _note_law(term, variable, found))
    return tuple(found) if divides else ()


def _note_law(term: Term, variable: RandomVariable, found: dict[Law, None]) -> bool:
    match term:
        case Density(law, at) if at == variable and law != variable.law and not isinstance(law, (FiniteLaw, ChoiceLaw)):
            found[law] = None
    return False


def demand_first_derivatives(term: Term) -> None:
    """Refuse a second derivative where a jump depends on two variables: the inner integral has a kink, and is not cut there.

    Raises
        UnreadableError, if there is one.
    """
    if orders(term) > 1 and _has_joint_jump(term):
        message = "a second derivative, where a jump depends on two continuous variables."
        raise UnreadableError(message)


@remembered
def orders(term: Term) -> int:
    """Return how deep gradients stand in one another.

    >>> from derive.language.notation import grad, parameter
    >>> theta = parameter("theta")
    >>> orders(grad(grad(theta**3, theta) + theta, theta))
    2
    """
    return isinstance(term, Grad) + max((orders(part) for part in parts(term)), default=0)


def _has_joint_jump(term: Term, bound: tuple[RandomVariable, ...] = ()) -> bool:
    if _is_jump(term) and sum(depends(term, variable) for variable in bound) > 1:
        return True
    match term:
        case Expect(body, variable) | Over(body, variable):
            inside = bound if isinstance(variable.law, FiniteLaw) else (*bound, variable)
            return _has_joint_jump(body, inside) or any(_has_joint_jump(part, bound) for part in variable.law.terms)
    return any(_has_joint_jump(part, bound) for part in parts(term))
