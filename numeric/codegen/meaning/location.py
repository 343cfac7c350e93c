"""The mean and the standard deviation of the normal law whose parameters are loc and log_scale: mu(theta), or mu(k, theta)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.scope import depends
from derive.language.term import Apply, FiniteLaw, Function, NormalLaw, Symbol, Term
from numeric.codegen.families import Family
from numeric.codegen.laws import law_of, laws_of, unstopped


@dataclass(frozen=True)
class Part:
    """One of the two: a function of theta, and of outcomes of these laws; then its tensor has a row for each of them."""

    function: Function
    given: tuple[FiniteLaw, ...] = ()


@dataclass(frozen=True)
class Location:
    """Which terms stand for loc and for scale; none where no normal law moves with theta."""

    theta: Symbol
    parts: tuple[tuple[str, Part], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def of(self, term: Term) -> str | None:
        """Return "loc" or "scale" for a term that stands for one of them, else None."""
        if not (isinstance(term, Apply) and self.theta in term.args):
            return None
        return next((name for name, part in self.parts if part.function == term.function), None)

    def holds(self, law: NormalLaw) -> bool:
        """Whether a normal law is the one of loc and scale, perhaps at an outcome."""
        return (self.of(law.loc), self.of(law.scale)) == ("loc", "scale")

    def given(self, parameter: str) -> tuple[FiniteLaw, ...]:
        """The laws whose outcomes the tensor `loc` or `log_scale` has rows for."""
        known = dict(self.parts)
        return known[parameter.removeprefix("log_")].given if parameter.removeprefix("log_") in known else ()

    def outcomes(self, term: Apply) -> list[Term]:
        """The outcomes at which a term that stands for loc or scale is taken."""
        return [arg for arg in term.args if arg != self.theta]

    @property
    def means(self) -> frozenset[Function]:
        return frozenset(part.function for name, part in self.parts if name == "loc")

    @property
    def functions(self) -> set[Function]:
        return {part.function for _, part in self.parts}


def location_and_scale(estimator: Estimator, family: Family, theta: Symbol) -> Location:
    """The terms that stand for loc and scale, read off the normal laws; none where no normal law moves.

    Raises
        UsageError, if a normal law moves in another family, or none of them moves in mean and scale separately.

    >>> from derive.catalogue import catalogue
    >>> from numeric.codegen.families import family_of
    >>> mixture = catalogue["mixture-pathwise-only"]
    >>> found = location_and_scale(mixture, family_of("normal"), mixture.parameter)
    >>> [(name, part.function.name, len(part.given)) for name, part in found.parts]
    [('loc', 'm', 1), ('scale', 't', 1)]
    """
    moving = [law for law in laws_of(estimator) if isinstance(law, NormalLaw) and depends(law.loc + law.scale, theta)]
    if not moving or family.name == "vector":
        return Location(theta)
    if family.name != "normal":
        message = (
            f"{estimator.name!r} is about a normal law, which the {family.name} family is not: it runs in the normal family "
            "only (--family normal)."
        )
        raise UsageError(message)
    maps = {(_part(law.loc, theta), _part(law.scale, theta)) for law in moving}
    loc, scale = maps.pop()
    if maps or loc is None or scale is None or loc.function == scale.function:
        message = (
            f"{estimator.name!r} needs one normal law, normal('z', mu(theta), sigma(theta)) with abstract mu and sigma; these"
            " may be functions of outcomes too, as mu(k, theta) for k of a finite law. A mean beside a scale that does not move"
            " runs in the vector family."
        )
        raise UsageError(message)
    return Location(theta, (("loc", loc), ("scale", scale)))


def _part(term: Term, theta: Symbol) -> Part | None:
    """The function that a mean or a scale is, of theta and of outcomes; None where it is none."""
    inner = unstopped(term)
    if not (isinstance(inner, Apply) and type(inner.function) is Function and inner.args.count(theta) == 1):
        return None
    given = _laws([arg for arg in inner.args if arg != theta])
    return None if given is None else Part(inner.function, given)


def _laws(outcomes: Sequence[Term]) -> tuple[FiniteLaw, ...] | None:
    laws = [law for law in map(law_of, outcomes) if law is not None]
    return tuple(laws) if len(laws) == len(outcomes) else None
