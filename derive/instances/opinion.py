"""The opinion of the instances on an equation, or on each step of a chain of them: agree, differ or silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from derive.instances.charts import Rule
from derive.instances.cuts import demand_first_derivatives
from derive.instances.errors import TooManyNodesError, UnmetError, UnreadableError
from derive.instances.evaluate import Evaluator
from derive.instances.explicit import covers
from derive.instances.instance import Instance, needs_of
from derive.language.term import Density, FiniteLaw, Law, RandomVariable, Term

_FIRST = (Rule(0.22, 0.5), Rule(0.171, 0.13, reach=0.93))
_SECOND = (
    Rule(1.5, 0.0, order=12, kind=np.longdouble, grid=1009),
    Rule(1.9, 0.0, reach=0.95, order=16, kind=np.longdouble, grid=499),
)
_COARSE = {
    _FIRST: (Rule(0.45, 0.5), Rule(0.39, 0.13, reach=0.93)),
    _SECOND: (replace(_SECOND[0], step=4.2), replace(_SECOND[1], step=5.0)),
}
_NOISE = 1e-13
_SEPARATION = 1e-6
_TAKEN_FOR_GRANTED = frozenset({
    "ConditionalReparameterization", "Covers", "Differentiable", "Dominated", "Independent", "Integrable", "JointlyIntegrable",
    "Normalised", "SupportFixed",
})  # by the choice of the instance, or since a value that does not exist is not read


@dataclass(frozen=True)
class Opinion:
    """What random instances say of an equation.

    Args
        verdict   "agree" (at least two instances were evaluated, and on each the sides are equal within the error), "differ"
                  (on one they are not, by far, and by a second computation too), or "silent"
        reason    why, in a sentence
        instance  of the instance where the sides differ: what every name stands for, by name, so that it can be repeated
        left      the value of the left side on the last instance, None where there is none
        right     that of the right side
        error     how far the values may be off
        trivial   whether both sides were zero on every instance
        count     on how many instances the sides were evaluated
        met       whether there may be an instance on which the assumptions hold: False where none of those that were tried is
    """

    verdict: Literal["agree", "differ", "silent"]
    reason: str
    instance: Mapping[str, str] = field(default_factory=dict)
    left: float | None = None
    right: float | None = None
    error: float = 0.0
    trivial: bool = False
    count: int = 0
    met: bool = True


@dataclass(frozen=True)
class Measured:
    """The value of a term on an instance, and how far it may be off."""

    value: Any
    error: float


@dataclass(frozen=True)
class Sides:
    """Both sides of an equation on an instance."""

    left: Measured
    right: Measured

    @property
    def size(self) -> float:
        return float(max(abs(self.left.value), abs(self.right.value)))

    @property
    def gap(self) -> float:
        return float(abs(self.left.value - self.right.value))

    @property
    def error(self) -> float:
        return self.left.error + self.right.error

    @property
    def separated(self) -> bool:
        """Whether the sides differ by far more than the error and by more than a millionth."""
        return self.gap > 1000 * self.error and self.gap > _SEPARATION * self.size

    @property
    def equal(self) -> bool:
        """Whether the sides are known well, and equal within the error."""
        known = self.error <= max(1e-5 * self.size, 1e-9)
        return known and self.gap <= 20 * self.error + 1e-11 * self.size


class Bench:
    """One instance, on which each term of a chain is evaluated once by each pair of rules."""

    instance: Instance
    assumptions: tuple[Any, ...]

    def __init__(self, instance: Instance, assumptions: tuple[Any, ...]) -> None:
        self.instance, self.assumptions = instance, assumptions
        self._known: dict[tuple[int, bool], Measured | UnreadableError] = {}
        self._fits: UnreadableError | bool = False

    @property
    def is_unmet(self) -> bool:
        """Whether an assumption is known not to hold here."""
        return isinstance(self._fits, UnmetError)

    def sides(self, left: Term, right: Term) -> Sides:
        """Return both sides on the instance.

        Raises
            UnreadableError, if one has no value here, or the assumptions do not hold.
        """
        self._demand_assumptions()
        return Sides(self.measured(left), self.measured(right))

    def confirmed(self, left: Term, right: Term) -> Sides:
        """Return both sides by other rules and in longer numbers; the error covers the distance from the first computation.

        Raises
            UnreadableError, if one has no value here.
        """
        return Sides(*(self._drifted(self.measured(term), self.measured(term, second=True)) for term in (left, right)))

    def _drifted(self, first: Measured, second: Measured) -> Measured:
        return Measured(second.value, max(second.error, float(abs(first.value - second.value))))

    def measured(self, term: Term, *, second: bool = False) -> Measured:
        """Return the value by two rules: the second one with noise in every sum, so that their distance is an error.

        Raises
            UnreadableError, if it has none.
        """
        key = (id(term), second)
        if key not in self._known:
            try:
                self._known[key] = self._measure(term, _SECOND if second else _FIRST, careful=second)
            except UnreadableError as error:
                self._known[key] = error
            except (RecursionError, OverflowError, MemoryError) as error:
                self._known[key] = UnreadableError(f"a term is too large to be evaluated: {type(error).__name__}.")
        found = self._known[key]
        if isinstance(found, UnreadableError):
            raise found
        return found

    def _measure(self, term: Term, rules: tuple[Rule, Rule], *, careful: bool) -> Measured:
        demand_first_derivatives(term)
        try:
            values = self._values(term, rules, careful=careful)
        except TooManyNodesError:
            values = self._values(term, _COARSE[rules], careful=careful)
        return Measured(values[0], float(abs(values[0] - values[1])))

    def _values(self, term: Term, rules: tuple[Rule, Rule], *, careful: bool) -> tuple[Any, Any]:
        first, second = Evaluator(self.instance, rules[0], careful=careful), Evaluator(self.instance, rules[1], _NOISE)
        return first.value(term), second.value(term)

    def _covers(self, sampled: Law, other: Law) -> bool:
        if (listed := covers(sampled, other)) is not None:
            return listed
        if isinstance(sampled, FiniteLaw) and isinstance(other, FiniteLaw):
            return bool(np.all(self.instance.support(sampled) >= self.instance.support(other)))
        with np.errstate(all="ignore"):
            (low, high), (lower, higher) = (Evaluator(self.instance, _FIRST[0]).support(law) for law in (sampled, other))
        return low <= lower and higher <= high

    def _everywhere(self, term: Term) -> bool:
        """Whether a density that is positive at one value of a variable is so at all values."""
        match term:
            case Density(law, RandomVariable(_, own)):
                return self._covers(law, own)
        return True

    def _demand_assumptions(self) -> None:
        if self._fits is False:
            try:
                for premise in self.assumptions:
                    self._demand(premise)
                self._fits = True
            except UnreadableError as error:
                self._fits = error
        if isinstance(self._fits, UnreadableError):
            raise self._fits

    def _demand(self, premise: Any) -> None:
        name, holds = type(premise).__name__, True
        match name:
            case "Positive":
                holds = self.measured(premise.term).value > 0 and self._everywhere(premise.term)
            case "NotNegative":
                holds = self.measured(premise.term).value >= -_NOISE
            case "NonZero":
                holds = abs(self.measured(premise.term).value) > 1e-6 and self._everywhere(premise.term)
            case "Covers":
                holds = self._covers(premise.sampled.law, premise.other.law)
            case "Equation":
                holds = Sides(self.measured(premise.lhs), self.measured(premise.rhs)).equal
            case _ if name not in _TAKEN_FOR_GRANTED:
                message = f"the assumption {name} is not known to the instances."
                raise UnreadableError(message)
        if not holds:
            message = f"the assumption {name} does not hold on the instance."
            raise UnmetError(message)


def compare(left: Term, right: Term, *, assumptions: Iterable[Any] = (), seed: int = 0, instances: int = 4) -> Opinion:
    """Compare two terms on random instances of their laws, functions and numbers.

    Args
        left, right  the terms; a free random variable stands for any value of its support
        assumptions  premises by which the instances are chosen: `NonZero`, `Positive` and `SupportFixed` are read by name,
                     and an `Equation` must hold on an instance; the others of the kernel are taken for granted
        seed         chooses the instances
        instances    how many are evaluated

    >>> from derive.language.notation import E, finite, function, grad, parameter, score
    >>> theta, f = parameter("theta"), function("f")
    >>> b = finite("b", theta)
    >>> compare(grad(E(f(b), b), theta), E(f(b) * score(b), b)).verdict
    'agree'
    >>> compare(grad(E(f(b), b), theta), E(f(b) * score(b) ** 2, b)).verdict
    'differ'
    """
    return opinions((left, right), assumptions=assumptions, seed=seed, instances=instances)[0]


def opinions(lines: Sequence[Term], *, assumptions: Iterable[Any] = (), seed: int = 0, instances: int = 4) -> list[Opinion]:
    """Compare each line of a chain with the next one; every line is evaluated once.

    Args
        lines        the terms, at least two
        assumptions  as of `compare`, as are the others

    >>> from derive.language.notation import parameter
    >>> x = parameter("x")
    >>> [opinion.verdict for opinion in opinions([(x + 1) ** 2, x**2 + 2 * x + 1, x**2 + 2 * x])]
    ['agree', 'differ']
    """
    given = tuple(assumptions)
    try:
        needs = needs_of(lines, given)
    except RecursionError:
        return [Opinion("silent", "a term is too deep to be read.")] * (len(lines) - 1)
    benches = [Bench(Instance(seed, number, needs), given) for number in range(3 * instances)]
    return [_opinion(benches, instances, left, right) for left, right in pairwise(lines)]


def _opinion(benches: list[Bench], instances: int, left: Term, right: Term) -> Opinion:
    found: list[Sides] = []
    reason = ""
    for bench in benches:
        try:
            sides = bench.sides(left, right)
            if sides.separated:
                return _differ(bench, left, right, len(found) + 1)
        except UnreadableError as error:
            reason = str(error)
            continue
        if sides.equal:
            found.append(sides)
        else:
            reason = "an integral is not known well enough."
        if len(found) == instances:
            break
    return _agreed(found) if len(found) > 1 else Opinion("silent", reason, met=not all(bench.is_unmet for bench in benches))


def _agreed(found: list[Sides]) -> Opinion:
    last, error = found[-1], max(sides.error for sides in found)
    trivial = all(sides.size <= max(10 * sides.error, 1e-13) for sides in found)
    reason = f"both sides are equal on {len(found)} instances."
    return Opinion("agree", reason, {}, float(last.left.value), float(last.right.value), error, trivial, len(found))


def _differ(bench: Bench, left: Term, right: Term, count: int) -> Opinion:
    """Confirm a difference.

    Raises
        UnreadableError, if it is not confirmed.
    """
    sides = bench.confirmed(left, right)
    if not sides.separated:
        message = "two computations of one side do not agree."
        raise UnreadableError(message)
    values = float(sides.left.value), float(sides.right.value)
    reason = f"on an instance the left side is {values[0]:.12g} and the right side {values[1]:.12g}."
    return Opinion("differ", reason, bench.instance.text(), *values, sides.error, count=count)
