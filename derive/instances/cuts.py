"""Where a term jumps as a function of one of its variables: thresholds, rough functions, and the ends of other densities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from derive.instances.jets import Jet, subtract
from derive.language.scope import depends
from derive.language.term import (
    Apply,
    ConditionalLatent,
    Density,
    DensityLaw,
    Expect,
    Law,
    Over,
    RandomVariable,
    Score,
    Stop,
    Term,
    Threshold,
    UniformLaw,
    parts,
)

if TYPE_CHECKING:
    from derive.instances.evaluate import Evaluator
    from derive.instances.place import Place

Switch: TypeAlias = "Callable[[Place], Jet]"
Cut: TypeAlias = "tuple[Switch, tuple[float, ...]]"


def cuts_in(term: Term, variable: RandomVariable, evaluator: Evaluator) -> Iterator[Cut]:
    """Yield the functions whose passing a number makes a term jump while the variable moves, and these numbers.

    What depends on a variable that is bound further inside is left to that integral.
    """
    seen: list[Term] = []
    for jump, stopped in _jumps(term, variable, stopped=False):
        if jump not in seen:
            seen.append(jump)
            for switch, cuts in _cuts(jump, evaluator):
                yield partial(_stopped, switch) if stopped else switch, cuts


def _stopped(switch: Switch, place: Place) -> Jet:
    return switch(place.stopped())


def _jumps(term: Term, variable: RandomVariable, *, stopped: bool) -> Iterator[tuple[Term, bool]]:
    if not depends(term, variable):
        return
    match term:
        case Apply(Threshold(law=law), (Apply(ConditionalLatent(law=own), _),)) if law == own:
            pass
        case Apply(function, _) if isinstance(function, Threshold) or function.differentiable is False:
            yield term, stopped
        case Density(law, at) | Score(law, at, _) if isinstance(law, (UniformLaw, DensityLaw)) and not _is_own(law, at):
            yield term, stopped
    match term:
        case Expect(body, inner) | Over(body, inner):
            for part in inner.law.terms:
                yield from _jumps(part, variable, stopped=stopped)
            yield from ((jump, held) for jump, held in _jumps(body, variable, stopped=stopped) if not depends(jump, inner))
        case _:
            for part in parts(term):
                yield from _jumps(part, variable, stopped=stopped or isinstance(term, Stop))


def _is_own(law: Law, at: Term) -> bool:
    return isinstance(at, RandomVariable) and at.law == law


def _cuts(jump: Term, evaluator: Evaluator) -> Iterator[Cut]:
    match jump:
        case Apply(Threshold(), (arg, *_)):
            yield lambda place: evaluator.read(arg, place), tuple(map(float, evaluator.instance.cuts))
        case Apply(function, args):
            concrete = evaluator.instance.function(function.name, len(args))
            yield lambda place: concrete.switch(*(evaluator.read(arg, place) for arg in args)), (concrete.cut,)
        case Density(law, at) | Score(law, at, _):
            for number in range(evaluator.count_of_ends(law)):
                yield partial(_from_end, evaluator, law, at, number), (0.0,)


def _from_end(evaluator: Evaluator, law: Law, at: Term, number: int, place: Place) -> Jet:
    return subtract(evaluator.read(at, place), evaluator.ends(law, place)[number])
